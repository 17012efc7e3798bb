/* SPDX-License-Identifier: MIT */
/*
 * Sleep and wake of an OS thread, and handing something in to one.
 */
#ifndef WEFT__PARK_H
#define WEFT__PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "waiter.h"

struct scheduler;

/* WEFT_WAKE. */
enum wake_policy {
	WAKE_AUTO,
	WAKE_FUTEX,
	WAKE_MSG_RING,
	WAKE_EVENTFD,
	WAKE_MSG_RING_SQE,
	N_WAKE_POLICIES
};

enum wake_policy weft__wake_policy(void);

/* Reads WEFT_WAKE and WEFT_SPIN; once per process. */
void weft__park_read_environment(void);

/* WEFT_SPIN. */
int64_t weft__spin_max_ns(void);

/* Sleeps until another thread hands something in, an operation completes or the
 * earliest timer is due; takes in the first two. May return without a reason.
 * 0, or -EDEADLK at once if nothing of that can ever come. */
int weft__park(struct scheduler *s);

/* Gives back the word by which a spin was ended; see struct wait_kind. */
void weft__release_word(struct scheduler *s);

/* Hands @link in to @target and wakes it if it sleeps. The caller is the thread
 * of @s, or @s is &weft__unattached. False when @target has ended: the caller still owns the node. */
bool weft__hand_in(struct scheduler *s, struct scheduler *target,
		   uintptr_t link);

/* What is left to do for one who has handed something in. Until that is done, the
 * target may wake and end, but does not close its doorbell. */
struct bell {
	struct scheduler *target;
	uintptr_t word;    /* what was found in the inbox */
	bool is_pushed;    /* else the target takes nothing in any more */
	bool is_announced; /* among the ringers of the inbox */
	bool is_in_vain;   /* a count for a sleeper that had woken by itself */
};

/* The two halves of weft__hand_in(), for a caller that finds the target under a
 * lock, which it lets go of before the second: a system call. That must come,
 * whatever the first returns. */
bool weft__push(struct scheduler *target, uintptr_t link, struct bell *bell);
void weft__ring_bell(struct scheduler *s, const struct bell *bell);

/* In whose name a thread without a scheduler hands in and wakes: it counts for
 * nobody, and has no ring to ring through. */
extern struct scheduler weft__unattached __attribute__((visibility("hidden")));

/* Wakes the tasklet of a waiter that the caller has claimed, of any thread. */
void weft__wake_foreign(struct scheduler *s, struct waiter *w);

/* Takes in what others handed in. */
void weft__take_handed_in(struct scheduler *s);

/* Takes nothing in any more: what comes is refused, and those about to ring
 * the doorbell have done so on return. Returns what had come. */
uintptr_t weft__inbox_close(struct scheduler *s);

#endif /* WEFT__PARK_H */
