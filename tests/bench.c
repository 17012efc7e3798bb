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
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

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
	const char *argv[MAX_ARGUMENTS + 2] = { program() };
	size_t length = 0;
	int fds[2], status;
	ssize_t n;
	pid_t pid;

	for (size_t i = 0; arguments[i]; i++) {
		ck_assert_uint_lt(i, MAX_ARGUMENTS);
		argv[i + 1] = arguments[i];
	}
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		if (path)
			setenv("PATH", path, 1);
		execv(argv[0], (char *const *)argv);
		perror(argv[0]);
		_exit(127);
	}
	close(fds[1]);
	while ((n = read(fds[0], output + length, TEXT_SIZE - 1 - length)) > 0)
		length += (size_t)n;
	output[length] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_msg(WIFEXITED(status), "signal %d: %.3000s", WTERMSIG(status),
		      output);
	return WEXITSTATUS(status);
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
}
END_TEST

/* What cannot be used is refused, and the message tells what can. */
static const struct {
	const char *arguments[3];
	const char *message;
} bad[] = {
	{ { "walk" }, "walk is no workload; there are all switch yield" },
	{ { "yield/0" }, "yield/0 is no workload" },
	{ { "--peers=go,rust" },
	  "'rust' is no peer; there are boost.context boost.fiber go pthread bare" },
	{ { "--peers=" }, "'' is no peer; there are boost.context" },
	{ { "--peers=go,,bare" }, "'' is no peer" },
	{ { "--peers", "--threads=2" },
	  "--peers compares one thread with one" },
	{ { "--duration=1" }, "it takes a time from 1ms to 60s" },
	{ { "--duration=1h" }, "it takes a time from 1ms to 60s" },
	{ { "--repeats=0" }, "it takes a whole number from 1 to 1000" },
	{ { "--size=-1" }, "it takes a whole number from 1 to" },
	{ { "--threads=x" }, "it takes a whole number from 1 to" },
	{ { "--pin=up" }, "it takes apart, together, none, or the numbers" },
	{ { "--csv", "--json" }, "exclude each other" },
	{ { "--markdown", "--csv" }, "exclude each other" },
	{ { "--sweep", "--peers" }, "it does not go with" },
	{ { "--sweep", "--json" }, "--sweep prints a table" },
	{ { "--sweep", "ring" }, "--sweep has nothing for ring; there are" },
	{ { "--sweep", "pingpong/two-threads" },
	  "--sweep has nothing for pingpong/two-threads" },
};

START_TEST(bad_options_are_refused)
{
	ck_assert_int_eq(bench_with_path(NULL, bad[_i].arguments), 64);
	ck_assert_msg(strstr(output, bad[_i].message), "it says: %.3000s",
		      output);
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

/* A list brings those that it names, and no others. */
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

/* The header names what I/O is really done with. */
START_TEST(engine_is_named)
{
	ck_assert_int_eq(BENCH(QUICK, "nop", "yield/2"), 0);
	if (have_io_uring()) {
		says("\nengine       uring, doorbell ");
		says_not("not available");
	} else {
		says("\nengine       none: I/O fails here with \"");
		says("not available: no io_uring here; weft-info says why");
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

	refuse_call(&refusals[_i]);
	ck_assert_int_eq(BENCH(QUICK, "nop", "yield/2"), 0);
	says("\nengine       none: I/O fails here with \"");
	says(strerror(refusals[_i].error));
	says("not available: no io_uring here; weft-info says why");
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
	ck_assert_int_eq(BENCH(option, QUICK, "yield/2"), 0);
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

static bool have_gnuplot(void)
{
	return system("gnuplot --version >/dev/null 2>&1") == 0;
}

int main(void)
{
	Suite *suite = suite_create("weft-bench");

	add_case(suite, "--list", list_names_all);
	add_loop(suite, "bad options", bad_options_are_refused,
		 N_ELEMENTS(bad));
	add_case(suite, "--peers", peers_run_or_are_named);
	add_case(suite, "--peers, little", large_ones_run_small);
	add_case(suite, "--peers=LIST", a_list_chooses_peers);
	add_case(suite, "no --peers", no_peers_by_default);
	add_case(suite, "a missing peer", a_missing_peer_is_no_failure);
	add_case(suite, "--csv", csv_has_its_columns);
	add_case(suite, "--markdown", markdown_is_a_table);
	add_case(suite, "--json", json_parses);
	add_case(suite, "--sweep", sweep_has_a_row_for_each_number);
	add_case(suite, "engine", engine_is_named);
	add_loop(suite, "engine, refused", refused_engine_is_named, 3);
	add_case(suite, "--svg without gnuplot", svg_needs_gnuplot);
	if (have_gnuplot()) {
		add_case(suite, "--svg", svg_is_drawn);
		add_case(suite, "--svg elsewhere", svg_file_must_be_writable);
	}
	return run_suite(suite);
}
