/* SPDX-License-Identifier: MIT */
/*
 * Streams: operations that complete many times; see stream.c.
 */
#ifndef WEFT__STREAM_H
#define WEFT__STREAM_H

#include <liburing.h>
#include <stdbool.h>
#include <weft/stream.h>

#include "core/scheduler.h"

struct buffer;
struct message;
struct reader;

/* Something that has arrived and was not taken yet. */
struct item {
	struct item *next;
	int res;
	unsigned flags;
};

/* What multishot is tried for. */
enum multishot {
	MULTISHOT_ACCEPT,
	MULTISHOT_POLL,
	MULTISHOT_RECV,
	MULTISHOT_RECVMSG,
	N_MULTISHOTS,
	NO_MULTISHOT = N_MULTISHOTS
};

/* What an idle stream that has nothing unread does next. */
enum step {
	STEP_ARM,  /* begins its operation */
	STEP_POLL, /* begins a poll of its descriptor */
	STEP_LOOK, /* has got something without an operation */
	STEP_WAIT  /* waits until somebody wakes it */
};

struct stream_kind {
	/* Prepares the operation that brings more. */
	void (*prepare)(struct weft_stream *st, struct io_uring_sqe *sqe,
			bool is_multishot);

	/* Keeps what has come. Runs in the engine: nothing of the engine may be
	 * called. */
	void (*keep)(struct weft_stream *st, int res, unsigned flags);

	/* NULL: STEP_ARM, or STEP_POLL if is_poll_first. */
	enum step (*choose)(struct weft_stream *st);

	/* The wait for STEP_WAIT has been left, by whatever reason; NULL: such
	 * streams do not wait so. */
	void (*leave)(struct weft_stream *st);

	/* weft_stream_next(); NULL: it does not take from such streams. */
	ssize_t (*next)(struct scheduler *s, struct weft_stream *st,
			void **data);

	/* Releases an item with what it holds. */
	void (*drop)(struct weft_stream *st, struct item *item);

	/* At its end, when nothing is unread: releases what else it has; NULL:
	 * nothing. */
	void (*end)(struct weft_stream *st);

	enum multishot multishot;
};

/* Of a stream that receives; see receive.c. */
struct receiving {
	struct weft_buffers *pool;
	struct buffer *granted;  /* to receive into */
	struct message *message; /* NULL: it gives bytes */
	unsigned n_taken;        /* buffers that the program has */
	bool is_hungry;          /* waits for a buffer */
	bool is_denied; /* the kernel finds no buffer where there are some */
	struct weft_stream *next_hungry;
};

struct weft_stream {
	struct operation operation; /* first */
	const struct stream_kind *kind;
	/* The thread it belongs to; NULL: it has ended. Other threads only compare
	 * it with their own. */
	_Atomic(struct scheduler *) owner;
	int fd;

	bool is_armed;     /* the operation is in flight */
	bool is_unheard;   /* and no tasklet waits for it: weft__park() knows */
	bool is_multishot; /* the operation may complete more than once */
	bool is_refused;   /* the kernel has refused such an operation */
	bool is_poll_first; /* the descriptor was not ready after all */
	bool is_polling;    /* what is in flight is only the poll before it */
	bool is_ready;      /* the poll has said so */
	bool is_local;      /* a Unix socket: never multishot */
	bool is_datagram;   /* 0 bytes are not the end */
	bool is_cut;    /* its descriptor is closed, or its process is left */
	bool has_ended; /* nothing more will come */
	bool own_is_used;

	/* Unread, the oldest first; `last` points to where the next one goes. */
	struct item *first, **last;
	unsigned n_unread;
	struct item own; /* for what must find a place whatever happens */

	struct reader *reader;      /* in a call that takes */
	struct weft_stream *other;  /* the next one in the thread's table */
	struct weft_stream **place; /* what points to this one there */

	union {
		unsigned events;         /* of a poll stream */
		struct io_uring_sqe sqe; /* of weft_await_stream() */
		struct receiving receiving;
	};
};

/* Opens a stream of the calling thread. NULL with errno set. */
struct weft_stream *weft__stream_new(const struct stream_kind *kind, int fd);

/* What every call that takes from a stream checks first: 0 or a negative errno. */
int weft__stream_enter(const struct weft_stream *st, struct scheduler **s);

/* Takes the oldest item, or waits for one. 1; 0: the stream has ended; or a
 * negative errno. */
int weft__stream_take(struct scheduler *s, struct weft_stream *st,
		      struct item **item);

/* Takes the oldest item; NULL if there is none. */
struct item *weft__stream_pop(struct weft_stream *st);

/* Puts an item at the end. */
void weft__stream_push(struct weft_stream *st, struct item *item, int res,
		       unsigned flags);

/* The same with the item that every stream has. Nothing happens if that one is in
 * use. */
void weft__stream_push_own(struct weft_stream *st, int res, unsigned flags);

/* Gives back the memory of an item, which came from malloc() or is the stream's
 * own. */
void weft__stream_free_item(struct weft_stream *st, struct item *item);

/* Whether a completion says only that the operation has to be begun again, perhaps
 * in another way. For kind->keep(). */
bool weft__stream_goes_on(struct weft_stream *st, int res, unsigned flags);

/* Wakes the tasklet that waits for the stream, if there is one. */
void weft__stream_wake(struct weft_stream *st);

/* No more is wanted for now: what is in flight is cancelled soon. For
 * kind->keep(). */
void weft__stream_hold_back(struct weft_stream *st);

/* Begins the operation of a stream that is idle, or a poll. 0 or a negative
 * errno. */
int weft__stream_arm(struct scheduler *s, struct weft_stream *st, bool is_poll);

/* Before @fd is closed: the calling thread's streams on it come to an end. */
void weft__cut_streams(int fd);

#endif /* WEFT__STREAM_H */
