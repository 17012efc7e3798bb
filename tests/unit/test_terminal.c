/* SPDX-License-Identifier: MIT */
/*
 * Writes to terminals: one that nobody reads holds up who writes to it, and no
 * other.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

enum { BYTES = 1 << 16, TERMINALS = 70 };

struct terminal {
	int master, slave;
	ssize_t rc;
	int next_rc;
	size_t n_read;
};

/* One that hands on what it gets as it is. */
static void open_terminal(struct terminal *t)
{
	struct termios raw;

	*t = (struct terminal){ .master = posix_openpt(O_RDWR | O_NOCTTY) };
	ck_assert_int_ge(t->master, 0);
	ck_assert_int_eq(grantpt(t->master), 0);
	ck_assert_int_eq(unlockpt(t->master), 0);
	t->slave = open(ptsname(t->master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(t->slave, 0);
	ck_assert_int_eq(tcgetattr(t->slave, &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(t->slave, TCSANOW, &raw), 0);
}

static char bytes[BYTES];

static int write_much(void *arg)
{
	struct terminal *t = arg;

	t->rc = 0;
	while (t->rc >= 0 && t->rc < BYTES) {
		ssize_t n =
			weft_write(t->slave, bytes, (size_t)(BYTES - t->rc));

		t->rc = n < 0 ? n : t->rc + n;
	}
	t->next_rc = weft_sleep(0);
	return 0;
}

static int read_much(void *arg)
{
	struct terminal *t = arg;
	char buf[4096];

	while (t->n_read < BYTES) {
		ssize_t n = weft_read(t->master, buf, sizeof buf);

		if (n <= 0)
			return (int)n;
		t->n_read += (size_t)n;
	}
	return 0;
}

static int take_turns(void *arg)
{
	int *n = arg;

	for (; *n < 200; ++*n)
		weft_sleep(WEFT_MILLISECOND / 10);
	return 0;
}

static void let_others_run(void)
{
	int n = 0;

	weft_tasklet_join(weft_spawn(take_turns, &n));
	ck_assert_int_eq(n, 200);
}

/* Until somebody reads it, or it is let go on, others run. With O_NONBLOCK too. */
START_TEST(full_terminal_holds_up_its_writer_only)
{
	bool is_stopped = _i % 2, is_nonblocking = _i / 2;
	struct terminal t;

	open_terminal(&t);
	if (is_stopped)
		ck_assert_int_eq(tcflow(t.slave, TCOOFF), 0);
	if (is_nonblocking)
		fcntl(t.slave, F_SETFL, O_RDWR | O_NONBLOCK);
	weft_spawn(write_much, &t);
	let_others_run();
	ck_assert_int_lt(t.rc, BYTES);
	if (is_stopped)
		ck_assert_int_eq(tcflow(t.slave, TCOON), 0);
	weft_spawn(read_much, &t);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(t.rc, BYTES);
	ck_assert_uint_eq(t.n_read, BYTES);
}
END_TEST

/* A kill ends the wait: what the terminal had taken by then is the result. */
START_TEST(writer_is_killed)
{
	struct terminal t;
	weft_tasklet w;

	open_terminal(&t);
	w = weft_spawn(write_much, &t);
	let_others_run();
	ck_assert_int_eq(weft_tasklet_kill(w, 0), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(t.rc, -ECANCELED);
	ck_assert_int_eq(t.next_rc, -ECANCELED);
}
END_TEST

/* As many as there be. */
START_TEST(full_terminals_do_not_hold_up_another)
{
	static struct terminal full[TERMINALS];
	struct terminal t;

	for (int i = 0; i < TERMINALS; i++) {
		open_terminal(&full[i]);
		weft_spawn(write_much, &full[i]);
	}
	weft_pump();
	open_terminal(&t);
	weft_spawn(read_much, &t);
	write_much(&t);
	ck_assert_int_eq(t.rc, BYTES);
	for (int i = 0; i < TERMINALS; i++)
		weft_spawn(read_much, &full[i]);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < TERMINALS; i++)
		ck_assert_int_eq(full[i].rc, BYTES);
}
END_TEST

/* A device that never waits is written to at once, also with a trap. */
START_TEST(null_device)
{
	int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(weft_write(fd, bytes, BYTES), BYTES);
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_write(fd, bytes, BYTES), BYTES);
	weft_set_block_trap(false);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("terminal");

	add_loop(s, "full", full_terminal_holds_up_its_writer_only, 4);
	add_case(s, "killed", writer_is_killed);
	add_case(s, "many", full_terminals_do_not_hold_up_another);
	add_case(s, "other devices", null_device);
	return run_suite(s);
}
