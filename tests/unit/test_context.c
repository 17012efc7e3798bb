/* SPDX-License-Identifier: MIT */
/*
 * The switch: what it keeps, by either of its forms, and how a fresh stack
 * begins. Sanitizer builds must be told of every stack.
 */
#include <check.h>
#include <fenv.h>
#include <stdlib.h>
#include <string.h>

#include "stack/context.h"
#include "support.h"

enum { STACK_BYTES = 128 * 1024, ROUNDS = 1000 };

struct side {
	struct context context;
	struct side *other;
	void (*go)(struct context *from, struct context *to);
	char *stack;
	int n_rounds;
	int n_wrong;
	uintptr_t misaligned;
	void *seen;
};

static void go_inlined(struct context *from, struct context *to)
{
	weft__context_switch(from, to);
}

#ifdef WEFT__SANITIZED
#define go_out_of_line go_inlined
#else
static void go_out_of_line(struct context *from, struct context *to)
{
	weft__context_jump(from, to);
}
#endif

static void (*const forms[])(struct context *, struct context *) = {
	go_inlined,
	go_out_of_line,
};

/* Keeps many values alive across switches, integers and floating point, and
 * counts those that came back changed. */
static __attribute__((noinline)) int churn(struct side *s, long seed)
{
	volatile long source = seed;
	long a = source, b = a * 3, c = b + 5, d = c ^ a, e = d * 7, f = e - b,
	     g = f + 11, h = g ^ c, i = h * 13, j = i + a, k = j ^ d;
	double x = (double)a, y = x * 1.5, z = y + 0.25, u = z * x, v = u - y,
	       w = v + z;

	s->go(&s->context, &s->other->context);
	return (b != a * 3) + (c != b + 5) + (d != (c ^ a)) + (e != d * 7) +
	       (f != e - b) + (g != f + 11) + (h != (g ^ c)) + (i != h * 13) +
	       (j != i + a) + (k != (j ^ d)) + (y != x * 1.5) +
	       (z != y + 0.25) + (u != z * x) + (v != u - y) + (w != v + z);
}

static void run_side(struct side *s, long seed)
{
	for (int i = 0; i < ROUNDS; i++) {
		s->n_wrong += churn(s, seed + i);
		s->n_rounds++;
	}
}

static void enter_side(void *arg)
{
	struct side *s = arg;
	char __attribute__((aligned(16))) here[16];

	weft__context_arrived(&s->context);
	s->seen = arg;
	s->misaligned = (uintptr_t)here % 16;
	run_side(s, 1000);
	for (;;)
		s->go(&s->context, &s->other->context);
}

static void make_side(struct side *s, struct side *other, size_t offset)
{
	s->other = other;
	s->stack = aligned_alloc(4096, STACK_BYTES);
	ck_assert_ptr_nonnull(s->stack);
	weft__context_make(&s->context, s->stack + STACK_BYTES - offset,
			   enter_side, s);
	weft__context_adopt_stack(&s->context, s->stack, STACK_BYTES - offset);
}

/* Two stacks, each with its values in registers; sides may use either form. */
START_TEST(switch_keeps_what_it_must)
{
	struct side here = { .go = forms[_i % 2] };
	struct side there = { .go = forms[_i / 2] };

	weft__context_adopt_thread(&here.context);
	here.other = &there;
	make_side(&there, &here, (size_t)_i * 64);
	run_side(&here, 7);
	ck_assert_int_eq(here.n_wrong, 0);
	ck_assert_int_eq(there.n_wrong, 0);
	ck_assert_int_eq(here.n_rounds, ROUNDS);
	ck_assert_int_eq(there.n_rounds, ROUNDS - 1);
	free(there.stack);
}
END_TEST

/* A fresh stack gets its argument, and is aligned as the ABI wants, from
 * whatever top. */
START_TEST(fresh_stack_is_aligned)
{
	struct side here = { .go = go_inlined };
	struct side there = { .go = go_inlined };

	weft__context_adopt_thread(&here.context);
	here.other = &there;
	make_side(&there, &here, (size_t)_i);
	here.go(&here.context, &there.context);
	ck_assert_ptr_eq(there.seen, &there);
	ck_assert_uint_eq(there.misaligned, 0);
	free(there.stack);
}
END_TEST

/* The rounding mode is the thread's: a switch leaves it as it is. */
START_TEST(switch_leaves_the_rounding_mode)
{
	struct side here = { .go = forms[_i] };
	struct side there = { .go = forms[_i] };

	weft__context_adopt_thread(&here.context);
	here.other = &there;
	make_side(&there, &here, 0);
	ck_assert_int_eq(fesetround(FE_UPWARD), 0);
	here.go(&here.context, &there.context);
	ck_assert_int_eq(fegetround(), FE_UPWARD);
	fesetround(FE_TONEAREST);
	free(there.stack);
}
END_TEST

/* So many values that the compiler has to keep some in whatever register the
 * inlined switch does not name. */
static __attribute__((noinline)) int churn_inlined(struct side *s, long seed)
{
	long v[16];
	int n_wrong = 0;

#pragma GCC unroll 16
	for (int i = 0; i < 16; i++) {
		v[i] = seed + i;
		__asm__("" : "+r"(v[i]));
	}
	weft__context_switch(&s->context, &s->other->context);
#pragma GCC unroll 16
	for (int i = 0; i < 16; i++)
		n_wrong += v[i] != seed + i;
	return n_wrong;
}

static void enter_inlined(void *arg)
{
	struct side *s = arg;

	weft__context_arrived(&s->context);
	for (long i = 0;; i++)
		s->n_wrong += churn_inlined(s, 1000 * i);
}

START_TEST(inlined_switch_names_every_register)
{
	struct side here = { .n_wrong = 0 }, there = { .other = &here };

	weft__context_adopt_thread(&here.context);
	here.other = &there;
	make_side(&there, &here, 0);
	weft__context_make(&there.context, there.stack + STACK_BYTES,
			   enter_inlined, &there);
	for (int i = 0; i < ROUNDS; i++)
		here.n_wrong += churn_inlined(&here, 77 + i);
	ck_assert_int_eq(here.n_wrong, 0);
	ck_assert_int_eq(there.n_wrong, 0);
	free(there.stack);
}
END_TEST

#ifdef __x86_64__
/* They live in registers of their own, which the calling convention has empty at
 * every call, so that only what is inlined can have values there. */
static __attribute__((noinline)) int churn_long_doubles(struct side *s,
							long seed)
{
	long double v[6];
	int n_wrong = 0;

#pragma GCC unroll 6
	for (int i = 0; i < 6; i++) {
		v[i] = (long double)seed + i;
		__asm__("" : "+t"(v[i]));
	}
	weft__context_switch(&s->context, &s->other->context);
#pragma GCC unroll 6
	for (int i = 0; i < 6; i++)
		n_wrong += v[i] != (long double)seed + i;
	return n_wrong;
}

static void enter_long_doubles(void *arg)
{
	struct side *s = arg;

	weft__context_arrived(&s->context);
	for (long i = 0;; i++)
		s->n_wrong += churn_long_doubles(s, 1000 * i);
}

START_TEST(inlined_switch_names_the_x87_registers)
{
	struct side here = { .n_wrong = 0 }, there = { .other = &here };

	weft__context_adopt_thread(&here.context);
	here.other = &there;
	make_side(&there, &here, 0);
	weft__context_make(&there.context, there.stack + STACK_BYTES,
			   enter_long_doubles, &there);
	for (int i = 0; i < ROUNDS; i++)
		here.n_wrong += churn_long_doubles(&here, 77 + i);
	ck_assert_int_eq(here.n_wrong, 0);
	ck_assert_int_eq(there.n_wrong, 0);
	free(there.stack);
}
END_TEST
#endif

#ifndef WEFT__SANITIZED
/* What leaves for good lands where the target was left, in either form. */
static struct context leaver, lander;
static int n_landed;

static void leave_for_good(void *arg)
{
	(void)arg;
	n_landed++;
	weft__context_leave(&lander);
}

START_TEST(leaving_lands_in_either_form)
{
	char *stack = aligned_alloc(4096, STACK_BYTES);

	ck_assert_ptr_nonnull(stack);
	weft__context_make(&leaver, stack + STACK_BYTES, leave_for_good, NULL);
	forms[_i](&lander, &leaver);
	ck_assert_int_eq(n_landed, 1);
	free(stack);
}
END_TEST

/* The inlined switch says who it is that goes on. */
START_TEST(switch_returns_its_own_context)
{
	char *stack = aligned_alloc(4096, STACK_BYTES);

	ck_assert_ptr_nonnull(stack);
	weft__context_make(&leaver, stack + STACK_BYTES, leave_for_good, NULL);
	ck_assert_ptr_eq(weft__context_switch(&lander, &leaver), &lander);
	free(stack);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("context");

	add_loop(s, "registers", switch_keeps_what_it_must, 4);
	add_case(s, "registers", inlined_switch_names_every_register);
#ifdef __x86_64__
	add_case(s, "registers", inlined_switch_names_the_x87_registers);
#endif
	add_loop(s, "first entry", fresh_stack_is_aligned, 64);
	add_loop(s, "control words", switch_leaves_the_rounding_mode, 2);
#ifndef WEFT__SANITIZED
	add_loop(s, "leaving", leaving_lands_in_either_form, 2);
	add_case(s, "itself", switch_returns_its_own_context);
#endif
	return run_suite(s);
}
