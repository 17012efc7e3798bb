/* SPDX-License-Identifier: MIT */
/*
 * A ring that misbehaves (faults.h): each fault singly, at each step of opening and in
 * each kind of call. A fault that passes is not seen by any call. One that stays is a
 * clear error, and the next try does. Nothing is lost, and the counters tell.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>
#include <weft.h>
#include <weft/uring.h>

#include "faults.h"
#include "support.h"

enum { ALWAYS = 1000000, ERESTARTSYS = 512, OP_FTRUNCATE = 55 };

/* --- opening --- */

/* What the first read finds. */
static const struct opening {
	const char *name;
	struct fault fault[2];
	int error; /* 0: it reads its byte */
} openings[] = {
	{ "refused", { { AT_SETUP, -EPERM, 0, ALWAYS, 0 } }, -EPERM },
	{ "not there", { { AT_SETUP, -ENOSYS, 0, ALWAYS, 0 } }, -ENOSYS },
	{ "no descriptor", { { AT_SETUP, -EMFILE, 0, ALWAYS, 0 } }, -EMFILE },
	{ "no file", { { AT_SETUP, -ENFILE, 0, ALWAYS, 0 } }, -ENFILE },
	{ "no memory", { { AT_SETUP, -ENOMEM, 0, ALWAYS, 0 } }, -ENOMEM },
	{ "memory for a small one", { { AT_SETUP, -ENOMEM, 0, 3, 0 } }, 0 },
	{ "memory for the second", { { AT_SETUP, -ENOMEM, 0, 1, 0 } }, 0 },
	{ "one flag less", { { AT_SETUP, -EINVAL, 0, 1, 0 } }, 0 },
	{ "two less", { { AT_SETUP, -EINVAL, 0, 2, 0 } }, 0 },
	{ "hardly a flag", { { AT_SETUP, -EINVAL, 0, 3, 0 } }, 0 },
	{ "no flag", { { AT_SETUP, -EINVAL, 0, 4, 0 } }, 0 },
	{ "not even that", { { AT_SETUP, -EINVAL, 0, ALWAYS, 0 } }, -EINVAL },
	{ "no shrinking", { { AT_RESIZE, -EINVAL, 0, ALWAYS, 0 } }, 0 },
	{ "no shrinking now", { { AT_RESIZE, -ENOMEM, 0, 1, 0 } }, 0 },
	{ "never shrunk", { { AT_RESIZE, -ENOMEM, 0, ALWAYS, 0 } }, 0 },
	{ "no mapping", { { AT_MAP, -ENOMEM, 0, ALWAYS, 0 } }, -ENOMEM },
	{ "no large mapping", { { AT_MAP, -ENOMEM, 0, 2, 0 } }, 0 },
	{ "locked memory", { { AT_MAP, -EAGAIN, 0, ALWAYS, 0 } }, -EAGAIN },
	{ "a mapping refused", { { AT_MAP, -EPERM, 0, ALWAYS, 0 } }, -EPERM },
	{ "no say on workers", { { AT_WORKERS, -EINVAL, 0, ALWAYS, 0 } }, 0 },
	{ "no registered ring", { { AT_RING_FD, -EINVAL, 0, ALWAYS, 0 } }, 0 },
	{ "no room for it", { { AT_RING_FD, -EBUSY, 0, ALWAYS, 0 } }, 0 },
	{ "shared with children",
	  { { AT_DONTFORK, -ENOMEM, 0, ALWAYS, 0 } },
	  0 },
	{ "no entering", { { AT_FIRST_ENTER, -EPERM, 0, ALWAYS, 0 } }, -EPERM },
	{ "enter not there",
	  { { AT_FIRST_ENTER, -ENOSYS, 0, ALWAYS, 0 } },
	  -ENOSYS },
	{ "interrupted", { { AT_FIRST_ENTER, -EINTR, 0, 1, 0 } }, 0 },
	{ "busy", { { AT_FIRST_ENTER, -EBUSY, 0, 1, 0 } }, 0 },
	{ "short of memory", { { AT_FIRST_ENTER, -ENOMEM, 0, 1, 0 } }, 0 },
	{ "no messages", { { AT_MESSAGE, -EINVAL, 0, ALWAYS, 0 } }, 0 },
	{ "no memory for one", { { AT_MESSAGE, -ENOMEM, 0, 1, 0 } }, 0 },
	{ "no eventfd",
	  { { AT_MESSAGE, -EINVAL, 0, ALWAYS, 0 },
	    { AT_EVENTFD, -EMFILE, 0, ALWAYS, 0 } },
	  -EMFILE },
	{ "no eventfd for now",
	  { { AT_MESSAGE, -EINVAL, 0, ALWAYS, 0 },
	    { AT_EVENTFD, -ENOMEM, 0, 1, 0 } },
	  -ENOMEM },
	{ "no signal", { { AT_SIGNAL, -ENOMEM, 0, ALWAYS, 0 } }, 0 },
	{ "no probe", { { AT_PROBE, 1, 0, ALWAYS, 0 } }, 0 },
};

/* If it fails, it fails again, and leaves nothing behind. Without the fault all is
 * well. */
START_TEST(opening_that_fails)
{
	const struct opening *o = &openings[_i];
	char byte = 0;
	int ends[2];
	int n;

	setenv("WEFT_ENGINE", "uring", 1);
	ck_assert_int_eq(pipe(ends), 0);
	ck_assert_int_eq(write(ends[1], "abc", 3), 3);
	ck_assert_int_eq(weft_schedule(), 0);
	n = n_descriptors();
	inject(o->fault, N_ELEMENTS(o->fault));
	for (int i = 0; i < 2 && o->error; i++) {
		ck_assert_int_eq(weft_read(ends[0], &byte, 1), o->error);
		ck_assert_int_eq(n_descriptors(), n);
		if (o->fault[1].n == 1)
			break;
	}
	if (!o->error) {
		ck_assert_int_eq(weft_read(ends[0], &byte, 1), 1);
		ck_assert_int_eq(byte, 'a');
	}
	ck_assert_int_eq(weft_sleep(WEFT_MICROSECOND), 0);
	inject(NULL, 0);
	ck_assert_int_eq(weft_read(ends[0], &byte, 1), 1);
	ck_assert_int_eq(byte, o->error ? 'a' : 'b');
	ck_assert_int_eq(weft_close(ends[0]), 0);
}
END_TEST

/* --- a bit of everything --- */

/* The first thing that went wrong, by any tasklet. */
static char complaint[256];

#define NEED(condition)                                                        \
	do {                                                                   \
		if (!(condition)) {                                            \
			if (!*complaint)                                       \
				snprintf(complaint, sizeof complaint,          \
					 "line %d: %s", __LINE__, #condition); \
			return -1;                                             \
		}                                                              \
	} while (0)

/* An error that a call may meet once: then it is made again. 0: none. */
static int once;
static unsigned n_met;

#define TRY(call)                                                  \
	({                                                         \
		int rc_ = (int)(call);                             \
		once &&rc_ == once ? (n_met++, (int)(call)) : rc_; \
	})

static char folder[] = "/tmp/weft-faults-XXXXXX";
static char path[3][sizeof folder + 16];

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	for (int i = 0; i < 3; i++)
		snprintf(path[i], sizeof path[i], "%s/%d", folder, i);
}

enum { BYTES = 1000 };

static char byte_at(int i)
{
	return (char)('a' + i * 7 % 26);
}

/* The close of a file may have been interrupted. */
static bool may_be_interrupted;

/* Whatever it returns, it has closed. No other descriptor is opened meanwhile. */
static bool closes(int fd)
{
	int rc = weft_close(fd);

	if (once && rc == once)
		n_met++;
	else if (rc && !(rc == -EIO && may_be_interrupted))
		return false;
	return true;
}

static int send_bytes(int fd, bool by_write)
{
	char bytes[BYTES];
	int n = 0;

	for (int i = 0; i < BYTES; i++)
		bytes[i] = byte_at(i);
	while (n < BYTES) {
		size_t left = (size_t)(BYTES - n);
		ssize_t rc = TRY(by_write ? weft_write(fd, bytes + n, left)
					  : weft_send(fd, bytes + n, left, 0));

		NEED(rc > 0);
		n += (int)rc;
	}
	NEED(closes(fd));
	return 0;
}

static int take_bytes(int fd, bool by_read)
{
	char bytes[BYTES];
	ssize_t rc;
	int n = 0;

	do {
		rc = TRY(by_read ? weft_read(fd, bytes, sizeof bytes)
				 : weft_recv(fd, bytes, sizeof bytes, 0));
		NEED(rc >= 0);
		for (int i = 0; i < rc; i++)
			NEED(bytes[i] == byte_at(n + i));
		n += (int)rc;
	} while (rc > 0);
	NEED(n == BYTES);
	NEED(closes(fd));
	return 0;
}

static int ends[2];

static int write_to_pipe(void *arg)
{
	(void)arg;
	return send_bytes(ends[1], true);
}

static int read_from_pipe(void *arg)
{
	(void)arg;
	return take_bytes(ends[0], true);
}

static int listener;
static struct sockaddr_in address;

static int serve(void *arg)
{
	struct sockaddr_in peer = { 0 };
	socklen_t size = sizeof peer;
	int fd = TRY(weft_accept(listener, (struct sockaddr *)&peer, &size));

	(void)arg;
	NEED(fd >= 0);
	NEED(fcntl(fd, F_GETFD) & FD_CLOEXEC);
	NEED(size == sizeof peer && peer.sin_family == AF_INET);
	return take_bytes(fd, false);
}

static int dial(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	(void)arg;
	NEED(fd >= 0);
	NEED(TRY(weft_connect(fd, (struct sockaddr *)&address,
			      sizeof address)) == 0);
	return send_bytes(fd, false);
}

static int use_file(void *arg)
{
	struct iovec v[2] = { { (char[]){ "xy" }, 2 }, { (char[]){ "z" }, 1 } };
	char bytes[4] = "";
	struct statx stx;
	int n = 0;
	int fd, again, rc;

	(void)arg;
	NEED(TRY(weft_mkdirat(AT_FDCWD, path[0], 0700)) == 0);
	NEED(TRY(weft_unlinkat(AT_FDCWD, path[0], AT_REMOVEDIR)) == 0);
	fd = TRY(weft_openat(AT_FDCWD, path[0], O_CREAT | O_EXCL | O_RDWR,
			     0600));
	NEED(fd >= 0);
	while (n < 3) {
		rc = TRY(weft_pwrite(fd, &"abc"[n], (size_t)(3 - n), n));
		NEED(rc > 0);
		n += rc;
	}
	for (n = 0; n < 3; n++)
		NEED(TRY(weft_pread(fd, bytes, 1, n)) == 1 &&
		     bytes[0] == 'a' + n);
	NEED(TRY(weft_pwritev(fd, v, 1, 0)) > 0);
	NEED(TRY(weft_preadv(fd, v, 2, 0)) > 0);
	again = TRY(weft_openat(AT_FDCWD, path[0], O_WRONLY));
	NEED(again >= 0);
	NEED(closes(again));
	NEED(TRY(weft_fallocate(fd, 0, 0, 100)) == 0);
	NEED(TRY(weft_fdatasync(fd)) == 0);
	NEED(TRY(weft_fsync(fd)) == 0);
	NEED(TRY(weft_ftruncate(fd, 10)) == 0);
	NEED(TRY(weft_statx(fd, "", AT_EMPTY_PATH, STATX_SIZE, &stx)) == 0);
	NEED(stx.stx_size == 10);
	NEED(TRY(weft_renameat(AT_FDCWD, path[0], AT_FDCWD, path[1])) == 0);
	NEED(TRY(weft_linkat(AT_FDCWD, path[1], AT_FDCWD, path[2], 0)) == 0);
	NEED(TRY(weft_symlinkat("nowhere", AT_FDCWD, path[0])) == 0);
	for (int i = 0; i < 3; i++)
		NEED(TRY(weft_unlinkat(AT_FDCWD, path[i], 0)) == 0);
	NEED(TRY(weft_read(fd, bytes, 1)) == 1);
	NEED(TRY(weft_write(fd, "w", 1)) == 1);
	NEED(lseek(fd, 0, SEEK_CUR) == 2);
	NEED(closes(fd));
	return 0;
}

/* --- streams --- */

static int stream_listener;
static struct sockaddr_in stream_address;

enum { STREAMED = 2, BUFFER = 64 };

static int take_stream(int fd, weft_buffers *pool)
{
	weft_stream *s = weft_recv_stream(fd, pool);
	void *data;
	ssize_t n;
	int total = 0;

	NEED(s);
	while ((n = TRY(weft_stream_next(s, &data))) > 0) {
		for (int i = 0; i < n; i++)
			NEED(((char *)data)[i] == byte_at(total + i));
		total += (int)n;
		weft_stream_release(s, data);
	}
	NEED(n == 0);
	NEED(total == BYTES);
	weft_stream_close(s);
	NEED(closes(fd));
	return 0;
}

static int serve_by_streams(void *arg)
{
	weft_stream *s = weft_accept_stream(stream_listener);
	weft_buffers *pool = weft_buffers_new(4, BUFFER);

	(void)arg;
	NEED(s && pool);
	for (int i = 0; i < STREAMED; i++) {
		int fd = TRY(weft_stream_next(s, NULL));

		NEED(fd >= 0);
		if (take_stream(fd, pool))
			return -1;
	}
	weft_stream_close(s);
	weft_buffers_free(pool);
	return 0;
}

static int dial_streams(void *arg)
{
	(void)arg;
	for (int i = 0; i < STREAMED; i++) {
		int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

		NEED(fd >= 0);
		NEED(TRY(weft_connect(fd, (struct sockaddr *)&stream_address,
				      sizeof stream_address)) == 0);
		if (send_bytes(fd, false))
			return -1;
	}
	return 0;
}

static int idle(void *arg)
{
	char byte;
	int fds[2];

	(void)arg;
	NEED(pipe2(fds, O_CLOEXEC) == 0);
	for (int i = 0; i < 2; i++) {
		struct weft_deadline d;
		ssize_t rc;

		weft_deadline_begin(&d, weft_now() + WEFT_MICROSECOND);
		rc = TRY(weft_read(fds[0], &byte, 1));
		weft_deadline_end(&d);
		NEED(rc == -ETIMEDOUT);
	}
	NEED(closes(fds[0]));
	NEED(closes(fds[1]));
	return 0;
}

static int listen_at(struct sockaddr_in *a)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t size = sizeof *a;

	*a = (struct sockaddr_in){ .sin_family = AF_INET };
	a->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)a, size), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)a, &size), 0);
	ck_assert_int_eq(listen(fd, 8), 0);
	return fd;
}

/* Runs all kinds of calls at once. NULL, or what went wrong. */
static const char *run_all(void)
{
	static const weft_fn all[] = {
		write_to_pipe,    read_from_pipe, serve,    dial,
		serve_by_streams, dial_streams,   use_file, idle
	};
	int n_before = n_descriptors();

	*complaint = '\0';
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	for (size_t i = 0; i < N_ELEMENTS(all); i++)
		weft_spawn(all[i], NULL);
	ck_assert_int_eq(weft_run(), 0);
	/* A descriptor that a helper closes late is closed before its tasklet
	 * ends. */
	if (!*complaint && n_descriptors() != n_before)
		snprintf(complaint, sizeof complaint, "%d descriptors, not %d",
			 n_descriptors(), n_before);
	return *complaint ? complaint : NULL;
}

static void prepare(void)
{
	struct io_uring_sqe nop = { 0 };

	make_folder();
	listener = listen_at(&address);
	stream_listener = listen_at(&stream_address);
	inject(NULL, 0);
	io_uring_prep_nop(&nop);
	ck_assert_int_eq(weft_await(&nop), 0);
	ck_assert_msg(!run_all(), "%s", complaint);
}

/* Each at one call, and at @n in a row. */
static const struct {
	enum fault_site site;
	int value;
	unsigned opcode;
	unsigned n;
} passing[] = {
	{ AT_ENTER, -EAGAIN, 0, 100 },
	{ AT_ENTER, -EBUSY, 0, 100 },
	{ AT_ENTER, -EINTR, 0, 100 },
	{ AT_ENTER, -ENOMEM, 0, 100 },
	{ AT_ENTER, -ETIME, 0, 100 },
	{ AT_SUBMISSION, 1, 0, 100 },
	{ AT_LATENESS, 1, 0, 100 },
	{ AT_LATENESS, 40, 0, 5 },
	{ AT_OVERFLOW, 1, 0, 100 },
	{ AT_OVERFLOW, 40, 0, 5 },
	{ AT_ORDER, 1, 0, 100 },
	{ AT_OPERATION, -EINTR, 0, 100 },
	{ AT_OPERATION, -ERESTARTSYS, 0, 100 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_READ, 5 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_WRITE, 5 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_RECV, 5 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_SEND, 5 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_ACCEPT, 5 },
	{ AT_OPERATION, -EAGAIN, IORING_OP_OPENAT2, 100 },
	/* The kernel has no thread for it: at last the caller makes the call. */
	{ AT_OPERATION, -ECANCELED, IORING_OP_RECV, 5 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_SEND, 5 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_ACCEPT, 5 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_READ, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_WRITE, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_WRITEV, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_OPENAT, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_OPENAT2, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_CLOSE, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_FSYNC, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_FALLOCATE, 100 },
	{ AT_OPERATION, -ECANCELED, OP_FTRUNCATE, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_STATX, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_MKDIRAT, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_UNLINKAT, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_RENAMEAT, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_LINKAT, 100 },
	{ AT_OPERATION, -ECANCELED, IORING_OP_SYMLINKAT, 100 },
	{ AT_LENGTH, 1, 0, 100 },
	{ AT_MULTISHOT, 1, 0, 100 },
	{ AT_CANCEL, -ENOENT, 0, 100 },
	{ AT_CANCEL, -EALREADY, 0, 100 },
};

/* The k-th call at that place, for all k. */
START_TEST(passing_fault)
{
	size_t which = (size_t)_i / 2;
	struct fault f = { .site = passing[which].site,
			   .value = passing[which].value,
			   .opcode = passing[which].opcode,
			   .n = _i % 2 ? passing[which].n : 1 };
	unsigned n = 1;

	prepare();
	may_be_interrupted = f.site == AT_OPERATION;
	for (f.from = 0; n; f.from++) {
		const char *what;

		inject(&f, 1);
		what = run_all();
		n = n_injected(f.site);
		ck_assert_msg(!what, "call %u: %s", f.from, what);
	}
	rmdir(folder);
}
END_TEST

/* --- errors that are the call's --- */

static const int errors[] = { -ENOMEM, -ENOBUFS, -EIO, -EOPNOTSUPP, -EACCES };

/* The k-th operation fails, for all k: one call returns that, and is made again. */
START_TEST(error_is_the_calls)
{
	struct fault f = { .site = AT_OPERATION, .value = errors[_i], .n = 1 };
	unsigned n = 1;

	prepare();
	once = errors[_i];
	for (f.from = 0; n; f.from++) {
		const char *what;

		n_met = 0;
		inject(&f, 1);
		what = run_all();
		n = n_injected(f.site);
		ck_assert_msg(!what, "operation %u: %s", f.from, what);
		ck_assert_uint_le(n_met, n);
	}
	rmdir(folder);
}
END_TEST

/* --- doorbells --- */

static const char *const wakes[] = { "auto", "futex", "msg_ring", "eventfd",
				     "msg_ring_sqe" };

static const struct fault of_doorbells[] = {
	{ AT_MESSAGE, -EINTR, 1, 50, 0 },
	{ AT_MESSAGE, -EAGAIN, 1, 50, 0 },
	{ AT_MESSAGE, -ENOMEM, 1, 50, 0 },
	{ AT_MESSAGE, -ENOMEM, 0, 1, 0 },
	{ AT_MESSAGE, -EPERM, 1, ALWAYS, 0 },
	{ AT_MESSAGE, -EINVAL, 0, ALWAYS, 0 },
	{ AT_OPERATION, -ENOMEM, 0, 50, IORING_OP_MSG_RING },
	{ AT_OPERATION, -EINVAL, 0, ALWAYS, IORING_OP_MSG_RING },
	{ AT_OPERATION, -ENOMEM, 0, 50, IORING_OP_POLL_ADD },
	{ AT_MULTISHOT, 1, 0, ALWAYS, 0 },
	{ AT_LATENESS, 3, 0, ALWAYS, 0 },
	{ AT_OVERFLOW, 3, 0, ALWAYS, 0 },
	{ AT_ENTER, -EBUSY, 0, 50, 0 },
	{ AT_ENTER, -EINTR, 0, 500, 0 },
};

enum { ROUNDS = 100 };

static weft_channel *there, *back;

static int read_a_byte(void *fd)
{
	char byte;

	return (int)weft_read(*(int *)fd, &byte, 1);
}

/* So that the thread sleeps in its ring. */
static weft_tasklet keep_reading(int fds[2])
{
	weft_tasklet t;

	if (pipe2(fds, O_CLOEXEC))
		return (weft_tasklet){ 0 };
	t = weft_spawn(read_a_byte, &fds[0]);
	weft_schedule();
	return t;
}

static void *echo(void *arg)
{
	weft_tasklet reader;
	int fds[2];
	int n;

	(void)arg;
	reader = keep_reading(fds);
	for (int i = 0; i < ROUNDS; i++)
		if (weft_channel_receive(there, &n) ||
		    weft_channel_send(back, &n))
			return NULL;
	if (write(fds[1], "x", 1) == 1)
		weft_tasklet_join(reader);
	close(fds[0]);
	close(fds[1]);
	return NULL;
}

/* No wake is lost: that would be a hang. */
START_TEST(wakes_all_the_same)
{
	size_t fault = (size_t)_i % N_ELEMENTS(of_doorbells);
	weft_tasklet reader;
	pthread_t thread;
	int fds[2];

	setenv("WEFT_WAKE", wakes[(size_t)_i / N_ELEMENTS(of_doorbells)], 1);
	inject(&of_doorbells[fault], 1);
	there = weft_channel_new(sizeof(int), 0);
	back = weft_channel_new(sizeof(int), 0);
	thread = start_thread(echo, NULL);
	reader = keep_reading(fds);
	for (int i = 0; i < ROUNDS; i++) {
		int n = i;

		ck_assert_int_eq(weft_channel_send(there, &n), 0);
		n = -1;
		ck_assert_int_eq(weft_channel_receive(back, &n), 0);
		ck_assert_int_eq(n, i);
	}
	ck_assert_int_eq(write(fds[1], "x", 1), 1);
	ck_assert_int_eq(weft_tasklet_join(reader), 1);
	join_thread(thread);
}
END_TEST

/* --- what cannot be made good --- */

static int lose_a_completion(void)
{
	static const struct fault f = { AT_ENTER, -EBADR, 0, 1, 0 };
	int fds[2];

	EXPECT(pipe(fds) == 0);
	inject(&f, 1);
	(void)read_a_byte(&fds[0]);
	return 0;
}

/* A tasklet would wait for ever, and nobody knows which. */
START_TEST(lost_completions_stop_the_process)
{
	char said[1024];

	ck_assert_int_eq(in_child(lose_a_completion, said, sizeof said),
			 -SIGABRT);
	ck_assert_ptr_nonnull(strstr(said, "lost completions"));
}
END_TEST

/* --- the counters --- */

static const struct {
	struct fault fault;
	size_t counter; /* its place in weft_stats */
} counted[] = {
	{ { AT_ENTER, -EBUSY, 0, 5, 0 },
	  offsetof(struct weft_stats, submit_retries) },
	{ { AT_SUBMISSION, 1, 0, 2, 0 },
	  offsetof(struct weft_stats, submit_retries) },
	{ { AT_OVERFLOW, 2, 0, 5, 0 },
	  offsetof(struct weft_stats, cq_overflows) },
	{ { AT_OPERATION, -EINTR, 0, 5, 0 },
	  offsetof(struct weft_stats, operation_retries) },
	{ { AT_CANCEL, -ENOENT, 0, 2, 0 },
	  offsetof(struct weft_stats, cancel_misses) },
	{ { AT_CANCEL, -EALREADY, 0, 2, 0 },
	  offsetof(struct weft_stats, cancel_misses) },
};

static uint64_t count_of(size_t place)
{
	struct weft_stats stats;

	ck_assert_int_eq(weft_stats(0, &stats), 0);
	return *(uint64_t *)((char *)&stats + place);
}

START_TEST(faults_are_counted)
{
	const struct fault *f = &counted[_i].fault;
	uint64_t before;

	prepare();
	may_be_interrupted = true;
	before = count_of(counted[_i].counter);
	inject(f, 1);
	/* If a deadline passes before the operation is begun, nothing is cancelled. */
	do
		ck_assert_msg(!run_all(), "%s", complaint);
	while (n_injected(f->site) < f->n);
	ck_assert_uint_ge(count_of(counted[_i].counter), before + f->n);
	rmdir(folder);
}
END_TEST

int main(void)
{
	Suite *s;

	if (lacks_io_uring())
		return SKIPPED;
	s = suite_create("faults");
	add_loop(s, "opening", opening_that_fails, N_ELEMENTS(openings));
	add_loop(s, "passing", passing_fault, 2 * N_ELEMENTS(passing));
	add_loop(s, "errors", error_is_the_calls, N_ELEMENTS(errors));
	add_loop(s, "doorbells", wakes_all_the_same,
		 N_ELEMENTS(wakes) * N_ELEMENTS(of_doorbells));
	add_case(s, "stops", lost_completions_stop_the_process);
	add_loop(s, "counters", faults_are_counted, N_ELEMENTS(counted));
	return run_suite(s);
}
