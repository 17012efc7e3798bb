/* SPDX-License-Identifier: MIT */
/**
 * offload - calls that would hold up the thread, made on another one
 *
 * Some functions cannot give way: getaddrinfo(3), a library that does its own
 * I/O, a long computation. weft_offload() runs such a function on a *helper*, a
 * thread of a small pool that all schedulers of the process share. Meanwhile the
 * other tasklets of the caller's thread run.
 *
 * Helpers are started when there is something to do, up to WEFT_OFFLOAD of them
 * (an environment variable; 16 by default). A helper ends when it has had nothing to
 * do for about a second. Calls beyond that number wait in line, first come, first
 * served, whichever threads they come from.
 */
#ifndef WEFT_OFFLOAD_H
#define WEFT_OFFLOAD_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_offload - run a function on a helper thread and wait for its result
 * @fn:  runs outside of the scheduler; it may block its thread for any time
 * @arg: given to @fn; may point to the caller's stack
 *
 * A call can be interrupted by weft_tasklet_kill(), weft_tasklet_raise() or a
 * deadline. If it still waits in line, it is taken out and @fn never runs. If @fn
 * runs already, the call waits for its end and returns its result, and the next call
 * returns the error. So when weft_offload() has returned, @fn does not use @arg any
 * more. A thread that ends waits for functions that still run, however long.
 *
 * A helper has the usual stack of a thread. All signals are blocked there except
 * those that tell of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP). @fn
 * should leave the helper as it found it: its signal mask, its name and so on. @fn
 * may call weft, which attaches the helper like any thread. When @fn has returned,
 * the helper is detached like a thread that ends: tasklets that are left are killed
 * and run to their end before weft_offload() returns. @fn has to call weft_run() for
 * tasklets that are to end by themselves. If @fn leaves by pthread_exit(3), the call
 * returns -ECANCELED.
 *
 * While @fn runs it occupies its helper. While @fn itself calls weft_offload(), there
 * may be one helper more. But a function that waits in another way for a call that is
 * in line behind it waits for ever, if all helpers are occupied by such functions.
 *
 * In a child of fork(), calls of the forking thread that were in line are made
 * there too, if the child uses weft. Calls whose function was running return
 * -ECANCELED.
 *
 * Return: what @fn returned. Otherwise @fn has not been run, and
 *   -EINVAL  @fn is NULL
 *   -ENOMEM  there is no helper, and no memory for the stack of one; also if the
 *            process is short of mappings or of address space
 *   -EAGAIN  there is no helper, and the system gives no thread, because of a limit
 *            or after unshare(CLONE_NEWPID); or the block trap is set
 *   or what any blocking call may return.
 *   If @fn may return one of these itself, it has to say through @arg that it has
 *   run.
 * Context: any tasklet of any thread; switches.
 * Ordering: everything before the call is visible to @fn, and what @fn did is
 * visible to the caller after the call.
 */
WEFT_API int weft_offload(weft_fn fn, void *arg);

WEFT_END_DECLS

#endif /* WEFT_OFFLOAD_H */
