/* SPDX-License-Identifier: MIT */
/*
 * The frame of a server: threads that listen, accept and end in order.
 *
 * Each of N threads has a scheduler, and on it a tasklet per address that accepts
 * and one per connection. For a TCP address each thread has a listening socket of
 * its own and the kernel spreads the connections (SO_REUSEPORT); the socket of a
 * Unix address is shared, and whichever thread is first accepts. Datagrams are the
 * program's to receive, by a tasklet per thread and address.
 */
#ifndef TOOLS_SERVER_H
#define TOOLS_SERVER_H

#include <argp.h>
#include <netinet/in.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <weft.h>

#include "address.h"

/* What one tasklet serves. */
struct server_connection {
	struct server_connection *next, **link; /* in the thread's list */
	struct server_thread *thread;
	int fd; /* closed by the server when serve() returns */
	union {
		struct sockaddr any;
		struct sockaddr_in in;
		struct sockaddr_in6 in6;
	} peer; /* its family is 0 if the connection came by a stream */
	/* of the program */
	bool has_moved, is_cut;
	int64_t since;
};

/* What the summary tells. */
struct server_counts {
	uint64_t n_connections; /* the server counts them */
	uint64_t n_messages, n_bytes;
	uint64_t n_idle, n_late; /* connections that were closed for that */
};

/* All but the thread that it is touches it before the start and after the end
 * only. */
struct server_thread {
	pthread_t thread;
	weft_semaphore room; /* for connections */
	struct server_acceptor *acceptors;
	struct server_connection *connections;
	bool has_complained;
	bool is_ending; /* serve() is to answer what it has, and to return */
	struct server_counts counts;
	void *own;      /* of the program */
	char apart[64]; /* from the counts of the next thread */
};

/* Set by the program before server_run(), and left alone after that. */
struct server {
	const char *default_address;
	const char *messages, *bytes; /* as the summary calls them */
	struct address *addresses;
	size_t n_addresses, n_threads;
	uint64_t
		max_connections; /* of all threads together; at least n_threads */
	size_t stack_size; /* of a connection's tasklet; 0: the usual one */
	bool is_stream;    /* connections come by weft_accept_stream() */
	int64_t idle;      /* as the option says; what it means is serve()'s */
	int64_t grace; /* how long connections may take to end by themselves */
	struct server_thread *threads; /* made by server_new_threads() */
	void (*serve)(struct server_connection *c);
	/* Receives datagrams until its tasklet is killed; NULL: there are none. */
	void (*receive)(struct server_thread *t, int fd);

	/* Each of these can be NULL. */
	/* When a thread begins: 0, or why it cannot serve. */
	int (*begin)(struct server_thread *t);
	/* When a thread begins to end. */
	void (*end)(struct server_thread *t);
	/* After the grace, besides shutting connections down. */
	void (*cut)(struct server_thread *t);
	/* When all tasklets of a thread have ended. */
	void (*finish)(struct server_thread *t);
};

extern struct server server;

enum { SERVER_OPTION_IDLE = 1024 };

/* Takes what all servers have: the options -t, -c and --idle, addresses, and at the end
 * the default address. For all other keys ARGP_ERR_UNKNOWN. */
error_t server_parse_option(int key, char *arg, struct argp_state *state);

void server_new_threads(void);

/* Serves until SIGINT or SIGTERM, which let the connections end, and prints a summary.
 * Exits with a message if it cannot serve. */
void server_run(void);

void server_free(void);

/* Tells what went wrong, once per thread. */
void server_complain(struct server_thread *t, const char *what, int error);

/* Ends the program: nothing is served yet. */
_Noreturn void server_fail(int error, const char *what, const char *about);

#endif /* TOOLS_SERVER_H */
