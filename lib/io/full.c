/* SPDX-License-Identifier: MIT */
/*
 * Calls that go on until all bytes have been moved.
 *
 * Bytes that have been moved are never forgotten: from the first of them on, the
 * call returns their number, and leaves an error to the next call. A kill, a
 * deadline and most errors of a descriptor meet the next call by themselves. A
 * raised error would be consumed, so it is kept for it.
 */
#include <errno.h>
#include <weft/io.h>
#include <weft/net.h>

#include "core/block.h"
#include "io/io.h"

struct goal {
	int fd;
	char *data;
	size_t count;
	int flags;
};

/* One call, for the bytes from @done on. */
typedef ssize_t step_fn(const struct goal *g, size_t done);

static ssize_t go_on(const struct goal *g, step_fn *step)
{
	struct scheduler *s = weft__scheduler();
	bool kept = false;
	size_t done = 0;
	ssize_t n;

	if (unlikely(!s))
		return -errno;
	while ((n = step(g, done)) > 0 && (done += (size_t)n) < g->count)
		kept |= weft__keep_raised(peek(s->current));
	if (kept)
		weft__consume_raised(peek(s->current));
	return done ? (ssize_t)done : n;
}

static ssize_t read_step(const struct goal *g, size_t done)
{
	return weft_read(g->fd, g->data + done, g->count - done);
}

static ssize_t write_step(const struct goal *g, size_t done)
{
	return weft_write(g->fd, g->data + done, g->count - done);
}

static ssize_t recv_step(const struct goal *g, size_t done)
{
	return weft_recv(g->fd, g->data + done, g->count - done, g->flags);
}

/* recv(2) waits for the first byte even if none is wanted. */
static ssize_t recv_nothing(const struct goal *g)
{
	ssize_t n = weft_recv(g->fd, g->data, 0, g->flags | MSG_DONTWAIT);

	return n == -EAGAIN ? 0 : n;
}

static ssize_t send_step(const struct goal *g, size_t done)
{
	return weft_send(g->fd, g->data + done, g->count - done, g->flags);
}

/* The result could not tell of more. */
static bool is_too_much(size_t count)
{
	return count > (size_t)SSIZE_MAX;
}

WEFT_API ssize_t weft_read_full(int fd, void *buf, size_t count)
{
	struct goal g = { .fd = fd, .data = buf, .count = count };

	return is_too_much(count) ? -EINVAL : go_on(&g, read_step);
}

WEFT_API ssize_t weft_write_full(int fd, const void *buf, size_t count)
{
	struct goal g = { .fd = fd,
			  .data = (char *)(uintptr_t)buf,
			  .count = count };

	return is_too_much(count) ? -EINVAL : go_on(&g, write_step);
}

WEFT_API ssize_t weft_recv_full(int fd, void *buf, size_t count, int flags)
{
	/* With these it would count the same bytes again, or more than there is
	 * room for, or messages that are not the stream's. */
	static const int unfit = MSG_PEEK | MSG_TRUNC | MSG_ERRQUEUE;
	struct goal g = {
		.fd = fd, .data = buf, .count = count, .flags = flags
	};

	if (is_too_much(count) || flags & unfit)
		return -EINVAL;
	return count ? go_on(&g, recv_step) : recv_nothing(&g);
}

WEFT_API ssize_t weft_send_full(int fd, const void *buf, size_t count,
				int flags)
{
	struct goal g = { .fd = fd,
			  .data = (char *)(uintptr_t)buf,
			  .count = count,
			  .flags = flags };

	return is_too_much(count) ? -EINVAL : go_on(&g, send_step);
}
