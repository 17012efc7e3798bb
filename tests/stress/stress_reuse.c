/* SPDX-License-Identifier: MIT */
/*
 * Descriptors that change hands. A thread has the handles of tasklets of another
 * one, which end, and whose memory that one uses at once for tasklets that it hands
 * to the first. Control calls through the old handles must not reach these: each of
 * them runs, once, and the thread's books are right in the end.
 *
 * The same with members of a group, which the group lists before their thread has
 * them, and kills there.
 */
#include <sched.h>

#include "stress.h"

enum { MOST_AHEAD = 200 };

static _Atomic(uint64_t) id;
static _Atomic(struct weft_task *) task;
static _Atomic(bool) must_end;
static _Atomic(long) n_spawned, n_run, n_dropped;
static uint64_t here;
static weft_group *group;

static int innocent(void *arg)
{
	(void)arg;
	n_run++;
	return 0;
}

static int end_soon(void *arg)
{
	(void)arg;
	return 0;
}

static void note_drop(void *arg)
{
	(void)arg;
	n_dropped++;
}

/* Hands a tasklet in whose descriptor a handle is known of that has just ended. */
static void *reuse(void *arg)
{
	struct weft_tasklet_options there = { .thread = here };
	struct random_state r = random_stream(stress_seed, 1);

	(void)arg;
	while (!must_end) {
		weft_tasklet t = weft_spawn(end_soon, NULL);

		id = 0;
		task = t.task;
		id = t.id;
		for (unsigned n = random_below(&r, 40); n; n--)
			atomic_signal_fence(memory_order_seq_cst);
		weft_schedule(); /* it ends */
		there.paused = random_one_in(&r, 4);
		t = weft_spawn_with(&there, innocent, NULL);
		if (!t.id)
			stress_fail("no tasklet could be handed in");
		n_spawned++;
		if (there.paused && weft_tasklet_insert(t) &&
		    weft_tasklet_alive(t))
			stress_fail("it could not be inserted");
		while (n_spawned - n_run > MOST_AHEAD && !must_end)
			sched_yield();
	}
	return NULL;
}

static void control(weft_tasklet t, unsigned call)
{
	switch (call) {
	case 0:
		weft_tasklet_kill(t, WEFT_PENDING);
		break;
	case 1:
		weft_tasklet_kill(t, 0);
		break;
	case 2:
		weft_tasklet_raise(t, EIO, WEFT_PENDING);
		break;
	case 3:
		weft_tasklet_insert(t);
		break;
	case 4:
		weft_tasklet_remove(t);
		break;
	default:
		weft_tasklet_run(t);
	}
}

static size_t alive_here(void)
{
	struct weft_thread_info info;

	if (weft_thread_info(here, &info))
		stress_fail("the calling thread is not attached");
	return info.alive;
}

START_TEST(old_handles)
{
	int64_t end = stress_end_of_budget();
	pthread_t thread;
	int rc;

	here = weft_thread_id();
	ck_assert_int_eq(pthread_create(&thread, NULL, reuse, NULL), 0);
	while (weft_now() < end) {
		for (int i = 0; i < 1000; i++) {
			weft_tasklet t = { .id = id };

			t.task = task;
			if (t.id && t.id == id)
				control(t, (unsigned)_i);
		}
		weft_schedule();
	}
	must_end = true;
	pthread_join(thread, NULL);
	rc = weft_run_until(weft_now() + 10 * WEFT_SECOND);
	if (rc || n_run != n_spawned || alive_here() != 1)
		stress_fail(
			"%ld were handed in, %ld have run, %zd alive, run %d",
			(long)n_spawned, (long)n_run, (ssize_t)alive_here() - 1,
			rc);
	printf("# %ld handed in\n", (long)n_spawned);
}
END_TEST

static void *hand_in_members(void *arg)
{
	struct weft_tasklet_options there = { .thread = here,
					      .drop = note_drop };
	struct random_state r = random_stream(stress_seed, 2);

	(void)arg;
	while (!must_end) {
		there.paused = random_one_in(&r, 4);
		if (weft_group_spawn_with(group, &there, innocent, NULL).id)
			n_spawned++;
		while (n_spawned - n_run - n_dropped > MOST_AHEAD && !must_end)
			sched_yield();
	}
	return NULL;
}

START_TEST(members_on_their_way)
{
	int64_t end = stress_end_of_budget();
	pthread_t thread;

	here = weft_thread_id();
	group = weft_group_new();
	ck_assert_int_eq(pthread_create(&thread, NULL, hand_in_members, NULL),
			 0);
	while (weft_now() < end) {
		for (int i = 0; i < 100; i++)
			weft_group_kill(group);
		weft_schedule();
	}
	must_end = true;
	pthread_join(thread, NULL);
	weft_group_kill(group);
	weft_group_wait(group);
	if (n_run + n_dropped != n_spawned || alive_here() != 1)
		stress_fail("%ld members, %ld have run, %ld dropped, %zd alive",
			    (long)n_spawned, (long)n_run, (long)n_dropped,
			    (ssize_t)alive_here() - 1);
	weft_group_free(group);
	printf("# %ld members\n", (long)n_spawned);
}
END_TEST

static const struct stress_case cases[] = {
	{ "old handles", &old_handles, 6 },
	{ "members on their way", &members_on_their_way, 1 },
};

STRESS_MAIN("stress_reuse", cases)
