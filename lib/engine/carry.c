/* SPDX-License-Identifier: MIT */
#include "engine/carry.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#ifndef SPLICE_F_FD_IN_FIXED
#define SPLICE_F_FD_IN_FIXED (1U << 31)
#endif

static int result_of(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

static void *pointer(uint64_t value)
{
	return (void *)(uintptr_t)value;
}

/* If the position is -1, the file's own one is meant. */
static long move_at(const struct io_uring_sqe *sqe, bool is_write,
		    const struct iovec *iov, unsigned n, long position)
{
	long rc = syscall(is_write ? SYS_pwritev2 : SYS_preadv2, sqe->fd, iov,
			  (unsigned long)n, position, 0L, sqe->rw_flags);

	/* A sandbox or an emulator may not know these calls. */
	if (rc >= 0 || errno != ENOSYS || sqe->rw_flags)
		return rc;
	if (position == -1)
		return syscall(is_write ? SYS_writev : SYS_readv, sqe->fd, iov,
			       (unsigned long)n);
	return syscall(is_write ? SYS_pwritev : SYS_preadv, sqe->fd, iov,
		       (unsigned long)n, position, 0L);
}

static int move_bytes(const struct io_uring_sqe *sqe, bool is_write,
		      const struct iovec *iov, unsigned n)
{
	long rc = move_at(sqe, is_write, iov, n, (long)sqe->off);

	/* If there is none, the ring ignores the position. */
	if (rc < 0 && errno == ESPIPE && sqe->off != (uint64_t)-1)
		rc = move_at(sqe, is_write, iov, n, -1);
	return result_of(rc);
}

static int splice_bytes(const struct io_uring_sqe *sqe)
{
	loff_t from = (loff_t)sqe->splice_off_in, to = (loff_t)sqe->off;
	unsigned flags = sqe->splice_flags;

	if (flags & SPLICE_F_FD_IN_FIXED)
		return -EBADF;
	if (sqe->opcode == IORING_OP_TEE)
		return result_of(
			tee(sqe->splice_fd_in, sqe->fd, sqe->len, flags));
	return result_of(splice(sqe->splice_fd_in, from == -1 ? NULL : &from,
				sqe->fd, to == -1 ? NULL : &to, sqe->len,
				flags));
}

static int carry_out_on_stream(const struct io_uring_sqe *sqe)
{
	void *start = pointer(sqe->addr);
	struct iovec one = { .iov_base = start, .iov_len = sqe->len };
	socklen_t length;

	switch (sqe->opcode) {
	case IORING_OP_READ:
		return move_bytes(sqe, false, &one, 1);
	case IORING_OP_WRITE:
		return move_bytes(sqe, true, &one, 1);
	case IORING_OP_READV:
		return move_bytes(sqe, false, start, sqe->len);
	case IORING_OP_WRITEV:
		return move_bytes(sqe, true, start, sqe->len);
	case IORING_OP_RECV:
		return result_of(
			recv(sqe->fd, start, sqe->len, (int)sqe->msg_flags));
	case IORING_OP_SEND:
	case IORING_OP_SEND_ZC:
		length = sqe->addr_len;
		return result_of(
			sendto(sqe->fd, start, sqe->len, (int)sqe->msg_flags,
			       pointer(sqe->addr2), sqe->addr2 ? length : 0));
	case IORING_OP_RECVMSG:
		return result_of(recvmsg(sqe->fd, start, (int)sqe->msg_flags));
	case IORING_OP_SENDMSG:
	case IORING_OP_SENDMSG_ZC:
		return result_of(sendmsg(sqe->fd, start, (int)sqe->msg_flags));
	case IORING_OP_ACCEPT:
		return result_of(accept4(sqe->fd, start, pointer(sqe->addr2),
					 (int)sqe->accept_flags));
	case IORING_OP_CONNECT:
		return result_of(connect(sqe->fd, start, (socklen_t)sqe->off));
	default:
		return splice_bytes(sqe);
	}
}

static int sync_range(const struct io_uring_sqe *sqe)
{
	return result_of(sync_file_range(sqe->fd, (off_t)sqe->off, sqe->len,
					 sqe->sync_range_flags));
}

static int carry_out_on_file(const struct io_uring_sqe *sqe)
{
	const char *name = pointer(sqe->addr);
	void *value = pointer(sqe->addr2);

	switch (sqe->opcode) {
	case OP_FTRUNCATE:
		return result_of(ftruncate(sqe->fd, (off_t)sqe->off));
	case IORING_OP_FSYNC:
		if (sqe->fsync_flags & ~IORING_FSYNC_DATASYNC)
			return -EINVAL;
		/* There is no system call for a part of the file that is as
		 * durable. */
		return result_of(sqe->fsync_flags & IORING_FSYNC_DATASYNC
					 ? fdatasync(sqe->fd)
					 : fsync(sqe->fd));
	case IORING_OP_SYNC_FILE_RANGE:
		return sync_range(sqe);
	case IORING_OP_FALLOCATE:
		return result_of(syscall(SYS_fallocate, sqe->fd, sqe->len,
					 sqe->off, sqe->addr));
	case IORING_OP_FADVISE:
		return -posix_fadvise(sqe->fd, (off_t)sqe->off,
				      (off_t)(sqe->addr ? sqe->addr : sqe->len),
				      (int)sqe->fadvise_advice);
	case IORING_OP_FSETXATTR:
		return result_of(syscall(SYS_fsetxattr, sqe->fd, name, value,
					 sqe->len, sqe->xattr_flags));
	case IORING_OP_FGETXATTR:
		return result_of(
			syscall(SYS_fgetxattr, sqe->fd, name, value, sqe->len));
	case IORING_OP_CLOSE:
		return sqe->file_index ? -ENXIO : result_of(close(sqe->fd));
	default:
		return -EOPNOTSUPP;
	}
}

static int carry_out_on_path(const struct io_uring_sqe *sqe)
{
	const char *path = pointer(sqe->addr);
	void *path2 = pointer(sqe->addr2);

	switch (sqe->opcode) {
	case IORING_OP_OPENAT:
		return result_of(syscall(SYS_openat, sqe->fd, path,
					 sqe->open_flags, sqe->len));
	case IORING_OP_OPENAT2:
		return result_of(syscall(SYS_openat2, sqe->fd, path, path2,
					 (size_t)sqe->len));
	case IORING_OP_STATX:
		return result_of(syscall(SYS_statx, sqe->fd, path,
					 sqe->statx_flags, sqe->len, path2));
	case IORING_OP_UNLINKAT:
		return result_of(syscall(SYS_unlinkat, sqe->fd, path,
					 sqe->unlink_flags));
	case IORING_OP_RENAMEAT:
		return result_of(syscall(SYS_renameat2, sqe->fd, path,
					 (int)sqe->len, path2,
					 sqe->rename_flags));
	case IORING_OP_MKDIRAT:
		return result_of(syscall(SYS_mkdirat, sqe->fd, path, sqe->len));
	case IORING_OP_SYMLINKAT:
		return result_of(syscall(SYS_symlinkat, path, sqe->fd, path2));
	case IORING_OP_LINKAT:
		return result_of(syscall(SYS_linkat, sqe->fd, path,
					 (int)sqe->len, path2,
					 sqe->hardlink_flags));
	case IORING_OP_SETXATTR:
		return result_of(syscall(SYS_setxattr, pointer(sqe->addr3),
					 path, path2, sqe->len,
					 sqe->xattr_flags));
	case IORING_OP_GETXATTR:
		return result_of(syscall(SYS_getxattr, pointer(sqe->addr3),
					 path, path2, sqe->len));
	default:
		return -EOPNOTSUPP;
	}
}

static int carry_out_other(const struct io_uring_sqe *sqe)
{
	void *start = pointer(sqe->addr);
	int fds[2];

	switch (sqe->opcode) {
	case IORING_OP_NOP:
		return 0;
	case IORING_OP_MADVISE:
		return result_of(madvise(start, sqe->off ? sqe->off : sqe->len,
					 (int)sqe->fadvise_advice));
	case IORING_OP_EPOLL_CTL:
		return result_of(epoll_ctl(sqe->fd, (int)sqe->len,
					   (int)sqe->off, start));
	case IORING_OP_SHUTDOWN:
		return result_of(shutdown(sqe->fd, (int)sqe->len));
	case IORING_OP_SOCKET:
		return sqe->file_index
			       ? -ENXIO
			       : result_of(socket(sqe->fd, (int)sqe->off,
						  (int)sqe->len));
	case OP_BIND:
		return result_of(bind(sqe->fd, start, (socklen_t)sqe->addr2));
	case OP_LISTEN:
		return result_of(listen(sqe->fd, (int)sqe->len));
	case OP_PIPE:
		if (sqe->file_index)
			return -ENXIO;
		if (pipe2(fds, (int)sqe->rw_flags))
			return -errno;
		((int *)start)[0] = fds[0];
		((int *)start)[1] = fds[1];
		return 0;
	case OP_WAITID:
		return result_of(syscall(SYS_waitid, (int)sqe->len, sqe->fd,
					 pointer(sqe->addr2),
					 (int)sqe->file_index, NULL));
	default:
		return -EOPNOTSUPP;
	}
}

int weft__receive_nothing(const struct io_uring_sqe *sqe)
{
	struct msghdr *m = pointer(sqe->addr);

	if (sqe->opcode != IORING_OP_RECVMSG)
		return 0;
	if (m->msg_name)
		m->msg_namelen = 0;
	m->msg_controllen = 0;
	m->msg_flags = 0;
	return 0;
}

/* The four functions above, by the bits of what each of them knows. */
#define BIT(opcode) (UINT64_C(1) << (opcode))

static const uint64_t on_streams =
	BIT(IORING_OP_READ) | BIT(IORING_OP_WRITE) | BIT(IORING_OP_READV) |
	BIT(IORING_OP_WRITEV) | BIT(IORING_OP_RECV) | BIT(IORING_OP_SEND) |
	BIT(IORING_OP_SEND_ZC) | BIT(IORING_OP_RECVMSG) |
	BIT(IORING_OP_SENDMSG) | BIT(IORING_OP_SENDMSG_ZC) |
	BIT(IORING_OP_ACCEPT) | BIT(IORING_OP_CONNECT) | BIT(IORING_OP_SPLICE) |
	BIT(IORING_OP_TEE);

static const uint64_t on_files =
	BIT(OP_FTRUNCATE) | BIT(IORING_OP_FSYNC) |
	BIT(IORING_OP_SYNC_FILE_RANGE) | BIT(IORING_OP_FALLOCATE) |
	BIT(IORING_OP_FADVISE) | BIT(IORING_OP_FSETXATTR) |
	BIT(IORING_OP_FGETXATTR) | BIT(IORING_OP_CLOSE);

static const uint64_t on_paths =
	BIT(IORING_OP_OPENAT) | BIT(IORING_OP_OPENAT2) | BIT(IORING_OP_STATX) |
	BIT(IORING_OP_UNLINKAT) | BIT(IORING_OP_RENAMEAT) |
	BIT(IORING_OP_MKDIRAT) | BIT(IORING_OP_SYMLINKAT) |
	BIT(IORING_OP_LINKAT) | BIT(IORING_OP_SETXATTR) |
	BIT(IORING_OP_GETXATTR);

static const uint64_t others =
	BIT(IORING_OP_NOP) | BIT(IORING_OP_MADVISE) | BIT(IORING_OP_EPOLL_CTL) |
	BIT(IORING_OP_SHUTDOWN) | BIT(IORING_OP_SOCKET) | BIT(OP_BIND) |
	BIT(OP_LISTEN) | BIT(OP_PIPE) | BIT(OP_WAITID);

bool weft__can_carry_out(unsigned opcode)
{
	return opcode < 64 &&
	       (on_streams | on_files | on_paths | others) >> opcode & 1;
}

int weft__carry_out(const struct io_uring_sqe *sqe)
{
	if (!weft__can_carry_out(sqe->opcode))
		return -EOPNOTSUPP;
	if (on_streams >> sqe->opcode & 1)
		return carry_out_on_stream(sqe);
	if (on_files >> sqe->opcode & 1)
		return carry_out_on_file(sqe);
	if (on_paths >> sqe->opcode & 1)
		return carry_out_on_path(sqe);
	return carry_out_other(sqe);
}
