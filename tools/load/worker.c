/* SPDX-License-Identifier: MIT */
/*
 * The threads that drive the load, and their connections.
 *
 * What is sent goes round in a buffer. Without HTTP it is a pattern that goes on along
 * the whole connection: a request is `size` bytes of it, and its answer is the same
 * bytes. Each connection has one tasklet: it sends the requests that are due and may be
 * in flight, then receives. A send never waits, or two full buffers would wait for each
 * other; if one would have to, the tasklet waits for both directions.
 *
 * With a rate, each connection has a timetable, and a latency counts from the moment
 * at which its request was to be sent, even if it could only be sent later because
 * the server had not answered earlier ones. A connection that was lost is made anew,
 * and its timetable goes on.
 *
 * What was to be sent before the end is measured, and waited for: else a server that
 * stalls at the end would look better than it is. What could not be sent while it would
 * have been waited for is an error, and what has not been sent at the end is counted.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#include "load.h"

enum {
	PATTERN = 65521, /* a prime, so that requests begin anywhere in it */
	CHUNK = 64 * 1024,
	LEAST_BUFFER = 4096,
	HTTP_BUFFER = 16 * 1024
};

static const int64_t PAUSE =
	10 * WEFT_MILLISECOND; /* before connecting again */

struct worker {
	pthread_t thread;
	weft_tasklet main;
	unsigned first, n; /* connections */
	int error;         /* of the thread as a whole */
	struct counts counts;
};

struct connection {
	struct worker *worker;
	unsigned index;
	int fd;
	bool was_tried, is_done; /* done: there are no requests left to send */
	uint64_t asked, sent;    /* bytes of requests */
	uint64_t received;       /* bytes of the pattern */
	int64_t now;             /* when bytes have come */
	void *state;             /* of the protocol */
	int64_t due;             /* when the next request is to be sent */
	size_t size;             /* of the buffer */
	char *buffer;
	unsigned head, in_flight; /* of the ring: moments that count as sent */
	int64_t moments[];
};

const char *const error_names[N_ERRORS] = {
	[ERROR_CONNECT] = "connect", [ERROR_RESET] = "reset",
	[ERROR_CLOSED] = "closed",   [ERROR_TIMEOUT] = "timeout",
	[ERROR_CONTENT] = "content", [ERROR_STATUS] = "status",
	[ERROR_LENGTH] = "length",   [ERROR_MALFORMED] = "malformed",
	[ERROR_OTHER] = "other",
};

static struct worker *workers;
/* What is sent, and again from the beginning; there is CHUNK more, so that a send
 * can begin anywhere. */
static char *stream;
static size_t period;
static weft_channel *started; /* of workers: all their tasklets are there */
static weft_channel *gate;    /* closed by load_begin() */
static _Atomic(uint64_t) n_tried, n_asked, n_done;
/* Written before the gate is closed. */
static int64_t warm_moment, from_moment, interval;
static _Atomic(int64_t) to_moment = INT64_MAX;

static void add(_Atomic(uint64_t) *count, uint64_t n)
{
	atomic_store_explicit(
		count, atomic_load_explicit(count, memory_order_relaxed) + n,
		memory_order_relaxed);
}

/* --- connections --- */

static void note_error(struct connection *c, enum error_kind kind)
{
	/* Each request that was lost is one. */
	add(&c->worker->counts.errors[kind], c->in_flight ? c->in_flight : 1);
}

static enum error_kind kind_of(int rc)
{
	switch (rc) {
	case CLOSED:
	case ENDED:
		return ERROR_CLOSED;
	case -EBADMSG:
		return settings.protocol->malformed;
	case -ECONNRESET:
	case -EPIPE:
		return ERROR_RESET;
	case -ETIMEDOUT:
		return ERROR_TIMEOUT;
	default:
		return ERROR_OTHER;
	}
}

static void note_tried(struct connection *c)
{
	if (!c->was_tried)
		atomic_fetch_add(&n_tried, 1);
	c->was_tried = true;
}

/* The kernel may choose the very port that is connected to, if nobody listens there.
 * Then TCP connects the socket to itself, and all that is sent comes back. */
static bool is_its_own_peer(int fd)
{
	struct sockaddr_storage own = { 0 }, peer = { 0 };
	socklen_t own_length = sizeof own, peer_length = sizeof peer;

	return !address_is_unix(&settings.address) &&
	       getsockname(fd, (struct sockaddr *)&own, &own_length) == 0 &&
	       getpeername(fd, (struct sockaddr *)&peer, &peer_length) == 0 &&
	       memcmp(&own, &peer, sizeof own) == 0;
}

/* A connection without requests in flight; else -ECANCELED at the end, or why. */
static int try_to_connect(struct connection *c)
{
	const struct address *a = &settings.address;
	struct weft_deadline d;
	int fd = address_socket(a);
	int rc;

	if (fd < 0)
		return fd;
	weft_deadline_begin(&d, weft_now() + settings.timeout);
	rc = weft_connect(fd, (const struct sockaddr *)&a->name, a->length);
	weft_deadline_end(&d);
	if (!rc && is_its_own_peer(fd))
		rc = -ECONNREFUSED;
	if (rc) {
		weft_close(fd);
		return rc;
	}
	c->fd = fd;
	c->asked = c->sent = c->received = 0;
	c->head = c->in_flight = 0;
	settings.protocol->begin(c->state, c);
	add(&c->worker->counts.n_connected, 1);
	return 0;
}

static int connect_at_last(struct connection *c)
{
	int rc;

	while ((rc = try_to_connect(c))) {
		if (rc == -ECANCELED || weft_now() >= to_moment)
			return -ECANCELED;
		note_error(c, ERROR_CONNECT);
		note_tried(c);
		rc = weft_sleep(PAUSE);
		if (rc)
			return rc;
	}
	note_tried(c);
	return 0;
}

static void disconnect(struct connection *c)
{
	weft_close(c->fd);
	c->fd = -1;
	c->in_flight = 0;
}

/* --- requests --- */

static unsigned place(const struct connection *c, unsigned n)
{
	return (c->head + n) % settings.pipeline;
}

/* Those of the warm-up are not among settings.requests. */
static bool may_ask(struct connection *c, int64_t moment)
{
	if (moment >= to_moment)
		c->is_done = true;
	else if (settings.requests && moment >= from_moment &&
		 atomic_fetch_add(&n_asked, 1) >= settings.requests)
		c->is_done = true;
	return !c->is_done;
}

/* Adds the requests that are due and may be in flight. */
static void ask(struct connection *c, int64_t now)
{
	while (!c->is_done && c->in_flight < settings.pipeline &&
	       c->due <= now && may_ask(c, interval ? c->due : now)) {
		int64_t moment = interval ? c->due : now;

		c->due += interval;
		if (now - moment >= settings.timeout) {
			add(&c->worker->counts.errors[ERROR_TIMEOUT], 1);
			continue;
		}
		c->moments[place(c, c->in_flight++)] = moment;
		c->asked += settings.request_size;
	}
	if (interval && c->due >= to_moment)
		c->is_done = true;
}

/* Requests that were due and have not been sent. With a limit of their number, they
 * are nobody's in particular. */
static uint64_t count_unsent(const struct connection *c)
{
	int64_t now = weft_now(), end = to_moment;

	if (now < end)
		end = now;
	if (!interval || settings.requests || c->is_done || c->due >= end)
		return 0;
	return (uint64_t)((end - 1 - c->due) / interval + 1);
}

static int send_what_goes(struct connection *c)
{
	while (c->sent < c->asked) {
		uint64_t n = c->asked - c->sent;
		ssize_t sent = weft_send(c->fd, stream + c->sent % period,
					 n < CHUNK ? n : CHUNK, MSG_DONTWAIT);

		if (sent == -EAGAIN)
			return 0;
		if (sent < 0)
			return (int)sent;
		c->sent += (uint64_t)sent;
	}
	return 0;
}

bool load_awaits(const struct connection *c)
{
	return c->in_flight;
}

void load_answer(struct connection *c, enum error_kind error, uint64_t n_bytes)
{
	struct counts *counts = &c->worker->counts;
	int64_t moment = c->moments[c->head];

	c->head = place(c, 1);
	c->in_flight--;
	if (error != NO_ERROR) {
		add(&counts->errors[error], 1);
		return;
	}
	add(&counts->n_answers, 1);
	if (moment < from_moment)
		return;
	histogram_add(&counts->latencies, c->now - moment);
	counts->n_measured++;
	counts->n_in_time += c->now <= to_moment;
	counts->n_bytes += n_bytes;
}

/* When waiting for an answer makes no sense any more. */
static int64_t limit_of(const struct connection *c)
{
	int64_t limit = c->moments[c->head] + settings.timeout;

	if (!c->is_done && c->in_flight < settings.pipeline && c->due < limit)
		limit = c->due;
	return limit;
}

/* --- a server that sends back what it receives --- */

static void begin_echo(void *state, struct connection *c)
{
	*(struct connection **)state = c;
}

static int take_echo(void *state, const char *data, size_t n)
{
	struct connection *c = *(struct connection **)state;

	if (!n)
		return CLOSED;
	if (n > c->asked - c->received ||
	    memcmp(data, stream + c->received % period, n) != 0)
		return -EBADMSG;
	c->received += n;
	while (c->in_flight && (uint64_t)(c->in_flight - 1) * settings.size >=
				       c->asked - c->received)
		load_answer(c, NO_ERROR, settings.size);
	return 0;
}

static const struct protocol echo_protocol = {
	.malformed = ERROR_CONTENT,
	.state_size = sizeof(struct connection *),
	.begin = begin_echo,
	.take = take_echo,
};

/* --- receiving --- */

static bool is_late(const struct connection *c)
{
	return weft_now() >= c->moments[c->head] + settings.timeout;
}

/* 0, -ECANCELED, or why the connection is of no use any more: a negative errno, or what
 * the protocol says. */
static int receive(struct connection *c)
{
	bool is_stuck = c->sent < c->asked;
	struct pollfd both = { .fd = c->fd, .events = POLLIN | POLLOUT };
	struct weft_deadline d;
	unsigned before;
	ssize_t n;
	bool expired;
	int rc;

	weft_deadline_begin(&d, limit_of(c));
	n = is_stuck ? weft_poll(&both, 1, -1)
		     : weft_recv(c->fd, c->buffer, c->size, 0);
	expired = weft_deadline_end(&d) && n == -ETIMEDOUT;
	if (expired) {
		/* What has come is taken all the same: the next request may
		 * always be due already, or this process was not running. */
		n = weft_recv(c->fd, c->buffer, c->size, MSG_DONTWAIT);
		if (n == -EAGAIN)
			return is_late(c) ? -ETIMEDOUT : 0;
	} else if (n >= 0 && is_stuck) {
		if (!(both.revents & ~POLLOUT))
			return 0;
		n = weft_recv(c->fd, c->buffer, c->size, 0);
	}
	if (n < 0)
		return (int)n;
	c->now = weft_now();
	before = c->in_flight;
	rc = settings.protocol->take(c->state, c->buffer, (size_t)n);
	if (!rc && c->in_flight == before && is_late(c))
		return -ETIMEDOUT;
	return rc;
}

/* One turn: what is due is sent, and what is there is received. -ECANCELED if there
 * is nothing left to do. */
static int turn(struct connection *c)
{
	int64_t now = weft_now();
	int rc;

	ask(c, now);
	rc = send_what_goes(c);
	if (rc)
		return rc;
	if (!c->in_flight && c->is_done)
		return -ECANCELED;
	if (!c->in_flight)
		return weft_sleep_until(c->due);
	return receive(c);
}

/* Until all that was to be sent has been answered or was lost, or -ECANCELED. */
static void drive(struct connection *c)
{
	int rc = 0;

	while (rc != -ECANCELED && (c->fd >= 0 || weft_now() < to_moment)) {
		rc = c->fd < 0 ? connect_at_last(c) : turn(c);
		if (!rc || rc == -ECANCELED)
			continue;
		if (rc == ENDED && !c->in_flight) {
			disconnect(c);
			rc = 0;
			continue;
		}
		note_error(c, kind_of(rc));
		disconnect(c);
		rc = weft_sleep(PAUSE);
	}
}

static void begin_timetable(struct connection *c)
{
	c->due = warm_moment;
	if (interval)
		c->due += (int64_t)(1e9 * c->index / settings.rate);
}

static void free_connection(struct connection *c)
{
	free(c->buffer);
	free(c->state);
	free(c);
}

static int be_connection(void *arg)
{
	struct connection *c = arg;
	int rc = connect_at_last(c);

	if (!rc && weft_channel_receive(gate, NULL) == -EPIPE) {
		begin_timetable(c);
		drive(c);
	} else if (to_moment < INT64_MAX) {
		begin_timetable(c); /* which has passed without it */
	}
	c->worker->counts.n_unanswered += c->in_flight + count_unsent(c);
	atomic_fetch_add(&n_done, 1);
	if (c->fd >= 0)
		weft_close(c->fd);
	free_connection(c);
	return 0;
}

/* --- threads --- */

static struct connection *new_connection(struct worker *w, unsigned index)
{
	struct connection *c =
		calloc(1, sizeof *c + settings.pipeline * sizeof(int64_t));
	size_t most = settings.size * settings.pipeline;

	if (!c)
		return NULL;
	c->worker = w;
	c->index = index;
	c->fd = -1;
	c->size = most < LEAST_BUFFER ? LEAST_BUFFER
		  : most > CHUNK      ? CHUNK
				      : most;
	if (settings.path)
		c->size = HTTP_BUFFER;
	c->buffer = malloc(c->size);
	c->state = malloc(settings.protocol->state_size);
	if (c->buffer && c->state)
		return c;
	free_connection(c);
	return NULL;
}

static int spawn_connections(struct worker *w, weft_group *g)
{
	for (unsigned i = 0; i < w->n; i++) {
		struct connection *c = new_connection(w, w->first + i);

		if (!c)
			return -ENOMEM;
		if (weft_tasklet_is_null(
			    weft_group_spawn(g, be_connection, c))) {
			int error = errno;

			free_connection(c);
			return -error;
		}
	}
	return 0;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	weft_group *g = weft_group_new();

	w->main = weft_main();
	w->error = g ? spawn_connections(w, g) : -ENOMEM;
	weft_channel_send(started, NULL);
	if (g) {
		if (w->error)
			weft_group_kill(g);
		/* load_stop() kills this wait, and with it the members. */
		weft_group_wait(g);
		weft_group_free(g);
	}
	return NULL;
}

static void make_pattern(void)
{
	uint64_t x = 88172645463325252;

	for (size_t i = 0; i < PATTERN; i++) {
		x ^= x << 13;
		x ^= x >> 7;
		x ^= x << 17;
		stream[i] = (char)x;
	}
}

static bool make_stream(void)
{
	bool is_pattern = settings.protocol == &echo_protocol;

	period = is_pattern ? PATTERN : settings.request_size;
	stream = malloc(period + CHUNK);
	if (!stream)
		return false;
	if (is_pattern)
		make_pattern();
	else
		memcpy(stream, settings.request, period);
	for (size_t i = period; i < period + CHUNK; i++)
		stream[i] = stream[i - period];
	return true;
}

static int start_workers(void)
{
	unsigned first = 0, rc = 0;

	for (unsigned i = 0; i < settings.threads && !rc; i++) {
		struct worker *w = &workers[i];

		w->first = first;
		w->n = (settings.connections - first) / (settings.threads - i);
		first += w->n;
		rc = (unsigned)pthread_create(&w->thread, NULL, work, w);
		if (rc)
			settings.threads = i;
	}
	for (unsigned i = 0; i < settings.threads; i++)
		weft_channel_receive(started, NULL);
	return -(int)rc;
}

int load_start(void)
{
	int rc;

	workers = calloc(settings.threads, sizeof *workers);
	started = weft_channel_new(0, 0);
	gate = weft_channel_new(0, 0);
	if (!settings.protocol) {
		settings.protocol = &echo_protocol;
		settings.request_size = settings.size;
	}
	if (!workers || !started || !gate || !make_stream())
		return -ENOMEM;
	if (settings.rate > 0)
		interval =
			(int64_t)(1e9 * settings.connections / settings.rate);
	rc = start_workers();
	for (unsigned i = 0; i < settings.threads && !rc; i++)
		rc = workers[i].error;
	return rc;
}

bool load_is_connected(void)
{
	return atomic_load(&n_tried) == settings.connections;
}

bool load_is_done(void)
{
	return atomic_load(&n_done) == settings.connections;
}

void load_begin(int64_t warm, int64_t from, int64_t to)
{
	warm_moment = warm;
	from_moment = from;
	to_moment = to;
	weft_channel_close(gate);
}

void load_stop(void)
{
	for (unsigned i = 0; i < settings.threads; i++)
		weft_tasklet_kill(workers[i].main, 0);
	weft_channel_close(gate);
	for (unsigned i = 0; i < settings.threads; i++)
		pthread_join(workers[i].thread, NULL);
}

/* --- figures --- */

static uint64_t read_count(const _Atomic(uint64_t) *count)
{
	return atomic_load_explicit(count, memory_order_relaxed);
}

uint64_t load_answers(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < settings.threads; i++)
		n += read_count(&workers[i].counts.n_answers);
	return n;
}

uint64_t load_errors(void)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < settings.threads; i++)
		for (int k = 0; k < N_ERRORS; k++)
			n += read_count(&workers[i].counts.errors[k]);
	return n;
}

void load_collect(struct outcome *o)
{
	for (unsigned i = 0; i < settings.threads; i++) {
		struct counts *c = &workers[i].counts;

		histogram_merge(o->latencies, &c->latencies);
		for (int k = 0; k < N_ERRORS; k++) {
			o->errors[k] += read_count(&c->errors[k]);
			o->n_errors += read_count(&c->errors[k]);
		}
		o->n_measured += c->n_measured;
		o->n_in_time += c->n_in_time;
		o->n_bytes += c->n_bytes;
		o->n_unanswered += c->n_unanswered;
		o->n_connected += read_count(&c->n_connected);
	}
	free(workers);
	free(stream);
	weft_channel_unref(started);
	weft_channel_unref(gate);
}
