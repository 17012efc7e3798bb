/* SPDX-License-Identifier: MIT */
/*
 * What the command lines of the tools have in common.
 */
#ifndef TOOLS_OPTION_H
#define TOOLS_OPTION_H

#include <argp.h>
#include <stdint.h>

/* Reads the command line; @input is for the parser. There is --version, too, and what
 * the program writes is checked (output.h). */
void option_parse(const struct argp *parser, int argc, char **argv,
		  void *input);

/* The value of --@name. If it is none from @least to @most, the program ends with a
 * message. */
uint64_t option_number(struct argp_state *state, const char *name,
		       const char *text, uint64_t least, uint64_t most);

/* The same of a time. Without a limit @most is INT64_MAX; but a time is never so long
 * that a sum with the time of day would overflow. @zero is what 0s stands for. */
int64_t option_time(struct argp_state *state, const char *name,
		    const char *text, int64_t least, int64_t most,
		    const char *zero);

#endif /* TOOLS_OPTION_H */
