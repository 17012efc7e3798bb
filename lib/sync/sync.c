/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a word: what mutexes, conditions, semaphores and read-write locks are
 * made of.
 *
 * An object is a word and a queue. The word says who holds what. While nobody
 * waits, taking and giving back are one compare-exchange of the word. The queue,
 * and the bit WAITED of the word, change only under the object's guard, a lock that
 * is held for a few instructions. While the guard is not held, WAITED is set if and
 * only if the queue is not empty. [sync.1]
 *
 *	waiting     guard; takes it after all if the word now allows that; else sets
 *	            WAITED (CAS from a word that does not) and links its waiter;
 *	            unguard; blocks
 *	giving back CAS, if WAITED is not set; else guard; unlinks the oldest waiter,
 *	            which claims it; writes into the word that this waiter has it,
 *	            and whether others wait; unguard; wakes it
 *	call-off    guard; unlinks; clears WAITED if that was the last; unguard
 *
 * With WAITED set nothing is ever free: what is given back is handed over. So
 * nobody can come in between, and the queue is served in its order. The caller that
 * gives back may find WAITED set, but the queue empty under the guard, because all
 * waiters have called off. Then it finds the bit cleared too, and begins again with
 * the CAS.
 *
 * [sync.2] What is taken by a CAS, acquire, pairs with the release of the CAS that
 * gave it back, and of those before: they are all read-modify-writes of one word.
 * What is handed over goes the way of every wake [inbox.1], or stays on its thread.
 *
 * Lifetime. A waiter that gets what it waited for may free the object, though the
 * call that gave it back has not returned. So that call must not touch the object
 * after it has given back. Without waiters, the CAS is the last thing that it does.
 * With waiters, it is done with the object before it releases the guard, and it
 * wakes the waiter after that. For this, guards are not part of objects: they are
 * in a table that never goes away, and the object's address selects one. Likewise a
 * call-off finds out by its guard and its own waiter that it has been claimed,
 * without a look at an object that may be gone.
 *
 * fork(): all guards are taken around it, and each guard knows the waiters of its
 * objects. So the child finds every queue whole, and takes the waiters of other
 * threads out. Something may have been handed to a tasklet of the child by a thread
 * that had not woken it yet: it is that tasklet's (see `is_given_with_claim`).
 *
 * Rejected: a guard in each object. A tasklet that must wait would have one cache
 * line less to fetch. But a child of fork() could not find the guard, and a
 * call-off would have to look for it in a condition that was freed after a
 * broadcast.
 *
 * (tests/model/sync.pml)
 */
#include "sync/sync.h"

#include <errno.h>

#include "base/cpu.h"
#include "base/lock.h"
#include "base/part.h"
#include "core/thread.h"

/* --- guards --- */

enum { GUARD_BITS = 6, N_GUARDS = 1 << GUARD_BITS };

struct guard {
	struct lock lock;
	struct queued *newest; /* of all waiters of its objects */
} __attribute__((aligned(64)));

static struct guard guards[N_GUARDS];

struct held weft__sync_guard(const struct weft__sync *o)
{
	/* Multiplying by the golden ratio mixes the top bits of an address. */
	uint64_t mixed = (uint64_t)(uintptr_t)o * 0x9e3779b97f4a7c15u;
	struct guard *guard = &guards[mixed >> (64 - GUARD_BITS)];

	return (struct held){ .guard = guard,
			      .is_taken = weft__lock(&guard->lock) };
}

void weft__sync_unguard(struct held h)
{
	weft__unlock(&h.guard->lock, h.is_taken);
}

/* --- the queue --- */

void weft__sync_link(struct held h, struct queued *q)
{
	struct weft__sync *o = q->object;
	struct waiter *w = &q->waiter;

	w->next = NULL;
	w->prev = o->newest;
	if (w->prev)
		w->prev->next = w;
	else
		o->oldest = w;
	o->newest = w;

	q->newer = NULL;
	q->older = h.guard->newest;
	if (q->older)
		q->older->newer = q;
	h.guard->newest = q;
	q->is_linked = true;
}

static void unlink_waiter(struct held h, struct queued *q)
{
	struct weft__sync *o = q->object;
	struct waiter *w = &q->waiter;

	if (w->prev)
		w->prev->next = w->next;
	else
		o->oldest = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		o->newest = w->prev;

	if (q->newer)
		q->newer->older = q->older;
	else
		h.guard->newest = q->older;
	if (q->older)
		q->older->newer = q->newer;
	q->is_linked = false;
}

struct queued *weft__sync_claim(struct held h, struct weft__sync *o)
{
	struct queued *q = o->oldest;

	if (q) {
		unlink_waiter(h, q);
		q->waiter.next = NULL; /* a list of one */
	}
	return q;
}

void weft__sync_wake(struct scheduler *s, struct waiter *first)
{
	struct waiter *next;

	for (struct waiter *w = first; w; w = next) {
		next = w->next;
		weft__wake(s, w);
	}
	weft__note_runnable(s);
}

/* --- calling off --- */

/* Takes a waiter out that calls off. Guarded. */
static void leave(struct held h, struct queued *q)
{
	struct weft__sync *o = q->object;

	unlink_waiter(h, q);
	/* relaxed, as all writes of WAITED: a thread that finds it set looks under
	 * the guard, and one that does not find it set is served [sync.1] */
	if (!o->oldest)
		atomic_fetch_and_explicit(weft__sync_word(o), ~WAITED,
					  memory_order_relaxed);
}

/* Claims the waiters that @left, which has left, was in the way of. Guarded. */
static struct waiter *let_in(struct held h, const struct queued *left,
			     const struct scheduler *only)
{
	const struct sync_kind *kind =
		(const struct sync_kind *)left->waiter.kind;

	return kind->let_in ? kind->let_in(h, left->object, only) : NULL;
}

bool weft__sync_call_off(struct scheduler *s, struct waiter *w)
{
	struct queued *q = (struct queued *)w;
	struct held h = weft__sync_guard(q->object);
	bool was_linked = q->is_linked;
	struct waiter *first = NULL;

	if (was_linked) {
		leave(h, q);
		first = let_in(h, q, NULL);
	}
	weft__sync_unguard(h);
	if (first)
		weft__sync_wake(s, first);
	return was_linked;
}

/* --- waiting --- */

enum { BRIEF_LOOKS = 64 };

/* Whether another thread may give at once what is waited for, and spinning keeps no
 * tasklet here from running. The holder's mark does not tell the holder's thread.
 * If it is this one, a thread that has nothing else to do makes some looks in
 * vain. */
static bool may_spin(struct scheduler *s)
{
	return s->spin_max_ns && weft__queue_is_empty(&s->queue) &&
	       weft__others_are_awake();
}

/* Tries for a while to take it, as long as nobody is queued: with a queue it is
 * handed over, and never free. */
static bool spin_briefly(struct scheduler *s, struct weft__sync *o,
			 const struct sync_kind *kind)
{
	uintptr_t me = weft__sync_mark(peek(s->current));

	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed, no pair: taking it is what orders */
		if (peek(*weft__sync_word(o)) & WAITED ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			return false;
		if (weft__sync_take(o, kind->taken, me))
			return true;
		arch_pause();
	}
	return false;
}

/* Returns false if it could be taken after all. */
static bool queue_up(struct queued *q)
{
	const struct sync_kind *kind = (const struct sync_kind *)q->waiter.kind;
	uintptr_t me = weft__sync_mark(q->waiter.task);
	struct held h = weft__sync_guard(q->object);
	uintptr_t word, to;

	do {
		word = peek(*weft__sync_word(q->object));
		to = kind->taken(word, me);
	} while (to != word ? !weft__sync_change(
				      q->object, word, to,
				      memory_order_acquire) /* [sync.2] */
			    : !(word & WAITED) &&
				      !weft__sync_change(q->object, word,
							 word | WAITED,
							 memory_order_relaxed));
	if (to == word)
		weft__sync_link(h, q);
	weft__sync_unguard(h);
	return to == word;
}

int weft__sync_wait(struct scheduler *s, struct weft__sync *o,
		    const struct sync_kind *kind)
{
	struct queued q = { .waiter.task = peek(s->current),
			    .waiter.owner = s,
			    .waiter.kind = &kind->wait,
			    .object = o };

	if (may_spin(s) && spin_briefly(s, o, kind))
		return 0;
	if (!queue_up(&q))
		return 0;
	weft__block(s, &q.waiter, true);
	return weft__outcome(&q.waiter);
}

int weft__sync_lock(struct weft__sync *o, const struct sync_kind *kind)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *me;
	int rc;

	if (!s)
		return -errno;
	me = peek(s->current);
	rc = weft__enter(s);
	if (rc)
		return rc;
	if (weft__sync_take(o, kind->taken, weft__sync_mark(me)))
		return 0;
	/* relaxed: only the caller itself writes and clears its mark. In a scope,
	 * time will end the wait. */
	if (kind->holder(peek(*weft__sync_word(o))) == weft__sync_mark(me) &&
	    !(me->attention & ATTENTION_SCOPED))
		return -EDEADLK;
	rc = weft__may_wait(s);
	return rc ? rc : weft__sync_wait(s, o, kind);
}

/* --- fork --- */

bool weft__sync_is_claimed(const struct waiter *w)
{
	return !((const struct queued *)w)->is_linked;
}

static void lock_all(void)
{
	for (int i = 0; i < N_GUARDS; i++)
		lock_contended(&guards[i].lock);
}

static void unlock_all(void)
{
	for (int i = 0; i < N_GUARDS; i++)
		weft__unlock(&guards[i].lock, true);
}

/* The first waiter of another thread, from @q on. */
static struct queued *find_other(struct queued *q, const struct scheduler *self)
{
	while (q && q->waiter.owner == self)
		q = q->older;
	return q;
}

/* Takes @q out. Waiters of this thread behind it can be let in; another loop that
 * drives this thread learns of them later, as of everything. */
static void forget_one(struct held h, struct queued *q, struct scheduler *self)
{
	struct waiter *w = NULL;

	leave(h, q);
	if (self)
		w = let_in(h, q, self);
	for (struct waiter *next; w; w = next) {
		next = w->next;
		weft__wake_local(self, w->task);
	}
}

/* The next waiter is found before one leaves. None of the waiters that are let in
 * is another thread's, so the next one stays in the list, and each is looked at
 * once. */
static void forget_others_at(struct held h, struct scheduler *self)
{
	struct queued *q = find_other(h.guard->newest, self);

	while (q) {
		struct queued *next = find_other(q->older, self);

		forget_one(h, q, self);
		q = next;
	}
}

static void forget_others(struct scheduler *self)
{
	for (int i = 0; i < N_GUARDS; i++)
		forget_others_at((struct held){ .guard = &guards[i] }, self);
}

/* By `renew`, whatever had been handed in, and so was claimed, has been taken
 * in. */
static const struct part locks = {
	.rank = PART_SYNC,
	.lock = lock_all,
	.unlock = unlock_all,
	.renew = forget_others,
};

PART(locks);
