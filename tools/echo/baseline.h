/* SPDX-License-Identifier: MIT */
/*
 * weft-echo-baseline: the echo server without weft, by epoll or by io_uring, as
 * somebody would write it who wants it fast and has one thread. `weft-echo --baseline`
 * starts it, so that a load can be compared on the same machine.
 */
#ifndef ECHO_BASELINE_H
#define ECHO_BASELINE_H

#include <stdint.h>

enum { BUFFER_SIZE = 16 * 1024 };

struct totals {
	uint64_t n_connections, n_messages, n_bytes;
};

/* Makes the ring, or ends the program: before it listens. */
void open_uring(void);

/* Serves @listener until @signals, a signalfd, is readable. */
void serve_by_epoll(int listener, int signals, struct totals *t);
void serve_by_uring(int listener, int signals, struct totals *t);

/* Ends the program with a message. */
_Noreturn void fail(int error, const char *what);

#endif /* ECHO_BASELINE_H */
