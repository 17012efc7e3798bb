/* SPDX-License-Identifier: MIT */
/*
 * Threads that come and go, functions on helpers, and processes: children of
 * fork() that look at themselves, and this program, executed anew, that looks at
 * which descriptors it was given.
 */
#include <dirent.h>
#include <fenv.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "all.h"

extern char **environ;

enum { ALARM_SECONDS = 20 }; /* for a child that hangs */

/* --- guests: threads that end before the round does --- */

static int guest_of_weft(void *arg)
{
	struct life *me = arg;
	struct actor a = {
		.life = me,
		.thread = me->thread,
		.random = random_stream(now.seed, 5000 + me->number),
	};

	self = me->thread;
	self->will_leave = true;
	self->is_leaving = true;  /* weft_stop() ends it, at any time */
	fesetround(FE_TONEAREST); /* a new thread has its starter's */
	begin_life(me);
	me->handle = weft_current();
	atomic_store_explicit(&me->is_spawned, true, memory_order_release);
	self->id = weft_thread_id();
	if (random_one_in(&a.random, 2))
		publish(&a.random, me->handle, me->number);
	for (unsigned i = random_below(&a.random, 20); i > 0 && !is_child; i--)
		if (act(&a) == -ECANCELED)
			break;
	/* Else others have to end what is left here, before the thread ends. */
	if (random_one_in(&a.random, 2)) {
		while (!is_child &&
		       (kill_all(&a, self) || has_innocents(self))) {
			LOGGED(&a, 0, weft_pump());
			sched_yield();
		}
	}
	return end_life(me);
}

static int leave(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		(void)weft_schedule();
	if (is_child)
		return 0;
	atomic_fetch_add_explicit(&watched->n_exits, 1, memory_order_relaxed);
	now.was_left = true;
	pthread_exit(NULL);
}

static void *guest_of_posix(void *arg)
{
	struct actor a = { .thread = arg, .is_main = true };

	self = arg;
	self->will_leave = true;
	fesetround(FE_TONEAREST);
	a.random = random_stream(now.seed, 6000 + self->index);
	self->id = weft_thread_id();
	for (unsigned i = random_below(&a.random, 20); i > 0 && !is_child; i--)
		act_within(&a, 200 * WEFT_MICROSECOND);
	while (is_child)
		(void)weft_sleep_until(WEFT_FOREVER);
	self->is_leaving = true;
	if (now.has_exits && random_one_in(&a.random, 2)) {
		self->may_exit = true;
		weft_spawn(leave, NULL);
		while (true)
			LOGGED(&a, 0, weft_run());
	}
	return NULL;
}

static void start_weft_thread(struct actor *a, struct thread *t)
{
	struct life *l = new_life(a, VICTIM, t, NULL);
	uint64_t id;

	if (!l)
		return;
	l->own_fpu = false;
	t->is_weft_thread = true;
	if (PLAIN(a, l->number, weft_thread_start(&id, guest_of_weft, l), 0) ==
	    0)
		t->is_started = true;
}

int act_guest(struct actor *a)
{
	struct thread *t;

	if (a->thread->in_callback || !begin_spawn())
		return 0;
	t = new_thread();
	if (!t)
		goto end;
	if (random_one_in(&a->random, 2)) {
		start_weft_thread(a, t);
	} else if (pthread_create(&t->pthread, NULL, guest_of_posix, t)) {
		wrong("pthread_create failed");
	} else {
		t->is_started = true;
	}
end:
	end_spawn();
	return 0;
}

static void judge_thread(const struct actor *a, int64_t rc)
{
	if (rc > -RESULT_BASE)
		judge(a, "weft_thread_join", rc, true,
		      (const int[]){ -ESRCH, -EINVAL, -EDEADLK, -ECANCELED,
				     0 });
}

int act_join_thread(struct actor *a)
{
	struct thread *t = some_thread(&a->random);
	int64_t rc;

	if (!t->id)
		return 0;
	rc = LOGGED(a, t->index, weft_thread_join(t->id));
	judge_thread(a, rc);
	return (int)rc;
}

void join_guests(struct actor *a)
{
	for (unsigned i = now.n_workers; i < now.n_threads; i++) {
		struct thread *t = &now.threads[i];

		if (!t->is_started)
			continue;
		if (!t->is_weft_thread)
			pthread_join(t->pthread, NULL);
		else if (t->id)
			judge_thread(a, weft_thread_join(t->id));
	}
}

/* --- helpers --- */

static int nothing(void *arg)
{
	++*(int *)arg;
	return 0;
}

static int help(void *arg)
{
	unsigned kind = *(unsigned *)arg;
	int n = 0;

	if (kind == 0) {
		usleep(100);
	} else if (kind == 1) {
		weft_spawn(nothing, &n);
		weft_run();
		if (n != 1)
			wrong("a helper's tasklet did not run");
	}
	return (int)kind + 1;
}

int act_offload(struct actor *a)
{
	unsigned kind = random_below(&a->random, 6);
	int64_t due = set_due(a, 0); /* a function that runs is waited for */
	int64_t rc = BLOCKING(a, kind, weft_offload(help, &kind), 0);

	set_due(a, due);
	if (rc >= 0 && rc != kind + 1 && !is_child)
		wrong("offloading gave %" PRId64, rc);
	return rc < 0 ? (int)rc : 0;
}

/* --- fork --- */

#define CHILD_EXPECTS(condition)                      \
	do {                                          \
		if (!(condition))                     \
			wrong("not so: " #condition); \
	} while (0)

struct errand {
	weft_channel *channel;
	int pair[2];
	int sum;
};

static int run_errand(void *arg)
{
	struct errand *e = arg;
	int n = 0;

	if (weft_channel_receive(e->channel, &n) == 0)
		e->sum += n;
	if (weft_write(e->pair[1], &n, sizeof n) == sizeof n)
		e->sum += n;
	return 0;
}

/* Shielded, for the one who forks may have been killed. */
static void work_in_child(void)
{
	struct errand e = { .channel = weft_channel_new(sizeof(int), 0) };
	int seven = 7, got = 0;

	CHILD_EXPECTS(weft_threads(NULL, 0) == 1);
	CHILD_EXPECTS(weft_thread_id() == self->id);
	CHILD_EXPECTS(!socketpair(AF_UNIX, SOCK_STREAM, 0, e.pair));
	CHILD_EXPECTS(weft_spawn(run_errand, &e).id);
	CHILD_EXPECTS(weft_channel_send(e.channel, &seven) == 0);
	CHILD_EXPECTS(weft_read(e.pair[0], &got, sizeof got) == sizeof got);
	CHILD_EXPECTS(got == 7);
	CHILD_EXPECTS(weft_sleep(1000) == 0);
	CHILD_EXPECTS(e.sum == 14);
	CHILD_EXPECTS(weft_offload(nothing, &e.sum) == 0);
	CHILD_EXPECTS(e.sum == 15);
}

static void see_others_in_child(void)
{
	for (unsigned i = 0; i < now.n_lives && i < MOST_LIVES; i++) {
		const struct life *l = &now.lives[i];

		if (l->is_spawned && l->thread != self)
			CHILD_EXPECTS(!weft_tasklet_alive(l->handle));
	}
}

static void on_alarm(int number)
{
	(void)number;
	wrong("it hangs");
}

static _Noreturn void be_child(void)
{
	is_child = true;
	signal(SIGALRM, on_alarm);
	alarm(ALARM_SECONDS);
	weft_set_schedule_callback(NULL, NULL);
	weft_set_channel_callback(NULL, NULL);
	weft_set_park_callback(NULL, NULL);
	weft_shield_begin();
	see_others_in_child();
	/* Else the thread may end any time, and call off what it waits for. */
	if (!self->is_leaving)
		work_in_child();
	_exit(EXIT_SUCCESS);
}

static void expect_success(pid_t pid, const char *what)
{
	int status;

	while (waitpid(pid, &status, 0) != pid)
		if (errno != EINTR)
			wrong("waitpid: %s", strerror(errno));
	if (WIFSIGNALED(status))
		wrong("%s was ended by signal %d", what, WTERMSIG(status));
	if (WEXITSTATUS(status))
		wrong("%s ended with status %d", what, WEXITSTATUS(status));
}

int act_fork(struct actor *a)
{
	pid_t pid;

	/* ThreadSanitizer has no room for a child of several threads, and
	 * AddressSanitizer's allocator may stay locked there. */
	if (UNDER_TSAN || UNDER_ASAN || !can_fork_with_threads() ||
	    !is_free(a) || a->n_scopes)
		return 0;
	pid = fork();
	if (pid == 0)
		be_child();
	if (pid < 0)
		wrong("fork: %s", strerror(errno));
	LOGGED(a, pid, (expect_success(pid, "a child"), 0));
	return 0;
}

/* --- exec --- */

int be_executed(const char *n_descriptors)
{
	unsigned n = n_inherited();
	int n_run = 0;

	if (n > (unsigned)atoi(n_descriptors)) {
		fprintf(stderr, "%u descriptors were inherited, not %s\n", n,
			n_descriptors);
		return EXIT_FAILURE;
	}
	weft_spawn(nothing, &n_run);
	return weft_run() || n_run != 1 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int act_exec(struct actor *a)
{
	char number[16], path[] = "/proc/self/exe", option[] = "--executed";
	char *arguments[] = { path, option, number, NULL };
	pid_t pid;

	/* An emulator makes a fork of it. */
	if (a->thread->in_callback || !can_fork_with_threads())
		return 0;
	snprintf(number, sizeof number, "%u", n_inherited());
	if (posix_spawn(&pid, path, NULL, NULL, arguments, environ))
		wrong("the program cannot be executed");
	LOGGED(a, pid, (expect_success(pid, "an executed program"), 0));
	return 0;
}
