/* SPDX-License-Identifier: MIT */
/**
 * io - POSIX I/O that blocks the tasklet and never its thread
 *
 * Arguments and results are those of the POSIX calls of the same name, except
 * that a failure is a negative errno. Descriptors may be of any kind, O_NONBLOCK
 * or not. A signal ends no call: -EINTR is what a raise may have given. Each call
 * is an operation on the io_uring of the calling thread, but for reads and writes at
 * the position of a file: those of all tasklets are handed to the kernel together,
 * once per pass of the ring. Besides its own errors, each returns
 *
 *   -ENOSYS, -EPERM, -ENOMEM, ...  the io_uring could not be created; weft-info
 *                                  says why
 *   -EMFILE, -ENFILE               the same, for want of a descriptor
 *   -EAGAIN                        the kernel has no thread for work that may have
 *                                  to wait, and cannot make one (RLIMIT_NPROC, or
 *                                  the limit of a container)
 *
 * None returns -EINTR: a signal, whose handler runs as it may, does not end a call.
 * -ECANCELED means that the tasklet was killed, that another tasklet of its thread
 * has closed the descriptor by weft_close(), or that this is a child of fork().
 *
 * A buffer is the kernel's from the call to its return, and never after. A kill or
 * a raise asks the kernel to cancel the operation, and the call returns once that
 * has let go: with the error, or with the operation's own result if that came
 * first, and then the error is for the next call. With a block trap or a switch
 * trap an operation succeeds only if it completes without waiting. At the end of a
 * thread, calls that are shielded from its kill are cancelled in the end, too, and
 * none is begun after that.
 *
 * Limits: all threads share one table of descriptors, so none may have called
 * unshare(CLONE_FILES). With more than about 100 tasklets that wait for one
 * descriptor, calls that wait in a thread of the kernel's, such as a write to a
 * terminal, may wait for those, and reads and writes of one that is O_NONBLOCK may
 * return -EAGAIN: have few read, and hand out by a channel.
 */
#ifndef WEFT_IO_H
#define WEFT_IO_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_openat - openat(2); the descriptor is created close-on-exec
 *
 * The mode is read only when @flags has O_CREAT or O_TMPFILE.
 *
 * The open of a FIFO waits for who opens the other end, as that of open(2), unless
 * @flags has O_NONBLOCK. A kill, a raise or a deadline ends the wait, and no
 * descriptor is left behind; with a trap it fails. Each open that waits occupies a
 * thread of the kernel's of its own, and keeps no other call waiting.
 *
 * Limit: a device is opened as with O_NONBLOCK, though the descriptor does not have
 * it: a serial line is not waited for until it has a carrier.
 *
 * Return: the descriptor or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_openat(int dirfd, const char *path, int flags, ...);

/**
 * weft_close - close(2)
 *
 * Calls that other tasklets of this thread have made with this descriptor's number,
 * and with no duplicate of it, are cancelled first: they return -ECANCELED, or
 * their result if it had come. None can begin another one before the number is
 * closed. A read or write of a file that a helper makes already is waited for,
 * unless a trap is set. Calls of other threads are left alone, as by close(2).
 *
 * It always closes, also for a tasklet that was killed or must not wait, and
 * does not return what a kill or a raise would. What close(2) has to wait for, as
 * with SO_LINGER, a terminal's output or a network's file system, keeps the tasklet
 * waiting, and its thread only if there is a trap, or no helper or descriptor to be
 * had for the purpose.
 *
 * Return: 0 or a negative errno; the descriptor is gone unless it is -EBADF.
 *   -EIO  also when a signal ended the wait for what was to be written back
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_close(int fd);

/**
 * weft_read - read(2): at the file's position, where it has one
 *
 * The position is the kernel's, and is moved as read(2) moves it, whoever else reads
 * and writes by it: no byte is read twice, and none is lost. What is in memory is
 * read at once. For what is not, and for a file with O_DIRECT, a helper thread
 * waits, one of at most 16 of the process for reads and writes of files. Such a
 * call can be interrupted as long as it is in line for a helper, and then nothing
 * has been read; after that it returns its result, and the error comes with the next
 * call. With a trap it succeeds if the file system can tell that all is in memory
 * (tmpfs cannot, nor can most for writes). A regular file's read returns fewer bytes
 * than @count only at the end, or when it has read a part and others move the
 * position meanwhile, or it is interrupted, or must not wait.
 *
 * Limits: a plain read(2) or write(2) that waits for its device, of another thread or
 * process, at the same position, holds up the calling thread meanwhile, as it would
 * a read(2). So does a call that needs a helper where none can be started, for want
 * of memory or because the system allows no more threads. A file of /proc whose
 * reads wait, such as /proc/kmsg, occupies a helper for as long. A terminal whose
 * VTIME is set can hold up the thread for that time.
 *
 * SO_RCVTIMEO of a socket is not heeded. To wait no longer than until some moment,
 * put the call into a scope of weft_deadline_begin().
 *
 * Return: bytes read, 0 at the end, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_read(int fd, void *buf, size_t count);

/**
 * weft_write - write(2): at the file's position, where it has one
 *
 * The position is the kernel's, and what is said of it at weft_read() holds here
 * as well: no byte is written over by a write beside it, and with O_APPEND each goes
 * to the end whole. Writes of one thread to one file are made in the order of the
 * calls. A file system that cannot promise to put them into memory without waiting
 * (ext4, for one) has a helper make them. A file that would grow beyond
 * RLIMIT_FSIZE is -EFBIG and raises SIGXFSZ in the calling thread, as write(2) does.
 *
 * A write to a terminal that nobody reads, or that is stopped, waits in a thread of
 * the kernel's. If it is interrupted when it has written a part, it returns that.
 *
 * A write to a pipe without a reader returns -EPIPE and raises SIGPIPE as
 * write(2) does; see weft_send() for sockets. SO_SNDTIMEO is not heeded, as
 * SO_RCVTIMEO is not by weft_read().
 *
 * Return: bytes written, which can be fewer than @count, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_write(int fd, const void *buf, size_t count);

/**
 * weft_fsync - fsync(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_fsync(int fd);

WEFT_END_DECLS

#endif /* WEFT_IO_H */
