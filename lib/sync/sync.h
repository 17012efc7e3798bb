/* SPDX-License-Identifier: MIT */
/*
 * What mutexes, conditions, semaphores and read-write locks have in common: a word
 * that says who holds what, and a queue of waiters; see sync.c.
 */
#ifndef WEFT__SYNC_H
#define WEFT__SYNC_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/single_threaded.h>
#include <weft/sync.h>

#include "core/block.h"
#include "core/waiter.h"

/* This bit is set in the word if the queue is not empty. */
#define WAITED ((uintptr_t)1)

/* A guard that is held. */
struct held {
	struct guard *guard;
	bool is_taken; /* for weft__unlock() */
};

/* A way to wait until a word allows something to be taken. */
struct sync_kind {
	struct wait_kind wait; /* first */

	/* What the word becomes when the tasklet with the mark @me takes what there
	 * is; the word itself if @me has to wait. */
	uintptr_t (*taken)(uintptr_t word, uintptr_t me);

	/* The mark of the one tasklet that holds it. 0: there is none, or there can
	 * be several. */
	uintptr_t (*holder)(uintptr_t word);

	/* Claims the waiters that one that called off was in the way of; only
	 * tasklets of @only, if that is not NULL. Returns them as a list. Guarded.
	 * The pointer is NULL where nobody is ever in the way. */
	struct waiter *(*let_in)(struct held h, struct weft__sync *o,
				 const struct scheduler *only);
};

/* A waiting tasklet; on its stack. */
struct queued {
	struct waiter waiter; /* first; its links are those of the queue */
	struct weft__sync *object;
	struct queued *newer, *older; /* list of all waiters of the guard */
	bool is_linked;
};

_Static_assert(sizeof(uintptr_t) == sizeof(uint64_t), "an id fits in a word");

/* The mark says in a word that this tasklet holds it: the id in its place, with no
 * other bits. No other tasklet ever has this mark, although a descriptor has one
 * tenant after the other. @t is the current tasklet or one that waits. */
static INLINE uintptr_t weft__sync_mark(struct weft_task *t)
{
	/* relaxed, no pair: it does not change during the tasklet's life */
	return peek(t->word) & ~(((uintptr_t)1 << WORD_BITS) - 1);
}

static INLINE _Atomic(uintptr_t) *weft__sync_word(struct weft__sync *o)
{
	return (_Atomic(uintptr_t) *)&o->word;
}

/* A compare-exchange; @order if it succeeds. */
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

/* Takes what there is, if the caller need not wait. */
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

/* A blocking call that takes it; makes all checks. */
int weft__sync_lock(struct weft__sync *o, const struct sync_kind *kind);

/* The same without any checks. */
int weft__sync_wait(struct scheduler *s, struct weft__sync *o,
		    const struct sync_kind *kind);

/* Takes the guard of an object's queue. A thread holds one guard at a time, for a
 * few instructions, and never across a wake or a switch. */
struct held weft__sync_guard(const struct weft__sync *o);
void weft__sync_unguard(struct held h);

/* Puts a waiter at the end of its object's queue. Guarded. */
void weft__sync_link(struct held h, struct queued *q);

/* Claims the oldest waiter; NULL if there is none. Guarded. The caller has to
 * correct the word. */
struct queued *weft__sync_claim(struct held h, struct weft__sync *o);

/* For every wait_kind here. */
bool weft__sync_call_off(struct scheduler *s, struct waiter *w);
bool weft__sync_is_claimed(const struct waiter *w);

/* WAITED if somebody is queued, else 0. Guarded. */
static INLINE uintptr_t weft__sync_waited(const struct weft__sync *o)
{
	return o->oldest ? WAITED : 0;
}

/* Wakes the tasklets of a claimed list, in their order. */
void weft__sync_wake(struct scheduler *s, struct waiter *first);

/* --- mutex.c --- */

bool weft__mutex_is_held_by(weft_mutex *m, struct weft_task *t);

/* These check nothing. The caller does not hold the mutex, or holds it,
 * respectively. The first returns 0, or -EDEADLK if nobody can ever unlock the
 * mutex. */
int weft__mutex_relock(struct scheduler *s, weft_mutex *m);
int weft__mutex_unlock(struct scheduler *s, weft_mutex *m);

#endif /* WEFT__SYNC_H */
