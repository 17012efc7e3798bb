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
 * [channel.3] A buffer has two sides with a lock and a cache line each, so that a
 * thread that fills it and one that drains it do not wait for each other. Who
 * sends into it holds `lock`, counts `sent` up and knows of the other side's
 * `received` only as far as it needs to (send_limit); who receives from it holds
 * receive_lock, likewise. `sent` is released when a slot has been written and
 * acquired before it is read, `received` when it has been read and before it is
 * written again. All else about the channel, its queues, what is special, is
 * changed with both locks held, lock first; but for one: who sends may serve a
 * receiver that waits under `lock` alone, for while one waits the buffer is empty,
 * and who would receive has to take both locks to find out. A receive that finds
 * senders waiting has to, too: receives_plainly, which is set when both locks are
 * let go, tells it.
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
	locked = weft__channel_lock(ch);
	is_linked = peek(w->channel) == ch; /* [channel.1] */
	if (is_linked) {
		weft__channel_unlink(ch, w);
		is_unused = weft__channel_is_unused(ch);
	}
	weft__channel_unlock(ch, locked);
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

/* Puts an element into a buffer that has a place. */
static INLINE void put_in_buffer(struct weft_channel *ch, const void *element,
				 size_t size)
{
	uint32_t sent = peek(ch->sent);

	copy_element(ch->slots + (size_t)(sent & ch->mask) * size, element,
		     size);
	/* release: the element, for who receives it [channel.3] */
	atomic_store_explicit(&ch->sent, sent + 1, memory_order_release);
}

/* Takes the oldest element out of a buffer that has one. */
static INLINE void take_from_buffer(struct weft_channel *ch, void *element,
				    size_t size)
{
	uint32_t received = peek(ch->received);
	uint32_t mask = ch->receive_mask;

	/* what another thread has written, two lines on if elements are small */
	__builtin_prefetch(ch->receive_slots +
			   (size_t)((received + 16) & mask) * size);
	copy_element(element,
		     ch->receive_slots + (size_t)(received & mask) * size,
		     size);
	/* release: the slot, for who sends into it [channel.3] */
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release);
}

static void put_error_in_buffer(struct weft_channel *ch, int error)
{
	uint32_t sent = peek(ch->sent);

	ch->errors[sent & ch->mask] = error;
	atomic_store_explicit(&ch->sent, sent + 1,
			      memory_order_release); /* [channel.3] */
	weft__channel_count_special(ch, 1);
}

/* The error that is oldest in the buffer; 0: an element is. */
static int error_in_buffer(struct weft_channel *ch)
{
	return ch->errors ? ch->errors[peek(ch->received) & ch->mask] : 0;
}

static int take_error_from_buffer(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	int error = ch->errors[received & ch->mask];

	ch->errors[received & ch->mask] = 0;
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release); /* [channel.3] */
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
	RUN_BYTES = 16 * 1024, /* copied with a lock held */
	RUN_LEAST_PAUSES = 4,
	RUN_MOST_PAUSES = 20, /* more than the least */
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
	/* The waiter itself is in the other thread's cache: it is not asked. */
	if (peek(ch->waiting) != -direction || peek(ch->special)) {
		poke(ch->spinner, 0);
		return false;
	}
	if (direction > 0)
		copy_element(&ch->mail, element, ch->element_size);
	else
		copy_element(element, &ch->mail, ch->element_size);
	*weft__peers(ch, direction) = NULL;
	poke(ch->waiting, 0);
	atomic_store_explicit(&ch->spinner, spinner | MAILED,
			      memory_order_release);
	return true;
}

/* Whether rule R9 has the peer of this thread run at once. */
static INLINE bool favours_peer_of(struct weft_channel *ch, int direction)
{
	return !peek(ch->schedule_all) && peek(ch->preference) * direction < 0;
}

/* The peer, which is in no queue, runs now, and the caller keeps its place, and so
 * is last. */
static INLINE void run_peer(struct scheduler *s, struct weft_task *peer,
			    bool careful)
{
	struct weft_task *me = peek(s->current);

	poke(peer->state, WEFT_RUNNABLE);
	if (unlikely(weft__must_look(s))) {
		weft__enqueue_first(s, peer);
		weft__look_around(s);
		peer = weft__rotate(s, me);
	} else {
		weft__enqueue(s, me);
	}
	if (careful)
		weft__switch_to_careful(s, peer);
	else
		weft__switch_to(s, peer);
}

/* The peer goes to the end, and the caller gives way to its successor. */
static INLINE void yield_behind_peer(struct scheduler *s,
				     struct weft_task *peer, bool careful)
{
	weft__wake_local(s, peer);
	if (weft__must_look(s))
		weft__look_around(s);
	peer = weft__rotate(s, peek(s->current));
	if (careful)
		weft__switch_to_careful(s, peer);
	else
		weft__switch_to(s, peer);
}

/* Out of line, and last in what calls them, so that calls which do not switch
 * need few registers. */
static NOINLINE int run_peer_now(struct scheduler *s, struct weft_task *peer)
{
	LEAVE(s);
	run_peer(s, peer, false);
	return COME_BACK(s, 0);
}

static NOINLINE int yield_now(struct scheduler *s, struct weft_task *peer)
{
	LEAVE(s);
	yield_behind_peer(s, peer, false);
	return COME_BACK(s, 0);
}

/* Rule R9 for a peer of this thread, which has been claimed. */
static INLINE int give_turn(struct scheduler *s, struct weft_channel *ch,
			    struct weft_task *peer, int direction)
{
	if (favours_peer_of(ch, direction))
		return run_peer_now(s, peer);
	if (unlikely(peek(ch->schedule_all)))
		return yield_now(s, peer);
	weft__wake_local(s, peer);
	return 0;
}

static void give_turn_carefully(struct scheduler *s, struct weft_channel *ch,
				struct weft_task *peer, int direction)
{
	if (favours_peer_of(ch, direction))
		run_peer(s, peer, true);
	else if (peek(ch->schedule_all))
		yield_behind_peer(s, peer, true);
	else
		weft__wake_local(s, peer);
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

/* Blocks in a queue that the waiter was just put into (rule R10); lets go of all
 * locks. */
static INLINE int wait_in_queue(struct scheduler *s, struct weft_channel *ch,
				struct waiter *w, bool locked, bool may_mail,
				bool careful)
{
	/* Nothing else to run: with a busy peer the answer is nearly here. */
	bool spins = may_mail && unlikely(may_spin(s, locked));

	if (spins) {
		weft__release_word(s);
		spins = announce(ch, w);
	}
	if (careful)
		weft__channel_unlock(ch, locked);
	else
		weft__unlock(&ch->lock, locked);
	if (spins && spin_briefly(s, w, &ch->spinner))
		return 0;
	LEAVE(s);
	weft__block(s, w, careful);
	return COME_BACK(s, weft__outcome(w->task, w));
}

/* Field by field: a struct that is built elsewhere and copied is read back before
 * its stores have drained. The links are set when it is queued. */
static INLINE void init_waiter(struct waiter *w, struct scheduler *s,
			       void *element, int direction)
{
	w->task = peek(s->current);
	w->owner = s;
	w->element = element;
	w->kind = direction > 0 ? &sending : &receiving;
	w->result = 0;
	w->called_off = false;
}

static NOINLINE int wait_in_general(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    struct pass p, bool locked)
{
	struct error_sender e = { .error = p.error };

	init_waiter(&e.waiter, s, element, p.direction);
	if (p.error) {
		e.waiter.kind = &sending_error;
		weft__channel_count_special(ch, 1);
	}
	weft__channel_link(ch, &e.waiter, p.direction);
	return wait_in_queue(s, ch, &e.waiter, locked, !p.error, true);
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
	uint32_t n_buffered = weft__n_buffered(ch);

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
static bool finds_error(struct weft_channel *ch, enum way way,
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
		put_in_buffer(ch, sender->element, ch->element_size);
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
			put_in_buffer(ch, element, ch->element_size);
		return 0;
	}
	if (error_in_buffer(ch))
		error = take_error_from_buffer(ch);
	else
		take_from_buffer(ch, element, ch->receive_size);
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
		give_turn_carefully(s, ch, peer->task, p->direction);
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
			weft__channel_unlock(ch, locked);
			return rc;
		}
		if (way == WAY_NONE)
			return wait_in_general(s, ch, element, p, locked);
		/* A spinner may have dead cases before it, and is not alone. */
		if (way == WAY_PEER && !p.error &&
		    peer == *weft__peers(ch, p.direction) &&
		    pass_by_mail(ch, peer, element, p.direction)) {
			weft__channel_unlock(ch, locked);
			note_mailed(s, ch, &p);
			return 0;
		}
	} while (peer && !claim(ch, peer));

	if (way == WAY_BUFFER)
		rc = pass_by_buffer(ch, element, &p, peer);
	weft__channel_unlock(ch, locked);
	if (way == WAY_PEER)
		rc = pass_to_peer(ch, element, &p, peer);
	if (peer)
		let_peer_go(s, ch, &p, peer);
	return rc;
}

/* --- the fast ways --- */

static NOINLINE int wake_other(struct scheduler *s, struct waiter *peer)
{
	weft__wake_foreign(s, peer);
	return 0;
}

/* To or from a plain waiter that has been claimed. */
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
	return wake_other(s, peer); /* rule R8 */
}

static NOINLINE int send_sized(struct scheduler *s, struct weft_channel *ch,
			       struct waiter *peer, void *element)
{
	return pass_to_claimed(s, ch, peer, element, 1, ch->element_size);
}

static NOINLINE int receive_sized(struct scheduler *s, struct weft_channel *ch,
				  struct waiter *peer, void *element)
{
	return pass_to_claimed(s, ch, peer, element, -1, ch->element_size);
}

/* To or from the first of those that wait, which is a plain one. */
static INLINE int pass_to_first(struct scheduler *s, struct weft_channel *ch,
				void *element, int direction, bool locked)
{
	struct waiter *peer = claim_first(ch, direction);

	weft__unlock(&ch->lock, locked);
	if (likely(ch->element_size == 8))
		return pass_to_claimed(s, ch, peer, element, direction, 8);
	return direction > 0 ? send_sized(s, ch, peer, element)
			     : receive_sized(s, ch, peer, element);
}

/* The general way for an ordinary call. */
static int pass_plainly(struct scheduler *s, struct weft_channel *ch,
			void *element, int direction, bool locked)
{
	return weft__pass(
		s, ch, element,
		(struct pass){ .direction = direction, .waits = true }, locked);
}

/* Looks at the other side's count for a while, @count, until it is not @unwanted:
 * for a busy thread on the other side of a buffer, so that the two go on in runs,
 * and not with a wake for each element. The pauses grow, for each look takes a
 * cache line from the other side. Called with no lock held. */
static void await_run(struct scheduler *s, _Atomic(uint32_t) *count,
		      uint32_t unwanted)
{
	for (int look = 0, pauses = 1; look < RUN_LOOKS; look++) {
		/* relaxed: who sees that it has changed takes the lock */
		if (peek(*count) != unwanted ||
		    peek(s->inbox.word) != INBOX_EMPTY)
			break;
		for (int i = 0; i < pauses; i++)
			arch_pause();
		if (pauses < RUN_PAUSES)
			pauses *= 2;
	}
}

/* Whether there is room in the buffer; called with the lock held. */
static INLINE bool has_room(struct weft_channel *ch)
{
	if (likely(peek(ch->sent) != ch->send_limit))
		return true;
	/* acquire: the slots have been read [channel.3] */
	ch->send_limit =
		atomic_load_explicit(&ch->received, memory_order_acquire) +
		ch->capacity;
	return peek(ch->sent) != ch->send_limit;
}

/* Whether there is something in it; called with receive_lock held. */
static INLINE bool has_elements(struct weft_channel *ch)
{
	if (likely(peek(ch->received) != ch->receive_limit))
		return true;
	/* acquire: the elements have been written [channel.3] */
	ch->receive_limit =
		atomic_load_explicit(&ch->sent, memory_order_acquire);
	return peek(ch->received) != ch->receive_limit;
}

/* With an element size that is known, or not. */
static INLINE bool try_to_put(struct weft_channel *ch, const void *element,
			      size_t size)
{
	if (unlikely(!has_room(ch)))
		return false;
	put_in_buffer(ch, element, size);
	return true;
}

static INLINE bool try_to_take(struct weft_channel *ch, void *element,
			       size_t size)
{
	if (unlikely(!ch->receives_plainly || !has_elements(ch)))
		return false;
	take_from_buffer(ch, element, size);
	return true;
}

/* Into a buffer that is full; called with the lock held. */
static NOINLINE int send_to_full(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	bool has_put = false;

	if (may_spin(s, locked)) {
		uint32_t received = ch->send_limit - ch->capacity;

		weft__unlock(&ch->lock, locked);
		await_run(s, &ch->received, received);
		locked = weft__lock(&ch->lock);
		has_put = peek(ch->special) == CHANNEL_IS_BUFFERED &&
			  !ch->receivers &&
			  try_to_put(ch, element, ch->element_size);
	}
	if (has_put) {
		weft__unlock(&ch->lock, locked);
		return 0;
	}
	weft__lock(&ch->receive_lock);
	return pass_plainly(s, ch, element, 1, locked);
}

static INLINE int send_of_size(struct scheduler *s, struct weft_channel *ch,
			       void *element, bool locked, size_t size)
{
	if (unlikely(!try_to_put(ch, element, size)))
		return send_to_full(s, ch, element, locked);
	weft__unlock(&ch->lock, locked);
	return 0;
}

static NOINLINE int send_any_size(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked)
{
	return send_of_size(s, ch, element, locked, ch->element_size);
}

/* To a buffered channel about which nothing else is special; called with the lock
 * held. */
static NOINLINE int send_buffered(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked)
{
	if (unlikely(ch->receivers))
		return pass_to_first(s, ch, element, 1, locked);
	if (unlikely(ch->element_size != 8))
		return send_any_size(s, ch, element, locked);
	return send_of_size(s, ch, element, locked, 8);
}

/* How long to leave a busy sender alone before looking for more: who looks at once
 * finds one element, and takes the cache line away for it. As long as the last run
 * was, so that runs grow; but a dialogue, whose runs are of one, is not to wait,
 * and the sender is not to find the buffer full. */
static int pauses_before_run(struct weft_channel *ch)
{
	uint32_t received = peek(ch->received);
	uint32_t pauses = received - ch->run_began;

	ch->run_began = received;
	if (pauses > RUN_MOST_PAUSES)
		pauses = RUN_MOST_PAUSES;
	if (pauses > ch->capacity / 4)
		pauses = ch->capacity / 4;
	return RUN_LEAST_PAUSES + (int)pauses;
}

/* From a buffer that has nothing, as far as is known, or where more is to be
 * looked at; called with receive_lock held. */
static NOINLINE int receive_from_empty(struct scheduler *s,
				       struct weft_channel *ch, void *element,
				       bool locked)
{
	bool has_taken;

	if (ch->receives_plainly && may_spin(s, locked)) {
		uint32_t sent = ch->receive_limit;
		int pauses = pauses_before_run(ch);

		weft__unlock(&ch->receive_lock, locked);
		while (pauses-- > 0)
			arch_pause();
		await_run(s, &ch->sent, sent);
		locked = weft__lock(&ch->receive_lock);
	}
	has_taken = try_to_take(ch, element, ch->receive_size);
	weft__unlock(&ch->receive_lock, locked);
	if (has_taken)
		return 0;
	return pass_plainly(s, ch, element, -1, weft__channel_lock(ch));
}

static INLINE int receive_of_size(struct scheduler *s, struct weft_channel *ch,
				  void *element, bool locked, size_t size)
{
	if (unlikely(!ch->receives_plainly ||
		     peek(ch->received) == ch->receive_limit))
		return receive_from_empty(s, ch, element, locked);
	take_from_buffer(ch, element, size);
	weft__unlock(&ch->receive_lock, locked);
	return 0;
}

static NOINLINE int receive_any_size(struct scheduler *s,
				     struct weft_channel *ch, void *element,
				     bool locked)
{
	return receive_of_size(s, ch, element, locked, ch->receive_size);
}

/* Somebody else has the lock. */
static NOINLINE int receive_after_others(struct scheduler *s,
					 struct weft_channel *ch, void *element)
{
	lock_contended(&ch->receive_lock);
	return receive_of_size(s, ch, element, true, ch->receive_size);
}

static NOINLINE int receive_buffered(struct scheduler *s,
				     struct weft_channel *ch, void *element)
{
	bool locked;

	if (unlikely(!weft__lock_at_once(&ch->receive_lock, &locked)))
		return receive_after_others(s, ch, element);
	if (unlikely(ch->receive_size != 8))
		return receive_any_size(s, ch, element, locked);
	return receive_of_size(s, ch, element, locked, 8);
}

/* Anything but an open rendezvous channel with plain waiters. */
static NOINLINE int send_special(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	if (likely(peek(ch->special) == CHANNEL_IS_BUFFERED))
		return send_buffered(s, ch, element, locked);
	if (ch->capacity)
		weft__lock(&ch->receive_lock);
	return pass_plainly(s, ch, element, 1, locked);
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

	if (unlikely(peek(ch->special)))
		return direction > 0 ? send_special(s, ch, element, locked)
				     : pass_plainly(s, ch, element, -1, locked);
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
	rc = weft__pass(s, ch, element, p, weft__channel_lock(ch));
	if (rc > 0) {
		p.untold = false;
		weft__tell(s, ch, p.direction, rc == PASS_TELL_BLOCKS);
		rc = weft__pass(s, ch, element, p, weft__channel_lock(ch));
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

WEFT_API int weft_channel_send(weft_channel *ch, const void *element)
{
	struct scheduler *s = weft__fast;
	void *from = (void *)(uintptr_t)element;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return wait_carefully(ch, from, 1);
	return pass_element(s, ch, from, 1);
}

WEFT_API int weft_channel_receive(weft_channel *ch, void *element)
{
	struct scheduler *s = weft__fast;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return wait_carefully(ch, element, -1);
	if (unlikely(ch->capacity))
		return receive_buffered(s, ch, element);
	return pass_element(s, ch, element, -1);
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
	errors = calloc((size_t)ch->mask + 1, sizeof *errors);
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

/* Copies @n elements to slots, or from them, which may go round the end. */
static void copy_run(char *slots, uint32_t from, uint32_t mask, size_t size,
		     char *elements, size_t n, bool into)
{
	size_t till_end = (size_t)mask + 1 - from;
	size_t first = (n < till_end ? n : till_end) * size;
	size_t rest = n * size - first;
	char *start = slots + from * size;

	if (!size)
		return;
	memcpy(into ? start : elements, into ? elements : start, first);
	memcpy(into ? slots : elements + first, into ? elements + first : slots,
	       rest);
}

/* As many as find room in the buffer, while nobody has to be met. */
static uint32_t send_run(struct weft_channel *ch, char *elements, size_t most)
{
	bool locked = weft__lock(&ch->lock);
	uint32_t sent = peek(ch->sent);
	uint32_t n = 0;

	if (peek(ch->special) == CHANNEL_IS_BUFFERED && !ch->receivers &&
	    has_room(ch))
		n = ch->send_limit - sent;
	if (n > most)
		n = (uint32_t)most;
	if (n) {
		copy_run(ch->slots, sent & ch->mask, ch->mask, ch->element_size,
			 elements, n, true);
		atomic_store_explicit(&ch->sent, sent + n,
				      memory_order_release); /* [channel.3] */
	}
	weft__unlock(&ch->lock, locked);
	return n;
}

/* As many as the buffer has, likewise. */
static uint32_t receive_run(struct weft_channel *ch, char *elements,
			    size_t most)
{
	bool locked = weft__lock(&ch->receive_lock);
	uint32_t received = peek(ch->received);
	uint32_t n = 0;

	if (ch->receives_plainly && has_elements(ch))
		n = ch->receive_limit - received;
	if (n > most)
		n = (uint32_t)most;
	if (n) {
		copy_run(ch->receive_slots, received & ch->receive_mask,
			 ch->receive_mask, ch->receive_size, elements, n,
			 false);
		atomic_store_explicit(&ch->received, received + n,
				      memory_order_release); /* [channel.3] */
	}
	weft__unlock(&ch->receive_lock, locked);
	return n;
}

/* How many elements to copy at once, with a lock held: not for too long. */
static size_t most_at_once(const struct weft_channel *ch, size_t n)
{
	size_t most = ch->receive_size ? RUN_BYTES / ch->receive_size : n;

	return n < most ? n : most ? most : 1;
}

/* What a call returns that has no elements to pass. */
static int pass_none(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__enter(s) : -errno;
}

/* Whether the fast way may be taken that such runs are. */
static bool may_pass_runs(const struct weft_channel *ch)
{
	struct scheduler *s = weft__fast;

	return ch->capacity && s && !peek(s->current)->attention;
}

WEFT_API ssize_t weft_channel_send_many(weft_channel *ch, const void *elements,
					size_t n)
{
	char *each = (void *)(uintptr_t)elements;
	size_t done = 0;

	if (!n)
		return pass_none();
	while (done < n) {
		size_t passed =
			may_pass_runs(ch)
				? send_run(ch, each, most_at_once(ch, n - done))
				: 0;

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

	if (!max)
		return pass_none();
	while (done < max) {
		size_t passed =
			may_pass_runs(ch)
				? receive_run(ch, each,
					      most_at_once(ch, max - done))
				: 0;

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
	bool locked = weft__channel_lock(ch);

	poke(ch->special, peek(ch->special) | CHANNEL_IS_CLOSING);
	/* A thread that could not be attached finds nobody it can wake. */
	next = s ? claim_receivers(ch) : NULL;
	weft__channel_unlock(ch, locked);
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
	bool locked = weft__channel_lock(ch);

	poke(ch->special, peek(ch->special) & ~(uint32_t)CHANNEL_IS_CLOSING);
	weft__channel_unlock(ch, locked);
}

WEFT_API bool weft_channel_closing(weft_channel *ch)
{
	return peek(ch->special) & CHANNEL_IS_CLOSING;
}

WEFT_API bool weft_channel_closed(weft_channel *ch)
{
	/* Not by the balance: that counts cases which are dead, too. */
	bool locked = weft__channel_lock(ch);
	struct waiter *sender;
	bool is_closed = weft__find_way(ch, -1, &sender) == WAY_CLOSED;

	weft__channel_unlock(ch, locked);
	return is_closed;
}
