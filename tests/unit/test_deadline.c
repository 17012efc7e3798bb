/* SPDX-License-Identifier: MIT */
/*
 * Deadline scopes against every way to wait: what calls return, and what is left
 * of scopes that were not ended. The tests let time pass by themselves, so the
 * moments in them are far away, or past.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "allocation.h"
#include "clock.h"
#include "core/scheduler.h"
#include "support.h"

/* libcheck measures a test's time by the same clock, in a number that ends at
 * 4294 s. */
static const int64_t LATER = 100 * WEFT_SECOND;

static weft_channel *x;
static weft_group *g;
static int ends[2];
static uint64_t other_id;

/* --- ways to wait, each as a blocking call --- */

static int wait_receive(void)
{
	return weft_channel_receive(x, NULL);
}

static int wait_send(void)
{
	return weft_channel_send(x, NULL);
}

static int wait_sleep(void)
{
	return weft_sleep(1000000 * WEFT_SECOND);
}

static int wait_for_ever(void)
{
	return weft_sleep_until(WEFT_FOREVER);
}

static int wait_paused(void)
{
	return weft_schedule_remove();
}

static int wait_join(void)
{
	return weft_tasklet_join(weft_main());
}

static int wait_thread(void)
{
	return weft_thread_join(other_id);
}

static int wait_group(void)
{
	return weft_group_wait(g);
}

static int wait_run(void)
{
	return weft_run();
}

static int wait_run_until(void)
{
	return weft_run_until(WEFT_FOREVER - 1);
}

static int wait_switch(void)
{
	return weft_tasklet_switch(weft_main());
}

static int wait_read(void)
{
	char byte;

	return (int)weft_read(ends[0], &byte, 1);
}

static int wait_await(void)
{
	struct io_uring_sqe sqe = { 0 };
	char byte;

	io_uring_prep_read(&sqe, ends[0], &byte, 1, 0);
	return weft_await(&sqe);
}

static int (*const waits[])(void) = {
	wait_receive, wait_send,  wait_sleep,  wait_for_ever, wait_paused,
	wait_join,    wait_group, wait_thread, wait_run,      wait_run_until,
	wait_switch,  wait_read,  wait_await,
};

/* Those that need not wait. */
static int call_schedule(void)
{
	return weft_schedule();
}

static int call_pump(void)
{
	return weft_pump();
}

static int call_sleep_0(void)
{
	return weft_sleep(0);
}

static int (*const calls[])(void) = { call_schedule, call_pump, call_sleep_0 };

static bool is_io(int i)
{
	return waits[i] == wait_read || waits[i] == wait_await;
}

static weft_channel *gate;

static int stay(void *arg)
{
	(void)arg;
	return weft_channel_receive(gate, NULL);
}

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

/* False: it cannot be tested here. */
static bool make_all(int i)
{
	bool is_threaded = waits[i] == wait_thread;

	x = weft_channel_new(0, 0);
	gate = weft_channel_new(0, 0);
	g = weft_group_new();
	if (waits[i] == wait_group)
		weft_group_spawn(g, stay, NULL);
	ck_assert_int_eq(pipe(ends), 0);
	if (is_threaded)
		ck_assert_int_eq(weft_thread_start(&other_id, stay, NULL), 0);
	return true;
}

static void end_all(int i)
{
	if (waits[i] == wait_thread) {
		ck_assert_int_eq(weft_channel_send(gate, NULL), 0);
		ck_assert_int_eq(weft_thread_join(other_id), 0);
	}
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_group_free(g);
	weft_channel_unref(x);
	weft_channel_unref(gate);
	close(ends[0]);
	close(ends[1]);
}

/* --- every call --- */

static int results[4];
static bool has_run_out;

static int wait_inside(void *wait)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + LATER);
	results[0] = (*(int (*const *)(void))wait)();
	results[1] = weft_schedule();
	results[2] = weft_channel_receive(x, NULL);
	has_run_out = weft_deadline_end(&d);
	results[3] = weft_sleep(0);
	return 0;
}

static weft_tasklet spawn_inside(int i)
{
	weft_tasklet t = weft_spawn(wait_inside, (void *)(uintptr_t)&waits[i]);

	weft_schedule();
	if (is_io(i))
		weft_pump(); /* the kernel has it */
	ck_assert(weft_tasklet_alive(t));
	return t;
}

/* By its timer, and those after it as well, until the scope ends. */
START_TEST(every_wait_times_out)
{
	weft_tasklet t;

	if (!make_all(_i))
		return;
	t = spawn_inside(_i);
	pass_time(2 * LATER);
	weft_pump();
	if (weft_tasklet_alive(t))
		weft_tasklet_join(
			t); /* what the kernel has, or its last sleep */
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	ck_assert_int_eq(results[1], -ETIMEDOUT);
	ck_assert_int_eq(results[2], -ETIMEDOUT);
	ck_assert(has_run_out);
	ck_assert_int_eq(results[3], 0);
	end_all(_i);
}
END_TEST

/* Killed first: that is what all say. */
START_TEST(kill_goes_before_timeout)
{
	weft_tasklet t;

	if (!make_all(_i))
		return;
	t = spawn_inside(_i);
	weft_tasklet_kill(t, WEFT_PENDING);
	pass_time(2 * LATER);
	if (weft_tasklet_alive(t))
		weft_tasklet_join(t);
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(results[1], -ECANCELED);
	ck_assert_int_eq(results[3], -ECANCELED);
	ck_assert(has_run_out);
	end_all(_i);
}
END_TEST

/* Once; then it is the deadline's turn. */
START_TEST(raise_goes_before_timeout)
{
	weft_tasklet t;

	if (!make_all(_i))
		return;
	t = spawn_inside(_i);
	pass_time(2 * LATER);
	weft_tasklet_raise(t, EXDEV, WEFT_PENDING);
	if (weft_tasklet_alive(t))
		weft_tasklet_join(t);
	ck_assert_int_eq(results[0], -EXDEV);
	ck_assert_int_eq(results[1], -ETIMEDOUT);
	ck_assert_int_eq(results[3], 0);
	end_all(_i);
}
END_TEST

/* At once, the timer not looked at, nothing moved: also calls that need not
 * wait. */
START_TEST(past_deadlines_count_at_once)
{
	static const int64_t moments[] = { 0, -1, INT64_MIN, 1 };
	struct weft_deadline d;

	if (!make_all(_i))
		return;
	for (size_t k = 0; k < N_ELEMENTS(moments); k++) {
		weft_deadline_begin(&d, moments[k]);
		ck_assert_int_eq(waits[_i](), -ETIMEDOUT);
		for (size_t c = 0; c < N_ELEMENTS(calls); c++)
			ck_assert_int_eq(calls[c](), -ETIMEDOUT);
		ck_assert_int_eq(weft_channel_balance(x), 0);
		ck_assert(weft_deadline_end(&d));
	}
	ck_assert_int_eq(weft_schedule(), 0);
	end_all(_i);
}
END_TEST

START_TEST(forever_is_no_limit)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, WEFT_FOREVER);
	pass_time(2 * LATER);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(weft_sleep(0), 0);
	ck_assert(weft_next_deadline() == WEFT_FOREVER);
	ck_assert(!weft_deadline_end(&d));
}
END_TEST

/* Without a look at its timer: the clock says so. */
START_TEST(busy_tasklet_is_told)
{
	struct weft_deadline d;

	x = weft_channel_new(0, 0);
	weft_deadline_begin(&d, weft_now() + LATER);
	ck_assert_int_eq(weft_channel_try_send(x, NULL), -EAGAIN);
	ck_assert_int_eq(weft_schedule(), 0);
	pass_time(2 * LATER);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
	/* these are not blocking calls */
	ck_assert_int_eq(weft_channel_try_send(x, NULL), -EAGAIN);
	ck_assert_int_eq(weft_tasklet_run(weft_main()), 0);
	ck_assert(weft_deadline_end(&d));
	weft_channel_unref(x);
}
END_TEST

/* Nobody asked in between. */
START_TEST(end_looks_at_the_clock)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + LATER);
	ck_assert(!weft_deadline_end(&d));
	weft_deadline_begin(&d, weft_now() + LATER);
	pass_time(2 * LATER);
	ck_assert(weft_deadline_end(&d));
	ck_assert_int_eq(weft_schedule(), 0);
}
END_TEST

/* The thread parks for it, in a ring and in a futex. */
START_TEST(thread_parks_until_then)
{
	struct weft_deadline d;
	char byte;

	x = weft_channel_new(0, 0);
	weft_deadline_begin(&d, weft_now() + 3 * WEFT_MILLISECOND);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	ck_assert_int_eq(pipe(ends), 0);
	weft_deadline_begin(&d, weft_now() + 3 * WEFT_MILLISECOND);
	ck_assert_int_eq(weft_read(ends[0], &byte, 1), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
}
END_TEST

/* --- nesting --- */

static int64_t outer_ns, inner_ns;

static int wait_in_two(void *arg)
{
	struct weft_deadline outer, inner;

	(void)arg;
	weft_deadline_begin(&outer, weft_now() + outer_ns);
	weft_deadline_begin(&inner, weft_now() + inner_ns);
	results[0] = weft_channel_receive(x, NULL);
	results[1] = weft_deadline_end(&inner);
	results[2] = weft_schedule();
	results[3] = weft_deadline_end(&outer);
	return weft_schedule();
}

/* The earliest wins, be it the outer or the inner one. */
START_TEST(earliest_wins)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	outer_ns = _i ? LATER : 3 * LATER;
	inner_ns = _i ? 3 * LATER : LATER;
	t = weft_spawn(wait_in_two, NULL);
	weft_pump();
	pass_time(2 * LATER);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	ck_assert_int_eq(results[1], !_i);
	ck_assert_int_eq(results[2], _i ? -ETIMEDOUT : 0);
	ck_assert_int_eq(results[3], _i);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

/* An end ends those inside, which are not ended by themselves. */
START_TEST(outer_end_ends_all)
{
	struct weft_deadline outer, inner, innermost;

	weft_deadline_begin(&outer, WEFT_FOREVER);
	weft_deadline_begin(&inner, 0);
	weft_deadline_begin(&innermost, WEFT_FOREVER);
	ck_assert_int_eq(weft_schedule(), -ETIMEDOUT);
	ck_assert(!weft_deadline_end(&outer));
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert(weft_next_deadline() == WEFT_FOREVER);
}
END_TEST

static int end_of_another(void)
{
	struct weft_deadline first, second;

	weft_deadline_begin(&first, WEFT_FOREVER);
	weft_deadline_begin(&second, WEFT_FOREVER);
	weft_deadline_end(&first);
	weft_deadline_end(&second);
	return 0;
}

START_TEST(end_of_one_that_is_not_open)
{
	char errors[1024];

	ck_assert_int_eq(in_child(end_of_another, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_msg(strstr(errors, "not in"), "%s", errors);
}
END_TEST

/* --- with shields, and what was handed over --- */

static int wait_shielded(void *arg)
{
	struct weft_deadline d;

	(void)arg;
	weft_deadline_begin(&d, weft_now() + LATER);
	weft_shield_begin();
	results[0] = weft_channel_receive(x, NULL);
	weft_shield_end();
	results[1] = weft_schedule();
	weft_deadline_end(&d);
	return 0;
}

START_TEST(shield_does_not_hide_it)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	t = weft_spawn(wait_shielded, NULL);
	weft_pump();
	weft_tasklet_kill(t, 0);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	pass_time(2 * LATER);
	weft_pump();
	ck_assert_int_eq(results[0], -ETIMEDOUT);
	ck_assert_int_eq(results[1], -ECANCELED);
}
END_TEST

static int take_one(void *arg)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + LATER);
	results[0] = weft_channel_receive(x, arg);
	results[1] = weft_schedule();
	weft_deadline_end(&d);
	return 0;
}

/* It was served in time and runs late: the element comes, then the error. */
START_TEST(what_was_handed_over_is_not_lost)
{
	int element = 0;

	x = weft_channel_new(sizeof(int), 0);
	weft_channel_set_preference(x, 0);
	weft_spawn(take_one, &element);
	weft_schedule();
	ck_assert_int_eq(weft_channel_send(x, &(int){ 7 }), 0);
	pass_time(2 * LATER);
	weft_pump();
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(element, 7);
	ck_assert_int_eq(results[1], -ETIMEDOUT);
}
END_TEST

/* The same by the kernel: the byte is there before the time has passed. */
START_TEST(what_was_read_is_not_lost)
{
	weft_tasklet t;

	for (int i = 0; i < (int)N_ELEMENTS(waits); i++) {
		if (!is_io(i) || !make_all(i))
			continue;
		t = spawn_inside(i);
		ck_assert_int_eq(write(ends[1], "a", 1), 1);
		pass_time(2 * LATER);
		weft_tasklet_join(t);
		/* or the cancel was first, and the byte is still there */
		if (results[0] == -ETIMEDOUT) {
			char byte = 0;

			ck_assert_int_eq(read(ends[0], &byte, 1), 1);
			ck_assert_int_eq(byte, 'a');
		} else {
			ck_assert_int_eq(results[0], 1);
		}
		ck_assert_int_eq(results[1], -ETIMEDOUT);
		end_all(i);
	}
}
END_TEST

START_TEST(close_closes)
{
	struct weft_deadline d;

	ck_assert_int_eq(pipe(ends), 0);
	weft_deadline_begin(&d, 0);
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[0]), -EBADF);
	ck_assert_int_eq(weft_sleep(1), -ETIMEDOUT);
	weft_deadline_end(&d);
	ck_assert_int_eq(weft_close(ends[1]), 0);
}
END_TEST

/* It is told each time, and the others get their turns. */
static int ignore_all(void *n)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, 0);
	while (*(int *)n < 1000) {
		++*(int *)n;
		weft_channel_receive(x, NULL);
	}
	return 0;
}

START_TEST(refuser_does_not_freeze_its_thread)
{
	int n = 0;

	x = weft_channel_new(0, 0);
	weft_spawn(ignore_all, &n);
	for (int i = 0; i < 10; i++) {
		int before = n;

		ck_assert_int_eq(weft_schedule(), 0);
		ck_assert_int_le(n, before + 2);
		ck_assert_int_gt(n, before);
	}
	weft_run();
	ck_assert_int_eq(n, 1000);
}
END_TEST

/* --- scopes that are not ended --- */

static int return_inside(void *arg)
{
	struct weft_deadline d;

	for (int i = 0; i < 3; i++)
		weft_deadline_begin(&d, weft_now() + LATER);
	if (arg)
		weft_exit(0);
	return 0;
}

static int sleep_a_bit(void *arg)
{
	(void)arg;
	return weft_sleep(0);
}

/* No timer is left, and the next tenant of descriptor and stack has no scope. */
START_TEST(end_of_a_tasklet_inside)
{
	weft_spawn(return_inside, _i ? &results : NULL);
	weft_run();
	ck_assert_uint_eq(weft__self->timers.n, 0);
	ck_assert_ptr_nonnull(weft__self->free_scopes);
	pass_time(2 * LATER);
	ck_assert_int_eq(weft_tasklet_join(weft_spawn(sleep_a_bit, NULL)), 0);
}
END_TEST

static bool deferred_ran_out;

static void begin_deferred(void *arg)
{
	struct weft_deadline d;

	(void)arg;
	results[0] = weft_sleep(1000);
	weft_deadline_begin(&d, 0);
	results[1] = weft_sleep(1000);
	deferred_ran_out = true;
}

static int defer_inside(void *arg)
{
	struct weft_deadline d;

	weft_defer(begin_deferred, arg);
	weft_deadline_begin(&d, 0);
	return weft_sleep(1000);
}

/* What it deferred is not inside any more, and may begin others. */
START_TEST(deferred_is_outside)
{
	ck_assert_int_eq(weft_tasklet_join(weft_spawn(defer_inside, NULL)),
			 -ETIMEDOUT);
	ck_assert(deferred_ran_out);
	ck_assert_int_eq(results[0], 0);
	ck_assert_int_eq(results[1], -ETIMEDOUT);
	ck_assert_uint_eq(weft__self->timers.n, 0);
}
END_TEST

static int block_inside(void *arg)
{
	return_inside(NULL);
	return receive_x(arg);
}

/* Its main tasklet, one that blocks, and one that is given up are inside. */
static void *end_inside(void *arg)
{
	weft_spawn(block_inside, arg);
	return_inside(NULL);
	weft_pump();
	return NULL;
}

START_TEST(end_of_a_thread_inside)
{
	x = weft_channel_new(0, 0);
	for (int i = 0; i < 3; i++)
		join_thread(start_thread(end_inside, NULL));
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

/* --- what it costs --- */

static int receive_often(void *arg)
{
	struct weft_deadline d;

	(void)arg;
	weft_deadline_begin(&d, weft_now() + LATER);
	for (int i = 0; i < 1000; i++)
		results[0] |= weft_channel_receive(x, NULL);
	weft_deadline_end(&d);
	return 0;
}

START_TEST(one_timer_however_many_calls)
{
	uint64_t before;

	x = weft_channel_new(0, 0);
	weft_current();
	before = weft__self->timers.n_armed;
	weft_spawn(receive_often, NULL);
	for (int i = 0; i < 1000; i++)
		weft_channel_send(x, NULL);
	ck_assert_int_eq(results[0], 0);
	ck_assert_uint_eq(weft__self->timers.n_armed, before + 1);
	ck_assert_uint_eq(weft__self->timers.n, 0);
}
END_TEST

/* Its record is used again. */
START_TEST(scopes_take_no_new_memory)
{
	struct weft_deadline d;
	bool ran_out = false;

	weft_deadline_begin(&d, LATER + weft_now());
	weft_deadline_end(&d);
	fail_allocations_after(0);
	for (int i = 0; i < 100; i++) {
		weft_deadline_begin(&d, LATER + weft_now());
		ran_out |= weft_schedule() || weft_deadline_end(&d);
	}
	fail_allocations_after(-1);
	ck_assert(!ran_out);
}
END_TEST

/* --- no memory --- */

/* It counts as run out, for as long as it goes on, and so do those inside. The
 * memory for the record, or for the timer. */
START_TEST(no_memory_for_a_scope)
{
	struct weft_deadline outer, d, inner;
	int rc[4];

	weft_current();
	weft_deadline_begin(&outer, WEFT_FOREVER);
	fail_allocations_after(_i);
	weft_deadline_begin(&d, weft_now() + LATER);
	fail_allocations_after(-1);
	rc[0] = weft_schedule();
	weft_deadline_begin(&inner, WEFT_FOREVER);
	rc[1] = weft_sleep(1000);
	rc[2] = weft_deadline_end(&inner);
	rc[3] = weft_schedule();
	ck_assert_int_eq(rc[0], -ETIMEDOUT);
	ck_assert_int_eq(rc[1], -ETIMEDOUT);
	ck_assert_int_eq(rc[2], 0);
	ck_assert_int_eq(rc[3], -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert(!weft_deadline_end(&outer));
	ck_assert_uint_eq(weft__self->timers.n, 0);
}
END_TEST

/* And it is ended by the end of an outer one; and ends those inside. */
START_TEST(no_memory_and_not_ended)
{
	struct weft_deadline outer, d, inner;

	weft_current();
	weft_deadline_begin(&outer, WEFT_FOREVER);
	fail_allocations_after(0);
	weft_deadline_begin(&d, weft_now() + LATER);
	fail_allocations_after(-1);
	ck_assert_int_eq(weft_schedule(), -ETIMEDOUT);
	ck_assert(!weft_deadline_end(&outer));
	ck_assert_int_eq(weft_schedule(), 0);

	/* the record of the first is there, but not a second one */
	weft_deadline_begin(&outer, WEFT_FOREVER);
	fail_allocations_after(0);
	weft_deadline_begin(&d, weft_now() + LATER);
	fail_allocations_after(-1);
	weft_deadline_begin(&inner, 0);
	ck_assert(weft_deadline_end(&d));
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert(!weft_deadline_end(&outer));
	ck_assert_uint_eq(weft__self->timers.n, 0);
}
END_TEST

/* Inside a scope without memory, one that has it ends by itself. */
START_TEST(no_memory_twice)
{
	struct weft_deadline first, second;

	weft_current();
	fail_allocations_after(0);
	weft_deadline_begin(&first, weft_now() + LATER);
	weft_deadline_begin(&second, weft_now() + LATER);
	fail_allocations_after(-1);
	ck_assert(weft_deadline_end(&second));
	ck_assert_int_eq(weft_schedule(), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&first));
	ck_assert_int_eq(weft_schedule(), 0);
}
END_TEST

/* A tasklet waits on a condition, in a scope. It was signalled and handed
 * the mutex when it is removed from the run queue; the deadline ends that pause, and
 * so the mutex does not stay with it. */
static weft_mutex paused_mutex = WEFT_MUTEX_INIT;
static weft_condition paused_condition = WEFT_CONDITION_INIT;

static int wait_on_condition(void *rc)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + LATER);
	EXPECT(weft_mutex_lock(&paused_mutex) == 0);
	*(int *)rc = weft_condition_wait(&paused_condition, &paused_mutex);
	EXPECT(weft_mutex_unlock(&paused_mutex) == 0);
	EXPECT(weft_deadline_end(&d));
	return 0;
}

START_TEST(ends_a_pause_with_a_mutex)
{
	int rc = 1;
	weft_tasklet t = weft_spawn(wait_on_condition, &rc);

	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(weft_mutex_lock(&paused_mutex), 0);
	ck_assert_int_eq(weft_condition_signal(&paused_condition), 0);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(weft_mutex_unlock(&paused_mutex), 0);
	ck_assert_int_eq(weft_tasklet_remove(t), 0);
	pass_time(2 * LATER);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(weft_mutex_trylock(&paused_mutex), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("deadline");

	add_loop(s, "every wait", every_wait_times_out, N_ELEMENTS(waits));
	add_loop(s, "kill", kill_goes_before_timeout, N_ELEMENTS(waits));
	add_loop(s, "raise", raise_goes_before_timeout, N_ELEMENTS(waits));
	add_loop(s, "past", past_deadlines_count_at_once, N_ELEMENTS(waits));
	add_case(s, "moments", forever_is_no_limit, busy_tasklet_is_told,
		 end_looks_at_the_clock, thread_parks_until_then);
	add_loop(s, "two scopes", earliest_wins, 2);
	add_case(s, "nesting", outer_end_ends_all, end_of_one_that_is_not_open);
	add_case(s, "not lost", shield_does_not_hide_it,
		 what_was_handed_over_is_not_lost, what_was_read_is_not_lost,
		 close_closes, refuser_does_not_freeze_its_thread);
	add_loop(s, "end inside", end_of_a_tasklet_inside, 2);
	add_case(s, "not ended", deferred_is_outside, end_of_a_thread_inside);
	add_case(s, "costs", one_timer_however_many_calls,
		 scopes_take_no_new_memory);
	add_loop(s, "no memory for one", no_memory_for_a_scope, 2);
	add_case(s, "no memory", no_memory_and_not_ended, no_memory_twice);
	add_case(s, "pause with a mutex", ends_a_pause_with_a_mutex);
	return run_suite(s);
}
