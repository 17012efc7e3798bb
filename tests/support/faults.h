/* SPDX-License-Identifier: MIT */
/*
 * A ring that misbehaves: a layer between the engine and liburing, the kernel and
 * libc. It refuses calls, hands in less than it was told to, completes operations
 * with errors of its own, shortens them, holds completions back and exchanges them.
 *
 * Whatever it does, a kernel could do: an operation that fails was never begun, a
 * request to cancel that finds nothing has cancelled nothing, and a completion that
 * is held back comes later. So nothing may be lost.
 *
 * This is for programs that link with $(WRAP_FAULTS) and the static library. Other
 * kinds of calls and other users of liburing pass through the layer unharmed.
 */
#ifndef WEFT_TESTS_FAULTS_H
#define WEFT_TESTS_FAULTS_H

#include <stddef.h>
#include <stdint.h>

/* Where a fault happens, and what its value means. A value that is not said to be
 * something else is a negative errno, which the call returns. */
enum fault_site {
	/* opening, in this order */
	AT_SETUP,       /* io_uring_setup */
	AT_RESIZE,      /* of the completion queue */
	AT_MAP,         /* of the ring's memory */
	AT_WORKERS,     /* how many there may be */
	AT_RING_FD,     /* its registration */
	AT_DONTFORK,    /* of the ring's memory */
	AT_FIRST_ENTER, /* which is to see whether enter is allowed */
	AT_MESSAGE, /* each message from thread to thread, a first one here */
	AT_EVENTFD, /* making one */
	AT_SIGNAL,  /* the registration of an eventfd for weft_fd() */
	AT_PROBE,   /* which operations there are; value: any, it is NULL */

	/* each other enter */
	AT_ENTER,      /* the kernel is not called */
	AT_SUBMISSION, /* only the first so many operations are handed in */
	AT_LATENESS,   /* all completions come only so many enters later */
	AT_OVERFLOW,   /* the same, and the ring says that it has overflowed */
	AT_ORDER,      /* completions change places; value: any */

	/* each operation */
	AT_OPERATION, /* its result; it is not begun */
	AT_LENGTH,    /* it is for so many bytes, or vectors, at most */
	AT_MULTISHOT, /* it ends with the first completion; value: any */
	AT_CANCEL,    /* a request to cancel; value: its answer. With -ENOENT it
			 cancels nothing */
	N_FAULT_SITES
};

/* The calls number @from up to @from + @n - 1 at a place meet the fault, counted
 * from 0 at the call of inject(). @opcode, unless it is 0, restricts the calls that
 * count to such operations: it is for the last group. */
struct fault {
	enum fault_site site;
	int value;
	unsigned from, n;
	unsigned opcode;
};

/* From here on these faults happen, and no others, in all threads. inject(NULL, 0)
 * ends it. */
void inject(const struct fault *faults, size_t n);

/* From here on each call at the places of the bit mask @sites meets a fault with the
 * chance of one in @one_in, in all threads; which one follows from @seed. The places
 * are those of the last two groups, and AT_MESSAGE. What happens there is nothing that the user of a
 * stream must see. */
void inject_at_random(uint64_t seed, unsigned sites, unsigned one_in);

/* How many faults there have been at a place since. */
unsigned n_injected(enum fault_site site);

#endif /* WEFT_TESTS_FAULTS_H */
