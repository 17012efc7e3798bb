/* SPDX-License-Identifier: MIT */
/*
 * Waiting for a thread that will soon be done.
 *
 * What is waited for here takes the other thread a few instructions: to release a
 * lock, or to ring a doorbell. If the other thread has a CPU, the wait is shorter
 * than a system call. If it has lost its CPU, it needs one: so the caller first
 * offers its own by sched_yield(), in turns with looking. That is enough between
 * equals, but it does not help a thread of lower priority: as long as a SCHED_FIFO
 * thread does not sleep, no thread below it runs on that CPU. So the caller then
 * sleeps, for a moment at first, and each time twice as long up to NAP_MOST_NS.
 * From then on it is up to the kernel, and no longer to us, how long the other
 * thread waits for a CPU; the caller finds it done at most one nap later.
 *
 * Nobody is woken, so there is no handshake in which a wake could be lost, and
 * releasing a lock stays one store.
 *
 * Rejected: a futex. The holder of the lock would have to know of the sleepers.
 * With an exchange in place of the store, an uncontended lock and unlock take 27 ns
 * instead of 13. Looking at a count of sleepers after the store takes next to no
 * time, but the look must not be done before the store. So a thread that goes to
 * sleep would have to enforce that order on all CPUs by membarrier(), which can be
 * refused. It is also one more branch in each unlock, and a call from the middle of
 * functions that make no call but as their last step. All that would be for threads
 * that wait 50 us anyway, until the other one has a CPU.
 */
#include "base/lock.h"

#include <sched.h>
#include <stdint.h>
#include <time.h>

#include "base/cpu.h"

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
	/* It does no harm if a signal ends the sleep early. */
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
