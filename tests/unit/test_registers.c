/* SPDX-License-Identifier: MIT */
/*
 * Values that a tasklet has in registers are still there when a call that switched
 * returns, whatever the program was compiled for. By the calling convention the
 * caller saves nearly all of them; a link-time optimiser that looks into the
 * library relies on what it finds there instead. So this says most when it is built
 * as the leg `lto` of tests/check-long does: statically, with -flto.
 */
#include <weft.h>

#include "support.h"

enum { ROUNDS = 100 };

typedef double two_doubles __attribute__((vector_size(16)));
#ifdef __x86_64__
typedef double eight_doubles __attribute__((vector_size(64)));
#define LONG_DOUBLE_IN "t" /* the top of the x87 stack */
#define DOUBLES_IN     "x"
#define WIDE           __attribute__((target("avx512f")))
#else
#define LONG_DOUBLE_IN "w"
#define DOUBLES_IN     "w"
#endif

/* Has the optimiser inline as deep as it can; of larger calls that takes minutes. */
#define DEEP __attribute__((flatten))

struct side {
	int number; /* 0 or 1 */
	int n_rounds;
	int n_wrong;
};

static weft_channel *channel;
static weft_semaphore turns[2];

static int give_way(struct side *s)
{
	(void)s;
	return weft_schedule();
}

static int pass(struct side *s)
{
	long element = 0;

	return s->number ? weft_channel_receive(channel, &element)
			 : weft_channel_send(channel, &element);
}

static int choose(struct side *s)
{
	long element = 0;
	struct weft_case c = { .channel = channel,
			       .op = s->number ? WEFT_RECEIVE : WEFT_SEND,
			       .element = &element };

	return weft_select(&c, 1, 0);
}

static int take_turns(struct side *s)
{
	weft_semaphore_post(&turns[!s->number]);
	return weft_semaphore_wait(&turns[s->number]);
}

static int nap(struct side *s)
{
	(void)s;
	return weft_sleep(0);
}

/*
 * A tasklet with @n values of @type in registers, which @target adds to, while it
 * makes @call. The compiler knows nothing of them, and they differ from side to
 * side and from round to round.
 */
#define SIDE(name, type, in, n, target, call, ONE_OF)                        \
	static target int name(void *arg)                                    \
	{                                                                    \
		struct side *s = arg;                                        \
                                                                             \
		for (int round = 0; round < ROUNDS; round++) {               \
			double seed = 1000.0 * round + 100 * s->number;      \
			type v[n];                                           \
                                                                             \
			_Pragma("GCC unroll 32") for (int i = 0; i < n; i++) \
			{                                                    \
				v[i] = (type){ 0 } + (seed + i);             \
				__asm__("" : "+" in(v[i]));                  \
			}                                                    \
			s->n_wrong += call(s) != 0;                          \
			_Pragma("GCC unroll 32") for (int i = 0; i < n; i++) \
				s->n_wrong += ONE_OF(v[i], 0) != seed + i || \
					      ONE_OF(v[i], 1) != seed + i;   \
			s->n_rounds++;                                       \
		}                                                            \
		return 0;                                                    \
	}

#define ITSELF(v, i) (v)
#define LANE(v, i)   ((v)[(i) * ((int)(sizeof(v) / sizeof((v)[0])) - 1)])

/* One for each call. */
#define SIDES(name, type, in, n, target, ONE_OF)                          \
	SIDE(name##_give_way, type, in, n, target DEEP, give_way, ONE_OF) \
	SIDE(name##_pass, type, in, n, target, pass, ONE_OF)              \
	SIDE(name##_choose, type, in, n, target, choose, ONE_OF)          \
	SIDE(name##_take_turns, type, in, n, target, take_turns, ONE_OF)  \
	SIDE(name##_nap, type, in, n, target, nap, ONE_OF)                \
	static const weft_fn name[] = { name##_give_way, name##_pass,     \
					name##_choose, name##_take_turns, \
					name##_nap };

SIDES(long_doubles, long double, LONG_DOUBLE_IN, 5, , ITSELF)
SIDES(doubles, two_doubles, DOUBLES_IN, 24, , LANE)
#ifdef WIDE
SIDES(wide, eight_doubles, "v", 24, WIDE, LANE)
#endif

static void run_both(weft_fn fn)
{
	struct side sides[2] = { { .number = 0 }, { .number = 1 } };

	channel = weft_channel_new(sizeof(long), 0);
	turns[0] = turns[1] = (weft_semaphore)WEFT_SEMAPHORE_INIT(0);
	for (int i = 0; i < 2; i++)
		ck_assert(!weft_tasklet_is_null(weft_spawn(fn, &sides[i])));
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(sides[i].n_rounds, ROUNDS);
		ck_assert_int_eq(sides[i].n_wrong, 0);
	}
	weft_channel_unref(channel);
}

START_TEST(long_doubles_stay)
{
	run_both(long_doubles[_i]);
}
END_TEST

START_TEST(vectors_stay)
{
	run_both(doubles[_i]);
}
END_TEST

#ifdef WIDE
/* A program may use more registers than the library was compiled for. */
START_TEST(vectors_of_avx512_stay)
{
	if (__builtin_cpu_supports("avx512f"))
		run_both(wide[_i]);
}
END_TEST
#endif

int main(void)
{
	Suite *s = suite_create("registers");

	add_loop(s, "long double", long_doubles_stay, N_ELEMENTS(long_doubles));
	add_loop(s, "16 bytes", vectors_stay, N_ELEMENTS(doubles));
#ifdef WIDE
	add_loop(s, "64 bytes", vectors_of_avx512_stay, N_ELEMENTS(wide));
#endif
	return run_suite(s);
}
