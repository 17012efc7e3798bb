/* SPDX-License-Identifier: MIT */
/*
 * Stale and live handles. Threads hammer each other's tasklets, by handles from
 * one table that is renewed all the time, with every control call there is. Those
 * whose handle was published expect anything; the others, the private ones, live
 * in the same memory, one after the other, and must never notice: no call of
 * theirs may fail, and nothing may pause them. A call that reaches a later tenant
 * of its target's memory would show there.
 */
#include <sched.h>

#include "stress.h"

enum {
	THREADS = 16,
	SLOTS = 256,
	VICTIMS = 24,  /* of one thread, at a time */
	PRIVATE = 4,   /* pairs of one thread, at a time */
	STEPS = 12,    /* of a victim */
	EXCHANGES = 20 /* of a private pair */
};

static struct slot {
	pthread_mutex_t mutex;
	weft_tasklet handle;
} table[SLOTS];

static weft_channel *meeting; /* of all victims */
static _Atomic(bool) must_end;
static _Atomic(uint64_t) n_calls, n_pairs, n_victims;

struct worker;

struct pair {
	struct worker *worker;
	weft_channel *channel; /* NULL: free */
	int n_left;
};

struct worker {
	pthread_t thread;
	struct random_state random;
	weft_tasklet victims[VICTIMS];
	struct pair pairs[PRIVATE];
	bool is_leaving;
	bool restarts; /* ends now and then, with all that is left */
};

static weft_tasklet look_up(struct random_state *r)
{
	struct slot *slot = &table[random_below(r, SLOTS)];
	weft_tasklet handle;

	pthread_mutex_lock(&slot->mutex);
	handle = slot->handle;
	pthread_mutex_unlock(&slot->mutex);
	return handle;
}

static void publish(struct random_state *r, weft_tasklet handle)
{
	struct slot *slot = &table[random_below(r, SLOTS)];

	pthread_mutex_lock(&slot->mutex);
	slot->handle = handle;
	pthread_mutex_unlock(&slot->mutex);
}

/* --- victims --- */

static int step(struct random_state *r)
{
	switch (random_below(r, 7)) {
	case 0:
		return weft_channel_receive(meeting, NULL);
	case 1:
		return weft_channel_send(meeting, NULL);
	case 2:
		return weft_schedule_remove();
	case 3:
		return weft_sleep(random_below(r, 100) * WEFT_MICROSECOND);
	case 4:
		return weft_tasklet_join(look_up(r));
	case 5:
		return weft_pump();
	default:
		return weft_schedule();
	}
}

static int be_a_victim(void *arg)
{
	struct random_state r = random_stream((uintptr_t)arg, 3);

	for (int i = 0; i < STEPS; i++)
		if (step(&r) == -ECANCELED)
			break;
	return 0;
}

/* --- private ones --- */

static void check(const struct pair *p, int rc, const char *what)
{
	if (rc && !(p->worker->is_leaving && rc == -ECANCELED))
		stress_fail("a private tasklet's %s returned %d", what, rc);
}

static void free_pair(struct pair *p)
{
	weft_channel_unref(p->channel);
	p->channel = NULL;
}

static void leave_pair(struct pair *p)
{
	if (--p->n_left == 0) {
		free_pair(p);
		atomic_fetch_add(&n_pairs, 1);
	}
}

static int be_private(struct pair *p, bool sends)
{
	int rc = 0;

	for (int i = 0; i < EXCHANGES && !rc; i++) {
		rc = sends ? weft_channel_send(p->channel, &i)
			   : weft_channel_receive(p->channel, &i);
		check(p, rc, "exchange");
		if (!rc && i % 4 == 0)
			check(p, rc = weft_schedule(), "schedule");
		if (!rc && i % 16 == 15)
			check(p, rc = weft_sleep(1000), "sleep");
	}
	leave_pair(p);
	return 0;
}

static int send_privately(void *arg)
{
	return be_private(arg, true);
}

static int receive_privately(void *arg)
{
	return be_private(arg, false);
}

static void renew_pairs(struct worker *w)
{
	for (int i = 0; i < PRIVATE; i++) {
		struct pair *p = &w->pairs[i];

		if (p->channel)
			continue;
		p->worker = w;
		p->n_left = 2;
		p->channel = weft_channel_new(sizeof(int), 0);
		weft_spawn(send_privately, p);
		weft_spawn(receive_privately, p);
	}
}

/* Those that the end of a thread has killed before they ran. */
static void free_pairs(struct worker *w)
{
	for (int i = 0; i < PRIVATE; i++)
		free_pair(&w->pairs[i]);
}

/* --- the hammer --- */

static void expect(int rc, const char *what, const int *allowed)
{
	for (; *allowed; allowed++)
		if (rc == *allowed)
			return;
	if (rc)
		stress_fail("%s returned %d", what, rc);
}

static void hit(struct random_state *r)
{
	static const int put[] = { -ESRCH, -EBUSY, 0 };
	static const int own[] = {
		-ESRCH, -EBUSY, -EXDEV, -ECANCELED, -EINTR, 0
	};
	static const int hurt[] = { -ESRCH, -ECANCELED, -EINTR, 0 };
	weft_tasklet t = look_up(r);
	unsigned flags = random_one_in(r, 2) ? WEFT_PENDING : 0;
	struct weft_thread_info info;
	char name[8];

	switch (random_below(r, 12)) {
	case 0:
		expect(weft_tasklet_insert(t), "insert", put);
		break;
	case 1:
		expect(weft_tasklet_run(t), "run", put);
		break;
	case 2:
		expect(weft_tasklet_remove(t), "remove", own);
		break;
	case 3:
		expect(weft_tasklet_switch(t), "switch", own);
		break;
	case 4:
		expect(weft_tasklet_kill(t, flags), "kill", hurt);
		break;
	case 5:
	case 6:
		expect(weft_tasklet_raise(t, EINTR, flags), "raise", hurt);
		break;
	case 7:
		weft_tasklet_state(t);
		break;
	case 8:
		weft_tasklet_alive(t);
		weft_tasklet_is_main(t);
		break;
	case 9:
		weft_thread_info(weft_tasklet_thread(t), &info);
		break;
	case 10:
		weft_tasklet_name(t, name, sizeof name);
		break;
	default:
		weft_channel_waiters(meeting, &t, 1);
		break;
	}
	atomic_fetch_add_explicit(&n_calls, 1, memory_order_relaxed);
}

static void renew_victims(struct worker *w)
{
	struct weft_tasklet_options options = { .name = "victim" };

	for (int i = 0; i < VICTIMS; i++) {
		if (weft_tasklet_alive(w->victims[i]))
			continue;
		options.paused = random_one_in(&w->random, 8);
		w->victims[i] = weft_spawn_with(
			&options, be_a_victim,
			(void *)(uintptr_t)random_next(&w->random));
		publish(&w->random, w->victims[i]);
		atomic_fetch_add_explicit(&n_victims, 1, memory_order_relaxed);
	}
}

static bool has_any_left(const struct worker *w)
{
	for (int i = 0; i < VICTIMS; i++)
		if (weft_tasklet_alive(w->victims[i]))
			return true;
	for (int i = 0; i < PRIVATE; i++)
		if (w->pairs[i].channel)
			return true;
	return false;
}

/* What is left of the victims is killed, of the private ones waited for. What
 * weft_pump() returns says nothing here: others may still run, raise and kill
 * this main tasklet. */
static void end_all(struct worker *w)
{
	while (has_any_left(w)) {
		for (int i = 0; i < VICTIMS; i++)
			weft_tasklet_kill(w->victims[i], WEFT_PENDING);
		weft_pump();
		sched_yield();
	}
}

static void *work(void *arg)
{
	struct worker *w = arg;
	int n_rounds = w->restarts ? (int)random_between(&w->random, 1, 20)
				   : INT32_MAX;

	memset(w->victims, 0, sizeof w->victims);
	w->is_leaving = false;
	free_pairs(w);
	publish(&w->random, weft_main());
	while (!must_end && n_rounds-- > 0) {
		renew_victims(w);
		renew_pairs(w);
		for (int i = 0; i < 50; i++)
			hit(&w->random);
		weft_schedule();
		weft_pump();
	}
	w->is_leaving = w->restarts;
	if (!w->restarts)
		end_all(w);
	return NULL;
}

static void run_workers(bool restart)
{
	struct worker *workers = calloc(THREADS, sizeof *workers);
	int64_t end = stress_end_of_budget();

	for (int i = 0; i < SLOTS; i++)
		pthread_mutex_init(&table[i].mutex, NULL);
	meeting = weft_channel_new(0, 0);
	for (int i = 0; i < THREADS; i++) {
		workers[i].random = random_stream(stress_seed, (uint64_t)i);
		workers[i].restarts = restart && i % 2;
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work,
						&workers[i]),
				 0);
	}
	for (int i = 1; weft_now() < end; i = (i + 2) % THREADS) {
		if (!restart) {
			usleep(1000);
			continue;
		}
		pthread_join(workers[i].thread, NULL);
		ck_assert_int_eq(pthread_create(&workers[i].thread, NULL, work,
						&workers[i]),
				 0);
	}
	must_end = true;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(workers[i].thread, NULL);
		free_pairs(&workers[i]);
	}
	for (int i = 0; i < SLOTS; i++)
		ck_assert(!weft_tasklet_alive(table[i].handle));
	ck_assert_int_eq(weft_channel_balance(meeting), 0);
	weft_channel_unref(meeting);
	free(workers);
	printf("# %" PRIu64 " calls, %" PRIu64 " victims, %" PRIu64
	       " private pairs\n",
	       n_calls, n_victims, n_pairs);
}

START_TEST(threads_stay)
{
	run_workers(false);
}
END_TEST

START_TEST(threads_come_and_go)
{
	run_workers(true);
}
END_TEST

static const struct stress_case cases[] = {
	{ "threads that stay", &threads_stay, 1 },
	{ "threads that come and go", &threads_come_and_go, 1 },
};

STRESS_MAIN("stress_handles", cases)
