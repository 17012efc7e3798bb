/* SPDX-License-Identifier: MIT */
/*
 * The engine as this or that liburing, kernel and set of limits hand it out, and what
 * becomes of I/O on it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/un.h>
#include <termios.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "core/scheduler.h"
#include "support.h"

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

/* What the library calls; this program is linked so. */
int __real_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring);
int __wrap_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring);

static int n_without_array;

/* As newer liburings do it: from 2.6 on there is no pointer to an array that is
 * not there, and of the ring itself this call fills in the mappings alone. */
int __wrap_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring)
{
	int rc = __real_io_uring_queue_mmap(fd, p, ring);

	if (rc)
		return rc;
	ring->ring_fd = ring->enter_ring_fd = 0;
	ring->flags = 0;
	if (p->flags & IORING_SETUP_NO_SQARRAY) {
		ring->sq.array = NULL;
		n_without_array++;
	}
	return rc;
}

static int await_nops(void *arg)
{
	for (int i = 0; i < 20; i++) {
		struct io_uring_sqe sqe = { 0 };

		io_uring_prep_nop(&sqe);
		*(int *)arg += weft_await(&sqe) == 0;
	}
	return 0;
}

enum { TASKLETS = 1000 };

/* A ring without the array of indexes, where the kernel has such. */
START_TEST(ring_without_an_array)
{
	char byte = 0;
	int n_done = 0;
	int fds[2];

	if (lacks_io_uring())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(weft_write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	for (int i = 0; i < TASKLETS; i++)
		weft_spawn(await_nops, &n_done);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_done, 20 * TASKLETS);
	if (!n_without_array)
		fprintf(stderr, "this kernel has no rings without an array\n");
}
END_TEST

/* --- no descriptor left --- */

static int fds_for_child[2];

/* Leaves @n descriptors from @next on, which is the lowest that is free. */
static void limit_descriptors(int next, int n)
{
	struct rlimit limit;

	EXPECT(getrlimit(RLIMIT_NOFILE, &limit) == 0);
	limit.rlim_cur = (rlim_t)(next + n);
	EXPECT(setrlimit(RLIMIT_NOFILE, &limit) == 0);
}

static int write_later(void *arg)
{
	(void)arg;
	weft_sleep(WEFT_MILLISECOND);
	return (int)write(fds_for_child[1], "x", 1);
}

/* What is to wake a thread out of its ring is there with it, or the ring is not:
 * an error of the call. When there are descriptors again, all goes well. */
static int io_with_few_descriptors(void)
{
	char byte;
	int next;

	EXPECT(pipe(fds_for_child) == 0);
	next = dup(STDERR_FILENO);
	close(next);
	for (int n = 0; n < 2; n++) {
		limit_descriptors(next, n);
		EXPECT(weft_read(fds_for_child[0], &byte, 1) == -EMFILE);
		EXPECT(weft_sleep(WEFT_MILLISECOND) == 0);
	}
	limit_descriptors(next, 2);
	weft_spawn(write_later, NULL);
	EXPECT(weft_read(fds_for_child[0], &byte, 1) == 1);
	return 0;
}

START_TEST(doorbell_comes_with_the_ring)
{
	static const char *const ways[] = { "eventfd", "msg_ring_sqe" };
	char errors[256];

	setenv("WEFT_WAKE", ways[_i], 1);
	ck_assert_msg(
		in_child(io_with_few_descriptors, errors, sizeof errors) == 0,
		"%s", errors);
}
END_TEST

static const char *const wakes[] = { "auto", "futex", "msg_ring", "eventfd",
				     "msg_ring_sqe" };

static int post(void *semaphore)
{
	return weft_semaphore_post(semaphore);
}

static void *post_from_a_thread(void *semaphore)
{
	weft_spawn(post, semaphore);
	weft_run();
	return NULL;
}

static int read_a_byte(void *arg)
{
	char byte;

	(void)arg;
	return (int)weft_read(fds_for_child[0], &byte, 1);
}

/* By a message through the waker's ring too; to a thread that has I/O in flight. */
START_TEST(wakes_by_every_doorbell)
{
	weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(0);
	weft_tasklet reader;

	setenv("WEFT_WAKE", wakes[_i], 1);
	ck_assert_int_eq(pipe(fds_for_child), 0);
	reader = weft_spawn(read_a_byte, NULL);
	ck_assert_int_eq(weft_pump(), 1);
	for (int i = 0; i < 20; i++) {
		pthread_t thread = start_thread(post_from_a_thread, &semaphore);

		ck_assert_int_eq(weft_semaphore_wait(&semaphore), 0);
		join_thread(thread);
	}
	ck_assert_int_eq(write(fds_for_child[1], "x", 1), 1);
	ck_assert_int_eq(weft_tasklet_join(reader), 1);
}
END_TEST

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void read_what_is_there(void)
{
	char byte;

	EXPECT(write(fds_for_child[1], "x", 1) == 1);
	EXPECT(weft_read(fds_for_child[0], &byte, 1) == 1);
}

/* As a daemon does that finds its standard descriptors closed. */
static int open_null_as_standard(void)
{
	int messages = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(0);
	weft_tasklet reader;
	int null;

	EXPECT(pipe(fds_for_child) == 0);
	stderr = fdopen(messages, "w");
	setlinebuf(stderr);
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	EXPECT(weft_fd() > 2);
	read_what_is_there();
	EXPECT(!is_open(0) && !is_open(1) && !is_open(2));
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 2; fd++)
		dup2(null, fd);
	dup2(messages, STDERR_FILENO);
	reader = weft_spawn(read_a_byte, NULL);
	weft_pump();
	for (int i = 0; i < 5; i++) {
		pthread_t thread;

		EXPECT(pthread_create(&thread, NULL, post_from_a_thread,
				      &semaphore) == 0);
		EXPECT(weft_semaphore_wait(&semaphore) == 0);
		pthread_join(thread, NULL);
	}
	EXPECT(write(fds_for_child[1], "x", 1) == 1);
	EXPECT(weft_tasklet_join(reader) == 1);
	return 0;
}

/* The numbers of the standard descriptors stay free for these. */
START_TEST(standard_descriptors_are_the_programs)
{
	char errors[256];

	setenv("WEFT_WAKE", wakes[_i], 1);
	ck_assert_msg(in_child(open_null_as_standard, errors, sizeof errors) ==
			      0,
		      "%s", errors);
}
END_TEST

/* A call that waits by a descriptor of its own keeps these numbers free, too: it would
 * close at its end what the program has put there meanwhile. */
static int wait_for_child(void *pid)
{
	siginfo_t info;

	return weft_waitid(P_PID, (id_t) * (pid_t *)pid, &info, WEXITED);
}

static int wait_for_any_child(void *pid)
{
	siginfo_t info;

	(void)pid;
	return weft_waitid(P_ALL, 0, &info, WEXITED);
}

static int wait_for_signal(void *pid)
{
	siginfo_t info;
	sigset_t set;

	(void)pid;
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	return weft_signal_wait(&set, &info);
}

static int file_for_child;

static int send_file(void *pid)
{
	(void)pid;
	EXPECT(weft_sendfile(fds_for_child[0], file_for_child, NULL, 1 << 20) >
	       0);
	return 0;
}

static const struct sockaddr_un name_for_child = {
	.sun_family = AF_UNIX, .sun_path = "\0weft-test-engine"
};
static int listener_for_child;

/* The backlog has room for one. */
static void fill_backlog(void)
{
	const struct sockaddr *name = (const void *)&name_for_child;
	socklen_t size = offsetof(struct sockaddr_un, sun_path) +
			 sizeof "weft-test-engine";
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	listener_for_child = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	EXPECT(bind(listener_for_child, name, size) == 0);
	EXPECT(listen(listener_for_child, 0) == 0);
	EXPECT(connect(fd, name, size) == 0);
}

static int dial(void *pid)
{
	(void)pid;
	EXPECT(weft_dial("unix:@weft-test-engine") == -ECONNREFUSED);
	return 0;
}

static weft_fn waits[] = { wait_for_child, wait_for_any_child, wait_for_signal,
			   send_file, dial };
static weft_fn waits_for_child;

static int put_null_as_standard(void)
{
	int messages = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 10);
	int go[2], null;
	weft_tasklet t;
	sigset_t set;
	pid_t pid;
	char bytes[4096];

	stderr = fdopen(messages, "w");
	setlinebuf(stderr);
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	file_for_child = memfd_create("", MFD_CLOEXEC);
	EXPECT(ftruncate(file_for_child, 1 << 20) == 0);
	EXPECT(pipe2(go, O_CLOEXEC) == 0);
	EXPECT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0,
			  fds_for_child) == 0);
	pid = fork();
	EXPECT(pid >= 0);
	if (!pid) {
		close(go[1]);
		_exit(read(go[0], bytes, 1) != 0);
	}
	if (waits_for_child == dial)
		fill_backlog();
	for (int fd = 0; fd < 3; fd++)
		close(fd);
	t = weft_spawn(waits_for_child, &pid);
	weft_run_until(weft_now() + WEFT_MILLISECOND);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	for (int fd = 0; fd < 3; fd++)
		EXPECT(dup2(null, fd) == fd);
	close(go[1]);
	if (waits_for_child == dial)
		close(listener_for_child);
	kill(getpid(), SIGUSR1);
	EXPECT(fcntl(fds_for_child[1], F_SETFL, O_NONBLOCK) == 0);
	while (weft_tasklet_alive(t)) {
		while (read(fds_for_child[1], bytes, sizeof bytes) > 0)
			;
		weft_run_until(weft_now() + WEFT_MILLISECOND);
	}
	EXPECT(is_open(0) && is_open(1) && is_open(2));
	return 0;
}

START_TEST(standard_descriptors_are_not_taken_by_calls)
{
	char errors[256];

	waits_for_child = waits[_i];
	ck_assert_msg(in_child(put_null_as_standard, errors, sizeof errors) ==
			      0,
		      "%s", errors);
}
END_TEST

/* But if there are no others, it takes those. */
static int io_with_standard_descriptors(void)
{
	EXPECT(pipe(fds_for_child) == 0);
	for (int fd = 0; fd < 2; fd++)
		close(fd);
	limit_descriptors(2, 0);
	read_what_is_there();
	EXPECT(is_open(0));
	return 0;
}

START_TEST(standard_descriptors_are_better_than_none)
{
	char errors[256];

	setenv("WEFT_WAKE", wakes[_i], 1);
	ck_assert_msg(in_child(io_with_standard_descriptors, errors,
			       sizeof errors) == 0,
		      "%s", errors);
}
END_TEST

static void *wait_in_the_ring(void *id)
{
	weft_tasklet reader = weft_spawn(read_a_byte, NULL);

	atomic_store((_Atomic(uint64_t) *)id, weft_thread_id());
	weft_tasklet_join(reader);
	return NULL;
}

/* A thread whose only operation waits sleeps, from the first moment of its ring. */
START_TEST(sleeps_with_the_first_operation)
{
	_Atomic(uint64_t) id = 0;
	pthread_t thread;

	ck_assert_int_eq(pipe(fds_for_child), 0);
	thread = start_thread(wait_in_the_ring, &id);
	while (!atomic_load(&id))
		sched_yield();
	until_parked(atomic_load(&id));
	ck_assert_int_eq(write(fds_for_child[1], "x", 1), 1);
	join_thread(thread);
}
END_TEST

/* --- nobody to do the work --- */

static char folder[] = "/tmp/weft-engine-XXXXXX";
static char path[sizeof folder + 8];

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chmod(folder, 0777), 0);
	snprintf(path, sizeof path, "%s/file", folder);
}

static int create(void)
{
	struct io_uring_sqe sqe = { 0 };

	io_uring_prep_openat(&sqe, AT_FDCWD, path, O_CREAT | O_RDWR | O_CLOEXEC,
			     0600);
	return weft_await(&sqe);
}

/* The user may have no more threads, the kernel's for I/O included. */
static int io_without_workers(void)
{
	struct rlimit limit = { 1, 1 };
	struct io_uring_sqe sqe = { 0 };
	char byte = 0;

	if (geteuid() == 0)
		EXPECT(setresuid(61234, 61234, 61234) == 0);
	EXPECT(setrlimit(RLIMIT_NPROC, &limit) == 0);
	for (int i = 0; i < 3; i++) {
		int fd = create();

		EXPECT(fd >= 0);
		io_uring_prep_fsync(&sqe, fd, 0);
		EXPECT(weft_await(&sqe) == 0);
		io_uring_prep_write(&sqe, fd, "ab", 2, 0);
		sqe.flags |= IOSQE_ASYNC;
		EXPECT(weft_await(&sqe) == 2);
		memset(&sqe, 0, sizeof sqe);
		io_uring_prep_read(&sqe, fd, &byte, 1, 1);
		sqe.flags |= IOSQE_ASYNC;
		EXPECT(weft_await(&sqe) == 1);
		EXPECT(byte == 'b');
		memset(&sqe, 0, sizeof sqe);
		io_uring_prep_fallocate(&sqe, fd, 0, 0, 100);
		EXPECT(weft_await(&sqe) == 0);
		EXPECT(weft_close(fd) == 0);
		EXPECT(fcntl(fd, F_GETFD) < 0);
		io_uring_prep_unlink(&sqe, path, 0);
		EXPECT(weft_await(&sqe) == 0);
		EXPECT(weft_await(&sqe) == -ENOENT);
	}
	if (!have_io_uring())
		return 0;
	/* There is nobody to wait for what may never come. */
	EXPECT(pipe(fds_for_child) == 0);
	memset(&sqe, 0, sizeof sqe);
	io_uring_prep_read(&sqe, fds_for_child[0], &byte, 1, (uint64_t)-1);
	sqe.flags |= IOSQE_ASYNC;
	EXPECT(weft_await(&sqe) == -EAGAIN);
	return 0;
}

START_TEST(no_workers)
{
	char errors[256];

	make_folder();
	ck_assert_msg(in_child(io_without_workers, errors, sizeof errors) == 0,
		      "%s", errors);
	rmdir(folder);
}
END_TEST

static void ignore(int signal)
{
	(void)signal;
}

/* Signals keep the kernel from making a thread for the work. Nobody was killed, so
 * nobody is told so. */
START_TEST(signals_all_the_time)
{
	struct sigaction action = { .sa_handler = ignore,
				    .sa_flags = SA_RESTART };
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	int n_failed = 0;

	make_folder();
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	for (int i = 0; i < 500; i++) {
		int fd = create();

		n_failed += fd < 0;
		if (fd >= 0)
			n_failed += weft_close(fd) != 0;
		unlink(path);
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	rmdir(folder);
	ck_assert_int_eq(n_failed, 0);
}
END_TEST

enum { TTY_BYTES = 1 << 18 };

struct tty {
	int fd;
	size_t n;
	int n_cut_short; /* calls that returned -EINTR or -ECANCELED */
	int error;
};

static int write_to_tty(void *arg)
{
	static const char bytes[1 << 12];
	struct tty *t = arg;

	while (t->n < TTY_BYTES) {
		ssize_t rc = weft_write(t->fd, bytes, sizeof bytes);

		t->n_cut_short += rc == -EINTR || rc == -ECANCELED;
		if (rc > 0)
			t->n += (size_t)rc;
		else if (rc != -EINTR && rc != -ECANCELED)
			return t->error = (int)rc;
	}
	return 0;
}

static int read_from_tty(void *arg)
{
	static char bytes[1 << 12];
	struct tty *t = arg;

	while (t->n < TTY_BYTES) {
		ssize_t rc = weft_read(t->fd, bytes, sizeof bytes);

		t->n_cut_short += rc == -EINTR || rc == -ECANCELED;
		if (rc > 0)
			t->n += (size_t)rc;
		else if (rc != -EINTR && rc != -ECANCELED)
			return t->error = (int)rc;
	}
	return 0;
}

/* No call ends because of a signal, on terminals either. */
START_TEST(signals_while_a_terminal_is_written_to)
{
	struct sigaction action = { .sa_handler = ignore };
	struct itimerval often = { { 0, 100 }, { 0, 100 } };
	struct tty out = { 0 }, in = { 0 };
	struct termios raw;

	in.fd = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (in.fd < 0 || grantpt(in.fd) || unlockpt(in.fd))
		return; /* a machine without */
	out.fd = open(ptsname(in.fd), O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (out.fd < 0)
		return;
	ck_assert_int_eq(tcgetattr(out.fd, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(out.fd, TCSANOW, &raw), 0);
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &often, NULL);
	weft_spawn(read_from_tty, &in);
	weft_spawn(write_to_tty, &out);
	ck_assert_int_eq(weft_run(), 0);
	setitimer(ITIMER_REAL, &(struct itimerval){ 0 }, NULL);
	ck_assert_int_eq(out.error, 0);
	ck_assert_int_eq(in.error, 0);
	ck_assert_int_eq(out.n_cut_short, 0);
	ck_assert_int_eq(in.n_cut_short, 0);
	ck_assert_uint_ge(in.n, TTY_BYTES);
}
END_TEST

/* --- more than one completion --- */

/* A zero-copy send returns its result when the kernel has let go of the memory. */
START_TEST(zero_copy_returns_after_its_notification)
{
	static char bytes[1 << 14], in[1 << 14];
	struct io_uring_sqe sqe = { 0 };
	struct weft_stats stats;
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	for (int i = 0; i < 10; i++) {
		int rc;

		memset(bytes, 'a' + i, sizeof bytes);
		io_uring_prep_send_zc(&sqe, fds[0], bytes, sizeof bytes, 0, 0);
		rc = weft_await(&sqe);
		if (rc == -EINVAL || rc == -EOPNOTSUPP)
			return; /* a kernel or a kind of socket without */
		ck_assert_int_eq(rc, sizeof bytes);
		ck_assert_int_eq(weft_read(fds[1], in, sizeof in), sizeof in);
		ck_assert_mem_eq(in, bytes, sizeof in);
	}
	ck_assert_int_eq(weft_stats(0, &stats), 0);
	ck_assert_uint_eq(stats.stray_completions, 0);
}
END_TEST

/* --- descriptors that are the library's --- */

enum { WAKES = 5 };

static weft_channel *far_off;

static void *sleep_in_a_ring(void *arg)
{
	uint64_t *id = arg;
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char byte;

	weft_read(fd, &byte, 1);
	close(fd);
	*(_Atomic(uint64_t) *)id = weft_thread_id();
	for (int i = 0; i < WAKES; i++)
		weft_channel_receive(far_off, NULL);
	return NULL;
}

/* Closes all rings, or has their numbers name other files. */
static void take_rings_away(bool put_others)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	char link[64], name[64];

	for (int fd = 3; fd < 64; fd++) {
		ssize_t n;

		snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
		n = readlink(link, name, sizeof name - 1);
		if (n < 0)
			continue;
		name[n] = '\0';
		if (!strstr(name, "io_uring"))
			continue;
		if (put_others)
			dup2(null, fd);
		else
			close(fd);
	}
}

static int wake_without_rings(bool put_others)
{
	_Atomic(uint64_t) id = 0;
	pthread_t thread;

	setenv("WEFT_WAKE", "msg_ring", 1);
	alarm(20); /* a wake that is lost */
	far_off = weft_channel_new(0, 0);
	pthread_create(&thread, NULL, sleep_in_a_ring, (void *)&id);
	while (!id)
		sched_yield();
	until_parked(id);
	take_rings_away(put_others);
	/* The first may come while the sleeper is up, for its descriptor has gone. */
	for (int i = 0; i < WAKES; i++) {
		until_parked(id);
		weft_channel_send(far_off, NULL);
	}
	pthread_join(thread, NULL);
	return 0;
}

static int wake_by_a_closed_number(void)
{
	return wake_without_rings(false);
}

static int wake_by_another_file(void)
{
	return wake_without_rings(true);
}

/* A wake is not lost in silence: the thread is woken in another way, or the process
 * ends with the reason. */
START_TEST(rings_that_somebody_took)
{
	char errors[1024];
	int status =
		in_child(_i ? wake_by_another_file : wake_by_a_closed_number,
			 errors, sizeof errors);

	if (status == 0)
		return; /* a kernel with another doorbell */
	ck_assert_int_eq(status, -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "cannot be woken"));
}
END_TEST

/* --- a filter that is set when rings are there --- */

static const int refusals[] = { EPERM, ENOSYS };
static int refused_with;

static void refuse_from_now_on(long call, int argument, unsigned value)
{
	struct refusal r = { .call = call,
			     .argument = argument,
			     .value = value,
			     .error = refused_with };

	refuse_call(&r);
}

/* Starts a thread that sleeps in its ring, and receives WAKES times. */
static pthread_t start_sleeper(_Atomic(uint64_t) *id)
{
	pthread_t thread;

	alarm(20); /* a wake that is lost */
	*id = 0;
	far_off = weft_channel_new(0, 0);
	EXPECT(pthread_create(&thread, NULL, sleep_in_a_ring, (void *)id) == 0);
	while (!*id)
		sched_yield();
	until_parked(*id);
	return thread;
}

/* The filter is the caller's alone, so the sleeper's own calls are not refused. */
static int wake_without_register(void)
{
	_Atomic(uint64_t) id;
	pthread_t thread = start_sleeper(&id);

	refuse_from_now_on(SYS_io_uring_register, -1, 0);
	for (int i = 0; i < WAKES; i++) {
		until_parked(id);
		EXPECT(weft_channel_send(far_off, NULL) == 0);
	}
	EXPECT(pthread_join(thread, NULL) == 0);
	return 0;
}

/* If messages cannot be sent by a system call of their own, a thread sends them
 * through its ring. */
START_TEST(wakes_when_register_is_refused)
{
	char errors[1024];

	refused_with = refusals[_i];
	ck_assert_msg(in_child(wake_without_register, errors, sizeof errors) ==
			      0,
		      "%s", errors);
}
END_TEST

static weft_tasklet paused;

static int pause_once(void *arg)
{
	(void)arg;
	return weft_schedule_remove();
}

static void *pause_in_a_ring(void *id)
{
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char byte;

	weft_read(fd, &byte, 1);
	close(fd);
	paused = weft_spawn(pause_once, NULL);
	*(_Atomic(uint64_t) *)id = weft_thread_id();
	weft_tasklet_join(paused);
	return NULL;
}

/* A call that may not use the caller's ring. */
static int notify_without_register(void)
{
	_Atomic(uint64_t) id = 0;
	pthread_t thread;

	alarm(20);
	EXPECT(weft_schedule() == 0);
	EXPECT(pthread_create(&thread, NULL, pause_in_a_ring, (void *)&id) ==
	       0);
	while (!id)
		sched_yield();
	until_parked(id);
	refuse_from_now_on(SYS_io_uring_register, -1, 0);
	EXPECT(weft_tasklet_notify(paused) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
	return 0;
}

static int wake_without_write(void)
{
	_Atomic(uint64_t) id;
	pthread_t thread;

	setenv("WEFT_WAKE", "eventfd", 1);
	thread = start_sleeper(&id);
	/* what is written to an eventfd */
	refuse_from_now_on(SYS_write, 2, sizeof(uint64_t));
	EXPECT(weft_channel_send(far_off, NULL) == 0);
	EXPECT(pthread_join(thread, NULL) == 0);
	return 0;
}

static int read_without_enter(void)
{
	char byte;

	alarm(20);
	EXPECT(pipe(fds_for_child) == 0);
	EXPECT(write(fds_for_child[1], "x", 1) == 1);
	EXPECT(weft_read(fds_for_child[0], &byte, 1) == 1);
	refuse_from_now_on(SYS_io_uring_enter, -1, 0);
	weft_read(fds_for_child[0], &byte, 1);
	return 0;
}

static const struct {
	int (*body)(void);
	const char *names; /* the system call that failed */
	bool may_succeed;  /* with kernels that have another doorbell */
} stops[] = {
	{ notify_without_register, "io_uring_register", true },
	{ wake_without_write, "eventfd", false },
	{ read_without_enter, "io_uring_enter", false },
};

/* Where nothing else is left, the process ends, and says which call has failed, how,
 * and what may be behind it. */
START_TEST(refused_calls_are_named)
{
	size_t which = (size_t)_i / N_ELEMENTS(refusals);
	char errors[1024];
	int status;

	/* Valgrind makes some of these calls itself. */
	if (is_under_valgrind() || lacks_io_uring())
		return;
	refused_with = refusals[(size_t)_i % N_ELEMENTS(refusals)];
	status = in_child(stops[which].body, errors, sizeof errors);
	if (status == 0 && stops[which].may_succeed)
		return;
	ck_assert_msg(status == -SIGABRT, "%d: %s", status, errors);
	ck_assert_msg(strstr(errors, stops[which].names), "%s", errors);
	ck_assert_msg(strstr(errors, strerror(refused_with)), "%s", errors);
	ck_assert_msg(strstr(errors, "filter"), "%s", errors);
}
END_TEST

#ifdef WEFT_DEBUG
static const bool LOOKS_FOR_STRAYS = true;
#else
static const bool LOOKS_FOR_STRAYS = false;
#endif

static int stray_ends[2];

static int read_two(void *arg)
{
	char c;

	(void)arg;
	for (int i = 0; i < 2; i++)
		(void)weft_read(stray_ends[0], &c, 1);
	return 0;
}

/* Has the kernel complete an operation again, when the next one has its place. */
static int complete_twice(void)
{
	struct io_uring other, *ring;
	struct io_uring_sqe *sqe;
	uint64_t name;

	EXPECT(pipe(stray_ends) == 0);
	weft_spawn(read_two, NULL);
	weft_pump();
	ring = &weft__self->engine.uring.ring;
	name = ring->sq.sqes[(weft__self->engine.uring.sq_tail - 1) &
			     ring->sq.ring_mask]
		       .user_data;
	EXPECT(write(stray_ends[1], "x", 1) == 1);
	EXPECT(weft_pump() == 1);
	EXPECT(io_uring_queue_init(2, &other, 0) == 0);
	sqe = io_uring_get_sqe(&other);
	io_uring_prep_msg_ring(sqe, ring->ring_fd, 1, name, 0);
	EXPECT(io_uring_submit_and_wait(&other, 1) == 1);
	weft_pump();
	return 0;
}

START_TEST(completion_that_comes_twice)
{
	char errors[1024];

	if (lacks_io_uring())
		return;
	if (!LOOKS_FOR_STRAYS) {
		skip("this is no debug build");
		return;
	}
	ck_assert_int_eq(in_child(complete_twice, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "each of them once"));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine");

	add_case(s, "set-up", ring_without_an_array);
	add_loop(s, "no descriptor left", doorbell_comes_with_the_ring, 2);
	add_case(s, "sleep", sleeps_with_the_first_operation);
	add_loop(s, "doorbells", wakes_by_every_doorbell, N_ELEMENTS(wakes));
	add_loop(s, "standard descriptors",
		 standard_descriptors_are_the_programs, N_ELEMENTS(wakes));
	add_loop(s, "standard descriptors",
		 standard_descriptors_are_not_taken_by_calls,
		 N_ELEMENTS(waits));
	add_loop(s, "standard descriptors",
		 standard_descriptors_are_better_than_none, N_ELEMENTS(wakes));
	add_loop(s, "taken away", rings_that_somebody_took, 2);
	add_loop(s, "late filter", wakes_when_register_is_refused,
		 N_ELEMENTS(refusals));
	add_loop(s, "late filter, named", refused_calls_are_named,
		 N_ELEMENTS(stops) * N_ELEMENTS(refusals));
	add_case(s, "nobody to do the work", no_workers, signals_all_the_time,
		 signals_while_a_terminal_is_written_to);
	add_case(s, "more than one completion",
		 zero_copy_returns_after_its_notification);
	add_case(s, "strays", completion_that_comes_twice);
	return run_suite(s);
}
