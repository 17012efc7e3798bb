/* SPDX-License-Identifier: MIT */
/*
 * Deadlock: a thread is about to park, and nothing can ever wake it or any other
 * thread.
 *
 * One word counts the threads that are awake (low half) and the threads that are
 * parked but hopeful (high half): these have a timer or an operation of their own
 * that will wake a tasklet. While the word is not 0, somebody can act.
 *
 *	attach          awake + 1, before it is in the registry
 *	park            after P1 (park.c): awake - 1, hopeful + 1 if it is
 *	ring            on finding PARKED: awake + 1, before H2; taken back if H2
 *	                did not replace PARKED; if that made it 0, awake + 1, and
 *	                PARKED -> EMPTY, ring; or it is not PARKED: again
 *	wake            awake + 1 before the exchange P3; taken back if P3 did
 *	                not find PARKED, for then the ringer has counted
 *	wake, hopeful   after that: hopeful - 1
 *	detach          after the inbox is closed: awake - 1; if that made it 0,
 *	                awake + 1, ring one that is attached, and again
 *
 * [deadlock.1] The word is 0 only if no thread can act. Every thread counts 1 from
 * its attaching on. It gives that up only after its own inbox word says PARKED; and
 * it is counted again before anybody, itself or a ringer, takes PARKED out of its
 * inbox word. So when the word of counts is 0, every inbox word is PARKED, or is
 * just being found so by somebody who has nothing to bring. (Counting after the
 * inbox word has changed is not enough: the thread could run and park again in
 * between, and give up a count that it does not have yet.)
 *
 * Only the thread whose own step makes the word 0 looks further, so there is at
 * most one. In a system that stops, the last step of the last thread makes it 0, so
 * there is one. Two others can make it 0 and not look, because they do not park.
 * One is a thread that detaches. The other is a ringer that does not count for
 * itself, such as a helper of weft_offload() or a signal handler. It finds that the
 * other thread has woken by itself, and that thread may be parked again when the
 * ringer takes the count back. (A ringer that counts for itself always leaves 1.)
 * The detaching thread rings any thread that is attached; the ringer rings the
 * thread that it counted for. Both are counted while they do so: the other thread's
 * step, or their own next one, makes the word 0. (tests/model/deadlock.pml)
 *
 * Threads that are not attached can attach, and act. They are the threads in
 * /proc/self/task, without those in the registry, those that have detached and are
 * not gone yet, and the kernel's workers. A detached thread is known by its number,
 * and by having been started before it detached: a later thread with that number is
 * another one. [deadlock.2] If the number of threads ever attached has changed
 * since before the count, there is no verdict: such a thread may have started
 * others that the list did not have. It looks for itself when it parks, and the
 * caller looks once more after a pause.
 *
 * Helpers (engine/pool.c) are not strangers, though they are not in the registry
 * while they are not attached. All that a helper can do is to wake the caller of
 * its function, or to do what that function does. While the function is out, the
 * caller's thread is awake, or counts as hopeful, as a thread with an operation of
 * its own does. It does so until it has been woken, and by its wake it is counted
 * before anybody finds it up. So a word of 0 says that no function is out, and that
 * helpers are idle. [deadlock.3] A helper that is being started cannot be told from
 * a stranger before it has said which thread it is. From before it is created until
 * then it counts as awake, and it gives that up as a thread that detaches does: for
 * the count it is a thread that attaches and detaches again. When it ends, it moves
 * to the list of leaving threads, in one step under the registry's mutex.
 * (tests/model/deadlock.pml has all these steps: hopeful threads that wake, threads
 * that attach and detach.)
 */
#include "core/deadlock.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/environment.h"
#include "core/helper.h"
#include "core/scheduler.h"
#include "core/thread.h"

/* --- the count --- */

/* seq_cst throughout: these steps are rare, and their order with P1, H2 and P3
 * is the argument. */
static _Atomic(uint64_t) actors __attribute__((aligned(128)));

static const uint64_t AWAKE = 1;
static const uint64_t HOPEFUL = UINT64_C(1) << 32;

void weft__count_awake(int by)
{
	atomic_fetch_add(&actors, (uint64_t)(int64_t)by * AWAKE);
}

void weft__count_hopeful(int by)
{
	atomic_fetch_add(&actors, (uint64_t)(int64_t)by * HOPEFUL);
}

bool weft__count_parked(bool is_hopeful)
{
	uint64_t by = (is_hopeful ? HOPEFUL : 0) - AWAKE;

	return atomic_fetch_add(&actors, by) + by == 0;
}

bool weft__count_out(void)
{
	return atomic_fetch_sub(&actors, AWAKE) == AWAKE;
}

bool weft__several_are_awake(void)
{
	return (uint32_t)peek(actors) > 1;
}

/* --- threads that are not attached --- */

/* Threads that have detached and are perhaps not gone yet. Under the registry's
 * mutex. */
static struct {
	struct leaving {
		pid_t tid;
		int64_t since; /* in ticks after the machine's start */
	} * list;
	size_t n, capacity;
} leaving;

static int64_t now_in_ticks(void)
{
	struct timespec ts;

	(void)clock_gettime(CLOCK_BOOTTIME, &ts);
	return ts.tv_sec * sysconf(_SC_CLK_TCK) +
	       ts.tv_nsec / (1000000000 / sysconf(_SC_CLK_TCK));
}

/* Forgets the threads that are gone. */
static void prune_leaving(void)
{
	size_t n = 0;

	for (size_t i = 0; i < leaving.n; i++)
		if (syscall(SYS_tgkill, getpid(), leaving.list[i].tid, 0) == 0)
			leaving.list[n++] = leaving.list[i];
	leaving.n = n;
}

void weft__deadlock_note_leaving(pid_t tid)
{
	if (leaving.n == leaving.capacity)
		prune_leaving();
	if (leaving.n == leaving.capacity) {
		size_t capacity = leaving.capacity ? leaving.capacity * 2 : 64;
		struct leaving *list =
			realloc(leaving.list, capacity * sizeof *list);

		/* Without a note the thread counts until it is gone, and the
		 * verdict comes a little later. */
		if (!list)
			return;
		leaving.list = list;
		leaving.capacity = capacity;
	}
	leaving.list[leaving.n++] = (struct leaving){
		.tid = tid,
		.since = now_in_ticks(),
	};
}

void weft__deadlock_renew(bool is_attached)
{
	poke(actors, is_attached ? AWAKE : 0);
	leaving.n = 0;
}

#ifdef WEFT__TSAN
/* ThreadSanitizer has a thread of its own. It blocks all signals that can be
 * blocked; in newer versions all but SIGSYS. A user's thread that does the same is
 * taken for it. */
static bool is_sanitizers(pid_t tid)
{
	static const unsigned long long all = 0xfffffffe7ffbfeff;
	char path[64], line[256];
	unsigned long long blocked = 0;
	FILE *file;

	snprintf(path, sizeof path, "/proc/self/task/%d/status", (int)tid);
	file = fopen(path, "re");
	while (file && fgets(line, sizeof line, file))
		sscanf(line, "SigBlk: %llx", &blocked);
	if (file)
		fclose(file);
	return (blocked | 1ULL << (SIGSYS - 1)) == all;
}
#else
static bool is_sanitizers(pid_t tid)
{
	(void)tid;
	return false;
}
#endif

/* What /proc/self/task/TID/stat says, or /proc/self/stat. */
struct task_stat {
	char state;
	unsigned flags;
	int n_threads; /* of the process, with those just ending */
	int64_t start; /* in ticks after the machine's start */
};

/* Returns false with errno: ENOENT or ESRCH if the task is gone, anything else if
 * it cannot be known. */
static bool read_stat(const char *path, struct task_stat *out)
{
	char text[1024];
	char *field;
	unsigned long long start;
	ssize_t n;
	int fd, err;

	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	n = read(fd, text, sizeof text - 1);
	err = n < 0 ? errno : EIO;
	close(fd);
	errno = err;
	if (n <= 0)
		return false;
	text[n] = '\0';
	/* The name may contain anything, but it ends at the last bracket. */
	field = strrchr(text, ')');
	/* From the third field on: state ppid pgrp session tty tpgid flags. The
	 * number of threads is the 20th field and the start is the 22nd. */
	if (!field ||
	    sscanf(field + 1,
		   " %c %*d %*d %*d %*d %*d %u %*u %*u %*u %*u %*u "
		   "%*u %*d %*d %*d %*d %d %*d %llu",
		   &out->state, &out->flags, &out->n_threads, &start) != 4) {
		errno = EIO;
		return false;
	}
	out->start = (int64_t)start;
	return true;
}

/* The flag of the kernel's workers, from the kernel's sched.h. */
enum { PF_IO_WORKER = 0x10 };

/* How often a list that is cut short is read again. */
enum { LIST_TRIES = 10 };

static bool is_leaving(pid_t tid, int64_t start)
{
	for (size_t i = leaving.n; i-- > 0;)
		if (leaving.list[i].tid == tid && start < leaving.list[i].since)
			return true;
	return false;
}

static void match_tid(struct scheduler *s, void *tid)
{
	pid_t *wanted = tid;

	if (s->tid == *wanted)
		*wanted = 0;
}

/* Under the registry's mutex. A task that is gone when it is looked at is no
 * thread. Nor is a zombie: the first thread of a process stays one until all others
 * have ended. A task that cannot be looked at, for want of a descriptor or of
 * memory, may be a stranger. */
static bool is_stranger(pid_t tid)
{
	pid_t unmatched = tid;
	struct task_stat stat;
	char path[64];

	weft__thread_each(match_tid, &unmatched);
	snprintf(path, sizeof path, "/proc/self/task/%d/stat", (int)tid);
	if (!unmatched || weft__is_helper(tid))
		return false;
	if (!read_stat(path, &stat))
		return errno != ENOENT && errno != ESRCH;
	return stat.state != 'Z' && stat.state != 'X' &&
	       !(stat.flags & PF_IO_WORKER) && !is_leaving(tid, stat.start) &&
	       !is_sanitizers(tid);
}

/* Whether a stranger is in the list of threads, and how long the list is. */
static bool list_has_strangers(int *n_listed)
{
	DIR *tasks = opendir("/proc/self/task");
	struct dirent *entry;
	bool found = false;

	if (!tasks)
		return true;
	while (!found && (entry = readdir(tasks))) {
		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		++*n_listed;
		found = is_stranger((pid_t)atoi(entry->d_name));
	}
	closedir(tasks);
	return found;
}

/* Whether there is an OS thread that is not attached. If that cannot be found out,
 * there may be one. Under the registry's mutex.
 *
 * The kernel ends the list early if the thread that it has reached is gone before
 * it goes on: the threads behind that one are left out. So the list must be as long
 * as the number of threads that the process had before. Suppose that a thread which
 * was there then is left out, and the list is that long all the same. Then the list
 * has a thread that came later. The attached threads are all asleep, so a stranger
 * created that thread, and it is a stranger itself. */
static bool has_strangers(void)
{
	if (__libc_single_threaded)
		return false;
	for (int i = 0; i < LIST_TRIES; i++) {
		struct task_stat process;
		int n_listed = 0;

		if (!read_stat("/proc/self/stat", &process) ||
		    list_has_strangers(&n_listed))
			return true;
		if (n_listed >= process.n_threads)
			return false;
		sched_yield();
	}
	return true;
}

/* --- the report --- */

static bool report;

void weft__deadlock_read_environment(void)
{
	static const char *const names[] = { "quiet", "report" };

	report = weft__environment_choice("WEFT_DEADLOCK", names, 2, 0) == 1;
}

static void report_tasklet(struct weft_task *t, void *thread)
{
	struct scheduler *s = thread;
	char name[NAME_SIZE] = "";
	char what[160] = "is paused";
	const char *kind =
		weft__task_is_main(t) ? "the main tasklet" : "tasklet";

	(void)weft_tasklet_name(weft__handle(t), name, sizeof name);
	if (peek(t->state) == WEFT_BLOCKED)
		t->waiter->kind->describe(t->waiter, what, sizeof what);
	else if (t->flags & TASK_INSIDE_RUN)
		snprintf(what, sizeof what, "is inside weft_run()");
	else if (peek(t->state) == WEFT_DEAD)
		return;
	weft__warn("  thread %" PRIu64 ": %s %" PRIu64 "%s%s %s",
		   peek(s->thread_id), kind, weft__task_id(t),
		   name[0] ? " " : "", name, what);
}

static void report_thread(struct scheduler *s, void *arg)
{
	(void)arg;
	weft__task_each(s, report_tasklet, s);
}

static void write_report(struct scheduler *s)
{
	weft__warn("deadlock: no thread can ever be woken; thread %" PRIu64
		   " is told so. Who waits for what:",
		   peek(s->thread_id));
	weft__thread_each(report_thread, NULL);
}

/* --- the verdict --- */

/* relaxed, no pair: it is set before the threads that it is for are parked. */
static _Atomic(unsigned) policy;

WEFT_API int weft_set_deadlock_policy(unsigned wanted)
{
	if (wanted & ~(WEFT_DEADLOCK_ATTACHED | WEFT_DEADLOCK_LAST))
		return -EINVAL;
	return (int)atomic_exchange_explicit(&policy, wanted,
					     memory_order_relaxed);
}

bool weft__deadlock_tells_last(void)
{
	return peek(policy) & WEFT_DEADLOCK_LAST;
}

bool weft__deadlock_confirm(struct scheduler *s, uint64_t n_attached)
{
	uint64_t nobody = 0;
	bool is_confirmed;

	/* From here on the caller is awake, or the verdict is not its own. Nobody
	 * else can be told of a deadlock, and start threads, while it looks for
	 * strangers. */
	if (!atomic_compare_exchange_strong(&actors, &nobody, AWAKE))
		return false;
	weft__thread_lock_registry();
	is_confirmed =
		(peek(policy) & WEFT_DEADLOCK_ATTACHED || !has_strangers()) &&
		weft__thread_n_ever() == n_attached;
	if (is_confirmed && report)
		write_report(s);
	weft__thread_unlock_registry();
	if (!is_confirmed)
		weft__count_awake(-1);
	return is_confirmed;
}
