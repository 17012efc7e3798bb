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
	const char *name;  /* copied, 31 bytes kept; NULL: none */
	size_t stack_size; /* bytes that the tasklet can use; 0: the default */
	uint64_t thread;   /* the owner's thread id; 0: the calling thread */
	bool paused;       /* create it without inserting it */
	bool own_fpu;      /* floating-point control words of its own */
};

/**
 * weft_spawn - create a tasklet of the calling thread
 * @fn:  what it runs
 * @arg: handed to @fn
 *
 * The tasklet is put at the end of this thread's ring (rule R1) and first runs
 * when its turn comes. It gets the default stack, see WEFT_STACK in weft(7).
 *
 * Return: its handle, or the null handle with errno set:
 *   EINVAL  @fn is NULL
 *   ENOMEM  no memory for the descriptor, no address space for its stack, or,
 *           on kernels older than 6.13, no mapping left for its guard page
 *           (sysctl vm.max_map_count)
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
 * On a paused tasklet this does nothing.
 *
 * Return: 0, or
 *   -ESRCH  @t has ended
 *   -EXDEV  @t belongs to another thread
 *   -EBUSY  @t is blocked, or is the caller: see weft_schedule_remove()
 * Context: the owner's thread; never switches.
 * Source: tasklet.remove().
 */
WEFT_API int weft_tasklet_remove(weft_tasklet t);

/**
 * weft_tasklet_run - switch to @t now; the caller stays in the ring
 *
 * Rule R3: a paused @t is first inserted at the end; one that is in the ring
 * stays where it is, so those between are skipped and those behind it run
 * before the caller's next turn. A tasklet of another thread is put at the
 * front of that thread's ring and the caller goes on.
 *
 * Return: 0 (also when @t is the caller), or
 *   -ESRCH  @t has ended
 *   -EBUSY  @t is blocked
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
 * Context: a tasklet of the owner's thread; switches.
 * Source: tasklet.switch().
 */
WEFT_API int weft_tasklet_switch(weft_tasklet t);

WEFT_END_DECLS

#endif /* WEFT_TASKLET_H */
