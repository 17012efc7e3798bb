/* SPDX-License-Identifier: MIT */
/*
 * weft_await(): which operations it takes, and which it refuses.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "support.h"

/* Not of liburing 2.3. */
enum { READ_MULTISHOT = 49, RECV_ZC = 58, PIPE = 62, TIMEOUT_MULTISHOT = 64 };

static int ends[2];

static void refuses(const struct io_uring_sqe *sqe)
{
	struct io_uring_cqe cqe = { .res = 77 };

	ck_assert_int_eq(weft_await(sqe), -EINVAL);
	ck_assert_int_eq(weft_await_cqe(sqe, &cqe), -EINVAL);
	ck_assert_int_eq(cqe.res, 77);
}

/* What is linked, has no completion of its own, or needs what is registered. */
START_TEST(refuses_flags)
{
	static const unsigned flags[] = {
		IOSQE_FIXED_FILE,  IOSQE_IO_DRAIN,      IOSQE_IO_LINK,
		IOSQE_IO_HARDLINK, IOSQE_BUFFER_SELECT, IOSQE_CQE_SKIP_SUCCESS
	};
	struct io_uring_sqe sqe = { 0 };

	refuses(NULL);
	for (size_t i = 0; i < N_ELEMENTS(flags); i++) {
		io_uring_prep_nop(&sqe);
		sqe.flags |= (uint8_t)flags[i];
		refuses(&sqe);
		sqe.flags |= IOSQE_ASYNC;
		refuses(&sqe);
	}
	io_uring_prep_nop(&sqe);
	sqe.flags = IOSQE_ASYNC;
	ck_assert_int_eq(weft_await(&sqe), 0);
	ck_assert_int_eq(weft_await_cqe(&sqe, NULL), -EINVAL);
}
END_TEST

/* What completes many times. */
START_TEST(refuses_multishot)
{
	struct __kernel_timespec ts = { 0 };
	struct io_uring_sqe sqe = { 0 };
	struct msghdr msg = { 0 };

	io_uring_prep_multishot_accept(&sqe, 0, NULL, NULL, 0);
	refuses(&sqe);
	io_uring_prep_recv_multishot(&sqe, 0, NULL, 0, 0);
	refuses(&sqe);
	io_uring_prep_recvmsg_multishot(&sqe, 0, &msg, 0);
	refuses(&sqe);
	io_uring_prep_poll_multishot(&sqe, 0, POLLIN);
	refuses(&sqe);
	io_uring_prep_timeout(&sqe, &ts, 0, TIMEOUT_MULTISHOT);
	refuses(&sqe);
	io_uring_prep_nop(&sqe);
	sqe.opcode = READ_MULTISHOT;
	refuses(&sqe);
	sqe.opcode = RECV_ZC;
	refuses(&sqe);
}
END_TEST

/* What needs registered buffers or files, or makes a file one of those. */
START_TEST(refuses_what_is_registered)
{
	static const uint8_t makers[] = { IORING_OP_ACCEPT,  IORING_OP_OPENAT,
					  IORING_OP_OPENAT2, IORING_OP_SOCKET,
					  IORING_OP_CLOSE,   PIPE };
	struct io_uring_sqe sqe = { 0 };
	char byte;

	io_uring_prep_read_fixed(&sqe, 0, &byte, 1, 0, 0);
	refuses(&sqe);
	io_uring_prep_write_fixed(&sqe, 0, &byte, 1, 0, 0);
	refuses(&sqe);
	io_uring_prep_send_zc(&sqe, 0, &byte, 1, 0, IORING_RECVSEND_FIXED_BUF);
	refuses(&sqe);
	io_uring_prep_splice(&sqe, 0, -1, 0, -1, 1, SPLICE_F_FD_IN_FIXED);
	refuses(&sqe);
	io_uring_prep_tee(&sqe, 0, 0, 1, SPLICE_F_FD_IN_FIXED);
	refuses(&sqe);
	for (size_t i = 0; i < N_ELEMENTS(makers); i++) {
		io_uring_prep_nop(&sqe);
		sqe.opcode = makers[i];
		sqe.file_index = 1;
		refuses(&sqe);
		sqe.file_index = (unsigned)-1;
		refuses(&sqe);
	}
}
END_TEST

/* The same in their plain forms is taken; and the kernel says what it does not
 * know. */
START_TEST(takes_the_rest)
{
	struct __kernel_timespec ts = { .tv_nsec = 1000 };
	/* Newer versions of liburing leave in an entry what the last had set. */
	static const struct io_uring_sqe none;
	struct io_uring_sqe sqe = none;
	struct io_uring_cqe cqe = { .flags = 99 };
	char byte = 0;
	int fd;

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
	io_uring_prep_send(&sqe, ends[1], "a", 1, 0);
	ck_assert_int_eq(weft_await(&sqe), 1);
	sqe = none;
	io_uring_prep_poll_add(&sqe, ends[0], POLLIN);
	ck_assert_int_eq(weft_await(&sqe) & POLLIN, POLLIN);
	sqe = none;
	io_uring_prep_recv(&sqe, ends[0], &byte, 1, 0);
	ck_assert_int_eq(weft_await_cqe(&sqe, &cqe), 0);
	ck_assert_int_eq(cqe.res, 1);
	ck_assert_uint_eq(cqe.flags & IORING_CQE_F_MORE, 0);
	ck_assert_int_eq(byte, 'a');
	sqe = none;
	io_uring_prep_timeout(&sqe, &ts, 0, 0);
	ck_assert_int_eq(weft_await(&sqe), -ETIME);
	sqe = none;
	io_uring_prep_openat(&sqe, AT_FDCWD, "/dev/null", O_RDWR | O_CLOEXEC,
			     0);
	fd = weft_await(&sqe);
	ck_assert_int_ge(fd, 0);
	sqe = none;
	io_uring_prep_close(&sqe, fd);
	ck_assert_int_eq(weft_await(&sqe), 0);
	sqe = none;
	io_uring_prep_nop(&sqe);
	sqe.opcode = 250;
	ck_assert_int_eq(weft_await(&sqe),
			 have_io_uring() ? -EINVAL : -EOPNOTSUPP);
	close(ends[0]);
	close(ends[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("await");

	add_case(s, "flags", refuses_flags);
	add_case(s, "multishot", refuses_multishot);
	add_case(s, "registered", refuses_what_is_registered);
	add_case(s, "the rest", takes_the_rest);
	return run_suite(s);
}
