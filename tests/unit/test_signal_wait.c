/* SPDX-License-Identifier: MIT */
/*
 * weft_signal_wait(): signals that are pending, and waiting for them.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static sigset_t set;

/* All that these tests send, blocked here and in threads to come. */
static void block_signals(void)
{
	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGUSR2);
	sigaddset(&set, SIGRTMIN);
	sigaddset(&set, SIGRTMIN + 1);
	ck_assert_int_eq(pthread_sigmask(SIG_BLOCK, &set, NULL), 0);
}

static void queue(int number, int value)
{
	ck_assert_int_eq(sigqueue(getpid(), number,
				  (union sigval){ .sival_int = value }),
			 0);
}

static siginfo_t info;

static int wait_once(void *arg)
{
	(void)arg;
	return weft_signal_wait(&set, &info);
}

static weft_tasklet start(void)
{
	weft_tasklet t = weft_spawn(wait_once, NULL);

	weft_pump();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	return t;
}

/* What is pending is taken at once, with what came with it. */
START_TEST(pending)
{
	queue(SIGUSR2, 5);
	ck_assert_int_eq(weft_signal_wait(&set, &info), SIGUSR2);
	ck_assert_int_eq(info.si_signo, SIGUSR2);
	ck_assert_int_eq(info.si_code, SI_QUEUE);
	ck_assert_int_eq(info.si_value.sival_int, 5);
	ck_assert_int_eq(info.si_pid, getpid());
	raise(SIGUSR1);
	ck_assert_int_eq(weft_signal_wait(&set, NULL), SIGUSR1);
}
END_TEST

/* A signal to the process or to the thread ends the wait. */
START_TEST(waits)
{
	weft_tasklet t;

	t = start();
	queue(SIGUSR1, 6);
	ck_assert_int_eq(weft_tasklet_join(t), SIGUSR1);
	ck_assert_int_eq(info.si_value.sival_int, 6);
	t = start();
	ck_assert_int_eq(pthread_kill(pthread_self(), SIGUSR2), 0);
	ck_assert_int_eq(weft_tasklet_join(t), SIGUSR2);
	ck_assert_int_eq(info.si_pid, getpid());
}
END_TEST

static void *send_later(void *arg)
{
	until_parked(*(uint64_t *)arg);
	queue(SIGUSR1, 7);
	return NULL;
}

/* The thread parks meanwhile, and a signal of another thread wakes it. */
START_TEST(parked)
{
	uint64_t id = weft_thread_id();
	pthread_t thread;

	thread = start_thread(send_later, &id);
	ck_assert_int_eq(weft_signal_wait(&set, &info), SIGUSR1);
	ck_assert_int_eq(info.si_value.sival_int, 7);
	join_thread(thread);
}
END_TEST

/* Real-time signals are queued, and come lowest number first, oldest first. */
START_TEST(queued)
{
	enum { N = 20 };
	weft_tasklet t;

	t = start();
	for (int i = 0; i < N; i++) {
		queue(SIGRTMIN + 1, i);
		queue(SIGRTMIN, i);
	}
	ck_assert_int_eq(weft_tasklet_join(t), SIGRTMIN);
	for (int i = 1; i < N; i++) {
		ck_assert_int_eq(wait_once(NULL), SIGRTMIN);
		ck_assert_int_eq(info.si_value.sival_int, i);
	}
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(wait_once(NULL), SIGRTMIN + 1);
		ck_assert_int_eq(info.si_value.sival_int, i);
	}
}
END_TEST

START_TEST(wrong_arguments)
{
	sigset_t other;

	sigemptyset(&other);
	ck_assert_int_eq(weft_signal_wait(NULL, &info), -EINVAL);
	ck_assert_int_eq(weft_signal_wait(&other, &info), -EINVAL);
	sigaddset(&other, SIGUSR1);
	sigaddset(&other, SIGWINCH);
	ck_assert_int_eq(weft_signal_wait(&other, &info), -EINVAL);
	/* All signals: those that cannot be blocked do no harm. */
	sigfillset(&other);
	ck_assert_int_eq(pthread_sigmask(SIG_SETMASK, &other, NULL), 0);
	/* (An emulator lacks some others.) */
	pthread_sigmask(SIG_SETMASK, NULL, &other);
	sigaddset(&other, SIGKILL);
	sigaddset(&other, SIGSTOP);
	raise(SIGWINCH);
	ck_assert_int_eq(weft_signal_wait(&other, &info), SIGWINCH);
}
END_TEST

/* It has its descriptors with the first operation that waits. */
static void open_engine(void)
{
	int ends[2];

	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(
		weft_poll(&(struct pollfd){ .fd = ends[0], .events = POLLIN },
			  1, 1),
		0);
}

START_TEST(no_descriptor)
{
	struct rlimit before, none;

	open_engine();
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	ck_assert_int_eq(weft_signal_wait(&set, &info), -EMFILE);
	queue(SIGUSR1, 8);
	ck_assert_int_eq(weft_signal_wait(&set, &info), SIGUSR1);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
}
END_TEST

/* With a trap a pending signal is taken, and none is waited for. */
START_TEST(trapped)
{
	int error = _i ? -EPERM : -EAGAIN;

	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	ck_assert_int_eq(weft_signal_wait(&set, &info), error);
	queue(SIGRTMIN, 9);
	ck_assert_int_eq(weft_signal_wait(&set, &info), SIGRTMIN);
	ck_assert_int_eq(weft_signal_wait(&set, &info), error);
}
END_TEST

/* A wait that is interrupted leaves the signal, and takes no descriptor along. */
START_TEST(interrupted)
{
	struct weft_deadline d;
	weft_tasklet t;
	int fd;

	open_engine();
	fd = dup(0);
	close(fd);
	for (int i = 0; i < 100; i++) {
		t = start();
		ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
		if (i % 2)
			queue(SIGRTMIN, i);
		if (weft_tasklet_join(t) == -ECANCELED && i % 2)
			ck_assert_int_eq(wait_once(NULL), SIGRTMIN);
		t = start();
		ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
		ck_assert_int_eq(weft_tasklet_join(t), -EXDEV);
		weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND / 4);
		ck_assert_int_eq(wait_once(NULL), -ETIMEDOUT);
		weft_deadline_end(&d);
	}
	ck_assert_int_eq(dup(0), fd);
}
END_TEST

static int wait_shielded(void *arg)
{
	weft_shield_begin();
	while (wait_once(arg) < 0)
		;
	return 0;
}

static void *wait_and_leave(void *arg)
{
	weft_spawn(wait_shielded, NULL);
	weft_spawn(wait_once, NULL);
	weft_pump();
	return arg;
}

/* The end of a thread leaves no descriptor behind. */
START_TEST(end_of_a_thread)
{
	int fd = dup(0);

	close(fd);
	for (int i = 0; i < 3; i++)
		join_thread(start_thread(wait_and_leave, NULL));
	ck_assert_int_eq(dup(0), fd);
}
END_TEST

/* --- any order of events --- */

enum { SIGNALS = 3000, WAITERS = 4 };

static bool is_over;
static bool is_taken[SIGNALS];
static int n_taken, failure;

static int take(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	while (!is_over) {
		siginfo_t i;
		struct weft_deadline d;
		int rc;

		weft_deadline_begin(&d, weft_now() + rand_r(&seed) % 200000);
		rc = weft_signal_wait(&set, &i);
		weft_deadline_end(&d);
		if (rc > 0) {
			int value = i.si_value.sival_int;

			failure |= is_taken[value];
			is_taken[value] = true;
			n_taken++;
		} else if (rc != -EXDEV && rc != -ETIMEDOUT) {
			failure = rc;
		}
	}
	return 0;
}

/* Signals come and waits are interrupted at any moment: each signal is taken once. */
START_TEST(any_order)
{
	unsigned seed = (unsigned)time(NULL) + (unsigned)_i;
	unsigned seeds[WAITERS];
	weft_tasklet t[WAITERS];
	int n_sent = 0;

	fprintf(stderr, "# seed %u\n", seed);
	for (int i = 0; i < WAITERS; i++) {
		seeds[i] = (unsigned)rand_r(&seed);
		t[i] = weft_spawn(take, &seeds[i]);
	}
	weft_schedule(); /* one that has not run would never run */
	while (n_sent < SIGNALS) {
		switch (rand_r(&seed) % 5) {
		case 0:
		case 1:
			if (!sigqueue(getpid(), SIGRTMIN + rand_r(&seed) % 2,
				      (union sigval){ .sival_int = n_sent }))
				n_sent++;
			break;
		case 2:
			weft_schedule();
			break;
		default:
			weft_tasklet_raise(t[rand_r(&seed) % WAITERS], EXDEV,
					   rand_r(&seed) % 2 ? WEFT_PENDING
							     : 0);
		}
	}
	while (n_taken < SIGNALS && !failure)
		weft_poll(NULL, 0, 1);
	is_over = true;
	for (int i = 0; i < WAITERS; i++) {
		weft_tasklet_raise(t[i], EXDEV, WEFT_PENDING);
		weft_tasklet_join(t[i]);
	}
	ck_assert_int_eq(failure, 0);
	ck_assert_int_eq(n_taken, SIGNALS);
}
END_TEST

static void add_rule(Suite *s, const char *rule, const TTest *test, int n)
{
	TCase *c = tcase_create(rule);

	tcase_set_timeout(c, TEST_TIMEOUT);
	tcase_add_checked_fixture(c, block_signals, NULL);
	tcase_add_loop_test(c, test, 0, n);
	suite_add_tcase(s, c);
}

int main(void)
{
	Suite *s = suite_create("signal_wait");

	add_rule(s, "pending", pending, 1);
	add_rule(s, "waits", waits, 1);
	add_rule(s, "parked", parked, 1);
	add_rule(s, "queued", queued, 1);
	add_rule(s, "wrong arguments", wrong_arguments, 1);
	add_rule(s, "no descriptor", no_descriptor, 1);
	add_rule(s, "trapped", trapped, 2);
	add_rule(s, "interrupted", interrupted, 1);
	add_rule(s, "end of a thread", end_of_a_thread, 1);
	add_rule(s, "any order", any_order, 4);
	return run_suite(s);
}
