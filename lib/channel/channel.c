/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving: rules R9 and R10 (weft/channel.h).
 *
 * A channel has a queue of waiting senders, a queue of waiting receivers, a buffer
 * if it has a capacity, and a lock. The lock is held for a few instructions, or
 * while an element is copied to or from the buffer. A caller that finds a peer
 * waiting takes the peer's waiter out of the queue under the lock: the caller has
 * now claimed it. After the unlock the claimer copies the element straight between
 * the memory of the two tasklets, and wakes the peer. From the wake on the claimer
 * must not touch the peer's waiter. A caller that finds neither a peer nor a place
 * in the buffer links a waiter on its own stack and blocks. While senders wait, the
 * buffer is full: a receiver that takes an element out moves the oldest waiting
 * sender's element in.
 *
 * A call has several bodies. The fast one is here: it is for rendezvous channels
 * about which nothing is special, and for callers that have nothing to look at.
 * Buffers have their own (buffer.c), and everything else takes the general path
 * (pass.c). How a waiter is claimed and called off is in wait.c.
 */
#include "base/cpu.h"
#include "channel/buffer.h"
#include "channel/pass.h"

/* A busy receiver is on its way back to the channel. If the sender queued up now,
 * the receiver would find it, and would go on while the sender is still on its own
 * way back. In a dialogue each would then be late for the other every time, and pay
 * twice. So the sender waits until the receiver has queued up. */
static void await_receiver(struct scheduler *s, struct weft_channel *ch)
{
	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed, no pair: the lock orders what is found there */
		if (peek(ch->waiting) < 0 || peek(s->inbox.word) != INBOX_EMPTY)
			break;
		arch_pause();
	}
}

/* There is more to look at than a buffer or plain waiters. */
static NOINLINE int send_special(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	if (ch->capacity)
		weft__lock(&ch->receive_lock);
	return weft__pass_plainly(s, ch, element, 1, locked);
}

static int send_locked(struct scheduler *s, struct weft_channel *ch,
		       void *element);

/* Blocks by rule R10 on a rendezvous channel. */
static NOINLINE int wait_to_send(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	struct waiter w;

	if (unlikely(may_spin(s, locked))) {
		weft__unlock(&ch->lock, locked);
		await_receiver(s, ch);
		locked = weft__lock(&ch->lock);
		if (peek(ch->special) || ch->receivers)
			return send_locked(s, ch, element);
	}
	init_waiter(&w, s, element, 1);
	weft__channel_link(ch, &w, 1);
	return wait_in_queue(s, ch, &w, locked, true, false);
}

static NOINLINE int wait_to_receive(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    bool locked)
{
	struct waiter w;

	init_waiter(&w, s, element, -1);
	weft__channel_link(ch, &w, -1);
	return wait_in_queue(s, ch, &w, locked, true, false);
}

/* The waiter is the spinner; it may be the only waiter. */
static NOINLINE int pass_to_spinner(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    int direction)
{
	struct waiter *peer = *weft__peers(ch, direction);

	if (!pass_by_mail(ch, peer, element, direction))
		return direction > 0 ? pass_to_first(s, ch, element, 1, true)
				     : pass_to_first(s, ch, element, -1, true);
	weft__unlock(&ch->lock, true);
	count(s->wakes_saved);
	return 0; /* rule R8 */
}

/* Passes an element in either direction on a channel that is not buffered, or sends
 * on one that is. Called with the lock held. */
static INLINE int pass_locked(struct scheduler *s, struct weft_channel *ch,
			      void *element, int direction, bool locked)
{
	struct waiter *peer = *weft__peers(ch, direction);
	uint32_t special = peek(ch->special);

	if (unlikely(special)) {
		if (direction < 0)
			return weft__pass_plainly(s, ch, element, -1, locked);
		if (likely(special == CHANNEL_IS_BUFFERED))
			return weft__send_buffered(s, ch, element, locked);
		return send_special(s, ch, element, locked);
	}
	if (!peer)
		return direction > 0 ? wait_to_send(s, ch, element, locked)
				     : wait_to_receive(s, ch, element, locked);
	if (unlikely(peek(ch->spinner) == (uintptr_t)peer))
		return pass_to_spinner(s, ch, element, direction);
	return pass_to_first(s, ch, element, direction, locked);
}

static NOINLINE int send_locked(struct scheduler *s, struct weft_channel *ch,
				void *element)
{
	return pass_locked(s, ch, element, 1, true);
}

/* Another thread holds the lock. */
static NOINLINE int send_contended(struct scheduler *s, struct weft_channel *ch,
				   void *element)
{
	lock_contended(&ch->lock);
	return pass_locked(s, ch, element, 1, true);
}

static NOINLINE int receive_contended(struct scheduler *s,
				      struct weft_channel *ch, void *element)
{
	lock_contended(&ch->lock);
	return pass_locked(s, ch, element, -1, true);
}

static INLINE int pass_element(struct scheduler *s, struct weft_channel *ch,
			       void *element, int direction)
{
	bool locked;

	if (likely(weft__lock_at_once(&ch->lock, &locked)))
		return pass_locked(s, ch, element, direction, locked);
	return direction > 0 ? send_contended(s, ch, element)
			     : receive_contended(s, ch, element);
}

HOT WEFT_API int weft_channel_send(weft_channel *ch, const void *element)
{
	struct scheduler *s = weft__fast_to_switch();
	void *from = (void *)(uintptr_t)element;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return weft__pass_waiting(ch, from, 1);
	return pass_element(s, ch, from, 1);
}

HOT WEFT_API int weft_channel_receive(weft_channel *ch, void *element)
{
	struct scheduler *s = weft__fast_to_switch();

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return weft__pass_waiting(ch, element, -1);
	if (unlikely(ch->capacity))
		return weft__receive_buffered(s, ch, element);
	return pass_element(s, ch, element, -1);
}
