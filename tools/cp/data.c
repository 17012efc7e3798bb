/* SPDX-License-Identifier: MIT */
/*
 * The contents of a file.
 *
 * If the file system can share the blocks (FICLONE), they are shared. A small file is
 * read and written. A large one is cut into pieces, holes left out. A helper thread copies
 * one after the other by copy_file_range(2), and the kernel is told to read ahead: more
 * helpers would wait for each other at the lock of the new file (for 1 GiB in memory,
 * four took twice the CPU time and no less time than one). Where that call cannot be
 * had, several pieces at a time are read and written.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/uio.h>
#include <unistd.h>

#include "cp.h"

enum {
	PIECE = 8 * 1024 * 1024,
	MAX_LANES = 4,
	CHUNK = 1024 * 1024, /* that a helper copies before it looks up */
	SMALL = BUFFER - 1
};

static void note_bytes(size_t n)
{
	atomic_fetch_add_explicit(&progress.n_bytes, n, memory_order_relaxed);
}

static int write_all(int fd, const char *data, size_t n, off_t offset)
{
	while (n) {
		ssize_t done = pwrite(fd, data, n, offset);

		if (done < 0)
			return -errno;
		data += done;
		offset += done;
		n -= (size_t)done;
		note_bytes((size_t)done);
	}
	return 0;
}

/* What is in memory is read at once, for the price of one call. A disk is waited for
 * while others run. */
static ssize_t read_at(const struct contents *c, char *buffer, size_t size,
		       off_t offset)
{
	struct iovec v = { .iov_base = buffer, .iov_len = size };
	ssize_t n;

	if (c->is_in_memory) { /* there is no RWF_NOWAIT */
		n = pread(c->in, buffer, size, offset);
		return n < 0 ? -errno : n;
	}
	n = preadv2(c->in, &v, 1, offset, RWF_NOWAIT);
	if (n >= 0 && ((size_t)n == size || offset + n >= c->in_stat.st_size))
		return n;
	return weft_pread(c->in, buffer, size, offset);
}

/* --- shared blocks --- */

/* Of the last pair of file systems that could not share. Only a hint. */
static atomic_ullong cannot_clone;

static bool is_cloned(const struct contents *c)
{
	/* never 0 */
	uint64_t pair =
		(uint64_t)c->in_stat.st_dev << 32 ^ c->out_device ^ 1u << 31;

	if (atomic_load_explicit(&cannot_clone, memory_order_relaxed) == pair)
		return false;
	if (ioctl(c->out, FICLONE, c->in) == 0) {
		note_bytes((size_t)c->in_stat.st_size);
		return true;
	}
	if (errno == EOPNOTSUPP || errno == ENOTTY || errno == EXDEV ||
	    errno == ENOSYS)
		atomic_store_explicit(&cannot_clone, pair,
				      memory_order_relaxed);
	return false;
}

/* --- from an offset to the end --- */

/* Files of /proc have no size that could be trusted, and others grow: so it goes on
 * until a read says that there is no more. */
static int copy_rest(const struct contents *c, char *buffer, off_t offset,
		     bool *is_reading)
{
	for (;;) {
		ssize_t n = read_at(c, buffer, BUFFER, offset);
		int rc;

		*is_reading = n < 0;
		if (n <= 0)
			return (int)n;
		rc = write_all(c->out, buffer, (size_t)n, offset);
		if (rc)
			return rc;
		offset += n;
		/* A file that is as long as it said, and has been read to there. */
		if (n < BUFFER && offset == c->in_stat.st_size)
			return 0;
		if (is_stopped)
			return -ECANCELED;
	}
}

/* --- several pieces at a time --- */

struct large {
	const struct contents *c;
	off_t next, data_end; /* of the data that `next` lies in */
	bool is_sparse, is_done, is_reading;
	atomic_bool has_failed, cannot_range;
	int error;
};

struct piece {
	struct large *l;
	off_t offset;
	size_t n;
	bool is_reading;
};

static int fail_large(struct large *l, bool is_reading, int rc)
{
	if (!l->error) {
		l->error = rc;
		l->is_reading = is_reading;
	}
	l->has_failed = true;
	return rc;
}

/* Finds the next data. False: there is no more. */
static bool find_data(struct large *l)
{
	off_t size = l->c->in_stat.st_size, at;

	if (l->next >= size)
		return false;
	if (!l->is_sparse) {
		l->data_end = size;
		return true;
	}
	at = lseek(l->c->in, l->next, SEEK_DATA);
	if (at < 0 && errno == ENXIO)
		return false;
	if (at < 0) { /* it does not tell */
		l->is_sparse = false;
		l->data_end = size;
		return true;
	}
	l->next = at;
	at = lseek(l->c->in, at, SEEK_HOLE);
	l->data_end = at < 0 || at > size ? size : at;
	return l->next < l->data_end;
}

/* Only lanes of one thread call this, and it does not switch. */
static bool next_piece(struct large *l, struct piece *p)
{
	if (l->is_done || l->has_failed)
		return false;
	if (l->next >= l->data_end && !find_data(l)) {
		l->is_done = true;
		return false;
	}
	p->l = l;
	p->offset = l->next;
	p->n = l->data_end - l->next < PIECE ? (size_t)(l->data_end - l->next)
					     : PIECE;
	l->next += (off_t)p->n;
	return true;
}

static bool is_refused(int error)
{
	return error == EXDEV || error == EINVAL || error == EOPNOTSUPP ||
	       error == ENOSYS || error == EPERM || error == EBADF ||
	       error == ETXTBSY;
}

/* On a helper. 0, or a negative errno; the piece is then what is left. */
static int range(void *arg)
{
	struct piece *p = arg;
	const struct contents *c = p->l->c;

	posix_fadvise(c->in, p->offset + (off_t)p->n, PIECE,
		      POSIX_FADV_WILLNEED);

	while (p->n) {
		off_t in = p->offset, out = p->offset;
		ssize_t n;

		if (is_stopped || p->l->has_failed)
			return -ECANCELED;
		n = copy_file_range(c->in, &in, c->out, &out,
				    p->n < CHUNK ? p->n : CHUNK, 0);
		if (n < 0)
			return -errno;
		if (n == 0) /* the end; but /proc says so, too */
			return -EINVAL;
		p->offset += n;
		p->n -= (size_t)n;
		note_bytes((size_t)n);
	}
	return 0;
}

static int read_and_write(struct piece *p, char *buffer)
{
	const struct contents *c = p->l->c;

	while (p->n) {
		size_t most = p->n < BUFFER ? p->n : BUFFER;
		ssize_t n = read_at(c, buffer, most, p->offset);
		int rc;

		if (n < 0)
			p->is_reading = true;
		if (n <= 0) /* 0: it has become shorter */
			return (int)n;
		rc = write_all(c->out, buffer, (size_t)n, p->offset);
		if (rc)
			return rc;
		p->offset += n;
		p->n -= (size_t)n;
		if (is_stopped || p->l->has_failed)
			return -ECANCELED;
	}
	return 0;
}

static int copy_piece(struct piece *p, char *buffer)
{
	int rc;

	if (!p->l->cannot_range) {
		rc = weft_offload(range, p);
		if (rc == 0 || rc == -ECANCELED)
			return rc;
		if (rc != -EAGAIN && rc != -ENOMEM && !is_refused(-rc)) {
			/* Which side it is, the other way will tell. */
			return read_and_write(p, buffer);
		}
		p->l->cannot_range = true;
	}
	return read_and_write(p, buffer);
}

static void copy_pieces(struct large *l, char *buffer, bool by_range)
{
	struct piece p = { 0 };

	while (by_range != l->cannot_range && next_piece(l, &p)) {
		int rc = copy_piece(&p, buffer);

		if (rc)
			fail_large(l, p.is_reading, rc);
	}
}

static int lane(void *arg)
{
	struct large *l = arg;
	char *buffer = malloc(BUFFER);

	if (!buffer)
		return fail_large(l, false, -ENOMEM);
	copy_pieces(l, buffer, false);
	free(buffer);
	return 0;
}

/* The caller is one of the lanes. */
static void run_lanes(struct large *l, size_t n)
{
	weft_group *g = n > 1 ? weft_group_new() : NULL;

	for (size_t i = 1; g && i < n; i++)
		weft_group_spawn(g, lane, l); /* fewer will do */
	lane(l);
	if (g)
		weft_group_wait(g);
	weft_group_free(g);
}

static int copy_large(const struct contents *c, char *buffer, bool is_sparse,
		      bool *is_reading)
{
	struct large l = { .c = c, .is_sparse = is_sparse };
	size_t n_lanes = (size_t)(c->in_stat.st_size / PIECE) + 1;
	struct stat st;

	copy_pieces(&l, buffer, true);
	if (l.cannot_range)
		run_lanes(&l, n_lanes < MAX_LANES ? n_lanes : MAX_LANES);
	*is_reading = l.is_reading;
	if (l.error)
		return l.error;
	/* a hole at the end */
	if (is_sparse && !fstat(c->out, &st) &&
	    st.st_size < c->in_stat.st_size &&
	    ftruncate(c->out, c->in_stat.st_size))
		return -errno;
	return copy_rest(c, buffer, c->in_stat.st_size, is_reading);
}

/* --- what cannot be read by offset --- */

/* What stops it midway is told by the next call. */
static int write_stream(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t done = weft_write_full(fd, data, n);

		if (done <= 0)
			return done ? (int)done : -EIO;
		note_bytes((size_t)done);
		data += done;
		n -= (size_t)done;
		if (is_stopped)
			return -ECANCELED;
	}
	return 0;
}

static int copy_stream(const struct contents *c, char *buffer, bool *is_reading)
{
	for (;;) {
		struct weft_case cases[] = {
			{ .fd = c->in, .op = WEFT_READABLE },
			{ .channel = stopped, .op = WEFT_RECEIVE },
		};
		ssize_t n = 0;
		int which = S_ISREG(c->in_stat.st_mode)
				    ? 0
				    : weft_select(cases, 2, 0);
		int rc;

		if (which == 1 || is_stopped)
			return -ECANCELED;
		n = weft_read(c->in, buffer, BUFFER);
		*is_reading = n < 0;
		if (n <= 0)
			return (int)n;
		rc = write_stream(c->out, buffer, (size_t)n);
		if (is_stopped)
			return -ECANCELED;
		if (rc)
			return rc;
	}
}

/* --- all kinds --- */

static int copy_with(const struct contents *c, char *buffer, bool *is_reading)
{
	bool is_sparse = (uint64_t)c->in_stat.st_blocks * 512 <
			 (uint64_t)c->in_stat.st_size;

	if (c->is_stream)
		return copy_stream(c, buffer, is_reading);
	if (c->in_stat.st_size > 0 && is_cloned(c))
		return 0;
	if (c->in_stat.st_size <= SMALL && !is_sparse)
		return copy_rest(c, buffer, 0, is_reading);
	return copy_large(c, buffer, is_sparse, is_reading);
}

int copy_contents(struct job *j, const struct contents *c, bool *is_reading)
{
	char *buffer = pool_take_buffer(j);
	int rc = buffer ? copy_with(c, buffer, is_reading) : -ENOMEM;

	if (buffer)
		pool_give_buffer(j, buffer);
	return rc;
}

/* --- are they the same? --- */

static ssize_t read_full(int fd, char *data, size_t size, off_t offset)
{
	size_t n = 0;

	while (n < size) {
		ssize_t got = pread(fd, data + n, size - n, offset + (off_t)n);

		if (got < 0)
			return -errno;
		if (got == 0)
			break;
		n += (size_t)got;
	}
	return (ssize_t)n;
}

static int compare_with(const struct contents *c, char *data)
{
	off_t at = 0;

	/* What has been written to the disk is read from there. */
	posix_fadvise(c->out, 0, 0, POSIX_FADV_DONTNEED);
	for (;;) {
		ssize_t a = read_full(c->in, data, BUFFER, at);
		ssize_t b = read_full(c->out, data + BUFFER, BUFFER, at);

		if (a < 0 || b < 0)
			return (int)(a < 0 ? a : b);
		if (a != b || memcmp(data, data + BUFFER, (size_t)a) != 0)
			return 1;
		if (a < BUFFER)
			return 0;
		if (is_stopped)
			return -ECANCELED;
		at += a;
	}
}

/* On a helper. */
static int compare(void *arg)
{
	char *data = malloc(2 * (size_t)BUFFER);
	int rc = data ? compare_with(arg, data) : -ENOMEM;

	free(data);
	return rc;
}

int compare_contents(const struct contents *c)
{
	struct contents copy = *c;

	return weft_offload(compare, &copy);
}
