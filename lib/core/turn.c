/* SPDX-License-Identifier: MIT */
#include "core/turn.h"

#include <errno.h>

#include "core/block.h"

/* What a control call returns for a tasklet of this thread that has not ended. */
static int check_state(struct weft_task *t)
{
	return peek(t->state) == WEFT_BLOCKED ? -EBUSY : 0;
}

/* Makes a paused tasklet runnable. The caller puts it where it belongs. */
static void unpause(struct scheduler *s, struct weft_task *t, bool interrupted)
{
	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	if (t->flags & TASK_INSIDE_RUN)
		weft__leave_frame(s, t, 0, interrupted);
	else
		weft__make_runnable(t);
}

void weft__interrupt_pause(struct scheduler *s, struct weft_task *t)
{
	unpause(s, t, true);
	weft__enqueue(&s->queue, t);
}

int weft__insert(struct scheduler *s, struct weft_task *t)
{
	int rc = check_state(t);

	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	if (rc || peek(t->state) == WEFT_RUNNABLE)
		return rc;
	unpause(s, t, false);
	weft__enqueue(&s->queue, t);
	return 0;
}

int weft__run_first(struct scheduler *s, struct weft_task *t)
{
	int rc = check_state(t);

	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	if (rc || t == peek(s->current))
		return rc;
	if (peek(t->state) == WEFT_RUNNABLE)
		weft__queue_remove(&s->queue, t);
	else
		unpause(s, t, false);
	weft__enqueue_first(&s->queue, t);
	return 0;
}

/* Rule R3: gives the thread to @t, runnable or paused. */
static void switch_to_anywhere(struct scheduler *s, struct weft_task *t)
{
	if (peek(t->state) == WEFT_RUNNABLE)
		weft__queue_turn_to(&s->queue, t);
	else
		unpause(s, t, false);
	weft__switch_to_careful(s, t);
}

int weft__run_now(struct scheduler *s, struct weft_task *t)
{
	struct weft_task *me = peek(s->current);
	int rc = check_state(t);

	if (rc || t == me)
		return rc;
	if (weft__is_trapped(s))
		return -EPERM;
	/* The caller's place in the circle is before the front of the queue, which
	 * is also behind its back. */
	if (likely(!weft__pauses_as_requested(me)))
		weft__enqueue_first(&s->queue, me);
	switch_to_anywhere(s, t);
	return 0;
}

int weft__switch_now(struct scheduler *s, struct weft_task *t)
{
	struct weft_task *me = peek(s->current);
	int rc = weft__enter(s);

	if (!rc)
		rc = check_state(t);
	if (rc || t == me)
		return rc;
	if (weft__is_trapped(s))
		return -EPERM;
	poke(me->state, WEFT_PAUSED);
	switch_to_anywhere(s, t);
	return weft__interruption(me);
}

void weft__remove_as_requested(struct scheduler *s, struct weft_task *t)
{
	if (peek(t->state) != WEFT_RUNNABLE)
		return;
	/* A tasklet that waits on its own stack for something to run is the current
	 * one also when it has been woken and is in the queue. */
	if (weft__queue_drop(&s->queue, t)) {
		poke(t->state, WEFT_PAUSED);
		return;
	}
	t->flags |= TASK_TO_PAUSE;
	weft__keep_removal(s, t);
}

void weft__keep_removal(struct scheduler *s, struct weft_task *t)
{
	if (peek(t->state) != WEFT_RUNNABLE) {
		t->flags &= (uint8_t)~TASK_TO_PAUSE;
		return;
	}
	/* The fast paths do not look at the flag. So @t looks around when it gives
	 * way. What has been counted stays. */
	s->counted -= s->budget;
	s->budget = 0;
	s->has_found_work = true;
}

int weft__remove(struct scheduler *s, struct weft_task *t)
{
	if (t == peek(s->current))
		return -EBUSY;
	if (peek(t->state) == WEFT_RUNNABLE) {
		weft__queue_remove(&s->queue, t);
		poke(t->state, WEFT_PAUSED);
	}
	return check_state(t);
}
