/* SPDX-License-Identifier: MIT */
/*
 * Beliefs, and what happens when one is wrong.
 *
 * REQUIRE stops the process in every build: it guards against misuse that would
 * corrupt memory later. INVARIANT restates the library's own beliefs and exists
 * in debug builds only.
 */
#ifndef WEFT__DEBUG_H
#define WEFT__DEBUG_H

#include <stdatomic.h>
#include <weft/base.h>

#include "config.h"

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define NOINLINE __attribute__((noinline))
#define INLINE   inline __attribute__((always_inline))

/*
 * A public function is a boundary that link-time optimisation must not see
 * through, neither by inlining nor by what it knows of the registers that are left
 * alone inside: the caller may have been compiled for more registers than the
 * library, and a switch names those that the library was compiled for. By the
 * calling convention, all that it does not name are saved by the caller. (clang
 * knows nothing of the inside of what it does not inline.)
 */
#undef WEFT_API
#if defined(__has_attribute) && __has_attribute(noipa)
#define WEFT_API __attribute__((visibility("default"), noipa))
#else
#define WEFT_API __attribute__((visibility("default"), noinline))
#endif

/* -fvisibility says nothing of what is declared only: without this, access goes
 * through the global offset table. */
#define HIDDEN __attribute__((visibility("hidden")))

_Noreturn void weft__fail(const char *what, const char *where);

/* One line on standard error, in one write, so that lines do not mix. */
__attribute__((format(printf, 1, 2))) void weft__warn(const char *format, ...);

#define WEFT__STRING_(x) #x
#define WEFT__STRING(x)  WEFT__STRING_(x)
#define REQUIRE(condition, what)                                               \
	do {                                                                   \
		if (unlikely(!(condition)))                                    \
			weft__fail(what, __FILE__ ":" WEFT__STRING(__LINE__)); \
	} while (0)

#ifdef WEFT_DEBUG
#define INVARIANT(condition) REQUIRE(condition, "invariant: " #condition)
#else
#define INVARIANT(condition) ((void)sizeof(!(condition)))
#endif

/* For words that their owner writes and others may look at, at any time and
 * without an order: snapshots for queries, and hints. No pair. */
#define peek(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define poke(word, value) \
	atomic_store_explicit(&(word), value, memory_order_relaxed)

#endif /* WEFT__DEBUG_H */
