/* SPDX-License-Identifier: MIT */
/*
 * weft-load: what its files share.
 *
 * Each of N threads has a scheduler and a share of the connections, each of them
 * with a tasklet. The first thread, which drives nothing, begins and ends the
 * measurement and tells how it goes.
 */
#ifndef LOAD_H
#define LOAD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "../address.h"

enum {
	MAX_THREADS = 256,
	MAX_CONNECTIONS = 1000000,
	MAX_PIPELINE = 4096,
	MAX_SIZE = 16 << 20,
	MAX_ASSERTIONS = 16,
	MAX_SECONDS = 3600, /* of a measurement and its warm-up */
	ASSERTION_PROBLEM = 160,
	MAX_REQUEST = 8192 /* of HTTP, or as text */
};

/* --- histogram.c --- */

/* Counts of values of up to 2^63 ns: single ones up to 511, above that 256 steps
 * for each power of two, so that a value is known to 0.4 %. */
enum { N_STEPS = 256, N_BUCKETS = 57 * N_STEPS };

struct histogram {
	uint64_t counts[N_BUCKETS];
	uint64_t n;
	int64_t min, max;
	double sum, sum_of_squares;
};

void histogram_add(struct histogram *h, int64_t ns);
void histogram_merge(struct histogram *into, const struct histogram *h);
/* The least value that @share (0 to 1) of all values do not exceed. */
int64_t histogram_quantile(const struct histogram *h, double share);
double histogram_mean(const struct histogram *h);
double histogram_deviation(const struct histogram *h);
/* The distribution as text that HdrHistogram's plotter reads, in ms. */
void histogram_print(const struct histogram *h, FILE *f);
/* Calls @point for quantiles that get denser towards 1, up to the last value. */
void histogram_walk(const struct histogram *h,
		    void (*point)(double share, int64_t ns, uint64_t count,
				  void *arg),
		    void *arg);

/* --- errors --- */

enum error_kind {
	ERROR_CONNECT, /* connecting has failed */
	ERROR_RESET,   /* the server has reset the connection */
	ERROR_CLOSED,  /* the server has closed it, with answers missing */
	ERROR_TIMEOUT, /* no answer in time */
	ERROR_CONTENT, /* an answer that is not what was sent */
	/* of HTTP */
	ERROR_STATUS,    /* another one than 200 */
	ERROR_LENGTH,    /* of a body */
	ERROR_MALFORMED, /* no answer at all, or one that nobody asked for */
	ERROR_OTHER,
	N_ERRORS,
	NO_ERROR = N_ERRORS
};

extern const char *const error_names[N_ERRORS];

/* --- assertion.c --- */

struct outcome;

enum assertion_name {
	ASSERT_QUANTILE,
	ASSERT_MAX,
	ASSERT_MEAN,
	ASSERT_ERRORS,
	ASSERT_RATE,
	ASSERT_REQUESTS
};

enum comparison { BELOW, AT_MOST, ABOVE, AT_LEAST, EQUAL, UNEQUAL };

struct assertion {
	const char *text;
	enum assertion_name what;
	enum comparison comparison;
	double share; /* of ASSERT_QUANTILE */
	double value; /* ns, or a number */
};

/* False if @text is no assertion: @problem says what is accepted. */
bool assertion_parse(struct assertion *a, const char *text,
		     char problem[ASSERTION_PROBLEM]);
/* Whether its value is a time in ns. */
bool assertion_is_time(const struct assertion *a);
bool assertion_holds(const struct assertion *a, const struct outcome *o,
		     double *found);

/* --- protocols --- */

struct connection;

/* What take() can return, besides 0 and a negative errno. */
enum { CLOSED = 1, ENDED };

/* How answers are told from each other. */
struct protocol {
	enum error_kind malformed; /* what -EBADMSG counts as */
	size_t state_size;         /* of what a connection keeps for it */
	/* A connection has been made. */
	void (*begin)(void *state, struct connection *c);
	/* Takes what has come, or, without bytes, the end of file, and calls
	 * load_answer() for each answer. Returns 0; CLOSED if the connection has
	 * ended; ENDED if that was in order; -EBADMSG if this is no answer. */
	int (*take)(void *state, const char *data, size_t n);
};

/* --- http.c: where there is a parser --- */

/* Sets the protocol. @has_length: an answer has to have settings.size bytes. False if
 * the path is too long. */
bool http_prepare(const char *path, bool has_length);
/* Bytes of a good answer, or 0 if there was none. */
size_t http_length(void);

/* --- text.c --- */

/* The bytes that @text stands for: printable ASCII, with \r, \n, \t, \\ and \xHH. 0 if
 * there are none or too many, or it is something else. */
size_t text_decode(const char *text, char bytes[MAX_REQUEST]);
/* Sets the protocol. Otherwise returns which of the two is wrong. */
const char *text_prepare(const char *send, const char *expect);

/* --- the settings --- */

enum format { FORMAT_TEXT, FORMAT_JSON, FORMAT_CSV };

struct settings {
	struct address address;
	unsigned connections, threads, pipeline;
	size_t size; /* of an answer, and of a request that is sent back */
	const struct protocol *protocol; /* NULL: what is sent comes back */
	const char *path;                /* of HTTP */
	const char *send;                /* as it was given */
	size_t request_size;
	char request[MAX_REQUEST]; /* if it is always the same */
	int64_t duration, warm_up, timeout;
	double rate; /* requests per second of all; 0: as fast as answers come */
	uint64_t requests; /* to send at most after the warm-up; 0: no limit */
	enum format format;
	const char *hdr, *plot; /* files; NULL: none */
	struct assertion assertions[MAX_ASSERTIONS];
	size_t n_assertions;
};

extern struct settings settings;

/* --- worker.c: the threads that drive the load --- */

/* What one thread has counted. Written by its thread alone; the atomics are read
 * by the first thread meanwhile, relaxed: they are figures. */
struct counts {
	struct histogram latencies;  /* of the measurement */
	_Atomic(uint64_t) n_answers; /* all of them, warm-up included */
	_Atomic(uint64_t) errors[N_ERRORS];
	_Atomic(uint64_t) n_connected;
	uint64_t n_measured, n_bytes;
	uint64_t n_in_time;    /* of n_measured: before the end */
	uint64_t n_unanswered; /* in flight at the end, or still to be sent */
};

/* For protocols: whether an answer is waited for; and that one is there, good or not.
 * Its connection goes on. */
bool load_awaits(const struct connection *c);
void load_answer(struct connection *c, enum error_kind error, uint64_t n_bytes);

/* Starts them. They connect, and wait for load_begin(). 0, or a negative errno. */
int load_start(void);
/* Waits until each connection has been made or has failed once, or @until. */
bool load_is_connected(void);
/* From @warm to @to, requests are sent; those from @from are measured. */
void load_begin(int64_t warm, int64_t from, int64_t to);
/* Whether all requests that there may be have been answered, or were lost. */
bool load_is_done(void);
/* Ends what still runs, and waits for the threads. */
void load_stop(void);
uint64_t load_answers(void);
uint64_t load_errors(void);

/* --- report.c --- */

struct outcome {
	struct histogram *latencies;
	uint64_t errors[N_ERRORS], n_errors;
	uint64_t n_measured, n_in_time, n_bytes, n_unanswered, n_connected;
	double seconds;  /* that were measured */
	double rate;     /* answers per second of these; later ones are none */
	int64_t cpu_ns;  /* of this process, for all of it */
	bool is_cut_off; /* by a signal */
	/* answers in each second since the first request */
	uint64_t per_second[MAX_SECONDS + 1];
	size_t n_seconds;
};

/* Adds up what the threads have counted. */
void load_collect(struct outcome *o);

/* Opens the files, or ends the program with a message. */
void report_begin(void);
/* False if something could not be written; then it has said what. */
bool report(const struct outcome *o);
/* A time as text, with a unit. */
const char *report_time(double ns, char text[16]);

#endif /* LOAD_H */
