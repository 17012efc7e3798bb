/* SPDX-License-Identifier: MIT */
/*
 * The end: the main tasklet of the first thread reads SIGINT or SIGTERM from a
 * signalfd and passes it on by a channel to the main tasklets of the others.
 * Each shuts its own sockets down for reading, so that the connections end once
 * they have answered what had arrived, and after the grace those left are shut
 * down altogether. A connection is closed by its own tasklet, so no descriptor
 * is closed while an operation is in flight on it.
 */
#include "server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "option.h"
#include "process.h"

enum { MAX_THREADS = 1024, MAX_CONNECTIONS = 10000000 };

static const int64_t ACCEPT_PAUSE = 10 * WEFT_MILLISECOND;

/* Of one address. */
struct server_acceptor {
	struct server_thread *thread;
	weft_tasklet tasklet;
	int fd; /* of a Unix address the same in all threads */
};

static weft_channel *ready; /* int: 0, or why a thread cannot serve */
static weft_channel *stop;  /* a signal */

/* --- messages --- */

void server_complain(struct server_thread *t, const char *what, int error)
{
	if (!t->has_complained)
		fprintf(stderr, "%s: %s: %s (told once per thread)\n",
			program_invocation_short_name, what, strerror(error));
	t->has_complained = true;
}

_Noreturn void server_fail(int error, const char *what, const char *about)
{
	fprintf(stderr, "%s: %s%s: %s\n", program_invocation_short_name, what,
		about, strerror(error));
	for (size_t i = 0; i < server.n_addresses; i++)
		address_remove_file(&server.addresses[i]);
	exit(EXIT_FAILURE);
}

/* --- connections --- */

static void end_connection(struct server_connection *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	weft_close(c->fd);
	weft_semaphore_post(&c->thread->room);
	free(c);
}

static int serve_connection(void *arg)
{
	struct server_connection *c = arg;

	server.serve(c);
	end_connection(c);
	return 0;
}

/* The caller's own is copied. */
static void begin_connection(const struct server_connection *own)
{
	const struct weft_tasklet_options options = {
		.stack_size = server.stack_size
	};
	struct server_thread *t = own->thread;
	struct server_connection *c = malloc(sizeof *c);

	if (!c) {
		server_complain(t, "a connection was refused", ENOMEM);
		weft_close(own->fd);
		weft_semaphore_post(&t->room);
		return;
	}
	*c = *own;
	c->next = t->connections;
	c->link = &t->connections;
	if (c->next)
		c->next->link = &c->next;
	t->connections = c;
	if (weft_tasklet_is_null(
		    weft_spawn_with(&options, serve_connection, c))) {
		server_complain(t, "a connection was refused", errno);
		end_connection(c);
		return;
	}
	t->counts.n_connections++;
}

/* -EINVAL at the end. */
static int accept_next(struct server_connection *c, int fd,
		       weft_stream *incoming)
{
	socklen_t length = sizeof c->peer;

	c->peer.any.sa_family = AF_UNSPEC;
	c->fd = incoming ? (int)weft_stream_next(incoming, NULL)
			 : weft_accept(fd, &c->peer.any, &length);
	return c->fd;
}

static int accept_connections(void *arg)
{
	struct server_acceptor *a = arg;
	/* Without memory for a stream, it is one call for each. */
	weft_stream *incoming =
		server.is_stream ? weft_accept_stream(a->fd) : NULL;
	/* what each begins with */
	struct server_connection c = { .thread = a->thread, .has_moved = true };
	int rc;

	while ((rc = accept_next(&c, a->fd, incoming)) != -EINVAL) {
		if (rc >= 0) {
			/* If there are too many, it waits, and others wait in
			 * the backlog. */
			weft_semaphore_wait(&a->thread->room);
			if (a->thread->is_ending) {
				/* It was not shut down with the others. */
				weft_close(c.fd);
				break;
			}
			begin_connection(&c);
		} else if (rc != -ECONNABORTED && rc != -EINTR) {
			/* Out of descriptors or memory: those who leave make
			 * room. */
			server_complain(a->thread, "cannot accept", -rc);
			weft_sleep(ACCEPT_PAUSE);
		}
	}
	weft_stream_close(incoming);
	return 0;
}

static int receive_datagrams(void *arg)
{
	struct server_acceptor *a = arg;

	server.receive(a->thread, a->fd);
	return 0;
}

/* --- a thread --- */

/* 0 if the calling thread can do I/O, else why not: a read needs its io_uring, which
 * then finds the descriptor to be none. (A close would do without.) */
static int check_io(void)
{
	char byte;
	ssize_t rc = weft_read(-1, &byte, 1);

	return rc == -EBADF ? 0 : (int)rc;
}

static void shut_down(struct server_thread *t, int how)
{
	t->is_ending = true;
	for (size_t i = 0; i < server.n_addresses; i++)
		if (server.addresses[i].is_datagram)
			weft_tasklet_kill(t->acceptors[i].tasklet, 0);
		else
			shutdown(t->acceptors[i].fd, SHUT_RDWR);
	for (struct server_connection *c = t->connections; c; c = c->next)
		shutdown(c->fd, how);
}

/* 0, or why the calling thread cannot serve. */
static int begin(struct server_thread *t)
{
	int rc = check_io();

	if (!rc && server.begin)
		rc = server.begin(t);
	for (size_t i = 0; !rc && i < server.n_addresses; i++) {
		struct server_acceptor *a = &t->acceptors[i];

		a->tasklet = weft_spawn(server.addresses[i].is_datagram
						? receive_datagrams
						: accept_connections,
					a);
		if (weft_tasklet_is_null(a->tasklet))
			rc = -errno;
	}
	return rc;
}

/* Ends the tasklets of the calling thread. */
static void finish(struct server_thread *t)
{
	shut_down(t, SHUT_RD);
	if (server.end)
		server.end(t);
	if (weft_run_until(weft_now() + server.grace) != 0) {
		shut_down(t, SHUT_RDWR);
		if (server.cut)
			server.cut(t);
		weft_run();
	}
	if (server.finish)
		server.finish(t);
}

static void *work(void *arg)
{
	struct server_thread *t = arg;
	int rc = begin(t);

	weft_channel_send(ready, &rc);
	/* The others of this thread run while its main tasklet waits. */
	weft_channel_receive(stop, NULL);
	finish(t);
	return NULL;
}

/* --- the command line --- */

static void add_address(struct argp_state *state, const char *text)
{
	char problem[ADDRESS_PROBLEM];
	size_t size = (server.n_addresses + 1) * sizeof *server.addresses;
	struct address *last;

	server.addresses = realloc(server.addresses, size);
	if (!server.addresses)
		argp_failure(state, EXIT_FAILURE, errno, "no memory");
	last = &server.addresses[server.n_addresses++];
	if (!address_parse(last, text, problem))
		argp_error(state, "%s", problem);
	if (last->is_datagram && !server.receive)
		argp_error(state, "'%s': a stream is needed, no datagrams",
			   text);
}

error_t server_parse_option(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 't':
		server.n_threads =
			option_number(state, "threads", arg, 1, MAX_THREADS);
		return 0;
	case 'c':
		server.max_connections = option_number(state, "connections",
						       arg, 1, MAX_CONNECTIONS);
		return 0;
	case SERVER_OPTION_IDLE:
		server.idle = option_time(state, "idle", arg, 0, INT64_MAX,
					  "; 0s: for ever");
		return 0;
	case ARGP_KEY_ARG:
		add_address(state, arg);
		return 0;
	case ARGP_KEY_NO_ARGS:
		add_address(state, server.default_address);
		return 0;
	case ARGP_KEY_END:
		if (server.n_threads > server.max_connections)
			argp_error(state,
				   "--connections=%ju: there are %zu threads",
				   (uintmax_t)server.max_connections,
				   server.n_threads);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

/* --- the summary --- */

static void print_counts(const struct server_counts *c)
{
	printf(": %ju connections, %ju %s, %ju %s", (uintmax_t)c->n_connections,
	       (uintmax_t)c->n_messages, server.messages, (uintmax_t)c->n_bytes,
	       server.bytes);
	if (c->n_idle)
		printf(", %ju closed for being idle", (uintmax_t)c->n_idle);
	if (c->n_late)
		printf(", %ju requests that came too slowly",
		       (uintmax_t)c->n_late);
}

static void print_summary(int64_t ns)
{
	struct server_counts total = { 0 };

	for (size_t i = 0; i < server.n_threads; i++) {
		const struct server_counts *c = &server.threads[i].counts;

		printf("thread %zu", i + 1);
		print_counts(c);
		putchar('\n');
		total.n_connections += c->n_connections;
		total.n_messages += c->n_messages;
		total.n_bytes += c->n_bytes;
		total.n_idle += c->n_idle;
		total.n_late += c->n_late;
	}
	printf("total");
	print_counts(&total);
	printf(", %.3f seconds\n", (double)ns / (double)WEFT_SECOND);
}

/* --- all of them --- */

static void listen_on_all(struct server_thread *t, bool is_first)
{
	for (size_t i = 0; i < server.n_addresses; i++) {
		struct server_acceptor *a = &t->acceptors[i];

		a->thread = t;
		a->fd = !is_first && address_is_unix(&server.addresses[i])
				? server.threads[0].acceptors[i].fd
				: address_listen(&server.addresses[i],
						 is_first);
		if (a->fd < 0)
			server_fail(-a->fd, "cannot listen on ",
				    server.addresses[i].text);
	}
}

void server_new_threads(void)
{
	size_t n = server.n_threads;

	server.threads = calloc(n, sizeof *server.threads);
	ready = weft_channel_new(sizeof(int), 0);
	stop = weft_channel_new(0, 0);
	if (!server.threads || !ready || !stop)
		server_fail(ENOMEM, "cannot start", "");
	for (size_t i = 0; i < n; i++) {
		struct server_thread *t = &server.threads[i];

		/* each has room for one at least */
		t->room = (weft_semaphore)WEFT_SEMAPHORE_INIT(
			(server.max_connections + n - 1 - i) / n);
		t->acceptors = calloc(server.n_addresses, sizeof *t->acceptors);
		if (!t->acceptors)
			server_fail(errno, "cannot start", "");
	}
}

static void print_addresses(void)
{
	for (size_t i = 0; i < server.n_addresses; i++) {
		printf("listening on ");
		address_print(&server.addresses[i]);
		putchar('\n');
	}
	fflush(stdout);
}

/* Starts the other threads. 0, or why one of them or this one cannot serve. */
static int start_all(void)
{
	int rc = 0;

	for (size_t i = 1; i < server.n_threads; i++) {
		struct server_thread *t = &server.threads[i];
		int error = pthread_create(&t->thread, NULL, work, t);
		int answer;

		if (error) {
			server.n_threads = i;
			return -error;
		}
		weft_channel_receive(ready, &answer);
		rc = rc ? rc : answer;
	}
	return rc ? rc : begin(&server.threads[0]);
}

static void stop_all(void)
{
	/* As long as this server listens, the files are its own. Later they could
	 * be those of one that was started to take its place. */
	for (size_t i = 0; i < server.n_addresses; i++)
		address_remove_file(&server.addresses[i]);
	for (size_t i = 1; i < server.n_threads; i++)
		weft_channel_send(stop, NULL);
	finish(&server.threads[0]);
	for (size_t i = 1; i < server.n_threads; i++)
		pthread_join(server.threads[i].thread, NULL);
}

void server_run(void)
{
	struct signalfd_siginfo info;
	int signals, rc;
	int64_t since;

	process_allow_many_files();
	/* Whoever reads the output may go away. */
	signal(SIGPIPE, SIG_IGN);
	signals = process_open_signals();
	if (signals < 0)
		server_fail(-signals, "cannot wait for signals", "");
	for (size_t i = 0; i < server.n_threads; i++)
		listen_on_all(&server.threads[i], i == 0);
	rc = start_all();
	since = weft_now();
	if (rc == 0) {
		print_addresses();
		rc = (int)weft_read(signals, &info, sizeof info);
	}
	stop_all();
	if (rc < 0)
		server_fail(-rc, "cannot serve",
			    " (weft-info tells what is missing)");
	close(signals);
	print_summary(weft_now() - since);
}

void server_free(void)
{
	for (size_t i = server.n_threads; i--;) {
		struct server_thread *t = &server.threads[i];

		for (size_t k = 0; k < server.n_addresses; k++)
			if (i == 0 || !address_is_unix(&server.addresses[k]))
				close(t->acceptors[k].fd);
		free(t->acceptors);
	}
	free(server.threads);
	free(server.addresses);
	weft_channel_unref(ready);
	weft_channel_unref(stop);
}
