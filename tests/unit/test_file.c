/* SPDX-License-Identifier: MIT */
/*
 * Files by offset, contents and sizes, and paths.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "support.h"

#ifndef IOV_MAX
#define IOV_MAX 1024
#endif

enum { SIZE = 100000 };

/* Whether the kernel's ring seems to have no operation at all that is asked for. */
static bool hides_operations;
static int n_asked;

struct io_uring_probe *__real_io_uring_get_probe_ring(struct io_uring *ring);
struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring);

struct io_uring_probe *__wrap_io_uring_get_probe_ring(struct io_uring *ring)
{
	n_asked++;
	if (!hides_operations)
		return __real_io_uring_get_probe_ring(ring);
	/* That of the last operation, number 0, is looked at. */
	return calloc(1, sizeof(struct io_uring_probe) +
				 sizeof(struct io_uring_probe_op));
}

static char folder[64];
static int place = -1; /* the folder, opened */

static unsigned char byte_at(off_t offset)
{
	return (unsigned char)(offset % 251);
}

static void enter_folder(void)
{
	snprintf(folder, sizeof folder, "/tmp/weft-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	place = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_ge(place, 0);
}

static void leave_folder(void)
{
	char command[128];

	snprintf(command, sizeof command, "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
	close(place);
}

static int make_file(const char *name, size_t size)
{
	int fd = openat(place, name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC,
			0600);
	unsigned char *bytes = malloc(size + 1);

	ck_assert_int_ge(fd, 0);
	ck_assert(bytes);
	for (size_t i = 0; i < size; i++)
		bytes[i] = byte_at((off_t)i);
	ck_assert_int_eq(write(fd, bytes, size), (ssize_t)size);
	free(bytes);
	return fd;
}

static void check_bytes(const unsigned char *bytes, size_t n, off_t offset)
{
	for (size_t i = 0; i < n; i++)
		ck_assert_uint_eq(bytes[i], byte_at(offset + (off_t)i));
}

/* Throws a file out of the kernel's memory, as far as that lets go of it. */
static void forget_pages(int fd)
{
	ck_assert_int_eq(fsync(fd), 0);
	ck_assert_int_eq(posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED), 0);
}

/* What is read is what is at the offset, in memory or not, up to the end; and the
 * position stays where it is. */
START_TEST(reads_at_an_offset)
{
	static const off_t offsets[] = { 0, 1, 4095, 4096, 50000, SIZE - 10 };
	unsigned char bytes[5000];
	int fd = make_file("a", SIZE);

	for (int round = 0; round < 40; round++) {
		off_t offset = offsets[round % 6];
		ssize_t n;

		if (round % 3 == 0)
			forget_pages(fd);
		n = weft_pread(fd, bytes, sizeof bytes, offset);
		ck_assert_int_eq(
			n, offset == SIZE - 10 ? 10 : (ssize_t)sizeof bytes);
		check_bytes(bytes, (size_t)n, offset);
		ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), SIZE);
	}
	ck_assert_int_eq(weft_pread(fd, bytes, 10, SIZE), 0);
	ck_assert_int_eq(weft_pread(fd, bytes, 10, SIZE + 1000), 0);
	ck_assert_int_eq(weft_pread(fd, bytes, 0, 0), 0);
	ck_assert_int_eq(weft_close(fd), 0);
}
END_TEST

/* Several buffers are filled one after the other, and emptied likewise. */
START_TEST(several_buffers)
{
	unsigned char a[3], b[5000], c[1], d[7000];
	struct iovec iov[] = { { a, sizeof a },
			       { b, sizeof b },
			       { NULL, 0 },
			       { c, sizeof c },
			       { d, sizeof d } };
	size_t size = sizeof a + sizeof b + sizeof c + sizeof d;
	int fd = make_file("a", SIZE);
	int copy = make_file("b", 0);

	for (int round = 0; round < 10; round++) {
		off_t offset = 1000 * round;

		if (round % 2)
			forget_pages(fd);
		ck_assert_int_eq(weft_preadv(fd, iov, 5, offset),
				 (ssize_t)size);
		check_bytes(a, sizeof a, offset);
		check_bytes(b, sizeof b, offset + 3);
		check_bytes(c, sizeof c, offset + 5003);
		check_bytes(d, sizeof d, offset + 5004);
		ck_assert_int_eq(weft_pwritev(copy, iov, 5, offset),
				 (ssize_t)size);
		ck_assert_int_eq(pread(copy, d, sizeof d, offset + 5004),
				 (ssize_t)sizeof d);
		check_bytes(d, sizeof d, offset + 5004);
	}
	ck_assert_int_eq(lseek(copy, 0, SEEK_CUR), 0);
	ck_assert_int_eq(weft_preadv(fd, iov, 0, 0), 0);
	weft_close(fd);
	weft_close(copy);
}
END_TEST

/* A write lands at its offset, beyond the end too; with O_APPEND at the end. */
START_TEST(writes_at_an_offset)
{
	unsigned char bytes[10], zero[4];
	int fd = make_file("a", 0);
	int end;

	for (int i = 0; i < 10; i++)
		bytes[i] = byte_at(4 + i);
	ck_assert_int_eq(weft_pwrite(fd, bytes, 10, 4), 10);
	ck_assert_int_eq(pread(fd, zero, 4, 0), 4);
	ck_assert_int_eq(memcmp(zero, "\0\0\0\0", 4), 0);
	ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), 0);
	end = openat(place, "a", O_WRONLY | O_APPEND | O_CLOEXEC);
	ck_assert_int_eq(weft_pwrite(end, "x", 1, 0), 1);
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 15);
	close(end);
	close(fd);
}
END_TEST

/* What has no offsets says so, and is not read. */
START_TEST(no_offsets)
{
	char byte = 'x';
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], &byte, 1), 1);
	ck_assert_int_eq(weft_pread(fds[0], &byte, 1, 0), -ESPIPE);
	ck_assert_int_eq(weft_pwrite(fds[1], &byte, 1, 0), -ESPIPE);
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	close(fds[0]);
	close(fds[1]);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(weft_pread(fds[0], &byte, 1, 0), -ESPIPE);
	ck_assert_int_eq(weft_pwrite(fds[0], &byte, 1, 0), -ESPIPE);
	close(fds[0]);
	close(fds[1]);
	fds[0] = posix_openpt(O_RDWR | O_NOCTTY);
	if (fds[0] >= 0) {
		ck_assert_int_eq(weft_pread(fds[0], &byte, 1, 0), -ESPIPE);
		close(fds[0]);
	}
	/* A device with offsets. */
	fds[0] = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(weft_pread(fds[0], &byte, 1, 12345), 1);
	ck_assert_int_eq(byte, 0);
	close(fds[0]);
}
END_TEST

/* What has no place in a file system has no offsets either, though lseek(2) may say
 * so. Its bytes are left alone. */
START_TEST(no_offsets_without_a_file)
{
	int fds[2] = { eventfd(3, EFD_CLOEXEC), inotify_init1(IN_CLOEXEC) };
	uint64_t value = 1;

	ck_assert_int_eq(weft_pread(fds[0], &value, sizeof value, 0), -ESPIPE);
	ck_assert_int_eq(weft_pwrite(fds[0], &value, sizeof value, 0), -ESPIPE);
	ck_assert_int_eq(weft_pread(fds[1], &value, sizeof value, 0), -ESPIPE);
	ck_assert_int_eq(read(fds[0], &value, sizeof value), sizeof value);
	ck_assert_uint_eq(value, 3);
	close(fds[0]);
	close(fds[1]);
}
END_TEST

/* A number that was a file's, and is a pipe's without weft having been told. */
START_TEST(no_offsets_any_more)
{
	int fd = make_file("file", 1);
	char byte = 'x';
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	ck_assert_int_eq(write(fds[1], &byte, 1), 1);
	for (int i = 0; i < 10; i++) {
		struct iovec v = { .iov_base = &byte, .iov_len = 1 };
		int place_of_file = openat(place, "file", O_RDWR | O_CLOEXEC);

		ck_assert_int_eq(dup2(place_of_file, fd), fd);
		ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
		ck_assert_int_eq(weft_read(fd, &byte, 1), 1);
		ck_assert_int_eq(weft_pread(fd, &byte, 1, 0), 1);
		ck_assert_int_eq(dup2(fds[_i], fd), fd);
		if (_i)
			ck_assert_int_eq(weft_pwritev(fd, &v, 1, 0), -ESPIPE);
		else
			ck_assert_int_eq(weft_preadv(fd, &v, 1, 0), -ESPIPE);
		close(place_of_file);
	}
	ck_assert_int_eq(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
	ck_assert_int_eq(read(fds[0], &byte, 1), 1);
	ck_assert_int_eq(read(fds[0], &byte, 1), -1);
	close(fds[0]);
	close(fds[1]);
	close(fd);
}
END_TEST

/* A call that a helper makes ends before its descriptor is closed: the number may be
 * another file's after that. */
struct shortening {
	int fd;
	int rc;
};

static int shorten(void *arg)
{
	struct shortening *c = arg;

	c->rc = weft_ftruncate(c->fd, 0);
	return 0;
}

START_TEST(helpers_leave_a_reused_number_alone)
{
	struct shortening calls[40];
	struct stat st;

	hides_operations = true;
	for (int i = 0; i < 50; i++) {
		int fd = make_file("file", 10);
		int other;

		for (size_t k = 0; k < N_ELEMENTS(calls); k++) {
			calls[k] = (struct shortening){ .fd = fd, .rc = 1 };
			weft_spawn(shorten, &calls[k]);
		}
		weft_schedule();
		ck_assert_int_eq(weft_close(fd), 0);
		other = make_file("other", 10);
		ck_assert_int_eq(other, fd);
		weft_run();
		ck_assert_int_eq(fstat(other, &st), 0);
		ck_assert_int_eq(st.st_size, 10);
		for (size_t k = 0; k < N_ELEMENTS(calls); k++)
			ck_assert(calls[k].rc == 0 ||
				  calls[k].rc == -ECANCELED);
		close(other);
	}
}
END_TEST

/* Each wrong argument has the error of the call of POSIX. */
START_TEST(wrong_arguments)
{
	struct iovec iov = { .iov_base = NULL, .iov_len = 0 };
	struct iovec huge[2] = { { NULL, LONG_MAX }, { NULL, 1 } };
	char byte;
	int fd = make_file("a", 10);
	int only;

	ck_assert_int_eq(weft_pread(fd, &byte, 1, -1), -EINVAL);
	ck_assert_int_eq(weft_pwrite(fd, &byte, 1, -5), -EINVAL);
	ck_assert_int_eq(weft_preadv(fd, &iov, -1, 0), -EINVAL);
	ck_assert_int_eq(weft_preadv(fd, &iov, IOV_MAX + 1, 0), -EINVAL);
	ck_assert_int_eq(weft_preadv(fd, NULL, 1, 0), -EFAULT);
	ck_assert_int_eq(weft_pwritev(fd, huge, 2, 0), -EINVAL);
	if (!is_under_valgrind()) /* which sees it, too */
		ck_assert_int_eq(weft_pread(fd, NULL, 5, 0), -EFAULT);
	ck_assert_int_eq(weft_pread(-1, &byte, 1, 0), -EBADF);
	ck_assert_int_eq(weft_pwrite(1000000, &byte, 1, 0), -EBADF);
	ck_assert_int_eq(weft_pread(place, &byte, 1, 0), -EISDIR);
	only = openat(place, "a", O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(weft_pread(only, &byte, 1, 0), -EBADF);
	close(only);
	ck_assert_int_eq(weft_ftruncate(fd, -1), -EINVAL);
	ck_assert_int_eq(weft_ftruncate(-1, 0), -EBADF);
	ck_assert_int_eq(weft_fallocate(fd, 0, -1, 5), -EINVAL);
	ck_assert_int_eq(weft_fdatasync(-1), -EBADF);
	ck_assert_int_eq(weft_unlinkat(place, "nothing", 0), -ENOENT);
	ck_assert_int_eq(weft_unlinkat(place, "a", 0x4000), -EINVAL);
	ck_assert_int_eq(weft_unlinkat(place, NULL, 0), -EFAULT);
	close(fd);
}
END_TEST

static off_t size_of(int fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd, &st), 0);
	return st.st_size;
}

/* Sizes and what is written back; by the ring (0) or by a helper (1). */
START_TEST(contents)
{
	int fd = make_file("a", 100);

	hides_operations = _i;
	ck_assert_int_eq(weft_ftruncate(fd, 40), 0);
	ck_assert_int_eq(size_of(fd), 40);
	ck_assert_int_eq(weft_ftruncate(fd, 4000), 0);
	ck_assert_int_eq(size_of(fd), 4000);
	ck_assert_int_eq(weft_fallocate(fd, 0, 4000, 1000), 0);
	ck_assert_int_eq(size_of(fd), 5000);
	ck_assert_int_eq(weft_fdatasync(fd), 0);
	ck_assert_int_eq(weft_fsync(fd), 0);
	ck_assert_int_eq(n_asked, have_io_uring());
	close(fd);
}
END_TEST

/* Paths are made, linked, renamed, looked at and removed; likewise. */
START_TEST(paths)
{
	struct statx st;
	char text[16] = "";
	int fd = make_file("a", 123);

	hides_operations = _i;
	close(fd);
	ck_assert_int_eq(weft_mkdirat(place, "d", 0700), 0);
	ck_assert_int_eq(weft_mkdirat(place, "d", 0700), -EEXIST);
	ck_assert_int_eq(weft_linkat(place, "a", place, "d/b", 0), 0);
	if (!lacks_call(SYS_statx, "statx")) {
		ck_assert_int_eq(
			weft_statx(place, "d/b", 0, STATX_BASIC_STATS, &st), 0);
		ck_assert_uint_eq(st.stx_size, 123);
		ck_assert_uint_eq(st.stx_nlink, 2);
	}
	ck_assert_int_eq(weft_symlinkat("d/b", place, "s"), 0);
	ck_assert_int_eq(readlinkat(place, "s", text, sizeof text), 3);
	ck_assert_str_eq(text, "d/b");
	ck_assert_int_eq(weft_renameat(place, "a", place, "c"), 0);
	ck_assert_int_eq(faccessat(place, "a", F_OK, 0), -1);
	ck_assert_int_eq(weft_unlinkat(place, "d", AT_REMOVEDIR), -ENOTEMPTY);
	ck_assert_int_eq(weft_unlinkat(place, "d/b", 0), 0);
	ck_assert_int_eq(weft_unlinkat(place, "d", AT_REMOVEDIR), 0);
	ck_assert_int_eq(weft_unlinkat(place, "c", 0), 0);
	ck_assert_int_eq(weft_unlinkat(place, "s", 0), 0);
}
END_TEST

struct reader {
	int fd, number;
	ssize_t n;
};

static int read_records(void *arg)
{
	struct reader *r = arg;
	unsigned char bytes[512];

	for (int i = 0; i < 50; i++) {
		off_t offset = (r->number * 977 + i * 1531) % (SIZE - 512);

		if (i % 10 == 0)
			posix_fadvise(r->fd, 0, 0, POSIX_FADV_DONTNEED);
		r->n = weft_pread(r->fd, bytes, sizeof bytes, offset);
		if (r->n != (ssize_t)sizeof bytes)
			return -EIO;
		for (size_t k = 0; k < sizeof bytes; k++)
			if (bytes[k] != byte_at(offset + (off_t)k))
				return -EILSEQ;
	}
	return 0;
}

/* Many tasklets read one file at once. */
START_TEST(many_readers)
{
	enum { N = 100 };
	static struct reader readers[N];
	weft_group *g = weft_group_new();
	int fd = make_file("a", SIZE);

	fsync(fd);
	for (int i = 0; i < N; i++) {
		readers[i] = (struct reader){ .fd = fd, .number = i };
		weft_group_spawn(g, read_records, &readers[i]);
	}
	ck_assert_int_eq(weft_group_wait(g), 0);
	weft_group_free(g);
	close(fd);
}
END_TEST

/* Under a trap what is in memory can be read. */
START_TEST(trapped)
{
	unsigned char bytes[100];
	int fd = make_file("a", SIZE);

	if (lacks_reads_at_once())
		return;
	weft_switch_trap(1);
	ck_assert_int_eq(weft_pread(fd, bytes, sizeof bytes, 500), 100);
	weft_switch_trap(-1);
	check_bytes(bytes, sizeof bytes, 500);
	close(fd);
}
END_TEST

/* A tasklet that was killed reads nothing. */
static int read_killed(void *arg)
{
	char byte;

	while (weft_schedule() == 0)
		;
	*(ssize_t *)arg = weft_pread(place, &byte, 1, 0);
	return 0;
}

START_TEST(killed)
{
	ssize_t n = 0;
	weft_tasklet t = weft_spawn(read_killed, &n);

	weft_schedule();
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	weft_run();
	ck_assert_int_eq(n, -ECANCELED);
}
END_TEST

static void add_rule(Suite *s, const char *rule, const TTest *test)
{
	tcase_add_checked_fixture(add_case(s, rule, test), enter_folder,
				  leave_folder);
}

static void add_rules(Suite *s, const char *rule, const TTest *test, int n)
{
	TCase *c = tcase_create(rule);

	tcase_set_timeout(c, 60);
	tcase_add_checked_fixture(c, enter_folder, leave_folder);
	tcase_add_loop_test(c, test, 0, n);
	suite_add_tcase(s, c);
}

int main(void)
{
	Suite *s = suite_create("file");

	add_rule(s, "reads", reads_at_an_offset);
	add_rule(s, "several buffers", several_buffers);
	add_rule(s, "writes", writes_at_an_offset);
	add_rule(s, "no offsets", no_offsets);
	add_rule(s, "no offsets, no file", no_offsets_without_a_file);
	add_rules(s, "no offsets any more", no_offsets_any_more, 2);
	add_rule(s, "wrong arguments", wrong_arguments);
	add_rules(s, "contents", contents, 2);
	add_rules(s, "paths", paths, 2);
	add_rule(s, "close", helpers_leave_a_reused_number_alone);
	add_rule(s, "many", many_readers);
	add_rule(s, "trapped", trapped);
	add_rule(s, "killed", killed);
	return run_suite(s);
}
