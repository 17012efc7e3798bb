/* SPDX-License-Identifier: MIT */
/*
 * Threads come and go while others still have their ids and the handles of
 * their tasklets, and use them: they spawn onto such a thread, insert, run and
 * look at its tasklets, send to them, hammer handles that are long stale. Some
 * threads see their tasklets to the end, most just end and leave the rest to
 * the detach.
 *
 * What was asked of a thread that ended is refused or falls away, and nothing
 * else: a function runs at most once, and exactly once or not at all as its
 * handle tells; an element whose send returned 0 was received, exactly once; a
 * handle never comes to mean another tasklet; descriptors and memory go back.
 */
#include <sys/socket.h>

#include "stress.h"
#include "support.h"

enum {
	MOST_THREADS = 8,  /* at a time */
	GENERATIONS = 4,   /* of each, in a round */
	MOST_LIVES = 4000, /* tasklets of a round */
	MOST_ELEMENTS = 20000,
	KNOWN = 256, /* handles that all can see */
	STEPS = 60,
	MOST_BY_SIDE = 12 /* tasklets that a thread starts for itself */
};

/* What is known of one tasklet. */
struct life {
	_Atomic(unsigned) n_started, n_ended;
	_Atomic(bool) was_spawned; /* a handle came back */
};

struct round {
	int n_threads;
	uint64_t seed;
	weft_channel *channel;
	struct life lives[MOST_LIVES];
	_Atomic(unsigned) n_lives;
	/* By element: how often it was received, and whether its send said so. */
	_Atomic(unsigned char) received[MOST_ELEMENTS], sent[MOST_ELEMENTS];
	_Atomic(unsigned) n_elements;
};

static struct round now;

/* The board on which threads publish whom they know. Some are stale. */
static struct {
	pthread_mutex_t mutex;
	weft_tasklet tasklets[KNOWN];
	uint64_t threads[KNOWN];
} board = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void publish(struct random_state *r, weft_tasklet t)
{
	unsigned place = random_below(r, KNOWN);

	pthread_mutex_lock(&board.mutex);
	board.tasklets[place] = t;
	board.threads[place] = weft_thread_id();
	pthread_mutex_unlock(&board.mutex);
}

static weft_tasklet somebody(struct random_state *r, uint64_t *thread)
{
	unsigned place = random_below(r, KNOWN);
	weft_tasklet t;

	pthread_mutex_lock(&board.mutex);
	t = board.tasklets[place];
	*thread = board.threads[place];
	pthread_mutex_unlock(&board.mutex);
	return t;
}

/* --- what tasklets do --- */

/* Ends with the first error: its thread is being detached. */
static int send_some(struct random_state *r)
{
	for (unsigned i = random_below(r, 6); i > 0; i--) {
		unsigned element = atomic_fetch_add(&now.n_elements, 1);
		int rc;

		if (element >= MOST_ELEMENTS)
			return 0;
		rc = weft_channel_send(now.channel, &element);
		if (rc == 0)
			atomic_fetch_add(&now.sent[element], 1);
		else if (rc == -ECANCELED)
			return rc;
		else
			stress_fail("a send returned %d", rc);
	}
	return 0;
}

static int receive_some(struct random_state *r)
{
	for (unsigned i = random_below(r, 6); i > 0; i--) {
		unsigned element = MOST_ELEMENTS;
		int rc = weft_channel_receive(now.channel, &element);

		if (rc == 0 && element < MOST_ELEMENTS)
			atomic_fetch_add(&now.received[element], 1);
		else if (rc == -ECANCELED)
			return rc;
		else
			stress_fail("a receive returned %d, element %u", rc,
				    element);
	}
	return 0;
}

static int read_in_vain(void)
{
	char buffer[8];
	int pair[2];
	ssize_t n;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		stress_fail("socketpair: %s", strerror(errno));
	n = weft_read(pair[0], buffer, sizeof buffer);
	if (n != -ECANCELED)
		stress_fail("a read that nobody served returned %zd", n);
	close(pair[0]);
	close(pair[1]);
	return (int)n;
}

static int live(struct random_state *r)
{
	switch (random_below(r, 8)) {
	case 0:
	case 1:
		return send_some(r);
	case 2:
	case 3:
		return receive_some(r);
	case 4:
		return weft_sleep(random_below(r, 2000) * WEFT_MICROSECOND);
	case 5:
		return weft_schedule_remove();
	case 6:
		return read_in_vain();
	default:
		return weft_schedule();
	}
}

static int run_life(void *arg)
{
	struct life *me = arg;
	struct random_state r =
		random_stream(now.seed, (uint64_t)(me - now.lives));

	if (atomic_fetch_add(&me->n_started, 1))
		stress_fail("a tasklet ran twice");
	publish(&r, weft_current());
	while (!random_one_in(&r, 3) && live(&r) == 0)
		;
	atomic_fetch_add(&me->n_ended, 1);
	return 0;
}

/* On @thread; 0 is the calling one. */
static void begin_life(struct random_state *r, uint64_t thread)
{
	struct weft_tasklet_options options = {
		.name = random_one_in(r, 4) ? "named" : NULL,
		.stack_size = random_one_in(r, 8) ? 200 * 1024 : 0,
		.paused = random_one_in(r, 8),
		.thread = thread,
	};
	unsigned number = atomic_fetch_add(&now.n_lives, 1);
	weft_tasklet t;

	if (number >= MOST_LIVES)
		return;
	t = weft_spawn_with(&options, run_life, &now.lives[number]);
	if (!weft_tasklet_is_null(t)) {
		atomic_store(&now.lives[number].was_spawned, true);
		if (random_one_in(r, 2))
			publish(r, t);
	} else if (errno != ESRCH || !thread) {
		stress_fail("a spawn failed: %s", strerror(errno));
	}
}

/* --- what threads do to each other --- */

static void look_at(weft_tasklet t)
{
	char name[8] = "x";
	uint64_t thread = weft_tasklet_thread(t);
	int rc = weft_tasklet_name(t, name, sizeof name);

	if (rc && rc != -ESRCH)
		stress_fail("a name gave %d", rc);
	if (!rc && strcmp(name, "") && strcmp(name, "named"))
		stress_fail("a name came out as '%s'", name);
	/* Once it has ended it stays so. */
	if (!weft_tasklet_alive(t) &&
	    (weft_tasklet_state(t) != WEFT_DEAD || weft_tasklet_thread(t) ||
	     weft_tasklet_is_main(t) || weft_tasklet_insert(t) != -ESRCH ||
	     weft_tasklet_run(t) != -ESRCH ||
	     weft_tasklet_remove(t) != -ESRCH ||
	     weft_tasklet_switch(t) != -ESRCH))
		stress_fail("a handle came back to life");
	(void)thread;
}

static void look_at_thread(uint64_t id)
{
	struct weft_thread_info info;
	struct weft_stats stats;
	uint64_t ids[4];
	int rc = weft_thread_info(id, &info);

	if (rc ? rc != -ESRCH : info.id != id || info.alive < 1)
		stress_fail("a thread's info gave %d", rc);
	rc = weft_stats(id, &stats);
	if (rc && rc != -ESRCH)
		stress_fail("a thread's stats gave %d", rc);
	if (weft_threads(ids, 4) < 1)
		stress_fail("no threads, not even this one");
}

static void do_something(struct random_state *r)
{
	uint64_t thread;
	weft_tasklet t = somebody(r, &thread);
	int rc = 0;

	switch (random_below(r, 8)) {
	case 0:
	case 1:
		if (thread)
			begin_life(r, thread);
		break;
	case 2:
	case 3:
		rc = weft_tasklet_insert(t);
		break;
	case 4:
		rc = weft_tasklet_run(t);
		break;
	case 5:
		look_at(t);
		break;
	case 6:
		if (thread)
			look_at_thread(thread);
		break;
	default:
		weft_schedule();
	}
	if (rc && rc != -ESRCH && rc != -EBUSY)
		stress_fail("a control call returned %d", rc);
}

static void *run_thread(void *arg)
{
	struct random_state r = random_stream(now.seed, (uintptr_t)arg);
	int rc;

	publish(&r, weft_main());
	for (unsigned i = random_below(&r, MOST_BY_SIDE + 1); i > 0; i--)
		begin_life(&r, 0);
	for (unsigned i = random_below(&r, STEPS + 1); i > 0; i--)
		do_something(&r);
	if (random_one_in(&r, 2)) {
		rc = weft_run_until(weft_now() +
				    random_below(&r, 2000) * WEFT_MICROSECOND);
		if (rc && rc != -ETIMEDOUT)
			stress_fail("a run returned %d", rc);
	}
	/* Whoever is left is killed by the detach. */
	return NULL;
}

/* One after the other, each while those of the other places go on. */
static void *run_generations(void *arg)
{
	uintptr_t place = (uintptr_t)arg;

	for (uintptr_t i = 0; i < GENERATIONS; i++) {
		pthread_t thread;

		if (pthread_create(
			    &thread, NULL, run_thread,
			    (void *)(MOST_LIVES + place * GENERATIONS + i)))
			stress_fail("a thread could not be created");
		pthread_join(thread, NULL);
	}
	return NULL;
}

/* --- a round --- */

static void check_round(void)
{
	unsigned n_lives = atomic_load(&now.n_lives);
	unsigned n_elements = atomic_load(&now.n_elements);
	struct random_state r = random_stream(now.seed, 1);

	for (unsigned i = 0; i < n_lives && i < MOST_LIVES; i++) {
		struct life *l = &now.lives[i];

		ck_assert_msg(l->n_ended == l->n_started &&
				      (l->was_spawned || !l->n_started),
			      "tasklet %u: spawned %d, started %u times, "
			      "ended %u times (seed %" PRIu64 ")",
			      i, l->was_spawned, l->n_started, l->n_ended,
			      stress_seed);
	}
	for (unsigned i = 0; i < n_elements && i < MOST_ELEMENTS; i++)
		ck_assert_msg(now.sent[i] == now.received[i] &&
				      now.sent[i] <= 1,
			      "element %u: sent %u times, received %u times "
			      "(seed %" PRIu64 ")",
			      i, now.sent[i], now.received[i], stress_seed);
	ck_assert_int_eq(weft_channel_balance(now.channel), 0);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	for (unsigned i = 0; i < KNOWN; i++) {
		uint64_t thread;
		weft_tasklet t = somebody(&r, &thread);

		ck_assert(!weft_tasklet_alive(t));
		look_at(t);
	}
}

START_TEST(threads_come_and_go)
{
	struct random_state r = random_stream(stress_seed, 0);
	int64_t end = stress_end_of_budget();
	int n_before = n_descriptors();

	do {
		pthread_t threads[MOST_THREADS];

		memset(&now, 0, sizeof now);
		now.seed = random_next(&r);
		now.n_threads = (int)random_between(&r, 2, MOST_THREADS);
		now.channel = weft_channel_new(sizeof(unsigned), 0);
		for (int i = 0; i < now.n_threads; i++)
			ck_assert_int_eq(pthread_create(&threads[i], NULL,
							run_generations,
							(void *)(uintptr_t)i),
					 0);
		for (int i = 0; i < now.n_threads; i++)
			pthread_join(threads[i], NULL);
		check_round();
		weft_channel_unref(now.channel);
		ck_assert_int_eq(n_descriptors(), n_before);
	} while (weft_now() < end);
}
END_TEST

static const struct stress_case cases[] = {
	{ "storms", &threads_come_and_go, 1 },
};

STRESS_MAIN("stress_attach", cases)
