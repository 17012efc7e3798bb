/* SPDX-License-Identifier: MIT */
/*
 * What programs set up that have many connections and end by a signal.
 */
#ifndef TOOLS_PROCESS_H
#define TOOLS_PROCESS_H

/* Raises the soft limit of open files to the hard one. */
void process_allow_many_files(void);

/* Blocks SIGINT and SIGTERM in all threads to come. Returns a descriptor to read them
 * from (signalfd, without blocking), or a negative errno. */
int process_open_signals(void);

#endif /* TOOLS_PROCESS_H */
