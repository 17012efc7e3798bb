/* SPDX-License-Identifier: MIT */
/*
 * Mutexes, conditions, semaphores and read-write locks between tasklets of many
 * threads, with kills, raises and deadlines against all that wait: nobody is where
 * another one is, nothing is lost, and nobody is left behind.
 */
#include "stress.h"
#include "support.h"

enum { THREADS = 8, PER_THREAD = 6, TASKLETS = THREADS * PER_THREAD };

/* --- threads full of tasklets, and who disturbs them --- */

static struct {
	int (*work)(struct random_state *r, int number);
	bool is_hasty; /* some of it has deadlines */
	weft_tasklet tasklets[TASKLETS];
	_Atomic(int) n_there, n_left;
	_Atomic(bool) must_end;
	_Atomic(uint64_t) n_done, n_interrupted, n_late;
} crew;

/* What @rc of a call that may be interrupted says: whether it went through. */
static bool went_through(int rc)
{
	if (rc == -EINTR)
		crew.n_interrupted++;
	else if (rc == -ETIMEDOUT)
		crew.n_late++;
	else if (rc)
		stress_fail("a call returned %d", rc);
	return rc == 0;
}

static int keep_working(void *arg)
{
	int number = (int)(uintptr_t)arg;
	struct random_state r =
		random_stream(stress_seed, 100 + (uint64_t)number);

	crew.tasklets[number] = weft_current();
	crew.n_there++;
	while (!crew.must_end) {
		struct weft_deadline d;
		bool is_hasty = crew.is_hasty && random_one_in(&r, 8);
		int rc;

		if (is_hasty)
			weft_deadline_begin(
				&d, weft_now() + random_below(&r, 30) *
							 WEFT_MICROSECOND);
		rc = crew.work(&r, number);
		if (is_hasty)
			weft_deadline_end(&d);
		if (went_through(rc))
			crew.n_done++;
		if (random_one_in(&r, 4))
			(void)weft_schedule(); /* an error is one, too */
	}
	crew.n_left--;
	return 0;
}

static int start_some(void *arg)
{
	for (uintptr_t i = (uintptr_t)arg; i < TASKLETS; i += THREADS)
		weft_spawn(keep_working, (void *)i);
	return 0;
}

static void raise_on_one(struct random_state *r)
{
	weft_tasklet t = crew.tasklets[random_below(r, TASKLETS)];

	weft_tasklet_raise(t, EINTR, random_one_in(r, 2) ? WEFT_PENDING : 0);
}

/* Runs @work over and over in all tasklets until the time is up, and calls
 * @disturb meanwhile; @release is called until all have left. */
static void run_crew(int (*work)(struct random_state *r, int number),
		     void (*disturb)(struct random_state *r),
		     void (*release)(void))
{
	struct random_state r = random_stream(stress_seed, 99);
	int64_t end = stress_end_of_budget();
	uint64_t ids[THREADS];

	crew.work = work;
	crew.n_left = TASKLETS;
	for (uintptr_t i = 0; i < THREADS; i++)
		ck_assert_int_eq(
			weft_thread_start(&ids[i], start_some, (void *)i), 0);
	while (crew.n_there < TASKLETS)
		usleep(100);
	while (weft_now() < end) {
		disturb(&r);
		stress_burn(random_below(&r, 10) * WEFT_MICROSECOND);
		if (random_one_in(&r, 64))
			usleep(100);
	}
	crew.must_end = true;
	while (release && crew.n_left) {
		release();
		usleep(100);
	}
	for (int i = 0; i < THREADS; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
	ck_assert_int_eq(crew.n_left, 0);
	printf("# %" PRIu64 " done, %" PRIu64 " interrupted, %" PRIu64
	       " late\n",
	       crew.n_done, crew.n_interrupted, crew.n_late);
	ck_assert_uint_gt(crew.n_done, 0);
}

/* --- mutex --- */

/* Plain, so that ThreadSanitizer sees whether the mutex orders it. */
static struct {
	weft_mutex mutex;
	uint64_t counter, shadow;
	_Atomic(uint64_t) n_entered;
	_Atomic(int) n_inside;
} room;

static int count_up(struct random_state *r, int number)
{
	int rc;

	(void)number;
	rc = random_one_in(r, 8) ? weft_mutex_trylock(&room.mutex)
				 : weft_mutex_lock(&room.mutex);
	if (rc == -EBUSY)
		return 0;
	if (rc)
		return rc;
	if (++room.n_inside != 1)
		stress_fail("two hold the mutex");
	room.counter++;
	if (random_one_in(r, 4)) /* with the mutex held */
		(void)weft_schedule();
	room.shadow++;
	room.n_entered++;
	room.n_inside--;
	if (weft_mutex_unlock(&room.mutex))
		stress_fail("the holder could not unlock");
	return 0;
}

START_TEST(mutex_keeps_others_out)
{
	static const weft_mutex free = WEFT_MUTEX_INIT;

	crew.is_hasty = true;
	run_crew(count_up, raise_on_one, NULL);
	ck_assert_uint_eq(room.counter, room.n_entered);
	ck_assert_uint_eq(room.shadow, room.n_entered);
	ck_assert_int_eq(memcmp(&room.mutex, &free, sizeof free), 0);
}
END_TEST

/* --- objects that are freed by the last one to have them --- */

enum { OBJECTS = 4, POISON = 0x5a };

struct object {
	weft_mutex mutex;
	int references;
};

static struct {
	weft_mutex mutex;
	struct object *objects[OBJECTS];
	struct object *graves[TASKLETS]; /* of each the last that it freed */
	_Atomic(uint64_t) n_made, n_freed;
} shelf;

static struct object *new_object(void)
{
	struct object *o = calloc(1, sizeof *o);

	o->references = 1; /* its place's */
	shelf.n_made++;
	return o;
}

/* What must be done, raised on or not. */
static void lock_surely(weft_mutex *m)
{
	int rc;

	while ((rc = weft_mutex_lock(m)))
		if (rc != -EINTR)
			stress_fail("a lock returned %d", rc);
}

/* Frees the one before, in which a late touch can be seen. */
static void bury(struct object *o, int number)
{
	unsigned char *bytes = (unsigned char *)shelf.graves[number];

	for (size_t i = 0; bytes && i < sizeof *o; i++)
		if (bytes[i] != POISON)
			stress_fail("freed memory was written to");
	free(bytes);
	shelf.graves[number] = o;
	if (!o)
		return;
	memset(o, POISON, sizeof *o);
	shelf.n_freed++;
}

static void drop_object(struct object *o, int number)
{
	bool is_last;

	lock_surely(&o->mutex);
	is_last = --o->references == 0;
	if (weft_mutex_unlock(&o->mutex))
		stress_fail("the holder could not unlock");
	if (is_last)
		bury(o, number);
}

/* A reference to one, or that of its place, where another one then stands. */
static int use_and_drop(struct random_state *r, int number)
{
	unsigned i = random_below(r, OBJECTS);
	struct object *o;
	int rc = weft_mutex_lock(&shelf.mutex);

	if (rc)
		return rc;
	o = shelf.objects[i];
	if (random_one_in(r, 3)) {
		shelf.objects[i] = new_object();
	} else {
		lock_surely(&o->mutex);
		o->references++;
		weft_mutex_unlock(&o->mutex);
	}
	weft_mutex_unlock(&shelf.mutex);
	if (random_one_in(r, 4))
		(void)weft_schedule();
	drop_object(o, number);
	return 0;
}

START_TEST(last_one_frees_the_mutex)
{
	for (int i = 0; i < OBJECTS; i++)
		shelf.objects[i] = new_object();
	run_crew(use_and_drop, raise_on_one, NULL);
	for (int i = 0; i < OBJECTS; i++)
		drop_object(shelf.objects[i], 0);
	for (int i = 0; i < TASKLETS; i++)
		bury(NULL, i);
	ck_assert_uint_eq(shelf.n_made, shelf.n_freed);
}
END_TEST

/* --- condition --- */

enum { SLOTS = 4 };

static struct {
	weft_mutex mutex;
	weft_condition not_full, not_empty;
	uint64_t slots[SLOTS];
	unsigned n;
	uint64_t next;
	uint64_t sum_put, sum_taken;
} buffer;

/* Returns with the mutex, if it returns 0. */
static int await(weft_condition *c, bool (*is_so)(void))
{
	int rc = weft_mutex_lock(&buffer.mutex);

	if (rc)
		return rc;
	while (!rc && !is_so() && !crew.must_end)
		rc = weft_condition_wait(c, &buffer.mutex);
	if (rc && weft_mutex_unlock(&buffer.mutex))
		stress_fail("a wait returned without its mutex");
	return rc;
}

static bool has_room(void)
{
	return buffer.n < SLOTS;
}

static bool has_some(void)
{
	return buffer.n > 0;
}

static int put_or_take(struct random_state *r, int number)
{
	bool puts = number % 2;
	int rc = await(puts ? &buffer.not_full : &buffer.not_empty,
		       puts ? has_room : has_some);
	weft_condition *other = puts ? &buffer.not_empty : &buffer.not_full;

	if (rc)
		return rc;
	if (puts && has_room()) {
		buffer.slots[buffer.n++] = ++buffer.next;
		buffer.sum_put += buffer.next;
	} else if (!puts && has_some()) {
		buffer.sum_taken += buffer.slots[--buffer.n];
	}
	if (random_one_in(r, 16))
		weft_condition_broadcast(other);
	else
		weft_condition_signal(other);
	if (weft_mutex_unlock(&buffer.mutex))
		stress_fail("the holder could not unlock");
	return 0;
}

static void wake_all(void)
{
	weft_condition_broadcast(&buffer.not_full);
	weft_condition_broadcast(&buffer.not_empty);
}

START_TEST(producers_and_consumers)
{
	static const weft_condition unused = WEFT_CONDITION_INIT;

	crew.is_hasty = true;
	run_crew(put_or_take, raise_on_one, wake_all);
	while (has_some())
		buffer.sum_taken += buffer.slots[--buffer.n];
	ck_assert_uint_eq(buffer.sum_put, buffer.sum_taken);
	ck_assert_int_eq(memcmp(&buffer.not_full, &unused, sizeof unused), 0);
	ck_assert_int_eq(memcmp(&buffer.not_empty, &unused, sizeof unused), 0);
}
END_TEST

/* --- semaphore, read-write lock --- */

enum { UNITS = 5 };

static struct {
	weft_semaphore units;
	_Atomic(int) n_taken;
	weft_rwlock lock;
	_Atomic(int) n_readers, n_writers;
	uint64_t pages[2]; /* the same, but to a writer */
} library = { .units = WEFT_SEMAPHORE_INIT(UNITS) };

static int use_a_unit(struct random_state *r)
{
	int rc = random_one_in(r, 8) ? weft_semaphore_trywait(&library.units)
				     : weft_semaphore_wait(&library.units);

	if (rc == -EAGAIN)
		return 0;
	if (rc)
		return rc;
	if (++library.n_taken > UNITS)
		stress_fail("there are more units than there were");
	if (random_one_in(r, 2))
		(void)weft_schedule();
	library.n_taken--;
	return weft_semaphore_post(&library.units);
}

static int read_pages(struct random_state *r)
{
	int rc = random_one_in(r, 8) ? weft_rwlock_tryrdlock(&library.lock)
				     : weft_rwlock_rdlock(&library.lock);

	if (rc)
		return rc == -EBUSY ? 0 : rc;
	library.n_readers++;
	if (library.n_writers || library.pages[0] != library.pages[1])
		stress_fail("a reader is with a writer");
	if (random_one_in(r, 2))
		(void)weft_schedule();
	library.n_readers--;
	return weft_rwlock_unlock(&library.lock);
}

static int write_pages(struct random_state *r)
{
	int rc = random_one_in(r, 8) ? weft_rwlock_trywrlock(&library.lock)
				     : weft_rwlock_wrlock(&library.lock);

	if (rc)
		return rc == -EBUSY ? 0 : rc;
	library.pages[0]++;
	if (++library.n_writers != 1 || library.n_readers)
		stress_fail("a writer is not alone");
	if (random_one_in(r, 2))
		(void)weft_schedule();
	library.n_writers--;
	library.pages[1]++;
	return weft_rwlock_unlock(&library.lock);
}

static int use_library(struct random_state *r, int number)
{
	(void)number;
	switch (random_below(r, 4)) {
	case 0:
		return use_a_unit(r);
	case 1:
		return write_pages(r);
	default:
		return read_pages(r);
	}
}

static void expect_empty_library(void)
{
	static const weft_semaphore all = WEFT_SEMAPHORE_INIT(UNITS);
	static const weft_rwlock free = WEFT_RWLOCK_INIT;

	ck_assert_int_eq(memcmp(&library.units, &all, sizeof all), 0);
	ck_assert_int_eq(memcmp(&library.lock, &free, sizeof free), 0);
	ck_assert_uint_eq(library.pages[0], library.pages[1]);
}

START_TEST(units_readers_and_writers)
{
	crew.is_hasty = true;
	run_crew(use_library, raise_on_one, NULL);
	expect_empty_library();
}
END_TEST

/* --- kills --- */

static struct {
	weft_mutex mutex;
	weft_tasklet tasklets[TASKLETS];
	_Atomic(uint64_t) n_killed;
} visitors;

struct visit {
	struct random_state r;
};

/* Ends with the first error. */
static int visit(void *arg)
{
	struct visit *v = arg;
	int rc = 0;

	for (int i = 0; !rc && i < 20; i++)
		rc = random_one_in(&v->r, 3) ? count_up(&v->r, 0)
					     : use_library(&v->r, 0);
	return rc;
}

static int send_a_visitor(struct random_state *r, int number)
{
	struct visit v = { .r = random_stream(random_next(r), 0) };
	weft_tasklet t = weft_spawn(visit, &v);
	int rc;

	lock_surely(&visitors.mutex);
	visitors.tasklets[number] = t;
	weft_mutex_unlock(&visitors.mutex);
	if (random_one_in(r, 4)) {
		(void)weft_schedule();
		weft_tasklet_kill(t, random_one_in(r, 2) ? WEFT_PENDING : 0);
	}
	do
		rc = weft_tasklet_join(t);
	while (rc == -EINTR);
	visitors.n_killed += rc == -ECANCELED;
	return rc == -ECANCELED || rc == -ESRCH ? 0 : rc;
}

static void kill_a_visitor(struct random_state *r)
{
	weft_tasklet t;

	lock_surely(&visitors.mutex);
	t = visitors.tasklets[random_below(r, TASKLETS)];
	weft_mutex_unlock(&visitors.mutex);
	if (!weft_tasklet_is_null(t))
		weft_tasklet_kill(t, 0);
}

START_TEST(killed_ones_leave_nothing_behind)
{
	run_crew(send_a_visitor, kill_a_visitor, NULL);
	expect_empty_library();
	ck_assert_uint_eq(room.counter, room.n_entered);
	ck_assert_uint_eq(room.shadow, room.n_entered);
	printf("# %" PRIu64 " killed\n", visitors.n_killed);
}
END_TEST

static const struct stress_case cases[] = {
	{ "a mutex keeps others out", &mutex_keeps_others_out, 1 },
	{ "the last one frees the mutex", &last_one_frees_the_mutex, 1 },
	{ "producers and consumers", &producers_and_consumers, 1 },
	{ "units, readers and writers", &units_readers_and_writers, 1 },
	{ "killed ones leave nothing behind", &killed_ones_leave_nothing_behind,
	  1 },
};

STRESS_MAIN("stress_sync", cases)
