/* SPDX-License-Identifier: MIT */
/*
 * What descriptors say of themselves that is not what was asked: half-closed
 * connections, numbers that are another file's, files that are always ready, sockets
 * that were shut down, connections that were refused or begun before, urgent data.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "ends.h"
#include "support.h"

enum { FEW_OPERATIONS = 20, MOST_READERS = 40 };

static const int64_t SHORT = 20 * WEFT_MILLISECOND;

static char bytes[4096];

static void fill(int fd)
{
	while (send(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
}

static void drain(int fd)
{
	while (recv(fd, bytes, sizeof bytes, MSG_DONTWAIT) > 0)
		;
}

static uint64_t n_operations(void)
{
	struct weft_stats stats;

	ck_assert_int_eq(weft_stats(0, &stats), 0);
	return stats.operations;
}

/* --- a peer that has shut down for writing --- */

/* Two ends; there is no room to write to the first one, and its peer will send no
 * more. */
static void make_half_closed(int ends[2])
{
	ck_assert(make_ends(ENDS_UNIX, false, ends));
	fill(ends[0]);
	ck_assert_int_eq(shutdown(ends[1], SHUT_WR), 0);
}

static int drain_soon(void *arg)
{
	weft_sleep(SHORT);
	drain(*(int *)arg);
	return 0;
}

static int shut_down_soon(void *arg)
{
	weft_sleep(WEFT_MILLISECOND);
	return shutdown(*(int *)arg, SHUT_WR);
}

/* It is not ready for writing, and a wait for that is a wait. */
START_TEST(a_poll_waits_for_room)
{
	struct pollfd p = { .events = POLLOUT };
	uint64_t before;
	int ends[2];

	ck_assert(make_ends(ENDS_UNIX, false, ends));
	fill(ends[0]);
	p.fd = ends[0];
	if (_i)
		weft_spawn(shut_down_soon, &ends[1]);
	else
		ck_assert_int_eq(shutdown(ends[1], SHUT_WR), 0);
	before = n_operations();
	ck_assert_int_eq(weft_poll(&p, 1, 20), 0);
	ck_assert_uint_lt(n_operations() - before, FEW_OPERATIONS);
	weft_spawn(drain_soon, &ends[1]);
	ck_assert_int_eq(weft_poll(&p, 1, -1), 1);
	ck_assert_int_eq(p.revents, POLLOUT);
	ck_assert_uint_lt(n_operations() - before, 2 * FEW_OPERATIONS);
}
END_TEST

START_TEST(a_selection_waits_for_room)
{
	struct weft_case cases[2] = { { .op = WEFT_WRITABLE },
				      { .op = WEFT_AT } };
	int ends[2];

	make_half_closed(ends);
	cases[0].fd = ends[0];
	cases[1].when = weft_now() + SHORT;
	ck_assert_int_eq(weft_select(cases, 2, 0), 1);
	cases[1].when = WEFT_FOREVER;
	weft_spawn(drain_soon, &ends[1]);
	ck_assert_int_eq(weft_select(cases, 2, 0), 0);
	ck_assert_int_eq(cases[0].result, 0);
}
END_TEST

START_TEST(a_stream_waits_for_room)
{
	struct weft_deadline limit;
	weft_stream *stream;
	int ends[2];

	make_half_closed(ends);
	stream = weft_poll_stream(ends[0], POLLOUT);
	ck_assert(stream);
	weft_deadline_begin(&limit, weft_now() + SHORT);
	ck_assert_int_eq(weft_stream_next(stream, NULL), -ETIMEDOUT);
	weft_deadline_end(&limit);
	weft_spawn(drain_soon, &ends[1]);
	ck_assert_int_eq(weft_stream_next(stream, NULL), POLLOUT);
	weft_stream_close(stream);
}
END_TEST

static int poll_for_room(void *arg)
{
	struct pollfd p = { .fd = *(int *)arg, .events = POLLOUT };

	return weft_poll(&p, 1, -1);
}

static int select_room(void *arg)
{
	struct weft_case c = { .fd = *(int *)arg, .op = WEFT_WRITABLE };
	int rc = weft_select(&c, 1, 0);

	return rc < 0 ? rc : c.result;
}

static int stream_room(void *arg)
{
	weft_stream *stream = weft_poll_stream(*(int *)arg, POLLOUT);
	int rc = (int)weft_stream_next(stream, NULL);

	weft_stream_close(stream);
	return rc;
}

/* What has told of nothing yet, or of nothing that was asked for, is found by a
 * close. */
START_TEST(a_close_ends_the_wait)
{
	static const weft_fn waits[] = { poll_for_room, select_room,
					 stream_room };
	int ends[2];
	weft_tasklet t;

	make_half_closed(ends);
	t = weft_spawn(waits[_i], &ends[0]);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert(weft_tasklet_alive(t));
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
}
END_TEST

struct sender {
	int fd;
	ssize_t result;
};

static int send_some(void *arg)
{
	struct sender *s = arg;

	s->result = weft_send(s->fd, bytes, sizeof bytes, 0);
	return 0;
}

/* A crowd of senders gets through, too. */
START_TEST(senders_wait_for_room)
{
	struct sender senders[MOST_READERS];
	weft_tasklet tasklets[MOST_READERS];
	int ends[2];

	make_half_closed(ends);
	for (int i = 0; i < MOST_READERS; i++) {
		senders[i] = (struct sender){ .fd = ends[0] };
		tasklets[i] = weft_spawn(send_some, &senders[i]);
	}
	weft_sleep(SHORT);
	ck_assert_int_eq(senders[0].result, 0);
	for (int i = 0; i < MOST_READERS; i++)
		while (weft_tasklet_alive(tasklets[i])) {
			drain(ends[1]);
			weft_sleep(WEFT_MILLISECOND);
		}
	for (int i = 0; i < MOST_READERS; i++)
		ck_assert_int_eq(senders[i].result, sizeof bytes);
}
END_TEST

/* --- a receiver without room --- */

struct letter {
	int fd;
	struct sockaddr_storage to;
	socklen_t length; /* of the address; 0: the socket is connected */
	int flags;
	int result;
};

static int post(void *arg)
{
	struct letter *l = arg;

	l->result = (int)weft_sendto(
		l->fd, "letter", 6, l->flags,
		l->length ? (struct sockaddr *)&l->to : NULL, l->length);
	return 0;
}

/* A Unix socket with a name, which @l is for. */
static int make_receiver(struct letter *l)
{
	struct sockaddr any = { .sa_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(bind(fd, &any, sizeof any.sa_family), 0);
	l->length = sizeof l->to;
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&l->to, &l->length),
			 0);
	return fd;
}

/* Takes all the room that the receiver of @l has, by another socket. */
static void fill_receiver(const struct letter *l)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	while (sendto(fd, "x", 1, MSG_DONTWAIT, (const struct sockaddr *)&l->to,
		      l->length) == 1)
		;
	ck_assert_int_eq(errno, EAGAIN);
	close(fd);
}

/* The socket of a sender of @l, connected (1) and O_NONBLOCK (2). */
static void make_sender(struct letter *l, int kind)
{
	l->fd = socket(
		AF_UNIX,
		SOCK_DGRAM | SOCK_CLOEXEC | (kind & 2 ? SOCK_NONBLOCK : 0), 0);
	ck_assert_int_ge(l->fd, 0);
	if (kind & 1) {
		ck_assert_int_eq(
			connect(l->fd, (struct sockaddr *)&l->to, l->length),
			0);
		l->length = 0;
	}
}

/* The next one that is not of those that took the room. */
static void check_letter(int fd)
{
	ssize_t n;

	while ((n = recv(fd, bytes, sizeof bytes, MSG_DONTWAIT)) == 1)
		;
	ck_assert_int_eq(n, 6);
	ck_assert_int_eq(memcmp(bytes, "letter", 6), 0);
	ck_assert_int_eq(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT), -1);
}

static void take_one(int fd)
{
	ck_assert_int_eq(recv(fd, bytes, sizeof bytes, MSG_DONTWAIT), 1);
}

/* It waits, and is sent whole. */
START_TEST(a_datagram_waits_for_its_receiver)
{
	struct letter l = { .flags = _i & 4 ? MSG_WAITALL : 0, .result = 1 };
	int receiver = make_receiver(&l);
	uint64_t before;
	weft_tasklet t;

	fill_receiver(&l);
	make_sender(&l, _i);
	before = n_operations();
	t = weft_spawn(post, &l);
	weft_sleep(SHORT);
	ck_assert_int_eq(l.result, 1);
	ck_assert_uint_lt(n_operations() - before, 2 * FEW_OPERATIONS);
	take_one(receiver);
	weft_tasklet_join(t);
	ck_assert_int_eq(l.result, 6);
	check_letter(receiver);
}
END_TEST

static int post_by_operation(void *arg)
{
	struct letter *l = arg;
	struct iovec v = { .iov_base = (char *)"letter", .iov_len = 6 };
	struct msghdr m = { .msg_name = &l->to,
			    .msg_namelen = l->length,
			    .msg_iov = &v,
			    .msg_iovlen = 1 };
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_sendmsg(&sqe, l->fd, &m, 0);
	if (l->flags)
		sqe.flags = IOSQE_ASYNC;
	else
		sqe.ioprio = IORING_RECVSEND_POLL_FIRST;
	l->result = weft_await(&sqe);
	return 0;
}

/* However the operation asks to be begun. */
START_TEST(a_datagram_of_an_operation)
{
	struct letter l = { .flags = _i, .result = 1 };
	int receiver = make_receiver(&l);
	weft_tasklet t;

	fill_receiver(&l);
	make_sender(&l, 0);
	t = weft_spawn(post_by_operation, &l);
	weft_sleep(SHORT);
	ck_assert_int_eq(l.result, 1);
	take_one(receiver);
	weft_tasklet_join(t);
	ck_assert_int_eq(l.result, 6);
	check_letter(receiver);
}
END_TEST

/* It keeps nobody waiting who sends to somebody else, and no CPU. */
START_TEST(a_datagram_waits_for_no_other_receiver)
{
	struct letter l = { .result = 1 }, other = { .result = 1 };
	int receiver = make_receiver(&l), free_one = make_receiver(&other);
	clock_t before;
	weft_tasklet t;

	fill_receiver(&l);
	make_sender(&l, _i);
	other.fd = l.fd;
	t = weft_spawn(post, &l);
	weft_spawn(post, &other);
	before = clock();
	weft_sleep(5 * SHORT);
	ck_assert_int_lt(clock() - before, CLOCKS_PER_SEC / 40);
	ck_assert_int_eq(l.result, 1);
	ck_assert_int_eq(other.result, 6);
	check_letter(free_one);
	take_one(receiver);
	weft_tasklet_join(t);
	ck_assert_int_eq(l.result, 6);
	check_letter(receiver);
}
END_TEST

/* It is not sent, and nothing is sent in its place. */
START_TEST(a_datagram_that_may_not_wait)
{
	struct letter l = { .result = 1 };
	int receiver = make_receiver(&l);

	fill_receiver(&l);
	make_sender(&l, _i);
	weft_set_block_trap(true);
	post(&l);
	weft_set_block_trap(false);
	ck_assert_int_eq(l.result, -EAGAIN);
	weft_switch_trap(1);
	post(&l);
	weft_switch_trap(-1);
	ck_assert_int_eq(l.result, -EPERM);
	take_one(receiver);
	weft_set_block_trap(true);
	post(&l);
	weft_set_block_trap(false);
	ck_assert_int_eq(l.result, 6);
	check_letter(receiver);
}
END_TEST

/* So it is with a kill, and with a close. */
START_TEST(a_datagram_that_is_called_back)
{
	struct letter l = { .result = 1 };
	int receiver = make_receiver(&l);
	weft_tasklet t;

	fill_receiver(&l);
	make_sender(&l, _i);
	t = weft_spawn(post, &l);
	weft_sleep(SHORT);
	if (_i & 4)
		weft_tasklet_kill(t, WEFT_PENDING);
	else
		weft_close(l.fd);
	weft_tasklet_join(t);
	ck_assert_int_eq(l.result, -ECANCELED);
	while (recv(receiver, bytes, sizeof bytes, MSG_DONTWAIT) == 1)
		;
	ck_assert_int_eq(errno, EAGAIN);
}
END_TEST

/* --- urgent data --- */

static int send_urgent(void *arg)
{
	weft_sleep(WEFT_MILLISECOND);
	return (int)weft_send(*(int *)arg, "!", 1, MSG_OOB);
}

START_TEST(urgent_data_comes)
{
	struct pollfd p = { .events = POLLPRI };
	weft_stream *stream;
	int ends[2];

	ck_assert(make_ends(ENDS_TCP, false, ends));
	p.fd = ends[0];
	ck_assert_int_eq(send(ends[1], bytes, 1, 0), 1);
	ck_assert_int_eq(weft_poll(&p, 1, 20), 0);
	weft_spawn(send_urgent, &ends[1]);
	ck_assert_int_eq(weft_poll(&p, 1, -1), 1);
	ck_assert_int_eq(p.revents, POLLPRI);
	ck_assert_int_eq(recv(ends[0], bytes, 1, MSG_OOB), 1);

	stream = weft_poll_stream(ends[0], POLLPRI);
	weft_spawn(send_urgent, &ends[1]);
	ck_assert_int_eq(weft_stream_next(stream, NULL), POLLPRI);
	weft_stream_close(stream);
}
END_TEST

/* --- numbers --- */

static int poll_for_input(void *arg)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_poll_add(&sqe, *(int *)arg, POLLIN);
	return weft_await(&sqe);
}

/* A pipe's number becomes that of another pipe, while the first one has another
 * descriptor. What happens to the first one is nobody's business then. */
static void exchange_pipes(int first[2], int second[2])
{
	struct weft_deadline limit;

	ck_assert(make_ends(ENDS_PIPE, false, first));
	ck_assert_int_ge(fcntl(first[0], F_DUPFD_CLOEXEC, 0), 0);
	weft_deadline_begin(&limit, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(poll_for_input(&first[0]), -ETIMEDOUT);
	weft_deadline_end(&limit);
	ck_assert_int_eq(weft_close(first[0]), 0);
	ck_assert(make_ends(ENDS_PIPE, false, second));
	ck_assert_int_eq(second[0], first[0]);
}

START_TEST(the_number_is_another_files)
{
	int first[2], second[2];
	weft_tasklet t;

	exchange_pipes(first, second);
	t = weft_spawn(poll_for_input, &second[0]);
	weft_pump();
	ck_assert_int_eq(write(first[1], "", 1), 1);
	weft_sleep(SHORT);
	ck_assert(weft_tasklet_alive(t));
	ck_assert_int_eq(write(second[1], "", 1), 1);
	ck_assert_int_eq(weft_tasklet_join(t), POLLIN);
}
END_TEST

START_TEST(a_selection_of_a_number)
{
	struct weft_case cases[2] = { { .op = WEFT_READABLE },
				      { .op = WEFT_AT } };
	int first[2], second[2];

	exchange_pipes(first, second);
	ck_assert_int_eq(write(first[1], "", 1), 1);
	cases[0].fd = second[0];
	cases[1].when = weft_now() + SHORT;
	ck_assert_int_eq(weft_select(cases, 2, 0), 1);
}
END_TEST

/* --- files, which are always ready --- */

START_TEST(a_files_events_never_change)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *stream;
	struct pollfd p = { .fd = open(_i ? "/dev/null" : "/tmp",
				       O_RDONLY | O_CLOEXEC),
			    .events = POLLPRI };

	ck_assert_int_ge(p.fd, 0);
	ck_assert_int_eq(weft_poll(&p, 1, 20), 0);
	p.events = POLLIN;
	ck_assert_int_eq(weft_poll(&p, 1, -1), 1);

	io_uring_prep_poll_add(&sqe, p.fd, POLLPRI);
	ck_assert_int_eq(weft_await(&sqe), -EINVAL);
	io_uring_prep_poll_multishot(&sqe, p.fd, POLLIN);
	stream = weft_await_stream(&sqe);
	ck_assert(stream);
	ck_assert_int_eq(weft_stream_next_cqe(stream, &cqe), 1);
	ck_assert_int_eq(cqe.res, POLLIN);
	weft_stream_close(stream);
}
END_TEST

/* The list of mounts tells of a change to whoever asks first. */
static int mount_soon(void *arg)
{
	weft_sleep(WEFT_MILLISECOND);
	*(int *)arg = mount("none", "/tmp", "tmpfs", 0, NULL);
	return 0;
}

START_TEST(a_change_is_told_once)
{
	struct pollfd p = { .events = POLLPRI };
	int mounted = 0;
	int rc;

	if (unshare(CLONE_NEWUSER | CLONE_NEWNS)) {
		skip("no namespace of one's own");
		return;
	}
	p.fd = open("/proc/self/mounts", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(p.fd, 0);
	(void)poll(&p, 1, 0);
	ck_assert_int_eq(weft_poll(&p, 1, 20), 0);
	weft_spawn(mount_soon, &mounted);
	rc = weft_poll(&p, 1, 1000);
	if (mounted) {
		skip("nothing can be mounted");
		return;
	}
	ck_assert_int_eq(rc, 1);
	ck_assert(p.revents & POLLPRI);
}
END_TEST

/* --- datagram sockets that were shut down --- */

struct reader {
	int fd;
	int result; /* 1: still waits */
	bool is_read;
};

static int read_datagram(void *arg)
{
	struct reader *r = arg;
	char c;

	r->result = 1;
	r->result = (int)(r->is_read ? weft_read(r->fd, &c, 1)
				     : weft_recv(r->fd, &c, 1, 0));
	return 0;
}

/* All who read get 0, as from recv(2), before and after. (A read(2) with O_NONBLOCK
 * gets -EAGAIN.) */
START_TEST(a_shutdown_ends_reads)
{
	struct reader readers[MOST_READERS];
	weft_tasklet tasklets[MOST_READERS];
	int n = _i & 1 ? MOST_READERS : 1;
	int ends[2];

	ck_assert(make_ends(_i & 2 ? ENDS_DATAGRAM : ENDS_UDP, _i >= 8, ends));
	for (int i = 0; i < n; i++) {
		readers[i] =
			(struct reader){ .fd = ends[0], .is_read = _i & 4 };
		tasklets[i] = weft_spawn(read_datagram, &readers[i]);
	}
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(readers[0].result, 1);
	ck_assert_int_eq(weft_shutdown(ends[0], SHUT_RD), 0);
	for (int i = 0; i < n; i++)
		weft_tasklet_join(tasklets[i]);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(readers[i].result, 0);
	read_datagram(&readers[0]);
	ck_assert_int_eq(readers[0].result, 0);
}
END_TEST

/* A message of 0 bytes that comes of a shutdown is one without address, control data
 * and flags, as from recvmsg(2). */
START_TEST(a_shutdown_brings_no_message)
{
	struct sockaddr_storage name;
	char c, control[64];
	struct iovec v = { .iov_base = &c, .iov_len = 1 };
	struct msghdr m = { .msg_name = &name,
			    .msg_namelen = sizeof name,
			    .msg_iov = &v,
			    .msg_iovlen = 1,
			    .msg_control = control,
			    .msg_controllen = sizeof control,
			    .msg_flags = 77 };
	socklen_t length = sizeof name;
	int ends[2];

	ck_assert(make_ends(_i & 1 ? ENDS_DATAGRAM : ENDS_UDP, _i >= 2, ends));
	ck_assert_int_eq(weft_shutdown(ends[0], SHUT_RD), 0);
	ck_assert_int_eq(weft_recvmsg(ends[0], &m, 0), 0);
	ck_assert_int_eq(m.msg_namelen, 0);
	ck_assert_uint_eq(m.msg_controllen, 0);
	ck_assert_int_eq(m.msg_flags, 0);
	ck_assert_int_eq(weft_recvfrom(ends[0], &c, 1, 0,
				       (struct sockaddr *)&name, &length),
			 0);
	ck_assert_int_eq(length, 0);
}
END_TEST

/* --- connecting --- */

static struct sockaddr_in address_of(unsigned short port)
{
	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
}

static int connect_to(int fd, unsigned short port)
{
	struct sockaddr_in a = address_of(port);

	return weft_connect(fd, (struct sockaddr *)&a, sizeof a);
}

static int make_socket(bool is_nonblocking)
{
	int fd = weft_socket(
		AF_INET, SOCK_STREAM | (is_nonblocking ? SOCK_NONBLOCK : 0), 0);

	ck_assert_int_ge(fd, 0);
	return fd;
}

/* A socket that was refused is as it was before, and one that is connected says so. */
START_TEST(a_socket_connects_again)
{
	int fd = make_socket(_i);
	unsigned short port;
	int listener = listen_on_loopback(1, &port);

	close(listener);
	ck_assert_int_eq(connect_to(fd, port), -ECONNREFUSED);
	ck_assert_int_eq(connect_to(fd, port), -ECONNREFUSED);
	listener = listen_on_loopback(1, &port);
	ck_assert_int_eq(connect_to(fd, port), 0);
	ck_assert_int_eq(connect_to(fd, port), -EISCONN);
	ck_assert_int_eq(!!(fcntl(fd, F_GETFL) & O_NONBLOCK), _i);
	close(listener);
}
END_TEST

/* A call that finds a connection being made waits for that. */
START_TEST(a_connection_is_begun_already)
{
	int fd = make_socket(_i & 1);
	struct weft_deadline limit;
	unsigned short port;
	int listener = listen_on_loopback(0, &port);
	struct sockaddr_in a = address_of(port);

	/* There is no room in the backlog. */
	for (int i = 0; i < 3; i++)
		(void)connect(make_socket(true), (struct sockaddr *)&a,
			      sizeof a);
	for (int i = 0; i < 2; i++) {
		weft_deadline_begin(&limit, weft_now() + SHORT);
		ck_assert_int_eq(connect_to(fd, port), -ETIMEDOUT);
		weft_deadline_end(&limit);
	}
	ck_assert_int_eq(weft_close(fd), 0);
	close(listener);
}
END_TEST

/* A send that connects waits for that. */
START_TEST(a_send_connects)
{
	unsigned short port;
	int listener = listen_on_loopback(2, &port);
	struct sockaddr_in a = address_of(port);
	int fd = make_socket(_i & 1);
	ssize_t n;

	if (_i & 2)
		close(listener);
	n = weft_sendto(fd, "fast", 4, MSG_FASTOPEN, (struct sockaddr *)&a,
			sizeof a);
	if (n == -EOPNOTSUPP) {
		skip("TCP Fast Open is switched off");
	} else if (_i & 2) {
		ck_assert_int_eq(n, -ECONNREFUSED);
	} else {
		int peer = weft_accept(listener, NULL, NULL);

		ck_assert_int_eq(n, 4);
		ck_assert_int_eq(weft_recv_full(peer, bytes, 4, 0), 4);
		ck_assert(memcmp(bytes, "fast", 4) == 0);
	}
}
END_TEST

/* --- multishot --- */

/* Without buffers there would be one place for all that comes. */
START_TEST(many_receives_need_buffers)
{
	struct io_uring_sqe sqe = { 0 };
	struct io_uring_cqe cqe;
	weft_stream *stream;
	int ends[2];

	ck_assert(make_ends(ENDS_TCP, false, ends));
	io_uring_prep_recv_multishot(&sqe, ends[0], NULL, 0, 0);
	stream = weft_await_stream(&sqe);
	ck_assert(stream);
	ck_assert_int_eq(send(ends[1], "", 1, 0), 1);
	ck_assert_int_eq(weft_stream_next_cqe(stream, &cqe), 1);
	ck_assert_int_eq(cqe.res, -EINVAL);
	ck_assert_int_eq(weft_stream_next_cqe(stream, &cqe), 0);
	weft_stream_close(stream);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("readiness");

	add_loop(s, "a half-closed peer, polled", a_poll_waits_for_room, 2);
	add_case(s, "a half-closed peer", a_selection_waits_for_room,
		 a_stream_waits_for_room, senders_wait_for_room);
	add_loop(s, "closed", a_close_ends_the_wait, 3);
	add_case(s, "urgent data", urgent_data_comes);
	add_case(s, "another file", the_number_is_another_files,
		 a_selection_of_a_number);
	add_loop(s, "files", a_files_events_never_change, 2);
	add_case(s, "told once", a_change_is_told_once);
	add_loop(s, "datagrams", a_shutdown_ends_reads, 12);
	add_loop(s, "a full receiver", a_datagram_waits_for_its_receiver, 8);
	add_loop(s, "a full receiver", a_datagram_of_an_operation, 2);
	add_loop(s, "two receivers", a_datagram_waits_for_no_other_receiver, 1);
	add_loop(s, "a full receiver", a_datagram_that_may_not_wait, 4);
	add_loop(s, "a full receiver", a_datagram_that_is_called_back, 8);
	add_loop(s, "datagrams", a_shutdown_brings_no_message, 4);
	add_loop(s, "connected again", a_socket_connects_again, 2);
	add_loop(s, "being connected", a_connection_is_begun_already, 2);
	add_loop(s, "fast open", a_send_connects, 4);
	add_case(s, "multishot", many_receives_need_buffers);
	return run_suite(s);
}
