/* SPDX-License-Identifier: MIT */
/*
 * Handlers of signals: weft_tasklet_notify() from one reaches a paused tasklet
 * whatever has been interrupted, signals are no errors of calls that wait, and a
 * signalfd is read like any other descriptor.
 */
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

enum { SIGNALS = 1000, STORM_US = 100, ROUNDS = 20000 };

static _Atomic(weft_tasklet *) to_notify;
static _Atomic(int) n_signals;
static _Atomic(int) n_failed;
static _Atomic(bool) is_over;

static void notify(int number)
{
	weft_tasklet *t = to_notify;
	int before = errno;

	(void)number;
	errno = 4711;
	n_signals++;
	if (t && weft_tasklet_notify(*t) != (is_over ? -ESRCH : 0) && !is_over)
		n_failed++;
	if (errno != 4711)
		n_failed++;
	errno = before;
}

static void handle(void)
{
	struct sigaction action = { .sa_handler = notify };

	sigaction(SIGUSR1, &action, NULL);
	sigaction(SIGALRM, &action, NULL);
}

/* --- a paused tasklet that waits for what a handler counts --- */

struct listener {
	weft_tasklet self;
	int wanted;
	int n_seen;
	int rc;
};

static int listen_to_signals(void *arg)
{
	struct listener *l = arg;

	l->self = weft_current();
	to_notify = &l->self;
	while (n_signals < l->wanted && !l->rc) {
		l->rc = weft_schedule_remove();
		l->n_seen++;
	}
	is_over = true;
	return 0;
}

/* Signals the thread until the listener has had enough; each signal has been
 * handled before the next one is sent, so that none is merged. */
static void *send_signals(void *arg)
{
	pthread_t target = *(pthread_t *)arg;

	while (!to_notify)
		sched_yield();
	for (int n = 1; !is_over; n++) {
		pthread_kill(target, SIGUSR1);
		while (n_signals < n && !is_over)
			sched_yield();
	}
	return NULL;
}

static void expect_heard(const struct listener *l)
{
	ck_assert_int_eq(l->rc, 0);
	ck_assert_int_ge(l->n_seen, 1);
	ck_assert_int_eq(n_failed, 0);
}

/* Parked where nothing but a handler of its own thread wakes it. */
static void listen_alone(bool opens_ring)
{
	struct listener l = { .wanted = SIGNALS };
	pthread_t self = pthread_self(), sender;

	handle();
	if (opens_ring)
		ck_assert_int_eq(weft_sleep(1), 0);
	weft_spawn(listen_to_signals, &l);
	sender = start_thread(send_signals, &self);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(sender);
	expect_heard(&l);
}

START_TEST(handler_wakes_a_thread_that_is_parked_without_a_ring)
{
	listen_alone(false);
}
END_TEST

static int read_pipe(void *arg)
{
	char byte;

	return (int)weft_read(*(int *)arg, &byte, 1);
}

START_TEST(handler_wakes_a_thread_that_is_parked_in_its_ring)
{
	int fds[2];
	weft_tasklet reader;

	ck_assert_int_eq(pipe(fds), 0);
	reader = weft_spawn(read_pipe, &fds[0]);
	ck_assert_int_eq(weft_schedule(), 0);
	{
		struct listener l = { .wanted = SIGNALS };
		pthread_t self = pthread_self(), sender;

		handle();
		weft_spawn(listen_to_signals, &l);
		sender = start_thread(send_signals, &self);
		while (!is_over)
			ck_assert_int_eq(
				weft_run_until(weft_now() + WEFT_SECOND / 100),
				-ETIMEDOUT);
		join_thread(sender);
		expect_heard(&l);
	}
	weft_tasklet_kill(reader, 0);
	ck_assert_int_eq(weft_run(), 0);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* --- a storm --- */

static int send_many(void *ch)
{
	for (long i = 0; i < ROUNDS; i++)
		if (weft_channel_send(ch, &i))
			n_failed++;
	return 0;
}

static int receive_many(void *ch)
{
	for (long i = 0; i < ROUNDS; i++) {
		long n = -1;

		if (weft_channel_receive(ch, &n) || n != i)
			n_failed++;
	}
	return 0;
}

static int yield_until_over(void *arg)
{
	while (!is_over)
		if (weft_schedule())
			return -EIO;
	return *(int *)arg;
}

static int sleep_until_over(void *arg)
{
	while (!is_over)
		if (weft_sleep(WEFT_MICROSECOND * 50))
			return -EIO;
	return *(int *)arg;
}

static int exchange_until_over(void *ch)
{
	while (!is_over) {
		weft_group *g = weft_group_new();

		weft_group_spawn(g, send_many, ch);
		weft_group_spawn(g, receive_many, ch);
		if (weft_group_wait(g))
			n_failed++;
		weft_group_free(g);
	}
	return 0;
}

static void storm(bool on)
{
	struct itimerval every = {
		.it_interval.tv_usec = on ? STORM_US : 0,
		.it_value.tv_usec = on ? STORM_US : 0,
	};

	setitimer(ITIMER_REAL, &every, NULL);
}

/* In whatever it was interrupted, a send, a switch, the idle loop: all that went on
 * goes on, and the last signal is not missed. */
START_TEST(handler_may_interrupt_anything)
{
	static int zero;
	static const weft_fn company[] = { yield_until_over, sleep_until_over,
					   exchange_until_over };
	struct listener l = { .wanted = SIGNALS };
	weft_channel *ch = weft_channel_new(sizeof(long), _i == 3 ? 8 : 0);
	weft_fn fn = company[_i < 2 ? _i : 2];

	handle();
	weft_spawn(fn, fn == exchange_until_over ? (void *)ch : &zero);
	weft_spawn(listen_to_signals, &l);
	storm(true);
	ck_assert_int_eq(weft_run(), 0);
	storm(false);
	expect_heard(&l);
	weft_channel_unref(ch);
}
END_TEST

/* --- handlers on other threads --- */

static void *be_interrupted(void *attached)
{
	if (*(bool *)attached)
		weft_thread_id();
	while (!is_over)
		pthread_kill(pthread_self(), SIGUSR1);
	return NULL;
}

START_TEST(handler_on_another_thread_wakes_it_too)
{
	struct listener l = { .wanted = SIGNALS };
	bool attached = _i;
	pthread_t other;

	handle();
	weft_spawn(listen_to_signals, &l);
	ck_assert_int_eq(weft_schedule(), 0);
	other = start_thread(be_interrupted, &attached);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(other);
	expect_heard(&l);
}
END_TEST

/* --- the call itself --- */

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

START_TEST(notify_of_an_ended_tasklet_says_so)
{
	weft_tasklet t = weft_spawn(end_at_once, NULL);

	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(weft_tasklet_notify(t), -ESRCH);
	ck_assert_int_eq(weft_tasklet_notify((weft_tasklet){ .id = 0 }),
			 -ESRCH);
}
END_TEST

/* --- signalfd --- */

static int read_signal(void *arg)
{
	struct signalfd_siginfo info = { 0 };
	ssize_t n = weft_read(*(int *)arg, &info, sizeof info);

	return n == (ssize_t)sizeof info ? (int)info.ssi_signo : (int)n;
}

START_TEST(signalfd_is_read_as_any_other)
{
	sigset_t set;
	weft_tasklet t;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR2);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	ck_assert_int_ge(fd, 0);
	t = weft_spawn(read_signal, &fd);
	for (int i = 0; i < 3; i++)
		ck_assert_int_ge(weft_pump(), 1);
	kill(getpid(), SIGUSR2);
	ck_assert_int_eq(weft_tasklet_join(t), SIGUSR2);
	close(fd);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("signals");

	add_case(s, "notify", notify_of_an_ended_tasklet_says_so);
	add_case(s, "handler",
		 handler_wakes_a_thread_that_is_parked_without_a_ring,
		 handler_wakes_a_thread_that_is_parked_in_its_ring);
	add_loop(s, "handler", handler_may_interrupt_anything, 4);
	add_loop(s, "handler", handler_on_another_thread_wakes_it_too, 2);
	add_case(s, "signalfd", signalfd_is_read_as_any_other);
	return run_suite(s);
}
