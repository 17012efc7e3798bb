/* SPDX-License-Identifier: MIT */
/*
 * Semaphores. The word is twice the number of units, or it is WAITED: while
 * somebody waits there are no units (sync.c).
 */
#include <errno.h>
#include <stdio.h>

#include "sync/sync.h"

enum { UNIT = 2 };

static INLINE uintptr_t taken(uintptr_t word, uintptr_t me)
{
	(void)me;
	return word < UNIT ? word : word - UNIT;
}

static uintptr_t holder(uintptr_t word)
{
	(void)word;
	return 0;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "waits for semaphore %p",
		 (void *)((const struct queued *)w)->object);
}

static void give_back(struct waiter *w)
{
	(void)weft_semaphore_post(
		(weft_semaphore *)((struct queued *)w)->object);
}

static const struct sync_kind taking = {
	.wait = { .cancel = weft__sync_call_off,
		  .give_back = give_back,
		  .is_claimed = weft__sync_is_claimed,
		  .is_given_with_claim = true,
		  .describe = describe },
	.taken = taken,
	.holder = holder,
};

static NOINLINE int wait_slowly(weft_semaphore *sem)
{
	return weft__sync_lock(&sem->weft__sync, &taking);
}

WEFT_API int weft_semaphore_wait(weft_semaphore *sem)
{
	struct scheduler *s = weft__fast;

	if (likely(s) && likely(!peek(s->current)->attention) &&
	    likely(weft__sync_take(&sem->weft__sync, taken, 0)))
		return 0;
	return wait_slowly(sem);
}

WEFT_API int weft_semaphore_trywait(weft_semaphore *sem)
{
	return weft__sync_take(&sem->weft__sync, taken, 0) ? 0 : -EAGAIN;
}

/* Gives a unit to the oldest waiter, if there still is one. */
static bool hand_over(struct scheduler *s, struct weft__sync *o)
{
	struct held h = weft__sync_guard(o);
	struct queued *q = weft__sync_claim(h, o);

	if (q) /* relaxed: the wake orders [sync.2] */
		poke(*weft__sync_word(o), weft__sync_waited(o));
	weft__sync_unguard(h);
	if (!q)
		return false;
	weft__sync_wake(s, &q->waiter);
	return true;
}

WEFT_API int weft_semaphore_post(weft_semaphore *sem)
{
	struct weft__sync *o = &sem->weft__sync;

	for (;;) {
		uintptr_t word = peek(*weft__sync_word(o));
		struct scheduler *s;

		if (unlikely(word & WAITED)) {
			s = weft__scheduler();
			if (!s)
				return -errno;
			if (hand_over(s, o))
				return 0;
			continue;
		}
		if (word / UNIT >= WEFT_SEMAPHORE_MAX)
			return -EOVERFLOW;
		if (weft__sync_change(o, word, word + UNIT,
				      memory_order_release)) /* [sync.2] */
			return 0;
	}
}
