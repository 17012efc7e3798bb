/* SPDX-License-Identifier: MIT */
/*
 * Rule R8: what one thread does to the tasklets of another.
 *
 * Lower case is the test's thread, upper case the second one; each has a trace
 * of its own. To see where in the ring of the second thread something goes, that
 * thread is frozen in the middle of a turn of M's: it thaws 0 when its ring
 * stands and goes on at 1. Everything that is done to it between is in its ring
 * before it next gives way.
 *
 * The comments write a ring from the cursor on: [M A B] is M running, then A,
 * then B.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- waking another thread's tasklet through a channel --- */

/* R8: [M B C] gains A at the end: [M B C A]; main goes on. */
START_TEST(woken_receiver_goes_to_the_end_of_its_ring)
{
	play("m: spawn:a freeze:0 send:x1 m1 count thaw:1 schedule m2", "a: a1",
	     "M: spawn:A schedule spawn:BC thaw:0 freeze:1 M1 "
	     "schedule M2 count",
	     "A: receive:x A1", "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1 n=2 a1 m2");
	ck_assert_str_eq(other_trace(), "M1 B1 C1 x=1 A1 M2 n=1");
}
END_TEST

/* R8: the same for a sender. */
START_TEST(woken_sender_goes_to_the_end_of_its_ring)
{
	play("m: spawn:a freeze:0 receive:x m1 count thaw:1 schedule m2",
	     "a: a1",
	     "M: spawn:A schedule spawn:BC thaw:0 freeze:1 M1 "
	     "schedule M2 count",
	     "A: send:x1 A1", "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "x=1 m1 n=2 a1 m2");
	ck_assert_str_eq(other_trace(), "M1 B1 C1 A1 M2 n=1");
}
END_TEST

/* R9: whatever the preference, and schedule_all too: they order tasklets of one
 * thread only. The script differs in the words that set them. */
#define SET_BY_M_AND_SEND(settings)                                            \
	play("m: spawn:a freeze:0 " settings " send:x1 m1 thaw:1 schedule m2", \
	     "a: a1",                                                          \
	     "M: spawn:A schedule spawn:B thaw:0 freeze:1 M1 schedule M2",     \
	     "A: receive:x A1", "B: B1");                                      \
	ck_assert_str_eq(trace(), "m1 a1 m2");                                 \
	ck_assert_str_eq(other_trace(), "M1 B1 x=1 A1 M2")

START_TEST(send_to_another_thread_favouring_nobody)
{
	SET_BY_M_AND_SEND("prefer:x0");
}
END_TEST

START_TEST(send_to_another_thread_favouring_the_sender)
{
	SET_BY_M_AND_SEND("prefer:x1");
}
END_TEST

START_TEST(send_to_another_thread_with_schedule_all)
{
	SET_BY_M_AND_SEND("schedule_all:x1");
}
END_TEST

#define SET_BY_M_AND_RECEIVE(settings)                                     \
	play("m: spawn:a freeze:0 " settings                               \
	     " receive:x m1 thaw:1 schedule m2",                           \
	     "a: a1",                                                      \
	     "M: spawn:A schedule spawn:B thaw:0 freeze:1 M1 schedule M2", \
	     "A: send:x1 A1", "B: B1");                                    \
	ck_assert_str_eq(trace(), "x=1 m1 a1 m2");                         \
	ck_assert_str_eq(other_trace(), "M1 B1 A1 M2")

START_TEST(receive_from_another_thread_favouring_nobody)
{
	SET_BY_M_AND_RECEIVE("prefer:x0");
}
END_TEST

START_TEST(receive_from_another_thread_favouring_the_sender)
{
	SET_BY_M_AND_RECEIVE("prefer:x1");
}
END_TEST

START_TEST(receive_from_another_thread_with_schedule_all)
{
	SET_BY_M_AND_RECEIVE("schedule_all:x1");
}
END_TEST

/* R8: several are woken: they follow in the order of waking, [M D C A B]. */
START_TEST(woken_ones_follow_in_the_order_of_waking)
{
	play("m: freeze:0 send:z3 send:x1 receive:y m1 thaw:1",
	     "M: spawn:ABC schedule spawn:D thaw:0 freeze:1 M1 schedule M2",
	     "A: receive:x A1", "B: send:y2 B1", "C: receive:z C1", "D: D1");
	ck_assert_str_eq(trace(), "y=2 m1");
	ck_assert_str_eq(other_trace(), "M1 D1 z=3 C1 x=1 A1 B1 M2");
}
END_TEST

/* R10: tasklets of both threads stand in one queue: a, A, b. R8: A goes to its
 * own ring; with nobody favoured, a and b go to the end of main's. */
START_TEST(one_queue_for_both_threads)
{
	play("m: prefer:x0 spawn:a schedule thaw:0 freeze:1 spawn:b schedule "
	     "waiters:x balance:x send:x1 send:x2 send:x3 m1 schedule m2",
	     "a: receive:x a1", "b: receive:x b1",
	     "M: freeze:0 spawn:A schedule thaw:1 run M1", "A: receive:x A1");
	ck_assert_str_eq(trace(), "x[aAb] x-3 m1 x=1 a1 x=3 b1 m2");
	ck_assert_str_eq(other_trace(), "x=2 A1 M:run=0 M1");
}
END_TEST

/* try_send and try_receive meet those of other threads as well. */
START_TEST(try_meets_those_of_another_thread)
{
	play("m: freeze:0 try_send:y9 try_receive:x try_send:x1 try_receive:y "
	     "m1 try_send:x1 thaw:1",
	     "M: spawn:AB schedule thaw:0 freeze:1 M1 schedule M2",
	     "A: receive:x A1", "B: send:y5 B1");
	ck_assert_str_eq(trace(), "-EAGAIN -EAGAIN y=5 m1 -EAGAIN");
	ck_assert_str_eq(other_trace(), "M1 x=1 A1 B1 M2");
}
END_TEST

/* --- control of another thread's tasklets --- */

/* R8, R1: paused ones that are inserted go to the end: [M C B A]. */
START_TEST(insert_goes_to_the_end_of_the_other_ring)
{
	play("m: spawn:a freeze:0 insert:BA m1 count thaw:1 schedule m2",
	     "a: a1", "M: paused:AB spawn:C thaw:0 freeze:1 M1 schedule M2",
	     "A: A1", "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1 n=2 a1 m2");
	ck_assert_str_eq(other_trace(), "M1 C1 B1 A1 M2");
}
END_TEST

/* insert does nothing to a runnable one: [M A B] stays. */
START_TEST(insert_leaves_a_runnable_one_of_another_thread)
{
	play("m: freeze:0 insert:A m1 thaw:1",
	     "M: spawn:AB thaw:0 freeze:1 M1 count schedule M2", "A: A1",
	     "B: B1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 n=3 A1 B1 M2");
}
END_TEST

/* run puts a paused one at the front: [M C A B]; main goes on. */
START_TEST(run_puts_a_paused_one_at_the_front)
{
	play("m: spawn:a freeze:0 run:C m1 thaw:1 schedule m2", "a: a1",
	     "M: spawn:AB paused:C thaw:0 freeze:1 M1 schedule M2", "A: A1",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1 a1 m2");
	ck_assert_str_eq(other_trace(), "M1 C1 A1 B1 M2");
}
END_TEST

/* run puts a queued one at the front, out of its place: [M B A C]. */
START_TEST(run_puts_a_queued_one_at_the_front)
{
	play("m: freeze:0 run:B m1 thaw:1",
	     "M: spawn:ABC thaw:0 freeze:1 M1 schedule M2 count", "A: A1",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 B1 A1 C1 M2 n=1");
}
END_TEST

/* run twice: what came last is at the front, [M B A C]. */
START_TEST(run_of_two_puts_the_second_first)
{
	play("m: freeze:0 run:A run:B m1 thaw:1",
	     "M: paused:AB spawn:C thaw:0 freeze:1 M1 schedule M2", "A: A1",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 B1 A1 C1 M2");
}
END_TEST

/* run and insert: one at the front, one at the end: [M B C A]. */
START_TEST(run_and_insert_from_another_thread)
{
	play("m: freeze:0 insert:A run:B m1 thaw:1",
	     "M: paused:AB spawn:C thaw:0 freeze:1 M1 schedule M2", "A: A1",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 B1 C1 A1 M2");
}
END_TEST

/* switch is for tasklets of one's own thread; a blocked one cannot be inserted or
 * run; nothing moves. */
START_TEST(control_that_fails_across_threads)
{
	play("m: freeze:0 switch:A switch:B remove:C insert:C run:C "
	     "m1 thaw:1 freeze:2 insert:A run:A remove:A switch:A",
	     "M: spawn:AC paused:B run:C thaw:0 freeze:1 M1 state:A state:B "
	     "schedule send:x1 state:A thaw:2",
	     "A: A1", "B: B1", "C: receive:x C1");
	ck_assert_str_eq(trace(), "-EXDEV -EXDEV -EBUSY -EBUSY -EBUSY "
				  "m1 -ESRCH -ESRCH -ESRCH -ESRCH");
	ck_assert_str_eq(other_trace(),
			 "M1 A:runnable B:paused A1 x=1 C1 A:dead");
}
END_TEST

/* --- spawning on another thread --- */

/* R8: they go to the end of that ring: [M B C D]; main goes on. */
START_TEST(spawn_on_another_thread)
{
	play("m: spawn:a freeze:0 spawn:CD m1 count thaw:1 schedule m2",
	     "a: a1", "M: spawn:B thaw:0 freeze:1 M1 schedule M2", "B: B1",
	     "C: C1", "D: D1");
	ck_assert_str_eq(trace(), "m1 n=2 a1 m2");
	ck_assert_str_eq(other_trace(), "M1 B1 C1 D1 M2");
}
END_TEST

/* A paused one is in no ring until M inserts it: [M B], [M C]. */
START_TEST(spawn_paused_on_another_thread)
{
	play("m: freeze:0 paused:C m1 thaw:1",
	     "M: spawn:B thaw:0 freeze:1 M1 schedule M2 state:C insert:C "
	     "schedule M3",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 B1 M2 C:paused C1 M3");
}
END_TEST

/* A paused one that its maker inserts goes to the end: [M B C]. */
START_TEST(spawn_paused_and_insert_on_another_thread)
{
	play("m: freeze:0 paused:C insert:C m1 thaw:1",
	     "M: spawn:B thaw:0 freeze:1 M1 schedule M2", "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 B1 C1 M2");
}
END_TEST

/* A new one that its maker runs: at the front, [M C B]. */
START_TEST(spawn_and_run_on_another_thread)
{
	play("m: freeze:0 spawn:C run:C m1 thaw:1",
	     "M: spawn:B thaw:0 freeze:1 M1 schedule M2", "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 C1 B1 M2");
}
END_TEST

/* --- a thread that is parked --- */

/* R7, R8: M is blocked and alone, so its thread parks until main sends. */
START_TEST(send_wakes_a_parked_thread)
{
	play("m: spawn:a until_parked send:x1 m1 schedule m2", "a: a1",
	     "M: receive:x M1");
	ck_assert_str_eq(trace(), "m1 a1 m2");
	ck_assert_str_eq(other_trace(), "x=1 M1");
}
END_TEST

/* R7, R8: the same for a sender that waits. */
START_TEST(receive_wakes_a_parked_thread)
{
	play("m: spawn:a until_parked receive:x m1 schedule m2", "a: a1",
	     "M: send:x1 M1");
	ck_assert_str_eq(trace(), "x=1 m1 a1 m2");
	ck_assert_str_eq(other_trace(), "M1");
}
END_TEST

/* R8: a parked thread runs what it is given, in order, M last: each in its
 * turn goes to the end of a ring that is empty or holds those before it. */
START_TEST(spawn_wakes_a_parked_thread)
{
	play("m: until_parked spawn:ABC send:x1 m1", "M: receive:x M1", "A: A1",
	     "B: B1", "C: C1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 B1 C1 x=1 M1");
}
END_TEST

/* R7: in run a thread parks while a paused tasklet is left: another thread can
 * insert it. */
START_TEST(insert_wakes_a_thread_parked_in_run)
{
	play("m: until_parked insert:A m1", "M: spawn:A run M1",
	     "A: A1 schedule_remove A2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 A2 M:run=0 M1");
}
END_TEST

/* R7: the same by run of a foreign tasklet. */
START_TEST(run_wakes_a_thread_parked_in_run)
{
	play("m: until_parked run:A m1", "M: paused:A run M1", "A: A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "A1 M:run=0 M1");
}
END_TEST

/* R7: in run a thread parks while a tasklet is blocked: another thread can
 * send. */
START_TEST(send_wakes_a_thread_parked_in_run)
{
	play("m: until_parked send:x1 until_parked send:x2 m1",
	     "M: spawn:A run M1", "A: receive:x A1 receive:x A2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "x=1 A1 x=2 A2 M:run=0 M1");
}
END_TEST

/* Insert of one that is inside run, from another thread: the call returns 0
 * early, and M can run again. */
START_TEST(insert_from_another_thread_ends_a_run)
{
	play("m: until_parked insert:M send:x1 m1", "M: spawn:A run M1 run M2",
	     "A: receive:x A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M:run=0 M1 x=1 A1 M:run=0 M2");
}
END_TEST

/* The same by run. */
START_TEST(run_from_another_thread_ends_a_run)
{
	play("m: until_parked run:M send:x1 m1", "M: spawn:A run M1 run M2",
	     "A: receive:x A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M:run=0 M1 x=1 A1 M:run=0 M2");
}
END_TEST

/* R7: the inner run of two is what parks; A is inside too. */
START_TEST(send_wakes_a_thread_parked_in_a_nested_run)
{
	play("m: until_parked send:x1 m1", "M: spawn:AB run M1", "A: run A1",
	     "B: receive:x B1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "x=1 B1 A:run=0 A1 M:run=0 M1");
}
END_TEST

/* R7: run inside of pump parks; the pump around it does not. */
START_TEST(send_wakes_a_thread_parked_in_a_run_inside_of_pump)
{
	play("m: until_parked send:x1 m1", "M: spawn:AB pump M1", "A: run A1",
	     "B: receive:x B1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "x=1 B1 A:run=0 A1 M:pump=0 M1");
}
END_TEST

/* R7: a pump never parks: B is blocked, and another thread could send. */
START_TEST(pump_leaves_those_who_wait_for_another_thread)
{
	play("m: freeze:0 send:x1 m1 thaw:1",
	     "M: spawn:B pump thaw:0 freeze:1 pump M1", "B: receive:x B1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M:pump=1 x=1 B1 M:pump=0 M1");
}
END_TEST

/* R7, R8: two mains that wait for each other in turns. */
START_TEST(ping_pong_of_two_threads)
{
	play("m: send:x1 receive:y m1 send:x2 receive:y m2 send:x3 m3",
	     "M: receive:x send:y10 M1 receive:x send:y20 M2 receive:x M3");
	ck_assert_str_eq(trace(), "y=10 m1 y=20 m2 m3");
	ck_assert_str_eq(other_trace(), "x=1 M1 x=2 M2 x=3 M3");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace_threads");

	add_case(s, "R8 channels", woken_receiver_goes_to_the_end_of_its_ring,
		 woken_sender_goes_to_the_end_of_its_ring,
		 send_to_another_thread_favouring_nobody,
		 send_to_another_thread_favouring_the_sender,
		 send_to_another_thread_with_schedule_all,
		 receive_from_another_thread_favouring_nobody,
		 receive_from_another_thread_favouring_the_sender,
		 receive_from_another_thread_with_schedule_all,
		 woken_ones_follow_in_the_order_of_waking,
		 one_queue_for_both_threads, try_meets_those_of_another_thread);
	add_case(s, "R8 control", insert_goes_to_the_end_of_the_other_ring,
		 insert_leaves_a_runnable_one_of_another_thread,
		 run_puts_a_paused_one_at_the_front,
		 run_puts_a_queued_one_at_the_front,
		 run_of_two_puts_the_second_first,
		 run_and_insert_from_another_thread,
		 control_that_fails_across_threads);
	add_case(s, "R8 spawn", spawn_on_another_thread,
		 spawn_paused_on_another_thread,
		 spawn_paused_and_insert_on_another_thread,
		 spawn_and_run_on_another_thread);
	add_case(s, "R8 parked", send_wakes_a_parked_thread,
		 receive_wakes_a_parked_thread, spawn_wakes_a_parked_thread,
		 insert_wakes_a_thread_parked_in_run,
		 run_wakes_a_thread_parked_in_run,
		 send_wakes_a_thread_parked_in_run,
		 insert_from_another_thread_ends_a_run,
		 run_from_another_thread_ends_a_run,
		 send_wakes_a_thread_parked_in_a_nested_run,
		 send_wakes_a_thread_parked_in_a_run_inside_of_pump,
		 pump_leaves_those_who_wait_for_another_thread,
		 ping_pong_of_two_threads);
	return run_suite(s);
}
