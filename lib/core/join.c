/* SPDX-License-Identifier: MIT */
/*
 * Waiting for the end of a tasklet, from any thread.
 *
 * A tasklet that joins leaves a waiter in the target's list. The lock of the list
 * is one bit of the target's word, beside its id:
 *
 *	joiner    id is there, LOCKED is not -> LOCKED (CAS, acquire)
 *	          links its waiter; LOCKED -> JOINED (CAS, release); blocks
 *	end       neither bit -> no id (CAS, acquire, release), in tasklet.c; else
 *	          takes the lock likewise; takes the list; clears id and all bits
 *	          but REQUEST_QUEUED (CAS, release); wakes all
 *	call-off  takes the lock likewise; unlinks; LOCKED -> none (CAS)
 *
 * [task.2] A thread that takes the lock compares the id in the same step. So nobody
 * takes it any more after the end, whatever tenant the memory has by then. A joiner that
 * comes late finds that the tasklet has ended. A joiner that is late to call off
 * finds that it has been claimed, and waits for its wake. The acquire of each lock,
 * and of an end that needs none, pairs with the release of the unlock before.
 *
 * (tests/model/join.pml)
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "base/lock.h"
#include "core/block.h"

bool weft__task_lock(struct weft_task *t, uint64_t id)
{
	/* relaxed: the exchange below takes the lock */
	uint64_t word = peek(t->word);

	for (unsigned tries = 0; word >> WORD_BITS == id; tries++) {
		if (!(word & WORD_LOCKED)) {
			if (atomic_compare_exchange_weak_explicit(
				    &t->word, &word, word | WORD_LOCKED,
				    memory_order_acquire,
				    memory_order_relaxed)) /* [task.2] */
				return true;
			continue;
		}
		weft__be_patient(tries);
		word = peek(t->word);
	}
	return false;
}

uint64_t weft__task_unlock(struct weft_task *t, uint64_t set, uint64_t clear)
{
	uint64_t word = peek(t->word);

	/* acquire: as for any request, if bits of one are set [task.1] */
	while (!atomic_compare_exchange_weak_explicit(
		&t->word, &word, (word & ~(clear | WORD_LOCKED)) | set,
		memory_order_acq_rel, memory_order_relaxed)) /* [task.2] */
		;
	return word;
}

bool weft__join_link(struct joiner *j, weft_tasklet target)
{
	struct weft_task *t = target.task;

	j->target = t;
	j->id = target.id;
	if (!weft__task_lock(t, target.id))
		return false;
	j->waiter.prev = NULL;
	j->waiter.next = (struct waiter *)t->joiners;
	if (t->joiners)
		t->joiners->waiter.prev = &j->waiter;
	t->joiners = j;
	weft__task_unlock(t, WORD_JOINED, 0);
	return true;
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct joiner *j = (struct joiner *)w;
	struct weft_task *t = j->target;

	(void)s;
	if (!weft__task_lock(t, j->id))
		return false;
	if (w->prev)
		w->prev->next = w->next;
	else
		t->joiners = (struct joiner *)w->next;
	if (w->next)
		w->next->prev = w->prev;
	weft__task_unlock(t, 0, t->joiners ? 0 : WORD_JOINED);
	return true;
}

void weft__join_end(struct scheduler *s, struct weft_task *t, int result)
{
	struct waiter *w = NULL;
	uint64_t word;

	/* The lock can only fail for an id that is gone, and only this end takes it
	 * away. */
	(void)weft__task_lock(t, weft__task_id(t));
	if (t->joiners)
		w = &t->joiners->waiter;
	t->joiners = NULL;
	word = peek(t->word);
	while (!atomic_compare_exchange_weak_explicit(
		&t->word, &word, word & REQUEST_QUEUED, memory_order_release,
		memory_order_relaxed)) /* [task.2] [task.1] */
		;
	while (w && w->next) /* the first to come is the last in the list */
		w = w->next;
	while (w) {
		struct waiter *later = w->prev;

		w->result = result;
		if (w->task)
			weft__wake(s, w);
		else if (w->kind)
			w->kind->ended(s, w);
		w = later;
	}
}

void weft__join_forget_others(const struct scheduler *self, struct weft_task *t)
{
	struct waiter *list = NULL;
	struct waiter *last = NULL;
	struct waiter *next;

	/* A thread that is not in the child may have been linking or unlinking. The
	 * list is whole along `next` at any time, but perhaps not along `prev`. */
	for (struct waiter *w = (struct waiter *)t->joiners; w; w = next) {
		next = w->next;
		if (w->task && w->owner != self)
			continue;
		w->prev = last;
		w->next = NULL;
		if (last)
			last->next = w;
		else
			list = w;
		last = w;
	}
	t->joiners = (struct joiner *)list;
	poke(t->word, (peek(t->word) & ~(uint64_t)WORD_JOINED) |
			      (list ? WORD_JOINED : 0));
}

static bool is_claimed(const struct waiter *w)
{
	const struct joiner *j = (const struct joiner *)w;

	return weft__task_id(j->target) != j->id;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	const struct joiner *j = (const struct joiner *)w;
	weft_tasklet t = { .task = j->target, .id = j->id };
	char name[NAME_SIZE] = "";

	(void)weft_tasklet_name(t, name, sizeof name);
	snprintf(text, size, "joins tasklet %" PRIu64 "%s%s", j->id,
		 name[0] ? " " : "", name);
}

static const struct wait_kind joining = { .cancel = call_off,
					  .is_claimed = is_claimed,
					  .describe = describe };

int weft__join(struct scheduler *s, weft_tasklet target, bool *has_ended)
{
	struct weft_task *me = peek(s->current);
	struct joiner j = { .waiter.task = me,
			    .waiter.owner = s,
			    .waiter.kind = &joining };
	int rc = weft__enter(s);

	*has_ended = false;
	if (rc)
		return rc;
	*has_ended = !weft__is_alive(target);
	if (*has_ended)
		return -ESRCH;
	if (target.task == me)
		return -EDEADLK;
	rc = weft__may_wait(s);
	if (rc)
		return rc;
	*has_ended = !weft__join_link(&j, target);
	if (*has_ended)
		return -ESRCH;
	weft__block(s, &j.waiter, true);
	/* It has not ended if the caller was told of a deadlock. */
	*has_ended = !j.waiter.called_off && !weft__is_alive(target);
	return weft__outcome(&j.waiter);
}

WEFT_API int weft_tasklet_join(weft_tasklet t)
{
	struct scheduler *s = weft__scheduler();

	bool has_ended;

	return s ? weft__join(s, t, &has_ended) : -errno;
}
