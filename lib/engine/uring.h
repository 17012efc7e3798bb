/* SPDX-License-Identifier: MIT */
/*
 * What an engine has of an io_uring; see uring.c.
 */
#ifndef WEFT__URING_H
#define WEFT__URING_H

#include <liburing.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct engine;
struct operation;

/* How other threads wake a thread that sleeps in its engine. */
enum doorbell {
	DOORBELL_NONE,    /* there is no engine */
	DOORBELL_MESSAGE, /* IORING_REGISTER_SEND_MSG_RING, from any thread */
	DOORBELL_SQE,     /* IORING_OP_MSG_RING, from the ring of the waker */
	DOORBELL_EVENTFD  /* an eventfd that the engine watches */
};

/* The kernel's worker threads, which do what would wait: bounded ones for files
 * and paths, of which there are few, and unbounded ones for all the rest. */
enum worker { WORKER_BOUNDED, WORKER_UNBOUNDED, N_WORKER_KINDS };

/* Owner only. */
struct uring {
	struct io_uring ring;
	int enter_fd; /* the registered index, or the descriptor */
	unsigned enter_flags;
	unsigned sq_tail;   /* filled, not yet shown to the kernel */
	unsigned n_refused; /* how often in a row enter was refused */
	bool eventfd_is_armed;
	bool missed_one;     /* a request to cancel found nothing */
	size_t n_cancelling; /* requests to cancel without an answer yet */

	/* how many workers there may be; how many operations in flight may keep
	 * their worker for ever; and for how many of these there are extra
	 * workers */
	unsigned most_workers[N_WORKER_KINDS];
	unsigned n_stuck[N_WORKER_KINDS], stuck_allowed[N_WORKER_KINDS];
};

/* What engine.h says of the functions without `uring`. */
int weft__uring_open(struct engine *e);
void weft__uring_close(struct engine *e);
void weft__uring_renew(struct engine *e);
void weft__uring_signal(struct engine *e, int fd);
bool weft__uring_has_news(const struct engine *e);
void weft__uring_submit(struct engine *e, const struct io_uring_sqe *sqe,
			struct operation *o);
void weft__uring_flush(struct engine *e);
void weft__uring_look(struct engine *e);
void weft__uring_poll(struct engine *e);
void weft__uring_sleep(struct engine *e, int64_t deadline);
enum doorbell weft__uring_prepare_sleep(struct engine *e);
bool weft__uring_knows(const struct engine *e, unsigned opcode);
bool weft__uring_has_multishot_polls(const struct engine *e);
void weft__uring_expect_stuck(struct engine *e, enum worker kind, int by);

/* Asks the kernel to cancel @o. */
void weft__uring_cancel(struct engine *e, struct operation *o);

#endif /* WEFT__URING_H */
