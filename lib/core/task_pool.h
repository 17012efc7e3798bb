/* SPDX-License-Identifier: MIT */
/*
 * The slabs from which descriptors of tasklets come; each slab in use belongs to
 * one thread.
 */
#ifndef WEFT__TASK_POOL_H
#define WEFT__TASK_POOL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#include "core/tasklet.h"

struct scheduler;
struct task_slab;

/* A name is written by the creator, and anybody may read it at any time. It is read
 * in whole words, so a torn name is only a wrong one, and the id then tells that it
 * is. */
struct task_name {
	_Atomic(uint64_t) words[NAME_SIZE / sizeof(uint64_t)];
};

struct task_name *weft__task_name(struct weft_task *t);

/* Finds descriptors for a scheduler that has run out of them. Returns its list
 * again, or NULL if there is no memory. */
struct weft_task *weft__task_pool_refill(struct scheduler *s);

/* A descriptor for a tasklet that the caller creates for another thread; NULL if
 * there is no memory. @target must stay attached until the word of the descriptor
 * says that it has a tenant. */
struct weft_task *weft__task_pool_take_for(struct scheduler *target);

/* The owner calls this for each tasklet that it takes in from another thread. */
void weft__task_pool_note_foreign(struct scheduler *s);

/* Frees a descriptor that was in an inbox when its tenant ended. [task.1] */
void weft__task_pool_release_late(struct scheduler *s, struct weft_task *t);

/* Gives back everything that a scheduler has, for other threads. None of its
 * descriptors has a tenant any more. */
void weft__task_pool_give_back(struct scheduler *s);

/* Calls @look for every descriptor that has a tenant, of all threads that there are
 * and were. For a child of fork(), which is alone. */
void weft__task_pool_each_tenant(void (*look)(struct weft_task *t, void *arg),
				 void *arg);

/* The pool's mutex; for fork(). */
void weft__task_pool_lock(void);
void weft__task_pool_unlock(void);

/* For tests: how many slabs there are, and how many of them a scheduler has. */
size_t weft__task_pool_n_slabs(void);
size_t weft__task_pool_n_slabs_of(const struct scheduler *s);

#endif /* WEFT__TASK_POOL_H */
