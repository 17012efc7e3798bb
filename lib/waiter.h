/* SPDX-License-Identifier: MIT */
/*
 * The wait node: what a blocked tasklet leaves where somebody will find it.
 *
 * It lies on the stack of the tasklet that waits, so it is there until that
 * tasklet runs again, and not a moment longer. Whoever takes a waiter out of
 * the place it waits in has claimed it, and may touch it up to the wake.
 *
 * Everything that can block uses one, and names what can be done with it. All
 * of that happens on the owner's thread.
 */
#ifndef WEFT__WAITER_H
#define WEFT__WAITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "inbox.h"

struct scheduler;
struct weft_task;
struct weft_channel;
struct waiter;

struct wait_kind {
	/* Calls the wait off. True: the waiter has left its place and nobody
	 * will wake it. False: somebody has claimed it, or the kernel still has
	 * it; the wake will come. */
	bool (*cancel)(struct scheduler *s, struct waiter *w);

	/* For waits that another thread may end while this one spins, without
	 * the way through the inbox; else NULL. The first says which word to
	 * look at, which holds the waiter's address until then; NULL: it cannot
	 * be done now. The second comes after the first, and says whether the
	 * wait has been ended like that: then the owner wakes the tasklet, and
	 * sets the word to 0 when it next has time: the store takes a cache
	 * line that the other side has, and nobody is in a hurry for it. */
	_Atomic(uintptr_t) *(*begin_spin)(struct waiter *w);
	bool (*end_spin)(struct waiter *w, _Atomic(uintptr_t) *word);

	/* Of one that was cancelled and whose tasklet never goes on: lets go of
	 * what that would have let go of; or NULL. */
	void (*give_up)(struct waiter *w);

	/* Whether somebody has taken the waiter and will wake it; NULL where
	 * only the owner's thread does. For a child of fork(). */
	bool (*is_claimed)(const struct waiter *w);

	/* Of channels': 1 for one that sends, -1 for one that receives; and
	 * whether it is more than a plain one, see channel.h. */
	int direction;
	bool is_special;

	/* Who is claimed has what it waited for: also in such a child, where it
	 * gets its result rather than an error. */
	bool is_given_with_claim;

	/* Says what is waited for, in words that follow a name: "receives from
	 * channel jobs". Of a thread that cannot run meanwhile. */
	void (*describe)(const struct waiter *w, char *text, size_t size);

	/* For a joiner that was left with a tasklet at its creation and has no
	 * task to be woken; see weft__spawn(). The first comes before anybody
	 * can run or end the tasklet, or knows of it. The second comes instead
	 * of a wake, on the thread that ends the tasklet, with the result, and
	 * has the last word on the waiter's memory. Neither may switch. */
	void (*born)(struct waiter *w);
	void (*ended)(struct scheduler *s, struct waiter *w);
};

enum {
	CALLED_OFF = 1,      /* by kill, raise or a deadline: they say what */
	TOLD_OF_DEADLOCK = 2 /* -EDEADLK */
};

struct waiter {
	union {
		/* First: links to a waiter have no bits set. Once claimed. */
		struct inbox_node node;
		struct waiter *next; /* before: in a channel's queue */
	};
	struct weft_task *task;
	struct scheduler *owner; /* of the task; here so that a waker of another
				    thread needs to look no further */
	void *element;           /* of a channel's: where to copy from or to */
	struct waiter *prev;     /* in a channel's queue */
	_Atomic(struct weft_channel *) channel; /* while linked in its queue */
	const struct wait_kind *kind;
	int result;         /* what the call that waits is to return */
	uint8_t called_off; /* 0: by nobody; else what the call returns is said
			       elsewhere */
};

#endif /* WEFT__WAITER_H */
