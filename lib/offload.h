/* SPDX-License-Identifier: MIT */
/*
 * A tasklet that waits for a job of the pool.
 */
#ifndef WEFT__OFFLOAD_H
#define WEFT__OFFLOAD_H

#include <stdbool.h>

#include "pool.h"
#include "waiter.h"

struct scheduler;

/* On the stack of the tasklet that waits. */
struct errand {
	struct waiter waiter; /* first; its result is the job's */
	struct job job;       /* crew, fn and arg are the caller's to set */
};

/* Has a helper do the job, and waits for it, whatever the traps say: 0 when it
 * has been done, or was called off before that (waiter.called_off). Else it was
 * not started: -EAGAIN or -ENOMEM, see weft__pool_submit(). */
int weft__run_errand(struct scheduler *s, struct errand *e);

#endif /* WEFT__OFFLOAD_H */
