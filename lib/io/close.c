/* SPDX-License-Identifier: MIT */
/*
 * weft_close(): it always closes.
 *
 * First it ends what helpers do, or are to do, with the file by its number
 * (position.c). Then it cancels what this thread has in flight on the number,
 * and hands the requests in. No other tasklet runs before the number is closed,
 * so nothing can be begun on it in between.
 *
 * close(2) itself can keep its caller waiting. How that is avoided depends on
 * the kind of file:
 *
 *	sockets that linger (SO_LINGER), terminals and other devices: the
 *	    wait comes when the last descriptor goes. The number is closed at
 *	    once, and a helper thread (engine/pool.c) closes a private
 *	    duplicate and waits.
 *	regular files and directories: the wait comes with each descriptor,
 *	    where the file system writes back what it has (NFS, FUSE). The
 *	    ring lets a worker thread of the kernel do that. Such a number can
 *	    be busy until then: that does no harm, since nobody waits for
 *	    anything on a regular file.
 *	all others: nothing waits. They are closed at once, by a system call
 *	    that costs less than a switch.
 *
 * If there is no ring, no helper or no descriptor for a duplicate, if a trap is set,
 * or if the thread ends and takes up nothing new, the thread waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <weft/io.h>

#include "core/block.h"
#include "io/io.h"
#include "io/offload.h"
#include "io/position.h"
#include "io/stream.h"

enum way { AT_ONCE, BY_RING, BY_HELPER };

#ifdef WEFT__TSAN
/* ThreadSanitizer must see each close(2), or it takes the next use of the number in
 * another thread for a race. */
static const enum way WAY_OF_FILES = AT_ONCE;
#else
static const enum way WAY_OF_FILES = BY_RING;
#endif

enum { MAJOR_OF_MEMORY = 1 }; /* /dev/null and the like */

static enum way choose_way(int fd)
{
	struct linger linger;
	socklen_t size = sizeof linger;
	struct stat st;

	if (getsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, &size) == 0)
		return linger.l_onoff && linger.l_linger ? BY_HELPER : AT_ONCE;
	if (errno != ENOTSOCK || fstat(fd, &st))
		return AT_ONCE;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG:
	case S_IFDIR:
	case S_IFBLK:
		return WAY_OF_FILES;
	case S_IFCHR:
		return major(st.st_rdev) == MAJOR_OF_MEMORY ? AT_ONCE
							    : BY_HELPER;
	default:
		return AT_ONCE;
	}
}

/* Linux has closed the descriptor even if close(2) says that it was
 * interrupted. What is not certain then is that all has been written back. */
static int close_at_once(int fd)
{
	if (!close(fd))
		return 0;
	return errno == EINTR ? -EIO : -errno;
}

static int close_by_ring(struct scheduler *s, int fd)
{
	struct io_uring_sqe sqe = { 0 };
	uint32_t flags;
	int res;

	io_uring_prep_close(&sqe, fd);
	/* Cancelled, at the end of the thread or in a child of fork(): the
	 * descriptor is not closed. */
	if (weft__await_operation(s, &sqe, &res, &flags) || res == -ECANCELED)
		return close_at_once(fd);
	return res == -EINTR ? -EIO : res;
}

struct late_close {
	struct errand errand; /* first */
	int fd;
	bool is_done;
};

static int close_late(void *arg)
{
	struct late_close *c = arg;

	c->is_done = true;
	return close_at_once(c->fd);
}

static void close_given_up(struct errand *e)
{
	(void)close_at_once(((struct late_close *)e)->fd);
}

static int close_by_helper(struct scheduler *s, int fd)
{
	struct late_close c = {
		.errand = { .job = { .crew = CREW_FILES,
				     .fn = close_late,
				     .arg = &c },
			    .give_up = close_given_up },
		.fd = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1),
	};
	int rc = close_at_once(fd);
	int late;

	if (c.fd < 0)
		return rc;
	(void)weft__run_errand(s, &c.errand);
	/* If no helper could be had, this thread closes. */
	late = c.is_done ? c.errand.waiter.result : close_at_once(c.fd);
	return rc ? rc : late;
}

static int close_some_way(struct scheduler *s, int fd)
{
	/* A thread that ends begins nothing, and would let the tasklet give way,
	 * perhaps for good. */
	bool is_at_once =
		weft__may_wait(s) || weft__engine_is_refusing(&s->engine);
	enum way way = is_at_once ? AT_ONCE : choose_way(fd);

	if (weft__engine_is_busy(&s->engine, fd)) {
		weft__engine_cancel_fd(&s->engine, fd);
		weft__engine_flush(&s->engine);
		weft__note_runnable(s);
	} else if (weft__engine_has_queued(&s->engine)) {
		/* An operation that was called back before is not found here.
		 * If the kernel has not seen it yet, it would begin it on
		 * whatever file has the number next. */
		weft__engine_flush(&s->engine);
		weft__note_runnable(s);
	}
	weft__engine_end_calls(&s->engine, fd);
	/* After these, which have taken completions. */
	weft__call_back_unseen(fd);
	weft__call_back_polls(fd);
	weft__cut_streams(fd);
	switch (way) {
	case BY_RING:
		return close_by_ring(s, fd);
	case BY_HELPER:
		return close_by_helper(s, fd);
	default:
		return close_at_once(fd);
	}
}

WEFT_API int weft_close(int fd)
{
	struct scheduler *s = weft__scheduler();
	bool was_deaf;
	int rc;

	if (!s)
		return close_at_once(fd);
	/* A tasklet that was killed or has timed out closes, too. */
	was_deaf = weft__deafen(peek(s->current));
	weft__end_transfers(s, fd);
	rc = close_some_way(s, fd);
	weft__undeafen(peek(s->current), was_deaf);
	return rc;
}
