/* SPDX-License-Identifier: MIT */
#include "core/queue.h"

#include <errno.h>
#include <stdlib.h>

#include "core/scheduler.h"

/* Tombstones point to it. It never runs. Its stack is fetched ahead like any
 * other's, and a fetch from nowhere would cost a walk of the page tables. */
struct weft_task weft__nobody = { .context.sp = &weft__nobody };

/* Copies the queue to a new array, without its tombstones. */
static void move(struct run_queue *q, struct weft_task **to, uint32_t capacity)
{
	uint32_t n = 0;

	for (uint32_t i = peek(q->head); i != peek(q->tail); i++) {
		struct weft_task *t = q->places[i & q->mask];

		if (t == &weft__nobody)
			continue;
		t->position = n;
		to[n++] = t;
	}
	for (uint32_t i = n; i < capacity; i++)
		to[i] = &weft__nobody;
	free(q->places);
	q->places = to;
	q->mask = capacity - 1;
	poke(q->head, 0);
	poke(q->tail, n);
	poke(q->n_tombstones, 0);
}

int weft__queue_reserve(struct run_queue *q, size_t n)
{
	size_t capacity = q->places ? (size_t)q->mask + 1 : 64;
	struct weft_task **queue;

	/* room for all tasklets, and for as many tombstones */
	while (capacity < 2 * (n + 1))
		capacity *= 2;
	if (q->places && capacity == (size_t)q->mask + 1)
		return 0;
	if (capacity > UINT32_MAX / 2 ||
	    !(queue = malloc(capacity * sizeof *queue)))
		return -ENOMEM;
	move(q, queue, (uint32_t)capacity);
	return 0;
}

void weft__queue_free(struct run_queue *q)
{
	free(q->places);
	q->places = NULL;
	q->mask = 0;
	poke(q->head, 0);
	poke(q->tail, 0);
	poke(q->n_tombstones, 0);
}

/* Squeezes the tombstones out, in place, from the back to the front. */
static void squeeze(struct run_queue *q)
{
	uint32_t to = peek(q->tail);

	for (uint32_t i = to; i != peek(q->head); i--) {
		struct weft_task *t = q->places[(i - 1) & q->mask];

		if (t == &weft__nobody)
			continue;
		t->position = --to;
		q->places[to & q->mask] = t;
	}
	poke(q->head, to);
	poke(q->n_tombstones, 0);
}

void weft__queue_remove(struct run_queue *q, struct weft_task *t)
{
	uint32_t place = t->position;

	INVARIANT(q->places[place & q->mask] == t);
	if (place == peek(q->head)) {
		poke(q->head, place + 1);
		return;
	}
	if (place == peek(q->tail) - 1) {
		poke(q->tail, place);
		return;
	}
	q->places[place & q->mask] = &weft__nobody;
	/* The other half of the array is for tasklets. */
	poke(q->n_tombstones, peek(q->n_tombstones) + 1);
	if (peek(q->n_tombstones) > q->mask / 2)
		squeeze(q);
}

struct weft_task *weft__dequeue_behind_tombstones(void)
{
	return weft__dequeue(&weft__self->queue);
}

bool weft__queue_drop(struct run_queue *q, struct weft_task *t)
{
	if (t->position - peek(q->head) >= peek(q->tail) - peek(q->head) ||
	    q->places[t->position & q->mask] != t)
		return false;
	weft__queue_remove(q, t);
	return true;
}

/* How far ahead of the move the descriptors are fetched whose places will be
 * written. */
enum { MOVE_AHEAD = 16 };

static void fetch_to_move(struct weft_task **places, uint32_t place,
			  uint32_t mask)
{
	__builtin_prefetch(&places[place & mask]->position, 1);
}

/* Turns the circle the shorter way round. Each tasklet that is moved gets its new
 * place written into its descriptor. */
void weft__queue_turn_to(struct run_queue *q, struct weft_task *t)
{
	struct weft_task **places = q->places;
	uint32_t mask = q->mask;
	uint32_t head = peek(q->head), tail = peek(q->tail);
	uint32_t n_dropped = 0; /* tombstones */
	struct weft_task *other;

	if (t->position - head <= tail - t->position - 1) {
		while ((other = places[head++ & mask]) != t) {
			fetch_to_move(places, head + MOVE_AHEAD, mask);
			if (other == &weft__nobody) {
				n_dropped++;
				continue;
			}
			other->position = tail;
			places[tail++ & mask] = other;
		}
	} else {
		while ((other = places[--tail & mask]) != t) {
			fetch_to_move(places, tail - MOVE_AHEAD, mask);
			if (other == &weft__nobody) {
				n_dropped++;
				continue;
			}
			other->position = --head;
			places[head & mask] = other;
		}
	}
	poke(q->head, head);
	poke(q->tail, tail);
	poke(q->n_tombstones, peek(q->n_tombstones) - n_dropped);
}
