/* SPDX-License-Identifier: MIT */
/**
 * tasklet - a function with a stack of its own, run by its thread's scheduler
 *
 * A tasklet is created for one thread and runs there until its function returns.
 * Until it first runs it costs a descriptor of 128 bytes. Then it takes a stack
 * from the cache of its scheduler, and at its end it gives the stack back, still
 * warm.
 *
 * The floating-point control words (rounding mode, exception masks) belong to
 * the thread: the next tasklet sees a change that one tasklet makes. A tasklet
 * that needs control words of its own is created with own_fpu.
 */
#ifndef WEFT_TASKLET_H
#define WEFT_TASKLET_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_tasklet - a handle: a value that you can copy and keep as long as you like
 *
 * It is always safe to use the handle of a tasklet that has ended: calls return
 * -ESRCH and weft_tasklet_alive() returns false. An id is never used twice in a
 * process; the null handle has id 0.
 */
typedef struct weft_tasklet {
	struct weft_task *task;
	uint64_t id;
} weft_tasklet;

/** What a tasklet is doing. */
enum weft_state {
	WEFT_DEAD,     /* ended, or a null handle */
	WEFT_PAUSED,   /* in no run queue; also inside run and pump */
	WEFT_RUNNABLE, /* in the run queue of its thread, waiting for its turn */
	WEFT_RUNNING,  /* has its thread */
	WEFT_BLOCKED   /* waits in a blocking call */
};

/** Zero in any field means the default; start from an empty initialiser. */
struct weft_tasklet_options {
	const char *name; /* copied, 31 bytes kept; NULL: none */

	/* Bytes that the tasklet can use; 0: the default. A blocking call takes
	 * up to 2 KB of them, because a thread that has nothing to do waits on
	 * the stack of the tasklet that has blocked last. The call takes up to
	 * 5 KB if it comes to a verdict on a deadlock, or if the program binds
	 * its calls when they are first made (not with -Wl,-z,now). */
	size_t stack_size;
	uint64_t thread; /* the owner's thread id; 0: the calling thread */
	bool paused;     /* create it without inserting it */
	bool own_fpu;    /* floating-point control words of its own */

	/* Called with the argument, in place of the function, if the tasklet ends
	 * without ever having run, to release what the argument holds. It runs on
	 * the tasklet itself, shielded, and may block. But if there is no stack
	 * for the tasklet, or its thread has ended, blocking calls in it return
	 * -EPERM. */
	void (*drop)(void *arg);
};

/**
 * Blocking calls: every call that can suspend the calling tasklet. These are the
 * blocking calls of channels, groups, locks, I/O and time, and weft_tasklet_join(),
 * weft_thread_join(), weft_offload(), weft_schedule(), weft_schedule_remove(),
 * weft_run(), weft_run_until(), weft_pump() and weft_tasklet_switch(). Besides its
 * own errors, each may return
 *
 *   -ECANCELED  the tasklet was killed, see weft_tasklet_kill()
 *   -err        an error was raised on it, see weft_tasklet_raise()
 *   -ETIMEDOUT  a time limit has passed, see weft_deadline_begin()
 *   -EAGAIN     the call would have to wait, and must not: weft_set_block_trap()
 *   -EPERM      the call would have to switch, and must not: weft_switch_trap().
 *               In a schedule or channel callback, or a drop function of a channel,
 *               every blocking call returns -EPERM. There this is checked first,
 *               and no error that is pending is consumed. Only
 *               -ESRCH and -EXDEV of weft_tasklet_switch() come before it.
 *   -EDEADLK    nothing in the process can ever end the wait, see
 *               weft/scheduler.h
 *
 * They are checked in this order, the first three also if the call need not wait.
 * What has been handed over is never lost: a receive that got an element, and a
 * send whose element was taken, return 0, and the next call returns the error.
 * When a call returns, whatever it returns, it no longer uses the buffers that it
 * was given.
 */

/**
 * weft_spawn - create a tasklet of the calling thread
 * @fn:  the function that it runs
 * @arg: given to @fn
 *
 * The tasklet is put at the end of this thread's run queue (rule R1) and first runs
 * when its turn comes. It gets the default stack, see WEFT_STACK in weft(7). If a
 * C++ exception leaves @fn, std::terminate() is called.
 *
 * Return: its handle, or the null handle with errno set:
 *   EINVAL  @fn is NULL
 *   ENOMEM  no memory for the descriptor, or no address space for the stack. On
 *           kernels older than 6.13 also: no mapping is left for the stack's guard,
 *           except the eighth of the sysctl vm.max_map_count that is kept for the
 *           rest of the process
 * Context: any thread; never switches.
 * Source: stackless.tasklet(fn)(arg).
 */
WEFT_API weft_tasklet weft_spawn(weft_fn fn, void *arg);

/**
 * weft_spawn_with - create a tasklet with options
 * @options: see struct weft_tasklet_options; NULL: all defaults
 * @fn:      the function that it runs
 * @arg:     given to @fn
 *
 * If @options->thread is set, the tasklet is handed to that thread: it goes to the
 * end of that thread's run queue, the thread is woken if it is parked, and the
 * caller goes on (rule R8).
 *
 * Return: as weft_spawn(), and also
 *   EINVAL  stack_size is above 1 GiB
 *   ESRCH   no such thread is attached
 * Context: any thread; never switches.
 * Source: tasklet.bind_thread() of Stackless Python for .thread.
 */
WEFT_API weft_tasklet weft_spawn_with(
	const struct weft_tasklet_options *options, weft_fn fn, void *arg);

/**
 * weft_current - the running tasklet
 *
 * Return: its handle; the null handle with errno ENOMEM if the calling thread
 * was not attached and could not be attached.
 * Context: any thread; never switches.
 * Source: stackless.getcurrent().
 */
WEFT_API weft_tasklet weft_current(void);

/**
 * weft_main - the main tasklet of the calling thread: the thread's own stack
 *
 * Return: as weft_current().
 * Context: any thread; never switches.
 * Source: stackless.getmain().
 */
WEFT_API weft_tasklet weft_main(void);

/** weft_tasklet_is_null - whether @t is the null handle; never switches */
WEFT_API bool weft_tasklet_is_null(weft_tasklet t);

/** weft_tasklet_equal - whether both name the same tasklet; never switches */
WEFT_API bool weft_tasklet_equal(weft_tasklet a, weft_tasklet b);

/**
 * weft_tasklet_alive - whether @t has not ended yet
 *
 * A tasklet that is paused or has never run is alive; a null handle is not.
 *
 * Context: any thread; never switches.
 * Source: tasklet.alive.
 */
WEFT_API bool weft_tasklet_alive(weft_tasklet t);

/**
 * weft_tasklet_state - what @t is doing
 *
 * Return: the exact state for a tasklet of the calling thread; for any other, a
 * snapshot that may be old when it is read; WEFT_DEAD for a tasklet that has ended.
 * Context: any thread; never switches.
 */
WEFT_API enum weft_state weft_tasklet_state(weft_tasklet t);

/** weft_tasklet_is_main - whether @t is the main tasklet of its thread, whichever
 *  thread that is; false once it has ended; never switches */
WEFT_API bool weft_tasklet_is_main(weft_tasklet t);

/**
 * weft_tasklet_thread - the thread that @t belongs to
 *
 * Return: the id of that thread (see weft_thread_id()), 0 if @t has ended.
 * Context: any thread; never switches.
 * Source: tasklet.thread_id.
 */
WEFT_API uint64_t weft_tasklet_thread(weft_tasklet t);

/**
 * weft_tasklet_name - copy the name that @t was created with
 * @buf:  receives the name, cut to fit, always with a NUL behind it
 * @size: size of @buf in bytes, at least 1
 *
 * Return: 0 (a tasklet without a name gives ""); -ESRCH if @t has ended;
 * -EINVAL if @buf is NULL or @size is 0.
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_name(weft_tasklet t, char *buf, size_t size);

/**
 * weft_tasklet_insert - make a paused tasklet runnable
 *
 * The tasklet goes to the end of the run queue of its thread (rules R1 and R8). If
 * it is runnable already, the call does nothing. If it is inside weft_run() or
 * weft_pump(), that call returns 0 early. A tasklet of another thread may have
 * earlier requests that its thread has not yet taken in: then it keeps the place of
 * the first of them.
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked
 * Context: any thread; never switches.
 * Source: tasklet.insert().
 */
WEFT_API int weft_tasklet_insert(weft_tasklet t);

/**
 * weft_tasklet_remove - pause a runnable tasklet: take it out of the run queue
 *
 * If the tasklet is paused already, the call does nothing. For a tasklet of another
 * thread the call is a request, which is carried out when that thread next gives
 * way: a tasklet that is running then is paused when it next yields, and one that
 * has blocked by then is left alone. The request replaces an earlier insert or run
 * that has not been carried out yet, and a later insert or run replaces it.
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked, or is the caller: see weft_schedule_remove()
 * Context: any thread; never switches.
 * Source: tasklet.remove().
 */
WEFT_API int weft_tasklet_remove(weft_tasklet t);

/**
 * weft_tasklet_notify - weft_tasklet_insert() for signal handlers
 *
 * The handler may have interrupted anything, on any thread, attached or not. @t is
 * put at the end of its thread's run queue when that thread next gives way, and the
 * thread is woken if it is parked. If @t is not paused by then, it is left alone. So
 * a tasklet that waits for a flag which a handler on the same thread sets misses
 * nothing:
 *
 *	while (!flag)
 *		weft_schedule_remove();
 *
 * Return: 0, or -ESRCH if @t has ended. errno is left as it was.
 * Context: any thread, signal handlers included; never switches.
 */
WEFT_API int weft_tasklet_notify(weft_tasklet t);

/**
 * weft_tasklet_run - switch to @t now; the caller stays in the run queue
 *
 * Rule R3 holds. If @t is paused, it is first inserted at the end. If it is in the
 * run queue it stays where it is: the tasklets between are skipped, and those behind
 * it run before the caller's next turn. If @t is of another thread, it is put at the
 * front of that thread's run queue and the caller goes on. Skipping costs 1 ns for
 * each tasklet that is skipped, or for each that is not, whichever are fewer.
 *
 * Return: 0 (also if @t is the caller), or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked
 *   -EPERM  a switch trap is set, and the call would switch
 * Context: any thread; switches if @t is of the calling thread.
 * Source: tasklet.run().
 */
WEFT_API int weft_tasklet_run(weft_tasklet t);

/**
 * weft_tasklet_switch - switch to @t now; the caller is paused
 *
 * As weft_tasklet_run(), but the caller leaves the run queue first, and comes back
 * when another tasklet inserts it, runs it or switches to it.
 *
 * Return: 0 when the caller runs again (at once if @t is the caller), or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 *   -EBUSY  @t is blocked
 *   -EPERM  a switch trap is set, and the call would switch
 * or what any blocking call may return.
 * Context: a tasklet of the owner's thread; switches.
 * Source: tasklet.switch().
 */
WEFT_API int weft_tasklet_switch(weft_tasklet t);

/** For weft_tasklet_kill() and weft_tasklet_raise(): do not switch. */
#define WEFT_PENDING 1u

/**
 * weft_tasklet_kill - ask a tasklet to end
 * @flags: 0 or WEFT_PENDING
 *
 * The target is not torn down. The blocking call that it is in, and every later
 * one, returns -ECANCELED until the target ends, so that it can release what it
 * holds. From the second such return in a row on, the call gives way before it
 * returns, and weft_schedule() always does; so a tasklet that ignores errors cannot
 * freeze its thread. A tasklet that has never run ends without running, with the
 * result -ECANCELED, when its turn comes. Until then it is alive; it is the current
 * tasklet in the functions that its end calls. On a main tasklet the call is
 * weft_tasklet_raise(ECANCELED).
 *
 * The effect depends on the state of the target:
 *
 *   runnable   it stays where it is in the run queue.
 *   paused     it goes to the end of its run queue. If it is inside weft_run() or
 *              weft_pump(), that call returns -ECANCELED. Calls that are nested
 *              deeper return 0, and their tasklets go to the end before it.
 *   blocked    it leaves what it waits in and goes to the end of its run queue. If
 *              it has been served already, it keeps what it was given. If it is in
 *              I/O, the kernel is asked to cancel that, and the target goes to the
 *              end of the run queue once the kernel no longer uses its buffers.
 *   shielded   it goes on waiting; see weft_shield_begin().
 *   the caller nothing moves; this call returns -ECANCELED, and so will the
 *              caller's blocking calls from now on.
 *
 * Who runs next: without WEFT_PENDING, a target on the caller's thread is switched
 * to at once, and the caller stays in the run queue (rule R3). There is no switch to
 * a target that cannot run yet: one that waits under a shield, one whose I/O the
 * kernel still has, one that another thread is just serving. With WEFT_PENDING, and
 * for a target on another thread, the caller goes on. A target on another thread
 * leaves its channel when its own thread next gives way.
 *
 * A target that is switched to and has nothing left to wait for has ended when the
 * call returns, and it is too late to join it. To get its result, let it be a member
 * of a group, or join it from another tasklet, or kill it with WEFT_PENDING and join
 * it then.
 *
 * Return: 0, or
 *   -ECANCELED  @t is the caller
 *   -ESRCH      @t has ended
 *   -EINVAL     @flags has other bits set
 *   -EPERM      a switch trap is set and the call would switch; nothing has happened
 * Context: any thread; not a blocking call; switches as said above.
 * Source: tasklet.kill(pending).
 */
WEFT_API int weft_tasklet_kill(weft_tasklet t, unsigned flags);

/**
 * weft_tasklet_raise - make one blocking call of a tasklet fail
 * @err:   a positive errno
 * @flags: 0 or WEFT_PENDING
 *
 * The blocking call that the target is in, or else its next one, returns -@err. The
 * call after that is not affected. A second raise before that return replaces the
 * first. A tasklet that has never run ends without running, with the result -@err.
 * All else, also who runs next, is as for weft_tasklet_kill(). If the target has
 * been killed, -ECANCELED comes first.
 *
 * Return: 0, or
 *   -@err    @t is the caller; nothing stays pending
 *   -ESRCH   @t has ended
 *   -EINVAL  @err is not positive, or @flags has other bits set
 *   -EPERM   a switch trap is set and the call would switch; nothing has happened
 * Context: any thread; not a blocking call; switches as said for weft_tasklet_kill().
 * Source: tasklet.raise_exception(), tasklet.throw(pending).
 */
WEFT_API int weft_tasklet_raise(weft_tasklet t, int err, unsigned flags);

/**
 * weft_tasklet_join - wait for a tasklet of any thread to end
 *
 * Any number of tasklets may wait for one. When @t has run what it deferred, they go
 * to the ends of their run queues, first come, first served. Joining a main tasklet
 * waits for the end of its thread, and gives 0.
 *
 * The result of a tasklet that had ended before the call is lost. An immediate
 * weft_tasklet_kill() may let its target run to its end.
 *
 * Return: the result of @t, see weft_fn. It is -ECANCELED if @t was killed before it
 * ran, or was abandoned at the end of its thread; -err if an error was raised on it
 * before it ran. Or
 *   -ESRCH    @t had ended before the call
 *   -EDEADLK  @t is the caller
 * or what any blocking call may return.
 * Context: any tasklet of any thread; switches.
 * Ordering: everything that @t did is visible after the join.
 */
WEFT_API int weft_tasklet_join(weft_tasklet t);

/**
 * weft_exit - end the calling tasklet from wherever it is
 * @result: the result of the tasklet, as if its function had returned it
 *
 * Stack frames are not unwound: release what they hold before the call, or defer
 * that. No C++ destructor is called, and exceptions that are being handled are
 * released. On a main tasklet the call stops the process with a message: a thread
 * ends with pthread_exit() or by returning.
 *
 * Context: any tasklet but main; its successor runs (rule R6).
 */
WEFT_NORETURN WEFT_API void weft_exit(int result);

/**
 * weft_defer - have a function called when the calling tasklet ends
 * @fn:  called with @arg on the tasklet's own stack, after its function has
 *       returned or weft_exit() was called; the last one that was deferred is called
 *       first
 * @arg: given to @fn
 *
 * @fn runs shielded, may block, and may defer more. Tasklets that join are woken
 * after it has returned. @fn is not called for a tasklet that is abandoned at the
 * end of its thread. The functions that a main tasklet defers are called when its
 * thread ends, after the other tasklets have ended.
 *
 * Return: 0, -ENOMEM, -EINVAL if @fn is NULL, or -ESRCH in the schedule callback
 * for the switch away from a caller that has ended.
 * Context: any tasklet; never switches.
 */
WEFT_API int weft_defer(void (*fn)(void *arg), void *arg);

/** weft_tasklet_data - the pointer that the calling tasklet has set with
 *  weft_set_tasklet_data(), NULL at first; never switches */
WEFT_API void *weft_tasklet_data(void);

/** weft_set_tasklet_data - keep one pointer of the user's with the calling
 *  tasklet; never switches */
WEFT_API void weft_set_tasklet_data(void *data);

/**
 * weft_set_block_trap - forbid the calling tasklet to wait
 * @on: while it is true, calls that would make the tasklet BLOCKED return -EAGAIN
 *
 * These are the calls of channels, groups, locks, joins, sleeping, offloading and
 * I/O. I/O succeeds only if it completes without waiting. Giving way and pausing
 * stay allowed.
 *
 * Return: the value before.
 * Context: any tasklet; never switches.
 * Source: tasklet.block_trap.
 */
WEFT_API bool weft_set_block_trap(bool on);

/**
 * weft_shield_begin - keep kill and raise away from the calling tasklet
 *
 * Until the matching weft_shield_end(), the tasklet's blocking calls ignore kill
 * and raise, which stay pending. Shields nest, up to 65535 deep.
 *
 * Context: any tasklet; never switches.
 */
WEFT_API void weft_shield_begin(void);

/** weft_shield_end - the end of weft_shield_begin(); never switches */
WEFT_API void weft_shield_end(void);

/**
 * weft_error_fn - a handler that is called for each tasklet that fails
 * @t:      the tasklet that ends, not yet ended
 * @result: negative, and not -ECANCELED
 * @ctx:    from weft_set_error_handler()
 *
 * The handler is called on the ending tasklet, shielded, after what the tasklet
 * deferred and before those who join it are woken. The handler may block, and may
 * call weft_stop(). If a tasklet ends because there is no memory for its stack, or
 * was handed to a thread that has no memory for the tasklet, there is no stack to run
 * the handler on: then blocking calls in the handler return -EPERM.
 */
typedef void (*weft_error_fn)(weft_tasklet t, int result, void *ctx);

/**
 * weft_set_error_handler - set the process-wide error handler
 * @fn:  NULL: none
 * @ctx: given to @fn
 *
 * Return: the handler before. It may still be called for tasklets whose end has
 * begun already.
 * Context: any thread; never switches.
 * Source: stackless.set_error_handler().
 */
WEFT_API weft_error_fn weft_set_error_handler(weft_error_fn fn, void *ctx);

/** weft_error_handler - the process-wide error handler; its context is put in *@ctx
 *  if @ctx is not NULL; never switches */
WEFT_API weft_error_fn weft_error_handler(void **ctx);

WEFT_END_DECLS

#endif /* WEFT_TASKLET_H */
