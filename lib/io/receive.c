/* SPDX-License-Identifier: MIT */
/*
 * Streams that receive: bytes, or messages with their addresses.
 *
 * There are two ways to receive.
 *
 *	by the kernel   one operation, multishot where that is possible, which
 *	                takes a buffer for each completion from those that
 *	                the pool has lent
 *	by hand         a poll, then recv(2) or recvmsg(2), told not to wait, into a
 *	                buffer of the pool's own
 *
 * The second one is for when the kernel has no buffers left, or cannot have any;
 * see buffers.c. A stream whose poll has said that there is something, and which
 * finds no buffer, waits for one.
 *
 * On Unix sockets multishot can miss the end of file after a shutdown, so
 * the operation is one-shot there.
 *
 * If a stream has more unread than its share of the pool, it is held back.
 *
 * A message begins in its buffer with what the kernel puts there: a struct
 * io_uring_recvmsg_out, room for the address, room for control data, and then the
 * data. One-shot operations put the data at the start, and the rest into a struct
 * message of the stream's, from where it is copied to the end of the buffer.
 */
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdalign.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/valgrind.h"
#include "io/buffers.h"
#include "io/io.h"
#include "io/stream.h"

enum { CONTROL_SIZE = 256 };

/* What is before the data of a message, or behind them. */
struct head {
	struct io_uring_recvmsg_out out;
	struct sockaddr_storage name;
	char control[CONTROL_SIZE] __attribute__((aligned(8)));
};

_Static_assert(sizeof(struct head) == WEFT_MESSAGE_ROOM,
	       "the room that the header speaks of");
_Static_assert(offsetof(struct head, name) ==
		       sizeof(struct io_uring_recvmsg_out),
	       "the address follows at once");
_Static_assert(offsetof(struct head, control) ==
		       offsetof(struct head, name) +
			       sizeof(struct sockaddr_storage),
	       "the control data follow at once");

/* What a one-shot operation fills in. For a multishot one it says how much room there
 * is. */
struct message {
	struct msghdr header;
	struct iovec data;
	struct head head;
};

/* In the flags of an item: its head is at the end of the buffer. No completion has
 * this bit. */
enum { HEAD_IS_LAST = 1 << 14 };

static char *data_of(const struct weft_stream *st, const struct item *item)
{
	return weft__buffers_data(st->receiving.pool,
				  (const struct buffer *)item);
}

static size_t room_for_data(const struct weft_stream *st)
{
	return st->receiving.pool->size - sizeof(struct head);
}

/* Rounded up, and so it may end in what was added to the buffer to align it. */
static size_t place_of_last_head(const struct weft_stream *st)
{
	size_t n = alignof(struct head);

	return (room_for_data(st) + n - 1) / n * n;
}

static struct head *head_of(const struct weft_stream *st,
			    const struct item *item)
{
	size_t at = item->flags & HEAD_IS_LAST ? place_of_last_head(st) : 0;

	return (struct head *)(void *)(data_of(st, item) + at);
}

/* --- by the kernel --- */

static void set_rooms(struct message *m, void *data, size_t size)
{
	m->data = (struct iovec){ .iov_base = data, .iov_len = size };
	m->header = (struct msghdr){
		.msg_name = &m->head.name,
		.msg_namelen = sizeof m->head.name,
		.msg_control = m->head.control,
		.msg_controllen = sizeof m->head.control,
		.msg_iov = &m->data,
		.msg_iovlen = 1,
	};
}

static void prepare_receive(struct weft_stream *st, struct io_uring_sqe *sqe,
			    bool is_multishot)
{
	struct message *m = st->receiving.message;

	if (m) {
		set_rooms(m, NULL, room_for_data(st));
		/* A multishot one takes the whole of its buffer. */
		if (is_multishot)
			m->header.msg_iovlen = 0;
		io_uring_prep_recvmsg(sqe, st->fd, &m->header,
				      MSG_CMSG_CLOEXEC);
	} else {
		io_uring_prep_recv(sqe, st->fd, NULL,
				   is_multishot ? 0 : st->receiving.pool->size,
				   0);
	}
	if (is_multishot)
		sqe->ioprio |= IORING_RECV_MULTISHOT;
	sqe->flags |= IOSQE_BUFFER_SELECT;
	sqe->buf_group = (uint16_t)st->receiving.pool->group;
}

static void note_head(struct head *head, const struct msghdr *header)
{
	head->out = (struct io_uring_recvmsg_out){
		.namelen = header->msg_namelen,
		.controllen = (uint32_t)header->msg_controllen,
		.flags = (uint32_t)header->msg_flags,
	};
}

/* The head of a message that one operation has received. */
static void copy_head(struct weft_stream *st, const struct item *item)
{
	struct message *m = st->receiving.message;

	note_head(&m->head, &m->header);
	*head_of(st, item) = m->head;
}

static bool is_shut(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLRDHUP };

	return poll(&p, 1, 0) > 0 && p.revents & (POLLRDHUP | POLLHUP);
}

/* 0 bytes have come, with @name_size bytes of address. */
static bool is_end(const struct weft_stream *st, size_t name_size)
{
	return !st->is_datagram || (!name_size && is_shut(st->fd));
}

/* The same, and the buffer is still the kernel's. */
static void keep_nothing(struct weft_stream *st)
{
	const struct message *m = st->receiving.message;

	if (is_end(st, m ? m->header.msg_namelen : 0)) {
		st->has_ended = true;
		return;
	}
	if (m)
		note_head(&st->receiving.message->head, &m->header);
	weft__stream_push_own(st, 0, 0);
}

/* @n bytes of data are in the buffer, and its head where @flags say. */
static void keep_data(struct weft_stream *st, struct buffer *b, int n,
		      unsigned flags)
{
	b->item.flags = flags;
	if (n == 0 && is_end(st, head_of(st, &b->item)->out.namelen)) {
		st->has_ended = true;
		weft__buffers_give_back(st->receiving.pool, b);
		return;
	}
	weft__stream_push(st, &b->item, n, flags);
}

static void keep_completed(struct weft_stream *st, struct buffer *b, int res)
{
	VALGRIND_MAKE_MEM_DEFINED(data_of(st, &b->item), (size_t)res);
	if (!st->receiving.message) {
		keep_data(st, b, res, 0);
	} else if (st->is_multishot) {
		keep_data(st, b, res - (int)sizeof(struct head), 0);
	} else {
		b->item.flags = HEAD_IS_LAST;
		copy_head(st, &b->item);
		keep_data(st, b, res, HEAD_IS_LAST);
	}
}

static void keep_received(struct weft_stream *st, int res, unsigned flags)
{
	struct receiving *r = &st->receiving;
	struct buffer *b = weft__buffers_named(r->pool, st, flags);

	if (b && res <= 0) {
		weft__buffers_give_back(r->pool, b);
		b = NULL;
	}
	if (res == -ENOBUFS) {
		st->is_poll_first = true;
		r->is_denied = r->pool->n_lent;
	} else if (weft__stream_goes_on(st, res, flags)) {
		return;
	} else if (res < 0) {
		weft__stream_push_own(st, res, 0);
	} else if (b) {
		keep_completed(st, b, res);
	} else {
		keep_nothing(st);
	}
	if (st->n_unread >= weft__buffers_share(r->pool))
		weft__stream_hold_back(st);
}

/* --- by hand --- */

static int receive_message(const struct weft_stream *st, char *data)
{
	struct head *head = (struct head *)(void *)data;
	struct iovec iov = { .iov_base = data + sizeof *head,
			     .iov_len = room_for_data(st) };
	struct msghdr header = {
		.msg_name = &head->name,
		.msg_namelen = sizeof head->name,
		.msg_control = head->control,
		.msg_controllen = sizeof head->control,
		.msg_iov = &iov,
		.msg_iovlen = 1,
	};
	ssize_t n = recvmsg(st->fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);

	if (n >= 0)
		note_head(head, &header);
	return (int)n;
}

/* Bytes, or a negative errno. */
static int receive_into(const struct weft_stream *st, const struct buffer *b)
{
	char *data = data_of(st, &b->item);
	int n;

	do {
		n = st->receiving.message
			    ? receive_message(st, data)
			    : (int)recv(st->fd, data, st->receiving.pool->size,
					MSG_DONTWAIT);
	} while (n < 0 && errno == EINTR);
	return n < 0 ? -errno : n;
}

static enum step receive_by_hand(struct weft_stream *st)
{
	struct receiving *r = &st->receiving;
	struct buffer *b = r->granted;
	int n = receive_into(st, b);

	r->granted = NULL;
	if (n > 0 || (n == 0 && r->message)) {
		keep_data(st, b, n, 0);
	} else {
		weft__buffers_give_back(r->pool, b);
		if (n == 0)
			keep_nothing(st);
		/* A datagram socket that is shut is ready, and has nothing. */
		else if (n == -EAGAIN && st->is_datagram && is_shut(st->fd))
			st->has_ended = true;
		else if (n == -EAGAIN)
			return STEP_POLL;
		else
			weft__stream_push_own(st, n, 0);
	}
	r->is_denied = false;
	return STEP_LOOK;
}

static enum step choose(struct weft_stream *st)
{
	struct receiving *r = &st->receiving;
	bool is_ready = st->is_ready;

	if (r->is_hungry)
		return STEP_WAIT;
	if (r->granted)
		return receive_by_hand(st);
	if (r->pool->n_lent && !st->is_poll_first && !r->is_denied)
		return STEP_ARM;
	if (!is_ready)
		return STEP_POLL;
	st->is_ready = false;
	r->granted = weft__buffers_take(r->pool, st);
	if (r->granted)
		return receive_by_hand(st);
	weft__buffers_queue(r->pool, st);
	return STEP_WAIT;
}

static void stop_waiting(struct weft_stream *st)
{
	struct receiving *r = &st->receiving;
	struct buffer *b = r->granted;

	weft__buffers_unqueue(r->pool, st);
	r->granted = NULL;
	if (b)
		weft__buffers_give_back(r->pool, b);
}

/* --- giving out --- */

static void give_out(struct weft_stream *st, struct item *item)
{
	if (item == &st->own) {
		weft__stream_free_item(st, item);
		return;
	}
	((struct buffer *)item)->state = BUFFER_TAKEN;
	st->receiving.n_taken++;
}

static ssize_t next_bytes(struct scheduler *s, struct weft_stream *st,
			  void **data)
{
	struct item *item;
	int rc;

	if (!data)
		return -EINVAL;
	rc = weft__stream_take(s, st, &item);
	if (rc <= 0)
		return rc;
	rc = item->res;
	if (rc >= 0)
		*data = item == &st->own ? NULL : data_of(st, item);
	give_out(st, item);
	return rc;
}

static void describe(struct weft_stream *st, struct item *item,
		     struct weft_message *message)
{
	bool is_own = item == &st->own;
	struct head *head =
		is_own ? &st->receiving.message->head : head_of(st, item);
	char *data = is_own ? NULL : data_of(st, item);

	if (data && !(item->flags & HEAD_IS_LAST))
		data += sizeof *head;
	*message = (struct weft_message){
		.data = data,
		.size = (size_t)item->res,
		.header = {
			.msg_name = head->out.namelen ? &head->name : NULL,
			.msg_namelen = head->out.namelen,
			.msg_control = head->out.controllen ? head->control
							    : NULL,
			.msg_controllen = head->out.controllen,
			.msg_flags = (int)head->out.flags & ~MSG_CMSG_CLOEXEC,
		},
	};
}

static void drop_received(struct weft_stream *st, struct item *item)
{
	struct weft_message message;

	if (item->res >= 0 && st->receiving.message) {
		describe(st, item, &message);
		weft__close_received(&message.header);
	}
	if (item == &st->own)
		weft__stream_free_item(st, item);
	else
		weft__buffers_give_back(st->receiving.pool,
					(struct buffer *)item);
}

static void end_receiving(struct weft_stream *st)
{
	struct weft_buffers *pool = st->receiving.pool;

	stop_waiting(st);
	for (unsigned i = 0; st->receiving.n_taken && i < pool->n; i++) {
		struct buffer *b = &pool->buffers[i];

		if (b->state == BUFFER_TAKEN && b->holder == st) {
			st->receiving.n_taken--;
			weft__buffers_give_back(pool, b);
		}
	}
	weft__buffers_leave(pool);
	free(st->receiving.message);
}

/* --- calls --- */

static const struct stream_kind bytes = {
	.prepare = prepare_receive,
	.keep = keep_received,
	.choose = choose,
	.leave = stop_waiting,
	.next = next_bytes,
	.drop = drop_received,
	.end = end_receiving,
	.multishot = MULTISHOT_RECV,
};

static const struct stream_kind messages = {
	.prepare = prepare_receive,
	.keep = keep_received,
	.choose = choose,
	.leave = stop_waiting,
	.drop = drop_received,
	.end = end_receiving,
	.multishot = MULTISHOT_RECVMSG,
};

static weft_stream *fail(int error)
{
	errno = error;
	return NULL;
}

static int option_of(int fd, int option)
{
	int value = 0;
	socklen_t size = sizeof value;

	return getsockopt(fd, SOL_SOCKET, option, &value, &size) ? -errno
								 : value;
}

/* With @message, which is the stream's from here on, a stream of messages. */
static weft_stream *new_stream(int fd, weft_buffers *pool,
			       struct message *message)
{
	int domain = option_of(fd, SO_DOMAIN);
	int type = option_of(fd, SO_TYPE);
	struct weft_stream *st;

	if (domain < 0 || type < 0)
		return fail(domain < 0 ? -domain : -type);
	st = weft__stream_new(message ? &messages : &bytes, fd);
	if (!st)
		return NULL;
	weft__buffers_use(pool);
	st->is_local = domain == AF_UNIX;
	st->is_datagram = type != SOCK_STREAM && type != SOCK_SEQPACKET;
	st->receiving.pool = pool;
	st->receiving.message = message;
	return st;
}

WEFT_API weft_stream *weft_recv_stream(int fd, weft_buffers *pool)
{
	int rc = weft__buffers_check(pool, 1);

	return rc ? fail(-rc) : new_stream(fd, pool, NULL);
}

WEFT_API weft_stream *weft_recvmsg_stream(int fd, weft_buffers *pool)
{
	int rc = weft__buffers_check(pool, sizeof(struct head) + 1);
	struct message *message;
	weft_stream *st;

	if (rc)
		return fail(-rc);
	message = calloc(1, sizeof *message);
	if (!message)
		return fail(ENOMEM);
	st = new_stream(fd, pool, message);
	if (!st)
		free(message);
	return st;
}

WEFT_API int weft_stream_next_message(weft_stream *st,
				      struct weft_message *message)
{
	struct scheduler *s;
	struct item *item;
	int rc = message ? weft__stream_enter(st, &s) : -EINVAL;

	if (!rc && st->kind != &messages)
		rc = -EINVAL;
	if (!rc)
		rc = weft__stream_take(s, st, &item);
	if (rc <= 0)
		return rc;
	rc = item->res < 0 ? item->res : 1;
	if (rc > 0)
		describe(st, item, message);
	give_out(st, item);
	return rc;
}

WEFT_API void weft_stream_release(weft_stream *st, void *data)
{
	struct scheduler *owner;
	struct buffer *b;

	if (!data)
		return;
	REQUIRE(st && (st->kind == &bytes || st->kind == &messages),
		"data are released that are no stream's");
	owner = peek(st->owner);
	REQUIRE(!owner || owner == weft__self,
		"data are released by another thread than the stream's");
	b = weft__buffers_find(st->receiving.pool, data);
	REQUIRE(b && b->state == BUFFER_TAKEN && b->holder == st,
		"data are released that this stream has not given");
	st->receiving.n_taken--;
	weft__buffers_give_back(st->receiving.pool, b);
}
