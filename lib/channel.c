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
 * A waiter is called off (kill, deadline, end of a thread) by unlinking it under
 * the lock. If it is not linked any more, it has been claimed: the element is on
 * its way, so is the wake, and nothing is called off. [channel.1] `channel` in the
 * waiter says whether it is linked; it is written under the lock of that channel.
 * A claim by another thread and a calling-off by the owner meet in the lock, so
 * exactly one of them finds it linked. The one who calls off reads `channel`
 * before it has the lock, and the channel may be freed in between, by a claimer:
 * channels are type-stable, so the lock is still one, and under it `channel`
 * reads NULL. (A waiter of a selection is claimed otherwise, see select.c.)
 *
 * [channel.2] Two busy threads that pass small elements meet in the channel's
 * cache line alone. A tasklet whose thread has nothing else to run and spins is
 * the channel's spinner: while it is the only waiter, its peer takes it out of
 * the queue, passes the element in `mail`, and marks `spinner`, instead of
 * touching the waiter and handing it in. `spinner` goes
 *
 *	0 -> w       by the owner of w under the lock, w being linked
 *	w -> w | 1   by a peer under the lock: w is claimed, the mail is there.
 *	             Release; the owner's acquire sees mail [channel.2]
 *	w -> 0       under the lock, by a peer that claims w the usual way, or by
 *	             the owner, who stops spinning
 *	w | 1 -> 0   by the owner, without the lock, some time after it has taken
 *	             the mail; the last that it does with the channel. Release;
 *	             the next spinner, and whoever uses the channel's memory
 *	             again, acquires the 0 [channel.2]
 *
 * Until it is 0 again, nobody else can be the spinner, and the memory of a
 * channel that is freed is not used again. The owner cannot call w off
 * meanwhile; it does that on the same thread, when not spinning.
 *
 * Two bodies of a call: a fast one for callers for whom nothing is to be looked
 * at, on channels about which nothing is special, and a general one for all else.
 * Buffered channels have a fast way of their own between the two.
 */
#include "channel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "park.h"
#include "scheduler.h"
#include "thread.h"

/* --- waiters --- */

/* The first of a queue, which is a plain one. */
static INLINE struct waiter *claim_first(struct weft_channel *ch, int direction)
{
	struct waiter *w = *weft__peers(ch, direction);

	weft__waiters_take_first(weft__peers(ch, direction));
	poke(ch->waiting, peek(ch->waiting) + direction);
	poke(w->channel, NULL); /* [channel.1] */
	return w;
}

void weft__channel_unlink(struct weft_channel *ch, struct waiter *w)
{
	int direction = w->kind->direction;

	weft__waiters_take(direction > 0 ? &ch->senders : &ch->receivers, w);
	poke(ch->waiting, peek(ch->waiting) - direction);
	if (w->kind->is_special)
		weft__channel_count_special(ch, -1);
	poke(w->channel, NULL); /* [channel.1] */
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct weft_channel *ch = peek(w->channel);
	bool locked, is_linked;
	bool is_unused = false;

	(void)s;
	if (!ch)
		return false;
	locked = weft__lock(&ch->lock);
	is_linked = peek(w->channel) == ch; /* [channel.1] */
	if (is_linked) {
		weft__channel_unlink(ch, w);
		is_unused = weft__channel_is_unused(ch);
	}
	weft__unlock(&ch->lock, locked);
	if (is_unused)
		weft__channel_free(ch);
	return is_linked;
}

static bool is_claimed(const struct waiter *w)
{
	return !peek(((struct waiter *)w)->channel); /* [channel.1] */
}

void weft__describe_waiter(const struct waiter *w, char *text, size_t size,
			   const char *verb)
{
	struct weft_channel *ch = peek(((struct waiter *)w)->channel);
	char name[CHANNEL_NAME_SIZE] = "";
	bool locked;

	if (ch) {
		locked = weft__lock(&ch->lock);
		memcpy(name, ch->name, sizeof name);
		weft__unlock(&ch->lock, locked);
	}
	if (name[0])
		snprintf(text, size, "%s channel %s", verb, name);
	else
		snprintf(text, size, "%s channel %p", verb, (void *)ch);
}

static void describe_send(const struct waiter *w, char *text, size_t size)
{
	weft__describe_waiter(w, text, size, "sends to");
}

static void describe_receive(const struct waiter *w, char *text, size_t size)
{
	weft__describe_waiter(w, text, size, "receives from");
}

/* --- elements --- */

static INLINE void copy_element(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)
		memcpy(to, from, size);
}

static INLINE uint32_t slot_after(const struct weft_channel *ch, uint32_t slot,
				  uint32_t by)
{
	/* both are below 2^31 */
	slot += by;
	return slot >= ch->capacity ? slot - ch->capacity : slot;
}

static INLINE char *slot_address(const struct weft_channel *ch, uint32_t slot)
{
	return ch->buffer + (size_t)slot * ch->element_size;
}

/* Puts an element into a buffer that has a place. Returns its slot. */
static INLINE uint32_t put_in_buffer(struct weft_channel *ch,
				     const void *element)
{
	uint32_t n = peek(ch->n_buffered);
	uint32_t slot = slot_after(ch, ch->oldest, n);

	copy_element(slot_address(ch, slot), element, ch->element_size);
	poke(ch->n_buffered, n + 1);
	return slot;
}

/* Takes the oldest element out. */
static INLINE void take_from_buffer(struct weft_channel *ch, void *element)
{
	copy_element(element, slot_address(ch, ch->oldest), ch->element_size);
	ch->oldest = slot_after(ch, ch->oldest, 1);
	poke(ch->n_buffered, peek(ch->n_buffered) - 1);
}

static void put_error_in_buffer(struct weft_channel *ch, int error)
{
	uint32_t n = peek(ch->n_buffered);

	ch->errors[slot_after(ch, ch->oldest, n)] = error;
	poke(ch->n_buffered, n + 1);
	weft__channel_count_special(ch, 1);
}

/* The error that is oldest in the buffer; 0: an element is. */
static int error_in_buffer(const struct weft_channel *ch)
{
	return ch->errors ? ch->errors[ch->oldest] : 0;
}

static int take_error_from_buffer(struct weft_channel *ch)
{
	int error = ch->errors[ch->oldest];

	ch->errors[ch->oldest] = 0;
	ch->oldest = slot_after(ch, ch->oldest, 1);
	poke(ch->n_buffered, peek(ch->n_buffered) - 1);
	weft__channel_count_special(ch, -1);
	return error;
}

/* --- the channel callback --- */

void weft__tell(struct scheduler *s, struct weft_channel *ch, int direction,
		bool will_block)
{
	bool was_inside = weft__begin_callback(s);

	s->on_channel(ch, weft__handle(peek(s->current)), direction > 0,
		      will_block, s->on_channel_ctx);
	weft__end_callback(s, was_inside);
}

/* --- the spinner [channel.2] --- */

enum {
	MAIL_SIZE = sizeof(uint64_t),
	MAILED = 1,
	BRIEF_LOOKS = 64,
	/* of a buffer: how often, and the longest between two */
	RUN_LOOKS = 32,
	RUN_PAUSES = 16
};

/* Makes w the spinner, if there is none. Called with the lock held. */
static INLINE bool announce(struct weft_channel *ch, struct waiter *w)
{
	/* acquire: the last spinner has read its mail [channel.2] */
	if (ch->element_size > MAIL_SIZE || ch->capacity ||
	    atomic_load_explicit(&ch->spinner, memory_order_acquire))
		return false;
	if (w->kind->direction > 0)
		copy_element(&ch->mail, w->element, ch->element_size);
	poke(ch->spinner, (uintptr_t)w);
	return true;
}

static _Atomic(uintptr_t) *begin_spin(struct waiter *w)
{
	struct weft_channel *ch = peek(w->channel);
	bool is_spinner = false;
	bool locked;

	if (!ch)
		return NULL;
	locked = weft__lock(&ch->lock);
	if (peek(w->channel) == ch) /* [channel.1] */
		is_spinner = announce(ch, w);
	weft__unlock(&ch->lock, locked);
	return is_spinner ? &ch->spinner : NULL;
}

static bool end_spin_of(struct waiter *w, _Atomic(uintptr_t) *word,
			bool is_receiver)
{
	struct weft_channel *ch =
		(struct weft_channel *)((char *)word -
					offsetof(struct weft_channel, spinner));
	uintptr_t mailed = (uintptr_t)w | MAILED;

	if (atomic_load_explicit(word, memory_order_acquire) != mailed) {
		bool locked = weft__lock(&ch->lock);

		if (peek(*word) == (uintptr_t)w)
			poke(*word, 0);
		weft__unlock(&ch->lock, locked);
		if (peek(*word) != mailed)
			return false;
	}
	if (is_receiver)
		copy_element(w->element, &ch->mail, ch->element_size);
	poke(w->channel, NULL);
	/* The tasklet is likely to come back here: then the line is its own
	 * again, and it is in the queue before its peer is. */
	arch_fetch_to_write(ch);
	return true;
}

static bool end_spin_of_sender(struct waiter *w, _Atomic(uintptr_t) *word)
{
	return end_spin_of(w, word, false);
}

static bool end_spin_of_receiver(struct waiter *w, _Atomic(uintptr_t) *word)
{
	return end_spin_of(w, word, true);
}

static const struct wait_kind sending = { .cancel = call_off,
					  .begin_spin = begin_spin,
					  .end_spin = end_spin_of_sender,
					  .is_claimed = is_claimed,
					  .direction = 1,
					  .describe = describe_send };
static const struct wait_kind sending_error = { .cancel = call_off,
						.is_claimed = is_claimed,
						.direction = 1,
						.is_special = true,
						.describe = describe_send };
static const struct wait_kind receiving = { .cancel = call_off,
					    .begin_spin = begin_spin,
					    .end_spin = end_spin_of_receiver,
					    .is_claimed = is_claimed,
					    .direction = -1,
					    .describe = describe_receive };

/* Passes the element to or from the spinner, if the only waiter, @peer, is it.
 * @peer is the first of its queue. Called with the lock held. */
static INLINE bool pass_by_mail(struct weft_channel *ch, struct waiter *peer,
				void *element, int direction)
{
	uintptr_t spinner = peek(ch->spinner);

	if (likely(spinner != (uintptr_t)peer))
		return false;
	if (peer->next) {
		poke(ch->spinner, 0);
		return false;
	}
	if (direction > 0)
		copy_element(&ch->mail, element, ch->element_size);
	else
		copy_element(element, &ch->mail, ch->element_size);
	*weft__peers(ch, direction) = NULL;
	poke(ch->waiting, peek(ch->waiting) + direction);
	atomic_store_explicit(&ch->spinner, spinner | MAILED,
			      memory_order_release);
	return true;
}

/* Whether rule R9 has the peer of this thread run at once. */
static INLINE bool favours_peer_of(struct weft_channel *ch, int direction)
{
	return !peek(ch->schedule_all) && peek(ch->preference) * direction < 0;
}

/* Rule R9 for a peer of this thread, which has been claimed. */
static INLINE void give_turn(struct scheduler *s, struct weft_channel *ch,
			     struct weft_task *peer, int direction,
			     bool careful)
{
	struct weft_task *me = peek(s->current);
	bool yields = peek(ch->schedule_all);
	bool favours_peer = favours_peer_of(ch, direction);

	poke(peer->state, WEFT_RUNNABLE);
	if (likely(favours_peer) && !weft__must_look(s)) {
		/* The caller keeps its place, and so is last. */
		weft__enqueue(s, me);
	} else {
		if (favours_peer)
			weft__enqueue_first(s, peer);
		else
			weft__enqueue(s, peer);
		if (!favours_peer && !yields)
			return;
		if (weft__must_look(s))
			weft__look_around(s);
		peer = weft__rotate(s, me);
	}
	if (careful)
		weft__switch_to_careful(s, peer);
	else
		weft__switch_to(s, peer);
}

/* Whether the thread has nothing else to run, and may spin at all. Whether it
 * paid lately does not matter: it is short beside what a park costs. */
static INLINE bool may_spin(struct scheduler *s, bool locked)
{
	return locked && s->spin_max_ns && weft__queue_is_empty(s) &&
	       weft__others_are_awake();
}

/* Looks for mail for about as long as a busy peer takes. The tasklet has not
 * blocked yet, and need not if some comes. */
static bool spin_briefly(struct scheduler *s, struct waiter *w,
			 _Atomic(uintptr_t) *word)
{
	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed: end_spin orders what came */
		if (peek(*word) != (uintptr_t)w ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			break;
		arch_pause();
	}
	if (!w->kind->end_spin(w, word))
		return false;
	s->used_word = word;
	s->spin_ns = s->spin_max_ns; /* it paid */
	return true;
}

/* --- waiting --- */

/* Rule R10; called with the lock held. */
static INLINE int wait_as(struct scheduler *s, struct weft_channel *ch,
			  struct waiter *w, bool locked, bool careful)
{
	bool spins;

	weft__channel_link(ch, w, w->kind->direction);
	/* Nothing else to run: with a busy peer the answer is nearly here. */
	spins = !w->kind->is_special && may_spin(s, locked);
	if (spins) {
		weft__release_word(s);
		spins = announce(ch, w);
	}
	weft__unlock(&ch->lock, locked);
	if (spins && spin_briefly(s, w, &ch->spinner))
		return 0;
	weft__block(s, w, careful);
	return weft__outcome(w->task, w);
}

static INLINE struct waiter plain_waiter(struct scheduler *s, void *element,
					 int direction)
{
	return (struct waiter){ .task = peek(s->current),
				.owner = s,
				.element = element,
				.kind = direction > 0 ? &sending : &receiving };
}

/* Out of line: it is the way of a call that has to switch, and the other one
 * needs few registers. */
static NOINLINE int wait_to_send(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	struct waiter w = plain_waiter(s, element, 1);

	return wait_as(s, ch, &w, locked, false);
}

static NOINLINE int wait_to_receive(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    bool locked)
{
	struct waiter w = plain_waiter(s, element, -1);

	return wait_as(s, ch, &w, locked, false);
}

static NOINLINE int wait_in_general(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    struct pass p, bool locked)
{
	struct error_sender e = { .waiter =
					  plain_waiter(s, element, p.direction),
				  .error = p.error };

	if (p.error) {
		e.waiter.kind = &sending_error;
		weft__channel_count_special(ch, 1);
	}
	return wait_as(s, ch, &e.waiter, locked, p.careful);
}

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

/* --- the general way --- */

enum way weft__find_way(struct weft_channel *ch, int direction,
			struct waiter **peer)
{
	bool is_closing = peek(ch->special) & CHANNEL_IS_CLOSING;
	uint32_t n_buffered = peek(ch->n_buffered);

	*peer = weft__first_live(*weft__peers(ch, direction));
	if (direction > 0 && is_closing)
		return WAY_CLOSED;
	if (direction > 0 ? !*peer && n_buffered < ch->capacity : n_buffered)
		return WAY_BUFFER;
	if (*peer)
		return WAY_PEER;
	return is_closing ? WAY_CLOSED : WAY_NONE;
}

/* False if it is a case of a selection that has been claimed meanwhile. */
static bool claim(struct weft_channel *ch, struct waiter *w)
{
	if (weft__waiter_is_case(w) && !weft__select_claim(w))
		return false;
	if (peek(ch->spinner) == (uintptr_t)w)
		poke(ch->spinner, 0); /* it is to be woken instead */
	weft__channel_unlink(ch, w);
	return true;
}

static int error_of_sender(const struct waiter *w)
{
	return w->kind == &sending_error
		       ? ((const struct error_sender *)w)->error
		       : 0;
}

/* Whether the next to be received is an error. */
static bool finds_error(const struct weft_channel *ch, enum way way,
			const struct waiter *peer)
{
	if (way == WAY_BUFFER)
		return error_in_buffer(ch);
	return way == WAY_PEER && error_of_sender(peer);
}

bool weft__is_forbidden(struct scheduler *s, struct weft_channel *ch,
			int direction, const struct waiter *peer)
{
	return unlikely(weft__is_trapped(s)) && peer && peer->owner == s &&
	       (peek(ch->schedule_all) || favours_peer_of(ch, direction));
}

/* 0, or what is to be returned before anything has moved. */
static int look_before(struct scheduler *s, struct weft_channel *ch,
		       struct pass p, enum way way, const struct waiter *peer)
{
	bool is_foreign = way != WAY_NONE && peer && peer->owner != s;

	if (p.untold && !is_foreign)
		return way == WAY_NONE ? PASS_TELL_BLOCKS : PASS_TELL_READY;
	if (way == WAY_CLOSED)
		return -EPIPE;
	if (way == WAY_NONE && p.waits)
		return weft__may_wait(s);
	if (way == WAY_NONE)
		return p.selects ? PASS_GONE : -EAGAIN;
	if (p.spares_errors && finds_error(ch, way, peer))
		return -EAGAIN;
	if (weft__is_forbidden(s, ch, p.direction, peer))
		return p.selects ? PASS_TRAPPED : -EPERM;
	return 0;
}

/* The element or error of a sender, which has been claimed, goes in. */
static void refill_buffer(struct weft_channel *ch, const struct waiter *sender)
{
	int error = error_of_sender(sender);

	if (error)
		put_error_in_buffer(ch, error);
	else
		put_in_buffer(ch, sender->element);
}

/* To or from the buffer; the peer, if any, has been claimed. */
static int pass_by_buffer(struct weft_channel *ch, void *element,
			  const struct pass *p, const struct waiter *peer)
{
	int error = 0;

	if (p->direction > 0) {
		if (p->error)
			put_error_in_buffer(ch, p->error);
		else
			put_in_buffer(ch, element);
		return 0;
	}
	if (error_in_buffer(ch))
		error = take_error_from_buffer(ch);
	else
		take_from_buffer(ch, element);
	if (peer)
		refill_buffer(ch, peer);
	return -error;
}

/* Between the two; the peer has been claimed. */
static int pass_to_peer(struct weft_channel *ch, void *element,
			const struct pass *p, struct waiter *peer)
{
	int error = p->direction > 0 ? p->error : error_of_sender(peer);

	if (p->direction < 0 && !error)
		copy_element(element, peer->element, ch->element_size);
	else if (!error)
		copy_element(peer->element, element, ch->element_size);
	else if (p->direction < 0)
		return -error;
	else
		peer->result = -error;
	return 0;
}

/* Rules R8 and R9 for a peer that has been claimed and served. */
static void let_peer_go(struct scheduler *s, struct weft_channel *ch,
			const struct pass *p, struct waiter *peer)
{
	if (weft__waiter_is_case(peer))
		peer = weft__select_settle(peer);
	if (peer->owner == s) {
		give_turn(s, ch, peer->task, p->direction, p->careful);
		return;
	}
	weft__wake_foreign(s, peer);
	if (p->untold)
		weft__tell(s, ch, p->direction, false);
}

static void note_mailed(struct scheduler *s, struct weft_channel *ch,
			const struct pass *p)
{
	count(s->wakes_saved);
	if (p->untold)
		weft__tell(s, ch, p->direction, false);
}

NOINLINE int weft__pass(struct scheduler *s, struct weft_channel *ch,
			void *element, struct pass p, bool locked)
{
	struct waiter *peer;
	enum way way;
	int rc;

	do {
		way = weft__find_way(ch, p.direction, &peer);
		rc = look_before(s, ch, p, way, peer);
		if (rc) {
			weft__unlock(&ch->lock, locked);
			return rc;
		}
		if (way == WAY_NONE)
			return wait_in_general(s, ch, element, p, locked);
		/* A spinner may have dead cases before it, and is not alone. */
		if (way == WAY_PEER && !p.error &&
		    peer == *weft__peers(ch, p.direction) &&
		    pass_by_mail(ch, peer, element, p.direction)) {
			weft__unlock(&ch->lock, locked);
			note_mailed(s, ch, &p);
			return 0;
		}
	} while (peer && !claim(ch, peer));

	if (way == WAY_BUFFER)
		rc = pass_by_buffer(ch, element, &p, peer);
	weft__unlock(&ch->lock, locked);
	if (way == WAY_PEER)
		rc = pass_to_peer(ch, element, &p, peer);
	if (peer)
		let_peer_go(s, ch, &p, peer);
	return rc;
}

/* --- the fast ways --- */

/* To or from the first of those that wait, which is a plain one. */
static INLINE int pass_to_first(struct scheduler *s, struct weft_channel *ch,
				void *element, int direction, bool locked)
{
	struct waiter *peer = claim_first(ch, direction);

	weft__unlock(&ch->lock, locked);
	if (direction > 0)
		copy_element(peer->element, element, ch->element_size);
	else
		copy_element(element, peer->element, ch->element_size);
	if (likely(peer->owner == s))
		give_turn(s, ch, peer->task, direction, false);
	else
		weft__wake_foreign(s, peer); /* rule R8 */
	return 0;
}

/* Waits for a busy thread on the other side of a buffer, which is full for a
 * sender and empty for a receiver: so that the two go on in runs, and not with a
 * wake for each element. The pauses between looks grow, for each look takes the
 * channel's cache line from the other side. */
static void await_run(struct scheduler *s, struct weft_channel *ch,
		      uint32_t unwanted)
{
	for (int look = 0, pauses = 1; look < RUN_LOOKS; look++) {
		for (int i = 0; i < pauses; i++)
			arch_pause();
		/* relaxed: the lock orders what is there */
		if (peek(ch->n_buffered) != unwanted ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			break;
		if (pauses < RUN_PAUSES)
			pauses *= 2;
	}
}

/* The general way for an ordinary call. */
static int pass_plainly(struct scheduler *s, struct weft_channel *ch,
			void *element, int direction, bool locked)
{
	return weft__pass(
		s, ch, element,
		(struct pass){ .direction = direction, .waits = true }, locked);
}

/* Of a buffered channel about which nothing else is special. */
static INLINE int pass_buffered(struct scheduler *s, struct weft_channel *ch,
				void *element, int direction, bool locked)
{
	uint32_t unwanted = direction > 0 ? ch->capacity : 0;
	struct waiter *peer = *weft__peers(ch, direction);

	if (!peer && peek(ch->n_buffered) == unwanted &&
	    unlikely(may_spin(s, locked))) {
		weft__unlock(&ch->lock, locked);
		await_run(s, ch, unwanted);
		locked = weft__lock(&ch->lock);
		if (peek(ch->special) != CHANNEL_IS_BUFFERED)
			return pass_plainly(s, ch, element, direction, locked);
		peer = *weft__peers(ch, direction);
	}
	if (likely(!peer && peek(ch->n_buffered) != unwanted)) {
		if (direction > 0)
			put_in_buffer(ch, element);
		else
			take_from_buffer(ch, element);
		weft__unlock(&ch->lock, locked);
		return 0;
	}
	if (direction > 0)
		return peer ? pass_to_first(s, ch, element, 1, locked)
			    : wait_to_send(s, ch, element, locked);
	/* From a full buffer, which the oldest sender refills. */
	return peer ? pass_plainly(s, ch, element, -1, locked)
		    : wait_to_receive(s, ch, element, locked);
}

static NOINLINE int send_buffered(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked)
{
	return pass_buffered(s, ch, element, 1, locked);
}

static NOINLINE int receive_buffered(struct scheduler *s,
				     struct weft_channel *ch, void *element,
				     bool locked)
{
	return pass_buffered(s, ch, element, -1, locked);
}

static NOINLINE int pass_special(struct scheduler *s, struct weft_channel *ch,
				 void *element, int direction, bool locked)
{
	if (likely(peek(ch->special) == CHANNEL_IS_BUFFERED))
		return direction > 0 ? send_buffered(s, ch, element, locked)
				     : receive_buffered(s, ch, element, locked);
	return pass_plainly(s, ch, element, direction, locked);
}

static INLINE int pass_element(struct scheduler *s, struct weft_channel *ch,
			       void *element, int direction)
{
	bool locked = weft__lock(&ch->lock);
	struct waiter *peer = *weft__peers(ch, direction);

	if (unlikely(peek(ch->special)))
		return pass_special(s, ch, element, direction, locked);
	if (!peer && direction > 0 && unlikely(may_spin(s, locked))) {
		weft__unlock(&ch->lock, locked);
		await_receiver(s, ch);
		locked = weft__lock(&ch->lock);
		if (unlikely(peek(ch->special)))
			return pass_special(s, ch, element, direction, locked);
		peer = *weft__peers(ch, direction);
	}
	if (!peer)
		return direction > 0 ? wait_to_send(s, ch, element, locked)
				     : wait_to_receive(s, ch, element, locked);
	if (pass_by_mail(ch, peer, element, direction)) {
		weft__unlock(&ch->lock, locked);
		count(s->wakes_saved);
		return 0; /* rule R8 */
	}
	return pass_to_first(s, ch, element, direction, locked);
}

static NOINLINE int pass_carefully(struct weft_channel *ch, void *element,
				   struct pass p)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = p.waits ? weft__enter(s) : 0;
	if (rc)
		return rc;
	p.careful = true;
	p.untold = s->on_channel && !s->in_callback;
	rc = weft__pass(s, ch, element, p, weft__lock(&ch->lock));
	if (rc > 0) {
		p.untold = false;
		weft__tell(s, ch, p.direction, rc == PASS_TELL_BLOCKS);
		rc = weft__pass(s, ch, element, p, weft__lock(&ch->lock));
	}
	weft__note_runnable(s);
	return rc;
}

static NOINLINE int wait_carefully(struct weft_channel *ch, void *element,
				   int direction)
{
	return pass_carefully(
		ch, element,
		(struct pass){ .direction = direction, .waits = true });
}

static INLINE int pass_or_wait(struct weft_channel *ch, void *element,
			       int direction)
{
	struct scheduler *s = weft__fast;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return wait_carefully(ch, element, direction);
	return pass_element(s, ch, element, direction);
}

WEFT_API int weft_channel_send(weft_channel *ch, const void *element)
{
	return pass_or_wait(ch, (void *)(uintptr_t)element, 1);
}

WEFT_API int weft_channel_receive(weft_channel *ch, void *element)
{
	return pass_or_wait(ch, element, -1);
}

WEFT_API int weft_channel_try_send(weft_channel *ch, const void *element)
{
	return pass_carefully(ch, (void *)(uintptr_t)element,
			      (struct pass){ .direction = 1 });
}

WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element)
{
	return pass_carefully(ch, element, (struct pass){ .direction = -1 });
}

/* --- errors in place of elements --- */

/* Sees to it that the buffer has places for errors. */
static int prepare_errors(struct weft_channel *ch)
{
	int *errors;
	bool locked, has_some;

	if (!ch->capacity)
		return 0;
	locked = weft__lock(&ch->lock);
	has_some = ch->errors;
	weft__unlock(&ch->lock, locked);
	if (has_some)
		return 0;
	errors = calloc(ch->capacity, sizeof *errors);
	if (!errors)
		return -ENOMEM;
	locked = weft__lock(&ch->lock);
	if (!ch->errors) {
		ch->errors = errors;
		errors = NULL;
	}
	weft__unlock(&ch->lock, locked);
	free(errors);
	return 0;
}

WEFT_API int weft_channel_send_error(weft_channel *ch, int err)
{
	int rc = err > 0 ? prepare_errors(ch) : -EINVAL;

	return rc ? rc
		  : pass_carefully(ch, NULL,
				   (struct pass){ .direction = 1,
						  .error = err,
						  .waits = true });
}

/* --- many at once --- */

/* As many as the buffer has, or has places for, without a peer being met; 0
 * where that is not the way. */
static size_t pass_run(struct weft_channel *ch, char *elements, size_t most,
		       int direction)
{
	struct scheduler *s = weft__fast;
	size_t size = ch->element_size;
	uint32_t n, slot, till_wrap;
	bool locked;

	if (!s || peek(s->current)->attention)
		return 0;
	locked = weft__lock(&ch->lock);
	n = peek(ch->n_buffered);
	slot = direction > 0 ? slot_after(ch, ch->oldest, n) : ch->oldest;
	if (direction > 0)
		n = ch->capacity - n;
	if (peek(ch->special) != CHANNEL_IS_BUFFERED ||
	    *weft__peers(ch, direction))
		n = 0;
	if (n > most)
		n = (uint32_t)most;
	till_wrap = n < ch->capacity - slot ? n : ch->capacity - slot;
	if (n && size && direction > 0) {
		memcpy(slot_address(ch, slot), elements, till_wrap * size);
		memcpy(ch->buffer, elements + till_wrap * size,
		       (n - till_wrap) * size);
	} else if (n && size) {
		memcpy(elements, slot_address(ch, slot), till_wrap * size);
		memcpy(elements + till_wrap * size, ch->buffer,
		       (n - till_wrap) * size);
	}
	if (direction < 0)
		ch->oldest = slot_after(ch, slot, n);
	poke(ch->n_buffered, peek(ch->n_buffered) + (direction > 0 ? n : -n));
	weft__unlock(&ch->lock, locked);
	return n;
}

WEFT_API ssize_t weft_channel_send_many(weft_channel *ch, const void *elements,
					size_t n)
{
	char *each = (void *)(uintptr_t)elements;
	size_t done = 0;

	while (done < n) {
		size_t passed = pass_run(ch, each, n - done, 1);

		if (!passed) {
			int rc = weft_channel_send(ch, each);

			if (rc)
				return done ? (ssize_t)done : rc;
			passed = 1;
		}
		done += passed;
		each += passed * ch->element_size;
	}
	return (ssize_t)done;
}

WEFT_API ssize_t weft_channel_receive_many(weft_channel *ch, void *elements,
					   size_t max)
{
	static const struct pass more = { .direction = -1,
					  .spares_errors = true };
	char *each = elements;
	size_t done = 0;

	while (done < max) {
		size_t passed = pass_run(ch, each, max - done, -1);

		if (!passed) {
			int rc = done ? pass_carefully(ch, each, more)
				      : weft_channel_receive(ch, each);

			if (rc)
				return done ? (ssize_t)done : rc;
			passed = 1;
		}
		done += passed;
		each += passed * ch->element_size;
	}
	return (ssize_t)done;
}

/* --- closing --- */

/* Claims all receivers, who are to be told. In a list, the oldest first. */
static struct waiter *claim_receivers(struct weft_channel *ch)
{
	struct waiter *list = NULL;
	struct waiter *w;

	while ((w = weft__first_live(ch->receivers))) {
		if (!claim(ch, w))
			continue;
		w->result = -EPIPE;
		weft__waiters_append(&list, w);
	}
	return list;
}

WEFT_API void weft_channel_close(weft_channel *ch)
{
	struct scheduler *s = weft__scheduler();
	struct waiter *next;
	bool locked = weft__lock(&ch->lock);

	poke(ch->special, peek(ch->special) | CHANNEL_IS_CLOSING);
	/* A thread that could not be attached finds nobody it can wake. */
	next = s ? claim_receivers(ch) : NULL;
	weft__unlock(&ch->lock, locked);
	while (next) {
		struct waiter *w = next;

		next = w->next;
		if (weft__waiter_is_case(w))
			w = weft__select_settle(w);
		if (w->owner == s)
			weft__wake_local(s, w->task);
		else
			weft__wake_foreign(s, w);
	}
	if (s)
		weft__note_runnable(s);
}

WEFT_API void weft_channel_open(weft_channel *ch)
{
	bool locked = weft__lock(&ch->lock);

	poke(ch->special, peek(ch->special) & ~(uint32_t)CHANNEL_IS_CLOSING);
	weft__unlock(&ch->lock, locked);
}

WEFT_API bool weft_channel_closing(weft_channel *ch)
{
	return peek(ch->special) & CHANNEL_IS_CLOSING;
}

WEFT_API bool weft_channel_closed(weft_channel *ch)
{
	/* Not by the balance: that counts cases which are dead, too. */
	bool locked = weft__lock(&ch->lock);
	struct waiter *sender;
	bool is_closed = weft__find_way(ch, -1, &sender) == WAY_CLOSED;

	weft__unlock(&ch->lock, locked);
	return is_closed;
}
