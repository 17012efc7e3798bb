/* SPDX-License-Identifier: MIT */
/*
 * The access log: lines in the common format.
 *
 * Each thread gathers its lines, and one tasklet of it, the writer, takes what there
 * is to the file. It is there only while there is something to write. A helper thread
 * makes the write if it could wait, so requests do not wait for the disk; only if
 * ROOM bytes are in line do they wait for the writer, and no line is lost. Lines that
 * cannot be written, because the disk is full, are dropped, and that is told once.
 *
 * One writer at a time writes: a pipe takes what is long in parts, and lines of two
 * threads would be mixed up.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "httpd.h"

enum {
	ROOM = 256 * 1024,
	LINE = 4096, /* a longer target is cut */
	TARGET = 3 * 1024
};

struct log {
	weft_tasklet writer;
	bool is_writing, is_cut;
	weft_condition has_room;
	weft_mutex
		mutex; /* what the condition needs; one thread uses all this */
	size_t n;      /* bytes in line */
	char *line, *other; /* what is in line, and what is being written */
};

static weft_mutex file = WEFT_MUTEX_INIT;

struct log *log_new(void)
{
	struct log *log = calloc(1, sizeof *log);

	if (!log)
		return NULL;
	log->line = malloc(ROOM);
	log->other = malloc(ROOM);
	if (log->line && log->other)
		return log;
	log_free(log);
	return NULL;
}

void log_free(struct log *log)
{
	if (!log)
		return;
	free(log->line);
	free(log->other);
	free(log);
}

static struct log *log_of(struct server_thread *t)
{
	return ((struct worker *)t->own)->log;
}

/* --- the writer --- */

/* 0 or a negative errno. What stops it midway is told by the next call. */
static int write_whole(const char *lines, size_t n)
{
	ssize_t done = weft_mutex_lock(&file);

	if (done)
		return (int)done;
	while (n && (done = weft_write_full(settings.log, lines, n)) > 0) {
		lines += done;
		n -= (size_t)done;
	}
	weft_mutex_unlock(&file);
	return n && !done ? -ENOSPC : done < 0 ? (int)done : 0;
}

static int write_lines(void *arg)
{
	struct server_thread *t = arg;
	struct log *log = log_of(t);

	while (log->n && !log->is_cut) {
		size_t n = log->n;
		char *full = log->line;
		int rc;

		log->line = log->other;
		log->other = full;
		log->n = 0;
		weft_condition_broadcast(&log->has_room);
		rc = write_whole(full, n);
		if (rc)
			server_complain(t, "lines of the log are lost", -rc);
	}
	log->is_writing = false;
	return 0;
}

static void start_writer(struct server_thread *t)
{
	struct log *log = log_of(t);

	log->writer = weft_spawn(write_lines, t);
	log->is_writing = !weft_tasklet_is_null(log->writer);
	if (log->is_writing)
		return;
	server_complain(t, "lines of the log are lost", errno);
	log->n = 0;
}

void log_cut(struct server_thread *t)
{
	struct log *log = log_of(t);

	if (!log)
		return;
	log->is_cut = true;
	weft_condition_broadcast(&log->has_room);
	if (log->is_writing)
		weft_tasklet_kill(log->writer, 0);
}

/* --- lines --- */

static bool wait_for_room(struct log *log)
{
	int rc = 0;

	weft_mutex_lock(&log->mutex);
	while (ROOM - log->n < LINE && !log->is_cut && !rc)
		rc = weft_condition_wait(&log->has_room, &log->mutex);
	weft_mutex_unlock(&log->mutex);
	return !rc && !log->is_cut;
}

/* What could end the line early, or the quotes, is escaped. */
static size_t escape(char *into, size_t size, const char *text)
{
	static const char digits[] = "0123456789abcdef";
	size_t n = 0;

	for (; *text && n + 4 < size; text++) {
		unsigned char c = (unsigned char)*text;

		if (c > ' ' && c < 0x7f && c != '"' && c != '\\') {
			into[n++] = (char)c;
			continue;
		}
		into[n++] = '\\';
		into[n++] = 'x';
		into[n++] = digits[c >> 4];
		into[n++] = digits[c & 15];
	}
	into[n] = '\0';
	return n;
}

static const char *moment(char text[32])
{
	time_t now = time(NULL);
	struct tm tm;

	/* The zone is read once, when the program starts. */
	localtime_r(&now, &tm);
	strftime(text, 32, "%d/%b/%Y:%H:%M:%S %z", &tm);
	return text;
}

void log_add(struct server_thread *t, const char *peer, const char *method,
	     const char *target, unsigned minor_version, int status,
	     uint64_t n_bytes)
{
	struct log *log = log_of(t);
	char escaped[TARGET], when[32], version[16] = "";
	int n;

	if (!log || log->is_cut ||
	    (ROOM - log->n < LINE && !wait_for_room(log)))
		return;
	if (escape(escaped, sizeof escaped, target))
		snprintf(version, sizeof version, " HTTP/1.%u", minor_version);
	n = snprintf(log->line + log->n, LINE,
		     "%s - - [%s] \"%s%s%s%s\" %d %ju\n", peer, moment(when),
		     method, *escaped ? " " : "", escaped, version, status,
		     (uintmax_t)n_bytes);
	log->n += (size_t)n;
	if (!log->is_writing)
		start_writer(t);
}
