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
 * user_data is the address of the operation. It is in flight until the kernel's
 * last completion, which comes exactly once, and until then its owner leaves the
 * memory where it is. A request to cancel names it by that address; it is queued
 * before anything that could be begun at the same address later, and the kernel
 * takes requests in their order, so it cannot meet another operation.
 *
 * Operations in flight are linked by descriptor, so that a close cancels its own
 * and no others. The lists' heads lie in an array by number, which grows by
 * mapping more of it: neither beginning an operation nor closing a descriptor
 * gets dearer with what else is in flight.
 *
 * The ring is SINGLE_ISSUER with DEFER_TASKRUN where the kernel has them, so
 * completions never interrupt a tasklet. liburing maps the ring and prepares
 * operations; filling, showing and reaping are done here, over the same fields,
 * because the flags of enter (NO_IOWAIT, the registered index) must be ours.
 *
 * The kernel finds what is to be cancelled in a table whose size follows from that
 * of the completion queue: a ring is set up with a queue of the size that makes the
 * table largest, which is cut down at once where that can be done (Linux 6.13).
 */
#include "engine.h"

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

#include "../debug.h"
#include "../fork.h"
#include "../lock.h"
#include "../park.h"
#include "../scheduler.h"

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
	/* The completion queue at first, for the table of what can be cancelled:
	 * where it can be cut down, as large as makes a difference. */
	CQ_FACTOR_AT_FIRST = 32,
	CQ_FACTOR_FOR_GOOD = 16,
	/* Heads of lists at first, a page of them, and at most: as many as a
	 * process can have descriptors, unless fs.nr_open was raised. */
	FIRST_HEADS = 512,
	MOST_HEADS = 1 << 20,
	/* Entries of one poll: a stream of completions must not hold it up. */
	POLL_ROUNDS = 16,
	/* Kernel threads for what cannot be polled; without a cap, hundreds. */
	MAX_UNBOUND_WORKERS = 64
};

/* user_data below FIRST_OPERATION is not an operation's. */
enum {
	DATA_IGNORED,
	DATA_DOORBELL, /* somebody rang */
	DATA_EVENTFD,  /* somebody rang */
	DATA_CANCEL,   /* the answer to a request to cancel */
	FIRST_OPERATION = 16
};

/* --- what is in flight --- */

/* Where the list of a descriptor begins. */
static INLINE struct operation **head_of(struct engine *e, int fd)
{
	unsigned place = (unsigned)fd + 1; /* -1: of no descriptor */

	return likely(place < e->n_heads) ? &e->heads[place] : &e->elsewhere;
}

static INLINE void push(struct operation **head, struct operation *o)
{
	struct operation *first = *head;

	o->prev = NULL;
	o->next = first;
	if (first)
		first->prev = o;
	*head = o;
}

static INLINE void unlink_operation(struct engine *e, struct operation *o)
{
	if (o->next)
		o->next->prev = o->prev;
	if (o->prev)
		o->prev->next = o->next;
	else if (likely(!o->is_called_back))
		*head_of(e, o->fd) = o->next;
	else
		e->called_back = o->next;
}

/* Those whose descriptors have got a place of their own move there. */
static void move_from_elsewhere(struct engine *e)
{
	struct operation *next;

	for (struct operation *o = e->elsewhere; o; o = next) {
		struct operation **head = head_of(e, o->fd);

		next = o->next;
		if (head == &e->elsewhere)
			continue;
		if (next)
			next->prev = o->prev;
		if (o->prev)
			o->prev->next = next;
		else
			e->elsewhere = next;
		push(head, o);
	}
}

static void unmap_heads(struct engine *e)
{
	if (e->n_heads)
		munmap(e->heads, e->n_heads * sizeof e->heads[0]);
	e->heads = NULL;
	e->n_heads = 0;
}

/* Makes room for descriptor @fd; without memory for it, all goes on without. The
 * memory is mapped, so that only what is used of it takes any. */
static NOINLINE void grow_heads(struct engine *e, int fd)
{
	size_t n = e->n_heads ? e->n_heads : FIRST_HEADS;
	void *heads;

	if (fd < -1 || fd >= MOST_HEADS)
		return;
	while (n <= (size_t)fd + 1)
		n *= 2;
	/* Not by mremap(), of which ThreadSanitizer learns nothing. */
	heads = mmap(NULL, n * sizeof e->heads[0], PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (heads == MAP_FAILED)
		return;
	if (e->n_heads)
		memcpy(heads, e->heads, e->n_heads * sizeof e->heads[0]);
	unmap_heads(e);
	e->heads = heads;
	e->n_heads = (unsigned)n;
	move_from_elsewhere(e);
}

/* --- opening and closing --- */

/* What a ring is asked to be, best first; a kernel that does not know a flag
 * says EINVAL and is asked for less. */
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

/* Whether a completion queue can be cut down: not known, or by trial. */
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

/* A ring whose completion queue has been cut down, but not its table of what can
 * be cancelled. Of a ring with an array of indexes the kernel does not say where
 * that is afterwards. */
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
/* The kernel's part of a ring's end and the next one's beginning at the same
 * address is invisible to ThreadSanitizer: this stands for it. */
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
	rc = io_uring_queue_mmap(fd, &p, ring);
	if (rc) {
		close(fd);
		return rc;
	}
	NOTE_RING(1U);
	/* To be on the safe side, a kernel that has cut a queue down says that it
	 * holds completions back, and goes on saying so until the first one that
	 * it does hold back: the thread would not sleep. Nothing is in flight. */
	IO_URING_WRITE_ONCE(*ring->sq.kflags, 0);
	/* Which of these that call fills in depends on the liburing. */
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

/* Entry i of the queue is always number i of the array, where there is one. */
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

/* What a sleeper in the ring is to be woken by, if there is no other way, is there
 * from the beginning: later there may be no descriptor left for it, when nothing
 * can be done about that. It is there, too, for wakers that have no ring. */
static int open_eventfd(struct engine *e, int ring_fd)
{
	int fd = -1;

	if (!is_rung_by_message(ring_fd)) {
		fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (fd < 0)
			return -errno;
	}
	poke(e->eventfd, fd);
	return 0;
}

static int open_ring(struct engine *e)
{
	unsigned workers[2] = { 0, MAX_UNBOUND_WORKERS };
	struct io_uring_getevents_arg arg = { 0 };
	struct io_uring *ring = &e->ring;
	int rc;

	rc = set_up(ring);
	if (rc)
		return rc;
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
	rc = open_eventfd(e, ring->ring_fd);
	if (rc)
		goto exit_ring;
	e->is_open = true;
	e->is_ready = !e->is_refusing;
	poke(e->ring_fd, ring->ring_fd);
	memset(e->stuck_allowed, 0, sizeof e->stuck_allowed);
	return 0;

exit_ring:
	NOTE_RING(-1U);
	io_uring_queue_exit(ring);
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
		unmap_heads(e);
	}
	*e = (struct engine){ .ring_fd = -1, .eventfd = -1 };
}

void weft__engine_refuse(struct engine *e, bool refuse)
{
	e->is_refusing = refuse;
	e->is_ready = e->is_open && !refuse;
}

/* --- fork --- */

static void close_of(_Atomic(int) *descriptor)
{
	if (peek(*descriptor) >= 0)
		close(peek(*descriptor));
	poke(*descriptor, -1);
}

void weft__engine_disown(struct scheduler *s)
{
	close_of(&s->engine.ring_fd);
	close_of(&s->engine.eventfd);
}

/* The operations are the parent's: here they are as good as cancelled. */
static void end_list(struct operation *o)
{
	struct operation *next;

	for (; o; o = next) {
		next = o->next;
		o->is_called_back = true;
		o->complete(o, -ECANCELED, 0);
	}
}

void weft__engine_renew(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (!e->is_open)
		return;
	weft__engine_disown(s);
	for (unsigned i = 0; i < e->n_heads; i++)
		end_list(e->heads[i]);
	end_list(e->elsewhere);
	end_list(e->called_back);
	unmap_heads(e);
	e->elsewhere = e->called_back = NULL;
	e->n_cancelling = 0;
	e->missed_one = false;
	e->n_in_flight = 0;
	e->n_queued = 0;
	e->is_open = e->is_ready = false;
	e->eventfd_is_armed = false;
}

/* --- completions --- */

static INLINE void complete(struct engine *e, const struct io_uring_cqe *cqe)
{
	struct operation *o = (struct operation *)(uintptr_t)cqe->user_data;
	unsigned flags = cqe->flags;

	if (likely(!(flags & IORING_CQE_F_MORE))) {
		unlink_operation(e, o);
		e->n_in_flight--;
	}
	o->complete(o, cqe->res, flags);
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

/* -ENOENT: it has completed, or the kernel is just moving it from one place to
 * another, as a connect(2) that is tried anew each time its socket seems ready. */
static void cancel_answered(struct engine *e, int res)
{
	e->n_cancelling--;
	if (res == -ENOENT)
		e->missed_one = true;
}

static void take_completions(struct engine *e)
{
	struct io_uring_cq *cq = &e->ring.cq;
	unsigned head = *cq->khead; /* ours alone to write */
	/* acquire: the entries that the kernel wrote before it moved the tail */
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

/* Shows the kernel what is queued, and waits for @want completions. */
static void enter(struct engine *e, unsigned want, int64_t deadline)
{
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

/* For another operation, without entering the kernel. */
static INLINE bool has_room(const struct engine *e)
{
	/* acquire: the kernel has read the entries that it has moved past */
	return e->sq_tail - io_uring_smp_load_acquire(e->ring.sq.khead) <
	       e->ring.sq.ring_entries;
}

static void ask_for(struct engine *e, struct operation *o);

/* Asks again for those that the kernel did not find, when it has answered for all:
 * what has completed is not among them then. */
static NOINLINE void ask_again(struct engine *e)
{
	if (e->n_cancelling)
		return;
	e->missed_one = false;
	/* Making room may take completions in, and change the list. */
	for (struct operation *o = e->called_back; o; o = o->next)
		o->is_missed = true;
	for (struct operation *o = e->called_back; o;) {
		struct operation *next = o->next;
		bool had_room = has_room(e);

		if (o->is_missed) {
			o->is_missed = false;
			ask_for(e, o);
			if (!had_room)
				next = e->called_back;
		}
		o = next;
	}
}

void weft__engine_poll(struct scheduler *s)
{
	struct engine *e = &s->engine;

	if (!e->is_open)
		return;
	if (unlikely(e->missed_one))
		ask_again(e);
	for (int i = 0; i < POLL_ROUNDS; i++) {
		if (kernel_flags(e) & IORING_SQ_CQ_OVERFLOW)
			count(e->n_overflows);
		if (e->n_queued || kernel_holds_more(e))
			enter(e, 0, WEFT_FOREVER);
		take_completions(e);
		if (!e->n_queued && !kernel_holds_more(e))
			break;
	}
}

void weft__engine_sleep(struct scheduler *s, int64_t deadline)
{
	struct engine *e = &s->engine;

	if (unlikely(e->missed_one))
		ask_again(e);
	enter(e, 1, deadline);
	take_completions(e);
}

void weft__engine_flush(struct engine *e)
{
	while (e->n_queued) {
		enter(e, 0, WEFT_FOREVER);
		take_completions(e);
	}
}

/* The next entry to write, as a whole. There is one: a full queue is handed in. */
static INLINE struct io_uring_sqe *next_entry_as_it_is(struct engine *e)
{
	struct io_uring_sq *sq = &e->ring.sq;

	while (unlikely(!has_room(e))) {
		enter(e, 0, WEFT_FOREVER);
		take_completions(e);
	}
	e->n_queued++;
	return &sq->sqes[e->sq_tail++ & sq->ring_mask];
}

/* The next entry, cleared. */
static struct io_uring_sqe *next_entry(struct engine *e)
{
	return memset(next_entry_as_it_is(e), 0, sizeof(struct io_uring_sqe));
}

/* --- operations --- */

void weft__engine_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o)
{
	struct io_uring_sqe *entry = next_entry_as_it_is(e);
	int fd = sqe->fd;

	*entry = *sqe;
	entry->user_data = (uint64_t)(uintptr_t)o;
	if (unlikely((unsigned)fd + 1 >= e->n_heads))
		grow_heads(e, fd);
	o->fd = fd;
	o->is_called_back = false;
	push(head_of(e, fd), o);
	e->n_in_flight++;
	count(e->n_done_operations);
}

static void ask_for(struct engine *e, struct operation *o)
{
	struct io_uring_sqe *sqe = next_entry(e);

	sqe->opcode = IORING_OP_ASYNC_CANCEL;
	sqe->fd = -1;
	sqe->addr = (uint64_t)(uintptr_t)o;
	sqe->user_data = DATA_CANCEL;
	e->n_cancelling++;
	count(e->n_cancels);
}

void weft__engine_cancel(struct engine *e, struct operation *o)
{
	if (o->is_called_back)
		return;
	/* First, for it may complete while room is made in the queue. Then the
	 * request finds nothing. */
	unlink_operation(e, o);
	o->is_called_back = true;
	push(&e->called_back, o);
	ask_for(e, o);
}

/* One that is in flight on @fd and was not called back; NULL if there is none. */
static struct operation *find_on(const struct engine *e, int fd)
{
	unsigned place = (unsigned)fd + 1;
	struct operation *o;

	if (likely(place < e->n_heads))
		return e->heads[place];
	for (o = e->elsewhere; o && o->fd != fd; o = o->next)
		;
	return o;
}

bool weft__engine_is_busy(const struct engine *e, int fd)
{
	return fd >= 0 && find_on(e, fd);
}

void weft__engine_cancel_fd(struct engine *e, int fd)
{
	struct operation *o;

	while ((o = find_on(e, fd)))
		weft__engine_cancel(e, o);
}

void weft__engine_cancel_all(struct engine *e)
{
	for (unsigned i = 0; i < e->n_heads; i++)
		while (e->heads[i])
			weft__engine_cancel(e, e->heads[i]);
	while (e->elsewhere)
		weft__engine_cancel(e, e->elsewhere);
}

/* --- workers --- */

void weft__engine_expect_stuck(struct scheduler *s, enum worker kind, int by)
{
	struct engine *e = &s->engine;
	unsigned limits[N_WORKER_KINDS] = { 0 };

	e->n_stuck[kind] += (unsigned)by;
	if (by < 0 || e->n_stuck[kind] <= e->stuck_allowed[kind] ||
	    weft__engine_open(s) || !e->most_workers[kind])
		return;
	e->stuck_allowed[kind] = 2 * e->n_stuck[kind];
	limits[kind] = e->most_workers[kind] + e->stuck_allowed[kind];
	(void)io_uring_register_iowq_max_workers(&e->ring, limits);
}

/* --- the doorbell --- */

/* Polls the eventfd in the ring. */
static void arm_eventfd(struct engine *e)
{
	struct io_uring_sqe *sqe;

	if (e->eventfd_is_armed)
		return;
	sqe = next_entry(e);
	io_uring_prep_poll_multishot(sqe, peek(e->eventfd),
				     (unsigned)(POLLIN | EPOLLET));
	sqe->user_data = DATA_EVENTFD;
	e->eventfd_is_armed = true;
}

enum doorbell weft__engine_prepare_sleep(struct scheduler *s)
{
	struct engine *e = &s->engine;
	enum wake_policy policy = weft__wake_policy();

	if (e->error || weft__engine_open(s))
		return DOORBELL_NONE;
	if (is_rung_by_message(peek(e->ring_fd)))
		return DOORBELL_MESSAGE;
	arm_eventfd(e);
	return policy == WAKE_MSG_RING || policy == WAKE_MSG_RING_SQE
		       ? DOORBELL_SQE
		       : DOORBELL_EVENTFD;
}

/* There is no other way to wake that sleeper. (Without a descriptor, it is the
 * parent's, and this is a child of fork().) */
static void require_rung(long rc, int fd)
{
	REQUIRE(rc >= 0 || (errno != EBADF && errno != EBADFD) || fd < 0,
		"a thread cannot be woken: somebody has closed a descriptor "
		"that is weft's, or a thread has descriptors of its own");
}

void weft__engine_ring_message(struct engine *target)
{
	int fd = peek(target->ring_fd);
	int rc;

	/* No memory for the message, or a signal: try until it works. */
	for (unsigned tries = 0; (rc = send_message(fd, DATA_DOORBELL)) < 0 &&
				 (errno == EINTR || errno == EAGAIN ||
				  errno == ENOMEM || errno == EBUSY);
	     tries++)
		weft__be_patient(tries);
	require_rung(rc, fd);
}

void weft__engine_ring_eventfd(struct engine *target)
{
	static const uint64_t one = 1;
	int fd = peek(target->eventfd);
	ssize_t rc;

	while ((rc = write(fd, &one, sizeof one)) < 0 && errno == EINTR)
		;
	require_rung(rc, fd);
}

/* A message that this ring sends, on the sender's stack. */
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

void weft__engine_ring_sqe(struct scheduler *s, struct engine *target)
{
	struct engine *e = &s->engine;
	struct message m = { .operation.complete = message_sent };
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING,
				    .fd = peek(target->ring_fd),
				    .off = DATA_DOORBELL };

	if (e->error || weft__engine_open(s)) {
		weft__engine_ring_eventfd(target);
		return;
	}
	weft__engine_submit(e, &sqe, &m.operation);
	/* It must not wait for this thread's next round, and if the kernel
	 * refuses it, the eventfd has to do: while the target is sure to have
	 * one, which is only as long as the caller is announced [park.2]. */
	weft__engine_flush(e);
	while (!m.is_sent) {
		enter(e, 1, WEFT_FOREVER);
		take_completions(e);
	}
	if (m.res < 0)
		weft__engine_ring_eventfd(target);
}
