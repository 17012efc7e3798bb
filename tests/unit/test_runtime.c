/* SPDX-License-Identifier: MIT */
/*
 * What a language runtime needs: <weft/embed.h>.
 */
#include <check.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static int n_done;
static int result;

static int receive_x(void *arg)
{
	result = weft_channel_receive(x, NULL);
	if (arg)
		*(int *)arg = ++n_done;
	return 0;
}

static int count_up(void *arg)
{
	*(int *)arg = ++n_done;
	return 0;
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static weft_tasklet spawn_paused(weft_fn fn, void *arg)
{
	struct weft_tasklet_options o = { .paused = true };

	return weft_spawn_with(&o, fn, arg);
}

/* Of another thread, when that of @id has nothing left but to park. */
static void *send_to_x(void *id)
{
	until_parked(*(uint64_t *)id);
	weft_channel_send(x, NULL);
	return NULL;
}

/* --- the park callback --- */

static int n_parking, n_back, schedule_there, runcount_back;

static void note_park(bool parking, void *ctx)
{
	ck_assert_ptr_eq(ctx, &x);
	if (parking) {
		n_parking++;
		schedule_there = weft_schedule();
	} else {
		n_back++;
		runcount_back = (int)weft_runcount();
	}
}

/* It is called in pairs, may not switch, and is told that the thread is back before
 * anything that was handed in is there. */
START_TEST(park_callback_comes_in_pairs)
{
	uint64_t id = weft_thread_id();
	pthread_t thread;

	x = weft_channel_new(0, 0);
	weft_set_park_callback(note_park, &x);
	pthread_create(&thread, NULL, send_to_x, &id);
	ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_int_ge(n_parking, 1);
	ck_assert_int_eq(n_back, n_parking);
	ck_assert_int_eq(schedule_there, -EPERM);

	/* nothing parks that has something to run */
	n_parking = 0;
	weft_spawn(nothing, NULL);
	weft_run();
	ck_assert_int_eq(n_parking, 0);

	weft_set_park_callback(NULL, NULL);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(n_parking, 0);
}
END_TEST

static weft_tasklet inserted;
static unsigned seen_at_return;

static void count_runnable(bool parking, void *ctx)
{
	unsigned *n = ctx;

	if (!parking && weft_tasklet_state(inserted) == WEFT_PAUSED)
		++*n;
}

static void *insert_it(void *id)
{
	until_parked(*(uint64_t *)id);
	weft_tasklet_insert(inserted);
	return NULL;
}

START_TEST(back_comes_before_what_was_handed_in)
{
	uint64_t id = weft_thread_id();
	pthread_t thread;
	int place = 0;

	inserted = spawn_paused(count_up, &place);
	weft_set_park_callback(count_runnable, &seen_at_return);
	pthread_create(&thread, NULL, insert_it, &id);
	ck_assert_int_eq(weft_run(), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(place, 1);
	ck_assert_uint_ge(seen_at_return, 1);
}
END_TEST

static volatile sig_atomic_t n_signals;

static void on_signal(int sig)
{
	(void)sig;
	n_signals = 1;
}

static void raise_if_signalled(bool parking, void *ctx)
{
	(void)ctx;
	if (!parking && n_signals)
		result = weft_tasklet_raise(weft_main(), EINTR, WEFT_PENDING);
}

static atomic_bool is_told;

/* One that comes before the sleep ends none. */
static void *signal_main(void *main_thread)
{
	struct timespec ts = { .tv_nsec = 20 * 1000 * 1000 };

	do {
		nanosleep(&ts, NULL);
		pthread_kill(*(pthread_t *)main_thread, SIGUSR1);
	} while (!is_told);
	return NULL;
}

/* A signal ends the sleep, and the callback can raise an error for it. */
START_TEST(callback_after_a_signal_can_raise)
{
	struct sigaction sa = { .sa_handler = on_signal };
	pthread_t thread, self = pthread_self();

	x = weft_channel_new(0, 0);
	sigaction(SIGUSR1, &sa, NULL);
	result = 1;
	weft_set_park_callback(raise_if_signalled, NULL);
	pthread_create(&thread, NULL, signal_main, &self);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EINTR);
	ck_assert_int_eq(result, 0);
	is_told = true;
	pthread_join(thread, NULL);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

static int n_left;
static atomic_bool is_parking;

static void leave_when_back(bool parking, void *ctx)
{
	(void)ctx;
	if (parking) {
		is_parking = true;
	} else {
		n_left++;
		pthread_exit(NULL);
	}
}

static int receive_and_count(void *arg)
{
	(void)arg;
	if (weft_channel_receive(x, NULL) == 0)
		n_done++;
	return 0;
}

static void *park_and_leave(void *arg)
{
	(void)arg;
	weft_set_park_callback(leave_when_back, NULL);
	weft_spawn(receive_and_count, NULL);
	weft_spawn(receive_and_count, NULL);
	weft_run();
	return NULL;
}

/* A thread that leaves from the callback has taken what was sent. */
START_TEST(callback_can_leave_the_thread)
{
	pthread_t thread;

	/* ThreadSanitizer lets no fiber call pthread_exit(), and AddressSanitizer
	 * does not follow it. */
	if (UNDER_TSAN || UNDER_ASAN)
		return;
	x = weft_channel_new(0, 0);
	/* Attached, or the other one may be the last that is, and look around. */
	weft_thread_id();
	pthread_create(&thread, NULL, park_and_leave, NULL);
	/* Else it may find what is sent without having parked. */
	while (!is_parking)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(weft_channel_balance(x), -2);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(n_left, 1);
	ck_assert_int_eq(n_done, 0);
	ck_assert_int_eq(weft_channel_balance(x), 0);
}
END_TEST

static atomic_int n_ends;

static void count_ends(bool parking, void *ctx)
{
	(void)ctx;
	n_ends += !parking;
}

static void *park_first(void *id)
{
	weft_set_park_callback(count_ends, NULL);
	*(_Atomic(uint64_t) *)id = weft_thread_id();
	ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	return NULL;
}

/* Not even that of the first thread which opens a ring, and tries what the kernel can. */
START_TEST(nothing_ends_a_sleep_without_need)
{
	struct timespec ts = { .tv_nsec = 50 * 1000 * 1000 };
	_Atomic(uint64_t) id = 0;
	pthread_t thread;

	if (is_under_valgrind()) {
		skip("a sleep is many there, in which the ring is looked at");
		return;
	}
	x = weft_channel_new(0, 0);
	weft_thread_id(); /* or the other one is the last, and looks around */
	pthread_create(&thread, NULL, park_first, &id);
	while (!id)
		sched_yield();
	until_parked(id);
	nanosleep(&ts, NULL);
	ck_assert_int_eq(n_ends, 0);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	pthread_join(thread, NULL);
	ck_assert_int_eq(n_ends, 1);
}
END_TEST

enum { N_SENT = 3000 };

static void raise_when_back(bool parking, void *ctx)
{
	(void)ctx;
	if (!parking)
		(void)weft_tasklet_raise(weft_main(), EINTR, WEFT_PENDING);
}

static void *send_numbers(void *arg)
{
	(void)arg;
	for (int64_t i = 0; i < N_SENT; i++)
		ck_assert_int_eq(weft_channel_send(x, &i), 0);
	return NULL;
}

/* A receiver that spins may have its element already when the callback calls its
 * wait off. */
START_TEST(callback_interrupts_a_spin)
{
	pthread_t thread;
	int64_t n = 0;

	x = weft_channel_new(sizeof n, 0);
	weft_set_park_callback(raise_when_back, NULL);
	pthread_create(&thread, NULL, send_numbers, NULL);
	while (n < N_SENT) {
		int64_t value = -1;
		int rc = weft_channel_receive(x, &value);

		if (rc == -EINTR)
			continue;
		ck_assert_int_eq(rc, 0);
		ck_assert_int_eq(value, n);
		n++;
	}
	pthread_join(thread, NULL);
}
END_TEST

/* --- the ring --- */

START_TEST(ring_is_in_order)
{
	weft_tasklet r[8], t[4];
	int places[4] = { 0 };

	ck_assert_uint_eq(weft_ring(NULL, 0), 1);
	for (int i = 0; i < 4; i++)
		t[i] = weft_spawn(count_up, &places[i]);
	ck_assert_int_eq(weft_tasklet_remove(t[1]), 0);
	ck_assert_uint_eq(weft_ring(r, 8), 4);
	ck_assert(weft_tasklet_equal(r[0], weft_main()));
	ck_assert(weft_tasklet_equal(r[1], t[0]));
	ck_assert(weft_tasklet_equal(r[2], t[2]));
	ck_assert(weft_tasklet_equal(r[3], t[3]));
	r[2] = weft_main();
	ck_assert_uint_eq(weft_ring(r, 2), 4);
	ck_assert(weft_tasklet_equal(r[1], t[0]));
	ck_assert(weft_tasklet_equal(r[2], weft_main()));

	/* the last becomes the first, a paused one too */
	ck_assert_int_eq(weft_tasklet_run_next(t[3]), 0);
	ck_assert_int_eq(weft_tasklet_run_next(t[1]), 0);
	ck_assert_int_eq(weft_tasklet_run_next(weft_main()), 0);
	ck_assert_int_eq(n_done, 0);
	weft_run();
	ck_assert_int_eq(places[1], 1);
	ck_assert_int_eq(places[3], 2);
	ck_assert_int_eq(places[0], 3);
	ck_assert_int_eq(places[2], 4);
	ck_assert_int_eq(weft_tasklet_run_next(t[0]), -ESRCH);
}
END_TEST

START_TEST(run_next_of_a_blocked_one)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	t = weft_spawn(receive_x, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_run_next(t), -EBUSY);
}
END_TEST

static int look_at_runner(void *arg)
{
	*(weft_tasklet *)arg = weft_runner();
	return 0;
}

static int pump_inside(void *arg)
{
	weft_tasklet *seen = arg;

	weft_spawn(look_at_runner, &seen[0]);
	weft_pump();
	seen[1] = weft_runner();
	return 0;
}

START_TEST(runner_is_the_innermost)
{
	weft_tasklet seen[2];
	weft_tasklet t = weft_spawn(pump_inside, seen);

	ck_assert(weft_tasklet_is_null(weft_runner()));
	weft_run();
	ck_assert(weft_tasklet_equal(seen[0], t));
	ck_assert(weft_tasklet_equal(seen[1], weft_main()));
	ck_assert(weft_tasklet_is_null(weft_runner()));
}
END_TEST

/* --- what is pending --- */

static int pending_there, taken_there, after_there;

static int take_own_pending(void *arg)
{
	(void)arg;
	weft_channel_receive(x, NULL);
	pending_there = weft_tasklet_pending(weft_current());
	taken_there = weft_tasklet_take_pending(weft_current());
	after_there = weft_schedule();
	return 0;
}

/* An error raised on a tasklet that has been served is for its next call, or for one
 * that takes it. */
START_TEST(pending_raise_can_be_taken)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	weft_channel_set_preference(x, 0);
	t = weft_spawn(take_own_pending, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_pending(t), 0);
	weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_tasklet_raise(t, ENOTTY, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_pending(t), -ENOTTY);
	weft_run();
	ck_assert_int_eq(pending_there, -ENOTTY);
	ck_assert_int_eq(taken_there, -ENOTTY);
	ck_assert_int_eq(after_there, 0);
	ck_assert_int_eq(weft_tasklet_pending(t), -ESRCH);
	ck_assert_int_eq(weft_tasklet_take_pending(t), -ESRCH);
}
END_TEST

static _Atomic(int) step;

static void *raise_on_main(void *t)
{
	while (atomic_load(&step) != 1)
		;
	weft_tasklet_raise(*(weft_tasklet *)t, ENOTTY, 0);
	atomic_store(&step, 2);
	return NULL;
}

/* Also one that is still on its way from another thread. */
START_TEST(pending_raise_of_another_thread)
{
	weft_tasklet self = weft_main();
	pthread_t thread;

	pthread_create(&thread, NULL, raise_on_main, &self);
	atomic_store(&step, 1);
	while (atomic_load(&step) != 2)
		;
	ck_assert_int_eq(weft_tasklet_take_pending(self), -ENOTTY);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(pending_kill_stays)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	weft_channel_set_preference(x, 0);
	t = weft_spawn(take_own_pending, NULL);
	weft_pump();
	weft_channel_send(x, NULL);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	weft_run();
	ck_assert_int_eq(taken_there, -ECANCELED);
	ck_assert_int_eq(after_there, -ECANCELED);
}
END_TEST

/* --- data, stacks --- */

static int own_data(void *arg)
{
	(void)arg;
	weft_set_tasklet_data(&n_done);
	weft_schedule_remove();
	result = weft_tasklet_data() == &result;
	return 0;
}

START_TEST(data_of_other_tasklets)
{
	weft_tasklet t = weft_spawn(own_data, &x);
	weft_channel *ch = weft_channel_new(0, 0);

	ck_assert_ptr_eq(weft_tasklet_data_of(t), &x);
	ck_assert_int_eq(weft_tasklet_set_data_of(t, &result), -EBUSY);
	weft_pump();
	ck_assert_ptr_eq(weft_tasklet_data_of(t), &n_done);
	ck_assert_int_eq(weft_tasklet_set_data_of(t, &result), 0);
	ck_assert_ptr_null(weft_tasklet_data_of(weft_main()));
	weft_tasklet_run(t);
	ck_assert_int_eq(result, 1);
	ck_assert_ptr_null(weft_tasklet_data_of(t));
	ck_assert_int_eq(weft_tasklet_set_data_of(t, NULL), -ESRCH);

	ck_assert_ptr_null(weft_channel_data(ch));
	weft_channel_set_data(ch, &x);
	ck_assert_ptr_eq(weft_channel_data(ch), &x);
	weft_channel_unref(ch);
	ch = weft_channel_new(0, 0);
	ck_assert_ptr_null(weft_channel_data(ch));
}
END_TEST

static int look_at_stack(void *arg)
{
	char here;
	void *low;
	size_t size;

	(void)arg;
	result = weft_tasklet_stack(weft_current(), &low, &size);
	if (!result && (&here < (char *)low || &here >= (char *)low + size))
		result = 1;
	weft_schedule_remove();
	return 0;
}

START_TEST(stack_is_where_locals_are)
{
	weft_tasklet t = weft_spawn(look_at_stack, NULL);
	void *low;
	size_t size;
	char here;

	ck_assert_int_eq(weft_tasklet_stack(t, &low, &size), -EAGAIN);
	result = 2;
	weft_pump();
	ck_assert_int_eq(result, 0);
	ck_assert_int_eq(weft_tasklet_stack(t, &low, &size), 0);
	ck_assert_uint_ge(size, 4096);
	ck_assert_int_eq(weft_tasklet_stack(t, NULL, &size), -EINVAL);
	weft_tasklet_run(t);
	ck_assert_int_eq(weft_tasklet_stack(t, &low, &size), -ESRCH);
	ck_assert_int_eq(weft_tasklet_stack(weft_main(), &low, &size), 0);
	if (!UNDER_ASAN) { /* its locals can be elsewhere */
		ck_assert(&here >= (char *)low);
		ck_assert(&here < (char *)low + size);
	}
}
END_TEST

static weft_tasklet foreign;
static _Atomic(int) foreign_step;

static int wait_on_foreign(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

static void *be_foreign(void *arg)
{
	(void)arg;
	foreign = weft_spawn(wait_on_foreign, NULL);
	weft_pump();
	atomic_store(&foreign_step, 1);
	weft_run();
	return NULL;
}

START_TEST(another_threads_tasklet)
{
	pthread_t thread;
	void *low;
	size_t size;

	x = weft_channel_new(0, 0);
	pthread_create(&thread, NULL, be_foreign, NULL);
	while (!atomic_load(&foreign_step))
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(weft_tasklet_run_next(foreign), -EXDEV);
	ck_assert_int_eq(weft_tasklet_pending(foreign), -EXDEV);
	ck_assert_int_eq(weft_tasklet_take_pending(foreign), -EXDEV);
	ck_assert_int_eq(weft_tasklet_set_data_of(foreign, &x), -EXDEV);
	ck_assert_int_eq(weft_tasklet_stack(foreign, &low, &size), -EXDEV);
	ck_assert_ptr_null(weft_tasklet_data_of(foreign));
	weft_channel_send(x, NULL);
	pthread_join(thread, NULL);
}
END_TEST

/* --- the end of a thread's use --- */

static int wait_till_killed(void *arg)
{
	result = weft_channel_receive(x, NULL);
	weft_sleep(20 * WEFT_MILLISECOND); /* parks, in a round of the end */
	*(int *)arg = ++n_done;
	return 0;
}

static void count_parks(bool parking, void *ctx)
{
	(void)ctx;
	n_parking += parking;
}

static int sleep_shielded(void *arg)
{
	weft_shield_begin();
	weft_sleep(20 * WEFT_MILLISECOND);
	weft_shield_end();
	*(int *)arg = ++n_done;
	return 0;
}

START_TEST(thread_end_ends_all)
{
	int places[2] = { 0 };
	uint64_t id = weft_thread_id();
	weft_tasklet t, old_main = weft_main();

	x = weft_channel_new(0, 0);
	t = weft_spawn(wait_till_killed, &places[0]);
	weft_spawn(sleep_shielded, &places[1]);
	weft_pump();
	weft_set_park_callback(count_parks, NULL);
	weft_thread_end();
	ck_assert_int_eq(result, -ECANCELED);
	ck_assert_int_eq(n_done, 2);
	/* An emulator or Valgrind can be slower than the sleeps: then nobody parks. */
	if (has_calls_of_the_kernel() && !is_under_valgrind())
		ck_assert_int_ge(n_parking, 1);
	ck_assert(!weft_tasklet_alive(t));
	ck_assert(!weft_tasklet_alive(old_main));

	/* attached anew */
	n_parking = 0;
	ck_assert_uint_ne(weft_thread_id(), id);
	ck_assert_uint_eq(weft_runcount(), 1);
	weft_spawn(nothing, NULL);
	ck_assert_int_eq(weft_run(), 0);
	weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(n_parking, 0);
	weft_thread_end();
	weft_thread_end();
}
END_TEST

static void *end_twice(void *arg)
{
	(void)arg;
	weft_spawn(nothing, NULL);
	weft_thread_end();
	weft_spawn(count_up, &result);
	weft_run();
	return NULL;
}

START_TEST(thread_end_in_a_thread_that_goes_on)
{
	pthread_t thread;

	pthread_create(&thread, NULL, end_twice, NULL);
	pthread_join(thread, NULL);
	ck_assert_int_eq(n_done, 1);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

static int end_inside(void *arg)
{
	(void)arg;
	weft_thread_end();
	return 0;
}

START_TEST(thread_end_in_a_tasklet)
{
	weft_spawn(end_inside, NULL);
	weft_run();
}
END_TEST

/* --- deadlock --- */

START_TEST(policy_is_checked)
{
	ck_assert_int_eq(weft_set_deadlock_policy(WEFT_DEADLOCK_LAST), 0);
	ck_assert_int_eq(weft_set_deadlock_policy(4), -EINVAL);
	ck_assert_int_eq(weft_set_deadlock_policy(0), WEFT_DEADLOCK_LAST);
}
END_TEST

static void *stay(void *arg)
{
	(void)arg;
	for (;;)
		pause();
	return NULL;
}

/* A thread that has never called weft stands in the way of a verdict by default
 * only. */
START_TEST(threads_that_are_not_attached)
{
	pthread_t thread;

	x = weft_channel_new(0, 0);
	pthread_create(&thread, NULL, stay, NULL);
	weft_set_deadlock_policy(WEFT_DEADLOCK_ATTACHED);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
}
END_TEST

static int block_last(void *arg)
{
	*(int *)arg = weft_channel_receive(x, NULL);
	return 0;
}

START_TEST(last_one_is_told)
{
	int first = 1, last = 1;

	x = weft_channel_new(0, 0);
	weft_set_deadlock_policy(WEFT_DEADLOCK_ATTACHED | WEFT_DEADLOCK_LAST);
	weft_spawn(block_last, &first);
	weft_spawn(block_last, &last);
	/* The last tasklet is told, ends, and then main is the only one that can
	 * be. */
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
	ck_assert_int_eq(last, -EDEADLK);
	ck_assert_int_eq(first, 1);
}
END_TEST

static int pause_last(void *arg)
{
	*(int *)arg = weft_schedule_remove();
	return 0;
}

START_TEST(last_one_that_paused_itself_is_told)
{
	int last = 1;

	x = weft_channel_new(0, 0);
	weft_set_deadlock_policy(WEFT_DEADLOCK_ATTACHED | WEFT_DEADLOCK_LAST);
	weft_spawn(pause_last, &last);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
	ck_assert_int_eq(last, -EDEADLK);
}
END_TEST

START_TEST(a_run_is_told_first)
{
	int value = 1;

	x = weft_channel_new(0, 0);
	weft_set_deadlock_policy(WEFT_DEADLOCK_ATTACHED | WEFT_DEADLOCK_LAST);
	weft_spawn(block_last, &value);
	ck_assert_int_eq(weft_run(), -EDEADLK);
	ck_assert_int_eq(value, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("runtime");
	TCase *tc;

	add_case(s, "the park callback", park_callback_comes_in_pairs,
		 back_comes_before_what_was_handed_in,
		 callback_after_a_signal_can_raise,
		 callback_can_leave_the_thread,
		 nothing_ends_a_sleep_without_need, callback_interrupts_a_spin);
	add_case(s, "the run queue in its order", ring_is_in_order,
		 run_next_of_a_blocked_one, runner_is_the_innermost);
	add_case(s, "what is pending", pending_raise_can_be_taken,
		 pending_raise_of_another_thread, pending_kill_stays);
	add_case(s, "data and stacks", data_of_other_tasklets,
		 stack_is_where_locals_are, another_threads_tasklet);
	add_case(s, "the end of a thread's use", thread_end_ends_all,
		 thread_end_in_a_thread_that_goes_on);
	tc = tcase_create("not in a tasklet");
	tcase_add_test_raise_signal(tc, thread_end_in_a_tasklet, SIGABRT);
	suite_add_tcase(s, tc);
	add_case(s, "the deadlock policy", policy_is_checked);
	needs_verdicts(add_case(s, "who is told of a deadlock",
				threads_that_are_not_attached, last_one_is_told,
				last_one_that_paused_itself_is_told,
				a_run_is_told_first));
	return run_suite(s);
}
