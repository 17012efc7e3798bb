/* SPDX-License-Identifier: MIT */
/*
 * A selection, and what its two files share: select.c chooses among cases, watch.c
 * waits for those that are not of channels.
 */
#ifndef WEFT__CHANNEL_SELECT_H
#define WEFT__CHANNEL_SELECT_H

#include "channel/channel.h"

/* What `chosen` holds besides the number of a case plus one. */
enum { SELECT_NOTHING = 0 };
#define SELECT_WITHDRAWN UINT32_MAX

/* A case's waiter, in the queue of its channel. */
struct select_case {
	struct waiter waiter; /* first */
	struct selection *selection;
	struct weft_channel *home;
};

struct selection {
	struct waiter waiter; /* first: what the tasklet blocks on */
	_Atomic(uint32_t) chosen;
	size_t n;
	struct weft_case *cases;
	struct select_case *nodes;    /* one for each case */
	struct weft_channel **locked; /* each channel once, by address */
	size_t n_locked;
	struct weft_channel *unused; /* channels that the owner has to free */
	bool is_locked;              /* see weft__lock() */
};

/* Claims a selection, for a case or for the owner. Returns false if it has already
 * been claimed. */
static INLINE bool weft__select_choose(struct selection *sel, uint32_t what)
{
	uint32_t nothing = SELECT_NOTHING;

	return atomic_compare_exchange_strong_explicit(
		&sel->chosen, &nothing, what, memory_order_acq_rel,
		memory_order_relaxed); /* [select.1] */
}

/* Whether one is chosen of @n, so that in the end each has had the same chance. */
bool weft__select_draws(uint32_t n);

/* Takes all cases of a claimed selection out of their queues. */
void weft__select_withdraw_all(struct selection *sel);

/* See struct wait_kind. */
void weft__select_give_up(struct waiter *w);

/* The steps of a selection that watches more than channels. Its @cases are copies,
 * where what is not of a channel is a case of no channel: such a case is ready when
 * its result is 0 or less. */
struct watch;
void weft__select_begin(struct selection *sel, struct scheduler *s,
			struct weft_case *cases, size_t n);
int weft__select_watching(struct scheduler *s, struct selection *sel,
			  struct watch *watch, bool waits);
int weft__select_take_result(struct selection *sel);

/* --- watch.c --- */

/* weft_select() with cases that are not of channels. */
int weft__select_with_watch(struct weft_case *cases, size_t n, unsigned flags);

/* Looks which of these are ready, and gets ready to wait for them if @waits. Called
 * without locks. Returns 0, or why nothing can be said of them. */
int weft__watch_look(struct scheduler *s, struct watch *watch, bool waits);

/* Whether all is there that the waiting needs: 0, or what the call returns. */
int weft__watch_may_wait(const struct watch *watch);

/* Waits, and ends what was begun for that. Called when the cases have been linked
 * and the locks released. Returns what the selection returns. */
int weft__watch_wait(struct scheduler *s, struct watch *watch);

#endif /* WEFT__CHANNEL_SELECT_H */
