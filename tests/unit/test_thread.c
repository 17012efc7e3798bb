/* SPDX-License-Identifier: MIT */
/*
 * Threads: attaching by the first call, what can be seen of them, and what their
 * end leaves behind: nothing.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int count_up(void *arg)
{
	++*(int *)arg;
	return 0;
}

/* --- attaching --- */

/* Whichever call comes first attaches, and the thread's stack is main. */
static void first_spawn(void)
{
	weft_spawn(do_nothing, NULL);
}

static void first_current(void)
{
	weft_current();
}

static void first_main(void)
{
	weft_main();
}

static void first_thread_id(void)
{
	weft_thread_id();
}

static void first_schedule(void)
{
	weft_schedule();
}

static void first_schedule_remove(void)
{
	weft_schedule_remove();
}

static void first_run(void)
{
	weft_run();
}

static void first_pump(void)
{
	weft_pump();
}

static void first_sleep(void)
{
	weft_sleep(1);
}

static void first_stats(void)
{
	struct weft_stats stats;

	weft_stats(0, &stats);
}

static void first_receive(void)
{
	weft_channel *ch = weft_channel_new(0, 0);

	weft_channel_try_receive(ch, NULL);
	weft_channel_unref(ch);
}

static void first_close(void)
{
	weft_close(-1);
}

static void (*const first_calls[])(void) = {
	first_spawn,    first_current,         first_main,    first_thread_id,
	first_schedule, first_schedule_remove, first_run,     first_pump,
	first_sleep,    first_stats,           first_receive, first_close,
};

START_TEST(first_call_attaches)
{
	weft_tasklet me;

	first_calls[_i]();
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	ck_assert_uint_eq(weft_thread_id(), 1);
	me = weft_current();
	ck_assert(!weft_tasklet_is_null(me));
	ck_assert(weft_tasklet_is_main(me));
	ck_assert(weft_tasklet_equal(me, weft_main()));
	ck_assert_int_eq(weft_tasklet_state(me), WEFT_RUNNING);
	ck_assert_uint_eq(weft_tasklet_thread(me), 1);
	ck_assert_int_eq(weft_pump(), 0);
}
END_TEST

static void *without_weft(void *arg)
{
	return arg;
}

static void *look_up_id(void *id)
{
	*(uint64_t *)id = weft_thread_id();
	return NULL;
}

/* Ids count from 1 and are never used again; only threads that call weft are
 * attached, and only until their end. */
START_TEST(ids_are_not_used_again)
{
	uint64_t last;

	ck_assert_uint_eq(weft_thread_id(), 1);
	ck_assert_uint_eq(weft_thread_id(), 1);
	join_thread(start_thread(without_weft, NULL));
	last = 1;
	for (int i = 0; i < 200; i++) {
		uint64_t id = 0;

		join_thread(start_thread(look_up_id, &id));
		ck_assert_uint_gt(id, last);
		last = id;
		ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	}
}
END_TEST

/* --- seeing --- */

/* A thread that stays, blocked, until it is told to go. */
struct stayer {
	weft_channel *ready, *go;
	uint64_t id;
	pthread_t thread;
};

static void *stay(void *arg)
{
	struct stayer *s = arg;

	s->id = weft_thread_id();
	weft_channel_send(s->ready, NULL);
	weft_channel_receive(s->go, NULL);
	return NULL;
}

static void start_stayer(struct stayer *s)
{
	s->ready = weft_channel_new(0, 0);
	s->go = weft_channel_new(0, 0);
	s->thread = start_thread(stay, s);
	weft_channel_receive(s->ready, NULL);
}

static void end_stayer(struct stayer *s)
{
	weft_channel_send(s->go, NULL);
	join_thread(s->thread);
	weft_channel_unref(s->ready);
	weft_channel_unref(s->go);
}

/* All attached threads are listed, the oldest first, as many as fit. */
START_TEST(threads_are_listed_oldest_first)
{
	struct stayer others[3];
	uint64_t ids[8];

	weft_thread_id();
	for (int i = 0; i < 3; i++)
		start_stayer(&others[i]);
	memset(ids, 0xff, sizeof ids);
	ck_assert_uint_eq(weft_threads(ids, 8), 4);
	ck_assert_uint_eq(ids[0], weft_thread_id());
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(ids[i + 1], others[i].id);
	ck_assert_uint_eq(ids[4], UINT64_MAX);

	memset(ids, 0xff, sizeof ids);
	ck_assert_uint_eq(weft_threads(ids, 2), 4);
	ck_assert_uint_eq(ids[1], others[0].id);
	ck_assert_uint_eq(ids[2], UINT64_MAX);
	ck_assert_uint_eq(weft_threads(NULL, 0), 4);

	end_stayer(&others[1]);
	ck_assert_uint_eq(weft_threads(ids, 8), 3);
	ck_assert_uint_eq(ids[1], others[0].id);
	ck_assert_uint_eq(ids[2], others[2].id);
	end_stayer(&others[0]);
	end_stayer(&others[2]);
	ck_assert_uint_eq(weft_threads(ids, 8), 1);
}
END_TEST

struct looker {
	struct weft_thread_info info;
	weft_tasklet me;
	int rc;
};

static int look_at_thread(void *arg)
{
	struct looker *l = arg;

	l->me = weft_current();
	l->rc = weft_thread_info(weft_thread_id(), &l->info);
	return 0;
}

/* What a thread sees of itself is exact. */
START_TEST(info_of_the_own_thread)
{
	struct weft_tasklet_options paused = { .paused = true };
	struct weft_thread_info info;
	struct looker l = { .rc = 1 };

	ck_assert_int_eq(weft_thread_info(weft_thread_id(), &info), 0);
	ck_assert_uint_eq(info.id, weft_thread_id());
	ck_assert(weft_tasklet_equal(info.main, weft_main()));
	ck_assert(weft_tasklet_equal(info.current, weft_main()));
	ck_assert_uint_eq(info.runcount, 1);
	ck_assert_uint_eq(info.alive, 1);
	ck_assert(!info.parked);

	weft_spawn(look_at_thread, &l);
	weft_spawn(do_nothing, NULL);
	weft_spawn_with(&paused, do_nothing, NULL);
	ck_assert_int_eq(weft_thread_info(weft_thread_id(), &info), 0);
	ck_assert_uint_eq(info.runcount, 3);
	ck_assert_uint_eq(info.alive, 4);
	weft_pump();
	ck_assert_int_eq(l.rc, 0);
	ck_assert(weft_tasklet_equal(l.info.current, l.me));
	ck_assert(weft_tasklet_equal(l.info.main, weft_main()));
	ck_assert_uint_eq(l.info.runcount, 2);
	ck_assert_uint_eq(l.info.alive, 4);
}
END_TEST

/* Another thread that is parked stays as it is seen. */
START_TEST(info_of_a_parked_thread)
{
	struct weft_thread_info info;
	struct stayer other;

	start_stayer(&other);
	until_parked(other.id);
	ck_assert_int_eq(weft_thread_info(other.id, &info), 0);
	ck_assert_uint_eq(info.id, other.id);
	ck_assert_uint_eq(info.alive, 1);
	ck_assert(info.parked);
	ck_assert(!weft_tasklet_equal(info.main, weft_main()));
	ck_assert_uint_eq(weft_tasklet_thread(info.main), other.id);
	ck_assert(weft_tasklet_is_main(info.main));
	ck_assert_int_eq(weft_tasklet_state(info.main), WEFT_BLOCKED);
	end_stayer(&other);
	ck_assert(!weft_tasklet_alive(info.main));
}
END_TEST

/* Of a thread that is not there nothing is told, and @info is untouched. */
START_TEST(info_fails)
{
	struct weft_thread_info info, before;
	uint64_t gone = 0;

	weft_thread_id();
	memset(&info, 0x5a, sizeof info);
	before = info;
	join_thread(start_thread(look_up_id, &gone));
	ck_assert_int_eq(weft_thread_info(gone, &info), -ESRCH);
	ck_assert_int_eq(weft_thread_info(0, &info), -ESRCH);
	ck_assert_int_eq(weft_thread_info(UINT64_MAX, &info), -ESRCH);
	ck_assert_int_eq(weft_thread_info(weft_thread_id(), NULL), -EINVAL);
	ck_assert_mem_eq(&info, &before, sizeof info);
}
END_TEST

/* --- the end --- */

/* What the leftovers of a thread saw. */
struct leftovers {
	weft_channel *ch;
	int fds[2];
	bool with_io;
	weft_tasklet handles[8];
	int n;
	char order[16];
	int rc[8];
	int n_unstarted;
};

static struct leftovers left;

static int note(char who, int rc)
{
	size_t n = strlen(left.order);

	left.order[n] = who;
	left.rc[n] = rc;
	return 0;
}

static int left_receiving(void *arg)
{
	(void)arg;
	return note('r', weft_channel_receive(left.ch, NULL));
}

static int left_paused(void *arg)
{
	(void)arg;
	return note('p', weft_schedule_remove());
}

static int left_sleeping(void *arg)
{
	(void)arg;
	return note('s', weft_sleep_until(WEFT_FOREVER));
}

static int left_yielding(void *arg)
{
	int rc;

	(void)arg;
	while ((rc = weft_schedule()) == 0)
		;
	return note('y', rc);
}

static int left_inside_run(void *arg)
{
	(void)arg;
	return note('i', weft_run());
}

static int left_reading(void *arg)
{
	char byte;

	(void)arg;
	return note('d', (int)weft_read(left.fds[0], &byte, 1));
}

static void *leave_some(void *arg)
{
	static const weft_fn fns[] = { left_receiving, left_paused,
				       left_sleeping, left_yielding };
	struct weft_tasklet_options paused = { .paused = true };

	(void)arg;
	for (size_t i = 0; i < N_ELEMENTS(fns); i++)
		left.handles[left.n++] = weft_spawn(fns[i], NULL);
	weft_schedule();
	left.handles[left.n++] = weft_spawn(count_up, &left.n_unstarted);
	left.handles[left.n++] =
		weft_spawn_with(&paused, count_up, &left.n_unstarted);
	return NULL;
}

/* At the end of a thread its tasklets are killed in the order of their creation:
 * each goes to the end of the ring, behind those that are runnable, sees
 * -ECANCELED and runs to its end; those that never started do not run. Nothing
 * of them stays in a channel. */
START_TEST(end_kills_what_is_left)
{
	left.ch = weft_channel_new(0, 0);
	weft_thread_id();
	join_thread(start_thread(leave_some, NULL));
	ck_assert_str_eq(left.order, "yrps");
	for (int i = 0; i < 4; i++)
		ck_assert_int_eq(left.rc[i], -ECANCELED);
	ck_assert_int_eq(left.n_unstarted, 0);
	for (int i = 0; i < left.n; i++) {
		ck_assert(!weft_tasklet_is_null(left.handles[i]));
		ck_assert(!weft_tasklet_alive(left.handles[i]));
		ck_assert_int_eq(weft_tasklet_insert(left.handles[i]), -ESRCH);
	}
	ck_assert_int_eq(weft_channel_balance(left.ch), 0);
	ck_assert_uint_eq(weft_channel_waiters(left.ch, NULL, 0), 0);
	ck_assert_int_eq(weft_channel_try_send(left.ch, NULL), -EAGAIN);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	weft_channel_unref(left.ch);
}
END_TEST

static void *leave_one_inside_run(void *arg)
{
	(void)arg;
	weft_spawn(left_receiving, NULL);
	weft_spawn(left_inside_run, NULL);
	weft_schedule();
	return NULL;
}

/* One inside run is ended as well. Its run may return before the kill reaches
 * it, when the other one has ended. */
START_TEST(end_with_one_inside_run)
{
	left.ch = weft_channel_new(0, 0);
	join_thread(start_thread(leave_one_inside_run, NULL));
	ck_assert_uint_eq(strlen(left.order), 2);
	ck_assert_ptr_nonnull(strchr(left.order, 'r'));
	ck_assert_ptr_nonnull(strchr(left.order, 'i'));
	ck_assert_int_eq(weft_channel_balance(left.ch), 0);
	weft_channel_unref(left.ch);
}
END_TEST

static void *leave_a_reader(void *arg)
{
	(void)arg;
	weft_spawn(left_reading, NULL);
	weft_schedule();
	/* Some of the time it is in the kernel, some of the time on its way. */
	if (left.with_io)
		weft_sleep(WEFT_MILLISECOND);
	return NULL;
}

/* I/O in flight is cancelled and waited for: no byte that comes later is lost. */
START_TEST(end_with_io_in_flight)
{
	char byte = 0;

	left.with_io = _i != 0;
	ck_assert_int_eq(pipe(left.fds), 0);
	join_thread(start_thread(leave_a_reader, NULL));
	ck_assert_str_eq(left.order, "d");
	ck_assert_int_eq(left.rc[0], -ECANCELED);
	ck_assert_int_eq(write(left.fds[1], "x", 1), 1);
	ck_assert_int_eq(read(left.fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
}
END_TEST

static int send_on_the_way_out(void *arg)
{
	int rc = weft_schedule_remove();

	(void)arg;
	/* Blocking calls go on failing, so this comes to an end. */
	for (int i = 0; i < 100; i++)
		if (weft_channel_send(left.ch, NULL) != -ECANCELED)
			return note('!', i);
	return note('k', rc);
}

static void *leave_one_that_tries_on(void *arg)
{
	(void)arg;
	weft_spawn(send_on_the_way_out, NULL);
	weft_schedule();
	return NULL;
}

/* A kill stays: each later blocking call fails too. */
START_TEST(end_with_one_that_tries_on)
{
	left.ch = weft_channel_new(0, 0);
	join_thread(start_thread(leave_one_that_tries_on, NULL));
	ck_assert_str_eq(left.order, "k");
	ck_assert_int_eq(left.rc[0], -ECANCELED);
	ck_assert_int_eq(weft_channel_balance(left.ch), 0);
	weft_channel_unref(left.ch);
}
END_TEST

static int never_end(void *arg)
{
	(void)arg;
	while (weft_schedule() <= 0)
		;
	return 0;
}

static void *leave_a_stubborn_one(void *handle)
{
	*(weft_tasklet *)handle = weft_spawn(never_end, NULL);
	weft_schedule();
	return NULL;
}

/* One that ignores its kill cannot hold the thread up for ever. */
START_TEST(end_with_a_stubborn_one)
{
	weft_tasklet t;

	weft_thread_id();
	join_thread(start_thread(leave_a_stubborn_one, &t));
	ck_assert(!weft_tasklet_alive(t));
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

static int spawn_another(void *arg)
{
	struct weft_tasklet_options paused = { .paused = true };

	weft_schedule_remove();
	left.handles[left.n++] = weft_spawn_with(&paused, count_up, arg);
	return 0;
}

static void *leave_one_that_spawns(void *n)
{
	weft_spawn(spawn_another, n);
	weft_schedule();
	return NULL;
}

/* What is spawned on the way out goes the same way. */
START_TEST(end_with_one_that_spawns)
{
	int n = 0;

	weft_thread_id();
	join_thread(start_thread(leave_one_that_spawns, &n));
	ck_assert_int_eq(left.n, 1);
	ck_assert(!weft_tasklet_alive(left.handles[0]));
	ck_assert_int_eq(n, 0);
}
END_TEST

static int leave_the_thread(void *arg)
{
	pthread_exit(arg);
}

static void *exit_from_a_tasklet(void *arg)
{
	weft_spawn(leave_the_thread, arg);
	weft_run();
	return NULL;
}

/* pthread_exit() is no way to end a tasklet, but the other threads live on.
 * ThreadSanitizer does not allow it on a stack that is not the thread's. */
START_TEST(pthread_exit_in_a_tasklet)
{
	int n = 0;

	if (UNDER_TSAN)
		return;
	weft_thread_id();
	join_thread(start_thread(exit_from_a_tasklet, NULL));
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	weft_spawn(count_up, &n);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n, 1);
}
END_TEST

static int sleep_for_long(void *arg)
{
	(void)arg;
	return weft_sleep_until(weft_now() + 60 * WEFT_SECOND);
}

static int run_inside(void *arg)
{
	(void)arg;
	return weft_run_until(weft_now() + 30 * WEFT_SECOND);
}

enum { DEPTH = 64 * 1024, FRAMES = 4096 };

/* Where main's frames were, far below those of the end. */
static char *dead_frames;

/* A destructor of a key that is older than the library's runs before that, one of
 * a younger one after it. */
static void write_there(void *arg)
{
	(void)arg;
	memset(dead_frames, 0xff, FRAMES);
}

static void look_there(void *n_changed)
{
	for (int i = 0; i < FRAMES; i++)
		*(int *)n_changed += dead_frames[i] != (char)0xff;
}

static __attribute__((noinline)) void run_far_below(void)
{
	char *below = __builtin_alloca(DEPTH);

	*(volatile char *)below = 1;
	dead_frames = below - FRAMES;
	weft_spawn(sleep_for_long, NULL);
	weft_spawn(run_inside, NULL);
	weft_spawn(sleep_for_long, NULL);
	weft_schedule(); /* their timers come first, and main's last */
	weft_spawn(leave_the_thread, NULL);
	weft_run_until(weft_now() + 90 * WEFT_SECOND);
	*(volatile char *)below = 1;
}

static pthread_key_t older, younger;

static void *exit_under_run_until(void *n_changed)
{
	pthread_setspecific(older, n_changed);
	pthread_setspecific(younger, n_changed);
	run_far_below();
	return NULL;
}

/* Where main's frames have been nobody looks, and nobody writes: not even for the
 * timer of weft_run_until(). */
START_TEST(pthread_exit_under_run_until)
{
	int n_changed = 0;

	/* Tools do not like it either. */
	if (UNDER_TSAN || UNDER_ASAN || is_under_valgrind())
		return;
	pthread_key_create(&older, write_there);
	weft_thread_id();
	pthread_key_create(&younger, look_there);
	join_thread(start_thread(exit_under_run_until, &n_changed));
	ck_assert_int_eq(n_changed, 0);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

static size_t address_space(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	size_t pages = 0;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%zu", &pages), 1);
	fclose(f);
	return pages * (size_t)getpagesize();
}

/* The stacks of such a thread are given back. */
START_TEST(pthread_exit_in_a_tasklet_leaves_no_stacks)
{
	enum { STACKS = 16 * 128 * 1024 };
	size_t before;

	if (lacks_memory_to_itself())
		return;
	join_thread(start_thread(exit_from_a_tasklet, NULL));
	before = address_space();
	for (int i = 0; i < 30; i++)
		join_thread(start_thread(exit_from_a_tasklet, NULL));
	ck_assert_uint_lt(address_space(), before + 2 * STACKS);
}
END_TEST

static _Atomic(int) n_attached_at_end, n_refused_at_end;

/* Runs after the library's own destructor, and again as long as there is a next
 * round. */
static void call_weft_again(void *arg)
{
	pthread_setspecific(younger, arg);
	errno = 0;
	if (weft_thread_id())
		n_attached_at_end++;
	else if (errno == ESRCH)
		n_refused_at_end++;
}

static void *end_with_calls(void *arg)
{
	if (arg != &younger)
		weft_thread_id();
	pthread_setspecific(younger, arg);
	return NULL;
}

static void end_with_calls_of_destructors(void *arg)
{
	weft_channel *ch = weft_channel_new(0, 0);

	n_attached_at_end = n_refused_at_end = 0;
	join_thread(start_thread(end_with_calls, arg));
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	ck_assert_int_ge(n_attached_at_end, 1);
	ck_assert_int_ge(n_refused_at_end, 1);
	/* Nobody else counts as awake. */
	if (has_verdicts())
		ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	weft_channel_unref(ch);
}

/* Destructors of keys can attach a thread anew that has been detached, but not so
 * late that nobody would detach it: that would be a thread which never parks, and
 * never ends. Also of a thread that has not called weft before. */
START_TEST(key_destructors_that_call_weft)
{
	if (UNDER_TSAN) /* It has forgotten the thread by the last round. */
		return;
	weft_thread_id();
	pthread_key_create(&younger, call_weft_again);
	end_with_calls_of_destructors(&older);
	end_with_calls_of_destructors(&younger);
}
END_TEST

static void *exit_under_a_blocked_main(void *arg)
{
	weft_spawn(leave_the_thread, arg);
	weft_channel_receive(arg, NULL);
	return NULL;
}

static int leave_a_blocked_main(void)
{
	join_thread(start_thread(exit_under_a_blocked_main,
				 weft_channel_new(0, 0)));
	return 0;
}

/* What a main tasklet waits with lies in frames that such an end takes away: the
 * process stops rather than have others write there. */
START_TEST(pthread_exit_under_a_blocked_main)
{
	char errors[1024];

	if (UNDER_TSAN || UNDER_ASAN || is_under_valgrind())
		return;
	ck_assert_int_eq(in_child(leave_a_blocked_main, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "pthread_exit() in a tasklet"));
}
END_TEST

/* --- the end against others --- */

/* Nothing can be spawned on a thread that has ended. */
START_TEST(spawn_on_an_ended_thread)
{
	struct weft_tasklet_options options = { .thread = 0 };

	weft_thread_id();
	join_thread(start_thread(look_up_id, &options.thread));
	errno = 0;
	ck_assert(weft_tasklet_is_null(
		weft_spawn_with(&options, do_nothing, NULL)));
	ck_assert_int_eq(errno, ESRCH);
}
END_TEST

enum { ATTACH_THREADS = 4, ATTACH_TIMES = 100 };

static void *attach_and_work(void *arg)
{
	int n = 0;

	for (int i = 0; i < 10; i++)
		weft_spawn(count_up, &n);
	weft_run();
	*(int *)arg += n;
	return NULL;
}

static void *attach_again_and_again(void *arg)
{
	for (int i = 0; i < ATTACH_TIMES; i++) {
		pthread_t thread;

		if (pthread_create(&thread, NULL, attach_and_work, arg) == 0)
			pthread_join(thread, NULL);
	}
	return NULL;
}

/* Threads come and go at the same time. */
START_TEST(attach_and_detach_storm)
{
	pthread_t threads[ATTACH_THREADS];
	int n[ATTACH_THREADS] = { 0 };

	weft_thread_id();
	for (int i = 0; i < ATTACH_THREADS; i++)
		threads[i] = start_thread(attach_again_and_again, &n[i]);
	for (int i = 0; i < ATTACH_THREADS; i++) {
		join_thread(threads[i]);
		ck_assert_int_eq(n[i], 10 * ATTACH_TIMES);
	}
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

static int add_one(void *arg)
{
	__atomic_add_fetch((int *)arg, 1, __ATOMIC_RELAXED);
	return 0;
}

/* Spawning on a thread that ends meanwhile either works, and the tasklet ends
 * one way or the other, or says that there is no such thread. */
START_TEST(spawn_against_the_end)
{
	enum { ROUNDS = 200, SPAWNS = 20 };
	int n_run = 0;

	for (int round = 0; round < ROUNDS; round++) {
		struct stayer other;
		struct weft_tasklet_options options;
		weft_tasklet made[SPAWNS];

		start_stayer(&other);
		options = (struct weft_tasklet_options){ .thread = other.id };
		weft_channel_send(other.go, NULL);
		for (int i = 0; i < SPAWNS; i++) {
			errno = 0;
			made[i] = weft_spawn_with(&options, add_one, &n_run);
			if (weft_tasklet_is_null(made[i]))
				ck_assert_int_eq(errno, ESRCH);
		}
		join_thread(other.thread);
		for (int i = 0; i < SPAWNS; i++)
			ck_assert(!weft_tasklet_alive(made[i]));
		weft_channel_unref(other.ready);
		weft_channel_unref(other.go);
	}
	ck_assert_int_le(n_run, ROUNDS * SPAWNS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("thread");

	add_loop(s, "attach", first_call_attaches, N_ELEMENTS(first_calls));
	add_case(s, "ids", ids_are_not_used_again);
	add_case(s, "threads", threads_are_listed_oldest_first);
	add_case(s, "info", info_of_the_own_thread, info_of_a_parked_thread,
		 info_fails);
	add_case(s, "end", end_kills_what_is_left, end_with_one_inside_run,
		 end_with_one_that_tries_on, end_with_a_stubborn_one,
		 end_with_one_that_spawns, pthread_exit_in_a_tasklet,
		 pthread_exit_under_run_until,
		 pthread_exit_in_a_tasklet_leaves_no_stacks,
		 pthread_exit_under_a_blocked_main,
		 key_destructors_that_call_weft);
	add_loop(s, "end and I/O", end_with_io_in_flight, 2);
	add_case(s, "end against others", spawn_on_an_ended_thread,
		 attach_and_detach_storm, spawn_against_the_end);
	return run_suite(s);
}
