/* SPDX-License-Identifier: MIT */
/*
 * Operations in, completions out, and what a thread can sleep in.
 *
 * There are two engines: io_uring (uring.c), and one for where that is refused
 * (poll.c). A thread has one of them. No code outside of this folder sees which:
 * an operation is described by an io_uring_sqe in any case. An engine belongs to
 * one thread, and no other thread touches it. It is opened when it is first
 * needed. It knows no tasklet: each operation has a function that says what its
 * completion means.
 */
#ifndef WEFT__ENGINE_H
#define WEFT__ENGINE_H

#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/flight.h"
#include "engine/poll.h"
#include "engine/uring.h"

/* WEFT_ENGINE: which engine threads have. */
enum engine_policy {
	ENGINE_AUTO, /* io_uring, or poll if that cannot be had */
	ENGINE_URING,
	ENGINE_POLL,
	N_ENGINE_POLICIES
};

enum engine_policy weft__engine_policy(void);

/* WEFT_WAKE: how threads are woken. */
enum wake_policy {
	WAKE_AUTO,
	WAKE_FUTEX,
	WAKE_MSG_RING,
	WAKE_EVENTFD,
	WAKE_MSG_RING_SQE,
	N_WAKE_POLICIES
};

enum wake_policy weft__wake_policy(void);

/* Reads WEFT_ENGINE and WEFT_WAKE; once per process. */
void weft__engine_read_environment(void);

struct engine {
	/* owner only */
	bool is_open;
	bool is_poll;      /* decided for poll, also before it is open */
	bool is_refusing;  /* its thread ends, see weft__engine_refuse() */
	bool is_ready;     /* open and not refusing */
	int signal_fd;     /* of weft_fd(), see weft__engine_watch(); or -1 */
	int error;         /* of opening it; 0: not tried or open */
	int refusal;       /* why there is no io_uring; 0: not tried, or there
			    * is one */
	unsigned n_queued; /* operations not yet handed to the kernel */
	struct flight flight;
	struct uring uring; /* of this folder alone, as the next one */
	struct poller poller;

	/* written when the engine is opened, read by threads that ring */
	_Atomic(int) ring_fd;
	_Atomic(int) eventfd;

	/* written by the owner, read by any thread */
	_Atomic(uint64_t) n_done_operations, n_submits, n_cancels, n_strays,
		n_overflows, n_submit_retries, n_operation_retries,
		n_cancel_misses;
};

/* Makes an engine that is not open. A thread that reads its descriptors without
 * any order finds none. */
void weft__engine_init(struct engine *e);

/* The engine of a thread that never has one. */
#define ENGINE_NEVER                                                  \
	{                                                             \
		.error = -ENXIO, .refusal = -ENXIO, .ring_fd = -1,    \
		.eventfd = -1, .signal_fd = -1, .poller.epoll_fd = -1 \
	}

/* Opens the engine, and the eventfd if it needs one, unless that is done. 0, or
 * why it failed, each time. */
int weft__engine_open(struct engine *e);

/* Whether the thread has an io_uring, or gets one now. */
bool weft__engine_has_ring(struct engine *e);

/* Whether the thread's operations are done by the poll engine. If that is not
 * decided yet, this decides. */
bool weft__engine_is_poll(struct engine *e);

void weft__engine_close(struct engine *e);

/* For the end of a thread: whether operations are refused from here on. */
void weft__engine_refuse(struct engine *e, bool refuse);

/* For another event loop, which is to be told by the eventfd @event_fd: returns
 * the descriptor that is readable when that is, and when something completes.
 * It is @event_fd itself, or one to be closed beside it; or a negative errno. */
int weft__engine_watch(struct engine *e, int event_fd);

/* In a child of fork(), with another eventfd under the same number. */
int weft__engine_renew_watch(struct engine *e, int event_fd);

/* When weft__engine_poll() will find something at the latest, which the kernel
 * does not tell of; WEFT_FOREVER if there is no such thing. */
static inline int64_t weft__engine_deadline(const struct engine *e)
{
	return e->is_open && e->is_poll ? weft__poller_deadline(e) : INT64_MAX;
}

/* In a child of fork(): completes what was in flight as cancelled. Another ring
 * is created when one is needed. */
void weft__engine_renew(struct engine *e);

/* The same for a thread that is not in the child: closes our copies of its
 * descriptors. */
void weft__engine_disown(struct engine *e);

/* --- questions, for the owner --- */

/* Whether operations are taken. */
static inline bool weft__engine_is_ready(const struct engine *e)
{
	return e->is_ready;
}

/* Whether operations are refused because the thread ends. */
static inline bool weft__engine_is_refusing(const struct engine *e)
{
	return e->is_refusing;
}

/* Whether completions are still to come. */
static inline bool weft__engine_is_serving(const struct engine *e)
{
	return e->flight.n;
}

/* Whether queued operations wait to be handed in, by weft__engine_poll() or by
 * going to sleep. */
static inline bool weft__engine_has_queued(const struct engine *e)
{
	return e->n_queued;
}

/* Whether the engine, which is open, has the operation. */
static inline bool weft__engine_knows(const struct engine *e, unsigned opcode)
{
	return e->is_poll || weft__uring_knows(e, opcode);
}

/* Whether weft__engine_poll() would find something: a look at user memory. */
static inline bool weft__engine_has_news(const struct engine *e)
{
	if (!e->is_open)
		return false;
	return unlikely(e->is_poll) ? weft__poller_has_news(e)
				    : weft__uring_has_news(e);
}

/* --- operations, of an engine that is ready --- */

/* Begins what @sqe says, or queues a copy of it. */
void weft__engine_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o);

/*
 * Prepares a poll that waits for some of @events, an error or a hang-up. On a ring
 * two things are made good:
 *
 *	The kernel tells of POLLRDHUP, too, and ends a one-shot poll with that,
 *	whatever was asked for. So a socket whose peer has shut down would seem to
 *	be ready at once and for ever. Input comes with POLLRDHUP in any case. A poll
 *	that does not wait for input is multishot: it tells of changes. Its owner
 *	ignores a completion with IORING_CQE_F_MORE that weft__is_asked() finds to be
 *	of nothing it has asked for, and cancels the poll when it has one.
 *
 *	A socket that gets urgent data wakes those who wait for any kind of input,
 *	but the kernel leaves out who waits for POLLPRI alone. POLLRDBAND, of which
 *	sockets never tell, stands for it.
 */
void weft__engine_prepare_poll(const struct engine *e, struct io_uring_sqe *sqe,
			       int fd, unsigned events);

static inline bool weft__is_asked(int res, unsigned events)
{
	return res < 0 ||
	       (unsigned)res & (events | POLLERR | POLLHUP | POLLNVAL);
}

/* Asks for @o to be cancelled. The completion of @o, whatever its result,
 * still comes. */
void weft__engine_cancel(struct engine *e, struct operation *o);

/* The same for a function that completes @o while more is to come: the request is
 * made soon. */
void weft__engine_cancel_soon(struct engine *e, struct operation *o);

/* The same for all operations in flight on @fd, or for all there are. */
void weft__engine_cancel_fd(struct engine *e, int fd);
void weft__engine_cancel_all(struct engine *e);

/* Before @fd is closed, after operations on it were cancelled: keeps the thread until
 * no helper of the engine's can use the number any more. */
static inline void weft__engine_end_calls(struct engine *e, int fd)
{
	if (e->is_open && e->is_poll)
		weft__poller_end_calls(e, fd);
}

/* Whether a helper of the engine's has @o, which is in flight. So it can end without
 * anything that weft__engine_poll() would find now. */
static inline bool weft__engine_is_helped(const struct engine *e,
					  const struct operation *o)
{
	return e->is_poll && weft__poller_is_helped(o);
}

/* Whether operations of this thread are in flight on @fd that it has not asked
 * to be cancelled. */
bool weft__engine_is_busy(const struct engine *e, int fd);

/* Whether quite a few operations are already in flight on @fd. */
bool weft__engine_is_crowded(const struct engine *e, int fd);

/* Whether it is the kernel that tries an operation again when its descriptor seems
 * ready. */
static inline bool weft__engine_tries_again(const struct engine *e)
{
	return !e->is_poll;
}

/* Makes a ring of buffers known, and forgets it again: 0 or a negative errno.
 * They mean what io_uring_register_buf_ring() and io_uring_unregister_buf_ring()
 * mean. */
int weft__engine_add_buffers(struct engine *e, struct io_uring_buf_reg *reg);
int weft__engine_remove_buffers(struct engine *e, int group);

/* Counts operations in, or out, that may keep a worker for ever. The kernel may
 * have that many workers more, so that other operations find one. */
void weft__engine_expect_stuck(struct engine *e, enum worker kind, int by);

/* Hands in all that is queued, in as many steps as that takes, and takes in what has
 * completed. */
static inline void weft__engine_flush(struct engine *e)
{
	if (e->is_poll)
		weft__poller_take(e);
	else
		weft__uring_flush(e);
}

/* --- looking and sleeping --- */

/* Hands in what is queued and takes in what has completed. Never waits. */
static inline void weft__engine_poll(struct engine *e)
{
	if (!e->is_open)
		return;
	if (unlikely(e->is_poll))
		weft__poller_poll(e);
	else
		weft__uring_poll(e);
}

/* The same in one step, after which there may be more. What one step brings, some 20
 * completions, is still in the cache when its tasklets run. */
static inline void weft__engine_look(struct engine *e)
{
	if (!e->is_open)
		return;
	if (unlikely(e->is_poll))
		weft__poller_poll(e);
	else
		weft__uring_look(e);
}

/* Hands in what is queued, sleeps until something completes, the doorbell rings
 * or @deadline comes, and takes in what has completed. */
static inline void weft__engine_sleep(struct engine *e, int64_t deadline)
{
	if (e->is_poll)
		weft__poller_sleep(e, deadline);
	else
		weft__uring_sleep(e, deadline);
}

/* Gets ready to be woken in the engine; returns what others must ring. */
enum doorbell weft__engine_prepare_sleep(struct engine *e);

/* Wakes a thread that sleeps in its engine; any thread may call these, with its own
 * engine @e. The first one needs no ring of the caller's, unless the kernel refuses
 * the message; the second one goes through that ring. If a thread cannot be woken,
 * they stop the process. */
void weft__engine_ring_message(struct engine *e, struct engine *target);
void weft__engine_ring_sqe(struct engine *e, struct engine *target);
void weft__engine_ring_eventfd(struct engine *target);

#endif /* WEFT__ENGINE_H */
