/* SPDX-License-Identifier: MIT */
/*
 * fork(): the child has one thread, the one that forked, and its scheduler goes
 * on there.
 *
 * Before the fork every lock is taken that may be held by another thread, in the
 * one order in which they nest: so the child finds the registry, the memory of
 * descriptors and channels and all queues whole, those of mutexes and the like too. The locks in the words of
 * tasklets are not: what is done under them is put right in the child, and so is
 * what another thread had begun without a lock, such as a waiter that it had
 * claimed and not yet handed in.
 *
 * The child then has, in this order, no ring (its memory is not there, see
 * MADV_DONTFORK, so nothing may look at it), no locks, no waiters of other
 * threads in channels and groups; it takes in what had been handed in, ends the tasklets of
 * other threads, and counts one thread. What memory those threads had is left as
 * it is: they may have been anywhere in it. Their descriptors are closed, so that
 * the parent's ends are ends.
 */
#include "fork.h"

#include <pthread.h>
#include <unistd.h>

#include "deadlock.h"
#include "park.h"
#include "scheduler.h"
#include "thread.h"

static void lock_all(void)
{
	weft__started_lock();
	weft__pool_lock();
	weft__thread_lock_registry();
	weft__task_lock_pool();
	weft__channel_lock_all();
	weft__sync_lock_all();
	weft__group_lock_all();
}

static void unlock_all(void)
{
	weft__group_unlock_all();
	weft__sync_unlock_all();
	weft__channel_unlock_all();
	weft__task_unlock_pool();
	weft__thread_unlock_registry();
	weft__pool_unlock();
	weft__started_unlock();
}

static void disown(struct scheduler *s, void *self)
{
	if (s == self)
		return;
	weft__engine_disown(s);
	if (s->embedding)
		close(s->embedding->event_fd);
}

static void go_on_in_child(void)
{
	struct scheduler *self = weft__self;

	unlock_all();
	weft__thread_each(disown, self);
	weft__thread_forget_others(self);
	weft__started_forget_others(self ? peek(self->thread_id) : 0);
	weft__deadlock_renew(self);
	weft__task_unlock_words();
	weft__channel_forget_others(self);
	weft__group_forget_waiters(self);
	if (self) {
		poke(self->inbox.ringers, 0);
		self->used_word = NULL; /* no channel has a spinner any more */
		weft__engine_renew(self);
		/* before anybody is told through the parent's descriptor */
		weft__embedding_renew(self);
		weft__take_handed_in(self);
	}
	weft__sync_forget_others(self);
	weft__offload_forget_others(self);
	weft__position_renew();
	weft__task_forget_others(self);
	weft__group_forget_members(self);
	if (self && self->embedding)
		weft__embedding_settle(self);
}

static int failure;

/* As the library is loaded: the handlers of a child run in the order in which they
 * were registered, those before the fork in the reverse order. So a handler that the
 * program registers finds the child as it is to be, and no lock held before. */
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
