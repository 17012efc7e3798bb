/* SPDX-License-Identifier: MIT */
/*
 * What must not happen, what is told, and when nothing can: traps, callbacks,
 * deadlock.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- The block trap --- */

START_TEST(trapped_receive_and_send)
{
	play("m: block_trap:1 receive:x send:x1 m1 balance:x");
	ck_assert_str_eq(trace(), "-EAGAIN -EAGAIN m1 x+0");
}
END_TEST

/* R9 as ever. */
START_TEST(trapped_receive_of_what_is_there)
{
	play("m: spawn:a schedule block_trap:1 receive:x m1", "a: send:x5 a1");
	ck_assert_str_eq(trace(), "x=5 m1");
}
END_TEST

/* R9: the receiver runs, the sender keeps its place. */
START_TEST(trapped_send_to_who_waits)
{
	play("m: spawn:a schedule block_trap:1 send:x5 m1", "a: receive:x a1");
	ck_assert_str_eq(trace(), "x=5 a1 m1");
}
END_TEST

START_TEST(trapped_join)
{
	play("m: spawn:a block_trap:1 join:a m1", "a: a1");
	ck_assert_str_eq(trace(), "a=-EAGAIN m1");
}
END_TEST

/* Giving way and run, too. */
START_TEST(trap_allows_pausing)
{
	play("m: spawn:ab block_trap:1 schedule m1 run m2",
	     "a: block_trap:1 a1 schedule_remove a2", "b: b1 insert:a");
	ck_assert_str_eq(trace(), "a1 b1 m1 a2 m:run=0 m2");
}
END_TEST

START_TEST(trap_belongs_to_the_tasklet)
{
	play("m: spawn:a block_trap:1 schedule receive:x m1 send:x1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EAGAIN m1 x=1 a1");
}
END_TEST

START_TEST(kill_goes_before_the_trap)
{
	play("m: spawn:a schedule m1", "a: block_trap:1 kill:a receive:x a1");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED a1 m1");
}
END_TEST

/* --- The switch trap --- */

START_TEST(trapped_scheduling)
{
	play("m: spawn:a switch_trap:1 schedule schedule_remove run pump m1 switch_trap:-1 schedule m2",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EPERM -EPERM m:run=-1 m:pump=-1 m1 a1 m2");
}
END_TEST

/* Nothing would switch. */
START_TEST(trapped_and_alone)
{
	play("m: switch_trap:1 schedule run pump m1");
	ck_assert_str_eq(trace(), "m:run=0 m:pump=0 m1");
}
END_TEST

/* Nothing has moved; with the sender favoured it works. */
START_TEST(trapped_favoured_peer)
{
	play("m: spawn:a schedule switch_trap:1 send:x1 try_send:x1 balance:x prefer:x1 send:x2 m1 switch_trap:-1 schedule m2",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EPERM -EPERM x-1 m1 x=2 a1 m2");
}
END_TEST

START_TEST(trapped_schedule_all)
{
	play("m: spawn:a schedule schedule_all:x1 switch_trap:1 send:x1 balance:x m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EPERM x-1 m1");
}
END_TEST

START_TEST(trapped_waiting)
{
	play("m: spawn:a switch_trap:1 receive:x send:x1 join:a balance:x m1",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EPERM -EPERM a=-EPERM x+0 m1");
}
END_TEST

/* insert and remove do not switch. */
START_TEST(trapped_control)
{
	play("m: spawn:a switch_trap:1 run:a switch:a insert:a remove:a state:a run:m switch:m m1",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EPERM -EPERM a:paused m1");
}
END_TEST

/* Nothing has happened; a pending one works. */
START_TEST(trapped_kill)
{
	play("m: spawn:a schedule switch_trap:1 kill:a raise:a5 state:a balance:x kill_pending:a state:a m1 switch_trap:-1 schedule m2",
	     "a: receive:x a1");
	ck_assert_str_eq(
		trace(),
		"-EPERM -EPERM a:blocked x-1 a:runnable m1 -ECANCELED a1 m2");
}
END_TEST

/* It would be switched to, to end. */
START_TEST(trapped_kill_of_a_fresh_one)
{
	play("m: spawn:a switch_trap:1 kill:a state:a kill_pending:a m1 "
	     "switch_trap:-1 schedule state:a m2",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EPERM a:runnable m1 a:dead m2");
}
END_TEST

START_TEST(block_trap_goes_before_it)
{
	play("m: block_trap:1 switch_trap:1 receive:x m1");
	ck_assert_str_eq(trace(), "-EAGAIN m1");
}
END_TEST

START_TEST(trap_levels_add_up)
{
	play("m: spawn:a switch_trap:2 switch_trap:-1 schedule m1 switch_trap:-1 schedule m2",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EPERM m1 a1 m2");
}
END_TEST

/* R6 all the same. */
START_TEST(trapped_tasklet_ends)
{
	play("m: spawn:ab schedule m1", "a: switch_trap:1 schedule a1",
	     "b: b1 switch_trap:-1");
	ck_assert_str_eq(trace(), "-EPERM a1 b1 m1");
}
END_TEST

/* Each has its own. */
START_TEST(trap_of_another_thread)
{
	play("m: switch_trap:1 thaw:0 freeze:1 m1",
	     "M: freeze:0 spawn:A schedule M1 thaw:1", "A: A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 M1");
}
END_TEST

/* --- The schedule callback --- */

/* Also of the end of a. */
START_TEST(told_of_scheduling)
{
	play("m: tell_switches:1 spawn:ab schedule m1 tell_switches:0 schedule m2",
	     "a: a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "m>a a1 a>b b1 b>m m1 b2 m2");
}
END_TEST

START_TEST(told_of_run)
{
	play("m: tell_switches:1 spawn:a run m1", "a: a1");
	ck_assert_str_eq(trace(), "m>a a1 a>m m:run=0 m1");
}
END_TEST

/* Blocking, and R9. */
START_TEST(told_of_channels)
{
	play("m: tell_switches:1 spawn:a schedule send:x1 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "m>a a>m m>a x=1 a1 a>m m1");
}
END_TEST

START_TEST(not_told_of_nothing)
{
	play("m: tell_switches:1 schedule run pump m1");
	ck_assert_str_eq(trace(), "m:run=0 m:pump=0 m1");
}
END_TEST

START_TEST(told_of_control)
{
	play("m: spawn:ab tell_switches:1 run:b m1 switch:a m2",
	     "a: insert:m a1", "b: b1");
	ck_assert_str_eq(trace(), "m>b b1 b>m m1 m>a a1 a>m m2");
}
END_TEST

START_TEST(told_of_kill)
{
	play("m: spawn:a schedule tell_switches:1 kill:a m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "m>a -ECANCELED a1 a>m m1");
}
END_TEST

START_TEST(told_of_exit)
{
	play("m: tell_switches:1 spawn:a schedule m1", "a: a1 exit:1");
	ck_assert_str_eq(trace(), "m>a a1 a>m m1");
}
END_TEST

START_TEST(told_on_the_own_thread)
{
	play("m: tell_switches:1 thaw:0 freeze:1 m1",
	     "M: freeze:0 spawn:A schedule M1 thaw:1", "A: A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 M1");
}
END_TEST

/* --- The channel callback --- */

/* Before it is tried. */
START_TEST(told_of_each_call)
{
	play("m: tell_channels:1 spawn:a schedule send:x1 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "a?x~ m!x x=1 a1 m1");
}
END_TEST

START_TEST(told_of_failures)
{
	play("m: tell_channels:1 try_receive:x try_send:y1 block_trap:1 send:x1 m1");
	ck_assert_str_eq(trace(), "m?x~ -EAGAIN m!y~ -EAGAIN m!x~ -EAGAIN m1");
}
END_TEST

/* Killed: it is not tried. */
START_TEST(not_told_of_refusals)
{
	play("m: spawn:a schedule m1",
	     "a: tell_channels:1 kill:a receive:x a1");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED a1 m1");
}
END_TEST

/* After the hand-over. */
START_TEST(told_across_threads)
{
	play("m: tell_channels:1 until_parked send:x1 m1", "M: receive:x M1");
	ck_assert_str_eq(trace(), "m!x m1");
	ck_assert_str_eq(other_trace(), "x=1 M1");
}
END_TEST

START_TEST(told_of_both)
{
	play("m: tell_channels:1 tell_switches:1 spawn:a schedule send:x1 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "m>a a?x~ a>m m!x m>a x=1 a1 a>m m1");
}
END_TEST

/* --- Deadlock --- */

START_TEST(main_waits_alone)
{
	play("m: receive:x m1 balance:x");
	ck_assert_str_eq(trace(), "-EDEADLK m1 x+0");
}
END_TEST

/* And are there when they are wanted. */
START_TEST(others_stay)
{
	play("m: spawn:a receive:y state:a balance:x send:x3 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EDEADLK a:blocked x-1 x=3 a1 m1");
}
END_TEST

/* Then the outer one. */
START_TEST(innermost_run_first)
{
	play("m: spawn:ab run m1", "a: a1 run a2", "b: receive:x b1");
	ck_assert_str_eq(trace(), "a1 a:run=-35 a2 m:run=-35 m1");
}
END_TEST

/* Nobody can insert it. */
START_TEST(run_with_a_paused_one)
{
	play("m: paused:a run m1 insert:a run m2", "a: a1");
	ck_assert_str_eq(trace(), "m:run=-35 m1 a1 m:run=0 m2");
}
END_TEST

START_TEST(joins_in_a_circle)
{
	play("m: spawn:ab join:a state:a state:b m1", "a: join:b a1",
	     "b: join:a b1");
	ck_assert_str_eq(trace(), "a=-EDEADLK a:blocked b:blocked m1");
}
END_TEST

START_TEST(main_joins_a_paused_one)
{
	play("m: spawn:a join:a m1", "a: a1 schedule_remove a2");
	ck_assert_str_eq(trace(), "a1 a=-EDEADLK m1");
}
END_TEST

/* A shield is against kill and raise. */
START_TEST(in_a_shield)
{
	play("m: shield receive:x unshield m1");
	ck_assert_str_eq(trace(), "-EDEADLK m1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("traps");

	add_case(s, "the block trap", trapped_receive_and_send,
		 trapped_receive_of_what_is_there, trapped_send_to_who_waits,
		 trapped_join, trap_allows_pausing, trap_belongs_to_the_tasklet,
		 kill_goes_before_the_trap);
	add_case(s, "the switch trap", trapped_scheduling, trapped_and_alone,
		 trapped_favoured_peer, trapped_schedule_all, trapped_waiting,
		 trapped_control, trapped_kill, trapped_kill_of_a_fresh_one,
		 block_trap_goes_before_it, trap_levels_add_up,
		 trapped_tasklet_ends, trap_of_another_thread);
	add_case(s, "the schedule callback", told_of_scheduling, told_of_run,
		 told_of_channels, not_told_of_nothing, told_of_control,
		 told_of_kill, told_of_exit, told_on_the_own_thread);
	add_case(s, "the channel callback", told_of_each_call, told_of_failures,
		 not_told_of_refusals, told_across_threads, told_of_both);
	add_case(s, "deadlock", main_waits_alone, others_stay,
		 innermost_run_first, run_with_a_paused_one, joins_in_a_circle,
		 main_joins_a_paused_one, in_a_shield);
	return run_suite(s);
}
