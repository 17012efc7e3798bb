/* SPDX-License-Identifier: MIT */
/*
 * weft_close(): it always closes, it ends the calls of this thread that were made
 * with that descriptor's number and no others, and it keeps only its caller
 * waiting.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "allocation.h"
#include "limits.h"
#include "support.h"

enum { OTHERS = 50 }; /* descriptors beside those that a test counts */

static bool is_closed(int fd)
{
	return fcntl(fd, F_GETFD) < 0 && errno == EBADF;
}

struct call {
	int fd;
	ssize_t rc;
	int n_tries;
};

static const ssize_t STILL_WAITS = -999;

static int receive(void *arg)
{
	struct call *c = arg;
	char byte;

	c->n_tries++;
	c->rc = weft_recv(c->fd, &byte, 1, 0);
	return 0;
}

/* Does not take -ECANCELED for an answer. */
static int receive_again(void *arg)
{
	struct call *c = arg;

	do
		receive(c);
	while (c->rc == -ECANCELED && c->n_tries < 100);
	return 0;
}

static struct call start_call(int fd)
{
	return (struct call){ .fd = fd, .rc = STILL_WAITS };
}

static void make_sockets(int fds[2])
{
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

/* --- whose calls end --- */

/* Of two descriptors of one socket, only the calls of the closed one end. */
START_TEST(closing_a_duplicate)
{
	int fds[2], copy;
	struct call on_fd, on_copy;

	make_sockets(fds);
	copy = dup(fds[0]);
	on_fd = start_call(fds[0]);
	on_copy = start_call(copy);
	weft_spawn(receive, &on_fd);
	weft_spawn(receive, &on_copy);
	ck_assert_int_eq(weft_pump(), 2);
	ck_assert_int_eq(weft_close(copy), 0);
	weft_pump();
	ck_assert_int_eq(on_copy.rc, -ECANCELED);
	ck_assert_int_eq(on_fd.rc, STILL_WAITS);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(on_fd.rc, 1);
}
END_TEST

/* Whatever their numbers have in common. */
START_TEST(closing_an_unused_duplicate)
{
	static const int distances[] = { 64, 512, 1024, 4096, 8192, 100000 };
	struct call on_fd;
	int fds[2], copy;

	if (lacks_descriptors((unsigned)distances[_i] + OTHERS))
		return;
	make_sockets(fds);
	on_fd = start_call(fds[0]);
	weft_spawn(receive, &on_fd);
	ck_assert_int_eq(weft_pump(), 1);
	copy = fcntl(fds[0], F_DUPFD_CLOEXEC, fds[0] + distances[_i]);
	ck_assert_int_ge(copy, 0);
	ck_assert_int_eq(weft_close(copy), 0);
	weft_pump();
	ck_assert_int_eq(on_fd.rc, STILL_WAITS);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(on_fd.rc, 1);
}
END_TEST

/* Also for numbers that the first calls of a thread were far below. */
START_TEST(calls_on_large_numbers)
{
	enum { LARGE = 16000 };
	struct call small, large;
	int fds[2], copy;

	if (lacks_descriptors(LARGE + OTHERS))
		return;
	make_sockets(fds);
	copy = fcntl(fds[0], F_DUPFD_CLOEXEC, LARGE);
	ck_assert_int_ge(copy, 0);
	small = start_call(fds[0]);
	large = start_call(copy);
	weft_spawn(receive, &small);
	weft_spawn(receive, &large);
	ck_assert_int_eq(weft_pump(), 2);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	weft_pump();
	ck_assert_int_eq(small.rc, -ECANCELED);
	ck_assert_int_eq(large.rc, STILL_WAITS);
	ck_assert_int_eq(weft_close(copy), 0);
	weft_pump();
	ck_assert_int_eq(large.rc, -ECANCELED);
	/* numbers that are none */
	ck_assert_int_eq(weft_close(-1), -EBADF);
	ck_assert_int_eq(weft_close(-2), -EBADF);
	ck_assert_int_eq(weft_close(INT32_MAX), -EBADF);
	ck_assert_int_eq(weft_close(INT32_MIN), -EBADF);
	small = start_call(INT32_MAX);
	receive(&small);
	ck_assert_int_eq(small.rc, -EBADF);
	small = start_call(INT32_MIN);
	receive(&small);
	ck_assert_int_eq(small.rc, -EBADF);
}
END_TEST

/* Nobody can begin a call between the cancellation and the close. */
START_TEST(no_call_in_between)
{
	struct call again, late;
	char byte;
	int fds[2];

	make_sockets(fds);
	again = start_call(fds[0]);
	late = start_call(fds[0]);
	weft_spawn(receive_again, &again);
	ck_assert_int_eq(weft_pump(), 1);
	weft_spawn(receive_again, &late);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(again.rc, -EBADF);
	ck_assert_int_eq(again.n_tries, 2);
	ck_assert_int_eq(late.rc, -EBADF);
	/* the peer's end, as soon as close has returned */
	ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
}
END_TEST

static int close_it(void *fd)
{
	return weft_close(*(int *)fd);
}

/* Calls that were begun but not yet handed to the kernel end, too. */
START_TEST(calls_not_yet_handed_in)
{
	struct call c;
	weft_tasklet closer;
	char byte;
	int fds[2];

	make_sockets(fds);
	c = start_call(fds[0]);
	weft_spawn(receive_again, &c);
	closer = weft_spawn(close_it, &fds[0]);
	ck_assert_int_eq(weft_tasklet_join(closer), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(c.rc, -EBADF);
	ck_assert_int_eq(recv(fds[1], &byte, 1, MSG_DONTWAIT), 0);
}
END_TEST

static int read_a_byte(void *fd)
{
	char byte;

	return (int)weft_read(*(int *)fd, &byte, 1);
}

/* One that was killed before it was handed in: it must not be made on what gets the
 * number next. */
START_TEST(killed_call_not_yet_handed_in)
{
	weft_tasklet t;
	int fds[2], next[2];
	char byte = 0;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	t = weft_spawn(read_a_byte, &fds[0]);
	weft_schedule(); /* it has begun */
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq(pipe2(next, O_CLOEXEC), 0);
	ck_assert_int_eq(next[0], fds[0]);
	ck_assert_int_eq((int)write(next[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq((int)read(next[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
}
END_TEST

/* One that the kernel gave up, and that would be begun again when its tasklet runs. */
START_TEST(call_cut_short_before)
{
	struct io_uring_sqe sqe = { 0 };
	int fds[2], next[2];
	char byte = 0;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	weft_spawn(read_a_byte, &fds[0]);
	weft_schedule();
	io_uring_prep_cancel_fd(&sqe, fds[0], 0);
	weft_set_block_trap(true); /* nobody else runs meanwhile */
	ck_assert_int_ge(weft_await(&sqe), 0);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	weft_set_block_trap(false);
	ck_assert_int_eq(pipe2(next, O_CLOEXEC), 0);
	ck_assert_int_eq(next[0], fds[0]);
	ck_assert_int_eq((int)write(next[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq((int)read(next[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
}
END_TEST

/* --- it always closes --- */

enum { MANY = 64 };

/* Also if there is no memory. */
START_TEST(close_without_memory)
{
	struct call calls[MANY];
	int fds[2], other[2], rc[2];
	int file = open("/proc/self/exe", O_RDONLY);

	make_sockets(fds);
	make_sockets(other);
	for (int i = 0; i < MANY; i++) {
		calls[i] = start_call(fds[0]);
		weft_spawn(receive, &calls[i]);
	}
	ck_assert_int_eq(weft_pump(), MANY);
	fail_allocations_after(0);
	rc[0] = weft_close(other[0]);
	rc[1] = weft_close(file);
	weft_close(fds[0]);
	fail_allocations_after(-1);
	ck_assert_int_eq(rc[0], 0);
	ck_assert_int_eq(rc[1], 0);
	ck_assert(is_closed(other[0]));
	ck_assert(is_closed(file));
	ck_assert(is_closed(fds[0]));
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < MANY; i++)
		ck_assert_int_eq(calls[i].rc, -ECANCELED);
}
END_TEST

static int fd_to_close, rc_of_close;

static void close_when_told(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from;
	(void)to;
	(void)ctx;
	if (fd_to_close < 0)
		return;
	rc_of_close = weft_close(fd_to_close);
	fd_to_close = -1;
}

static int open_of_kind(int kind)
{
	int fds[2];

	switch (kind) {
	case 0:
		return open("/proc/self/exe", O_RDONLY);
	case 1:
		return open("/", O_RDONLY | O_DIRECTORY);
	case 2:
		return open("/dev/null", O_RDWR);
	case 3:
		return posix_openpt(O_RDWR | O_NOCTTY);
	case 4:
		ck_assert_int_eq(pipe(fds), 0);
		close(fds[1]);
		return fds[0];
	case 5:
		make_sockets(fds);
		close(fds[1]);
		return fds[0];
	default:
		if (!have_io_uring()) /* nor may anybody try */
			return open("/dev/null", O_RDONLY | O_CLOEXEC);
		return (int)syscall(SYS_io_uring_setup, 4,
				    &(struct io_uring_params){ 0 });
	}
}

enum { KINDS = 7 };

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* Every kind of descriptor, a ring's too, is closed: by a tasklet, by one that must
 * not block, by one that must not switch, in a callback. */
START_TEST(every_kind_is_closed)
{
	int kind = _i % KINDS;
	int how = _i / KINDS;
	struct call c = start_call(-1);
	int fd, rc;

	receive(&c); /* there is a ring, which takes no number later */
	fd = open_of_kind(kind);
	if (fd < 0)
		return; /* a machine without */
	if (how == 1)
		weft_set_block_trap(true);
	if (how == 2)
		weft_switch_trap(1);
	if (how == 3) {
		fd_to_close = fd;
		weft_set_schedule_callback(close_when_told, NULL);
		weft_spawn(do_nothing, NULL);
		weft_schedule();
		rc = rc_of_close;
	} else {
		rc = weft_close(fd);
	}
	ck_assert_int_eq(rc, 0);
	ck_assert(is_closed(fd));
}
END_TEST

/* Without a descriptor left for a duplicate. */
START_TEST(close_without_descriptors)
{
	struct rlimit limit = { 0, 0 };
	int fd = posix_openpt(O_RDWR | O_NOCTTY);

	if (fd < 0 || is_under_valgrind()) /* which has limits of its own */
		return;
	limit.rlim_cur = limit.rlim_max = (rlim_t)fd + 1;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert(is_closed(fd));
}
END_TEST

/* --- who waits --- */

static void connect_over_tcp(int fds[2])
{
	struct sockaddr_in in = { .sin_family = AF_INET };
	socklen_t size = sizeof in;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&in, size), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&in, &size),
			 0);
	fds[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(connect(fds[0], (struct sockaddr *)&in, size), 0);
	fds[1] = accept(listener, NULL, NULL);
	ck_assert_int_ge(fds[1], 0);
	close(listener);
}

struct closer {
	int fd;
	int rc;
	bool is_done;
};

static int close_and_note(void *arg)
{
	struct closer *c = arg;

	c->rc = weft_close(c->fd);
	c->is_done = true;
	return 0;
}

static bool close_stops_all(void)
{
	if (!is_under_valgrind())
		return false;
	skip("Valgrind runs no thread while one waits in close(2)");
	return true;
}

/* A socket that lingers for half a minute with bytes that its peer does not read:
 * its closer waits for them, and nobody else. */
START_TEST(lingering_keeps_the_tasklet_only)
{
	static char bytes[1 << 16];
	struct linger linger = { .l_onoff = 1, .l_linger = 30 };
	struct closer c = { .rc = 1 };
	int fds[2];

	if (close_stops_all())
		return;
	connect_over_tcp(fds);
	ck_assert_int_eq(setsockopt(fds[0], SOL_SOCKET, SO_LINGER, &linger,
				    sizeof linger),
			 0);
	while (send(fds[0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	c.fd = fds[0];
	weft_spawn(close_and_note, &c);
	for (int i = 0; i < 100; i++)
		weft_schedule();
	ck_assert(is_closed(fds[0]));
	ck_assert(!c.is_done);
	while (recv(fds[1], bytes, sizeof bytes, 0) > 0)
		;
	ck_assert_int_eq(weft_run(), 0);
	ck_assert(c.is_done);
	ck_assert_int_eq(c.rc, 0);
}
END_TEST

/* A helper that closes such a socket has a duplicate of the descriptor. It is none of
 * the standard ones, which a daemon gives other files: the helper would close
 * those. */
START_TEST(lingering_leaves_standard_descriptors_alone)
{
	enum { N = 20 }; /* more than there are helpers */

	struct linger linger = { .l_onoff = 1, .l_linger = 30 };
	static char bytes[1 << 16];
	struct closer c[N];
	int fds[N][2];
	int input;

	if (close_stops_all())
		return;
	for (int i = 0; i < N; i++) {
		connect_over_tcp(fds[i]);
		ck_assert_int_eq(setsockopt(fds[i][0], SOL_SOCKET, SO_LINGER,
					    &linger, sizeof linger),
				 0);
		while (send(fds[i][0], bytes, sizeof bytes, MSG_DONTWAIT) > 0)
			;
		c[i] = (struct closer){ .fd = fds[i][0], .rc = 1 };
	}
	input = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3);
	close(STDIN_FILENO);
	for (int i = 0; i < N; i++)
		weft_spawn(close_and_note, &c[i]);
	weft_schedule();
	ck_assert(is_closed(STDIN_FILENO));
	for (int i = 0; i < N; i++)
		while (recv(fds[i][1], bytes, sizeof bytes, 0) > 0)
			;
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(c[i].rc, 0);
	if (input >= 0)
		dup2(input, STDIN_FILENO);
}
END_TEST

/* --- what it costs --- */

enum { IDLE = 2000 };

/* Nothing is asked of the kernel for what else is in flight. */
START_TEST(idle_calls_cost_a_close_nothing)
{
	int n = many_tasklets(IDLE);
	struct weft_stats before, after;
	struct call *calls;
	int fds[2];

	if (lacks_descriptors(2 * (unsigned)n + OTHERS))
		return;
	calls = calloc((size_t)n, sizeof *calls);
	for (int i = 0; i < n; i++) {
		make_sockets(fds);
		calls[i] = start_call(fds[0]);
		weft_spawn(receive, &calls[i]);
	}
	ck_assert_int_eq(weft_pump(), n);
	ck_assert_int_eq(weft_stats(0, &before), 0);
	for (int i = 0; i < 3000; i++) {
		make_sockets(fds);
		ck_assert_int_eq(weft_close(fds[0]), 0);
		ck_assert_int_eq(weft_close(fds[1]), 0);
	}
	ck_assert_int_eq(weft_stats(0, &after), 0);
	ck_assert_uint_eq(after.cancels, before.cancels);
	ck_assert_uint_eq(after.operations, before.operations);
	ck_assert_uint_eq(after.submits, before.submits);
	/* and each of them costs one cancellation */
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(weft_close(calls[i].fd), 0);
	ck_assert_int_eq(weft_stats(0, &after), 0);
	ck_assert_uint_eq(after.cancels, before.cancels + (uint64_t)n);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(calls[i].rc, -ECANCELED);
	free(calls);
}
END_TEST

enum { OF_FUTEX = 2 | 128 }; /* FUTEX2_SIZE_U32 | FUTEX2_PRIVATE */

static uint32_t word;

static int wait_for_word(void *arg)
{
	enum { OP_FUTEX_WAIT = 51 };
	struct io_uring_sqe sqe = { .opcode = OP_FUTEX_WAIT,
				    .fd = OF_FUTEX,
				    .addr = (uintptr_t)&word };
	struct call *c = arg;

	sqe.addr3 = UINT32_MAX;
	c->rc = weft_await(&sqe);
	return 0;
}

/* A futex has no descriptor, and its flags are in the place of one: the close of the
 * descriptor with that number does not end the wait. A kill does. */
START_TEST(a_number_that_means_something_else)
{
	struct call c = { .rc = STILL_WAITS };
	weft_tasklet t = weft_spawn(wait_for_word, &c);

	weft_sleep(WEFT_MILLISECOND);
	if (c.rc != STILL_WAITS) {
		skip("there is no operation for a futex");
		return;
	}
	ck_assert_int_eq(dup2(STDERR_FILENO, OF_FUTEX), OF_FUTEX);
	ck_assert_int_eq(weft_close(OF_FUTEX), 0);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(c.rc, STILL_WAITS);
	if (_i)
		weft_tasklet_kill(t, WEFT_PENDING);
	else
		ck_assert_int_eq(
			syscall(SYS_futex, &word, FUTEX_WAKE_PRIVATE, 1), 1);
	weft_tasklet_join(t);
	ck_assert_int_eq(c.rc, _i ? -ECANCELED : 0);
}
END_TEST

/* In a child of fork() it ends as all operations do, also if the child has begun others
 * before. */
START_TEST(a_number_in_a_child_of_fork)
{
	struct call c = { .rc = STILL_WAITS };
	weft_tasklet t = weft_spawn(wait_for_word, &c);
	int ends[2], status;
	pid_t pid;

	if (is_under_valgrind()) {
		skip("Valgrind stumbles over memory that a child does not have");
		return;
	}
	weft_sleep(WEFT_MILLISECOND);
	if (c.rc != STILL_WAITS) {
		skip("there is no operation for a futex");
		return;
	}
	pid = fork();
	if (pid == 0) {
		if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends) ||
		    weft_send(ends[0], "x", 1, 0) != 1)
			_exit(1);
		weft_tasklet_join(t);
		_exit(c.rc == -ECANCELED ? 0 : 2);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(c.rc, STILL_WAITS);
	weft_tasklet_kill(t, 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("close");

	add_case(s, "whose calls end", closing_a_duplicate,
		 calls_on_large_numbers, no_call_in_between,
		 calls_not_yet_handed_in, killed_call_not_yet_handed_in,
		 call_cut_short_before);
	add_loop(s, "whose calls end", closing_an_unused_duplicate, 6);
	add_loop(s, "whose calls end", a_number_that_means_something_else, 2);
	add_case(s, "whose calls end", a_number_in_a_child_of_fork);
	add_case(s, "always", close_without_memory, close_without_descriptors);
	add_loop(s, "always", every_kind_is_closed, (size_t)KINDS * 4);
	add_case(s, "who waits", lingering_keeps_the_tasklet_only,
		 lingering_leaves_standard_descriptors_alone);
	add_case(s, "cost", idle_calls_cost_a_close_nothing);
	return run_suite(s);
}
