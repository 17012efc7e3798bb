/* SPDX-License-Identifier: MIT */
/*
 * The world is found by linking: this program has one of its own, with one thread.
 * Its clock stands still but when the thread sleeps, and then it is at the end of
 * the sleep.
 */
#include <check.h>
#include <errno.h>
#include <weft.h>

#include "base/world.h"
#include "core/world.h"
#include "support.h"

static int64_t moment;
static unsigned n_sleeps, n_seeds;

int64_t weft__now(void)
{
	return moment;
}

uint32_t weft__seed(void)
{
	n_seeds++;
	return 1;
}

void weft__world_read_environment(void)
{
}

int64_t weft__spin_max_ns(void)
{
	return 0;
}

int64_t weft__world_spin_ns(const struct scheduler *s)
{
	(void)s;
	return 0;
}

void weft__world_note_spin(struct scheduler *s, bool paid)
{
	(void)s;
	(void)paid;
}

bool weft__world_has_news(struct scheduler *s)
{
	return peek(s->inbox.word) != INBOX_EMPTY;
}

bool weft__world_look(struct scheduler *s, int64_t end,
		      _Atomic(uintptr_t) *word, uintptr_t unchanged)
{
	(void)end;
	return peek(*word) != unchanged || weft__world_has_news(s);
}

uintptr_t weft__world_prepare_sleep(struct scheduler *s, int64_t *deadline)
{
	(void)s;
	(void)deadline;
	return INBOX_PARKED_FUTEX;
}

void weft__world_sleep(struct scheduler *s, uintptr_t sentinel,
		       int64_t deadline)
{
	(void)s;
	ck_assert_uint_eq(sentinel, INBOX_PARKED_FUTEX);
	ck_assert_int_ne(deadline, WEFT_FOREVER);
	n_sleeps++;
	if (deadline > moment)
		moment = deadline;
}

void weft__world_ring(struct scheduler *s, struct scheduler *target,
		      uintptr_t parked)
{
	(void)s;
	(void)target;
	(void)parked;
	ck_abort_msg("there is no other thread");
}

uintptr_t weft__world_take(struct scheduler *s)
{
	return atomic_exchange(&s->inbox.word, INBOX_EMPTY);
}

int64_t weft__world_trim_pause(void)
{
	return WEFT_SECOND;
}

/* weft_now() is that clock. */
START_TEST(time_is_what_the_world_says)
{
	moment = 5;
	ck_assert_int_eq(weft_now(), 5);
	ck_assert_int_eq(weft_sleep(WEFT_SECOND), 0);
	ck_assert_int_eq(weft_now(), WEFT_SECOND + 5);
}
END_TEST

static int order[100];
static int n_woken;

static int sleep_for_days(void *number)
{
	int64_t days = (int64_t)(intptr_t)number % 10;
	int rc = weft_sleep_until((days + 1) * 86400 * WEFT_SECOND);

	order[n_woken++] = (int)days;
	return rc;
}

/* A hundred tasklets sleep for up to ten days, and wake in order, each day's at its
 * very beginning. */
START_TEST(days_pass_at_once)
{
	for (intptr_t i = 0; i < 100; i++)
		weft_spawn(sleep_for_days, (void *)(99 - i));
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_woken, 100);
	for (int i = 1; i < 100; i++)
		ck_assert_int_le(order[i - 1], order[i]);
	ck_assert_int_eq(moment, 10 * 86400 * WEFT_SECOND);
	ck_assert_uint_ge(n_sleeps, 10);
}
END_TEST

/* A deadline of an hour is over when that clock says so. */
START_TEST(deadlines_are_of_that_clock)
{
	struct weft_deadline d;
	weft_channel *ch = weft_channel_new(0, 0);

	ck_assert(ch);
	weft_deadline_begin(&d, weft_now() + 3600 * WEFT_SECOND);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	weft_channel_unref(ch);
}
END_TEST

/* Which of the cases that are ready a selection takes follows from the seed. */
START_TEST(chance_is_what_the_world_says)
{
	weft_channel *ch[4];
	struct weft_case cases[4] = { 0 };

	for (int i = 0; i < 4; i++) {
		ch[i] = weft_channel_new(0, 1);
		ck_assert(ch[i]);
		cases[i].op = WEFT_SEND;
		cases[i].channel = ch[i];
	}
	ck_assert_int_ge(weft_select(cases, 4, 0), 0);
	ck_assert_uint_eq(n_seeds, 1);
	for (int i = 0; i < 4; i++)
		weft_channel_unref(ch[i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("world");

	add_case(s, "clock", time_is_what_the_world_says, days_pass_at_once,
		 deadlines_are_of_that_clock);
	add_case(s, "chance", chance_is_what_the_world_says);
	return run_suite(s);
}
