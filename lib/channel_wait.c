/* SPDX-License-Identifier: MIT */
/*
 * What waits in a channel, how it is called off, and spinning.
 *
 * A waiter is called off (kill, deadline, end of a thread) by unlinking it under
 * the lock. If that leaves the channel unused, it is the call that waited which
 * frees it, when it goes on: dropping elements is the program's code, and this may
 * be in the midst of a look at timers or requests. If it is not linked any more, it has been claimed: the element is on
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
 */
#include "channel_wait.h"

#include <stdio.h>

/* --- waiters --- */

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

	(void)s;
	if (!ch)
		return false;
	locked = weft__channel_lock(ch);
	is_linked = peek(w->channel) == ch; /* [channel.1] */
	if (is_linked) {
		weft__channel_unlink(ch, w);
		w->element = weft__channel_is_unused(ch) ? ch : NULL;
	}
	weft__channel_unlock(ch, locked);
	return is_linked;
}

static void give_up(struct waiter *w)
{
	if (w->element)
		weft__channel_free(w->element);
}

NOINLINE int weft__channel_called_off(struct waiter *w)
{
	int rc = weft__called_off(w);

	give_up(w);
	return rc;
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

/* --- the spinner [channel.2] --- */

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

bool weft__spin_briefly(struct scheduler *s, struct waiter *w,
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

/* --- the kinds --- */

const struct wait_kind weft__sending = { .cancel = call_off,
					 .give_up = give_up,
					 .begin_spin = begin_spin,
					 .end_spin = end_spin_of_sender,
					 .is_claimed = is_claimed,
					 .direction = 1,
					 .describe = describe_send };
const struct wait_kind weft__sending_error = { .cancel = call_off,
					       .give_up = give_up,
					       .is_claimed = is_claimed,
					       .direction = 1,
					       .is_special = true,
					       .describe = describe_send };
const struct wait_kind weft__receiving = { .cancel = call_off,
					   .give_up = give_up,
					   .begin_spin = begin_spin,
					   .end_spin = end_spin_of_receiver,
					   .is_claimed = is_claimed,
					   .direction = -1,
					   .describe = describe_receive };
