/* SPDX-License-Identifier: MIT */
/*
 * I/O that is interrupted on a ring that misbehaves (faults.h): requests to cancel
 * that find nothing, or come too late, and completions that come later. A call returns
 * either its error or its result, and what it did not take is still there: each byte,
 * each connection and each descriptor is in the books.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "faults.h"
#include "support.h"

/* --- the calls --- */

static int ends[2]; /* [0] is the victim's */
static int peer;    /* of a listener: who connects */
static struct sockaddr_in address;
static char folder[] = "/tmp/weft-faults-XXXXXX";
static char fifo[sizeof folder + 8];

static void make_pipe(void)
{
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
}

static void make_sockets(void)
{
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
}

static void close_ends(void)
{
	close(ends[0]);
	close(ends[1]);
}

static int call_read(void)
{
	char byte;

	return (int)weft_read(ends[0], &byte, 1);
}

static int call_recv(void)
{
	char byte;

	return (int)weft_recv(ends[0], &byte, 1, 0);
}

static void give_byte(void)
{
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
}

/* How many are there for the next one. */
static int count_bytes(void)
{
	int n = -1;

	ck_assert_int_eq(ioctl(ends[0], FIONREAD, &n), 0);
	return n;
}

/* A pipe without room, whose ends have changed places: the victim writes. */
enum { PAGE = 4096 };

static int capacity;

static void make_full_pipe(void)
{
	static const char bytes[PAGE];
	int fds[2];

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	capacity = fcntl(fds[1], F_SETPIPE_SZ, PAGE);
	for (int n = 0; n < capacity; n += PAGE)
		ck_assert_int_eq(write(fds[1], bytes, PAGE), PAGE);
	ends[0] = fds[1];
	ends[1] = fds[0];
}

static int call_write(void)
{
	static const char bytes[PAGE];

	return (int)weft_write(ends[0], bytes, sizeof bytes);
}

static int n_taken;

static void take_bytes(void)
{
	static char bytes[PAGE];

	ck_assert_int_eq(read(ends[1], bytes, PAGE), PAGE);
	n_taken = 1;
}

/* Whether there is room that the victim did not take. */
static int count_room(void)
{
	int n = -1;
	int had_taken = n_taken;

	n_taken = 0;
	ck_assert_int_eq(ioctl(ends[1], FIONREAD, &n), 0);
	ck_assert_int_eq(n % PAGE, 0);
	if (!had_taken) {
		ck_assert_int_eq(n, capacity);
		return 0;
	}
	return n == capacity - PAGE;
}

static void make_listener(void)
{
	socklen_t size = sizeof address;

	address = (struct sockaddr_in){ .sin_family = AF_INET };
	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ends[0] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(ends[0], (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(
		getsockname(ends[0], (struct sockaddr *)&address, &size), 0);
	ck_assert_int_eq(listen(ends[0], 8), 0);
	peer = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
}

static void close_listener(void)
{
	close(ends[0]);
	close(peer);
}

static int call_accept(void)
{
	int fd = weft_accept(ends[0], NULL, NULL);

	if (fd >= 0)
		close(fd);
	return fd >= 0 ? 1 : fd;
}

static void connect_peer(void)
{
	ck_assert_int_eq(
		connect(peer, (struct sockaddr *)&address, sizeof address), 0);
}

/* A backlog with a connection is readable. */
static int count_connections(void)
{
	struct pollfd p = { .fd = ends[0], .events = POLLIN };

	return poll(&p, 1, 0);
}

static int call_poll(void)
{
	struct io_uring_sqe sqe = { 0 };
	int rc;

	io_uring_prep_poll_add(&sqe, ends[0], POLLIN);
	rc = weft_await(&sqe);
	return rc == POLLIN ? 1 : rc;
}

static void make_fifo(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(fifo, sizeof fifo, "%s/fifo", folder);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	ends[0] = ends[1] = -1;
}

static int call_open(void)
{
	int fd = weft_openat(AT_FDCWD, fifo, O_RDONLY);

	if (fd >= 0)
		close(fd);
	return fd >= 0 ? 1 : fd;
}

/* Both ends at once: it neither waits nor fails. */
static void open_other_end(void)
{
	ends[1] = open(fifo, O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(ends[1], 0);
}

static void remove_fifo(void)
{
	if (ends[1] >= 0)
		close(ends[1]);
	unlink(fifo);
	rmdir(folder);
	memset(strrchr(folder, '-') + 1, 'X', 6);
}

static const struct call {
	void (*make)(void);
	int (*call)(void);       /* 1 or a negative errno */
	void (*give)(void);      /* what it waits for */
	int (*count_left)(void); /* of it; NULL: it takes nothing */
	void (*remove)(void);
	int result;
	bool is_by_number; /* a close of ends[0] ends it */
} calls[] = {
	{ make_pipe, call_read, give_byte, count_bytes, close_ends, 1, true },
	{ make_sockets, call_recv, give_byte, count_bytes, close_ends, 1,
	  true },
	{ make_full_pipe, call_write, take_bytes, count_room, close_ends, PAGE,
	  true },
	{ make_listener, call_accept, connect_peer, count_connections,
	  close_listener, 1, true },
	{ make_pipe, call_poll, give_byte, NULL, close_ends, 1, true },
	{ make_fifo, call_open, open_other_end, NULL, remove_fifo, 1, false },
};

/* --- what ends them --- */

static const struct call *call;
static int result, next_result;
static int64_t limit_ns; /* 0: none */

static int victim(void *arg)
{
	struct weft_deadline d;

	(void)arg;
	if (limit_ns)
		weft_deadline_begin(&d, weft_now() + limit_ns);
	result = call->call();
	if (limit_ns)
		weft_deadline_end(&d);
	else
		next_result = weft_sleep(WEFT_MICROSECOND);
	return 0;
}

static void be_killed(weft_tasklet t)
{
	weft_tasklet_kill(t, WEFT_PENDING);
}

static void get_an_error(weft_tasklet t)
{
	weft_tasklet_raise(t, EXDEV, WEFT_PENDING);
}

static void run_out_of_time(weft_tasklet t)
{
	(void)t;
	weft_sleep(2 * limit_ns);
}

static void lose_the_descriptor(weft_tasklet t)
{
	/* It stays open under another number, for the books. */
	int other = fcntl(ends[0], F_DUPFD_CLOEXEC, 100);

	(void)t;
	weft_close(ends[0]);
	ends[0] = other;
}

static const struct ending {
	void (*end)(weft_tasklet t);
	int error;
	/* of the next call, if this one has failed, and if it had a result */
	int next, next_after_result;
	int64_t limit_ns;
	bool is_by_number;
} endings[] = {
	{ be_killed, -ECANCELED, -ECANCELED, -ECANCELED, 0, false },
	{ get_an_error, -EXDEV, 0, -EXDEV, 0, false },
	{ run_out_of_time, -ETIMEDOUT, 0, 0, 100 * WEFT_MICROSECOND, false },
	{ lose_the_descriptor, -ECANCELED, 0, 0, 0, true },
};

/* --- what goes wrong meanwhile --- */

static const struct fault faults[] = {
	{ AT_CANCEL, -ENOENT, 0, 0, 0 }, /* none */
	{ AT_CANCEL, -ENOENT, 0, 1, 0 },   { AT_CANCEL, -ENOENT, 0, 20, 0 },
	{ AT_CANCEL, -EALREADY, 0, 5, 0 }, { AT_LATENESS, 3, 0, 100, 0 },
	{ AT_LATENESS, 100, 0, 1, 0 },     { AT_OVERFLOW, 3, 0, 100, 0 },
	{ AT_OVERFLOW, 100, 0, 1, 0 },     { AT_ORDER, 1, 0, 100, 0 },
	{ AT_ENTER, -EBUSY, 0, 20, 0 },    { AT_ENTER, -EINTR, 1, 20, 0 },
	{ AT_SUBMISSION, 1, 0, 100, 0 },
};

/* When it comes what the call waits for. */
enum arrival { NEVER, BEFORE, AFTER, N_ARRIVALS };

static void run_one(const struct ending *e, const struct fault *f,
		    enum arrival when)
{
	struct weft_stats before, after;
	int n_before = n_descriptors();
	weft_tasklet t;

	call->make();
	result = next_result = 1234;
	limit_ns = e->limit_ns;
	t = weft_spawn(victim, NULL);
	weft_pump();
	weft_stats(0, &before);
	inject(f, 1);
	if (when == BEFORE)
		call->give();
	e->end(t);
	if (when == AFTER) {
		weft_pump();
		call->give();
	}
	weft_tasklet_join(t);
	inject(NULL, 0);
	weft_stats(0, &after);

	if (result > 0) {
		ck_assert_int_ne(when, NEVER);
		ck_assert_int_eq(result, call->result);
		if (!limit_ns)
			ck_assert_int_eq(next_result, e->next_after_result);
	} else {
		ck_assert_int_eq(result, e->error);
		if (!limit_ns)
			ck_assert_int_eq(next_result, e->next);
	}
	if (call->count_left)
		ck_assert_int_eq(call->count_left(),
				 when != NEVER && result < 0);
	if (f->site == AT_CANCEL && n_injected(AT_CANCEL))
		ck_assert_uint_gt(after.cancel_misses, before.cancel_misses);
	ck_assert_uint_eq(after.stray_completions, 0);
	call->remove();
	ck_assert_int_eq(n_descriptors(), n_before);
}

START_TEST(either_error_or_result)
{
	struct io_uring_sqe nop = { 0 };

	io_uring_prep_nop(&nop);
	ck_assert_int_eq(weft_await(&nop), 0); /* makes the ring */
	call = &calls[_i];
	for (size_t e = 0; e < N_ELEMENTS(endings); e++) {
		if (endings[e].is_by_number && !call->is_by_number)
			continue;
		for (size_t f = 0; f < N_ELEMENTS(faults); f++)
			for (int when = 0; when < N_ARRIVALS; when++)
				run_one(&endings[e], &faults[f],
					(enum arrival)when);
	}
}
END_TEST

int main(void)
{
	Suite *s;

	if (lacks_io_uring())
		return SKIPPED;
	s = suite_create("fault_cancel");
	add_loop(s, "error or result", either_error_or_result,
		 N_ELEMENTS(calls));
	return run_suite(s);
}
