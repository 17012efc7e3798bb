/* SPDX-License-Identifier: MIT */
/*
 * I/O through the ring: what arrives, what fails and how, and many at once.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "limits.h"
#include "support.h"

/* The byte at a place of a stream. Its period divides no power of two. */
static unsigned char byte_at(size_t place)
{
	return (unsigned char)(place % 251 + place / 65521);
}

/* Makes a pipe (0) or a pair of sockets (1); fds[1] is the one to write to. */
static void make_pair(int kind, int fds[2])
{
	if (kind == 0)
		ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	else
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
			0);
}

static void set_nonblocking(int fd)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK),
			 0);
}

/* Where files and sockets of a test go: a fresh folder, removed at the end. */
static char folder[64];

static const char *path_in_folder(const char *name)
{
	static char path[128];

	if (!folder[0]) {
		snprintf(folder, sizeof folder, "/tmp/weft-test-XXXXXX");
		ck_assert_ptr_nonnull(mkdtemp(folder));
	}
	snprintf(path, sizeof path, "%s/%s", folder, name);
	return path;
}

static void remove_folder(void)
{
	static const char *const names[] = { "file", "socket" };

	for (size_t i = 0; i < N_ELEMENTS(names); i++)
		unlink(path_in_folder(names[i]));
	ck_assert_int_eq(rmdir(folder), 0);
	folder[0] = '\0';
}

/* --- streams --- */

enum { STREAM_BYTES = 1 << 18 };

struct stream {
	int fd;
	size_t step;
	bool as_socket;
	size_t n;
	int error;
};

static ssize_t write_piece(const struct stream *s, const void *buf, size_t n)
{
	return s->as_socket ? weft_send(s->fd, buf, n, 0)
			    : weft_write(s->fd, buf, n);
}

static ssize_t read_piece(const struct stream *s, void *buf, size_t n)
{
	return s->as_socket ? weft_recv(s->fd, buf, n, 0)
			    : weft_read(s->fd, buf, n);
}

static int write_stream(void *arg)
{
	struct stream *s = arg;
	unsigned char *buf = malloc(s->step);

	while (s->n < STREAM_BYTES && !s->error) {
		size_t n = STREAM_BYTES - s->n;
		ssize_t rc;

		n = n < s->step ? n : s->step;
		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(s->n + i);
		rc = write_piece(s, buf, n);
		if (rc > 0)
			s->n += (size_t)rc;
		else
			s->error = rc ? (int)rc : -EIO;
	}
	free(buf);
	weft_close(s->fd);
	return 0;
}

/* To the end of the stream. */
static int read_stream(void *arg)
{
	struct stream *s = arg;
	unsigned char *buf = malloc(s->step);
	ssize_t rc;

	while ((rc = read_piece(s, buf, s->step)) > 0) {
		for (ssize_t i = 0; i < rc; i++)
			if (buf[i] != byte_at(s->n + (size_t)i))
				s->error = -EBADMSG;
		s->n += (size_t)rc;
	}
	if (rc < 0)
		s->error = (int)rc;
	free(buf);
	weft_close(s->fd);
	return 0;
}

/* A quarter of a megabyte in pieces of odd sizes arrives whole, and then comes the end; on
 * pipes and sockets, by read and recv, with O_NONBLOCK and without. */
START_TEST(stream_arrives_whole)
{
	static const size_t steps[][2] = {
		{ 4096, 4096 },
		{ 777, 65536 },
		{ 100000, 1000 },
		{ 1 << 20, 333 },
	};
	int kind = _i / 4 % 2, by_socket = _i / 8 % 2, nonblocking = _i / 16;
	struct stream in = { .step = steps[_i % 4][0] };
	struct stream out = { .step = steps[_i % 4][1] };
	int fds[2];

	make_pair(kind, fds);
	if (nonblocking) {
		set_nonblocking(fds[0]);
		set_nonblocking(fds[1]);
	}
	in.as_socket = out.as_socket = kind && by_socket;
	in.fd = fds[1];
	out.fd = fds[0];
	weft_spawn(write_stream, &in);
	weft_spawn(read_stream, &out);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(in.error, 0);
	ck_assert_int_eq(out.error, 0);
	ck_assert_uint_eq(in.n, STREAM_BYTES);
	ck_assert_uint_eq(out.n, STREAM_BYTES);
}
END_TEST

static void *read_on_a_thread(void *arg)
{
	read_stream(arg);
	return NULL;
}

/* The two ends on two threads, each with its own ring. */
START_TEST(stream_between_threads)
{
	struct stream in = { .step = 5000 }, out = { .step = 7000 };
	pthread_t thread;
	int fds[2];

	make_pair(_i, fds);
	in.fd = fds[1];
	out.fd = fds[0];
	thread = start_thread(read_on_a_thread, &out);
	write_stream(&in);
	join_thread(thread);
	ck_assert_int_eq(in.error, 0);
	ck_assert_int_eq(out.error, 0);
	ck_assert_uint_eq(out.n, STREAM_BYTES);
}
END_TEST

struct counter {
	bool is_over;
	uint64_t n;
};

static int count_until_over(void *arg)
{
	struct counter *c = arg;

	while (!c->is_over) {
		c->n++;
		weft_schedule();
	}
	return 0;
}

/* A read that waits lets the others run: one of them writes what it waits for. */
static int write_later(void *arg)
{
	for (int i = 0; i < 1000; i++)
		weft_schedule();
	return (int)weft_write(*(int *)arg, "later", 5) == 5 ? 0 : -EIO;
}

START_TEST(blocked_read_lets_others_run)
{
	struct counter c = { .is_over = false };
	char buf[8];
	int fds[2];

	make_pair(_i % 2, fds);
	if (_i / 2)
		set_nonblocking(fds[0]);
	weft_spawn(count_until_over, &c);
	weft_spawn(write_later, &fds[1]);
	ck_assert_int_eq(weft_read(fds[0], buf, sizeof buf), 5);
	ck_assert_mem_eq(buf, "later", 5);
	ck_assert_uint_ge(c.n, 1000);
	c.is_over = true;
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* Descriptors that cannot be told not to wait: a call that must not wait finds what is
 * there all the same, and nothing where there is nothing. */
START_TEST(under_a_trap_it_finds_what_is_there)
{
	enum { ROUNDS = 100 };

	const char *path;
	char byte;
	int fd;

	if (lacks_threads())
		return; /* it needs a helper */
	path = path_in_folder("file");
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	weft_set_block_trap(true);
	for (int i = 0; i < ROUNDS; i++) {
		ck_assert_int_eq(weft_read(fd, &byte, 1), -EAGAIN);
		ck_assert_int_eq(weft_write(fd, "x", 1), 1);
		ck_assert_int_eq(weft_read(fd, &byte, 1), 1);
	}
	weft_set_block_trap(false);
	close(fd);
	remove_folder();
}
END_TEST

/* --- files --- */

/* Files are read and written at their position, which the kernel keeps. */
START_TEST(file_position_is_the_kernels)
{
	const char *path;
	char buf[16];
	int fd;

	if (lacks_threads())
		return; /* its writes may need a helper */
	path = path_in_folder("file");
	fd = weft_openat(AT_FDCWD, path, O_RDWR | O_CREAT | O_EXCL, 0640);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_write(fd, "hello ", 6), 6);
	ck_assert_int_eq(weft_write(fd, "world", 5), 5);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 11);
	ck_assert_int_eq(weft_fsync(fd), 0);
	ck_assert_int_eq(weft_read(fd, buf, sizeof buf), 0);
	ck_assert_int_eq(lseek(fd, 2, SEEK_SET), 2);
	ck_assert_int_eq(weft_read(fd, buf, 3), 3);
	ck_assert_int_eq(weft_read(fd, buf + 3, sizeof buf - 3), 6);
	ck_assert_mem_eq(buf, "llo world", 9);
	ck_assert_int_eq(weft_read(fd, buf, sizeof buf), 0);
	ck_assert_int_eq(weft_close(fd), 0);

	fd = weft_openat(AT_FDCWD, path, O_WRONLY | O_APPEND);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_write(fd, "!", 1), 1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 12);
	ck_assert_int_eq(weft_close(fd), 0);
	remove_folder();
}
END_TEST

/* openat closes on exec, minds the mode when it creates, and takes a directory's
 * descriptor. */
START_TEST(openat_options)
{
	struct stat st;
	int dir, fd;

	path_in_folder("");
	umask(022);
	dir = weft_openat(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY);
	ck_assert_int_ge(dir, 0);
	fd = weft_openat(dir, "file", O_CREAT | O_WRONLY, 0666);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_mode & 0777, 0644);
	ck_assert_int_eq(weft_openat(dir, "file", O_CREAT | O_EXCL, 0600),
			 -EEXIST);
	ck_assert_int_eq(weft_openat(dir, "nothing", O_RDONLY), -ENOENT);
	ck_assert_int_eq(weft_openat(dir, "file", O_DIRECTORY), -ENOTDIR);
	ck_assert_int_eq(weft_openat(-1, "file", O_RDONLY), -EBADF);
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert_int_eq(weft_close(dir), 0);
	remove_folder();
}
END_TEST

/* --- failures --- */

/* A failure is the errno of the POSIX call, negative. */
START_TEST(failures_are_negative_errnos)
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	int sockets[2], pipes[2];
	int plain = socket(AF_INET, SOCK_STREAM, 0);
	char byte = 0;

	make_pair(1, sockets);
	make_pair(0, pipes);
	ck_assert_int_eq(weft_read(-1, &byte, 1), -EBADF);
	ck_assert_int_eq(weft_write(-1, &byte, 1), -EBADF);
	ck_assert_int_eq(weft_read(12345, &byte, 1), -EBADF);
	ck_assert_int_eq(weft_read(pipes[1], &byte, 1), -EBADF);
	ck_assert_int_eq(weft_write(pipes[0], &byte, 1), -EBADF);
	ck_assert_int_eq(weft_write(pipes[1], (void *)1, 1), -EFAULT);
	ck_assert_int_eq(weft_fsync(-1), -EBADF);
	ck_assert_int_eq(weft_fsync(pipes[0]), -EINVAL);
	ck_assert_int_eq(weft_recv(-1, &byte, 1, 0), -EBADF);
	ck_assert_int_eq(weft_recv(pipes[0], &byte, 1, 0), -ENOTSOCK);
	ck_assert_int_eq(weft_send(pipes[1], &byte, 1, 0), -ENOTSOCK);
	ck_assert_int_eq(weft_accept(-1, NULL, NULL), -EBADF);
	ck_assert_int_eq(weft_accept(pipes[0], NULL, NULL), -ENOTSOCK);
	ck_assert_int_eq(weft_accept(plain, NULL, NULL), -EINVAL);
	ck_assert_int_eq(weft_connect(-1, (struct sockaddr *)&in, sizeof in),
			 -EBADF);
	ck_assert_int_eq(
		weft_connect(pipes[0], (struct sockaddr *)&in, sizeof in),
		-ENOTSOCK);
	ck_assert_int_eq(weft_close(-1), -EBADF);
	ck_assert_int_eq(weft_close(12345), -EBADF);
	ck_assert_int_eq(weft_close(plain), 0);
	ck_assert_int_eq(weft_close(plain), -EBADF);
	/* and the flags of recv get through */
	ck_assert_int_eq(weft_recv(sockets[0], &byte, 1, MSG_DONTWAIT),
			 -EAGAIN);
}
END_TEST

/* A peer that has gone is the end to a reader and EPIPE to a sender, without a
 * signal. */
START_TEST(peer_has_gone)
{
	char byte;
	int fds[2];

	signal(SIGPIPE, SIG_DFL);
	make_pair(1, fds);
	ck_assert_int_eq(weft_close(fds[1]), 0);
	ck_assert_int_eq(weft_recv(fds[0], &byte, 1, 0), 0);
	ck_assert_int_eq(weft_recv(fds[0], &byte, 1, 0), 0);
	ck_assert_int_eq(weft_send(fds[0], "x", 1, 0), -EPIPE);

	make_pair(0, fds);
	ck_assert_int_eq(weft_close(fds[1]), 0);
	ck_assert_int_eq(weft_read(fds[0], &byte, 1), 0);

	make_pair(0, fds);
	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(weft_write(fds[1], "x", 1), -EPIPE);
}
END_TEST

/* A write of nothing and a read of nothing move nothing. */
START_TEST(nothing_moves_nothing)
{
	int fds[2];

	make_pair(_i, fds);
	ck_assert_int_eq(weft_write(fds[1], "", 0), 0);
	ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_read(fds[0], NULL, 0), 0);
	ck_assert_int_eq(weft_read(fds[0], (char[1]){ 0 }, 1), 1);
}
END_TEST

/* A read of nothing does not wait for something, from whatever it would come. */
START_TEST(nothing_is_there_at_once)
{
	const char *path = path_in_folder("fifo");
	struct iovec empty[2] = { { .iov_base = NULL }, { .iov_base = NULL } };
	int fds[2];

	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fds[0] = open(path, O_RDWR | O_CLOEXEC);
	fds[1] = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	ck_assert_int_ge(fds[1], 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(weft_read(fds[i], NULL, 0), 0);
		ck_assert_int_eq(weft_readv(fds[i], NULL, 0), 0);
		ck_assert_int_eq(weft_readv(fds[i], empty, 2), 0);
		ck_assert_int_eq(weft_write(fds[i], NULL, 0), 0);
		ck_assert_int_eq(weft_writev(fds[i], empty, 2), 0);
	}
	ck_assert_int_eq(weft_readv(-1, empty, 2), -EBADF);
	ck_assert_int_eq(weft_writev(-1, empty, 2), -EBADF);
}
END_TEST

/* Where messages have limits, a write of nothing is one, and a vector of nothing is
 * none, as it is with write(2) and writev(2). */
START_TEST(nothing_can_be_a_message)
{
	static const int types[] = { SOCK_DGRAM, SOCK_SEQPACKET };
	struct iovec empty[2] = { { .iov_base = NULL }, { .iov_base = NULL } };
	char c;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, types[_i] | SOCK_CLOEXEC, 0, fds),
			 0);
	ck_assert_int_eq(weft_writev(fds[0], empty, 2), 0);
	ck_assert_int_eq(recv(fds[1], &c, 1, MSG_DONTWAIT), -1);
	ck_assert_int_eq(weft_write(fds[0], NULL, 0), 0);
	ck_assert_int_eq(recv(fds[1], &c, 1, MSG_DONTWAIT), 0);
	ck_assert_int_eq(recv(fds[1], &c, 1, MSG_DONTWAIT), -1);
}
END_TEST

/* --- connections --- */

struct address {
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
		struct sockaddr_un un;
	};
	socklen_t length;
};

/* TCP over IPv4 (0), Unix (1). */
static int make_listener(int kind, struct address *a)
{
	int fd;

	memset(a, 0, sizeof *a);
	if (kind == 0) {
		a->in.sin_family = AF_INET;
		a->in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
		a->length = sizeof a->in;
	} else {
		a->un.sun_family = AF_UNIX;
		snprintf(a->un.sun_path, sizeof a->un.sun_path, "%s",
			 path_in_folder("socket"));
		a->length = sizeof a->un;
	}
	fd = socket(a->any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, &a->any, a->length), 0);
	ck_assert_int_eq(listen(fd, 512), 0);
	if (kind == 0)
		ck_assert_int_eq(getsockname(fd, &a->any, &a->length), 0);
	return fd;
}

struct client {
	const struct address *to;
	bool nonblocking;
	int number;
	int rc;
};

/* Connects, sends its number and gets its double. */
static int call_server(void *arg)
{
	struct client *c = arg;
	int fd = socket(c->to->any.sa_family,
			SOCK_STREAM | SOCK_CLOEXEC |
				(c->nonblocking ? SOCK_NONBLOCK : 0),
			0);
	int answer = 0;

	c->rc = weft_connect(fd, &c->to->any, c->to->length);
	if (c->rc == 0 &&
	    weft_send(fd, &c->number, sizeof(int), 0) != (ssize_t)sizeof(int))
		c->rc = -EIO;
	if (c->rc == 0 && weft_recv(fd, &answer, sizeof answer, MSG_WAITALL) !=
				  (ssize_t)sizeof answer)
		c->rc = -EIO;
	if (c->rc == 0 && answer != 2 * c->number)
		c->rc = -EBADMSG;
	weft_close(fd);
	return 0;
}

static int serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	int number;

	while (weft_recv(fd, &number, sizeof number, MSG_WAITALL) ==
	       (ssize_t)sizeof number) {
		number *= 2;
		weft_send(fd, &number, sizeof number, 0);
	}
	weft_close(fd);
	return 0;
}

struct server {
	int fd;
	int n;
	int rc;
	int flags; /* of the last descriptor */
	struct address peer;
};

static int accept_some(void *arg)
{
	struct server *s = arg;

	for (int i = 0; i < s->n; i++) {
		int fd;

		s->peer.length = sizeof s->peer.in6;
		fd = weft_accept(s->fd, &s->peer.any, &s->peer.length);
		if (fd < 0) {
			s->rc = fd;
			return 0;
		}
		s->flags = fcntl(fd, F_GETFD);
		weft_spawn(serve_one, (void *)(intptr_t)fd);
	}
	return 0;
}

enum { CLIENTS = 100 };

/* Many connections at once, over TCP and Unix sockets, O_NONBLOCK or not: each
 * gets its own answer. */
START_TEST(connections_get_their_own_answers)
{
	struct address to;
	struct server server = { .fd = make_listener(_i % 2, &to),
				 .n = CLIENTS };
	struct client clients[CLIENTS];

	if (lacks_descriptors(2 * CLIENTS + 50))
		return;
	if (_i / 2)
		set_nonblocking(server.fd);
	weft_spawn(accept_some, &server);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i] = (struct client){ &to, _i / 2, i + 1, 1 };
		weft_spawn(call_server, &clients[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(server.rc, 0);
	ck_assert_int_eq(server.flags, FD_CLOEXEC);
	ck_assert_int_eq(server.peer.any.sa_family, to.any.sa_family);
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(clients[i].rc, 0);
	if (_i % 2)
		remove_folder();
}
END_TEST

static void *run_clients(void *arg)
{
	struct client *clients = arg;

	for (int i = 0; i < CLIENTS; i++)
		weft_spawn(call_server, &clients[i]);
	weft_run();
	return NULL;
}

/* The clients on another thread. */
START_TEST(connections_between_threads)
{
	struct address to;
	struct server server = { .fd = make_listener(_i, &to), .n = CLIENTS };
	struct client clients[CLIENTS];
	pthread_t thread;

	if (lacks_descriptors(2 * CLIENTS + 50))
		return;
	for (int i = 0; i < CLIENTS; i++)
		clients[i] = (struct client){ &to, false, i + 1, 1 };
	thread = start_thread(run_clients, clients);
	weft_spawn(accept_some, &server);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(thread);
	for (int i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(clients[i].rc, 0);
	if (_i)
		remove_folder();
}
END_TEST

/* A connection to where nobody listens is refused. */
START_TEST(connection_is_refused)
{
	struct address to;
	struct client client = { &to, _i / 2, 1, 1 };

	close(make_listener(_i % 2, &to));
	call_server(&client);
	ck_assert_int_eq(client.rc, -ECONNREFUSED);
	if (_i % 2)
		remove_folder();
}
END_TEST

/* --- connections to a Unix socket whose backlog is full --- */

static struct address crowded;

/* Returns the listener. */
static int make_crowded(void)
{
	int fd = make_listener(1, &crowded);
	int rc = 0;

	ck_assert_int_eq(listen(fd, 0), 0);
	while (!rc) {
		int s = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);

		rc = connect(s, &crowded.any, crowded.length);
	}
	ck_assert_int_eq(errno, EAGAIN);
	return fd;
}

enum { BLOCKING, NONBLOCKING, WITH_TIMEOUT, N_CROWDED };

static int make_caller(int kind)
{
	struct timeval tv = { .tv_usec = 1000 };
	int fd = socket(AF_UNIX,
			SOCK_STREAM | (kind == NONBLOCKING ? SOCK_NONBLOCK : 0),
			0);

	ck_assert_int_ge(fd, 0);
	if (kind == WITH_TIMEOUT)
		ck_assert_int_eq(
			setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv),
			0);
	return fd;
}

struct caller {
	int fd;
	int rc;
	weft_tasklet tasklet;
	struct address to; /* the call may look at it again and again */
};

static int call_crowded(void *arg)
{
	struct caller *c = arg;

	c->to = crowded;
	c->rc = weft_connect(c->fd, &c->to.any, c->to.length);
	return 0;
}

/* Starts one that waits, and has it try a few times. */
static void start_caller(struct caller *c, int kind)
{
	*c = (struct caller){ .fd = make_caller(kind), .rc = 1 };
	c->tasklet = weft_spawn(call_crowded, c);
	weft_sleep(10 * WEFT_MILLISECOND);
	ck_assert_int_eq(c->rc, 1);
}

static void *accept_late(void *listener)
{
	usleep(50 * 1000);
	if (accept(*(int *)listener, NULL, NULL) < 0)
		*(int *)listener = -1;
	return NULL;
}

/* The call waits for room, also if nothing else wakes its thread. */
START_TEST(connect_waits_for_room)
{
	int listener = make_crowded();
	struct caller c;
	pthread_t thread;

	start_caller(&c, _i);
	thread = start_thread(accept_late, &listener);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(c.rc, 0);
	join_thread(thread);
	ck_assert_int_ge(listener, 0);
	remove_folder();
}
END_TEST

/* The wait is ended as any other: by a deadline, a kill, a raise of any error, and a
 * close. */
START_TEST(connect_stops_waiting_for_room)
{
	struct weft_deadline d;
	struct caller c;

	make_crowded();
	c = (struct caller){ .fd = make_caller(_i) };
	weft_deadline_begin(&d, weft_now() + 30 * WEFT_MILLISECOND);
	call_crowded(&c);
	weft_deadline_end(&d);
	ck_assert_int_eq(c.rc, -ETIMEDOUT);
	start_caller(&c, _i);
	ck_assert_int_eq(weft_tasklet_kill(c.tasklet, 0), 0);
	weft_run();
	ck_assert_int_eq(c.rc, -ECANCELED);
	start_caller(&c, _i);
	ck_assert_int_eq(weft_tasklet_raise(c.tasklet, EAGAIN, 0), 0);
	weft_run();
	ck_assert_int_eq(c.rc, -EAGAIN);
	start_caller(&c, _i);
	ck_assert_int_eq(weft_close(c.fd), 0);
	weft_run();
	ck_assert_int_eq(c.rc, -ECANCELED);
	remove_folder();
}
END_TEST

/* A caller whose number is another socket's by now does not connect that one. */
START_TEST(connect_leaves_a_reused_number_alone)
{
	int listener = make_crowded();
	struct sockaddr_un peer;
	socklen_t size = sizeof peer;
	struct caller c;
	int other;

	start_caller(&c, NONBLOCKING);
	weft_sleep(_i * WEFT_MILLISECOND);
	/* If it pauses, the pause ends, but it does not run. */
	usleep(30 * 1000);
	ck_assert_int_eq(weft_close(c.fd), 0);
	other = make_caller(NONBLOCKING);
	ck_assert_int_eq(other, c.fd);
	ck_assert_int_ge(accept(listener, NULL, NULL), 0);
	weft_run();
	/* 0: an operation that the kernel had was not cancelled in time. */
	ck_assert(c.rc == -ECANCELED || c.rc == 0);
	ck_assert_int_eq(getpeername(other, (void *)&peer, &size), -1);
	remove_folder();
}
END_TEST

/* With a trap it does not wait. */
START_TEST(connect_under_a_trap)
{
	struct caller c;

	make_crowded();
	c = (struct caller){ .fd = make_caller(_i / 2) };
	if (_i % 2)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	call_crowded(&c);
	ck_assert_int_eq(c.rc, _i % 2 ? -EPERM : -EAGAIN);
	remove_folder();
}
END_TEST

/* Those that wait for room, however many, keep nobody from another server. */
START_TEST(connects_that_wait_leave_others_alone)
{
	enum { N = 150 };

	struct caller *dead;
	struct caller live[3];
	int listener;

	/* Without threads of the kernel's, they wait in line. */
	if (lacks_descriptors(N + 50) || lacks_threads() || lacks_workers())
		return;
	dead = calloc(N, sizeof dead[0]);
	make_crowded();
	for (int i = 0; i < N; i++) {
		dead[i].fd = make_caller(BLOCKING);
		dead[i].tasklet = weft_spawn(call_crowded, &dead[i]);
	}
	weft_sleep(50 * WEFT_MILLISECOND);
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	snprintf(crowded.un.sun_path, sizeof crowded.un.sun_path, "%s",
		 path_in_folder("file"));
	ck_assert_int_eq(bind(listener, &crowded.any, crowded.length), 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	for (int i = 0; i < 3; i++) {
		live[i] =
			(struct caller){ .fd = make_caller(BLOCKING), .rc = 1 };
		weft_spawn(call_crowded, &live[i]);
	}
	weft_sleep(10 * WEFT_MILLISECOND);
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(weft_accept(listener, NULL, NULL), 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(
			weft_tasklet_kill(dead[i].tasklet, WEFT_PENDING), 0);
	weft_run();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(live[i].rc, 0);
	free(dead);
	remove_folder();
}
END_TEST

/* The address is the kernel's to look at. */
START_TEST(connect_to_a_bad_address)
{
	int fd = make_caller(_i);

	ck_assert_int_eq(weft_connect(fd, (void *)16, sizeof crowded), -EFAULT);
	ck_assert_int_eq(weft_connect(fd, NULL, sizeof crowded), -EFAULT);
	close(fd);
	ck_assert_int_eq(weft_connect(fd, &crowded.any, sizeof crowded.any),
			 -EBADF);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(weft_connect(fd, &crowded.any, sizeof crowded.any),
			 -ENOTSOCK);
	close(fd);
}
END_TEST

/* --- close --- */

struct operation {
	ssize_t (*op)(int fd);
	int fd;
	ssize_t rc;
};

static ssize_t op_read(int fd)
{
	char byte;

	return weft_read(fd, &byte, 1);
}

static ssize_t op_recv(int fd)
{
	char byte;

	return weft_recv(fd, &byte, 1, 0);
}

static ssize_t op_accept(int fd)
{
	return weft_accept(fd, NULL, NULL);
}

static ssize_t op_poll(int fd)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_poll_add(&sqe, fd, 1 /* POLLIN */);
	return weft_await(&sqe);
}

static int operate(void *arg)
{
	struct operation *o = arg;

	o->rc = o->op(o->fd);
	return 0;
}

/* Closing a descriptor cancels what other tasklets wait for on it, whether the
 * kernel has their operations yet or not. */
START_TEST(close_cancels_what_is_in_flight)
{
	static ssize_t (*const ops[])(int fd) = { op_read, op_recv, op_accept,
						  op_poll };
	ssize_t (*op)(int fd) = ops[_i % 4];
	struct operation on_it[3], elsewhere;
	struct address a;
	int fds[2], others[2];

	make_pair(1, fds);
	make_pair(1, others);
	if (op == op_accept)
		fds[0] = make_listener(0, &a);
	elsewhere = (struct operation){ op_read, others[0], 1 };
	weft_spawn(operate, &elsewhere);
	for (int i = 0; i < 3; i++) {
		on_it[i] = (struct operation){ op, fds[0], 1 };
		weft_spawn(operate, &on_it[i]);
	}
	if (_i / 4)
		weft_pump();
	else
		weft_schedule();
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), -1);
	weft_pump();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(on_it[i].rc, -ECANCELED);
	/* another descriptor's is not touched */
	ck_assert_int_eq(elsewhere.rc, 1);
	ck_assert_int_eq(write(others[1], "xy", 2), 2);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(elsewhere.rc, 1);
}
END_TEST

/* What had arrived before the close is not lost. */
START_TEST(close_keeps_a_result_that_had_come)
{
	struct operation o;
	int fds[2];

	make_pair(_i, fds);
	o = (struct operation){ op_read, fds[0], -1 };
	weft_spawn(operate, &o);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert(o.rc == 1 || o.rc == -ECANCELED);
}
END_TEST

/* A descriptor number that is used again is another file: nothing that was in
 * flight on the old one acts on it. */
START_TEST(close_and_reuse_of_the_number)
{
	struct operation o;
	char byte = 0;
	int fds[2], again[2];

	make_pair(0, fds);
	o = (struct operation){ op_read, fds[0], 1 };
	weft_spawn(operate, &o);
	weft_pump();
	ck_assert_int_eq(weft_close(fds[0]), 0);
	make_pair(0, again);
	ck_assert_int_eq(again[0], fds[0]);
	ck_assert_int_eq(write(again[1], "z", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(o.rc, -ECANCELED);
	ck_assert_int_eq(weft_read(again[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'z');
}
END_TEST

/* --- many at once --- */

struct echo {
	int fds[2];
	unsigned seed;
	int rounds;
	int error;
};

/* Rounds of messages of all lengths, to the other end and back. */
static int echo_client(void *arg)
{
	struct echo *e = arg;
	unsigned char out[256], in[256];

	for (int i = 0; i < e->rounds && !e->error; i++) {
		size_t n = 1 + (e->seed + (unsigned)i * 37) % sizeof out;

		for (size_t k = 0; k < n; k++)
			out[k] = byte_at(e->seed + k * (unsigned)(i + 1));
		if (weft_send(e->fds[1], out, n, 0) != (ssize_t)n ||
		    weft_recv(e->fds[1], in, n, MSG_WAITALL) != (ssize_t)n)
			e->error = -EIO;
		else if (memcmp(in, out, n) != 0)
			e->error = -EBADMSG;
	}
	weft_close(e->fds[1]);
	return 0;
}

static int echo_server(void *arg)
{
	struct echo *e = arg;
	char buf[64];
	ssize_t n;

	while ((n = weft_recv(e->fds[0], buf, sizeof buf, 0)) > 0)
		if (weft_send(e->fds[0], buf, (size_t)n, 0) != n)
			e->error = -EIO;
	weft_close(e->fds[0]);
	return 0;
}

/* 200 pairs of tasklets, each on a pair of sockets of its own. */
START_TEST(two_hundred_conversations)
{
	enum { PAIRS = 200 };
	struct echo *echos;

	if (lacks_descriptors(2 * PAIRS + 50))
		return;
	echos = calloc(PAIRS, sizeof *echos);
	for (int i = 0; i < PAIRS; i++) {
		echos[i].seed = (unsigned)i * 13;
		echos[i].rounds = 50;
		make_pair(1, echos[i].fds);
		weft_spawn(echo_server, &echos[i]);
		weft_spawn(echo_client, &echos[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < PAIRS; i++)
		ck_assert_int_eq(echos[i].error, 0);
	free(echos);
}
END_TEST

struct byte_reader {
	int fd;
	int *n_read;
	unsigned char byte;
};

static int read_one_byte(void *arg)
{
	struct byte_reader *r = arg;

	if (weft_read(r->fd, &r->byte, 1) == 1)
		++*r->n_read;
	return 0;
}

enum { OPERATIONS = 5000 };

static struct byte_reader *start_readers(int fd, int *n_read)
{
	struct byte_reader *readers = calloc(OPERATIONS, sizeof *readers);

	for (int i = 0; i < OPERATIONS; i++) {
		readers[i] = (struct byte_reader){ fd, n_read, 0 };
		ck_assert(!weft_tasklet_is_null(
			weft_spawn(read_one_byte, &readers[i])));
	}
	return readers;
}

/* Far more operations in flight than the queues of the ring have entries: 5,000
 * wait on one pipe, and each gets one byte. */
START_TEST(thousands_in_flight)
{
	unsigned char bytes[OPERATIONS];
	int n_read = 0, fds[2], seen[256] = { 0 };
	struct byte_reader *readers;

	make_pair(0, fds);
	readers = start_readers(fds[0], &n_read);
	ck_assert_int_eq(weft_pump(), OPERATIONS);
	for (int i = 0; i < OPERATIONS; i++)
		bytes[i] = (unsigned char)(i / 32);
	ck_assert_int_eq(weft_write(fds[1], bytes, sizeof bytes), OPERATIONS);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_read, OPERATIONS);
	for (int i = 0; i < OPERATIONS; i++)
		seen[readers[i].byte]++;
	for (int i = 0; i < OPERATIONS / 32; i++)
		ck_assert_int_eq(seen[i], 32);
	free(readers);
}
END_TEST

/* All of them are cancelled by one close. */
START_TEST(close_cancels_thousands)
{
	int n_read = 0, fds[2];
	struct byte_reader *readers;

	make_pair(0, fds);
	readers = start_readers(fds[0], &n_read);
	ck_assert_int_eq(weft_pump(), OPERATIONS);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_read, 0);
	free(readers);
}
END_TEST

struct leaver {
	int fd;
	int n_read;
	struct byte_reader *readers;
};

static void *leave_readers(void *arg)
{
	struct leaver *l = arg;

	l->readers = start_readers(l->fd, &l->n_read);
	weft_pump();
	return NULL;
}

/* Or by the end of their thread, with a submission queue that is far too small
 * for all the cancellations. */
START_TEST(cancel_storm_with_full_ring)
{
	struct leaver l = { .n_read = 0 };
	char byte = 0;
	int fds[2];

	make_pair(0, fds);
	l.fd = fds[0];
	join_thread(start_thread(leave_readers, &l));
	ck_assert_int_eq(l.n_read, 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	free(l.readers);
}
END_TEST

static int await_nops(void *arg)
{
	struct counter *c = arg;

	for (int i = 0; i < 20; i++) {
		struct io_uring_sqe sqe = { 0 };

		io_uring_prep_nop(&sqe);
		c->n += weft_await(&sqe) == 0;
	}
	return 0;
}

/* Operations that complete at once, thousands in one batch. */
START_TEST(thousands_of_nops)
{
	struct counter c = { .n = 0 };

	for (int i = 0; i < OPERATIONS; i++)
		weft_spawn(await_nops, &c);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_uint_eq(c.n, 20 * OPERATIONS);
}
END_TEST

static void *run_nops(void *arg)
{
	struct counter *c = arg;

	for (int i = 0; i < 200; i++)
		weft_spawn(await_nops, c);
	weft_run();
	return NULL;
}

/* Every thread has a ring of its own. */
START_TEST(rings_of_many_threads)
{
	enum { N = 8 };
	struct counter counters[N] = { { .n = 0 } };
	pthread_t threads[N];

	for (int i = 0; i < N; i++)
		threads[i] = start_thread(run_nops, &counters[i]);
	for (int i = 0; i < N; i++) {
		join_thread(threads[i]);
		ck_assert_uint_eq(counters[i].n, 200 * 20);
	}
}
END_TEST

/* --- any operation --- */

/* The completion's result and flags come back whole. */
START_TEST(await_any_operation)
{
	struct io_uring_cqe cqe;
	struct io_uring_sqe sqe = { 0 };
	int fds[2];

	io_uring_prep_nop(&sqe);
	sqe.user_data = 0x1234567;
	memset(&cqe, MSG_WAITALL, sizeof cqe);
	ck_assert_int_eq(weft_await_cqe(&sqe, &cqe), 0);
	ck_assert_int_eq(cqe.res, 0);
	ck_assert_uint_eq(cqe.flags, 0);
	ck_assert_uint_eq(cqe.user_data, 0);
	ck_assert_uint_eq(sqe.user_data, 0x1234567);

	make_pair(1, fds);
	io_uring_prep_send(&sqe, fds[1], "abc", 3, 0);
	ck_assert_int_eq(weft_await(&sqe), 3);
	io_uring_prep_read(&sqe, -1, NULL, 0, 0);
	ck_assert_int_eq(weft_await_cqe(&sqe, &cqe), 0);
	ck_assert_int_eq(cqe.res, -EBADF);
	ck_assert_int_eq(weft_await(&sqe), -EBADF);
	io_uring_prep_timeout(
		&sqe, &(struct __kernel_timespec){ .tv_nsec = 1000 }, 0, 0);
	ck_assert_int_eq(weft_await(&sqe), -ETIME);
}
END_TEST

/* --- cancelled by an operation of the user's --- */

static int wait_for_time(void *time)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_timeout(&sqe, time, 0, 0);
	*(long long *)time = weft_await(&sqe);
	return 0;
}

/* It is not begun again, however long it is: a time may look like an address. */
START_TEST(await_a_time_that_is_cancelled)
{
	static const int seconds[] = { 1000, 1, AF_UNIX + 65536, AF_INET };
	struct __kernel_timespec time = { .tv_sec = seconds[_i] };
	struct io_uring_sqe sqe = { 0 };

	weft_spawn(wait_for_time, &time);
	weft_schedule();
	io_uring_prep_cancel(&sqe, NULL, 0);
	sqe.cancel_flags = IORING_ASYNC_CANCEL_ANY;
	ck_assert_int_ge(weft_await(&sqe), 0);
	ck_assert_int_eq(weft_run_until(weft_now() + 10 * WEFT_SECOND), 0);
	ck_assert_int_eq(time.tv_sec, -ECANCELED);
}
END_TEST

/* An operation that the engine does not know fails by itself. */
START_TEST(await_an_unknown_operation)
{
	struct io_uring_sqe sqe = { .opcode = 255 };

	ck_assert_int_eq(weft_await(&sqe),
			 have_io_uring() ? -EINVAL : -EOPNOTSUPP);
	io_uring_prep_nop(&sqe);
	ck_assert_int_eq(weft_await(&sqe), 0);
}
END_TEST

/* What cannot be awaited is refused before it is started. */
START_TEST(await_refuses)
{
	static const unsigned char flags[] = {
		IOSQE_CQE_SKIP_SUCCESS,
		IOSQE_IO_LINK,
		IOSQE_IO_HARDLINK,
		IOSQE_IO_DRAIN,
	};
	struct io_uring_cqe cqe, before;
	struct io_uring_sqe sqe;

	memset(&cqe, 0x77, sizeof cqe);
	before = cqe;
	for (size_t i = 0; i < N_ELEMENTS(flags); i++) {
		memset(&sqe, 0, sizeof sqe);
		io_uring_prep_nop(&sqe);
		sqe.flags = flags[i];
		ck_assert_int_eq(weft_await(&sqe), -EINVAL);
		ck_assert_int_eq(weft_await_cqe(&sqe, &cqe), -EINVAL);
	}
	ck_assert_int_eq(weft_await(NULL), -EINVAL);
	ck_assert_int_eq(weft_await_cqe(NULL, &cqe), -EINVAL);
	ck_assert_mem_eq(&cqe, &before, sizeof cqe);
}
END_TEST

static int await_from_a_short_life(void *arg)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_write(&sqe, *(int *)arg, "s", 1, (uint64_t)-1);
	return weft_await(&sqe) == 1 ? 0 : -EIO;
}

/* The sqe is copied before the call switches, and lives on a stack that others
 * use next. */
START_TEST(await_from_short_lives)
{
	enum { LIVES = 2000 };
	char buf[LIVES];
	int fds[2];

	make_pair(0, fds);
	for (int i = 0; i < LIVES; i++)
		weft_spawn(await_from_a_short_life, &fds[1]);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(read(fds[0], buf, sizeof buf), LIVES);
	for (int i = 0; i < LIVES; i++)
		ck_assert_int_eq(buf[i], 's');
}
END_TEST

static int pass_some(void *channel)
{
	int rc = 0;

	for (int i = 0; i < 100 && !rc; i++)
		rc = weft_channel_send(channel, &i);
	return rc;
}

static void *pass_from_another_thread(void *channel)
{
	weft_spawn(pass_some, channel);
	weft_run();
	return NULL;
}

static const struct refusal refusals[] = {
	{ SYS_io_uring_setup, -1, 0, EPERM },
	{ SYS_io_uring_setup, -1, 0, ENOSYS },
	{ SYS_io_uring_setup, -1, 0, ENOMEM },
	{ SYS_io_uring_enter, -1, 0, EPERM },
	{ SYS_io_uring_enter, -1, 0, ENOSYS },
};

/* Where a filter refuses the ring, be it set-up or use, and nothing else will do,
 * I/O returns what the filter said, each time, and all the rest works:
 * enter_refused_by_a_filter. */
START_TEST(refused_ring_is_an_error_of_io_only)
{
	weft_channel *ch = weft_channel_new(sizeof(int), 0);
	pthread_t other;
	int ends[2];
	char byte;

	if (lacks_io_uring())
		return;
	make_pair(0, ends);
	setenv("WEFT_ENGINE", "uring", 1);
	refuse_call(&refusals[_i]);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_read(ends[0], &byte, 1),
				 -refusals[_i].error);
	other = start_thread(pass_from_another_thread, ch);
	for (int i = 0; i < 100; i++) {
		int element = -1;

		ck_assert_int_eq(weft_channel_receive(ch, &element), 0);
		ck_assert_int_eq(element, i);
	}
	join_thread(other);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	ck_assert_str_eq(weft_engine(), "uring");
	weft_channel_unref(ch);
}
END_TEST

static int write_one(void *arg)
{
	return (int)weft_write(*(int *)arg, "x", 1);
}

static void *read_in_a_thread(void *arg)
{
	char byte = 0;

	*(int *)arg = (int)weft_read(*(int *)arg, &byte, 1);
	return NULL;
}

/* If either will do, the other engine takes its place. */
START_TEST(refused_ring_has_a_substitute)
{
	pthread_t other;
	int ends[2], fd;
	char byte = 0;

	if (lacks_io_uring())
		return;
	make_pair(0, ends);
	unsetenv("WEFT_ENGINE");
	refuse_call(&refusals[_i]);
	weft_spawn(write_one, &ends[1]);
	ck_assert_int_eq(weft_read(ends[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	ck_assert_str_eq(weft_engine(), "poll");
	fd = ends[0];
	other = start_thread(read_in_a_thread, &fd);
	ck_assert_int_eq(weft_write(ends[1], "x", 1), 1);
	join_thread(other);
	ck_assert_int_eq(fd, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io");

	add_loop(s, "streams", stream_arrives_whole, 32);
	add_loop(s, "streams between threads", stream_between_threads, 2);
	add_loop(s, "blocked read", blocked_read_lets_others_run, 4);
	add_case(s, "blocking, under a trap",
		 under_a_trap_it_finds_what_is_there);
	add_case(s, "files", file_position_is_the_kernels, openat_options);
	add_case(s, "failures", failures_are_negative_errnos, peer_has_gone);
	add_loop(s, "nothing", nothing_moves_nothing, 2);
	add_case(s, "nothing, at once", nothing_is_there_at_once);
	add_loop(s, "nothing, as a message", nothing_can_be_a_message, 2);
	add_loop(s, "connections", connections_get_their_own_answers, 4);
	add_loop(s, "connections between threads", connections_between_threads,
		 2);
	add_loop(s, "refused", connection_is_refused, 4);
	add_loop(s, "full backlog", connect_waits_for_room, N_CROWDED);
	add_loop(s, "full backlog, end", connect_stops_waiting_for_room,
		 N_CROWDED);
	add_loop(s, "full backlog, reuse", connect_leaves_a_reused_number_alone,
		 8);
	add_loop(s, "full backlog, traps", connect_under_a_trap, 4);
	add_case(s, "full backlog, many",
		 connects_that_wait_leave_others_alone);
	add_loop(s, "bad address", connect_to_a_bad_address, 2);
	add_loop(s, "close", close_cancels_what_is_in_flight, 8);
	add_loop(s, "close and a result", close_keeps_a_result_that_had_come,
		 2);
	add_case(s, "close and reuse", close_and_reuse_of_the_number);
	add_case(s, "many", two_hundred_conversations, thousands_in_flight,
		 close_cancels_thousands, cancel_storm_with_full_ring,
		 thousands_of_nops, rings_of_many_threads);
	add_loop(s, "cancelled by hand", await_a_time_that_is_cancelled, 4);
	add_case(s, "any operation", await_any_operation,
		 await_an_unknown_operation, await_refuses,
		 await_from_short_lives);
	add_loop(s, "refused", refused_ring_is_an_error_of_io_only,
		 N_ELEMENTS(refusals));
	add_loop(s, "refused", refused_ring_has_a_substitute,
		 N_ELEMENTS(refusals));
	return run_suite(s);
}
