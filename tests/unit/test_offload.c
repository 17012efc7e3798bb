/* SPDX-License-Identifier: MIT */
/*
 * Offloaded functions: where they run, in which order, what interrupts their
 * callers, and what becomes of the threads they run on.
 */
#include <check.h>
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <poll.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

/* --- functions to offload, and tasklets that do it --- */

static int give_back(void *arg)
{
	return *(int *)arg;
}

static void nap(int milliseconds)
{
	struct timespec ts = { .tv_nsec = milliseconds * 1000000L };

	nanosleep(&ts, NULL);
}

static int nap_100(void *arg)
{
	(void)arg;
	nap(100);
	return 0;
}

/* A function that runs until it is let go. */
static sem_t gate;
static _Atomic(int) n_inside, n_left;

static int stay(void *arg)
{
	n_inside++;
	while (sem_wait(&gate))
		;
	n_left++;
	return arg ? *(int *)arg : 7;
}

static _Atomic(int) n_run;

static int count_run(void *arg)
{
	(void)arg;
	n_run++;
	return 0;
}

/* A tasklet that makes one call, and another blocking one after it. */
struct caller {
	weft_fn fn;
	void *arg;
	int rc, next_rc;
};

static int offload_one(void *arg)
{
	struct caller *c = arg;

	c->rc = weft_offload(c->fn, c->arg);
	c->next_rc = weft_schedule();
	return c->rc;
}

static void until_inside(int n)
{
	while (n_inside < n)
		sched_yield();
}

static void only(int n)
{
	char text[16];

	snprintf(text, sizeof text, "%d", n);
	setenv("WEFT_OFFLOAD", text, 1);
	sem_init(&gate, 0, 0);
}

/* --- what it does --- */

START_TEST(result_comes_back)
{
	int results[] = { 0, 5, -42 };

	for (size_t i = 0; i < N_ELEMENTS(results); i++)
		ck_assert_int_eq(weft_offload(give_back, &results[i]),
				 results[i]);
	ck_assert_int_eq(weft_offload(NULL, NULL), -EINVAL);
}
END_TEST

struct place {
	pthread_t thread;
	sigset_t blocked;
	size_t stack_bytes;
};

static int look_where(void *arg)
{
	struct place *p = arg;
	pthread_attr_t attr;

	p->thread = pthread_self();
	pthread_sigmask(SIG_SETMASK, NULL, &p->blocked);
	if (pthread_getattr_np(p->thread, &attr))
		return -EIO;
	pthread_attr_getstacksize(&attr, &p->stack_bytes);
	pthread_attr_destroy(&attr);
	return 0;
}

/* On a thread with the usual stack, which no signal reaches. */
START_TEST(runs_on_another_thread)
{
	struct place p;
	pthread_attr_t usual;
	size_t stack_bytes;
	sigset_t mine, all;

	ck_assert_int_eq(weft_offload(look_where, &p), 0);
	ck_assert(!pthread_equal(p.thread, pthread_self()));
	ck_assert(sigismember(&p.blocked, SIGINT) == 1);
	/* all that can be blocked; an emulator lacks some */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &mine);
	pthread_sigmask(SIG_SETMASK, &mine, &all);
	for (int number = SIGRTMIN; number <= SIGRTMAX; number++)
		ck_assert_int_eq(sigismember(&p.blocked, number),
				 sigismember(&all, number));
	ck_assert(sigismember(&p.blocked, SIGSEGV) == 0); /* its own fault */
	pthread_sigmask(SIG_SETMASK, NULL, &mine);
	ck_assert(sigismember(&mine, SIGINT) == 0);
	pthread_attr_init(&usual);
	pthread_attr_getstacksize(&usual, &stack_bytes);
	ck_assert_uint_ge(p.stack_bytes, stack_bytes / 2);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
}
END_TEST

static int let_go(void *arg)
{
	(void)arg;
	until_inside(1);
	return sem_post(&gate);
}

/* One tasklet ends what another one waits for. */
START_TEST(others_run_meanwhile)
{
	struct caller c = { .fn = stay };

	only(4);
	weft_spawn(offload_one, &c);
	weft_spawn(let_go, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(c.rc, 7);
}
END_TEST

/* --- the queue --- */

static _Atomic(int) n_busy, most_busy;

static int be_busy(void *arg)
{
	int n = ++n_busy;
	int most = most_busy;

	while (n > most && !atomic_compare_exchange_weak(&most_busy, &most, n))
		;
	nap(1);
	n_busy--;
	(void)arg;
	return 0;
}

static int offload_busy(void *arg)
{
	return weft_offload(be_busy, arg);
}

START_TEST(bound_is_kept)
{
	enum { CALLS = 40 };

	only(_i + 1);
	for (int i = 0; i < CALLS; i++)
		weft_spawn(offload_busy, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_ge(most_busy, 1);
	ck_assert_int_le(most_busy, _i + 1);
}
END_TEST

static pthread_barrier_t all;

static int meet(void *arg)
{
	(void)arg;
	pthread_barrier_wait(&all);
	return 0;
}

/* As many as the bound allows run at once, each time anew. */
START_TEST(bound_is_reached)
{
	enum { BOUND = 5 };
	struct caller c[BOUND];

	only(BOUND);
	pthread_barrier_init(&all, NULL, BOUND);
	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < BOUND; i++) {
			c[i] = (struct caller){ .fn = meet, .rc = 1 };
			weft_spawn(offload_one, &c[i]);
		}
		ck_assert_int_eq(weft_run(), 0);
		for (int i = 0; i < BOUND; i++)
			ck_assert_int_eq(c[i].rc, 0);
	}
	pthread_barrier_destroy(&all);
}
END_TEST

enum { CROWD = 5000 };

static int next_of[2];
static int n_out_of_order;

struct turn {
	int thread, number;
};

/* With one helper: nobody else is here. */
static int take_turn(void *arg)
{
	struct turn *t = arg;

	n_out_of_order += next_of[t->thread]++ != t->number;
	return 0;
}

static int offload_turn(void *arg)
{
	return weft_offload(take_turn, arg);
}

static int crowd_of_thread(void *arg)
{
	int n = many_tasklets(CROWD) / 2;
	struct turn *turns = calloc((size_t)n, sizeof *turns);
	int rc;

	for (int i = 0; i < n; i++) {
		turns[i] = (struct turn){ (int)(intptr_t)arg, i };
		weft_spawn(offload_turn, &turns[i]);
	}
	rc = weft_run();
	free(turns);
	return rc;
}

/* All are served, those of a thread in the order in which they came. */
START_TEST(first_come_first_served)
{
	uint64_t ids[2];

	only(1);
	for (intptr_t i = 0; i < 2; i++)
		ck_assert_int_eq(
			weft_thread_start(&ids[i], crowd_of_thread, (void *)i),
			0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
		ck_assert_int_eq(next_of[i], many_tasklets(CROWD) / 2);
	}
	ck_assert_int_eq(n_out_of_order, 0);
}
END_TEST

/* --- interruption --- */

/* @first runs and @second waits in line. */
static weft_tasklet spawn_two(struct caller *first, struct caller *second)
{
	weft_tasklet t;

	only(1);
	*first = (struct caller){ .fn = stay };
	*second = (struct caller){ .fn = count_run, .rc = 1 };
	weft_spawn(offload_one, first);
	t = weft_spawn(offload_one, second);
	weft_pump();
	until_inside(1);
	return t;
}

static void end_both(struct caller *first)
{
	sem_post(&gate);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(first->rc, 7);
	ck_assert_int_eq(first->next_rc, 0);
	/* and the pool goes on */
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
}

START_TEST(kill_while_queued)
{
	struct caller first, second;
	weft_tasklet t = spawn_two(&first, &second);

	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(second.rc, -ECANCELED); /* at once */
	end_both(&first);
	ck_assert_int_eq(n_run, 1);
}
END_TEST

START_TEST(raise_while_queued)
{
	struct caller first, second;
	weft_tasklet t = spawn_two(&first, &second);

	ck_assert_int_eq(weft_tasklet_raise(t, EINTR, WEFT_PENDING), 0);
	end_both(&first);
	ck_assert_int_eq(second.rc, -EINTR);
	ck_assert_int_eq(second.next_rc, 0);
	ck_assert_int_eq(n_run, 1);
}
END_TEST

/* The others keep their places. */
START_TEST(kill_in_the_middle_of_the_queue)
{
	enum { WAITING = 5 };
	struct caller first = { .fn = stay };
	struct turn turns[WAITING];
	weft_tasklet t[WAITING];

	only(1);
	weft_spawn(offload_one, &first);
	for (int i = 0; i < WAITING; i++) {
		/* the second, the third and the last are killed */
		turns[i] = (struct turn){ 0, i == 3 ? 1 : i };
		t[i] = weft_spawn(offload_turn, &turns[i]);
	}
	weft_pump();
	until_inside(1);
	weft_tasklet_kill(t[2], 0);
	weft_tasklet_kill(t[4], 0);
	weft_tasklet_kill(t[1], 0);
	end_both(&first);
	ck_assert_int_eq(next_of[0], 2);
	ck_assert_int_eq(n_out_of_order, 0);
}
END_TEST

/* What has been handed over is waited for, and its result is not lost. */
START_TEST(kill_while_running)
{
	struct caller c = { .fn = stay };
	weft_tasklet t;

	only(1);
	t = weft_spawn(offload_one, &c);
	weft_schedule();
	until_inside(1);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(n_left, 0);
	sem_post(&gate);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(c.rc, 7);
	ck_assert_int_eq(c.next_rc, -ECANCELED);
}
END_TEST

static int offload_with_deadline(void *arg)
{
	struct caller *c = arg;
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	offload_one(c);
	return weft_deadline_end(&d) ? 0 : -EIO;
}

START_TEST(deadline_while_queued)
{
	struct caller first, second;
	weft_tasklet t;

	(void)spawn_two(&first, &second);
	second.rc = 1;
	t = weft_spawn(offload_with_deadline, &second);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(second.rc, -ETIMEDOUT);
	end_both(&first);
	ck_assert_int_eq(n_run, 2);
}
END_TEST

START_TEST(deadline_while_running)
{
	struct caller c = { .fn = nap_100, .rc = 1 };

	/* begun only when there is a helper, so that none of this is queued */
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
	ck_assert_int_eq(
		weft_tasklet_join(weft_spawn(offload_with_deadline, &c)), 0);
	/* on a busy machine it may not have been taken in time */
	ck_assert(c.rc == 0 || c.rc == -ETIMEDOUT);
	ck_assert_int_eq(c.next_rc, -ETIMEDOUT);
}
END_TEST

START_TEST(traps)
{
	int zero = 0;

	weft_set_block_trap(true);
	ck_assert_int_eq(weft_offload(count_run, NULL), -EAGAIN);
	weft_set_block_trap(false);
	weft_switch_trap(1);
	ck_assert_int_eq(weft_offload(count_run, NULL), -EPERM);
	weft_switch_trap(-1);
	ck_assert_int_eq(n_run, 0);
	ck_assert_int_eq(weft_offload(give_back, &zero), 0);
}
END_TEST

/* --- the helpers --- */

/* Of this process; gone threads may be seen for a moment. */
static int n_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	int n = 0;

	while ((entry = readdir(tasks)))
		n += isdigit((unsigned char)entry->d_name[0]) != 0;
	closedir(tasks);
	return n;
}

static void *do_nothing(void *arg)
{
	return arg;
}

/* With what a sanitizer starts beside the first thread. */
static int n_threads_without_helpers(void)
{
	join_thread(start_thread(do_nothing, NULL));
	nap(10);
	return n_threads();
}

/* And new ones come when they are needed. */
START_TEST(idle_helpers_go_away)
{
	enum { BOUND = 5 };
	int before = n_threads_without_helpers();
	struct caller c = { .fn = meet };

	only(BOUND);
	pthread_barrier_init(&all, NULL, BOUND);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < BOUND; i++)
			weft_spawn(offload_one, &c);
		ck_assert_int_eq(weft_run(), 0);
		while (n_threads() > before)
			nap(10);
	}
}
END_TEST

static void refuse_threads_with(int error)
{
	refuse_call(&(struct refusal){ SYS_clone3, -1, 0, error });
	refuse_call(&(struct refusal){ SYS_clone, -1, 0, error });
}

static void refuse_threads(void)
{
	refuse_threads_with(EAGAIN);
}

/* After unshare(CLONE_NEWPID) the kernel says EINVAL, and filters say EPERM. */
static const int no_thread[] = { EAGAIN, EINVAL, EPERM };

/* The call is taken back, and nothing is left behind. The error is the same
 * whatever the kernel says. */
START_TEST(no_helper_to_be_had)
{
	weft_channel *ch;

	/* its look for leaks needs a thread */
	if (UNDER_ASAN)
		return;
	ch = weft_channel_new(0, 0);
	(void)n_threads_without_helpers();
	refuse_threads_with(no_thread[_i]);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_offload(count_run, NULL), -EAGAIN);
	ck_assert_int_eq(n_run, 0);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), -EDEADLK);
	weft_channel_unref(ch);
}
END_TEST

/* No address space for another thread's stack. */
static void refuse_stacks(void)
{
	struct rlimit limit;
	unsigned long n_pages;
	FILE *statm = fopen("/proc/self/statm", "re");

	ck_assert_ptr_nonnull(statm);
	ck_assert_int_eq(fscanf(statm, "%lu", &n_pages), 1);
	fclose(statm);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = (n_pages + 256) * (unsigned long)sysconf(_SC_PAGESIZE);
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* Want of memory is told from a limit on threads, though pthread_create() gives
 * the same error for both. */
START_TEST(no_memory_for_a_helper)
{
	if (lacks_memory_to_itself())
		return;
	ck_assert_int_ge(weft_sleep(0), 0); /* attached */
	refuse_stacks();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_offload(count_run, NULL), -ENOMEM);
	ck_assert_int_eq(n_run, 0);
}
END_TEST

/* With one that is there, calls wait for that. */
START_TEST(one_helper_to_be_had)
{
	struct caller c[5];

	if (UNDER_ASAN)
		return;
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
	refuse_threads();
	for (int i = 0; i < 5; i++) {
		c[i] = (struct caller){ .fn = be_busy, .rc = 1 };
		weft_spawn(offload_one, &c[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 5; i++)
		ck_assert_int_eq(c[i].rc, 0);
	ck_assert_int_eq(most_busy, 1);
}
END_TEST

static int leave(void *arg)
{
	if (arg) {
		stay(NULL);
		refuse_threads();
	}
	pthread_exit(NULL);
}

/* The helper is gone; another one comes. */
START_TEST(function_ends_its_thread)
{
	only(1);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_offload(leave, NULL), -ECANCELED);
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
}
END_TEST

/* There is no other one for those who wait in line. */
START_TEST(last_helper_ends)
{
	struct caller first, second;

	(void)n_threads_without_helpers();
	only(1);
	first = (struct caller){ .fn = leave, .arg = &gate };
	second = (struct caller){ .fn = count_run };
	weft_spawn(offload_one, &first);
	weft_spawn(offload_one, &second);
	weft_pump();
	until_inside(1);
	sem_post(&gate);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(first.rc, -ECANCELED);
	ck_assert_int_eq(second.rc, -EAGAIN);
	ck_assert_int_eq(n_run, 0);
	/* this thread may still start one */
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
}
END_TEST

/* --- functions that use weft --- */

static weft_channel *x;

static int send_x(void *arg)
{
	return weft_channel_send(x, arg);
}

static int wait_for_ever(void *arg)
{
	int rc = weft_sleep_until(WEFT_FOREVER);

	*(int *)arg = rc;
	return rc;
}

/* @arg: on the caller's stack, for one who is left. */
static int use_weft(void *arg)
{
	int value = 9;

	weft_spawn(send_x, &value);
	if (weft_threads(NULL, 0) != 2 || weft_run())
		return -EIO;
	weft_spawn(wait_for_ever, arg);
	return weft_schedule();
}

static int receive_x(void *arg)
{
	return weft_channel_receive(x, arg);
}

/* It is a thread like any other until the function has returned, and its tasklets
 * have ended by then. */
START_TEST(function_uses_weft)
{
	if (lacks_verdicts())
		return;
	only(1);
	x = weft_channel_new(sizeof(int), 0);
	for (int i = 0; i < 5; i++) {
		int received = 0, left = 0;

		weft_spawn(receive_x, &received);
		ck_assert_int_eq(weft_offload(use_weft, &left), 0);
		ck_assert_int_eq(received, 9);
		ck_assert_int_eq(left, -ECANCELED);
		ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	}
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
	weft_channel_unref(x);
}
END_TEST

static int offload_deeper(void *depth)
{
	int next = *(int *)depth - 1;

	return next ? weft_offload(offload_deeper, &next) + 1 : 0;
}

START_TEST(function_offloads)
{
	int depth = 10;

	only(_i + 1); /* fewer helpers than functions that wait */
	ck_assert_int_eq(weft_offload(offload_deeper, &depth), 9);
	/* and then there are no more than before */
	for (int i = 0; i < 20; i++)
		weft_spawn(offload_busy, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_le(most_busy, _i + 1);
}
END_TEST

static int exit_attached(void *arg)
{
	weft_spawn(wait_for_ever, arg);
	weft_schedule();
	pthread_exit(NULL);
}

START_TEST(attached_function_ends_its_thread)
{
	int left = 0;

	ck_assert_int_eq(weft_offload(exit_attached, &left), -ECANCELED);
	ck_assert_int_eq(left, -ECANCELED);
	ck_assert_uint_eq(weft_threads(NULL, 0), 1);
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
}
END_TEST

/* --- the way back --- */

static const char *const doorbells[] = { "auto", "futex", "msg_ring",
					 "msg_ring_sqe", "eventfd" };

static int ends[2];

static int read_one(void *arg)
{
	char byte;

	(void)arg;
	return weft_read(ends[0], &byte, 1) == 1 ? 0 : -EIO;
}

/* Whatever the caller's thread sleeps in; a helper has no ring to ring with. */
START_TEST(wakes_by_every_doorbell)
{
	struct caller c = { .fn = nap_100, .rc = 1 };
	weft_tasklet reader;

	setenv("WEFT_WAKE", doorbells[_i / 2], 1);
	if (_i % 2) {
		if (is_under_valgrind())
			return;
		ck_assert_int_eq(pipe(ends), 0);
		reader = weft_spawn(read_one, NULL);
	}
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_tasklet_join(weft_spawn(offload_one, &c)),
				 0);
	if (_i % 2) {
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
		ck_assert_int_eq(weft_tasklet_join(reader), 0);
	}
}
END_TEST

/* A thread that another loop drives is told. */
START_TEST(wakes_by_the_descriptor)
{
	struct pollfd p = { .fd = weft_fd(), .events = POLLIN };
	struct caller c = { .fn = stay };

	only(1);
	weft_spawn(offload_one, &c);
	ck_assert_int_eq(weft_pump(), 1);
	until_inside(1);
	ck_assert_int_eq(poll(&p, 1, 0), 0);
	sem_post(&gate);
	ck_assert_int_eq(poll(&p, 1, -1), 1);
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(c.rc, 7);
}
END_TEST

/* --- deadlock --- */

static int nap_and_send(void *arg)
{
	int value = 4;

	(void)arg;
	weft_offload(nap_100, NULL);
	return weft_channel_send(x, &value);
}

/* Here, and on another thread. */
START_TEST(an_offloaded_function_is_hope)
{
	int value = 0;
	uint64_t id;

	x = weft_channel_new(sizeof(int), 0);
	weft_spawn(nap_and_send, NULL);
	ck_assert_int_eq(weft_channel_receive(x, &value), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(weft_thread_start(&id, nap_and_send, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(x, &value), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	weft_channel_unref(x);
}
END_TEST

/* One that only the kernel keeps from its end. */
static int read_here(void *arg)
{
	char byte;

	(void)arg;
	return read(ends[0], &byte, 1) == 1 ? 0 : -EIO;
}

static int offload_and_receive(void *arg)
{
	weft_offload(count_run, NULL);
	return weft_channel_receive(x, arg);
}

static int offload_nothing(void *result)
{
	*(int *)result = weft_offload(count_run, NULL);
	return 0;
}

/* The call is over, and its tasklet was removed from the run queue before it went
 * on: nothing wakes anybody. */
START_TEST(a_call_that_is_over_is_no_hope)
{
	int results[2] = { 1, 1 };
	weft_tasklet t[2];

	if (lacks_verdicts())
		return;
	x = weft_channel_new(0, 0);
	for (int i = 0; i < 2; i++)
		t[i] = weft_spawn(offload_nothing, &results[i]);
	weft_schedule(); /* they have begun, and perhaps ended */
	for (int i = 0; i < 2; i++)
		while (weft_tasklet_state(t[i]) == WEFT_BLOCKED)
			(void)weft_tasklet_remove(t[i]);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
	(void)weft_tasklet_kill(t[0], 0);
	for (int i = 0; i < 2; i++)
		(void)weft_tasklet_insert(t[i]);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(n_run, 2);
	/* nor is there less than no hope */
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -EDEADLK);
	weft_channel_unref(x);
}
END_TEST

/* Idle helpers keep nobody from a verdict, nor do those that are just being
 * started, or were attached for a while. */
START_TEST(idle_helpers_are_no_hope)
{
	int before = n_threads_without_helpers();
	int left, value, n_there;

	if (lacks_verdicts())
		return;
	x = weft_channel_new(sizeof(int), 0);
	do {
		ck_assert_int_eq(weft_offload(count_run, NULL), 0);
		ck_assert_int_eq(weft_channel_receive(x, &value), -EDEADLK);
		n_there = n_threads() - before;
	} while (n_there < 1); /* a slow machine: it had gone home */
	weft_spawn(receive_x, &value);
	do {
		ck_assert_int_eq(weft_offload(use_weft, &left), 0);
		ck_assert_int_eq(weft_channel_receive(x, &value), -EDEADLK);
		n_there = n_threads() - before;
		weft_spawn(receive_x, &value);
	} while (n_there < 1);
	ck_assert_int_eq(weft_run(), -EDEADLK);
}
END_TEST

/* Two threads, of which one parks while helpers come and go. */
START_TEST(verdict_while_helpers_start)
{
	uint64_t id;
	int value;

	if (lacks_verdicts())
		return;
	x = weft_channel_new(sizeof(int), 0);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(
			weft_thread_start(&id, offload_and_receive, &value), 0);
		ck_assert_int_eq(weft_offload(leave, NULL), -ECANCELED);
		/* one of the two is told, and lets the other go */
		value = 1;
		if (weft_channel_send(x, &value) == -EDEADLK)
			ck_abort_msg("its receiver was there");
		ck_assert_int_eq(weft_thread_join(id), 0);
		ck_assert_int_eq(weft_channel_receive(x, &value), -EDEADLK);
	}
	weft_channel_unref(x);
}
END_TEST

/* --- the end of a thread --- */

static struct caller of_thread;

static int nap_long(void *arg)
{
	(void)arg;
	n_inside++;
	nap(400);
	n_left++;
	return 5;
}

static _Atomic(bool) is_ending;

static int see_the_end(void *arg)
{
	int rc = weft_sleep_until(WEFT_FOREVER);

	(void)arg;
	is_ending = true; /* and all of its thread are killed */
	return rc;
}

/* Outlasts what a thread gives its tasklets. */
static int outlast(void *arg)
{
	n_inside++;
	while (!is_ending)
		nap(1);
	n_inside--;
	return nap_long(arg);
}

static void *leave_one_running(void *arg)
{
	of_thread = (struct caller){ .fn = outlast };
	weft_spawn(offload_one, &of_thread);
	weft_spawn(see_the_end, NULL);
	weft_schedule();
	until_inside(1);
	return arg;
}

/* However long it takes, its caller sees the result. */
START_TEST(thread_ends_with_a_call)
{
	join_thread(start_thread(leave_one_running, NULL));
	ck_assert_int_eq(n_left, 1);
	ck_assert_int_eq(of_thread.rc, 5);
	ck_assert_int_eq(of_thread.next_rc, -ECANCELED);
}
END_TEST

static struct caller in_line;

static void *leave_one_in_line(void *arg)
{
	in_line = (struct caller){ .fn = count_run };
	weft_spawn(offload_one, &in_line);
	weft_schedule();
	return arg;
}

/* One that is only queued is not waited for. */
START_TEST(thread_ends_with_a_queued_call)
{
	struct caller first, second;

	(void)spawn_two(&first, &second);
	join_thread(start_thread(leave_one_in_line, NULL));
	ck_assert_int_eq(in_line.rc, -ECANCELED);
	end_both(&first);
	ck_assert_int_eq(second.rc, 0);
	ck_assert_int_eq(n_run, 2);
}
END_TEST

static int exit_thread(void *arg)
{
	until_inside(1);
	pthread_exit(arg);
}

static void *exit_beside_one_running(void *arg)
{
	of_thread = (struct caller){ .fn = nap_long, .rc = 1 };
	weft_spawn(offload_one, &of_thread);
	weft_spawn(exit_thread, NULL);
	weft_run();
	return arg;
}

/* A tasklet ends the thread: the other is given up, but not before the function
 * has ended, which may use its stack. */
START_TEST(tasklet_ends_the_thread)
{
	/* it jumps between stacks, which these do not follow */
	if (UNDER_TSAN || UNDER_ASAN || is_under_valgrind())
		return;
	join_thread(start_thread(exit_beside_one_running, NULL));
	ck_assert_int_eq(n_left, 1);
	ck_assert_int_eq(of_thread.rc, 1);
}
END_TEST

/* The end of the process does not wait for what runs. */
static int end_with_a_call(void)
{
	if (pipe(ends))
		return 1;
	weft_spawn(offload_one, &(struct caller){ .fn = read_here });
	weft_offload(count_run, NULL);
	exit(0);
}

START_TEST(process_ends_with_a_call)
{
	char errors[1024];

	/* the busy helper is a leak to it */
	if (is_under_valgrind())
		return;
	ck_assert_int_eq(in_child(end_with_a_call, errors, sizeof errors), 0);
}
END_TEST

static int nap_20(void *arg)
{
	(void)arg;
	nap(20);
	return 0;
}

/* A helper that is busy then, and ends a bit later: nobody joins it, and tools
 * do not take it for one that was forgotten. */
static int end_before_a_call(void)
{
	weft_spawn(offload_one, &(struct caller){ .fn = nap_20 });
	weft_offload(count_run, NULL);
	exit(0);
}

START_TEST(call_outlives_the_process)
{
	char errors[1024];

	if (is_under_valgrind())
		return;
	ck_assert_msg(!in_child(end_before_a_call, errors, sizeof errors), "%s",
		      errors);
}
END_TEST

/* --- fork --- */

static void expect_success(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "child ended with %#x", (unsigned)status);
}

/* Running, it is the parent's; queued, it is the child's too. */
START_TEST(fork_with_calls)
{
	struct caller first, second;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	(void)spawn_two(&first, &second);
	pid = fork();
	if (pid == 0) {
		EXPECT(n_run == 0);
		EXPECT(weft_run() == 0);
		EXPECT(first.rc == -ECANCELED && first.next_rc == 0);
		EXPECT(second.rc == 0 && n_run == 1);
		EXPECT(weft_offload(count_run, NULL) == 0 && n_run == 2);
		_exit(0);
	}
	expect_success(pid);
	end_both(&first);
	ck_assert_int_eq(second.rc, 0);
	ck_assert_int_eq(n_run, 2);
}
END_TEST

/* A child that does not use weft runs nothing, and a child of a child does. */
START_TEST(fork_and_fork_with_calls)
{
	struct caller first, second;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	(void)spawn_two(&first, &second);
	pid = fork();
	if (pid == 0) {
		nap(50);
		EXPECT(n_run == 0);
		pid = fork();
		if (pid == 0) {
			EXPECT(weft_run() == 0);
			EXPECT(second.rc == 0 && n_run == 1);
			_exit(0);
		}
		expect_success(pid);
		EXPECT(n_run == 0);
		EXPECT(weft_offload(count_run, NULL) == 0);
		EXPECT(weft_run() == 0 && second.rc == 0 && n_run == 2);
		_exit(0);
	}
	expect_success(pid);
	end_both(&first);
}
END_TEST

/* No helper can be started in the child: its queued calls fail. */
START_TEST(fork_without_helpers)
{
	struct caller first, second;
	pid_t pid;

	(void)spawn_two(&first, &second);
	pid = fork();
	if (pid == 0) {
		refuse_threads();
		EXPECT(weft_run() == 0);
		EXPECT(second.rc == -EAGAIN && n_run == 0);
		_exit(0);
	}
	expect_success(pid);
	end_both(&first);
}
END_TEST

static pthread_t leaver;

/* The next thread, with the scheduler that the leaver had. */
static void *fork_after_leaver(void *arg)
{
	int status;
	pid_t pid;

	EXPECT(pthread_join(leaver, NULL) == 0);
	EXPECT(weft_sleep(0) == 0);
	pid = fork();
	if (pid == 0) {
		EXPECT(n_run == 0);
		_exit(0);
	}
	EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
	_exit(0);
	return arg;
}

static int fork_and_leave(void *pid)
{
	pthread_t next;

	*(pid_t *)pid = fork();
	if (*(pid_t *)pid == 0) {
		leaver = pthread_self();
		EXPECT(!pthread_create(&next, NULL, fork_after_leaver, NULL));
		pthread_exit(NULL);
	}
	return sem_post(&gate);
}

static void *fork_and_leave_with_calls(void *pid)
{
	static struct caller first, second;

	(void)spawn_two(&first, &second);
	weft_spawn(fork_and_leave, pid);
	weft_run();
	return NULL;
}

/* The thread of the child ends before it has started helpers for what was queued.
 * Who has its scheduler next does not have to. */
START_TEST(fork_with_calls_and_end)
{
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	/* as in test_leave.c */
	if (UNDER_ASAN)
		return;
	join_thread(start_thread(fork_and_leave_with_calls, &pid));
	expect_success(pid);
	ck_assert_int_eq(n_run, 1);
}
END_TEST

static _Atomic(bool) is_in_line;

static int be_in_line(void *arg)
{
	is_in_line = true;
	return weft_offload(count_run, arg);
}

/* Calls of other threads are not the child's. */
START_TEST(fork_with_calls_of_others)
{
	struct caller first, second;
	uint64_t id;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	(void)spawn_two(&first, &second);
	ck_assert_int_eq(weft_thread_start(&id, be_in_line, NULL), 0);
	while (!is_in_line)
		sched_yield();
	until_parked(id);
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_run() == 0);
		EXPECT(weft_offload(count_run, NULL) == 0);
		EXPECT(second.rc == 0 && n_run == 2);
		_exit(0);
	}
	expect_success(pid);
	end_both(&first);
	ck_assert_int_eq(weft_thread_join(id), 0);
	ck_assert_int_eq(n_run, 3);
}
END_TEST

static int fork_here(void *pid)
{
	*(pid_t *)pid = fork();
	if (*(pid_t *)pid == 0) {
		EXPECT(weft_threads(NULL, 0) == 1);
		EXPECT(weft_offload(count_run, NULL) == 0);
	}
	return 0;
}

/* The function itself forks: the child ends with it. */
START_TEST(fork_in_a_function)
{
	pid_t pid;

	/* what the parent's first thread knew of is a leak there */
	if (UNDER_ASAN || is_under_valgrind())
		return;
	ck_assert_int_eq(weft_offload(fork_here, &pid), 0);
	expect_success(pid);
	ck_assert_int_eq(n_run, 0);
	ck_assert_int_eq(weft_offload(count_run, NULL), 0);
}
END_TEST

static _Atomic(bool) must_end;

static void *keep_offloading(void *arg)
{
	int zero = 0;

	while (!must_end)
		if (weft_offload(give_back, &zero) ||
		    weft_offload(leave, NULL) != -ECANCELED)
			return "failed";
	return arg;
}

START_TEST(fork_under_load)
{
	enum { THREADS = 3, FORKS = 50 };
	pthread_t threads[THREADS];
	int five = 5;

	if (lacks_fork_with_threads())
		return;
	/* its allocator's locks are left as they are in the child */
	if (UNDER_ASAN)
		return;
	for (int i = 0; i < THREADS; i++)
		threads[i] = start_thread(keep_offloading, NULL);
	for (int i = 0; i < FORKS; i++) {
		struct caller c = { .fn = give_back, .arg = &five };
		weft_tasklet t = weft_spawn(offload_one, &c);
		pid_t pid;

		weft_schedule();
		pid = fork();
		if (pid == 0) {
			EXPECT(weft_run() == 0);
			EXPECT(c.rc == 5 || c.rc == -ECANCELED);
			EXPECT(weft_offload(give_back, &five) == 5);
			_exit(0);
		}
		expect_success(pid);
		(void)weft_tasklet_join(t);
		ck_assert_int_eq(c.rc, 5);
	}
	must_end = true;
	for (int i = 0; i < THREADS; i++) {
		void *wrong;

		ck_assert_int_eq(pthread_join(threads[i], &wrong), 0);
		ck_assert_ptr_null(wrong);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("offload");

	add_case(s, "call", result_comes_back, runs_on_another_thread,
		 others_run_meanwhile, traps);
	add_loop(s, "bound", bound_is_kept, 3);
	add_case(s, "queue", bound_is_reached, first_come_first_served);
	add_case(s, "interruption", kill_while_queued, raise_while_queued,
		 kill_in_the_middle_of_the_queue, kill_while_running,
		 deadline_while_queued, deadline_while_running);
	add_case(s, "helpers", idle_helpers_go_away, no_memory_for_a_helper,
		 one_helper_to_be_had, function_ends_its_thread,
		 last_helper_ends);
	add_loop(s, "no helper", no_helper_to_be_had, N_ELEMENTS(no_thread));
	add_case(s, "weft on helpers", function_uses_weft,
		 attached_function_ends_its_thread);
	add_loop(s, "nested", function_offloads, 2);
	add_loop(s, "doorbells", wakes_by_every_doorbell,
		 2 * N_ELEMENTS(doorbells));
	add_case(s, "descriptor", wakes_by_the_descriptor);
	add_case(s, "deadlock", an_offloaded_function_is_hope,
		 a_call_that_is_over_is_no_hope, idle_helpers_are_no_hope,
		 verdict_while_helpers_start);
	add_case(s, "end", thread_ends_with_a_call,
		 thread_ends_with_a_queued_call, tasklet_ends_the_thread,
		 process_ends_with_a_call, call_outlives_the_process);
	/* see test_fork.c; in the children helpers are lost to Valgrind */
	if (!UNDER_TSAN && !is_under_valgrind())
		add_case(s, "fork", fork_with_calls, fork_and_fork_with_calls,
			 fork_with_calls_and_end, fork_without_helpers,
			 fork_with_calls_of_others, fork_in_a_function,
			 fork_under_load);
	return run_suite(s);
}
