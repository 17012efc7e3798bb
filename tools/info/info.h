/* SPDX-License-Identifier: MIT */
/*
 * weft-info: what its files share.
 *
 * The files of probes find facts, one by one; facts.c keeps them and prints them
 * all. What the kernel offers is found by system calls of our own; what weft
 * uses is read from the library itself, which is linked statically for that.
 */
#ifndef INFO_H
#define INFO_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>

/* --- facts.c --- */

/* In the order in which they are printed. */
enum group {
	GROUP_WEFT,
	GROUP_ENVIRONMENT,
	GROUP_MACHINE,
	GROUP_URING,
	GROUP_SET_UP,
	GROUP_FEATURES,
	GROUP_OPERATIONS,
	N_GROUPS
};

/* Adds a fact. @value, which it takes over, is a string, a number, a boolean, or
 * null for what is not known or not set. @why, a format, says why in plain
 * words; NULL where there is nothing to explain. */
void add_fact(enum group group, const char *name, json_t *value,
	      const char *why, ...) __attribute__((format(printf, 4, 5)));

void print_text(void);
void print_json(void);

/* --- machine.c: kernel, limits, memory --- */

void find_machine(void);

/* The first line of a file, without its end. False when it cannot be read. */
bool read_line(const char *path, char *line, size_t size);

/* Whether a seccomp filter is between this process and the kernel. */
bool is_filtered(void);

/* RLIMIT_MEMLOCK, as `ulimit -l` would say it, with its unit. */
const char *locked_memory_limit(void);

/* --- uring.c: what the kernel's io_uring can do --- */

/* False when weft can do no I/O with it. */
void find_uring(void);

/* --- uses.c: what weft makes of it --- */

bool find_uses(void);
void find_environment(void);

#endif /* INFO_H */
