/* SPDX-License-Identifier: MIT */
/*
 * What the user's functions may do that the library calls: callbacks, error
 * handlers, drop functions. And what the ends of tasklets that never ran call.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/resource.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static int fds[2];
static weft_tasklet t;
static int n_told, n_run, n_dropped;

static int run_once(void *arg)
{
	(void)arg;
	n_run++;
	return 0;
}

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

static void make_all(void)
{
	x = weft_channel_new(0, 0);
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
}

/* --- schedule and channel callbacks: blocking calls return -EPERM --- */

static weft_group *g;
static weft_mutex mutex = WEFT_MUTEX_INIT;
static weft_condition condition = WEFT_CONDITION_INIT;
static weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(5);
static weft_rwlock rwlock = WEFT_RWLOCK_INIT;
static weft_channel *ready; /* a buffer with something in it and room left */

static int call_schedule(void)
{
	return weft_schedule();
}
static int call_schedule_remove(void)
{
	return weft_schedule_remove();
}
static int call_run(void)
{
	return weft_run();
}
static int call_run_until(void)
{
	return weft_run_until(weft_now());
}
static int call_pump(void)
{
	return weft_pump();
}
static int call_switch(void)
{
	return weft_tasklet_switch(weft_current());
}
static int call_join(void)
{
	return weft_tasklet_join(t);
}
static int call_send(void)
{
	return weft_channel_send(ready, NULL);
}
static int call_receive(void)
{
	return weft_channel_receive(ready, NULL);
}
static int call_send_error(void)
{
	return weft_channel_send_error(ready, 1);
}
static int call_send_many(void)
{
	return (int)weft_channel_send_many(ready, NULL, 1);
}
static int call_receive_many(void)
{
	return (int)weft_channel_receive_many(ready, NULL, 1);
}
static int call_select(void)
{
	struct weft_case one = { .channel = ready, .op = WEFT_RECEIVE };

	return weft_select(&one, 1, 0);
}
static int call_sleep(void)
{
	return weft_sleep(0);
}
static int call_group_wait(void)
{
	return weft_group_wait(g);
}
static int call_lock(void)
{
	return weft_mutex_lock(&mutex);
}
static int call_condition_wait(void)
{
	return weft_condition_wait(&condition, &mutex);
}
static int call_semaphore_wait(void)
{
	return weft_semaphore_wait(&semaphore);
}
static int call_rdlock(void)
{
	return weft_rwlock_rdlock(&rwlock);
}
static int call_wrlock(void)
{
	return weft_rwlock_wrlock(&rwlock);
}
static int call_offload(void)
{
	return weft_offload(run_once, NULL);
}
static int call_read(void)
{
	char byte;

	return (int)weft_read(fds[0], &byte, 1);
}
static int call_write(void)
{
	return (int)weft_write(fds[1], "x", 1);
}

static int (*const calls[])(void) = {
	call_schedule,
	call_schedule_remove,
	call_run,
	call_run_until,
	call_pump,
	call_switch,
	call_join,
	call_send,
	call_receive,
	call_send_error,
	call_send_many,
	call_receive_many,
	call_select,
	call_sleep,
	call_group_wait,
	call_lock,
	call_condition_wait,
	call_semaphore_wait,
	call_rdlock,
	call_wrlock,
	call_offload,
	call_read,
	call_write,
};

static int results[N_ELEMENTS(calls)];

static void call_all(void)
{
	for (size_t i = 0; i < N_ELEMENTS(calls); i++)
		results[i] = calls[i]();
}

static void on_schedule(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from;
	(void)to;
	(void)ctx;
	if (!n_told++)
		call_all();
}

static void on_channel(weft_channel *ch, weft_tasklet who, bool sending,
		       bool will_block, void *ctx)
{
	(void)ch;
	(void)who;
	(void)sending;
	(void)will_block;
	(void)ctx;
	if (!n_told++)
		call_all();
}

static void make_ready(void)
{
	make_all();
	g = weft_group_new();
	ready = weft_channel_new(0, 4);
	ck_assert_int_eq(weft_channel_send(ready, NULL), 0);
	ck_assert_int_eq((int)write(fds[1], "y", 1), 1);
}

static void check_results(void)
{
	ck_assert_int_ge(n_told, 1);
	for (size_t i = 0; i < N_ELEMENTS(calls); i++)
		ck_assert_msg(results[i] == -EPERM, "call %zu: %d", i,
			      results[i]);
	ck_assert_int_eq(weft_channel_balance(ready), 1);
	ck_assert_int_eq(n_run, 0);
}

/* Whether or not they would have to wait or to switch. */
START_TEST(nothing_blocks_in_a_schedule_callback)
{
	make_ready();
	t = weft_spawn(receive_x, NULL);
	weft_set_schedule_callback(on_schedule, NULL);
	ck_assert_int_eq(weft_schedule(), 0);
	weft_set_schedule_callback(NULL, NULL);
	check_results();
}
END_TEST

START_TEST(nothing_blocks_in_a_channel_callback)
{
	make_ready();
	weft_set_channel_callback(on_channel, NULL);
	ck_assert_int_eq(weft_channel_try_send(x, NULL), -EAGAIN);
	weft_set_channel_callback(NULL, NULL);
	check_results();
}
END_TEST

static void take_itself_away(weft_channel *ch, weft_tasklet caller,
			     bool sending, bool will_block, void *ctx)
{
	(void)ch;
	(void)caller;
	(void)sending;
	(void)will_block;
	++*(int *)ctx;
	weft_set_channel_callback(NULL, NULL);
}

/* A selection among several channels tells of each. */
START_TEST(a_channel_callback_takes_itself_away)
{
	weft_channel *chs[] = { weft_channel_new(0, 0),
				weft_channel_new(0, 0) };
	struct weft_case cases[] = {
		{ .op = WEFT_RECEIVE, .channel = chs[0] },
		{ .op = WEFT_SEND, .channel = chs[1] },
	};
	int n = 0;

	weft_set_channel_callback(take_itself_away, &n);
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EAGAIN);
	ck_assert_int_eq(n, 1);
	for (int i = 0; i < 2; i++)
		weft_channel_unref(chs[i]);
}
END_TEST

/* What was raised is not consumed by a call in a callback. */
static int raised_and_called_back(void *arg)
{
	int *rc = arg;

	weft_shield_begin();
	weft_schedule(); /* the raise comes */
	weft_shield_end();
	weft_set_channel_callback(on_channel, NULL);
	weft_channel_try_send(x, NULL);
	weft_set_channel_callback(NULL, NULL);
	rc[0] = weft_schedule();
	rc[1] = weft_schedule();
	return 0;
}

static int raise_on_t(void *arg)
{
	(void)arg;
	return weft_tasklet_raise(t, EIO, WEFT_PENDING);
}

START_TEST(a_callback_consumes_nothing)
{
	int rc[2] = { 1, 1 };

	make_ready();
	t = weft_spawn(raised_and_called_back, rc);
	weft_spawn(raise_on_t, NULL);
	ck_assert_int_eq(weft_run(), 0);
	check_results();
	ck_assert_int_eq(rc[0], -EIO);
	ck_assert_int_eq(rc[1], 0);
}
END_TEST

/* What comes while a call tells of itself ends that call: it has not begun to wait,
 * so nobody can call it off. */
static int64_t when;

static void interrupt_the_caller(weft_channel *ch, weft_tasklet caller,
				 bool sending, bool will_block, void *ctx)
{
	int kind = *(int *)ctx;

	(void)ch;
	(void)sending;
	(void)will_block;
	weft_set_channel_callback(NULL, NULL);
	if (kind == 0)
		weft_tasklet_kill(caller, WEFT_PENDING);
	while (kind && weft_now() <= when)
		;
	/* Look around, and so at timers. */
	for (int i = 0; i < 1000; i++)
		weft_tasklet_insert(caller);
}

static int receive_told(void *arg)
{
	struct weft_case c = { .op = WEFT_RECEIVE };
	struct weft_deadline d;
	int kind = *(int *)arg % 2;
	int rc;

	when = weft_now() + WEFT_MILLISECOND;
	weft_deadline_begin(&d, kind ? when : WEFT_FOREVER);
	weft_set_channel_callback(interrupt_the_caller, &kind);
	c.channel = x;
	rc = *(int *)arg < 2 ? weft_channel_receive(x, NULL)
			     : weft_select(&c, 1, 0);
	weft_deadline_end(&d);
	*(int *)arg = rc;
	return 0;
}

START_TEST(a_callback_in_which_the_caller_is_interrupted)
{
	int rc = _i;

	make_all();
	weft_spawn(receive_told, &rc);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(rc, _i % 2 ? -ETIMEDOUT : -ECANCELED);
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_channel_unref(x);
}
END_TEST

/* The tasklet that is left waits for something: that stays as it is. */
static void write_when_t_is_left(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)to;
	(void)ctx;
	if (weft_tasklet_equal(from, t) && !n_told++)
		results[0] = (int)weft_write(fds[1], "x", 1);
}

START_TEST(callback_io_leaves_the_waiter_alone)
{
	make_all();
	t = weft_spawn(receive_x, NULL);
	weft_set_schedule_callback(write_when_t_is_left, NULL);
	weft_schedule();
	weft_set_schedule_callback(NULL, NULL);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(results[0], -EPERM);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_uint_eq(weft_runcount(), 2);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert(!weft_tasklet_alive(t));
}
END_TEST

/* A scope begun, and something deferred, when the tasklet has ended already. */
static struct weft_deadline leaked;

static void do_nothing(void *arg)
{
	(void)arg;
}

static void begin_when_t_ends(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)to;
	(void)ctx;
	if (!weft_tasklet_equal(from, t) || n_told++)
		return;
	weft_deadline_begin(&leaked, 0);
	results[0] = weft_defer(do_nothing, NULL);
}

static int sleep_a_bit(void *arg)
{
	(void)arg;
	return weft_sleep(1);
}

START_TEST(scope_of_an_ended_tasklet_ends)
{
	weft_tasklet next;

	t = weft_spawn(run_once, NULL);
	weft_set_schedule_callback(begin_when_t_ends, NULL);
	weft_pump();
	weft_set_schedule_callback(NULL, NULL);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(results[0], -ESRCH);
	next = weft_spawn(sleep_a_bit, NULL);
	ck_assert_ptr_eq(next.task, t.task);
	ck_assert_int_eq(weft_tasklet_join(next), 0);
}
END_TEST

/* --- the error handler --- */

static weft_tasklet told_of, current_then;
static ssize_t written;
static int depth, deepest;

static void log_it(weft_tasklet failed, int result, void *ctx)
{
	(void)ctx;
	told_of = failed;
	current_then = weft_current();
	results[0] = result;
	n_told++;
	written = weft_write(fds[1], "log\n", 4);
}

/* It ends on its own turn, as the current one, and its handler may block. */
START_TEST(handler_of_one_that_never_ran)
{
	char text[8];

	make_all();
	weft_set_error_handler(log_it, NULL);
	t = weft_spawn(run_once, NULL);
	ck_assert_int_eq(weft_tasklet_raise(t, EIO, _i ? WEFT_PENDING : 0), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(results[0], -EIO);
	ck_assert(weft_tasklet_equal(told_of, t));
	ck_assert(weft_tasklet_equal(current_then, t));
	ck_assert_int_eq((int)written, 4);
	ck_assert_int_eq((int)read(fds[0], text, sizeof text), 4);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* While main waits in a scope: its wait and its deadline stay what they are. */
static _Atomic(bool) is_raised;

static void *raise_from_there(void *arg)
{
	(void)arg;
	until_parked(weft_tasklet_thread(t));
	weft_tasklet_raise(t, EIO, 0);
	is_raised = true;
	return NULL;
}

START_TEST(handler_writes_while_main_waits)
{
	struct weft_tasklet_options paused = { .paused = true };
	struct weft_deadline limit;
	pthread_t thread;

	make_all();
	weft_set_error_handler(log_it, NULL);
	t = weft_spawn_with(&paused, run_once, NULL);
	thread = start_thread(raise_from_there, NULL);
	do { /* until the other thread has seen it parked */
		weft_deadline_begin(&limit,
				    weft_now() + 300 * WEFT_MILLISECOND);
		ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
		ck_assert(weft_deadline_end(&limit));
	} while (!is_raised);
	join_thread(thread);
	weft_schedule(); /* if it came too late for the wait */
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq((int)written, 4);
}
END_TEST

/* Constant depth, however many end while the handler makes control calls. */
enum { MANY = 20000 };

static weft_tasklet supervisor;
static weft_tasklet many[MANY];

static void insert_supervisor(weft_tasklet failed, int result, void *ctx)
{
	(void)failed;
	(void)result;
	(void)ctx;
	n_told++;
	if (++depth > deepest)
		deepest = depth;
	weft_tasklet_insert(supervisor);
	depth--;
}

static int supervise(void *arg)
{
	(void)arg;
	while (!weft_schedule_remove())
		;
	return 0;
}

static void *raise_on_many(void *arg)
{
	(void)arg;
	for (int i = 0; i < MANY; i++)
		weft_tasklet_raise(many[i], EIO, 0);
	weft_tasklet_kill(supervisor, 0);
	return NULL;
}

START_TEST(handlers_do_not_nest)
{
	struct weft_tasklet_options paused = { .paused = true };
	pthread_t thread;

	weft_set_error_handler(insert_supervisor, NULL);
	for (int i = 0; i < MANY; i++)
		many[i] = weft_spawn_with(&paused, run_once, NULL);
	supervisor = weft_spawn(supervise, NULL);
	thread = start_thread(raise_on_many, NULL);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(thread);
	ck_assert_int_eq(n_told, MANY);
	ck_assert_int_eq(deepest, 1);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* The same where those that end were handed to a thread which is ending: their
 * ends come all at once. */
static int spawn_and_raise(void *thread)
{
	struct weft_tasklet_options there = { .thread = *(uint64_t *)thread,
					      .paused = true };

	for (int i = 0; i < 1000; i++)
		weft_tasklet_raise(weft_spawn_with(&there, run_once, NULL), EIO,
				   0);
	return 0;
}

static void *busy_meanwhile(void *arg)
{
	uint64_t own = weft_thread_id();

	(void)arg;
	supervisor = weft_spawn_with(
		&(struct weft_tasklet_options){ .paused = true }, supervise,
		NULL);
	weft_offload(spawn_and_raise, &own);
	return NULL;
}

START_TEST(handlers_do_not_nest_at_the_end_of_a_thread)
{
	weft_set_error_handler(insert_supervisor, NULL);
	join_thread(start_thread(busy_meanwhile, NULL));
	ck_assert_int_eq(n_told, 1000);
	ck_assert_int_eq(deepest, 1);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* --- drop --- */

static void *dropped;
static int drop_rc;

static void drop(void *arg)
{
	dropped = arg;
	current_then = weft_current();
	n_dropped++;
	drop_rc = weft_sleep(1);
}

static const struct weft_tasklet_options with_drop = { .drop = drop };
static const struct weft_tasklet_options paused_with_drop = { .drop = drop,
							      .paused = true };

START_TEST(drop_is_for_those_that_never_ran)
{
	weft_spawn_with(&with_drop, run_once, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_run, 1);
	ck_assert_int_eq(n_dropped, 0);
}
END_TEST

/* On its own stack and turn, shielded, with the argument. */
START_TEST(drop_in_place_of_the_function)
{
	t = weft_spawn_with(_i & 1 ? &paused_with_drop : &with_drop, run_once,
			    &n_run);
	if (_i & 2)
		weft_tasklet_raise(t, EIO, _i & 4 ? WEFT_PENDING : 0);
	else
		weft_tasklet_kill(t, _i & 4 ? WEFT_PENDING : 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_dropped, 1);
	ck_assert_ptr_eq(dropped, &n_run);
	ck_assert(weft_tasklet_equal(current_then, t));
	ck_assert_int_eq(drop_rc, 0);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* What it defers is done, and a tasklet that has run drops nothing. */
static void note_deferred(void *arg)
{
	*(int *)arg += 1;
}

static void drop_and_defer(void *arg)
{
	n_dropped++;
	weft_defer(note_deferred, arg);
}

START_TEST(drop_may_defer)
{
	struct weft_tasklet_options o = { .drop = drop_and_defer };
	int n_deferred = 0;

	t = weft_spawn_with(&o, run_once, &n_deferred);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	ck_assert_int_eq(n_dropped, 1);
	ck_assert_int_eq(n_deferred, 1);
}
END_TEST

static void *leave_fresh_ones(void *arg)
{
	(void)arg;
	weft_spawn_with(&with_drop, run_once, NULL);
	weft_spawn_with(&paused_with_drop, run_once, NULL);
	return NULL;
}

START_TEST(drop_at_the_end_of_a_thread)
{
	join_thread(start_thread(leave_fresh_ones, NULL));
	ck_assert_int_eq(n_dropped, 2);
	ck_assert_int_eq(drop_rc, 0);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

static int leave_by_pthread_exit(void *arg)
{
	(void)arg;
	weft_spawn_with(&with_drop, run_once, NULL);
	pthread_exit(NULL);
}

static void *run_one_that_exits(void *arg)
{
	weft_spawn_with(&paused_with_drop, run_once, arg);
	weft_spawn(leave_by_pthread_exit, NULL);
	weft_run();
	return NULL;
}

/* There is no stack to run it on. */
START_TEST(drop_after_pthread_exit)
{
	if (UNDER_TSAN) /* which lets no fiber call pthread_exit() */
		return;
	join_thread(start_thread(run_one_that_exits, NULL));
	ck_assert_int_eq(n_dropped, 2);
	ck_assert_int_eq(drop_rc, -EPERM);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

static void spawn_another(void *arg)
{
	struct weft_tasklet_options o = { .drop = spawn_another,
					  .paused = true };

	n_dropped++;
	weft_spawn_with(&o, run_once, arg);
}

static void *leave_one_that_spawns(void *arg)
{
	spawn_another(arg);
	return NULL;
}

START_TEST(drop_that_spawns_for_ever_is_given_up)
{
	join_thread(start_thread(leave_one_that_spawns, NULL));
	ck_assert_int_ge(n_dropped, 2);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* Drop functions of channels that kill what the end of the thread is about to. */
static void kill_element(void *element, void *ctx)
{
	(void)ctx;
	n_dropped++;
	weft_tasklet_kill(*(weft_tasklet *)element, WEFT_PENDING);
}

static int send_victim(void *ch)
{
	weft_tasklet victim = t;

	return weft_channel_send(ch, &victim);
}

static void *end_with_elements(void *arg)
{
	struct weft_tasklet_options paused = { .paused = true };
	weft_channel *ch = weft_channel_new(sizeof(weft_tasklet), 1);

	(void)arg;
	weft_channel_set_drop(ch, kill_element, NULL);
	weft_spawn(send_victim, ch);
	t = weft_spawn_with(&paused, run_once, NULL);
	weft_channel_send(ch, &t);
	weft_schedule();
	weft_channel_unref(ch); /* the sender's wait holds it */
	return NULL;
}

static void *use_what_was_left(void *arg)
{
	struct weft_tasklet_options paused = { .paused = true };
	weft_tasklet few[6];

	(void)arg;
	for (int i = 0; i < 6; i++)
		few[i] = weft_spawn_with(&paused, run_once, NULL);
	for (int i = 0; i < 6; i++)
		for (int j = 0; j < i; j++)
			if (few[i].task == few[j].task)
				n_told++;
	for (int i = 0; i < 6; i++)
		weft_tasklet_insert(few[i]);
	weft_run();
	return NULL;
}

START_TEST(drop_kills_at_the_end_of_a_thread)
{
	join_thread(start_thread(end_with_elements, NULL));
	ck_assert_int_eq(n_dropped, 1);
	join_thread(start_thread(use_what_was_left, NULL));
	ck_assert_int_eq(n_told, 0); /* no descriptor twice */
	ck_assert_int_eq(n_run, 6);
}
END_TEST

/* --- the last who uses a channel --- */

static void count_drop(void *element, void *ctx)
{
	(void)element;
	(void)ctx;
	n_dropped++;
}

static weft_channel *full_channel(void)
{
	weft_channel *ch = weft_channel_new(sizeof(int), 1);

	weft_channel_set_drop(ch, count_drop, NULL);
	weft_channel_send(ch, &n_run);
	return ch;
}

static int unref_it(void *ch)
{
	weft_channel_unref(ch);
	return 0;
}

/* It lets the channel go, too, when it is told of a deadlock. */
START_TEST(told_of_a_deadlock_it_drops)
{
	weft_channel *ch = full_channel();
	struct weft_case cases[] = {
		{ .channel = ch, .op = WEFT_SEND, .element = &n_run },
		{ .channel = x, .op = WEFT_RECEIVE },
	};

	weft_spawn(unref_it, ch);
	if (_i)
		ck_assert_int_eq(weft_select(cases, 2, 0), -EDEADLK);
	else
		ck_assert_int_eq(weft_channel_send(ch, &n_run), -EDEADLK);
	ck_assert_int_eq(n_dropped, 1);
}
END_TEST

/* And when it is given up at the end of its thread. */
static int send_for_ever(void *ch)
{
	struct weft_case one = { .channel = ch,
				 .op = WEFT_SEND,
				 .element = &n_run };

	weft_shield_begin();
	return n_told ? weft_select(&one, 1, 0) : weft_channel_send(ch, &n_run);
}

static void *leave_a_sender(void *arg)
{
	weft_channel *ch = full_channel();

	(void)arg;
	weft_spawn(send_for_ever, ch);
	weft_schedule();
	weft_channel_unref(ch);
	return NULL;
}

START_TEST(given_up_it_drops)
{
	n_told = _i;
	join_thread(start_thread(leave_a_sender, NULL));
	ck_assert_int_eq(n_dropped, 1);
}
END_TEST

/* --- shields --- */

static int sleep_rc;

static void sleep_late(void *arg)
{
	(void)arg;
	sleep_rc = weft_sleep(1);
}

static int end_with_many_shields(void *arg)
{
	(void)arg;
	for (int i = 0; i < UINT16_MAX; i++)
		weft_shield_begin();
	weft_defer(sleep_late, NULL);
	weft_tasklet_kill(weft_current(), 0);
	return 0;
}

START_TEST(shields_do_not_wrap_at_the_end)
{
	sleep_rc = 1;
	weft_spawn(end_with_many_shields, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(sleep_rc, 0);
}
END_TEST

/* --- one that is handed to a thread which has no memory for it --- */

static _Atomic(bool) is_handed_in, must_go_on;
static int handler_rc[5];
static weft_group *members;

static void control_it(weft_tasklet failed, int result, void *ctx)
{
	(void)ctx;
	n_told++;
	results[0] = result;
	handler_rc[0] = weft_tasklet_kill(failed, WEFT_PENDING);
	handler_rc[1] = weft_tasklet_insert(failed);
	handler_rc[2] = weft_tasklet_raise(failed, EIO, WEFT_PENDING);
	handler_rc[3] = weft_tasklet_run(failed);
	handler_rc[4] = weft_tasklet_remove(failed);
	weft_group_kill(members);
}

static void *refuse_one(void *arg)
{
	struct rlimit before, none = { 0, 0 };
	uint64_t own = weft_thread_id();

	*(uint64_t *)arg = own;
	getrlimit(RLIMIT_AS, &before);
	none.rlim_max = before.rlim_max;
	must_go_on = true;
	while (!is_handed_in)
		sched_yield();
	setrlimit(RLIMIT_AS, &none);
	weft_schedule(); /* it is taken in, and refused */
	setrlimit(RLIMIT_AS, &before);
	handler_rc[0] =
		handler_rc[0] ? handler_rc[0] : (int)weft_runcount() - 1;
	weft_schedule();
	return NULL;
}

/* What its handler and its drop function do to it makes it run no more. */
START_TEST(refused_one_stays_ended)
{
	struct weft_tasklet_options o = { .stack_size = 64 << 20,
					  .drop = drop };
	pthread_t thread;
	uint64_t there;

	if (lacks_memory_to_itself())
		return;
	weft_set_error_handler(control_it, NULL);
	members = weft_group_new();
	thread = start_thread(refuse_one, &there);
	while (!must_go_on)
		sched_yield();
	o.thread = there;
	t = weft_group_spawn_with(members, &o, run_once, NULL);
	ck_assert(!weft_tasklet_is_null(t));
	is_handed_in = true;
	join_thread(thread);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(results[0], -ENOMEM);
	ck_assert_int_eq(handler_rc[0], 0);
	ck_assert_int_eq(handler_rc[1], -EBUSY);
	ck_assert_int_eq(handler_rc[3], -EBUSY);
	ck_assert_int_eq(handler_rc[4], -EBUSY);
	ck_assert_int_eq(n_dropped, 1);
	ck_assert_int_eq(n_run, 0);
	ck_assert(!weft_tasklet_alive(t));
	ck_assert_int_eq(weft_group_wait(members), -ENOMEM);
	weft_group_free(members);
}
END_TEST

static struct weft_deadline forgotten;

static void begin_scope(weft_tasklet failed, int result, void *ctx)
{
	(void)failed;
	(void)result;
	(void)ctx;
	n_told++;
	weft_deadline_begin(&forgotten, weft_now() + WEFT_MILLISECOND);
}

/* It has ended when another is taken in, and refused. */
static int end_when_handed_in(void *arg)
{
	struct rlimit none = { 0, 0 };

	getrlimit(RLIMIT_AS, arg);
	none.rlim_max = ((struct rlimit *)arg)->rlim_max;
	must_go_on = true;
	while (!is_handed_in)
		sched_yield();
	setrlimit(RLIMIT_AS, &none);
	return 0;
}

static int receive_for_long(void *ch)
{
	return weft_channel_receive(ch, NULL);
}

static void *spawn_too_large(void *thread)
{
	struct weft_tasklet_options o = { .thread = *(uint64_t *)thread,
					  .stack_size = 64 << 20 };

	while (!must_go_on)
		sched_yield();
	weft_spawn_with(&o, run_once, NULL);
	is_handed_in = true;
	return NULL;
}

/* A scope that its handler begins, when the current tasklet has ended, is nobody's. */
START_TEST(scope_begun_for_a_refused_one)
{
	weft_channel *ch = weft_channel_new(0, 0);
	uint64_t own = weft_thread_id();
	struct rlimit before;
	weft_tasklet next;
	pthread_t thread;

	if (lacks_memory_to_itself())
		return;
	weft_set_error_handler(begin_scope, NULL);
	thread = start_thread(spawn_too_large, &own);
	weft_spawn(end_when_handed_in, &before);
	weft_schedule();
	setrlimit(RLIMIT_AS, &before);
	join_thread(thread);
	weft_run();
	ck_assert_int_eq(n_told, 1);
	next = weft_spawn(receive_for_long, ch);
	ck_assert_int_eq(weft_run_until(weft_now() + 20 * WEFT_MILLISECOND),
			 -ETIMEDOUT);
	ck_assert(weft_tasklet_alive(next));
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	weft_run();
	weft_channel_unref(ch);
}
END_TEST

static struct rlimit address_space;
static weft_channel *to_receiver;

static void leave_when_told(weft_tasklet failed, int result, void *ctx)
{
	(void)failed;
	(void)ctx;
	n_told++;
	results[0] = result;
	setrlimit(RLIMIT_AS, &address_space);
	pthread_exit(NULL);
}

static int receive_there(void *arg)
{
	return weft_channel_receive(to_receiver, arg);
}

static void *refuse_one_and_leave(void *arg)
{
	struct rlimit none = { 0, 0 };

	*(uint64_t *)arg = weft_thread_id();
	t = weft_spawn(receive_there, NULL);
	weft_schedule();
	getrlimit(RLIMIT_AS, &address_space);
	none.rlim_max = address_space.rlim_max;
	must_go_on = true;
	while (!is_handed_in)
		sched_yield();
	setrlimit(RLIMIT_AS, &none);
	weft_schedule();
	setrlimit(RLIMIT_AS, &address_space);
	return NULL;
}

/* What has been handed in behind it is taken in all the same: a wake, for which the end
 * of the thread waits. */
START_TEST(refused_one_ends_the_thread)
{
	struct weft_tasklet_options o = { .stack_size = 64 << 20 };
	pthread_t thread;
	uint64_t there;

	if (lacks_memory_to_itself())
		return;
	to_receiver = weft_channel_new(0, 0);
	weft_set_error_handler(leave_when_told, NULL);
	thread = start_thread(refuse_one_and_leave, &there);
	while (!must_go_on)
		sched_yield();
	o.thread = there;
	ck_assert(!weft_tasklet_is_null(weft_spawn_with(&o, run_once, NULL)));
	ck_assert_int_eq(weft_channel_send(to_receiver, NULL), 0);
	is_handed_in = true;
	join_thread(thread);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(results[0], -ENOMEM);
	ck_assert(!weft_tasklet_alive(t));
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

/* --- a preference that another thread changes --- */

static _Atomic(bool) changes_on;
static int n_received;

static void *change_preference(void *arg)
{
	while (changes_on)
		for (int i = -1; i <= 1; i++) {
			weft_channel_set_preference(arg, i);
			weft_channel_set_schedule_all(arg, i == 0);
			weft_channel_set_schedule_all(arg, false);
		}
	return arg;
}

static int receive_on(void *arg)
{
	(void)arg;
	while (weft_channel_receive(x, NULL) == 0)
		n_received++;
	return 0;
}

/* Whatever the preference is, a send under a trap does not switch. */
START_TEST(preference_that_changes_meanwhile)
{
	pthread_t thread;
	int n_sent = 0;

	x = weft_channel_new(0, 0);
	changes_on = true;
	thread = start_thread(change_preference, x);
	weft_spawn(receive_on, NULL);
	for (int i = 0; i < (is_under_valgrind() ? 2000 : 200000); i++) {
		int before, rc;

		weft_schedule(); /* it receives, and waits again */
		before = n_received;
		weft_switch_trap(1);
		rc = weft_channel_send(x, NULL);
		if (before != n_received)
			break;
		weft_switch_trap(-1);
		ck_assert(rc == 0 || rc == -EPERM);
		n_sent += rc == 0;
	}
	changes_on = false;
	join_thread(thread);
	ck_assert_int_eq(weft_switch_trap(0), 0);
	weft_channel_close(x);
	weft_run();
	ck_assert_int_eq(n_received, n_sent);
	weft_channel_unref(x);
}
END_TEST

int main(void)
{
	Suite *s;

	s = suite_create("callback");
	add_case(s, "callbacks", nothing_blocks_in_a_schedule_callback,
		 nothing_blocks_in_a_channel_callback,
		 a_channel_callback_takes_itself_away,
		 a_callback_consumes_nothing,
		 callback_io_leaves_the_waiter_alone,
		 scope_of_an_ended_tasklet_ends);
	add_loop(s, "callbacks", a_callback_in_which_the_caller_is_interrupted,
		 4);
	add_loop(s, "handler", handler_of_one_that_never_ran, 2);
	add_case(s, "handler", handler_writes_while_main_waits,
		 handlers_do_not_nest,
		 handlers_do_not_nest_at_the_end_of_a_thread);
	add_loop(s, "last", told_of_a_deadlock_it_drops, 2);
	add_loop(s, "last", given_up_it_drops, 2);
	add_case(s, "shields", shields_do_not_wrap_at_the_end);
	add_case(s, "refused", refused_one_stays_ended,
		 refused_one_ends_the_thread, scope_begun_for_a_refused_one);
	add_case(s, "preference", preference_that_changes_meanwhile);
	add_loop(s, "drop", drop_in_place_of_the_function, 8);
	add_case(s, "drop", drop_is_for_those_that_never_ran, drop_may_defer,
		 drop_at_the_end_of_a_thread, drop_after_pthread_exit,
		 drop_that_spawns_for_ever_is_given_up,
		 drop_kills_at_the_end_of_a_thread);
	return run_suite(s);
}
