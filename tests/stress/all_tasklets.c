/* SPDX-License-Identifier: MIT */
/*
 * Tasklets that are spawned everywhere, what they do to each other by a table of
 * handles in which old ones stay, groups, and callbacks that act themselves.
 */
#include <fenv.h>

#include "all.h"

/* --- the table of handles --- */

/* Relaxed throughout. One that is torn is no handle, and its id says so. */
static struct {
	_Atomic(struct weft_task *) task;
	_Atomic(uint64_t) id;
	_Atomic(unsigned) number; /* of the life; NOBODY: a main tasklet */
} table[HANDLES];

/* The places of the last ones that threads have made known. */
static _Atomic(unsigned) newest[MOST_WORKERS];

static weft_group *groups[GROUPS];

void publish(struct random_state *r, weft_tasklet t, unsigned number)
{
	unsigned i = random_below(r, HANDLES);

	atomic_store_explicit(&table[i].id, 0, memory_order_relaxed);
	atomic_store_explicit(&table[i].task, t.task, memory_order_relaxed);
	atomic_store_explicit(&table[i].number, number, memory_order_relaxed);
	atomic_store_explicit(&table[i].id, t.id, memory_order_relaxed);
	atomic_store_explicit(&newest[self->index % MOST_WORKERS], i,
			      memory_order_relaxed);
}

static weft_tasklet read_place(unsigned i, struct life **life)
{
	weft_tasklet t;
	unsigned number;

	t.id = atomic_load_explicit(&table[i].id, memory_order_relaxed);
	t.task = atomic_load_explicit(&table[i].task, memory_order_relaxed);
	number = atomic_load_explicit(&table[i].number, memory_order_relaxed);
	if (t.id != atomic_load_explicit(&table[i].id, memory_order_relaxed))
		t.id = 0;
	*life = number < MOST_LIVES ? &now.lives[number] : NULL;
	return t;
}

weft_tasklet look_up(struct random_state *r, struct life **life)
{
	return read_place(random_below(r, HANDLES), life);
}

weft_tasklet look_up_newest(unsigned thread, struct life **life)
{
	return read_place(
		atomic_load_explicit(&newest[thread], memory_order_relaxed),
		life);
}

/* By the clock, for a handler has no other random numbers. */
void notify_somebody(void)
{
	struct life *l;

	(void)weft_tasklet_notify(
		read_place((unsigned)(weft_now() / 100 % HANDLES), &l));
}

void forget_handles(void)
{
	memset(table, 0, sizeof table);
	memset(newest, 0, sizeof newest);
}

/* --- a life --- */

static _Noreturn void exit_thread(struct actor *a)
{
	note_call(a, "pthread_exit", 0);
	watched->of_lives[a->life->number].call = NULL;
	atomic_fetch_add_explicit(&watched->n_exits, 1, memory_order_relaxed);
	now.was_left = true;
	pthread_exit(NULL);
}

static void act_as_handler(void);

void begin_life(struct life *me)
{
	if (atomic_fetch_add(&me->n_started, 1))
		wrong("life %u ran twice", me->number);
	if (self != me->thread)
		wrong("life %u ran on thread %d, not %u", me->number,
		      self ? (int)self->index : -1, me->thread->index);
}

int end_life(struct life *me)
{
	if (is_child)
		return 0;
	atomic_fetch_add(&me->n_ended, 1);
	watched->of_lives[me->number].call =
		me->n_deferred ? "what it deferred" : NULL;
	return me->fails ? -(int)(RESULT_BASE + me->number) : 0;
}

/* What has to be so whenever a tasklet has the thread. */
static void look_at_oneself(const struct actor *a)
{
	const struct life *me = a->life;

	if (self != a->thread)
		wrong("life %u has got to another thread", me->number);
	if (weft_tasklet_data() != me)
		wrong("life %u has the data of another", me->number);
	if (fegetround() != (me->own_fpu ? FE_UPWARD : FE_TONEAREST))
		wrong("life %u has the rounding mode %#x, own %d", me->number,
		      (unsigned)fegetround(), me->own_fpu);
	if (weft_tasklet_state(weft_current()) != WEFT_RUNNING)
		wrong("life %u runs and is said not to", me->number);
}

static void be_victim(struct actor *a)
{
	unsigned n = random_between(&a->random, 0, 12);

	for (unsigned i = 0; i < n && !is_child; i++) {
		int rc = act(a);

		if (is_child)
			return;
		look_at_oneself(a);
		if (rc == -ECANCELED && !random_one_in(&a->random, 4))
			break;
	}
}

/* Becomes known when it is about to end, so that many go on to talk of it. */
static void be_innocent(struct actor *a)
{
	unsigned n = random_between(&a->random, 0, 4);

	for (unsigned i = 0; i < n && !is_child; i++) {
		act(a);
		if (is_child)
			return;
		look_at_oneself(a);
	}
	if (random_one_in(&a->random, 2)) {
		publish(&a->random, weft_current(), a->life->number);
		a->life->kind = VICTIM;
	}
}

static int live(void *arg)
{
	struct life *me = arg;
	struct actor a = {
		.life = me,
		.thread = me->thread,
		.random = random_stream(now.seed, me->number),
	};
	int result;

	begin_life(me);
	LOGGED(&a, me->thread->index, 0 /* begins */);
	weft_set_tasklet_data(me);
	if (me->own_fpu)
		fesetround(FE_UPWARD);
	if (me->kind == INNOCENT)
		be_innocent(&a);
	else
		be_victim(&a);
	/* The thread ends with all that is left on it. A child of fork() has one that
	 * has to get on, shielded or not. */
	if (!is_child && me->thread->may_exit && random_one_in(&a.random, 4))
		exit_thread(&a);
	result = end_life(me);
	if (random_one_in(&a.random, 4))
		weft_exit(result);
	return result;
}

/* Shielded, on the tasklet itself, as a handler of errors is. */
static void drop_life(void *arg)
{
	struct life *me = arg;

	if (is_child)
		return;
	if (atomic_fetch_add(&me->n_dropped, 1) || me->n_started)
		wrong("life %u was dropped and ran %u times", me->number,
		      me->n_started);
	atomic_fetch_add_explicit(&watched->n_drops, 1, memory_order_relaxed);
	if (self != me->thread)
		wrong("life %u was dropped by thread %d, not %u", me->number,
		      self ? (int)self->index : -1, me->thread->index);
	/* Else it may not be able to block. */
	if (!me->thread->is_leaving && random_one_in(&self->random, 2))
		act_as_handler();
}

struct life *new_life(struct actor *a, enum kind kind, struct thread *there,
		      weft_group *g)
{
	unsigned number = atomic_fetch_add_explicit(&now.n_lives, 1,
						    memory_order_relaxed);
	struct life *l;

	if (number >= now.most_lives) {
		atomic_fetch_sub_explicit(&now.n_lives, 1,
					  memory_order_relaxed);
		return NULL;
	}
	l = &now.lives[number];
	l->number = number;
	l->kind = kind;
	l->thread = there;
	l->group = g;
	l->own_fpu = random_one_in(&a->random, 8);
	l->fails = random_one_in(&a->random, 3);
	l->has_drop = random_one_in(&a->random, 2);
	return l;
}

static weft_tasklet spawn_life(struct actor *a, struct life *l)
{
	struct random_state *r = &a->random;
	bool is_here = l->thread == self;
	struct weft_tasklet_options options = {
		.name = random_one_in(r, 4) ? "named" : NULL,
		.stack_size =
			random_one_in(r, 6) ? random_between(r, 1, 8) << 16 : 0,
		.thread = is_here && random_one_in(r, 2) ? 0 : l->thread->id,
		.paused = l->kind == VICTIM && random_one_in(r, 8),
		.own_fpu = l->own_fpu,
		.drop = l->has_drop ? drop_life : NULL,
	};
	weft_tasklet t;

	if (l->group)
		t = weft_group_spawn_with(l->group, &options, live, l);
	else if (is_here && !l->own_fpu && !l->has_drop && random_one_in(r, 2))
		t = weft_spawn(live, l);
	else
		t = weft_spawn_with(&options, live, l);
	if (!t.id && !(errno == ESRCH && !is_here) &&
	    !(errno == ECANCELED && l->group))
		wrong("spawning life %u gave: %s", l->number, strerror(errno));
	return t;
}

weft_tasklet spawn(struct actor *a, enum kind kind, struct thread *there,
		   weft_group *g)
{
	weft_tasklet t = { .id = 0 };
	struct life *l;

	if (!begin_spawn())
		return t;
	if (!there->id)
		there = self;
	l = new_life(a, kind, there, g);
	if (!l)
		goto end;
	t = spawn_life(a, l);
	LOGGED(a, l->number, (int64_t)t.id /* spawned */);
	if (t.id) {
		l->handle = t;
		atomic_store_explicit(&l->is_spawned, true,
				      memory_order_release);
		if (kind == VICTIM && !random_one_in(&a->random, 4))
			publish(&a->random, t, l->number);
	}
end:
	end_spawn();
	return t;
}

int act_spawn(struct actor *a)
{
	for (unsigned i = random_between(&a->random, 1, 3); i > 0; i--) {
		bool innocent = random_below(&a->random, 8) < now.innocence;
		struct thread *there = random_one_in(&a->random, 2)
					       ? self
					       : some_thread(&a->random);

		spawn(a, innocent ? INNOCENT : VICTIM, there, NULL);
	}
	return 0;
}

bool has_innocents(const struct thread *t)
{
	unsigned n = now.n_lives;

	for (unsigned i = 0; i < n && i < MOST_LIVES; i++) {
		const struct life *l = &now.lives[i];

		if (atomic_load_explicit(&l->is_spawned,
					 memory_order_acquire) &&
		    l->thread == t && l->kind == INNOCENT &&
		    weft_tasklet_alive(l->handle))
			return true;
	}
	return false;
}

bool kill_all(struct actor *a, const struct thread *t)
{
	unsigned n = now.n_lives;
	bool found = kill_flies(a, t);

	for (unsigned i = 0; i < n && i < MOST_LIVES; i++) {
		struct life *l = &now.lives[i];

		if (!atomic_load_explicit(&l->is_spawned,
					  memory_order_acquire) ||
		    (t && l->thread != t) || l == a->life ||
		    !weft_tasklet_alive(l->handle))
			continue;
		found = true;
		if (l->kind == INNOCENT)
			continue;
		l->was_hit = true;
		PLAIN(a, i, weft_tasklet_kill(l->handle, WEFT_PENDING), -ESRCH);
		/* One that is shielded stays paused, if somebody removed it. */
		PLAIN(a, i, weft_tasklet_insert(l->handle), -ESRCH, -EBUSY);
	}
	return found;
}

/* --- control --- */

void note_hit(struct life *l)
{
	if (l)
		atomic_store_explicit(&l->was_hit, true, memory_order_relaxed);
}

static int64_t number_of(const struct life *l)
{
	return l ? (int64_t)(l - now.lives) : -1;
}

static int trap_error(const struct actor *a)
{
	return is_free(a) ? -ESRCH : -EPERM;
}

int act_control(struct actor *a)
{
	struct life *l;
	weft_tasklet t = look_up(&a->random, &l);
	int64_t n = number_of(l);
	int64_t rc;

	switch (random_below(&a->random, 6)) {
	case 0:
	case 1:
		PLAIN(a, n, weft_tasklet_insert(t), -ESRCH, -EBUSY);
		return 0;
	case 2:
		PLAIN(a, n, weft_tasklet_remove(t), -ESRCH, -EBUSY);
		return 0;
	case 3:
		PLAIN(a, n, weft_tasklet_notify(t), -ESRCH);
		return 0;
	case 4:
		PLAIN(a, n, weft_tasklet_run(t), -ESRCH, -EBUSY, trap_error(a));
		return 0;
	default:
		/* Nobody can be sure to come back from it. */
		if (a->n_shields || (a->life && a->life->kind == INNOCENT))
			return 0;
		/* Its own errors come first, in a callback too. */
		rc = LOGGED(a, n, weft_tasklet_switch(t));
		judge(a, "weft_tasklet_switch", rc, true,
		      (const int[]){ -ESRCH, -EBUSY, -EXDEV, 0 });
		return (int)rc;
	}
}

static int draw_raised(struct random_state *r)
{
	return (int)random_between(r, RAISED_FIRST, RAISED_LAST);
}

int act_interrupt(struct actor *a)
{
	struct random_state *r = &a->random;
	struct life *l;
	weft_tasklet t = look_up(r, &l);
	bool is_me = weft_tasklet_equal(t, weft_current());
	unsigned flags = random_one_in(r, 2) ? WEFT_PENDING : 0;
	int err = draw_raised(r);
	int trapped = flags ? -ESRCH : trap_error(a);

	if (a->thread->in_callback && is_me)
		return 0;
	note_hit(l);
	if (random_one_in(r, 2)) {
		PLAIN(a, number_of(l), weft_tasklet_raise(t, err, flags),
		      -ESRCH, trapped, is_me ? -err : -ESRCH);
		return 0;
	}
	/* A main tasklet only gets ECANCELED raised. */
	return (int)PLAIN(a, number_of(l), weft_tasklet_kill(t, flags), -ESRCH,
			  trapped, is_me ? -ECANCELED : -ESRCH) == -ECANCELED
		       ? -ECANCELED
		       : 0;
}

int act_look(struct actor *a)
{
	struct weft_thread_info info;
	struct weft_stats stats;
	struct life *l;
	weft_tasklet t = look_up(&a->random, &l);
	uint64_t ids[4];
	char name[8] = "";

	PLAIN(a, number_of(l), weft_tasklet_name(t, name, sizeof name), -ESRCH);
	if (*name && strcmp(name, "named"))
		wrong("a tasklet is named %s", name);
	(void)weft_tasklet_state(t);
	(void)weft_tasklet_is_main(t);
	PLAIN(a, 0, weft_thread_info(weft_tasklet_thread(t), &info), -ESRCH);
	PLAIN(a, 0, weft_stats(some_thread(&a->random)->id, &stats), -ESRCH);
	if (weft_threads(ids, 4) < 1)
		wrong("no thread is attached");
	if (weft_thread_id() != self->id)
		wrong("thread %u has another id", self->index);
	if (!weft_runcount())
		wrong("the ring is empty");
	(void)weft_next_deadline();
	return 0;
}

int act_join(struct actor *a)
{
	struct life *l;
	weft_tasklet t = look_up(&a->random, &l);
	int64_t rc;

	if (a->life && a->life->kind == INNOCENT)
		return 0;
	rc = LOGGED(a, number_of(l), weft_tasklet_join(t));
	judge_callback(a, "weft_tasklet_join", rc);
	if (rc > 0 ||
	    (rc <= -RESULT_BASE && (!l || rc != -(RESULT_BASE + number_of(l)))))
		wrong("joining life %" PRId64 " gave %" PRId64, number_of(l),
		      rc);
	/* What was raised on it before it ran is its result. */
	if (rc > -RESULT_BASE && !(rc <= -RAISED_FIRST && rc >= -RAISED_LAST))
		judge(a, "weft_tasklet_join", rc, true,
		      (const int[]){ -ESRCH, -EDEADLK, -ECANCELED, 0 });
	return (int)rc;
}

static void undo(void *arg)
{
	struct life *l = arg;
	int rc;

	if (is_child)
		return;
	if (atomic_fetch_add(&l->n_undone, 1) + 1 == l->n_deferred)
		watched->of_lives[l->number].call = NULL;
	if (l->number % 3)
		return;
	rc = weft_sleep(l->number % 100 * WEFT_MICROSECOND);
	if (rc && rc != -ETIMEDOUT && !is_child)
		wrong("what life %u had deferred was interrupted: %d",
		      l->number, rc);
}

int act_defer(struct actor *a)
{
	if (!a->life || a->thread->in_callback)
		return 0;
	atomic_fetch_add(&a->life->n_deferred, 1);
	PLAIN(a, 0, weft_defer(undo, a->life), 0);
	return 0;
}

/* --- giving way --- */

int act_give_way(struct actor *a)
{
	if (a->life && a->life->kind == VICTIM && !a->n_shields &&
	    random_one_in(&a->random, 4))
		return (int)BLOCKING(a, 0, weft_schedule_remove(), 0);
	return (int)BLOCKING(a, 0, weft_schedule(), 0);
}

int act_sleep(struct actor *a)
{
	int64_t ns = random_below(&a->random, 200) * WEFT_MICROSECOND;
	int64_t due = set_due(a, weft_now() + ns);
	int64_t rc;

	if (random_one_in(&a->random, 2))
		rc = BLOCKING(a, ns, weft_sleep(ns), 0);
	else
		rc = BLOCKING(a, ns, weft_sleep_until(weft_now() + ns), 0);
	set_due(a, due);
	return (int)rc;
}

int act_nest(struct actor *a)
{
	int64_t ns = random_below(&a->random, 300) * WEFT_MICROSECOND;
	bool is_innocent = a->life && a->life->kind == INNOCENT;
	int64_t rc;

	switch (random_below(&a->random, 5)) {
	case 0:
		LOGGED(a, 0, (weft_stop(STOPPED), 0));
		return 0;
	case 1:
		if (is_innocent || a->n_shields)
			return 0;
		rc = BLOCKING(a, 0, weft_run(), 0);
		if (rc > 0 && rc != STOPPED)
			wrong("a run returned %" PRId64, rc);
		return (int)rc;
	case 2:
	case 3:
		return (int)BLOCKING(a, ns, weft_run_until(weft_now() + ns),
				     -ETIMEDOUT);
	default:
		return (int)BLOCKING(a, 0, weft_pump(), 0);
	}
}

/* --- groups --- */

static void judge_group(const struct actor *a, int64_t rc)
{
	if (rc <= -RESULT_BASE || (rc <= -RAISED_FIRST && rc >= -RAISED_LAST))
		return;
	judge(a, "weft_group_wait", rc, true, (const int[]){ -ECANCELED, 0 });
}

/* One of one's own. Members use it until they end. */
int act_group(struct actor *a)
{
	struct random_state *r = &a->random;
	weft_group *g;
	int64_t rc = 0;
	int64_t due;

	if (!is_free(a) || a->depth > 2)
		return 0;
	g = weft_group_new();
	for (unsigned i = random_between(r, 0, 4); i > 0; i--)
		spawn(a, VICTIM, random_one_in(r, 2) ? self : some_thread(r),
		      g);
	if (random_one_in(r, 4))
		PLAIN(a, 0, weft_group_kill(g), 0);
	a->depth++;
	if (random_one_in(r, 3))
		act(a);
	a->depth--;
	due = set_due(a, 0); /* it has to wait for them, whatever happens */
	if (!random_one_in(r, 4)) {
		rc = LOGGED(a, 0, weft_group_wait(g));
		judge_group(a, rc);
	}
	if (is_child)
		return 0;
	LOGGED(a, 0, (weft_group_free(g), 0));
	set_due(a, due);
	return (int)rc;
}

weft_group *some_group(struct random_state *r)
{
	return groups[random_below(r, GROUPS)];
}

/* One of those that last as long as the round. Only main tasklets, who are in
 * none, wait for them: no two then wait for each other, whatever happens. */
int act_shared_group(struct actor *a)
{
	struct random_state *r = &a->random;
	weft_group *g = some_group(r);
	weft_group *mine = a->life ? a->life->group : NULL;
	int64_t rc, due;

	if (mine && random_one_in(r, 2))
		g = mine;
	switch (random_below(r, 6)) {
	case 0:
		PLAIN(a, 0, weft_group_kill(g), 0);
		return 0;
	case 1:
		if (a->life || !is_free(a))
			return 0;
		due = set_due(a, 0);
		rc = LOGGED(a, 0, weft_group_wait(g));
		judge_group(a, rc);
		set_due(a, due);
		return (int)rc;
	default:
		for (unsigned i = random_between(r, 1, 4); i > 0; i--)
			spawn(a, VICTIM,
			      random_one_in(r, 3) ? self : some_thread(r), g);
		return 0;
	}
}

void open_groups(void)
{
	for (int i = 0; i < GROUPS; i++)
		groups[i] = weft_group_new();
}

void close_groups(void)
{
	for (int i = 0; i < GROUPS; i++) {
		int rc = weft_group_wait(groups[i]);

		if (rc > 0 || rc == -EDEADLK)
			wrong("a group that is empty gave %d", rc);
		weft_group_free(groups[i]);
	}
}

/* --- callbacks --- */

void control_from_callback(struct actor *a)
{
	switch (random_below(&a->random, 8)) {
	case 0:
	case 1:
		act_control(a);
		break;
	case 2:
		act_interrupt(a);
		break;
	case 3:
		act_spawn(a);
		break;
	case 4:
		act_flies(a);
		break;
	case 5:
		act_pester(a);
		break;
	case 6:
		act_ping(a);
		break;
	default:
		act_look(a);
	}
}

static void on_schedule(weft_tasklet from, weft_tasklet to, void *ctx)
{
	if (is_child)
		return;
	if (ctx != self)
		wrong("a callback of another thread was called");
	if (from.id == to.id)
		wrong("a switch from a tasklet to itself was told");
	if (random_one_in(&self->random, 6))
		do_a_callback();
}

static void on_channel(weft_channel *ch, weft_tasklet t, bool sending,
		       bool will_block, void *ctx)
{
	(void)ch;
	(void)sending;
	(void)will_block;
	if (is_child)
		return;
	if (ctx != self)
		wrong("a callback of another thread was called");
	if (!weft_tasklet_equal(t, weft_current()))
		wrong("a channel's callback was told of somebody else");
	if (random_one_in(&self->random, 6))
		do_a_callback();
}

static void on_park(bool parking, void *ctx)
{
	(void)parking;
	if (is_child)
		return;
	if (ctx != self)
		wrong("a callback of another thread was called");
	if (random_one_in(&self->random, 6))
		do_a_callback();
}

int act_callbacks(struct actor *a)
{
	struct thread *t = a->thread;

	if (t->in_callback)
		return 0;
	switch (random_below(&a->random, 6)) {
	case 0:
		LOGGED(a, 1, (weft_set_schedule_callback(on_schedule, t), 0));
		break;
	case 1:
		LOGGED(a, 0, (weft_set_schedule_callback(NULL, NULL), 0));
		break;
	case 2:
		LOGGED(a, 1, (weft_set_channel_callback(on_channel, t), 0));
		break;
	case 3:
		LOGGED(a, 0, (weft_set_channel_callback(NULL, NULL), 0));
		break;
	case 4:
		LOGGED(a, 1, (weft_set_park_callback(on_park, t), 0));
		break;
	default:
		LOGGED(a, 0, (weft_set_park_callback(NULL, NULL), 0));
	}
	return 0;
}

/* It is a tasklet's own business, and may block. */
static void act_as_handler(void)
{
	struct weft_deadline d;
	struct actor a = { .thread = self, .n_scopes = 1, .n_shields = 1 };

	a.random = random_stream(random_next(&self->random), 0);
	weft_deadline_begin(&d, weft_now() + 100 * WEFT_MICROSECOND);
	switch (random_below(&a.random, 8)) {
	case 0:
		act_sleep(&a);
		break;
	case 5:
		act_read(&a);
		break;
	case 6:
		act_write(&a);
		break;
	case 1:
		act_give_way(&a);
		break;
	case 2:
		act_private_pair(&a);
		break;
	case 3:
		act_try(&a);
		break;
	case 4:
		act_send(&a);
		break;
	default:
		control_from_callback(&a);
	}
	weft_deadline_end(&d);
}

static void on_failure(weft_tasklet t, int result, void *ctx)
{
	int number = -result - RESULT_BASE;

	(void)ctx;
	if (is_child)
		return;
	if (result >= 0 || result == -ECANCELED)
		wrong("the result %d was reported as a failure", result);
	if (!weft_tasklet_alive(t))
		wrong("a failure was reported after the end");
	if (number >= 0 && number < MOST_LIVES)
		atomic_fetch_add(&now.lives[number].n_reported, 1);
	if (self && random_one_in(&self->random, 4))
		act_as_handler();
}

void set_error_handler(void)
{
	weft_set_error_handler(now.has_handler ? on_failure : NULL, NULL);
}
