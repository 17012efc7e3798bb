/* SPDX-License-Identifier: MIT */
#include "ends.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <sys/socket.h>
#include <unistd.h>

const char *const ends_names[N_ENDS_KINDS] = {
	[ENDS_PIPE] = "pipe",
	[ENDS_TCP] = "tcp",
	[ENDS_UNIX] = "unix stream",
	[ENDS_SEQPACKET] = "unix seqpacket",
	[ENDS_DATAGRAM] = "unix datagram",
	[ENDS_UDP] = "udp",
};

/* A socket that is bound to a port of the kernel's choice. */
static int bind_to_loopback(int type, struct sockaddr_in *addr)
{
	socklen_t size = sizeof *addr;
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);

	*addr = (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	if (fd >= 0 && !bind(fd, (struct sockaddr *)addr, size) &&
	    !getsockname(fd, (struct sockaddr *)addr, &size))
		return fd;
	if (fd >= 0)
		close(fd);
	return -1;
}

int listen_on_loopback(int backlog, unsigned short *port)
{
	struct sockaddr_in addr;
	int fd = bind_to_loopback(SOCK_STREAM, &addr);

	if (fd >= 0 && listen(fd, backlog)) {
		close(fd);
		return -1;
	}
	*port = ntohs(addr.sin_port);
	return fd;
}

static bool make_tcp(int ends[2])
{
	struct sockaddr_in addr = {
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int one = 1;
	unsigned short port;
	int fd = listen_on_loopback(1, &port);

	if (fd < 0)
		return false;
	addr.sin_port = htons(port);
	ends[1] = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ends[0] = -1;
	if (connect(ends[1], (struct sockaddr *)&addr, sizeof addr) == 0)
		ends[0] = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
	close(fd);
	if (ends[0] < 0) {
		close(ends[1]);
		return false;
	}
	setsockopt(ends[0], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	setsockopt(ends[1], IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return true;
}

static bool make_udp(int ends[2])
{
	struct sockaddr_in addrs[2];

	ends[0] = bind_to_loopback(SOCK_DGRAM, &addrs[0]);
	ends[1] = bind_to_loopback(SOCK_DGRAM, &addrs[1]);
	return ends[0] >= 0 && ends[1] >= 0 &&
	       !connect(ends[0], (struct sockaddr *)&addrs[1],
			sizeof addrs[1]) &&
	       !connect(ends[1], (struct sockaddr *)&addrs[0], sizeof addrs[0]);
}

static bool make(enum ends_kind kind, int ends[2])
{
	static const int types[N_ENDS_KINDS] = {
		[ENDS_UNIX] = SOCK_STREAM,
		[ENDS_SEQPACKET] = SOCK_SEQPACKET,
		[ENDS_DATAGRAM] = SOCK_DGRAM,
	};

	switch (kind) {
	case ENDS_PIPE:
		return pipe2(ends, O_CLOEXEC) == 0;
	case ENDS_TCP:
		return make_tcp(ends);
	case ENDS_UDP:
		return make_udp(ends);
	default:
		return socketpair(AF_UNIX, types[kind] | SOCK_CLOEXEC, 0,
				  ends) == 0;
	}
}

bool make_ends(enum ends_kind kind, bool is_nonblocking, int ends[2])
{
	if (!make(kind, ends))
		return false;
	for (int i = 0; is_nonblocking && i < 2; i++)
		if (fcntl(ends[i], F_SETFL,
			  fcntl(ends[i], F_GETFL) | O_NONBLOCK))
			return false;
	return true;
}
