/* SPDX-License-Identifier: MIT */
/*
 * Streams of connections, bytes and messages over small pools, against kills, raises,
 * deadlines, readers that keep their buffers, and closes at any moment.
 *
 * Plain threads connect and send, each connection a sequence of bytes that its number
 * determines, and descriptors beside messages. The tasklets that read are
 * interrupted all the time. Every byte comes once, in its place, unless its
 * connection was given up on purpose. What a tasklet holds does not change. In
 * the end all descriptors are closed and all buffers are back.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "stress.h"
#include "support.h"

enum {
	MOST_CONNECTIONS = 60,
	MOST_HELD = 4,
	MOST_BYTES = 20000,
	N_CLIENTS = 2,
	RAISED = EXDEV,
	HEADER = 8
};

/* What a connection sends first. */
struct header {
	uint32_t number, size;
};

_Static_assert(sizeof(struct header) == HEADER, "no padding");

struct held {
	unsigned char *data;
	uint32_t size, at; /* in the connection's bytes */
};

struct connection {
	weft_tasklet reader;
	weft_stream *stream;
	int fd;
	bool has_begun; /* its tasklet: before that, a kill would end it unheard */
	bool is_to_be_given_up;
	unsigned char header[HEADER];
	uint32_t n; /* bytes so far, the header included */
	struct held held[MOST_HELD];
	int n_held;
	struct random_state random;
};

static struct {
	int n_connections, n_accepted, n_ended;
	bool must_end;
	bool accepts; /* its tasklet has begun */
	bool is_local;
	unsigned n_buffers;
	size_t buffer_size;
	weft_buffers *pool;
	weft_stream *acceptor_stream;
	weft_tasklet acceptor;
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_un un;
	} address;
	socklen_t address_size;
	struct connection connections[MOST_CONNECTIONS];
	uint64_t seed;
} now;

/* Of all rounds. */
static uint64_t n_bytes, n_interrupted, n_given_up, n_messages, n_passed;

static unsigned char byte_at(uint32_t number, uint32_t at)
{
	return (unsigned char)(number * 7 + at * 31 + (at >> 8));
}

/* --- the clients --- */

struct client {
	int first; /* of its connections; every N_CLIENTS-th */
	struct random_state random;
};

struct outgoing {
	int fd;
	struct header header;
	uint32_t n;
};

static void connect_one(struct outgoing *o, struct random_state *r, int number)
{
	o->fd = socket(now.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC,
		       0);
	o->header = (struct header){ .number = (uint32_t)number,
				     .size = random_below(r, MOST_BYTES) };
	if (o->fd < 0 || connect(o->fd, &now.address.any, now.address_size))
		stress_fail("cannot connect: %s", strerror(errno));
	if (send(o->fd, &o->header, sizeof o->header, MSG_NOSIGNAL) < 0 &&
	    errno != EPIPE && errno != ECONNRESET)
		stress_fail("cannot send: %s", strerror(errno));
}

/* False at the end. */
static bool send_some(struct outgoing *o, struct random_state *r)
{
	unsigned char bytes[2000];
	uint32_t left = o->header.size - o->n;
	uint32_t n = random_one_in(r, 2) ? random_between(r, 1, 50)
					 : random_between(r, 1, 2000);
	ssize_t sent;

	if (n > left)
		n = left;
	for (uint32_t i = 0; i < n; i++)
		bytes[i] = byte_at(o->header.number, o->n + i);
	sent = n ? send(o->fd, bytes, n, MSG_NOSIGNAL) : 0;
	if (sent < 0 && errno != EPIPE && errno != ECONNRESET)
		stress_fail("cannot send: %s", strerror(errno));
	o->n += sent < 0 ? left : (uint32_t)sent;
	if (o->n < o->header.size)
		return true;
	close(o->fd);
	return false;
}

/* Keeps a few connections open at a time. */
static void *be_client(void *arg)
{
	struct client *c = arg;
	struct outgoing open[20];
	unsigned most = random_between(&c->random, 1, 20);
	unsigned n = 0;
	int next = c->first;

	while (n || next < now.n_connections) {
		unsigned i;

		if (n < most && next < now.n_connections) {
			open[n] = (struct outgoing){ 0 };
			connect_one(&open[n++], &c->random, next);
			next += N_CLIENTS;
		}
		i = random_below(&c->random, n);
		if (!send_some(&open[i], &c->random))
			open[i] = open[--n];
		if (random_one_in(&c->random, 100))
			usleep(100);
	}
	return NULL;
}

/* --- reading a connection --- */

/* The bytes after the header, from @at on. */
static void check(const struct connection *c, const unsigned char *data,
		  uint32_t size, uint32_t at)
{
	struct header h;

	memcpy(&h, c->header, sizeof h);
	for (uint32_t i = 0; i < size; i++, at++) {
		unsigned char byte = at < HEADER
					     ? c->header[at]
					     : byte_at(h.number, at - HEADER);

		if (data[i] != byte)
			stress_fail("connection %u: byte %u is wrong", h.number,
				    at);
	}
}

static void note_bytes(struct connection *c, unsigned char *data, uint32_t size)
{
	for (uint32_t i = 0; i < size && c->n + i < HEADER; i++)
		c->header[c->n + i] = data[i];
	check(c, data, size, c->n);
	c->held[c->n_held++] =
		(struct held){ .data = data, .size = size, .at = c->n };
	c->n += size;
	n_bytes += size;
}

static void release_one(struct connection *c)
{
	int i = (int)random_below(&c->random, (unsigned)c->n_held);
	struct held h = c->held[i];

	check(c, h.data, h.size, h.at);
	weft_stream_release(c->stream, h.data);
	c->held[i] = c->held[--c->n_held];
}

/* Who holds buffers does not wait for ever, since all could do that. */
static ssize_t next_bytes(struct connection *c, void **data)
{
	struct weft_deadline deadline;
	int64_t ns = random_between(&c->random, 0, 200000);
	ssize_t rc;

	if (!c->n_held && !random_one_in(&c->random, 10))
		return weft_stream_next(c->stream, data);
	weft_deadline_begin(&deadline, weft_now() + ns);
	rc = weft_stream_next(c->stream, data);
	weft_deadline_end(&deadline);
	return rc;
}

static void end_connection(struct connection *c, bool is_whole)
{
	struct header h;

	memcpy(&h, c->header, sizeof h);
	if (is_whole && (c->n < HEADER || c->n != h.size + HEADER))
		stress_fail("connection %u: %u bytes of %u", h.number, c->n,
			    h.size + HEADER);
	while (is_whole && c->n_held)
		release_one(c);
	c->has_begun = false;
	weft_stream_close(c->stream);
	if (c->fd >= 0)
		close(c->fd);
	now.n_ended++;
}

/* Whether the error says only that the call was interrupted. */
static bool is_interruption(ssize_t rc)
{
	if (rc != -RAISED && rc != -ETIMEDOUT && rc != -EDEADLK)
		return false;
	n_interrupted++;
	return true;
}

static int read_connection(void *arg);

/* A tasklet that was killed leaves its connection to another one. */
static void pass_on(struct connection *c)
{
	n_interrupted++;
	c->has_begun = false;
	c->reader = weft_spawn(read_connection, c);
	if (weft_tasklet_is_null(c->reader))
		stress_fail("cannot spawn");
}

/* Gives up a connection in one of several ways, with whatever there is unread. */
static void give_up(struct connection *c)
{
	void *data;

	n_given_up++;
	if (random_one_in(&c->random, 2)) {
		ssize_t rc;

		weft_close(c->fd);
		c->fd = -1;
		while ((rc = weft_stream_next(c->stream, &data)) > 0)
			weft_stream_release(c->stream, data);
		if (rc != -ECANCELED && rc != 0 && rc != -ECONNRESET &&
		    !is_interruption(rc))
			stress_fail("a closed one returned %zd", rc);
	}
	end_connection(c, false);
}

static int read_connection(void *arg)
{
	struct connection *c = arg;

	c->has_begun = true;
	for (;;) {
		void *data = NULL;
		ssize_t rc = next_bytes(c, &data);

		if (rc > 0) {
			note_bytes(c, data, (uint32_t)rc);
		} else if (rc == 0) {
			end_connection(c, true);
			return 0;
		} else if (rc == -ECANCELED) {
			pass_on(c);
			return 0;
		} else if (!is_interruption(rc)) {
			stress_fail("a stream returned %zd", rc);
		}
		while (c->n_held == MOST_HELD ||
		       (c->n_held && (rc < 0 || random_one_in(&c->random, 2))))
			release_one(c);
		if (c->is_to_be_given_up && random_one_in(&c->random, 20)) {
			give_up(c);
			return 0;
		}
		if (random_one_in(&c->random, 50))
			weft_schedule();
	}
}

static void begin_connection(int fd)
{
	int i = now.n_accepted++;
	struct connection *c = &now.connections[i];

	*c = (struct connection){
		.fd = fd,
		.random = random_stream(now.seed, 100 + (uint64_t)i),
	};
	c->is_to_be_given_up = random_one_in(&c->random, 8);
	c->stream = weft_recv_stream(fd, now.pool);
	if (!c->stream)
		stress_fail("no stream: %s", strerror(errno));
	c->reader = weft_spawn(read_connection, c);
	if (weft_tasklet_is_null(c->reader))
		stress_fail("cannot spawn");
}

static int accept_all(void *arg)
{
	now.accepts = true;
	while (now.n_accepted < now.n_connections) {
		ssize_t fd = weft_stream_next(now.acceptor_stream, NULL);

		if (fd >= 0) {
			begin_connection((int)fd);
		} else if (fd == -ECANCELED) {
			n_interrupted++;
			now.accepts = false;
			now.acceptor = weft_spawn(accept_all, arg);
			return 0;
		} else if (!is_interruption(fd)) {
			stress_fail("accept returned %zd", fd);
		}
	}
	now.accepts = false;
	return 0;
}

/* Interrupts whoever there is. */
static int interrupt(void *arg)
{
	struct random_state *r = arg;

	while (!now.must_end) {
		int i = (int)random_below(r, MOST_CONNECTIONS + 1);
		struct connection *c = &now.connections[i % MOST_CONNECTIONS];
		weft_tasklet t =
			i == MOST_CONNECTIONS ? now.acceptor : c->reader;
		unsigned flags = random_one_in(r, 2) ? WEFT_PENDING : 0;

		if (i == MOST_CONNECTIONS ? now.accepts : c->has_begun) {
			if (random_one_in(r, 2))
				weft_tasklet_kill(t, flags);
			else
				weft_tasklet_raise(t, RAISED, flags);
		}
		if (random_one_in(r, 4))
			weft_sleep(random_below(r, 50000));
		else
			weft_schedule();
	}
	return 0;
}

/* --- rounds of connections --- */

static int listener(void)
{
	int fd;

	memset(&now.address, 0, sizeof now.address);
	now.address_size =
		now.is_local ? sizeof(sa_family_t) : sizeof now.address.in;
	if (now.is_local)
		now.address.un.sun_family = AF_UNIX;
	else
		now.address.in = (struct sockaddr_in){
			.sin_family = AF_INET,
			.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
		};
	fd = socket(now.address.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	/* On a Unix socket the kernel chooses a name. */
	if (fd < 0 || bind(fd, &now.address.any, now.address_size) ||
	    listen(fd, MOST_CONNECTIONS))
		stress_fail("cannot listen: %s", strerror(errno));
	now.address_size = sizeof now.address;
	getsockname(fd, &now.address.any, &now.address_size);
	return fd;
}

/* All buffers, the reserve included, can be had. */
static void check_pool(void)
{
	char *bytes = calloc(now.n_buffers + 1, now.buffer_size);
	size_t size = (now.n_buffers + 1) * now.buffer_size;
	weft_stream *s;
	int fds[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) ||
	    send(fds[1], bytes, size, 0) != (ssize_t)size)
		stress_fail("cannot send: %s", strerror(errno));
	s = weft_recv_stream(fds[0], now.pool);
	for (unsigned i = 0; i <= now.n_buffers; i++) {
		void *data;
		ssize_t rc = weft_stream_next(s, &data);

		if (rc < 0)
			stress_fail("buffer %u of %u is missing: %zd", i,
				    now.n_buffers + 1, rc);
	}
	weft_stream_close(s);
	close(fds[0]);
	close(fds[1]);
	free(bytes);
}

static void run_round(uint64_t number)
{
	struct random_state r, for_interrupter;
	struct client clients[N_CLIENTS];
	pthread_t threads[N_CLIENTS];
	int fd;

	memset(&now, 0, sizeof now);
	now.seed = stress_seed * 1000003 + number;
	r = random_stream(now.seed, 0);
	for_interrupter = random_stream(now.seed, 1);
	now.n_connections = (int)random_between(&r, 1, MOST_CONNECTIONS);
	now.is_local = random_one_in(&r, 3);
	now.n_buffers = random_between(&r, 1, 12);
	now.buffer_size = random_between(&r, 1, 600);
	now.pool = weft_buffers_new(now.n_buffers, now.buffer_size);
	fd = listener();
	now.acceptor_stream = weft_accept_stream(fd);
	if (!now.pool || !now.acceptor_stream)
		stress_fail("no memory");
	now.acceptor = weft_spawn(accept_all, NULL);
	weft_spawn(interrupt, &for_interrupter);
	for (int i = 0; i < N_CLIENTS; i++) {
		clients[i].first = i;
		clients[i].random = random_stream(now.seed, 10 + (uint64_t)i);
		threads[i] = start_thread(be_client, &clients[i]);
	}
	while (now.n_ended < now.n_connections)
		weft_sleep(WEFT_MILLISECOND);
	now.must_end = true;
	weft_run();
	for (int i = 0; i < N_CLIENTS; i++)
		join_thread(threads[i]);
	check_pool();
	if (random_one_in(&r, 2))
		weft_close(fd);
	weft_stream_close(now.acceptor_stream);
	close(fd);
	weft_buffers_free(now.pool);
}

START_TEST(connections)
{
	int64_t end = stress_end_of_budget();
	int n = 0;

	if (lacks_threads())
		return;
	run_round(0);
	/* The first round leaves what the thread keeps. */
	n = n_descriptors();
	for (uint64_t round = 1; round < 2 || weft_now() < end; round++) {
		run_round(round);
		if (n_descriptors() != n)
			stress_fail("round %" PRIu64 " leaves descriptors",
				    round);
	}
	ck_assert_uint_gt(n_bytes, 0);
	ck_assert_uint_gt(n_interrupted, 0);
}
END_TEST

/* --- messages with descriptors --- */

enum { N_MESSAGES = 300, BYE = -1 };

struct sender {
	int fd;
	struct random_state random;
};

static void send_number(int fd, int number, int descriptor)
{
	union {
		char bytes[CMSG_SPACE(sizeof descriptor)];
		struct cmsghdr aligned;
	} control = { .bytes = "" };
	struct iovec iov = { .iov_base = &number, .iov_len = sizeof number };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (descriptor >= 0) {
		struct cmsghdr *c = &control.aligned;

		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof descriptor);
		memcpy(CMSG_DATA(c), &descriptor, sizeof descriptor);
	}
	if (sendmsg(fd, &m, MSG_NOSIGNAL) != sizeof number)
		stress_fail("cannot send: %s", strerror(errno));
}

static void *be_sender(void *arg)
{
	struct sender *s = arg;

	for (int i = 0; i < N_MESSAGES; i++) {
		send_number(s->fd, i, i % 2 ? s->fd : -1);
		if (random_one_in(&s->random, 30))
			usleep(50);
	}
	send_number(s->fd, BYE, -1);
	return NULL;
}

struct listening {
	weft_buffers *pool;
	weft_stream *stream;
	weft_tasklet tasklet;
	int fd;
	int last;
	bool has_begun;
	bool may_skip; /* the stream was closed with something unread */
	bool has_ended;
	struct random_state random;
};

static void note_message(struct listening *l, const struct weft_message *m)
{
	const struct cmsghdr *c = CMSG_FIRSTHDR(&m->header);
	int number, fd;

	if (m->size != sizeof number)
		stress_fail("a message of %zu bytes", m->size);
	memcpy(&number, m->data, sizeof number);
	n_messages++;
	if (number == BYE) {
		l->has_ended = true;
		if (l->last != N_MESSAGES - 1 && !l->may_skip)
			stress_fail("the last messages are missing");
		return;
	}
	if (number != l->last + 1 && !(l->may_skip && number > l->last))
		stress_fail("message %d comes after %d", number, l->last);
	l->last = number;
	l->may_skip = false;
	if (!c != !(number % 2))
		stress_fail("message %d: a descriptor too many, or few",
			    number);
	if (!c)
		return;
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	if (close(fd))
		stress_fail("message %d: no descriptor", number);
	n_passed++;
}

static int listen_to(void *arg)
{
	struct listening *l = arg;

	l->has_begun = true;
	while (!l->has_ended) {
		struct weft_message m;
		int rc = weft_stream_next_message(l->stream, &m);

		if (rc == 1) {
			note_message(l, &m);
			weft_stream_release(l->stream, m.data);
		} else if (rc == -ECANCELED) {
			n_interrupted++;
			l->has_begun = false;
			l->tasklet = weft_spawn(listen_to, l);
			return 0;
		} else if (!is_interruption(rc)) {
			stress_fail("a stream returned %d", rc);
		}
		/* The last one must not be lost. */
		if (l->last < N_MESSAGES / 2 && random_one_in(&l->random, 40)) {
			weft_stream_close(l->stream);
			l->stream = weft_recvmsg_stream(l->fd, l->pool);
			l->may_skip = true;
		}
	}
	return 0;
}

static void pass_messages(uint64_t number)
{
	uint64_t seed = stress_seed * 1000003 + number;
	struct random_state r = random_stream(seed, 0);
	struct listening l = { .last = -1, .random = random_stream(seed, 1) };
	struct sender s = { .random = random_stream(seed, 2) };
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	pthread_t thread;
	int fds[2];

	if (socketpair(AF_UNIX, types[random_below(&r, 2)] | SOCK_CLOEXEC, 0,
		       fds))
		stress_fail("no sockets");
	l.fd = fds[0];
	s.fd = fds[1];
	l.pool =
		weft_buffers_new(random_between(&r, 1, 5),
				 WEFT_MESSAGE_ROOM + random_between(&r, 4, 99));
	l.stream = weft_recvmsg_stream(l.fd, l.pool);
	if (!l.stream)
		stress_fail("no memory");
	l.tasklet = weft_spawn(listen_to, &l);
	thread = start_thread(be_sender, &s);
	while (!l.has_ended) {
		if (l.has_begun && random_one_in(&r, 2))
			weft_tasklet_kill(l.tasklet, 0);
		else if (l.has_begun)
			weft_tasklet_raise(l.tasklet, RAISED, WEFT_PENDING);
		weft_sleep(random_below(&r, 100000));
	}
	weft_run();
	join_thread(thread);
	weft_stream_close(l.stream);
	weft_buffers_free(l.pool);
	close(fds[0]);
	close(fds[1]);
}

START_TEST(messages)
{
	int64_t end = stress_end_of_budget();
	int n;

	if (lacks_threads())
		return;
	pass_messages(0);
	n = n_descriptors();
	for (uint64_t round = 1; round < 2 || weft_now() < end; round++) {
		pass_messages(round);
		if (n_descriptors() != n)
			stress_fail("round %" PRIu64 " leaves descriptors",
				    round);
	}
	ck_assert_uint_gt(n_messages, 0);
	ck_assert_uint_gt(n_passed, 0);
}
END_TEST

static const struct stress_case cases[] = {
	{ "bytes", &connections, 1 },
	{ "messages", &messages, 1 },
};

int main(void)
{
	return stress_main("stress_stream", cases, N_ELEMENTS(cases));
}
