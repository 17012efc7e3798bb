/* SPDX-License-Identifier: MIT */
/*
 * A program that has an event loop already, with weft as one of its event sources.
 *
 * The loop waits in epoll for its own descriptors and for that of weft_fd(), until
 * weft_next_deadline() at the latest. Each time round it calls weft_pump(). Tasklets
 * sleep and do I/O as ever, and the loop never waits in weft.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>
#include <weft.h>

static int knob; /* the loop's own event source: it counts turns */
static int ends[2];

static void die(const char *what)
{
	perror(what);
	exit(EXIT_FAILURE);
}

/* Returns @n, a result of weft, or ends the program if it is a negative errno. */
static int must(ssize_t n, const char *what)
{
	if (n < 0) {
		errno = (int)-n;
		die(what);
	}
	return (int)n;
}

static int turn_later(void *arg)
{
	static const uint64_t turns = 3;

	(void)arg;
	weft_sleep(10 * WEFT_MILLISECOND);
	puts("tasklet: turns the knob");
	must(weft_write(knob, &turns, sizeof turns), "weft_write");
	return 0;
}

static int read_pipe(void *arg)
{
	char text[32];
	int n = must(weft_read(ends[0], text, sizeof text), "weft_read");

	(void)arg;
	printf("tasklet: read %.*s\n", n, text);
	return 0;
}

static void watch(int loop, int fd)
{
	struct epoll_event event = { .events = EPOLLIN, .data.fd = fd };

	if (epoll_ctl(loop, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl");
}

/* Milliseconds until weft wants to be called, rounded up; -1: no limit. */
static int timeout(void)
{
	int64_t deadline = weft_next_deadline();
	int64_t left = deadline - weft_now();

	if (deadline == WEFT_FOREVER)
		return -1;
	return left <= 0 ? 0 : (int)(left / WEFT_MILLISECOND) + 1;
}

static void knob_was_turned(void)
{
	uint64_t turns;

	if (read(knob, &turns, sizeof turns) != sizeof turns)
		die("read");
	printf("loop: %d turns\n", (int)turns);
	if (write(ends[1], "hello", 5) != 5)
		die("write");
}

int main(void)
{
	int loop = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event event;

	knob = eventfd(0, EFD_CLOEXEC);
	if (loop < 0 || knob < 0 || pipe(ends))
		die("no descriptor");
	watch(loop, knob);
	watch(loop, must(weft_fd(), "weft_fd"));

	if (weft_tasklet_is_null(weft_spawn(turn_later, NULL)) ||
	    weft_tasklet_is_null(weft_spawn(read_pipe, NULL)))
		die("weft_spawn");
	while (weft_pump() > 0)
		if (epoll_wait(loop, &event, 1, timeout()) == 1 &&
		    event.data.fd == knob)
			knob_was_turned();
	puts("loop: no tasklets left");
	return 0;
}
