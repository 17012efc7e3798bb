/* SPDX-License-Identifier: MIT */
/*
 * The pool of helper threads.
 *
 * The jobs of a crew are linked in one queue for the whole process, oldest first.
 * Helpers take from its front, but for jobs that must not be done beside one that
 * is (their keys): the helper that has that one comes for the next. All is under
 * one mutex of pthread's: a hand-over costs two wakes in any case.
 *
 *	QUEUED   in the queue; the owner may take it out again (withdraw), and
 *	         then nobody will call done()
 *	TAKEN    a helper has it, runs it and calls done(); the owner can but wait
 *
 * A helper is doing a job, or it is on the stack of idle ones, or it was taken
 * off that stack for a job that has been queued, and is on its way. Each job
 * that is queued takes the idle one that was last busy off the stack, else starts
 * one up to the bound; so those that are not needed are at the bottom of the
 * stack, and end there after a while. While a job is queued that may be done there
 * is a helper that will come for it. Those that have ended are joined by who starts one or
 * ends itself, and the rest at the end of the process. (Each waiting for the one
 * before it made a line of threads, longer and longer where many ended.)
 *
 * A helper has no scheduler. One that its function has attached is detached
 * before the job is done: it counts for the deadlock verdict (deadlock.c) as a
 * thread that is awake only as long as it is attached, and what its tasklets did
 * with the owner's memory is over. A function that leaves by pthread_exit() ends
 * its helper; the destructor of a key finds out and ends the job.
 *
 * fork(): the mutex is taken around it. The child has no helpers. Jobs that were
 * queued and are the child's to do still are, but helpers are not started in the
 * handler of fork(), for a child that calls exec next must not do them. A child of
 * the function itself, on a helper, ends with it.
 */
#include "pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "deadlock.h"
#include "debug.h"
#include "environment.h"
#include "fork.h"
#include "park.h"
#include "thread.h"

enum {
	HELPERS_DEFAULT = 16,
	HELPERS_MOST = 1024,
	HELPERS_FOR_FILES = 16,
	IDLE_SECONDS = 1
};

struct crew_state;

struct helper {
	/* its own thread's */
	struct crew_state *crew;
	struct job *job;
	bool is_parents; /* this is a child of fork(), which is not its thread */
	unsigned
		n_calls; /* by its function, which waits for others of its crew */

	/* under the pool's mutex */
	pthread_t thread;
	pthread_cond_t wake;
	struct helper *below; /* on the stack of idle ones, or of ended ones */
	bool is_idle;         /* on it */
	uint64_t key[2];      /* of what it does, if that has one */
	struct helper *next_keyed; /* who does something with a key */

	/* under the registry's mutex */
	struct helper *next, *prev; /* all that are not about to be gone */
	pid_t tid;                  /* 0: not known yet */
};

/* Under the pool's mutex. */
struct crew_state {
	const char *name;
	unsigned bound;
	struct job *first, *last;
	struct helper *idle;
	struct helper *keyed;
	unsigned n_helpers;
	unsigned n_nested; /* of them, those that wait for others */
};

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t settled; /* for dismiss(): there are fewer to wait for */
	struct crew_state crews[N_CREWS];
	struct helper *ended; /* to be joined */
	/* Helpers that do a job. Counted up under the mutex, and down by an
	 * atomic step before the owner is told [inbox.1]: so at the end of the
	 * process, those whose callers know that they are done are not taken
	 * for busy. */
	_Atomic(unsigned) n_busy;
	bool is_set_up;
	bool has_key;
	bool is_closing; /* those who find nothing to do end at once */
	pthread_condattr_t monotonic;
	pthread_key_t key; /* a helper's record, while it may do a job */

	struct helper *all; /* under the registry's mutex */
} pool = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.settled = PTHREAD_COND_INITIALIZER,
	.crews = { [CREW_FUNCTIONS] = { .name = "weft-offload",
					.bound = HELPERS_DEFAULT },
		   [CREW_FILES] = { .name = "weft-file",
				    .bound = HELPERS_FOR_FILES } },
};

static __thread struct helper *self; /* of a helper's thread */

/* --- the queues; under the mutex --- */

static void append(struct crew_state *c, struct job *j)
{
	j->next = NULL;
	j->prev = c->last;
	if (c->last)
		c->last->next = j;
	else
		c->first = j;
	c->last = j;
}

static void take_out(struct crew_state *c, struct job *j)
{
	if (j->prev)
		j->prev->next = j->next;
	else
		c->first = j->next;
	if (j->next)
		j->next->prev = j->prev;
	else
		c->last = j->prev;
}

static bool is_keyed(const uint64_t key[2])
{
	return key[0] || key[1];
}

/* Whether a job with the same key is being done. */
static bool must_wait(const struct crew_state *c, const struct job *j)
{
	if (!is_keyed(j->key))
		return false;
	for (const struct helper *h = c->keyed; h; h = h->next_keyed)
		if (h->key[0] == j->key[0] && h->key[1] == j->key[1])
			return true;
	return false;
}

static void begin_keyed(struct helper *h, const struct job *j)
{
	h->key[0] = j->key[0];
	h->key[1] = j->key[1];
	h->next_keyed = h->crew->keyed;
	h->crew->keyed = h;
}

static void end_keyed(struct helper *h)
{
	struct helper **place = &h->crew->keyed;

	if (!is_keyed(h->key))
		return;
	while (*place != h)
		place = &(*place)->next_keyed;
	*place = h->next_keyed;
	h->key[0] = h->key[1] = 0;
}

/* The first that may be done; NULL: there is none. */
static struct job *first_to_do(const struct crew_state *c)
{
	struct job *j = c->first;

	while (j && must_wait(c, j))
		j = j->next;
	return j;
}

static struct job *take_first(struct helper *h)
{
	struct crew_state *c = h->crew;
	struct job *j = first_to_do(c);

	if (!j)
		return NULL;
	take_out(c, j);
	j->is_taken = true;
	if (is_keyed(j->key))
		begin_keyed(h, j);
	return j;
}

/* Ends a job that was taken; without the mutex. */
static void finish(struct job *j, int result)
{
	j->result = result;
	j->done(j);
}

/* --- the helpers that there are --- */

bool weft__pool_is_helper(pid_t tid)
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

/* pthread_create() says EAGAIN for want of memory, too. */
static bool is_out_of_memory(const pthread_attr_t *attributes)
{
	size_t size = 0;
	void *stack;

	if (pthread_attr_getstacksize(attributes, &size))
		return false;
	stack = mmap(NULL, size, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
	if (stack == MAP_FAILED)
		return true;
	munmap(stack, size);
	return false;
}

/* Signals are for other threads, but those by which a function learns of its own
 * faults: blocked, they would end the process past its handlers. */
static int create_thread(struct helper *h)
{
	static const int faults[] = { SIGBUS,  SIGFPE, SIGILL,
				      SIGSEGV, SIGSYS, SIGTRAP };
	sigset_t others, before;
	pthread_attr_t usual;
	int rc = pthread_attr_init(&usual);

	if (rc)
		return -rc;
	sigfillset(&others);
	for (size_t i = 0; i < sizeof faults / sizeof faults[0]; i++)
		sigdelset(&others, faults[i]);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	rc = pthread_create(&h->thread, &usual, help, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc == EAGAIN && is_out_of_memory(&usual))
		rc = ENOMEM;
	pthread_attr_destroy(&usual);
	return -rc;
}

static int start_helper(struct crew_state *c)
{
	struct helper *h;
	int rc;

	join_ended();
	h = calloc(1, sizeof *h);
	if (!h)
		return -ENOMEM;
	h->crew = c;
	pthread_cond_init(&h->wake, &pool.monotonic);
	enlist(h);
	/* Until it can be told from other threads. [deadlock.3] */
	weft__count_awake(1);
	rc = create_thread(h);
	if (!rc) {
		c->n_helpers++;
		return 0;
	}
	weft__thread_count_out(&weft__unattached);
	unlist(h);
	free_helper(h);
	return rc;
}

/* A function that offloads does not take the place of one that it waits for: else
 * the helpers could all come to wait for each other. */
static unsigned most_helpers(const struct crew_state *c)
{
	return c->bound + c->n_nested;
}

/* A helper for each job that is queued and may be done, up to the bound. If there is
 * none at all, returns those jobs, all taken: they get @err. */
static struct job *start_for_queued(struct crew_state *c, int *err)
{
	struct job *none_for = c->first;

	*err = 0;
	for (struct job *j = first_to_do(c);
	     j && !*err && c->n_helpers < most_helpers(c); j = j->next)
		if (!must_wait(c, j))
			*err = start_helper(c);
	if (c->n_helpers)
		return NULL;
	for (struct job *j = c->first; j; j = j->next)
		j->is_taken = true;
	c->first = c->last = NULL;
	return none_for;
}

static void finish_all(struct job *j, int result)
{
	struct job *next;

	for (; j; j = next) {
		next = j->next;
		finish(j, result);
	}
}

/* --- what a helper does --- */

/* Puts it on the stack until it is wanted. False when it was not for too long.
 * Under the mutex. */
static bool wait_on_stack(struct helper *h)
{
	struct helper **place = &h->crew->idle;
	struct timespec end;
	int rc = 0;

	clock_gettime(CLOCK_MONOTONIC, &end);
	end.tv_sec += IDLE_SECONDS;
	h->below = *place;
	*place = h;
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
static void wake_idle(struct crew_state *c)
{
	struct helper *h = c->idle;

	c->idle = h->below;
	h->is_idle = false;
	pthread_cond_signal(&h->wake);
}

/* NULL: it is to end. Under the mutex. */
static struct job *await_job(struct helper *h)
{
	struct crew_state *c = h->crew;
	bool is_wanted = true;
	struct job *j = NULL;

	end_keyed(h);
	/* more than should be, since fewer wait for others */
	while (c->n_helpers <= most_helpers(c) && !(j = take_first(h))) {
		if (!is_wanted || pool.is_closing)
			return NULL;
		is_wanted = wait_on_stack(h);
	}
	if (j) {
		pool.n_busy++;
		pthread_cond_signal(&pool.settled);
	}
	return j;
}

/* The last that a helper does, with the mutex, which it gives back. */
static void retire(struct helper *h)
{
	struct crew_state *c = h->crew;
	struct job *unserved;
	int err;

	unlist(h);
	join_ended();
	end_keyed(h);
	h->below = pool.ended;
	pool.ended = h;
	c->n_helpers--;
	pthread_cond_signal(&pool.settled);
	if (c->idle && first_to_do(c))
		wake_idle(c);
	unserved = start_for_queued(c, &err);
	pthread_mutex_unlock(&pool.mutex);
	finish_all(unserved, err);
}

static void count_nested_out(struct crew_state *c)
{
	pthread_mutex_lock(&pool.mutex);
	c->n_nested--;
	pthread_mutex_unlock(&pool.mutex);
}

static void end_job(struct helper *h, int result)
{
	weft__thread_detach();
	if (h->n_calls) { /* of tasklets that were given up */
		h->n_calls = 0;
		count_nested_out(h->crew);
	}
	pool.n_busy--;
	finish(h->job, result);
}

/* The function has left by pthread_exit(). */
static void left(void *record)
{
	struct helper *h = record;

	if (h->is_parents)
		return;
	end_job(h, -ECANCELED);
	pthread_mutex_lock(&pool.mutex);
	retire(h);
}

/* False in a child that the function has made. */
static bool do_job(struct helper *h)
{
	int result = h->job->fn(h->job->arg);

	if (h->is_parents)
		return false;
	end_job(h, result);
	return true;
}

static void introduce_oneself(struct helper *h)
{
	self = h;
	weft__thread_lock_registry();
	h->tid = gettid();
	weft__thread_unlock_registry();
	weft__thread_count_out(&weft__unattached); /* [deadlock.3] */
	pthread_setname_np(pthread_self(), h->crew->name);
	if (pool.has_key)
		pthread_setspecific(pool.key, h);
}

static void *help(void *record)
{
	struct helper *h = record;

	introduce_oneself(h);
	pthread_mutex_lock(&pool.mutex);
	while ((h->job = await_job(h))) {
		pthread_mutex_unlock(&pool.mutex);
		if (!do_job(h))
			return NULL;
		pthread_mutex_lock(&pool.mutex);
	}
	if (pool.has_key)
		pthread_setspecific(pool.key, NULL);
	retire(h);
	return NULL;
}

static unsigned count_helpers(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < N_CREWS; i++)
		n += pool.crews[i].n_helpers;
	return n;
}

/* At the end of the process: idle helpers end, so that no tool calls them lost.
 * Busy ones are left to what they do. The caller may be one. */
static __attribute__((destructor)) void dismiss(void)
{
	struct helper *h, *below;

	pthread_mutex_lock(&pool.mutex);
	pool.is_closing = true;
	for (size_t i = 0; i < N_CREWS; i++)
		while (pool.crews[i].idle)
			wake_idle(&pool.crews[i]);
	while (count_helpers() > pool.n_busy)
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

/* --- the owner of a job --- */

static void set_up(void)
{
	if (pool.is_set_up)
		return;
	pthread_condattr_init(&pool.monotonic);
	pthread_condattr_setclock(&pool.monotonic, CLOCK_MONOTONIC);
	pool.has_key = pthread_key_create(&pool.key, left) == 0;
	pool.is_set_up = true;
}

/* Whether the owner of the job is a helper that would have to do it. */
static bool is_nested(const struct job *j)
{
	return self && !self->is_parents && self->crew == &pool.crews[j->crew];
}

void weft__pool_note_end(const struct job *j)
{
	if (is_nested(j) && --self->n_calls == 0)
		count_nested_out(self->crew);
}

int weft__pool_submit(struct job *j)
{
	struct crew_state *c = &pool.crews[j->crew];
	int rc = 0;

	pthread_mutex_lock(&pool.mutex);
	set_up();
	if (is_nested(j) && self->n_calls++ == 0)
		c->n_nested++;
	append(c, j);
	if (must_wait(c, j))
		; /* whoever has the other one comes for it */
	else if (c->idle)
		wake_idle(c);
	else if (c->n_helpers < most_helpers(c))
		rc = start_helper(c);
	if (c->n_helpers)
		rc = 0; /* one of those will come */
	if (rc)
		take_out(c, j);
	pthread_mutex_unlock(&pool.mutex);
	if (rc)
		weft__pool_note_end(j);
	return rc;
}

bool weft__pool_withdraw(struct job *j)
{
	bool is_taken;

	pthread_mutex_lock(&pool.mutex);
	is_taken = j->is_taken;
	if (!is_taken) {
		take_out(&pool.crews[j->crew], j);
		j->is_taken = true; /* not to be withdrawn again */
	}
	pthread_mutex_unlock(&pool.mutex);
	return !is_taken;
}

/* --- fork --- */

void weft__pool_lock(void)
{
	pthread_mutex_lock(&pool.mutex);
}

void weft__pool_unlock(void)
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
	pool.all = pool.ended = NULL;
	pool.n_busy = 0;
	pthread_cond_init(&pool.settled, NULL);
}

bool weft__pool_forget_others(bool (*is_ours)(const struct job *j, void *arg),
			      void *arg)
{
	bool some_left = false;
	struct job *next;

	forget_helpers();
	for (size_t i = 0; i < N_CREWS; i++) {
		struct crew_state *c = &pool.crews[i];

		c->idle = c->keyed = NULL;
		c->n_helpers = c->n_nested = 0;
		for (struct job *j = c->first; j; j = next) {
			next = j->next;
			if (!is_ours(j, arg))
				take_out(c, j);
		}
		some_left = some_left || c->first;
	}
	return some_left;
}

void weft__pool_start_late(void)
{
	for (size_t i = 0; i < N_CREWS; i++) {
		struct job *unserved;
		int err;

		pthread_mutex_lock(&pool.mutex);
		unserved = start_for_queued(&pool.crews[i], &err);
		pthread_mutex_unlock(&pool.mutex);
		finish_all(unserved, err);
	}
}

/* --- settings --- */

void weft__pool_read_environment(void)
{
	pool.crews[CREW_FUNCTIONS].bound = (unsigned)weft__environment_number(
		"WEFT_OFFLOAD", 1, HELPERS_MOST, HELPERS_DEFAULT, "threads");
}
