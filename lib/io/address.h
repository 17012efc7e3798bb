/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text; see weft_listen() and weft_dial().
 */
#ifndef WEFT__ADDRESS_H
#define WEFT__ADDRESS_H

#include <netdb.h>
#include <stdbool.h>
#include <sys/socket.h>
#include <sys/un.h>

enum { HOST_BYTES = 256, PORT_BYTES = 64 };

struct address {
	/* "unix:" */
	struct sockaddr_un local;
	socklen_t local_length; /* 0: it is another address */

	/* "host:port" */
	bool is_any; /* the host is "*" */
	char host[HOST_BYTES], port[PORT_BYTES];
};

/* Returns NULL, or what is wrong with @text. */
const char *weft__address_parse(struct address *a, const char *text);

#endif /* WEFT__ADDRESS_H */
