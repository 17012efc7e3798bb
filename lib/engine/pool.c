/* SPDX-License-Identifier: MIT */
/*
 * The pool of helper threads.
 *
 * The jobs of a crew are linked in one queue for the whole process, oldest
 * first. Helpers take jobs from its front, but skip a job that must not be done
 * beside one that is being done (same key): the helper that has that one comes
 * back for the next. All is under one pthread mutex: a hand-over costs two
 * wakes in any case.
 *
 *	QUEUED   in the queue; the owner may take it out again (withdraw), and
 *	         then nobody will call done()
 *	TAKEN    a helper has it, runs it and calls done(); the owner can only
 *	         wait
 *
 * A helper is in one of three states: it is doing a job, or it is on the stack
 * of idle helpers, or it was taken off that stack for a queued job and is on
 * its way. Each job that is queued takes the helper that was last busy off the
 * stack; if the stack is empty, it starts a helper, up to the bound. So helpers
 * that are not needed are at the bottom of the stack, and end there after a
 * while. While a job is queued that may be done, some helper will come for it.
 * Helpers that have ended are joined by the next thread that starts a helper,
 * or is a helper that ends, and the rest at the end of the process. (Rejected:
 * each joins the one before it. That made a line of waiting threads, longer and
 * longer where many ended.)
 *
 * A helper has no scheduler. If its function attaches it, the watcher detaches
 * it before the job is done (core/helper.c): what its tasklets did with the
 * owner's memory is over by then. A function that leaves by pthread_exit() ends
 * its helper; the destructor of a pthread key notices that and ends the job.
 *
 * fork(): the mutex is taken around it. The child has no helpers. In the child,
 * the queued jobs that are its own to do are still queued. But the handler of
 * fork() starts no helpers for them, since a child that calls exec next must
 * not do them. If the function itself forks, on a helper, the child ends with
 * the function.
 */
#include "engine/pool.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "base/debug.h"
#include "base/environment.h"

enum {
	HELPERS_DEFAULT = 16,
	HELPERS_MOST = 1024,
	HELPERS_FOR_FILES = 16,
	HELPERS_FOR_WAITS = HELPERS_MOST,
	IDLE_SECONDS = 1
};

struct crew_state;

struct helper {
	/* its own thread only */
	struct crew_state *crew;
	struct job *job;
	bool is_parents;  /* in a child of fork(): not its own thread */
	unsigned n_calls; /* of its function, to others of its crew */

	/* under the pool's mutex */
	pthread_t thread;
	pthread_cond_t wake;
	struct helper *below; /* on the stack of idle or of ended helpers */
	bool is_idle;         /* on the idle stack */
	uint64_t key[2];      /* of its job, if that has a key */
	struct helper *next_keyed;  /* helpers with a key */
	const struct job *doing;    /* may have been done meanwhile */
	struct helper *next, *prev; /* all that are not about to be gone */

	/* Set by its own thread when it has done its job, before the owner is
	 * told, and cleared under the mutex when it takes another one. Relaxed:
	 * who was told of the job sees it [inbox.1] [poll.1], and to others it
	 * is a hint. */
	_Atomic(bool) is_through;

	struct helper_id id; /* its watcher's */
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
	pthread_cond_t settled; /* for dismiss(): fewer helpers to wait for */
	struct crew_state crews[N_CREWS];
	struct helper *all;
	struct helper *ended; /* to be joined */
	struct helper
		*detached; /* of which tools are to see that they are known */
	/* Helpers that do a job. Counted up under the mutex, and down by an
	 * atomic step before the owner is told [inbox.1]. So at the end of the
	 * process a helper does not count as busy if its caller knows that the
	 * job is done. */
	_Atomic(unsigned) n_busy;
	bool is_set_up;
	bool has_key;
	bool is_closing; /* helpers that find no job end at once */
	bool is_closed;  /* nobody will join those that end from now on */
	int interrupt;   /* the signal for CREW_WAITS; 0: none yet, or none */
	pthread_condattr_t monotonic;
	pthread_key_t key; /* a helper's record, while it may do a job */
} pool = {
	.mutex = PTHREAD_MUTEX_INITIALIZER,
	.settled = PTHREAD_COND_INITIALIZER,
	.crews = { [CREW_FUNCTIONS] = { .name = "weft-offload",
					.bound = HELPERS_DEFAULT },
		   [CREW_FILES] = { .name = "weft-file",
				    .bound = HELPERS_FOR_FILES },
		   [CREW_CHILDREN] = { .name = "weft-child",
				       .bound = HELPERS_MOST },
		   [CREW_CALLS] = { .name = "weft-call",
				    .bound = HELPERS_FOR_FILES },
		   [CREW_WAITS] = { .name = "weft-wait",
				    .bound = HELPERS_FOR_WAITS } },
};

static __thread struct helper *self; /* set on a helper's thread */

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

/* The first job that may be done; NULL if there is none. */
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
	h->doing = j;
	poke(h->is_through, false);
	if (is_keyed(j->key))
		begin_keyed(h, j);
	return j;
}

/* Ends a job that was taken. Without the mutex. */
static void finish(struct job *j, int result)
{
	j->result = result;
	j->done(j);
}

/* --- the helpers that there are; under the mutex --- */

static const struct pool_watcher *watcher; /* set before the first job */

void weft__pool_watch(const struct pool_watcher *w)
{
	watcher = w;
}

static void enlist(struct helper *h)
{
	h->next = pool.all;
	if (h->next)
		h->next->prev = h;
	pool.all = h;
}

static void unlist(struct helper *h)
{
	if (h->prev)
		h->prev->next = h->next;
	else
		pool.all = h->next;
	if (h->next)
		h->next->prev = h->prev;
}

static void free_helper(struct helper *h)
{
	pthread_cond_destroy(&h->wake);
	free(h);
}

/* Joins helpers that are gone, without waiting. */
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

/* pthread_create() fails with EAGAIN for lack of memory, too. It fails with
 * whatever clone(2) fails with: EINVAL after unshare(CLONE_NEWPID), EPERM behind a
 * filter. To the caller all these are one, no thread to be had. */
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

static void do_nothing(int number)
{
	(void)number;
}

/*
 * The signal that interrupts helpers of CREW_WAITS is one of the real-time signals,
 * the last for which the program has not set an action by then. Its handler does
 * nothing, and lets the system call fail with EINTR. It is blocked in all other
 * helpers, and sent to these alone. An emulator may take actions for signals that it
 * cannot send: those it cannot block either.
 */
static int choose_signal(void)
{
	struct sigaction old, ours = { .sa_handler = do_nothing };
	sigset_t all, before, blocked;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	pthread_sigmask(SIG_SETMASK, &before, &blocked);
	for (int number = SIGRTMAX; number > SIGRTMIN; number--)
		if (sigismember(&blocked, number) == 1 &&
		    sigaction(number, NULL, &old) == 0 &&
		    old.sa_handler == SIG_DFL &&
		    sigaction(number, &ours, NULL) == 0)
			return number;
	return 0;
}

/* A program that resets the actions of all signals means its own. */
static bool can_interrupt(void)
{
	struct sigaction now, ours = { .sa_handler = do_nothing };

	if (!pool.interrupt || sigaction(pool.interrupt, NULL, &now))
		return false;
	return (now.sa_handler != SIG_DFL && now.sa_handler != SIG_IGN) ||
	       sigaction(pool.interrupt, &ours, NULL) == 0;
}

static void let_interrupt(sigset_t *blocked)
{
	if (!pool.interrupt)
		pool.interrupt = choose_signal();
	if (pool.interrupt)
		sigdelset(blocked, pool.interrupt);
}

/* Other threads handle signals. Only the signals by which a function learns of
 * its own faults are not blocked: blocked, they would end the process without
 * running its handlers. */
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
	if (h->crew == &pool.crews[CREW_WAITS])
		let_interrupt(&others);
	pthread_sigmask(SIG_SETMASK, &others, &before);
	rc = pthread_create(&h->thread, &usual, help, h);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (rc)
		rc = is_out_of_memory(&usual) ? ENOMEM : EAGAIN;
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
	watcher->creating(&h->id);
	rc = create_thread(h);
	if (!rc) {
		enlist(h);
		c->n_helpers++;
		return 0;
	}
	watcher->failed(&h->id);
	free_helper(h);
	return rc;
}

/* A function that offloads and waits for it leaves its place to another helper:
 * otherwise all helpers could come to wait for each other. */
static unsigned most_helpers(const struct crew_state *c)
{
	return c->bound + c->n_nested;
}

/* Starts a helper for each queued job that may be done, up to the bound. If
 * there is no helper at all then, returns the queued jobs, all taken: they get
 * @err. */
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

/* Puts @h on the stack until it is wanted. False if it was not wanted for too
 * long. Under the mutex. */
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

/* Takes the helper that was last busy off the stack. Under the mutex. */
static void wake_idle(struct crew_state *c)
{
	struct helper *h = c->idle;

	c->idle = h->below;
	h->is_idle = false;
	pthread_cond_signal(&h->wake);
}

/* The next job; NULL if the helper must end. Under the mutex. */
static struct job *await_job(struct helper *h)
{
	struct crew_state *c = h->crew;
	bool is_wanted = true;
	struct job *j = NULL;

	h->doing = NULL;
	end_keyed(h);
	/* more helpers than allowed: fewer of them wait for others now */
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

/* The last step of a helper. Called with the mutex, which it unlocks. */
static void retire(struct helper *h)
{
	struct crew_state *c = h->crew;
	struct job *unserved;
	int err;

	watcher->leaving(&h->id);
	unlist(h);
	join_ended();
	end_keyed(h);
	if (pool.is_closed) {
		pthread_detach(pthread_self());
		h->below = pool.detached;
		pool.detached = h;
	} else {
		h->below = pool.ended;
		pool.ended = h;
	}
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
	watcher->done();
	if (h->n_calls) { /* calls of tasklets that were given up */
		h->n_calls = 0;
		count_nested_out(h->crew);
	}
	pool.n_busy--;
	poke(h->is_through, true);
	finish(h->job, result);
}

/* For a function that has left by pthread_exit(). */
static void left(void *record)
{
	struct helper *h = record;

	if (h->is_parents)
		return;
	end_job(h, -ECANCELED);
	pthread_mutex_lock(&pool.mutex);
	retire(h);
}

/* False in a child process that the function has forked. */
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
	watcher->arrived(&h->id);
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

/* At the end of the process: idle helpers end, so that no tool reports them as
 * leaks. Busy helpers are left to their jobs. The caller may be one. */
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
	pool.is_closed = true;
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

/* Whether the owner of the job is a helper of the crew that does it. */
static bool is_nested(const struct job *j)
{
	return self && !self->is_parents && self->crew == &pool.crews[j->crew];
}

void weft__pool_note_end(const struct job *j)
{
	if (is_nested(j) && --self->n_calls == 0)
		count_nested_out(self->crew);
}

static bool has_key_of(const uint64_t key[2], const struct job *j)
{
	return is_keyed(j->key) && key[0] == j->key[0] && key[1] == j->key[1];
}

/* Whether there are more helpers on their way than jobs before this one, and none of
 * those has its key. */
static bool is_next(const struct crew_state *c, const struct job *j)
{
	unsigned n_before = 0, n_coming = 0;

	for (const struct job *i = c->first; i != j; i = i->next) {
		if (has_key_of(i->key, j))
			return false;
		n_before++;
	}
	for (const struct helper *h = pool.all; h; h = h->next) {
		bool is_free = !h->doing || peek(h->is_through);

		if (h->crew != c)
			continue;
		if (!is_free && has_key_of(h->key, j))
			return false;
		n_coming += is_free && !h->is_idle;
	}
	return n_before < n_coming;
}

/* Whether the helpers of its crew may all wait for something that happens only after
 * this job. */
static bool may_never_end(const struct job *j)
{
	return j->crew == CREW_WAITS || j->crew == CREW_CHILDREN;
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
		; /* the helper that has the other job comes for it */
	else if (c->idle)
		wake_idle(c);
	else if (c->n_helpers < most_helpers(c))
		rc = start_helper(c);
	if (c->n_helpers && (!may_never_end(j) || is_next(c, j)))
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
		j->is_taken = true; /* it cannot be withdrawn again */
	}
	pthread_mutex_unlock(&pool.mutex);
	return !is_taken;
}

bool weft__pool_is_due(const struct job *j)
{
	bool is_due;

	pthread_mutex_lock(&pool.mutex);
	is_due = j->is_taken || is_next(&pool.crews[j->crew], j);
	pthread_mutex_unlock(&pool.mutex);
	return is_due;
}

void weft__pool_interrupt(const struct job *j)
{
	pthread_mutex_lock(&pool.mutex);
	for (struct helper *h = pool.all; h; h = h->next)
		if (h->doing == j && can_interrupt())
			pthread_kill(h->thread, pool.interrupt);
	pthread_mutex_unlock(&pool.mutex);
}

bool weft__pool_take_signal(int number)
{
	static const struct timespec at_once = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	return sigtimedwait(&set, NULL, &at_once) == number;
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

	/* Their conditions have waiters that are not in the child: not
	 * destroyed. */
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
