/* SPDX-License-Identifier: MIT */
/*
 * Sockets: messages with their addresses and descriptors, on sockets of each kind,
 * O_NONBLOCK or not; and the calls that go on until all has been moved.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>

#include "ends.h"
#include "support.h"

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

static int ends[2]; /* received by the first, sent by the second */
static char buffer[64];

/* --- the calls, as one kind each --- */

typedef ssize_t move_fn(int fd, char *data, size_t size);

static ssize_t by_recv(int fd, char *data, size_t size)
{
	return weft_recv(fd, data, size, 0);
}

static ssize_t by_recvfrom(int fd, char *data, size_t size)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;

	return weft_recvfrom(fd, data, size, 0, (struct sockaddr *)&addr, &len);
}

static ssize_t by_recvfrom_nobody(int fd, char *data, size_t size)
{
	return weft_recvfrom(fd, data, size, 0, NULL, NULL);
}

static ssize_t by_recvmsg(int fd, char *data, size_t size)
{
	struct iovec iov[3] = { { data, size / 2 },
				{ NULL, 0 },
				{ data + size / 2, size - size / 2 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	return weft_recvmsg(fd, &msg, 0);
}

static ssize_t by_readv(int fd, char *data, size_t size)
{
	struct iovec iov[3] = { { data, size / 3 },
				{ NULL, 0 },
				{ data + size / 3, size - size / 3 } };

	return weft_readv(fd, iov, 3);
}

static ssize_t by_read(int fd, char *data, size_t size)
{
	return weft_read(fd, data, size);
}

static move_fn *const receives[] = {
	by_recv, by_recvfrom, by_recvfrom_nobody, by_recvmsg, by_readv, by_read
};

static ssize_t by_send(int fd, char *data, size_t size)
{
	return weft_send(fd, data, size, 0);
}

static ssize_t by_sendto(int fd, char *data, size_t size)
{
	return weft_sendto(fd, data, size, 0, NULL, 0);
}

static ssize_t by_sendmsg(int fd, char *data, size_t size)
{
	struct iovec iov[3] = { { data, 1 },
				{ NULL, 0 },
				{ data + 1, size - 1 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 3 };

	return weft_sendmsg(fd, &msg, 0);
}

static ssize_t by_send_full(int fd, char *data, size_t size)
{
	return weft_send_full(fd, data, size, 0);
}

static ssize_t by_writev(int fd, char *data, size_t size)
{
	struct iovec iov[3] = { { data, 1 },
				{ NULL, 0 },
				{ data + 1, size - 1 } };

	return weft_writev(fd, iov, 3);
}

static ssize_t by_write(int fd, char *data, size_t size)
{
	return weft_write(fd, data, size);
}

static move_fn *const sends[] = { by_send,      by_sendto, by_sendmsg,
				  by_send_full, by_writev, by_write };

/* The first of these never raise SIGPIPE. */
enum { N_QUIET = 4 };

/* Loop tests run for each kind of socket, O_NONBLOCK or not. */
enum { FIRST_SOCKET = ENDS_TCP, N_WAYS = 2 * (N_ENDS_KINDS - FIRST_SOCKET) };

static enum ends_kind kind_of(int way)
{
	return (enum ends_kind)(FIRST_SOCKET + way / 2);
}

static bool is_stream(enum ends_kind kind)
{
	return kind == ENDS_TCP || kind == ENDS_UNIX;
}

static void open_ends(int way)
{
	ck_assert_msg(make_ends(kind_of(way), way % 2, ends), "no %s",
		      ends_names[kind_of(way)]);
}

static void close_ends(void)
{
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[1]), 0);
}

struct call {
	move_fn *move;
	int fd;
	char *data;
	size_t size;
	ssize_t n, next;
	weft_tasklet self;
};

static int make_call(void *arg)
{
	struct call *c = arg;

	c->n = c->move(c->fd, c->data, c->size);
	return 0;
}

/* A tasklet that waits in the call. */
static void begin_call(struct call *c)
{
	c->self = weft_spawn(make_call, c);
	ck_assert_int_eq(weft_pump(), 1);
}

/* --- what passes --- */

/* What is sent by any call arrives by any, whether it is there before the receiver
 * or after. */
START_TEST(all_that_is_sent_arrives)
{
	open_ends(_i);
	for (size_t i = 0; i < N_ELEMENTS(receives); i++) {
		for (size_t j = 0; j < N_ELEMENTS(sends); j++) {
			char text[32];
			struct call c = { .move = receives[i],
					  .fd = ends[0],
					  .data = buffer,
					  .size = sizeof buffer };
			int size =
				snprintf(text, sizeof text, "%zu by %zu", i, j);

			memset(buffer, 0, sizeof buffer);
			if (j % 2)
				begin_call(&c);
			ck_assert_int_eq(sends[j](ends[1], text, (size_t)size),
					 size);
			if (j % 2)
				weft_tasklet_join(c.self);
			else
				make_call(&c);
			ck_assert_int_eq(c.n, size);
			ck_assert_str_eq(buffer, text);
		}
	}
	close_ends();
}
END_TEST

/* A sender waits until its peer has made room, and no byte is lost. */
START_TEST(a_sender_waits_for_room)
{
	static char data[4096];

	open_ends(_i);
	if (kind_of(_i) == ENDS_UDP) {
		/* which drops instead */
		close_ends();
		return;
	}
	for (size_t j = 0; j < N_ELEMENTS(sends); j++) {
		struct call c = { .move = sends[j],
				  .fd = ends[1],
				  .data = data,
				  .size = sizeof data };
		size_t n_sent = 0, n_received = 0;

		do { /* until one waits */
			c.n = 0;
			c.self = weft_spawn(make_call, &c);
			if (weft_pump() == 0) {
				ck_assert_int_gt(c.n, 0);
				n_sent += (size_t)c.n;
			}
		} while (c.n > 0);
		while (c.n == 0 || n_received < n_sent + (size_t)c.n) {
			static char room[4096];
			ssize_t n = weft_recv(ends[0], room, sizeof room, 0);

			ck_assert_int_gt(n, 0);
			n_received += (size_t)n;
			weft_pump();
		}
		ck_assert_uint_eq(n_received, n_sent + (size_t)c.n);
	}
	close_ends();
}
END_TEST

static socklen_t name_of(int fd, struct sockaddr_storage *addr)
{
	socklen_t len = sizeof *addr;

	memset(addr, 0, sizeof *addr);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)addr, &len), 0);
	return len;
}

/* Two sockets that are not connected. */
static void open_unconnected(bool is_udp)
{
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr local = { .sa_family = AF_UNIX };

	for (int i = 0; i < 2; i++) {
		ends[i] =
			weft_socket(is_udp ? AF_INET : AF_UNIX, SOCK_DGRAM, 0);
		ck_assert_int_ge(ends[i], 0);
		ck_assert_int_eq(
			is_udp ? bind(ends[i], (struct sockaddr *)&in,
				      sizeof in)
			       : bind(ends[i], &local, sizeof local.sa_family),
			0);
	}
}

/* The sender's address arrives with its true length, cut if there is less room. */
START_TEST(addresses_pass)
{
	struct sockaddr_storage from, to, sender;
	socklen_t from_len, to_len, len;
	struct iovec iov = { buffer, sizeof buffer };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };

	open_unconnected(_i);
	to_len = name_of(ends[0], &to);
	from_len = name_of(ends[1], &from);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_sendto(ends[1], "abc", 3, 0,
					     (struct sockaddr *)&to, to_len),
				 3);
	memset(&sender, 0, sizeof sender);
	len = sizeof sender;
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, sizeof buffer, 0,
				       (struct sockaddr *)&sender, &len),
			 3);
	ck_assert_uint_eq(len, from_len);
	ck_assert_mem_eq(&sender, &from, len);

	memset(&sender, 0x55, sizeof sender);
	len = 3;
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, sizeof buffer, 0,
				       (struct sockaddr *)&sender, &len),
			 3);
	ck_assert_uint_eq(len, from_len);
	ck_assert_mem_eq(&sender, &from, 3);
	if (has_calls_of_the_kernel())
		ck_assert_int_eq(((unsigned char *)&sender)[3], 0x55);

	msg.msg_name = &sender;
	msg.msg_namelen = sizeof sender;
	ck_assert_int_eq(weft_recvmsg(ends[0], &msg, 0), 3);
	ck_assert_uint_eq(msg.msg_namelen, from_len);
	ck_assert_mem_eq(&sender, &from, from_len);

	/* Nothing is there: what the caller gave stays. */
	len = 7;
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, sizeof buffer,
				       MSG_DONTWAIT, (struct sockaddr *)&sender,
				       &len),
			 -EAGAIN);
	ck_assert_uint_eq(len, 7);
	close_ends();
}
END_TEST

/* A peer that is connected has none to tell. */
START_TEST(a_stream_tells_no_address)
{
	struct sockaddr_storage addr;
	socklen_t len = sizeof addr;

	open_ends(0);
	ck_assert_int_eq(weft_send(ends[1], "a", 1, 0), 1);
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, 1, 0,
				       (struct sockaddr *)&addr, &len),
			 1);
	ck_assert_uint_eq(len, 0);
	close_ends();
}
END_TEST

/* The flags of the message come back, and no others. */
START_TEST(message_flags_come_back)
{
	struct iovec iov = { buffer, 2 };
	struct msghdr msg = { .msg_iov = &iov, .msg_iovlen = 1 };
	bool is_cut = !is_stream(kind_of(_i));

	open_ends(_i);
	ck_assert_int_eq(weft_send(ends[1], "ab", 2, 0), 2);
	msg.msg_flags = -1;
	ck_assert_int_eq(weft_recvmsg(ends[0], &msg, 0), 2);
	ck_assert_int_eq(msg.msg_flags & ~MSG_EOR, 0);

	ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
	ck_assert_int_eq(weft_recvmsg(ends[0], &msg, MSG_CMSG_CLOEXEC), 2);
	ck_assert_int_eq(msg.msg_flags & ~MSG_EOR,
			 MSG_CMSG_CLOEXEC | (is_cut ? MSG_TRUNC : 0));
	if (!is_cut)
		ck_assert_int_eq(weft_recv(ends[0], buffer, 9, 0), 1);

	ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 2, MSG_PEEK), 2);
	if (is_cut)
		ck_assert_int_eq(weft_recv(ends[0], buffer, 2, MSG_TRUNC), 3);
	else
		ck_assert_int_eq(weft_recv(ends[0], buffer, 9, 0), 3);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 1, MSG_DONTWAIT), -EAGAIN);
	close_ends();
}
END_TEST

/* --- descriptors that pass --- */

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(3 * sizeof(int))];
};

static ssize_t send_descriptors(int n, const int fds[])
{
	union control control = { 0 };
	struct iovec iov = { (char[]){ 'd' }, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen =
				      CMSG_SPACE((size_t)n * sizeof(int)) };

	control.header.cmsg_len = CMSG_LEN((size_t)n * sizeof(int));
	control.header.cmsg_level = SOL_SOCKET;
	control.header.cmsg_type = SCM_RIGHTS;
	memcpy(CMSG_DATA(&control.header), fds, (size_t)n * sizeof(int));
	return weft_sendmsg(ends[1], &msg, 0);
}

/* How many arrived, or a negative errno. */
static int receive_descriptors(int fds[], int *flags)
{
	union control control;
	struct iovec iov = { buffer, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	ssize_t n = weft_recvmsg(ends[0], &msg, 0);
	size_t size;

	*flags = msg.msg_flags;
	if (n < 0)
		return (int)n;
	if (!CMSG_FIRSTHDR(&msg))
		return 0;
	ck_assert_int_eq(control.header.cmsg_type, SCM_RIGHTS);
	size = control.header.cmsg_len - CMSG_LEN(0);
	memcpy(fds, CMSG_DATA(&control.header), size);
	return (int)(size / sizeof(int));
}

/* They are close-on-exec, and work. */
START_TEST(descriptors_pass)
{
	int pipes[2], fds[3], flags;

	open_ends(2 * (ENDS_UNIX - FIRST_SOCKET));
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(send_descriptors(2, pipes), 1);
	ck_assert_int_eq(receive_descriptors(fds, &flags), 2);
	ck_assert_int_eq(flags, 0);
	ck_assert_int_eq(fcntl(fds[0], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fds[1], F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_read(pipes[0], buffer, 9), 1);
	for (int i = 0; i < 2; i++) {
		close(fds[i]);
		close(pipes[i]);
	}
	close_ends();
}
END_TEST

struct message {
	struct msghdr header;
	ssize_t n;
};

static int receive_message(void *arg)
{
	struct message *m = arg;

	m->n = weft_recvmsg(ends[0], &m->header, MSG_WAITALL);
	return 0;
}

/* A receive that has got its first bytes without any, and may want more, loses none
 * that come with the next ones. */
START_TEST(descriptors_pass_with_later_bytes)
{
	union control control;
	struct iovec iov = { buffer, 2 };
	struct message m = { .header = { .msg_iov = &iov, .msg_iovlen = 1 } };
	int fds[3], flags, n;
	weft_tasklet t;

	open_ends(2 * (ENDS_UNIX - FIRST_SOCKET));
	m.header.msg_control = &control;
	m.header.msg_controllen = sizeof control;
	t = weft_spawn(receive_message, &m);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(weft_send(ends[1], "c", 1, 0), 1);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(send_descriptors(1, ends), 1);
	weft_tasklet_join(t);
	ck_assert_int_gt(m.n, 0);
	n = m.n == 1 ? receive_descriptors(fds, &flags)
		     : !!CMSG_FIRSTHDR(&m.header);
	ck_assert_int_eq(n, 1);
	close_ends();
}
END_TEST

static struct rlimit set_most_descriptors(rlim_t n)
{
	struct rlimit before, now;

	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	now = before;
	now.rlim_cur = n;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &now), 0);
	return before;
}

/* Valgrind keeps the limit to itself, and the ring does not meet it. */
static bool lacks_limit(void)
{
	if (is_under_valgrind())
		skip("under Valgrind the kernel does not see the limit");
	return is_under_valgrind();
}

/* The limit on descriptors that leaves so many. */
static rlim_t with_room_for(int n)
{
	int fd = 0;

	while (fcntl(fd, F_GETFD) >= 0 || n-- > 0)
		fd++;
	return (rlim_t)fd;
}

/* Without room for all, those that fit arrive, and the flag says so. */
START_TEST(no_room_for_descriptors)
{
	int pipes[2], fds[3], flags, n_before;
	struct rlimit before;

	if (lacks_limit())
		return;
	open_ends(2 * (ENDS_UNIX - FIRST_SOCKET));
	ck_assert_int_eq(pipe(pipes), 0);
	ck_assert_int_eq(weft_fsync(-1), -EBADF); /* opens the engine */
	for (int room = 0; room < 3; room++) {
		n_before = n_descriptors();
		ck_assert_int_eq(
			send_descriptors(3, (int[]){ pipes[0], pipes[1], 0 }),
			1);
		before = set_most_descriptors(with_room_for(room));
		ck_assert_int_eq(receive_descriptors(fds, &flags), room);
		setrlimit(RLIMIT_NOFILE, &before);
		ck_assert_int_eq(flags, MSG_CTRUNC);
		ck_assert_int_eq(n_descriptors(), n_before + room);
		for (int i = 0; i < room; i++) {
			ck_assert_int_eq(fcntl(fds[i], F_GETFD), FD_CLOEXEC);
			close(fds[i]);
		}
	}
	close_ends();
}
END_TEST

static int receive_late(void *arg)
{
	int fds[3], flags;

	(void)arg;
	return receive_descriptors(fds, &flags);
}

/* Of a call that was interrupted, either they arrive or they are still there. */
START_TEST(an_interrupted_call_has_none)
{
	int fds[3], flags, rc, n_before;
	weft_tasklet t;

	open_ends(2 * (ENDS_UNIX - FIRST_SOCKET));
	n_before = n_descriptors() + 1; /* with a ring */
	t = weft_spawn(receive_late, NULL);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(send_descriptors(1, ends), 1);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	rc = weft_tasklet_join(t);
	if (rc == -ECANCELED)
		ck_assert_int_eq(receive_descriptors(fds, &flags), 1);
	else
		ck_assert_int_eq(rc, 1);
	ck_assert_int_ge(n_descriptors(), n_before);
	ck_assert_int_le(n_descriptors(), n_before + 2);
	close_ends();
}
END_TEST

/* --- descriptors that are made --- */

START_TEST(sockets_are_close_on_exec)
{
	int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
	close(fd);
	fd = weft_socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_GETFL) & O_NONBLOCK, O_NONBLOCK);
	close(fd);
	ck_assert_int_eq(weft_socket(-1, SOCK_STREAM, 0), -EAFNOSUPPORT);
	if (has_calls_of_the_kernel())
		ck_assert_int_eq(weft_socket(AF_INET, 0x7000, 0), -EINVAL);
	ck_assert_int_eq(weft_socket(AF_UNIX, SOCK_STREAM, 99),
			 -EPROTONOSUPPORT);
}
END_TEST

static int connect_to(unsigned short port)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = weft_socket(AF_INET, SOCK_STREAM, 0);

	ck_assert_int_eq(
		weft_connect(fd, (struct sockaddr *)&addr, sizeof addr), 0);
	return fd;
}

START_TEST(accepted_ones_are_close_on_exec)
{
	unsigned short port;
	int listener = listen_on_loopback(5, &port);

	for (int flags = 0; flags < 4; flags++) {
		struct sockaddr_in peer = { 0 };
		struct sockaddr_storage name;
		socklen_t len = sizeof peer;
		int client = connect_to(port);
		int fd = weft_accept4(listener, (struct sockaddr *)&peer, &len,
				      (flags & 1 ? SOCK_NONBLOCK : 0) |
					      (flags & 2 ? SOCK_CLOEXEC : 0));

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
		ck_assert_int_eq(!!(fcntl(fd, F_GETFL) & O_NONBLOCK),
				 flags & 1);
		ck_assert_uint_eq(len, name_of(client, &name));
		ck_assert_mem_eq(&peer, &name, len);
		close(fd);
		close(client);
	}
	ck_assert_int_eq(weft_accept4(listener, NULL, NULL, 1), -EINVAL);
	ck_assert_int_eq(weft_accept4(-1, NULL, NULL, 0), -EBADF);
	ck_assert_int_eq(weft_accept4(0, NULL, NULL, 0), -ENOTSOCK);
	close(listener);
}
END_TEST

/* A connection for which there is no descriptor stays. */
START_TEST(no_room_to_accept)
{
	unsigned short port;
	int listener = listen_on_loopback(5, &port);
	int client = connect_to(port);
	struct rlimit before;
	int fd;

	if (lacks_limit())
		return;
	before = set_most_descriptors(with_room_for(0));
	ck_assert_int_eq(weft_accept4(listener, NULL, NULL, 0), -EMFILE);
	ck_assert_int_eq(weft_socket(AF_UNIX, SOCK_STREAM, 0), -EMFILE);
	setrlimit(RLIMIT_NOFILE, &before);
	fd = weft_accept4(listener, NULL, NULL, 0);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_send(client, "a", 1, 0), 1);
	ck_assert_int_eq(weft_recv(fd, buffer, 9, 0), 1);
	close(fd);
	close(client);
	close(listener);
}
END_TEST

/* --- the end --- */

/* A peer that has gone is an error and no signal, which would end the process. */
START_TEST(no_sigpipe)
{
	if (!is_stream(kind_of(_i)) && kind_of(_i) != ENDS_SEQPACKET)
		return;
	signal(SIGPIPE, SIG_DFL);
	for (size_t j = 0; j < N_QUIET; j++) {
		ssize_t n;

		open_ends(_i);
		close(ends[0]);
		/* TCP finds out by an answer. */
		do
			n = sends[j](ends[1], buffer, 2);
		while (n == 2 && !weft_sleep(WEFT_MILLISECOND));
		ck_assert(n == -EPIPE || n == -ECONNRESET);
		ck_assert_int_eq(sends[j](ends[1], buffer, 2), -EPIPE);
		close(ends[1]);
	}
}
END_TEST

START_TEST(shutdown_ends_a_stream)
{
	enum ends_kind kind = kind_of(_i);

	open_ends(_i);
	if (is_stream(kind)) {
		struct call c = { .move = by_send,
				  .fd = ends[1],
				  .data = (char[]){ "abc" },
				  .size = 3 };

		/* A send that was begun comes before. */
		weft_spawn(make_call, &c);
		weft_schedule();
		ck_assert_int_eq(weft_shutdown(ends[1], SHUT_WR), 0);
		ck_assert_int_eq(weft_recv_full(ends[0], buffer, 9, 0), 3);
		for (size_t i = 0; i < N_ELEMENTS(receives); i++)
			ck_assert_int_eq(receives[i](ends[0], buffer, 2), 0);
		ck_assert_int_eq(c.n, 3);
		ck_assert_int_eq(weft_send(ends[1], "a", 1, 0), -EPIPE);
		ck_assert_int_eq(weft_shutdown(ends[1], 17), -EINVAL);
	}
	close_ends();
	ck_assert_int_eq(weft_shutdown(-1, SHUT_RD), -EBADF);
	ck_assert_int_eq(weft_shutdown(0, SHUT_RD), -ENOTSOCK);
	ends[0] = weft_socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(weft_shutdown(ends[0], SHUT_RD), -ENOTCONN);
	weft_close(ends[0]);
}
END_TEST

/* As for the body of a message that has none. */
START_TEST(for_no_bytes_nobody_waits)
{
	open_ends(_i);
	if (is_stream(kind_of(_i))) {
		ck_assert_int_eq(weft_recv_full(ends[0], buffer, 0, 0), 0);
		ck_assert_int_eq(weft_send_full(ends[1], "ab", 2, 0), 2);
		ck_assert_int_eq(weft_recv_full(ends[0], buffer, 0, 0), 0);
		ck_assert_int_eq(weft_recv_full(ends[0], buffer, 2, 0), 2);
		ck_assert_int_eq(
			weft_recv_full(ends[0], buffer, 0, MSG_DONTWAIT), 0);
		ck_assert_int_eq(weft_read_full(ends[0], buffer, 0), 0);
		ck_assert_int_eq(weft_send_full(ends[1], buffer, 0, 0), 0);
		ck_assert_int_eq(weft_write_full(ends[1], buffer, 0), 0);
	}
	close_ends();
	ck_assert_int_eq(weft_recv_full(-1, buffer, 0, 0), -EBADF);
	ck_assert_int_eq(weft_recv_full(0, buffer, 0, 0), -ENOTSOCK);
}
END_TEST

/* Tasklets that wait in any of these calls are told of a close. */
START_TEST(a_close_ends_calls)
{
	struct call calls[N_ELEMENTS(receives)];

	open_ends(_i);
	for (size_t i = 0; i < N_ELEMENTS(receives); i++) {
		calls[i] = (struct call){ .move = receives[i],
					  .fd = ends[0],
					  .data = buffer,
					  .size = 2 };
		weft_spawn(make_call, &calls[i]);
	}
	ck_assert_int_eq(weft_pump(), N_ELEMENTS(receives));
	close_ends();
	ck_assert_int_eq(weft_run(), 0);
	for (size_t i = 0; i < N_ELEMENTS(receives); i++)
		ck_assert_int_eq(calls[i].n, -ECANCELED);
}
END_TEST

/* --- interruptions --- */

static int call_twice(void *arg)
{
	struct call *c = arg;
	struct weft_deadline d;
	bool is_timed = c->next == 1;

	if (is_timed)
		weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	c->n = c->move(c->fd, c->data, c->size);
	if (is_timed)
		weft_deadline_end(&d);
	c->next = c->move(c->fd, c->data, c->size);
	return 0;
}

/* A kill (0), a deadline (1) and a raise (2) end the wait of any of the calls. No
 * byte is lost, and only a killed tasklet gets nothing any more. False if a sender of
 * TCP has found room, since bytes have moved on from one end to the other. */
static bool interrupt(struct call *c, int by, int way)
{
	static const int errors[] = { -ECANCELED, -ETIMEDOUT, -EXDEV };

	c->next = by;
	c->self = weft_spawn(call_twice, c);
	weft_pump();
	if (by == 0)
		weft_tasklet_kill(c->self, WEFT_PENDING);
	else if (by == 2)
		weft_tasklet_raise(c->self, EXDEV, WEFT_PENDING);
	else
		weft_sleep(2 * WEFT_MILLISECOND);
	while (c->n == 0)
		weft_sleep(WEFT_MILLISECOND);
	if (c->n == (ssize_t)c->size && kind_of(way) == ENDS_TCP)
		return false;
	ck_assert_int_eq(c->n, errors[by]);
	return true;
}

START_TEST(receivers_are_interrupted)
{
	open_ends(_i);
	for (size_t i = 0; i < N_ELEMENTS(receives); i++) {
		for (int by = 0; by < 3; by++) {
			struct call c = { .move = receives[i],
					  .fd = ends[0],
					  .data = buffer,
					  .size = 3 };

			ck_assert(interrupt(&c, by, _i));
			ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
			weft_tasklet_join(c.self);
			ck_assert_int_eq(c.next, by ? 3 : -ECANCELED);
			if (!by)
				ck_assert_int_eq(
					weft_recv(ends[0], buffer, 9, 0), 3);
			ck_assert_mem_eq(buffer, "abc", 3);
		}
	}
	close_ends();
}
END_TEST

/* Fills the way to the first end; returns how many bytes are under way. */
static size_t fill(void)
{
	static char data[512];
	size_t size = 0;
	ssize_t n;

	while ((n = weft_send(ends[1], data, sizeof data, MSG_DONTWAIT)) > 0 ||
	       (n = weft_send(ends[1], data, 1, MSG_DONTWAIT)) > 0)
		size += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	return size;
}

static size_t drain(void)
{
	static char data[4096];
	size_t size = 0;
	ssize_t n;

	while ((n = weft_recv(ends[0], data, sizeof data, MSG_DONTWAIT)) > 0)
		size += (size_t)n;
	ck_assert_int_eq(n, -EAGAIN);
	return size;
}

/* What of TCP is on its way comes a little later. */
static void drain_all(size_t size)
{
	size_t n = 0;

	while ((n += drain()) < size)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_uint_eq(n, size);
}

static bool interrupt_sender(move_fn *send, int by, int way)
{
	struct call c = { .move = send, .data = buffer, .size = 3 };
	bool is_interrupted;
	size_t size;

	open_ends(way);
	size = fill();
	c.fd = ends[1];
	is_interrupted = interrupt(&c, by, way);
	if (is_interrupted)
		drain_all(by ? size + 3 : size);
	else
		close_ends();
	weft_tasklet_join(c.self);
	if (is_interrupted) {
		ck_assert_int_eq(c.next, by ? 3 : -ECANCELED);
		close_ends();
	}
	return is_interrupted;
}

START_TEST(senders_are_interrupted)
{
	signal(SIGPIPE, SIG_IGN);
	if (kind_of(_i) == ENDS_UDP)
		return;
	for (size_t i = 0; i < N_ELEMENTS(sends); i++)
		for (int by = 0; by < 3; by++)
			while (!interrupt_sender(sends[i], by, _i))
				;
}
END_TEST

/* With a trap, a call succeeds if it need not wait. */
START_TEST(under_a_trap)
{
	open_ends(_i);
	for (int trap = 0; trap < 2; trap++) {
		int error = trap ? -EPERM : -EAGAIN;

		if (trap)
			weft_switch_trap(1);
		else
			weft_set_block_trap(true);
		for (size_t i = 0; i < N_ELEMENTS(receives); i++) {
			ck_assert_int_eq(receives[i](ends[0], buffer, 3),
					 error);
			ck_assert_int_eq(sends[i](ends[1], buffer, 3), 3);
			ck_assert_int_eq(receives[i](ends[0], buffer, 3), 3);
		}
		if (trap)
			weft_switch_trap(-1);
		else
			weft_set_block_trap(false);
	}
	ck_assert_int_eq(weft_recv_full(ends[0], buffer, 3, MSG_DONTWAIT),
			 -EAGAIN);
	close_ends();
}
END_TEST

static void ignore(int number)
{
	(void)number;
}

static int receive_all(void *arg)
{
	struct call *c = arg;

	for (int i = 0; i < 200; i++) {
		c->n = receives[(size_t)i % N_ELEMENTS(receives)](
			c->fd, c->data, c->size);
		if (c->n != 1)
			break;
	}
	return 0;
}

/* Not even with a handler that ends system calls. */
START_TEST(signals_end_no_call)
{
	struct sigaction action = { .sa_handler = ignore };
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	struct call c = { .data = buffer, .size = 1 };
	weft_tasklet t;

	open_ends(_i);
	c.fd = ends[0];
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	t = weft_spawn(receive_all, &c);
	for (int i = 0; i < 200; i++) {
		ck_assert_int_eq(sends[(size_t)i % N_ELEMENTS(sends)](
					 ends[1], (char[]){ "ab" }, 1),
				 1);
		if (i % 10 == 0)
			weft_sleep(WEFT_MILLISECOND);
	}
	weft_tasklet_join(t);
	memset(&often, 0, sizeof often);
	setitimer(ITIMER_REAL, &often, NULL);
	ck_assert_int_eq(c.n, 1);
	close_ends();
}
END_TEST

/* --- bad input --- */

/* What a call that needs a descriptor says of one that is none, or another kind. */
START_TEST(wrong_descriptors)
{
	int file = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	for (size_t i = 0; i < 4; i++) {
		ck_assert_int_eq(receives[i](-1, buffer, 1), -EBADF);
		ck_assert_int_eq(receives[i](1000000, buffer, 1), -EBADF);
		ck_assert_int_eq(receives[i](INT_MIN, buffer, 1), -EBADF);
		ck_assert_int_eq(receives[i](file, buffer, 1), -ENOTSOCK);
		ck_assert_int_eq(sends[i](-1, buffer, 1), -EBADF);
		ck_assert_int_eq(sends[i](file, buffer, 1), -ENOTSOCK);
	}
	close(file);
}
END_TEST

START_TEST(wrong_messages)
{
	static struct iovec many[IOV_MAX + 1];
	struct sockaddr_storage addr = { .ss_family = AF_UNIX };
	struct msghdr msg = { .msg_iov = many, .msg_iovlen = IOV_MAX + 1 };
	socklen_t len = sizeof addr;

	open_ends(_i);
	ck_assert_int_eq(weft_recvmsg(ends[0], &msg, 0), -EMSGSIZE);
	ck_assert_int_eq(weft_sendmsg(ends[1], &msg, 0), -EMSGSIZE);
	for (int i = 0; i < IOV_MAX; i++)
		many[i] = (struct iovec){ buffer, i == 77 };
	msg.msg_iovlen = IOV_MAX;
	ck_assert_int_eq(weft_sendmsg(ends[1], &msg, 0), 1);
	ck_assert_int_eq(weft_recvmsg(ends[0], &msg, 0), 1);
	ck_assert_int_eq(
		weft_sendto(ends[1], "a", 1, 0, (struct sockaddr *)&addr, 1000),
		-EINVAL);
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, 1, 0,
				       (struct sockaddr *)&addr, NULL),
			 -EFAULT);
	len = (socklen_t)-1;
	ck_assert_int_eq(weft_recvfrom(ends[0], buffer, 1, 0,
				       (struct sockaddr *)&addr, &len),
			 -EINVAL);
	if (!is_under_valgrind()) { /* which sees them, too */
		ck_assert_int_eq(weft_recvmsg(ends[0], NULL, 0), -EFAULT);
		ck_assert_int_eq(weft_sendmsg(ends[1], NULL, 0), -EFAULT);
		ck_assert_int_eq(weft_send(ends[1], NULL, 5, 0), -EFAULT);
	}
	close_ends();
}
END_TEST

/* No bytes are none, and more than an int can count are as many as there are. */
START_TEST(unusual_lengths)
{
	static const size_t huge = (size_t)INT_MAX + 5;
	char *room = malloc(64); /* the rest is never looked at */

	ck_assert(room);
	open_ends(_i);
	if (is_stream(kind_of(_i))) {
		ck_assert_int_eq(weft_send(ends[1], NULL, 0, 0), 0);
		ck_assert_int_eq(weft_recv(ends[0], NULL, 0, MSG_DONTWAIT),
				 -EAGAIN);
		ck_assert_int_eq(weft_send_full(ends[1], NULL, 0, 0), 0);
	} else {
		ck_assert_int_eq(weft_send(ends[1], NULL, 0, 0), 0);
		ck_assert_int_eq(weft_recv(ends[0], buffer, 9, 0), 0);
	}
	if (!is_under_valgrind() && !UNDER_ASAN && !UNDER_TSAN &&
	    has_calls_of_the_kernel()) {
		for (int i = 0; i < 2; i++) {
			ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
			ck_assert_int_eq(i ? weft_recv(ends[0], room, huge, 0)
					   : weft_recvfrom(ends[0], room, huge,
							   0, NULL, NULL),
					 3);
		}
		ck_assert_int_eq(weft_recv_full(ends[0], room, SIZE_MAX, 0),
				 -EINVAL);
		ck_assert_int_eq(weft_send_full(ends[0], room, SIZE_MAX, 0),
				 -EINVAL);
	}
	free(room);
	close_ends();
}
END_TEST

/* --- all of it --- */

static ssize_t by_recv_full(int fd, char *data, size_t size)
{
	return weft_recv_full(fd, data, size, 0);
}

static ssize_t by_read_full(int fd, char *data, size_t size)
{
	return weft_read_full(fd, data, size);
}

static move_fn *const full_receives[] = { by_recv_full, by_read_full };

static ssize_t by_write_full(int fd, char *data, size_t size)
{
	return weft_write_full(fd, data, size);
}

static move_fn *const full_sends[] = { by_send_full, by_write_full };

enum { BULK = 3000000 };

/* A look at the queue of errors never waits, whatever else can be received. */
START_TEST(no_error_is_queued)
{
	struct iovec v = { buffer, 1 };
	struct msghdr m = { .msg_iov = &v, .msg_iovlen = 1 };

	ck_assert(make_ends(_i / 2 ? ENDS_UDP : ENDS_TCP, _i % 2, ends));
	ck_assert_int_eq(weft_recv(ends[0], buffer, 1, MSG_ERRQUEUE), -EAGAIN);
	ck_assert_int_eq(weft_send(ends[1], "x", 1, 0), 1);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 1, MSG_ERRQUEUE), -EAGAIN);
	ck_assert_int_eq(weft_recvmsg(ends[0], &m, MSG_ERRQUEUE), -EAGAIN);
	ck_assert_int_eq(weft_recv(ends[0], buffer, 1, 0), 1);
}
END_TEST

/* More than there is room for, in one call at each end. */
START_TEST(bulk_passes)
{
	static char sent[BULK], received[BULK];
	enum ends_kind kind =
		_i / 2 ? (_i / 2 == 1 ? ENDS_TCP : ENDS_UNIX) : ENDS_PIPE;

	for (int i = 0; i < BULK; i++)
		sent[i] = (char)(i * 7 / 5);
	for (int i = 0; i < 2; i++) {
		struct call c = { .move = full_sends[kind == ENDS_PIPE || i],
				  .data = sent,
				  .size = BULK };

		ck_assert(make_ends(kind, _i % 2, ends));
		memset(received, 0, BULK);
		c.fd = ends[1];
		c.self = weft_spawn(make_call, &c);
		ck_assert_int_eq(full_receives[kind == ENDS_PIPE || i](
					 ends[0], received, BULK),
				 BULK);
		weft_tasklet_join(c.self);
		ck_assert_int_eq(c.n, BULK);
		ck_assert_mem_eq(received, sent, BULK);
		close_ends();
	}
}
END_TEST

/* Fewer bytes than asked for mean the end. */
START_TEST(full_until_the_end)
{
	for (size_t i = 0; i < 2; i++) {
		struct call c = { .move = full_receives[i],
				  .data = buffer,
				  .size = 10 };

		ck_assert(make_ends(_i ? ENDS_UNIX : ENDS_TCP, false, ends));
		c.fd = ends[0];
		begin_call(&c);
		ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
		weft_schedule();
		ck_assert_int_eq(weft_send(ends[1], "de", 2, 0), 2);
		ck_assert_int_eq(weft_pump(), 1);
		ck_assert_int_eq(weft_shutdown(ends[1], SHUT_WR), 0);
		weft_tasklet_join(c.self);
		ck_assert_int_eq(c.n, 5);
		ck_assert_mem_eq(buffer, "abcde", 5);
		ck_assert_int_eq(full_receives[i](ends[0], buffer, 10), 0);
		ck_assert_int_eq(full_receives[i](ends[0], buffer, 0), 0);
		close_ends();
	}
}
END_TEST

/* A call that has moved some returns them when it is interrupted. The error of a
 * kill (0), a deadline (1) or a raise (2) comes with the next call, whatever that
 * is. */
START_TEST(full_and_interrupted)
{
	static const int errors[] = { -ECANCELED, -ETIMEDOUT, -EXDEV };

	for (size_t i = 0; i < 4; i++) {
		static char data[BULK];
		bool is_send = i >= 2;
		struct call c = { .move = is_send ? full_sends[i - 2]
						  : full_receives[i],
				  .data = is_send ? data : buffer,
				  .size = is_send ? BULK : 10 };
		int64_t ns = 5 * WEFT_MILLISECOND;
		struct weft_deadline d;

		ck_assert(make_ends(ENDS_UNIX, _i / 3, ends));
		c.fd = ends[is_send];
		if (_i % 3 == 1) {
			/* in main, whose error comes with its next call */
			if (!is_send)
				ck_assert_int_eq(
					weft_send(ends[1], "abc", 3, 0), 3);
			/* until there was time for some */
			do {
				weft_deadline_begin(&d, weft_now() + ns);
				c.n = c.move(c.fd, c.data, c.size);
				c.next = c.move(c.fd, c.data, c.size);
				weft_deadline_end(&d);
				ns *= 4;
			} while (c.n == -ETIMEDOUT);
		} else {
			c.self = weft_spawn(call_twice, &c);
			ck_assert_int_eq(weft_pump(), 1);
			if (!is_send)
				ck_assert_int_eq(
					weft_send(ends[1], "abc", 3, 0), 3);
			weft_pump();
			if (_i % 3 == 0)
				weft_tasklet_kill(c.self, 0);
			else
				weft_tasklet_raise(c.self, EXDEV, 0);
			weft_tasklet_join(c.self);
		}
		ck_assert_int_eq(c.next, errors[_i % 3]);
		if (is_send) {
			ck_assert_int_gt(c.n, 0);
			ck_assert_uint_eq(drain(), (size_t)c.n);
		} else {
			ck_assert_int_eq(c.n, 3);
			ck_assert_mem_eq(buffer, "abc", 3);
		}
		close_ends();
	}
}
END_TEST

/* A raise that a full call has left is consumed by the next one, once. */
static int read_thrice(void *arg)
{
	struct call *c = arg;

	call_twice(arg);
	return (int)c->move(c->fd, c->data, 2);
}

START_TEST(a_raise_is_left_once)
{
	struct call c = { .move = by_recv_full, .data = buffer, .size = 10 };

	ck_assert(make_ends(ENDS_UNIX, false, ends));
	c.fd = ends[0];
	c.self = weft_spawn(read_thrice, &c);
	weft_pump();
	ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(c.self, EXDEV, WEFT_PENDING), 0);
	weft_pump();
	ck_assert_int_eq(c.n, 3);
	ck_assert_int_eq(c.next, -EXDEV);
	ck_assert_int_eq(weft_send(ends[1], "de", 2, 0), 2);
	ck_assert_int_eq(weft_tasklet_join(c.self), 2);
	close_ends();
}
END_TEST

/* Under a trap, what can be had at once is had. */
START_TEST(full_under_a_trap)
{
	ck_assert(make_ends(ENDS_UNIX, _i, ends));
	ck_assert_int_eq(weft_send(ends[1], "abc", 3, 0), 3);
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_recv_full(ends[0], buffer, 10, 0), 3);
	ck_assert_int_eq(weft_recv_full(ends[0], buffer, 10, 0), -EAGAIN);
	weft_set_block_trap(false);
	ck_assert_int_eq(weft_recv_full(ends[0], buffer, 10, MSG_PEEK),
			 -EINVAL);
	ck_assert_int_eq(weft_recv_full(-1, buffer, 10, 0), -EBADF);
	ck_assert_int_eq(weft_read_full(-1, buffer, 10), -EBADF);
	ck_assert_int_eq(weft_write_full(-1, buffer, 0), -EBADF);
	close_ends();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("socket");

	add_loop(s, "what passes", all_that_is_sent_arrives, N_WAYS);
	add_loop(s, "room", a_sender_waits_for_room, N_WAYS);
	add_loop(s, "addresses", addresses_pass, 2);
	add_case(s, "no address", a_stream_tells_no_address);
	add_loop(s, "flags", message_flags_come_back, N_WAYS);
	add_case(s, "descriptors that pass", descriptors_pass,
		 descriptors_pass_with_later_bytes, no_room_for_descriptors,
		 an_interrupted_call_has_none);
	add_case(s, "new descriptors", sockets_are_close_on_exec,
		 accepted_ones_are_close_on_exec, no_room_to_accept);
	add_loop(s, "no SIGPIPE", no_sigpipe, N_WAYS);
	add_loop(s, "shutdown", shutdown_ends_a_stream, N_WAYS);
	add_loop(s, "no bytes", for_no_bytes_nobody_waits, N_WAYS);
	add_loop(s, "close", a_close_ends_calls, N_WAYS);
	add_loop(s, "interrupted receivers", receivers_are_interrupted, N_WAYS);
	add_loop(s, "interrupted senders", senders_are_interrupted, N_WAYS);
	add_loop(s, "traps", under_a_trap, N_WAYS);
	add_loop(s, "signals", signals_end_no_call, N_WAYS);
	add_case(s, "wrong descriptors", wrong_descriptors);
	add_loop(s, "wrong messages", wrong_messages, N_WAYS);
	add_loop(s, "lengths", unusual_lengths, N_WAYS);
	add_loop(s, "errors", no_error_is_queued, 4);
	add_loop(s, "bulk", bulk_passes, 6);
	add_loop(s, "the end", full_until_the_end, 2);
	add_loop(s, "full and interrupted", full_and_interrupted, 6);
	add_case(s, "a raise is left", a_raise_is_left_once);
	add_loop(s, "full under a trap", full_under_a_trap, 2);
	return run_suite(s);
}
