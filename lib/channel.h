/* SPDX-License-Identifier: MIT */
/*
 * The channel's descriptor, and what passing an element (channel.c), waiting on
 * several channels (select.c) and the channels' memory (channel_pool.c) share.
 */
#ifndef WEFT__CHANNEL_H
#define WEFT__CHANNEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/channel.h>

#include "debug.h"
#include "lock.h"
#include "waiter.h"

enum { CHANNEL_NAME_SIZE = 32 };

/* channel->special: 0 is an open rendezvous channel where only plain senders and
 * receivers wait, for which passing an element has its fastest way. */
enum {
	CHANNEL_IS_BUFFERED = 1,
	CHANNEL_IS_CLOSING = 2,
	/* One for each waiter that is not plain and each error in the buffer. */
	CHANNEL_ONE_SPECIAL = 4
};

struct weft_channel {
	/* under lock; the atomic ones are read by any thread */
	struct lock lock;
	_Atomic(int) waiting;               /* senders, less receivers */
	struct waiter *senders, *receivers; /* queues, see below */
	_Atomic(uintptr_t) spinner;         /* see [channel.2] */
	union {
		uint64_t mail;
		char *slots; /* of one that is buffered; changes only in
				one that is unbounded */
	};
	uint32_t element_size; /* never changes */
	uint32_t mask;         /* of the slots; never changes */
	_Atomic(uint32_t) special;
	_Atomic(uint32_t) sent; /* into the buffer, ever [channel.3] */
	uint32_t send_limit;    /* up to it `sent` grows with no other look */
	_Atomic(int8_t) preference;
	_Atomic(bool) schedule_all;

	/* The receiving side of a buffer, under receive_lock; the first three
	 * never change. */
	uint32_t capacity
		__attribute__((aligned(64))); /* 0: rendezvous; UNBOUNDED */
	uint32_t receive_mask;
	uint32_t receive_size; /* element_size again */
	struct lock receive_lock;
	char *receive_slots;        /* likewise */
	_Atomic(uint32_t) received; /* out of the buffer, ever [channel.3] */
	uint32_t receive_limit;     /* the same for `received` */
	uint32_t run_began; /* what it was when the buffer was last empty */
	/* Under both locks: nothing but the buffer has to be looked at. */
	bool receives_plainly;

	/* under lock: what is seldom used */
	uint32_t references;
	int *errors; /* per slot; 0: an element; NULL: there never was one, or
			it is unbounded */
	void (*drop)(void *element, void *ctx);
	union {
		void *drop_ctx;
		struct weft_channel *next_free; /* in the pool */
	};
	struct weft_channel *next_unused; /* whose elements are to be dropped */
	char name[CHANNEL_NAME_SIZE] __attribute__((aligned(64)));
} __attribute__((aligned(128)));

_Static_assert(offsetof(struct weft_channel, capacity) == 64,
	       "what passing an element needs is one cache line, or two");

/* The capacity of a buffer that grows: see channel_buffer.c. */
#define UNBOUNDED UINT32_MAX

static INLINE bool weft__is_unbounded(const struct weft_channel *ch)
{
	return unlikely(ch->capacity == UNBOUNDED);
}

/* Takes all there is to take: both locks of a channel that is buffered. Returns
 * what is to be handed to weft__channel_unlock(). */
static INLINE bool weft__channel_lock(struct weft_channel *ch)
{
	bool locked = weft__lock(&ch->lock);

	if (ch->capacity)
		weft__lock(&ch->receive_lock);
	return locked;
}

static INLINE uint32_t weft__n_buffered(struct weft_channel *ch)
{
	return peek(ch->sent) - peek(ch->received);
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
		/* Each side finds its own when it gets there. */
		if (weft__is_unbounded(ch)) {
			ch->send_limit = peek(ch->sent);
			ch->receive_limit = peek(ch->received);
		}
		weft__unlock(&ch->receive_lock, locked);
	}
	weft__unlock(&ch->lock, locked);
}

/* A waiter of a selection: one per case, in the queue of its channel. */
struct select_case {
	struct waiter waiter;
	struct selection *selection;
	struct weft_channel *home;
};

/* One that sends an error. */
struct error_sender {
	struct waiter waiter;
	int error;
};

/* --- queues: the first one's prev is the last --- */

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

/* --- a channel's --- */

/* Where those wait whom a call of @direction meets: 1: a send, -1: a receive. */
static INLINE struct waiter **weft__peers(struct weft_channel *ch,
					  int direction)
{
	return direction > 0 ? &ch->receivers : &ch->senders;
}

/* With all of its locks held, as all of these. @w is of a call of that
 * direction. */
static INLINE void weft__channel_link(struct weft_channel *ch, struct waiter *w,
				      int direction)
{
	weft__waiters_append(direction > 0 ? &ch->senders : &ch->receivers, w);
	poke(ch->waiting, peek(ch->waiting) + direction);
	/* relaxed here and below: read under the lock, or as a hint */
	poke(w->channel, ch); /* [channel.1] */
}

/* Counts a special waiter, or an error in the buffer, in or out. */
static inline void weft__channel_count_special(struct weft_channel *ch, int by)
{
	poke(ch->special,
	     peek(ch->special) + (uint32_t)(by * CHANNEL_ONE_SPECIAL));
}

/* Takes any waiter out that is linked. */
void weft__channel_unlink(struct weft_channel *ch, struct waiter *w);

/* Whether nobody can use the channel any more: then it is to be freed, when its
 * lock has been let go, and where what drops elements may run. */
static inline bool weft__channel_is_unused(const struct weft_channel *ch)
{
	return !ch->references && !ch->senders && !ch->receivers;
}

void weft__channel_free(struct weft_channel *ch);

/* How a waiter is described that waits in a queue. */
void weft__describe_waiter(const struct waiter *w, char *text, size_t size,
			   const char *verb);

/* --- select.c --- */

extern const struct wait_kind weft__selecting_send HIDDEN;
extern const struct wait_kind weft__selecting_receive HIDDEN;

static inline bool weft__waiter_is_case(const struct waiter *w)
{
	return w->kind == &weft__selecting_send ||
	       w->kind == &weft__selecting_receive;
}

/* Whether none of the selection's cases has been claimed. */
bool weft__select_is_open(const struct waiter *w);

/* Whether a waiter can still be claimed. */
static inline bool weft__waiter_is_live(const struct waiter *w)
{
	return !weft__waiter_is_case(w) || weft__select_is_open(w);
}

/* The first of a queue for which that is so. */
static inline struct waiter *weft__first_live(struct waiter *w)
{
	while (w && !weft__waiter_is_live(w))
		w = w->next;
	return w;
}

/* Claims the selection for this case of it: false if it has been already. */
bool weft__select_claim(struct waiter *w);

/* Takes the other cases of a claimed selection out of their queues. Without a
 * lock held; calls nothing of the program's. Returns the waiter that is to be woken. */
struct waiter *weft__select_settle(struct waiter *w);

#endif /* WEFT__CHANNEL_H */
