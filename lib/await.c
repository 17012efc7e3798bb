/* SPDX-License-Identifier: MIT */
/*
 * Waiting for an operation: the tasklet above the engine.
 *
 * The operation lies on the tasklet's stack beside its waiter, and the tasklet runs
 * again only after the last completion. A kill, a raise and a deadline ask the
 * kernel to cancel, and the completion, of whichever kind, is the wake: a result
 * that came first is not lost, and the error is for the next call.
 *
 * A tasklet that must not wait, because of a trap, keeps its thread for the little
 * that a cancellation takes. It looks at its own operation and at nothing of the
 * tasklet's: in a callback that is somebody who is about to wait for something else,
 * or has ended.
 *
 * -ECANCELED and -EINTR that nobody here asked for mean that the kernel found no
 * thread of its own to work on the operation, or was disturbed by a signal. It is
 * begun again, and when that has failed a few times, the thread makes the system
 * call itself: so the caller gets the true result, and -ECANCELED means a kill, or
 * weft_close().
 */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft/scheduler.h>

#include "io.h"
#include "scheduler.h"
#include "valgrind.h"

enum { TRIES = 16 };

/* A tasklet that waits for a completion. */
struct ring_wait {
	struct operation operation; /* first */
	struct waiter waiter;
	struct io_uring_sqe sqe; /* to begin again; the caller's may change */
	int res;
	uint32_t flags;
	bool is_settled; /* of one that is not waited for by the tasklet */
	struct ring_wait *next_cut; /* in the scheduler's list, see there */
};

static struct ring_wait *wait_of(struct waiter *w)
{
	return (struct ring_wait *)((char *)w -
				    offsetof(struct ring_wait, waiter));
}

/* False: more is to come. The notification that ends a zero-copy operation has no
 * result. */
static INLINE bool note(struct ring_wait *wait, int res, unsigned flags)
{
	if (likely(!(flags & IORING_CQE_F_NOTIF))) {
		wait->res = res;
		wait->flags = flags & ~(unsigned)IORING_CQE_F_MORE;
	}
	return likely(!(flags & IORING_CQE_F_MORE));
}

/* By a signal inside of the kernel, which is how a worker is called back: some
 * operations then hand out what is meant for the end of a system call. */
static bool is_cut_short(int res)
{
	enum { ERESTARTSYS = 512, ERESTART_RESTARTBLOCK = 516 };

	return res == -ECANCELED || res == -EINTR ||
	       (res <= -ERESTARTSYS && res >= -ERESTART_RESTARTBLOCK);
}

/* One that may be begun again when its tasklet next runs. Until then its descriptor
 * can be closed, and the number be another file's. */
static NOINLINE void note_cut_short(struct ring_wait *wait)
{
	struct scheduler *s = wait->waiter.owner;

	wait->next_cut = s->cut_short;
	s->cut_short = wait;
}

/* Its tasklet runs. */
static void forget_cut_short(struct scheduler *s, struct ring_wait *wait)
{
	struct ring_wait **place = &s->cut_short;

	while (*place && *place != wait)
		place = &(*place)->next_cut;
	if (*place)
		*place = wait->next_cut;
}

void weft__engine_call_back_cut_short(struct scheduler *s, int fd)
{
	for (struct ring_wait *wait = s->cut_short; wait; wait = wait->next_cut)
		if (wait->operation.fd == fd)
			wait->operation.is_called_back = true;
}

static void wake(struct operation *o, int res, unsigned flags)
{
	struct ring_wait *wait = (struct ring_wait *)o;

	if (note(wait, res, flags)) {
		if (unlikely(is_cut_short(wait->res)))
			note_cut_short(wait);
		weft__wake_local(wait->waiter.owner, wait->waiter.task);
	}
}

static void settle(struct operation *o, int res, unsigned flags)
{
	struct ring_wait *wait = (struct ring_wait *)o;

	if (note(wait, res, flags))
		wait->is_settled = true;
}

/* Asks the operation back. Its completion, of whichever kind, is the wake. */
static bool cancel(struct scheduler *s, struct waiter *w)
{
	weft__engine_cancel(&s->engine, &wait_of(w)->operation);
	return false;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for I/O");
}

static const struct wait_kind in_flight = { .cancel = cancel,
					    .describe = describe };

/* Tells Valgrind what the kernel has written, which it does not see. */
static NOINLINE void note_written(const struct io_uring_sqe *sqe, int res)
{
	void *start = (void *)(uintptr_t)sqe->addr;
	socklen_t *length;

	if (res < 0)
		return;
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_RECV:
		VALGRIND_MAKE_MEM_DEFINED(start, (size_t)res);
		break;
	case IORING_OP_ACCEPT:
		length = (socklen_t *)(uintptr_t)sqe->addr2;
		if (start && length)
			VALGRIND_MAKE_MEM_DEFINED(start, *length);
		break;
	case IORING_OP_STATX:
		start = (void *)(uintptr_t)sqe->addr2;
		VALGRIND_MAKE_MEM_DEFINED(start, sizeof(struct statx));
		break;
	default: /* the others that fill memory are their caller's to name */
		break;
	}
}

/* Has the kernel do what it can at once, and cancels the operation if that was not
 * enough. */
static NOINLINE int settle_now(struct scheduler *s, struct ring_wait *wait)
{
	wait->operation.complete = settle;
	wait->is_settled = false;
	weft__engine_submit(&s->engine, &wait->sqe, &wait->operation);
	weft__engine_poll(s);
	if (!wait->is_settled)
		weft__engine_cancel(&s->engine, &wait->operation);
	while (!wait->is_settled)
		weft__engine_sleep(s, WEFT_FOREVER);
	if (!wait->operation.is_called_back || !is_cut_short(wait->res))
		return 0;
	return weft__may_wait(s);
}

static INLINE int block(struct scheduler *s, struct ring_wait *wait)
{
	/* field by field: as a whole it takes three times as long */
	wait->operation.complete = wake;
	wait->waiter.task = peek(s->current);
	wait->waiter.owner = s;
	wait->waiter.kind = &in_flight;
	wait->waiter.called_off = 0;
	weft__engine_submit(&s->engine, &wait->sqe, &wait->operation);
	weft__block(s, &wait->waiter, true);
	return 0;
}

/* --- what the kernel would not do --- */

/* Operations that need no thread of the kernel's: if one of these was cancelled,
 * it was by an operation of the user's. */
static bool was_cancelled_by_user(const struct io_uring_sqe *sqe)
{
	if (sqe->flags & IOSQE_ASYNC)
		return false;
	switch (sqe->opcode) {
	case IORING_OP_POLL_ADD:
	case IORING_OP_TIMEOUT:
	case IORING_OP_ACCEPT:
	case IORING_OP_CONNECT:
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return true;
	default:
		return false;
	}
}

static int result_of(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

/* Reads and writes of what cannot keep the thread waiting for somebody else. */
static int move_bytes(const struct io_uring_sqe *sqe)
{
	void *start = (void *)(uintptr_t)sqe->addr;
	bool at_position = sqe->off == (uint64_t)-1;
	struct stat st;

	if (fstat(sqe->fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode) && !S_ISBLK(st.st_mode))
		return -EAGAIN;
	if (sqe->opcode == IORING_OP_READ)
		return result_of(at_position ? read(sqe->fd, start, sqe->len)
					     : pread(sqe->fd, start, sqe->len,
						     (off_t)sqe->off));
	return result_of(at_position ? write(sqe->fd, start, sqe->len)
				     : pwrite(sqe->fd, start, sqe->len,
					      (off_t)sqe->off));
}

/* Makes the system call, which keeps the thread as long as it takes: there is no
 * other to make it. -EAGAIN for what could take for ever, or is not known. */
static int carry_out(const struct io_uring_sqe *sqe)
{
	const char *path = (const char *)(uintptr_t)sqe->addr;
	const char *path2 = (const char *)(uintptr_t)sqe->addr2;

	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
		return move_bytes(sqe);
	case IORING_OP_CLOSE:
		return result_of(close(sqe->fd));
	case IORING_OP_FSYNC:
		return result_of(sqe->fsync_flags & IORING_FSYNC_DATASYNC
					 ? fdatasync(sqe->fd)
					 : fsync(sqe->fd));
	case IORING_OP_FALLOCATE:
		return result_of(syscall(SYS_fallocate, sqe->fd, sqe->len,
					 sqe->off, sqe->addr));
	case IORING_OP_OPENAT:
		if (sqe->flags & IOSQE_ASYNC)
			return -EAGAIN; /* a FIFO, which may take for ever */
		return result_of(syscall(SYS_openat, sqe->fd, path,
					 sqe->open_flags, sqe->len));
	case IORING_OP_STATX:
		return result_of(syscall(SYS_statx, sqe->fd, path,
					 sqe->statx_flags, sqe->len, path2));
	case IORING_OP_UNLINKAT:
		return result_of(syscall(SYS_unlinkat, sqe->fd, path,
					 sqe->unlink_flags));
	case IORING_OP_RENAMEAT:
		return result_of(syscall(SYS_renameat2, sqe->fd, path,
					 (int)sqe->len, path2,
					 sqe->rename_flags));
	case IORING_OP_MKDIRAT:
		return result_of(syscall(SYS_mkdirat, sqe->fd, path, sqe->len));
	case IORING_OP_SYMLINKAT:
		return result_of(syscall(SYS_symlinkat, path, sqe->fd, path2));
	case IORING_OP_LINKAT:
		return result_of(syscall(SYS_linkat, sqe->fd, path,
					 (int)sqe->len, path2,
					 sqe->hardlink_flags));
	case IORING_OP_SHUTDOWN:
		return result_of(shutdown(sqe->fd, (int)sqe->len));
	default:
		return -EAGAIN;
	}
}

/* It was cancelled or interrupted: why, and what then. */
static NOINLINE int see_through(struct scheduler *s, struct ring_wait *wait,
				bool must_not_wait)
{
	int n_cancelled = 0;
	int rc = 0;

	while (is_cut_short(wait->res) && !rc) {
		forget_cut_short(s, wait);
		/* For a kill or a raise, and the call fails with that, or for a
		 * close of the descriptor. */
		if (wait->operation.is_called_back) {
			wait->res = -ECANCELED;
			return weft__interruption(peek(s->current));
		}
		/* A descriptor is closed all the same. */
		if ((wait->res == -ECANCELED &&
		     was_cancelled_by_user(&wait->sqe)) ||
		    (wait->sqe.opcode == IORING_OP_CLOSE &&
		     wait->res == -EINTR))
			return 0;
		/* It may have been killed since the completion came. */
		if (!must_not_wait &&
		    (rc = weft__interruption(peek(s->current))))
			return rc;
		/* Signals come to an end; the kernel may be without threads for
		 * good. */
		n_cancelled += wait->res == -ECANCELED;
		if (n_cancelled == TRIES || !s->engine.is_ready) {
			wait->res = carry_out(&wait->sqe);
			return 0;
		}
		rc = must_not_wait ? settle_now(s, wait) : block(s, wait);
	}
	return rc;
}

/* --- awaiting --- */

int weft__refuse(void)
{
	(void)weft_schedule();
	return -ECANCELED;
}

static NOINLINE int get_ready(struct scheduler *s)
{
	return s->engine.is_refusing ? weft__refuse() : weft__engine_open(s);
}

int weft__engine_await(struct scheduler *s, const struct io_uring_sqe *sqe,
		       int *res, uint32_t *flags)
{
	struct ring_wait wait;
	bool must_not_wait = weft__may_wait(s);
	int rc;

	if (unlikely(!s->engine.is_ready) && (rc = get_ready(s)))
		return rc;
	wait.sqe = *sqe;
	rc = unlikely(must_not_wait) ? settle_now(s, &wait) : block(s, &wait);
	if (unlikely(is_cut_short(wait.res)) && !rc)
		rc = see_through(s, &wait, must_not_wait);
	if (unlikely(weft__on_valgrind))
		note_written(&wait.sqe, wait.res);
	*res = wait.res;
	*flags = wait.flags;
	return rc;
}

int weft__await(const struct io_uring_sqe *sqe)
{
	struct scheduler *s = weft__scheduler();
	uint32_t flags;
	int res;
	int rc;

	if (unlikely(!s))
		return -errno;
	rc = weft__enter(s);
	if (!rc)
		rc = weft__engine_await(s, sqe, &res, &flags);
	return rc ? rc : res;
}
