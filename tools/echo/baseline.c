/* SPDX-License-Identifier: MIT */
/*
 * weft-echo-baseline epoll|uring ADDRESS: run by weft-echo.
 */
#include "baseline.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <unistd.h>

#include "../address.h"
#include "../process.h"

static struct address address;

_Noreturn void fail(int error, const char *what)
{
	fprintf(stderr, "weft-echo-baseline: %s: %s\n", what, strerror(error));
	address_remove_file(&address);
	exit(EXIT_FAILURE);
}

static int open_signals(void)
{
	int fd = process_open_signals();

	if (fd < 0)
		fail(-fd, "signalfd");
	return fd;
}

int main(int argc, char **argv)
{
	char problem[ADDRESS_PROBLEM];
	struct totals t = { 0 };
	int listener, signals;
	bool by_epoll;

	if (argc != 3 ||
	    (strcmp(argv[1], "epoll") && strcmp(argv[1], "uring"))) {
		fputs("weft-echo-baseline is run by weft-echo --baseline\n",
		      stderr);
		return EX_USAGE;
	}
	by_epoll = strcmp(argv[1], "epoll") == 0;
	if (!address_parse(&address, argv[2], problem)) {
		fprintf(stderr, "weft-echo-baseline: %s\n", problem);
		return EX_USAGE;
	}
	process_allow_many_files();
	signals = open_signals();
	if (!by_epoll)
		open_uring();
	listener = address_listen(&address, true);
	if (listener < 0)
		fail(-listener, address.text);
	if (by_epoll)
		fcntl(listener, F_SETFL, O_NONBLOCK);
	printf("listening on ");
	address_print(&address);
	putchar('\n');
	fflush(stdout);
	(by_epoll ? serve_by_epoll : serve_by_uring)(listener, signals, &t);
	address_remove_file(&address);
	printf("total: %ju connections, %ju messages, %ju bytes\n",
	       (uintmax_t)t.n_connections, (uintmax_t)t.n_messages,
	       (uintmax_t)t.n_bytes);
	return EXIT_SUCCESS;
}
