/* SPDX-License-Identifier: MIT */
/**
 * io - POSIX I/O that blocks the tasklet and never its thread
 *
 * Arguments and results are those of the POSIX calls of the same name, except
 * that a failure is a negative errno. Descriptors may be of any kind, O_NONBLOCK
 * or not. Each call is an operation on the io_uring of the calling thread. The
 * operations of all its tasklets are submitted to the kernel together: when no
 * tasklet is runnable, and otherwise every 64 switches at the latest. Only reads and
 * writes at the position of a file take another way, see weft_read(). Where there is
 * no io_uring, epoll and helper threads serve instead, see weft_engine(). Besides its
 * own errors, each call returns
 *
 *   -ENOSYS, -EPERM, -ENOMEM, ...  WEFT_ENGINE is uring, and the io_uring could not
 *                                  be created; weft-info says why
 *   -EMFILE, -ENFILE               no descriptor was left for the thread's engine
 *   -EAGAIN                        the kernel has no thread for work that may have
 *                                  to wait, and cannot create one (RLIMIT_NPROC, or
 *                                  the limit of a container)
 *
 * A signal ends no call, whatever its handler does: a call returns -EINTR only if
 * weft_tasklet_raise() raised EINTR. -ECANCELED means that the tasklet was killed,
 * that another tasklet of its thread has closed the descriptor by weft_close(), or
 * that this is a child of fork().
 *
 * The kernel uses a buffer from the call to its return, and never after. A kill or a
 * raise asks the kernel to cancel the operation. The call returns once the kernel no
 * longer uses the buffer: with the error, or, if the operation completed first, with
 * its own result; then the next call returns the error. With a block trap or a
 * switch trap an operation succeeds only if it completes without waiting. At the end
 * of a thread, calls that are shielded from its kill are cancelled too, after the
 * last round, and no operation is begun after that.
 *
 * Limits: all threads share one table of descriptors, so none may have called
 * unshare(CLONE_FILES). Any number of tasklets may wait for one descriptor, but each
 * arrival wakes all of them to serve one. If the kernel does not support RWF_NOWAIT
 * for the descriptor (a terminal; before Linux 6.4 or so a pipe), each of these
 * tasklets can occupy one of the 64 kernel threads that an io_uring has, and other
 * calls that need such a thread then wait. So let few tasklets read it, and pass on
 * what they read by a channel. A device that is O_NONBLOCK and says that it is ready
 * when it is not gives -EAGAIN.
 */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include <poll.h>
#include <sys/uio.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_openat - openat(2); the new descriptor is close-on-exec
 *
 * The mode is read only if @flags has O_CREAT or O_TMPFILE.
 *
 * Opening a FIFO waits until the other end is opened, as open(2) does, unless @flags
 * has O_NONBLOCK. A kill, a raise or a deadline ends the wait, and then no descriptor
 * is left behind. With a trap the call fails instead of waiting. Each open that waits
 * occupies a kernel thread of its own, and delays no other call.
 *
 * Limit: a device is opened as with O_NONBLOCK, though its descriptor is not
 * O_NONBLOCK: so the call does not wait until a serial line has a carrier.
 *
 * Return: the descriptor or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_openat(int dirfd, const char *path, int flags, ...);

/**
 * weft_close - close(2)
 *
 * Calls that other tasklets of this thread have made with this descriptor's number
 * (not with a duplicate of it) are cancelled first: they return -ECANCELED, or their
 * result if they had completed. No such call can begin before the number is closed,
 * unless it is a regular file's, a folder's or a block device's. The close of those can
 * take a while, and the number is open until then: a call that begins meanwhile is made
 * on the file, or on the next one that gets the number.
 * If a helper is already making one of the calls that are cancelled, weft_close()
 * waits for it, unless a trap is set. Calls of other threads are left alone, as by
 * close(2).
 *
 * The call always closes, also for a tasklet that was killed or must not wait. It
 * does not return the error of a kill or a raise. close(2) may have to wait, because
 * of SO_LINGER, the output of a terminal or a network file system: then the tasklet
 * waits. Its thread waits only if there is a trap, or if no helper or no descriptor
 * is available for this.
 *
 * Return: 0 or a negative errno; the descriptor is closed unless it is -EBADF.
 *   -EIO  also if a signal ended the wait for data to be written back
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_close(int fd);

/**
 * weft_read - read(2): at the file's position, if it has one
 *
 * The position is the kernel's, and moves as with read(2), whatever other calls
 * read and write by it: no byte is read twice, and none is lost. Data that is in
 * memory is read at once. For other data, and for a file with O_DIRECT, a helper
 * thread waits. At most 16 helpers of the process do reads and writes of files. Such
 * a call can be interrupted while it waits in line for a helper, and then nothing
 * has been read. After that it returns its result, and the next call returns the
 * error. With a trap it succeeds if the file system can tell that all data is in
 * memory (tmpfs cannot, nor can most file systems for writes). A read of a regular
 * file returns fewer bytes than @count only at the end of the file, or if it has read
 * a part and then other calls move the position, or it is interrupted, or it must not
 * wait.
 *
 * Limits: while a plain read(2) or write(2) of another thread or process waits for
 * its device at the same position, the calling thread waits too, as it would in a
 * read(2). The thread also waits if a call needs a helper and none can be started
 * because there is no memory or the system allows no more threads. A file of /proc
 * whose reads wait, such as /proc/kmsg, occupies a helper for as long. A terminal
 * whose VTIME is set can hold up the thread for that time. A descriptor without reads
 * that can be polled (a pidfd, an io_uring) is found to be one only when it is ready;
 * until then the tasklet waits. That the clock was set (TFD_TIMER_CANCEL_ON_SET of a
 * timerfd) is not told: weft_poll() and then read(2) tell it.
 *
 * SO_RCVTIMEO of a socket has no effect. To limit the time, put the call into a scope
 * of weft_deadline_begin().
 *
 * Return: bytes read, 0 at the end, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_read(int fd, void *buf, size_t count);

/**
 * weft_write - write(2): at the file's position, if it has one
 *
 * The position is handled as by weft_read(): concurrent writes never overwrite each
 * other's bytes, and with O_APPEND each write goes to the end as a whole. Writes
 * of one thread to one file are made in the order of the calls. If a file system
 * cannot promise to put the data into memory without waiting (ext4, for one), a
 * helper makes the write. A write that would grow a file beyond RLIMIT_FSIZE returns
 * -EFBIG and raises SIGXFSZ in the calling thread, as write(2) does.
 *
 * A write to a terminal that is stopped, or that nobody reads, waits in a kernel
 * thread. If it is interrupted after it has written a part, it returns that.
 *
 * A write to a pipe without a reader returns -EPIPE and raises SIGPIPE as write(2)
 * does; for sockets see weft_send(). SO_SNDTIMEO has no effect, as SO_RCVTIMEO has
 * none on weft_read().
 *
 * Return: bytes written, which can be fewer than @count, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_write(int fd, const void *buf, size_t count);

/**
 * weft_readv - readv(2): into several buffers
 * @iov: @n buffers, at most IOV_MAX; filled one after the other
 *
 * It is one read, as weft_read() makes it: what it returns lay side by side.
 *
 * Return: as weft_read().
 *   -EINVAL  also: @n is negative or above IOV_MAX, or the sum of the lengths is above
 *            SSIZE_MAX
 *   -EFAULT  @iov is NULL, and @n is not 0
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_readv(int fd, const struct iovec *iov, int n);

/**
 * weft_writev - writev(2): from several buffers
 *
 * It is one write, as weft_write() makes it: no other write's bytes come between its
 * own, in a pipe up to PIPE_BUF bytes.
 *
 * Return: as weft_write() and weft_readv().
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_writev(int fd, const struct iovec *iov, int n);

/**
 * weft_read_full - read until @count bytes are there
 *
 * The call reads as weft_read() does, again and again, until it has all bytes, the
 * end comes, or something goes wrong. From the first byte on, it returns how many it
 * has read, whatever stopped it: so fewer than @count mean the end or an error. The
 * error of a kill, a raise, a deadline or a trap is the next call's. An error of the
 * descriptor is, too, if it lasts: a connection's reset does not, and the next read
 * finds the end.
 *
 * Return: bytes read, 0 at the end, or a negative errno if not one byte was read.
 *   -EINVAL  @count is above SSIZE_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_read_full(int fd, void *buf, size_t count);

/**
 * weft_write_full - write until all @count bytes are written
 *
 * Like weft_read_full(). Between two of its writes, others can write.
 *
 * Return: bytes written, or a negative errno if not one byte was written.
 *   -EINVAL  @count is above SSIZE_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_write_full(int fd, const void *buf, size_t count);

/**
 * weft_splice - splice(2): between a pipe and another descriptor, without a copy
 * @off_in, @off_out: where to read or write in a file; moved on by what was moved.
 *                    NULL: at its position, which other calls must not use meanwhile
 * @flags: SPLICE_F_MOVE, SPLICE_F_MORE, SPLICE_F_NONBLOCK, SPLICE_F_GIFT
 *
 * Waits until both ends are ready, O_NONBLOCK or not, but not with SPLICE_F_NONBLOCK.
 * It never raises SIGPIPE.
 *
 * If one of the ends is a file, or a socket without O_NONBLOCK, a kernel thread makes
 * the call. Then it takes a descriptor for a moment, and fails with a trap. A close of
 * @in does not end it any more when that thread has begun.
 *
 * Return: bytes moved, 0 at the end, or a negative errno.
 *   -EINVAL  neither is a pipe, or both are the same one; @out is O_APPEND; a wrong
 *            flag or offset; one is no such file, as an eventfd
 *   -ESPIPE  an offset for a pipe
 *   -ENOTCONN  one is a socket that listens
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_splice(int in, off_t *off_in, int out, off_t *off_out,
			     size_t count, unsigned flags);

/**
 * weft_tee - tee(2): from pipe to pipe; the bytes stay in the first one as well
 *
 * Waits as weft_splice() does.
 *
 * Return: bytes copied, 0 at the end, or a negative errno.
 *   -EINVAL  one is no pipe, or both are the same one; a wrong flag
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_tee(int in, int out, size_t count, unsigned flags);

/**
 * weft_sendfile - sendfile(2): from a file to any descriptor
 * @in:     a regular file or a block device
 * @offset: where to read; moved on by what was sent. NULL: at the file's position,
 *          which is moved at the end, and which other calls must not use meanwhile
 *
 * Goes on until all has been sent, the file ends, or something goes wrong, O_NONBLOCK
 * or not. What was sent is counted exactly: from the first byte on, the call returns
 * the number, and an error is left to the next call, as by weft_write_full(). It never
 * raises SIGPIPE. The bytes pass through a pipe of the call's own, unless @out is one.
 * With a trap it fails.
 *
 * Return: bytes sent, 0 at the end of the file, or a negative errno if not one byte
 * was sent.
 *   -EINVAL  @in is no such file; a negative @offset; @out is O_APPEND, or an eventfd
 *            or the like
 *   -ENOTCONN  @out is a socket that listens
 *   -EMFILE  no descriptors for the pipe
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_sendfile(int out, int in, off_t *offset, size_t count);

/**
 * weft_fsync - fsync(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_fsync(int fd);

/**
 * weft_poll - poll(2) for any number of descriptors
 * @fds:     @n of them; negative descriptors are skipped, the same one may occur
 *           several times
 * @timeout: milliseconds; negative: no limit
 *
 * Arguments, results and what is stored in revents are those of poll(2), so that
 * this function can be the wait hook of a library that has its own sockets. What is
 * ready is reported at once, without a switch, also with @timeout 0, with a trap, or
 * where there is no io_uring. Otherwise the tasklet waits: one operation for each
 * descriptor, which is cancelled before the call returns. Nothing is read, so an
 * interrupted call loses nothing. If a descriptor is ready when the call is
 * interrupted, the call returns that, and the next call returns the error.
 *
 * If another tasklet of this thread closes one of the descriptors by weft_close()
 * meanwhile, the call returns -ECANCELED. A descriptor that other code closes is
 * noticed when the call next looks: POLLNVAL. Each waiting call takes 64 bytes
 * of memory for each descriptor. @fds must stay until the call returns.
 *
 * Return: how many entries have revents, 0 after @timeout, or a negative errno:
 *   -EFAULT, -EINVAL  as poll(2); @n is limited by RLIMIT_NOFILE
 *   -ENOMEM           no memory for the wait, or for poll(2)
 *   -EAGAIN, -EPERM   it would have to wait, and the block trap or a switch trap is
 *                     set
 * Context: any tasklet; switches only if it waits.
 */
WEFT_API int weft_poll(struct pollfd *fds, nfds_t n, int timeout);

WEFT_END_DECLS

#endif /* WEFT_IO_H */
