/* SPDX-License-Identifier: MIT */
/*
 * Offloaded functions against kill, raise and deadlines from all sides, on threads
 * that come and go: each function is run once or not at all, as its caller was
 * told, and never after that.
 */
#include "stress.h"
#include "support.h"

/* --- calls that are interrupted --- */

enum { THREADS = 3, CALLERS = 16 /* of each thread */, RAISERS = 2 };

/* On the caller's stack; what is written here late, corrupts. */
struct job {
	unsigned burn_us;
	_Atomic(unsigned) n_begun, n_ended;
};

static struct {
	weft_tasklet tasklets[THREADS * CALLERS];
	_Atomic(int) n_there;
	_Atomic(bool) must_end;
	_Atomic(uint64_t) n_done, n_interrupted;
} line;

static int do_job(void *arg)
{
	struct job *job = arg;

	job->n_begun++;
	if (job->burn_us)
		stress_burn(job->burn_us * WEFT_MICROSECOND);
	job->n_ended++;
	return (int)job->burn_us;
}

static void check(struct job *job, int rc)
{
	bool was_run = rc >= 0;

	if (was_run && rc != (int)job->burn_us)
		stress_fail("%d came back for %u", rc, job->burn_us);
	if (!was_run && rc != -EINTR && rc != -ETIMEDOUT)
		stress_fail("a call returned %d", rc);
	if (job->n_begun != was_run || job->n_ended != was_run)
		stress_fail("rc %d, but begun %u times, ended %u times", rc,
			    job->n_begun, job->n_ended);
	if (was_run)
		line.n_done++;
	else
		line.n_interrupted++;
}

static int keep_offloading(void *arg)
{
	size_t i = (uintptr_t)arg;
	struct random_state r = random_stream(stress_seed, i);

	line.tasklets[i] = weft_current();
	line.n_there++;
	while (!line.must_end) {
		struct job job = {
			.burn_us =
				random_one_in(&r, 3) ? random_below(&r, 50) : 0,
		};
		bool is_limited = random_one_in(&r, 4);
		struct weft_deadline d;
		int rc;

		if (is_limited)
			weft_deadline_begin(
				&d, weft_now() + random_below(&r, 200) *
							 WEFT_MICROSECOND);
		rc = weft_offload(do_job, &job);
		if (is_limited)
			weft_deadline_end(&d);
		check(&job, rc);
		/* one that is lucky all the time must not be alone */
		if (random_one_in(&r, 8))
			weft_schedule();
	}
	return 0;
}

static int start_callers(void *arg)
{
	for (uintptr_t i = 0; i < CALLERS; i++)
		weft_spawn(keep_offloading,
			   (void *)((uintptr_t)arg * CALLERS + i));
	return 0;
}

static void *keep_raising(void *arg)
{
	struct random_state r =
		random_stream(stress_seed, 1000 + (uintptr_t)arg);

	while (!line.must_end) {
		unsigned i = random_below(&r, THREADS * CALLERS);

		weft_tasklet_raise(line.tasklets[i], EINTR, WEFT_PENDING);
		if (random_one_in(&r, 4))
			stress_burn(random_below(&r, 40) * WEFT_MICROSECOND);
	}
	return NULL;
}

/* By one helper, by two, and by more than there are CPUs. */
START_TEST(raise_against_calls)
{
	static const char *const bounds[] = { "1", "2", "8" };
	pthread_t raisers[RAISERS];
	uint64_t ids[THREADS];
	int64_t end;

	setenv("WEFT_OFFLOAD", bounds[_i], 1);
	end = stress_end_of_budget();
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			weft_thread_start(&ids[i], start_callers, (void *)i),
			0);
	while (line.n_there < THREADS * CALLERS)
		sched_yield();
	for (uintptr_t i = 0; i < RAISERS; i++)
		raisers[i] = start_thread(keep_raising, (void *)i);
	while (weft_now() < end)
		weft_sleep(WEFT_MILLISECOND);
	line.must_end = true;
	for (int i = 0; i < RAISERS; i++)
		join_thread(raisers[i]);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
	ck_assert_uint_gt(line.n_done, 0);
	printf("# %s helpers: %" PRIu64 " done, %" PRIu64 " interrupted\n",
	       bounds[_i], line.n_done, line.n_interrupted);
}
END_TEST

/* --- threads that end with calls out --- */

static _Atomic(uint64_t) n_run, n_told;

static int count_run(void *arg)
{
	unsigned *burn_us = arg;

	stress_burn(*burn_us * WEFT_MICROSECOND);
	*burn_us = 0;
	n_run++;
	return 0;
}

/* Functions of all kinds: also those that attach their helper or end it. */
static int attach(void *arg)
{
	weft_schedule();
	return count_run(arg);
}

static int leave(void *arg)
{
	count_run(arg);
	pthread_exit(NULL);
}

static int offload_until_killed(void *arg)
{
	struct random_state r = random_stream(stress_seed, (uintptr_t)arg);
	static const weft_fn fns[] = { count_run, count_run, attach, leave };
	int rc;

	do {
		unsigned burn_us = random_between(&r, 1, 30);
		unsigned which = random_below(&r, N_ELEMENTS(fns));

		rc = weft_offload(fns[which], &burn_us);
		if (rc == 0 || (fns[which] == leave && !burn_us))
			n_told++;
		/* a kill comes between two calls at the latest */
		if (fns[which] == leave && rc == -ECANCELED)
			rc = weft_schedule();
	} while (rc == 0);
	return rc;
}

static void *end_with_calls(void *arg)
{
	for (uintptr_t i = 0; i < CALLERS; i++)
		weft_spawn(offload_until_killed,
			   (void *)((uintptr_t)arg * CALLERS + i));
	weft_run_until(weft_now() + 300 * WEFT_MICROSECOND);
	return NULL;
}

START_TEST(ends_against_calls)
{
	int64_t end = stress_end_of_budget();
	pthread_t threads[THREADS];
	uintptr_t n = 0;

	setenv("WEFT_OFFLOAD", "3", 1);
	do {
		for (int i = 0; i < THREADS; i++)
			threads[i] = start_thread(end_with_calls,
						  (void *)(2000 + n++));
		for (int i = 0; i < THREADS; i++)
			join_thread(threads[i]);
	} while (weft_now() < end);
	ck_assert_uint_eq(n_told, n_run);
	ck_assert_uint_gt(n_run, 0);
	printf("# %" PRIuPTR " threads, %" PRIu64 " functions\n", n, n_run);
}
END_TEST

/* --- verdicts while helpers come and go --- */

static weft_channel *token;

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int end_thread(void *arg)
{
	(void)arg;
	pthread_exit(NULL);
}

static int offload_and_send(void *arg)
{
	struct random_state r = random_stream(stress_seed, (uintptr_t)arg);

	for (unsigned n = random_between(&r, 1, 5); n; n--)
		(void)weft_offload(random_one_in(&r, 2) ? nothing : end_thread,
				   NULL);
	return weft_channel_send(token, NULL);
}

/* Two threads offload, and main waits for both: never a verdict. Then it waits for
 * a third: always one. */
START_TEST(verdicts)
{
	int64_t end = stress_end_of_budget();
	uint64_t ids[2];
	uintptr_t n = 0;

	if (lacks_verdicts())
		return;
	token = weft_channel_new(0, 0);
	do {
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(weft_thread_start(&ids[i],
							   offload_and_send,
							   (void *)n++),
					 0);
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(weft_channel_receive(token, NULL), 0);
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(weft_thread_join(ids[i]), 0);
		ck_assert_int_eq(weft_channel_receive(token, NULL), -EDEADLK);
	} while (weft_now() < end);
	weft_channel_unref(token);
	printf("# %" PRIuPTR " threads\n", n);
}
END_TEST

static const struct stress_case cases[] = {
	{ "raise against calls", &raise_against_calls, 3 },
	{ "ends of threads against calls", &ends_against_calls, 1 },
	{ "verdicts", &verdicts, 1 },
};

STRESS_MAIN("stress_offload", cases)
