/* SPDX-License-Identifier: MIT */
/*
 * The completion of each operation against a kill, a raise, a deadline and a close:
 * the call returns one or the other, and every byte and every descriptor is accounted
 * for. What the call did not report is still there for the next one; nothing is
 * written to its buffer when it has returned.
 *
 * A tasklet makes the call. The test makes the operation complete, by plain system
 * calls, on the same thread or on another one, and interrupts the call, in either
 * order and at random moments: before it was begun, queued, in the kernel, completed.
 * A new operation is one row of the table at the end.
 */
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "ends.h"
#include "stress.h"
#include "support.h"

enum way { KILLED, RAISED, TIMED_OUT, CLOSED, WAYS };

enum {
	LEAST_ROUNDS = 100,
	MOST_NS = 30000, /* pauses */
	SIZE = 16,
	UNTOUCHED = 0x5a
};

struct row {
	const char *name;
	void (*prepare)(struct random_state *r); /* what is not there yet */
	ssize_t (*call)(void);
	void (*complete)(void); /* on any thread */
	/* Returns what the call has not taken, or has given, in units of what
	 * complete() gives or takes; negative: it is wrong. */
	void (*account)(ssize_t rc);
};

static struct {
	const struct row *row;
	enum way way;
	int64_t when;
	bool has_begun, has_ended;
	ssize_t rc;

	int fd; /* what the call waits for; -1: there is none */
	int peer;
	unsigned char buffer[SIZE], before[SIZE];
	unsigned char byte; /* of this round */
	size_t n_filled, n_drained;
	int received_fd;
	weft_channel *ch;
	struct sockaddr_un address;
	socklen_t address_size;
	char path[64];

	pthread_t helper;
	sem_t go, completed;
	int64_t helper_ns; /* -1: it is to end */
} now = { .fd = -1, .peer = -1 };

static uint64_t n_done, n_interrupted;

static void give_up(const char *what, long value)
{
	stress_fail("%s, way %d: %s (%ld); the call returned %zd",
		    now.row->name, now.way, what, value, now.rc);
}

static void expect(bool condition, const char *what, long value)
{
	if (!condition)
		give_up(what, value);
}

static void close_one(int *fd)
{
	if (*fd >= 0 && close(*fd))
		give_up("close(2)", errno);
	*fd = -1;
}

static void set_blocking(int fd, bool blocking)
{
	if (fcntl(fd, F_SETFL, blocking ? 0 : O_NONBLOCK))
		give_up("fcntl", errno);
}

/* --- those that take what comes --- */

static void prepare_pipe(struct random_state *r)
{
	int ends[2];

	(void)r;
	if (now.fd >= 0)
		return;
	close_one(&now.peer);
	if (pipe2(ends, O_CLOEXEC))
		give_up("pipe2", errno);
	now.fd = ends[0];
	now.peer = ends[1];
}

static void prepare_pair(struct random_state *r)
{
	int ends[2];

	(void)r;
	if (now.fd >= 0)
		return;
	close_one(&now.peer);
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		give_up("socketpair", errno);
	now.fd = ends[0];
	now.peer = ends[1];
}

/* Of sockets of the internet. */
static void prepare_ends(enum ends_kind kind)
{
	int ends[2];

	if (now.fd >= 0)
		return;
	close_one(&now.peer);
	if (!make_ends(kind, false, ends))
		give_up("sockets", errno);
	now.fd = ends[0];
	now.peer = ends[1];
}

static void prepare_tcp(struct random_state *r)
{
	(void)r;
	prepare_ends(ENDS_TCP);
}

static void prepare_udp(struct random_state *r)
{
	(void)r;
	prepare_ends(ENDS_UDP);
}

static ssize_t call_read(void)
{
	return weft_read(now.fd, now.buffer, SIZE);
}

static ssize_t call_readv(void)
{
	struct iovec v[2] = { { now.buffer, 1 }, { now.buffer + 1, SIZE - 1 } };

	return weft_readv(now.fd, v, 2);
}

static ssize_t call_recv(void)
{
	return weft_recv(now.fd, now.buffer, SIZE, 0);
}

static ssize_t call_recvfrom(void)
{
	return weft_recvfrom(now.fd, now.buffer, SIZE, 0, NULL, NULL);
}

/* The reader may be gone. */
static void give_byte(void)
{
	bool is_gone;

	if (write(now.peer, &now.byte, 1) == 1)
		return;
	is_gone =
		errno == EPIPE || errno == ECONNRESET || errno == ECONNREFUSED;
	if (!is_gone || now.way != CLOSED)
		give_up("write", errno);
}

static void expect_untouched(void)
{
	for (int i = 0; i < SIZE; i++)
		expect(now.buffer[i] == UNTOUCHED, "the buffer was written", i);
}

/* How much can still be read, which is read. */
static size_t drain(int fd)
{
	char bytes[4096];
	size_t n = 0;
	ssize_t rc;

	set_blocking(fd, false);
	while ((rc = read(fd, bytes, sizeof bytes)) > 0)
		n += (size_t)rc;
	expect(rc == 0 || errno == EAGAIN, "read", errno);
	set_blocking(fd, true);
	return n;
}

static void account_for_bytes(ssize_t rc, size_t n)
{
	size_t n_taken = rc > 0 ? (size_t)rc : 0;
	size_t n_left;

	for (size_t i = 0; i < n_taken; i++)
		expect(now.buffer[i] == now.byte, "a wrong byte", (long)i);
	if (!n_taken)
		expect_untouched();
	if (now.fd < 0)
		return;
	n_left = drain(now.fd);
	expect(n_taken + n_left == n, "bytes are left", (long)n_left);
}

static void account_for_byte(ssize_t rc)
{
	account_for_bytes(rc, 1);
}

static ssize_t call_read_full(void)
{
	return weft_read_full(now.fd, now.buffer, 2);
}

static ssize_t call_recv_full(void)
{
	return weft_recv_full(now.fd, now.buffer, 2, 0);
}

static void give_two(void)
{
	give_byte();
	give_byte();
}

static void account_for_two(ssize_t rc)
{
	account_for_bytes(rc, 2);
}

/* --- those that only look --- */

static ssize_t call_poll(void)
{
	struct pollfd p = { .fd = now.fd, .events = POLLIN };
	int rc = weft_poll(&p, 1, -1);

	if (rc == 1 && !(p.revents & POLLIN))
		give_up("poll saw nothing", p.revents);
	return rc;
}

static ssize_t call_select(void)
{
	struct weft_case cases[] = {
		{ .channel = now.ch,
		  .op = WEFT_RECEIVE,
		  .element = now.buffer },
		{ .fd = now.fd, .op = WEFT_READABLE, .result = 1 },
		{ .when = WEFT_FOREVER, .op = WEFT_AT },
	};
	int rc = weft_select(cases, 3, 0);

	return rc == 1 ? cases[1].result : rc;
}

static ssize_t call_poll_stream(void)
{
	weft_stream *stream = weft_poll_stream(now.fd, POLLIN);
	ssize_t rc = weft_stream_next(stream, NULL);

	weft_stream_close(stream);
	return rc;
}

static void account_for_a_look(ssize_t rc)
{
	(void)rc;
	account_for_bytes(0, 1);
	expect(!weft_channel_balance(now.ch), "the channel has a waiter", 0);
}

/* --- descriptors in messages --- */

static ssize_t call_recvmsg(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec v = { now.buffer, SIZE };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof control };
	ssize_t rc = weft_recvmsg(now.fd, &m, MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = rc > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	if (c)
		memcpy(&now.received_fd, CMSG_DATA(c), sizeof(int));
	return rc;
}

static void give_descriptor(void)
{
	union {
		struct cmsghdr header;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	struct iovec v = { &now.byte, 1 };
	struct msghdr m = { .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof control };

	memcpy(CMSG_DATA(&control.header), &now.peer, sizeof(int));
	if (sendmsg(now.peer, &m, MSG_NOSIGNAL) != 1 &&
	    (errno != EPIPE || now.way != CLOSED))
		give_up("sendmsg", errno);
}

static void account_for_descriptor(ssize_t rc)
{
	expect((rc == 1) == (now.received_fd >= 0), "the descriptor",
	       now.received_fd);
	close_one(&now.received_fd);
	account_for_bytes(rc, 1); /* drained with what it carries */
}

/* --- those that wait for room --- */

static void fill(struct random_state *r)
{
	static const char bytes[4096];
	ssize_t rc;

	now.n_filled = now.n_drained = 0;
	set_blocking(now.fd, false);
	while ((rc = write(now.fd, bytes, sizeof bytes)) > 0)
		now.n_filled += (size_t)rc;
	while ((rc = write(now.fd, bytes, 1)) > 0)
		now.n_filled += (size_t)rc;
	expect(errno == EAGAIN, "the filling", errno);
	if (random_one_in(r, 2))
		set_blocking(now.fd, true);
}

static void prepare_full_pipe(struct random_state *r)
{
	int ends[2];

	if (now.fd < 0) {
		close_one(&now.peer);
		if (pipe2(ends, O_CLOEXEC))
			give_up("pipe2", errno);
		(void)fcntl(ends[0], F_SETPIPE_SZ, 4096);
		now.peer = ends[0];
		now.fd = ends[1];
	}
	fill(r);
}

static void prepare_full_pair(struct random_state *r)
{
	int size = 4096;

	prepare_pair(r);
	if (setsockopt(now.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size))
		give_up("setsockopt", errno);
	fill(r);
}

static ssize_t call_write(void)
{
	return weft_write(now.fd, now.buffer, 1);
}

static ssize_t call_writev(void)
{
	struct iovec v = { now.buffer, 1 };

	return weft_writev(now.fd, &v, 1);
}

static ssize_t call_send(void)
{
	return weft_send(now.fd, now.buffer, 1, 0);
}

static ssize_t call_sendmsg(void)
{
	struct iovec v = { now.buffer, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return weft_sendmsg(now.fd, &m, 0);
}

static ssize_t call_write_full(void)
{
	return weft_write_full(now.fd, now.buffer, 2);
}

static ssize_t call_send_full(void)
{
	return weft_send_full(now.fd, now.buffer, 2, 0);
}

static ssize_t call_sendfile(void)
{
	static int file = -1;
	off_t offset = 100;
	ssize_t rc;

	if (file < 0)
		file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	rc = weft_sendfile(now.fd, file, &offset, SIZE);
	expect(offset == 100 + (rc > 0 ? rc : 0), "the offset", (long)offset);
	return rc;
}

static void make_room(void)
{
	now.n_drained += drain(now.peer);
}

static void account_for_room(ssize_t rc)
{
	size_t n_sent = rc > 0 ? (size_t)rc : 0;

	now.n_drained += drain(now.peer);
	expect(now.n_drained == now.n_filled + n_sent, "bytes came",
	       (long)now.n_drained - (long)now.n_filled);
	expect_untouched();
}

static void prepare_full_tcp(struct random_state *r)
{
	int size = 4096;

	prepare_tcp(r);
	if (setsockopt(now.fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof size))
		give_up("setsockopt", errno);
	fill(r);
}

static ssize_t call_send_zc(void)
{
	return weft_send_zc(now.fd, now.buffer, 1, 0);
}

static ssize_t call_sendmsg_zc(void)
{
	struct iovec v = { now.buffer, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	return weft_sendmsg_zc(now.fd, &m, 0);
}

/* What was sent is on its way for a while. */
static void account_for_arrival(ssize_t rc)
{
	size_t n = now.n_filled + (rc > 0 ? (size_t)rc : 0);
	struct pollfd p = { .fd = now.peer, .events = POLLIN };

	while (now.n_drained < n) {
		expect(poll(&p, 1, 10000) == 1, "bytes that did not come",
		       (long)(n - now.n_drained));
		now.n_drained += drain(now.peer);
	}
	expect(now.n_drained == n, "bytes came", (long)now.n_drained - (long)n);
	expect_untouched();
}

/* --- connections --- */

/* A socket that listens at a name of the kernel's choice. */
static int listen_somewhere(int backlog)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	now.address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	now.address_size = sizeof now.address;
	if (fd < 0 ||
	    bind(fd, (struct sockaddr *)&now.address, sizeof(sa_family_t)) ||
	    listen(fd, backlog) ||
	    getsockname(fd, (struct sockaddr *)&now.address, &now.address_size))
		give_up("a socket that listens", errno);
	return fd;
}

static int connect_to_it(bool blocking)
{
	int fd = socket(
		AF_UNIX,
		SOCK_STREAM | SOCK_CLOEXEC | (blocking ? 0 : SOCK_NONBLOCK), 0);

	if (fd < 0)
		give_up("socket", errno);
	if (connect(fd, (struct sockaddr *)&now.address, now.address_size))
		close_one(&fd);
	return fd;
}

static void prepare_listener(struct random_state *r)
{
	(void)r;
	close_one(&now.peer);
	if (now.fd < 0)
		now.fd = listen_somewhere(4);
}

static ssize_t call_accept(void)
{
	return weft_accept(now.fd, NULL, NULL);
}

static void connect_one(void)
{
	now.peer = connect_to_it(true);
	expect(now.peer >= 0 || now.way == CLOSED, "connect", errno);
}

static void account_for_connection(ssize_t rc)
{
	int accepted = rc >= 0 ? (int)rc : -1;
	int left;

	close_one(&accepted);
	if (now.fd < 0)
		return;
	set_blocking(now.fd, false);
	left = accept4(now.fd, NULL, NULL, SOCK_CLOEXEC);
	expect((left >= 0) == (rc < 0), "a connection is left", left);
	close_one(&left);
	set_blocking(now.fd, true);
}

/* The backlog of one is full: @n_drained is the one that is in it. */
static int waiting_one = -1;

static void prepare_full_backlog(struct random_state *r)
{
	int more;

	(void)r;
	close_one(&now.fd);
	close_one(&now.peer);
	close_one(&waiting_one);
	now.peer = listen_somewhere(0);
	waiting_one = connect_to_it(false);
	more = connect_to_it(false);
	expect(waiting_one >= 0 && more < 0, "the backlog", more);
	now.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	expect(now.fd >= 0, "socket", errno);
}

static ssize_t call_connect(void)
{
	return weft_connect(now.fd, (struct sockaddr *)&now.address,
			    now.address_size);
}

static void accept_one(void)
{
	int fd = accept4(now.peer, NULL, NULL, SOCK_CLOEXEC);

	expect(fd >= 0, "accept4", errno);
	close_one(&fd);
}

/* The call says whether the socket is connected. */
static void account_for_connect(ssize_t rc)
{
	struct sockaddr_un a;
	socklen_t size = sizeof a;
	int left;
	bool is_connected;

	set_blocking(now.peer, false);
	left = accept4(now.peer, NULL, NULL, SOCK_CLOEXEC);
	expect((left >= 0) == (rc == 0) || now.way == CLOSED,
	       "the other end has a connection", left);
	if (now.fd >= 0) {
		is_connected =
			!getpeername(now.fd, (struct sockaddr *)&a, &size);
		expect(is_connected == (rc == 0), "it is connected",
		       is_connected);
	}
	close_one(&left);
	close_one(&now.fd);
	close_one(&now.peer);
	close_one(&waiting_one);
}

static void prepare_to_dial(struct random_state *r)
{
	prepare_full_backlog(r);
	close_one(&now.fd);
}

static ssize_t call_dial(void)
{
	char text[64];

	snprintf(text, sizeof text, "unix:@%.*s",
		 (int)(now.address_size - sizeof now.address.sun_family - 1),
		 now.address.sun_path + 1);
	return weft_dial(text);
}

/* Who calls first can be served as soon as there is room. */
static void account_for_dial(ssize_t rc)
{
	now.fd = rc >= 0 ? (int)rc : -1;
	account_for_connect(rc >= 0 ? 0 : rc);
}

/* --- FIFOs --- */

static void prepare_fifo(struct random_state *r)
{
	(void)r;
	close_one(&now.peer);
	if (now.path[0])
		return;
	snprintf(now.path, sizeof now.path, "/tmp/weft-cancel-%d",
		 (int)getpid());
	if (mkfifo(now.path, 0600))
		give_up("mkfifo", errno);
}

static ssize_t call_openat(void)
{
	return weft_openat(AT_FDCWD, now.path, O_RDONLY | O_CLOEXEC);
}

/* It stays open until the call has returned. */
static void open_other_end(void)
{
	now.peer = open(now.path, O_RDWR | O_CLOEXEC);
	expect(now.peer >= 0, "open", errno);
}

static void account_for_open(ssize_t rc)
{
	int fd = rc >= 0 ? (int)rc : -1;

	expect(rc < 0 || fcntl(fd, F_GETFD) == FD_CLOEXEC, "no descriptor",
	       errno);
	close_one(&fd);
	close_one(&now.peer);
}

/* --- two pipes --- */

static int out[2];

static void prepare_pipes(struct random_state *r)
{
	prepare_pipe(r);
	if (!out[1] && pipe2(out, O_CLOEXEC))
		give_up("pipe2", errno);
}

static ssize_t call_splice(void)
{
	return weft_splice(now.fd, NULL, out[1], NULL, SIZE, 0);
}

static void account_for_both(ssize_t rc)
{
	size_t n_moved = drain(out[0]);

	expect(n_moved == (rc > 0 ? (size_t)rc : 0), "bytes moved",
	       (long)n_moved);
	if (now.fd >= 0)
		expect(n_moved + drain(now.fd) == 1, "bytes moved",
		       (long)n_moved);
}

static ssize_t call_tee(void)
{
	return weft_tee(now.fd, out[1], SIZE, 0);
}

static void account_for_a_copy(ssize_t rc)
{
	size_t n_copied = drain(out[0]);

	expect(n_copied == (rc > 0 ? (size_t)rc : 0), "bytes copied",
	       (long)n_copied);
	account_for_bytes(0, 1);
}

/* --- streams --- */

static ssize_t call_stream(void)
{
	weft_stream *stream = weft_accept_stream(now.fd);
	ssize_t rc;

	if (!stream)
		return -errno;
	rc = weft_stream_next(stream, NULL);
	weft_stream_close(stream);
	return rc;
}

/* A connection that has come into the stream, and was not taken, goes with it. */
static void account_for_stream(ssize_t rc)
{
	int fd = rc >= 0 ? (int)rc : -1;

	close_one(&fd);
	if (now.fd < 0)
		return;
	set_blocking(now.fd, false);
	fd = accept4(now.fd, NULL, NULL, SOCK_CLOEXEC);
	expect(fd < 0 || rc < 0, "a connection is there twice", fd);
	close_one(&fd);
	set_blocking(now.fd, true);
}

/* A stream that stays, whoever takes from it. */
static weft_stream *stream;
static weft_buffers *pool;
static bool has_messages;

static void open_stream(void)
{
	if (stream)
		return;
	if (!pool)
		pool = weft_buffers_new(4, WEFT_MESSAGE_ROOM + SIZE);
	stream = has_messages ? weft_recvmsg_stream(now.fd, pool)
			      : weft_recv_stream(now.fd, pool);
	expect(stream, "a stream", errno);
}

static ssize_t take_from_stream(void)
{
	struct weft_message m = { 0 };
	ssize_t rc;

	if (has_messages) {
		rc = weft_stream_next_message(stream, &m);
		if (rc == 1)
			rc = (ssize_t)m.size;
	} else {
		rc = weft_stream_next(stream, &m.data);
	}
	if (rc > 0) {
		expect(rc <= SIZE, "too many bytes", (long)rc);
		memcpy(now.buffer, m.data, (size_t)rc);
		weft_stream_release(stream, m.data);
	}
	return rc;
}

static ssize_t call_bytes(void)
{
	open_stream();
	return take_from_stream();
}

static ssize_t call_messages(void)
{
	has_messages = true;
	return call_bytes();
}

/* The byte that an interrupted call has not taken comes with the next one; if the
 * descriptor was closed, only if it had come before. */
static void account_for_what_came(ssize_t rc)
{
	ssize_t next = 0;

	expect(rc <= 1, "too many bytes", (long)rc);
	if (rc == 1)
		expect(now.buffer[0] == now.byte, "a wrong byte", 0);
	else
		expect_untouched();
	if (stream && rc != 1) {
		next = take_from_stream();
		expect(next == 1 || (next == -ECANCELED && now.fd < 0),
		       "the byte", (long)next);
		if (next == 1)
			expect(now.buffer[0] == now.byte, "a wrong byte", 1);
	} else if (!stream && now.fd >= 0) {
		expect(drain(now.fd) == 1, "the byte", 0);
	}
	if (now.fd < 0 || now.byte % 4 == 0) {
		weft_stream_close(stream);
		stream = NULL;
	}
	if (now.fd >= 0)
		expect(drain(now.fd) == 0, "a byte came twice", 0);
}

/* --- signals --- */

static void prepare_signal(struct random_state *r)
{
	(void)r;
}

static ssize_t call_signal_wait(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return weft_signal_wait(&set, NULL);
}

static void send_signal(void)
{
	kill(getpid(), SIGUSR1);
}

static void account_for_signal(ssize_t rc)
{
	static const struct timespec none;
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	expect(rc < 0 || rc == SIGUSR1, "another signal", (long)rc);
	expect((sigtimedwait(&set, NULL, &none) == SIGUSR1) == (rc < 0),
	       "the signal", 0);
}

/* --- child processes --- */

static pid_t child;

static void prepare_child(struct random_state *r)
{
	(void)r;
	child = fork();
	if (child == 0)
		for (;;)
			pause();
	expect(child > 0, "fork", errno);
}

static ssize_t call_waitid(void)
{
	siginfo_t info = { 0 };
	int rc = weft_waitid(P_PID, (id_t)child, &info, WEXITED);

	if (!rc)
		expect(info.si_pid == child, "another child", info.si_pid);
	return rc;
}

static void end_child(void)
{
	kill(child, SIGKILL);
}

/* The child is reaped once: by the call, or here. */
static void account_for_child(ssize_t rc)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(child, &status, 0)) < 0 && errno == EINTR)
		;
	expect(pid == (rc ? child : -1), "the child", pid);
}

/* --- the race --- */

static int make_call(void *arg)
{
	struct weft_deadline d;

	(void)arg;
	now.has_begun = true;
	if (now.way == TIMED_OUT)
		weft_deadline_begin(&d, now.when);
	now.rc = now.row->call();
	if (now.way == TIMED_OUT)
		weft_deadline_end(&d);
	now.has_ended = true;
	return 0;
}

/* What a thread needs for I/O is there before descriptors are counted. */
static void open_own_engine(void)
{
	char byte;

	(void)weft_read(-1, &byte, 1);
}

static void *help(void *arg)
{
	open_own_engine();
	sem_post(&now.completed);
	for (;;) {
		while (sem_wait(&now.go))
			;
		if (now.helper_ns < 0)
			return arg;
		stress_burn(now.helper_ns);
		now.row->complete();
		sem_post(&now.completed);
	}
}

static void interrupt(weft_tasklet t, struct random_state *r)
{
	unsigned flags = random_one_in(r, 2) ? WEFT_PENDING : 0;
	int rc = 0;

	if (now.way == KILLED)
		rc = weft_tasklet_kill(t, flags);
	else if (now.way == RAISED)
		rc = weft_tasklet_raise(t, EXDEV, flags);
	else if (now.way == CLOSED && now.has_begun && now.fd >= 0) {
		rc = weft_close(now.fd);
		now.fd = -1;
	}
	expect(rc == 0 || rc == -ESRCH, "the interruption", rc);
}

static void pause_briefly(struct random_state *r)
{
	if (random_one_in(r, 2))
		stress_burn(random_below(r, MOST_NS));
	if (random_one_in(r, 3))
		weft_pump();
}

static void expect_good_result(void)
{
	static const int errors[WAYS] = { -ECANCELED, -EXDEV, -ETIMEDOUT,
					  -ECANCELED };

	expect(now.rc >= 0 || now.rc == errors[now.way], "the result",
	       (long)now.rc);
	if (now.rc >= 0)
		n_done++;
	else
		n_interrupted++;
}

static void run_round(struct random_state *r)
{
	bool by_helper = random_one_in(r, 2);
	bool interrupts_first = random_one_in(r, 2);
	weft_tasklet t;

	expect(!memcmp(now.buffer, now.before, SIZE),
	       "the buffer was written after the call", 0);
	memset(now.buffer, UNTOUCHED, SIZE);
	now.byte = (unsigned char)random_below(r, UNTOUCHED);
	now.received_fd = -1;
	now.row->prepare(r);
	now.has_begun = now.has_ended = false;
	/* of one that was killed before it began */
	now.rc = now.way == RAISED ? -EXDEV : -ECANCELED;
	now.when = weft_now() + random_below(r, 2 * MOST_NS);
	t = weft_spawn(make_call, NULL);
	switch (random_below(r, 4)) {
	case 0:
		break;
	case 1:
		weft_schedule();
		break;
	default:
		weft_pump();
		break;
	}
	if (by_helper) {
		now.helper_ns = random_below(r, MOST_NS);
		sem_post(&now.go);
	}
	if (interrupts_first) {
		interrupt(t, r);
		pause_briefly(r);
	}
	if (!by_helper)
		now.row->complete();
	if (!interrupts_first) {
		pause_briefly(r);
		interrupt(t, r);
	}
	weft_run();
	if (by_helper)
		while (sem_wait(&now.completed))
			;
	expect_good_result();
	now.row->account(now.rc);
	memcpy(now.before, now.buffer, SIZE);
}

static const struct row rows[] = {
	{ "read", prepare_pipe, call_read, give_byte, account_for_byte },
	{ "readv", prepare_pipe, call_readv, give_byte, account_for_byte },
	{ "recv", prepare_pair, call_recv, give_byte, account_for_byte },
	{ "recvfrom", prepare_pair, call_recvfrom, give_byte,
	  account_for_byte },
	{ "read_full", prepare_pipe, call_read_full, give_two,
	  account_for_two },
	{ "recv_full", prepare_pair, call_recv_full, give_two,
	  account_for_two },
	{ "recvmsg", prepare_pair, call_recvmsg, give_descriptor,
	  account_for_descriptor },
	{ "poll", prepare_pipe, call_poll, give_byte, account_for_a_look },
	{ "select", prepare_pipe, call_select, give_byte, account_for_a_look },
	{ "write", prepare_full_pipe, call_write, make_room, account_for_room },
	{ "writev", prepare_full_pipe, call_writev, make_room,
	  account_for_room },
	{ "send", prepare_full_pair, call_send, make_room, account_for_room },
	{ "sendmsg", prepare_full_pair, call_sendmsg, make_room,
	  account_for_room },
	{ "accept", prepare_listener, call_accept, connect_one,
	  account_for_connection },
	{ "connect", prepare_full_backlog, call_connect, accept_one,
	  account_for_connect },
	{ "write_full", prepare_full_pipe, call_write_full, make_room,
	  account_for_room },
	{ "send_full", prepare_full_pair, call_send_full, make_room,
	  account_for_room },
	{ "sendfile", prepare_full_pair, call_sendfile, make_room,
	  account_for_room },
	{ "send_zc", prepare_full_tcp, call_send_zc, make_room,
	  account_for_arrival },
	{ "sendmsg_zc", prepare_full_tcp, call_sendmsg_zc, make_room,
	  account_for_arrival },
	{ "dial", prepare_to_dial, call_dial, accept_one, account_for_dial },
	{ "tee", prepare_pipes, call_tee, give_byte, account_for_a_copy },
	{ "splice", prepare_pipes, call_splice, give_byte, account_for_both },
	{ "a stream of connections", prepare_listener, call_stream, connect_one,
	  account_for_stream },
	{ "a stream of readiness", prepare_pipe, call_poll_stream, give_byte,
	  account_for_a_look },
	{ "a stream of bytes", prepare_tcp, call_bytes, give_byte,
	  account_for_what_came },
	{ "a stream of a Unix socket's bytes", prepare_pair, call_bytes,
	  give_byte, account_for_what_came },
	{ "a stream of messages", prepare_udp, call_messages, give_byte,
	  account_for_what_came },
	{ "signal_wait", prepare_signal, call_signal_wait, send_signal,
	  account_for_signal },
	{ "waitid", prepare_child, call_waitid, end_child, account_for_child },
	{ "openat", prepare_fifo, call_openat, open_other_end,
	  account_for_open },
};

enum { ROWS = sizeof rows / sizeof rows[0] };

START_TEST(races)
{
	struct random_state r = random_stream(stress_seed, (uint64_t)_i);
	int64_t end = stress_end_of_budget();
	int n_before = 0;
	int n_rounds = 0;

	sigset_t blocked;

	sigemptyset(&blocked);
	sigaddset(&blocked, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &blocked, NULL);
	signal(SIGPIPE, SIG_IGN);
	now.row = &rows[_i / WAYS];
	now.way = (enum way)(_i % WAYS);
	if (now.row->prepare == prepare_child && lacks_fork_with_threads())
		return;
	now.ch = weft_channel_new(SIZE, 0);
	sem_init(&now.go, 0, 0);
	sem_init(&now.completed, 0, 0);
	open_own_engine();
	now.helper = start_thread(help, NULL);
	while (sem_wait(&now.completed))
		;
	while (n_rounds < LEAST_ROUNDS || weft_now() < end) {
		run_round(&r);
		if (n_rounds++ == LEAST_ROUNDS / 10)
			n_before = n_descriptors() - (now.fd >= 0) -
				   (now.peer >= 0);
	}
	/* One may be closed on another thread just now. */
	for (int i = 0;
	     i < 1000 &&
	     n_descriptors() - (now.fd >= 0) - (now.peer >= 0) != n_before;
	     i++)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(n_descriptors() - (now.fd >= 0) - (now.peer >= 0),
			 n_before);
	now.helper_ns = -1;
	sem_post(&now.go);
	join_thread(now.helper);
	weft_channel_unref(now.ch);
	weft_stream_close(stream);
	weft_buffers_free(pool);
	if (now.path[0])
		unlink(now.path);
	printf("# %s: %d rounds, %" PRIu64 " done, %" PRIu64 " interrupted\n",
	       now.row->name, n_rounds, n_done, n_interrupted);
}
END_TEST

static const struct stress_case cases[] = {
	{ "races", &races, ROWS *WAYS },
};

STRESS_MAIN("stress_cancel", cases)
