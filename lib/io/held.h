/* SPDX-License-Identifier: MIT */
/*
 * Descriptors, and a list of addresses, that a call of several steps has while its
 * tasklet waits.
 */
#ifndef WEFT__HELD_H
#define WEFT__HELD_H

#include "core/holding.h"

struct addrinfo;

struct held {
	struct holding holding; /* first */
	int fds[2];             /* -1: none */
	struct addrinfo *found; /* NULL: none */
};

/* Nothing is held yet. NULL without memory. */
struct held *weft__held_new(struct scheduler *s);

/* Takes a descriptor out: the caller's to close, or to return. */
static inline int weft__held_take(struct held *h, int i)
{
	int fd = h->fds[i];

	h->fds[i] = -1;
	return fd;
}

/* Closes and frees all that is still held. */
void weft__held_end(struct held *h);

#endif /* WEFT__HELD_H */
