/* SPDX-License-Identifier: MIT */
/*
 * A tasklet's wait for a job of the pool.
 */
#ifndef WEFT__OFFLOAD_H
#define WEFT__OFFLOAD_H

#include <stdbool.h>

#include "core/waiter.h"
#include "engine/pool.h"

struct scheduler;

/* Lies on the stack of the tasklet that waits. */
struct errand {
	struct waiter waiter; /* first; its result is the job's */
	struct job job;       /* the caller sets crew, fn and arg */
	/* Called instead of the job's fn, if the tasklet is given up while the
	 * job is in line; or NULL. */
	void (*give_up)(struct errand *e);

	/* position.c: the descriptor that the job uses by its number, and links of
	 * the thread's list of such errands. */
	int fd;
	bool is_on_number;
	struct errand *next, *prev;
};

/* The errand of @w if it waits for one, or NULL. */
struct errand *weft__errand_of(struct waiter *w);

/* The errand of a job: each job of the pool is one of an errand. */
struct errand *weft__errand_of_job(const struct job *j);

/* Gives the job to a helper, and waits for it even under a trap. 0 when the job
 * has been done, or was called off before that (waiter.called_off). Otherwise
 * it was not started: -EAGAIN or -ENOMEM, see weft__pool_submit(). */
int weft__run_errand(struct scheduler *s, struct errand *e);

#endif /* WEFT__OFFLOAD_H */
