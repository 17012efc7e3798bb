/* SPDX-License-Identifier: MIT */
/*
 * Rules R9 and R10: channels between the tasklets of one thread.
 *
 * The comments write the ring from the cursor on: [m b c] is m running, then b,
 * then c. A new channel favours receivers and has schedule_all off.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- R10: nobody is waiting --- */

/* R10: a leaves [a b m] for the channel; the balance is one receiver. */
START_TEST(receive_blocks)
{
	play("m: balance:x spawn:ab schedule count balance:x state:a send:x1 "
	     "m1 balance:x",
	     "a: a1 receive:x a2", "b: b1");
	ck_assert_str_eq(trace(), "x+0 a1 b1 n=1 x-1 a:blocked x=1 a2 m1 x+0");
}
END_TEST

/* R10: the same for a sender. R9: the receiver, main, is favoured and goes on;
 * a is at the end of [m a]. */
START_TEST(send_blocks)
{
	play("m: spawn:ab schedule count balance:x state:a receive:x m1 "
	     "balance:x state:a schedule m2",
	     "a: a1 send:x7 a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 n=1 x+1 a:blocked x=7 m1 x+0 "
				  "a:runnable a2 m2");
}
END_TEST

/* R10: main blocks as any other: [a b], [b a]. */
START_TEST(main_blocks)
{
	play("m: spawn:ab receive:x m1", "a: a1 state:m schedule a2 send:x1",
	     "b: b1 balance:x");
	ck_assert_str_eq(trace(), "a1 m:blocked b1 x-1 a2 x=1 m1");
}
END_TEST

/* R10: senders are served in the order of their coming. */
START_TEST(senders_queue_up)
{
	play("m: spawn:abc schedule balance:x waiters:x receive:x balance:x "
	     "receive:x balance:x receive:x balance:x m1 schedule m2",
	     "a: send:x1 a1", "b: send:x2 b1", "c: send:x3 c1");
	/* each goes to the end when it is served: [m a b c] */
	ck_assert_str_eq(trace(), "x+3 x[abc] x=1 x+2 x=2 x+1 x=3 x+0 m1 a1 "
				  "b1 c1 m2");
}
END_TEST

/* R10: receivers too. R9: each runs, and ends, before send returns. */
START_TEST(receivers_queue_up)
{
	play("m: spawn:abc schedule balance:x waiters:x send:x1 m1 balance:x "
	     "send:x2 m2 balance:x send:x3 m3 balance:x",
	     "a: receive:x a1", "b: receive:x b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "x-3 x[abc] x=1 a1 m1 x-2 x=2 b1 m2 x-1 x=3 "
				  "c1 m3 x+0");
}
END_TEST

/* R10: with nobody favoured the order is the same: [m a b c]. */
START_TEST(receivers_queue_up_with_no_preference)
{
	play("m: prefer:x0 spawn:abc schedule send:x1 send:x2 send:x3 m1 "
	     "schedule m2",
	     "a: receive:x a1", "b: receive:x b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "m1 x=1 a1 x=2 b1 x=3 c1 m2");
}
END_TEST

/* R10: it is the order of coming to the channel, not of spawning: main runs c
 * first, in [c m a b]. */
START_TEST(waiters_in_order_of_coming)
{
	play("m: spawn:abc run:c schedule waiters:x send:x1 m1 send:x2 m2 "
	     "send:x3 m3",
	     "a: receive:x a1", "b: receive:x b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "x[cab] x=1 c1 m1 x=2 a1 m2 x=3 b1 m3");
}
END_TEST

/* R10: one that comes back queues behind the others. */
START_TEST(waiter_that_comes_back_is_last)
{
	play("m: spawn:ab schedule waiters:x send:x1 waiters:x send:x2 "
	     "waiters:x send:x3 m1",
	     "a: receive:x a1 receive:x a2", "b: receive:x b1");
	ck_assert_str_eq(trace(), "x[ab] x=1 a1 x[ba] x=2 b1 x[a] x=3 a2 m1");
}
END_TEST

/* R10: two channels have two queues. b and d, served, go to the end (R9), and
 * a and c run before them: [m a b], then [m c d]. */
START_TEST(channels_are_apart)
{
	play("m: spawn:abcd schedule balance:x balance:y waiters:x waiters:y "
	     "receive:y send:x1 receive:y send:x2 m1",
	     "a: receive:x a1", "b: send:y8 b1", "c: receive:x c1",
	     "d: send:y9 d1");
	ck_assert_str_eq(trace(), "x-2 y+2 x[ac] y[bd] y=8 x=1 a1 b1 y=9 x=2 "
				  "c1 d1 m1");
}
END_TEST

/* --- R9: a peer is waiting. [m b c] and a waits for main --- */

#define SENDER_MEETS_A   "spawn:bc send:x1 m1 schedule m2 schedule m3"
#define WAITING_RECEIVER "a: receive:x a1 schedule a2"

/* R9: a is favoured: [m a b c], cursor on a; main is last. */
START_TEST(send_favouring_the_receiver)
{
	play("m: spawn:a schedule prefer:x-1 " SENDER_MEETS_A, WAITING_RECEIVER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "x=1 a1 b1 c1 m1 a2 m2 m3");
}
END_TEST

/* R9: nobody is favoured: [m b c a], main goes on. */
START_TEST(send_favouring_nobody)
{
	play("m: spawn:a schedule prefer:x0 " SENDER_MEETS_A, WAITING_RECEIVER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "m1 b1 c1 x=1 a1 m2 a2 m3");
}
END_TEST

/* R9: the sender is favoured: the same. */
START_TEST(send_favouring_the_sender)
{
	play("m: spawn:a schedule prefer:x1 " SENDER_MEETS_A, WAITING_RECEIVER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "m1 b1 c1 x=1 a1 m2 a2 m3");
}
END_TEST

/* R9: schedule_all: [m b c a], and main gives way: [b c a m]. */
START_TEST(send_with_schedule_all)
{
	play("m: spawn:a schedule schedule_all:x1 " SENDER_MEETS_A,
	     WAITING_RECEIVER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 x=1 a1 m1 a2 m2 m3");
}
END_TEST

/* R9: schedule_all comes before the preference, whatever that is. */
START_TEST(send_with_schedule_all_favouring_nobody)
{
	play("m: spawn:a schedule schedule_all:x1 prefer:x0 " SENDER_MEETS_A,
	     WAITING_RECEIVER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 x=1 a1 m1 a2 m2 m3");
}
END_TEST

START_TEST(send_with_schedule_all_favouring_the_sender)
{
	play("m: spawn:a schedule schedule_all:x1 prefer:x1 " SENDER_MEETS_A,
	     WAITING_RECEIVER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 x=1 a1 m1 a2 m2 m3");
}
END_TEST

#define RECEIVER_MEETS_A "spawn:bc receive:x m1 schedule m2 schedule m3"
#define WAITING_SENDER   "a: send:x1 a1 schedule a2"

/* R9: the receiver is main itself: [m b c a], main goes on. */
START_TEST(receive_favouring_the_receiver)
{
	play("m: spawn:a schedule prefer:x-1 " RECEIVER_MEETS_A, WAITING_SENDER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "x=1 m1 b1 c1 a1 m2 a2 m3");
}
END_TEST

/* R9: nobody is favoured: the same. */
START_TEST(receive_favouring_nobody)
{
	play("m: spawn:a schedule prefer:x0 " RECEIVER_MEETS_A, WAITING_SENDER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "x=1 m1 b1 c1 a1 m2 a2 m3");
}
END_TEST

/* R9: a is favoured: [m a b c], cursor on a; main is last. */
START_TEST(receive_favouring_the_sender)
{
	play("m: spawn:a schedule prefer:x1 " RECEIVER_MEETS_A, WAITING_SENDER,
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 c1 x=1 m1 a2 m2 m3");
}
END_TEST

/* R9: schedule_all: [m b c a], and main gives way: [b c a m]. */
START_TEST(receive_with_schedule_all)
{
	play("m: spawn:a schedule schedule_all:x1 " RECEIVER_MEETS_A,
	     WAITING_SENDER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 x=1 m1 a2 m2 m3");
}
END_TEST

/* R9: schedule_all comes before the preference, whatever that is. */
START_TEST(receive_with_schedule_all_favouring_nobody)
{
	play("m: spawn:a schedule schedule_all:x1 prefer:x0 " RECEIVER_MEETS_A,
	     WAITING_SENDER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 x=1 m1 a2 m2 m3");
}
END_TEST

START_TEST(receive_with_schedule_all_favouring_the_sender)
{
	play("m: spawn:a schedule schedule_all:x1 prefer:x1 " RECEIVER_MEETS_A,
	     WAITING_SENDER, "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 x=1 m1 a2 m2 m3");
}
END_TEST

/* R9: the one who waits can be main: [a b] to [a m b], cursor on m. */
START_TEST(main_is_the_favoured_receiver)
{
	play("m: spawn:ab receive:x m1 schedule m2", "a: a1 send:x5 a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 x=5 m1 b1 a2 m2");
}
END_TEST

/* R9: main waits to send and is favoured: [a m b], cursor on m. */
START_TEST(main_is_the_favoured_sender)
{
	play("m: prefer:x1 spawn:ab send:x5 m1 schedule m2",
	     "a: a1 receive:x a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m1 b1 x=5 a2 m2");
}
END_TEST

/* R9: main waits and is not favoured: [a b m]. */
START_TEST(main_is_not_favoured)
{
	play("m: prefer:x0 spawn:ab receive:x m1", "a: a1 send:x5 a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 b1 x=5 m1");
}
END_TEST

/* R9: schedule_all with main waiting: [a b m], a gives way: [b m a]. */
START_TEST(main_with_schedule_all)
{
	play("m: schedule_all:x1 spawn:ab receive:x m1 schedule m2",
	     "a: a1 send:x5 a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 x=5 m1 a2 m2");
}
END_TEST

/* R9: the preference that counts is that of the meeting, not of the waiting. */
START_TEST(preference_at_the_meeting_counts)
{
	play("m: prefer:x0 spawn:a schedule prefer:x-1 send:x1 m1 schedule "
	     "prefer:x0 send:x2 m2 schedule m3",
	     "a: receive:x a1 receive:x a2");
	/* a runs at once and waits again; then it goes to the end */
	ck_assert_str_eq(trace(), "x=1 a1 m1 m2 x=2 a2 m3");
}
END_TEST

/* R9 twice: a, favoured, sends on to b: [m a], [m a b], cursor on b. */
START_TEST(a_chain_of_favoured_receivers)
{
	play("m: spawn:ab schedule send:x1 m1 schedule m2",
	     "a: receive:x a1 send:y2 a2", "b: receive:y b1");
	ck_assert_str_eq(trace(), "x=1 a1 y=2 b1 m1 a2 m2");
}
END_TEST

/* R9, R2: a peer sent to the end is in the ring, and can be taken out of it. */
START_TEST(a_served_peer_can_be_removed)
{
	play("m: prefer:x0 spawn:ab schedule send:x1 remove:a schedule m1 "
	     "insert:a schedule m2",
	     "a: receive:x a1", "b: schedule b1");
	ck_assert_str_eq(trace(), "b1 m1 x=1 a1 m2");
}
END_TEST

/* R9, R3: or run before its turn: [m b a], cursor on a. */
START_TEST(a_served_peer_can_be_run)
{
	play("m: prefer:x0 spawn:ab schedule send:x1 run:a m1 schedule m2",
	     "a: receive:x a1", "b: schedule b1");
	ck_assert_str_eq(trace(), "x=1 a1 m1 b1 m2");
}
END_TEST

/* --- a producer and a consumer, inside of run --- */

#define PRODUCER "a: send:x1 send:x2 send:x3 a1"
#define CONSUMER "b: receive:x receive:x receive:x b1"

/* The consumer goes on each time it can. It takes 1 from the waiting a, waits;
 * a's sends of 2 and 3 run it at once; it ends before a. */
START_TEST(stream_favouring_the_receiver)
{
	play("m: spawn:ab run", PRODUCER, CONSUMER);
	ck_assert_str_eq(trace(), "x=1 x=2 x=3 b1 a1 m:run=0");
}
END_TEST

/* The producer goes on each time it can: each receive runs it first. */
START_TEST(stream_favouring_the_sender)
{
	play("m: prefer:x1 spawn:ab run", PRODUCER, CONSUMER);
	ck_assert_str_eq(trace(), "x=1 x=2 a1 x=3 b1 m:run=0");
}
END_TEST

/* Who comes to a waiting peer goes on: b takes 1 and waits; a sends 2, and
 * waits with 3; b takes both and ends. */
START_TEST(stream_favouring_nobody)
{
	play("m: prefer:x0 spawn:ab run", PRODUCER, CONSUMER);
	ck_assert_str_eq(trace(), "x=1 x=2 x=3 b1 a1 m:run=0");
}
END_TEST

/* At each meeting b gives way to a, which comes with the next element first. */
START_TEST(stream_with_schedule_all)
{
	play("m: schedule_all:x1 spawn:ab run", PRODUCER, CONSUMER);
	ck_assert_str_eq(trace(), "x=1 x=2 a1 x=3 b1 m:run=0");
}
END_TEST

/* a and b wait with 1 and 8. c takes both, [c a b], and waits, [a b]. a sends 2:
 * c runs, [c b a], and waits, [b a]. b sends 9: c runs and ends, [a b]. */
START_TEST(two_producers)
{
	play("m: spawn:abc run", "a: send:x1 send:x2 a1",
	     "b: send:x8 send:x9 b1",
	     "c: receive:x receive:x receive:x receive:x c1");
	ck_assert_str_eq(trace(), "x=1 x=8 x=2 x=9 c1 a1 b1 m:run=0");
}
END_TEST

/* There and back. Main sends 1: a runs, and waits with 10. Main takes it: [m a];
 * main waits with 2: [a]. a takes it, [a m], and waits with 20. */
START_TEST(ping_pong)
{
	play("m: spawn:a schedule send:x1 receive:y send:x2 receive:y m1 "
	     "schedule m2",
	     "a: receive:x send:y10 receive:x send:y20 a1");
	ck_assert_str_eq(trace(), "x=1 y=10 x=2 y=20 m1 a1 m2");
}
END_TEST

/* --- try_send, try_receive --- */

/* Nobody is waiting: both fail, nothing moves. */
START_TEST(try_with_nobody_waiting)
{
	play("m: spawn:a try_send:x1 m1 try_receive:x m2 balance:x schedule m3",
	     "a: a1");
	ck_assert_str_eq(trace(), "-EAGAIN m1 -EAGAIN m2 x+0 a1 m3");
}
END_TEST

/* One of the same kind is waiting: that is nobody to meet. */
START_TEST(try_with_the_same_kind_waiting)
{
	play("m: spawn:ab schedule try_send:x2 try_receive:y balance:x "
	     "balance:y receive:x send:y3 schedule m1",
	     "a: send:x1 a1", "b: receive:y b1");
	ck_assert_str_eq(trace(), "-EAGAIN -EAGAIN x+1 y-1 x=1 y=3 b1 a1 m1");
}
END_TEST

/* R9: try_send is a send when a receiver waits: [m a b], cursor on a. */
START_TEST(try_send_to_the_favoured_receiver)
{
	play("m: spawn:a schedule spawn:b try_send:x1 m1 schedule m2",
	     "a: receive:x a1 schedule a2", "b: b1");
	ck_assert_str_eq(trace(), "x=1 a1 b1 m1 a2 m2");
}
END_TEST

/* R9: [m b a]. */
START_TEST(try_send_favouring_nobody)
{
	play("m: prefer:x0 spawn:a schedule spawn:b try_send:x1 m1 schedule m2",
	     "a: receive:x a1", "b: b1");
	ck_assert_str_eq(trace(), "m1 b1 x=1 a1 m2");
}
END_TEST

/* R9: [m b a], main gives way. */
START_TEST(try_send_with_schedule_all)
{
	play("m: schedule_all:x1 spawn:a schedule spawn:b try_send:x1 m1",
	     "a: receive:x a1", "b: b1");
	ck_assert_str_eq(trace(), "b1 x=1 a1 m1");
}
END_TEST

/* R9: try_receive is a receive when a sender waits: [m b a]. */
START_TEST(try_receive_favouring_the_receiver)
{
	play("m: spawn:a schedule spawn:b try_receive:x m1 schedule m2",
	     "a: send:x1 a1", "b: b1");
	ck_assert_str_eq(trace(), "x=1 m1 b1 a1 m2");
}
END_TEST

/* R9: [m a b], cursor on a. */
START_TEST(try_receive_favouring_the_sender)
{
	play("m: prefer:x1 spawn:a schedule spawn:b try_receive:x m1 schedule "
	     "m2",
	     "a: send:x1 a1 schedule a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 x=1 m1 a2 m2");
}
END_TEST

/* R9: [m b a], main gives way. */
START_TEST(try_receive_with_schedule_all)
{
	play("m: schedule_all:x1 spawn:a schedule spawn:b try_receive:x m1",
	     "a: send:x1 a1", "b: b1");
	ck_assert_str_eq(trace(), "b1 a1 x=1 m1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace_channel");

	add_case(s, "R10", receive_blocks, send_blocks, main_blocks,
		 senders_queue_up, receivers_queue_up,
		 receivers_queue_up_with_no_preference,
		 waiters_in_order_of_coming, waiter_that_comes_back_is_last,
		 channels_are_apart);
	add_case(s, "R9 send", send_favouring_the_receiver,
		 send_favouring_nobody, send_favouring_the_sender,
		 send_with_schedule_all,
		 send_with_schedule_all_favouring_nobody,
		 send_with_schedule_all_favouring_the_sender);
	add_case(s, "R9 receive", receive_favouring_the_receiver,
		 receive_favouring_nobody, receive_favouring_the_sender,
		 receive_with_schedule_all,
		 receive_with_schedule_all_favouring_nobody,
		 receive_with_schedule_all_favouring_the_sender);
	add_case(s, "R9 main", main_is_the_favoured_receiver,
		 main_is_the_favoured_sender, main_is_not_favoured,
		 main_with_schedule_all);
	add_case(s, "R9 with others", preference_at_the_meeting_counts,
		 a_chain_of_favoured_receivers, a_served_peer_can_be_removed,
		 a_served_peer_can_be_run);
	add_case(s, "streams", stream_favouring_the_receiver,
		 stream_favouring_the_sender, stream_favouring_nobody,
		 stream_with_schedule_all, two_producers, ping_pong);
	add_case(s, "try", try_with_nobody_waiting,
		 try_with_the_same_kind_waiting,
		 try_send_to_the_favoured_receiver, try_send_favouring_nobody,
		 try_send_with_schedule_all, try_receive_favouring_the_receiver,
		 try_receive_favouring_the_sender,
		 try_receive_with_schedule_all);
	return run_suite(s);
}
