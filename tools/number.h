/* SPDX-License-Identifier: MIT */
/*
 * Numbers and times of the command line: decimal, with all of the text used.
 */
#ifndef TOOLS_NUMBER_H
#define TOOLS_NUMBER_H

#include <stdbool.h>
#include <stdint.h>

/* A whole number of digits alone. */
bool number_parse(const char *text, uint64_t *n);

/* A number that may have a fraction, without sign or exponent. *@rest: what follows. */
bool decimal_parse(const char *text, double *value, const char **rest);

/* A time with its unit: ns, us, ms or s, as 1.5s. */
bool time_parse(const char *text, int64_t *ns);

#endif /* TOOLS_NUMBER_H */
