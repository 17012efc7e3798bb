/* SPDX-License-Identifier: MIT */
/*
 * A chat server for lines, and four guests: Alice, Bob, one who never reads, and one who
 * never ends a line.
 *
 * Each client has a tasklet that reads its lines, and one that writes what is in its
 * outbox. An outbox is a channel without a limit, so that nobody waits for a slow client.
 * A line that cannot be written within a second is the client's last one. All
 * this is on one thread, so the list of clients needs no lock.
 */
#define _GNU_SOURCE /* asprintf() */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#define PATIENCE WEFT_SECOND
#define PAUSE    (10 * WEFT_MILLISECOND)

enum { LINE = 4096 }; /* bytes, with the end of the string */

struct client {
	int fd;
	FILE *in;
	char name[32];
	weft_channel *outbox; /* carries char *, from malloc() */
	struct client *next;
};

static struct client *clients;

/* Puts a line into all outboxes. */
static void tell_all(const char *who, const char *line)
{
	for (struct client *c = clients; c; c = c->next) {
		char *copy;

		if (asprintf(&copy, "%s%s", who, line) < 0)
			continue;
		if (weft_channel_send(c->outbox, &copy))
			free(copy);
	}
}

/* Whether the line went out in time. */
static bool write_line(FILE *out, const char *line)
{
	struct weft_deadline d;
	bool ok;

	weft_deadline_begin(&d, weft_now() + PATIENCE);
	ok = fputs(line, out) >= 0 && fflush(out) == 0;
	weft_deadline_end(&d);
	return ok;
}

static int write_lines(void *arg)
{
	struct client *c = arg;
	FILE *out =
		weft_fdopen(dup(c->fd), "w"); /* it belongs to this tasklet */
	bool ok = out;
	char *line;

	while (weft_channel_receive(c->outbox, &line) == 0) {
		if (ok && !write_line(out, line)) {
			ok = false;
			tell_all(c->name, " is too slow\n");
			weft_shutdown(c->fd, SHUT_RDWR); /* ends its reader */
		}
		free(line);
	}
	if (out)
		fclose(out);
	return 0;
}

static void leave(struct client *c)
{
	struct client **place = &clients;

	while (*place != c)
		place = &(*place)->next;
	*place = c->next;
	tell_all(c->name, " has left\n");
}

/* The next line, if it is not too long. A client that never ends one must not fill the
 * memory. */
static bool read_line(struct client *c, char line[LINE])
{
	if (!fgets(line, LINE, c->in))
		return false;
	if (strlen(line) < LINE - 1)
		return true;
	tell_all(c->name, " talks without end\n");
	return false;
}

/* The first line is the name. */
static void talk(struct client *c)
{
	char line[LINE], who[40];

	if (!read_line(c, line))
		return;
	snprintf(c->name, sizeof c->name, "%.*s", (int)strcspn(line, "\r\n"),
		 line);
	snprintf(who, sizeof who, "%s: ", c->name);
	tell_all(c->name, " is here\n");
	while (read_line(c, line))
		tell_all(who, line);
}

static int serve(void *arg)
{
	int fd = (int)(intptr_t)arg;
	struct client c = { .fd = fd,
			    .in = weft_fdopen(fd, "r"),
			    .outbox = weft_channel_new(sizeof(char *),
						       WEFT_UNBOUNDED),
			    .next = clients };
	weft_tasklet writer;

	if (!c.in || !c.outbox) {
		if (c.in)
			fclose(c.in);
		else
			weft_close(fd);
		weft_channel_unref(c.outbox);
		return -ENOMEM;
	}
	clients = &c;
	writer = weft_spawn(write_lines, &c);
	talk(&c);
	leave(&c);
	weft_channel_close(c.outbox); /* what is in it still goes out */
	weft_tasklet_join(writer);
	weft_channel_unref(c.outbox);
	return fclose(c.in) ? -errno : 0;
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

static int listen_for_clients(void *fd)
{
	int client;

	while ((client = accept_next(*(int *)fd)) >= 0)
		if (weft_tasklet_is_null(
			    weft_spawn(serve, (void *)(intptr_t)client)))
			weft_close(client);
	return client;
}

/* --- the guests --- */

static const char *address;

static FILE *enter(const char *name)
{
	int fd = weft_dial(address);
	FILE *f = fd < 0 ? NULL : weft_fdopen(fd, "r+");

	if (!f) {
		fprintf(stderr, "%s: %s\n", address, strerror(-fd));
		exit(EXIT_FAILURE);
	}
	fprintf(f, "%s\n", name);
	fflush(f);
	return f;
}

/* Reads up to a line that has one of the texts, and prints it if it is the first. */
static bool hear(const char *who, FILE *f, const char *text, const char *other)
{
	char *line = NULL;
	size_t size = 0;
	bool is_heard = false;

	while (!is_heard && getline(&line, &size, f) > 0) {
		is_heard = strstr(line, text);
		if (is_heard)
			printf("%s hears: %s", who, line);
		else if (other && strstr(line, other))
			break;
	}
	free(line);
	return is_heard;
}

static void say(FILE *f, const char *text)
{
	fprintf(f, "%s\n", text);
	fflush(f);
}

/* Alice talks, and Bob listens, until the one who does not read is cut off. */
static void talk_much(FILE *alice, FILE *bob)
{
	char text[2000];
	bool is_over;

	memset(text, 'z', sizeof text);
	text[sizeof text - 1] = '\0';
	do {
		say(alice, text);
		is_over = hear("Alice", alice, "too slow", "zz");
		hear("Bob", bob, "too slow", "zz");
		weft_sleep(WEFT_MILLISECOND);
	} while (!is_over);
}

int main(void)
{
	char name[64];
	int fd;
	FILE *alice, *bob, *sloth, *babbler;
	weft_tasklet server;

	snprintf(name, sizeof name, "unix:@weft-chat-%d", (int)getpid());
	address = name;
	fd = weft_listen(address, 10);
	if (fd < 0) {
		fprintf(stderr, "%s: %s\n", address, strerror(-fd));
		return EXIT_FAILURE;
	}
	server = weft_spawn(listen_for_clients, &fd);
	alice = enter("Alice");
	hear("Alice", alice, "Alice is here", NULL);
	bob = enter("Bob");
	hear("Alice", alice, "Bob is here", NULL);
	say(bob, "hello, Alice");
	hear("Alice", alice, "hello", NULL);
	say(alice, "hello, Bob");
	hear("Bob", bob, "hello, Bob", NULL);

	sloth = enter("Sloth");
	hear("Bob", bob, "Sloth is here", NULL);
	talk_much(alice, bob);
	hear("Bob", bob, "Sloth has left", NULL);

	babbler = enter("Babbler");
	hear("Bob", bob, "Babbler is here", NULL);
	for (int i = 0; i < LINE; i++)
		fputc('b', babbler);
	fflush(babbler);
	hear("Bob", bob, "Babbler talks", NULL);
	hear("Bob", bob, "Babbler has left", NULL);

	fclose(babbler);
	fclose(sloth);
	fclose(bob);
	hear("Alice", alice, "Bob has left", NULL);
	fclose(alice);
	weft_tasklet_kill(server, WEFT_PENDING);
	weft_run(); /* the server's tasklets end */
	weft_close(fd);
}
