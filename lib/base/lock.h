/* SPDX-License-Identifier: MIT */
/*
 * The lock of a channel, or of the queues of sync/sync.c. It is held for a few
 * instructions, never across a switch, a wake or a system call.
 *
 * In a process with one thread nobody else can take the lock, so it is not taken. A
 * thread cannot begin or end while the lock is held: so what weft__lock() found
 * still holds at the unlock, to which its result is passed. lock.c says how to wait
 * for a holder that has lost its CPU.
 *
 * [lock.1] The acquire of a lock pairs with the release of the unlock before.
 */
#ifndef WEFT__LOCK_H
#define WEFT__LOCK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/single_threaded.h>

#include "base/debug.h"

/* To be called between two looks at something that another thread will soon finish.
 * @tries says how often it has been called before. Each call takes longer; in the
 * end it sleeps, so that a thread of lower priority gets the CPU. */
void weft__be_patient(unsigned tries);

struct lock {
	_Atomic(unsigned) taken;
};

static NOINLINE __attribute__((unused)) void lock_contended(struct lock *l)
{
	for (unsigned tries = 0;; tries++) {
		/* relaxed, no pair: only the exchange below takes the lock */
		if (!peek(l->taken) &&
		    !atomic_exchange_explicit(
			    &l->taken, 1, memory_order_acquire)) /* [lock.1] */
			return;
		weft__be_patient(tries);
	}
}

/* Returns whether the lock had to be taken; to be passed to weft__unlock(). */
static INLINE bool weft__lock(struct lock *l)
{
	if (__libc_single_threaded)
		return false;
	if (unlikely(atomic_exchange_explicit(
		    &l->taken, 1, memory_order_acquire))) /* [lock.1] */
		lock_contended(l);
	return true;
}

/* The same, but if another thread holds the lock this returns false and does not
 * wait. */
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
