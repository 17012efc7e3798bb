/* SPDX-License-Identifier: MIT */
/*
 * weft-httpd: what its files share.
 */
#ifndef HTTPD_H
#define HTTPD_H

#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#include "../server.h"

struct settings {
	int root; /* the folder that is served */
	const char
		*index; /* the file that stands for a folder; NULL: none does */
	int log;        /* -1: none is written */
	size_t max_header, max_target; /* bytes */
	int64_t request_time; /* from a request's first byte to its last */
	int64_t keep; /* a file open, for the requests to come; 0: not */
};

extern struct settings settings;

/* What a thread has of its own. */
struct worker {
	struct log *log;
	struct files *files;
	time_t now; /* that `date` says */
	char date[32];
};

/* --- client.c --- */

/* Serves a connection. */
void client_serve(struct server_connection *c);

/* --- files.c --- */

struct file {
	unsigned n_users;
	bool is_kept; /* for requests to come */
	int fd;
	int64_t opened;
	/* as of the last file_find() */
	uint64_t size;
	time_t modified;
	char path[];
};

struct files *files_new(void); /* or NULL */
void files_free(struct files *files);

/* Finds what @path, relative to the root, stands for. 200 and a file, for
 * file_release(); or else the status to answer with: 301 if a slash is missing
 * behind the name of a folder. */
int file_find(struct server_thread *t, const char *path, struct file **found);
void file_release(struct file *f);
/* Keeps none any more. */
void files_end(struct server_thread *t);

/* --- log.c --- */

enum { LOG_PEER = 46 };

struct log *log_new(void); /* or NULL */
void log_free(struct log *log);

/* Adds a line in the common format; waits only if the log takes no more. */
void log_add(struct server_thread *t, const char *peer, const char *method,
	     const char *target, unsigned minor_version, int status,
	     uint64_t n_bytes);
/* Drops what could not be written yet. */
void log_cut(struct server_thread *t);

#endif /* HTTPD_H */
