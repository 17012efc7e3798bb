/* SPDX-License-Identifier: MIT */
/*
 * Sockets.
 *
 * socket(2) and shutdown(2) wait for nobody, so they are called on the spot, which
 * costs less than a way through the ring. A shutdown first hands in what is queued,
 * so that it does not overtake a send that another tasklet has begun.
 *
 * The ring's receive tells no address, and its send takes one only from Linux 6.0
 * on. So the calls with an address are messages.
 */
#include <errno.h>
#include <poll.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/time.h>

#include "core/block.h"
#include "io/identity.h"
#include "io/io.h"

static const int64_t FIRST_PAUSE_NS = WEFT_MILLISECOND;
static const int64_t LONGEST_PAUSE_NS = 20 * WEFT_MILLISECOND;

static int result_of(int rc)
{
	return rc < 0 ? -errno : rc;
}

WEFT_API int weft_socket(int domain, int type, int protocol)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	return rc ? rc
		  : result_of(socket(domain, type | SOCK_CLOEXEC, protocol));
}

WEFT_API int weft_accept4(int fd, struct sockaddr *addr, socklen_t *len,
			  int flags)
{
	struct io_uring_sqe sqe = { 0 };

	/* Before there is a connection to wait for, as accept4(2) does. */
	if (flags & ~(SOCK_NONBLOCK | SOCK_CLOEXEC))
		return -EINVAL;
	io_uring_prep_accept(&sqe, fd, addr, len, flags | SOCK_CLOEXEC);
	return weft__await(&sqe);
}

WEFT_API int weft_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	return weft_accept4(fd, addr, len, 0);
}

WEFT_API int weft_shutdown(int fd, int how)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	if (weft__engine_has_queued(&s->engine)) {
		weft__engine_flush(&s->engine);
		weft__note_runnable(s);
	}
	return result_of(shutdown(fd, how));
}

/* 0 or a negative errno: the call must return that; else @res is the result. */
static int await_once(struct scheduler *s, const struct io_uring_sqe *sqe,
		      int *res)
{
	uint32_t flags;
	int rc = weft__enter(s);

	return rc ? rc : weft__await_operation(s, sqe, res, &flags);
}

/* The pause counts as an operation on @fd, so weft_close() finds it. */
static int wait_a_little(struct scheduler *s, int fd, int64_t ns)
{
	struct __kernel_timespec ts = { .tv_nsec = ns };
	struct io_uring_sqe sqe = { 0 };
	int res;
	int rc = weft__may_wait(s);

	if (rc)
		return rc;
	io_uring_prep_timeout(&sqe, &ts, 0, 0);
	sqe.fd = fd;
	rc = await_once(s, &sqe, &res);
	return rc || res == -ETIME ? rc : res;
}

/* If the backlog of a Unix socket is full, the kernel lets a connect(2) wait only as
 * O_NONBLOCK and SO_SNDTIMEO of the file allow. After that it gives EAGAIN, and poll(2)
 * does not tell when there is room. So the call tries again every now and then. */
static int connect_local(struct scheduler *s, const struct io_uring_sqe *sqe)
{
	int64_t ns = FIRST_PAUSE_NS;
	struct stat before;
	int res = 0;
	int rc = weft__identify(sqe->fd, &before);

	if (rc)
		return rc;
	while (!(rc = await_once(s, sqe, &res)) && res == -EAGAIN) {
		rc = wait_a_little(s, sqe->fd, ns);
		if (rc)
			return rc;
		if (!weft__is_still(sqe->fd, &before))
			return -ECANCELED;
		ns = 2 * ns < LONGEST_PAUSE_NS ? 2 * ns : LONGEST_PAUSE_NS;
	}
	return rc ? rc : res;
}

/* Asks the socket, for only the kernel may look at an address that can be anything. */
bool weft__is_local(int fd)
{
	int domain;
	socklen_t size = sizeof domain;

	return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 &&
	       domain == AF_UNIX;
}

/* Waits until a connection is made, or refused. */
static int wait_for_connection(int fd, const struct stat *before)
{
	struct pollfd p = { .fd = fd, .events = POLLOUT };
	int rc = weft_poll(&p, 1, -1);

	if (rc < 0)
		return rc;
	return weft__is_still(fd, before) ? 0 : -ECANCELED;
}

/* If a connection is being made already, because a call before this one was
 * interrupted or the program has begun it, the ring says so. connect(2) waits for
 * it. */
static int connect_on(const struct io_uring_sqe *sqe)
{
	struct stat before;
	int rc = weft__identify(sqe->fd, &before);

	if (rc)
		return rc;
	while ((rc = weft__await(sqe)) == -EALREADY)
		if ((rc = wait_for_connection(sqe->fd, &before)))
			break;
	return rc;
}

WEFT_API int weft_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct io_uring_sqe sqe = { 0 };
	struct scheduler *s;
	int rc;

	io_uring_prep_connect(&sqe, fd, addr, len);
	if (!weft__is_local(fd))
		return connect_on(&sqe);
	s = weft__scheduler();
	if (!s)
		return -errno;
	/* If the file lets it wait for room, one of the kernel's workers does that. */
	weft__engine_expect_stuck(&s->engine, WORKER_UNBOUNDED, 1);
	rc = connect_local(s, &sqe);
	weft__engine_expect_stuck(&s->engine, WORKER_UNBOUNDED, -1);
	return rc;
}

/* --- bytes and messages --- */

/* A look at the queue of errors waits for nothing. */
static int flags_of_receive(int flags)
{
	return flags & MSG_ERRQUEUE ? flags | MSG_DONTWAIT : flags;
}

WEFT_API ssize_t weft_recv(int fd, void *buf, size_t count, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_recv(&sqe, fd, buf, weft__clamp(count),
			   flags_of_receive(flags));
	return weft__await(&sqe);
}

WEFT_API ssize_t weft_send(int fd, const void *buf, size_t count, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_send(&sqe, fd, buf, weft__clamp(count),
			   flags | MSG_NOSIGNAL);
	return weft__await(&sqe);
}

WEFT_API ssize_t weft_recvmsg(int fd, struct msghdr *msg, int flags)
{
	struct io_uring_sqe sqe = { 0 };
	ssize_t n;

	io_uring_prep_recvmsg(&sqe, fd, msg,
			      (unsigned)flags_of_receive(flags) |
				      MSG_CMSG_CLOEXEC);
	n = weft__await(&sqe);
	/* The kernel gives the flag back with those that tell of the message. */
	if (n >= 0 && !(flags & MSG_CMSG_CLOEXEC))
		msg->msg_flags &= ~MSG_CMSG_CLOEXEC;
	return n;
}

/* With MSG_FASTOPEN a send connects. If it cannot take the bytes along, it has only
 * begun that, and would have waited for it. */
static ssize_t connect_and_send(struct io_uring_sqe *sqe)
{
	struct stat before;
	ssize_t n = weft__identify(sqe->fd, &before);

	if (!n)
		n = weft__await(sqe);
	if (n != -EINPROGRESS || sqe->msg_flags & MSG_DONTWAIT)
		return n;
	n = wait_for_connection(sqe->fd, &before);
	sqe->msg_flags &= ~(unsigned)MSG_FASTOPEN;
	return n ? n : weft__await(sqe);
}

WEFT_API ssize_t weft_sendmsg(int fd, const struct msghdr *msg, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_sendmsg(&sqe, fd, msg, (unsigned)flags | MSG_NOSIGNAL);
	return unlikely(flags & MSG_FASTOPEN) ? connect_and_send(&sqe)
					      : weft__await(&sqe);
}

WEFT_API ssize_t weft_recvfrom(int fd, void *buf, size_t count, int flags,
			       struct sockaddr *addr, socklen_t *len)
{
	struct iovec v = { .iov_base = buf, .iov_len = weft__clamp(count) };
	struct msghdr msg = { .msg_name = addr,
			      .msg_iov = &v,
			      .msg_iovlen = 1 };
	ssize_t n;

	if (!addr)
		return weft_recv(fd, buf, count, flags);
	if (!len)
		return -EFAULT;
	msg.msg_namelen = *len;
	n = weft_recvmsg(fd, &msg, flags);
	if (n >= 0)
		*len = msg.msg_namelen;
	return n;
}

WEFT_API ssize_t weft_sendto(int fd, const void *buf, size_t count, int flags,
			     const struct sockaddr *addr, socklen_t len)
{
	struct iovec v = { .iov_base = (void *)(uintptr_t)buf,
			   .iov_len = weft__clamp(count) };
	struct msghdr msg = { .msg_name = (void *)(uintptr_t)addr,
			      .msg_namelen = len,
			      .msg_iov = &v,
			      .msg_iovlen = 1 };

	if (!addr)
		return weft_send(fd, buf, count, flags);
	/* sendmsg(2) would cut a longer one. */
	if (len > sizeof(struct sockaddr_storage))
		return -EINVAL;
	return weft_sendmsg(fd, &msg, flags);
}
