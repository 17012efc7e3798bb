/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <limits.h>
#include <weft/net.h>

#include "io.h"

WEFT_API int weft_accept(int fd, struct sockaddr *addr, socklen_t *len)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_accept(&sqe, fd, addr, len, SOCK_CLOEXEC);
	return weft__await(&sqe);
}

WEFT_API int weft_connect(int fd, const struct sockaddr *addr, socklen_t len)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_connect(&sqe, fd, addr, len);
	return weft__await(&sqe);
}

/* The length of an SQE has 32 bits. */
static size_t clamp(size_t count)
{
	return count < INT_MAX ? count : INT_MAX;
}

WEFT_API ssize_t weft_recv(int fd, void *buf, size_t count, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_recv(&sqe, fd, buf, clamp(count), flags);
	return weft__await(&sqe);
}

WEFT_API ssize_t weft_send(int fd, const void *buf, size_t count, int flags)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_send(&sqe, fd, buf, clamp(count), flags | MSG_NOSIGNAL);
	return weft__await(&sqe);
}
