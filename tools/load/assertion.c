/* SPDX-License-Identifier: MIT */
/*
 * --assert: NAME, a comparison and a value, such as p99.9<5ms or errors=0.
 */
#include <string.h>

#include "../number.h"
#include "load.h"

static const struct {
	const char *name;
	enum assertion_name what;
} names[] = {
	{ "max", ASSERT_MAX },           { "mean", ASSERT_MEAN },
	{ "errors", ASSERT_ERRORS },     { "rate", ASSERT_RATE },
	{ "requests", ASSERT_REQUESTS },
};

/* The longer ones first. */
static const struct {
	const char *text;
	enum comparison comparison;
} comparisons[] = {
	{ "<=", AT_MOST }, { ">=", AT_LEAST }, { "!=", UNEQUAL },
	{ "==", EQUAL },   { "<", BELOW },     { ">", ABOVE },
	{ "=", EQUAL },
};

#define N_OF(array) (sizeof(array) / sizeof(array)[0])

static const char *skip_blanks(const char *text)
{
	return text + strspn(text, " ");
}

static const char *parse_name(struct assertion *a, const char *text)
{
	const char *rest;
	double percent;

	if (*text == 'p' && decimal_parse(text + 1, &percent, &rest) &&
	    percent <= 100) {
		a->what = ASSERT_QUANTILE;
		a->share = percent / 100;
		return rest;
	}
	for (size_t i = 0; i < N_OF(names); i++) {
		size_t length = strlen(names[i].name);

		if (strncmp(text, names[i].name, length) == 0) {
			a->what = names[i].what;
			return text + length;
		}
	}
	return NULL;
}

static const char *parse_comparison(struct assertion *a, const char *text)
{
	for (size_t i = 0; i < N_OF(comparisons); i++) {
		size_t length = strlen(comparisons[i].text);

		if (strncmp(text, comparisons[i].text, length) == 0) {
			a->comparison = comparisons[i].comparison;
			return text + length;
		}
	}
	return NULL;
}

bool assertion_is_time(const struct assertion *a)
{
	return a->what == ASSERT_QUANTILE || a->what == ASSERT_MAX ||
	       a->what == ASSERT_MEAN;
}

static bool parse_value(struct assertion *a, const char *text)
{
	const char *rest;
	int64_t ns;

	if (!assertion_is_time(a))
		return decimal_parse(text, &a->value, &rest) && !*rest;
	if (!time_parse(text, &ns))
		return false;
	a->value = (double)ns;
	return true;
}

bool assertion_parse(struct assertion *a, const char *text,
		     char problem[ASSERTION_PROBLEM])
{
	const char *at = parse_name(a, skip_blanks(text));

	a->text = text;
	if (!at) {
		snprintf(problem, ASSERTION_PROBLEM,
			 "it begins with p50, p99.9 or the like, max, mean, "
			 "errors, rate or requests");
		return false;
	}
	at = parse_comparison(a, skip_blanks(at));
	if (!at) {
		snprintf(problem, ASSERTION_PROBLEM,
			 "after the name comes <, <=, >, >=, = or !=");
		return false;
	}
	if (!parse_value(a, skip_blanks(at))) {
		snprintf(problem, ASSERTION_PROBLEM,
			 assertion_is_time(a)
				 ? "the value is a time with its unit, as "
				   "500us, 5ms or 1.5s"
				 : "the value is a number");
		return false;
	}
	return true;
}

static double find(const struct assertion *a, const struct outcome *o)
{
	switch (a->what) {
	case ASSERT_QUANTILE:
		return (double)histogram_quantile(o->latencies, a->share);
	case ASSERT_MAX:
		return (double)o->latencies->max;
	case ASSERT_MEAN:
		return histogram_mean(o->latencies);
	case ASSERT_ERRORS:
		return (double)o->n_errors;
	case ASSERT_RATE:
		return o->rate;
	default:
		return (double)o->n_measured;
	}
}

/* Nothing holds of times that were not measured. */
bool assertion_holds(const struct assertion *a, const struct outcome *o,
		     double *found)
{
	double x = find(a, o), y = a->value;

	*found = x;
	if (assertion_is_time(a) && !o->latencies->n)
		return false;
	switch (a->comparison) {
	case BELOW:
		return x < y;
	case AT_MOST:
		return x <= y;
	case ABOVE:
		return x > y;
	case AT_LEAST:
		return x >= y;
	case EQUAL:
		return x == y;
	default:
		return x != y;
	}
}
