/* SPDX-License-Identifier: MIT */
/*
 * Operations in, completions out, and what a thread may sleep in: its io_uring.
 *
 * Nobody outside of this folder sees a ring. The ring belongs to the thread of
 * its scheduler, which alone touches it, and is created when first needed. The
 * engine knows no tasklet: whoever waits is told by a function of his own.
 */
#ifndef WEFT__ENGINE_H
#define WEFT__ENGINE_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct scheduler;

/*
 * One operation, in memory of whoever began it. From the submission to its last
 * completion the memory is the engine's, and its address the operation's name in
 * the kernel.
 */
struct operation {
	/* Called for each completion. Without IORING_CQE_F_MORE in @flags it is
	 * the last, and the memory the owner's again. It may make tasklets
	 * runnable, and call nothing of the engine's. */
	void (*complete)(struct operation *o, int res, unsigned flags);

	/* the engine's */
	struct operation *next, *prev; /* in flight on the same descriptor */
	int fd;
	bool is_called_back; /* the kernel was asked to cancel it */
	bool is_missed;      /* and is to be asked again */
};

/* How others wake a thread that sleeps in its ring. */
enum doorbell {
	DOORBELL_NONE,    /* there is no ring */
	DOORBELL_MESSAGE, /* IORING_REGISTER_SEND_MSG_RING, from any thread */
	DOORBELL_SQE,     /* IORING_OP_MSG_RING, from the ring of the waker */
	DOORBELL_EVENTFD  /* an eventfd that the ring polls */
};

/* Threads of the kernel's, which work on what would wait: those for files and
 * paths, of which there are few, and those for all the rest. */
enum worker { WORKER_BOUNDED, WORKER_UNBOUNDED, N_WORKER_KINDS };

struct engine {
	/* owner only */
	struct io_uring ring;
	bool is_open;
	bool is_refusing; /* the end of its thread, see there */
	bool is_ready;    /* open and not refusing */
	bool eventfd_is_armed;
	int error;    /* of the attempt to open it; 0: not tried or open */
	int enter_fd; /* the registered index, or the descriptor */
	unsigned enter_flags;
	unsigned sq_tail;   /* filled, not yet shown to the kernel */
	unsigned n_queued;  /* filled, not yet handed in */
	size_t n_in_flight; /* operations whose completion is still to come */

	/* Those in flight: the first of each descriptor, at its number plus one;
	 * of descriptors that there is no room for; and those that the kernel
	 * was asked to cancel. */
	struct operation **heads;
	unsigned n_heads;
	struct operation *elsewhere, *called_back;
	size_t n_cancelling; /* requests to cancel that are not answered yet */
	bool missed_one;     /* one of them found nothing */

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

/* Creates the ring, and the eventfd if it needs one, if there is none. 0, or why
 * not, each time. */
int weft__engine_open(struct scheduler *s);

void weft__engine_close(struct scheduler *s);

/* For the end of a thread: from here on, whether operations are refused. */
void weft__engine_refuse(struct engine *e, bool refuse);

/* Has completions signalled to the descriptor of weft_fd(), from now on. */
void weft__engine_signal(struct scheduler *s);

/* --- operations, of an engine that is ready --- */

/* Queues a copy of @sqe. */
void weft__engine_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o);

/* Asks the kernel to cancel it. Its completion, of whichever kind, still comes. */
void weft__engine_cancel(struct engine *e, struct operation *o);

/* The same for all that are in flight on @fd, or at all. */
void weft__engine_cancel_fd(struct engine *e, int fd);
void weft__engine_cancel_all(struct engine *e);

/* Whether operations of this thread are in flight on @fd that were not called
 * back. */
bool weft__engine_is_busy(const struct engine *e, int fd);

/* Counts operations in, or out, that may keep a worker for ever: there are that many
 * more, so that others find one. */
void weft__engine_expect_stuck(struct scheduler *s, enum worker kind, int by);

/* Hands in all that is queued, and takes in what has completed. */
void weft__engine_flush(struct engine *e);

/* --- looking and sleeping --- */

/* Hands in what is queued and takes in what has completed. Never waits. */
void weft__engine_poll(struct scheduler *s);

/* Whether weft__engine_poll() would find something, read from user memory. */
bool weft__engine_has_news(const struct engine *e);

/* Whether operations wait to be handed in, by weft__engine_poll() or by going to
 * sleep. */
static inline bool weft__engine_has_queued(const struct engine *e)
{
	return e->n_queued;
}

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
