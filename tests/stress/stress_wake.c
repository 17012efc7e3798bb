/* SPDX-License-Identifier: MIT */
/*
 * No wake is lost, under any doorbell. Clients on threads of their own send a
 * number to one hub and wait for the answer, so that every thread parks again
 * and again at any moment of the others' wakes. A lost wake is a hang: nothing
 * else would ever bring the thread back, for nothing else is under way in it,
 * except where timers or I/O are what is mixed in.
 */
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress.h"
#include "support.h"

enum { MOST_CLIENTS = 7, LEAST_TURNS = 20, TURNS_PER_ROUND = 200 };

/* What goes on in the threads besides. */
enum company {
	NOTHING,      /* parked with nothing in flight */
	READ_PENDING, /* an operation in flight that completes at the end */
	READS,        /* operations that complete now and then */
	SLEEPS,       /* timers that come due now and then */
	COMPANIES
};

static const char *const company_names[COMPANIES] = {
	[NOTHING] = "nothing else",
	[READ_PENDING] = "a read pending",
	[READS] = "reads that complete",
	[SLEEPS] = "sleeps",
};

static const char *const doorbells[] = { "auto", "futex", "msg_ring", "eventfd",
					 "msg_ring_sqe" };
static const char *const spins[] = { "0", NULL };

enum {
	N_DOORBELLS = sizeof doorbells / sizeof doorbells[0],
	N_SPINS = sizeof spins / sizeof spins[0]
};

struct question {
	int client; /* below 0: one is leaving */
	uint64_t number;
};

struct client {
	pthread_t thread;
	weft_channel *answers;
	struct random_state random;
	uint64_t n_turns;
	struct weft_stats stats;
	int pair[2];
};

struct round {
	enum company company;
	int n_clients;
	weft_channel *questions;
	struct client clients[MOST_CLIENTS];
	_Atomic(unsigned) n_asking;
	struct random_state random; /* the hub's */
	int pair[2];
};

static struct round now;
static uint64_t n_parks, n_wakes;

/* A pause that is no reason for weft to come back. */
static void dawdle(struct random_state *r)
{
	switch (random_below(r, 6)) {
	case 0:
		stress_burn(random_below(r, 40) * WEFT_MICROSECOND);
		break;
	case 1:
		usleep(random_below(r, 60));
		break;
	case 2:
		sched_yield();
		break;
	default:
		break;
	}
}

/* --- company --- */

/* Reads what comes until the other end is closed. */
static int read_to_the_end(void *arg)
{
	const int *pair = arg;
	char buffer[16];
	ssize_t n;

	do
		n = weft_read(pair[0], buffer, sizeof buffer);
	while (n > 0);
	if (n)
		stress_fail("a read returned %zd", n);
	return (int)n;
}

static int sleep_now_and_then(void *arg)
{
	struct random_state r = random_stream((uintptr_t)arg, 7);

	while (atomic_load(&now.n_asking))
		weft_sleep(random_below(&r, 300) * WEFT_MICROSECOND);
	return 0;
}

static void start_company(int *pair)
{
	if (now.company == SLEEPS)
		weft_spawn(sleep_now_and_then, pair);
	else if (now.company != NOTHING)
		weft_spawn(read_to_the_end, pair);
}

/* From any thread: perhaps completes a read of somebody's. */
static void disturb(struct random_state *r)
{
	unsigned whose = random_below(r, (unsigned)now.n_clients + 1);
	const int *pair = whose ? now.clients[whose - 1].pair : now.pair;

	if (now.company == READS && random_one_in(r, 4) &&
	    write(pair[1], "x", 1) != 1)
		stress_fail("a write failed: %s", strerror(errno));
}

/* --- the two parties --- */

static int ask(void *arg)
{
	struct client *me = arg;
	struct question q = { .client = (int)(me - now.clients) };
	uint64_t answer;

	for (uint64_t i = 0; i < me->n_turns; i++) {
		q.number = random_next(&me->random);
		dawdle(&me->random);
		disturb(&me->random);
		if (weft_channel_send(now.questions, &q) ||
		    weft_channel_receive(me->answers, &answer))
			stress_fail("a hand-over failed");
		else if (answer != q.number + 1)
			stress_fail("a wrong answer");
	}
	atomic_fetch_sub(&now.n_asking, 1);
	q.client = -1;
	if (weft_channel_send(now.questions, &q))
		stress_fail("a hand-over failed");
	return 0;
}

static int answer(void *arg)
{
	struct question q;
	int n_there = now.n_clients;

	(void)arg;
	while (n_there) {
		if (weft_channel_receive(now.questions, &q)) {
			stress_fail("a hand-over failed");
		} else if (q.client < 0) {
			n_there--;
		} else {
			q.number++;
			dawdle(&now.random);
			disturb(&now.random);
			if (weft_channel_send(now.clients[q.client].answers,
					      &q.number))
				stress_fail("a hand-over failed");
		}
	}
	/* Ends the reads: nobody writes any more. */
	close(now.pair[1]);
	for (int i = 0; i < now.n_clients; i++)
		close(now.clients[i].pair[1]);
	return 0;
}

static void *run_client(void *arg)
{
	struct client *me = arg;

	start_company(me->pair);
	weft_spawn(ask, me);
	if (weft_run() || weft_stats(0, &me->stats))
		stress_fail("a client's thread failed");
	return NULL;
}

static void *run_hub(void *arg)
{
	struct weft_stats *stats = arg;

	start_company(now.pair);
	weft_spawn(answer, NULL);
	if (weft_run() || weft_stats(0, stats))
		stress_fail("the hub's thread failed");
	return NULL;
}

/* --- a round --- */

static void make_pair(int pair[2])
{
	ck_assert_int_eq(
		socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
}

static void draw_round(struct random_state *r, enum company company)
{
	memset(&now, 0, sizeof now);
	now.company = company;
	/* Often two threads: with more of them somebody is always awake. */
	now.n_clients = random_one_in(r, 2)
				? 1
				: (int)random_between(r, 2, MOST_CLIENTS);
	now.questions = weft_channel_new(sizeof(struct question), 0);
	now.random = random_stream(random_next(r), 0);
	make_pair(now.pair);
	for (int i = 0; i < now.n_clients; i++) {
		struct client *c = &now.clients[i];

		c->answers = weft_channel_new(sizeof(uint64_t), 0);
		c->random = random_stream(random_next(r), 0);
		c->n_turns = random_between(r, LEAST_TURNS, TURNS_PER_ROUND);
		make_pair(c->pair);
	}
	now.n_asking = (unsigned)now.n_clients;
}

static void run_round(void)
{
	struct weft_stats stats = { 0 };
	pthread_t hub;

	ck_assert_int_eq(pthread_create(&hub, NULL, run_hub, &stats), 0);
	for (int i = 0; i < now.n_clients; i++)
		ck_assert_int_eq(pthread_create(&now.clients[i].thread, NULL,
						run_client, &now.clients[i]),
				 0);
	pthread_join(hub, NULL);
	n_parks += stats.parks;
	n_wakes += stats.wakes_sent;
	close(now.pair[0]);
	weft_channel_unref(now.questions);
	for (int i = 0; i < now.n_clients; i++) {
		struct client *c = &now.clients[i];

		pthread_join(c->thread, NULL);
		n_parks += c->stats.parks;
		n_wakes += c->stats.wakes_sent;
		close(c->pair[0]);
		weft_channel_unref(c->answers);
	}
}

/*
 * The doorbell and the spin are read once per process: the test sets them
 * before its first call, and needs a process of its own, as libcheck gives it.
 */
START_TEST(no_wake_is_lost)
{
	enum company company = (enum company)(_i % COMPANIES);
	const char *spin = spins[_i / COMPANIES % N_SPINS];
	const char *doorbell = doorbells[_i / COMPANIES / N_SPINS];
	struct random_state r = random_stream(stress_seed, (unsigned)_i);
	int64_t end;

	setenv("WEFT_WAKE", doorbell, 1);
	if (spin)
		setenv("WEFT_SPIN", spin, 1);
	else
		unsetenv("WEFT_SPIN");
	end = stress_end_of_budget();
	do {
		draw_round(&r, company);
		run_round();
	} while (weft_now() < end);

	/* Else nothing was tried. With spinning nobody may ever have slept. */
	ck_assert_msg(spin == NULL || (n_parks > 0 && n_wakes > 0),
		      "WEFT_WAKE=%s with %s: parked %" PRIu64
		      " times, rang %" PRIu64 " times",
		      doorbell, company_names[company], n_parks, n_wakes);
}
END_TEST

static const struct stress_case cases[] = {
	{ "doorbells", &no_wake_is_lost, COMPANIES *N_SPINS *N_DOORBELLS },
};

STRESS_MAIN("stress_wake", cases)
