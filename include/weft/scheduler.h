/* SPDX-License-Identifier: MIT */
/**
 * scheduler - the ring of runnable tasklets of one thread, and threads
 *
 * Each thread has a ring of runnable tasklets, the running one included, with a
 * cursor on it. Blocked and paused tasklets are in no ring. These rules fix
 * every order of execution:
 *
 *  R1   insert: "at the end" is just before the running tasklet, so it runs
 *       after everything queued now.
 *  R2   remove: unlink; if it was the running one, its successor is next.
 *  R3   switch-to X: a paused X is first inserted at the end; an X in the ring
 *       stays where it is. Then X runs. Those between are skipped, and those
 *       behind X run before the caller's next turn.
 *  R4   weft_schedule: switch-to the successor. The ring does not change.
 *  R5   weft_schedule_remove: the caller leaves the ring, its successor runs.
 *  R6   a tasklet ends: it leaves the ring, its successor runs.
 *  R7   nothing runnable: the innermost weft_run() or weft_pump() of the thread
 *       decides. A pump returns. A run returns if every tasklet of the thread
 *       has ended but the main tasklet and those inside run or pump; otherwise
 *       the thread parks until something becomes runnable. Outside of both, a
 *       main tasklet that paused itself is resumed, and with a main that is
 *       blocked the thread parks.
 *  R8   waking a tasklet of another thread never switches: it goes to the end
 *       of its own ring, and that thread is woken if it is parked.
 *  R9, R10  channels: see weft/channel.h.
 */
#ifndef WEFT_SCHEDULER_H
#define WEFT_SCHEDULER_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

/**
 * weft_schedule - give way to the next tasklet in the ring (rule R4)
 *
 * Return: 0 when the caller's turn comes again; at once if it is alone.
 * Context: any tasklet; switches.
 * Source: stackless.schedule().
 */
WEFT_API int weft_schedule(void);

/**
 * weft_schedule_remove - pause the calling tasklet (rule R5)
 *
 * It stays paused until it is inserted, run or switched to. A main tasklet that
 * pauses itself outside of weft_run() also comes back when nothing else of its
 * thread is runnable (rule R7).
 *
 * Return: 0.
 * Context: any tasklet; switches.
 * Source: stackless.schedule_remove().
 */
WEFT_API int weft_schedule_remove(void);

/**
 * weft_run - run the other tasklets of this thread until none is alive
 *
 * The caller leaves the ring and comes back by rule R7. Calls nest, and may be
 * made from any tasklet. While something is still to come (an operation in
 * flight, a sleeper, a tasklet that another thread can wake) the thread parks.
 *
 * Return: 0; what weft_stop() was given; 0 early when the caller was inserted,
 * run or switched to while it was inside (then the tasklets inside calls that
 * are nested deeper are inserted at the end, before it and the innermost first,
 * and theirs return 0 too).
 * Context: any tasklet; switches.
 * Source: stackless.run().
 */
WEFT_API int weft_run(void);

/**
 * weft_run_until - weft_run() with a limit
 * @deadline: nanoseconds of weft_now(); WEFT_FOREVER: no limit
 *
 * Return: as weft_run(); -ETIMEDOUT once @deadline has passed, though others be
 * runnable.
 * Context: any tasklet; switches.
 */
WEFT_API int weft_run_until(int64_t deadline);

/**
 * weft_pump - run the others until the ring is empty; never parks
 *
 * Finished I/O and timers that are due are taken in once at the start and
 * whenever the ring runs empty. What was submitted has reached the kernel when
 * the call returns.
 *
 * Return: how many other tasklets of this thread are still alive (blocked or
 * paused), the main tasklet counted when it is not the caller; what weft_stop()
 * was given; 0 early as weft_run().
 * Context: any tasklet; switches.
 * Source: the "pump the scheduler" idiom of Stackless Python.
 */
WEFT_API int weft_pump(void);

/**
 * weft_stop - make the innermost weft_run() or weft_pump() of this thread return
 * @result: what it returns
 *
 * Its caller is the next to run once the stopper gives way. Outside of both
 * this does nothing.
 *
 * Context: any tasklet; never switches.
 */
WEFT_API void weft_stop(int result);

/**
 * weft_runcount - the length of the ring, the caller included
 *
 * A tasklet inside weft_run() or weft_pump() is not in the ring.
 *
 * Return: at least 1.
 * Context: any thread; never switches.
 * Source: stackless.runcount.
 */
WEFT_API unsigned weft_runcount(void);

/**
 * weft_thread_id - the calling thread's id in weft
 *
 * Return: from 1 up, never used twice; 0 with errno ENOMEM when the thread was
 * not attached and could not be.
 * Context: any thread; never switches.
 */
WEFT_API uint64_t weft_thread_id(void);

/**
 * weft_threads - the attached threads
 * @ids:      receives the first @capacity ids, oldest first; may be NULL with
 *            @capacity 0
 * @capacity: elements of @ids
 *
 * Return: how many threads are attached, which can be more than @capacity.
 * Context: any thread; never switches.
 * Source: stackless.threads.
 */
WEFT_API size_t weft_threads(uint64_t *ids, size_t capacity);

/** What weft_thread_info() tells of a thread. */
struct weft_thread_info {
	uint64_t id;
	weft_tasklet main;
	weft_tasklet current; /* the one that has the thread now */
	unsigned runcount;    /* the length of its ring */
	size_t alive; /* its tasklets that have not ended, main included */
	bool parked;  /* asleep in the kernel: nothing to run */
};

/**
 * weft_thread_info - look at a thread's scheduler
 * @id:   an attached thread's
 * @info: filled in; untouched on failure
 *
 * Return: 0; -ESRCH when no such thread is attached; -EINVAL when @info is
 * NULL. For another thread than the caller's it is a snapshot.
 * Context: any thread; never switches.
 */
WEFT_API int weft_thread_info(uint64_t id, struct weft_thread_info *info);

WEFT_END_DECLS

#endif /* WEFT_SCHEDULER_H */
