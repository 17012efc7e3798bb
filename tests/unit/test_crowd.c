/* SPDX-License-Identifier: MIT */
/*
 * Very many tasklets that wait for one descriptor: each gets what a blocking call
 * promises, nothing is lost, and they leave the kernel's threads to others.
 *
 * The kernel tries an operation again each time its descriptor seems ready, 128
 * times at most. So each test has more than that come one by one.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

enum { N = 1000, FEW = 300, ONE_BY_ONE = 140, CHUNK = 4096 };

enum means { BY_READ, BY_RECV };
enum thing { PIPE, SOCKETS, EVENTFD };

static const struct kind {
	enum thing thing;
	int flags; /* 0 or O_NONBLOCK */
	enum means means;
} kinds[] = {
	{ PIPE, 0, BY_READ },    { PIPE, O_NONBLOCK, BY_READ },
	{ SOCKETS, 0, BY_READ }, { SOCKETS, O_NONBLOCK, BY_READ },
	{ SOCKETS, 0, BY_RECV }, { SOCKETS, O_NONBLOCK, BY_RECV },
	{ EVENTFD, 0, BY_READ }, { EVENTFD, O_NONBLOCK, BY_READ },
};

enum { N_KINDS = N_ELEMENTS(kinds), FIRST_BY_RECV = 4, N_KINDS_TO_WRITE = 6 };

static const struct kind *kind;
static int ends[2]; /* to read from, and to write to */

static void open_ends(const struct kind *k)
{
	int rc = 0;

	kind = k;
	if (k->thing == PIPE)
		rc = pipe2(ends, O_CLOEXEC | k->flags);
	else if (k->thing == SOCKETS)
		rc = socketpair(AF_UNIX,
				SOCK_STREAM | SOCK_CLOEXEC |
					(k->flags ? SOCK_NONBLOCK : 0),
				0, ends);
	else
		ends[0] = ends[1] =
			eventfd(0, EFD_SEMAPHORE | EFD_CLOEXEC |
					   (k->flags ? EFD_NONBLOCK : 0));
	ck_assert_int_eq(rc, 0);
	ck_assert_int_ge(ends[0], 0);
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) == 1;
}

static void close_ends(void)
{
	close(ends[0]);
	if (ends[1] != ends[0])
		close(ends[1]);
}

/* One unit: a byte, or one of an eventfd's count. The others run as long as there is
 * no room for it. */
static void put(void)
{
	uint64_t one = 1;
	ssize_t size = kind->thing == EVENTFD ? sizeof one : 1;

	while (!is_ready(ends[1], POLLOUT))
		weft_sleep(WEFT_MILLISECOND / 10);
	ck_assert_int_eq(write(ends[1], &one, (size_t)size), size);
}

static int take(void)
{
	uint64_t unit;
	ssize_t n;

	if (kind->means == BY_RECV)
		n = weft_recv(ends[0], &unit, 1, 0);
	else if (kind->thing == EVENTFD)
		n = weft_read(ends[0], &unit, sizeof unit);
	else
		n = weft_read(ends[0], &unit, 1);
	return n > 0 ? 1 : (int)n;
}

/* What is left. */
static int count_left(void)
{
	uint64_t unit;
	int n = 0;

	while (is_ready(ends[0], POLLIN)) {
		ck_assert_int_gt(read(ends[0], &unit,
				      kind->thing == EVENTFD ? sizeof unit : 1),
				 0);
		n++;
	}
	return n;
}

/* Threads of the kernel's that work for this process. */
static int count_workers(void)
{
	DIR *d = opendir("/proc/self/task");
	struct dirent *entry;
	char path[300], name[32];
	int n = 0;

	ck_assert_ptr_nonnull(d);
	while ((entry = readdir(d))) {
		FILE *f;

		snprintf(path, sizeof path, "/proc/self/task/%s/comm",
			 entry->d_name);
		f = fopen(path, "r");
		if (!f)
			continue;
		if (fgets(name, sizeof name, f) && !strncmp(name, "iou-wrk", 7))
			n++;
		fclose(f);
	}
	closedir(d);
	return n;
}

static _Atomic(int) n_done, n_canceled, n_late, n_others, last_error;

static void record(int rc)
{
	if (rc == 1)
		n_done++;
	else if (rc == -ECANCELED)
		n_canceled++;
	else if (rc == -ETIMEDOUT)
		n_late++;
	else {
		n_others++;
		last_error = rc;
	}
}

static int take_one(void *arg)
{
	(void)arg;
	record(take());
	return 0;
}

static void run_until_done(int n)
{
	while (n_done + n_canceled + n_late + n_others < n)
		weft_sleep(WEFT_MILLISECOND / 4);
}

START_TEST(each_reader_is_served)
{
	int n_tasklets = many_tasklets(N);

	open_ends(&kinds[_i]);
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(take_one, NULL);
	weft_pump();
	for (int i = 1; i <= ONE_BY_ONE; i++) {
		put();
		run_until_done(i);
	}
	/* at most as many as may wait in the kernel's way */
	ck_assert_int_le(count_workers(), 16);
	for (int i = ONE_BY_ONE; i < n_tasklets; i++)
		put();
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(last_error, 0);
	ck_assert_int_eq(n_done, n_tasklets);
	ck_assert_int_eq(count_left(), 0);
	close_ends();
}
END_TEST

static void *take_as_many(void *n)
{
	for (int i = 0; i < *(int *)n; i++)
		weft_spawn(take_one, NULL);
	weft_run();
	return NULL;
}

enum { THREADS = 3 };

/* The same for tasklets of several threads. */
START_TEST(each_reader_of_each_thread_is_served)
{
	int n = many_tasklets(FEW) / THREADS;
	pthread_t threads[THREADS];

	open_ends(&kinds[_i]);
	for (int i = 0; i < THREADS; i++)
		threads[i] = start_thread(take_as_many, &n);
	for (int i = 1; i <= THREADS * n; i++) {
		put();
		if (i <= ONE_BY_ONE)
			run_until_done(i);
	}
	for (int i = 0; i < THREADS; i++)
		join_thread(threads[i]);
	ck_assert_int_eq(last_error, 0);
	ck_assert_int_eq(n_done, THREADS * n);
	ck_assert_int_eq(count_left(), 0);
	close_ends();
}
END_TEST

/* The kernel cannot be told not to wait for it. They are so few that it takes none of
 * them for one that is ready in vain too often: man/weft.7 says what comes of that. */
START_TEST(each_reader_of_a_terminal_is_served)
{
	enum { READERS = 100 };
	static const struct kind terminal = { PIPE, 0, BY_READ };
	int n_tasklets = many_tasklets(READERS);
	int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
	struct termios t;

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	kind = &terminal;
	ends[1] = master;
	ends[0] = open(ptsname(master),
		       O_RDWR | O_NOCTTY | O_CLOEXEC | (_i ? O_NONBLOCK : 0));
	ck_assert_int_ge(ends[0], 0);
	ck_assert_int_eq(tcgetattr(ends[0], &t), 0);
	cfmakeraw(&t);
	ck_assert_int_eq(tcsetattr(ends[0], TCSANOW, &t), 0);
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(take_one, NULL);
	weft_pump();
	for (int i = 1; i <= n_tasklets; i++) {
		put();
		if (i <= READERS / 2)
			run_until_done(i);
	}
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(last_error, 0);
	ck_assert_int_eq(n_done, n_tasklets);
	close_ends();
}
END_TEST

static char chunk[CHUNK];

static int give_one(void *arg)
{
	ssize_t n = kind->means == BY_RECV ? weft_send(ends[1], chunk, CHUNK, 0)
					   : weft_write(ends[1], chunk, CHUNK);

	(void)arg;
	record(n == CHUNK ? 1 : (int)n);
	return 0;
}

static int fill(void)
{
	int n = 0;

	while (is_ready(ends[1], POLLOUT)) {
		ck_assert_int_eq(write(ends[1], chunk, CHUNK), CHUNK);
		n++;
	}
	return n;
}

START_TEST(each_writer_is_served)
{
	int n_tasklets = many_tasklets(FEW);
	int n_left;

	open_ends(&kinds[_i]);
	n_left = fill() + n_tasklets;
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(give_one, NULL);
	weft_pump();
	for (int i = 0; n_left; i++) {
		char data[CHUNK];
		ssize_t got = 0;

		while (got < CHUNK) {
			ssize_t n =
				read(ends[0], data, sizeof data - (size_t)got);

			ck_assert_int_gt(n, 0);
			got += n;
		}
		n_left--;
		while (n_left && !is_ready(ends[0], POLLIN))
			weft_sleep(WEFT_MILLISECOND / 4);
		if (i < ONE_BY_ONE)
			weft_sleep(WEFT_MILLISECOND / 10);
	}
	ck_assert_int_le(count_workers(), 16);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(last_error, 0);
	ck_assert_int_eq(n_done, n_tasklets);
	close_ends();
}
END_TEST

static int take_one_in_time(void *ms)
{
	struct weft_deadline d;

	weft_deadline_begin(&d,
			    weft_now() + (intptr_t)ms * WEFT_MILLISECOND / 10);
	record(take());
	weft_deadline_end(&d);
	return 0;
}

/* A third is killed while units come, a third has deadlines that pass meanwhile: what
 * has been put is with those who were served, or still there. */
START_TEST(nothing_is_lost_to_kills_and_deadlines)
{
	weft_tasklet *victims = calloc(N, sizeof *victims);
	weft_group *group = weft_group_new();
	int n_tasklets = many_tasklets(N), n_put = 0;

	open_ends(&kinds[_i]);
	for (intptr_t i = 0; i < n_tasklets; i++)
		if (i % 3 == 0)
			victims[i] = weft_spawn(take_one, NULL);
		else if (i % 3 == 1)
			weft_spawn(take_one_in_time, (void *)(i + 1));
		else
			weft_group_spawn(group, take_one, NULL);
	weft_pump();
	for (int i = 0; i < n_tasklets / 3; i++) {
		put();
		n_put++;
		if (i % 2)
			weft_tasklet_kill(victims[i / 2 * 3],
					  i % 4 == 1 ? WEFT_PENDING : 0);
		if (i % 8 == 0)
			weft_sleep(WEFT_MILLISECOND / 10);
		else
			weft_schedule();
	}
	weft_group_kill(group);
	(void)weft_group_wait(group);
	weft_group_free(group);
	for (int i = 0; i < n_tasklets; i += 3)
		weft_tasklet_kill(victims[i], WEFT_PENDING);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_others, 0);
	ck_assert_int_eq(n_done + n_canceled + n_late, n_tasklets);
	ck_assert_int_eq(n_done + count_left(), n_put);
	close_ends();
	free(victims);
}
END_TEST

/* The number is another file's at once, and nobody takes anything from that. */
START_TEST(close_finds_all)
{
	int n_tasklets = many_tasklets(FEW), n_put = 0, number;
	int others[2];

	open_ends(&kinds[_i]);
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(take_one, NULL);
	weft_pump();
	for (; n_put < ONE_BY_ONE; n_put++) {
		put();
		run_until_done(n_put + 1);
	}
	/* Some are woken by this, and have yet to try. */
	for (int i = 0; i < 10; i++)
		put();
	if (kind->thing == EVENTFD)
		ends[1] = dup(ends[0]);
	number = ends[0];
	ends[0] = dup(number);
	(void)weft_schedule();
	ck_assert_int_eq(weft_close(number), 0);
	ck_assert_int_eq(pipe(others), 0);
	if (others[0] != number)
		ck_assert_int_eq(dup2(others[0], number), number);
	ck_assert_int_eq(write(others[1], "0123456789", 10), 10);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_others + n_late, 0);
	ck_assert_int_eq(n_done + n_canceled, n_tasklets);
	ck_assert_int_eq(n_done + count_left(), ONE_BY_ONE + 10);
	ck_assert_int_eq(read(others[0], chunk, CHUNK), 10);
}
END_TEST

/* Who asked for it is told that there is nothing. */
START_TEST(who_will_not_wait_does_not)
{
	int n_tasklets = many_tasklets(FEW);
	char c;

	open_ends(&kinds[FIRST_BY_RECV + _i]);
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(take_one, NULL);
	weft_pump();
	ck_assert_int_eq(weft_recv(ends[0], &c, 1, MSG_DONTWAIT), -EAGAIN);
	for (int i = 1; i <= ONE_BY_ONE; i++) {
		put();
		run_until_done(i);
	}
	ck_assert_int_eq(weft_recv(ends[0], &c, 1, MSG_DONTWAIT), -EAGAIN);
	weft_set_block_trap(true);
	ck_assert_int_eq(take(), -EAGAIN);
	weft_set_block_trap(false);
	for (int i = ONE_BY_ONE; i < n_tasklets; i++)
		put();
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_done, n_tasklets);
	close_ends();
}
END_TEST

/* They are not the child's to serve. */
START_TEST(child_of_fork_waits_for_none)
{
	int n_tasklets = many_tasklets(FEW), status;
	pid_t pid;

	open_ends(&kinds[_i]);
	for (int i = 0; i < n_tasklets; i++)
		weft_spawn(take_one, NULL);
	weft_pump();
	for (int i = 1; i <= ONE_BY_ONE; i++) {
		put();
		run_until_done(i);
	}
	put();
	/* What that wakes has yet to run. */
	(void)weft_schedule();
	pid = fork();
	if (pid == 0) {
		weft_run();
		EXPECT(n_others == 0 && n_late == 0);
		EXPECT(n_done + n_canceled == n_tasklets);
		EXPECT(n_done <= ONE_BY_ONE + 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	for (int i = ONE_BY_ONE + 1; i < n_tasklets; i++)
		put();
	while (n_done < n_tasklets - 1)
		weft_sleep(WEFT_MILLISECOND);
	/* The child may have been first for the last one. Counting takes it, too, if
	 * it is still there. */
	(void)count_left();
	if (n_done < n_tasklets)
		put();
	ck_assert_int_eq(weft_run(), 0);
	close_ends();
}
END_TEST

/* A thread ends that has such a crowd, shielded or not. */
static int take_one_shielded(void *arg)
{
	weft_shield_begin();
	record(take());
	weft_shield_end();
	(void)arg;
	return 0;
}

static void *leave_a_crowd(void *arg)
{
	for (int i = 0; i < FEW; i++)
		weft_spawn(i % 2 ? take_one : take_one_shielded, NULL);
	weft_pump();
	for (int i = 1; i <= ONE_BY_ONE; i++) {
		put();
		run_until_done(i);
	}
	for (int i = 0; i < 10; i++)
		put();
	return arg;
}

START_TEST(end_of_a_thread_with_a_crowd)
{
	open_ends(&kinds[_i]);
	join_thread(start_thread(leave_a_crowd, NULL));
	ck_assert_int_eq(n_others + n_late, 0);
	ck_assert_int_eq(n_done + n_canceled, FEW);
	ck_assert_int_eq(n_done + count_left(), ONE_BY_ONE + 10);
	close_ends();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("crowd");

	add_loop(s, "readers", each_reader_is_served, N_KINDS);
	add_loop(s, "threads", each_reader_of_each_thread_is_served, N_KINDS);
	add_loop(s, "terminal", each_reader_of_a_terminal_is_served, 2);
	add_loop(s, "writers", each_writer_is_served, N_KINDS_TO_WRITE);
	add_loop(s, "interrupted", nothing_is_lost_to_kills_and_deadlines,
		 N_KINDS);
	add_loop(s, "close", close_finds_all, N_KINDS);
	add_loop(s, "will not wait", who_will_not_wait_does_not, 2);
	add_loop(s, "end of a thread", end_of_a_thread_with_a_crowd, N_KINDS);
	/* its child is one thread of many, of which the tool knows too much */
	if (!UNDER_TSAN && !is_under_valgrind())
		add_loop(s, "fork", child_of_fork_waits_for_none, N_KINDS);
	return run_suite(s);
}
