/* SPDX-License-Identifier: MIT */
/*
 * The clock and sleeping. Time limits are in deadline.c, the queue of timers is in
 * timer.h.
 */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <weft/time.h>

#include "base/world.h"
#include "core/block.h"

/* A sleeping tasklet's record, on its stack. */
struct sleeper {
	struct waiter waiter;
	struct timer timer;
};

WEFT_API int64_t weft_now(void)
{
	return weft__now();
}

static void wake_sleeper(struct scheduler *s, struct timer *t)
{
	struct sleeper *sleeper =
		(struct sleeper *)((char *)t - offsetof(struct sleeper, timer));

	weft__wake_local(s, sleeper->waiter.task);
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	weft__timer_cancel(&s->timers, &((struct sleeper *)w)->timer);
	return true;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "sleeps");
}

static const struct wait_kind sleeping = { .cancel = call_off,
					   .describe = describe };

static int sleep_until(int64_t deadline)
{
	struct scheduler *s = weft__scheduler();
	struct sleeper sleeper = { .waiter.kind = &sleeping,
				   .timer.fire = wake_sleeper };
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (!rc)
		rc = weft__may_wait(s);
	if (rc)
		return rc;
	sleeper.waiter.task = peek(s->current);
	sleeper.waiter.owner = s;
	if (deadline != WEFT_FOREVER) {
		rc = weft__timer_arm(&s->timers, &sleeper.timer, deadline);
		if (rc)
			return rc;
	}
	weft__block(s, &sleeper.waiter, true);
	return weft__outcome(&sleeper.waiter);
}

WEFT_API int weft_sleep(int64_t ns)
{
	int64_t now;

	if (ns <= 0)
		return weft_schedule();
	now = weft__now();
	return sleep_until(ns < WEFT_FOREVER - now ? now + ns : WEFT_FOREVER);
}

WEFT_API int weft_sleep_until(int64_t deadline)
{
	return deadline <= weft__now() ? weft_schedule()
				       : sleep_until(deadline);
}
