/* SPDX-License-Identifier: MIT */
#include "option.h"

#include <errno.h>
#include <weft.h>

#include "number.h"
#include "output.h"

static void print_version(FILE *stream, struct argp_state *state)
{
	fprintf(stream, "%s %s\n", state->name, weft_version());
}

void option_parse(const struct argp *parser, int argc, char **argv, void *input)
{
	output_is_checked();
	argp_program_version_hook = print_version;
	argp_parse(parser, argc, argv, 0, NULL, input);
}

uint64_t option_number(struct argp_state *state, const char *name,
		       const char *text, uint64_t least, uint64_t most)
{
	uint64_t n;

	if (!number_parse(text, &n) || n < least || n > most)
		argp_error(
			state,
			"bad --%s '%s': a number from %ju to %ju is accepted",
			name, text, (uintmax_t)least, (uintmax_t)most);
	return n;
}

int64_t option_time(struct argp_state *state, const char *name,
		    const char *text, int64_t least, int64_t most,
		    const char *zero)
{
	char limits[64] = "";
	int64_t ns;

	if (most < INT64_MAX)
		snprintf(limits, sizeof limits, " from %g%s to %gs",
			 (double)least / 1e6, least ? "ms" : "s",
			 (double)most / 1e9);
	if (!time_parse(text, &ns) || ns < least || ns > most)
		argp_error(
			state,
			"bad --%s '%s': a time%s with its unit is accepted, as 500ms or 30s%s",
			name, text, limits, zero);
	return ns < INT64_MAX / 4 ? ns : INT64_MAX / 4;
}
