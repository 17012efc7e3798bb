/* SPDX-License-Identifier: MIT */
/*
 * Deadlock: who is told that nothing can ever wake it, and who is not. Each case
 * is a process of its own, which has no other threads than those that it makes.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static char errors[8192];

static void expect_child(int (*body)(void))
{
	int status = in_child(body, errors, sizeof errors);

	ck_assert_msg(status == 0, "status %d: %s", status, errors);
}

static weft_channel *x, *y;

static void make_channels(void)
{
	x = weft_channel_new(sizeof(int), 0);
	y = weft_channel_new(sizeof(int), 0);
	weft_channel_set_name(x, "jobs");
}

/* As plain threads do that are not attached. */
static void nap(int milliseconds)
{
	struct timespec ts = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&ts, NULL);
}

static int receive_x(void *arg)
{
	int value;

	(void)arg;
	return weft_channel_receive(x, &value);
}

static int join_it(void *t)
{
	return weft_tasklet_join(*(weft_tasklet *)t);
}

/* --- one thread --- */

static int main_waits(void)
{
	int value = 3;

	make_channels();
	EXPECT(weft_channel_receive(x, &value) == -EDEADLK);
	EXPECT(weft_channel_balance(x) == 0);
	EXPECT(weft_channel_send(x, &value) == -EDEADLK);
	EXPECT(weft_sleep_until(WEFT_FOREVER) == -EDEADLK);
	/* with a timer it would not be one */
	EXPECT(weft_sleep(WEFT_MILLISECOND) == 0);
	return 0;
}

/* The others stay as they were, and can be used. */
static int others_stay(void)
{
	weft_tasklet t, paused;
	int value = 4;

	make_channels();
	t = weft_spawn(receive_x, NULL);
	paused = weft_spawn_with(
		&(struct weft_tasklet_options){ .paused = true }, receive_x,
		NULL);
	EXPECT(weft_run() == -EDEADLK);
	EXPECT(weft_tasklet_state(t) == WEFT_BLOCKED);
	EXPECT(weft_tasklet_state(paused) == WEFT_PAUSED);
	EXPECT(weft_channel_balance(x) == -1);
	EXPECT(weft_channel_receive(y, &value) == -EDEADLK);
	EXPECT(weft_channel_send(x, &value) == 0);
	EXPECT(!weft_tasklet_alive(t));
	EXPECT(weft_tasklet_kill(paused, 0) == 0);
	EXPECT(weft_run() == 0);
	return 0;
}

static int inner_result;

static int run_inside(void *arg)
{
	(void)arg;
	weft_spawn(receive_x, NULL);
	inner_result = weft_run();
	return 0;
}

/* The innermost run is told, and the outer one when that is all there is. */
static int innermost_run(void)
{
	make_channels();
	weft_spawn(run_inside, NULL);
	EXPECT(weft_run() == -EDEADLK);
	EXPECT(inner_result == -EDEADLK);
	EXPECT(weft_channel_balance(x) == -1);
	return 0;
}

/* Two who wait for each other's end, and main for both. */
static int join_in_a_circle(void)
{
	weft_tasklet a, b;

	a = weft_spawn(join_it, &b);
	b = weft_spawn(join_it, &a);
	EXPECT(weft_tasklet_join(a) == -EDEADLK);
	EXPECT(weft_tasklet_state(a) == WEFT_BLOCKED);
	EXPECT(weft_tasklet_raise(a, EINTR, 0) == 0);
	EXPECT(!weft_tasklet_alive(a) && weft_run() == 0);
	EXPECT(!weft_tasklet_alive(b));
	return 0;
}

static int sleep_and_send(void *arg)
{
	int value = 6;

	(void)arg;
	weft_sleep(20 * WEFT_MILLISECOND);
	return weft_channel_send(x, &value);
}

static int a_timer_is_hope(void)
{
	int value = 0;

	make_channels();
	weft_spawn(sleep_and_send, NULL);
	EXPECT(weft_channel_receive(x, &value) == 0 && value == 6);
	EXPECT(weft_run() == 0);
	return 0;
}

static int ends[2];

static int read_and_send(void *arg)
{
	char byte;
	int value = 7;

	(void)arg;
	if (weft_read(ends[0], &byte, 1) != 1)
		return -EIO;
	return weft_channel_send(x, &value);
}

static void *write_late(void *arg)
{
	(void)arg;
	nap(200);
	EXPECT(write(ends[1], "x", 1) == 1);
	return NULL;
}

/* Here on another thread of weft; the writer is long gone from the count. */
static int io_is_hope(void)
{
	pthread_t writer;
	uint64_t id;
	int value = 0;

	make_channels();
	EXPECT(pipe(ends) == 0);
	EXPECT(weft_thread_start(&id, read_and_send, NULL) == 0);
	EXPECT(pthread_create(&writer, NULL, write_late, NULL) == 0);
	EXPECT(weft_channel_receive(x, &value) == 0 && value == 7);
	EXPECT(weft_thread_join(id) == 0);
	pthread_join(writer, NULL);
	return 0;
}

/* --- several threads --- */

enum { THREADS = 3 };

static _Atomic(int) n_told;

static int wait_for_ever(void *arg)
{
	int value;
	int rc = weft_channel_receive(x, &value);

	(void)arg;
	EXPECT(rc == -ECANCELED); /* killed at the end of its thread */
	return rc;
}

static void *be_a_thread(void *arg)
{
	int rc;

	(void)arg;
	weft_spawn(wait_for_ever, NULL);
	rc = weft_run();
	EXPECT(rc == -EDEADLK);
	EXPECT(weft_channel_balance(x) == n_told - THREADS);
	if (++n_told == THREADS)
		_exit(0);
	return NULL;
}

/* All are parked: one is told. When that ends, another looks again, and so on. */
static int one_after_the_other(void)
{
	make_channels();
	for (int i = 0; i < THREADS; i++) {
		pthread_t thread;

		EXPECT(pthread_create(&thread, NULL, be_a_thread, NULL) == 0);
		pthread_detach(thread);
	}
	pthread_exit(NULL);
}

static void *send_late(void *arg)
{
	int value = 8;

	(void)arg;
	nap(300);
	EXPECT(weft_channel_send(x, &value) == 0);
	return NULL;
}

/* A thread that is not attached may attach, and send. */
static int a_stranger_is_hope(void)
{
	pthread_t stranger;
	int value = 0;

	make_channels();
	EXPECT(pthread_create(&stranger, NULL, send_late, NULL) == 0);
	EXPECT(weft_channel_receive(x, &value) == 0 && value == 8);
	pthread_join(stranger, NULL);
	return 0;
}

/* So is one whose state cannot be read: the last descriptor lists the threads. */
static int an_unreadable_stranger_is_hope(void)
{
	struct rlimit few = { .rlim_cur = 64, .rlim_max = 64 };
	pthread_t stranger;
	int last = -1, value = 0, fd;

	make_channels();
	EXPECT(weft_sleep(1000) == 0);
	EXPECT(weft_fd() >= 0); /* opens the engine */
	EXPECT(setrlimit(RLIMIT_NOFILE, &few) == 0);
	EXPECT(pthread_create(&stranger, NULL, send_late, NULL) == 0);
	while ((fd = dup(STDERR_FILENO)) >= 0)
		last = fd;
	EXPECT(errno == EMFILE && last >= 0);
	close(last);
	EXPECT(weft_channel_receive(x, &value) == 0 && value == 8);
	pthread_join(stranger, NULL);
	return 0;
}

static void *attach_and_send_late(void *arg)
{
	weft_current();
	return send_late(arg);
}

/* One that is attached and busy with something else. */
static int a_busy_thread_is_hope(void)
{
	pthread_t busy;
	int value = 0;

	make_channels();
	EXPECT(pthread_create(&busy, NULL, attach_and_send_late, NULL) == 0);
	nap(50);
	EXPECT(weft_channel_receive(x, &value) == 0 && value == 8);
	pthread_join(busy, NULL);
	return 0;
}

static void *just_nap(void *arg)
{
	(void)arg;
	nap(300);
	return NULL;
}

/* The stranger ends without a word: that is seen when it is next looked. */
static int a_stranger_goes(void)
{
	pthread_t stranger;
	int value;

	make_channels();
	EXPECT(pthread_create(&stranger, NULL, just_nap, NULL) == 0);
	EXPECT(weft_channel_receive(x, &value) == -EDEADLK);
	pthread_join(stranger, NULL);
	return 0;
}

static void *attach_nap_and_end(void *arg)
{
	weft_current();
	return just_nap(arg);
}

/* An attached thread ends: those still parked look again, at once. */
static int an_attached_thread_ends(void)
{
	pthread_t other;
	int value;

	make_channels();
	EXPECT(pthread_create(&other, NULL, attach_nap_and_end, NULL) == 0);
	nap(50);
	EXPECT(weft_channel_receive(x, &value) == -EDEADLK);
	pthread_join(other, NULL);
	return 0;
}

static int receive_and_pass(void *arg)
{
	int value, rc;

	(void)arg;
	do {
		rc = weft_channel_receive(x, &value);
		if (!rc)
			rc = weft_channel_send(y, &value);
	} while (!rc && value);
	return rc;
}

/* A token goes round between threads that park each time: never a verdict. */
static int token_in_a_circle(void)
{
	uint64_t id;

	make_channels();
	EXPECT(weft_thread_start(&id, receive_and_pass, NULL) == 0);
	for (int i = 2000; i >= 0; i--) {
		int value = i;

		EXPECT(weft_channel_send(x, &value) == 0);
		EXPECT(weft_channel_receive(y, &value) == 0 && value == i);
	}
	EXPECT(weft_thread_join(id) == 0);
	return 0;
}

/* --- the report --- */

static int deadlock_with_names(void)
{
	int value;

	make_channels();
	weft_spawn_with(&(struct weft_tasklet_options){ .name = "worker" },
			receive_x, NULL);
	EXPECT(weft_channel_receive(y, &value) == -EDEADLK);
	return 0;
}

START_TEST(report_names_all)
{
	setenv("WEFT_DEADLOCK", "report", 1);
	expect_child(deadlock_with_names);
	ck_assert_ptr_nonnull(strstr(errors, "deadlock"));
	ck_assert_ptr_nonnull(
		strstr(errors, "worker receives from channel jobs"));
	ck_assert_ptr_nonnull(strstr(errors, "the main tasklet"));
}
END_TEST

START_TEST(no_report_unless_wanted)
{
	unsetenv("WEFT_DEADLOCK");
	expect_child(deadlock_with_names);
	ck_assert_str_eq(errors, "");
}
END_TEST

START_TEST(nonsense_is_reported)
{
	setenv("WEFT_DEADLOCK", "nonsense", 1);
	expect_child(deadlock_with_names);
	ck_assert_str_eq(errors,
			 "weft: WEFT_DEADLOCK=nonsense cannot be used: it "
			 "takes quiet|report; using quiet\n");
}
END_TEST

static int (*const bodies[])(void) = {
	main_waits,
	others_stay,
	innermost_run,
	join_in_a_circle,
	a_timer_is_hope,
	io_is_hope,
	one_after_the_other,
	a_stranger_is_hope,
	an_unreadable_stranger_is_hope,
	a_busy_thread_is_hope,
	a_stranger_goes,
	an_attached_thread_ends,
	token_in_a_circle,
};

START_TEST(verdict)
{
	/* Valgrind calls lost what only a stack that has ended knew of, and has
	 * limits of its own. */
	if (is_under_valgrind() &&
	    (bodies[_i] == one_after_the_other ||
	     bodies[_i] == an_unreadable_stranger_is_hope))
		return;
	expect_child(bodies[_i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deadlock");

	needs_verdicts(add_loop(s, "verdict", verdict, N_ELEMENTS(bodies)));
	add_case(s, "report", report_names_all, no_report_unless_wanted,
		 nonsense_is_reported);
	return run_suite(s);
}
