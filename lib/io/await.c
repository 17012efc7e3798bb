/* SPDX-License-Identifier: MIT */
/*
 * Waiting for an operation: how a tasklet uses the engine.
 *
 * The operation lies on the tasklet's stack beside its waiter, and the tasklet
 * runs again only after the last completion. A kill, a raise and a deadline ask
 * the kernel to cancel. The completion, whatever its result, is the wake. So a
 * result that came first is not lost, and the error is left to the next call.
 *
 * Under a trap the call must not wait. Then the tasklet keeps its thread for
 * the short time that a cancellation takes. It looks at its own operation and
 * at nothing of the current tasklet: in a callback that is one which is about
 * to wait for something else, or has ended.
 *
 * -ECANCELED and -EINTR that nobody here asked for mean that the kernel found
 * no worker thread for the operation, or that a signal interrupted it. The
 * operation is begun again. When that has failed a few times, the thread makes
 * the system call itself. So the caller gets the true result. -ECANCELED means
 * a kill, weft_close(), a cancel operation of the user's, a child of fork() or
 * the end of the thread.
 *
 * -EAGAIN of a call that may wait comes from a file with O_NONBLOCK, or a
 * socket with SO_RCVTIMEO. The kernel tries an operation again each time its
 * descriptor seems ready, 128 times, and then lets a worker thread make the
 * call, which obeys these settings. There are that many tries where many
 * tasklets wait for one descriptor: each time all of them are tried and one is
 * served. Such a call polls its descriptor, then tries again, told not to wait,
 * and so on. If a few operations are in flight on a descriptor already, all
 * others begin with such a try: otherwise each of them could come to occupy one
 * of the kernel's worker threads, which are few. weft_close() finds a call that
 * is between a poll and the next try, and one that was cut short. But if other
 * code makes the number another file's in between, the next try is made on that
 * file, as with poll(2) and read(2). If a peer has shut down, a poll for writing ends
 * at once (weft__engine_prepare_poll() says why), and pauses take its place.
 *
 * A send is first told not to wait, though it may: for a Unix socket's datagram the
 * kernel looks for room with the receiver when it has copied the bytes. Where there is
 * none, it keeps no bytes for its own next try, and sends an empty datagram (Linux
 * 6.18). So those tries are made here, each from the beginning. A stream's are left to
 * the kernel from the second on.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft/scheduler.h>

#include "base/part.h"
#include "base/valgrind.h"
#include "core/block.h"
#include "io/io.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

enum { TRIES = 16, PAUSE_NS = 2 * 1000 * 1000 };

/* A tasklet that waits for a completion. */
struct ring_wait {
	struct operation operation; /* first */
	struct waiter waiter;
	struct io_uring_sqe sqe; /* to begin again; the caller's may change */
	int res;
	uint32_t flags;
	bool is_settled; /* for a call that does not block its tasklet */
	/* in the thread's list; `place` points to the pointer to it, NULL: it
	 * is not in the list */
	struct ring_wait *next_unseen, **place;
};

static struct ring_wait *wait_of(struct waiter *w)
{
	return (struct ring_wait *)((char *)w -
				    offsetof(struct ring_wait, waiter));
}

/* The notification that ends a zero-copy operation has no result, but tells whether
 * the bytes were copied all the same. */
static NOINLINE bool note_copying(struct ring_wait *wait, int res)
{
	wait->flags |= (unsigned)res & IORING_NOTIF_USAGE_ZC_COPIED;
	return true;
}

/* False if more completions are to come. */
static INLINE bool note(struct ring_wait *wait, int res, unsigned flags)
{
	if (unlikely(flags & IORING_CQE_F_NOTIF))
		return note_copying(wait, res);
	wait->res = res;
	wait->flags = flags & ~(unsigned)IORING_CQE_F_MORE;
	if (likely(!(flags & IORING_CQE_F_MORE)))
		return true;
	wait->operation.is_ending = true;
	return false;
}

/* Whether a signal inside of the kernel has interrupted the operation: that is
 * also how a worker is told to cancel. Some operations then return codes that
 * are meant for the end of a system call. */
static bool is_cut_short(int res)
{
	enum { ERESTARTSYS = 512, ERESTART_RESTARTBLOCK = 516 };

	return res == -ECANCELED || res == -EINTR ||
	       (res <= -ERESTARTSYS && res >= -ERESTART_RESTARTBLOCK);
}

/* What has completed and was not yet seen by its tasklet, of the calling thread, newest
 * first. There are noted: operations that may be begun again when their tasklet next
 * runs, and polls before such a try, whose descriptor can be closed until then, and the
 * number be another file's; and those that have brought descriptors, since a tasklet
 * that is given up does not run again. What main waits for, one at most, is not in the
 * list: its frames can be gone before others'. */
static __thread struct ring_wait *unseen
	__attribute__((tls_model("initial-exec")));
static __thread struct ring_wait *unseen_by_main
	__attribute__((tls_model("initial-exec")));

/* The descriptor that main's has brought; -1: none. A message may have brought some,
 * too: its header is main's, and is lost with its frames. */
static __thread int brought_to_main __attribute__((tls_model("initial-exec"))) =
	-1;

static bool brings_one(const struct ring_wait *wait)
{
	switch (wait->sqe.opcode) {
	case IORING_OP_ACCEPT:
	case IORING_OP_OPENAT:
	case IORING_OP_OPENAT2:
	case IORING_OP_SOCKET:
		return true;
	default:
		return false;
	}
}

static NOINLINE void note_unseen(struct ring_wait *wait)
{
	bool is_mains = weft__task_is_main(wait->waiter.task);

	wait->place = is_mains ? &unseen_by_main : &unseen;
	wait->next_unseen = *wait->place;
	if (wait->next_unseen)
		wait->next_unseen->place = &wait->next_unseen;
	*wait->place = wait;
	if (is_mains && wait->res >= 0 && brings_one(wait))
		brought_to_main = wait->res;
}

/* Its tasklet runs now. */
static void forget_unseen(struct ring_wait *wait)
{
	if (!wait->place)
		return;
	*wait->place = wait->next_unseen;
	if (wait->next_unseen)
		wait->next_unseen->place = wait->place;
	else if (wait->place == &unseen_by_main)
		brought_to_main = -1;
	wait->place = NULL;
}

static void call_back(struct ring_wait *wait)
{
	wait->operation.is_called_back = true;
}

void weft__call_back_unseen(int fd)
{
	for (struct ring_wait *wait = unseen; wait; wait = wait->next_unseen)
		if (wait->operation.fd == fd)
			call_back(wait);
	if (unseen_by_main && unseen_by_main->operation.fd == fd)
		call_back(unseen_by_main);
}

/* Also those that a close leaves alone, see has_no_descriptor(). */
static void end_for_good(struct ring_wait *wait)
{
	call_back(wait);
	wait->operation.fd = -1;
}

/* In a child of fork() none of them is begun again. */
static void renew(struct scheduler *self)
{
	(void)self;
	for (struct ring_wait *wait = unseen; wait; wait = wait->next_unseen)
		end_for_good(wait);
	if (unseen_by_main)
		end_for_good(unseen_by_main);
}

static void note_all_written(const struct iovec *iov, unsigned n, size_t left)
{
	for (unsigned i = 0; i < n && left; i++) {
		size_t size = iov[i].iov_len < left ? iov[i].iov_len : left;

		VALGRIND_MAKE_MEM_DEFINED(iov[i].iov_base, size);
		left -= size;
	}
}

static void note_message(struct msghdr *msg, size_t size)
{
	VALGRIND_MAKE_MEM_DEFINED(msg, sizeof *msg);
	note_all_written(msg->msg_iov, (unsigned)msg->msg_iovlen, size);
	if (msg->msg_name)
		VALGRIND_MAKE_MEM_DEFINED(msg->msg_name, msg->msg_namelen);
	if (msg->msg_control)
		VALGRIND_MAKE_MEM_DEFINED(msg->msg_control,
					  msg->msg_controllen);
}

/* Tells Valgrind what the kernel has written, since Valgrind does not see
 * that. */
static NOINLINE void note_written(const struct io_uring_sqe *sqe, int res)
{
	void *start = (void *)(uintptr_t)sqe->addr;
	size_t size = (unsigned)res < sqe->len ? (unsigned)res : sqe->len;
	socklen_t *length;

	if (res < 0)
		return;
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_RECV: /* which with MSG_TRUNC tells of more */
		VALGRIND_MAKE_MEM_DEFINED(start, size);
		break;
	case IORING_OP_RECVMSG:
		note_message(start, (size_t)res);
		break;
	case IORING_OP_READV:
		note_all_written(start, sqe->len, (size_t)res);
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
	default: /* for others that fill memory, their caller tells it */
		break;
	}
}

void weft__close_received(struct msghdr *msg)
{
	enum {
		OF_PIDFD = 4
	}; /* SCM_PIDFD, newer than the C library's headers */
	struct cmsghdr *c = CMSG_FIRSTHDR(msg);
	int fd;

	for (; c; c = CMSG_NXTHDR(msg, c)) {
		size_t size = c->cmsg_len - CMSG_LEN(0);

		if (c->cmsg_level != SOL_SOCKET ||
		    (c->cmsg_type != SCM_RIGHTS && c->cmsg_type != OF_PIDFD))
			continue;
		for (size_t at = 0; at + sizeof fd <= size; at += sizeof fd) {
			memcpy(&fd, CMSG_DATA(c) + at, sizeof fd);
			if (fd >= 0)
				close(fd);
		}
	}
}

/* Closes new descriptors that nobody will ever hear of. */
static void give_back(struct waiter *w)
{
	struct ring_wait *wait = wait_of(w);

	forget_unseen(wait);
	if (wait->res < 0)
		return;
	if (unlikely(weft__on_valgrind))
		note_written(&wait->sqe, wait->res);
	if (brings_one(wait))
		close(wait->res);
	else if (wait->sqe.opcode == IORING_OP_RECVMSG)
		weft__close_received(
			(struct msghdr *)(uintptr_t)wait->sqe.addr);
}

static void leave_main(struct scheduler *s)
{
	(void)s;
	unseen_by_main = NULL;
	if (brought_to_main >= 0)
		close(brought_to_main);
	brought_to_main = -1;
}

/* The tasklets that are left will not run again: nothing is begun again. */
static void give_up(struct scheduler *s)
{
	(void)s;
	while (unseen)
		give_back(&unseen->waiter);
}

static const struct part awaiting = {
	.rank = PART_AWAIT,
	.renew = renew,
	.leave_main = leave_main,
	.give_up = give_up,
};

PART(awaiting);

/* A first and cheap look, for the sake of all other operations. */
static INLINE bool may_bring_descriptors(const struct io_uring_sqe *sqe)
{
	static const uint64_t opcodes =
		1ULL << IORING_OP_ACCEPT | 1ULL << IORING_OP_OPENAT |
		1ULL << IORING_OP_OPENAT2 | 1ULL << IORING_OP_SOCKET |
		1ULL << IORING_OP_RECVMSG;

	return sqe->opcode < 64 && opcodes >> sqe->opcode & 1;
}

static void wake(struct operation *o, int res, unsigned flags)
{
	struct ring_wait *wait = (struct ring_wait *)o;

	if (note(wait, res, flags)) {
		if (unlikely(wait->res < 0)
			    ? is_cut_short(wait->res) || wait->res == -EAGAIN
			    : may_bring_descriptors(&wait->sqe))
			note_unseen(wait);
		weft__wake_local(wait->waiter.owner, wait->waiter.task);
	}
}

/* The completion of a poll, after which the operation itself is begun. */
static void wake_to_try(struct operation *o, int res, unsigned flags)
{
	struct ring_wait *wait = (struct ring_wait *)o;

	wait->res = res;
	wait->flags = flags;
	note_unseen(wait);
	weft__wake_local(wait->waiter.owner, wait->waiter.task);
}

static void settle(struct operation *o, int res, unsigned flags)
{
	struct ring_wait *wait = (struct ring_wait *)o;

	if (note(wait, res, flags))
		wait->is_settled = true;
}

/* Asks the kernel to cancel. The completion, whatever its result, is the
 * wake. */
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
					    .give_back = give_back,
					    .describe = describe };

/* Whether the call has to wait for a notification in any case. */
static bool is_zero_copy(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SEND_ZC ||
	       sqe->opcode == IORING_OP_SENDMSG_ZC;
}

/* Lets the kernel do what it can at once, and cancels the operation if that was
 * not enough. */
static NOINLINE int settle_now(struct scheduler *s, struct ring_wait *wait)
{
	wait->operation.complete = settle;
	wait->is_settled = false;
	wait->place = NULL;
	wait->res = 0;
	wait->flags = 0;
	if (is_zero_copy(&wait->sqe))
		return weft__may_wait(s);
	weft__engine_submit(&s->engine, &wait->sqe, &wait->operation);
	weft__engine_poll(&s->engine);
	if (!wait->is_settled)
		weft__engine_cancel(&s->engine, &wait->operation);
	while (!wait->is_settled)
		weft__engine_sleep(&s->engine, WEFT_FOREVER);
	if (!wait->operation.is_called_back || !is_cut_short(wait->res))
		return 0;
	return weft__may_wait(s);
}

static INLINE void block_until(struct scheduler *s, struct ring_wait *wait,
			       void (*complete)(struct operation *o, int res,
						unsigned flags))
{
	/* field by field: copying a whole struct takes three times as long */
	wait->operation.complete = complete;
	wait->waiter.task = peek(s->current);
	wait->waiter.owner = s;
	wait->waiter.kind = &in_flight;
	wait->waiter.called_off = 0;
	wait->place = NULL;
	weft__engine_submit(&s->engine, &wait->sqe, &wait->operation);
	weft__block(s, &wait->waiter, true);
}

static INLINE int block(struct scheduler *s, struct ring_wait *wait)
{
	block_until(s, wait, wake);
	return 0;
}

/* --- what the kernel would not do --- */

/* Whether the calling thread has begun cancel operations of the user's. */
static __thread bool user_cancels __attribute__((tls_model("initial-exec")));

void weft__note_user_cancel(void)
{
	user_cancels = true;
}

bool weft__user_cancels(void)
{
	return user_cancels;
}

/* Operations that need no worker thread, unless they are tried in vain too often: if
 * one of these was cancelled, a cancel operation of the user's did it, if there ever
 * was one. */
static bool was_cancelled_by_user(const struct io_uring_sqe *sqe)
{
	const struct sockaddr *addr;

	if (!user_cancels || sqe->flags & IOSQE_ASYNC)
		return false;
	switch (sqe->opcode) {
	case IORING_OP_CONNECT:
		/* A Unix socket's waits in such a thread, if the backlog is full. */
		addr = (const struct sockaddr *)(uintptr_t)sqe->addr;
		return !addr || addr->sa_family != AF_UNIX;
	case IORING_OP_POLL_ADD:
	case IORING_OP_TIMEOUT:
	case IORING_OP_ACCEPT:
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
		return true;
	default:
		return false;
	}
}

/* Whether a transfer can keep the thread waiting for somebody else. */
static bool is_of_file(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode));
}

static bool could_take_for_ever(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
		return fcntl(sqe->fd, F_GETFD) >= 0 && !is_of_file(sqe->fd);
	case IORING_OP_OPENAT:
		return sqe->flags & IOSQE_ASYNC; /* a FIFO */
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
	case IORING_OP_ACCEPT:
	case IORING_OP_CONNECT:
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
	case OP_WAITID:
		return true;
	default:
		return false;
	}
}

/* Makes the system call instead of the operation, and so keeps the thread as
 * long as the call takes. Returns its result, or -EAGAIN if the call could take
 * for ever, or is not known. */
static int carry_out_here(const struct io_uring_sqe *sqe)
{
	return weft__can_carry_out(sqe->opcode) && !could_take_for_ever(sqe)
		       ? weft__carry_out(sqe)
		       : -EAGAIN;
}

/* Whether what stands in the place of a descriptor is something else: the flags of a
 * futex, the number of a process. */
static bool has_no_descriptor(const struct io_uring_sqe *sqe)
{
	/* newer than the headers of Debian 12 */
	enum { OP_FUTEX_WAIT = 51, OP_FUTEX_WAITV = 53 };

	return sqe->opcode == OP_FUTEX_WAIT || sqe->opcode == OP_FUTEX_WAITV ||
	       (sqe->opcode == OP_WAITID && sqe->len != P_PIDFD);
}

/* The operation was cancelled or interrupted: finds out why, and begins it
 * again or makes the system call. */
static NOINLINE int see_through(struct scheduler *s, struct ring_wait *wait,
				bool must_not_wait)
{
	int n_cancelled = 0;
	int rc = 0;

	while (is_cut_short(wait->res) && !rc) {
		forget_unseen(wait);
		/* A kill or a raise asked to cancel it, and the call fails with
		 * that; or a close of the descriptor did. The engine takes any
		 * number for a descriptor's. No close is of -1. */
		if (wait->operation.is_called_back) {
			wait->res = -ECANCELED;
			rc = weft__interruption(peek(s->current));
			if (rc || must_not_wait || wait->operation.fd < 0 ||
			    !has_no_descriptor(&wait->sqe) ||
			    !weft__engine_is_ready(&s->engine))
				return rc;
			rc = block(s, wait);
			continue;
		}
		if (wait->res == -ECANCELED &&
		    was_cancelled_by_user(&wait->sqe))
			return 0;
		/* An interrupted close has closed the descriptor all the same:
		 * begun again, it would close whatever file has the number. */
		if (wait->sqe.opcode == IORING_OP_CLOSE &&
		    wait->res != -ECANCELED) {
			wait->res = -EINTR;
			return 0;
		}
		/* The tasklet may have been killed since the completion
		 * came. */
		if (!must_not_wait &&
		    (rc = weft__interruption(peek(s->current))))
			return rc;
		/* Signals come to an end; but the kernel may be without threads
		 * for good. */
		n_cancelled += wait->res == -ECANCELED;
		count(s->engine.n_operation_retries);
		if (n_cancelled == TRIES ||
		    !weft__engine_is_ready(&s->engine)) {
			wait->res = carry_out_here(&wait->sqe);
			return 0;
		}
		rc = must_not_wait ? settle_now(s, wait) : block(s, wait);
	}
	return rc;
}

/* --- messages --- */

/* A first and cheap look, for the sake of all other operations. */
static INLINE bool is_send(const struct io_uring_sqe *sqe)
{
	static const uint64_t opcodes =
		1ULL << IORING_OP_SEND | 1ULL << IORING_OP_SENDMSG;

	return sqe->opcode < 64 && opcodes >> sqe->opcode & 1;
}

/* Whether the kernel may forget the bytes between two tries. Streams, and what is
 * connected to one peer, have their room to themselves. */
static bool is_of_messages(const struct io_uring_sqe *sqe)
{
	socklen_t size = sizeof(int);
	int type;

	return is_send(sqe) &&
	       getsockopt(sqe->fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type != SOCK_STREAM && type != SOCK_SEQPACKET;
}

/* How an operation of the user's is to be begun does not matter to a message. Whether
 * nothing else is asked for. */
static NOINLINE bool make_plain(struct io_uring_sqe *sqe)
{
	if (!is_of_messages(sqe))
		return false;
	sqe->flags &= (__u8)~IOSQE_ASYNC;
	sqe->ioprio &= (__u16)~IORING_RECVSEND_POLL_FIRST;
	return !sqe->flags && !sqe->ioprio;
}

/* Whether a send is to be told not to wait. A stream that goes on until all is sent
 * would stop. */
static INLINE bool is_to_be_told(const struct scheduler *s,
				 struct io_uring_sqe *sqe)
{
	if (unlikely(sqe->flags || sqe->ioprio) && !make_plain(sqe))
		return false;
	return weft__engine_tries_again(&s->engine) &&
	       !(sqe->msg_flags & MSG_DONTWAIT) &&
	       (likely(!(sqe->msg_flags & MSG_WAITALL)) || is_of_messages(sqe));
}

/* --- crowds --- */

/* A first and cheap look, for the sake of all other operations. */
static INLINE bool may_be_of_stream(const struct io_uring_sqe *sqe)
{
	static const uint64_t opcodes =
		1ULL << IORING_OP_READ | 1ULL << IORING_OP_READV |
		1ULL << IORING_OP_WRITE | 1ULL << IORING_OP_WRITEV |
		1ULL << IORING_OP_RECV | 1ULL << IORING_OP_RECVMSG |
		1ULL << IORING_OP_SEND | 1ULL << IORING_OP_SENDMSG;

	return sqe->opcode < 64 && opcodes >> sqe->opcode & 1;
}

/* Whether the operation is not at a place in a file, and can be told not to
 * wait. */
static bool is_of_stream(const struct io_uring_sqe *sqe)
{
	enum {
		MAY_BE_TOLD =
			MSG_NOSIGNAL | MSG_PEEK | MSG_TRUNC | MSG_CMSG_CLOEXEC
	};

	if (sqe->flags)
		return false;
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		return sqe->off == (uint64_t)-1 && !sqe->rw_flags;
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return !sqe->ioprio &&
		       !(sqe->msg_flags & ~(unsigned)MAY_BE_TOLD);
	default:
		return false;
	}
}

/* Whether an operation that failed with -EAGAIN was meant to wait. */
static bool was_to_wait(const struct io_uring_sqe *sqe)
{
	if (sqe->flags)
		return false;
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_READ_FIXED:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
		return !(sqe->rw_flags & RWF_NOWAIT);
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
		return !(sqe->msg_flags & MSG_DONTWAIT);
	case IORING_OP_ACCEPT:
		return !(sqe->ioprio & ACCEPT_DONTWAIT);
	default:
		return false;
	}
}

static short events_for(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_WRITE_FIXED:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
		return POLLOUT;
	default:
		return POLLIN;
	}
}

static void tell_not_to_wait(struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		sqe->rw_flags = RWF_NOWAIT;
		break;
	default:
		sqe->msg_flags |= MSG_DONTWAIT;
		break;
	}
}

static bool is_ready(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };

	return poll(&p, 1, 0) > 0;
}

/* A datagram socket that was shut down for reading says that it is ready, and to a
 * call that must not wait that there is nothing. A call that waits gets 0. */
static bool is_shut_down(const struct io_uring_sqe *sqe)
{
	struct pollfd p = { .fd = sqe->fd, .events = POLLRDHUP };
	socklen_t size = sizeof(int);
	int type;

	return events_for(sqe) == POLLIN &&
	       getsockopt(sqe->fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       type == SOCK_DGRAM && poll(&p, 1, 0) > 0 &&
	       p.revents & POLLRDHUP;
}

/* Before another step. The result is -EAGAIN if there is to be one. There is
 * none after a close of the descriptor, at the end of the thread, or when the
 * call is interrupted. */
static int take_stock(struct scheduler *s, struct ring_wait *wait)
{
	forget_unseen(wait);
	wait->res = wait->operation.is_called_back ||
				    !weft__engine_is_ready(&s->engine)
			    ? -ECANCELED
			    : -EAGAIN;
	return weft__interruption(peek(s->current));
}

/* If the poll fails, the operation itself will say why. */
static int wait_until_ready(struct scheduler *s, struct ring_wait *wait, int fd,
			    short events, bool *is_misled)
{
	static const struct __kernel_timespec pause = { .tv_nsec = PAUSE_NS };
	int rc = take_stock(s, wait);

	if (rc || wait->res != -EAGAIN)
		return rc;
	memset(&wait->sqe, 0, sizeof wait->sqe);
	if (*is_misled) {
		io_uring_prep_timeout(
			&wait->sqe,
			(struct __kernel_timespec *)(uintptr_t)&pause, 0, 0);
		wait->sqe.fd = fd; /* so weft_close() finds it */
	} else {
		io_uring_prep_poll_add(&wait->sqe, fd, (unsigned)events);
	}
	block_until(s, wait, wake_to_try);
	*is_misled = *is_misled || !weft__is_asked(wait->res, (unsigned)events);
	return take_stock(s, wait);
}

/* One try. If it is told not to wait, it may fail where waiting would help. */
static int try_once(struct scheduler *s, struct ring_wait *wait,
		    bool *can_be_told, bool is_told)
{
	int rc;

	if (is_told)
		tell_not_to_wait(&wait->sqe);
	rc = block(s, wait);
	if (is_cut_short(wait->res))
		rc = see_through(s, wait, false);
	if (is_told && wait->res == -EOPNOTSUPP) {
		*can_be_told = false; /* not on such a descriptor */
		wait->res = -EAGAIN;
	}
	return rc;
}

/* Waits for the descriptor between tries, if the last try failed with -EAGAIN,
 * or there was none yet. A descriptor can say that it is ready, and not be
 * ready for this operation: then the last tries wait as the kernel does it. If
 * not even that helps, the descriptor cannot tell, and -EAGAIN is all that can
 * be had of it. For messages there are pauses in place of that: a socket has room,
 * but the receiver of this one may have none. */
static NOINLINE int try_until_served(struct scheduler *s,
				     struct ring_wait *wait, bool was_tried)
{
	const struct io_uring_sqe sqe = wait->sqe;
	bool must_be_told = is_of_messages(&sqe);
	bool can_be_told = must_be_told || is_of_stream(&sqe);
	short events = events_for(&sqe);
	bool is_misled = false;
	unsigned n_in_vain = 0;
	int rc = 0;

	if (!was_tried)
		rc = try_once(s, wait, &can_be_told, true);
	while (!rc && wait->res == -EAGAIN && n_in_vain < TRIES) {
		n_in_vain = is_ready(sqe.fd, events) ? n_in_vain + 1 : 0;
		if (must_be_told && n_in_vain > 1) {
			bool pauses = true;

			n_in_vain = 1;
			rc = wait_until_ready(s, wait, sqe.fd, events, &pauses);
		} else {
			rc = n_in_vain ? take_stock(s, wait)
				       : wait_until_ready(s, wait, sqe.fd,
							  events, &is_misled);
		}
		if (rc || wait->res != -EAGAIN)
			break;
		/* What has come before the last try has been taken by that. */
		if (n_in_vain > 1 && is_shut_down(&sqe)) {
			wait->res = weft__receive_nothing(&sqe);
			break;
		}
		wait->sqe = sqe;
		rc = try_once(s, wait, &can_be_told,
			      can_be_told && n_in_vain < TRIES / 2);
	}
	forget_unseen(wait);
	wait->sqe = sqe;
	return rc;
}

static int look_at_failure(struct scheduler *s, struct ring_wait *wait,
			   bool must_not_wait, bool was_told);

/* A send for which there is no room was told not to wait. */
static int wait_for_room(struct scheduler *s, struct ring_wait *wait)
{
	int rc;

	if (is_of_messages(&wait->sqe) ||
	    (weft__engine_is_crowded(&s->engine, wait->sqe.fd) &&
	     is_of_stream(&wait->sqe)))
		return try_until_served(s, wait, true);
	rc = take_stock(s, wait);
	if (rc || wait->res != -EAGAIN)
		return rc;
	rc = block(s, wait);
	return rc || wait->res >= 0 ? rc
				    : look_at_failure(s, wait, false, false);
}

static NOINLINE int look_at_failure(struct scheduler *s, struct ring_wait *wait,
				    bool must_not_wait, bool was_told)
{
	int rc = 0;

	if (is_cut_short(wait->res))
		rc = see_through(s, wait, must_not_wait);
	if (rc || wait->res != -EAGAIN)
		return rc;
	forget_unseen(wait);
	if (was_told)
		wait->sqe.msg_flags &= ~(unsigned)MSG_DONTWAIT;
	if (!was_to_wait(&wait->sqe))
		return 0;
	if (must_not_wait)
		return is_send(&wait->sqe) ? weft__may_wait(s) : 0;
	return was_told ? wait_for_room(s, wait)
			: try_until_served(s, wait, true);
}

/* --- awaiting --- */

int weft__refuse(void)
{
	(void)weft_schedule();
	return -ECANCELED;
}

NOINLINE int weft__get_ready(struct scheduler *s)
{
	if (weft__engine_is_ready(&s->engine))
		return 0;
	return weft__engine_is_refusing(&s->engine)
		       ? weft__refuse()
		       : weft__engine_open(&s->engine);
}

static INLINE int await_completion(struct scheduler *s,
				   const struct io_uring_sqe *sqe, int *res,
				   uint32_t *flags)
{
	struct ring_wait wait;
	bool must_not_wait = weft__may_wait(s);
	bool is_told = false;
	int rc;

	if (unlikely(!weft__engine_is_ready(&s->engine)) &&
	    (rc = weft__get_ready(s)))
		return rc;
	wait.sqe = *sqe;
	if (!unlikely(must_not_wait) && may_be_of_stream(sqe) &&
	    unlikely(weft__engine_is_crowded(&s->engine, sqe->fd)) &&
	    is_of_stream(sqe)) {
		rc = try_until_served(s, &wait, false);
	} else {
		is_told = is_send(sqe) && is_to_be_told(s, &wait.sqe);
		if (is_told)
			wait.sqe.msg_flags |= MSG_DONTWAIT;
		rc = unlikely(must_not_wait) ? settle_now(s, &wait)
					     : block(s, &wait);
	}
	if (unlikely(wait.res < 0) && !rc)
		rc = look_at_failure(s, &wait, must_not_wait, is_told);
	forget_unseen(&wait);
	if (unlikely(weft__on_valgrind))
		note_written(&wait.sqe, wait.res);
	*res = wait.res;
	*flags = wait.flags;
	return rc;
}

int weft__await_operation(struct scheduler *s, const struct io_uring_sqe *sqe,
			  int *res, uint32_t *flags)
{
	return await_completion(s, sqe, res, flags);
}

/* It has a body of its own, since most calls come through here. */
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
		rc = await_completion(s, sqe, &res, &flags);
	return rc ? rc : res;
}
