/* SPDX-License-Identifier: MIT */
/*
 * The helper threads of weft_offload(), as the rest of the library sees them.
 */
#ifndef WEFT__OFFLOAD_H
#define WEFT__OFFLOAD_H

#include <stdbool.h>
#include <sys/types.h>

/* Whether this is a helper's thread. Under the registry's mutex. */
bool weft__offload_is_helper(pid_t tid);

/* Reads WEFT_OFFLOAD; once per process. */
void weft__offload_read_environment(void);

#endif /* WEFT__OFFLOAD_H */
