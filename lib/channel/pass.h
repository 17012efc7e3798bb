/* SPDX-License-Identifier: MIT */
/*
 * Passing one element: what the fast paths (channel.c, buffer.c) and the general
 * path (pass.c) share.
 */
#ifndef WEFT__CHANNEL_PASS_H
#define WEFT__CHANNEL_PASS_H

#include "channel/wait.h"

/* All that the general path has to know of a call. */
struct pass {
	int direction; /* 1: a send, -1: a receive; `waiting` moves by it */
	int error;     /* sent in place of an element; 0: none */
	bool waits;
	bool spares_errors; /* leaves an error for the next receive */
	bool untold;        /* the channel callback is still to be called */
};

/* How a call can go through at this moment, and with which peer, if any. */
enum way { WAY_NONE, WAY_PEER, WAY_BUFFER, WAY_CLOSED };

enum way weft__find_way(struct weft_channel *ch, int direction,
			struct waiter **peer);

/* Whether meeting @peer (NULL: none) would switch although a trap forbids it. */
bool weft__is_forbidden(struct scheduler *s, struct weft_channel *ch,
			int direction, const struct waiter *peer);

/* Carries an operation out by the general path. Called with all locks held;
 * releases them. Returns 0, or what the call returns, or one of the values below:
 * then nothing has moved. */
int weft__pass(struct scheduler *s, struct weft_channel *ch, void *element,
	       struct pass p, bool locked);

enum {
	PASS_TELL_READY = 1, /* the channel callback is to be called first */
	PASS_TELL_BLOCKS,
	PASS_GONE,   /* no peer (any more), and no waiting: -EAGAIN */
	PASS_TRAPPED /* it would switch, and must not: -EPERM */
};

/* The same for an ordinary send or receive, which waits. */
int weft__pass_plainly(struct scheduler *s, struct weft_channel *ch,
		       void *element, int direction, bool locked);

/* A call that has something to look at. It may wait, if @p says so, and makes all
 * checks of a blocking call. */
int weft__pass_carefully(struct weft_channel *ch, void *element, struct pass p);
int weft__pass_waiting(struct weft_channel *ch, void *element, int direction);

/* Whether the channel callback is to be called. */
static INLINE bool weft__is_to_tell(const struct scheduler *s)
{
	return (s->careful & (CAREFUL_OF_CHANNEL | CAREFUL_IN_CALLBACK)) ==
	       CAREFUL_OF_CHANNEL;
}

void weft__tell(struct scheduler *s, struct weft_channel *ch, int direction,
		bool will_block);

/* --- after the claim --- */

/* Whether the peer of this thread runs at once by rule R9. */
static INLINE bool favours_peer_of(struct weft_channel *ch, int direction)
{
	return !peek(ch->schedule_all) && peek(ch->preference) * direction < 0;
}

/* In weft__run_peer() the peer runs now, and the caller keeps its place, and so is
 * the last. In weft__yield_behind() the peer goes to the end, and the caller gives
 * way to its successor. Both return 0. They are the last step of a public call, so
 * that calls which do not switch need few registers. */
int weft__run_peer(struct scheduler *s, struct weft_task *peer);
int weft__yield_behind(struct scheduler *s, struct weft_task *peer);

/* Applies rule R9 to a peer of this thread, which has been claimed. */
static INLINE int give_turn(struct scheduler *s, struct weft_channel *ch,
			    struct weft_task *peer, int direction)
{
	if (favours_peer_of(ch, direction))
		return weft__run_peer(s, peer);
	if (unlikely(peek(ch->schedule_all)))
		return weft__yield_behind(s, peer);
	weft__wake_local(s, peer);
	return 0;
}

int weft__wake_other(struct scheduler *s, struct waiter *peer); /* rule R8; 0 */

/* Passes an element to or from a plain waiter that has been claimed. */
static INLINE int pass_to_claimed(struct scheduler *s, struct weft_channel *ch,
				  struct waiter *peer, void *element,
				  int direction, size_t size)
{
	if (size && direction > 0)
		memcpy(peer->element, element, size);
	else if (size)
		memcpy(element, peer->element, size);
	if (likely(peer->owner == s))
		return give_turn(s, ch, peer->task, direction);
	return weft__wake_other(s, peer); /* rule R8 */
}

/* The same with the channel's element size. */
int weft__send_sized(struct scheduler *s, struct weft_channel *ch,
		     struct waiter *peer, void *element);
int weft__receive_sized(struct scheduler *s, struct weft_channel *ch,
			struct waiter *peer, void *element);

/* Claims the first waiter of a queue, which is a plain one. */
static INLINE struct waiter *claim_first(struct weft_channel *ch, int direction)
{
	struct waiter *w = *weft__peers(ch, direction);

	weft__waiters_take_first(weft__peers(ch, direction));
	poke(ch->waiting, peek(ch->waiting) + direction);
	poke(w->channel, NULL); /* [channel.1] */
	return w;
}

/* Passes an element to or from the first waiter of a queue, which is a plain
 * one. */
static INLINE int pass_to_first(struct scheduler *s, struct weft_channel *ch,
				void *element, int direction, bool locked)
{
	struct waiter *peer = claim_first(ch, direction);

	weft__unlock(&ch->lock, locked);
	if (likely(ch->element_size == 8))
		return pass_to_claimed(s, ch, peer, element, direction, 8);
	return direction > 0 ? weft__send_sized(s, ch, peer, element)
			     : weft__receive_sized(s, ch, peer, element);
}

#endif /* WEFT__CHANNEL_PASS_H */
