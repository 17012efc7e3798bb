/* SPDX-License-Identifier: MIT */
/*
 * There are two ways to serve, which cost differently:
 *
 *	one-shot   one call for each connection, message and answer. Each
 *	           connection has its buffer on its stack.
 *	stream     connections and messages come by themselves, in buffers that
 *	           all connections share. A tasklet needs so little stack that an
 *	           idle connection costs a page and a few hundred bytes.
 *
 * Idle connections are found by one tasklet for all. A deadline for each message would
 * be more exact, but here a time limit is rarely reached: it takes two looks at the
 * clock, and a timer that is set and cancelled, for each message.
 */
#include "serve.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

enum {
	BUFFER_SIZE = 16 * 1024,
	N_BUFFERS = 1024, /* of a thread; most are never touched */
	DATAGRAM_SIZE = 64 * 1024,
	N_DATAGRAM_BUFFERS = 64,
	IDLE_LOOKS = 8 /* while a connection is idle for as long as it may */
};

/* A guard whose connections may hardly be idle is not to be busy itself. */
static const int64_t LEAST_PAUSE = WEFT_MILLISECOND;
static const int64_t RECEIVE_PAUSE = 10 * WEFT_MILLISECOND;

/* What a thread has of its own. */
struct worker {
	weft_buffers *buffers;   /* of streams that receive */
	weft_tasklet idle_guard; /* ends idle connections */
};

/* --- connections --- */

static bool send_all(struct server_connection *c, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = weft_send(c->fd, data, n, 0);

		if (sent < 0)
			return false;
		c->has_moved = true;
		data += sent;
		n -= (size_t)sent;
	}
	return true;
}

static void note_message(struct server_connection *c, size_t n)
{
	c->thread->counts.n_messages++;
	c->thread->counts.n_bytes += n;
	c->has_moved = true;
}

/* A peer that went away is its own affair: there is nothing to report. */
void serve_one_shot(struct server_connection *c)
{
	char buffer[BUFFER_SIZE];
	ssize_t n;

	while ((n = weft_recv(c->fd, buffer, sizeof buffer, 0)) > 0 &&
	       send_all(c, buffer, (size_t)n))
		note_message(c, (size_t)n);
}

/* Most answers fit into the socket at once. Then a system call is all it takes, and
 * the tasklet goes on. It cannot go on for long: what comes meanwhile, comes when
 * it gives way. */
static bool send_now(struct server_connection *c, const char *data, size_t n)
{
	ssize_t sent = send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0 && errno != EAGAIN && errno != EINTR)
		return false;
	if (sent < 0)
		sent = 0;
	return send_all(c, data + sent, n - (size_t)sent);
}

void serve_stream(struct server_connection *c)
{
	const struct worker *w = c->thread->own;
	weft_stream *incoming = weft_recv_stream(c->fd, w->buffers);
	void *data;
	ssize_t n;

	if (!incoming)
		server_complain(c->thread, "a connection was refused", errno);
	while (incoming && (n = weft_stream_next(incoming, &data)) > 0 &&
	       send_now(c, data, (size_t)n)) {
		weft_stream_release(incoming, data);
		note_message(c, (size_t)n);
	}
	weft_stream_close(incoming);
}

/* --- those that are idle --- */

static void look_at(struct server_connection *c, int64_t now)
{
	if (c->has_moved) {
		c->has_moved = false;
		c->since = now;
	} else if (now - c->since >= server.idle && !c->is_cut) {
		c->is_cut = true;
		c->thread->counts.n_idle++;
		shutdown(c->fd, SHUT_RDWR);
	}
}

static int guard_idle(void *arg)
{
	struct server_thread *t = arg;

	while (weft_sleep(server.idle / IDLE_LOOKS + LEAST_PAUSE) == 0) {
		int64_t now = weft_now();

		for (struct server_connection *c = t->connections; c;
		     c = c->next)
			look_at(c, now);
	}
	return 0;
}

/* --- datagrams --- */

static void send_back(struct server_thread *t, int fd, const void *data,
		      size_t n, const void *name, socklen_t length)
{
	ssize_t sent = weft_sendto(fd, data, n, 0, name, length);

	if (sent < 0)
		return; /* as if the network had lost it */
	t->counts.n_messages++;
	t->counts.n_bytes += (uint64_t)sent;
}

/* After a receive has failed. False: the tasklet was killed, it is the end. */
static bool go_on_after(struct server_thread *t, int error)
{
	if (error == -ECANCELED)
		return false;
	/* about an answer that went nowhere, or about us */
	if (error != -ECONNREFUSED) {
		server_complain(t, "cannot receive", -error);
		weft_sleep(RECEIVE_PAUSE);
	}
	return !t->is_ending;
}

void receive_datagrams(struct server_thread *t, int fd)
{
	char *buffer = malloc(DATAGRAM_SIZE);
	struct sockaddr_storage from;
	ssize_t n;

	if (!buffer) {
		server_complain(t, "cannot serve datagrams", ENOMEM);
		return;
	}
	do {
		socklen_t length = sizeof from;

		n = weft_recvfrom(fd, buffer, DATAGRAM_SIZE, 0,
				  (struct sockaddr *)&from, &length);
		if (n >= 0)
			send_back(t, fd, buffer, (size_t)n, &from, length);
	} while (n >= 0 || go_on_after(t, (int)n));
	free(buffer);
}

void stream_datagrams(struct server_thread *t, int fd)
{
	weft_buffers *buffers = weft_buffers_new(
		N_DATAGRAM_BUFFERS, WEFT_MESSAGE_ROOM + DATAGRAM_SIZE);
	weft_stream *incoming =
		buffers ? weft_recvmsg_stream(fd, buffers) : NULL;
	struct weft_message m;
	int rc = 1;

	if (!incoming)
		server_complain(t, "cannot serve datagrams", errno);
	while (incoming && (rc > 0 || go_on_after(t, rc))) {
		rc = weft_stream_next_message(incoming, &m);
		if (rc <= 0)
			continue;
		send_back(t, fd, m.data, m.size, m.header.msg_name,
			  m.header.msg_namelen);
		weft_stream_release(incoming, m.data);
	}
	weft_stream_close(incoming);
	weft_buffers_free(buffers);
}

/* --- the thread --- */

int echo_begin(struct server_thread *t)
{
	struct worker *w = calloc(1, sizeof *w);

	t->own = w;
	if (!w)
		return -ENOMEM;
	if (server.is_stream) {
		w->buffers = weft_buffers_new(N_BUFFERS, BUFFER_SIZE);
		if (!w->buffers)
			return -errno;
	}
	if (server.idle) {
		w->idle_guard = weft_spawn(guard_idle, t);
		if (weft_tasklet_is_null(w->idle_guard))
			return -errno;
	}
	return 0;
}

void echo_end(struct server_thread *t)
{
	struct worker *w = t->own;

	if (w)
		weft_tasklet_kill(w->idle_guard, 0);
}

void echo_finish(struct server_thread *t)
{
	struct worker *w = t->own;

	if (w)
		weft_buffers_free(w->buffers);
	free(w);
}
