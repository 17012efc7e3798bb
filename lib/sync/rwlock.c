/* SPDX-License-Identifier: MIT */
/*
 * Read-write locks. The word is one of these, with WAITED when somebody waits:
 *
 *	0                     free
 *	a mark | WRITING      of the tasklet that holds it alone
 *	n * READER            n readers hold it
 *
 * While somebody waits, nobody takes the lock from outside of the queue. So the
 * queue is served in its order, and its first waiter cannot be let in: it is a
 * writer, or it is a reader while a writer holds the lock. [rwlock.1] Readers leave
 * without the guard as long as another reader is left. Two events let the first
 * waiter in. One is that the last holder leaves. The other is that the first
 * waiter, a writer waiting for readers, calls off: then the readers behind it go
 * in. Both happen under the guard, which is held from the change of the word until
 * [rwlock.1] is true again.
 *
 * (tests/model/rwlock.pml)
 *
 * sync.c has the argument for the rest. The last holder to leave has seen what the
 * other readers did, and hands that on: all changes of the word by readers are
 * read-modify-writes, release, and the last holder acquires. [sync.2]
 */
#include <errno.h>
#include <stdio.h>

#include "sync/sync.h"

enum { WRITING = 2, READER = 4 };

_Static_assert(1 << WORD_BITS >= READER, "the bits are free");

static INLINE uintptr_t taken_to_read(uintptr_t word, uintptr_t me)
{
	(void)me;
	return word & (WAITED | WRITING) ? word : word + READER;
}

static INLINE uintptr_t taken_to_write(uintptr_t word, uintptr_t me)
{
	return word ? word : me | WRITING;
}

static INLINE uintptr_t holder(uintptr_t word)
{
	return word & WRITING ? word & ~(WAITED | WRITING) : 0;
}

/* The word after @me has left; the word itself if @me holds nothing. */
static INLINE uintptr_t released(uintptr_t word, uintptr_t me)
{
	if (word & WRITING)
		return holder(word) == me ? word & WAITED : word;
	return word < READER ? word : word - READER;
}

static void describe_read(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "waits to read under rwlock %p",
		 (void *)((const struct queued *)w)->object);
}

static void describe_write(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "waits to write under rwlock %p",
		 (void *)((const struct queued *)w)->object);
}

/* Lets the first waiter in, if that is possible now. Guarded. */
static bool let_one_in(struct held h, struct weft__sync *o, struct waiter *w)
{
	const struct sync_kind *kind = (const struct sync_kind *)w->kind;
	uintptr_t others = w->next ? WAITED : 0;
	uintptr_t word, to;

	do { /* again if a reader has left meanwhile */
		word = peek(*weft__sync_word(o)) & ~WAITED;
		to = kind->taken(word, weft__sync_mark(w->task));
		if (to == word)
			return false;
		/* acquire, release: see above [sync.2] */
	} while (!weft__sync_change(o, word | WAITED, to | others,
				    memory_order_acq_rel));
	weft__sync_claim(h, o);
	return true;
}

static struct waiter *let_in(struct held h, struct weft__sync *o,
			     const struct scheduler *only)
{
	struct waiter *first = NULL;
	struct waiter *last = NULL;
	struct waiter *w;

	while ((w = o->oldest) && (!only || w->owner == only) &&
	       let_one_in(h, o, w)) {
		if (last)
			last->next = w;
		else
			first = w;
		last = w;
	}
	return first;
}

static int release(struct scheduler *s, struct weft__sync *o, uintptr_t me);

static void give_back(struct waiter *w)
{
	(void)release(w->owner, ((struct queued *)w)->object,
		      weft__sync_mark(w->task));
}

static const struct sync_kind reading = {
	.wait = { .cancel = weft__sync_call_off,
		  .give_back = give_back,
		  .is_claimed = weft__sync_is_claimed,
		  .is_given_with_claim = true,
		  .describe = describe_read },
	.taken = taken_to_read,
	.holder = holder,
	.let_in = let_in,
};

static const struct sync_kind writing = {
	.wait = { .cancel = weft__sync_call_off,
		  .give_back = give_back,
		  .is_claimed = weft__sync_is_claimed,
		  .is_given_with_claim = true,
		  .describe = describe_write },
	.taken = taken_to_write,
	.holder = holder,
	.let_in = let_in,
};

static NOINLINE int rdlock_slowly(weft_rwlock *l)
{
	return weft__sync_lock(&l->weft__sync, &reading);
}

static NOINLINE int wrlock_slowly(weft_rwlock *l)
{
	return weft__sync_lock(&l->weft__sync, &writing);
}

WEFT_API int weft_rwlock_rdlock(weft_rwlock *l)
{
	struct scheduler *s = weft__fast;

	if (likely(s) && likely(!peek(s->current)->attention) &&
	    likely(weft__sync_take(&l->weft__sync, taken_to_read, 0)))
		return 0;
	return rdlock_slowly(l);
}

WEFT_API int weft_rwlock_wrlock(weft_rwlock *l)
{
	struct scheduler *s = weft__fast;

	if (likely(s) && likely(!peek(s->current)->attention) &&
	    likely(weft__sync_take(&l->weft__sync, taken_to_write,
				   weft__sync_mark(peek(s->current)))))
		return 0;
	return wrlock_slowly(l);
}

static int try_to_take(weft_rwlock *l, const struct sync_kind *kind)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return -errno;
	return weft__sync_take(&l->weft__sync, kind->taken,
			       weft__sync_mark(peek(s->current)))
		       ? 0
		       : -EBUSY;
}

WEFT_API int weft_rwlock_tryrdlock(weft_rwlock *l)
{
	return try_to_take(l, &reading);
}

WEFT_API int weft_rwlock_trywrlock(weft_rwlock *l)
{
	return try_to_take(l, &writing);
}

/* The last holder leaves, and lets in the waiters that can be. Returns NULL if
 * nothing has happened, because the caller is not the last holder or nobody waits
 * any more. */
static struct waiter *hand_over(struct weft__sync *o, uintptr_t me)
{
	struct held h = weft__sync_guard(o);
	/* acquire: what other readers did [sync.2] */
	uintptr_t word =
		atomic_load_explicit(weft__sync_word(o), memory_order_acquire);
	struct waiter *first = NULL;

	if (released(word, me) == WAITED) {
		/* relaxed: only a holder of the guard takes this */
		poke(*weft__sync_word(o), WAITED);
		first = let_in(h, o, NULL);
	}
	weft__sync_unguard(h);
	return first;
}

/* 0, or -EPERM if @me does not hold it. */
static int release(struct scheduler *s, struct weft__sync *o, uintptr_t me)
{
	struct waiter *first;

	for (;;) {
		uintptr_t word = peek(*weft__sync_word(o));
		uintptr_t to = released(word, me);

		if (unlikely(to == word))
			return -EPERM;
		if (unlikely(to == WAITED)) {
			first = hand_over(o, me);
			if (!first)
				continue;
			weft__sync_wake(s, first);
			return 0;
		}
		if (likely(weft__sync_change(
			    o, word, to, memory_order_release))) /* [sync.2] */
			return 0;
	}
}

WEFT_API int weft_rwlock_unlock(weft_rwlock *l)
{
	struct scheduler *s = weft__self;

	if (unlikely(!s)) /* not attached, so it holds nothing */
		return -EPERM;
	return release(s, &l->weft__sync, weft__sync_mark(peek(s->current)));
}
