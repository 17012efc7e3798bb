/* SPDX-License-Identifier: MIT */
/*
 * Sends for which the kernel does not copy the bytes.
 *
 * The kernel reads the caller's memory until the peer has acknowledged the bytes, and
 * then notifies: the call returns after that second completion. The notification also
 * says whether the bytes were copied all the same, as on the loopback interface. Then
 * a zero-copy send only costs more, and plain sends take its place for a while. So
 * they do where the kernel or the socket has no such sends, or where no more memory
 * may be locked.
 *
 * With a trap the call must not wait for a notification, and is a plain send.
 */
#include <errno.h>
#include <weft/net.h>

#include "core/block.h"
#include "io/identity.h"
#include "io/io.h"
#include "io/luck.h"

static struct luck sends;

static bool is_worth_a_try(struct scheduler *s, const struct io_uring_sqe *sqe)
{
	return !weft__may_wait(s) && !weft__engine_open(&s->engine) &&
	       weft__engine_knows(&s->engine, sqe->opcode) &&
	       weft__is_to_try(&sends, sqe->fd);
}

/* Whether a plain send may do better. -EINVAL: the kernel cannot report whether it
 * has copied (before Linux 6.2), or there is another reason, which the plain send
 * will tell. */
static bool is_refused(int res)
{
	return res == -EOPNOTSUPP || res == -EINVAL || res == -ENOMEM ||
	       res == -ENOBUFS;
}

/* False if a plain send is to be made. */
static bool send_without_copy(struct scheduler *s, struct io_uring_sqe *sqe,
			      int *result)
{
	struct stat before;
	uint32_t flags;
	int res;
	int rc = weft__enter(s);

	if (!rc)
		rc = weft__identify(sqe->fd, &before);
	if (!rc) {
		sqe->ioprio |= IORING_SEND_ZC_REPORT_USAGE;
		rc = weft__await_operation(s, sqe, &res, &flags);
	}
	*result = rc ? rc : res;
	if (rc || !(res > 0 || is_refused(res)))
		return true;
	if (!weft__is_still(sqe->fd, &before)) {
		if (res < 0)
			*result = -ECANCELED;
		return true;
	}
	weft__note_try(&sends, sqe->fd,
		       res > 0 && !(flags & IORING_NOTIF_USAGE_ZC_COPIED));
	return res > 0;
}

/* @opcode: with a notification; @plain: without. */
static ssize_t send_by(struct io_uring_sqe *sqe, uint8_t opcode, uint8_t plain)
{
	struct scheduler *s = weft__scheduler();
	int result;

	if (!s)
		return -errno;
	sqe->opcode = opcode;
	if (is_worth_a_try(s, sqe) && send_without_copy(s, sqe, &result))
		return result;
	sqe->opcode = plain;
	sqe->ioprio = 0;
	return weft__await(sqe);
}

WEFT_API ssize_t weft_send_zc(int fd, const void *buf, size_t count, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_send(&sqe, fd, buf, weft__clamp(count),
			   flags | MSG_NOSIGNAL);
	return send_by(&sqe, IORING_OP_SEND_ZC, IORING_OP_SEND);
}

WEFT_API ssize_t weft_sendmsg_zc(int fd, const struct msghdr *msg, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_sendmsg(&sqe, fd, msg, (unsigned)flags | MSG_NOSIGNAL);
	return send_by(&sqe, IORING_OP_SENDMSG_ZC, IORING_OP_SENDMSG);
}
