/* SPDX-License-Identifier: MIT */
/*
 * The lock of a channel, or of the queues of sync.c: held for a few instructions,
 * never across a switch, a wake or a system call.
 *
 * In a process with one thread nobody can meet it, so it is not taken; as a
 * thread cannot begin or end in between, what weft__lock() found still holds at
 * the unlock, to which it is handed. A holder that lost its CPU is waited for as
 * lock.c says.
 *
 * [lock.1] the acquire of a lock pairs with the release of the unlock before.
 */
#ifndef WEFT__LOCK_H
#define WEFT__LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/single_threaded.h>

#include "debug.h"

/* To be called between two looks at something that another thread is about to
 * finish, with how often it has been called before. The time it takes grows; in the
 * end it sleeps, so that a thread of lower priority gets the CPU. */
void weft__be_patient(unsigned tries);

struct lock {
	_Atomic(unsigned) taken;
};

static NOINLINE __attribute__((unused)) void lock_contended(struct lock *l)
{
	for (unsigned tries = 0;; tries++) {
		/* relaxed: only the exchange below takes the lock */
		if (!peek(l->taken) &&
		    !atomic_exchange_explicit(
			    &l->taken, 1, memory_order_acquire)) /* [lock.1] */
			return;
		weft__be_patient(tries);
	}
}

/* Returns whether the lock had to be taken; for weft__unlock(). */
static INLINE bool weft__lock(struct lock *l)
{
	if (__libc_single_threaded)
		return false;
	if (unlikely(atomic_exchange_explicit(
		    &l->taken, 1, memory_order_acquire))) /* [lock.1] */
		lock_contended(l);
	return true;
}

/* The same, unless somebody else has it: then it is not taken, and false. */
static INLINE bool weft__lock_at_once(struct lock *l, bool *taken)
{
	*taken = !__libc_single_threaded;
	return !*taken ||
	       likely(!atomic_exchange_explicit(
		       &l->taken, 1, memory_order_acquire)); /* [lock.1] */
}

static INLINE void weft__unlock(struct lock *l, bool taken)
{
	if (likely(taken))
		atomic_store_explicit(&l->taken, 0,
				      memory_order_release); /* [lock.1] */
}

#endif /* WEFT__LOCK_H */
