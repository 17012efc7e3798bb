/* SPDX-License-Identifier: MIT */
/*
 * What header fields say: dates, ranges of bytes, types of content.
 */
#ifndef HTTPD_FIELDS_H
#define HTTPD_FIELDS_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

enum { DATE_SIZE = 30 };

/* As in "Sun, 06 Nov 1994 08:49:37 GMT". */
void date_print(time_t t, char text[DATE_SIZE]);

/* Reads that, and the two older forms. */
bool date_parse(const char *text, time_t *t);

enum range {
	RANGE_NONE, /* the text is no single range of bytes: all of the file is meant */
	RANGE_PART,
	RANGE_OUTSIDE /* of a file of this size */
};

/* Reads "bytes=FIRST-LAST", "bytes=FIRST-" or "bytes=-COUNT". A part is from @first
 * to @last, both in the file. */
enum range range_parse(const char *text, uint64_t size, uint64_t *first,
		       uint64_t *last);

/* The type of the file's content, by the end of its name. */
const char *content_type(const char *path);

#endif /* HTTPD_FIELDS_H */
