/* SPDX-License-Identifier: MIT */
/*
 * How tasklets wait for an operation.
 */
#ifndef WEFT__IO_H
#define WEFT__IO_H

#include <liburing.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "engine/carry.h"

struct msghdr;
struct scheduler;

/* Awaits an operation, with the checks that every blocking call makes. Returns
 * the completion's res, or why the operation was not started. */
int weft__await(const struct io_uring_sqe *sqe);

/* The same without the checks, and with the completion's flags. Of a zero-copy
 * send these are the first completion's, and IORING_NOTIF_USAGE_ZC_COPIED if the
 * second one says so. 0, or a
 * negative errno: the operation was not started, or it was interrupted and had
 * no result, or it had to wait under a trap. */
int weft__await_operation(struct scheduler *s, const struct io_uring_sqe *sqe,
			  int *res, uint32_t *flags);

/* Waits until @fd is readable, and closes it, whatever happens: also if the tasklet
 * never runs again. The caller has called weft__may_wait() and
 * weft__get_ready(). 0 or a negative errno. */
int weft__await_and_close(struct scheduler *s, int fd);

/* Before a cancel operation of the user's is begun: from then on the calling thread
 * takes -ECANCELED for its work where nothing else explains it. */
void weft__note_user_cancel(void);
bool weft__user_cancels(void);

/* Before @fd is closed: operations on it that were cut short and would be begun
 * again return -ECANCELED. */
void weft__call_back_unseen(int fd);

/* The same for waits of weft_poll() that are over, and have not looked at @fd yet. */
void weft__call_back_polls(int fd);

/* Opens the engine if it does not take operations: 0, or what a call that needs it
 * must return. May give way, for good if the thread ends: the caller holds nothing
 * that it would have to release. */
int weft__get_ready(struct scheduler *s);

/* Closes the descriptors that came with a message. */
void weft__close_received(struct msghdr *msg);

/* Whether the operation would have no completion, or is linked to others. */
bool weft__is_unusable(const struct io_uring_sqe *sqe);

/* For calls that are not begun because the engine refuses them: gives way, so
 * that a tasklet that tries again and again does not keep the thread. Returns
 * -ECANCELED. */
int weft__refuse(void);

/* Whether @fd is a Unix socket. */
bool weft__is_local(int fd);

/* More than the kernel moves at once, and no more than the SQE's 32 bits
 * hold. */
static inline unsigned weft__clamp(size_t count)
{
	const size_t most = INT_MAX & ~(size_t)4095;

	return (unsigned)(count < most ? count : most);
}

/* Counts the bytes of @n buffers. Fails as a system call that is given them. */
int weft__measure(const struct iovec *iov, int n, size_t *count);

#endif /* WEFT__IO_H */
