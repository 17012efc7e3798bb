/* SPDX-License-Identifier: MIT */
/*
 * Flies: very many tasklets that live for a moment, here and on other threads, in
 * groups and alone, so that descriptors are used again and again. Each one runs
 * once or is dropped once; one that nobody knows of runs.
 *
 * And quick talk: a thread asks the same things of a handle, or kills the members
 * of a group, many times in a row, while others end, spawn and make known what the
 * handle was about.
 */
#include "all.h"

enum { MOST_AT_ONCE = 64, MOST_CALLS = 2000 };

/* Hints, so that those who talk quickly and those of whom they talk meet. */
static _Atomic(unsigned) talker;           /* a thread */
static _Atomic(weft_group *) newest_group; /* that somebody spawns in */

static int fly(void *arg)
{
	struct fly *f = arg;
	struct thread *t = &now.threads[f->thread];
	unsigned index = (unsigned)(f - now.flies);

	if (is_child)
		return 0;
	if (atomic_fetch_add_explicit(&f->n_ran, 1, memory_order_relaxed))
		wrong("fly %u ran twice", index);
	if (self != t)
		wrong("fly %u ran on thread %d, not %u", index,
		      self ? (int)self->index : -1, t->index);
	if (f->is_expected)
		note_answer(t);
	if (index % 4 == 0)
		(void)weft_schedule();
	return 0;
}

/* Shielded, on the tasklet itself; it may block, but where the thread has ended. */
static void drop_fly(void *arg)
{
	struct fly *f = arg;
	unsigned index = (unsigned)(f - now.flies);
	int rc;

	if (is_child)
		return;
	if (atomic_fetch_add_explicit(&f->n_dropped, 1, memory_order_relaxed))
		wrong("fly %u was dropped twice", index);
	atomic_fetch_add_explicit(&watched->n_drops, 1, memory_order_relaxed);
	if (index % 4)
		return;
	rc = index % 8 ? weft_schedule() : weft_sleep(1000);
	if (rc && !is_child &&
	    !(rc == -EPERM && now.threads[f->thread].is_leaving))
		wrong("what fly %u calls as it is dropped gave %d", index, rc);
}

/* So that it can be killed when the round closes. */
static void make_known(struct actor *a, const struct fly *f, weft_tasklet t,
		       unsigned place)
{
	now.known_flies[place].handle = t;
	now.known_flies[place].thread = f->thread;
	now.known_flies[place].is_there = true;
	publish(&a->random, t, NOBODY);
}

static bool spawn_fly(struct actor *a, struct thread *there, weft_group *g)
{
	struct random_state *r = &a->random;
	struct weft_tasklet_options options = { .thread = there->id,
						.drop = drop_fly };
	unsigned place = MOST_KNOWN_FLIES;
	unsigned index = atomic_fetch_add_explicit(&now.n_flies, 1,
						   memory_order_relaxed);
	struct fly *f = &now.flies[index];
	weft_tasklet t;

	if (index >= MOST_FLIES) {
		atomic_fetch_sub_explicit(&now.n_flies, 1,
					  memory_order_relaxed);
		return false;
	}
	f->thread = (uint8_t)there->index;
	if (random_one_in(r, 2))
		place = atomic_fetch_add(&now.n_known_flies, 1);
	f->is_known = g || place < MOST_KNOWN_FLIES;
	f->is_expected = !f->is_known && there->takes_pings;
	options.paused = place < MOST_KNOWN_FLIES && random_one_in(r, 8);
	t = g ? weft_group_spawn_with(g, &options, fly, f)
	      : weft_spawn_with(&options, fly, f);
	if (!t.id && !(errno == ESRCH && there != self) &&
	    !(errno == ECANCELED && g))
		wrong("spawning fly %u gave: %s", index, strerror(errno));
	if (!t.id)
		return true;
	f->is_spawned = true;
	if (f->is_expected)
		note_ping(there);
	if (place < MOST_KNOWN_FLIES)
		make_known(a, f, t, place);
	return true;
}

int act_flies(struct actor *a)
{
	struct random_state *r = &a->random;
	unsigned t = atomic_load_explicit(&talker, memory_order_relaxed);
	struct thread *there =
		random_one_in(r, 2) ? some_thread(r) : &now.threads[t];
	weft_group *g = random_one_in(r, 2) ? some_group(r) : NULL;
	unsigned n = random_between(r, 1, MOST_AT_ONCE);
	bool is_mixed = random_one_in(r, 2);
	bool gives_way = !a->thread->in_callback && random_one_in(r, 2);

	if (!there->id)
		there = self;
	note_call(a, "flies", n);
	if (g)
		atomic_store_explicit(&newest_group, g, memory_order_relaxed);
	for (unsigned i = 0; i < n && begin_spawn(); i++) {
		bool here = is_mixed && random_one_in(r, 2);
		bool goes_on = spawn_fly(a, here ? self : there, g);

		end_spawn();
		/* They end, and others come after them. */
		if (!goes_on ||
		    (here && gives_way && is_free(a) &&
		     BLOCKING(a, i, weft_schedule(), 0) == -ECANCELED))
			break;
	}
	return 0;
}

bool kill_flies(struct actor *a, const struct thread *of)
{
	unsigned n = now.n_known_flies;
	bool found = false;

	for (unsigned i = 0; i < n && i < MOST_KNOWN_FLIES; i++) {
		weft_tasklet t;

		if (!now.known_flies[i].is_there ||
		    (of && now.known_flies[i].thread != of->index))
			continue;
		t = now.known_flies[i].handle;
		if (!weft_tasklet_alive(t))
			continue;
		found = true;
		PLAIN(a, i, weft_tasklet_kill(t, WEFT_PENDING), -ESRCH,
		      weft_tasklet_equal(t, weft_current()) ? -ECANCELED
							    : -ESRCH);
		PLAIN(a, i, weft_tasklet_insert(t), -ESRCH, -EBUSY);
	}
	return found;
}

/* --- quick talk --- */

static int talk(unsigned kind, weft_tasklet t, int err)
{
	char name[8];

	switch (kind) {
	case 0:
		return weft_tasklet_insert(t);
	case 1:
		return weft_tasklet_remove(t);
	case 2:
		return weft_tasklet_raise(t, err, WEFT_PENDING);
	case 3:
		return weft_tasklet_notify(t);
	case 4:
		(void)weft_tasklet_state(t);
		(void)weft_tasklet_thread(t);
		return weft_tasklet_name(t, name, sizeof name);
	default:
		return weft_tasklet_kill(t, WEFT_PENDING);
	}
}

/* Of whomever some thread has made known last. */
static void talk_quickly(struct actor *a, unsigned n)
{
	unsigned thread = random_below(&a->random, MOST_WORKERS);
	unsigned kind = random_below(&a->random, 8);
	weft_tasklet me = weft_current();

	note_call(a, "quick talk", n * 10 + kind);
	for (unsigned i = 0; i < n; i++) {
		struct life *l;
		weft_tasklet t = look_up_newest(thread, &l);
		int rc;

		if (weft_tasklet_equal(t, me))
			continue;
		if (kind == 2 || kind > 4)
			note_hit(l);
		rc = talk(kind, t, RAISED_FIRST);
		if (rc && rc != -ESRCH && rc != -EBUSY)
			wrong("talk of kind %u of a tasklet gave %d", kind, rc);
	}
}

static void kill_quickly(struct actor *a, unsigned n)
{
	weft_group *g = random_one_in(&a->random, 4)
				? some_group(&a->random)
				: atomic_load_explicit(&newest_group,
						       memory_order_relaxed);

	if (!g)
		return;
	note_call(a, "quick kills of a group", n);
	for (unsigned i = 0; i < n; i++) {
		int rc = weft_group_kill(g);

		if (rc)
			wrong("weft_group_kill gave %d", rc);
	}
}

int act_pester(struct actor *a)
{
	unsigned n = random_between(&a->random, 1, MOST_CALLS);

	atomic_store_explicit(&talker, self->index, memory_order_relaxed);
	if (random_one_in(&a->random, 2))
		talk_quickly(a, n);
	else
		kill_quickly(a, n);
	return 0;
}

/* --- the audit --- */

static void audit_fly(unsigned i)
{
	const struct fly *f = &now.flies[i];
	bool leaves = now.threads[f->thread].is_leaving;

	if (!f->is_spawned && f->n_ran + f->n_dropped)
		wrong("fly %u was there though its spawn failed", i);
	if (f->is_spawned && f->n_ran + f->n_dropped != 1)
		wrong("fly %u of thread %u ran %u times and was dropped %u times",
		      i, f->thread, f->n_ran, f->n_dropped);
	if (f->is_spawned && !f->n_ran && !f->is_known && !leaves)
		wrong("fly %u of thread %u never ran, and nobody killed it", i,
		      f->thread);
}

void audit_flies(void)
{
	talker = 0;
	newest_group = NULL;
	unsigned n = now.n_flies < MOST_FLIES ? now.n_flies : MOST_FLIES;

	for (unsigned i = 0; i < n; i++)
		audit_fly(i);
	atomic_fetch_add(&watched->n_flies, n);
}
