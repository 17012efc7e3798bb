/* SPDX-License-Identifier: MIT */
/*
 * The channel's descriptor, its queues, and its lock: what the files of this folder
 * share.
 *
 *	channel.c   send and receive, the fast paths of a rendezvous
 *	buffer.c    the fast paths through a buffer; sends and receives of many
 *	pass.c      the general path; errors; open and close
 *	wait.c      waiting in a channel, calling that off, spinning
 *	select.c    waiting in several channels
 *	pool.c      new, ref and unref; settings; questions; fork
 */
#ifndef WEFT__CHANNEL_H
#define WEFT__CHANNEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/channel.h>

#include "base/debug.h"
#include "base/lock.h"
#include "core/waiter.h"

enum { CHANNEL_NAME_SIZE = 32 };

/* channel->special. 0 means an open rendezvous channel where only plain senders and
 * receivers wait: passing an element is fastest there. */
enum {
	CHANNEL_IS_BUFFERED = 1,
	CHANNEL_IS_CLOSING = 2,
	/* counted once for each waiter that is not plain and each error in the
	 * buffer */
	CHANNEL_ONE_SPECIAL = 4
};

struct weft_channel {
	/* under lock; the atomic ones are read by any thread */
	struct lock lock;
	_Atomic(int) waiting;               /* senders minus receivers */
	struct waiter *senders, *receivers; /* see "queues" below */
	_Atomic(uintptr_t) spinner;         /* see wait.c [channel.2] */
	union {
		uint64_t mail; /* the spinner's element */
		char *slots;   /* if buffered; changes only if unbounded */
	};
	uint32_t element_size; /* never changes */
	uint32_t mask;         /* finds an index's slot; never changes */
	_Atomic(uint32_t) special;
	_Atomic(uint32_t) sent; /* in all, into the buffer [channel.3] */
	uint32_t send_limit;    /* `sent` grows up to it without a look */
	_Atomic(int8_t) preference;
	_Atomic(bool) schedule_all;

	/* The receiving side of a buffer, under receive_lock. The first three never
	 * change. */
	uint32_t capacity
		__attribute__((aligned(64))); /* 0: rendezvous; or UNBOUNDED */
	uint32_t receive_mask;
	uint32_t receive_size; /* a copy of element_size */
	struct lock receive_lock;
	char *receive_slots;        /* as slots */
	_Atomic(uint32_t) received; /* in all, out of it [channel.3] */
	uint32_t receive_limit;     /* `received` grows up to it */
	uint32_t run_began;         /* `received` when last found empty */
	/* Under both locks: a receiver has nothing but the buffer to look at. */
	bool receives_plainly;

	/* under lock: what is seldom used */
	uint32_t references;
	int *errors; /* per slot; 0: an element; NULL: none yet, or unbounded */
	void (*drop)(void *element, void *ctx);
	union {
		void *drop_ctx;
		struct weft_channel *next_free; /* in the pool */
	};
	struct weft_channel *next_unused; /* in the list of those to drop */
	char name[CHANNEL_NAME_SIZE] __attribute__((aligned(64)));
	_Atomic(void *) data; /* the user's; any thread */
} __attribute__((aligned(128)));

_Static_assert(offsetof(struct weft_channel, capacity) == 64,
	       "what passing an element needs is one cache line, or two");

/* The capacity of a buffer that grows: see buffer.c. */
#define UNBOUNDED UINT32_MAX

static INLINE bool weft__is_unbounded(const struct weft_channel *ch)
{
	return unlikely(ch->capacity == UNBOUNDED);
}

static INLINE uint32_t weft__n_buffered(struct weft_channel *ch)
{
	return peek(ch->sent) - peek(ch->received);
}

/* Takes the lock, or both locks of a buffered channel. The result is to be passed
 * to weft__channel_unlock(). */
static INLINE bool weft__channel_lock(struct weft_channel *ch)
{
	bool locked = weft__lock(&ch->lock);

	if (ch->capacity)
		weft__lock(&ch->receive_lock);
	return locked;
}

static INLINE void weft__channel_unlock(struct weft_channel *ch, bool locked)
{
	if (ch->capacity) {
		ch->receives_plainly =
			peek(ch->special) == CHANNEL_IS_BUFFERED &&
			!ch->senders;
		ch->send_limit = ch->receivers
					 ? peek(ch->sent)
					 : peek(ch->received) + ch->capacity;
		ch->receive_limit = ch->receives_plainly ? peek(ch->sent)
							 : peek(ch->received);
		/* Each side computes its own limit when it gets there. */
		if (weft__is_unbounded(ch)) {
			ch->send_limit = peek(ch->sent);
			ch->receive_limit = peek(ch->received);
		}
		weft__unlock(&ch->receive_lock, locked);
	}
	weft__unlock(&ch->lock, locked);
}

/* A way to wait in a channel's queue. */
struct channel_kind {
	struct wait_kind wait; /* first */
	int direction;         /* 1: of a sender, -1: of a receiver */
	bool is_special;       /* counted in channel->special */
};

static inline const struct channel_kind *weft__channel_kind(
	const struct waiter *w)
{
	return (const struct channel_kind *)w->kind;
}

/* --- queues of waiters: the `prev` of the first is the last --- */

static INLINE void weft__waiters_append(struct waiter **queue, struct waiter *w)
{
	struct waiter *first = *queue;

	w->next = NULL;
	if (first) {
		w->prev = first->prev;
		first->prev->next = w;
		first->prev = w;
	} else {
		w->prev = w;
		*queue = w;
	}
}

static INLINE void weft__waiters_take_first(struct waiter **queue)
{
	struct waiter *w = *queue;

	*queue = w->next;
	if (w->next)
		w->next->prev = w->prev;
}

static inline void weft__waiters_take(struct waiter **queue, struct waiter *w)
{
	struct waiter *first = *queue;

	if (w == first) {
		weft__waiters_take_first(queue);
		return;
	}
	w->prev->next = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		first->prev = w->prev;
}

/* --- a channel's queues, with all locks of the channel held --- */

/* The queue of the waiters that a call of @direction can meet. 1: a send, -1: a
 * receive. */
static INLINE struct waiter **weft__peers(struct weft_channel *ch,
					  int direction)
{
	return direction > 0 ? &ch->receivers : &ch->senders;
}

/* Puts @w, the waiter of a call of @direction, in its queue. */
static INLINE void weft__channel_link(struct weft_channel *ch, struct waiter *w,
				      int direction)
{
	weft__waiters_append(direction > 0 ? &ch->senders : &ch->receivers, w);
	poke(ch->waiting, peek(ch->waiting) + direction);
	/* relaxed here and below: `channel` is read under the lock, or as a hint */
	poke(w->channel, ch); /* [channel.1] */
}

/* Adds @by special waiters, or errors in the buffer. */
static inline void weft__channel_count_special(struct weft_channel *ch, int by)
{
	poke(ch->special,
	     peek(ch->special) + (uint32_t)(by * CHANNEL_ONE_SPECIAL));
}

/* Takes a linked waiter of any kind out of its queue. */
void weft__channel_unlink(struct weft_channel *ch, struct waiter *w);

/* --- pool.c, wait.c --- */

/* Whether nobody can use the channel any more. Called with the lock held. The
 * channel is then to be freed: after the unlock, and where the program's `drop` may
 * run. */
static inline bool weft__channel_is_unused(const struct weft_channel *ch)
{
	return !ch->references && !ch->senders && !ch->receivers;
}

/* Frees an unused channel. Its elements are dropped. */
void weft__channel_free(struct weft_channel *ch);

/* Writes what a waiter in a queue waits for. */
void weft__describe_waiter(const struct waiter *w, char *text, size_t size,
			   const char *verb);

/* --- select.c --- */

extern const struct channel_kind weft__selecting_send HIDDEN;
extern const struct channel_kind weft__selecting_receive HIDDEN;

static inline bool weft__waiter_is_case(const struct waiter *w)
{
	return w->kind == &weft__selecting_send.wait ||
	       w->kind == &weft__selecting_receive.wait;
}

/* Whether none of the selection's cases has been claimed. */
bool weft__select_is_open(const struct waiter *w);

/* Whether a waiter can still be claimed. */
static inline bool weft__waiter_is_live(const struct waiter *w)
{
	return !weft__waiter_is_case(w) || weft__select_is_open(w);
}

/* The first waiter of a queue that can still be claimed. */
static inline struct waiter *weft__first_live(struct waiter *w)
{
	while (w && !weft__waiter_is_live(w))
		w = w->next;
	return w;
}

/* Claims the selection for this case. Returns false if it has already been
 * claimed. */
bool weft__select_claim(struct waiter *w);

/* Takes the other cases of a claimed selection out of their queues. Called without
 * a lock held; calls nothing of the program's. Returns the waiter that is to be
 * woken. */
struct waiter *weft__select_settle(struct waiter *w);

#endif /* WEFT__CHANNEL_H */
