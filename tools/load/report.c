/* SPDX-License-Identifier: MIT */
/*
 * What is printed at the end, and drawn.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "../gnuplot.h"
#include "../json.h"
#include "load.h"

static const struct {
	const char *name;
	double share;
} quantiles[] = { { "p50", 0.5 },     { "p90", 0.9 },       { "p99", 0.99 },
		  { "p99.9", 0.999 }, { "p99.99", 0.9999 }, { "max", 1 } };

enum { N_QUANTILES = sizeof quantiles / sizeof quantiles[0] };

const char *report_time(double ns, char text[16])
{
	static const struct {
		double ns;
		const char *unit;
	} units[] = { { 1e9, "s" }, { 1e6, "ms" }, { 1e3, "us" }, { 1, "ns" } };
	size_t i = 0;

	/* what three digits would round up to 1e+03 is 1 of the next unit */
	while (units[i].ns > 1 && ns < 0.9995 * units[i].ns)
		i++;
	snprintf(text, 16, "%.3g %s", ns / units[i].ns, units[i].unit);
	return text;
}

static double quantile(const struct outcome *o, size_t i)
{
	return (double)histogram_quantile(o->latencies, quantiles[i].share);
}

/* --- text --- */

static void print_errors(const struct outcome *o)
{
	const char *separator = " (";

	printf("errors       %" PRIu64, o->n_errors);
	for (int i = 0; i < N_ERRORS; i++) {
		if (!o->errors[i])
			continue;
		printf("%s%s %" PRIu64, separator, error_names[i],
		       o->errors[i]);
		separator = ", ";
	}
	puts(o->n_errors ? ")" : "");
}

static void print_text(const struct outcome *o)
{
	char text[16];

	printf("connections  %u, %u in flight on each, ", settings.connections,
	       settings.pipeline);
	if (settings.path)
		printf("GET %s, ", settings.path);
	if (settings.send)
		printf("%s, ", settings.send);
	printf("%zu bytes, %u thread%s", settings.size, settings.threads,
	       settings.threads > 1 ? "s" : "");
	if (settings.rate > 0)
		printf(", %.6g requests per second asked for\n", settings.rate);
	else
		puts(", as fast as answers come");
	printf("measured     %.3f s%s\n", o->seconds,
	       o->is_cut_off ? ", cut off by a signal" : "");
	printf("requests     %" PRIu64 ", %.6g per second, %.4g MB/s %s\n",
	       o->n_measured, o->rate,
	       o->n_measured ? o->rate * (double)o->n_bytes /
				       (double)o->n_measured / 1e6
			     : 0,
	       settings.path || settings.send ? "of content" : "each way");
	if (o->n_unanswered)
		printf("unanswered   %" PRIu64 " at the end\n",
		       o->n_unanswered);
	print_errors(o);
	printf("CPU          %.3f s\n", (double)o->cpu_ns / 1e9);
	if (!o->latencies->n)
		return;
	printf("latency      mean %s\n",
	       report_time(histogram_mean(o->latencies), text));
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf("  %-10s %s\n", quantiles[i].name,
		       report_time(quantile(o, i), text));
}

/* --- CSV and JSON: times in ns --- */

static void print_quoted(const char *text)
{
	putchar('"');
	for (; *text; text++)
		printf(*text == '"' ? "\"%c" : "%c", *text);
	putchar('"');
}

static void print_csv(const struct outcome *o)
{
	printf("address,path,connections,pipeline,size,threads,rate_asked,seconds,"
	       "requests,rate,bytes,unanswered,errors");
	for (int i = 0; i < N_ERRORS; i++)
		printf(",errors_%s", error_names[i]);
	printf(",cpu_ns,mean_ns");
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf(",%s_ns", quantiles[i].name);
	putchar('\n');
	print_quoted(settings.address.text);
	putchar(',');
	print_quoted(settings.path ? settings.path : "");
	printf(",%u,%u,%zu,%u,%.17g,%.6f,%" PRIu64 ",%.6f,%" PRIu64 ",%" PRIu64
	       ",%" PRIu64,
	       settings.connections, settings.pipeline, settings.size,
	       settings.threads, settings.rate, o->seconds, o->n_measured,
	       o->rate, o->n_bytes, o->n_unanswered, o->n_errors);
	for (int i = 0; i < N_ERRORS; i++)
		printf(",%" PRIu64, o->errors[i]);
	printf(",%" PRId64 ",%.1f", o->cpu_ns, histogram_mean(o->latencies));
	for (size_t i = 0; i < N_QUANTILES; i++)
		printf(",%.0f", quantile(o, i));
	putchar('\n');
}

static json_t *integer(uint64_t n)
{
	return json_integer((json_int_t)n);
}

static json_t *json_errors(const struct outcome *o)
{
	json_t *errors = json_object();

	for (int i = 0; i < N_ERRORS; i++)
		json_object_set_new(errors, error_names[i],
				    integer(o->errors[i]));
	return errors;
}

static json_t *json_latency(const struct outcome *o)
{
	json_t *latency = json_object();

	if (!o->latencies->n)
		return latency;
	json_object_set_new(latency, "mean",
			    json_real(histogram_mean(o->latencies)));
	json_object_set_new(latency, "deviation",
			    json_real(histogram_deviation(o->latencies)));
	json_object_set_new(latency, "min",
			    integer((uint64_t)o->latencies->min));
	for (size_t i = 0; i < N_QUANTILES; i++)
		json_object_set_new(latency, quantiles[i].name,
				    json_real(quantile(o, i)));
	return latency;
}

static json_t *json_seconds(const struct outcome *o)
{
	json_t *seconds = json_array();

	for (size_t i = 0; i < o->n_seconds; i++)
		json_array_append_new(seconds, integer(o->per_second[i]));
	return seconds;
}

static bool print_json(const struct outcome *o)
{
	json_t *root = json_pack(
		"{s:o, s:s?, s:o, s:i, s:i, s:I, s:i, s:f, s:f, s:b, s:I, s:f, s:I, "
		"s:I, s:I, s:I}",
		"address", json_text(settings.address.text), "path",
		settings.path, "send",
		settings.send ? json_text(settings.send) : json_null(),
		"connections", (int)settings.connections, "pipeline",
		(int)settings.pipeline, "size", (json_int_t)settings.size,
		"threads", (int)settings.threads, "rate_asked", settings.rate,
		"seconds", o->seconds, "cut_off", o->is_cut_off, "requests",
		(json_int_t)o->n_measured, "rate", o->rate, "bytes",
		(json_int_t)o->n_bytes, "unanswered",
		(json_int_t)o->n_unanswered, "errors_total",
		(json_int_t)o->n_errors, "cpu_ns", (json_int_t)o->cpu_ns);
	bool is_whole =
		root && !json_object_set_new(root, "errors", json_errors(o)) &&
		!json_object_set_new(root, "latency_ns", json_latency(o)) &&
		!json_object_set_new(root, "answers_each_second",
				     json_seconds(o)) &&
		!json_dumpf(root, stdout, JSON_INDENT(2) | JSON_PRESERVE_ORDER);

	putchar('\n');
	json_decref(root);
	/* A failed write is told at the end. */
	if (!is_whole && !ferror(stdout))
		fprintf(stderr, "weft-load: no memory for JSON\n");
	return is_whole;
}

/* --- files --- */

static FILE *hdr;

void report_begin(void)
{
	if (settings.plot)
		gnuplot_begin("--plot", settings.plot);
	if (!settings.hdr)
		return;
	hdr = fopen(settings.hdr, "we");
	if (hdr)
		return;
	fprintf(stderr, "weft-load: --hdr=%s: %s\n", settings.hdr,
		strerror(errno));
	exit(EXIT_FAILURE);
}

static bool close_file(FILE *f, const char *option, const char *name)
{
	bool failed = ferror(f);

	if (fclose(f) || failed) {
		fprintf(stderr, "weft-load: %s=%s: %s\n", option, name,
			strerror(errno ? errno : EIO));
		return false;
	}
	return true;
}

static bool write_hdr(const struct outcome *o)
{
	histogram_print(o->latencies, hdr);
	return close_file(hdr, "--hdr", settings.hdr);
}

static void print_curve_point(double share, int64_t ns, uint64_t count, void *f)
{
	(void)count;
	if (share < 1)
		fprintf(f, "%.9g %.6g\n", 1 / (1 - share), (double)ns / 1e6);
}

static void draw(const struct outcome *o, FILE *f)
{
	fputs("$latency << END\n", f);
	histogram_walk(o->latencies, print_curve_point, f);
	fputs("END\n$rate << END\n", f);
	for (size_t i = 0; i < o->n_seconds; i++)
		fprintf(f, "%zu %" PRIu64 "\n", i + 1, o->per_second[i]);
	fputs("END\n"
	      "set terminal svg size 900,800 noenhanced font 'sans,11'\n"
	      "set multiplot layout 2,1\n"
	      "set grid\nset nokey\n"
	      "set title 'latency'\nset ylabel 'ms'\nset logscale x\n"
	      /* gnuplot takes labels for formats, and an empty range amiss */
	      "set yrange [0:1e-6<*]\nset xrange [1:10<*]\n"
	      "set xtics ('0' 1, '50 %%' 2, '90 %%' 10, '99 %%' 100, "
	      "'99.9 %%' 1e3, '99.99 %%' 1e4, '99.999 %%' 1e5, "
	      "'99.9999 %%' 1e6)\n",
	      f);
	fputs(o->latencies->n > 1 ? "plot $latency using 1:2 with lines lw 2\n"
				  : "plot [][0:1] 0\n",
	      f);
	fputs("unset logscale x\nset xtics autofreq\nset xrange [0:2<*]\n"
	      "set yrange [0:1<*]\n"
	      "set title 'answers in each second'\nset ylabel ''\n"
	      "set xlabel 'seconds'\n",
	      f);
	fputs(o->n_seconds ? "plot $rate using 1:2 with linespoints\n"
			   : "plot [][0:1] 0\n",
	      f);
	fputs("unset multiplot\n", f);
}

static bool write_plot(const struct outcome *o)
{
	FILE *f = gnuplot_start();

	if (f)
		draw(o, f);
	return gnuplot_finish(f);
}

/* --- all --- */

static bool check_assertions(const struct outcome *o)
{
	bool all_hold = true;

	for (size_t i = 0; i < settings.n_assertions; i++) {
		const struct assertion *a = &settings.assertions[i];
		double found;
		char text[16];

		if (assertion_holds(a, o, &found))
			continue;
		all_hold = false;
		if (assertion_is_time(a))
			report_time(found, text);
		else
			snprintf(text, sizeof text, "%.6g", found);
		fprintf(stderr, "weft-load: --assert '%s' does not hold: %s\n",
			a->text, text);
	}
	return all_hold;
}

bool report(const struct outcome *o)
{
	bool is_good = true;

	switch (settings.format) {
	case FORMAT_JSON:
		is_good = print_json(o);
		break;
	case FORMAT_CSV:
		print_csv(o);
		break;
	default:
		print_text(o);
	}
	fflush(stdout);
	if (settings.hdr)
		is_good &= write_hdr(o);
	if (settings.plot)
		is_good &= write_plot(o);
	return check_assertions(o) && is_good;
}
