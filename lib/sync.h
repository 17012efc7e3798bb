/* SPDX-License-Identifier: MIT */
/*
 * What mutexes, conditions, semaphores and read-write locks have in common: a
 * word that says who holds what, and a queue of those who wait; see sync.c.
 */
#ifndef WEFT__SYNC_H
#define WEFT__SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>
#include <weft/sync.h>

#include "lock.h"
#include "scheduler.h"
#include "waiter.h"

/* The bit of every word that says that the queue is not empty. */
#define WAITED ((uintptr_t)1)

/* A guard that is held. */
struct held {
	struct guard *guard;
	bool is_taken; /* for weft__unlock() */
};

/* A way to wait for a word to become another. */
struct sync_kind {
	struct wait_kind wait; /* first */

	/* What the word becomes when @me, a mark, takes what there is; the word
	 * itself, when it has to wait for that. */
	uintptr_t (*taken)(uintptr_t word, uintptr_t me);

	/* The mark of the one tasklet that holds it; 0: there is none, or there
	 * can be several. */
	uintptr_t (*holder)(uintptr_t word);

	/* Claims those whom one who has called off was in the way of, as far as
	 * they are tasklets of @only, if that is not NULL. A list. Guarded. NULL
	 * where nobody ever is. */
	struct waiter *(*let_in)(struct held h, struct weft__sync *o,
				 const struct scheduler *only);
};

/* One who waits, on its stack. */
struct queued {
	struct waiter waiter; /* first; its links are those of the queue */
	struct weft__sync *object;
	struct queued *newer, *older; /* all that a guard knows */
	bool is_linked;
};

_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "an id fits in a word");

/* What says in a word that a tasklet holds it: its id, in its place, with no other
 * bits. No other tasklet ever has that, while a descriptor has one tenant after the
 * other. Of the current tasklet, or of one that waits. */
static INLINE uintptr_t weft__sync_mark(struct weft_task *t)
{
	/* relaxed: it does not change as long as the tasklet is there */
	return peek(t->word) & ~(((uintptr_t)1 << WORD_BITS) - 1);
}

static INLINE _Atomic(uintptr_t) *weft__sync_word(struct weft__sync *o)
{
	return (_Atomic(uintptr_t) *)&o->word;
}

/* Compares and exchanges, with @order if it succeeds. */
static INLINE bool weft__sync_change(struct weft__sync *o, uintptr_t from,
				     uintptr_t to, memory_order order)
{
	if (__libc_single_threaded) {
		if (o->word != from)
			return false;
		o->word = to;
		return true;
	}
	return atomic_compare_exchange_strong_explicit(
		weft__sync_word(o), &from, to, order, memory_order_relaxed);
}

/* Takes what there is, if the caller need not wait for it. */
static INLINE bool weft__sync_take(struct weft__sync *o,
				   uintptr_t (*taken)(uintptr_t word,
						      uintptr_t me),
				   uintptr_t me)
{
	for (;;) {
		uintptr_t word = peek(*weft__sync_word(o));
		uintptr_t to = taken(word, me);

		if (to == word)
			return false;
		if (likely(weft__sync_change(
			    o, word, to, memory_order_acquire))) /* [sync.2] */
			return true;
	}
}

/* A blocking call that takes it, with all its checks. */
int weft__sync_lock(struct weft__sync *o, const struct sync_kind *kind);

/* The same without any check. */
int weft__sync_wait(struct scheduler *s, struct weft__sync *o,
		    const struct sync_kind *kind);

/* The guard of an object's queue. Held for a few instructions, never across a
 * wake or a switch, and one at a time. */
struct held weft__sync_guard(const struct weft__sync *o);
void weft__sync_unguard(struct held h);

/* Puts one who waits at the end of its object's queue. Guarded. */
void weft__sync_link(struct held h, struct queued *q);

/* Claims the one who has waited longest; NULL if there is none. Guarded; the
 * word is the caller's to put right. */
struct queued *weft__sync_claim(struct held h, struct weft__sync *o);

/* For every wait_kind here. */
bool weft__sync_call_off(struct scheduler *s, struct waiter *w);
bool weft__sync_is_claimed(const struct waiter *w);

/* Whether somebody is queued. Guarded. */
static INLINE uintptr_t weft__sync_waited(const struct weft__sync *o)
{
	return o->oldest ? WAITED : 0;
}

/* Wakes the tasklets of a list that has been claimed, in their order. */
void weft__sync_wake(struct scheduler *s, struct waiter *first);

/* --- mutex.c --- */

bool weft__mutex_is_held_by(weft_mutex *m, struct weft_task *t);

/* The calls without any check but that the caller holds it, or does not. The
 * first returns 0, or -EDEADLK when nobody can ever unlock it. */
int weft__mutex_relock(struct scheduler *s, weft_mutex *m);
int weft__mutex_unlock(struct scheduler *s, weft_mutex *m);

#endif /* WEFT__SYNC_H */
