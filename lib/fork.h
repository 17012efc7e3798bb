/* SPDX-License-Identifier: MIT */
/*
 * fork(): what each module does for it. See fork.c for the order.
 */
#ifndef WEFT__FORK_H
#define WEFT__FORK_H

#include <stdint.h>

struct scheduler;

/* Says so if the handlers could not be registered; once per process. (Called, so that
 * who links the library statically has what registers them.) */
void weft__fork_prepare(void);

/* pool.c: its mutex. */
void weft__pool_lock(void);
void weft__pool_unlock(void);

/* offload.c: forgets helpers, and calls of other threads. */
void weft__offload_forget_others(struct scheduler *self);

/* position.c: forgets who is at which file. */
void weft__position_renew(void);

/* group.c: all groups' locks and that of their list. */
void weft__group_lock_all(void);
void weft__group_unlock_all(void);
/* Takes those out who wait on other threads than @self's. */
void weft__group_forget_waiters(const struct scheduler *self);
/* Takes members out that other threads had ended, and not yet told of it. */
void weft__group_forget_members(struct scheduler *self);

/* start.c */
void weft__started_lock(void);
void weft__started_unlock(void);
void weft__started_forget_others(uint64_t self);

/* channel_pool.c: all channels' locks and that of their memory. */
void weft__channel_lock_all(void);
void weft__channel_unlock_all(void);
/* Takes the waiters of other threads out of all queues. */
void weft__channel_forget_others(const struct scheduler *self);

/* sync.c: all guards. */
void weft__sync_lock_all(void);
void weft__sync_unlock_all(void);
/* Takes the waiters of other threads out of all queues. */
void weft__sync_forget_others(struct scheduler *self);

/* tasklet.c: that of the descriptors' memory. */
void weft__task_lock_pool(void);
void weft__task_unlock_pool(void);
/* Lets go of locks in words that another thread held. */
void weft__task_unlock_words(void);
/* Ends the tasklets of other threads, and what they had begun with ours. */
void weft__task_forget_others(struct scheduler *self);

/* engine: another ring when one is needed; what was in flight is cancelled. */
void weft__engine_renew(struct scheduler *s);
/* Closes our copies of the descriptors of a thread that is not here. */
void weft__engine_disown(struct scheduler *s);

#endif /* WEFT__FORK_H */
