/* SPDX-License-Identifier: MIT */
/*
 * offload: a function that does nothing, on a helper thread; and what a program
 * without weft would write for that, with nothing around it.
 */
#include <pthread.h>

#include "work.h"

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

void run_offload(struct run *r)
{
	must(weft_offload(do_nothing, NULL), "weft_offload");
	run_begin(r);
	for (uint64_t i = 0; i < r->operations; i++)
		must(weft_offload(do_nothing, NULL), "weft_offload");
	run_end(r);
}

/* --- the peer --- */

struct desk {
	pthread_mutex_t mutex;
	pthread_cond_t asked, done;
	int (*fn)(void *arg); /* NULL: nothing to do */
	bool is_done, is_closing;
};

static void *serve(void *arg)
{
	struct desk *d = arg;

	pthread_mutex_lock(&d->mutex);
	for (;;) {
		int (*fn)(void *arg);

		while (!d->fn && !d->is_closing)
			pthread_cond_wait(&d->asked, &d->mutex);
		if (!d->fn)
			break;
		fn = d->fn;
		d->fn = NULL;
		pthread_mutex_unlock(&d->mutex);
		(void)fn(NULL);
		pthread_mutex_lock(&d->mutex);
		d->is_done = true;
		pthread_cond_signal(&d->done);
	}
	pthread_mutex_unlock(&d->mutex);
	return NULL;
}

static void ask(struct desk *d)
{
	pthread_mutex_lock(&d->mutex);
	d->fn = do_nothing;
	d->is_done = false;
	pthread_cond_signal(&d->asked);
	while (!d->is_done)
		pthread_cond_wait(&d->done, &d->mutex);
	pthread_mutex_unlock(&d->mutex);
}

void run_bare_condition(struct run *r)
{
	struct desk d = { .mutex = PTHREAD_MUTEX_INITIALIZER,
			  .asked = PTHREAD_COND_INITIALIZER,
			  .done = PTHREAD_COND_INITIALIZER };
	pthread_t server;

	must(-pthread_create(&server, NULL, serve, &d), "pthread_create");
	ask(&d);
	run_begin(r);
	for (uint64_t i = 0; i < r->operations; i++)
		ask(&d);
	run_end(r);
	pthread_mutex_lock(&d.mutex);
	d.is_closing = true;
	pthread_cond_signal(&d.asked);
	pthread_mutex_unlock(&d.mutex);
	pthread_join(server, NULL);
}
