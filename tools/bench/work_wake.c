/* SPDX-License-Identifier: MIT */
/*
 * wake: two threads that park and wake each other, by one doorbell. The parent
 * has set WEFT_WAKE and WEFT_SPIN=0, so each receive parks its thread.
 */
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "work.h"

enum { UNTIMED = 16 };

struct beds {
	weft_channel *there, *back;
	struct scheduler *_Atomic sleeper; /* release and acquire: [bench.1] */
};

/* The sleeper must be woken as asked, or the figure would be another's. */
static void check_doorbell(struct run *r, struct beds *b)
{
	const char *wanted = r->variant->doorbell;
	struct scheduler *s;
	const char *got;
	char why[128];

	do {
		sched_yield();
		s = atomic_load_explicit(&b->sleeper,
					 memory_order_acquire); /* [bench.1] */
	} while (!s);
	got = doorbell_of_parked(s);
	if (strcmp(wanted, "auto") == 0 || strcmp(wanted, got) == 0)
		return;
	snprintf(why, sizeof why, "asked for %s, this machine gives %s", wanted,
		 got);
	run_unavailable(why);
}

static void wake_and_wait(struct beds *b, uint64_t n)
{
	while (n--) {
		work_send(b->there, n);
		(void)work_receive(b->back);
	}
}

static void wait_and_wake(struct beds *b, uint64_t n)
{
	while (n--)
		work_send(b->back, work_receive(b->there));
}

static void side(struct run *r, int which, void *shared)
{
	void (*play)(struct beds * b, uint64_t n) =
		which == 0 ? wake_and_wait : wait_and_wake;
	struct beds *b = shared;
	struct weft_stats before;

	if (which == 0)
		check_doorbell(r, b);
	else
		atomic_store_explicit(&b->sleeper, doorbell_self(),
				      memory_order_release); /* [bench.1] */
	play(b, UNTIMED);
	before = work_begin(r);
	play(b, r->operations);
	work_end(r, &before);
}

void run_wake(struct run *r)
{
	struct beds b = { .there = work_channel(), .back = work_channel() };

	pair_run(r, &b, side);
	weft_channel_unref(b.there);
	weft_channel_unref(b.back);
}
