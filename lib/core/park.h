/* SPDX-License-Identifier: MIT */
/*
 * Sleep and wake of an OS thread, and handing something in to a thread.
 */
#ifndef WEFT__PARK_H
#define WEFT__PARK_H

#include <stdbool.h>
#include <stdint.h>

#include "core/waiter.h"

struct scheduler;

/* Sleeps until another thread hands something in, an operation completes or the
 * earliest timer is due; takes in what was handed in and what completed. May
 * return without a reason. Returns 0, or -EDEADLK at once if none of these can
 * ever happen. */
int weft__park(struct scheduler *s);

/* Gives back the word that ended a spin; see struct wait_kind. */
void weft__release_word(struct scheduler *s);

/* Hands @link in to @target and wakes the target if it sleeps. The caller is
 * the thread of @s, or @s is &weft__unattached. False if the target has ended:
 * then the caller still owns the node. */
bool weft__hand_in(struct scheduler *s, struct scheduler *target,
		   uintptr_t link);

/* What the first half of a hand-in, the push, leaves for the second half to do. In
 * between, the target may wake and end, but does not close its doorbell. */
struct bell {
	struct scheduler *target;
	uintptr_t word;    /* what the push found in the inbox */
	bool is_pushed;    /* false: the target takes nothing in any more */
	bool is_announced; /* counted in the ringers of the inbox */
	bool is_in_vain;   /* counted for a sleeper that had woken by itself */
};

/* The two halves of weft__hand_in(), for a caller that finds the target under a
 * lock: it unlocks before the second half, which may be a system call. The
 * second half must follow whatever the first returns. */
bool weft__push(struct scheduler *target, uintptr_t link, struct bell *bell);
void weft__ring_bell(struct scheduler *s, const struct bell *bell);

/* The scheduler in whose name a thread without a scheduler hands in and wakes.
 * It counts for nobody, and has no ring to ring through. */
extern struct scheduler weft__unattached HIDDEN;

/* Wakes the tasklet of a waiter that the caller has claimed. The tasklet may be
 * of any thread. */
void weft__wake_foreign(struct scheduler *s, struct waiter *w);

/* Takes in what has been taken out of the inbox, if anything is on its way in. */
void weft__take_arrived(struct scheduler *s);

/* Takes in what other threads have handed in. */
void weft__take_handed_in(struct scheduler *s);

/* Closes the inbox: later hand-ins are refused. On return every thread that was
 * about to ring the doorbell has done so. Returns what had been handed in. */
uintptr_t weft__inbox_close(struct scheduler *s);

#endif /* WEFT__PARK_H */
