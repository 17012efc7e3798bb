/* SPDX-License-Identifier: MIT */
/*
 * Settings from the environment. A value that cannot be used is reported once
 * on standard error, with what the variable takes, and the default is used.
 */
#ifndef WEFT__ENVIRONMENT_H
#define WEFT__ENVIRONMENT_H

#include <stddef.h>
#include <stdint.h>

/* The index of the variable's value among @names; @otherwise when it is unset,
 * empty or none of them. */
size_t weft__environment_choice(const char *variable, const char *const *names,
				size_t n_names, size_t otherwise);

/* The variable's value, a whole number of @unit from @least to @most. */
int64_t weft__environment_number(const char *variable, int64_t least,
				 int64_t most, int64_t otherwise,
				 const char *unit);

#endif /* WEFT__ENVIRONMENT_H */
