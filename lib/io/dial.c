/* SPDX-License-Identifier: MIT */
/*
 * weft_listen() and weft_dial(): sockets by the text of an address.
 */
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/net.h>

#include "base/descriptor.h"
#include "core/block.h"
#include "io/address.h"
#include "io/held.h"
#include "io/io.h"

static int error_of(int answer)
{
	switch (answer) {
	case EAI_MEMORY:
		return -ENOMEM;
	case EAI_SYSTEM:
		return -errno;
	case EAI_AGAIN:
	case EAI_FAIL:
		return -EHOSTUNREACH;
	default:
		return -ENOENT;
	}
}

static int resolve(const struct address *a, int flags, struct addrinfo **found)
{
	struct addrinfo hints = { .ai_flags = flags,
				  .ai_socktype = SOCK_STREAM };
	int answer = weft_getaddrinfo(a->is_any ? NULL : a->host, a->port,
				      &hints, found);

	return answer ? error_of(answer) : 0;
}

/* Closes a socket that nobody else has seen: nothing is in flight on it. */
static int fail(int fd, int rc)
{
	close(fd);
	return rc;
}

/* --- listening --- */

static void set_option(int fd, int level, int option, int value)
{
	/* If it cannot be set, bind(2) says what comes of that. */
	(void)setsockopt(fd, level, option, &value, sizeof value);
}

static int listen_inet(const struct addrinfo *ai, bool is_any, int backlog)
{
	int fd = socket(ai->ai_family, ai->ai_socktype | SOCK_CLOEXEC,
			ai->ai_protocol);

	if (fd < 0)
		return -errno;
	set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
	if (ai->ai_family == AF_INET6)
		set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, !is_any);
	if (bind(fd, ai->ai_addr, ai->ai_addrlen) || listen(fd, backlog))
		return fail(fd, -errno);
	return fd;
}

/* For "*", an IPv6 socket takes both kinds of connection. Where there is no IPv6, an
 * IPv4 one takes all there are. */
static int listen_any(const struct addrinfo *list, int backlog)
{
	int rc = -EADDRNOTAVAIL;

	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		if (ai->ai_family == AF_INET6)
			rc = listen_inet(ai, true, backlog);
	if (rc != -EADDRNOTAVAIL && rc != -EAFNOSUPPORT)
		return rc;
	for (const struct addrinfo *ai = list; ai; ai = ai->ai_next)
		if (ai->ai_family == AF_INET)
			rc = listen_inet(ai, true, backlog);
	return rc;
}

static int listen_first(const struct addrinfo *list, int backlog)
{
	int rc = -ENOENT;

	for (const struct addrinfo *ai = list; ai && rc < 0; ai = ai->ai_next)
		rc = listen_inet(ai, false, backlog);
	return rc;
}

/* Whether the file was left by a server that is no more. */
static bool is_stale(const struct address *a)
{
	struct stat st;
	bool is_refused;
	int fd;

	if (lstat(a->local.sun_path, &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = weft__above_standard(
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
	if (fd < 0)
		return false;
	is_refused = connect(fd, (const struct sockaddr *)&a->local,
			     a->local_length) &&
		     errno == ECONNREFUSED;
	close(fd);
	return is_refused;
}

static int bind_local(int fd, const struct address *a)
{
	const struct sockaddr *name = (const struct sockaddr *)&a->local;

	if (!bind(fd, name, a->local_length))
		return 0;
	if (errno != EADDRINUSE || !a->local.sun_path[0])
		return -errno;
	if (!is_stale(a))
		return -EADDRINUSE;
	if (unlink(a->local.sun_path) && errno != ENOENT)
		return -errno;
	return bind(fd, name, a->local_length) ? -errno : 0;
}

static int listen_local(const struct address *a, int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	if (fd < 0)
		return -errno;
	rc = bind_local(fd, a);
	if (!rc && listen(fd, backlog))
		rc = -errno;
	return rc ? fail(fd, rc) : fd;
}

WEFT_API int weft_listen(const char *address, int backlog)
{
	struct scheduler *s = weft__scheduler();
	struct addrinfo *found;
	struct address a;
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (!rc && weft__address_parse(&a, address))
		rc = -EINVAL;
	if (rc)
		return rc;
	if (a.local_length)
		return listen_local(&a, backlog);
	rc = resolve(&a, AI_PASSIVE, &found);
	if (rc)
		return rc;
	rc = a.is_any ? listen_any(found, backlog)
		      : listen_first(found, backlog);
	freeaddrinfo(found);
	return rc;
}

/* --- connecting --- */

/* If nobody listens on a port, the kernel may choose that very port for the connection,
 * and TCP connects the socket to itself. */
static bool is_its_own_peer(int fd)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_length = sizeof own, peer_length = sizeof peer;

	return getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0 &&
	       memcmp(&own, &peer, sizeof own) == 0;
}

/* Returns the socket or the error of this address. *@must_return: the call was
 * interrupted or must not wait, so no other address is to be tried. */
static int dial_inet(struct scheduler *s, struct held *h,
		     const struct addrinfo *ai, bool *must_return)
{
	/* Nobody knows of it while it connects. */
	int fd = weft__above_standard(socket(ai->ai_family,
					     ai->ai_socktype | SOCK_CLOEXEC,
					     ai->ai_protocol));
	struct io_uring_sqe sqe = { 0 };
	uint32_t flags;
	int res = 0;
	int rc;

	if (fd < 0)
		return -errno;
	h->fds[0] = fd;
	io_uring_prep_connect(&sqe, fd, ai->ai_addr, ai->ai_addrlen);
	rc = weft__enter(s);
	if (!rc)
		rc = weft__await_operation(s, &sqe, &res, &flags);
	*must_return = rc || res == -ECANCELED;
	if (!rc)
		rc = res;
	fd = weft__held_take(h, 0);
	if (!rc && is_its_own_peer(fd))
		rc = -ECONNREFUSED;
	return rc ? fail(fd, rc) : fd;
}

static int dial_each(struct scheduler *s, struct held *h,
		     const struct address *a)
{
	bool must_return = false;
	int rc = resolve(a, 0, &h->found);

	if (rc)
		return rc;
	rc = -ENOENT;
	for (const struct addrinfo *ai = h->found; ai && rc < 0 && !must_return;
	     ai = ai->ai_next)
		rc = dial_inet(s, h, ai, &must_return);
	return rc;
}

static int dial_local(struct held *h, const struct address *a)
{
	int fd = weft__above_standard(
		socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
	int rc;

	if (fd < 0)
		return -errno;
	h->fds[0] = fd;
	rc = weft_connect(fd, (const struct sockaddr *)&a->local,
			  a->local_length);
	fd = weft__held_take(h, 0);
	return rc ? fail(fd, rc) : fd;
}

static bool is_port_zero(const char *port)
{
	while (*port == '0')
		port++;
	return !*port;
}

WEFT_API int weft_dial(const char *address)
{
	struct scheduler *s = weft__scheduler();
	struct address a;
	struct held *h;
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (!rc && weft__address_parse(&a, address))
		rc = -EINVAL;
	if (!rc && !a.local_length && (a.is_any || is_port_zero(a.port)))
		rc = -EINVAL;
	if (rc)
		return rc;
	h = weft__held_new(s);
	if (!h)
		return -ENOMEM;
	rc = a.local_length ? dial_local(h, &a) : dial_each(s, h, &a);
	weft__held_end(h);
	return rc;
}
