/* SPDX-License-Identifier: MIT */
/*
 * weft-bench: its command line and what it prints.
 *
 * Each test runs the program that WEFT_BENCH names for as short as it can; no
 * time is judged.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"
#include "support.h"

enum { MAX_ARGUMENTS = 12, TEXT_SIZE = 256 * 1024, CSV_COLUMNS = 19 };

#define QUICK "--duration=1ms", "--repeats=1"

static char output[TEXT_SIZE]; /* of the last run, standard error included */

static const char *program(void)
{
	const char *name = getenv("WEFT_BENCH");

	return name ? name : "tools/weft-bench";
}

/* Runs it with @arguments, up to NULL, and PATH set to @path unless that is
 * NULL. Returns its exit status. */
static int bench_with_path(const char *path, const char *const *arguments)
{
	struct program p;

	if (path)
		setenv("PATH", path, 1);
	p = program_start("WEFT_BENCH", "tools/weft-bench", arguments, 0);
	return program_end(&p, output, sizeof output);
}

#define BENCH(...) \
	bench_with_path(NULL, (const char *const[]){ __VA_ARGS__, NULL })

static void says(const char *text)
{
	ck_assert_msg(strstr(output, text), "'%s' is not in: %.3000s", text,
		      output);
}

static void says_not(const char *text)
{
	ck_assert_msg(!strstr(output, text), "'%s' is in: %.3000s", text,
		      output);
}

/* Every variant has a line, those of peers as well. */
START_TEST(list_names_all)
{
	ck_assert_int_eq(BENCH("--list"), 0);
	says("yield/2 ");
	says("yield/mixed ");
	says("yield/go-2 ");
	says("stream/buffered ");
	says("stream/pair_buffered ");
	says("stream/spsc_ring ");
	says("alive/boost.fiber-blocked ");
	says("skynet/go-all_cores-at_once ");
	says("timers/ten_sleeps ");
	says("nop/bare-64 ");
	says("net/stream-1000 ");
	says("net/go-50x16 ");
	says("net/asio-idle ");
}
END_TEST

/* What cannot be used is refused, and the message tells what can. */
static const struct mistake mistakes[] = {
	{ { "walk" },
	  64,
	  { "walk is no workload; there are all switch yield" } },
	{ { "yield/0" }, 64, { "yield/0 is no workload" } },
	{ { "--peers=go,rust" },
	  64,
	  { "'rust' is no peer; there are boost.context boost.fiber boost.asio go pthread stackless greenlet asyncio threading nginx bare" } },
	{ { "--peers=" }, 64, { "'' is no peer; there are boost.context" } },
	{ { "--peers=go,,bare" }, 64, { "'' is no peer" } },
	{ { "--peers", "--threads=2" },
	  64,
	  { "--peers compares one thread with one" } },
	{ { "--duration=1" }, 64, { "a time from 1ms to 60s" } },
	{ { "--duration=1h" }, 64, { "a time from 1ms to 60s" } },
	{ { "--repeats=0" }, 64, { "a number from 1 to 1000" } },
	{ { "--size=-1" }, 64, { "a number from 1 to" } },
	{ { "--threads=x" }, 64, { "a number from 1 to" } },
	{ { "--pin=up" },
	  64,
	  { "it takes apart, together, none, or the numbers" } },
	{ { "--csv", "--json" }, 64, { "exclude each other" } },
	{ { "--markdown", "--csv" }, 64, { "exclude each other" } },
	{ { "--sweep", "--peers" }, 64, { "it does not go with" } },
	{ { "--sweep", "--json" }, 64, { "--sweep prints a table" } },
	{ { "--sweep", "ring" },
	  64,
	  { "--sweep has nothing for ring; there are" } },
	{ { "--sweep", "pingpong/two-threads" },
	  64,
	  { "--sweep has nothing for pingpong/two-threads" } },
};

START_TEST(mistakes_are_named)
{
	program_refuses("WEFT_BENCH", "tools/weft-bench", &mistakes[_i]);
}
END_TEST

/* All peers with one repeat: each gives figures, or is named with what would
 * bring it. */
START_TEST(peers_run_or_are_named)
{
	ck_assert_int_eq(BENCH("--peers", QUICK, "--size=50", "switch",
			       "yield/2", "yield/go-2", "spawn", "ring",
			       "stream", "pingpong", "sieve"),
			 0);
	says("boost.context-2 ");
	says("boost.fiber-1000 ");
	says("go-1000 ");
	says("boost.fiber-two-threads ");
	says("go-pair_buffered ");
	says("spsc_ring ");
	says("pthread-futex ");
	says("spin ");
	says_not("FAILED");
}
END_TEST

/* Those that take gigabytes by default, with little; and those that sleep. */
START_TEST(large_ones_run_small)
{
	ck_assert_int_eq(BENCH("--peers", QUICK, "--size=50", "alive", "skynet",
			       "nop", "wake", "timers/sleepers"),
			 0);
	says("blocked ");
	says("in_order ");
	says("bare-64 ");
	says("pthread-condition ");
	if (have_io_uring())
		says("of the time of bare-64");
	else
		says("not available: no io_uring here");
	says_not("FAILED");
}
END_TEST

/* Python's rows are there, and each gives figures or tells why it has none. */
START_TEST(python_is_compared)
{
	/* An extension that has its run-time library needs that to come first. */
	if (UNDER_ASAN)
		return;
	ck_assert_int_eq(BENCH("--peers", QUICK, "--size=50", "python"), 0);
	says("pair ");
	says("greenlet-yield-2 ");
	says("asyncio-yield-1000 ");
	says("greenlet-blocked ");
	says("threading-threads ");
	says_not("FAILED");
}
END_TEST

/* The servers serve their loads, and their memory is told. */
START_TEST(servers_are_compared)
{
	ck_assert_int_eq(BENCH("--peers", QUICK, "--size=20", "net/stream-1",
			       "net/stream-accept", "net/stream-idle"),
			 0);
	says("request: p99_us ");
	says("stream-1 takes ");
	says("of the time of epoll-1 ");
	says("of the time of poll-accept ");
	says("asio-accept ");
	says("connection: connections 20.0, resident_bytes ");
	if (have_io_uring())
		says("of the time of uring-1 ");
	says_not("FAILED");
}
END_TEST

/* With 60 files a server is not measured that turns clients away. */
START_TEST(servers_need_files)
{
	const struct rlimit limit = { 60, 60 };

	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(BENCH(QUICK, "net/50", "net/poll-idle", "net/accept"),
			 0);
	says("50                        not available: there may not be");
	says("poll-idle                 not available: there may not be");
	says("accept                    not available: there may not be");
	says_not("FAILED");
}
END_TEST

/* The same file is asked of both, and the folder that it was in goes. */
START_TEST(web_servers_are_compared)
{
	ck_assert_int_eq(BENCH("--peers", QUICK, "net/httpd-1"), 0);
	says("httpd-1 ");
	says_not("FAILED");
	if (!strstr(output, "nginx was not found") &&
	    !strstr(output, "weft's own servers") &&
	    !strstr(output, "cannot serve files without openat2(2)"))
		says("of the time of nginx-1 ");
}
END_TEST

/* A list brings those that it names, and no others. */
START_TEST(peers_are_in_the_help)
{
	static const char intro[] = "there are ";
	char names[256], *name;

	ck_assert_int_eq(BENCH("--peers=nobody"), 64);
	name = strstr(output, intro);
	ck_assert_ptr_nonnull(name);
	snprintf(names, sizeof names, "%s", name + strlen(intro));
	names[strcspn(names, "\n")] = '\0';
	ck_assert_int_eq(BENCH("--help"), 0);
	for (name = strtok(names, " "); name; name = strtok(NULL, " "))
		says(name);
}
END_TEST

START_TEST(a_list_chooses_peers)
{
	ck_assert_int_eq(
		BENCH("--peers=bare,pthread", QUICK, "pingpong", "stream"), 0);
	says("spin ");
	says("spsc_ring ");
	says_not("go-");
	says_not("boost.fiber");
}
END_TEST

/* Without --peers none comes along, nor what takes gigabytes. */
START_TEST(no_peers_by_default)
{
	ck_assert_int_eq(BENCH(QUICK, "--size=50", "alive", "ring", "pingpong"),
			 0);
	says("paused ");
	says_not("blocked");
	says_not("go");
	says_not("spin");
}
END_TEST

/* A copy of the program without any beside it finds no peer, unless they have
 * been installed. */
START_TEST(a_missing_peer_is_no_failure)
{
	char folder[] = "/tmp/weft-bench-XXXXXX";
	char copy[64], command[512];
	int status;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(copy, sizeof copy, "%s/weft-bench", folder);
	snprintf(command, sizeof command, "cp '%s' %s", program(), copy);
	ck_assert_int_eq(system(command), 0);
	setenv("WEFT_BENCH", copy, 1);
	status = BENCH("--peers=go", QUICK, "yield/2", "yield/go-2");
	unlink(copy);
	rmdir(folder);
	ck_assert_int_eq(status, 0);
	if (strstr(output, "not available"))
		says("go was not found when weft was built (Debian: golang-go)");
}
END_TEST

/* As many columns in each line as in the first. */
static size_t columns(const char *line, size_t length, char separator)
{
	bool quoted = false;
	size_t n = 1;

	for (size_t i = 0; i < length; i++) {
		quoted ^= line[i] == '"';
		n += line[i] == separator && !quoted &&
		     (i == 0 || line[i - 1] != '\\');
	}
	return n;
}

START_TEST(csv_has_its_columns)
{
	size_t rows = 0;

	ck_assert_int_eq(BENCH("--csv", "--peers", QUICK, "--size=50",
			       "pingpong", "stream", "mutex", "timers/arm"),
			 0);
	says("\nworkload,variant,operation,");
	for (const char *line = output; *line;) {
		size_t length = strcspn(line, "\n");

		if (*line != '#') {
			ck_assert_msg(columns(line, length, ',') == CSV_COLUMNS,
				      "%.*s", (int)length, line);
			rows++;
		}
		line += length + (line[length] == '\n');
	}
	ck_assert_uint_gt(rows, 10);
}
END_TEST

START_TEST(markdown_is_a_table)
{
	size_t rows = 0, n = 0;

	ck_assert_int_eq(
		BENCH("--markdown", "--peers", QUICK, "pingpong", "stream"), 0);
	says("\n| workload | variant |");
	for (const char *line = output; *line;) {
		size_t length = strcspn(line, "\n");

		if (*line == '|') {
			size_t here = columns(line, length, '|');

			ck_assert_msg(n == 0 || here == n, "%.*s", (int)length,
				      line);
			n = here;
			rows++;
		}
		line += length + (line[length] == '\n');
	}
	ck_assert_uint_gt(rows, 10);
}
END_TEST

START_TEST(json_parses)
{
	json_error_t error;
	json_t *root, *results;

	ck_assert_int_eq(BENCH("--json", "--peers=bare", QUICK, "pingpong"), 0);
	root = json_loads(output, 0, &error);
	ck_assert_msg(root, "%s: %.3000s", error.text, output);
	results = json_object_get(root, "results");
	ck_assert_uint_eq(json_array_size(results), 4);
	ck_assert(json_is_object(json_object_get(root, "machine")));
	ck_assert(json_is_array(json_object_get(root, "ratios")));
	json_decref(root);
}
END_TEST

START_TEST(sweep_has_a_row_for_each_number)
{
	size_t rows = 0;

	ck_assert_int_eq(BENCH("--sweep", "--csv", QUICK, "pingpong"), 0);
	says("\nvariant,of,number,operation,");
	says("\npingpong/one-thread,threads,8,round trip,1,");
	for (const char *line = output; *line;) {
		size_t length = strcspn(line, "\n");

		rows += strncmp(line, "pingpong/", 9) == 0;
		ck_assert_msg(*line == '#' || columns(line, length, ',') == 12,
			      "%.*s", (int)length, line);
		line += length + (line[length] == '\n');
	}
	ck_assert_uint_eq(rows, 8);
}
END_TEST

/* What grows with a number, with little. */
START_TEST(what_may_grow_runs_small)
{
	ck_assert_int_eq(BENCH(QUICK, "--size=50", "spawn/elsewhere",
			       "thread/life", "close/idle", "kill/readers",
			       "run/random"),
			 0);
	says("elsewhere ");
	says("resident_bytes ");
	says("life ");
	says("random ");
	says_not("FAILED");
	/* It cannot follow a fork. */
	if (!UNDER_TSAN) {
		ck_assert_int_eq(BENCH(QUICK, "--size=50", "fork/waiters"), 0);
		says("waiters ");
		says_not("FAILED");
	}
	ck_assert_int_eq(BENCH(QUICK, "spawn", "--size=50"), 0);
	says_not("elsewhere");
}
END_TEST

/* The header names what I/O is really done with. */
START_TEST(engine_is_named)
{
	ck_assert_int_eq(BENCH(QUICK, "nop", "yield/2"), 0);
	if (have_io_uring()) {
		says("\nengine       uring, doorbell ");
		says_not("not available");
	} else {
		says("\nengine       poll, doorbell ");
	}
}
END_TEST

/* Where io_uring is refused as well. */
START_TEST(refused_engine_is_named)
{
	static const struct refusal refusals[] = {
		{ SYS_io_uring_setup, -1, 0, EPERM },
		{ SYS_io_uring_setup, -1, 0, ENOSYS },
		{ SYS_io_uring_setup, -1, 0, ENOMEM },
	};

	if (lacks_io_uring())
		return;
	refuse_call(&refusals[_i / 2]);
	setenv("WEFT_ENGINE", _i % 2 ? "uring" : "auto", 1);
	ck_assert_int_eq(BENCH(QUICK, "nop", "yield/2"), 0);
	if (_i % 2) {
		says("\nengine       none: I/O fails here with \"");
		says(strerror(refusals[_i / 2].error));
		says("not available: no io_uring here; weft-info says why");
	} else {
		says("\nengine       poll, doorbell ");
	}
	says_not("FAILED");
}
END_TEST

/* Without gnuplot nothing is run that would then be lost. */
START_TEST(svg_needs_gnuplot)
{
	ck_assert_int_eq(
		bench_with_path("/nonexistent",
				(const char *const[]){ "--svg=/dev/null",
						       "yield", NULL }),
		1);
	says("--svg needs gnuplot");
	says("gnuplot-nox");
	says_not("ns/op");
}
END_TEST

START_TEST(svg_is_drawn)
{
	char file[] = "/tmp/weft-bench-XXXXXX";
	char option[64], text[4096] = "";
	int fd = mkstemp(file);

	ck_assert_int_ge(fd, 0);
	snprintf(option, sizeof option, "--svg=%s", file);
	ck_assert_int_eq(BENCH(option, "--peers=nginx,bare", QUICK,
			       "net/httpd-1", "yield/2"),
			 0);
	ck_assert_int_ge(read(fd, text, sizeof text - 1), 0);
	close(fd);
	unlink(file);
	ck_assert_msg(strstr(text, "<svg"), "it begins with: %.300s", text);
}
END_TEST

START_TEST(svg_file_must_be_writable)
{
	ck_assert_int_eq(BENCH("--svg=/nonexistent/file", "yield"), 1);
	says("/nonexistent/file: No such file or directory");
}
END_TEST

START_TEST(svg_that_is_lost_is_told)
{
	ck_assert_int_eq(BENCH("--svg=/dev/full", QUICK, "yield/2"), 1);
	says("--svg=/dev/full: No space left on device");
}
END_TEST

static bool have_gnuplot(void)
{
	return system("gnuplot --version >/dev/null 2>&1") == 0;
}

static const char *const on_full[][5] = {
	{ "--list" },
	{ "--version" },
	{ "--csv", QUICK, "yield/2" },
	{ "--json", QUICK, "yield/2" },
};

/* What cannot be written is no success, and it says why. */
START_TEST(lost_output_is_told)
{
	const char *argv[6] = { program() };
	char errors[4096];

	memcpy(argv + 1, on_full[_i], sizeof on_full[_i]);
	ck_assert_int_eq(on_full_disk(argv, errors, sizeof errors), 1);
	ck_assert_msg(strstr(errors, strerror(ENOSPC)), "it says: %s", errors);
}
END_TEST

/* Waits until it catches the signal. */
static void wait_for_handler(pid_t pid, int signal)
{
	char name[64], line[256];
	unsigned long long caught = 0;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/status", (int)pid);
	while (!(caught >> (signal - 1) & 1)) {
		f = fopen(name, "r");
		ck_assert_ptr_nonnull(f);
		while (fgets(line, sizeof line, f))
			sscanf(line, "SigCgt: %llx", &caught);
		fclose(f);
		usleep(1000);
	}
}

/* Whether it has begun to be what it is to be. */
static bool is_run(pid_t pid)
{
	char name[64], line[256] = "";
	size_t n = 0;
	FILE *f;

	snprintf(name, sizeof name, "/proc/%d/cmdline", pid);
	f = fopen(name, "r");
	if (f) {
		n = fread(line, 1, sizeof line, f);
		fclose(f);
	}
	return memmem(line, n, "--run=", 6);
}

/* Stops a process that it runs, so that that does not end by itself. False: the kernel
 * does not tell of children. */
static bool stop_child_of(pid_t parent)
{
	char name[64];

	snprintf(name, sizeof name, "/proc/%d/task/%d/children", parent,
		 parent);
	for (;;) {
		FILE *f = fopen(name, "r");
		pid_t child;

		if (!f)
			return false;
		if (fscanf(f, "%d", &child) != 1)
			child = 0;
		fclose(f);
		if (child && is_run(child) && kill(child, SIGSTOP) == 0)
			return true;
		usleep(1000);
	}
}

/* A run ends with the program, whatever ends that. The test becomes the parent of what
 * is left, and waits for it. */
START_TEST(nothing_outlives_it)
{
	const char *const arguments[] = { "--duration=60s", "yield/2", NULL };
	struct program p;

	ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1), 0);
	p = program_start("WEFT_BENCH", "tools/weft-bench", arguments, 0);
	if (!stop_child_of(p.pid))
		skip("/proc does not tell of children");
	ck_assert_int_eq(kill(p.pid, SIGKILL), 0);
	while (waitpid(-1, NULL, 0) > 0)
		;
	ck_assert_int_eq(errno, ECHILD);
	fclose(p.output);
}
END_TEST

static const int interruptions[] = { SIGINT, SIGTERM };

/* An interrupted run prints what there is, as JSON that can be read. */
START_TEST(an_interruption_leaves_json)
{
	const char *const arguments[] = { "--json", "--duration=10ms",
					  "--repeats=1000", "yield", NULL };
	int number = interruptions[_i];
	struct program p;
	json_t *document, *results;
	json_error_t error;

	signal(number, SIG_DFL); /* in the background, a shell ignores SIGINT */
	p = program_start("WEFT_BENCH", "tools/weft-bench", arguments, 0);
	wait_for_handler(p.pid, number);
	usleep((useconds_t)_i *
	       100000); /* as early as can be, and a little later */
	ck_assert_int_eq(kill(p.pid, number), 0);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 1);
	document = json_loads(output, 0, &error);
	ck_assert_msg(document, "%s: %.3000s", error.text, output);
	results = json_object_get(document, "results");
	ck_assert(json_is_array(results));
	for (size_t i = 0; i < json_array_size(results); i++) {
		const json_t *row = json_array_get(results, i);
		const char *why =
			json_string_value(json_object_get(row, "unavailable"));

		ck_assert_ptr_null(json_object_get(row, "failed"));
		if (why)
			ck_assert_str_eq(why, "interrupted");
		else
			ck_assert_int_ge(json_integer_value(json_object_get(
						 row, "repeats")),
					 1);
	}
	json_decref(document);
}
END_TEST

/* weft-bench starts itself for each measurement. The kernel may be unable to, as where
 * an emulator runs the program. */
static bool can_start_itself(void)
{
	char *argv[] = { "bench", "started", NULL };
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		execv("/proc/self/exe", argv);
		_exit(1);
	}
	return waitpid(pid, &status, 0) == pid && status == 0;
}

int main(int argc, char **argv)
{
	Suite *suite;

	if (argc == 2 && strcmp(argv[1], "started") == 0)
		return 0;
	if (!can_start_itself()) {
		skip("a program cannot start itself here");
		return SKIPPED;
	}
	suite = suite_create("weft-bench");
	add_case(suite, "--list", list_names_all);
	add_loop(suite, "bad options", mistakes_are_named,
		 N_ELEMENTS(mistakes));
	add_loop(suite, "a full disk", lost_output_is_told,
		 N_ELEMENTS(on_full));
	add_case(suite, "--peers", peers_run_or_are_named);
	add_case(suite, "--peers, little", large_ones_run_small);
	add_case(suite, "--peers, servers", servers_are_compared,
		 servers_need_files, web_servers_are_compared);
	add_case(suite, "--peers, Python", python_is_compared);
	add_case(suite, "--peers=LIST", peers_are_in_the_help,
		 a_list_chooses_peers);
	add_case(suite, "no --peers", no_peers_by_default);
	add_case(suite, "a missing peer", a_missing_peer_is_no_failure);
	add_case(suite, "--csv", csv_has_its_columns);
	add_case(suite, "--markdown", markdown_is_a_table);
	add_case(suite, "--json", json_parses);
	add_loop(suite, "interrupted", an_interruption_leaves_json,
		 N_ELEMENTS(interruptions));
	add_case(suite, "killed", nothing_outlives_it);
	add_case(suite, "--sweep", sweep_has_a_row_for_each_number);
	add_case(suite, "growth", what_may_grow_runs_small);
	add_case(suite, "engine", engine_is_named);
	add_loop(suite, "engine, refused", refused_engine_is_named, 6);
	add_case(suite, "--svg without gnuplot", svg_needs_gnuplot);
	if (have_gnuplot()) {
		add_case(suite, "--svg", svg_is_drawn);
		add_case(suite, "--svg elsewhere", svg_file_must_be_writable,
			 svg_that_is_lost_is_told);
	}
	return run_suite(suite);
}
