/* SPDX-License-Identifier: MIT */
/*
 * weft_openat() of FIFOs: it waits for who opens the other end, can be called off,
 * and keeps no other from opening files.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

enum { FIFOS = 40 };

static char folder[64];

static const char *path_of(const char *kind, int i)
{
	static char path[128];

	snprintf(path, sizeof path, "%s/%s%d", folder, kind, i);
	return path;
}

/* A fresh folder with FIFOs. */
static void make_fifos(int n)
{
	snprintf(folder, sizeof folder, "/tmp/weft-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(mkfifo(path_of("fifo", i), 0600), 0);
}

static void remove_fifos(int n)
{
	for (int i = 0; i < n; i++)
		unlink(path_of("fifo", i));
	unlink(path_of("file", 0));
	unlink(path_of("link", 0));
	ck_assert_int_eq(rmdir(folder), 0);
}

static const int NOT_BACK = 12345;

struct opener {
	int number;
	int flags;
	int fd; /* NOT_BACK, the descriptor, or the error */
	int next_rc;
};

static int open_fifo(void *arg)
{
	struct opener *o = arg;
	char path[128];

	snprintf(path, sizeof path, "%s/fifo%d", folder, o->number);
	o->fd = NOT_BACK;
	o->fd = weft_openat(AT_FDCWD, path, o->flags, 0600);
	o->next_rc = weft_sleep(0);
	return 0;
}

static int open_files(void *arg)
{
	char path[128];

	snprintf(path, sizeof path, "%s/file0", folder);
	for (int i = 0; i < 20; i++) {
		int fd = weft_openat(AT_FDCWD, path,
				     O_WRONLY | O_CREAT | O_TRUNC, 0600);

		if (fd < 0)
			return fd;
		weft_close(fd);
	}
	*(bool *)arg = true;
	return 0;
}

/* Lets so much go on beside them that calls would have come back. */
static void open_some_files(void)
{
	bool done = false;
	weft_tasklet t = weft_spawn(open_files, &done);

	(void)weft_tasklet_join(t);
	ck_assert(done);
}

/* How a FIFO may be opened: its end, and with what else. */
static const int ways[] = {
	O_RDONLY,
	O_WRONLY,
	O_RDONLY | O_CREAT,
	O_WRONLY | O_CREAT,
	O_WRONLY | O_CREAT | O_TRUNC,
	O_WRONLY | O_TRUNC,
};

static int other_end(int flags)
{
	return (flags & O_ACCMODE) == O_RDONLY ? O_WRONLY : O_RDONLY;
}

/* Each end waits for the other, and then they are connected. */
START_TEST(open_waits_for_the_other_end)
{
	struct opener first = { .flags = ways[_i] };
	struct opener second = { .flags = other_end(ways[_i]) };
	int n_before, reader, writer;
	struct stat st;
	char byte = 0;

	make_fifos(1);
	open_some_files();
	n_before = n_descriptors();
	weft_spawn(open_fifo, &first);
	weft_pump();
	open_some_files();
	ck_assert_int_eq(first.fd, NOT_BACK);
	weft_spawn(open_fifo, &second);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_ge(first.fd, 0);
	ck_assert_int_ge(second.fd, 0);
	ck_assert_int_eq(n_descriptors(), n_before + 2);
	ck_assert_int_eq(fcntl(first.fd, F_GETFD), FD_CLOEXEC);
	ck_assert_int_eq(fcntl(first.fd, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_eq(fstat(first.fd, &st), 0);
	ck_assert(S_ISFIFO(st.st_mode));
	reader = second.flags == O_RDONLY ? second.fd : first.fd;
	writer = second.flags == O_RDONLY ? first.fd : second.fd;
	ck_assert_int_eq(weft_write(writer, "x", 1), 1);
	ck_assert_int_eq(weft_read(reader, &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	weft_close(writer);
	ck_assert_int_eq(weft_read(reader, &byte, 1), 0);
	remove_fifos(1);
}
END_TEST

static void *open_other_end(void *arg)
{
	struct opener *o = arg;

	o->fd = open(path_of("fifo", 0), o->flags | O_CLOEXEC);
	return NULL;
}

/* The other end is opened by a thread that knows no weft. */
START_TEST(other_end_is_opened_plainly)
{
	struct opener first = { .flags = ways[_i] };
	struct opener second = { .flags = other_end(ways[_i]) };
	pthread_t thread;

	make_fifos(1);
	weft_spawn(open_fifo, &first);
	weft_pump();
	thread = start_thread(open_other_end, &second);
	ck_assert_int_eq(weft_run(), 0);
	join_thread(thread);
	ck_assert_int_ge(first.fd, 0);
	ck_assert_int_ge(second.fd, 0);
	remove_fifos(1);
}
END_TEST

/* Writes once, whoever opened the other end, and is gone. */
static void *pass_by(void *arg)
{
	int fd = open(arg, O_WRONLY | O_CLOEXEC);

	if (write(fd, "x", 1) == 1)
		close(fd);
	return NULL;
}

static void until_asleep_in_open(void)
{
	static const struct timespec nap = { .tv_nsec = 1000 * 1000 };

	for (int i = 0; i < 5; i++)
		nanosleep(&nap, NULL);
}

/* A writer that waits already may be gone when the reader comes to look: what it
 * wrote is there, and its end. */
START_TEST(writer_waits_already)
{
	for (int i = 0; i < 20; i++) {
		struct opener o = { .flags = O_RDONLY };
		pthread_t thread;
		char byte = 0;

		make_fifos(1);
		thread = start_thread(pass_by, (void *)path_of("fifo", 0));
		until_asleep_in_open();
		weft_spawn(open_fifo, &o);
		ck_assert_int_eq(weft_run(), 0);
		ck_assert_int_ge(o.fd, 0);
		ck_assert_int_eq(weft_read(o.fd, &byte, 1), 1);
		ck_assert_int_eq(byte, 'x');
		ck_assert_int_eq(weft_read(o.fd, &byte, 1), 0);
		weft_close(o.fd);
		join_thread(thread);
		remove_fifos(1);
	}
}
END_TEST

/* A kill, a raise or a deadline ends the wait, and no descriptor is left, at
 * whatever step it comes. */
START_TEST(wait_is_called_off)
{
	struct opener o = { .flags = ways[_i % 6] };
	int n_before, n_steps = _i / 6;
	weft_tasklet t;

	make_fifos(1);
	open_some_files();
	n_before = n_descriptors();
	for (int by_raise = 0; by_raise < 2; by_raise++) {
		t = weft_spawn(open_fifo, &o);
		for (int i = 0; i < n_steps; i++)
			weft_pump();
		weft_schedule();
		if (by_raise)
			ck_assert_int_eq(weft_tasklet_raise(t, ENOENT, 0), 0);
		else
			ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
		ck_assert_int_eq(weft_run(), 0);
		ck_assert_int_eq(o.fd, (by_raise ? -ENOENT : -ECANCELED));
		ck_assert_int_eq(o.next_rc, (by_raise ? 0 : -ECANCELED));
		ck_assert_int_eq(n_descriptors(), n_before);
	}
	/* and nobody is at the FIFO any more */
	ck_assert_int_eq(open(path_of("fifo", 0), O_WRONLY | O_NONBLOCK), -1);
	ck_assert_int_eq(errno, ENXIO);
	remove_fifos(1);
}
END_TEST

static int open_with_deadline(void *arg)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + 20 * WEFT_MILLISECOND);
	open_fifo(arg);
	weft_deadline_end(&d);
	return 0;
}

START_TEST(wait_times_out)
{
	struct opener o = { .flags = ways[_i] };
	int n_before;

	make_fifos(1);
	open_some_files();
	n_before = n_descriptors();
	weft_spawn(open_with_deadline, &o);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(o.fd, -ETIMEDOUT);
	ck_assert_int_eq(n_descriptors(), n_before);
	remove_fifos(1);
}
END_TEST

static int open_at_once(int flags)
{
	return weft_openat(AT_FDCWD, path_of("fifo", 0), flags, 0600);
}

/* What open(2) does at once is done at once, with its errors. */
START_TEST(open_that_does_not_wait)
{
	int reader, both;

	make_fifos(1);
	ck_assert_int_eq(open_at_once(O_WRONLY | O_NONBLOCK), -ENXIO);
	ck_assert_int_eq(open_at_once(O_WRONLY | O_CREAT | O_NONBLOCK), -ENXIO);
	ck_assert_int_eq(open_at_once(O_WRONLY | O_CREAT | O_EXCL), -EEXIST);
	ck_assert_int_eq(open_at_once(O_RDONLY | O_DIRECTORY), -ENOTDIR);
	ck_assert_int_eq(symlink("fifo0", path_of("link", 0)), 0);
	ck_assert_int_eq(weft_openat(AT_FDCWD, path_of("link", 0),
				     O_RDONLY | O_NOFOLLOW),
			 -ELOOP);
	ck_assert_int_eq(weft_openat(AT_FDCWD, path_of("none", 0), O_WRONLY),
			 -ENOENT);
	ck_assert_int_eq(
		weft_openat(AT_FDCWD, path_of("none", 0), O_WRONLY | O_TRUNC),
		-ENOENT);
	ck_assert_int_eq(weft_openat(AT_FDCWD, NULL, O_RDONLY), -EFAULT);
	reader = open_at_once(O_RDONLY | O_NONBLOCK);
	ck_assert_int_ge(reader, 0);
	ck_assert_int_ne(fcntl(reader, F_GETFL) & O_NONBLOCK, 0);
	ck_assert_int_ge(open_at_once(O_WRONLY), 0);
	ck_assert_int_ge(open_at_once(O_WRONLY | O_CREAT | O_TRUNC), 0);
	ck_assert_int_ge(open_at_once(O_RDONLY), 0);
	both = open_at_once(O_RDWR);
	ck_assert_int_ge(both, 0);
	ck_assert_int_ge(open_at_once(O_PATH), 0);
	remove_fifos(1);
}
END_TEST

/* With a trap it fails, and leaves nothing open. */
START_TEST(open_under_a_trap)
{
	int error = _i / 6 ? -EPERM : -EAGAIN, n_before, rc;

	make_fifos(1);
	open_some_files();
	n_before = n_descriptors();
	if (_i / 6)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	for (int i = 0; i < 20; i++) {
		rc = open_at_once(ways[_i % 6]);
		ck_assert_int_eq(rc, error);
	}
	ck_assert_int_eq(n_descriptors(), n_before);
	weft_set_block_trap(false);
	if (_i / 6)
		weft_switch_trap(-1);
	remove_fifos(1);
}
END_TEST

static int raise_on_main(void *error)
{
	return weft_tasklet_raise(weft_main(), *(const int *)error,
				  WEFT_PENDING);
}

/* The error of a kill, a raise or a deadline comes before that of a trap, however
 * the path was found to be a FIFO's. */
START_TEST(interruption_comes_before_a_trap)
{
	static const int errors[] = { ECANCELED, EPROTO, ETIMEDOUT };
	int error = errors[_i / 2 % 3], rc;
	struct weft_deadline d;

	make_fifos(1);
	weft_deadline_begin(&d, error == ETIMEDOUT ? 0 : WEFT_FOREVER);
	if (error != ETIMEDOUT)
		weft_tasklet_run(weft_spawn(raise_on_main, &error));
	if (_i % 2)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	rc = open_at_once(ways[_i / 6]);
	weft_set_block_trap(false);
	if (_i % 2)
		weft_switch_trap(-1);
	weft_deadline_end(&d);
	ck_assert_int_eq(rc, -error);
	ck_assert_int_eq(weft_schedule(), 0);
	remove_fifos(1);
}
END_TEST

/* Far more opens that wait than the kernel has threads for files: others open
 * files meanwhile, and each is let go by its peer. */
START_TEST(waiting_opens_keep_nobody_waiting)
{
	static struct opener openers[FIFOS], peers[FIFOS];

	make_fifos(FIFOS);
	for (int i = 0; i < FIFOS; i++) {
		openers[i] = (struct opener){ i, ways[i % 6], NOT_BACK, 0 };
		peers[i] = (struct opener){ i, other_end(ways[i % 6]), NOT_BACK,
					    0 };
		weft_spawn(open_fifo, &openers[i]);
	}
	weft_pump();
	open_some_files();
	for (int i = 0; i < FIFOS; i++)
		ck_assert_int_eq(openers[i].fd, NOT_BACK);
	for (int i = 0; i < FIFOS; i++) {
		peers[i].flags |= O_CREAT;
		weft_spawn(open_fifo, &peers[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < FIFOS; i++) {
		ck_assert_int_ge(openers[i].fd, 0);
		ck_assert_int_ge(peers[i].fd, 0);
	}
	remove_fifos(FIFOS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("open");

	add_loop(s, "FIFO", open_waits_for_the_other_end, N_ELEMENTS(ways));
	add_loop(s, "FIFO and a thread", other_end_is_opened_plainly,
		 N_ELEMENTS(ways));
	add_case(s, "FIFO and a thread", writer_waits_already);
	add_loop(s, "called off", wait_is_called_off, 5 * N_ELEMENTS(ways));
	add_loop(s, "deadline", wait_times_out, N_ELEMENTS(ways));
	add_case(s, "at once", open_that_does_not_wait);
	add_loop(s, "trap", open_under_a_trap, 2 * N_ELEMENTS(ways));
	add_loop(s, "trap", interruption_comes_before_a_trap,
		 6 * N_ELEMENTS(ways));
	add_case(s, "workers", waiting_opens_keep_nobody_waiting);
	return run_suite(s);
}
