/* SPDX-License-Identifier: MIT */
/*
 * What Valgrind is told, if its header was there at build time.
 */
#ifndef WEFT__VALGRIND_H
#define WEFT__VALGRIND_H

#include <stdbool.h>

#include "base/debug.h"
#include "config.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/memcheck.h>
/* Set before there is a stack, and never again: the question takes ten instructions
 * and six words of stack. */
extern bool weft__on_valgrind HIDDEN;
void weft__ask_for_valgrind(void);
#else
#define weft__on_valgrind                  false
#define weft__ask_for_valgrind()           ((void)0)
#define VALGRIND_STACK_REGISTER(low, high) ((void)(low), (void)(high), 0)
#define VALGRIND_STACK_DEREGISTER(id)      ((void)(id))
#define VALGRIND_MAKE_MEM_DEFINED(at, n)   ((void)(at), (void)(n))
#endif

#endif /* WEFT__VALGRIND_H */
