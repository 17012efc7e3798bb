/* SPDX-License-Identifier: MIT */
/*
 * Streams of connections, of readiness, and of any operation's completions: all
 * comes, in its order, whoever waits and whatever interrupts the wait.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "allocation.h"
#include "engine/engine.h"
#include "limits.h"
#include "support.h"

/* --- a kernel that has less, or says something else --- */

static bool lacks_multishot;
static int n_interruptions; /* so many operations fail with -EAGAIN or -EINTR */
static int n_multishot, n_single, n_polls; /* operations that were begun */

static bool is_multishot(const struct io_uring_sqe *sqe)
{
	return (sqe->opcode == IORING_OP_ACCEPT &&
		sqe->ioprio & IORING_ACCEPT_MULTISHOT) ||
	       (sqe->opcode == IORING_OP_POLL_ADD &&
		sqe->len & IORING_POLL_ADD_MULTI);
}

static void count_operation(const struct io_uring_sqe *sqe)
{
	if (is_multishot(sqe))
		n_multishot++;
	else if (sqe->opcode == IORING_OP_ACCEPT)
		n_single++;
	else if (sqe->opcode == IORING_OP_POLL_ADD)
		n_polls++;
}

void __real_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o);
void __wrap_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o);

/* An operation that does nothing, and is told to have failed. */
static void (*complete)(struct operation *o, int res, unsigned flags);
static int error;
static bool has_failed;

static void complete_with_error(struct operation *o, int res, unsigned flags)
{
	(void)res;
	o->complete = complete;
	complete(o, error, flags);
	has_failed = true;
}

static void submit_failing(struct engine *e, struct operation *o, int with)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_NOP };

	complete = o->complete;
	error = with;
	o->complete = complete_with_error;
	__real_weft__engine_submit(e, &sqe, o);
}

void __wrap_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o)
{
	count_operation(sqe);
	if (lacks_multishot && is_multishot(sqe)) {
		submit_failing(e, o, -EINVAL);
	} else if (n_interruptions && sqe->opcode == IORING_OP_ACCEPT) {
		n_interruptions--;
		submit_failing(e, o, n_interruptions ? -EAGAIN : -EINTR);
	} else {
		__real_weft__engine_submit(e, sqe, o);
	}
}

/* --- time --- */

/* A round of the thread's engine at least, in which what has arrived is noticed. */
static void turn(void)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_nop(&sqe);
	(void)weft_await(&sqe);
	weft_sleep(WEFT_MILLISECOND / 10);
}

/* Returns when that holds; if it never does, the test hangs. */
#define UNTIL(condition)     \
	while (!(condition)) \
	turn()

static void settle(void)
{
	for (int i = 0; i < 5; i++)
		turn();
}

static void until_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	while (poll(&p, 1, -1) < 0)
		;
}

/* --- connections --- */

enum { CALLERS = 200 };

static struct sockaddr_in address;

static int listener(void)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof address;

	address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(fd, 2 * CALLERS), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size),
			 0);
	return fd;
}

/* Connects, and sends a number. */
static int call(char number)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (connect(fd, (struct sockaddr *)&address, sizeof address) ||
	    send(fd, &number, 1, 0) != 1) {
		close(fd);
		return -1;
	}
	return fd;
}

/* What a connection's other end has sent; closes it. */
static int heard(ssize_t fd)
{
	unsigned char number = 0;
	ssize_t n;

	if (fd < 0)
		return (int)fd;
	n = recv((int)fd, &number, 1, 0);
	close((int)fd);
	return n == 1 ? number : -1;
}

/* Whether the other end has closed the connection, or does so. */
static bool is_hung_up(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) <= 0;
}

static bool is_hung_up_already(int fd)
{
	char byte;

	return recv(fd, &byte, 1, MSG_DONTWAIT) == 0 || errno != EAGAIN;
}

struct taking {
	weft_stream *stream;
	int n_wanted, n_taken;
	int64_t limit; /* of the second call, for take_interrupted() */
	ssize_t results[2 * CALLERS];
};

static void take_one(struct taking *t)
{
	ssize_t rc = weft_stream_next(t->stream, NULL);

	t->results[t->n_taken++] = rc;
}

static int take(void *arg)
{
	struct taking *t = arg;

	while (t->n_taken < t->n_wanted)
		take_one(t);
	return 0;
}

/* A tasklet that takes @n, and has begun. */
static weft_tasklet start_taking(struct taking *t, weft_stream *stream, int n)
{
	weft_tasklet tasklet;

	*t = (struct taking){ .stream = stream, .n_wanted = n };
	tasklet = weft_spawn(take, t);
	weft_pump();
	return tasklet;
}

/* --- deadlock --- */

/* An armed stream that nobody reads gives no hope to who waits for something else. */
START_TEST(what_nobody_reads_gives_no_hope)
{
	weft_channel *ch = weft_channel_new(0, 0);
	weft_stream *s = weft_accept_stream(listener());
	struct weft_deadline d;
	int rc;

	if (lacks_verdicts())
		return;
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	rc = (int)weft_stream_next(s, NULL);
	weft_deadline_end(&d);
	ck_assert_int_eq(rc, -ETIMEDOUT);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	/* it goes on as before */
	close(call(7));
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 7);
	weft_stream_close(s);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	weft_channel_unref(ch);
}
END_TEST

static weft_channel *passed_on;

static int pass_on(void *stream)
{
	int rc = heard(weft_stream_next(stream, NULL));

	return weft_channel_send(passed_on, &rc);
}

/* One that is read does. */
START_TEST(what_is_read_gives_hope)
{
	weft_stream *s = weft_accept_stream(listener());
	pid_t child;
	int number = 0;

	passed_on = weft_channel_new(sizeof number, 0);
	for (int i = 1; i < 4; i++) {
		weft_spawn(pass_on, s);
		weft_pump();
		child = fork();
		if (!child) {
			usleep(2000);
			call((char)i);
			_exit(0);
		}
		ck_assert_int_eq(weft_channel_receive(passed_on, &number), 0);
		ck_assert_int_eq(number, i);
		ck_assert_int_eq(waitpid(child, NULL, 0), child);
	}
	weft_stream_close(s);
	weft_channel_unref(passed_on);
}
END_TEST

/* One tasklet takes what one operation brings. */
START_TEST(connections_come_in_their_order)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	int fds[10];

	lacks_multishot = _i;
	ck_assert_ptr_nonnull(s);
	start_taking(&t, s, 10);
	ck_assert_int_eq(t.n_taken, 0);
	for (int i = 0; i < 10; i++)
		fds[i] = call((char)i);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_ge((int)t.results[i], 0);
		ck_assert_int_eq(fcntl((int)t.results[i], F_GETFD), FD_CLOEXEC);
		ck_assert_int_eq(heard(t.results[i]), i);
		close(fds[i]);
	}
	if (!_i && !n_single)
		ck_assert_int_eq(n_multishot, 1);
	weft_stream_close(s);
}
END_TEST

/* Also those that come while nobody waits, and before the first call. */
START_TEST(connections_wait_for_the_next_call)
{
	int fd = listener();
	weft_stream *s = weft_accept_stream(fd);
	int fds[6];

	lacks_multishot = _i;
	for (int i = 0; i < 6; i++) {
		fds[i] = call((char)i);
		if (i % 2) {
			ck_assert_int_eq(heard(weft_stream_next(s, NULL)),
					 i / 2);
			settle();
		}
	}
	for (int i = 3; i < 6; i++)
		ck_assert_int_eq(heard(weft_stream_next(s, NULL)), i);
	for (int i = 0; i < 6; i++)
		close(fds[i]);
	weft_stream_close(s);
	ck_assert_int_eq(close(fd), 0);
}
END_TEST

/* More than a stream accepts ahead. Nobody is turned away. */
START_TEST(many_connections_ahead)
{
	weft_stream *s = weft_accept_stream(listener());
	int fds[CALLERS];
	int n;

	if (lacks_descriptors(3 * CALLERS))
		return;
	fds[0] = call(0);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 0);
	close(fds[0]);
	n = n_descriptors();
	for (int i = 0; i < CALLERS; i++) {
		fds[i] = call((char)i);
		ck_assert_int_ge(fds[i], 0);
		if (i % 10 == 0)
			turn();
	}
	settle();
	/* the rest waits in the backlog */
	ck_assert_int_le(n_descriptors(), n + CALLERS + CALLERS / 2);
	for (int i = 0; i < CALLERS; i++) {
		ck_assert_int_eq(heard(weft_stream_next(s, NULL)), i);
		close(fds[i]);
	}
	weft_stream_close(s);
}
END_TEST

/* An error ends only the call. */
START_TEST(errors_are_given_once_each)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	weft_stream *s = weft_accept_stream(fd), *none;
	socklen_t size = sizeof address;
	int client;

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq((int)weft_stream_next(s, NULL), -EINVAL);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&address, &size),
			 0);
	client = call(7);
	n_single = 0;
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 7);
	close(client);
	/* and nothing was concluded from that for others */
	client = call(8);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 8);
	ck_assert_int_eq(n_single, 0);
	close(client);
	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EINVAL);
	weft_stream_close(s);

	none = weft_accept_stream(-1);
	ck_assert_ptr_nonnull(none);
	ck_assert_int_eq((int)weft_stream_next(none, NULL), -EBADF);
	ck_assert_int_eq((int)weft_stream_next(none, NULL), -EBADF);
	weft_stream_close(none);
}
END_TEST

struct shut {
	weft_stream *stream;
	int rc; /* 0: it waits */
};

static int wait_for_shutdown(void *arg)
{
	struct shut *s = arg;

	s->rc = (int)weft_stream_next(s->stream, NULL);
	return 0;
}

/* Who waits for a connection hears of a shutdown, whatever the address, also after
 * there have been connections. */
START_TEST(a_listener_is_shut)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	socklen_t size = sizeof name;
	int fd = _i ? socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)
		    : listener();
	weft_stream *s = weft_accept_stream(fd);
	struct shut waits = { .stream = s };
	int client, taken;

	if (_i) {
		/* the system chooses a name */
		ck_assert_int_eq(bind(fd, (struct sockaddr *)&name,
				      sizeof name.sun_family),
				 0);
		ck_assert_int_eq(listen(fd, 1), 0);
		ck_assert_int_eq(
			getsockname(fd, (struct sockaddr *)&name, &size), 0);
		client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(
			connect(client, (struct sockaddr *)&name, size), 0);
	} else {
		client = call(1);
	}
	taken = (int)weft_stream_next(s, NULL);
	ck_assert_int_ge(taken, 0);
	close(taken);
	close(client);
	weft_spawn(wait_for_shutdown, &waits);
	settle();
	ck_assert_int_eq(waits.rc, 0);
	ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
	UNTIL(waits.rc);
	ck_assert_int_eq(waits.rc, -EINVAL);
	weft_stream_close(s);
	close(fd);
}
END_TEST

/* The connections stay in the backlog. */
START_TEST(no_descriptors_left)
{
	int fd = listener();
	weft_stream *s = weft_accept_stream(fd);
	struct rlimit old, few;
	int client = call(1);

	if (is_under_valgrind()) /* it has limits of its own */
		return;
	/* so that the thread has its io_uring */
	ck_assert_int_eq(heard(weft_accept(fd, NULL, NULL)), 1);
	close(client);
	client = call(2);
	getrlimit(RLIMIT_NOFILE, &old);
	few = old;
	few.rlim_cur = (rlim_t)dup(fd);
	close((int)few.rlim_cur);
	setrlimit(RLIMIT_NOFILE, &few);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EMFILE);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &old);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 2);
	close(client);
	weft_stream_close(s);
}
END_TEST

/* A connection for which there is no memory is closed, and that is told. */
START_TEST(no_memory)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	int clients[4];

	lacks_multishot = false;
	turn(); /* timers take memory at first, and so does a helper */
	clients[0] = call(9);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 9);
	close(clients[0]);
	start_taking(&t, s, 2);
	clients[0] = call(0);
	fail_allocations_after(0);
	UNTIL(t.n_taken == 1);
	clients[1] = call(1);
	UNTIL(t.n_taken == 2);
	errno = 0;
	clients[2] = weft_accept_stream(0) ? 0 : -errno;
	fail_allocations_after(-1);
	ck_assert_int_eq(clients[2], -ENOMEM);
	for (int i = 0; i < 2; i++) {
		/* a one-shot operation needs no memory */
		if (t.results[i] != -ENOMEM)
			ck_assert_int_eq(heard(t.results[i]), i);
		else
			ck_assert(is_hung_up(clients[i]));
		close(clients[i]);
	}
	clients[3] = call(3);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 3);
	close(clients[3]);
	weft_stream_close(s);
}
END_TEST

/* Worker threads of the kernel say so, and so do signals. */
START_TEST(interrupted_operations_are_begun_again)
{
	weft_stream *s = weft_accept_stream(listener());
	int client = call(5);

	n_interruptions = 3;
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 5);
	ck_assert_int_eq(n_interruptions, 0);
	ck_assert_int_eq(n_polls, 2);
	close(client);
	weft_stream_close(s);
}
END_TEST

static void kill_when_failed(bool parking, void *taker)
{
	(void)parking;
	if (has_failed)
		(void)weft_tasklet_kill(*(weft_tasklet *)taker, WEFT_PENDING);
	has_failed = false;
}

/* After a completion that has brought nothing, and before the call begins again: the
 * taker, which parks, has been woken when the callback is called. */
START_TEST(killed_between_two_operations)
{
	struct taking t = { .n_wanted = 1 };
	weft_tasklet taker;

	t.stream = weft_accept_stream(listener());
	n_interruptions = 1;
	taker = weft_spawn(take, &t);
	weft_set_park_callback(kill_when_failed, &taker);
	(void)weft_tasklet_join(taker);
	ck_assert_int_eq(t.n_taken, 1);
	ck_assert_int_eq(t.results[0], -ECANCELED);
	weft_stream_close(t.stream);
}
END_TEST

/* Found out once for all streams. */
START_TEST(a_kernel_without_multishot)
{
	int fd = listener();
	int client;

	lacks_multishot = true;
	for (int i = 0; i < 5; i++) {
		weft_stream *s = weft_accept_stream(fd);

		client = call((char)i);
		ck_assert_int_eq(heard(weft_stream_next(s, NULL)), i);
		close(client);
		weft_stream_close(s);
	}
	ck_assert_int_eq(n_multishot, 1);
	ck_assert_int_eq(n_single, 5);
}
END_TEST

/* --- interruptions --- */

/* A raise, a deadline, a kill: the wait ends, the stream stays. */
static int take_interrupted(void *arg)
{
	struct taking *t = arg;
	struct weft_deadline deadline;

	take_one(t);
	weft_deadline_begin(&deadline, weft_now() + t->limit);
	take_one(t);
	weft_deadline_end(&deadline);
	take_one(t);
	return 0;
}

START_TEST(interrupted_calls_leave_the_stream_as_it_is)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t = { .stream = s, .limit = WEFT_MILLISECOND };
	weft_tasklet tasklet = weft_spawn(take_interrupted, &t);
	int clients[2];

	lacks_multishot = _i;
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(tasklet, EXDEV, 0), 0);
	ck_assert_int_eq((int)t.results[0], -EXDEV);
	UNTIL(t.n_taken == 2);
	ck_assert_int_eq((int)t.results[1], -ETIMEDOUT);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(tasklet, 0), 0);
	ck_assert_int_eq((int)t.results[2], -ECANCELED);
	clients[0] = call(1);
	settle();
	clients[1] = call(2);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 1);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 2);
	close(clients[0]);
	close(clients[1]);
	weft_stream_close(s);
}
END_TEST

/* A connection and a kill come at once: the connection is not lost. */
START_TEST(what_comes_with_a_kill_is_not_lost)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	weft_tasklet tasklet = start_taking(&t, s, 2);
	int client = call(3);

	if (_i) /* the kernel has made the connection */
		weft_sleep(0);
	ck_assert_int_eq(weft_tasklet_kill(tasklet, WEFT_PENDING), 0);
	weft_tasklet_join(tasklet);
	if (t.results[0] < 0) {
		ck_assert_int_eq((int)t.results[0], -ECANCELED);
		t.results[0] = weft_stream_next(s, NULL);
	}
	ck_assert_int_eq((int)t.results[1], -ECANCELED);
	ck_assert_int_eq(heard(t.results[0]), 3);
	close(client);
	weft_stream_close(s);
}
END_TEST

/* With a trap a call takes what is there, also where the socket would wait. */
START_TEST(traps)
{
	int fd = listener();
	weft_stream *s = weft_accept_stream(fd);
	int wanted = _i ? -EPERM : -EAGAIN;
	int client;

	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), wanted);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), wanted);
	for (int i = 0; i < 3; i++) {
		client = call((char)i);
		until_readable(fd);
		ck_assert_int_eq(heard(weft_stream_next(s, NULL)), i);
		close(client);
	}
	ck_assert_int_eq((int)weft_stream_next(s, NULL), wanted);
	weft_stream_close(s);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(weft_accept(fd, NULL, NULL), wanted);
		client = call((char)i);
		until_readable(fd);
		ck_assert_int_eq(heard(weft_accept(fd, NULL, NULL)), i);
		close(client);
	}
	if (_i)
		weft_switch_trap(-1);
	else
		weft_set_block_trap(false);
}
END_TEST

/* --- who may call --- */

static weft_stream *shared;
static int results[6];

static void in_callback(weft_tasklet from, weft_tasklet to, void *ctx)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *closed = ctx;

	(void)from;
	(void)to;
	weft_set_schedule_callback(NULL, NULL);
	io_uring_prep_nop(&sqe);
	results[0] = (int)weft_stream_next(shared, NULL);
	results[1] = weft_accept_stream(0) ? 0 : -errno;
	results[2] = weft_poll_stream(0, POLLIN) ? 0 : -errno;
	results[3] = weft_await_stream(&sqe) ? 0 : -errno;
	results[4] = weft_stream_next_cqe(shared, &cqe);
	weft_stream_close(closed);
	results[5] = 1;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(callbacks_may_only_close)
{
	weft_stream *closed;
	struct taking t;
	int fd = listener();

	shared = weft_accept_stream(fd);
	closed = weft_accept_stream(fd);
	start_taking(&t, closed, 1); /* armed */
	weft_spawn(do_nothing, NULL);
	weft_set_schedule_callback(in_callback, closed);
	ck_assert_int_eq(weft_schedule(), 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(results[i], -EPERM);
	ck_assert_int_eq(results[5], 1);
	weft_run();
	ck_assert_int_eq(t.n_taken, 1);
	ck_assert_int_eq((int)t.results[0], -ECANCELED);
	weft_stream_close(shared);
}
END_TEST

static void *use_anothers(void *arg)
{
	struct io_uring_cqe cqe;

	(void)arg;
	results[0] = (int)weft_stream_next(shared, NULL);
	results[1] = weft_stream_next_cqe(shared, &cqe);
	return NULL;
}

START_TEST(other_threads_may_not)
{
	if (lacks_threads())
		return;
	shared = weft_accept_stream(listener());
	join_thread(start_thread(use_anothers, NULL));
	ck_assert_int_eq(results[0], -EPERM);
	ck_assert_int_eq(results[1], -EPERM);
	weft_stream_close(shared);
}
END_TEST

static void *close_anothers(void *arg)
{
	weft_stream_close(arg);
	return NULL;
}

static int let_another_close(void)
{
	pthread_t thread;

	EXPECT(!pthread_create(&thread, NULL, close_anothers,
			       weft_accept_stream(0)));
	pthread_join(thread, NULL);
	return 0;
}

START_TEST(a_close_by_another_thread_stops_the_process)
{
	char errors[1024];

	if (lacks_threads())
		return;
	ck_assert_int_eq(in_child(let_another_close, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "a stream is closed by"));
}
END_TEST

START_TEST(one_waits_at_a_time)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	int client;

	start_taking(&t, s, 1);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EBUSY);
	client = call(1);
	weft_run();
	ck_assert_int_eq(heard(t.results[0]), 1);
	close(client);
	client = call(2);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 2);
	close(client);
	weft_stream_close(s);
}
END_TEST

START_TEST(what_is_no_stream)
{
	ck_assert_int_eq((int)weft_stream_next(NULL, NULL), -EINVAL);
	weft_stream_close(NULL);
	errno = 0;
	ck_assert_ptr_null(weft_poll_stream(0, POLLIN | 0x10000));
	ck_assert_int_eq(errno, EINVAL);
}
END_TEST

/* --- the end of a stream --- */

/* Nothing is left of it: no descriptor, no operation, no memory. */
START_TEST(close_closes_what_was_not_taken)
{
	int fd = listener();
	long n_alive = 0;
	int n = 0;
	int clients[5];
	int first;

	/* so that no helper accepts them one by one */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	/* the first round leaves memory and descriptors of the thread's */
	for (int round = 0; round < 2; round++) {
		weft_stream *s;

		n = n_descriptors();
		n_alive = n_allocations_alive();
		s = weft_accept_stream(fd);
		for (int i = 0; i < 5; i++)
			clients[i] = call((char)i);
		first = heard(weft_stream_next(s, NULL));
		settle();
		weft_stream_close(s);
		n_alive -= n_allocations_alive();
		ck_assert_int_eq(first, 0);
		for (int i = 0; i < 5; i++) {
			if (i)
				ck_assert(is_hung_up(clients[i]));
			close(clients[i]);
		}
	}
	ck_assert_int_eq((int)n_alive, 0);
	ck_assert_int_eq(n_descriptors(), n);
	/* and the next one is not accepted */
	clients[0] = call(1);
	settle();
	ck_assert_int_eq(n_descriptors(), n + 1);
	ck_assert_int_eq(heard(weft_accept(fd, NULL, NULL)), 1);
	close(clients[0]);
}
END_TEST

static int close_stream(void *stream)
{
	int rc = weft_schedule_remove(); /* killed */

	weft_stream_close(stream);
	return rc;
}

START_TEST(close_by_a_killed_tasklet)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	weft_tasklet closer;

	start_taking(&t, s, 1);
	closer = weft_spawn(close_stream, s);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(closer, 0), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq((int)t.results[0], -ECANCELED);
}
END_TEST

/* What had come is given, and nothing after that. */
START_TEST(closing_the_descriptor)
{
	int fd = listener();
	weft_stream *s = weft_accept_stream(fd);
	struct taking t;
	int clients[3], n_open;

	start_taking(&t, s, 1);
	n_open = n_descriptors();
	for (int i = 0; i < 3; i++)
		clients[i] = call((char)i);
	weft_run();
	UNTIL(n_descriptors() >= n_open + 6); /* both ends of three */
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert_int_eq(heard(t.results[0]), 0);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 1);
	ck_assert_int_eq(heard(weft_stream_next(s, NULL)), 2);
	/* whatever has the number now */
	ck_assert_int_eq(listener(), fd);
	close(clients[0]);
	clients[0] = call(9);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq((int)weft_stream_next(s, NULL), -ECANCELED);
	weft_stream_close(s);
	ck_assert_int_eq(heard(weft_accept(fd, NULL, NULL)), 9);
	for (int i = 0; i < 3; i++)
		close(clients[i]);
}
END_TEST

/* Of a stream whose tasklet waits, of one that is idle, and of a duplicate. */
START_TEST(closing_the_descriptor_of_a_waiting_or_idle_one)
{
	int fd = listener();
	int copy = dup(fd);
	weft_stream *waiting = weft_accept_stream(fd);
	weft_stream *idle = weft_accept_stream(fd);
	weft_stream *other = weft_accept_stream(copy);
	struct taking t, t_other;
	int client;

	start_taking(&t, waiting, 1);
	start_taking(&t_other, other, 1);
	ck_assert_int_eq(weft_close(fd), 0);
	weft_pump();
	ck_assert_int_eq((int)t.results[0], -ECANCELED);
	ck_assert_int_eq((int)weft_stream_next(idle, NULL), -ECANCELED);
	ck_assert_int_eq(t_other.n_taken, 0);
	client = call(4);
	weft_run();
	ck_assert_int_eq(heard(t_other.results[0]), 4);
	close(client);
	weft_stream_close(waiting);
	weft_stream_close(idle);
	weft_stream_close(other);
}
END_TEST

/* In the child it is at its end, in the parent it goes on. */
START_TEST(fork_while_it_is_armed)
{
	weft_stream *s = weft_accept_stream(listener());
	struct taking t;
	int status = -1, client;
	pid_t child;

	start_taking(&t, s, 1);
	child = fork();
	if (child == 0) {
		weft_run();
		EXPECT(t.n_taken == 1);
		EXPECT(t.results[0] == -ECANCELED);
		EXPECT(weft_stream_next(s, NULL) == -ECANCELED);
		weft_stream_close(s);
		/* Others are none of its business. Valgrind does not know that
		 * the parent's io_uring is not mapped here. */
		if (is_under_valgrind())
			_exit(0);
		s = weft_accept_stream(listener());
		client = call(1);
		EXPECT(heard(weft_stream_next(s, NULL)) == 1);
		weft_stream_close(s);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	client = call(6);
	weft_run();
	ck_assert_int_eq(heard(t.results[0]), 6);
	close(client);
	weft_stream_close(s);
}
END_TEST

static void *open_and_leave(void *arg)
{
	weft_stream **streams = arg;
	struct taking *t = calloc(2, sizeof *t);

	for (int i = 0; i < 3; i++)
		streams[i] = weft_accept_stream(results[0]);
	start_taking(&t[0], streams[0], 1);
	start_taking(&t[1], streams[1], 1);
	UNTIL(t[0].n_taken + t[1].n_taken);
	settle();
	return t; /* a tasklet that still waits is killed */
}

/* The kernel has let go of them. Their memory is there until somebody closes
 * them. */
START_TEST(the_end_of_the_thread)
{
	weft_stream *streams[3];
	int clients[4];
	int n;
	void *left;
	struct taking *t;
	pthread_t thread;

	if (lacks_threads())
		return;
	results[0] = listener();
	n = n_descriptors();
	for (int i = 0; i < 4; i++)
		clients[i] = call((char)i);
	thread = start_thread(open_and_leave, streams);
	ck_assert_int_eq(pthread_join(thread, &left), 0);
	t = left;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(t[i].n_taken, 1);
		heard(t[i].results[0]);
	}
	free(t);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq((int)weft_stream_next(streams[i], NULL),
				 -EPERM);
		weft_stream_close(streams[i]);
	}
	ck_assert_int_eq(n_descriptors(), n + 4);
	for (int i = 0; i < 4; i++)
		close(clients[i]);
	/* nobody accepts any more */
	clients[0] = call(1);
	ck_assert_int_eq(heard(weft_accept(results[0], NULL, NULL)), 1);
	close(clients[0]);
}
END_TEST

/* --- readiness --- */

/* As poll(2): for as long as it is so. */
START_TEST(readiness_holds_as_long_as_it_is_so)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	weft_stream *s = weft_poll_stream(fd, POLLIN);
	struct taking t;
	eventfd_t value;

	lacks_multishot = _i;
	for (int i = 0; i < 4; i++) {
		start_taking(&t, s, 1);
		ck_assert_int_eq(t.n_taken, 0);
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		weft_run();
		ck_assert_int_eq((int)t.results[0], POLLIN);
		ck_assert_int_eq((int)weft_stream_next(s, NULL), POLLIN);
		ck_assert_int_eq((int)weft_stream_next(s, NULL), POLLIN);
		ck_assert_int_eq(eventfd_read(fd, &value), 0);
		/* what has been told meanwhile is not true any more */
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		weft_sleep(0);
		ck_assert_int_eq(eventfd_read(fd, &value), 0);
	}
	if (!_i)
		ck_assert_int_eq(n_multishot, 1);
	weft_stream_close(s);
	close(fd);
}
END_TEST

/* An event that has come and gone before the call looks is none. */
START_TEST(what_does_not_hold_is_not_told)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	weft_stream *s = weft_poll_stream(fd, POLLIN);
	struct taking t;
	eventfd_t value;

	lacks_multishot = _i;
	for (int i = 0; i < 4; i++) {
		start_taking(&t, s, 1);
		weft_pump();
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		ck_assert_int_eq(eventfd_read(fd, &value), 0);
		weft_pump();
		weft_pump();
		ck_assert_int_eq(t.n_taken, 0);
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		weft_run();
		ck_assert_int_eq(t.n_taken, 1);
		ck_assert_int_eq((int)t.results[0], POLLIN);
		ck_assert_int_eq(eventfd_read(fd, &value), 0);
	}
	weft_stream_close(s);
	close(fd);
}
END_TEST

START_TEST(all_that_holds_is_told)
{
	weft_stream *s;
	int fds[2], fd;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	s = weft_poll_stream(fds[0], POLLIN);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	close(fds[1]);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), POLLIN | POLLHUP);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -ECANCELED);
	weft_stream_close(s);

	s = weft_poll_stream(-1, POLLIN);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EBADF);
	weft_stream_close(s);
	fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	s = weft_poll_stream(fd, POLLIN | POLLOUT);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), POLLIN | POLLOUT);
	weft_stream_close(s);
	close(fd);
}
END_TEST

START_TEST(interrupted_poll)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	weft_stream *s = weft_poll_stream(fd, POLLIN);
	struct taking t = { .stream = s, .limit = 1000 * WEFT_SECOND };
	weft_tasklet tasklet = weft_spawn(take_interrupted, &t);

	lacks_multishot = _i;
	weft_pump();
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EBUSY);
	ck_assert_int_eq(weft_tasklet_raise(tasklet, EXDEV, 0), 0);
	ck_assert_int_eq((int)t.results[0], -EXDEV);
	ck_assert_int_eq(eventfd_write(fd, 1), 0);
	UNTIL(t.n_taken == 3);
	ck_assert_int_eq((int)t.results[1], POLLIN);
	ck_assert_int_eq((int)t.results[2], POLLIN);
	weft_set_block_trap(true);
	ck_assert_int_eq((int)weft_stream_next(s, NULL), POLLIN);
	weft_set_block_trap(false);
	weft_stream_close(s);
	close(fd);
}
END_TEST

/* --- any operation --- */

static weft_stream *poll_with_completions(int fd)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_poll_multishot(&sqe, fd, POLLIN);
	return weft_await_stream(&sqe);
}

/* One completion for each call, the last one too. */
START_TEST(completions_as_they_are)
{
	int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	weft_stream *s = poll_with_completions(fd);
	struct io_uring_cqe cqe;

	ck_assert_ptr_nonnull(s);
	for (int i = 0; i < 3; i++) {
		ck_assert_int_eq(eventfd_write(fd, 1), 0);
		cqe.user_data = 1;
		ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
		ck_assert_int_eq(cqe.res, POLLIN);
		ck_assert(cqe.flags & IORING_CQE_F_MORE);
		ck_assert_uint_eq(cqe.user_data, 0);
	}
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EINVAL);
	ck_assert_int_eq(weft_stream_next_cqe(s, NULL), -EINVAL);
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
	ck_assert_int_eq(cqe.res, -ECANCELED);
	ck_assert(!(cqe.flags & IORING_CQE_F_MORE));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 0);
	weft_stream_close(s);
}
END_TEST

/* They begin without a call for them, and are all kept. */
START_TEST(completions_without_a_reader)
{
	int fd = listener();
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *s;
	int clients[CALLERS];

	io_uring_prep_multishot_accept(&sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	s = weft_await_stream(&sqe);
	for (int i = 0; i < CALLERS; i++) {
		clients[i] = call((char)i);
		weft_sleep(0);
	}
	settle();
	for (int i = 0; i < CALLERS / 2; i++) {
		ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
		ck_assert_int_eq(heard(cqe.res), i);
	}
	weft_stream_close(s);
	close(fd);
	for (int i = 0; i < CALLERS; i++) {
		ck_assert(is_hung_up(clients[i]));
		close(clients[i]);
	}
}
END_TEST

/* An operation with one completion. */
START_TEST(a_single_completion)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *s;

	io_uring_prep_nop(&sqe);
	s = weft_await_stream(&sqe);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
	ck_assert_int_eq(cqe.res, 0);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 0);
	weft_stream_close(s);

	sqe.opcode = 255;
	s = weft_await_stream(&sqe);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
	ck_assert_int_lt(cqe.res, 0);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 0);
	weft_stream_close(s);
}
END_TEST

START_TEST(operations_that_cannot_be_streams)
{
	static const unsigned flags[] = { IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK,
					  IOSQE_IO_HARDLINK, IOSQE_IO_DRAIN };
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *s;

	for (size_t i = 0; i < N_ELEMENTS(flags); i++) {
		io_uring_prep_nop(&sqe);
		sqe.flags = (unsigned char)flags[i];
		errno = 0;
		ck_assert_ptr_null(weft_await_stream(&sqe));
		ck_assert_int_eq(errno, EINVAL);
	}
	ck_assert_ptr_null(weft_await_stream(NULL));
	ck_assert_int_eq(weft_stream_next_cqe(NULL, &cqe), -EINVAL);
	s = weft_accept_stream(0);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), -EINVAL);
	weft_stream_close(s);
}
END_TEST

/* The last one says so, and what came later is not leaked. */
START_TEST(completions_without_memory)
{
	int fd = listener();
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *s;
	int clients[3];

	io_uring_prep_multishot_accept(&sqe, fd, NULL, NULL, SOCK_CLOEXEC);
	s = weft_await_stream(&sqe);
	clients[0] = call(0);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
	ck_assert_int_eq(heard(cqe.res), 0);
	turn(); /* timers take memory at first */
	fail_allocations_after(0);
	clients[1] = call(1);
	clients[2] = call(2);
	UNTIL(is_hung_up_already(clients[1])); /* it came, and was dropped */
	settle();
	fail_allocations_after(-1);
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 1);
	ck_assert_int_eq(cqe.res, -ENOMEM);
	ck_assert(!(cqe.flags & IORING_CQE_F_MORE));
	ck_assert_int_eq(weft_stream_next_cqe(s, &cqe), 0);
	weft_stream_close(s);
	close(fd);
	for (int i = 0; i < 3; i++) {
		ck_assert(is_hung_up(clients[i]));
		close(clients[i]);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stream");

	add_loop(s, "connections", connections_come_in_their_order, 2);
	add_loop(s, "connections", connections_wait_for_the_next_call, 2);
	add_case(s, "connections", many_connections_ahead,
		 errors_are_given_once_each, no_descriptors_left, no_memory,
		 interrupted_operations_are_begun_again,
		 a_kernel_without_multishot);
	add_loop(s, "connections", a_listener_is_shut, 2);
	add_loop(s, "interruptions",
		 interrupted_calls_leave_the_stream_as_it_is, 2);
	add_loop(s, "interruptions", what_comes_with_a_kill_is_not_lost, 2);
	add_case(s, "interruptions", killed_between_two_operations);
	add_loop(s, "interruptions", traps, 2);
	add_case(s, "who may call", callbacks_may_only_close,
		 other_threads_may_not,
		 a_close_by_another_thread_stops_the_process,
		 one_waits_at_a_time, what_is_no_stream);
	add_case(s, "the end", close_closes_what_was_not_taken,
		 close_by_a_killed_tasklet, closing_the_descriptor,
		 closing_the_descriptor_of_a_waiting_or_idle_one,
		 the_end_of_the_thread);
	if (!UNDER_TSAN) /* which takes the child for another thread */
		add_case(s, "the end", fork_while_it_is_armed);
	add_case(s, "deadlock", what_nobody_reads_gives_no_hope,
		 what_is_read_gives_hope);
	add_loop(s, "readiness", readiness_holds_as_long_as_it_is_so, 2);
	add_loop(s, "readiness", interrupted_poll, 2);
	add_loop(s, "readiness", what_does_not_hold_is_not_told, 2);
	add_case(s, "readiness", all_that_holds_is_told);
	add_case(s, "any operation", completions_as_they_are,
		 completions_without_a_reader, a_single_completion,
		 operations_that_cannot_be_streams, completions_without_memory);
	return run_suite(s);
}
