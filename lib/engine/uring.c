/* SPDX-License-Identifier: MIT */
/*
 * The io_uring engine.
 *
 * Operations are copied into the submission queue and stay there until the
 * thread parks, until some switches have passed, or until the queue is full:
 * one system call hands in those of many tasklets. Completions are read from
 * user memory; the kernel is entered for them only when it says, by a flag in
 * the mapped ring, that it holds some back.
 *
 * user_data names a record in a table by index and generation, never a tasklet:
 * a completion that comes late or twice finds another generation, is counted
 * and followed no further. The record holds the waiter on the tasklet's stack,
 * and that tasklet runs again only after the operation's last completion.
 *
 * The ring is SINGLE_ISSUER with DEFER_TASKRUN where the kernel has them, so
 * completions never interrupt a tasklet. liburing maps the ring and prepares
 * operations; filling, showing and reaping are done here, over the same fields,
 * because the flags of enter (NO_IOWAIT, the registered index) must be ours.
 * NO_SQARRAY is not asked for here: liburing 2.3 would write where no array is.
 * From 2.6 on it asks by itself, so what was got is looked at.
 */
#include "engine.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

#include "../debug.h"
#include "../fork.h"
#include "../lock.h"
#include "../park.h"
#include "../scheduler.h"
#include "../valgrind.h"

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
enum { REGISTER_SEND_MSG_RING = 31 };

enum {
	SQ_ENTRIES = 256,
	SQ_ENTRIES_MIN = 8,
	CQ_FACTOR = 4,
	FIRST_OPERATIONS = 64,
	/* Entries of one poll: a stream of completions must not hold it up. */
	POLL_ROUNDS = 16,
	/* Kernel threads for what cannot be polled; without a cap, hundreds. */
	MAX_UNBOUND_WORKERS = 64
};

/* user_data below FIRST_OPERATION is not a record's. */
enum {
	DATA_IGNORED,
	DATA_DOORBELL, /* somebody rang */
	DATA_EVENTFD,  /* somebody rang */
	DATA_MESSAGE,  /* what became of a message that this ring sent */
	FIRST_OPERATION = 16
};

struct operation {
	struct ring_wait *wait; /* NULL: the record is free */
	uint32_t generation;
	uint32_t next_free;
	int fd;
};

/* A tasklet that waits for a completion, on its stack. */
struct ring_wait {
	struct waiter waiter;
	uint64_t user_data;
	int res;
	uint32_t flags;
	bool is_called_back; /* the kernel was asked to cancel it */
};

static const uint32_t NO_OPERATION = UINT32_MAX;

/* --- opening and closing --- */

/* What a ring is asked to be, best first; a kernel that does not know a flag
 * says EINVAL and is asked for less. */
static const unsigned setup_ladder[] = {
	IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG |
		IORING_SETUP_SUBMIT_ALL,
	IORING_SETUP_SUBMIT_ALL,
	0,
};

static int set_up(struct io_uring *ring)
{
	unsigned entries = SQ_ENTRIES;
	size_t step = 0;

	for (;;) {
		struct io_uring_params p = {
			.flags = setup_ladder[step] | IORING_SETUP_CLAMP |
				 IORING_SETUP_CQSIZE,
			.cq_entries = entries * CQ_FACTOR,
		};
		int rc = io_uring_queue_init_params(entries, ring, &p);

		if (rc == -EINVAL &&
		    step + 1 < sizeof setup_ladder / sizeof setup_ladder[0])
			step++;
		else if (rc == -ENOMEM && entries > SQ_ENTRIES_MIN)
			entries /= 2; /* kernels that charge RLIMIT_MEMLOCK */
		else
			return rc;
	}
}

static int send_message(int ring_fd, uint64_t user_data)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING,
				    .fd = ring_fd,
				    .off = user_data };

	return (int)syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING,
			    &sqe, 1);
}

/* Whether any thread can send a ring a message by one system call (Linux
 * 6.13): found by sending one to the first ring that is opened. */
static bool can_send_message(int ring_fd)
{
	static _Atomic(int) known; /* 0: not yet, 1: yes, -1: no; any thread */
	int answer = peek(known);

	if (answer == 0) {
		answer = send_message(ring_fd, DATA_IGNORED) ? -1 : 1;
		poke(known, answer);
	}
	return answer > 0;
}

#ifdef WEFT__TSAN
/* The kernel's part of a ring's end and the next one's beginning at the same
 * address is invisible to ThreadSanitizer: this stands for it. */
static _Atomic(unsigned) n_rings;
#define NOTE_RING(by) atomic_fetch_add(&n_rings, by)
#else
#define NOTE_RING(by) ((void)0)
#endif

/* Entry i of the queue is always number i of the array, where there is one. */
static void number_entries(struct io_uring *ring)
{
	if (ring->flags & IORING_SETUP_NO_SQARRAY)
		return;
	for (unsigned i = 0; i < ring->sq.ring_entries; i++)
		ring->sq.array[i] = i;
}

static int open_ring(struct engine *e)
{
	unsigned workers[2] = { 0, MAX_UNBOUND_WORKERS };
	struct io_uring_getevents_arg arg = { 0 };
	struct io_uring *ring = &e->ring;
	int rc;

	e->per_fd = calloc(FD_BUCKETS, sizeof e->per_fd[0]);
	if (!e->per_fd)
		return -ENOMEM;
	rc = set_up(ring);
	if (rc)
		goto free_table;
	NOTE_RING(1U);
	rc = -ENOSYS;
	if (!(ring->features & IORING_FEAT_EXT_ARG))
		goto exit_ring; /* Linux 5.10: no deadline for a wait */

	/* Refused by kernels older than 5.15, 5.18: as good without. */
	(void)io_uring_register_iowq_max_workers(ring, workers);
	/* It has put the numbers from before there. */
	e->most_workers[WORKER_BOUNDED] = workers[WORKER_BOUNDED];
	e->most_workers[WORKER_UNBOUNDED] = MAX_UNBOUND_WORKERS;
	e->enter_flags = IORING_ENTER_EXT_ARG;
	e->enter_fd = ring->ring_fd;
	if (io_uring_register_ring_fd(ring) == 1) {
		e->enter_fd = ring->enter_ring_fd;
		e->enter_flags |= IORING_ENTER_REGISTERED_RING;
	}
	if (ring->features & IORING_FEAT_NO_IOWAIT)
		e->enter_flags |= IORING_ENTER_NO_IOWAIT;
	(void)io_uring_ring_dontfork(ring);

	/* A filter may let a ring be set up and then refuse to have it used. */
	rc = io_uring_enter2((unsigned)e->enter_fd, 0, 0, e->enter_flags,
			     (sigset_t *)&arg, sizeof arg);
	if (rc < 0)
		goto exit_ring;

	number_entries(ring);
	e->sq_tail = *ring->sq.ktail;
	e->n_queued = 0;
	e->free_operation = NO_OPERATION;
	e->is_open = true;
	poke(e->eventfd, -1);
	poke(e->ring_fd, ring->ring_fd);
	memset(e->stuck_allowed, 0, sizeof e->stuck_allowed);
	return 0;

exit_ring:
	NOTE_RING(-1U);
	io_uring_queue_exit(ring);
free_table:
	free(e->per_fd);
	e->per_fd = NULL;
	return rc;
}

int weft__engine_open(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (likely(e->is_open))
		return 0;
	e->error = open_ring(e);
	if (!e->error && s->embedding)
		weft__engine_signal(s);
	return e->error;
}

void weft__engine_signal(struct scheduler *s)
{
	struct engine *e = &s->engine;

	/* A ring that is opened later comes here again. */
	if (e->is_open &&
	    io_uring_register_eventfd(&e->ring, s->embedding->event_fd))
		weft__warn("the ring cannot signal an eventfd: weft_fd() will "
			   "not tell of completed I/O");
}

void weft__engine_close(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (e->is_open) {
		NOTE_RING(-1U);
		io_uring_queue_exit(&e->ring);
		if (peek(e->eventfd) >= 0)
			close(peek(e->eventfd));
		free(e->per_fd);
		free(e->operations);
	}
	*e = (struct engine){ .ring_fd = -1, .eventfd = -1 };
}

/* --- fork --- */

void weft__engine_disown(struct scheduler *s)
{
	if (peek(s->engine.ring_fd) >= 0)
		close(peek(s->engine.ring_fd));
	if (peek(s->engine.eventfd) >= 0)
		close(peek(s->engine.eventfd));
}

void weft__engine_renew(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (!e->is_open)
		return;
	weft__engine_disown(s);
	for (uint32_t i = 0; i < e->n_operations; i++) {
		struct ring_wait *wait = e->operations[i].wait;

		if (!wait)
			continue;
		wait->res = -ECANCELED;
		wait->flags = 0;
		weft__wake_local(s, wait->waiter.task);
	}
	free(e->operations);
	free(e->per_fd);
	e->operations = NULL;
	e->n_operations = 0;
	e->per_fd = NULL;
	e->n_in_flight = 0;
	e->n_queued = 0;
	e->is_open = false;
	e->eventfd_is_armed = false;
	poke(e->ring_fd, -1);
	poke(e->eventfd, -1);
}

/* --- completions --- */

static struct operation *find_operation(struct engine *e, uint64_t user_data)
{
	uint32_t index = (uint32_t)user_data - FIRST_OPERATION;

	if ((uint32_t)user_data < FIRST_OPERATION || index >= e->n_operations)
		return NULL;
	if (e->operations[index].generation != (uint32_t)(user_data >> 32) ||
	    !e->operations[index].wait)
		return NULL;
	return &e->operations[index];
}

static uint32_t *fd_count(const struct engine *e, int fd)
{
	return &e->per_fd[(unsigned)fd % FD_BUCKETS];
}

static void complete(struct scheduler *s, const struct io_uring_cqe *cqe)
{
	struct engine *e = &s->engine;
	struct operation *o = find_operation(e, cqe->user_data);
	struct ring_wait *wait;

	if (!o) {
		count(e->n_strays);
		return;
	}
	wait = o->wait;
	o->wait = NULL;
	o->generation++;
	o->next_free = e->free_operation;
	e->free_operation = (uint32_t)(o - e->operations);
	--*fd_count(e, o->fd);
	e->n_in_flight--;

	wait->res = cqe->res;
	wait->flags = cqe->flags;
	weft__wake_local(s, wait->waiter.task);
}

/* The eventfd's poll: with F_MORE it stays armed and is told of edges only;
 * without, it has to be emptied before it is armed again. */
static void eventfd_rang(struct engine *e, const struct io_uring_cqe *cqe)
{
	uint64_t value;

	if (cqe->flags & IORING_CQE_F_MORE)
		return;
	e->eventfd_is_armed = false;
	if (read(peek(e->eventfd), &value, sizeof value) < 0)
		INVARIANT(errno == EAGAIN);
}

static void take_completions(struct scheduler *s)
{
	struct engine *e = &s->engine;
	struct io_uring_cq *cq = &e->ring.cq;
	unsigned head = *cq->khead; /* ours alone to write */
	/* acquire: the entries that the kernel wrote before it moved the tail */
	unsigned tail = io_uring_smp_load_acquire(cq->ktail);

	while (head != tail) {
		const struct io_uring_cqe *cqe =
			&cq->cqes[head & cq->ring_mask];

		if (likely(cqe->user_data >= FIRST_OPERATION))
			complete(s, cqe);
		else if (cqe->user_data == DATA_EVENTFD)
			eventfd_rang(e, cqe);
		else if (cqe->user_data == DATA_MESSAGE && cqe->res < 0)
			weft__engine_ring_eventfd(e->message_to);
		head++;
	}
	/* release: the kernel may overwrite the entries from here on */
	io_uring_smp_store_release(cq->khead, head);
}

/* --- submission --- */

/* Shows the kernel what is queued, and waits for @want completions. */
static void enter(struct scheduler *s, unsigned want, int64_t deadline)
{
	struct engine *e = &s->engine;
	struct __kernel_timespec ts;
	struct io_uring_getevents_arg arg = { 0 };
	int rc;

	if (want && deadline != WEFT_FOREVER) {
		int64_t ns = deadline - weft_now();

		if (ns < 0)
			ns = 0;
		ts.tv_sec = ns / WEFT_SECOND;
		ts.tv_nsec = ns % WEFT_SECOND;
		arg.ts = (uint64_t)(uintptr_t)&ts;
	}
	/* release: the entries are complete before the kernel sees the tail */
	io_uring_smp_store_release(e->ring.sq.ktail, e->sq_tail);
	rc = io_uring_enter2((unsigned)e->enter_fd, e->n_queued, want,
			     e->enter_flags | IORING_ENTER_GETEVENTS,
			     (sigset_t *)&arg, sizeof arg);
	if (rc > 0) {
		e->n_queued -= (unsigned)rc;
		count(e->n_submits);
	} else if (rc < 0) {
		/* EBUSY, EAGAIN: completions have to be taken first, or memory
		 * is short; nothing was lost, and the caller comes again. EBADR:
		 * the kernel dropped completions, which it does only when it has
		 * no memory at all. */
		REQUIRE(rc == -EINTR || rc == -ETIME || rc == -EBUSY ||
				rc == -EAGAIN || rc == -ENOMEM,
			"io_uring_enter failed in a way it should not");
	}
}

static unsigned kernel_flags(const struct engine *e)
{
	/* relaxed: a flag says that entering pays; the enter orders the rest */
	return IO_URING_READ_ONCE(*e->ring.sq.kflags);
}

static bool kernel_holds_more(const struct engine *e)
{
	return kernel_flags(e) & (IORING_SQ_TASKRUN | IORING_SQ_CQ_OVERFLOW);
}

bool weft__engine_has_news(const struct engine *e)
{
	return e->is_open &&
	       (*e->ring.cq.khead != IO_URING_READ_ONCE(*e->ring.cq.ktail) ||
		kernel_holds_more(e));
}

void weft__engine_poll(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (!e->is_open)
		return;
	for (int i = 0; i < POLL_ROUNDS; i++) {
		if (kernel_flags(e) & IORING_SQ_CQ_OVERFLOW)
			count(e->n_overflows);
		if (e->n_queued || kernel_holds_more(e))
			enter(s, 0, WEFT_FOREVER);
		take_completions(s);
		if (!e->n_queued && !kernel_holds_more(e))
			break;
	}
}

void weft__engine_sleep(struct scheduler *s, int64_t deadline)
{
	enter(s, 1, deadline);
	take_completions(s);
}

/* The next entry to write, as a whole. There is one: a full queue is handed in. */
static INLINE struct io_uring_sqe *next_entry_as_it_is(struct scheduler *s)
{
	struct engine *e = &s->engine;
	struct io_uring_sq *sq = &e->ring.sq;

	/* acquire: the kernel has read the entries that it has moved past */
	while (unlikely(e->sq_tail - io_uring_smp_load_acquire(sq->khead) >=
			sq->ring_entries)) {
		enter(s, 0, WEFT_FOREVER);
		take_completions(s);
	}
	e->n_queued++;
	return &sq->sqes[e->sq_tail++ & sq->ring_mask];
}

/* The next entry, cleared. */
static struct io_uring_sqe *next_entry(struct scheduler *s)
{
	return memset(next_entry_as_it_is(s), 0, sizeof(struct io_uring_sqe));
}

/* --- operations --- */

static int grow_operations(struct engine *e)
{
	uint32_t n = e->n_operations ? e->n_operations * 2 : FIRST_OPERATIONS;
	struct operation *o = realloc(e->operations, n * sizeof *o);

	if (!o)
		return -ENOMEM;
	for (uint32_t i = e->n_operations; i < n; i++)
		o[i] = (struct operation){ .next_free = i + 1 };
	o[n - 1].next_free = e->free_operation;
	e->free_operation = e->n_operations;
	e->operations = o;
	e->n_operations = n;
	return 0;
}

/* Asks the operation back. Its completion, of whichever kind, is the wake. */
static bool cancel_operation(struct scheduler *s, struct waiter *w)
{
	struct ring_wait *wait = (struct ring_wait *)w;
	struct io_uring_sqe *sqe;

	if (wait->is_called_back)
		return false;
	wait->is_called_back = true;
	sqe = next_entry(s);
	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = wait->user_data;
	sqe->user_data = DATA_IGNORED;
	count(s->engine.n_cancels);
	return false;
}

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

static void describe(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for I/O");
}

static const struct wait_kind in_flight = { .cancel = cancel_operation,
					    .describe = describe };

/* By a signal inside of the kernel, which is how a worker is called back: some
 * operations then hand out what is meant for the end of a system call. */
static bool is_cut_short(int res)
{
	enum { ERESTARTSYS = 512, ERESTART_RESTARTBLOCK = 516 };

	return res == -ECANCELED || res == -EINTR ||
	       (res <= -ERESTARTSYS && res >= -ERESTART_RESTARTBLOCK);
}

/* For a tasklet that must not wait: has the kernel do what it can at once, and
 * cancels the operation if that was not enough. It is the thread that waits, for
 * the little that a cancellation takes. */
static int settle_now(struct scheduler *s, struct ring_wait *wait)
{
	struct weft_task *t = wait->waiter.task;

	t->waiter = &wait->waiter;
	poke(t->state, WEFT_BLOCKED);
	weft__engine_poll(s);
	if (peek(t->state) == WEFT_BLOCKED)
		(void)cancel_operation(s, &wait->waiter);
	while (peek(t->state) == WEFT_BLOCKED)
		weft__engine_sleep(s, WEFT_FOREVER);
	weft__queue_remove(s, t); /* it has the thread */
	if (!wait->is_called_back || !is_cut_short(wait->res))
		return 0;
	return t->attention & ATTENTION_BLOCK_TRAP ? -EAGAIN : -EPERM;
}

/* An operation that was called back for a kill or a raise has failed with it,
 * unless it had a result all the same: that is not lost. */
static int outcome(struct scheduler *s, const struct ring_wait *wait)
{
	if (!wait->is_called_back || !is_cut_short(wait->res))
		return 0;
	return weft__interruption(peek(s->current));
}

int weft__engine_await(struct scheduler *s, const struct io_uring_sqe *sqe,
		       int *res, uint32_t *flags)
{
	struct engine *e = &s->engine;
	struct io_uring_sqe *entry;
	struct ring_wait wait;
	struct operation *o;
	uint32_t index;
	bool must_not_wait = weft__may_wait(s);
	int rc;

	if (unlikely(!e->is_open) && (rc = weft__engine_open(s)))
		return rc;
	if (unlikely(e->free_operation == NO_OPERATION) &&
	    (rc = grow_operations(e)))
		return rc;

	index = e->free_operation;
	o = &e->operations[index];
	e->free_operation = o->next_free;
	o->wait = &wait;
	o->fd = sqe->fd;
	++*fd_count(e, o->fd);
	e->n_in_flight++;
	count(e->n_done_operations);

	/* field by field: as a whole it takes three times as long */
	wait.waiter.task = peek(s->current);
	wait.waiter.owner = s;
	wait.waiter.kind = &in_flight;
	wait.waiter.called_off = false;
	wait.is_called_back = false;
	wait.user_data =
		(uint64_t)o->generation << 32 | (index + FIRST_OPERATION);
	entry = next_entry_as_it_is(s);
	*entry = *sqe;
	entry->user_data = wait.user_data;

	if (unlikely(must_not_wait)) {
		rc = settle_now(s, &wait);
	} else {
		weft__block(s, &wait.waiter, true);
		rc = outcome(s, &wait);
	}
	if (unlikely(weft__on_valgrind))
		note_written(sqe, wait.res);
	*res = wait.res;
	*flags = wait.flags;
	return rc;
}

bool weft__engine_is_busy(const struct engine *e, int fd)
{
	return e->is_open && *fd_count(e, fd);
}

/* --- workers --- */

void weft__engine_expect_stuck(struct scheduler *s, enum worker kind, int by)
{
	struct engine *e = &s->engine;
	unsigned limits[N_WORKER_KINDS] = { 0 };

	e->n_stuck[kind] += (unsigned)by;
	if (e->n_stuck[kind] <= e->stuck_allowed[kind] ||
	    weft__engine_open(s) || !e->most_workers[kind])
		return;
	e->stuck_allowed[kind] = 2 * e->n_stuck[kind];
	limits[kind] = e->most_workers[kind] + e->stuck_allowed[kind];
	(void)io_uring_register_iowq_max_workers(&e->ring, limits);
}

/* --- the doorbell --- */

/* Polls the eventfd in the ring. False when there is none to be had. */
static bool arm_eventfd(struct scheduler *s)
{
	struct engine *e = &s->engine;
	struct io_uring_sqe *sqe;

	if (e->eventfd_is_armed)
		return true;
	if (peek(e->eventfd) < 0) {
		int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);

		if (fd < 0)
			return false;
		poke(e->eventfd, fd);
	}
	sqe = next_entry(s);
	io_uring_prep_poll_multishot(sqe, peek(e->eventfd),
				     (unsigned)(POLLIN | EPOLLET));
	sqe->user_data = DATA_EVENTFD;
	e->eventfd_is_armed = true;
	return true;
}

enum doorbell weft__engine_prepare_sleep(struct scheduler *s)
{
	struct engine *e = &s->engine;
	enum wake_policy policy = weft__wake_policy();
	bool by_message;

	if (e->error || weft__engine_open(s))
		return DOORBELL_NONE;
	by_message = can_send_message(peek(e->ring_fd));
	if (by_message && policy != WAKE_EVENTFD && policy != WAKE_MSG_RING_SQE)
		return DOORBELL_MESSAGE;
	if (!arm_eventfd(s))
		return DOORBELL_NONE;
	/* The eventfd is there too, for a waker that has no ring. */
	return policy == WAKE_MSG_RING || policy == WAKE_MSG_RING_SQE
		       ? DOORBELL_SQE
		       : DOORBELL_EVENTFD;
}

void weft__engine_ring_message(struct engine *target)
{
	/* No memory for the message, or a signal: there is no other way to wake
	 * this sleeper, so try until it works. */
	for (unsigned tries = 0;
	     send_message(peek(target->ring_fd), DATA_DOORBELL) < 0 &&
	     (errno == EINTR || errno == EAGAIN || errno == ENOMEM ||
	      errno == EBUSY);
	     tries++)
		weft__be_patient(tries);
}

void weft__engine_ring_eventfd(struct engine *target)
{
	static const uint64_t one = 1;

	while (write(peek(target->eventfd), &one, sizeof one) < 0 &&
	       errno == EINTR)
		;
}

void weft__engine_ring_sqe(struct scheduler *s, struct engine *target)
{
	struct io_uring_sqe *sqe;

	if (s->engine.error || weft__engine_open(s)) {
		weft__engine_ring_eventfd(target);
		return;
	}
	s->engine.message_to = target;
	sqe = next_entry(s);
	sqe->opcode = IORING_OP_MSG_RING;
	sqe->fd = peek(target->ring_fd);
	sqe->off = DATA_DOORBELL;
	sqe->user_data = DATA_MESSAGE;
	/* At once: the message must not wait for this thread's next round, and
	 * if the kernel refuses it, the eventfd has to do. */
	while (s->engine.n_queued) {
		enter(s, 0, WEFT_FOREVER);
		take_completions(s);
	}
}
