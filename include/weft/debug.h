/* SPDX-License-Identifier: MIT */
/**
 * debug - seeing inside
 */
#ifndef WEFT_DEBUG_H
#define WEFT_DEBUG_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/** Counts of one thread, from its attaching on. */
struct weft_stats {
	uint64_t switches; /* times a tasklet got the thread */
	uint64_t spawned;  /* tasklets that came to this thread */
	uint64_t ended;
	uint64_t failed;            /* of those, with a negative result */
	uint64_t abandoned;         /* left over when the thread ended */
	uint64_t parks;             /* times the thread went to sleep */
	uint64_t wakes_sent;        /* doorbells rung for parked threads */
	uint64_t wakes_saved;       /* hand-ins to a thread that was awake */
	uint64_t operations;        /* handed to the io_uring */
	uint64_t submits;           /* system calls that handed some in */
	uint64_t cancels;           /* operations asked back */
	uint64_t stray_completions; /* of no known operation; never followed */
	uint64_t cq_overflows; /* times the completion queue had run over */
	uint64_t timers_fired;
	int64_t worst_lateness_ns; /* of a timer, behind its deadline */
	size_t alive;              /* tasklets not ended, main included */
	size_t stacks;             /* mapped, in use or not */
	size_t stack_bytes;        /* of address space, guards included */
};

/**
 * weft_stats - read the counts of a thread
 * @thread: its id; 0: the calling thread
 * @out:    filled in; untouched on failure
 *
 * Return: 0; -ESRCH when no such thread is attached; -EINVAL when @out is NULL.
 * Of another thread than the caller's it is a snapshot.
 * Context: any thread; never switches.
 */
WEFT_API int weft_stats(uint64_t thread, struct weft_stats *out);

/**
 * weft_engine - the name of what the calling thread does I/O with
 *
 * Return: "uring", also before the ring is created.
 * Context: any thread; never switches.
 */
WEFT_API const char *weft_engine(void);

/** weft_version - the library's version, as "1.2.3"; never switches */
WEFT_API const char *weft_version(void);

WEFT_END_DECLS

#endif /* WEFT_DEBUG_H */
