/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out, and how much is in use. For programs that link with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=free,--wrap=aligned_alloc
 * and with the static library:
 * then this is what it calls.
 */
#ifndef WEFT_TESTS_ALLOCATION_H
#define WEFT_TESTS_ALLOCATION_H

/* From here on, after @n more allocations, all of them fail; -1: none does. Those
 * of libcheck too: assert nothing meanwhile. */
void fail_allocations_after(int n);

/* How many allocations have not been freed, less those that were made by others and
 * freed here: for differences. */
long n_allocations_alive(void);

#endif /* WEFT_TESTS_ALLOCATION_H */
