/* SPDX-License-Identifier: MIT */
/*
 * Joining, and the ends of tasklets: who is woken, in which order, with what.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- Who joins --- */

/* At the end of the ring when c ends: [c m a b]. */
START_TEST(joiners_in_their_order)
{
	play("m: spawn:abc schedule send:x1 m1 schedule m2", "a: join:c a1",
	     "b: join:c b1", "c: receive:x c1 result:3");
	ck_assert_str_eq(trace(), "x=1 c1 m1 c=3 a1 c=3 b1 m2");
}
END_TEST

START_TEST(join_of_an_ended_one)
{
	play("m: spawn:a schedule join:a m1", "a: a1");
	ck_assert_str_eq(trace(), "a1 a=-ESRCH m1");
}
END_TEST

START_TEST(join_of_oneself)
{
	play("m: join:m spawn:a schedule m1", "a: join:a a1");
	ck_assert_str_eq(trace(), "m=-EDEADLK a=-EDEADLK a1 m1");
}
END_TEST

/* Others run meanwhile: [a b], then [b m]. */
START_TEST(main_joins)
{
	play("m: spawn:ab join:a m1", "a: a1 schedule a2 result:-5",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a2 b2 a=-EIO m1");
}
END_TEST

START_TEST(main_is_the_only_one_left)
{
	play("m: spawn:a join:a m1", "a: a1 schedule a2");
	ck_assert_str_eq(trace(), "a1 a2 a=0 m1");
}
END_TEST

START_TEST(join_of_a_fresh_one_that_is_killed)
{
	play("m: paused:a spawn:b schedule kill:a m1 schedule m2", "a: a1",
	     "b: join:a b1");
	ck_assert_str_eq(trace(), "m1 a=-ECANCELED b1 m2");
}
END_TEST

/* The result is what it makes of that. */
START_TEST(join_of_a_killed_one)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2",
	     "a: receive:x a1 result:8", "b: join:a b1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1 a=8 b1 m2");
}
END_TEST

/* Each ends the next. */
START_TEST(chain_of_joins)
{
	play("m: spawn:abc schedule send:x1 m1 schedule m2 schedule m3",
	     "a: join:b a1", "b: join:c b1 result:1", "c: receive:x result:2");
	ck_assert_str_eq(trace(), "x=1 m1 c=2 b1 m2 b=1 a1 m3");
}
END_TEST

START_TEST(killed_one_may_not_join)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2",
	     "a: schedule join:b a1", "b: schedule b1");
	ck_assert_str_eq(trace(), "-ECANCELED b1 m1 b=-ECANCELED a1 m2");
}
END_TEST

/* a runs when main waits. */
START_TEST(foreign_join)
{
	play("m: spawn:Aa join:A m1 send:y1", "a: send:x1", "M: receive:y M1",
	     "A: receive:x A1 result:7");
	ck_assert_str_eq(trace(), "A=7 m1");
	ck_assert_str_eq(other_trace(), "x=1 A1 y=1 M1");
}
END_TEST

/* The end of its thread. */
START_TEST(foreign_join_of_main)
{
	play("m: spawn:a join:M m1", "a: a1 send:y1", "M: receive:y M1");
	ck_assert_str_eq(trace(), "a1 M=0 m1");
	ck_assert_str_eq(other_trace(), "y=1 M1");
}
END_TEST

/* Each on its own thread. */
START_TEST(foreign_joiners)
{
	play("m: freeze:1 spawn:a schedule until_parked send:x1 join:a m1",
	     "a: join:A a1", "M: spawn:AB schedule thaw:1 join:A M1",
	     "A: receive:x A1 result:5", "B: join:A B1");
	ck_assert_str_eq(trace(), "A=5 a1 a=0 m1");
	ck_assert_str_eq(other_trace(), "x=1 A1 A=5 B1 A=5 M1");
}
END_TEST

/* --- Ends --- */

/* R6: its successor runs. */
START_TEST(exit_from_inside)
{
	play("m: spawn:ab join:a m1", "a: a1 exit:-4 a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a=-EINTR m1");
}
END_TEST

/* Before those who join are woken. */
START_TEST(deferred_backwards)
{
	play("m: spawn:ab schedule send:x1 m1 schedule m2",
	     "a: defer:d1 defer:d2 receive:x a1", "b: join:a b1");
	ck_assert_str_eq(trace(), "x=1 a1 d2 d1 m1 a=0 b1 m2");
}
END_TEST

START_TEST(deferred_and_exit)
{
	play("m: spawn:a schedule m1", "a: defer:d1 a1 exit:3");
	ck_assert_str_eq(trace(), "a1 d1 m1");
}
END_TEST

START_TEST(deferred_and_killed)
{
	play("m: spawn:a schedule kill:a m1", "a: defer:d1 receive:x a1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 d1 m1");
}
END_TEST

/* It never deferred anything. */
START_TEST(deferred_and_killed_before_it_ran)
{
	play("m: spawn:a kill:a m1", "a: defer:d1");
	ck_assert_str_eq(trace(), "m1");
}
END_TEST

/* R7. */
START_TEST(exit_of_the_last_one_ends_run)
{
	play("m: spawn:a run m1", "a: a1 exit:0");
	ck_assert_str_eq(trace(), "a1 m:run=0 m1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("join");

	add_case(s, "who joins", joiners_in_their_order, join_of_an_ended_one,
		 join_of_oneself, main_joins, main_is_the_only_one_left,
		 join_of_a_fresh_one_that_is_killed, join_of_a_killed_one,
		 chain_of_joins, killed_one_may_not_join, foreign_join,
		 foreign_join_of_main, foreign_joiners);
	add_case(s, "ends", exit_from_inside, deferred_backwards,
		 deferred_and_exit, deferred_and_killed,
		 deferred_and_killed_before_it_ran,
		 exit_of_the_last_one_ends_run);
	return run_suite(s);
}
