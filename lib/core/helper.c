/* SPDX-License-Identifier: MIT */
/*
 * Helper threads, as the count of awake threads sees them; deadlock.c has the
 * argument [deadlock.3].
 *
 * A helper's function may attach its thread. When the function is over, the
 * thread is detached, before the function's caller learns of the end: a helper
 * counts as an awake thread only as long as it is attached.
 */
#include "core/helper.h"

#include <stddef.h>
#include <unistd.h>

#include "core/deadlock.h"
#include "core/park.h"
#include "core/thread.h"
#include "engine/pool.h"

static struct helper_id *helpers; /* under the registry's mutex */

bool weft__is_helper(pid_t tid)
{
	for (struct helper_id *h = helpers; h; h = h->next)
		if (h->tid == tid)
			return true;
	return false;
}

static void take_out(struct helper_id *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		helpers = h->next;
	if (h->next)
		h->next->prev = h->prev;
}

/* A helper counts as awake until it can be told from other threads.
 * [deadlock.3] */
static void creating(struct helper_id *h)
{
	weft__thread_lock_registry();
	h->next = helpers;
	if (h->next)
		h->next->prev = h;
	helpers = h;
	weft__thread_unlock_registry();
	weft__count_awake(1);
}

static void failed(struct helper_id *h)
{
	weft__thread_count_out(&weft__unattached);
	weft__thread_lock_registry();
	take_out(h);
	weft__thread_unlock_registry();
}

static void arrived(struct helper_id *h)
{
	weft__thread_lock_registry();
	h->tid = gettid();
	weft__thread_unlock_registry();
	weft__thread_count_out(&weft__unattached); /* [deadlock.3] */
}

static void leaving(struct helper_id *h)
{
	weft__thread_lock_registry();
	take_out(h);
	if (h->tid)
		weft__deadlock_note_leaving(h->tid);
	weft__thread_unlock_registry();
}

static const struct pool_watcher watcher = {
	.creating = creating,
	.failed = failed,
	.arrived = arrived,
	.leaving = leaving,
	.done = weft__thread_detach,
};

void weft__helper_watch(void)
{
	weft__pool_watch(&watcher);
}

void weft__helper_forget_all(void)
{
	helpers = NULL;
}
