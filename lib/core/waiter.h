/* SPDX-License-Identifier: MIT */
/*
 * The wait node: what a blocked tasklet leaves where a waker will find it.
 *
 * It lies on the stack of the tasklet that waits, so it exists until that
 * tasklet runs again, and not a moment longer. A thread that takes a waiter out
 * of the place where it waits has claimed it, and may touch it up to the wake.
 *
 * Every blocking call uses one, and names in a wait_kind what can be done with
 * it. These functions run on the owner's thread, unless they say otherwise.
 */
#ifndef WEFT__WAITER_H
#define WEFT__WAITER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "core/inbox.h"

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
	 * the way through the inbox; else NULL. begin_spin() returns the word
	 * to look at, which holds the waiter's address until the wait is ended,
	 * or NULL if a spin is not possible now. end_spin() comes after it, and
	 * returns whether the wait has been ended through the word. Then the
	 * owner wakes the tasklet, and sets the word to 0 only when it next has
	 * time: the store takes a cache line that the other side has, and
	 * nobody is in a hurry for it. */
	_Atomic(uintptr_t) *(*begin_spin)(struct waiter *w);
	bool (*end_spin)(struct waiter *w, _Atomic(uintptr_t) *word);

	/* For a waiter that was cancelled and whose tasklet never runs again:
	 * releases what the tasklet would have released; or NULL. A function
	 * that it calls may leave by pthread_exit(): then it is called
	 * again. */
	void (*give_up)(struct waiter *w);

	/* For a waiter that was served and whose tasklet never runs again:
	 * releases what it was given, if the process has few of those or others
	 * wait for it; or NULL. */
	void (*give_back)(struct waiter *w);

	/* Whether somebody has claimed the waiter and will wake it; NULL if
	 * only the owner's thread does. For a child of fork(). */
	bool (*is_claimed)(const struct waiter *w);

	/* A claimed waiter has what it waited for, in a child of fork() too:
	 * there its tasklet gets the result rather than an error. */
	bool is_given_with_claim;

	/* Its scheduler counts it in n_offloaded until it is woken or called off. */
	bool is_offloaded;

	/* Says what the tasklet waits for, in words that follow its name:
	 * "receives from channel jobs". May run on another thread, while the
	 * owner's thread cannot run. */
	void (*describe)(const struct waiter *w, char *text, size_t size);

	/* For a joiner that was linked to a tasklet at its creation and has no
	 * task to be woken; see weft__spawn(). born() comes before anybody can
	 * run or end the tasklet, or knows of it. ended() comes instead of a
	 * wake, on the thread that ends the tasklet, with the result, and is
	 * the last to touch the waiter's memory. Neither may switch. */
	void (*born)(struct waiter *w);
	void (*ended)(struct scheduler *s, struct waiter *w);
};

enum {
	CALLED_OFF = 1, /* by a kill, raise or deadline: these say the result */
	TOLD_OF_DEADLOCK = 2 /* -EDEADLK */
};

struct waiter {
	union {
		/* First: links to a waiter have no bits set. Used once
		 * claimed. */
		struct inbox_node node;
		struct waiter *next; /* before that: in a channel's queue */
	};
	struct weft_task *task;
	struct scheduler *owner; /* the task's; here, so that a waker on
				  * another thread needs to look no further */
	void *element;           /* a channel's: where to copy from or to */
	struct waiter *prev;     /* in a channel's queue */
	_Atomic(struct weft_channel *) channel; /* while linked in its queue */
	const struct wait_kind *kind;
	int result;         /* what the call returns after its wait */
	uint8_t called_off; /* 0: not called off; else this says why, and
			     * `result` does not count */
};

#endif /* WEFT__WAITER_H */
