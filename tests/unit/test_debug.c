/* SPDX-License-Identifier: MIT */
/*
 * What can be counted from outside.
 */
#include <check.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static struct weft_stats stats_of(uint64_t thread)
{
	struct weft_stats stats;

	ck_assert_int_eq(weft_stats(thread, &stats), 0);
	return stats;
}

/* The version of the library is that of the headers. */
START_TEST(version_is_that_of_the_headers)
{
	char expected[32];

	snprintf(expected, sizeof expected, "%d.%d.%d", WEFT_VERSION_MAJOR,
		 WEFT_VERSION_MINOR, WEFT_VERSION_PATCH);
	ck_assert_str_eq(weft_version(), expected);
	ck_assert_str_eq(weft_engine(), have_io_uring() ? "uring" : "poll");
}
END_TEST

/* There is nothing to tell of a thread that is not there. */
START_TEST(stats_fail)
{
	struct weft_stats stats, before;

	weft_thread_id();
	memset(&stats, 0x5a, sizeof stats);
	before = stats;
	ck_assert_int_eq(weft_stats(12345, &stats), -ESRCH);
	ck_assert_int_eq(weft_stats(UINT64_MAX, &stats), -ESRCH);
	ck_assert_int_eq(weft_stats(0, NULL), -EINVAL);
	ck_assert_mem_eq(&stats, &before, sizeof stats);
}
END_TEST

/* 0 is the calling thread. */
START_TEST(stats_of_a_new_thread)
{
	struct weft_stats mine = stats_of(0);

	ck_assert_uint_eq(mine.alive, 1);
	ck_assert_uint_eq(mine.spawned, 0);
	ck_assert_uint_eq(mine.ended, 0);
	ck_assert_uint_eq(mine.operations, 0);
	ck_assert_uint_eq(mine.stacks, 0);
	mine = stats_of(weft_thread_id());
	ck_assert_uint_eq(mine.alive, 1);
}
END_TEST

static int end_with(void *result)
{
	return *(int *)result;
}

static int pause_once(void *arg)
{
	(void)arg;
	return weft_schedule_remove();
}

/* Tasklets are counted as they come and go, failed ones apart. */
START_TEST(tasklets_are_counted)
{
	int good = 0, bad = -EIO, better = 5;
	struct weft_stats s;
	weft_tasklet paused = weft_spawn(pause_once, NULL);

	for (int i = 0; i < 10; i++) {
		weft_spawn(end_with, &good);
		weft_spawn(end_with, &better);
		if (i % 2)
			weft_spawn(end_with, &bad);
	}
	s = stats_of(0);
	ck_assert_uint_eq(s.spawned, 26);
	ck_assert_uint_eq(s.ended, 0);
	ck_assert_uint_eq(s.alive, 27);
	weft_pump();
	s = stats_of(0);
	ck_assert_uint_eq(s.spawned, 26);
	ck_assert_uint_eq(s.ended, 25);
	ck_assert_uint_eq(s.failed, 5);
	ck_assert_uint_eq(s.alive, 2);
	ck_assert_uint_gt(s.stacks, 0);
	ck_assert_uint_gt(s.stack_bytes, 0);
	ck_assert_uint_eq(s.abandoned, 0);
	weft_tasklet_insert(paused);
	weft_run();
	s = stats_of(0);
	ck_assert_uint_eq(s.ended, 26);
	ck_assert_uint_eq(s.alive, 1);
}
END_TEST

static int yield_100_times(void *arg)
{
	(void)arg;
	for (int i = 0; i < 100; i++)
		weft_schedule();
	return 0;
}

/* Switches are counted: each turn of each tasklet is one. */
START_TEST(switches_are_counted)
{
	uint64_t before = stats_of(0).switches;
	uint64_t n;

	for (int i = 0; i < 10; i++)
		weft_spawn(yield_100_times, NULL);
	weft_run();
	n = stats_of(0).switches - before;
	/* 10 times 101 turns, and back to main */
	ck_assert_uint_ge(n, 1010);
	ck_assert_uint_le(n, 1020);
}
END_TEST

static int sleep_shortly(void *arg)
{
	(void)arg;
	return weft_sleep(WEFT_MILLISECOND);
}

/* Timers that fired are counted, and how late the latest was. */
START_TEST(timers_are_counted)
{
	struct weft_stats s;

	for (int i = 0; i < 20; i++)
		weft_spawn(sleep_shortly, NULL);
	weft_run();
	s = stats_of(0);
	ck_assert_uint_eq(s.timers_fired, 20);
	ck_assert_int_ge(s.worst_lateness_ns, 0);
}
END_TEST

static int read_byte(void *fd)
{
	char byte;

	return (int)weft_read(*(int *)fd, &byte, 1);
}

/* Operations are counted one by one, the system calls that hand them in are far
 * fewer, and nothing came back that nobody waits for. */
START_TEST(operations_are_counted_and_batched)
{
	enum { N_PIPES = 20, N_READERS = 5 };
	char bytes[N_READERS] = "";
	struct weft_stats s;
	int fds[N_PIPES][2];

	for (int i = 0; i < N_PIPES; i++) {
		ck_assert_int_eq(pipe(fds[i]), 0);
		for (int k = 0; k < N_READERS; k++)
			weft_spawn(read_byte, &fds[i][0]);
	}
	weft_schedule();
	for (int i = 0; i < N_PIPES; i++)
		ck_assert_int_eq(write(fds[i][1], bytes, sizeof bytes),
				 N_READERS);
	weft_run();
	s = stats_of(0);
	ck_assert_uint_eq(s.operations, N_PIPES * N_READERS);
	ck_assert_uint_ge(s.submits, 1);
	/* The poll engine makes a system call for each. */
	if (have_io_uring())
		ck_assert_uint_le(s.submits, 20);
	ck_assert_uint_eq(s.stray_completions, 0);
	ck_assert_uint_eq(s.cancels, 0);
}
END_TEST

/* Another thread, which parks in receive. */
struct parker {
	weft_channel *ch;
	uint64_t id;
	int n;
	struct weft_stats at_end;
};

static void *receive_some(void *arg)
{
	struct parker *p = arg;

	__atomic_store_n(&p->id, weft_thread_id(), __ATOMIC_RELEASE);
	for (int i = 0; i < p->n; i++)
		weft_channel_receive(p->ch, NULL);
	weft_stats(0, &p->at_end);
	return NULL;
}

static uint64_t id_of(struct parker *p)
{
	uint64_t id;

	do
		id = __atomic_load_n(&p->id, __ATOMIC_ACQUIRE);
	while (!id);
	return id;
}

/* A parked thread is woken once for each time that it went to sleep. A wake that
 * comes late may find it parked anew, and what is handed in while it looks about
 * needs none of its own. */
START_TEST(wakes_are_counted)
{
	enum { WAKES = 50 };
	struct parker p = { .ch = weft_channel_new(0, 0), .n = WAKES };
	struct weft_stats before, after;
	uint64_t sent, saved;
	pthread_t thread;

	setenv("WEFT_SPIN", "0", 1);
	before = stats_of(0);
	thread = start_thread(receive_some, &p);
	for (int i = 0; i < WAKES; i++) {
		until_parked(id_of(&p));
		ck_assert_int_eq(weft_channel_send(p.ch, NULL), 0);
	}
	join_thread(thread);
	after = stats_of(0);
	sent = after.wakes_sent - before.wakes_sent;
	saved = after.wakes_saved - before.wakes_saved;
	ck_assert_uint_ge(sent, 1);
	ck_assert_uint_eq(sent + saved, WAKES);
	ck_assert_uint_ge(p.at_end.parks, sent);
	weft_channel_unref(p.ch);
}
END_TEST

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

/* What is handed to a thread that is awake needs no wake: of many at once only
 * the first can. */
START_TEST(wakes_are_saved)
{
	enum { MANY = 1000 };
	struct parker p = { .ch = weft_channel_new(0, 0), .n = 1 };
	struct weft_tasklet_options options = { .thread = 0 };
	pthread_t thread = start_thread(receive_some, &p);
	struct weft_stats s;

	options.thread = id_of(&p);
	for (int i = 0; i < MANY; i++)
		ck_assert(!weft_tasklet_is_null(
			weft_spawn_with(&options, do_nothing, NULL)));
	ck_assert_int_eq(weft_channel_send(p.ch, NULL), 0);
	join_thread(thread);
	s = stats_of(0);
	ck_assert_uint_ge(s.wakes_sent + s.wakes_saved, MANY);
	ck_assert_uint_eq(p.at_end.spawned, MANY);
	weft_channel_unref(p.ch);
}
END_TEST

/* The counts of another thread can be looked at while it sleeps. */
START_TEST(stats_of_another_thread)
{
	struct parker p = { .ch = weft_channel_new(0, 0), .n = 1 };
	pthread_t thread = start_thread(receive_some, &p);
	struct weft_stats s;

	/* It is to be seen as parked a little before that is counted. */
	do
		s = stats_of(id_of(&p));
	while (!s.parks);
	ck_assert_uint_eq(s.alive, 1);
	ck_assert_uint_eq(s.spawned, 0);
	weft_channel_send(p.ch, NULL);
	join_thread(thread);
	ck_assert_int_eq(weft_stats(p.id, &s), -ESRCH);
	weft_channel_unref(p.ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("debug");

	add_case(s, "version", version_is_that_of_the_headers);
	add_case(s, "stats", stats_fail, stats_of_a_new_thread,
		 tasklets_are_counted, switches_are_counted, timers_are_counted,
		 operations_are_counted_and_batched);
	add_case(s, "stats across threads", wakes_are_counted, wakes_are_saved,
		 stats_of_another_thread);
	return run_suite(s);
}
