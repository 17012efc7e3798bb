/* SPDX-License-Identifier: MIT */
/*
 * Two connected ends of each kind that a program meets.
 */
#ifndef WEFT_TESTS_ENDS_H
#define WEFT_TESTS_ENDS_H

#include <stdbool.h>

enum ends_kind {
	ENDS_PIPE, /* read from the first, write to the second */
	ENDS_TCP,
	ENDS_UNIX,
	ENDS_SEQPACKET,
	ENDS_DATAGRAM, /* a Unix socket's */
	ENDS_UDP,
	N_ENDS_KINDS
};

extern const char *const ends_names[N_ENDS_KINDS];

/* Close-on-exec. False if there are none to be had. */
bool make_ends(enum ends_kind kind, bool is_nonblocking, int ends[2]);

/* A listener of TCP on the loopback interface, or -1, and its port. */
int listen_on_loopback(int backlog, unsigned short *port);

#endif /* WEFT_TESTS_ENDS_H */
