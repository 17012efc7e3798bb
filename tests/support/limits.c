/* SPDX-License-Identifier: MIT */
#include "limits.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "support.h"

enum { PESTERING = SIGUSR2, NS_PER_US = 1000 };

static long signal_us;
static bool at_nproc, is_fifo;

static void ignore(int signal)
{
	(void)signal;
}

static bool pester(void)
{
	struct sigaction action = { .sa_handler = ignore,
				    .sa_flags = SA_RESTART };
	struct sigevent event = { .sigev_notify = SIGEV_SIGNAL,
				  .sigev_signo = PESTERING };
	struct itimerspec each = {
		.it_interval.tv_nsec = signal_us * NS_PER_US,
		.it_value.tv_nsec = signal_us * NS_PER_US,
	};
	timer_t timer;

	return sigaction(PESTERING, &action, NULL) == 0 &&
	       timer_create(CLOCK_MONOTONIC, &event, &timer) == 0 &&
	       timer_settime(timer, 0, &each, NULL) == 0;
}

static bool forbid_processes(void)
{
	static const struct rlimit none = { 0, 0 };

	return setrlimit(RLIMIT_NPROC, &none) == 0;
}

static bool become_fifo(void)
{
	static const struct sched_param lowest = { .sched_priority = 1 };

	return sched_setscheduler(0, SCHED_FIFO | SCHED_RESET_ON_FORK,
				  &lowest) == 0;
}

/* A timer is not inherited, and a policy that is reset is not either. */
static void in_each_child(void)
{
	if ((signal_us && !pester()) || (at_nproc && !forbid_processes()) ||
	    (is_fifo && !become_fifo())) {
		perror("limits of a test");
		_exit(1);
	}
}

void take_limits(void)
{
	const char *us = getenv("WEFT_TEST_SIGNALS");

	signal_us = us ? atol(us) : 0;
	at_nproc = getenv("WEFT_TEST_NPROC");
	is_fifo = getenv("WEFT_TEST_FIFO");
	if (signal_us || at_nproc || is_fifo)
		pthread_atfork(NULL, NULL, in_each_child);
}

bool lacks_threads(void)
{
	if (at_nproc)
		skip("no thread can be had at RLIMIT_NPROC");
	return at_nproc;
}

bool lacks_workers(void)
{
	if (signal_us)
		skip("signals keep the kernel from making workers");
	return signal_us;
}

bool lacks_descriptors(unsigned n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur >= n)
		return false;
	limit.rlim_cur = n;
	if (n <= limit.rlim_max && setrlimit(RLIMIT_NOFILE, &limit) == 0)
		return false;
	skip("%u descriptors can be had, it takes %u", (unsigned)limit.rlim_max,
	     n);
	return true;
}
