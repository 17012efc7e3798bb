/* SPDX-License-Identifier: MIT */
/*
 * Giving way: rules R4 and R5 (weft/scheduler.h), on the run queue.
 *
 *	R1, R2, R3   queue.h has the steps, turn.c takes them for insert, remove, run
 *	             and switch
 *	R6           tasklet.c: the end
 *	R7           run.c: run, pump, and the idle loop
 *	R8           park.c: waking a tasklet of another thread
 *	R9, R10      channel/
 *
 * The scheduler has no tasklet of its own. A tasklet that gives way picks the
 * next one and switches straight to it. A tasklet that leaves the run queue
 * when the queue is empty runs the idle loop on its own stack. If it is the
 * first to become runnable again, there is no switch at all (run.c).
 *
 * The budget counts switches down. When it is used up, or when another thread
 * has put something into this thread's inbox (inbox.h), the next tasklet to
 * give way looks around: at the inbox, at timers, and at the engine, which is
 * io_uring (engine/engine.h). So two tasklets that only run each other starve
 * nobody. Polling the engine can be a system call. So a look around polls it only
 * if it has news, which memory shows, or if the budget is used up. Only the latter
 * begins the count anew: however often tasklets look around, even at each switch,
 * the poll that is due is not put off.
 *
 * A call has a fast path, and a careful path. The careful one is for a thread
 * with a trap, with a callback, or that another loop drives (enum careful), and
 * for a tasklet that must be told of a kill, a raise or a deadline (attention,
 * see tasklet.h).
 */
#include "core/scheduler.h"

#include <errno.h>

#include "base/world.h"
#include "core/block.h"
#include "core/deadline.h"
#include "core/park.h"
#include "core/turn.h"

__thread struct scheduler *weft__self
	__attribute__((tls_model("initial-exec")));
__thread struct scheduler *weft__fast
	__attribute__((tls_model("initial-exec")));
__thread struct scheduler *weft__plain
	__attribute__((tls_model("initial-exec")));

static void choose_ways(struct scheduler *s)
{
	weft__fast = s->careful ? NULL : s;
	weft__plain = s->careful || s->exceptions ? NULL : s;
}

void weft__set_careful(struct scheduler *s, enum careful why, bool on)
{
	s->careful = on ? s->careful | why : s->careful & ~(unsigned)why;
	choose_ways(s);
}

void weft__look_for_exceptions(struct scheduler *s)
{
	s->exceptions = weft__exceptions_find();
	choose_ways(s);
}

/* --- looking around --- */

/* Out of line: a look around that finds no timers needs few registers then. */
static NOINLINE void fire_timers(struct scheduler *s)
{
	int64_t now = weft__now();
	struct timer *t;

	for (;;) {
		int64_t late = now - weft__timer_next(&s->timers);

		t = weft__timer_pop(&s->timers, now);
		if (!t)
			return;
		count(s->timers_fired);
		if (late > peek(s->worst_lateness_ns))
			poke(s->worst_lateness_ns, late);
		t->fire(s, t);
	}
}

/* The last step of a look around, when all requests have been taken in. */
static NOINLINE void do_what_was_found(struct scheduler *s)
{
	s->has_found_work = false;
	if (s->refused)
		weft__task_end_refused(s);
	if (peek(s->current)->flags & TASK_TO_PAUSE)
		weft__keep_removal(s, peek(s->current));
}

void weft__look_around(struct scheduler *s)
{
	bool is_due = s->budget <= 0;

	poke(s->switches, peek(s->switches) + weft__switches_since_look(s));
	if (is_due)
		s->budget = SWITCHES_BETWEEN_POLLS;
	s->counted = s->budget;
	/* relaxed: taking the content orders it [inbox.1] */
	if (peek(s->inbox.word) != INBOX_EMPTY)
		weft__take_handed_in(s);
	if (is_due || weft__engine_has_news(&s->engine))
		weft__engine_look(&s->engine);
	if (s->timers.n)
		fire_timers(s);
	weft__note_runnable(s);
	if (unlikely(s->has_found_work))
		do_what_was_found(s);
}

#ifdef WEFT__SANITIZED
struct weft_task *weft__switch_tasks(struct weft_task *from,
				     struct weft_task *to)
{
	/* The sanitizer must not be told of a switch to the stack that it is on: it
	 * learns the bounds of main's stack only by the first switch away from it. */
	if (from == to)
		return from;
	weft__task_prepare(to);
	weft__context_switch(&from->context, &to->context);
	return from;
}
#endif

/* --- callbacks: the program's code, which must not switch --- */

bool weft__begin_callback(struct scheduler *s)
{
	bool was_inside = weft__in_callback(s);

	peek(s->current)->flags |= TASK_IN_CALLBACK;
	weft__set_careful(s, CAREFUL_IN_CALLBACK, true);
	return was_inside;
}

void weft__end_callback(struct scheduler *s, bool was_inside)
{
	if (was_inside)
		return;
	peek(s->current)->flags &= (uint8_t)~TASK_IN_CALLBACK;
	weft__set_careful(s, CAREFUL_IN_CALLBACK, false);
}

/* Whether a callback runs on a thread that is not attached, or was not when the
 * callback began. */
static __thread bool is_in_callback __attribute__((tls_model("initial-exec")));

struct callback weft__begin_callback_anywhere(void)
{
	struct callback c = { .s = weft__self, .was_inside = is_in_callback };

	if (c.s)
		c.was_inside = weft__begin_callback(c.s);
	else
		is_in_callback = true;
	return c;
}

void weft__end_callback_anywhere(struct callback c)
{
	if (!c.s)
		is_in_callback = c.was_inside;
	if (weft__self)
		weft__end_callback(weft__self, c.was_inside);
}

void weft__callback_goes_on(struct scheduler *s)
{
	if (is_in_callback)
		(void)weft__begin_callback(s);
}

void weft__callback_was_left(void)
{
	is_in_callback = false;
}

struct weft_task *weft__tell_switch(struct scheduler *s, weft_tasklet from,
				    struct weft_task *to)
{
	while (s->on_schedule && to != peek(s->current)) {
		struct weft_task *announced = to;
		bool was_inside = weft__begin_callback(s);

		/* In the run queue it can be removed and killed like any other
		 * tasklet. */
		weft__enqueue_first(&s->queue, to);
		s->on_schedule(from, weft__handle(to), s->on_schedule_ctx);
		weft__end_callback(s, was_inside);
		to = weft__queue_is_empty(&s->queue) ? weft__idle(s)
						     : weft__dequeue(&s->queue);
		if (to == announced)
			break;
	}
	return to;
}

/* --- the careful path --- */

/* For a tasklet that may be handling C++ exceptions, see stack/exception.c. */
static void switch_with_exceptions(struct scheduler *s, struct weft_task *to)
{
	struct exceptions *e = s->exceptions;
	struct exceptions own;

	if (likely(!e) || likely(!weft__exceptions_are_there(e))) {
		weft__switch_to(s, to);
		return;
	}
	own = *e;
	*e = (struct exceptions){ .caught = NULL };
	weft__switch_to(s, to);
	*e = own;
}

/* For a tasklet that has floating-point control words of its own. */
static void switch_with_fpu(struct scheduler *s, struct weft_task *to)
{
	struct arch_fpu own;

	arch_fpu_save(&own);
	arch_fpu_load(&s->fpu);
	switch_with_exceptions(s, to);
	arch_fpu_save(&s->fpu);
	arch_fpu_load(&own);
}

void weft__switch_to_careful(struct scheduler *s, struct weft_task *to)
{
	struct weft_task *t = peek(s->current);

	if (s->on_schedule)
		to = weft__tell_switch(s, weft__handle(t), to);
	if (to == t)
		return;
	if (t->attention & ATTENTION_OWN_FPU)
		switch_with_fpu(s, to);
	else
		switch_with_exceptions(s, to);
}

/* Another thread may just be raising anew: `err` is read under the lock, and the
 * request is taken back in the same step. */
static int consume_raised(struct weft_task *t)
{
	bool is_kept = t->flags & TASK_KEEPS_RAISED;
	int err;

	if (!is_kept)
		t->attention &= (uint8_t)~ATTENTION_RAISED;
	(void)weft__task_lock(t, weft__task_id(t));
	err = t->err;
	weft__task_unlock(t, 0, is_kept ? 0 : REQUEST_RAISE);
	return -err;
}

static bool has_timed_out(struct weft_task *t)
{
	static const int timed_out = ATTENTION_TIMED_OUT | ATTENTION_SCOPELESS;

	if ((t->attention & (ATTENTION_SCOPED | timed_out)) == ATTENTION_SCOPED)
		weft__look_at_scopes(t);
	return t->attention & timed_out;
}

int weft__interruption(struct weft_task *t)
{
	int rc = 0;

	if (t->flags & TASK_IS_DEAF)
		return 0;
	if (!t->n_shields && t->attention & ATTENTION_KILLED)
		rc = -ECANCELED;
	else if (!t->n_shields && t->attention & ATTENTION_RAISED)
		return consume_raised(t);
	else if (has_timed_out(t))
		rc = -ETIMEDOUT;
	if (rc)
		t->flags |= TASK_WAS_REFUSED;
	return rc;
}

/* The caller leaves the run queue: its successor runs. */
static void leave_queue(struct scheduler *s, struct weft_task *t)
{
	poke(t->state, WEFT_PAUSED);
	weft__switch_to_careful(s, weft__next(s));
}

/* Rule R4, with the hooks. The caller has counted the switch. */
static void give_way(struct scheduler *s, struct weft_task *t)
{
	if (weft__has_to_look(s))
		weft__look_around(s);
	weft__switch_to_careful(s, weft__rotate_or_pause(s, t));
}

NOINLINE struct weft_task *weft__rotate_or_pause(struct scheduler *s,
						 struct weft_task *t)
{
	if (likely(!weft__pauses_as_requested(t)))
		return weft__rotate(&s->queue, t);
	return weft__queue_is_empty(&s->queue) ? weft__idle(s)
					       : weft__dequeue(&s->queue);
}

int weft__enter_slowly(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);
	bool was_refused = t->flags & TASK_WAS_REFUSED;
	int rc;

	if (weft__in_callback(s))
		return -EPERM;
	rc = weft__interruption(t);
	if (!rc) {
		t->flags &= (uint8_t)~TASK_WAS_REFUSED;
	} else if (was_refused && !weft__is_trapped(s)) {
		s->budget--;
		give_way(s, t);
	}
	return rc;
}

static NOINLINE int schedule_carefully(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);
	int rc;

	if (weft__in_callback(s))
		return -EPERM;
	if (!weft__is_trapped(s)) {
		give_way(s, t);
		weft__note_runnable(s);
		return weft__interruption(t);
	}
	rc = weft__interruption(t);
	return rc || weft__queue_is_empty(&s->queue) ? rc : -EPERM;
}

static NOINLINE int schedule_slowly(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return -errno;
	s->budget--; /* as the fast path does */
	return schedule_carefully(s);
}

HOT WEFT_API int weft_schedule(void)
{
	struct scheduler *s = weft__fast_to_switch();
	struct weft_task *t;

	if (unlikely(!s))
		return schedule_slowly();
	t = peek(s->current);
	if (weft__must_look(s) || unlikely(t->attention))
		return schedule_carefully(s);
	LEAVE(s);
	t = weft__switch_to(s, weft__rotate(&s->queue, t));
	if (unlikely(t->attention))
		return weft__interruption(t);
	return COME_BACK_TO_SAME(s, 0);
}

WEFT_API int weft_schedule_remove(void)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *t;
	int rc;

	if (unlikely(!s))
		return -errno;
	t = peek(s->current);
	rc = weft__enter(s);
	if (!rc && weft__is_trapped(s))
		rc = -EPERM;
	if (unlikely(rc))
		return rc;
	leave_queue(s, t);
	weft__note_runnable(s);
	return weft__interruption(t);
}

WEFT_API unsigned weft_runcount(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__queue_length(&s->queue) + 1 : 1;
}

/* --- the trap and the callback --- */

WEFT_API int weft_switch_trap(int delta)
{
	struct scheduler *s = weft__scheduler();
	int before;

	if (!s)
		return 0;
	before = s->trap_level;
	s->trap_level += delta;
	weft__set_careful(s, CAREFUL_OF_TRAP, s->trap_level);
	return before;
}

WEFT_API void weft_set_schedule_callback(weft_schedule_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	s->on_schedule = fn;
	s->on_schedule_ctx = ctx;
	weft__set_careful(s, CAREFUL_OF_SCHEDULE, fn);
}
