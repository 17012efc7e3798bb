/* SPDX-License-Identifier: MIT */
/*
 * Which engine a thread has, and what is the same with both.
 *
 * WEFT_ENGINE=poll makes no system call of io_uring's at all: a sandbox may kill
 * the process for one. With `auto` a thread asks for a ring. If it cannot have
 * one, whatever the reason, its I/O goes to the poll engine from then on. A
 * thread that only sleeps needs no engine: it sleeps in its futex then.
 *
 * A thread whose weft_fd() is in another loop keeps the engine that it had then,
 * since the two are watched in different ways.
 */
#include "engine/engine.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "base/debug.h"
#include "base/environment.h"

enum {
	/* That many operations in flight on one descriptor do not keep the
	 * kernel's threads from other work, even if each comes to occupy
	 * one. */
	CROWD = 8
};

/* --- settings --- */

static const char *const engine_names[N_ENGINE_POLICIES] = {
	[ENGINE_AUTO] = "auto",
	[ENGINE_URING] = "uring",
	[ENGINE_POLL] = "poll",
};

static const char *const wake_names[N_WAKE_POLICIES] = {
	[WAKE_AUTO] = "auto",
	[WAKE_FUTEX] = "futex",
	[WAKE_MSG_RING] = "msg_ring",
	[WAKE_EVENTFD] = "eventfd",
	[WAKE_MSG_RING_SQE] = "msg_ring_sqe",
};

static enum engine_policy engine_policy;
static enum wake_policy wake_policy;

enum engine_policy weft__engine_policy(void)
{
	return engine_policy;
}

enum wake_policy weft__wake_policy(void)
{
	return wake_policy;
}

void weft__engine_read_environment(void)
{
	engine_policy = (enum engine_policy)weft__environment_choice(
		"WEFT_ENGINE", engine_names, N_ENGINE_POLICIES, ENGINE_AUTO);
	wake_policy = (enum wake_policy)weft__environment_choice(
		"WEFT_WAKE", wake_names, N_WAKE_POLICIES, WAKE_AUTO);
}

/* --- opening and closing --- */

void weft__engine_init(struct engine *e)
{
	*e = (struct engine){ .ring_fd = -1,
			      .eventfd = -1,
			      .signal_fd = -1,
			      .poller.epoll_fd = -1 };
}

static void note_open(struct engine *e)
{
	e->is_open = true;
	e->is_ready = !e->is_refusing;
}

static int open_uring(struct engine *e)
{
	int rc = weft__uring_open(e);

	e->refusal = e->error = rc;
	if (rc)
		return rc;
	note_open(e);
	if (e->signal_fd >= 0)
		weft__uring_signal(e, e->signal_fd);
	return 0;
}

static int open_poll(struct engine *e)
{
	e->error = weft__poller_open(e);
	if (!e->error) {
		e->is_poll = true;
		note_open(e);
	}
	return e->error;
}

int weft__engine_open(struct engine *e)
{
	if (likely(e->is_open))
		return 0;
	if (engine_policy == ENGINE_POLL || e->is_poll)
		return open_poll(e);
	if (!open_uring(e) || engine_policy == ENGINE_URING ||
	    e->signal_fd >= 0)
		return e->error;
	return open_poll(e);
}

/* Opens a ring for a thread that needs no more than that. It is tried once. */
bool weft__engine_has_ring(struct engine *e)
{
	if (e->is_open)
		return !e->is_poll;
	return engine_policy != ENGINE_POLL && !e->is_poll && !e->refusal &&
	       !open_uring(e);
}

bool weft__engine_is_poll(struct engine *e)
{
	if (engine_policy != ENGINE_AUTO)
		return engine_policy == ENGINE_POLL;
	return e->is_poll || (!weft__engine_has_ring(e) && e->refusal);
}

void weft__engine_close(struct engine *e)
{
	if (e->is_open) {
		if (e->is_poll)
			weft__poller_close(e);
		else
			weft__uring_close(e);
		weft__flight_free(&e->flight);
	}
	weft__engine_init(e);
}

void weft__engine_refuse(struct engine *e, bool refuse)
{
	e->is_refusing = refuse;
	e->is_ready = e->is_open && !refuse;
}

/* --- another event loop --- */

int weft__engine_watch(struct engine *e, int event_fd)
{
	int fd = event_fd;

	if (engine_policy != ENGINE_URING) {
		int rc = weft__engine_open(e);

		if (rc)
			return rc;
		/* A ring that was opened has tried its doorbell. */
		weft__engine_poll(e);
	}
	if (e->is_poll)
		fd = weft__poller_watch_with(e, event_fd);
	else if (e->is_open)
		weft__uring_signal(e, event_fd);
	/* If the engine is opened later, or again, it looks at this. */
	if (fd >= 0)
		e->signal_fd = fd;
	return fd;
}

int weft__engine_renew_watch(struct engine *e, int event_fd)
{
	int fd, rc;

	if (!e->is_poll)
		return 0;
	fd = weft__poller_watch_with(e, event_fd);
	if (fd < 0)
		return fd;
	rc = dup3(fd, e->signal_fd, O_CLOEXEC) < 0 ? -errno : 0;
	close(fd);
	return rc;
}

/* --- fork --- */

static void close_of(_Atomic(int) *descriptor)
{
	if (peek(*descriptor) >= 0)
		close(peek(*descriptor));
	poke(*descriptor, -1);
}

void weft__engine_disown(struct engine *e)
{
	close_of(&e->ring_fd);
	close_of(&e->eventfd);
	close_of(&e->poller.epoll_fd);
}

void weft__engine_renew(struct engine *e)
{
	if (!e->is_open)
		return;
	weft__engine_disown(e);
	/* The operations are the parent's: here they end as cancelled. */
	weft__flight_end_all(&e->flight);
	if (e->is_poll)
		weft__poller_renew(e);
	else
		weft__uring_renew(e);
	e->is_open = e->is_ready = false;
}

/* --- operations --- */

void weft__engine_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o)
{
	if (unlikely(e->is_poll))
		weft__poller_submit(e, sqe, o);
	else
		weft__uring_submit(e, sqe, o);
}

void weft__engine_cancel(struct engine *e, struct operation *o)
{
	if (o->is_called_back)
		return;
	/* First, since it may complete while room is made in the queue. Then
	 * the request finds nothing. */
	weft__flight_call_back(&e->flight, o);
	if (e->is_poll)
		weft__poller_cancel(e, o);
	else if (!o->is_ending)
		weft__uring_cancel(e, o);
}

/* On a ring it joins those that are asked for again. The poll engine can do it at
 * once. */
void weft__engine_prepare_poll(const struct engine *e, struct io_uring_sqe *sqe,
			       int fd, unsigned events)
{
	bool reads = events & (POLLIN | POLLRDNORM);

	if (!e->is_poll && events & POLLPRI && !reads)
		events |= POLLRDBAND;
	io_uring_prep_poll_add(sqe, fd, events);
	if (!e->is_poll && !reads && !(events & POLLRDHUP) &&
	    weft__uring_has_multishot_polls(e))
		sqe->len |= IORING_POLL_ADD_MULTI;
}

void weft__engine_cancel_soon(struct engine *e, struct operation *o)
{
	if (e->is_poll) {
		weft__engine_cancel(e, o);
	} else if (!o->is_called_back) {
		weft__flight_call_back(&e->flight, o);
		e->uring.missed_one = true;
	}
}

void weft__engine_cancel_fd(struct engine *e, int fd)
{
	struct operation *o;

	while ((o = weft__flight_find(&e->flight, fd)))
		weft__engine_cancel(e, o);
}

void weft__engine_cancel_all(struct engine *e)
{
	struct operation *o;
	unsigned from = 0;

	while ((o = weft__flight_any(&e->flight, &from)))
		weft__engine_cancel(e, o);
}

bool weft__engine_is_busy(const struct engine *e, int fd)
{
	return fd >= 0 && weft__flight_find(&e->flight, fd);
}

bool weft__engine_is_crowded(const struct engine *e, int fd)
{
	return !e->is_poll && fd >= 0 &&
	       weft__flight_has(&e->flight, fd, CROWD);
}

void weft__engine_expect_stuck(struct engine *e, enum worker kind, int by)
{
	if (by > 0)
		(void)weft__engine_open(e);
	/* Helpers of the poll engine that may wait for ever are a crew of their
	 * own. */
	if (!e->is_poll)
		weft__uring_expect_stuck(e, kind, by);
}

int weft__engine_add_buffers(struct engine *e, struct io_uring_buf_reg *reg)
{
	int rc = weft__engine_open(e);

	if (rc)
		return rc;
	return e->is_poll ? weft__poller_add_buffers(e, reg)
			  : io_uring_register_buf_ring(&e->uring.ring, reg, 0);
}

int weft__engine_remove_buffers(struct engine *e, int group)
{
	if (!e->is_open)
		return -ENOENT;
	return e->is_poll ? weft__poller_remove_buffers(e, (unsigned)group)
			  : io_uring_unregister_buf_ring(&e->uring.ring, group);
}

/* --- the doorbell --- */

/* Whether threads are to sleep in their engines even if nothing is in flight. */
static bool prefers_engine(void)
{
	return wake_policy != WAKE_AUTO && wake_policy != WAKE_FUTEX;
}

enum doorbell weft__engine_prepare_sleep(struct engine *e)
{
	if (weft__engine_has_ring(e))
		return weft__uring_prepare_sleep(e);
	if (!e->is_open && prefers_engine() && !e->error)
		(void)weft__engine_open(e);
	if (!e->is_open)
		return DOORBELL_NONE;
	/* What has completed may make tasklets runnable, before the sleep. */
	weft__poller_take(e);
	return DOORBELL_EVENTFD;
}
