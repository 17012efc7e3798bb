/* SPDX-License-Identifier: MIT */
/*
 * Tests in less comfortable places, for `make check-long`. What can be had for a
 * whole program by a command (prlimit, taskset, a mount) is not here.
 *
 *	WEFT_TEST_SIGNALS=N  a signal every N microseconds, with a handler that does
 *	                     nothing and SA_RESTART
 *	WEFT_TEST_NPROC=1    no more processes, threads or workers of the kernel than
 *	                     there are (RLIMIT_NPROC, which root is exempt from)
 *	WEFT_TEST_FIFO=1     the main thread is SCHED_FIFO, those it makes are not
 */
#ifndef WEFT_TESTS_LIMITS_H
#define WEFT_TESTS_LIMITS_H

#include <stdbool.h>

/* From here on each child process, as libcheck makes one for each test, is in the
 * places that the environment names. */
void take_limits(void);

/* Whether no thread can be had because of WEFT_TEST_NPROC; then it has called
 * skip(). */
bool lacks_threads(void);

/* Whether WEFT_TEST_SIGNALS keeps the kernel from making more workers for an io_uring: it
 * tries three times, and each fails while a signal is pending. Then it has called
 * skip(). */
bool lacks_workers(void);

/* Whether the process can have fewer than @n descriptors; then it has called
 * skip(). Otherwise it has raised the soft limit as far as it takes. The hard limit,
 * which only root can raise, stays. */
bool lacks_descriptors(unsigned n);

#endif /* WEFT_TESTS_LIMITS_H */
