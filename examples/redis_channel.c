/* SPDX-License-Identifier: MIT */
/*
 * Channels of two processes, joined by a stream of Redis:
 *
 *	redis_channel send ADDRESS STREAM      lines of standard input go into a channel
 *	redis_channel receive ADDRESS STREAM   a channel gives lines to standard output
 *
 *	main -> channel -> exporter -> Redis ... Redis -> importer -> channel -> main
 *
 * The processes can be on different machines, and begin and end at different times. The
 * exporter and the importer connect again whenever the connection breaks, and no line is
 * lost or comes twice by that, if Redis itself loses nothing (appendfsync always). Redis
 * keeps what the receiver has not taken, and nothing here limits how much. A stream has
 * one sender and one receiver. Redis forgets a line when it has been written: if a
 * receiver ends between that and the XDEL, the next one gets that line again.
 *
 * hiredis has sockets of its own. It is given one that weft_dial() has connected and told
 * that it must not wait, and weft_poll() waits in its place.
 */
#include <errno.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#define PATIENCE (10 * WEFT_SECOND) /* for an answer */
#define PAUSE    (100 * WEFT_MILLISECOND)

/* For XREAD, in milliseconds: an importer hears from Redis as often as that. */
#define BLOCK "5000"

enum { ROOM = 16 };

/* With all that is in it: a zero byte, or no newline at the end of the last one. */
struct line {
	char *text; /* from malloc() */
	size_t n;
};

struct link {
	const char *address, *stream;
	weft_channel *lines;   /* carries struct line */
	weft_channel *written; /* receiving: that a line has been */
	redisContext *redis;   /* NULL: not connected */
	bool is_lost;          /* it is known, and has been said */
	bool was_repeated;     /* the last command was sent more than once */
	bool is_cut; /* there is more to send, which could not be read */
	int rc;      /* of the tasklet that is connected */
};

/* --- a connection --- */

static int link_connect(struct link *l)
{
	int fd = weft_dial(l->address);

	if (fd < 0)
		return fd;
	l->redis = redisConnectFd(fd);
	if (!l->redis) {
		weft_close(fd);
		return -ENOMEM;
	}
	fcntl(fd, F_SETFL, O_NONBLOCK);
	l->redis->flags &= ~REDIS_BLOCK; /* EAGAIN is no error, then */
	return 0;
}

static void link_disconnect(struct link *l)
{
	if (l->redis)
		weft_close(redisFreeKeepFd(l->redis));
	l->redis = NULL;
}

static int wait_for(const redisContext *c, short events)
{
	struct pollfd p = { .fd = c->fd, .events = events };
	int rc = weft_poll(&p, 1, -1);

	return rc < 0 ? rc : 0;
}

/* Read right after the call of hiredis that has failed. */
static int error_of(const redisContext *c)
{
	if (c->err == REDIS_ERR_IO && errno > 0)
		return -errno;
	return c->err == REDIS_ERR_EOF ? -ECONNRESET : -EPROTO;
}

static int send_command(redisContext *c, const char *command, int n)
{
	int is_done = 0;
	int rc = 0;

	if (redisAppendFormattedCommand(c, command, (size_t)n))
		return -ENOMEM;
	while (rc == 0 && !is_done) {
		if (redisBufferWrite(c, &is_done))
			return error_of(c);
		if (!is_done)
			rc = wait_for(c, POLLOUT);
	}
	return rc;
}

static int receive_reply(redisContext *c, redisReply **reply)
{
	void *found = NULL;
	int rc;

	while (redisGetReplyFromReader(c, &found) == REDIS_OK && !found) {
		rc = wait_for(c, POLLIN);
		if (rc)
			return rc;
		if (redisBufferRead(c))
			return error_of(c);
	}
	*reply = found;
	return found ? 0 : error_of(c);
}

/* Whether Redis has just begun, and cannot answer yet. */
static bool is_loading(const redisReply *r)
{
	return r->type == REDIS_REPLY_ERROR &&
	       strncmp(r->str, "LOADING", 7) == 0;
}

static int try_command(struct link *l, const char *command, int n,
		       redisReply **reply)
{
	struct weft_deadline d;
	int rc = 0;

	weft_deadline_begin(&d, weft_now() + PATIENCE);
	if (!l->redis)
		rc = link_connect(l);
	if (rc == 0)
		rc = send_command(l->redis, command, n);
	if (rc == 0)
		rc = receive_reply(l->redis, reply);
	weft_deadline_end(&d);
	if (rc == 0 && is_loading(*reply)) {
		freeReplyObject(*reply);
		rc = -EAGAIN;
	}
	return rc;
}

static void note(struct link *l, int rc)
{
	if (rc && !l->is_lost)
		fprintf(stderr, "%s: %s; trying again\n", l->address,
			strerror(-rc));
	if (rc == 0 && l->is_lost)
		fprintf(stderr, "%s: connected again\n", l->address);
	l->is_lost = rc;
}

/* Asks until there is an answer, whatever becomes of connections meanwhile. Fails only
 * if this tasklet is interrupted, the command cannot be made, or the address is none. */
static int ask(struct link *l, redisReply **reply, const char *format, ...)
{
	va_list arguments;
	char *command;
	int n, rc;

	va_start(arguments, format);
	n = redisvFormatCommand(&command, format, arguments);
	va_end(arguments);
	if (n < 0)
		return -ENOMEM;

	l->was_repeated = false;
	while ((rc = try_command(l, command, n, reply)) != 0) {
		link_disconnect(l);
		if (rc == -EINVAL) {
			const char *problem = weft_address_error(l->address);

			fprintf(stderr, "%s: %s\n", l->address,
				problem ? problem : "nobody can be there");
			break;
		}
		note(l, rc);
		l->was_repeated = true;
		rc = weft_sleep(PAUSE);
		if (rc)
			break;
	}
	if (rc == 0)
		note(l, 0);
	redisFreeCommand(command);
	return rc;
}

static int refuse(const struct link *l, redisReply *r)
{
	fprintf(stderr, "%s: %s: %s\n", l->address, l->stream,
		r->type == REDIS_REPLY_ERROR ? r->str : "unexpected reply");
	freeReplyObject(r);
	return -EPROTO;
}

/* --- sending --- */

static bool is_text(const redisReply *r, const char *text)
{
	return (r->type == REDIS_REPLY_STRING ||
		r->type == REDIS_REPLY_STATUS) &&
	       strcmp(r->str, text) == 0;
}

/* The number of the last line that was ever in the stream: lines have the ids 1-0, 2-0
 * and so on. */
static int find_last(struct link *l, unsigned long long *last)
{
	redisReply *r;
	int rc = ask(l, &r, "XINFO STREAM %s", l->stream);

	*last = 0;
	if (rc)
		return rc;
	if (r->type == REDIS_REPLY_ERROR && !strstr(r->str, "no such key"))
		return refuse(l, r);
	for (size_t i = 0; r->type == REDIS_REPLY_ARRAY && i + 1 < r->elements;
	     i += 2)
		if (is_text(r->element[i], "last-generated-id"))
			*last = strtoull(r->element[i + 1]->str, NULL, 10);
	freeReplyObject(r);
	return 0;
}

/* Adds to the stream. If the answer to it was lost and it was sent again, Redis refuses
 * the id, because it has the line. */
static int add(struct link *l, unsigned long long number, const char *field,
	       const struct line *line)
{
	char id[32];
	redisReply *r;
	int rc;

	snprintf(id, sizeof id, "%llu-0", number);
	rc = ask(l, &r, "XADD %s %s %s %b", l->stream, id, field, line->text,
		 line->n);
	if (rc)
		return rc;
	if (r->type == REDIS_REPLY_ERROR &&
	    !(l->was_repeated && strstr(r->str, "equal or smaller")))
		return refuse(l, r);
	freeReplyObject(r);
	return 0;
}

static int export(void *arg)
{
	struct link *l = arg;
	unsigned long long number;
	int rc = find_last(l, &number);
	struct line line;

	while (rc == 0 && weft_channel_receive(l->lines, &line) == 0) {
		rc = add(l, ++number, "line", &line);
		free(line.text);
	}
	line = (struct line){ "", 0 };
	if (rc == 0 && !l->is_cut) /* as the channel, so that of the receiver */
		rc = add(l, ++number, "end", &line);
	weft_channel_close(l->lines);
	link_disconnect(l);
	l->rc = rc;
	return rc;
}

static void send_lines(struct link *l)
{
	FILE *in = weft_fdopen(STDIN_FILENO, "r");
	struct line line = { 0 };
	size_t size = 0;
	ssize_t n;

	while (in && (n = getline(&line.text, &size, in)) > 0) {
		line.n = (size_t)n;
		if (weft_channel_send(l->lines, &line))
			break;
		line.text = NULL; /* it is the exporter's */
		size = 0;
	}
	l->is_cut = !in || ferror(in);
	if (l->is_cut)
		perror("standard input");
	free(line.text);
	weft_channel_close(l->lines); /* what is in it still goes out */
	if (in)
		fclose(in);
}

/* --- receiving --- */

/* Of a list; NULL if it has none there. */
static const redisReply *item(const redisReply *list, size_t i)
{
	if (!list || list->type != REDIS_REPLY_ARRAY || list->elements <= i)
		return NULL;
	return list->element[i];
}

/* Has a line written. */
static int pass_on(struct link *l, const redisReply *value)
{
	struct line line = { malloc(value->len + 1), value->len };
	int rc;

	if (!line.text)
		return -ENOMEM;
	memcpy(line.text, value->str, line.n);
	rc = weft_channel_send(l->lines, &line);
	if (rc)
		free(line.text);
	return rc ? rc : weft_channel_receive(l->written, NULL);
}

/* Takes an entry, which is an id and a list of fields and values, and removes it from
 * the stream. 0, 1 if it was the end, or a negative errno. */
static int take(struct link *l, const redisReply *entry, char last[64])
{
	const redisReply *id = item(entry, 0);
	const redisReply *field = item(item(entry, 1), 0);
	const redisReply *value = item(item(entry, 1), 1);
	redisReply *r;
	bool is_end;
	int rc;

	if (!id || !field || !value || id->len >= 64)
		return -EPROTO;
	is_end = is_text(field, "end");
	rc = is_end ? 0 : pass_on(l, value);
	if (rc)
		return rc;
	strcpy(last, id->str);
	rc = ask(l, &r, "XDEL %s %s", l->stream, last);
	if (rc == 0)
		freeReplyObject(r);
	return rc ? rc : is_end;
}

static int import(void *arg)
{
	struct link *l = arg;
	char last[64] = "0-0"; /* what was taken is in the stream no more */
	redisReply *r;
	int rc = 0;

	while (rc == 0) {
		const redisReply *entries, *entry;

		rc = ask(l, &r, "XREAD COUNT 16 BLOCK " BLOCK " STREAMS %s %s",
			 l->stream, last);
		if (rc)
			break;
		if (r->type == REDIS_REPLY_ERROR) {
			rc = refuse(l, r);
			break;
		}
		entries =
			item(item(r, 0), 1); /* of the first stream; or none */
		for (size_t i = 0; rc == 0 && (entry = item(entries, i)); i++)
			rc = take(l, entry, last);
		freeReplyObject(r);
	}
	weft_channel_close(l->lines);
	link_disconnect(l);
	l->rc = rc < 0 ? rc : 0;
	return l->rc;
}

static void receive_lines(struct link *l)
{
	FILE *out = weft_fdopen(STDOUT_FILENO, "w");
	bool is_good = true;
	struct line line;

	while (is_good && weft_channel_receive(l->lines, &line) == 0) {
		is_good = out && fwrite(line.text, 1, line.n, out) == line.n &&
			  fflush(out) == 0;
		free(line.text);
		if (is_good)
			is_good = weft_channel_send(l->written, NULL) == 0;
		else
			perror("standard output");
	}
	weft_channel_close(l->written); /* the importer takes no more */
	if (out)
		fclose(out);
}

/* --- */

int main(int argc, char **argv)
{
	bool sends = argc == 4 && strcmp(argv[1], "send") == 0;
	bool receives = argc == 4 && strcmp(argv[1], "receive") == 0;
	struct link l = { .lines = weft_channel_new(sizeof(struct line), ROOM),
			  .written = weft_channel_new(0, 0) };

	if (!sends && !receives) {
		fprintf(stderr, "Usage: %s send|receive ADDRESS STREAM\n",
			argv[0]);
		return EXIT_FAILURE;
	}
	l.address = argv[2];
	l.stream = argv[3];
	signal(SIGPIPE, SIG_IGN); /* hiredis writes by write(2) */
	if (!l.lines || !l.written ||
	    weft_tasklet_is_null(weft_spawn(sends ? export : import, &l))) {
		perror("weft");
		return EXIT_FAILURE;
	}
	if (sends)
		send_lines(&l);
	else
		receive_lines(&l);
	weft_run(); /* until the other tasklet has ended */
	weft_channel_unref(l.lines);
	weft_channel_unref(l.written);
	return l.rc || l.is_cut ? EXIT_FAILURE : EXIT_SUCCESS;
}
