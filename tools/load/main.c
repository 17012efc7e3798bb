/* SPDX-License-Identifier: MIT */
/*
 * weft-load: the command line, and the course of a measurement.
 *
 * All connections are made first. After the warm-up the measurement begins, and ends
 * by the clock, or with SIGINT or SIGTERM: then what there is is printed. The exit
 * status is 1 if an assertion does not hold, or if nothing could be measured.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>
#include <weft.h>

#include "../number.h"
#include "../option.h"
#include "../process.h"
#include "config.h"
#include "load.h"

struct settings settings = {
	.connections = 50,
	.threads = 1,
	.pipeline = 1,
	.size = 64,
	.duration = 10 * WEFT_SECOND,
	.warm_up = WEFT_SECOND,
	.timeout = 10 * WEFT_SECOND,
};

static const double MOST_RATE = 1e9;
static const int64_t LONGEST = MAX_SECONDS / 2 * WEFT_SECOND;
static bool has_size; /* the command line names one */
static const char *send_text, *expect_text;

/* --- the command line --- */

enum {
	OPTION_JSON = 256,
	OPTION_CSV,
	OPTION_HDR,
	OPTION_HTTP,
	OPTION_PLOT,
	OPTION_TIMEOUT,
	OPTION_SEND,
	OPTION_EXPECT
};

static const struct argp_option options[] = {
	{ "connections", 'c', "N", 0, "how many connections to make (50)", 0 },
	{ "threads", 't', "N", 0,
	  "drive them with N threads, each with a scheduler of its own (1)",
	  0 },
	{ "size", 's', "BYTES", 0,
	  "the size of a request and of its answer (64); with --http that of an answer's body",
	  0 },
#ifdef HAVE_HTTP_PARSER
	{ "http", OPTION_HTTP, "PATH", 0,
	  "send GET requests for PATH by HTTP/1.1, and check the status and the length of the answers",
	  0 },
#else
	{ "http", OPTION_HTTP, "PATH", OPTION_HIDDEN, NULL, 0 },
#endif
	{ "send", OPTION_SEND, "TEXT", 0,
	  "send TEXT as each request, with \\r, \\n, \\t, \\\\ and \\xHH", 0 },
	{ "expect", OPTION_EXPECT, "TEXT", 0,
	  "with --send: the answer that each request has to get", 0 },
	{ "pipeline", 'p', "N", 0,
	  "how many requests may be in flight on a connection (1)", 0 },
	{ "rate", 'r', "N", 0,
	  "send N requests per second over all connections, and count a latency from the moment at which its request was to be sent; without this, the next request is sent when an answer comes",
	  0 },
	{ "duration", 'd', "TIME", 0,
	  "how long to measure, as 500ms or 1.5s (10s)", 0 },
	{ "requests", 'n', "N", 0,
	  "end after N requests that are measured, if that is sooner", 0 },
	{ "warm-up", 'w', "TIME", 0, "how long to send before that (1s)", 0 },
	{ "timeout", OPTION_TIMEOUT, "TIME", 0,
	  "give a connection up if an answer takes that long (10s)", 0 },
	{ "assert", 'a', "CONDITION", 0,
	  "exit with status 1 unless the result meets this, as 'p99<5ms', 'errors=0' or 'rate>=10000'; can be repeated",
	  1 },
	{ "json", OPTION_JSON, NULL, 0, "print JSON", 2 },
	{ "csv", OPTION_CSV, NULL, 0, "print comma-separated values", 2 },
	{ "hdr", OPTION_HDR, "FILE", 0,
	  "write the latencies as HdrHistogram's plotter reads them", 2 },
	{ "plot", OPTION_PLOT, "FILE", 0,
	  "draw the latencies, and the rate over time, as SVG by gnuplot", 2 },
	{ 0 },
};

static double take_rate(struct argp_state *state, const char *text)
{
	const char *rest;
	double rate;

	if (!decimal_parse(text, &rate, &rest) || *rest || rate < 0.001 ||
	    rate > MOST_RATE)
		argp_error(state,
			   "--rate=%s: it takes a number from 0.001 to %.0f",
			   text, MOST_RATE);
	return rate;
}

static void set_format(struct argp_state *state, enum format format)
{
	if (settings.format != FORMAT_TEXT && settings.format != format)
		argp_error(state, "--json and --csv exclude each other");
	settings.format = format;
}

static void add_assertion(struct argp_state *state, const char *text)
{
	char problem[ASSERTION_PROBLEM];

	if (settings.n_assertions == MAX_ASSERTIONS)
		argp_error(state, "--assert can be given %d times",
			   MAX_ASSERTIONS);
	if (!assertion_parse(&settings.assertions[settings.n_assertions++],
			     text, problem))
		argp_error(state, "--assert '%s': %s", text, problem);
}

static void set_address(struct argp_state *state, const char *text)
{
	char problem[ADDRESS_PROBLEM];

	if (settings.address.text)
		argp_error(state, "'%s': there can be one address only", text);
	if (!address_parse(&settings.address, text, problem))
		argp_error(state, "%s", problem);
	if (settings.address.is_any)
		argp_error(state,
			   "'%s': a server can have all addresses, a client "
			   "connects to one",
			   text);
	if (settings.address.is_datagram)
		argp_error(state,
			   "'%s': datagrams can be lost, so the answers "
			   "could not be checked",
			   text);
}

#ifdef HAVE_HTTP_PARSER
static void set_path(struct argp_state *state, const char *text)
{
	bool is_good = *text == '/';

	for (const char *c = text; *c; c++)
		is_good &= *c > ' ' && *c < 0x7f && *c != '"';
	if (!is_good)
		argp_error(state,
			   "--http=%s: it takes a path, as /index.html, whose "
			   "blanks and the like are written as %%20",
			   text);
	settings.path = text;
}
#else
static void set_path(struct argp_state *state, const char *text)
{
	argp_error(state, "--http=%s: weft-load was built without http_parser",
		   text);
}
#endif

static void check_together(struct argp_state *state)
{
	const char *wrong;

	if (!settings.address.text)
		argp_error(state, "which server? HOST:PORT, [IPV6]:PORT and "
				  "unix:/PATH are accepted");
	if (settings.threads > settings.connections)
		argp_error(state, "--threads=%u: there are %u connections only",
			   settings.threads, settings.connections);
#ifdef HAVE_HTTP_PARSER
	if (settings.path && !http_prepare(settings.path, has_size))
		argp_error(state, "--http: the path is too long");
#endif
	if (!send_text != !expect_text)
		argp_error(state, "--send and --expect go together");
	if (send_text && (settings.path || has_size))
		argp_error(state, "--send goes with neither --http nor --size");
	wrong = send_text ? text_prepare(send_text, expect_text) : NULL;
	if (wrong)
		argp_error(state,
			   "--%s: it takes 1 to %d bytes: printable ASCII, and "
			   "\\r, \\n, \\t, \\\\, \\xHH",
			   wrong, MAX_REQUEST);
	if (!settings.path && !settings.size)
		argp_error(state, "--size=0: only --http takes that");
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'c':
		settings.connections = (unsigned)option_number(
			state, "connections", arg, 1, MAX_CONNECTIONS);
		return 0;
	case 't':
		settings.threads = (unsigned)option_number(state, "threads",
							   arg, 1, MAX_THREADS);
		return 0;
	case 's':
		settings.size = option_number(state, "size", arg, 0, MAX_SIZE);
		has_size = true;
		return 0;
	case 'p':
		settings.pipeline = (unsigned)option_number(
			state, "pipeline", arg, 1, MAX_PIPELINE);
		return 0;
	case 'r':
		settings.rate = take_rate(state, arg);
		return 0;
	case 'n':
		settings.requests =
			option_number(state, "requests", arg, 1, INT64_MAX);
		return 0;
	case 'd':
		settings.duration = option_time(state, "duration", arg,
						WEFT_MILLISECOND, LONGEST, "");
		return 0;
	case 'w':
		settings.warm_up =
			option_time(state, "warm-up", arg, 0, LONGEST, "");
		return 0;
	case OPTION_SEND:
		send_text = arg;
		return 0;
	case OPTION_EXPECT:
		expect_text = arg;
		return 0;
	case OPTION_TIMEOUT:
		settings.timeout = option_time(state, "timeout", arg,
					       WEFT_MILLISECOND, LONGEST, "");
		return 0;
	case 'a':
		add_assertion(state, arg);
		return 0;
	case OPTION_JSON:
		set_format(state, FORMAT_JSON);
		return 0;
	case OPTION_CSV:
		set_format(state, FORMAT_CSV);
		return 0;
	case OPTION_HDR:
		settings.hdr = arg;
		return 0;
	case OPTION_HTTP:
		set_path(state, arg);
		return 0;
	case OPTION_PLOT:
		settings.plot = arg;
		return 0;
	case ARGP_KEY_ARG:
		set_address(state, arg);
		return 0;
	case ARGP_KEY_END:
		check_together(state);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc = "ADDRESS",
	.doc = "Load a server that sends back what it receives, such as weft-echo, or a web server, and measure how fast it answers.\v"
	       "ADDRESS is HOST:PORT, [IPV6]:PORT or unix:/PATH. The content of the answers is checked. "
	       "SIGINT and SIGTERM end the measurement; what there is is printed then.",
};

/* --- the course --- */

static _Noreturn void fail(int error, const char *what)
{
	fprintf(stderr, "weft-load: %s: %s\n", what, strerror(error));
	exit(EXIT_FAILURE);
}

static int open_signals(void)
{
	int fd = process_open_signals();

	if (fd < 0)
		fail(-fd, "cannot wait for signals");
	return fd;
}

/* Whether a signal comes before @moment. */
static bool is_stopped(int signals, int64_t moment)
{
	struct signalfd_siginfo info;
	struct weft_deadline d;
	ssize_t n;

	weft_deadline_begin(&d, moment);
	n = weft_read(signals, &info, sizeof info);
	weft_deadline_end(&d);
	if (n < 0 && n != -ETIMEDOUT)
		fail((int)-n, "cannot wait (weft-info tells what is missing)");
	return n > 0;
}

/* Whether it is to end before @moment: by a signal, or because all is done. */
static bool is_over(struct outcome *o, int signals, int64_t moment)
{
	if (!settings.requests)
		return (o->is_cut_off = is_stopped(signals, moment));
	while (weft_now() < moment) {
		int64_t step = weft_now() + 2 * WEFT_MILLISECOND;

		if (load_is_done())
			return true;
		o->is_cut_off =
			is_stopped(signals, step < moment ? step : moment);
		if (o->is_cut_off)
			return true;
	}
	return false;
}

static void show_progress(const char *text)
{
	if (isatty(STDERR_FILENO))
		fprintf(stderr, "\r\033[K%s", text);
}

static bool wait_for_connections(int signals)
{
	int64_t patience = weft_now() + settings.timeout;

	show_progress("connecting");
	while (!load_is_connected() && weft_now() < patience)
		if (is_stopped(signals, weft_now() + 2 * WEFT_MILLISECOND))
			return false;
	return true;
}

static void note_second(struct outcome *o, uint64_t *before, int64_t left)
{
	uint64_t answers = load_answers();
	uint64_t n = answers - *before;
	char text[128];

	*before = answers;
	if (o->n_seconds < MAX_SECONDS)
		o->per_second[o->n_seconds++] = n;
	snprintf(text, sizeof text,
		 "%" PRIu64 " answers per second, %" PRIu64
		 " errors, %.0f s left",
		 n, load_errors(), (double)left / 1e9);
	show_progress(text);
}

/* From the first request to the last; tells how it goes each second. */
static void measure(struct outcome *o, int signals)
{
	int64_t warm = weft_now();
	int64_t from = warm + settings.warm_up;
	int64_t to = from + settings.duration;
	int64_t next = warm, end;
	uint64_t before = 0;

	load_begin(warm, from, to);
	while (next < to) {
		next = next + WEFT_SECOND < to ? next + WEFT_SECOND : to;
		if (is_over(o, signals, next))
			break;
		if ((next - warm) % WEFT_SECOND == 0)
			note_second(o, &before, to - next);
	}
	end = weft_now() < to ? weft_now() : to;
	while (!o->is_cut_off && !load_is_done() &&
	       weft_now() < to + settings.timeout)
		o->is_cut_off =
			is_stopped(signals, weft_now() + 2 * WEFT_MILLISECOND);
	o->seconds = end > from ? (double)(end - from) / 1e9 : 0;
}

static int64_t cpu_time(void)
{
	struct timespec t;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
	return t.tv_sec * WEFT_SECOND + t.tv_nsec;
}

static bool run(struct outcome *o)
{
	int signals = open_signals();
	bool is_good;
	int rc = load_start();

	if (rc)
		fail(-rc, "cannot start");
	if (wait_for_connections(signals))
		measure(o, signals);
	else
		o->is_cut_off = true;
	load_stop();
	show_progress("");
	close(signals);
	load_collect(o);
#ifdef HAVE_HTTP_PARSER
	if (settings.path)
		settings.size = http_length();
#endif
	o->cpu_ns = cpu_time();
	if (o->seconds > 0)
		o->rate = (double)o->n_in_time / o->seconds;
	is_good = report(o);
	if (!o->n_measured)
		fputs("weft-load: no answer was measured\n", stderr);
	return is_good && o->n_measured;
}

int main(int argc, char **argv)
{
	static struct histogram latencies;
	static struct outcome outcome = { .latencies = &latencies };

	option_parse(&parser, argc, argv, NULL);
	report_begin();
	process_allow_many_files();
	signal(SIGPIPE, SIG_IGN);
	return run(&outcome) ? EXIT_SUCCESS : EXIT_FAILURE;
}
