/* SPDX-License-Identifier: MIT */
/*
 * weft_waitid(): the ends and stops of child processes. Each rule is tried with all
 * that the kernel's ring has, and as if it had nothing that is asked for.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "support.h"

enum { WAYS = 2 };

static bool hides_operations;

struct io_uring_probe *__real_io_uring_get_probe_ring(struct io_uring *ring);
struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring);

struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring)
{
	if (!hides_operations)
		return __real_io_uring_get_probe_ring(ring);
	return calloc(1, sizeof(struct io_uring_probe) +
				 sizeof(struct io_uring_probe_op));
}

/* A child that waits for a byte, or for the end of all who could write one. */
static int pipe_ends[2];

static void prepare(int way)
{
	hides_operations = way;
	ck_assert_int_eq(pipe(pipe_ends), 0);
}

static pid_t start_child(int status)
{
	pid_t pid = fork();
	char byte;

	if (pid == 0) {
		close(pipe_ends[1]);
		_exit(read(pipe_ends[0], &byte, 1) == 1 ? status : 99);
	}
	ck_assert_int_gt(pid, 0);
	return pid;
}

static void let_end(void)
{
	ck_assert_int_eq(write(pipe_ends[1], "x", 1), 1);
}

struct waiter {
	idtype_t type;
	id_t id;
	int options;
	siginfo_t info;
	int rc;
};

static int n_done;

static int wait_once(void *arg)
{
	struct waiter *w = arg;

	w->rc = weft_waitid(w->type, w->id, &w->info, w->options);
	n_done++;
	return w->rc;
}

static weft_tasklet start_waiter(struct waiter *w)
{
	weft_tasklet t = weft_spawn(wait_once, w);

	weft_pump();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	return t;
}

static int open_pidfd(pid_t pid)
{
	return (int)syscall(SYS_pidfd_open, pid, 0);
}

/* Names of one child, by each type of id. */
static struct waiter waiter_for(pid_t pid, int i)
{
	switch (i) {
	case 0:
		return (struct waiter){ .type = P_PID, .id = (id_t)pid };
	case 1:
		return (struct waiter){ .type = P_PGID };
	case 2:
		return (struct waiter){ .type = P_ALL };
	default:
		return (struct waiter){ .type = P_PIDFD,
					.id = (id_t)open_pidfd(pid) };
	}
}

/* --- events --- */

/* A child that ends is reaped and reported, whether it had ended before the call. */
START_TEST(end_of_a_child)
{
	struct waiter w;
	weft_tasklet t;
	pid_t pid;

	prepare(_i % WAYS);
	for (int late = 0; late < 2; late++) {
		pid = start_child(7);
		w = waiter_for(pid, _i / WAYS);
		w.options = WEXITED;
		if (late) {
			let_end();
			waitid(P_PID, (id_t)pid, &w.info, WEXITED | WNOWAIT);
			ck_assert_int_eq(wait_once(&w), 0);
		} else {
			t = start_waiter(&w);
			let_end();
			ck_assert_int_eq(weft_tasklet_join(t), 0);
		}
		ck_assert_int_eq(w.info.si_pid, pid);
		ck_assert_int_eq(w.info.si_signo, SIGCHLD);
		ck_assert_int_eq(w.info.si_code, CLD_EXITED);
		ck_assert_int_eq(w.info.si_status, 7);
		ck_assert_int_eq(waitpid(pid, NULL, WNOHANG), -1);
		ck_assert_int_eq(errno, ECHILD);
		if (w.type == P_PIDFD)
			weft_close((int)w.id);
	}
}
END_TEST

/* Stops and continuations are reported as they come, and a signal that ends it. */
START_TEST(stopped_and_continued)
{
	static const struct {
		int signal, options, code, status;
	} steps[] = {
		{ SIGSTOP, WSTOPPED | WEXITED, CLD_STOPPED, SIGSTOP },
		{ SIGCONT, WCONTINUED, CLD_CONTINUED, SIGCONT },
		{ SIGSTOP, WSTOPPED, CLD_STOPPED, SIGSTOP },
		{ SIGKILL, WSTOPPED | WCONTINUED | WEXITED, CLD_KILLED,
		  SIGKILL },
	};
	struct waiter w;
	pid_t pid;

	prepare(_i % WAYS);
	pid = start_child(0);
	w = waiter_for(pid, _i / WAYS);
	for (size_t i = 0; i < N_ELEMENTS(steps); i++) {
		weft_tasklet t;

		w.options = steps[i].options;
		t = start_waiter(&w);
		ck_assert_int_eq(kill(pid, steps[i].signal), 0);
		ck_assert_int_eq(weft_tasklet_join(t), 0);
		ck_assert_int_eq(w.info.si_pid, pid);
		ck_assert_int_eq(w.info.si_code, steps[i].code);
		ck_assert_int_eq(w.info.si_status, steps[i].status);
	}
	ck_assert_int_eq(wait_once(&w), _i / WAYS == 3 ? w.rc : -ECHILD);
}
END_TEST

/* WNOHANG does not wait, WNOWAIT leaves the child, and there need be no info. */
START_TEST(flags)
{
	struct waiter w;
	weft_tasklet t;
	pid_t pid;

	prepare(_i % WAYS);
	pid = start_child(3);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED | WNOHANG;
	w.info.si_pid = 5;
	ck_assert_int_eq(wait_once(&w), 0);
	ck_assert_int_eq(w.info.si_pid, 0);
	w.options = WEXITED | WNOWAIT;
	t = start_waiter(&w);
	let_end();
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(w.info.si_pid, pid);
	ck_assert_int_eq(wait_once(&w), 0);
	ck_assert_int_eq(weft_waitid(w.type, w.id, NULL, WEXITED), 0);
	ck_assert_int_eq(weft_waitid(P_PID, (id_t)pid, NULL, WEXITED), -ECHILD);
}
END_TEST

/* Tasklets that wait for any child get one each. */
START_TEST(any_child)
{
	enum { N = 12 };
	struct waiter waiters[N];
	weft_tasklet t[N];
	pid_t pids[N];
	int n_found = 0;

	prepare(_i % WAYS);
	for (int i = 0; i < N; i++)
		pids[i] = start_child(i);
	for (int i = 0; i < N; i++) {
		waiters[i] = waiter_for(0, _i / WAYS ? 2 : 1 + i % 2);
		waiters[i].options = i % 3 ? WEXITED : WEXITED | WSTOPPED;
		t[i] = start_waiter(&waiters[i]);
	}
	for (int i = 0; i < N; i++)
		let_end();
	for (int i = 0; i < N; i++)
		if (weft_tasklet_alive(t[i]))
			ck_assert_int_eq(weft_tasklet_join(t[i]), 0);
	for (int i = 0; i < N; i++)
		for (int k = 0; k < N; k++)
			n_found += waiters[i].info.si_pid == pids[k];
	ck_assert_int_eq(n_found, N);
	ck_assert_int_eq(weft_waitid(P_ALL, 0, NULL, WEXITED), -ECHILD);
}
END_TEST

/* --- errors --- */

START_TEST(no_such_child)
{
	struct waiter w;
	weft_tasklet t;
	pid_t pid;

	prepare(_i % WAYS);
	w = waiter_for(getpid(), _i / WAYS);
	w.options = WEXITED;
	ck_assert_int_eq(wait_once(&w), -ECHILD);
	/* Somebody else reaps it during the wait. */
	pid = start_child(0);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED;
	t = start_waiter(&w);
	let_end();
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	ck_assert_int_eq(weft_tasklet_join(t), -ECHILD);
}
END_TEST

/* Children of a process that ignores SIGCHLD are reaped by the kernel. */
START_TEST(ignored)
{
	struct waiter w;
	weft_tasklet t;

	prepare(_i % WAYS);
	signal(SIGCHLD, SIG_IGN);
	w = waiter_for(start_child(0), _i / WAYS);
	w.options = WEXITED;
	t = start_waiter(&w);
	let_end();
	ck_assert_int_eq(weft_tasklet_join(t), -ECHILD);
}
END_TEST

START_TEST(wrong_arguments)
{
	pid_t pid;

	prepare(_i);
	pid = start_child(0);
	ck_assert_int_eq(weft_waitid(P_ALL, 0, NULL, 0), -EINVAL);
	ck_assert_int_eq(weft_waitid(P_ALL, 0, NULL, WNOHANG), -EINVAL);
	ck_assert_int_eq(weft_waitid(P_ALL, 0, NULL, WEXITED | 0x100000),
			 -EINVAL);
	ck_assert_int_eq(weft_waitid(P_ALL, 0, NULL, WEXITED | __WNOTHREAD),
			 -EINVAL);
	ck_assert_int_eq(weft_waitid((idtype_t)77, 0, NULL, WEXITED), -EINVAL);
	ck_assert_int_eq(weft_waitid(P_PID, 0, NULL, WEXITED), -EINVAL);
	ck_assert_int_eq(weft_waitid(P_PIDFD, 987, NULL, WEXITED), -EBADF);
	ck_assert_int_eq(
		weft_waitid(P_PIDFD, (id_t)pipe_ends[0], NULL, WEXITED),
		-EBADF);
	let_end();
	ck_assert_int_eq(weft_waitid(P_PID, (id_t)pid, NULL, WEXITED), 0);
}
END_TEST

/* A pidfd that says not to wait is waited for all the same where that can be done. */
START_TEST(pidfd_that_does_not_wait)
{
	enum { NONBLOCK = O_NONBLOCK };
	struct waiter w = { .type = P_PIDFD, .options = WEXITED };
	weft_tasklet t;
	pid_t pid;
	int fd;

	prepare(_i);
	pid = start_child(0);
	fd = (int)syscall(SYS_pidfd_open, pid, NONBLOCK);
	if (fd < 0) {
		skip("no pidfd with PIDFD_NONBLOCK here");
		kill(pid, SIGKILL);
		return;
	}
	w.id = (id_t)fd;
	ck_assert_int_eq(weft_waitid(P_PIDFD, w.id, NULL, WEXITED | WSTOPPED),
			 -EAGAIN);
	t = start_waiter(&w);
	let_end();
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(w.info.si_pid, pid);
	close(fd);
}
END_TEST

/* Without a descriptor for the wait, the call fails or finds another way. */
START_TEST(no_descriptor)
{
	struct rlimit before, none = { 0 };
	struct waiter w;
	weft_tasklet t;
	int rc;

	prepare(_i % WAYS);
	w = waiter_for(start_child(9), _i / WAYS);
	w.options = WEXITED | (_i / WAYS == 3 ? WSTOPPED : 0);
	ck_assert_int_eq(weft_poll(NULL, 0, 1), 0);
	rc = weft_close(dup(0)); /* the ring is there */
	ck_assert_int_eq(rc, 0);
	ck_assert_int_eq(weft_await(&(struct io_uring_sqe){ 0 }), 0);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none.rlim_max = before.rlim_max;
	none.rlim_cur = 3;
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	t = weft_spawn(wait_once, &w);
	weft_pump();
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
	if (weft_tasklet_alive(t)) {
		let_end();
		ck_assert_int_eq(weft_tasklet_join(t), 0);
	} else {
		ck_assert_int_eq(w.rc, -EMFILE);
		let_end();
		ck_assert_int_eq(wait_once(&w), 0);
	}
	ck_assert_int_eq(w.info.si_status, 9);
}
END_TEST

/* With a trap what has happened is reported, and nothing is waited for. */
START_TEST(trapped)
{
	struct waiter w;
	pid_t pid;

	prepare(_i % WAYS);
	pid = start_child(1);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED;
	weft_set_block_trap(true);
	ck_assert_int_eq(wait_once(&w), -EAGAIN);
	weft_set_block_trap(false);
	weft_switch_trap(1);
	ck_assert_int_eq(wait_once(&w), -EPERM);
	let_end();
	waitid(P_PID, (id_t)pid, &w.info, WEXITED | WNOWAIT);
	ck_assert_int_eq(wait_once(&w), 0);
	ck_assert_int_eq(w.info.si_pid, pid);
}
END_TEST

/* --- interruptions --- */

/* A wait that is interrupted has reaped nothing, and can be begun again. */
START_TEST(interrupted)
{
	struct weft_deadline d;
	struct waiter w;
	weft_tasklet t;
	pid_t pid;

	prepare(_i % WAYS);
	pid = start_child(4);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED;
	for (int i = 0; i < 50; i++) {
		t = start_waiter(&w);
		ck_assert_int_eq(weft_tasklet_kill(t, i % 2 ? WEFT_PENDING : 0),
				 0);
		if (weft_tasklet_alive(t))
			weft_tasklet_join(t);
		ck_assert_int_eq(w.rc, -ECANCELED);
		t = start_waiter(&w);
		ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
		ck_assert_int_eq(weft_tasklet_join(t), -EXDEV);
		weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND / 4);
		ck_assert_int_eq(wait_once(&w), -ETIMEDOUT);
		weft_deadline_end(&d);
	}
	t = start_waiter(&w);
	let_end();
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(w.info.si_pid, pid);
	ck_assert_int_eq(w.info.si_status, 4);
}
END_TEST

/* The number of a pidfd can be another child's when an interrupted wait is begun
 * again. */
START_TEST(number_of_another_child)
{
	struct waiter w = { .type = P_PIDFD, .options = WSTOPPED };
	pid_t pids[2];
	weft_tasklet t;

	prepare(_i);
	for (int i = 0; i < 2; i++)
		pids[i] = start_child(0);
	w.id = (id_t)open_pidfd(pids[0]);
	t = start_waiter(&w);
	weft_sleep(20 * WEFT_MILLISECOND); /* a helper has begun */
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -EXDEV);
	ck_assert_int_eq(weft_close((int)w.id), 0);
	ck_assert_int_eq(open_pidfd(pids[1]), (int)w.id);
	t = start_waiter(&w);
	ck_assert_int_eq(kill(pids[1], SIGSTOP), 0);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(w.info.si_pid, pids[1]);
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(kill(pids[i], SIGKILL), 0);
}
END_TEST

/* In a child of fork() the wait is over. */
START_TEST(forked)
{
	struct waiter w;
	weft_tasklet t;
	int status;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	prepare(_i % WAYS);
	w = waiter_for(start_child(4), _i / WAYS);
	w.options = WEXITED;
	t = start_waiter(&w);
	pid = fork();
	if (!pid) {
		int rc = weft_tasklet_join(t);

		EXPECT(rc == -ECANCELED || rc == -ECHILD);
		/* ThreadSanitizer lets a child have no new threads, and in one of
		 * AddressSanitizer's (gcc 12) the allocator's lock stays as it was
		 * when a helper had it. */
		if (UNDER_TSAN || UNDER_ASAN)
			_exit(0);
		EXPECT(pipe(pipe_ends) == 0);
		pid = start_child(5);
		EXPECT(write(pipe_ends[1], "x", 1) == 1);
		w = waiter_for(pid, _i / WAYS);
		EXPECT(weft_waitid(w.type, w.id, &w.info, WEXITED) == 0);
		EXPECT(w.info.si_pid == pid);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	let_end();
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(w.info.si_status, 4);
}
END_TEST

static int wait_shielded(void *w)
{
	weft_shield_begin();
	while (wait_once(w) < 0)
		;
	return 0;
}

static void *wait_and_leave(void *w)
{
	weft_spawn(wait_shielded, w);
	weft_pump();
	return NULL;
}

static int count_descriptors_in_use(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

/* The thread ends: nothing is left behind but a watcher. */
START_TEST(end_of_a_thread)
{
	struct waiter w;
	int before;
	pid_t pid;

	prepare(_i % WAYS);
	pid = start_child(4);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED;
	before = count_descriptors_in_use();
	for (int i = 0; i < 3; i++)
		join_thread(start_thread(wait_and_leave, &w));
	ck_assert_int_le(count_descriptors_in_use(), before + 1);
	w = waiter_for(pid, _i / WAYS);
	w.options = WEXITED;
	let_end();
	ck_assert_int_eq(wait_once(&w), 0);
	ck_assert_int_eq(w.info.si_pid, pid);
}
END_TEST

/* --- any order of events --- */

enum { CHILDREN = 300, WAITERS = 5 };

static unsigned n_reaped;
static bool is_reaped[CHILDREN];
static pid_t children[CHILDREN];
static bool is_over;
static int failure;

static int reap(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	while (!is_over) {
		siginfo_t info;
		int rc = weft_waitid(rand_r(&seed) % 2 ? P_ALL : P_PGID, 0,
				     &info, WEXITED);

		if (rc == -EXDEV || rc == -ECHILD || rc == -ETIMEDOUT) {
			weft_schedule();
			continue;
		}
		if (rc)
			failure = rc;
		for (int i = 0; i < CHILDREN && !rc; i++)
			if (children[i] == info.si_pid) {
				failure |= is_reaped[i];
				is_reaped[i] = true;
				n_reaped++;
			}
	}
	return 0;
}

/* Children end and waits are interrupted at any moment: each child is reaped once,
 * by a call that says so. */
START_TEST(any_order)
{
	unsigned seed = (unsigned)time(NULL) + (unsigned)_i;
	unsigned seeds[WAITERS];
	weft_tasklet t[WAITERS];
	int n_started = 0;

	if (lacks_fork_with_threads()) /* there are 300 forks */
		return;
	fprintf(stderr, "# seed %u\n", seed);
	prepare(_i % WAYS);
	for (int i = 0; i < WAITERS; i++) {
		seeds[i] = (unsigned)rand_r(&seed);
		t[i] = weft_spawn(reap, &seeds[i]);
	}
	weft_schedule(); /* one that has not run would never run */
	while (n_started < CHILDREN) {
		switch (rand_r(&seed) % 8) {
		case 0:
			children[n_started++] = start_child(0);
			let_end();
			break;
		case 1:
			weft_poll(NULL, 0, rand_r(&seed) % 3);
			break;
		case 2:
			weft_schedule();
			break;
		default:
			weft_tasklet_raise(t[rand_r(&seed) % WAITERS], EXDEV,
					   rand_r(&seed) % 2 ? WEFT_PENDING
							     : 0);
		}
	}
	while (n_reaped < CHILDREN && !failure)
		weft_poll(NULL, 0, 1);
	is_over = true;
	for (int i = 0; i < WAITERS; i++) {
		weft_tasklet_raise(t[i], EXDEV, WEFT_PENDING);
		weft_tasklet_join(t[i]);
	}
	ck_assert_int_eq(failure, 0);
	ck_assert_uint_eq(n_reaped, CHILDREN);
	ck_assert_int_eq(waitpid(-1, NULL, WNOHANG), -1);
}
END_TEST

int main(void)
{
	size_t names;
	Suite *s;
	int fd;

	if (is_under_valgrind()) {
		skip("Valgrind does not know pidfd_open(2)");
		return SKIPPED;
	}
	s = suite_create("process");
	/* the last is by a pidfd, which an old kernel does not have */
	fd = open_pidfd(getpid());
	names = fd < 0 && errno == ENOSYS ? 3 * WAYS : 4 * WAYS;
	close(fd);
	add_loop(s, "end", end_of_a_child, names);
	add_loop(s, "stops", stopped_and_continued, names);
	add_loop(s, "flags", flags, names);
	add_loop(s, "any child", any_child, 2 * WAYS);
	add_loop(s, "no child", no_such_child, names);
	add_loop(s, "ignored", ignored, names);
	add_loop(s, "wrong arguments", wrong_arguments, WAYS);
	add_loop(s, "PIDFD_NONBLOCK", pidfd_that_does_not_wait, WAYS);
	add_loop(s, "no descriptor", no_descriptor, names);
	add_loop(s, "trapped", trapped, names);
	add_loop(s, "interrupted", interrupted, names);
	if (names == 4 * WAYS)
		add_loop(s, "number of another", number_of_another_child, WAYS);
	add_loop(s, "fork", forked, 3 * WAYS);
	add_loop(s, "end of a thread", end_of_a_thread, names);
	add_loop(s, "any order", any_order, 3 * WAYS);
	return run_suite(s);
}
