/* SPDX-License-Identifier: MIT */
/**
 * uring - any io_uring operation, as a blocking call
 *
 * This is the only header that needs liburing; <weft.h> does not include it. Prepare
 * a local io_uring_sqe with liburing's io_uring_prep_*() helpers and await it:
 *
 *	struct io_uring_sqe sqe = { 0 };
 *	io_uring_prep_statx(&sqe, AT_FDCWD, "file", 0, STATX_SIZE, &stx);
 *	int rc = weft_await(&sqe);
 *
 * weft_await_stream() is for operations that complete many times.
 */
#ifndef WEFT_URING_H
#define WEFT_URING_H

#include <liburing.h>
#include <weft/base.h>
#include <weft/stream.h>

WEFT_BEGIN_DECLS

/**
 * weft_await - submit an operation to the kernel and block until it completes
 * @sqe: prepared by the caller; copied before the call switches. Its user_data
 *       belongs to weft and is ignored.
 *
 * Each operation is one, and ends by itself. So these are refused, with -EINVAL:
 *
 *   - the flags IOSQE_CQE_SKIP_SUCCESS, IOSQE_IO_LINK, IOSQE_IO_HARDLINK and
 *     IOSQE_IO_DRAIN (the last one would hold up all operations of the thread)
 *   - what completes many times: the multishot forms of accept, receive, poll, timeout
 *     and read, and IORING_OP_RECV_ZC; see weft_await_stream()
 *   - what needs buffers or files that are registered with the io_uring:
 *     IOSQE_BUFFER_SELECT, IOSQE_FIXED_FILE, IORING_OP_READ_FIXED and WRITE_FIXED,
 *     IORING_RECVSEND_FIXED_BUF, SPLICE_F_FD_IN_FIXED, and a file_index for a new file
 *
 * A zero-copy send (IORING_OP_SEND_ZC, SENDMSG_ZC) returns its result when the kernel
 * no longer uses the memory. With a trap it fails, since it would have to wait for
 * that.
 *
 * If the kernel by itself cancels or interrupts an operation that needs one of its
 * threads, the operation is begun again. So is one that the program cancels by
 * another operation: to cancel it, use weft_tasklet_raise(). If the kernel has no
 * thread for the operation, the calling thread makes the system call itself,
 * provided that the call cannot take for ever; else the result is -EAGAIN.
 *
 * Return: the completion's res, or
 *   -EINVAL  @sqe is NULL or one of those above
 *   -ENOMEM  no memory to keep track of one more operation
 *   what io_uring_setup returned, if the thread's io_uring could not be created
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_await(const struct io_uring_sqe *sqe);

/**
 * weft_await_cqe - weft_await() with the whole completion
 * @cqe: receives res and flags; its user_data is 0; untouched on failure
 *
 * Of a zero-copy send the flags are those of the first completion, and have
 * IORING_NOTIF_USAGE_ZC_COPIED if the second one reports that.
 *
 * Return: 0 if @cqe was filled in, or an error of weft_await() itself.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_await_cqe(const struct io_uring_sqe *sqe,
			    struct io_uring_cqe *cqe);

/**
 * weft_await_stream - begin an operation that completes many times
 * @sqe: prepared by the caller, as for weft_await(); copied. What it points to must
 *       stay where it is until weft_stream_close() has returned.
 *
 * This is for multishot operations: accept, poll, receive, read, timeout. The
 * operation goes to the kernel with the next batch of the thread. Its completions are
 * given out as they are, in their order, by weft_stream_next_cqe(). All of them are
 * kept until then, however many there are. weft_stream_close() cancels the
 * operation and closes the descriptors that nobody has taken. What weft/stream.h says
 * of threads, close and fork applies; an operation that is cancelled so completes
 * with -ECANCELED.
 *
 * An operation that selects its own buffers takes them from a group that the program
 * has provided by IORING_OP_PROVIDE_BUFFERS, with a number below 32768. Whose
 * completion is not taken, its buffer is lost to the group.
 *
 * Return: the stream; NULL with errno set:
 *   EINVAL     @sqe is NULL or has one of the flags that weft_await() refuses
 *   ENOMEM     there is no memory
 *   EPERM      in a callback
 *   ECANCELED  the thread ends
 *   what io_uring_setup returned, if the thread's io_uring could not be created
 * Context: any tasklet; never switches.
 */
WEFT_API weft_stream *weft_await_stream(const struct io_uring_sqe *sqe);

/**
 * weft_stream_next_cqe - take the next completion, or wait for it
 * @stream: of weft_await_stream()
 * @cqe: receives res and flags; its user_data is 0; untouched unless 1 is returned
 *
 * A completion without IORING_CQE_F_MORE is the last. If there was no memory to keep
 * a completion, the last one has the res -ENOMEM, and the operation was cancelled.
 * A kill, a raise, a deadline or a trap acts as on weft_stream_next().
 *
 * Return: 1: a completion; 0: the last one has been taken; or a negative errno, as
 * weft_stream_next() has them, and
 *   -EINVAL  a pointer is NULL, or the stream is of another kind
 * Context: any tasklet of the stream's thread; may switch.
 */
WEFT_API int weft_stream_next_cqe(weft_stream *stream,
				  struct io_uring_cqe *cqe);

WEFT_END_DECLS

#endif /* WEFT_URING_H */
