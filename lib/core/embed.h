/* SPDX-License-Identifier: MIT */
/*
 * Driving a thread from another event loop; see embed.c.
 */
#ifndef WEFT__EMBED_H
#define WEFT__EMBED_H

#include "core/scheduler.h"

/* What belongs to weft_fd(); see embed.c. Owner only, but any thread may write
 * to event_fd. */
struct embedding {
	int event_fd;
	int fd;        /* what the other loop polls: event_fd, or see poll.c */
	bool is_quiet; /* event_fd is empty, or others have written */
};

/* The thread itself may have made something runnable: the loop that drives it
 * from outside must learn of that. */
void weft__embedding_changed(struct scheduler *s);

/* A run or pump returns: from here on the thread may be in the other loop. */
void weft__embedding_settle(struct scheduler *s);

/* Another thread has handed something in. */
void weft__embedding_ring(const struct scheduler *s);

/* Closes the descriptors of weft_fd(). */
void weft__embedding_close(const struct embedding *e);

/* The same, and frees what belongs to it. */
void weft__embedding_free(struct scheduler *s);

/* In a child of fork(): puts a new eventfd under the same descriptor number. */
void weft__embedding_renew(struct scheduler *s);

/* Whether main is inside run or pump: then the loop that drives the thread need
 * not be told until that call returns. Others may be inside while main is
 * not. */
static INLINE bool weft__main_is_inside(const struct scheduler *s)
{
	return s->main->flags & TASK_INSIDE_RUN;
}

/* Main has entered run or pump, or has left it. */
static INLINE void weft__embedding_moved(struct scheduler *s)
{
	if (unlikely(s->embedding))
		weft__set_careful(s, CAREFUL_OF_EMBEDDING,
				  !weft__main_is_inside(s));
}

/* A call that may have made something runnable says so at its end: only a loop that
 * drives the thread from outside has to know. */
static INLINE void weft__note_runnable(struct scheduler *s)
{
	if (unlikely(s->embedding))
		weft__embedding_changed(s);
}

#endif /* WEFT__EMBED_H */
