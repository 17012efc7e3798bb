/* SPDX-License-Identifier: MIT */
/*
 * mutex: locking and unlocking, alone and against another thread.
 */
#include <pthread.h>

#include "work.h"

/* Each on a line of its own, and what it protects on another one. */
struct room {
	_Alignas(128) weft_mutex mutex;
	_Alignas(128) pthread_mutex_t pthread_mutex;
	_Alignas(128) uint64_t counter;
};

static struct room room = { .mutex = WEFT_MUTEX_INIT,
			    .pthread_mutex = PTHREAD_MUTEX_INITIALIZER };

static void use(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		must(weft_mutex_lock(&room.mutex), "weft_mutex_lock");
		room.counter++;
		must(weft_mutex_unlock(&room.mutex), "weft_mutex_unlock");
	}
}

static void use_pthread(uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		must(-pthread_mutex_lock(&room.pthread_mutex),
		     "pthread_mutex_lock");
		room.counter++;
		must(-pthread_mutex_unlock(&room.pthread_mutex),
		     "pthread_mutex_unlock");
	}
}

/* Another thread that does nothing, so that both take what instructions a process
 * with several threads needs. */
static void *stay(void *gate)
{
	pthread_mutex_lock(gate);
	pthread_mutex_unlock(gate);
	return NULL;
}

static void run_alone(struct run *r, void (*fn)(uint64_t n), bool has_threads)
{
	pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
	pthread_t other;

	weft_current(); /* attached */
	if (has_threads) {
		pthread_mutex_lock(&gate);
		must(-pthread_create(&other, NULL, stay, &gate),
		     "pthread_create");
	}
	run_begin(r);
	fn(r->operations);
	run_end(r);
	if (has_threads) {
		pthread_mutex_unlock(&gate);
		pthread_join(other, NULL);
	}
}

void run_mutex_single(struct run *r)
{
	run_alone(r, use, false);
}

void run_mutex(struct run *r)
{
	run_alone(r, use, true);
}

void run_mutex_pthread_single(struct run *r)
{
	run_alone(r, use_pthread, false);
}

void run_mutex_pthread(struct run *r)
{
	run_alone(r, use_pthread, true);
}

/* Each of two threads does half of them; none begins before the other is there. */
static void contend(struct run *r, void (*fn)(uint64_t n), void *barrier)
{
	fn(1);
	pthread_barrier_wait(barrier);
	run_begin(r);
	fn(r->operations / 2);
	pthread_barrier_wait(barrier);
	run_end(r);
}

static void contend_side(struct run *r, int which, void *barrier)
{
	(void)which;
	contend(r, use, barrier);
}

static void contend_pthread_side(struct run *r, int which, void *barrier)
{
	(void)which;
	contend(r, use_pthread, barrier);
}

static void run_pair(struct run *r,
		     void (*side)(struct run *r, int which, void *shared))
{
	pthread_barrier_t barrier;

	room.counter = 0;
	r->operations += r->operations % 2;
	must(-pthread_barrier_init(&barrier, NULL, 2), "pthread_barrier_init");
	pair_run(r, &barrier, side);
	pthread_barrier_destroy(&barrier);
	if (room.counter != r->operations + 2)
		run_fail(-EBADMSG, "the count");
}

void run_mutex_pair(struct run *r)
{
	run_pair(r, contend_side);
}

void run_mutex_pthread_pair(struct run *r)
{
	run_pair(r, contend_pthread_side);
}

/* --- handed over on one thread --- */

static int hand_on(void *arg)
{
	uint64_t n = *(uint64_t *)arg;

	for (uint64_t i = 0; i < n; i++) {
		must(weft_mutex_lock(&room.mutex), "weft_mutex_lock");
		must(weft_schedule(), "weft_schedule");
		must(weft_mutex_unlock(&room.mutex), "weft_mutex_unlock");
	}
	return 0;
}

void run_mutex_handed(struct run *r)
{
	uint64_t half = r->operations / 2;

	r->operations = 2 * half;
	work_spawn(hand_on, &half);
	work_spawn(hand_on, &half);
	run_begin(r);
	must(weft_run(), "weft_run");
	run_end(r);
}
