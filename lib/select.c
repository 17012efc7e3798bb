/* SPDX-License-Identifier: MIT */
/*
 * Waiting on several channels: exactly one of the cases goes through.
 *
 * A selection locks all its channels, in the order of their addresses, so that
 * two that share some never wait for each other, and looks at all cases at once.
 * Among those that are ready it takes one at random, each with the same chance,
 * so that none starves whatever the rhythm of the program. If none is, it leaves
 * a waiter per case in the queues, under those locks, and blocks on one of its own.
 *
 *	chosen    NOTHING -> case + 1    by a peer, under that case's channel's lock
 *	          NOTHING -> WITHDRAWN   by the owner's thread (kill, deadline)
 *
 * [select.1] One compare-exchange decides, so exactly one of several peers and a
 * calling-off gets the selection, whichever channels they come by. It releases and
 * acquires; who wins may use the waiters up to the wake. Who loses has found a
 * case that is dead: it passes over it, as if it were not in the queue, and writes
 * nothing there. The winner takes the other cases out of their queues before it
 * wakes the owner, one lock at a time and holding none meanwhile, so that who has
 * been served waits nowhere; the owner does it when it calls off. Nobody else takes
 * a case of it out, so what is not linked they need not lock, and whoever still
 * looks at a case that is linked has its lock. Only then is the memory of the
 * waiters used for anything else.
 *
 * A peer that is itself a selection is not in any queue while it looks, so it has
 * nothing to claim of its own. If it finds that what looked ready has been claimed
 * by another, it looks again.
 *
 * (tests/model/select.pml)
 *
 * Rejected: locking one channel after the other, and claiming both sides where a
 * peer is a selection too: it needs an order of claims, or a third state.
 */
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>

#include "channel_pass.h"
#include "scheduler.h"

enum { CASES_ON_STACK = 16 };

static const uint32_t NOTHING = 0;
static const uint32_t WITHDRAWN = UINT32_MAX;

struct selection {
	struct waiter waiter; /* first: what the tasklet blocks on */
	_Atomic(uint32_t) chosen;
	size_t n;
	struct weft_case *cases;
	struct select_case *nodes;    /* one per case */
	struct weft_channel **locked; /* each once, by address */
	size_t n_locked;
	struct weft_channel *unused; /* to be freed by the owner */
	bool is_locked;              /* see weft__lock() */
};

/* --- claiming --- */

static struct selection *selection_of(const struct waiter *w)
{
	return ((const struct select_case *)w)->selection;
}

bool weft__select_is_open(const struct waiter *w)
{
	/* relaxed: a first look; the compare-exchange decides [select.1] */
	return peek(selection_of(w)->chosen) == NOTHING;
}

static bool choose(struct selection *sel, uint32_t what)
{
	uint32_t nothing = NOTHING;

	return atomic_compare_exchange_strong_explicit(
		&sel->chosen, &nothing, what, memory_order_acq_rel,
		memory_order_relaxed); /* [select.1] */
}

bool weft__select_claim(struct waiter *w)
{
	struct selection *sel = selection_of(w);

	return choose(sel,
		      (uint32_t)((struct select_case *)w - sel->nodes) + 1);
}

/* Takes a case out of its queue, if it is still there. A channel that is unused then
 * is kept for the owner: to free it may call what drops elements, which is the
 * program's, and that must not come in between a claim and its wake. (It may fork,
 * and the child takes who is claimed for somebody whom nobody will wake.) */
static void withdraw(struct selection *sel, struct select_case *node)
{
	/* Only who has claimed a case unlinks it, and that is the caller. */
	struct weft_channel *ch = peek(node->waiter.channel); /* [channel.1] */
	bool locked, is_unused;

	if (!ch)
		return;
	locked = weft__channel_lock(ch);
	weft__channel_unlink(ch, &node->waiter);
	is_unused = weft__channel_is_unused(ch);
	weft__channel_unlock(ch, locked);
	if (unlikely(is_unused)) {
		/* nobody else knows of it */
		ch->next_unused = sel->unused;
		sel->unused = ch;
	}
}

static void withdraw_all(struct selection *sel)
{
	for (size_t i = 0; i < sel->n; i++)
		withdraw(sel, &sel->nodes[i]);
}

struct waiter *weft__select_settle(struct waiter *w)
{
	struct selection *sel = selection_of(w);

	withdraw_all(sel);
	return &sel->waiter;
}

/* --- the waiters --- */

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct selection *sel = (struct selection *)w;

	(void)s;
	if (!choose(sel, WITHDRAWN))
		return false;
	withdraw_all(sel);
	return true;
}

static bool is_claimed(const struct waiter *w)
{
	return peek(((struct selection *)w)->chosen) != NOTHING;
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
			      first->waiter.kind->direction > 0
				      ? "sends to"
				      : "receives from");
	snprintf(text, size, "selects from %zu cases, the first %s", sel->n,
		 what);
}

static void free_unused(struct selection *sel);

static void give_up(struct waiter *w)
{
	free_unused((struct selection *)w);
}

static const struct wait_kind selecting = { .cancel = call_off,
					    .give_up = give_up,
					    .is_claimed = is_claimed,
					    .describe = describe };
const struct wait_kind weft__selecting_send = { .direction = 1,
						.is_special = true };
const struct wait_kind weft__selecting_receive = { .direction = -1,
						   .is_special = true };

/* --- locking --- */

static int by_address(const void *left, const void *right)
{
	uintptr_t a = (uintptr_t) * (struct weft_channel *const *)left;
	uintptr_t b = (uintptr_t) * (struct weft_channel *const *)right;

	return a < b ? -1 : a > b;
}

static void sort_channels(struct selection *sel)
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

static void lock_all(struct selection *sel)
{
	for (size_t i = 0; i < sel->n_locked; i++)
		sel->is_locked = weft__channel_lock(sel->locked[i]);
}

/* All but one of them, or all with NULL. */
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
static uint32_t random_below(struct scheduler *s, uint32_t n)
{
	uint32_t x = s->random;

	x ^= x << 13;
	x ^= x >> 17;
	x ^= x << 5;
	s->random = x;
	return (uint32_t)(((uint64_t)x * n) >> 32);
}

/* One of those that are ready, each with the same chance; NULL if none is. One
 * that a trap forbids is only taken if all are of that kind. */
static struct weft_case *find_ready(struct scheduler *s, struct selection *sel)
{
	struct weft_case *found = NULL;
	struct weft_case *forbidden = NULL;
	uint32_t n_ready = 0;
	struct waiter *peer;

	for (size_t i = 0; i < sel->n; i++) {
		struct weft_case *c = &sel->cases[i];
		int direction = direction_of(c);

		if (!c->channel ||
		    weft__find_way(c->channel, direction, &peer) == WAY_NONE)
			continue;
		if (weft__is_forbidden(s, c->channel, direction, peer))
			forbidden = c;
		else if (!n_ready++ || !random_below(s, n_ready))
			found = c;
	}
	return found ? found : forbidden;
}

/* Carries a case out that was ready while the locks were held, of which it lets
 * go. False: the peer has been claimed by another, and nothing has moved. */
static bool carry_out(struct scheduler *s, struct selection *sel,
		      struct weft_case *c, int *rc)
{
	struct pass p = { .direction = direction_of(c),
			  .careful = true,
			  .selects = true };

	unlock_all_but(sel, c->channel);
	*rc = weft__pass(s, c->channel, c->element, p, sel->is_locked);
	if (*rc == PASS_GONE)
		return false;
	if (*rc != PASS_TRAPPED)
		c->result = *rc;
	return true;
}

static void link_case(struct scheduler *s, struct selection *sel, size_t i)
{
	const struct weft_case *c = &sel->cases[i];
	struct select_case *node = &sel->nodes[i];

	*node = (struct select_case){
		.waiter = { .task = sel->waiter.task,
			    .owner = s,
			    .element = c->element,
			    .kind = c->op == WEFT_SEND
					    ? &weft__selecting_send
					    : &weft__selecting_receive },
		.selection = sel,
		.home = c->channel
	};
	if (!c->channel)
		return;
	weft__channel_link(c->channel, &node->waiter, direction_of(c));
	weft__channel_count_special(c->channel, 1);
}

/* In the owner's call, which goes on. */
static void free_unused(struct selection *sel)
{
	struct weft_channel *ch;

	while (unlikely((ch = sel->unused) != NULL)) {
		sel->unused = ch->next_unused;
		weft__channel_free(ch);
	}
}

/* The index of the case that was chosen while the tasklet waited, or an error. */
static int take_result(struct selection *sel)
{
	size_t index;

	if (sel->waiter.called_off) {
		int rc = weft__called_off(&sel->waiter);

		free_unused(sel);
		return rc;
	}
	if (sel->waiter.result) {
		/* A child of fork: the winner is gone, and what it had kept may
		 * be half kept. */
		sel->unused = NULL;
		withdraw_all(sel);
		free_unused(sel);
		return sel->waiter.result;
	}
	index = peek(sel->chosen) - 1;
	sel->cases[index].result = sel->nodes[index].waiter.result;
	free_unused(sel);
	return (int)index;
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

static int select_among(struct scheduler *s, struct selection *sel, bool waits)
{
	bool is_untold = s->on_channel && !s->in_callback;
	int rc;

	for (;;) {
		struct weft_case *ready;

		lock_all(sel);
		ready = find_ready(s, sel);
		if (is_untold) {
			unlock_all_but(sel, NULL);
			is_untold = false;
			tell_of(s, sel, ready);
			continue;
		}
		if (!ready)
			break;
		if (carry_out(s, sel, ready, &rc))
			return rc == PASS_TRAPPED ? -EPERM
						  : (int)(ready - sel->cases);
	}
	rc = waits ? weft__may_wait(s) : -EAGAIN;
	for (size_t i = 0; !rc && i < sel->n; i++)
		link_case(s, sel, i);
	unlock_all_but(sel, NULL);
	if (rc)
		return rc;
	weft__block(s, &sel->waiter, true);
	return take_result(sel);
}

static int check(const struct weft_case *cases, size_t n, unsigned flags)
{
	if ((n && !cases) || n > INT_MAX || flags & ~WEFT_NONBLOCK)
		return -EINVAL;
	for (size_t i = 0; i < n; i++)
		if (cases[i].op != WEFT_SEND && cases[i].op != WEFT_RECEIVE)
			return -EINVAL;
	return 0;
}

WEFT_API int weft_select(struct weft_case *cases, size_t n, unsigned flags)
{
	struct select_case nodes[CASES_ON_STACK];
	struct weft_channel *locked[CASES_ON_STACK];
	struct scheduler *s = weft__scheduler();
	struct selection sel = {
		.n = n, .cases = cases, .nodes = nodes, .locked = locked
	};
	int rc = check(cases, n, flags);

	if (rc)
		return rc;
	if (!s)
		return -errno;
	rc = flags & WEFT_NONBLOCK ? 0 : weft__enter(s);
	if (rc)
		return rc;
	if (n > CASES_ON_STACK) {
		sel.nodes = malloc(n * (sizeof nodes[0] + sizeof locked[0]));
		if (!sel.nodes)
			return -ENOMEM;
		sel.locked = (struct weft_channel **)(sel.nodes + n);
	}
	sel.waiter.task = peek(s->current);
	sel.waiter.owner = s;
	sel.waiter.kind = &selecting;
	sort_channels(&sel);
	rc = select_among(s, &sel, !(flags & WEFT_NONBLOCK));
	weft__note_runnable(s);
	if (sel.nodes != nodes)
		free(sel.nodes);
	return rc;
}
