/* SPDX-License-Identifier: MIT */
/*
 * weft-info: what this machine offers, what weft makes of it, and why anything
 * is missing.
 */
#include <stdlib.h>
#include <weft.h>

#include "info/info.h"
#include "option.h"

static bool wants_json;

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
		       "The exit status is 1 when weft can do no I/O here, "
		       "and when the output cannot be written.",
	};
	bool can_do_io;

	option_parse(&parser, argc, argv, NULL);
	can_do_io = find_uses();
	find_uring();
	find_environment();
	find_machine();
	if (wants_json)
		print_json();
	else
		print_text();
	return can_do_io ? EXIT_SUCCESS : EXIT_FAILURE;
}
