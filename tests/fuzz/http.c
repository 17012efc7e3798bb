/* SPDX-License-Identifier: MIT */
/*
 * Requests of HTTP, as weft-httpd takes them from a connection. What they are must not
 * depend on the pieces in which they come.
 *
 * The first byte of the input says how long the pieces are, the second how long a URL
 * may be.
 */
#include <stdlib.h>
#include <string.h>

#include "../../tools/httpd/fields.h"
#include "../../tools/httpd/request.h"
#include "fuzz.h"

enum { MAX_HEADER = 64 * 1024 };

/* What came of the requests of a connection. */
struct record {
	size_t n;
	int last_status;
	uint64_t sum; /* of what they say */
};

static void add(struct record *record, const char *text)
{
	while (text && *text)
		record->sum = record->sum * 31 + (unsigned char)*text++;
	record->sum = record->sum * 31 + 1;
}

static void check_range(const char *text)
{
	static const uint64_t sizes[] = { 0, 1, 12, 1 << 20, INT64_MAX };

	for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
		uint64_t first, last;

		if (range_parse(text, sizes[i], &first, &last) == RANGE_PART)
			EXPECT(first <= last && last < sizes[i]);
	}
}

static void check_date(const char *text)
{
	char printed[DATE_SIZE];
	time_t t, again;

	if (!date_parse(text, &t))
		return;
	date_print(t, printed);
	if (*printed)
		EXPECT(date_parse(printed, &again) && again == t);
}

static void check_request(const struct request *r)
{
	EXPECT(r->path && *r->path && *r->path != '/');
	EXPECT(strlen(r->path) <= r->target_length || *r->path == '.');
	EXPECT(r->target_length <= r->max_target);
	EXPECT(strlen(r->target) == r->target_length);
	EXPECT(*content_type(r->path));
	for (int i = 0; i < N_FIELDS; i++) {
		if (!r->fields[i])
			continue;
		EXPECT(strlen(r->fields[i]) < REQUEST_VALUE);
		check_range(r->fields[i]);
		check_date(r->fields[i]);
	}
}

static void note(struct record *record, const struct request *r)
{
	record->n++;
	record->last_status = r->status;
	if (r->status != 200) {
		EXPECT(r->status >= 400 && r->status <= 505);
		return;
	}
	check_request(r);
	add(record, r->path);
	add(record, r->target);
	add(record, request_method(r));
	for (int i = 0; i < N_FIELDS; i++)
		add(record, r->fields[i]);
	record->sum += r->keeps;
}

static struct record take(const char *data, size_t n, size_t piece,
			  size_t max_target)
{
	struct request *r = request_new(max_target);
	struct record record = { 0 };
	size_t at = 0;

	EXPECT(r);
	while (at < n) {
		size_t most = n - at < piece ? n - at : piece;
		/* Memory of its own, so that what is read beyond it is found. */
		char *copy = malloc(most);
		size_t used;

		EXPECT(copy);
		memcpy(copy, data + at, most);
		used = request_parse(r, copy, most);
		free(copy);
		EXPECT(used <= most && (r->status || used == most));
		at += used;
		if (!r->status)
			continue;
		note(&record, r);
		if (r->status != 200)
			break;
		request_next(r);
	}
	free(r);
	return record;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	const char *text = (const char *)data + 2;
	struct record whole, pieces;
	size_t max_target;

	if (n < 2)
		return 0;
	request_limit(MAX_HEADER);
	max_target = 16 + data[1] * 8u;
	whole = take(text, n - 2, n, max_target);
	pieces = take(text, n - 2, data[0] + 1u, max_target);
	EXPECT(whole.n == pieces.n);
	/* Of several faults, another one may be found first. */
	EXPECT((whole.last_status == 200) == (pieces.last_status == 200));
	EXPECT(whole.sum == pieces.sum);
	return 0;
}
