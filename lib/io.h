/* SPDX-License-Identifier: MIT */
#ifndef WEFT__IO_H
#define WEFT__IO_H

#include <liburing.h>

/* Awaits an operation: the completion's res, or why it was not started. */
int weft__await(const struct io_uring_sqe *sqe);

#endif /* WEFT__IO_H */
