/* SPDX-License-Identifier: MIT */
/*
 * A thread's contact with the world around it: sleep, doorbells, and news. The
 * clock and chance are in base/world.h.
 *
 * Code that parks asks here, and nowhere else, whether looking for news first
 * pays, how to sleep, and what has been handed in. world.c holds these
 * functions and nothing more. So a program can define them itself, together
 * with those of base/world.h: then several weft threads can share one OS
 * thread, and the program moves the time.
 */
#ifndef WEFT__CORE_WORLD_H
#define WEFT__CORE_WORLD_H

#include <stdbool.h>
#include <stdint.h>

#include "core/scheduler.h"

/* Reads WEFT_SPIN; once per process. */
void weft__world_read_environment(void);

/* WEFT_SPIN. */
int64_t weft__spin_max_ns(void);

/* How long to look for news before the next sleep; 0: not at all. */
int64_t weft__world_spin_ns(const struct scheduler *s);

/* Notes whether that paid, for the next time. */
void weft__world_note_spin(struct scheduler *s, bool paid);

/* Whether something has been handed in, or has completed. */
bool weft__world_has_news(struct scheduler *s);

/* Looks for news, or for @word to differ from @unchanged, until @end. True if
 * one of these came. */
bool weft__world_look(struct scheduler *s, int64_t end,
		      _Atomic(uintptr_t) *word, uintptr_t unchanged);

/* Gets ready to sleep. Returns the sentinel for the inbox's word, by the
 * doorbell that others will have to ring. May hand operations in, and bring
 * @deadline forward. */
uintptr_t weft__world_prepare_sleep(struct scheduler *s, int64_t *deadline);

/* Sleeps until somebody rings, something completes or @deadline comes. */
void weft__world_sleep(struct scheduler *s, uintptr_t sentinel,
		       int64_t deadline);

/* Rings the doorbell that the sentinel @parked names, in the name of @s. */
void weft__world_ring(struct scheduler *s, struct scheduler *target,
		      uintptr_t parked);

/* Takes the content of the inbox's word, which is EMPTY from here on. */
uintptr_t weft__world_take(struct scheduler *s);

/* How long stacks stay unused before their memory is given back. */
int64_t weft__world_trim_pause(void);

#endif /* WEFT__CORE_WORLD_H */
