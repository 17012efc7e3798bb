/* SPDX-License-Identifier: MIT */
#include "base/environment.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/debug.h"

/* An empty value counts as unset: a shell unsets a variable for one command like
 * that. */
static const char *value_of(const char *variable)
{
	const char *value = secure_getenv(variable);

	return value && *value ? value : NULL;
}

size_t weft__environment_choice(const char *variable, const char *const *names,
				size_t n_names, size_t otherwise)
{
	const char *value = value_of(variable);
	char accepted[128] = "";

	if (!value)
		return otherwise;
	for (size_t i = 0; i < n_names; i++) {
		if (strcmp(value, names[i]) == 0)
			return i;
		if (i)
			strncat(accepted, "|",
				sizeof accepted - strlen(accepted) - 1);
		strncat(accepted, names[i],
			sizeof accepted - strlen(accepted) - 1);
	}
	weft__warn("%s=%s cannot be used: it takes %s; using %s", variable,
		   value, accepted, names[otherwise]);
	return otherwise;
}

int64_t weft__environment_number(const char *variable, int64_t least,
				 int64_t most, int64_t otherwise,
				 const char *unit)
{
	const char *value = value_of(variable);
	char used[24] = "the default";
	long long number;
	bool has_digits;

	if (!value)
		return otherwise;
	errno = 0;
	number = strtoll(value, NULL, 10); /* which takes blanks, too */
	has_digits = value[strspn(value, "0123456789")] == '\0';
	if (has_digits && errno == 0 && number >= least && number <= most)
		return number;
	if (otherwise >= least)
		snprintf(used, sizeof used, "%" PRId64, otherwise);
	weft__warn("%s=%s cannot be used: it takes a whole number of %s from "
		   "%" PRId64 " to %" PRId64 "; using %s",
		   variable, value, unit, least, most, used);
	return otherwise;
}
