/* SPDX-License-Identifier: MIT */
/*
 * Mutexes, conditions, semaphores and read-write locks: results, limits, time
 * limits, deadlock, fork(), and threads that end. The order of things is in
 * tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "base/part.h"
#include "support.h"
#include "sync/sync.h"

static weft_mutex m = WEFT_MUTEX_INIT;
static weft_condition c = WEFT_CONDITION_INIT;
static weft_semaphore sem = WEFT_SEMAPHORE_INIT(0);
static weft_rwlock l = WEFT_RWLOCK_INIT;

/* One that takes something when told, and how that went. */
struct taker {
	int (*take)(void);
	void (*give)(void);
	int rc;
	bool is_back;
};

static int lock_m(void)
{
	return weft_mutex_lock(&m);
}

static int wait_c(void)
{
	int rc = weft_mutex_lock(&m);

	if (rc)
		return rc;
	rc = weft_condition_wait(&c, &m);
	return weft_mutex_unlock(&m) ? -ENOLCK : rc;
}

static int take_unit(void)
{
	return weft_semaphore_wait(&sem);
}

static int read_l(void)
{
	return weft_rwlock_rdlock(&l);
}

static int write_l(void)
{
	return weft_rwlock_wrlock(&l);
}

static void release_l(void)
{
	weft_rwlock_unlock(&l);
}

static void unlock_m(void)
{
	weft_mutex_unlock(&m);
}

static void post_unit(void)
{
	weft_semaphore_post(&sem);
}

static void signal_c(void)
{
	weft_condition_signal(&c);
}

/* All calls that wait, where the main tasklet holds what they wait for. */
static const struct {
	int (*hold)(void); /* NULL: there is nothing to hold */
	int (*take)(void);
	void (*give)(void);
	void (*give_back)(void); /* by who got it */
	const char *described;
} waits[] = {
	{ lock_m, lock_m, unlock_m, unlock_m, "waits for mutex 0x" },
	{ NULL, wait_c, signal_c, NULL, "waits on condition 0x" },
	{ NULL, take_unit, post_unit, NULL, "waits for semaphore 0x" },
	{ write_l, read_l, release_l, release_l,
	  "waits to read under rwlock 0x" },
	{ write_l, write_l, release_l, release_l,
	  "waits to write under rwlock 0x" },
	{ read_l, write_l, release_l, release_l,
	  "waits to write under rwlock 0x" },
};

static int take_it(void *arg)
{
	struct taker *t = arg;

	t->rc = t->take();
	t->is_back = true;
	if (t->rc == 0 && t->give)
		t->give();
	return t->rc;
}

static void hold(int i)
{
	if (waits[i].hold)
		ck_assert_int_eq(waits[i].hold(), 0);
}

static struct taker taker_of(int i)
{
	return (struct taker){ .take = waits[i].take,
			       .give = waits[i].give_back,
			       .rc = 1 };
}

/* Zero bytes are the initial values. */
START_TEST(zero_is_a_valid_object)
{
	static const char zero[sizeof(weft_mutex)];

	ck_assert_int_eq(memcmp(&m, zero, sizeof m), 0);
	ck_assert_int_eq(memcmp(&c, zero, sizeof c), 0);
	ck_assert_int_eq(memcmp(&sem, zero, sizeof sem), 0);
	ck_assert_int_eq(memcmp(&l, zero, sizeof l), 0);
}
END_TEST

/* What they did is all undone: the objects are as new. */
static void expect_all_free(void)
{
	weft_mutex m0 = WEFT_MUTEX_INIT;
	weft_condition c0 = WEFT_CONDITION_INIT;
	weft_semaphore sem0 = WEFT_SEMAPHORE_INIT(0);
	weft_rwlock l0 = WEFT_RWLOCK_INIT;

	ck_assert_int_eq(memcmp(&m, &m0, sizeof m), 0);
	ck_assert_int_eq(memcmp(&c, &c0, sizeof c), 0);
	ck_assert_int_eq(memcmp(&sem, &sem0, sizeof sem), 0);
	ck_assert_int_eq(memcmp(&l, &l0, sizeof l), 0);
}

START_TEST(one_waits_and_gets_it)
{
	struct taker t = taker_of(_i);
	weft_tasklet tasklet;

	hold(_i);
	tasklet = weft_spawn(take_it, &t);
	weft_schedule();
	ck_assert(!t.is_back);
	ck_assert_int_eq(weft_tasklet_state(tasklet), WEFT_BLOCKED);
	waits[_i].give();
	ck_assert(!t.is_back); /* never switches */
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(t.rc, 0);
	expect_all_free();
}
END_TEST

/* By a deadline, with the thread parked; nothing is left of it. */
START_TEST(one_waits_too_long)
{
	struct taker t = taker_of(_i);
	struct weft_deadline d;
	weft_tasklet tasklet;

	hold(_i);
	tasklet = weft_spawn(take_it, &t);
	weft_schedule();
	weft_tasklet_kill(tasklet, 0);
	ck_assert_int_eq(t.rc, -ECANCELED);
	if (!waits[_i].hold) {
		weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
		ck_assert_int_eq(waits[_i].take(), -ETIMEDOUT);
		ck_assert(weft_deadline_end(&d));
		expect_all_free();
		return;
	}
	waits[_i].give();
	expect_all_free();
}
END_TEST

static int take_in_a_scope(void *arg)
{
	struct taker *t = arg;
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	t->rc = t->take();
	weft_deadline_end(&d);
	return 0;
}

START_TEST(one_of_several_waits_too_long)
{
	struct taker first = taker_of(_i), hasty = taker_of(_i),
		     last = taker_of(_i);

	hold(_i);
	weft_spawn(take_it, &first);
	weft_spawn(take_in_a_scope, &hasty);
	weft_spawn(take_it, &last);
	weft_schedule();
	weft_sleep(2 * WEFT_MILLISECOND);
	while (hasty.rc == 1)
		weft_schedule();
	ck_assert_int_eq(hasty.rc, -ETIMEDOUT);
	ck_assert(!first.is_back && !last.is_back);
	waits[_i].give();
	weft_schedule();
	if (!waits[_i].hold)
		waits[_i].give();
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(first.rc, 0);
	ck_assert_int_eq(last.rc, 0);
	expect_all_free();
}
END_TEST

/* Who holds a lock is told when it locks it again; but in a scope, time ends the
 * wait. */
START_TEST(own_lock_in_a_scope)
{
	struct weft_deadline d;

	ck_assert_int_eq(weft_mutex_lock(&m), 0);
	ck_assert_int_eq(weft_mutex_lock(&m), -EDEADLK);
	ck_assert_int_eq(weft_rwlock_wrlock(&l), 0);
	ck_assert_int_eq(weft_rwlock_rdlock(&l), -EDEADLK);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(weft_mutex_lock(&m), -ETIMEDOUT);
	ck_assert_int_eq(weft_rwlock_rdlock(&l), -ETIMEDOUT);
	weft_deadline_end(&d);
	ck_assert_int_eq(weft_rwlock_unlock(&l), 0);
	ck_assert_int_eq(weft_mutex_unlock(&m), 0);
}
END_TEST

/* A scope that has run out counts though nobody would have to wait. */
START_TEST(time_is_up_already)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, 0);
	ck_assert_int_eq(weft_mutex_lock(&m), -ETIMEDOUT);
	ck_assert_int_eq(weft_mutex_trylock(&m), 0);
	ck_assert_int_eq(weft_condition_wait(&c, &m), -ETIMEDOUT);
	ck_assert_int_eq(weft_mutex_unlock(&m), 0); /* it was kept */
	ck_assert_int_eq(weft_semaphore_post(&sem), 0);
	ck_assert_int_eq(weft_semaphore_wait(&sem), -ETIMEDOUT);
	ck_assert_int_eq(weft_semaphore_trywait(&sem), 0);
	ck_assert_int_eq(weft_rwlock_rdlock(&l), -ETIMEDOUT);
	ck_assert_int_eq(weft_rwlock_wrlock(&l), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	expect_all_free();
}
END_TEST

/* In a shield a killed one waits on. */
static int take_shielded(void *arg)
{
	struct taker *t = arg;

	weft_shield_begin();
	take_it(t);
	weft_shield_end();
	return 0;
}

START_TEST(shielded_one_waits_on)
{
	struct taker t = taker_of(_i);
	weft_tasklet tasklet;

	hold(_i);
	tasklet = weft_spawn(take_shielded, &t);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_kill(tasklet, 0), 0);
	ck_assert(!t.is_back);
	waits[_i].give();
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(t.rc, 0);
	expect_all_free();
}
END_TEST

/* Another loop that drives the thread learns of who can run. */
START_TEST(other_loops_are_told)
{
	struct taker t = taker_of(_i);
	fd_set set;
	struct timeval no_time = { 0 };
	int fd;

	hold(_i);
	weft_spawn(take_it, &t);
	weft_schedule();
	fd = weft_fd();
	ck_assert_int_ge(fd, 0);
	FD_ZERO(&set);
	FD_SET(fd, &set);
	weft_pump();
	ck_assert_int_eq(
		TEMP_FAILURE_RETRY(select(fd + 1, &set, NULL, NULL, &no_time)),
		0);
	waits[_i].give();
	FD_SET(fd, &set);
	ck_assert_int_eq(
		TEMP_FAILURE_RETRY(select(fd + 1, &set, NULL, NULL, &no_time)),
		1);
	weft_pump();
	ck_assert_int_eq(t.rc, 0);
	expect_all_free();
}
END_TEST

START_TEST(most_units)
{
	weft_semaphore full = WEFT_SEMAPHORE_INIT(WEFT_SEMAPHORE_MAX);

	ck_assert_int_eq(weft_semaphore_post(&full), -EOVERFLOW);
	ck_assert_int_eq(weft_semaphore_wait(&full), 0);
	ck_assert_int_eq(weft_semaphore_post(&full), 0);
	ck_assert_int_eq(weft_semaphore_post(&full), -EOVERFLOW);
}
END_TEST

static void *use_unattached(void *arg)
{
	int *failed = arg;

	*failed += weft_mutex_unlock(&m) != -EPERM;
	*failed += weft_rwlock_unlock(&l) != -EPERM;
	*failed += weft_semaphore_post(&sem) != 0;
	*failed += weft_semaphore_trywait(&sem) != 0;
	*failed += weft_condition_signal(&c) != 0;
	*failed += weft_condition_broadcast(&c) != 0;
	return NULL;
}

/* The number of threads that have ever been attached. */
static uint64_t n_ever_attached(void)
{
	struct taker t = { .take = take_unit };
	uint64_t id;

	ck_assert_int_eq(weft_thread_start(&id, take_it, &t), 0);
	weft_semaphore_post(&sem);
	ck_assert_int_eq(weft_thread_join(id), 0);
	return id;
}

/* What needs no tasklet does not attach its thread. */
START_TEST(threads_that_are_not_attached)
{
	uint64_t n;
	int failed = 0;

	ck_assert_int_eq(weft_mutex_lock(&m), 0);
	n = n_ever_attached();
	join_thread(start_thread(use_unattached, &failed));
	ck_assert_int_eq(failed, 0);
	ck_assert_uint_eq(n_ever_attached(), n + 1);
}
END_TEST

static void *wait_and_end(void *i)
{
	static struct taker takers[3];

	for (int k = 0; k < 3; k++) {
		takers[k] = taker_of(*(int *)i);
		weft_spawn(take_it, &takers[k]);
	}
	weft_schedule();
	return NULL;
}

/* Its tasklets are killed, and out of the queue. */
START_TEST(thread_ends_while_its_tasklets_wait)
{
	hold(_i);
	join_thread(start_thread(wait_and_end, &_i));
	if (waits[_i].hold)
		waits[_i].give();
	expect_all_free();
}
END_TEST

/* --- handed the mutex again, and paused --- */

static int wait_c_and_note(void *taker)
{
	struct taker *t = taker;

	t->rc = wait_c();
	t->is_back = true;
	return 0;
}

/* A tasklet that was signalled, was handed the mutex, and is then removed from the
 * run queue before it has its turn. */
static weft_tasklet pause_with_mutex(struct taker *t)
{
	weft_tasklet waiter = weft_spawn(wait_c_and_note, t);

	t->rc = 1;
	EXPECT(weft_schedule() == 0);
	EXPECT(weft_mutex_lock(&m) == 0);
	EXPECT(weft_condition_signal(&c) == 0);
	EXPECT(weft_schedule() == 0);
	EXPECT(weft_mutex_unlock(&m) == 0);
	EXPECT(weft_tasklet_remove(waiter) == 0);
	EXPECT(weft_tasklet_state(waiter) == WEFT_PAUSED);
	EXPECT(weft_mutex_trylock(&m) == -EBUSY);
	return waiter;
}

static int kill_now(weft_tasklet t)
{
	return weft_tasklet_kill(t, 0);
}

static int kill_pending(weft_tasklet t)
{
	return weft_tasklet_kill(t, WEFT_PENDING);
}

static int raise_now(weft_tasklet t)
{
	return weft_tasklet_raise(t, EIO, 0);
}

static int (*const interruptions[])(weft_tasklet) = { kill_now, kill_pending,
						      raise_now };

/* What interrupts any other pause also ends this one: the tasklet releases the
 * mutex. It was signalled, so its wait returns 0. (A deadline: test_deadline.) */
START_TEST(paused_with_the_mutex)
{
	struct taker t = { .rc = 1 };
	weft_tasklet waiter = pause_with_mutex(&t);

	ck_assert_int_eq(interruptions[_i](waiter), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert(t.is_back);
	ck_assert_int_eq(t.rc, 0);
	expect_all_free();
}
END_TEST

static void *pause_and_end(void *taker)
{
	pause_with_mutex(taker);
	return NULL;
}

/* The same at the end of its thread. */
START_TEST(thread_ends_while_one_is_paused_with_the_mutex)
{
	struct taker t = { .rc = 1 };

	join_thread(start_thread(pause_and_end, &t));
	ck_assert(t.is_back);
	ck_assert_int_eq(t.rc, 0);
	expect_all_free();
}
END_TEST

/* --- who may free what --- */

struct counted {
	weft_mutex mutex;
	int references;
};

static int drop(void *arg)
{
	struct counted *object = arg;
	bool is_last;

	weft_mutex_lock(&object->mutex);
	is_last = --object->references == 0;
	weft_schedule();
	weft_mutex_unlock(&object->mutex);
	if (is_last)
		free(object);
	return 0;
}

/* The last one to have had the mutex frees it, whoever may still be on its way
 * out of unlock. */
START_TEST(last_one_frees_the_mutex)
{
	enum { TASKLETS = 20 };
	struct counted *object = calloc(1, sizeof *object);

	object->references = TASKLETS;
	for (int i = 0; i < TASKLETS; i++)
		weft_spawn(drop, object);
	ck_assert_int_eq(weft_run(), 0);
}
END_TEST

/* --- whose it is --- */

static int end_with_all(void *arg)
{
	(void)arg;
	if (weft_mutex_lock(&m) || weft_rwlock_wrlock(&l))
		return -ENOLCK;
	return 0;
}

struct heir {
	int unlock, trylock, wait, release, tryread;
	int lock, read, lock_late;
	bool is_back;
};

/* Never had any of it. */
static int try_to_inherit(void *arg)
{
	struct heir *h = arg;
	struct weft_deadline d;

	h->unlock = weft_mutex_unlock(&m);
	h->trylock = weft_mutex_trylock(&m);
	h->wait = weft_condition_wait(&c, &m);
	h->release = weft_rwlock_unlock(&l);
	h->tryread = weft_rwlock_tryrdlock(&l);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	h->lock_late = weft_mutex_lock(&m);
	weft_deadline_end(&d);
	h->read = weft_rwlock_rdlock(&l);
	h->lock = weft_mutex_lock(&m);
	h->is_back = true;
	return 0;
}

static void expect_nothing_inherited(struct heir *h, weft_tasklet t)
{
	while (!h->lock_late)
		weft_sleep(WEFT_MILLISECOND);
	ck_assert_int_eq(h->unlock, -EPERM);
	ck_assert_int_eq(h->trylock, -EBUSY);
	ck_assert_int_eq(h->wait, -EPERM);
	ck_assert_int_eq(h->release, -EPERM);
	ck_assert_int_eq(h->tryread, -EBUSY);
	ck_assert_int_eq(h->lock_late, -ETIMEDOUT);
	/* It waits, and is not told that it deadlocks with itself. */
	ck_assert(!h->is_back);
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	while (!h->is_back)
		weft_schedule();
	ck_assert_int_eq(h->read, -ECANCELED);
	ck_assert_int_eq(h->lock, -ECANCELED);
}

/* What a tasklet held when it ended is nobody's: not that of the next one that is
 * born in its memory. */
START_TEST(what_the_dead_held_is_nobodys)
{
	struct heir heirs[3] = { { 0 } };
	weft_tasklet first = weft_spawn(end_with_all, NULL);
	bool same = false;

	ck_assert_int_eq(weft_run(), 0);
	ck_assert(!weft_tasklet_alive(first));
	for (size_t i = 0; i < N_ELEMENTS(heirs); i++) {
		weft_tasklet t = weft_spawn(try_to_inherit, &heirs[i]);

		same |= t.task == first.task;
		expect_nothing_inherited(&heirs[i], t);
	}
	ck_assert(same); /* or this has tried nothing */
	/* To nobody's surprise, nor is it main's. */
	ck_assert_int_eq(weft_mutex_unlock(&m), -EPERM);
	ck_assert_int_eq(weft_rwlock_unlock(&l), -EPERM);
}
END_TEST

/* --- deadlock --- */

static char errors[8192];

static int n_case;

static int main_deadlocks(void)
{
	if (waits[n_case].hold) {
		struct taker t = { .take = waits[n_case].hold };

		weft_spawn(take_it, &t); /* and ends with it */
		weft_schedule();
	}
	EXPECT(waits[n_case].take() == -EDEADLK);
	return 0;
}

/* Nobody is left who could; and the report says what it waited for. */
START_TEST(deadlock_is_told)
{
	n_case = _i;
	setenv("WEFT_DEADLOCK", "report", 1);
	ck_assert_msg(in_child(main_deadlocks, errors, sizeof errors) == 0,
		      "%s", errors);
	ck_assert_msg(strstr(errors, waits[_i].described), "%s", errors);
}
END_TEST

static int signal_and_keep(void *arg)
{
	(void)arg;
	weft_mutex_lock(&m);
	weft_condition_signal(&c);
	return 0;
}

static int relock_deadlocks(void)
{
	EXPECT(weft_mutex_lock(&m) == 0);
	weft_spawn(signal_and_keep, NULL);
	EXPECT(weft_condition_wait(&c, &m) == -EDEADLK);
	EXPECT(weft_mutex_unlock(&m) == -EPERM);
	EXPECT(weft_mutex_trylock(&m) == -EBUSY);
	return 0;
}

/* The one case in which a wait returns without its mutex. */
START_TEST(deadlock_while_taking_the_mutex_again)
{
	ck_assert_msg(in_child(relock_deadlocks, errors, sizeof errors) == 0,
		      "%s", errors);
}
END_TEST

/* --- fork --- */

static void expect_success(pid_t pid)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		      "child ended with %#x", (unsigned)status);
}

static _Atomic(uint64_t) other_id;

static void *wait_in_other_thread(void *taker)
{
	weft_tasklet t = weft_spawn(take_it, taker);

	other_id = weft_thread_id();
	weft_tasklet_join(t);
	return NULL;
}

static void go_on(int i, struct taker *own)
{
	waits[i].give();
	EXPECT(weft_run() == 0);
	if (!waits[i].hold) { /* another may have been served */
		waits[i].give();
		EXPECT(weft_run() == 0);
	}
	EXPECT(own->rc == 0);
}

/* The child's queues have its own tasklets only, in the parent's order: the first
 * and the last are another thread's. */
START_TEST(fork_forgets_those_of_other_threads)
{
	struct taker own = taker_of(_i),
		     others[2] = { taker_of(_i), taker_of(_i) };
	pthread_t threads[2];
	pid_t pid;

	if (UNDER_TSAN)
		return;
	hold(_i);
	for (int k = 0; k < 2; k++) {
		other_id = 0;
		threads[k] = start_thread(wait_in_other_thread, &others[k]);
		while (!other_id)
			usleep(100);
		until_parked(other_id);
		if (k == 0) {
			weft_spawn(take_it, &own);
			weft_schedule();
		}
	}
	pid = fork();
	if (pid == 0) {
		waits[_i].give();
		EXPECT(weft_run() == 0);
		EXPECT(own.rc == 0);
		expect_all_free();
		_exit(0);
	}
	expect_success(pid);
	for (int k = 0; k < 3; k++)
		if (k == 0 || !waits[_i].hold)
			waits[_i].give();
	go_on(_i, &own);
	for (int k = 0; k < 2; k++)
		join_thread(threads[k]);
	ck_assert_int_eq(others[0].rc, 0);
	ck_assert_int_eq(others[1].rc, 0);
}
END_TEST

static void *write_in_other_thread(void *arg)
{
	struct taker t = { .take = write_l, .give = release_l };

	(void)arg;
	weft_spawn(take_it, &t);
	other_id = weft_thread_id();
	weft_run();
	return NULL;
}

/* A writer that is not there is in nobody's way. */
START_TEST(fork_lets_readers_in)
{
	struct taker reader = { .take = read_l, .give = release_l, .rc = 1 };
	pthread_t thread;
	pid_t pid;

	if (UNDER_TSAN)
		return;
	ck_assert_int_eq(weft_rwlock_rdlock(&l), 0);
	thread = start_thread(write_in_other_thread, NULL);
	while (!other_id)
		usleep(100);
	until_parked(other_id);
	weft_spawn(take_it, &reader);
	weft_schedule();
	ck_assert(!reader.is_back);
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_run() == 0);
		EXPECT(reader.is_back && reader.rc == 0);
		EXPECT(weft_rwlock_unlock(&l) == 0);
		EXPECT(weft_rwlock_trywrlock(&l) == 0);
		_exit(0);
	}
	expect_success(pid);
	ck_assert_int_eq(weft_rwlock_unlock(&l), 0);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(thread);
	expect_all_free();
}
END_TEST

/* So many that nobody could look at each of them for each of the others. */
enum { N_OWN = 300000, N_OTHERS = N_OWN };

static bool never_called_off(struct scheduler *s, struct waiter *w)
{
	(void)s;
	(void)w;
	return false;
}

static void queue_up(struct held h, struct queued *q, size_t n,
		     struct scheduler *owner)
{
	static const struct sync_kind kind = { .wait.cancel =
						       never_called_off };

	for (size_t i = 0; i < n; i++) {
		q[i].waiter.owner = owner;
		q[i].waiter.kind = &kind.wait;
		q[i].object = &sem.weft__sync;
		weft__sync_link(h, &q[i]);
	}
}

static size_t n_queued(void)
{
	size_t n = 0;

	for (struct waiter *w = sem.weft__sync.oldest; w; w = w->next)
		n++;
	return n;
}

/* A child takes the waiters of other threads out in one walk. */
START_TEST(fork_looks_at_each_once)
{
	static struct scheduler self, other;
	struct queued *own = calloc(N_OWN, sizeof *own);
	struct queued *others = calloc(N_OTHERS, sizeof *others);
	struct held h = weft__sync_guard(&sem.weft__sync);

	ck_assert(own && others);
	queue_up(h, own, N_OWN / 2, &self);
	queue_up(h, others, N_OTHERS, &other);
	queue_up(h, own + N_OWN / 2, N_OWN / 2, &self);
	weft__sync_unguard(h);
	weft__part(PART_SYNC)->renew(&self);
	ck_assert_uint_eq(n_queued(), N_OWN);
	weft__part(PART_SYNC)->renew(&other);
	ck_assert_uint_eq(n_queued(), 0);
	free(own);
	free(others);
}
END_TEST

/* --- the end of a thread --- */

static weft_mutex left_mutex = WEFT_MUTEX_INIT;
static weft_condition left_condition = WEFT_CONDITION_INIT;
static _Atomic(int) n_left;
static _Atomic(uint64_t) left_thread;

static int wait_deaf(void *arg)
{
	(void)arg;
	weft_mutex_lock(&left_mutex);
	n_left++;
	weft_condition_wait(&left_condition, &left_mutex);
	weft_mutex_unlock(&left_mutex);
	return 0;
}

static void *leave_them(void *arg)
{
	int n = many_tasklets(20000);

	for (int i = 0; i < n; i++)
		weft_spawn(wait_deaf, NULL);
	while (n_left < n)
		weft_schedule();
	left_thread = weft_thread_id();
	weft_channel_receive(arg, NULL);
	return NULL;
}

/* Tasklets that wait too long for a mutex are given up with their thread. One that is
 * handed the mutex just then hands it on. (The moment is not always met.) */
START_TEST(given_up_waiter_hands_it_on)
{
	weft_channel *ch = weft_channel_new(0, 0);
	pthread_t thread = start_thread(leave_them, ch);
	struct weft_stats stats;

	while (!left_thread)
		sched_yield();
	ck_assert_int_eq(weft_mutex_lock(&left_mutex), 0);
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	while (weft_stats(left_thread, &stats) == 0 && !stats.abandoned)
		;
	ck_assert_int_eq(weft_mutex_unlock(&left_mutex), 0);
	join_thread(thread);
	ck_assert_int_eq(weft_mutex_trylock(&left_mutex), 0);
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sync");
	size_t n = N_ELEMENTS(waits);

	add_case(s, "objects", zero_is_a_valid_object, most_units,
		 threads_that_are_not_attached, last_one_frees_the_mutex);
	add_loop(s, "waiting", one_waits_and_gets_it, n);
	add_loop(s, "kill and deadline", one_waits_too_long, n);
	add_loop(s, "queued ones out of time", one_of_several_waits_too_long,
		 n);
	add_case(s, "out of time", time_is_up_already, own_lock_in_a_scope);
	add_loop(s, "shield", shielded_one_waits_on, n);
	add_loop(s, "other loops", other_loops_are_told, n);
	add_loop(s, "end of a thread", thread_ends_while_its_tasklets_wait, n);
	add_loop(s, "paused with the mutex", paused_with_the_mutex,
		 N_ELEMENTS(interruptions));
	add_case(s, "paused at the end of a thread",
		 thread_ends_while_one_is_paused_with_the_mutex);
	add_case(s, "owners that have ended", what_the_dead_held_is_nobodys);
	add_loop(s, "deadlock", deadlock_is_told, n);
	add_case(s, "deadlock of a condition",
		 deadlock_while_taking_the_mutex_again);
	add_loop(s, "fork", fork_forgets_those_of_other_threads, n);
	add_case(s, "fork and readers", fork_lets_readers_in);
	add_case(s, "fork and crowds", fork_looks_at_each_once);
	add_loop(s, "end of a thread", given_up_waiter_hands_it_on, 3);
	return run_suite(s);
}
