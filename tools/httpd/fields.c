/* SPDX-License-Identifier: MIT */
#include "fields.h"

#include <string.h>
#include <strings.h>

/* --- dates --- */

/* The program never leaves the C locale, whose names these are. */
static const char date_form[] = "%a, %d %b %Y %H:%M:%S GMT";

void date_print(time_t t, char text[DATE_SIZE])
{
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(text, DATE_SIZE, date_form, &tm))
		text[0] = '\0';
}

bool date_parse(const char *text, time_t *t)
{
	static const char *const forms[] = {
		date_form,
		"%A, %d-%b-%y %H:%M:%S GMT",
		"%a %b %e %H:%M:%S %Y",
	};

	for (size_t i = 0; i < sizeof forms / sizeof forms[0]; i++) {
		struct tm tm = { 0 };
		const char *rest = strptime(text, forms[i], &tm);

		if (!rest || *rest)
			continue;
		*t = timegm(&tm);
		return true;
	}
	return false;
}

/* --- ranges --- */

static const char digits[] = "0123456789";

/* Takes a number from the text; one that is too large is the largest. */
static const char *take_number(const char *text, uint64_t *n)
{
	size_t length = strspn(text, digits);

	*n = 0;
	for (size_t i = 0; i < length; i++) {
		uint64_t digit = (uint64_t)(text[i] - '0');

		if (__builtin_mul_overflow(*n, 10, n) ||
		    __builtin_add_overflow(*n, digit, n)) {
			*n = UINT64_MAX;
			break;
		}
	}
	return text + length;
}

enum range range_parse(const char *text, uint64_t size, uint64_t *first,
		       uint64_t *last)
{
	static const char unit[] = "bytes=";
	const char *begin, *dash, *end;
	uint64_t from, to;

	if (strncasecmp(text, unit, strlen(unit)) != 0)
		return RANGE_NONE;
	begin = text + strlen(unit);
	dash = take_number(begin, &from);
	if (*dash != '-')
		return RANGE_NONE;
	end = take_number(dash + 1, &to);
	if (*end)
		return RANGE_NONE;
	if (dash == begin) { /* the last bytes */
		if (end == dash + 1)
			return RANGE_NONE;
		if (!to)
			return RANGE_OUTSIDE;
		if (!size) /* then they are all */
			return RANGE_NONE;
		*first = to < size ? size - to : 0;
		*last = size - 1;
		return RANGE_PART;
	}
	if (end == dash + 1)
		to = UINT64_MAX;
	if (to < from)
		return RANGE_NONE;
	if (from >= size)
		return RANGE_OUTSIDE;
	*first = from;
	*last = to < size ? to : size - 1;
	return RANGE_PART;
}

/* --- types --- */

static const struct {
	const char *ending, *type;
} types[] = {
	{ "avif", "image/avif" },       { "css", "text/css" },
	{ "csv", "text/csv" },          { "gif", "image/gif" },
	{ "gz", "application/gzip" },   { "htm", "text/html" },
	{ "html", "text/html" },        { "ico", "image/x-icon" },
	{ "jpeg", "image/jpeg" },       { "jpg", "image/jpeg" },
	{ "js", "text/javascript" },    { "json", "application/json" },
	{ "md", "text/markdown" },      { "mjs", "text/javascript" },
	{ "mp3", "audio/mpeg" },        { "mp4", "video/mp4" },
	{ "ogg", "audio/ogg" },         { "pdf", "application/pdf" },
	{ "png", "image/png" },         { "svg", "image/svg+xml" },
	{ "tar", "application/x-tar" }, { "txt", "text/plain" },
	{ "wasm", "application/wasm" }, { "webm", "video/webm" },
	{ "webp", "image/webp" },       { "woff2", "font/woff2" },
	{ "xml", "application/xml" },   { "zip", "application/zip" },
};

const char *content_type(const char *path)
{
	const char *name = strrchr(path, '/');
	const char *dot = strrchr(name ? name : path, '.');

	for (size_t i = 0; dot && i < sizeof types / sizeof types[0]; i++)
		if (strcasecmp(dot + 1, types[i].ending) == 0)
			return types[i].type;
	return "application/octet-stream";
}
