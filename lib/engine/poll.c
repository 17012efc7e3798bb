/* SPDX-License-Identifier: MIT */
/*
 * The poll engine: for where there is no io_uring.
 *
 * It takes the same descriptions of operations as the ring does, and reads what
 * they say. There are three ways to do an operation:
 *
 *	at once      what never waits: a system call when it is submitted
 *	readiness    on streams: a system call that is told not to wait, when it
 *	             is submitted, and again each time epoll says that it may
 *	             succeed
 *	by a helper  all else, and what cannot be told not to wait: a helper
 *	             thread (pool.c) makes the system call, and waits
 *
 * An attempt is the engine's record of one operation in flight. Its completion
 * is noted when it comes, and told from weft__poller_take() alone: never while
 * an operation is being submitted.
 *
 * Readiness. For each descriptor there is a watch with three queues: attempts
 * that read, attempts that write, and polls. Reads and writes are served in the
 * order in which they came: an operation that finds others before it is not
 * tried, and an attempt that finds nothing ends the round. So however many
 * tasklets wait for one descriptor, what arrives costs one try, or two. epoll
 * reports once and is armed again for those that are left. If a descriptor
 * reports what helps nobody (an error queue that nobody reads, or another
 * process was faster), it is armed for changes only, or the thread would never
 * sleep. So it is where polls are multishot, which report changes.
 *
 * What must not happen is that a try waits. O_NONBLOCK is a flag of the open
 * file description, which other processes may share: it is left as it is. (One
 * exception is connect.) So the descriptor is told for one call:
 *
 *	recv, send, recvmsg, sendmsg   MSG_DONTWAIT
 *	read, write and their vectors  RWF_NOWAIT. Where the kernel does not have
 *	    it for the descriptor (terminals, FIFOs with a name, inotify, writes
 *	    to an eventfd; pipes before Linux 6.4), or at all: MSG_DONTWAIT for a
 *	    socket; the plain call if the description is O_NONBLOCK. If it is not
 *	    and poll(2) says that it is ready, a helper makes the call, since
 *	    another process may take the data between the two, and a write may be
 *	    larger than the room. Helpers do this one by one for each descriptor
 *	    and direction.
 *	accept    has no such flag. If the description is not O_NONBLOCK, a helper
 *	    accepts what poll(2) has seen, for another process may be faster.
 *	connect   of a stream socket that is not connected: O_NONBLOCK is set for
 *	    the time of the call. Nobody can be reading from such a socket or
 *	    writing to it, so nobody sees the flag. Other connects do not wait.
 *	splice, tee   either side could wait: always a helper.
 *
 * A helper that waits without end is interrupted by a signal when its operation
 * is cancelled (pool.c). The signal may come before the system call has begun:
 * then it is sent again a little later, until the helper answers.
 *
 * What poll(2) has seen to be there is taken all the same: a call that reads,
 * accepts or writes is made once in any case. The job of a read or an accept is
 * taken out of the helpers' line only when the descriptor is not ready any more,
 * the job of a write when no helper is on its way to it. The kernel gives what is
 * there to a call with a signal pending, too. So under a trap, where the thread
 * submits, cancels and waits for the end, such a call gets it on either engine.
 *
 * A regular file is always ready, and epoll refuses it: RWF_NOWAIT takes what
 * is in memory, and a helper does the rest.
 *
 * Helpers and the owner, [poll.1]:
 *
 *	helper, done()                      owner
 *	H1  ringers + 1
 *	H2  pushes the attempt              O1  the eventfd's event is taken
 *	H3  the stack was empty: writes     O2  takes the stack
 *	    to the eventfd
 *	H4  ringers - 1
 *
 * The owner sleeps only in epoll while an attempt is with a helper, and O1 comes
 * before O2. The helper that pushes onto the empty stack writes after that push.
 * So if the stack is not empty after O2, a write has not been taken by O1 yet or
 * is still to come, and the sleep ends. H2 is a release and O2 an acquire. The
 * owner closes the eventfd only when nothing is in flight, so each H2 has been
 * taken by O2, and each H1 is seen: it waits until ringers is 0. (The model is
 * tests/model/poll.pml.)
 */
#include "engine/poll.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

#include "base/debug.h"
#include "base/descriptor.h"
#include "base/lock.h"
#include "base/world.h"
#include "engine/carry.h"
#include "engine/engine.h"
#include "engine/pool.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif
#ifndef RWF_APPEND
#define RWF_APPEND 16
#endif
/* Newer than the headers of Debian 12. */
enum {
	ACCEPT_POLL_FIRST = 1 << 2,
	RECVSEND_KNOWN = (1 << 4) - 1 /* and no bundles */
};

enum {
	MOST_EVENTS = 64, /* of one call of epoll_wait */
	/* Rounds of one poll: a stream of events must not hold it up. */
	POLL_ROUNDS = 16,
	/* What is served of one report: neither a crowd nor a multishot
	 * operation must hold up all others. */
	MOST_SERVED = 32,
	ATTEMPTS_OF_A_SLAB = 64,
	MOST_BYTES = INT_MAX & ~4095, /* that one system call moves */
	FIRST_WATCHES = 64,
	ASK_AGAIN_NS = 1000 * 1000,
	LACK_NS = 10 * 1000 * 1000, /* before a lack of helpers is told */
	/* results of a try that are no completion's */
	WOULD_WAIT = INT_MIN,
	NEEDS_HELPER
};

/* Who waits for a descriptor. */
enum queue { READS, WRITES, POLLS, N_QUEUES };

enum state {
	SPARE,
	WAITING, /* in a queue of its descriptor's watch */
	TIMED,   /* in the list of timeouts; its result is known */
	HELPED,  /* a helper's */
	READY    /* its completion waits to be told */
};

/* One operation in flight. */
struct attempt {
	/* owner only */
	struct operation *operation;
	struct attempt *next, *prev;
	enum state state;
	enum queue queue;
	int signal; /* to be raised with the completion; 0: none */
	int res;
	unsigned flags;
	size_t moved;      /* of a call that goes on until all is moved */
	struct rest *rest; /* what is left of such a call's vector, or NULL */
	int64_t deadline;
	bool is_several;    /* multishot */
	bool is_bare;       /* cannot be told not to wait */
	bool is_of_file;    /* a helper will not wait without end */
	bool is_impatient;  /* it said itself that it does not wait */
	bool is_connecting; /* connect(2) has begun */

	/* the helper's while it has the job */
	struct io_uring_sqe sqe;
	struct engine *engine;
	struct job job;
	struct attempt *next_done;

	/* written by the owner, read by the helper; relaxed: a hint, since a
	 * signal follows */
	_Atomic(bool) is_asked;
};

/* The part of a message's vector that is still to be moved. */
struct rest {
	struct msghdr message;
	struct iovec iov[];
};

struct slab {
	struct slab *next;
	struct attempt attempts[ATTEMPTS_OF_A_SLAB];
};

struct watch {
	struct attempt *first[N_QUEUES], *last[N_QUEUES];
	uint32_t armed;  /* what epoll was asked for and has not reported */
	uint32_t polled; /* what the polls wait for */
	uint32_t round;  /* how often epoll was asked */
	bool is_known;   /* epoll has had the descriptor */
	bool is_by_edge; /* it reports changes, and stays armed */
};

/* Buffers that the program hands over in a ring in memory. */
struct buffer_group {
	struct buffer_group *next;
	struct io_uring_buf_ring *ring;
	unsigned entries, id;
	uint16_t head;
};

/* --- attempts --- */

static bool add_slab(struct poller *p)
{
	struct slab *slab = calloc(1, sizeof *slab);

	if (!slab)
		return false;
	slab->next = p->slabs;
	p->slabs = slab;
	for (int i = ATTEMPTS_OF_A_SLAB; i--;) {
		slab->attempts[i].next = p->spare;
		p->spare = &slab->attempts[i];
	}
	return true;
}

static struct attempt *take_spare(struct poller *p)
{
	struct attempt *a = p->spare;

	if (unlikely(!a) && !add_slab(p))
		return NULL;
	a = p->spare;
	p->spare = a->next;
	return a;
}

static void make_spare(struct poller *p, struct attempt *a)
{
	free(a->rest);
	a->rest = NULL;
	a->state = SPARE;
	a->next = p->spare;
	p->spare = a;
}

/* The operation has its last result. */
static void finish(struct engine *e, struct attempt *a, int res)
{
	struct poller *p = &e->poller;

	a->state = READY;
	a->res = res;
	a->next = NULL;
	if (p->last_ready)
		p->last_ready->next = a;
	else
		p->ready = a;
	p->last_ready = a;
}

static bool is_zero_copy(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SEND_ZC ||
	       sqe->opcode == IORING_OP_SENDMSG_ZC;
}

/* The memory of the operation is its owner's again after the last of these. */
static void tell(struct engine *e, struct attempt *a)
{
	struct operation *o = a->operation;
	unsigned flags = a->flags;
	int res = a->res;

	if (is_zero_copy(&a->sqe) && res >= 0) {
		bool reports = a->sqe.ioprio & IORING_SEND_ZC_REPORT_USAGE;

		o->complete(o, res, IORING_CQE_F_MORE);
		res = reports ? (int)IORING_NOTIF_USAGE_ZC_COPIED : 0;
		flags = IORING_CQE_F_NOTIF;
	}
	if (unlikely(a->signal))
		raise(a->signal);
	make_spare(&e->poller, a);
	weft__flight_end(&e->flight, o);
	o->complete(o, res, flags);
}

/* One completion of several; more are to come. */
static void tell_one(struct attempt *a, int res)
{
	struct operation *o = a->operation;
	unsigned flags = a->flags | IORING_CQE_F_MORE;

	a->flags = 0;
	o->complete(o, res, flags);
}

/* --- buffers in groups --- */

static struct buffer_group *find_group(struct poller *p, unsigned id)
{
	struct buffer_group *g = p->groups;

	while (g && g->id != id)
		g = g->next;
	return g;
}

int weft__poller_add_buffers(struct engine *e,
			     const struct io_uring_buf_reg *reg)
{
	struct poller *p = &e->poller;
	struct buffer_group *g;

	if (!reg->ring_addr || reg->ring_entries & (reg->ring_entries - 1) ||
	    !reg->ring_entries || reg->ring_entries >= 65536)
		return -EINVAL;
	if (find_group(p, reg->bgid))
		return -EEXIST;
	g = malloc(sizeof *g);
	if (!g)
		return -ENOMEM;
	*g = (struct buffer_group){
		.next = p->groups,
		.ring = (struct io_uring_buf_ring *)(uintptr_t)reg->ring_addr,
		.entries = reg->ring_entries,
		.id = reg->bgid,
	};
	p->groups = g;
	return 0;
}

int weft__poller_remove_buffers(struct engine *e, unsigned id)
{
	struct buffer_group **place = &e->poller.groups;
	struct buffer_group *g;

	while ((g = *place) && g->id != id)
		place = &g->next;
	if (!g)
		return -ENOENT;
	*place = g->next;
	free(g);
	return 0;
}

static void free_groups(struct poller *p)
{
	while (p->groups)
		(void)weft__poller_remove_buffers(
			(struct engine *)((char *)p -
					  offsetof(struct engine, poller)),
			p->groups->id);
}

/* The next buffer of the attempt's group; NULL if there is none. */
static struct io_uring_buf *next_buffer(struct poller *p,
					const struct attempt *a,
					struct buffer_group **group)
{
	struct buffer_group *g = *group = find_group(p, a->sqe.buf_group);

	if (!g || (uint16_t)(g->ring->tail - g->head) == 0)
		return NULL;
	return &g->ring->bufs[g->head & (g->entries - 1)];
}

/* The buffer is the program's, and the completion names it. */
static void use_buffer(struct attempt *a, struct buffer_group *g)
{
	const struct io_uring_buf *b =
		&g->ring->bufs[g->head & (g->entries - 1)];

	a->flags |= IORING_CQE_F_BUFFER | (unsigned)b->bid
						  << IORING_CQE_BUFFER_SHIFT;
	g->head++;
}

/* --- tries --- */

static int result_of(long rc)
{
	return rc < 0 ? -errno : (int)rc;
}

static void *pointer(uint64_t value)
{
	return (void *)(uintptr_t)value;
}

static bool is_write(unsigned opcode)
{
	return opcode == IORING_OP_WRITE || opcode == IORING_OP_WRITEV;
}

static bool is_vector(unsigned opcode)
{
	return opcode == IORING_OP_READV || opcode == IORING_OP_WRITEV;
}

static bool is_nonblocking(int fd)
{
	int flags = fcntl(fd, F_GETFL);

	/* If that fails, so will the call. */
	return flags < 0 || flags & O_NONBLOCK;
}

/* What is ready; 0: nothing; -1: poll(2) has failed, as it does where the process
 * may have no descriptors at all. */
static int ready_for(int fd, unsigned events)
{
	struct pollfd p = { .fd = fd, .events = (short)events };
	int rc;

	do
		rc = poll(&p, 1, 0);
	while (rc < 0 && errno == EINTR);
	/* the bits of poll(2) and epoll are the same */
	return rc <= 0 ? rc : (unsigned short)p.revents;
}

/* Not libc's fstat(), see position.c. */
static bool is_file(int fd)
{
	struct stat st;

	return syscall(SYS_fstat, fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode) ||
		S_ISDIR(st.st_mode));
}

static size_t length_of(const struct iovec *iov, unsigned n)
{
	size_t total = 0;

	for (unsigned i = 0; i < n; i++)
		total += iov[i].iov_len;
	return total;
}

/* No bytes. (An emulator may answer a call without buffers itself.) */
static const struct iovec nothing = { 0 };

/* A call without bytes tells whether any can be moved at all. It never waits. */
static int transfer_nothing(const struct io_uring_sqe *sqe)
{
	return result_of(syscall(is_write(sqe->opcode) ? SYS_writev : SYS_readv,
				 sqe->fd, &nothing, 1L));
}

static int transfer_on_socket(const struct io_uring_sqe *sqe,
			      const struct iovec *iov, unsigned n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)iov, .msg_iovlen = n };

	return result_of(is_write(sqe->opcode)
				 ? sendmsg(sqe->fd, &m, MSG_DONTWAIT)
				 : recvmsg(sqe->fd, &m, MSG_DONTWAIT));
}

/* A write of nothing to a socket is a message, to write(2) and to the ring. pwritev2(2)
 * makes none. */
static int write_nothing(const struct io_uring_sqe *sqe)
{
	int res = transfer_on_socket(sqe, &nothing, 1);

	if (res == -ENOTSOCK)
		return 0;
	return res == -EAGAIN ? WOULD_WAIT : res;
}

/* For a descriptor that RWF_NOWAIT cannot tell not to wait. */
static int transfer_bare(struct attempt *a, const struct iovec *iov, unsigned n)
{
	struct io_uring_sqe *sqe = &a->sqe;
	int events = is_write(sqe->opcode) ? POLLOUT : POLLIN;
	int res = transfer_nothing(sqe);

	a->is_bare = true;
	/* What cannot be moved is never ready. */
	if (res < 0)
		return res;
	if (!length_of(iov, n))
		return is_write(sqe->opcode) ? write_nothing(sqe) : 0;
	if (is_file(sqe->fd)) {
		a->is_of_file = true;
		return NEEDS_HELPER;
	}
	res = transfer_on_socket(sqe, iov, n);
	if (res == -ENOTSOCK) {
		if (!is_nonblocking(sqe->fd))
			return ready_for(sqe->fd, (unsigned)events)
				       ? NEEDS_HELPER
				       : WOULD_WAIT;
		res = weft__carry_out(sqe);
	}
	return res == -EAGAIN ? WOULD_WAIT : res;
}

static long transfer_now(const struct io_uring_sqe *sqe,
			 const struct iovec *iov, unsigned n)
{
	/* not libc's calls, which are cancellation points */
	return syscall(is_write(sqe->opcode) ? SYS_pwritev2 : SYS_preadv2,
		       sqe->fd, iov, (unsigned long)n, (long)sqe->off, 0L,
		       sqe->rw_flags | RWF_NOWAIT);
}

/* Whether the bytes go to the end of the file, whatever their place. */
static bool is_appended(const struct io_uring_sqe *sqe)
{
	return is_write(sqe->opcode) && (sqe->rw_flags & RWF_APPEND ||
					 fcntl(sqe->fd, F_GETFL) & O_APPEND);
}

/* Whether a transfer that stopped early would have gone on: the part that is in
 * memory has been moved, and the rest of a file is to be waited for. It is all
 * done again, at the same place. */
static bool is_cut(const struct io_uring_sqe *sqe, long n, size_t total)
{
	struct stat st;

	return n >= 0 && (size_t)n < total && sqe->off != (uint64_t)-1 &&
	       syscall(SYS_fstat, sqe->fd, &st) == 0 &&
	       (S_ISREG(st.st_mode) || S_ISBLK(st.st_mode)) &&
	       (is_write(sqe->opcode) || S_ISBLK(st.st_mode) ||
		(off_t)sqe->off + n < st.st_size) &&
	       !is_appended(sqe);
}

static int try_transfer(struct attempt *a)
{
	struct io_uring_sqe *sqe = &a->sqe;
	struct iovec one = { .iov_base = pointer(sqe->addr),
			     .iov_len = sqe->len };
	bool has_several = is_vector(sqe->opcode);
	const struct iovec *iov = has_several ? one.iov_base : &one;
	unsigned n = has_several ? sqe->len : 1;
	long rc;

	if (a->is_bare)
		return transfer_bare(a, iov, n);
	rc = transfer_now(sqe, iov, n);
	if (rc < 0 && errno == ESPIPE && sqe->off != (uint64_t)-1) {
		/* The ring ignores it, where there are no positions. */
		sqe->off = (uint64_t)-1;
		rc = transfer_now(sqe, iov, n);
	}
	if (rc >= 0 && unlikely(is_cut(sqe, rc, length_of(iov, n)))) {
		a->is_of_file = true;
		return NEEDS_HELPER;
	}
	if (unlikely(rc == 0) && is_write(sqe->opcode))
		return write_nothing(sqe);
	if (rc >= 0 || sqe->rw_flags & RWF_NOWAIT)
		return result_of(rc);
	if (errno == EAGAIN)
		return WOULD_WAIT;
	return errno == EOPNOTSUPP || errno == ENOSYS ? transfer_bare(a, iov, n)
						      : -errno;
}

/* --- messages --- */

static bool is_of_vector(unsigned opcode)
{
	return opcode == IORING_OP_RECVMSG || opcode == IORING_OP_SENDMSG ||
	       opcode == IORING_OP_SENDMSG_ZC;
}

/* Copies the vector, so that its beginning can be cut off. */
static bool copy_vector(struct attempt *a)
{
	const struct msghdr *m = pointer(a->sqe.addr);
	size_t bytes = m->msg_iovlen * sizeof m->msg_iov[0];

	a->rest = malloc(sizeof *a->rest + bytes);
	if (!a->rest)
		return false;
	memcpy(a->rest->iov, m->msg_iov, bytes);
	a->rest->message = (struct msghdr){ .msg_iov = a->rest->iov,
					    .msg_iovlen = m->msg_iovlen };
	a->sqe.addr = (uint64_t)(uintptr_t)&a->rest->message;
	return true;
}

static void skip_in_vector(struct msghdr *m, size_t n)
{
	while (n && m->msg_iovlen) {
		struct iovec *v = m->msg_iov;
		size_t part = n < v->iov_len ? n : v->iov_len;

		v->iov_base = (char *)v->iov_base + part;
		v->iov_len -= part;
		n -= part;
		if (v->iov_len)
			continue;
		m->msg_iov++;
		m->msg_iovlen--;
	}
}

/* Keeps the first @most bytes of it. */
static void cut_vector(struct msghdr *m, size_t most)
{
	for (size_t i = 0; i < m->msg_iovlen; i++) {
		struct iovec *v = &m->msg_iov[i];

		if (v->iov_len > most)
			v->iov_len = most;
		most -= v->iov_len;
	}
}

static size_t size_of(const struct io_uring_sqe *sqe)
{
	const struct msghdr *m = pointer(sqe->addr);

	return is_of_vector(sqe->opcode)
		       ? length_of(m->msg_iov, (unsigned)m->msg_iovlen)
		       : sqe->len;
}

static bool is_stream(int fd)
{
	socklen_t size = sizeof(int);
	int type = 0;

	return getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &size) == 0 &&
	       (type == SOCK_STREAM || type == SOCK_SEQPACKET);
}

/* Whether there is a place for what a received message brings besides its bytes. It is
 * for the first part alone: descriptors that came with a later one would be lost. */
static bool has_place_for_control(const struct io_uring_sqe *sqe)
{
	const struct msghdr *m = pointer(sqe->addr);

	return sqe->opcode == IORING_OP_RECVMSG && m->msg_control;
}

/* With MSG_WAITALL the ring goes on until all is moved, or as much as one system call
 * can move at most. Whether there is more to move after @n bytes. */
static bool goes_on(struct attempt *a, int n)
{
	struct io_uring_sqe *sqe = &a->sqe;
	size_t most;

	if (!(sqe->msg_flags & MSG_WAITALL) || sqe->msg_flags & MSG_PEEK ||
	    n <= 0 || a->is_impatient || (size_t)n >= size_of(sqe) ||
	    has_place_for_control(sqe) || !is_stream(sqe->fd))
		return false;
	most = MOST_BYTES - a->moved - (size_t)n;
	if (!most)
		return false;
	if (is_of_vector(sqe->opcode)) {
		if (!a->rest && !copy_vector(a))
			return false;
		skip_in_vector(&a->rest->message, (size_t)n);
		cut_vector(&a->rest->message, most);
	} else {
		sqe->addr += (unsigned)n;
		sqe->len -= (unsigned)n;
		if (sqe->len > most)
			sqe->len = (unsigned)most;
	}
	a->moved += (size_t)n;
	return true;
}

/* What of a message lies in a buffer before the data; the layout is the
 * kernel's. */
static int receive_with_header(struct attempt *a, char *start, size_t size)
{
	const struct msghdr *asked = pointer(a->sqe.addr);
	struct io_uring_recvmsg_out *out = (void *)start;
	size_t head = sizeof *out + asked->msg_namelen + asked->msg_controllen;
	struct iovec data = { .iov_base = start + head };
	struct msghdr m = {
		.msg_name = asked->msg_namelen ? start + sizeof *out : NULL,
		.msg_namelen = asked->msg_namelen,
		.msg_control =
			asked->msg_controllen
				? start + sizeof *out + asked->msg_namelen
				: NULL,
		.msg_controllen = asked->msg_controllen,
		.msg_iov = &data,
		.msg_iovlen = 1,
	};
	ssize_t n;

	if (size < head)
		return -EFAULT;
	data.iov_len = size - head;
	n = recvmsg(a->sqe.fd, &m, (int)a->sqe.msg_flags);
	if (n < 0)
		return -errno;
	*out = (struct io_uring_recvmsg_out){
		.namelen = m.msg_namelen,
		.controllen = (uint32_t)m.msg_controllen,
		.payloadlen = (uint32_t)n,
		.flags = (uint32_t)m.msg_flags,
	};
	if ((size_t)n > data.iov_len)
		n = (ssize_t)data.iov_len; /* with MSG_TRUNC */
	return (int)head + (int)n;
}

static int receive_into(struct attempt *a, const struct io_uring_buf *b)
{
	struct io_uring_sqe sqe = a->sqe;
	struct msghdr *asked = pointer(sqe.addr);
	struct iovec data = { .iov_base = pointer(b->addr), .iov_len = b->len };
	struct msghdr m;
	ssize_t n;

	if (sqe.opcode != IORING_OP_RECVMSG) {
		sqe.addr = b->addr;
		if (!sqe.len || sqe.len > b->len)
			sqe.len = b->len;
		if (sqe.opcode == IORING_OP_RECV)
			return weft__carry_out(&sqe);
		data.iov_len = sqe.len;
		return result_of(transfer_now(&sqe, &data, 1));
	}
	if (a->is_several)
		return receive_with_header(a, pointer(b->addr), b->len);
	m = *asked;
	if (m.msg_iovlen && m.msg_iov[0].iov_len &&
	    m.msg_iov[0].iov_len < data.iov_len)
		data.iov_len = m.msg_iov[0].iov_len;
	m.msg_iov = &data;
	m.msg_iovlen = 1;
	n = recvmsg(sqe.fd, &m, (int)sqe.msg_flags);
	if (n < 0)
		return -errno;
	asked->msg_namelen = m.msg_namelen;
	asked->msg_controllen = m.msg_controllen;
	asked->msg_flags = m.msg_flags;
	return (int)n;
}

static int try_with_buffer(struct engine *e, struct attempt *a)
{
	struct buffer_group *g;
	const struct io_uring_buf *b = next_buffer(&e->poller, a, &g);
	int res;

	if (!b)
		return -ENOBUFS;
	res = receive_into(a, b);
	if (res > 0)
		use_buffer(a, g);
	return res == -EAGAIN && !a->is_impatient ? WOULD_WAIT : res;
}

/* A socket of messages can be ready because it has room of its own, and the receiver
 * of this message has none. epoll does not tell of that: each try in vain gives back
 * the socket's room and is reported as news, and other receivers' messages would wait
 * behind this one. So the caller, who pauses, tries again (io/await.c). */
static bool is_misled(const struct attempt *a)
{
	int events;

	if ((a->sqe.opcode != IORING_OP_SEND &&
	     a->sqe.opcode != IORING_OP_SENDMSG) ||
	    is_stream(a->sqe.fd))
		return false;
	events = ready_for(a->sqe.fd, POLLOUT);
	return events > 0 && events & POLLOUT;
}

static int try_message(struct attempt *a)
{
	int res;

	do
		res = weft__carry_out(&a->sqe);
	while (goes_on(a, res));
	if (res == -EAGAIN && !a->is_impatient)
		return is_misled(a) ? -EAGAIN : WOULD_WAIT;
	if (a->moved)
		res = (int)a->moved + (res > 0 ? res : 0);
	/* The buffer is full: there may be more. */
	if (a->sqe.opcode == IORING_OP_RECV && res > 0 &&
	    (unsigned)res == a->sqe.len)
		a->flags |= IORING_CQE_F_SOCK_NONEMPTY;
	return res;
}

/* --- connections --- */

static bool is_listening(int fd)
{
	socklen_t size = sizeof(int);
	int value = 0;

	return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &value, &size) == 0 &&
	       value;
}

static int try_accept(struct attempt *a)
{
	int fd = a->sqe.fd;
	int res;

	if (!is_nonblocking(fd) && is_listening(fd)) {
		if (ready_for(fd, POLLIN))
			return NEEDS_HELPER;
		return a->is_impatient ? -EAGAIN : WOULD_WAIT;
	}
	res = weft__carry_out(&a->sqe);
	return res == -EAGAIN && !a->is_impatient ? WOULD_WAIT : res;
}

static bool is_connected(int fd)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof name;

	return getpeername(fd, (struct sockaddr *)&name, &size) == 0;
}

/* Without a wait; see the top of this file. */
static int begin_connect(const struct io_uring_sqe *sqe)
{
	int flags = fcntl(sqe->fd, F_GETFL);
	int res;

	if (flags < 0)
		return -errno;
	if (flags & O_NONBLOCK || !is_stream(sqe->fd) ||
	    is_connected(sqe->fd) || is_listening(sqe->fd))
		return weft__carry_out(sqe);
	(void)fcntl(sqe->fd, F_SETFL, flags | O_NONBLOCK);
	res = weft__carry_out(sqe);
	(void)fcntl(sqe->fd, F_SETFL, flags);
	return res;
}

static int error_of_socket(int fd)
{
	socklen_t size = sizeof(int);
	int error = 0;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size))
		return -errno;
	return -error;
}

/* When the connection is made or refused, connect(2) is called once more: it takes
 * the result, and only then is the socket ready for another one. Some kinds of
 * sockets only say that there is a connection, or that the call is wrong now. */
static int try_connect(struct attempt *a)
{
	int res;

	if (a->is_connecting && !ready_for(a->sqe.fd, POLLOUT))
		return WOULD_WAIT;
	res = begin_connect(&a->sqe);
	if (res == -EINPROGRESS || res == -EALREADY) {
		a->is_connecting = true;
		return WOULD_WAIT;
	}
	if (a->is_connecting && (res == -EISCONN || res == -EBADFD))
		res = error_of_socket(a->sqe.fd);
	return res;
}

/* --- one try --- */

static bool is_poll(const struct attempt *a)
{
	return a->sqe.opcode == IORING_OP_POLL_ADD;
}

static uint32_t events_of(const struct attempt *a)
{
	return is_poll(a) ? a->sqe.poll32_events & ~(uint32_t)EPOLLET &
				    ~(uint32_t)EPOLLONESHOT &
				    ~(uint32_t)EPOLLEXCLUSIVE
			  : (uint32_t)EPOLLPRI;
}

/* A result, WOULD_WAIT or NEEDS_HELPER. */
static int try_once(struct engine *e, struct attempt *a)
{
	int res;

	if (a->sqe.flags & IOSQE_BUFFER_SELECT)
		return try_with_buffer(e, a);
	switch (a->sqe.opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
		return try_transfer(a);
	case IORING_OP_ACCEPT:
		return try_accept(a);
	case IORING_OP_CONNECT:
		return try_connect(a);
	case IORING_OP_POLL_ADD:
		res = ready_for(a->sqe.fd, events_of(a));
		if (res > 0 && res & POLLNVAL)
			return -EBADF;
		return res > 0 ? res : WOULD_WAIT;
	default:
		return try_message(a);
	}
}

/* --- timeouts --- */

static int64_t now_of(int clock)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(clock, &ts);
	return ts.tv_sec * WEFT_SECOND + ts.tv_nsec;
}

/* Lets the operation end with @res at that time. */
static void end_at(struct poller *p, struct attempt *a, int64_t deadline,
		   int res)
{
	struct attempt *before = p->last_timed;

	a->deadline = deadline;
	a->res = res;
	a->state = TIMED;
	while (before && before->deadline > deadline)
		before = before->prev;
	a->prev = before;
	a->next = before ? before->next : p->timed;
	if (a->next)
		a->next->prev = a;
	else
		p->last_timed = a;
	if (before)
		before->next = a;
	else
		p->timed = a;
}

/* What is too far away never comes. */
static int64_t nanoseconds_of(const struct __kernel_timespec *ts)
{
	int64_t ns;

	return __builtin_mul_overflow(ts->tv_sec, WEFT_SECOND, &ns) ||
			       __builtin_add_overflow(ns, ts->tv_nsec, &ns)
		       ? WEFT_FOREVER
		       : ns;
}

static void begin_timeout(struct engine *e, struct attempt *a)
{
	const struct __kernel_timespec *ts = pointer(a->sqe.addr);
	unsigned flags = a->sqe.timeout_flags;
	int clock = flags & IORING_TIMEOUT_REALTIME   ? CLOCK_REALTIME
		    : flags & IORING_TIMEOUT_BOOTTIME ? CLOCK_BOOTTIME
						      : CLOCK_MONOTONIC;
	int64_t ns;

	/* A count of completions, several shots. */
	if (a->sqe.off ||
	    flags & ~(unsigned)(IORING_TIMEOUT_ABS | IORING_TIMEOUT_CLOCK_MASK |
				IORING_TIMEOUT_ETIME_SUCCESS)) {
		finish(e, a, -EOPNOTSUPP);
		return;
	}
	if (ts->tv_sec < 0 || ts->tv_nsec < 0 ||
	    (flags & IORING_TIMEOUT_CLOCK_MASK) == IORING_TIMEOUT_CLOCK_MASK) {
		finish(e, a, -EINVAL);
		return;
	}
	ns = nanoseconds_of(ts);
	if (flags & IORING_TIMEOUT_ABS)
		ns -= now_of(clock);
	if (__builtin_add_overflow(ns, weft__now(), &ns))
		ns = WEFT_FOREVER;
	end_at(&e->poller, a, ns, -ETIME);
}

static void take_timeout_out(struct poller *p, struct attempt *a)
{
	if (a->prev)
		a->prev->next = a->next;
	else
		p->timed = a->next;
	if (a->next)
		a->next->prev = a->prev;
	else
		p->last_timed = a->prev;
}

static void take_timeouts(struct engine *e)
{
	struct poller *p = &e->poller;
	struct attempt *a;
	int64_t now;

	if (likely(!p->timed))
		return;
	now = weft__now();
	while ((a = p->timed) && a->deadline <= now) {
		take_timeout_out(p, a);
		finish(e, a, a->res);
	}
}

/* --- helpers --- */

/* The signal is blocked on a helper; it is meant for the thread that called. The
 * ring raises none for a splice. */
static int signal_with(const struct io_uring_sqe *sqe, int res)
{
	int number = res == -EPIPE ? SIGPIPE : res == -EFBIG ? SIGXFSZ : 0;

	if (!number || !weft__pool_take_signal(number))
		return 0;
	return number == SIGXFSZ || is_write(sqe->opcode) ? number : 0;
}

/* Whether a helper takes from a descriptor what poll(2) has seen there, or uses the
 * room. */
static bool is_seen_ready(const struct attempt *a)
{
	return a->job.key[0];
}

/* On a helper. */
static int help(void *arg)
{
	struct attempt *a = arg;
	int res = -EINTR;

	for (bool is_due = is_seen_ready(a);
	     res == -EINTR && (is_due || !peek(a->is_asked)); is_due = false) {
		res = weft__carry_out(&a->sqe);
		if (a->sqe.opcode == IORING_OP_CLOSE)
			break; /* it has closed */
	}
	if (res == -EINTR && peek(a->is_asked))
		res = -ECANCELED;
	a->signal = signal_with(&a->sqe, res);
	return res;
}

static void write_to(int fd)
{
	static const uint64_t one = 1;

	while (write(fd, &one, sizeof one) < 0 && errno == EINTR)
		;
}

/* On a helper. The attempt is the owner's from the push on. */
static void helped(struct job *j)
{
	struct attempt *a =
		(struct attempt *)((char *)j - offsetof(struct attempt, job));
	struct engine *e = a->engine;
	struct poller *p = &e->poller;
	struct attempt *next;

	/* relaxed: the push orders it [poll.1] */
	atomic_fetch_add_explicit(&p->ringers, 1,
				  memory_order_relaxed); /* H1 */
	next = peek(p->done);
	do
		a->next_done = next;
	while (!atomic_compare_exchange_weak_explicit(
		&p->done, &next, a, memory_order_release,
		memory_order_relaxed)); /* H2 [poll.1] */
	if (!next)
		write_to(peek(e->eventfd)); /* H3 [poll.1] */
	/* release: for the owner that closes the eventfd [poll.1] */
	atomic_fetch_sub_explicit(&p->ringers, 1,
				  memory_order_release); /* H4 */
}

/* On streams helpers do one after the other, in the order of the calls. */
static void set_key(struct attempt *a)
{
	bool is_accept = a->sqe.opcode == IORING_OP_ACCEPT;
	bool has_key = is_accept || (a->is_bare && !a->is_of_file);

	a->job.key[0] = has_key ? (uint64_t)a->sqe.fd + 1 : 0;
	a->job.key[1] = !has_key                  ? 0
			: is_accept               ? 3
			: is_write(a->sqe.opcode) ? 2
						  : 1;
}

static void hand_over(struct engine *e, struct attempt *a)
{
	bool can_wait = !a->is_of_file;
	int rc;

	a->state = HELPED;
	a->engine = e;
	poke(a->is_asked, false);
	a->job.crew = can_wait ? CREW_WAITS : CREW_CALLS;
	a->job.fn = help;
	a->job.arg = a;
	a->job.done = helped;
	a->job.is_taken = false;
	set_key(a);
	rc = weft__pool_submit(&a->job);
	if (likely(!rc))
		return;
	/* There is no helper to be had: the thread waits, but not for ever. An
	 * operation that is begun again at once must not keep it busy. */
	if (can_wait)
		end_at(&e->poller, a, weft__now() + LACK_NS, rc);
	else
		finish(e, a, weft__carry_out(&a->sqe));
}

/* --- watches --- */

/* 0 or a negative errno. */
static int make_room_for(struct poller *p, int fd)
{
	size_t n = p->n_watches ? p->n_watches : FIRST_WATCHES;
	void *watches;

	if ((unsigned)fd < p->n_watches)
		return 0;
	/* A number that no file has could be any. */
	if (fcntl(fd, F_GETFD) < 0)
		return -errno;
	while (n <= (size_t)fd)
		n *= 2;
	/* Mapped, so that only the used part takes memory. Not by mremap():
	 * ThreadSanitizer does not see it. */
	watches = mmap(NULL, n * sizeof p->watches[0], PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (watches == MAP_FAILED)
		return -ENOMEM;
	if (p->n_watches) {
		memcpy(watches, p->watches,
		       p->n_watches * sizeof p->watches[0]);
		munmap(p->watches, p->n_watches * sizeof p->watches[0]);
	}
	p->watches = watches;
	p->n_watches = (unsigned)n;
	return 0;
}

static void free_watches(struct poller *p)
{
	if (p->n_watches)
		munmap(p->watches, p->n_watches * sizeof p->watches[0]);
	p->watches = NULL;
	p->n_watches = 0;
}

static bool has_waiters(const struct watch *w)
{
	return w->first[READS] || w->first[WRITES] || w->first[POLLS];
}

static void push_back(struct watch *w, struct attempt *a)
{
	struct attempt *last = w->last[a->queue];

	a->next = NULL;
	a->prev = last;
	if (last)
		last->next = a;
	else
		w->first[a->queue] = a;
	w->last[a->queue] = a;
}

static void take_out(struct poller *p, struct watch *w, struct attempt *a)
{
	if (a->prev)
		a->prev->next = a->next;
	else
		w->first[a->queue] = a->next;
	if (a->next)
		a->next->prev = a->prev;
	else
		w->last[a->queue] = a->prev;
	p->n_waiting--;
}

static uint32_t wanted_of(const struct watch *w)
{
	return (w->first[READS] ? (uint32_t)EPOLLIN : 0) |
	       (w->first[WRITES] ? (uint32_t)EPOLLOUT : 0) |
	       (w->first[POLLS] ? w->polled : 0);
}

static int control(const struct poller *p, int operation, int fd,
		   uint32_t events, uint32_t round)
{
	struct epoll_event event = {
		.events = events,
		.data.u64 = (uint64_t)round << 32 | (unsigned)fd,
	};

	return epoll_ctl(peek(p->epoll_fd), operation, fd, &event) ? -errno : 0;
}

/* Tells epoll of @events. The number may be another file's than the last time: then
 * epoll does not know it. If that other file lives on under another number, or in
 * another process, epoll still reports it under this one. But it gives the number of
 * the round in which it was asked. */
static int ask_epoll(const struct poller *p, struct watch *w, int fd,
		     uint32_t events)
{
	uint32_t round = ++w->round;
	int rc = w->is_known ? control(p, EPOLL_CTL_MOD, fd, events, round)
			     : -ENOENT;

	if (rc == -ENOENT)
		rc = control(p, EPOLL_CTL_ADD, fd, events, round);
	if (rc == -EEXIST)
		rc = control(p, EPOLL_CTL_MOD, fd, events, round);
	w->is_known = !rc;
	return rc;
}

static int arm(const struct poller *p, struct watch *w, int fd)
{
	uint32_t wanted = wanted_of(w);
	uint32_t mode =
		w->is_by_edge ? (uint32_t)EPOLLET : (uint32_t)EPOLLONESHOT;
	int rc;

	if (w->armed && (w->armed & wanted) == wanted)
		return 0;
	rc = ask_epoll(p, w, fd, wanted | mode);
	w->armed = rc ? 0 : wanted | mode;
	return rc;
}

/* Nobody waits for the descriptor any more. If it was armed for once, it stays
 * so. */
static void disarm(const struct poller *p, struct watch *w, int fd)
{
	if (w->armed && w->is_by_edge) {
		/* If it has been closed, epoll has forgotten it by itself. */
		(void)control(p, EPOLL_CTL_DEL, fd, 0, 0);
		w->is_known = false;
	}
	w->is_by_edge = false;
	w->armed = 0;
}

/* A file's events never change. -EINVAL, as from the ring: there are none, and none
 * will ever come. */
static int events_of_file(const struct attempt *a)
{
	int events = ready_for(a->sqe.fd, events_of(a));

	return events > 0 ? events : -EINVAL;
}

/* epoll does not want the descriptor: all who wait get the error, or are
 * served, if it is a file. */
static void turn_away(struct engine *e, struct watch *w, int rc)
{
	for (int q = 0; q < N_QUEUES; q++) {
		struct attempt *a;

		while ((a = w->first[q])) {
			take_out(&e->poller, w, a);
			a->is_of_file = true;
			if (rc != -EPERM)
				finish(e, a, rc);
			else if (is_poll(a))
				finish(e, a, events_of_file(a));
			else if (a->is_several &&
				 a->sqe.opcode == IORING_OP_READ)
				finish(e, a, -EBADFD); /* as from the ring */
			else
				hand_over(e, a);
		}
	}
}

/* Whether those that wait for the number wait for a file that has it no more. Nobody is
 * told of a plain close(2), or of one by another thread. epoll knows the pair of both,
 * and is asked for what it was asked before. */
static bool is_of_another_file(const struct poller *p, const struct watch *w,
			       int fd)
{
	return w->is_known && w->armed &&
	       control(p, EPOLL_CTL_MOD, fd, w->armed, w->round) == -ENOENT;
}

static void arm_or_turn_away(struct engine *e, struct watch *w, int fd)
{
	int rc = arm(&e->poller, w, fd);

	if (unlikely(rc))
		turn_away(e, w, rc);
}

static void wait_for(struct engine *e, struct attempt *a, bool was_tried)
{
	struct poller *p = &e->poller;
	int fd = a->sqe.fd;
	int rc = make_room_for(p, fd);
	struct watch *w;

	if (unlikely(rc)) {
		finish(e, a, rc);
		return;
	}
	w = &p->watches[fd];
	/* Their bytes must not go to this file, or come from it. */
	if (unlikely(has_waiters(w)) && is_of_another_file(p, w, fd))
		turn_away(e, w, -EBADF);
	if (!has_waiters(w)) {
		/* What is known of the descriptor may be another file's. */
		w->is_by_edge = false;
		w->armed = 0;
		w->polled = 0;
	}
	if (a->queue == POLLS)
		w->polled |= events_of(a);
	if (a->is_several && is_poll(a))
		w->is_by_edge = true;
	/* What is there already will not be reported as a change. epoll looks
	 * again when it is asked again. */
	if (w->is_by_edge && !was_tried)
		w->armed = 0;
	a->state = WAITING;
	push_back(w, a);
	p->n_waiting++;
	arm_or_turn_away(e, w, fd);
}

/* --- what epoll reports --- */

/* What comes of one try of an attempt at the front: whether it has helped. */
static bool serve_one(struct engine *e, struct watch *w, struct attempt *a)
{
	int res = try_once(e, a);

	if (res == WOULD_WAIT)
		return false;
	if (a->is_several &&
	    (res > 0 || (res == 0 && a->sqe.opcode == IORING_OP_ACCEPT))) {
		tell_one(a, res);
		return true;
	}
	take_out(&e->poller, w, a);
	if (res == NEEDS_HELPER)
		hand_over(e, a);
	else
		finish(e, a, res);
	return true;
}

/* How many were served: MOST_SERVED, if there may be more to serve. */
static int serve(struct engine *e, struct watch *w, enum queue q)
{
	int n = 0;

	while (n < MOST_SERVED && w->first[q] && serve_one(e, w, w->first[q]))
		n++;
	return n;
}

/* A datagram socket that was shut down for reading says that it is ready, and to a
 * call that must not wait that there is nothing. A call that waits gets 0. */
static bool is_shut_down(const struct attempt *a)
{
	int events;

	if (a->is_several || a->sqe.flags & IOSQE_BUFFER_SELECT ||
	    a->sqe.opcode == IORING_OP_ACCEPT)
		return false;
	events = ready_for(a->sqe.fd, POLLIN | POLLRDHUP);
	return events > 0 && events & POLLRDHUP;
}

static int serve_shut_down(struct engine *e, struct watch *w)
{
	struct attempt *a;
	int n = 0;

	while (n < MOST_SERVED && (a = w->first[READS]) && is_shut_down(a)) {
		/* What has come in between goes first. */
		if (!serve_one(e, w, a)) {
			take_out(&e->poller, w, a);
			finish(e, a, weft__receive_nothing(&a->sqe));
		}
		n++;
	}
	return n;
}

static int serve_polls(struct engine *e, struct watch *w, uint32_t events)
{
	int n = 0;
	uint32_t left = 0;
	struct attempt *next;

	for (struct attempt *a = w->first[POLLS]; a; a = next) {
		uint32_t mine = events & (events_of(a) | EPOLLERR | EPOLLHUP);

		next = a->next;
		if (!mine) {
			left |= events_of(a);
		} else if (!is_poll(a)) {
			n += serve_one(e, w, a);
			if (a->state == WAITING)
				left |= events_of(a);
		} else if (a->is_several) {
			tell_one(a, (int)mine);
			left |= events_of(a);
			n++;
		} else {
			take_out(&e->poller, w, a);
			finish(e, a, (int)mine);
			n++;
		}
	}
	w->polled = left;
	return n;
}

static void take_event(struct engine *e, int fd, uint32_t round,
		       uint32_t events)
{
	struct watch *w = &e->poller.watches[fd];
	int n[N_QUEUES] = { 0 };

	if (round != w->round)
		return; /* another file's, which had the number before */
	if (!w->is_by_edge)
		w->armed = 0;
	if (events & (EPOLLIN | EPOLLERR | EPOLLHUP | EPOLLRDHUP))
		n[READS] = serve(e, w, READS);
	if (unlikely(!n[READS]) && events & EPOLLIN)
		n[READS] = serve_shut_down(e, w);
	if (events & (EPOLLOUT | EPOLLERR | EPOLLHUP))
		n[WRITES] = serve(e, w, WRITES);
	n[POLLS] = serve_polls(e, w, events);
	if (!has_waiters(w)) {
		disarm(&e->poller, w, fd);
		return;
	}
	if (w->is_by_edge) {
		/* What is left will not be reported as a change. */
		if (n[READS] == MOST_SERVED || n[WRITES] == MOST_SERVED)
			w->armed = 0;
	} else {
		/* If it helped nobody, it would be reported again and again. */
		w->is_by_edge = !n[READS] && !n[WRITES] && !n[POLLS];
	}
	arm_or_turn_away(e, w, fd);
}

static int wait_in_epoll(const struct poller *p, struct epoll_event *events,
			 int64_t deadline)
{
	struct timespec ts = { 0 };
	int64_t ns = deadline ? deadline - weft__now() : 0;
	long rc;

	if (ns < 0)
		ns = 0;
	ts.tv_sec = ns / WEFT_SECOND;
	ts.tv_nsec = ns % WEFT_SECOND;
	rc = syscall(SYS_epoll_pwait2, peek(p->epoll_fd), events, MOST_EVENTS,
		     deadline == WEFT_FOREVER ? NULL : &ts, NULL, 0L);
	if (rc < 0 && errno != EINTR) {
		/* Linux before 5.11, or a filter that does not know it. */
		int64_t ms = (ns + WEFT_MILLISECOND - 1) / WEFT_MILLISECOND;

		rc = epoll_wait(peek(p->epoll_fd), events, MOST_EVENTS,
				deadline == WEFT_FOREVER ? -1
				: ms > INT_MAX           ? INT_MAX
							 : (int)ms);
	}
	REQUIRE(rc >= 0 || errno == EINTR,
		"epoll_wait failed: somebody has closed a descriptor that is "
		"weft's");
	return rc < 0 ? 0 : (int)rc;
}

static const uint64_t DOORBELL = UINT64_MAX;

static void take_events(struct engine *e, const struct epoll_event *events,
			int n)
{
	for (int i = 0; i < n; i++)
		if (events[i].data.u64 != DOORBELL)
			take_event(e, (int)events[i].data.u64,
				   (uint32_t)(events[i].data.u64 >> 32),
				   events[i].events);
}

/* --- cancelling --- */

/* Whether the helper shall make the call. What is to be read is still there: so no
 * call that is before this one in the line waits. Where there is some room, a write
 * before this one may wait for more. */
static bool is_still_ready(const struct attempt *a)
{
	int events;

	if (!is_seen_ready(a))
		return false;
	if (is_write(a->sqe.opcode))
		return weft__pool_is_due(&a->job);
	events = ready_for(a->sqe.fd, POLLIN);
	return events > 0 && !(events & POLLNVAL);
}

/* Takes the job back, or sees to it that its helper does not wait. */
static void call_off(struct engine *e, struct attempt *a)
{
	struct poller *p = &e->poller;

	if (!is_still_ready(a) && weft__pool_withdraw(&a->job)) {
		weft__pool_note_end(&a->job);
		p->n_asked -= peek(a->is_asked);
		finish(e, a, -ECANCELED);
	} else if (!a->is_of_file) {
		p->n_asked += !peek(a->is_asked);
		poke(a->is_asked, true);
		weft__pool_interrupt(&a->job);
	}
}

/* A result that has come stays. */
static void cancel(struct engine *e, struct attempt *a)
{
	struct poller *p = &e->poller;
	struct watch *w;

	switch (a->state) {
	case WAITING:
		w = &p->watches[a->sqe.fd];
		take_out(p, w, a);
		finish(e, a, a->moved ? (int)a->moved : -ECANCELED);
		if (!has_waiters(w))
			disarm(p, w, a->sqe.fd);
		break;
	case TIMED:
		take_timeout_out(p, a);
		finish(e, a, -ECANCELED);
		break;
	case HELPED:
		if (!peek(a->is_asked))
			call_off(e, a);
		break;
	default:
		break;
	}
}

void weft__poller_cancel(struct engine *e, struct operation *o)
{
	count(e->n_cancels);
	if (likely(o->attempt))
		cancel(e, o->attempt);
}

/* Helpers may have been asked before their system calls had begun. */
static NOINLINE void ask_helpers_again(struct engine *e)
{
	for (struct slab *s = e->poller.slabs; s; s = s->next)
		for (int i = 0; i < ATTEMPTS_OF_A_SLAB; i++) {
			struct attempt *a = &s->attempts[i];

			if (a->state == HELPED && peek(a->is_asked))
				call_off(e, a);
		}
}

bool weft__poller_is_helped(const struct operation *o)
{
	return o->attempt && o->attempt->state == HELPED;
}

static bool is_helped_on(const struct engine *e, int fd)
{
	for (const struct operation *o = e->flight.called_back; o; o = o->next)
		if (weft__poller_is_helped(o) && o->attempt->sqe.fd == fd)
			return true;
	return false;
}

void weft__poller_end_calls(struct engine *e, int fd)
{
	while (is_helped_on(e, fd))
		weft__poller_sleep(e, WEFT_FOREVER);
}

/* The program's own request to cancel operations on a descriptor. */
static int cancel_as_told(struct engine *e, struct attempt *me)
{
	unsigned flags = me->sqe.cancel_flags;
	int n = 0;

	if (!(flags & (IORING_ASYNC_CANCEL_FD | IORING_ASYNC_CANCEL_ANY)))
		return -ENOENT;
	for (struct slab *s = e->poller.slabs; s; s = s->next)
		for (int i = 0; i < ATTEMPTS_OF_A_SLAB; i++) {
			struct attempt *a = &s->attempts[i];

			if (a->state == SPARE || a->state == READY || a == me ||
			    (!(flags & IORING_ASYNC_CANCEL_ANY) &&
			     a->sqe.fd != me->sqe.fd))
				continue;
			cancel(e, a);
			if (n++ == 0 && !(flags & IORING_ASYNC_CANCEL_ALL))
				return 0;
		}
	return flags & IORING_ASYNC_CANCEL_ALL ? n : -ENOENT;
}

/* --- submitting --- */

/* How an operation is done. */
enum way {
	BY_READINESS,
	BY_HELPER,
	AT_ONCE,
	FROM_MEMORY,
	BY_TIME,
	BY_CANCEL,
	UNKNOWN
};

/* An open that fails rather than wait for a disk. */
static bool looks_in_memory(const struct io_uring_sqe *sqe)
{
	const struct open_how *how = pointer(sqe->addr2);

	return sqe->len >= sizeof *how && how->resolve & RESOLVE_CACHED;
}

/* As the ring does it: with O_NONBLOCK, which does not wait for the other end of
 * a FIFO, and is removed afterwards. */
static int open_from_memory(struct io_uring_sqe *sqe)
{
	const struct open_how *asked = pointer(sqe->addr2);
	struct open_how how = *asked;
	int fd;

	if (sqe->len > sizeof how)
		return -E2BIG;
	how.flags |= O_NONBLOCK;
	sqe->addr2 = (uint64_t)(uintptr_t)&how;
	fd = weft__carry_out(sqe);
	if (fd >= 0 && !(asked->flags & (O_NONBLOCK | O_PATH)))
		(void)fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK);
	return fd;
}

static enum way way_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_READ:
	case IORING_OP_READV:
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
	case IORING_OP_ACCEPT:
	case IORING_OP_CONNECT:
	case IORING_OP_POLL_ADD:
	case OP_READ_MULTISHOT:
		return BY_READINESS;
	case IORING_OP_NOP:
	case IORING_OP_SHUTDOWN:
	case IORING_OP_SOCKET:
	case IORING_OP_EPOLL_CTL:
	case OP_BIND:
	case OP_LISTEN:
	case OP_PIPE:
		return AT_ONCE;
	case IORING_OP_TIMEOUT:
		return BY_TIME;
	case IORING_OP_ASYNC_CANCEL:
		return BY_CANCEL;
	case IORING_OP_OPENAT2:
		return looks_in_memory(sqe) ? FROM_MEMORY : BY_HELPER;
	default:
		return weft__can_carry_out(sqe->opcode) ? BY_HELPER : UNKNOWN;
	}
}

/* Whether a helper may wait for somebody else, and not only for a disk. */
static bool may_wait_without_end(const struct io_uring_sqe *sqe)
{
	return sqe->opcode == IORING_OP_SPLICE ||
	       sqe->opcode == IORING_OP_TEE || sqe->opcode == OP_WAITID ||
	       ((sqe->opcode == IORING_OP_OPENAT ||
		 sqe->opcode == IORING_OP_OPENAT2) &&
		sqe->flags & IOSQE_ASYNC);
}

static enum queue queue_of(const struct io_uring_sqe *sqe)
{
	switch (sqe->opcode) {
	case IORING_OP_WRITE:
	case IORING_OP_WRITEV:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
	case IORING_OP_CONNECT:
		return WRITES;
	case IORING_OP_POLL_ADD:
		return POLLS;
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
		return sqe->msg_flags & (MSG_OOB | MSG_ERRQUEUE) ? POLLS
								 : READS;
	default:
		return READS;
	}
}

/* Reads what the description says beside the opcode. False if it asks for what
 * is not there. */
static bool read_modes(struct attempt *a, bool *is_to_wait_first)
{
	struct io_uring_sqe *sqe = &a->sqe;

	*is_to_wait_first = false;
	switch (sqe->opcode) {
	case IORING_OP_RECV:
	case IORING_OP_RECVMSG:
	case IORING_OP_SEND:
	case IORING_OP_SENDMSG:
	case IORING_OP_SEND_ZC:
	case IORING_OP_SENDMSG_ZC:
		if (sqe->ioprio & ~(unsigned)RECVSEND_KNOWN)
			return false;
		a->is_impatient = sqe->msg_flags & MSG_DONTWAIT;
		sqe->msg_flags |= MSG_DONTWAIT;
		a->is_several = sqe->ioprio & IORING_RECV_MULTISHOT;
		*is_to_wait_first = sqe->ioprio & IORING_RECVSEND_POLL_FIRST;
		/* Each completion needs a buffer of its own. */
		if (a->is_several && (!(sqe->flags & IOSQE_BUFFER_SELECT) ||
				      sqe->msg_flags & MSG_WAITALL))
			return false;
		break;
	case IORING_OP_ACCEPT:
		a->is_several = sqe->ioprio & IORING_ACCEPT_MULTISHOT;
		a->is_impatient = sqe->ioprio & ACCEPT_DONTWAIT;
		*is_to_wait_first = sqe->ioprio & ACCEPT_POLL_FIRST;
		/* no place among registered files, and what the kernel wants to
		 * be 0 */
		return !sqe->file_index && !sqe->len && !sqe->buf_index &&
		       !(sqe->accept_flags &
			 ~(unsigned)(SOCK_CLOEXEC | SOCK_NONBLOCK));
	case IORING_OP_POLL_ADD:
		a->is_several = sqe->len & IORING_POLL_ADD_MULTI;
		if (sqe->len & ~IORING_POLL_ADD_MULTI)
			return false;
		break;
	case OP_READ_MULTISHOT:
		if (!(sqe->flags & IOSQE_BUFFER_SELECT))
			return false;
		a->is_several = true;
		sqe->opcode = IORING_OP_READ;
		break;
	default:
		break;
	}
	return !(sqe->flags & IOSQE_FIXED_FILE);
}

/* Whether nobody can ever connect, so the descriptor may never be ready. An accept
 * does not wait then, and says why. */
static bool is_vain(const struct attempt *a)
{
	return a->is_several && a->sqe.opcode == IORING_OP_ACCEPT &&
	       !is_listening(a->sqe.fd);
}

static bool finds_others(const struct poller *p, const struct attempt *a)
{
	unsigned fd = (unsigned)a->sqe.fd;

	return fd < p->n_watches && a->queue != POLLS &&
	       p->watches[fd].first[a->queue];
}

static void begin_on_stream(struct engine *e, struct attempt *a)
{
	bool is_to_wait_first;
	int res;

	if (unlikely(!read_modes(a, &is_to_wait_first))) {
		finish(e, a,
		       a->sqe.flags & IOSQE_FIXED_FILE ? -EBADF : -EINVAL);
		return;
	}
	a->queue = queue_of(&a->sqe);
	if (unlikely(is_vain(a))) {
		finish(e, a, weft__carry_out(&a->sqe));
		return;
	}
	/* Several completions are told one by one, and not from here. */
	if (a->is_several || (is_to_wait_first && !a->is_impatient)) {
		wait_for(e, a, false);
		return;
	}
	if (!a->is_impatient && finds_others(&e->poller, a)) {
		wait_for(e, a, true); /* the first of them was */
		return;
	}
	res = try_once(e, a);
	if (res == WOULD_WAIT)
		wait_for(e, a, true);
	else if (unlikely(res == NEEDS_HELPER))
		hand_over(e, a);
	else
		finish(e, a, res);
}

static void begin(struct engine *e, struct attempt *a)
{
	if (unlikely(a->sqe.personality)) {
		finish(e, a, -EINVAL); /* there are none */
		return;
	}
	switch (way_of(&a->sqe)) {
	case BY_READINESS:
		begin_on_stream(e, a);
		break;
	case BY_HELPER:
		a->is_of_file = !may_wait_without_end(&a->sqe);
		hand_over(e, a);
		break;
	case AT_ONCE:
		finish(e, a, weft__carry_out(&a->sqe));
		break;
	case FROM_MEMORY:
		finish(e, a, open_from_memory(&a->sqe));
		break;
	case BY_TIME:
		begin_timeout(e, a);
		break;
	case BY_CANCEL:
		finish(e, a, cancel_as_told(e, a));
		break;
	default:
		finish(e, a, -EOPNOTSUPP);
		break;
	}
}

/* The thread makes the call itself, if that does not take for ever. The result
 * is where nobody needs the descriptor any more, and weft__poller_take() finds
 * the operation among those that were called back. */
static NOINLINE void begin_without_memory(struct engine *e,
					  const struct io_uring_sqe *sqe,
					  struct operation *o)
{
	enum way way = way_of(sqe);

	weft__flight_call_back(&e->flight, o);
	o->fd = way == AT_ONCE ||
				(way == BY_HELPER && !may_wait_without_end(sqe))
			? weft__carry_out(sqe)
			: -ENOMEM;
	e->poller.has_failed = true;
}

void weft__poller_submit(struct engine *e, const struct io_uring_sqe *sqe,
			 struct operation *o)
{
	struct attempt *a = take_spare(&e->poller);

	if (unlikely(!weft__flight_has_place(&e->flight, sqe->fd)))
		weft__flight_make_place(&e->flight, sqe->fd);
	weft__flight_begin(&e->flight, o, sqe->fd,
			   weft__flight_list(&e->flight, sqe->fd));
	count(e->n_done_operations);
	count(e->n_submits);
	o->attempt = a;
	if (unlikely(!a)) {
		begin_without_memory(e, sqe, o);
		return;
	}
	a->sqe = *sqe;
	a->operation = o;
	a->signal = 0;
	a->flags = 0;
	a->moved = 0;
	a->is_several = a->is_bare = a->is_of_file = false;
	a->is_impatient = a->is_connecting = false;
	begin(e, a);
}

/* --- completions --- */

static void take_done(struct engine *e)
{
	struct poller *p = &e->poller;
	struct attempt *a, *next, *oldest = NULL;

	if (!peek(p->done))
		return;
	a = atomic_exchange_explicit(&p->done, NULL,
				     memory_order_acquire); /* O2 [poll.1] */
	for (; a; a = next) {
		next = a->next_done;
		a->next_done = oldest;
		oldest = a;
	}
	for (a = oldest; a; a = next) {
		int res = a->job.result;
		bool was_asked = peek(a->is_asked);

		next = a->next_done;
		weft__pool_note_end(&a->job);
		p->n_asked -= was_asked;
		if (a->is_several && res >= 0 && !was_asked) {
			a->state = READY; /* the function may cancel it */
			tell_one(a, res);
			if (a->operation->is_called_back)
				finish(e, a, -ECANCELED);
			else
				wait_for(e, a, false);
		} else {
			finish(e, a, res);
		}
	}
}

static NOINLINE void tell_failed(struct engine *e)
{
	struct operation *next;

	e->poller.has_failed = false;
	for (struct operation *o = e->flight.called_back; o; o = next) {
		next = o->next;
		if (o->attempt)
			continue;
		weft__flight_end(&e->flight, o);
		o->complete(o, o->fd, 0);
	}
}

void weft__poller_take(struct engine *e)
{
	struct poller *p = &e->poller;
	struct attempt *a;

	take_timeouts(e);
	take_done(e);
	while ((a = p->ready)) {
		p->ready = a->next;
		if (!p->ready)
			p->last_ready = NULL;
		tell(e, a);
	}
	if (unlikely(p->has_failed))
		tell_failed(e);
}

bool weft__poller_has_news(const struct engine *e)
{
	const struct poller *p = &e->poller;

	return p->ready || peek(p->done) || p->has_failed;
}

int64_t weft__poller_deadline(const struct engine *e)
{
	const struct poller *p = &e->poller;
	int64_t first = p->timed ? p->timed->deadline : WEFT_FOREVER;

	if (unlikely(p->n_asked)) {
		int64_t again = weft__now() + ASK_AGAIN_NS;

		return again < first ? again : first;
	}
	return first;
}

void weft__poller_poll(struct engine *e)
{
	struct poller *p = &e->poller;
	struct epoll_event events[MOST_EVENTS];
	int n = MOST_EVENTS;

	if (unlikely(p->n_asked))
		ask_helpers_again(e);
	/* If another loop watches the descriptor, the doorbell's event has to be
	 * taken, too. */
	for (int i = 0; i < POLL_ROUNDS && n == MOST_EVENTS &&
			(p->n_waiting || e->signal_fd >= 0);
	     i++) {
		n = wait_in_epoll(p, events, 0);
		take_events(e, events, n);
	}
	weft__poller_take(e);
}

void weft__poller_sleep(struct engine *e, int64_t deadline)
{
	struct poller *p = &e->poller;
	struct epoll_event events[MOST_EVENTS];
	int64_t mine = weft__poller_deadline(e);
	int n;

	if (unlikely(p->n_asked))
		ask_helpers_again(e);
	if (mine < deadline)
		deadline = mine;
	n = wait_in_epoll(p, events, weft__poller_has_news(e) ? 0 : deadline);
	take_events(e, events, n);
	weft__poller_take(e);
}

/* --- opening and closing --- */

static int add_for_good(int epoll_fd, int fd, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.u64 = DOORBELL };

	return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

int weft__poller_open(struct engine *e)
{
	struct poller *p = &e->poller;
	int epoll_fd = weft__above_standard(epoll_create1(EPOLL_CLOEXEC));
	int event_fd;
	int rc;

	if (epoll_fd < 0)
		return -errno;
	event_fd = weft__above_standard(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
	if (event_fd < 0) {
		rc = -errno;
		goto close_epoll;
	}
	/* By edge: a ring of the bell is reported once, and nobody needs to
	 * empty the eventfd. [poll.1] */
	rc = add_for_good(epoll_fd, event_fd, EPOLLIN | EPOLLET);
	if (!rc && e->signal_fd >= 0)
		rc = add_for_good(e->signal_fd, epoll_fd, EPOLLIN);
	if (rc)
		goto close_eventfd;
	poke(p->epoll_fd, epoll_fd);
	poke(e->eventfd, event_fd);
	return 0;

close_eventfd:
	close(event_fd);
close_epoll:
	close(epoll_fd);
	return rc;
}

static void close_of(_Atomic(int) *descriptor)
{
	if (peek(*descriptor) >= 0)
		close(peek(*descriptor));
	poke(*descriptor, -1);
}

void weft__poller_disown(struct engine *e)
{
	close_of(&e->poller.epoll_fd);
}

void weft__poller_close(struct engine *e)
{
	struct poller *p = &e->poller;
	struct slab *s;

	/* acquire: the helpers have written to the eventfd [poll.1] */
	for (unsigned i = 0;
	     atomic_load_explicit(&p->ringers, memory_order_acquire); i++)
		weft__be_patient(i);
	close_of(&p->epoll_fd);
	close_of(&e->eventfd);
	free_watches(p);
	free_groups(p);
	while ((s = p->slabs)) {
		p->slabs = s->next;
		free(s);
	}
}

/* The attempts were the parent's. The jobs of some may still be in the pool's
 * line, which is put right later: their memory stays as it is. */
void weft__poller_renew(struct engine *e)
{
	struct poller *p = &e->poller;

	free_watches(p);
	free_groups(p);
	p->ready = p->last_ready = p->timed = p->last_timed = p->spare = NULL;
	p->n_waiting = p->n_asked = 0;
	p->has_failed = false;
	poke(p->done, NULL);
	poke(p->ringers, 0);
	for (struct slab *s = p->slabs; s; s = s->next)
		for (int i = 0; i < ATTEMPTS_OF_A_SLAB; i++)
			make_spare(p, &s->attempts[i]);
}

int weft__poller_watch_with(struct engine *e, int event_fd)
{
	int fd = weft__above_standard(epoll_create1(EPOLL_CLOEXEC));
	int rc;

	if (fd < 0)
		return -errno;
	rc = add_for_good(fd, event_fd, EPOLLIN);
	if (!rc && e->is_open)
		rc = add_for_good(fd, peek(e->poller.epoll_fd), EPOLLIN);
	if (!rc)
		return fd;
	close(fd);
	return rc;
}
