/* SPDX-License-Identifier: MIT */
/*
 * What weft learns from the world outside and cannot decide itself: the time, and
 * chance. The rest of this seam, where threads sleep and what wakes them, is in
 * core/world.h.
 *
 * world.c has nothing but these functions, and they are found by linking. A program
 * that links the static library and defines them itself replaces them, with a clock
 * and with chance of its own. No call goes through a pointer.
 */
#ifndef WEFT__WORLD_H
#define WEFT__WORLD_H

#include <stdint.h>

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t weft__now(void);

/* The seed of a thread's random numbers; not 0. */
uint32_t weft__seed(void);

#endif /* WEFT__WORLD_H */
