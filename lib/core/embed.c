/* SPDX-License-Identifier: MIT */
/*
 * Driving a thread from another event loop: weft_fd().
 *
 * The descriptor is an eventfd. The thread's ring signals it with each
 * completion. (The poll engine cannot do that: with it, the descriptor is an epoll
 * instance that watches the eventfd and the engine's own one.) Polling the ring itself would not do: its descriptor does not
 * become readable for completions that wait for their task (DEFER_TASKRUN).
 * When a pump returns and leaves nothing runnable, it empties the eventfd and
 * marks the inbox INBOX_WATCHED. Then a thread that hands something in writes
 * to the eventfd, as it would wake a thread that sleeps. For its own calls, the
 * thread itself notes at the end of each call what the call has made runnable:
 * while the descriptor is there and main is in no run or pump, its calls take
 * their careful paths (weft__fast). Another tasklet that is inside a run or
 * pump does not drive the thread while main is outside. A fast call that began
 * before the descriptor was there does not note anything. But while the
 * descriptor is quiet the inbox is marked, so a tasklet that switches back to
 * main has looked around, and has told of main at least.
 *
 * Taking in the inbox removes the mark. If that happens outside of a pump
 * (park.c), the descriptor is made readable, so that the next pump sets things
 * right. The same is done after any look around. So nothing is forgotten,
 * whatever a call does with what it found, and wherever it returns.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <weft/time.h>

#include "base/descriptor.h"
#include "base/world.h"
#include "core/embed.h"

static bool has_work(struct scheduler *s)
{
	return !weft__queue_is_empty(&s->queue) ||
	       weft__engine_has_news(&s->engine);
}

/* The thread and its descriptor stay until nobody rings any more. [park.2] */
void weft__embedding_ring(const struct scheduler *s)
{
	static const uint64_t one = 1;
	ssize_t rc;

	while ((rc = write(s->embedding->event_fd, &one, sizeof one)) < 0 &&
	       errno == EINTR)
		;
	REQUIRE(rc >= 0 || errno == EAGAIN,
		"weft_fd() cannot tell of anything: somebody has closed its "
		"descriptor");
}

static void make_readable(struct scheduler *s)
{
	s->embedding->is_quiet = false;
	weft__embedding_ring(s);
}

static void make_quiet(struct embedding *e)
{
	uint64_t value;

	while (read(e->event_fd, &value, sizeof value) < 0 && errno == EINTR)
		;
	e->is_quiet = true;
}

void weft__embedding_changed(struct scheduler *s)
{
	struct embedding *e = s->embedding;

	/* relaxed: a hint; an exchange sets the mark again [inbox.1] */
	if (e->is_quiet && !weft__main_is_inside(s) &&
	    (has_work(s) || peek(s->inbox.word) != INBOX_WATCHED))
		make_readable(s);
}

void weft__embedding_settle(struct scheduler *s)
{
	struct embedding *e = s->embedding;
	uintptr_t empty = INBOX_EMPTY;

	weft__embedding_moved(s);
	if (weft__main_is_inside(s))
		return;
	make_quiet(e);
	if (has_work(s) || !atomic_compare_exchange_strong(
				   &s->inbox.word, &empty, INBOX_WATCHED))
		make_readable(s);
}

WEFT_API int weft_fd(void)
{
	struct scheduler *s = weft__scheduler();
	struct embedding *e;

	if (!s)
		return -errno;
	if (s->embedding)
		return s->embedding->fd;
	e = malloc(sizeof *e);
	if (!e)
		return -ENOMEM;
	*e = (struct embedding){
		.event_fd = weft__above_standard(
			eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
	};
	if (e->event_fd < 0) {
		free(e);
		return -errno;
	}
	e->fd = weft__engine_watch(&s->engine, e->event_fd);
	if (e->fd < 0) {
		int rc = e->fd;

		close(e->event_fd);
		free(e);
		return rc;
	}
	s->embedding = e;
	weft__embedding_settle(s);
	return e->fd;
}

WEFT_API int64_t weft_next_deadline(void)
{
	struct scheduler *s = weft__scheduler();
	int64_t deadline;
	uintptr_t word;

	if (!s)
		return WEFT_FOREVER;
	word = peek(s->inbox.word);
	if (has_work(s) || (word != INBOX_EMPTY && word != INBOX_WATCHED))
		return weft__now();
	deadline = weft__engine_deadline(&s->engine);
	return deadline < weft__timer_next(&s->timers)
		       ? deadline
		       : weft__timer_next(&s->timers);
}

void weft__embedding_close(const struct embedding *e)
{
	if (e->fd != e->event_fd)
		close(e->fd);
	close(e->event_fd);
}

void weft__embedding_free(struct scheduler *s)
{
	if (!s->embedding)
		return;
	weft__embedding_close(s->embedding);
	free(s->embedding);
	s->embedding = NULL;
	weft__set_careful(s, CAREFUL_OF_EMBEDDING, false);
}

void weft__embedding_renew(struct scheduler *s)
{
	int fd;

	if (!s->embedding)
		return;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0 || dup3(fd, s->embedding->event_fd, O_CLOEXEC) < 0 ||
	    weft__engine_renew_watch(&s->engine, s->embedding->event_fd))
		weft__warn("no descriptor for weft_fd() in a child of fork()");
	if (fd >= 0)
		close(fd);
}
