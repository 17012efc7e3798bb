/* SPDX-License-Identifier: MIT */
/**
 * uring - any io_uring operation, as a blocking call
 *
 * The one header that needs liburing; <weft.h> does not include it. Prepare a
 * local io_uring_sqe with liburing's io_uring_prep_*() helpers and await it:
 *
 *	struct io_uring_sqe sqe = { 0 };
 *	io_uring_prep_statx(&sqe, AT_FDCWD, "file", 0, STATX_SIZE, &stx);
 *	int rc = weft_await(&sqe);
 */
#ifndef WEFT_URING_H
#define WEFT_URING_H

#include <liburing.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_await - hand an operation to the kernel and block until it completes
 * @sqe: prepared by the caller; copied before the call switches. Its user_data
 *       belongs to weft and is ignored.
 *
 * For operations that end by themselves: not multishot ones, and with none of
 * IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK and IOSQE_IO_DRAIN
 * set. (The last would hold up all of the thread's.) A zero-copy send returns its result when the kernel has let go of the memory.
 *
 * An operation that needs a thread of the kernel's and that the kernel cancels or
 * interrupts by itself is begun again; so is one that another operation of the
 * program's own cancels, which is what weft_tasklet_raise() is for. If the kernel
 * has no thread for it, the calling thread makes the system call itself, if that
 * cannot take for ever; else the result is -EAGAIN.
 *
 * Return: the completion's res, or
 *   -EINVAL  @sqe is NULL or asks for one of the flags above
 *   -ENOMEM  no memory to keep track of one more operation
 *   what io_uring_setup gave, when the thread's ring could not be created
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_await(const struct io_uring_sqe *sqe);

/**
 * weft_await_cqe - weft_await() with the whole completion
 * @cqe: receives res and flags; its user_data is 0; untouched on failure
 *
 * Return: 0 when @cqe was filled in, or an error of weft_await()'s own.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_await_cqe(const struct io_uring_sqe *sqe,
			    struct io_uring_cqe *cqe);

WEFT_END_DECLS

#endif /* WEFT_URING_H */
