/* SPDX-License-Identifier: MIT */
/*
 * Guarded stacks, handed out warm.
 *
 * A stack is named by its top: the address just above the first frame. Sizes
 * are powers of two, the guard page included. All functions are the owner's.
 */
#ifndef WEFT__STACK_H
#define WEFT__STACK_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
	STACK_MIN_SHIFT = 14, /* 16 KiB */
	STACK_MAX_SHIFT = 31, /* 2 GiB: 1 GiB to use, and the guard */
	STACK_CLASSES = STACK_MAX_SHIFT - STACK_MIN_SHIFT + 1,
	STACK_DEFAULT_SHIFT = 17, /* 128 KiB */
	STACK_MOST_USABLE = 1 << 30
};

struct stack_slab;

/* The stacks of one size. */
struct stack_class {
	char **free;       /* tops of those given back, the warmest last */
	size_t n_free;     /* `free` has room for all that are mapped */
	size_t n_cold;     /* the first of `free`, without their memory */
	size_t least_free; /* since weft__stack_begin_watch(); >= n_cold */
	char *bump;        /* the next never-used one of the open slab */
	char *bump_end;
	char *marked_end; /* guards are marked up to here; >= bump */
	size_t n_opened;
	struct stack_slab *opened;
	struct stack_slab *unused; /* slabs to open after that one */
	struct stack_slab *last_unused;
	size_t promised; /* to tasklets that are alive */
	size_t mapped;
};

struct stack_cache {
	struct stack_class classes[STACK_CLASSES];
	struct stack_slab *slabs;
	unsigned used;          /* a bit for each class that ever had stacks */
	_Atomic(size_t) mapped; /* stacks of all classes; read by any thread */
	_Atomic(size_t) mapped_bytes;
};

/* The class for @usable bytes, or -1 above STACK_MOST_USABLE. */
int weft__stack_class(size_t usable);

static inline size_t weft__stack_size(unsigned class)
{
	return (size_t)1 << (class + STACK_MIN_SHIFT);
}

/* Maps stacks of the class until all that were promised one can have it. The slow
 * path of weft__stack_promise(). */
int weft__stack_grow(struct stack_cache *cache, unsigned class);

/* Makes sure that a later take finds a mapping. Returns 0 or -ENOMEM. */
static inline int weft__stack_promise(struct stack_cache *cache, unsigned class)
{
	struct stack_class *c = &cache->classes[class];

	if (__builtin_expect(++c->promised <= c->mapped, 1))
		return 0;
	return weft__stack_grow(cache, class);
}

static inline void weft__stack_forgo(struct stack_cache *cache, unsigned class)
{
	cache->classes[class].promised--;
}

/* Returns the top of a stack that was promised; NULL if the kernel has no memory
 * for its guard. */
char *weft__stack_take(struct stack_cache *cache, unsigned class);
void weft__stack_give(struct stack_cache *cache, unsigned class, char *top);

/* From this moment on it is watched which free stacks are not used. */
void weft__stack_begin_watch(struct stack_cache *cache);

/* Gives the memory of some stacks that have not been used since that moment back to
 * the kernel, the coldest first. Returns false if there are no more of them. */
bool weft__stack_trim(struct stack_cache *cache);

/* Whether more free stacks are warm than are always kept warm. */
bool weft__stack_has_spare(const struct stack_cache *cache);

/* The lowest usable address of a stack. */
char *weft__stack_low(unsigned class, char *top);

/* Whether there is a stack of the cache at an address. */
bool weft__stack_is_one_of(const struct stack_cache *cache,
			   const void *address);

void weft__stack_free_all(struct stack_cache *cache);

/* Whether guards are marks in the page tables (MADV_GUARD_INSTALL) and cost no
 * mapping. */
bool weft__stack_guards_are_marks(void);

#endif /* WEFT__STACK_H */
