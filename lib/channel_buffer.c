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
 *
 * An unbounded channel is a buffer in chunks, a list from the one that is received
 * from to the one that is sent into. Each side has the slots of its chunk, and its
 * limit is not beyond the end of that: so within a chunk both sides do what they
 * do in any buffer, and see no difference. At the end of its chunk, who sends gets
 * another and links it, `lock` held, or fails if there is no memory; who receives
 * goes on to the next, if there is one, and frees the one it leaves, receive_lock
 * held. The link is written before the first element behind it is counted in
 * `sent`, and the sender is done with the chunk by then; the receiver follows it
 * after it has read that count: [channel.3] orders both. One chunk is always there.
 * Chunks have a power of two of slots and begin at a multiple of that, so an index
 * finds its slot by the mask in all of them.
 *
 * Rejected: a ring that doubles. It would have to be copied under both locks, and
 * give nothing back before it is nearly empty.
 */
#include "channel_buffer.h"

#include <errno.h>
#include <stdlib.h>

#include "channel_pass.h"

/* A run is what one side does while the other leaves it alone. */
enum {
	RUN_BYTES = 16 * 1024, /* copied with a lock held */
	RUN_LEAST_PAUSES = 4,  /* of a receiver, before it looks for more */
	RUN_MOST_PAUSES = 20,  /* and how many more than that */
	RUN_LOOKS = 32,        /* for the other side, before blocking */
	RUN_PAUSES = 16        /* at most, between two of those */
};

/* --- chunks --- */

enum {
	CHUNK_BYTES = 1024,     /* of elements, or one element */
	CHUNK_MOST_SLOTS = 4096 /* of elements of no size */
};

struct chunk {
	struct chunk *next; /* by who sends; read by who receives */
	int *errors;        /* under both locks; as those of a channel */
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

/* How many elements from @from on lie in a chunk, of @n. */
static uint32_t n_in_chunk(const struct chunk *c, uint32_t from, uint32_t n)
{
	return n < c->end - from ? n : c->end - from;
}

/* The receiving side leaves a chunk from which all has been received. Called when
 * there is an element, with receive_lock held. */
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

/* The rest of has_room() and has_elements() below. */
static NOINLINE bool has_room_unbounded(struct weft_channel *ch)
{
	struct chunk *c = chunk_of(ch->slots);
	uint32_t sent = peek(ch->sent);
	/* relaxed: no slot is used twice; only a number is limited */
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

void weft__each_unbounded(struct weft_channel *ch,
			  void (*look)(void *element, void *ctx), void *ctx)
{
	struct chunk *c = chunk_of(ch->receive_slots);

	for (uint32_t i = peek(ch->received); i != peek(ch->sent); i++) {
		size_t slot = i & ch->mask;

		if (i == c->end)
			c = c->next;
		if (!c->errors || !c->errors[slot])
			look(c->slots + slot * ch->element_size, ctx);
	}
}

/* --- errors --- */

/* Those of the slots that are sent into, or received from. */
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

/* Whether there is room in the buffer; called with the lock held. */
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

/* Whether there is something in it; called with receive_lock held. */
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
	/* The end of a chunk only: the sender has not been met. */
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
