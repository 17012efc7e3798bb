/* SPDX-License-Identifier: MIT */
/*
 * weft_waitid(): waitid(2) for a tasklet.
 *
 * The tasklet itself takes what has happened to a child, by a waitid(2) that does not
 * wait. So a child is reaped at the moment when the call returns it, and a call that
 * is interrupted has reaped none. If nothing has happened yet, the tasklet waits
 * until something has, in one of three ways, and none of them takes it:
 *
 *	a pidfd, for the end of one child. Both engines poll it.
 *
 *	IORING_OP_WAITID with WNOWAIT, for all other waits, if the engine has the
 *	    operation (Linux 6.7).
 *
 *	else a watcher: a helper thread makes a waitid(2) with WNOWAIT that waits.
 *	    Nobody can end that call but a child. So an interrupted tasklet leaves the
 *	    watcher behind. It serves later calls for the same children: there is at
 *	    most one for each kind of wait. All who wait share its eventfd. The number
 *	    of a pidfd can be another child's by then: so the watcher has a duplicate,
 *	    and is found by the child that /proc tells. Where /proc tells none, it
 *	    serves no later calls.
 *
 * Several may wake for one event. One of them takes it, and the others wait again.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/process.h>

#include "base/descriptor.h"
#include "base/part.h"
#include "core/block.h"
#include "core/park.h"
#include "io/io.h"
#include "io/offload.h"

struct wait {
	struct scheduler *s;
	idtype_t type;
	id_t id;
	int options;
};

/* Takes an event if there is one: 1, 0 if there is none, or a negative errno. */
static int take(const struct wait *w, siginfo_t *info)
{
	siginfo_t own = { 0 };

	if (waitid(w->type, w->id, &own, w->options | WNOHANG))
		return -errno;
	if (own.si_pid == 0 && !(w->options & WNOHANG))
		return 0;
	if (info)
		*info = own;
	return 1;
}

/* --- a pidfd --- */

static bool is_for_end(const struct wait *w)
{
	return (w->options & (WEXITED | WSTOPPED | WCONTINUED)) == WEXITED;
}

static int poll_pidfd(const struct wait *w)
{
	struct io_uring_sqe sqe = { 0 };
	int rc;

	io_uring_prep_poll_add(&sqe, (int)w->id, POLLIN);
	rc = weft__await(&sqe);
	return rc < 0 ? rc : 0;
}

/* A pidfd of the child, or -1. Between the last look for an event and this step
 * somebody else may have reaped the child, and the number may be another process's.
 * So the child is looked for once more: then the pidfd is the child's. */
static int open_pidfd(const struct wait *w)
{
	siginfo_t info;
	int fd = (int)syscall(SYS_pidfd_open, (pid_t)w->id, 0);

	if (fd >= 0 &&
	    waitid(P_PID, w->id, &info, WEXITED | WNOHANG | WNOWAIT)) {
		close(fd);
		return -1;
	}
	return fd;
}

/* --- the operation --- */

static int await_event(const struct wait *w)
{
	struct io_uring_sqe sqe = { .opcode = OP_WAITID,
				    .fd = w->type == P_ALL ? -1 : (int)w->id,
				    .len = (unsigned)w->type };
	int rc;

	/* liburing 2.3 has no helper for it. */
	sqe.splice_fd_in = w->options | WNOWAIT;
	rc = weft__await(&sqe);
	/* The engine takes the number for a descriptor's: weft_close() of the
	 * descriptor with that number has ended the wait. The next look says whether
	 * something else has. */
	if (rc == -ECANCELED && w->type != P_PIDFD &&
	    weft__engine_is_ready(&w->s->engine))
		return weft__interruption(peek(w->s->current));
	return rc < 0 ? rc : 0;
}

/* --- watchers --- */

struct watcher {
	struct errand errand; /* first; its waiter is nobody's */
	struct watcher *next;
	struct wait wait;
	int pidfd;   /* P_PIDFD: a duplicate; -1: none */
	pid_t child; /* and whose it is; 0: not known */
	int eventfd; /* becomes readable when there may be an event */
};

static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct watcher *watchers; /* that are still to find an event */

static int watch(void *arg)
{
	const struct wait *w = &((struct watcher *)arg)->wait;
	siginfo_t info;
	int rc;

	do
		rc = waitid(w->type, w->id, &info, w->options | WNOWAIT);
	while (rc && errno == EINTR);
	return 0;
}

/* The child of a pidfd; 0 if it cannot be told, or has been reaped. */
static pid_t child_of(int pidfd)
{
	char path[40], text[512];
	const char *line;
	long child = 0;
	ssize_t n;
	int fd;

	snprintf(path, sizeof path, "/proc/self/fdinfo/%d", pidfd);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return 0;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[n > 0 ? n : 0] = '\0';
	line = strstr(text, "\nPid:");
	if (line)
		child = strtol(line + 5, NULL, 10);
	return child > 0 ? (pid_t)child : 0;
}

static void free_watcher(struct watcher *watcher)
{
	if (watcher->pidfd >= 0)
		close(watcher->pidfd);
	if (watcher->eventfd >= 0)
		close(watcher->eventfd);
	free(watcher);
}

static void take_out(struct watcher *watcher)
{
	struct watcher **place = &watchers;

	while (*place != watcher)
		place = &(*place)->next;
	*place = watcher->next;
}

/* Tells all who wait to look for an event: there may be one, or no helper could be
 * had. */
static void end_watch(struct watcher *watcher)
{
	pthread_mutex_lock(&mutex);
	take_out(watcher);
	(void)eventfd_write(watcher->eventfd, 1);
	pthread_mutex_unlock(&mutex);
	free_watcher(watcher);
}

static void watched(struct job *j)
{
	end_watch((struct watcher *)weft__errand_of_job(j));
}

static bool serves(const struct watcher *watcher, const struct wait *w,
		   pid_t child)
{
	if (watcher->wait.type != w->type ||
	    watcher->wait.options != w->options)
		return false;
	return w->type == P_PIDFD ? child && watcher->child == child
				  : watcher->wait.id == w->id;
}

/* Under the mutex. */
static struct watcher *find_watcher(const struct wait *w, pid_t child)
{
	struct watcher *watcher = watchers;

	while (watcher && !serves(watcher, w, child))
		watcher = watcher->next;
	return watcher;
}

/* Under the mutex. NULL, and errno says why. */
static struct watcher *add_watcher(const struct wait *w, pid_t child)
{
	struct watcher *watcher = calloc(1, sizeof *watcher);

	if (!watcher)
		return NULL;
	watcher->wait = *w;
	watcher->child = child;
	watcher->pidfd = -1;
	if (w->type == P_PIDFD) {
		watcher->pidfd =
			fcntl((int)w->id, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
		watcher->wait.id = (id_t)watcher->pidfd;
	}
	watcher->errand.waiter.owner = &weft__unattached;
	watcher->errand.job = (struct job){ .crew = CREW_CHILDREN,
					    .fn = watch,
					    .arg = watcher,
					    .done = watched };
	watcher->eventfd = weft__above_standard(eventfd(0, EFD_CLOEXEC));
	if (watcher->eventfd < 0 ||
	    (w->type == P_PIDFD && watcher->pidfd < 0)) {
		free_watcher(watcher);
		return NULL;
	}
	watcher->next = watchers;
	watchers = watcher;
	return watcher;
}

/* A duplicate of the eventfd of a watcher, which is found or added, or a negative
 * errno. *@added is to be started. */
static int join_watcher(const struct wait *w, struct watcher **added)
{
	pid_t child = w->type == P_PIDFD ? child_of((int)w->id) : 0;
	struct watcher *watcher;
	int fd;

	pthread_mutex_lock(&mutex);
	*added = NULL;
	watcher = find_watcher(w, child);
	if (!watcher)
		watcher = *added = add_watcher(w, child);
	fd = watcher ? fcntl(watcher->eventfd, F_DUPFD_CLOEXEC, 0) : -1;
	if (fd < 0)
		fd = -errno;
	pthread_mutex_unlock(&mutex);
	return fd;
}

static int await_watcher(const struct wait *w)
{
	struct watcher *added;
	int fd = join_watcher(w, &added);
	int rc = fd < 0 ? fd : 0;

	/* Without the mutex: fork() takes the pool's before it. */
	if (added && !rc)
		rc = weft__pool_submit(&added->errand.job);
	if (!rc)
		return weft__await_and_close(w->s, fd);
	if (added)
		end_watch(added);
	if (fd >= 0)
		close(fd);
	return rc;
}

/* fork(): the child has no helpers, and so no watchers. */
static void lock(void)
{
	pthread_mutex_lock(&mutex);
}

static void unlock(void)
{
	pthread_mutex_unlock(&mutex);
}

static void forget_watchers(struct scheduler *self)
{
	struct watcher *next;

	(void)self;
	for (; watchers; watchers = next) {
		next = watchers->next;
		free_watcher(watchers);
	}
}

static const struct part watching = {
	.rank = PART_CHILDREN,
	.lock = lock,
	.unlock = unlock,
	.settle = forget_watchers,
};

PART(watching);

/* --- */

static bool does_not_wait(const struct wait *w)
{
	int flags = w->type == P_PIDFD ? fcntl((int)w->id, F_GETFL) : 0;

	return flags >= 0 && flags & O_NONBLOCK;
}

/* Waits until there may be an event. */
static int wait_for_event(const struct wait *w)
{
	int rc = weft__may_wait(w->s);
	int fd = -1;

	if (!rc)
		rc = weft__get_ready(w->s);
	if (rc)
		return rc;
	if (is_for_end(w) && w->type == P_PIDFD)
		return poll_pidfd(w);
	if (is_for_end(w) && w->type == P_PID)
		fd = open_pidfd(w);
	if (fd >= 0)
		return weft__await_and_close(w->s, fd);
	if (does_not_wait(w))
		return -EAGAIN;
	return weft__engine_knows(&w->s->engine, OP_WAITID) ? await_event(w)
							    : await_watcher(w);
}

WEFT_API int weft_waitid(idtype_t type, id_t id, siginfo_t *info, int options)
{
	struct wait w = { .s = weft__scheduler(),
			  .type = type,
			  .id = id,
			  .options = options };
	int rc;

	if (!w.s)
		return -errno;
	rc = weft__enter(w.s);
	if (!rc && options & __WNOTHREAD)
		rc = -EINVAL;
	while (!rc) {
		rc = take(&w, info);
		if (!rc)
			rc = wait_for_event(&w);
	}
	return rc < 0 ? rc : 0;
}
