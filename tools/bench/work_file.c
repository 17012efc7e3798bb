/* SPDX-License-Identifier: MIT */
/*
 * file: reads at random places of a file, in memory or past the page cache, by one
 * tasklet or by many. Beside them the same reads by pread(2), one after another, and
 * by a bare ring that keeps as many in flight.
 */
#include <errno.h>
#include <fcntl.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft/file.h>

#include "work.h"

enum { ALIGNMENT = 4096, PATH_SIZE = 4096 };

static const size_t FILE_BYTES = 16 << 20;

struct file {
	int fd;
	size_t piece;
	unsigned depth; /* reads in flight */
	char *memory;   /* a piece for each of them */
	uint64_t random;
};

static int open_temporary(bool direct)
{
	const char *folder = getenv("TMPDIR");
	char path[PATH_SIZE];
	int fd;

	/* not /tmp: that may be in memory, where nothing is past the cache */
	if (!folder || !*folder)
		folder = "/var/tmp";
	if (snprintf(path, sizeof path, "%s/weft-bench-XXXXXX", folder) >=
	    (int)sizeof path)
		run_unavailable("TMPDIR is too long");
	fd = mkostemp(path, O_CLOEXEC | (direct ? O_DIRECT : 0));
	if (fd < 0 && errno == EINVAL)
		run_unavailable(
			"the folder for temporary files has no O_DIRECT; "
			"TMPDIR can name another");
	must(fd < 0 ? -errno : 0, path);
	unlink(path);
	return fd;
}

static void fill(const struct file *f)
{
	memset(f->memory, 'w', f->piece);
	for (size_t at = 0; at < FILE_BYTES; at += f->piece)
		if (pwrite(f->fd, f->memory, f->piece, (off_t)at) !=
		    (ssize_t)f->piece)
			run_fail(-errno, "writing the file");
	must(fsync(f->fd) ? -errno : 0, "fsync");
}

static struct file make_file(const struct run *r)
{
	const struct variant *v = r->variant;
	struct file f = { .fd = open_temporary(v->flags & VARIANT_DIRECT),
			  .piece = v->piece,
			  .depth = v->count,
			  .random = 88172645463325252 };

	if (posix_memalign((void **)&f.memory, ALIGNMENT, f.piece * f.depth))
		run_fail(-ENOMEM, "memory to read into");
	fill(&f);
	return f;
}

static void free_file(struct file *f)
{
	close(f->fd);
	free(f->memory);
}

static off_t draw_place(struct file *f)
{
	return (off_t)(work_draw(&f->random) % (FILE_BYTES / f->piece) *
		       f->piece);
}

static void check_read(const struct file *f, int64_t n)
{
	if (must(n, "a read") != (int64_t)f->piece)
		run_fail(-EBADMSG, "a read that was short");
}

/* --- by tasklets --- */

struct readers {
	struct run *run;
	struct file file;
	uint64_t each;
	unsigned n_started, at_work;
};

static int read_on(void *arg)
{
	struct readers *all = arg;
	struct file *f = &all->file;
	char *memory = f->memory + f->piece * all->n_started++;

	for (uint64_t i = all->each; i; i--)
		check_read(f,
			   weft_pread(f->fd, memory, f->piece, draw_place(f)));
	if (--all->at_work == 0)
		run_end(all->run);
	return 0;
}

void run_file(struct run *r)
{
	unsigned n = r->variant->count;
	struct readers all = { .run = r,
			       .file = make_file(r),
			       .each = r->operations / n + 1,
			       .at_work = n };

	for (unsigned i = 0; i < n; i++)
		work_spawn(read_on, &all);
	run_begin(r);
	must(weft_run(), "weft_run");
	r->operations = all.each * n;
	free_file(&all.file);
}

/* --- by pread(2) --- */

void run_bare_pread(struct run *r)
{
	struct file f = make_file(r);

	run_begin(r);
	for (uint64_t i = r->operations; i; i--) {
		ssize_t n = pread(f.fd, f.memory, f.piece, draw_place(&f));

		check_read(&f, n < 0 ? -errno : n);
	}
	run_end(r);
	free_file(&f);
}

/* --- by a ring --- */

static void submit_read(struct io_uring *ring, struct file *f, uint64_t slot)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_read(sqe, f->fd, f->memory + f->piece * slot,
			   (unsigned)f->piece, (uint64_t)draw_place(f));
	sqe->user_data = slot;
}

/* As many in flight as there is depth, until all have been begun. */
static void read_by_ring(struct io_uring *ring, struct file *f, uint64_t n)
{
	uint64_t begun = 0, ended = 0;

	while (begun < f->depth)
		submit_read(ring, f, begun++);
	while (ended < n) {
		struct io_uring_cqe *cqe;
		unsigned head, seen = 0;

		must(io_uring_submit_and_wait(ring, 1),
		     "io_uring_submit_and_wait");
		io_uring_for_each_cqe(ring, head, cqe)
		{
			check_read(f, cqe->res);
			seen++;
			if (begun < n) {
				submit_read(ring, f, cqe->user_data);
				begun++;
			}
		}
		io_uring_cq_advance(ring, seen);
		ended += seen;
	}
}

void run_bare_file(struct run *r)
{
	struct io_uring_params params = {
		.flags =
			IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
	};
	struct file f = make_file(r);
	struct io_uring ring;
	int rc;

	may_use_ring();
	rc = io_uring_queue_init_params(f.depth, &ring, &params);

	if (rc == -EINVAL)
		run_unavailable("this kernel has no DEFER_TASKRUN");
	need_ring(rc, "io_uring_queue_init_params");
	must(io_uring_register_ring_fd(&ring), "io_uring_register_ring_fd");
	if (r->operations < f.depth)
		r->operations = f.depth;
	run_begin(r);
	read_by_ring(&ring, &f, r->operations);
	run_end(r);
	io_uring_queue_exit(&ring);
	free_file(&f);
}
