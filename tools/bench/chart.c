/* SPDX-License-Identifier: MIT */
/*
 * Bars of what an operation takes, one to a variant, drawn by gnuplot.
 */
#include "../gnuplot.h"
#include "bench.h"

struct bar {
	const struct variant *variant;
	struct spread ns;
};

static struct bar bars[MAX_VARIANTS];
static size_t n_bars;

void chart_add(const struct result *r)
{
	if (r->problem[0])
		return;
	bars[n_bars].variant = r->variant;
	bars[n_bars++].ns = spread_of(r->ns, r->n);
}

/* One block of data to each peer, for its colour. */
static bool draw_data(FILE *f, enum peer peer)
{
	bool any = false;

	for (size_t i = 0; i < n_bars; i++) {
		const struct bar *b = &bars[i];

		if (b->variant->peer != peer)
			continue;
		if (!any)
			fprintf(f, "$peer%d << END\n", peer);
		any = true;
		fprintf(f, "%zu %.6g %.6g %.6g\n", i, b->ns.median, b->ns.min,
			b->ns.max);
	}
	if (any)
		fputs("END\n", f);
	return any;
}

static void draw(FILE *f)
{
	const char *separator = "plot ";
	bool any[N_PEERS];
	double least = 1;

	for (int i = 0; i < N_PEERS; i++)
		any[i] = draw_data(f, (enum peer)i);
	for (size_t i = 0; i < n_bars; i++)
		if (bars[i].ns.min < least)
			least = bars[i].ns.min;
	fprintf(f,
		"set terminal svg size 900,%zu noenhanced font 'sans,11'\n"
		"set logscale x\n"
		"set xlabel 'ns per operation: median, least and most'\n"
		"set grid xtics\nset key outside top center horizontal\n"
		"set xrange [%g:*]\nset yrange [%zu:-1]\n"
		"set style fill solid\nset ytics (",
		120 + 18 * n_bars, least / 2, n_bars);
	for (size_t i = 0; i < n_bars; i++)
		fprintf(f, "%s'%s/%s' %zu", i ? ", " : "",
			bars[i].variant->workload, bars[i].variant->name, i);
	fputs(")\n", f);
	for (int i = 0; i < N_PEERS; i++) {
		if (!any[i])
			continue;
		fprintf(f,
			"%s$peer%d using (%g):1:(%g):2:($1-0.4):($1+0.4) "
			"with boxxyerror lc rgb '%s' title '%s', "
			"$peer%d using 2:1:3:4 with xerrorbars pt 0 "
			"lc rgb 'black' notitle",
			separator, i, least / 2, least / 2, peers[i].colour,
			peers[i].name, i);
		separator = ", ";
	}
	fputc('\n', f);
}

bool chart_end(const struct options *o)
{
	FILE *f;

	if (n_bars == 0) {
		fprintf(stderr, "weft-bench: --svg=%s: nothing to draw\n",
			o->svg);
		return false;
	}
	f = gnuplot_start();
	if (f)
		draw(f);
	return gnuplot_finish(f);
}
