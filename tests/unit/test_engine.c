/* SPDX-License-Identifier: MIT */
/*
 * The ring as this or that liburing, kernel and set of limits hand it out, and what
 * becomes of I/O on it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <termios.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

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
	static const char *const ways[] = { "auto", "futex", "msg_ring",
					    "eventfd", "msg_ring_sqe" };
	weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(0);
	weft_tasklet reader;

	setenv("WEFT_WAKE", ways[_i], 1);
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

int main(void)
{
	Suite *s = suite_create("engine");

	if (lacks_io_uring())
		return SKIPPED;
	add_case(s, "set-up", ring_without_an_array);
	add_loop(s, "no descriptor left", doorbell_comes_with_the_ring, 2);
	add_case(s, "sleep", sleeps_with_the_first_operation);
	add_loop(s, "doorbells", wakes_by_every_doorbell, 5);
	add_loop(s, "taken away", rings_that_somebody_took, 2);
	add_case(s, "nobody to do the work", no_workers, signals_all_the_time,
		 signals_while_a_terminal_is_written_to);
	add_case(s, "more than one completion",
		 zero_copy_returns_after_its_notification);
	return run_suite(s);
}
