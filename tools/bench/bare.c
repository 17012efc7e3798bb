/* SPDX-License-Identifier: MIT */
/*
 * The bare mechanisms that a wake can use, without weft: two threads ping-pong
 * by nothing but a cache line or the system calls. Rings are as weft asks for
 * them: one issuer, deferred task work, a registered descriptor.
 */
#include <errno.h>
#include <liburing.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "bench.h"

/* Newer than the headers of Debian 12. */
enum { REGISTER_SEND_MSG_RING = 31 };

enum { UNTIMED = 16, ENTRIES = 8 };

/* --- without a ring --- */

struct word {
	_Atomic(uint32_t) value;
} __attribute__((aligned(128)));

/* One line that both write in turn: the least that a hand-over can take. Odd
 * values are side 0's to answer. */
static void hand_over(struct word *w, uint32_t n, int which)
{
	for (uint32_t i = 0; i < n; i++) {
		uint32_t mine = 2 * i + (uint32_t)which;

		while (atomic_load_explicit(&w->value, memory_order_acquire) !=
		       mine)
			;
		atomic_store_explicit(&w->value, mine + 1,
				      memory_order_release);
	}
}

static void spin_side(struct run *r, int which, void *shared)
{
	struct word *words = shared;

	hand_over(&words[0], UNTIMED, which);
	run_begin(r);
	hand_over(&words[1], (uint32_t)r->operations, which);
	run_end(r);
}

void run_bare_spin(struct run *r)
{
	struct word words[2] = { 0 };

	if (r->options->cpus[0] == r->options->cpus[1] &&
	    r->options->cpus[0] >= 0)
		run_unavailable("spinning needs a CPU for each thread");
	if (r->operations > INT32_MAX)
		r->operations = INT32_MAX;
	pair_run(r, words, spin_side);
}

static long futex(struct word *w, int operation, uint32_t value)
{
	return syscall(SYS_futex, &w->value, operation, value, NULL, NULL, 0);
}

static void futex_await(struct word *w, uint32_t value)
{
	uint32_t found;

	while ((found = atomic_load_explicit(&w->value,
					     memory_order_acquire)) != value)
		futex(w, FUTEX_WAIT_PRIVATE, found);
}

static void futex_side(struct run *r, int which, void *shared)
{
	struct word *words = shared;
	uint32_t n = (uint32_t)r->operations + UNTIMED;

	for (uint32_t i = 1; i <= n; i++) {
		if (i == UNTIMED + 1)
			run_begin(r);
		if (which == 1)
			futex_await(&words[1], i);
		atomic_store_explicit(&words[!which].value, i,
				      memory_order_release);
		futex(&words[!which], FUTEX_WAKE_PRIVATE, 1);
		if (which == 0)
			futex_await(&words[0], i);
	}
	run_end(r);
}

void run_bare_futex(struct run *r)
{
	struct word words[2] = { 0 };

	if (r->operations > INT32_MAX)
		r->operations = INT32_MAX;
	pair_run(r, words, futex_side);
}

/* --- with a ring on each side --- */

struct end {
	struct io_uring ring;
	int eventfd;
};

struct ends {
	struct end end[2];
	pthread_barrier_t both;
	void (*open)(struct end *mine);
	void (*wake)(struct end *mine, struct end *other);
};

static void submit(struct end *e)
{
	must(io_uring_submit(&e->ring), "io_uring_submit");
}

static void poll_eventfd(struct end *mine)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&mine->ring);

	io_uring_prep_poll_multishot(sqe, mine->eventfd, POLLIN | EPOLLET);
	sqe->user_data = 0;
	submit(mine);
}

/* Sleeps until a wake comes. A completion with user_data 0 is one; others are
 * those of the sender's own operations. */
static void await_wake(struct end *mine)
{
	for (bool woken = false; !woken;) {
		struct io_uring_cqe *cqe;
		bool ended;
		int rc;

		do
			rc = io_uring_wait_cqe(&mine->ring, &cqe);
		while (rc == -EINTR);
		must(rc, "io_uring_wait_cqe");
		must(cqe->res, "a bare wake");
		woken = cqe->user_data == 0;
		ended = !(cqe->flags & IORING_CQE_F_MORE);
		io_uring_cqe_seen(&mine->ring, cqe);
		if (woken && ended && mine->eventfd >= 0)
			poll_eventfd(mine);
	}
}

static void open_ring(struct end *mine)
{
	struct io_uring_params params = {
		.flags =
			IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	int rc;

	may_use_ring();
	rc = io_uring_queue_init_params(ENTRIES, &mine->ring, &params);

	if (rc == -EINVAL)
		run_unavailable("this kernel has no DEFER_TASKRUN");
	need_ring(rc, "io_uring_queue_init_params");
	must(io_uring_register_ring_fd(&mine->ring),
	     "io_uring_register_ring_fd");
	mine->eventfd = -1;
}

static void ring_side(struct run *r, int which, void *shared)
{
	struct ends *e = shared;
	struct end *mine = &e->end[which], *other = &e->end[!which];
	uint64_t n = r->operations + UNTIMED;

	e->open(mine);
	pthread_barrier_wait(&e->both);
	for (uint64_t i = 0; i < n; i++) {
		if (i == UNTIMED)
			run_begin(r);
		if (which == 1)
			await_wake(mine);
		e->wake(mine, other);
		if (which == 0)
			await_wake(mine);
	}
	run_end(r);
}

static void run_rings(struct run *r, struct ends *e)
{
	pthread_barrier_init(&e->both, NULL, 2);
	pair_run(r, e, ring_side);
	pthread_barrier_destroy(&e->both);
	for (int i = 0; i < 2; i++) {
		io_uring_queue_exit(&e->end[i].ring);
		if (e->end[i].eventfd >= 0)
			close(e->end[i].eventfd);
	}
}

static void prepare_message(struct io_uring_sqe *sqe, const struct end *to)
{
	*sqe = (struct io_uring_sqe){ .opcode = IORING_OP_MSG_RING,
				      .fd = to->ring.ring_fd };
}

static void register_message(struct end *mine, struct end *other)
{
	struct io_uring_sqe sqe;

	(void)mine;
	prepare_message(&sqe, other);
	if (syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &sqe,
		    1) == 0)
		return;
	if (errno == EINVAL)
		run_unavailable("this kernel has no SEND_MSG_RING");
	run_fail(-errno, "SEND_MSG_RING");
}

void run_bare_msg_ring(struct run *r)
{
	struct ends e = { .open = open_ring, .wake = register_message };

	run_rings(r, &e);
}

static void submit_message(struct end *mine, struct end *other)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&mine->ring);

	prepare_message(sqe, other);
	sqe->flags = IOSQE_CQE_SKIP_SUCCESS;
	sqe->user_data = 1;
	submit(mine);
}

void run_bare_msg_ring_sqe(struct run *r)
{
	struct ends e = { .open = open_ring, .wake = submit_message };

	run_rings(r, &e);
}

static void open_with_eventfd(struct end *mine)
{
	open_ring(mine);
	mine->eventfd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (mine->eventfd < 0)
		run_fail(-errno, "eventfd");
	poll_eventfd(mine);
}

static void write_eventfd(struct end *mine, struct end *other)
{
	(void)mine;
	if (eventfd_write(other->eventfd, 1) < 0)
		run_fail(-errno, "a write to the eventfd");
}

void run_bare_eventfd(struct run *r)
{
	struct ends e = { .open = open_with_eventfd, .wake = write_eventfd };

	run_rings(r, &e);
}
