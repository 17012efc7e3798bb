/* SPDX-License-Identifier: MIT */
/*
 * For pthread_cleanup_push(): what a thread does that CPython ends by pthread_exit() on
 * the stack of a tasklet; see thread.c.
 */
#ifndef WEFT_PYTHON_HANG_H
#define WEFT_PYTHON_HANG_H

void hang_here(void *arg) __attribute__((visibility("hidden")));

#endif /* WEFT_PYTHON_HANG_H */
