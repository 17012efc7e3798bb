/* SPDX-License-Identifier: MIT */
/*
 * pthread_exit() in a tasklet, and in whatever the library calls of the program's:
 * the thread ends, its tasklets with it, and nothing of it is left set, locked or
 * open for others.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

/* ThreadSanitizer lets no fiber call pthread_exit(), and AddressSanitizer takes what it
 * has marked in frames of main's, which are gone, for what comes after those. */
enum { CANNOT_LEAVE = UNDER_TSAN || UNDER_ASAN };

/* --- whence --- */

static weft_channel *x; /* nobody ever sends on it but when a test says so */
enum { ALWAYS = -1000 };
static int n_to_go; /* calls until one does not return; ALWAYS: none does */
static int n_dropped, n_deferred, n_told;

static void leave_in_time(void)
{
	if (n_to_go == ALWAYS || n_to_go-- == 0)
		pthread_exit(NULL);
}

static void drop(void *arg)
{
	(void)arg;
	n_dropped++;
	leave_in_time();
}

static void defer_it(void *arg)
{
	(void)arg;
	n_deferred++;
	leave_in_time();
}

static void tell_error(weft_tasklet t, int result, void *ctx)
{
	(void)t;
	(void)result;
	(void)ctx;
	n_told++;
	leave_in_time();
}

static void tell_switch(weft_tasklet from, weft_tasklet to, void *ctx)
{
	(void)from;
	(void)to;
	(void)ctx;
	leave_in_time();
}

static void tell_channel(weft_channel *ch, weft_tasklet t, bool sending,
			 bool will_block, void *ctx)
{
	(void)ch;
	(void)t;
	(void)sending;
	(void)will_block;
	(void)ctx;
	leave_in_time();
}

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int end_in_error(void *arg)
{
	(void)arg;
	return -EIO;
}

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

static int leave_as_killed(void *arg)
{
	(void)weft_channel_receive(x, NULL);
	pthread_exit(arg);
}

static int sleep_shielded(void *arg)
{
	weft_shield_begin();
	(void)weft_sleep(WEFT_MILLISECOND);
	weft_shield_end();
	(void)arg;
	return 0;
}

static int defer_two(void *arg)
{
	weft_defer(defer_it, arg);
	weft_defer(defer_it, arg);
	return 0;
}

/* --- after it --- */

static weft_tasklet left[8];
static int n_left;

static void leave_behind(weft_tasklet t)
{
	left[n_left++] = t;
}

static void leave_behind_usual(void)
{
	struct weft_tasklet_options o = { .paused = true };

	leave_behind(weft_spawn(receive_x, NULL));
	weft_schedule();
	leave_behind(weft_spawn_with(&o, nothing, NULL));
}

/* Nobody but the caller is attached, or counts as awake; those left are gone; and
 * what processes share can be used. */
static void check_rest(void)
{
	weft_channel *ch = weft_channel_new(0, 0);

	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	for (int i = 0; i < n_left; i++) {
		ck_assert(!weft_tasklet_alive(left[i]));
		ck_assert_int_eq(weft_tasklet_join(left[i]), -ESRCH);
	}
	ck_assert_int_eq(weft_channel_balance(x), 0);
	if (has_verdicts())
		ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	weft_channel_unref(ch);
	weft_set_error_handler(NULL, NULL);
	weft_spawn(end_in_error, NULL);
	ck_assert_int_eq(weft_run(), 0);
}

static void run_in_thread(void *(*body)(void *arg), void *arg)
{
	if (CANNOT_LEAVE)
		return;
	x = weft_channel_new(0, 0);
	join_thread(start_thread(body, arg));
	check_rest();
}

/* --- callbacks --- */

static void *fail_in_tasklet(void *arg)
{
	weft_set_error_handler(tell_error, NULL);
	leave_behind_usual();
	leave_behind(weft_spawn(end_in_error, NULL));
	leave_behind(weft_spawn(end_in_error, NULL));
	weft_run();
	return arg;
}

START_TEST(error_handler)
{
	n_to_go = _i;
	run_in_thread(fail_in_tasklet, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_told, _i + 1);
}
END_TEST

static int insert_main(void *arg)
{
	(void)arg;
	return weft_tasklet_insert(weft_main());
}

static void *tell_switches(void *arg)
{
	leave_behind_usual();
	leave_behind(weft_spawn(nothing, NULL));
	leave_behind(weft_spawn(sleep_shielded, NULL));
	weft_set_schedule_callback(tell_switch, NULL);
	weft_schedule();
	weft_run_until(weft_now() + 2 * WEFT_MILLISECOND);
	weft_spawn(insert_main, NULL);
	weft_schedule_remove();
	weft_schedule();
	return arg;
}

/* Also of the main tasklet, on its way from or to a place in the ring. */
START_TEST(schedule_callback)
{
	n_to_go = _i;
	run_in_thread(tell_switches, NULL);
}
END_TEST

static void *block_main_told(void *arg)
{
	weft_spawn(nothing, NULL);
	weft_set_schedule_callback(tell_switch, NULL);
	weft_channel_receive(x, NULL);
	return arg;
}

static int leave_a_blocked_main(void)
{
	x = weft_channel_new(0, 0);
	join_thread(start_thread(block_main_told, NULL));
	return 0;
}

/* The waiter of main's is in frames that are gone. */
START_TEST(schedule_callback_of_a_blocked_main)
{
	char errors[1024];

	if (CANNOT_LEAVE || is_under_valgrind())
		return;
	ck_assert_int_eq(in_child(leave_a_blocked_main, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "pthread_exit()"));
}
END_TEST

static int receive_told(void *arg)
{
	weft_set_channel_callback(tell_channel, NULL);
	return receive_x(arg);
}

static void *tell_channels(void *on_main)
{
	leave_behind_usual();
	if (on_main)
		receive_told(NULL);
	leave_behind(weft_spawn(receive_told, NULL));
	weft_run();
	return NULL;
}

START_TEST(channel_callback)
{
	n_to_go = 0;
	run_in_thread(tell_channels, _i ? &n_to_go : NULL);
}
END_TEST

/* --- ends --- */

static void *leave_in_deferred(void *arg)
{
	leave_behind_usual();
	leave_behind(weft_spawn(defer_two, NULL));
	weft_run();
	return arg;
}

START_TEST(deferred)
{
	n_to_go = _i;
	run_in_thread(leave_in_deferred, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_deferred, _i + 1);
}
END_TEST

static void *leave_in_deferred_of_main(void *arg)
{
	weft_defer(defer_it, arg);
	weft_defer(defer_it, arg);
	leave_behind_usual();
	return arg;
}

/* The end of the thread, which calls it, goes on. */
START_TEST(deferred_of_main)
{
	n_to_go = _i < 2 ? _i : ALWAYS;
	run_in_thread(leave_in_deferred_of_main, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_deferred, 2);
}
END_TEST

static void *end_with_one_that_leaves(void *arg)
{
	leave_behind(weft_spawn(sleep_shielded, NULL));
	leave_behind(weft_spawn(leave_as_killed, NULL));
	leave_behind_usual();
	weft_schedule();
	return arg;
}

/* A tasklet that is killed at the end of its thread leaves that. */
START_TEST(at_the_end_of_a_thread)
{
	run_in_thread(end_with_one_that_leaves, NULL);
}
END_TEST

static void *kill_with_drop(void *arg)
{
	struct weft_tasklet_options o = { .paused = true, .drop = drop };

	leave_behind_usual();
	for (int i = 0; i < 3; i++)
		leave_behind(weft_spawn_with(&o, nothing, NULL));
	weft_tasklet_kill(left[n_left - 3], 0);
	weft_pump();
	return arg;
}

/* All are dropped once. */
START_TEST(drop_of_a_tasklet)
{
	n_to_go = _i < 3 ? _i : ALWAYS;
	run_in_thread(kill_with_drop, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_dropped, 3);
}
END_TEST

/* --- those that a thread refuses --- */

static sem_t has_come, may_end;
static uint64_t target;

static void *wait_and_end(void *arg)
{
	target = weft_thread_id();
	sem_post(&has_come);
	while (sem_wait(&may_end))
		;
	return arg;
}

static int join_left(void *i)
{
	return weft_tasklet_join(left[(intptr_t)i]);
}

/* Tasklets that come as their thread ends are dropped, all of them, whatever one of
 * those does; and who joins them is told. */
START_TEST(drop_of_what_is_refused)
{
	struct weft_tasklet_options o = { .drop = drop };
	weft_tasklet joiners[3];
	pthread_t thread;

	if (CANNOT_LEAVE)
		return;
	x = weft_channel_new(0, 0);
	n_to_go = _i < 3 ? _i : ALWAYS;
	sem_init(&has_come, 0, 0);
	sem_init(&may_end, 0, 0);
	thread = start_thread(wait_and_end, NULL);
	while (sem_wait(&has_come))
		;
	o.thread = target;
	for (intptr_t i = 0; i < 3; i++) {
		leave_behind(weft_spawn_with(&o, nothing, NULL));
		joiners[i] = weft_spawn(join_left, (void *)i);
	}
	weft_schedule();
	sem_post(&may_end);
	join_thread(thread);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 3; i++)
		ck_assert(!weft_tasklet_alive(joiners[i]));
	ck_assert_int_eq(n_dropped, 3);
	check_rest();
}
END_TEST

static weft_tasklet spawned[3];
static int n_spawned, n_run;

static int count_run(void *arg)
{
	(void)arg;
	n_run++;
	return 0;
}

static void spawn_three(void *leaves)
{
	struct weft_tasklet_options o = { .drop = spawn_three };

	n_dropped++;
	if (n_spawned < 3)
		spawned[n_spawned++] = weft_spawn_with(&o, count_run, NULL);
	if (leaves)
		pthread_exit(NULL);
}

/* What the drop of such a tasklet spawns does not run, since nobody could wake it,
 * and is dropped as well. So it is if that drop leaves the end of the thread. */
START_TEST(what_the_refused_spawn)
{
	struct weft_tasklet_options o = { .drop = spawn_three };
	pthread_t thread;

	if (_i && CANNOT_LEAVE)
		return;
	sem_init(&has_come, 0, 0);
	sem_init(&may_end, 0, 0);
	thread = start_thread(wait_and_end, NULL);
	while (sem_wait(&has_come))
		;
	o.thread = target;
	leave_behind(weft_spawn_with(&o, count_run, _i ? &o : NULL));
	sem_post(&may_end);
	join_thread(thread);
	ck_assert_int_eq(n_spawned, 3);
	for (int i = 0; i < 3; i++)
		ck_assert(spawned[i].id && !weft_tasklet_alive(spawned[i]));
	ck_assert_int_eq(n_dropped, 4);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* --- elements --- */

static void drop_element(void *element, void *ctx)
{
	(void)element;
	drop(ctx);
}

static int send_more(void *ch)
{
	int element = 7;

	return weft_channel_send(ch, &element);
}

/* Holds three elements. */
static weft_channel *new_full(size_t capacity)
{
	weft_channel *ch = weft_channel_new(sizeof(int), capacity);

	weft_channel_set_drop(ch, drop_element, NULL);
	for (int i = 0; i < 3; i++)
		send_more(ch);
	return ch;
}

static const size_t capacities[] = { 3, WEFT_UNBOUNDED };

static int let_go_of_one(void *ch)
{
	weft_channel_unref(ch);
	return 0;
}

static void *leave_in_drop(void *capacity)
{
	weft_channel *one = new_full(*(size_t *)capacity), *other = new_full(3);

	/* who is given up has the last of that */
	leave_behind(weft_spawn(send_more, other));
	weft_schedule();
	weft_channel_unref(other);
	leave_behind(weft_spawn(let_go_of_one, one));
	leave_behind_usual();
	weft_pump();
	return NULL;
}

/* What is left is dropped, of that channel and of those whose turn would come. */
START_TEST(drop_of_elements)
{
	n_to_go = _i < 12 ? _i / 2 : ALWAYS;
	run_in_thread(leave_in_drop, (void *)(uintptr_t)&capacities[_i % 2]);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_dropped, 6);
}
END_TEST

static int kill_and_leave(void *victim)
{
	weft_tasklet_kill(*(weft_tasklet *)victim, WEFT_PENDING);
	pthread_exit(NULL);
}

static void *leave_who_was_killed(void *capacity)
{
	weft_channel *ch = new_full(3);

	(void)capacity;
	leave_behind(weft_spawn(send_more, ch));
	weft_schedule();
	weft_channel_unref(ch);
	weft_spawn(kill_and_leave, &left[0]);
	weft_pump();
	return NULL;
}

/* Of a channel whose last user has been called off, and does not come to say so. */
START_TEST(drop_of_what_was_called_off)
{
	n_to_go = 1000;
	run_in_thread(leave_who_was_killed, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_dropped, 3);
}
END_TEST

static weft_channel *two[2];

static void *leave_in_drop_unattached(void *arg)
{
	weft_channel_unref(two[0]);
	return arg;
}

static void drop_and_let_go(void *element, void *ctx)
{
	weft_channel_unref(two[1]);
	two[1] = NULL;
	drop_element(element, ctx);
}

START_TEST(drop_of_elements_unattached)
{
	for (int i = 0; i < 2; i++)
		two[i] = new_full(capacities[_i % 2]);
	weft_channel_set_drop(two[0], drop_and_let_go, NULL);
	n_to_go = _i < 12 ? _i / 2 : ALWAYS;
	run_in_thread(leave_in_drop_unattached, NULL);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(n_dropped, 6);
}
END_TEST

static int results[4];

static void try_to_wait(void *element, void *ctx)
{
	(void)element;
	(void)ctx;
	if (n_dropped++)
		return;
	results[0] = weft_schedule();
	results[1] = weft_channel_receive(x, NULL);
	results[2] = weft_tasklet_alive(weft_spawn(nothing, NULL));
	results[3] = weft_sleep(0);
}

static void *wait_in_drop(void *rc)
{
	weft_channel_unref(two[0]);
	/* and it can wait again after that */
	*(int *)rc = weft_schedule();
	return NULL;
}

/* A thread that is attached by what it drops is in a callback as any other. */
START_TEST(drop_attaches_its_thread)
{
	int rc = 1;

	x = weft_channel_new(0, 0);
	two[0] = new_full(3);
	weft_channel_set_drop(two[0], try_to_wait, NULL);
	join_thread(start_thread(wait_in_drop, &rc));
	ck_assert_int_eq(n_dropped, 3);
	ck_assert_int_eq(results[0], -EPERM);
	ck_assert_int_eq(results[1], -EPERM);
	ck_assert_int_eq(results[2], true);
	ck_assert_int_eq(results[3], -EPERM);
	ck_assert_int_eq(rc, 0);
	check_rest();
}
END_TEST

/* --- descriptors --- */

static char fifo[] = "/tmp/weft-test-XXXXXX";
static int writer;

static int open_to_read(void *arg)
{
	(void)arg;
	return weft_openat(AT_FDCWD, fifo, O_RDONLY);
}

/* Whether a descriptor reads what `writer` writes. */
static bool is_open_to_read(void)
{
	struct stat written, st;

	fstat(writer, &written);
	for (int fd = 0; fd < 256; fd++) {
		int flags = fcntl(fd, F_GETFL);

		if (flags >= 0 && !(flags & O_PATH) &&
		    (flags & O_ACCMODE) == O_RDONLY && fstat(fd, &st) == 0 &&
		    st.st_ino == written.st_ino && st.st_dev == written.st_dev)
			return true;
	}
	return false;
}

/* The descriptor is there before the tasklet that waits for it can run. */
static int open_to_write_and_leave(void *arg)
{
	/* as soon as somebody opens it to read */
	do
		weft_sleep(WEFT_MILLISECOND);
	while ((writer = open(fifo, O_WRONLY | O_CLOEXEC | O_NONBLOCK)) < 0);
	while (!is_open_to_read())
		usleep(100);
	pthread_exit(arg);
}

static void *leave_who_opens(void *arg)
{
	leave_behind(weft_spawn(open_to_read, NULL));
	weft_spawn(open_to_write_and_leave, NULL);
	weft_run();
	return arg;
}

/* What has been opened in vain is closed. */
START_TEST(descriptor_that_came_too_late)
{
	ck_assert_ptr_nonnull(mkdtemp(fifo));
	ck_assert_int_eq(rmdir(fifo), 0);
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	signal(SIGPIPE, SIG_IGN);
	run_in_thread(leave_who_opens, NULL);
	unlink(fifo);
	if (!CANNOT_LEAVE)
		ck_assert_int_eq(write(writer, fifo, 1), -1);
}
END_TEST

/* --- who waits for the members of a group --- */

static weft_group *g;

static int receive_x_shielded(void *arg)
{
	(void)arg;
	weft_shield_begin();
	(void)weft_channel_receive(x, NULL);
	weft_shield_end();
	return 0;
}

static int wait_for_members(void *arg)
{
	(void)arg;
	return weft_group_wait(g);
}

static int leave_now(void *arg)
{
	pthread_exit(arg);
}

static void *leave_who_waits_for_members(void *arg)
{
	weft_tasklet t = weft_spawn(wait_for_members, NULL);

	weft_schedule();
	/* It waits on, for those it has killed. */
	weft_tasklet_kill(t, 0);
	weft_spawn(leave_now, NULL);
	weft_run();
	return arg;
}

/* One that was killed, and has yet to wait for its members, is in no list of the
 * group's when its stack is gone. */
START_TEST(killed_waiter_of_a_group)
{
	if (CANNOT_LEAVE)
		return;
	x = weft_channel_new(0, 0);
	g = weft_group_new();
	weft_group_spawn(g, receive_x_shielded, NULL);
	weft_schedule();
	join_thread(start_thread(leave_who_waits_for_members, NULL));
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
	weft_channel_unref(x);
}
END_TEST

static int late_pipe[2];
static pthread_key_t late_key;

static int read_late(void *arg)
{
	char byte;

	(void)arg;
	return (int)weft_read(late_pipe[0], &byte, 1);
}

static void close_late(void *arg)
{
	(void)arg;
	n_dropped++;
	weft_close(late_pipe[1]);
}

static void *leave_who_reads(void *arg)
{
	pthread_setspecific(late_key, &late_key);
	weft_spawn(read_late, NULL);
	weft_spawn(leave_now, NULL);
	weft_run();
	return arg;
}

/* A thread that is attached anew knows nothing of operations that were cut short with
 * their tasklets: their stacks are gone. */
START_TEST(operation_that_was_cut_short)
{
	if (CANNOT_LEAVE)
		return;
	(void)weft_thread_id(); /* our key comes before that of the test */
	ck_assert_int_eq(pthread_key_create(&late_key, close_late), 0);
	ck_assert_int_eq(pipe(late_pipe), 0);
	join_thread(start_thread(leave_who_reads, NULL));
	ck_assert_int_eq(n_dropped, 1);
	close(late_pipe[0]);
}
END_TEST

/* --- what is called when the inbox is closed --- */

static struct {
	uint64_t thread;
	weft_tasklet main;
	pthread_t pthread;
	_Atomic(bool) is_dropping, has_come, is_closed, may_end;
	int status;
} last;

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void drop_until_more_comes(void *arg)
{
	(void)arg;
	last.is_dropping = true;
	while (!last.has_come)
		sched_yield();
}

static void *end_while_more_comes(void *arg)
{
	struct weft_tasklet_options o = { .drop = drop_until_more_comes,
					  .paused = true };

	last.thread = weft_thread_id();
	last.main = weft_main();
	weft_spawn_with(&o, do_nothing, NULL);
	weft_spawn(leave_now, NULL);
	weft_run();
	return arg;
}

/* Hands a tasklet in that the thread refuses when its inbox is closed. */
static pthread_t have_refused(void (*refused)(void *arg))
{
	struct weft_tasklet_options o = { .drop = refused };
	pthread_t thread = start_thread(end_while_more_comes, NULL);

	while (!last.is_dropping)
		sched_yield();
	o.thread = last.thread;
	weft_spawn_with(&o, do_nothing, NULL);
	last.has_come = true;
	return thread;
}

static void control_and_wait(void *arg)
{
	(void)arg;
	(void)weft_tasklet_insert(weft_main());
	last.is_closed = true;
	while (!last.may_end)
		sched_yield();
}

/* A control call there does not open the inbox again. */
START_TEST(inbox_stays_closed)
{
	pthread_t thread;
	int rc;

	if (CANNOT_LEAVE)
		return;
	thread = have_refused(control_and_wait);
	while (!last.is_closed)
		sched_yield();
	rc = weft_tasklet_raise(last.main, EIO, WEFT_PENDING);
	last.may_end = true;
	join_thread(thread);
	ck_assert_int_eq(rc, -ESRCH);
}
END_TEST

static void *count_threads(void *arg)
{
	(void)arg;
	pthread_join(last.pthread, NULL);
	_exit((int)weft_threads(NULL, 0));
}

static void fork_there(void *arg)
{
	pthread_t thread;
	pid_t child = fork();

	(void)arg;
	if (!child) {
		last.pthread = pthread_self();
		pthread_create(&thread, NULL, count_threads, NULL);
		return;
	}
	waitpid(child, &last.status, 0);
}

/* In a child of fork() the thread that forked there is none of weft's, and ends. */
START_TEST(fork_when_the_thread_has_left)
{
	/* Valgrind takes the thread that the child starts for a leak. */
	if (CANNOT_LEAVE || is_under_valgrind())
		return;
	join_thread(have_refused(fork_there));
	ck_assert(WIFEXITED(last.status));
	ck_assert_int_eq(WEXITSTATUS(last.status), 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("leave");

	add_loop(s, "error handler", error_handler, 2);
	add_loop(s, "schedule callback", schedule_callback, 12);
	add_case(s, "schedule callback", schedule_callback_of_a_blocked_main);
	add_loop(s, "channel callback", channel_callback, 2);
	add_loop(s, "deferred", deferred, 2);
	add_loop(s, "deferred by main", deferred_of_main, 3);
	add_case(s, "end of a thread", at_the_end_of_a_thread);
	add_loop(s, "drop", drop_of_a_tasklet, 4);
	add_loop(s, "refused", drop_of_what_is_refused, 4);
	add_loop(s, "refused", what_the_refused_spawn, 2);
	add_loop(s, "elements", drop_of_elements, 14);
	add_case(s, "elements", drop_of_what_was_called_off);
	add_loop(s, "elements, not attached", drop_of_elements_unattached, 14);
	add_case(s, "elements, not attached", drop_attaches_its_thread);
	add_case(s, "descriptors", descriptor_that_came_too_late);
	add_case(s, "group", killed_waiter_of_a_group);
	add_case(s, "operation", operation_that_was_cut_short);
	add_case(s, "closed inbox", inbox_stays_closed,
		 fork_when_the_thread_has_left);
	return run_suite(s);
}
