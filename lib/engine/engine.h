/* SPDX-License-Identifier: MIT */
/*
 * What a scheduler does I/O with and may sleep in: its io_uring.
 *
 * Nobody outside of this folder sees a ring. The ring belongs to the thread of
 * its scheduler, which alone touches it, and is created when first needed.
 */
#ifndef WEFT__ENGINE_H
#define WEFT__ENGINE_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scheduler;
struct operation;

/* How others wake a thread that sleeps in its ring. */
enum doorbell {
	DOORBELL_NONE,    /* there is no ring */
	DOORBELL_MESSAGE, /* IORING_REGISTER_SEND_MSG_RING, from any thread */
	DOORBELL_SQE,     /* IORING_OP_MSG_RING, from the ring of the waker */
	DOORBELL_EVENTFD  /* an eventfd that the ring polls */
};

/* Operations in flight by the low bits of their descriptor, so that a close
 * knows when there is nothing to cancel. */
enum { FD_BUCKETS = 1024 };

/* Threads of the kernel's, which work on what would wait: those for files and
 * paths, of which there are few, and those for all the rest. */
enum worker { WORKER_BOUNDED, WORKER_UNBOUNDED, N_WORKER_KINDS };

struct engine {
	/* owner only */
	struct io_uring ring;
	bool is_open;
	int error;    /* of the attempt to open it; 0: not tried or open */
	int enter_fd; /* the registered index, or the descriptor */
	unsigned enter_flags;
	unsigned sq_tail;   /* filled, not yet shown to the kernel */
	unsigned n_queued;  /* filled, not yet handed in */
	size_t n_in_flight; /* operations whose completion is still to come */
	struct operation *operations;
	uint32_t n_operations;
	uint32_t free_operation;
	uint32_t *per_fd; /* FD_BUCKETS counts */
	bool eventfd_is_armed;
	struct engine *message_to; /* whom the last ring message was sent to */

	/* how many workers there may be; of operations that may keep theirs for
	 * ever, how many are in flight, and how many are provided for */
	unsigned most_workers[N_WORKER_KINDS];
	unsigned n_stuck[N_WORKER_KINDS], stuck_allowed[N_WORKER_KINDS];

	/* written when the ring is opened, read by those who ring */
	_Atomic(int) ring_fd;
	_Atomic(int) eventfd;

	/* written by the owner, read by any thread */
	_Atomic(uint64_t) n_done_operations, n_submits, n_cancels, n_strays,
		n_overflows;
};

/* Creates the ring if there is none. 0, or what io_uring_setup said, each
 * time. */
int weft__engine_open(struct scheduler *s);

void weft__engine_close(struct scheduler *s);

/* Has completions signalled to the descriptor of weft_fd(), from now on. */
void weft__engine_signal(struct scheduler *s);

/* Hands an operation in and blocks the tasklet until it has completed. @res
 * and @flags receive the completion's. 0, or a negative errno when the
 * operation was not started. */
int weft__engine_await(struct scheduler *s, const struct io_uring_sqe *sqe,
		       int *res, uint32_t *flags);

/* Whether another operation of this thread may be in flight on @fd. */
bool weft__engine_is_busy(const struct engine *e, int fd);

/* Counts operations in, or out, that may keep a worker for ever: there are that many
 * more, so that others find one. */
void weft__engine_expect_stuck(struct scheduler *s, enum worker kind, int by);

/* Hands in what is queued and takes in what has completed. Never waits. */
void weft__engine_poll(struct scheduler *s);

/* Whether weft__engine_poll() would find something, read from user memory. */
bool weft__engine_has_news(const struct engine *e);

/* Hands in what is queued, sleeps until something completes, the doorbell rings
 * or @deadline comes, and takes in what has completed. */
void weft__engine_sleep(struct scheduler *s, int64_t deadline);

/* Gets ready to be woken in the ring; what others must ring. */
enum doorbell weft__engine_prepare_sleep(struct scheduler *s);

/* Wakes a thread that sleeps in its ring; any thread may. The second goes
 * through the caller's own ring, @s. */
void weft__engine_ring_message(struct engine *target);
void weft__engine_ring_sqe(struct scheduler *s, struct engine *target);
void weft__engine_ring_eventfd(struct engine *target);

#endif /* WEFT__ENGINE_H */
