/* SPDX-License-Identifier: MIT */
/*
 * Time that passes when a test says so. A program that uses this has a
 * clock_gettime() of its own, which the library then calls too: CLOCK_MONOTONIC
 * runs ahead by what was passed. The kernel knows nothing of it, so nobody should
 * park for a moment that is to come after that.
 */
#ifndef WEFT_TESTS_CLOCK_H
#define WEFT_TESTS_CLOCK_H

#include <stdint.h>

/* Lets @ns pass at once. */
void pass_time(int64_t ns);

#endif /* WEFT_TESTS_CLOCK_H */
