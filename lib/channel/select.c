/* SPDX-License-Identifier: MIT */
/*
 * Waiting on several channels: exactly one of the cases goes through. (Descriptors
 * and moments among the cases are in watch.c.)
 *
 * A selection locks all its channels and then looks at all cases at once. It locks
 * in the order of the channels' addresses, so that two selections that share some
 * never wait for each other. Among the cases that are ready it takes one at random,
 * each with the same chance, so that none starves whatever the rhythm of the
 * program. If none is ready, it leaves a waiter for each case in the queues, still
 * under those locks, and blocks on one waiter of its own.
 *
 *	chosen    NOTHING -> case + 1    by a peer, under that case's channel's lock
 *	          NOTHING -> WITHDRAWN   by the owner's thread (kill, deadline)
 *
 * [select.1] One compare-exchange decides. So exactly one gets the selection, of
 * several peers and a calling-off, whichever channels they come by. The
 * compare-exchange releases and acquires; the winner may use the waiters up to the
 * wake. A loser has found a dead case: it passes over the case, as if it were not
 * in the queue, and writes nothing there.
 *
 * The winner takes the other cases out of their queues before it wakes the owner,
 * so that a tasklet that has been served waits nowhere. It takes one lock at a time
 * and holds none in between. An owner that calls its selection off does the same.
 * Nobody else takes a case of a claimed selection out of its queue: so a case that
 * is not linked needs no lock, and a thread that still looks at a linked case has
 * its lock. Only then is the memory of the waiters used for anything else.
 *
 * A peer that is itself a selection is in no queue while it looks, so it has
 * nothing of its own to claim. If a case that looked ready has been claimed by
 * another, it looks again.
 *
 * (tests/model/select.pml)
 *
 * Rejected: locking one channel after the other, and claiming both sides where a
 * peer is a selection too. That needs an order of claims, or a third state.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/world.h"
#include "channel/pass.h"
#include "channel/select.h"
#include "core/block.h"
#include "core/holding.h"

enum { CASES_ON_STACK = 16 };

/* --- claiming --- */

static struct selection *selection_of(const struct waiter *w)
{
	return ((const struct select_case *)w)->selection;
}

bool weft__select_is_open(const struct waiter *w)
{
	/* relaxed, no pair: a first look; the compare-exchange decides
	 * [select.1] */
	return peek(selection_of(w)->chosen) == SELECT_NOTHING;
}

bool weft__select_claim(struct waiter *w)
{
	struct selection *sel = selection_of(w);

	return weft__select_choose(
		sel, (uint32_t)((struct select_case *)w - sel->nodes) + 1);
}

/* Takes a case out of its queue, if it is still there. If the channel is then
 * unused, it is kept for the owner to free. Freeing it may call the program's
 * `drop`, which must not run between a claim and its wake: it may fork, and the
 * child would take the claimed tasklet for one that nobody will wake. The channel
 * is put in the owner's list under its lock, which a fork takes: so a child finds
 * it either in the queue or in the list. */
static void withdraw(struct selection *sel, struct select_case *node)
{
	/* Only the caller, which has claimed the selection, unlinks its cases. */
	struct weft_channel *ch = peek(node->waiter.channel); /* [channel.1] */
	bool locked;

	if (!ch)
		return;
	locked = weft__channel_lock(ch);
	weft__channel_unlink(ch, &node->waiter);
	if (unlikely(weft__channel_is_unused(ch))) {
		ch->next_unused = sel->unused;
		sel->unused = ch;
	}
	weft__channel_unlock(ch, locked);
}

void weft__select_withdraw_all(struct selection *sel)
{
	for (size_t i = 0; i < sel->n; i++)
		withdraw(sel, &sel->nodes[i]);
}

struct waiter *weft__select_settle(struct waiter *w)
{
	struct selection *sel = selection_of(w);

	weft__select_withdraw_all(sel);
	return &sel->waiter;
}

/* --- the waiters --- */

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct selection *sel = (struct selection *)w;

	(void)s;
	if (!weft__select_choose(sel, SELECT_WITHDRAWN))
		return false;
	weft__select_withdraw_all(sel);
	return true;
}

static bool is_claimed(const struct waiter *w)
{
	return peek(((struct selection *)w)->chosen) != SELECT_NOTHING;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	const struct selection *sel = (const struct selection *)w;
	const struct select_case *first = NULL;
	char what[120];

	for (size_t i = 0; !first && i < sel->n; i++)
		if (sel->nodes[i].home)
			first = &sel->nodes[i];
	if (!first) {
		snprintf(text, size, "selects from nothing");
		return;
	}
	weft__describe_waiter(&first->waiter, what, sizeof what,
			      weft__channel_kind(&first->waiter)->direction > 0
				      ? "sends to"
				      : "receives from");
	snprintf(text, size, "selects from %zu cases, the first %s", sel->n,
		 what);
}

static void free_unused(struct selection *sel);

void weft__select_give_up(struct waiter *w)
{
	free_unused((struct selection *)w);
}

static const struct wait_kind selecting = { .cancel = call_off,
					    .give_up = weft__select_give_up,
					    .is_claimed = is_claimed,
					    .describe = describe };
const struct channel_kind weft__selecting_send = { .direction = 1,
						   .is_special = true };
const struct channel_kind weft__selecting_receive = { .direction = -1,
						      .is_special = true };

/* --- locking --- */

static int by_address(const void *left, const void *right)
{
	uintptr_t a = (uintptr_t) * (struct weft_channel *const *)left;
	uintptr_t b = (uintptr_t) * (struct weft_channel *const *)right;

	return a < b ? -1 : a > b;
}

/* Puts @ch in its place among the sorted channels, unless it is already there. */
static INLINE void insert_channel(struct selection *sel,
				  struct weft_channel *ch)
{
	struct weft_channel **first = sel->locked;
	struct weft_channel **place = first + sel->n_locked;

	while (place > first && (uintptr_t)place[-1] > (uintptr_t)ch)
		place--;
	if (place > first && place[-1] == ch)
		return;
	for (struct weft_channel **p = first + sel->n_locked++; p > place; p--)
		p[0] = p[-1];
	*place = ch;
}

static void sort_many_channels(struct selection *sel)
{
	size_t n = 0;

	for (size_t i = 0; i < sel->n; i++)
		if (sel->cases[i].channel)
			sel->locked[n++] = sel->cases[i].channel;
	qsort(sel->locked, n, sizeof sel->locked[0], by_address);
	for (size_t i = 0; i < n; i++)
		if (!i || sel->locked[i] != sel->locked[i - 1])
			sel->locked[sel->n_locked++] = sel->locked[i];
}

static INLINE void sort_channels(struct selection *sel)
{
	if (sel->n > CASES_ON_STACK) {
		sort_many_channels(sel);
		return;
	}
	for (size_t i = 0; i < sel->n; i++)
		if (sel->cases[i].channel)
			insert_channel(sel, sel->cases[i].channel);
}

static INLINE void lock_all(struct selection *sel)
{
	for (size_t i = 0; i < sel->n_locked; i++)
		sel->is_locked = weft__channel_lock(sel->locked[i]);
}

/* Unlocks all channels but @kept, or all if that is NULL. */
static void unlock_all_but(struct selection *sel, struct weft_channel *kept)
{
	for (size_t i = 0; i < sel->n_locked; i++)
		if (sel->locked[i] != kept)
			weft__channel_unlock(sel->locked[i], sel->is_locked);
}

/* --- choosing --- */

static int direction_of(const struct weft_case *c)
{
	return c->op == WEFT_SEND ? 1 : -1;
}

/* Xorshift: good enough to be fair. */
static INLINE uint32_t random_below(uint32_t n)
{
	static __thread uint32_t state
		__attribute__((tls_model("initial-exec"))); /* 0: not begun */
	uint32_t x = likely(state) ? state : weft__seed();

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	state = x;
	return (uint32_t)(((uint64_t)x * n) >> 32);
}

bool weft__select_draws(uint32_t n)
{
	return !random_below(n);
}

/* One of the cases that are ready, each with the same chance; NULL if none is. A
 * case that a trap forbids is taken only if all ready cases are of that kind.
 * @watches: a case without a channel can be ready, too. */
static INLINE struct weft_case *find_ready(struct scheduler *s,
					   struct selection *sel, bool watches)
{
	struct weft_case *found = NULL;
	struct weft_case *forbidden = NULL;
	uint32_t n_ready = 0;
	struct waiter *peer;

	for (size_t i = 0; i < sel->n; i++) {
		struct weft_case *c = &sel->cases[i];
		int direction = direction_of(c);

		if (watches && !c->channel && c->result <= 0 &&
		    (!n_ready++ || !random_below(n_ready)))
			found = c;
		if (!c->channel ||
		    weft__find_way(c->channel, direction, &peer) == WAY_NONE)
			continue;
		if (weft__is_forbidden(s, c->channel, direction, peer))
			forbidden = c;
		else if (!n_ready++ || !random_below(n_ready))
			found = c;
	}
	return found ? found : forbidden;
}

/* Carries out a case that was found ready under the locks, and releases the locks.
 * Returns false if the peer has been claimed by another: then nothing has moved. */
static INLINE bool carry_out(struct scheduler *s, struct selection *sel,
			     struct weft_case *c, int *rc)
{
	struct pass p = { .direction = direction_of(c) };

	unlock_all_but(sel, c->channel);
	*rc = weft__pass(s, c->channel, c->element, p, sel->is_locked);
	if (*rc == PASS_GONE)
		return false;
	if (*rc != PASS_TRAPPED)
		c->result = *rc;
	return true;
}

static INLINE void link_case(struct scheduler *s, struct selection *sel,
			     size_t i)
{
	const struct weft_case *c = &sel->cases[i];
	struct select_case *node = &sel->nodes[i];

	*node = (struct select_case){
		.waiter = { .task = sel->waiter.task,
			    .owner = s,
			    .element = c->element,
			    .kind = c->op == WEFT_SEND
					    ? &weft__selecting_send.wait
					    : &weft__selecting_receive.wait },
		.selection = sel,
		.home = c->channel
	};
	if (!c->channel)
		return;
	weft__channel_link(c->channel, &node->waiter, direction_of(c));
	weft__channel_count_special(c->channel, 1);
}

/* Called where the owner's call goes on. */
static void free_unused(struct selection *sel)
{
	struct weft_channel *ch;

	while (unlikely((ch = sel->unused) != NULL)) {
		sel->unused = ch->next_unused;
		weft__channel_free(ch);
	}
}

/* The index of the case that was chosen while the tasklet waited, or an error. */
static INLINE int take_result(struct selection *sel)
{
	size_t index;

	if (sel->waiter.called_off) {
		int rc = weft__called_off(&sel->waiter);

		free_unused(sel);
		return rc;
	}
	if (sel->waiter.result) {
		/* In a child of fork: the winner is gone. */
		weft__select_withdraw_all(sel);
		free_unused(sel);
		return sel->waiter.result;
	}
	index = peek(sel->chosen) - 1;
	sel->cases[index].result = sel->nodes[index].waiter.result;
	free_unused(sel);
	return (int)index;
}

int weft__select_take_result(struct selection *sel)
{
	return take_result(sel);
}

/* --- telling the channel callback --- */

static void tell_of(struct scheduler *s, struct selection *sel,
		    const struct weft_case *ready)
{
	for (size_t i = 0; i < sel->n; i++) {
		const struct weft_case *c = &sel->cases[i];

		if (c->channel && (!ready || c == ready))
			weft__tell(s, c->channel, direction_of(c), !ready);
	}
}

/* --- the call --- */

/* @watch: NULL if all cases are of channels. */
static INLINE int select_among(struct scheduler *s, struct selection *sel,
			       struct watch *watch, bool waits)
{
	bool is_untold = weft__is_to_tell(s);
	int rc;

	for (;;) {
		struct weft_case *ready;

		rc = watch ? weft__watch_look(s, watch, waits) : 0;
		if (rc)
			return rc;
		lock_all(sel);
		ready = find_ready(s, sel, watch);
		if (is_untold) {
			unlock_all_but(sel, NULL);
			is_untold = false;
			tell_of(s, sel, ready);
			/* as in weft__pass_carefully() */
			rc = waits ? weft__enter(s) : 0;
			if (rc)
				return rc;
			continue;
		}
		if (!ready)
			break;
		if (watch && !ready->channel) {
			unlock_all_but(sel, NULL);
			return (int)(ready - sel->cases);
		}
		if (carry_out(s, sel, ready, &rc))
			return rc == PASS_TRAPPED ? -EPERM
						  : (int)(ready - sel->cases);
	}
	rc = waits ? weft__may_wait(s) : -EAGAIN;
	if (watch && !rc)
		rc = weft__watch_may_wait(watch);
	for (size_t i = 0; !rc && i < sel->n; i++)
		link_case(s, sel, i);
	unlock_all_but(sel, NULL);
	if (rc)
		return rc;
	if (watch)
		return weft__watch_wait(s, watch);
	weft__block(s, &sel->waiter, true);
	return take_result(sel);
}

int weft__select_watching(struct scheduler *s, struct selection *sel,
			  struct watch *watch, bool waits)
{
	sort_channels(sel);
	return select_among(s, sel, watch, waits);
}

/* Field by field: clearing the whole struct takes longer. */
static void begin(struct selection *sel, struct scheduler *s,
		  struct weft_case *cases, size_t n)
{
	sel->waiter.task = peek(s->current);
	sel->waiter.owner = s;
	sel->waiter.kind = &selecting;
	sel->waiter.result = 0;
	sel->waiter.called_off = 0;
	poke(sel->chosen, SELECT_NOTHING);
	sel->n = n;
	sel->cases = cases;
	sel->n_locked = 0;
	sel->unused = NULL;
	sel->is_locked = false;
}

void weft__select_begin(struct selection *sel, struct scheduler *s,
			struct weft_case *cases, size_t n)
{
	begin(sel, s, cases, n);
}

enum { HAS_OTHERS = 1 }; /* cases that are not of channels */

static NOINLINE int check_others(const struct weft_case *cases, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if ((unsigned)cases[i].op > WEFT_AT)
			return -EINVAL;
	return HAS_OTHERS;
}

static INLINE int check(const struct weft_case *cases, size_t n, unsigned flags)
{
	if ((n && !cases) || n > INT_MAX || flags & ~WEFT_NONBLOCK)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (cases[i].op != WEFT_SEND && cases[i].op != WEFT_RECEIVE)
			return check_others(cases, n);
	return 0;
}

/* More cases than the stack has room for. */
struct large {
	struct holding holding; /* first */
	struct select_case nodes[];
};

static void free_large(struct scheduler *s, struct holding *h)
{
	(void)s;
	weft__let_go(h);
	free(h);
}

static bool make_large(struct selection *sel, struct scheduler *s)
{
	struct large *large =
		malloc(sizeof *large + sel->n * (sizeof large->nodes[0] +
						 sizeof sel->locked[0]));

	if (!large)
		return false;
	large->holding.release = free_large;
	weft__hold(s, &large->holding);
	sel->nodes = large->nodes;
	sel->locked = (struct weft_channel **)(sel->nodes + sel->n);
	return true;
}

static void end_large(struct scheduler *s, struct select_case *nodes)
{
	free_large(s, (struct holding *)((char *)nodes -
					 offsetof(struct large, nodes)));
}

WEFT_API int weft_select(struct weft_case *cases, size_t n, unsigned flags)
{
	struct select_case nodes[CASES_ON_STACK];
	struct weft_channel *locked[CASES_ON_STACK];
	struct scheduler *s = weft__scheduler();
	struct selection sel;
	int rc = check(cases, n, flags);

	if (rc)
		return rc == HAS_OTHERS
			       ? weft__select_with_watch(cases, n, flags)
			       : rc;
	if (!s)
		return -errno;
	rc = flags & WEFT_NONBLOCK ? 0 : weft__enter(s);
	if (rc)
		return rc;
	begin(&sel, s, cases, n);
	sel.nodes = nodes;
	sel.locked = locked;
	if (n > CASES_ON_STACK && !make_large(&sel, s))
		return -ENOMEM;
	sort_channels(&sel);
	rc = select_among(s, &sel, NULL, !(flags & WEFT_NONBLOCK));
	weft__note_runnable(s);
	if (sel.nodes != nodes)
		end_large(s, sel.nodes);
	return rc;
}
