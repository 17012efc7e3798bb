/* SPDX-License-Identifier: MIT */
#include "allocation.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

void *__real_malloc(size_t size);
void *__real_calloc(size_t n, size_t size);
void *__real_realloc(void *memory, size_t size);
void *__real_aligned_alloc(size_t alignment, size_t size);
void __real_free(void *memory);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t n, size_t size);
void *__wrap_realloc(void *memory, size_t size);
void *__wrap_aligned_alloc(size_t alignment, size_t size);
void __wrap_free(void *memory);

static _Atomic(int) n_left = -1;
static _Atomic(long) n_alive;

void fail_allocations_after(int n)
{
	n_left = n;
}

long n_allocations_alive(void)
{
	return n_alive;
}

static void *counted(void *memory)
{
	if (memory)
		n_alive++;
	return memory;
}

static bool is_left(void)
{
	int n = n_left;

	while (n > 0 && !atomic_compare_exchange_weak(&n_left, &n, n - 1))
		;
	if (n == 0)
		errno = ENOMEM;
	return n != 0;
}

void *__wrap_malloc(size_t size)
{
	return is_left() ? counted(__real_malloc(size)) : NULL;
}

void *__wrap_calloc(size_t n, size_t size)
{
	return is_left() ? counted(__real_calloc(n, size)) : NULL;
}

void *__wrap_realloc(void *memory, size_t size)
{
	void *moved = is_left() ? __real_realloc(memory, size) : NULL;

	return memory ? moved : counted(moved);
}

void *__wrap_aligned_alloc(size_t alignment, size_t size)
{
	return is_left() ? counted(__real_aligned_alloc(alignment, size))
			 : NULL;
}

void __wrap_free(void *memory)
{
	if (memory)
		n_alive--;
	__real_free(memory);
}
