/* SPDX-License-Identifier: MIT */
/*
 * A TCP echo server on 127.0.0.1:7777: a tasklet accepts, and each connection
 * has a tasklet of its own, written as if it had the thread to itself. For
 * several threads, Unix sockets and an orderly end see tools/weft-echo.c.
 */
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

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

int main(void)
{
	const struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(7777),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int fd;

	setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &(int){ 1 },
		   sizeof(int));
	if (bind(listener, (const struct sockaddr *)&address, sizeof address) ||
	    listen(listener, SOMAXCONN)) {
		perror("127.0.0.1:7777");
		return EXIT_FAILURE;
	}
	/* The connections' tasklets run whenever accepting has to wait. */
	while ((fd = weft_accept(listener, NULL, NULL)) >= 0)
		if (weft_tasklet_is_null(
			    weft_spawn(serve, (void *)(intptr_t)fd)))
			weft_close(fd);
	fprintf(stderr, "accept: %s\n", strerror(-fd));
	return EXIT_FAILURE;
}
