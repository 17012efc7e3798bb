/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a thread that is about to be done.
 *
 * What is waited for here takes the other thread a few instructions: a lock it
 * holds, a doorbell it rings. If it has a CPU, the wait is over in less time than
 * a call of the kernel takes. If it has lost its CPU, it needs one: first, and in
 * turns with looking, the caller offers its own with sched_yield(). That is enough
 * between equals, and no use at all to a thread of lower priority: as long as a
 * SCHED_FIFO thread does not sleep, nothing below it runs on that CPU. So the
 * caller then sleeps, a moment at first and twice as long each time up to
 * NAP_MOST_NS. How long the other one has waited for a CPU by then is up to the
 * kernel, but no longer to us; and it is found to be done one nap later at most.
 *
 * Nobody is woken, so there is no handshake in which a wake could be lost, and
 * letting go of a lock stays one store. Rejected: a futex, whose holder has to know
 * of those who sleep. With an exchange in place of the store, an uncontended lock
 * and unlock take 27 ns instead of 13. A look at a count of sleepers behind the
 * store takes next to no time, but must not be done before the store: so who goes to
 * sleep would have to order that on all CPUs, by membarrier(), which can be refused;
 * and it is a branch more in each unlock, and a call from the middle of functions
 * that make none but as their last step. All that for those who wait 50 us anyway,
 * until the other one has a CPU.
 */
#include "lock.h"

#include <sched.h>
#include <stdint.h>
#include <time.h>

#include "context.h"

enum {
	TRIES_PER_YIELD = 128,
	TRIES_AWAKE = 16 * TRIES_PER_YIELD,
	NAP_LEAST_NS = 10 * 1000,
	NAP_MOST_NS = 1000 * 1000
};

static void nap(unsigned n_before)
{
	long ns = NAP_LEAST_NS;

	while (n_before-- > 0 && ns < NAP_MOST_NS)
		ns *= 2;
	if (ns > NAP_MOST_NS)
		ns = NAP_MOST_NS;
	/* A signal that ends it early does no harm. */
	(void)clock_nanosleep(CLOCK_MONOTONIC, 0,
			      &(struct timespec){ .tv_nsec = ns }, NULL);
}

void weft__be_patient(unsigned tries)
{
	if (tries >= TRIES_AWAKE)
		nap(tries - TRIES_AWAKE);
	else if (tries % TRIES_PER_YIELD == TRIES_PER_YIELD - 1)
		sched_yield();
	else
		arch_pause();
}
