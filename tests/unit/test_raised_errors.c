/* SPDX-License-Identifier: MIT */
/*
 * An error that was raised is what the blocking call returns, whatever its number:
 * also those by which the library says something itself. Nothing else comes of
 * it, and the call can be made again.
 */
#include <check.h>
#include <errno.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

/* What a call waits for. */
static weft_channel *ch, *other;
static weft_mutex mutex;
static weft_condition condition;
static weft_semaphore semaphore;
static weft_rwlock rwlock;
static weft_group *group;
static weft_tasklet target;
static uint64_t thread;
static int ends[2];

static int receive(void)
{
	return weft_channel_receive(ch, NULL);
}

static int send_one(void)
{
	return weft_channel_send(ch, NULL);
}

static int receive_many(void)
{
	ssize_t n = weft_channel_receive_many(ch, NULL, 1);

	return n == 1 ? 0 : (int)n;
}

static int select_two(void)
{
	struct weft_case cases[] = {
		{ .op = WEFT_RECEIVE, .channel = other },
		{ .op = WEFT_RECEIVE, .channel = ch },
	};
	int rc = weft_select(cases, 2, 0);

	return rc < 0 ? rc : cases[1].result;
}

static int lock(void)
{
	int rc = weft_mutex_lock(&mutex);

	return rc ? rc : weft_mutex_unlock(&mutex);
}

static int lock_to_read(void)
{
	int rc = weft_rwlock_rdlock(&rwlock);

	return rc ? rc : weft_rwlock_unlock(&rwlock);
}

static int lock_to_write(void)
{
	int rc = weft_rwlock_wrlock(&rwlock);

	return rc ? rc : weft_rwlock_unlock(&rwlock);
}

/* The mutex is held again, whatever happened. */
static int wait_for_condition(void)
{
	int rc = weft_mutex_lock(&mutex);

	if (rc)
		return rc;
	rc = weft_condition_wait(&condition, &mutex);
	return weft_mutex_unlock(&mutex) ? 1 : rc;
}

static int wait_for_semaphore(void)
{
	return weft_semaphore_wait(&semaphore);
}

static int join(void)
{
	return weft_tasklet_join(target);
}

static int join_thread_by_id(void)
{
	return weft_thread_join(thread);
}

static int wait_for_group(void)
{
	return weft_group_wait(group);
}

static int pause_oneself(void)
{
	return weft_schedule_remove();
}

static int switch_away(void)
{
	return weft_tasklet_switch(target);
}

static int run(void)
{
	return weft_run();
}

static int run_until(void)
{
	return weft_run_until(weft_now() + 1000 * WEFT_SECOND);
}

static int sleep_long(void)
{
	return weft_sleep(1000 * WEFT_SECOND);
}

static int read_byte(void)
{
	char byte;
	ssize_t n = weft_read(ends[0], &byte, 1);

	return n == 1 ? 0 : (int)n;
}

static const struct call {
	int (*wait)(void);
	bool has_end; /* let_go() ends it, and it returns 0 */
} calls[] = {
	{ receive, true },
	{ send_one, false },
	{ receive_many, true },
	{ select_two, true },
	{ lock, true },
	{ lock_to_read, true },
	{ lock_to_write, true },
	{ wait_for_condition, true },
	{ wait_for_semaphore, true },
	{ join, true },
	{ join_thread_by_id, true },
	{ wait_for_group, true },
	{ pause_oneself, false },
	{ switch_away, false },
	{ run, false },
	{ run_until, false },
	{ sleep_long, false },
	{ read_byte, true },
};

static const int numbers[] = { ESRCH,     EAGAIN, EPERM,  EDEADLK, ECANCELED,
			       ETIMEDOUT, EPIPE,  EINTR,  ENOMEM,  EINVAL,
			       EBUSY,     EXDEV,  ENOSYS, ENXIO };

static int end_with_message(void *arg)
{
	(void)arg;
	return weft_channel_receive(ch, NULL);
}

static int stay(void *arg)
{
	int rc = 0;

	(void)arg;
	while (!rc)
		rc = weft_schedule_remove();
	return rc;
}

/* What every call waits for is there, and is not to be had yet. */
static void prepare(const struct call *c)
{
	mutex = (weft_mutex)WEFT_MUTEX_INIT;
	condition = (weft_condition)WEFT_CONDITION_INIT;
	semaphore = (weft_semaphore)WEFT_SEMAPHORE_INIT(0);
	rwlock = (weft_rwlock)WEFT_RWLOCK_INIT;
	ch = weft_channel_new(0, 0);
	other = weft_channel_new(0, 0);
	group = weft_group_new();
	target = weft_spawn(c->wait == join ? end_with_message : stay, NULL);
	if (c->wait == switch_away)
		ck_assert_int_eq(weft_tasklet_remove(target), 0);
	if (c->wait == wait_for_group)
		weft_group_spawn(group, end_with_message, NULL);
	if (c->wait == join_thread_by_id)
		ck_assert_int_eq(
			weft_thread_start(&thread, end_with_message, NULL), 0);
	if (c->wait == lock)
		ck_assert_int_eq(weft_mutex_lock(&mutex), 0);
	if (c->wait == lock_to_read || c->wait == lock_to_write)
		ck_assert_int_eq(weft_rwlock_wrlock(&rwlock), 0);
	if (c->wait == read_byte)
		ck_assert_int_eq(pipe(ends), 0);
}

/* After these a group has no members any more. */
static bool ends_what_it_waits_for(const struct call *c, int number)
{
	return c->wait == wait_for_group &&
	       (number == ECANCELED || number == ETIMEDOUT);
}

static void let_go(const struct call *c, int number)
{
	if (c->wait == lock)
		ck_assert_int_eq(weft_mutex_unlock(&mutex), 0);
	else if (c->wait == lock_to_read || c->wait == lock_to_write)
		ck_assert_int_eq(weft_rwlock_unlock(&rwlock), 0);
	else if (c->wait == wait_for_condition)
		ck_assert_int_eq(weft_condition_signal(&condition), 0);
	else if (c->wait == wait_for_semaphore)
		ck_assert_int_eq(weft_semaphore_post(&semaphore), 0);
	else if (c->wait == read_byte)
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
	else if (!ends_what_it_waits_for(c, number))
		ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
}

static void clean_up(const struct call *c)
{
	weft_tasklet_kill(target, 0);
	weft_group_free(group);
	weft_channel_unref(ch);
	weft_channel_unref(other);
	if (c->wait == read_byte) {
		close(ends[0]);
		close(ends[1]);
	}
	ck_assert_int_eq(weft_pump(), 0);
}

/* A tasklet that makes a call twice. */
struct caller {
	const struct call *call;
	bool is_late; /* the error is there before the first call is made */
	int n_returned;
	int first, second;
};

static int call_twice(void *arg)
{
	struct caller *me = arg;

	if (me->is_late) {
		weft_shield_begin();
		weft_schedule();
		weft_shield_end();
	}
	me->first = me->call->wait();
	me->n_returned++;
	me->second = me->call->wait();
	me->n_returned++;
	return 0;
}

static void raise_on(const struct call *c, int number, bool is_late)
{
	struct caller caller = { .call = c, .is_late = is_late };
	weft_tasklet t;

	prepare(c);
	t = weft_spawn(call_twice, &caller);
	ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_int_eq(caller.n_returned, 0);
	ck_assert_int_eq(weft_tasklet_raise(t, number, WEFT_PENDING), 0);
	while (!caller.n_returned)
		ck_assert_int_eq(weft_schedule(), 0);
	ck_assert_msg(caller.first == -number,
		      "call %d: %d was raised, and it returned %d",
		      (int)(c - calls), number, caller.first);
	if (c->has_end) {
		let_go(c, number);
		(void)weft_tasklet_join(t); /* it may be there already */
		ck_assert_int_eq(caller.n_returned, 2);
		ck_assert_int_eq(caller.second, 0);
	} else {
		ck_assert_int_eq(weft_schedule(), 0);
		ck_assert_int_eq(caller.n_returned, 1);
		ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
		ck_assert_int_eq(caller.second, -ECANCELED);
	}
	clean_up(c);
}

START_TEST(raised_while_it_waits)
{
	for (size_t i = 0; i < N_ELEMENTS(numbers); i++)
		raise_on(&calls[_i], numbers[i], false);
}
END_TEST

START_TEST(raised_before_the_call)
{
	for (size_t i = 0; i < N_ELEMENTS(numbers); i++)
		raise_on(&calls[_i], numbers[i], true);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("raised_errors");

	add_loop(s, "raised while it waits", raised_while_it_waits,
		 N_ELEMENTS(calls));
	add_loop(s, "raised before the call", raised_before_the_call,
		 N_ELEMENTS(calls));
	return run_suite(s);
}
