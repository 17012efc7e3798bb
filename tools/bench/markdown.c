/* SPDX-License-Identifier: MIT */
/*
 * The table for where Markdown is read. What a peer's row ends with is which variant
 * of weft is set against it, and what that takes of its time and of its CPU time.
 */
#include "bench.h"

static void put_text(const char *text)
{
	for (; *text; text++) {
		if (*text == '|')
			putchar('\\');
		putchar(*text);
	}
}

void markdown_begin(const struct options *o)
{
	struct fact facts[N_FACTS];

	machine_facts(o, facts);
	for (size_t i = 0; i < N_FACTS; i++)
		printf("- %s: `%s`\n", facts[i].name, facts[i].value);
	puts("\n| workload | variant | ns/op | min | max | CPU ns/op | op/s | op "
	     "| against it | time | CPU |\n"
	     "|---|---|--:|--:|--:|--:|--:|---|---|--:|--:|");
}

static void put_figures(const struct result *r)
{
	struct spread ns = spread_of(r->ns, r->n);
	struct spread cpu = spread_of(r->cpu_ns, r->n);
	char text[5][16];

	printf("| %s | %s | %s | %s | %s | %s",
	       report_figure(ns.median, text[0]),
	       report_figure(ns.min, text[1]), report_figure(ns.max, text[2]),
	       report_figure(cpu.median, text[3]),
	       report_rate(report_rate_of(r, &ns), text[4]),
	       r->variant->operation);
	for (size_t i = 0; i < r->n_details; i++)
		printf("%s %s %s", i ? "," : ":", r->detail_names[i],
		       report_figure(report_detail_of(r, i), text[0]));
}

static void put_ratio(const struct result *ours, const struct result *theirs)
{
	struct spread wall, cpu;
	char text[4][16];

	if (!ratio_of(ours, theirs, &wall, &cpu)) {
		puts(" | | | |");
		return;
	}
	printf(" | %s | %s (%s to %s) | %s |\n", ours->variant->name,
	       report_ratio(wall.median, text[0]),
	       report_ratio(wall.min, text[1]), report_ratio(wall.max, text[2]),
	       report_ratio(cpu.median, text[3]));
}

void markdown_workload(const struct result *results, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		const struct result *r = &results[i];

		printf("| %s | %s ", r->variant->workload, r->variant->name);
		if (r->problem[0]) {
			printf("| | | | | | %s: ",
			       r->failed ? "FAILED" : "not available");
			put_text(r->problem);
		} else {
			put_figures(r);
		}
		put_ratio(result_against(results, n, r), r);
	}
	fflush(stdout);
}
