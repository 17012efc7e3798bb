/* SPDX-License-Identifier: MIT */
/*
 * Pools of buffers that streams receive into.
 *
 * A buffer is bound to a stream only when something has arrived for it. So a pool
 * serves any number of connections of which few are active.
 *
 * The kernel takes most of the buffers from a ring in memory (IORING_REGISTER_PBUF_RING)
 * when it has something to put in. Each pool has one buffer more than it was asked
 * for, and one at least is never lent to the kernel as long as any are free: the
 * reserve. When the kernel has no buffers left, its operation ends with -ENOBUFS.
 * Then the stream polls its descriptor, and receives by a system call of its own
 * (receive.c) into a buffer that is free, at first the reserve. If none is free, it
 * queues up here, and what is given back goes to the first in the queue, before the
 * kernel gets any. So
 *
 *	a stream that is read gets a buffer, as long as others give back theirs,
 *	    whatever one connection has unread;
 *	a reader that has all the others gets the reserve.
 *
 * The kernel takes what it was lent in turn. If it had all of a large pool, each buffer
 * would be cold again when its turn comes. So it has LENT at most, and the others are
 * free. For each buffer that it takes, it is lent the one that came back last.
 *
 * Where the kernel has no such rings, before Linux 5.19, or refuses one, all buffers
 * are free or in use, and each stream receives in that second way.
 *
 * The ring belongs to the thread's engine. In a child of fork() the pool goes on
 * without it, and so does what is left of a pool whose thread has ended.
 */
#include "io/buffers.h"

#include <errno.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/debug.h"
#include "base/part.h"

enum {
	MOST_BUFFERS = 32768, /* of one ring, and what 16 bits can name */
	FIRST_GROUP = 65535,  /* downwards: the program's own begin at 0 */
	LAST_GROUP = 32768,
	/* A power of two, and more than the kernel takes in one system call: it
	 * begins up to 64 operations as a rule, and completes up to 20 others. */
	LENT = 128,
	ALIGNMENT = 64
};

/* The pools of the calling thread. */
static __thread struct weft_buffers *pools
	__attribute__((tls_model("initial-exec")));

/* --- lending to the kernel --- */

static void lend(struct weft_buffers *pool, struct buffer *b)
{
	b->state = BUFFER_LENT;
	pool->n_lent++;
	io_uring_buf_ring_add(pool->ring, weft__buffers_data(pool, b),
			      (unsigned)pool->size,
			      (unsigned short)(b - pool->buffers),
			      (int)(pool->entries - 1), 0);
	io_uring_buf_ring_advance(pool->ring, 1);
}

/* Without a ring, or if the kernel refuses it, all are free. */
static void register_ring(struct scheduler *s, struct weft_buffers *pool)
{
	struct io_uring_buf_reg reg = {
		.ring_addr = (uint64_t)(uintptr_t)pool->ring,
		.ring_entries = pool->entries,
	};
	int rc = -EEXIST;

	for (int group = FIRST_GROUP; rc == -EEXIST && group >= LAST_GROUP;
	     group--) {
		reg.bgid = (uint16_t)group;
		rc = weft__engine_add_buffers(&s->engine, &reg);
		if (!rc)
			pool->group = group;
	}
}

static bool is_to_lend(const struct weft_buffers *pool)
{
	return pool->group >= 0 && pool->n_lent < LENT;
}

static void put_on_list(struct weft_buffers *pool, struct buffer *b)
{
	b->state = BUFFER_FREE;
	b->holder = NULL;
	b->item.next = pool->free;
	pool->free = &b->item;
}

static struct buffer *take_off_list(struct weft_buffers *pool)
{
	struct buffer *b = (struct buffer *)pool->free;

	if (b)
		pool->free = b->item.next;
	return b;
}

/* --- life --- */

static struct weft_buffers *allocate(unsigned count, size_t size)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	size_t stride = (size + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
	struct weft_buffers *pool;
	unsigned entries = 1;
	size_t ring_size;
	void *memory;

	while (entries < count && entries < LENT)
		entries *= 2;
	ring_size = entries * sizeof(struct io_uring_buf);
	ring_size = (ring_size + page - 1) / page * page;
	pool = calloc(1, sizeof *pool + (count + 1) * sizeof pool->buffers[0]);
	if (!pool)
		return NULL;
	pool->memory_size = ring_size + (count + 1) * stride;
	memory = mmap(NULL, pool->memory_size, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED) {
		free(pool);
		return NULL;
	}
	pool->ring = memory;
	pool->data = (char *)memory + ring_size;
	pool->size = size;
	pool->stride = stride;
	pool->n = count + 1;
	pool->entries = entries;
	pool->group = -1;
	pool->last_hungry = &pool->hungry;
	return pool;
}

WEFT_API weft_buffers *weft_buffers_new(unsigned count, size_t size)
{
	struct scheduler *s = weft__scheduler();
	struct weft_buffers *pool;

	if (!s)
		return NULL;
	if (!count || count > MOST_BUFFERS || !size || size > INT_MAX) {
		errno = EINVAL;
		return NULL;
	}
	if (weft__in_callback(s)) {
		errno = EPERM;
		return NULL;
	}
	pool = allocate(count, size);
	if (!pool) {
		errno = ENOMEM;
		return NULL;
	}
	poke(pool->owner, s);
	pool->other = pools;
	if (pools)
		pools->place = &pool->other;
	pool->place = &pools;
	pools = pool;
	register_ring(s, pool);
	put_on_list(pool, &pool->buffers[0]);
	for (unsigned i = 1; i < pool->n; i++) {
		if (is_to_lend(pool))
			lend(pool, &pool->buffers[i]);
		else
			put_on_list(pool, &pool->buffers[i]);
	}
	return pool;
}

static void release(struct weft_buffers *pool)
{
	struct scheduler *s = peek(pool->owner);

	if (s) {
		if (pool->group >= 0)
			(void)weft__engine_remove_buffers(&s->engine,
							  pool->group);
		*pool->place = pool->other;
		if (pool->other)
			pool->other->place = pool->place;
	}
	munmap(pool->ring, pool->memory_size);
	free(pool);
}

WEFT_API void weft_buffers_free(weft_buffers *pool)
{
	struct scheduler *owner;

	if (!pool)
		return;
	owner = peek(pool->owner);
	REQUIRE(!owner || owner == weft__self,
		"buffers are freed by another thread than their own");
	REQUIRE(!pool->is_freed, "buffers are freed twice");
	pool->is_freed = true;
	if (!pool->n_streams)
		release(pool);
}

int weft__buffers_check(const struct weft_buffers *pool, size_t size)
{
	if (!pool || pool->is_freed || pool->size < size)
		return -EINVAL;
	if (!weft__scheduler())
		return -errno;
	/* relaxed: another thread's pool is this thread's at no time */
	return peek(((struct weft_buffers *)(uintptr_t)pool)->owner) ==
			       weft__self
		       ? 0
		       : -EPERM;
}

void weft__buffers_leave(struct weft_buffers *pool)
{
	pool->n_streams--;
	if (!pool->n_streams && pool->is_freed)
		release(pool);
}

/* --- taking and giving back --- */

unsigned weft__buffers_share(const struct weft_buffers *pool)
{
	enum { PARTS = 4 };
	unsigned share = (pool->n + PARTS - 1) / PARTS;

	return pool->n_streams > 1 ? share : pool->n;
}

struct buffer *weft__buffers_take(struct weft_buffers *pool,
				  struct weft_stream *st)
{
	struct buffer *b = take_off_list(pool);

	if (!b)
		return NULL;
	b->state = BUFFER_USED;
	b->holder = st;
	return b;
}

struct buffer *weft__buffers_named(struct weft_buffers *pool,
				   struct weft_stream *st, unsigned flags)
{
	unsigned i = flags >> IORING_CQE_BUFFER_SHIFT;
	struct buffer *b;

	if (!(flags & IORING_CQE_F_BUFFER))
		return NULL;
	INVARIANT(i < pool->n);
	b = &pool->buffers[i];
	INVARIANT(b->state == BUFFER_LENT);
	b->state = BUFFER_USED;
	b->holder = st;
	pool->n_lent--;
	/* not the reserve */
	if (pool->free && pool->free->next && is_to_lend(pool))
		lend(pool, take_off_list(pool));
	return b;
}

void weft__buffers_give_back(struct weft_buffers *pool, struct buffer *b)
{
	struct weft_stream *st = pool->hungry;

	if (st) {
		weft__buffers_unqueue(pool, st);
		b->state = BUFFER_USED;
		b->holder = st;
		st->receiving.granted = b;
		weft__stream_wake(st);
	} else if (pool->free && is_to_lend(pool)) {
		b->holder = NULL;
		lend(pool, b);
	} else {
		put_on_list(pool, b);
	}
}

void weft__buffers_queue(struct weft_buffers *pool, struct weft_stream *st)
{
	st->receiving.is_hungry = true;
	peek(st->owner)->n_hungry++;
	st->receiving.next_hungry = NULL;
	*pool->last_hungry = st;
	pool->last_hungry = &st->receiving.next_hungry;
}

void weft__buffers_unqueue(struct weft_buffers *pool, struct weft_stream *st)
{
	struct weft_stream **place = &pool->hungry;

	if (!st->receiving.is_hungry)
		return;
	while (*place != st)
		place = &(*place)->receiving.next_hungry;
	*place = st->receiving.next_hungry;
	if (!*place)
		pool->last_hungry = place;
	st->receiving.is_hungry = false;
	if (peek(st->owner))
		peek(st->owner)->n_hungry--;
}

struct buffer *weft__buffers_find(struct weft_buffers *pool, const void *data)
{
	size_t at = (size_t)((const char *)data - pool->data);

	return at < pool->n * pool->stride ? &pool->buffers[at / pool->stride]
					   : NULL;
}

/* --- fork, and the end of a thread --- */

/* The kernel takes none any more: what it has not filled is free. */
static void take_from_kernel(struct weft_buffers *pool)
{
	pool->group = -1;
	pool->n_lent = 0;
	for (unsigned i = 0; i < pool->n; i++)
		if (pool->buffers[i].state == BUFFER_LENT)
			put_on_list(pool, &pool->buffers[i]);
}

static void renew(struct scheduler *self)
{
	if (self)
		for (struct weft_buffers *p = pools; p; p = p->other)
			take_from_kernel(p);
}

static void end_pools(struct scheduler *s)
{
	(void)s;
	for (struct weft_buffers *p = pools; p; p = p->other) {
		take_from_kernel(p);
		/* relaxed: who frees it then has joined the thread */
		poke(p->owner, NULL);
	}
	pools = NULL;
}

static const struct part buffering = {
	.rank = PART_BUFFERS,
	.renew = renew,
	.give_up = end_pools,
};

PART(buffering);
