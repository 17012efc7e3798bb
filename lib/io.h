/* SPDX-License-Identifier: MIT */
/*
 * Waiting for an operation, as tasklets do.
 */
#ifndef WEFT__IO_H
#define WEFT__IO_H

#include <liburing.h>
#include <stdint.h>

struct scheduler;

/* Awaits an operation, with the checks that every blocking call makes: the
 * completion's res, or why it was not started. */
int weft__await(const struct io_uring_sqe *sqe);

/* The same without the checks, and with the completion's flags. 0, or a negative
 * errno: it was not started, it was interrupted and had no result, or had to wait
 * under a trap. */
int weft__engine_await(struct scheduler *s, const struct io_uring_sqe *sqe,
		       int *res, uint32_t *flags);

/* Before @fd is closed: what the kernel has cut short, and would be begun again on
 * it, returns -ECANCELED. */
void weft__engine_call_back_cut_short(struct scheduler *s, int fd);

/* For calls that are not begun because the engine refuses: gives way, so that who
 * tries again and again does not keep the thread. -ECANCELED. */
int weft__refuse(void);

#endif /* WEFT__IO_H */
