/* SPDX-License-Identifier: MIT */
/*
 * The steps of a blocking call.
 *
 *	rc = weft__enter(s);            must it return at once?
 *	... the call succeeds, or it has to wait:
 *	rc = weft__may_wait(s);         may it wait?
 *	... puts a waiter where a waker will find it
 *	weft__block(s, &waiter, true);  until somebody wakes it
 *	return weft__outcome(&waiter);
 */
#ifndef WEFT__BLOCK_H
#define WEFT__BLOCK_H

#include <errno.h>

#include "core/embed.h"
#include "core/park.h"
#include "core/switch.h"
#include "core/waiter.h"

/* Gives up the thread until somebody wakes @w, which the caller has put where a
 * waker will find it. @careful is false only on fast paths, whose tasklet has nothing
 * to look at (scheduler.c). */
static INLINE void weft__block(struct scheduler *s, struct waiter *w,
			       bool careful)
{
	struct weft_task *t = peek(s->current);
	struct weft_task *next;

	t->waiter = w;
	poke(t->state, WEFT_BLOCKED);
	next = weft__next(s);
	if (careful && (unlikely(!weft__plain) || unlikely(t->attention)))
		weft__switch_to_careful(s, next);
	else if (next != t)
		weft__switch_to(s, next);
	/* The descriptor of weft_fd() may be there only since the call began.
	 * (For fast paths see embed.c.) */
	if (careful)
		weft__note_runnable(s);
}

/* Wakes the tasklet of a waiter of this thread that another thread has served, or that
 * was called off. If it waited for a helper, that is no hope any more, whenever the
 * tasklet runs: it may be removed from the run queue before. */
static inline void weft__wake_served(struct scheduler *s, struct waiter *w)
{
	s->n_offloaded -= w->kind->is_offloaded;
	weft__wake_local(s, w->task);
}

/* Wakes the tasklet of a waiter that the caller has claimed, on whichever thread. */
static inline void weft__wake(struct scheduler *s, struct waiter *w)
{
	if (w->owner == s)
		weft__wake_local(s, w->task);
	else
		weft__wake_foreign(s, w);
}

/* What a blocking call must return for a kill, a raise (this call consumes it)
 * or a deadline; 0 if there is none, or a shield is up. */
int weft__interruption(struct weft_task *t);

/* Makes a tasklet of this thread leave its wait, or go on if it is paused. The
 * caller has marked the tasklet for weft__interruption(). */
void weft__call_off(struct scheduler *s, struct weft_task *t);

/* For steps of a call that must be completed, and so must wait whatever
 * happens. Returns the argument for weft__undeafen() after them. */
static inline bool weft__deafen(struct weft_task *t)
{
	bool was_deaf = t->flags & TASK_IS_DEAF;

	t->flags |= TASK_IS_DEAF;
	return was_deaf;
}

static inline void weft__undeafen(struct weft_task *t, bool was_deaf)
{
	if (!was_deaf)
		t->flags &= (uint8_t)~TASK_IS_DEAF;
}

/* Whether @t waits in such a step. If it has been served and was then removed from
 * the run queue, it only pauses: an interruption ends that as any pause, or else the
 * call would keep what it was given. */
static inline bool weft__waits_deaf(struct weft_task *t)
{
	return t->flags & TASK_IS_DEAF && peek(t->state) == WEFT_BLOCKED;
}

/* For a call that has something to return already and goes on to get more: from
 * here to weft__consume_raised(), a raise still ends its waits, but is left to the
 * next call. False if that is so already. */
static inline bool weft__keep_raised(struct weft_task *t)
{
	bool is_new = !(t->flags & TASK_KEEPS_RAISED);

	t->flags |= TASK_KEEPS_RAISED;
	return is_new;
}

static inline void weft__consume_raised(struct weft_task *t)
{
	t->flags &= (uint8_t)~TASK_KEEPS_RAISED;
}

/* What a blocking call returns if its wait was called off. */
static inline int weft__called_off(const struct waiter *w)
{
	w->task->flags &= (uint8_t)~TASK_CALLED_OFF;
	return w->called_off == TOLD_OF_DEADLOCK ? -EDEADLK
						 : weft__interruption(w->task);
}

/* What a blocking call returns after its wait. */
static INLINE int weft__outcome(const struct waiter *w)
{
	return unlikely(w->called_off) ? weft__called_off(w) : w->result;
}

/* The rare part of weft__enter(). */
int weft__enter_slowly(struct scheduler *s);

/* A blocking call asks this before it does anything: 0, or what the call must
 * return at once for a kill, a raise or a deadline. From the second refusal in
 * a row on, the call gives way first, so that a tasklet which ignores errors
 * cannot freeze its thread. In a callback it is -EPERM, and nothing is
 * consumed. */
static INLINE int weft__enter(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);

	if (likely(!t->attention) &&
	    likely(!(t->flags & (TASK_WAS_REFUSED | TASK_IN_CALLBACK))))
		return 0;
	return weft__enter_slowly(s);
}

/* A blocking call asks this when it has to wait: 0, -EAGAIN or -EPERM. */
static INLINE int weft__may_wait(struct scheduler *s)
{
	if (unlikely(peek(s->current)->attention & ATTENTION_BLOCK_TRAP))
		return -EAGAIN;
	return unlikely(weft__is_trapped(s)) ? -EPERM : 0;
}

#endif /* WEFT__BLOCK_H */
