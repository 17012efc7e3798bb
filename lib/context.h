/* SPDX-License-Identifier: MIT */
/*
 * A suspended flow of control: where its stack is and where it goes on.
 *
 * The switch is inlined at the one place that gives way; see the frame.h of the
 * architecture. Builds with a sanitizer switch out of line and tell it which
 * stack is in use (context.c); Valgrind is told by stack.c where stacks are.
 */
#ifndef WEFT__CONTEXT_H
#define WEFT__CONTEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__)
#include "arch/x86_64/frame.h"
#elif defined(__aarch64__)
#include "arch/aarch64/frame.h"
#else
#error "weft has no context switch for this architecture"
#endif

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
/* Leaves the stack and calls @entry(@arg), which never returns, on another one. */
_Noreturn void weft__context_begin(void *stack_top, void (*entry)(void *arg),
				   void *arg);
void weft__context_entry(void);

/*
 * Returns @result to the caller's caller, as the last step of a function that has
 * switched. The processor predicts a return from a stack of its own, and the top
 * of that is where the one who switched to us had been called from: @predicted.
 * Is it our own return address, all is well. If not, `ret` would be mispredicted,
 * and each return further up as well; a jump is predicted by where it went before,
 * and leaves one return too many on that stack. Measured: 24 ns against 40 for a
 * round trip of two tasklets that are called from different places; where they are
 * called from the same places, three calls deep, it is the `ret` that gains 20 ns.
 *
 * Not on aarch64: where branch targets are checked, only `ret` may land behind a call.
 *
 * It does nothing but that, hence `const`: so the compiler makes it a jump, from
 * functions with variables whose address is known elsewhere too.
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

/* Names the stack of a context that is about to be switched to first. */
void weft__context_adopt_stack(struct context *c, const void *low, size_t size);
/* Attaches the calling thread's own stack to @c. */
void weft__context_adopt_thread(struct context *c);
/* The calling thread is on its own stack again, which @c is, without a switch. */
void weft__context_back_on_thread(const struct context *c);
/* To be called by the entry function of @c, first thing. */
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

/* Returns @from, by way of whoever switches back, so that the caller need not
 * keep it anywhere. */
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
	weft__context_leave(to);
}

#endif /* WEFT__SANITIZED */

#endif /* WEFT__CONTEXT_H */
