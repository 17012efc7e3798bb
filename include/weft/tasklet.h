/* SPDX-License-Identifier: MIT */
/**
 * tasklet - a function with a stack of its own, run by its thread's scheduler
 *
 * A tasklet is made for one thread and runs there until its function returns.
 * It costs a descriptor of 128 bytes until it first runs, then a stack from its
 * scheduler's cache, which it gives back, still warm, at its end.
 *
 * The floating-point control words (rounding mode, exception masks) belong to
 * the thread: a change that one tasklet makes is seen by the next. A tasklet
 * that needs its own asks for them with own_fpu.
 */
#ifndef WEFT_TASKLET_H
#define WEFT_TASKLET_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_tasklet - a handle: a value to copy and keep as long as you like
 *
 * Using the handle of a tasklet that has ended is always safe: calls return
 * -ESRCH and weft_tasklet_alive() returns false. An id is never used twice in a
 * process; the null handle has id 0.
 */
typedef struct weft_tasklet {
	struct weft_task *task;
	uint64_t id;
} weft_tasklet;

/** What a tasklet is doing. RUNNABLE ones are in the ring of their thread. */
enum weft_state {
	WEFT_DEAD,     /* ended, or a null handle */
	WEFT_PAUSED,   /* in no ring; inside weft_run() and weft_pump() too */
	WEFT_RUNNABLE, /* in the ring, waiting for its turn */
	WEFT_RUNNING,  /* has its thread */
	WEFT_BLOCKED   /* waits in a blocking call */
};

/** Zero in any field means the default; start from an empty initialiser. */
struct weft_tasklet_options {
	const char *name; /* copied, 31 bytes kept; NULL: none */

	/* Bytes that the tasklet can use; 0: the default. A blocking call takes
	 * up to 2 KB of it, for a thread without anything to do waits on the
	 * stack of the tasklet that has blocked last; up to 5 KB with a verdict
	 * on a deadlock, or where the program binds its calls when they are
	 * first made (not with -Wl,-z,now). */
	size_t stack_size;
	uint64_t thread; /* the owner's thread id; 0: the calling thread */
	bool paused;     /* create it without inserting it */
	bool own_fpu;    /* floating-point control words of its own */

	/* Called with the argument, in place of the function, if the tasklet ends
	 * without ever having run: what the argument holds can be let go of. It is
	 * shielded, on the tasklet itself, and may block; but where there is no
	 * stack for it, or its thread has ended, blocking calls return -EPERM. */
	void (*drop)(void *arg);
};

/**
 * Blocking calls: every call that can suspend the calling tasklet. Those of
 * channels, groups, locks, I/O and time, weft_tasklet_join(), weft_thread_join(),
 * weft_offload(), and weft_schedule(), weft_schedule_remove(), weft_run(),
 * weft_run_until(), weft_pump() and weft_tasklet_switch(). Besides its own, each may
 * return
 *
 *   -ECANCELED  the tasklet was killed, see weft_tasklet_kill()
 *   -err        an error was raised on it, see weft_tasklet_raise()
 *   -ETIMEDOUT  a time limit has passed, see weft_deadline_begin()
 *   -EAGAIN     it would have to wait, and must not: weft_set_block_trap()
 *   -EPERM      it would have to switch, and must not: weft_switch_trap(); and
 *               always in a schedule or channel callback or a drop function of a
 *               channel, where this is looked at first and nothing is consumed
 *   -EDEADLK    nothing in the process can ever end the wait, see
 *               weft/scheduler.h
 *
 * looked at in this order; the first three also when the call need not wait.
 * What has been handed over is never lost: a receive that was served and a send
 * whose element was taken return 0, and the error comes with the next call.
 * Whatever a call returns, it has let go of the buffers it was given.
 */

/**
 * weft_spawn - create a tasklet of the calling thread
 * @fn:  what it runs
 * @arg: handed to @fn
 *
 * The tasklet is put at the end of this thread's ring (rule R1) and first runs
 * when its turn comes. It gets the default stack, see WEFT_STACK in weft(7). An
 * exception of C++ that leaves @fn calls std::terminate().
 *
 * Return: its handle, or the null handle with errno set:
 *   EINVAL  @fn is NULL
 *   ENOMEM  no memory for the descriptor, no address space for its stack, or,
 *           on kernels older than 6.13, no mapping left for its guard but
 *           those that are kept for the rest of the process, an eighth of the
 *           sysctl vm.max_map_count
 * Context: any thread; never switches.
 * Source: stackless.tasklet(fn)(arg).
 */
WEFT_API weft_tasklet weft_spawn(weft_fn fn, void *arg);

/**
 * weft_spawn_with - create a tasklet with options
 * @options: see struct weft_tasklet_options; NULL: all defaults
 * @fn:      what it runs
 * @arg:     handed to @fn
 *
 * With @options->thread the tasklet is handed to that thread: it goes to the
 * end of that ring, the thread is woken if it is parked, and the caller goes on
 * (rule R8).
 *
 * Return: as weft_spawn(), and also
 *   EINVAL  stack_size above 1 GiB
 *   ESRCH   no such thread is attached
 * Context: any thread; never switches.
 * Source: tasklet.bind_thread() of Stackless Python for .thread.
 */
WEFT_API weft_tasklet weft_spawn_with(
	const struct weft_tasklet_options *options, weft_fn fn, void *arg);

/**
 * weft_current - the running tasklet
 *
 * Return: its handle; the null handle with errno ENOMEM when the calling thread
 * was not attached and could not be.
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
 * A paused or never started tasklet is alive; a null handle is not.
 *
 * Context: any thread; never switches.
 * Source: tasklet.alive.
 */
WEFT_API bool weft_tasklet_alive(weft_tasklet t);

/**
 * weft_tasklet_state - what @t is doing
 *
 * Return: exact for a tasklet of the calling thread, else a snapshot that may
 * be old by the time it is read; WEFT_DEAD for one that has ended.
 * Context: any thread; never switches.
 */
WEFT_API enum weft_state weft_tasklet_state(weft_tasklet t);

/** weft_tasklet_is_main - whether @t is its thread's main tasklet, any thread's;
 *  false once it has ended; never switches */
WEFT_API bool weft_tasklet_is_main(weft_tasklet t);

/**
 * weft_tasklet_thread - the thread that @t belongs to
 *
 * Return: its owner's thread id (see weft_thread_id()), 0 when @t has ended.
 * Context: any thread; never switches.
 * Source: tasklet.thread_id.
 */
WEFT_API uint64_t weft_tasklet_thread(weft_tasklet t);

/**
 * weft_tasklet_name - copy the name that @t was created with
 * @buf:  receives the name, cut to fit, always with a NUL behind it
 * @size: of @buf in bytes, at least 1
 *
 * Return: 0 (a tasklet without a name gives ""); -ESRCH when @t has ended;
 * -EINVAL when @buf is NULL or @size is 0.
 * Context: any thread; never switches.
 */
WEFT_API int weft_tasklet_name(weft_tasklet t, char *buf, size_t size);

/**
 * weft_tasklet_insert - make a paused tasklet runnable
 *
 * It goes to the end of its owner's ring (rules R1 and R8). On a runnable
 * tasklet this does nothing. On one that is inside weft_run() or weft_pump(),
 * that call returns 0 early. A tasklet of another thread that has requests
 * outstanding already, not yet taken in by its thread, keeps the place of the
 * first of them.
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked
 * Context: any thread; never switches.
 * Source: tasklet.insert().
 */
WEFT_API int weft_tasklet_insert(weft_tasklet t);

/**
 * weft_tasklet_remove - take a runnable tasklet out of the ring, to paused
 *
 * On a paused tasklet this does nothing. On a tasklet of another thread it is a
 * request, carried out when that thread next gives way: one that is running then is
 * paused when it next yields, one that has blocked by then is left alone. It takes the
 * place of an insert or run that was requested before and has not been carried out,
 * and they take its place.
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked, or is the caller: see weft_schedule_remove()
 * Context: any thread; never switches.
 * Source: tasklet.remove().
 */
WEFT_API int weft_tasklet_remove(weft_tasklet t);

/**
 * weft_tasklet_notify - weft_tasklet_insert() for handlers of signals
 *
 * Whatever has been interrupted, on whichever thread, attached or not: @t is put at
 * the end of its owner's ring when that thread next gives way, and the thread is
 * woken if it is parked. A tasklet that is not paused by then is left alone. So a
 * tasklet that waits for a flag which the handler sets, on the same thread, misses
 * nothing:
 *
 *	while (!flag)
 *		weft_schedule_remove();
 *
 * Return: 0, or -ESRCH when @t has ended. errno is left as it was.
 * Context: any thread, handlers of signals included; never switches.
 */
WEFT_API int weft_tasklet_notify(weft_tasklet t);

/**
 * weft_tasklet_run - switch to @t now; the caller stays in the ring
 *
 * Rule R3: a paused @t is first inserted at the end; one that is in the ring
 * stays where it is, so those between are skipped and those behind it run
 * before the caller's next turn. A tasklet of another thread is put at the
 * front of that thread's ring and the caller goes on. Skipping costs time in
 * proportion to those skipped, or those left, whichever are fewer: 3 ns each.
 *
 * Return: 0 (also when @t is the caller), or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked
 *   -EPERM  a switch trap is set, and it would switch
 * Context: any thread; switches when @t is of the calling thread.
 * Source: tasklet.run().
 */
WEFT_API int weft_tasklet_run(weft_tasklet t);

/**
 * weft_tasklet_switch - switch to @t now; the caller is paused
 *
 * As weft_tasklet_run(), but the caller leaves the ring first and comes back
 * when somebody inserts, runs or switches to it.
 *
 * Return: 0 when the caller runs again (at once when @t is the caller), or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 *   -EBUSY  @t is blocked
 *   -EPERM  a switch trap is set, and it would switch
 * or what any blocking call may.
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
 * The target is not torn down: the blocking call that it is in, and every later
 * one, returns -ECANCELED until it ends, so that it can let go of what it holds.
 * From the second such return in a row on the call gives way before it returns,
 * and weft_schedule() always does, so that a tasklet which ignores errors cannot
 * freeze its thread. A tasklet that has never run ends without running, with the
 * result -ECANCELED, when its turn comes: until then it is alive. It is the current
 * tasklet in what its end calls. On a main tasklet this is weft_tasklet_raise(ECANCELED).
 *
 * By what the target is doing:
 *
 *   runnable   it stays where it is in the ring.
 *   paused     it goes to the end of its ring. If it is inside weft_run() or
 *              weft_pump(), that call returns -ECANCELED, and the calls that are
 *              nested deeper return 0, their tasklets at the end before it.
 *   blocked    it leaves what it waits in and goes to the end of its ring. One
 *              that has been served already keeps what it was given. One in I/O
 *              is asked back from the kernel, and goes to the end of the ring
 *              once the kernel has let go of its buffers.
 *   shielded   it goes on waiting; see weft_shield_begin().
 *   the caller nothing moves; this call returns -ECANCELED, and so will the
 *              caller's blocking calls from now on.
 *
 * Who runs next: without WEFT_PENDING a target on the caller's thread is then
 * switched to at once, the caller staying in the ring (rule R3), unless it cannot
 * run yet: a shielded one that waits, one whose I/O the kernel still has, one
 * that another thread is just serving. A target that has nothing left to wait for
 * has ended by the time the call returns, and can be joined no more: to get its
 * result, let it be a member of a group, or join it from another tasklet, or kill
 * it with WEFT_PENDING and join it then. With WEFT_PENDING, and for a target on
 * another thread, the caller goes on; a target on another thread leaves its
 * channel when its own thread next gives way.
 *
 * Return: 0, or
 *   -ECANCELED  @t is the caller
 *   -ESRCH      @t has ended
 *   -EINVAL     @flags has other bits set
 *   -EPERM      a switch trap is set and it would switch; nothing has happened
 * Context: any thread, not a blocking call; switches as said.
 * Source: tasklet.kill(pending).
 */
WEFT_API int weft_tasklet_kill(weft_tasklet t, unsigned flags);

/**
 * weft_tasklet_raise - make one blocking call of a tasklet fail
 * @err:   a positive errno
 * @flags: 0 or WEFT_PENDING
 *
 * The blocking call that the target is in, or else its next one, returns -@err;
 * the one after that is as ever. A second raise before that replaces the first.
 * A tasklet that has never run ends without running, with the result -@err. All
 * else, who runs next included, is as for weft_tasklet_kill(); on a tasklet that
 * has been killed, -ECANCELED goes first.
 *
 * Return: 0, or
 *   -@err    @t is the caller; nothing stays pending
 *   -ESRCH   @t has ended
 *   -EINVAL  @err is not positive, or @flags has other bits set
 *   -EPERM   a switch trap is set and it would switch; nothing has happened
 * Context: any thread, not a blocking call; switches as said.
 * Source: tasklet.raise_exception(), tasklet.throw(pending).
 */
WEFT_API int weft_tasklet_raise(weft_tasklet t, int err, unsigned flags);

/**
 * weft_tasklet_join - wait for a tasklet of any thread to end
 *
 * Any number may wait for one; they go to the ends of their rings, first come,
 * first served, when @t has run what it deferred. Joining a main tasklet waits
 * for the end of its thread, and gives 0.
 *
 * The result of a tasklet that has ended before is lost: an immediate
 * weft_tasklet_kill() lets its target run to its end.
 *
 * Return: the result of @t, see weft_fn. -ECANCELED if it was killed before it
 * ran, or was given up at the end of its thread; -err if an error was raised on
 * it before it ran. Or
 *   -ESRCH    @t had ended before the call
 *   -EDEADLK  @t is the caller
 * or what any blocking call may.
 * Context: any tasklet of any thread; switches.
 * Ordering: everything that @t did is visible after the join.
 */
WEFT_API int weft_tasklet_join(weft_tasklet t);

/**
 * weft_exit - end the calling tasklet from wherever it is
 * @result: as if its function had returned it
 *
 * Frames are not unwound: what they hold must have been let go of, or deferred.
 * In C++ no destructor is called, and exceptions that are being handled are let go.
 * Calling it on a main tasklet stops the process with a message: a thread ends
 * with pthread_exit() or by returning.
 *
 * Context: any tasklet but main; its successor runs (rule R6).
 */
WEFT_NORETURN WEFT_API void weft_exit(int result);

/**
 * weft_defer - have something done when the calling tasklet ends
 * @fn:  called with @arg on the tasklet's own stack after its function has
 *       returned or weft_exit() was called, the last that was deferred first
 *
 * It runs shielded, may block, may defer more, and is done before those who join
 * are woken. A tasklet that is given up at the end of its thread does not get
 * there. What a main tasklet defers is done when its thread ends, after the
 * other tasklets have.
 *
 * Return: 0, -ENOMEM, -EINVAL when @fn is NULL, or -ESRCH in the schedule callback
 * that is told of the caller's end.
 * Context: any tasklet; never switches.
 */
WEFT_API int weft_defer(void (*fn)(void *arg), void *arg);

/** weft_tasklet_data - the pointer that was set with weft_set_tasklet_data() by
 *  the calling tasklet, NULL at first; never switches */
WEFT_API void *weft_tasklet_data(void);

/** weft_set_tasklet_data - keep one pointer of the user's with the calling
 *  tasklet; never switches */
WEFT_API void weft_set_tasklet_data(void *data);

/**
 * weft_set_block_trap - forbid the calling tasklet to wait
 * @on: while true, calls that would make it BLOCKED return -EAGAIN
 *
 * That is channels, groups, locks, joins, sleeping, offloading and I/O, of which only
 * that succeeds which completes without waiting. Giving way and pausing stay allowed.
 *
 * Return: the value before.
 * Context: any tasklet; never switches.
 * Source: tasklet.block_trap.
 */
WEFT_API bool weft_set_block_trap(bool on);

/**
 * weft_shield_begin - keep kill and raise away from the calling tasklet
 *
 * Until the matching weft_shield_end() its blocking calls ignore both, which
 * stay pending. Shields nest, up to 65535 deep.
 *
 * Context: any tasklet; never switches.
 */
WEFT_API void weft_shield_begin(void);

/** weft_shield_end - the end of weft_shield_begin(); never switches */
WEFT_API void weft_shield_end(void);

/**
 * weft_error_fn - told of tasklets that failed
 * @t:      the tasklet that ends, not yet ended
 * @result: negative, and not -ECANCELED
 * @ctx:    from weft_set_error_handler()
 *
 * Called on the ending tasklet, shielded, after what it deferred and before
 * those who join it are woken. It may block, and may call weft_stop(). For one that
 * ends for want of a stack, or was handed to a thread that has no memory for it,
 * there is none to run it on: then blocking calls return -EPERM.
 */
typedef void (*weft_error_fn)(weft_tasklet t, int result, void *ctx);

/**
 * weft_set_error_handler - set the process-wide error handler
 * @fn:  NULL: none
 * @ctx: handed to @fn
 *
 * Return: the one before. Ends that have already been seen may still call it.
 * Context: any thread; never switches.
 * Source: stackless.set_error_handler().
 */
WEFT_API weft_error_fn weft_set_error_handler(weft_error_fn fn, void *ctx);

/** weft_error_handler - the process-wide error handler, and in *@ctx, if that is
 *  not NULL, its context; never switches */
WEFT_API weft_error_fn weft_error_handler(void **ctx);

WEFT_END_DECLS

#endif /* WEFT_TASKLET_H */
