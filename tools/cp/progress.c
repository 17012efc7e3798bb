/* SPDX-License-Identifier: MIT */
/*
 * What the program says: errors, and on a terminal a line that tells how far it is.
 *
 * What is left is known once all has been counted. A thread of its own counts: it holds
 * at most DEPTH folders open, and leaves out what lies deeper.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cp.h"

enum { DEPTH = 12, LINE = 160 };

static const int64_t PAUSE = 200 * WEFT_MILLISECOND;

struct progress progress;
atomic_bool has_failed;
static atomic_bool is_shown; /* the line stands there */
static bool is_terminal;
static atomic_bool is_over;
static pthread_mutex_t output = PTHREAD_MUTEX_INITIALIZER;

/* --- errors --- */

/* A name can have anything in it, also what tells a terminal to do something. */
static char *printable(const char *path)
{
	char *text = malloc(4 * strlen(path) + 1), *end = text;

	for (; text && *path; path++) {
		unsigned char c = (unsigned char)*path;

		if (c < ' ' || c == 0x7f)
			end += sprintf(end, "\\x%02x", c);
		else
			*end++ = *path;
	}
	if (text)
		*end = '\0';
	return text;
}

static void say(const char *path, const char *verb, int error)
{
	char *name = printable(path);

	has_failed = true;
	pthread_mutex_lock(&output);
	fprintf(stderr, "%s%s: cannot %s '%s'%s%s\n",
		is_shown ? "\r\033[K" : "", program_invocation_short_name, verb,
		name ? name : "?", error ? ": " : "",
		error ? strerror(-error) : "");
	is_shown = false;
	pthread_mutex_unlock(&output);
	free(name);
}

void complain_path(const char *path, const char *verb, int error)
{
	say(path, verb, error);
}

static size_t length(const struct folder *f, enum side side)
{
	return strlen(side == SOURCE ? f->name : f->new_name);
}

/* Puts @name, @n bytes, and a slash before @end. */
static char *put(char *start, char *end, const char *name, size_t n)
{
	if (end - start < (ptrdiff_t)n)
		return start;
	return memcpy(end - n, name, n);
}

void complain(const struct folder *f, enum side side, const char *name,
	      const char *verb, int error)
{
	size_t size = name ? strlen(name) + 2 : 1;
	char *path, *at;

	for (const struct folder *g = f; g; g = g->parent)
		size += length(g, side) + 1;
	path = malloc(size);
	if (!path) {
		say(name ? name : f->name, verb, error);
		return;
	}
	at = path + size - 1;
	*at = '\0';
	if (name)
		at = put(path, at, name, strlen(name));
	for (; f; f = f->parent) {
		const char *of = side == SOURCE ? f->name : f->new_name;

		/* The working folder needs no name in front of others. */
		if (!f->parent && strcmp(of, ".") == 0)
			break;
		if (*at && of[strlen(of) - 1] != '/')
			at = put(path, at, "/", 1);
		at = put(path, at, of, strlen(of));
	}
	say(at, verb, error);
	free(path);
}

/* --- counting --- */

static bool is_followed(const struct dirent *e)
{
	return e->d_type == DT_LNK && settings.follow == FOLLOW_ALL;
}

/* @device: of the folder above */
static void count_folder(DIR *d, int depth, dev_t device)
{
	struct dirent *e;
	struct stat own;

	if (fstat(dirfd(d), &own))
		return;
	if (settings.is_of_one_system && depth > 1 && own.st_dev != device)
		return;

	while (!is_over && (e = readdir(d))) {
		struct stat st;
		DIR *below;
		int fd;

		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		if (e->d_type == DT_DIR && depth < DEPTH) {
			fd = openat(dirfd(d), e->d_name,
				    O_RDONLY | O_DIRECTORY | O_NOFOLLOW |
					    O_CLOEXEC);
			below = fd < 0 ? NULL : fdopendir(fd);
			if (below)
				count_folder(below, depth + 1, own.st_dev);
			if (below)
				closedir(below);
			else if (fd >= 0)
				close(fd);
		} else if ((e->d_type == DT_REG || is_followed(e)) &&
			   fstatat(dirfd(d), e->d_name, &st, 0) == 0 &&
			   S_ISREG(st.st_mode)) {
			atomic_fetch_add(&progress.n_bytes_known, st.st_size);
		}
	}
}

static void count_path(const char *path)
{
	struct stat st;
	DIR *d;

	if (stat(path, &st))
		return;
	if (S_ISREG(st.st_mode))
		atomic_fetch_add(&progress.n_bytes_known, st.st_size);
	if (!S_ISDIR(st.st_mode) || !settings.is_recursive)
		return;
	d = opendir(path);
	if (!d)
		return;
	count_folder(d, 1, 0);
	closedir(d);
}

static char *const *counted;
static size_t n_counted;

static int count_all(void *arg)
{
	(void)arg;
	for (size_t i = 0; i < n_counted && !is_over; i++)
		count_path(counted[i]);
	progress.is_known = true;
	return 0;
}

/* --- the line --- */

static int print_size(char *to, size_t size, double bytes)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB" };
	size_t i = 0;

	for (; bytes >= 1024 && i < 4; i++)
		bytes /= 1024;
	return snprintf(to, size, "%.*f %s", i ? 1 : 0, bytes, units[i]);
}

static void print_line(int64_t since)
{
	double done = (double)progress.n_bytes, seconds, rate;
	double all = (double)progress.n_bytes_known;
	char now[32], per[32], total[32], left[400] = "";

	seconds = (double)(weft_now() - since) / (double)WEFT_SECOND;
	rate = seconds > 0 ? done / seconds : 0;
	print_size(now, sizeof now, done);
	print_size(per, sizeof per, rate);
	print_size(total, sizeof total, all);
	if (progress.is_known && all >= done && rate > 0) {
		unsigned long s = (unsigned long)((all - done) / rate);

		snprintf(left, sizeof left, " of %s, %.0f %%, %lu:%02lu left",
			 total, all > 0 ? 100 * done / all : 100, s / 60,
			 s % 60);
	}
	pthread_mutex_lock(&output);
	fprintf(stderr, "\r\033[K%llu files, %s%s, %s/s",
		(unsigned long long)progress.n_files, now, left, per);
	is_shown = true;
	pthread_mutex_unlock(&output);
}

static int show(void *arg)
{
	int64_t since = weft_now();

	(void)arg;
	while (weft_sleep(PAUSE) == 0)
		print_line(since);
	return 0;
}

static weft_tasklet line;
static uint64_t counter;

void progress_start(char *const *paths, size_t n)
{
	is_terminal = isatty(STDERR_FILENO);
	if (!is_terminal)
		return;
	counted = paths;
	n_counted = n;
	line = weft_spawn(show, NULL);
	if (weft_thread_start(&counter, count_all, NULL))
		counter = 0;
}

void progress_end(void)
{
	if (!is_terminal)
		return;
	is_over = true;
	if (weft_tasklet_alive(line))
		weft_tasklet_kill(line, 0);
	if (counter)
		weft_thread_join(counter);
	pthread_mutex_lock(&output);
	if (is_shown)
		fputs("\r\033[K", stderr);
	pthread_mutex_unlock(&output);
}
