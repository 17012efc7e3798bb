/* SPDX-License-Identifier: MIT */
/*
 * The poll engine; see poll.c.
 */
#ifndef WEFT__POLL_H
#define WEFT__POLL_H

#include <liburing.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine/flight.h"

struct attempt;
struct engine;
struct buffer_group;
struct slab;
struct watch;

/* What an engine has of an epoll instance. */
struct poller {
	/* owner only */
	struct watch *watches; /* by descriptor */
	unsigned n_watches;
	size_t n_waiting; /* attempts that wait until a descriptor is ready */
	size_t n_asked;   /* helpers that were asked to stop */
	bool has_failed;  /* an operation found no memory for its attempt */
	struct attempt *ready, *last_ready; /* completions to be told of */
	struct attempt *timed, *last_timed; /* timeouts, the earliest first */
	struct attempt *spare;
	struct slab *slabs;
	struct buffer_group *groups; /* of buffers */

	/* written by the owner, read when another thread forks */
	_Atomic(int) epoll_fd;

	/* any thread, atomic */
	_Atomic(struct attempt *) done; /* by helpers, the newest first */
	_Atomic(unsigned) ringers;      /* helpers that may ring */
};

/* What engine.h says of the functions without `poller`. */
int weft__poller_open(struct engine *e);
void weft__poller_close(struct engine *e);
void weft__poller_disown(struct engine *e);
void weft__poller_renew(struct engine *e);
bool weft__poller_has_news(const struct engine *e);
int64_t weft__poller_deadline(const struct engine *e);
void weft__poller_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o);
void weft__poller_poll(struct engine *e);
void weft__poller_sleep(struct engine *e, int64_t deadline);
int weft__poller_add_buffers(struct engine *e,
			     const struct io_uring_buf_reg *reg);
int weft__poller_remove_buffers(struct engine *e, unsigned group);

/* Makes @o, which is in flight, complete soon. */
void weft__poller_cancel(struct engine *e, struct operation *o);

/* Whether a helper has @o, which is in flight. */
bool weft__poller_is_helped(const struct operation *o);

/* Waits for what helpers still do with @fd, which is about to be closed. */
void weft__poller_end_calls(struct engine *e, int fd);

/* Tells of all that has completed; enters no kernel. */
void weft__poller_take(struct engine *e);

/* A new epoll instance that is ready when the eventfd is, or the engine has
 * something to do. Its descriptor or a negative errno. */
int weft__poller_watch_with(struct engine *e, int event_fd);

#endif /* WEFT__POLL_H */
