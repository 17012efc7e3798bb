/* SPDX-License-Identifier: MIT */
/**
 * net - sockets; see weft/io.h for what all I/O calls have in common
 *
 * SO_RCVTIMEO and SO_SNDTIMEO are not heeded: a call waits for as long as it takes.
 * To wait no longer than until some moment, put it into a scope of
 * weft_deadline_begin() (weft/time.h): it returns -ETIMEDOUT then.
 */
#ifndef WEFT_NET_H
#define WEFT_NET_H

#include <sys/socket.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_accept - accept(2); the descriptor is created close-on-exec
 * @addr: receives the peer's address; may be NULL with @len
 *
 * SO_RCVTIMEO is not heeded.
 *
 * Return: the descriptor or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_accept(int fd, struct sockaddr *addr, socklen_t *len);

/**
 * weft_connect - connect(2); returns when the connection is made or refused
 *
 * SO_SNDTIMEO is not heeded.
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_connect(int fd, const struct sockaddr *addr, socklen_t len);

/**
 * weft_recv - recv(2)
 *
 * SO_RCVTIMEO is not heeded.
 *
 * Return: bytes received, 0 when the peer has shut down, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_recv(int fd, void *buf, size_t count, int flags);

/**
 * weft_send - send(2); never raises SIGPIPE
 *
 * SO_SNDTIMEO is not heeded.
 *
 * Return: bytes sent, which can be fewer than @count, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_send(int fd, const void *buf, size_t count, int flags);

WEFT_END_DECLS

#endif /* WEFT_NET_H */
