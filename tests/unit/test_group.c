/* SPDX-License-Identifier: MIT */
/*
 * Groups: what a wait returns, and when; who is killed; that nobody is left or
 * counted twice, however a member comes to its end.
 */
#include <check.h>
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "allocation.h"
#include "support.h"

static weft_group *g;
static weft_channel *x;

static void make_all(void)
{
	g = weft_group_new();
	x = weft_channel_new(0, 0);
	ck_assert_ptr_nonnull(g);
}

static int zero;

static int give(void *result)
{
	return *(int *)result;
}

static _Atomic(int) n_canceled;

static int receive_x(void *arg)
{
	int rc = weft_channel_receive(x, NULL);

	(void)arg;
	n_canceled += rc == -ECANCELED;
	return rc;
}

static int late_minus_5(void *arg)
{
	(void)arg;
	weft_schedule();
	return -5;
}

static void spawn_receivers(int n)
{
	while (n--)
		ck_assert(!weft_tasklet_is_null(
			weft_group_spawn(g, receive_x, NULL)));
}

static weft_tasklet spawn_on(uint64_t thread, weft_fn fn, void *arg)
{
	return weft_group_spawn_with(
		g, &(struct weft_tasklet_options){ .thread = thread }, fn, arg);
}

/* --- another thread --- */

static uint64_t other_id;
static weft_channel *gate;

static int stay(void *arg)
{
	(void)arg;
	return weft_channel_receive(gate, NULL);
}

static void start_other(void)
{
	gate = weft_channel_new(0, 0);
	ck_assert_int_eq(weft_thread_start(&other_id, stay, NULL), 0);
}

static void end_other(void)
{
	ck_assert_int_eq(weft_channel_send(gate, NULL), 0);
	ck_assert_int_eq(weft_thread_join(other_id), 0);
}

/* --- results --- */

START_TEST(wait_of_an_empty_group)
{
	make_all();
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
	weft_group_free(NULL);
}
END_TEST

START_TEST(wait_of_those_that_succeed)
{
	int results[] = { 0, 3, 0 };

	make_all();
	for (int i = 0; i < 3; i++)
		weft_group_spawn(g, give, &results[i]);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* Not that of the oldest, and not the last. */
START_TEST(first_failure_in_time)
{
	int results[] = { 0, -7, -9 };

	make_all();
	weft_group_spawn(g, late_minus_5, NULL);
	for (int i = 0; i < 3; i++)
		weft_group_spawn(g, give, &results[i]);
	ck_assert_int_eq(weft_group_wait(g), -7);
	weft_group_free(g);
}
END_TEST

/* Also with the end before the wait, and after it. */
START_TEST(wait_resets_the_result)
{
	int result = -7;

	make_all();
	weft_group_spawn(g, give, &result);
	weft_run();
	ck_assert_int_eq(weft_group_wait(g), -7);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_spawn(g, late_minus_5, NULL);
	ck_assert_int_eq(weft_group_wait(g), -5);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

START_TEST(failure_leaves_siblings_alone)
{
	int result = -7;

	make_all();
	spawn_receivers(1);
	weft_group_spawn(g, give, &result);
	weft_pump();
	ck_assert_int_eq(weft_channel_balance(x), -1);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	ck_assert_int_eq(weft_group_wait(g), -7);
	ck_assert_int_eq(n_canceled, 0);
	weft_group_free(g);
}
END_TEST

static int exit_with_6(void *arg)
{
	(void)arg;
	weft_exit(-6);
}

START_TEST(exit_counts)
{
	make_all();
	weft_group_spawn(g, exit_with_6, NULL);
	ck_assert_int_eq(weft_group_wait(g), -6);
	weft_group_free(g);
}
END_TEST

static int join_it(void *t)
{
	return weft_tasklet_join(*(weft_tasklet *)t);
}

/* A member can be joined like any other. */
START_TEST(members_can_be_joined)
{
	weft_tasklet member, joiner;
	int result = -7;

	make_all();
	member = weft_group_spawn(g, give, &result);
	joiner = weft_spawn(join_it, &member);
	ck_assert_int_eq(weft_tasklet_join(joiner), -ESRCH);
	member = weft_group_spawn(g, late_minus_5, NULL);
	joiner = weft_spawn(join_it, &member);
	ck_assert_int_eq(weft_tasklet_join(joiner), -5);
	ck_assert_int_eq(weft_group_wait(g), -7);
	weft_group_free(g);
}
END_TEST

/* --- kill --- */

START_TEST(kill_through_the_group_does_not_count)
{
	make_all();
	spawn_receivers(3);
	weft_pump();
	spawn_receivers(2); /* that never run */
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert_int_eq(n_canceled, 3);
	weft_group_free(g);
}
END_TEST

START_TEST(single_kill_counts)
{
	weft_tasklet t;

	make_all();
	spawn_receivers(1);
	t = weft_group_spawn(g, receive_x, NULL);
	if (_i)
		weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), -ECANCELED);
	ck_assert_int_eq(n_canceled, _i ? 2 : 0);
	weft_group_free(g);
}
END_TEST

static int own_error_when_killed(void *arg)
{
	weft_channel_receive(x, NULL);
	return *(int *)arg;
}

/* What a killed member makes of it is its result. */
START_TEST(other_errors_of_killed_ones_count)
{
	int result = -9;

	make_all();
	spawn_receivers(1);
	weft_group_spawn(g, own_error_when_killed, &result);
	weft_pump();
	weft_group_kill(g);
	ck_assert_int_eq(weft_group_wait(g), -9);
	weft_group_free(g);
}
END_TEST

/* Killed like the others, and the call itself succeeds. */
static int kill_own_group(void *rc)
{
	((int *)rc)[0] = weft_group_kill(g);
	((int *)rc)[1] = weft_sleep(0);
	return ((int *)rc)[1];
}

START_TEST(kill_by_a_member)
{
	int rc[2] = { 1, 1 };

	make_all();
	spawn_receivers(2);
	weft_group_spawn(g, kill_own_group, rc);
	spawn_receivers(2);
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert_int_eq(rc[0], 0);
	ck_assert_int_eq(rc[1], -ECANCELED);
	ck_assert_int_eq(n_canceled, 2);
	weft_group_free(g);
}
END_TEST

static int order[8];
static int n_ended;

static int note_the_end(void *number)
{
	weft_channel_receive(x, NULL);
	order[n_ended++] = (int)(uintptr_t)number;
	return 0;
}

START_TEST(kill_in_the_order_of_creation)
{
	static const int expected[] = { 0, 4, 1, 2, 3, 5, 6, 7 };
	weft_tasklet members[8];

	make_all();
	for (uintptr_t i = 0; i < 8; i++)
		members[i] = weft_group_spawn(g, note_the_end, (void *)i);
	weft_pump();
	/* gaps, and the first */
	weft_tasklet_kill(members[0], 0);
	weft_tasklet_kill(members[4], 0);
	weft_group_kill(g);
	weft_group_wait(g);
	ck_assert_mem_eq(order, expected, sizeof order);
	weft_group_free(g);
}
END_TEST

static int spawn_for_ever(void *arg)
{
	(void)arg;
	while (weft_schedule() == 0)
		;
	/* Its successor is not killed with it. */
	weft_group_spawn(g, receive_x, NULL);
	return 0;
}

START_TEST(kill_spares_those_that_come_later)
{
	make_all();
	for (int i = 0; i < 3; i++)
		weft_group_spawn(g, spawn_for_ever, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_group_kill(g), 0);
	weft_pump();
	ck_assert_int_eq(weft_channel_balance(x), -3);
	for (int i = 0; i < 3; i++)
		weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert_int_eq(n_canceled, 0);
	weft_group_free(g);
}
END_TEST

/* Each is looked at once: with a search per member this takes minutes. */
START_TEST(kill_of_very_many)
{
	int n = many_tasklets(200000);

	make_all();
	spawn_receivers(n);
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert_int_eq(n_canceled, 0);
	weft_group_free(g);
}
END_TEST

/* Created and never inserted. */
START_TEST(kill_of_a_paused_one)
{
	weft_tasklet t;

	make_all();
	t = weft_group_spawn_with(
		g, &(struct weft_tasklet_options){ .paused = true }, receive_x,
		NULL);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_PAUSED);
	weft_group_kill(g);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_RUNNABLE);
	ck_assert_int_eq(weft_group_wait(g), 0);
	ck_assert(!weft_tasklet_alive(t));
	weft_group_free(g);
}
END_TEST

/* --- a wait that is interrupted --- */

static weft_tasklet waiter;
static int waited[2];

static int wait_for_g(void *arg)
{
	(void)arg;
	waited[0] = weft_group_wait(g);
	waited[1] = weft_channel_balance(x);
	return waited[0];
}

START_TEST(killed_waiter_ends_the_members)
{
	make_all();
	spawn_receivers(3);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	ck_assert_int_eq(weft_channel_balance(x), -3);
	ck_assert_int_eq(weft_tasklet_kill(waiter, _i ? WEFT_PENDING : 0), 0);
	ck_assert_int_eq(weft_tasklet_join(waiter), -ECANCELED);
	ck_assert_int_eq(waited[1], 0);
	ck_assert_int_eq(n_canceled, 3);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

static int kill_self_and_wait(void *trap)
{
	weft_tasklet_kill(weft_current(), 0);
	weft_set_block_trap(trap != NULL);
	return wait_for_g(NULL);
}

/* A block trap does not hinder it. */
START_TEST(killed_before_it_waits)
{
	make_all();
	spawn_receivers(3);
	weft_pump();
	waiter = weft_spawn(kill_self_and_wait, _i ? &waiter : NULL);
	ck_assert_int_eq(weft_tasklet_join(waiter), -ECANCELED);
	ck_assert_int_eq(waited[1], 0);
	ck_assert_int_eq(n_canceled, 3);
	weft_group_free(g);
}
END_TEST

START_TEST(killed_with_no_member_left)
{
	int result = -7;

	make_all();
	weft_group_spawn(g, give, &result);
	weft_run();
	waiter = weft_spawn(kill_self_and_wait, NULL);
	ck_assert_int_eq(weft_tasklet_join(waiter), -ECANCELED);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

static int wait_with_limit(void *when)
{
	struct weft_deadline d;
	int rc;

	weft_deadline_begin(&d, *(int64_t *)when);
	rc = weft_group_wait(g);
	waited[1] = weft_channel_balance(x);
	if (!weft_deadline_end(&d) || weft_sleep(0))
		return 1;
	return rc;
}

/* At entry, and by its timer. */
START_TEST(out_of_time_ends_the_members)
{
	int64_t when = _i ? weft_now() + 2 * WEFT_MILLISECOND : 0;

	make_all();
	spawn_receivers(3);
	weft_pump();
	ck_assert_int_eq(wait_with_limit(&when), -ETIMEDOUT);
	ck_assert_int_eq(waited[1], 0);
	ck_assert_int_eq(n_canceled, 3);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* A main tasklet is killed by that. */
START_TEST(raised_ecanceled_is_a_kill)
{
	make_all();
	spawn_receivers(2);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(waiter, ECANCELED, 0), 0);
	weft_tasklet_join(waiter);
	ck_assert_int_eq(waited[0], -ECANCELED);
	ck_assert_int_eq(waited[1], 0);
	weft_group_free(g);
}
END_TEST

START_TEST(raise_leaves_the_members)
{
	make_all();
	spawn_receivers(2);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(waiter, EINTR, 0), 0);
	ck_assert_int_eq(waited[0], -EINTR);
	ck_assert_int_eq(waited[1], -2);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	weft_channel_send(x, NULL);
	weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_tasklet_join(waiter), 0);
	ck_assert_int_eq(n_canceled, 0);
	weft_group_free(g);
}
END_TEST

static int linger(void *arg)
{
	(void)arg;
	weft_channel_receive(x, NULL);
	weft_shield_begin();
	for (int i = 0; i < 5; i++)
		weft_sleep(100 * WEFT_MICROSECOND);
	weft_shield_end();
	n_ended++;
	return 0;
}

static int refused;

static int spawn_when_killed(void *arg)
{
	weft_tasklet t;

	weft_channel_receive(x, NULL);
	t = weft_group_spawn(g, receive_x, arg);
	refused = weft_tasklet_is_null(t) ? errno : 0;
	return 0;
}

/* However often it is killed meanwhile; and nobody joins them. */
START_TEST(killed_waiter_waits_for_those_that_linger)
{
	make_all();
	weft_group_spawn(g, linger, NULL);
	weft_group_spawn(g, spawn_when_killed, NULL);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	weft_tasklet_kill(waiter, 0);
	for (int i = 0; i < 3; i++) {
		weft_tasklet_kill(waiter, 0);
		weft_tasklet_raise(waiter, EINTR, 0);
	}
	ck_assert_int_eq(weft_tasklet_join(waiter), -ECANCELED);
	ck_assert_int_eq(n_ended, 1);
	ck_assert_int_eq(refused, ECANCELED);
	/* and after that it is as ever */
	weft_group_spawn(g, late_minus_5, NULL);
	ck_assert_int_eq(weft_group_wait(g), -5);
	weft_group_free(g);
}
END_TEST

/* A result of members that looks like an interruption is none. */
START_TEST(results_that_look_like_interruptions)
{
	int result = _i ? -ETIMEDOUT : -ECANCELED;

	make_all();
	weft_group_spawn(g, own_error_when_killed, &result);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	/* The waiter is served, and before it runs there are others. */
	weft_channel_send(x, NULL);
	spawn_receivers(1);
	weft_pump();
	ck_assert_int_eq(waited[0], result);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* It was served before it was killed: the result comes first. */
START_TEST(served_before_it_is_killed)
{
	int result = -7;

	make_all();
	weft_group_spawn(g, give, &result);
	waiter = weft_group_spawn(g, receive_x, NULL);
	weft_tasklet_kill(waiter, 0);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_tasklet_run(waiter);
	weft_pump();
	ck_assert_int_eq(waited[0], -ECANCELED);
	ck_assert(!weft_tasklet_alive(waiter));
	weft_group_free(g);
}
END_TEST

/* --- what is refused --- */

static int wait_for_own_group(void *rc)
{
	*(int *)rc = weft_group_wait(g);
	return 0;
}

static int kill_self_and_wait_for_own(void *rc)
{
	weft_tasklet_kill(weft_current(), 0);
	return wait_for_own_group(rc);
}

START_TEST(member_waits_for_its_own)
{
	int rc[2];

	make_all();
	spawn_receivers(1);
	weft_group_spawn(g, wait_for_own_group, &rc[0]);
	weft_group_spawn(g, kill_self_and_wait_for_own, &rc[1]);
	weft_pump();
	ck_assert_int_eq(rc[0], -EDEADLK);
	ck_assert_int_eq(rc[1], -ECANCELED);
	ck_assert_int_eq(weft_channel_balance(x), -1);
	weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* Of another group, it may. */
START_TEST(groups_nest)
{
	weft_group *outer = weft_group_new();

	make_all();
	spawn_receivers(2);
	weft_group_spawn(outer, wait_for_g, NULL);
	weft_pump();
	weft_group_kill(outer);
	ck_assert_int_eq(weft_group_wait(outer), 0);
	ck_assert_int_eq(waited[0], -ECANCELED);
	ck_assert_int_eq(n_canceled, 2);
	weft_group_free(outer);
	weft_group_free(g);
}
END_TEST

START_TEST(traps)
{
	make_all();
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_group_wait(g), 0);
	spawn_receivers(1);
	ck_assert_int_eq(weft_group_wait(g), -EAGAIN);
	weft_set_block_trap(false);
	weft_switch_trap(1);
	ck_assert_int_eq(weft_group_wait(g), -EPERM);
	weft_set_block_trap(true); /* with both it is the block trap */
	ck_assert_int_eq(weft_group_wait(g), -EAGAIN);
	weft_set_block_trap(false);
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), -EPERM);
	weft_switch_trap(-1);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

static int wait_trapped_and_killed(void *arg)
{
	weft_tasklet_kill(weft_current(), 0);
	weft_switch_trap(1);
	waited[1] = weft_group_wait(g);
	waited[0] = weft_channel_balance(x);
	weft_switch_trap(-1);
	(void)arg;
	return weft_group_wait(g);
}

/* The members cannot be waited for, so they are not killed either. */
START_TEST(trap_before_a_kill)
{
	make_all();
	spawn_receivers(2);
	weft_pump();
	waiter = weft_spawn(wait_trapped_and_killed, NULL);
	ck_assert_int_eq(weft_tasklet_join(waiter), -ECANCELED);
	ck_assert_int_eq(waited[1], -EPERM);
	ck_assert_int_eq(waited[0], -2);
	ck_assert_int_eq(n_canceled, 2);
	weft_group_free(g);
}
END_TEST

START_TEST(arguments_are_checked)
{
	weft_tasklet t;

	make_all();
	ck_assert_int_eq(weft_group_wait(NULL), -EINVAL);
	ck_assert_int_eq(weft_group_kill(NULL), -EINVAL);
	t = weft_group_spawn(NULL, receive_x, NULL);
	ck_assert(weft_tasklet_is_null(t) && errno == EINVAL);
	t = weft_group_spawn(g, NULL, NULL);
	ck_assert(weft_tasklet_is_null(t) && errno == EINVAL);
	t = weft_group_spawn_with(
		g, &(struct weft_tasklet_options){ .stack_size = SIZE_MAX },
		receive_x, NULL);
	ck_assert(weft_tasklet_is_null(t) && errno == EINVAL);
	t = spawn_on(1000, receive_x, NULL);
	ck_assert(weft_tasklet_is_null(t) && errno == ESRCH);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* Nothing is left of a member for which there was no memory: for its record, or
 * for its place in the ring. */
START_TEST(no_memory)
{
	weft_group *none;
	weft_tasklet t;
	int errors[3];
	int n = 0;

	make_all();
	fail_allocations_after(0);
	none = weft_group_new();
	errors[0] = errno;
	t = weft_group_spawn(g, receive_x, NULL);
	errors[1] = errno;
	fail_allocations_after(-1);
	ck_assert(!none && errors[0] == ENOMEM);
	ck_assert(weft_tasklet_is_null(t) && errors[1] == ENOMEM);
	ck_assert_int_eq(weft_group_wait(g), 0);

	do {
		fail_allocations_after(1);
		t = weft_group_spawn(g, receive_x, NULL);
		errors[2] = errno;
		fail_allocations_after(-1);
	} while (!weft_tasklet_is_null(t) && ++n < 1000);
	ck_assert(weft_tasklet_is_null(t) && errors[2] == ENOMEM);
	weft_group_kill(g);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* --- free --- */

START_TEST(free_ends_the_members)
{
	make_all();
	spawn_receivers(2);
	weft_group_spawn(g, linger, NULL);
	weft_pump();
	spawn_receivers(2);
	weft_group_free(g);
	ck_assert_int_eq(n_canceled, 2);
	ck_assert_int_eq(n_ended, 1);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

static int kill_self_and_free(void *arg)
{
	(void)arg;
	weft_tasklet_kill(weft_current(), 0);
	weft_group_free(g);
	return n_ended;
}

START_TEST(killed_one_frees)
{
	make_all();
	weft_group_spawn(g, linger, NULL);
	weft_pump();
	ck_assert_int_eq(
		weft_tasklet_join(weft_spawn(kill_self_and_free, NULL)), 1);
}
END_TEST

static int free_own_group(void *arg)
{
	(void)arg;
	weft_group_free(g);
	return 0;
}

static int free_by_a_member(void)
{
	make_all();
	weft_group_spawn(g, free_own_group, NULL);
	return weft_group_wait(g);
}

static int free_while_waited_for(void)
{
	make_all();
	spawn_receivers(1);
	weft_spawn(wait_for_g, NULL);
	weft_schedule();
	weft_group_free(g);
	weft_pump();
	return 0;
}

static int free_under_a_trap(void)
{
	make_all();
	spawn_receivers(1);
	weft_schedule();
	weft_switch_trap(1);
	weft_group_free(g);
	return 0;
}

static int ignore_kill(void *arg)
{
	(void)arg;
	weft_shield_begin();
	return weft_channel_receive(x, NULL);
}

static int free_of_those_that_cannot_end(void)
{
	make_all();
	weft_group_spawn(g, ignore_kill, NULL);
	weft_schedule();
	weft_group_free(g);
	return 0;
}

static const struct {
	int (*body)(void);
	const char *message;
} misuses[] = {
	{ free_by_a_member, "by a member" },
	{ free_under_a_trap, "must not switch" },
	{ free_of_those_that_cannot_end, "can never end" },
};

START_TEST(misuse_stops_the_process)
{
	char errors[1024];

	ck_assert_int_eq(in_child(misuses[_i].body, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_msg(strstr(errors, misuses[_i].message), "%s", errors);
}
END_TEST

/* The other one who waits is served with it, so nobody is left in the wait. */
START_TEST(free_serves_those_who_wait)
{
	char errors[1024];

	ck_assert_int_eq(in_child(free_while_waited_for, errors, sizeof errors),
			 0);
}
END_TEST

/* --- threads --- */

START_TEST(members_on_another_thread)
{
	int result = -7;

	make_all();
	start_other();
	for (int i = 0; i < 4; i++)
		ck_assert(spawn_on(i % 2 ? other_id : 0, receive_x, NULL).id);
	ck_assert(spawn_on(other_id, give, &result).id);
	while (weft_channel_balance(x) > -4)
		weft_schedule();
	for (int i = 0; i < 4; i++)
		weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_group_wait(g), -7);
	end_other();
	weft_group_free(g);
}
END_TEST

/* Killed before they have been taken in, too. */
START_TEST(kill_on_another_thread)
{
	make_all();
	start_other();
	for (int i = 0; i < 100; i++)
		ck_assert(spawn_on(other_id, receive_x, NULL).id);
	ck_assert_int_eq(weft_group_kill(g), 0);
	ck_assert_int_eq(weft_group_wait(g), 0);
	end_other();
	weft_group_free(g);
}
END_TEST

static void *wait_there(void *rc)
{
	*(int *)rc = weft_group_wait(g);
	return NULL;
}

/* Several at once, of several threads: one result for all. */
START_TEST(all_who_wait_get_the_result)
{
	pthread_t threads[3];
	int rc[3] = { 1, 1, 1 };

	make_all();
	weft_group_spawn(g, own_error_when_killed, &(int){ -9 });
	weft_spawn(wait_for_g, NULL);
	weft_pump();
	for (int i = 0; i < 3; i++)
		threads[i] = start_thread(wait_there, &rc[i]);
	for (int i = 0; i < 3; i++) {
		uint64_t ids[4];

		while (weft_threads(ids, 4) < 4)
			usleep(100);
		until_parked(ids[i + 1]);
	}
	weft_channel_send(x, NULL);
	for (int i = 0; i < 3; i++) {
		join_thread(threads[i]);
		ck_assert_int_eq(rc[i], -9);
	}
	weft_run();
	ck_assert_int_eq(waited[0], -9);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

static void *leave_members(void *arg)
{
	(void)arg;
	/* blocked, fresh, paused, and one that will not end in time */
	weft_group_spawn(g, receive_x, NULL);
	weft_group_spawn(g, ignore_kill, NULL);
	weft_pump();
	weft_group_spawn(g, receive_x, NULL);
	weft_group_spawn_with(g,
			      &(struct weft_tasklet_options){ .paused = true },
			      receive_x, NULL);
	return NULL;
}

/* Whatever becomes of them, they come out of the group. */
START_TEST(thread_with_members_ends)
{
	make_all();
	join_thread(start_thread(leave_members, NULL));
	ck_assert_int_eq(weft_group_wait(g), -ECANCELED);
	weft_group_free(g);
}
END_TEST

/* It waits, and its thread ends. */
static void *leave_a_waiter(void *arg)
{
	(void)arg;
	weft_group_spawn(g, receive_x, NULL);
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	return NULL;
}

START_TEST(thread_with_a_waiter_ends)
{
	make_all();
	join_thread(start_thread(leave_a_waiter, NULL));
	ck_assert_int_eq(waited[0], -ECANCELED);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

/* Into a thread that is about to end: each is refused, or comes out again. */
static void *end_soon(void *id)
{
	__atomic_store_n((uint64_t *)id, weft_thread_id(), __ATOMIC_RELEASE);
	return NULL;
}

START_TEST(spawn_into_a_thread_that_ends)
{
	make_all();
	for (int i = 0; i < 200; i++) {
		uint64_t id = 0;
		pthread_t thread = start_thread(end_soon, &id);

		while (!__atomic_load_n(&id, __ATOMIC_ACQUIRE))
			;
		while (spawn_on(id, give, &zero).id)
			;
		ck_assert_int_eq(errno, ESRCH);
		join_thread(thread);
		(void)weft_group_wait(g);
	}
	weft_group_free(g);
}
END_TEST

/* --- other loops, deadlock, fork --- */

/* What drives the thread from outside learns of it. */
START_TEST(embedding_is_told)
{
	struct pollfd polled = { .fd = weft_fd(), .events = POLLIN };

	make_all();
	weft_pump();
	ck_assert_int_eq(poll(&polled, 1, 0), 0);
	weft_group_spawn(g, receive_x, NULL);
	ck_assert_int_eq(poll(&polled, 1, 0), 1);
	weft_pump();
	ck_assert_int_eq(poll(&polled, 1, 0), 0);
	weft_group_kill(g);
	ck_assert_int_eq(poll(&polled, 1, 0), 1);
	weft_pump();
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
}
END_TEST

static int wait_for_ever(void)
{
	make_all();
	weft_group_spawn(g, receive_x, NULL);
	EXPECT(weft_group_wait(g) == -EDEADLK);
	EXPECT(weft_channel_balance(x) == -1);
	/* it can be made again */
	weft_channel_send(x, NULL);
	EXPECT(weft_group_wait(g) == 0);
	weft_group_free(g);
	return 0;
}

START_TEST(deadlock)
{
	char errors[4096];

	setenv("WEFT_DEADLOCK", "report", 1);
	ck_assert_int_eq(in_child(wait_for_ever, errors, sizeof errors), 0);
	ck_assert_msg(strstr(errors, "waits for group"), "%s", errors);
	ck_assert_msg(strstr(errors, "1 left"), "%s", errors);
}
END_TEST

/* Killed, and its members cannot end: that is a deadlock as well. */
static int cannot_be_ended(void)
{
	make_all();
	weft_group_spawn(g, ignore_kill, NULL);
	weft_pump();
	weft_tasklet_kill(weft_main(), 0);
	weft_tasklet_raise(weft_main(), ECANCELED, 0);
	waiter = weft_spawn(kill_self_and_wait, NULL);
	EXPECT(weft_run() == -EDEADLK);
	weft_channel_send(x, NULL);
	EXPECT(weft_run() == 0);
	EXPECT(waited[0] == -ECANCELED);
	weft_group_free(g);
	return 0;
}

START_TEST(deadlock_of_one_who_was_killed)
{
	char errors[4096];
	int rc;

	rc = in_child(cannot_be_ended, errors, sizeof errors);
	ck_assert_msg(rc == 0, "%d %s", rc, errors);
}
END_TEST

static int fork_with_members(bool foreign)
{
	pid_t pid;
	int status;

	make_all();
	spawn_receivers(2);
	if (foreign) {
		start_other();
		spawn_on(other_id, receive_x, NULL);
		while (weft_channel_balance(x) > -3)
			weft_schedule();
	}
	waiter = weft_spawn(wait_for_g, NULL);
	weft_pump();
	pid = fork();
	if (pid == 0) {
		/* those of this thread are still there, and only they */
		EXPECT(weft_channel_balance(x) == -2);
		weft_channel_send(x, NULL);
		weft_channel_send(x, NULL);
		EXPECT(weft_run() == 0);
		EXPECT(waited[0] == (foreign ? -ECANCELED : 0));
		weft_group_spawn(g, late_minus_5, NULL);
		EXPECT(weft_group_wait(g) == -5);
		weft_group_free(g);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	for (int i = 0; i < 2 + foreign; i++)
		weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_tasklet_join(waiter), 0);
	if (foreign)
		end_other();
	weft_group_free(g);
	return 0;
}

START_TEST(fork_keeps_the_groups)
{
	fork_with_members(_i);
}
END_TEST

/* While another thread does all that can be done to one. */
static _Atomic(bool) must_stop;

static void *use_groups(void *arg)
{
	weft_group *shared = arg;

	while (!must_stop) {
		weft_group *own = weft_group_new();

		for (int i = 0; i < 3; i++) {
			weft_group_spawn(own, give, &zero);
			weft_group_spawn(shared, give, &zero);
		}
		weft_group_wait(shared);
		weft_group_free(own);
	}
	return NULL;
}

START_TEST(fork_at_any_moment)
{
	pthread_t user;

	if (lacks_fork_with_threads())
		return;
	make_all();
	user = start_thread(use_groups, g);
	for (int i = 0; i < 100; i++) {
		int status;
		pid_t pid = fork();

		if (pid == 0) {
			int rc;

			alarm(20);
			rc = weft_group_wait(g);
			EXPECT(rc == 0 || rc == -ECANCELED);
			weft_group_spawn(g, late_minus_5, NULL);
			EXPECT(weft_group_wait(g) == -5);
			weft_group_free(g);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
	must_stop = true;
	join_thread(user);
	weft_group_free(g);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("group");

	add_case(s, "results", wait_of_an_empty_group,
		 wait_of_those_that_succeed, first_failure_in_time,
		 wait_resets_the_result, failure_leaves_siblings_alone,
		 exit_counts, members_can_be_joined);
	add_case(s, "kill", kill_through_the_group_does_not_count,
		 other_errors_of_killed_ones_count, kill_by_a_member,
		 kill_in_the_order_of_creation,
		 kill_spares_those_that_come_later, kill_of_very_many,
		 kill_of_a_paused_one);
	add_loop(s, "kill of one", single_kill_counts, 2);
	add_loop(s, "killed waiter", killed_waiter_ends_the_members, 2);
	add_loop(s, "killed before", killed_before_it_waits, 2);
	add_loop(s, "out of time", out_of_time_ends_the_members, 2);
	add_loop(s, "look alike", results_that_look_like_interruptions, 2);
	add_case(s, "interruptions", killed_with_no_member_left,
		 raised_ecanceled_is_a_kill, raise_leaves_the_members,
		 killed_waiter_waits_for_those_that_linger,
		 served_before_it_is_killed);
	add_case(s, "refusals", member_waits_for_its_own, groups_nest, traps,
		 trap_before_a_kill, arguments_are_checked, no_memory);
	add_case(s, "free", free_ends_the_members, killed_one_frees,
		 free_serves_those_who_wait);
	add_loop(s, "misuse", misuse_stops_the_process, N_ELEMENTS(misuses));
	add_case(s, "threads", members_on_another_thread,
		 kill_on_another_thread, all_who_wait_get_the_result,
		 thread_with_members_ends, thread_with_a_waiter_ends,
		 spawn_into_a_thread_that_ends);
	add_case(s, "other loops", embedding_is_told);
	add_case(s, "deadlock", deadlock, deadlock_of_one_who_was_killed);
	/* see test_fork.c */
	if (!UNDER_TSAN) {
		add_loop(s, "fork", fork_keeps_the_groups, 2);
		/* and for Valgrind, what the other thread had is lost */
		if (!is_under_valgrind())
			add_case(s, "fork at any moment", fork_at_any_moment);
	}
	return run_suite(s);
}
