/* SPDX-License-Identifier: MIT */
/*
 * Pools of buffers that streams receive into; see buffers.c.
 */
#ifndef WEFT__BUFFERS_H
#define WEFT__BUFFERS_H

#include <stdbool.h>
#include <stddef.h>

#include "io/stream.h"

struct buffer {
	struct item item; /* first: unread in its stream, or in a list */
	enum {
		BUFFER_FREE, /* in the pool's list */
		BUFFER_LENT, /* the kernel may take it */
		BUFFER_USED, /* of a stream: to be received into, or unread */
		BUFFER_TAKEN /* the program has it */
	} state;
	struct weft_stream *holder; /* USED and TAKEN */
};

struct weft_buffers {
	/* The thread it belongs to; NULL: it has ended. Other threads only compare
	 * it with their own. */
	_Atomic(struct scheduler *) owner;
	struct weft_buffers *other;  /* the next one of the thread */
	struct weft_buffers **place; /* what points to this one there */

	struct io_uring_buf_ring *ring; /* at the start of the memory */
	size_t memory_size;
	char *data;
	size_t size, stride;
	unsigned n;       /* buffers, the reserve included */
	unsigned entries; /* of the ring */
	int group;        /* -1: the kernel has none of them */
	unsigned n_lent;
	struct item *free;

	/* Streams that know of something to receive, and have no buffer for it, in
	 * the order in which they came. */
	struct weft_stream *hungry, **last_hungry;

	unsigned n_streams; /* on it */
	bool is_freed;      /* goes with its last stream */
	struct buffer buffers[];
};

/* Whether a stream of the calling thread can be on the pool, with buffers of @size
 * bytes: 0 or a negative errno. */
int weft__buffers_check(const struct weft_buffers *pool, size_t size);

/* One more stream is on the pool. */
static inline void weft__buffers_use(struct weft_buffers *pool)
{
	pool->n_streams++;
}

/* One less. Releases the pool with the last one, if it was freed. */
void weft__buffers_leave(struct weft_buffers *pool);

/* A buffer for @st; NULL if there is none but in the kernel. */
struct buffer *weft__buffers_take(struct weft_buffers *pool,
				  struct weft_stream *st);

/* The buffer that a completion for @st names; NULL if it names none. */
struct buffer *weft__buffers_named(struct weft_buffers *pool,
				   struct weft_stream *st, unsigned flags);

/* The stream that has the buffer does not need it any more. */
void weft__buffers_give_back(struct weft_buffers *pool, struct buffer *b);

/* @st waits for a buffer. It gets one in receiving.granted, and is woken. */
void weft__buffers_queue(struct weft_buffers *pool, struct weft_stream *st);
void weft__buffers_unqueue(struct weft_buffers *pool, struct weft_stream *st);

/* How much of a pool may be unread in one of its streams. */
unsigned weft__buffers_share(const struct weft_buffers *pool);

static inline char *weft__buffers_data(const struct weft_buffers *pool,
				       const struct buffer *b)
{
	return pool->data + (size_t)(b - pool->buffers) * pool->stride;
}

/* The buffer in which @data lies; NULL if it lies in none. */
struct buffer *weft__buffers_find(struct weft_buffers *pool, const void *data);

#endif /* WEFT__BUFFERS_H */
