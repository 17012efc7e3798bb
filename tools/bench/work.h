/* SPDX-License-Identifier: MIT */
/*
 * The calls of weft that workloads make, where an error is the end of the run.
 * All channels here carry a number.
 */
#ifndef BENCH_WORK_H
#define BENCH_WORK_H

#include <errno.h>
#include <weft.h>

#include "bench.h"

static inline weft_tasklet work_spawn(weft_fn fn, void *arg)
{
	weft_tasklet t = weft_spawn(fn, arg);

	if (weft_tasklet_is_null(t))
		run_fail(-errno, "weft_spawn");
	return t;
}

static inline weft_channel *work_channel(void)
{
	weft_channel *ch = weft_channel_new(sizeof(uint64_t), 0);

	if (!ch)
		run_fail(-errno, "weft_channel_new");
	return ch;
}

/* With room for @capacity numbers; see work_channel.c. */
weft_channel *work_buffered(size_t capacity);

static inline void work_send(weft_channel *ch, uint64_t value)
{
	must(weft_channel_send(ch, &value), "weft_channel_send");
}

static inline uint64_t work_receive(weft_channel *ch)
{
	uint64_t value = 0;

	must(weft_channel_receive(ch, &value), "weft_channel_receive");
	return value;
}

/* xorshift64: the same numbers in each run. Peers draw the same. */
static inline uint64_t work_draw(uint64_t *state)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return *state;
}

/* run_begin() and run_end() for a thread of two: they also tell how often it
 * parked and rang for the other. */
static inline struct weft_stats work_begin(struct run *r)
{
	struct weft_stats before;

	must(weft_stats(0, &before), "weft_stats");
	run_begin(r);
	return before;
}

static inline void work_end(struct run *r, const struct weft_stats *before)
{
	double n = (double)r->operations;
	struct weft_stats after;

	run_end(r);
	must(weft_stats(0, &after), "weft_stats");
	run_detail(r, "parks", (double)(after.parks - before->parks) / n);
	run_detail(r, "doorbells",
		   (double)(after.wakes_sent - before->wakes_sent) / n);
}

#endif /* BENCH_WORK_H */
