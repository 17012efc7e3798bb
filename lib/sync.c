/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a word: what mutexes, conditions, semaphores and read-write locks
 * are made of.
 *
 * An object is a word and a queue. The word says who holds what; while nobody
 * waits, taking and giving back are one compare-exchange of it. The queue, and the
 * bit WAITED of the word, change under the object's guard only, a lock that is
 * held for a few instructions. While a guard is not held, WAITED is set if and
 * only if the queue is not empty. [sync.1]
 *
 *	who must wait   guard; takes it after all if the word now allows that;
 *	                else sets WAITED (CAS from a word that does not) and links
 *	                its waiter; unguard; blocks
 *	who gives back  CAS, if WAITED is not set; else guard; unlinks the oldest,
 *	                which claims it; writes into the word that this one has
 *	                it, and whether others wait; unguard; wakes it
 *	call-off        guard; unlinks; clears WAITED if that was the last; unguard
 *
 * With WAITED set nothing is ever free: what is given back is handed over, so
 * nobody can come in between and the queue is served in its order. Who gives back
 * and finds WAITED set, but the queue empty under the guard because all have
 * called off, finds the bit cleared too, and begins again with the CAS.
 *
 * [sync.2] What is taken by a CAS, acquire, pairs with the release of the CAS that
 * gave it back, and of those before: they are all read-modify-writes of one word.
 * What is handed over goes the way of every wake [inbox.1], or stays on its thread.
 *
 * Lifetime. Whoever gets what it waited for may free the object, though the call
 * that gave it back has not returned; so that call must not touch the object after
 * it has given it. Without waiters, the CAS is the last thing it does. With
 * waiters, it is done with the object before it lets the guard go, and the one it
 * handed to is woken after that. For this, guards are not part of objects: they are
 * in a table that never goes, and an address tells which is an object's. Likewise
 * who calls off finds out by its guard and its own waiter that it has been claimed,
 * without a look at an object that may be gone.
 *
 * fork(): all guards are taken around it, and each knows those who wait in its
 * objects. So the child finds every queue whole, and takes the waiters of other
 * threads out. What had been handed to a tasklet of its own, by a thread that had
 * yet to wake it, is that tasklet's (see `is_given_with_claim`).
 *
 * Rejected: a guard in each object. It is one cache line less to fetch for who must
 * wait; but a child of fork() could not find it, and who calls off would have to
 * look for it in a condition that was freed after a broadcast.
 *
 * (tests/model/sync.pml)
 */
#include "sync.h"

#include <errno.h>

#include "fork.h"
#include "park.h"
#include "thread.h"

/* --- guards --- */

enum { GUARD_BITS = 6, N_GUARDS = 1 << GUARD_BITS };

struct guard {
	struct lock lock;
	struct queued *newest; /* of all who wait in its objects */
} __attribute__((aligned(64)));

static struct guard guards[N_GUARDS];

struct held weft__sync_guard(const struct weft__sync *o)
{
	/* Multiplied by the golden ratio, an address has its top bits mixed. */
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
		q->waiter.next = NULL; /* a list of its own */
	}
	return q;
}

void weft__sync_wake(struct scheduler *s, struct waiter *first)
{
	struct waiter *next;

	for (struct waiter *w = first; w; w = next) {
		next = w->next;
		if (w->owner == s)
			weft__wake_local(s, w->task);
		else
			weft__wake_foreign(s, w);
	}
	weft__note_runnable(s);
}

/* --- calling off --- */

/* Takes one out who waits. Guarded. */
static void leave(struct held h, struct queued *q)
{
	struct weft__sync *o = q->object;

	unlink_waiter(h, q);
	/* relaxed, as all that is written of WAITED: who finds it set looks
	 * under the guard, and who does not find it set is served [sync.1] */
	if (!o->oldest)
		atomic_fetch_and_explicit(weft__sync_word(o), ~WAITED,
					  memory_order_relaxed);
}

/* Claims those whom one who has left was in the way of. Guarded. */
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

/* Whether what is waited for may come from another thread at once, and nobody here
 * is kept from running meanwhile. The holder's mark does not tell its thread: if it
 * is this one, some looks are made in vain by a thread that has nothing else to
 * do. */
static bool may_spin(struct scheduler *s)
{
	return s->spin_max_ns && weft__queue_is_empty(s) &&
	       weft__others_are_awake();
}

/* Looks for a while whether it can be taken. While nobody is queued: after that it
 * is handed over, and never free. */
static bool spin_briefly(struct scheduler *s, struct weft__sync *o,
			 const struct sync_kind *kind)
{
	uintptr_t me = weft__sync_mark(peek(s->current));

	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed: taking it is what orders */
		if (peek(*weft__sync_word(o)) & WAITED ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			return false;
		if (weft__sync_take(o, kind->taken, me))
			return true;
		arch_pause();
	}
	return false;
}

/* False: it could be taken after all. */
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
	/* Only the caller itself writes and clears this. In a scope, time will
	 * end the wait. */
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

void weft__sync_lock_all(void)
{
	for (int i = 0; i < N_GUARDS; i++)
		lock_contended(&guards[i].lock);
}

void weft__sync_unlock_all(void)
{
	for (int i = 0; i < N_GUARDS; i++)
		weft__unlock(&guards[i].lock, true);
}

/* From this one on, the first that is another thread's. */
static struct queued *find_other(struct queued *q, const struct scheduler *self)
{
	while (q && q->waiter.owner == self)
		q = q->older;
	return q;
}

/* Those of this thread behind one who goes can be let in. What drives it from
 * outside learns of them later, as of all. */
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

/* The next is found before one goes: of those who are let in none is another
 * thread's, so it stays in the list, and each is looked at once. */
static void forget_others(struct held h, struct scheduler *self)
{
	struct queued *q = find_other(h.guard->newest, self);

	while (q) {
		struct queued *next = find_other(q->older, self);

		forget_one(h, q, self);
		q = next;
	}
}

void weft__sync_forget_others(struct scheduler *self)
{
	for (int i = 0; i < N_GUARDS; i++)
		forget_others((struct held){ .guard = &guards[i] }, self);
}
