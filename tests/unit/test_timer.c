/* SPDX-License-Identifier: MIT */
/*
 * The deadline queue, against a plain array that is searched.
 */
#include <check.h>
#include <stdlib.h>

#include "core/timer.h"
#include "support.h"

enum { N = 2000, STEPS = 40000 };

static struct timer_queue q;
static struct timer timers[N];
static int64_t deadlines[N]; /* of those armed */
static uint64_t orders[N];

static unsigned next_random(unsigned *state)
{
	*state = *state * 1664525u + 1013904223u;
	return *state >> 8;
}

/* The one that must fire next: the earliest, of equal ones the one armed
 * first; -1: none. */
static int expected_next(void)
{
	int best = -1;

	for (int i = 0; i < N; i++) {
		if (!timers[i].place)
			continue;
		if (best < 0 || deadlines[i] < deadlines[best] ||
		    (deadlines[i] == deadlines[best] &&
		     orders[i] < orders[best]))
			best = i;
	}
	return best;
}

static void arm(int i, int64_t deadline, uint64_t order)
{
	deadlines[i] = deadline;
	orders[i] = order;
	ck_assert_int_eq(weft__timer_arm(&q, &timers[i], deadline), 0);
}

/* Arming, cancelling and firing in random order; few deadlines, so that many
 * are equal. */
START_TEST(random_use_agrees_with_a_search)
{
	unsigned seed = (unsigned)_i + 1;
	int64_t range = _i % 2 ? 10 : 1000000;

	for (uint64_t step = 0; step < STEPS; step++) {
		int i = (int)(next_random(&seed) % N);

		if (!timers[i].place)
			arm(i, (int64_t)next_random(&seed) % range, step);
		else
			weft__timer_cancel(&q, &timers[i]);
		if (step % 64 == 0) {
			int next = expected_next();

			ck_assert(weft__timer_next(&q) ==
				  (next < 0 ? INT64_MAX : deadlines[next]));
			if (next >= 0)
				ck_assert_ptr_eq(weft__timer_pop(&q, INT64_MAX),
						 &timers[next]);
		}
	}
	for (int next; (next = expected_next()) >= 0;)
		ck_assert_ptr_eq(weft__timer_pop(&q, INT64_MAX), &timers[next]);
	ck_assert_uint_eq(q.n, 0);
	weft__timer_free(&q);
}
END_TEST

/* Nothing fires before its time, and at its time it does. */
START_TEST(only_what_is_due_fires)
{
	arm(0, 100, 0);
	ck_assert_ptr_null(weft__timer_pop(&q, 99));
	ck_assert_ptr_eq(weft__timer_pop(&q, 100), &timers[0]);
	ck_assert_ptr_null(weft__timer_pop(&q, INT64_MAX));
	weft__timer_free(&q);
}
END_TEST

/* A timer that is not armed can be cancelled, again and again. */
START_TEST(cancelling_is_idempotent)
{
	weft__timer_cancel(&q, &timers[0]);
	arm(0, 1, 0);
	arm(1, 2, 1);
	weft__timer_cancel(&q, &timers[0]);
	weft__timer_cancel(&q, &timers[0]);
	ck_assert(weft__timer_next(&q) == 2);
	ck_assert_uint_eq(q.n, 1);
	weft__timer_free(&q);
}
END_TEST

/* Equal deadlines fire in the order in which they were armed. */
START_TEST(equal_deadlines_fire_in_order)
{
	for (int i = 0; i < N; i++)
		arm(i, 5, (uint64_t)i);
	for (int i = 0; i < N; i++)
		ck_assert_ptr_eq(weft__timer_pop(&q, 5), &timers[i]);
	weft__timer_free(&q);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("timer");

	add_loop(s, "random", random_use_agrees_with_a_search, 8);
	add_case(s, "due", only_what_is_due_fires);
	add_case(s, "cancel", cancelling_is_idempotent);
	add_case(s, "order", equal_deadlines_fire_in_order);
	return run_suite(s);
}
