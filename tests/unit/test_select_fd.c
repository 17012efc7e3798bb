/* SPDX-License-Identifier: MIT */
/*
 * weft_select() over descriptors, moments and channels together.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "allocation.h"
#include "support.h"

static int in[2], out[2]; /* pipes; the second one is full */
static weft_channel *x, *y;

static void fill(int fd)
{
	static const char bytes[4096];

	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (write(fd, bytes, sizeof bytes) > 0)
		;
	ck_assert_int_eq(errno, EAGAIN);
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
}

static void drain(int fd)
{
	char bytes[4096];

	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	while (read(fd, bytes, sizeof bytes) > 0)
		;
	ck_assert_int_eq(fcntl(fd, F_SETFL, 0), 0);
}

static void make_things(void)
{
	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	fill(out[1]);
	x = weft_channel_new(sizeof(int), 0);
	y = weft_channel_new(sizeof(int), 0);
}

static void expect_nobody(void)
{
	ck_assert_int_eq(weft_channel_balance(x), 0);
	ck_assert_int_eq(weft_channel_balance(y), 0);
}

enum { UNSET = 77 };

static struct weft_case receives(weft_channel *ch, int *value)
{
	return (struct weft_case){ .channel = ch,
				   .op = WEFT_RECEIVE,
				   .element = value,
				   .result = UNSET };
}

static struct weft_case sends(weft_channel *ch, int *value)
{
	return (struct weft_case){ .channel = ch,
				   .op = WEFT_SEND,
				   .element = value,
				   .result = UNSET };
}

static struct weft_case readable(int fd)
{
	return (struct weft_case){ .fd = fd,
				   .op = WEFT_READABLE,
				   .result = UNSET };
}

static struct weft_case writable(int fd)
{
	return (struct weft_case){ .fd = fd,
				   .op = WEFT_WRITABLE,
				   .result = UNSET };
}

static struct weft_case at(int64_t when)
{
	return (struct weft_case){ .when = when,
				   .op = WEFT_AT,
				   .result = UNSET };
}

static int64_t in_a_year(void)
{
	return weft_now() + 365 * 86400 * WEFT_SECOND;
}

/* One that selects among all there is. */
enum { READS, WRITES, RECEIVES, SENDS, AT };

struct selector {
	int from_x, to_y;
	int64_t when;
	struct weft_case cases[5];
	int rc; /* UNSET: still waiting */
	int rc_after;
	bool is_shielded;
};

static int select_all(void *arg)
{
	struct selector *me = arg;
	const struct weft_case cases[5] = {
		readable(in[0]),
		writable(out[1]),
		receives(x, &me->from_x),
		sends(y, &me->to_y),
		at(me->when ? me->when : in_a_year()),
	};

	memcpy(me->cases, cases, sizeof cases);
	me->rc = UNSET;
	if (me->is_shielded)
		weft_shield_begin();
	me->rc = weft_select(me->cases, 5, 0);
	if (me->is_shielded)
		weft_shield_end();
	me->rc_after = weft_schedule();
	return 0;
}

/* It is blocked when this returns. */
static weft_tasklet start(struct selector *me)
{
	weft_tasklet t = weft_spawn(select_all, me);

	ck_assert_int_ge(weft_pump(), 1);
	ck_assert_int_eq(me->rc, UNSET);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	ck_assert_int_eq(weft_channel_balance(y), 1);
	return t;
}

/* Exactly that case went through, with that result. */
static void expect_case(const struct selector *me, int chosen, int result)
{
	ck_assert_int_eq(me->rc, chosen);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(me->cases[i].result,
				 i == chosen ? result : UNSET);
	ck_assert_int_eq(me->from_x, chosen == RECEIVES ? 5 : 0);
	expect_nobody();
}

/* --- arguments --- */

START_TEST(wrong_arguments)
{
	struct weft_case cases[2];

	make_things();
	cases[0] = readable(in[0]);
	cases[1] = at(0);
	ck_assert_int_eq(weft_select(cases, 2, 2), -EINVAL);
	cases[1].op = (enum weft_op)(WEFT_AT + 1);
	ck_assert_int_eq(weft_select(cases, 2, 0), -EINVAL);
	cases[1].op = (enum weft_op) - 1;
	ck_assert_int_eq(weft_select(cases, 2, 0), -EINVAL);
	ck_assert_int_eq(cases[0].result, UNSET);
	ck_assert_int_eq(cases[1].result, UNSET);
}
END_TEST

/* No channel, no descriptor, no moment. */
START_TEST(never_ready)
{
	int value = 0;
	struct weft_case cases[] = { readable(-1), writable(-5),
				     at(WEFT_FOREVER), receives(NULL, &value),
				     sends(NULL, &value) };
	struct weft_deadline d;

	ck_assert_int_eq(weft_select(cases, 5, WEFT_NONBLOCK), -EAGAIN);
	ck_assert_int_eq(weft_select(cases, 5, 0), -EDEADLK);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(weft_select(cases, 5, 0), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(cases[i].result, UNSET);
}
END_TEST

/* --- ready at once --- */

static void expect_ready(struct weft_case c, int result)
{
	struct weft_case cases[] = { readable(out[1]), c, at(in_a_year()) };

	cases[0] = readable(-1);
	for (unsigned flags = 0; flags <= WEFT_NONBLOCK; flags++) {
		cases[1].result = UNSET;
		ck_assert_int_eq(weft_select(cases, 3, flags), 1);
		ck_assert_int_eq(cases[1].result, result);
		ck_assert_int_eq(cases[0].result, UNSET);
		ck_assert_int_eq(cases[2].result, UNSET);
	}
}

START_TEST(ready_at_once)
{
	FILE *file = tmpfile();
	int fd;

	make_things();
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	expect_ready(readable(in[0]), 0);
	expect_ready(writable(in[1]), 0);
	expect_ready(at(weft_now()), 0);
	expect_ready(at(1), 0);
	expect_ready(at(0), 0);
	expect_ready(at(INT64_MIN), 0);
	/* regular files always */
	ck_assert_ptr_nonnull(file);
	expect_ready(readable(fileno(file)), 0);
	expect_ready(writable(fileno(file)), 0);
	fclose(file);
	/* the end of the file, and an error, as in poll(2) */
	drain(in[0]);
	close(in[1]);
	expect_ready(readable(in[0]), 0);
	close(out[0]);
	expect_ready(writable(out[1]), 0);
	/* not open, and open for nothing */
	close(in[0]);
	expect_ready(readable(in[0]), -EBADF);
	expect_ready(writable(1 << 30), -EBADF);
	fd = open("/", O_PATH | O_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	expect_ready(readable(fd), -EBADF);
	close(fd);
}
END_TEST

START_TEST(not_ready)
{
	int values[2] = { 0 };
	struct weft_case cases[5];

	make_things();
	cases[0] = readable(in[0]);
	cases[1] = writable(out[1]);
	cases[2] = receives(x, &values[0]);
	cases[3] = sends(y, &values[1]);
	cases[4] = at(in_a_year());
	ck_assert_int_eq(weft_select(cases, 5, WEFT_NONBLOCK), -EAGAIN);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(cases[i].result, UNSET);
	expect_nobody();
}
END_TEST

/* --- each kind ends the wait --- */

START_TEST(byte_comes)
{
	static struct selector me;
	char byte;

	make_things();
	start(&me);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, READS, 0);
	/* it only looked */
	ck_assert_int_eq(read(in[0], &byte, 1), 1);
}
END_TEST

START_TEST(room_comes)
{
	static struct selector me;

	make_things();
	start(&me);
	drain(out[0]);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, WRITES, 0);
}
END_TEST

START_TEST(peers_come)
{
	static struct selector me;
	int value = 5;

	make_things();
	start(&me);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, RECEIVES, 0);

	me = (struct selector){ .to_y = 7 };
	start(&me);
	ck_assert_int_eq(weft_channel_receive(y, &value), 0);
	ck_assert_int_eq(value, 7);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, SENDS, 0);

	me = (struct selector){ 0 };
	start(&me);
	weft_channel_close(x);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(me.rc, RECEIVES);
	ck_assert_int_eq(me.cases[RECEIVES].result, -EPIPE);
}
END_TEST

static void *send_five(void *arg)
{
	int value = 5;

	return weft_channel_send(x, &value) ? arg : NULL;
}

START_TEST(foreign_peer_comes)
{
	static struct selector me;
	pthread_t sender;

	make_things();
	for (int i = 0; i < 20; i++) {
		me = (struct selector){ 0 };
		start(&me);
		sender = start_thread(send_five, &me);
		ck_assert_int_eq(weft_run(), 0);
		join_thread(sender);
		expect_case(&me, RECEIVES, 0);
	}
}
END_TEST

START_TEST(moment_comes)
{
	static struct selector me;

	make_things();
	me.when = weft_now() + 5 * WEFT_MILLISECOND;
	weft_spawn(select_all, &me);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_ge(weft_now(), me.when);
	expect_case(&me, AT, 0);
}
END_TEST

/* No descriptor: no ring is needed. */
START_TEST(moments_alone)
{
	int64_t now = weft_now();
	struct weft_case cases[] = { at(now + 60 * WEFT_SECOND),
				     at(now + 3 * WEFT_MILLISECOND),
				     at(WEFT_FOREVER),
				     at(now + 70 * WEFT_SECOND) };

	ck_assert_int_eq(weft_select(cases, 4, 0), 1);
	ck_assert_int_ge(weft_now(), now + 3 * WEFT_MILLISECOND);
	ck_assert_int_eq(cases[1].result, 0);
}
END_TEST

static int hang_up(void *arg)
{
	close(in[1]);
	return arg != NULL;
}

START_TEST(hang_up_comes)
{
	struct weft_case c;

	make_things();
	c = readable(in[0]);
	weft_spawn(hang_up, NULL);
	ck_assert_int_eq(weft_select(&c, 1, 0), 0);
	ck_assert_int_eq(c.result, 0);
}
END_TEST

/* --- fairness --- */

enum { ROUNDS = 4000 };

/* Six standard deviations; a fair one is outside once in 500 million times. */
static void expect_share(const unsigned *chosen, unsigned n)
{
	double mean = (double)ROUNDS / n;
	double variance = mean * (1 - 1.0 / n);

	for (unsigned i = 0; i < n; i++) {
		double off = (double)chosen[i] - mean;

		ck_assert_msg(off * off <= 36 * variance,
			      "case %u of %u was chosen %u times", i, n,
			      chosen[i]);
	}
}

START_TEST(each_kind_has_its_share)
{
	weft_channel *closed = weft_channel_new(0, 0);
	unsigned chosen[6] = { 0 };
	struct weft_case cases[6];

	make_things();
	weft_channel_close(closed);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	cases[0] = readable(in[0]);
	cases[1] = receives(closed, NULL);
	cases[2] = at(0);
	cases[3] = writable(in[1]);
	cases[4] = sends(closed, NULL);
	cases[5] = readable(-1);
	for (int i = 0; i < ROUNDS; i++) {
		int rc = weft_select(cases, 6, i % 2 ? WEFT_NONBLOCK : 0);

		ck_assert_int_ge(rc, 0);
		chosen[rc]++;
	}
	expect_share(chosen, 5);
	ck_assert_uint_eq(chosen[5], 0);
	weft_channel_unref(closed);
}
END_TEST

/* Moments that come together during the wait have the same chance. */
START_TEST(no_moment_is_the_first)
{
	unsigned chosen[2] = { 0 };

	for (int i = 0; i < 400; i++) {
		int64_t when = weft_now() + 20 * WEFT_MICROSECOND;
		struct weft_case cases[] = { at(when), at(when) };
		int rc = weft_select(cases, 2, 0);

		ck_assert(rc == 0 || rc == 1);
		chosen[rc]++;
	}
	ck_assert_uint_gt(chosen[0], 100);
	ck_assert_uint_gt(chosen[1], 100);
}
END_TEST

/* --- what is left behind --- */

/* When the call has returned, the kernel has let go of the file: the last close(2)
 * of the reading end breaks the pipe. */
START_TEST(losers_have_ended)
{
	static struct selector me;
	int value = 5;

	make_things();
	signal(SIGPIPE, SIG_IGN);
	weft_spawn(select_all, &me);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(me.rc, RECEIVES);
	close(in[0]);
	ck_assert_int_eq(write(in[1], "a", 1), -1);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert_int_eq(weft_run(), 0);
	expect_nobody();
}
END_TEST

/* libcheck allocates, too: nothing is asserted meanwhile. */
START_TEST(memory_is_given_back)
{
	static struct selector me;
	int value = 5;
	int n_served = 0;
	long before = 0;
	long after;

	make_things();
	for (int i = 0; i < 10; i++) {
		me = (struct selector){ 0 };
		weft_spawn(select_all, &me);
		weft_pump();
		weft_channel_send(x, &value);
		weft_run();
		n_served += me.rc == RECEIVES;
		if (i == 1)
			before = n_allocations_alive();
	}
	after = n_allocations_alive();
	ck_assert_int_eq(after, before);
	ck_assert_int_eq(n_served, 10);
}
END_TEST

/* --- numbers --- */

enum { MOST = 3000 };

/* Many cases for few descriptors, more than a process can have. */
START_TEST(very_many_cases)
{
	static struct weft_case cases[MOST];
	struct rlimit limit;
	int value = 0;

	make_things();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = 256;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	for (int i = 0; i < MOST; i++) {
		cases[i] = i % 3 == 0   ? readable(in[0])
			   : i % 3 == 1 ? writable(out[1])
					: receives(x, &value);
		if (i % 100 == 50)
			cases[i] = at(in_a_year());
	}
	ck_assert_int_eq(weft_select(cases, MOST, WEFT_NONBLOCK), -EAGAIN);
	weft_spawn(hang_up, NULL);
	value = weft_select(cases, MOST, 0);
	ck_assert_int_ge(value, 0);
	ck_assert_int_eq(cases[value].op, WEFT_READABLE);
	ck_assert_int_eq(cases[value].result, 0);
	expect_nobody();
}
END_TEST

/* Each allocation fails in turn: nothing is left behind, and the next call works. */
START_TEST(no_memory)
{
	int values[2] = { 0 };
	struct weft_case cases[4];
	struct weft_deadline d;
	int n_failed = 0;
	int rc;

	make_things();
	weft_now();
	(void)weft_schedule();
	cases[0] = readable(in[0]);
	cases[1] = at(in_a_year());
	cases[2] = receives(x, &values[0]);
	cases[3] = sends(y, &values[1]);
	weft_deadline_begin(&d, weft_now());
	do {
		fail_allocations_after(n_failed);
		rc = weft_select(cases, 4, WEFT_NONBLOCK);
		fail_allocations_after(-1);
		n_failed += rc == -ENOMEM;
	} while (rc == -ENOMEM);
	ck_assert_int_eq(rc, -EAGAIN);
	ck_assert_int_ge(n_failed, 1);
	weft_deadline_end(&d);
	for (int i = 0; i < 4; i++) {
		/* of the block, of the ring, of the timer's place */
		fail_allocations_after(i);
		weft_deadline_begin(&d, 0);
		weft_deadline_end(&d);
		cases[1].when = weft_now() + WEFT_MILLISECOND;
		rc = weft_select(cases, 4, 0);
		fail_allocations_after(-1);
		ck_assert(rc == -ENOMEM || rc == 1 ||
			  (rc == 0 && cases[0].result == -ENOMEM));
		expect_nobody();
	}
}
END_TEST

/* --- interruptions --- */

/* Nothing has gone through, and the byte is still there for others. */
static void expect_interrupted(const struct selector *me, int rc)
{
	char byte;

	ck_assert_int_eq(me->rc, rc);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(me->cases[i].result, UNSET);
	expect_nobody();
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(read(in[0], &byte, 1), 1);
}

START_TEST(kill_ends_it)
{
	static struct selector me;

	make_things();
	ck_assert_int_eq(weft_tasklet_kill(start(&me), _i ? WEFT_PENDING : 0),
			 0);
	ck_assert_int_eq(weft_run(), 0);
	expect_interrupted(&me, -ECANCELED);
	ck_assert_int_eq(me.rc_after, -ECANCELED);
}
END_TEST

START_TEST(raise_ends_it)
{
	static struct selector me;

	make_things();
	ck_assert_int_eq(
		weft_tasklet_raise(start(&me), EXDEV, _i ? WEFT_PENDING : 0),
		0);
	ck_assert_int_eq(weft_run(), 0);
	expect_interrupted(&me, -EXDEV);
	ck_assert_int_eq(me.rc_after, 0);
}
END_TEST

static int limited(void *arg)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + 2 * WEFT_MILLISECOND);
	select_all(arg);
	weft_deadline_end(&d);
	return 0;
}

START_TEST(deadline_ends_it)
{
	static struct selector me;

	make_things();
	weft_spawn(limited, &me);
	ck_assert_int_eq(weft_run(), 0);
	expect_interrupted(&me, -ETIMEDOUT);
}
END_TEST

/* What came first is kept: the kill is for the next call. */
START_TEST(kill_after_the_claim)
{
	static struct selector me;
	weft_tasklet t;
	int value = 5;

	make_things();
	weft_channel_set_preference(x, 0);
	t = start(&me);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(me.rc, UNSET);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, RECEIVES, 0);
	ck_assert_int_eq(me.rc_after, -ECANCELED);
}
END_TEST

START_TEST(shield_keeps_it)
{
	static struct selector me = { .is_shielded = true };

	make_things();
	ck_assert_int_eq(weft_tasklet_kill(start(&me), WEFT_PENDING), 0);
	ck_assert_int_ge(weft_pump(), 1);
	ck_assert_int_eq(me.rc, UNSET);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, READS, 0);
	ck_assert_int_eq(me.rc_after, -ECANCELED);
}
END_TEST

/* --- traps and callbacks --- */

START_TEST(block_trap)
{
	struct weft_case cases[2];
	int value = 0;

	make_things();
	cases[0] = readable(in[0]);
	cases[1] = receives(x, &value);
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_select(cases, 2, 0), -EAGAIN);
	expect_nobody();
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(weft_select(cases, 2, 0), 0);
	cases[0] = at(0);
	ck_assert_int_eq(weft_select(cases, 2, 0), 0);
	cases[0] = at(in_a_year());
	ck_assert_int_eq(weft_select(cases, 2, 0), -EAGAIN);
	weft_set_block_trap(false);
}
END_TEST

static int receive_one(void *arg)
{
	return weft_channel_receive(x, arg);
}

START_TEST(switch_trap)
{
	struct weft_case cases[2];
	int value = 0;
	int got = 0;

	make_things();
	cases[0] = sends(x, &value);
	cases[1] = readable(in[0]);
	weft_switch_trap(1);
	ck_assert_int_eq(weft_select(cases, 2, 0), -EPERM);
	expect_nobody();
	weft_switch_trap(-1);
	weft_spawn(receive_one, &got);
	weft_schedule();
	weft_switch_trap(1);
	/* that case would switch to the receiver */
	ck_assert_int_eq(weft_select(cases, 2, 0), -EPERM);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	for (int i = 0; i < 50; i++)
		ck_assert_int_eq(weft_select(cases, 2, 0), 1);
	weft_switch_trap(-1);
	ck_assert_int_eq(weft_select(cases, 1, 0), 0);
}
END_TEST

/* A trap that is set while it waits does not keep it from ending its polls. */
START_TEST(trap_comes_during_the_wait)
{
	static struct selector me;
	int value = 5;

	make_things();
	weft_channel_set_preference(x, 0);
	start(&me);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	weft_switch_trap(1);
	ck_assert_int_eq(me.rc, UNSET);
	weft_switch_trap(-1);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, RECEIVES, 0);
}
END_TEST

static struct {
	int n, waiting, at_once, n_blocking;
} told;

static void tell(weft_channel *ch, weft_tasklet t, bool sending,
		 bool will_block, void *ctx)
{
	struct weft_case c = readable(in[0]);

	(void)t;
	(void)sending;
	(void)ctx;
	told.n += ch == x;
	told.n_blocking += will_block;
	told.waiting = weft_select(&c, 1, 0);
	told.at_once = weft_select(&c, 1, WEFT_NONBLOCK);
}

START_TEST(callbacks)
{
	static struct selector me;
	struct weft_case cases[2];
	int value = 5;

	make_things();
	weft_set_channel_callback(tell, NULL);
	/* told of the channels when it is about to wait */
	start(&me);
	ck_assert_int_eq(told.n, 1);
	ck_assert_int_eq(told.n_blocking, 2);
	ck_assert_int_eq(told.waiting, -EPERM);
	ck_assert_int_eq(told.at_once, -EAGAIN);
	ck_assert_int_eq(weft_channel_send(x, &value), 0);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, RECEIVES, 0);
	/* and not at all if something else is ready */
	told.n = 0;
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	cases[0] = receives(x, &value);
	cases[1] = readable(in[0]);
	ck_assert_int_eq(weft_select(cases, 2, 0), 1);
	ck_assert_int_eq(told.n, 0);
}
END_TEST

/* --- closing, forking, the end of a thread --- */

START_TEST(closed_meanwhile)
{
	static struct selector me;

	make_things();
	start(&me);
	ck_assert_int_eq(weft_close(in[0]), 0);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, READS, -ECANCELED);
}
END_TEST

START_TEST(two_share_a_descriptor)
{
	static struct selector us[2];

	make_things();
	weft_spawn(select_all, &us[0]);
	weft_spawn(select_all, &us[1]);
	ck_assert_int_eq(weft_pump(), 2);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&us[0], READS, 0);
	expect_case(&us[1], READS, 0);
}
END_TEST

START_TEST(fork_meanwhile)
{
	static struct selector me;
	int status;
	pid_t pid;

	make_things();
	start(&me);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		EXPECT(weft_run() == 0);
		EXPECT(me.rc == READS || me.rc == WRITES);
		EXPECT(me.cases[me.rc].result == -ECANCELED);
		EXPECT(weft_channel_balance(x) == 0);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(me.rc, UNSET);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	expect_case(&me, READS, 0);
}
END_TEST

enum { LEFT = 12 };

static struct selector left[LEFT];

static int leave_them(void *arg)
{
	for (int i = 0; i < LEFT; i++) {
		left[i] = (struct selector){ .is_shielded = i % 3 == 2 };
		weft_spawn(select_all, &left[i]);
	}
	weft_schedule();
	weft_stop(0);
	return arg != NULL;
}

/* It takes along those that select, shielded ones too. */
START_TEST(end_of_a_thread)
{
	uint64_t id;

	make_things();
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(weft_thread_start(&id, leave_them, NULL), 0);
		ck_assert_int_eq(weft_thread_join(id), 0);
		expect_nobody();
		for (int i = 0; i < LEFT; i++)
			ck_assert_int_ne(left[i].rc, UNSET);
	}
}
END_TEST

/* --- another loop drives the thread --- */

START_TEST(embedded)
{
	static struct selector me;

	make_things();
	ck_assert_int_ge(weft_fd(), 0);
	me.when = weft_now() + 60 * WEFT_SECOND;
	start(&me);
	ck_assert_int_le(weft_next_deadline(), me.when);
	ck_assert_int_eq(write(in[1], "a", 1), 1);
	while (me.rc == UNSET) {
		struct weft_case c = readable(weft_fd());

		/* the descriptor says when to come */
		ck_assert_int_eq(weft_select(&c, 1, WEFT_NONBLOCK) % 11, 0);
		weft_pump();
	}
	expect_case(&me, READS, 0);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(weft_next_deadline(), WEFT_FOREVER);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("test_select_fd");

	add_case(suite, "arguments", wrong_arguments, never_ready);
	add_case(suite, "at once", ready_at_once, not_ready);
	add_case(suite, "waiting", byte_comes, room_comes, peers_come,
		 foreign_peer_comes, moment_comes, moments_alone,
		 hang_up_comes);
	add_case(suite, "fairness", each_kind_has_its_share,
		 no_moment_is_the_first);
	add_case(suite, "leaving nothing", losers_have_ended,
		 memory_is_given_back);
	add_case(suite, "numbers", very_many_cases, no_memory);
	add_loop(suite, "kill", kill_ends_it, 2);
	add_loop(suite, "raise", raise_ends_it, 2);
	add_case(suite, "from outside", deadline_ends_it, kill_after_the_claim,
		 shield_keeps_it);
	add_case(suite, "traps", block_trap, switch_trap,
		 trap_comes_during_the_wait, callbacks);
	add_case(suite, "sharing", closed_meanwhile, two_share_a_descriptor);
	add_case(suite, "fork", fork_meanwhile);
	add_case(suite, "the end of a thread", end_of_a_thread);
	add_case(suite, "embedded", embedded);
	return run_suite(suite);
}
