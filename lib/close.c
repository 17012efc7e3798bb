/* SPDX-License-Identifier: MIT */
/*
 * weft_close(): it always closes.
 *
 * First it ends what helpers make of the file by its number, or are to make
 * (position.c). Then it cancels what this thread has in flight on the number, and
 * hands that in; no other tasklet runs before the number is closed, so that nothing
 * can be begun on it in between.
 *
 * close(2) itself can keep its caller waiting, and which way around that leads
 * depends on the kind of file:
 *
 *	sockets that linger (SO_LINGER), terminals and other devices: the wait
 *	    comes when the last descriptor goes. The number is closed at once and
 *	    a private duplicate by a helper thread (pool.c), which waits.
 *	regular files and directories: the wait comes with each descriptor, where
 *	    the file system writes back what it has (NFS, FUSE). The ring has a
 *	    thread of the kernel's do that; such a number can be busy until then,
 *	    for nobody waits for anything on a regular file.
 *	all others: nothing waits. They are closed at once, by a system call less
 *	    than a switch costs.
 *
 * Where there is no ring, no helper, no descriptor for a duplicate, or a trap, the
 * thread waits.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>
#include <weft/io.h>

#include "io.h"
#include "offload.h"
#include "position.h"
#include "scheduler.h"

enum way { AT_ONCE, BY_RING, BY_HELPER };

enum { MAJOR_OF_MEMORY = 1 }; /* /dev/null and its kin */

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
		return BY_RING;
	case S_IFCHR:
		return major(st.st_rdev) == MAJOR_OF_MEMORY ? AT_ONCE
							    : BY_HELPER;
	default:
		return AT_ONCE;
	}
}

/* Linux has closed the descriptor also when it says that it was interrupted: what
 * is not certain then is that all has been written back. */
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
	/* Cancelled, at the end of the thread or in a child of fork(): not closed. */
	if (weft__engine_await(s, &sqe, &res, &flags) || res == -ECANCELED)
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

static int close_by_helper(struct scheduler *s, int fd)
{
	struct late_close c = {
		.errand.job = { .crew = CREW_FILES,
				.fn = close_late,
				.arg = &c },
		.fd = fcntl(fd, F_DUPFD_CLOEXEC, 0),
	};
	int rc = close_at_once(fd);
	int late;

	if (c.fd < 0)
		return rc;
	(void)weft__run_errand(s, &c.errand);
	/* Else there was no helper to be had. */
	late = c.is_done ? c.errand.waiter.result : close_at_once(c.fd);
	return rc ? rc : late;
}

static int close_some_way(struct scheduler *s, int fd)
{
	enum way way = weft__may_wait(s) ? AT_ONCE : choose_way(fd);

	if (weft__engine_is_busy(&s->engine, fd)) {
		weft__engine_cancel_fd(&s->engine, fd);
		weft__engine_flush(&s->engine);
		weft__note_runnable(s);
	} else if (s->engine.n_queued) {
		/* One that was called back before is not found here. If the kernel
		 * had not seen it yet, it would take the number for whatever
		 * has it next. */
		weft__engine_flush(&s->engine);
		weft__note_runnable(s);
	}
	/* Handing in has taken completions in. */
	if (unlikely(s->cut_short))
		weft__engine_call_back_cut_short(s, fd);
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
	/* A tasklet that was killed, or is out of time, closes, too. */
	was_deaf = weft__deafen(peek(s->current));
	weft__end_transfers(s, fd);
	rc = close_some_way(s, fd);
	weft__undeafen(peek(s->current), was_deaf);
	return rc;
}
