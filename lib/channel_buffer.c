/* SPDX-License-Identifier: MIT */
/*
 * The buffer of a channel, and the fast ways through it.
 *
 * [channel.3] A buffer has two sides with a lock and a cache line each, so that a
 * thread that fills it and one that drains it do not wait for each other. Who
 * sends into it holds `lock`, counts `sent` up and knows of the other side's
 * `received` only as far as it needs to (send_limit); who receives from it holds
 * receive_lock, likewise. `sent` is released when a slot has been written and
 * acquired before it is read, `received` when it has been read and before it is
 * written again. All else about the channel, its queues, what is special, is
 * changed with both locks held, lock first; but for one: who sends may serve a
 * receiver that waits under `lock` alone, for while one waits the buffer is empty,
 * and who would receive has to take both locks to find out. A receive that finds
 * senders waiting has to, too: receives_plainly, which is set when both locks are
 * let go, tells it. Both limits are then set so that who has anything but the
 * buffer to look at has reached his, and finds out there: up to its limit a side
 * looks at nothing else.
 *
 * (tests/model/buffer.pml)
 */
#include "channel_buffer.h"

#include <errno.h>

#include "channel_pass.h"

/* A run is what one side does while the other leaves it alone. */
enum {
	RUN_BYTES = 16 * 1024, /* copied with a lock held */
	RUN_LEAST_PAUSES = 4,  /* of a receiver, before it looks for more */
	RUN_MOST_PAUSES = 20,  /* and how many more than that */
	RUN_LOOKS = 32,        /* for the other side, before blocking */
	RUN_PAUSES = 16        /* at most, between two of those */
};

/* --- errors --- */

void weft__put_error_in_buffer(struct weft_channel *ch, int error)
{
	uint32_t sent = peek(ch->sent);

	ch->errors[sent & ch->mask] = error;
	atomic_store_explicit(&ch->sent, sent + 1,
			      memory_order_release); /* [channel.3] */
	weft__channel_count_special(ch, 1);
}

int weft__take_error_from_buffer(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	int error = ch->errors[received & ch->mask];

	ch->errors[received & ch->mask] = 0;
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release); /* [channel.3] */
	weft__channel_count_special(ch, -1);
	return error;
}

/* --- the two sides --- */

/* Whether there is room in the buffer; called with the lock held. */
static INLINE bool has_room(struct weft_channel *ch)
{
	if (likely(peek(ch->sent) != ch->send_limit))
		return true;
	/* acquire: the slots have been read [channel.3] */
	ch->send_limit =
		atomic_load_explicit(&ch->received, memory_order_acquire) +
		ch->capacity;
	return peek(ch->sent) != ch->send_limit;
}

/* Whether there is something in it; called with receive_lock held. */
static INLINE bool has_elements(struct weft_channel *ch)
{
	if (likely(peek(ch->received) != ch->receive_limit))
		return true;
	/* acquire: the elements have been written [channel.3] */
	ch->receive_limit =
		atomic_load_explicit(&ch->sent, memory_order_acquire);
	return peek(ch->received) != ch->receive_limit;
}

/* With an element size that is known, or not. */
static INLINE bool try_to_put(struct weft_channel *ch, const void *element,
			      size_t size)
{
	if (unlikely(!has_room(ch)))
		return false;
	put_in_buffer(ch, element, size);
	return true;
}

static INLINE bool try_to_take(struct weft_channel *ch, void *element,
			       size_t size)
{
	if (unlikely(!ch->receives_plainly || !has_elements(ch)))
		return false;
	take_from_buffer(ch, element, size);
	return true;
}

/* --- the fast ways --- */

/* Looks at the other side's count for a while, @count, until it is not @unwanted:
 * for a busy thread on the other side of a buffer, so that the two go on in runs,
 * and not with a wake for each element. The pauses grow, for each look takes a
 * cache line from the other side. Called with no lock held. */
static void await_run(struct scheduler *s, _Atomic(uint32_t) *count,
		      uint32_t unwanted)
{
	for (int look = 0, pauses = 1; look < RUN_LOOKS; look++) {
		/* relaxed: who sees that it has changed takes the lock */
		if (peek(*count) != unwanted ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			break;
		for (int i = 0; i < pauses; i++)
			arch_pause();
		if (pauses < RUN_PAUSES)
			pauses *= 2;
	}
}

/* Into a buffer that is full; called with the lock held. */
static int send_to_full(struct scheduler *s, struct weft_channel *ch,
			void *element, bool locked)
{
	bool has_put = false;

	if (may_spin(s, locked)) {
		uint32_t received = ch->send_limit - ch->capacity;

		weft__unlock(&ch->lock, locked);
		await_run(s, &ch->received, received);
		locked = weft__lock(&ch->lock);
		has_put = peek(ch->special) == CHANNEL_IS_BUFFERED &&
			  !ch->receivers &&
			  try_to_put(ch, element, ch->element_size);
	}
	if (has_put) {
		weft__unlock(&ch->lock, locked);
		return 0;
	}
	weft__lock(&ch->receive_lock);
	return weft__pass_plainly(s, ch, element, 1, locked);
}

/* As far as is known there is no room, or a receiver waits; called with the lock
 * held. */
static NOINLINE int send_at_limit(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked)
{
	if (ch->receivers)
		return pass_to_first(s, ch, element, 1, locked);
	if (!try_to_put(ch, element, ch->element_size))
		return send_to_full(s, ch, element, locked);
	weft__unlock(&ch->lock, locked);
	return 0;
}

static INLINE int send_of_size(struct scheduler *s, struct weft_channel *ch,
			       void *element, bool locked, size_t size)
{
	if (unlikely(peek(ch->sent) == ch->send_limit))
		return send_at_limit(s, ch, element, locked);
	put_in_buffer(ch, element, size);
	weft__unlock(&ch->lock, locked);
	return 0;
}

static NOINLINE int send_any_size(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked)
{
	return send_of_size(s, ch, element, locked, ch->element_size);
}

/* To a buffered channel about which nothing else is special; called with the lock
 * held. */
NOINLINE int weft__send_buffered(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	if (unlikely(ch->element_size != 8))
		return send_any_size(s, ch, element, locked);
	return send_of_size(s, ch, element, locked, 8);
}

/* How long to leave a busy sender alone before looking for more: who looks at once
 * finds one element, and takes the cache line away for it. As long as the last run
 * was, so that runs grow; but a dialogue, whose runs are of one, is not to wait,
 * and the sender is not to find the buffer full. */
static int pauses_before_run(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	uint32_t pauses = received - ch->run_began;

	ch->run_began = received;
	if (pauses > RUN_MOST_PAUSES)
		pauses = RUN_MOST_PAUSES;
	if (pauses > ch->capacity / 4)
		pauses = ch->capacity / 4;
	return RUN_LEAST_PAUSES + (int)pauses;
}

/* From a buffer that has nothing, as far as is known, or where more is to be
 * looked at; called with receive_lock held. */
static NOINLINE int receive_from_empty(struct scheduler *s,
				       struct weft_channel *ch, void *element,
				       bool locked)
{
	bool has_taken;

	if (ch->receives_plainly && may_spin(s, locked)) {
		uint32_t sent = ch->receive_limit;
		int pauses = pauses_before_run(ch);

		weft__unlock(&ch->receive_lock, locked);
		while (pauses-- > 0)
			arch_pause();
		await_run(s, &ch->sent, sent);
		locked = weft__lock(&ch->receive_lock);
	}
	has_taken = try_to_take(ch, element, ch->receive_size);
	weft__unlock(&ch->receive_lock, locked);
	if (has_taken)
		return 0;
	return weft__pass_plainly(s, ch, element, -1, weft__channel_lock(ch));
}

static INLINE int receive_of_size(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked, size_t size)
{
	if (unlikely(peek(ch->received) == ch->receive_limit))
		return receive_from_empty(s, ch, element, locked);
	take_from_buffer(ch, element, size);
	weft__unlock(&ch->receive_lock, locked);
	return 0;
}

static NOINLINE int receive_any_size(struct scheduler *s,
				     struct weft_channel *ch, void *element,
				     bool locked)
{
	return receive_of_size(s, ch, element, locked, ch->receive_size);
}

/* Somebody else has the lock. */
static NOINLINE int receive_after_others(struct scheduler *s,
					 struct weft_channel *ch, void *element)
{
	lock_contended(&ch->receive_lock);
	return receive_of_size(s, ch, element, true, ch->receive_size);
}

NOINLINE int weft__receive_buffered(struct scheduler *s,
				    struct weft_channel *ch, void *element)
{
	bool locked;

	if (unlikely(!weft__lock_at_once(&ch->receive_lock, &locked)))
		return receive_after_others(s, ch, element);
	if (unlikely(ch->receive_size != 8))
		return receive_any_size(s, ch, element, locked);
	return receive_of_size(s, ch, element, locked, 8);
}

/* --- many at once --- */

/* Copies @n elements to slots, or from them, which may go round the end. */
static void copy_run(char *slots, uint32_t from, uint32_t mask, size_t size,
		     char *elements, size_t n, bool into)
{
	size_t till_end = (size_t)mask + 1 - from;
	size_t first = (n < till_end ? n : till_end) * size;
	size_t rest = n * size - first;
	char *start = slots + from * size;

	if (!size)
		return;
	memcpy(into ? start : elements, into ? elements : start, first);
	memcpy(into ? slots : elements + first, into ? elements + first : slots,
	       rest);
}

/* As many as find room in the buffer, while nobody has to be met. */
static uint32_t send_run(struct weft_channel *ch, char *elements, size_t most)
{
	bool locked = weft__lock(&ch->lock);
	uint32_t sent = peek(ch->sent);
	uint32_t n = 0;

	if (peek(ch->special) == CHANNEL_IS_BUFFERED && !ch->receivers &&
	    has_room(ch))
		n = ch->send_limit - sent;
	if (n > most)
		n = (uint32_t)most;
	if (n) {
		copy_run(ch->slots, sent & ch->mask, ch->mask, ch->element_size,
			 elements, n, true);
		atomic_store_explicit(&ch->sent, sent + n,
				      memory_order_release); /* [channel.3] */
	}
	weft__unlock(&ch->lock, locked);
	return n;
}

/* As many as the buffer has, likewise. */
static uint32_t receive_run(struct weft_channel *ch, char *elements,
			    size_t most)
{
	bool locked = weft__lock(&ch->receive_lock);
	uint32_t received = peek(ch->received);
	uint32_t n = 0;

	if (ch->receives_plainly && has_elements(ch))
		n = ch->receive_limit - received;
	if (n > most)
		n = (uint32_t)most;
	if (n) {
		copy_run(ch->receive_slots, received & ch->receive_mask,
			 ch->receive_mask, ch->receive_size, elements, n,
			 false);
		atomic_store_explicit(&ch->received, received + n,
				      memory_order_release); /* [channel.3] */
	}
	weft__unlock(&ch->receive_lock, locked);
	return n;
}

/* How many elements to copy at once, with a lock held: not for too long. */
static size_t most_at_once(const struct weft_channel *ch, size_t n)
{
	size_t most = ch->receive_size ? RUN_BYTES / ch->receive_size : n;

	return n < most ? n : most ? most : 1;
}

/* What a call returns that has no elements to pass. */
static int pass_none(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__enter(s) : -errno;
}

/* Whether the fast way may be taken that such runs are. */
static bool may_pass_runs(const struct weft_channel *ch)
{
	struct scheduler *s = weft__fast;

	return ch->capacity && s && !peek(s->current)->attention;
}

WEFT_API ssize_t weft_channel_send_many(weft_channel *ch, const void *elements,
					size_t n)
{
	char *each = (void *)(uintptr_t)elements;
	size_t done = 0;

	if (!n)
		return pass_none();
	while (done < n) {
		size_t passed =
			may_pass_runs(ch)
				? send_run(ch, each, most_at_once(ch, n - done))
				: 0;

		if (!passed) {
			int rc = weft_channel_send(ch, each);

			if (rc)
				return done ? (ssize_t)done : rc;
			passed = 1;
		}
		done += passed;
		each += passed * ch->element_size;
	}
	return (ssize_t)done;
}

WEFT_API ssize_t weft_channel_receive_many(weft_channel *ch, void *elements,
					   size_t max)
{
	static const struct pass more = { .direction = -1,
					  .spares_errors = true };
	char *each = elements;
	size_t done = 0;

	if (!max)
		return pass_none();
	while (done < max) {
		size_t passed =
			may_pass_runs(ch)
				? receive_run(ch, each,
					      most_at_once(ch, max - done))
				: 0;

		if (!passed) {
			int rc = done ? weft__pass_carefully(ch, each, more)
				      : weft_channel_receive(ch, each);

			if (rc)
				return done ? (ssize_t)done : rc;
			passed = 1;
		}
		done += passed;
		each += passed * ch->element_size;
	}
	return (ssize_t)done;
}
