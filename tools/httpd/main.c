/* SPDX-License-Identifier: MIT */
/*
 * weft-httpd: serves the files of a folder by HTTP/1.1, with a tasklet per
 * connection. This is the command line; ../server.c accepts, client.c talks.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "../option.h"
#include "httpd.h"
#include "request.h"

enum { LEAST_TARGET = 16, LEAST_HEADER = 64 };

struct settings settings = {
	.log = -1,
	.max_header = 16 * 1024,
	.max_target = 8 * 1024,
	.request_time = 10 * WEFT_SECOND,
	.keep = WEFT_SECOND,
};

struct server server = {
	.default_address = "127.0.0.1:8080",
	.messages = "requests",
	.bytes = "bytes of content",
	.n_threads = 1,
	.max_connections = 10000,
	.idle = 60 * WEFT_SECOND,
	.grace = 10 * WEFT_SECOND,
	.serve = client_serve,
	.end = files_end,
};

static const char *root = "."; /* as the command line names it */
static const char *log_file;

/* --- the command line --- */

enum {
	OPTION_KEEP = 256,
	OPTION_REQUEST_TIME,
	OPTION_DRAIN,
	OPTION_HEADER_SIZE,
	OPTION_TARGET_SIZE
};

static const struct argp_option options[] = {
	{ "root", 'r', "FOLDER", 0, "serve the files below FOLDER (.)", 0 },
	{ "index", 'i', "NAME", 0,
	  "for a folder, send the file NAME in it, such as index.html; without this, 403",
	  0 },
	{ "log", 'l', "FILE", 0,
	  "append a line for each request to FILE, in the common format; -: standard output",
	  0 },
	{ "threads", 't', "N", 0,
	  "serve with N threads, each with a scheduler of its own (1)", 0 },
	{ "keep", OPTION_KEEP, "TIME", 0,
	  "keep a file open that long for further requests (1s); 0s: not at all",
	  0 },
	{ "connections", 'c', "N", 0,
	  "have N connections at most (10000); others wait to be accepted", 1 },
	{ "idle", SERVER_OPTION_IDLE, "TIME", 0,
	  "close a connection on which nothing moves for that long (60s); 0s: never",
	  1 },
	{ "request-time", OPTION_REQUEST_TIME, "TIME", 0,
	  "answer 408 to a request that is not there that long after its first byte (10s)",
	  1 },
	{ "header-size", OPTION_HEADER_SIZE, "BYTES", 0,
	  "answer 431 to a header with more than that many bytes (16384)", 1 },
	{ "target-size", OPTION_TARGET_SIZE, "BYTES", 0,
	  "answer 414 to a URL of more than that many bytes (8192)", 1 },
	{ "drain", OPTION_DRAIN, "TIME", 0,
	  "after SIGINT or SIGTERM, give answers that long to be sent (10s)",
	  1 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 'r':
		root = arg;
		return 0;
	case 'i':
		if (!*arg || strchr(arg, '/'))
			argp_error(
				state,
				"bad --index '%s': the name of a file is accepted, as index.html",
				arg);
		settings.index = arg;
		return 0;
	case 'l':
		log_file = arg;
		return 0;
	case OPTION_KEEP:
		settings.keep = option_time(state, "keep", arg, 0, INT64_MAX,
					    "; 0s: not at all");
		return 0;
	case OPTION_REQUEST_TIME:
		settings.request_time = option_time(state, "request-time", arg,
						    1, INT64_MAX, "");
		return 0;
	case OPTION_HEADER_SIZE:
		settings.max_header =
			option_number(state, "header-size", arg, LEAST_HEADER,
				      REQUEST_MAX_HEADER);
		return 0;
	case OPTION_TARGET_SIZE:
		settings.max_target =
			option_number(state, "target-size", arg, LEAST_TARGET,
				      REQUEST_MAX_TARGET);
		return 0;
	case OPTION_DRAIN:
		server.grace =
			option_time(state, "drain", arg, 1, INT64_MAX, "");
		return 0;
	default:
		return server_parse_option(key, arg, state);
	}
}

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[ADDRESS...]",
	.doc = "Serve the files of a folder by HTTP/1.1, with a tasklet per connection.\v"
	       "ADDRESS is HOST:PORT, [IPV6]:PORT, *:PORT (all addresses of the machine) or unix:/PATH; without one it is "
	       "127.0.0.1:8080. With port 0 the system chooses one. The addresses are "
	       "printed once they can be connected to. SIGINT and SIGTERM end the server "
	       "with a summary.",
};

/* --- the course --- */

/* Opens the folder, and sees whether files below it can be opened at all. */
static void open_root(void)
{
	struct open_how how = { .flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC,
				.resolve = RESOLVE_BENEATH };
	long probe;

	settings.root = open(root, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (settings.root < 0)
		server_fail(errno, "cannot serve ", root);
	probe = syscall(SYS_openat2, settings.root, ".", &how, sizeof how);
	if (probe < 0 && errno == ENOSYS)
		server_fail(ENOSYS, "cannot serve files without openat2(2), ",
			    "which Linux has from 5.6 on");
	if (probe < 0)
		server_fail(errno, "cannot serve ", root);
	close((int)probe);
}

static void open_log(void)
{
	if (!log_file)
		return;
	if (strcmp(log_file, "-") == 0)
		settings.log = STDOUT_FILENO;
	else
		settings.log =
			open(log_file,
			     O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0644);
	if (settings.log < 0)
		server_fail(errno, "cannot write to ", log_file);
	server.cut = log_cut;
}

static void make_workers(void)
{
	for (size_t i = 0; i < server.n_threads; i++) {
		struct worker *w = calloc(1, sizeof *w);

		if (w)
			w->files = files_new();
		if (w && log_file)
			w->log = log_new();
		if (!w || !w->files || (log_file && !w->log))
			server_fail(ENOMEM, "cannot start", "");
		server.threads[i].own = w;
	}
}

static void free_all(void)
{
	for (size_t i = 0; i < server.n_threads; i++) {
		struct worker *w = server.threads[i].own;

		log_free(w->log);
		files_free(w->files);
		free(w);
	}
	server_free();
	close(settings.root);
	if (settings.log > STDERR_FILENO)
		close(settings.log);
}

int main(int argc, char **argv)
{
	option_parse(&parser, argc, argv, NULL);
	request_limit(settings.max_header);
	tzset();
	open_root();
	open_log();
	server_new_threads();
	make_workers();
	server_run();
	free_all();
	return EXIT_SUCCESS;
}
