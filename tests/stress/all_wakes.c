/* SPDX-License-Identifier: MIT */
/*
 * Wakes that must not be lost. Each worker has tasklets that nobody knows of and
 * that answer pings: units of a semaphore, notices with weft_tasklet_insert() or
 * weft_tasklet_notify(), and flies. A ping counts when its call has returned, an
 * answer when it is given; so as long as fewer were answered, the thread has
 * something to do. It does not count as asleep then, at any moment, and no clock
 * decides. Its weft_fd() becomes readable: who came first to an empty inbox is the one
 * who writes to it, perhaps after the calls of those behind it have returned.
 *
 * The controller helps rounds to their end by killing what is left. Before that it
 * looks here: help that would hide that somebody's time has come is not given.
 */
#include <poll.h>

#include "all.h"

enum { DUE_LOOKS = 250 }; /* of 100 ms or more; then it is a hang */

void note_ping(struct thread *t)
{
	/* release: who sees this one sees what it has handed in, in its thread */
	atomic_fetch_add_explicit(&t->n_pings, 1, memory_order_release);
}

void note_answer(struct thread *t)
{
	atomic_fetch_add_explicit(&t->n_answered, 1, memory_order_release);
}

static int answer_units(void *arg)
{
	struct thread *t = arg;
	int rc = 0;

	while (!is_child && !(rc = weft_semaphore_wait(&t->semaphore)))
		note_answer(t);
	if (!is_child && (rc != -ECANCELED || t->takes_pings))
		wrong("who answers on thread %u was given %d", t->index, rc);
	return 0;
}

static int answer_notices(void *arg)
{
	struct thread *t = arg;
	int rc = 0;

	while (!is_child && !rc) {
		unsigned n = atomic_exchange(&t->n_notices, 0);

		for (; n; n--)
			note_answer(t);
		rc = weft_schedule_remove();
	}
	if (!is_child && (rc != -ECANCELED || t->takes_pings))
		wrong("who answers on thread %u was given %d", t->index, rc);
	return 0;
}

void take_pings(struct thread *t)
{
	t->semaphore = (weft_semaphore)WEFT_SEMAPHORE_INIT(0);
	t->answerers[0] = weft_spawn(answer_units, t);
	t->answerers[1] = weft_spawn(answer_notices, t);
	if (!t->answerers[0].id || !t->answerers[1].id)
		wrong("nobody can answer: %s", strerror(errno));
	t->takes_pings = true;
}

void end_pings(struct actor *a)
{
	struct thread *t = a->thread;

	t->takes_pings = false;
	for (int i = 0; i < 2; i++)
		PLAIN(a, i, weft_tasklet_kill(t->answerers[i], WEFT_PENDING),
		      -ESRCH);
}

/* Whoever answers notices leaves with the thread, perhaps just now. */
static void give_notice(struct actor *a, struct thread *t)
{
	atomic_fetch_add(&t->n_notices, 1);
	if (random_one_in(&a->random, 2))
		PLAIN(a, t->index, weft_tasklet_insert(t->answerers[1]),
		      -ESRCH);
	else
		PLAIN(a, t->index, weft_tasklet_notify(t->answerers[1]),
		      -ESRCH);
	note_ping(t);
}

int act_ping(struct actor *a)
{
	struct thread *t = some_thread(&a->random);

	for (unsigned i = random_between(&a->random, 1, 8); i > 0; i--) {
		if (!t->takes_pings)
			break;
		atomic_fetch_add_explicit(&watched->n_pings, 1,
					  memory_order_relaxed);
		if (random_one_in(&a->random, 2)) {
			give_notice(a, t);
			continue;
		}
		PLAIN(a, t->index, weft_semaphore_post(&t->semaphore), 0);
		note_ping(t);
	}
	return 0;
}

/* In this order: what counts has been handed in before the look, and would have been
 * answered before the thread went to sleep. */
static void look_at_thread(const struct thread *t)
{
	struct weft_thread_info info;
	unsigned n_answered;
	unsigned n_pings =
		atomic_load_explicit(&t->n_pings, memory_order_acquire);

	if (weft_thread_info(t->id, &info) || !info.parked)
		return;
	n_answered = atomic_load_explicit(&t->n_answered, memory_order_acquire);
	if ((int)(n_pings - n_answered) > 0 && t->takes_pings)
		wrong("thread %u sleeps though it has to answer %u pings of %u",
		      t->index, n_pings - n_answered, n_pings);
}

void look_for_lost_wakes(void)
{
	for (unsigned i = 0; i < now.n_workers; i++)
		if (now.threads[i].takes_pings)
			look_at_thread(&now.threads[i]);
}

/* --- who has to go on --- */

int64_t set_due(const struct actor *a, int64_t when)
{
	if (a->life)
		return atomic_exchange_explicit(&a->life->due, when,
						memory_order_relaxed);
	if (a->is_main)
		return atomic_exchange_explicit(&a->thread->due, when,
						memory_order_relaxed);
	return 0;
}

static bool is_due(_Atomic(int64_t) *due, const struct thread *t)
{
	int64_t when = atomic_load(due);
	struct weft_thread_info info;

	return when && when < weft_now() && t->id &&
	       !weft_thread_info(t->id, &info) && info.parked &&
	       when == atomic_load(due);
}

static bool is_life_due(struct life *l)
{
	return atomic_load_explicit(&l->is_spawned, memory_order_acquire) &&
	       l->kind == INNOCENT && is_due(&l->due, l->thread);
}

/* A main tasklet that nobody knows of, or one that has to answer. */
static bool is_worker_due(struct thread *t)
{
	return (!now.mains_are_known && is_due(&t->due, t)) ||
	       (t->takes_pings && (int)(t->n_pings - t->n_answered) > 0);
}

/* Those that are known others may remove and kill. */
bool is_somebody_due(void)
{
	static uint64_t seed;
	static int n_looks;
	int thread = -1, life = -1;

	for (unsigned i = 0; i < now.n_workers; i++)
		if (is_worker_due(&now.threads[i]))
			thread = (int)i;
	for (unsigned i = 0; i < now.n_lives && i < MOST_LIVES; i++)
		if (is_life_due(&now.lives[i]))
			life = (int)i;
	if (now.seed != seed || (thread < 0 && life < 0))
		n_looks = 0;
	seed = now.seed;
	if (thread < 0 && life < 0)
		return false;
	if (++n_looks == DUE_LOOKS)
		wrong("thread %d or life %d sleeps though its time has come, or "
		      "does not answer",
		      thread, life);
	return true;
}
