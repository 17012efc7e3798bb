/* SPDX-License-Identifier: MIT */
#include "core/timer.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>

#include "base/debug.h"

enum { ARITY = 4, FIRST_CAPACITY = 64 };

static size_t parent_of(size_t place)
{
	return (place - 2) / ARITY + 1;
}

static size_t first_child_of(size_t place)
{
	return (place - 1) * ARITY + 2;
}

static bool is_before(const struct timer_entry *a, const struct timer_entry *b)
{
	if (a->deadline != b->deadline)
		return a->deadline < b->deadline;
	return a->timer->order < b->timer->order;
}

static void put(struct timer_queue *q, size_t place, struct timer_entry e)
{
	q->heap[place] = e;
	e.timer->place = place;
}

static void sift_up(struct timer_queue *q, size_t place, struct timer_entry e)
{
	while (place > 1) {
		size_t parent = parent_of(place);

		if (!is_before(&e, &q->heap[parent]))
			break;
		put(q, place, q->heap[parent]);
		place = parent;
	}
	put(q, place, e);
}

static void sift_down(struct timer_queue *q, size_t place, struct timer_entry e)
{
	for (;;) {
		size_t child = first_child_of(place);
		size_t end =
			child + ARITY <= q->n + 1 ? child + ARITY : q->n + 1;
		size_t least = child;

		if (child > q->n)
			break;
		for (size_t i = child + 1; i < end; i++)
			if (is_before(&q->heap[i], &q->heap[least]))
				least = i;
		if (!is_before(&q->heap[least], &e))
			break;
		put(q, place, q->heap[least]);
		place = least;
	}
	put(q, place, e);
}

/* The heap has @capacity places, one that is kept free, and the unused heap[0]. */
static int resize(struct timer_queue *q, size_t capacity)
{
	struct timer_entry *heap =
		realloc(q->heap, (capacity + 2) * sizeof *heap);

	if (!heap)
		return -ENOMEM;
	q->heap = heap;
	q->capacity = capacity;
	return 0;
}

static NOINLINE int grow(struct timer_queue *q)
{
	size_t capacity = q->capacity ? q->capacity * 2 : FIRST_CAPACITY;

	return resize(q, capacity);
}

int weft__timer_reserve(struct timer_queue *q)
{
	return resize(q, 0);
}

int weft__timer_arm(struct timer_queue *q, struct timer *t, int64_t deadline)
{
	t->place = 0;
	if (q->n >= q->capacity && grow(q))
		return -ENOMEM;
	t->order = q->n_armed++;
	sift_up(q, ++q->n,
		(struct timer_entry){ .deadline = deadline, .timer = t });
	return 0;
}

void weft__timer_arm_reserved(struct timer_queue *q, struct timer *t,
			      int64_t deadline)
{
	q->capacity++;
	(void)weft__timer_arm(q, t, deadline);
	q->capacity--;
}

void weft__timer_cancel(struct timer_queue *q, struct timer *t)
{
	size_t place = t->place;
	struct timer_entry last;

	if (!place)
		return;
	t->place = 0;
	last = q->heap[q->n--];
	if (place > q->n)
		return;
	if (place > 1 && is_before(&last, &q->heap[parent_of(place)]))
		sift_up(q, place, last);
	else
		sift_down(q, place, last);
}

struct timer *weft__timer_pop(struct timer_queue *q, int64_t now)
{
	struct timer *t;

	if (!q->n || q->heap[1].deadline > now)
		return NULL;
	t = q->heap[1].timer;
	weft__timer_cancel(q, t);
	return t;
}

void weft__timer_free(struct timer_queue *q)
{
	free(q->heap);
	*q = (struct timer_queue){ 0 };
}
