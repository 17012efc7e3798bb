/* SPDX-License-Identifier: MIT */
/*
 * The general path of a send or a receive. It is for callers that have something to
 * look at (kill, raise, deadline, traps, callbacks, another loop that drives the
 * thread), for channels about which something is special (closed, errors, waiting
 * cases of selections), and for selections. Errors in place of elements, and
 * closing, are here too.
 */
#include "channel/pass.h"

#include <errno.h>
#include <stdlib.h>

#include "channel/buffer.h"

/* --- the channel callback --- */

/* This thread's callback, while the thread is CAREFUL_OF_CHANNEL. */
static __thread struct {
	weft_channel_fn fn;
	void *ctx;
} hook __attribute__((tls_model("initial-exec")));

WEFT_API void weft_set_channel_callback(weft_channel_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	hook.fn = fn;
	hook.ctx = ctx;
	weft__set_careful(s, CAREFUL_OF_CHANNEL, fn);
}

void weft__tell(struct scheduler *s, struct weft_channel *ch, int direction,
		bool will_block)
{
	bool was_inside;

	/* Another call of it, for the same selection, may have taken it away. */
	if (!hook.fn)
		return;
	was_inside = weft__begin_callback(s);
	hook.fn(ch, weft__handle(peek(s->current)), direction > 0, will_block,
		hook.ctx);
	weft__end_callback(s, was_inside);
}

/* --- turns --- */

/* The peer, which is in no queue, runs now. The caller keeps its place, and so is
 * the last in the run queue. */
static INLINE void run_peer(struct scheduler *s, struct weft_task *peer,
			    bool careful)
{
	struct weft_task *me = peek(s->current);

	weft__make_runnable(peer);
	if (unlikely(weft__must_look(s))) {
		weft__enqueue_first(&s->queue, peer);
		weft__look_around(s);
		peer = weft__rotate_or_pause(s, me);
	} else {
		weft__enqueue(&s->queue, me);
	}
	if (careful)
		weft__switch_to_careful(s, peer);
	else
		weft__switch_to(s, peer);
}

/* The peer goes to the end of the run queue, and the caller gives way to its
 * successor. */
static INLINE void yield_behind_peer(struct scheduler *s,
				     struct weft_task *peer, bool careful)
{
	struct weft_task *me = peek(s->current);

	weft__wake_local(s, peer);
	if (unlikely(weft__must_look(s))) {
		weft__look_around(s);
		peer = weft__rotate_or_pause(s, me);
	} else {
		peer = weft__rotate(&s->queue, me);
	}
	if (careful)
		weft__switch_to_careful(s, peer);
	else
		weft__switch_to(s, peer);
}

/* These are out of line and the last step of their callers, so that calls which do
 * not switch need few registers. */
NOINLINE int weft__run_peer(struct scheduler *s, struct weft_task *peer)
{
	LEAVE(s);
	run_peer(s, peer, false);
	return COME_BACK(s, 0);
}

NOINLINE int weft__yield_behind(struct scheduler *s, struct weft_task *peer)
{
	LEAVE(s);
	yield_behind_peer(s, peer, false);
	return COME_BACK(s, 0);
}

/* Another thread may have changed the channel's preference since
 * weft__is_forbidden() has looked at it. */
static void give_turn_carefully(struct scheduler *s, struct weft_channel *ch,
				struct weft_task *peer, int direction)
{
	if (unlikely(weft__is_trapped(s)))
		weft__wake_local(s, peer);
	else if (favours_peer_of(ch, direction))
		run_peer(s, peer, true);
	else if (peek(ch->schedule_all))
		yield_behind_peer(s, peer, true);
	else
		weft__wake_local(s, peer);
}

NOINLINE int weft__wake_other(struct scheduler *s, struct waiter *peer)
{
	weft__wake_foreign(s, peer);
	return 0;
}

NOINLINE int weft__send_sized(struct scheduler *s, struct weft_channel *ch,
			      struct waiter *peer, void *element)
{
	return pass_to_claimed(s, ch, peer, element, 1, ch->element_size);
}

NOINLINE int weft__receive_sized(struct scheduler *s, struct weft_channel *ch,
				 struct waiter *peer, void *element)
{
	return pass_to_claimed(s, ch, peer, element, -1, ch->element_size);
}

/* --- the general path --- */

/* A waiter that sends an error. */
struct error_sender {
	struct waiter waiter; /* first */
	int error;
};

static NOINLINE int wait_in_general(struct scheduler *s,
				    struct weft_channel *ch, void *element,
				    struct pass p, bool locked)
{
	struct error_sender e = { .error = p.error };

	init_waiter(&e.waiter, s, element, p.direction);
	if (p.error) {
		e.waiter.kind = &weft__sending_error.wait;
		weft__channel_count_special(ch, 1);
	}
	weft__channel_link(ch, &e.waiter, p.direction);
	return wait_in_queue(s, ch, &e.waiter, locked, !p.error, true);
}

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

/* Returns false if @w is a case of a selection that has been claimed meanwhile. */
static bool claim(struct weft_channel *ch, struct waiter *w)
{
	if (weft__waiter_is_case(w) && !weft__select_claim(w))
		return false;
	if (peek(ch->spinner) == (uintptr_t)w)
		poke(ch->spinner, 0); /* it is to be woken instead of getting
				       * mail */
	weft__channel_unlink(ch, w);
	return true;
}

static int error_of_sender(const struct waiter *w)
{
	return w->kind == &weft__sending_error.wait
		       ? ((const struct error_sender *)w)->error
		       : 0;
}

/* Whether the next thing to receive is an error. */
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

/* Returns 0, or what is to be returned before anything has moved. */
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
		return PASS_GONE;
	if (p.spares_errors && finds_error(ch, way, peer))
		return -EAGAIN;
	if (weft__is_forbidden(s, ch, p.direction, peer))
		return PASS_TRAPPED;
	return 0;
}

/* Puts the element or error of a claimed sender into the buffer. */
static void refill_buffer(struct weft_channel *ch, const struct waiter *sender)
{
	int error = error_of_sender(sender);

	if (error)
		weft__put_error_in_buffer(ch, error);
	else
		put_in_buffer(ch, sender->element, ch->element_size);
}

/* Passes an element or error to or from the buffer. The peer, if any, has been
 * claimed. */
static int pass_by_buffer(struct weft_channel *ch, void *element,
			  const struct pass *p, const struct waiter *peer)
{
	int error = 0;

	if (p->direction > 0) {
		if (p->error)
			weft__put_error_in_buffer(ch, p->error);
		else
			put_in_buffer(ch, element, ch->element_size);
		return 0;
	}
	if (error_in_buffer(ch))
		error = weft__take_error_from_buffer(ch);
	else
		take_from_buffer(ch, element, ch->receive_size);
	if (peer)
		refill_buffer(ch, peer);
	return -error;
}

/* Passes an element or error between the caller and its peer, which has been
 * claimed. */
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

/* Applies rules R8 and R9 to a peer that has been claimed and served. */
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
		/* Dead cases may stand before a spinner; then it is not alone. */
		if (way == WAY_PEER && !p.error &&
		    peer == *weft__peers(ch, p.direction) &&
		    pass_by_mail(ch, peer, element, p.direction)) {
			weft__channel_unlock(ch, locked);
			note_mailed(s, ch, &p);
			return 0;
		}
	} while (peer && !claim(ch, peer));

	if (weft__is_unbounded(ch) && p.direction > 0 && way == WAY_BUFFER &&
	    !weft__make_room(ch, p.error)) {
		weft__channel_unlock(ch, locked);
		return -ENOMEM;
	}
	if (way == WAY_BUFFER)
		rc = pass_by_buffer(ch, element, &p, peer);
	weft__channel_unlock(ch, locked);
	if (way == WAY_PEER)
		rc = pass_to_peer(ch, element, &p, peer);
	if (peer)
		let_peer_go(s, ch, &p, peer);
	return rc;
}

int weft__pass_plainly(struct scheduler *s, struct weft_channel *ch,
		       void *element, int direction, bool locked)
{
	return weft__pass(
		s, ch, element,
		(struct pass){ .direction = direction, .waits = true }, locked);
}

/* --- errors in place of elements --- */

/* Allocates the buffer's places for errors. */
static int prepare_errors(struct weft_channel *ch)
{
	int *errors;
	bool locked, has_some;

	if (!ch->capacity || weft__is_unbounded(ch))
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

/* --- calls --- */

/* The result of a call other than a selection. */
static int result_of(int rc)
{
	switch (rc) {
	case PASS_GONE:
		return -EAGAIN;
	case PASS_TRAPPED:
		return -EPERM;
	default:
		return rc;
	}
}

NOINLINE int weft__pass_carefully(struct weft_channel *ch, void *element,
				  struct pass p)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	rc = p.waits ? weft__enter(s) : 0;
	if (!rc && p.error)
		rc = prepare_errors(ch);
	if (rc)
		return rc;
	p.untold = weft__is_to_tell(s);
	rc = weft__pass(s, ch, element, p, weft__channel_lock(ch));
	if (rc == PASS_TELL_READY || rc == PASS_TELL_BLOCKS) {
		p.untold = false;
		weft__tell(s, ch, p.direction, rc == PASS_TELL_BLOCKS);
		/* A kill or a deadline that came during the callback has found no
		 * wait to call off. */
		rc = p.waits ? weft__enter(s) : 0;
		if (!rc)
			rc = weft__pass(s, ch, element, p,
					weft__channel_lock(ch));
	}
	weft__note_runnable(s);
	return result_of(rc);
}

NOINLINE int weft__pass_waiting(struct weft_channel *ch, void *element,
				int direction)
{
	return weft__pass_carefully(
		ch, element,
		(struct pass){ .direction = direction, .waits = true });
}

/* --- calls that do not wait --- */

WEFT_API int weft_channel_try_send(weft_channel *ch, const void *element)
{
	return weft__pass_carefully(ch, (void *)(uintptr_t)element,
				    (struct pass){ .direction = 1 });
}

WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element)
{
	return weft__pass_carefully(ch, element,
				    (struct pass){ .direction = -1 });
}

WEFT_API int weft_channel_send_error(weft_channel *ch, int err)
{
	struct pass p = { .direction = 1, .error = err, .waits = true };

	return err > 0 ? weft__pass_carefully(ch, NULL, p) : -EINVAL;
}

/* --- closing --- */

/* Claims all receivers, which are to be told. Returns a list, the oldest first. */
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
	/* A thread that could not be attached cannot wake anybody. */
	next = s ? claim_receivers(ch) : NULL;
	weft__channel_unlock(ch, locked);
	while (next) {
		struct waiter *w = next;

		next = w->next;
		if (weft__waiter_is_case(w))
			w = weft__select_settle(w);
		weft__wake(s, w);
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
	/* Not by the balance: it counts dead cases too. */
	bool locked = weft__channel_lock(ch);
	struct waiter *sender;
	bool is_closed = weft__find_way(ch, -1, &sender) == WAY_CLOSED;

	weft__channel_unlock(ch, locked);
	return is_closed;
}
