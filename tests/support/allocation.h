/* SPDX-License-Identifier: MIT */
/*
 * Memory that runs out. For programs that link with
 * -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc and with the static library:
 * then this is what it calls.
 */
#ifndef WEFT_TESTS_ALLOCATION_H
#define WEFT_TESTS_ALLOCATION_H

/* From here on, after @n more allocations, all of them fail; -1: none does. Those
 * of libcheck too: assert nothing meanwhile. */
void fail_allocations_after(int n);

#endif /* WEFT_TESTS_ALLOCATION_H */
