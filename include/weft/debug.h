/* SPDX-License-Identifier: MIT */
/**
 * debug - statistics, and the versions of what is in use
 */
#ifndef WEFT_DEBUG_H
#define WEFT_DEBUG_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/** Counts of one thread since it was attached. */
struct weft_stats {
	uint64_t switches; /* times a tasklet got the thread */
	uint64_t spawned;  /* tasklets that came to this thread */
	uint64_t ended;
	uint64_t failed;            /* of the ended, with a negative result */
	uint64_t abandoned;         /* left over when the thread ended */
	uint64_t parks;             /* times the thread went to sleep */
	uint64_t wakes_sent;        /* doorbells rung for parked threads */
	uint64_t wakes_saved;       /* wakes for a thread that was awake */
	uint64_t operations;        /* put into the io_uring */
	uint64_t submits;           /* system calls that submitted some */
	uint64_t cancels;           /* operations that were to be cancelled */
	uint64_t stray_completions; /* of no known operation; ignored */
	uint64_t cq_overflows; /* times the completion queue had overflowed */
	uint64_t timers_fired;
	int64_t worst_lateness_ns; /* of a timer, behind its deadline */
	size_t alive;              /* tasklets not ended, main included */
	size_t stacks;             /* mapped, in use or not */
	size_t stack_bytes;        /* of address space, guards included */

	/* What went wrong in the kernel, and was made good. It does no harm, but
	 * if there is much of it, memory is short, or threads of the kernel. */
	uint64_t
		submit_retries; /* submits of which some was left over: for lack
				       of memory, or as completions came first */
	uint64_t operation_retries; /* operations that the kernel had cut short,
				       and that were begun again */
	uint64_t cancel_misses;     /* requests to cancel that found nothing, or
				       came too late */
};

/**
 * weft_stats - read the counts of a thread
 * @thread: the thread's id; 0: the calling thread
 * @out:    filled in; untouched on failure
 *
 * Return: 0; -ESRCH if no such thread is attached; -EINVAL if @out is NULL. For
 * another thread than the caller's, @out is a snapshot.
 * Context: any thread; never switches.
 */
WEFT_API int weft_stats(uint64_t thread, struct weft_stats *out);

/**
 * weft_engine - the name of the engine that does the calling thread's I/O
 *
 * WEFT_ENGINE in the environment chooses: `uring`, `poll`, or `auto`, which is the
 * default. With `auto` it is io_uring, and where a thread cannot have that, epoll and
 * helper threads. This call finds out which, if nothing has yet. weft-info says why.
 *
 * Return: "uring" or "poll".
 * Context: any thread; never switches.
 */
WEFT_API const char *weft_engine(void);

/** weft_version - the library's version, as "1.2.3"; never switches */
WEFT_API const char *weft_version(void);

WEFT_END_DECLS

#endif /* WEFT_DEBUG_H */
