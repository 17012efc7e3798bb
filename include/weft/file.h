/* SPDX-License-Identifier: MIT */
/**
 * file - files by offset, their contents and sizes, and paths
 *
 * Arguments and results are those of the POSIX calls of the same name, except
 * that a failure is a negative errno. All that <weft/io.h> says of its calls holds
 * for these: they block the tasklet and never its thread, and can be interrupted in
 * the same ways. If the io_uring of an older kernel lacks an operation, a helper
 * thread makes the call. Such a call can be interrupted until a helper has begun it.
 */
#ifndef WEFT_FILE_H
#define WEFT_FILE_H

#include <sys/stat.h>
#include <sys/uio.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

struct statx;

/**
 * weft_pread - pread(2): at an offset; the file's position stays where it is
 *
 * If all bytes that are asked for are in memory, they are read at once. Else the
 * io_uring reads all of them.
 *
 * Return: bytes read, 0 at the end, or a negative errno:
 *   -EINVAL  @offset is negative
 *   -ESPIPE  @fd has no offsets
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_pread(int fd, void *buf, size_t count, off_t offset);

/**
 * weft_pwrite - pwrite(2): at an offset; the file's position stays where it is
 *
 * If the file was opened with O_APPEND, the call appends, as pwrite(2) does. A write
 * beyond RLIMIT_FSIZE returns -EFBIG, and raises SIGXFSZ only if the thread itself, or
 * a helper, makes it: no kernel thread does. So with weft_ftruncate() and
 * weft_fallocate().
 *
 * Return: bytes written, or a negative errno, as weft_pread().
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_pwrite(int fd, const void *buf, size_t count,
			     off_t offset);

/**
 * weft_preadv - preadv(2): into several buffers
 * @iov: @n buffers, at most IOV_MAX; filled one after the other
 *
 * Return: as weft_pread().
 *   -EINVAL  also: @n is negative or above IOV_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_preadv(int fd, const struct iovec *iov, int n,
			     off_t offset);

/**
 * weft_pwritev - pwritev(2): from several buffers
 *
 * Return: as weft_pwrite() and weft_preadv().
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_pwritev(int fd, const struct iovec *iov, int n,
			      off_t offset);

/**
 * weft_fdatasync - fdatasync(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_fdatasync(int fd);

/**
 * weft_fallocate - fallocate(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_fallocate(int fd, int mode, off_t offset, off_t length);

/**
 * weft_ftruncate - ftruncate(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_ftruncate(int fd, off_t length);

/**
 * weft_statx - statx(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_statx(int dirfd, const char *path, int flags, unsigned mask,
			struct statx *out);

/**
 * weft_unlinkat - unlinkat(2)
 * @flags: 0 or AT_REMOVEDIR
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_unlinkat(int dirfd, const char *path, int flags);

/**
 * weft_renameat - renameat(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_renameat(int olddirfd, const char *oldpath, int newdirfd,
			   const char *newpath);

/**
 * weft_mkdirat - mkdirat(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_mkdirat(int dirfd, const char *path, mode_t mode);

/**
 * weft_linkat - linkat(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_linkat(int olddirfd, const char *oldpath, int newdirfd,
			 const char *newpath, int flags);

/**
 * weft_symlinkat - symlinkat(2)
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_symlinkat(const char *target, int newdirfd,
			    const char *linkpath);

WEFT_END_DECLS

#endif /* WEFT_FILE_H */
