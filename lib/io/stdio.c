/* SPDX-License-Identifier: MIT */
/*
 * weft_fdopen(): a FILE with functions of ours behind it (fopencookie).
 *
 * stdio gives the whole buffer to one call of put(), and forgets it, whatever that call
 * returns. So if a write is interrupted, put() keeps the rest and writes it first when
 * it is next called. But what a large fwrite() passes on directly, past the buffer, is
 * the caller's to write again, since the caller is told how much was written. The two are
 * told apart by their place in memory: the buffer is ours.
 *
 * Between reading and writing stdio wants to move the position back over what it has
 * read and not used. Where there is no position, seek() keeps these bytes, and get()
 * returns them first. By then stdio has written into its buffer, so get() keeps a copy
 * of what it has read into that, also into one of setvbuf(3). A large fread() is passed
 * on directly, in more than that buffer holds or as much, and is all used.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio_ext.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/stdio.h>

enum { BUFFER = 4096 };

struct stream {
	int fd;
	FILE *file;
	bool is_socket;
	bool is_busy; /* a call of some tasklet's is in get() or put() */

	/* What was read last, and the room for that; the last @n_back bytes of it are
	 * to be read again. */
	char *got; /* own_got, or from malloc() */
	size_t n_got, n_back, got_size;
	/* What was to be written, and was not. */
	char *left;
	size_t n_left;
	char own_got[BUFFER];
	char buffer[BUFFER]; /* stdio's */
};

static ssize_t fail(int error)
{
	errno = error;
	return -1;
}

static bool is_in_buffer(const struct stream *f, const char *data)
{
	return data >= f->buffer && data < f->buffer + sizeof f->buffer;
}

/* --- reading --- */

static ssize_t get_again(struct stream *f, char *data, size_t size)
{
	size_t n = f->n_back < size ? f->n_back : size;

	memcpy(data, f->got + f->n_got - f->n_back, n);
	f->n_back -= n;
	return (ssize_t)n;
}

static void free_got(struct stream *f)
{
	if (f->got != f->own_got)
		free(f->got);
}

/* The program's own buffer may be larger than ours. */
static bool make_room(struct stream *f, size_t size)
{
	char *got;

	if (size <= f->got_size)
		return true;
	got = malloc(size);
	if (!got)
		return false;
	free_got(f);
	f->got = got;
	f->got_size = size;
	return true;
}

/* Whether the bytes went into stdio's buffer, and not to a caller. */
static bool is_buffered(const struct stream *f, const char *data, size_t size)
{
	return is_in_buffer(f, data) || size <= __fbufsize(f->file);
}

static ssize_t get_new(struct stream *f, char *data, size_t size)
{
	ssize_t n;

	f->is_busy = true;
	n = weft_read(f->fd, data, size);
	f->is_busy = false;
	if (n < 0)
		return fail((int)-n);
	f->n_got = 0;
	/* Without memory for it, it cannot be read again. */
	if (n && is_buffered(f, data, size) && make_room(f, size)) {
		memcpy(f->got, data, (size_t)n);
		f->n_got = (size_t)n;
	}
	return n;
}

static ssize_t get(void *cookie, char *data, size_t size)
{
	struct stream *f = cookie;

	if (f->is_busy)
		return fail(EBUSY);
	return f->n_back ? get_again(f, data, size) : get_new(f, data, size);
}

/* --- writing --- */

/* On a socket this raises no SIGPIPE. */
static ssize_t write_some(const struct stream *f, const char *data, size_t size)
{
	return f->is_socket ? weft_send(f->fd, data, size, 0)
			    : weft_write(f->fd, data, size);
}

/* Returns how much was written; if that is not all, errno says why. */
static size_t write_all(struct stream *f, const char *data, size_t size)
{
	size_t done = 0;
	ssize_t n = 0;

	f->is_busy = true;
	while (done < size && n >= 0) {
		n = write_some(f, data + done, size - done);
		if (n > 0)
			done += (size_t)n;
	}
	f->is_busy = false;
	if (n < 0)
		errno = (int)-n;
	return done;
}

/* True if nothing is left. */
static bool write_left(struct stream *f)
{
	size_t n = write_all(f, f->left, f->n_left);

	if (n == f->n_left) {
		f->n_left = 0;
		return true; /* perhaps there is no memory either */
	}
	memmove(f->left, f->left + n, f->n_left - n);
	f->n_left -= n;
	return false;
}

/* The rest of the buffer, which nobody else has any more. Without memory for it, it is
 * lost. */
static void keep(struct stream *f, const char *data, size_t size)
{
	int error = errno;
	char *left;

	if (is_in_buffer(f, data) &&
	    (left = realloc(f->left, f->n_left + size))) {
		memcpy(left + f->n_left, data, size);
		f->left = left;
		f->n_left += size;
	}
	errno = error;
}

static ssize_t put(void *cookie, const char *data, size_t size)
{
	struct stream *f = cookie;
	size_t n = 0;

	if (f->is_busy)
		return fail(EBUSY) + 1; /* 0 is how stdio knows an error */
	if (write_left(f))
		n = write_all(f, data, size);
	if (n < size)
		keep(f, data + n, size - n);
	return (ssize_t)n;
}

/* --- the rest --- */

/* Without a position, only the bytes that were read last can be read again. */
static int go_back(struct stream *f, off64_t *offset)
{
	if (*offset >= 0 || (size_t) - *offset > f->n_got - f->n_back)
		return (int)fail(ESPIPE);
	f->n_back += (size_t) - *offset;
	*offset = 0;
	return 0;
}

static int seek(void *cookie, off64_t *offset, int whence)
{
	struct stream *f = cookie;
	off64_t now = lseek64(f->fd, *offset, whence);

	if (now < 0)
		return errno == ESPIPE && whence == SEEK_CUR
			       ? go_back(f, offset)
			       : -1;
	f->n_got = f->n_back = 0;
	*offset = now;
	return 0;
}

static int end(void *cookie)
{
	struct stream *f = cookie;
	int error = write_left(f) ? 0 : errno;
	int rc = weft_close(f->fd);

	if (!error)
		error = -rc;
	free(f->left);
	free_got(f);
	free(f);
	return error ? (int)fail(error) : 0;
}

/* What fopencookie() knows of the mode; NULL if it is none or does not fit. */
static const char *look_at_mode(const char *mode, int flags)
{
	static const char *const modes[][2] = { { "r", "r+" },
						{ "w", "w+" },
						{ "a", "a+" } };
	int access = flags & O_ACCMODE;
	bool is_both;

	if (!mode || !*mode || !strchr("rwa", *mode))
		return NULL;
	is_both = strchr(mode, '+');
	if (access != O_RDWR &&
	    (is_both || access != (*mode == 'r' ? O_RDONLY : O_WRONLY)))
		return NULL;
	return modes[*mode == 'r' ? 0 : *mode == 'w' ? 1 : 2][is_both];
}

static FILE *open_stream(int fd, const char *mode)
{
	static const cookie_io_functions_t functions = {
		.read = get, .write = put, .seek = seek, .close = end
	};
	struct stream *f = calloc(1, sizeof *f);
	struct stat st;
	FILE *file;

	if (!f)
		return NULL;
	f->fd = fd;
	f->got = f->own_got;
	f->got_size = sizeof f->own_got;
	f->is_socket = !fstat(fd, &st) && S_ISSOCK(st.st_mode);
	file = fopencookie(f, mode, functions);
	if (!file) {
		free(f);
		return NULL;
	}
	f->file = file;
	(void)setvbuf(file, f->buffer, _IOFBF, sizeof f->buffer);
	return file;
}

WEFT_API FILE *weft_fdopen(int fd, const char *mode)
{
	int flags = fcntl(fd, F_GETFL);

	if (flags < 0)
		return NULL;
	mode = look_at_mode(mode, flags);
	if (!mode) {
		errno = EINVAL;
		return NULL;
	}
	if (*mode == 'a' && !(flags & O_APPEND) &&
	    fcntl(fd, F_SETFL, flags | O_APPEND))
		return NULL;
	return open_stream(fd, mode);
}
