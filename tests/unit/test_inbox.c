/* SPDX-License-Identifier: MIT */
/*
 * The inbox word and the way in: order, sentinels, closing, and what is counted
 * when a thread is handed something, asleep or awake.
 */
#include <check.h>
#include <errno.h>
#include <weft.h>

#include "core/inbox.h"
#include "core/park.h"
#include "core/scheduler.h"
#include "support.h"

static struct scheduler target __attribute__((aligned(128)));

static struct scheduler *myself(void)
{
	weft_main();
	return weft__self;
}

/* A list of links comes out in the order in which it went in. */
START_TEST(content_comes_in_order_of_arrival)
{
	static struct waiter waiters[100];
	struct scheduler *me = myself();
	uintptr_t link;

	for (int i = 0; i < 100; i++)
		ck_assert(weft__hand_in(me, &target,
					(uintptr_t)&waiters[i].node));
	link = weft__inbox_list(atomic_exchange(&target.inbox.word, 0));
	for (int i = 0; i < 100; i++) {
		ck_assert_ptr_eq(weft__inbox_node(link), &waiters[i].node);
		link = weft__inbox_node(link)->next;
	}
	ck_assert_uint_eq(link, INBOX_EMPTY);
}
END_TEST

/* A sentinel is no content. */
START_TEST(sentinels_count_as_nothing)
{
	for (uintptr_t word = INBOX_EMPTY; word < INBOX_LINKS; word++)
		ck_assert_uint_eq(weft__inbox_list(word), INBOX_EMPTY);
	ck_assert(!weft__inbox_is_parked(INBOX_EMPTY));
	ck_assert(!weft__inbox_is_parked(INBOX_CLOSED));
	ck_assert(!weft__inbox_is_parked(INBOX_WATCHED));
	for (uintptr_t w = INBOX_PARKED_FUTEX; w < INBOX_WATCHED; w++)
		ck_assert(weft__inbox_is_parked(w));
	ck_assert(weft__inbox_wants_ring(INBOX_WATCHED));
	ck_assert(!weft__inbox_wants_ring(INBOX_CLOSED));
}
END_TEST

/* The first who finds the owner asleep rings, and nobody after. */
START_TEST(only_the_first_rings)
{
	static struct waiter waiters[5];
	struct scheduler *me = myself();

	atomic_store(&target.inbox.word, INBOX_PARKED_FUTEX);
	for (int i = 0; i < 5; i++)
		ck_assert(weft__hand_in(me, &target,
					(uintptr_t)&waiters[i].node));
	ck_assert_uint_eq(me->wakes_sent, 1);
	ck_assert_uint_eq(me->wakes_saved, 4);
	ck_assert_uint_eq(target.inbox.ringers, 0);
}
END_TEST

/* A closed inbox refuses, and what had come before can be taken. */
START_TEST(closed_inbox_refuses)
{
	static struct waiter early, late;
	struct scheduler *me = myself();
	uintptr_t link;

	ck_assert(weft__hand_in(me, &target, (uintptr_t)&early.node));
	link = weft__inbox_close(&target);
	ck_assert_ptr_eq(weft__inbox_node(link), &early.node);
	ck_assert(!weft__hand_in(me, &target, (uintptr_t)&late.node));
	ck_assert_uint_eq(atomic_load(&target.inbox.word), INBOX_CLOSED);
}
END_TEST

static int give(void *channel)
{
	return weft_channel_send(channel, NULL);
}

static void *receive_three(void *channel)
{
	weft_thread_id();
	for (int i = 0; i < 3; i++)
		weft_channel_receive(channel, NULL);
	return NULL;
}

/* With operations that complete while they are being handed in, a thread that
 * goes to sleep looks at the ring last: park_with_what_completed_at_once. */
static int three_nops(void *arg)
{
	int *n = arg;

	for (int i = 0; i < 2000; i++) {
		if (weft_close(-1) != -EBADF)
			return 1;
		++*n;
	}
	return 0;
}

START_TEST(park_with_what_completed_at_once)
{
	weft_channel *ch = weft_channel_new(0, 0);
	pthread_t other = start_thread(receive_three, ch);
	int n[3] = { 0 };

	/* Another thread is awake at first, so this one spins before it parks. */
	for (int i = 0; i < 3; i++)
		weft_spawn(three_nops, &n[i]);
	weft_spawn(give, ch);
	weft_spawn(give, ch);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(n[i], 2000);
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	join_thread(other);
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("inbox");

	add_case(s, "order", content_comes_in_order_of_arrival);
	add_case(s, "sentinels", sentinels_count_as_nothing,
		 only_the_first_rings);
	add_case(s, "closed", closed_inbox_refuses);
	add_case(s, "park", park_with_what_completed_at_once);
	return run_suite(s);
}
