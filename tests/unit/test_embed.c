/* SPDX-License-Identifier: MIT */
/*
 * Other event loops: weft_fd(), weft_next_deadline(), and weft_pump() once per
 * tick.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static int n_done;

static int count_up(void *arg)
{
	(void)arg;
	n_done++;
	return 0;
}

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL) || !++n_done;
}

static bool is_readable(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	return poll(&p, 1, 0) == 1;
}

/* Pumps until there is nothing to tell. */
static int settle(void)
{
	weft_pump();
	ck_assert(!is_readable(weft_fd()));
	return weft_fd();
}

START_TEST(fd_is_one_per_thread)
{
	int fd = weft_fd();

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_fd(), fd);
	ck_assert(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	ck_assert(!is_readable(fd));
}
END_TEST

static void *open_fd(void *fd)
{
	*(int *)fd = weft_fd();
	return NULL;
}

START_TEST(fd_is_closed_at_the_end_of_the_thread)
{
	int fd;

	join_thread(start_thread(open_fd, &fd));
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
}
END_TEST

/* Main is in a call when another tasklet makes the descriptor, and returns with no
 * run or pump in between. */
static int opened = -1;

static int open_and_tell(void *how)
{
	opened = weft_fd();
	if (*(int *)how == 1)
		ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	return 0;
}

static void *hand_in(void *thread)
{
	struct weft_tasklet_options options = { .thread = *(uint64_t *)thread };

	ck_assert(!weft_tasklet_is_null(
		weft_spawn_with(&options, count_up, NULL)));
	return NULL;
}

START_TEST(fd_that_came_while_main_waited)
{
	uint64_t here = weft_thread_id();
	weft_tasklet t;
	pthread_t thread;
	struct pollfd p = { .events = POLLIN };

	x = weft_channel_new(0, 0);
	t = weft_spawn(open_and_tell, &_i);
	if (_i == 0)
		ck_assert_int_eq(weft_tasklet_join(t), 0);
	else if (_i == 1)
		ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	else if (_i == 2)
		ck_assert_int_eq(weft_schedule(), 0);
	else
		ck_assert_int_eq(weft_sleep(1), 0);
	ck_assert_int_ge(opened, 0);
	thread = start_thread(hand_in, &here);
	p.fd = opened;
	while (!n_done) {
		ck_assert_int_eq(poll(&p, 1, -1), 1);
		weft_pump();
	}
	join_thread(thread);
	weft_channel_unref(x);
}
END_TEST

/* What was runnable before there was a descriptor. */
START_TEST(fd_tells_of_what_was_there)
{
	weft_spawn(count_up, NULL);
	ck_assert(is_readable(weft_fd()));
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(n_done, 1);
	ck_assert(!is_readable(weft_fd()));
}
END_TEST

/* All that makes something runnable on the thread itself. */
START_TEST(fd_tells_of_the_own_thread)
{
	struct weft_tasklet_options options = { .paused = true };
	weft_tasklet t;
	int fd = settle();

	weft_spawn(count_up, NULL);
	ck_assert(is_readable(fd));
	settle();

	t = weft_spawn_with(&options, count_up, NULL);
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(weft_tasklet_insert(t), 0);
	ck_assert(is_readable(fd));
	settle();

	x = weft_channel_new(0, 0);
	weft_channel_set_preference(x, 1);
	weft_spawn(receive_x, NULL);
	settle();
	ck_assert_int_eq(weft_channel_try_send(x, NULL), 0);
	ck_assert(is_readable(fd));
	settle();

	t = weft_spawn(receive_x, NULL);
	settle();
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert(is_readable(fd));
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(n_done, 3);
	weft_channel_unref(x);
}
END_TEST

/* A pump that is stopped leaves something to do. */
static int stop_it(void *arg)
{
	(void)arg;
	weft_stop(5);
	return 0;
}

START_TEST(fd_tells_after_stop)
{
	int fd = settle();

	weft_spawn(stop_it, NULL);
	weft_spawn(count_up, NULL);
	ck_assert_int_eq(weft_pump(), 5);
	ck_assert_int_eq(n_done, 0);
	ck_assert(is_readable(fd));
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(n_done, 1);
}
END_TEST

static void *send_some(void *n)
{
	for (int i = 0; i < *(int *)n; i++)
		if (weft_channel_send(x, NULL))
			return "failed";
	return NULL;
}

static int receive_all(void *n)
{
	for (int i = 0; i < *(int *)n; i++)
		if (weft_channel_receive(x, NULL))
			return -EIO;
	n_done++;
	return 0;
}

/* Another thread sends; the loop sleeps in epoll meanwhile. */
START_TEST(loop_with_another_thread)
{
	int n = 2000;
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event = { .events = EPOLLIN };
	pthread_t sender;

	x = weft_channel_new(0, 0);
	ck_assert_int_eq(epoll_ctl(loop, EPOLL_CTL_ADD, weft_fd(), &event), 0);
	weft_spawn(receive_all, &n);
	sender = start_thread(send_some, &n);
	while (weft_pump() > 0)
		ck_assert_int_eq(epoll_wait(loop, &event, 1, -1), 1);
	ck_assert_int_eq(n_done, 1);
	join_thread(sender);
	weft_channel_unref(x);
	close(loop);
}
END_TEST

static int ends[2];

static int read_one(void *arg)
{
	char byte;

	(void)arg;
	if (weft_read(ends[0], &byte, 1) != 1)
		return -EIO;
	n_done++;
	return 0;
}

START_TEST(fd_tells_of_io)
{
	int fd;

	if (lacks_reads_at_once())
		return;
	ck_assert_int_eq(pipe(ends), 0);
	fd = settle();
	for (int i = 1; i <= 20; i++) {
		struct pollfd p = { .fd = fd, .events = POLLIN };

		weft_spawn(read_one, NULL);
		ck_assert_int_eq(weft_pump(), 1);
		ck_assert(!is_readable(fd));
		ck_assert_int_eq(write(ends[1], "x", 1), 1);
		ck_assert_int_eq(poll(&p, 1, -1), 1);
		ck_assert_int_eq(weft_pump(), 0);
		ck_assert_int_eq(n_done, i);
		ck_assert(!is_readable(fd));
	}
}
END_TEST

static int sleep_a_bit(void *arg)
{
	(void)arg;
	weft_sleep(50 * WEFT_MILLISECOND);
	n_done++;
	return 0;
}

START_TEST(next_deadline)
{
	int64_t begun = weft_now();

	ck_assert(weft_next_deadline() == WEFT_FOREVER);
	weft_spawn(sleep_a_bit, NULL);
	ck_assert(weft_next_deadline() <= weft_now());
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert(weft_next_deadline() >= begun + 50 * WEFT_MILLISECOND);
	ck_assert(weft_next_deadline() <= weft_now() + 50 * WEFT_MILLISECOND);
	while (weft_pump() > 0) {
		struct pollfd p = { .fd = weft_fd(), .events = POLLIN };

		poll(&p, 1, 1);
	}
	ck_assert_int_eq(n_done, 1);
	ck_assert(weft_next_deadline() == WEFT_FOREVER);
}
END_TEST

/* A game: a plain thread that pumps once per tick and never waits in weft. */
struct game {
	weft_channel *moves;
	int n_moves, n_ticks;
};

static int play_moves(void *arg)
{
	struct game *game = arg;

	while (!weft_channel_receive(game->moves, NULL))
		if (++game->n_moves == 50)
			return 0;
	return -EIO;
}

static void *run_game(void *arg)
{
	struct game *game = arg;

	weft_spawn(play_moves, game);
	while (weft_pump() > 0) {
		game->n_ticks++;
		usleep(100);
	}
	return NULL;
}

START_TEST(one_pump_per_tick)
{
	struct game games[2] = { 0 };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		games[i].moves = weft_channel_new(0, 0);
		threads[i] = start_thread(run_game, &games[i]);
	}
	for (int move = 0; move < 50; move++)
		for (int i = 0; i < 2; i++)
			ck_assert_int_eq(
				weft_channel_send(games[i].moves, NULL), 0);
	for (int i = 0; i < 2; i++) {
		join_thread(threads[i]);
		ck_assert_int_eq(games[i].n_moves, 50);
		ck_assert_int_gt(games[i].n_ticks, 0);
		weft_channel_unref(games[i].moves);
	}
}
END_TEST

/* A blocking call of the loop's own thread, between two pumps. */
START_TEST(blocking_between_pumps)
{
	int fd = settle();

	x = weft_channel_new(0, 0);
	weft_spawn(receive_x, NULL);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	weft_pump();
	weft_spawn(count_up, NULL);
	weft_spawn(sleep_a_bit, NULL);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	weft_spawn(count_up, NULL);
	ck_assert(is_readable(fd));
	while (weft_pump() > 0)
		;
	ck_assert(!is_readable(fd));
	ck_assert_int_eq(n_done, 4);
	weft_channel_unref(x);
}
END_TEST

/* Made inside a run, in memory that has been something else. */
static int make_fd_inside(void *arg)
{
	char *used = malloc(sizeof(int) * 2);

	memset(used, 0xa5, sizeof(int) * 2);
	free(used);
	*(int *)arg = weft_fd();
	weft_spawn(count_up, NULL);
	return 0;
}

START_TEST(fd_made_inside_a_run)
{
	int fd = -1;

	weft_spawn(make_fd_inside, &fd);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_ge(fd, 0);
	ck_assert(!is_readable(fd));
	weft_spawn(count_up, NULL);
	ck_assert(is_readable(fd));
}
END_TEST

static int run_then_send(void *arg)
{
	(void)arg;
	ck_assert_int_eq(weft_run(), 7);
	return weft_channel_send(x, NULL);
}

static int send_then_stop(void *arg)
{
	(void)arg;
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	weft_stop(7);
	return 0;
}

/* Main's second wait begins inside of a run, and is a fast one; what is runnable
 * after it, when there is no run any more, is told of. */
START_TEST(main_waits_from_a_run_till_after_it)
{
	int fd = settle();

	x = weft_channel_new(0, 0);
	weft_spawn(run_then_send, NULL);
	weft_spawn(send_then_stop, NULL);
	ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(x, NULL), 0);
	ck_assert_uint_eq(weft_runcount(), 2);
	ck_assert(is_readable(fd));
	settle();
	weft_channel_unref(x);
}
END_TEST

static int run_others(void *arg)
{
	*(int *)arg = weft_run();
	return 0;
}

/* A tasklet that is inside of a run is not who drives the thread: main polls. */
START_TEST(fd_tells_though_a_tasklet_is_inside_a_run)
{
	int fd = settle();
	int rc = 1;

	x = weft_channel_new(0, 0);
	weft_spawn(run_others, &rc);
	weft_spawn(receive_x, NULL);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	weft_pump();
	ck_assert(!is_readable(fd));

	weft_spawn(count_up, NULL);
	ck_assert(is_readable(fd));
	weft_pump();
	ck_assert_int_eq(n_done, 1);
	ck_assert(!is_readable(fd));

	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	ck_assert_int_eq(n_done, 2);
	ck_assert_int_eq(weft_sleep(WEFT_MILLISECOND), 0);
	ck_assert_int_eq(rc, 0);
	weft_channel_unref(x);
}
END_TEST

static int close_the_fd(void)
{
	int fd = weft_fd();

	weft_pump();
	close(fd);
	weft_spawn(count_up, NULL);
	return 0;
}

/* It is not the program's to close, and what it would tell of is not lost. */
START_TEST(fd_that_was_closed)
{
	char errors[1024];

	/* The poll engine tells in a way that does not show it. */
	if (lacks_io_uring())
		return;
	ck_assert_int_eq(in_child(close_the_fd, errors, sizeof errors),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(errors, "closed its descriptor"));
}
END_TEST

/* --- what looks around between pumps --- */

static weft_tasklet dead, other;
static _Atomic(bool) has_other; /* `other` is there to be read */

static int sleep_on(void *arg)
{
	(void)arg;
	other = weft_current();
	has_other = true;
	while (weft_sleep(1000 * WEFT_SECOND) == 0)
		;
	return 0;
}

static void *run_other(void *arg)
{
	(void)arg;
	weft_tasklet_join(weft_spawn(sleep_on, NULL));
	return NULL;
}

static void kill_a_dead_one(void)
{
	ck_assert_int_eq(weft_tasklet_kill(dead, WEFT_PENDING), -ESRCH);
}

static void insert_a_dead_one(void)
{
	ck_assert_int_eq(weft_tasklet_insert(dead), -ESRCH);
}

static void raise_on_a_foreign_one(void)
{
	weft_tasklet_raise(other, EIO, WEFT_PENDING);
}

static void run_a_foreign_one(void)
{
	weft_tasklet_run(other);
}

static void join_a_dead_one(void)
{
	ck_assert_int_eq(weft_tasklet_join(dead), -ESRCH);
}

static void be_refused(void)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, 0);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
	ck_assert_int_eq(weft_channel_receive(x, NULL), -ETIMEDOUT);
	weft_deadline_end(&d);
}

static void be_trapped(void)
{
	weft_switch_trap(1);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_schedule(), 0);
	weft_switch_trap(-1);
}

static void (*const looks[])(void) = {
	kill_a_dead_one,   insert_a_dead_one, raise_on_a_foreign_one,
	run_a_foreign_one, join_a_dead_one,   be_refused,
	be_trapped,
};

static void *send_late(void *arg)
{
	(void)arg;
	weft_channel_send(x, NULL);
	return NULL;
}

/* Whatever main calls between pumps, and wherever the call returns, the descriptor
 * tells of what another thread hands in after it. */
START_TEST(nothing_is_lost_between_pumps)
{
	pthread_t that, late;
	struct pollfd p = { .events = POLLIN };

	x = weft_channel_new(0, 0);
	that = start_thread(run_other, NULL);
	while (!has_other || weft_tasklet_state(other) != WEFT_BLOCKED)
		sched_yield();
	dead = weft_spawn(count_up, NULL);
	p.fd = weft_fd();
	weft_pump();
	weft_spawn(receive_x, NULL);
	weft_pump();
	ck_assert(!is_readable(p.fd));
	looks[_i]();
	late = start_thread(send_late, NULL);
	while (n_done < 2) {
		ck_assert_int_eq(poll(&p, 1, -1), 1);
		weft_pump();
	}
	join_thread(late);
	weft_tasklet_kill(other, 0);
	join_thread(that);
	weft_channel_unref(x);
}
END_TEST

/* --- what a pump has submitted --- */

static int fds[2];
static weft_tasklet pumper;

static int read_one_byte(void *arg)
{
	char byte;

	(void)arg;
	if (weft_read(fds[0], &byte, 1) == 1)
		n_done++;
	return 0;
}

static int stop_pump(void *arg)
{
	(void)arg;
	weft_stop(7);
	return 0;
}

static int insert_it(void *arg)
{
	(void)arg;
	return weft_tasklet_insert(pumper);
}

static int raise_on_it(void *arg)
{
	(void)arg;
	return weft_tasklet_raise(pumper, EIO, WEFT_PENDING);
}

/* However it ends, it has reached the kernel. */
START_TEST(pump_hands_in_what_was_submitted)
{
	static const struct {
		weft_fn end;
		int result;
	} ways[] = { { stop_pump, 7 },
		     { insert_it, 0 },
		     { raise_on_it, -EIO } };
	struct pollfd p = { .events = POLLIN };

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pumper = weft_current();
	p.fd = weft_fd();
	weft_pump();
	ck_assert_int_eq((int)write(fds[1], "x", 1), 1);
	weft_spawn(read_one_byte, NULL);
	weft_spawn(ways[_i].end, NULL);
	ck_assert_int_eq(weft_pump(), ways[_i].result);
	while (!n_done) {
		ck_assert_int_eq(poll(&p, 1, -1), 1);
		weft_pump();
	}
	ck_assert(!is_readable(p.fd));
}
END_TEST

int main(void)
{
	Suite *s = suite_create("embed");

	add_loop(s, "made while main waits", fd_that_came_while_main_waited, 4);
	add_case(s, "fd", fd_is_one_per_thread,
		 fd_is_closed_at_the_end_of_the_thread,
		 fd_tells_of_what_was_there, fd_tells_of_the_own_thread,
		 fd_tells_after_stop, loop_with_another_thread, fd_tells_of_io);
	add_case(s, "inside", fd_made_inside_a_run);
	add_case(s, "inside", main_waits_from_a_run_till_after_it);
	add_case(s, "inside", fd_tells_though_a_tasklet_is_inside_a_run);
	add_case(s, "closed", fd_that_was_closed);
	add_case(s, "deadline", next_deadline);
	add_loop(s, "between pumps", nothing_is_lost_between_pumps,
		 N_ELEMENTS(looks));
	add_loop(s, "pump", pump_hands_in_what_was_submitted, 3);
	add_case(s, "loops", one_pump_per_tick, blocking_between_pumps);
	return run_suite(s);
}
