/* SPDX-License-Identifier: MIT */
/*
 * What the C++ runtime knows of exceptions. It belongs to a stack, but the runtime
 * keeps it for a thread: see exception.c.
 */
#ifndef WEFT__EXCEPTION_H
#define WEFT__EXCEPTION_H

#include <stdbool.h>
#include <stdint.h>

#include "base/debug.h"

/* Laid out as the Itanium C++ ABI has it (exception handling, 2.2.2). */
struct exceptions {
	void *caught;      /* the stack of exceptions being handled */
	unsigned uncaught; /* how many were thrown and not caught yet */
};

static INLINE bool weft__exceptions_are_there(const struct exceptions *e)
{
	return unlikely((uintptr_t)e->caught | e->uncaught);
}

/* The exceptions of the calling thread; NULL while there is no C++ runtime. */
struct exceptions *weft__exceptions_find(void);

/* Whether a thread that had no C++ runtime may have one now. This looks at one
 * word, unless something has been loaded since the program began. */
bool weft__exceptions_may_have_come(void);

/* For a tasklet that ends and may be handling exceptions. */
void weft__exceptions_forget(struct exceptions *e);

#endif /* WEFT__EXCEPTION_H */
