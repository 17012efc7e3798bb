/* SPDX-License-Identifier: MIT */
/*
 * The deadline queue of a scheduler: a 4-ary heap, owner only.
 *
 * A timer is a node in its user's memory, often on a tasklet's stack. The heap
 * holds the deadlines, so sifting touches only the nodes that it moves. Timers with
 * equal deadlines fire in the order in which they were armed.
 */
#ifndef WEFT__TIMER_H
#define WEFT__TIMER_H

#include <stddef.h>
#include <stdint.h>

struct scheduler;

struct timer {
	size_t place;   /* in the heap, from 1; 0: not armed */
	uint64_t order; /* in which they were armed */
	void (*fire)(struct scheduler *s, struct timer *t);
};

struct timer_entry {
	int64_t deadline;
	struct timer *timer;
};

struct timer_queue {
	struct timer_entry *heap; /* heap[1] is the earliest */
	size_t n;
	size_t capacity;  /* besides the place that is kept free */
	uint64_t n_armed; /* in all; gives each its order */
};

/* Returns 0, or -ENOMEM with the timer not armed. */
int weft__timer_arm(struct timer_queue *q, struct timer *t, int64_t deadline);

/* Makes the place that is kept free for weft__timer_arm_reserved(). It is called once,
 * before any timer is armed. Returns 0 or -ENOMEM. */
int weft__timer_reserve(struct timer_queue *q);

/* Arms a timer in the place that is kept free. This cannot fail. Only one timer may be
 * armed so at a time. */
void weft__timer_arm_reserved(struct timer_queue *q, struct timer *t,
			      int64_t deadline);

/* Does nothing to a timer that is not armed. */
void weft__timer_cancel(struct timer_queue *q, struct timer *t);

/* The earliest deadline; INT64_MAX if no timer is armed. */
static inline int64_t weft__timer_next(const struct timer_queue *q)
{
	return q->n ? q->heap[1].deadline : INT64_MAX;
}

/* Disarms and returns the earliest timer if it is due, else returns NULL. */
struct timer *weft__timer_pop(struct timer_queue *q, int64_t now);

void weft__timer_free(struct timer_queue *q);

#endif /* WEFT__TIMER_H */
