/* SPDX-License-Identifier: MIT */
/*
 * I/O that is interrupted: the kernel lets go of the buffer before the call
 * returns, and nothing that it has done is lost.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static int ends[2];
static int results[2];
static char buffer[16];

static int read_twice(void *arg)
{
	(void)arg;
	results[0] = (int)weft_read(ends[0], buffer, 1);
	results[1] = (int)weft_read(ends[0], buffer + 1, 1);
	return 0;
}

/* Its first read is with the kernel. */
static weft_tasklet start_reader(void)
{
	weft_tasklet t;

	ck_assert_int_eq(pipe(ends), 0);
	t = weft_spawn(read_twice, NULL);
	ck_assert_int_eq(weft_pump(), 1);
	return t;
}

START_TEST(raise_interrupts_once)
{
	weft_tasklet t = start_reader();

	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, 0), 0);
	ck_assert_int_eq(results[0], -EXDEV);
	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[1], 1);
	ck_assert_int_eq(buffer[1], 'a');
}
END_TEST

/* A byte comes, and a kill: the read returns one or the other, and the byte is not
 * lost; the next one returns the error in any case. */
START_TEST(result_that_came_first)
{
	weft_tasklet t = start_reader();

	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[1], -ECANCELED);
	if (results[0] == 1)
		ck_assert_int_eq(buffer[0], 'a');
	else
		ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(read(ends[0], buffer, 4), results[0] == 1 ? 1 : 2);
	ck_assert_int_eq(buffer[0], results[0] == 1 ? 'b' : 'a');
}
END_TEST

enum { READERS = 3000 };

static int n_canceled;

static int read_one(void *fd)
{
	char byte;

	n_canceled += weft_read(*(int *)fd, &byte, 1) == -ECANCELED;
	return 0;
}

/* More to cancel than the queue has room for. */
START_TEST(cancel_storm_with_full_ring)
{
	int n = many_tasklets(READERS);
	weft_tasklet t[READERS];

	ck_assert_int_eq(pipe(ends), 0);
	for (int i = 0; i < n; i++)
		t[i] = weft_spawn(read_one, &ends[0]);
	ck_assert_int_eq(weft_pump(), n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(weft_tasklet_kill(t[i], WEFT_PENDING), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_canceled, n);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(read(ends[0], buffer, 2), 1);
}
END_TEST

/* --- very many at once --- */

enum { VERY_MANY = 100000 };

static struct {
	weft_tasklet *tasklets;
	int n;
	int64_t when;
	int n_ended[2]; /* by the kill or deadline, and otherwise */
} crowd;

static int read_in_crowd(void *arg)
{
	int expected = crowd.when ? -ETIMEDOUT : -ECANCELED;
	struct weft_deadline d;
	char byte = 0;
	ssize_t rc;

	if (crowd.when)
		weft_deadline_begin(&d, crowd.when);
	rc = weft_read(ends[0], &byte, 1);
	if (crowd.when)
		weft_deadline_end(&d);
	crowd.n_ended[rc != expected || byte != 0]++;
	return arg != NULL;
}

static void spawn_crowd(void)
{
	ck_assert_int_eq(pipe(ends), 0);
	crowd.n = many_tasklets(VERY_MANY);
	crowd.tasklets = calloc((size_t)crowd.n, sizeof *crowd.tasklets);
	for (int i = 0; i < crowd.n; i++)
		crowd.tasklets[i] = weft_spawn(read_in_crowd, NULL);
	for (int i = 0; i < crowd.n; i++)
		ck_assert(!weft_tasklet_is_null(crowd.tasklets[i]));
}

/* All have ended, for that reason, and the bytes that come are for others. */
static void expect_end_of_crowd(void)
{
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(crowd.n_ended[0], crowd.n);
	ck_assert_int_eq(crowd.n_ended[1], 0);
	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	ck_assert_int_eq(weft_read(ends[0], buffer, 4), 2);
	free(crowd.tasklets);
}

START_TEST(very_many_killed_at_once)
{
	spawn_crowd();
	ck_assert_int_eq(weft_pump(), crowd.n);
	for (int i = 0; i < crowd.n; i++)
		ck_assert_int_eq(
			weft_tasklet_kill(crowd.tasklets[i], WEFT_PENDING), 0);
	expect_end_of_crowd();
}
END_TEST

/* Some may be too late to begin: they return the same. */
START_TEST(very_many_time_out_at_once)
{
	crowd.when = weft_now() + WEFT_SECOND;
	spawn_crowd();
	expect_end_of_crowd();
}
END_TEST

/* One close ends them all. */
START_TEST(very_many_closed_at_once)
{
	spawn_crowd();
	ck_assert_int_eq(weft_pump(), crowd.n);
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(crowd.n_ended[0], crowd.n);
	free(crowd.tasklets);
}
END_TEST

static int accept_one(void *fd)
{
	return weft_accept(*(int *)fd, NULL, NULL);
}

START_TEST(accept_is_interrupted)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	weft_tasklet t;

	/* bound to a name of the kernel's choice */
	ck_assert_int_eq(bind(fd, &(struct sockaddr){ .sa_family = AF_UNIX },
			      sizeof(sa_family_t)),
			 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	t = weft_spawn(accept_one, &fd);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	close(fd);
}
END_TEST

static int close_both(void *arg)
{
	(void)arg;
	results[0] = (int)weft_read(ends[0], buffer, 1);
	results[1] = weft_close(ends[0]);
	return weft_close(ends[1]);
}

/* A killed tasklet can let go of what it holds. */
START_TEST(killed_one_closes)
{
	weft_tasklet t;

	ck_assert_int_eq(pipe(ends), 0);
	t = weft_spawn(close_both, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
	ck_assert_int_eq(fcntl(ends[1], F_GETFD), -1);
}
END_TEST

/* With a trap, what is there can be read; what is not, is not waited for. */
START_TEST(io_under_a_trap)
{
	int error = _i ? -EPERM : -EAGAIN;

	ck_assert_int_eq(pipe(ends), 0);
	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(weft_read(ends[0], buffer, 4), error);
		ck_assert_int_eq(weft_write(ends[1], "ab", 2), 2);
		ck_assert_int_eq(weft_read(ends[0], buffer, 4), 2);
		ck_assert_mem_eq(buffer, "ab", 2);
	}
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[1]), 0);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}
END_TEST

/* --- I/O of those who must not wait, while somebody waits --- */

static weft_channel *x;
static weft_tasklet receiver;
static ssize_t said;

static int receive(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

static void write_when_told(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)to;
	(void)ctx;
	if (said || !weft_tasklet_equal(from, receiver))
		return;
	said = weft_write(ends[1], "a", 1);
	(void)weft_read(ends[0], buffer, sizeof buffer);
	(void)weft_read(ends[0], buffer, sizeof buffer);
}

/* In a callback about a tasklet that is about to wait: its wait is as before. */
START_TEST(io_in_a_schedule_callback)
{
	ck_assert_int_eq(pipe(ends), 0);
	x = weft_channel_new(0, 0);
	receiver = weft_spawn(receive, NULL);
	weft_set_schedule_callback(write_when_told, NULL);
	weft_schedule();
	weft_set_schedule_callback(NULL, NULL);
	ck_assert(said == 1 || said == -EPERM);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	ck_assert_int_eq(weft_tasklet_state(receiver), WEFT_BLOCKED);
	ck_assert_int_eq(weft_tasklet_kill(receiver, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(receiver), -ECANCELED);
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_channel_unref(x);
}
END_TEST

static weft_tasklet fresh;
static _Atomic(bool) is_raised;

static void write_about_it(weft_tasklet t, int result, void *ctx)
{
	(void)t;
	(void)result;
	(void)ctx;
	said = weft_write(ends[1], "a", 1);
}

static void *raise_on_it(void *arg)
{
	until_parked(*(uint64_t *)arg);
	weft_tasklet_raise(fresh, EIO, 0);
	is_raised = true;
	return NULL;
}

/* An error handler writes about a tasklet that another thread has ended, while
 * main waits for something else. */
START_TEST(io_in_an_error_handler)
{
	struct weft_tasklet_options paused = { .paused = true };
	uint64_t id = weft_thread_id();
	struct weft_deadline d;
	pthread_t thread;

	ck_assert_int_eq(pipe(ends), 0);
	x = weft_channel_new(0, 0);
	weft_set_error_handler(write_about_it, NULL);
	fresh = weft_spawn_with(&paused, receive, NULL);
	thread = start_thread(raise_on_it, &id);
	do { /* until the other thread has seen it parked */
		weft_deadline_begin(&d, weft_now() + 300 * WEFT_MILLISECOND);
		ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
		ck_assert(weft_deadline_end(&d));
	} while (!is_raised);
	join_thread(thread);
	weft_schedule(); /* if it came too late for the wait */
	ck_assert(said == 1 || said == -EPERM);
	weft_channel_unref(x);
}
END_TEST

/* --- the end of a thread --- */

static int n_reads;

static void read_at_the_end(void *persistent)
{
	do
		results[0] = (int)weft_read(ends[0], buffer, 1);
	while (persistent && results[0] == -ECANCELED && ++n_reads);
}

static int wait_with_deferred_read(void *arg)
{
	weft_defer(read_at_the_end, arg);
	return weft_schedule_remove();
}

static void *leave_it(void *arg)
{
	weft_spawn(wait_with_deferred_read, arg);
	weft_schedule();
	return NULL;
}

/* A shielded read of what never comes is taken back in the end; one who then does
 * nothing but read again is left behind. */
START_TEST(shielded_read_at_the_end_of_a_thread)
{
	ck_assert_int_eq(pipe(ends), 0);
	join_thread(start_thread(leave_it, _i ? &n_reads : NULL));
	ck_assert_int_eq(results[0], -ECANCELED);
	if (_i)
		ck_assert_int_ge(n_reads, 1);
}
END_TEST

/* What main has deferred does I/O all the same. */
static void write_at_the_end(void *arg)
{
	(void)arg;
	said = weft_write(ends[1], "a", 1);
}

static void *leave_it_and_write(void *arg)
{
	weft_defer(write_at_the_end, NULL);
	return leave_it(arg);
}

START_TEST(deferred_by_main_after_a_shielded_read)
{
	ck_assert_int_eq(pipe(ends), 0);
	join_thread(start_thread(leave_it_and_write, NULL));
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(said, 1);
}
END_TEST

/* --- operations that the kernel moves about --- */

static struct sockaddr_un full;
static int listener;

/* A Unix listener that takes no more: who connects is tried anew a hundred times,
 * and then sleeps in a worker. A cancel may find it nowhere. */
static void fill_a_backlog(void)
{
	full.sun_family = AF_UNIX;
	snprintf(full.sun_path + 1, sizeof full.sun_path - 1, "weft-test-%d",
		 (int)getpid());
	listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(listener, (struct sockaddr *)&full, sizeof full),
			 0);
	ck_assert_int_eq(listen(listener, 0), 0);
	for (;;) {
		int fd = socket(AF_UNIX,
				SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (connect(fd, (struct sockaddr *)&full, sizeof full))
			break;
	}
}

static int connect_in_vain(void *arg)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	results[0] = weft_connect(fd, (struct sockaddr *)&full, sizeof full);
	close(fd);
	return 0;
}

START_TEST(cancel_that_finds_nothing)
{
	fill_a_backlog();
	for (int i = 0; i < 300; i++) {
		weft_tasklet t = weft_spawn(connect_in_vain, NULL);

		/* at another point of its way each time */
		for (int n = 0; n <= i; n++)
			weft_pump();
		if (_i) {
			weft_tasklet_kill(t, WEFT_PENDING);
			weft_run();
			ck_assert_int_eq(results[0], -ECANCELED);
			continue;
		}
		weft_tasklet_kill(t, WEFT_PENDING);
		weft_run();
		weft_set_block_trap(true);
		connect_in_vain(NULL);
		weft_set_block_trap(false);
		ck_assert_int_eq(results[0], -EAGAIN);
	}
	close(listener);
}
END_TEST

static _Noreturn void stop_and_continue(pid_t pid)
{
	static const struct timespec nap = { .tv_nsec = 2 * 1000 * 1000 };

	for (int i = 0; i < 20; i++) {
		nanosleep(&nap, NULL);
		kill(pid, SIGSTOP);
		nanosleep(&nap, NULL);
		kill(pid, SIGCONT);
	}
	_exit(0);
}

/* As a debugger does. */
START_TEST(stopping_the_process_ends_no_call)
{
	pid_t parent = getpid(), child;
	weft_tasklet t;

	fill_a_backlog();
	results[0] = 1;
	t = weft_spawn(connect_in_vain, NULL);
	weft_sleep(20 * WEFT_MILLISECOND);
	child = fork();
	if (child == 0)
		stop_and_continue(parent);
	while (waitpid(child, NULL, WNOHANG) == 0)
		weft_sleep(WEFT_MILLISECOND);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(results[0], 1);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(results[0], -ECANCELED);
	close(listener);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_kill");

	add_case(s, "interrupted", raise_interrupts_once,
		 result_that_came_first, cancel_storm_with_full_ring,
		 accept_is_interrupted);
	add_case(s, "very many", very_many_killed_at_once,
		 very_many_time_out_at_once, very_many_closed_at_once);
	add_case(s, "stopped", stopping_the_process_ends_no_call);
	add_case(s, "close", killed_one_closes);
	add_loop(s, "trap", io_under_a_trap, 2);
	add_loop(s, "moved about", cancel_that_finds_nothing, 2);
	add_case(s, "somebody waits", io_in_a_schedule_callback,
		 io_in_an_error_handler);
	add_loop(s, "end of a thread", shielded_read_at_the_end_of_a_thread, 2);
	add_case(s, "end of a thread", deferred_by_main_after_a_shielded_read);
	return run_suite(s);
}
