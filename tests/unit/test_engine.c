/* SPDX-License-Identifier: MIT */
/*
 * The ring as this or that liburing and kernel hand it out, and what becomes of
 * I/O on it.
 */
#include <check.h>
#include <errno.h>
#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "support.h"

#ifndef IORING_SETUP_NO_SQARRAY
#define IORING_SETUP_NO_SQARRAY (1U << 16)
#endif

/* What the library calls; this program is linked so. */
int __real_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);
int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p);

static bool without_array;
static int n_without_array;

/* As liburing from 2.6 on does it. Older ones fill in the array all the same,
 * wherever they believe it to be: so they only map this ring. */
static int set_up_without_array(unsigned entries, struct io_uring *ring,
				struct io_uring_params *p)
{
	int fd, rc;

	p->flags |= IORING_SETUP_NO_SQARRAY;
	fd = (int)syscall(SYS_io_uring_setup, entries, p);
	if (fd < 0)
		return -errno;
	rc = io_uring_queue_mmap(fd, p, ring);
	if (rc) {
		close(fd);
		return rc;
	}
	/* Newer ones leave these to who calls them. */
	ring->ring_fd = ring->enter_ring_fd = fd;
	ring->flags = p->flags;
	ring->features = p->features;
	ring->sq.array = NULL;
	n_without_array++;
	return 0;
}

int __wrap_io_uring_queue_init_params(unsigned entries, struct io_uring *ring,
				      struct io_uring_params *p)
{
	return without_array
		       ? set_up_without_array(entries, ring, p)
		       : __real_io_uring_queue_init_params(entries, ring, p);
}

static int await_nops(void *arg)
{
	for (int i = 0; i < 20; i++) {
		struct io_uring_sqe sqe = { 0 };

		io_uring_prep_nop(&sqe);
		*(int *)arg += weft_await(&sqe) == 0;
	}
	return 0;
}

enum { TASKLETS = 1000 };

/* liburing from 2.6 on sets rings up without the array of indexes, and leaves
 * its pointer NULL. */
START_TEST(ring_without_an_array)
{
	char byte = 0;
	ssize_t written;
	int n_done = 0;
	int fds[2];

	without_array = true;
	ck_assert_int_eq(pipe(fds), 0);
	written = weft_write(fds[1], "x", 1);
	if (written == -EINVAL)
		return; /* a kernel older than 6.6: no such ring to be had */
	ck_assert_int_eq(written, 1);
	ck_assert_int_eq(n_without_array, 1);
	ck_assert_int_eq(weft_read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(byte, 'x');
	for (int i = 0; i < TASKLETS; i++)
		weft_spawn(await_nops, &n_done);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_done, 20 * TASKLETS);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("engine");

	if (lacks_io_uring())
		return SKIPPED;
	add_case(s, "set-up", ring_without_an_array);
	return run_suite(s);
}
