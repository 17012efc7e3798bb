/* SPDX-License-Identifier: MIT */
/*
 * The ends of tasklets: who joins, what is deferred, who is told of failures; and
 * the pointer that each tasklet has.
 */
#include <check.h>
#include <errno.h>
#include <string.h>
#include <weft.h>

#include "support.h"

static weft_channel *x;
static int n_told;
static int told[8];
static weft_tasklet told_of[8];

static int return_it(void *result)
{
	return *(int *)result;
}

static int receive_x(void *arg)
{
	(void)arg;
	return weft_channel_receive(x, NULL);
}

/* --- join --- */

enum { JOINERS = 1000 };

static int n_joined;

static int join_it(void *t)
{
	n_joined += weft_tasklet_join(*(weft_tasklet *)t) == 0;
	return 0;
}

/* Some of very many are killed while they wait. */
START_TEST(many_joiners)
{
	int n = many_tasklets(JOINERS);
	weft_tasklet joiners[JOINERS];
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	t = weft_spawn(receive_x, NULL);
	for (int i = 0; i < n; i++)
		joiners[i] = weft_spawn(join_it, &t);
	weft_schedule();
	for (int i = 0; i < n; i += 2)
		ck_assert_int_eq(weft_tasklet_kill(joiners[i], WEFT_PENDING),
				 0);
	ck_assert_int_eq(weft_channel_send(x, NULL), 0);
	weft_run();
	ck_assert_int_eq(n_joined, n / 2);
}
END_TEST

/* --- exit --- */

static int go_down(int depth)
{
	volatile char ballast[256] = { 0 };

	if (depth < 0)
		return ballast[0];
	if (depth == 0)
		weft_exit(-EDOM);
	return go_down(depth - 1) + ballast[0];
}

static int exit_deep(void *arg)
{
	(void)arg;
	return go_down(50);
}

START_TEST(exit_from_deep_frames)
{
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(weft_tasklet_join(weft_spawn(exit_deep, NULL)),
				 -EDOM);
}
END_TEST

/* --- defer --- */

static char said[64];

static void say(void *word)
{
	weft_sleep(1000);
	strcat(said, word);
}

static void defer_more(void *word)
{
	strcat(said, word);
	ck_assert_int_eq(weft_defer(say, "x"), 0);
}

static int defer_some(void *arg)
{
	(void)arg;
	weft_defer(say, "a");
	weft_defer(defer_more, "b");
	weft_defer(say, "c");
	return weft_channel_receive(x, NULL);
}

/* Backwards, what is deferred meanwhile at once; shielded, so it can wait though
 * the tasklet was killed; before who joins is woken. */
START_TEST(deferred_are_done_shielded)
{
	weft_tasklet t;

	x = weft_channel_new(0, 0);
	t = weft_spawn(defer_some, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	ck_assert_str_eq(said, "cbxa");
	ck_assert_int_eq(weft_defer(NULL, NULL), -EINVAL);
}
END_TEST

/* --- data --- */

static int keep_data(void *data)
{
	if (weft_tasklet_data())
		return -1;
	weft_set_tasklet_data(data);
	weft_schedule();
	return weft_tasklet_data() == data ? 0 : -2;
}

START_TEST(data_is_the_tasklets_own)
{
	weft_tasklet t[3];

	ck_assert_ptr_null(weft_tasklet_data());
	weft_set_tasklet_data(said);
	for (int i = 0; i < 3; i++)
		t[i] = weft_spawn(keep_data, &t[i]);
	for (int i = 0; i < 3; i++) {
		int rc = weft_tasklet_join(t[i]);

		ck_assert(rc == 0 || rc == -ESRCH);
	}
	ck_assert_ptr_eq(weft_tasklet_data(), said);
}
END_TEST

/* --- the error handler --- */

static void note(weft_tasklet t, int result, void *ctx)
{
	told_of[n_told] = t;
	told[n_told++] = result;
	ck_assert(weft_tasklet_alive(t));
	if (ctx)
		weft_stop(result);
}

START_TEST(handler_is_told_of_failures)
{
	int results[] = { 0, -EIO, -ECANCELED, 3, -EDOM };
	weft_tasklet t[5];
	void *ctx = said;

	ck_assert_ptr_null(weft_set_error_handler(note, NULL));
	ck_assert(weft_error_handler(&ctx) == note);
	ck_assert_ptr_null(ctx);
	for (int i = 0; i < 5; i++)
		t[i] = weft_spawn(return_it, &results[i]);
	weft_run();
	ck_assert_int_eq(n_told, 2);
	ck_assert_int_eq(told[0], -EIO);
	ck_assert(weft_tasklet_equal(told_of[0], t[1]));
	ck_assert_int_eq(told[1], -EDOM);
	ck_assert(weft_tasklet_equal(told_of[1], t[4]));
	ck_assert(weft_set_error_handler(NULL, NULL) == note);
	t[0] = weft_spawn(return_it, &results[1]);
	weft_run();
	ck_assert_int_eq(n_told, 2);
}
END_TEST

/* As the documentation suggests: the first failure ends the run. */
START_TEST(handler_may_stop_the_run)
{
	int result = -EDOM;

	x = weft_channel_new(0, 0);
	weft_set_error_handler(note, x);
	weft_spawn(receive_x, NULL);
	weft_spawn(return_it, &result);
	ck_assert_int_eq(weft_run(), -EDOM);
	ck_assert_int_eq(n_told, 1);
}
END_TEST

/* One that never ran: told by whoever ended it. */
START_TEST(handler_is_told_of_a_fresh_one)
{
	int result = 0;
	weft_tasklet t = weft_spawn(return_it, &result);

	weft_set_error_handler(note, NULL);
	ck_assert_int_eq(weft_tasklet_raise(t, EIO, 0), 0);
	ck_assert_int_eq(n_told, 1);
	ck_assert_int_eq(told[0], -EIO);
	t = weft_spawn(return_it, &result);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(n_told, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("end");

	add_case(s, "join", many_joiners);
	add_case(s, "exit", exit_from_deep_frames);
	add_case(s, "defer", deferred_are_done_shielded);
	add_case(s, "data", data_is_the_tasklets_own);
	add_case(s, "handler", handler_is_told_of_failures,
		 handler_may_stop_the_run, handler_is_told_of_a_fresh_one);
	return run_suite(s);
}
