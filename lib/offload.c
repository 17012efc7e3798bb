/* SPDX-License-Identifier: MIT */
/*
 * Tasklets that wait for a helper: weft_offload(), and calls that the ring cannot
 * make (position.c).
 *
 * The job lies on its caller's stack. A helper that has done it wakes the caller in
 * the name of weft__unattached, for it has no scheduler of its own.
 *
 * fork(): jobs of the forking thread that were queued still are in the child, and
 * a timer that is due at once has new helpers started when that thread next looks
 * around. Those that were taken are claimed by nobody who is there, and get
 * -ECANCELED as all such waiters (tasklet.c).
 */
#include "offload.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <weft/offload.h>
#include <weft/time.h>

#include "fork.h"
#include "io.h"
#include "park.h"
#include "scheduler.h"

/* In a child, of the thread that forked. */
static struct timer late_start;
static struct scheduler *late_start_of;

static struct errand *errand_of(const struct job *j)
{
	return (struct errand *)((char *)j - offsetof(struct errand, job));
}

static void done(struct job *j)
{
	struct errand *e = errand_of(j);

	e->waiter.result = j->result;
	weft__wake_foreign(&weft__unattached, &e->waiter);
}

static bool cancel(struct scheduler *s, struct waiter *w)
{
	(void)s;
	return weft__pool_withdraw(&((struct errand *)w)->job);
}

static bool is_claimed(const struct waiter *w)
{
	return ((const struct errand *)w)->job.is_taken;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	bool is_file = ((const struct errand *)w)->job.crew == CREW_FILES;

	snprintf(text, size, "waits for %s",
		 is_file ? "a file" : "an offloaded function");
}

static const struct wait_kind on_errand = { .cancel = cancel,
					    .is_claimed = is_claimed,
					    .describe = describe };

int weft__run_errand(struct scheduler *s, struct errand *e)
{
	int rc;

	if (s->engine
		    .is_refusing) /* its thread ends, and all rounds are over */
		return weft__refuse();
	e->waiter = (struct waiter){ .task = peek(s->current),
				     .owner = s,
				     .kind = &on_errand };
	e->job.done = done;
	e->job.is_taken = false;
	rc = weft__pool_submit(&e->job);
	if (rc)
		return rc;
	s->n_offloaded++;
	weft__block(s, &e->waiter, true);
	s->n_offloaded--;
	weft__pool_note_end(&e->job);
	return 0;
}

WEFT_API int weft_offload(weft_fn fn, void *arg)
{
	struct scheduler *s = weft__scheduler();
	struct errand e = {
		.job = { .crew = CREW_FUNCTIONS, .fn = fn, .arg = arg }
	};
	int rc;

	if (!s)
		return -errno;
	if (!fn)
		return -EINVAL;
	rc = weft__enter(s);
	if (!rc)
		rc = weft__may_wait(s);
	if (!rc)
		rc = weft__run_errand(s, &e);
	return rc ? rc : weft__outcome(&e.waiter);
}

/* --- fork --- */

static bool is_of(const struct job *j, void *s)
{
	return errand_of(j)->waiter.owner == s;
}

/* In the child, when its thread first looks around. */
static void start_late(struct scheduler *s, struct timer *t)
{
	(void)s;
	(void)t;
	weft__pool_start_late();
}

void weft__offload_forget_others(struct scheduler *s)
{
	bool some_left = weft__pool_forget_others(is_of, s);

	/* It may be armed already, in a child of a child. */
	if (s && late_start_of == s)
		weft__timer_cancel(&s->timers, &late_start);
	late_start = (struct timer){ .fire = start_late };
	late_start_of = s;
	if (some_left && weft__timer_arm(&s->timers, &late_start, 0))
		weft__pool_start_late();
}
