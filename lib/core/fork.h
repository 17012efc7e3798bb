/* SPDX-License-Identifier: MIT */
/*
 * fork(): what the modules of the core do for it. See fork.c for the order, and
 * base/part.h for the floors above.
 */
#ifndef WEFT__FORK_H
#define WEFT__FORK_H

#include <stdint.h>

struct scheduler;

/* Warns if the handlers could not be registered; once per process. (The call
 * also makes the linker of a static program include the registration.) */
void weft__fork_prepare(void);

/* start.c */
void weft__started_lock(void);
void weft__started_unlock(void);
void weft__started_forget_others(uint64_t self);

/* tasklet.c: the locks of the descriptors' memory and of the error handler. */
void weft__task_lock_pool(void);
void weft__task_unlock_pool(void);
/* Releases the locks in tasklets' words that another thread held. */
void weft__task_unlock_words(void);
/* Ends the tasklets of other threads, and what they had begun with ours. */
void weft__task_forget_others(struct scheduler *self);

#endif /* WEFT__FORK_H */
