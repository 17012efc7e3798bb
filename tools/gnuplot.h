/* SPDX-License-Identifier: MIT */
/*
 * Drawings of gnuplot. It reads its commands and the data from a pipe and writes to
 * its standard output, so that no name needs quoting. It does not tell if a write
 * fails, so that output is a file in memory, which is copied to its place
 * afterwards.
 */
#ifndef TOOLS_GNUPLOT_H
#define TOOLS_GNUPLOT_H

#include <stdbool.h>
#include <stdio.h>

/* Opens @file for the drawing. If that fails, or gnuplot is missing, exits with a
 * message that names @option. */
void gnuplot_begin(const char *option, const char *file);

/* gnuplot's standard input, or NULL. */
FILE *gnuplot_start(void);

/* @f may be NULL. False if nothing was drawn or kept; then it has said why. */
bool gnuplot_finish(FILE *f);

#endif /* TOOLS_GNUPLOT_H */
