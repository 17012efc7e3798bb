/* SPDX-License-Identifier: MIT */
/*
 * Attaching OS threads, the registry of those attached, and their end.
 */
#ifndef WEFT__THREAD_H
#define WEFT__THREAD_H

#include <stdbool.h>
#include <stdint.h>

struct scheduler;

/* Calls @look with the scheduler of an attached thread, which stays attached
 * meanwhile. 0 or -ESRCH. @look must not attach, detach or block. */
int weft__thread_visit(uint64_t id,
		       void (*look)(struct scheduler *s, void *arg), void *arg);

/* Keeps the number of threads that are awake: one less for each that parks, one
 * more as soon as its doorbell is rung or it wakes by itself. */
void weft__count_awake(int by);

/* Whether another attached thread is awake, and on another CPU; a hint. */
bool weft__others_are_awake(void);

#endif /* WEFT__THREAD_H */
