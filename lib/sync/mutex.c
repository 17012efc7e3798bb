/* SPDX-License-Identifier: MIT */
/*
 * Mutexes. The word is
 *
 *	0                 free
 *	a mark            of the tasklet that holds it
 *	a mark | WAITED   and others wait
 *
 *	0 -> me                 lock
 *	me -> 0                 unlock, nobody waits
 *	me -> me | WAITED       a tasklet that has to wait, guarded
 *	me | WAITED -> me       the last waiter calls off, guarded
 *	me | WAITED -> w        unlock, handed to the oldest, guarded
 *	me | WAITED -> w | WAITED
 *
 * sync.c has the argument. A mark is the tasklet's id (sync.h). So a tasklet that
 * ends while it holds a mutex leaves it to nobody, not even to the next tenant of
 * its descriptor: the mutex stays locked.
 */
#include <errno.h>
#include <stdio.h>

#include "sync/sync.h"

static INLINE uintptr_t taken(uintptr_t word, uintptr_t me)
{
	return word ? word : me;
}

static INLINE uintptr_t holder(uintptr_t word)
{
	return word & ~WAITED;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "waits for mutex %p",
		 (void *)((const struct queued *)w)->object);
}

static void release(struct scheduler *s, struct weft__sync *o, uintptr_t me);

static void give_back(struct waiter *w)
{
	release(w->owner, ((struct queued *)w)->object,
		weft__sync_mark(w->task));
}

static const struct sync_kind locking = {
	.wait = { .cancel = weft__sync_call_off,
		  .give_back = give_back,
		  .is_claimed = weft__sync_is_claimed,
		  .is_given_with_claim = true,
		  .describe = describe },
	.taken = taken,
	.holder = holder,
};

bool weft__mutex_is_held_by(weft_mutex *m, struct weft_task *t)
{
	/* relaxed: if the word says so, @t itself has written it, or it was written
	 * on the way to the last wake of @t; and only @t asks */
	return holder(peek(*weft__sync_word(&m->weft__sync))) ==
	       weft__sync_mark(t);
}

static NOINLINE int lock_slowly(weft_mutex *m)
{
	return weft__sync_lock(&m->weft__sync, &locking);
}

WEFT_API int weft_mutex_lock(weft_mutex *m)
{
	struct scheduler *s = weft__fast;
	struct weft_task *me;

	if (unlikely(!s))
		return lock_slowly(m);
	me = peek(s->current);
	if (likely(!me->attention) &&
	    likely(weft__sync_change(&m->weft__sync, 0, weft__sync_mark(me),
				     memory_order_acquire))) /* [sync.2] */
		return 0;
	return lock_slowly(m);
}

WEFT_API int weft_mutex_trylock(weft_mutex *m)
{
	struct scheduler *s = weft__scheduler();

	if (unlikely(!s))
		return -errno;
	return weft__sync_take(&m->weft__sync, taken,
			       weft__sync_mark(peek(s->current)))
		       ? 0
		       : -EBUSY;
}

int weft__mutex_relock(struct scheduler *s, weft_mutex *m)
{
	return weft__sync_take(&m->weft__sync, taken,
			       weft__sync_mark(peek(s->current)))
		       ? 0
		       : weft__sync_wait(s, &m->weft__sync, &locking);
}

/* Hands the mutex to the oldest waiter, if there still is one. */
static bool hand_over(struct scheduler *s, struct weft__sync *o)
{
	struct held h = weft__sync_guard(o);
	struct queued *q = weft__sync_claim(h, o);

	/* relaxed: the wake tells the next holder; others look at this only to find
	 * that the mutex is not free [sync.2] */
	if (q)
		poke(*weft__sync_word(o),
		     weft__sync_mark(q->waiter.task) | weft__sync_waited(o));
	weft__sync_unguard(h);
	if (!q)
		return false;
	weft__sync_wake(s, &q->waiter);
	return true;
}

/* @me holds it. */
static void release(struct scheduler *s, struct weft__sync *o, uintptr_t me)
{
	while (!weft__sync_change(o, me, 0,
				  memory_order_release)) /* [sync.2] */
		/* If the exchange failed though nobody waits any more, try
		 * again. */
		if (peek(*weft__sync_word(o)) & WAITED && hand_over(s, o))
			break;
}

int weft__mutex_unlock(struct scheduler *s, weft_mutex *m)
{
	release(s, &m->weft__sync, weft__sync_mark(peek(s->current)));
	return 0;
}

static NOINLINE int unlock_slowly(weft_mutex *m)
{
	struct scheduler *s = weft__self;

	return weft__mutex_is_held_by(m, peek(s->current))
		       ? weft__mutex_unlock(s, m)
		       : -EPERM;
}

WEFT_API int weft_mutex_unlock(weft_mutex *m)
{
	struct scheduler *s = weft__self;

	if (unlikely(!s)) /* not attached, so it holds nothing */
		return -EPERM;
	if (likely(weft__sync_change(&m->weft__sync,
				     weft__sync_mark(peek(s->current)), 0,
				     memory_order_release))) /* [sync.2] */
		return 0;
	return unlock_slowly(m);
}
