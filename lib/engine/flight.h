/* SPDX-License-Identifier: MIT */
/*
 * Operations, and those of them that are in flight.
 *
 * They are linked by descriptor, so that a close cancels the operations on its
 * own descriptor and no others. The lists' heads lie in an array by descriptor
 * number, which grows by mapping more of it. So beginning an operation and
 * closing a descriptor cost the same whatever else is in flight.
 */
#ifndef WEFT__FLIGHT_H
#define WEFT__FLIGHT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/debug.h"

/*
 * One operation, in the memory of its owner. From the submission to the last
 * completion the memory is the engine's, and its address is the operation's
 * name in the kernel.
 */
struct attempt;

struct operation {
	/* Called for each completion. Without IORING_CQE_F_MORE in @flags it is
	 * the last, and the memory is the owner's again. The function may make
	 * tasklets runnable, and must call nothing of the engine. */
	void (*complete)(struct operation *o, int res, unsigned flags);

	/* the engine's */
	struct operation *next, *prev; /* in flight on the same descriptor */
#ifdef WEFT_DEBUG
	uint64_t name; /* in the kernel; 0: not in flight */
#endif
	struct attempt *attempt; /* the poll engine's record of it */
	int fd;
	bool is_called_back; /* the kernel was asked to cancel it */
	bool is_missed;      /* the request found nothing: ask again */
	/* Set by complete(): the next completion is the last, and the kernel
	 * takes no request to cancel it. */
	bool is_ending;
};

/* Owner only. */
struct flight {
	size_t n; /* operations whose last completion is still to come */

	/* The first operation of each descriptor, at its number plus one; then
	 * those of descriptors without a place there, and those that the kernel
	 * was asked to cancel. */
	struct operation **heads;
	unsigned n_heads;
	struct operation *elsewhere, *called_back;
};

/* Whether the list of @fd has a place of its own. -1: no descriptor. */
static INLINE bool weft__flight_has_place(const struct flight *f, int fd)
{
	return (unsigned)fd + 1 < f->n_heads;
}

/* Makes a place; without memory for it, all works without. */
void weft__flight_make_place(struct flight *f, int fd);

static INLINE struct operation **weft__flight_list(struct flight *f, int fd)
{
	return likely(weft__flight_has_place(f, fd)) ? &f->heads[fd + 1]
						     : &f->elsewhere;
}

static INLINE void weft__flight_push(struct operation **list,
				     struct operation *o)
{
	struct operation *first = *list;

	o->prev = NULL;
	o->next = first;
	if (first)
		first->prev = o;
	*list = o;
}

/* @o begins on @fd, whose list is @list. */
static INLINE void weft__flight_begin(struct flight *f, struct operation *o,
				      int fd, struct operation **list)
{
	o->fd = fd;
	o->is_called_back = false;
	o->is_ending = false;
	weft__flight_push(list, o);
	f->n++;
}

static INLINE void weft__flight_unlink(struct flight *f, struct operation *o)
{
	if (o->next)
		o->next->prev = o->prev;
	if (o->prev)
		o->prev->next = o->next;
	else if (likely(!o->is_called_back))
		*weft__flight_list(f, o->fd) = o->next;
	else
		f->called_back = o->next;
}

/* The last completion of @o has come. */
static INLINE void weft__flight_end(struct flight *f, struct operation *o)
{
	weft__flight_unlink(f, o);
	f->n--;
}

/* Moves @o to the operations that the kernel is asked to cancel. */
static inline void weft__flight_call_back(struct flight *f, struct operation *o)
{
	weft__flight_unlink(f, o);
	o->is_called_back = true;
	weft__flight_push(&f->called_back, o);
}

/* An operation in flight on @fd that was not called back; NULL if there is
 * none. */
struct operation *weft__flight_find(const struct flight *f, int fd);

/* Any operation that was not called back, from the place *@from on. *@from must
 * be 0 at first, and moves along. */
struct operation *weft__flight_any(const struct flight *f, unsigned *from);

/* Whether there are @n operations of that kind on @fd. */
bool weft__flight_has(const struct flight *f, int fd, int n);

/* Completes all operations as cancelled. */
void weft__flight_end_all(struct flight *f);

/* Gives back the memory, when nothing is in flight. */
void weft__flight_free(struct flight *f);

#endif /* WEFT__FLIGHT_H */
