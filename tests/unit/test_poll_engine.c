/* SPDX-License-Identifier: MIT */
/*
 * What is the poll engine's alone: how it arms epoll, what it does when a number
 * becomes another file's, its helpers and the signal that interrupts them, and what
 * it reads in an operation's description. With WEFT_ENGINE=uring the same holds of
 * the ring, where it is about results.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "ends.h"
#include "support.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

/* --- what stands between the library and libc --- */

static bool has_no_threads;
static int huge_fd =
	-1; /* a socket that takes this much, and more than it is given */
static size_t n_huge;
static int n_thread_tries;
static int short_fd =
	-1; /* a file that takes half of what it is given at once */

int __real_pthread_create(pthread_t *t, const pthread_attr_t *a,
			  void *(*body)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a,
			  void *(*body)(void *arg), void *arg);
int __wrap_pthread_create(pthread_t *t, const pthread_attr_t *a,
			  void *(*body)(void *arg), void *arg)
{
	n_thread_tries++;
	return has_no_threads ? EAGAIN : __real_pthread_create(t, a, body, arg);
}

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);
long __wrap_syscall(long number, ...)
{
	va_list list;
	long a[6];

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (number == SYS_pwritev2 && (int)a[0] == short_fd &&
	    a[5] & RWF_NOWAIT) {
		struct iovec half = *(const struct iovec *)a[1];

		half.iov_len /= 2;
		return __real_syscall(number, a[0], &half, 1L, a[3], a[4], 0L);
	}
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

ssize_t __real_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags);
ssize_t __wrap_sendmsg(int fd, const struct msghdr *m, int flags)
{
	size_t most = 1500 * 1000 * 1000, n = 0;

	if (fd != huge_fd)
		return __real_sendmsg(fd, m, flags);
	for (size_t i = 0; i < m->msg_iovlen; i++)
		n += m->msg_iov[i].iov_len;
	n = n < most ? n : most;
	n_huge += n;
	return (ssize_t)n;
}

/* --- words --- */

static void nap(void)
{
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND / 5), 0);
}

static void make_pair(int ends[2])
{
	ck_assert(make_ends(ENDS_UNIX, false, ends));
}

static void close_pair(const int ends[2])
{
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[1]), 0);
}

static int connect_to(unsigned short port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons(port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
	return fd;
}

/* The result of an operation that is given a while. */
static int await_a_while(const struct io_uring_sqe *sqe)
{
	struct weft_deadline d;
	int rc;

	weft_deadline_begin(&d, weft_now() + 20 * WEFT_MILLISECOND);
	rc = weft_await(sqe);
	weft_deadline_end(&d);
	return rc;
}

/* --- what is reported once --- */

static weft_stream *polls_of(int fd, unsigned events)
{
	struct io_uring_sqe sqe = { 0 };
	weft_stream *st;

	io_uring_prep_poll_multishot(&sqe, fd, events);
	st = weft_await_stream(&sqe);
	ck_assert_ptr_nonnull(st);
	return st;
}

/* A poll that tells of changes is told what there is, whoever has been told before. */
START_TEST(a_second_poll_stream_is_told_what_there_is)
{
	struct io_uring_cqe cqe;
	weft_stream *a, *b;
	int ends[2];

	make_pair(ends);
	a = polls_of(ends[0], POLLIN);
	nap();
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(weft_stream_next_cqe(a, &cqe), 1);
	ck_assert_int_eq(cqe.res, POLLIN);
	b = polls_of(ends[0], POLLIN);
	ck_assert_int_eq(weft_stream_next_cqe(b, &cqe), 1);
	ck_assert_int_eq(cqe.res, POLLIN);
	weft_stream_close(a);
	weft_stream_close(b);
	close_pair(ends);
}
END_TEST

START_TEST(a_stream_that_begins_late_gets_what_is_there)
{
	weft_buffers *pool = weft_buffers_new(4, 64);
	struct io_uring_cqe cqe;
	weft_stream *polls, *bytes;
	int ends[2];
	void *data;

	ck_assert(make_ends(ENDS_TCP, false, ends));
	polls = polls_of(ends[0], POLLIN);
	nap();
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(weft_stream_next_cqe(polls, &cqe), 1);
	bytes = weft_recv_stream(ends[0], pool);
	ck_assert_int_eq(weft_stream_next(bytes, &data), 1);
	ck_assert_int_eq(*(char *)data, 'x');
	weft_stream_release(bytes, data);
	weft_stream_close(bytes);
	weft_stream_close(polls);
	weft_buffers_free(pool);
	close_pair(ends);
}
END_TEST

/* The same of one operation that waits before its first try. */
START_TEST(an_operation_that_polls_first_gets_what_is_there)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *polls;
	int ends[2];
	char byte;

	make_pair(ends);
	polls = polls_of(ends[0], POLLIN);
	nap();
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(weft_stream_next_cqe(polls, &cqe), 1);
	io_uring_prep_recv(&sqe, ends[0], &byte, 1, 0);
	sqe.ioprio = IORING_RECVSEND_POLL_FIRST;
	ck_assert_int_eq(weft_await(&sqe), 1);
	weft_stream_close(polls);
	close_pair(ends);
}
END_TEST

/* More connections than a stream keeps: it is held back, and goes on. */
START_TEST(an_accept_stream_goes_on_beside_a_poll)
{
	enum { CALLERS = 200 };

	unsigned short port;
	int listener = listen_on_loopback(2 * CALLERS, &port);
	weft_stream *polls = polls_of(listener, POLLIN);
	weft_stream *st = weft_accept_stream(listener);
	struct io_uring_cqe cqe;
	int fds[CALLERS];

	for (int i = 0; i < CALLERS; i++)
		fds[i] = connect_to(port);
	ck_assert_int_eq(weft_stream_next_cqe(polls, &cqe), 1);
	for (int i = 0; i < CALLERS; i++) {
		int fd = (int)weft_stream_next(st, NULL);

		ck_assert_int_ge(fd, 0);
		close(fd);
		close(fds[i]);
	}
	weft_stream_close(st);
	weft_stream_close(polls);
	ck_assert_int_eq(weft_close(listener), 0);
}
END_TEST

/* --- numbers that are other files' now --- */

/* What was armed for a file that lives on under another number, or in another
 * process, says nothing of the file that has its number now. */
START_TEST(what_another_file_reports_is_not_believed)
{
	struct io_uring_sqe sqe = { 0 };
	int first[2], second[2], kept, fd;

	make_pair(first);
	make_pair(second);
	fd = first[0];
	io_uring_prep_poll_add(&sqe, fd, POLLIN);
	ck_assert_int_eq(await_a_while(&sqe), -ETIMEDOUT);
	kept = dup(fd);
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert_int_eq(dup2(second[0], fd), fd);
	ck_assert_int_eq(write(first[1], "x", 1), 1);
	ck_assert_int_eq(await_a_while(&sqe), -ETIMEDOUT);
	ck_assert_int_eq(write(second[1], "y", 1), 1);
	ck_assert_int_eq(weft_await(&sqe), POLLIN);
	close(kept);
	close(fd);
	close(first[1]);
	close_pair(second);
}
END_TEST

static int poll_number(void *arg)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_poll_add(&sqe, (int)(intptr_t)arg, POLLIN);
	return weft_await(&sqe);
}

/* The same while somebody waits. */
START_TEST(what_another_file_reports_wakes_nobody)
{
	int first[2], second[2], kept, fd;
	struct io_uring_sqe sqe = { 0 };
	weft_tasklet t;

	make_pair(first);
	make_pair(second);
	fd = first[0];
	io_uring_prep_poll_add(&sqe, fd, POLLIN);
	ck_assert_int_eq(await_a_while(&sqe), -ETIMEDOUT);
	kept = dup(fd);
	ck_assert_int_eq(weft_close(fd), 0);
	ck_assert_int_eq(dup2(second[0], fd), fd);
	t = weft_spawn(poll_number, (void *)(intptr_t)fd);
	nap();
	ck_assert_int_eq(write(first[1], "x", 1), 1);
	nap();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(write(second[1], "y", 1), 1);
	ck_assert_int_eq(weft_tasklet_join(t), POLLIN);
	close(kept);
	close(fd);
	close(first[1]);
	close_pair(second);
}
END_TEST

static int read_result, write_result;

static int read_number(void *arg)
{
	char byte;

	read_result = (int)weft_recv((int)(intptr_t)arg, &byte, 1, 0);
	return 0;
}

static int write_number(void *arg)
{
	static char bytes[1 << 22];

	write_result = (int)weft_send((int)(intptr_t)arg, bytes, sizeof bytes,
				      MSG_WAITALL);
	return 0;
}

/* Another thread may close a descriptor on which calls wait: they are left alone, and
 * have nothing to do with the next file of that number. */
START_TEST(calls_on_a_file_that_has_its_number_no_more)
{
	int first[2], second[2], fd;
	weft_tasklet t;
	char byte;

	make_pair(first);
	make_pair(second);
	fd = first[0];
	t = weft_spawn(_i ? write_number : read_number, (void *)(intptr_t)fd);
	nap();
	ck_assert_int_eq(dup2(second[0], fd), fd);
	ck_assert_int_eq(send(second[1], "y", 1, 0), 1);
	nap();
	ck_assert_int_eq(weft_recv(fd, &byte, 1, 0), 1);
	ck_assert_int_eq(byte, 'y');
	weft_spawn(read_number, (void *)(intptr_t)fd);
	nap();
	ck_assert_int_eq(send(second[1], "z", 1, 0), 1);
	nap();
	ck_assert_int_eq(recv(second[1], &byte, 1, MSG_DONTWAIT), -1);
	close(first[1]);
	(void)weft_tasklet_kill(t, WEFT_PENDING);
	(void)weft_tasklet_join(t);
	close(fd);
	close_pair(second);
}
END_TEST

/* A number that no file can have takes no memory. */
START_TEST(a_number_that_is_no_descriptor)
{
	static const int numbers[] = { -1, INT_MIN, INT_MAX, 1 << 30 };
	struct rlimit limit;

	ck_assert_int_eq(weft_sleep(0), 0);
	if (has_memory_to_itself()) {
		limit.rlim_cur = limit.rlim_max = 1UL << 32;
		ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	}
	for (size_t i = 0; i < N_ELEMENTS(numbers); i++) {
		struct io_uring_sqe sqe = { 0 };
		weft_stream *st = weft_accept_stream(numbers[i]);
		char byte;

		ck_assert_int_eq(weft_stream_next(st, NULL), -EBADF);
		weft_stream_close(st);
		io_uring_prep_recv(&sqe, numbers[i], &byte, 1, 0);
		sqe.ioprio = IORING_RECVSEND_POLL_FIRST;
		ck_assert_int_eq(weft_await(&sqe), -EBADF);
		io_uring_prep_poll_add(&sqe, numbers[i], POLLIN);
		ck_assert_int_eq(weft_await(&sqe), -EBADF);
	}
}
END_TEST

/* --- helpers --- */

/* Where no helper can be had, a stream of connections does not keep the CPU busy, and
 * goes on when there is one. */
START_TEST(an_accept_stream_without_helpers)
{
	enum { PAUSE_NS = 1000 * 1000 };

	unsigned short port;
	int listener = listen_on_loopback(8, &port);
	weft_stream *st = weft_accept_stream(listener);
	struct weft_deadline d;
	int64_t start;
	int client, fd, n;

	if (have_io_uring())
		return;
	client = connect_to(port);
	has_no_threads = true;
	start = weft_now();
	weft_deadline_begin(&d, start + 50 * WEFT_MILLISECOND);
	ck_assert_int_eq(weft_stream_next(st, NULL), -ETIMEDOUT);
	weft_deadline_end(&d);
	n = n_thread_tries;
	ck_assert_int_le(n, (weft_now() - start) / PAUSE_NS + 2);
	has_no_threads = false;
	fd = (int)weft_stream_next(st, NULL);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(client);
	weft_stream_close(st);
	ck_assert_int_eq(weft_close(listener), 0);
}
END_TEST

static char fifo[] = "/tmp/weft-test-XXXXXX";

static int opened = -1;

/* Lets an open of the FIFO come to where it waits: without openat2(2) it takes more
 * steps. */
static void reach_last_step(void)
{
	ck_assert_int_eq(weft_sleep(30 * WEFT_MILLISECOND), 0);
}

static int open_fifo(void *arg)
{
	return opened = weft_openat(AT_FDCWD, fifo, (int)(intptr_t)arg);
}

static void make_fifo(void)
{
	int fd = mkstemp(fifo);

	ck_assert_int_ge(fd, 0);
	close(fd);
	unlink(fifo);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
}

/* If a call waits with the only helper there is, and for what comes after it, another
 * one does not stand in line behind it. */
START_TEST(a_call_that_no_helper_comes_for)
{
	weft_tasklet first;
	int fd;

	make_fifo();
	first = weft_spawn(open_fifo, (void *)(intptr_t)O_RDONLY);
	reach_last_step();
	has_no_threads = true;
	if (!have_io_uring())
		ck_assert_int_eq(weft_openat(AT_FDCWD, fifo, O_RDONLY),
				 -EAGAIN);
	has_no_threads = false;
	nap();
	/* If its helper has come too late, it has failed, too. */
	if (weft_tasklet_alive(first)) {
		fd = weft_openat(AT_FDCWD, fifo, O_WRONLY);
		ck_assert_int_ge(fd, 0);
		close(fd);
		(void)weft_tasklet_join(first); /* it may have ended */
		ck_assert_int_ge(opened, 0);
		close(opened);
	}
	unlink(fifo);
}
END_TEST

/* A call with two folders, of which the second one is closed before a helper begins. */
enum { CALL_HELPERS = 16 };

static int folders[2];

static int open_fifo_as_file(void *arg)
{
	struct io_uring_sqe sqe = { 0 };

	(void)arg;
	io_uring_prep_openat(&sqe, AT_FDCWD, fifo, O_RDONLY | O_CLOEXEC, 0);
	return weft_await(&sqe);
}

static int moved = 1;

static int move_file(void *arg)
{
	moved = arg ? weft_renameat(folders[0], "a", folders[1], "b")
		    : weft_linkat(folders[0], "a", folders[1], "b", 0);
	return 0;
}

static int make_folder(char *name)
{
	ck_assert_ptr_nonnull(mkdtemp(name));
	return open(name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
}

START_TEST(the_second_folder_is_closed)
{
	char names[3][32] = { "/tmp/weft-test-1-XXXXXX",
			      "/tmp/weft-test-2-XXXXXX",
			      "/tmp/weft-test-3-XXXXXX" };
	weft_tasklet occupants[CALL_HELPERS], t;
	int other, fd, writer;

	make_fifo();
	folders[0] = make_folder(names[0]);
	folders[1] = make_folder(names[1]);
	other = make_folder(names[2]);
	fd = openat(folders[0], "a", O_CREAT | O_WRONLY, 0600);
	ck_assert_int_ge(fd, 0);
	close(fd);
	for (int i = 0; i < CALL_HELPERS; i++)
		occupants[i] = weft_spawn(open_fifo_as_file, NULL);
	nap();
	t = weft_spawn(move_file, (void *)(intptr_t)_i);
	nap();
	fd = folders[1];
	ck_assert_int_eq(dup2(other, fd), fd); /* which closes it */
	writer = open(fifo, O_RDWR | O_CLOEXEC);
	for (int i = 0; i < CALL_HELPERS; i++)
		close(weft_tasklet_join(occupants[i]));
	(void)weft_tasklet_join(t); /* it may have ended */
	ck_assert_int_eq(moved, 0);
	ck_assert_int_eq(faccessat(other, "b", F_OK, 0), -1);
	ck_assert_int_eq(chdir(names[1]), 0);
	ck_assert_int_eq(unlink("b"), 0);
	(void)unlinkat(folders[0], "a", 0);
	for (int i = 0; i < 3; i++)
		rmdir(names[i]);
	unlink(fifo);
	close(writer);
	close(other);
	close(fd);
	close(folders[0]);
}
END_TEST

/* A program that resets the actions of all signals, as daemons do, still can cancel
 * calls. */
START_TEST(helpers_can_be_interrupted_after_a_reset_of_signals)
{
	void (*const action)(int) = _i ? SIG_IGN : SIG_DFL;
	weft_tasklet t;
	int fd;

	make_fifo();
	/* The signal is chosen when a helper first waits. */
	t = weft_spawn(open_fifo, (void *)(intptr_t)O_RDONLY);
	fd = weft_openat(AT_FDCWD, fifo, O_WRONLY);
	ck_assert_int_ge(fd, 0);
	(void)weft_tasklet_join(t); /* it may have ended */
	close(fd);
	close(opened);
	for (int round = 0; round < 2; round++) {
		t = weft_spawn(open_fifo, (void *)(intptr_t)O_RDONLY);
		reach_last_step();
		for (int n = SIGRTMIN; n <= SIGRTMAX; n++)
			signal(n, action);
		ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
		ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	}
	unlink(fifo);
}
END_TEST

/* --- what descriptions say --- */

START_TEST(huge_timeouts)
{
	static const struct __kernel_timespec times[] = {
		{ .tv_sec = LLONG_MAX, .tv_nsec = 999999999 },
		{ .tv_sec = LLONG_MAX / 1000000000 - 1, .tv_nsec = 0 },
		{ .tv_sec = LLONG_MAX / 2000000000 + 5, .tv_nsec = 0 },
	};
	static const unsigned flags[] = { 0, IORING_TIMEOUT_ABS,
					  IORING_TIMEOUT_ABS |
						  IORING_TIMEOUT_REALTIME };

	for (size_t i = 0; i < N_ELEMENTS(times); i++)
		for (size_t k = 0; k < N_ELEMENTS(flags); k++) {
			struct __kernel_timespec ts = times[i];
			struct io_uring_sqe sqe = { 0 };

			io_uring_prep_timeout(&sqe, &ts, 0, flags[k]);
			ck_assert_int_eq(await_a_while(&sqe), -ETIMEDOUT);
		}
}
END_TEST

START_TEST(an_accept_that_does_not_wait)
{
	enum { DONTWAIT = 1 << 1 }; /* newer than Debian 12 */

	struct io_uring_sqe sqe = { 0 };
	unsigned short port;
	int listener = listen_on_loopback(8, &port);
	int client, fd;

	io_uring_prep_accept(&sqe, listener, NULL, NULL, SOCK_CLOEXEC);
	sqe.ioprio = DONTWAIT;
	ck_assert_int_eq(weft_await(&sqe), -EAGAIN);
	client = connect_to(port);
	fd = weft_await(&sqe);
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(client);
	ck_assert_int_eq(weft_close(listener), 0);
}
END_TEST

/* The length of an advice is in one of two fields. */
START_TEST(advice_of_64_bits)
{
	size_t size = 1 << 16;
	char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct io_uring_sqe sqe = { 0 };

	memset(memory, 1, size);
	sqe.opcode = IORING_OP_MADVISE;
	sqe.fd = -1;
	sqe.addr = (uint64_t)(uintptr_t)memory;
	sqe.off = size / 2;
	sqe.fadvise_advice = MADV_DONTNEED;
	ck_assert_int_eq(weft_await(&sqe), 0);
	ck_assert_int_eq(memory[0], 0);
	ck_assert_int_eq(memory[size / 2], 1);
	sqe.off = 0;
	sqe.len = (unsigned)size;
	ck_assert_int_eq(weft_await(&sqe), 0);
	ck_assert_int_eq(memory[size / 2], 0);
	munmap(memory, size);
}
END_TEST

/* A sync of a part is as durable as one of the whole. */
START_TEST(a_sync_of_a_part_is_a_sync)
{
	struct io_uring_sqe sqe = { 0 };
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	io_uring_prep_fsync(&sqe, ends[1], 0);
	sqe.len = 4096;
	ck_assert_int_eq(weft_await(&sqe), -EINVAL);
	close_pair(ends);
}
END_TEST

/* As much as one system call can move, however many are made. */
START_TEST(more_than_a_result_can_say)
{
	size_t size = (size_t)1 << 30;
	char *memory = mmap(NULL, size, PROT_READ,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	struct iovec v[3] = { { memory, size },
			      { memory, size },
			      { memory, size } };
	struct msghdr m = { .msg_iov = v, .msg_iovlen = 3 };
	int ends[2];

	if (have_io_uring())
		return;
	make_pair(ends);
	huge_fd = ends[0];
	ck_assert_int_eq(weft_sendmsg(huge_fd, &m, MSG_WAITALL),
			 INT_MAX & ~4095);
	ck_assert_uint_eq(n_huge, INT_MAX & ~4095);
	close_pair(ends);
	munmap(memory, size);
}
END_TEST

/* Polls that tell again and again would fill the memory. */
START_TEST(polls_of_levels)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *st;
	int ends[2];

	make_pair(ends);
	io_uring_prep_poll_multishot(&sqe, ends[0], POLLOUT);
	sqe.len |= IORING_POLL_ADD_LEVEL;
	st = weft_await_stream(&sqe);
	ck_assert_int_eq(weft_stream_next_cqe(st, &cqe), 1);
	ck_assert_int_eq(cqe.res, -EINVAL);
	ck_assert_int_eq(weft_stream_next_cqe(st, &cqe), 0);
	weft_stream_close(st);
	close_pair(ends);
}
END_TEST

/* A file is always ready and at its end some time: there is nothing to wait for. */
START_TEST(many_reads_of_a_file)
{
	enum { READ_MULTISHOT = 49 };
	struct io_uring_sqe sqe = { .opcode = READ_MULTISHOT,
				    .flags = IOSQE_BUFFER_SELECT,
				    .off = (uint64_t)-1 };
	struct io_uring_cqe cqe;
	weft_stream *st;

	sqe.fd = open("/tmp", O_TMPFILE | O_RDWR, 0600);
	ck_assert_int_ge(sqe.fd, 0);
	st = weft_await_stream(&sqe);
	ck_assert(st);
	ck_assert_int_eq(weft_stream_next_cqe(st, &cqe), 1);
	/* before Linux 6.7: -EINVAL */
	ck_assert(cqe.res == -EBADFD || cqe.res == -EINVAL);
	ck_assert_int_eq(weft_stream_next_cqe(st, &cqe), 0);
	weft_stream_close(st);
	close(sqe.fd);
}
END_TEST

/* Nobody connects to a socket of datagrams: that is known before anything has come. */
START_TEST(an_accept_stream_of_datagrams)
{
	struct weft_deadline limit;
	weft_stream *st;
	ssize_t error;
	int ends[2];

	ck_assert(make_ends(ENDS_UDP, false, ends));
	st = weft_accept_stream(ends[0]);
	ck_assert(st);
	weft_deadline_begin(&limit, weft_now() + 100 * WEFT_MILLISECOND);
	error = weft_stream_next(st, NULL);
	weft_deadline_end(&limit);
	ck_assert_int_eq(error, -EOPNOTSUPP);
	weft_stream_close(st);
	close_pair(ends);
}
END_TEST

static int result_of(struct io_uring_sqe sqe)
{
	return weft_await(&sqe);
}

/* What the ring refuses, and how it says that there was nothing to cancel. */
START_TEST(descriptions_that_are_wrong)
{
	struct __kernel_timespec ts = { .tv_nsec = 1 };
	struct io_uring_sqe sqe = { 0 };
	int ends[2];
	char byte;

	make_pair(ends);
	io_uring_prep_nop(&sqe);
	sqe.personality = 5;
	ck_assert_int_eq(result_of(sqe), -EINVAL);
	memset(&sqe, 0, sizeof sqe);
	io_uring_prep_timeout(&sqe, &ts, 0,
			      IORING_TIMEOUT_BOOTTIME |
				      IORING_TIMEOUT_REALTIME);
	ck_assert_int_eq(result_of(sqe), -EINVAL);
	memset(&sqe, 0, sizeof sqe);
	io_uring_prep_fsync(&sqe, STDERR_FILENO, 8);
	ck_assert_int_eq(result_of(sqe), -EINVAL);
	memset(&sqe, 0, sizeof sqe);
	io_uring_prep_recv(&sqe, ends[0], &byte, 1, 0);
	sqe.ioprio = 1 << 15;
	ck_assert_int_eq(result_of(sqe), -EINVAL);
	memset(&sqe, 0, sizeof sqe);
	sqe.opcode = IORING_OP_ASYNC_CANCEL;
	sqe.fd = ends[0];
	sqe.cancel_flags = IORING_ASYNC_CANCEL_FD;
	ck_assert_int_eq(result_of(sqe), -ENOENT);
	sqe.cancel_flags |= IORING_ASYNC_CANCEL_ALL;
	ck_assert_int_eq(result_of(sqe), 0);
	close_pair(ends);
}
END_TEST

/* What has been written already is not written again. */
START_TEST(a_write_that_stops_early)
{
	static const char text[] = "0123456789";
	char found[32];
	ssize_t n;
	int fd = open("/tmp", O_TMPFILE | O_RDWR | (_i ? O_APPEND : 0), 0600);

	ck_assert_int_ge(fd, 0);
	short_fd = fd;
	n = weft_pwrite(fd, text, 10, 0);
	short_fd = -1;
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(pread(fd, found, sizeof found, 0), n);
	ck_assert_int_eq(memcmp(found, text, (size_t)n), 0);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s;

	setenv("WEFT_ENGINE", "poll", 0);
	s = suite_create("poll_engine");
	add_case(s, "reported once", a_second_poll_stream_is_told_what_there_is,
		 a_stream_that_begins_late_gets_what_is_there,
		 an_operation_that_polls_first_gets_what_is_there,
		 an_accept_stream_goes_on_beside_a_poll);
	add_case(s, "numbers", what_another_file_reports_is_not_believed,
		 what_another_file_reports_wakes_nobody,
		 a_number_that_is_no_descriptor);
	add_loop(s, "numbers", calls_on_a_file_that_has_its_number_no_more, 2);
	add_case(s, "helpers", an_accept_stream_without_helpers,
		 a_call_that_no_helper_comes_for);
	add_loop(s, "helpers", the_second_folder_is_closed, 2);
	add_loop(s, "helpers",
		 helpers_can_be_interrupted_after_a_reset_of_signals, 2);
	add_case(s, "descriptions", huge_timeouts, an_accept_that_does_not_wait,
		 polls_of_levels, many_reads_of_a_file,
		 an_accept_stream_of_datagrams, descriptions_that_are_wrong,
		 more_than_a_result_can_say, advice_of_64_bits,
		 a_sync_of_a_part_is_a_sync);
	add_loop(s, "descriptions", a_write_that_stops_early, 2);
	return run_suite(s);
}
