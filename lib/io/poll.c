/* SPDX-License-Identifier: MIT */
/*
 * weft_poll(): poll(2) for any number of descriptors.
 *
 * What is ready is always said by poll(2) itself, with a timeout of 0. So the
 * errors and the revents are the kernel's, whatever the descriptors are. If nothing
 * is ready, weft submits one poll operation for each descriptor. The first
 * completion, or the timer, wakes the tasklet. The tasklet cancels the other
 * operations and collects all their completions, and then asks poll(2) again. If
 * another tasklet was faster and nothing is ready any more, it begins anew, as
 * poll(2) does inside of the kernel. (Errors are told of all the same.)
 *
 * weft_close() of a descriptor ends the wait. It also does so between the completion
 * of the descriptor's own operation and the tasklet's turn: without that, poll(2) would
 * be asked about a number that is no descriptor, or another one.
 *
 * A poll operation takes nothing from its descriptor. So nothing is lost when one
 * is cancelled or its result is not looked at.
 *
 * Between the wake and the moment when the tasklet runs, operations can be in flight
 * in its memory. If the thread ends in between and the tasklet never runs, give_up()
 * collects them, and frees what the tasklet would have freed: TASK_CALLED_OFF asks
 * for that.
 *
 * Rejected: the first completion itself cancels the others, by a timer that is due
 * at once. A thread that is about to park does not look at its timers again.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weft/io.h>
#include <weft/time.h>

#include "base/descriptor.h"
#include "base/part.h"
#include "base/world.h"
#include "core/block.h"
#include "io/io.h"

enum {
	FEW = 4, /* descriptors for which the stack has room */
	N_LISTS = 256
};

/* One descriptor's. */
struct one {
	/* first; its links are ours when it has completed */
	struct operation operation;
	struct poll_wait *wait;
	bool is_in_flight;
	bool is_told;          /* in the thread's list */
	bool has_error;        /* it has told of one */
	unsigned short events; /* what it has told of */
};

struct poll_wait {
	struct waiter waiter; /* first */
	struct timer timer;
	struct pollfd *fds;
	nfds_t n;
	struct one *ones;
	nfds_t n_descriptors; /* that are not negative */
	nfds_t n_in_flight;
	int error;          /* of an operation that failed */
	bool has_completed; /* one of the operations has */
	bool is_woken;
	bool wants_all; /* is woken by the last completion, not by the first */
	bool has_timed_out;
	int own_fd; /* to be closed at the end; -1: none */
	struct one few[FEW];
};

/* --- between the wake and the tasklet's turn --- */

/* Operations that have told of something, at which the tasklet has not looked yet: the
 * calling thread's, in lists by descriptor. NULL: there was none yet. */
static __thread struct operation **told
	__attribute__((tls_model("initial-exec")));

/* Main's frames are gone, and what the lists had of them. */
static __thread bool is_left __attribute__((tls_model("initial-exec")));

static struct operation **list_of(int fd)
{
	return &told[(unsigned)fd % N_LISTS];
}

static void note_told(struct one *one)
{
	if (!told || is_left)
		return;
	one->is_told = true;
	weft__flight_push(list_of(one->operation.fd), &one->operation);
}

static void unlink_told(struct operation *o)
{
	if (o->next)
		o->next->prev = o->prev;
	if (o->prev)
		o->prev->next = o->next;
	else
		*list_of(o->fd) = o->next;
}

static void forget_told(struct poll_wait *p)
{
	for (nfds_t i = 0; i < p->n && told && !is_left; i++) {
		if (p->ones[i].is_told)
			unlink_told(&p->ones[i].operation);
		p->ones[i].is_told = false;
	}
}

void weft__call_back_polls(int fd)
{
	if (likely(!told))
		return;
	for (struct operation *o = *list_of(fd); o; o = o->next)
		if (o->fd == fd)
			((struct one *)o)->wait->error = -ECANCELED;
}

static void end_lists(struct scheduler *s)
{
	(void)s;
	free(told);
	told = NULL;
	is_left = false;
}

static void leave_main(struct scheduler *s)
{
	end_lists(s);
	is_left = true;
}

static const struct part polls = {
	.rank = PART_POLLS,
	.leave_main = leave_main,
	.give_up = end_lists,
};

PART(polls);

/* --- waiting --- */

static void wake(struct poll_wait *p)
{
	if (p->is_woken)
		return;
	p->is_woken = true;
	p->waiter.task->flags |= TASK_CALLED_OFF;
	weft__wake_local(p->waiter.owner, p->waiter.task);
}

/* Without the extension of its sign: the upper bits mean something. */
static unsigned events_of(const struct one *one)
{
	const struct poll_wait *p = one->wait;

	return (unsigned short)p->fds[one - p->ones].events;
}

static void completed(struct operation *o, int res, unsigned flags)
{
	struct one *one = (struct one *)o;
	struct poll_wait *p = one->wait;

	if (!(flags & IORING_CQE_F_MORE)) {
		one->is_in_flight = false;
		p->n_in_flight--;
	} else if (p->wants_all || !weft__is_asked(res, events_of(one))) {
		return;
	}
	/* On this descriptor nothing will ever happen that was asked for: a device
	 * that has only events which were not. */
	if ((res == 0 || res == -EINVAL) && !p->wants_all)
		return;
	p->has_completed = true;
	if (res > 0 && res & POLLERR) {
		one->has_error = true;
		one->events = (unsigned short)res;
	}
	/* A descriptor that was closed is poll(2)'s to report. */
	if (res < 0 && res != -EBADF && !p->wants_all)
		p->error = res;
	else if (!p->wants_all && !one->is_in_flight)
		note_told(one);
	if (!p->wants_all || !p->n_in_flight)
		wake(p);
}

static void time_out(struct scheduler *s, struct timer *t)
{
	struct poll_wait *p =
		(struct poll_wait *)((char *)t -
				     offsetof(struct poll_wait, timer));

	(void)s;
	p->has_timed_out = true;
	if (!p->wants_all)
		wake(p);
}

static void cancel_all(struct scheduler *s, struct poll_wait *p)
{
	p->wants_all = true;
	for (nfds_t i = 0; i < p->n; i++)
		if (p->ones[i].is_in_flight)
			weft__engine_cancel(&s->engine, &p->ones[i].operation);
}

/* Keeps the thread for the short time that the cancellation of polls takes. */
static void collect(struct scheduler *s, struct poll_wait *p)
{
	if (!p->n_in_flight)
		return;
	cancel_all(s, p);
	weft__engine_poll(&s->engine);
	while (p->n_in_flight)
		weft__engine_sleep(&s->engine, WEFT_FOREVER);
	weft__note_runnable(s);
}

/* The last completion is the wake. */
static bool cancel(struct scheduler *s, struct waiter *w)
{
	struct poll_wait *p = (struct poll_wait *)w;

	cancel_all(s, p);
	return !p->n_in_flight;
}

static void tidy_up(struct scheduler *s, struct poll_wait *p)
{
	weft__timer_cancel(&s->timers, &p->timer);
	if (p->ones)
		forget_told(p);
	if (p->ones != p->few)
		free(p->ones);
	if (p->own_fd >= 0)
		close(p->own_fd);
}

static void give_up(struct waiter *w)
{
	collect(w->owner, (struct poll_wait *)w);
	tidy_up(w->owner, (struct poll_wait *)w);
}

static void give_back(struct waiter *w)
{
	tidy_up(w->owner, (struct poll_wait *)w);
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	snprintf(text, size, "polls %lu descriptors",
		 (unsigned long)((const struct poll_wait *)w)->n);
}

static const struct wait_kind polling = { .cancel = cancel,
					  .give_up = give_up,
					  .give_back = give_back,
					  .describe = describe };

/* A signal can interrupt even a poll(2) that does not wait. */
static int poll_now(struct pollfd *fds, nfds_t n)
{
	int rc;

	do
		rc = poll(fds, n, 0);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

static void submit(struct scheduler *s, struct poll_wait *p, nfds_t i)
{
	struct io_uring_sqe sqe = { 0 };
	struct one *one = &p->ones[i];

	*one = (struct one){ .operation.complete = completed,
			     .wait = p,
			     .is_in_flight = true };
	weft__engine_prepare_poll(&s->engine, &sqe, p->fds[i].fd,
				  events_of(one));
	p->n_in_flight++;
	weft__engine_submit(&s->engine, &sqe, &one->operation);
}

/* Room in the queue is made by handing in what is queued. So operations can complete
 * while others are still to be submitted. The tasklet still runs then, and counts as
 * woken. False if one has completed. */
static bool submit_all(struct scheduler *s, struct poll_wait *p)
{
	p->is_woken = true;
	p->has_completed = p->wants_all = false;
	for (nfds_t i = 0; i < p->n; i++) {
		p->ones[i].is_in_flight = p->ones[i].is_told = false;
		p->ones[i].has_error = false;
		if (p->fds[i].fd >= 0)
			submit(s, p, i);
	}
	return !p->has_completed;
}

/* Waits until something has happened. The result is that of weft_poll(), or 0 if
 * poll(2) must be asked. */
static int wait_once(struct scheduler *s, struct poll_wait *p)
{
	int rc = weft__interruption(p->waiter.task);

	if (rc)
		return rc;
	if (p->n_descriptors && !weft__engine_is_ready(&s->engine))
		return -ECANCELED; /* the thread ends */
	if (submit_all(s, p)) {
		p->is_woken = false;
		p->waiter.called_off = 0;
		weft__block(s, &p->waiter, true);
		p->waiter.task->flags &= (uint8_t)~TASK_CALLED_OFF;
	}
	collect(s, p);
	forget_told(p);
	return p->waiter.called_off ? weft__called_off(&p->waiter) : p->error;
}

/* Some files tell of a change once, as an error, and to whoever asks first:
 * /proc/self/mounts for one. Then the operation has asked. */
static int take_errors(struct poll_wait *p)
{
	int n = 0;

	for (nfds_t i = 0; i < p->n; i++) {
		const struct one *one = &p->ones[i];

		if (p->fds[i].fd < 0 || !one->has_error)
			continue;
		p->fds[i].revents = (short)(one->events & (events_of(one) |
							   POLLERR | POLLHUP));
		n++;
	}
	return n;
}

static int wait_for_some(struct scheduler *s, struct poll_wait *p)
{
	int rc;

	do {
		rc = wait_once(s, p);
		if (!rc)
			rc = poll_now(p->fds, p->n);
		if (!rc)
			rc = take_errors(p);
	} while (!rc && !p->has_timed_out);
	return rc;
}

static int set_timer(struct scheduler *s, struct poll_wait *p, int timeout)
{
	int64_t ns = timeout * WEFT_MILLISECOND;

	return timeout < 0 ? 0
			   : weft__timer_arm(&s->timers, &p->timer,
					     weft__now() + ns);
}

static int begin_wait(struct scheduler *s, struct poll_wait *p, int timeout)
{
	p->waiter.task = peek(s->current);
	p->waiter.owner = s;
	p->waiter.kind = &polling;
	p->timer.fire = time_out;
	p->ones = p->n <= FEW ? p->few : malloc(p->n * sizeof *p->ones);
	if (!p->ones)
		return -ENOMEM;
	for (nfds_t i = 0; i < p->n; i++) {
		p->ones[i].is_told = false;
		p->n_descriptors += p->fds[i].fd >= 0;
	}
	return set_timer(s, p, timeout);
}

static int poll_waiting(struct scheduler *s, struct pollfd *fds, nfds_t n,
			int timeout)
{
	struct poll_wait p = { .fds = fds, .n = n, .own_fd = -1 };
	int rc = weft__may_wait(s);

	/* Before there is memory, since it may give way for good. */
	if (!rc && n)
		rc = weft__get_ready(s);
	if (rc)
		return rc;
	if (!told)
		told = calloc(N_LISTS, sizeof told[0]);
	rc = told ? begin_wait(s, &p, timeout) : -ENOMEM;
	if (!rc)
		rc = wait_for_some(s, &p);
	tidy_up(s, &p);
	return rc;
}

int weft__await_and_close(struct scheduler *s, int fd)
{
	int own = weft__above_standard(fd);
	struct pollfd one = { .fd = own, .events = POLLIN };
	struct poll_wait p = { .fds = &one, .n = 1, .own_fd = own };
	int rc;

	(void)begin_wait(s, &p, -1); /* needs no memory */
	rc = wait_for_some(s, &p);
	tidy_up(s, &p);
	return rc < 0 ? rc : 0;
}

WEFT_API int weft_poll(struct pollfd *fds, nfds_t n, int timeout)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (!rc)
		rc = poll_now(fds, n);
	return rc || !timeout ? rc : poll_waiting(s, fds, n, timeout);
}
