/* SPDX-License-Identifier: MIT */
/*
 * What grew with a number once, and is to be flat, or linear: what is done beside many
 * others, or after many others. Each does a fixed number of operations, with --size
 * others, from cold; what is left at the end goes with the process.
 */
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "work.h"

static void *room_for(size_t n, size_t size)
{
	void *p = calloc(n, size);

	if (!p)
		run_fail(-ENOMEM, "handles");
	return p;
}

/* --- spawn/elsewhere: tasklets for another thread, some at a time --- */

enum { AT_A_TIME = 500 };

struct elsewhere {
	weft_channel *end;
	_Atomic(uint64_t) thread; /* of the other; 0: not yet there */
};

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void create_elsewhere(struct elsewhere *e, uint64_t n)
{
	struct weft_tasklet_options options = { .thread = e->thread };

	for (uint64_t i = 0; i < n; i++) {
		weft_tasklet t = weft_spawn_with(&options, nothing, NULL);

		if (weft_tasklet_is_null(t))
			run_fail(-errno, "weft_spawn_with");
		/* The last may have ended by now. */
		if ((i + 1) % AT_A_TIME == 0 || i + 1 == n)
			(void)weft_tasklet_join(t);
	}
}

static void spawn_side(struct run *r, int which, void *shared)
{
	struct elsewhere *e = shared;
	struct memory before;

	if (which == 1) {
		e->thread = weft_thread_id();
		run_begin(r);
		(void)work_receive(e->end);
		run_end(r);
		return;
	}
	while (!e->thread)
		weft_sleep(WEFT_MILLISECOND);
	create_elsewhere(e, 2 * AT_A_TIME);
	before = memory_in_use();
	run_begin(r);
	create_elsewhere(e, r->size);
	run_end(r);
	run_detail(r, "resident_bytes",
		   (memory_in_use().resident - before.resident) /
			   (double)r->size);
	work_send(e->end, 0);
}

void run_spawn_elsewhere(struct run *r)
{
	struct elsewhere e = { .end = work_channel() };

	pair_run(r, &e, spawn_side);
	weft_channel_unref(e.end);
	r->operations = r->size;
}

/* --- thread/life: after a thread that has had many tasklets --- */

enum { LIVES = 200 };

static int have_many(void *arg)
{
	for (uint64_t i = *(uint64_t *)arg; i; i--)
		work_spawn(nothing, NULL);
	return weft_run();
}

static void live(uint64_t n_tasklets)
{
	uint64_t id;

	must(weft_thread_start(&id, have_many, &n_tasklets),
	     "weft_thread_start");
	must(weft_thread_join(id), "weft_thread_join");
}

void run_thread_life(struct run *r)
{
	live(r->size);
	live(2);
	run_begin(r);
	for (int i = 0; i < LIVES; i++)
		live(2);
	run_end(r);
	r->operations = LIVES;
}

/* --- close/idle: beside connections on which nothing comes --- */

enum { CLOSES = 2000, DESCRIPTORS_BESIDE = 64 };

static void need_descriptors(uint64_t n)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		run_fail(-errno, "getrlimit");
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < n)
		run_unavailable("RLIMIT_NOFILE is too low");
}

static int read_one(void *arg)
{
	char byte;

	(void)weft_read((int)(intptr_t)arg, &byte, 1);
	return 0;
}

static void await_on_idle(void)
{
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM, 0, ends))
		run_fail(-errno, "socketpair");
	work_spawn(read_one, (void *)(intptr_t)ends[0]);
}

/* For what comes first it finds out, too, whether there is a ring. */
static void open_and_close(void)
{
	int fd = weft_openat(AT_FDCWD, "/dev/null", O_RDONLY);

	need_ring(fd, "weft_openat");
	must(weft_close(fd), "weft_close");
}

void run_close_idle(struct run *r)
{
	need_descriptors(2 * r->size + DESCRIPTORS_BESIDE);
	open_and_close();
	for (uint64_t i = r->size; i; i--)
		await_on_idle();
	weft_schedule(); /* each starts and waits */
	for (int i = 0; i < CLOSES / 10; i++)
		open_and_close();
	run_begin(r);
	for (int i = 0; i < CLOSES; i++)
		open_and_close();
	run_end(r);
	r->operations = CLOSES;
}

/* --- kill/readers: the oldest of those that wait in the kernel --- */

enum { KILLS = 1000 };

void run_kill_readers(struct run *r)
{
	weft_tasklet *readers = room_for(r->size, sizeof *readers);
	uint64_t n_kills = r->size < KILLS ? r->size : KILLS;
	int ends[2];

	need_memory((double)r->size * BYTES_EACH);
	if (pipe2(ends, O_CLOEXEC))
		run_fail(-errno, "pipe2");
	open_and_close();
	for (uint64_t i = 0; i < r->size; i++)
		readers[i] = work_spawn(read_one, (void *)(intptr_t)ends[0]);
	weft_schedule();
	must(weft_sleep(WEFT_MILLISECOND), "weft_sleep"); /* all handed in */
	run_begin(r);
	for (uint64_t i = 0; i < n_kills; i++) {
		must(weft_tasklet_kill(readers[i], WEFT_PENDING),
		     "weft_tasklet_kill");
		(void)weft_tasklet_join(readers[i]);
	}
	run_end(r);
	free(readers);
	r->operations = n_kills;
}

/* --- fork/waiters: two threads' on one semaphore --- */

struct crowd {
	weft_semaphore semaphore;
	uint64_t n;
	_Atomic(bool) waits;
};

static int wait_for_one(void *semaphore)
{
	return weft_semaphore_wait(semaphore);
}

static void gather(struct crowd *c)
{
	for (uint64_t i = c->n; i; i--)
		work_spawn(wait_for_one, &c->semaphore);
	weft_schedule();
}

static int gather_elsewhere(void *arg)
{
	struct crowd *c = arg;

	gather(c);
	c->waits = true;
	return weft_semaphore_wait(&c->semaphore);
}

/* Until the child has put its copy in order and is gone. */
static void fork_and_wait(void)
{
	pid_t pid = fork();
	int status = 0;

	if (pid == 0)
		_exit(0);
	if (pid < 0 || waitpid(pid, &status, 0) != pid || status)
		run_fail(-EPROTO, "a child of fork");
}

void run_fork_waiters(struct run *r)
{
	static struct crowd c; /* the other thread stays */
	uint64_t id;

	need_memory(2.0 * (double)r->size * BYTES_EACH);
	c.n = r->size;
	must(weft_thread_start(&id, gather_elsewhere, &c), "weft_thread_start");
	while (!c.waits)
		weft_sleep(WEFT_MILLISECOND);
	gather(&c);
	run_begin(r);
	fork_and_wait();
	run_end(r);
	r->operations = 2 * r->size;
}

/* --- run/random: whichever of those that are runnable --- */

enum { RUNS = 2000 };

struct baton {
	struct run *run;
	weft_tasklet *tasklets;
	uint64_t left;
	uint64_t random;
};

static int pass_baton(void *arg)
{
	struct baton *b = arg;

	weft_schedule(); /* all have started */
	if (b->left == RUNS)
		run_begin(b->run);
	while (b->left) {
		if (--b->left == 0)
			run_end(b->run);
		else
			must(weft_tasklet_run(
				     b->tasklets[work_draw(&b->random) %
						 b->run->size]),
			     "weft_tasklet_run");
	}
	return 0;
}

void run_run_random(struct run *r)
{
	struct baton b = { .run = r,
			   .tasklets = room_for(r->size, sizeof *b.tasklets),
			   .left = RUNS,
			   .random = 88172645463325252 };

	need_memory((double)r->size * BYTES_EACH);
	for (uint64_t i = 0; i < r->size; i++)
		b.tasklets[i] = work_spawn(pass_baton, &b);
	must(weft_run(), "weft_run");
	free(b.tasklets);
	r->operations = RUNS;
}
