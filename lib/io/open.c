/* SPDX-License-Identifier: MIT */
/*
 * weft_openat(): open(2), which waits where it has to.
 *
 * The ring first tries to open a path that is in the kernel's memory at once,
 * with O_NONBLOCK, and removes the flag afterwards. For one end of a FIFO whose
 * other end nobody has open, that means something else: a reader gets a
 * descriptor before there is a writer, and a writer gets -ENXIO. If the path is
 * not in memory, or with O_CREAT or O_TRUNC, the ring opens it on one of its
 * few workers for files: that many FIFOs without peers, and no worker is left
 * for anybody.
 *
 * So first weft finds out whether the path is a FIFO. A FIFO is then opened on
 * a worker that is there for this call alone: the open may wait for ever, and a
 * kill ends it. This is how weft finds out:
 *
 *	to open for writing what is in memory, without O_CREAT or O_TRUNC: by
 *	opening it. -ENXIO means that it has to wait.
 *
 *	in all other cases: the path is opened with O_PATH, which waits for no
 *	peer, and which no peer sees. A trial with a reader's open would let a
 *	waiting writer go on. That writer may be gone before the reader's next
 *	open, which would then wait for another writer. If the path is in
 *	memory, the O_PATH open is done on the spot.
 *
 * If a path becomes another file's between two of these steps, it is opened as
 * what it is then. The only loss: if it is a FIFO's now, its worker is one of
 * the few.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/io.h>

#include "core/block.h"
#include "io/io.h"

struct opening {
	struct scheduler *s;
	int dir;
	const char *path;
	int flags;
	mode_t mode;
};

/* Awaits one operation. Returns 0 and sets its result, or returns what the call
 * must return at once. */
static int step(const struct opening *o, const struct io_uring_sqe *sqe,
		int *result)
{
	enum { ERESTARTSYS = 512 };
	uint32_t cqe_flags;
	int rc = weft__enter(o->s);

	if (!rc)
		rc = weft__await_operation(o->s, sqe, result, &cqe_flags);
	/* A close of the folder's descriptor has cancelled a worker's open.
	 * This is the kernel's internal code for that. */
	if (!rc && *result == -ERESTARTSYS)
		*result = -ECANCELED;
	return rc;
}

static int open_as(const struct opening *o, int flags, bool by_worker,
		   int *result)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_openat(&sqe, o->dir, o->path, flags,
			     flags & O_PATH ? 0 : o->mode);
	if (by_worker)
		sqe.flags |= IOSQE_ASYNC;
	return step(o, &sqe, result);
}

/* Opens the path if all of it is in memory. Otherwise the result is -EAGAIN, or an
 * error with which a plain open may succeed; see is_to_be_opened_plainly(). */
static int open_from_memory(const struct opening *o, int *result)
{
	struct open_how how = { .flags = (unsigned)o->flags,
				.resolve = RESOLVE_CACHED };
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_openat2(&sqe, o->dir, o->path, &how);
	return step(o, &sqe, result);
}

/* -EINVAL comes from a kernel that does not know RESOLVE_CACHED (before Linux 5.12),
 * -ENOSYS and -EPERM from one, or a sandbox, that does not know openat2(2). */
static bool is_to_be_opened_plainly(int result)
{
	return result == -EAGAIN || result == -EINVAL || result == -ENOSYS ||
	       result == -EPERM;
}

/* Whether open(2) could wait for a peer that opens the other end. */
static bool may_wait_for_peer(int flags)
{
	return (flags & O_ACCMODE) != O_RDWR &&
	       !(flags & (O_NONBLOCK | O_PATH | O_DIRECTORY)) &&
	       (flags & (O_CREAT | O_EXCL)) != (O_CREAT | O_EXCL);
}

static bool is_fifo(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

/* Opens without waiting, if all of the path is in memory. A descriptor, or
 * -1. */
static int find_in_memory(const struct opening *o, int flags)
{
	struct open_how how = { .flags = (unsigned)flags,
				.resolve = RESOLVE_CACHED };

	return (int)syscall(SYS_openat2, o->dir, o->path, &how, sizeof how);
}

static int look_at_path(const struct opening *o, bool *finds_fifo)
{
	int flags = O_PATH | O_CLOEXEC | (o->flags & O_NOFOLLOW);
	int fd = find_in_memory(o, flags);
	int rc = 0;

	*finds_fifo = false;
	if (fd < 0)
		rc = open_as(o, flags, false, &fd);
	if (rc || fd < 0)
		return rc;
	*finds_fifo = is_fifo(fd);
	close(fd);
	return 0;
}

static int wait_for_peer(const struct opening *o)
{
	int result;
	int rc = weft__enter(o->s);

	/* A path in memory has been looked at without a step. So nobody may have
	 * asked yet for a kill, a raise or a deadline, which come before a trap. */
	if (!rc)
		rc = weft__may_wait(o->s);
	if (rc)
		return rc;
	weft__engine_expect_stuck(&o->s->engine, WORKER_BOUNDED, 1);
	rc = open_as(o, o->flags, true, &result);
	weft__engine_expect_stuck(&o->s->engine, WORKER_BOUNDED, -1);
	return rc ? rc : result;
}

static int open_plainly(const struct opening *o)
{
	int result;
	int rc = open_as(o, o->flags, false, &result);

	return rc ? rc : result;
}

static int open_what_may_wait(const struct opening *o)
{
	bool finds_fifo;
	int result = -EAGAIN;
	int rc = 0;

	if (!(o->flags & (O_CREAT | O_TRUNC)) &&
	    (o->flags & O_ACCMODE) != O_RDONLY)
		rc = open_from_memory(o, &result);
	if (rc)
		return rc;
	if (result == -ENXIO)
		return wait_for_peer(o);
	if (!is_to_be_opened_plainly(result))
		return result;
	rc = look_at_path(o, &finds_fifo);
	if (rc)
		return rc;
	return finds_fifo ? wait_for_peer(o) : open_plainly(o);
}

WEFT_API int weft_openat(int dirfd, const char *path, int flags, ...)
{
	struct opening o = { .s = weft__scheduler(),
			     .dir = dirfd,
			     .path = path,
			     .flags = flags | O_CLOEXEC };

	if (!o.s)
		return -errno;
	if (flags & (O_CREAT | __O_TMPFILE)) {
		va_list arguments;

		va_start(arguments, flags);
		o.mode = va_arg(arguments, mode_t);
		va_end(arguments);
	}
	return may_wait_for_peer(flags) ? open_what_may_wait(&o)
					: open_plainly(&o);
}
