/* SPDX-License-Identifier: MIT */
/*
 * The system call that does what an operation does.
 */
#ifndef WEFT__CARRY_H
#define WEFT__CARRY_H

#include <liburing.h>
#include <stdbool.h>

/* Newer than the headers of Debian 12. */
enum {
	OP_READ_MULTISHOT = 49,
	OP_WAITID = 50,
	OP_FTRUNCATE = 55,
	OP_BIND = 56,
	OP_LISTEN = 57,
	OP_RECV_ZC = 58,
	OP_PIPE = 62
};
enum { ACCEPT_DONTWAIT = 1 << 1 };
#ifndef IORING_SEND_ZC_REPORT_USAGE
#define IORING_SEND_ZC_REPORT_USAGE  (1U << 3)
#define IORING_NOTIF_USAGE_ZC_COPIED (1U << 31)
#endif

/* Makes the system call instead of the operation, and waits as long as the call
 * does. Its result, or a negative errno; -EOPNOTSUPP if no call is known. */
int weft__carry_out(const struct io_uring_sqe *sqe);

/* What a receive that waits gets from a datagram socket that was shut down: 0, and
 * a message has no address, no control data and no flags. */
int weft__receive_nothing(const struct io_uring_sqe *sqe);

/* Whether weft__carry_out() knows the call. */
bool weft__can_carry_out(unsigned opcode);

#endif /* WEFT__CARRY_H */
