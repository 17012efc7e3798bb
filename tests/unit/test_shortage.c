/* SPDX-License-Identifier: MIT */
/*
 * A world that is out of descriptors, of lockable memory, or of patience: I/O calls
 * return the error, leave what they could not take where it is, and work again as soon
 * as there is something to be had.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#include "limits.h"
#include "support.h"

static struct sockaddr_in address;
static struct sockaddr *const at = (struct sockaddr *)&address;

static int listen_somewhere(void)
{
	socklen_t size = sizeof address;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address = (struct sockaddr_in){ .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	EXPECT(fd >= 0);
	EXPECT(bind(fd, at, size) == 0);
	EXPECT(getsockname(fd, at, &size) == 0);
	EXPECT(listen(fd, 128) == 0);
	return fd;
}

static int connect_plainly(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	EXPECT(fd >= 0);
	EXPECT(connect(fd, at, sizeof address) == 0);
	return fd;
}

/* --- out of descriptors --- */

static void limit_descriptors(rlim_t n)
{
	struct rlimit limit;

	EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = n;
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

/* Each call that makes one says so, as often as it is made. What it could not take
 * is there when there are descriptors again. */
static int make_without_descriptors(void)
{
	int listener = listen_somewhere();
	int peer = connect_plainly();
	struct weft_deadline d;
	int fd, next;
	char byte;

	EXPECT(weft_read(listener, &byte, 1) == -ENOTCONN);
	next = dup(STDERR_FILENO);
	EXPECT(next >= 0 && close(next) == 0);
	limit_descriptors((rlim_t)next);
	for (int i = 0; i < 3; i++) {
		EXPECT(weft_accept(listener, NULL, NULL) == -EMFILE);
		EXPECT(weft_accept4(listener, NULL, NULL, 0) == -EMFILE);
		EXPECT(weft_openat(AT_FDCWD, "/", O_RDONLY) == -EMFILE);
		EXPECT(weft_openat(AT_FDCWD, "/dev/null", O_WRONLY) == -EMFILE);
		EXPECT(weft_openat(AT_FDCWD, "/tmp", O_TMPFILE | O_RDWR,
				   0600) == -EMFILE);
		EXPECT(weft_socket(AF_INET, SOCK_STREAM, 0) == -EMFILE);
		/* Threads and tasklets go on. */
		EXPECT(weft_sleep(WEFT_MICROSECOND) == 0);
	}
	limit_descriptors((rlim_t)next + 1);
	fd = weft_accept(listener, NULL, NULL);
	EXPECT(fd >= 0);
	EXPECT(send(peer, "x", 1, 0) == 1);
	EXPECT(weft_recv(fd, &byte, 1, 0) == 1);
	/* A close needs none. */
	EXPECT(weft_close(fd) == 0);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	EXPECT(weft_accept(listener, NULL, NULL) == -ETIMEDOUT);
	weft_deadline_end(&d);
	return 0;
}

/* A server takes what it can. If its clients had all descriptors, nobody could go
 * on. */
enum { CLIENTS = 200, LOW_LIMIT = 64, AT_A_TIME = 40 };

static weft_semaphore places = WEFT_SEMAPHORE_INIT(AT_A_TIME);
static int n_served, n_done;

static int serve_one(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char bytes[4];

	EXPECT(weft_recv(fd, bytes, sizeof bytes, 0) == 1);
	EXPECT(weft_send(fd, bytes, 1, 0) == 1);
	EXPECT(weft_close(fd) == 0);
	n_served++;
	return 0;
}

static int serve_all(void *arg)
{
	int listener = *(int *)arg;

	for (int n = 0; n < CLIENTS;) {
		int fd = weft_accept(listener, NULL, NULL);

		if (fd == -EMFILE) {
			weft_sleep(100 * WEFT_MICROSECOND);
			continue;
		}
		EXPECT(fd >= 0);
		EXPECT(weft_tasklet_is_null(weft_spawn(
			       serve_one, (void *)(intptr_t)fd)) == false);
		n++;
	}
	return 0;
}

static int be_client(void *arg)
{
	char byte;
	int fd;

	(void)arg;
	EXPECT(weft_semaphore_wait(&places) == 0);
	while ((fd = weft_socket(AF_INET, SOCK_STREAM, 0)) == -EMFILE) {
		weft_sleep(100 * WEFT_MICROSECOND);
	}
	EXPECT(fd >= 0);
	EXPECT(weft_connect(fd, at, sizeof address) == 0);
	EXPECT(weft_send(fd, "x", 1, 0) == 1);
	EXPECT(weft_recv(fd, &byte, 1, 0) == 1);
	EXPECT(weft_close(fd) == 0);
	n_done++;
	return weft_semaphore_post(&places);
}

static int serve_with_few_descriptors(void)
{
	int listener;

	limit_descriptors(LOW_LIMIT);
	listener = listen_somewhere();
	/* The ring comes first. */
	EXPECT(weft_recv(listener, &(char){ 0 }, 1, 0) == -ENOTCONN);
	weft_spawn(serve_all, &listener);
	for (int i = 0; i < CLIENTS; i++)
		weft_spawn(be_client, NULL);
	EXPECT(weft_run() == 0);
	EXPECT(n_served == CLIENTS && n_done == CLIENTS);
	return 0;
}

/* --- no memory to lock --- */

static int use_pipe(void)
{
	char byte;
	int fds[2];

	EXPECT(pipe(fds) == 0);
	EXPECT(write(fds[1], "x", 1) == 1);
	EXPECT(weft_read(fds[0], &byte, 1) == 1);
	EXPECT(weft_close(fds[0]) == 0);
	EXPECT(weft_close(fds[1]) == 0);
	return 0;
}

/* Old kernels charge rings to this limit: then the error is that. Newer ones do
 * not. */
static int open_without_lockable_memory(void)
{
	struct rlimit none = { 0, 0 };
	char byte;
	int fds[2];
	ssize_t rc;

	if (geteuid() == 0)
		EXPECT(setresuid(61234, 61234, 61234) == 0);
	EXPECT(setrlimit(RLIMIT_MEMLOCK, &none) == 0);
	EXPECT(pipe(fds) == 0);
	EXPECT(write(fds[1], "x", 1) == 1);
	rc = weft_read(fds[0], &byte, 1);
	EXPECT(rc == 1 || rc == -ENOMEM);
	return rc == 1 ? use_pipe() : 0;
}

static int (*const shortages[])(void) = { make_without_descriptors,
					  serve_with_few_descriptors,
					  open_without_lockable_memory };

START_TEST(shortage)
{
	char errors[1024];

	if (is_under_valgrind() && _i < 2) {
		skip("Valgrind keeps descriptors of its own");
		return;
	}
	ck_assert_msg(in_child(shortages[_i], errors, sizeof errors) == 0, "%s",
		      errors);
}
END_TEST

/* --- a peer that resets --- */

enum { MUCH = 1 << 22 };

static int listener, peer;
static char much[MUCH];

/* An RST, whatever the peer has sent. */
static void reset(int fd)
{
	struct linger none = { .l_onoff = 1, .l_linger = 0 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &none, sizeof none);
	close(fd);
}

static int accept_one(void)
{
	return weft_accept(listener, NULL, NULL);
}

static int reset_peer(void *arg)
{
	(void)arg;
	reset(peer);
	return 0;
}

static ssize_t first, second;

/* Before it is accepted: there is a socket, or none. */
static void reset_in_the_backlog(void)
{
	struct weft_deadline d;
	int fd;

	reset(peer);
	weft_deadline_begin(&d, weft_now() + 10 * WEFT_MILLISECOND);
	fd = accept_one();
	weft_deadline_end(&d);
	first = -ECONNRESET;
	if (fd < 0) {
		ck_assert(fd == -ETIMEDOUT || fd == -ECONNABORTED);
		return;
	}
	first = weft_recv(fd, much, 1, 0);
	second = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_before_a_receive(void)
{
	int fd = accept_one();

	reset(peer);
	first = weft_recv(fd, much, 1, 0);
	second = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_receive(void)
{
	int fd = accept_one();

	weft_spawn(reset_peer, NULL);
	first = weft_recv(fd, much, 1, 0);
	second = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_read(void)
{
	int fd = accept_one();

	weft_spawn(reset_peer, NULL);
	first = weft_read(fd, much, 1);
	second = weft_read(fd, much, 1);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_send(void)
{
	int fd = accept_one();

	weft_spawn(reset_peer, NULL);
	while ((first = weft_send(fd, much, sizeof much, 0)) > 0)
		;
	second = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_send(fd, much, 1, 0), -EPIPE);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_write(void)
{
	int fd = accept_one();

	weft_spawn(reset_peer, NULL);
	while ((first = weft_write(fd, much, sizeof much)) > 0)
		;
	second = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_write(fd, much, 1), -EPIPE);
	ck_assert_int_eq(weft_close(fd), 0);
}

/* It returns what it has sent, and the next call tells. */
static void reset_under_a_full_send(void)
{
	int fd = accept_one();
	ssize_t rc;

	weft_spawn(reset_peer, NULL);
	rc = weft_send_full(fd, much, sizeof much, 0);
	ck_assert_int_lt(rc, sizeof much);
	ck_assert(rc > 0 || rc == -ECONNRESET || rc == -EPIPE);
	ck_assert_int_lt(weft_send(fd, much, 1, 0), 0);
	first = -ECONNRESET;
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_full_receive(void)
{
	int fd = accept_one();

	ck_assert_int_eq(send(peer, "abc", 3, 0), 3);
	ck_assert_int_eq(weft_recv_full(fd, much, 3, 0), 3);
	weft_spawn(reset_peer, NULL);
	first = weft_recv_full(fd, much, 10, 0);
	second = weft_recv_full(fd, much, 10, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_before_a_shutdown(void)
{
	int fd = accept_one();

	reset(peer);
	ck_assert_int_eq(weft_shutdown(fd, SHUT_WR), -ENOTCONN);
	first = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void reset_under_a_poll(void)
{
	int fd = accept_one();
	struct pollfd p = { .fd = fd, .events = POLLIN };

	weft_spawn(reset_peer, NULL);
	ck_assert_int_eq(weft_poll(&p, 1, -1), 1);
	ck_assert_int_eq(p.revents & (POLLERR | POLLIN), POLLERR | POLLIN);
	first = weft_recv(fd, much, 1, 0);
	ck_assert_int_eq(weft_close(fd), 0);
}

static void connect_to_nobody(void)
{
	int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

	reset(peer);
	close(listener);
	first = weft_connect(fd, at, sizeof address);
	if (first == -ECONNREFUSED)
		first = -ECONNRESET;
	ck_assert_int_eq(weft_close(fd), 0);
	listener = listen_somewhere();
}

static void (*const resets[])(void) = {
	reset_in_the_backlog,    reset_before_a_receive,
	reset_under_a_receive,   reset_under_a_read,
	reset_under_a_send,      reset_under_a_write,
	reset_under_a_full_send, reset_under_a_full_receive,
	reset_before_a_shutdown, reset_under_a_poll,
	connect_to_nobody,
};

/* The reset is told once, then there is the end. Nobody waits for what cannot come, no
 * signal comes, and no descriptor is left. */
START_TEST(peer_that_resets)
{
	int n_before;

	signal(SIGPIPE, SIG_IGN); /* of weft_write() */
	listener = listen_somewhere();
	ck_assert_int_eq(weft_recv(listener, much, 1, 0), -ENOTCONN);
	n_before = n_descriptors();
	for (int i = 0; i < 20; i++) {
		first = second = 0;
		peer = connect_plainly();
		resets[_i]();
		ck_assert_int_eq(first, -ECONNRESET);
		ck_assert_int_eq(second, 0);
		ck_assert_int_eq(weft_run(), 0);
		ck_assert_int_eq(n_descriptors(), n_before);
	}
}
END_TEST

int main(void)
{
	Suite *s;

	if (lacks_io_uring())
		return SKIPPED;
	s = suite_create("shortage");
	add_loop(s, "shortage", shortage, N_ELEMENTS(shortages));
	add_loop(s, "reset", peer_that_resets, N_ELEMENTS(resets));
	return run_suite(s);
}
