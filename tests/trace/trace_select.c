/* SPDX-License-Identifier: MIT */
/*
 * weft_select(): exactly one case, by rules R9 and R10, and nothing is left of
 * the others. Deadlines are in trace_deadline.c.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- ready at once --- */

/* The only case that is ready is it. R9: the receiver is favoured and goes on. */
START_TEST(takes_what_is_ready)
{
	play("m: spawn:a schedule select:x?,y?,z! balance:x balance:y balance:z "
	     "m1 schedule",
	     "a: send:y5 a1");
	ck_assert_str_eq(trace(), "1=5 x+0 y+0 z+0 m1 a1");
}
END_TEST

/* R9: a receiver who waits and is favoured runs before select returns. */
START_TEST(sends_to_who_waits)
{
	play("m: spawn:ab schedule select:x?,y!7 m1", "a: receive:y a1",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 y=7 a1 b2 1! m1");
}
END_TEST

/* R9: with nobody favoured the caller goes on. */
START_TEST(preference_counts)
{
	play("m: prefer:y0 spawn:a schedule select:x?,y!7 m1 schedule",
	     "a: receive:y a1");
	ck_assert_str_eq(trace(), "1! m1 y=7 a1");
}
END_TEST

/* A buffer with room, or with something in it, is ready. */
START_TEST(buffers_are_ready)
{
	play("m: buffer:y1 select:x?,y!7 balance:y select:y!8,y? balance:y "
	     "try_select:y? ");
	ck_assert_str_eq(trace(), "1! y+1 1=7 y+0 -EAGAIN");
}
END_TEST

/* Without waiting: what is not ready leaves no trace. */
START_TEST(nonblock)
{
	play("m: try_select:x?,y!1 balance:x balance:y waiters:x spawn:a "
	     "schedule try_select:x?,y!1 m1",
	     "a: receive:y");
	ck_assert_str_eq(trace(), "-EAGAIN x+0 y+0 x[] y=1 1! m1");
}
END_TEST

/* A NULL channel is never ready. */
START_TEST(null_channels)
{
	play("m: try_select:-?,-! buffer:x1 select:-?,x!3,-! try_select:x?,-?");
	ck_assert_str_eq(trace(), "-EAGAIN 1! 0=3");
}
END_TEST

/* A closed channel is ready, with what the call would return. */
START_TEST(closed_channels_are_ready)
{
	play("m: close:y select:x?,y? select:x?,y!1 buffer:z1 send:z4 close:z "
	     "select:x?,z? select:x?,z?");
	ck_assert_str_eq(trace(), "1=-EPIPE 1=-EPIPE 1=4 1=-EPIPE");
}
END_TEST

/* An error that is sent is the result of the case. */
START_TEST(errors_are_results)
{
	play("m: buffer:y2 send_error:y11 send_error:y1 select:x?,y? "
	     "select:x?,y? try_select:y?");
	ck_assert_str_eq(trace(), "1=-EAGAIN 1=-EPERM -EAGAIN");
}
END_TEST

/* --- waiting --- */

/* R10: it waits in every channel, and is gone from all when it is served. R9: it
 * is favoured, and has run before send returns. */
START_TEST(waits_in_all)
{
	play("m: spawn:a schedule balance:x balance:y balance:z waiters:y "
	     "state:a send:y5 m1 balance:x balance:y balance:z",
	     "a: select:x?,y?,z!1 a1");
	ck_assert_str_eq(trace(),
			 "x-1 y-1 z+1 y[a] a:blocked 1=5 a1 m1 x+0 y+0 z+0");
}
END_TEST

/* Served but not yet run, it waits nowhere any more. */
START_TEST(served_ones_wait_nowhere)
{
	play("m: prefer:x0 spawn:a schedule send:x5 balance:x balance:y "
	     "waiters:y try_send:y1 m1 schedule",
	     "a: select:x?,y? a1");
	ck_assert_str_eq(trace(), "x+0 y+0 y[] -EAGAIN m1 0=5 a1");
}
END_TEST

/* It is served in the order of its coming, among those that wait plainly. */
START_TEST(first_come_first_served)
{
	play("m: spawn:abc schedule waiters:x send:x1 send:x2 send:x3 m1",
	     "a: receive:x a1", "b: select:y?,x? b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "x[abc] x=1 a1 1=2 b1 x=3 c1 m1");
}
END_TEST

/* A sending case gives its element when it is claimed. */
START_TEST(sending_case_is_received)
{
	play("m: spawn:a schedule receive:y balance:x balance:y m1 schedule",
	     "a: select:x?,y!6 a1");
	ck_assert_str_eq(trace(), "y=6 x+0 y+0 m1 1! a1");
}
END_TEST

/* Both directions of one channel: whoever comes gets the other one. */
START_TEST(both_directions_of_a_channel)
{
	play("m: spawn:a schedule balance:x waiters:x send:x5 m1 balance:x "
	     "spawn:b schedule receive:x m2 balance:x schedule",
	     "a: select:x?,x!6 a1", "b: select:x?,x!6 b1");
	ck_assert_str_eq(trace(), "x+0 x[aa] 0=5 a1 m1 x+0 x=6 m2 x+0 1! b1");
}
END_TEST

/* Two selections meet. R9: a is favoured; b, who came, is last in [a m b]. */
START_TEST(selections_meet)
{
	play("m: spawn:ab schedule balance:x balance:y balance:z m1 schedule",
	     "a: select:x?,z? a1", "b: select:y?,x!7 b1");
	ck_assert_str_eq(trace(), "0=7 a1 x+0 y+0 z+0 m1 1! b1");
}
END_TEST

/* The same channel twice. */
START_TEST(a_channel_twice)
{
	play("m: spawn:a schedule balance:x send:x5 balance:x m1",
	     "a: select:x?,x? a1");
	ck_assert_str_eq(trace(), "x-2 0=5 a1 x+0 m1");
}
END_TEST

/* A buffer that gets room takes the element of a case that waits. */
START_TEST(refill_from_a_case)
{
	play("m: buffer:x1 send:x1 spawn:a schedule balance:x receive:x "
	     "balance:x balance:y schedule receive:x",
	     "a: select:y?,x!2 a1");
	ck_assert_str_eq(trace(), "x+2 x=1 x+1 y+0 1! a1 x=2");
}
END_TEST

/* Close is an answer to a case that receives; one that sends still waits. */
START_TEST(close_while_waiting)
{
	play("m: spawn:ab schedule close:x close:z balance:y schedule state:b "
	     "receive:z schedule",
	     "a: select:y?,x? a1", "b: select:y?,z!3 b1");
	ck_assert_str_eq(trace(), "y-1 1=-EPIPE a1 b:blocked z=3 1! b1");
}
END_TEST

/* An error goes to a case as it does to a receive. */
START_TEST(error_to_a_case)
{
	play("m: spawn:a schedule send_error:y5 balance:x m1",
	     "a: select:x?,y? a1");
	ck_assert_str_eq(trace(), "1=-EIO a1 x+0 m1");
}
END_TEST

/* Nothing to wait for: until something interrupts. */
START_TEST(no_cases)
{
	play("m: spawn:ab schedule state:a raise:a4 kill:b m1", "a: select: a1",
	     "b: select:-?,-! b1");
	ck_assert_str_eq(trace(), "a:blocked -EINTR a1 -ECANCELED b1 m1");
}
END_TEST

/* A kill takes all its waiters out; who comes next finds nobody. */
START_TEST(kill_withdraws_all)
{
	play("m: spawn:a schedule kill:a balance:x balance:y balance:z "
	     "try_send:x1 try_receive:z",
	     "a: select:x?,y?,z!1 a1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 x+0 y+0 z+0 -EAGAIN -EAGAIN");
}
END_TEST

/* What has been handed over is not lost: the kill comes with the next call. */
START_TEST(kill_after_the_claim)
{
	play("m: prefer:x0 spawn:a schedule send:x5 kill:a m1 schedule",
	     "a: select:x?,y? a1 select:y?");
	ck_assert_str_eq(trace(), "0=5 a1 -ECANCELED m1");
}
END_TEST

/* Traps: it may not wait, or may not switch, and nothing has moved. */
START_TEST(traps)
{
	play("m: block_trap:1 select:x?,y? balance:x block_trap:0 spawn:a "
	     "schedule switch_trap:1 select:y?,x!1 select:y? balance:x "
	     "balance:y switch_trap:-1 select:y?,x!2 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(),
			 "-EAGAIN x+0 -EPERM -EPERM x-1 y+0 x=2 a1 1! m1");
}
END_TEST

/* A case that would switch cannot go through under a switch trap: it takes no
 * chance from those that can. */
START_TEST(traps_leave_what_does_not_switch)
{
	play("m: buffer:y9 spawn:a schedule switch_trap:1 select:x!1,y!2 "
	     "select:x!1,y!2 select:x!1,y!2 select:x!1,y!2 select:x!1,y!2 "
	     "select:x!1,y!2 select:x!1,y!2 select:x!1,y!2 try_select:x!1 "
	     "prefer:x0 select:x!1,z? switch_trap:-1 schedule",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "1! 1! 1! 1! 1! 1! 1! 1! -EPERM 0! x=1 a1");
}
END_TEST

/* The callback is told of the case that goes through, or of all that wait. */
START_TEST(callback)
{
	play("m: buffer:y1 send:y1 spawn:a tell_channels:1 select:x?,y? "
	     "try_select:x?,y? select:x?,-?,y? m1",
	     "a: send:y8");
	ck_assert_str_eq(trace(), "m?y 1=1 m?x~ m?y~ -EAGAIN m?x~ m?y~ a!y 2=8 "
				  "m1");
}
END_TEST

/* --- other threads --- */

/* R8: a case is served by another thread, and the tasklet woken. */
START_TEST(served_from_another_thread)
{
	play("m: until_parked send:y5 m1 balance:x balance:y",
	     "M: select:x?,y? M1");
	ck_assert_str_eq(trace(), "m1 x+0 y+0");
	ck_assert_str_eq(other_trace(), "1=5 M1");
}
END_TEST

/* R8: it serves who waits on another thread, and goes on. */
START_TEST(serves_another_thread)
{
	play("m: until_parked select:x?,y!5 m1", "M: receive:y M1");
	ck_assert_str_eq(trace(), "1! m1");
	ck_assert_str_eq(other_trace(), "y=5 M1");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace_select");

	add_case(suite, "ready at once", takes_what_is_ready,
		 sends_to_who_waits, preference_counts, buffers_are_ready,
		 nonblock, null_channels, closed_channels_are_ready,
		 errors_are_results);
	add_case(suite, "waiting", waits_in_all, served_ones_wait_nowhere,
		 first_come_first_served, sending_case_is_received,
		 both_directions_of_a_channel, selections_meet, a_channel_twice,
		 refill_from_a_case, close_while_waiting, error_to_a_case,
		 no_cases, kill_withdraws_all, kill_after_the_claim, traps,
		 traps_leave_what_does_not_switch, callback);
	add_case(suite, "other threads", served_from_another_thread,
		 serves_another_thread);
	return run_suite(suite);
}
