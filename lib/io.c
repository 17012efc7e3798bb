/* SPDX-License-Identifier: MIT */
/*
 * The operation is the SQE: each call prepares one with liburing's helpers and
 * awaits its completion. Reads and writes at a position are position.c's.
 */
#include "io.h"

#include <errno.h>
#include <limits.h>
#include <unistd.h>
#include <weft/io.h>
#include <weft/uring.h>

#include "position.h"
#include "scheduler.h"

/* More than the kernel moves at once, and what the SQE's 32 bits can say. */
static const size_t MAX_COUNT = INT_MAX & ~(size_t)4095;

static unsigned clamp(size_t count)
{
	return (unsigned)(count < MAX_COUNT ? count : MAX_COUNT);
}

static int await(const struct io_uring_sqe *sqe, int *res, uint32_t *flags)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	return rc ? rc : weft__engine_await(s, sqe, res, flags);
}

WEFT_API int weft_await_cqe(const struct io_uring_sqe *sqe,
			    struct io_uring_cqe *cqe)
{
	static const unsigned unusable = IOSQE_CQE_SKIP_SUCCESS |
					 IOSQE_IO_LINK | IOSQE_IO_HARDLINK |
					 IOSQE_IO_DRAIN;
	uint32_t flags;
	int res;
	int rc;

	if (!sqe || !cqe || sqe->flags & unusable)
		return -EINVAL;
	rc = await(sqe, &res, &flags);
	if (rc)
		return rc;
	cqe->user_data = 0;
	cqe->res = res;
	cqe->flags = flags;
	return 0;
}

WEFT_API int weft_await(const struct io_uring_sqe *sqe)
{
	struct io_uring_cqe cqe;
	int rc = weft_await_cqe(sqe, &cqe);

	return rc ? rc : cqe.res;
}

/* Of what has no position, or by a thread of the kernel's. */
static ssize_t await_transfer(struct scheduler *s, const struct transfer *t,
			      enum transfer_way way)
{
	struct io_uring_sqe sqe = { 0 };
	ssize_t rc;

	if (t->is_write)
		io_uring_prep_write(&sqe, t->fd, t->data, (unsigned)t->count,
				    (uint64_t)-1);
	else
		io_uring_prep_read(&sqe, t->fd, t->data, (unsigned)t->count,
				   (uint64_t)-1);
	if (way == WAY_RING)
		return weft__await(&sqe);
	sqe.flags |= IOSQE_ASYNC;
	weft__engine_expect_stuck(s, WORKER_UNBOUNDED, 1);
	rc = weft__await(&sqe);
	weft__engine_expect_stuck(s, WORKER_UNBOUNDED, -1);
	return rc;
}

static ssize_t transfer(struct transfer *t)
{
	struct scheduler *s = weft__scheduler();
	enum transfer_way way;
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	way = weft__transfer(s, t);
	return way == WAY_MADE ? t->result : await_transfer(s, t, way);
}

WEFT_API ssize_t weft_read(int fd, void *buf, size_t count)
{
	struct transfer t = { .fd = fd, .data = buf, .count = clamp(count) };

	return transfer(&t);
}

WEFT_API ssize_t weft_write(int fd, const void *buf, size_t count)
{
	struct transfer t = { .fd = fd,
			      .data = (void *)(uintptr_t)buf,
			      .count = clamp(count),
			      .is_write = true };

	return transfer(&t);
}

WEFT_API int weft_fsync(int fd)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_fsync(&sqe, fd, 0);
	return weft__await(&sqe);
}
