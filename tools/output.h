/* SPDX-License-Identifier: MIT */
/*
 * Standard output that cannot be written, for example to a full disk.
 */
#ifndef TOOLS_OUTPUT_H
#define TOOLS_OUTPUT_H

/* To be called at the beginning of main(). If something that the program writes to
 * standard output is lost, the program says so when it ends, and its exit status
 * is 1. Also after --help and --version. A file that becomes larger than RLIMIT_FSIZE
 * gives an error, not a signal. */
void output_is_checked(void);

#endif /* TOOLS_OUTPUT_H */
