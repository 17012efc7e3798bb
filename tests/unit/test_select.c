/* SPDX-License-Identifier: MIT */
/*
 * weft_select() at its limits: arguments, many cases, fairness, whatever ends a
 * wait from outside, other threads. Who runs when is in tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <limits.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <weft.h>

#include "support.h"

static weft_channel *x, *y, *z;

static void make_channels(void)
{
	x = weft_channel_new(sizeof(int), 0);
	y = weft_channel_new(sizeof(int), 0);
	z = weft_channel_new(sizeof(int), 0);
	weft_channel_set_name(x, "jobs");
}

static void expect_nobody(void)
{
	ck_assert_int_eq(weft_channel_balance(x), 0);
	ck_assert_int_eq(weft_channel_balance(y), 0);
	ck_assert_int_eq(weft_channel_balance(z), 0);
	ck_assert_uint_eq(weft_channel_waiters(x, NULL, 0), 0);
	ck_assert_uint_eq(weft_channel_waiters(y, NULL, 0), 0);
	ck_assert_uint_eq(weft_channel_waiters(z, NULL, 0), 0);
}

static struct weft_case receives(weft_channel *ch, int *value)
{
	return (struct weft_case){ { ch }, WEFT_RECEIVE, value, 1 };
}

static struct weft_case sends(weft_channel *ch, int *value)
{
	return (struct weft_case){ { ch }, WEFT_SEND, value, 1 };
}

/* One that selects from x and y, or sends on z. */
struct selector {
	int from_x, from_y, to_z;
	int rc; /* 99: still waiting */
	int result;
	int rc_after; /* of one more select */
};

static int select_xyz(struct selector *me)
{
	struct weft_case cases[] = { receives(x, &me->from_x),
				     receives(y, &me->from_y),
				     sends(z, &me->to_z) };
	int rc = weft_select(cases, 3, 0);

	if (rc >= 0)
		me->result = cases[rc].result;
	return rc;
}

static int run_selector(void *arg)
{
	struct selector *me = arg;

	me->rc = 99;
	me->rc = select_xyz(me);
	return 0;
}

/* --- arguments --- */

START_TEST(wrong_arguments)
{
	int value = 7;
	struct weft_case cases[2];

	make_channels();
	cases[0] = receives(x, &value);
	cases[1] = receives(y, &value);
	ck_assert_int_eq(weft_select(NULL, 1, 0), -EINVAL);
	ck_assert_int_eq(weft_select(NULL, 1, WEFT_NONBLOCK), -EINVAL);
	ck_assert_int_eq(weft_select(cases, 2, 2), -EINVAL);
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK | 4), -EINVAL);
	ck_assert_int_eq(weft_select(cases, (size_t)INT_MAX + 1, 0), -EINVAL);
	ck_assert_int_eq(weft_select(cases, SIZE_MAX, WEFT_NONBLOCK), -EINVAL);
	cases[1].op = (enum weft_op)(WEFT_AT + 1);
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EINVAL);
	/* also of a channel that is never ready */
	cases[1].channel = NULL;
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EINVAL);
	cases[1].op = WEFT_SEND;
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EAGAIN);
	ck_assert_int_eq(weft_select(NULL, 0, WEFT_NONBLOCK), -EAGAIN);
	/* nothing was touched */
	ck_assert_int_eq(cases[0].result, 1);
	ck_assert_int_eq(value, 7);
	expect_nobody();
}
END_TEST

/* Only the chosen case has a result, and only its element is touched. */
START_TEST(others_stay_untouched)
{
	int values[3] = { -1, -2, -3 };
	int sent = 5;
	weft_channel *b = weft_channel_new(sizeof(int), 1);
	struct weft_case cases[3];

	make_channels();
	cases[0] = receives(x, &values[0]);
	cases[1] = receives(b, &values[1]);
	cases[2] = receives(y, &values[2]);
	weft_channel_send(b, &sent);
	ck_assert_int_eq(weft_select(cases, 3, 0), 1);
	ck_assert_int_eq(values[0], -1);
	ck_assert_int_eq(values[1], 5);
	ck_assert_int_eq(values[2], -3);
	ck_assert_int_eq(cases[0].result, 1);
	ck_assert_int_eq(cases[1].result, 0);
	ck_assert_int_eq(cases[2].result, 1);
	weft_channel_unref(b);
}
END_TEST

/* --- many cases --- */

enum { MOST_CASES = 1000 };

static struct {
	size_t n;
	weft_channel *channels[MOST_CASES];
	int values[MOST_CASES];
	struct weft_case cases[MOST_CASES];
	int rc;
} many;

static int select_many(void *arg)
{
	(void)arg;
	many.rc = weft_select(many.cases, many.n, 0);
	return 0;
}

/* In an order that is not that of the addresses, and some of them twice. */
static void make_many(size_t n)
{
	many.n = n;
	many.rc = -1;
	for (size_t i = 0; i < n; i++)
		many.channels[i] = weft_channel_new(sizeof(int), 0);
	for (size_t i = 0; i < n; i++) {
		size_t j = i % 10 == 9 ? i - 1 : i * 7 % n;

		many.cases[i] = receives(many.channels[j], &many.values[i]);
	}
}

static void drop_many(void)
{
	for (size_t i = 0; i < many.n; i++) {
		ck_assert_int_eq(weft_channel_balance(many.channels[i]), 0);
		weft_channel_unref(many.channels[i]);
	}
}

static const size_t numbers[] = { 1, 2, 15, 16, 17, 18, 33, 100, MOST_CASES };

/* Served, killed, or ready at once: the number does not matter. */
START_TEST(any_number_of_cases)
{
	size_t n = numbers[_i];
	weft_tasklet t;

	make_many(n);
	for (size_t i = 0; i < n; i += n / 8 + 1) {
		int value = (int)i + 1;

		t = weft_spawn(select_many, NULL);
		weft_schedule();
		ck_assert_int_eq(
			weft_channel_send(many.cases[i].channel, &value), 0);
		ck_assert(!weft_tasklet_alive(t));
		/* a channel that is there twice is served by the first */
		ck_assert_ptr_eq(many.cases[many.rc].channel,
				 many.cases[i].channel);
		ck_assert_int_eq(many.values[many.rc], value);
	}
	t = weft_spawn(select_many, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(many.rc, -ECANCELED);
	ck_assert_int_eq(weft_select(many.cases, n, WEFT_NONBLOCK), -EAGAIN);
	weft_channel_close(many.cases[n / 2].channel);
	many.rc = weft_select(many.cases, n, 0);
	ck_assert_int_ge(many.rc, 0);
	ck_assert_int_eq(many.cases[many.rc].result, -EPIPE);
	drop_many();
}
END_TEST

static void limit_address_space(size_t more)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%zu", &pages), 1);
	fclose(f);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = pages * 4096 + more;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* No memory for the cases: nothing has moved, nobody is queued. */
START_TEST(no_memory)
{
	enum { HUGE_NUMBER = 1 << 21 };
	struct weft_case *cases;
	int value = 0;

	if (lacks_memory_to_itself())
		return;
	make_channels();
	cases = calloc(HUGE_NUMBER, sizeof *cases);
	ck_assert_ptr_nonnull(cases);
	cases[0] = receives(x, &value);
	cases[1] = sends(y, &value);
	weft_channel_close(y);
	limit_address_space(16 << 20);
	ck_assert_int_eq(weft_select(cases, HUGE_NUMBER, 0), -ENOMEM);
	ck_assert_int_eq(weft_select(cases, HUGE_NUMBER, WEFT_NONBLOCK),
			 -ENOMEM);
	ck_assert_int_eq(cases[1].result, 1);
	expect_nobody();
	ck_assert_int_eq(weft_select(cases, 16, 0), 1);
	free(cases);
}
END_TEST

/* --- fairness --- */

enum { CHOICES = 1000 };

/* Six standard deviations; a fair one is outside once in 500 million times. */
static void expect_share(const unsigned *chosen, unsigned n, unsigned choices)
{
	double mean = (double)choices / n;
	double variance = mean * (1 - 1.0 / n);

	for (unsigned i = 0; i < n; i++) {
		double off = (double)chosen[i] - mean;

		ck_assert_msg(off * off <= 36 * variance,
			      "case %u of %u was chosen %u times of %u", i, n,
			      chosen[i], choices);
	}
}

/* Of so many that are always ready each has its share, be they closed channels,
 * full or empty buffers. */
START_TEST(each_has_its_share)
{
	unsigned n = (unsigned)_i + 2;
	weft_channel *channels[40];
	struct weft_case cases[40];
	unsigned chosen[40] = { 0 };
	int value = 0;

	for (unsigned i = 0; i < n; i++) {
		channels[i] = weft_channel_new(sizeof(int), 1);
		cases[i] = sends(channels[i], &value);
		if (i % 3 == 1)
			weft_channel_close(channels[i]);
		if (i % 3 == 2) {
			cases[i] = receives(channels[i], &value);
			weft_channel_send(channels[i], &value);
		}
	}
	for (unsigned round = 0; round < CHOICES * n; round++) {
		int i = weft_select(cases, n, round % 2 ? WEFT_NONBLOCK : 0);

		ck_assert_int_ge(i, 0);
		chosen[i]++;
		if (i % 3 == 0)
			weft_channel_receive(channels[i], &value);
		if (i % 3 == 2)
			weft_channel_send(channels[i], &value);
	}
	expect_share(chosen, n, CHOICES * n);
	for (unsigned i = 0; i < n; i++)
		weft_channel_unref(channels[i]);
}
END_TEST

/* Selections with other numbers of cases in between, in a fixed rhythm: a choice
 * that followed the count of calls would favour some. */
START_TEST(rhythm_does_not_matter)
{
	static const unsigned rhythm[] = { 2, 4, 8, 3, 2, 2, 16, 4 };
	weft_channel *closed = weft_channel_new(0, 0);
	struct weft_case cases[16];
	unsigned chosen[N_ELEMENTS(rhythm)][16] = { { 0 } };

	weft_channel_close(closed);
	for (unsigned i = 0; i < 16; i++)
		cases[i] = receives(closed, NULL);
	for (unsigned round = 0; round < 8 * CHOICES; round++) {
		for (unsigned i = 0; i < N_ELEMENTS(rhythm); i++) {
			int rc = weft_select(cases, rhythm[i], 0);

			ck_assert_int_ge(rc, 0);
			chosen[i][rc]++;
		}
	}
	for (unsigned i = 0; i < N_ELEMENTS(rhythm); i++)
		expect_share(chosen[i], rhythm[i], 8 * CHOICES);
	weft_channel_unref(closed);
}
END_TEST

/* Cases that are not ready take nothing away from those that are. */
START_TEST(only_ready_ones_count)
{
	weft_channel *closed = weft_channel_new(sizeof(int), 0);
	struct weft_case cases[9];
	unsigned chosen[3] = { 0 };
	int value = 0;

	make_channels();
	weft_channel_close(closed);
	for (int i = 0; i < 9; i++)
		cases[i] = receives(i % 3 == 2 ? closed : i ? x : NULL, &value);
	for (int round = 0; round < 3 * CHOICES; round++) {
		int i = weft_select(cases, 9, 0);

		ck_assert_int_eq(i % 3, 2);
		chosen[i / 3]++;
	}
	expect_share(chosen, 3, 3 * CHOICES);
	expect_nobody();
	weft_channel_unref(closed);
}
END_TEST

static int send_for_ever(void *ch)
{
	int value = 1;

	while (weft_channel_send(ch, &value) == 0)
		;
	return 0;
}

/* One that is ready behind others that always are gets its turn, with tasklets
 * on the other side: both senders go on. */
START_TEST(nobody_starves)
{
	unsigned chosen[2] = { 0 };
	weft_tasklet a, b;
	struct weft_case cases[2];
	int value;

	make_channels();
	a = weft_spawn(send_for_ever, x);
	b = weft_spawn(send_for_ever, y);
	weft_schedule();
	cases[0] = receives(x, &value);
	cases[1] = receives(y, &value);
	for (int round = 0; round < 2 * CHOICES; round++) {
		int i = weft_select(cases, 2, 0);

		ck_assert_int_ge(i, 0);
		chosen[i]++;
		weft_schedule(); /* the sender comes back */
	}
	expect_share(chosen, 2, 2 * CHOICES);
	weft_tasklet_kill(a, 0);
	weft_tasklet_kill(b, 0);
	expect_nobody();
}
END_TEST

/* --- what ends it from outside --- */

/* A deadline withdraws all cases; one that has passed comes before what is
 * ready, but not without waiting. */
START_TEST(deadlines)
{
	struct weft_deadline d;
	struct selector me = { .to_z = 1 };
	int value = 3;
	struct weft_case ready;

	make_channels();
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(select_xyz(&me), -ETIMEDOUT);
	expect_nobody();
	ready = sends(weft_channel_new(sizeof(int), 3), &value);
	ck_assert_int_eq(weft_select(&ready, 1, 0), -ETIMEDOUT);
	ck_assert_int_eq(weft_channel_balance(ready.channel), 0);
	ck_assert_int_eq(weft_select(&ready, 1, WEFT_NONBLOCK), 0);
	ck_assert(weft_deadline_end(&d));
	ck_assert_int_eq(weft_select(&ready, 1, 0), 0);
	weft_channel_unref(ready.channel);
}
END_TEST

/* In time: nothing is left of the deadline. */
START_TEST(deadline_that_does_not_run_out)
{
	struct weft_deadline d;
	struct selector me = { .to_z = 4 };
	int value = 0;
	weft_tasklet sender;

	make_channels();
	sender = weft_spawn(send_for_ever, y);
	weft_deadline_begin(&d, weft_now() + 3600 * WEFT_SECOND);
	ck_assert_int_eq(select_xyz(&me), 1);
	ck_assert(!weft_deadline_end(&d));
	ck_assert_int_eq(me.from_y, 1);
	weft_tasklet_kill(sender, 0);
	ck_assert_int_eq(weft_channel_try_receive(z, &value), -EAGAIN);
	expect_nobody();
}
END_TEST

static int select_shielded(void *arg)
{
	struct selector *me = arg;

	weft_shield_begin();
	me->rc = select_xyz(me);
	weft_shield_end();
	me->rc_after = select_xyz(me);
	return 0;
}

/* A shield keeps kill and raise out, which come with the next call. */
START_TEST(shields)
{
	struct selector me = { .rc = 99, .rc_after = 99 };
	weft_tasklet t;
	int value = 6;

	make_channels();
	t = weft_spawn(select_shielded, &me);
	weft_schedule();
	weft_tasklet_raise(t, EINTR, 0);
	weft_tasklet_kill(t, 0);
	ck_assert_int_eq(me.rc, 99);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	ck_assert_int_eq(weft_channel_balance(z), 1);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(me.rc, 0);
	ck_assert_int_eq(me.from_x, 6);
	ck_assert_int_eq(me.rc_after, -ECANCELED);
	expect_nobody();
}
END_TEST

static int select_twice(void *arg)
{
	struct selector *me = arg;

	me->rc = select_xyz(me);
	me->rc_after = select_xyz(me);
	return 0;
}

/* Raised on, one starts anew; served and then raised on before it runs, it has
 * what it was served. */
START_TEST(raised_on)
{
	struct selector me = { .rc = 99, .rc_after = 99 };
	weft_tasklet t;
	int value = 6;

	make_channels();
	weft_channel_set_preference(x, 0);
	t = weft_spawn(select_twice, &me);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_raise(t, ERANGE, 0), 0);
	ck_assert_int_eq(me.rc, -ERANGE);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	ck_assert_int_eq(weft_channel_balance(z), 1);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(weft_tasklet_raise(t, ERANGE, WEFT_PENDING), 0);
	expect_nobody();
	weft_run();
	ck_assert_int_eq(me.rc_after, 0);
	ck_assert_int_eq(me.from_x, 6);
}
END_TEST

/* Opened again while it waits, a channel is as it was. */
START_TEST(open_while_waiting)
{
	struct selector me = { .to_z = 8 };
	int value = 2;

	make_channels();
	weft_channel_set_preference(z, 0);
	weft_spawn(run_selector, &me);
	weft_schedule();
	/* only x and y are an answer; the sender waits on */
	weft_channel_close(z);
	weft_channel_open(z);
	ck_assert_int_eq(me.rc, 99);
	ck_assert_int_eq(weft_channel_receive(z, &value), 0);
	weft_run();
	ck_assert_int_eq(me.rc, 2);
	ck_assert_int_eq(value, 8);
	expect_nobody();
}
END_TEST

/* One that selects keeps the channels; the last to leave frees them. */
START_TEST(waiting_keeps_channels)
{
	struct selector me = { .to_z = 8 };
	weft_channel *kept;
	int value = 3;

	make_channels();
	weft_spawn(run_selector, &me);
	weft_schedule();
	weft_channel_unref(x);
	weft_channel_unref(z);
	/* neither is given out again while one waits in it */
	for (int i = 0; i < 100; i++) {
		kept = weft_channel_new(8, 0);
		ck_assert_ptr_ne(kept, x);
		ck_assert_ptr_ne(kept, z);
		weft_channel_unref(kept);
	}
	ck_assert_int_eq(weft_channel_send(y, &value), 0);
	ck_assert_int_eq(me.rc, 1);
	ck_assert_int_eq(me.from_y, 3);
	weft_channel_unref(y);
}
END_TEST

/* --- many tasklets --- */

static struct {
	int n;
	_Atomic(int64_t) sum;
	_Atomic(int) n_served, n_killed;
	weft_tasklet *tasklets;
	weft_channel *channels[64];
	_Atomic(bool) is_ready;
} crowd;

static int select_one_of_two(void *arg)
{
	int a = 0, b = 0;
	struct weft_case cases[2];
	int rc;

	(void)arg;
	cases[0] = receives(x, &a);
	cases[1] = receives(y, &b);
	rc = weft_select(cases, 2, 0);
	if (rc >= 0)
		crowd.n_served++;
	crowd.sum += rc ? b : a;
	return 0;
}

/* So many select on two channels that one serves: each is served once. */
START_TEST(one_serves_very_many)
{
	int n = many_tasklets(100000);
	int64_t sum = 0;

	make_channels();
	for (int i = 0; i < n; i++)
		weft_spawn(select_one_of_two, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_channel_balance(x), -n);
	ck_assert_int_eq(weft_channel_balance(y), -n);
	for (int i = 1; i <= n; i++) {
		sum += i;
		ck_assert_int_eq(weft_channel_send(i % 3 ? x : y, &i), 0);
		ck_assert_int_eq(crowd.n_served, i);
	}
	ck_assert_int_eq(crowd.sum, sum);
	expect_nobody();
}
END_TEST

static int select_or_be_killed(void *arg)
{
	size_t i = (size_t)((weft_tasklet *)arg - crowd.tasklets);
	int value = 0;
	struct weft_case cases[3];
	int rc;

	/* those of one channel all wait on the same side */
	for (size_t k = 0; k < 3; k++) {
		size_t place = (i * 7 + k * 29) % N_ELEMENTS(crowd.channels);

		cases[k] = place % 2 ? sends(crowd.channels[place], &value)
				     : receives(crowd.channels[place], &value);
	}
	rc = weft_select(cases, 3, 0);
	if (rc == -ECANCELED)
		crowd.n_killed++;
	return 0;
}

static int make_crowd(void *arg)
{
	(void)arg;
	for (int i = 0; i < crowd.n; i++)
		crowd.tasklets[i] =
			weft_spawn(select_or_be_killed, &crowd.tasklets[i]);
	while (weft_runcount() > 1)
		weft_schedule();
	crowd.is_ready = true;
	return 0;
}

static void *kill_crowd(void *arg)
{
	for (int i = 0; i < crowd.n; i++)
		weft_tasklet_kill(crowd.tasklets[arg ? i : crowd.n - 1 - i], 0);
	return NULL;
}

/* Two threads kill all that select on a third: nobody is left in any channel. */
START_TEST(kill_storm)
{
	pthread_t killers[2];
	uint64_t id;

	crowd.n = many_tasklets(20000);
	crowd.tasklets = calloc((size_t)crowd.n, sizeof *crowd.tasklets);
	for (size_t i = 0; i < N_ELEMENTS(crowd.channels); i++)
		crowd.channels[i] = weft_channel_new(sizeof(int), 0);
	ck_assert_int_eq(weft_thread_start(&id, make_crowd, NULL), 0);
	while (!crowd.is_ready)
		weft_sleep(WEFT_MILLISECOND);
	killers[0] = start_thread(kill_crowd, NULL);
	killers[1] = start_thread(kill_crowd, &crowd);
	join_thread(killers[0]);
	join_thread(killers[1]);
	ck_assert_int_eq(weft_thread_join(id), 0);
	ck_assert_int_eq(crowd.n_killed, crowd.n);
	for (size_t i = 0; i < N_ELEMENTS(crowd.channels); i++) {
		ck_assert_int_eq(weft_channel_balance(crowd.channels[i]), 0);
		weft_channel_unref(crowd.channels[i]);
	}
	free(crowd.tasklets);
}
END_TEST

/* --- a winner that is held up --- */

/* One that has been claimed by another thread and still stands in queues: its
 * winner is held up as it copies the element, from a page that cannot be read until
 * it may go. All cases but the claimed one are dead. Nobody but the first case has
 * kept its channel. */
static struct {
	weft_channel *buffer; /* of the first case */
	int *page;            /* where the winner's element is */
	sem_t is_held, may_go;
	struct selector selector;
	weft_tasklet tasklet; /* the selector */
	pthread_t winner;
	int rc;
	_Atomic(int) n_dropped; /* of the buffer's one element */
} held;

static void count_dropped(void *element, void *ctx)
{
	(void)element;
	(void)ctx;
	held.n_dropped++;
}

static void hold_up(int signal, siginfo_t *info, void *context)
{
	(void)context;
	if (info->si_addr != held.page) {
		/* it is what it looks like */
		struct sigaction as_ever = { .sa_handler = SIG_DFL };

		sigaction(signal, &as_ever, NULL);
		return;
	}
	sem_post(&held.is_held);
	while (sem_wait(&held.may_go))
		;
	mprotect(held.page, sizeof *held.page, PROT_READ);
}

static int select_behind_buffer(void *arg)
{
	struct selector *me = &held.selector;
	int value = 1;
	struct weft_case cases[] = { sends(held.buffer, &value),
				     receives(x, &me->from_x),
				     sends(z, &me->to_z),
				     receives(y, &me->from_y) };

	(void)arg;
	me->rc = weft_select(cases, 4, 0);
	me->rc_after = weft_schedule();
	return 0;
}

static void *win(void *arg)
{
	held.rc = weft_channel_send(y, held.page);
	return arg;
}

static void prepare_held(void)
{
	struct sigaction holding = { .sa_sigaction = hold_up,
				     .sa_flags = SA_SIGINFO };
	int value = 0;

	make_channels();
	held.selector.rc = 99;
	sem_init(&held.is_held, 0, 0);
	sem_init(&held.may_go, 0, 0);
	held.page = mmap(NULL, sizeof *held.page, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(held.page, MAP_FAILED);
	*held.page = 5;
	mprotect(held.page, sizeof *held.page, PROT_NONE);
	sigaction(SIGSEGV, &holding, NULL);
	held.buffer = weft_channel_new(sizeof(int), 1);
	weft_channel_set_drop(held.buffer, count_dropped, NULL);
	weft_channel_send(held.buffer, &value);
}

/* The selector waits in all. Then @win has one of its cases. */
static void hold(void)
{
	weft_channel_unref(held.buffer);
	held.winner = start_thread(win, NULL);
	while (sem_wait(&held.is_held))
		;
	ck_assert_int_eq(weft_channel_balance(y), 0);
}

static void let_go(void)
{
	sem_post(&held.may_go);
	join_thread(held.winner);
	ck_assert_int_eq(held.rc, 0);
	munmap(held.page, sizeof *held.page);
}

static void hold_one_of_this_thread(void)
{
	prepare_held();
	held.tasklet = weft_spawn(select_behind_buffer, NULL);
	weft_schedule();
	hold();
}

static void hold_one_of_another(uint64_t *id)
{
	prepare_held();
	ck_assert_int_eq(weft_thread_start(id, select_behind_buffer, NULL), 0);
	until_parked(*id);
	hold();
}

/* Who comes does not see dead cases. */
START_TEST(dead_cases_are_passed_over)
{
	int value = 3;
	struct weft_case cases[2];

	hold_one_of_this_thread();
	ck_assert_uint_eq(weft_channel_waiters(x, NULL, 0), 0);
	ck_assert_uint_eq(weft_channel_waiters(z, NULL, 0), 0);
	ck_assert_int_eq(weft_channel_try_send(x, &value), -EAGAIN);
	ck_assert_int_eq(weft_channel_try_receive(z, &value), -EAGAIN);
	cases[0] = sends(x, &value);
	cases[1] = receives(z, &value);
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EAGAIN);
	weft_channel_close(x);
	ck_assert(weft_channel_closed(x));
	/* no sender is left there either, though one counts */
	weft_channel_close(z);
	ck_assert(weft_channel_closed(z));
	/* claimed: a kill comes too late, and with the next call */
	ck_assert_int_eq(weft_tasklet_kill(held.tasklet, WEFT_PENDING), 0);
	weft_schedule();
	ck_assert_int_eq(held.selector.rc, 99);
	let_go();
	ck_assert_int_eq(weft_tasklet_join(held.tasklet), 0);
	ck_assert_int_eq(held.selector.rc, 3);
	ck_assert_int_eq(held.selector.from_y, 5);
	ck_assert_int_eq(held.n_dropped, 1);
	ck_assert_int_eq(held.selector.rc_after, -ECANCELED);
	expect_nobody();
}
END_TEST

static int select_behind_two_buffers(void *arg)
{
	struct selector *me = &held.selector;
	int value = 1;
	struct weft_case cases[] = { sends(held.buffer, &value),
				     receives(arg, &me->from_x),
				     receives(y, &me->from_y) };

	me->rc = weft_select(cases, 3, 0);
	return 0;
}

/* A dead receiver does not make up for an element: what is closed has one left. */
START_TEST(dead_cases_do_not_count_as_closed)
{
	weft_channel *b = weft_channel_new(sizeof(int), 2);
	int value = 9;

	prepare_held();
	weft_spawn(select_behind_two_buffers, b);
	weft_schedule();
	hold();
	ck_assert_int_eq(weft_channel_send(b, &value), 0);
	weft_channel_close(b);
	ck_assert(weft_channel_closing(b));
	ck_assert(!weft_channel_closed(b));
	value = 0;
	ck_assert_int_eq(weft_channel_receive(b, &value), 0);
	ck_assert_int_eq(value, 9);
	ck_assert(weft_channel_closed(b));
	let_go();
	weft_run();
	ck_assert_int_eq(held.selector.rc, 2);
	ck_assert_int_eq(weft_channel_balance(b), 0);
	expect_nobody();
	weft_channel_unref(b);
}
END_TEST

static struct {
	int values[2];
	sem_t may_end;
} spinning;

static void *receive_two(void *arg)
{
	weft_thread_id(); /* attached, both calls go the same way */
	weft_channel_receive(x, &spinning.values[0]);
	weft_channel_receive(x, &spinning.values[1]);
	/* what is on this stack stays there */
	while (sem_wait(&spinning.may_end))
		;
	return arg;
}

static void until_one_waits(weft_channel *ch)
{
	while (weft_channel_waiters(ch, NULL, 0) != 1)
		sched_yield();
}

/* A receiver that spins behind a dead case is served, and the dead case can still
 * leave. */
START_TEST(spinning_behind_a_dead_case)
{
	pthread_t receiver;
	uint64_t id;
	int value = 1;

	setenv("WEFT_SPIN", "200000", 1);
	sem_init(&spinning.may_end, 0, 0);
	hold_one_of_another(&id);
	receiver = start_thread(receive_two, NULL);
	until_one_waits(x);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	until_one_waits(x);
	ck_assert_int_eq(weft_channel_balance(x), -2);
	let_go();
	ck_assert_int_eq(weft_channel_balance(x), -1);
	value = 2;
	ck_assert_int_eq(weft_channel_try_send(x, &value), 0);
	ck_assert_int_eq(weft_channel_try_send(x, &value), -EAGAIN);
	sem_post(&spinning.may_end);
	join_thread(receiver);
	ck_assert_int_eq(spinning.values[0], 1);
	ck_assert_int_eq(spinning.values[1], 2);
	ck_assert_int_eq(weft_thread_join(id), 0);
	expect_nobody();
}
END_TEST

/* --- fork --- */

static void expect_success(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "child ended with %#x", (unsigned)status);
}

/* Both go on with one that selects. */
START_TEST(fork_while_selecting)
{
	struct selector me = { .to_z = 4 };
	int value = 5;
	weft_tasklet t;
	pid_t pid;

	make_channels();
	t = weft_spawn(run_selector, &me);
	weft_schedule();
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_channel_balance(x) == -1);
		EXPECT(weft_channel_send(y, &value) == 0);
		EXPECT(!weft_tasklet_alive(t));
		EXPECT(me.rc == 1 && me.from_y == 5);
		EXPECT(weft_channel_balance(x) == 0);
		EXPECT(weft_channel_balance(z) == 0);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(weft_channel_receive(z, &value), 0);
	ck_assert_int_eq(value, 4);
	weft_run();
	ck_assert_int_eq(me.rc, 2);
	expect_nobody();
}
END_TEST

/* Those of other threads are gone from all queues of the child. */
START_TEST(fork_forgets_selections_of_others)
{
	struct selector me = { .to_z = 4 };
	int value = 5;
	uint64_t id;
	pid_t pid;

	make_channels();
	ck_assert_int_eq(weft_thread_start(&id, run_selector, &me), 0);
	until_parked(id);
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_channel_balance(x) == 0);
		EXPECT(weft_channel_balance(y) == 0);
		EXPECT(weft_channel_balance(z) == 0);
		EXPECT(weft_channel_try_send(x, &value) == -EAGAIN);
		EXPECT(weft_channel_try_receive(z, &value) == -EAGAIN);
		/* nothing about them is special any more */
		weft_spawn(run_selector, &me);
		weft_schedule();
		EXPECT(weft_channel_send(x, &value) == 0);
		EXPECT(me.rc == 0);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	ck_assert_int_eq(me.rc, 0);
	expect_nobody();
}
END_TEST

/* The child's selection had been claimed by a thread that is gone there. */
START_TEST(fork_between_claim_and_wake)
{
	pid_t pid;

	hold_one_of_this_thread();
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_tasklet_join(held.tasklet) == 0);
		EXPECT(held.selector.rc == -ECANCELED);
		EXPECT(held.n_dropped == 1);
		EXPECT(weft_channel_balance(x) == 0);
		EXPECT(weft_channel_balance(y) == 0);
		EXPECT(weft_channel_balance(z) == 0);
		_exit(0);
	}
	expect_success(pid);
	let_go();
	ck_assert_int_eq(weft_tasklet_join(held.tasklet), 0);
	ck_assert_int_eq(held.selector.rc, 3);
	expect_nobody();
}
END_TEST

static pid_t forked = -1;

static void fork_once(void *element, void *ctx)
{
	(void)element;
	(void)ctx;
	if (forked < 0)
		forked = fork();
}

/* One that receives from x, or sends on a buffer that is full, and that nobody but
 * this has kept. */
static void select_with_a_forking_drop(void)
{
	prepare_held();
	weft_channel_set_drop(held.buffer, fork_once, NULL);
	held.tasklet = weft_spawn(select_behind_buffer, NULL);
	weft_schedule();
	weft_channel_unref(held.buffer);
}

/* What drops the elements of a channel that a selection had kept forks: child and
 * parent have woken the selection's tasklet, each once. */
START_TEST(fork_in_a_drop)
{
	struct selector other = { .to_z = 4 };
	int value = 42;

	if (UNDER_TSAN) /* It loses track of stacks and locks in a child. */
		return;
	select_with_a_forking_drop();
	weft_spawn(run_selector, &other);
	weft_schedule();
	if (_i) {
		weft_channel_close(x);
	} else {
		weft_channel_set_preference(x, 0);
		EXPECT(weft_channel_send(x, &value) == 0);
		EXPECT(weft_channel_send(x, &value) == 0);
	}
	EXPECT(weft_runcount() <= 3);
	EXPECT(weft_run() == 0);
	EXPECT(forked >= 0);
	EXPECT(held.selector.rc == 1 && held.selector.rc_after == 0);
	EXPECT(other.rc == 0);
	EXPECT(_i || (held.selector.from_x == 42 && other.from_x == 42));
	if (forked == 0)
		_exit(0);
	expect_success(forked);
	expect_nobody();
}
END_TEST

/* --- the end of a thread --- */

static int leave_selectors(void *arg)
{
	static struct selector selectors[20];

	for (int i = 0; i < 20; i++)
		weft_spawn(i % 4 == 3 ? select_shielded : run_selector,
			   &selectors[i]);
	weft_schedule();
	weft_stop(0);
	return arg != NULL;
}

/* It takes those that select along, also those that are shielded and have to be
 * given up. */
START_TEST(end_of_a_thread)
{
	uint64_t id;

	make_channels();
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(weft_thread_start(&id, leave_selectors, NULL),
				 0);
		ck_assert_int_eq(weft_thread_join(id), 0);
		expect_nobody();
	}
}
END_TEST

static int leave_one_behind_buffer(void *arg)
{
	weft_spawn(select_behind_buffer, NULL);
	weft_schedule();
	/* until it has been claimed */
	while (weft_channel_balance(y))
		sched_yield();
	weft_stop(0);
	return arg != NULL;
}

/* A thread ends while one of its selections is claimed and not yet woken: its
 * memory is there until the winner has done with it. */
START_TEST(end_of_a_thread_between_claim_and_wake)
{
	uint64_t id;

	prepare_held();
	ck_assert_int_eq(weft_thread_start(&id, leave_one_behind_buffer, NULL),
			 0);
	while (weft_channel_waiters(y, NULL, 0) != 1)
		sched_yield();
	hold();
	/* time for all its rounds; what comes out does not depend on it */
	usleep(50000);
	let_go();
	ck_assert_int_eq(weft_thread_join(id), 0);
	expect_nobody();
}
END_TEST

/* --- the deadlock report --- */

static int report_selections(void)
{
	static struct selector me = { .to_z = 1 };
	int value;

	make_channels();
	weft_spawn_with(&(struct weft_tasklet_options){ .name = "chooser" },
			run_selector, &me);
	weft_spawn_with(&(struct weft_tasklet_options){ .name = "idler" },
			select_many, NULL);
	EXPECT(weft_select(&(struct weft_case){ { z }, WEFT_SEND, &value, 0 },
			   1, 0) == -EDEADLK);
	EXPECT(weft_channel_balance(z) == 1);
	EXPECT(me.rc == 99);
	return 0;
}

START_TEST(report_names_selections)
{
	static char errors[4096];
	int status;

	setenv("WEFT_DEADLOCK", "report", 1);
	status = in_child(report_selections, errors, sizeof errors);
	ck_assert_msg(status == 0, "status %d: %s", status, errors);
	ck_assert_msg(strstr(errors, "chooser selects from 3 cases, the first "
				     "receives from channel jobs"),
		      "%s", errors);
	ck_assert_msg(strstr(errors, "idler selects from nothing"), "%s",
		      errors);
	ck_assert_ptr_nonnull(strstr(errors, "selects from 1 cases"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("test_select");

	add_case(suite, "arguments", wrong_arguments, others_stay_untouched);
	add_loop(suite, "many cases", any_number_of_cases, N_ELEMENTS(numbers));
	add_case(suite, "memory", no_memory);
	add_loop(suite, "shares", each_has_its_share, 16);
	add_case(suite, "fairness", rhythm_does_not_matter,
		 only_ready_ones_count, nobody_starves);
	add_case(suite, "from outside", deadlines,
		 deadline_that_does_not_run_out, shields, raised_on,
		 open_while_waiting, waiting_keeps_channels);
	add_case(suite, "many tasklets", one_serves_very_many, kill_storm);
	add_case(suite, "a winner held up", dead_cases_are_passed_over,
		 dead_cases_do_not_count_as_closed,
		 spinning_behind_a_dead_case);
	add_case(suite, "fork", fork_while_selecting,
		 fork_forgets_selections_of_others,
		 fork_between_claim_and_wake);
	add_loop(suite, "fork in a drop", fork_in_a_drop, 2);
	add_case(suite, "the end of a thread", end_of_a_thread,
		 end_of_a_thread_between_claim_and_wake);
	add_case(suite, "the deadlock report", report_names_selections);
	return run_suite(suite);
}
