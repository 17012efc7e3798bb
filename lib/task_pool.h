/* SPDX-License-Identifier: MIT */
/*
 * Where descriptors of tasklets come from: slabs, each of which one thread has.
 */
#ifndef WEFT__TASK_POOL_H
#define WEFT__TASK_POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "tasklet.h"

struct scheduler;
struct task_slab;

/* A name is written by the creator and may be read by anybody at any time:
 * whole words, so that a torn one is only a wrong one, which the id then
 * gives away. */
struct task_name {
	_Atomic(uint64_t) words[NAME_SIZE / sizeof(uint64_t)];
};

struct task_name *weft__task_name(struct weft_task *t);

/* Spare descriptors for a scheduler that has run out: the first of its list
 * again, or NULL without memory. */
struct weft_task *weft__task_pool_refill(struct scheduler *s);

/* A descriptor for a tasklet that the caller creates for another thread, or NULL
 * without memory. @target stays attached until its word says that it has a
 * tenant. */
struct weft_task *weft__task_pool_take_for(struct scheduler *target);

/* To be called by the owner for each that it takes in from another thread. */
void weft__task_pool_note_foreign(struct scheduler *s);

/* Lets go of a descriptor that was in an inbox when its tenant ended. [task.1] */
void weft__task_pool_release_late(struct scheduler *s, struct weft_task *t);

/* Gives all that a scheduler has back for other threads. None has a tenant any more. */
void weft__task_pool_give_back(struct scheduler *s);

/* Has every descriptor looked at that has a tenant, of all threads that there are
 * and were. For a child of fork(), which is alone. */
void weft__task_pool_each_tenant(void (*look)(struct weft_task *t, void *arg),
				 void *arg);

/* The pool's mutex, around fork(). */
void weft__task_pool_lock(void);
void weft__task_pool_unlock(void);

/* For tests: how many slabs there are, and how many of them a scheduler has. */
size_t weft__task_pool_n_slabs(void);
size_t weft__task_pool_n_slabs_of(const struct scheduler *s);

#endif /* WEFT__TASK_POOL_H */
