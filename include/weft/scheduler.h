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
 *
 * Deadlock. A thread that has nothing to run does not park if nothing can ever
 * wake it: no I/O, timer or offloaded call in flight in the process, every other
 * attached thread parked likewise, and no OS thread in the process that is not
 * attached (the kernel's workers, the library's own helpers and threads on their
 * way out not counted). Instead its innermost weft_run(), else the blocking call
 * of its main tasklet, returns -EDEADLK; all other tasklets stay as they were.
 * When a thread ends, one of those still parked looks again. While only threads
 * that are not attached stand against the verdict, it is looked at again after
 * pauses that grow from 0.1 to 10 s. With WEFT_DEADLOCK=report in the environment
 * the verdict comes with a list on standard error of who waits for what.
 *
 * Fork. In a child of fork() the scheduler of the forking thread goes on, on a
 * ring of its own. The operations in flight stay the parent's: tasklets that wait
 * for one get -ECANCELED in the child. All other threads and their tasklets have
 * ended there: handles give -ESRCH, those who joined them -ECANCELED.
 *
 * The end of a thread. When an attached thread ends, its tasklets are killed in
 * the order of their creation, those that never ran without running, and run to
 * their end: in at most 10 rounds, each until the ring is empty or 10 ms have
 * passed, and then up to 10 ms parked while something shielded, or I/O that was
 * called back, is still out. I/O is always waited for. Those that are left are
 * given up, and counted in weft_stats(). The callbacks of the thread are dropped
 * first. At the end of the process nothing of this happens.
 *
 * A destructor of a pthread key that calls weft after that attaches the thread
 * anew, until the next round of destructors; in the last rounds it is not attached
 * any more, and calls fail with ESRCH. pthread_exit() in a tasklet gives the
 * others up at once, and aborts the process if the main tasklet is blocked in a
 * call other than run or pump: others would write to frames that are gone.
 */
#ifndef WEFT_SCHEDULER_H
#define WEFT_SCHEDULER_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

/**
 * weft_schedule - give way to the next tasklet in the ring (rule R4)
 *
 * Return: 0 when the caller's turn comes again, at once if it is alone; or what
 * any blocking call may, after giving way.
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
 * Return: 0, or what any blocking call may.
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
 * and theirs return 0 too); or what any blocking call may.
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
 * weft_fd - a descriptor with which another event loop can drive this thread
 *
 * It is readable when weft_pump() has something to do: something was made
 * runnable, by this thread or another, or I/O has completed. Timers are told by
 * weft_next_deadline(). It is quiet after a pump that left nothing runnable,
 * which has also handed in all I/O that was begun; it may become readable
 * without cause. Poll it for input, and do nothing else with it. It is the
 * library's, the same for each call on one thread, and closed when the thread
 * ends. In a child of fork() it keeps its number.
 *
 * Between pumps the thread may call anything; the loop must come round to
 * weft_pump() when the descriptor is readable or the deadline has come.
 *
 * Return: the descriptor, or a negative errno: of eventfd(2), or -ENOMEM.
 * Context: any tasklet; never switches.
 */
WEFT_API int weft_fd(void);

/**
 * weft_next_deadline - the latest moment at which to call weft_pump() again
 *
 * Return: nanoseconds of weft_now(): of the earliest timer, now or earlier when
 * something is runnable; WEFT_FOREVER when there is neither.
 * Context: any tasklet; never switches.
 */
WEFT_API int64_t weft_next_deadline(void);

/**
 * weft_switch_trap - forbid switching on this thread
 * @delta: added to the trap's level; 0 only asks
 *
 * While the level is not 0, every call that would switch on this thread returns
 * -EPERM and nothing has moved: blocking calls that would wait, weft_schedule()
 * with others in the ring, a send or receive whose peer is favoured, control
 * calls. What does not switch goes on working. A tasklet can still end.
 *
 * Return: the level before.
 * Context: any thread; never switches.
 * Source: stackless.switch_trap().
 */
WEFT_API int weft_switch_trap(int delta);

/**
 * weft_schedule_fn - told of each switch
 * @from: who had the thread; it may have ended
 * @to:   who gets it
 * @ctx:  from weft_set_schedule_callback()
 *
 * Called on @from's stack just before the switch. It may make any call that does
 * not switch; those that would return -EPERM. If it takes @to out of the ring,
 * or kills it, whoever is next then runs, and it is called again.
 */
typedef void (*weft_schedule_fn)(weft_tasklet from, weft_tasklet to, void *ctx);

/**
 * weft_set_schedule_callback - have the switches of this thread told
 * @fn:  NULL: no more
 * @ctx: handed to @fn
 *
 * Context: any thread, for itself; never switches.
 * Source: stackless.set_schedule_callback().
 */
WEFT_API void weft_set_schedule_callback(weft_schedule_fn fn, void *ctx);

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

/**
 * weft_thread_start - start an OS thread with a scheduler
 * @id:  receives the new thread's id; NULL: nobody will join it
 * @fn:  run there as a tasklet
 * @arg: handed to @fn
 *
 * The new thread spawns @fn and calls weft_run(); it ends when that returns. The
 * caller waits, with its OS thread, until the new one is attached.
 *
 * Return: 0, or
 *   -EINVAL  @fn is NULL
 *   -EAGAIN  the system has no thread to give, see pthread_create()
 *   -ENOMEM  no memory for it
 * Context: any thread; never switches.
 */
WEFT_API int weft_thread_start(uint64_t *id, weft_fn fn, void *arg);

/**
 * weft_thread_join - wait for the end of a thread from weft_thread_start()
 *
 * It blocks the tasklet, until the thread has detached, and then the OS thread
 * for the moment that pthread_join() takes. Of several who wait one gets the
 * result, the others -ESRCH. A thread with an id that is never joined keeps its
 * result, and what the system keeps for pthread_join().
 *
 * Return: the result of the thread's fn, -ECANCELED if the thread ended before
 * that did; or
 *   -ESRCH    no such thread, or it was joined before
 *   -EINVAL   weft_thread_start() did not start it, or with no id
 *   -EDEADLK  it is the calling thread
 * or what any blocking call may, and then the thread can still be joined.
 * Context: any tasklet of any thread; switches.
 */
WEFT_API int weft_thread_join(uint64_t id);

WEFT_END_DECLS

#endif /* WEFT_SCHEDULER_H */
