/* SPDX-License-Identifier: MIT */
/*
 * Who rings another thread's doorbell: that it takes its time does not hide a
 * deadlock, and the registry is free meanwhile. Functions that the library calls
 * are wrapped, to hold a ringer up where it matters, and to look what is locked.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft.h>

#include "core/deadlock.h"
#include "core/scheduler.h"
#include "core/thread.h"
#include "support.h"

/* --- a helper that is late --- */

/* A helper of weft_offload() is held up after it has counted for the sleeper that it
 * found, until that one has woken by itself; and before it takes that back, until
 * the other is parked for good. */
static struct scheduler *owner;
static _Atomic(bool) has_counted; /* the helper, for the owner */
static _Atomic(bool) has_woken;   /* the owner, by itself */
static _Atomic(bool) has_parked;  /* the owner, with nothing of its own */
static __thread bool is_late;

void __real_weft__count_awake(int by);
bool __real_weft__count_parked(bool is_hopeful);
bool __real_weft__count_out(void);
void __wrap_weft__count_awake(int by);
bool __wrap_weft__count_parked(bool is_hopeful);
bool __wrap_weft__count_out(void);

static void await(_Atomic(bool) *event)
{
	while (!*event)
		sched_yield();
}

/* Nothing is to be held up that comes of it. */
static void before_taking_back(void)
{
	if (!is_late || !has_counted)
		return;
	is_late = false;
	await(&has_parked);
}

void __wrap_weft__count_awake(int by)
{
	if (by < 0)
		before_taking_back();
	__real_weft__count_awake(by);
	if (by > 0 && is_late) {
		has_counted = true;
		await(&has_woken);
	}
}

bool __wrap_weft__count_parked(bool is_hopeful)
{
	bool is_last = __real_weft__count_parked(is_hopeful);

	if (!is_hopeful)
		has_parked = true;
	return is_last;
}

bool __wrap_weft__count_out(void)
{
	before_taking_back();
	return __real_weft__count_out();
}

/* On the helper: returns when there is a sleeper to be found. */
static int until_owner_sleeps(void *arg)
{
	(void)arg;
	is_late = true;
	while (!weft__inbox_is_parked(peek(owner->inbox.word)))
		sched_yield();
	return 0;
}

static int offload_and_wait(void *ch)
{
	while (!has_counted) /* it may have woken just before it was rung */
		if (weft_offload(until_owner_sleeps, NULL))
			return -1;
	return weft_channel_receive(ch, NULL);
}

/* Keeps the owner up until it has been handed the helper's result. */
static int wake_by_oneself(void *arg)
{
	(void)arg;
	while (!has_counted)
		weft_sleep(WEFT_MILLISECOND);
	has_woken = true;
	while (peek(owner->inbox.word) < INBOX_LINKS)
		sched_yield();
	return 0;
}

START_TEST(verdict_though_a_count_is_taken_back_late)
{
	weft_channel *ch = weft_channel_new(0, 0);
	weft_tasklet waiter;

	ck_assert_int_eq(weft_schedule(), 0);
	owner = weft__self;
	weft_spawn(wake_by_oneself, NULL);
	waiter = weft_spawn(offload_and_wait, ch);
	ck_assert_int_eq(weft_run(), -EDEADLK);
	ck_assert(has_parked);
	ck_assert_int_eq(weft_tasklet_kill(waiter, 0), 0);
	weft_channel_unref(ch);
}
END_TEST

/* --- the registry --- */

static _Atomic(bool) is_watched;
static _Atomic(unsigned) n_rung;

long __real_syscall(long number, ...);
long __wrap_syscall(long number, ...);

/* The doorbell of who sleeps in a futex. If the ringer had the registry, it would
 * wait for itself here. */
long __wrap_syscall(long number, ...)
{
	long a[6];
	va_list list;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (is_watched && number == SYS_futex && a[1] == FUTEX_WAKE_PRIVATE) {
		weft__thread_lock_registry();
		n_rung++;
		weft__thread_unlock_registry();
	}
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

static int receive(void *ch)
{
	return weft_channel_receive(ch, NULL);
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(registry_is_free_when_a_spawn_rings)
{
	struct weft_tasklet_options options = { .name = "spawned" };
	weft_channel *ch = weft_channel_new(0, 0);

	setenv("WEFT_WAKE", "futex", 1);
	ck_assert_int_eq(weft_thread_start(&options.thread, receive, ch), 0);
	is_watched = true;
	while (!n_rung) { /* it may wake just then */
		until_parked(options.thread);
		ck_assert(!weft_tasklet_is_null(
			weft_spawn_with(&options, do_nothing, NULL)));
	}
	is_watched = false;
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	ck_assert_int_eq(weft_thread_join(options.thread), 0);
	weft_channel_unref(ch);
}
END_TEST

static _Atomic(bool) is_attached;

static void *end_when_parked(void *id)
{
	weft_current();
	is_attached = true;
	until_parked(*(uint64_t *)id);
	is_watched = true;
	return NULL;
}

/* It has the one that is left look whether it can ever be woken. */
START_TEST(registry_is_free_when_an_ending_thread_rings)
{
	weft_channel *ch = weft_channel_new(0, 0);
	uint64_t id;
	pthread_t thread;

	if (lacks_verdicts())
		return;
	setenv("WEFT_WAKE", "futex", 1);
	id = weft_thread_id();
	thread = start_thread(end_when_parked, &id);
	await(&is_attached);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	is_watched = false;
	ck_assert_uint_ge(n_rung, 1);
	join_thread(thread);
	weft_channel_unref(ch);
}
END_TEST

/* --- a list of threads that is cut short --- */

/* As by the kernel, when a thread ends that the list has got to. */
static _Atomic(int) n_cuts; /* how often, from the second entry on */

struct dirent *__real_readdir(DIR *dir);
struct dirent *__wrap_readdir(DIR *dir);

struct dirent *__wrap_readdir(DIR *dir)
{
	struct dirent *entry = __real_readdir(dir);

	if (entry && n_cuts && atoi(entry->d_name) &&
	    atoi(entry->d_name) != getpid()) {
		n_cuts--;
		return NULL;
	}
	return entry;
}

static void *send_after_a_while(void *ch)
{
	while (n_cuts > 0)
		usleep(1000);
	usleep(10000);
	weft_channel_send(ch, NULL);
	return NULL;
}

/* The thread that is left out has yet to attach, and to send. */
START_TEST(list_that_is_cut_short)
{
	weft_channel *ch = weft_channel_new(0, 0);
	pthread_t thread;

	n_cuts = _i;
	thread = start_thread(send_after_a_while, ch);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), 0);
	ck_assert_int_eq(n_cuts, 0);
	join_thread(thread);
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("ringer");

	needs_verdicts(add_case(s, "deadlock",
				verdict_though_a_count_is_taken_back_late));
	needs_verdicts(add_loop(s, "strangers", list_that_is_cut_short, 13));
	add_case(s, "registry", registry_is_free_when_a_spawn_rings,
		 registry_is_free_when_an_ending_thread_rings);
	return run_suite(s);
}
