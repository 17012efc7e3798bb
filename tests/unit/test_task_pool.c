/* SPDX-License-Identifier: MIT */
/*
 * Descriptors: their memory grows with the tasklets that are alive at once, not
 * with those there ever were, whoever creates them and whichever thread ends.
 */
#include <check.h>
#include <stdlib.h>
#include <weft.h>

#include "core/scheduler.h"
#include "core/task_pool.h"
#include "support.h"

static int count_up(void *arg)
{
	++*(_Atomic(int) *)arg;
	return 0;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* --- for another thread --- */

static _Atomic(int) n_ended;

static int serve(void *quit)
{
	return weft_channel_receive(quit, NULL);
}

static void spawn_there(uint64_t thread, int n)
{
	struct weft_tasklet_options there = { .thread = thread };
	int before = n_ended;

	for (int i = 0; i < n; i++)
		ck_assert(!weft_tasklet_is_null(
			weft_spawn_with(&there, count_up, &n_ended)));
	while (n_ended < before + n)
		weft_sleep(10 * WEFT_MICROSECOND);
}

/* A thread that creates for another one, some hundred at a time, for ever: neither
 * the one's descriptors nor the other's get more. */
START_TEST(those_created_for_another_thread_are_used_again)
{
	enum { AT_ONCE = 200, ROUNDS = 20 };
	weft_channel *quit = weft_channel_new(0, 0);
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, serve, quit), 0);
	for (int i = 0; i < ROUNDS; i++)
		spawn_there(id, AT_ONCE);
	/* For those alive at once, for as many that are spare, and some more. */
	ck_assert_uint_le(weft__task_pool_n_slabs(), 3 * AT_ONCE / 64);
	ck_assert_int_eq(weft_channel_send(quit, NULL), 0);
	weft_channel_unref(quit);
	ck_assert_int_eq(weft_thread_join(id), 0);
}
END_TEST

static _Atomic(uint64_t) partners[2];
static pthread_barrier_t both;

static void *spawn_over_there(void *arg)
{
	size_t me = (size_t)(uintptr_t)arg;
	struct weft_tasklet_options there = { 0 };

	partners[me] = weft_thread_id();
	pthread_barrier_wait(&both);
	there.thread = partners[!me];
	for (int round = 0; round < 10; round++) {
		for (int i = 0; i < 25; i++) {
			weft_spawn_with(&there, count_up, &n_ended);
			weft_spawn(count_up, &n_ended);
		}
		while (n_ended < 100 * (round + 1))
			weft_sleep(10 * WEFT_MICROSECOND);
		pthread_barrier_wait(&both);
	}
	return NULL;
}

/* Two that create for each other, and for themselves. */
START_TEST(two_create_for_each_other)
{
	pthread_t threads[2];

	pthread_barrier_init(&both, NULL, 2);
	for (uintptr_t i = 0; i < 2; i++)
		threads[i] = start_thread(spawn_over_there, (void *)i);
	for (int i = 0; i < 2; i++)
		join_thread(threads[i]);
	ck_assert_int_eq(n_ended, 10 * 100);
	/* 50 at most are alive at once on each, and twice that may be spare. */
	ck_assert_uint_le(weft__task_pool_n_slabs(), 2 * (1 + 3 * 50 / 64 + 1));
	pthread_barrier_destroy(&both);
}
END_TEST

/* --- threads that come and go --- */

static void *run_one(void *arg)
{
	(void)arg;
	weft_spawn(do_nothing, NULL);
	weft_run();
	pthread_barrier_wait(&both);
	return NULL;
}

static void run_pair(void)
{
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		threads[i] = start_thread(run_one, NULL);
	for (int i = 0; i < 2; i++)
		join_thread(threads[i]);
}

/* Two short threads at a time use the memory of the two before. */
START_TEST(pairs_of_short_threads_leave_nothing)
{
	size_t n;

	pthread_barrier_init(&both, NULL, 2);
	run_pair();
	n = weft__task_pool_n_slabs();
	for (int i = 0; i < 30; i++)
		run_pair();
	ck_assert_uint_eq(weft__task_pool_n_slabs(), n);
	pthread_barrier_destroy(&both);
}
END_TEST

static void *have_many(void *arg)
{
	int n = *(int *)arg;

	for (int i = 0; i < n; i++)
		weft_spawn(do_nothing, NULL);
	weft_run();
	return NULL;
}

static void *count_slabs(void *n)
{
	weft_spawn(do_nothing, NULL);
	weft_run();
	*(size_t *)n = weft__task_pool_n_slabs_of(weft__self);
	return NULL;
}

/* What a thread looks through at its end is what it has had itself, whatever
 * others have, or had before they ended. */
START_TEST(a_thread_has_what_it_used)
{
	int many = many_tasklets(50000);
	size_t n_all, n = 0;

	join_thread(start_thread(have_many, &many));
	have_many(&many);
	join_thread(start_thread(count_slabs, &n));
	n_all = weft__task_pool_n_slabs();
	ck_assert_uint_gt(n_all, 4);
	for (int i = 0; i < 10; i++) {
		join_thread(start_thread(count_slabs, &n));
		ck_assert_uint_eq(n, 1);
	}
	ck_assert_uint_eq(weft__task_pool_n_slabs(), n_all);
}
END_TEST

/* --- a request that comes too late --- */

static struct weft_task *requested;

static void *end_with_a_request(void *arg)
{
	weft_tasklet t = weft_spawn(do_nothing, arg);

	requested = t.task;
	atomic_fetch_or(&requested->word, REQUEST_QUEUED);
	weft_run();
	return NULL;
}

/* Which of many tasklets have the descriptor. */
static void *look_for_it(void *arg)
{
	int *n = arg;

	*n = 0;
	for (int i = 0; i < 1000; i++)
		*n += weft_spawn(do_nothing, NULL).task == requested;
	weft_run();
	return NULL;
}

/* A descriptor that somebody is about to hand in is nobody else's, though its
 * tenant and its thread have ended; as soon as it was handed in, it is spare. */
START_TEST(descriptor_of_a_late_request_waits_for_it)
{
	int n = 0;

	weft_thread_id();
	join_thread(start_thread(end_with_a_request, NULL));
	for (int i = 0; i < 3; i++) {
		join_thread(start_thread(look_for_it, &n));
		ck_assert_int_eq(n, 0);
	}
	weft__task_request_refused(weft__self, requested);
	ck_assert_uint_eq(requested->word, 0);
	join_thread(start_thread(look_for_it, &n));
	ck_assert_int_eq(n, 1);
}
END_TEST

/* The same when the thread is still there: it is spare when the owner has taken it
 * out of its inbox. */
START_TEST(descriptor_of_a_request_is_spare_when_taken_in)
{
	int n = 0;

	end_with_a_request(NULL);
	look_for_it(&n);
	ck_assert_int_eq(n, 0);
	weft__task_requested(weft__self, requested);
	look_for_it(&n);
	ck_assert_int_eq(n, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("task_pool");

	add_case(s, "other threads",
		 those_created_for_another_thread_are_used_again,
		 two_create_for_each_other);
	add_case(s, "short threads", pairs_of_short_threads_leave_nothing,
		 a_thread_has_what_it_used);
	add_case(s, "late requests", descriptor_of_a_late_request_waits_for_it,
		 descriptor_of_a_request_is_spare_when_taken_in);
	return run_suite(s);
}
