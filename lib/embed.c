/* SPDX-License-Identifier: MIT */
/*
 * Driving a thread from another event loop: weft_fd().
 *
 * The descriptor is an eventfd. The thread's ring signals it with each completion;
 * polling the ring itself would not do, for it is not told of completions that
 * wait for their task (DEFER_TASKRUN). When a pump returns and leaves nothing
 * runnable, the eventfd is emptied and the inbox is marked INBOX_WATCHED: whoever
 * hands something in writes to the eventfd, as it would wake a thread that
 * sleeps. The thread itself notes what its own calls have made runnable at the
 * end of those calls; while the descriptor is there and no run or pump is, its
 * calls take their careful ways (weft__fast). A call that began before that notes
 * it when it has waited; and if main has only given way, there is something
 * runnable: main.
 *
 * Taking in what was handed in takes the mark away. Where that is done (park.c),
 * outside of a pump, the descriptor is made readable, so that the next pump sets
 * things right; so is it after any look around. Whatever a call does with what it
 * found, and wherever it returns, nothing is forgotten.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <weft/time.h>

#include "scheduler.h"

static bool has_work(struct scheduler *s)
{
	return !weft__queue_is_empty(s) || weft__engine_has_news(&s->engine);
}

/* The thread stays, and so does the descriptor, until nobody rings any more.
 * [park.2] */
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

	/* relaxed: a hint; the mark is set again by an exchange [inbox.1] */
	if (e->is_quiet && !s->runs &&
	    (has_work(s) || peek(s->inbox.word) != INBOX_WATCHED))
		make_readable(s);
}

void weft__embedding_settle(struct scheduler *s)
{
	struct embedding *e = s->embedding;
	uintptr_t empty = INBOX_EMPTY;

	weft__choose_ways(s);
	if (s->runs)
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
		return s->embedding->event_fd;
	e = malloc(sizeof *e);
	if (!e)
		return -ENOMEM;
	*e = (struct embedding){
		.event_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
	};
	if (e->event_fd < 0) {
		free(e);
		return -errno;
	}
	s->embedding = e;
	weft__engine_signal(s);
	weft__embedding_settle(s);
	return e->event_fd;
}

WEFT_API int64_t weft_next_deadline(void)
{
	struct scheduler *s = weft__scheduler();
	uintptr_t word;

	if (!s)
		return WEFT_FOREVER;
	word = peek(s->inbox.word);
	if (has_work(s) || (word != INBOX_EMPTY && word != INBOX_WATCHED))
		return weft_now();
	return weft__timer_next(&s->timers);
}

void weft__embedding_free(struct scheduler *s)
{
	if (!s->embedding)
		return;
	close(s->embedding->event_fd);
	free(s->embedding);
	s->embedding = NULL;
	weft__choose_ways(s);
}

void weft__embedding_renew(struct scheduler *s)
{
	int fd;

	if (!s->embedding)
		return;
	fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (fd < 0 || dup3(fd, s->embedding->event_fd, O_CLOEXEC) < 0)
		weft__warn("no descriptor for weft_fd() in a child of fork()");
	if (fd >= 0)
		close(fd);
	weft__engine_signal(s);
}
