/* SPDX-License-Identifier: MIT */
/**
 * embed - what a language runtime needs that runs its threads on weft
 *
 * An interpreter has a state of its own for each tasklet, a lock that it must not
 * hold while its thread sleeps, and objects that stand for tasklets and channels.
 * These calls are for such a binding. A program that uses tasklets directly needs
 * none of them.
 */
#ifndef WEFT_EMBED_H
#define WEFT_EMBED_H

#include <weft/base.h>
#include <weft/channel.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

/**
 * weft_park_fn - a callback for the sleep of a thread
 * @parking: true: the thread has nothing to run. It will look for work a last time,
 *           and then sleep. false: it is back
 * @ctx:     from weft_set_park_callback()
 *
 * The two calls come in pairs, the first one with true. Between them, the library
 * touches nothing of the program's on this thread. Nothing that other threads handed
 * in is taken in before the second call has returned. The sleep may have ended
 * without cause, or because of a signal handler.
 *
 * The callback runs on the stack of the tasklet that has blocked or ended last. It
 * may make any call that does not switch, weft_tasklet_raise() with WEFT_PENDING on
 * the tasklet that waits included; calls that would switch return -EPERM.
 */
typedef void (*weft_park_fn)(bool parking, void *ctx);

/**
 * weft_set_park_callback - set a callback for the sleep of this thread
 * @fn:  NULL: no callback any more
 * @ctx: given to @fn
 *
 * It is for the lock of an interpreter, which is to be released while the thread
 * sleeps. A callback that is set between the two calls is first called at the next
 * sleep. When the thread ends, the callback is removed before anything else happens.
 *
 * Context: any thread, for itself; never switches.
 */
WEFT_API void weft_set_park_callback(weft_park_fn fn, void *ctx);

/**
 * weft_ring - the run queue of this thread, in its order
 * @out:      receives the first @capacity handles, the caller's first; may be NULL
 *            if @capacity is 0
 * @capacity: elements of @out
 *
 * Return: the length of the run queue, as weft_runcount(), also in what other threads
 *   have made runnable.
 * Context: any thread; never switches.
 * Source: tasklet.next and tasklet.prev of Stackless Python.
 */
WEFT_API size_t weft_ring(weft_tasklet *out, size_t capacity);

/**
 * weft_tasklet_run_next - make a tasklet of this thread the caller's successor
 *
 * A paused tasklet is made runnable, one in the run queue leaves its place there. If
 * the tasklet is inside weft_run() or weft_pump(), that call returns 0 early.
 *
 * Return: 0 (also if @t is the caller, and then nothing is done), or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 *   -EBUSY  @t is blocked
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_run_next(weft_tasklet t);

/**
 * weft_runner - the tasklet inside the innermost weft_run() or weft_pump()
 *
 * Return: its handle; the null handle if no tasklet of this thread is inside.
 * Context: any thread; never switches.
 */
WEFT_API weft_tasklet weft_runner(void);

/**
 * weft_tasklet_pending - the kill or raise that a tasklet will be told of
 *
 * Return: what its next blocking call, or the one that it is in, will return for it:
 * -ECANCELED of a kill, -err of a raise; 0 if there is neither. What another thread
 * asked for counts when this thread has taken it in. Or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 * The two can also be errors that were raised: so ask for tasklets of this thread
 * that are alive.
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_pending(weft_tasklet t);

/**
 * weft_tasklet_take_pending - the same, and take a raise back
 *
 * A raise that is returned is not pending any more; also one that another thread has
 * asked for, and that this thread has not taken in yet. A call that it has woken still
 * ends: it returns 0 then, as if nothing had come. So this is for tasklets that are
 * not in a call, the caller itself above all. A kill stays.
 *
 * Return: as weft_tasklet_pending().
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_take_pending(weft_tasklet t);

/**
 * weft_tasklet_data_of - the pointer that is kept with a tasklet
 *
 * See weft_set_tasklet_data(). For a tasklet that has not run yet it is the argument
 * that the tasklet was created with.
 *
 * Return: the pointer; NULL if @t has ended or belongs to another thread.
 * Context: any thread; never switches.
 */
WEFT_API void *weft_tasklet_data_of(weft_tasklet t);

/**
 * weft_tasklet_set_data_of - keep one pointer of the user's with a tasklet
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 *   -EBUSY  @t has not run yet: it still has its argument
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_set_data_of(weft_tasklet t, void *data);

/** weft_channel_data - the pointer that was set with weft_channel_set_data(), NULL
 *  at first; any thread; never switches */
WEFT_API void *weft_channel_data(weft_channel *ch);

/**
 * weft_channel_set_data - keep one pointer of the user's with a channel
 *
 * The library does not look at it. A thread that reads it while another one sets it
 * finds one of the two.
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_set_data(weft_channel *ch, void *data);

/**
 * weft_tasklet_stack - where the stack of a tasklet is
 * @low:  receives its lowest address
 * @size: receives how many bytes there are from there up
 *
 * For an interpreter that checks its depth by addresses. The guard below the stack
 * is not counted.
 *
 * Return: 0, or
 *   -ESRCH   @t has ended
 *   -EXDEV   @t belongs to another thread
 *   -EAGAIN  @t has not run yet, and has no stack
 *   -EINVAL  @low or @size is NULL
 *   or, for a main tasklet, what pthread_getattr_np() gives.
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_stack(weft_tasklet t, void **low, size_t *size);

/**
 * weft_thread_end - do now what the end of the thread would do
 *
 * For a runtime that takes its thread state away before the thread ends. The tasklets
 * of the thread are killed and run to their end, as weft/scheduler.h says, and the
 * thread is detached. Its callbacks are removed first, but the park callback stays
 * until all tasklets have ended. The next call of weft attaches the thread anew, with
 * another id and another main tasklet.
 *
 * To be called on the main tasklet, outside of callbacks: else the process is stopped
 * with a message. On a thread that is not attached it does nothing.
 *
 * Context: the main tasklet; switches.
 */
WEFT_API void weft_thread_end(void);

/** For weft_set_deadlock_policy(): threads that are not attached do not count. So a
 *  helper thread of a library, which knows nothing of weft, prevents no verdict. */
#define WEFT_DEADLOCK_ATTACHED 1u

/** For weft_set_deadlock_policy(): outside of weft_run(), the tasklet that has
 *  blocked or paused itself last is told of the deadlock, and not the main tasklet. */
#define WEFT_DEADLOCK_LAST 2u

/**
 * weft_set_deadlock_policy - choose when there is a deadlock, and who is told
 * @policy: 0, or the sum of WEFT_DEADLOCK_ values; for the whole process
 *
 * If the tasklet that left the run queue last has ended, the main tasklet is told also
 * with WEFT_DEADLOCK_LAST.
 *
 * Return: the policy before, or -EINVAL for other values.
 * Context: any thread; never switches.
 */
WEFT_API int weft_set_deadlock_policy(unsigned policy);

WEFT_END_DECLS

#endif /* WEFT_EMBED_H */
