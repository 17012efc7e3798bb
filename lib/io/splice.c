/* SPDX-License-Identifier: MIT */
/*
 * weft_splice(), weft_tee() and weft_sendfile(): bytes that go from one descriptor to
 * another inside of the kernel.
 *
 * The ring makes each splice on one of its worker threads. So a splice between ends
 * that can be told not to wait, pipes and sockets with O_NONBLOCK, is a system call
 * on the spot, with SPLICE_F_NONBLOCK. Other sockets ignore that flag, and files wait
 * for their device: there a worker makes the call. In either case the call is made
 * when poll(2) says that both ends are ready, and weft_poll() waits for them. So no
 * worker waits for a peer, unless somebody else takes the bytes or the room in
 * between. A worker that waits for room in a socket would hold the lock of the pipe
 * meanwhile. So it gets no more bytes than seem to fit.
 *
 * A worker looks its first descriptor up when it begins, and a close could come
 * before that. So it gets a duplicate.
 *
 * weft_sendfile() splices to a pipe of its own, and from there. What has not left the
 * pipe does not count and stays in the file, which is why it has to have a position.
 */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <weft/io.h>

#include "base/descriptor.h"
#include "core/block.h"
#include "io/held.h"
#include "io/identity.h"
#include "io/io.h"

#include <linux/sockios.h>

enum {
	ALL_FLAGS = SPLICE_F_MOVE | SPLICE_F_NONBLOCK | SPLICE_F_MORE |
		    SPLICE_F_GIFT,
	TRIES = 16,
	PIPE_SIZE = 65536, /* as a pipe is made */
	LARGE_PIPE = 1 << 20
};

struct end {
	int fd;
	struct stat st;
	int flags;     /* as open(2) takes them */
	off_t *offset; /* NULL: its position, or there is none */
};

struct splicing {
	struct scheduler *s;
	struct end in, out;
	size_t count;
	unsigned flags;
	bool is_tee;
	bool was_away; /* other tasklets have run since the ends were looked at */
	unsigned
		n_in_vain; /* tries that failed with both ends ready, in a row */
};

/* --- the ends --- */

static bool is_pipe(const struct end *e)
{
	return S_ISFIFO(e->st.st_mode);
}

static bool is_socket(const struct end *e)
{
	return S_ISSOCK(e->st.st_mode);
}

/* Whether the system call can be told not to wait for it. */
static bool is_quick(const struct end *e)
{
	return is_pipe(e) || (is_socket(e) && e->flags & O_NONBLOCK);
}

static int look_at(struct end *e, int not_this_mode)
{
	int rc = weft__identify(e->fd, &e->st);

	if (rc)
		return rc;
	e->flags = fcntl(e->fd, F_GETFL);
	if (e->flags < 0)
		return -errno;
	if ((e->flags & O_ACCMODE) == not_this_mode || e->flags & O_PATH)
		return -EBADF;
	if (!e->offset)
		return 0;
	if (is_pipe(e))
		return -ESPIPE;
	return is_socket(e) || *e->offset < 0 ? -EINVAL : 0;
}

/* Whether it is in no file system, as an eventfd: the kernel splices none of those. */
static bool is_nowhere(const struct end *e)
{
	return !(e->st.st_mode & S_IFMT);
}

/* What the kernel would refuse is refused before there is anything to wait for. */
static int look_at_both(struct splicing *x)
{
	int rc = look_at(&x->in, O_WRONLY);

	if (!rc)
		rc = look_at(&x->out, O_RDONLY);
	if (rc)
		return rc;
	if (x->flags & ~(unsigned)ALL_FLAGS)
		return -EINVAL;
	if (x->is_tee ? !is_pipe(&x->in) || !is_pipe(&x->out)
		      : !is_pipe(&x->in) && !is_pipe(&x->out))
		return -EINVAL;
	if (is_nowhere(&x->in) || is_nowhere(&x->out))
		return -EINVAL;
	if (!is_pipe(&x->out) && x->out.flags & O_APPEND)
		return -EINVAL;
	return x->in.st.st_ino == x->out.st.st_ino &&
			       x->in.st.st_dev == x->out.st.st_dev &&
			       is_pipe(&x->in)
		       ? -EINVAL
		       : 0;
}

/* Before anything is done with the numbers. */
static int look_again(struct splicing *x)
{
	if (!x->was_away)
		return 0;
	x->was_away = false;
	return weft__is_still(x->in.fd, &x->in.st) &&
			       weft__is_still(x->out.fd, &x->out.st)
		       ? 0
		       : -ECANCELED;
}

/* --- on the spot --- */

static bool is_pending(int number)
{
	sigset_t set;

	return !sigpending(&set) && sigismember(&set, number);
}

static ssize_t splice_now(const struct splicing *x)
{
	unsigned flags = x->flags | SPLICE_F_NONBLOCK;
	ssize_t n;

	do
		n = x->is_tee ? tee(x->in.fd, x->out.fd, x->count, flags)
			      : splice(x->in.fd, x->in.offset, x->out.fd,
				       x->out.offset, x->count, flags);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

/* Without SIGPIPE, which a worker would not raise either. A call that ends early can
 * have raised it, too, after a part: the kernel sends what there is piece by piece. */
static ssize_t splice_quietly(const struct splicing *x)
{
	static const struct timespec at_once = { 0 };
	sigset_t sigpipe, before;
	bool was_pending;
	ssize_t n;

	sigemptyset(&sigpipe);
	sigaddset(&sigpipe, SIGPIPE);
	pthread_sigmask(SIG_BLOCK, &sigpipe, &before);
	was_pending = sigismember(&before, SIGPIPE) && is_pending(SIGPIPE);
	n = splice_now(x);
	if ((n == -EPIPE || (n > 0 && (size_t)n < x->count)) && !was_pending)
		(void)sigtimedwait(&sigpipe, NULL, &at_once);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	return n;
}

/* --- by a worker --- */

/* How many bytes the socket seems to have room for. */
static size_t room_in(int fd)
{
	socklen_t size = sizeof(int);
	int all, used;

	if (getsockopt(fd, SOL_SOCKET, SO_SNDBUF, &all, &size) ||
	    ioctl(fd, SIOCOUTQ, &used) || (all - used) / 2 < PIPE_BUF)
		return PIPE_BUF;
	return (size_t)(all - used) / 2;
}

static uint64_t offset_of(const struct end *e)
{
	return e->offset ? (uint64_t)*e->offset : (uint64_t)-1;
}

static void move_on(const struct end *e, ssize_t n)
{
	if (e->offset)
		*e->offset += n;
}

static int splice_by_worker(struct splicing *x, ssize_t *n)
{
	struct engine *engine = &x->s->engine;
	struct io_uring_sqe sqe = { 0 };
	size_t count = x->count;
	unsigned flags = x->flags;
	uint32_t cqe_flags;
	struct held *h = weft__held_new(x->s);
	int res = 0;
	int in, rc;

	if (!h)
		return -ENOMEM;
	in = h->fds[0] = fcntl(x->in.fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (in < 0) {
		rc = -errno;
		weft__held_end(h);
		return rc;
	}
	if (x->n_in_vain < TRIES)
		flags |= SPLICE_F_NONBLOCK;
	if (is_socket(&x->out) && room_in(x->out.fd) < count)
		count = room_in(x->out.fd);
	io_uring_prep_splice(&sqe, in, (int64_t)offset_of(&x->in), x->out.fd,
			     (int64_t)offset_of(&x->out), weft__clamp(count),
			     flags);
	if (x->is_tee)
		sqe.opcode = IORING_OP_TEE;
	weft__engine_expect_stuck(engine, WORKER_UNBOUNDED, 1);
	rc = weft__await_operation(x->s, &sqe, &res, &cqe_flags);
	weft__engine_expect_stuck(engine, WORKER_UNBOUNDED, -1);
	weft__held_end(h);
	x->was_away = true;
	*n = res;
	if (rc || res <= 0)
		return rc;
	move_on(&x->in, res);
	move_on(&x->out, res);
	return 0;
}

/* --- waiting --- */

static int poll_now(struct pollfd fds[2])
{
	int rc;

	do
		rc = poll(fds, 2, 0);
	while (rc < 0 && errno == EINTR);
	return rc < 0 ? -errno : rc;
}

static bool are_ready(const struct splicing *x)
{
	struct pollfd fds[2] = {
		{ .fd = x->in.fd, .events = POLLIN },
		{ .fd = x->out.fd, .events = POLLOUT },
	};

	return poll_now(fds) == 2;
}

/* An end that is ready is waited for, too, so that its close ends the wait. It is
 * left out if it can only say again what it says already, or nothing at all. */
static void wait_for_close_alone(struct pollfd *p, const struct end *e)
{
	if (!p->revents)
		return;
	p->events = 0;
	if (p->revents & (POLLERR | POLLHUP) || !(is_pipe(e) || is_socket(e)))
		p->fd = -1;
}

/* A socket that listens has nothing to move and never has room. The kernel says so at
 * once. */
static int find_refusal(const struct end *e)
{
	socklen_t size = sizeof(int);
	int listens = 0;

	return is_socket(e) &&
			       !getsockopt(e->fd, SOL_SOCKET, SO_ACCEPTCONN,
					   &listens, &size) &&
			       listens
		       ? -ENOTCONN
		       : 0;
}

static int wait_until_ready(struct splicing *x)
{
	struct pollfd fds[2] = {
		{ .fd = x->in.fd, .events = POLLIN },
		{ .fd = x->out.fd, .events = POLLOUT },
	};
	int rc = find_refusal(&x->in);

	if (!rc)
		rc = find_refusal(&x->out);
	if (!rc)
		rc = weft__may_wait(x->s);
	if (!rc)
		rc = poll_now(fds);
	if (rc < 0)
		return rc;
	if (rc == 2) {
		x->n_in_vain++;
		return 0;
	}
	x->n_in_vain = 0;
	wait_for_close_alone(&fds[0], &x->in);
	wait_for_close_alone(&fds[1], &x->out);
	rc = weft_poll(fds, 2, -1);
	x->was_away = true;
	return rc < 0 ? rc : 0;
}

/* One try: 0 and its result, or what the call must return. */
static int try_once(struct splicing *x, ssize_t *n)
{
	int rc = look_again(x);

	if (rc)
		return rc;
	*n = -EAGAIN;
	if (is_quick(&x->in) && is_quick(&x->out) && x->n_in_vain < TRIES) {
		*n = splice_quietly(x);
		return 0;
	}
	rc = weft__may_wait(x->s);
	if (rc || !are_ready(x))
		return rc;
	return splice_by_worker(x, n);
}

/* Waits until some bytes have gone, or none is to come. */
static ssize_t move(struct splicing *x)
{
	ssize_t n;
	int rc;

	x->n_in_vain = 0;
	for (;;) {
		rc = try_once(x, &n);
		if (rc)
			return rc;
		if (n != -EAGAIN || x->flags & SPLICE_F_NONBLOCK ||
		    x->n_in_vain > TRIES)
			return n;
		rc = wait_until_ready(x);
		if (rc)
			return rc;
	}
}

static ssize_t enter_and_move(struct splicing *x)
{
	int rc;

	x->s = weft__scheduler();
	if (!x->s)
		return -errno;
	rc = weft__enter(x->s);
	if (!rc)
		rc = look_at_both(x);
	return rc || !x->count ? rc : move(x);
}

WEFT_API ssize_t weft_splice(int in, off_t *off_in, int out, off_t *off_out,
			     size_t count, unsigned flags)
{
	struct splicing x = {
		.in = { .fd = in, .offset = off_in },
		.out = { .fd = out, .offset = off_out },
		.count = weft__clamp(count),
		.flags = flags,
	};

	return enter_and_move(&x);
}

WEFT_API ssize_t weft_tee(int in, int out, size_t count, unsigned flags)
{
	struct splicing x = {
		.in.fd = in,
		.out.fd = out,
		.count = weft__clamp(count),
		.flags = flags,
		.is_tee = true,
	};

	return enter_and_move(&x);
}

/* --- a file through a pipe --- */

struct passage {
	struct splicing into, from; /* the pipe */
	size_t size;                /* of the pipe */
	off_t place;                /* in the file */
	size_t done;                /* bytes that have arrived */
	bool is_direct;             /* the pipe is the target */
	bool keeps_raised;          /* by this call */
};

static void note_arrived(struct passage *p, ssize_t n)
{
	p->place += n;
	p->done += (size_t)n;
	p->keeps_raised |= weft__keep_raised(peek(p->into.s->current));
}

/* Moves so many bytes from the pipe. 0, or why some are left. */
static ssize_t empty(struct passage *p, size_t count)
{
	ssize_t n;

	p->from.was_away = true;
	for (; count; count -= (size_t)n) {
		p->from.count = count;
		n = move(&p->from);
		if (n <= 0)
			return n ? n : -EIO;
		note_arrived(p, n);
	}
	return 0;
}

/* Fills the pipe with what follows in the file. */
static ssize_t fill(struct passage *p, size_t count)
{
	off_t place = p->place;

	p->into.count = count < p->size ? count : p->size;
	p->into.in.offset = &place;
	p->into.was_away = true;
	return move(&p->into);
}

/* Returns what has stopped it; 0: the end, or all has arrived. */
static ssize_t pass(struct passage *p, size_t count)
{
	ssize_t n;
	int rc;

	while (p->done < count) {
		rc = weft__enter(p->into.s);
		if (rc)
			return rc;
		n = fill(p, count - p->done);
		if (n <= 0)
			return n;
		if (p->is_direct)
			note_arrived(p, n);
		else if ((n = empty(p, (size_t)n)))
			return n;
	}
	return 0;
}

static ssize_t pass_and_tell(struct passage *p, size_t count)
{
	ssize_t rc = pass(p, count);

	if (p->keeps_raised)
		weft__consume_raised(peek(p->into.s->current));
	return p->done ? (ssize_t)p->done : rc;
}

static ssize_t pass_through(struct passage *p, size_t count, const int ends[2])
{
	ssize_t n;

	p->size = PIPE_SIZE;
	/* If the system grants no more, it is slower. */
	if (count > PIPE_SIZE && fcntl(ends[1], F_SETPIPE_SZ, LARGE_PIPE) > 0)
		p->size = LARGE_PIPE;
	p->from.out = p->into.out;
	p->into.out.fd = ends[1];
	p->from.in.fd = ends[0];
	n = look_at_both(&p->into);
	if (!n)
		n = look_at_both(&p->from);
	return n ? n : pass_and_tell(p, count);
}

static ssize_t pass_through_pipe(struct passage *p, size_t count)
{
	struct held *h = weft__held_new(p->into.s);
	ssize_t n;

	if (!h)
		return -ENOMEM;
	if (pipe2(h->fds, O_CLOEXEC)) {
		n = -errno;
	} else {
		for (int i = 0; i < 2; i++)
			h->fds[i] = weft__above_standard(h->fds[i]);
		n = pass_through(p, count, h->fds);
	}
	weft__held_end(h);
	return n;
}

static ssize_t send_file(struct passage *p, size_t count)
{
	int rc = look_at(&p->into.in, O_WRONLY);

	if (!rc)
		rc = look_at(&p->into.out, O_RDONLY);
	if (rc)
		return rc;
	if (!S_ISREG(p->into.in.st.st_mode) && !S_ISBLK(p->into.in.st.st_mode))
		return -EINVAL;
	p->is_direct = is_pipe(&p->into.out);
	p->size = weft__clamp(count);
	if (!count)
		return 0;
	return p->is_direct ? pass_and_tell(p, count)
			    : pass_through_pipe(p, count);
}

WEFT_API ssize_t weft_sendfile(int out, int in, off_t *offset, size_t count)
{
	struct scheduler *s = weft__scheduler();
	struct passage p = {
		.into = { .s = s, .in.fd = in, .out.fd = out },
		.from = { .s = s },
	};
	ssize_t n;
	int rc;

	if (!s)
		return -errno;
	rc = weft__enter(s);
	if (rc)
		return rc;
	p.place = offset ? *offset : lseek(in, 0, SEEK_CUR);
	if (p.place < 0)
		return offset || errno == ESPIPE ? -EINVAL : -errno;
	/* No more than the result can tell. */
	n = send_file(&p, count < SSIZE_MAX ? count : SSIZE_MAX);
	if (n > 0 && offset)
		*offset = p.place;
	else if (n > 0 && weft__is_still(in, &p.into.in.st))
		(void)lseek(in, p.place, SEEK_SET);
	return n;
}
