/* SPDX-License-Identifier: MIT */
/*
 * An echo server, on 127.0.0.1:7777 or on the address that it is given. The main tasklet
 * accepts connections. Each connection has a tasklet of its own, whose code is written as
 * if it had the thread to itself. tools/server.c has several threads, limits and an
 * orderly end.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <weft.h>

#define PAUSE (10 * WEFT_MILLISECOND)

static int serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char buffer[4096];
	ssize_t n, sent = 0;

	while (sent >= 0 && (n = weft_recv(fd, buffer, sizeof buffer, 0)) > 0)
		for (ssize_t done = 0; done < n && sent >= 0; done += sent)
			sent = weft_send(fd, buffer + done, (size_t)(n - done),
					 0);
	return weft_close(fd);
}

/* Without descriptors or memory for a connection, it waits for others to end. */
static int accept_next(int listener)
{
	int fd, rc = 0;

	do {
		fd = weft_accept(listener, NULL, NULL);
		if (fd == -EMFILE || fd == -ENFILE || fd == -ENOBUFS ||
		    fd == -ENOMEM)
			rc = weft_sleep(PAUSE);
		else if (fd != -ECONNABORTED)
			return fd;
	} while (rc == 0);
	return rc;
}

int main(int argc, char **argv)
{
	const char *address = argc > 1 ? argv[1] : ":7777";
	int listener = weft_listen(address, SOMAXCONN);
	int fd;

	if (listener < 0) {
		const char *wrong = weft_address_error(address);

		fprintf(stderr, "%s: %s\n", address,
			wrong ? wrong : strerror(-listener));
		return EXIT_FAILURE;
	}
	/* The tasklets of the connections run whenever weft_accept() waits. */
	while ((fd = accept_next(listener)) >= 0)
		if (weft_tasklet_is_null(
			    weft_spawn(serve, (void *)(intptr_t)fd)))
			weft_close(fd);
	fprintf(stderr, "accept: %s\n", strerror(-fd));
	return EXIT_FAILURE;
}
