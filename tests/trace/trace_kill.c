/* SPDX-License-Identifier: MIT */
/*
 * Kill and raise: who runs next, and what the victim sees.
 * 
 * The comments write the ring from the cursor on: [a b m] is a running, then b, then
 * m.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- Immediate kill, by what the victim is doing --- */

/* R3 from where it is: [m a b c] to [b c m a]. */
START_TEST(kill_of_one_in_the_ring)
{
	play("m: spawn:abc schedule kill:b m1 schedule m2", "a: a1 schedule a2",
	     "b: b1 schedule b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 -ECANCELED b2 c2 m1 a2 m2");
}
END_TEST

/* R3: inserted at the end, [m a c b], then [b m a c]. */
START_TEST(kill_of_a_paused_one)
{
	play("m: spawn:abc schedule kill:b m1 schedule m2", "a: a1 schedule a2",
	     "b: b1 schedule_remove b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 -ECANCELED b2 m1 a2 c2 m2");
}
END_TEST

/* The same, and the channel is free of it. */
START_TEST(kill_of_a_blocked_one)
{
	play("m: spawn:abc schedule kill:b m1 balance:x schedule m2",
	     "a: a1 schedule a2", "b: b1 receive:x b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 -ECANCELED b2 m1 x+0 a2 c2 m2");
}
END_TEST

/* Those who waited before and behind it are served in their order. */
START_TEST(kill_in_the_middle_of_a_queue)
{
	play("m: spawn:abc schedule waiters:x kill:b waiters:x send:x1 send:x2",
	     "a: receive:x", "b: receive:x b1", "c: receive:x");
	ck_assert_str_eq(trace(), "x[abc] -ECANCELED b1 x[ac] x=1 x=2");
}
END_TEST

/* Its element is not sent. */
START_TEST(kill_of_a_sender)
{
	play("m: spawn:a schedule balance:x kill:a balance:x try_receive:x",
	     "a: send:x5 a1");
	ck_assert_str_eq(trace(), "x+1 -ECANCELED a1 x+0 -EAGAIN");
}
END_TEST

/* It leaves; the other one is served. */
START_TEST(kill_of_a_joiner)
{
	play("m: spawn:abc schedule kill:a m1 send:x2 m2 schedule m3",
	     "a: join:c a1", "b: join:c b1", "c: receive:x c1 result:4");
	ck_assert_str_eq(trace(), "c=-ECANCELED a1 m1 x=2 c1 m2 c=4 b1 m3");
}
END_TEST

/* It was paused by that: [m b] to [m b a] to [a m b]. */
START_TEST(kill_of_one_who_switched_away)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2", "a: a1 switch:b a2",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 -ECANCELED a2 m1 b2 m2");
}
END_TEST

/* A switch-to like any other (R3): it ends on its turn without running, and those
 * behind it run before the killer does. */
START_TEST(kill_of_a_fresh_one)
{
	play("m: spawn:ab kill:a m1 state:a count schedule m2", "a: a1",
	     "b: b1");
	ck_assert_str_eq(trace(), "b1 m1 a:dead n=1 m2");
}
END_TEST

/* Those between are skipped. [m a b c] to [a m] after b and c have run. */
START_TEST(kill_of_a_fresh_one_among_others)
{
	play("m: spawn:abc kill:b m1 state:b count schedule m2", "a: a1",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "c1 m1 b:dead n=2 a1 m2");
}
END_TEST

/* The same for one in no ring. */
START_TEST(kill_of_a_fresh_paused_one)
{
	play("m: paused:a spawn:b kill:a m1 state:a schedule m2", "a: a1",
	     "b: b1");
	ck_assert_str_eq(trace(), "m1 a:dead b1 m2");
}
END_TEST

START_TEST(kill_of_an_ended_one)
{
	play("m: spawn:a schedule kill:a raise:a5 kill_pending:a m1", "a: a1");
	ck_assert_str_eq(trace(), "a1 -ESRCH -ESRCH -ESRCH m1");
}
END_TEST

/* Nothing moves; the next calls return it, schedule after giving way. */
START_TEST(kill_of_oneself)
{
	play("m: spawn:a schedule m1 schedule m2", "a: kill:a a1 schedule a2");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1 -ECANCELED a2 m2");
}
END_TEST

/* The same. */
START_TEST(kill_of_oneself_pending)
{
	play("m: spawn:a schedule m1", "a: kill_pending:a a1 receive:x a2");
	ck_assert_str_eq(trace(), "-ECANCELED a1 -ECANCELED a2 m1");
}
END_TEST

/* Nothing stays pending. */
START_TEST(raise_on_oneself)
{
	play("m: spawn:a schedule m1 schedule m2",
	     "a: raise:a5 a1 schedule a2");
	ck_assert_str_eq(trace(), "-EIO a1 m1 a2 m2");
}
END_TEST

/* As raise(ECANCELED): nothing stays pending. */
START_TEST(kill_of_main_by_itself)
{
	play("m: kill:m m1 schedule m2");
	ck_assert_str_eq(trace(), "-ECANCELED m1 m2");
}
END_TEST

/* Once only: it is a raise. [a m] to [m a]. */
START_TEST(kill_of_main_blocked)
{
	play("m: spawn:a receive:x m1 schedule m2", "a: kill:m a1");
	ck_assert_str_eq(trace(), "-ECANCELED m1 a1 m2");
}
END_TEST

/* [m a] to [b m a] to [c b m a]. */
START_TEST(victim_kills_in_turn)
{
	play("m: spawn:abc schedule kill:b m1 schedule m2", "a: a1 schedule a2",
	     "b: receive:x kill:c b1", "c: receive:y c1");
	ck_assert_str_eq(trace(), "a1 -ECANCELED -ECANCELED c1 b1 m1 a2 m2");
}
END_TEST

/* The killer kept its place in the ring: in place, and at once. */
START_TEST(victim_kills_its_killer)
{
	play("m: spawn:a schedule m1 schedule m2",
	     "a: spawn:b schedule kill:b a1 schedule a2",
	     "b: receive:x kill:a b1");
	ck_assert_str_eq(trace(), "m1 -ECANCELED a1 m2");
}
END_TEST

/* --- Pending kill --- */

/* In place: [m a b c]. */
START_TEST(pending_kill_of_one_in_the_ring)
{
	play("m: spawn:abc schedule kill_pending:b m1 schedule m2",
	     "a: a1 schedule a2", "b: b1 schedule b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a2 -ECANCELED b2 c2 m2");
}
END_TEST

/* At the end: [m a c b]. */
START_TEST(pending_kill_of_a_paused_one)
{
	play("m: spawn:abc schedule kill_pending:b state:b m1 schedule m2",
	     "a: a1 schedule a2", "b: b1 schedule_remove b2",
	     "c: c1 schedule c2");
	ck_assert_str_eq(trace(),
			 "a1 b1 c1 b:runnable m1 a2 c2 -ECANCELED b2 m2");
}
END_TEST

/* It leaves the channel at once, and is at the end: [m a c b]. */
START_TEST(pending_kill_of_a_blocked_one)
{
	play("m: spawn:abc schedule kill_pending:b balance:x m1 schedule m2",
	     "a: a1 schedule a2", "b: b1 receive:x b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 x+0 m1 a2 c2 -ECANCELED b2 m2");
}
END_TEST

/* In the order of the kills: [m c a b]. */
START_TEST(pending_kills_of_several)
{
	play("m: spawn:abc schedule kill_pending:cab m1 schedule m2",
	     "a: receive:x a1", "b: receive:x b1", "c: receive:x c1");
	ck_assert_str_eq(trace(),
			 "m1 -ECANCELED c1 -ECANCELED a1 -ECANCELED b1 m2");
}
END_TEST

/* It keeps its place and its life until its turn comes. */
START_TEST(pending_kill_of_a_fresh_one)
{
	play("m: spawn:ab kill_pending:a state:a count m1 schedule state:a count "
	     "m2",
	     "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "a:runnable n=3 m1 b1 a:dead n=1 m2");
}
END_TEST

/* It is put at the end, for it has no turn otherwise. */
START_TEST(pending_kill_of_a_fresh_paused_one)
{
	play("m: paused:a spawn:b kill_pending:a state:a count m1 schedule "
	     "state:a m2",
	     "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "a:runnable n=3 m1 b1 a:dead m2");
}
END_TEST

/* Once is enough. */
START_TEST(pending_kill_twice)
{
	play("m: spawn:a schedule kill_pending:aa schedule m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1");
}
END_TEST

/* Taken out of the ring again; a second kill brings it back. */
START_TEST(pending_kill_and_remove)
{
	play("m: spawn:a schedule kill_pending:a remove:a state:a schedule m1 kill:a m2",
	     "a: schedule_remove a1");
	ck_assert_str_eq(trace(), "a:paused m1 -ECANCELED a1 m2");
}
END_TEST

/* R3 to it: [m b a] to [a m b]. */
START_TEST(pending_kill_and_run)
{
	play("m: spawn:ab schedule kill_pending:a run:a m1 schedule m2",
	     "a: receive:x a1", "b: schedule b1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1 b1 m2");
}
END_TEST

/* [a b m]. */
START_TEST(pending_kill_of_main_inside_run)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 kill_pending:m a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 b1 m:run=-125 m1 m2");
}
END_TEST

/* --- Sticky and one-shot --- */

/* From the second return on it gives way first. */
START_TEST(kill_is_sticky)
{
	play("m: spawn:a schedule kill:a m1 schedule m2 schedule m3",
	     "a: receive:x receive:x schedule a1");
	ck_assert_str_eq(trace(),
			 "-ECANCELED m1 -ECANCELED m2 -ECANCELED a1 m3");
}
END_TEST

/* A receiver waits, yet nothing is sent. */
START_TEST(kill_also_of_calls_that_need_not_wait)
{
	play("m: spawn:ab schedule kill:b balance:x schedule balance:x m1",
	     "a: receive:x a1", "b: schedule send:x1 b1");
	ck_assert_str_eq(trace(), "-ECANCELED x-1 -ECANCELED b1 x-1 m1");
}
END_TEST

/* The next receive waits as ever. */
START_TEST(raise_is_one_shot)
{
	play("m: spawn:a schedule raise:a5 m1 send:x7 m2",
	     "a: receive:x a1 receive:x a2");
	ck_assert_str_eq(trace(), "-EIO a1 m1 x=7 a2 m2");
}
END_TEST

START_TEST(raise_replaces_raise)
{
	play("m: spawn:a schedule raise_pending:a5 raise_pending:a4 schedule m1 send:x7 m2",
	     "a: receive:x a1 receive:x a2");
	ck_assert_str_eq(trace(), "-EINTR a1 m1 x=7 a2 m2");
}
END_TEST

/* And stays before it. */
START_TEST(kill_goes_before_raise)
{
	play("m: spawn:a schedule raise_pending:a5 kill_pending:a schedule m1 schedule m2",
	     "a: receive:x receive:x a1");
	ck_assert_str_eq(trace(), "-ECANCELED m1 -ECANCELED a1 m2");
}
END_TEST

/* The call that it is in. */
START_TEST(raise_in_schedule)
{
	play("m: spawn:a schedule raise:a5 m1 schedule m2",
	     "a: schedule a1 schedule a2");
	ck_assert_str_eq(trace(), "-EIO a1 m1 a2 m2");
}
END_TEST

START_TEST(raise_in_schedule_remove)
{
	play("m: spawn:a schedule raise:a5 m1 schedule m2",
	     "a: schedule_remove a1 schedule a2");
	ck_assert_str_eq(trace(), "-EIO a1 m1 a2 m2");
}
END_TEST

/* Its result, for who joins it. */
START_TEST(raise_of_a_fresh_one)
{
	play("m: paused:a spawn:b schedule raise:a5 state:a m1 schedule m2",
	     "a: a1", "b: join:a b1");
	ck_assert_str_eq(trace(), "a:dead m1 a=-EIO b1 m2");
}
END_TEST

/* --- What was handed over comes first --- */

/* Preference to the sender: it is in the ring with its element. */
START_TEST(served_receiver)
{
	play("m: prefer:x1 spawn:a schedule send:x1 kill:a m1 schedule m2",
	     "a: receive:x a1 receive:x a2");
	ck_assert_str_eq(trace(), "x=1 a1 -ECANCELED a2 m1 m2");
}
END_TEST

START_TEST(served_receiver_raised)
{
	play("m: prefer:x1 spawn:a schedule send:x1 raise:a5 m1 send:x2 schedule m2",
	     "a: receive:x a1 receive:x a2 receive:x a3");
	ck_assert_str_eq(trace(), "x=1 a1 -EIO a2 m1 x=2 a3 m2");
}
END_TEST

/* Its element was taken. */
START_TEST(served_sender)
{
	play("m: spawn:a schedule receive:x kill:a m1 schedule m2",
	     "a: send:x3 a1 send:x4 a2");
	ck_assert_str_eq(trace(), "x=3 a1 -ECANCELED a2 m1 m2");
}
END_TEST

/* The result came first. */
START_TEST(ended_join)
{
	play("m: spawn:ab schedule schedule raise_pending:a5 schedule m1 schedule m2",
	     "a: join:b a1 schedule a2", "b: schedule b1 result:2");
	ck_assert_str_eq(trace(), "b1 b=2 a1 m1 -EIO a2 m2");
}
END_TEST

/* What stop gave comes first. */
START_TEST(stopped_run)
{
	play("m: spawn:ab schedule m1 schedule m2", "a: run a1 schedule a2",
	     "b: stop:6 kill_pending:a b1");
	ck_assert_str_eq(trace(), "b1 a:run=6 a1 m1 -ECANCELED a2 m2");
}
END_TEST

/* --- Inside run and pump --- */

/* [m b] to [m b a] to [a m b]. */
START_TEST(kill_inside_run)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2", "a: a1 run a2",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a:run=-125 a2 m1 b2 m2");
}
END_TEST

START_TEST(kill_inside_pump)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2", "a: a1 pump a2",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=-125 a2 m1 b2 m2");
}
END_TEST

/* The inner call returns 0; its caller comes first to the end: [m c b a] to [a m c b]. */
START_TEST(kill_inside_the_outer_run)
{
	play("m: spawn:abc schedule kill:a m1 schedule m2", "a: a1 run a2",
	     "b: b1 run b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 a:run=-125 a2 m1 c2 b:run=0 b2 m2");
}
END_TEST

/* The outer one goes on. */
START_TEST(kill_inside_the_inner_run)
{
	play("m: spawn:abc schedule kill:b m1 schedule m2 schedule m3",
	     "a: a1 run a2", "b: b1 run b2", "c: c1 schedule c2 schedule c3");
	ck_assert_str_eq(trace(), "a1 b1 c1 b:run=-125 b2 m1 c2 m2 c3 m3");
}
END_TEST

/* [a b m] to [m a b]. */
START_TEST(kill_of_main_inside_run)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 kill:m a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=-125 m1 a2 b1 m2");
}
END_TEST

/* Once. */
START_TEST(raise_inside_run)
{
	play("m: spawn:ab schedule raise:a5 m1 schedule m2",
	     "a: a1 run a2 schedule a3", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a:run=-5 a2 m1 b2 a3 m2");
}
END_TEST

/* It returns at once. */
START_TEST(killed_one_may_not_run)
{
	play("m: spawn:ab schedule kill:a m1 schedule m2",
	     "a: receive:x run a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 -ECANCELED m1 b2 a:run=-125 a1 m2");
}
END_TEST

START_TEST(run_ends_when_all_were_killed)
{
	play("m: spawn:ab schedule kill_pending:ab run m1", "a: receive:x a1",
	     "b: schedule_remove b1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 -ECANCELED b1 m:run=0 m1");
}
END_TEST

/* --- Shields --- */

/* It goes on waiting; the kill stays pending. */
START_TEST(shielded_and_blocked)
{
	play("m: spawn:a schedule kill:a state:a m1 send:x5 m2",
	     "a: shield receive:x a1 unshield receive:x a2");
	ck_assert_str_eq(trace(), "a:blocked m1 x=5 a1 -ECANCELED a2 m2");
}
END_TEST

/* The same. */
START_TEST(shielded_and_paused)
{
	play("m: spawn:a schedule kill:a state:a insert:a schedule m1",
	     "a: shield schedule_remove a1 unshield schedule_remove a2");
	ck_assert_str_eq(trace(), "a:paused a1 -ECANCELED a2 m1");
}
END_TEST

/* R3, but its call returns 0. */
START_TEST(shielded_and_in_the_ring)
{
	play("m: spawn:a schedule kill:a m1 schedule m2",
	     "a: shield schedule a1 unshield schedule a2");
	ck_assert_str_eq(trace(), "a1 m1 -ECANCELED a2 m2");
}
END_TEST

START_TEST(shields_nest)
{
	play("m: spawn:a schedule kill:a send:x1 send:x2 m1",
	     "a: shield shield receive:x unshield receive:x unshield receive:x a1");
	ck_assert_str_eq(trace(), "x=1 x=2 -ECANCELED a1 m1");
}
END_TEST

/* Once. */
START_TEST(raise_waits_for_the_shield)
{
	play("m: spawn:a schedule raise:a5 send:x1 m1 send:x2 m2",
	     "a: shield receive:x unshield receive:x receive:x a1");
	ck_assert_str_eq(trace(), "x=1 -EIO m1 x=2 a1 m2");
}
END_TEST

/* --- From another thread: never a switch (R8) --- */

/* It is at the end of its own ring, before main, which is woken later. */
START_TEST(foreign_kill_of_a_blocked_one)
{
	play("m: spawn:A until_parked kill:A m1 send:y1", "M: receive:y M1",
	     "A: receive:x A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "-ECANCELED A1 y=1 M1");
}
END_TEST

/* In place: [M A B]. */
START_TEST(foreign_kill_of_one_in_the_ring)
{
	play("m: freeze:1 kill:B m1 thaw:0",
	     "M: spawn:AB schedule thaw:1 freeze:0 schedule M1",
	     "A: A1 schedule A2", "B: B1 schedule B2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 B1 A2 -ECANCELED B2 M1");
}
END_TEST

/* At the end. */
START_TEST(foreign_kill_of_a_paused_one)
{
	play("m: freeze:1 kill:A m1 thaw:0",
	     "M: spawn:AB schedule thaw:1 freeze:0 schedule M1",
	     "A: A1 schedule_remove A2", "B: B1 schedule B2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 B1 B2 -ECANCELED A2 M1");
}
END_TEST

/* It ends without running. */
START_TEST(foreign_kill_of_a_fresh_one)
{
	play("m: spawn:A kill:A m1 thaw:0", "M: freeze:0 schedule M1", "A: A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1");
}
END_TEST

/* Seen when its call gives way: at the end, [M A]. */
START_TEST(foreign_kill_of_a_running_one)
{
	play("m: freeze:1 kill:A m1 thaw:0",
	     "M: spawn:A schedule M1 schedule M2",
	     "A: thaw:1 freeze:0 receive:x A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 -ECANCELED A1 M2");
}
END_TEST

/* A raise: once. */
START_TEST(foreign_kill_of_main)
{
	play("m: until_parked kill:M until_parked send:y2",
	     "M: receive:y M1 receive:y M2");
	ck_assert_str_eq(trace(), "");
	ck_assert_str_eq(other_trace(), "-ECANCELED M1 y=2 M2");
}
END_TEST

/* In the order of the kills. */
START_TEST(foreign_kills_of_several)
{
	play("m: freeze:1 until_parked kill:CAB send:y1",
	     "M: spawn:ABC schedule thaw:1 receive:y", "A: receive:x A1",
	     "B: receive:x B1", "C: receive:x C1");
	ck_assert_str_eq(trace(), "");
	ck_assert_str_eq(other_trace(),
			 "-ECANCELED C1 -ECANCELED A1 -ECANCELED B1 y=1");
}
END_TEST

/* Once, in the call that it is in. */
START_TEST(foreign_raise)
{
	play("m: freeze:1 until_parked raise:A5 send:z3 m1 send:y1",
	     "M: spawn:A schedule thaw:1 receive:y M1",
	     "A: receive:x A1 receive:z A2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "-EIO A1 z=3 A2 y=1 M1");
}
END_TEST

START_TEST(foreign_raise_replaces_raise)
{
	play("m: freeze:1 raise:A5 raise:A4 thaw:0",
	     "M: spawn:A schedule thaw:1 freeze:0 schedule schedule M1",
	     "A: schedule A1 schedule A2");
	ck_assert_str_eq(trace(), "");
	ck_assert_str_eq(other_trace(), "-EINTR A1 A2 M1");
}
END_TEST

/* The call returns; [M B A]. */
START_TEST(foreign_kill_inside_run)
{
	play("m: freeze:1 kill:A m1 thaw:0",
	     "M: spawn:AB schedule thaw:1 freeze:0 schedule M1", "A: A1 run A2",
	     "B: B1 schedule B2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 B1 B2 A:run=-125 A2 M1");
}
END_TEST

START_TEST(foreign_kill_of_an_ended_one)
{
	play("m: freeze:1 kill:A raise:A5 m1 thaw:0",
	     "M: spawn:A schedule thaw:1 freeze:0", "A: A1");
	ck_assert_str_eq(trace(), "-ESRCH -ESRCH m1");
	ck_assert_str_eq(other_trace(), "A1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("kill");

	add_case(s, "immediate kill", kill_of_one_in_the_ring,
		 kill_of_a_paused_one, kill_of_a_blocked_one,
		 kill_in_the_middle_of_a_queue, kill_of_a_sender,
		 kill_of_a_joiner, kill_of_one_who_switched_away,
		 kill_of_a_fresh_one, kill_of_a_fresh_one_among_others,
		 kill_of_a_fresh_paused_one, kill_of_an_ended_one,
		 kill_of_oneself, kill_of_oneself_pending, raise_on_oneself,
		 kill_of_main_by_itself, kill_of_main_blocked,
		 victim_kills_in_turn, victim_kills_its_killer);
	add_case(s, "pending kill", pending_kill_of_one_in_the_ring,
		 pending_kill_of_a_paused_one, pending_kill_of_a_blocked_one,
		 pending_kills_of_several, pending_kill_of_a_fresh_one,
		 pending_kill_of_a_fresh_paused_one, pending_kill_twice,
		 pending_kill_and_remove, pending_kill_and_run,
		 pending_kill_of_main_inside_run);
	add_case(s, "sticky and one-shot", kill_is_sticky,
		 kill_also_of_calls_that_need_not_wait, raise_is_one_shot,
		 raise_replaces_raise, kill_goes_before_raise,
		 raise_in_schedule, raise_in_schedule_remove,
		 raise_of_a_fresh_one);
	add_case(s, "what was handed over comes first", served_receiver,
		 served_receiver_raised, served_sender, ended_join,
		 stopped_run);
	add_case(s, "inside run and pump", kill_inside_run, kill_inside_pump,
		 kill_inside_the_outer_run, kill_inside_the_inner_run,
		 kill_of_main_inside_run, raise_inside_run,
		 killed_one_may_not_run, run_ends_when_all_were_killed);
	add_case(s, "shields", shielded_and_blocked, shielded_and_paused,
		 shielded_and_in_the_ring, shields_nest,
		 raise_waits_for_the_shield);
	add_case(s, "from another thread", foreign_kill_of_a_blocked_one,
		 foreign_kill_of_one_in_the_ring, foreign_kill_of_a_paused_one,
		 foreign_kill_of_a_fresh_one, foreign_kill_of_a_running_one,
		 foreign_kill_of_main, foreign_kills_of_several, foreign_raise,
		 foreign_raise_replaces_raise, foreign_kill_inside_run,
		 foreign_kill_of_an_ended_one);
	return run_suite(s);
}
