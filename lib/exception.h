/* SPDX-License-Identifier: MIT */
/*
 * What the C++ runtime knows of exceptions, which belongs to a stack and which it
 * keeps for a thread: see exception.c.
 */
#ifndef WEFT__EXCEPTION_H
#define WEFT__EXCEPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "debug.h"

/* Laid out as the Itanium C++ ABI has it (exception handling, 2.2.2). */
struct exceptions {
	void *caught;      /* the stack of those that are being handled */
	unsigned uncaught; /* how many have been thrown and not been caught */
};

static INLINE bool weft__exceptions_are_there(const struct exceptions *e)
{
	return unlikely((uintptr_t)e->caught | e->uncaught);
}

/* Those of the calling thread; NULL while there is no C++ runtime. */
struct exceptions *weft__exceptions_find(void);

/* A tasklet ends that may be handling some. */
void weft__exceptions_forget(struct exceptions *e);

#endif /* WEFT__EXCEPTION_H */
