/* SPDX-License-Identifier: MIT */
/*
 * The table, Markdown, JSON and CSV.
 */
#include "bench.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static json_t *document; /* with --json: what was gathered */

/* --- what all need of a result --- */

double report_rate_of(const struct result *r, const struct spread *ns)
{
	return r->variant->flags & VARIANT_LATENESS ? 0 : 1e9 / ns->median;
}

double report_detail_of(const struct result *r, size_t i)
{
	return spread_of(r->details[i], r->n).median;
}

/* --- table --- */

/* A time in four digits or so. */
const char *report_figure(double value, char text[16])
{
	snprintf(text, 16,
		 value < 10    ? "%.2f"
		 : value < 100 ? "%.1f"
			       : "%.0f",
		 value);
	return text;
}

const char *report_rate(double value, char text[16])
{
	if (value <= 0)
		return "-";
	if (value >= 1e6)
		snprintf(text, 16, "%.1f M", value / 1e6);
	else if (value >= 1e3)
		snprintf(text, 16, "%.1f k", value / 1e3);
	else
		snprintf(text, 16, "%.1f", value);
	return text;
}

static void table_begin(const struct options *o)
{
	struct fact facts[N_FACTS];

	machine_facts(o, facts);
	for (size_t i = 0; i < N_FACTS; i++)
		printf("%-12s %s\n", facts[i].name, facts[i].value);
	printf("\n%-9s %-25s %9s %9s %9s %9s %9s  %s\n", "workload", "variant",
	       "ns/op", "min", "max", "CPU ns/op", "op/s", "op");
}

static void table_row(const struct result *r)
{
	char text[5][16];
	struct spread ns, cpu;

	printf("%-9s %-25s ", r->variant->workload, r->variant->name);
	if (r->problem[0]) {
		printf("%s: %s\n", r->failed ? "FAILED" : "not available",
		       r->problem);
		return;
	}
	ns = spread_of(r->ns, r->n);
	cpu = spread_of(r->cpu_ns, r->n);
	printf("%9s %9s %9s %9s %9s  %s", report_figure(ns.median, text[0]),
	       report_figure(ns.min, text[1]), report_figure(ns.max, text[2]),
	       report_figure(cpu.median, text[3]),
	       report_rate(report_rate_of(r, &ns), text[4]),
	       r->variant->operation);
	for (size_t i = 0; i < r->n_details; i++)
		printf("%s %s %s", i ? "," : ":", r->detail_names[i],
		       report_figure(report_detail_of(r, i), text[0]));
	putchar('\n');
}

/* A ratio in two digits or three. */
const char *report_ratio(double value, char text[16])
{
	snprintf(text, 16, value < 0.095 ? "%.2g" : "%.2f", value);
	return text;
}

static void table_ratio(const struct result *ours, const struct result *theirs)
{
	struct spread wall, cpu;
	char text[4][16];

	if (!ratio_of(ours, theirs, &wall, &cpu))
		return;
	printf("%9s %s takes %s of the time of %s (%s to %s), %s of its CPU\n",
	       "", ours->variant->name, report_ratio(wall.median, text[0]),
	       theirs->variant->name, report_ratio(wall.min, text[1]),
	       report_ratio(wall.max, text[2]),
	       report_ratio(cpu.median, text[3]));
}

static void table_workload(const struct result *results, size_t n)
{
	for (size_t i = 0; i < n; i++)
		table_row(&results[i]);
	for (size_t i = 0; i < n; i++)
		table_ratio(result_against(results, n, &results[i]),
			    &results[i]);
	fflush(stdout);
}

/* --- CSV --- */

static void csv_text(const char *text)
{
	putchar('"');
	for (; *text; text++) {
		if (*text == '"')
			putchar('"');
		putchar(*text);
	}
	putchar('"');
}

static void csv_begin(const struct options *o)
{
	struct fact facts[N_FACTS];

	machine_facts(o, facts);
	for (size_t i = 0; i < N_FACTS; i++)
		printf("# %s: %s\n", facts[i].name, facts[i].value);
	puts("workload,variant,operation,repeats,operations,"
	     "ns_median,ns_min,ns_max,cpu_ns_median,cpu_ns_min,cpu_ns_max,"
	     "per_second,details,compared,ratio_median,ratio_min,ratio_max,"
	     "cpu_ratio_median,problem");
}

static void csv_row(const struct result *r, const struct result *ours)
{
	struct spread ns, cpu;

	printf("%s,%s,%s,%u,", r->variant->workload, r->variant->name,
	       r->variant->operation, r->n);
	if (r->problem[0]) {
		printf(",,,,,,,,,,,,,,");
		csv_text(r->problem);
		putchar('\n');
		return;
	}
	ns = spread_of(r->ns, r->n);
	cpu = spread_of(r->cpu_ns, r->n);
	printf("%ju,%.6g,%.6g,%.6g,%.6g,%.6g,%.6g,", (uintmax_t)r->operations,
	       ns.median, ns.min, ns.max, cpu.median, cpu.min, cpu.max);
	if (report_rate_of(r, &ns) > 0)
		printf("%.6g", report_rate_of(r, &ns));
	putchar(',');
	for (size_t i = 0; i < r->n_details; i++)
		printf("%s%s=%.6g", i ? " " : "", r->detail_names[i],
		       report_detail_of(r, i));
	if (ratio_of(ours, r, &ns, &cpu))
		printf(",%s,%.6g,%.6g,%.6g,%.6g,\n", ours->variant->name,
		       ns.median, ns.min, ns.max, cpu.median);
	else
		puts(",,,,,,");
}

/* --- JSON --- */

static json_t *json_spread(struct spread s)
{
	return json_pack("{s:f, s:f, s:f}", "median", s.median, "min", s.min,
			 "max", s.max);
}

static void json_begin(const struct options *o)
{
	struct fact facts[N_FACTS];
	json_t *machine = json_object();

	machine_facts(o, facts);
	for (size_t i = 0; i < N_FACTS; i++)
		json_object_set_new(machine, facts[i].name,
				    json_string(facts[i].value));
	document = json_pack("{s:o, s:[], s:[]}", "machine", machine, "results",
			     "ratios");
}

static void json_row(const struct result *r)
{
	json_t *row = json_pack("{s:s, s:s, s:s, s:i}", "workload",
				r->variant->workload, "variant",
				r->variant->name, "operation",
				r->variant->operation, "repeats", (int)r->n);
	json_t *details = json_object();

	json_array_append_new(json_object_get(document, "results"), row);
	if (r->variant->peer)
		json_object_set_new(row, "peer",
				    json_string(peers[r->variant->peer].name));
	if (r->problem[0]) {
		json_object_set_new(row, r->failed ? "failed" : "unavailable",
				    json_string(r->problem));
		json_decref(details);
		return;
	}
	struct spread ns = spread_of(r->ns, r->n);

	json_object_set_new(row, "operations",
			    json_integer((json_int_t)r->operations));
	json_object_set_new(row, "ns", json_spread(ns));
	json_object_set_new(row, "cpu_ns",
			    json_spread(spread_of(r->cpu_ns, r->n)));
	if (report_rate_of(r, &ns) > 0)
		json_object_set_new(row, "per_second",
				    json_real(report_rate_of(r, &ns)));
	for (size_t i = 0; i < r->n_details; i++)
		json_object_set_new(details, r->detail_names[i],
				    json_real(report_detail_of(r, i)));
	json_object_set_new(row, "details", details);
}

static void json_ratio(const struct result *ours, const struct result *theirs)
{
	struct spread wall, cpu;

	if (!ratio_of(ours, theirs, &wall, &cpu))
		return;
	json_array_append_new(
		json_object_get(document, "ratios"),
		json_pack("{s:s, s:s, s:s, s:o, s:o}", "workload",
			  ours->variant->workload, "variant",
			  ours->variant->name, "of", theirs->variant->name,
			  "time", json_spread(wall), "cpu", json_spread(cpu)));
}

/* --- by name --- */

void report_begin(const struct options *o)
{
	switch (o->format) {
	case FORMAT_TABLE:
		table_begin(o);
		break;
	case FORMAT_JSON:
		json_begin(o);
		break;
	case FORMAT_CSV:
		csv_begin(o);
		break;
	case FORMAT_MARKDOWN:
		markdown_begin(o);
		break;
	}
	fflush(stdout);
}

void report_workload(const struct options *o, const struct result *results,
		     size_t n)
{
	if (o->format == FORMAT_TABLE)
		table_workload(results, n);
	if (o->format == FORMAT_MARKDOWN)
		markdown_workload(results, n);
	for (size_t i = 0; i < n; i++) {
		const struct result *r = &results[i];
		const struct result *ours = result_against(results, n, r);

		if (o->format == FORMAT_CSV)
			csv_row(r, ours);
		if (o->format == FORMAT_JSON) {
			json_row(r);
			json_ratio(ours, r);
		}
		if (o->svg)
			chart_add(r);
	}
}

void report_end(const struct options *o)
{
	if (o->format != FORMAT_JSON)
		return;
	/* A failed write is told at the end. Else jansson had no memory. */
	if (json_dumpf(document, stdout,
		       JSON_INDENT(2) | JSON_REAL_PRECISION(6)) &&
	    !ferror(stdout))
		abort();
	putchar('\n');
	json_decref(document);
}

void report_list(void)
{
	for (size_t i = 0; i < n_variants; i++) {
		const struct variant *v = &variants[i];
		char name[64];

		snprintf(name, sizeof name, "%s/%s", v->workload, v->name);
		printf("%-32s %s", name, v->about);
		if (v->size)
			printf("; --size=%ju %s", (uintmax_t)v->size,
			       v->size_meaning);
		if (v->flags & (VARIANT_PEER | VARIANT_LARGE))
			fputs("; with --peers", stdout);
		puts(v->flags & VARIANT_SWEPT ? "; with --sweep" : "");
	}
}

void progress(const struct options *o, const char *text)
{
	static int is_terminal = -1;

	(void)o;
	if (is_terminal < 0)
		is_terminal = isatty(STDOUT_FILENO) && isatty(STDERR_FILENO);
	if (is_terminal)
		fprintf(stderr, "\r\033[K%s", text ? text : "");
}
