/* SPDX-License-Identifier: MIT */
/*
 * An entry of the submission queue is changed before the kernel sees it, and a
 * completion before the engine does: both queues are memory of the process. An entry
 * whose completion is to be changed too gets another user_data, by which the
 * completion is known.
 *
 * Completions are held back by showing the engine an older tail of the queue. The
 * kernel keeps a tail of its own, and counts what is held back as completed: so a
 * wait returns at once. As a kernel that has more to give does, the ring then says so
 * by a flag.
 */
#include "faults.h"

#include <errno.h>
#include <liburing.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>

/* What the library calls; programs that use this are linked so. */
int __real_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned want,
			   unsigned flags, sigset_t *arg, size_t size);
int __real_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring);
void __real_io_uring_queue_exit(struct io_uring *ring);
int __real_io_uring_register_iowq_max_workers(struct io_uring *ring,
					      unsigned *values);
int __real_io_uring_register_ring_fd(struct io_uring *ring);
int __real_io_uring_ring_dontfork(struct io_uring *ring);
int __real_io_uring_register_eventfd(struct io_uring *ring, int fd);
struct io_uring_probe *__real_io_uring_get_probe_ring(struct io_uring *ring);
int __real_eventfd(unsigned value, int flags);
long __real_syscall(long number, ...);
int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned want,
			   unsigned flags, sigset_t *arg, size_t size);
int __wrap_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring);
void __wrap_io_uring_queue_exit(struct io_uring *ring);
int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring,
					      unsigned *values);
int __wrap_io_uring_register_ring_fd(struct io_uring *ring);
int __wrap_io_uring_ring_dontfork(struct io_uring *ring);
int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd);
struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring);
int __wrap_eventfd(unsigned value, int flags);
long __wrap_syscall(long number, ...);

enum { REGISTER_SEND_MSG_RING = 31, REGISTER_RESIZE_RINGS = 33 };

/* --- which faults there are --- */

enum { MOST_FAULTS = 16, ERESTARTSYS = 512 };

/* Written while no other thread has a ring. The helpers of a thread that has ended
 * may be about to send it a message still, so all of it is atomic: whether they meet
 * what was or what is to be does not matter. */
static struct {
	_Atomic(enum fault_site) site;
	_Atomic(int) value;
	_Atomic(unsigned) from, n;
	_Atomic(unsigned) opcode;
} table[MOST_FAULTS];
static _Atomic(size_t) n_table;
static _Atomic(uint64_t) seed;
static _Atomic(unsigned) random_sites, random_one_in;

static _Atomic(unsigned) n_met[MOST_FAULTS]; /* calls that a fault waits for */
static _Atomic(unsigned) n_of_site[N_FAULT_SITES];
static _Atomic(unsigned) n_epochs, n_streams;

static void begin(void)
{
	for (size_t i = 0; i < MOST_FAULTS; i++)
		n_met[i] = 0;
	for (size_t i = 0; i < N_FAULT_SITES; i++)
		n_of_site[i] = 0;
	n_streams = 0;
	n_epochs++;
}

void inject(const struct fault *faults, size_t n)
{
	if (n > MOST_FAULTS)
		n = MOST_FAULTS;
	n_table = 0;
	random_sites = 0;
	for (size_t i = 0; i < n; i++) {
		table[i].site = faults[i].site;
		table[i].value = faults[i].value;
		table[i].from = faults[i].from;
		table[i].n = faults[i].n;
		table[i].opcode = faults[i].opcode;
	}
	n_table = n;
	begin();
}

void inject_at_random(uint64_t random_seed, unsigned sites, unsigned one_in)
{
	n_table = 0;
	seed = random_seed;
	random_one_in = one_in;
	random_sites = sites;
	begin();
}

unsigned n_injected(enum fault_site site)
{
	return n_of_site[site];
}

/* What the layer knows of the calling thread. */
enum { MOST_MARKED = 64 };

static __thread struct {
	unsigned epoch;
	uint64_t random;

	struct io_uring *ring; /* NULL: none */
	bool is_entered;
	unsigned seen_sq; /* the entries before that have been looked at */
	unsigned seen_cq;

	unsigned held_tail; /* what the kernel wrote */
	unsigned held_for;  /* enters; 0: nothing is held back */
	unsigned held_flag;

	struct marked {
		uint64_t user_data;
		int value;
		bool is_used;
	} marked[MOST_MARKED];
} my;

/* A counter in steps of the golden ratio, well mixed (splitmix64). */
static uint64_t draw(void)
{
	uint64_t z;

	if (my.epoch != n_epochs) {
		my.epoch = n_epochs;
		my.random = seed ^ (n_streams++ + 1) * 0xd1342543de82ef95u;
	}
	z = my.random += 0x9e3779b97f4a7c15u;
	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

static int draw_below(unsigned n)
{
	return (int)((draw() >> 32) * n >> 32);
}

/* Whether an operation waits again if it is told that it would have to. */
static bool may_be_put_off(unsigned opcode)
{
	switch (opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case IORING_OP_RECV:
	case IORING_OP_SEND:
	case IORING_OP_RECVMSG:
	case IORING_OP_SENDMSG:
	case IORING_OP_ACCEPT:
		return true;
	default:
		return false;
	}
}

static int draw_value(enum fault_site site, unsigned opcode)
{
	static const int of_enter[] = { -EAGAIN, -EBUSY, -EINTR, -ENOMEM };
	static const int of_operation[] = { -EINTR, -ERESTARTSYS, -EAGAIN,
					    -ECANCELED };
	static const int of_cancel[] = { -ENOENT, -EALREADY };

	switch (site) {
	case AT_MESSAGE:
	case AT_ENTER:
		return of_enter[draw_below(4)];
	case AT_OPERATION:
		if (opcode == IORING_OP_MSG_RING)
			return -ENOMEM;
		return may_be_put_off(opcode) ? of_operation[draw_below(3)]
					      : of_operation[draw_below(2)];
	case AT_CANCEL:
		return of_cancel[draw_below(2)];
	case AT_LATENESS:
	case AT_OVERFLOW:
		return 1 + draw_below(40);
	case AT_SUBMISSION:
		return 1 + draw_below(8);
	default:
		return 1 + draw_below(100);
	}
}

/* Whether the call that is being made meets a fault. */
static bool meets(enum fault_site site, unsigned opcode, int *value)
{
	for (size_t i = 0; i < n_table; i++) {
		unsigned only = table[i].opcode;
		unsigned from = table[i].from;
		unsigned number;

		if (table[i].site != site || (only && only != opcode))
			continue;
		number = n_met[i]++;
		if (number < from || number - from >= table[i].n)
			continue;
		*value = table[i].value;
		n_of_site[site]++;
		return true;
	}
	if (!(random_sites >> site & 1) || draw_below(random_one_in))
		return false;
	*value = draw_value(site, opcode);
	n_of_site[site]++;
	return true;
}

/* --- operations, before the kernel sees them --- */

/* No address of the library's is below, and no number of its own above. */
static const uint64_t MARK = 0xfa17ULL << 48;

/* False if very many are marked already. */
static bool mark(struct io_uring_sqe *sqe, int value)
{
	for (unsigned i = 0; i < MOST_MARKED; i++) {
		struct marked *m = &my.marked[i];

		if (m->is_used)
			continue;
		*m = (struct marked){ sqe->user_data, value, true };
		sqe->user_data = MARK | i;
		return true;
	}
	return false;
}

/* The kernel's internal code for an interrupted call, which it translates for
 * sockets. */
static int as_told(unsigned opcode, int value)
{
	switch (opcode) {
	case IORING_OP_ACCEPT:
	case IORING_OP_CONNECT:
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
		return value == -ERESTARTSYS ? -EINTR : value;
	default:
		return value;
	}
}

static void fail_operation(struct io_uring_sqe *sqe, int value)
{
	struct io_uring_sqe nop = { .opcode = IORING_OP_NOP,
				    .user_data = sqe->user_data };

	/* A close that fails has closed, unless it was never begun. */
	if (sqe->opcode == IORING_OP_CLOSE && value != -ECANCELED &&
	    value != -EAGAIN)
		(void)mark(sqe, value);
	else if (mark(&nop, as_told(sqe->opcode, value)))
		*sqe = nop;
}

static void shorten(struct io_uring_sqe *sqe, int value)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_WRITE:
	case IORING_OP_RECV:
	case IORING_OP_SEND:
	case IORING_OP_READV:
	case IORING_OP_WRITEV:
	case IORING_OP_SPLICE:
	case IORING_OP_TEE:
		if (sqe->len > (unsigned)value)
			sqe->len = (unsigned)value;
		break;
	default:
		break;
	}
}

static void make_one_shot(struct io_uring_sqe *sqe)
{
	enum {
		ACCEPT_MULTISHOT = 1,
		RECV_MULTISHOT = 2,
		POLL_MULTI = 1,
		OP_READ_MULTISHOT = 49
	};

	switch (sqe->opcode) {
	case IORING_OP_ACCEPT:
		sqe->ioprio &= (uint16_t)~ACCEPT_MULTISHOT;
		break;
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
		sqe->ioprio &= (uint16_t)~RECV_MULTISHOT;
		break;
	case IORING_OP_POLL_ADD:
		sqe->len &= ~(unsigned)POLL_MULTI;
		break;
	case OP_READ_MULTISHOT:
		sqe->opcode = IORING_OP_READ;
		break;
	default:
		break;
	}
}

/* Answers that say that it came too late are given beside the cancelling. */
static void spoil_request(struct io_uring_sqe *sqe, int value)
{
	if (mark(sqe, value) && value == -ENOENT)
		sqe->addr = MARK | MOST_MARKED;
}

static void spoil(struct io_uring_sqe *sqe)
{
	unsigned opcode = sqe->opcode;
	int value;

	if (opcode == IORING_OP_ASYNC_CANCEL) {
		if (meets(AT_CANCEL, opcode, &value))
			spoil_request(sqe, value);
		return;
	}
	if (meets(AT_OPERATION, opcode, &value)) {
		fail_operation(sqe, value);
		return;
	}
	if (meets(AT_LENGTH, opcode, &value))
		shorten(sqe, value);
	if (meets(AT_MULTISHOT, opcode, &value))
		make_one_shot(sqe);
}

static void spoil_entries(void)
{
	struct io_uring_sq *sq = &my.ring->sq;

	/* those that were left over have been looked at */
	for (; my.seen_sq != *sq->ktail; my.seen_sq++)
		spoil(&sq->sqes[my.seen_sq & sq->ring_mask]);
}

/* --- completions, before the engine sees them --- */

static struct io_uring_cqe *completion(unsigned number)
{
	struct io_uring_cq *cq = &my.ring->cq;

	return &cq->cqes[number & cq->ring_mask];
}

static void restore(struct io_uring_cqe *cqe)
{
	struct marked *m;

	if (cqe->user_data >> 48 != MARK >> 48 ||
	    (cqe->user_data & ~MARK) >= MOST_MARKED)
		return;
	m = &my.marked[cqe->user_data & ~MARK];
	cqe->user_data = m->user_data;
	cqe->res = m->value;
	m->is_used = false;
}

static void exchange(struct io_uring_cqe *a, struct io_uring_cqe *b)
{
	struct io_uring_cqe was = *a;

	/* not those of one operation */
	if (a->user_data == b->user_data)
		return;
	*a = *b;
	*b = was;
}

static void look_at_completions(void)
{
	unsigned first = my.seen_cq;
	unsigned tail = io_uring_smp_load_acquire(my.ring->cq.ktail);
	int value;

	for (; my.seen_cq != tail; my.seen_cq++)
		restore(completion(my.seen_cq));
	if (tail - first < 2 || !meets(AT_ORDER, 0, &value))
		return;
	for (; tail - first >= 2; first += 2)
		exchange(completion(first), completion(first + 1));
}

static void hold_back(void)
{
	struct io_uring_cq *cq = &my.ring->cq;
	int value;

	if (!my.held_for && *cq->khead != *cq->ktail) {
		if (meets(AT_LATENESS, 0, &value))
			my.held_flag = IORING_SQ_TASKRUN;
		else if (meets(AT_OVERFLOW, 0, &value))
			my.held_flag = IORING_SQ_CQ_OVERFLOW;
		else
			return;
		my.held_for = (unsigned)value + 1;
	}
	if (!my.held_for || --my.held_for == 0)
		return;
	my.held_tail = *cq->ktail;
	io_uring_smp_store_release(cq->ktail, *cq->khead);
	__atomic_fetch_or(my.ring->sq.kflags, my.held_flag, __ATOMIC_RELAXED);
}

/* The kernel may have completed more meanwhile, and so have shown all. */
static void let_go(void)
{
	struct io_uring_cq *cq = &my.ring->cq;

	if (!my.held_for)
		return;
	if ((int)(my.held_tail - *cq->ktail) > 0)
		io_uring_smp_store_release(cq->ktail, my.held_tail);
	__atomic_fetch_and(my.ring->sq.kflags, ~my.held_flag, __ATOMIC_RELAXED);
}

/* --- entering --- */

static int hand_in(unsigned fd, unsigned to_submit, unsigned want,
		   unsigned flags, sigset_t *arg, size_t size)
{
	int value;

	/* The kernel does not wait if it has not taken all. */
	if (to_submit > 1 && meets(AT_SUBMISSION, 0, &value)) {
		unsigned n = (unsigned)value < to_submit ? (unsigned)value
							 : to_submit - 1;

		return __real_io_uring_enter2(
			fd, n, 0, flags & ~IORING_ENTER_GETEVENTS, arg, size);
	}
	return __real_io_uring_enter2(fd, to_submit, want, flags, arg, size);
}

int __wrap_io_uring_enter2(unsigned fd, unsigned to_submit, unsigned want,
			   unsigned flags, sigset_t *arg, size_t size)
{
	enum fault_site site = my.is_entered ? AT_ENTER : AT_FIRST_ENTER;
	int rc;

	if (!my.ring)
		return __real_io_uring_enter2(fd, to_submit, want, flags, arg,
					      size);
	my.is_entered = true;
	if (meets(site, 0, &rc))
		return rc;
	let_go();
	spoil_entries();
	rc = hand_in(fd, to_submit, want, flags, arg, size);
	look_at_completions();
	hold_back();
	return rc;
}

/* --- opening and closing --- */

int __wrap_io_uring_queue_mmap(int fd, struct io_uring_params *p,
			       struct io_uring *ring)
{
	int rc;

	if (meets(AT_MAP, 0, &rc))
		return rc;
	rc = __real_io_uring_queue_mmap(fd, p, ring);
	if (rc)
		return rc;
	my.ring = ring;
	my.is_entered = false;
	my.seen_sq = 0; /* nobody has written to a ring that begins */
	my.seen_cq = 0;
	my.held_for = 0;
	memset(my.marked, 0, sizeof my.marked);
	return 0;
}

void __wrap_io_uring_queue_exit(struct io_uring *ring)
{
	if (my.ring == ring)
		my.ring = NULL;
	__real_io_uring_queue_exit(ring);
}

int __wrap_io_uring_register_iowq_max_workers(struct io_uring *ring,
					      unsigned *values)
{
	int rc;

	return meets(AT_WORKERS, 0, &rc)
		       ? rc
		       : __real_io_uring_register_iowq_max_workers(ring,
								   values);
}

int __wrap_io_uring_register_ring_fd(struct io_uring *ring)
{
	int rc;

	return meets(AT_RING_FD, 0, &rc)
		       ? rc
		       : __real_io_uring_register_ring_fd(ring);
}

int __wrap_io_uring_ring_dontfork(struct io_uring *ring)
{
	int rc;

	return meets(AT_DONTFORK, 0, &rc) ? rc
					  : __real_io_uring_ring_dontfork(ring);
}

int __wrap_io_uring_register_eventfd(struct io_uring *ring, int fd)
{
	int rc;

	return meets(AT_SIGNAL, 0, &rc)
		       ? rc
		       : __real_io_uring_register_eventfd(ring, fd);
}

struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring)
{
	int value;

	return meets(AT_PROBE, 0, &value)
		       ? NULL
		       : __real_io_uring_get_probe_ring(ring);
}

static int failed(int error)
{
	errno = -error;
	return -1;
}

int __wrap_eventfd(unsigned value, int flags)
{
	int rc;

	return meets(AT_EVENTFD, 0, &rc) ? failed(rc)
					 : __real_eventfd(value, flags);
}

/* The place of a system call that the library makes past liburing. */
static bool is_of_ring(long number, long opcode, enum fault_site *site)
{
	if (number == __NR_io_uring_setup)
		*site = AT_SETUP;
	else if (number != __NR_io_uring_register)
		return false;
	else if (opcode == REGISTER_RESIZE_RINGS)
		*site = AT_RESIZE;
	else if (opcode == REGISTER_SEND_MSG_RING)
		*site = AT_MESSAGE;
	else
		return false;
	return true;
}

long __wrap_syscall(long number, ...)
{
	enum fault_site site;
	va_list list;
	long a[6];
	int rc;

	va_start(list, number);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(list, long);
	va_end(list);
	if (is_of_ring(number, a[1], &site) && meets(site, 0, &rc))
		return failed(rc);
	return __real_syscall(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}
