/* SPDX-License-Identifier: MIT */
/*
 * By io_uring: one multishot accept, one multishot receive for each connection, with
 * buffers from one ring that all share, and one system call for each turn. A
 * connection sends one buffer at a time, so that its bytes keep their order; others
 * that have come meanwhile wait in its list.
 */
#include <errno.h>
#include <liburing.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <unistd.h>

#include "baseline.h"

enum {
	ENTRIES = 4096,
	N_BUFFERS =
		512, /* a power of two; of more, each would be cold in its turn */
	EACH = BUFFER_SIZE,
	GROUP = 1
};

/* In the low bits of user_data; the others are those of the connection. */
enum event {
	EVENT_RECEIVE,
	EVENT_SEND,
	EVENT_ACCEPT,
	EVENT_SIGNAL,
	EVENT_MASK = 3
};

struct connection {
	int fd;
	bool is_receiving, is_sending, is_over;
	int first, last; /* buffers to send; -1: none */
	unsigned at;     /* sent of the first */
	struct connection *next_starved;
	bool is_starved;
};

static struct {
	struct io_uring ring;
	struct io_uring_buf_ring *buffers;
	char *memory;
	struct totals *totals;
	int listener;
	unsigned n_free;
	struct connection
		*starved; /* to receive again once there are buffers */
	struct {
		int next;
		unsigned n;
	} filled[N_BUFFERS];
} u;

static struct io_uring_sqe *get_sqe(void)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&u.ring);

	if (!sqe) {
		io_uring_submit(&u.ring);
		sqe = io_uring_get_sqe(&u.ring);
	}
	if (!sqe)
		fail(EBUSY, "the submission queue");
	return sqe;
}

static void tag(struct io_uring_sqe *sqe, const void *c, enum event e)
{
	sqe->user_data = (uint64_t)(uintptr_t)c | e;
}

static char *buffer_at(int id)
{
	return u.memory + (size_t)id * EACH;
}

static void give_back(int id)
{
	io_uring_buf_ring_add(u.buffers, buffer_at(id), EACH,
			      (unsigned short)id,
			      io_uring_buf_ring_mask(N_BUFFERS), 0);
	io_uring_buf_ring_advance(u.buffers, 1);
	u.n_free++;
}

static void begin_accept(void)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_multishot_accept(sqe, u.listener, NULL, NULL,
				       SOCK_CLOEXEC);
	tag(sqe, NULL, EVENT_ACCEPT);
}

static void begin_receive(struct connection *c)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_recv_multishot(sqe, c->fd, NULL, 0, 0);
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = GROUP;
	tag(sqe, c, EVENT_RECEIVE);
	c->is_receiving = true;
}

static void begin_send(struct connection *c)
{
	struct io_uring_sqe *sqe = get_sqe();

	io_uring_prep_send(sqe, c->fd, buffer_at(c->first) + c->at,
			   u.filled[c->first].n - c->at,
			   MSG_NOSIGNAL | MSG_WAITALL);
	tag(sqe, c, EVENT_SEND);
	c->is_sending = true;
}

static void drop_buffers(struct connection *c)
{
	while (c->first >= 0) {
		int id = c->first;

		c->first = u.filled[id].next;
		give_back(id);
	}
}

static void end_if_over(struct connection *c)
{
	if (!c->is_over || c->is_sending || c->is_receiving || c->is_starved)
		return;
	drop_buffers(c);
	close(c->fd);
	free(c);
}

static void accepted(int res, unsigned flags)
{
	struct connection *c;

	if (!(flags & IORING_CQE_F_MORE)) {
		if (res == -EMFILE || res == -ENFILE)
			usleep(10000); /* those who leave make room */
		begin_accept();
	}
	if (res < 0)
		return;
	c = calloc(1, sizeof *c);
	if (!c)
		fail(ENOMEM, "a connection");
	c->fd = res;
	c->first = -1;
	u.totals->n_connections++;
	begin_receive(c);
}

static void starve(struct connection *c)
{
	c->is_starved = true;
	c->next_starved = u.starved;
	u.starved = c;
}

static void received(struct connection *c, int res, unsigned flags)
{
	if (!(flags & IORING_CQE_F_MORE))
		c->is_receiving = false;
	if (res > 0) {
		int id = (int)(flags >> IORING_CQE_BUFFER_SHIFT);

		u.n_free--;
		u.totals->n_messages++;
		u.totals->n_bytes += (uint64_t)res;
		u.filled[id].n = (unsigned)res;
		u.filled[id].next = -1;
		if (c->first < 0)
			c->first = id;
		else
			u.filled[c->last].next = id;
		c->last = id;
		if (!c->is_sending)
			begin_send(c);
	} else if (res != -ENOBUFS) {
		c->is_over = true;
	}
	if (!c->is_receiving && !c->is_over) {
		if (res == -ENOBUFS)
			starve(c);
		else
			begin_receive(c);
	}
	end_if_over(c);
}

static void sent(struct connection *c, int res)
{
	c->is_sending = false;
	if (res < 0) {
		c->is_over = true;
		drop_buffers(c);
		shutdown(c->fd, SHUT_RDWR); /* ends the receive */
		end_if_over(c);
		return;
	}
	c->at += (unsigned)res;
	if (c->at == u.filled[c->first].n) {
		int id = c->first;

		c->first = u.filled[id].next;
		c->at = 0;
		give_back(id);
	}
	if (c->first >= 0)
		begin_send(c);
	else
		end_if_over(c);
}

static void feed_the_starved(void)
{
	unsigned n = u.n_free;

	while (u.starved && n--) {
		struct connection *c = u.starved;

		u.starved = c->next_starved;
		c->is_starved = false;
		if (c->is_over)
			end_if_over(c);
		else
			begin_receive(c);
	}
}

void open_uring(void)
{
	struct io_uring_params p = {
		.flags = IORING_SETUP_SINGLE_ISSUER |
			 IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_CQSIZE,
		.cq_entries = 4 * ENTRIES,
	};
	struct io_uring_buf_reg reg = { .ring_entries = N_BUFFERS,
					.bgid = GROUP };
	size_t size = N_BUFFERS * sizeof(struct io_uring_buf);
	int rc = io_uring_queue_init_params(ENTRIES, &u.ring, &p);

	if (rc)
		fail(-rc, "io_uring_queue_init_params");
	rc = io_uring_register_ring_fd(&u.ring);
	if (rc < 0)
		fail(-rc, "io_uring_register_ring_fd");
	if (posix_memalign((void **)&u.buffers, 4096, size) ||
	    posix_memalign((void **)&u.memory, 4096, (size_t)N_BUFFERS * EACH))
		fail(ENOMEM, "buffers");
	reg.ring_addr = (uintptr_t)u.buffers;
	rc = io_uring_register_buf_ring(&u.ring, &reg, 0);
	if (rc)
		fail(-rc, "io_uring_register_buf_ring");
	io_uring_buf_ring_init(u.buffers);
	for (int i = 0; i < N_BUFFERS; i++)
		give_back(i);
}

/* False at the end. */
static bool take(const struct io_uring_cqe *cqe)
{
	struct connection *c =
		(struct connection *)(uintptr_t)(cqe->user_data &
						 ~(uint64_t)EVENT_MASK);

	switch ((enum event)(cqe->user_data & EVENT_MASK)) {
	case EVENT_ACCEPT:
		accepted(cqe->res, cqe->flags);
		return true;
	case EVENT_RECEIVE:
		received(c, cqe->res, cqe->flags);
		return true;
	case EVENT_SEND:
		sent(c, cqe->res);
		return true;
	default:
		return false;
	}
}

void serve_by_uring(int listener, int signals, struct totals *t)
{
	struct io_uring_sqe *sqe;
	bool goes_on = true;

	u.listener = listener;
	u.totals = t;
	sqe = get_sqe();
	io_uring_prep_poll_add(sqe, signals, POLLIN);
	tag(sqe, NULL, EVENT_SIGNAL);
	begin_accept();
	while (goes_on) {
		struct io_uring_cqe *cqe;
		unsigned head, n = 0;
		int rc = io_uring_submit_and_wait(&u.ring, 1);

		if (rc < 0 && rc != -EINTR && rc != -EAGAIN && rc != -EBUSY)
			fail(-rc, "io_uring_submit_and_wait");
		io_uring_for_each_cqe(&u.ring, head, cqe)
		{
			goes_on = take(cqe) && goes_on;
			n++;
		}
		io_uring_cq_advance(&u.ring, n);
		feed_the_starved();
	}
	io_uring_queue_exit(&u.ring);
}
