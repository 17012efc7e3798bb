/* SPDX-License-Identifier: MIT */
/*
 * The memory of channels, their references, and what is asked of and set in one.
 *
 * Channels are type-stable: the memory of one is only ever used for another. Who
 * calls a wait off may lock a channel that has been freed meanwhile (channel.c,
 * [channel.1]), and finds a lock.
 *
 * References are counted under the lock. A linked waiter needs none: the channel
 * is freed by whoever leaves it last with no reference left, be it by
 * weft_channel_unref() or by calling off.
 *
 * For a fork all channels are locked, in the order of their addresses, as a
 * selection locks its own.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "channel_buffer.h"
#include "fork.h"
#include "scheduler.h"

/* --- memory --- */

enum { SLAB_LEAST_CHANNELS = 31, SLAB_MOST_CHANNELS = 4095 };

struct channel_slab {
	struct channel_slab *next;
	size_t n;
	struct weft_channel channels[];
};

/* Channels without a reference. The memory is never given back, see above. */
static struct {
	pthread_mutex_t mutex;
	struct weft_channel *free;
	struct channel_slab *slabs; /* all, by address */
	size_t n_channels;          /* in them */
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void put_in_pool(struct weft_channel *ch)
{
	ch->next_free = pool.free;
	pool.free = ch;
}

/* As many again as there are, so that the list of slabs stays short. */
static void fill_pool(void)
{
	struct channel_slab **place = &pool.slabs;
	struct channel_slab *slab;
	size_t n = pool.n_channels, bytes;

	if (n < SLAB_LEAST_CHANNELS)
		n = SLAB_LEAST_CHANNELS;
	if (n > SLAB_MOST_CHANNELS)
		n = SLAB_MOST_CHANNELS;
	bytes = sizeof *slab + n * sizeof slab->channels[0];
	slab = aligned_alloc(_Alignof(struct channel_slab), bytes);
	if (!slab)
		return;
	memset(slab, 0, bytes);
	slab->n = n;
	while (*place && (uintptr_t)*place < (uintptr_t)slab)
		place = &(*place)->next;
	slab->next = *place;
	*place = slab;
	pool.n_channels += n;
	while (n-- > 0)
		put_in_pool(&slab->channels[n]);
}

/* The first in the pool that no spinner has yet to let go of. */
static struct weft_channel **find_in_pool(void)
{
	struct weft_channel **place = &pool.free;

	while (*place &&
	       atomic_load_explicit(&(*place)->spinner,
				    memory_order_acquire)) /* [channel.2] */
		place = &(*place)->next_free;
	return place;
}

static struct weft_channel *take_from_pool(void)
{
	struct weft_channel **place;
	struct weft_channel *ch;

	pthread_mutex_lock(&pool.mutex);
	place = find_in_pool();
	if (!*place) {
		fill_pool();
		place = find_in_pool();
	}
	ch = *place;
	if (ch)
		*place = ch->next_free;
	pthread_mutex_unlock(&pool.mutex);
	return ch;
}

static void give_to_pool(struct weft_channel *ch)
{
	pthread_mutex_lock(&pool.mutex);
	put_in_pool(ch);
	pthread_mutex_unlock(&pool.mutex);
}

/* --- the buffer --- */

/* The number of slots is a power of two: with an exact ring, an index would have
 * to be compared and set back at each step on both sides. The capacity stays what
 * was asked for. */
static int allocate_buffer(struct weft_channel *ch, size_t element_size,
			   size_t capacity)
{
	size_t n_slots = 1;
	size_t bytes;
	char *slots = NULL;

	if (capacity == WEFT_UNBOUNDED)
		return weft__begin_unbounded(ch, element_size);
	while (n_slots < capacity)
		n_slots *= 2;
	if (__builtin_mul_overflow(n_slots, element_size, &bytes))
		return -ENOMEM;
	if (capacity && bytes && !(slots = malloc(bytes)))
		return -ENOMEM;
	ch->mail = 0;
	if (capacity)
		ch->slots = slots;
	ch->receive_slots = slots;
	ch->mask = ch->receive_mask = (uint32_t)(n_slots - 1);
	return 0;
}

static void drop_slots(struct weft_channel *ch)
{
	for (uint32_t i = peek(ch->received); i != peek(ch->sent); i++) {
		size_t slot = i & ch->mask;

		if (!ch->errors || !ch->errors[slot])
			ch->drop(ch->slots + slot * ch->element_size,
				 ch->drop_ctx);
	}
}

/* Tells of the elements that nobody will receive. */
static void drop_elements(struct weft_channel *ch)
{
	struct scheduler *s = weft__self;
	bool was_inside = s && weft__begin_callback(s);

	if (weft__is_unbounded(ch))
		weft__each_unbounded(ch, ch->drop, ch->drop_ctx);
	else
		drop_slots(ch);
	if (s)
		weft__end_callback(s, was_inside);
}

static void free_at_once(struct weft_channel *ch)
{
	if (weft__is_unbounded(ch))
		weft__free_unbounded(ch);
	else
		free(ch->receive_slots);
	free(ch->errors);
	give_to_pool(ch);
}

/* Those of this thread whose elements are to be dropped, while some are. */
static __thread struct {
	struct weft_channel *first, *last;
	bool is_dropping;
} unused __attribute__((tls_model("initial-exec")));

static void put_in_unused(struct weft_channel *ch)
{
	ch->next_unused = NULL;
	if (unused.first)
		unused.last->next_unused = ch;
	else
		unused.first = ch;
	unused.last = ch;
}

/* Dropping an element may let go of another channel, and so on for as long as the
 * program likes: that one waits its turn. So it never is within itself, however
 * long the chain. */
void weft__channel_free(struct weft_channel *ch)
{
	if (!ch->drop) {
		free_at_once(ch);
		return;
	}
	put_in_unused(ch);
	if (unused.is_dropping)
		return;
	unused.is_dropping = true;
	while ((ch = unused.first)) {
		unused.first = ch->next_unused;
		drop_elements(ch);
		free_at_once(ch);
	}
	unused.is_dropping = false;
}

/* --- references --- */

WEFT_API weft_channel *weft_channel_new(size_t element_size, size_t capacity)
{
	struct weft_channel *ch;
	bool locked;
	int rc;

	if (element_size > INT32_MAX ||
	    (capacity > INT32_MAX && capacity != WEFT_UNBOUNDED)) {
		errno = EINVAL;
		return NULL;
	}
	ch = take_from_pool();
	rc = ch ? allocate_buffer(ch, element_size, capacity) : -ENOMEM;
	if (rc)
		goto fail;
	/* A late caller-off may hold the lock. */
	locked = weft__lock(&ch->lock);
	ch->references = 1;
	ch->element_size = ch->receive_size = (uint32_t)element_size;
	ch->capacity = (uint32_t)capacity;
	poke(ch->waiting, 0);
	poke(ch->sent, 0);
	poke(ch->received, 0);
	ch->run_began = 0;
	poke(ch->special, capacity ? CHANNEL_IS_BUFFERED : 0);
	poke(ch->preference, capacity ? 0 : -1);
	poke(ch->schedule_all, false);
	ch->errors = NULL;
	ch->drop = NULL;
	ch->drop_ctx = NULL;
	ch->name[0] = '\0';
	if (capacity)
		weft__lock(&ch->receive_lock);
	weft__channel_unlock(ch, locked);
	return ch;

fail:
	if (ch)
		give_to_pool(ch);
	errno = -rc;
	return NULL;
}

WEFT_API weft_channel *weft_channel_ref(weft_channel *ch)
{
	bool locked = weft__lock(&ch->lock);

	ch->references++;
	weft__unlock(&ch->lock, locked);
	return ch;
}

WEFT_API void weft_channel_unref(weft_channel *ch)
{
	bool locked, is_unused;

	if (!ch)
		return;
	locked = weft__lock(&ch->lock);
	REQUIRE(ch->references, "weft_channel_unref() of a channel that has "
				"no reference left");
	ch->references--;
	is_unused = weft__channel_is_unused(ch);
	weft__unlock(&ch->lock, locked);
	if (is_unused)
		weft__channel_free(ch);
}

/* --- fork --- */

/* Every channel there is, in use or not. */
static void each_channel(void (*look)(struct weft_channel *ch, const void *arg),
			 const void *arg)
{
	for (struct channel_slab *slab = pool.slabs; slab; slab = slab->next)
		for (size_t i = 0; i < slab->n; i++)
			look(&slab->channels[i], arg);
}

static void lock_one(struct weft_channel *ch, const void *arg)
{
	(void)arg;
	lock_contended(&ch->lock);
	if (ch->capacity)
		lock_contended(&ch->receive_lock);
}

static void unlock_one(struct weft_channel *ch, const void *arg)
{
	(void)arg;
	if (ch->capacity)
		weft__unlock(&ch->receive_lock, true);
	weft__unlock(&ch->lock, true);
}

void weft__channel_lock_all(void)
{
	pthread_mutex_lock(&pool.mutex);
	each_channel(lock_one, NULL);
}

void weft__channel_unlock_all(void)
{
	each_channel(unlock_one, NULL);
	pthread_mutex_unlock(&pool.mutex);
}

static void forget_others_in(struct weft_channel *ch, struct waiter *w,
			     const void *self)
{
	while (w) {
		struct waiter *next = w->next;

		if (w->owner != self)
			weft__channel_unlink(ch, w);
		w = next;
	}
}

static void forget_others_of(struct weft_channel *ch, const void *self)
{
	poke(ch->spinner, 0);
	forget_others_in(ch, ch->senders, self);
	forget_others_in(ch, ch->receivers, self);
	weft__channel_unlock(ch, weft__channel_lock(ch));
}

void weft__channel_forget_others(const struct scheduler *self)
{
	each_channel(forget_others_of, self);
}

/* --- looking and setting --- */

WEFT_API void weft_set_channel_callback(weft_channel_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	s->on_channel = fn;
	s->on_channel_ctx = ctx;
	weft__choose_ways(s);
}

WEFT_API int weft_channel_balance(weft_channel *ch)
{
	int n_buffered = (int)weft__n_buffered(ch);
	int64_t balance = peek(ch->waiting);

	/* One count may be older than the other. */
	if (n_buffered > 0)
		balance += n_buffered;
	return balance < INT_MAX ? (int)balance : INT_MAX;
}

WEFT_API void weft_channel_set_preference(weft_channel *ch, int preference)
{
	poke(ch->preference, (int8_t)((preference > 0) - (preference < 0)));
}

WEFT_API int weft_channel_preference(weft_channel *ch)
{
	return peek(ch->preference);
}

WEFT_API void weft_channel_set_schedule_all(weft_channel *ch, bool on)
{
	poke(ch->schedule_all, on);
}

WEFT_API bool weft_channel_schedule_all(weft_channel *ch)
{
	return peek(ch->schedule_all);
}

WEFT_API void weft_channel_set_name(weft_channel *ch, const char *name)
{
	size_t length = name ? strnlen(name, CHANNEL_NAME_SIZE - 1) : 0;
	bool locked = weft__lock(&ch->lock);

	if (length)
		memcpy(ch->name, name, length);
	ch->name[length] = '\0';
	weft__unlock(&ch->lock, locked);
}

WEFT_API void weft_channel_set_drop(weft_channel *ch,
				    void (*drop)(void *element, void *ctx),
				    void *ctx)
{
	bool locked = weft__lock(&ch->lock);

	ch->drop = drop;
	ch->drop_ctx = ctx;
	weft__unlock(&ch->lock, locked);
}

static size_t list_waiters(const struct waiter *w, weft_tasklet *out,
			   size_t capacity, size_t n)
{
	for (; w; w = w->next) {
		if (!weft__waiter_is_live(w))
			continue;
		if (n < capacity)
			out[n] = weft__handle(w->task);
		n++;
	}
	return n;
}

WEFT_API size_t weft_channel_waiters(weft_channel *ch, weft_tasklet *out,
				     size_t capacity)
{
	bool locked = weft__lock(&ch->lock);
	size_t n = list_waiters(ch->senders, out, capacity, 0);

	n = list_waiters(ch->receivers, out, capacity, n);
	weft__unlock(&ch->lock, locked);
	return n;
}
