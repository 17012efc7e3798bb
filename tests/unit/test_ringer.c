/* SPDX-License-Identifier: MIT */
/*
 * Who rings another thread's doorbell: that it takes its time does not hide a
 * deadlock. Functions that the library calls are wrapped, to hold a ringer up where
 * it matters.
 */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <weft.h>

#include "deadlock.h"
#include "scheduler.h"
#include "support.h"

/* --- a helper that is late --- */

/* A helper of weft_offload() is held up after it has counted for the sleeper that it
 * found, until that one has woken by itself; and before it takes that back, until
 * the other is parked for good. */
static struct scheduler *owner;
static _Atomic(bool) has_counted; /* the helper, for the owner */
static _Atomic(bool) has_woken;   /* the owner, by itself */
static _Atomic(bool) has_parked;  /* the owner, with nothing of its own */
static __thread bool is_late;

void __real_weft__count_awake(int by);
bool __real_weft__count_parked(bool is_hopeful);
bool __real_weft__count_out(void);
void __wrap_weft__count_awake(int by);
bool __wrap_weft__count_parked(bool is_hopeful);
bool __wrap_weft__count_out(void);

static void await(_Atomic(bool) *event)
{
	while (!*event)
		sched_yield();
}

/* Nothing is to be held up that comes of it. */
static void before_taking_back(void)
{
	if (!is_late || !has_counted)
		return;
	is_late = false;
	await(&has_parked);
}

void __wrap_weft__count_awake(int by)
{
	if (by < 0)
		before_taking_back();
	__real_weft__count_awake(by);
	if (by > 0 && is_late) {
		has_counted = true;
		await(&has_woken);
	}
}

bool __wrap_weft__count_parked(bool is_hopeful)
{
	bool is_last = __real_weft__count_parked(is_hopeful);

	if (!is_hopeful)
		has_parked = true;
	return is_last;
}

bool __wrap_weft__count_out(void)
{
	before_taking_back();
	return __real_weft__count_out();
}

/* On the helper: returns when there is a sleeper to be found. */
static int until_owner_sleeps(void *arg)
{
	(void)arg;
	is_late = true;
	while (!weft__inbox_is_parked(peek(owner->inbox.word)))
		sched_yield();
	return 0;
}

static int offload_and_wait(void *ch)
{
	while (!has_counted) /* it may have woken just before it was rung */
		if (weft_offload(until_owner_sleeps, NULL))
			return -1;
	return weft_channel_receive(ch, NULL);
}

/* Keeps the owner up until it has been handed the helper's result. */
static int wake_by_oneself(void *arg)
{
	(void)arg;
	while (!has_counted)
		weft_sleep(WEFT_MILLISECOND);
	has_woken = true;
	while (peek(owner->inbox.word) < INBOX_LINKS)
		sched_yield();
	return 0;
}

START_TEST(verdict_though_a_count_is_taken_back_late)
{
	weft_channel *ch = weft_channel_new(0, 0);
	weft_tasklet waiter;

	ck_assert_int_eq(weft_schedule(), 0);
	owner = weft__self;
	weft_spawn(wake_by_oneself, NULL);
	waiter = weft_spawn(offload_and_wait, ch);
	ck_assert_int_eq(weft_run(), -EDEADLK);
	ck_assert(has_parked);
	ck_assert_int_eq(weft_tasklet_kill(waiter, 0), 0);
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ringer");

	add_case(s, "deadlock", verdict_though_a_count_is_taken_back_late);
	return run_suite(s);
}
