/* SPDX-License-Identifier: MIT */
/*
 * What tasklets do to each other: insert, remove, run, switch, kill, raise.
 *
 * A caller acts itself on a tasklet of its own thread. [task.3] A handle is a
 * descriptor and an id, and the descriptor may have got another tenant since. That
 * tenant's spawner, on another thread, may even be handing it to the caller's
 * thread right now. So the question "is it of my thread?" looks at the owner first
 * and at the id after that. A birth stores the owner (release) after the previous
 * id has been cleared, and the id (release) after the owner. A caller that reads
 * (acquire) its own thread as the owner, stored for a later tenant, therefore finds
 * that the id of its handle has gone. If the id is there and the tasklet has been
 * admitted, only the caller's thread can end it: the descriptor stays the tasklet's
 * while the caller acts. A tasklet that is not admitted yet has not been counted by
 * its thread, and is asked like a tasklet of another thread. (tests/model/handle.pml)
 *
 * A caller asks a tasklet of another thread by bits in the tasklet's word, beside
 * its id, in one compare-exchange. It fails if the id is not the handle's any more,
 * so a request never reaches a later tenant of the memory. The caller that sets
 * REQUEST_QUEUED hands the descriptor to the owner's inbox; until the owner has
 * taken it out, the memory has no later tenant. [task.1] The owner's exchange of
 * the word, in requested(), is the partner of those compare-exchanges, acquire to
 * their release.
 *
 * Kill and raise mark the target in `attention`, which its blocking calls look at,
 * and make it runnable if it waits. The kind of its wait calls the wait off. If the
 * waiter has already been claimed, the tasklet is served: its call returns what it
 * was given, and the mark is for the next call. So nothing is lost.
 * (tests/model/interrupt.pml)
 *
 * A removal pauses a tasklet that is queued. One that is running when its thread takes
 * the request in is marked, looks around when it gives way, and is paused then, unless
 * it has been inserted, killed or raised on meanwhile, or has blocked. A tasklet on
 * whose stack its thread idles can have been woken and queued: so the question is
 * whether it is in the queue, not whether it is the current one.
 * (tests/model/remove.pml)
 *
 * A raised error is one number, `err`, under the lock in the word (join.c). A
 * second raise replaces the first, however far that has got. A tasklet that
 * consumes the error takes back a request that is still on its way.
 */
#include <errno.h>

#include "core/block.h"
#include "core/park.h"
#include "core/task_pool.h"
#include "core/turn.h"

/* Hands in the descriptor, in whose word REQUEST_QUEUED was just set. */
static int hand_in(struct scheduler *s, struct weft_task *t)
{
	/* From here on the descriptor keeps its tenant's owner. */
	if (weft__hand_in(s, peek(t->owner), weft__task_link(t)))
		return 0;
	weft__task_request_refused(s, t);
	return -ESRCH;
}

/* Sets some bits for the owner to see and clears others, which they replace.
 * Returns false if the tasklet has ended. @queued: the descriptor is in its owner's
 * inbox already, or will be soon. */
static bool set_bits(weft_tasklet t, unsigned set, unsigned clear, bool *queued)
{
	/* acquire: pairs with the release of the id at birth [task.1] */
	uint64_t word =
		atomic_load_explicit(&t.task->word, memory_order_acquire);
	uint64_t to;

	do {
		if (word >> WORD_BITS != t.id)
			return false;
		to = (word & ~(uint64_t)clear) | set | REQUEST_QUEUED;
	} while (!atomic_compare_exchange_weak_explicit(
		&t.task->word, &word, to, memory_order_acq_rel,
		memory_order_acquire)); /* [task.1] */
	*queued = word & REQUEST_QUEUED;
	return true;
}

static int request(struct scheduler *s, weft_tasklet t, unsigned set,
		   unsigned clear)
{
	bool queued;

	if (!set_bits(t, set, clear, &queued))
		return -ESRCH;
	return queued ? 0 : hand_in(s, t.task);
}

static int request_raise(struct scheduler *s, weft_tasklet t, int err)
{
	uint64_t word;

	if (!weft__task_lock(t.task, t.id))
		return -ESRCH;
	t.task->err = err;
	word = weft__task_unlock(t.task, REQUEST_RAISE | REQUEST_QUEUED, 0);
	return word & REQUEST_QUEUED ? 0 : hand_in(s, t.task);
}

void weft__call_off(struct scheduler *s, struct weft_task *t)
{
	uint8_t state = peek(t->state);
	struct waiter *w = t->waiter;

	if (state == WEFT_RUNNABLE) {
		/* Nor is it to be paused when it gives way. */
		t->flags &= (uint8_t)~TASK_TO_PAUSE;
	} else if (state == WEFT_PAUSED) {
		weft__interrupt_pause(s, t);
	} else if (state == WEFT_BLOCKED && w->kind->cancel(s, w)) {
		w->called_off = CALLED_OFF;
		if (w->kind->give_up)
			t->flags |= TASK_CALLED_OFF;
		weft__wake_served(s, w);
	}
}

static bool is_open(struct weft_task *t)
{
	return !t->n_shields && !weft__waits_deaf(t);
}

/* Calls the wait off for a kill or a raise. */
static void call_off_if_open(struct scheduler *s, struct weft_task *t)
{
	if (is_open(t))
		weft__call_off(s, t);
}

static void interrupt_as_requested(struct scheduler *s, struct weft_task *t,
				   uint64_t word)
{
	if (word & REQUEST_KILL)
		weft__task_interrupt(s, t, 0);
	/* The error may have been consumed, or replaced and requested again. */
	if (word & REQUEST_RAISE && weft__task_lock(t, word >> WORD_BITS)) {
		word = weft__task_unlock(t, 0, REQUEST_RAISE);
		if (!(word & REQUEST_RAISE))
			return;
		/* `err` is there already, or a later error that replaces it. */
		t->attention |= ATTENTION_RAISED;
		call_off_if_open(s, t);
	}
}

static void requested(struct scheduler *s, struct weft_task *t, bool is_refused)
{
	/* acquire: what the requesters wrote; release: for the next [task.1] */
	uint64_t word = atomic_fetch_and_explicit(
		&t->word, ~(uint64_t)REQUESTS_TAKEN, memory_order_acq_rel);

	if (!(word >> WORD_BITS)) {
		if (word & REQUEST_GONE)
			weft__task_pool_release_late(s, t);
		return;
	}
	if (word & REQUEST_NEW)
		weft__task_pool_note_foreign(s);
	if (word & REQUEST_NEW && (is_refused || !weft__task_admit(s, t))) {
		weft__task_refuse(s, t, is_refused ? -ECANCELED : -ENOMEM);
		return;
	}
	if (is_refused)
		return;
	/* If the tasklet has blocked meanwhile, these do nothing. */
	if (word & REQUEST_RUN)
		(void)weft__run_first(s, t);
	else if (word & REQUEST_INSERT)
		(void)weft__insert(s, t);
	else if (word & REQUEST_REMOVE)
		weft__remove_as_requested(s, t);
	if (unlikely(word & (REQUEST_KILL | REQUEST_RAISE)))
		interrupt_as_requested(s, t, word);
}

void weft__task_requested(struct scheduler *s, struct weft_task *t)
{
	requested(s, t, false);
}

void weft__task_request_refused(struct scheduler *s, struct weft_task *t)
{
	requested(s, t, true);
}

/* --- insert, remove, run, switch --- */

/* What the four calls have in common. */
struct control {
	int (*here)(struct scheduler *s, struct weft_task *t);
	unsigned request;  /* 0: only for tasklets of this thread */
	unsigned replaces; /* the requests that it replaces */
};

/* Takes in first what others handed in: it may be about the same tasklet. And two
 * tasklets that only switch to each other must not starve the rest. */
static void look_first(struct scheduler *s)
{
	if (weft__must_look(s))
		weft__look_around(s);
}

static bool is_mine(struct scheduler *s, weft_tasklet t, unsigned unless)
{
	uint64_t word;

	/* acquire: if this is the owner of a later tenant, the id is found gone
	 * below [task.3] */
	if (atomic_load_explicit(&t.task->owner, memory_order_acquire) != s)
		return false;
	word = atomic_load_explicit(&t.task->word, memory_order_acquire);
	return word >> WORD_BITS == t.id && !(word & unless);
}

bool weft__task_is_here(struct scheduler *s, weft_tasklet t)
{
	if (is_mine(s, t, REQUEST_NEW))
		return true;
	if (!is_mine(s, t, 0))
		return false;
	/* It is on its way here. */
	weft__take_handed_in(s);
	weft__task_end_refused(s);
	return is_mine(s, t, REQUEST_NEW);
}

static int control(weft_tasklet t, const struct control *c)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	look_first(s);
	if (!weft__is_alive(t))
		return -ESRCH;
	if (weft__task_is_here(s, t)) {
		rc = c->here(s, t.task);
		weft__note_runnable(s);
		return rc;
	}
	if (!c->request)
		return weft__is_alive(t) ? -EXDEV : -ESRCH;
	if (peek(t.task->state) == WEFT_BLOCKED)
		return weft__was_alive(t) ? -EBUSY : -ESRCH;
	return request(s, t, c->request, c->replaces);
}

WEFT_API int weft_tasklet_insert(weft_tasklet t)
{
	static const struct control insert = { weft__insert, REQUEST_INSERT,
					       REQUEST_REMOVE };

	return control(t, &insert);
}

WEFT_API int weft_tasklet_remove(weft_tasklet t)
{
	static const struct control remove = { weft__remove, REQUEST_REMOVE,
					       REQUEST_INSERT | REQUEST_RUN };

	return control(t, &remove);
}

WEFT_API int weft_tasklet_run(weft_tasklet t)
{
	static const struct control run = { weft__run_now, REQUEST_RUN,
					    REQUEST_REMOVE };

	return control(t, &run);
}

WEFT_API int weft_tasklet_switch(weft_tasklet t)
{
	static const struct control change = { weft__switch_now, 0, 0 };

	return control(t, &change);
}

/* A signal handler can have interrupted anything. So nothing here takes a lock,
 * waits, or touches what only the owner may, and the doorbell needs no io_uring of
 * the caller's. If the owner's inbox has closed meanwhile, the descriptor is left
 * to nobody: there is no list here on which a handler could put it. */
WEFT_API int weft_tasklet_notify(weft_tasklet t)
{
	int before = errno;
	bool queued;
	int rc = 0;

	if (!weft__is_alive(t) ||
	    !set_bits(t, REQUEST_INSERT, REQUEST_REMOVE, &queued))
		return -ESRCH;
	if (!queued && !weft__hand_in(&weft__unattached, peek(t.task->owner),
				      weft__task_link(t.task)))
		rc = -ESRCH;
	errno = before;
	return rc;
}

/* --- kill and raise --- */

void weft__task_mark(struct weft_task *t, int err)
{
	if (!err) {
		t->attention |= ATTENTION_KILLED;
		return;
	}
	/* The id is there: this is the tasklet's own thread, which alone ends
	 * it. */
	(void)weft__task_lock(t, weft__task_id(t));
	t->err = err;
	weft__task_unlock(t, 0, REQUEST_RAISE);
	t->attention |= ATTENTION_RAISED;
}

void weft__task_interrupt(struct scheduler *s, struct weft_task *t, int err)
{
	weft__task_mark(t, err);
	call_off_if_open(s, t);
}

/* Whether an immediate interruption of @t would be followed by a switch. */
static bool would_switch(struct weft_task *t)
{
	return is_open(t) || peek(t->state) == WEFT_RUNNABLE;
}

static int interrupt_here(struct scheduler *s, struct weft_task *t, int err,
			  unsigned flags)
{
	bool at_once = !(flags & WEFT_PENDING);

	/* The caller itself. But in a schedule callback the current tasklet may be
	 * leaving the run queue: then it is interrupted like any other. */
	if (t == peek(s->current) && peek(t->state) == WEFT_RUNNABLE) {
		if (!err)
			weft__task_mark(t, 0);
		return err ? -err : -ECANCELED;
	}
	if (at_once && would_switch(t) && weft__is_trapped(s))
		return -EPERM;
	weft__task_interrupt(s, t, err);
	if (!at_once)
		return 0;
	/* The kernel may already have answered a request to cancel. */
	if (peek(t->state) == WEFT_BLOCKED)
		weft__engine_poll(&s->engine);
	return peek(t->state) == WEFT_RUNNABLE ? weft__run_now(s, t) : 0;
}

static int interrupt(weft_tasklet t, int err, unsigned flags)
{
	struct scheduler *s = weft__scheduler();
	int rc;

	if (!s)
		return -errno;
	if (flags & ~WEFT_PENDING)
		return -EINVAL;
	look_first(s);
	if (!weft__is_alive(t))
		return -ESRCH;
	/* If another tenant has come since, nothing below finds the id. */
	if (!err && weft__task_is_main(t.task))
		err = ECANCELED;
	if (!weft__task_is_here(s, t))
		return err ? request_raise(s, t, err)
			   : request(s, t, REQUEST_KILL, 0);
	rc = interrupt_here(s, t.task, err, flags);
	weft__note_runnable(s);
	return rc;
}

WEFT_API int weft_tasklet_kill(weft_tasklet t, unsigned flags)
{
	return interrupt(t, 0, flags);
}

WEFT_API int weft_tasklet_raise(weft_tasklet t, int err, unsigned flags)
{
	return err > 0 ? interrupt(t, err, flags) : -EINVAL;
}
