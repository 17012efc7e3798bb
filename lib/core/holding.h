/* SPDX-License-Identifier: MIT */
/*
 * What a call has taken and will give back at its end: memory, descriptors.
 *
 * A tasklet that is given up at the end of its thread never gets there. So a call
 * that waits while it has such things notes them in a list of its thread, in memory
 * that is not of its stack. What is left in the list when all tasklets have been given
 * up is released.
 *
 * Owner only.
 */
#ifndef WEFT__HOLDING_H
#define WEFT__HOLDING_H

#include "core/scheduler.h"

struct holding {
	struct holding *next, **place; /* place: NULL: it is in no list */
	/* Lets go of it, and releases what was taken. May call functions of the
	 * program's that leave by pthread_exit(): then it is called again, if it
	 * had not let go of it yet. */
	void (*release)(struct scheduler *s, struct holding *h);
};

static inline void weft__hold(struct scheduler *s, struct holding *h)
{
	h->next = s->holdings;
	if (h->next)
		h->next->place = &h->next;
	h->place = &s->holdings;
	s->holdings = h;
}

static inline void weft__let_go(struct holding *h)
{
	if (!h->place)
		return;
	*h->place = h->next;
	if (h->next)
		h->next->place = h->place;
	h->place = NULL;
}

#endif /* WEFT__HOLDING_H */
