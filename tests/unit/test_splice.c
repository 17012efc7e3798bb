/* SPDX-License-Identifier: MIT */
/*
 * Bytes that go from one descriptor to another inside of the kernel: all of them, in
 * order, each once, whatever interrupts the calls.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/timerfd.h>
#include <unistd.h>
#include <weft.h>

#include "ends.h"
#include "support.h"

enum { BULK = 1000000 };

static unsigned char byte_at(size_t offset)
{
	return (unsigned char)(offset * 2654435761u >> 13);
}

static unsigned char bulk[BULK], room[BULK];

static void fill_bulk(void)
{
	for (size_t i = 0; i < BULK; i++)
		bulk[i] = byte_at(i);
}

static int make_file(size_t size)
{
	char name[] = "/tmp/weft-test-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);

	ck_assert_int_ge(fd, 0);
	unlink(name);
	fill_bulk();
	ck_assert_int_eq(write(fd, bulk, size), (ssize_t)size);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	return fd;
}

/* --- what a tasklet does --- */

enum verb { SPLICE, TEE, SENDFILE };

struct call {
	enum verb verb;
	int in, out;
	off_t *offset; /* of a file */
	size_t count;
	ssize_t n, next;
	bool is_over;
	weft_tasklet self;
};

static ssize_t once(struct call *c)
{
	switch (c->verb) {
	case SPLICE:
		return weft_splice(c->in, c->offset, c->out, NULL, c->count, 0);
	case TEE:
		return weft_tee(c->in, c->out, c->count, 0);
	default:
		return weft_sendfile(c->out, c->in, c->offset, c->count);
	}
}

static int twice(void *arg)
{
	struct call *c = arg;

	c->n = once(c);
	c->is_over = true;
	c->next = once(c);
	return 0;
}

/* Until the end or an error, which is `next`. */
static int all(void *arg)
{
	struct call *c = arg;

	while ((c->next = once(c)) > 0)
		c->n += c->next;
	c->is_over = true;
	return 0;
}

/* As with splice(2), an end of the first goes on as an end of the second. */
static int all_and_close(void *arg)
{
	struct call *c = arg;

	all(arg);
	return weft_close(c->out);
}

static int write_bulk(void *arg)
{
	int fd = *(int *)arg;
	ssize_t n = weft_write_full(fd, bulk, BULK);

	return weft_close(fd) || n != BULK ? -EIO : 0;
}

/* --- passing on --- */

enum { N_KINDS = 3 }; /* of streams: pipe, TCP, Unix */

/* From a pipe or socket to another through a pipe, O_NONBLOCK or not. */
START_TEST(streams_pass)
{
	enum ends_kind from_kind = (enum ends_kind)(_i % N_KINDS);
	enum ends_kind to_kind = (enum ends_kind)(_i / N_KINDS % N_KINDS);
	bool is_nonblocking = _i / (N_KINDS * N_KINDS);
	int from[2], middle[2], to[2];
	struct call first = { .count = BULK }, second = { .count = 10000 };
	weft_tasklet writer;

	fill_bulk();
	ck_assert(make_ends(from_kind, is_nonblocking, from));
	ck_assert(make_ends(ENDS_PIPE, is_nonblocking, middle));
	ck_assert(make_ends(to_kind, is_nonblocking, to));
	first.in = from[0];
	first.out = middle[1];
	second.in = middle[0];
	second.out = to[1];
	writer = weft_spawn(write_bulk, &from[1]);
	weft_spawn(all_and_close, &first);
	weft_spawn(all_and_close, &second);
	ck_assert_int_eq(weft_read_full(to[0], room, BULK), BULK);
	ck_assert_mem_eq(room, bulk, BULK);
	ck_assert_int_eq(weft_read(to[0], room, 1), 0);
	(void)writer;
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(first.n, BULK);
	ck_assert_int_eq(first.next, 0);
	ck_assert_int_eq(second.n, BULK);
	ck_assert_int_eq(second.next, 0);
	close(from[0]);
	close(middle[0]);
	close(to[0]);
}
END_TEST

/* From a file and to one, at offsets and at positions, which move. */
START_TEST(files_pass)
{
	int fd = make_file(100000);
	int copy = make_file(0);
	int ends[2];
	off_t from = 1000, to = 50;

	ck_assert(make_ends(ENDS_PIPE, _i, ends));
	ck_assert_int_eq(weft_splice(fd, &from, ends[1], NULL, 3000, 0), 3000);
	ck_assert_int_eq(from, 4000);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	ck_assert_int_eq(weft_splice(ends[0], NULL, copy, &to, 2000, 0), 2000);
	ck_assert_int_eq(to, 2050);
	ck_assert_int_eq(weft_splice(ends[0], NULL, copy, NULL, 2000, 0), 1000);
	ck_assert_int_eq(lseek(copy, 0, SEEK_CUR), 1000);
	ck_assert_int_eq(pread(copy, room, 4000, 0), 2050);
	ck_assert_mem_eq(room, bulk + 3000, 1000);
	ck_assert_mem_eq(room + 1000, bulk + 1950, 1050);
	ck_assert_int_eq(weft_splice(fd, NULL, ends[1], NULL, 10, 0), 10);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 10);
	from = 100000;
	ck_assert_int_eq(weft_splice(fd, &from, ends[1], NULL, 10, 0), 0);
	ck_assert_int_eq(from, 100000);
	close(fd);
	close(copy);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* Both pipes have the bytes. */
START_TEST(tee_copies)
{
	int first[2], second[2];
	struct call c = { .verb = TEE, .count = 10 };
	char text[16] = "";

	ck_assert(make_ends(ENDS_PIPE, _i, first));
	ck_assert(make_ends(ENDS_PIPE, _i, second));
	c.in = first[0];
	c.out = second[1];
	c.self = weft_spawn(twice, &c);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_write(first[1], "abc", 3), 3);
	weft_tasklet_join(c.self);
	ck_assert_int_eq(c.n, 3);
	ck_assert_int_eq(c.next, 3); /* the same again */
	ck_assert_int_eq(weft_read(first[0], text, 16), 3);
	ck_assert_int_eq(weft_read(second[0], text, 16), 6);
	ck_assert_str_eq(text, "abcabc");
	close(first[1]);
	ck_assert_int_eq(weft_tee(first[0], second[1], 5, 0), 0);
	close(first[0]);
	close(second[0]);
	close(second[1]);
}
END_TEST

/* --- waiting --- */

static size_t fill(int fd)
{
	size_t n = 0;
	ssize_t rc;

	weft_set_block_trap(true);
	while ((rc = weft_write(fd, bulk, 4096)) > 0)
		n += (size_t)rc;
	weft_set_block_trap(false);
	ck_assert_int_eq(rc, -EAGAIN);
	return n;
}

static size_t drain(int fd)
{
	size_t n = 0;
	ssize_t rc;

	weft_set_block_trap(true);
	while ((rc = weft_read(fd, room, BULK)) > 0)
		n += (size_t)rc;
	weft_set_block_trap(false);
	return n;
}

/* For what a call waits. */
enum lack { LACKS_INPUT, LACKS_ROOM };

struct scene {
	int from[2], to[2];
	struct call call;
	size_t n_from, n_to; /* bytes that are in there */
};

/* Two pipes, or a pipe and a Unix socket in either order. */
static void set_up(struct scene *s, int kind, enum lack lack, bool nonblocking)
{
	memset(s, 0, sizeof *s);
	fill_bulk();
	ck_assert(make_ends(kind == 1 ? ENDS_UNIX : ENDS_PIPE, nonblocking,
			    s->from));
	ck_assert(make_ends(kind == 2 ? ENDS_UNIX : ENDS_PIPE, nonblocking,
			    s->to));
	if (lack == LACKS_ROOM) {
		s->n_to = fill(s->to[1]);
		s->n_from = 3;
		ck_assert_int_eq(weft_write(s->from[1], "abc", 3), 3);
	}
	s->call =
		(struct call){ .in = s->from[0], .out = s->to[1], .count = 3 };
	s->call.self = weft_spawn(twice, &s->call);
	ck_assert_int_ge(weft_pump(), 1);
	ck_assert(!s->call.is_over);
}

static void tear_down(struct scene *s)
{
	for (int i = 0; i < 2; i++) {
		close(s->from[i]);
		close(s->to[i]);
	}
}

enum { N_SCENES = 12 };

static void set_up_number(struct scene *s, int i)
{
	set_up(s, i % 3, (enum lack)(i / 3 % 2), i / 6);
}

/* What is missing comes, and the call goes on. */
START_TEST(waits_for_both_ends)
{
	struct scene s;

	set_up_number(&s, _i);
	if (s.n_to) {
		ck_assert_uint_eq(drain(s.to[0]), s.n_to);
	} else {
		ck_assert_int_eq(weft_write(s.from[1], "abc", 3), 3);
	}
	while (!s.call.is_over)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(s.call.n, 3);
	ck_assert_int_eq(weft_read(s.to[0], room, 10), 3);
	ck_assert_mem_eq(room, "abc", 3);
	ck_assert_int_eq(weft_shutdown(s.from[1], SHUT_WR),
			 _i % 3 == 1 ? 0 : -ENOTSOCK);
	weft_close(s.from[1]);
	weft_tasklet_join(s.call.self);
	ck_assert_int_eq(s.call.next, 0);
	tear_down(&s);
}
END_TEST

/* A kill (0), a raise (1) and a deadline (2) end the wait, and no byte has moved. */
START_TEST(is_interrupted)
{
	static const int errors[] = { -ECANCELED, -EXDEV };
	struct scene s;

	for (int by = 0; by < 3; by++) {
		set_up_number(&s, _i);
		if (by == 0) {
			weft_tasklet_kill(s.call.self, WEFT_PENDING);
			weft_tasklet_join(s.call.self);
			ck_assert_int_eq(s.call.next, -ECANCELED);
		} else if (by == 1) {
			weft_tasklet_raise(s.call.self, EXDEV, 0);
			weft_sleep(WEFT_MILLISECOND);
		}
		if (by == 2) {
			struct weft_deadline d;
			struct call c = s.call;

			weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
			ck_assert_int_eq(once(&c), -ETIMEDOUT);
			weft_deadline_end(&d);
		} else {
			ck_assert(s.call.is_over);
			ck_assert_int_eq(s.call.n, errors[by]);
		}
		if (by) {
			weft_tasklet_kill(s.call.self, WEFT_PENDING);
			weft_tasklet_join(s.call.self);
		}
		ck_assert_uint_eq(drain(s.to[0]), s.n_to);
		ck_assert_uint_eq(drain(s.from[0]), s.n_from);
		tear_down(&s);
	}
}
END_TEST

/* So does a close of either end, the one that is waited for or the other. */
START_TEST(a_close_ends_the_wait)
{
	struct scene s;

	for (int which = 0; which < 2; which++) {
		set_up_number(&s, _i);
		ck_assert_int_eq(weft_close(which ? s.to[1] : s.from[0]), 0);
		weft_tasklet_join(s.call.self);
		ck_assert_int_eq(s.call.n, -ECANCELED);
		ck_assert_int_eq(s.call.next, -EBADF);
		if (which)
			s.to[1] = dup(0);
		else
			s.from[0] = dup(0);
		tear_down(&s);
	}
}
END_TEST

static int other_pipe[2];
static int signal_pipe[2];
static int robbed;

/* Puts another pipe in the place of a descriptor. */
static int rob(void *arg)
{
	char byte;

	(void)arg;
	(void)weft_read(signal_pipe[0], &byte, 1);
	(void)weft_close(robbed);
	return dup2(other_pipe[0], robbed) == robbed ? 0 : -errno;
}

/* The descriptor is closed after it has become ready and before the tasklet runs,
 * and its number is another pipe's: the call keeps off that. */
START_TEST(the_number_is_another_pipes)
{
	struct scene s;
	weft_tasklet robber;

	ck_assert(make_ends(ENDS_PIPE, false, other_pipe));
	ck_assert(make_ends(ENDS_PIPE, false, signal_pipe));
	ck_assert_int_eq(write(other_pipe[1], "xyz", 3), 3);
	robber = weft_spawn(rob, NULL);
	weft_pump();
	set_up(&s, 0, LACKS_INPUT, _i);
	robbed = s.from[0];
	ck_assert_int_eq(write(signal_pipe[1], "s", 1), 1);
	ck_assert_int_eq(write(s.from[1], "abc", 3), 3);
	weft_tasklet_join(s.call.self);
	weft_tasklet_join(robber);
	/* the robber was first, or came too late */
	if (s.call.n == -ECANCELED)
		ck_assert_uint_eq(drain(other_pipe[0]),
				  s.call.next == 3 ? 0 : 3);
	else
		ck_assert_int_eq(s.call.n, 3);
	tear_down(&s);
}
END_TEST

/* --- what needs no waiting --- */

START_TEST(under_a_trap)
{
	int from[2], to[2];
	int fd = make_file(10);
	off_t offset = 0;
	int error = _i ? -EPERM : -EAGAIN;

	ck_assert(make_ends(ENDS_PIPE, false, from));
	ck_assert(make_ends(ENDS_PIPE, false, to));
	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	ck_assert_int_eq(weft_splice(from[0], NULL, to[1], NULL, 9, 0), error);
	ck_assert_int_eq(weft_tee(from[0], to[1], 9, 0), error);
	ck_assert_int_eq(weft_write(from[1], "abc", 3), 3);
	ck_assert_int_eq(weft_tee(from[0], to[1], 9, 0), 3);
	ck_assert_int_eq(weft_splice(from[0], NULL, to[1], NULL, 9, 0), 3);
	ck_assert_int_eq(weft_splice(fd, &offset, to[1], NULL, 9, 0), error);
	ck_assert_int_eq(weft_sendfile(to[1], fd, &offset, 9), error);
	ck_assert_int_eq(offset, 0);
	if (_i)
		weft_switch_trap(-1);
	else
		weft_set_block_trap(false);
	/* the same without a trap */
	ck_assert_int_eq(
		weft_splice(from[0], NULL, to[1], NULL, 9, SPLICE_F_NONBLOCK),
		-EAGAIN);
	ck_assert_int_eq(weft_tee(from[0], to[1], 9, SPLICE_F_NONBLOCK),
			 -EAGAIN);
	ck_assert_uint_eq(drain(to[0]), 6);
	close(fd);
}
END_TEST

/* --- the peer has gone --- */

START_TEST(no_sigpipe)
{
	enum ends_kind kind = (enum ends_kind)(_i / 2);
	int from[2], to[2];
	int fd = make_file(100);
	struct call calls[3] = { { .verb = SPLICE, .count = 1 },
				 { .verb = TEE, .count = 1 },
				 { .verb = SENDFILE, .count = 1 } };

	signal(SIGPIPE, SIG_DFL);
	for (int i = 0; i < 3; i++) {
		ssize_t n;

		if (i == 1 && kind != ENDS_PIPE)
			continue;
		ck_assert(make_ends(ENDS_PIPE, _i % 2, from));
		ck_assert(make_ends(kind, _i % 2, to));
		ck_assert_int_eq(weft_write(from[1], "abcdefghij", 10), 10);
		close(to[0]);
		calls[i].in = i == 2 ? fd : from[0];
		calls[i].out = to[1];
		do
			n = once(&calls[i]);
		while (n == 1 && !weft_sleep(WEFT_MILLISECOND));
		ck_assert(n == -EPIPE || n == -ECONNRESET);
		ck_assert_int_eq(once(&calls[i]), -EPIPE);
		close(from[0]);
		close(from[1]);
		close(to[1]);
	}
	close(fd);
}
END_TEST

/* A signal that the program keeps blocked and pending stays as it is. */
START_TEST(a_pending_sigpipe_stays)
{
	int from[2], to[2];
	sigset_t set, pending;

	ck_assert(make_ends(ENDS_PIPE, false, from));
	ck_assert(make_ends(ENDS_PIPE, false, to));
	ck_assert_int_eq(write(from[1], "abc", 3), 3);
	close(to[0]);
	sigemptyset(&set);
	sigaddset(&set, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	for (int i = 0; i < 2; i++) {
		if (i)
			raise(SIGPIPE);
		ck_assert_int_eq(weft_splice(from[0], NULL, to[1], NULL, 3, 0),
				 -EPIPE);
		sigpending(&pending);
		ck_assert_int_eq(sigismember(&pending, SIGPIPE), i);
	}
	signal(SIGPIPE, SIG_IGN);
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}
END_TEST

/* A peer goes away, and the kernel notices only when a part has been sent: what it
 * has sent is returned, and there is no signal either. */
START_TEST(no_sigpipe_after_a_part)
{
	int from[2], to[2];

	signal(SIGPIPE, SIG_DFL);
	fill_bulk();
	ck_assert(make_ends(ENDS_PIPE, true, from));
	if (fcntl(from[1], F_SETPIPE_SZ, 1 << 20) < 0) {
		skip("no large pipe: %s", strerror(errno));
		return;
	}
	for (int i = 0; i < 20; i++) {
		ssize_t n;

		ck_assert(make_ends(ENDS_TCP, true, to));
		while (write(from[1], bulk, BULK) > 0)
			;
		close(to[0]);
		n = weft_splice(from[0], NULL, to[1], NULL, BULK, 0);
		ck_assert(n > 0 || n == -EPIPE || n == -ECONNRESET);
		close(to[1]);
	}
	close(from[0]);
	close(from[1]);
}
END_TEST

/* --- files that are sent --- */

/* To each kind of stream, O_NONBLOCK or not; at an offset or the position. */
START_TEST(a_file_is_sent)
{
	enum ends_kind kind = (enum ends_kind)(_i / 4);
	int fd = make_file(BULK);
	int before = 0;
	int ends[2];
	off_t offset = 777;
	struct call c = { .verb = SENDFILE, .in = fd, .count = BULK - 1000 };

	ck_assert(make_ends(kind, _i % 2, ends));
	c.out = ends[1];
	c.offset = _i / 2 % 2 ? &offset : NULL;
	before = n_descriptors();
	lseek(fd, 777, SEEK_SET);
	c.self = weft_spawn(twice, &c);
	ck_assert_int_eq(weft_read_full(ends[0], room, BULK - 777), BULK - 777);
	ck_assert_mem_eq(room, bulk + 777, BULK - 777);
	weft_tasklet_join(c.self);
	ck_assert_int_eq(c.n, BULK - 1000);
	ck_assert_int_eq(c.next, 1000 - 777);
	ck_assert_int_eq(offset, c.offset ? BULK : 777);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), c.offset ? 777 : BULK);
	ck_assert_int_eq(once(&c), 0);
	ck_assert_int_le(n_descriptors(), before + 2); /* of the ring */
	close(fd);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* To a file. */
START_TEST(a_file_is_copied)
{
	int fd = make_file(BULK);
	int copy = make_file(0);
	off_t offset = 0;

	ck_assert_int_eq(weft_sendfile(copy, fd, &offset, 2 * (size_t)BULK),
			 BULK);
	ck_assert_int_eq(pread(copy, room, BULK, 0), BULK);
	ck_assert_mem_eq(room, bulk, BULK);
	ck_assert_int_eq(lseek(copy, 0, SEEK_CUR), BULK);
	ck_assert_int_eq(weft_sendfile(copy, fd, &offset, 5), 0);
	close(fd);
	close(copy);
}
END_TEST

/* A call that is interrupted has sent as many bytes as it says, and the next one
 * returns the error: after a kill (0), a raise (1) and a close (2). */
START_TEST(a_file_is_sent_in_part)
{
	static const int errors[] = { -ECANCELED, -EXDEV, -EBADF };
	enum ends_kind kind = (enum ends_kind)(_i / 6);
	int fd = make_file(BULK);
	off_t offset = 0;
	int ends[2];
	struct call c = { .verb = SENDFILE, .in = fd, .count = BULK };
	struct pollfd p = { .events = POLLIN };
	int by = _i % 3;
	size_t n = 0;

	signal(SIGPIPE, SIG_IGN);
	ck_assert(make_ends(kind, _i / 3 % 2, ends));
	p.fd = ends[0];
	c.out = ends[1];
	c.offset = &offset;
	c.self = weft_spawn(twice, &c);
	/* Some of it has arrived; then until nothing moves, or nearly so. */
	ck_assert_int_eq(weft_poll(&p, 1, -1), 1);
	weft_sleep(5 * WEFT_MILLISECOND);
	if (by == 0)
		weft_tasklet_kill(c.self, WEFT_PENDING);
	else if (by == 1)
		weft_tasklet_raise(c.self, EXDEV, WEFT_PENDING);
	else
		ck_assert_int_eq(weft_close(ends[1]), 0);
	while (!c.is_over)
		weft_sleep(WEFT_MILLISECOND);
	weft_tasklet_join(c.self);
	if (c.n == BULK) {
		/* all of it had found room */
		ck_assert_int_eq(offset, BULK);
		n = (size_t)weft_read_full(ends[0], room, BULK);
	} else {
		ck_assert_int_eq(c.next, errors[by]);
		ck_assert_int_ge(c.n, 0);
		ck_assert_int_eq(c.n, offset);
		ck_assert_int_eq(weft_read_full(ends[0], room, (size_t)c.n),
				 c.n);
		n = (size_t)c.n + drain(ends[0]);
	}
	ck_assert_int_eq((ssize_t)n, c.n);
	ck_assert_mem_eq(room, bulk, c.n ? 1 : 0);
	close(fd);
	close(ends[0]);
	if (by != 2)
		close(ends[1]);
}
END_TEST

/* --- signals --- */

static void ignore(int number)
{
	(void)number;
}

START_TEST(signals_end_no_call)
{
	struct sigaction action = { .sa_handler = ignore };
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	int fd = make_file(BULK);
	struct call c = { .verb = SENDFILE, .in = fd, .count = BULK };
	int ends[2];

	ck_assert(make_ends(ENDS_UNIX, _i, ends));
	c.out = ends[1];
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	weft_spawn(all_and_close, &c);
	ck_assert_int_eq(weft_read_full(ends[0], room, BULK), BULK);
	ck_assert_int_eq(weft_run(), 0);
	memset(&often, 0, sizeof often);
	setitimer(ITIMER_REAL, &often, NULL);
	ck_assert_mem_eq(room, bulk, BULK);
	ck_assert_int_eq(c.n, BULK);
	ck_assert_int_eq(c.next, 0);
	close(fd);
	close(ends[0]);
}
END_TEST

/* --- bad input --- */

START_TEST(wrong_arguments)
{
	int p[2], q[2], u[2];
	int fd = make_file(10);
	int end = open("/dev/null", O_RDWR | O_APPEND | O_CLOEXEC);
	off_t zero = 0, negative = -1;

	ck_assert(make_ends(ENDS_PIPE, false, p));
	ck_assert(make_ends(ENDS_PIPE, false, q));
	ck_assert(make_ends(ENDS_UNIX, false, u));
	ck_assert_int_eq(weft_splice(-1, NULL, p[1], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(weft_splice(p[0], NULL, 1000000, NULL, 1, 0), -EBADF);
	ck_assert_int_eq(weft_splice(p[1], NULL, q[1], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(weft_splice(p[0], NULL, q[0], NULL, 1, 0), -EBADF);
	ck_assert_int_eq(weft_splice(u[0], NULL, u[1], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, p[1], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], &zero, q[1], NULL, 1, 0), -ESPIPE);
	ck_assert_int_eq(weft_splice(u[0], &zero, q[1], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(fd, &negative, q[1], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, q[1], NULL, 1, 16), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, q[1], NULL, 1, 1U << 31),
			 -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, end, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, q[1], NULL, 0, 0), 0);
	ck_assert_int_eq(weft_tee(p[0], u[0], 1, 0), -EINVAL);
	ck_assert_int_eq(weft_tee(p[0], p[1], 1, 0), -EINVAL);
	ck_assert_int_eq(weft_tee(p[0], q[1], 1, 1U << 31), -EINVAL);
	ck_assert_int_eq(weft_tee(p[0], q[1], 0, 0), 0);
	ck_assert_int_eq(weft_sendfile(u[0], -1, NULL, 1), -EBADF);
	ck_assert_int_eq(weft_sendfile(-1, fd, NULL, 1), -EBADF);
	ck_assert_int_eq(weft_sendfile(u[0], p[0], NULL, 1), -EINVAL);
	ck_assert_int_eq(weft_sendfile(u[0], u[1], NULL, 1), -EINVAL);
	ck_assert_int_eq(weft_sendfile(u[0], fd, &negative, 1), -EINVAL);
	ck_assert_int_eq(weft_sendfile(end, fd, NULL, 1), -EINVAL);
	ck_assert_int_eq(weft_sendfile(u[0], fd, NULL, 0), 0);
	ck_assert_int_eq(weft_write(p[1], "abc", 3), 3);
	ck_assert_int_eq(weft_splice(p[0], NULL, q[1], NULL, SIZE_MAX, 0), 3);
	zero = 4;
	ck_assert_int_eq(weft_sendfile(u[0], fd, &zero, SIZE_MAX), 6);
	ck_assert_int_eq(zero, 10);
}
END_TEST

/* What the kernel cannot move from or to is not waited for, though it is never
 * ready. */
START_TEST(wrong_kinds)
{
	unsigned short port;
	int fd = make_file(10);
	int listener = listen_on_loopback(1, &port);
	int counter = eventfd(0, EFD_CLOEXEC);
	int timer = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	off_t place = 0;
	int p[2];

	ck_assert_int_ge(listener, 0);
	ck_assert(make_ends(ENDS_PIPE, false, p));
	ck_assert_int_eq(weft_splice(listener, NULL, p[1], NULL, 1, 0),
			 -ENOTCONN);
	ck_assert_int_eq(weft_splice(p[0], NULL, listener, NULL, 1, 0),
			 -ENOTCONN);
	ck_assert_int_eq(weft_sendfile(listener, fd, NULL, 1), -ENOTCONN);
	ck_assert_int_eq(weft_splice(counter, NULL, p[1], NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_splice(p[0], NULL, timer, NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_sendfile(timer, fd, &place, 1), -EINVAL);
	ck_assert_int_eq(place, 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
}
END_TEST

static void set_most_descriptors(rlim_t n)
{
	struct rlimit limit;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* The error of the kernel, and nothing has moved. */
START_TEST(no_descriptors)
{
	struct rlimit limit;
	int fd = make_file(10);
	off_t offset = 0;
	int ends[2], p[2];
	int next = 0;

	getrlimit(RLIMIT_NOFILE, &limit);
	ck_assert(make_ends(ENDS_UNIX, false, ends));
	ck_assert(make_ends(ENDS_PIPE, false, p));
	ck_assert_int_eq(weft_fsync(fd), 0); /* opens the engine */
	while (fcntl(next, F_GETFD) >= 0)
		next++;
	set_most_descriptors((rlim_t)next);
	ck_assert_int_eq(weft_sendfile(ends[1], fd, &offset, 10), -EMFILE);
	ck_assert_int_eq(weft_splice(fd, &offset, p[1], NULL, 10, 0), -EMFILE);
	ck_assert_int_eq(offset, 0);
	set_most_descriptors(limit.rlim_cur);
	ck_assert_int_eq(weft_sendfile(ends[1], fd, &offset, 10), 10);
	ck_assert_uint_eq(drain(ends[0]), 10);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("splice");

	add_loop(s, "streams", streams_pass, 2 * N_KINDS * N_KINDS);
	add_loop(s, "files", files_pass, 2);
	add_loop(s, "tee", tee_copies, 2);
	add_loop(s, "waiting", waits_for_both_ends, N_SCENES);
	add_loop(s, "interrupted", is_interrupted, N_SCENES);
	add_loop(s, "closed", a_close_ends_the_wait, N_SCENES);
	add_loop(s, "another pipe", the_number_is_another_pipes, 2);
	add_loop(s, "traps", under_a_trap, 2);
	add_loop(s, "no SIGPIPE", no_sigpipe, 6);
	add_case(s, "no SIGPIPE, a part", no_sigpipe_after_a_part);
	add_case(s, "a pending SIGPIPE", a_pending_sigpipe_stays);
	add_loop(s, "sent", a_file_is_sent, 4 * N_KINDS);
	add_case(s, "copied", a_file_is_copied);
	add_loop(s, "sent in part", a_file_is_sent_in_part, 6 * N_KINDS);
	add_loop(s, "signals", signals_end_no_call, 2);
	add_case(s, "wrong arguments", wrong_arguments);
	add_case(s, "wrong kinds", wrong_kinds);
	add_case(s, "no descriptors", no_descriptors);
	return run_suite(s);
}
