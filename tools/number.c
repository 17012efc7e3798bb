/* SPDX-License-Identifier: MIT */
#include "number.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "0123456789";

bool number_parse(const char *text, uint64_t *n)
{
	errno = 0;
	*n = strtoull(text, NULL, 10);
	return *text && !errno && text[strspn(text, digits)] == '\0';
}

bool decimal_parse(const char *text, double *value, const char **rest)
{
	size_t whole = strspn(text, digits);
	size_t n = whole;

	if (text[n] == '.')
		n += 1 + strspn(text + n + 1, digits);
	if (!whole || text[n - 1] == '.')
		return false;
	*rest = text + n;
	/* strtod() would read an exponent that follows, such as the "e" of 1e9,
	 * or hexadecimal digits: these are none of the digits counted here. */
	if (**rest == 'e' || **rest == 'E' || **rest == 'x' || **rest == 'X')
		return false;
	*value = strtod(text, NULL);
	return true;
}

bool time_parse(const char *text, int64_t *ns)
{
	static const struct {
		const char *name;
		double ns;
	} units[] = { { "ns", 1 }, { "us", 1e3 }, { "ms", 1e6 }, { "s", 1e9 } };
	const char *unit;
	double value;

	if (!decimal_parse(text, &value, &unit))
		return false;
	for (size_t i = 0; i < sizeof units / sizeof units[0]; i++) {
		if (strcmp(unit, units[i].name) != 0)
			continue;
		value *= units[i].ns;
		*ns = value < 9e18 ? (int64_t)value : INT64_MAX;
		return true;
	}
	return false;
}
