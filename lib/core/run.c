/* SPDX-License-Identifier: MIT */
/*
 * Rule R7: run and pump, and which tasklet goes on when none is runnable.
 *
 * A call of run or pump is a frame in a list, the innermost first; the idle loop
 * obeys the innermost. The frame is on its caller's stack, or the main tasklet's in
 * the scheduler.
 */
#include "core/run.h"

#include <errno.h>

#include "core/block.h"
#include "core/deadlock.h"
#include "core/park.h"

/* Takes the innermost frame off. Its tasklet is then runnable, but in no queue. */
static struct weft_task *pop_frame(struct scheduler *s, int result)
{
	struct run_frame *f = s->runs;

	s->runs = f->outer;
	f->result = result;
	if (f->task != s->main)
		s->n_inside--;
	f->task->flags &= (uint8_t) ~(TASK_INSIDE_RUN | TASK_TO_PAUSE);
	weft__embedding_moved(s);
	weft__make_runnable(f->task);
	weft__timer_cancel(&s->timers, &f->timer);
	return f->task;
}

void weft__leave_frame(struct scheduler *s, const struct weft_task *task,
		       int result, bool interrupted)
{
	while (s->runs->task != task)
		weft__enqueue(&s->queue, pop_frame(s, 0));
	s->runs->interrupted = interrupted;
	pop_frame(s, result);
}

void weft__drop_main_frame(struct scheduler *s)
{
	if (s->main->flags & TASK_INSIDE_RUN)
		weft__leave_frame(s, s->main, 0, false);
}

static void run_timed_out(struct scheduler *s, struct timer *t)
{
	struct weft_task *task = ((struct run_frame *)t)->task;

	weft__leave_frame(s, task, -ETIMEDOUT, false);
	weft__enqueue_first(&s->queue, task);
}

WEFT_API void weft_stop(int result)
{
	struct scheduler *s = weft__self;

	if (s && s->runs)
		weft__enqueue_first(&s->queue, pop_frame(s, result));
}

/* No tasklet is runnable. Returns the tasklet inside run or pump that goes on (rule
 * R7), or NULL if the thread has to wait. */
static struct weft_task *decide(struct scheduler *s)
{
	struct run_frame *f = s->runs;

	if (!f)
		return peek(s->main->state) == WEFT_PAUSED ? s->main : NULL;
	if (f->is_pump)
		return pop_frame(s, (int)peek(s->alive));
	return peek(s->alive) == s->n_inside ? pop_frame(s, 0) : NULL;
}

/* Nothing can ever wake this thread. Returns the tasklet that is told so, or NULL
 * if something can wake it after all. */
static struct weft_task *give_up(struct scheduler *s)
{
	/* The idle loop runs on the stack of the tasklet that left last. */
	struct weft_task *last = peek(s->current), *told = s->main;
	struct waiter *w;

	if (s->runs)
		return pop_frame(s, -EDEADLK);
	if (weft__deadlock_tells_last() && peek(last->state) == WEFT_PAUSED) {
		weft__task_mark(last, EDEADLK);
		return last;
	}
	if (weft__deadlock_tells_last() && peek(last->state) == WEFT_BLOCKED)
		told = last;
	w = told->waiter;
	if (!w->kind->cancel(s, w))
		return NULL;
	w->called_off = TOLD_OF_DEADLOCK;
	return told;
}

struct weft_task *weft__idle(struct scheduler *s)
{
	for (;;) {
		struct weft_task *next;

		weft__look_around(s);
		if (!weft__queue_is_empty(&s->queue))
			return weft__dequeue(&s->queue);
		if (s->runs && s->runs->is_pump) {
			weft__engine_poll(&s->engine);
			if (!weft__queue_is_empty(&s->queue))
				return weft__dequeue(&s->queue);
		}
		next = decide(s);
		if (!next && weft__park(s) == -EDEADLK)
			next = give_up(s);
		if (next) {
			weft__make_runnable(next);
			return next;
		}
	}
}

/* A run or pump under a trap: it fails if it would have to switch. */
static int run_trapped(struct scheduler *s, bool is_pump)
{
	size_t n_inside = s->n_inside + (peek(s->current) != s->main);

	weft__look_around(s);
	if (is_pump)
		weft__engine_poll(&s->engine);
	if (!weft__queue_is_empty(&s->queue) ||
	    (!is_pump && peek(s->alive) > n_inside))
		return -EPERM;
	return is_pump ? (int)peek(s->alive) : 0;
}

/* The main tasklet's frame, or for another caller the one on its stack; emptied. */
static struct run_frame *choose_frame(struct scheduler *s,
				      struct run_frame *own)
{
	struct run_frame *f =
		peek(s->current) == s->main ? &s->main_frame : own;

	*f = (struct run_frame){ 0 };
	return f;
}

/* Keeps the caller inside @f until @f is taken off. */
static void stay_inside(struct scheduler *s, struct run_frame *f)
{
	f->task = peek(s->current);
	f->outer = s->runs;
	s->runs = f;
	if (f->task != s->main)
		s->n_inside++;
	f->task->flags |= TASK_INSIDE_RUN;
	weft__embedding_moved(s);
	/* From here on the caller can be brought back: by a timer of an outer call
	 * that is found due, or by another thread. */
	poke(f->task->state, WEFT_PAUSED);
	if (f->is_pump) {
		weft__look_around(s);
		weft__engine_poll(&s->engine);
	}
	weft__switch_to_careful(s, weft__next(s));
}

/* The timer queue keeps a place free for the main tasklet's frame: the end of a thread
 * needs a deadline even if there is no memory. */
static int arm(struct scheduler *s, struct run_frame *f, int64_t deadline)
{
	f->timer.fire = run_timed_out;
	if (deadline == WEFT_FOREVER)
		return 0;
	/* The clock began at 0. A deadline before that is no later, and the
	 * lateness of a timer must be a number. */
	if (deadline < 0)
		deadline = 0;
	if (f != &s->main_frame)
		return weft__timer_arm(&s->timers, &f->timer, deadline);
	weft__timer_arm_reserved(&s->timers, &f->timer, deadline);
	return 0;
}

void weft__run_at_end(struct scheduler *s, bool is_pump, int64_t deadline)
{
	struct run_frame *f = choose_frame(s, NULL);

	f->is_pump = is_pump;
	(void)arm(s, f, deadline); /* the main tasklet's cannot fail */
	stay_inside(s, f);
}

static int run_others(bool is_pump, int64_t deadline)
{
	struct scheduler *s = weft__scheduler();
	struct run_frame own;
	struct run_frame *f;
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	if (weft__is_trapped(s))
		return run_trapped(s, is_pump);
	f = choose_frame(s, &own);
	f->is_pump = is_pump;
	rc = arm(s, f, deadline);
	if (unlikely(rc))
		return rc;
	if (!is_pump && !s->exceptions && weft__exceptions_may_have_come())
		weft__look_for_exceptions(s);
	stay_inside(s, f);
	/* However the call ended, what was submitted has reached the kernel. */
	if (is_pump || unlikely(s->embedding))
		weft__engine_poll(&s->engine);
	if (unlikely(s->embedding))
		weft__embedding_settle(s);
	return f->interrupted ? weft__interruption(f->task) : f->result;
}

WEFT_API int weft_run(void)
{
	return run_others(false, WEFT_FOREVER);
}

WEFT_API int weft_run_until(int64_t deadline)
{
	return run_others(false, deadline);
}

WEFT_API int weft_pump(void)
{
	return run_others(true, WEFT_FOREVER);
}
