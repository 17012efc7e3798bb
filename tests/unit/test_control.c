/* SPDX-License-Identifier: MIT */
/*
 * What control calls return, and what the blocking calls of their targets do: for
 * each kind of waiting, on this thread and on another. The order in which they
 * run is the matter of tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static uint64_t other_id;
static int results[2];

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

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
	return weft_sleep(1000 * WEFT_SECOND);
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

static int wait_run(void)
{
	return weft_run();
}

static int wait_run_until(void)
{
	return weft_run_until(weft_now() + 1000 * WEFT_SECOND);
}

static int (*const waits[])(void) = {
	wait_receive, wait_send, wait_sleep,     wait_for_ever, wait_paused,
	wait_join,    wait_run,  wait_run_until, wait_thread,
};

static int wait_twice(void *wait)
{
	results[0] = (*(int (*const *)(void))wait)();
	results[1] = weft_sleep(1000);
	return 0;
}

static int wait_here(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

static weft_channel *gate;

static int stay(void *arg)
{
	(void)arg;
	return weft_channel_receive(gate, NULL);
}

static void make_all(void)
{
	x = weft_channel_new(0, 0);
	gate = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&other_id, stay, NULL), 0);
}

static void end_other(void)
{
	ck_assert_int_eq(weft_channel_send(gate, NULL), 0);
	ck_assert_int_eq(weft_thread_join(other_id), 0);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}

/* --- kill and raise, here --- */

START_TEST(kill_ends_every_wait)
{
	weft_tasklet t;

	make_all();
	t = weft_spawn(wait_twice, (void *)(uintptr_t)&waits[_i]);
	weft_schedule();
	ck_assert(weft_tasklet_alive(t));
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(results[0], -ECANCELED);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[1], -ECANCELED);
	end_other();
}
END_TEST

START_TEST(raise_ends_every_wait_once)
{
	weft_tasklet t;

	make_all();
	t = weft_spawn(wait_twice, (void *)(uintptr_t)&waits[_i]);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[0], -EXDEV);
	ck_assert_int_eq(results[1], 0);
	end_other();
}
END_TEST

/* --- and from another thread --- */

static weft_tasklet victim;
static weft_channel *there, *go;

static int be_the_victim(void *wait)
{
	victim = weft_spawn(wait_twice, wait);
	weft_schedule();
	weft_channel_send(there, NULL);
	weft_channel_receive(go, NULL);
	return 0;
}

START_TEST(foreign_kill_ends_every_wait)
{
	uint64_t id;

	make_all();
	there = weft_channel_new(0, 0);
	go = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&id, be_the_victim,
					   (void *)(uintptr_t)&waits[_i]),
			 0);
	weft_channel_receive(there, NULL);
	if (_i % 2)
		ck_assert_int_eq(weft_tasklet_kill(victim, 0), 0);
	else
		ck_assert_int_eq(weft_tasklet_raise(victim, ECANCELED, 0), 0);
	if (weft_tasklet_alive(victim))
		weft_tasklet_join(victim);
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(results[1], _i % 2 ? -ECANCELED : 0);
	ck_assert_int_eq(weft_channel_send(go, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	end_other();
}
END_TEST

/* --- what is refused --- */

START_TEST(arguments_are_checked)
{
	weft_tasklet none = { 0 }, ended, t;

	x = weft_channel_new(0, 0);
	ended = weft_spawn(do_nothing, NULL);
	weft_run();
	t = weft_spawn(wait_here, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_kill(none, 0), -ESRCH);
	ck_assert_int_eq(weft_tasklet_kill(ended, 0), -ESRCH);
	ck_assert_int_eq(weft_tasklet_kill(t, 2), -EINVAL);
	ck_assert_int_eq(weft_tasklet_kill(t, ~0u), -EINVAL);
	ck_assert_int_eq(weft_tasklet_raise(none, EIO, 0), -ESRCH);
	ck_assert_int_eq(weft_tasklet_raise(ended, EIO, 0), -ESRCH);
	ck_assert_int_eq(weft_tasklet_raise(t, 0, 0), -EINVAL);
	ck_assert_int_eq(weft_tasklet_raise(t, -EIO, 0), -EINVAL);
	ck_assert_int_eq(weft_tasklet_raise(t, EIO, 4), -EINVAL);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	ck_assert(!weft_tasklet_alive(t));
}
END_TEST

/* Any positive number, not only what errno.h has. */
START_TEST(raise_of_any_number)
{
	weft_tasklet t;

	make_all();
	t = weft_spawn(wait_twice, (void *)(uintptr_t)&waits[0]);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_raise(t, INT32_MAX, 0), 0);
	ck_assert_int_eq(results[0], -INT32_MAX);
	weft_tasklet_join(t);
	end_other();
}
END_TEST

/* --- one who ignores errors --- */

static int ignore_all(void *n)
{
	while (*(int *)n < 1000) {
		++*(int *)n;
		weft_channel_receive(x, NULL);
	}
	return 0;
}

START_TEST(refuser_does_not_freeze_its_thread)
{
	int n = 0;
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	t = weft_spawn(ignore_all, &n);
	weft_schedule();
	weft_tasklet_kill(t, WEFT_PENDING);
	for (int i = 0; i < 10; i++) {
		int before = n;

		ck_assert_int_eq(weft_schedule(), 0);
		ck_assert_int_le(n, before + 2);
		ck_assert_int_gt(n, before);
	}
	weft_run();
	ck_assert_int_eq(n, 1000);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

/* --- traps --- */

/* Those that make it BLOCKED; pausing and running others are allowed. */
static int (*const blocking[])(void) = { wait_receive, wait_send, wait_sleep,
					 wait_for_ever, wait_thread };

START_TEST(block_trap_refuses_to_wait)
{
	make_all();
	ck_assert(!weft_set_block_trap(true));
	ck_assert(weft_set_block_trap(true));
	ck_assert_int_eq(blocking[_i](), -EAGAIN);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(weft_sleep(0), 0);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert(weft_set_block_trap(false));
	ck_assert_int_eq(weft_sleep(1000), 0);
	end_other();
}
END_TEST

START_TEST(switch_trap_refuses_to_switch)
{
	weft_tasklet t;

	make_all();
	t = weft_spawn(wait_here, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_switch_trap(3), 0);
	ck_assert_int_eq(weft_switch_trap(0), 3);
	if (waits[_i] != wait_send && waits[_i] != wait_join)
		ck_assert_int_eq(waits[_i](), -EPERM);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), -EPERM);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(weft_switch_trap(-3), 3);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	end_other();
}
END_TEST

/* --- callbacks --- */

static int n_switches, n_calls, n_refused;

static void on_switch(weft_tasklet from, weft_tasklet to, void *ctx)
{
	n_switches++;
	ck_assert_ptr_eq(ctx, &n_switches);
	ck_assert(!weft_tasklet_equal(from, to));
	/* none of what would switch */
	n_refused += weft_schedule() == -EPERM;
	n_refused += weft_sleep(1) == -EPERM;
	n_refused += weft_schedule_remove() == -EPERM;
	n_refused += weft_run() == -EPERM;
}

START_TEST(schedule_callback_may_not_switch)
{
	weft_set_schedule_callback(on_switch, &n_switches);
	weft_spawn(do_nothing, NULL);
	weft_spawn(do_nothing, NULL);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(n_switches, 3);
	ck_assert_int_eq(n_refused, 4 * 3);
	weft_set_schedule_callback(NULL, NULL);
	weft_spawn(do_nothing, NULL);
	weft_run();
	ck_assert_int_eq(n_switches, 3);
}
END_TEST

static int n_run;

static int count_up(void *arg)
{
	(void)arg;
	n_run++;
	return 0;
}

/* It kills whom it is told of: whoever is next runs, and is told of. */
static void kill_first(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from, (void)ctx;
	if (n_switches++ == 0)
		ck_assert_int_eq(weft_tasklet_kill(to, WEFT_PENDING), 0);
}

START_TEST(schedule_callback_may_kill)
{
	weft_set_schedule_callback(kill_first, NULL);
	weft_spawn(count_up, NULL);
	weft_spawn(count_up, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_run, 1);
	/* the killed one, the other one, and back */
	ck_assert_int_eq(n_switches, 3);
}
END_TEST

/* It spawns: behind all others. */
static void spawn_once(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from, (void)to, (void)ctx;
	if (n_switches++ == 0)
		weft_spawn(count_up, NULL);
}

START_TEST(schedule_callback_may_spawn)
{
	weft_set_schedule_callback(spawn_once, NULL);
	weft_spawn(count_up, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_run, 2);
}
END_TEST

static void on_channel(weft_channel *ch, weft_tasklet t, bool sending,
		       bool will_block, void *ctx)
{
	(void)t, (void)sending, (void)will_block, (void)ctx;
	n_calls++;
	/* not told of in turn, and refused, for nobody is there */
	n_refused += weft_channel_receive(ch, NULL) == -EPERM;
	n_refused += weft_channel_try_receive(ch, NULL) == -EAGAIN;
}

START_TEST(channel_callback_may_not_wait)
{
	x = weft_channel_new(0, 0);
	weft_set_channel_callback(on_channel, NULL);
	weft_spawn(wait_here, NULL);
	weft_schedule();
	ck_assert_int_eq(n_calls, 1);
	ck_assert_int_eq(n_refused, 2);
	weft_set_channel_callback(NULL, NULL);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	ck_assert_int_eq(n_calls, 1);
}
END_TEST

/* --- remove on another thread's tasklet --- */

static _Atomic(int) n_turns;
static _Atomic(bool) must_end;
static _Atomic(bool) is_there;
static weft_tasklet turning;

static int take_turns(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!must_end) {
		n_turns++;
		weft_schedule();
	}
	return 0;
}

static int wait_for_end(void *arg)
{
	(void)arg;
	while (!must_end)
		weft_sleep(100 * WEFT_MICROSECOND);
	return 0;
}

static void *turn_there(void *arg)
{
	weft_spawn(take_turns, NULL);
	if (arg) /* another that is runnable */
		weft_spawn(wait_for_end, NULL);
	weft_spawn(wait_for_end, NULL);
	weft_run();
	return NULL;
}

static void until_state(weft_tasklet t, enum weft_state state)
{
	while (weft_tasklet_state(t) != state)
		sched_yield();
}

/* It is paused when its thread next gives way, be it the running one or not, and
 * comes back by an insert. */
START_TEST(remove_from_another_thread)
{
	pthread_t thread = start_thread(turn_there, _i ? &thread : NULL);
	int n;

	while (!is_there)
		sched_yield();
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(weft_tasklet_remove(turning), 0);
		until_state(turning, WEFT_PAUSED);
		n = n_turns;
		ck_assert_int_eq(weft_tasklet_remove(turning), 0);
		ck_assert_int_eq(weft_tasklet_insert(turning), 0);
		while (n_turns < n + 2)
			sched_yield();
	}
	/* The last word counts. */
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	ck_assert_int_eq(weft_tasklet_insert(turning), 0);
	n = n_turns;
	while (n_turns < n + 2)
		sched_yield();
	must_end = true;
	join_thread(thread);
	ck_assert_int_eq(weft_tasklet_remove(turning), -ESRCH);
}
END_TEST

/* It makes another call that takes the request in, and then it yields. */
static weft_tasklet bystander;
static _Atomic(bool) is_removed;
static _Atomic(int) n_yields;

static int call_and_yield(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!is_removed)
		;
	weft_tasklet_insert(bystander);
	for (n_yields = 0; !must_end && n_yields < 1000; n_yields++)
		weft_schedule();
	return 0;
}

static void *call_there(void *arg)
{
	(void)arg;
	bystander = weft_spawn_with(
		&(struct weft_tasklet_options){ .paused = true }, do_nothing,
		NULL);
	weft_spawn(call_and_yield, NULL);
	weft_spawn(wait_for_end, NULL);
	weft_run();
	return NULL;
}

START_TEST(remove_taken_in_by_another_call)
{
	pthread_t thread = start_thread(call_there, NULL);

	while (!is_there)
		sched_yield();
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	is_removed = true;
	until_state(turning, WEFT_PAUSED);
	ck_assert_int_eq(n_yields, 0);
	must_end = true;
	ck_assert_int_eq(weft_tasklet_insert(turning), 0);
	join_thread(thread);
}
END_TEST

/* It finds the request as it gives way to a receiver that runs at once, or that is put
 * behind it. */
static weft_channel *met;
static bool schedules_all;

static int meet(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!is_removed)
		;
	for (n_yields = 0; !must_end && n_yields < 1000; n_yields++)
		weft_channel_send(met, NULL);
	return 0;
}

static int be_met(void *arg)
{
	(void)arg;
	while (!must_end && !weft_channel_receive(met, NULL))
		;
	return 0;
}

static void *meet_there(void *arg)
{
	(void)arg;
	weft_channel_set_schedule_all(met, schedules_all);
	weft_spawn(be_met, NULL);
	weft_spawn(meet, NULL);
	weft_spawn(wait_for_end, NULL);
	weft_run();
	return NULL;
}

START_TEST(remove_found_in_a_send)
{
	pthread_t thread;

	met = weft_channel_new(0, 0);
	schedules_all = _i;
	thread = start_thread(meet_there, NULL);
	while (!is_there)
		sched_yield();
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	is_removed = true;
	until_state(turning, WEFT_PAUSED);
	ck_assert_int_eq(n_yields, 0);
	must_end = true;
	ck_assert_int_eq(weft_tasklet_insert(turning), 0);
	weft_channel_close(met);
	join_thread(thread);
	weft_channel_unref(met);
}
END_TEST

/* It gives way to one that it runs, or interrupts. */
static bool interrupts;

static int run_another(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!is_removed)
		;
	for (n_yields = 0; !must_end && n_yields < 1000; n_yields++)
		if (interrupts)
			weft_tasklet_raise(bystander, EINTR, 0);
		else
			weft_tasklet_run(bystander);
	return 0;
}

static int yield_always(void *arg)
{
	(void)arg;
	while (!must_end)
		(void)weft_schedule();
	return 0;
}

static void *run_another_there(void *arg)
{
	bystander = weft_spawn(yield_always, NULL);
	weft_spawn(run_another, NULL);
	weft_run();
	return arg;
}

START_TEST(remove_found_in_a_run)
{
	pthread_t thread;

	interrupts = _i;
	thread = start_thread(run_another_there, NULL);
	while (!is_there)
		sched_yield();
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	is_removed = true;
	until_state(turning, WEFT_PAUSED);
	ck_assert_int_eq(n_yields, 0);
	must_end = true;
	ck_assert_int_eq(weft_tasklet_insert(turning), 0);
	join_thread(thread);
}
END_TEST

/* A tasklet that takes the request in, waits and is served goes on: the request has
 * come to nothing. */
static int call_and_wait(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!is_removed)
		;
	weft_tasklet_insert(bystander);
	weft_channel_receive(met, NULL);
	for (n_yields = 0; n_yields < 1000; n_yields++)
		weft_schedule();
	return 0;
}

static void *call_and_wait_there(void *arg)
{
	(void)arg;
	bystander = weft_spawn_with(
		&(struct weft_tasklet_options){ .paused = true }, do_nothing,
		NULL);
	weft_spawn(call_and_wait, NULL);
	weft_spawn(wait_for_end, NULL);
	weft_run();
	return NULL;
}

START_TEST(remove_of_one_that_waits_then)
{
	pthread_t thread;

	met = weft_channel_new(0, 0);
	thread = start_thread(call_and_wait_there, NULL);
	while (!is_there)
		sched_yield();
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	is_removed = true;
	until_state(turning, WEFT_BLOCKED);
	ck_assert_int_eq(weft_channel_send(met, NULL), 0);
	while (weft_tasklet_alive(turning))
		sched_yield();
	ck_assert_int_eq(n_yields, 1000);
	must_end = true;
	join_thread(thread);
	weft_channel_unref(met);
}
END_TEST

/* A kill goes before a removal that is still to be carried out. */
static int give_way_once(void *arg)
{
	(void)arg;
	turning = weft_current();
	is_there = true;
	while (!is_removed)
		;
	return weft_schedule();
}

static void *give_way_there(void *arg)
{
	weft_spawn(give_way_once, NULL);
	weft_spawn(wait_for_end, NULL);
	weft_run();
	return arg;
}

START_TEST(remove_and_kill)
{
	pthread_t thread = start_thread(give_way_there, NULL);

	while (!is_there)
		sched_yield();
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	ck_assert_int_eq(weft_tasklet_kill(turning, 0), 0);
	is_removed = true;
	while (weft_tasklet_alive(turning))
		sched_yield();
	must_end = true;
	join_thread(thread);
}
END_TEST

/* One that has never run, and one that is blocked. */
static void *leave_main_waiting(void *arg)
{
	turning = weft_spawn_with(
		&(struct weft_tasklet_options){ .paused = true }, do_nothing,
		NULL);
	weft_channel_send(x, NULL);
	(void)arg;
	return NULL;
}

START_TEST(remove_of_others_from_another_thread)
{
	weft_tasklet waiting;
	pthread_t thread;

	x = weft_channel_new(0, 0);
	thread = start_thread(leave_main_waiting, NULL);
	while (weft_channel_balance(x) != 1)
		sched_yield();
	ck_assert_int_eq((int)weft_channel_waiters(x, &waiting, 1), 1);
	until_parked(weft_tasklet_thread(waiting));
	ck_assert_int_eq(weft_tasklet_remove(waiting), -EBUSY);
	ck_assert_int_eq(weft_tasklet_remove(turning), 0);
	ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	join_thread(thread);
	weft_channel_unref(x);
}
END_TEST

/* --- from anywhere --- */

static int pause_for_flag(void *arg)
{
	_Atomic(bool) *flag = arg;

	turning = weft_current();
	is_there = true;
	while (!*flag)
		weft_schedule_remove();
	return 0;
}

static void *notify_it(void *arg)
{
	while (!is_there)
		sched_yield();
	*(_Atomic(bool) *)arg = true;
	ck_assert_int_eq(weft_tasklet_notify(turning), 0);
	return NULL;
}

/* By a thread that is not attached, and stays that. */
START_TEST(notify_from_a_bare_thread)
{
	_Atomic(bool) flag = false;
	uint64_t ids[4];
	pthread_t thread;

	weft_spawn(pause_for_flag, (void *)&flag);
	thread = start_thread(notify_it, (void *)&flag);
	ck_assert_int_eq(weft_run_until(weft_now() + 50 * WEFT_SECOND), 0);
	join_thread(thread);
	ck_assert_int_eq((int)weft_threads(ids, 4), 1);
	errno = 77;
	ck_assert_int_eq(weft_tasklet_notify(turning), -ESRCH);
	ck_assert_int_eq(weft_tasklet_notify((weft_tasklet){ .id = 0 }),
			 -ESRCH);
	ck_assert_int_eq(errno, 77);
}
END_TEST

static _Atomic(bool) signalled;

static int wait_sleep_a_bit(void *arg)
{
	(void)arg;
	return weft_sleep(300 * WEFT_MICROSECOND);
}

static void on_alarm(int number)
{
	(void)number;
	signalled = true;
	weft_tasklet_notify(turning);
}

/* In a handler, on the same thread, while it is parked, runs and switches. */
START_TEST(notify_in_a_handler)
{
	struct itimerval often = { { 0, 200 }, { 0, 200 } };
	struct sigaction action = { .sa_handler = on_alarm };

	ck_assert_int_eq(sigaction(SIGALRM, &action, NULL), 0);
	for (int i = 0; i < 200; i++) {
		signalled = false;
		is_there = false;
		turning = (weft_tasklet){ .id = 0 };
		weft_spawn(pause_for_flag, (void *)&signalled);
		if (_i)
			weft_spawn(wait_sleep_a_bit, NULL);
		weft_schedule();
		if (!i)
			setitimer(ITIMER_REAL, &often, NULL);
		/* A deadlock verdict does not know of signals. */
		while (weft_run() == -EDEADLK)
			;
	}
	setitimer(ITIMER_REAL, &(struct itimerval){ { 0, 0 }, { 0, 0 } }, NULL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("control");

	add_loop(s, "kill", kill_ends_every_wait, N_ELEMENTS(waits));
	add_loop(s, "raise", raise_ends_every_wait_once, N_ELEMENTS(waits));
	add_loop(s, "foreign", foreign_kill_ends_every_wait,
		 N_ELEMENTS(waits) - 1);
	add_case(s, "arguments", arguments_are_checked, raise_of_any_number);
	add_case(s, "refusers", refuser_does_not_freeze_its_thread);
	add_loop(s, "block trap", block_trap_refuses_to_wait,
		 N_ELEMENTS(blocking));
	add_loop(s, "switch trap", switch_trap_refuses_to_switch,
		 N_ELEMENTS(waits));
	add_loop(s, "remove", remove_from_another_thread, 2);
	add_loop(s, "remove", remove_found_in_a_send, 2);
	add_loop(s, "remove, run", remove_found_in_a_run, 2);
	add_case(s, "remove", remove_taken_in_by_another_call,
		 remove_of_one_that_waits_then, remove_and_kill,
		 remove_of_others_from_another_thread);
	add_case(s, "notify", notify_from_a_bare_thread);
	add_loop(s, "notify", notify_in_a_handler, 2);
	add_case(s, "callbacks", schedule_callback_may_not_switch,
		 schedule_callback_may_kill, schedule_callback_may_spawn,
		 channel_callback_may_not_wait);
	return run_suite(s);
}
