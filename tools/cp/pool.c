/* SPDX-License-Identifier: MIT */
/*
 * The work, and the jobs that do it.
 *
 * Each thread has a crew of jobs. A job takes a batch of its own crew first, then a
 * folder, the one that was found last (so few are pending), and then a batch of
 * another crew. Calls that work in memory are made at once, so in a tree that is in
 * memory one job of each thread does all, and the threads share the folders among
 * them. Where a job has to wait for the disk, the others of its crew go on.
 */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>

#include "cp.h"

enum { MAX_BATCHES = 64, MAX_CALLED = 2 };

struct crew {
	struct batch *first, **last;
	size_t n_batches;
	size_t n_idle, n_jobs; /* idle: and not called */
	weft_semaphore calls;
	uint64_t thread; /* 0: the main one */

	/* its thread alone */
	struct buffer {
		struct buffer *next;
	} * buffers;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static weft_semaphore all_done = WEFT_SEMAPHORE_INIT(0);
static bool is_awaited; /* all_done */
static struct crew crews[MAX_THREADS];
static struct queued {
	struct queued *next;
	struct folder *folder;
} * folders;
static size_t n_busy;
static bool is_ending;

/* --- work --- */

struct work {
	struct folder *folder;
	struct batch *batch;
};

static bool take_batch(struct crew *c, struct work *w)
{
	w->batch = c->first;
	if (!w->batch)
		return false;
	c->first = w->batch->next;
	if (!c->first)
		c->last = &c->first;
	c->n_batches--;
	return true;
}

static bool take_folder(struct work *w)
{
	struct queued *q = folders;

	if (!q)
		return false;
	folders = q->next;
	w->folder = q->folder;
	free(q);
	return true;
}

static bool take(struct crew *c, struct work *w)
{
	*w = (struct work){ 0 };
	if (take_batch(c, w) || take_folder(w))
		return true;
	for (size_t i = 0; i < settings.n_threads; i++)
		if (take_batch(&crews[i], w))
			return true;
	return false;
}

/* Chooses one job of the caller's thread, which is to have a turn while the caller waits
 * for the disk, and one of a thread that has nothing to do. Under the lock. */
static void choose(struct crew *c, struct crew *called[MAX_CALLED])
{
	called[0] = called[1] = NULL;
	if (c && c->n_idle) {
		c->n_idle--;
		called[0] = c;
	}
	for (size_t i = 0; i < settings.n_threads; i++)
		if (&crews[i] != c && crews[i].n_jobs &&
		    crews[i].n_idle == crews[i].n_jobs) {
			crews[i].n_idle--;
			called[1] = &crews[i];
			return;
		}
}

static void call(struct crew *const called[MAX_CALLED])
{
	for (int i = 0; i < MAX_CALLED; i++)
		if (called[i])
			weft_semaphore_post(&called[i]->calls);
}

void pool_add_folder(struct job *j, struct folder *f)
{
	struct queued *q = malloc(sizeof *q);
	struct crew *called[MAX_CALLED];

	if (!q) {
		complain(f, SOURCE, NULL, "copy", -ENOMEM);
		folder_drop(f);
		return;
	}
	q->folder = f;
	pthread_mutex_lock(&lock);
	q->next = folders;
	folders = q;
	choose(j->crew, called);
	pthread_mutex_unlock(&lock);
	call(called);
}

bool pool_add_batch(struct job *j, struct batch *b)
{
	struct crew *c = j ? j->crew : &crews[0];
	struct crew *called[MAX_CALLED] = { NULL };
	bool is_full;

	pthread_mutex_lock(&lock);
	is_full = j && c->n_batches >= MAX_BATCHES;
	if (!is_full) {
		b->next = NULL;
		*c->last = b;
		c->last = &b->next;
		c->n_batches++;
		choose(c, called);
	}
	pthread_mutex_unlock(&lock);
	call(called);
	return !is_full;
}

/* --- jobs --- */

char *pool_take_buffer(struct job *j)
{
	struct buffer *b = j->crew->buffers;

	if (!b)
		return malloc(BUFFER);
	j->crew->buffers = b->next;
	return (char *)b;
}

void pool_give_buffer(struct job *j, char *buffer)
{
	struct buffer *b = (void *)buffer;

	b->next = j->crew->buffers;
	j->crew->buffers = b;
}

static void work_on(struct job *j, const struct work *w)
{
	if (w->folder)
		folder_walk(j, w->folder);
	else
		copy_batch(j, w->batch);
	/* The others of the thread, and what the kernel has completed. */
	weft_schedule();
}

static bool is_idle(void)
{
	for (size_t i = 0; i < settings.n_threads; i++)
		if (crews[i].first)
			return false;
	return !folders && !n_busy;
}

/* Under the lock: waits until there may be something to do. */
static void be_idle(struct crew *c)
{
	bool was_awaited = is_awaited && is_idle();

	if (was_awaited)
		is_awaited = false;
	c->n_idle++;
	pthread_mutex_unlock(&lock);
	if (was_awaited)
		weft_semaphore_post(&all_done);
	weft_semaphore_wait(&c->calls);
	pthread_mutex_lock(&lock);
}

static int do_jobs(void *arg)
{
	struct crew *c = arg;
	struct job j = { c };
	struct work w;

	pthread_mutex_lock(&lock);
	while (!is_ending) {
		if (!take(c, &w)) {
			be_idle(c);
			continue;
		}
		n_busy++;
		pthread_mutex_unlock(&lock);
		work_on(&j, &w);
		pthread_mutex_lock(&lock);
		n_busy--;
	}
	pthread_mutex_unlock(&lock);
	return 0;
}

void pool_wait(void)
{
	bool is_over;

	pthread_mutex_lock(&lock);
	is_over = is_idle();
	is_awaited = !is_over;
	pthread_mutex_unlock(&lock);
	if (!is_over)
		weft_semaphore_wait(&all_done);
}

/* --- threads --- */

static int spawn_jobs(void *arg)
{
	struct crew *c = arg;
	char byte;
	/* Without an engine it would fail otherwise. */
	ssize_t rc = weft_read(-1, &byte, 1);

	if (rc != -EBADF)
		return (int)rc;
	for (size_t i = 0; i < c->n_jobs; i++)
		if (weft_tasklet_is_null(weft_spawn(do_jobs, c))) {
			c->n_jobs = i;
			return i ? 0 : -errno;
		}
	return 0;
}

static void free_buffers(struct crew *c)
{
	while (c->buffers) {
		struct buffer *b = c->buffers;

		c->buffers = b->next;
		free(b);
	}
}

int pool_start(void)
{
	size_t n = settings.n_threads;
	int rc;

	for (size_t i = 0; i < n; i++) {
		struct crew *c = &crews[i];

		c->last = &c->first;
		c->calls = (weft_semaphore)WEFT_SEMAPHORE_INIT(0);
		c->n_jobs = (settings.n_jobs + n - 1 - i) / n;
	}
	rc = spawn_jobs(&crews[0]);
	for (size_t i = 1; !rc && i < n; i++)
		/* Fewer threads will do. */
		if (weft_thread_start(&crews[i].thread, spawn_jobs, &crews[i]))
			crews[i].n_jobs = 0;
	return rc;
}

void pool_end(void)
{
	pthread_mutex_lock(&lock);
	is_ending = true;
	pthread_mutex_unlock(&lock);
	for (size_t i = 0; i < settings.n_threads; i++)
		for (size_t k = 0; k < crews[i].n_jobs; k++)
			weft_semaphore_post(&crews[i].calls);
	for (size_t i = 1; i < settings.n_threads; i++)
		if (crews[i].thread)
			weft_thread_join(crews[i].thread);
}

void pool_free(void)
{
	for (size_t i = 0; i < settings.n_threads; i++)
		free_buffers(&crews[i]);
}
