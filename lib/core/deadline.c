/* SPDX-License-Identifier: MIT */
/*
 * Deadline scopes: a time limit for all blocking calls between a begin and its end.
 *
 * A scope has one timer, armed when it begins; the calls inside arm nothing. The
 * tasklet carries ATTENTION_SCOPED, so its calls take their careful paths, and all
 * of these ask weft__interruption() anyway, which looks at the clock. So a deadline
 * counts from its moment on, whether or not the timer has been looked at since. The
 * timer is for tasklets that wait: it calls their wait off as a kill does, on the
 * owner's thread.
 *
 * The record of a scope belongs to the scheduler; it is not part of the user's
 * struct. So a scope that is never ended, because a function returned or its thread
 * ended, only goes on until an outer scope or the tasklet ends.
 *
 * Rejected: keeping the deadline in the descriptor and arming a timer in each call
 * that waits, 25 ns to arm and cancel each time.
 */
#include <stdlib.h>
#include <weft/time.h>

#include "base/world.h"
#include "core/block.h"
#include "core/deadline.h"

/* In the user's struct, beside ATTENTION_SCOPELESS: there was no memory. */
static const uintptr_t IS_SCOPELESS = 256;

struct scope {
	struct timer timer; /* first */
	struct scope *outer;
	struct weft_task *task;
	int64_t deadline;
	bool has_run_out;
};

static void note_run_out(struct scope *scope)
{
	scope->has_run_out = true;
	scope->task->attention |= ATTENTION_TIMED_OUT;
}

static void run_out(struct scheduler *s, struct timer *t)
{
	struct scope *scope = (struct scope *)t;

	note_run_out(scope);
	if (!weft__waits_deaf(scope->task))
		weft__call_off(s, scope->task);
}

void weft__look_at_scopes(struct weft_task *t)
{
	int64_t now = weft__now();

	for (struct scope *scope = t->scopes; scope; scope = scope->outer)
		if (scope->deadline <= now)
			note_run_out(scope);
}

/* Ends the innermost scope. */
static void drop_scope(struct scheduler *s, struct weft_task *t)
{
	struct scope *scope = t->scopes;

	weft__timer_cancel(&s->timers, &scope->timer);
	t->scopes = scope->outer;
	scope->outer = s->free_scopes;
	s->free_scopes = scope;
}

/* Sets what the remaining scopes say about the tasklet. */
static void renew_attention(struct weft_task *t)
{
	t->attention &= (uint8_t) ~(ATTENTION_SCOPED | ATTENTION_TIMED_OUT);
	for (struct scope *scope = t->scopes; scope; scope = scope->outer)
		t->attention |= scope->has_run_out
					? ATTENTION_SCOPED | ATTENTION_TIMED_OUT
					: ATTENTION_SCOPED;
}

void weft__drop_scopes(struct scheduler *s, struct weft_task *t)
{
	while (t->scopes)
		drop_scope(s, t);
	t->attention &= (uint8_t) ~(ATTENTION_SCOPED | ATTENTION_TIMED_OUT |
				    ATTENTION_SCOPELESS);
}

void weft__free_scopes(struct scheduler *s)
{
	while (s->free_scopes) {
		struct scope *scope = s->free_scopes;

		s->free_scopes = scope->outer;
		free(scope);
	}
}

/* Returns NULL if there is no memory for the scope or its timer. */
static struct scope *new_scope(struct scheduler *s, int64_t deadline)
{
	struct scope *scope = s->free_scopes;

	if (!scope && !(scope = malloc(sizeof *scope)))
		return NULL;
	s->free_scopes = s->free_scopes ? scope->outer : NULL;
	*scope = (struct scope){ .timer.fire = run_out,
				 .task = peek(s->current),
				 .deadline = deadline };
	/* As in run_until: a deadline before the beginning of the clock counts as
	 * that beginning. */
	if (deadline == WEFT_FOREVER ||
	    weft__timer_arm(&s->timers, &scope->timer,
			    deadline > 0 ? deadline : 0) == 0)
		return scope;
	scope->outer = s->free_scopes;
	s->free_scopes = scope;
	return NULL;
}

WEFT_API void weft_deadline_begin(struct weft_deadline *d, int64_t when)
{
	struct scheduler *s = weft__scheduler();
	struct scope *scope;
	struct weft_task *t;

	*d = (struct weft_deadline){ 0 };
	if (!s)
		return;
	t = peek(s->current);
	d->weft__before = t->attention & ATTENTION_SCOPELESS;
	scope = new_scope(s, when);
	if (!scope) {
		d->weft__scope = t->scopes;
		d->weft__before |= IS_SCOPELESS;
		t->attention |= ATTENTION_SCOPELESS;
		return;
	}
	scope->outer = t->scopes;
	t->scopes = scope;
	t->attention |= ATTENTION_SCOPED;
	d->weft__scope = scope;
}

static bool is_scope_of(const struct weft_task *t, const struct scope *scope)
{
	const struct scope *each = t->scopes;

	while (each && each != scope)
		each = each->outer;
	return each;
}

WEFT_API bool weft_deadline_end(struct weft_deadline *d)
{
	struct scheduler *s = weft__self;
	struct scope *scope = d->weft__scope; /* or the one around it */
	bool is_scopeless = d->weft__before & IS_SCOPELESS;
	struct weft_task *t;
	bool has_run_out;

	/* The scope could not even be begun. */
	if (!s || (!scope && !is_scopeless))
		return true;
	t = peek(s->current);
	REQUIRE(!scope || is_scope_of(t, scope),
		"weft_deadline_end() of a scope that this tasklet is not in");
	has_run_out = is_scopeless || scope->has_run_out ||
		      scope->deadline <= weft__now();
	while (t->scopes != scope)
		drop_scope(s, t);
	if (!is_scopeless)
		drop_scope(s, t);
	renew_attention(t);
	/* Scopes inside of this one that had no memory end with it. */
	t->attention &= (uint8_t)~ATTENTION_SCOPELESS;
	t->attention |= (uint8_t)(d->weft__before & ATTENTION_SCOPELESS);
	*d = (struct weft_deadline){ 0 };
	return has_run_out;
}
