/* SPDX-License-Identifier: MIT */
/*
 * A TCP proxy. Each connection has two tasklets, one for each direction. The end of one
 * direction is passed on by weft_shutdown(), and the other direction goes on: so a client
 * can say "that was all" and still get its answer.
 *
 * `proxy :8080 :80` passes on to port 80 what comes on port 8080. Without addresses, to
 * show it, there is a server behind the proxy that counts bytes up to the end of what it
 * gets, and then answers.
 */
#include <errno.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#define PAUSE (10 * WEFT_MILLISECOND)

struct pair {
	int from, to;
};

static const char *upstream;

static int pass_on(void *arg)
{
	const struct pair *p = arg;
	char data[16384];
	ssize_t n, sent = 0;

	while ((n = weft_read(p->from, data, sizeof data)) > 0) {
		sent = weft_send_full(p->to, data, (size_t)n, 0);
		if (sent < n)
			break;
	}
	/* If one of them is gone, the other direction has to end, too. */
	weft_shutdown(p->to, n == 0 ? SHUT_WR : SHUT_RDWR);
	return n <= 0 ? (int)n : sent < 0 ? (int)sent : -EPIPE;
}

static int relay(void *arg)
{
	int client = (int)(intptr_t)arg;
	int server = weft_dial(upstream);
	struct pair up = { client, server }, down = { server, client };
	weft_tasklet t;
	int rc = server;

	if (server >= 0) {
		t = weft_spawn(pass_on, &up);
		rc = pass_on(&down);
		/* The answer is complete or the server is gone: what the client may
		 * still have to say interests nobody. */
		weft_tasklet_kill(t, WEFT_PENDING);
		weft_tasklet_join(t);
		weft_close(server);
	}
	weft_close(client);
	return rc;
}

static int count_bytes(void *arg)
{
	int fd = (int)(intptr_t)arg;
	char data[16384];
	long total = 0;
	ssize_t n;

	while ((n = weft_read(fd, data, sizeof data)) > 0)
		total += n;
	n = snprintf(data, sizeof data, "%ld bytes", total);
	weft_send_full(fd, data, (size_t)n, 0);
	return weft_close(fd);
}

struct service {
	int fd;
	weft_fn fn;
};

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

static int accept_all(void *arg)
{
	const struct service *s = arg;
	int fd;

	while ((fd = accept_next(s->fd)) >= 0)
		if (weft_tasklet_is_null(
			    weft_spawn(s->fn, (void *)(intptr_t)fd)))
			weft_close(fd);
	return fd;
}

static void listen_on(struct service *s, const char *address)
{
	s->fd = weft_listen(address, SOMAXCONN);
	if (s->fd >= 0)
		return;
	fprintf(stderr, "%s: %s\n", address, strerror(-s->fd));
	exit(EXIT_FAILURE);
}

/* On a free port of this machine; it says where. */
static void start(struct service *s, char *where, size_t size)
{
	struct sockaddr_in name;
	socklen_t length = sizeof name;

	listen_on(s, ":0");
	getsockname(s->fd, (struct sockaddr *)&name, &length);
	snprintf(where, size, ":%d", ntohs(name.sin_port));
	weft_spawn(accept_all, s);
}

static void ask(const char *where, size_t n)
{
	int fd = weft_dial(where);
	char *data = calloc(1, n);
	char answer[64];
	ssize_t length;

	if (fd < 0 || !data || weft_send_full(fd, data, n, 0) < 0) {
		fprintf(stderr, "%s: no connection\n", where);
		exit(EXIT_FAILURE);
	}
	weft_shutdown(fd, SHUT_WR); /* that was all */
	length = weft_recv_full(fd, answer, sizeof answer, 0);
	printf("the answer is: %.*s\n", (int)length, answer);
	weft_close(fd);
	free(data);
}

static void demonstrate(struct service *proxy)
{
	static struct service server = { .fn = count_bytes };
	static char behind[32];
	char where[32];

	start(&server, behind, sizeof behind);
	upstream = behind;
	start(proxy, where, sizeof where);
	ask(where, 5);
	ask(where, 3000000);
	ask(where, 70000);
}

int main(int argc, char **argv)
{
	static struct service proxy = { .fn = relay };
	int rc;

	if (argc != 1 && argc != 3) {
		fprintf(stderr, "Usage: %s [ADDRESS UPSTREAM]\n", argv[0]);
		return EXIT_FAILURE;
	}
	if (argc == 1) {
		demonstrate(&proxy);
		return EXIT_SUCCESS;
	}
	for (int i = 1; i < argc; i++) {
		const char *wrong = weft_address_error(argv[i]);

		if (wrong) {
			fprintf(stderr, "%s: %s\n", argv[i], wrong);
			return EXIT_FAILURE;
		}
	}
	upstream = argv[2];
	listen_on(&proxy, argv[1]);
	rc = accept_all(&proxy); /* until the process is ended */
	fprintf(stderr, "accept: %s\n", strerror(-rc));
	return EXIT_FAILURE;
}
