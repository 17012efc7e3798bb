/* SPDX-License-Identifier: MIT */
/*
 * Giving the thread to another tasklet: the one place where that happens, and
 * the steps before it.
 */
#ifndef WEFT__SWITCH_H
#define WEFT__SWITCH_H

#include "core/queue.h"
#include "core/scheduler.h"
#include "core/tasklet.h"

/* --- who is runnable --- */

/* @t is runnable from here on. All code that makes an existing tasklet runnable
 * says so here and nowhere else. The caller puts @t into its place in the
 * queue. */
static INLINE void weft__make_runnable(struct weft_task *t)
{
	poke(t->state, WEFT_RUNNABLE);
}

/* Makes a blocked tasklet of this thread runnable, at the end of the queue. */
static INLINE void weft__wake_local(struct scheduler *s, struct weft_task *t)
{
	weft__make_runnable(t);
	weft__enqueue(&s->queue, t);
}

/* --- who has the thread --- */

/* Lets @to go on where it left off. Returns @from, when @from has the thread again. */
#ifdef WEFT__SANITIZED
struct weft_task *weft__switch_tasks(struct weft_task *from,
				     struct weft_task *to);
#else
_Static_assert(offsetof(struct weft_task, context) == 0,
	       "the context is first");

static INLINE struct weft_task *weft__switch_tasks(struct weft_task *from,
						   struct weft_task *to)
{
	return (struct weft_task *)weft__context_switch(&from->context,
							&to->context);
}
#endif

/* --- looking around --- */

/* Takes in what other threads handed in, fires timers, and polls the engine if that
 * is due (scheduler.c). Never waits, never switches. May make tasklets runnable, and
 * then tells the loop that drives the thread from outside, if any. As its last step, when nothing is half done any more, it calls the program's
 * functions for the ends of tasklets that could not be taken in. */
void weft__look_around(struct scheduler *s);

/* Whether a look around is due. */
static INLINE bool weft__has_to_look(const struct scheduler *s)
{
	/* relaxed: taking the content orders it [inbox.1] */
	return unlikely(s->budget <= 0) ||
	       unlikely(peek(((struct scheduler *)s)->inbox.word) !=
			INBOX_EMPTY);
}

/* The same, and counts a switch. */
static INLINE bool weft__must_look(struct scheduler *s)
{
	s->budget--;
	return weft__has_to_look(s);
}

/* --- giving way --- */

/* The next tasklet to run, for a caller that has left the run queue, if the queue is
 * empty: the idle loop (run.c). Parks as needed, on the caller's stack. May return
 * the caller itself. */
struct weft_task *weft__idle(struct scheduler *s);

/* The next tasklet to run, for a caller that has left the run queue. The caller's
 * switch is counted here. */
static INLINE struct weft_task *weft__next(struct scheduler *s)
{
	if (weft__must_look(s))
		weft__look_around(s);
	if (unlikely(weft__queue_is_empty(&s->queue)))
		return weft__idle(s);
	return weft__dequeue(&s->queue);
}

/* The scheduler for a fast path that switches. NULL if the careful path must be
 * taken, or if the caller has C++ exceptions at hand. Without C++ it costs as
 * much as weft__fast. */
static INLINE struct scheduler *weft__fast_to_switch(void)
{
	struct scheduler *s = weft__plain;

	if (likely(s))
		return s;
	s = weft__fast;
	return s && !weft__exceptions_are_there(s->exceptions) ? s : NULL;
}

/* @to is the current tasklet from here on. All code that gives a tasklet the
 * thread says so here and nowhere else. */
static INLINE void weft__give_thread(struct scheduler *s, struct weft_task *to)
{
	poke(s->current, to);
}

/* Lets @to, which is in no queue, have the thread. Returns the caller, when
 * that has the thread again. Only for a caller that has no C++ exceptions at
 * hand. */
static INLINE struct weft_task *weft__switch_to(struct scheduler *s,
						struct weft_task *to)
{
	struct weft_task *from = peek(s->current);

	weft__give_thread(s, to);
	return weft__switch_tasks(from, to);
}

/* For functions that switch as the last step of a public call: LEAVE before the
 * switch, COME_BACK to return after it; see weft__come_back(). */
#ifdef ARCH_RETURNS_BY_JUMP
#define LEAVE(s)             ((s)->left_from = __builtin_return_address(0))
#define COME_BACK(s, result) weft__come_back(result, (s)->left_from)
/* The same for calls of which most come from the same place. */
#define COME_BACK_TO_SAME(s, result)                           \
	(likely((s)->left_from == __builtin_return_address(0)) \
		 ? (result)                                    \
		 : weft__come_back(result, (s)->left_from))
#else
#define LEAVE(s)                     ((void)(s))
#define COME_BACK(s, result)         (result)
#define COME_BACK_TO_SAME(s, result) (result)
#endif

/* For the current tasklet @t, which gives way: if another thread has had it removed
 * meanwhile, it is paused from here on, and this returns true. */
static INLINE bool weft__pauses_as_requested(struct weft_task *t)
{
	if (likely(!(t->flags & TASK_TO_PAUSE)))
		return false;
	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	poke(t->state, WEFT_PAUSED);
	return true;
}

/* The current tasklet @t has looked around and gives way. It goes to the end of the run
 * queue; or another thread has had it removed meanwhile, and it is paused. Returns the
 * next tasklet, which is in no queue. */
struct weft_task *weft__rotate_or_pause(struct scheduler *s,
					struct weft_task *t);

/* Gives way to @to like weft__switch_to(), with the hooks: the careful path. */
void weft__switch_to_careful(struct scheduler *s, struct weft_task *to);

/* Calls the schedule callback before a switch to @to, which is in no queue.
 * Returns the tasklet that is to run after the callback. */
struct weft_task *weft__tell_switch(struct scheduler *s, weft_tasklet from,
				    struct weft_task *to);

/* Around code of the user's that must not switch. */
bool weft__begin_callback(struct scheduler *s);
void weft__end_callback(struct scheduler *s, bool was_inside);

/* The same on any thread. A thread that is not attached can become attached in
 * the callback: then its scheduler is in the callback. */
struct callback {
	struct scheduler *s;
	bool was_inside;
};

struct callback weft__begin_callback_anywhere(void);
void weft__end_callback_anywhere(struct callback c);

/* For a thread that has just been attached, and for a thread that ends after it
 * has left a callback by pthread_exit(). */
void weft__callback_goes_on(struct scheduler *s);
void weft__callback_was_left(void);

#endif /* WEFT__SWITCH_H */
