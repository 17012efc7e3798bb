/* SPDX-License-Identifier: MIT */
/*
 * The buffer of a channel, and the fast paths through it.
 *
 * [channel.3] A buffer has two sides, the sending and the receiving one, each with
 * a lock and a cache line of its own. So a thread that fills the buffer and a
 * thread that drains it do not wait for each other. A sender holds `lock` and
 * counts `sent` up; of the other side's `received` it knows only as much as it
 * needs (send_limit). A receiver holds receive_lock and does the same with the
 * names exchanged. `sent` is released when a slot has been written and acquired
 * before the slot is read. `received` is released when a slot has been read and
 * acquired before the slot is written again.
 *
 * Everything else about the channel, its queues and what is special, is changed
 * with both locks held, `lock` taken first. There is one exception: a sender may
 * serve a waiting receiver under `lock` alone. While a receiver waits the buffer is
 * empty, and a second receiver has to take both locks to find that out. If senders
 * wait, a receiver has to take both locks too: receives_plainly tells it so, and is
 * set when both locks are released. Both limits are set at that moment as well. Up
 * to its limit a side looks at nothing else; so a side that has anything but the
 * buffer to look at gets a limit that it has already reached, and finds out there.
 *
 * (tests/model/buffer.pml)
 *
 * The buffer of an unbounded channel is a list of chunks, from the chunk that is
 * received from to the chunk that is sent into. Each side has the slots of its
 * chunk, and its limit is never beyond the end of that chunk: so within a chunk
 * both sides do what they do in any buffer, and see no difference. At the end of
 * its chunk the sender, with `lock` held, allocates another chunk and links it, or
 * fails if there is no memory. The receiver, with receive_lock held, goes on to the
 * next chunk, if there is one, and frees the chunk that it leaves. The sender
 * writes the link before it counts the first element behind it in `sent`, and it is
 * done with the old chunk by then. The receiver follows the link after it has read
 * that count. [channel.3] orders both. There is always at least one chunk. Each
 * chunk has a power of two of slots and begins at a multiple of that number, so the
 * mask finds the slot of an index in every chunk.
 *
 * Rejected: a ring that doubles. It would have to be copied under both locks, and
 * would give nothing back before it is nearly empty.
 */
#include "channel/buffer.h"

#include <errno.h>
#include <stdlib.h>

#include "base/cpu.h"
#include "channel/pass.h"

/* A run is what one side does while the other side leaves it alone. */
enum {
	RUN_BYTES = 16 * 1024, /* copied with a lock held */
	RUN_LEAST_PAUSES = 4,  /* of a receiver before it looks for more */
	RUN_MOST_PAUSES = 20,  /* at most so many more than that */
	RUN_LOOKS = 32,        /* at the other side, before blocking */
	RUN_PAUSES = 16        /* at most, between two looks */
};

/* --- chunks --- */

enum {
	CHUNK_BYTES = 1024,     /* of elements, or one element */
	CHUNK_MOST_SLOTS = 4096 /* of elements of no size */
};

struct chunk {
	struct chunk *next; /* written by the sender, read by the receiver */
	int *errors;        /* under both locks; as weft_channel.errors */
	uint32_t end;       /* the number behind its last slot */
	char slots[] __attribute__((aligned(16)));
};

static struct chunk *chunk_of(char *slots)
{
	return (struct chunk *)(slots - offsetof(struct chunk, slots));
}

static struct chunk *new_chunk(uint32_t from, uint32_t mask, size_t size)
{
	struct chunk *c = malloc(sizeof *c + ((size_t)mask + 1) * size);

	if (!c)
		return NULL;
	c->next = NULL;
	c->errors = NULL;
	c->end = from + mask + 1;
	return c;
}

static void free_chunk(struct chunk *c)
{
	free(c->errors);
	free(c);
}

int weft__begin_unbounded(struct weft_channel *ch, size_t element_size)
{
	uint32_t n_slots = CHUNK_MOST_SLOTS;
	struct chunk *c;

	while (n_slots > 1 && n_slots * element_size > CHUNK_BYTES)
		n_slots /= 2;
	c = new_chunk(0, n_slots - 1, element_size);
	if (!c)
		return -ENOMEM;
	ch->slots = ch->receive_slots = c->slots;
	ch->mask = ch->receive_mask = n_slots - 1;
	return 0;
}

void weft__free_unbounded(struct weft_channel *ch)
{
	struct chunk *next;

	for (struct chunk *c = chunk_of(ch->receive_slots); c; c = next) {
		next = c->next;
		free_chunk(c);
	}
}

/* How many of @n elements, beginning with number @from, lie in the chunk. */
static uint32_t n_in_chunk(const struct chunk *c, uint32_t from, uint32_t n)
{
	return n < c->end - from ? n : c->end - from;
}

/* Returns the chunk of the next element to receive. If all elements of a chunk have
 * been received, this goes on to the next one and frees the old one. Called with
 * receive_lock held, when there is an element. */
static struct chunk *find_received(struct weft_channel *ch)
{
	struct chunk *c = chunk_of(ch->receive_slots);

	if (peek(ch->received) == c->end) {
		struct chunk *next = c->next;

		free_chunk(c);
		ch->receive_slots = next->slots;
		c = next;
	}
	return c;
}

/* The parts of has_room() and has_elements() below for an unbounded channel. */
static NOINLINE bool has_room_unbounded(struct weft_channel *ch)
{
	struct chunk *c = chunk_of(ch->slots);
	uint32_t sent = peek(ch->sent);
	/* relaxed, no pair: no slot is used twice, this only limits a number */
	uint32_t n_buffered = sent - peek(ch->received);

	if (n_buffered >= WEFT_UNBOUNDED_MAX)
		return false;
	if (sent == c->end) {
		c->next = new_chunk(sent, ch->mask, ch->element_size);
		if (!c->next)
			return false;
		c = c->next;
		ch->slots = c->slots;
	}
	ch->send_limit =
		sent + n_in_chunk(c, sent, WEFT_UNBOUNDED_MAX - n_buffered);
	return true;
}

static NOINLINE bool has_elements_unbounded(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	/* acquire: the elements, and links, have been written [channel.3] */
	uint32_t n = atomic_load_explicit(&ch->sent, memory_order_acquire) -
		     received;

	ch->receive_limit = received;
	if (n)
		ch->receive_limit += n_in_chunk(find_received(ch), received, n);
	return n;
}

bool weft__make_room(struct weft_channel *ch, bool for_error)
{
	struct chunk *c;

	if (!has_room_unbounded(ch))
		return false;
	c = chunk_of(ch->slots);
	if (for_error && !c->errors)
		c->errors = calloc((size_t)ch->mask + 1, sizeof *c->errors);
	return !for_error || c->errors;
}

int weft__error_in_unbounded(struct weft_channel *ch)
{
	struct chunk *c = find_received(ch);

	return c->errors ? c->errors[peek(ch->received) & ch->mask] : 0;
}

void weft__drop_unbounded(struct weft_channel *ch,
			  void (*look)(void *element, void *ctx), void *ctx)
{
	while (peek(ch->received) != peek(ch->sent)) {
		struct chunk *c = find_received(ch);
		size_t slot = peek(ch->received) & ch->mask;

		poke(ch->received, peek(ch->received) + 1);
		if (!c->errors || !c->errors[slot])
			look(c->slots + slot * ch->element_size, ctx);
	}
}

/* --- errors --- */

/* The errors that belong to the slots of the sending or the receiving side. */
static int *errors_at(struct weft_channel *ch, char *slots)
{
	return weft__is_unbounded(ch) ? chunk_of(slots)->errors : ch->errors;
}

void weft__put_error_in_buffer(struct weft_channel *ch, int error)
{
	uint32_t sent = peek(ch->sent);

	errors_at(ch, ch->slots)[sent & ch->mask] = error;
	atomic_store_explicit(&ch->sent, sent + 1,
			      memory_order_release); /* [channel.3] */
	weft__channel_count_special(ch, 1);
}

int weft__take_error_from_buffer(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	int *errors = errors_at(ch, ch->receive_slots);
	int error = errors[received & ch->mask];

	errors[received & ch->mask] = 0;
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release); /* [channel.3] */
	weft__channel_count_special(ch, -1);
	return error;
}

/* --- the two sides --- */

/* Whether the buffer has room. Called with the lock held. */
static INLINE bool has_room(struct weft_channel *ch)
{
	if (likely(peek(ch->sent) != ch->send_limit))
		return true;
	if (weft__is_unbounded(ch))
		return has_room_unbounded(ch);
	/* acquire: the slots have been read [channel.3] */
	ch->send_limit =
		atomic_load_explicit(&ch->received, memory_order_acquire) +
		ch->capacity;
	return peek(ch->sent) != ch->send_limit;
}

/* Whether the buffer has an element. Called with receive_lock held. */
static INLINE bool has_elements(struct weft_channel *ch)
{
	if (likely(peek(ch->received) != ch->receive_limit))
		return true;
	if (weft__is_unbounded(ch))
		return has_elements_unbounded(ch);
	/* acquire: the elements have been written [channel.3] */
	ch->receive_limit =
		atomic_load_explicit(&ch->sent, memory_order_acquire);
	return peek(ch->received) != ch->receive_limit;
}

/* @size is a constant where the element size is known. */
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

/* --- the fast paths --- */

/* Looks at the other side's @count for a while, until it is no longer @unwanted. If
 * a busy thread is on the other side, the two then go on in runs instead of waking
 * each other for each element. The pauses grow, because each look takes a cache
 * line from the other side. Called with no lock held. */
static void await_run(struct scheduler *s, _Atomic(uint32_t) *count,
		      uint32_t unwanted)
{
	for (int look = 0, pauses = 1; look < RUN_LOOKS; look++) {
		/* relaxed, no pair: a caller that sees a change takes the lock */
		if (peek(*count) != unwanted ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			break;
		for (int i = 0; i < pauses; i++)
			arch_pause();
		if (pauses < RUN_PAUSES)
			pauses *= 2;
	}
}

/* Sends into a buffer that is full. Called with the lock held. */
static int send_to_full(struct scheduler *s, struct weft_channel *ch,
			void *element, bool locked)
{
	bool has_put = false;

	if (weft__is_unbounded(ch)) {
		weft__unlock(&ch->lock, locked);
		return -ENOMEM;
	}
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

/* There seems to be no room, or a receiver waits. Called with the lock held. */
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

/* Sends to a buffered channel about which nothing else is special. Called with the
 * lock held. */
NOINLINE int weft__send_buffered(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	if (unlikely(ch->element_size != 8))
		return send_any_size(s, ch, element, locked);
	return send_of_size(s, ch, element, locked, 8);
}

/* How long a receiver leaves a busy sender alone before it looks for more. A
 * receiver that looks at once finds one element, and takes the cache line away for
 * it. The pause is as long as the last run was, so that runs grow. But in a
 * dialogue, where a run is one element, nobody should wait; and the sender should
 * not find the buffer full. */
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

/* The buffer seems to be empty, or there is more to look at. Called with
 * receive_lock held. */
static NOINLINE int receive_from_empty(struct scheduler *s,
				       struct weft_channel *ch, void *element,
				       bool locked)
{
	/* Perhaps it is only the end of a chunk, and there are more elements. */
	bool has_taken = weft__is_unbounded(ch) &&
			 try_to_take(ch, element, ch->receive_size);

	if (!has_taken && ch->receives_plainly && may_spin(s, locked)) {
		uint32_t sent = ch->receive_limit;
		int pauses = pauses_before_run(ch);

		weft__unlock(&ch->receive_lock, locked);
		while (pauses-- > 0)
			arch_pause();
		await_run(s, &ch->sent, sent);
		locked = weft__lock(&ch->receive_lock);
	}
	if (!has_taken)
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

/* Another thread holds the lock. */
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

/* Copies @n elements into the slots, or out of them. The slots may wrap around. */
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

/* Sends as many elements as the buffer has room for, if there is nothing else to
 * look at. */
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

/* Receives as many elements as the buffer has, if there is nothing else to look
 * at. */
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

/* How many elements to copy at once with a lock held, so that it does not take
 * long. */
static size_t most_at_once(const struct weft_channel *ch, size_t n)
{
	size_t most = ch->receive_size ? RUN_BYTES / ch->receive_size : n;

	return n < most ? n : most ? most : 1;
}

/* The result of a call that was given no elements to pass. */
static int pass_none(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__enter(s) : -errno;
}

/* Whether send_run() and receive_run() may be used: they are fast paths. */
static bool may_pass_runs(const struct weft_channel *ch)
{
	struct scheduler *s = weft__fast;

	return ch->capacity && s && !peek(s->current)->attention;
}

/* A send after others, whose number is what the call returns: a raise that ends it
 * is left to the next call. */
static int send_more(struct weft_channel *ch, const void *element)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *t = s ? peek(s->current) : NULL;
	bool is_kept = t && weft__keep_raised(t);
	int rc = weft_channel_send(ch, element);

	if (is_kept)
		weft__consume_raised(t);
	return rc;
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
			int rc = done ? send_more(ch, each)
				      : weft_channel_send(ch, each);

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
