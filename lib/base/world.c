/* SPDX-License-Identifier: MIT */
#include "base/world.h"

#include <time.h>
#include <weft/time.h>

int64_t weft__now(void)
{
	struct timespec ts;

	/* It cannot fail: the clock is there and the pointer is good. */
	(void)clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * WEFT_SECOND + ts.tv_nsec;
}

uint32_t weft__seed(void)
{
	/* Random numbers are for fairness, not for secrets: each run has the
	 * same. */
	return 2463534242;
}
