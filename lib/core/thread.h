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
 * meanwhile. Returns 0 or -ESRCH. @look must not attach, detach or block. */
int weft__thread_visit(uint64_t id,
		       void (*look)(struct scheduler *s, void *arg), void *arg);

/* The registry's mutex. */
void weft__thread_lock_registry(void);
void weft__thread_unlock_registry(void);

/* Calls @look for each attached thread, oldest first. Under the registry's
 * mutex. */
void weft__thread_each(void (*look)(struct scheduler *s, void *arg), void *arg);

/* How many threads were ever attached. */
uint64_t weft__thread_n_ever(void);

/* In a child of fork(), under the registry's mutex: forgets all threads but the
 * caller's, which is attached if @self is not NULL. */
void weft__thread_forget_others(struct scheduler *self);

/* Detaches the calling thread, if it is attached, as its end would do. */
void weft__thread_detach(void);

/* Takes back a count of weft__count_awake(). If all threads left are parked,
 * one of them has to check whether that is a deadlock: it is rung in the name
 * of @s. [deadlock.1] */
void weft__thread_count_out(struct scheduler *s);

/* Whether another attached thread is awake, and on another CPU; a hint. */
bool weft__others_are_awake(void);

#endif /* WEFT__THREAD_H */
