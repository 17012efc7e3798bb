/* SPDX-License-Identifier: MIT */
/*
 * Rules R1 to R7 (weft/scheduler.h): the ring, giving way, run and pump.
 *
 * There is no tasklet of the scheduler's own. Who gives way picks the next one
 * and switches straight to it. Who leaves the ring when it is empty runs the
 * idle loop on its own stack, and if it is the first to become runnable again
 * there is no switch at all. A call of weft_run() or weft_pump() is a frame on
 * its caller's stack, in a list, the innermost first; the idle loop obeys that
 * one.
 *
 * The budget counts switches down. When it is used up, or when another thread
 * has handed something in, the next to give way looks around: at the inbox,
 * timers, and the engine, so that two tasklets who only run each other starve
 * nobody. Entering the engine is dear, so that is done when the budget is used up,
 * and then the count begins anew; others who look around in between, for each
 * switch even, do not put it off.
 */
#include "scheduler.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <weft/time.h>

#include "park.h"

__thread struct scheduler *weft__self
	__attribute__((tls_model("initial-exec")));
__thread struct scheduler *weft__fast
	__attribute__((tls_model("initial-exec")));

void weft__choose_ways(struct scheduler *s)
{
	bool is_plain = !weft__is_trapped(s) && !s->on_schedule &&
			!s->on_channel && (!s->embedding || s->runs);

	weft__fast = is_plain ? s : NULL;
}

/* What a tombstone points to. It never runs; its stack is fetched ahead like
 * any other's, and a fetch from nowhere would cost a walk of the page tables. */
struct weft_task weft__nobody = { .context.sp = &weft__nobody };

/* --- the queue --- */

static uint32_t queue_span(struct scheduler *s)
{
	return peek(s->tail) - peek(s->head);
}

/* Copies the queue without its tombstones to a new array. */
static void queue_move(struct scheduler *s, struct weft_task **to,
		       uint32_t capacity)
{
	uint32_t n = 0;

	for (uint32_t i = peek(s->head); i != peek(s->tail); i++) {
		struct weft_task *t = s->queue[i & s->mask];

		if (t == &weft__nobody)
			continue;
		t->position = n;
		to[n++] = t;
	}
	for (uint32_t i = n; i < capacity; i++)
		to[i] = &weft__nobody;
	free(s->queue);
	s->queue = to;
	s->mask = capacity - 1;
	poke(s->head, 0);
	poke(s->tail, n);
	poke(s->n_tombstones, 0);
}

int weft__queue_reserve(struct scheduler *s, size_t n)
{
	size_t capacity = s->queue ? (size_t)s->mask + 1 : 64;
	struct weft_task **queue;

	/* room for all of them, and as many tombstones again */
	while (capacity < 2 * (n + 1))
		capacity *= 2;
	if (s->queue && capacity == (size_t)s->mask + 1)
		return 0;
	if (capacity > UINT32_MAX / 2 ||
	    !(queue = malloc(capacity * sizeof *queue)))
		return -ENOMEM;
	queue_move(s, queue, (uint32_t)capacity);
	return 0;
}

/* Squeezes the tombstones out, in place, from the back to the front. */
static void queue_squeeze(struct scheduler *s)
{
	uint32_t to = peek(s->tail);

	for (uint32_t i = to; i != peek(s->head); i--) {
		struct weft_task *t = s->queue[(i - 1) & s->mask];

		if (t == &weft__nobody)
			continue;
		t->position = --to;
		s->queue[to & s->mask] = t;
	}
	poke(s->head, to);
	poke(s->n_tombstones, 0);
}

void weft__queue_remove(struct scheduler *s, struct weft_task *t)
{
	uint32_t place = t->position;

	INVARIANT(s->queue[place & s->mask] == t);
	if (place == peek(s->head)) {
		poke(s->head, place + 1);
		return;
	}
	if (place == peek(s->tail) - 1) {
		poke(s->tail, place);
		return;
	}
	s->queue[place & s->mask] = &weft__nobody;
	/* The other half of the array is for tasklets. */
	poke(s->n_tombstones, peek(s->n_tombstones) + 1);
	if (peek(s->n_tombstones) > s->mask / 2)
		queue_squeeze(s);
}

/* Rule R3 for a queued @t: those before it go behind those after it, the
 * shorter way round, and @t itself is taken out. */
static void queue_turn_to(struct scheduler *s, struct weft_task *t)
{
	uint32_t before = t->position - peek(s->head);
	uint32_t after = peek(s->tail) - t->position - 1;
	struct weft_task *other;

	if (before <= after) {
		while ((other = weft__dequeue(s)) != t)
			weft__enqueue(s, other);
		return;
	}
	for (;;) {
		uint32_t last = peek(s->tail) - 1;

		other = s->queue[last & s->mask];
		poke(s->tail, last);
		if (other == t)
			return;
		if (other == &weft__nobody)
			poke(s->n_tombstones, peek(s->n_tombstones) - 1);
		else
			weft__enqueue_first(s, other);
	}
}

/* --- switching --- */

uint64_t weft__switches_since_look(const struct scheduler *s)
{
	return (uint64_t)(s->counted - s->budget);
}

static void fire_timers(struct scheduler *s)
{
	int64_t now;
	struct timer *t;

	if (!s->timers.n)
		return;
	now = weft_now();
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

void weft__look_around(struct scheduler *s)
{
	bool is_due = s->budget <= 0;

	poke(s->switches, peek(s->switches) + weft__switches_since_look(s));
	if (is_due)
		s->budget = SWITCHES_BETWEEN_LOOKS;
	s->counted = s->budget;
	/* relaxed: taking the content is what orders it [inbox.1] */
	if (peek(s->inbox.word) != INBOX_EMPTY)
		weft__take_handed_in(s);
	if (is_due || weft__engine_has_news(&s->engine))
		weft__engine_poll(s);
	fire_timers(s);
	weft__note_runnable(s);
}

#ifdef WEFT__SANITIZED
struct weft_task *weft__switch_tasks(struct weft_task *from,
				     struct weft_task *to)
{
	/* The bounds of main's stack are known only once it has been left. */
	if (from == to)
		return from;
	weft__task_prepare(to);
	weft__context_switch(&from->context, &to->context);
	return from;
}
#endif

bool weft__begin_callback(struct scheduler *s)
{
	bool was_inside = s->in_callback;

	s->in_callback = true;
	peek(s->current)->flags |= TASK_IN_CALLBACK;
	weft__choose_ways(s);
	return was_inside;
}

void weft__end_callback(struct scheduler *s, bool was_inside)
{
	s->in_callback = was_inside;
	if (!was_inside)
		peek(s->current)->flags &= (uint8_t)~TASK_IN_CALLBACK;
	weft__choose_ways(s);
}

struct weft_task *weft__tell_switch(struct scheduler *s, weft_tasklet from,
				    struct weft_task *to)
{
	while (s->on_schedule && to != peek(s->current)) {
		struct weft_task *announced = to;
		bool was_inside = weft__begin_callback(s);

		/* In the ring, it can be removed and killed as any other. */
		weft__enqueue_first(s, to);
		s->on_schedule(from, weft__handle(to), s->on_schedule_ctx);
		weft__end_callback(s, was_inside);
		to = weft__queue_is_empty(s) ? weft__idle(s) : weft__dequeue(s);
		if (to == announced)
			break;
	}
	return to;
}

NOINLINE struct weft_task *weft__switch_with_exceptions(struct scheduler *s,
							struct weft_task *from,
							struct weft_task *to)
{
	struct exceptions *e = s->exceptions;
	struct exceptions own = *e;

	*e = (struct exceptions){ .caught = NULL };
	from = weft__switch_tasks(from, to);
	*e = own;
	return from;
}

/* With floating-point control words of its own. */
static void switch_with_fpu(struct scheduler *s, struct weft_task *to)
{
	struct arch_fpu own;

	arch_fpu_save(&own);
	arch_fpu_load(&s->fpu);
	weft__switch_to(s, to);
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
		weft__switch_to(s, to);
}

static int consume_raised(struct weft_task *t)
{
	int err;

	t->attention &= (uint8_t)~ATTENTION_RAISED;
	(void)weft__task_lock(t, weft__task_id(t));
	err = t->err;
	weft__task_unlock(t, 0, REQUEST_RAISE);
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

/* The caller has left the ring: whoever is next runs. */
static void leave_ring(struct scheduler *s, struct weft_task *t)
{
	poke(t->state, WEFT_PAUSED);
	weft__switch_to_careful(s, weft__next(s));
}

static void give_way(struct scheduler *s, struct weft_task *t)
{
	weft__look_around(s);
	if (unlikely(t->flags & TASK_TO_PAUSE)) {
		t->flags &= (uint8_t)~TASK_TO_PAUSE;
		leave_ring(s, t);
		return;
	}
	weft__switch_to_careful(s, weft__rotate(s, t));
}

int weft__enter_slowly(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);
	bool was_refused = t->flags & TASK_WAS_REFUSED;
	int rc;

	if (s->in_callback)
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

static int schedule_carefully(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);
	int rc;

	if (s->in_callback)
		return -EPERM;
	if (!weft__is_trapped(s)) {
		give_way(s, t);
		weft__note_runnable(s);
		return weft__interruption(t);
	}
	rc = weft__interruption(t);
	return rc || weft__queue_is_empty(s) ? rc : -EPERM;
}

static NOINLINE int schedule_slowly(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return -errno;
	if (!weft__fast)
		s->budget--; /* as who takes the fast way has done already */
	return schedule_carefully(s);
}

WEFT_API int weft_schedule(void)
{
	struct scheduler *s = weft__fast;
	struct weft_task *t;

	if (unlikely(!s))
		return schedule_slowly();
	t = peek(s->current);
	if (weft__must_look(s) || unlikely(t->attention))
		return schedule_slowly();
	LEAVE(s);
	t = weft__switch_to(s, weft__rotate(s, t));
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
	leave_ring(s, t);
	weft__note_runnable(s);
	return weft__interruption(t);
}

WEFT_API unsigned weft_runcount(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? queue_span(s) - peek(s->n_tombstones) + 1 : 1;
}

/* --- run and pump --- */

/* Takes the innermost frame off; its tasklet is runnable, but in no queue. */
static struct weft_task *pop_frame(struct scheduler *s, int result)
{
	struct run_frame *f = s->runs;

	s->runs = f->outer;
	f->result = result;
	if (f->task != s->main)
		s->n_inside--;
	f->task->flags &= (uint8_t) ~(TASK_INSIDE_RUN | TASK_TO_PAUSE);
	poke(f->task->state, WEFT_RUNNABLE);
	weft__timer_cancel(&s->timers, &f->timer);
	return f->task;
}

/* The frame of @task leaves, and all that are nested deeper with 0, whose
 * tasklets go to the end. */
static void leave_frame(struct scheduler *s, const struct weft_task *task,
			int result)
{
	while (s->runs->task != task)
		weft__enqueue(s, pop_frame(s, 0));
	pop_frame(s, result);
}

void weft__drop_main_frame(struct scheduler *s)
{
	if (s->main->flags & TASK_INSIDE_RUN)
		leave_frame(s, s->main, 0);
}

static void run_timed_out(struct scheduler *s, struct timer *t)
{
	struct weft_task *task = ((struct run_frame *)t)->task;

	leave_frame(s, task, -ETIMEDOUT);
	weft__enqueue_first(s, task);
}

WEFT_API void weft_stop(int result)
{
	struct scheduler *s = weft__self;

	if (s && s->runs)
		weft__enqueue_first(s, pop_frame(s, result));
}

/* Nothing is runnable: who of those inside run and pump goes on (rule R7), or
 * NULL when the thread has to wait. */
static struct weft_task *decide(struct scheduler *s)
{
	struct run_frame *f = s->runs;

	if (!f)
		return peek(s->main->state) == WEFT_PAUSED ? s->main : NULL;
	if (f->is_pump)
		return pop_frame(s, (int)peek(s->alive));
	return peek(s->alive) == s->n_inside ? pop_frame(s, 0) : NULL;
}

/* Nothing can ever wake this thread: who is told, or NULL if that is not so
 * after all. */
static struct weft_task *give_up(struct scheduler *s)
{
	struct waiter *w = s->main->waiter;

	if (s->runs)
		return pop_frame(s, -EDEADLK);
	if (!w->kind->cancel(s, w))
		return NULL;
	w->called_off = TOLD_OF_DEADLOCK;
	return s->main;
}

struct weft_task *weft__idle(struct scheduler *s)
{
	for (;;) {
		struct weft_task *next;

		weft__look_around(s);
		if (!weft__queue_is_empty(s))
			return weft__dequeue(s);
		if (s->runs && s->runs->is_pump) {
			weft__engine_poll(s);
			if (!weft__queue_is_empty(s))
				return weft__dequeue(s);
		}
		next = decide(s);
		if (!next && weft__park(s) == -EDEADLK)
			next = give_up(s);
		if (next) {
			poke(next->state, WEFT_RUNNABLE);
			return next;
		}
	}
}

/* A run or pump that must not switch: it fails if it would. */
static int run_trapped(struct scheduler *s, bool is_pump)
{
	size_t n_inside = s->n_inside + (peek(s->current) != s->main);

	weft__look_around(s);
	if (is_pump)
		weft__engine_poll(s);
	if (!weft__queue_is_empty(s) || (!is_pump && peek(s->alive) > n_inside))
		return -EPERM;
	return is_pump ? (int)peek(s->alive) : 0;
}

/* Main's frame, empty, or the one that the caller has on its stack. */
static struct run_frame *choose_frame(struct scheduler *s,
				      struct run_frame *own)
{
	struct run_frame *f =
		peek(s->current) == s->main ? &s->main_frame : own;

	*f = (struct run_frame){ 0 };
	return f;
}

/* The caller is inside @f until that is taken off. */
static void stay_inside(struct scheduler *s, struct run_frame *f)
{
	f->task = peek(s->current);
	f->outer = s->runs;
	s->runs = f;
	if (f->task != s->main)
		s->n_inside++;
	f->task->flags |= TASK_INSIDE_RUN;
	if (unlikely(s->embedding))
		weft__choose_ways(s);
	/* From here on it can be brought back: by a timer of an outer call that
	 * is found due, or by another thread. */
	poke(f->task->state, WEFT_PAUSED);
	if (f->is_pump) {
		weft__look_around(s);
		weft__engine_poll(s);
	}
	weft__switch_to_careful(s, weft__next(s));
}

static int arm(struct scheduler *s, struct run_frame *f, int64_t deadline)
{
	f->timer.fire = run_timed_out;
	/* The clock began at 0: what is before that is no later, and the
	 * lateness of a timer must be a number. */
	return deadline == WEFT_FOREVER
		       ? 0
		       : weft__timer_arm(&s->timers, &f->timer,
					 deadline > 0 ? deadline : 0);
}

void weft__run_runnable(struct scheduler *s, int64_t deadline)
{
	struct run_frame own;
	struct run_frame *f = choose_frame(s, &own);

	f->is_pump = true;
	if (!arm(s, f, deadline))
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
	/* It may have been loaded since. */
	if (!is_pump && !s->exceptions)
		s->exceptions = weft__exceptions_find();
	stay_inside(s, f);
	/* Whatever ended it: what was submitted has reached the kernel. */
	if (is_pump || unlikely(s->embedding))
		weft__engine_poll(s);
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

/* --- the trap and the callback --- */

WEFT_API int weft_switch_trap(int delta)
{
	struct scheduler *s = weft__scheduler();
	int before;

	if (!s)
		return 0;
	before = s->trap_level;
	s->trap_level += delta;
	weft__choose_ways(s);
	return before;
}

WEFT_API void weft_set_schedule_callback(weft_schedule_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	s->on_schedule = fn;
	s->on_schedule_ctx = ctx;
	weft__choose_ways(s);
}

/* --- control of others --- */

/* What control calls say of a tasklet of this thread that has not ended. */
static int check_state(struct weft_task *t)
{
	return peek(t->state) == WEFT_BLOCKED ? -EBUSY : 0;
}

/* Makes a paused tasklet runnable; the caller puts it where it belongs. */
static void unpause(struct scheduler *s, struct weft_task *t)
{
	if (t->flags & TASK_INSIDE_RUN)
		leave_frame(s, t, 0);
	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	poke(t->state, WEFT_RUNNABLE);
}

void weft__interrupt_pause(struct scheduler *s, struct weft_task *t)
{
	struct run_frame *f = s->runs;

	while (f && f->task != t)
		f = f->outer;
	unpause(s, t);
	if (f)
		f->interrupted = true;
	weft__enqueue(s, t);
}

int weft__insert(struct scheduler *s, struct weft_task *t)
{
	int rc = check_state(t);

	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	if (rc || peek(t->state) == WEFT_RUNNABLE)
		return rc;
	unpause(s, t);
	weft__enqueue(s, t);
	return 0;
}

int weft__run_first(struct scheduler *s, struct weft_task *t)
{
	int rc = check_state(t);

	t->flags &= (uint8_t)~TASK_TO_PAUSE;
	if (rc || t == peek(s->current))
		return rc;
	if (peek(t->state) == WEFT_RUNNABLE)
		weft__queue_remove(s, t);
	else
		unpause(s, t);
	weft__enqueue_first(s, t);
	return 0;
}

/* Rule R3: @t gets the thread from where it is. */
static void switch_to_anywhere(struct scheduler *s, struct weft_task *t)
{
	if (peek(t->state) == WEFT_RUNNABLE)
		queue_turn_to(s, t);
	else
		unpause(s, t);
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
	/* In the ring the caller is before the front and behind the back. */
	weft__enqueue_first(s, me);
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
	if (t != peek(s->current) || peek(t->state) != WEFT_RUNNABLE) {
		(void)weft__remove(s, t);
		return;
	}
	t->flags |= TASK_TO_PAUSE;
	/* The fast ways do not look at that: the next to give way looks around. What
	 * has been counted stays. */
	s->counted -= s->budget;
	s->budget = 0;
}

int weft__remove(struct scheduler *s, struct weft_task *t)
{
	if (t == peek(s->current))
		return -EBUSY;
	if (peek(t->state) == WEFT_RUNNABLE) {
		weft__queue_remove(s, t);
		poke(t->state, WEFT_PAUSED);
	}
	return check_state(t);
}
