/* SPDX-License-Identifier: MIT */
/*
 * Helper threads (engine/pool.h), as the count of awake threads sees them.
 */
#ifndef WEFT__HELPER_H
#define WEFT__HELPER_H

#include <stdbool.h>
#include <sys/types.h>

/* Makes the pool report its helpers; once per process. */
void weft__helper_watch(void);

/* Whether @tid is a helper's thread. Under the registry's mutex. */
bool weft__is_helper(pid_t tid);

/* In a child of fork(), which has no helpers. */
void weft__helper_forget_all(void);

#endif /* WEFT__HELPER_H */
