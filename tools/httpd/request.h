/* SPDX-License-Identifier: MIT */
/*
 * A request of HTTP/1.1, from the bytes of a connection.
 *
 * It does no I/O. Bytes are parsed as they come, in pieces of any size; what is kept
 * of a request is its target and the few header fields that count here.
 */
#ifndef HTTPD_REQUEST_H
#define HTTPD_REQUEST_H

#include <http_parser.h>
#include <stdbool.h>
#include <stddef.h>

enum {
	REQUEST_VALUE = 128, /* longer than any date or range that counts */
	REQUEST_NAME = 24,   /* longer than any name that counts */
	REQUEST_MAX_TARGET = 64 * 1024,
	REQUEST_MAX_HEADER = 1024 * 1024
};

enum request_field {
	FIELD_HOST,
	FIELD_RANGE,
	FIELD_IF_RANGE,
	FIELD_IF_MODIFIED_SINCE,
	FIELD_IF_UNMODIFIED_SINCE,
	FIELD_IF_MATCH,
	FIELD_IF_NONE_MATCH,
	N_FIELDS
};

struct request {
	http_parser parser;
	/* 0: more bytes are needed; 200: it is there; else the status of the error
	 * that it is to be answered with, after which nothing can be parsed. */
	int status;
	bool has_begun; /* there was a byte of it */
	bool keeps; /* the connection, if the answer does not say otherwise */
	const char *path;  /* of a request that is there: decoded, relative */
	const char *query; /* what followed a "?", as it was sent */
	size_t query_length;
	size_t target_length, max_target;
	/* what the fields say: NULL if there was none */
	const char *fields[N_FIELDS];

	/* the header field that is being parsed */
	size_t name_length, value_length;
	bool is_in_value;
	char name[REQUEST_NAME];
	char value[REQUEST_VALUE];
	char values[N_FIELDS][REQUEST_VALUE];

	/* the target as it was sent, ended by a NUL; then room for the path */
	char target[];
};

/* Of all requests: the size of a header with its request line at most. */
void request_limit(size_t max_header);

/* For a connection, or NULL; free() frees it. */
struct request *request_new(size_t max_target);

/* Takes bytes until the request is there, or cannot be one. Returns how many it has
 * taken. */
size_t request_parse(struct request *r, const char *data, size_t n);

/* Makes room for the next one on the connection. */
void request_next(struct request *r);

/* "GET", or "-" if there is none. */
const char *request_method(const struct request *r);

#endif /* HTTPD_REQUEST_H */
