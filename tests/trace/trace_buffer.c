/* SPDX-License-Identifier: MIT */
/*
 * Rules R9 and R10 for channels with a buffer, closing, errors, and several
 * elements at once. A buffered channel favours nobody until it is told to.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- the buffer --- */

/* A send that finds room goes on, and so does a receive that finds an element:
 * nobody else runs in between. */
START_TEST(room_and_elements_do_not_switch)
{
	play("m: buffer:x3 spawn:a send:x1 send:x2 balance:x receive:x "
	     "receive:x balance:x m1 schedule",
	     "a: a1");
	ck_assert_str_eq(trace(), "x+2 x=1 x=2 x+0 m1 a1");
}
END_TEST

/* R10: a send on a full buffer leaves the ring; it counts in the balance. */
START_TEST(a_full_buffer_blocks)
{
	play("m: buffer:x2 spawn:a schedule balance:x state:a waiters:x",
	     "a: send:x1 a1 send:x2 a2 send:x3 a3");
	ck_assert_str_eq(trace(), "a1 a2 x+3 a:blocked x[a]");
}
END_TEST

/* R9: the receive that makes room moves the element of the oldest sender in; that
 * one goes to the end, and the caller goes on: [m b] is then [m b a]. */
START_TEST(the_oldest_sender_refills)
{
	play("m: buffer:x1 spawn:ac schedule spawn:b receive:x balance:x "
	     "state:a waiters:x schedule receive:x receive:x schedule m9",
	     "a: send:x1 send:x2 a1", "b: b1", "c: send:x3 c1");
	ck_assert_str_eq(trace(),
			 "x=1 x+2 a:runnable x[c] b1 a1 x=2 x=3 c1 m9");
}
END_TEST

/* R9: a receiver that waits gets the element past the buffer, goes to the end, and
 * the sender goes on. */
START_TEST(a_waiting_receiver_is_served_in_its_turn)
{
	play("m: buffer:x2 spawn:ab schedule send:x5 m1 balance:x schedule m2",
	     "a: receive:x a1", "b: b1");
	ck_assert_str_eq(trace(), "b1 m1 x+0 x=5 a1 m2");
}
END_TEST

/* R9: a buffer is filled and drained in runs. */
START_TEST(runs_not_switches)
{
	play("m: buffer:x2 spawn:ab run",
	     "a: send:x1 a1 send:x2 a2 send:x3 a3 send:x4 a4",
	     "b: receive:x b1 receive:x b2 receive:x b3 receive:x b4");
	ck_assert_str_eq(trace(), "a1 a2 x=1 b1 x=2 b2 x=3 b3 a3 a4 x=4 b4 "
				  "m:run=0");
}
END_TEST

/* R9: with the receiver favoured, it runs at once, and the sender is last. */
START_TEST(preference_for_receivers)
{
	play("m: buffer:x2 prefer:x-1 spawn:ab schedule send:x5 m1",
	     "a: receive:x a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 x=5 a1 b2 m1");
}
END_TEST

/* R9: with the sender favoured, one that was waiting runs as soon as its element
 * is in the buffer. */
START_TEST(preference_for_senders)
{
	play("m: buffer:x1 prefer:x1 spawn:ab schedule receive:x m1 balance:x",
	     "a: send:x1 a1 send:x2 a2", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a2 b2 x=1 m1 x+1");
}
END_TEST

/* A sender that is favoured, and finds room, has nobody to switch to. */
START_TEST(no_peer_no_switch)
{
	play("m: buffer:x2 prefer:x-1 spawn:a send:x1 m1 receive:x m2 "
	     "schedule_all:x1 send:x2 m3 schedule",
	     "a: a1");
	ck_assert_str_eq(trace(), "m1 x=1 m2 m3 a1");
}
END_TEST

/* R9: with schedule_all the peer goes to the end and the caller gives way: of
 * [m b a], cursor on b. */
START_TEST(schedule_all_gives_way)
{
	play("m: buffer:x2 schedule_all:x1 spawn:ab schedule send:x5 m1",
	     "a: receive:x a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 b2 x=5 a1 m1");
}
END_TEST

/* The try_ calls do what need not wait. */
START_TEST(try_calls)
{
	play("m: buffer:x1 try_receive:x try_send:x1 try_send:x2 balance:x "
	     "try_receive:x balance:x m1");
	ck_assert_str_eq(trace(), "-EAGAIN -EAGAIN x+1 x=1 x+0 m1");
}
END_TEST

/* A killed sender leaves nothing behind; what is in the buffer stays. */
START_TEST(a_killed_sender_leaves_the_buffer)
{
	play("m: buffer:x1 spawn:a schedule balance:x kill:a balance:x "
	     "receive:x try_receive:x",
	     "a: send:x1 send:x2 a1");
	ck_assert_str_eq(trace(), "x+2 -ECANCELED a1 x+1 x=1 -EAGAIN");
}
END_TEST

/* A kill comes before an element that is there. */
START_TEST(killed_ones_take_nothing)
{
	play("m: buffer:x1 send:x1 spawn:a schedule kill_pending:a schedule "
	     "schedule balance:x",
	     "a: schedule receive:x");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED x+1");
}
END_TEST

/* A block trap forbids waiting, not using the buffer. */
START_TEST(block_trap)
{
	play("m: buffer:x1 block_trap:1 send:x1 m1 send:x2 receive:x receive:x");
	ck_assert_str_eq(trace(), "m1 -EAGAIN x=1 -EAGAIN");
}
END_TEST

/* A switch trap forbids serving a peer who would run at once, and nothing has
 * moved; it does not forbid serving one who would not. */
START_TEST(switch_trap)
{
	play("m: buffer:x2 spawn:a schedule switch_trap:1 prefer:x-1 send:x1 "
	     "balance:x prefer:x0 send:x1 balance:x switch_trap:-1 schedule",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EPERM x-1 x+0 x=1 a1");
}
END_TEST

/* The callback is told before each operation, and whether it will wait. */
START_TEST(callback)
{
	play("m: buffer:x1 spawn:a tell_channels:1 send:x1 receive:x "
	     "try_receive:x send:x2 send:x3 m1",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "m!x m?x x=1 m?x~ -EAGAIN m!x m!x~ a?x x=2 "
				  "a1 m1");
}
END_TEST

/* --- several at once --- */

/* What finds room goes at once; the rest is as so many sends. */
START_TEST(send_many_fills_and_waits)
{
	play("m: buffer:x2 spawn:a schedule balance:x receive:x receive:x "
	     "receive:x schedule receive:x",
	     "a: send_many:x1234 a1");
	ck_assert_str_eq(trace(), "x+3 x=1 x=2 x=3 x<4 a1 x=4");
}
END_TEST

/* It waits for the first and takes what is there, no more. Served with 1, a is
 * behind m in [b m a], and b has filled the buffer and waits with 6. */
START_TEST(receive_many_takes_what_is_there)
{
	play("m: buffer:x4 spawn:ab schedule balance:x schedule m1 balance:x "
	     "schedule",
	     "a: receive_many:x3 a1 receive_many:x9 a2",
	     "b: send_many:x123456 b1");
	ck_assert_str_eq(trace(), "x+5 x=123 a1 x=456 a2 m1 x+0 x<6 b1");
}
END_TEST

/* Senders that wait are served too, each in its turn. */
START_TEST(receive_many_serves_senders)
{
	play("m: buffer:x1 spawn:abc schedule receive_many:x9 balance:x m1 "
	     "schedule",
	     "a: send:x1 a1", "b: send:x2 b1", "c: send:x3 c1");
	ck_assert_str_eq(trace(), "a1 x=123 x+0 m1 b1 c1");
}
END_TEST

/* On a rendezvous channel too. R9: the receiver is favoured and goes on. */
START_TEST(receive_many_of_a_rendezvous)
{
	play("m: spawn:abc schedule receive_many:x2 balance:x m1 schedule",
	     "a: send:x1 a1", "b: send:x2 b1", "c: send:x3 c1");
	ck_assert_str_eq(trace(), "x=12 x+1 m1 a1 b1");
}
END_TEST

/* n sends: the receiver has run in between. */
START_TEST(send_many_of_a_rendezvous)
{
	play("m: spawn:a schedule send_many:x12 m1",
	     "a: receive:x a1 receive:x "
	     "a2");
	ck_assert_str_eq(trace(), "x=1 a1 x=2 a2 x<2 m1");
}
END_TEST

/* An error ends it, with what went before. */
START_TEST(many_and_a_kill)
{
	play("m: buffer:x2 spawn:a schedule kill:a balance:x spawn:b schedule "
	     "kill:b",
	     "a: send_many:x123 a1", "b: receive_many:x2 receive_many:x2 b1");
	ck_assert_str_eq(trace(), "x<2 a1 x+2 x=12 -ECANCELED b1");
}
END_TEST

/* --- errors --- */

/* An error takes the place of an element, in order. EINTR is 4, EIO 5. */
START_TEST(errors_in_a_buffer)
{
	play("m: buffer:x4 send:x1 send_error:x5 send:x2 balance:x receive:x "
	     "receive:x receive:x balance:x");
	ck_assert_str_eq(trace(), "x+3 x=1 -EIO x=2 x+0");
}
END_TEST

/* R9: a receiver that waits is served with the error, as with an element. */
START_TEST(error_to_a_waiting_receiver)
{
	play("m: spawn:ab schedule send_error:x5 m1", "a: receive:x a1",
	     "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 -EIO a1 b2 m1");
}
END_TEST

/* R10: a sender of an error waits as any other. */
START_TEST(error_waits_for_a_receiver)
{
	play("m: spawn:ab schedule balance:x waiters:x receive:x receive:x m1 "
	     "schedule",
	     "a: send_error:x5 a1", "b: send:x2 b1");
	ck_assert_str_eq(trace(), "x+2 x[ab] -EIO x=2 m1 a1 b1");
}
END_TEST

/* An error of a waiting sender moves into the buffer. */
START_TEST(error_refills)
{
	play("m: buffer:x1 spawn:a schedule receive:x balance:x receive:x "
	     "receive:x schedule",
	     "a: send:x1 send_error:x5 a1 send:x2 a2");
	ck_assert_str_eq(trace(), "x=1 x+1 -EIO a1 a2 x=2");
}
END_TEST

/* receive_many leaves an error that does not come first. */
START_TEST(errors_end_receive_many)
{
	play("m: buffer:x4 send:x1 send_error:x5 send:x2 receive_many:x9 "
	     "balance:x receive_many:x9 receive_many:x9 spawn:a schedule "
	     "receive_many:x9 try_receive:x",
	     "a: send:x3 send_error:x4");
	ck_assert_str_eq(trace(), "x=1 x+2 -EIO x=2 x=3 -EINTR");
}
END_TEST

/* Only errors above 0 are. */
START_TEST(no_error_is_no_error)
{
	play("m: send_error:x0 send_error:x-5 buffer:x1 send_error:x0 "
	     "balance:x");
	ck_assert_str_eq(trace(), "-EINVAL -EINVAL -EINVAL x+0");
}
END_TEST

/* --- closing --- */

/* Receivers that wait are told, in their turn: [m b] is then [m b a c]. */
START_TEST(close_wakes_receivers)
{
	play("m: spawn:ac schedule spawn:b close:x balance:x state:a m1 "
	     "schedule m2",
	     "a: receive:x a1", "b: b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "x+0 a:runnable m1 b1 -EPIPE a1 -EPIPE c1 "
				  "m2");
}
END_TEST

/* What is in the buffer can still be received; new sends cannot be. */
START_TEST(close_drains_the_buffer)
{
	play("m: buffer:x2 send:x1 send:x2 closed:x close:x closed:x send:x3 "
	     "receive:x closed:x receive:x closed:x receive:x try_receive:x "
	     "try_send:x1");
	ck_assert_str_eq(trace(), "x:open x:closing -EPIPE x=1 x:closing x=2 "
				  "x:closed -EPIPE -EPIPE -EPIPE");
}
END_TEST

/* So can what those bring who were waiting to send. */
START_TEST(close_serves_waiting_senders)
{
	play("m: spawn:ab schedule close:x closed:x receive:x receive:x "
	     "receive:x closed:x schedule",
	     "a: send:x1 a1", "b: send:x2 b1 send:x3 b2");
	ck_assert_str_eq(trace(), "x:closing x=1 x=2 -EPIPE x:closed a1 b1 "
				  "-EPIPE b2");
}
END_TEST

/* A full buffer and those behind it drain in order. */
START_TEST(close_drains_buffer_and_senders)
{
	play("m: buffer:x1 spawn:a schedule close:x receive:x receive:x "
	     "receive:x schedule",
	     "a: send:x1 send:x2 a1");
	ck_assert_str_eq(trace(), "x=1 x=2 -EPIPE a1");
}
END_TEST

/* open undoes it; twice is once. */
START_TEST(open_again)
{
	play("m: open:x close:x close:x send:x1 open:x closed:x spawn:a "
	     "schedule send:x2",
	     "a: receive:x a1");
	ck_assert_str_eq(trace(), "-EPIPE x:open x=2 a1");
}
END_TEST

/* A closed channel is an answer at once, so a block trap has no say; a kill
 * comes first. */
START_TEST(close_and_traps)
{
	play("m: close:x block_trap:1 receive:x block_trap:0 spawn:a schedule "
	     "kill:a schedule schedule",
	     "a: schedule receive:x receive:x");
	ck_assert_str_eq(trace(), "-EPIPE -ECANCELED -ECANCELED -ECANCELED");
}
END_TEST

/* Waiters of another thread are told by close, too, and the caller goes on. */
START_TEST(close_of_another_threads_waiters)
{
	play("m: until_parked close:x m1", "M: spawn:A receive:x M1 run",
	     "A: receive:x A1");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "-EPIPE M1 -EPIPE A1 M:run=0");
}
END_TEST

/* --- without a limit --- */

/* A send goes on, however many there are, and nobody else runs in between. */
START_TEST(unbounded_sends_never_wait)
{
	play("m: unbounded:x spawn:a send_many:x123456789 send_many:x123456789 "
	     "balance:x m1 receive_many:x9 balance:x schedule",
	     "a: a1");
	ck_assert_str_eq(trace(), "x<9 x<9 x+18 m1 x=123456789 x+9 a1");
}
END_TEST

/* R10 for its receivers; R9: who waits goes to the end, and the caller goes on. */
START_TEST(unbounded_receivers_wait)
{
	play("m: unbounded:x spawn:ab schedule waiters:x send:x5 m1 send:x6 "
	     "balance:x schedule m2",
	     "a: receive:x a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 x[a] m1 x+1 b2 x=5 a1 m2");
}
END_TEST

/* R9: it follows a preference, and schedule_all. */
START_TEST(unbounded_preference)
{
	play("m: unbounded:x prefer:x-1 spawn:ab schedule send:x5 m1 send:x6 "
	     "m2 schedule",
	     "a: receive:x a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 x=5 a1 b2 m1 m2");
}
END_TEST

START_TEST(unbounded_schedule_all)
{
	play("m: unbounded:x schedule_all:x1 spawn:ab schedule send:x5 m1",
	     "a: receive:x a1", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "b1 b2 x=5 a1 m1");
}
END_TEST

/* What is there can be received after the close; opened, it takes more. */
START_TEST(unbounded_close)
{
	play("m: unbounded:x send:x1 send_error:x5 send:x2 close:x send:x3 "
	     "closed:x receive:x receive:x receive:x closed:x receive:x "
	     "open:x send:x4 receive:x");
	ck_assert_str_eq(trace(), "-EPIPE x:closing x=1 -EIO x=2 x:closed "
				  "-EPIPE x=4");
}
END_TEST

/* A send is told to go on, and a selection can always send. */
START_TEST(unbounded_callback_and_select)
{
	play("m: unbounded:x tell_channels:1 send:x1 send:x2 tell_channels:0 "
	     "select:y?,x!3 try_select:y?,x!4 balance:x close:x "
	     "try_select:x!5");
	ck_assert_str_eq(trace(), "m!x m!x 1! 1! x+4 0=-EPIPE");
}
END_TEST

/* A kill comes first; a block trap and a switch trap have no say. */
START_TEST(unbounded_kill_and_traps)
{
	play("m: unbounded:x spawn:a schedule kill_pending:a schedule "
	     "schedule schedule balance:x block_trap:1 switch_trap:1 send:x1 receive:x "
	     "receive:x receive:x switch_trap:-1",
	     "a: schedule send:x9 try_send:x8");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED x+1 x=8 x=1 -EAGAIN");
}
END_TEST

/* R8: a buffer between threads: the sender goes on, the receiver is woken. */
START_TEST(buffer_between_threads)
{
	play("m: buffer:x2 thaw:1 until_parked send:x1 m1 freeze:2 send:x2 "
	     "send:x3 balance:x thaw:3",
	     "M: freeze:1 receive:x M1 thaw:2 freeze:3 receive:x receive:x M2");
	ck_assert_str_eq(trace(), "m1 x+2");
	ck_assert_str_eq(other_trace(), "x=1 M1 x=2 x=3 M2");
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("trace_buffer");

	add_case(suite, "the buffer", room_and_elements_do_not_switch,
		 a_full_buffer_blocks, the_oldest_sender_refills,
		 a_waiting_receiver_is_served_in_its_turn, runs_not_switches,
		 preference_for_receivers, preference_for_senders,
		 no_peer_no_switch, schedule_all_gives_way, try_calls,
		 a_killed_sender_leaves_the_buffer, killed_ones_take_nothing,
		 block_trap, switch_trap, callback);
	add_case(suite, "several at once", send_many_fills_and_waits,
		 receive_many_takes_what_is_there, receive_many_serves_senders,
		 receive_many_of_a_rendezvous, send_many_of_a_rendezvous,
		 many_and_a_kill);
	add_case(suite, "errors", errors_in_a_buffer,
		 error_to_a_waiting_receiver, error_waits_for_a_receiver,
		 error_refills, errors_end_receive_many, no_error_is_no_error);
	add_case(suite, "closing", close_wakes_receivers,
		 close_drains_the_buffer, close_serves_waiting_senders,
		 close_drains_buffer_and_senders, open_again, close_and_traps,
		 close_of_another_threads_waiters);
	add_case(suite, "without a limit", unbounded_sends_never_wait,
		 unbounded_receivers_wait, unbounded_preference,
		 unbounded_schedule_all, unbounded_close,
		 unbounded_callback_and_select, unbounded_kill_and_traps);
	add_case(suite, "between threads", buffer_between_threads);
	return run_suite(suite);
}
