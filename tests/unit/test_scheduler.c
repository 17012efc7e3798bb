/* SPDX-License-Identifier: MIT */
/*
 * The scheduler where it is large, deep or pressed for time; the order of
 * execution is the business of tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

/* --- many --- */

struct numbered {
	int *next; /* shared: who comes next */
	int number;
	int rounds;
	bool in_order;
};

static int take_turns(void *arg)
{
	struct numbered *n = arg;

	n->in_order = true;
	for (int i = 0; i < n->rounds; i++) {
		if ((*n->next)++ != n->number + i * 1000000)
			n->in_order = false;
		weft_schedule();
	}
	return 0;
}

/* The order is that of spawning for any number of tasklets, round after round,
 * though the queue has to grow on the way. */
START_TEST(many_take_turns_in_order)
{
	static const int counts[] = { 1, 63, 64, 65, 1000, 100000 };
	int n = many_tasklets(counts[_i]);
	struct numbered *all = calloc((size_t)n, sizeof *all);
	int next = 0;

	for (int i = 0; i < n; i++) {
		all[i] = (struct numbered){ &next, i, 3, false };
		ck_assert(
			!weft_tasklet_is_null(weft_spawn(take_turns, &all[i])));
		ck_assert_uint_eq(weft_runcount(), (unsigned)i + 2);
	}
	for (int round = 0; round < 3; round++) {
		next = round * 1000000;
		weft_schedule();
		ck_assert_int_eq(next, round * 1000000 + n);
	}
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < n; i++)
		ck_assert_msg(all[i].in_order, "tasklet %d", i);
	free(all);
}
END_TEST

static int count_up(void *arg)
{
	++*(int *)arg;
	return 0;
}

static long most_kilobytes(void)
{
	struct rusage usage;

	ck_assert_int_eq(getrusage(RUSAGE_SELF, &usage), 0);
	return usage.ru_maxrss;
}

/* A leaf needs memory for a stack only while it runs: a page each for those that
 * are alive at once would be far more than what is used. */
START_TEST(leaves_share_a_stack)
{
	enum { BATCHES = 3 };
	int n_leaves = many_tasklets(100000);
	long before = most_kilobytes();
	int n = 0;

	for (int i = 1; i <= BATCHES; i++) {
		for (int k = 0; k < n_leaves; k++)
			ck_assert(!weft_tasklet_is_null(
				weft_spawn(count_up, &n)));
		ck_assert_int_eq(weft_run(), 0);
		ck_assert_int_eq(n, i * n_leaves);
	}
	if (has_memory_to_itself())
		ck_assert_int_lt(most_kilobytes() - before, n_leaves);
}
END_TEST

/* A ring kept by hand beside the real one: those behind main, in order. */
enum { MEMBERS = 300 };

struct ring {
	weft_tasklet handles[MEMBERS];
	int order[MEMBERS];
	int n;
	int said[MEMBERS]; /* who has run since it was last looked at */
	int n_said;
	bool is_over;
};

struct member {
	struct ring *ring;
	int number;
};

static int say_and_give_way(void *arg)
{
	struct member *m = arg;
	struct ring *r = m->ring;

	while (!r->is_over) {
		if (r->n_said < MEMBERS)
			r->said[r->n_said++] = m->number;
		weft_schedule();
	}
	return 0;
}

static int place_of(const struct ring *r, int number)
{
	for (int i = 0; i < r->n; i++)
		if (r->order[i] == number)
			return i;
	return -1;
}

/* Those from @place on have run, up to main, and nobody else. */
static void expect_said(struct ring *r, int place)
{
	ck_assert_int_eq(r->n_said, r->n - place);
	for (int i = 0; i < r->n_said; i++)
		ck_assert_int_eq(r->said[i], r->order[place + i]);
	r->n_said = 0;
}

/* Rules R1 to R4 in a ring that is large, and has holes: random removals,
 * insertions, runs and rounds. */
START_TEST(large_ring_follows_the_rules)
{
	enum { STEPS = 5000 };
	struct ring r = { .n = MEMBERS };
	struct member members[MEMBERS];

	srandom((unsigned)_i + 1);
	for (int i = 0; i < MEMBERS; i++) {
		members[i] = (struct member){ &r, i };
		r.handles[i] = weft_spawn(say_and_give_way, &members[i]);
		r.order[i] = i;
	}
	for (int step = 0; step < STEPS; step++) {
		int number = (int)(random() % MEMBERS);
		int place = place_of(&r, number);
		int choice = (int)(random() % 100);
		/* The share of removals decides how full the ring is. */
		int removals = 20 + 10 * _i;

		if (choice < removals) {
			ck_assert_int_eq(weft_tasklet_remove(r.handles[number]),
					 0);
			if (place >= 0)
				memmove(&r.order[place], &r.order[place + 1],
					(size_t)(--r.n - place) * sizeof(int));
		} else if (choice < 80) {
			ck_assert_int_eq(weft_tasklet_insert(r.handles[number]),
					 0);
			if (place < 0)
				r.order[r.n++] = number;
		} else if (choice < 97) {
			ck_assert_int_eq(weft_tasklet_run(r.handles[number]),
					 0);
			if (place < 0) {
				place = r.n;
				r.order[r.n++] = number;
			}
			expect_said(&r, place);
		} else {
			ck_assert_int_eq(weft_schedule(), 0);
			expect_said(&r, 0);
		}
		ck_assert_uint_eq(weft_runcount(), (unsigned)r.n + 1);
	}
	r.is_over = true;
	for (int i = 0; i < MEMBERS; i++)
		ck_assert_int_eq(weft_tasklet_insert(r.handles[i]), 0);
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* --- deep --- */

struct nest {
	int depth;
	int deepest;
	int n_back;
	bool in_order;
};

/* Each run is inside of the one before, and they return from the inside. */
static int nest_run(void *arg)
{
	struct nest *n = arg;
	int depth = ++n->depth;

	if (depth < n->deepest)
		weft_spawn(nest_run, n);
	if (weft_run() != 0 || n->n_back++ != n->deepest - depth)
		n->in_order = false;
	return 0;
}

START_TEST(runs_nest_deeply)
{
	struct nest n = { .deepest = many_tasklets(1000), .in_order = true };

	weft_spawn(nest_run, &n);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n.depth, n.deepest);
	ck_assert_int_eq(n.n_back, n.deepest);
	ck_assert(n.in_order);
}
END_TEST

/* --- results --- */

static int stop_with(void *arg)
{
	weft_stop(*(int *)arg);
	return 0;
}

/* What weft_stop() was given arrives unchanged, whatever it is. */
START_TEST(stop_hands_its_result_over)
{
	static int results[] = { 0,          1,         -1,       12345,
				 -ECANCELED, INT32_MAX, INT32_MIN };
	int result = results[_i];

	weft_spawn(stop_with, &result);
	ck_assert_int_eq(weft_run(), result);
	weft_spawn(stop_with, &result);
	ck_assert_int_eq(weft_pump(), result);
	weft_spawn(stop_with, &result);
	ck_assert_int_eq(weft_run_until(weft_now() + WEFT_SECOND * 1000),
			 result);
}
END_TEST

/* A failed tasklet does not make run fail. */
static int end_badly(void *arg)
{
	(void)arg;
	return -EIO;
}

START_TEST(run_ignores_results_of_tasklets)
{
	weft_spawn(end_badly, NULL);
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* --- run_until --- */

static int yield_for_ever(void *arg)
{
	for (;;) {
		++*(uint64_t *)arg;
		if (weft_schedule() < 0)
			return -ECANCELED;
	}
}

/* Its time is up though others are runnable all the while. */
START_TEST(run_until_ends_a_busy_run)
{
	uint64_t a = 0, b = 0;

	weft_spawn(yield_for_ever, &a);
	weft_spawn(yield_for_ever, &b);
	do
		ck_assert_int_eq(weft_run_until(weft_now() + WEFT_MILLISECOND),
				 -ETIMEDOUT);
	while (!a || !b);
	ck_assert_uint_eq(weft_runcount(), 3);
}
END_TEST

/* A deadline that has passed counts too: those that would run for ever are left
 * after a bounded number of switches. */
START_TEST(run_until_with_a_deadline_that_has_passed)
{
	static const int64_t passed[] = { 0, 1, -1, INT64_MIN };
	uint64_t a = 0;

	weft_spawn(yield_for_ever, &a);
	ck_assert_int_eq(weft_run_until(passed[_i]), -ETIMEDOUT);
	ck_assert_uint_lt(a, 10000);
}
END_TEST

static int pause_for_ever(void *arg)
{
	(void)arg;
	return weft_schedule_remove();
}

/* Its time is up while the thread is parked: a paused tasklet is left. */
START_TEST(run_until_ends_a_parked_run)
{
	weft_tasklet t = weft_spawn(pause_for_ever, NULL);
	int64_t deadline = weft_now() + 5 * WEFT_MILLISECOND;

	ck_assert_int_eq(weft_run_until(deadline), -ETIMEDOUT);
	ck_assert(weft_now() >= deadline);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_PAUSED);
	weft_tasklet_insert(t);
	ck_assert_int_eq(weft_run_until(weft_now() + 1000 * WEFT_SECOND), 0);
}
END_TEST

/* All have ended before its time is up; the timer is gone then, and does not end
 * a later run. On a slow machine its time may be up first, so there is more of
 * it in the next attempt. */
START_TEST(run_until_returns_as_run_does)
{
	int64_t length = WEFT_MILLISECOND, deadline;
	int n, rc;

	do {
		length *= 2;
		deadline = weft_now() + length;
		n = 0;
		weft_spawn(count_up, &n);
		rc = weft_run_until(deadline);
	} while (rc == -ETIMEDOUT && weft_now() >= deadline);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(n, 1);
	ck_assert_int_eq(weft_run_until(WEFT_FOREVER), 0);
	while (weft_now() < deadline)
		;
	weft_spawn(count_up, &n);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n, 2);
}
END_TEST

struct timed {
	int64_t deadline;
	bool is_inside;
	int rc;
};

static int run_timed(void *arg)
{
	struct timed *t = arg;

	t->is_inside = true;
	t->rc = weft_run_until(t->deadline);
	if (t->rc == -ETIMEDOUT)
		weft_stop(77);
	return 0;
}

/* Nested: the outer one's time is up first. It returns -ETIMEDOUT, and the inner
 * one, which is at the end of the ring then, 0. */
START_TEST(run_until_of_the_outer_ends_the_inner)
{
	struct timed inner = { .deadline = WEFT_FOREVER, .rc = 1 };
	weft_tasklet paused = weft_spawn(pause_for_ever, NULL);

	weft_spawn(run_timed, &inner);
	do
		ck_assert_int_eq(weft_run_until(weft_now() + WEFT_MILLISECOND),
				 -ETIMEDOUT);
	while (!inner.is_inside);
	ck_assert_int_eq(inner.rc, 1);
	weft_schedule();
	ck_assert_int_eq(inner.rc, 0);
	weft_tasklet_insert(paused);
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* Nested: the inner one's time is up first, and the outer one goes on until it
 * is stopped. */
START_TEST(run_until_of_the_inner_leaves_the_outer)
{
	struct timed inner = { .deadline = weft_now() + WEFT_MILLISECOND,
			       .rc = 1 };
	weft_tasklet paused = weft_spawn(pause_for_ever, NULL);

	weft_spawn(run_timed, &inner);
	ck_assert_int_eq(weft_run_until(weft_now() + 1000 * WEFT_SECOND), 77);
	ck_assert_int_eq(inner.rc, -ETIMEDOUT);
	weft_tasklet_insert(paused);
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* --- nobody starves --- */

struct pair {
	bool is_over;
	uint64_t n_switches;
};

static int yield_until_over(void *arg)
{
	struct pair *p = arg;

	while (!p->is_over) {
		p->n_switches++;
		weft_schedule();
	}
	return 0;
}

enum { SWITCHES_ENOUGH = 1000 };

struct sleeper {
	struct pair pair;
	int64_t ns, due;
};

static int sleep_then_end_it(void *arg)
{
	struct sleeper *s = arg;

	s->due = weft_now() + s->ns;
	weft_sleep_until(s->due);
	s->pair.is_over = true;
	return 0;
}

/* Keeps the OS thread. */
static void hold_thread_until(int64_t moment)
{
	while (weft_now() <= moment)
		;
}

/* Two that only run each other do not keep a sleeper waiting: once it is due,
 * it runs within a bounded number of switches. */
START_TEST(busy_pair_does_not_starve_timers)
{
	struct sleeper s = { .ns = WEFT_MILLISECOND };

	weft_spawn(sleep_then_end_it, &s);
	weft_schedule();
	hold_thread_until(s.due);
	weft_spawn(yield_until_over, &s.pair);
	weft_spawn(yield_until_over, &s.pair);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_uint_le(s.pair.n_switches, SWITCHES_ENOUGH);
}
END_TEST

struct reader {
	struct pair pair;
	int (*go_to)(weft_tasklet t);
	int fd;
	ssize_t rc;
};

static int read_one(void *arg)
{
	struct reader *r = arg;
	char byte;

	r->rc = weft_read(r->fd, &byte, 1);
	r->pair.is_over = true;
	return 0;
}

/* Nor a reader whose byte is there. */
START_TEST(busy_pair_does_not_starve_io)
{
	struct reader r = { .rc = -1 };
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	r.fd = fds[0];
	weft_spawn(read_one, &r);
	weft_spawn(yield_until_over, &r.pair);
	weft_spawn(yield_until_over, &r.pair);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(r.rc, 1);
	ck_assert_uint_le(r.pair.n_switches, SWITCHES_ENOUGH);
}
END_TEST

/* Nor one whose byte comes while they are at it. */
static int yield_and_write(void *arg)
{
	struct reader *r = arg;

	for (int i = 0; i < 10000; i++)
		weft_schedule();
	r->pair.n_switches = 0;
	if (write(r->fd + 1, "x", 1) != 1)
		abort();
	return yield_until_over(&r->pair);
}

START_TEST(busy_pair_does_not_starve_io_that_comes)
{
	struct reader r = { .rc = -1 };
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(fds[1], fds[0] + 1);
	r.fd = fds[0];
	weft_spawn(read_one, &r);
	weft_spawn(yield_and_write, &r);
	weft_spawn(yield_until_over, &r.pair);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(r.rc, 1);
	ck_assert_uint_le(r.pair.n_switches, SWITCHES_ENOUGH);
}
END_TEST

/* Nor those who hand an element back and forth, who never call schedule. */
struct ping {
	struct reader reader;
	weft_channel *there, *back;
};

static int ping(void *arg)
{
	struct ping *p = arg;
	int ball = 0;

	while (!p->reader.pair.is_over) {
		p->reader.pair.n_switches++;
		weft_channel_send(p->there, &ball);
		weft_channel_receive(p->back, &ball);
	}
	ball = -1;
	weft_channel_send(p->there, &ball);
	return 0;
}

static int pong(void *arg)
{
	struct ping *p = arg;
	int ball;

	for (;;) {
		weft_channel_receive(p->there, &ball);
		if (ball < 0)
			return 0;
		weft_channel_send(p->back, &ball);
	}
}

START_TEST(ping_pong_does_not_starve_io)
{
	struct ping p = { .there = weft_channel_new(sizeof(int), 0),
			  .back = weft_channel_new(sizeof(int), 0) };
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	p.reader.fd = fds[0];
	weft_spawn(read_one, &p.reader);
	weft_spawn(ping, &p);
	weft_spawn(pong, &p);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_uint_le(p.reader.pair.n_switches, SWITCHES_ENOUGH);
	weft_channel_unref(p.there);
	weft_channel_unref(p.back);
}
END_TEST

/* Nor those who spawn the next one at their end. */
static int spawn_the_next(void *arg)
{
	struct reader *r = arg;

	r->pair.n_switches++;
	if (!r->pair.is_over)
		weft_spawn(spawn_the_next, r);
	return 0;
}

START_TEST(chain_of_short_lives_does_not_starve_io)
{
	struct reader r = { .rc = -1 };
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	r.fd = fds[0];
	weft_spawn(read_one, &r);
	weft_spawn(spawn_the_next, &r);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_uint_le(r.pair.n_switches, SWITCHES_ENOUGH);
}
END_TEST

/* Nor those who run or switch to each other by name, who could keep it from its
 * turn (rule R3), but not from becoming runnable. */
static int go_to_main(void *arg)
{
	struct reader *r = arg;

	while (!r->pair.is_over) {
		r->pair.n_switches++;
		r->go_to(weft_main());
	}
	return 0;
}

START_TEST(going_to_each_other_does_not_starve_io)
{
	struct reader r = { .rc = -1,
			    .go_to = _i ? weft_tasklet_switch
					: weft_tasklet_run };
	weft_tasklet reader, other;
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	r.fd = fds[0];
	reader = weft_spawn(read_one, &r);
	weft_schedule();
	other = weft_spawn(go_to_main, &r);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	while (weft_tasklet_state(reader) == WEFT_BLOCKED &&
	       r.pair.n_switches <= SWITCHES_ENOUGH)
		r.go_to(other);
	ck_assert_uint_le(r.pair.n_switches, SWITCHES_ENOUGH);
	weft_tasklet_insert(other);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(r.rc, 1);
}
END_TEST

static int wait_for_byte(void *arg)
{
	struct reader *r = arg;

	return read_one(r);
}

/* A pump takes in what has finished when it starts, and never waits. */
START_TEST(pump_takes_in_finished_io)
{
	struct reader r = { .rc = -1 };
	int fds[2];

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(fds), 0);
	r.fd = fds[0];
	weft_spawn(wait_for_byte, &r);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(r.rc, 1);
}
END_TEST

/* And timers that are due. */
START_TEST(pump_takes_in_timers_that_are_due)
{
	struct sleeper s = { .ns = WEFT_MILLISECOND };
	int n_left;

	do { /* again if it was due before the first pump had come to it */
		s.ns *= 2;
		s.pair.is_over = false;
		weft_spawn(sleep_then_end_it, &s);
		n_left = weft_pump();
	} while (n_left == 0);
	ck_assert(!s.pair.is_over);
	hold_thread_until(s.due);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert(s.pair.is_over);
}
END_TEST

/* The time of an outer call is found to be over by a pump that begins: both
 * return, and the pump's caller is as runnable as before. */
static int pump_late(void *state)
{
	int64_t end = weft_now() + 2 * WEFT_MILLISECOND;

	while (weft_now() < end)
		;
	if (weft_pump() != 0)
		return -EIO;
	*(enum weft_state *)state = weft_tasklet_state(weft_current());
	return 0;
}

START_TEST(pump_that_finds_an_outer_run_over)
{
	enum weft_state state = WEFT_DEAD;
	weft_tasklet t = weft_spawn(pump_late, &state);

	ck_assert_int_eq(weft_run_until(weft_now() + WEFT_MILLISECOND),
			 -ETIMEDOUT);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(state, WEFT_RUNNING);
}
END_TEST

/* --- what is submitted reaches the kernel, whoever looks around --- */

static bool is_read;

static void note_nothing(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from;
	(void)to;
	(void)ctx;
}

static int read_zero(void *arg)
{
	char byte;

	is_read = weft_read(*(int *)arg, &byte, 1) == 1;
	return 0;
}

/* Yields until the read is done; how often it took. */
static int yield_until_read(void *yields)
{
	while (!is_read && *(int *)yields < 100000) {
		weft_schedule();
		++*(int *)yields;
	}
	return 0;
}

static int yield_in_scope(void *yields)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + 1000 * WEFT_SECOND);
	yield_until_read(yields);
	weft_deadline_end(&d);
	return 0;
}

static int yield_trapped(void *yields)
{
	weft_set_schedule_callback(note_nothing, NULL);
	yield_until_read(yields);
	weft_set_schedule_callback(NULL, NULL);
	return 0;
}

/* Those whose every switch looks around: in a scope, with control words of their
 * own, with a callback. The bound is a number of switches. */
START_TEST(careful_ways_do_not_starve_submission)
{
	static const struct {
		weft_fn fn;
		bool own_fpu;
	} ways[] = { { yield_until_read, false },
		     { yield_in_scope, false },
		     { yield_until_read, true },
		     { yield_trapped, false } };
	struct weft_tasklet_options o = { .own_fpu = ways[_i].own_fpu };
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int yields = 0;

	if (lacks_reads_at_once())
		return;
	weft_spawn(read_zero, &fd);
	weft_spawn_with(&o, ways[_i].fn, &yields);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert(is_read);
	ck_assert_int_lt(yields, 200);
	close(fd);
}
END_TEST

static _Atomic(bool) must_stop;
static weft_tasklet inserted;

static void *insert_on(void *arg)
{
	(void)arg;
	while (!must_stop)
		weft_tasklet_insert(inserted);
	return NULL;
}

static int pause_often(void *arg)
{
	(void)arg;
	while (!is_read)
		weft_schedule_remove();
	return 0;
}

static int yield_pestered(void *yields)
{
	yield_until_read(yields);
	weft_tasklet_insert(inserted);
	return 0;
}

/* Requests of another thread at each switch. */
START_TEST(requests_do_not_starve_submission)
{
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	int yields = 0;
	pthread_t thread;

	if (lacks_reads_at_once())
		return;
	inserted = weft_spawn(pause_often, NULL);
	weft_schedule();
	thread = start_thread(insert_on, NULL);
	weft_spawn(read_zero, &fd);
	weft_spawn(yield_pestered, &yields);
	ck_assert_int_eq(weft_run(), 0);
	must_stop = true;
	join_thread(thread);
	ck_assert(is_read);
	ck_assert_int_lt(yields, 200);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("scheduler");

	add_loop(s, "many", many_take_turns_in_order, 6);
	add_case(s, "leaves", leaves_share_a_stack);
	add_loop(s, "large ring", large_ring_follows_the_rules, 5);
	add_case(s, "deep", runs_nest_deeply);
	add_loop(s, "stop", stop_hands_its_result_over, 7);
	add_case(s, "run", run_ignores_results_of_tasklets);
	add_case(s, "run_until", run_until_ends_a_busy_run,
		 run_until_ends_a_parked_run, run_until_returns_as_run_does,
		 run_until_of_the_outer_ends_the_inner,
		 run_until_of_the_inner_leaves_the_outer);
	add_loop(s, "run_until in the past",
		 run_until_with_a_deadline_that_has_passed, 4);
	add_loop(s, "nobody starves", careful_ways_do_not_starve_submission, 4);
	add_case(s, "nobody starves", requests_do_not_starve_submission);
	add_case(s, "nobody starves", busy_pair_does_not_starve_timers,
		 busy_pair_does_not_starve_io,
		 busy_pair_does_not_starve_io_that_comes,
		 ping_pong_does_not_starve_io,
		 chain_of_short_lives_does_not_starve_io);
	add_loop(s, "nobody starves by name",
		 going_to_each_other_does_not_starve_io, 2);
	add_case(s, "pump", pump_takes_in_finished_io,
		 pump_takes_in_timers_that_are_due,
		 pump_that_finds_an_outer_run_over);
	return run_suite(s);
}
