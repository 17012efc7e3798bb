/* SPDX-License-Identifier: MIT */
/*
 * Stacks in slabs.
 *
 * One mapping holds many stacks; neighbouring slabs merge in the kernel, so a
 * million stacks are one mapping. At the low end of each stack is a guard. It is an
 * eighth of the stack, so that a large frame does not jump over it as easily as
 * over a page. Where the kernel has MADV_GUARD_INSTALL (6.13), the guard is such a
 * mark, which costs no mapping. Elsewhere mprotect makes the guard, which splits
 * the slab and ends at vm.max_map_count, near 28,000 stacks. A mark is set when a
 * stack is first used; once there are many stacks, the next ones are marked as
 * well. mprotect is called when a stack is promised to a tasklet, so that running
 * out of mappings is an error of the spawn. An eighth of the mappings is left to
 * the rest of the process, which needs one to start a thread, or for a megabyte of
 * malloc().
 *
 * Address space is promised at spawn, and a stack is taken at the first run: a
 * million tasklets that run to their end one after another touch one stack. Stacks
 * that come back are taken again last in, first out, while warm.
 *
 * After a burst many stacks are left over. A thread that is about to sleep and has
 * more than a few free stacks notes the time (core/park.c). The stacks that have
 * not been used a second later, which are the first of the list, give their memory
 * back. They do so a bunch at a time, in the order of their addresses, so that
 * neighbours go together; their guards survive that. They stay stacks like any
 * others, only cold.
 *
 * Stacks start at 32 different offsets within their top page. With one offset the
 * first frames of all of them would compete for the same sets of the cache: the
 * stride is a multiple of 4 KiB.
 */
#include "stack/stack.h"

#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/debug.h"
#include "base/valgrind.h"

#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif
#ifndef SYS_process_madvise
#define SYS_process_madvise 440
#endif
#ifndef PIDFD_SELF_THREAD
#define PIDFD_SELF_THREAD -10000
#endif

enum {
	COLOURS = 32,
	COLOUR_STEP = 64,
	TOP_BYTES = 16, /* above the first frame, which a backtrace may read */
	MARKS_AT_ONCE = 64,
	TRIM_AT_ONCE = 128,
	KEEP_WARM = 64, /* free stacks of each class */
	GUARD_PART = 8, /* of a stack, up to */
	GUARD_MOST = 64 * 1024,
	RESERVED_PART = 8,     /* of the mappings, for others */
	MAX_MAP_COUNT = 65530, /* unless the kernel says otherwise */
	SLAB_MIN_STACKS = 16,
	SLAB_MAX_STACKS = 1024
};

struct stack_slab {
	struct stack_slab *all; /* the cache's list of slabs */
	struct stack_slab
		*unused; /* the class's queue of slabs not opened yet */
	char *start;
	char *end;    /* of its last stack */
	size_t bytes; /* mapped; mprotect's limit may leave a rest */
	unsigned class;
	size_t n_split;          /* guards that cost mappings */
	unsigned n_opened;       /* stacks handed out at least once */
	unsigned valgrind_ids[]; /* of those, under Valgrind */
};

static size_t page_size(void)
{
	static _Atomic(size_t) known; /* 0: not known; any thread */
	size_t size = peek(known);

	if (unlikely(!size)) {
		size = (size_t)sysconf(_SC_PAGESIZE);
		poke(known, size);
	}
	return size;
}

/* The result, as everything that it is made of, is a power of two. */
static size_t guard_size(unsigned class)
{
	size_t bytes = weft__stack_size(class) / GUARD_PART;

	if (bytes > GUARD_MOST)
		bytes = GUARD_MOST;
	return bytes < page_size() ? page_size() : bytes;
}

/* --- guards that take mappings --- */

static long read_number(const char *path, long otherwise)
{
	char text[32] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return otherwise;
	if (read(fd, text, sizeof text - 1) <= 0)
		strcpy(text, "");
	close(fd);
	return *text ? atol(text) : otherwise;
}

static long count_mappings(void)
{
	char text[512];
	long n = 0;
	ssize_t got;
	int fd = open("/proc/self/maps", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return 0;
	while ((got = read(fd, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < got; i++)
			n += text[i] == '\n';
	close(fd);
	return n;
}

/* How many guards may cost mappings, two each: all that the process may have, but
 * for an eighth and for what there was already. Any thread; relaxed, no pair: these
 * are only numbers. */
static long most_splits(void)
{
	static _Atomic(long) known; /* 0: not known */
	long most = peek(known);

	if (most == 0) {
		long all = read_number("/proc/sys/vm/max_map_count",
				       MAX_MAP_COUNT);

		most = (all - all / RESERVED_PART - count_mappings()) / 2;
		if (most < 1)
			most = 1;
		poke(known, most);
	}
	return most;
}

static _Atomic(long) n_splits; /* of all threads; relaxed, no pair */

/* Reserves the mappings of @n guards, or of fewer: returns how many. */
static size_t begin_splits(size_t n)
{
	long before = atomic_fetch_add_explicit(&n_splits, (long)n,
						memory_order_relaxed);
	long left = most_splits() - before;

	if (left >= (long)n)
		return n;
	if (left < 0)
		left = 0;
	atomic_fetch_sub_explicit(&n_splits, (long)n - left,
				  memory_order_relaxed);
	return (size_t)left;
}

static void end_splits(size_t n)
{
	atomic_fetch_sub_explicit(&n_splits, (long)n, memory_order_relaxed);
}

/* Whether the kernel takes marks, and keeps them: an emulator may accept any advice
 * and do nothing. uname() cannot write to a page that is really marked. */
static bool can_mark(void)
{
	size_t page = page_size();
	void *scratch = mmap(NULL, page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool marked;

	if (scratch == MAP_FAILED)
		return false;
	marked = madvise(scratch, page, MADV_GUARD_INSTALL) == 0 &&
		 uname(scratch) == -1 && errno == EFAULT;
	munmap(scratch, page);
	return marked;
}

bool weft__stack_guards_are_marks(void)
{
	static _Atomic(int) known; /* 0: not yet, 1: yes, -1: no; any thread */
	int answer = peek(known);

	if (answer == 0) {
		answer = can_mark() ? 1 : -1;
		poke(known, answer);
	}
	return answer > 0;
}

int weft__stack_class(size_t usable)
{
	unsigned class = 0;

	if (usable > STACK_MOST_USABLE)
		return -1;
	if (usable >> STACK_MIN_SHIFT) /* smaller stacks are too small anyway */
		class = 64 - STACK_MIN_SHIFT -
			(unsigned)__builtin_clzll(usable);
	for (; class < STACK_CLASSES; class ++) {
		/* the guard, the offset of the first frame, and what is above it */
		size_t overhead =
			guard_size(class) + COLOURS * COLOUR_STEP + TOP_BYTES;

		if (weft__stack_size(class) >= overhead + usable)
			return (int)class;
	}
	return -1;
}

static char *top_of(unsigned class, char *base)
{
	size_t size = weft__stack_size(class);
	size_t colour = ((uintptr_t)base / size) % COLOURS * COLOUR_STEP;

	return base + size - colour - TOP_BYTES;
}

static char *base_of(unsigned class, const char *top)
{
	/* the lowest offset still leaves the top within the stack's last page */
	size_t size = weft__stack_size(class);
	char *page = (char *)((uintptr_t)top & ~(uintptr_t)4095);

	return page + 4096 - size;
}

char *weft__stack_low(unsigned class, char *top)
{
	return base_of(class, top) + guard_size(class);
}

/* LeakSanitizer has these, if the program is built with it, whether or not the
 * library is. What a suspended tasklet holds is on a stack that LeakSanitizer would
 * not look at. It reads all of a region, so guards must not be in one. */
void __lsan_register_root_region(const void *start, size_t size)
	__attribute__((weak));
void __lsan_unregister_root_region(const void *start, size_t size)
	__attribute__((weak));

/* Tells tools of one more stack, the next of its slab. */
static void register_stack(struct stack_slab *slab, char *base)
{
	size_t size = weft__stack_size(slab->class);
	size_t guard = guard_size(slab->class);

	if (weft__on_valgrind)
		slab->valgrind_ids[slab->n_opened] =
			(unsigned)VALGRIND_STACK_REGISTER(base, base + size);
	if (__lsan_register_root_region)
		__lsan_register_root_region(base + guard, size - guard);
	slab->n_opened++;
}

static void unregister_stacks(struct stack_slab *slab)
{
	size_t size = weft__stack_size(slab->class);
	size_t guard = guard_size(slab->class);

	for (unsigned i = 0; i < slab->n_opened; i++) {
		if (weft__on_valgrind)
			VALGRIND_STACK_DEREGISTER(slab->valgrind_ids[i]);
		if (__lsan_unregister_root_region)
			__lsan_unregister_root_region(
				slab->start + i * size + guard, size - guard);
	}
}

/* Guards the stacks of a slab by mprotect. Returns how many have their guard. */
static size_t protect_all(char *start, unsigned class, size_t n)
{
	size_t size = weft__stack_size(class);
	size_t i = 0;

	while (i < n &&
	       mprotect(start + i * size, guard_size(class), PROT_NONE) == 0)
		i++;
	end_splits(n - i);
	return i;
}

/* Makes room for all stacks to be free at once. */
static int grow_free_list(struct stack_class *c, size_t n)
{
	char **list = realloc(c->free, n * sizeof *list);

	if (!list)
		return -ENOMEM;
	c->free = list;
	return 0;
}

/* Maps @n stacks in one piece, or fewer at mprotect's limit. Returns 0 if none. */
static size_t map_slab(struct stack_cache *cache, unsigned class, size_t n)
{
	struct stack_class *c = &cache->classes[class];
	size_t size = weft__stack_size(class);
	size_t mapped = n * size;
	struct stack_slab *slab =
		malloc(sizeof *slab + n * sizeof slab->valgrind_ids[0]);
	size_t n_split = 0;
	char *start;

	if (!slab)
		return 0;
	if (grow_free_list(c, c->mapped + n))
		goto free_slab;
	if (!weft__stack_guards_are_marks()) {
		n = n_split = begin_splits(n);
		mapped = n * size;
	}
	if (n == 0)
		goto free_slab;
	start = mmap(NULL, mapped, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK,
		     -1, 0);
	if (start == MAP_FAILED)
		goto leave_splits;
	/* A huge page under a stack would make all of it resident. Kernels built
	 * without huge pages refuse, which is as good. */
	(void)madvise(start, mapped, MADV_NOHUGEPAGE);
	if (n_split)
		n = n_split = protect_all(start, class, n);
	if (n == 0)
		goto unmap;

	*slab = (struct stack_slab){ .all = cache->slabs,
				     .start = start,
				     .end = start + n * size,
				     .bytes = mapped,
				     .n_split = n_split,
				     .class = class };
	cache->slabs = slab;
	if (c->last_unused)
		c->last_unused->unused = slab;
	else
		c->unused = slab;
	c->last_unused = slab;
	c->mapped += n;
	cache->used |= 1U << class;
	poke(cache->mapped, peek(cache->mapped) + n);
	poke(cache->mapped_bytes, peek(cache->mapped_bytes) + mapped);
	return n;

unmap:
	munmap(start, mapped);
leave_splits:
	end_splits(n_split);
free_slab:
	free(slab);
	return 0;
}

int weft__stack_grow(struct stack_cache *cache, unsigned class)
{
	struct stack_class *c = &cache->classes[class];

	while (c->mapped < c->promised) {
		size_t n = c->mapped < SLAB_MIN_STACKS ? SLAB_MIN_STACKS
						       : c->mapped;

		if (n > SLAB_MAX_STACKS)
			n = SLAB_MAX_STACKS;
		while (n && !map_slab(cache, class, n))
			n /= 2;
		if (!n) {
			c->promised--;
			return -ENOMEM;
		}
	}
	return 0;
}

/* Marks the guards of @n stacks in one call, where the kernel can do that (6.14).
 * Returns how many. */
static size_t mark_many(char *base, unsigned class, size_t n)
{
	static _Atomic(bool) are_refused; /* any thread */
	struct iovec guards[MARKS_AT_ONCE];
	long marked;

	if (peek(are_refused) || weft__on_valgrind)
		return 0;
	for (size_t i = 0; i < n; i++)
		guards[i] =
			(struct iovec){ .iov_base = base +
						    i * weft__stack_size(class),
					.iov_len = guard_size(class) };
	marked = syscall(SYS_process_madvise, PIDFD_SELF_THREAD, guards, n,
			 MADV_GUARD_INSTALL, 0);
	if (marked <= 0) {
		poke(are_refused, true);
		return 0;
	}
	return (size_t)marked / guard_size(class);
}

/* Marks the guard of the next stack. Locked memory takes no mark: mprotect guards
 * it. */
static bool mark_one(struct stack_class *c, unsigned class)
{
	if (madvise(c->bump, guard_size(class), MADV_GUARD_INSTALL) == 0)
		return true;
	if (!begin_splits(1))
		return false;
	if (mprotect(c->bump, guard_size(class), PROT_NONE)) {
		end_splits(1);
		return false;
	}
	c->opened->n_split++;
	return true;
}

/* Marks the guard of the next stack, and of some that are likely to be used soon
 * after. */
static bool mark_next(struct stack_class *c, unsigned class)
{
	size_t size = weft__stack_size(class);
	size_t n = c->n_opened / 8;
	size_t left = (size_t)(c->bump_end - c->bump) / size;

	if (n > MARKS_AT_ONCE)
		n = MARKS_AT_ONCE;
	if (n > left)
		n = left;
	if (n > 1)
		n = mark_many(c->bump, class, n);
	if (n < 2) {
		n = 1;
		if (!mark_one(c, class))
			return false;
	}
	c->marked_end = c->bump + n * size;
	return true;
}

/* The next stack that was never used, with its guard; NULL if that cannot be
 * had. */
static NOINLINE char *open_stack(struct stack_class *c, unsigned class)
{
	struct stack_slab *slab = c->unused;
	size_t size = weft__stack_size(class);
	char *base;

	if (c->bump == c->bump_end) {
		INVARIANT(slab);
		c->bump = c->marked_end = slab->start;
		c->bump_end = slab->end;
		c->opened = slab;
		c->unused = slab->unused;
		if (!c->unused)
			c->last_unused = NULL;
	}
	if (c->bump == c->marked_end && weft__stack_guards_are_marks() &&
	    !mark_next(c, class))
		return NULL;
	base = c->bump;
	register_stack(c->opened, base);
	c->bump = base + size;
	c->n_opened++;
	return top_of(class, base);
}

char *weft__stack_take(struct stack_cache *cache, unsigned class)
{
	struct stack_class *c = &cache->classes[class];
	size_t n = c->n_free;

	if (unlikely(!n))
		return open_stack(c, class);
	c->n_free = --n;
	if (n < c->least_free) {
		c->least_free = n;
		if (n < c->n_cold)
			c->n_cold = n;
	}
	return c->free[n];
}

void weft__stack_give(struct stack_cache *cache, unsigned class, char *top)
{
	struct stack_class *c = &cache->classes[class];

	c->free[c->n_free++] = top;
}

/* --- trimming --- */

bool weft__stack_has_spare(const struct stack_cache *cache)
{
	for (unsigned left = cache->used; left; left &= left - 1) {
		const struct stack_class *c =
			&cache->classes[__builtin_ctz(left)];

		if (c->n_free > c->n_cold + KEEP_WARM)
			return true;
	}
	return false;
}

void weft__stack_begin_watch(struct stack_cache *cache)
{
	for (unsigned class = 0; class < STACK_CLASSES; class ++)
		cache->classes[class].least_free = cache->classes[class].n_free;
}

/* Sorts by address, in place. This runs on the stack of the tasklet that has
 * blocked last, and qsort() can take 2 KB of it. */
static void sort(char **tops, size_t n)
{
	static const size_t gaps[] = { 57, 23, 10, 4, 1 };

	for (size_t g = 0; g < sizeof gaps / sizeof *gaps; g++)
		for (size_t gap = gaps[g], i = gap; i < n; i++) {
			char *top = tops[i];
			size_t place = i;

			for (; place >= gap && tops[place - gap] > top;
			     place -= gap)
				tops[place] = tops[place - gap];
			tops[place] = top;
		}
}

/* Gives the memory of stacks back, neighbours together. If the kernel refuses, as
 * for a process that has locked its memory, the memory stays. */
static void cool(unsigned class, char **tops, size_t n)
{
	size_t size = weft__stack_size(class);
	char *start = NULL, *end = NULL;

	sort(tops, n);
	for (size_t i = 0; i < n; i++) {
		char *base = base_of(class, tops[i]);

		if (base != end) {
			if (start)
				(void)madvise(start, (size_t)(end - start),
					      MADV_DONTNEED);
			start = base + guard_size(class);
		}
		end = base + size;
	}
	(void)madvise(start, (size_t)(end - start), MADV_DONTNEED);
}

bool weft__stack_trim(struct stack_cache *cache)
{
	for (unsigned class = 0; class < STACK_CLASSES; class ++) {
		struct stack_class *c = &cache->classes[class];
		size_t n;

		if (c->least_free <= c->n_cold + KEEP_WARM)
			continue;
		n = c->least_free - c->n_cold - KEEP_WARM;
		if (n > TRIM_AT_ONCE)
			n = TRIM_AT_ONCE;
		cool(class, c->free + c->n_cold, n);
		c->n_cold += n;
		return true;
	}
	return false;
}

bool weft__stack_is_one_of(const struct stack_cache *cache, const void *address)
{
	const char *a = address;

	for (struct stack_slab *slab = cache->slabs; slab; slab = slab->all)
		if (a >= slab->start && a < slab->start + slab->bytes)
			return true;
	return false;
}

void weft__stack_free_all(struct stack_cache *cache)
{
	while (cache->slabs) {
		struct stack_slab *slab = cache->slabs;

		cache->slabs = slab->all;
		unregister_stacks(slab);
		munmap(slab->start, slab->bytes);
		end_splits(slab->n_split);
		free(slab);
	}
	for (unsigned class = 0; class < STACK_CLASSES; class ++)
		free(cache->classes[class].free);
	memset(cache, 0, sizeof *cache);
}
