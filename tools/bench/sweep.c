/* SPDX-License-Identifier: MIT */
/*
 * What an operation takes against a number: the same variants as otherwise, run
 * with one size after another. A table, CSV, and a plot for each number.
 */
#include "../gnuplot.h"
#include "bench.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>

enum { MAX_POINTS = 16 };

static const struct series {
	const char *variant;
	const char *variant_of_0; /* NULL: it begins above */
	const char *of;           /* what the number counts */
	bool is_threads;          /* it is that of --threads, not of --size */
	uint64_t numbers[MAX_POINTS];
	size_t n_numbers;
} all_series[] = {
	{ .variant = "yield/many",
	  .of = "tasklets",
	  .numbers = { 1, 10, 100, 1000, 10000, 100000, 1000000 },
	  .n_numbers = 7 },
	{ .variant = "spawn/many",
	  .of = "tasklets",
	  .numbers = { 1, 10, 100, 1000, 10000, 100000, 1000000 },
	  .n_numbers = 7 },
	{ .variant = "stream/channels",
	  .of = "channels",
	  .numbers = { 1, 10, 100, 1000, 10000, 100000 },
	  .n_numbers = 6 },
	{ .variant = "stream/elements",
	  .variant_of_0 = "stream/empty",
	  .of = "bytes",
	  .numbers = { 0, 8, 64, 512, 4096, 16384, 65536 },
	  .n_numbers = 7 },
	{ .variant = "timers/arm",
	  .of = "timers",
	  .numbers = { 1, 10, 100, 1000, 10000, 100000, 1000000 },
	  .n_numbers = 7 },
	{ .variant = "pingpong/one-thread",
	  .of = "threads",
	  .is_threads = true,
	  .numbers = { 1, 2, 3, 4, 5, 6, 7, 8 },
	  .n_numbers = 8 },
	{ .variant = "spawn/elsewhere",
	  .of = "tasklets",
	  .numbers = { 1000, 10000, 100000, 1000000 },
	  .n_numbers = 4 },
	{ .variant = "thread/life",
	  .of = "tasklets",
	  .numbers = { 10, 1000, 10000, 100000, 1000000 },
	  .n_numbers = 5 },
	{ .variant = "close/idle",
	  .of = "connections",
	  .numbers = { 10, 100, 1000, 2000, 4000, 8000 },
	  .n_numbers = 6 },
	{ .variant = "kill/readers",
	  .of = "tasklets",
	  .numbers = { 10, 100, 1000, 5000, 20000, 80000 },
	  .n_numbers = 6 },
	{ .variant = "fork/waiters",
	  .of = "tasklets",
	  .numbers = { 500, 1000, 2000, 4000, 8000, 16000 },
	  .n_numbers = 6 },
	{ .variant = "run/random",
	  .of = "tasklets",
	  .numbers = { 10, 100, 1000, 10000, 100000 },
	  .n_numbers = 5 },
};

enum { N_SERIES = sizeof all_series / sizeof all_series[0] };

struct point {
	uint64_t number;
	struct spread ns;
};

static struct point points[N_SERIES][MAX_POINTS];
static size_t n_points[N_SERIES];

/* --- one number --- */

static void print_csv(const struct series *s, uint64_t number,
		      const struct result *r)
{
	struct spread ns, cpu;

	printf("%s,%s,%" PRIu64 ",%s,%u,", s->variant, s->of, number,
	       r->variant->operation, r->n);
	if (r->problem[0]) {
		printf(",,,,,,\"%s\"\n", r->problem);
		return;
	}
	ns = spread_of(r->ns, r->n);
	cpu = spread_of(r->cpu_ns, r->n);
	printf("%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,\n", ns.median, ns.min, ns.max,
	       cpu.median, cpu.min, cpu.max);
}

static void print_row(const struct series *s, uint64_t number,
		      const struct result *r)
{
	struct spread ns, cpu;
	char text[4][16];

	printf("%-20s %8" PRIu64 " %-9s", s->variant, number, s->of);
	if (r->problem[0]) {
		printf(" %s: %s\n", r->failed ? "FAILED" : "not available",
		       r->problem);
		return;
	}
	ns = spread_of(r->ns, r->n);
	cpu = spread_of(r->cpu_ns, r->n);
	printf(" %9s %9s %9s %9s  %s\n", report_figure(ns.median, text[0]),
	       report_figure(ns.min, text[1]), report_figure(ns.max, text[2]),
	       report_figure(cpu.median, text[3]), r->variant->operation);
}

/* False when it failed. */
static bool measure(const struct options *o, size_t series, uint64_t number)
{
	const struct series *s = &all_series[series];
	struct options one = *o;
	struct result r = { .variant = variant_named(
				    number ? s->variant : s->variant_of_0) };

	if (s->is_threads)
		one.threads = (unsigned)number;
	else
		one.size = number;
	measure_workload(&one, &r, 1);
	(o->format == FORMAT_CSV ? print_csv : print_row)(s, number, &r);
	fflush(stdout);
	if (!r.problem[0])
		points[series][n_points[series]++] =
			(struct point){ number, spread_of(r.ns, r.n) };
	result_free(&r);
	return !r.failed;
}

/* --- the plot --- */

/* A logarithm has no place for 0: it stands at half of the least. */
static double place(const struct point *p, size_t i)
{
	return p[i].number ? (double)p[i].number : (double)p[i + 1].number / 2;
}

static void plot_series(FILE *f, size_t series)
{
	const struct series *s = &all_series[series];
	size_t n = n_points[series];

	fprintf(f, "$s%zu << END\n", series);
	for (size_t i = 0; i + (n == 1) < n; i++) {
		const struct point *p = &points[series][i];

		fprintf(f, "%.6g %.6g %.6g %.6g\n", place(points[series], i),
			p->ns.median, p->ns.min, p->ns.max);
	}
	fprintf(f,
		"END\nset xlabel '%s%s'\nset title '%s'\n%s\n"
		"plot $s%zu using 1:2:3:4 with yerrorlines pt 7 ps 0.5 "
		"lc rgb '#1f5fa8' notitle\n",
		s->of, s->variant_of_0 ? " (the first: 0)" : "", s->variant,
		s->is_threads ? "unset logscale x" : "set logscale x", series);
}

static bool plot(void)
{
	FILE *f = gnuplot_start();
	unsigned n = 0, rows, columns;

	for (size_t i = 0; i < N_SERIES; i++)
		n += n_points[i] > 1;
	columns = n > 1 ? 2 : 1;
	rows = n > 1 ? (n + 1) / 2 : 1;
	if (f) {
		fprintf(f,
			"set terminal svg size %u,%u noenhanced font 'sans,11'\n"
			"set multiplot layout %u,%u\nset logscale y\n"
			"set grid\nset ylabel 'ns per operation'\n"
			"set format x '%%.0s%%c'\n",
			450 * columns, 333 * rows, rows, columns);
		for (size_t i = 0; i < N_SERIES; i++)
			if (n_points[i] > 1)
				plot_series(f, i);
		fputs("unset multiplot\n", f);
	}
	return gnuplot_finish(f);
}

/* --- all --- */

static bool is_wanted(const struct options *o, const struct series *s)
{
	size_t length = strcspn(s->variant, "/");

	for (size_t i = 0; i < o->n_names; i++)
		if (strcmp(o->names[i], "all") == 0 ||
		    strcmp(o->names[i], s->variant) == 0 ||
		    (strlen(o->names[i]) == length &&
		     strncmp(o->names[i], s->variant, length) == 0))
			return true;
	return o->n_names == 0;
}

static void begin(const struct options *o)
{
	bool is_csv = o->format == FORMAT_CSV;
	struct fact facts[N_FACTS];

	if (o->svg)
		gnuplot_begin("--svg", o->svg);
	machine_facts(o, facts);
	for (size_t i = 0; i < N_FACTS; i++)
		printf(is_csv ? "# %s: %s\n" : "%-12s %s\n", facts[i].name,
		       facts[i].value);
	if (is_csv)
		puts("variant,of,number,operation,repeats,ns_median,ns_min,"
		     "ns_max,cpu_ns_median,cpu_ns_min,cpu_ns_max,problem");
	else
		printf("\n%-20s %8s %-9s %9s %9s %9s %9s  %s\n", "variant",
		       "number", "of", "ns/op", "min", "max", "CPU ns/op",
		       "op");
}

/* Whether each name stands for a series; else says which do not. */
static bool are_series(const struct options *o)
{
	for (size_t i = 0; i < o->n_names; i++) {
		struct options one = *o;
		bool is_one = false;

		one.names = &o->names[i];
		one.n_names = 1;
		for (size_t k = 0; k < N_SERIES && !is_one; k++)
			is_one = is_wanted(&one, &all_series[k]);
		if (is_one)
			continue;
		fprintf(stderr,
			"weft-bench: --sweep has nothing for %s; there are",
			o->names[i]);
		for (size_t k = 0; k < N_SERIES; k++)
			fprintf(stderr, " %s", all_series[k].variant);
		fputc('\n', stderr);
		return false;
	}
	return true;
}

int sweep(const struct options *o)
{
	bool all_well = true;

	if (!are_series(o))
		return EX_USAGE;
	begin(o);
	for (size_t i = 0; i < N_SERIES; i++) {
		const struct series *s = &all_series[i];

		for (size_t k = 0; is_wanted(o, s) && k < s->n_numbers; k++)
			all_well = measure(o, i, s->numbers[k]) && all_well;
	}
	if (o->svg)
		all_well = plot() && all_well;
	return all_well ? EXIT_SUCCESS : EXIT_FAILURE;
}
