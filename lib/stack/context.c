/* SPDX-License-Identifier: MIT */
/*
 * What the sanitizers must be told at a switch.
 *
 * AddressSanitizer learns the bounds of the stack that is switched to, and puts its
 * fake stack aside. ThreadSanitizer gives each context a fiber with a shadow stack
 * of its own. Both calls stand directly before the jump, and nothing instrumented
 * may come between. Plain builds inline the switch and leave this file empty.
 */
#include "stack/context.h"

#ifdef WEFT__SANITIZED

#ifdef WEFT__ASAN
#include <sanitizer/asan_interface.h>
#include <sanitizer/common_interface_defs.h>
#endif
#ifdef WEFT__TSAN
#include <sanitizer/tsan_interface.h>
#endif

/* For functions that run between two stacks. clang's no_sanitize keeps
 * ThreadSanitizer's notes of entry and return, and these would go to different
 * fibers. */
#if defined(__clang__) && __has_attribute(disable_sanitizer_instrumentation)
#define UNWATCHED __attribute__((disable_sanitizer_instrumentation))
#else
#define UNWATCHED __attribute__((no_sanitize("address", "thread")))
#endif

/* `came_from` is the context that this thread leaves in the switch under way;
 * `left_behind` is a copy of one that ends. The fiber of one that has ended can be
 * destroyed only from the next one. */
static __thread struct context *came_from;
static __thread struct context left_behind;
#ifdef WEFT__TSAN
static __thread void *dead_fiber;
#endif

UNWATCHED static void announce(struct context *from, struct context *to,
			       bool for_good)
{
	came_from = from;
#ifdef WEFT__ASAN
	__sanitizer_start_switch_fiber(for_good ? NULL : &from->fake_stack,
				       to->bottom, to->size);
#endif
#ifdef WEFT__TSAN
	if (for_good)
		dead_fiber = from->fiber;
	__tsan_switch_to_fiber(to->fiber, 0);
#endif
	(void)for_good, (void)to;
}

UNWATCHED void weft__context_arrived(struct context *c)
{
#ifdef WEFT__ASAN
	__sanitizer_finish_switch_fiber(c->fake_stack, &came_from->bottom,
					&came_from->size);
#endif
#ifdef WEFT__TSAN
	if (dead_fiber) {
		__tsan_destroy_fiber(dead_fiber);
		dead_fiber = NULL;
	}
#endif
	(void)c;
}

void weft__context_adopt_stack(struct context *c, const void *low, size_t size)
{
	c->bottom = low;
	c->size = size;
	c->fake_stack = NULL;
	c->fiber = NULL;
#ifdef WEFT__ASAN
	__asan_unpoison_memory_region(low, size);
#endif
#ifdef WEFT__TSAN
	c->fiber = __tsan_create_fiber(0);
#endif
}

void weft__context_adopt_thread(struct context *c)
{
	c->bottom = NULL;
	c->size = 0;
	c->fake_stack = NULL;
	c->fiber = NULL;
#ifdef WEFT__TSAN
	c->fiber = __tsan_get_current_fiber();
#endif
}

/* @c was left in the middle of some call, whose frames are still marked. What is
 * above the caller's frame is in use. */
UNWATCHED void weft__context_back_on_thread(const struct context *c)
{
#ifdef WEFT__ASAN
	char *here = __builtin_frame_address(0);

	__asan_unpoison_memory_region(c->bottom,
				      (size_t)(here - (char *)c->bottom));
#endif
	(void)c;
}

UNWATCHED struct context *weft__context_switch(struct context *from,
					       struct context *to)
{
	announce(from, to, false);
	weft__context_jump(from, to);
	weft__context_arrived(from);
	return from;
}

UNWATCHED _Noreturn void weft__context_end(struct context *from,
					   struct context *to)
{
	/* @from may be handed out again before the next context has arrived. */
	left_behind = *from;
	announce(&left_behind, to, true);
	weft__context_leave(to);
}

#endif /* WEFT__SANITIZED */
