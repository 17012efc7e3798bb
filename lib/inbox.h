/* SPDX-License-Identifier: MIT */
/*
 * What other threads hand in to a scheduler: a stack that many push and its
 * owner takes as a whole, in one atomic word. The same word says whether the
 * owner sleeps, and how it is to be woken; see park.c for the handshake.
 *
 * A node is the first word of what it stands for, and the low bit of a link
 * tells a waiter (0) from a tasklet (1).
 */
#ifndef WEFT__INBOX_H
#define WEFT__INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "debug.h"

/* What the word can hold besides a link to the newest node. */
enum {
	INBOX_EMPTY = 0,
	INBOX_PARKED_FUTEX,   /* sleeps on the low half of this very word */
	INBOX_PARKED_MESSAGE, /* sleeps in its ring: send that a message */
	INBOX_PARKED_SQE,     /* the same, by way of the waker's own ring */
	INBOX_PARKED_EVENTFD, /* sleeps in its ring: write to its eventfd */
	INBOX_WATCHED, /* driven by another loop: write to that's eventfd */
	INBOX_CLOSED,  /* the thread takes nothing any more */
	INBOX_LINKS    /* from here up: a link */
};

/* Distinct bits of a link. */
enum { INBOX_TASKLET = 1 };

struct inbox_node {
	uintptr_t next; /* a link or INBOX_EMPTY */
};

struct inbox {
	_Atomic(uintptr_t) word;
	/* Threads that may be about to ring the doorbell. */
	_Atomic(unsigned) ringers;
};

static inline struct inbox_node *weft__inbox_node(uintptr_t link)
{
	return (struct inbox_node *)(link & ~(uintptr_t)INBOX_TASKLET);
}

static inline bool weft__inbox_is_parked(uintptr_t word)
{
	return word >= INBOX_PARKED_FUTEX && word <= INBOX_PARKED_EVENTFD;
}

/* Whether it is up to who hands something in to ring. */
static inline bool weft__inbox_wants_ring(uintptr_t word)
{
	return word >= INBOX_PARKED_FUTEX && word <= INBOX_WATCHED;
}

/* A list of links, turned around. */
uintptr_t weft__inbox_reversed(uintptr_t link);

/* What an exchange by the owner found in the word: a list of links in order of
 * arrival. A sentinel counts as nothing. */
static inline uintptr_t weft__inbox_list(uintptr_t word)
{
	return word < INBOX_LINKS ? INBOX_EMPTY : weft__inbox_reversed(word);
}

#endif /* WEFT__INBOX_H */
