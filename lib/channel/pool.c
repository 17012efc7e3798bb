/* SPDX-License-Identifier: MIT */
/*
 * The memory of channels, their references, and functions that look at a channel or
 * set something in it.
 *
 * Channels are type-stable: the memory of a channel is only ever used for another
 * channel. A thread that calls a wait off may lock a channel that has been freed
 * meanwhile (wait.c, [channel.1]), and still finds a lock.
 *
 * References are counted under the lock. A linked waiter needs no reference: the
 * channel is freed by the last one to leave it when no reference is left, by
 * weft_channel_unref() or by calling a wait off.
 *
 * Before a fork all channels are locked in the order of their addresses, as a
 * selection locks its channels.
 */
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft/embed.h>

#include "base/part.h"
#include "channel/buffer.h"
#include "core/switch.h"

/* --- memory --- */

enum { SLAB_LEAST_CHANNELS = 31, SLAB_MOST_CHANNELS = 4095 };

struct channel_slab {
	struct channel_slab *next;
	size_t n;
	struct weft_channel channels[];
};

/* `free` has the channels without a reference. The memory is never given back, see
 * above. */
static struct {
	pthread_mutex_t mutex;
	struct weft_channel *free;
	struct channel_slab *slabs; /* all of them, by address */
	size_t n_channels;          /* in all slabs */
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void put_in_pool(struct weft_channel *ch)
{
	ch->next_free = pool.free;
	pool.free = ch;
}

/* Adds as many channels as there are, so that the list of slabs stays short. */
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

/* The first channel in the pool that no spinner still uses. */
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

/* The number of slots is a power of two. In a ring of exactly the capacity, both
 * sides would have to compare an index and set it back at each step. The capacity
 * stays what was asked for. */
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

/* Each element is out of the buffer before it is dropped. */
static void drop_slots(struct weft_channel *ch)
{
	while (peek(ch->received) != peek(ch->sent)) {
		size_t slot = peek(ch->received) & ch->mask;

		poke(ch->received, peek(ch->received) + 1);
		if (!ch->errors || !ch->errors[slot])
			ch->drop(ch->slots + slot * ch->element_size,
				 ch->drop_ctx);
	}
}

/* Calls `drop` for the elements that nobody will receive. */
static void drop_elements(struct weft_channel *ch)
{
	struct callback c = weft__begin_callback_anywhere();

	if (weft__is_unbounded(ch))
		weft__drop_unbounded(ch, ch->drop, ch->drop_ctx);
	else
		drop_slots(ch);
	weft__end_callback_anywhere(c);
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

/* This thread's channels whose elements are to be dropped; the elements of the
 * first one are being dropped. */
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

/* Set while a thread drops elements. A `drop` can leave by pthread_exit(), and the
 * end of the thread then goes on with what is left. */
static pthread_key_t key;
static bool has_key;

static void drop_unused(void)
{
	struct weft_channel *ch;

	unused.is_dropping = true;
	if (has_key)
		pthread_setspecific(key, &unused);
	while ((ch = unused.first)) {
		drop_elements(ch);
		unused.first = ch->next_unused;
		free_at_once(ch);
	}
	if (has_key)
		pthread_setspecific(key, NULL);
	unused.is_dropping = false;
}

static void go_on_after_exit(void *arg)
{
	(void)arg;
	if (!weft__self)
		weft__callback_was_left();
	drop_unused();
}

static void create_key(void)
{
	has_key = pthread_key_create(&key, go_on_after_exit) == 0;
}

/* Dropping an element may release another channel, and that one a third, in a chain
 * as long as the program likes. Each channel waits its turn in a list, so this
 * function never nests, however long the chain is. */
void weft__channel_free(struct weft_channel *ch)
{
	if (!ch->drop) {
		free_at_once(ch);
		return;
	}
	put_in_unused(ch);
	if (!unused.is_dropping)
		drop_unused();
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
	/* A thread that is late in calling a wait off may hold the lock. */
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
	poke(ch->data, NULL);
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

/* Calls @look for every channel there is, in use or not. */
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

static void lock_all(void)
{
	pthread_mutex_lock(&pool.mutex);
	each_channel(lock_one, NULL);
}

static void unlock_all(void)
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

static void forget_others(struct scheduler *self)
{
	each_channel(forget_others_of, self);
}

static const struct part channels = {
	.rank = PART_CHANNELS,
	.lock = lock_all,
	.unlock = unlock_all,
	.forget_others = forget_others,
};

PART(channels);

/* --- looking and setting --- */

WEFT_API int weft_channel_balance(weft_channel *ch)
{
	int n_buffered = (int)weft__n_buffered(ch);
	int64_t balance = peek(ch->waiting);

	/* One of the two counts may be older than the other. */
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

/* relaxed, no pair: the library never looks at what it points to */
WEFT_API void *weft_channel_data(weft_channel *ch)
{
	return peek(ch->data);
}

WEFT_API void weft_channel_set_data(weft_channel *ch, void *data)
{
	poke(ch->data, data);
}

WEFT_API void weft_channel_set_drop(weft_channel *ch,
				    void (*drop)(void *element, void *ctx),
				    void *ctx)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	bool locked;

	pthread_once(&once, create_key);
	locked = weft__lock(&ch->lock);
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
