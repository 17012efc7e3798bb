/* SPDX-License-Identifier: MIT */
/**
 * time - the clock, sleeping, and time limits
 */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_now - nanoseconds of CLOCK_MONOTONIC
 *
 * Context: any thread; never switches.
 */
WEFT_API int64_t weft_now(void);

/**
 * weft_sleep - block the calling tasklet for a while
 * @ns: nanoseconds; 0 or less gives way once, as weft_schedule()
 *
 * Sleepers wake in the order of their deadlines; those with equal deadlines wake in
 * the order in which they went to sleep.
 *
 * Return: 0 when the time has passed; -ENOMEM if there is no memory for the timer;
 * or what any blocking call may return.
 * Context: any tasklet; switches.
 */
WEFT_API int weft_sleep(int64_t ns);

/**
 * weft_sleep_until - block the calling tasklet until a moment
 * @deadline: nanoseconds of weft_now(); if it has passed, the call gives way once;
 *            WEFT_FOREVER sleeps without end
 *
 * Return: as weft_sleep().
 * Context: any tasklet; switches.
 */
WEFT_API int weft_sleep_until(int64_t deadline);

/** A time limit for the blocking calls of a tasklet. Its fields are private. */
struct weft_deadline {
	void *weft__scope;
	uintptr_t weft__before;
};

/**
 * weft_deadline_begin - limit the blocking calls of this tasklet from here on
 * @d:    belongs to the caller, who keeps it until weft_deadline_end()
 * @when: nanoseconds of weft_now(); a moment that has passed counts at once;
 *        WEFT_FOREVER: no limit
 *
 * Until weft_deadline_end(@d), every blocking call of the calling tasklet returns
 * -ETIMEDOUT once @when has passed: calls on a channel or a lock, I/O, a join,
 * weft_run(). They do so even if they need not wait, and a shield does not hide it.
 * Scopes nest, and the earliest deadline counts. What a call was handed before it
 * was given up is not lost, as with weft_tasklet_kill().
 *
 * A scope costs one timer, however many calls are made inside. If there is no
 * memory for the timer, the scope counts as run out from its beginning. A scope that
 * is not ended lasts until an outer scope ends, or until the tasklet ends.
 *
 * Context: any tasklet, for itself; never switches.
 */
WEFT_API void weft_deadline_begin(struct weft_deadline *d, int64_t when);

/**
 * weft_deadline_end - end a scope, and those inside it that are still open
 * @d: from weft_deadline_begin() by the same tasklet; ended only once
 *
 * Return: whether the scope's deadline has passed.
 * Context: any tasklet, for itself; never switches. Not in a callback that comes while
 *   the tasklet waits, as a park callback does: a wait that this deadline has ended
 *   would return 0, as if it had got what it waited for.
 */
WEFT_API bool weft_deadline_end(struct weft_deadline *d);

WEFT_END_DECLS

#endif /* WEFT_TIME_H */
