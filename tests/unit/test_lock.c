/* SPDX-License-Identifier: MIT */
/*
 * Waiting for another thread that is about to be done: whoever waits sleeps in the
 * end, so that the other one gets the CPU even if its priority is lower.
 *
 * With priorities that is not to be seen: the kernel lets lower ones have a
 * twentieth of the time. So the tests look whether the thread sleeps.
 */
#include <check.h>
#include <stdatomic.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft.h>

#include "base/lock.h"
#include "core/park.h"
#include "core/scheduler.h"
#include "support.h"

static struct lock lock;
static weft_tasklet joined;
static struct scheduler closed __attribute__((aligned(128)));
static _Atomic(int) waiter_tid;
static _Atomic(bool) is_done;

static void wait_for_lock(void)
{
	bool taken = weft__lock(&lock);

	weft__unlock(&lock, taken);
}

static void hold_lock(void)
{
	lock_contended(&lock);
}

static void release_lock(void)
{
	weft__unlock(&lock, true);
}

/* The lock in the word of a tasklet. */
static void wait_for_word(void)
{
	if (weft__task_lock(joined.task, joined.id))
		weft__task_unlock(joined.task, 0, 0);
}

static void hold_word(void)
{
	joined = weft_main();
	ck_assert(weft__task_lock(joined.task, joined.id));
}

static void release_word(void)
{
	weft__task_unlock(joined.task, 0, 0);
}

/* Who rings the doorbell of a thread that ends. */
static void wait_for_ringer(void)
{
	weft__inbox_close(&closed);
}

static void hold_doorbell(void)
{
	closed.inbox.ringers = 1;
}

static void release_doorbell(void)
{
	closed.inbox.ringers = 0;
}

static const struct {
	void (*hold)(void);
	void (*wait)(void);
	void (*release)(void);
} waits[] = {
	{ hold_lock, wait_for_lock, release_lock },
	{ hold_word, wait_for_word, release_word },
	{ hold_doorbell, wait_for_ringer, release_doorbell },
};

static void *wait_in_thread(void *wait)
{
	waiter_tid = (int)syscall(SYS_gettid);
	(*(void (*const *)(void))wait)();
	is_done = true;
	return NULL;
}

static char state_of(int tid)
{
	char path[64];
	char state = '?';
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/stat", tid);
	file = fopen(path, "r");
	if (!file)
		return '?';
	if (fscanf(file, "%*d (%*[^)]) %c", &state) != 1)
		state = '?';
	fclose(file);
	return state;
}

START_TEST(waiter_sleeps_in_the_end)
{
	pthread_t thread;

	waits[_i].hold();
	thread = start_thread(wait_in_thread, (void *)&waits[_i].wait);
	while (!waiter_tid || state_of(waiter_tid) != 'S')
		usleep(100);
	ck_assert(!is_done);
	waits[_i].release();
	join_thread(thread);
	ck_assert(is_done);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("lock");

	add_loop(s, "waiters sleep", waiter_sleeps_in_the_end,
		 N_ELEMENTS(waits));
	return run_suite(s);
}
