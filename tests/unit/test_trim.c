/* SPDX-License-Identifier: MIT */
/*
 * When the memory of stacks that a burst left over is given back: while there is
 * nothing else to do. Each bunch takes a millisecond here.
 */
#include <check.h>
#include <weft.h>

#include "clock.h"
#include "core/scheduler.h"
#include "support.h"

enum { CLASS = STACK_DEFAULT_SHIFT - STACK_MIN_SHIFT, LEFT_OVER = 2000 };

static int n_trims;

bool __real_weft__stack_trim(struct stack_cache *cache);
bool __wrap_weft__stack_trim(struct stack_cache *cache);

bool __wrap_weft__stack_trim(struct stack_cache *cache)
{
	n_trims++;
	pass_time(WEFT_MILLISECOND);
	return __real_weft__stack_trim(cache);
}

static int wait_once(void *arg)
{
	return weft_channel_receive(arg, NULL);
}

static void leave_stacks_over(void)
{
	weft_channel *ch = weft_channel_new(0, 0);

	for (int i = 0; i < LEFT_OVER; i++)
		weft_spawn(wait_once, ch);
	weft_pump();
	weft_channel_close(ch);
	weft_run();
	weft_channel_unref(ch);
}

static size_t n_cold(void)
{
	return weft__self->stacks.classes[CLASS].n_cold;
}

/* A timer does not wait for more than the bunch that is under way when it is due,
 * and what is left then has its turn as soon as the thread is idle again. */
START_TEST(timers_come_before_stacks_that_are_left_over)
{
	enum { SLEEP = 3 };

	leave_stacks_over();
	/* From here on they are watched. */
	weft__stack_begin_watch(&weft__self->stacks);
	weft__self->trim_ns = weft_now();
	do {
		n_trims = 0;
		weft_sleep(SLEEP * WEFT_MILLISECOND);
		ck_assert_int_le(n_trims, SLEEP + 1);
	} while (weft__stack_has_spare(&weft__self->stacks));
	ck_assert_uint_ge(n_cold(), LEFT_OVER / 2);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trim");

	add_case(s, "timers", timers_come_before_stacks_that_are_left_over);
	return run_suite(s);
}
