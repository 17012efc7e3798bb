/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes at the position of a file, which the kernel keeps.
 */
#ifndef WEFT__POSITION_H
#define WEFT__POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

struct errand;
struct scheduler;

/* How a transfer is made. */
enum transfer_way {
	WAY_MADE,  /* done or failed: see its result */
	WAY_RING,  /* by the ring */
	WAY_WORKER /* by the ring, on a worker from the beginning */
};

struct transfer {
	int fd;
	const struct iovec *iov; /* @n buffers; of a write: only read */
	int n;
	size_t count; /* of all their bytes, as far as one call moves them */
	bool is_write;
	ssize_t result;
};

/* Makes the transfer if it is one at a position, like read(2) and write(2). A
 * blocking call calls this after weft__enter(). */
enum transfer_way weft__transfer(struct scheduler *s, struct transfer *t);

/* A transfer without bytes, which never waits and reaches no driver: 0, or a negative
 * errno if none could be moved. */
int weft__move_nothing(int fd, bool is_write);

/* As weft__run_errand(), for a job that uses the descriptor @fd by its number. */
int weft__run_on_number(struct scheduler *s, struct errand *e, int fd);

/* Before @fd is closed, since the number may be another file's after that:
 * transfers and other
 * errands of this thread that are in line for a helper return -ECANCELED.
 * Those that a helper is making are waited for, unless the caller must not
 * wait. */
void weft__end_transfers(struct scheduler *s, int fd);

/* Whether @fd was a file with a position when it was last looked at, where RWF_NOWAIT
 * keeps its promise. The number may be another file's by now. */
bool weft__has_note(int fd);

/* Whether @fd can be read and written at an offset: 0, -ESPIPE or another
 * negative errno. @may_try: whether RWF_NOWAIT keeps its promise there. Never
 * waits. */
int weft__look_for_offsets(int fd, bool is_write, bool *may_try);

#endif /* WEFT__POSITION_H */
