/* SPDX-License-Identifier: MIT */
/*
 * Streams without buffers: connections, readiness, and the completions of any
 * operation.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft/uring.h>

#include "io/io.h"
#include "io/stream.h"

/* Notes a completion, in memory of its own if there is any. */
static bool note(struct weft_stream *st, int res, unsigned flags)
{
	struct item *item = malloc(sizeof *item);

	if (!item)
		return false;
	weft__stream_push(st, item, res, flags);
	return true;
}

/* --- connections --- */

/* So many connections may wait in a stream before no more are accepted. On a Unix
 * socket the operation is one-shot: a multishot one misses a shutdown (Linux 6.18). */
enum { MOST_UNREAD = 64 };

static void prepare_accept(struct weft_stream *st, struct io_uring_sqe *sqe,
			   bool is_multishot)
{
	if (is_multishot)
		io_uring_prep_multishot_accept(sqe, st->fd, NULL, NULL,
					       SOCK_CLOEXEC);
	else
		io_uring_prep_accept(sqe, st->fd, NULL, NULL, SOCK_CLOEXEC);
}

static void keep_connection(struct weft_stream *st, int res, unsigned flags)
{
	if (weft__stream_goes_on(st, res, flags))
		return;
	if (res < 0) {
		weft__stream_push_own(st, res, flags);
	} else if (!note(st, res, flags)) {
		close(res);
		weft__stream_push_own(st, -ENOMEM, flags);
	}
	if (st->n_unread >= MOST_UNREAD)
		weft__stream_hold_back(st);
}

static ssize_t next_connection(struct scheduler *s, struct weft_stream *st,
			       void **data)
{
	struct item *item;
	int rc = weft__stream_take(s, st, &item);

	(void)data;
	if (rc <= 0)
		return rc;
	rc = item->res;
	weft__stream_free_item(st, item);
	return rc;
}

static void drop_connection(struct weft_stream *st, struct item *item)
{
	if (item->res >= 0)
		close(item->res);
	weft__stream_free_item(st, item);
}

static const struct stream_kind connections = {
	.prepare = prepare_accept,
	.keep = keep_connection,
	.next = next_connection,
	.drop = drop_connection,
	.multishot = MULTISHOT_ACCEPT,
};

WEFT_API weft_stream *weft_accept_stream(int fd)
{
	struct weft_stream *st = weft__stream_new(&connections, fd);

	if (st)
		st->is_local = weft__is_local(fd);
	return st;
}

/* --- readiness --- */

static void prepare_poll(struct weft_stream *st, struct io_uring_sqe *sqe,
			 bool is_multishot)
{
	weft__engine_prepare_poll(&peek(st->owner)->engine, sqe, st->fd,
				  st->events);
	if (is_multishot)
		sqe->len |= IORING_POLL_ADD_MULTI;
}

/* A multishot poll tells of changes, and on a ring of POLLRDHUP unasked. What it tells
 * was true once: to a call it is a reason to look for itself. Only an error may be
 * told once: see poll.c. */
static void keep_events(struct weft_stream *st, int res, unsigned flags)
{
	if (weft__stream_goes_on(st, res, flags) || !st->reader ||
	    !weft__is_asked(res, st->events))
		return;
	if (res > 0)
		res &= (int)(st->events | POLLERR | POLLHUP | POLLNVAL);
	weft__stream_push_own(st, res, flags);
}

static void drop_events(struct weft_stream *st, struct item *item)
{
	weft__stream_free_item(st, item);
}

/* The events that hold: 0 if none does, or a negative errno. */
static int look(const struct weft_stream *st)
{
	struct pollfd p = { .fd = st->fd, .events = (short)st->events };

	if (poll(&p, 1, 0) < 0)
		return errno == EINTR ? 0 : -errno;
	return p.revents & POLLNVAL ? -EBADF : p.revents;
}

static ssize_t next_events(struct scheduler *s, struct weft_stream *st,
			   void **data)
{
	struct item *item;
	int rc;

	(void)data;
	if (st->reader)
		return -EBUSY;
	for (;;) {
		while ((item = weft__stream_pop(st)))
			drop_events(st, item);
		rc = st->is_cut ? 0 : look(st);
		if (rc)
			return rc;
		rc = weft__stream_take(s, st, &item);
		if (rc <= 0)
			return rc;
		rc = item->res;
		drop_events(st, item);
		if (rc < 0 || rc & POLLERR || st->is_cut)
			return rc;
	}
}

static const struct stream_kind readiness = {
	.prepare = prepare_poll,
	.keep = keep_events,
	.next = next_events,
	.drop = drop_events,
	.multishot = MULTISHOT_POLL,
};

WEFT_API weft_stream *weft_poll_stream(int fd, unsigned events)
{
	static const unsigned known =
		POLLIN | POLLPRI | POLLOUT | POLLERR | POLLHUP | POLLRDNORM |
		POLLRDBAND | POLLWRNORM | POLLWRBAND | POLLMSG | POLLRDHUP;
	struct weft_stream *st;

	if (events & ~known) {
		errno = EINVAL;
		return NULL;
	}
	st = weft__stream_new(&readiness, fd);
	if (st)
		st->events = events;
	return st;
}

/* --- any operation --- */

/* Whether its results are descriptors of the process. */
static bool makes_descriptors(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_ACCEPT:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_SOCKET:
		return !sqe->file_index;
	default:
		return false;
	}
}

static void forget_result(const struct weft_stream *st, int res)
{
	if (res >= 0 && makes_descriptors(&st->sqe))
		close(res);
}

static void prepare_none(struct weft_stream *st, struct io_uring_sqe *sqe,
			 bool is_multishot)
{
	(void)is_multishot;
	*sqe = st->sqe;
}

/* The last one has a place in any case. If there is no memory for another one, the
 * stream ends with that. */
static void keep_completion(struct weft_stream *st, int res, unsigned flags)
{
	if (!st->is_armed)
		st->has_ended = true;
	if (!st->own_is_used) {
		if (!st->is_armed) {
			weft__stream_push_own(st, res, flags);
			return;
		}
		if (note(st, res, flags))
			return;
		weft__stream_push_own(st, -ENOMEM, 0);
		weft__stream_hold_back(st);
	}
	forget_result(st, res);
}

static void drop_completion(struct weft_stream *st, struct item *item)
{
	forget_result(st, item->res);
	weft__stream_free_item(st, item);
}

static const struct stream_kind completions = {
	.prepare = prepare_none,
	.keep = keep_completion,
	.drop = drop_completion,
	.multishot = NO_MULTISHOT,
};

WEFT_API weft_stream *weft_await_stream(const struct io_uring_sqe *sqe)
{
	struct weft_stream *st;
	int rc;

	if (weft__is_unusable(sqe)) {
		errno = EINVAL;
		return NULL;
	}
	st = weft__stream_new(&completions, sqe->fd);
	if (!st)
		return NULL;
	st->sqe = *sqe;
	if (sqe->opcode == IORING_OP_ASYNC_CANCEL)
		weft__note_user_cancel();
	rc = weft__stream_arm(weft__self, st, false);
	if (rc) {
		weft_stream_close(st);
		errno = -rc;
		return NULL;
	}
	return st;
}

WEFT_API int weft_stream_next_cqe(weft_stream *st, struct io_uring_cqe *cqe)
{
	struct scheduler *s;
	struct item *item;
	int rc = cqe ? weft__stream_enter(st, &s) : -EINVAL;

	if (!rc && st->kind != &completions)
		rc = -EINVAL;
	if (!rc)
		rc = weft__stream_take(s, st, &item);
	if (rc <= 0)
		return rc;
	cqe->user_data = 0;
	cqe->res = item->res;
	cqe->flags = item->flags;
	weft__stream_free_item(st, item);
	return 1;
}
