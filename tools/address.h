/* SPDX-License-Identifier: MIT */
/*
 * Where to listen, as the command line names it.
 */
#ifndef TOOLS_ADDRESS_H
#define TOOLS_ADDRESS_H

#include <stdbool.h>
#include <sys/socket.h>

enum { ADDRESS_PROBLEM = 256 };

struct address {
	const char *text;
	struct sockaddr_storage name;
	socklen_t length;
	bool is_datagram;
	bool is_any;    /* all of the machine, to listen on */
	bool owns_file; /* a Unix one's, that address_listen() created */
};

/* Reads HOST:PORT, [IPV6]:PORT, *:PORT, the same after udp:, or unix:/PATH; @text must
 * stay. False when it is none of them: @problem says what was wrong and what is
 * accepted. */
bool address_parse(struct address *a, const char *text,
		   char problem[ADDRESS_PROBLEM]);

bool address_is_unix(const struct address *a);

/* A socket of the address's kind to connect with, or a negative errno. */
int address_socket(const struct address *a);

/* A socket that listens, or that datagrams come to, or a negative errno. Of a TCP address there may be more,
 * and @is_first says that this one is not: the kernel then spreads connections
 * among them. Port 0 becomes the port that the system chose. */
int address_listen(struct address *a, bool is_first);

/* Prints it as it can be connected to. */
void address_print(const struct address *a);

/* Removes the file of a Unix address that was listened on. */
void address_remove_file(struct address *a);

#endif /* TOOLS_ADDRESS_H */
