/* SPDX-License-Identifier: MIT */
/*
 * One connection: requests are read, and answered one after the other.
 *
 * Answers gather in `out` as long as there are requests in `in`, so that pipelined
 * ones go out together. A small file is read to there, behind its header. A larger one
 * is read and sent in pieces, and a large one goes from the file to the socket by
 * weft_sendfile(): that takes a thread of the kernel for each piece, and costs less
 * than the copies only from about 1 MiB on.
 *
 * A request that is none is answered with its status and ends the connection, since
 * nobody can tell where the next one begins. Then what is still to come is read and
 * dropped for a while: to close a socket that has unread bytes resets the connection,
 * and the answer could be lost.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "fields.h"
#include "httpd.h"
#include "request.h"

enum {
	IN_SIZE = 4096,
	OUT_SIZE = 32 * 1024,
	PIECE = 128 * 1024,
	SMALL = 16 * 1024,   /* a body that waits for others */
	LARGE = 1024 * 1024, /* one that weft_sendfile() sends */
	HEADER_ROOM =
		14 * 1024,     /* for any header: a path can be PATH_MAX long */
	REST_OF_HEADER = 1024, /* without a path */
	LINGER_BYTES = 1024 * 1024
};

static const int64_t LINGER_TIME = 2 * WEFT_SECOND;

struct client {
	struct server_connection *c;
	struct worker *w;
	struct request *request;
	int64_t since; /* when the request has begun */
	size_t at, n_in, n_out;
	uint64_t n_sent; /* of the body that is being sent */
	char peer[LOG_PEER];
	char in[IN_SIZE];
	char out[OUT_SIZE];
};

/* What a request is answered with. */
struct answer {
	int status;
	bool keeps;        /* the connection */
	struct file *file; /* that is sent, or whose header is; or NULL */
	uint64_t first, n; /* bytes of the body */
};

/* --- sending and receiving --- */

/* The calls that wait have as long as a connection may be idle. */
static void begin_wait(struct weft_deadline *d)
{
	weft_deadline_begin(d,
			    server.idle ? weft_now() + server.idle : INT64_MAX);
}

static void end_wait(struct client *cl, struct weft_deadline *d, bool is_good)
{
	if (weft_deadline_end(d) && !is_good)
		cl->c->thread->counts.n_idle++;
}

static bool send_bytes(struct client *cl, const char *data, size_t n, int flags)
{
	while (n) {
		struct weft_deadline d;
		ssize_t sent;

		begin_wait(&d);
		sent = weft_send(cl->c->fd, data, n, flags);
		end_wait(cl, &d, sent > 0);
		if (sent <= 0)
			return false;
		data += sent;
		n -= (size_t)sent;
	}
	return true;
}

static bool flush(struct client *cl, int flags)
{
	size_t n = cl->n_out;

	cl->n_out = 0;
	return send_bytes(cl, cl->out, n, flags);
}

/* Bytes, 0 at the end, or a negative errno: -ETIMEDOUT if a request takes too
 * long. */
static ssize_t receive(struct client *cl)
{
	bool has_begun = cl->request->has_begun;
	struct weft_deadline d;
	ssize_t n;

	if (!has_begun)
		begin_wait(&d);
	else
		weft_deadline_begin(&d, cl->since + settings.request_time);
	n = weft_recv(cl->c->fd, cl->in, IN_SIZE, 0);
	if (has_begun)
		weft_deadline_end(&d);
	else
		end_wait(cl, &d, n != -ETIMEDOUT);
	cl->at = 0;
	cl->n_in = n > 0 ? (size_t)n : 0;
	if (!has_begun)
		cl->since = weft_now();
	return n;
}

/* --- headers --- */

static void put(struct client *cl, const char *text, size_t n)
{
	memcpy(cl->out + cl->n_out, text, n);
	cl->n_out += n;
}

static void put_text(struct client *cl, const char *text)
{
	put(cl, text, strlen(text));
}

static void put_number(struct client *cl, uint64_t n)
{
	char digits[20];
	size_t at = sizeof digits;

	do
		digits[--at] = (char)('0' + n % 10);
	while (n /= 10);
	put(cl, digits + at, sizeof digits - at);
}

static void put_date(struct client *cl)
{
	time_t now = time(NULL);

	if (now != cl->w->now) {
		date_print(now, cl->w->date);
		cl->w->now = now;
	}
	put_text(cl, "\r\nDate: ");
	put_text(cl, cl->w->date);
}

static void put_first(struct client *cl, const struct answer *a)
{
	put_text(cl, "HTTP/1.1 ");
	put_number(cl, (uint64_t)a->status);
	put_text(cl, " ");
	put_text(cl, http_status_str((enum http_status)a->status));
	put_text(cl, "\r\nServer: weft-httpd");
	put_date(cl);
	if (!a->keeps)
		put_text(cl, "\r\nConnection: close");
	else if (cl->request->parser.http_minor == 0)
		put_text(cl, "\r\nConnection: keep-alive");
}

static void put_file_fields(struct client *cl, const struct answer *a)
{
	char modified[DATE_SIZE];

	date_print(a->file->modified, modified);
	if (*modified) {
		put_text(cl, "\r\nLast-Modified: ");
		put_text(cl, modified);
	}
	if (a->status == 304)
		return;
	put_text(cl, "\r\nAccept-Ranges: bytes\r\nContent-Type: ");
	put_text(cl, content_type(a->file->path));
	put_text(cl, "\r\nContent-Length: ");
	put_number(cl, a->n);
	if (a->status != 206)
		return;
	put_text(cl, "\r\nContent-Range: bytes ");
	put_number(cl, a->first);
	put_text(cl, "-");
	put_number(cl, a->first + a->n - 1);
	put_text(cl, "/");
	put_number(cl, a->file->size);
}

/* --- answers without a file --- */

/* With what it may not have escaped. */
static void put_escaped(struct client *cl, const char *text, size_t n,
			const char *plain)
{
	static const char digits[] = "0123456789ABCDEF";

	for (; n--; text++) {
		unsigned char c = (unsigned char)*text;
		char escaped[] = { '%', digits[c >> 4], digits[c & 15] };

		if (strchr(plain, c))
			put(cl, text, 1);
		else
			put(cl, escaped, sizeof escaped);
	}
}

#define LETTERS "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"

/* The path, for a browser that stands somewhere else, and the query. The slash in
 * front is one: two would name a host. */
static void put_location(struct client *cl)
{
	const struct request *r = cl->request;

	put_text(cl, "\r\nLocation: /");
	put_escaped(cl, r->path, strlen(r->path), LETTERS "-._~/");
	put_text(cl, "/");
	if (!r->query_length)
		return;
	put_text(cl, "?");
	put_escaped(cl, r->query, r->query_length,
		    LETTERS "-._~/?%!$&'()*+,;=:@");
}

static bool fits_location(const struct request *r)
{
	size_t n = strlen(r->path) + r->query_length;

	return 3 * n < HEADER_ROOM - REST_OF_HEADER;
}

static void put_message(struct client *cl, struct answer *a)
{
	const char *text = http_status_str((enum http_status)a->status);

	put_first(cl, a);
	switch (a->status) {
	case 301:
		put_location(cl);
		break;
	case 405:
		put_text(cl, "\r\nAllow: GET, HEAD");
		break;
	case 416:
		put_text(cl, "\r\nContent-Range: bytes */");
		put_number(cl, a->n);
		break;
	}
	a->n = 4 + strlen(text) + 1;
	put_text(cl, "\r\nContent-Type: text/plain\r\nContent-Length: ");
	put_number(cl, a->n);
	put_text(cl, "\r\n\r\n");
	if (cl->request->parser.method == HTTP_HEAD &&
	    cl->request->target_length) {
		a->n = 0;
		return;
	}
	put_number(cl, (uint64_t)a->status);
	put_text(cl, " ");
	put_text(cl, text);
	put_text(cl, "\n");
}

/* --- answers with a file --- */

/* Whether the client has the file as it is. */
static bool is_unmodified(const struct request *r, const struct file *f)
{
	const char *since = r->fields[FIELD_IF_MODIFIED_SINCE];
	const char *tags = r->fields[FIELD_IF_NONE_MATCH];
	time_t t;

	/* Files have no tags here, so none that the client has is right. */
	if (tags)
		return strcmp(tags, "*") == 0;
	return since && date_parse(since, &t) && f->modified <= t;
}

/* Whether the file is not what the client wants a part of. */
static bool is_another(const struct request *r, const struct file *f)
{
	const char *since = r->fields[FIELD_IF_UNMODIFIED_SINCE];
	const char *tags = r->fields[FIELD_IF_MATCH];
	time_t t;

	if (tags)
		return strcmp(tags, "*") != 0;
	return since && date_parse(since, &t) && f->modified > t;
}

static bool wants_range(const struct request *r, const struct file *f)
{
	const char *same = r->fields[FIELD_IF_RANGE];
	time_t t;

	return r->fields[FIELD_RANGE] && r->parser.method == HTTP_GET &&
	       (!same || (date_parse(same, &t) && f->modified == t));
}

static void choose(const struct request *r, struct answer *a)
{
	uint64_t last;

	a->n = a->file->size;
	if (is_another(r, a->file)) {
		a->status = 412;
		return;
	}
	if (is_unmodified(r, a->file)) {
		a->status = 304;
		a->n = 0;
		return;
	}
	if (!wants_range(r, a->file))
		return;
	switch (range_parse(r->fields[FIELD_RANGE], a->n, &a->first, &last)) {
	case RANGE_PART:
		a->status = 206;
		a->n = last - a->first + 1;
		break;
	case RANGE_OUTSIDE:
		a->status = 416;
		break;
	default:
		break;
	}
}

/* Reads a small body behind its header. False if the file is not what it was. */
static bool put_body(struct client *cl, const struct answer *a)
{
	uint64_t done = 0;

	while (done < a->n) {
		ssize_t n = weft_pread(a->file->fd, cl->out + cl->n_out,
				       a->n - done, (off_t)(a->first + done));

		if (n <= 0)
			return false;
		done += (uint64_t)n;
		cl->n_out += (size_t)n;
	}
	return true;
}

/* Sends a larger one from @done on, behind what is in `out`, in pieces. False if the
 * connection is of no use any more. */
static bool send_pieces(struct client *cl, const struct answer *a,
			uint64_t done)
{
	char *piece = malloc(PIECE);
	size_t length = cl->n_out;
	bool is_good = piece != NULL;

	if (is_good)
		memcpy(piece, cl->out, length);
	cl->n_out = 0;
	while (is_good && done < a->n) {
		uint64_t left = a->n - done;
		size_t room = PIECE - length;
		ssize_t n = weft_pread(a->file->fd, piece + length,
				       left < room ? left : room,
				       (off_t)(a->first + done));

		is_good = n > 0;
		if (!is_good)
			break;
		done += (uint64_t)n;
		length += (size_t)n;
		if (length < PIECE && done < a->n)
			continue;
		is_good = send_bytes(cl, piece, length, 0);
		if (is_good)
			cl->n_sent = done;
		length = 0;
	}
	free(piece);
	return is_good;
}

static bool send_file(struct client *cl, const struct answer *a)
{
	off_t offset = (off_t)a->first;
	uint64_t done = 0;

	while (done < a->n) {
		struct weft_deadline d;
		ssize_t n;

		begin_wait(&d);
		n = weft_sendfile(cl->c->fd, a->file->fd, &offset, a->n - done);
		end_wait(cl, &d, n > 0);
		/* No pipe can be had, or the file system has none of that. */
		if (n == -EMFILE || n == -ENFILE || n == -EINVAL)
			return send_pieces(cl, a, done);
		if (n <= 0)
			return false;
		done += (uint64_t)n;
		cl->n_sent = done;
	}
	return true;
}

static bool send_large(struct client *cl, const struct answer *a)
{
	bool is_sent;

	if (!flush(cl, MSG_MORE))
		return false;
	/* What passes through a pipe to a socket that does not wait takes no
	 * thread of the kernel. */
	(void)fcntl(cl->c->fd, F_SETFL, O_NONBLOCK);
	is_sent = send_file(cl, a);
	(void)fcntl(cl->c->fd, F_SETFL, 0);
	return is_sent;
}

/* False if the connection is of no use any more. */
static bool put_file(struct client *cl, struct answer *a)
{
	bool has_body = a->n && cl->request->parser.method == HTTP_GET;
	size_t before = cl->n_out;
	bool is_sent;

	put_first(cl, a);
	put_file_fields(cl, a);
	put_text(cl, "\r\n\r\n");
	if (!has_body) {
		a->n = 0;
		return true;
	}
	if (a->n > SMALL) {
		cl->n_sent = 0;
		is_sent = a->n >= LARGE ? send_large(cl, a)
					: send_pieces(cl, a, 0);
		if (!is_sent)
			a->n = cl->n_sent;
		return is_sent;
	}
	if (put_body(cl, a))
		return true;
	/* Nothing of it has been sent yet. */
	cl->n_out = before;
	a->status = 500;
	a->keeps = false;
	put_message(cl, a);
	return true;
}

/* --- requests --- */

static void note(struct client *cl, const struct answer *a)
{
	const struct request *r = cl->request;

	cl->c->thread->counts.n_messages++;
	cl->c->thread->counts.n_bytes += a->n;
	log_add(cl->c->thread, cl->peer, request_method(r), r->target,
		r->parser.http_minor, a->status, a->n);
}

/* Whether more has arrived than the request that is there. */
static bool has_more(const struct client *cl)
{
	char byte;

	return cl->at < cl->n_in ||
	       recv(cl->c->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
}

/* Answers the request that is there, or is none. False if it was the last. */
static bool answer(struct client *cl)
{
	const struct request *r = cl->request;
	struct answer a = { .status = r->status, .keeps = r->keeps };
	bool is_sent = true;

	if (OUT_SIZE - cl->n_out < HEADER_ROOM + SMALL && !flush(cl, 0))
		return false;
	/* At the end, what has arrived is still answered. */
	if (cl->c->thread->is_ending && !has_more(cl))
		a.keeps = false;
	if (a.status == 200)
		a.status = file_find(cl->c->thread, r->path, &a.file);
	if (a.file)
		choose(r, &a);
	if (a.status == 301 && !fits_location(r))
		a.status = 414;
	if (a.file && a.status < 400)
		is_sent = put_file(cl, &a);
	else
		put_message(cl, &a);
	if (a.file)
		file_release(a.file);
	note(cl, &a);
	return is_sent && a.keeps;
}

/* 0, or the errno for which there will be no more requests. */
static int serve_requests(struct client *cl)
{
	for (;;) {
		struct request *r = cl->request;
		ssize_t n;

		if (cl->at == cl->n_in) {
			if (!flush(cl, 0))
				return -EPIPE;
			n = receive(cl);
			if (n <= 0)
				return n ? (int)n : -EPIPE;
		}
		cl->at += request_parse(r, cl->in + cl->at, cl->n_in - cl->at);
		if (!r->status)
			continue;
		if (!answer(cl))
			return 0;
		request_next(r);
		cl->since = weft_now();
	}
}

/* Waits until the client has closed too, or for a while. */
static void linger(struct client *cl)
{
	size_t left = LINGER_BYTES;
	struct weft_deadline d;
	ssize_t n;

	if (weft_shutdown(cl->c->fd, SHUT_WR))
		return;
	weft_deadline_begin(&d, weft_now() + LINGER_TIME);
	while (left && (n = weft_recv(cl->c->fd, cl->in, IN_SIZE, 0)) > 0)
		left -= (size_t)n < left ? (size_t)n : left;
	weft_deadline_end(&d);
}

static void name_peer(const struct server_connection *c, char *peer)
{
	strcpy(peer, "-");
	if (c->peer.any.sa_family == AF_INET)
		inet_ntop(AF_INET, &c->peer.in.sin_addr, peer, LOG_PEER);
	else if (c->peer.any.sa_family == AF_INET6)
		inet_ntop(AF_INET6, &c->peer.in6.sin6_addr, peer, LOG_PEER);
}

void client_serve(struct server_connection *c)
{
	struct client cl;
	int rc;

	cl.c = c;
	cl.w = c->thread->own;
	cl.at = cl.n_in = cl.n_out = 0;
	cl.request = request_new(settings.max_target);
	if (!cl.request) {
		server_complain(c->thread, "a connection was refused", ENOMEM);
		return;
	}
	name_peer(c, cl.peer);
	cl.since = weft_now();
	rc = serve_requests(&cl);
	if (rc == -ETIMEDOUT && cl.request->has_begun) {
		c->thread->counts.n_late++;
		cl.request->status = 408;
		cl.request->keeps = false;
		answer(&cl);
		rc = 0;
	}
	if (!rc && flush(&cl, 0))
		linger(&cl);
	free(cl.request);
}
