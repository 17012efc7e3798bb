/* SPDX-License-Identifier: MIT */
/*
 * A sandbox, or an emulator, that is older than some system calls: it answers them
 * with -ENOSYS, as one without io_uring does. Everything goes on without them.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "ends.h"
#include "support.h"

static char folder[] = "/tmp/weft-sandbox-XXXXXX";
static char path[sizeof folder + 8];

static bool is_missing(long call)
{
	if (call == SYS_io_uring_setup)
		return !have_io_uring();
	return syscall(call, -1, NULL, 0L, 0L, 0L, 0L) < 0 && errno == ENOSYS;
}

static void set_up(void)
{
	static const long calls[] = {
		SYS_preadv2, SYS_pwritev2,     SYS_io_uring_setup,
		SYS_openat2, SYS_epoll_pwait2,
	};

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/file", folder);
	for (size_t i = 0; i < N_ELEMENTS(calls); i++) {
		struct refusal r = { .call = calls[i],
				     .argument = -1,
				     .error = ENOSYS };

		if (!is_missing(calls[i]))
			refuse_call(&r);
	}
}

static void tear_down(void)
{
	unlink(path);
	rmdir(folder);
}

/* A path is opened in each way, and what can never be opened fails as ever. */
START_TEST(open_in_each_way)
{
	static const int flags[] = { O_RDONLY, O_WRONLY, O_RDWR,
				     O_WRONLY | O_TRUNC, O_RDONLY | O_PATH };

	set_up();
	close(creat(path, 0600));
	for (size_t i = 0; i < N_ELEMENTS(flags); i++) {
		int fd = weft_openat(AT_FDCWD, path, flags[i]);

		ck_assert_int_ge(fd, 0);
		ck_assert_int_eq(weft_close(fd), 0);
	}
	ck_assert_int_eq(weft_openat(AT_FDCWD, folder, O_WRONLY), -EISDIR);
	ck_assert_int_eq(weft_openat(AT_FDCWD, "/none/there", O_WRONLY),
			 -ENOENT);
	tear_down();
}
END_TEST

static int open_fifo(void *arg)
{
	*(int *)arg = weft_openat(AT_FDCWD, path, O_WRONLY);
	return 0;
}

/* An open of a FIFO waits for the other end. */
START_TEST(open_waits_for_the_other_end)
{
	int fd = -1, other;

	set_up();
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	weft_spawn(open_fifo, &fd);
	weft_pump();
	ck_assert_int_eq(fd, -1);
	other = weft_openat(AT_FDCWD, path, O_RDONLY);
	ck_assert_int_ge(other, 0);
	weft_run();
	ck_assert_int_ge(fd, 0);
	close(fd);
	close(other);
	tear_down();
}
END_TEST

/* A file is read and written, at its position and at another. */
START_TEST(files)
{
	char bytes[20] = "";
	int fd;

	set_up();
	fd = weft_openat(AT_FDCWD, path, O_RDWR | O_CREAT, 0600);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_write(fd, "some bytes", 10), 10);
	ck_assert_int_eq(weft_pwrite(fd, "more", 4, 10), 4);
	ck_assert_int_eq(weft_read(fd, bytes, sizeof bytes), 4);
	ck_assert_int_eq(weft_pread(fd, bytes, sizeof bytes, 5), 9);
	ck_assert_int_eq(memcmp(bytes, "bytesmore", 9), 0);
	ck_assert_int_eq(weft_pread(fd, bytes, sizeof bytes, 14), 0);
	close(fd);
	fd = open(folder, O_RDONLY);
	ck_assert_int_eq(weft_read(fd, bytes, 1), -EISDIR);
	close(fd);
	tear_down();
}
END_TEST

static int write_to(void *arg)
{
	uint64_t one = 1;

	return (int)weft_write(*(int *)arg, &one, sizeof one);
}

/* Reads wait, on whatever can be read from. */
START_TEST(reads_wait)
{
	enum ends_kind kind = (enum ends_kind)(_i / 2);
	uint64_t value;
	int ends[2];

	set_up();
	if (kind == N_ENDS_KINDS)
		ends[0] = ends[1] = eventfd(0, _i % 2 ? EFD_NONBLOCK : 0);
	else
		ck_assert(make_ends(kind, _i % 2, ends));
	weft_spawn(write_to, &ends[1]);
	ck_assert_int_eq(weft_read(ends[0], &value, sizeof value),
			 sizeof value);
	ck_assert_uint_eq(value, 1);
	weft_spawn(write_to, &ends[1]);
	ck_assert_int_eq(
		weft_readv(ends[0], &(struct iovec){ &value, sizeof value }, 1),
		sizeof value);
	close(ends[0]);
	if (ends[1] != ends[0])
		close(ends[1]);
	tear_down();
}
END_TEST

/* What can never be read or written fails at once, and so does what asks for
 * nothing. */
START_TEST(failures_do_not_wait)
{
	unsigned short port;
	char byte = 'x';
	int pipe_ends[2], datagrams[2];
	int listener, epoll;

	set_up();
	ck_assert(make_ends(ENDS_PIPE, false, pipe_ends));
	ck_assert(make_ends(ENDS_DATAGRAM, false, datagrams));
	listener = listen_on_loopback(1, &port);
	epoll = epoll_create1(EPOLL_CLOEXEC);
	ck_assert_int_eq(weft_write(pipe_ends[0], "x", 1), -EBADF);
	ck_assert_int_eq(weft_read(pipe_ends[1], &byte, 1), -EBADF);
	ck_assert_int_eq(weft_read(-1, &byte, 1), -EBADF);
	ck_assert_int_eq(weft_read(listener, &byte, 1), -ENOTCONN);
	ck_assert_int_eq(weft_read(epoll, &byte, 1), -EINVAL);
	ck_assert_int_eq(weft_write(epoll, &byte, 1), -EINVAL);
	ck_assert_int_eq(weft_read(pipe_ends[0], &byte, 0), 0);
	/* and takes no message */
	ck_assert_int_eq(weft_write(datagrams[1], "x", 1), 1);
	ck_assert_int_eq(weft_read(datagrams[0], &byte, 0), 0);
	ck_assert_int_eq(weft_read(datagrams[0], &byte, 1), 1);
	tear_down();
}
END_TEST

/* Where there are no positions, an operation's is ignored. */
START_TEST(position_of_a_pipe)
{
	struct io_uring_sqe sqe = { 0 };
	char byte;
	int ends[2];

	set_up();
	ck_assert(make_ends(ENDS_PIPE, false, ends));
	ck_assert_int_eq(weft_write(ends[1], "x", 1), 1);
	io_uring_prep_read(&sqe, ends[0], &byte, 1, 7);
	ck_assert_int_eq(weft_await(&sqe), 1);
	close(ends[0]);
	close(ends[1]);
	tear_down();
}
END_TEST

/* Devices have neither positions nor, without the calls, a way not to wait. */
START_TEST(devices)
{
	char byte = 'x';
	int zero, null;

	set_up();
	zero = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	null = open("/dev/null", O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(weft_read(zero, &byte, 1), 1);
	ck_assert_int_eq(byte, 0);
	ck_assert_int_eq(weft_write(null, &byte, 1), 1);
	ck_assert_int_eq(weft_read(null, &byte, 1), 0);
	close(zero);
	close(null);
	tear_down();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sandbox");

	add_case(s, "open", open_in_each_way, open_waits_for_the_other_end);
	add_case(s, "files", files);
	add_loop(s, "reads", reads_wait, 2 * (N_ENDS_KINDS + 1));
	add_case(s, "failures", failures_do_not_wait);
	add_case(s, "positions", position_of_a_pipe);
	add_case(s, "devices", devices);
	return run_suite(s);
}
