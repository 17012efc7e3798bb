/* SPDX-License-Identifier: MIT */
/*
 * Tasklets that never run again, because their thread has ended by pthread_exit() in
 * another one: what their calls had taken is given back, descriptors and memory.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>

#include "allocation.h"
#include "ends.h"
#include "support.h"

/* ThreadSanitizer lets no fiber call pthread_exit(), and AddressSanitizer does not
 * follow it. */
enum { CANNOT_LEAVE = UNDER_TSAN || UNDER_ASAN };

enum { MANY = 40, RUNS = 5, PATIENCE = 100, CROWD = 300 };

static int ends[2], file;
static weft_channel *ch;

/* --- names --- */

/* A name server that waits for a byte. */
static int gate[2];
static _Atomic(int) n_lookups, n_given, n_freed;

int __real_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res);
void __real_freeaddrinfo(struct addrinfo *res);
void __wrap_freeaddrinfo(struct addrinfo *res);

int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res)
{
	char byte;
	int rc;

	if (node && !strcmp(node, "slow")) {
		if (hints->ai_flags & AI_NUMERICHOST)
			return EAI_NONAME;
		n_lookups++;
		if (read(gate[0], &byte, 1) != 1)
			return EAI_FAIL;
		node = "127.0.0.1";
	}
	rc = __real_getaddrinfo(node, service, hints, res);
	n_given += !rc;
	return rc;
}

void __wrap_freeaddrinfo(struct addrinfo *res)
{
	n_freed++;
	__real_freeaddrinfo(res);
}

static int look_up(void *arg)
{
	struct addrinfo *found;

	(void)arg;
	if (weft_getaddrinfo("slow", "80", NULL, &found))
		return -1;
	freeaddrinfo(found);
	return 0;
}

static void answer(void)
{
	ck_assert_int_eq(write(gate[1], "x", 1), 1);
}

/* --- calls --- */

static char address[64];
static unsigned short port;

static int dial(void *arg)
{
	int fd = weft_dial(address);

	(void)arg;
	return fd < 0 ? fd : close(fd);
}

static int dial_name(void *arg)
{
	char name[32];
	int fd;

	(void)arg;
	snprintf(name, sizeof name, "slow:%hu", port);
	fd = weft_dial(name);
	return fd < 0 ? fd : close(fd);
}

static int send_file(void *arg)
{
	off_t offset = 0;

	(void)arg;
	return (int)weft_sendfile(ends[0], file, &offset, 1 << 20);
}

static int splice_file(void *arg)
{
	off_t offset = 0;

	(void)arg;
	return (int)weft_splice(file, &offset, gate[1], NULL, 1, 0);
}

/* The first case is a channel's, the second one a descriptor's if there is one. */
static int select_some(int n, bool has_descriptor)
{
	struct weft_case cases[MANY] = { 0 };

	for (int i = 0; i < n; i++)
		cases[i] =
			(struct weft_case){ .channel = ch, .op = WEFT_RECEIVE };
	if (has_descriptor)
		cases[1] = (struct weft_case){ .fd = ends[0],
					       .op = WEFT_READABLE };
	return weft_select(cases, (size_t)n, 0);
}

static int select_large(void *arg)
{
	(void)arg;
	return select_some(MANY, false);
}

static int select_watching(void *arg)
{
	(void)arg;
	return select_some(3, true);
}

static void *send_it(void *arg)
{
	(void)weft_channel_try_send(ch, NULL);
	return arg;
}

/* By another thread. */
static void send_on_channel(void)
{
	join_thread(start_thread(send_it, NULL));
}

static void write_to_peer(void)
{
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
}

static void read_from_peer(void)
{
	char bytes[4096];

	(void)recv(ends[1], bytes, sizeof bytes, MSG_DONTWAIT);
}

static int poll_many(void *arg)
{
	struct pollfd fds[MANY];

	(void)arg;
	for (int i = 0; i < MANY; i++)
		fds[i] = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	return weft_poll(fds, MANY, -1);
}

static int wait_for_signal(void *arg)
{
	sigset_t set;

	(void)arg;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	return weft_signal_wait(&set, NULL);
}

/* Whatever has come, the call's user closes it. */
static int take_one(int fd)
{
	return fd < 0 ? fd : close(fd);
}

static int listener;
static char fifo[64];

static int accept_one(void *arg)
{
	(void)arg;
	return take_one(weft_accept(listener, NULL, NULL));
}

static void connect_to_it(void)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	close(fd);
}

static int open_fifo(void *arg)
{
	(void)arg;
	return take_one(weft_openat(AT_FDCWD, fifo, O_RDONLY, 0));
}

static void open_for_writing(void)
{
	int fd;

	for (int i = 0; i < 1000; i++) {
		fd = open(fifo, O_WRONLY | O_NONBLOCK | O_CLOEXEC);
		if (fd >= 0)
			close(fd);
		if (fd >= 0 || errno != ENXIO)
			return;
		weft_schedule(); /* the other's open may not have been handed in */
		usleep(1000);
	}
}

static int receive_files(void *arg)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	int rc = (int)weft_recvmsg(ends[0], &msg, MSG_CMSG_CLOEXEC);
	int fds[2];

	(void)arg;
	if (rc != 1 || !CMSG_FIRSTHDR(&msg))
		return rc;
	memcpy(fds, CMSG_DATA(CMSG_FIRSTHDR(&msg)), sizeof fds);
	close(fds[0]);
	close(fds[1]);
	return rc;
}

static void send_files(void)
{
	union {
		struct cmsghdr header;
		char space[CMSG_SPACE(2 * sizeof(int))];
	} control = { .header = { .cmsg_len = CMSG_LEN(2 * sizeof(int)),
				  .cmsg_level = SOL_SOCKET,
				  .cmsg_type = SCM_RIGHTS } };
	char byte = 'x';
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };

	memcpy(CMSG_DATA(&control.header), (int[]){ file, file },
	       2 * sizeof(int));
	ck_assert_int_eq(sendmsg(ends[1], &msg, 0), 1);
}

static const struct row {
	const char *name;
	weft_fn call;
	void (*complete)(void); /* NULL: nothing does */
} rows[] = {
	{ "dial", dial, NULL },
	{ "dial by name", dial_name, answer },
	{ "getaddrinfo", look_up, answer },
	{ "sendfile", send_file, read_from_peer },
	{ "splice", splice_file, NULL },
	{ "select of many", select_large, send_on_channel },
	{ "select with descriptors", select_watching, send_on_channel },
	{ "select with descriptors, one ready", select_watching,
	  write_to_peer },
	{ "poll", poll_many, write_to_peer },
	{ "signal_wait", wait_for_signal, NULL },
	{ "accept", accept_one, connect_to_it },
	{ "open", open_fifo, open_for_writing },
	{ "recvmsg", receive_files, send_files },
};

/* --- the end --- */

enum when {
	AT_ONCE,
	LATER,
	KILLED,
	COMPLETED,
	N_WHENS,
	COMPLETED_ON_MAIN = N_WHENS
};

static const struct row *row;
static enum when when;
static weft_tasklet caller;

static int leave_when_woken(void *arg)
{
	for (int i = 0; weft_tasklet_state(caller) == WEFT_BLOCKED &&
			(when == COMPLETED_ON_MAIN || i < PATIENCE);
	     i++) {
		weft_schedule();
		usleep(50);
	}
	pthread_exit(arg);
}

static int leave(void *arg)
{
	if (when >= LATER && when != KILLED) /* the call is begun */
		weft_sleep(WEFT_MILLISECOND);
	if (when == KILLED)
		(void)weft_tasklet_kill(caller, WEFT_PENDING);
	if (when >= COMPLETED && row->complete) {
		row->complete();
		/* A completion is taken in between turns. Its tasklet gets one
		 * before this one, and after the other. */
		weft_spawn(leave_when_woken, arg);
		leave_when_woken(arg);
	}
	pthread_exit(arg);
}

static void *call_and_leave(void *arg)
{
	if (when == COMPLETED_ON_MAIN) {
		caller = weft_main();
		weft_spawn(leave, NULL);
		(void)row->call(arg);
	} else {
		caller = weft_spawn(row->call, NULL);
		weft_spawn(leave, NULL);
		weft_run();
	}
	return arg;
}

static void drain(int fd)
{
	char bytes[4096];

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (read(fd, bytes, sizeof bytes) > 0)
		;
	fcntl(fd, F_SETFL, 0);
}

/* A listener that takes no more. */
static void fill_backlog(void)
{
	char path[32];
	struct sockaddr_un a = { .sun_family = AF_UNIX };
	socklen_t size = sizeof a;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a.sun_family),
			 0);
	ck_assert_int_eq(listen(fd, 0), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&a, &size), 0);
	memcpy(path, a.sun_path + 1, size - sizeof a.sun_family - 1);
	path[size - sizeof a.sun_family - 1] = '\0';
	snprintf(address, sizeof address, "unix:@%s", path);
	do
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK,
			    0);
	while (!connect(fd, (struct sockaddr *)&a, size));
	close(fd);
}

static void prepare(void)
{
	fill_backlog();
	listener = listen_on_loopback(128, &port);
	ck_assert_int_ge(listener, 0);
	ck_assert_int_eq(pipe(gate), 0);
	ck_assert(make_ends(ENDS_UNIX, false, ends));
	file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	ck_assert_int_ge(file, 0);
	ch = weft_channel_new(0, 0);
	snprintf(fifo, sizeof fifo, "/tmp/weft-given-up-%d", getpid());
	unlink(fifo);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
}

static void run_once(void)
{
	join_thread(start_thread(call_and_leave, NULL));
	drain(ends[0]);
	drain(ends[1]);
	/* Helpers may still wait for an answer, or be about to free it. */
	for (int i = 0; i < 1000 && n_freed < n_lookups; i++) {
		if (n_given < n_lookups)
			answer();
		usleep(1000);
	}
	ck_assert_int_ge(n_freed, n_lookups);
	ck_assert_int_eq(n_freed, n_given);
}

static int read_one(void *arg)
{
	char byte;

	(void)arg;
	return (int)weft_read(ends[0], &byte, 1);
}

/* How much more there is after some runs. */
static void measure(const struct row *r, int *n_open, long *n_alive)
{
	row = r;
	run_once();
	run_once();
	*n_open = n_descriptors();
	*n_alive = n_allocations_alive();
	for (int i = 0; i < RUNS; i++)
		run_once();
	*n_open = n_descriptors() - *n_open;
	*n_alive = n_allocations_alive() - *n_alive;
}

/* The counting is not exact: what liburing allocates is freed by the library, and
 * helpers come and go. So the call is compared with one that has nothing of its own,
 * and what counts is whether each run leaves something. */
START_TEST(what_it_had_is_given_back)
{
	const struct row *r = &rows[_i / N_WHENS];
	struct row plain = { "read", read_one, r->complete };
	int n_open;
	long n_alive, n_usual;

	if (CANNOT_LEAVE)
		return;
	when = (enum when)(_i % N_WHENS);
	prepare();
	measure(&plain, &n_open, &n_usual);
	measure(r, &n_open, &n_alive);
	unlink(fifo);
	ck_assert_msg(n_open < RUNS, "%s: %d descriptors more", r->name,
		      n_open);
	ck_assert_msg(n_alive < n_usual + RUNS, "%s: %ld allocations more",
		      r->name, n_alive - n_usual);
}
END_TEST

/* A thread whose main tasklet is blocked cannot be left so. A message's header is lost
 * with main's frames. */
START_TEST(what_main_had_is_given_back)
{
	static const struct row mains[] = {
		{ "accept", accept_one, connect_to_it },
		{ "open", open_fifo, open_for_writing },
	};
	int n_open;
	long n_alive;

	if (CANNOT_LEAVE)
		return;
	when = COMPLETED_ON_MAIN;
	prepare();
	measure(&mains[_i], &n_open, &n_alive);
	unlink(fifo);
	ck_assert_msg(n_open < RUNS, "%s: %d descriptors more", mains[_i].name,
		      n_open);
}
END_TEST

/* --- a close in the last moment --- */

/* They are so many, and take so long, that nobody has another turn. */
static int take_long(void *arg)
{
	weft_shield_begin();
	while (read_one(arg) == -ECANCELED) {
		usleep(200);
		weft_schedule();
	}
	return 0;
}

static int to_close;

static int close_at_the_end(void *arg)
{
	weft_shield_begin();
	(void)read_one(arg);
	(void)weft_close(to_close);
	return 0;
}

static void *leave_those_who_close(void *arg)
{
	for (int i = 0; i < CROWD; i++)
		weft_spawn(take_long, NULL);
	/* the newest is cancelled first */
	weft_spawn(close_at_the_end, NULL);
	weft_pump();
	return arg;
}

/* weft_close() has closed, whatever comes of its tasklet, when it first gives way. */
START_TEST(a_close_at_the_end_closes)
{
	struct linger linger = { .l_onoff = 1, .l_linger = 1 };
	int pair[2];

	ck_assert(make_ends(ENDS_UNIX, false, ends));
	ck_assert(make_ends(ENDS_TCP, false, pair));
	ck_assert_int_eq(setsockopt(pair[0], SOL_SOCKET, SO_LINGER, &linger,
				    sizeof linger),
			 0);
	to_close = _i ? pair[0] : open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	join_thread(start_thread(leave_those_who_close, NULL));
	ck_assert_int_eq(fcntl(to_close, F_GETFD), -1);
	if (_i) {
		ck_assert_int_eq(recv(pair[1], pair, 1, MSG_DONTWAIT), 0);
		close(pair[1]);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("given up");

	/* More helpers would come and go. */
	setenv("WEFT_OFFLOAD", "1", 1);
	add_loop(suite, "what it had is given back", what_it_had_is_given_back,
		 N_ELEMENTS(rows) * N_WHENS);
	add_loop(suite, "what main had is given back",
		 what_main_had_is_given_back, 2);
	add_loop(suite, "a close at the end closes", a_close_at_the_end_closes,
		 2);
	return run_suite(suite);
}
