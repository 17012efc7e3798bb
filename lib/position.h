/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes at the position of a file, which the kernel keeps.
 */
#ifndef WEFT__POSITION_H
#define WEFT__POSITION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct scheduler;

/* How a transfer is to be made. */
enum transfer_way {
	WAY_MADE, /* it is made, or has failed: that is its result */
	WAY_RING, /* by the ring */
	WAY_WORKER /* by the ring, on a thread of the kernel's from the beginning */
};

struct transfer {
	int fd;
	void *data; /* only read, of a write */
	size_t count;
	bool is_write;
	ssize_t result;
};

/* Makes it if it is one at a position, as read(2) and write(2) would. To be called
 * by a blocking call after weft__enter(). */
enum transfer_way weft__transfer(struct scheduler *s, struct transfer *t);

/* Before @fd is closed: transfers of this thread that are in line for a helper
 * return -ECANCELED, and those that a helper makes are waited for, unless the caller
 * must not. For the number may be another file's after that. */
void weft__end_transfers(struct scheduler *s, int fd);

/* At the end of a thread whose tasklets have been given up: takes back what those
 * hold of the process's that were in a transfer. */
void weft__position_give_up(struct scheduler *s);

#endif /* WEFT__POSITION_H */
