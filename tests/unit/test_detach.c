/* SPDX-License-Identifier: MIT */
/*
 * The end of a thread with tasklets left, as those tasklets and other threads see
 * it, and the end of the process.
 */
#include <check.h>
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static char said[128];

static void say(const char *word)
{
	strncat(said, word, sizeof said - strlen(said) - 1);
}

static int wait_and_say(void *word)
{
	int rc = weft_channel_receive(x, NULL);

	say(word);
	return rc;
}

static int just_say(void *word)
{
	say(word);
	return 0;
}

static int pause_and_say(void *word)
{
	int rc = weft_schedule_remove();

	say(word);
	return rc;
}

/* Killed in the order of their creation; those that never ran do not run. */
static void *leave_several(void *handles)
{
	weft_tasklet *t = handles;

	t[0] = weft_spawn(wait_and_say, "a");
	t[1] = weft_spawn(pause_and_say, "b");
	t[2] = weft_spawn(wait_and_say, "c");
	weft_schedule();
	t[3] = weft_spawn(just_say, "d");
	return NULL;
}

START_TEST(killed_in_order_of_creation)
{
	weft_tasklet t[4];

	x = weft_channel_new(0, 0);
	join_thread(start_thread(leave_several, t));
	ck_assert_str_eq(said, "abc");
	for (int i = 0; i < 4; i++)
		ck_assert(!weft_tasklet_alive(t[i]));
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_channel_unref(x);
}
END_TEST

/* --- those who join --- */

static weft_channel *go;
static weft_tasklet victims[3];

static int ignore_all(void *arg)
{
	(void)arg;
	for (;;)
		weft_schedule();
	return 0;
}

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void *be_joined(void *arg)
{
	(void)arg;
	victims[0] = weft_spawn(wait_and_say, "a");
	victims[1] = weft_spawn(ignore_all, NULL);
	weft_schedule();
	victims[2] = weft_main();
	weft_channel_send(go, NULL);
	weft_channel_receive(go, NULL);
	weft_spawn(do_nothing, NULL);
	return NULL;
}

static int results[3];

static int join_one(void *t)
{
	weft_tasklet *victim = t;

	results[victim - victims] = weft_tasklet_join(*victim);
	return 0;
}

/* One that ends in time, one that refuses and is given up, and main. */
START_TEST(joined_from_another_thread)
{
	pthread_t thread;

	x = weft_channel_new(0, 0);
	go = weft_channel_new(0, 0);
	thread = start_thread(be_joined, NULL);
	weft_channel_receive(go, NULL);
	for (int i = 0; i < 3; i++)
		weft_spawn(join_one, &victims[i]);
	weft_schedule();
	weft_channel_send(go, NULL);
	weft_run();
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(results[1], -ECANCELED);
	ck_assert_int_eq(results[2], 0);
	join_thread(thread);
	ck_assert_int_eq(weft_tasklet_join(victims[0]), -ESRCH);
	weft_channel_unref(x);
	weft_channel_unref(go);
}
END_TEST

/* --- shields --- */

static bool was_finished;

static int finish_first(void *arg)
{
	(void)arg;
	weft_shield_begin();
	was_finished = weft_sleep(5 * WEFT_MILLISECOND) == 0;
	weft_shield_end();
	return weft_sleep(1);
}

static void *leave_shielded(void *t)
{
	*(weft_tasklet *)t = weft_spawn(finish_first, NULL);
	weft_schedule();
	return NULL;
}

/* What is shielded is waited for, for a while. */
START_TEST(shielded_ones_get_time)
{
	weft_tasklet t;

	join_thread(start_thread(leave_shielded, &t));
	ck_assert(was_finished);
	ck_assert(!weft_tasklet_alive(t));
}
END_TEST

static int hide_for_ever(void *arg)
{
	(void)arg;
	weft_shield_begin();
	weft_channel_receive(x, NULL);
	return 0;
}

static void *leave_hidden(void *t)
{
	*(weft_tasklet *)t = weft_spawn(hide_for_ever, NULL);
	weft_schedule();
	return NULL;
}

/* But not for ever: then it leaves its channel, and is given up. */
START_TEST(hidden_ones_are_given_up)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	join_thread(start_thread(leave_hidden, &t));
	ck_assert(!weft_tasklet_alive(t));
	ck_assert_int_eq(weft_channel_balance(x), 0);
	ck_assert_int_eq(weft_channel_try_send(x, NULL), -EAGAIN);
	weft_channel_unref(x);
}
END_TEST

/* --- no memory for timers --- */

/* What the library calls for its timers; this program is linked so. */
void *__real_realloc(void *memory, size_t size);
void *__wrap_realloc(void *memory, size_t size);

static __thread bool nothing_grows;

void *__wrap_realloc(void *memory, size_t size)
{
	if (!nothing_grows)
		return __real_realloc(memory, size);
	errno = ENOMEM;
	return NULL;
}

/* As many as the timers of a thread first have room for. */
enum { SLEEPERS = 64 };

static int fds[2];
static _Atomic(int) n_cleaned;

static void note_end(void *arg)
{
	(void)arg;
	n_cleaned++;
}

static int sleep_shielded(void *arg)
{
	(void)arg;
	weft_defer(note_end, NULL);
	weft_shield_begin();
	weft_sleep(WEFT_MILLISECOND);
	return 0;
}

static int read_shielded(void *arg)
{
	char byte;

	(void)arg;
	weft_defer(note_end, NULL);
	weft_shield_begin();
	weft_read(fds[0], &byte, 1);
	return 0;
}

static int wait_to_be_killed(void *arg)
{
	(void)arg;
	weft_defer(note_end, NULL);
	return weft_schedule_remove();
}

struct leftover {
	int n_sleepers;
	int n_readers;
};

static void *leave_without_memory(void *arg)
{
	const struct leftover *l = arg;

	for (int i = 0; i < l->n_sleepers; i++)
		weft_spawn(sleep_shielded, NULL);
	for (int i = 0; i < l->n_readers; i++)
		weft_spawn(read_shielded, NULL);
	weft_spawn(wait_to_be_killed, NULL);
	weft_schedule();
	nothing_grows = true;
	return NULL;
}

static const struct leftover leftovers[] = {
	{ 0 },
	{ .n_readers = 1 },
	{ .n_sleepers = SLEEPERS },
	{ .n_sleepers = SLEEPERS, .n_readers = 1 },
};

/* The end of a thread needs no memory for its deadlines: neither if the thread never had
 * a timer, nor if its timers have no place left. */
START_TEST(end_needs_no_memory_for_timers)
{
	struct leftover l = leftovers[_i];

	ck_assert_int_eq(pipe(fds), 0);
	join_thread(start_thread(leave_without_memory, &l));
	ck_assert_int_eq(n_cleaned, l.n_sleepers + l.n_readers + 1);
}
END_TEST

/* --- what main defers --- */

static void say_later(void *word)
{
	weft_sleep(1000);
	say(word);
}

static void spawn_late(void *word)
{
	weft_spawn(wait_and_say, word);
	weft_schedule();
	weft_spawn(just_say, "never");
}

static void *defer_on_main(void *arg)
{
	(void)arg;
	weft_defer(say_later, "c");
	weft_defer(spawn_late, "d");
	weft_defer(say_later, "b");
	weft_spawn(wait_and_say, "a");
	weft_schedule();
	return NULL;
}

/* After the others have ended; what comes of it is ended, too. */
START_TEST(deferred_by_main)
{
	x = weft_channel_new(0, 0);
	join_thread(start_thread(defer_on_main, NULL));
	ck_assert_str_eq(said, "abnevercd");
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_channel_unref(x);
}
END_TEST

/* Callbacks and traps end with the thread: what they use may be gone. */
static void on_switch(weft_tasklet from, weft_tasklet to, void *n)
{
	(void)from, (void)to;
	++*(int *)n;
}

static void *leave_callbacks(void *n)
{
	weft_spawn(wait_and_say, "a");
	weft_schedule();
	weft_set_schedule_callback(on_switch, n);
	weft_switch_trap(1);
	weft_set_block_trap(true);
	return NULL;
}

START_TEST(callbacks_and_traps_end_first)
{
	int n = 0;

	x = weft_channel_new(0, 0);
	join_thread(start_thread(leave_callbacks, &n));
	ck_assert_int_eq(n, 0);
	ck_assert_str_eq(said, "a");
	weft_channel_unref(x);
}
END_TEST

/* What a tasklet, or a function that main has deferred, leaves behind at the end of
 * the thread does not stop it: a trap, or a deadline that has passed. */
static void *helped;
static atomic_bool
	is_helping; /* an errand that is not begun would be given up */

static int take_a_while(void *arg)
{
	is_helping = true;
	usleep(50 * 1000);
	helped = arg;
	return 0;
}

static int wait_for_helper(void *arg)
{
	return weft_offload(take_a_while, arg);
}

static void await_helper(void)
{
	while (!is_helping)
		weft_sleep(WEFT_MILLISECOND);
}

static int wait_and_trap(void *arg)
{
	(void)arg;
	weft_sleep(1000 * WEFT_SECOND);
	weft_switch_trap(1);
	return 0;
}

static void begin_what_does_not_end(void *arg)
{
	static struct weft_deadline d;

	weft_spawn(wait_for_helper, arg);
	await_helper();
	weft_deadline_begin(&d, weft_now());
}

static void *leave_trap_behind(void *arg)
{
	weft_spawn(wait_for_helper, arg);
	weft_spawn(wait_and_trap, NULL);
	await_helper();
	return NULL;
}

static void *leave_deadline_behind(void *arg)
{
	weft_defer(begin_what_does_not_end, arg);
	return NULL;
}

START_TEST(what_is_left_does_not_stop_the_end)
{
	int here;

	helped = NULL;
	is_helping = false;
	join_thread(start_thread(_i ? leave_deadline_behind : leave_trap_behind,
				 &here));
	ck_assert_ptr_eq(helped, &here);
}
END_TEST

/* --- against others --- */

/* Valgrind runs one thread at a time, and can take its turn away at the same place
 * of a loop each time: with the channel's lock held. */
static void *send_until_refused(void *arg)
{
	bool gives_way = is_under_valgrind();

	(void)arg;
	while (weft_channel_try_send(x, NULL) != 0)
		if (gives_way)
			sched_yield();
	return NULL;
}

static int receive_once(void *served)
{
	*(bool *)served = weft_channel_receive(x, NULL) == 0;
	return 0;
}

static void *leave_a_receiver(void *served)
{
	weft_spawn(receive_once, served);
	weft_schedule();
	return NULL;
}

/* A send from another thread either reaches the tasklet or stays with its
 * sender; and the channel is clean. */
START_TEST(send_against_the_end)
{
	x = weft_channel_new(0, 0);
	for (int round = 0; round < 300; round++) {
		bool served = false, served_here = false;
		pthread_t sender = start_thread(send_until_refused, NULL);
		pthread_t receiver = start_thread(leave_a_receiver, &served);

		join_thread(receiver);
		ck_assert_int_le(weft_channel_balance(x), 0);
		if (!served) {
			/* the sender is still there, and needs somebody */
			weft_spawn(receive_once, &served_here);
			weft_run();
			ck_assert(served_here);
		}
		join_thread(sender);
		ck_assert_int_eq(weft_channel_balance(x), 0);
	}
	weft_channel_unref(x);
}
END_TEST

/* --- the process --- */

static void *wait_then_exit(void *arg)
{
	(void)arg;
	while (weft_threads(NULL, 0) > 1)
		usleep(1000);
	EXPECT(strcmp(said, "a") == 0);
	EXPECT(weft_sleep(1000) == 0);
	_exit(7);
}

/* pthread_exit() from main() ends that thread alone. */
static int exit_from_main(void)
{
	pthread_t other;

	x = weft_channel_new(0, 0);
	weft_spawn(wait_and_say, "a");
	weft_schedule();
	EXPECT(pthread_create(&other, NULL, wait_then_exit, NULL) == 0);
	pthread_exit(NULL);
}

/* Valgrind calls lost what only stacks that have ended, or not yet, know of. */
START_TEST(pthread_exit_from_main)
{
	char errors[1024];

	if (is_under_valgrind())
		return;

	ck_assert_msg(in_child(exit_from_main, errors, sizeof errors) == 7,
		      "%s", errors);
}
END_TEST

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return weft_sleep_until(WEFT_FOREVER);
}

static int busy_for_ever(void *arg)
{
	return ignore_all(arg);
}

static int exit_while_others_run(void)
{
	weft_fn fns[] = { sleep_for_ever, busy_for_ever, wait_and_say };

	x = weft_channel_new(0, 0);
	for (size_t i = 0; i < N_ELEMENTS(fns); i++)
		EXPECT(weft_thread_start(NULL, fns[i], "") == 0);
	weft_spawn(sleep_for_ever, NULL);
	weft_sleep(WEFT_MILLISECOND);
	return 3; /* by _exit(): as exit(), but libcheck's handlers */
}

START_TEST(exit_ends_everything)
{
	char errors[1024];

	if (is_under_valgrind())
		return;

	ck_assert_int_eq(in_child(exit_while_others_run, errors, sizeof errors),
			 3);
	ck_assert_str_eq(errors, "");
}
END_TEST

/* --- what is given back --- */

static long resident_pages(void)
{
	FILE *statm = fopen("/proc/self/statm", "r");
	long size = 0, resident = 0;

	if (statm) {
		if (fscanf(statm, "%ld %ld", &size, &resident) != 2)
			resident = 0;
		fclose(statm);
	}
	return resident;
}

static void *use_a_lot(void *arg)
{
	(void)arg;
	for (int i = 0; i < 20; i++)
		weft_spawn(wait_and_say, "");
	weft_fd();
	weft_sleep(1);
	return NULL;
}

START_TEST(everything_is_given_back)
{
	enum { WARM = 50 };
	int n_rounds = has_memory_to_itself() ? 1000 : 100;
	int n_open = 0;
	long n_pages = 0;

	x = weft_channel_new(0, 0);
	for (int i = 0; i < WARM + n_rounds; i++) {
		if (i == WARM) {
			n_open = n_descriptors();
			n_pages = resident_pages();
		}
		join_thread(start_thread(use_a_lot, NULL));
	}
	ck_assert_int_eq(n_descriptors(), n_open);
	if (has_memory_to_itself())
		ck_assert_int_lt(resident_pages() - n_pages, 1000);
	ck_assert_int_eq(weft_channel_balance(x), 0);
	weft_channel_unref(x);
}
END_TEST

/* --- no memory for lists --- */

void *__real_malloc(size_t size);
void *__wrap_malloc(size_t size);

static __thread bool nothing_is_had;

void *__wrap_malloc(size_t size)
{
	if (!nothing_is_had)
		return __real_malloc(size);
	errno = ENOMEM;
	return NULL;
}

static int order_of_ends[20];
static int n_ended;

static int end_in_turn(void *number)
{
	int rc = weft_schedule_remove();

	order_of_ends[n_ended++] = *(int *)number;
	return rc;
}

static void *leave_without_a_list(void *arg)
{
	int *numbers = arg;

	for (int i = 0; i < 20; i++)
		weft_spawn(end_in_turn, &numbers[i]);
	weft_schedule();
	nothing_is_had = true;
	return NULL;
}

/* Nor for a list of the tasklets that are to end: they do, in the order in which they
 * came. */
START_TEST(end_needs_no_memory_for_a_list)
{
	int numbers[20];

	for (int i = 0; i < 20; i++)
		numbers[i] = i;
	join_thread(start_thread(leave_without_a_list, numbers));
	ck_assert_int_eq(n_ended, 20);
	for (int i = 0; i < 20; i++)
		ck_assert_int_eq(order_of_ends[i], i);
}
END_TEST

static int n_given_up_dropped;

static void count_dropped(void *arg)
{
	(void)arg;
	n_given_up_dropped++;
}

static int leave_there(void *arg)
{
	nothing_is_had = true;
	pthread_exit(arg);
}

static void *leave_by_exit(void *arg)
{
	struct weft_tasklet_options o = { .paused = true,
					  .drop = count_dropped };

	for (int i = 0; i < 20; i++)
		weft_spawn_with(&o, end_in_turn, NULL);
	weft_spawn(leave_there, NULL);
	weft_run();
	return arg;
}

START_TEST(giving_up_needs_no_memory)
{
	if (UNDER_TSAN || UNDER_ASAN)
		return;
	join_thread(start_thread(leave_by_exit, NULL));
	ck_assert_int_eq(n_given_up_dropped, 20);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("detach");

	add_case(s, "order", killed_in_order_of_creation);
	add_case(s, "join", joined_from_another_thread);
	add_case(s, "shield", shielded_ones_get_time, hidden_ones_are_given_up);
	add_case(s, "no memory", end_needs_no_memory_for_a_list,
		 giving_up_needs_no_memory);
	add_loop(s, "no memory", end_needs_no_memory_for_timers,
		 N_ELEMENTS(leftovers));
	add_case(s, "main", deferred_by_main, callbacks_and_traps_end_first);
	add_loop(s, "left behind", what_is_left_does_not_stop_the_end, 2);
	add_case(s, "others", send_against_the_end);
	add_case(s, "process", pthread_exit_from_main, exit_ends_everything);
	add_case(s, "memory", everything_is_given_back);
	return run_suite(s);
}
