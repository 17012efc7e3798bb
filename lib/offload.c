/* SPDX-License-Identifier: MIT */
/*
 * weft_offload(): a pool of helper threads, and the calls that wait for them.
 *
 * A call lies on its caller's stack, and its waiter is linked in one queue for
 * the whole process, oldest first. Helpers take from its front. All is under one
 * mutex of pthread's: a hand-over costs two wakes in any case.
 *
 *	QUEUED   in the queue; the owner may take it out again (cancel), and then
 *	         nobody will wake it
 *	TAKEN    a helper has it, runs it and wakes it; the owner can but wait
 *
 * A helper is running a call, or it is on the stack of idle ones, or it was taken
 * off that stack for a call that has been queued, and is on its way. Each call
 * that is queued takes the idle one that was last busy off the stack, else starts
 * one up to the bound; so those that are not needed are at the bottom of the
 * stack, and end there after a while. While a call is queued there is a helper
 * that will come for it. Those that have ended are joined by who starts one or
 * ends itself, and the rest at the end of the process. (Each waiting for the one
 * before it made a line of threads, longer and longer where many ended.)
 *
 * A helper has no scheduler, and wakes in the name of weft__unattached. One that
 * its function has attached is detached before the result is handed over: it
 * counts for the deadlock verdict (deadlock.c) as a thread that is awake only as
 * long as it is attached, and what its tasklets did with the caller's stack is
 * over. A function that leaves by pthread_exit() ends its helper; the destructor
 * of a key finds out and ends the call.
 *
 * fork(): the mutex is taken around it. The child has no helpers. Calls of the
 * forking thread that were queued still are, and a timer that is due at once has
 * new helpers started when that thread next looks around: not in the handler of
 * fork(), for a child that calls exec next must not run them. Those that were
 * taken are claimed by nobody who is there, and get -ECANCELED as all such waiters
 * (tasklet.c). A child of the function itself, on a helper, ends with it.
 */
#include "offload.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weft/offload.h>
#include <weft/time.h>

#include "deadlock.h"
#include "environment.h"
#include "fork.h"
#include "park.h"
#include "scheduler.h"
#include "thread.h"

enum { HELPERS_DEFAULT = 16, HELPERS_MOST = 1024, IDLE_SECONDS = 1 };

struct call {
	struct waiter waiter; /* first; next and prev: in the queue */
	weft_fn fn;
	void *arg;
	bool is_taken; /* under the mutex */
};

struct helper {
	/* its own thread's */
	struct call *call;
	bool is_parents; /* this is a child of fork(), which is not its thread */
	unsigned n_calls; /* by its function, which waits for other helpers */

	/* under the pool's mutex */
	pthread_t thread;
	pthread_cond_t wake;
	struct helper *below; /* on the stack of idle ones, or of ended ones */
	bool is_idle;         /* on it */

	/* under the registry's mutex */
	struct helper *next, *prev; /* all that are not about to be gone */
	pid_t tid;                  /* 0: not known yet */
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t settled; /* for dismiss(): there are fewer to wait for */
	struct waiter *first, *last;
	struct helper *idle;
	struct helper *ended; /* to be joined */
	unsigned n_helpers;
	/* Of them, those in functions. Counted up under the mutex, and down by
	 * an atomic step before the caller is woken [inbox.1]: so at the end of
	 * the process, those whose callers know that they are done are not
	 * taken for busy. */
	_Atomic(unsigned) n_busy;
	unsigned n_nested; /* of them, those that wait for others */
	unsigned bound;
	bool is_set_up;
	bool has_key;
	bool is_closing; /* those who find nothing to do end at once */
	pthread_condattr_t monotonic;
	pthread_key_t key; /* a helper's record, while it may run a call */

	struct helper *all; /* under the registry's mutex */

	/* of the thread that forked, in the child */
	struct timer timer;
	struct scheduler *timer_of;
} pool = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.settled = PTHREAD_COND_INITIALIZER,
	.bound = HELPERS_DEFAULT,
};

static __thread struct helper *self; /* of a helper's thread */

/* --- the queue; under the mutex --- */

static void append(struct call *c)
{
	struct waiter *w = &c->waiter;

	w->next = NULL;
	w->prev = pool.last;
	if (pool.last)
		pool.last->next = w;
	else
		pool.first = w;
	pool.last = w;
}

static void take_out(struct waiter *w)
{
	if (w->prev)
		w->prev->next = w->next;
	else
		pool.first = w->next;
	if (w->next)
		w->next->prev = w->prev;
	else
		pool.last = w->prev;
}

static struct call *take_first(void)
{
	struct call *c = (struct call *)pool.first;

	if (!c)
		return NULL;
	take_out(&c->waiter);
	c->is_taken = true;
	return c;
}

/* Ends a call that was taken; without the mutex. */
static void finish(struct call *c, int result)
{
	c->waiter.result = result;
	weft__wake_foreign(&weft__unattached, &c->waiter);
}

/* --- the helpers that there are --- */

bool weft__offload_is_helper(pid_t tid)
{
	for (struct helper *h = pool.all; h; h = h->next)
		if (h->tid == tid)
			return true;
	return false;
}

static void enlist(struct helper *h)
{
	weft__thread_lock_registry();
	h->next = pool.all;
	if (h->next)
		h->next->prev = h;
	pool.all = h;
	weft__thread_unlock_registry();
}

static void unlist(struct helper *h)
{
	weft__thread_lock_registry();
	if (h->prev)
		h->prev->next = h->next;
	else
		pool.all = h->next;
	if (h->next)
		h->next->prev = h->prev;
	if (h->tid)
		weft__deadlock_note_leaving(h->tid);
	weft__thread_unlock_registry();
}

static void free_helper(struct helper *h)
{
	pthread_cond_destroy(&h->wake);
	free(h);
}

/* Joins those that are gone, without waiting. Under the mutex. */
static void join_ended(void)
{
	struct helper **place = &pool.ended;
	struct helper *h;

	while ((h = *place)) {
		if (pthread_tryjoin_np(h->thread, NULL)) {
			place = &h->below;
			continue;
		}
		*place = h->below;
		free_helper(h);
	}
}

/* --- starting them; under the mutex --- */

static void *help(void *record);

/* Signals are for other threads, but those by which a function learns of its own
 * faults: blocked, they would end the process past its handlers. */
static int create_thread(struct helper *h)
{
	static const int faults[] = { SIGBUS,  SIGFPE, SIGILL,
				      SIGSEGV, SIGSYS, SIGTRAP };
	sigset_t others, before;
	int rc;

	sigfillset(&others);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&others, faults[i]);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	rc = pthread_create(&h->thread, NULL, help, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return -rc;
}

static int start_helper(void)
{
	struct helper *h;
	int rc;

	join_ended();
	h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	pthread_cond_init(&h->wake, &pool.monotonic);
	enlist(h);
	/* Until it can be told from other threads. [deadlock.3] */
	weft__count_awake(1);
	rc = create_thread(h);
	if (!rc) {
		pool.n_helpers++;
		return 0;
	}
	weft__thread_count_out(&weft__unattached);
	unlist(h);
	free_helper(h);
	return rc;
}

/* A function that offloads does not take the place of one that it waits for: else
 * the helpers could all come to wait for each other. */
static unsigned most_helpers(void)
{
	return pool.bound + pool.n_nested;
}

/* A helper for each call that is queued, up to the bound. If there is none at
 * all, returns those calls, all taken: they get @err. */
static struct waiter *start_for_queued(int *err)
{
	struct waiter *none_for = pool.first;

	*err = 0;
	for (struct waiter *w = pool.first;
	     w && !*err && pool.n_helpers < most_helpers(); w = w->next)
		*err = start_helper();
	if (pool.n_helpers)
		return NULL;
	for (struct waiter *w = pool.first; w; w = w->next)
		((struct call *)w)->is_taken = true;
	pool.first = pool.last = NULL;
	return none_for;
}

static void finish_all(struct waiter *w, int result)
{
	while (w) {
		struct call *c = (struct call *)w;

		w = w->next;
		finish(c, result);
	}
}

/* --- what a helper does --- */

/* Puts it on the stack until it is wanted. False when it was not for too long.
 * Under the mutex. */
static bool wait_on_stack(struct helper *h)
{
	struct helper **place = &pool.idle;
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += IDLE_SECONDS;
	h->below = pool.idle;
	pool.idle = h;
	h->is_idle = true;
	while (h->is_idle && !rc)
		rc = pthread_cond_timedwait(&h->wake, &pool.mutex, &end);
	if (!h->is_idle)
		return true;
	while (*place != h)
		place = &(*place)->below;
	*place = h->below;
	h->is_idle = false;
	return false;
}

/* Takes the one that was last busy off the stack. Under the mutex. */
static void wake_idle(void)
{
	struct helper *h = pool.idle;

	pool.idle = h->below;
	h->is_idle = false;
	pthread_cond_signal(&h->wake);
}

/* NULL: it is to end. Under the mutex. */
static struct call *await_call(struct helper *h)
{
	bool is_wanted = true;
	struct call *c;

	while (!pool.first && is_wanted && !pool.is_closing)
		is_wanted = wait_on_stack(h);
	/* more than should be, since fewer wait for others */
	if (pool.n_helpers > most_helpers())
		return NULL;
	c = take_first();
	if (c) {
		pool.n_busy++;
		pthread_cond_signal(&pool.settled);
	}
	return c;
}

/* The last that a helper does, with the mutex, which it gives back. */
static void retire(struct helper *h)
{
	struct waiter *unserved;
	int err;

	unlist(h);
	join_ended();
	h->below = pool.ended;
	pool.ended = h;
	pool.n_helpers--;
	pthread_cond_signal(&pool.settled);
	if (pool.first && pool.idle)
		wake_idle();
	unserved = start_for_queued(&err);
	pthread_mutex_unlock(&pool.mutex);
	finish_all(unserved, err);
}

static void count_nested_out(void)
{
	pthread_mutex_lock(&pool.mutex);
	pool.n_nested--;
	pthread_mutex_unlock(&pool.mutex);
}

static void end_call(struct helper *h, int result)
{
	weft__thread_detach();
	if (h->n_calls) { /* of tasklets that were given up */
		h->n_calls = 0;
		count_nested_out();
	}
	pool.n_busy--;
	finish(h->call, result);
}

/* The function has left by pthread_exit(). */
static void left(void *record)
{
	struct helper *h = record;

	if (h->is_parents)
		return;
	end_call(h, -ECANCELED);
	pthread_mutex_lock(&pool.mutex);
	retire(h);
}

/* False in a child that the function has made. */
static bool run_call(struct helper *h)
{
	int result = h->call->fn(h->call->arg);

	if (h->is_parents)
		return false;
	end_call(h, result);
	return true;
}

static void introduce_oneself(struct helper *h)
{
	self = h;
	weft__thread_lock_registry();
	h->tid = gettid();
	weft__thread_unlock_registry();
	weft__thread_count_out(&weft__unattached); /* [deadlock.3] */
	pthread_setname_np(pthread_self(), "weft-offload");
	if (pool.has_key)
		pthread_setspecific(pool.key, h);
}

static void *help(void *record)
{
	struct helper *h = record;

	introduce_oneself(h);
	pthread_mutex_lock(&pool.mutex);
	while ((h->call = await_call(h))) {
		pthread_mutex_unlock(&pool.mutex);
		if (!run_call(h))
			return NULL;
		pthread_mutex_lock(&pool.mutex);
	}
	if (pool.has_key)
		pthread_setspecific(pool.key, NULL);
	retire(h);
	return NULL;
}

/* At the end of the process: idle helpers end, so that no tool calls them lost.
 * Busy ones are left to what they do. The caller may be one. */
static __attribute__((destructor)) void dismiss(void)
{
	struct helper *h, *below;

	pthread_mutex_lock(&pool.mutex);
	pool.is_closing = true;
	while (pool.idle)
		wake_idle();
	while (pool.n_helpers > pool.n_busy)
		pthread_cond_wait(&pool.settled, &pool.mutex);
	h = pool.ended;
	pool.ended = NULL;
	pthread_mutex_unlock(&pool.mutex);
	for (; h; h = below) {
		below = h->below;
		pthread_join(h->thread, NULL);
		free_helper(h);
	}
}

/* --- the caller --- */

static void set_up(void)
{
	if (pool.is_set_up)
		return;
	pthread_condattr_init(&pool.monotonic);
	pthread_condattr_setclock(&pool.monotonic, CLOCK_MONOTONIC);
	pool.has_key = pthread_key_create(&pool.key, left) == 0;
	pool.is_set_up = true;
}

static bool is_helper(void)
{
	return self && !self->is_parents;
}

static void note_end_of_call(void)
{
	if (is_helper() && --self->n_calls == 0)
		count_nested_out();
}

/* Puts the call into the queue, and sees to it that somebody comes for it. */
static int submit(struct call *c)
{
	int rc = 0;

	pthread_mutex_lock(&pool.mutex);
	set_up();
	if (is_helper() && self->n_calls++ == 0)
		pool.n_nested++;
	append(c);
	if (pool.idle)
		wake_idle();
	else if (pool.n_helpers < most_helpers())
		rc = start_helper();
	if (pool.n_helpers)
		rc = 0; /* one of those will come */
	if (rc)
		take_out(&c->waiter);
	pthread_mutex_unlock(&pool.mutex);
	if (rc)
		note_end_of_call();
	return rc;
}

static bool cancel(struct scheduler *s, struct waiter *w)
{
	bool is_taken;

	(void)s;
	pthread_mutex_lock(&pool.mutex);
	is_taken = ((struct call *)w)->is_taken;
	if (!is_taken)
		take_out(w);
	pthread_mutex_unlock(&pool.mutex);
	return !is_taken;
}

static bool is_claimed(const struct waiter *w)
{
	return ((const struct call *)w)->is_taken;
}

static void describe(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for an offloaded function");
}

static const struct wait_kind offloaded = { .cancel = cancel,
					    .is_claimed = is_claimed,
					    .describe = describe };

WEFT_API int weft_offload(weft_fn fn, void *arg)
{
	struct scheduler *s = weft__scheduler();
	struct call c = { .fn = fn, .arg = arg };
	int rc;

	if (!s)
		return -errno;
	if (!fn)
		return -EINVAL;
	rc = weft__enter(s);
	if (!rc)
		rc = weft__may_wait(s);
	if (rc)
		return rc;
	c.waiter.task = peek(s->current);
	c.waiter.owner = s;
	c.waiter.kind = &offloaded;
	rc = submit(&c);
	if (rc)
		return rc;
	s->n_offloaded++;
	weft__block(s, &c.waiter, true);
	s->n_offloaded--;
	note_end_of_call();
	return weft__outcome(c.waiter.task, &c.waiter);
}

/* --- fork --- */

void weft__offload_lock(void)
{
	pthread_mutex_lock(&pool.mutex);
}

void weft__offload_unlock(void)
{
	pthread_mutex_unlock(&pool.mutex);
}

static void forget_helpers(void)
{
	struct helper *next;

	/* Their conditions have waiters who are not here: not destroyed. */
	for (struct helper *h = pool.all; h; h = next) {
		next = h->next;
		if (h != self)
			free(h);
	}
	for (struct helper *h = pool.ended; h; h = next) {
		next = h->below;
		free(h);
	}
	if (self)
		self->is_parents = true;
	pool.all = pool.idle = pool.ended = NULL;
	pool.n_helpers = pool.n_nested = 0;
	pool.n_busy = 0;
	pthread_cond_init(&pool.settled, NULL);
}

/* In the child, when its thread first looks around. */
static void start_late(struct scheduler *s, struct timer *t)
{
	struct waiter *unserved;
	int err;

	(void)s;
	(void)t;
	pthread_mutex_lock(&pool.mutex);
	unserved = start_for_queued(&err);
	pthread_mutex_unlock(&pool.mutex);
	finish_all(unserved, err);
}

void weft__offload_forget_others(struct scheduler *s)
{
	struct waiter *next;

	forget_helpers();
	for (struct waiter *w = pool.first; w; w = next) {
		next = w->next;
		if (w->owner != s)
			take_out(w);
	}
	/* It may be armed already, in a child of a child. */
	if (s && pool.timer_of == s)
		weft__timer_cancel(&s->timers, &pool.timer);
	pool.timer = (struct timer){ .fire = start_late };
	pool.timer_of = s;
	if (pool.first && weft__timer_arm(&s->timers, &pool.timer, 0))
		start_late(s, &pool.timer);
}

/* --- settings --- */

void weft__offload_read_environment(void)
{
	pool.bound = (unsigned)weft__environment_number(
		"WEFT_OFFLOAD", 1, HELPERS_MOST, HELPERS_DEFAULT, "threads");
}
