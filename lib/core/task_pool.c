/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, in slabs that are never unmapped: so a stale handle can be looked
 * at.
 *
 * A slab, with all of its descriptors, belongs to one scheduler from the moment
 * that the scheduler takes it to the end of its thread. So looking through the
 * slabs of a thread finds what it has. The end of the thread gives them back as
 * they are, by one splice of two lists, whatever other threads have or had.
 *
 *	free_tasks   the owner's: spawn takes from it, an end gives to it
 *	stock        under the pool's mutex: for tasklets that other threads
 *	             create for this one
 *	slabs        under the pool's mutex: all that it has
 *
 * A tasklet that another thread has created ends here, and its descriptor goes to
 * free_tasks. So after every TASKS_AT_ONCE of those that it takes in, the owner
 * puts twice as many descriptors from free_tasks into the stock, as far as there
 * are any: the tasklets that come after a burst find their descriptors there. If
 * free_tasks is empty, the owner takes the stock.
 *
 * A slab in the pool has no lists. The thread that takes it looks which of its
 * descriptors are free: those with nothing in their word. The others are held by a
 * thread that made its request too late, just when the tenant ended (control.c). Or
 * they are in the inbox that this thread put them in, which another thread may have
 * by now. Whoever gets to such a descriptor there empties the word, and lists the
 * descriptor if the slab is its own. [task.1]
 *
 * Rejected: lists of descriptors that go from thread to thread. They mix, so that
 * the only way to know what a thread has is to look at all there are. After a burst
 * of a million this took the end of each thread 9 ms.
 */
#include "core/task_pool.h"

#include <pthread.h>
#include <sys/mman.h>

#include "core/scheduler.h"

enum {
	SLAB_BYTES = 16 * 1024, /* and aligned to that */
	SLABS_AT_ONCE = 64,
	TASKS_PER_SLAB =
		(SLAB_BYTES - 128) / (sizeof(struct weft_task) + NAME_SIZE),
	TASKS_AT_ONCE = 64
};

struct task_slab {
	struct task_slab *all;   /* the pool's list of all slabs */
	struct task_slab *next;  /* of its thread, or of the pool */
	struct scheduler *owner; /* under the mutex; NULL: in the pool */
	bool was_used;
	struct weft_task tasks[TASKS_PER_SLAB];
	struct task_name names[TASKS_PER_SLAB];
};

_Static_assert(sizeof(struct task_slab) <= SLAB_BYTES, "a slab has its size");

static struct {
	pthread_mutex_t mutex;
	struct task_slab *all;    /* all slabs that were ever handed out */
	struct task_slab *free;   /* those that ended threads gave back */
	struct task_slab *unused; /* mapped, but never handed out */
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

/* Called under the pool's mutex. */
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

/* Lists the free descriptors of a slab. Those of a slab that was never used are not
 * even read, because that would cost one more page fault. */
static struct weft_task *list_free(struct task_slab *slab)
{
	struct weft_task *list = NULL;

	for (size_t i = TASKS_PER_SLAB; i-- > 0;) {
		struct weft_task *t = &slab->tasks[i];

		/* acquire: what a late thread has done with it [task.1] */
		if (slab->was_used &&
		    atomic_load_explicit(&t->word, memory_order_acquire))
			continue;
		t->next_free = list;
		list = t;
	}
	slab->was_used = true;
	return list;
}

/* Gives a scheduler another slab. Returns its free descriptors, or NULL if there is
 * no memory. Called under the pool's mutex. */
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
