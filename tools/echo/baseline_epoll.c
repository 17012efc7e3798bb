/* SPDX-License-Identifier: MIT */
/*
 * By epoll: level-triggered, sockets without blocking, one buffer for all. What cannot
 * be sent at once is kept by its connection, which is not read from until it is gone.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "baseline.h"

enum { MAX_EVENTS = 256 };

struct connection {
	int fd;
	size_t at, n; /* of what is kept */
	char *kept;
};

struct server {
	int epoll, listener;
	struct totals *totals;
	char buffer[BUFFER_SIZE];
};

/* The two descriptors that are no connections. */
static struct connection listening, signalled;

static void watch(struct server *s, int operation, int fd, uint32_t events,
		  struct connection *c)
{
	struct epoll_event e = { .events = events, .data.ptr = c };

	if (epoll_ctl(s->epoll, operation, fd, &e))
		fail(errno, "epoll_ctl");
}

static void end_connection(struct connection *c)
{
	close(c->fd);
	free(c->kept);
	free(c);
}

static void accept_all(struct server *s)
{
	for (;;) {
		struct connection *c;
		int fd = accept4(s->listener, NULL, NULL,
				 SOCK_NONBLOCK | SOCK_CLOEXEC);

		if (fd < 0) {
			if (errno == EMFILE || errno == ENFILE)
				usleep(10000); /* those who leave make room */
			return;
		}
		c = calloc(1, sizeof *c);
		if (!c)
			fail(ENOMEM, "a connection");
		c->fd = fd;
		s->totals->n_connections++;
		watch(s, EPOLL_CTL_ADD, fd, EPOLLIN, c);
	}
}

/* Until there is room for it. */
static void keep(struct server *s, struct connection *c, const char *data,
		 size_t n)
{
	c->kept = malloc(n);
	if (!c->kept)
		fail(ENOMEM, "what could not be sent");
	memcpy(c->kept, data, n);
	c->at = 0;
	c->n = n;
	watch(s, EPOLL_CTL_MOD, c->fd, EPOLLOUT, c);
}

static void receive(struct server *s, struct connection *c)
{
	ssize_t n = recv(c->fd, s->buffer, sizeof s->buffer, 0);
	ssize_t sent;

	if (n <= 0) {
		if (n == 0 || errno != EAGAIN)
			end_connection(c);
		return;
	}
	s->totals->n_messages++;
	s->totals->n_bytes += (uint64_t)n;
	sent = send(c->fd, s->buffer, (size_t)n, MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN) {
		end_connection(c);
		return;
	}
	if (sent < 0)
		sent = 0;
	if (sent < n)
		keep(s, c, s->buffer + sent, (size_t)(n - sent));
}

static void send_kept(struct server *s, struct connection *c)
{
	ssize_t sent = send(c->fd, c->kept + c->at, c->n - c->at, MSG_NOSIGNAL);

	if (sent < 0) {
		if (errno != EAGAIN)
			end_connection(c);
		return;
	}
	c->at += (size_t)sent;
	if (c->at < c->n)
		return;
	free(c->kept);
	c->kept = NULL;
	watch(s, EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
}

void serve_by_epoll(int listener, int signals, struct totals *t)
{
	static struct server s;
	struct epoll_event events[MAX_EVENTS];

	s.epoll = epoll_create1(EPOLL_CLOEXEC);
	s.listener = listener;
	s.totals = t;
	if (s.epoll < 0)
		fail(errno, "epoll_create1");
	watch(&s, EPOLL_CTL_ADD, listener, EPOLLIN, &listening);
	watch(&s, EPOLL_CTL_ADD, signals, EPOLLIN, &signalled);
	for (;;) {
		int n = epoll_wait(s.epoll, events, MAX_EVENTS, -1);

		if (n < 0 && errno != EINTR)
			fail(errno, "epoll_wait");
		for (int i = 0; i < n; i++) {
			struct connection *c = events[i].data.ptr;

			if (c == &signalled)
				return;
			if (c == &listening)
				accept_all(&s);
			else if (c->kept)
				send_kept(&s, c);
			else
				receive(&s, c);
		}
	}
}
