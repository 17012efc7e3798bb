/* SPDX-License-Identifier: MIT */
/*
 * Bad input, and a world that is out of something: every I/O call answers as the
 * system call of its name does, and what was there is still there.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "support.h"

/* --- the files --- */

enum file {
	NONE,       /* -1 */
	NEGATIVE,   /* INT_MIN */
	HUGE_FD,    /* INT_MAX */
	BEYOND,     /* above all limits */
	CLOSED,     /* was open */
	FILE_,      /* regular, some bytes long */
	READ_ONLY,  /* the same file */
	WRITE_ONLY, /* the same */
	PATH_ONLY,  /* the same, by O_PATH */
	FOLDER,
	NULL_FILE, /* /dev/null */
	PIPE,      /* to read from; a byte is in it */
	PIPE_IN,   /* its other end */
	PIPE_DEAD, /* to write to; nobody reads */
	STREAM,    /* a socket with a peer, and a byte from it */
	LONELY,    /* a TCP socket, not connected */
	LISTENER,
	DATAGRAM,
	EPOLL,
	TIMER,
	EVENT, /* not signalled */
	SIGNAL,
	N_FILES
};

static const char *const file_names[N_FILES] = {
	"-1",        "INT_MIN",  "INT_MAX",   "2^20",      "closed",
	"file",      "O_RDONLY", "O_WRONLY",  "O_PATH",    "folder",
	"null",      "pipe",     "pipe's in", "dead pipe", "stream",
	"no stream", "listener", "datagram",  "epoll",     "timer",
	"eventfd",   "signalfd",
};

static char folder[] = "/tmp/weft-bad-XXXXXX";
static char path[sizeof folder + 8];

static void remove_file(void)
{
	unlink(path);
	rmdir(folder);
}

static int open_file(int flags)
{
	int fd = open(path, flags | O_CREAT, 0600);

	ck_assert_int_ge(fd, 0);
	return fd;
}

static int open_pipe(int which)
{
	int fds[2];

	ck_assert_int_eq(pipe(fds), 0);
	if (which == 2) {
		close(fds[0]);
		return fds[1];
	}
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	return fds[which];
}

static int open_stream(void)
{
	int fds[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fds), 0);
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	return fds[0];
}

/* Non-blocking, so that no call of the table's waits for a peer. */
static int open_listener(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET };
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	return fd;
}

static int open_kind(enum file kind)
{
	sigset_t none;
	int fd;

	switch (kind) {
	case NONE:
		return -1;
	case NEGATIVE:
		return INT_MIN;
	case HUGE_FD:
		return INT_MAX;
	case BEYOND:
		return 1 << 20;
	case CLOSED:
		fd = open("/dev/null", O_RDWR);
		close(fd);
		return fd;
	case FILE_:
		return open_file(O_RDWR);
	case READ_ONLY:
		return open_file(O_RDONLY);
	case WRITE_ONLY:
		return open_file(O_WRONLY);
	case PATH_ONLY:
		return open(path, O_PATH);
	case FOLDER:
		return open(folder, O_RDONLY | O_DIRECTORY);
	case NULL_FILE:
		return open("/dev/null", O_RDWR);
	case PIPE:
		return open_pipe(0);
	case PIPE_IN:
		return open_pipe(1);
	case PIPE_DEAD:
		return open_pipe(2);
	case STREAM:
		return open_stream();
	case LONELY:
		return socket(AF_INET, SOCK_STREAM, 0);
	case LISTENER:
		return open_listener();
	case DATAGRAM:
		return socket(AF_UNIX, SOCK_DGRAM, 0);
	case EPOLL:
		return (int)syscall(SYS_epoll_create1, 0);
	case TIMER:
		return timerfd_create(CLOCK_MONOTONIC, 0);
	case EVENT:
		return eventfd(0, 0);
	default:
		sigemptyset(&none);
		return signalfd(-1, &none, 0);
	}
}

/* --- the calls --- */

/* The compiler must not know what these are. */
static void *volatile nothing;
static char *volatile no_path;
static int *volatile somewhere_bad = (int *)8;

enum { MOST_VECTORS = 1024 }; /* IOV_MAX */

static const size_t OVER_INT_MAX = (size_t)INT_MAX + 2;

static char bytes[64];
static struct iovec two[2] = { { bytes, 1 }, { bytes, 1 } };
static struct iovec too_many[MOST_VECTORS + 1];
static struct iovec too_long[2] = { { bytes, SIZE_MAX / 2 }, { bytes, 1 } };
static struct iovec wild[1] = { { (void *)8, 1 } };
static struct sockaddr_storage name;
static socklen_t name_size, negative_size = (socklen_t)-1;
static char long_path[PATH_MAX + 10];
static struct statx stx;

static struct msghdr one_message = { .msg_iov = two, .msg_iovlen = 1 };
static struct msghdr wild_message = { .msg_iov = wild, .msg_iovlen = 1 };
static struct msghdr long_message = { .msg_iov = too_many,
				      .msg_iovlen = MOST_VECTORS + 1 };
static struct msghdr no_buffers = { .msg_iov = NULL, .msg_iovlen = 3 };

static long result_of(long rc)
{
	return rc < 0 ? -errno : rc;
}

#define PLAIN(call, ...) result_of(syscall(SYS_##call, __VA_ARGS__))
#define AT(offset)       (long)(offset)

/* Makes the @n-th call, by weft or plainly, and names it. */
static long call(int n, int fd, bool by_weft, const char **what)
{
#define CALL(weft, plain)                                        \
	do {                                                     \
		if (n-- == 0) {                                  \
			*what = #weft;                           \
			return by_weft ? (long)(weft) : (plain); \
		}                                                \
	} while (0)

	/* bytes */
	CALL(weft_read(fd, bytes, 1), PLAIN(read, fd, bytes, 1));
	CALL(weft_read(fd, bytes, 0), PLAIN(read, fd, bytes, 0));
	CALL(weft_read(fd, nothing, 0), PLAIN(read, fd, nothing, 0));
	CALL(weft_read(fd, nothing, 1), PLAIN(read, fd, nothing, 1));
	CALL(weft_read(fd, somewhere_bad, 1),
	     PLAIN(read, fd, somewhere_bad, 1));
	CALL(weft_write(fd, bytes, 1), PLAIN(write, fd, bytes, 1));
	CALL(weft_write(fd, bytes, 0), PLAIN(write, fd, bytes, 0));
	CALL(weft_write(fd, nothing, 0), PLAIN(write, fd, nothing, 0));
	CALL(weft_write(fd, nothing, 1), PLAIN(write, fd, nothing, 1));
	CALL(weft_pread(fd, bytes, 1, 1), PLAIN(pread64, fd, bytes, 1, AT(1)));
	CALL(weft_pread(fd, bytes, 1, -1),
	     PLAIN(pread64, fd, bytes, 1, AT(-1)));
	CALL(weft_pread(fd, bytes, 1, INT64_MIN),
	     PLAIN(pread64, fd, bytes, 1, AT(INT64_MIN)));
	CALL(weft_pread(fd, bytes, 1, INT64_MAX),
	     PLAIN(pread64, fd, bytes, 1, AT(INT64_MAX)));
	CALL(weft_pread(fd, nothing, 1, 0),
	     PLAIN(pread64, fd, nothing, 1, AT(0)));
	CALL(weft_pread(fd, nothing, 0, 0),
	     PLAIN(pread64, fd, nothing, 0, AT(0)));
	CALL(weft_pwrite(fd, bytes, 1, 1),
	     PLAIN(pwrite64, fd, bytes, 1, AT(1)));
	CALL(weft_pwrite(fd, bytes, 1, -1),
	     PLAIN(pwrite64, fd, bytes, 1, AT(-1)));
	CALL(weft_pwrite(fd, bytes, 1, INT64_MAX),
	     PLAIN(pwrite64, fd, bytes, 1, AT(INT64_MAX)));
	CALL(weft_pwrite(fd, nothing, 1, 0),
	     PLAIN(pwrite64, fd, nothing, 1, AT(0)));
	CALL(weft_pwrite(fd, bytes, 0, 0),
	     PLAIN(pwrite64, fd, bytes, 0, AT(0)));

	/* more than a call moves */
	CALL(weft_read(fd, bytes, OVER_INT_MAX),
	     PLAIN(read, fd, bytes, OVER_INT_MAX));
	CALL(weft_read(fd, bytes, SIZE_MAX),
	     PLAIN(read, fd, bytes, OVER_INT_MAX));
	CALL(weft_pread(fd, bytes, OVER_INT_MAX, 0),
	     PLAIN(pread64, fd, bytes, OVER_INT_MAX, AT(0)));
	CALL(weft_pread(fd, bytes, SIZE_MAX, 0),
	     PLAIN(pread64, fd, bytes, SIZE_MAX, AT(0)));
	CALL(weft_recv(fd, bytes, OVER_INT_MAX, 0),
	     PLAIN(recvfrom, fd, bytes, OVER_INT_MAX, 0, 0L, 0L));
	CALL(weft_read_full(fd, bytes, SIZE_MAX),
	     PLAIN(read, fd, bytes, SIZE_MAX));
	CALL(weft_recv_full(fd, bytes, SIZE_MAX, 0),
	     PLAIN(read, fd, bytes, SIZE_MAX));

	/* vectors */
	CALL(weft_readv(fd, two, 1), PLAIN(readv, fd, two, 1));
	CALL(weft_readv(fd, two, 0), PLAIN(readv, fd, two, 0));
	CALL(weft_readv(fd, nothing, 0), PLAIN(readv, fd, nothing, 0));
	CALL(weft_readv(fd, nothing, 1), PLAIN(readv, fd, nothing, 1));
	CALL(weft_readv(fd, two, -1), PLAIN(readv, fd, two, AT(-1)));
	CALL(weft_readv(fd, too_many, MOST_VECTORS + 1),
	     PLAIN(readv, fd, too_many, AT(MOST_VECTORS + 1)));
	CALL(weft_readv(fd, too_long, 2), PLAIN(readv, fd, too_long, 2));
	CALL(weft_readv(fd, wild, 1), PLAIN(readv, fd, wild, 1));
	CALL(weft_writev(fd, two, 2), PLAIN(writev, fd, two, 2));
	CALL(weft_writev(fd, two, 0), PLAIN(writev, fd, two, 0));
	CALL(weft_writev(fd, nothing, 1), PLAIN(writev, fd, nothing, 1));
	CALL(weft_writev(fd, two, -1), PLAIN(writev, fd, two, AT(-1)));
	CALL(weft_writev(fd, too_many, MOST_VECTORS + 1),
	     PLAIN(writev, fd, too_many, AT(MOST_VECTORS + 1)));
	CALL(weft_writev(fd, too_long, 2), PLAIN(writev, fd, too_long, 2));
	CALL(weft_preadv(fd, two, 2, 0),
	     PLAIN(preadv, fd, two, 2, AT(0), AT(0)));
	CALL(weft_preadv(fd, two, 2, -1),
	     PLAIN(preadv, fd, two, 2, AT(-1), AT(0)));
	CALL(weft_preadv(fd, two, -1, 0),
	     PLAIN(preadv, fd, two, AT(-1), AT(0), AT(0)));
	CALL(weft_preadv(fd, too_many, MOST_VECTORS + 1, 0),
	     PLAIN(preadv, fd, too_many, AT(MOST_VECTORS + 1), AT(0), AT(0)));
	CALL(weft_preadv(fd, nothing, 1, 0),
	     PLAIN(preadv, fd, nothing, 1, AT(0), AT(0)));
	CALL(weft_pwritev(fd, two, 2, 0),
	     PLAIN(pwritev, fd, two, 2, AT(0), AT(0)));
	CALL(weft_pwritev(fd, two, 2, -1),
	     PLAIN(pwritev, fd, two, 2, AT(-1), AT(0)));
	CALL(weft_pwritev(fd, too_long, 2, 0),
	     PLAIN(pwritev, fd, too_long, 2, AT(0), AT(0)));
	CALL(weft_pwritev(fd, nothing, 1, 0),
	     PLAIN(pwritev, fd, nothing, 1, AT(0), AT(0)));

	/* files */
	CALL(weft_fsync(fd), PLAIN(fsync, fd));
	CALL(weft_fdatasync(fd), PLAIN(fdatasync, fd));
	CALL(weft_fallocate(fd, 0, 0, 1),
	     PLAIN(fallocate, fd, 0, AT(0), AT(1)));
	CALL(weft_fallocate(fd, 0, 0, 0),
	     PLAIN(fallocate, fd, 0, AT(0), AT(0)));
	CALL(weft_fallocate(fd, 0, -1, 1),
	     PLAIN(fallocate, fd, 0, AT(-1), AT(1)));
	CALL(weft_fallocate(fd, 0, 0, -1),
	     PLAIN(fallocate, fd, 0, AT(0), AT(-1)));
	CALL(weft_fallocate(fd, -1, 0, 1),
	     PLAIN(fallocate, fd, AT(-1), AT(0), AT(1)));
	CALL(weft_fallocate(fd, 0, INT64_MAX, 1),
	     PLAIN(fallocate, fd, 0, AT(INT64_MAX), AT(1)));
	CALL(weft_ftruncate(fd, 5), PLAIN(ftruncate, fd, AT(5)));
	CALL(weft_ftruncate(fd, -1), PLAIN(ftruncate, fd, AT(-1)));
	CALL(weft_ftruncate(fd, INT64_MAX),
	     PLAIN(ftruncate, fd, AT(INT64_MAX)));
	CALL(weft_statx(fd, "", AT_EMPTY_PATH, 0, &stx),
	     PLAIN(statx, fd, "", AT_EMPTY_PATH, 0, &stx));
	CALL(weft_statx(fd, "", 0, 0, &stx), PLAIN(statx, fd, "", 0, 0, &stx));
	CALL(weft_statx(fd, "", AT_EMPTY_PATH, 0, nothing),
	     PLAIN(statx, fd, "", AT_EMPTY_PATH, 0, nothing));
	CALL(weft_statx(fd, "", -1, 0, &stx),
	     PLAIN(statx, fd, "", AT(-1), 0, &stx));

	/* paths, from a folder */
	CALL(weft_openat(fd, "none", O_RDONLY),
	     PLAIN(openat, fd, "none", O_RDONLY, 0));
	CALL(weft_openat(fd, "", O_RDONLY), PLAIN(openat, fd, "", O_RDONLY, 0));
	CALL(weft_openat(fd, no_path, O_RDONLY),
	     PLAIN(openat, fd, no_path, O_RDONLY, 0));
	CALL(weft_openat(fd, no_path, O_WRONLY),
	     PLAIN(openat, fd, no_path, O_WRONLY, 0));
	CALL(weft_openat(fd, long_path, O_RDWR),
	     PLAIN(openat, fd, long_path, O_RDWR, 0));
	CALL(weft_openat(fd, "none", O_WRONLY | O_DIRECTORY | O_CREAT, 0600),
	     PLAIN(openat, fd, "none", O_WRONLY | O_DIRECTORY | O_CREAT, 0600));
	CALL(weft_mkdirat(fd, no_path, 0700),
	     PLAIN(mkdirat, fd, no_path, 0700));
	CALL(weft_mkdirat(fd, "", 0700), PLAIN(mkdirat, fd, "", 0700));
	CALL(weft_mkdirat(fd, ".", 0700), PLAIN(mkdirat, fd, ".", 0700));
	CALL(weft_unlinkat(fd, no_path, 0), PLAIN(unlinkat, fd, no_path, 0));
	CALL(weft_unlinkat(fd, "none", 0), PLAIN(unlinkat, fd, "none", 0));
	CALL(weft_unlinkat(fd, "none", -1),
	     PLAIN(unlinkat, fd, "none", AT(-1)));
	CALL(weft_unlinkat(fd, long_path, AT_REMOVEDIR),
	     PLAIN(unlinkat, fd, long_path, AT_REMOVEDIR));
	CALL(weft_renameat(fd, "none", fd, "other"),
	     PLAIN(renameat2, fd, "none", fd, "other", 0));
	CALL(weft_renameat(fd, no_path, fd, "other"),
	     PLAIN(renameat2, fd, no_path, fd, "other", 0));
	CALL(weft_renameat(fd, "none", fd, no_path),
	     PLAIN(renameat2, fd, "none", fd, no_path, 0));
	CALL(weft_linkat(fd, "none", fd, "other", 0),
	     PLAIN(linkat, fd, "none", fd, "other", 0));
	CALL(weft_linkat(fd, "none", fd, "other", -1),
	     PLAIN(linkat, fd, "none", fd, "other", AT(-1)));
	CALL(weft_linkat(fd, no_path, fd, no_path, 0),
	     PLAIN(linkat, fd, no_path, fd, no_path, 0));
	CALL(weft_symlinkat(no_path, fd, "other"),
	     PLAIN(symlinkat, no_path, fd, "other"));
	CALL(weft_symlinkat("", fd, "other"),
	     PLAIN(symlinkat, "", fd, "other"));
	CALL(weft_symlinkat("none", fd, no_path),
	     PLAIN(symlinkat, "none", fd, no_path));
	CALL(weft_symlinkat("none", fd, "."),
	     PLAIN(symlinkat, "none", fd, "."));

	/* sockets */
	CALL(weft_accept(fd, NULL, NULL),
	     PLAIN(accept4, fd, NULL, NULL, SOCK_CLOEXEC));
	CALL(weft_accept(fd, (struct sockaddr *)&name, nothing),
	     PLAIN(accept4, fd, &name, nothing, SOCK_CLOEXEC));
	CALL(weft_accept4(fd, NULL, NULL, -1),
	     PLAIN(accept4, fd, NULL, NULL, AT(-1)));
	CALL(weft_connect(fd, nothing, 16), PLAIN(connect, fd, nothing, 16));
	CALL(weft_connect(fd, nothing, 0), PLAIN(connect, fd, nothing, 0));
	CALL(weft_connect(fd, (struct sockaddr *)&name, 1),
	     PLAIN(connect, fd, &name, 1));
	CALL(weft_connect(fd, (struct sockaddr *)&name, negative_size),
	     PLAIN(connect, fd, &name, AT(-1)));
	CALL(weft_recv(fd, bytes, 1, 0),
	     PLAIN(recvfrom, fd, bytes, 1, 0, 0L, 0L));
	CALL(weft_recv(fd, bytes, 0, 0),
	     PLAIN(recvfrom, fd, bytes, 0, 0, 0L, 0L));
	CALL(weft_recv(fd, nothing, 1, 0),
	     PLAIN(recvfrom, fd, nothing, 1, 0, 0L, 0L));
	CALL(weft_send(fd, bytes, 1, 0),
	     PLAIN(sendto, fd, bytes, 1, MSG_NOSIGNAL, 0L, 0L));
	CALL(weft_send(fd, bytes, 0, 0),
	     PLAIN(sendto, fd, bytes, 0, MSG_NOSIGNAL, 0L, 0L));
	CALL(weft_send(fd, nothing, 1, 0),
	     PLAIN(sendto, fd, nothing, 1, MSG_NOSIGNAL, 0L, 0L));
	CALL(weft_recvfrom(fd, bytes, 1, 0, nothing, nothing),
	     PLAIN(recvfrom, fd, bytes, 1, 0, nothing, nothing));
	CALL(weft_recvfrom(fd, bytes, 1, 0, (struct sockaddr *)&name,
			   &name_size),
	     PLAIN(recvfrom, fd, bytes, 1, 0, &name, &name_size));
	CALL(weft_sendto(fd, bytes, 1, 0, nothing, 0),
	     PLAIN(sendto, fd, bytes, 1, MSG_NOSIGNAL, nothing, 0L));
	CALL(weft_sendto(fd, bytes, 1, 0, (struct sockaddr *)&name, 1),
	     PLAIN(sendto, fd, bytes, 1, MSG_NOSIGNAL, &name, 1L));
	CALL(weft_sendto(fd, bytes, 1, 0, (struct sockaddr *)&name, 1000),
	     PLAIN(sendto, fd, bytes, 1, MSG_NOSIGNAL, &name, 1000L));
	CALL(weft_recvmsg(fd, nothing, 0), PLAIN(recvmsg, fd, nothing, 0));
	CALL(weft_recvmsg(fd, &one_message, 0),
	     PLAIN(recvmsg, fd, &one_message, 0));
	CALL(weft_recvmsg(fd, &wild_message, 0),
	     PLAIN(recvmsg, fd, &wild_message, 0));
	CALL(weft_recvmsg(fd, &long_message, 0),
	     PLAIN(recvmsg, fd, &long_message, 0));
	CALL(weft_recvmsg(fd, &no_buffers, 0),
	     PLAIN(recvmsg, fd, &no_buffers, 0));
	CALL(weft_sendmsg(fd, nothing, 0),
	     PLAIN(sendmsg, fd, nothing, MSG_NOSIGNAL));
	CALL(weft_sendmsg(fd, &one_message, 0),
	     PLAIN(sendmsg, fd, &one_message, MSG_NOSIGNAL));
	CALL(weft_sendmsg(fd, &wild_message, 0),
	     PLAIN(sendmsg, fd, &wild_message, MSG_NOSIGNAL));
	CALL(weft_sendmsg(fd, &long_message, 0),
	     PLAIN(sendmsg, fd, &long_message, MSG_NOSIGNAL));
	CALL(weft_sendmsg(fd, &no_buffers, 0),
	     PLAIN(sendmsg, fd, &no_buffers, MSG_NOSIGNAL));
	CALL(weft_shutdown(fd, SHUT_WR), PLAIN(shutdown, fd, SHUT_WR));
	CALL(weft_shutdown(fd, 17), PLAIN(shutdown, fd, 17));
	CALL(weft_shutdown(fd, -1), PLAIN(shutdown, fd, AT(-1)));

	/* those that go on until all is there: like the first call of them */
	CALL(weft_read_full(fd, bytes, 1), PLAIN(read, fd, bytes, 1));
	CALL(weft_read_full(fd, nothing, 1), PLAIN(read, fd, nothing, 1));
	CALL(weft_write_full(fd, bytes, 1), PLAIN(write, fd, bytes, 1));
	CALL(weft_write_full(fd, nothing, 1), PLAIN(write, fd, nothing, 1));
	CALL(weft_recv_full(fd, bytes, 1, 0),
	     PLAIN(recvfrom, fd, bytes, 1, 0, 0L, 0L));
	CALL(weft_send_full(fd, bytes, 1, 0),
	     PLAIN(sendto, fd, bytes, 1, MSG_NOSIGNAL, 0L, 0L));

	/* last, since it closes */
	CALL(weft_close(fd), PLAIN(close, fd));
	*what = NULL;
	return 0;
}

/* --- as the system calls do it --- */

static void set_up(void)
{
	int fd;

	signal(SIGPIPE, SIG_IGN);
	name_size = sizeof name;
	for (size_t i = 0; i < N_ELEMENTS(too_many); i++)
		too_many[i] = (struct iovec){ bytes, 0 };
	memset(long_path, 'a', sizeof long_path - 1);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof path, "%s/file", folder);
	fd = open_file(O_RDWR);
	ck_assert_int_eq(write(fd, "some bytes", 10), 10);
	close(fd);
	/* From here on no number of the table's is the ring's. */
	fd = open("/dev/null", O_RDWR);
	(void)weft_read(fd, bytes, 1);
	close(fd);
}

/* What is in it for the next reader. */
static int left_in(int fd)
{
	struct stat st;
	int n = -1;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return (int)st.st_size;
	(void)ioctl(fd, FIONREAD, &n);
	return n;
}

struct outcome {
	long rc;
	int left;
};

/* A plain call does not wait. */
static const char *make_call(int n, enum file kind, bool by_weft,
			     struct outcome *o)
{
	int fd = open_kind(kind);
	const char *what;

	if (!by_weft && fd >= 0)
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
	errno = 0;
	o->rc = call(n, fd, by_weft, &what);
	o->left = left_in(fd);
	if (kind > CLOSED)
		close(fd);
	if (truncate(path, 10))
		abort();
	return what;
}

/* If more than one thing is wrong with a call, one of them is told. What is wrong with
 * the arguments may be found before what is wrong with the descriptor. */
static bool is_of_arguments(long rc)
{
	return rc == -EFAULT || rc == -EINVAL || rc == -EMSGSIZE;
}

static bool is_answer(const char *what, const struct outcome *ours,
		      const struct outcome *plain)
{
	bool is_empty = strstr(what, ", 0)") != NULL;

	if (ours->left != plain->left)
		return false;
	if (ours->rc == plain->rc)
		return true;
	if (ours->rc < 0 && plain->rc < 0)
		return is_of_arguments(ours->rc);
	/* Nothing is to be moved: who asks the descriptor for it may get an
	 * error. */
	return is_empty && ours->rc <= 0 && plain->rc <= 0;
}

START_TEST(as_the_system_call)
{
	struct outcome plain, ours;
	const char *what;

	if (is_under_valgrind()) {
		skip("Valgrind looks at what the pointers point to");
		return;
	}
	if (lacks_calls_of_the_kernel())
		return;
	set_up();
	for (int n = 0;
	     (what = make_call(n, (enum file)_i, false, &plain)) != NULL; n++) {
		/* It would wait for ever. */
		weft_set_block_trap(plain.rc == -EAGAIN);
		make_call(n, (enum file)_i, true, &ours);
		weft_set_block_trap(false);
		ck_assert_msg(is_answer(what, &ours, &plain),
			      "%s: %s: %ld, left %d; plainly %ld, left %d",
			      file_names[_i], what, ours.rc, ours.left,
			      plain.rc, plain.left);
	}
	remove_file();
}
END_TEST

int main(void)
{
	Suite *s = suite_create("bad_input");

	add_loop(s, "as the system call", as_the_system_call, N_FILES);
	return run_suite(s);
}
