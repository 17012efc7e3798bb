/* SPDX-License-Identifier: MIT */
/*
 * nop, timers: what waits in the kernel, and the queue of what waits for the clock.
 */
#include <stdlib.h>
#include <weft/uring.h>

#include "core/timer.h"
#include "work.h"

/* --- nop --- */

struct nops {
	struct run *run;
	uint64_t each;
	unsigned at_work;
};

static int await_nops(void *arg)
{
	struct nops *w = arg;
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_nop(&sqe);
	for (uint64_t i = w->each; i; i--)
		must(weft_await(&sqe), "weft_await");
	if (--w->at_work == 0)
		run_end(w->run);
	return 0;
}

void run_nop(struct run *r)
{
	unsigned n = r->variant->count;
	struct nops w = { .run = r,
			  .each = r->operations / n + 1,
			  .at_work = n };
	struct io_uring_sqe sqe = { 0 };
	int rc;

	io_uring_prep_nop(&sqe);
	rc = weft_await(&sqe); /* creates the ring */
	need_ring(rc, "weft_await");
	for (unsigned i = 0; i < n; i++)
		work_spawn(await_nops, &w);
	run_begin(r);
	must(weft_run(), "weft_run");
	r->operations = w.each * n;
}

/* --- timers --- */

/* The moments are spread over half a second, which begins when all sleep. */
static const int64_t SPREAD_NS = 500 * WEFT_MILLISECOND;
static const int64_t LEAD_NS = 50 * WEFT_MILLISECOND;
static const int64_t LEAD_EACH_NS = 2 * WEFT_MICROSECOND;

struct sleepers {
	struct run *run;
	int64_t start; /* of the spread; 0: nobody sleeps yet */
	int64_t *lateness;
	size_t n_awake;
	uint64_t random;
};

static int sleep_once(void *arg)
{
	struct sleepers *all = arg;
	int64_t moment;

	weft_schedule(); /* until all have started */
	if (!all->start) {
		run_begin(all->run);
		all->start = weft_now() + LEAD_NS +
			     LEAD_EACH_NS * (int64_t)all->run->size;
	}
	moment = all->start +
		 (int64_t)(work_draw(&all->random) % (uint64_t)SPREAD_NS);
	must(weft_sleep_until(moment), "weft_sleep_until");
	all->lateness[all->n_awake++] = weft_now() - moment;
	if (all->n_awake == all->run->size)
		run_end(all->run);
	return 0;
}

static int by_value(const void *a, const void *b)
{
	int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

	return (x > y) - (x < y);
}

void run_timers(struct run *r)
{
	size_t n = r->size;
	struct sleepers all = { .run = r,
				.lateness = calloc(n, sizeof(int64_t)),
				.random = 88172645463325252 };

	if (!all.lateness)
		run_fail(-ENOMEM, "sleepers");
	for (size_t i = 0; i < n; i++)
		work_spawn(sleep_once, &all);
	must(weft_run(), "weft_run");
	for (size_t i = 0; i < n; i++)
		r->sample.wall_ns += all.lateness[i];
	qsort(all.lateness, n, sizeof *all.lateness, by_value);
	if (all.lateness[0] < 0)
		run_fail(-ETIME, "a sleeper woke before its time");
	run_detail(r, "median_ns", (double)all.lateness[n / 2]);
	run_detail(r, "p99_ns", (double)all.lateness[n - 1 - n / 100]);
	run_detail(r, "max_ns", (double)all.lateness[n - 1]);
	free(all.lateness);
	r->operations = n;
}

/* --- ten sleeps --- */

enum { SLEEPS = 10 };

static const int64_t SHORTEST_NS = 50 * WEFT_MILLISECOND;
static const int64_t LONGEST_NS = 150 * WEFT_MILLISECOND;

struct naps {
	struct run *run;
	int64_t began, ended;
	int64_t longest; /* of what one asked for in all */
	uint64_t random;
	uint64_t at_work;
};

static int sleep_ten_times(void *arg)
{
	struct naps *all = arg;
	int64_t asked = 0;

	weft_schedule(); /* until all have started */
	if (!all->began) {
		run_begin(all->run);
		all->began = weft_now();
	}
	for (int i = 0; i < SLEEPS; i++) {
		uint64_t range = (uint64_t)(LONGEST_NS - SHORTEST_NS);
		int64_t ns = SHORTEST_NS +
			     (int64_t)(work_draw(&all->random) % range);

		asked += ns;
		must(weft_sleep(ns), "weft_sleep");
	}
	if (asked > all->longest)
		all->longest = asked;
	if (--all->at_work == 0) {
		run_end(all->run);
		all->ended = weft_now();
	}
	return 0;
}

/* From the first sleep to the last one's end. What is above the longest that
 * one of them asked for is overshoot. */
void run_ten_sleeps(struct run *r)
{
	struct naps all = { .run = r,
			    .random = 88172645463325252,
			    .at_work = r->size };
	int64_t over;

	for (uint64_t i = r->size; i; i--)
		work_spawn(sleep_ten_times, &all);
	must(weft_run(), "weft_run");
	over = all.ended - all.began - all.longest;
	run_detail(r, "cpu_ms", (double)r->cpu_ns / 1e6);
	run_detail(r, "overshoot_ms", (double)over / 1e6);
	run_detail(r, "wall_ms", (double)(all.ended - all.began) / 1e6);
	r->sample.wall_ns = over > 0 ? over : 1;
	r->operations = r->size * SLEEPS;
}

/* --- timers, by the deadline queue alone --- */

/* A moment: xorshift. */
static int64_t next_random(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (int64_t)(*seed >> 2);
}

static void never(struct scheduler *s, struct timer *t)
{
	(void)s, (void)t;
	run_fail(-EBADMSG, "a timer that fired");
}

void run_arm(struct run *r)
{
	struct timer_queue queue = { 0 };
	struct timer *timers = calloc(r->size, sizeof *timers);
	uint64_t seed = 88172645463325252;

	if (!timers)
		run_fail(-ENOMEM, "timers");
	for (uint64_t i = 0; i < r->size; i++) {
		timers[i].fire = never;
		must(weft__timer_arm(&queue, &timers[i], next_random(&seed)),
		     "weft__timer_arm");
	}
	run_begin(r);
	for (uint64_t i = 0; i < r->operations; i++) {
		struct timer *t =
			&timers[(uint64_t)next_random(&seed) % r->size];

		weft__timer_cancel(&queue, t);
		must(weft__timer_arm(&queue, t, next_random(&seed)),
		     "weft__timer_arm");
	}
	run_end(r);
	weft__timer_free(&queue);
	free(timers);
}
