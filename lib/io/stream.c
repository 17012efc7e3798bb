/* SPDX-License-Identifier: MIT */
/*
 * Streams: one operation, many completions.
 *
 * A stream is an operation of the engine's with a queue. Each completion goes to
 * the end of the queue and wakes the tasklet that waits in a call, if there is one.
 * The queue is looked at first, so no result depends on who waits, and when: a
 * tasklet that was killed leaves all as it is, and what it would have got is there
 * for the next call.
 *
 *	idle      nothing is in flight. So it begins, and so it is after each
 *	          completion without F_MORE, whatever the result: kernels end
 *	          multishot operations for reasons of their own, and name them
 *	          differently.
 *	armed     in flight; only a call that finds the queue empty arms. So an
 *	          error is given once, and the next call tries again.
 *
 * If more is unread than a stream may have, its operation is cancelled, and
 * armed again when the queue is empty.
 *
 * Whether the kernel knows an operation as multishot shows when it is tried: it says
 * -EINVAL, which can also be the truth about the descriptor. Then the operation is
 * made as one-shot, and if that fails in another way or succeeds, no other
 * stream of the process tries.
 *
 * -EAGAIN of an operation that waits comes from a worker thread of the kernel, see
 * await.c. Then the stream polls its descriptor first.
 *
 * All streams of a thread are in a table by descriptor, so that weft_close() finds
 * those that are idle too: they must not begin anything on the next file with the
 * number. Closing such a stream takes the same time whatever other streams there are
 * on other descriptors, up to some thousands.
 *
 * Everything here is done by the thread of the stream. The exception is the close
 * of a stream whose thread has ended.
 */
#include "io/stream.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/time.h>

#include "base/part.h"
#include "core/block.h"
#include "io/io.h"

/* A tasklet in a call that takes from a stream; on its stack. */
struct reader {
	struct waiter waiter;       /* first */
	struct weft_stream *stream; /* NULL: it was closed meanwhile */
	bool is_waiting;
};

enum { N_LISTS = 256 };

/* The streams of the calling thread, by descriptor; NULL: it has had none. */
static __thread struct weft_stream **table
	__attribute__((tls_model("initial-exec")));

/* What trials have shown. Any thread. */
enum { UNKNOWN, WORKS, IS_LACKING };
static _Atomic(int) trials[N_MULTISHOTS];

/* --- the table --- */

static struct weft_stream **list_of(int fd)
{
	return &table[(unsigned)fd % N_LISTS];
}

static void link_to(struct weft_stream **place, struct weft_stream *st)
{
	st->other = *place;
	if (st->other)
		st->other->place = &st->other;
	st->place = place;
	*place = st;
}

static void unlink_stream(struct weft_stream *st)
{
	*st->place = st->other;
	if (st->other)
		st->other->place = st->place;
}

/* --- waiting --- */

/* After each change of who waits, and for what. What completes in a stream that nobody
 * reads wakes nobody: so it is no reason to hope, if all tasklets wait for something
 * else (core/deadlock.c). */
static void note_hearing(struct weft_stream *st)
{
	bool is_unheard = st->is_armed && !st->reader;
	struct scheduler *s = peek(st->owner);

	if (is_unheard == st->is_unheard)
		return;
	st->is_unheard = is_unheard;
	if (is_unheard)
		s->n_unheard++;
	else
		s->n_unheard--;
}

static void set_reader(struct weft_stream *st, struct reader *r)
{
	st->reader = r;
	note_hearing(st);
}

static void leave(struct weft_stream *st, const struct reader *r)
{
	if (st->reader != r)
		return;
	set_reader(st, NULL);
	if (st->kind->leave)
		st->kind->leave(st);
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	(void)s;
	((struct reader *)w)->is_waiting = false;
	return true;
}

static void give_up(struct waiter *w)
{
	struct reader *r = (struct reader *)w;

	if (r->stream)
		leave(r->stream, r);
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for a stream");
}

static const struct wait_kind reading = { .cancel = call_off,
					  .give_up = give_up,
					  .give_back = give_up,
					  .describe = describe };

void weft__stream_wake(struct weft_stream *st)
{
	struct reader *r = st->reader;

	if (!r || !r->is_waiting)
		return;
	r->is_waiting = false;
	weft__wake_local(r->waiter.owner, r->waiter.task);
}

static void block(struct scheduler *s, struct reader *r)
{
	r->waiter = (struct waiter){ .task = peek(s->current),
				     .owner = s,
				     .kind = &reading };
	r->is_waiting = true;
	weft__block(s, &r->waiter, true);
}

static void wait_deaf(struct scheduler *s, struct weft_stream *st)
{
	struct reader r = { .stream = st };
	bool was_deaf = weft__deafen(peek(s->current));

	set_reader(st, &r);
	block(s, &r);
	set_reader(st, NULL);
	weft__undeafen(peek(s->current), was_deaf);
}

/* Most operations end within the one system call of the poll. */
static void end_operation(struct scheduler *s, struct weft_stream *st)
{
	weft__engine_cancel(&s->engine, &st->operation);
	weft__engine_poll(&s->engine);
	while (st->is_armed) {
		if (weft__may_wait(s))
			weft__engine_sleep(&s->engine, WEFT_FOREVER);
		else
			wait_deaf(s, st);
	}
	weft__note_runnable(s);
}

/* Under a trap: whether there is something to do without waiting. What a helper has
 * at hand comes now, or the operation ends and is begun again. One that the user has
 * described is not begun twice. */
static int look_once(struct scheduler *s, struct weft_stream *st, int rc)
{
	bool waits_for_engine = st->is_armed;

	weft__engine_poll(&s->engine);
	if (unlikely(st->is_armed && !st->first &&
		     st->kind->multishot != NO_MULTISHOT &&
		     weft__engine_is_helped(&s->engine, &st->operation)))
		end_operation(s, st);
	weft__note_runnable(s);
	return st->first || (waits_for_engine && !st->is_armed) ? 0 : rc;
}

/* Waits for a completion: 0, or what the call returns. */
static int wait_for_one(struct scheduler *s, struct weft_stream *st,
			struct reader *r)
{
	int rc = weft__may_wait(s);

	if (rc)
		return look_once(s, st, rc);
	block(s, r);
	rc = weft__outcome(&r->waiter);
	if (rc || !r->stream)
		return rc ? rc : -ECANCELED;
	/* If the completion has brought nothing, the call waits again: it may have
	 * been interrupted after that completion. */
	return st->first ? 0 : weft__interruption(peek(s->current));
}

/* --- completions --- */

void weft__stream_push(struct weft_stream *st, struct item *item, int res,
		       unsigned flags)
{
	*item = (struct item){ .res = res, .flags = flags };
	*st->last = item;
	st->last = &item->next;
	st->n_unread++;
}

void weft__stream_push_own(struct weft_stream *st, int res, unsigned flags)
{
	if (st->own_is_used)
		return;
	st->own_is_used = true;
	weft__stream_push(st, &st->own, res, flags);
}

struct item *weft__stream_pop(struct weft_stream *st)
{
	struct item *item = st->first;

	if (!item)
		return NULL;
	st->first = item->next;
	if (!st->first)
		st->last = &st->first;
	st->n_unread--;
	return item;
}

void weft__stream_free_item(struct weft_stream *st, struct item *item)
{
	if (item == &st->own)
		st->own_is_used = false;
	else
		free(item);
}

void weft__stream_hold_back(struct weft_stream *st)
{
	if (st->is_armed)
		weft__engine_cancel_soon(&peek(st->owner)->engine,
					 &st->operation);
}

static bool is_to_be_tried_again(struct weft_stream *st, int res)
{
	switch (res) {
	case -EINTR:
		count(peek(st->owner)->engine.n_operation_retries);
		return true;
	case -EAGAIN:
		st->is_poll_first = true;
		return true;
	case -EINVAL:
		if (!st->is_multishot)
			return false;
		st->is_refused = peek(trials[st->kind->multishot]) == UNKNOWN;
		return st->is_refused;
	case -ECANCELED:
		/* or no worker thread was found */
		return st->operation.is_called_back || !weft__user_cancels();
	case -ENOENT:
		return st->operation.is_called_back;
	default:
		return false;
	}
}

/* If the operation was refused as multishot, and fails in the same way as one-shot,
 * that was not the reason. */
static void note_trial(struct weft_stream *st, int res, unsigned flags)
{
	_Atomic(int) *trial = &trials[st->kind->multishot];

	if (flags & IORING_CQE_F_MORE && peek(*trial) == UNKNOWN)
		poke(*trial, WORKS);
	else if (st->is_refused && res >= 0)
		poke(*trial, IS_LACKING);
	if (st->is_refused && res == -EINVAL)
		st->is_refused = false;
}

bool weft__stream_goes_on(struct weft_stream *st, int res, unsigned flags)
{
	if (is_to_be_tried_again(st, res))
		return true;
	note_trial(st, res, flags);
	return false;
}

static void complete(struct operation *o, int res, unsigned flags)
{
	struct weft_stream *st = (struct weft_stream *)o;

	st->is_armed = flags & IORING_CQE_F_MORE;
	if (st->is_polling) {
		/* If the poll has failed, what comes after it will say why. */
		st->is_polling = st->is_poll_first = false;
		st->is_ready = true;
	} else {
		st->kind->keep(st, res, flags);
	}
	note_hearing(st);
	weft__stream_wake(st);
}

/* --- calls --- */

struct weft_stream *weft__stream_new(const struct stream_kind *kind, int fd)
{
	struct scheduler *s = weft__scheduler();
	struct weft_stream *st;

	if (!s)
		return NULL;
	if (weft__in_callback(s)) {
		errno = EPERM;
		return NULL;
	}
	if (!table)
		table = calloc(N_LISTS, sizeof table[0]);
	st = table ? calloc(1, sizeof *st) : NULL;
	if (!st) {
		errno = ENOMEM;
		return NULL;
	}
	st->operation.complete = complete;
	st->kind = kind;
	st->fd = fd;
	st->last = &st->first;
	poke(st->owner, s);
	link_to(list_of(fd), st);
	return st;
}

int weft__stream_enter(const struct weft_stream *st, struct scheduler **s)
{
	if (!st)
		return -EINVAL;
	*s = weft__scheduler();
	if (!*s)
		return -errno;
	/* relaxed: another thread's stream is this thread's at no time */
	if (peek(((struct weft_stream *)(uintptr_t)st)->owner) != *s)
		return -EPERM;
	return weft__enter(*s);
}

int weft__stream_arm(struct scheduler *s, struct weft_stream *st, bool is_poll)
{
	struct io_uring_sqe sqe = { 0 };
	int rc = weft__get_ready(s);

	if (rc)
		return rc;
	st->is_polling = is_poll;
	st->is_multishot = !is_poll && !st->is_refused && !st->is_local &&
			   st->kind->multishot != NO_MULTISHOT &&
			   peek(trials[st->kind->multishot]) != IS_LACKING;
	if (is_poll)
		io_uring_prep_poll_add(&sqe, st->fd, POLLIN);
	else
		st->kind->prepare(st, &sqe, st->is_multishot);
	st->is_armed = true;
	note_hearing(st);
	weft__engine_submit(&s->engine, &sqe, &st->operation);
	return 0;
}

static enum step choose(struct weft_stream *st)
{
	if (st->kind->choose)
		return st->kind->choose(st);
	return st->is_poll_first ? STEP_POLL : STEP_ARM;
}

/* 0: something may come. */
static int begin(struct scheduler *s, struct weft_stream *st, enum step step)
{
	if (step == STEP_ARM || step == STEP_POLL)
		return weft__stream_arm(s, st, step == STEP_POLL);
	return 0;
}

static int fetch(struct scheduler *s, struct weft_stream *st, struct reader *r,
		 struct item **item)
{
	while (!(*item = weft__stream_pop(st))) {
		enum step step = STEP_WAIT;
		int rc = 0;

		if (!st->is_armed) {
			if (st->has_ended)
				return 0;
			if (st->is_cut)
				return -ECANCELED;
			step = choose(st);
			rc = begin(s, st, step);
		}
		if (!rc && step != STEP_LOOK)
			rc = wait_for_one(s, st, r);
		if (rc)
			return rc;
	}
	return 1;
}

int weft__stream_take(struct scheduler *s, struct weft_stream *st,
		      struct item **item)
{
	struct reader r = { .stream = st };
	int rc;

	if (unlikely(st->reader))
		return -EBUSY;
	if (likely(st->first)) {
		*item = weft__stream_pop(st);
		return 1;
	}
	set_reader(st, &r);
	rc = fetch(s, st, &r, item);
	if (r.stream)
		leave(st, &r);
	return rc;
}

WEFT_API ssize_t weft_stream_next(weft_stream *st, void **data)
{
	struct scheduler *s;
	int rc = weft__stream_enter(st, &s);

	if (rc)
		return rc;
	return st->kind->next ? st->kind->next(s, st, data) : -EINVAL;
}

/* --- closing --- */

static void drop_all(struct weft_stream *st)
{
	struct item *item;

	while ((item = weft__stream_pop(st)))
		st->kind->drop(st, item);
}

/* A tasklet that waits for the stream must not touch it any more. */
static void send_away(struct weft_stream *st)
{
	struct reader *r = st->reader;

	if (!r)
		return;
	r->stream = NULL;
	weft__stream_wake(st);
	leave(st, r);
}

WEFT_API void weft_stream_close(weft_stream *st)
{
	struct scheduler *owner;

	if (!st)
		return;
	owner = peek(st->owner);
	REQUIRE(!owner || owner == weft__self,
		"a stream is closed by another thread than its own");
	if (owner) {
		send_away(st);
		/* Nobody gets in its way: it is in the table still, for a close
		 * of its descriptor, but nobody else may use it now. */
		if (st->is_armed)
			end_operation(owner, st);
		unlink_stream(st);
	}
	drop_all(st);
	if (st->kind->end)
		st->kind->end(st);
	free(st);
}

static void cut(struct weft_stream *st)
{
	st->is_cut = true;
	if (!st->is_armed)
		weft__stream_wake(st);
}

void weft__cut_streams(int fd)
{
	if (likely(!table))
		return;
	for (struct weft_stream *st = *list_of(fd); st; st = st->other)
		if (st->fd == fd)
			cut(st);
}

/* --- fork, and the end of a thread --- */

static void each_stream(void (*what)(struct weft_stream *st))
{
	for (int i = 0; table && i < N_LISTS; i++)
		for (struct weft_stream *st = table[i]; st; st = st->other)
			what(st);
}

/* In the child the operations have ended as cancelled. */
static void renew(struct scheduler *self)
{
	if (self)
		each_stream(cut);
}

static void forget_reader(struct weft_stream *st)
{
	set_reader(st, NULL);
}

/* No tasklet of the thread runs any more, and the frames of main are gone. */
static void leave_main(struct scheduler *s)
{
	(void)s;
	each_stream(forget_reader);
}

static void stop(struct weft_stream *st)
{
	struct scheduler *s = peek(st->owner);

	if (st->is_armed)
		weft__engine_cancel(&s->engine, &st->operation);
}

/* The kernel lets go of everything before the ring is closed. */
static void see_stopped(struct weft_stream *st)
{
	struct scheduler *s = peek(st->owner);

	while (st->is_armed)
		weft__engine_sleep(&s->engine, WEFT_FOREVER);
}

static void disown(struct weft_stream *st)
{
	st->is_cut = true;
	/* relaxed: who closes it then has joined the thread */
	poke(st->owner, NULL);
}

static void end_streams(struct scheduler *s)
{
	leave_main(s);
	each_stream(stop);
	each_stream(see_stopped);
	each_stream(disown);
	free(table);
	table = NULL;
}

static const struct part streaming = {
	.rank = PART_STREAMS,
	.renew = renew,
	.leave_main = leave_main,
	.give_up = end_streams,
};

PART(streaming);
