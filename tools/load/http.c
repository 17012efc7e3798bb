/* SPDX-License-Identifier: MIT */
/*
 * --http: requests are GETs of one path, on connections that are kept.
 *
 * An answer is good if its status is 200 and its length is the one that was asked for,
 * or else that of the first good answer. One that is not is an error of its own, and
 * the connection goes on. What is no answer ends the connection. A server may close it
 * behind an answer that says so.
 */
#include <errno.h>
#include <http_parser.h>
#include <string.h>

#include "load.h"

struct answers {
	http_parser parser;
	struct connection *connection;
	uint64_t n; /* bytes of this one's body */
	bool is_last;
};

/* UINT64_MAX: not known yet. */
static _Atomic(uint64_t) right_length = UINT64_MAX;

static bool is_right_length(uint64_t n)
{
	uint64_t right = UINT64_MAX;

	/* relaxed, no pair: the number is all there is to it */
	return atomic_compare_exchange_strong_explicit(&right_length, &right, n,
						       memory_order_relaxed,
						       memory_order_relaxed) ||
	       n == right;
}

static int on_message_begin(http_parser *parser)
{
	struct answers *a = parser->data;

	a->n = 0;
	return load_awaits(a->connection) ? 0 : -1;
}

static int on_body(http_parser *parser, const char *at, size_t n)
{
	struct answers *a = parser->data;

	(void)at;
	a->n += n;
	return 0;
}

static int on_message_complete(http_parser *parser)
{
	struct answers *a = parser->data;
	enum error_kind error = NO_ERROR;

	if (parser->status_code / 100 == 1)
		return 0; /* the answer is still to come */
	if (parser->status_code != 200)
		error = ERROR_STATUS;
	else if (!is_right_length(a->n))
		error = ERROR_LENGTH;
	load_answer(a->connection, error, a->n);
	a->is_last = !http_should_keep_alive(parser);
	return a->is_last; /* nothing may follow */
}

static const http_parser_settings callbacks = {
	.on_message_begin = on_message_begin,
	.on_body = on_body,
	.on_message_complete = on_message_complete,
};

static void begin(void *state, struct connection *c)
{
	struct answers *a = state;

	*a = (struct answers){ .connection = c };
	http_parser_init(&a->parser, HTTP_RESPONSE);
	a->parser.data = a;
}

static int take(void *state, const char *data, size_t n)
{
	struct answers *a = state;
	size_t used = http_parser_execute(&a->parser, &callbacks, data, n);

	if (a->is_last)
		return ENDED;
	if (!n)
		return CLOSED;
	return used == n && !a->parser.upgrade ? 0 : -EBADMSG;
}

const struct protocol http_protocol = {
	.malformed = ERROR_MALFORMED,
	.state_size = sizeof(struct answers),
	.begin = begin,
	.take = take,
};

bool http_prepare(const char *path, bool has_length)
{
	const char *host = address_is_unix(&settings.address)
				   ? "localhost"
				   : settings.address.text;
	int n = snprintf(settings.request, sizeof settings.request,
			 "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, host);

	if (has_length)
		right_length = settings.size;
	settings.request_size = (size_t)n;
	settings.path = path;
	settings.protocol = &http_protocol;
	return n > 0 && (size_t)n < sizeof settings.request;
}

size_t http_length(void)
{
	return right_length == UINT64_MAX ? 0 : (size_t)right_length;
}
