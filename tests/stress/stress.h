/* SPDX-License-Identifier: MIT */
/*
 * What the stress tests share: a seed that is printed, a budget of time that
 * says how many rounds are run but never decides a verdict, random numbers.
 *
 *	WEFT_STRESS_SEED     the seed; by default from the clock
 *	WEFT_STRESS_SECONDS  the budget of a whole program; by default 2. (libcheck
 *	                     counts a test's time in 31 bits of microseconds: a test
 *	                     of more than 35 minutes runs to its end, and then fails
 *	                     for that.)
 *
 * With threads a seed brings back the same decisions, though not the same
 * interleaving. A hang is a failure: libcheck's timeout ends it by name.
 *
 * Everything runs inside the tests, in the processes that libcheck forks for
 * them.
 */
#ifndef WEFT_TESTS_STRESS_H
#define WEFT_TESTS_STRESS_H

#include <check.h>
#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "limits.h"

/* A budget that ran out leaves this long for the last round to end. */
enum { STRESS_GRACE_SECONDS = 60 };

static uint64_t stress_seed;
static int64_t stress_share_ns; /* of the budget, for one run of one test */

/* --- random numbers --- */

struct random_state {
	uint64_t state;
};

/* The stream of a seed and a number; different numbers, different streams. */
static inline struct random_state random_stream(uint64_t seed, uint64_t number)
{
	return (struct random_state){ seed ^
				      (number + 1) * 0xd1342543de82ef95u };
}

/* A counter in steps of the golden ratio, well mixed (splitmix64). */
static inline uint64_t random_next(struct random_state *r)
{
	uint64_t z = r->state += 0x9e3779b97f4a7c15u;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
	return z ^ (z >> 31);
}

/* 0 up to @n - 1. */
static inline unsigned random_below(struct random_state *r, unsigned n)
{
	return (unsigned)((random_next(r) >> 32) * n >> 32);
}

static inline unsigned random_between(struct random_state *r, unsigned low,
				      unsigned high)
{
	return low + random_below(r, high - low + 1);
}

static inline bool random_one_in(struct random_state *r, unsigned n)
{
	return random_below(r, n) == 0;
}

/* --- what went wrong --- */

/* Ends the test from any thread or tasklet, at once: what has gone wrong may
 * well keep the test body from ever running again, and a failed assertion must
 * not jump from one stack to another. */
static inline _Noreturn void __attribute__((format(printf, 1, 2)))
stress_fail(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	fprintf(stderr, "seed %" PRIu64 ": ", stress_seed);
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	_exit(EXIT_FAILURE);
}

/* --- time --- */

static inline int64_t stress_end_of_budget(void)
{
	return weft_now() + stress_share_ns;
}

/* Keeps the OS thread busy. */
static inline void stress_burn(int64_t ns)
{
	int64_t end = weft_now() + ns;

	while (weft_now() < end)
		;
}

/* --- the program --- */

struct stress_case {
	const char *name;
	const TTest *const *test;
	int loops; /* run with _i from 0 up to this */
};

static inline uint64_t stress_number(const char *name, uint64_t otherwise)
{
	const char *text = getenv(name);
	char *end;
	uint64_t number;

	if (!text || !*text)
		return otherwise;
	number = strtoull(text, &end, 0);
	if (*end || *text == '-') {
		fprintf(stderr, "%s=%s: takes a whole number from 0 up\n", name,
			text);
		exit(2);
	}
	return number;
}

static inline int stress_main(const char *program,
			      const struct stress_case *cases, size_t n_cases)
{
	uint64_t seconds = stress_number("WEFT_STRESS_SECONDS", 2);
	Suite *suite = suite_create(program);
	SRunner *runner;
	struct timespec now;
	int n_runs = 0;
	int n_failed;

	clock_gettime(CLOCK_REALTIME, &now);
	stress_seed = stress_number("WEFT_STRESS_SEED",
				    (uint64_t)now.tv_sec * 1000 +
					    (uint64_t)now.tv_nsec / 1000000);
	/* as a comment of TAP, where that goes to standard output too */
	printf("# %s: WEFT_STRESS_SEED=%" PRIu64 " WEFT_STRESS_SECONDS=%" PRIu64
	       "\n",
	       program, stress_seed, seconds);
	fflush(stdout);

	for (size_t i = 0; i < n_cases; i++)
		n_runs += cases[i].loops;
	stress_share_ns = (int64_t)seconds * WEFT_SECOND / n_runs;
	for (size_t i = 0; i < n_cases; i++) {
		TCase *tcase = tcase_create(cases[i].name);

		tcase_set_timeout(tcase,
				  (double)(seconds) + STRESS_GRACE_SECONDS);
		tcase_add_loop_test(tcase, *cases[i].test, 0, cases[i].loops);
		suite_add_tcase(suite, tcase);
	}
	take_limits();
	runner = srunner_create(suite);
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define STRESS_MAIN(program, cases)                                   \
	int main(void)                                                \
	{                                                             \
		return stress_main(program, cases,                    \
				   sizeof(cases) / sizeof(cases)[0]); \
	}

#endif /* WEFT_TESTS_STRESS_H */
