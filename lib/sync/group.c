/* SPDX-License-Identifier: MIT */
/*
 * Groups: tasklets that are waited for together.
 *
 * A member is a record that joins its tasklet from birth on, as a joiner without a
 * task to wake. Whatever ends the tasklet, on whichever thread, finds the record in
 * the tasklet's list of joiners, once, and calls member_ended().
 *
 * Everything that a group has is under its lock. The lock is held for a few
 * instructions, inside of any other lock, and never across a wake or a kill:
 *
 *	born      links the record, the newest last
 *	ended     unlinks it, notes the result; if it was the last, takes the list
 *	          of waiters and the result; unlocks; wakes them
 *	wait      no member: takes the result; else links a waiter, unlocks, blocks
 *	call-off  unlinks the waiter, if it still is linked; else it has been
 *	          claimed, and its wake is on the way
 *	kill      takes the oldest member that has not been killed from the list's
 *	          cursor; unlocks; kills it by its handle; and again
 *
 * [group.1] A group may be freed as soon as a wait has returned. The thread that
 * ends a member touches the group last with its unlock. A wait that finds no member
 * does so under the lock, after the unlock of the last thread that ended one. A
 * wait that blocked is woken after that unlock, and takes its result from its own
 * waiter. A call-off could look at a group that is gone only if its waiter is not
 * linked, so it asks the waiter first. That answer can be out of date only while
 * another tasklet may still be in a wait, and then nobody may free the group.
 * (tests/model/group.pml)
 *
 * Members are killed in order, and new members come last. So the killed ones are
 * always the oldest, one cursor says which they are, and a kill looks at each
 * member once. A kill is sticky, so once is enough. Members have numbers, so that a
 * kill spares those that came after it began.
 *
 * When a wait or a free begins to end the members, the group takes no new ones
 * until there are none left: otherwise they could go on for ever. [group.2]
 * `is_closing` is set under the lock before the members are killed. A spawn looks
 * at it first, and once more when its member has been linked. If the member was
 * linked before the killer last had the lock, it was killed. If it was linked after
 * that, the spawn sees the mark and kills what is left to kill.
 *
 * fork(): all groups are in a list, and all their locks are taken, so the child
 * finds them whole. Waiters of other threads are taken out. Members that are
 * tasklets of other threads end in the child with -ECANCELED, as all such tasklets
 * do, and so leave the group by themselves. There is one exception, for which the
 * child searches: members whose id was already gone when their thread had not yet
 * reached member_ended().
 */
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft/group.h>

#include "base/lock.h"
#include "base/part.h"
#include "core/block.h"

struct member {
	struct joiner joiner; /* first */
	struct weft_group *group;
	/* under the group's lock */
	struct member *older, *newer;
	uint64_t number;
	bool is_listed;
	bool is_killed; /* by way of the group */
};

/* A tasklet that waits for a group; on its stack. */
struct group_waiter {
	struct waiter waiter; /* first; next and prev: in the group's list */
	struct weft_group *group;
	/* Written under the lock. False: it has been claimed, and will be woken. */
	_Atomic(bool) is_linked;
	bool is_over; /* no member was left; valid once woken */
};

struct weft_group {
	struct weft_group *next, *previous; /* under the list's mutex */

	/* under lock */
	struct lock lock;
	int result;
	_Atomic(bool) is_closing; /* also read without it */
	uint64_t n_born;
	size_t n_left;
	struct member *oldest, *newest;
	struct member *next_to_kill; /* it and all newer ones are not killed */
	struct waiter *first, *last; /* waiters, the oldest first */
};

/* All groups there are, for fork(). */
static struct {
	pthread_mutex_t mutex;
	struct weft_group *list;
} groups = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* --- waiters, under the lock --- */

static void link_waiter(struct weft_group *g, struct group_waiter *w)
{
	w->waiter.next = NULL;
	w->waiter.prev = g->last;
	if (g->last)
		g->last->next = &w->waiter;
	else
		g->first = &w->waiter;
	g->last = &w->waiter;
	/* relaxed here and below, no pair: read under the lock, or as a hint */
	poke(w->is_linked, true); /* [group.1] */
}

static void unlink_waiter(struct weft_group *g, struct waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		g->first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		g->last = w->prev;
	poke(((struct group_waiter *)w)->is_linked, false); /* [group.1] */
}

static int take_result(struct weft_group *g)
{
	int result = g->result;

	g->result = 0;
	return result;
}

/* Called when no member is left: takes all waiters out and gives them the
 * result. */
static struct waiter *claim_waiters(struct weft_group *g)
{
	struct waiter *list = g->first;
	int result;

	poke(g->is_closing, false);
	if (!list)
		return NULL;
	result = take_result(g);
	for (struct waiter *w = list; w; w = w->next) {
		struct group_waiter *each = (struct group_waiter *)w;

		w->result = result;
		each->is_over = true;
		poke(each->is_linked, false); /* [group.1] */
	}
	g->first = g->last = NULL;
	return list;
}

/* Called without the lock. */
static void wake_all(struct scheduler *s, struct waiter *w)
{
	while (w) {
		struct waiter *later = w->next;

		weft__wake(s, w);
		w = later;
	}
}

static bool call_off(struct scheduler *s, struct waiter *w)
{
	struct group_waiter *me = (struct group_waiter *)w;
	struct weft_group *g = me->group;
	bool locked, is_linked;

	(void)s;
	if (!peek(me->is_linked)) /* [group.1] */
		return false;
	locked = weft__lock(&g->lock);
	is_linked = peek(me->is_linked);
	if (is_linked)
		unlink_waiter(g, w);
	weft__unlock(&g->lock, locked);
	return is_linked;
}

static bool is_claimed(const struct waiter *w)
{
	return !peek(((struct group_waiter *)(uintptr_t)w)->is_linked);
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	struct weft_group *g = ((const struct group_waiter *)w)->group;
	bool locked = weft__lock(&g->lock);
	size_t n_left = g->n_left;

	weft__unlock(&g->lock, locked);
	snprintf(text, size, "waits for group %p, %zu left", (void *)g, n_left);
}

static const struct wait_kind waiting = { .cancel = call_off,
					  .is_claimed = is_claimed,
					  .describe = describe };

/* --- members --- */

static void member_born(struct waiter *w)
{
	struct member *m = (struct member *)w;
	struct weft_group *g = m->group;
	bool locked = weft__lock(&g->lock);

	m->number = g->n_born++;
	m->older = g->newest;
	if (g->newest)
		g->newest->newer = m;
	else
		g->oldest = m;
	g->newest = m;
	if (!g->next_to_kill)
		g->next_to_kill = m;
	g->n_left++;
	m->is_listed = true;
	weft__unlock(&g->lock, locked);
}

/* Called under the lock. */
static void unlist(struct weft_group *g, struct member *m)
{
	if (g->next_to_kill == m)
		g->next_to_kill = m->newer;
	if (m->older)
		m->older->newer = m->newer;
	else
		g->oldest = m->newer;
	if (m->newer)
		m->newer->older = m->older;
	else
		g->newest = m->older;
	g->n_left--;
	m->is_listed = false;
}

/* Takes out a member that has ended, or that could not be created. */
static void take_out(struct scheduler *s, struct member *m, int result)
{
	struct weft_group *g = m->group;
	bool locked = weft__lock(&g->lock);
	struct waiter *woken = NULL;

	if (result < 0 && !g->result && !(result == -ECANCELED && m->is_killed))
		g->result = result;
	unlist(g, m);
	if (!g->n_left)
		woken = claim_waiters(g);
	weft__unlock(&g->lock, locked); /* [group.1] */
	free(m);
	wake_all(s, woken);
}

static void member_ended(struct scheduler *s, struct waiter *w)
{
	struct member *m = (struct member *)w;

	/* In a child of fork() it may not have been listed yet. */
	if (m->is_listed)
		take_out(s, m, w->result);
	else
		free(m);
}

/* Called for a member that could not be created. Keeps errno. */
static void withdraw(struct member *m)
{
	int err = errno;

	if (m->is_listed)
		take_out(weft__self, m, 0);
	else
		free(m);
	errno = err;
}

static const struct wait_kind membership = { .born = member_born,
					     .ended = member_ended };

/* Whether the calling tasklet @t is a member. */
static bool is_member(struct weft_task *t, const struct weft_group *g)
{
	const struct joiner *j;
	bool found = false;

	/* relaxed, no pair: if it is a member, the bit has been set since its
	 * birth */
	if (!(peek(t->word) & WORD_JOINED))
		return false;
	(void)weft__task_lock(t, weft__task_id(t));
	for (j = t->joiners; j && !found;
	     j = (const struct joiner *)j->waiter.next)
		found = j->waiter.kind == &membership &&
			((const struct member *)j)->group == g;
	weft__task_unlock(t, 0, 0);
	return found;
}

/* --- kill --- */

/* The handle of the next member to kill, if its number is below @end. */
static weft_tasklet next_victim(struct weft_group *g, uint64_t end)
{
	weft_tasklet victim = { .id = 0 };
	bool locked = weft__lock(&g->lock);
	struct member *m = g->next_to_kill;

	if (m && m->number < end) {
		m->is_killed = true;
		g->next_to_kill = m->newer;
		victim.task = m->joiner.target;
		victim.id = m->joiner.id;
	}
	weft__unlock(&g->lock, locked);
	return victim;
}

static void kill_members(struct weft_group *g, uint64_t end)
{
	weft_tasklet victim;

	while ((victim = next_victim(g, end)).id)
		(void)weft_tasklet_kill(victim, WEFT_PENDING);
}

WEFT_API int weft_group_kill(weft_group *g)
{
	bool locked;
	uint64_t end;

	if (!g)
		return -EINVAL;
	if (!weft__scheduler())
		return -errno;
	locked = weft__lock(&g->lock);
	end = g->n_born;
	weft__unlock(&g->lock, locked);
	kill_members(g, end);
	return 0;
}

/* --- spawn --- */

WEFT_API weft_tasklet
weft_group_spawn_with(weft_group *g, const struct weft_tasklet_options *options,
		      weft_fn fn, void *arg)
{
	struct member *m;
	weft_tasklet t;

	if (!g)
		return weft__null_handle(EINVAL);
	if (peek(g->is_closing))
		return weft__null_handle(ECANCELED);
	m = malloc(sizeof *m);
	if (!m)
		return weft__null_handle(ENOMEM);
	*m = (struct member){ .joiner.waiter.kind = &membership, .group = g };
	t = weft__spawn(options, fn, arg, &m->joiner);
	if (!t.id) {
		withdraw(m);
		return t;
	}
	/* From here on @m may be gone. [group.2] */
	if (unlikely(peek(g->is_closing)))
		kill_members(g, UINT64_MAX);
	return t;
}

WEFT_API weft_tasklet weft_group_spawn(weft_group *g, weft_fn fn, void *arg)
{
	return weft_group_spawn_with(g, NULL, fn, arg);
}

/* --- wait --- */

static bool has_members(struct weft_group *g)
{
	bool locked = weft__lock(&g->lock);
	bool found = g->n_left;

	weft__unlock(&g->lock, locked);
	return found;
}

/* Takes the result if no member is left. Otherwise links @w, if it may wait: the
 * fields of @w then belong to the thread that claims it, until it is woken. Returns
 * whether no member was left. */
static bool look_or_link(struct weft_group *g, struct group_waiter *w,
			 bool may_wait)
{
	bool locked = weft__lock(&g->lock);
	bool is_over = !g->n_left;

	if (is_over)
		w->waiter.result = take_result(g);
	else if (may_wait)
		link_waiter(g, w);
	weft__unlock(&g->lock, locked);
	return is_over;
}

/* Ends the members and waits for their end, whatever happens. Returns false if
 * nothing can ever end them. */
static bool end_members(struct scheduler *s, struct weft_group *g,
			struct group_waiter *w)
{
	struct weft_task *me = w->waiter.task;
	bool was_deaf = weft__deafen(me);
	bool locked = weft__lock(&g->lock);
	bool is_over;

	poke(g->is_closing, g->n_left > 0); /* [group.2] */
	weft__unlock(&g->lock, locked);
	kill_members(g, UINT64_MAX);
	/* The wait before this one was called off. Code that gives the tasklet up
	 * must not take this wait for called off. */
	w->waiter.called_off = 0;
	is_over = look_or_link(g, w, true);
	if (!is_over) {
		weft__block(s, &w->waiter, true);
		is_over = w->is_over;
	}
	weft__undeafen(me, was_deaf);
	return is_over;
}

/* Whether @rc, the result of an interruption, also ends the members. */
static bool is_final(int rc)
{
	return rc == -ECANCELED || rc == -ETIMEDOUT;
}

static int wait_for_end(struct scheduler *s, struct weft_group *g,
			struct group_waiter *w)
{
	int rc;

	if (look_or_link(g, w, false))
		return w->waiter.result;
	rc = weft__may_wait(s);
	if (rc)
		return rc;
	if (look_or_link(g, w, true))
		return w->waiter.result;
	weft__block(s, &w->waiter, true);
	return weft__outcome(&w->waiter);
}

WEFT_API int weft_group_wait(weft_group *g)
{
	struct scheduler *s = weft__scheduler();
	struct group_waiter w = { .waiter.kind = &waiting, .group = g };
	bool is_interrupted;
	int rc;

	if (!s)
		return -errno;
	if (!g)
		return -EINVAL;
	/* Checked before what was raised is consumed, because the members could not
	 * be waited for. */
	if (weft__is_trapped(s) && has_members(g))
		return peek(s->current)->attention == ATTENTION_BLOCK_TRAP
			       ? -EAGAIN
			       : -EPERM;
	w.waiter.task = peek(s->current);
	w.waiter.owner = s;
	rc = weft__enter(s);
	if (is_member(w.waiter.task, g))
		return rc ? rc : -EDEADLK;
	is_interrupted = rc;
	if (!rc) {
		rc = wait_for_end(s, g, &w);
		is_interrupted = w.waiter.called_off == CALLED_OFF;
	}
	if (is_interrupted && is_final(rc) && !end_members(s, g, &w))
		return -EDEADLK;
	return rc;
}

/* --- new and free --- */

WEFT_API weft_group *weft_group_new(void)
{
	weft_group *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	pthread_mutex_lock(&groups.mutex);
	g->next = groups.list;
	if (g->next)
		g->next->previous = g;
	groups.list = g;
	pthread_mutex_unlock(&groups.mutex);
	return g;
}

static void end_members_at_last(struct weft_group *g)
{
	struct scheduler *s = weft__scheduler();
	struct group_waiter w = { .waiter.kind = &waiting, .group = g };

	REQUIRE(s, "no memory to wait for the members of a group");
	w.waiter.task = peek(s->current);
	w.waiter.owner = s;
	REQUIRE(!is_member(w.waiter.task, g),
		"weft_group_free() by a member of the group");
	REQUIRE(!weft__is_trapped(s),
		"weft_group_free() has to wait for members and must not switch");
	REQUIRE(end_members(s, g, &w),
		"weft_group_free() of a group whose members can never end");
}

WEFT_API void weft_group_free(weft_group *g)
{
	if (!g)
		return;
	if (has_members(g))
		end_members_at_last(g);
	INVARIANT(!g->first);
	pthread_mutex_lock(&groups.mutex);
	if (g->next)
		g->next->previous = g->previous;
	if (g->previous)
		g->previous->next = g->next;
	else
		groups.list = g->next;
	pthread_mutex_unlock(&groups.mutex);
	free(g);
}

/* --- fork --- */

static void lock_all(void)
{
	pthread_mutex_lock(&groups.mutex);
	for (struct weft_group *g = groups.list; g; g = g->next)
		lock_contended(&g->lock);
}

static void unlock_all(void)
{
	for (struct weft_group *g = groups.list; g; g = g->next)
		weft__unlock(&g->lock, true);
	pthread_mutex_unlock(&groups.mutex);
}

/* Takes out the waiters of other threads. */
static void forget_waiters(struct scheduler *self)
{
	struct waiter *later;

	for (struct weft_group *g = groups.list; g; g = g->next) {
		for (struct waiter *w = g->first; w; w = later) {
			later = w->next;
			if (w->owner != self)
				unlink_waiter(g, w);
		}
	}
}

/* Takes out members that other threads had ended without having told the group. */
static void forget_members(struct scheduler *self)
{
	struct member *newer;

	for (struct weft_group *g = groups.list; g; g = g->next) {
		for (struct member *m = g->oldest; m; m = newer) {
			newer = m->newer;
			if (!weft__is_alive((weft_tasklet){ m->joiner.target,
							    m->joiner.id }))
				take_out(self, m, -ECANCELED);
		}
	}
}

static const struct part part = {
	.rank = PART_GROUPS,
	.lock = lock_all,
	.unlock = unlock_all,
	.forget_others = forget_waiters,
	.settle = forget_members,
};

PART(part);
