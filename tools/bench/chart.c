/* SPDX-License-Identifier: MIT */
/*
 * Bars of what an operation takes, one to a variant, drawn by gnuplot. It reads
 * its commands and the data from a pipe and writes to the file that is its
 * standard output, so that no name needs quoting.
 */
#include "bench.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

struct bar {
	const struct variant *variant;
	struct spread ns;
};

static struct bar bars[MAX_VARIANTS];
static size_t n_bars;
static int output = -1;

static const char *const colours[N_PEERS] = {
	[PEER_NONE] = "#1f5fa8",        [PEER_BOOST_CONTEXT] = "#c9a227",
	[PEER_BOOST_FIBER] = "#d9730d", [PEER_GO] = "#3a9d5d",
	[PEER_PTHREAD] = "#8e5ea2",     [PEER_BARE] = "#8a8a8a",
};

/* --- the program --- */

static bool is_on_path(const char *program)
{
	const char *path = getenv("PATH");
	bool found = false;

	for (path = path ? path : "/usr/bin:/bin"; *path && !found;) {
		size_t length = strcspn(path, ":");
		char file[1024];

		snprintf(file, sizeof file, "%.*s/%s", (int)length, path,
			 program);
		found = access(file, X_OK) == 0;
		path += length + (path[length] == ':');
	}
	return found;
}

void chart_begin(const struct options *o)
{
	if (!is_on_path("gnuplot")) {
		fputs("weft-bench: --svg needs gnuplot, which was not found "
		      "(Debian: apt-get install gnuplot-nox)\n",
		      stderr);
		exit(EXIT_FAILURE);
	}
	output = open(o->svg, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (output < 0) {
		fprintf(stderr, "weft-bench: --svg=%s: %s\n", o->svg,
			strerror(errno));
		exit(EXIT_FAILURE);
	}
}

FILE *chart_start(pid_t *pid)
{
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	fflush(NULL);
	if (pipe2(ends, O_CLOEXEC) < 0 || (*pid = fork()) < 0)
		return NULL;
	if (*pid == 0) {
		dup2(ends[0], STDIN_FILENO);
		dup2(output, STDOUT_FILENO);
		execlp("gnuplot", "gnuplot", "-", NULL);
		_exit(127);
	}
	close(ends[0]);
	return fdopen(ends[1], "w");
}

bool chart_finish(FILE *f, pid_t pid)
{
	int status;

	fclose(f);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status == 0 && close(output) == 0;
}

/* --- the chart --- */

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
			separator, i, least / 2, least / 2, colours[i],
			i == PEER_NONE ? "weft" : peers[i].name, i);
		separator = ", ";
	}
	fputc('\n', f);
}

bool chart_end(const struct options *o)
{
	bool is_drawn = false;
	pid_t pid = 0;
	FILE *f;

	if (n_bars == 0) {
		fprintf(stderr, "weft-bench: --svg=%s: nothing to draw\n",
			o->svg);
		return false;
	}
	f = chart_start(&pid);
	if (f) {
		draw(f);
		is_drawn = chart_finish(f, pid);
	}
	if (!is_drawn)
		fprintf(stderr, "weft-bench: --svg=%s: gnuplot failed\n",
			o->svg);
	return is_drawn;
}
