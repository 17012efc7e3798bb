/* SPDX-License-Identifier: MIT */
/*
 * weft_signal_wait(): sigwaitinfo(2) for a tasklet.
 *
 * A signalfd only tells when to look. The tasklet takes the signal by
 * sigtimedwait(2), with all that came with it. So a signal is taken at the moment
 * when the call returns it, and by nobody else in its place. (Rejected: a read of
 * the signalfd by the ring. The kernel can make it on a worker thread, which does not
 * see the signals of the caller's thread, and what was read before a cancellation has
 * to be brought to the caller in any case.)
 */
#include <errno.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <time.h>
#include <weft/process.h>

#include "core/block.h"
#include "io/io.h"

/* A signal's number, or -EAGAIN if none is pending. */
static int take(const sigset_t *set, siginfo_t *info)
{
	static const struct timespec none = { 0 };
	int number;

	do
		number = sigtimedwait(set, info, &none);
	while (number < 0 && errno == EINTR);
	return number < 0 ? -errno : number;
}

/* Whether there are signals in it, and all that can be blocked are. */
static bool is_waitable(const sigset_t *set)
{
	bool is_empty = true;
	sigset_t blocked;

	if (!set || pthread_sigmask(SIG_SETMASK, NULL, &blocked))
		return false;
	for (int i = 1; i < NSIG; i++) {
		if (sigismember(set, i) != 1)
			continue;
		is_empty = false;
		if (sigismember(&blocked, i) != 1 && i != SIGKILL &&
		    i != SIGSTOP)
			return false;
	}
	return !is_empty;
}

/* Waits until a signal may be pending. */
static int wait_for_signal(struct scheduler *s, const sigset_t *set)
{
	int rc = weft__may_wait(s);
	int fd;

	if (!rc)
		rc = weft__get_ready(s);
	if (rc)
		return rc;
	fd = signalfd(-1, set, SFD_CLOEXEC | SFD_NONBLOCK);
	return fd < 0 ? -errno : weft__await_and_close(s, fd);
}

WEFT_API int weft_signal_wait(const sigset_t *set, siginfo_t *info)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (!rc && !is_waitable(set))
		rc = -EINVAL;
	while (!rc) {
		rc = take(set, info);
		if (rc == -EAGAIN)
			rc = wait_for_signal(s, set);
	}
	return rc;
}
