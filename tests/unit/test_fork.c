/* SPDX-License-Identifier: MIT */
/*
 * fork(): the child's scheduler goes on, on a new ring, and the parent notices
 * nothing. What the child finds wrong, it tells by its exit status.
 *
 * ThreadSanitizer takes tasklets for threads, ignores what orders things in a child
 * that had several, and then reports races that are none: nothing of this is run
 * there.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "channel/channel.h"
#include "core/park.h"
#include "core/scheduler.h"
#include "support.h"

static weft_channel *x, *y;

static void make_channels(void)
{
	x = weft_channel_new(sizeof(int), 0);
	y = weft_channel_new(sizeof(int), 0);
}

static void expect_success(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "child ended with %#x", (unsigned)status);
}

static int received;

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, &received);
}

static int n_slept;

static int sleep_a_bit(void *arg)
{
	(void)arg;
	weft_sleep(100 * WEFT_MILLISECOND);
	n_slept++;
	return 0;
}

static void use_all(weft_tasklet receiver)
{
	int value = 5;

	EXPECT(weft_tasklet_state(receiver) == WEFT_BLOCKED);
	EXPECT(weft_channel_balance(x) == -1);
	EXPECT(weft_channel_send(x, &value) == 0);
	EXPECT(received == 5 && !weft_tasklet_alive(receiver));
	EXPECT(weft_run() == 0);
	EXPECT(n_slept == 1);
}

/* Both go on with the tasklets that there were. */
START_TEST(child_goes_on)
{
	weft_tasklet receiver;
	pid_t pid;

	make_channels();
	receiver = weft_spawn(receive_x, NULL);
	weft_spawn(sleep_a_bit, NULL);
	weft_schedule();
	pid = fork();
	use_all(receiver);
	if (pid == 0)
		_exit(0);
	expect_success(pid);
}
END_TEST

static int fork_inside(void *arg)
{
	pid_t pid = fork();

	(void)arg;
	if (pid == 0) {
		EXPECT(!weft_tasklet_is_main(weft_current()));
		EXPECT(weft_sleep(WEFT_MILLISECOND) == 0);
	}
	return pid;
}

/* In a tasklet: the child comes back from the join as the parent does. */
START_TEST(fork_in_a_tasklet)
{
	pid_t pid = weft_tasklet_join(weft_spawn(fork_inside, NULL));

	if (pid == 0)
		_exit(0);
	ck_assert_int_gt(pid, 0);
	expect_success(pid);
}
END_TEST

static int ends[2];
static int n_read;

static int read_one(void *arg)
{
	char byte;
	int rc = (int)weft_read(ends[0], &byte, 1);

	(void)arg;
	n_read += rc == 1;
	return rc;
}

/* The parent's operation stays the parent's; the child's reader is told. */
START_TEST(io_in_flight)
{
	weft_tasklet reader;
	pid_t pid;

	/* Valgrind stumbles over memory that a child does not have. */
	if (is_under_valgrind())
		return;
	ck_assert_int_eq(pipe(ends), 0);
	reader = weft_spawn(read_one, NULL);
	weft_schedule();
	weft_pump(); /* the kernel has it */
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_tasklet_join(reader) == -ECANCELED);
		/* and I/O works, on another ring */
		EXPECT(pipe(ends) == 0);
		reader = weft_spawn(read_one, NULL);
		EXPECT(weft_pump() == 1);
		EXPECT(write(ends[1], "x", 1) == 1);
		EXPECT(weft_tasklet_join(reader) == 1);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(weft_tasklet_state(reader), WEFT_BLOCKED);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(weft_tasklet_join(reader), 1);
	ck_assert_int_eq(n_read, 1);
}
END_TEST

static weft_tasklet others;

static int wait_on_y(void *arg)
{
	int value;

	others = weft_current();
	weft_channel_send(x, arg);
	return weft_channel_receive(y, &value);
}

static int join_others(void *arg)
{
	(void)arg;
	return weft_tasklet_join(others);
}

/* Other threads and their tasklets have ended in the child. */
START_TEST(other_threads_are_gone)
{
	int value = 1;
	weft_tasklet joiner;
	uint64_t id;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	make_channels();
	ck_assert_int_eq(weft_thread_start(&id, wait_on_y, &value), 0);
	ck_assert_int_eq(weft_channel_receive(x, &value), 0);
	until_parked(id);
	joiner = weft_spawn(join_others, NULL);
	weft_schedule();
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_threads(NULL, 0) == 1);
		EXPECT(!weft_tasklet_alive(others));
		EXPECT(weft_tasklet_kill(others, 0) == -ESRCH);
		EXPECT(weft_tasklet_join(others) == -ESRCH);
		EXPECT(weft_channel_balance(y) == 0);
		EXPECT(weft_channel_try_send(y, &value) == -EAGAIN);
		EXPECT(weft_tasklet_join(joiner) == -ECANCELED);
		EXPECT(weft_thread_join(id) == -ECANCELED);
		EXPECT(weft_thread_join(id) == -ESRCH);
		/* nobody is left who could */
		if (has_verdicts())
			EXPECT(weft_channel_receive(y, &value) == -EDEADLK);
		/* and a new one works */
		EXPECT(weft_thread_start(&id, receive_x, NULL) == 0);
		EXPECT(weft_channel_send(x, &value) == 0);
		EXPECT(weft_thread_join(id) == 0);
		_exit(0);
	}
	expect_success(pid);
	ck_assert(weft_tasklet_alive(others));
	ck_assert_int_eq(weft_channel_send(y, &value), 0);
	ck_assert_int_eq(weft_tasklet_join(joiner), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
}
END_TEST

static _Atomic(bool) must_end, has_begun;

static void *hammer(void *arg)
{
	int value = 0;

	while (!must_end) {
		if (weft_channel_send(x, &value) ||
		    weft_channel_receive(y, &value))
			return "failed";
		has_begun = true;
	}
	(void)arg;
	value = -1;
	weft_channel_send(x, &value);
	return NULL;
}

static int echo(void *arg)
{
	int value;

	(void)arg;
	while (!weft_channel_receive(x, &value) && value >= 0)
		if (weft_channel_send(y, &value))
			return -EIO;
	return 0;
}

/* While others are in the middle of everything. */
START_TEST(fork_under_load)
{
	enum { FORKS = 100 };
	pthread_t thread;
	uint64_t id;

	if (lacks_fork_with_threads())
		return;
	make_channels();
	ck_assert_int_eq(weft_thread_start(&id, echo, NULL), 0);
	thread = start_thread(hammer, NULL);
	/* The sanitizer's locks, which both threads take as they begin, stay in a child
	 * as they were. */
	while (UNDER_ASAN && !has_begun)
		usleep(1000);
	for (int i = 0; i < FORKS; i++) {
		weft_channel *own = weft_channel_new(sizeof(int), 0);
		pid_t pid = fork();

		if (pid == 0) {
			int value = 3;

			x = own;
			weft_spawn(receive_x, NULL);
			weft_schedule();
			EXPECT(weft_channel_send(x, &value) == 0);
			EXPECT(received == 3 && weft_run() == 0);
			EXPECT(weft_sleep(1000) == 0);
			_exit(0);
		}
		expect_success(pid);
		weft_channel_unref(own);
	}
	must_end = true;
	join_thread(thread);
	ck_assert_int_eq(weft_thread_join(id), 0);
}
END_TEST

static void *just_fork(void *pid)
{
	*(pid_t *)pid = fork();
	if (*(pid_t *)pid == 0) {
		EXPECT(weft_threads(NULL, 0) == 1);
		EXPECT(weft_sleep(1000) == 0);
		_exit(0);
	}
	return NULL;
}

/* A thread that has never called weft. */
START_TEST(fork_in_a_thread_not_attached)
{
	pid_t pid;

	/* the stack of the parent's first thread is a leak to Valgrind */
	if (is_under_valgrind())
		return;

	weft_current();
	join_thread(start_thread(just_fork, &pid));
	expect_success(pid);
}
END_TEST

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* weft_fd() keeps its number, and is the child's own. */
START_TEST(fd_in_the_child)
{
	int fd = weft_fd();
	pid_t pid;

	make_channels();
	weft_pump();
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_fd() == fd && !is_readable(fd));
		weft_spawn(sleep_a_bit, NULL);
		EXPECT(is_readable(fd));
		EXPECT(weft_pump() == 1 && !is_readable(fd));
		_exit(0);
	}
	expect_success(pid);
	ck_assert(!is_readable(fd));
	weft_spawn(sleep_a_bit, NULL);
	ck_assert(is_readable(fd));
	weft_run();
}
END_TEST

/* A child of a child, and a child that does nothing with weft. */
START_TEST(fork_and_fork)
{
	pid_t pid = fork();

	if (pid == 0) {
		pid = fork();
		if (pid == 0) {
			EXPECT(weft_tasklet_join(
				       weft_spawn(sleep_a_bit, NULL)) == 0);
			_exit(0);
		}
		EXPECT(weft_sleep(1000) == 0);
		expect_success(pid);
		_exit(0);
	}
	expect_success(pid);
	pid = fork();
	if (pid == 0)
		_exit(0);
	expect_success(pid);
	ck_assert_int_eq(weft_sleep(1000), 0);
}
END_TEST

static int in_handlers;

static void use_weft(void)
{
	in_handlers |= weft_sleep(1000);
}

/* Handlers of the program's, from before its first call of weft, may call it. */
START_TEST(handlers_from_before)
{
	weft_tasklet sleeper;
	pid_t pid;

	ck_assert_int_eq(pthread_atfork(use_weft, use_weft, use_weft), 0);
	sleeper = weft_spawn(sleep_a_bit, NULL);
	weft_sleep(1000);
	pid = fork();
	if (pid == 0) {
		EXPECT(in_handlers == 0);
		/* On a slow machine it has ended by now. */
		(void)weft_tasklet_join(sleeper);
		EXPECT(n_slept == 1);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(in_handlers, 0);
	weft_run();
	ck_assert_int_eq(n_slept, 1);
}
END_TEST

/* --- a claim that is half done --- */

static weft_channel *kept, *claimed;
static int n_dropped, chosen = 1000;
static sem_t is_half_done, may_go_on;

static void count_drop(void *element, void *ctx)
{
	(void)element;
	(void)ctx;
	n_dropped++;
}

static weft_channel *new_full(void)
{
	weft_channel *ch = weft_channel_new(sizeof(int), 1);
	int value = 7;

	weft_channel_set_drop(ch, count_drop, NULL);
	weft_channel_send(ch, &value);
	return ch;
}

static int send_one_of_two(void *arg)
{
	int value = 8;
	struct weft_case cases[] = {
		{ .channel = kept, .op = WEFT_SEND, .element = &value },
		{ .channel = claimed, .op = WEFT_SEND, .element = &value },
	};

	(void)arg;
	chosen = weft_select(cases, 2, 0);
	return 0;
}

/* What a receiver of another thread does, up to the wake. */
static void *claim_one(void *arg)
{
	struct waiter *w;
	bool locked;

	weft_thread_id();
	locked = weft__channel_lock(claimed);
	w = weft__first_live(claimed->senders);
	if (w && weft__select_claim(w))
		weft__channel_unlink(claimed, w);
	weft__channel_unlock(claimed, locked);
	w = weft__select_settle(w);
	sem_post(&is_half_done);
	while (sem_wait(&may_go_on))
		;
	weft__wake_foreign(weft__self, w);
	return arg;
}

/* A selection was the last to use a channel, and has been withdrawn from it by who is
 * not there to tell: in the child, too, the channel goes, and what is in it. */
START_TEST(selection_that_another_thread_ends)
{
	pthread_t thread;
	pid_t pid;

	sem_init(&is_half_done, 0, 0);
	sem_init(&may_go_on, 0, 0);
	kept = new_full();
	claimed = new_full();
	weft_spawn(send_one_of_two, NULL);
	weft_schedule();
	weft_channel_unref(kept);
	thread = start_thread(claim_one, NULL);
	while (sem_wait(&is_half_done))
		;
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_run() == 0);
		EXPECT(chosen == -ECANCELED);
		EXPECT(n_dropped == 1);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(n_dropped, 0);
	sem_post(&may_go_on);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(thread);
	ck_assert_int_eq(chosen, 1);
	ck_assert_int_eq(n_dropped, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("fork");

	if (UNDER_TSAN) {
		fprintf(stderr, "ThreadSanitizer cannot follow a fork\n");
		return SKIPPED;
	}
	add_case(s, "fork", child_goes_on, fork_in_a_tasklet, io_in_flight,
		 fork_and_fork, fd_in_the_child, handlers_from_before);
	add_case(s, "threads", other_threads_are_gone, fork_under_load,
		 fork_in_a_thread_not_attached,
		 selection_that_another_thread_ends);
	return run_suite(s);
}
