/* SPDX-License-Identifier: MIT */
/*
 * weft-bench: what its files share.
 *
 * A workload has variants, and each repeat of a variant is a process of its
 * own: weft-bench run again with --run, or a peer's program. So runs cannot
 * warm each other's memory, an environment variable that the library reads once
 * can differ between them, and one that crashes or hangs is named. The process
 * prints one line (see protocol in child.c), from which the parent makes a
 * result. The variants of a workload take turns, repeat by repeat, so that a
 * machine that changes its speed does so to all of them.
 */
#ifndef BENCH_H
#define BENCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/types.h>

enum {
	MAX_DETAILS = 4,
	MAX_SIDES = 5,
	MAX_REPEATS = 1000,
	MAX_THREADS = 1024,
	MAX_VARIANTS = 200,
	MAX_COMPARED = 3,
	DETAIL_NAME_SIZE = 24,
	PROBLEM_SIZE = 200
};

/* A figure beside the time, such as bytes per tasklet. */
struct detail {
	char name[DETAIL_NAME_SIZE];
	double value;
};

/* What one process measured. */
struct sample {
	uint64_t operations;
	int64_t wall_ns;
	int64_t cpu_ns; /* of all its threads */
	struct detail details[MAX_DETAILS];
	size_t n_details;
};

struct variant;
struct options;

/* One run of a variant in its process, on one of its threads. */
struct run {
	const struct variant *variant;
	const struct options *options;
	uint64_t
		operations; /* to do; a workload may round it and says so here */
	uint64_t size;
	struct sample sample;
	void *together; /* a barrier when several threads run copies */
	int64_t began_ns, ended_ns;
	int64_t cpu_ns; /* of the run's own thread, in between */
};

enum {
	VARIANT_FIXED = 1,       /* does `size` operations, not a duration's */
	VARIANT_TWO_THREADS = 2, /* has its own threads, for --pin */
	VARIANT_PEER = 4,        /* runs with --peers or by name */
	VARIANT_LATENESS = 8,    /* its time is no cost, so there is no rate */
	VARIANT_SWEPT = 64,      /* runs with --sweep or by name */
	VARIANT_CROWD = 32,      /* has threads of its own, never pinned */
	VARIANT_LARGE = 16, /* takes gigabytes: runs with --peers or by name */
	VARIANT_DIRECT = 128, /* reads past the page cache */
};

/* Who else does what a variant of weft does. */
enum peer {
	PEER_NONE,
	PEER_BOOST_CONTEXT,
	PEER_BOOST_FIBER,
	PEER_BOOST_ASIO,
	PEER_GO,
	PEER_PTHREAD,
	PEER_STACKLESS, /* tasklets of weft's, in Python */
	PEER_GREENLET,
	PEER_ASYNCIO,
	PEER_THREADING,
	PEER_NGINX,
	PEER_BARE, /* the system calls, by weft-bench itself */
	N_PEERS
};

/* One of them, from which variants_make() makes a variant of its own. */
struct compared {
	enum peer by;
	const char *as;   /* begins its name; NULL: the peer's */
	const char *task; /* of the peer's program; NULL: as of the others */
	const char *about;
};

struct variant {
	const char *workload;
	const char *name;
	const char *operation;      /* what is counted and timed */
	void (*run)(struct run *r); /* NULL: the peer's program does it */
	enum peer peer;
	const char *task; /* its name to peers; NULL: the workload's */
	unsigned count;   /* of stacks, tasklets or places */
	size_t piece;     /* bytes that one operation moves; 0: none */
	unsigned depth;   /* operations in flight on each connection */
	uint64_t size;    /* the default; 0: --size means nothing to it */
	const char *size_meaning;
	unsigned flags;
	const char *doorbell; /* WEFT_WAKE of the process, with WEFT_SPIN=0 */
	const char
		*against; /* the variant of the workload this is compared to */
	const char *about;
	struct compared compared[MAX_COMPARED];
};

/* Those of weft-bench itself, in the order in which they run. */
extern const struct variant described[];
extern const size_t n_described;

/* The same and those of peers. */
extern struct variant variants[MAX_VARIANTS];
extern size_t n_variants;

/* Fills these; to be called first. */
void variants_make(void);
/* The one that @name names as WORKLOAD/NAME, or NULL. */
const struct variant *variant_named(const char *name);

enum format { FORMAT_TABLE, FORMAT_JSON, FORMAT_CSV, FORMAT_MARKDOWN };

struct options {
	char **names; /* of workloads, or workload/variant */
	size_t n_names;
	uint64_t size; /* 0: each workload's own */
	unsigned threads;
	int64_t duration_ns;
	unsigned repeats;
	const char *pin;
	int cpus[2];         /* of the two threads; -1: wherever they are put */
	bool peers[N_PEERS]; /* which take part */
	enum format format;
	const char *svg; /* the file for a chart; NULL: none */
	bool sweep;
	const char *run; /* hidden: be the process of this variant */
	uint64_t operations;
	int argc;
	char **argv;
};

/* The results of a variant's repeats. */
struct result {
	const struct variant *variant;
	unsigned n;
	double *ns;     /* per operation */
	double *cpu_ns; /* per operation */
	double *details[MAX_DETAILS];
	char detail_names[MAX_DETAILS][DETAIL_NAME_SIZE];
	size_t n_details;
	uint64_t operations; /* per repeat */
	bool failed;
	char problem[PROBLEM_SIZE]; /* why there is none; empty: there is one */
};

struct spread {
	double median, min, max;
};

/* --- child.c: the process of one run --- */

int child_main(const struct options *o);
/* Around what is measured; to be called on the run's own thread, from any of its
 * tasklets. */
void run_begin(struct run *r);
void run_end(struct run *r);
void run_detail(struct run *r, const char *name, double value);
/* Say why there is no result, and end the process. */
_Noreturn void run_fail(int64_t rc, const char *what);
_Noreturn void run_unavailable(const char *why);
/* There is no result where @rc, of a call that opens a ring, says that there are
 * none to be had here. */
void need_ring(int rc, const char *what);

/* Before a ring of one's own is asked for: with WEFT_ENGINE=poll nobody may. */
void may_use_ring(void);

/* @rc, a call's result, unless it is an error. */
static inline int64_t must(int64_t rc, const char *what)
{
	if (__builtin_expect(rc < 0, 0))
		run_fail(rc, what);
	return rc;
}

/* --- pair.c: threads that do something with each other --- */

typedef void (*side_fn)(struct run *r, int which, void *shared);

/* Runs @side once on each of two new threads, placed by --pin, each with a run
 * of its own: both time theirs. The wall time of side 0 counts, and the sums of
 * their CPU times and details. */
void pair_run(struct run *r, void *shared, side_fn side);
/* The same on @n threads, up to MAX_SIDES, wherever the kernel puts them. */
void crowd_run(struct run *r, void *shared, side_fn side, int n);
/* Sets cpus[] from @o->pin. NULL, or what is wrong with it. */
const char *pin_resolve(struct options *o);

/* --- peers.c --- */

struct peer_program {
	const char *name;    /* to --peers */
	const char *colour;  /* in charts, as #rrggbb */
	const char *program; /* in tools/peers; NULL: weft-bench itself */
	const char *package; /* of Debian, that it is built with */
};

extern const struct peer_program peers[N_PEERS];

/* Sets those that @list names, divided by commas; NULL: all. False when it names
 * something else, which is then *@wrong. */
bool peers_choose(bool chosen[N_PEERS], const char *list, char wrong[32]);
bool peers_any(const struct options *o);
/* Where a peer's program is. False when it is nowhere. */
bool peer_find(enum peer peer, char *path, size_t size);

/* --- spawn.c: running one --- */

enum outcome {
	OUTCOME_DONE,
	OUTCOME_UNAVAILABLE,
	OUTCOME_FAILED,
	OUTCOME_STOPPED /* by a signal; there is no problem text */
};

/* From here on, SIGINT and SIGTERM end what runs, and nothing more is run. */
void run_stops_at_signals(void);
bool run_is_stopped(void);

/* Runs @v once. When that is not done, @problem says why. */
enum outcome run_variant(const struct options *o, const struct variant *v,
			 uint64_t operations, struct sample *sample,
			 char problem[PROBLEM_SIZE]);

/* --- measure.c: repeats --- */

void measure_workload(const struct options *o, struct result *results,
		      size_t n);
void result_free(struct result *r);
struct spread spread_of(const double *values, unsigned n);
/* Of the variant's time by that of what it is compared with, repeat by repeat.
 * False when one of them has no result. */
bool ratio_of(const struct result *ours, const struct result *theirs,
	      struct spread *wall, struct spread *cpu);
const struct result *result_against(const struct result *results, size_t n,
				    const struct result *theirs);

/* --- report.c --- */

void report_begin(const struct options *o);
void report_workload(const struct options *o, const struct result *results,
		     size_t n);
void report_end(const struct options *o);
void report_list(void);
/* Operations per second, or 0 where that says nothing. */
double report_rate_of(const struct result *r, const struct spread *ns);
double report_detail_of(const struct result *r, size_t i);
/* Numbers as text. */
const char *report_figure(double value, char text[16]);
const char *report_rate(double value, char text[16]);
const char *report_ratio(double value, char text[16]);
/* Shows @text on a terminal in place of the last one; NULL: nothing more. */
void progress(const struct options *o, const char *text);

/* --- markdown.c --- */

void markdown_begin(const struct options *o);
void markdown_workload(const struct result *results, size_t n);

/* --- chart.c: bars, drawn by gnuplot --- */

void chart_add(const struct result *r);
/* False when it was not drawn. */
bool chart_end(const struct options *o);

/* --- sweep.c: what a number costs --- */

/* The series whose variants @o names; all if it names none. */
int sweep(const struct options *o);

/* --- machine.c: what it was measured on --- */

struct fact {
	const char *name;
	char value[400];
};

enum { N_FACTS = 9 };

void machine_facts(const struct options *o, struct fact facts[N_FACTS]);

/* --- memory.c --- */

/* About what a tasklet takes that has hardly used its stack. */
enum { BYTES_EACH = 5000 };

struct memory {
	double resident, page_tables;
};

struct memory memory_in_use(void);
struct memory memory_of(pid_t pid);
/* The most that has been resident, and the page tables. */
double peak_memory(void);
/* There is no result where @bytes are not to be had. */
void need_memory(double bytes);

/* --- doorbell.c --- */

struct scheduler;

/* The calling thread's. */
struct scheduler *doorbell_self(void);
/* Waits until @s is parked and returns what it is to be woken by. */
const char *doorbell_of_parked(struct scheduler *s);
/* What a thread with nothing in flight is woken by in this process. */
const char *doorbell_in_use(void);

/* --- the workloads --- */

void run_switch(struct run *r);
void run_yield(struct run *r);
void run_yield_places(struct run *r);
void run_yield_mixed(struct run *r);
void run_spawn(struct run *r);
void run_alive(struct run *r);
void run_alive_blocked(struct run *r);
void run_timers(struct run *r);
void run_ten_sleeps(struct run *r);
void run_nop(struct run *r);
void run_net(struct run *r);
void run_net_http(struct run *r);
void run_net_accept(struct run *r);
void run_net_idle(struct run *r);
void run_file(struct run *r);
void run_bare_pread(struct run *r);
void run_bare_file(struct run *r);
void run_pingpong(struct run *r);
void run_pingpong_pair(struct run *r);
void run_stream(struct run *r);
void run_stream_pair(struct run *r);
void run_stream_channels(struct run *r);
void run_stream_elements(struct run *r);
void run_stream_four(struct run *r);
void run_ring(struct run *r);
void run_skynet(struct run *r);
void run_skynet_rendezvous(struct run *r);
void run_skynet_at_once(struct run *r);
void run_sieve(struct run *r);
void run_select_ready(struct run *r);
void run_select_waiting(struct run *r);
void run_arm(struct run *r);
void run_mutex(struct run *r);
void run_mutex_single(struct run *r);
void run_mutex_handed(struct run *r);
void run_mutex_pair(struct run *r);
void run_mutex_pthread(struct run *r);
void run_mutex_pthread_single(struct run *r);
void run_mutex_pthread_pair(struct run *r);
void run_wake(struct run *r);
void run_offload(struct run *r);
void run_spawn_elsewhere(struct run *r);
void run_thread_life(struct run *r);
void run_close_idle(struct run *r);
void run_kill_readers(struct run *r);
void run_fork_waiters(struct run *r);
void run_run_random(struct run *r);
void run_bare_spin(struct run *r);
void run_bare_condition(struct run *r);
void run_bare_futex(struct run *r);
void run_bare_msg_ring(struct run *r);
void run_bare_msg_ring_sqe(struct run *r);
void run_bare_eventfd(struct run *r);
void run_bare_nop(struct run *r);

#endif /* BENCH_H */
