/* SPDX-License-Identifier: MIT */
/*
 * Conditions: a queue of waiting tasklets, and nothing to take. The word is WAITED
 * or 0 (sync.c).
 *
 * A tasklet that waits is in the queue before it unlocks the mutex. So a tasklet
 * that locks the mutex after that, changes what the mutex protects, and signals,
 * finds the waiter in the queue. It also finds WAITED set in a look without the
 * guard, because the mutex has ordered that. The waiter may be claimed and handed
 * to the inbox of its thread before it has blocked: its thread takes it in when it
 * next gives way, which is when the tasklet blocks.
 *
 * A signal claims one waiter under the guard, and a broadcast claims all of them
 * together, so that the call is done with the object before it wakes anybody.
 * (tests/model/sync.pml)
 */
#include <errno.h>
#include <stdio.h>

#include "sync/sync.h"

static void describe(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "waits on condition %p",
		 (void *)((const struct queued *)w)->object);
}

static const struct sync_kind waiting = {
	.wait = { .cancel = weft__sync_call_off,
		  .is_claimed = weft__sync_is_claimed,
		  .is_given_with_claim = true,
		  .describe = describe },
};

static void queue_up(struct queued *q)
{
	struct held h = weft__sync_guard(q->object);

	weft__sync_link(h, q);
	poke(*weft__sync_word(q->object), WAITED);
	weft__sync_unguard(h);
}

/* Locks the mutex again. A kill, a raise or a deadline has to wait meanwhile. */
static int relock(struct scheduler *s, weft_mutex *m)
{
	struct weft_task *me = peek(s->current);
	bool was_deaf = weft__deafen(me);
	int rc = weft__mutex_relock(s, m);

	weft__undeafen(me, was_deaf);
	return rc;
}

static int wait_for(struct scheduler *s, weft_condition *c, weft_mutex *m)
{
	struct queued q = { .waiter.task = peek(s->current),
			    .waiter.owner = s,
			    .waiter.kind = &waiting.wait,
			    .object = &c->weft__sync };
	int rc, relocked;

	queue_up(&q);
	weft__mutex_unlock(s, m);
	weft__block(s, &q.waiter, true);
	rc = weft__outcome(&q.waiter);
	relocked = relock(s, m);
	return relocked ? relocked : rc;
}

WEFT_API int weft_condition_wait(weft_condition *c, weft_mutex *m)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	if (!weft__mutex_is_held_by(m, peek(s->current)))
		return -EPERM;
	rc = weft__may_wait(s);
	return rc ? rc : wait_for(s, c, m);
}

/* Claims the oldest waiter, or all of them. */
static struct waiter *claim(struct held h, struct weft__sync *o, bool all)
{
	struct queued *q = weft__sync_claim(h, o);
	struct waiter *first = q ? &q->waiter : NULL;
	struct waiter *last = first;

	while (all && (q = weft__sync_claim(h, o)))
		last = last->next = &q->waiter;
	poke(*weft__sync_word(o), weft__sync_waited(o));
	return first;
}

static int wake(weft_condition *c, bool all)
{
	struct weft__sync *o = &c->weft__sync;
	struct scheduler *s;
	struct waiter *first;
	struct held h;

	/* relaxed: the mutex has ordered it, see above */
	if (!(peek(*weft__sync_word(o)) & WAITED))
		return 0;
	s = weft__scheduler();
	if (!s)
		return -errno;
	h = weft__sync_guard(o);
	first = claim(h, o, all);
	weft__sync_unguard(h);
	weft__sync_wake(s, first);
	return 0;
}

WEFT_API int weft_condition_signal(weft_condition *c)
{
	return wake(c, false);
}

WEFT_API int weft_condition_broadcast(weft_condition *c)
{
	return wake(c, true);
}
