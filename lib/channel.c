/* SPDX-License-Identifier: MIT */
/*
 * Sending and receiving: rules R9 and R10 (weft/channel.h).
 *
 * A channel is two queues of waiters, those who send and those who receive, a
 * buffer if it has a capacity, and a lock that is held for a few instructions, or
 * while an element is copied to or from the buffer. Who comes and finds a peer
 * unlinks it under the lock: that is the claim. The claimer copies the element
 * after the unlock, straight between the two tasklets' memory, and wakes the
 * peer, whose waiter it must not touch from then on. Who finds none, and no place
 * in the buffer, links a waiter on its own stack and blocks. While senders wait,
 * the buffer is full: who receives from it moves the oldest sender's element in.
 *
 * A call has several bodies. Here is the fast one, for callers for whom nothing is
 * to be looked at, on rendezvous channels about which nothing is special; buffers
 * have their own (channel_buffer.c), and all else takes the general one
 * (channel_pass.c). How a waiter is claimed and called off is in channel_wait.c.
 */
#include "channel_buffer.h"
#include "channel_pass.h"

/* A busy receiver is on its way back. If the sender queued up, the receiver
 * would find it, and go on while the sender is still on its own way back: in a
 * dialogue each would then be late for the other, every time, and pay twice. So
 * it is the sender who waits for the receiver to have queued up. */
static void await_receiver(struct scheduler *s, struct weft_channel *ch)
{
	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed: the lock orders what is there */
		if (peek(ch->waiting) < 0 || peek(s->inbox.word) != INBOX_EMPTY)
			break;
		arch_pause();
	}
}

/* Where there is more to it than a buffer or plain waiters. */
static NOINLINE int send_special(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	if (ch->capacity)
		weft__lock(&ch->receive_lock);
	return weft__pass_plainly(s, ch, element, 1, locked);
}

static int send_locked(struct scheduler *s, struct weft_channel *ch,
		       void *element);

/* Rule R10 on a rendezvous channel. */
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

/* The one who waits is the spinner, and may be alone. */
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

/* A channel that is not buffered, in either direction; or one that is, to send.
 * Called with the lock held. */
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

/* Somebody else has the lock. */
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

WEFT_API int weft_channel_send(weft_channel *ch, const void *element)
{
	struct scheduler *s = weft__fast;
	void *from = (void *)(uintptr_t)element;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return weft__pass_waiting(ch, from, 1);
	return pass_element(s, ch, from, 1);
}

WEFT_API int weft_channel_receive(weft_channel *ch, void *element)
{
	struct scheduler *s = weft__fast;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return weft__pass_waiting(ch, element, -1);
	if (unlikely(ch->capacity))
		return weft__receive_buffered(s, ch, element);
	return pass_element(s, ch, element, -1);
}
