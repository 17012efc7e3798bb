/* SPDX-License-Identifier: MIT */
/*
 * The repeats of a workload's variants, and what is made of them.
 */
#include "bench.h"

#include <stdlib.h>
#include <string.h>

enum { FIRST_GUESS = 64, MAX_GROWTH = 100 };

/* Keeps why there is no result. If a signal has stopped the run, what was measured
 * before it is the result. */
static void spoil(struct result *r, enum outcome outcome, const char *problem)
{
	if (outcome == OUTCOME_STOPPED) {
		if (r->n)
			return;
		problem = "interrupted";
	}
	r->failed = outcome == OUTCOME_FAILED;
	snprintf(r->problem, sizeof r->problem, "%s", problem);
}

/* How many operations of @r's variant take the duration asked for. */
static uint64_t calibrate(const struct options *o, struct result *r)
{
	uint64_t operations = FIRST_GUESS;

	if (r->variant->flags & VARIANT_FIXED)
		return 1; /* the size says it */
	for (;;) {
		char problem[PROBLEM_SIZE];
		struct sample s;
		enum outcome outcome =
			run_variant(o, r->variant, operations, &s, problem);
		double factor;

		if (outcome != OUTCOME_DONE) {
			spoil(r, outcome, problem);
			return 0;
		}
		factor = (double)o->duration_ns / (double)s.wall_ns;
		if (factor <= 5) {
			factor *= (double)operations;
			return factor < 1 ? 1 : (uint64_t)factor;
		}
		/* Half of what seems to be needed: short runs mislead. */
		operations *= (uint64_t)(factor / 2 < MAX_GROWTH ? factor / 2
								 : MAX_GROWTH);
	}
}

static void keep(struct result *r, const struct sample *s)
{
	double operations = (double)s->operations;

	r->ns[r->n] = (double)s->wall_ns / operations;
	r->cpu_ns[r->n] = (double)s->cpu_ns / operations;
	r->n_details = s->n_details;
	for (size_t i = 0; i < s->n_details; i++) {
		memcpy(r->detail_names[i], s->details[i].name,
		       DETAIL_NAME_SIZE);
		r->details[i][r->n] = s->details[i].value;
	}
	r->operations = s->operations;
	r->n++;
}

static double *figures(const struct options *o)
{
	double *values = calloc(o->repeats, sizeof *values);

	if (!values) {
		fputs("weft-bench: out of memory\n", stderr);
		exit(EXIT_FAILURE);
	}
	return values;
}

static void announce(const struct options *o, const struct variant *v,
		     unsigned repeat)
{
	char text[128];

	snprintf(text, sizeof text, "%s/%s: repeat %u of %u", v->workload,
		 v->name, repeat + 1, o->repeats);
	progress(o, text);
}

void measure_workload(const struct options *o, struct result *results, size_t n)
{
	uint64_t operations[n];

	for (size_t i = 0; i < n; i++) {
		struct result *r = &results[i];

		r->ns = figures(o);
		r->cpu_ns = figures(o);
		for (size_t k = 0; k < MAX_DETAILS; k++)
			r->details[k] = figures(o);
		announce(o, r->variant, 0);
		operations[i] = calibrate(o, r);
	}
	for (unsigned repeat = 0; repeat < o->repeats; repeat++)
		for (size_t i = 0; i < n; i++) {
			struct result *r = &results[i];
			char problem[PROBLEM_SIZE];
			enum outcome outcome;
			struct sample s;

			if (r->problem[0])
				continue;
			announce(o, r->variant, repeat);
			outcome = run_variant(o, r->variant, operations[i], &s,
					      problem);
			if (outcome == OUTCOME_DONE)
				keep(r, &s);
			else
				spoil(r, outcome, problem);
		}
	progress(o, NULL);
}

void result_free(struct result *r)
{
	free(r->ns);
	free(r->cpu_ns);
	for (size_t k = 0; k < MAX_DETAILS; k++)
		free(r->details[k]);
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

struct spread spread_of(const double *values, unsigned n)
{
	double sorted[MAX_REPEATS];

	memcpy(sorted, values, n * sizeof *values);
	qsort(sorted, n, sizeof *sorted, by_value);
	return (struct spread){
		.median = (sorted[(n - 1) / 2] + sorted[n / 2]) / 2,
		.min = sorted[0],
		.max = sorted[n - 1]
	};
}

const struct result *result_against(const struct result *results, size_t n,
				    const struct result *theirs)
{
	for (size_t i = 0; theirs->variant->against && i < n; i++)
		if (strcmp(results[i].variant->name,
			   theirs->variant->against) == 0)
			return &results[i];
	return NULL;
}

bool ratio_of(const struct result *ours, const struct result *theirs,
	      struct spread *wall, struct spread *cpu)
{
	double walls[MAX_REPEATS], cpus[MAX_REPEATS];
	unsigned n;

	if (!ours || ours->problem[0] || theirs->problem[0])
		return false;
	/* After an interruption, one of them can have a repeat more. */
	n = ours->n < theirs->n ? ours->n : theirs->n;
	for (unsigned i = 0; i < n; i++) {
		walls[i] = ours->ns[i] / theirs->ns[i];
		cpus[i] = ours->cpu_ns[i] / theirs->cpu_ns[i];
	}
	*wall = spread_of(walls, n);
	*cpu = spread_of(cpus, n);
	wall->median = spread_of(ours->ns, ours->n).median /
		       spread_of(theirs->ns, theirs->n).median;
	cpu->median = spread_of(ours->cpu_ns, ours->n).median /
		      spread_of(theirs->cpu_ns, theirs->n).median;
	return true;
}
