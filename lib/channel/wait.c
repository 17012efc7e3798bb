/* SPDX-License-Identifier: MIT */
/*
 * The waiters of a channel, how they are called off, and spinning.
 *
 * A wait is called off (kill, deadline, end of a thread) by unlinking the waiter
 * under the lock. If the channel is then unused, the call that waited frees it when
 * it goes on: freeing runs the program's `drop`, and calling off may happen in the
 * middle of a look at timers or requests. If the waiter is no longer linked, it has
 * been claimed: the element is on its way, so is the wake, and nothing is called
 * off.
 *
 * [channel.1] `channel` in the waiter says whether the waiter is linked; it is
 * written under the lock of that channel. A claim by another thread and a
 * calling-off by the owner meet in the lock, so exactly one of them finds the
 * waiter linked. The owner that calls off reads `channel` before it has the lock,
 * and a claimer may free the channel in between. Channels are type-stable: the lock
 * is still a lock, and under it `channel` reads NULL. (A waiter of a selection is
 * claimed in another way, see select.c.)
 *
 * [channel.2] Two busy threads that pass small elements meet in the channel's cache
 * line alone. A tasklet whose thread has nothing else to run and spins is the
 * channel's spinner. While the spinner is the only waiter, its peer takes it out of
 * the queue, passes the element in `mail` and marks `spinner`; it neither touches
 * the waiter nor hands it to the inbox of its thread. `spinner` goes
 *
 *	0 -> w       by the owner of w under the lock, w being linked
 *	w -> w | 1   by a peer under the lock: w is claimed, the mail is there.
 *	             Release; the owner's acquire sees mail [channel.2]
 *	w -> 0       under the lock, by a peer that claims w the usual way, or by
 *	             the owner, who stops spinning
 *	w | 1 -> 0   by the owner, without the lock, some time after it has taken
 *	             the mail; its last access to the channel. Release; the
 *	             next spinner, and whoever uses the channel's memory
 *	             again, acquires the 0 [channel.2]
 *
 * Until `spinner` is 0 again, there can be no other spinner, and the memory of a
 * freed channel is not used again. The owner cannot call w off meanwhile: it calls
 * waits off on the same thread, when it is not spinning.
 */
#include "channel/wait.h"

#include <stdio.h>

#include "base/cpu.h"

/* --- waiters --- */

void weft__channel_unlink(struct weft_channel *ch, struct waiter *w)
{
	int direction = weft__channel_kind(w)->direction;

	weft__waiters_take(direction > 0 ? &ch->senders : &ch->receivers, w);
	poke(ch->waiting, peek(ch->waiting) - direction);
	if (weft__channel_kind(w)->is_special)
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
	struct weft_channel *ch = w->element;

	w->element = NULL;
	if (ch)
		weft__channel_free(ch);
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
	/* The tasklet is likely to come back here. Its cache line is then its own
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
		/* relaxed, no pair: end_spin orders what has come */
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

const struct channel_kind weft__sending = {
	.wait = { .cancel = call_off,
		  .give_up = give_up,
		  .begin_spin = begin_spin,
		  .end_spin = end_spin_of_sender,
		  .is_claimed = is_claimed,
		  .describe = describe_send },
	.direction = 1,
};

const struct channel_kind weft__sending_error = {
	.wait = { .cancel = call_off,
		  .give_up = give_up,
		  .is_claimed = is_claimed,
		  .describe = describe_send },
	.direction = 1,
	.is_special = true,
};

const struct channel_kind weft__receiving = {
	.wait = { .cancel = call_off,
		  .give_up = give_up,
		  .begin_spin = begin_spin,
		  .end_spin = end_spin_of_receiver,
		  .is_claimed = is_claimed,
		  .describe = describe_receive },
	.direction = -1,
};
