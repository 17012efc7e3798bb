/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes of several buffers at the position of a file, and in streams.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weft.h>

#include "ends.h"
#include "support.h"

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

enum { SIZE = 200000, PAGE = 4096 };

static unsigned char byte_at(size_t offset)
{
	return (unsigned char)(offset % 251);
}

/* A file without a name, at its beginning; with so many bytes. */
static int make_file(size_t size, int flags)
{
	char name[] = "/tmp/weft-test-XXXXXX";
	unsigned char *bytes = malloc(size + 1);
	int fd = mkostemp(name, O_CLOEXEC);
	int other = open(name, O_RDWR | O_CLOEXEC | flags);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_ge(other, 0);
	ck_assert(bytes);
	unlink(name);
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at(i);
	ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
	ck_assert_int_eq(fsync(fd), 0);
	free(bytes);
	close(fd);
	return other;
}

/* Leaves so many pages of a file in memory, as far as the kernel obeys. */
static void keep_pages(int fd, size_t n)
{
	char byte;

	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	for (size_t i = 0; i < n; i++)
		ck_assert_int_eq(pread(fd, &byte, 1, (off_t)(i * PAGE)), 1);
}

static void check_bytes(const unsigned char *bytes, size_t n, size_t offset)
{
	size_t i = 0;

	while (i < n && bytes[i] == byte_at(offset + i))
		i++;
	ck_assert_uint_eq(i, n);
}

/* The buffers are filled in their order from the position on, which moves by what
 * was read, whatever part of the file is in memory. */
START_TEST(reads_move_the_position)
{
	static unsigned char a[3], b[5000], c[1], d[30000];
	struct iovec iov[] = { { a, sizeof a },
			       { NULL, 0 },
			       { b, sizeof b },
			       { c, sizeof c },
			       { d, sizeof d } };
	size_t size = sizeof a + sizeof b + sizeof c + sizeof d;
	int fd = make_file(SIZE, 0);

	for (size_t pages = 0; pages < 10; pages++) {
		size_t at = 0;

		keep_pages(fd, pages);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		while (at + size <= SIZE) {
			ck_assert_int_eq(weft_readv(fd, iov, 5), (ssize_t)size);
			check_bytes(a, sizeof a, at);
			check_bytes(b, sizeof b, at + 3);
			check_bytes(c, sizeof c, at + 5003);
			check_bytes(d, sizeof d, at + 5004);
			at += size;
			ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), (off_t)at);
		}
		/* the rest, and the end */
		ck_assert_int_eq(weft_readv(fd, iov, 5), (ssize_t)(SIZE - at));
		ck_assert_int_eq(weft_readv(fd, iov, 5), 0);
	}
	ck_assert_int_eq(weft_readv(fd, iov, 0), 0);
	ck_assert_int_eq(weft_close(fd), 0);
}
END_TEST

/* What is written lands at the position, or at the end with O_APPEND. */
START_TEST(writes_move_the_position)
{
	struct iovec iov[] = { { "ab", 2 }, { "", 0 }, { "cde", 3 } };
	char text[16] = "";
	int fd = make_file(4, _i ? O_APPEND : 0);

	ck_assert_int_eq(weft_writev(fd, iov, 3), 5);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), _i ? 9 : 5);
	ck_assert_int_eq(pread(fd, text, 5, _i ? 4 : 0), 5);
	ck_assert_str_eq(text, "abcde");
	ck_assert_int_eq(weft_writev(fd, iov, 0), 0);
	ck_assert_int_eq(weft_close(fd), 0);
}
END_TEST

/* --- several at once --- */

enum { WRITERS = 4, RECORDS = 200 };

/* Of each writer. */
static unsigned records(void)
{
	return is_under_valgrind() ? 10 : RECORDS;
}

struct record {
	unsigned writer, number, sum;
};

struct writer {
	int fd;
	unsigned number;
	ssize_t n;
};

static int write_records(void *arg)
{
	struct writer *w = arg;

	for (unsigned i = 0; i < records(); i++) {
		struct record r = { w->number, i, w->number * RECORDS + i };
		struct iovec iov[] = { { &r.writer, sizeof r.writer },
				       { &r.number, sizeof r.number },
				       { &r.sum, sizeof r.sum } };

		w->n = weft_writev(w->fd, iov, 3);
		if (w->n != sizeof r)
			break;
	}
	return 0;
}

static void *write_as_thread(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < WRITERS; i++)
		weft_spawn(write_records, &w[i]);
	weft_run();
	return NULL;
}

static unsigned seen[2 * WRITERS];

static void check_record(const struct record *r)
{
	ck_assert_uint_lt(r->writer, 2 * WRITERS);
	ck_assert_uint_eq(r->sum, r->writer * RECORDS + r->number);
	ck_assert_uint_eq(r->number, seen[r->writer]++);
}

/* Of tasklets of two threads: each record is there once, whole, and those of one
 * writer are in order; in a file (0), one with O_APPEND (1) and a pipe (2). */
START_TEST(records_stay_whole)
{
	unsigned n_records = records();
	struct writer writers[2 * WRITERS];
	pthread_t threads[2];
	int fds[2];

	if (_i == 2)
		ck_assert(make_ends(ENDS_PIPE, false, fds));
	else
		fds[0] = fds[1] = make_file(0, _i ? O_APPEND : 0);
	for (unsigned i = 0; i < 2 * WRITERS; i++)
		writers[i] = (struct writer){ .fd = fds[1], .number = i };
	threads[0] = start_thread(write_as_thread, &writers[0]);
	threads[1] = start_thread(write_as_thread, &writers[WRITERS]);
	if (_i < 2) {
		join_thread(threads[0]);
		join_thread(threads[1]);
		lseek(fds[0], 0, SEEK_SET);
	}
	for (unsigned i = 0; i < 2 * WRITERS * n_records; i++) {
		struct record r;
		struct iovec iov[] = { { &r.writer, sizeof r.writer },
				       { &r.number, 2 * sizeof r.number } };

		ck_assert_int_eq(weft_readv(fds[0], iov, 2), sizeof r);
		check_record(&r);
	}
	if (_i == 2) {
		join_thread(threads[0]);
		join_thread(threads[1]);
	}
	for (unsigned i = 0; i < 2 * WRITERS; i++)
		ck_assert_int_eq(writers[i].n, sizeof(struct record));
	close(fds[0]);
	if (_i == 2)
		close(fds[1]);
}
END_TEST

struct reader {
	int fd;
	unsigned char *seen;
	bool is_wrong;
};

static int read_records(void *arg)
{
	struct reader *r = arg;
	unsigned record[16];
	struct iovec iov[] = { { record, 4 },
			       { record + 1, 40 },
			       { record + 11, 20 } };
	ssize_t n;

	while ((n = weft_readv(r->fd, iov, 3)) == sizeof record) {
		for (int i = 1; i < 16; i++)
			r->is_wrong |= record[i] != record[0];
		if (record[0] < RECORDS)
			r->seen[record[0]]++;
	}
	r->is_wrong |= n != 0;
	return 0;
}

/* Tasklets that read by one position get each record once, and whole. */
START_TEST(records_are_read_once)
{
	static unsigned char times[RECORDS];
	struct reader readers[WRITERS];
	unsigned record[16];
	int fd = make_file(0, 0);

	for (unsigned i = 0; i < RECORDS; i++) {
		for (int k = 0; k < 16; k++)
			record[k] = i;
		ck_assert_int_eq(write(fd, record, sizeof record),
				 sizeof record);
	}
	fsync(fd);
	keep_pages(fd, 1);
	lseek(fd, 0, SEEK_SET);
	for (int i = 0; i < WRITERS; i++) {
		readers[i] = (struct reader){ .fd = fd, .seen = times };
		weft_spawn(read_records, &readers[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < WRITERS; i++)
		ck_assert(!readers[i].is_wrong);
	for (int i = 0; i < RECORDS; i++)
		ck_assert_uint_eq(times[i], 1);
	close(fd);
}
END_TEST

/* --- streams --- */

static int read_into_two(void *arg)
{
	char a[2], b[3];
	struct iovec iov[] = { { a, 2 }, { b, 3 } };
	int n = (int)weft_readv(*(int *)arg, iov, 2);

	return n == 4 && !memcmp(a, "ab", 2) && !memcmp(b, "cd", 2) ? 4 : n;
}

/* A reader waits for bytes, O_NONBLOCK or not, and is interrupted without a
 * loss. */
START_TEST(a_reader_of_a_pipe_waits)
{
	struct weft_deadline d;
	weft_tasklet t;
	char text[8];
	int fds[2];

	ck_assert(make_ends(ENDS_PIPE, _i, fds));
	t = weft_spawn(read_into_two, &fds[0]);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_write(fds[1], "abcd", 4), 4);
	ck_assert_int_eq(weft_tasklet_join(t), 4);

	t = weft_spawn(read_into_two, &fds[0]);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -EXDEV);
	t = weft_spawn(read_into_two, &fds[0]);
	ck_assert_int_eq(weft_pump(), 1);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(weft_tasklet_join(t), -ECANCELED);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(read_into_two(&fds[0]), -ETIMEDOUT);
	weft_deadline_end(&d);
	weft_set_block_trap(true);
	ck_assert_int_eq(read_into_two(&fds[0]), -EAGAIN);
	ck_assert_int_eq(weft_write(fds[1], "abcd", 4), 4);
	ck_assert_int_eq(read_into_two(&fds[0]), 4);
	weft_set_block_trap(false);

	ck_assert_int_eq(weft_write(fds[1], "abcd", 4), 4);
	ck_assert_int_eq(weft_close(fds[1]), 0);
	ck_assert_int_eq(read_into_two(&fds[0]), 4);
	ck_assert_int_eq(read_into_two(&fds[0]), 0);
	ck_assert_int_eq(weft_read_full(fds[0], text, 5), 0);
	ck_assert_int_eq(weft_close(fds[0]), 0);
}
END_TEST

/* A pipe without a reader: the error, and the signal, as with writev(2). */
START_TEST(a_pipe_without_a_reader)
{
	struct iovec iov[] = { { "a", 1 }, { "b", 1 } };
	int fds[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert(make_ends(ENDS_PIPE, _i, fds));
	close(fds[0]);
	ck_assert_int_eq(weft_writev(fds[1], iov, 2), -EPIPE);
	ck_assert_int_eq(weft_write_full(fds[1], "a", 1), -EPIPE);
	close(fds[1]);
}
END_TEST

/* --- all of a file --- */

START_TEST(full_at_the_position)
{
	static unsigned char bytes[SIZE + 10];
	int fd = make_file(SIZE, 0);
	int copy = make_file(0, 0);

	keep_pages(fd, 5);
	ck_assert_int_eq(weft_read_full(fd, bytes, 10), 10);
	ck_assert_int_eq(weft_read_full(fd, bytes + 10, SIZE), SIZE - 10);
	ck_assert_int_eq(weft_read_full(fd, bytes, 10), 0);
	check_bytes(bytes, SIZE, 0);
	ck_assert_int_eq(weft_write_full(copy, bytes, SIZE), SIZE);
	memset(bytes, 0, SIZE);
	ck_assert_int_eq(pread(copy, bytes, SIZE + 1, 0), SIZE);
	check_bytes(bytes, SIZE, 0);
	close(fd);
	close(copy);
}
END_TEST

/* --- bad input --- */

START_TEST(wrong_arguments)
{
	static struct iovec many[IOV_MAX + 1];
	struct iovec huge[2] = { { NULL, LONG_MAX }, { NULL, 1 } };
	struct iovec one[2] = { { (char[1]){ 0 }, 1 } };
	char byte;
	int fd = make_file(10, 0);
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int only = open("/dev/null", O_WRONLY | O_CLOEXEC);

	for (int i = 0; i <= IOV_MAX; i++)
		many[i] = (struct iovec){ &byte, 0 };
	many[IOV_MAX - 1].iov_len = 1;
	ck_assert_int_eq(weft_readv(fd, many, IOV_MAX + 1), -EINVAL);
	ck_assert_int_eq(weft_writev(fd, many, IOV_MAX + 1), -EINVAL);
	ck_assert_int_eq(weft_readv(fd, many, -1), -EINVAL);
	ck_assert_int_eq(weft_readv(fd, many, INT_MIN), -EINVAL);
	ck_assert_int_eq(weft_readv(fd, NULL, 1), -EFAULT);
	ck_assert_int_eq(weft_readv(fd, NULL, 0), 0);
	ck_assert_int_eq(weft_writev(fd, huge, 2), -EINVAL);
	ck_assert_int_eq(weft_readv(-1, one, 1), -EBADF);
	ck_assert_int_eq(weft_writev(1000000, one, 1), -EBADF);
	ck_assert_int_eq(weft_readv(folder, one, 1), -EISDIR);
	ck_assert_int_eq(weft_readv(only, one, 1), -EBADF);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	ck_assert_int_eq(weft_readv(fd, many, IOV_MAX), 1);
	ck_assert_int_eq(byte, 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 1);
	if (!is_under_valgrind()) { /* which sees it, too */
		struct iovec bad[2] = { { &byte, 1 }, { NULL, 5 } };

		ck_assert_int_eq(weft_readv(fd, bad + 1, 1), -EFAULT);
		ck_assert_int_eq(weft_readv(fd, bad, 2), 1);
		ck_assert_int_eq(byte, 1);
	}
	close(fd);
	close(folder);
	close(only);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("vector");

	add_case(s, "reads", reads_move_the_position);
	add_loop(s, "writes", writes_move_the_position, 2);
	add_loop(s, "whole records", records_stay_whole, 3);
	add_case(s, "once", records_are_read_once);
	add_loop(s, "pipes", a_reader_of_a_pipe_waits, 2);
	add_loop(s, "no reader", a_pipe_without_a_reader, 2);
	add_case(s, "full", full_at_the_position);
	add_case(s, "wrong arguments", wrong_arguments);
	return run_suite(s);
}
