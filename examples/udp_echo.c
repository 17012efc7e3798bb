/* SPDX-License-Identifier: MIT */
/*
 * A UDP echo on a stream of messages.
 *
 * The kernel receives by itself, into buffers that the server has lent it, and each
 * message comes with the address of its sender. The server answers and gives the
 * buffer back. Clients of the same thread send, and take what comes back.
 */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

enum { CLIENTS = 3, ROUNDS = 2, MOST_BYTES = 1472 };

static struct sockaddr_in server_address;

static void check(ssize_t rc, const char *what)
{
	if (rc >= 0)
		return;
	fprintf(stderr, "%s: %s\n", what, strerror((int)-rc));
	exit(EXIT_FAILURE);
}

static int udp_socket(void)
{
	int fd = weft_socket(AF_INET, SOCK_DGRAM, 0);

	check(fd, "weft_socket");
	return fd;
}

/* Runs until it is killed. */
static int serve(void *arg)
{
	int fd = *(int *)arg;
	weft_buffers *buffers =
		weft_buffers_new(16, WEFT_MESSAGE_ROOM + MOST_BYTES);
	weft_stream *stream = weft_recvmsg_stream(fd, buffers);
	struct weft_message m;
	int n = 0;

	if (!stream) {
		perror("weft_recvmsg_stream");
		exit(EXIT_FAILURE);
	}
	while (weft_stream_next_message(stream, &m) > 0) {
		/* An answer that cannot be sent is lost, as any datagram can
		 * be. */
		(void)weft_sendto(fd, m.data, m.size, 0, m.header.msg_name,
				  m.header.msg_namelen);
		weft_stream_release(stream, m.data);
		n++;
	}
	weft_stream_close(stream);
	weft_buffers_free(buffers);
	return n;
}

struct client {
	int number;
	char answers[ROUNDS][32];
};

static int ask(void *arg)
{
	struct client *c = arg;
	int fd = udp_socket();
	char text[32];
	ssize_t n;

	check(weft_connect(fd, (struct sockaddr *)&server_address,
			   sizeof server_address),
	      "weft_connect");
	for (int i = 0; i < ROUNDS; i++) {
		n = snprintf(text, sizeof text, "hello %d from client %d",
			     i + 1, c->number);
		check(weft_send(fd, text, (size_t)n, 0), "weft_send");
		n = weft_recv(fd, c->answers[i], sizeof text - 1, 0);
		check(n, "weft_recv");
		c->answers[i][n] = '\0';
	}
	return weft_close(fd);
}

int main(void)
{
	struct client clients[CLIENTS] = { 0 };
	weft_tasklet asking[CLIENTS], server;
	socklen_t size = sizeof server_address;
	int fd = udp_socket();
	int n;

	server_address.sin_family = AF_INET;
	server_address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&server_address, size) ||
	    getsockname(fd, (struct sockaddr *)&server_address, &size)) {
		perror("bind");
		return EXIT_FAILURE;
	}
	server = weft_spawn(serve, &fd);
	for (int i = 0; i < CLIENTS; i++) {
		clients[i].number = i + 1;
		asking[i] = weft_spawn(ask, &clients[i]);
	}
	for (int i = 0; i < CLIENTS; i++)
		weft_tasklet_join(asking[i]);
	for (int i = 0; i < CLIENTS; i++)
		for (int j = 0; j < ROUNDS; j++)
			puts(clients[i].answers[j]);
	weft_tasklet_kill(server, WEFT_PENDING);
	n = weft_tasklet_join(server);
	printf("the server has echoed %d messages\n", n);
	return weft_close(fd) ? EXIT_FAILURE : EXIT_SUCCESS;
}
