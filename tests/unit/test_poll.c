/* SPDX-License-Identifier: MIT */
/*
 * weft_poll(): what poll(2) says, and waiting for it.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "allocation.h"
#include "limits.h"
#include "support.h"

enum { MANY = 300, MOST_ENDS = 2 * MANY };

static int ends[MOST_ENDS]; /* of pipes: reader, writer, reader, ... */
static struct pollfd fds[MANY];

static void make_pipes(int n)
{
	for (int i = 0; i < n; i++) {
		ck_assert_int_eq(pipe(ends + 2 * i), 0);
		fds[i] = (struct pollfd){ .fd = ends[2 * i], .events = POLLIN };
	}
}

static void put(int i)
{
	ck_assert_int_eq(write(ends[2 * i + 1], "x", 1), 1);
}

static void take(int i)
{
	char byte;

	ck_assert_int_eq(read(ends[2 * i], &byte, 1), 1);
}

/* --- what is ready --- */

/* What is ready is reported at once, as by poll(2), for any kind of descriptor. */
START_TEST(ready_at_once)
{
	int file = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	int closed;

	make_pipes(3);
	put(1);
	closed = dup(0);
	close(closed);
	fds[2].fd = ends[5];
	fds[2].events = POLLOUT;
	fds[3] = (struct pollfd){ .fd = -5, .events = POLLIN, .revents = 7 };
	fds[4] = (struct pollfd){ .fd = closed, .events = POLLIN };
	fds[5] = fds[1];
	fds[6] = (struct pollfd){ .fd = file, .events = POLLIN | POLLOUT };
	for (int timeout = -1; timeout <= 1; timeout++) {
		ck_assert_int_eq(weft_poll(fds, 7, timeout), 5);
		ck_assert_int_eq(fds[0].revents, 0);
		ck_assert_int_eq(fds[1].revents, POLLIN);
		ck_assert_int_eq(fds[2].revents, POLLOUT);
		ck_assert_int_eq(fds[3].revents, 0);
		ck_assert_int_eq(fds[4].revents, POLLNVAL);
		ck_assert_int_eq(fds[5].revents, POLLIN);
		ck_assert_int_eq(fds[6].revents, POLLIN | POLLOUT);
	}
	ck_assert_int_eq(weft_poll(fds, 1, 0), 0);
	ck_assert_int_eq(weft_poll(NULL, 0, 0), 0);
	close(file);
}
END_TEST

/* Errors and hang-ups are reported though nobody asked for them. */
START_TEST(hang_up)
{
	make_pipes(2);
	fds[0].events = 0;
	fds[1] = (struct pollfd){ .fd = ends[3], .events = 0 };
	close(ends[1]);
	ck_assert_int_eq(weft_poll(fds, 2, -1), 1);
	ck_assert_int_eq(fds[0].revents, POLLHUP);
	close(ends[2]);
	ck_assert_int_eq(weft_poll(fds, 2, -1), 2);
	ck_assert_int_eq(fds[1].revents, POLLERR);
}
END_TEST

/* Errors are those of poll(2). */
START_TEST(wrong_arguments)
{
	struct rlimit limit;

	make_pipes(1);
	if (is_under_valgrind() || UNDER_ASAN || UNDER_TSAN)
		return; /* they look at all entries that are named */
	if (lacks_calls_of_the_kernel())
		return;
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(weft_poll(fds, limit.rlim_cur + 1, 0), -EINVAL);
	ck_assert_int_eq(weft_poll(fds, (nfds_t)-1, -1), -EINVAL);
	ck_assert_int_eq(weft_poll(NULL, 1, -1), -EFAULT);
}
END_TEST

/* --- waiting --- */

static int result;
static int n_done;

struct poller {
	struct pollfd *fds;
	int n, timeout;
};

static int poll_once(void *arg)
{
	struct poller *p = arg;

	result = weft_poll(p->fds, (nfds_t)p->n, p->timeout);
	n_done++;
	return result;
}

static weft_tasklet start(struct poller *p)
{
	weft_tasklet t = weft_spawn(poll_once, p);

	result = -1000;
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	return t;
}

/* The number of descriptors of a loop test. */
static int count_of(int i)
{
	static const int counts[] = { 1, 4, 5, MANY };

	return counts[i];
}

/* A call that waits returns when one descriptor becomes ready, and the others can be
 * waited for again; other tasklets run meanwhile. */
START_TEST(waits)
{
	int n = count_of(_i);
	struct poller p = { fds, n, -1 };

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(n);
	for (int i = 0; i < n; i += n / 5 + 1) {
		weft_tasklet t = start(&p);

		ck_assert_int_eq(weft_pump(), 1);
		put(i);
		ck_assert_int_eq(weft_tasklet_join(t), 1);
		for (int k = 0; k < n; k++)
			ck_assert_int_eq(fds[k].revents, k == i ? POLLIN : 0);
		take(i);
	}
}
END_TEST

/* Duplicates are reported each, descriptors below 0 never. */
START_TEST(duplicates)
{
	struct poller p = { fds, 4, -1 };
	weft_tasklet t;

	make_pipes(1);
	fds[1] = fds[3] = fds[0];
	fds[2].fd = -1;
	t = start(&p);
	weft_pump();
	put(0);
	ck_assert_int_eq(weft_tasklet_join(t), 3);
	ck_assert_int_eq(fds[0].revents, POLLIN);
	ck_assert_int_eq(fds[1].revents, POLLIN);
	ck_assert_int_eq(fds[2].revents, 0);
	ck_assert_int_eq(fds[3].revents, POLLIN);
}
END_TEST

/* After the timeout nothing is ready, with and without descriptors. */
START_TEST(times_out)
{
	int64_t before = weft_now();
	int n = _i ? count_of(_i - 1) : 0;

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(n);
	for (int i = 1; i <= 3; i++) {
		ck_assert_int_eq(weft_poll(n ? fds : NULL, (nfds_t)n, 3), 0);
		ck_assert_int_ge(weft_now() - before, 3 * i * WEFT_MILLISECOND);
	}
}
END_TEST

/* One byte and two tasklets that wait for it: the one that finds it taken goes on
 * waiting. */
static int poll_and_take(void *arg)
{
	char byte;
	int rc = poll_once(arg);

	if (rc == 1 && read(ends[0], &byte, 1) != 1)
		return -EIO;
	return rc;
}

START_TEST(somebody_was_faster)
{
	struct poller p = { fds, 1, -1 };
	struct pollfd same;
	struct poller q = { &same, 1, -1 };
	weft_tasklet t[2];

	make_pipes(1);
	fcntl(ends[0], F_SETFL, O_NONBLOCK);
	same = fds[0];
	t[0] = weft_spawn(poll_and_take, &p);
	t[1] = weft_spawn(poll_and_take, &q);
	weft_pump();
	put(0);
	while (!n_done)
		weft_poll(NULL, 0, 1);
	weft_pump();
	ck_assert_int_eq(n_done, 1);
	put(0);
	for (int i = 0; i < 2; i++)
		if (weft_tasklet_alive(t[i]))
			ck_assert_int_eq(weft_tasklet_join(t[i]), 1);
	ck_assert_int_eq(n_done, 2);
}
END_TEST

/* --- interruptions --- */

/* A kill, a raise and a deadline end the wait, and the descriptors are as before. */
START_TEST(interrupted)
{
	int n = _i < 4 ? count_of(_i) : 0;
	struct poller p = { fds, n, -1 };
	struct weft_deadline d;
	weft_tasklet t;

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(n);
	t = start(&p);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	if (weft_tasklet_alive(t))
		weft_tasklet_join(t);
	ck_assert_int_eq(result, -ECANCELED);
	t = start(&p);
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -EXDEV);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(weft_poll(fds, (nfds_t)n, -1), -ETIMEDOUT);
	ck_assert_int_eq(weft_poll(fds, (nfds_t)n, 0), -ETIMEDOUT);
	ck_assert(weft_deadline_end(&d));
	if (!n)
		return;
	put(0);
	ck_assert_int_eq(weft_poll(fds, (nfds_t)n, -1), 1);
}
END_TEST

static int poll_twice(void *arg)
{
	int rc = poll_once(arg);

	return rc == 1 ? poll_once(arg) : -EIO;
}

/* What is ready when the kill comes is the result; the next call has the error. */
START_TEST(result_that_came_first)
{
	struct poller p = { fds, 5, -1 };
	weft_tasklet t;

	make_pipes(5);
	t = weft_spawn(poll_twice, &p);
	weft_pump();
	put(3);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	ck_assert_int_eq(n_done, 2);
}
END_TEST

/* A close by another tasklet ends the wait. */
START_TEST(closed_meanwhile)
{
	struct poller p = { fds, count_of(_i), -1 };
	weft_tasklet t;

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(p.n);
	t = start(&p);
	weft_pump();
	ck_assert_int_eq(weft_close(ends[2 * (p.n / 2)]), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
}
END_TEST

/* So does one that comes when the descriptor was ready, and the tasklet is yet to look;
 * another file that has got its number by then does not count. */
static struct {
	weft_tasklet poller;
	struct pollfd own;
	int fd;
	enum weft_state state;
	bool is_reused;
} closer;

static int close_when_ready(void *arg)
{
	(void)arg;
	if (weft_poll(&closer.own, 1, -1) != 1)
		return -EIO;
	closer.state = weft_tasklet_state(closer.poller);
	weft_close(closer.fd);
	if (closer.is_reused)
		dup2(closer.own.fd, closer.fd); /* ready, too */
	return 0;
}

START_TEST(closed_before_the_look)
{
	struct poller p = { fds, count_of(_i / 2), -1 };
	weft_tasklet t;

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(p.n);
	t = weft_spawn(close_when_ready, NULL);
	closer.own = (struct pollfd){ .fd = eventfd(0, EFD_CLOEXEC),
				      .events = POLLIN };
	closer.fd = fds[p.n / 2].fd;
	closer.is_reused = _i % 2;
	weft_schedule();
	closer.poller = start(&p);
	weft_pump();
	ck_assert_int_eq(eventfd_write(closer.own.fd, 1), 0);
	put(p.n / 2);
	ck_assert_int_eq(weft_tasklet_join(closer.poller), -ECANCELED);
	ck_assert_int_eq(closer.state, WEFT_RUNNABLE);
	ck_assert_int_eq(weft_tasklet_join(t), -ESRCH);
}
END_TEST

/* With a trap what is ready is reported, and nothing is waited for. */
START_TEST(trapped)
{
	int error = _i ? -EPERM : -EAGAIN;

	make_pipes(2);
	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(weft_poll(fds, 2, -1), error);
		ck_assert_int_eq(weft_poll(fds, 2, 0), 0);
		put(1);
		ck_assert_int_eq(weft_poll(fds, 2, -1), 1);
		take(1);
	}
}
END_TEST

/* Without memory for the wait the call says so. */
START_TEST(no_memory)
{
	int rc[4];

	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(MANY);
	ck_assert_int_eq(weft_poll(fds, MANY, 1), 0);
	fail_allocations_after(0);
	rc[0] = weft_poll(fds, MANY, 1);
	rc[1] = weft_poll(fds, MANY, 0);
	rc[2] = weft_poll(fds, 4, 1);
	fail_allocations_after(-1);
	ck_assert_int_eq(rc[0], -ENOMEM);
	ck_assert_int_eq(rc[1], 0);
	ck_assert(rc[2] == 0 || rc[2] == -ENOMEM);
	put(7);
	ck_assert_int_eq(weft_poll(fds, MANY, -1), 1);
}
END_TEST

/* --- the ends of threads and processes --- */

static int poll_for_ever(void *arg)
{
	weft_shield_begin();
	while (poll_once(arg) > -2000)
		;
	return 0;
}

/* Wakes the tasklet by a completion that it never comes to look at. */
static int leave_thread(void *arg)
{
	(void)arg;
	weft_schedule();
	if (write(ends[1], "x", 1) == 1)
		weft_close(ends[4]); /* takes in completions */
	pthread_exit(NULL);
}

static void *run_and_leave(void *arg)
{
	static struct poller p = { fds, MANY, -1 };

	weft_spawn(poll_for_ever, &p);
	weft_spawn(*(bool *)arg ? leave_thread : poll_for_ever, &p);
	weft_schedule();
	weft_schedule();
	if (*(bool *)arg)
		weft_run();
	return NULL;
}

/* A thread ends while its tasklets poll: nothing is left in flight, and nothing is
 * leaked, also if the thread is left by pthread_exit() in a tasklet. */
START_TEST(end_of_a_thread)
{
	bool by_tasklet = _i;

	if (by_tasklet &&
	    UNDER_TSAN) /* which lets no fiber call pthread_exit() */
		return;
	if (lacks_descriptors(MOST_ENDS + 32))
		return;
	make_pipes(MANY);
	join_thread(start_thread(run_and_leave, &by_tasklet));
}
END_TEST

/* In a child of fork() the wait is over. */
START_TEST(forked)
{
	struct poller p = { fds, 5, -1 };
	weft_tasklet t;
	int status;
	pid_t pid;

	make_pipes(5);
	t = start(&p);
	weft_pump();
	pid = fork();
	if (!pid) {
		EXPECT(weft_tasklet_join(t) == -ECANCELED);
		put(2);
		EXPECT(weft_poll(fds, 5, -1) == 1);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	put(1);
	ck_assert_int_ge(weft_tasklet_join(t), 1);
}
END_TEST

/* --- any order of events --- */

enum { POLLERS = 8, PIPES = 6, ROUNDS = 4000 };

static unsigned n_taken;
static bool is_over;

/* Takes a byte from a pipe that it is told of. */
static int poll_and_count(void *arg)
{
	unsigned seed = *(unsigned *)arg;

	while (!is_over) {
		struct pollfd mine[PIPES];
		int n = 1 + rand_r(&seed) % PIPES;
		int timeout = rand_r(&seed) % 3 - 1;
		int rc;

		/* Who waits for ever waits for all: the last byte may be in any. */
		if (timeout < 0)
			n = PIPES;
		for (int i = 0; i < n; i++)
			mine[i] = fds[timeout < 0 ? i : rand_r(&seed) % PIPES];
		rc = weft_poll(mine, (nfds_t)n, timeout);
		if (rc < 0 && rc != -EXDEV && rc != -ETIMEDOUT)
			return rc;
		for (int i = 0; i < n && rc > 0; i++) {
			char byte;

			if (mine[i].revents & POLLIN)
				n_taken += read(mine[i].fd, &byte, 1) == 1;
		}
	}
	return 0;
}

/* Bytes, raises and timeouts come at any moment: each byte is taken once, and no
 * tasklet waits for what is there. */
START_TEST(any_order)
{
	unsigned seed = (unsigned)time(NULL) + (unsigned)_i;
	unsigned seeds[POLLERS];
	weft_tasklet t[POLLERS];
	unsigned n_put = 0;

	fprintf(stderr, "# seed %u\n", seed);
	make_pipes(PIPES);
	for (int i = 0; i < PIPES; i++)
		fcntl(ends[2 * i], F_SETFL, O_NONBLOCK);
	for (int i = 0; i < POLLERS; i++) {
		seeds[i] = (unsigned)rand_r(&seed);
		t[i] = weft_spawn(poll_and_count, &seeds[i]);
	}
	weft_schedule(); /* one that has not run would never run */
	for (int i = 0; i < ROUNDS; i++) {
		int which = rand_r(&seed) % POLLERS;

		switch (rand_r(&seed) % 5) {
		case 0:
			weft_tasklet_raise(t[which], EXDEV, WEFT_PENDING);
			break;
		case 1:
			weft_tasklet_raise(t[which], EXDEV, 0);
			break;
		case 2:
			weft_schedule();
			break;
		case 3:
			weft_pump();
			break;
		default:
			n_put++;
			put(rand_r(&seed) % PIPES);
		}
	}
	while (n_taken < n_put)
		weft_poll(NULL, 0, 1);
	is_over = true;
	for (int i = 0; i < POLLERS; i++) {
		weft_tasklet_raise(t[i], EXDEV, WEFT_PENDING);
		weft_tasklet_join(t[i]);
	}
	ck_assert_uint_eq(n_taken, n_put);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("poll");

	add_case(s, "ready", ready_at_once, hang_up);
	add_case(s, "wrong arguments", wrong_arguments);
	add_loop(s, "waits", waits, 4);
	add_case(s, "duplicates", duplicates);
	add_loop(s, "timeout", times_out, 5);
	add_case(s, "several waiters", somebody_was_faster);
	add_loop(s, "interrupted", interrupted, 5);
	add_case(s, "result first", result_that_came_first);
	add_loop(s, "closed", closed_meanwhile, 4);
	add_loop(s, "closed", closed_before_the_look, 8);
	add_loop(s, "trapped", trapped, 2);
	add_case(s, "no memory", no_memory);
	add_loop(s, "end of a thread", end_of_a_thread, 2);
	if (!UNDER_TSAN) /* which takes the child for another thread */
		add_case(s, "fork", forked);
	add_loop(s, "any order", any_order, 4);
	return run_suite(s);
}
