/* SPDX-License-Identifier: MIT */
/*
 * Sends without a copy: they return when the kernel has let go of the memory, and
 * plain sends take their place where that does not pay.
 */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "ends.h"
#include "io/io.h"
#include "support.h"

static int ends[2];
static char buffer[64];

/* --- what the calls ask for --- */

/* How many operations without a copy there were; and what they seem to return. */
static int n_tried;
static int refusal;
static int copies = -1; /* 0, 1; -1: as it is */
static bool is_refused; /* one, or the io_uring itself, for want of memory */

int __real_weft__await_operation(struct scheduler *s,
				 const struct io_uring_sqe *sqe, int *res,
				 uint32_t *flags);
int __wrap_weft__await_operation(struct scheduler *s,
				 const struct io_uring_sqe *sqe, int *res,
				 uint32_t *flags);

int __wrap_weft__await_operation(struct scheduler *s,
				 const struct io_uring_sqe *sqe, int *res,
				 uint32_t *flags)
{
	int rc;

	if (sqe->opcode != IORING_OP_SEND_ZC &&
	    sqe->opcode != IORING_OP_SENDMSG_ZC)
		return __real_weft__await_operation(s, sqe, res, flags);
	n_tried++;
	*res = refusal;
	if (refusal)
		return 0;
	rc = __real_weft__await_operation(s, sqe, res, flags);
	is_refused |= !rc && (*res == -ENOBUFS || *res == -ENOMEM);
	if (copies >= 0)
		*flags = copies ? IORING_NOTIF_USAGE_ZC_COPIED : 0;
	return rc;
}

static bool hides_operations;

struct io_uring_probe *__real_io_uring_get_probe_ring(struct io_uring *ring);
struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring);

struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring)
{
	if (!hides_operations)
		return __real_io_uring_get_probe_ring(ring);
	return calloc(1, sizeof(struct io_uring_probe) +
				 sizeof(struct io_uring_probe_op));
}

typedef ssize_t send_fn(int fd, const char *data, size_t size);

static ssize_t by_send_zc(int fd, const char *data, size_t size)
{
	return weft_send_zc(fd, data, size, 0);
}

static ssize_t by_sendmsg_zc(int fd, const char *data, size_t size)
{
	struct iovec iov[2] = { { (char *)(uintptr_t)data, size / 2 },
				{ (char *)(uintptr_t)data + size / 2,
				  size - size / 2 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	return weft_sendmsg_zc(fd, &msg, 0);
}

static send_fn *const sends[] = { by_send_zc, by_sendmsg_zc };

enum { N_WAYS = 2 * (N_ENDS_KINDS - ENDS_TCP) };

static void open_ends(int way)
{
	ck_assert(
		make_ends((enum ends_kind)(ENDS_TCP + way / 2), way % 2, ends));
}

static void close_ends(void)
{
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[1]), 0);
}

static bool lacks_zero_copy(void)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_SEND_ZC,
				    .fd = 1000000,
				    .ioprio = IORING_SEND_ZC_REPORT_USAGE };

	if (weft_await(&sqe) == -EBADF)
		return false;
	skip("the kernel has no zero-copy sends that report");
	return true;
}

/* What all processes of a user may lock at a time is limited, but for root. */
static bool lacks_locked_memory(void)
{
	if (is_refused)
		skip("no more memory may be locked (RLIMIT_MEMLOCK)");
	return is_refused;
}

/* All that is sent arrives, on sockets of each kind. */
START_TEST(bytes_pass)
{
	static char sent[20000], received[20000];

	open_ends(_i);
	for (size_t i = 0; i < sizeof sent; i++)
		sent[i] = (char)(i * 11 / 7);
	for (int round = 0; round < 20; round++) {
		size_t size = (size_t)round * 997 + 1;

		ck_assert_int_eq(sends[round % 2](ends[1], sent, size),
				 (ssize_t)size);
		ck_assert_int_eq(
			_i / 2 + ENDS_TCP == ENDS_TCP
				? weft_recv_full(ends[0], received, size, 0)
				: weft_recv(ends[0], received, sizeof received,
					    0),
			(ssize_t)size);
		ck_assert_mem_eq(received, sent, size);
	}
	close_ends();
}
END_TEST

/* Where it does not pay, fewer and fewer are tried; where it does, all are. */
START_TEST(tried_while_it_pays)
{
	if (lacks_zero_copy())
		return;
	open_ends(0);
	n_tried = 0;
	copies = _i;
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(sends[i % 2](ends[1], "abc", 3), 3);
		ck_assert_int_eq(weft_recv_full(ends[0], buffer, 3, 0), 3);
	}
	/* after 1, 3, 7, 15, 31 and 63 that are left out */
	if (!lacks_locked_memory())
		ck_assert_int_eq(n_tried, copies ? 6 : 100);
	close_ends();
}
END_TEST

/* A kernel without them (0), a socket without them, or no memory to be locked: a
 * plain send takes the place. */
START_TEST(plain_where_refused)
{
	static const int refusals[] = { 0, -EOPNOTSUPP, -EINVAL, -ENOMEM,
					-ENOBUFS };

	if (lacks_io_uring())
		return;
	hides_operations = !_i;
	refusal = refusals[_i];
	n_tried = 0;
	open_ends(0);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(sends[i % 2](ends[1], "abc", 3), 3);
		ck_assert_int_eq(
			weft_recv_full(ends[0], buffer, 9, MSG_DONTWAIT), 3);
	}
	ck_assert_int_le(n_tried, 5);
	if (!_i && strcmp(weft_engine(), "uring") == 0)
		ck_assert_int_eq(n_tried, 0);
	close_ends();
}
END_TEST

/* --- the second completion --- */

enum { BULK = 300000 };

struct sender {
	ssize_t n, next;
	bool is_raw, is_over;
	weft_tasklet self;
};

static char bulk[BULK];

static ssize_t send_bulk(bool is_raw)
{
	struct io_uring_sqe sqe = { 0 };

	if (!is_raw)
		return weft_send_zc(ends[1], bulk, BULK, 0);
	io_uring_prep_send_zc(&sqe, ends[1], bulk, BULK, 0, 0);
	return weft_await(&sqe);
}

static int send_twice(void *arg)
{
	struct sender *s = arg;

	s->n = send_bulk(s->is_raw);
	s->is_over = true;
	s->next = send_bulk(s->is_raw);
	return 0;
}

/* The socket takes all bytes, and keeps the memory, since the peer's window is
 * full. */
static void begin_to_send(struct sender *s)
{
	int size = 4 * BULK, small = 65536;

	open_ends(0);
	setsockopt(ends[1], SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
	setsockopt(ends[0], SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
	s->self = weft_spawn(send_twice, s);
	weft_pump();
	weft_sleep(5 * WEFT_MILLISECOND);
	is_refused |= s->n == -ENOMEM || s->n == -ENOBUFS ||
		      strcmp(weft_engine(), "uring") != 0;
}

static size_t read_all(size_t size)
{
	static char room[BULK];
	size_t n_read = 0;

	while (n_read < size) {
		ssize_t n = weft_recv(ends[0], room, sizeof room, 0);

		if (n <= 0)
			break;
		n_read += (size_t)n;
	}
	return n_read;
}

/* The call returns when the kernel has let go. Until then neither a kill (1), a raise
 * (2), a close (3) nor a deadline has an effect on it, and its result is kept. By
 * weft_await(), too. */
START_TEST(returns_when_memory_is_free)
{
	struct sender s = { .is_raw = _i / 4 };
	struct weft_stats before, after;

	signal(SIGPIPE, SIG_IGN);
	if (lacks_io_uring() || lacks_zero_copy())
		return;
	begin_to_send(&s);
	if (lacks_locked_memory())
		return;
	ck_assert(!s.is_over);
	switch (_i % 4) {
	case 1:
		weft_tasklet_kill(s.self, WEFT_PENDING);
		break;
	case 2:
		weft_tasklet_raise(s.self, EXDEV, WEFT_PENDING);
		break;
	case 3:
		ck_assert_int_eq(weft_close(ends[1]), 0);
		break;
	default:
		break;
	}
	weft_stats(weft_thread_id(), &before);
	weft_sleep(20 * WEFT_MILLISECOND);
	weft_stats(weft_thread_id(), &after);
	ck_assert(!s.is_over);
	/* It does not ask the kernel again and again. */
	ck_assert_uint_le(after.cancels - before.cancels, 4);
	ck_assert_uint_eq(read_all(BULK), BULK);
	while (!s.is_over)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(s.n, BULK);
	if (_i % 4 == 0)
		ck_assert_uint_eq(read_all(BULK), BULK);
	weft_tasklet_join(s.self);
	switch (_i % 4) {
	case 1:
		ck_assert_int_eq(s.next, -ECANCELED);
		break;
	case 2:
		ck_assert_int_eq(s.next, -EXDEV);
		break;
	case 3:
		ck_assert_int_eq(s.next, -EBADF);
		break;
	default:
		ck_assert_int_eq(s.next, BULK);
		break;
	}
}
END_TEST

/* The end of its thread waits for that, too. */
static struct sender at_end;

static void *end_while_sending(void *arg)
{
	(void)arg;
	begin_to_send(&at_end);
	return NULL;
}

START_TEST(end_of_a_thread)
{
	pthread_t thread;

	if (lacks_io_uring() || lacks_zero_copy())
		return;
	thread = start_thread(end_while_sending, NULL);
	weft_sleep(30 * WEFT_MILLISECOND);
	if (lacks_locked_memory()) {
		read_all(BULK);
		join_thread(thread);
		return;
	}
	ck_assert_uint_eq(read_all(BULK), BULK);
	join_thread(thread);
	ck_assert_int_eq(at_end.n, BULK);
	/* If the thread is slow, its next call has been made before the kill. */
	ck_assert(at_end.next == -ECANCELED || at_end.next == BULK);
}
END_TEST

/* --- what plain sends do, too --- */

/* Waits for room, O_NONBLOCK or not, and is interrupted. */
static int send_until_error(void *arg)
{
	struct sender *s = arg;

	while ((s->next = weft_send_zc(ends[1], bulk, 4096, 0)) > 0)
		s->n += s->next;
	return 0;
}

START_TEST(waits_for_room)
{
	struct sender s = { 0 };

	open_ends(2 * (ENDS_UNIX - ENDS_TCP) + _i);
	s.self = weft_spawn(send_until_error, &s);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(s.self, EXDEV, 0), 0);
	weft_tasklet_join(s.self);
	ck_assert_int_eq(s.next, -EXDEV);
	ck_assert_uint_eq(read_all((size_t)s.n), (size_t)s.n);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 9, MSG_DONTWAIT), -EAGAIN);
	ck_assert_int_eq(weft_send_zc(ends[1], "abc", 3, MSG_DONTWAIT), 3);
	close_ends();
}
END_TEST

/* With a trap it need not wait, and so does not. The operation itself would have
 * to. */
START_TEST(under_a_trap)
{
	struct io_uring_sqe sqe = { 0 };

	open_ends(0);
	io_uring_prep_send_zc(&sqe, ends[1], "abc", 3, 0, 0);
	weft_set_block_trap(true);
	n_tried = 0;
	ck_assert_int_eq(weft_send_zc(ends[1], "abc", 3, 0), 3);
	ck_assert_int_eq(by_sendmsg_zc(ends[1], "def", 3), 3);
	ck_assert_int_eq(n_tried, 0);
	ck_assert_int_eq(weft_await(&sqe), -EAGAIN);
	weft_set_block_trap(false);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 9, 0), 6);
	close_ends();
}
END_TEST

/* The peer has gone: an error and no signal. */
START_TEST(no_sigpipe)
{
	ssize_t n;

	signal(SIGPIPE, SIG_DFL);
	open_ends(2 * (_i / 2 ? ENDS_UNIX - ENDS_TCP : 0));
	close(ends[0]);
	do
		n = sends[_i % 2](ends[1], buffer, 2);
	while (n == 2 && !weft_sleep(WEFT_MILLISECOND));
	ck_assert(n == -EPIPE || n == -ECONNRESET);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(sends[_i % 2](ends[1], buffer, 2), -EPIPE);
	close(ends[1]);
}
END_TEST

START_TEST(wrong_arguments)
{
	struct msghdr msg = { .msg_iovlen = 5000 };

	open_ends(0);
	for (int i = 0; i < 4; i++) { /* tried and plain */
		ck_assert_int_eq(weft_send_zc(-1, "a", 1, 0), -EBADF);
		ck_assert_int_eq(weft_send_zc(1000000, "a", 1, 0), -EBADF);
		ck_assert_int_eq(weft_sendmsg_zc(ends[1], &msg, 0), -EMSGSIZE);
		ck_assert_int_eq(weft_send_zc(0, "a", 1, 0), -ENOTSOCK);
		ck_assert_int_eq(weft_send_zc(ends[1], NULL, 0, 0), 0);
		if (!is_under_valgrind()) { /* which sees it, too */
			ck_assert_int_eq(weft_send_zc(ends[1], NULL, 5, 0),
					 -EFAULT);
			ck_assert_int_eq(weft_sendmsg_zc(ends[1], NULL, 0),
					 -EFAULT);
		}
	}
	close_ends();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("zc");

	add_loop(s, "what passes", bytes_pass, N_WAYS);
	add_loop(s, "tried while it pays", tried_while_it_pays, 2);
	add_loop(s, "refused", plain_where_refused, 5);
	add_loop(s, "the second completion", returns_when_memory_is_free, 8);
	add_case(s, "the end of a thread", end_of_a_thread);
	add_loop(s, "room", waits_for_room, 2);
	add_case(s, "a trap", under_a_trap);
	add_loop(s, "no SIGPIPE", no_sigpipe, 4);
	add_case(s, "wrong arguments", wrong_arguments);
	return run_suite(s);
}
