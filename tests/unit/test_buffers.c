/* SPDX-License-Identifier: MIT */
/*
 * Streams that receive into a pool of buffers: no byte and no message is lost, a pool
 * that has run out is a state and no error, and all buffers come back.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "allocation.h"
#include "engine/engine.h"
#include "io/stream.h"
#include "limits.h"
#include "support.h"

/* --- a kernel that has less --- */

/* The kinds of sockets and of kernels that most tests go through. */
enum { TCP_MULTISHOT, UNIX, TCP_SINGLE, TCP_BY_HAND, UNIX_BY_HAND, N_WAYS };

static bool lacks_multishot, lacks_rings;
static int n_multishot, n_single, n_polls; /* operations that were begun */

void __real_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o);
void __wrap_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o);
int __real_weft__engine_add_buffers(struct engine *e,
				    struct io_uring_buf_reg *reg);
int __wrap_weft__engine_add_buffers(struct engine *e,
				    struct io_uring_buf_reg *reg);

int __wrap_weft__engine_add_buffers(struct engine *e,
				    struct io_uring_buf_reg *reg)
{
	return lacks_rings ? -EINVAL : __real_weft__engine_add_buffers(e, reg);
}

/* An operation that does nothing, and is told to have failed. */
static void (*complete)(struct operation *o, int res, unsigned flags);

static void complete_with_error(struct operation *o, int res, unsigned flags)
{
	(void)res;
	o->complete = complete;
	complete(o, -EINVAL, flags);
}

static void submit_failing(struct engine *e, struct operation *o)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_NOP };

	complete = o->complete;
	o->complete = complete_with_error;
	__real_weft__engine_submit(e, &sqe, o);
}

void __wrap_weft__engine_submit(struct engine *e,
				const struct io_uring_sqe *sqe,
				struct operation *o)
{
	bool receives = sqe->opcode == IORING_OP_RECV ||
			sqe->opcode == IORING_OP_RECVMSG;
	bool is_multishot = receives && sqe->ioprio & IORING_RECV_MULTISHOT;

	n_multishot += is_multishot;
	n_single += receives && !is_multishot;
	n_polls += sqe->opcode == IORING_OP_POLL_ADD;
	if (is_multishot && lacks_multishot)
		submit_failing(e, o);
	else
		__real_weft__engine_submit(e, sqe, o);
}

/* --- sockets --- */

static void tcp_pair(int fds[2])
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t size = sizeof address;
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	fds[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&address, size), 0);
	ck_assert_int_eq(listen(listener, 1), 0);
	getsockname(listener, (struct sockaddr *)&address, &size);
	ck_assert_int_eq(connect(fds[1], (struct sockaddr *)&address, size), 0);
	fds[0] = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
	ck_assert_int_ge(fds[0], 0);
	close(listener);
}

/* A pair of connected sockets, in the _i-th way. */
static void make_pair(int way, int fds[2])
{
	lacks_multishot = way == TCP_SINGLE;
	lacks_rings = way == TCP_BY_HAND || way == UNIX_BY_HAND;
	if (way == UNIX || way == UNIX_BY_HAND)
		ck_assert_int_eq(
			socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds),
			0);
	else
		tcp_pair(fds);
}

static void say(int fd, const char *text)
{
	ck_assert_int_eq((int)send(fd, text, strlen(text), MSG_NOSIGNAL),
			 (int)strlen(text));
}

/* The next bytes as text; "end", or the error's name, else. */
static const char *next(weft_stream *s, void **data)
{
	static char text[64];
	ssize_t n = weft_stream_next(s, data);

	if (n > 0)
		snprintf(text, sizeof text, "%.*s", (int)n, (char *)*data);
	else
		snprintf(text, sizeof text, "%s",
			 n == 0 ? "end" : strerrorname_np((int)-n));
	return text;
}

/* The same, with the buffer given back. */
static const char *pass(weft_stream *s)
{
	void *data = NULL;
	const char *text = next(s, &data);

	weft_stream_release(s, data);
	return text;
}

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

struct reader {
	weft_stream *stream;
	int n_wanted, n;
	char texts[16][64];
	void *data[16];
	bool keeps;
};

static int read_some(void *arg)
{
	struct reader *r = arg;

	while (r->n < r->n_wanted) {
		const char *text = next(r->stream, &r->data[r->n]);

		strcpy(r->texts[r->n], text);
		if (!r->keeps)
			weft_stream_release(r->stream, r->data[r->n]);
		r->n++;
	}
	return 0;
}

static weft_tasklet start_reading(struct reader *r, weft_stream *s, int n,
				  bool keeps)
{
	weft_tasklet t;

	*r = (struct reader){ .stream = s, .n_wanted = n, .keeps = keeps };
	t = weft_spawn(read_some, r);
	weft_pump();
	return t;
}

/* --- bytes --- */

START_TEST(bytes_come_in_their_order)
{
	weft_buffers *pool;
	weft_stream *s;
	struct reader r;
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(4, 16);
	s = weft_recv_stream(fds[0], pool);
	start_reading(&r, s, 1, false);
	say(fds[1], "one");
	weft_run();
	ck_assert_str_eq(r.texts[0], "one");
	say(fds[1], "two");
	ck_assert_str_eq(pass(s), "two");
	/* no more at once than a buffer holds */
	say(fds[1], "0123456789abcdefghij");
	ck_assert_str_eq(pass(s), "0123456789abcdef");
	ck_assert_str_eq(pass(s), "ghij");
	close(fds[1]);
	ck_assert_str_eq(pass(s), "end");
	ck_assert_str_eq(pass(s), "end");
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[0]);
	ck_assert_int_eq(n_multishot > 0,
			 _i == TCP_MULTISHOT || _i == TCP_SINGLE);
	ck_assert_int_eq(n_single > 0, _i == UNIX || _i == TCP_SINGLE);
	ck_assert_int_eq(n_polls > 0, lacks_rings);
}
END_TEST

enum { BULK = 1 << 20 };

static int send_bulk(void *arg)
{
	unsigned char bytes[3000];
	int fd = *(int *)arg;
	unsigned n = 0, seed = 1;

	while (n < BULK) {
		unsigned size = 1 + (unsigned)rand_r(&seed) % 3000;
		ssize_t sent;

		for (unsigned i = 0; i < size; i++)
			bytes[i] = (unsigned char)((n + i) * 31 >> 3);
		sent = weft_send(fd, bytes, size, 0);
		if (sent < 0)
			return (int)sent;
		n += (unsigned)sent;
	}
	return close(fd);
}

/* A sender that is faster than the reader. */
START_TEST(many_bytes_through_few_buffers)
{
	weft_buffers *pool;
	weft_stream *s;
	unsigned n = 0, n_wrong = 0;
	unsigned char *data;
	ssize_t got;
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(3, 1000);
	s = weft_recv_stream(fds[0], pool);
	weft_spawn(send_bulk, &fds[1]);
	while ((got = weft_stream_next(s, (void **)&data)) > 0) {
		for (ssize_t i = 0; i < got; i++)
			n_wrong += data[i] !=
				   (unsigned char)((n + (unsigned)i) * 31 >> 3);
		n += (unsigned)got;
		weft_stream_release(s, data);
	}
	ck_assert_int_eq((int)got, 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_uint_ge(n, BULK);
	ck_assert_uint_eq(n_wrong, 0);
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[0]);
}
END_TEST

/* Each error once, and then what there is. */
START_TEST(errors_are_given_once)
{
	weft_buffers *pool;
	weft_stream *s;
	struct linger reset = { .l_onoff = 1 };
	int fds[2], fd;
	void *data = &fd;

	make_pair(_i, fds);
	pool = weft_buffers_new(4, 16);
	s = weft_recv_stream(fds[0], pool);
	setsockopt(fds[1], SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
	say(fds[0], "unread");
	settle();
	close(fds[1]);
	ck_assert_str_eq(pass(s), "ECONNRESET");
	ck_assert_str_eq(pass(s), "end");
	ck_assert_int_eq((int)weft_stream_next(s, NULL), -EINVAL);
	weft_stream_close(s);
	close(fds[0]);

	fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	s = weft_recv_stream(fd, pool);
	ck_assert_int_eq((int)weft_stream_next(s, &data), -ENOTCONN);
	ck_assert_ptr_eq(data, &fd);
	ck_assert_str_eq(pass(s), "ENOTCONN");
	weft_stream_close(s);
	close(fd);
	weft_buffers_free(pool);
}
END_TEST

/* --- pools that run out --- */

/* The kernel has only some of the buffers of a large pool at a time. All can be in
 * use at once, and again. */
START_TEST(a_large_pool_is_used_up)
{
	enum { COUNT = 400, ALL = COUNT + 1, SIZE = 16, ROUNDS = 3 };
	static char sent[ROUNDS * ALL][SIZE];
	static void *data[ALL];
	weft_buffers *pool;
	weft_stream *s;
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(COUNT, SIZE);
	s = weft_recv_stream(fds[0], pool);
	for (int i = 0; i < ROUNDS * ALL; i++)
		snprintf(sent[i], SIZE, "element %d", i);
	ck_assert_int_eq((int)send(fds[1], sent, sizeof sent, 0),
			 (int)sizeof sent);
	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < ALL; i++)
			ck_assert_int_eq((int)weft_stream_next(s, &data[i]),
					 SIZE);
		for (int i = 0; i < ALL; i++) {
			ck_assert_mem_eq(data[i], sent[round * ALL + i], SIZE);
			weft_stream_release(s, data[i]);
		}
	}
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A stream waits for a buffer, and goes on when one is given back. */
START_TEST(running_out_is_no_error)
{
	weft_buffers *pool;
	weft_stream *s, *other;
	struct reader r, r_other;
	int fds[2], others[2];

	make_pair(_i, fds);
	make_pair(_i, others);
	pool = weft_buffers_new(2, 16);
	s = weft_recv_stream(fds[0], pool);
	other = weft_recv_stream(others[0], pool);
	start_reading(&r_other, other, 4, false);
	start_reading(&r, s, 3, true);
	/* two, and the reserve */
	for (int i = 0; i < 3; i++) {
		say(fds[1], "abc");
		UNTIL(r.n == i + 1);
	}
	say(others[1], "1");
	settle();
	say(others[1], "2");
	settle();
	ck_assert_int_eq(r_other.n, 0);
	weft_stream_release(s, r.data[1]);
	UNTIL(r_other.n == 1);
	ck_assert_str_eq(r_other.texts[0], "12");
	weft_stream_release(s, r.data[0]);
	weft_stream_release(s, r.data[2]);
	for (int i = 1; i < 4; i++) {
		say(others[1], "34");
		UNTIL(r_other.n == i + 1);
		ck_assert_str_eq(r_other.texts[i], "34");
	}
	weft_stream_close(s);
	weft_stream_close(other);
	weft_buffers_free(pool);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(others[i]);
	}
}
END_TEST

/* Who has them all, and asks for more, can wait for ever. */
START_TEST(nobody_can_give_back)
{
	weft_buffers *pool;
	weft_stream *s;
	void *data[3];
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(2, 4);
	s = weft_recv_stream(fds[0], pool);
	say(fds[1], "aaaabbbbccccdddd");
	ck_assert_str_eq(next(s, &data[0]), "aaaa");
	ck_assert_str_eq(next(s, &data[1]), "bbbb");
	ck_assert_str_eq(next(s, &data[2]), "cccc");
	ck_assert_str_eq(pass(s), "EDEADLK");
	weft_stream_release(s, data[1]);
	ck_assert_str_eq(pass(s), "dddd");
	ck_assert_int_eq(memcmp(data[0], "aaaa", 4), 0);
	ck_assert_int_eq(memcmp(data[2], "cccc", 4), 0);
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* Nobody reads what one connection sends. The others get theirs. */
START_TEST(one_that_is_not_read_takes_not_all)
{
	enum { N = 20 };
	static char flood[4096];
	weft_buffers *pool;
	weft_stream *hog, *others[N];
	struct reader r;
	int fds[2], ends[N][2];

	make_pair(_i, fds);
	pool = weft_buffers_new(8, 16);
	hog = weft_recv_stream(fds[0], pool);
	memset(flood, 'x', sizeof flood);
	for (int i = 0; i < N; i++) {
		make_pair(_i, ends[i]);
		others[i] = weft_recv_stream(ends[i][0], pool);
	}
	start_reading(&r, hog, 1, false);
	ck_assert_int_gt((int)send(fds[1], flood, sizeof flood, 0), 0);
	UNTIL(r.n == 1);
	for (int round = 0; round < 3; round++) {
		for (int i = 0; i < N; i++)
			say(ends[i][1], "hello");
		for (int i = 0; i < N; i++)
			ck_assert_str_eq(pass(others[i]), "hello");
	}
	/* and nothing of its own is lost */
	for (size_t n = 16; n < sizeof flood;) {
		void *data;
		ssize_t got = weft_stream_next(hog, &data);

		ck_assert_int_gt((int)got, 0);
		n += (size_t)got;
		weft_stream_release(hog, data);
	}
	for (int i = 0; i < N; i++) {
		weft_stream_close(others[i]);
		close(ends[i][0]);
		close(ends[i][1]);
	}
	weft_stream_close(hog);
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* The kernel takes no more for it when it has its share. */
START_TEST(one_that_is_not_read_is_held_back)
{
	enum { N = 64, SLACK = 8 };
	weft_buffers *pool;
	weft_stream *hog, *other;
	struct reader r;
	int fds[2], others[2];

	make_pair(TCP_MULTISHOT, fds);
	make_pair(TCP_MULTISHOT, others);
	pool = weft_buffers_new(N, 16);
	hog = weft_recv_stream(fds[0], pool);
	other = weft_recv_stream(others[0], pool);
	start_reading(&r, hog, 1, false);
	for (int i = 0; i < N; i++) {
		say(fds[1], "0123456789abcdef");
		turn();
	}
	ck_assert_int_eq(r.n, 1);
	ck_assert_uint_le(hog->n_unread, N / 4 + SLACK);
	say(others[1], "hello");
	ck_assert_str_eq(pass(other), "hello");
	for (int i = 1; i < N; i++)
		ck_assert_str_eq(pass(hog), "0123456789abcdef");
	weft_stream_close(hog);
	weft_stream_close(other);
	weft_buffers_free(pool);
}
END_TEST

/* What a close gives back: the unread, and what was not released. */
START_TEST(close_gives_everything_back)
{
	weft_buffers *pool;
	weft_stream *s;
	void *data[5];
	int fds[2];

	pool = NULL;
	for (int round = 0; round < 3; round++) {
		make_pair(_i, fds);
		if (!pool)
			pool = weft_buffers_new(4, 4);
		s = weft_recv_stream(fds[0], pool);
		say(fds[1], "aaaabbbbccccddddeeeeffff");
		for (int i = 0; i < 5 - round; i++)
			ck_assert_str_ne(next(s, &data[i]), "EDEADLK");
		settle();
		weft_stream_close(s);
		close(fds[0]);
		close(fds[1]);
	}
	weft_buffers_free(pool);
}
END_TEST

/* --- interruptions --- */

static int read_interrupted(void *arg)
{
	struct reader *r = arg;
	struct weft_deadline deadline;

	strcpy(r->texts[0], pass(r->stream));
	r->n++;
	weft_deadline_begin(&deadline, weft_now() + WEFT_MILLISECOND);
	strcpy(r->texts[1], pass(r->stream));
	weft_deadline_end(&deadline);
	r->n++;
	strcpy(r->texts[2], pass(r->stream));
	r->n++;
	return 0;
}

/* A raise, a deadline, a kill, while the tasklet waits for bytes. */
START_TEST(interrupted_calls_lose_nothing)
{
	weft_buffers *pool;
	struct reader r = { .n = 0 };
	weft_tasklet t;
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(4, 16);
	r.stream = weft_recv_stream(fds[0], pool);
	t = weft_spawn(read_interrupted, &r);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, 0), 0);
	ck_assert_str_eq(r.texts[0], "EXDEV");
	UNTIL(r.n == 2);
	ck_assert_str_eq(r.texts[1], "ETIMEDOUT");
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_str_eq(r.texts[2], "ECANCELED");
	say(fds[1], "abc");
	settle();
	ck_assert_str_eq(pass(r.stream), "abc");
	/* bytes and a kill at once */
	t = start_reading(&r, r.stream, 2, false);
	say(fds[1], "def");
	weft_tasklet_kill(t, WEFT_PENDING);
	weft_tasklet_join(t);
	ck_assert_str_eq(r.texts[1], "ECANCELED");
	if (strcmp(r.texts[0], "def") != 0) {
		ck_assert_str_eq(r.texts[0], "ECANCELED");
		ck_assert_str_eq(pass(r.stream), "def");
	}
	weft_stream_close(r.stream);
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* The same while it waits for a buffer; and a buffer that comes with the kill is not
 * lost. */
START_TEST(interrupted_waits_for_a_buffer)
{
	weft_buffers *pool;
	weft_stream *s, *other;
	struct reader r = { .n = 0 };
	void *data[3];
	weft_tasklet t;
	int fds[2], others[2];

	make_pair(_i, fds);
	make_pair(_i, others);
	pool = weft_buffers_new(2, 4);
	s = weft_recv_stream(fds[0], pool);
	r.stream = other = weft_recv_stream(others[0], pool);
	say(fds[1], "aaaabbbbcccc");
	for (int i = 0; i < 3; i++)
		next(s, &data[i]);
	say(others[1], "abc");
	t = weft_spawn(read_interrupted, &r);
	weft_pump();
	settle();
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, 0), 0);
	ck_assert_str_eq(r.texts[0], "EXDEV");
	UNTIL(r.n == 2);
	ck_assert_str_eq(r.texts[1], "ETIMEDOUT");
	settle();
	weft_tasklet_kill(t, WEFT_PENDING);
	weft_stream_release(s, data[0]);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	if (strcmp(r.texts[2], "abc") != 0) {
		ck_assert_str_eq(r.texts[2], "ECANCELED");
		ck_assert_str_eq(pass(other), "abc");
	}
	/* the other way round, with the buffer first */
	say(fds[1], "dddd");
	next(s, &data[0]);
	say(others[1], "def");
	t = start_reading(&r, other, 2, false);
	settle();
	ck_assert_int_eq(r.n, 0);
	weft_stream_release(s, data[0]);
	weft_tasklet_kill(t, WEFT_PENDING);
	weft_tasklet_join(t);
	if (strcmp(r.texts[0], "def") != 0) {
		ck_assert_str_eq(r.texts[0], "ECANCELED");
		ck_assert_str_eq(pass(other), "def");
	}
	ck_assert_str_eq(r.texts[1], "ECANCELED");
	weft_stream_close(s);
	/* all three are there */
	say(others[1], "aaaabbbbcccc");
	ck_assert_str_eq(next(other, &data[0]), "aaaa");
	ck_assert_str_eq(next(other, &data[1]), "bbbb");
	ck_assert_str_eq(next(other, &data[2]), "cccc");
	weft_stream_close(other);
	weft_buffers_free(pool);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(others[i]);
	}
}
END_TEST

START_TEST(traps)
{
	weft_buffers *pool;
	weft_stream *s;
	void *data[3];
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(2, 4);
	s = weft_recv_stream(fds[0], pool);
	weft_set_block_trap(true);
	ck_assert_str_eq(pass(s), "EAGAIN");
	ck_assert_str_eq(pass(s), "EAGAIN");
	say(fds[1], "aaaabbbbccccdddd");
	until_readable(fds[0]);
	ck_assert_str_eq(next(s, &data[0]), "aaaa");
	ck_assert_str_eq(next(s, &data[1]), "bbbb");
	ck_assert_str_eq(next(s, &data[2]), "cccc");
	ck_assert_str_eq(pass(s), "EAGAIN"); /* no buffer */
	weft_set_block_trap(false);
	weft_stream_release(s, data[0]);
	weft_switch_trap(1);
	ck_assert_str_eq(pass(s), "dddd");
	ck_assert_str_eq(pass(s), "EPERM");
	close(fds[1]);
	until_readable(fds[0]);
	ck_assert_str_eq(pass(s), "end");
	weft_stream_close(s);
	weft_buffers_free(pool);
	weft_switch_trap(-1);
	close(fds[0]);
}
END_TEST

/* --- the ends of streams --- */

/* A closed stream takes no byte that comes later. */
START_TEST(close_leaves_what_comes_later)
{
	weft_buffers *pool;
	weft_stream *s;
	char text[8] = "";
	int fds[2];

	make_pair(_i, fds);
	pool = weft_buffers_new(4, 16);
	for (int i = 0; i < 50; i++) {
		s = weft_recv_stream(fds[0], pool);
		say(fds[1], "abc");
		ck_assert_str_eq(pass(s), "abc");
		weft_stream_close(s);
		say(fds[1], "def");
		ck_assert_int_eq((int)weft_recv(fds[0], text, 3, 0), 3);
		ck_assert_str_eq(text, "def");
	}
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(closing_the_descriptor)
{
	weft_buffers *pool;
	weft_stream *s, *waiting;
	struct reader r;
	void *data[3];
	int fds[2], others[2];

	make_pair(_i, fds);
	make_pair(_i, others);
	pool = weft_buffers_new(2, 4);
	s = weft_recv_stream(fds[0], pool);
	waiting = weft_recv_stream(others[0], pool);
	say(fds[1], "aaaabbbbcccc");
	for (int i = 0; i < 3; i++)
		next(s, &data[i]);
	say(others[1], "xyz");
	start_reading(&r, waiting, 1, false);
	settle();
	ck_assert_int_eq(weft_close(others[0]), 0);
	weft_pump();
	ck_assert_int_eq(r.n, 1);
	ck_assert_str_eq(r.texts[0], "ECANCELED");
	weft_stream_release(s, data[1]);
	ck_assert_str_eq(pass(waiting), "ECANCELED");
	weft_stream_close(waiting);

	weft_stream_release(s, data[0]);
	weft_stream_release(s, data[2]);
	start_reading(&r, s, 3, false);
	ck_assert_int_eq(r.n, 0);
	say(fds[1], "dddd");
	UNTIL(r.n == 1);
	ck_assert_int_eq(weft_close(fds[0]), 0);
	weft_run();
	ck_assert_str_eq(r.texts[0], "dddd");
	ck_assert_str_eq(r.texts[1], "ECANCELED");
	ck_assert_str_eq(r.texts[2], "ECANCELED");
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[1]);
	close(others[1]);
}
END_TEST

/* The child has what had arrived, and no more; its pool goes on. */
START_TEST(fork_with_buffers)
{
	weft_buffers *pool;
	weft_stream *s;
	struct reader r;
	int fds[2], status = -1;
	pid_t child;
	void *data;

	make_pair(_i, fds);
	pool = weft_buffers_new(4, 4);
	s = weft_recv_stream(fds[0], pool);
	say(fds[1], "aaaabbbb");
	ck_assert_str_eq(next(s, &data), "aaaa");
	ck_assert_str_eq(pass(s), "bbbb");
	start_reading(&r, s, 1, false);
	child = fork();
	if (child == 0) {
		weft_run();
		EXPECT(!strcmp(r.texts[0], "ECANCELED"));
		EXPECT(!strcmp(pass(s), "ECANCELED"));
		EXPECT(!memcmp(data, "aaaa", 4));
		weft_stream_release(s, data);
		weft_stream_close(s);
		if (is_under_valgrind())
			_exit(0);
		make_pair(_i, fds);
		s = weft_recv_stream(fds[0], pool);
		say(fds[1], "abcdefghi");
		EXPECT(!strcmp(pass(s), "abcd"));
		EXPECT(!strcmp(pass(s), "efgh"));
		EXPECT(!strcmp(pass(s), "i"));
		weft_stream_close(s);
		weft_buffers_free(pool);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	say(fds[1], "cccc");
	weft_run();
	ck_assert_str_eq(r.texts[0], "cccc");
	weft_stream_close(s);
	weft_buffers_free(pool);
}
END_TEST

static int left[2];
static weft_stream *left_stream;
static weft_buffers *left_pool;
static void *left_data;

static void *leave_a_stream(void *arg)
{
	struct reader *r = arg;

	left_pool = weft_buffers_new(4, 4);
	left_stream = weft_recv_stream(left[0], left_pool);
	next(left_stream, &left_data);
	settle();
	start_reading(r, left_stream, 5, true);
	return NULL;
}

static void *use_anothers_pool(void *arg)
{
	errno = 0;
	*(int *)arg = weft_recv_stream(left[0], left_pool) ? 0 : errno;
	return NULL;
}

/* Somebody else can close and free what is left, in either order. */
START_TEST(the_end_of_the_thread)
{
	struct reader *r = calloc(1, sizeof *r);
	int error = 0;

	if (lacks_threads())
		return;
	make_pair(_i % N_WAYS, left);
	say(left[1], "aaaabbbbccccdddd");
	join_thread(start_thread(leave_a_stream, r));
	ck_assert_int_eq(memcmp(left_data, "aaaa", 4), 0);
	ck_assert_str_eq(pass(left_stream), "EPERM");
	use_anothers_pool(&error);
	ck_assert_int_eq(error, EPERM);
	weft_stream_release(left_stream, left_data);
	if (_i < N_WAYS)
		weft_stream_close(left_stream);
	weft_buffers_free(left_pool);
	if (_i >= N_WAYS)
		weft_stream_close(left_stream);
	close(left[0]);
	close(left[1]);
	free(r);
}
END_TEST

/* --- messages --- */

static struct sockaddr_in address;

static int udp_socket(void)
{
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof address;

	address = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&address, size), 0);
	getsockname(fd, (struct sockaddr *)&address, &size);
	return fd;
}

static void post(int fd, const char *text)
{
	ck_assert_int_eq((int)sendto(fd, text, strlen(text), 0,
				     (struct sockaddr *)&address,
				     sizeof address),
			 (int)strlen(text));
}

static bool is_from(const struct weft_message *m, int fd)
{
	struct sockaddr_in own;
	socklen_t size = sizeof own;

	getsockname(fd, (struct sockaddr *)&own, &size);
	return m->header.msg_name && m->header.msg_namelen == size &&
	       !memcmp(m->header.msg_name, &own, size);
}

static bool is_text(const struct weft_message *m, const char *text)
{
	return m->size == strlen(text) &&
	       (!m->size || !memcmp(m->data, text, m->size));
}

/* By the kernel, one by one, by hand. */
static void choose_kernel(int i)
{
	lacks_multishot = i == 1;
	lacks_rings = i == 2;
}

/* Each with its address; empty ones too, and what is too long is cut off. */
START_TEST(datagrams)
{
	struct weft_message m, kept;
	weft_buffers *pool;
	weft_stream *s;
	int sender = udp_socket();
	int fd = udp_socket();
	void *data;

	choose_kernel(_i);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 11);
	s = weft_recvmsg_stream(fd, pool);
	ck_assert_ptr_nonnull(s);
	for (int i = 0; i < 3; i++) {
		post(sender, "hello");
		post(sender, "");
		post(sender, "");
		post(sender, "elevenchars");
		post(sender, "and twelve..");
		ck_assert_int_eq(weft_stream_next_message(s, &kept), 1);
		ck_assert(is_text(&kept, "hello"));
		for (int j = 0; j < 2; j++) {
			ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
			ck_assert(is_text(&m, ""));
			ck_assert(is_from(&m, sender));
			weft_stream_release(s, m.data);
		}
		ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
		ck_assert(is_text(&m, "elevenchars"));
		ck_assert(is_from(&m, sender));
		ck_assert_int_eq(m.header.msg_flags, 0);
		ck_assert_ptr_null(m.header.msg_control);
		weft_stream_release(s, m.data);
		ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
		ck_assert(is_text(&m, "and twelve."));
		ck_assert(is_from(&m, sender));
		ck_assert_int_eq(m.header.msg_flags, MSG_TRUNC);
		weft_stream_release(s, m.data);
		ck_assert(is_text(&kept, "hello"));
		ck_assert(is_from(&kept, sender));
		weft_stream_release(s, kept.data);
	}
	ck_assert_int_eq((int)weft_stream_next(s, &data), -EINVAL);
	ck_assert_int_eq(weft_stream_next_message(s, NULL), -EINVAL);
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fd);
	close(sender);
}
END_TEST

START_TEST(control_data)
{
	struct weft_message m;
	struct in_pktinfo info;
	struct cmsghdr *c;
	weft_buffers *pool;
	weft_stream *s;
	int fd = udp_socket();
	int on = 1;

	choose_kernel(_i);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 100);
	s = weft_recvmsg_stream(fd, pool);
	setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof on);
	for (int i = 0; i < 3; i++) {
		post(fd, "hello");
		ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
		ck_assert(is_text(&m, "hello"));
		c = CMSG_FIRSTHDR(&m.header);
		ck_assert_ptr_nonnull(c);
		ck_assert_int_eq(c->cmsg_type, IP_PKTINFO);
		memcpy(&info, CMSG_DATA(c), sizeof info);
		ck_assert_uint_eq(info.ipi_addr.s_addr, htonl(INADDR_LOOPBACK));
		ck_assert_ptr_null(CMSG_NXTHDR(&m.header, c));
		weft_stream_release(s, m.data);
	}
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fd);
}
END_TEST

/* Shut for reading: the end, after what is there. */
START_TEST(shut_datagram_socket)
{
	struct weft_message m;
	weft_buffers *pool;
	weft_stream *s, *bytes;
	void *data = NULL;
	int fd = udp_socket();

	choose_kernel(_i);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 100);
	ck_assert_int_eq(
		connect(fd, (struct sockaddr *)&address, sizeof address), 0);
	bytes = weft_recv_stream(fd, pool);
	post(fd, "abc");
	post(fd, "");
	post(fd, "def");
	ck_assert_str_eq(pass(bytes), "abc");
	ck_assert_int_eq((int)weft_stream_next(bytes, &data), 0);
	ck_assert_ptr_null(data);
	ck_assert_str_eq(pass(bytes), "def");
	weft_stream_close(bytes);
	s = weft_recvmsg_stream(fd, pool);
	post(fd, "hello");
	shutdown(fd, SHUT_RD);
	ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
	ck_assert(is_text(&m, "hello"));
	weft_stream_release(s, m.data);
	/* Receiving by hand, it notices. */
	for (int i = 0; _i == 2 && i < 2; i++)
		ck_assert_int_eq(weft_stream_next_message(s, &m), 0);
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fd);
}
END_TEST

/* Sends a byte, and with it a descriptor. */
static void pass_descriptor(int socket, int fd)
{
	union {
		char bytes[CMSG_SPACE(sizeof fd)];
		struct cmsghdr aligned;
	} control = { .bytes = "" };
	char byte = 'd';
	struct iovec iov = { .iov_base = &byte, .iov_len = 1 };
	struct msghdr m = { .msg_iov = &iov,
			    .msg_iovlen = 1,
			    .msg_control = &control,
			    .msg_controllen = sizeof control };
	struct cmsghdr *c = CMSG_FIRSTHDR(&m);

	c->cmsg_level = SOL_SOCKET;
	c->cmsg_type = SCM_RIGHTS;
	c->cmsg_len = CMSG_LEN(sizeof fd);
	memcpy(CMSG_DATA(c), &fd, sizeof fd);
	ck_assert_int_eq((int)sendmsg(socket, &m, 0), 1);
}

/* Those that nobody takes are closed. */
START_TEST(passed_descriptors)
{
	static const int types[] = { SOCK_STREAM, SOCK_DGRAM, SOCK_SEQPACKET };
	struct weft_message m;
	weft_buffers *pool;
	weft_stream *s;
	int fds[2], fd, n;

	choose_kernel(_i % 3);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 101);
	settle();
	n = n_descriptors();
	ck_assert_int_eq(
		socketpair(AF_UNIX, types[_i / 3] | SOCK_CLOEXEC, 0, fds), 0);
	s = weft_recvmsg_stream(fds[0], pool);
	pass_descriptor(fds[1], fds[0]);
	ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
	ck_assert(is_text(&m, "d"));
	memcpy(&fd, CMSG_DATA(CMSG_FIRSTHDR(&m.header)), sizeof fd);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	weft_stream_release(s, m.data);
	close(fd);
	/* One is received while nobody waits. */
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_stream_next_message(s, &m), -EAGAIN);
	weft_set_block_trap(false);
	pass_descriptor(fds[1], fds[0]);
	settle();
	pass_descriptor(fds[1], fds[0]);
	weft_stream_close(s);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(n_descriptors(), n);
	weft_buffers_free(pool);
}
END_TEST

/* So are descriptors of the senders' processes, where messages bring them. */
START_TEST(passed_processes)
{
	enum {
		PASS_PIDFD = 76,
		OF_PIDFD = 4
	}; /* SO_PASSPIDFD and SCM_PIDFD, from Linux 6.5 on */
	const int on = 1;
	struct weft_message m;
	struct cmsghdr *c;
	weft_buffers *pool;
	weft_stream *s;
	int fds[2], fd, n;

	choose_kernel(_i);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 101);
	settle();
	n = n_descriptors();
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds),
			 0);
	if (setsockopt(fds[0], SOL_SOCKET, PASS_PIDFD, &on, sizeof on)) {
		skip("no SO_PASSPIDFD: %s", strerror(errno));
		return;
	}
	s = weft_recvmsg_stream(fds[0], pool);
	ck_assert_int_eq(write(fds[1], "d", 1), 1);
	ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
	c = CMSG_FIRSTHDR(&m.header);
	ck_assert(c && c->cmsg_type == OF_PIDFD);
	memcpy(&fd, CMSG_DATA(c), sizeof fd);
	weft_stream_release(s, m.data);
	close(fd);
	/* One is received while nobody waits. */
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_stream_next_message(s, &m), -EAGAIN);
	weft_set_block_trap(false);
	ck_assert_int_eq(write(fds[1], "e", 1), 1);
	settle();
	weft_stream_close(s);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(n_descriptors(), n);
	weft_buffers_free(pool);
}
END_TEST

/* An address on a Unix socket, and an empty datagram, of which the kernel keeps the
 * buffer. */
START_TEST(local_datagrams)
{
	struct sockaddr sender = { .sa_family = AF_UNIX };
	struct weft_message m;
	weft_buffers *pool;
	weft_stream *s;
	int fds[2];

	choose_kernel(_i);
	pool = weft_buffers_new(5, WEFT_MESSAGE_ROOM + 101);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0, fds),
			 0);
	/* the kernel chooses a name */
	ck_assert_int_eq(bind(fds[1], &sender, sizeof sender.sa_family), 0);
	s = weft_recvmsg_stream(fds[0], pool);
	for (int i = 0; i < 3; i++) {
		say(fds[1], "hello");
		ck_assert_int_eq((int)send(fds[1], "", 0, 0), 0);
		for (int j = 0; j < 2; j++) {
			ck_assert_int_eq(weft_stream_next_message(s, &m), 1);
			ck_assert(is_text(&m, j ? "" : "hello"));
			ck_assert_ptr_nonnull(m.header.msg_name);
			ck_assert_int_eq(((struct sockaddr *)m.header.msg_name)
						 ->sa_family,
					 AF_UNIX);
			ck_assert_int_eq((int)m.header.msg_namelen, 8);
			weft_stream_release(s, m.data);
		}
	}
	weft_stream_close(s);
	weft_buffers_free(pool);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* --- who may call, and with what --- */

START_TEST(wrong_arguments)
{
	weft_buffers *pool = weft_buffers_new(1, 1);
	struct weft_message m;
	int fds[2];

	ck_assert_ptr_nonnull(pool);
	ck_assert_ptr_null(weft_buffers_new(0, 1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_buffers_new(1, 0));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_buffers_new(32769, 1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_buffers_new(1, (size_t)-1));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_recv_stream(0, NULL));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_recv_stream(-1, pool));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_ptr_null(weft_recv_stream(fds[0], pool));
	ck_assert_int_eq(errno, ENOTSOCK);
	ck_assert_ptr_null(weft_recvmsg_stream(udp_socket(), pool));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(weft_stream_next_message(NULL, &m), -EINVAL);
	weft_buffers_free(NULL);
	weft_stream_release(NULL, NULL);
	weft_buffers_free(pool);
	pool = weft_buffers_new(32768, 1);
	ck_assert_ptr_nonnull(pool);
	weft_buffers_free(pool);
}
END_TEST

/* A pool goes with its last stream. */
START_TEST(free_before_the_streams)
{
	weft_buffers *pool;
	weft_stream *s;
	int fds[2];
	long n = 0;
	const char *text = "";

	make_pair(_i, fds);
	/* the first round leaves memory of the thread's */
	for (int round = 0; round < 2; round++) {
		say(fds[1], "abc");
		n = n_allocations_alive();
		pool = weft_buffers_new(2, 4);
		s = weft_recv_stream(fds[0], pool);
		weft_buffers_free(pool);
		if (weft_recv_stream(fds[0], pool))
			break;
		text = pass(s);
		weft_stream_close(s);
		n -= n_allocations_alive();
	}
	ck_assert_str_eq(text, "abc");
	ck_assert_int_eq((int)n, 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

START_TEST(without_memory)
{
	weft_buffers *pool = NULL, *none = NULL;
	weft_stream *s = NULL;
	int errors[3] = { 0 };
	int fd = udp_socket();

	for (int n = 0; n < 2; n++) {
		fail_allocations_after(n);
		none = weft_buffers_new(2, WEFT_MESSAGE_ROOM + 1);
		errors[0] = errno;
		fail_allocations_after(-1);
		if (none)
			break;
		ck_assert_int_eq(errors[0], ENOMEM);
	}
	pool = none ? none : weft_buffers_new(2, WEFT_MESSAGE_ROOM + 1);
	for (int n = 0; n < 10 && !s; n++) {
		fail_allocations_after(n);
		s = n % 2 ? weft_recv_stream(fd, pool)
			  : weft_recvmsg_stream(fd, pool);
		errors[1] = errno;
		fail_allocations_after(-1);
		if (!s)
			ck_assert_int_eq(errors[1], ENOMEM);
	}
	ck_assert_ptr_nonnull(s);
	weft_stream_close(s);
	weft_buffers_free(pool);
	/* more than there is */
	ck_assert_ptr_null(weft_buffers_new(32768, INT_MAX));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

static weft_buffers *own_pool;
static weft_stream *own_stream;
static void *own_data;
static int own_socket, results[4];

static void in_callback(weft_tasklet from, weft_tasklet to, void *ctx)
{
	void *data;
	struct weft_message m;

	(void)from;
	(void)to;
	(void)ctx;
	weft_set_schedule_callback(NULL, NULL);
	results[0] = weft_buffers_new(1, 1) ? 0 : -errno;
	results[1] = weft_recv_stream(own_socket, own_pool) ? 0 : -errno;
	results[2] = (int)weft_stream_next(own_stream, &data);
	results[3] = weft_recvmsg_stream(own_socket, own_pool) ? 0 : -errno;
	(void)weft_stream_next_message(own_stream, &m);
	weft_stream_release(own_stream, own_data);
	weft_stream_close(own_stream);
	weft_buffers_free(own_pool);
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(callbacks_may_only_give_back)
{
	int fds[2];

	make_pair(_i, fds);
	own_socket = fds[0];
	own_pool = weft_buffers_new(1, WEFT_MESSAGE_ROOM + 1);
	own_stream = weft_recv_stream(fds[0], own_pool);
	say(fds[1], "abc");
	ck_assert_str_eq(next(own_stream, &own_data), "abc");
	weft_spawn(do_nothing, NULL);
	weft_set_schedule_callback(in_callback, NULL);
	weft_schedule();
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(results[i], -EPERM);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* --- what stops the process --- */

static void *free_it(void *pool)
{
	weft_buffers_free(pool);
	return NULL;
}

static void *release_it(void *data)
{
	weft_stream_release(own_stream, data);
	return NULL;
}

static int misuse;

static int misuse_buffers(void)
{
	char text[8];
	pthread_t thread;
	int fds[2];

	EXPECT(!socketpair(AF_UNIX, SOCK_STREAM, 0, fds));
	own_pool = weft_buffers_new(2, 8);
	own_stream = weft_recv_stream(fds[0], own_pool);
	EXPECT(send(fds[1], "abc", 3, 0) == 3);
	EXPECT(weft_stream_next(own_stream, &own_data) == 3);
	switch (misuse) {
	case 0:
		weft_stream_release(own_stream, text);
		break;
	case 1:
		weft_stream_release(own_stream, own_data);
		weft_stream_release(own_stream, own_data);
		break;
	case 2:
		weft_stream_release(weft_recv_stream(fds[0], own_pool),
				    own_data);
		break;
	case 3:
		weft_stream_release(weft_accept_stream(0), own_data);
		break;
	case 4:
		weft_buffers_free(own_pool);
		weft_buffers_free(own_pool);
		break;
	default:
		EXPECT(!pthread_create(&thread, NULL,
				       misuse == 5 ? free_it : release_it,
				       misuse == 5 ? own_pool : own_data));
		pthread_join(thread, NULL);
		break;
	}
	return 0;
}

START_TEST(misuse_stops_the_process)
{
	static const char *const texts[] = { "this stream has not given",
					     "this stream has not given",
					     "this stream has not given",
					     "no stream's",
					     "freed twice",
					     "another thread",
					     "another thread" };
	char errors[1024];

	if (lacks_threads())
		return;
	misuse = _i;
	ck_assert_int_eq(in_child(misuse_buffers, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, texts[_i]));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("buffers");

	add_loop(s, "bytes", bytes_come_in_their_order, N_WAYS);
	add_loop(s, "bytes", many_bytes_through_few_buffers, N_WAYS);
	add_loop(s, "bytes", errors_are_given_once, N_WAYS);
	add_loop(s, "running out", a_large_pool_is_used_up, N_WAYS);
	add_loop(s, "running out", running_out_is_no_error, N_WAYS);
	add_loop(s, "running out", nobody_can_give_back, N_WAYS);
	add_loop(s, "running out", one_that_is_not_read_takes_not_all, N_WAYS);
	add_case(s, "running out", one_that_is_not_read_is_held_back);
	add_loop(s, "running out", close_gives_everything_back, N_WAYS);
	add_loop(s, "interruptions", interrupted_calls_lose_nothing, N_WAYS);
	add_loop(s, "interruptions", interrupted_waits_for_a_buffer, N_WAYS);
	add_loop(s, "interruptions", traps, N_WAYS);
	add_loop(s, "the end", close_leaves_what_comes_later, N_WAYS);
	add_loop(s, "the end", closing_the_descriptor, N_WAYS);
	if (!UNDER_TSAN) /* which takes the child for another thread */
		add_loop(s, "the end", fork_with_buffers, N_WAYS);
	add_loop(s, "the end", the_end_of_the_thread, 2 * N_WAYS);
	add_loop(s, "messages", datagrams, 3);
	add_loop(s, "messages", control_data, 3);
	add_loop(s, "messages", shut_datagram_socket, 3);
	add_loop(s, "messages", passed_descriptors, 9);
	add_loop(s, "messages", passed_processes, 3);
	add_loop(s, "messages", local_datagrams, 3);
	add_loop(s, "calls", free_before_the_streams, N_WAYS);
	add_loop(s, "calls", callbacks_may_only_give_back, N_WAYS);
	add_loop(s, "calls", misuse_stops_the_process, 7);
	add_case(s, "calls", wrong_arguments, without_memory);
	return run_suite(s);
}
