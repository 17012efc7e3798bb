/* SPDX-License-Identifier: MIT */
/*
 * Files by offset, and paths.
 *
 * A read at an offset needs nothing of the file's position. If a regular file's
 * bytes are in memory, preadv2() with RWF_NOWAIT takes less than half of the
 * time of a way through the ring. If they are not, the try costs extra. So
 * after a failed try, reads of that descriptor go through the ring for a while,
 * twice as long each time. A try that stops short of the end of the file counts
 * as failed: the ring then reads all of it.
 *
 * The ring would accept an offset for a pipe or a terminal and ignore it. So
 * the kind of file is found out before each way through it. preadv2() knows the
 * kind itself: it is tried first if the descriptor's number was a file's when it
 * was last looked at (position.c).
 *
 * If the kernel's ring does not have an operation yet, a helper thread makes
 * the system call of that name (weft__carry_out()).
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/file.h>

#include "core/block.h"
#include "io/held.h"
#include "io/io.h"
#include "io/luck.h"
#include "io/offload.h"
#include "io/position.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

/* --- by the ring, or by a helper --- */

struct by_helper {
	struct errand errand; /* first */
	const struct io_uring_sqe *sqe;
};

static int carry_out(void *arg)
{
	return weft__carry_out(((struct by_helper *)arg)->sqe);
}

static int await_helper(struct scheduler *s, const struct io_uring_sqe *sqe)
{
	struct by_helper h = {
		.errand.job = { .crew = CREW_FILES, .fn = carry_out },
		.sqe = sqe,
	};
	int rc = weft__may_wait(s);

	h.errand.job.arg = &h;
	if (!rc)
		rc = weft__run_on_number(s, &h.errand, sqe->fd);
	return rc ? rc : weft__outcome(&h.errand.waiter);
}

static int await_file(const struct io_uring_sqe *sqe)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (unlikely(!s))
		return -errno;
	if (weft__engine_open(&s->engine) ||
	    weft__engine_knows(&s->engine, sqe->opcode))
		return weft__await(sqe);
	rc = weft__enter(s);
	return rc ? rc : await_helper(s, sqe);
}

/* For a call with a second folder. Its number is looked up late, and weft_close() finds
 * the call by the first one alone: so the call gets a descriptor of its own. Where there
 * is none to be had, it goes without. */
static int await_with_folder(struct io_uring_sqe *sqe, int folder)
{
	struct scheduler *s = weft__scheduler();
	struct held *h;
	int rc;

	if (!s)
		return -errno;
	if (folder < 0 || folder == sqe->fd)
		return await_file(sqe);
	h = weft__held_new(s);
	if (!h)
		return -ENOMEM;
	h->fds[0] = fcntl(folder, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (h->fds[0] >= 0)
		sqe->len = (unsigned)h->fds[0];
	rc = await_file(sqe);
	weft__held_end(h);
	return rc;
}

/* --- reads and writes --- */

/* Of reads that are tried at once. */
static struct luck reads;

struct request {
	int fd;
	bool is_write;
	const struct iovec *iov;
	int n;
	size_t count;
	off_t offset;
};

static bool is_end(const struct request *r, long n)
{
	struct stat st;

	return syscall(SYS_fstat, r->fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       r->offset + n >= st.st_size;
}

/* Reads what is in memory. False if not all of it was. */
static bool read_at_once(const struct request *r, ssize_t *result)
{
	long n = syscall(SYS_preadv2, r->fd, r->iov, (long)r->n,
			 (long)r->offset, 0L, RWF_NOWAIT);
	bool hit = n >= 0 ? (size_t)n == r->count || is_end(r, n)
			  : errno != EAGAIN && errno != EOPNOTSUPP &&
				    errno != ENOSYS;

	*result = n < 0 ? -errno : n;
	weft__note_try(&reads, r->fd, hit);
	return hit;
}

static ssize_t await_request(const struct request *r)
{
	struct io_uring_sqe sqe = { 0 };

	if (r->is_write)
		io_uring_prep_writev(&sqe, r->fd, r->iov, (unsigned)r->n,
				     (uint64_t)r->offset);
	else
		io_uring_prep_readv(&sqe, r->fd, r->iov, (unsigned)r->n,
				    (uint64_t)r->offset);
	return weft__await(&sqe);
}

static int measure(struct request *r)
{
	return r->offset < 0 ? -EINVAL : weft__measure(r->iov, r->n, &r->count);
}

static bool is_read_at_once(const struct request *r, ssize_t *result)
{
	return !r->is_write && weft__is_to_try(&reads, r->fd) &&
	       read_at_once(r, result);
}

static ssize_t move(struct request *r)
{
	struct scheduler *s = weft__scheduler();
	bool has_note, may_try;
	ssize_t result;
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	if (!rc)
		rc = measure(r);
	if (rc)
		return rc;
	has_note = weft__has_note(r->fd);
	if (has_note && is_read_at_once(r, &result))
		return result;
	rc = weft__look_for_offsets(r->fd, r->is_write, &may_try);
	if (rc)
		return rc;
	if (!has_note && may_try && is_read_at_once(r, &result))
		return result;
	return await_request(r);
}

WEFT_API ssize_t weft_pread(int fd, void *buf, size_t count, off_t offset)
{
	struct iovec v = { .iov_base = buf, .iov_len = count };
	struct request r = { .fd = fd, .iov = &v, .n = 1, .offset = offset };

	return move(&r);
}

WEFT_API ssize_t weft_pwrite(int fd, const void *buf, size_t count,
			     off_t offset)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)buf,
			   .iov_len = count };
	struct request r = {
		.fd = fd, .is_write = true, .iov = &v, .n = 1, .offset = offset
	};

	return move(&r);
}

WEFT_API ssize_t weft_preadv(int fd, const struct iovec *iov, int n,
			     off_t offset)
{
	struct request r = { .fd = fd, .iov = iov, .n = n, .offset = offset };

	return move(&r);
}

WEFT_API ssize_t weft_pwritev(int fd, const struct iovec *iov, int n,
			      off_t offset)
{
	struct request r = {
		.fd = fd, .is_write = true, .iov = iov, .n = n, .offset = offset
	};

	return move(&r);
}

/* --- contents and sizes --- */

WEFT_API int weft_fdatasync(int fd)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_fsync(&sqe, fd, IORING_FSYNC_DATASYNC);
	return weft__await(&sqe);
}

WEFT_API int weft_fallocate(int fd, int mode, off_t offset, off_t length)
{
	struct io_uring_sqe sqe = { 0 };

	/* liburing's helper has passed these in two ways. */
	sqe.opcode = IORING_OP_FALLOCATE;
	sqe.fd = fd;
	sqe.off = (uint64_t)offset;
	sqe.addr = (uint64_t)length;
	sqe.len = (unsigned)mode;
	return await_file(&sqe);
}

WEFT_API int weft_ftruncate(int fd, off_t length)
{
	struct io_uring_sqe sqe = { .opcode = OP_FTRUNCATE,
				    .fd = fd,
				    .off = (uint64_t)length };

	return length < 0 ? -EINVAL : await_file(&sqe);
}

/* --- paths --- */

WEFT_API int weft_statx(int dirfd, const char *path, int flags, unsigned mask,
			struct statx *out)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_statx(&sqe, dirfd, path, flags, mask, out);
	return await_file(&sqe);
}

WEFT_API int weft_unlinkat(int dirfd, const char *path, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_unlinkat(&sqe, dirfd, path, flags);
	return await_file(&sqe);
}

WEFT_API int weft_renameat(int olddirfd, const char *oldpath, int newdirfd,
			   const char *newpath)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_renameat(&sqe, olddirfd, oldpath, newdirfd, newpath, 0);
	return await_with_folder(&sqe, newdirfd);
}

WEFT_API int weft_mkdirat(int dirfd, const char *path, mode_t mode)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_mkdirat(&sqe, dirfd, path, mode);
	return await_file(&sqe);
}

WEFT_API int weft_linkat(int olddirfd, const char *oldpath, int newdirfd,
			 const char *newpath, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_linkat(&sqe, olddirfd, oldpath, newdirfd, newpath, flags);
	return await_with_folder(&sqe, newdirfd);
}

WEFT_API int weft_symlinkat(const char *target, int newdirfd,
			    const char *linkpath)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_symlinkat(&sqe, target, newdirfd, linkpath);
	return await_file(&sqe);
}
