/* SPDX-License-Identifier: MIT */
/*
 * Files below the root. The kernel sees to it that no path leaves the root, by ".."
 * or by a symbolic link (openat2(2), RESOLVE_BENEATH).
 *
 * A file stays open for a while, so that the next request for the same path need not
 * open it: each thread has a table with one file at each place. A file that was
 * removed, or replaced by another, is noticed by its links, and its size and time are
 * looked at anew for each request. What can be old for that while is where a path
 * leads to, if the file that was there has another name now. A tasklet, the sweeper,
 * closes what has been open too long; it is there only while a file is kept.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/uring.h>

#include "httpd.h"

enum { TRIES = 4, N_PLACES = 256 };

struct files {
	struct file *places[N_PLACES];
	size_t n;
	weft_tasklet sweeper;
	bool is_swept, is_ending;
	int most_fd; /* half of what there can be, or nobody could be accepted */
};

static struct files *files_of(struct server_thread *t)
{
	return ((struct worker *)t->own)->files;
}

struct files *files_new(void)
{
	struct files *files = calloc(1, sizeof *files);
	struct rlimit limit;

	if (files && getrlimit(RLIMIT_NOFILE, &limit) == 0)
		files->most_fd = limit.rlim_max / 2 < INT_MAX
					 ? (int)(limit.rlim_max / 2)
					 : INT_MAX;
	return files;
}

void files_free(struct files *files)
{
	free(files);
}

/* --- opening --- */

/* A FIFO is opened without waiting for its writer. */
static int open_beneath(const char *path)
{
	struct open_how how = {
		.flags = O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS,
	};
	int fd = -EAGAIN;

	/* While others rename folders, the kernel cannot always be sure. */
	for (int i = 0; i < TRIES && fd == -EAGAIN; i++) {
		struct io_uring_sqe sqe = { 0 };

		io_uring_prep_openat2(&sqe, settings.root, path, &how);
		fd = weft_await(&sqe);
	}
	return fd;
}

static int status_of(struct server_thread *t, int error)
{
	switch (error) {
	case ENOENT:
	case ENOTDIR:
	case ENAMETOOLONG:
		return 404;
	case EACCES:
	case EPERM:
	case EXDEV: /* it would leave the root */
	case ELOOP:
	case ENXIO:
		return 403;
	case EMFILE:
	case ENFILE:
	case ENOMEM:
	case EAGAIN:
		server_complain(t, "cannot open a file", error);
		return 503;
	default:
		server_complain(t, "cannot open a file", error);
		return 500;
	}
}

/* --- those that are kept --- */

static void close_file(struct file *f)
{
	weft_close(f->fd);
	free(f);
}

void file_release(struct file *f)
{
	if (!--f->n_users && !f->is_kept)
		close_file(f);
}

static void forget(struct files *files, struct file **place)
{
	struct file *f = *place;

	*place = NULL;
	files->n--;
	f->is_kept = false;
	if (!f->n_users)
		close_file(f);
}

static bool is_old(const struct file *f)
{
	return weft_now() - f->opened >= settings.keep;
}

static int sweep(void *arg)
{
	struct files *files = arg;

	while (files->n && weft_sleep(settings.keep) == 0)
		for (size_t i = 0; i < N_PLACES; i++)
			if (files->places[i] && is_old(files->places[i]))
				forget(files, &files->places[i]);
	files->is_swept = false;
	return 0;
}

void files_end(struct server_thread *t)
{
	struct files *files = files_of(t);

	files->is_ending = true;
	for (size_t i = 0; i < N_PLACES; i++)
		if (files->places[i])
			forget(files, &files->places[i]);
	if (files->is_swept)
		weft_tasklet_kill(files->sweeper, 0);
}

static struct file **place_of(struct files *files, const char *path)
{
	uint64_t hash = 14695981039346656037u; /* FNV-1a */

	for (; *path; path++)
		hash = (hash ^ (unsigned char)*path) * 1099511628211u;
	return &files->places[hash % N_PLACES];
}

static void keep(struct files *files, struct file *f)
{
	struct file **place = place_of(files, f->path);

	if (!settings.keep || files->is_ending || f->fd > files->most_fd)
		return;
	if (*place)
		forget(files, place);
	/* forget() has given way: also to the sweeper, which may have ended. */
	if (*place || files->is_ending)
		return;
	if (!files->is_swept) {
		files->sweeper = weft_spawn(sweep, files);
		files->is_swept = !weft_tasklet_is_null(files->sweeper);
		if (!files->is_swept)
			return;
	}
	f->is_kept = true;
	*place = f;
	files->n++;
}

/* The file, as it is now; or NULL. */
static struct file *find_kept(struct files *files, const char *path)
{
	struct file **place = place_of(files, path);
	struct file *f = *place;
	struct stat st;

	if (!f || strcmp(f->path, path) != 0)
		return NULL;
	if (is_old(f) || fstat(f->fd, &st) || !st.st_nlink) {
		forget(files, place);
		return NULL;
	}
	f->size = (uint64_t)st.st_size;
	f->modified = st.st_mtime;
	f->n_users++;
	return f;
}

/* --- finding --- */

static int take(struct server_thread *t, const char *path, int fd,
		const struct stat *st, struct file **found)
{
	struct file *f = malloc(sizeof *f + strlen(path) + 1);

	if (!f) {
		weft_close(fd);
		return status_of(t, ENOMEM);
	}
	/* What is not in memory is waited for. */
	(void)fcntl(fd, F_SETFL, 0);
	*f = (struct file){ .n_users = 1,
			    .fd = fd,
			    .opened = weft_now(),
			    .size = (uint64_t)st->st_size,
			    .modified = st->st_mtime };
	strcpy(f->path, path);
	keep(files_of(t), f);
	*found = f;
	return 200;
}

static int find_index(struct server_thread *t, const char *path,
		      struct file **found)
{
	size_t length = strlen(path), more;
	char *name;
	int status;

	if (!settings.index)
		return 403;
	if (strcmp(path, ".") != 0 && path[length - 1] != '/')
		return 301;
	more = strlen(settings.index) + 2;
	name = malloc(length + more);
	if (!name)
		return status_of(t, ENOMEM);
	memcpy(name, path, length);
	snprintf(name + length, more, "/%s", settings.index);
	status = file_find(t, name, found);
	free(name);
	/* A folder of that name, in which there could be another. */
	return status == 301 ? 403 : status;
}

int file_find(struct server_thread *t, const char *path, struct file **found)
{
	struct stat st;
	int fd;

	*found = find_kept(files_of(t), path);
	if (*found)
		return 200;
	fd = open_beneath(path);
	if (fd < 0)
		return status_of(t, -fd);
	if (fstat(fd, &st)) {
		int error = errno;

		weft_close(fd);
		return status_of(t, error);
	}
	if (S_ISREG(st.st_mode))
		return take(t, path, fd, &st, found);
	weft_close(fd);
	return S_ISDIR(st.st_mode) ? find_index(t, path, found) : 403;
}
