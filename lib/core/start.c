/* SPDX-License-Identifier: MIT */
/*
 * Threads that the library starts, and waiting for their end.
 *
 * The end of such a thread is the end of its main tasklet, which is joined like
 * any other. The thread's result is that of the tasklet which ran fn. To keep
 * it, a joiner in which nobody waits is linked to that tasklet before the
 * tasklet runs.
 */
#include <errno.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdlib.h>

#include "core/block.h"
#include "core/fork.h"

/* A thread that was started and has not been joined. */
struct started {
	struct started *next;
	uint64_t id; /* 0: the thread could not be attached */
	weft_tasklet main;
	weft_fn fn;
	void *arg;
	struct joiner result;
	pthread_t pthread; /* as pthread_create() gives it */
	pthread_t self; /* as the thread itself says, before others can ask */
	sem_t attached;
	_Atomic(unsigned) references; /* the creator's, and the list's, or the
				       * thread's if it is anonymous */
	bool is_anonymous;            /* nobody can join it */
	bool is_parents; /* in a child of fork(): the parent's thread */
};

static struct {
	pthread_mutex_t mutex;
	struct started *list;
} started = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static void publish(struct started *r)
{
	pthread_mutex_lock(&started.mutex);
	r->next = started.list;
	started.list = r;
	pthread_mutex_unlock(&started.mutex);
}

/* The creator may still use the record when the thread has been joined. */
static void let_go(struct started *r)
{
	/* acquire, release: the last one to let go sees all that the other
	 * did */
	if (atomic_fetch_sub(&r->references, 1) == 1) {
		sem_destroy(&r->attached);
		free(r);
	}
}

static void *run_thread(void *record)
{
	struct started *r = record;
	weft_tasklet t = { 0 };

	r->result.waiter.result = -ECANCELED;
	if (weft__scheduler())
		t = weft_spawn(r->fn, r->arg);
	if (t.id) {
		r->self = pthread_self();
		r->main = weft_main();
		r->id = weft_thread_id();
		if (!r->is_anonymous) {
			weft__join_link(&r->result, t);
			publish(r);
		}
	}
	sem_post(&r->attached);
	if (!t.id || r->is_anonymous)
		let_go(r);
	if (t.id)
		(void)weft_run();
	return NULL;
}

static int start(struct started *r)
{
	int rc;

	rc = pthread_create(&r->pthread, NULL, run_thread, r);
	if (rc) {
		let_go(r);
		return -EAGAIN; /* EINVAL and EPERM too, see engine/pool.c */
	}
	while (sem_wait(&r->attached))
		; /* EINTR */
	if (!r->id) {
		pthread_join(r->pthread, NULL);
		rc = ENOMEM;
	} else if (r->is_anonymous) {
		pthread_detach(r->pthread);
	}
	return -rc;
}

WEFT_API int weft_thread_start(uint64_t *id, weft_fn fn, void *arg)
{
	struct started *r;
	int rc;

	if (!fn)
		return -EINVAL;
	r = calloc(1, sizeof *r);
	if (!r)
		return -ENOMEM;
	r->fn = fn;
	r->arg = arg;
	r->is_anonymous = !id;
	r->references = 2;
	if (sem_init(&r->attached, 0, 0)) {
		rc = -errno;
		free(r);
		return rc;
	}
	rc = start(r);
	if (!rc && id)
		*id = r->id;
	let_go(r);
	return rc;
}

static struct started **find(uint64_t id)
{
	struct started **place = &started.list;

	while (*place && (*place)->id != id)
		place = &(*place)->next;
	return place;
}

static bool find_main(uint64_t id, weft_tasklet *main)
{
	struct started *r;

	pthread_mutex_lock(&started.mutex);
	r = *find(id);
	if (r)
		*main = r->main;
	pthread_mutex_unlock(&started.mutex);
	return r;
}

/* Takes the record out of the list. If several threads waited, one gets it. */
static struct started *take(uint64_t id)
{
	struct started **place;
	struct started *r;

	pthread_mutex_lock(&started.mutex);
	place = find(id);
	r = *place;
	if (r)
		*place = r->next;
	pthread_mutex_unlock(&started.mutex);
	return r;
}

/* For a thread that has ended. */
static int take_result(uint64_t id)
{
	struct started *r = take(id);
	int result;

	if (!r)
		return -ESRCH;
	if (!r->is_parents)
		pthread_join(r->self, NULL);
	result = r->result.waiter.result;
	let_go(r);
	return result;
}

WEFT_API int weft_thread_join(uint64_t id)
{
	struct scheduler *s = weft__scheduler();
	struct weft_thread_info info;
	weft_tasklet main;
	bool has_ended;
	int rc;

	if (!s)
		return -errno;
	if (!find_main(id, &main)) {
		rc = weft__enter(s);
		if (!rc)
			rc = weft_thread_info(id, &info) ? -ESRCH : -EINVAL;
		return rc;
	}
	if (id == peek(s->thread_id))
		return -EDEADLK;
	rc = weft__join(s, main, &has_ended);
	return has_ended ? take_result(id) : rc;
}

void weft__started_lock(void)
{
	pthread_mutex_lock(&started.mutex);
}

void weft__started_unlock(void)
{
	pthread_mutex_unlock(&started.mutex);
}

void weft__started_forget_others(uint64_t self)
{
	for (struct started *r = started.list; r; r = r->next)
		r->is_parents = r->id != self;
}
