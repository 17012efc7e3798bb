/* SPDX-License-Identifier: MIT */
/*
 * Kill and raise against all that they may interrupt, from other threads: nothing
 * is lost, nothing comes twice, and nobody is left behind.
 */
#include <sys/socket.h>

#include "stress.h"
#include "support.h"

enum { KILLERS = 3 };

/* --- a storm on blocked tasklets --- */

enum { STORM_CHANNELS = 500 };

struct storm {
	int n;
	weft_tasklet *tasklets;
	weft_channel *channels[STORM_CHANNELS];
	_Atomic(bool) is_ready;
	_Atomic(int) n_killed; /* whose call said so */
};

static struct storm storm;

static int wait_or_be_killed(void *arg)
{
	size_t i = (size_t)((weft_tasklet *)arg - storm.tasklets);
	weft_channel *ch = storm.channels[i % STORM_CHANNELS];
	int value = 0;
	/* those of one channel all wait on the same side */
	int rc = i % STORM_CHANNELS % 2 ? weft_channel_send(ch, &value)
					: weft_channel_receive(ch, &value);

	if (rc == -ECANCELED)
		storm.n_killed++;
	return rc;
}

static int make_all(void *arg)
{
	(void)arg;
	for (int i = 0; i < storm.n; i++)
		storm.tasklets[i] =
			weft_spawn(wait_or_be_killed, &storm.tasklets[i]);
	while (weft_runcount() > 1)
		weft_schedule();
	storm.is_ready = true;
	return 0;
}

/* Each from another place on, so that many are killed twice. */
static void *kill_all(void *arg)
{
	int from = storm.n / KILLERS * (int)(uintptr_t)arg;

	for (int i = 0; i < storm.n; i++) {
		int rc = weft_tasklet_kill(storm.tasklets[(from + i) % storm.n],
					   i % 2 ? WEFT_PENDING : 0);

		if (rc && rc != -ESRCH)
			stress_fail("a kill returned %d", rc);
	}
	return NULL;
}

START_TEST(kill_storm)
{
	pthread_t killers[KILLERS];
	uint64_t id;

	storm.n = many_tasklets(stress_share_ns > 2 * WEFT_SECOND ? 100000
								  : 10000);
	storm.tasklets = calloc((size_t)storm.n, sizeof *storm.tasklets);
	for (int i = 0; i < STORM_CHANNELS; i++)
		storm.channels[i] = weft_channel_new(sizeof(int), 0);
	ck_assert_int_eq(weft_thread_start(&id, make_all, NULL), 0);
	while (!storm.is_ready)
		weft_sleep(WEFT_MILLISECOND);
	for (int i = 0; i < KILLERS; i++)
		pthread_create(&killers[i], NULL, kill_all,
			       (void *)(uintptr_t)i);
	for (int i = 0; i < KILLERS; i++)
		pthread_join(killers[i], NULL);
	ck_assert_int_eq(weft_thread_join(id), 0);
	for (int i = 0; i < storm.n; i++)
		ck_assert(!weft_tasklet_alive(storm.tasklets[i]));
	for (int i = 0; i < STORM_CHANNELS; i++) {
		ck_assert_int_eq(weft_channel_balance(storm.channels[i]), 0);
		weft_channel_unref(storm.channels[i]);
	}
	ck_assert_int_eq(storm.n_killed, storm.n);
	free(storm.tasklets);
}
END_TEST

/* --- raise against a foreign send and receive --- */

enum { SENDERS = 6, RECEIVERS = 6 };

static struct {
	weft_channel *channel;
	weft_tasklet tasklets[SENDERS + RECEIVERS];
	_Atomic(int) n_there;
	_Atomic(int) n_sending;
	_Atomic(uint64_t) n_sent, sum_sent, n_received, sum_received;
	_Atomic(uint64_t) n_interrupted;
	_Atomic(bool) must_end;
} trade;

static void arrive(int place)
{
	trade.tasklets[place] = weft_current();
	trade.n_there++;
}

static int keep_sending(void *arg)
{
	int place = (int)(uintptr_t)arg;

	arrive(place);
	for (uint64_t v = 1; !trade.must_end; v++) {
		uint64_t element = v * SENDERS + (uint64_t)place;
		int rc = weft_channel_send(trade.channel, &element);

		if (rc == 0) {
			trade.n_sent++;
			trade.sum_sent += element;
		} else if (rc == -EINTR) {
			trade.n_interrupted++;
		} else {
			stress_fail("a send returned %d", rc);
		}
	}
	trade.n_sending--;
	return 0;
}

static int keep_receiving(void *arg)
{
	arrive((int)(uintptr_t)arg);
	for (;;) {
		uint64_t element = 0;
		int rc = weft_channel_receive(trade.channel, &element);

		if (rc == 0) {
			trade.n_received++;
			trade.sum_received += element;
		} else if (rc == -EINTR) {
			trade.n_interrupted++;
		} else if (rc == -ECANCELED) {
			return 0;
		} else {
			stress_fail("a receive returned %d", rc);
		}
	}
}

static int start_half(void *arg)
{
	int from = (int)(uintptr_t)arg;

	/* senders and receivers on both threads */
	for (int i = from; i < SENDERS + RECEIVERS; i += 2)
		weft_spawn(i < SENDERS ? keep_sending : keep_receiving,
			   (void *)(uintptr_t)i);
	return 0;
}

START_TEST(raise_against_exchange)
{
	struct random_state r = random_stream(stress_seed, 11);
	int64_t end = stress_end_of_budget();
	uint64_t ids[2];

	trade.channel = weft_channel_new(sizeof(uint64_t), 0);
	trade.n_sending = SENDERS;
	for (uintptr_t i = 0; i < 2; i++)
		ck_assert_int_eq(
			weft_thread_start(&ids[i], start_half, (void *)i), 0);
	while (trade.n_there < SENDERS + RECEIVERS)
		sched_yield();
	while (weft_now() < end) {
		weft_tasklet_raise(
			trade.tasklets[random_below(&r, SENDERS + RECEIVERS)],
			EINTR, WEFT_PENDING);
		if (random_one_in(&r, 8))
			stress_burn(random_below(&r, 20) * WEFT_MICROSECOND);
	}
	trade.must_end = true;
	/* Senders that wait for a receiver find one; so all of them end. */
	while (trade.n_sending) {
		for (int i = 0; i < SENDERS; i++)
			weft_tasklet_raise(trade.tasklets[i], EINTR, 0);
		usleep(100);
	}
	for (int i = SENDERS; i < SENDERS + RECEIVERS; i++)
		weft_tasklet_kill(trade.tasklets[i], 0);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
	ck_assert_uint_eq(trade.n_received, trade.n_sent);
	ck_assert_uint_eq(trade.sum_received, trade.sum_sent);
	ck_assert_int_eq(weft_channel_balance(trade.channel), 0);
	weft_channel_unref(trade.channel);
	printf("# %" PRIu64 " sent, %" PRIu64 " interrupted\n", trade.n_sent,
	       trade.n_interrupted);
}
END_TEST

/* --- join against the end, and against raise --- */

enum { JOINERS = 8 };

static struct {
	weft_tasklet target;
	_Atomic(unsigned) round; /* odd: the target is there */
	_Atomic(int) n_there, n_done;
	weft_tasklet joiners[JOINERS];
	_Atomic(uint64_t) n_joined, n_late;
} meet;

static int end_with_round(void *arg)
{
	if (random_one_in(&(struct random_state){ (uintptr_t)arg }, 3))
		weft_schedule();
	return (int)(uintptr_t)arg;
}

static int keep_joining(void *arg)
{
	unsigned seen = 0;

	meet.joiners[(uintptr_t)arg] = weft_current();
	meet.n_there++;
	for (;;) {
		unsigned round = meet.round;
		int rc;

		if (round == UINT32_MAX)
			return 0;
		if (round == seen || round % 2 == 0) {
			weft_schedule();
			continue;
		}
		do
			rc = weft_tasklet_join(meet.target);
		while (rc == -EINTR);
		if (rc == (int)round)
			meet.n_joined++;
		else if (rc == -ESRCH)
			meet.n_late++;
		else
			stress_fail("a join returned %d", rc);
		seen = round;
		meet.n_done++;
	}
}

static int start_joiners(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; i < JOINERS; i += 2)
		weft_spawn(keep_joining, (void *)i);
	return 0;
}

START_TEST(join_against_the_end)
{
	struct random_state r = random_stream(stress_seed, 12);
	int64_t end = stress_end_of_budget();
	uint64_t ids[2];

	for (uintptr_t i = 0; i < 2; i++)
		ck_assert_int_eq(
			weft_thread_start(&ids[i], start_joiners, (void *)i),
			0);
	while (meet.n_there < JOINERS)
		sched_yield();
	for (unsigned round = 1; weft_now() < end; round += 2) {
		meet.n_done = 0;
		meet.target =
			weft_spawn(end_with_round, (void *)(uintptr_t)round);
		meet.round = round;
		if (random_one_in(&r, 2))
			stress_burn(random_below(&r, 30) * WEFT_MICROSECOND);
		for (int i = 0; i < 4; i++)
			weft_tasklet_raise(
				meet.joiners[random_below(&r, JOINERS)], EINTR,
				WEFT_PENDING);
		weft_run();
		while (meet.n_done < JOINERS)
			sched_yield();
		meet.round = round + 1;
	}
	meet.round = UINT32_MAX;
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
	printf("# %" PRIu64 " joined, %" PRIu64 " came late\n", meet.n_joined,
	       meet.n_late);
}
END_TEST

/* --- raise against I/O --- */

static struct {
	int pair[2];
	weft_tasklet reader;
	_Atomic(bool) is_there, must_end;
	_Atomic(uint64_t) n_read, n_interrupted;
} flow;

/* Every byte comes, in order, whatever interrupts the reads. */
static int read_all(void *arg)
{
	uint8_t buffer[64];
	uint8_t expected = 0;
	ssize_t n;

	(void)arg;
	flow.reader = weft_current();
	flow.is_there = true;
	while ((n = weft_recv(flow.pair[0], buffer, sizeof buffer, 0))) {
		if (n == -EINTR) {
			flow.n_interrupted++;
			continue;
		}
		if (n < 0)
			stress_fail("a recv returned %zd", n);
		for (ssize_t i = 0; i < n; i++)
			if (buffer[i] != expected++)
				stress_fail("byte %d came instead of %d",
					    buffer[i], (uint8_t)(expected - 1));
		flow.n_read += (uint64_t)n;
	}
	return 0;
}

static void *keep_raising(void *arg)
{
	struct random_state r = random_stream(stress_seed, 13);

	(void)arg;
	while (!flow.must_end) {
		weft_tasklet_raise(flow.reader, EINTR, 0);
		stress_burn(random_below(&r, 30) * WEFT_MICROSECOND);
	}
	return NULL;
}

START_TEST(raise_against_io)
{
	struct random_state r = random_stream(stress_seed, 14);
	int64_t end = stress_end_of_budget();
	uint64_t n_written = 0;
	pthread_t raiser;
	uint64_t id;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, flow.pair), 0);
	ck_assert_int_eq(weft_thread_start(&id, read_all, NULL), 0);
	while (!flow.is_there)
		sched_yield();
	pthread_create(&raiser, NULL, keep_raising, NULL);
	while (weft_now() < end) {
		uint8_t bytes[16];
		size_t n = random_between(&r, 1, sizeof bytes);

		for (size_t i = 0; i < n; i++)
			bytes[i] = (uint8_t)(n_written + i);
		ck_assert_int_eq(write(flow.pair[1], bytes, n), (ssize_t)n);
		n_written += n;
		if (random_one_in(&r, 4))
			stress_burn(random_below(&r, 50) * WEFT_MICROSECOND);
	}
	flow.must_end = true;
	pthread_join(raiser, NULL);
	close(flow.pair[1]);
	ck_assert_int_eq(weft_thread_join(id), 0);
	close(flow.pair[0]);
	ck_assert_uint_eq(flow.n_read, n_written);
	printf("# %" PRIu64 " bytes, %" PRIu64 " interruptions\n", n_written,
	       flow.n_interrupted);
}
END_TEST

static const struct stress_case cases[] = {
	{ "a storm on blocked tasklets", &kill_storm, 1 },
	{ "raise against send and receive", &raise_against_exchange, 1 },
	{ "join against the end", &join_against_the_end, 1 },
	{ "raise against I/O", &raise_against_io, 1 },
};

STRESS_MAIN("stress_kill", cases)
