/* SPDX-License-Identifier: MIT */
/**
 * process - child processes and signals
 *
 * Arguments and results are those of the POSIX calls of the same name, except that a
 * failure is a negative errno. All that <weft/io.h> says of its calls holds for
 * these: they block the tasklet and never its thread, and can be interrupted in the
 * same ways. Both take what they return, a child's status or a signal, by a system
 * call of the tasklet itself when that is there. So nothing is taken by a call that
 * then fails: an interrupted call leaves the child unreaped and the signal pending.
 *
 * A program that is compiled as strict C11 has to define _POSIX_C_SOURCE as 200809L
 * or more; without it <signal.h> hides the types of these calls.
 */
#ifndef WEFT_PROCESS_H
#define WEFT_PROCESS_H

#include <signal.h>
#include <sys/wait.h>
#include <weft/base.h>

#if defined(SI_USER) && defined(WEXITED)

WEFT_BEGIN_DECLS

/**
 * weft_waitid - waitid(2): wait until a child process ends, stops or goes on
 * @idtype:  P_PID, P_PIDFD, P_PGID or P_ALL
 * @info:    receives what waitid(2) stores; may be NULL
 * @options: WEXITED, WSTOPPED, WCONTINUED, WNOHANG, WNOWAIT; not __WNOTHREAD
 *
 * The children are those of the process, whichever thread has made them. Any number
 * of tasklets may wait for the same children: one of them gets each event.
 *
 * A wait for one child's end takes a descriptor (a pidfd). Other waits are an
 * operation of the io_uring, from Linux 6.7 on. Where there is none, a helper thread
 * waits; if the call is interrupted, the thread stays until something happens to one
 * of these children, and serves later calls that wait for the same.
 *
 * Return: 0, or a negative errno:
 *   -ECHILD  there is no such child, or SIGCHLD is ignored and all have ended
 *   -EINVAL  @idtype or @options are wrong
 *   -EBADF   P_PIDFD, and @id is no pidfd
 *   -EAGAIN  the block trap is set; no helper can be had; or @id is a pidfd with
 *            PIDFD_NONBLOCK and @options has WSTOPPED or WCONTINUED
 *   -EMFILE, -ENFILE, -ENOMEM   there is no descriptor or memory for the wait
 *   With WNOHANG the result is 0 if nothing has happened, and si_pid of @info is 0.
 *   In a child of fork() a call of before returns -ECHILD or -ECANCELED.
 * Context: any tasklet; switches only if it waits.
 */
WEFT_API int weft_waitid(idtype_t idtype, id_t id, siginfo_t *info,
			 int options);

/**
 * weft_signal_wait - sigwaitinfo(2): take a pending signal, or wait for one
 * @set:  the signals to wait for; the caller's thread has to block all of them, and
 *        so has every other thread, or a signal is handled there
 * @info: receives what came with the signal; may be NULL
 *
 * Block the signals by pthread_sigmask(3) before the first call of weft and before
 * other threads are created, which inherit the mask; helper threads of weft block
 * them in any case. Queued signals are taken one after the other, those of the lowest
 * number first. Signals that were sent to the thread (pthread_kill(3)) and to the
 * process are both taken. Each is taken by one tasklet. A waiting call takes a
 * descriptor.
 *
 * Return: the number of the signal, or a negative errno:
 *   -EINVAL  @set is NULL or empty, or has a signal that the caller's thread does not
 *            block (SIGKILL and SIGSTOP, which cannot be, do not count)
 *   -EAGAIN  no signal is pending, and the block trap is set
 *   -EMFILE, -ENFILE, -ENOMEM   there is no descriptor or memory for the wait
 * Context: any tasklet; switches only if it waits.
 */
WEFT_API int weft_signal_wait(const sigset_t *set, siginfo_t *info);

WEFT_END_DECLS

#endif /* SI_USER && WEXITED */

#endif /* WEFT_PROCESS_H */
