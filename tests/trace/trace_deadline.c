/* SPDX-License-Identifier: MIT */
/*
 * Deadline scopes: who runs next when time runs out. Time passes by a word, and is
 * looked at by a pump.
 *
 * The comments write the ring from the cursor on: [a b m] is a running, then b, then
 * m.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- Who runs --- */

/* At the end of the ring, those whose time ran out first first: [m] to
 * [b a]. */
START_TEST(in_the_order_of_the_deadlines)
{
	play("m: spawn:ab schedule pass:30 pump m1", "a: limit:20 receive:x a1",
	     "b: limit:10 receive:x b1");
	ck_assert_str_eq(trace(), "-ETIMEDOUT b1 -ETIMEDOUT a1 m:pump=0 m1");
}
END_TEST

/* Those in time go on waiting. */
START_TEST(only_those_that_are_late)
{
	play("m: spawn:abc schedule pass:30 pump waiters:x send:x1 send:x2",
	     "a: limit:50 receive:x a1", "b: limit:10 receive:x b1",
	     "c: receive:x c1");
	ck_assert_str_eq(trace(), "-ETIMEDOUT b1 m:pump=2 x[ac] x=1 a1 x=2 c1");
}
END_TEST

/* A timer is a timer: with sleepers, by the moments. */
START_TEST(with_sleepers)
{
	play("m: spawn:abc schedule pass:90 pump m1", "a: sleep:30 a1",
	     "b: limit:20 sleep:40 b1", "c: limit:50 sleep:40 c1");
	ck_assert_str_eq(trace(), "-ETIMEDOUT b1 a1 c1 m:pump=0 m1");
}
END_TEST

/* Behind those that are in the ring: [m c] to [c a]. */
START_TEST(behind_those_that_are_runnable)
{
	play("m: spawn:ac schedule pass:20 pump m1", "a: limit:10 receive:x a1",
	     "c: schedule c1 schedule c2");
	ck_assert_str_eq(trace(), "c1 -ETIMEDOUT a1 c2 m:pump=0 m1");
}
END_TEST

/* It keeps its place in the ring, and is told there. */
START_TEST(runnable_one_keeps_its_place)
{
	play("m: spawn:abc schedule pass:20 schedule m1 schedule m2",
	     "a: a1 schedule a2", "b: limit:10 schedule b1",
	     "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 c1 a2 -ETIMEDOUT b1 c2 m1 m2");
}
END_TEST

/* Paused, it goes to the end: [m] to [a]. */
START_TEST(paused_one)
{
	play("m: spawn:a schedule state:a pass:20 pump m1",
	     "a: limit:10 schedule_remove a1 end_limit schedule_remove a2");
	ck_assert_str_eq(trace(), "a:paused -ETIMEDOUT a1 late m:pump=1 m1");
}
END_TEST

/* At the end, behind the one inside the pump, which is nested: [b] to
 * [b a m]. */
START_TEST(run_of_main)
{
	play("m: limit:10 spawn:ab run m1 end_limit run",
	     "a: a1 pass:20 pump schedule a2", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=0 m:run=-110 m1 late b2 a2 "
				  "m:run=0");
}
END_TEST

/* A call that need not wait does not switch either. */
START_TEST(late_before_the_call)
{
	play("m: spawn:a schedule m1 schedule m2",
	     "a: limit:0 balance:x receive:x a1 balance:x end_limit a2");
	ck_assert_str_eq(trace(), "x+0 -ETIMEDOUT a1 x+0 late a2 m1 m2");
}
END_TEST

/* The second in a row gives way first: [a m]. */
START_TEST(second_refusal_gives_way)
{
	play("m: spawn:a schedule m1 schedule m2 schedule m3",
	     "a: limit:0 receive:x a1 receive:x a2 receive:x a3");
	ck_assert_str_eq(trace(), "-ETIMEDOUT a1 m1 -ETIMEDOUT a2 m2 "
				  "-ETIMEDOUT a3 m3");
}
END_TEST

/* --- Scopes --- */

START_TEST(inner_one_first)
{
	play("m: spawn:a schedule pass:15 pump pass:15 pump m1",
	     "a: limit:20 limit:10 receive:x a1 end_limit receive:x a2 "
	     "end_limit a3");
	ck_assert_str_eq(trace(), "-ETIMEDOUT a1 late m:pump=1 -ETIMEDOUT a2 "
				  "late a3 m:pump=0 m1");
}
END_TEST

START_TEST(outer_one_first)
{
	play("m: spawn:a schedule pass:15 pump m1",
	     "a: limit:10 limit:20 receive:x a1 end_limit receive:x a2 "
	     "end_limit a3");
	ck_assert_str_eq(trace(), "-ETIMEDOUT a1 -ETIMEDOUT a2 late a3 "
				  "m:pump=0 m1");
}
END_TEST

/* Served in time, it is told with the next call. */
START_TEST(served_and_late)
{
	play("m: spawn:a schedule prefer:x1 send:x7 pass:20 m1 schedule m2",
	     "a: limit:10 receive:x a1 receive:x a2 end_limit");
	ck_assert_str_eq(trace(), "m1 x=7 a1 -ETIMEDOUT a2 late m2");
}
END_TEST

/* Late before it is served: the sender keeps its element. */
START_TEST(late_and_not_served)
{
	play("m: spawn:a schedule pass:20 pump try_send:x7 balance:x m1",
	     "a: limit:10 receive:x a1");
	ck_assert_str_eq(trace(), "-ETIMEDOUT a1 m:pump=0 -EAGAIN x+0 m1");
}
END_TEST

START_TEST(kill_raise_and_deadline)
{
	play("m: spawn:a schedule kill_pending:a pass:20 pump m1",
	     "a: limit:10 receive:x a1 end_limit a2");
	ck_assert_str_eq(trace(), "-ECANCELED a1 late a2 m:pump=0 m1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deadline");

	add_case(s, "who runs", in_the_order_of_the_deadlines,
		 only_those_that_are_late, with_sleepers,
		 behind_those_that_are_runnable, runnable_one_keeps_its_place,
		 paused_one, run_of_main, late_before_the_call,
		 second_refusal_gives_way);
	add_case(s, "scopes", inner_one_first, outer_one_first, served_and_late,
		 late_and_not_served, kill_raise_and_deadline);
	return run_suite(s);
}
