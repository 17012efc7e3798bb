/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine.
 *
 * Operations are copied into the submission queue. They stay there until the
 * thread parks, until some switches have passed, or until the queue is full:
 * then one system call hands in the operations of many tasklets. Completions
 * are read from user memory. The kernel is entered for them only when it says,
 * by a flag in the mapped ring, that it holds some back.
 *
 * The address of an operation is its user_data. The operation is in flight
 * until the kernel's last completion, which comes exactly once. Until then its
 * owner leaves the memory where it is. (A second completion would be taken for
 * one of whatever operation is at the address by then. Debug builds check for
 * that, by a number in the upper bits of user_data. Nobody has seen one, and
 * the check takes 13 instructions of the 600 of a no-op: so other builds do
 * not.) A request to cancel names the operation by that address. It is queued
 * before anything that could begin at the same address later, and the kernel
 * takes requests in their order, so the request cannot meet another operation.
 *
 * The ring is SINGLE_ISSUER with DEFER_TASKRUN where the kernel has them, so
 * completions never interrupt a tasklet. liburing maps the ring and prepares
 * operations. Filling, publishing and reaping are done here, over the same
 * fields, because the flags of enter (NO_IOWAIT, the registered index) must be
 * ours.
 *
 * The kernel finds an operation to cancel in a table, whose size follows from
 * the size of the completion queue. So a ring is set up with the completion
 * queue that makes the table largest, and where the kernel can do that (Linux
 * 6.13), the queue is shrunk at once.
 */
#include "engine/engine.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

#include "base/debug.h"
#include "base/descriptor.h"
#include "base/lock.h"
#include "base/world.h"

/* Newer than the headers of Debian 12. */
#ifndef IORING_ENTER_NO_IOWAIT
#define IORING_ENTER_NO_IOWAIT (1U << 7)
#endif
#ifndef IORING_FEAT_NO_IOWAIT
#define IORING_FEAT_NO_IOWAIT (1U << 17)
#endif
#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif
enum { REGISTER_SEND_MSG_RING = 31, REGISTER_RESIZE_RINGS = 33 };

enum {
	SQ_ENTRIES = 256,
	SQ_ENTRIES_MIN = 8,
	CQ_FACTOR = 4,
	/* The first size of the completion queue, for the table of what can be
	 * cancelled: where the queue can be shrunk, as large as makes a
	 * difference. */
	CQ_FACTOR_AT_FIRST = 32,
	CQ_FACTOR_FOR_GOOD = 16,
	/* Rounds of one poll: a stream of completions must not hold it up. */
	POLL_ROUNDS = 16,
	/* Kernel threads for what cannot be polled; without a cap, there would
	 * be hundreds. */
	MAX_UNBOUND_WORKERS = 64
};

/* user_data below FIRST_OPERATION is no operation's. */
enum {
	DATA_IGNORED,
	DATA_DOORBELL, /* somebody rang */
	DATA_EVENTFD,  /* somebody rang */
	DATA_CANCEL,   /* the answer to a request to cancel */
	FIRST_OPERATION = 16
};

/* --- names --- */

#ifdef WEFT_DEBUG
static const uint64_t MAX_ADDRESS = (1ULL << 48) - 1;

/* The address needs 48 bits, unless a program asks for more. Above it are the
 * last bits of a count. */
static uint64_t begin_name(struct engine *e, struct operation *o)
{
	o->name = (uint64_t)(uintptr_t)o | e->n_done_operations << 48;
	return o->name;
}

static uint64_t name_of(const struct operation *o)
{
	return o->name;
}
#else
static INLINE uint64_t begin_name(struct engine *e, struct operation *o)
{
	(void)e;
	return (uint64_t)(uintptr_t)o;
}

static uint64_t name_of(const struct operation *o)
{
	return (uint64_t)(uintptr_t)o;
}
#endif

/* What passes by itself: memory is short, completions must be taken first, or a
 * signal came. Nothing was lost, and the same call may do later. */
static bool is_passing(int error)
{
	return error == -EINTR || error == -EAGAIN || error == -ENOMEM ||
	       error == -EBUSY;
}

/* --- opening and closing --- */

/* The flags that a ring is asked for, best first. A kernel that does not know a
 * flag says EINVAL and is asked for less. */
static const unsigned setup_ladder[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL |
		IORING_SETUP_NO_SQARRAY,
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SUBMIT_ALL,
	0,
};

enum { N_STEPS = sizeof setup_ladder / sizeof setup_ladder[0] };

/* Set when a trial has shown that completion queues cannot be shrunk. */
static _Atomic(bool) cannot_resize; /* any thread */

static int ask_for_ring(unsigned flags, unsigned entries, unsigned cq_factor,
			struct io_uring_params *p)
{
	int fd;

	*p = (struct io_uring_params){
		.flags = flags | IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
		.cq_entries = entries * cq_factor,
	};
	fd = (int)syscall(__NR_io_uring_setup, entries, p);
	return fd < 0 ? -errno : fd;
}

/* Sets up a ring whose completion queue is shrunk, but not its table of what
 * can be cancelled. Only for a ring without an array of indexes: of one with
 * it, the kernel does not say where the array is afterwards. */
static int ask_for_small_ring(unsigned flags, unsigned entries,
			      struct io_uring_params *p)
{
	struct io_uring_params small = {
		.flags = IORING_SETUP_CLAMP | IORING_SETUP_CQSIZE,
		.sq_entries = entries,
		.cq_entries = entries * CQ_FACTOR,
	};
	int fd = ask_for_ring(flags, entries, CQ_FACTOR_AT_FIRST, p);

	if (fd < 0)
		return fd;
	if (syscall(__NR_io_uring_register, fd, REGISTER_RESIZE_RINGS, &small,
		    1) < 0) {
		if (errno != ENOMEM)
			poke(cannot_resize, true);
		close(fd);
		return -ENOTSUP;
	}
	p->sq_entries = small.sq_entries;
	p->cq_entries = small.cq_entries;
	p->sq_off = small.sq_off;
	p->cq_off = small.cq_off;
	return fd;
}

#ifdef WEFT__TSAN
/* ThreadSanitizer does not see that the kernel orders the end of a ring before
 * the beginning of the next one at the same address: this stands for it. */
static _Atomic(unsigned) n_rings;
#define NOTE_RING(by) atomic_fetch_add(&n_rings, by)
#else
#define NOTE_RING(by) ((void)0)
#endif

static int set_up_as(struct io_uring *ring, unsigned flags, unsigned entries)
{
	struct io_uring_params p;
	int fd = -ENOTSUP;
	int rc;

	if (flags & IORING_SETUP_NO_SQARRAY && !peek(cannot_resize))
		fd = ask_for_small_ring(flags, entries, &p);
	if (fd == -ENOTSUP)
		fd = ask_for_ring(flags, entries, CQ_FACTOR_FOR_GOOD, &p);
	if (fd < 0)
		return fd;
	fd = weft__above_standard(fd);
	rc = io_uring_queue_mmap(fd, &p, ring);
	if (rc) {
		close(fd);
		return rc;
	}
	NOTE_RING(1U);
	/* A kernel that has shrunk a queue says, to be on the safe side, that
	 * it holds completions back, and goes on saying so until it does hold
	 * one back: the thread would not sleep. Nothing is in flight, so the
	 * flag is cleared. */
	IO_URING_WRITE_ONCE(*ring->sq.kflags, 0);
	/* Which of these fields io_uring_queue_mmap() fills in depends on the
	 * version of liburing. */
	ring->ring_fd = ring->enter_ring_fd = fd;
	ring->flags = p.flags;
	ring->features = p.features;
	return 0;
}

static int set_up(struct io_uring *ring)
{
	unsigned entries = SQ_ENTRIES;
	size_t step = 0;

	for (;;) {
		int rc = set_up_as(ring, setup_ladder[step], entries);

		if (rc == -EINVAL && step + 1 < N_STEPS)
			step++;
		else if (rc == -ENOMEM && entries > SQ_ENTRIES_MIN)
			entries /= 2; /* kernels that charge RLIMIT_MEMLOCK */
		else
			return rc;
	}
}

/* 0 or a negative errno. */
static int send_message(int ring_fd, uint64_t user_data)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING,
				    .fd = ring_fd,
				    .off = user_data };

	return syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &sqe,
		       1) < 0
		       ? -errno
		       : 0;
}

/* Whether any thread can send a ring a message by one system call (Linux 6.13).
 * Found by sending one to the first ring that is opened. */
static bool can_send_message(int ring_fd)
{
	static _Atomic(int) known; /* 0: not yet, 1: yes, -1: no; any thread */
	int answer = peek(known);

	if (answer == 0) {
		int rc = send_message(ring_fd, DATA_IGNORED);

		answer = rc ? -1 : 1;
		if (!is_passing(rc))
			poke(known, answer);
	}
	return answer > 0;
}

/* Entry i of the queue is always number i of the array, if there is one. */
static void number_entries(struct io_uring *ring)
{
	if (ring->flags & IORING_SETUP_NO_SQARRAY)
		return;
	for (unsigned i = 0; i < ring->sq.ring_entries; i++)
		ring->sq.array[i] = i;
}

static bool is_rung_by_message(int ring_fd)
{
	enum wake_policy policy = weft__wake_policy();

	return can_send_message(ring_fd) && policy != WAKE_EVENTFD &&
	       policy != WAKE_MSG_RING_SQE;
}

/* If only an eventfd can wake a sleeper in the ring, the eventfd is opened with
 * the ring. Later there may be no descriptor left for it, at a time when
 * nothing can be done about that. It also serves wakers that have no ring. */
static int open_eventfd(struct engine *e, int ring_fd)
{
	int fd = -1;

	if (!is_rung_by_message(ring_fd)) {
		fd = weft__above_standard(
			eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
		if (fd < 0)
			return -errno;
	}
	poke(e->eventfd, fd);
	return 0;
}

int weft__uring_open(struct engine *e)
{
	unsigned workers[2] = { 0, MAX_UNBOUND_WORKERS };
	struct io_uring_getevents_arg arg = { 0 };
	struct io_uring *ring = &e->uring.ring;
	int rc;

	rc = set_up(ring);
	if (rc)
		return rc;
	rc = -ENOSYS;
	if (!(ring->features & IORING_FEAT_EXT_ARG))
		goto exit_ring; /* Linux 5.10: a wait cannot have a deadline */

	/* Kernels older than 5.15 and 5.18 refuse these: it works without. */
	(void)io_uring_register_iowq_max_workers(ring, workers);
	/* The call has put the old numbers into `workers`. */
	e->uring.most_workers[WORKER_BOUNDED] = workers[WORKER_BOUNDED];
	e->uring.most_workers[WORKER_UNBOUNDED] = MAX_UNBOUND_WORKERS;
	e->uring.enter_flags = IORING_ENTER_EXT_ARG;
	e->uring.enter_fd = ring->ring_fd;
	if (io_uring_register_ring_fd(ring) == 1) {
		e->uring.enter_fd = ring->enter_ring_fd;
		e->uring.enter_flags |= IORING_ENTER_REGISTERED_RING;
	}
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		e->uring.enter_flags |= IORING_ENTER_NO_IOWAIT;
	(void)io_uring_ring_dontfork(ring);

	/* A filter may let a ring be set up and then refuse its use. */
	rc = io_uring_enter2((unsigned)e->uring.enter_fd, 0, 0,
			     e->uring.enter_flags, (sigset_t *)&arg,
			     sizeof arg);
	if (rc < 0 && !is_passing(rc))
		goto exit_ring;

	number_entries(ring);
	e->uring.sq_tail = *ring->sq.ktail;
	e->n_queued = 0;
	rc = open_eventfd(e, ring->ring_fd);
	if (rc)
		goto exit_ring;
	poke(e->ring_fd, ring->ring_fd);
	memset(e->uring.stuck_allowed, 0, sizeof e->uring.stuck_allowed);
	/* The first ring was sent a message on trial, which is to end no sleep. */
	weft__uring_look(e);
	return 0;

exit_ring:
	NOTE_RING(-1U);
	io_uring_queue_exit(ring);
	return rc;
}

void weft__uring_signal(struct engine *e, int fd)
{
	if (io_uring_register_eventfd(&e->uring.ring, fd))
		weft__warn("the ring cannot signal an eventfd: weft_fd() will "
			   "not tell of completed I/O");
}

void weft__uring_close(struct engine *e)
{
	NOTE_RING(-1U);
	io_uring_queue_exit(&e->uring.ring);
	if (peek(e->eventfd) >= 0)
		close(peek(e->eventfd));
}

/* In a child of fork(): the ring's memory is not mapped here. */
void weft__uring_renew(struct engine *e)
{
	e->uring.n_cancelling = 0;
	e->uring.missed_one = false;
	e->n_queued = 0;
	e->uring.eventfd_is_armed = false;
}

/* --- completions --- */

#ifdef WEFT_DEBUG
/* The memory at that address is another operation's by now, or no
 * operation's. */
static struct operation *operation_of(uint64_t name)
{
	struct operation *o =
		(struct operation *)(uintptr_t)(name & MAX_ADDRESS);

	REQUIRE(o->name == name, "invariant: the kernel completes operations "
				 "that are in flight, and each of them once");
	return o;
}

static void end_name(struct operation *o)
{
	o->name = 0;
}
#else
static INLINE struct operation *operation_of(uint64_t name)
{
	return (struct operation *)(uintptr_t)name;
}

static INLINE void end_name(struct operation *o)
{
	(void)o;
}
#endif

static INLINE void complete(struct engine *e, const struct io_uring_cqe *cqe)
{
	struct operation *o = operation_of(cqe->user_data);
	unsigned flags = cqe->flags;

	if (likely(!(flags & IORING_CQE_F_MORE))) {
		weft__flight_end(&e->flight, o);
		end_name(o);
	}
	o->complete(o, cqe->res, flags);
}

/* The completion of the eventfd's poll. With F_MORE the poll stays armed and
 * reports only edges; without, the eventfd must be emptied before it is armed
 * again. */
static void eventfd_rang(struct engine *e, const struct io_uring_cqe *cqe)
{
	uint64_t value;

	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	e->uring.eventfd_is_armed = false;
	if (read(peek(e->eventfd), &value, sizeof value) < 0)
		INVARIANT(errno == EAGAIN);
}

/* -ENOENT means that the operation has completed, or that the kernel is just
 * moving it from one place to another, as with a connect(2) that is tried anew
 * each time its socket seems ready. */
static void cancel_answered(struct engine *e, int res)
{
	e->uring.n_cancelling--;
	if (res < 0)
		count(e->n_cancel_misses);
	if (res == -ENOENT)
		e->uring.missed_one = true;
}

static void take_completions(struct engine *e)
{
	struct io_uring_cq *cq = &e->uring.ring.cq;
	unsigned head = *cq->khead; /* only this thread writes it */
	/* acquire: the kernel wrote the entries before it moved the tail */
	unsigned tail = io_uring_smp_load_acquire(cq->ktail);

	while (head != tail) {
		const struct io_uring_cqe *cqe =
			&cq->cqes[head & cq->ring_mask];

		if (likely(cqe->user_data >= FIRST_OPERATION))
			complete(e, cqe);
		else if (cqe->user_data == DATA_CANCEL)
			cancel_answered(e, cqe->res);
		else if (cqe->user_data == DATA_EVENTFD)
			eventfd_rang(e, cqe);
		else if (cqe->user_data > DATA_CANCEL)
			count(e->n_strays);
		head++;
	}
	/* release: the kernel may overwrite the entries from here on */
	io_uring_smp_store_release(cq->khead, head);
}

/* --- submission --- */

#define HERE __FILE__ ":" WEFT__STRING(__LINE__)

/* What often is behind an error, for the message. */
static const char *hint_at_filter(int error)
{
	return error == -EPERM || error == -EACCES || error == -ENOSYS
		       ? "; a filter (seccomp) may forbid it that was set after "
			 "the first call of weft"
		       : "";
}

_Noreturn static NOINLINE void stop_unentered(int error)
{
	char text[256];

	snprintf(text, sizeof text, "io_uring_enter failed: %s%s%s",
		 strerror(-error), hint_at_filter(error),
		 error == -EBADR
			 ? "; the kernel has lost completions, as it does when "
			   "it is out of memory"
			 : "");
	weft__fail(text, HERE);
}

static unsigned kernel_flags(const struct engine *e)
{
	/* relaxed: a flag says that entering pays; entering orders the rest */
	return IO_URING_READ_ONCE(*e->uring.ring.sq.kflags);
}

/* Notes what of the queue the kernel has taken, by what enter returned. After a
 * refusal the next try is made a little later: as long as there is no memory,
 * the thread must not keep its CPU from those that could free some. */
static void note_entered(struct engine *e, int rc, unsigned want)
{
	bool was_to_submit = e->n_queued;

	if (rc > 0) {
		e->n_queued -= (unsigned)rc;
		count(e->n_submits);
	}
	if (was_to_submit && e->n_queued)
		count(e->n_submit_retries);
	if (rc >= 0 || rc == -ETIME || (rc == -EINTR && want)) {
		e->uring.n_refused = 0;
	} else if (is_passing(rc)) {
		weft__be_patient(e->uring.n_refused++);
	} else {
		/* EBADR: the kernel has dropped completions, which it does only
		 * when it has no memory at all. Nobody knows whose, so a
		 * tasklet would wait for ever. */
		stop_unentered(rc);
	}
}

/* Shows the kernel what is queued, and waits for @want completions. */
static void enter(struct engine *e, unsigned want, int64_t deadline)
{
	struct __kernel_timespec ts;
	struct io_uring_getevents_arg arg = { 0 };

	if (want && deadline != WEFT_FOREVER) {
		int64_t ns = deadline - weft__now();

		if (ns < 0)
			ns = 0;
		ts.tv_sec = ns / WEFT_SECOND;
		ts.tv_nsec = ns % WEFT_SECOND;
		arg.ts = (uint64_t)(uintptr_t)&ts;
	}
	if (unlikely(kernel_flags(e) & IORING_SQ_CQ_OVERFLOW))
		count(e->n_overflows);
	/* release: the entries are complete before the kernel sees the tail */
	io_uring_smp_store_release(e->uring.ring.sq.ktail, e->uring.sq_tail);
	note_entered(
		e,
		io_uring_enter2((unsigned)e->uring.enter_fd, e->n_queued, want,
				e->uring.enter_flags | IORING_ENTER_GETEVENTS,
				(sigset_t *)&arg, sizeof arg),
		want);
}

static bool kernel_holds_more(const struct engine *e)
{
	return kernel_flags(e) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool weft__uring_has_news(const struct engine *e)
{
	return *e->uring.ring.cq.khead !=
		       IO_URING_READ_ONCE(*e->uring.ring.cq.ktail) ||
	       kernel_holds_more(e);
}

/* Whether another operation fits, without entering the kernel. */
static INLINE bool has_room(const struct engine *e)
{
	/* acquire: the kernel has read the entries that it has moved past */
	return e->uring.sq_tail -
		       io_uring_smp_load_acquire(e->uring.ring.sq.khead) <
	       e->uring.ring.sq.ring_entries;
}

/* Asks again for the operations that the kernel did not find, when it has
 * answered all requests: those that have completed are no longer in the list
 * then. */
static NOINLINE void ask_again(struct engine *e)
{
	if (e->uring.n_cancelling)
		return;
	e->uring.missed_one = false;
	/* Making room may take completions, and so change the list. */
	for (struct operation *o = e->flight.called_back; o; o = o->next)
		o->is_missed = !o->is_ending;
	for (struct operation *o = e->flight.called_back; o;) {
		struct operation *next = o->next;
		bool had_room = has_room(e);

		if (o->is_missed) {
			o->is_missed = false;
			weft__uring_cancel(e, o);
			if (!had_room)
				next = e->flight.called_back;
		}
		o = next;
	}
}

/* Whether there is more. */
static INLINE bool look(struct engine *e)
{
	if (e->n_queued || kernel_holds_more(e))
		enter(e, 0, WEFT_FOREVER);
	take_completions(e);
	return e->n_queued || kernel_holds_more(e);
}

void weft__uring_look(struct engine *e)
{
	if (unlikely(e->uring.missed_one))
		ask_again(e);
	look(e);
}

void weft__uring_poll(struct engine *e)
{
	int rounds = POLL_ROUNDS;

	if (unlikely(e->uring.missed_one))
		ask_again(e);
	while (rounds-- && look(e))
		;
}

void weft__uring_sleep(struct engine *e, int64_t deadline)
{
	if (unlikely(e->uring.missed_one))
		ask_again(e);
	enter(e, 1, deadline);
	take_completions(e);
}

void weft__uring_flush(struct engine *e)
{
	while (e->n_queued) {
		enter(e, 0, WEFT_FOREVER);
		take_completions(e);
	}
}

/* Hands in a full queue. */
static void make_room(struct engine *e)
{
	while (unlikely(!has_room(e))) {
		enter(e, 0, WEFT_FOREVER);
		take_completions(e);
	}
}

/* The next entry of a queue that has room. The caller writes it as a whole. */
static INLINE struct io_uring_sqe *take_entry(struct engine *e)
{
	struct io_uring_sq *sq = &e->uring.ring.sq;

	e->n_queued++;
	return &sq->sqes[e->uring.sq_tail++ & sq->ring_mask];
}

/* The next entry, cleared. */
static struct io_uring_sqe *next_entry(struct engine *e)
{
	make_room(e);
	return memset(take_entry(e), 0, sizeof(struct io_uring_sqe));
}

/* --- operations --- */

/* The queue has room; @list is the descriptor's. */
static INLINE void submit(struct engine *e, const struct io_uring_sqe *sqe,
			  struct operation *o, struct operation **list)
{
	struct io_uring_sqe *entry = take_entry(e);

	*entry = *sqe;
	entry->user_data = begin_name(e, o);
	weft__flight_begin(&e->flight, o, sqe->fd, list);
	count(e->n_done_operations);
}

static NOINLINE void submit_slowly(struct engine *e,
				   const struct io_uring_sqe *sqe,
				   struct operation *o)
{
	make_room(e);
	if (!weft__flight_has_place(&e->flight, sqe->fd))
		weft__flight_make_place(&e->flight, sqe->fd);
	submit(e, sqe, o, weft__flight_list(&e->flight, sqe->fd));
}

/* Makes no call where nothing needs room made for it. */
void weft__uring_submit(struct engine *e, const struct io_uring_sqe *sqe,
			struct operation *o)
{
	if (unlikely(!has_room(e)) ||
	    unlikely(!weft__flight_has_place(&e->flight, sqe->fd)))
		submit_slowly(e, sqe, o);
	else
		submit(e, sqe, o, &e->flight.heads[sqe->fd + 1]);
}

void weft__uring_cancel(struct engine *e, struct operation *o)
{
	struct io_uring_sqe *sqe = next_entry(e);

	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = name_of(o);
	sqe->user_data = DATA_CANCEL;
	e->uring.n_cancelling++;
	count(e->n_cancels);
}

/* --- workers --- */

void weft__uring_expect_stuck(struct engine *e, enum worker kind, int by)
{
	unsigned limits[N_WORKER_KINDS] = { 0 };

	e->uring.n_stuck[kind] += (unsigned)by;
	if (by < 0 || e->uring.n_stuck[kind] <= e->uring.stuck_allowed[kind] ||
	    !e->is_open || !e->uring.most_workers[kind])
		return;
	e->uring.stuck_allowed[kind] = 2 * e->uring.n_stuck[kind];
	limits[kind] =
		e->uring.most_workers[kind] + e->uring.stuck_allowed[kind];
	(void)io_uring_register_iowq_max_workers(&e->uring.ring, limits);
}

/* --- operations that the kernel has --- */

/* One bit for each operation, as the last ring that was asked says: all rings are
 * alike. Any thread. */
static _Atomic(uint64_t) known[4];
static _Atomic(bool) has_asked;

static NOINLINE void ask_for_known(const struct engine *e)
{
	struct io_uring_probe *probe =
		io_uring_get_probe_ring((struct io_uring *)&e->uring.ring);

	/* If that cannot be found out, an operation is tried, and fails if it
	 * is not there. */
	for (unsigned i = 0; i < 256; i++)
		if (!probe || io_uring_opcode_supported(probe, (int)i))
			atomic_fetch_or(&known[i / 64], 1ULL << i % 64);
	if (probe)
		io_uring_free_probe(probe);
	/* release: the bits come first [known.1] */
	atomic_store_explicit(&has_asked, true, memory_order_release);
}

bool weft__uring_knows(const struct engine *e, unsigned opcode)
{
	/* acquire: the bits are there [known.1] */
	if (!atomic_load_explicit(&has_asked, memory_order_acquire))
		ask_for_known(e);
	return opcode < 256 && peek(known[opcode / 64]) >> opcode % 64 & 1;
}

/* From Linux 5.13 on, as this feature. */
bool weft__uring_has_multishot_polls(const struct engine *e)
{
	return e->uring.ring.features & IORING_FEAT_RSRC_TAGS;
}

/* --- the doorbell --- */

/* Makes the ring poll the eventfd. */
static void arm_eventfd(struct engine *e)
{
	struct io_uring_sqe *sqe;

	if (e->uring.eventfd_is_armed)
		return;
	sqe = next_entry(e);
	io_uring_prep_poll_multishot(sqe, peek(e->eventfd),
				     (unsigned)(POLLIN | EPOLLET));
	sqe->user_data = DATA_EVENTFD;
	e->uring.eventfd_is_armed = true;
}

enum doorbell weft__uring_prepare_sleep(struct engine *e)
{
	enum wake_policy policy = weft__wake_policy();

	if (is_rung_by_message(peek(e->ring_fd)))
		return DOORBELL_MESSAGE;
	arm_eventfd(e);
	return policy == WAKE_MSG_RING || policy == WAKE_MSG_RING_SQE
		       ? DOORBELL_SQE
		       : DOORBELL_EVENTFD;
}

static bool is_of_closed_one(int error)
{
	return error == -EBADF || error == -EBADFD;
}

/* There is no other way to wake a sleeper. */
_Noreturn static NOINLINE void stop_unrung(const char *call, int error)
{
	char text[256];

	if (is_of_closed_one(error))
		snprintf(text, sizeof text,
			 "a thread cannot be woken: somebody has closed a "
			 "descriptor that is weft's, or a thread has "
			 "descriptors of its own");
	else
		snprintf(text, sizeof text,
			 "a thread cannot be woken: %s failed: %s%s", call,
			 strerror(-error), hint_at_filter(error));
	weft__fail(text, HERE);
}

/* A message that a ring sends; lies on the sender's stack. */
struct message {
	struct operation operation;
	int res;
	bool is_sent;
};

static void message_sent(struct operation *o, int res, unsigned flags)
{
	struct message *m = (struct message *)o;

	(void)flags;
	m->res = res;
	m->is_sent = true;
}

/* Sends a message through the caller's own ring: 0 or a negative errno. */
static int send_through(struct engine *e, int ring_fd)
{
	struct message m = { .operation.complete = message_sent };
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING,
				    .fd = ring_fd,
				    .off = DATA_DOORBELL };

	if (!weft__engine_has_ring(e))
		return e->error ? e->error : -ENXIO;
	weft__uring_submit(e, &sqe, &m.operation);
	/* The message must not wait for this thread's next round. */
	weft__uring_flush(e);
	while (!m.is_sent) {
		enter(e, 1, WEFT_FOREVER);
		take_completions(e);
	}
	return m.res < 0 ? m.res : 0;
}

/* Whether a message that failed so was not needed. A thread whose completion queue
 * is full does not go on sleeping, and a thread that has died does not sleep. */
static bool is_harmless(int error)
{
	return error == -EOVERFLOW || error == -EOWNERDEAD;
}

/* The system call for messages has failed, as with a filter that forbids it. The
 * target has no eventfd, but the caller's own ring can send a message too. */
static NOINLINE void ring_in_another_way(struct engine *e, int ring_fd,
					 int error)
{
	int rc = error;

	if (!is_of_closed_one(error) && !is_harmless(error)) {
		unsigned tries = 0;

		/* If the caller has no ring, it gets none. */
		while (is_passing(rc = send_through(e, ring_fd)) &&
		       weft__engine_has_ring(e))
			weft__be_patient(tries++);
	}
	if (rc && !is_harmless(rc))
		stop_unrung("io_uring_register", error);
}

/* If the target's descriptor is not there, this is a child of fork() and the
 * sleeper is the parent's. */
void weft__engine_ring_message(struct engine *e, struct engine *target)
{
	int fd = peek(target->ring_fd);
	unsigned tries = 0;
	int rc;

	while (is_passing(rc = send_message(fd, DATA_DOORBELL)))
		weft__be_patient(tries++);
	if (unlikely(rc) && fd >= 0)
		ring_in_another_way(e, fd, rc);
}

void weft__engine_ring_eventfd(struct engine *target)
{
	static const uint64_t one = 1;
	int fd = peek(target->eventfd);
	ssize_t rc;

	while ((rc = write(fd, &one, sizeof one)) < 0 && errno == EINTR)
		;
	/* EAGAIN: it has been rung very often, and nobody has answered yet. */
	if (unlikely(rc < 0) && errno != EAGAIN && fd >= 0)
		stop_unrung("write to its eventfd", -errno);
}

void weft__engine_ring_sqe(struct engine *e, struct engine *target)
{
	/* If the kernel refuses the message, the eventfd has to do. The target is
	 * sure to have one only as long as the caller is announced [park.2]. */
	if (send_through(e, peek(target->ring_fd)))
		weft__engine_ring_eventfd(target);
}
