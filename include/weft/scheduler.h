/* SPDX-License-Identifier: MIT */
/**
 * scheduler - the run queue of one thread, and threads
 *
 * Each thread has a run queue: its runnable tasklets in a circle, the running one
 * included. The one behind the running one is its successor. Blocked and paused
 * tasklets are in no run queue. These rules fix every order of execution:
 *
 *  R1   insert: "at the end" is just before the running tasklet, so the tasklet
 *       runs after everything that is queued now.
 *  R2   remove: the tasklet leaves the run queue; if it was the running one, its
 *       successor is next.
 *  R3   switch to X: if X is paused, it is first inserted at the end; if X is in
 *       the run queue, it stays where it is. Then X runs. The tasklets between are
 *       skipped, and those behind X run before the caller's next turn.
 *  R4   weft_schedule: switch to the successor. The run queue does not change.
 *  R5   weft_schedule_remove: the caller leaves the run queue, its successor runs.
 *  R6   a tasklet ends: it leaves the run queue, its successor runs.
 *  R7   no tasklet is runnable: the innermost weft_run() or weft_pump() of the
 *       thread decides. A pump returns. A run returns if every tasklet of the
 *       thread has ended except the main tasklet and those inside run or pump;
 *       otherwise the thread parks until a tasklet becomes runnable. If the thread
 *       is inside neither, a main tasklet that paused itself is resumed; if the main
 *       tasklet is blocked, the thread parks.
 *  R8   waking a tasklet of another thread never switches: the tasklet goes to the
 *       end of its own run queue, and its thread is woken if it is parked.
 *  R9, R10  channels: see weft/channel.h.
 *
 * Deadlock. A thread that has nothing to run does not park if nothing can ever
 * wake it. That is so if no I/O, timer or offloaded call is in flight in the
 * process, every other attached thread is parked likewise, and every OS thread of
 * the process is attached (the kernel's workers, the library's helpers and threads
 * that are about to end do not count). Then the innermost weft_run() of the thread
 * returns -EDEADLK, or, outside of any, the blocking call of its main tasklet; all
 * other tasklets stay as they were. When a thread ends, one of those that are still
 * parked checks again. While only threads that are not attached stand against the
 * verdict, the check is repeated after pauses that grow from 0.1 to 10 s. With
 * WEFT_DEADLOCK=report in the environment, a list of what each tasklet waits for is
 * written to standard error, too.
 *
 * Fork. In a child of fork() the scheduler of the forking thread goes on, with an
 * io_uring of its own. The operations in flight stay with the parent: tasklets that
 * wait for one get -ECANCELED in the child. All other threads and their tasklets
 * have ended there: their handles give -ESRCH, and tasklets that were joining them
 * get -ECANCELED.
 *
 * The end of a thread. When an attached thread ends, its tasklets are killed in
 * the order of their creation, and run to their end; those that never ran end
 * without running. This takes at most 10 rounds. In each round they run until the
 * run queue is empty or 10 ms have passed. If the queue is empty while something
 * shielded, or I/O that is being cancelled, is still out, the thread then parks for
 * up to 10 ms. I/O is always waited for. Tasklets that are left are abandoned, and
 * counted in weft_stats(). The callbacks of the thread are removed before all this.
 * At the end of the process nothing of this happens.
 *
 * A destructor of a pthread key that calls weft after that attaches the thread
 * anew, until the next round of destructors. In the last rounds the thread is not
 * attached any more, and calls fail with ESRCH.
 *
 * If pthread_exit() is called in a tasklet, or in a function that is called for one
 * (a callback, a deferred function, drop), the other tasklets are abandoned at once:
 * the functions that they deferred are not called, and what they had received is
 * lost. If the main tasklet is blocked in a call other than run or pump, the process
 * is aborted, since others would write to frames that are gone.
 */
#ifndef WEFT_SCHEDULER_H
#define WEFT_SCHEDULER_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

/**
 * weft_schedule - give way to the next tasklet in the run queue (rule R4)
 *
 * Return: 0 when the caller's turn comes again, at once if it is alone; or what
 * any blocking call may return, after giving way.
 * Context: any tasklet; switches.
 * Source: stackless.schedule().
 */
WEFT_API int weft_schedule(void);

/**
 * weft_schedule_remove - pause the calling tasklet (rule R5)
 *
 * The tasklet stays paused until it is inserted, run or switched to. A main tasklet
 * that pauses itself outside of weft_run() also comes back when nothing else of its
 * thread is runnable (rule R7).
 *
 * Return: 0, or what any blocking call may return.
 * Context: any tasklet; switches.
 * Source: stackless.schedule_remove().
 */
WEFT_API int weft_schedule_remove(void);

/**
 * weft_run - run the other tasklets of this thread until none is alive
 *
 * The caller leaves the run queue and comes back by rule R7. Calls nest, and any
 * tasklet may make them. If no tasklet is runnable but something is still to come
 * (an operation in flight, a sleeper, a tasklet that another thread can wake), the
 * thread parks.
 *
 * Return: 0; what weft_stop() was given; or what any blocking call may return. It
 * is also 0, early, if the caller was inserted, run or switched to while it was
 * inside. Then the calls that are nested deeper return 0 too, and their tasklets are
 * inserted at the end before the caller, the innermost first.
 * Context: any tasklet; switches.
 * Source: stackless.run().
 */
WEFT_API int weft_run(void);

/**
 * weft_run_until - weft_run() with a time limit
 * @deadline: nanoseconds of weft_now(); WEFT_FOREVER: no limit
 *
 * Return: as weft_run(); -ETIMEDOUT once @deadline has passed, even if other
 * tasklets are runnable.
 * Context: any tasklet; switches.
 */
WEFT_API int weft_run_until(int64_t deadline);

/**
 * weft_pump - run the other tasklets until none is runnable; never parks
 *
 * The call takes in completed I/O and timers that are due once at the start, and
 * whenever the run queue is empty. When the call returns, all I/O that was begun has
 * been submitted to the kernel.
 *
 * Return: how many other tasklets of this thread are still alive (blocked or
 * paused), the main tasklet counted if it is not the caller; what weft_stop()
 * was given; 0 early as weft_run(); or what any blocking call may return.
 * Context: any tasklet; switches.
 * Source: the "pump the scheduler" idiom of Stackless Python.
 */
WEFT_API int weft_pump(void);

/**
 * weft_stop - make the innermost weft_run() or weft_pump() of this thread return
 * @result: what that call returns
 *
 * The tasklet that made that call is the next to run when the tasklet that calls
 * weft_stop() gives way. Outside of weft_run() and weft_pump() this does nothing.
 *
 * Context: any tasklet; never switches.
 */
WEFT_API void weft_stop(int result);

/**
 * weft_fd - a descriptor with which another event loop can drive this thread
 *
 * The descriptor is readable when weft_pump() has something to do: this thread or
 * another has made a tasklet runnable, or I/O has completed. It does not tell of
 * timers; weft_next_deadline() does. After a pump that left no tasklet runnable the
 * descriptor is not readable, and all I/O that was begun has been submitted. The
 * descriptor may also become readable without cause. Poll it for input, and do
 * nothing else with it. It belongs to the library, is the same for each call on one
 * thread, and is closed when the thread ends. In a child of fork() it keeps its
 * number.
 *
 * Between pumps the thread may call anything. The loop must call weft_pump() when
 * the descriptor is readable and when the deadline has come.
 *
 * Return: the descriptor, or a negative errno: of eventfd(2), or -ENOMEM.
 * Context: any tasklet; never switches.
 */
WEFT_API int weft_fd(void);

/**
 * weft_next_deadline - the latest moment at which to call weft_pump() again
 *
 * Return: nanoseconds of weft_now(): the moment of the earliest timer, or now or
 * earlier if a tasklet is runnable; WEFT_FOREVER if there is neither.
 * Context: any tasklet; never switches.
 */
WEFT_API int64_t weft_next_deadline(void);

/**
 * weft_switch_trap - forbid switching on this thread
 * @delta: added to the level of the trap; 0 only asks for the level
 *
 * While the level is not 0, every call that would switch on this thread returns
 * -EPERM, and nothing has moved. Such calls are blocking calls that would wait,
 * weft_schedule() if others are in the run queue, a send or receive whose peer is
 * favoured, and control calls. Calls that do not switch work as usual. A tasklet can
 * still end.
 *
 * Return: the level before.
 * Context: any thread; never switches.
 * Source: stackless.switch_trap().
 */
WEFT_API int weft_switch_trap(int delta);

/**
 * weft_schedule_fn - a callback for each switch
 * @from: the tasklet that had the thread; it may have ended
 * @to:   the tasklet that gets the thread
 * @ctx:  from weft_set_schedule_callback()
 *
 * The callback is called on the stack of @from just before the switch. It may make
 * any call that does not switch; calls that would switch return -EPERM. If it takes
 * @to out of the run queue, or kills it, the tasklet that is next then runs instead,
 * and the callback is called again.
 */
typedef void (*weft_schedule_fn)(weft_tasklet from, weft_tasklet to, void *ctx);

/**
 * weft_set_schedule_callback - set a callback for the switches of this thread
 * @fn:  NULL: no callback any more
 * @ctx: given to @fn
 *
 * Context: any thread, for itself; never switches.
 * Source: stackless.set_schedule_callback().
 */
WEFT_API void weft_set_schedule_callback(weft_schedule_fn fn, void *ctx);

/**
 * weft_runcount - the length of the run queue, the caller included
 *
 * A tasklet inside weft_run() or weft_pump() is not in the run queue. Tasklets that
 * another thread has made runnable are counted when this one has taken them in: with the
 * next call that may switch, or weft_pump().
 *
 * Return: at least 1.
 * Context: any thread; never switches.
 * Source: stackless.runcount.
 */
WEFT_API unsigned weft_runcount(void);

/**
 * weft_thread_id - the calling thread's id in weft
 *
 * Return: the id, from 1 up, never used twice; 0 with errno ENOMEM if the thread
 * was not attached and could not be attached.
 * Context: any thread; never switches.
 */
WEFT_API uint64_t weft_thread_id(void);

/**
 * weft_threads - list the attached threads
 * @ids:      receives the first @capacity ids, oldest first; may be NULL if
 *            @capacity is 0
 * @capacity: elements of @ids
 *
 * Return: how many threads are attached, which can be more than @capacity.
 * Context: any thread; never switches.
 * Source: stackless.threads.
 */
WEFT_API size_t weft_threads(uint64_t *ids, size_t capacity);

/** The facts about a thread that weft_thread_info() gives. */
struct weft_thread_info {
	uint64_t id;
	weft_tasklet main;
	weft_tasklet current; /* the one that has the thread now */
	unsigned runcount;    /* the length of its run queue */
	size_t alive; /* its tasklets that have not ended, main included */
	bool parked;  /* asleep in the kernel, with nothing to run */
};

/**
 * weft_thread_info - look at a thread's scheduler
 * @id:   the id of an attached thread
 * @info: filled in; untouched on failure
 *
 * Return: 0; -ESRCH if no such thread is attached; -EINVAL if @info is NULL. For
 * another thread than the caller's, @info is a snapshot.
 * Context: any thread; never switches.
 */
WEFT_API int weft_thread_info(uint64_t id, struct weft_thread_info *info);

/**
 * weft_thread_start - start an OS thread with a scheduler
 * @id:  receives the new thread's id; NULL: nobody will join the thread
 * @fn:  runs there as a tasklet
 * @arg: given to @fn
 *
 * The new thread spawns @fn and calls weft_run(). It ends when that returns. The
 * caller waits, with its OS thread, until the new thread is attached.
 *
 * Return: 0, or
 *   -EINVAL  @fn is NULL
 *   -EAGAIN  the system gives no thread, because of a limit, see pthread_create(),
 *            or after unshare(CLONE_NEWPID)
 *   -ENOMEM  no memory for the thread
 * Context: any thread; never switches.
 */
WEFT_API int weft_thread_start(uint64_t *id, weft_fn fn, void *arg);

/**
 * weft_thread_join - wait for the end of a thread from weft_thread_start()
 *
 * The call blocks the tasklet until the thread has detached, and then the OS thread
 * for the moment that pthread_join() takes. If several tasklets wait, one gets the
 * result and the others get -ESRCH. If a thread was started with an id and is never
 * joined, its result is kept, and so is what the system keeps for pthread_join().
 *
 * Return: the result of the thread's fn; -ECANCELED if the thread ended before fn
 * did; or
 *   -ESRCH    no such thread, or it was joined before
 *   -EINVAL   weft_thread_start() did not start it, or started it without an id
 *   -EDEADLK  it is the calling thread
 * or what any blocking call may return; then the thread can still be joined.
 * Context: any tasklet of any thread; switches.
 */
WEFT_API int weft_thread_join(uint64_t id);

WEFT_END_DECLS

#endif /* WEFT_SCHEDULER_H */
