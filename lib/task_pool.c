/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, in slabs that are never unmapped: a stale handle can be looked at.
 *
 * A slab belongs to one scheduler from the moment that it takes it to the end of
 * its thread, and so do all of its descriptors. So what a thread has is found by
 * looking through its slabs, and its end gives them back as they are, one splice
 * of two lists, whatever other threads have or had.
 *
 *	free_tasks   the owner's: spawn takes from it, an end gives to it
 *	stock        under the pool's mutex: for tasklets that other threads
 *	             create for this one
 *	slabs        under the pool's mutex: all that it has
 *
 * What others create ends here, in free_tasks. So every TASKS_AT_ONCE of those
 * that it takes in the owner puts some of its list into the stock, twice as
 * many, until there are no more: what comes after a burst finds its descriptors
 * there. If the list is empty the owner takes the stock.
 *
 * A slab in the pool has no lists. Whoever takes it looks which of its
 * descriptors are free: those with nothing in their word. The others are in the
 * hands of a thread that asked for something too late, just when their tenant
 * ended (control.c), or in the inbox that it put them in, which another thread
 * may have by now. Whoever gets to them there empties the word, and if the slab
 * is his own, lists them. [task.1]
 *
 * Rejected: lists of descriptors that go from thread to thread. They mix, so that
 * nobody knows what a thread has but by looking at all there are, which after a
 * burst of a million took the end of each thread 9 ms.
 */
#include "task_pool.h"

#include <pthread.h>
#include <sys/mman.h>

#include "scheduler.h"

enum {
	SLAB_BYTES = 16 * 1024, /* and aligned so */
	SLABS_AT_ONCE = 64,
	TASKS_PER_SLAB =
		(SLAB_BYTES - 128) / (sizeof(struct weft_task) + NAME_SIZE),
	TASKS_AT_ONCE = 64
};

struct task_slab {
	struct task_slab *all;   /* the pool's list of those there are */
	struct task_slab *next;  /* of its thread, or of the pool */
	struct scheduler *owner; /* under the mutex; NULL: in the pool */
	bool was_used;
	struct weft_task tasks[TASKS_PER_SLAB];
	struct task_name names[TASKS_PER_SLAB];
};

_Static_assert(sizeof(struct task_slab) <= SLAB_BYTES, "a slab has its size");

static struct {
	pthread_mutex_t mutex;
	struct task_slab *all;    /* that were ever handed out */
	struct task_slab *free;   /* given back by threads that ended */
	struct task_slab *unused; /* mapped, not yet handed out */
	unsigned n_unused;
	size_t n_slabs;
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static struct task_slab *slab_of(const struct weft_task *t)
{
	return (struct task_slab *)((uintptr_t)t &
				    ~(uintptr_t)(SLAB_BYTES - 1));
}

struct task_name *weft__task_name(struct weft_task *t)
{
	struct task_slab *slab = slab_of(t);

	return &slab->names[t - slab->tasks];
}

/* Maps some slabs, aligned to their size. Under the pool's mutex. */
static bool map_slabs(void)
{
	size_t bytes = (size_t)SLABS_AT_ONCE * SLAB_BYTES;
	char *start = mmap(NULL, bytes + SLAB_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t skip;

	if (start == MAP_FAILED)
		return false;
	skip = -(uintptr_t)start & (SLAB_BYTES - 1);
	if (skip)
		munmap(start, skip);
	if (skip != SLAB_BYTES)
		munmap(start + skip + bytes, SLAB_BYTES - skip);
	pool.unused = (struct task_slab *)(start + skip);
	pool.n_unused = SLABS_AT_ONCE;
	return true;
}

/* Under the pool's mutex. */
static struct task_slab *find_slab(void)
{
	struct task_slab *slab = pool.free;

	if (slab) {
		pool.free = slab->next;
		return slab;
	}
	if (!pool.n_unused && !map_slabs())
		return NULL;
	slab = pool.unused;
	pool.unused = (struct task_slab *)((char *)slab + SLAB_BYTES);
	pool.n_unused--;
	slab->all = pool.all;
	pool.all = slab;
	pool.n_slabs++;
	return slab;
}

/* Lists the free ones of a slab. What was never used is not even read, for that
 * would cost a page fault more. */
static struct weft_task *list_free(struct task_slab *slab)
{
	struct weft_task *list = NULL;

	for (size_t i = TASKS_PER_SLAB; i-- > 0;) {
		struct weft_task *t = &slab->tasks[i];

		/* acquire: what who was late has done with it [task.1] */
		if (slab->was_used &&
		    atomic_load_explicit(&t->word, memory_order_acquire))
			continue;
		t->next_free = list;
		list = t;
	}
	slab->was_used = true;
	return list;
}

/* Gives a scheduler another slab: its free descriptors, or NULL without memory.
 * Under the pool's mutex. */
static struct weft_task *add_slab(struct scheduler *s)
{
	struct weft_task *list = NULL;

	while (!list) {
		struct task_slab *slab = find_slab();

		if (!slab)
			return NULL;
		slab->owner = s;
		slab->next = s->slabs;
		s->slabs = slab;
		if (!slab->next)
			s->first_slab = slab;
		list = list_free(slab);
	}
	return list;
}

NOINLINE struct weft_task *weft__task_pool_refill(struct scheduler *s)
{
	pthread_mutex_lock(&pool.mutex);
	s->free_tasks = s->stock ? s->stock : add_slab(s);
	s->stock = NULL;
	pthread_mutex_unlock(&pool.mutex);
	return s->free_tasks;
}

struct weft_task *weft__task_pool_take_for(struct scheduler *target)
{
	struct weft_task *t;

	pthread_mutex_lock(&pool.mutex);
	t = target->stock ? target->stock : add_slab(target);
	if (t)
		target->stock = t->next_free;
	pthread_mutex_unlock(&pool.mutex);
	return t;
}

void weft__task_pool_note_foreign(struct scheduler *s)
{
	if (++s->n_foreign % TASKS_AT_ONCE)
		return;
	pthread_mutex_lock(&pool.mutex);
	for (int n = 0; n < 2 * TASKS_AT_ONCE && s->free_tasks; n++) {
		struct weft_task *t = s->free_tasks;

		s->free_tasks = t->next_free;
		t->next_free = s->stock;
		s->stock = t;
	}
	pthread_mutex_unlock(&pool.mutex);
}

void weft__task_pool_release_late(struct scheduler *s, struct weft_task *t)
{
	pthread_mutex_lock(&pool.mutex);
	poke(t->word, 0);
	if (slab_of(t)->owner == s)
		weft__task_release(s, t);
	pthread_mutex_unlock(&pool.mutex);
}

void weft__task_pool_give_back(struct scheduler *s)
{
	s->free_tasks = NULL;
	pthread_mutex_lock(&pool.mutex);
	for (struct task_slab *slab = s->slabs; slab; slab = slab->next)
		slab->owner = NULL;
	if (s->slabs) {
		s->first_slab->next = pool.free;
		pool.free = s->slabs;
	}
	s->slabs = s->first_slab = NULL;
	s->stock = NULL;
	pthread_mutex_unlock(&pool.mutex);
}

/* --- looking through --- */

void weft__task_pool_each_tenant(void (*look)(struct weft_task *t, void *arg),
				 void *arg)
{
	for (struct task_slab *slab = pool.all; slab; slab = slab->all)
		for (size_t i = 0; i < TASKS_PER_SLAB; i++)
			if (weft__task_id(&slab->tasks[i]))
				look(&slab->tasks[i], arg);
}

void weft__task_each(const struct scheduler *owner,
		     void (*look)(struct weft_task *t, void *arg), void *arg)
{
	pthread_mutex_lock(&pool.mutex);
	for (struct task_slab *slab = owner->slabs; slab; slab = slab->next) {
		for (size_t i = 0; i < TASKS_PER_SLAB; i++) {
			struct weft_task *t = &slab->tasks[i];

			if (weft__task_id(t) && !(peek(t->word) & REQUEST_NEW))
				look(t, arg);
		}
	}
	pthread_mutex_unlock(&pool.mutex);
}

size_t weft__task_pool_n_slabs(void)
{
	size_t n;

	pthread_mutex_lock(&pool.mutex);
	n = pool.n_slabs;
	pthread_mutex_unlock(&pool.mutex);
	return n;
}

size_t weft__task_pool_n_slabs_of(const struct scheduler *s)
{
	size_t n = 0;

	pthread_mutex_lock(&pool.mutex);
	for (struct task_slab *slab = s->slabs; slab; slab = slab->next)
		n++;
	pthread_mutex_unlock(&pool.mutex);
	return n;
}

/* --- fork --- */

void weft__task_pool_lock(void)
{
	pthread_mutex_lock(&pool.mutex);
}

void weft__task_pool_unlock(void)
{
	pthread_mutex_unlock(&pool.mutex);
}
