/* SPDX-License-Identifier: MIT */
/*
 * fork(): the child has one thread, the one that forked, and its scheduler goes
 * on there.
 *
 * Before the fork every lock is taken that another thread may hold, in the one
 * order in which they nest: the core's own locks by name, then those of the
 * parts above it (base/part.h). So the child finds the registry, the memory of
 * descriptors and channels and all queues whole. The locks in the words of
 * tasklets are not taken: the child repairs what is done under them. It also
 * repairs what another thread had begun without a lock, such as a waiter that
 * was claimed and not yet handed in.
 *
 * The child then drops, in this order: locks; other threads, helpers among
 * them; waiters of other threads in channels and groups; the ring (its memory
 * is not mapped here, see MADV_DONTFORK, so nothing may look at it). It takes
 * in what had been handed in, and then ends the tasklets of other threads. The
 * memory of those threads is left as it is: they may have been anywhere in it.
 * Our copies of their rings' and eventfds' descriptors are closed, so that
 * these end when the parent closes its own.
 */
#include "core/fork.h"

#include <pthread.h>
#include <unistd.h>

#include "base/part.h"
#include "core/deadlock.h"
#include "core/embed.h"
#include "core/helper.h"
#include "core/park.h"
#include "core/thread.h"
#include "engine/pool.h"

static void lock_all(void)
{
	weft__started_lock();
	weft__pool_lock();
	weft__thread_lock_registry();
	weft__task_lock_pool();
	EACH_PART(lock);
}

static void unlock_all(void)
{
	EACH_PART(unlock);
	weft__task_unlock_pool();
	weft__thread_unlock_registry();
	weft__pool_unlock();
	weft__started_unlock();
}

static void disown(struct scheduler *s, void *self)
{
	if (s == self)
		return;
	weft__engine_disown(&s->engine);
	if (s->embedding)
		weft__embedding_close(s->embedding);
}

static void go_on_in_child(void)
{
	struct scheduler *self = weft__self;
	/* At its very end a thread calls functions of the program's when others
	 * cannot find it any more. */
	bool is_listed = self && !self->is_unregistered;

	unlock_all();
	weft__helper_forget_all();
	weft__thread_each(disown, self);
	weft__thread_forget_others(is_listed ? self : NULL);
	weft__started_forget_others(self ? peek(self->thread_id) : 0);
	weft__deadlock_renew(self);
	weft__task_unlock_words();
	EACH_PART(forget_others, self);
	if (self) {
		poke(self->inbox.ringers, 0);
		self->used_word = NULL; /* no channel has a spinner any more */
		weft__engine_renew(&self->engine);
		/* before anybody is told through the parent's descriptor */
		weft__embedding_renew(self);
		weft__take_handed_in(self);
	}
	EACH_PART(renew, self);
	weft__task_forget_others(self);
	EACH_PART(settle, self);
	if (self && self->embedding)
		weft__embedding_settle(self);
}

static int failure;

/* Runs when the library is loaded. The handlers of a child run in the order of
 * their registration, those before the fork in the reverse order. So the
 * program's own handlers find the child as it should be, and no lock held
 * before the fork. */
static void __attribute__((constructor)) register_handlers(void)
{
	failure = pthread_atfork(lock_all, unlock_all, go_on_in_child);
}

void weft__fork_prepare(void)
{
	if (failure)
		weft__warn("no memory for what fork() needs: a child of this "
			   "process cannot use weft");
}
