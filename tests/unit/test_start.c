/* SPDX-License-Identifier: MIT */
/*
 * Threads that the library starts: weft_thread_start() and weft_thread_join().
 */
#include <check.h>
#include <errno.h>
#include <sys/syscall.h>
#include <weft.h>

#include "support.h"

static int give_back(void *arg)
{
	return *(int *)arg;
}

static int note_thread(void *arg)
{
	*(uint64_t *)arg = weft_thread_id();
	return 0;
}

/* The function runs there, as a tasklet that is not main. */
static int is_on_main(void *arg)
{
	(void)arg;
	return weft_tasklet_is_main(weft_current());
}

START_TEST(result_comes_once)
{
	int result = -42;
	uint64_t id = 0;

	ck_assert_int_eq(weft_thread_start(&id, give_back, &result), 0);
	ck_assert_uint_gt(id, 0);
	ck_assert_int_eq(weft_thread_join(id), -42);
	ck_assert_int_eq(weft_thread_join(id), -ESRCH);
}
END_TEST

START_TEST(function_runs_on_a_thread_of_its_own)
{
	uint64_t seen = 0;
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, note_thread, &seen), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	ck_assert_uint_eq(seen, id);
	ck_assert_uint_ne(seen, weft_thread_id());
	ck_assert_int_eq(weft_thread_start(&id, is_on_main, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
}
END_TEST

START_TEST(start_refuses_what_cannot_be)
{
	uint64_t id = 7;

	ck_assert_int_eq(weft_thread_start(&id, NULL, NULL), -EINVAL);
	ck_assert_uint_eq(id, 7);
}
END_TEST

static const int no_thread[] = { EAGAIN, EINVAL, EPERM };

/* The error is the same whatever the kernel says. */
START_TEST(start_without_a_thread)
{
	uint64_t id = 7;

	/* its look for leaks needs a thread */
	if (UNDER_ASAN)
		return;
	refuse_call(&(struct refusal){ SYS_clone3, -1, 0, no_thread[_i] });
	refuse_call(&(struct refusal){ SYS_clone, -1, 0, no_thread[_i] });
	ck_assert_int_eq(weft_thread_start(&id, is_on_main, NULL), -EAGAIN);
	ck_assert_uint_eq(id, 7);
}
END_TEST

static weft_channel *done;

static int say_done(void *arg)
{
	(void)arg;
	return weft_channel_send(done, NULL);
}

/* Nobody wants to join it: it runs all the same. */
START_TEST(start_without_an_id)
{
	/* What the system keeps of a thread that is still ending, Valgrind may
	 * call lost. */
	if (is_under_valgrind())
		return;
	done = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(NULL, say_done, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(done, NULL), 0);
	weft_channel_unref(done);
}
END_TEST

static int join_thread_of(void *id)
{
	return weft_thread_join(*(uint64_t *)id);
}

static int join_myself(void *arg)
{
	(void)arg;
	return weft_thread_join(weft_thread_id());
}

static void *attach_and_wait(void *id)
{
	*(uint64_t *)id = weft_thread_id();
	weft_channel_send(done, NULL);
	weft_channel_receive(done, NULL);
	return NULL;
}

/* A thread that was not started so, one that is not there, the own one. */
START_TEST(join_refuses_what_cannot_be)
{
	uint64_t id;
	pthread_t plain;

	done = weft_channel_new(0, 0);
	plain = start_thread(attach_and_wait, &id);
	weft_channel_receive(done, NULL);
	ck_assert_int_eq(weft_thread_join(id), -EINVAL);
	ck_assert_int_eq(weft_thread_join(weft_thread_id()), -EINVAL);
	ck_assert_int_eq(weft_thread_join(id + 1000), -ESRCH);
	ck_assert_int_eq(weft_thread_join(0), -ESRCH);
	weft_channel_send(done, NULL);
	join_thread(plain);
	ck_assert_int_eq(weft_thread_join(id), -ESRCH);

	ck_assert_int_eq(weft_thread_start(&id, join_myself, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), -EDEADLK);
	weft_channel_unref(done);
}
END_TEST

static int wait_for_done(void *arg)
{
	(void)arg;
	return weft_channel_receive(done, NULL);
}

/* Of several who wait one gets the result. */
START_TEST(join_by_several)
{
	enum { JOINERS = 5 };
	weft_tasklet joiners[JOINERS];
	int n_found = 0, n_missed = 0;
	uint64_t id;

	done = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&id, wait_for_done, NULL), 0);
	for (int i = 0; i < JOINERS; i++)
		joiners[i] = weft_spawn(join_thread_of, &id);
	weft_schedule();
	ck_assert_int_eq(weft_channel_send(done, NULL), 0);
	for (int i = 0; i < JOINERS; i++) {
		int rc = weft_tasklet_join(joiners[i]);

		n_found += rc == 0;
		n_missed += rc == -ESRCH;
	}
	ck_assert_int_eq(n_found, 1);
	ck_assert_int_eq(n_missed, JOINERS - 1);
	weft_channel_unref(done);
}
END_TEST

/* Whoever is interrupted has joined nothing: it can be done again. */
START_TEST(join_can_be_interrupted)
{
	weft_tasklet joiner;
	uint64_t id;

	done = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&id, wait_for_done, NULL), 0);
	joiner = weft_spawn(join_thread_of, &id);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_raise(joiner, EINTR, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(joiner), -EINTR);
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_thread_join(id), -EAGAIN);
	weft_set_block_trap(false);
	ck_assert_int_eq(weft_channel_send(done, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	weft_channel_unref(done);
}
END_TEST

static weft_tasklet started;

static int publish_and_wait(void *arg)
{
	(void)arg;
	started = weft_current();
	weft_channel_send(done, NULL);
	return weft_sleep_until(WEFT_FOREVER);
}

/* The result of one that was killed is what it made of that. */
START_TEST(function_is_killed)
{
	uint64_t id;

	done = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&id, publish_and_wait, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(done, NULL), 0);
	ck_assert_int_eq(weft_tasklet_kill(started, 0), 0);
	ck_assert_int_eq(weft_thread_join(id), -ECANCELED);
	weft_channel_unref(done);
}
END_TEST

static int exit_deep(void *arg)
{
	weft_exit(*(int *)arg);
}

START_TEST(function_exits)
{
	int result = -7;
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, exit_deep, &result), 0);
	ck_assert_int_eq(weft_thread_join(id), -7);
}
END_TEST

static int n_outlived;

static int outlive(void *arg)
{
	(void)arg;
	weft_sleep(5 * WEFT_MILLISECOND);
	n_outlived++;
	return 0;
}

static int spawn_three(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		weft_spawn(outlive, NULL);
	return -3;
}

/* The thread goes on until all its tasklets have ended. */
START_TEST(thread_waits_for_the_others)
{
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, spawn_three, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), -3);
	ck_assert_int_eq(n_outlived, 3);
}
END_TEST

static int stop_run(void *arg)
{
	(void)arg;
	weft_stop(0);
	return weft_sleep_until(WEFT_FOREVER);
}

/* weft_stop() ends the run, and so the thread, which kills what is left. */
START_TEST(stop_ends_the_thread)
{
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, stop_run, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), -ECANCELED);
}
END_TEST

START_TEST(many_threads)
{
	enum { ROUNDS = 50, AT_ONCE = 8 };
	int results[AT_ONCE];
	uint64_t ids[AT_ONCE];

	for (int round = 0; round < ROUNDS; round++) {
		for (int i = 0; i < AT_ONCE; i++) {
			results[i] = -(round + i);
			ck_assert_int_eq(weft_thread_start(&ids[i], give_back,
							   &results[i]),
					 0);
		}
		for (int i = 0; i < AT_ONCE; i++)
			ck_assert_int_eq(weft_thread_join(ids[i]), results[i]);
	}
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("start");

	add_case(s, "start", result_comes_once,
		 function_runs_on_a_thread_of_its_own,
		 start_refuses_what_cannot_be, start_without_an_id);
	add_loop(s, "no thread", start_without_a_thread, N_ELEMENTS(no_thread));
	add_case(s, "join", join_refuses_what_cannot_be, join_by_several,
		 join_can_be_interrupted);
	add_case(s, "end", function_is_killed, function_exits,
		 thread_waits_for_the_others, stop_ends_the_thread,
		 many_threads);
	return run_suite(s);
}
