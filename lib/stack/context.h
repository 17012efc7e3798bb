/* SPDX-License-Identifier: MIT */
/*
 * A suspended flow of control: where its stack is and where it goes on.
 *
 * The switch is inlined at the one place that gives way; see the frame.h of the
 * architecture. Builds with a sanitizer switch out of line and tell the sanitizer
 * which stack is in use (context.c). stack.c tells Valgrind where stacks are.
 */
#ifndef WEFT__CONTEXT_H
#define WEFT__CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/debug.h"

#if defined(__x86_64__)
#include "stack/x86_64/frame.h"
#elif defined(__aarch64__)
#include "stack/aarch64/frame.h"
#else
#error "weft has no context switch for this architecture"
#endif

struct context {
	void *sp;
	void *pc;
	void *fp; /* the frame pointer; of a fresh context, the argument */
	void *bx; /* a saved register; of a fresh context, the function */
#ifdef WEFT__SANITIZED
	const void *bottom; /* of the stack, for AddressSanitizer */
	size_t size;
	void *fake_stack;
	void *fiber; /* ThreadSanitizer's */
#endif
};

void weft__context_jump(struct context *from, struct context *to);
_Noreturn void weft__context_leave(struct context *to);
/* Leaves the stack, and calls @entry(@arg) on another one. @entry never returns. */
_Noreturn void weft__context_begin(void *stack_top, void (*entry)(void *arg),
				   void *arg);
void weft__context_entry(void);

#ifndef ARCH_LEAVE
#define ARCH_LEAVE(to) weft__context_leave(to)
#define ARCH_BEGIN(stack_top, entry, arg) \
	weft__context_begin(stack_top, entry, arg)
#endif

/*
 * Returns @result to the caller's caller, as the last step of a function that has
 * switched. The processor predicts returns from a stack of its own. The top of that
 * stack is now the return address of the tasklet that switched to us: @predicted.
 * If this is our own return address, `ret` is predicted well. If not, `ret` would
 * be mispredicted, and each return further up as well. A jump is predicted by where
 * it went before, and leaves one return too many on that stack. Measured: 24 ns
 * against 40 for a round trip of two tasklets that are called from different
 * places. If they are called from the same places, three calls deep, `ret` gains 20
 * ns.
 *
 * Not on aarch64: where branch targets are checked, only `ret` may land behind a
 * call.
 *
 * The function has no other effect, hence `const`: this lets the compiler jump to
 * it even from functions with variables whose address is known elsewhere.
 */
#ifdef ARCH_RETURNS_BY_JUMP
int weft__come_back(int result, const void *predicted) __attribute__((const));
#endif

/* The first switch to @c calls @entry(@arg) on the stack that ends at
 * @stack_top. @entry never returns. */
static inline void weft__context_make(struct context *c, void *stack_top,
				      void (*entry)(void *arg), void *arg)
{
	c->sp = (void *)((uintptr_t)stack_top & ~(uintptr_t)15);
	c->pc = (void *)(uintptr_t)weft__context_entry;
	c->fp = arg;
	c->bx = (void *)(uintptr_t)entry;
}

#ifdef WEFT__SANITIZED

/* Names the stack of a context before the first switch to it. */
void weft__context_adopt_stack(struct context *c, const void *low, size_t size);
/* Attaches the calling thread's own stack to @c. */
void weft__context_adopt_thread(struct context *c);
/* The calling thread is back on its own stack, which is @c's, without a switch. */
void weft__context_back_on_thread(const struct context *c);
/* The entry function of @c must call this first. */
void weft__context_arrived(struct context *c);
struct context *weft__context_switch(struct context *from, struct context *to);
/* Leaves @from for good. */
_Noreturn void weft__context_end(struct context *from, struct context *to);

#else

static inline void weft__context_adopt_stack(struct context *c, const void *low,
					     size_t size)
{
	(void)c, (void)low, (void)size;
}

static inline void weft__context_adopt_thread(struct context *c)
{
	(void)c;
}

static inline void weft__context_back_on_thread(const struct context *c)
{
	(void)c;
}

static inline void weft__context_arrived(struct context *c)
{
	(void)c;
}

/* Returns @from, which the context that switches back provides: so the caller need
 * not keep it anywhere. */
static inline __attribute__((always_inline)) struct context *
weft__context_switch(struct context *from, struct context *to)
{
	ARCH_SWITCH(from, to);
	return to;
}

static inline _Noreturn void weft__context_end(struct context *from,
					       struct context *to)
{
	(void)from;
	ARCH_LEAVE(to);
}

#endif /* WEFT__SANITIZED */

#endif /* WEFT__CONTEXT_H */
