/* SPDX-License-Identifier: MIT */
#include "clock.h"

#include <stdatomic.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static _Atomic(int64_t) passed;

void pass_time(int64_t ns)
{
	passed += ns;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	int rc = (int)syscall(SYS_clock_gettime, id, ts);
	int64_t ns;

	if (rc || id != CLOCK_MONOTONIC)
		return rc;
	ns = ts->tv_nsec + passed;
	ts->tv_sec += ns / 1000000000;
	ts->tv_nsec = ns % 1000000000;
	return 0;
}
