/* SPDX-License-Identifier: MIT */
/*
 * Waiting in a channel; see channel_wait.c.
 */
#ifndef WEFT__CHANNEL_WAIT_H
#define WEFT__CHANNEL_WAIT_H

#include <string.h>

#include "channel.h"
#include "park.h"
#include "scheduler.h"
#include "thread.h"

extern const struct wait_kind weft__sending HIDDEN;
extern const struct wait_kind weft__sending_error HIDDEN;
extern const struct wait_kind weft__receiving HIDDEN;

static INLINE void copy_element(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)
		memcpy(to, from, size);
}

/* --- the spinner [channel.2] --- */

enum { MAIL_SIZE = sizeof(uint64_t), MAILED = 1, BRIEF_LOOKS = 64 };

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

/* Whether the thread has nothing else to run, and may spin at all. Whether it
 * paid lately does not matter: it is short beside what a park costs. */
static INLINE bool may_spin(struct scheduler *s, bool locked)
{
	return locked && s->spin_max_ns && weft__queue_is_empty(s) &&
	       weft__others_are_awake();
}

/* Looks for mail for about as long as a busy peer takes. The tasklet has not
 * blocked yet, and need not if some comes. */
bool weft__spin_briefly(struct scheduler *s, struct waiter *w,
			_Atomic(uintptr_t) *word);

/* --- waiting --- */

/* What a call returns whose wait was called off. Its waiter's element is a channel
 * that was left unused by that, or NULL. */
int weft__channel_called_off(struct waiter *w);

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
	if (spins && weft__spin_briefly(s, w, &ch->spinner))
		return 0;
	LEAVE(s);
	weft__block(s, w, careful);
	return COME_BACK(s, unlikely(w->called_off)
				    ? weft__channel_called_off(w)
				    : w->result);
}

/* Field by field: a struct that is built elsewhere and copied is read back before
 * its stores have drained. The links are set when it is queued. */
static INLINE void init_waiter(struct waiter *w, struct scheduler *s,
			       void *element, int direction)
{
	w->task = peek(s->current);
	w->owner = s;
	w->element = element;
	w->kind = direction > 0 ? &weft__sending : &weft__receiving;
	w->result = 0;
	w->called_off = 0;
}

#endif /* WEFT__CHANNEL_WAIT_H */
