/* SPDX-License-Identifier: MIT */
/*
 * Groups with members on four threads, against all that may end or interrupt
 * members and those who wait: everybody comes to an end, a wait that is over
 * leaves nobody behind, and no end is lost or counted twice.
 */
#include "stress.h"
#include "support.h"

enum { THREADS = 4 };

static uint64_t ids[THREADS];
static weft_channel *gate;

static int stay(void *arg)
{
	(void)arg;
	return weft_channel_receive(gate, NULL);
}

static void start_threads(void)
{
	gate = weft_channel_new(0, 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(weft_thread_start(&ids[i], stay, NULL), 0);
}

static void end_threads(void)
{
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(weft_channel_send(gate, NULL), 0);
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
	weft_channel_unref(gate);
}

static struct weft_tasklet_options on_thread(unsigned i)
{
	return (struct weft_tasklet_options){ .thread = ids[i % THREADS] };
}

static weft_tasklet spawn_member(weft_group *g, unsigned thread, weft_fn fn,
				 void *arg)
{
	struct weft_tasklet_options options = on_thread(thread);

	return weft_group_spawn_with(g, &options, fn, arg);
}

/* --- all at once --- */

enum { MEMBERS = 24, WAITERS = 3, RESULT = -1000 };

struct round_member {
	struct round *round;
	unsigned number;
	uint64_t seed;
};

struct round_waiter {
	struct round *round;
	uint64_t seed;
	weft_tasklet handle;
};

struct round {
	weft_group *group;
	weft_channel *channel;
	weft_tasklet members[MEMBERS];
	struct round_member args[MEMBERS];
	struct round_waiter waiters[WAITERS];
	_Atomic(int) n_begun, n_ended, n_failed;
	_Atomic(bool) has_failed[MEMBERS];
};

static _Atomic(uint64_t) n_results, n_interrupted;

static int end_soon(void *r)
{
	struct round *round = r;

	round->n_begun++;
	weft_schedule();
	round->n_ended++;
	return 0;
}

static int act(struct round_member *me, struct random_state *r)
{
	struct round *round = me->round;

	switch (random_below(r, 7)) {
	case 0:
		return weft_sleep(random_below(r, 200) * WEFT_MICROSECOND);
	case 1:
		return weft_channel_receive(round->channel, NULL);
	case 2:
		return weft_channel_send(round->channel, NULL);
	case 3:
		weft_shield_begin();
		weft_sleep(random_below(r, 100) * WEFT_MICROSECOND);
		weft_shield_end();
		return 0;
	case 4:
		spawn_member(round->group, random_below(r, THREADS), end_soon,
			     round);
		return 0;
	case 5:
		return RESULT - (int)me->number;
	default:
		return weft_schedule();
	}
}

static int be_a_member(void *arg)
{
	struct round_member *me = arg;
	struct round *round = me->round;
	struct random_state r = { me->seed };
	int rc = 0;

	round->n_begun++;
	for (unsigned i = random_below(&r, 4); i > 0 && !rc; i--)
		rc = act(me, &r);
	if (rc < 0 && rc != -ECANCELED) {
		round->has_failed[me->number] = true;
		round->n_failed++;
	}
	round->n_ended++;
	return rc;
}

static void check_all_ended(struct round *round, int rc)
{
	for (int i = 0; i < MEMBERS; i++)
		if (weft_tasklet_alive(round->members[i]))
			stress_fail("member %d is left after a wait gave %d", i,
				    rc);
	if (rc <= RESULT && !round->has_failed[RESULT - rc])
		stress_fail("nobody failed with %d", rc);
	if (rc > 0)
		stress_fail("a wait returned %d", rc);
}

static int be_a_waiter(void *arg)
{
	struct round_waiter *me = arg;
	struct random_state r = { me->seed };
	bool is_limited = random_one_in(&r, 4);
	struct weft_deadline d;
	int rc;

	if (is_limited)
		weft_deadline_begin(&d, weft_now() + random_below(&r, 500) *
							     WEFT_MICROSECOND);
	do {
		rc = weft_group_wait(me->round->group);
		if (rc == -EINTR)
			n_interrupted++;
	} while (rc == -EINTR);
	check_all_ended(me->round, rc);
	if (rc <= RESULT)
		n_results++;
	if (is_limited)
		weft_deadline_end(&d);
	return 0;
}

static void disturb(struct round *round, struct random_state *r)
{
	weft_tasklet waiter = round->waiters[random_below(r, WAITERS)].handle;
	weft_tasklet member = round->members[random_below(r, MEMBERS)];

	switch (random_below(r, 24)) {
	case 0:
		weft_tasklet_kill(waiter, WEFT_PENDING);
		break;
	case 1:
		ck_assert_int_eq(weft_group_kill(round->group), 0);
		break;
	case 2:
	case 3:
	case 4:
		weft_tasklet_kill(member, WEFT_PENDING);
		break;
	case 5:
	case 6:
		weft_channel_try_send(round->channel, NULL);
		break;
	case 7:
		weft_channel_try_receive(round->channel, NULL);
		break;
	case 8:
	case 9:
		stress_burn(random_below(r, 30) * WEFT_MICROSECOND);
		break;
	default:
		weft_tasklet_raise(waiter, EINTR, WEFT_PENDING);
	}
}

static void begin_round(struct round *round, struct random_state *r)
{
	*round = (struct round){ .group = weft_group_new(),
				 .channel = weft_channel_new(0, 0) };
	for (unsigned i = 0; i < MEMBERS; i++) {
		round->args[i] = (struct round_member){
			.round = round, .number = i, .seed = random_next(r)
		};
		round->members[i] =
			spawn_member(round->group, random_below(r, THREADS),
				     be_a_member, &round->args[i]);
		ck_assert(!weft_tasklet_is_null(round->members[i]));
	}
	for (unsigned i = 0; i < WAITERS; i++) {
		struct round_waiter *w = &round->waiters[i];
		struct weft_tasklet_options options =
			on_thread(random_below(r, THREADS));

		*w = (struct round_waiter){ .round = round,
					    .seed = random_next(r) };
		w->handle = weft_spawn_with(&options, be_a_waiter, w);
	}
}

/* Those that still wait in the channel are let go. */
static void end_round(struct round *round)
{
	int rc;

	weft_group_kill(round->group);
	for (int i = 0; i < WAITERS; i++)
		(void)weft_tasklet_join(round->waiters[i].handle);
	rc = weft_group_wait(round->group);
	check_all_ended(round, rc);
	weft_group_free(round->group);
	if (round->n_begun != round->n_ended)
		stress_fail("%d began and %d ended", round->n_begun,
			    round->n_ended);
	ck_assert_int_eq(weft_channel_balance(round->channel), 0);
	weft_channel_unref(round->channel);
}

START_TEST(all_at_once)
{
	struct random_state r = random_stream(stress_seed, 21);
	int64_t end = stress_end_of_budget();
	unsigned n_rounds = 0;
	struct round round;

	start_threads();
	while (weft_now() < end) {
		begin_round(&round, &r);
		for (unsigned i = random_below(&r, 60); i > 0; i--)
			disturb(&round, &r);
		end_round(&round);
		n_rounds++;
	}
	end_threads();
	printf("# %u rounds, %" PRIu64 " failures told, %" PRIu64
	       " interruptions\n",
	       n_rounds, n_results, n_interrupted);
}
END_TEST

/* --- results, when nobody is killed --- */

struct tally {
	_Atomic(int) n_ended;
};

static int succeed(void *arg)
{
	((struct tally *)arg)->n_ended++;
	return 0;
}

static int not_succeed(void *arg)
{
	((struct tally *)arg)->n_ended++;
	return RESULT;
}

START_TEST(results_add_up)
{
	struct random_state r = random_stream(stress_seed, 22);
	int64_t end = stress_end_of_budget();
	weft_group *g = weft_group_new();
	uint64_t n_waits = 0;

	start_threads();
	for (; weft_now() < end; n_waits++) {
		int n = (int)random_below(&r, 9);
		bool fails = n && random_one_in(&r, 2);
		struct tally tally = { 0 };
		int rc;

		for (int i = 0; i < n; i++)
			spawn_member(g, random_below(&r, THREADS),
				     i == 0 && fails ? not_succeed : succeed,
				     &tally);
		if (random_one_in(&r, 2))
			stress_burn(random_below(&r, 20) * WEFT_MICROSECOND);
		rc = weft_group_wait(g);
		if (rc != (fails ? RESULT : 0) || tally.n_ended != n)
			stress_fail("%d members, %d ended, a wait gave %d", n,
				    tally.n_ended, rc);
	}
	weft_group_free(g);
	end_threads();
	printf("# %" PRIu64 " waits\n", n_waits);
}
END_TEST

/* --- the last end against wait, call-off and free --- */

static int end_now(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(last_end_against_free)
{
	struct random_state r = random_stream(stress_seed, 23);
	int64_t end = stress_end_of_budget();
	uint64_t n_groups = 0, n_late = 0;

	start_threads();
	for (; weft_now() < end; n_groups++) {
		weft_group *g = weft_group_new();
		unsigned n = random_between(&r, 1, 3);
		struct weft_deadline d;
		int rc;

		while (n--)
			spawn_member(g, n, end_now, NULL);
		if (random_one_in(&r, 3))
			stress_burn(random_below(&r, 10) * WEFT_MICROSECOND);
		weft_deadline_begin(&d, weft_now() + random_below(&r, 60) *
							     WEFT_MICROSECOND);
		rc = random_one_in(&r, 8) ? 0 : weft_group_wait(g);
		weft_group_free(g);
		weft_deadline_end(&d);
		n_late += rc == -ETIMEDOUT;
		if (rc && rc != -ETIMEDOUT)
			stress_fail("a wait gave %d", rc);
	}
	end_threads();
	printf("# %" PRIu64 " groups, %" PRIu64 " out of time\n", n_groups,
	       n_late);
}
END_TEST

/* --- members that go on for ever --- */

static _Atomic(int) n_links;
static weft_channel *never;

/* Each has a successor on another thread, as long as there may be one. Some stay
 * until they are killed. */
static int go_on(void *arg)
{
	struct random_state r = { (uint64_t)++n_links };

	if (random_one_in(&r, 4))
		weft_sleep(random_below(&r, 50) * WEFT_MICROSECOND);
	spawn_member(arg, random_below(&r, THREADS), go_on, arg);
	return random_one_in(&r, 3) ? weft_channel_receive(never, NULL) : 0;
}

START_TEST(members_that_go_on)
{
	struct random_state r = random_stream(stress_seed, 24);
	int64_t end = stress_end_of_budget();
	unsigned n_groups = 0;

	start_threads();
	never = weft_channel_new(0, 0);
	for (; weft_now() < end; n_groups++) {
		weft_group *g = weft_group_new();

		for (unsigned i = 0; i < THREADS; i++)
			spawn_member(g, i, go_on, g);
		stress_burn(random_below(&r, 100) * WEFT_MICROSECOND);
		for (unsigned i = random_below(&r, 3); i > 0; i--)
			weft_group_kill(g);
		if (random_one_in(&r, 2)) {
			struct weft_deadline d;

			weft_deadline_begin(
				&d, weft_now() + random_below(&r, 200) *
							 WEFT_MICROSECOND);
			/* killed ones may have been all there were */
			(void)weft_group_wait(g);
			weft_deadline_end(&d);
		}
		weft_group_free(g);
	}
	ck_assert_int_eq(weft_channel_balance(never), 0);
	weft_channel_unref(never);
	end_threads();
	printf("# %u groups, %d members\n", n_groups, n_links);
}
END_TEST

static const struct stress_case cases[] = {
	{ "all at once", &all_at_once, 1 },
	{ "results add up", &results_add_up, 1 },
	{ "the last end against free", &last_end_against_free, 1 },
	{ "members that go on", &members_that_go_on, 1 },
};

STRESS_MAIN("stress_group", cases)
