/* SPDX-License-Identifier: MIT */
/**
 * offload - calls that would hold up the thread, made on another one
 *
 * Some functions cannot give way: getaddrinfo(3), a library that does its own
 * I/O, a long computation. weft_offload() runs them on a *helper*, a thread of a
 * small pool that all schedulers of the process share, and the tasklets of the
 * caller's thread run on meanwhile.
 *
 * Helpers are started when there is something to do, up to WEFT_OFFLOAD of them
 * (16 unless the environment says otherwise), and end when they had nothing to do
 * for about a second. Calls beyond that number wait in line, whatever their
 * thread: first come, first served.
 */
#ifndef WEFT_OFFLOAD_H
#define WEFT_OFFLOAD_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_offload - run a function on a helper thread and wait for its result
 * @fn:  runs outside of the scheduler; it may block its thread for any time
 * @arg: handed to it; may point to the caller's stack
 *
 * A call that is interrupted (weft_tasklet_kill(), weft_tasklet_raise(), a
 * deadline) while it waits in line is taken out: @fn never runs. One whose @fn
 * runs already waits for its end and returns its result, and the error comes with
 * the next call. So when weft_offload() has returned, @fn does not use @arg any
 * more. A thread that ends waits for functions that still run, however long.
 *
 * A helper has the usual stack of a thread. All signals are blocked there but
 * those that tell of faults (SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGSYS, SIGTRAP), and
 * it should be left as it was found: its signal mask, its name and so on. @fn may
 * call weft, which attaches the helper as any thread; when @fn has returned, that
 * ends as for a thread that ends: tasklets that are left are killed and run to
 * their end, before weft_offload() returns. Those that are to come to an end by
 * themselves, @fn has to wait for, with weft_run(). If @fn leaves by
 * pthread_exit(3), the call returns -ECANCELED.
 *
 * While @fn runs it occupies its helper. If it offloads in its turn, there may be
 * one helper more meanwhile. But functions that otherwise wait for some that are
 * in line behind them do so for ever, when all helpers are taken by such.
 *
 * In a child of fork(), calls of the forking thread that were in line are made
 * there too, if it uses weft; those whose function was running return -ECANCELED.
 *
 * Return: what @fn returned. Otherwise @fn has not been run, and
 *   -EINVAL  @fn is NULL
 *   -ENOMEM  there is no helper, and no memory for the stack of one: of a process
 *            that is short of mappings or of address space, too
 *   -EAGAIN  there is no helper, and the system allows no more threads; or the
 *            block trap is set
 *   or what any blocking call may.
 *   If @fn may return one of these itself, it has to tell by way of @arg that it
 *   was it.
 * Context: any tasklet of any thread; switches.
 * Ordering: everything before the call is visible to @fn, and what @fn did to the
 * caller after it.
 */
WEFT_API int weft_offload(weft_fn fn, void *arg);

WEFT_END_DECLS

#endif /* WEFT_OFFLOAD_H */
