/* SPDX-License-Identifier: MIT */
/*
 * A request and its answer as the command line gives them, for servers whose answers
 * are always the same.
 */
#include <errno.h>
#include <string.h>

#include "load.h"

static char answer[MAX_REQUEST];

struct text {
	struct connection *c;
	size_t at; /* bytes of the answer that is coming */
};

static void begin(void *state, struct connection *c)
{
	*(struct text *)state = (struct text){ .c = c };
}

static int take(void *state, const char *data, size_t n)
{
	struct text *t = state;

	if (!n)
		return CLOSED;
	while (n) {
		size_t left = settings.size - t->at;
		size_t part = n < left ? n : left;

		if (!load_awaits(t->c) || memcmp(data, answer + t->at, part))
			return -EBADMSG;
		data += part;
		n -= part;
		t->at += part;
		if (t->at < settings.size)
			break;
		t->at = 0;
		load_answer(t->c, NO_ERROR, settings.size);
	}
	return 0;
}

static const struct protocol text_protocol = {
	.malformed = ERROR_CONTENT,
	.state_size = sizeof(struct text),
	.begin = begin,
	.take = take,
};

static int value_of(char digit)
{
	static const char digits[] = "0123456789abcdef";
	const char *at = digit ? strchr(digits, digit | ' ') : NULL;

	return at ? (int)(at - digits) : -1;
}

/* What stands behind a backslash: its byte, or -1. */
static int unescape(const char **text)
{
	static const char names[] = "rnt\\", bytes[] = "\r\n\t\\";
	char name = *(*text)++;
	const char *at = name ? strchr(names, name) : NULL;
	int high, low;

	if (at)
		return bytes[at - names];
	if (name != 'x')
		return -1;
	high = value_of(**text);
	low = high < 0 ? -1 : value_of((*text)[1]);
	*text += 2;
	return low < 0 ? -1 : high * 16 + low;
}

size_t text_decode(const char *text, char bytes[MAX_REQUEST])
{
	size_t n = 0;

	while (*text) {
		int c = (unsigned char)*text++;

		if (c < ' ' || c >= 0x7f || n == MAX_REQUEST)
			return 0;
		if (c == '\\')
			c = unescape(&text);
		if (c < 0)
			return 0;
		bytes[n++] = (char)c;
	}
	return n;
}

const char *text_prepare(const char *send, const char *expect)
{
	settings.request_size = text_decode(send, settings.request);
	settings.size = text_decode(expect, answer);
	settings.send = send;
	settings.protocol = &text_protocol;
	return !settings.request_size ? "send"
	       : !settings.size       ? "expect"
				      : NULL;
}
