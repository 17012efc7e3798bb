/* SPDX-License-Identifier: MIT */
/*
 * I/O that is interrupted: the kernel lets go of the buffer before the call
 * returns, and nothing that it has done is lost.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static int ends[2];
static int results[2];
static char buffer[16];

static int read_twice(void *arg)
{
	(void)arg;
	results[0] = (int)weft_read(ends[0], buffer, 1);
	results[1] = (int)weft_read(ends[0], buffer + 1, 1);
	return 0;
}

/* Its first read is with the kernel. */
static weft_tasklet start_reader(void)
{
	weft_tasklet t;

	ck_assert_int_eq(pipe(ends), 0);
	t = weft_spawn(read_twice, NULL);
	ck_assert_int_eq(weft_pump(), 1);
	return t;
}

START_TEST(raise_interrupts_once)
{
	weft_tasklet t = start_reader();

	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, 0), 0);
	ck_assert_int_eq(results[0], -EXDEV);
	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[1], 1);
	ck_assert_int_eq(buffer[1], 'a');
}
END_TEST

/* A byte comes, and a kill: the read returns one or the other, and the byte is not
 * lost; the next one returns the error in any case. */
START_TEST(result_that_came_first)
{
	weft_tasklet t = start_reader();

	ck_assert_int_eq(write(ends[1], "ab", 2), 2);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	weft_tasklet_join(t);
	ck_assert_int_eq(results[1], -ECANCELED);
	if (results[0] == 1)
		ck_assert_int_eq(buffer[0], 'a');
	else
		ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(read(ends[0], buffer, 4), results[0] == 1 ? 1 : 2);
	ck_assert_int_eq(buffer[0], results[0] == 1 ? 'b' : 'a');
}
END_TEST

enum { READERS = 3000 };

static int n_canceled;

static int read_one(void *fd)
{
	char byte;

	n_canceled += weft_read(*(int *)fd, &byte, 1) == -ECANCELED;
	return 0;
}

/* More to cancel than the queue has room for. */
START_TEST(cancel_storm_with_full_ring)
{
	int n = many_tasklets(READERS);
	weft_tasklet t[READERS];

	ck_assert_int_eq(pipe(ends), 0);
	for (int i = 0; i < n; i++)
		t[i] = weft_spawn(read_one, &ends[0]);
	ck_assert_int_eq(weft_pump(), n);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(weft_tasklet_kill(t[i], WEFT_PENDING), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_canceled, n);
	ck_assert_int_eq(write(ends[1], "x", 1), 1);
	ck_assert_int_eq(read(ends[0], buffer, 2), 1);
}
END_TEST

static int accept_one(void *fd)
{
	return weft_accept(*(int *)fd, NULL, NULL);
}

START_TEST(accept_is_interrupted)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	weft_tasklet t;

	/* bound to a name of the kernel's choice */
	ck_assert_int_eq(bind(fd, &(struct sockaddr){ .sa_family = AF_UNIX },
			      sizeof(sa_family_t)),
			 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	t = weft_spawn(accept_one, &fd);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	close(fd);
}
END_TEST

static int close_both(void *arg)
{
	(void)arg;
	results[0] = (int)weft_read(ends[0], buffer, 1);
	results[1] = weft_close(ends[0]);
	return weft_close(ends[1]);
}

/* A killed tasklet can let go of what it holds. */
START_TEST(killed_one_closes)
{
	weft_tasklet t;

	ck_assert_int_eq(pipe(ends), 0);
	t = weft_spawn(close_both, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(results[0], -ECANCELED);
	ck_assert_int_eq(results[1], 0);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
	ck_assert_int_eq(fcntl(ends[1], F_GETFD), -1);
}
END_TEST

/* With a trap, what is there can be read; what is not, is not waited for. */
START_TEST(io_under_a_trap)
{
	int error = _i ? -EPERM : -EAGAIN;

	ck_assert_int_eq(pipe(ends), 0);
	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(weft_read(ends[0], buffer, 4), error);
		ck_assert_int_eq(weft_write(ends[1], "ab", 2), 2);
		ck_assert_int_eq(weft_read(ends[0], buffer, 4), 2);
		ck_assert_mem_eq(buffer, "ab", 2);
	}
	ck_assert_int_eq(weft_close(ends[0]), 0);
	ck_assert_int_eq(weft_close(ends[1]), 0);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("io_kill");

	if (lacks_io_uring())
		return SKIPPED;
	add_case(s, "interrupted", raise_interrupts_once,
		 result_that_came_first, cancel_storm_with_full_ring,
		 accept_is_interrupted);
	add_case(s, "close", killed_one_closes);
	add_loop(s, "trap", io_under_a_trap, 2);
	return run_suite(s);
}
