/* SPDX-License-Identifier: MIT */
/*
 * Waiting in a channel; see wait.c.
 */
#ifndef WEFT__CHANNEL_WAIT_H
#define WEFT__CHANNEL_WAIT_H

#include <string.h>

#include "channel/channel.h"
#include "core/block.h"
#include "core/park.h"
#include "core/thread.h"

extern const struct channel_kind weft__sending HIDDEN;
extern const struct channel_kind weft__sending_error HIDDEN;
extern const struct channel_kind weft__receiving HIDDEN;

static INLINE void copy_element(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)
		memcpy(to, from, size);
}

/* --- the spinner [channel.2] --- */

enum { MAIL_SIZE = sizeof(uint64_t), MAILED = 1, BRIEF_LOOKS = 64 };

/* Makes @w the spinner, if there is none. Called with the lock held. */
static INLINE bool announce(struct weft_channel *ch, struct waiter *w)
{
	/* acquire: the last spinner has read its mail [channel.2] */
	if (ch->element_size > MAIL_SIZE || ch->capacity ||
	    atomic_load_explicit(&ch->spinner, memory_order_acquire))
		return false;
	if (weft__channel_kind(w)->direction > 0)
		copy_element(&ch->mail, w->element, ch->element_size);
	poke(ch->spinner, (uintptr_t)w);
	return true;
}

/* Passes the element to or from the spinner, if @peer is the spinner and the only
 * waiter. @peer is the first of its queue. Called with the lock held. */
static INLINE bool pass_by_mail(struct weft_channel *ch, struct waiter *peer,
				void *element, int direction)
{
	uintptr_t spinner = peek(ch->spinner);

	if (likely(spinner != (uintptr_t)peer))
		return false;
	/* The waiter is in the other thread's cache, so nothing is read from it. */
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

/* Whether the thread may spin at all, and has nothing else to run. It does not
 * matter whether spinning paid lately: this is short compared to what a park
 * costs. */
static INLINE bool may_spin(struct scheduler *s, bool locked)
{
	return locked && s->spin_max_ns && weft__queue_is_empty(&s->queue) &&
	       weft__others_are_awake();
}

/* Looks for mail for about as long as a busy peer takes. The tasklet has not
 * blocked yet, and need not if mail comes. */
bool weft__spin_briefly(struct scheduler *s, struct waiter *w,
			_Atomic(uintptr_t) *word);

/* --- waiting --- */

/* The result of a call whose wait was called off. The waiter's `element` is then the
 * channel that became unused by that, or NULL. */
int weft__channel_called_off(struct waiter *w);

/* Blocks in a queue that the waiter was just put into (rule R10). Releases all
 * locks. */
static INLINE int wait_in_queue(struct scheduler *s, struct weft_channel *ch,
				struct waiter *w, bool locked, bool may_mail,
				bool careful)
{
	/* The thread has nothing else to run: if the peer is busy, its answer is
	 * near. */
	bool spins = may_mail && unlikely(may_spin(s, locked));

	if (spins) {
		weft__release_word(s);
		spins = announce(ch, w);
	}
	if (careful)
		weft__channel_unlock(ch, locked);
	else
		weft__unlock(&ch->lock, locked);
	if (spins && weft__spin_briefly(s, w, &ch->spinner))
		return 0;
	LEAVE(s);
	weft__block(s, w, careful);
	return COME_BACK(s, unlikely(w->called_off)
				    ? weft__channel_called_off(w)
				    : w->result);
}

/* Field by field: a struct that is built elsewhere and copied is read back before
 * its stores have drained. The links are set when the waiter is queued. */
static INLINE void init_waiter(struct waiter *w, struct scheduler *s,
			       void *element, int direction)
{
	w->task = peek(s->current);
	w->owner = s;
	w->element = element;
	w->kind = direction > 0 ? &weft__sending.wait : &weft__receiving.wait;
	w->result = 0;
	w->called_off = 0;
}

#endif /* WEFT__CHANNEL_WAIT_H */
