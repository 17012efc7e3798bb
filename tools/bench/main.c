/* SPDX-License-Identifier: MIT */
/*
 * weft-bench: the command line, and which variants it selects.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#include "../gnuplot.h"
#include "../option.h"
#include "bench.h"

/* Options without a letter. */
enum {
	OPTION_JSON = 256,
	OPTION_CSV,
	OPTION_MARKDOWN,
	OPTION_SVG,
	OPTION_SWEEP,
	OPTION_LIST,
	OPTION_PEERS,
	OPTION_RUN,
	OPTION_OPS
};

static const struct argp_option argp_options[] = {
	{ "size", 'n', "N", 0,
	  "how many tasklets, leaves or primes, for the workloads that --list shows a size for",
	  0 },
	{ "threads", 't', "N", 0,
	  "run N copies at once, each on a thread of its own, of the workloads that use one thread and have a duration (1)",
	  0 },
	{ "duration", 'd', "TIME", 0,
	  "how long a repeat takes, as 200ms or 1.5s (150ms)", 0 },
	{ "repeats", 'r', "N", 0, "how many to take the median of (5)", 0 },
	{ "pin", 'p', "WHERE", 0,
	  "the CPUs of workloads with two threads: apart (default), together, none, or two numbers as 0,1",
	  0 },
	{ "peers", OPTION_PEERS, "LIST", OPTION_ARG_OPTIONAL,
	  "run the same done by others in turns with weft, and print the ratios: all, or some of boost.context,boost.fiber,boost.asio,go,pthread,stackless,greenlet,asyncio,threading,nginx,bare",
	  0 },
	{ "sweep", OPTION_SWEEP, NULL, 0,
	  "print what an operation takes against the number of tasklets, channels, threads or bytes",
	  0 },
	{ "json", OPTION_JSON, NULL, 0, "print JSON", 1 },
	{ "csv", OPTION_CSV, NULL, 0, "print comma-separated values", 1 },
	{ "markdown", OPTION_MARKDOWN, NULL, 0, "print a table in Markdown",
	  1 },
	{ "svg", OPTION_SVG, "FILE", 0,
	  "draw the times as bars into that file too, by gnuplot", 1 },
	{ "list", OPTION_LIST, NULL, 0, "list all workloads and variants", 2 },
	{ "run", OPTION_RUN, "VARIANT", OPTION_HIDDEN, NULL, 0 },
	{ "ops", OPTION_OPS, "N", OPTION_HIDDEN, NULL, 0 },
	{ 0 },
};

static void set_format(struct argp_state *state, enum format format)
{
	struct options *o = state->input;

	if (o->format != FORMAT_TABLE && o->format != format)
		argp_error(state,
			   "--json, --csv and --markdown exclude each other");
	o->format = format;
}

static bool is_named(const struct variant *v, const char *name)
{
	size_t length = strlen(v->workload);

	if (strcmp(name, "all") == 0 || strcmp(name, v->workload) == 0)
		return true;
	return strncmp(name, v->workload, length) == 0 && name[length] == '/' &&
	       strcmp(name + length + 1, v->name) == 0;
}

static void check_name(struct argp_state *state, const char *name)
{
	const char *last = "";
	char known[256] = "all";

	for (size_t i = 0; i < n_variants; i++) {
		if (is_named(&variants[i], name))
			return;
		if (strcmp(variants[i].workload, last) == 0)
			continue;
		last = variants[i].workload;
		strncat(known, " ", sizeof known - strlen(known) - 1);
		strncat(known, last, sizeof known - strlen(known) - 1);
	}
	argp_error(
		state,
		"%s is no workload; there are %s, and single variants as --list shows them",
		name, known);
}

static void choose_peers(struct argp_state *state, const char *list)
{
	struct options *o = state->input;
	char known[128] = "", wrong[32];

	if (peers_choose(o->peers, list, wrong))
		return;
	for (int i = PEER_NONE + 1; i < N_PEERS; i++) {
		strcat(known, " ");
		strcat(known, peers[i].name);
	}
	argp_error(state, "--peers=%s: '%s' is no peer; there are%s", list,
		   wrong, known);
}

static void check_together(struct argp_state *state)
{
	struct options *o = state->input;
	const char *wrong = pin_resolve(o);

	if (wrong)
		argp_error(state, "--pin=%s: %s", o->pin, wrong);
	if (o->sweep && (o->size || o->threads > 1 || peers_any(o)))
		argp_error(
			state,
			"--sweep chooses numbers itself, for weft: it does not go with --size, --threads and --peers");
	if (o->sweep && o->format != FORMAT_TABLE && o->format != FORMAT_CSV)
		argp_error(state, "--sweep prints a table, or with --csv CSV");
	if (peers_any(o) && o->threads > 1)
		argp_error(
			state,
			"--peers compares one thread with one: it does not go with --threads above 1");
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	struct options *o = state->input;

	switch (key) {
	case 'n':
		o->size = option_number(state, "size", arg, 1, 100000000);
		return 0;
	case 't':
		o->threads = (unsigned)option_number(state, "threads", arg, 1,
						     MAX_THREADS);
		return 0;
	case 'd':
		o->duration_ns =
			option_time(state, "duration", arg, WEFT_MILLISECOND,
				    60 * WEFT_SECOND, "");
		return 0;
	case 'r':
		o->repeats = (unsigned)option_number(state, "repeats", arg, 1,
						     MAX_REPEATS);
		return 0;
	case 'p':
		o->pin = arg;
		return 0;
	case OPTION_PEERS:
		choose_peers(state, arg);
		return 0;
	case OPTION_JSON:
		set_format(state, FORMAT_JSON);
		return 0;
	case OPTION_CSV:
		set_format(state, FORMAT_CSV);
		return 0;
	case OPTION_MARKDOWN:
		set_format(state, FORMAT_MARKDOWN);
		return 0;
	case OPTION_SVG:
		o->svg = arg;
		return 0;
	case OPTION_SWEEP:
		o->sweep = true;
		return 0;
	case OPTION_LIST:
		report_list();
		exit(EXIT_SUCCESS);
	case OPTION_RUN:
		o->run = arg;
		return 0;
	case OPTION_OPS:
		o->operations = option_number(state, "ops", arg, 1, UINT64_MAX);
		return 0;
	case ARGP_KEY_ARG:
		check_name(state, arg);
		o->names[o->n_names++] = arg;
		return 0;
	case ARGP_KEY_END:
		check_together(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static bool comes_along(const struct options *o, const struct variant *v)
{
	if (v->flags & VARIANT_SWEPT)
		return false;
	if (v->flags & VARIANT_PEER)
		return v->peer ? o->peers[v->peer] : peers_any(o);
	return !(v->flags & VARIANT_LARGE) || peers_any(o);
}

static bool is_selected(const struct options *o, const struct variant *v)
{
	/* what a variant is compared with comes along with it */
	struct variant compared = { .workload = v->workload,
				    .name = v->against ? v->against : v->name };

	for (size_t i = 0; i < o->n_names; i++) {
		const char *name = o->names[i];

		if (strchr(name, '/') && is_named(v, name))
			return true;
		if (comes_along(o, v) &&
		    (is_named(v, name) || is_named(&compared, name)))
			return true;
	}
	return o->n_names == 0 && comes_along(o, v);
}

/* Runs the selected variants of the workload that starts at *@i. False when one
 * failed. */
static bool run_workload(const struct options *o, size_t *i)
{
	const char *workload = variants[*i].workload;
	struct result results[n_variants];
	bool all_well = true;
	size_t n = 0;

	for (; *i < n_variants && strcmp(variants[*i].workload, workload) == 0;
	     ++*i)
		if (is_selected(o, &variants[*i]))
			results[n++] =
				(struct result){ .variant = &variants[*i] };
	if (n == 0)
		return true;
	measure_workload(o, results, n);
	report_workload(o, results, n);
	for (size_t k = 0; k < n; k++) {
		all_well = all_well && !results[k].failed;
		result_free(&results[k]);
	}
	return all_well;
}

static int run_selected(const struct options *o)
{
	bool all_well = true;

	if (o->svg)
		gnuplot_begin("--svg", o->svg);
	run_stops_at_signals();
	report_begin(o);
	for (size_t i = 0; i < n_variants && !run_is_stopped();)
		all_well = run_workload(o, &i) && all_well;
	report_end(o);
	if (o->svg)
		all_well = chart_end(o) && all_well;
	return all_well && !run_is_stopped() ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	static const struct argp argp = {
		.options = argp_options,
		.parser = parse,
		.args_doc = "[WORKLOAD | WORKLOAD/VARIANT | all]...",
		.doc = "Measure what weft costs on this machine."
		       "\vEach repeat runs in a process of its own, and the "
		       "variants of a workload take turns. Times are per "
		       "operation, the median of the repeats; CPU time is that "
		       "of all threads together. The exit status is 1 when a "
		       "variant failed, the output cannot be written, or SIGINT or "
		       "SIGTERM came; what was measured before is printed then.",
	};
	struct options o = { .threads = 1,
			     .duration_ns = 150 * WEFT_MILLISECOND,
			     .repeats = 5,
			     .pin = "apart",
			     .argc = argc,
			     .argv = argv };
	int status;

	variants_make();
	o.names = calloc((size_t)argc, sizeof *o.names);
	if (!o.names) {
		fputs("weft-bench: out of memory\n", stderr);
		return EXIT_FAILURE;
	}
	option_parse(&argp, argc, argv, &o);
	if (o.run)
		status = child_main(&o);
	else
		status = o.sweep ? sweep(&o) : run_selected(&o);
	free(o.names);
	return status;
}
