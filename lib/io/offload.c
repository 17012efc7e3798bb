/* SPDX-License-Identifier: MIT */
/*
 * Tasklets that wait for a helper: weft_offload(), and calls that the ring
 * cannot make (position.c, file.c, close.c).
 *
 * The job lies on its caller's stack. A helper that has done the job wakes the
 * caller in the name of weft__unattached, since the helper has no scheduler of
 * its own.
 *
 * fork(): jobs of the forking thread that were queued are still queued in the
 * child. A timer that is due at once starts new helpers for them when that
 * thread next looks around. Jobs that a helper had taken have no helper in the
 * child: their callers get -ECANCELED, like all waiters that a lost thread had
 * claimed (core/tasklet.c).
 */
#include "io/offload.h"

#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <weft/offload.h>
#include <weft/time.h>

#include "base/part.h"
#include "core/block.h"
#include "core/park.h"
#include "io/io.h"

/* In a child of fork(), for the thread that forked. */
static struct timer late_start;
static struct scheduler *late_start_of;

struct errand *weft__errand_of_job(const struct job *j)
{
	return (struct errand *)((char *)j - offsetof(struct errand, job));
}

static void done(struct job *j)
{
	struct errand *e = weft__errand_of_job(j);

	e->waiter.result = j->result;
	weft__wake_foreign(&weft__unattached, &e->waiter);
}

static bool cancel(struct scheduler *s, struct waiter *w)
{
	(void)s;
	return weft__pool_withdraw(&((struct errand *)w)->job);
}

static void give_up(struct waiter *w)
{
	struct errand *e = (struct errand *)w;

	if (e->give_up)
		e->give_up(e);
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
					    .give_up = give_up,
					    .is_claimed = is_claimed,
					    .is_offloaded = true,
					    .describe = describe };

struct errand *weft__errand_of(struct waiter *w)
{
	return w->kind == &on_errand ? (struct errand *)w : NULL;
}

int weft__run_errand(struct scheduler *s, struct errand *e)
{
	int rc;

	/* The thread ends, and all rounds of its end are over. */
	if (weft__engine_is_refusing(&s->engine))
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
	peek(s->current)->flags &= (uint8_t)~TASK_CALLED_OFF;
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
	/* The poll engine has jobs of its own, which the child does not do. */
	return j->done == done && weft__errand_of_job(j)->waiter.owner == s;
}

/* In the child, when its thread first looks around. */
static void start_late(struct scheduler *s, struct timer *t)
{
	(void)s;
	(void)t;
	weft__pool_start_late();
}

/* Forgets the helpers, and the calls of other threads. */
static void renew(struct scheduler *s)
{
	bool some_left = weft__pool_forget_others(is_of, s);

	/* The timer may be armed already, in a child of a child. */
	if (s && late_start_of == s)
		weft__timer_cancel(&s->timers, &late_start);
	late_start = (struct timer){ .fire = start_late };
	late_start_of = s;
	if (some_left && weft__timer_arm(&s->timers, &late_start, 0))
		weft__pool_start_late();
}

/* The timer does not outlive the timers of its thread. */
static void give_up_late_start(struct scheduler *s)
{
	if (late_start_of == s)
		weft__timer_cancel(&s->timers, &late_start);
}

static const struct part offloading = {
	.rank = PART_OFFLOAD,
	.renew = renew,
	.give_up = give_up_late_start,
};

PART(offloading);
