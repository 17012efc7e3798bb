/* SPDX-License-Identifier: MIT */
/*
 * weft-echo: sends back what it receives, a tasklet per connection. Datagrams are
 * sent back by one tasklet per thread and address. This is the command line; server.c
 * accepts, echo/serve.c answers.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "echo/serve.h"
#include "option.h"
#include "sibling.h"

enum { STREAM_STACK = 8 * 1024 };

struct server server = {
	.default_address = "127.0.0.1:7777",
	.messages = "messages",
	.bytes = "bytes",
	.n_threads = 1,
	.max_connections = 100000,
	.idle = 600 * WEFT_SECOND,
	.grace = WEFT_SECOND,
	.serve = serve_one_shot,
	.receive = receive_datagrams,
	.begin = echo_begin,
	.end = echo_end,
	.finish = echo_finish,
};

static const char *baseline; /* what serves instead; NULL: weft */
static const char *of_weft;  /* an option that a baseline does not have */

/* --- the command line --- */

enum { OPTION_BASELINE = 256, OPTION_MODE };

static void set_mode(struct argp_state *state, const char *mode)
{
	bool is_stream = strcmp(mode, "stream") == 0;

	if (!is_stream && strcmp(mode, "one-shot") != 0)
		argp_error(state,
			   "bad --mode '%s': one-shot and stream are accepted",
			   mode);
	of_weft = "mode";
	server.is_stream = is_stream;
	server.stack_size = is_stream ? STREAM_STACK : 0;
	server.serve = is_stream ? serve_stream : serve_one_shot;
	server.receive = is_stream ? stream_datagrams : receive_datagrams;
}

static void check_baseline(struct argp_state *state)
{
	if (!baseline)
		return;
	if (server.n_addresses > 1 || server.n_threads > 1 ||
	    server.addresses[0].is_datagram)
		argp_error(
			state,
			"--baseline serves one address, without udp:, with one thread");
	if (of_weft)
		argp_error(state, "--%s is for a server with weft", of_weft);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case OPTION_BASELINE:
		if (strcmp(arg, "epoll") != 0 && strcmp(arg, "uring") != 0)
			argp_error(
				state,
				"bad --baseline '%s': epoll and uring are accepted",
				arg);
		baseline = arg;
		return 0;
	case OPTION_MODE:
		set_mode(state, arg);
		return 0;
	case 'c':
		of_weft = "connections";
		return server_parse_option(key, arg, state);
	case SERVER_OPTION_IDLE:
		of_weft = "idle";
		return server_parse_option(key, arg, state);
	case ARGP_KEY_END:
		check_baseline(state);
		return server_parse_option(key, arg, state);
	default:
		return server_parse_option(key, arg, state);
	}
}

static const struct argp_option options[] = {
	{ "connections", 'c', "N", 0,
	  "have N connections at most (100000); others wait to be accepted",
	  0 },
	{ "idle", SERVER_OPTION_IDLE, "TIME", 0,
	  "close a connection on which nothing moves for that long (600s); 0s: never",
	  0 },
	{ "mode", OPTION_MODE, "MODE", 0,
	  "one-shot (the default): a call for each message; stream: messages come by themselves, into buffers that all connections share",
	  0 },
	{ "baseline", OPTION_BASELINE, "KIND", 0,
	  "serve one address without weft, by epoll or uring, to compare with",
	  0 },
	{ "threads", 't', "N", 0,
	  "serve with N threads, each with a scheduler of its own (1)", 0 },
	{ 0 }
};

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[ADDRESS...]",
	.doc = "Send back what is received, with a tasklet per connection.\v"
	       "ADDRESS is HOST:PORT, [IPV6]:PORT, *:PORT (all addresses of the machine), the same after "
	       "udp:, or unix:/PATH; without one it is 127.0.0.1:7777. With port 0 the system chooses one. The "
	       "addresses are printed once they can be connected to. SIGINT and "
	       "SIGTERM end the server with a summary.",
};

/* --- the program --- */

static _Noreturn void be_baseline(void)
{
	char path[1100];

	if (sibling_find("echo", "weft-echo-baseline", path, sizeof path))
		execl(path, path, baseline, server.addresses[0].text, NULL);
	server_fail(errno, "cannot run ", path);
}

int main(int argc, char **argv)
{
	option_parse(&parser, argc, argv, NULL);
	if (baseline)
		be_baseline();
	server_new_threads();
	server_run();
	server_free();
	return EXIT_SUCCESS;
}
