/* SPDX-License-Identifier: MIT */
/*
 * The operation is the SQE: each call prepares an SQE with liburing's helpers
 * and awaits its completion. Reads and writes at a position are in position.c.
 */
#include "io/io.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/io.h>
#include <weft/uring.h>

#include "core/block.h"
#include "io/position.h"

int weft__measure(const struct iovec *iov, int n, size_t *count)
{
	*count = 0;
	if (n < 0 || n > IOV_MAX)
		return -EINVAL;
	if (n && !iov)
		return -EFAULT;
	for (int i = 0; i < n; i++) {
		if (iov[i].iov_len > (size_t)SSIZE_MAX - *count)
			return -EINVAL;
		*count += iov[i].iov_len;
	}
	return 0;
}

bool weft__is_unusable(const struct io_uring_sqe *sqe)
{
	static const unsigned unusable = IOSQE_CQE_SKIP_SUCCESS |
					 IOSQE_IO_LINK | IOSQE_IO_HARDLINK |
					 IOSQE_IO_DRAIN;

	return !sqe || sqe->flags & unusable;
}

static bool is_multishot(const struct io_uring_sqe *sqe)
{
	enum { TIMEOUT_MULTISHOT = 1 << 6 }; /* newer than Debian 12 */

	switch (sqe->opcode) {
	case IORING_OP_ACCEPT:
		return sqe->ioprio & IORING_ACCEPT_MULTISHOT;
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
		return sqe->ioprio & IORING_RECV_MULTISHOT;
	case IORING_OP_POLL_ADD:
		return sqe->len & IORING_POLL_ADD_MULTI;
	case IORING_OP_TIMEOUT:
		return sqe->timeout_flags & TIMEOUT_MULTISHOT;
	case OP_READ_MULTISHOT:
	case OP_RECV_ZC:
		return true;
	default:
		return false;
	}
}

/* Whether the operation needs files or buffers that are registered with the
 * io_uring, which has none, or puts a new file there. */
static bool needs_registration(const struct io_uring_sqe *sqe)
{
	if (sqe->flags & (IOSQE_FIXED_FILE | IOSQE_BUFFER_SELECT))
		return true;
	switch (sqe->opcode) {
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE_FIXED:
		return true;
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
		return sqe->ioprio & IORING_RECVSEND_FIXED_BUF;
	case IORING_OP_ACCEPT:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_CLOSE:
	case IORING_OP_SOCKET:
	case OP_PIPE:
		return sqe->file_index;
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
		return sqe->splice_flags & SPLICE_F_FD_IN_FIXED;
	default:
		return false;
	}
}

static bool is_refused(const struct io_uring_sqe *sqe)
{
	return weft__is_unusable(sqe) || needs_registration(sqe) ||
	       is_multishot(sqe);
}

static void note(const struct io_uring_sqe *sqe)
{
	if (unlikely(sqe->opcode == IORING_OP_ASYNC_CANCEL))
		weft__note_user_cancel();
}

WEFT_API int weft_await_cqe(const struct io_uring_sqe *sqe,
			    struct io_uring_cqe *cqe)
{
	struct scheduler *s;
	uint32_t flags;
	int res;
	int rc;

	if (!cqe || is_refused(sqe))
		return -EINVAL;
	note(sqe);
	s = weft__scheduler();
	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	if (!rc)
		rc = weft__await_operation(s, sqe, &res, &flags);
	if (rc)
		return rc;
	cqe->user_data = 0;
	cqe->res = res;
	cqe->flags = flags;
	return 0;
}

WEFT_API int weft_await(const struct io_uring_sqe *sqe)
{
	if (is_refused(sqe))
		return -EINVAL;
	note(sqe);
	return weft__await(sqe);
}

/* Whether a read of nothing returns at once. The ring would wait for a first byte
 * from a FIFO or a terminal. What is in no file system, as an eventfd, can have a
 * least size, and says so. */
static bool has_no_least_size(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 && st.st_mode & S_IFMT;
}

/* Through the ring: for files without a position, or by a worker thread. */
static ssize_t await_transfer(struct scheduler *s, const struct transfer *t,
			      enum transfer_way way)
{
	struct io_uring_sqe sqe = { 0 };
	ssize_t rc;

	if (unlikely(!t->count) && !t->is_write && has_no_least_size(t->fd))
		return weft__move_nothing(t->fd, false);
	if (t->n != 1 && t->is_write)
		io_uring_prep_writev(&sqe, t->fd, t->iov, (unsigned)t->n,
				     (uint64_t)-1);
	else if (t->n != 1)
		io_uring_prep_readv(&sqe, t->fd, t->iov, (unsigned)t->n,
				    (uint64_t)-1);
	else if (t->is_write)
		io_uring_prep_write(&sqe, t->fd, t->iov->iov_base,
				    (unsigned)t->count, (uint64_t)-1);
	else
		io_uring_prep_read(&sqe, t->fd, t->iov->iov_base,
				   (unsigned)t->count, (uint64_t)-1);
	if (way == WAY_RING)
		return weft__await(&sqe);
	sqe.flags |= IOSQE_ASYNC;
	weft__engine_expect_stuck(&s->engine, WORKER_UNBOUNDED, 1);
	rc = weft__await(&sqe);
	weft__engine_expect_stuck(&s->engine, WORKER_UNBOUNDED, -1);
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

static ssize_t transfer_one(int fd, void *buf, size_t count, bool is_write)
{
	struct iovec v = { .iov_base = buf, .iov_len = weft__clamp(count) };
	struct transfer t = {
		.fd = fd,
		.iov = &v,
		.n = 1,
		.count = v.iov_len,
		.is_write = is_write,
	};

	return transfer(&t);
}

/* Without any bytes readv(2) and writev(2) never wait, and make no datagram. The ring
 * does both. */
static ssize_t transfer_nothing(int fd, bool is_write)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	return rc ? rc : weft__move_nothing(fd, is_write);
}

static ssize_t transfer_several(int fd, const struct iovec *iov, int n,
				bool is_write)
{
	struct transfer t = {
		.fd = fd, .iov = iov, .n = n, .is_write = is_write
	};
	int rc = weft__measure(iov, n, &t.count);

	if (rc)
		return rc;
	if (!t.count)
		return transfer_nothing(fd, is_write);
	t.count = weft__clamp(t.count);
	return transfer(&t);
}

WEFT_API ssize_t weft_read(int fd, void *buf, size_t count)
{
	return transfer_one(fd, buf, count, false);
}

WEFT_API ssize_t weft_write(int fd, const void *buf, size_t count)
{
	return transfer_one(fd, (void *)(uintptr_t)buf, count, true);
}

WEFT_API ssize_t weft_readv(int fd, const struct iovec *iov, int n)
{
	return transfer_several(fd, iov, n, false);
}

WEFT_API ssize_t weft_writev(int fd, const struct iovec *iov, int n)
{
	return transfer_several(fd, iov, n, true);
}

WEFT_API int weft_fsync(int fd)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_fsync(&sqe, fd, 0);
	return weft__await(&sqe);
}
