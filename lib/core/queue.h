/* SPDX-License-Identifier: MIT */
/*
 * The run queue: the circle of runnable tasklets, and steps on it by rules R1 to R4.
 *
 * The circle is an array that wraps around. The running tasklet is outside of it.
 * "The end" of the rules, just before the running one, is the array's back, and the
 * successor is its front. An array can be read ahead, which a list cannot:
 * while one tasklet runs, the descriptors and stacks of those that run soon are
 * fetched. A tasklet that is removed leaves a tombstone, `weft__nobody`.
 *
 * The array is at least twice as long as there are tasklets, so the back never
 * reaches the front (see weft__queue_reserve and weft__queue_remove).
 */
#ifndef WEFT__QUEUE_H
#define WEFT__QUEUE_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/debug.h"
#include "core/tasklet.h"

/* How far ahead of the cursor descriptors and stacks are fetched. */
enum { FETCH_TASK_AHEAD = 16, FETCH_STACK_AHEAD = 8 };

/* Owner only; the counts are read by any thread. */
struct run_queue {
	struct weft_task **places;
	uint32_t mask;
	_Atomic(uint32_t) head;
	_Atomic(uint32_t) tail;
	_Atomic(uint32_t) n_tombstones;
};

/* Tombstones point to this. */
extern struct weft_task weft__nobody HIDDEN;

/* Makes room for @n tasklets. Returns 0 or -ENOMEM. */
int weft__queue_reserve(struct run_queue *q, size_t n);

void weft__queue_free(struct run_queue *q);

/* Whether there is room for @n tasklets. */
static INLINE bool weft__queue_has_room(const struct run_queue *q, size_t n)
{
	return 2 * (n + 1) <= q->mask;
}

static INLINE uint32_t weft__queue_length(struct run_queue *q)
{
	return peek(q->tail) - peek(q->head) - peek(q->n_tombstones);
}

static INLINE bool weft__queue_is_empty(struct run_queue *q)
{
	return peek(q->tail) - peek(q->head) == peek(q->n_tombstones);
}

/* Puts @t at the end (rule R1). */
static INLINE void weft__enqueue(struct run_queue *q, struct weft_task *t)
{
	uint32_t tail = peek(q->tail);

	q->places[tail & q->mask] = t;
	t->position = tail;
	poke(q->tail, tail + 1);
}

/* Puts @t at the front, to be the next to run. */
static INLINE void weft__enqueue_first(struct run_queue *q, struct weft_task *t)
{
	uint32_t head = peek(q->head) - 1;

	q->places[head & q->mask] = t;
	t->position = head;
	poke(q->head, head);
}

/* A few tasklets are in the cache anyway. */
static INLINE void weft__fetch_ahead(struct weft_task **places, uint32_t head,
				     uint32_t tail, uint32_t mask)
{
	if (tail - head <= FETCH_TASK_AHEAD)
		return;
	__builtin_prefetch(places[(head + FETCH_TASK_AHEAD) & mask]);
	__builtin_prefetch(
		places[(head + FETCH_STACK_AHEAD) & mask]->context.sp);
}

/* Takes the successor out of a queue that is not empty. */
static INLINE struct weft_task *weft__dequeue(struct run_queue *q)
{
	struct weft_task **places = q->places;
	uint32_t mask = q->mask;
	uint32_t head = peek(q->head);
	struct weft_task *t = places[head & mask];

	while (unlikely(t == &weft__nobody)) {
		poke(q->n_tombstones, peek(q->n_tombstones) - 1);
		t = places[++head & mask];
	}
	poke(q->head, head + 1);
	weft__fetch_ahead(places, head, peek(q->tail), mask);
	return t;
}

/* The same for the calling thread's queue, if its first place is a tombstone. (If
 * the queue were an argument, every caller would compute its address
 * beforehand.) */
struct weft_task *weft__dequeue_behind_tombstones(void);

/* Rule R4 in one step: puts @t at the end and returns the successor. */
static INLINE struct weft_task *weft__rotate(struct run_queue *q,
					     struct weft_task *t)
{
	struct weft_task **places = q->places;
	uint32_t mask = q->mask;
	uint32_t head = peek(q->head);
	uint32_t tail = peek(q->tail);
	struct weft_task *next;

	places[tail & mask] = t;
	t->position = tail;
	poke(q->tail, tail + 1);
	next = places[head & mask];
	if (unlikely(next == &weft__nobody))
		return weft__dequeue_behind_tombstones();
	poke(q->head, head + 1);
	weft__fetch_ahead(places, head, tail, mask);
	return next;
}

/* Takes a queued tasklet out (rule R2). */
void weft__queue_remove(struct run_queue *q, struct weft_task *t);

/* The same for a tasklet that may be in the queue. Returns whether it was. */
bool weft__queue_drop(struct run_queue *q, struct weft_task *t);

/* Rule R3 for a queued @t: the tasklets before it go behind those after it, and @t
 * itself is taken out. */
void weft__queue_turn_to(struct run_queue *q, struct weft_task *t);

#endif /* WEFT__QUEUE_H */
