/* SPDX-License-Identifier: MIT */
/*
 * weft-echo: sends back what it receives, a tasklet per connection.
 *
 * Each of N threads has a scheduler, and on it a tasklet per address that
 * accepts and one per connection. For a TCP address each thread has a listening
 * socket of its own and the kernel spreads the connections (SO_REUSEPORT); the
 * socket of a Unix address is shared, and whichever thread is first accepts.
 *
 * The end: the main tasklet of the first thread reads SIGINT or SIGTERM from a
 * signalfd and passes it on by a channel to the main tasklets of the others.
 * Each shuts its own sockets down for reading, so that the connections end once
 * they have sent back what had arrived, and after a second those left are shut
 * down altogether. A connection is closed by its own tasklet, so no descriptor
 * is closed while an operation is in flight on it.
 */
#include <argp.h>
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>
#include <weft.h>

#include "address.h"

enum {
	MAX_THREADS = 1024,
	BUFFER_SIZE = 16 * 1024 /* on the tasklet's stack */
};

static const int64_t GRACE = WEFT_SECOND;
static const int64_t ACCEPT_PAUSE = 10 * WEFT_MILLISECOND;

static const char default_address[] = "127.0.0.1:7777";

struct connection {
	struct connection *next, **link; /* in the worker's list */
	struct worker *worker;
	int fd;
};

/* One thread. All but the thread that it is touches it before the start and
 * after the end only. */
struct worker {
	pthread_t thread;
	struct acceptor *acceptors; /* one per address */
	struct connection *connections;
	bool has_complained;
	uint64_t n_connections, n_messages, n_bytes;
};

struct acceptor {
	struct worker *worker;
	int fd; /* of a Unix address the same in all workers */
};

static struct address *addresses;
static size_t n_addresses;
static struct worker *workers;
static size_t n_workers = 1;
static weft_channel *ready; /* int: 0, or why a thread cannot serve */
static weft_channel *stop;  /* a signal */

/* --- connections --- */

static void complain(struct worker *w, const char *what, int error)
{
	if (!w->has_complained)
		fprintf(stderr, "weft-echo: %s: %s (told once per thread)\n",
			what, strerror(error));
	w->has_complained = true;
}

static bool send_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = weft_send(fd, data, n, 0);

		if (sent < 0)
			return false;
		data += sent;
		n -= (size_t)sent;
	}
	return true;
}

static void end_connection(struct connection *c)
{
	*c->link = c->next;
	if (c->next)
		c->next->link = c->link;
	weft_close(c->fd);
	free(c);
}

static int serve_connection(void *arg)
{
	struct connection *c = arg;
	char buffer[BUFFER_SIZE];
	ssize_t n;

	while ((n = weft_recv(c->fd, buffer, sizeof buffer, 0)) > 0 &&
	       send_all(c->fd, buffer, (size_t)n)) {
		c->worker->n_messages++;
		c->worker->n_bytes += (uint64_t)n;
	}
	/* A peer that went away is its own affair: there is nothing to report. */
	end_connection(c);
	return 0;
}

static void begin_connection(struct worker *w, int fd)
{
	struct connection *c = malloc(sizeof *c);

	if (!c) {
		complain(w, "a connection was refused", ENOMEM);
		weft_close(fd);
		return;
	}
	*c = (struct connection){
		.next = w->connections,
		.link = &w->connections,
		.worker = w,
		.fd = fd,
	};
	if (c->next)
		c->next->link = &c->next;
	w->connections = c;
	if (weft_tasklet_is_null(weft_spawn(serve_connection, c))) {
		complain(w, "a connection was refused", errno);
		end_connection(c);
		return;
	}
	w->n_connections++;
}

static int accept_connections(void *arg)
{
	struct acceptor *a = arg;

	for (;;) {
		int fd = weft_accept(a->fd, NULL, NULL);

		if (fd >= 0) {
			begin_connection(a->worker, fd);
			continue;
		}
		if (fd == -EINVAL)
			return 0; /* the socket was shut down: the end */
		if (fd == -ECONNABORTED || fd == -EINTR)
			continue;
		/* Out of descriptors or memory: those who leave make room. */
		complain(a->worker, "cannot accept", -fd);
		weft_sleep(ACCEPT_PAUSE);
	}
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

static void shut_down(struct worker *w, int how)
{
	for (size_t i = 0; i < n_addresses; i++)
		shutdown(w->acceptors[i].fd, SHUT_RDWR);
	for (struct connection *c = w->connections; c; c = c->next)
		shutdown(c->fd, how);
}

static int spawn_acceptors(struct worker *w)
{
	for (size_t i = 0; i < n_addresses; i++)
		if (weft_tasklet_is_null(
			    weft_spawn(accept_connections, &w->acceptors[i])))
			return -errno;
	return 0;
}

/* Ends the tasklets of the calling thread. */
static void finish(struct worker *w)
{
	shut_down(w, SHUT_RD);
	if (weft_run_until(weft_now() + GRACE) == 0)
		return;
	shut_down(w, SHUT_RDWR);
	weft_run();
}

static void *work(void *arg)
{
	struct worker *w = arg;
	int rc = check_io();

	if (!rc)
		rc = spawn_acceptors(w);
	weft_channel_send(ready, &rc);
	/* The others of this thread run while its main tasklet waits. */
	weft_channel_receive(stop, NULL);
	finish(w);
	return NULL;
}

/* --- the program --- */

static _Noreturn void fail(int error, const char *what, const char *about)
{
	fprintf(stderr, "weft-echo: %s%s: %s\n", what, about, strerror(error));
	for (size_t i = 0; i < n_addresses; i++)
		address_remove_file(&addresses[i]);
	exit(EXIT_FAILURE);
}

static void add_address(struct argp_state *state, const char *text)
{
	char problem[ADDRESS_PROBLEM];

	addresses = realloc(addresses, (n_addresses + 1) * sizeof *addresses);
	if (!addresses)
		argp_failure(state, EXIT_FAILURE, errno, "no memory");
	if (!address_parse(&addresses[n_addresses++], text, problem))
		argp_error(state, "%s", problem);
}

static void print_version(FILE *stream, struct argp_state *state)
{
	(void)state;
	fprintf(stream, "weft-echo %s\n", weft_version());
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	char *rest;

	switch (key) {
	case 't':
		n_workers = strtoul(arg, &rest, 10);
		if (*arg < '0' || *arg > '9' || *rest || n_workers < 1 ||
		    n_workers > MAX_THREADS)
			argp_error(
				state,
				"bad --threads '%s': a number from 1 to %d is accepted",
				arg, MAX_THREADS);
		return 0;
	case ARGP_KEY_ARG:
		add_address(state, arg);
		return 0;
	case ARGP_KEY_NO_ARGS:
		add_address(state, default_address);
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp_option options[] = {
	{ "threads", 't', "N", 0,
	  "serve with N threads, each with a scheduler of its own (1)", 0 },
	{ 0 }
};

static const struct argp parser = {
	.options = options,
	.parser = parse_option,
	.args_doc = "[ADDRESS...]",
	.doc = "Send back what is received, with a tasklet per connection.\v"
	       "ADDRESS is HOST:PORT, [IPV6]:PORT or unix:/PATH; without one it "
	       "is 127.0.0.1:7777. With port 0 the system chooses one. The "
	       "addresses are printed once they can be connected to. SIGINT and "
	       "SIGTERM end the server with a summary.",
};

static void allow_many_files(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Blocks the signals in all threads to come; a descriptor to read them from. */
static int open_signals(void)
{
	sigset_t signals;
	int fd;

	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGTERM);
	pthread_sigmask(SIG_BLOCK, &signals, NULL);
	fd = signalfd(-1, &signals, SFD_CLOEXEC);
	if (fd < 0)
		fail(errno, "cannot wait for signals", "");
	return fd;
}

static void listen_all(void)
{
	for (size_t i = 0; i < n_workers; i++) {
		struct worker *w = &workers[i];

		w->acceptors = calloc(n_addresses, sizeof *w->acceptors);
		if (!w->acceptors)
			fail(errno, "cannot start", "");
		for (size_t k = 0; k < n_addresses; k++) {
			struct acceptor *a = &w->acceptors[k];

			a->worker = w;
			a->fd = i && address_is_unix(&addresses[k])
					? workers[0].acceptors[k].fd
					: address_listen(&addresses[k], i == 0);
			if (a->fd < 0)
				fail(-a->fd, "cannot listen on ",
				     addresses[k].text);
		}
	}
}

static void print_addresses(void)
{
	for (size_t i = 0; i < n_addresses; i++) {
		printf("listening on ");
		address_print(&addresses[i]);
		putchar('\n');
	}
	fflush(stdout);
}

/* Starts the other threads. 0, or why one of them or this one cannot serve. */
static int start_all(void)
{
	int rc = check_io();

	for (size_t i = 1; i < n_workers; i++) {
		int error = pthread_create(&workers[i].thread, NULL, work,
					   &workers[i]);
		int answer;

		if (error) {
			n_workers = i;
			return -error;
		}
		weft_channel_receive(ready, &answer);
		rc = rc ? rc : answer;
	}
	return rc ? rc : spawn_acceptors(&workers[0]);
}

static void stop_all(void)
{
	for (size_t i = 1; i < n_workers; i++)
		weft_channel_send(stop, NULL);
	finish(&workers[0]);
	for (size_t i = 1; i < n_workers; i++)
		pthread_join(workers[i].thread, NULL);
	for (size_t i = 0; i < n_addresses; i++)
		address_remove_file(&addresses[i]);
}

static void print_counts(const char *name, const struct worker *w)
{
	printf("%s: %llu connections, %llu messages, %llu bytes", name,
	       (unsigned long long)w->n_connections,
	       (unsigned long long)w->n_messages,
	       (unsigned long long)w->n_bytes);
}

static void print_summary(int64_t ns)
{
	struct worker total = { 0 };

	for (size_t i = 0; i < n_workers; i++) {
		const struct worker *w = &workers[i];
		char name[32];

		snprintf(name, sizeof name, "thread %zu", i + 1);
		print_counts(name, w);
		putchar('\n');
		total.n_connections += w->n_connections;
		total.n_messages += w->n_messages;
		total.n_bytes += w->n_bytes;
	}
	print_counts("total", &total);
	printf(", %.3f seconds\n", (double)ns / (double)WEFT_SECOND);
}

static void free_all(void)
{
	for (size_t i = n_workers; i--;) {
		for (size_t k = 0; k < n_addresses; k++)
			if (i == 0 || !address_is_unix(&addresses[k]))
				close(workers[i].acceptors[k].fd);
		free(workers[i].acceptors);
	}
	free(workers);
	free(addresses);
	weft_channel_unref(ready);
	weft_channel_unref(stop);
}

int main(int argc, char **argv)
{
	struct signalfd_siginfo signal;
	int64_t since;
	int signals;
	int rc;

	argp_program_version_hook = print_version;
	argp_parse(&parser, argc, argv, 0, NULL, NULL);
	allow_many_files();
	workers = calloc(n_workers, sizeof *workers);
	ready = weft_channel_new(sizeof(int), 0);
	stop = weft_channel_new(0, 0);
	if (!workers || !ready || !stop)
		fail(ENOMEM, "cannot start", "");
	signals = open_signals();
	listen_all();
	rc = start_all();
	since = weft_now();
	if (rc == 0) {
		print_addresses();
		rc = (int)weft_read(signals, &signal, sizeof signal);
	}
	stop_all();
	if (rc < 0)
		fail(-rc, "cannot serve", " (weft-info tells what is missing)");
	print_summary(weft_now() - since);
	close(signals);
	free_all();
	return EXIT_SUCCESS;
}
