/* SPDX-License-Identifier: MIT */
/*
 * weft_openat(): open(2), which waits where it has to.
 *
 * The ring opens at once with O_NONBLOCK what it finds in the kernel's memory, and
 * takes the flag off afterwards. To the one end of a FIFO whose other end nobody has
 * open that is something else: a reader gets a descriptor before there is a writer,
 * and a writer -ENXIO. What it does not find in memory, and whatever has O_CREAT or
 * O_TRUNC, it opens on one of the few workers for files: as many FIFOs without peers
 * and there are none left for anybody.
 *
 * So whether a path is a FIFO's is found out first, and then it is opened on a worker
 * that is there for this call alone: it may wait for ever, and a kill ends it. How it
 * is found out:
 *
 *	to write to what is found in memory, without O_CREAT or O_TRUNC: by opening
 *	it. -ENXIO means that it has to wait.
 *
 *	else: the path is opened with O_PATH, which waits for no peer, and which none
 *	sees. A trial with a reader's open would let a writer go on that waits, who
 *	may have come and gone before the reader's next one; and that would wait
 *	for another writer. Where the path is in memory this is done on the spot.
 *
 * A path that becomes another file's between two of these steps is opened as what it
 * is then; only its worker, if it is a FIFO's now, is one of the few.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/io.h>

#include "io.h"
#include "scheduler.h"

struct opening {
	struct scheduler *s;
	int dir;
	const char *path;
	int flags;
	mode_t mode;
};

/* Awaits one operation: 0 and its result, or what is to be returned at once. */
static int step(const struct opening *o, const struct io_uring_sqe *sqe,
		int *result)
{
	enum { ERESTARTSYS = 512 };
	uint32_t cqe_flags;
	int rc = weft__enter(o->s);

	if (!rc)
		rc = weft__engine_await(o->s, sqe, result, &cqe_flags);
	/* A worker's open that was cancelled, by a close of the folder's
	 * descriptor: the kernel's own word for it. */
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

/* Opens it if all of its path is in memory; else the result is -EAGAIN, or -EINVAL of
 * a kernel that does not know how (Linux 5.11). */
static int open_from_memory(const struct opening *o, int *result)
{
	struct open_how how = { .flags = (unsigned)o->flags,
				.resolve = RESOLVE_CACHED };
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_openat2(&sqe, o->dir, o->path, &how);
	return step(o, &sqe, result);
}

/* Whether open(2) could wait for who opens the other end. */
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

/* Without waiting, if all of the path is in memory. A descriptor, or -1. */
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
	int rc = weft__may_wait(o->s);

	if (rc)
		return rc;
	weft__engine_expect_stuck(o->s, WORKER_BOUNDED, 1);
	rc = open_as(o, o->flags, true, &result);
	weft__engine_expect_stuck(o->s, WORKER_BOUNDED, -1);
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
	if (result != -EAGAIN && result != -EINVAL)
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
