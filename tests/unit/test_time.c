/* SPDX-License-Identifier: MIT */
/*
 * The clock and sleeping. That a sleep has been long enough can be told from the
 * clock; nothing here depends on its not having been too long.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <weft.h>

#include "support.h"

static int64_t clock_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * WEFT_SECOND + ts.tv_nsec;
}

/* Keeps the OS thread, so that all that is due by @moment is due at once. */
static void hold_thread_until(int64_t moment)
{
	while (clock_ns() <= moment)
		;
}

/* weft_now() is CLOCK_MONOTONIC. */
START_TEST(now_is_the_monotonic_clock)
{
	for (int i = 0; i < 1000; i++) {
		int64_t before = clock_ns();
		int64_t now = weft_now();

		ck_assert(before <= now);
		ck_assert(now <= clock_ns());
	}
}
END_TEST

/* A sleep is never too short, from a microsecond up; main can sleep alone. */
START_TEST(sleep_is_long_enough)
{
	static const int64_t lengths[] = { 1, 1000, 50000, 2000000, 30000000 };
	int64_t before = weft_now();

	ck_assert_int_eq(weft_sleep(lengths[_i]), 0);
	ck_assert(weft_now() - before >= lengths[_i]);
	before = weft_now();
	ck_assert_int_eq(weft_sleep_until(before + lengths[_i]), 0);
	ck_assert(weft_now() >= before + lengths[_i]);
}
END_TEST

struct giver {
	int (*give)(int64_t when);
	int64_t when;
	int n_turns, n_at_return, rc;
};

static int take_turns(void *arg)
{
	struct giver *g = arg;

	for (int i = 0; i < 5; i++) {
		g->n_turns++;
		weft_schedule();
	}
	return 0;
}

/* A sleep of nothing gives way once, as weft_schedule() does: the other one has
 * had exactly one turn. */
START_TEST(sleep_of_nothing_gives_way_once)
{
	static struct giver cases[] = {
		{ weft_sleep, 0, 0, 0, 1 },
		{ weft_sleep, -1, 0, 0, 1 },
		{ weft_sleep, INT64_MIN, 0, 0, 1 },
		{ weft_sleep_until, 0, 0, 0, 1 },
		{ weft_sleep_until, 1, 0, 0, 1 },
		{ weft_sleep_until, -5, 0, 0, 1 },
		{ weft_sleep_until, INT64_MIN, 0, 0, 1 },
	};
	struct giver *g = &cases[_i];

	weft_spawn(take_turns, g);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(g->give(g->when), 0);
		ck_assert_int_eq(g->n_turns, i);
	}
	ck_assert_uint_eq(weft_runcount(), 2);
}
END_TEST

/* Alone it comes back at once. */
START_TEST(sleep_of_nothing_alone)
{
	ck_assert_int_eq(weft_sleep(0), 0);
	ck_assert_int_eq(weft_sleep(-1), 0);
	ck_assert_int_eq(weft_sleep_until(weft_now()), 0);
}
END_TEST

enum { SLEEPERS = 300 };

static struct {
	int order[20000];
	int n;
} woken;

struct sleeper {
	int64_t deadline;
	int number;
	int rc;
};

static int sleep_and_note(void *arg)
{
	struct sleeper *s = arg;

	s->rc = weft_sleep_until(s->deadline);
	woken.order[woken.n++] = s->number;
	return 0;
}

/* Puts sleepers to sleep, the i-th until after_start[i], and wakes them when all
 * are due. They have to be asleep before the first is due: on a machine that is
 * too slow for that, there is more time in the next attempt. */
static void sleep_and_wake(struct sleeper *sleepers, const int *after_start)
{
	int64_t lead = 20 * WEFT_MILLISECOND, start;
	bool in_time;

	do {
		start = weft_now() + lead;
		woken.n = 0;
		for (int i = 0; i < SLEEPERS; i++) {
			sleepers[i] =
				(struct sleeper){ .deadline = start +
							      after_start[i],
						  .number = i,
						  .rc = 1 };
			weft_spawn(sleep_and_note, &sleepers[i]);
		}
		weft_schedule();
		in_time = weft_now() < start;
		hold_thread_until(start + SLEEPERS);
		ck_assert_int_eq(weft_run(), 0);
		lead *= 2;
	} while (!in_time);
	ck_assert_int_eq(woken.n, SLEEPERS);
	for (int i = 0; i < SLEEPERS; i++)
		ck_assert_int_eq(sleepers[i].rc, 0);
}

/* Those that are due wake in the order of their deadlines, whatever the order in
 * which they went to sleep: ascending, descending, mixed. */
START_TEST(sleepers_wake_by_deadline)
{
	struct sleeper sleepers[SLEEPERS];
	int after_start[SLEEPERS];

	for (int i = 0; i < SLEEPERS; i++)
		after_start[i] = _i == 0   ? i
				 : _i == 1 ? SLEEPERS - 1 - i
					   : i * 7 % SLEEPERS;
	sleep_and_wake(sleepers, after_start);
	for (int i = 1; i < SLEEPERS; i++)
		ck_assert(sleepers[woken.order[i - 1]].deadline <
			  sleepers[woken.order[i]].deadline);
}
END_TEST

/* With equal deadlines the order is that of going to sleep; three deadlines are
 * dealt out in turns, the latest first. */
START_TEST(equal_deadlines_wake_first_come_first)
{
	struct sleeper sleepers[SLEEPERS];
	int after_start[SLEEPERS];

	for (int i = 0; i < SLEEPERS; i++)
		after_start[i] = 2 - i % 3;
	sleep_and_wake(sleepers, after_start);
	for (int i = 0; i < SLEEPERS; i++) {
		int third = i / (SLEEPERS / 3);

		ck_assert_int_eq(woken.order[i],
				 i % (SLEEPERS / 3) * 3 + 2 - third);
	}
}
END_TEST

/* Many, with deadlines that come while the thread parks: none wakes before its
 * time or is forgotten, and the order holds among all. */
static int sleep_for_real(void *arg)
{
	struct sleeper *s = arg;

	s->rc = weft_sleep_until(s->deadline);
	if (s->rc == 0 && weft_now() < s->deadline)
		s->rc = -ETIME;
	woken.order[woken.n++] = s->number;
	return 0;
}

START_TEST(many_sleepers)
{
	int many = many_tasklets(20000);
	struct sleeper *sleepers = calloc((size_t)many, sizeof *sleepers);
	int64_t start = weft_now();

	srandom((unsigned)_i + 1);
	for (int i = 0; i < many; i++) {
		sleepers[i] = (struct sleeper){
			.deadline = start + random() % (50 * WEFT_MILLISECOND),
			.number = i,
			.rc = 1
		};
		weft_spawn(sleep_for_real, &sleepers[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(woken.n, many);
	for (int i = 0; i < many; i++)
		ck_assert_int_eq(sleepers[i].rc, 0);
	free(sleepers);
}
END_TEST

/* A sleeper lets others run meanwhile. */
START_TEST(sleeper_lets_others_run)
{
	struct giver g = { .n_turns = 0 };

	weft_spawn(take_turns, &g);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	ck_assert_int_ge(g.n_turns, 1);
}
END_TEST

/* WEFT_FOREVER does not come: the others end, and the sleeper is still there. */
START_TEST(sleep_without_end)
{
	struct sleeper s = { .deadline = WEFT_FOREVER, .rc = 1 };
	struct giver g = { .n_turns = 0 };
	weft_tasklet t = weft_spawn(sleep_and_note, &s);

	weft_spawn(take_turns, &g);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(g.n_turns, 5);
	ck_assert_int_eq(weft_run_until(weft_now() + WEFT_MILLISECOND),
			 -ETIMEDOUT);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
}
END_TEST

static int sleep_very_long(void *arg)
{
	(void)arg;
	return weft_sleep(WEFT_FOREVER - 1);
}

/* A sleep that reaches beyond the end of time is one without end. */
START_TEST(sleep_beyond_the_end_of_time)
{
	weft_tasklet t = weft_spawn(sleep_very_long, NULL);

	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
}
END_TEST

static void *sleep_on_a_thread(void *arg)
{
	struct sleeper *s = arg;
	int64_t before = weft_now();

	s->rc = weft_sleep(5 * WEFT_MILLISECOND);
	if (weft_now() - before < 5 * WEFT_MILLISECOND)
		s->rc = -ETIME;
	return NULL;
}

/* Every thread sleeps by itself. */
START_TEST(threads_sleep)
{
	enum { N = 8 };
	struct sleeper sleepers[N];
	pthread_t threads[N];

	for (int i = 0; i < N; i++)
		threads[i] = start_thread(sleep_on_a_thread, &sleepers[i]);
	for (int i = 0; i < N; i++) {
		join_thread(threads[i]);
		ck_assert_int_eq(sleepers[i].rc, 0);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("time");

	add_case(s, "now", now_is_the_monotonic_clock);
	add_loop(s, "long enough", sleep_is_long_enough, 5);
	add_loop(s, "nothing", sleep_of_nothing_gives_way_once, 7);
	add_case(s, "nothing alone", sleep_of_nothing_alone);
	add_loop(s, "by deadline", sleepers_wake_by_deadline, 3);
	add_case(s, "equal deadlines", equal_deadlines_wake_first_come_first);
	add_loop(s, "many", many_sleepers, 2);
	add_case(s, "others", sleeper_lets_others_run, threads_sleep);
	add_case(s, "without end", sleep_without_end,
		 sleep_beyond_the_end_of_time);
	return run_suite(s);
}
