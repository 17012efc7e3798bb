/* SPDX-License-Identifier: MIT */
#include "request.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

static const char *const field_names[N_FIELDS] = {
	[FIELD_HOST] = "host",
	[FIELD_RANGE] = "range",
	[FIELD_IF_RANGE] = "if-range",
	[FIELD_IF_MODIFIED_SINCE] = "if-modified-since",
	[FIELD_IF_UNMODIFIED_SINCE] = "if-unmodified-since",
	[FIELD_IF_MATCH] = "if-match",
	[FIELD_IF_NONE_MATCH] = "if-none-match",
};

static struct request *of(http_parser *parser)
{
	return parser->data;
}

/* Ends the parsing: the callback returns this. */
static int refuse(struct request *r, int status)
{
	r->status = status;
	return -1;
}

/* --- header fields --- */

/* Keeps the field that has just ended, if it is one that counts. The parser has
 * taken the blanks around the value away. */
static int end_field(struct request *r)
{
	size_t length = r->name_length;

	r->name_length = 0;
	r->is_in_value = false;
	if (length >= REQUEST_NAME)
		return 0;
	for (int i = 0; i < N_FIELDS; i++) {
		if (strlen(field_names[i]) != length ||
		    strncasecmp(field_names[i], r->name, length) != 0)
			continue;
		/* Two that differ could be understood in two ways, but for
		 * those that can be lists. */
		if (r->fields[i] && i != FIELD_IF_MATCH &&
		    i != FIELD_IF_NONE_MATCH)
			return refuse(r, 400);
		/* What is too long is no date and no range. */
		if (r->value_length >= REQUEST_VALUE)
			r->value_length = 0;
		memcpy(r->values[i], r->value, r->value_length);
		r->values[i][r->value_length] = '\0';
		r->fields[i] = r->values[i];
		break;
	}
	return 0;
}

/* Adds what fits; the length tells if there was more. */
static void gather(char *text, size_t size, size_t *length, const char *at,
		   size_t n)
{
	if (*length < size)
		memcpy(text + *length, at,
		       n < size - *length ? n : size - *length);
	*length = *length + n < size ? *length + n : size;
}

static int on_header_field(http_parser *parser, const char *at, size_t n)
{
	struct request *r = of(parser);

	if (r->is_in_value && end_field(r))
		return -1;
	/* The parser may let it pass, and others take the name without it. */
	if (memchr(at, ' ', n))
		return refuse(r, 400);
	gather(r->name, REQUEST_NAME, &r->name_length, at, n);
	return 0;
}

static int on_header_value(http_parser *parser, const char *at, size_t n)
{
	struct request *r = of(parser);

	if (!r->is_in_value)
		r->value_length = 0;
	r->is_in_value = true;
	/* The parser looks at all bytes but the first. */
	if (n && ((unsigned char)*at < ' ' || *at == 127) && *at != '\t')
		return refuse(r, 400);
	gather(r->value, REQUEST_VALUE, &r->value_length, at, n);
	return 0;
}

/* --- the target --- */

static int on_url(http_parser *parser, const char *at, size_t n)
{
	struct request *r = of(parser);
	size_t room = r->max_target - r->target_length;
	size_t taken = n < room ? n : room;

	memcpy(r->target + r->target_length, at, taken);
	r->target_length += taken;
	r->target[r->target_length] = '\0';
	return n > room ? refuse(r, 414) : 0;
}

static int value_of(char digit)
{
	if (digit >= '0' && digit <= '9')
		return digit - '0';
	digit |= 'a' - 'A';
	return digit >= 'a' && digit <= 'f' ? digit - 'a' + 10 : -1;
}

/* Decodes %XX. False if there is something else after a %, or a NUL. */
static bool decode(char *into, const char *from, const char *end)
{
	while (from < end) {
		int c = (unsigned char)*from++;

		if (c == '%') {
			int high = from < end ? value_of(*from++) : -1;
			int low = from < end ? value_of(*from++) : -1;

			if (high < 0 || low < 0)
				return false;
			c = high * 16 + low;
		}
		if (!c)
			return false;
		*into++ = (char)c;
	}
	*into = '\0';
	return true;
}

/* Finds the path in "/path?query" or "http://host/path?query". */
static bool find_path(struct request *r)
{
	struct http_parser_url url;
	const char *begin;
	char *path = r->target + r->max_target + 1;

	http_parser_url_init(&url);
	if (http_parser_parse_url(r->target, r->target_length, 0, &url))
		return false;
	if (url.field_set & 1 << UF_PATH) {
		begin = r->target + url.field_data[UF_PATH].off;
		/* It could be "*". */
		if (*begin != '/' ||
		    !decode(path, begin, begin + url.field_data[UF_PATH].len))
			return false;
	} else if (url.field_set & 1 << UF_HOST) {
		*path = '\0';
	} else {
		return false;
	}
	r->query = r->target + url.field_data[UF_QUERY].off;
	r->query_length = url.field_set & 1 << UF_QUERY
				  ? url.field_data[UF_QUERY].len
				  : 0;
	path += strspn(path, "/");
	r->path = *path ? path : ".";
	return true;
}

/* --- the request --- */

static int on_message_begin(http_parser *parser)
{
	of(parser)->has_begun = true;
	return 0;
}

static bool has_body(const http_parser *parser)
{
	return parser->uses_transfer_encoding ||
	       (parser->flags & F_CONTENTLENGTH && parser->content_length);
}

/* Nobody is served by it, but what is none was made to be misunderstood. */
static bool is_host(const char *text)
{
	static const char allowed[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
		"0123456789-._~%!$&'()*+,;=:[]";

	return !text[strspn(text, allowed)];
}

static int on_headers_complete(http_parser *parser)
{
	struct request *r = of(parser);

	if (r->is_in_value && end_field(r))
		return -1;
	if (parser->http_major != 1)
		return refuse(r, 505);
	if (parser->http_minor > 0 && !r->fields[FIELD_HOST])
		return refuse(r, 400);
	if (r->fields[FIELD_HOST] && !is_host(r->fields[FIELD_HOST]))
		return refuse(r, 400);
	if (parser->method != HTTP_GET && parser->method != HTTP_HEAD)
		return refuse(r, 405);
	/* A body would mean nothing, and who takes its length to be another one
	 * would take a part of it for a request. */
	if (has_body(parser))
		return refuse(r, 400);
	if (!find_path(r))
		return refuse(r, 400);
	/* Offers of other protocols are not taken up. */
	parser->upgrade = 0;
	r->keeps = http_should_keep_alive(parser);
	return 0;
}

static int on_message_complete(http_parser *parser)
{
	of(parser)->status = 200;
	/* What follows is another request. */
	http_parser_pause(parser, 1);
	return 0;
}

static const http_parser_settings settings = {
	.on_message_begin = on_message_begin,
	.on_url = on_url,
	.on_header_field = on_header_field,
	.on_header_value = on_header_value,
	.on_headers_complete = on_headers_complete,
	.on_message_complete = on_message_complete,
};

static bool is_letter(char c)
{
	c |= 'a' - 'A';
	return c >= 'a' && c <= 'z';
}

/* What is wrong, with the byte at which it was found. */
static int status_of(const http_parser *parser, char at)
{
	switch (HTTP_PARSER_ERRNO(parser)) {
	case HPE_HEADER_OVERFLOW:
		return 431;
	case HPE_INVALID_METHOD:
		return is_letter(at) ? 501 : 400;
	default:
		return 400;
	}
}

void request_limit(size_t max_header)
{
	http_parser_set_max_header_size((uint32_t)max_header);
}

struct request *request_new(size_t max_target)
{
	struct request *r = malloc(sizeof *r + 2 * (max_target + 1));

	if (!r)
		return NULL;
	r->max_target = max_target;
	http_parser_init(&r->parser, HTTP_REQUEST);
	r->parser.data = r;
	request_next(r);
	return r;
}

size_t request_parse(struct request *r, const char *data, size_t n)
{
	size_t used = http_parser_execute(&r->parser, &settings, data, n);

	if (!r->status && HTTP_PARSER_ERRNO(&r->parser) != HPE_OK)
		r->status = status_of(&r->parser, used < n ? data[used] : '\0');
	return used;
}

void request_next(struct request *r)
{
	http_parser_pause(&r->parser, 0);
	r->status = 0;
	r->has_begun = r->keeps = r->is_in_value = false;
	r->path = NULL;
	r->target_length = r->name_length = r->value_length = 0;
	r->target[0] = '\0';
	memset(r->fields, 0, sizeof r->fields);
}

const char *request_method(const struct request *r)
{
	/* It is known once the target has begun. */
	return r->target_length ? http_method_str(r->parser.method) : "-";
}
