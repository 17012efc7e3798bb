/* SPDX-License-Identifier: MIT */
/*
 * weft-echo against real clients.
 *
 * The server is a process of its own, the program that WEFT_ECHO names; the
 * clients are plain non-blocking sockets of this process, which does not use
 * weft. Each test starts a server, and most end it in order and check its exit
 * status and what its summary says.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limits.h"
#include "program.h"
#include "support.h"

enum {
	REQUEST = 64,
	MAX_ARGUMENTS = 5,
	STREAM = 64 * 1024 * 1024 /* more than all buffers of a socket take */
};

#define ANY_PORT "127.0.0.1:0"

/* --- the server --- */

struct server {
	struct program program;
	char address[PROGRAM_ADDRESS]; /* the first that it listens on */
};

struct summary {
	unsigned long long connections, messages, bytes;
};

/* For sockets in the file system; removed with what is in it after each test. */
static char folder[] = "/tmp/weft-echo-XXXXXX";
static char socket_path[sizeof folder + 16];
static char socket_address[sizeof socket_path + 16];

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(socket_path, sizeof socket_path, "%s/socket", folder);
	snprintf(socket_address, sizeof socket_address, "unix:%s", socket_path);
}

static void remove_folder(void)
{
	unlink(socket_path);
	rmdir(folder);
}

static const char *mode;   /* an argument more; NULL: none */
static rlim_t descriptors; /* that the server may have at most; 0: no limit */

/* For tests that take turns with the modes: the first half of the numbers @i, of
 * @n for each, are one mode's. Returns the number within that mode. */
static int choose_mode(int i, int n)
{
	mode = i / n ? "--mode=stream" : "--mode=one-shot";
	return i % n;
}

/* Runs weft-echo with @arguments, up to NULL. */
static struct program launch(const char *const *arguments)
{
	const char *all[MAX_ARGUMENTS + 1] = { mode };
	struct rlimit limit, low;
	struct program p;
	size_t n = mode ? 1 : 0;

	while (*arguments) {
		ck_assert_uint_lt(n, MAX_ARGUMENTS);
		all[n++] = *arguments++;
	}
	/* It has to raise this to serve 1,000 clients. */
	getrlimit(RLIMIT_NOFILE, &limit);
	low = limit;
	low.rlim_cur = 256;
	setrlimit(RLIMIT_NOFILE, &low);
	p = program_start("WEFT_ECHO", "tools/weft-echo", all, descriptors);
	setrlimit(RLIMIT_NOFILE, &limit);
	return p;
}

static struct server start_with(const char *const *arguments)
{
	struct server s = { .program = launch(arguments) };

	program_listens(&s.program, s.address);
	return s;
}

/* Starts it on @address and waits until it can be connected to. */
static struct server start(const char *address, const char *threads)
{
	const char *const arguments[] = { "--threads", threads, address, NULL };

	return start_with(arguments);
}

/* Ends it by @signal and reads its summary. */
static struct summary end_by(struct server *s, int signal)
{
	char text[64 * 1024];
	struct summary total = { 0 };
	const char *line;

	ck_assert_int_eq(kill(s->program.pid, signal), 0);
	ck_assert_int_eq(program_end(&s->program, text, sizeof text), 0);
	line = strstr(text, "total:");
	if (!line ||
	    sscanf(line,
		   "total: %llu connections, %llu messages, %llu bytes, %*f seconds",
		   &total.connections, &total.messages, &total.bytes) != 3)
		ck_abort_msg("no summary: %s", text);
	return total;
}

/* --- clients --- */

static int open_socket(int family, const void *name, size_t length)
{
	int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_ge(fd, 0);
	ck_assert_msg(connect(fd, name, (socklen_t)length) == 0, "connect: %s",
		      strerror(errno));
	return fd;
}

/* Connects to an address as the server printed it. */
static int dial(const char *address)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	struct sockaddr_in6 in6 = { .sin6_family = AF_INET6,
				    .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned short port;

	if (sscanf(address, "127.0.0.1:%hu", &port) == 1) {
		in.sin_port = htons(port);
		return open_socket(AF_INET, &in, sizeof in);
	}
	if (sscanf(address, "[::1]:%hu", &port) == 1) {
		in6.sin6_port = htons(port);
		return open_socket(AF_INET6, &in6, sizeof in6);
	}
	ck_assert_int_eq(sscanf(address, "unix:%107s", local.sun_path), 1);
	return open_socket(AF_UNIX, &local, sizeof local);
}

struct client {
	int fd;
	unsigned number;
	unsigned round;
	size_t received; /* of this round's answer */
	unsigned char request[REQUEST];
};

static struct client *connect_clients(const struct server *s, unsigned n)
{
	struct client *clients = calloc(n, sizeof *clients);

	ck_assert_ptr_nonnull(clients);
	for (unsigned i = 0; i < n; i++) {
		clients[i].number = i;
		clients[i].fd = dial(s->address);
	}
	return clients;
}

static void close_clients(struct client *clients, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		close(clients[i].fd);
	free(clients);
}

/* Sends a request like no other. It fits the socket's empty buffer. */
static void send_request(struct client *c)
{
	c->received = 0;
	for (size_t i = 0; i < REQUEST; i++)
		c->request[i] =
			(unsigned char)(c->number * 31 + c->round * 7 + i);
	memcpy(c->request, &c->number, sizeof c->number);
	ck_assert_int_eq(send(c->fd, c->request, REQUEST, MSG_NOSIGNAL),
			 REQUEST);
}

/* Takes what has come of the answer. True when it is complete. */
static bool receive_answer(struct client *c)
{
	unsigned char answer[REQUEST];
	ssize_t n = recv(c->fd, answer, REQUEST - c->received, 0);

	ck_assert_msg(n > 0, "client %u, round %u: recv gave %zd, %s",
		      c->number, c->round, n, n < 0 ? strerror(errno) : "end");
	ck_assert_mem_eq(answer, c->request + c->received, (size_t)n);
	c->received += (size_t)n;
	return c->received == REQUEST;
}

/* Each client sends @rounds requests, one after the other's answer, all clients
 * at a time. */
static void converse(struct client *clients, unsigned n, unsigned rounds)
{
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event events[64];
	unsigned n_left = n;

	ck_assert_int_ge(epoll, 0);
	for (unsigned i = 0; i < n; i++) {
		struct epoll_event event = { .events = EPOLLIN,
					     .data.ptr = &clients[i] };

		ck_assert_int_eq(
			epoll_ctl(epoll, EPOLL_CTL_ADD, clients[i].fd, &event),
			0);
		clients[i].round = 0;
		send_request(&clients[i]);
	}
	while (n_left) {
		int n_ready = epoll_wait(epoll, events, 64, -1);

		ck_assert(n_ready > 0 || errno == EINTR);
		for (int i = 0; i < n_ready; i++) {
			struct client *c = events[i].data.ptr;

			if (!receive_answer(c))
				continue;
			if (++c->round < rounds)
				send_request(c);
			else
				n_left--;
		}
	}
	close(epoll);
}

/* --- tests --- */

/* The sizes that are asked for, on each kind of address. */
static const struct {
	const char *address; /* NULL: a Unix one */
	const char *threads;
	unsigned clients, rounds;
} loads[] = {
	{ ANY_PORT, "1", 1, 200 },   { ANY_PORT, "1", 50, 100 },
	{ ANY_PORT, "1", 1000, 20 }, { ANY_PORT, "2", 1, 200 },
	{ ANY_PORT, "2", 50, 100 },  { ANY_PORT, "2", 1000, 20 },
	{ "[::1]:0", "2", 50, 100 }, { NULL, "1", 1, 200 },
	{ NULL, "2", 50, 100 },      { NULL, "2", 1000, 20 },
};

static bool have_ipv6(void)
{
	struct sockaddr_in6 name = { .sin6_family = AF_INET6,
				     .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM, 0);
	bool have =
		fd >= 0 && bind(fd, (struct sockaddr *)&name, sizeof name) == 0;

	if (fd >= 0)
		close(fd);
	return have;
}

/* Every client gets back what it sent, and the summary counts all of it. */
START_TEST(every_client_gets_its_answers)
{
	int which = choose_mode(_i, N_ELEMENTS(loads));
	const char *address = loads[which].address;
	unsigned n = loads[which].clients;
	struct client *clients;
	struct summary total;
	struct server s;

	if (address && address[0] == '[' && !have_ipv6())
		return;
	if (lacks_descriptors(n + 50)) /* either side */
		return;
	s = start(address ? address : socket_address, loads[which].threads);
	clients = connect_clients(&s, n);
	converse(clients, n, loads[which].rounds);
	close_clients(clients, n);
	total = end_by(&s, SIGTERM);
	ck_assert_uint_eq(total.connections, n);
	ck_assert_uint_eq(total.bytes, n * loads[which].rounds * REQUEST);
	ck_assert_uint_ge(total.messages, n);
}
END_TEST

static void reset(int fd)
{
	const struct linger hard = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(fd);
}

/* Sends until neither its own buffer nor the server's takes more, so that the
 * server is stuck in sending. How much that was. */
static size_t stuff(int fd, const unsigned char *data, size_t size)
{
	size_t n_sent = 0;
	int n_refused = 0;

	while (n_refused < 20 && n_sent < size) {
		ssize_t n = send(fd, data + n_sent, size - n_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		n_sent += n > 0 ? (size_t)n : 0;
		n_refused = n > 0 ? 0 : n_refused + 1;
		usleep(1000);
	}
	return n_sent;
}

/* Much in one piece, in both directions at once, comes back in order. */
START_TEST(a_long_stream_comes_back)
{
	struct server s =
		start(choose_mode(_i, 2) ? socket_address : ANY_PORT, "1");
	unsigned char *sent = malloc(STREAM), *received = malloc(STREAM);
	int fd = dial(s.address);
	size_t n_sent, n_received = 0;

	ck_assert(sent && received);
	for (size_t i = 0; i < STREAM; i++)
		sent[i] = (unsigned char)(i * 2654435761u >> 24);
	n_sent = stuff(fd, sent, STREAM);
	while (n_received < STREAM) {
		ssize_t n = send(fd, sent + n_sent, STREAM - n_sent,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		n_sent += n > 0 ? (size_t)n : 0;
		/* All is sent or no more fits: what comes back makes room. */
		n = recv(fd, received + n_received, STREAM - n_received, 0);
		ck_assert_int_gt(n, 0);
		n_received += (size_t)n;
	}
	ck_assert_mem_eq(sent, received, STREAM);
	close(fd);
	ck_assert_uint_eq(end_by(&s, SIGINT).bytes, STREAM);
	free(sent);
	free(received);
}
END_TEST

/* Those who go away in the middle of a message, politely or not, with answers
 * unread or not, take nothing from the others. */
START_TEST(others_go_on_when_a_client_goes_away)
{
	enum { OTHERS = 20, RUDE = 30 };
	uint64_t n_connections;
	struct server s =
		start(choose_mode(_i, 2) ? socket_address : ANY_PORT, "2");
	struct client *others = connect_clients(&s, OTHERS);
	unsigned char *data = calloc(1, STREAM);
	int stuffed;

	ck_assert_ptr_nonnull(data);
	converse(others, OTHERS, 5);
	for (int i = 0; i < RUDE; i++) {
		int fd = dial(s.address);

		ck_assert_int_eq(send(fd, "0123456789", 10, MSG_NOSIGNAL), 10);
		/* Half of them may be gone before they are accepted. */
		if (i % 2)
			program_answers(fd);
		if (i % 3 == 0)
			close(fd);
		else if (i % 3 == 1)
			reset(fd);
		else
			ck_assert_int_eq(shutdown(fd, SHUT_RDWR), 0);
		converse(others, OTHERS, 2);
		if (i % 3 == 2)
			close(fd);
	}
	stuffed = dial(s.address);
	ck_assert_uint_lt(stuff(stuffed, data, STREAM), STREAM);
	free(data);
	program_answers(stuffed);
	converse(others, OTHERS, 5);
	reset(stuffed);
	converse(others, OTHERS, 5);
	close_clients(others, OTHERS);
	n_connections = end_by(&s, SIGTERM).connections;
	ck_assert_uint_ge(n_connections, OTHERS + RUDE / 2 + 1);
	ck_assert_uint_le(n_connections, OTHERS + RUDE + 1);
}
END_TEST

/* Of a port that the server said, by the loopback of one kind. */
static void echoes_at(const char *format, int port)
{
	char address[64], data[4];
	int fd;

	snprintf(address, sizeof address, format, port);
	fd = dial(address);
	ck_assert_int_eq(send(fd, "ping", 4, 0), 4);
	ck_assert_int_eq(recv(fd, data, 4, MSG_WAITALL), 4);
	ck_assert_mem_eq(data, "ping", 4);
	close(fd);
}

static bool has_ipv6(void)
{
	const struct sockaddr_in6 name = { .sin6_family = AF_INET6,
					   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0);
	bool has = fd >= 0 &&
		   bind(fd, (const struct sockaddr *)&name, sizeof name) == 0;

	if (fd >= 0)
		close(fd);
	return has;
}

/* "*" is all addresses, of IPv4 and IPv6, with one thread and with two. */
START_TEST(all_addresses)
{
	struct server s = start("*:0", _i ? "2" : "1");
	int port = atoi(strrchr(s.address, ':') + 1);

	echoes_at("127.0.0.1:%d", port);
	if (has_ipv6())
		echoes_at("[::1]:%d", port);
	end_by(&s, SIGTERM);
}
END_TEST

/* Datagrams of all sizes come back to where they came from. */
START_TEST(datagrams)
{
	static char data[65507], back[65507];
	struct sockaddr_in name = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct server s;
	const char *colon;
	int fds[3];

	choose_mode(_i, 1);
	s = start("udp:127.0.0.1:0", "2");
	colon = strrchr(s.address, ':');
	ck_assert_int_eq(strncmp(s.address, "udp:127.0.0.1:", 14), 0);
	name.sin_port = htons((uint16_t)atoi(colon + 1));
	memset(data, 'd', sizeof data);
	for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
		fds[i] = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(
			connect(fds[i], (struct sockaddr *)&name, sizeof name),
			0);
	}
	for (int size = 0; size <= (int)sizeof data; size = size * 3 + 1)
		for (size_t i = 0; i < N_ELEMENTS(fds); i++) {
			data[0] = (char)('0' + i);
			ck_assert_int_eq(send(fds[i], data, (size_t)size, 0),
					 size);
			ck_assert_int_eq(recv(fds[i], back, sizeof back, 0),
					 size);
			ck_assert_mem_eq(back, data, (size_t)size);
		}
	/* Nobody is there any more for the answer. */
	ck_assert_int_eq(send(fds[0], data, 100, 0), 100);
	close(fds[0]);
	ck_assert_int_eq(send(fds[1], data, 10, 0), 10);
	ck_assert_int_eq(recv(fds[1], back, sizeof back, 0), 10);
	ck_assert_uint_gt(end_by(&s, SIGTERM).messages, 30);
}
END_TEST

/* Two are served. The third is when one of them has left. */
START_TEST(connections_are_limited)
{
	const char *const arguments[] = { "--connections=2", ANY_PORT, NULL };
	struct client *two;
	struct server s;
	int third;
	char byte;

	choose_mode(_i, 1);
	s = start_with(arguments);
	two = connect_clients(&s, 2);
	third = dial(s.address);
	converse(two, 2, 3);
	ck_assert_int_eq(send(third, "x", 1, 0), 1);
	converse(two, 2, 30);
	ck_assert_int_eq(recv(third, &byte, 1, MSG_DONTWAIT), -1);
	close_clients(two, 2);
	ck_assert_int_eq(recv(third, &byte, 1, 0), 1);
	close(third);
	ck_assert_uint_eq(end_by(&s, SIGTERM).connections, 3);
}
END_TEST

/* Whoever says nothing is cut off, and that is told. */
START_TEST(idle_connections_are_closed)
{
	const char *const arguments[] = { "--idle=50ms", ANY_PORT, NULL };
	struct server s;
	char text[4096], byte;
	int silent;

	choose_mode(_i, 1);
	s = start_with(arguments);
	silent = dial(s.address);
	ck_assert_int_eq(recv(silent, &byte, 1, 0), 0);
	close(silent);
	kill(s.program.pid, SIGTERM);
	ck_assert_int_eq(program_end(&s.program, text, sizeof text), 0);
	ck_assert_msg(strstr(text, "1 closed for being idle"), "%s", text);
}
END_TEST

/* If there are no descriptors left, it says so once, and goes on with those who leave. */
START_TEST(connections_wait_for_descriptors)
{
	enum { DESCRIPTORS = 32, CLIENTS = 2 * DESCRIPTORS };
	char text[4096], byte;
	struct client *clients;
	const char *told;
	struct server s;

	if (lacks_reads_at_once())
		return; /* fewer come while the first are served */
	choose_mode(_i, 1);
	descriptors = DESCRIPTORS;
	s = start(ANY_PORT, "1");
	clients = connect_clients(&s, CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++)
		ck_assert_int_eq(send(clients[i].fd, "x", 1, 0), 1);
	while (program_files(&s.program) < DESCRIPTORS)
		usleep(1000);
	usleep(50000); /* it tries to accept one more */
	for (unsigned i = 0; i < CLIENTS; i++) {
		ck_assert_int_eq(recv(clients[i].fd, &byte, 1, 0), 1);
		ck_assert_int_eq(shutdown(clients[i].fd, SHUT_WR), 0);
	}
	close_clients(clients, CLIENTS);
	kill(s.program.pid, SIGTERM);
	ck_assert_int_eq(program_end(&s.program, text, sizeof text), 0);
	told = strstr(text, "cannot accept");
	ck_assert_msg(told && !strstr(told + 1, "cannot accept"), "%s", text);
	ck_assert_msg(strstr(text, "total: 64 connections"), "%s", text);
}
END_TEST

/* A signal ends it while clients are connected: what had arrived is sent back,
 * and then each connection ends. */
START_TEST(the_end_answers_what_had_arrived)
{
	enum { CLIENTS = 50 };
	struct server s =
		start(choose_mode(_i, 2) ? socket_address : ANY_PORT, "2");
	struct client *clients = connect_clients(&s, CLIENTS);
	char byte;

	converse(clients, CLIENTS, 1);
	/* The requests and the signal are there when it comes to look. */
	ck_assert_int_eq(kill(s.program.pid, SIGSTOP), 0);
	ck_assert_int_eq(waitpid(s.program.pid, NULL, WUNTRACED),
			 s.program.pid);
	for (unsigned i = 0; i < CLIENTS; i++)
		send_request(&clients[i]);
	ck_assert_int_eq(kill(s.program.pid, SIGTERM), 0);
	ck_assert_int_eq(kill(s.program.pid, SIGCONT), 0);
	ck_assert_uint_eq(end_by(&s, SIGTERM).connections, CLIENTS);
	for (unsigned i = 0; i < CLIENTS; i++) {
		while (!receive_answer(&clients[i]))
			;
		ck_assert_int_eq(recv(clients[i].fd, &byte, 1, 0), 0);
	}
	close_clients(clients, CLIENTS);
	ck_assert_int_eq(access(socket_path, F_OK), -1);
}
END_TEST

/* A client that takes nothing and one that never stops do not hold up the
 * end. */
START_TEST(the_end_does_not_wait_for_ever)
{
	struct server s =
		start(choose_mode(_i, 2) ? socket_address : ANY_PORT, "2");
	int stuffed = dial(s.address);
	int busy = dial(s.address);
	unsigned char *data = calloc(1, STREAM);
	char request[REQUEST] = "";
	pid_t pid;

	ck_assert_ptr_nonnull(data);
	ck_assert_uint_lt(stuff(stuffed, data, STREAM), STREAM);
	free(data);
	/* both have come */
	ck_assert_int_eq(send(busy, request, sizeof request, 0), REQUEST);
	ck_assert_int_eq(recv(busy, request, sizeof request, MSG_WAITALL),
			 REQUEST);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		while (send(busy, request, sizeof request, MSG_NOSIGNAL) > 0 &&
		       recv(busy, request, sizeof request, 0) > 0)
			;
		_exit(0);
	}
	ck_assert_uint_eq(end_by(&s, SIGTERM).connections, 2);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	close(stuffed);
	close(busy);
}
END_TEST

/* One who waits for room until the others are cut off does not hold it up either. */
START_TEST(the_end_lets_nobody_in)
{
	const char *const arguments[] = { "--connections=1",
					  _i ? "--mode=stream"
					     : "--mode=one-shot",
					  ANY_PORT, NULL };
	struct server s = start_with(arguments);
	int stuffed = dial(s.address), waits;
	unsigned char *data = calloc(1, STREAM);

	ck_assert_ptr_nonnull(data);
	ck_assert_uint_lt(stuff(stuffed, data, STREAM), STREAM);
	free(data);
	/* that one is served, and another asks */
	program_answers(stuffed);
	waits = dial(s.address);
	usleep(20000); /* most often it is accepted */
	ck_assert_uint_eq(end_by(&s, SIGTERM).connections, 1);
	close(stuffed);
	close(waits);
}
END_TEST

/* Returns when nobody listens there any more. The kernel lets go of a listening
 * socket only some time after the end of a process that was accepting on it
 * through an io_uring. */
static void wait_until_refused(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	bool is_refused = false;

	strcpy(name.sun_path, path);
	while (!is_refused) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		is_refused =
			connect(fd, (struct sockaddr *)&name, sizeof name) &&
			errno == ECONNREFUSED;
		close(fd);
		usleep(1000);
	}
}

/* The file of a server that was killed is in nobody's way. */
START_TEST(a_stale_socket_file_is_replaced)
{
	struct server s = start(socket_address, "1");
	struct client *clients;

	ck_assert_int_eq(kill(s.program.pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(s.program.pid, NULL, 0), s.program.pid);
	fclose(s.program.output);
	wait_until_refused(socket_path);

	s = start(socket_address, "1");
	clients = connect_clients(&s, 1);
	converse(clients, 1, 1);
	close_clients(clients, 1);
	end_by(&s, SIGTERM);
	ck_assert_int_eq(access(socket_path, F_OK), -1);
}
END_TEST

/* The exit status of a server that must not start, and what it says. */
static int refuse(const char *const *arguments, char *text, size_t size)
{
	struct program p = launch(arguments);

	return program_end(&p, text, size);
}

/* An address that a server has is refused to the next one and stays usable. */
START_TEST(an_address_in_use_is_named)
{
	struct server s = start(_i ? socket_address : ANY_PORT, "2");
	const char *const arguments[] = { "--threads=2", s.address, NULL };
	struct client *clients;
	char text[4096];

	ck_assert_int_eq(refuse(arguments, text, sizeof text), 1);
	ck_assert_ptr_nonnull(strstr(text, s.address));
	ck_assert_ptr_nonnull(strstr(text, strerror(EADDRINUSE)));
	clients = connect_clients(&s, 1);
	converse(clients, 1, 1);
	close_clients(clients, 1);
	end_by(&s, SIGTERM);
}
END_TEST

static const struct mistake mistakes[] = {
	{ { "nowhere" }, 64, { "'nowhere'", "HOST:PORT" } },
	{ { ":7777" }, 64, { "':7777'", "HOST:PORT" } },
	{ { "::1:7777" }, 64, { "'::1:7777'", "[IPV6]:PORT" } },
	{ { "[::1]" }, 64, { "'[::1]'", "[IPV6]:PORT" } },
	{ { "127.0.0.1:" }, 64, { "'127.0.0.1:'", "0 to 65535" } },
	{ { "127.0.0.1:65536" }, 64, { "'127.0.0.1:65536'", "0 to 65535" } },
	{ { "127.0.0.1:-1" }, 64, { "'127.0.0.1:-1'", "0 to 65535" } },
	{ { "127.0.0.1:http" }, 64, { "'127.0.0.1:http'", "0 to 65535" } },
	{ { "unix:" }, 64, { "'unix:'", "path" } },
	{ { "unix:@name" }, 64, { "'unix:@name'", "path" } },
	{ { "unix:/no/such/folder/socket" },
	  1,
	  { "/no/such/folder", "No such" } },
	{ { "--threads=0" }, 64, { "'0'", "1 to 1024" } },
	{ { "--threads=1025" }, 64, { "'1025'", "1 to 1024" } },
	{ { "--threads=-1" }, 64, { "'-1'", "1 to 1024" } },
	{ { "--threads=two" }, 64, { "'two'", "1 to 1024" } },
	{ { "--connections=0" }, 64, { "'0'", "1 to 10000000" } },
	{ { "--connections=many" }, 64, { "'many'", "1 to 10000000" } },
	{ { "--idle=5" }, 64, { "'5'", "a time with its unit" } },
	{ { "--mode=streams" }, 64, { "'streams'", "one-shot and stream" } },
	{ { "--baseline=epoll", "--idle=1s" },
	  64,
	  { "--idle is for", "weft" } },
	{ { "-c9", "--baseline=epoll" }, 64, { "--connections is", "weft" } },
	{ { "--baseline=select" }, 64, { "'select'", "epoll and uring" } },
	{ { "--thread-count" }, 64, { "--thread-count", "--help" } },
};

/* What cannot be used is named, with what is accepted. */
START_TEST(mistakes_are_named)
{
	program_refuses("WEFT_ECHO", "tools/weft-echo", &mistakes[_i]);
}
END_TEST

/* Why there is no ring, in the words of the system; and arguments to start with. */
static const int refusals[] = { EPERM, ENOSYS, ENOMEM };
static const char *const refused[][3] = {
	{ ANY_PORT, NULL },
	{ "--threads=2", ANY_PORT, NULL },
	{ "--threads=2", socket_address, NULL },
	{ "--baseline=uring", socket_address, NULL },
};

enum { N_REFUSED = N_ELEMENTS(refused) };

/* If only io_uring will do, and it is refused, it says so and ends, before it says
 * that it listens. */
START_TEST(no_server_without_io_uring)
{
	const struct refusal r = { SYS_io_uring_setup, -1, 0,
				   refusals[_i / N_REFUSED] };
	char text[4096];

	if (lacks_io_uring())
		return;
	setenv("WEFT_ENGINE", "uring", 1);
	refuse_call(&r);
	ck_assert_int_eq(refuse(refused[_i % N_REFUSED], text, sizeof text), 1);
	ck_assert_msg(strstr(text, strerror(r.error)), "it says: %s", text);
	if (strncmp(refused[_i % N_REFUSED][0], "--baseline", 10) != 0)
		ck_assert_ptr_nonnull(strstr(text, "weft-info"));
	ck_assert_ptr_null(strstr(text, "listening"));
	ck_assert_int_eq(access(socket_path, F_OK), -1);
}
END_TEST

/* What cannot be written is no success, and it says why. */
START_TEST(lost_output_is_told)
{
	program_tells_of_lost_output("WEFT_ECHO", "tools/weft-echo");
}
END_TEST

static TCase *add(Suite *suite, const char *rule, const TTest *test, size_t n)
{
	TCase *tc = add_case(suite, rule, NULL);

	tcase_add_checked_fixture(tc, make_folder, remove_folder);
	tcase_add_loop_test(tc, test, 0, (int)n);
	return tc;
}

/* One whose server serves. */
int main(void)
{
	Suite *suite = suite_create("weft-echo");

	add(suite, "mistakes", mistakes_are_named, N_ELEMENTS(mistakes));
	add(suite, "refused", no_server_without_io_uring,
	    N_ELEMENTS(refusals) * N_REFUSED);
	add(suite, "a full disk", lost_output_is_told, 1);
	add(suite, "answers", every_client_gets_its_answers,
	    2 * N_ELEMENTS(loads));
	add(suite, "a long stream", a_long_stream_comes_back, 4);
	add(suite, "going away", others_go_on_when_a_client_goes_away, 4);
	add(suite, "the end: answers", the_end_answers_what_had_arrived, 4);
	add(suite, "the end: a limit", the_end_does_not_wait_for_ever, 4);
	add(suite, "the end: room", the_end_lets_nobody_in, 2);
	add(suite, "datagrams", datagrams, 2);
	add(suite, "all addresses", all_addresses, 2);
	add(suite, "limits", connections_are_limited, 2);
	add(suite, "limits, idle", idle_connections_are_closed, 2);
	add(suite, "limits, descriptors", connections_wait_for_descriptors, 2);
	add(suite, "a stale file", a_stale_socket_file_is_replaced, 1);
	add(suite, "in use", an_address_in_use_is_named, 2);
	return run_suite(suite);
}
