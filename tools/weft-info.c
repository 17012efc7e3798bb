/* SPDX-License-Identifier: MIT */
/*
 * weft-info: what this machine offers, what weft makes of it, and why anything
 * is missing.
 */
#include <argp.h>
#include <stdlib.h>
#include <weft.h>

#include "info/info.h"

static bool wants_json;

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "weft-info %s\n", weft_version());
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'j':
		wants_json = true;
		return 0;
	case ARGP_KEY_ARG:
		argp_error(state, "'%s': no argument is accepted", arg);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "json", 'j', NULL, 0, "print JSON", 0 }, { 0 }
	};
	static const struct argp parser = {
		.options = options,
		.parser = parse_option,
		.doc = "Show what this machine offers, what weft uses of it, "
		       "and why anything is missing.\v"
		       "The exit status is 1 when weft can do no I/O here.",
	};
	bool has_uring;

	argp_program_version_hook = print_version;
	argp_parse(&parser, argc, argv, 0, NULL, NULL);
	has_uring = find_uring();
	find_uses(has_uring);
	find_environment();
	find_machine();
	if (wants_json)
		print_json();
	else
		print_text();
	return has_uring ? EXIT_SUCCESS : EXIT_FAILURE;
}
