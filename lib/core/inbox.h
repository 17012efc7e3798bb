/* SPDX-License-Identifier: MIT */
/*
 * What other threads hand to a scheduler: a stack in one atomic word. Many threads
 * push, and the owner takes it as a whole. The same word says whether the owner
 * sleeps, and how to wake it; see park.c for the handshake.
 *
 * A node is the first word of what it stands for. The low bit of a link tells a
 * waiter (0) from a tasklet (1).
 */
#ifndef WEFT__INBOX_H
#define WEFT__INBOX_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/debug.h"

/* The values of the word that are not a link to the newest node. */
enum {
	INBOX_EMPTY = 0,
	INBOX_PARKED_FUTEX,   /* sleeps on the low half of this very word */
	INBOX_PARKED_MESSAGE, /* sleeps in its ring: send the ring a message */
	INBOX_PARKED_SQE,     /* the same, by the waker's own ring */
	INBOX_PARKED_EVENTFD, /* sleeps in its ring: write to its eventfd */
	INBOX_WATCHED,        /* another loop drives it: write to its eventfd */
	INBOX_CLOSED,         /* the thread takes nothing in any more */
	INBOX_LINKS           /* from here up: a link */
};

/* The low bits of a link. */
enum { INBOX_TASKLET = 1 };

struct inbox_node {
	uintptr_t next; /* a link or INBOX_EMPTY */
};

struct inbox {
	_Atomic(uintptr_t) word;
	/* The number of threads that may soon ring the doorbell. */
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

/* Whether the thread that replaced this word has to ring. */
static inline bool weft__inbox_wants_ring(uintptr_t word)
{
	return word >= INBOX_PARKED_FUTEX && word <= INBOX_WATCHED;
}

/* Returns the list of links in reverse order. */
uintptr_t weft__inbox_reversed(uintptr_t link);

/* For what an exchange by the owner found in the word: returns the list of links in
 * order of arrival. The values above count as an empty list. */
static inline uintptr_t weft__inbox_list(uintptr_t word)
{
	return word < INBOX_LINKS ? INBOX_EMPTY : weft__inbox_reversed(word);
}

#endif /* WEFT__INBOX_H */
