/* SPDX-License-Identifier: MIT */
/*
 * What Valgrind is told, where its header was there at build time.
 */
#ifndef WEFT__VALGRIND_H
#define WEFT__VALGRIND_H

#include "config.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
#include <valgrind/memcheck.h>
#else
#define RUNNING_ON_VALGRIND                0
#define VALGRIND_STACK_REGISTER(low, high) ((void)(low), (void)(high), 0)
#define VALGRIND_STACK_DEREGISTER(id)      ((void)(id))
#endif

#endif /* WEFT__VALGRIND_H */
