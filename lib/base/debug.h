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

/* Builds that a sanitizer watches. */
#if defined(__SANITIZE_ADDRESS__)
#define WEFT__ASAN 1
#endif
#if defined(__SANITIZE_THREAD__)
#define WEFT__TSAN 1
#endif
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define WEFT__ASAN 1
#endif
#if __has_feature(thread_sanitizer)
#define WEFT__TSAN 1
#endif
#endif
#if defined(WEFT__ASAN) || defined(WEFT__TSAN)
#define WEFT__SANITIZED 1
#endif

#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

#define NOINLINE __attribute__((noinline))
#define INLINE   inline __attribute__((always_inline))

/* The function begins a cache line, so that its speed depends less on what is
 * linked before it. For functions that take a few nanoseconds. */
#define HOT __attribute__((aligned(64)))

/*
 * A public function is a boundary that link-time optimisation must not see through:
 * it must neither inline the function nor use its knowledge of which registers the
 * function leaves alone. The caller may have been compiled for more registers than
 * the library, and a switch names only the registers that the library was compiled
 * for. By the calling convention, the caller saves all those that a switch does not
 * name. (clang knows nothing of the inside of what it does not inline.)
 */
#undef WEFT_API
#if defined(__has_attribute) && __has_attribute(noipa)
#define WEFT_API __attribute__((visibility("default"), noipa))
#else
#define WEFT_API __attribute__((visibility("default"), noinline))
#endif

/* -fvisibility does not apply to what is only declared: without this, access goes
 * through the global offset table. */
#define HIDDEN __attribute__((visibility("hidden")))

_Noreturn void weft__fail(const char *what, const char *where);

/* Writes one line to standard error, in one write, so that lines do not mix. */
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

/* For words that their owner writes and that others may read at any time, without
 * an order: snapshots for queries, and hints. No pair. */
#define peek(word) atomic_load_explicit(&(word), memory_order_relaxed)
#define poke(word, value) \
	atomic_store_explicit(&(word), value, memory_order_relaxed)

/* Counters that the owner alone writes. */
#define count(counter) poke(counter, peek(counter) + 1)

#endif /* WEFT__DEBUG_H */
