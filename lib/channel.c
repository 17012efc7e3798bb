/* SPDX-License-Identifier: MIT */
/*
 * Rendezvous channels: rules R9 and R10 (weft/channel.h).
 *
 * A channel is a queue of waiters, all senders or all receivers, and a lock that
 * is held for a few instructions. Who comes and finds a peer of the other kind
 * unlinks it under the lock: that is the claim. The claimer copies the element
 * after the unlock, straight between the two tasklets' memory, and wakes the
 * peer, whose waiter it must not touch from then on. Who finds none links a
 * waiter on its own stack and blocks.
 *
 * A waiter is called off (kill, end of a thread) by unlinking it under the lock.
 * If it is not linked any more, it has been claimed: the element is on its way,
 * so is the wake, and nothing is called off. [channel.1] `channel` in the waiter
 * says whether it is linked; it is written under the lock of that channel. A
 * claim by another thread and a calling-off by the owner meet in the lock, so
 * exactly one of them finds it linked. The one who calls off reads `channel`
 * before it has the lock, and the channel may be freed in between, by a claimer:
 * channels are type-stable, so the lock is still one, and under it `channel`
 * reads NULL.
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
 * References are counted under the lock too. A linked waiter needs none: the
 * channel is freed by whoever leaves it last with no reference left, be it by
 * weft_channel_unref() or by calling off.
 *
 * A call is made twice from one body: a fast one for callers for whom nothing is
 * to be looked at, and a careful one.
 */
#include "channel.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fork.h"
#include "park.h"
#include "scheduler.h"
#include "thread.h"

/* --- memory --- */

enum { CHANNELS_AT_ONCE = 31 };

struct channel_slab {
	struct channel_slab *next;
	struct weft_channel channels[CHANNELS_AT_ONCE];
};

/* Channels without a reference. The memory is never given back, see above. */
static struct {
	pthread_mutex_t mutex;
	struct weft_channel *free;
	struct channel_slab *slabs; /* all, so that none looks lost */
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void put_in_pool(struct weft_channel *ch)
{
	ch->next_free = pool.free;
	pool.free = ch;
}

static void fill_pool(void)
{
	struct channel_slab *slab =
		aligned_alloc(_Alignof(struct channel_slab), sizeof *slab);

	if (!slab)
		return;
	memset(slab, 0, sizeof *slab);
	slab->next = pool.slabs;
	pool.slabs = slab;
	for (int i = 0; i < CHANNELS_AT_ONCE; i++)
		put_in_pool(&slab->channels[i]);
}

/* The first in the pool that no spinner has yet to let go of. */
static struct weft_channel **find_in_pool(void)
{
	struct weft_channel **place = &pool.free;

	while (*place &&
	       atomic_load_explicit(&(*place)->spinner,
				    memory_order_acquire)) /* [channel.2] */
		place = &(*place)->next_free;
	return place;
}

static struct weft_channel *take_from_pool(void)
{
	struct weft_channel **place;
	struct weft_channel *ch;

	pthread_mutex_lock(&pool.mutex);
	place = find_in_pool();
	if (!*place) {
		fill_pool();
		place = find_in_pool();
	}
	ch = *place;
	if (ch)
		*place = ch->next_free;
	pthread_mutex_unlock(&pool.mutex);
	return ch;
}

static void free_channel(struct weft_channel *ch)
{
	pthread_mutex_lock(&pool.mutex);
	put_in_pool(ch);
	pthread_mutex_unlock(&pool.mutex);
}

WEFT_API weft_channel *weft_channel_new(size_t element_size, size_t capacity)
{
	struct weft_channel *ch;
	bool locked;

	if (capacity) {
		errno = EOPNOTSUPP;
		return NULL;
	}
	ch = take_from_pool();
	if (!ch) {
		errno = ENOMEM;
		return NULL;
	}
	/* A late caller-off may hold the lock: see above. */
	locked = weft__lock(&ch->lock);
	ch->references = 1;
	ch->element_size = element_size;
	poke(ch->balance, 0);
	poke(ch->preference, -1);
	poke(ch->schedule_all, false);
	ch->name[0] = '\0';
	weft__unlock(&ch->lock, locked);
	return ch;
}

WEFT_API weft_channel *weft_channel_ref(weft_channel *ch)
{
	bool locked = weft__lock(&ch->lock);

	ch->references++;
	weft__unlock(&ch->lock, locked);
	return ch;
}

WEFT_API void weft_channel_unref(weft_channel *ch)
{
	bool locked, is_unused;

	if (!ch)
		return;
	locked = weft__lock(&ch->lock);
	REQUIRE(ch->references, "weft_channel_unref() of a channel that has "
				"no reference left");
	is_unused = !--ch->references && !ch->first;
	weft__unlock(&ch->lock, locked);
	if (is_unused)
		free_channel(ch);
}

/* --- waiters --- */

static INLINE void link_waiter(struct weft_channel *ch, struct waiter *w)
{
	w->next = NULL;
	w->prev = ch->last;
	if (ch->last)
		ch->last->next = w;
	else
		ch->first = w;
	ch->last = w;
	/* relaxed here and below: read under the lock, or as a hint */
	poke(w->channel, ch); /* [channel.1] */
}

static INLINE struct waiter *claim_first(struct weft_channel *ch)
{
	struct waiter *w = ch->first;

	ch->first = w->next;
	if (w->next)
		w->next->prev = NULL;
	else
		ch->last = NULL;
	poke(w->channel, NULL); /* [channel.1] */
	return w;
}

static void unlink_waiter(struct weft_channel *ch, struct waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		ch->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		ch->last = w->prev;
	poke(w->channel, NULL); /* [channel.1] */
	poke(ch->balance, peek(ch->balance) + (peek(ch->balance) < 0 ? 1 : -1));
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
		unlink_waiter(ch, w);
		is_unused = !ch->references && !ch->first;
	}
	weft__unlock(&ch->lock, locked);
	if (is_unused)
		free_channel(ch);
	return is_linked;
}

static bool is_claimed(const struct waiter *w)
{
	return !peek(((struct waiter *)w)->channel); /* [channel.1] */
}

static void describe(const struct waiter *w, char *text, size_t size,
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
	describe(w, text, size, "sends to");
}

static void describe_receive(const struct waiter *w, char *text, size_t size)
{
	describe(w, text, size, "receives from");
}

/* --- fork --- */

/* Every channel there is, in use or not. */
static void each_channel(void (*look)(struct weft_channel *ch, const void *arg),
			 const void *arg)
{
	for (struct channel_slab *slab = pool.slabs; slab; slab = slab->next)
		for (int i = 0; i < CHANNELS_AT_ONCE; i++)
			look(&slab->channels[i], arg);
}

static void lock_one(struct weft_channel *ch, const void *arg)
{
	(void)arg;
	lock_contended(&ch->lock);
}

static void unlock_one(struct weft_channel *ch, const void *arg)
{
	(void)arg;
	weft__unlock(&ch->lock, true);
}

void weft__channel_lock_all(void)
{
	pthread_mutex_lock(&pool.mutex);
	each_channel(lock_one, NULL);
}

void weft__channel_unlock_all(void)
{
	each_channel(unlock_one, NULL);
	pthread_mutex_unlock(&pool.mutex);
}

static void forget_others_of(struct weft_channel *ch, const void *self)
{
	struct waiter *next;

	poke(ch->spinner, 0);
	for (struct waiter *w = ch->first; w; w = next) {
		next = w->next;
		if (w->owner != self)
			unlink_waiter(ch, w);
	}
}

void weft__channel_forget_others(const struct scheduler *self)
{
	each_channel(forget_others_of, self);
}

/* --- send and receive --- */

static INLINE void copy_element(void *to, const void *from, size_t size)
{
	if (likely(size == 8))
		memcpy(to, from, 8);
	else if (size)
		memcpy(to, from, size);
}

/* What the calls that pass an element have in common; the constants make a body
 * of its own of each. */
struct pass {
	int direction; /* 1: a send, -1: a receive: what the balance moves by */
	bool careful;
	bool waits;
	bool untold; /* careful: the channel callback is still to be called */
};

/* What a call comes back with to have the callback called first. */
enum { TELL_READY = 1, TELL_BLOCKS = 2 };

static void tell(struct scheduler *s, struct weft_channel *ch, struct pass p,
		 bool will_block)
{
	bool was_inside = weft__begin_callback(s);

	s->on_channel(ch, weft__handle(peek(s->current)), p.direction > 0,
		      will_block, s->on_channel_ctx);
	weft__end_callback(s, was_inside);
}

/* --- the spinner [channel.2] --- */

enum { MAIL_SIZE = sizeof(uint64_t), MAILED = 1, BRIEF_LOOKS = 64 };

/* Makes w the spinner, if there is none. Called with the lock held. */
static INLINE bool announce(struct weft_channel *ch, struct waiter *w)
{
	/* acquire: the last spinner has read its mail [channel.2] */
	if (ch->element_size > MAIL_SIZE ||
	    atomic_load_explicit(&ch->spinner, memory_order_acquire))
		return false;
	if (peek(ch->balance) > 0)
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
					  .describe = describe_send };
static const struct wait_kind receiving = { .cancel = call_off,
					    .begin_spin = begin_spin,
					    .end_spin = end_spin_of_receiver,
					    .is_claimed = is_claimed,
					    .describe = describe_receive };

/* Passes the element to or from the spinner, if the only waiter is it. Called
 * with the lock held. */
static INLINE bool pass_by_mail(struct weft_channel *ch, void *element,
				struct pass p)
{
	uintptr_t spinner = peek(ch->spinner);

	if (likely(spinner != (uintptr_t)ch->first))
		return false;
	if (ch->first != ch->last) {
		poke(ch->spinner, 0);
		return false;
	}
	if (p.direction > 0)
		copy_element(&ch->mail, element, ch->element_size);
	else
		copy_element(element, &ch->mail, ch->element_size);
	ch->first = ch->last = NULL;
	poke(ch->balance, 0);
	atomic_store_explicit(&ch->spinner, spinner | MAILED,
			      memory_order_release);
	return true;
}

/* Whether rule R9 has the peer of this thread run at once. */
static INLINE bool favours_peer_of(struct weft_channel *ch, struct pass p)
{
	return !peek(ch->schedule_all) &&
	       peek(ch->preference) * p.direction < 0;
}

/* Rule R9 for a peer of this thread, which has been claimed. */
static INLINE void give_turn(struct scheduler *s, struct weft_channel *ch,
			     struct weft_task *peer, struct pass p)
{
	struct weft_task *me = peek(s->current);
	bool yields = peek(ch->schedule_all);
	bool favours_peer = favours_peer_of(ch, p);

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
	if (p.careful)
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

/* Rule R10; called with the lock held. Out of line: it is the way of a call that
 * has to switch, and the other one needs few registers. */
static INLINE int wait_for_peer(struct scheduler *s, struct weft_channel *ch,
				void *element, bool locked, struct pass p)
{
	struct waiter w = { .task = peek(s->current),
			    .owner = s,
			    .element = element,
			    .kind = p.direction > 0 ? &sending : &receiving };

	bool spins;

	link_waiter(ch, &w);
	poke(ch->balance, peek(ch->balance) + p.direction);
	/* Nothing else to run: with a busy peer the answer is nearly here. */
	spins = may_spin(s, locked);
	if (spins) {
		weft__release_word(s);
		spins = announce(ch, &w);
	}
	weft__unlock(&ch->lock, locked);
	if (spins && spin_briefly(s, &w, &ch->spinner))
		return 0;
	weft__block(s, &w, p.careful);
	return weft__outcome(w.task, &w);
}

/* A busy receiver is on its way back. If the sender queued up, the receiver
 * would find it, and go on while the sender is still on its own way back: in a
 * dialogue each would then be late for the other, every time, and pay twice. So
 * it is the sender who waits for the receiver to have queued up. */
static void await_receiver(struct scheduler *s, struct weft_channel *ch)
{
	for (int i = 0; i < BRIEF_LOOKS; i++) {
		/* relaxed: the lock orders what is there */
		if (peek(ch->balance) < 0 || peek(s->inbox.word) != INBOX_EMPTY)
			break;
		arch_pause();
	}
}

static NOINLINE int wait_to_send(struct scheduler *s, struct weft_channel *ch,
				 void *element, bool locked)
{
	return wait_for_peer(s, ch, element, locked,
			     (struct pass){ .direction = 1 });
}

static NOINLINE int wait_to_receive(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    bool locked)
{
	return wait_for_peer(s, ch, element, locked,
			     (struct pass){ .direction = -1 });
}

/* For a careful call, with the lock held: 0, or what is to be returned before
 * anything has moved. */
static int look_before(struct scheduler *s, struct weft_channel *ch,
		       struct pass p)
{
	struct waiter *peer =
		peek(ch->balance) * p.direction < 0 ? ch->first : NULL;
	bool is_local = peer && peer->owner == s;

	if (p.untold && (!peer || is_local))
		return peer ? TELL_READY : TELL_BLOCKS;
	if (!peer)
		return p.waits ? weft__may_wait(s) : -EAGAIN;
	return is_local && weft__is_trapped(s) &&
			       (peek(ch->schedule_all) ||
				favours_peer_of(ch, p))
		       ? -EPERM
		       : 0;
}

static INLINE int pass_element(struct scheduler *s, struct weft_channel *ch,
			       void *element, struct pass p)
{
	bool locked = weft__lock(&ch->lock);
	int balance = peek(ch->balance);
	struct waiter *peer;

	if (balance * p.direction >= 0 && p.waits && p.direction > 0 &&
	    unlikely(may_spin(s, locked))) {
		weft__unlock(&ch->lock, locked);
		await_receiver(s, ch);
		locked = weft__lock(&ch->lock);
		balance = peek(ch->balance);
	}
	if (p.careful) {
		int rc = look_before(s, ch, p);

		if (rc) {
			weft__unlock(&ch->lock, locked);
			return rc;
		}
	}
	if (balance * p.direction >= 0) {
		if (p.careful)
			return wait_for_peer(s, ch, element, locked, p);
		return p.direction > 0
			       ? wait_to_send(s, ch, element, locked)
			       : wait_to_receive(s, ch, element, locked);
	}
	if (pass_by_mail(ch, element, p)) {
		weft__unlock(&ch->lock, locked);
		count(s->wakes_saved);
		if (p.careful && p.untold)
			tell(s, ch, p, false);
		return 0; /* rule R8 */
	}
	peer = claim_first(ch);
	poke(ch->balance, balance + p.direction);
	weft__unlock(&ch->lock, locked);

	if (p.direction > 0)
		copy_element(peer->element, element, ch->element_size);
	else
		copy_element(element, peer->element, ch->element_size);
	if (likely(peer->owner == s)) {
		give_turn(s, ch, peer->task, p);
		return 0;
	}
	weft__wake_foreign(s, peer); /* rule R8 */
	if (p.careful && p.untold)
		tell(s, ch, p, false);
	return 0;
}

static NOINLINE int pass_carefully(struct weft_channel *ch, void *element,
				   int direction, bool waits)
{
	struct scheduler *s = weft__scheduler();
	struct pass p = { .direction = direction,
			  .careful = true,
			  .waits = waits };
	int rc;

	if (!s)
		return -errno;
	rc = waits ? weft__enter(s) : 0;
	if (rc)
		return rc;
	p.untold = s->on_channel && !s->in_callback;
	rc = pass_element(s, ch, element, p);
	if (rc > 0) {
		p.untold = false;
		tell(s, ch, p, rc == TELL_BLOCKS);
		rc = pass_element(s, ch, element, p);
	}
	weft__note_runnable(s);
	return rc;
}

static INLINE int pass_or_wait(struct weft_channel *ch, void *element,
			       int direction)
{
	struct scheduler *s = weft__fast;

	if (unlikely(!s) || unlikely(peek(s->current)->attention))
		return pass_carefully(ch, element, direction, true);
	return pass_element(
		s, ch, element,
		(struct pass){ .direction = direction, .waits = true });
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
	return pass_carefully(ch, (void *)(uintptr_t)element, 1, false);
}

WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element)
{
	return pass_carefully(ch, element, -1, false);
}

/* --- looking and setting --- */

WEFT_API void weft_set_channel_callback(weft_channel_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	s->on_channel = fn;
	s->on_channel_ctx = ctx;
	weft__choose_ways(s);
}

WEFT_API int weft_channel_balance(weft_channel *ch)
{
	return peek(ch->balance);
}

WEFT_API void weft_channel_set_preference(weft_channel *ch, int preference)
{
	poke(ch->preference, (int8_t)((preference > 0) - (preference < 0)));
}

WEFT_API int weft_channel_preference(weft_channel *ch)
{
	return peek(ch->preference);
}

WEFT_API void weft_channel_set_schedule_all(weft_channel *ch, bool on)
{
	poke(ch->schedule_all, on);
}

WEFT_API bool weft_channel_schedule_all(weft_channel *ch)
{
	return peek(ch->schedule_all);
}

WEFT_API void weft_channel_set_name(weft_channel *ch, const char *name)
{
	size_t length = name ? strnlen(name, CHANNEL_NAME_SIZE - 1) : 0;
	bool locked = weft__lock(&ch->lock);

	if (length)
		memcpy(ch->name, name, length);
	ch->name[length] = '\0';
	weft__unlock(&ch->lock, locked);
}

WEFT_API size_t weft_channel_waiters(weft_channel *ch, weft_tasklet *out,
				     size_t capacity)
{
	bool locked = weft__lock(&ch->lock);
	size_t n = 0;

	for (struct waiter *w = ch->first; w; w = w->next) {
		if (n < capacity)
			out[n] = weft__handle(w->task);
		n++;
	}
	weft__unlock(&ch->lock, locked);
	return n;
}
