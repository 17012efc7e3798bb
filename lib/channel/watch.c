/* SPDX-License-Identifier: MIT */
/*
 * Selections that watch more than channels: descriptors and moments.
 *
 * Such a selection is one of select.c whose cases are copies. There a case of a
 * descriptor or a moment is a case of no channel, which is ready if its result says
 * so. A look asks poll(2) and the clock for that, before the channels are locked. So
 * all ready cases have the same chance, and a look takes nothing from a descriptor.
 *
 * If nothing is ready, the cases of channels are linked. Then a poll of each
 * descriptor is submitted to the engine, and one timer is armed, for the earliest
 * moment. (The engine is a floor below, so nothing of lib/io is needed here.) A poll
 * that completes, and the timer, claim the selection as a peer does, by [select.1].
 *
 *	the owner's thread                      any other thread
 *	links the cases, unlocks
 *	submits the polls, arms the timer
 *	blocks
 *	  a poll completes: claim, withdraw,      a peer: claim, withdraw, pass,
 *	    wake                                    hand the owner in
 *	  the timer fires: the same
 *	  kill, deadline: claim, withdraw,
 *	    cancel the polls; the last of
 *	    them wakes
 *	cancels the polls that are left, and
 *	waits for the last completion
 *
 * Exactly one of them gets the selection, since the compare-exchange has one
 * winner, and exactly one wakes: the winner, or after a calling-off the last
 * completion. A loser does nothing. Everything but a foreign peer runs on the
 * owner's thread, one after the other. So only `chosen` needs an order between
 * threads, and the rest here is a plain variable of the owner's thread.
 *
 * A poll can complete as soon as it is submitted, while the owner is still busy:
 * then there is nobody to wake, and the owner does not block. A foreign peer can
 * claim as early as that. But its wake comes through the inbox, at which nobody
 * looks before the owner has blocked.
 *
 * The owner has left its wait as soon as the winner wakes it. The polls that are
 * left belong to a selection that is decided, and their completions do nothing but
 * count. The call returns when the last one has come: until then the kernel holds
 * the files, and a close(2) right after the call would not end them. Most often the
 * engine answers the requests to cancel at once. (tests/model/watch.pml)
 *
 * All memory is one block from malloc(), not of the stack: so the timer and the polls
 * find it even if the tasklet is given up between the claim and its next turn. Then
 * the end of the thread gets them back and frees it (core/holding.h).
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/scheduler.h>
#include <weft/time.h>

#include "base/world.h"
#include "channel/select.h"
#include "core/block.h"
#include "core/holding.h"

/* At most as many descriptors for one poll(2): RLIMIT_NOFILE limits them. */
enum { POLLED_AT_ONCE = 64 };

enum { NOT_READY = 1 }; /* the result of a case, see select.h */

/* A case of a descriptor. */
struct watched {
	struct operation operation; /* first */
	struct watch *watch;
	size_t index; /* of the case */
	bool is_in_flight;
};

enum watch_state {
	WATCH_IS_BUSY, /* the owner runs, or is to run */
	WATCH_WAITS,   /* for a claim: the winner wakes */
	WATCH_ENDS     /* the last completion wakes */
};

struct watch {
	struct selection selection; /* first */
	struct holding holding;
	struct timer timer;
	struct waiter last; /* for the end of the polls */
	enum watch_state state;
	bool is_claimed_here; /* while the owner was busy */
	bool has_moments;
	int error;                     /* why it cannot wait; 0: it can */
	const struct weft_case *cases; /* the caller's */
	size_t n_descriptors;
	size_t n_in_flight;
	struct watched *watched; /* one for each descriptor */
	struct pollfd *fds;      /* the same */
	int64_t earliest;        /* of the moments */
};

static struct watch *watch_of(const struct waiter *w)
{
	return (struct watch *)(uintptr_t)w;
}

/* --- looking --- */

static int result_of_poll(unsigned events)
{
	return events & POLLNVAL ? -EBADF : 0;
}

static int look_at_descriptors(struct watch *watch)
{
	size_t n = watch->n_descriptors;

	for (size_t i = 0; i < n; i += POLLED_AT_ONCE) {
		size_t some = n - i < POLLED_AT_ONCE ? n - i : POLLED_AT_ONCE;
		int rc;

		while ((rc = poll(watch->fds + i, some, 0)) < 0 &&
		       errno == EINTR)
			;
		if (rc < 0)
			return -errno;
	}
	for (size_t i = 0; i < n; i++) {
		unsigned events = (unsigned short)watch->fds[i].revents;
		struct weft_case *c =
			&watch->selection.cases[watch->watched[i].index];

		c->result = events ? result_of_poll(events) : NOT_READY;
	}
	return 0;
}

static bool has_come(const struct weft_case *c, int64_t now)
{
	return c->op == WEFT_AT && c->when != WEFT_FOREVER && c->when <= now;
}

static void look_at_clock(struct watch *watch)
{
	int64_t now = weft__now();

	for (size_t i = 0; i < watch->selection.n; i++)
		if (has_come(&watch->cases[i], now))
			watch->selection.cases[i].result = 0;
}

/* Opens the engine, and makes sure that the timer finds a place. */
static int get_ready(struct scheduler *s, struct watch *watch)
{
	int rc;

	if (watch->n_descriptors && !weft__engine_is_ready(&s->engine)) {
		if (weft__engine_is_refusing(&s->engine))
			return -ECANCELED;
		rc = weft__engine_open(&s->engine);
		if (rc)
			return rc;
	}
	if (!watch->has_moments)
		return 0;
	rc = weft__timer_arm(&s->timers, &watch->timer, watch->earliest);
	weft__timer_cancel(&s->timers, &watch->timer);
	return rc;
}

int weft__watch_look(struct scheduler *s, struct watch *watch, bool waits)
{
	if (watch->has_moments)
		look_at_clock(watch);
	if (waits)
		watch->error = get_ready(s, watch);
	return look_at_descriptors(watch);
}

int weft__watch_may_wait(const struct watch *watch)
{
	return watch->error;
}

/* --- claiming --- */

/* Called on the owner's thread, for a case that is ready. */
static void claim(struct watch *watch, size_t index, int result)
{
	struct selection *sel = &watch->selection;

	if (!weft__select_choose(sel, (uint32_t)index + 1)) /* [select.1] */
		return;
	sel->nodes[index].waiter.result = result;
	weft__timer_cancel(&sel->waiter.owner->timers, &watch->timer);
	weft__select_withdraw_all(sel);
	if (watch->state == WATCH_IS_BUSY) {
		watch->is_claimed_here = true;
		return;
	}
	watch->state = WATCH_IS_BUSY;
	weft__wake_local(sel->waiter.owner, sel->waiter.task);
}

static unsigned events_of(const struct watched *watched)
{
	const struct watch *watch = watched->watch;

	return (unsigned)watch->fds[watched - watch->watched].events;
}

static void polled(struct operation *o, int res, unsigned flags)
{
	struct watched *watched = (struct watched *)o;
	struct watch *watch = watched->watch;

	if (!(flags & IORING_CQE_F_MORE)) {
		watched->is_in_flight = false;
		watch->n_in_flight--;
	} else if (watch->state == WATCH_ENDS ||
		   !weft__is_asked(res, events_of(watched))) {
		return;
	}
	if (watch->state != WATCH_ENDS) {
		claim(watch, watched->index,
		      res < 0 ? res : result_of_poll((unsigned)res));
	} else if (!watch->n_in_flight) {
		watch->state = WATCH_IS_BUSY;
		weft__wake_local(watch->last.owner, watch->last.task);
	}
}

/* The earliest moment has come. Others may have come with it. */
static void moment_came(struct scheduler *s, struct timer *t)
{
	struct watch *watch =
		(struct watch *)((char *)t - offsetof(struct watch, timer));
	int64_t now = weft__now();
	uint32_t n_found = 0;
	size_t found = 0;

	(void)s;
	for (size_t i = 0; i < watch->selection.n; i++)
		if (has_come(&watch->cases[i], now) &&
		    weft__select_draws(++n_found))
			found = i;
	claim(watch, found, 0);
}

/* --- waiting --- */

static void cancel_polls(struct scheduler *s, struct watch *watch)
{
	/* The engine may take completions meanwhile. */
	for (size_t i = 0; i < watch->n_descriptors; i++)
		if (watch->watched[i].is_in_flight)
			weft__engine_cancel(&s->engine,
					    &watch->watched[i].operation);
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct watch *watch = watch_of(w);
	struct selection *sel = &watch->selection;

	if (!weft__select_choose(sel, SELECT_WITHDRAWN)) /* [select.1] */
		return false;
	weft__select_withdraw_all(sel);
	weft__timer_cancel(&s->timers, &watch->timer);
	if (!watch->n_in_flight)
		return true;
	watch->state = WATCH_ENDS;
	cancel_polls(s, watch);
	return false;
}

static bool is_claimed(const struct waiter *w)
{
	return peek(watch_of(w)->selection.chosen) != SELECT_NOTHING;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	const struct watch *watch = watch_of(w);

	snprintf(text, size, "selects from %zu cases, %zu of them descriptors",
		 watch->selection.n, watch->n_descriptors);
}

static const struct wait_kind watching = { .cancel = call_off,
					   .give_up = weft__select_give_up,
					   .is_claimed = is_claimed,
					   .describe = describe };

/* The polls were called back, and the wake is on its way. */
static bool is_too_late(struct scheduler *s, struct waiter *w)
{
	(void)s;
	(void)w;
	return false;
}

static void describe_end(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "ends a selection");
}

static const struct wait_kind ending = { .cancel = is_too_late,
					 .describe = describe_end };

static void submit_polls(struct scheduler *s, struct watch *watch)
{
	for (size_t i = 0; i < watch->n_descriptors; i++) {
		struct watched *watched = &watch->watched[i];
		struct io_uring_sqe sqe = { 0 };

		if (watch->fds[i].fd < 0)
			continue;
		/* relaxed, no pair: what is submitted in vain is cancelled */
		if (peek(watch->selection.chosen) != SELECT_NOTHING)
			return;
		weft__engine_prepare_poll(&s->engine, &sqe, watch->fds[i].fd,
					  events_of(watched));
		watched->is_in_flight = true;
		watch->n_in_flight++;
		weft__engine_submit(&s->engine, &sqe, &watched->operation);
	}
}

/* Gets back the operations whose selection has been decided. */
static void end_polls(struct scheduler *s, struct watch *watch)
{
	if (!watch->n_in_flight)
		return;
	cancel_polls(s, watch);
	weft__engine_poll(&s->engine);
	if (weft__may_wait(s)) /* a trap was set meanwhile */
		while (watch->n_in_flight)
			weft__engine_sleep(&s->engine, WEFT_FOREVER);
	if (!watch->n_in_flight) {
		weft__note_runnable(s);
		return;
	}
	watch->state = WATCH_ENDS;
	watch->last.kind = &ending;
	weft__block(s, &watch->last, true);
}

int weft__watch_wait(struct scheduler *s, struct watch *watch)
{
	struct selection *sel = &watch->selection;
	int rc;

	if (watch->has_moments) /* it has a place: see get_ready() */
		(void)weft__timer_arm(&s->timers, &watch->timer,
				      watch->earliest);
	submit_polls(s, watch);
	if (!watch->is_claimed_here) {
		watch->state = WATCH_WAITS;
		weft__block(s, &sel->waiter, true);
		watch->state = WATCH_IS_BUSY;
	}
	weft__timer_cancel(&s->timers, &watch->timer);
	end_polls(s, watch);
	/* It was called off while there were polls. */
	if (peek(sel->chosen) == SELECT_WITHDRAWN && !sel->waiter.called_off) {
		rc = weft__interruption(sel->waiter.task);
		weft__select_give_up(&sel->waiter);
		return rc ? rc : -ECANCELED;
	}
	return weft__select_take_result(sel);
}

/* --- the call --- */

static bool is_of_channel(const struct weft_case *c)
{
	return c->op == WEFT_SEND || c->op == WEFT_RECEIVE;
}

static void watch_descriptor(struct watch *watch, size_t index)
{
	const struct weft_case *c = &watch->cases[index];
	size_t i = watch->n_descriptors++;

	watch->fds[i] = (struct pollfd){
		.fd = c->fd, .events = c->op == WEFT_READABLE ? POLLIN : POLLOUT
	};
	watch->watched[i] = (struct watched){ .operation.complete = polled,
					      .watch = watch,
					      .index = index };
}

/* A moment before the beginning of the clock counts as that beginning. */
static void watch_moment(struct watch *watch, int64_t when)
{
	if (when == WEFT_FOREVER)
		return;
	if (!watch->has_moments || when < watch->earliest)
		watch->earliest = when > 0 ? when : 0;
	watch->has_moments = true;
}

static void watch_all(struct watch *watch, struct weft_case *copies)
{
	for (size_t i = 0; i < watch->selection.n; i++) {
		const struct weft_case *c = &watch->cases[i];

		copies[i] = (struct weft_case){ .op = WEFT_RECEIVE,
						.result = NOT_READY };
		if (is_of_channel(c)) {
			copies[i].channel = c->channel;
			copies[i].op = c->op;
			copies[i].element = c->element;
		} else if (c->op == WEFT_AT) {
			watch_moment(watch, c->when);
		} else {
			watch_descriptor(watch, i);
		}
	}
}

/* Its tasklet has been given up, and the selection is decided. */
static void release(struct scheduler *s, struct holding *h)
{
	struct watch *watch =
		(struct watch *)((char *)h - offsetof(struct watch, holding));

	weft__timer_cancel(&s->timers, &watch->timer);
	watch->state = WATCH_IS_BUSY;
	cancel_polls(s, watch);
	while (watch->n_in_flight)
		weft__engine_sleep(&s->engine, WEFT_FOREVER);
	weft__select_give_up(&watch->selection.waiter);
	weft__let_go(h);
	free(watch);
}

/* Lays everything out in one block of memory; NULL if there is none. */
static struct watch *new_watch(struct scheduler *s, struct weft_case *cases,
			       size_t n)
{
	struct weft_case *copies;
	struct watch *watch;
	size_t n_descriptors = 0;

	for (size_t i = 0; i < n; i++)
		n_descriptors += cases[i].op == WEFT_READABLE ||
				 cases[i].op == WEFT_WRITABLE;
	watch = malloc(sizeof *watch +
		       n * (sizeof(struct select_case) + sizeof *copies +
			    sizeof(struct weft_channel *)) +
		       n_descriptors * (sizeof(struct watched) +
					sizeof(struct pollfd)));
	if (!watch)
		return NULL;
	*watch = (struct watch){ .timer.fire = moment_came,
				 .last = { .task = peek(s->current),
					   .owner = s },
				 .cases = cases };
	watch->watched = (struct watched *)(watch + 1);
	watch->selection.nodes =
		(struct select_case *)(watch->watched + n_descriptors);
	copies = (struct weft_case *)(watch->selection.nodes + n);
	watch->selection.locked = (struct weft_channel **)(copies + n);
	watch->fds = (struct pollfd *)(watch->selection.locked + n);
	weft__select_begin(&watch->selection, s, copies, n);
	watch->selection.waiter.kind = &watching;
	watch_all(watch, copies);
	watch->holding.release = release;
	weft__hold(s, &watch->holding);
	return watch;
}

int weft__select_with_watch(struct weft_case *cases, size_t n, unsigned flags)
{
	struct scheduler *s = weft__scheduler();
	bool waits = !(flags & WEFT_NONBLOCK);
	struct watch *watch;
	int rc;

	if (!s)
		return -errno;
	rc = waits ? weft__enter(s) : 0;
	if (rc)
		return rc;
	watch = new_watch(s, cases, n);
	if (!watch)
		return -ENOMEM;
	rc = weft__select_watching(s, &watch->selection, watch, waits);
	if (rc >= 0)
		cases[rc].result = watch->selection.cases[rc].result;
	weft__let_go(&watch->holding);
	free(watch);
	/* At its end the thread begins nothing any more. A tasklet that tries again
	 * and again must not keep it. */
	if (rc == -ECANCELED && weft__engine_is_refusing(&s->engine))
		(void)weft_schedule();
	weft__note_runnable(s);
	return rc;
}
