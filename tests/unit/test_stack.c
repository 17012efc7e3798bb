/* SPDX-License-Identifier: MIT */
/*
 * Stacks: promised, taken, given back warm, guarded, with tops that differ.
 */
#include <check.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <weft.h>

#include "base/valgrind.h"
#include "core/tasklet.h"
#include "stack/stack.h"
#include "support.h"

enum {
	CLASS = STACK_DEFAULT_SHIFT - STACK_MIN_SHIFT,
	WIDTH = 16 * 1024 /* of the guard of such a stack */
};

static struct stack_cache cache;

static char *promise_and_take(unsigned class)
{
	char *top;

	ck_assert_int_eq(weft__stack_promise(&cache, class), 0);
	top = weft__stack_take(&cache, class);
	ck_assert_ptr_nonnull(top);
	return top;
}

/* Every byte from the lowest to the top can be written to. */
START_TEST(all_of_a_stack_can_be_used)
{
	for (unsigned class = CLASS; class < CLASS + 4; class ++) {
		char *top = promise_and_take(class);
		char *low = weft__stack_low(class, top);
		size_t usable = (size_t)(top - low);

		ck_assert_uint_ge(usable,
				  weft__stack_size(class) / 8 * 7 - 4096);
		memset(low, 1, usable);
	}
	weft__stack_free_all(&cache);
}
END_TEST

/* The byte below the lowest is the guard. */
START_TEST(below_a_stack_is_its_guard)
{
	char *top = NULL;

	for (int i = 0; i <= _i; i++)
		top = promise_and_take(CLASS);
	*(volatile char *)(weft__stack_low(CLASS, top) - 1) = 1;
}
END_TEST

static __attribute__((noinline)) void use_a_large_frame(void)
{
	volatile char frame[WIDTH - 4096];

	/* All of it may be used, as far as a compiler can know. */
	__asm__ volatile("" : : "r"(frame) : "memory");
	frame[0] = 1;
	(void)frame[0];
}

/* Leaves less of the stack than a page to the next call. */
static int fill_the_stack(void *arg)
{
	struct weft_task *t = weft_current().task;
	char *low = weft__stack_low(t->stack_class, t->stack);
	char *here = __builtin_frame_address(0);
	volatile char *filler = __builtin_alloca((size_t)(here - low) - 2048);

	(void)arg;
	*filler = 1;
	use_a_large_frame();
	*filler = 1;
	return 0;
}

/* A function with a frame larger than a page, at the end of a stack, writes into
 * the guard, not over it into a neighbour. */
START_TEST(large_frame_does_not_jump_the_guard)
{
	weft_spawn(fill_the_stack, NULL);
	weft_run();
}
END_TEST

/* Whether the kernel can write to a page; it does not raise a signal. */
static bool is_writable(char *page)
{
	return uname((struct utsname *)page) == 0;
}

/* Also of those that get theirs many at a time, up to the end of a slab and on into
 * the next; and the pages above them are none. */
START_TEST(each_of_many_has_its_guard)
{
	for (int i = 0; i < 2500; i++) {
		char *low = weft__stack_low(CLASS, promise_and_take(CLASS));

		for (int below = 4096; below <= WIDTH; below += 4096)
			ck_assert(!is_writable(low - below));
		ck_assert(is_writable(low));
	}
	weft__stack_free_all(&cache);
}
END_TEST

/* Last in, first out: the one given back last is the warmest. */
START_TEST(what_is_given_back_is_taken_first)
{
	char *a = promise_and_take(CLASS);
	char *b = promise_and_take(CLASS);

	ck_assert_ptr_ne(a, b);
	weft__stack_give(&cache, CLASS, a);
	weft__stack_give(&cache, CLASS, b);
	ck_assert_ptr_eq(weft__stack_take(&cache, CLASS), b);
	ck_assert_ptr_eq(weft__stack_take(&cache, CLASS), a);
	weft__stack_free_all(&cache);
}
END_TEST

/* Whether memory that is given back reads as zero; an emulator may keep it. */
static bool forgets_memory(void)
{
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	bool forgets;

	ck_assert_ptr_ne(page, MAP_FAILED);
	*page = 1;
	forgets = madvise(page, 4096, MADV_DONTNEED) == 0 && !*page;
	munmap(page, 4096);
	return forgets;
}

/* What was not used while it was watched goes back to the kernel, but for a few
 * that are kept; the warm ones, which are taken first, stay as they were. */
START_TEST(unused_ones_are_given_back)
{
	enum { N = 300, USED = 100, KEPT = 64 };
	struct stack_class *c = &cache.classes[CLASS];
	static char *tops[N];
	int n_kept = 0, n_forgotten = 0;

	for (int i = 0; i < N; i++)
		*weft__stack_low(CLASS, tops[i] = promise_and_take(CLASS)) = 1;
	ck_assert(!weft__stack_has_spare(&cache));
	for (int i = 0; i < N; i++)
		weft__stack_give(&cache, CLASS, tops[i]);
	ck_assert(weft__stack_has_spare(&cache));
	weft__stack_begin_watch(&cache);
	for (int i = 0; i < USED; i++)
		tops[i] = weft__stack_take(&cache, CLASS);
	for (int i = 0; i < USED; i++)
		weft__stack_give(&cache, CLASS, tops[i]);

	while (weft__stack_trim(&cache))
		;
	ck_assert_uint_eq(c->n_cold, N - USED - KEPT);
	ck_assert_uint_eq(c->n_free, N);
	for (int i = 0; i < N; i++) {
		char *low =
			weft__stack_low(CLASS, weft__stack_take(&cache, CLASS));

		if (i < USED + KEPT)
			n_kept += *low == 1;
		else
			n_forgotten += *low == 0;
		*low = 1;
	}
	ck_assert_int_eq(n_kept, USED + KEPT);
	if (forgets_memory())
		ck_assert_int_eq(n_forgotten, N - USED - KEPT);
	ck_assert_uint_eq(c->n_cold, 0);
	weft__stack_free_all(&cache);
}
END_TEST

static int by_address(const void *a, const void *b)
{
	const char *left = *(char *const *)a, *right = *(char *const *)b;

	return left < right ? -1 : left > right;
}

/* Thousands of stacks, through several slabs, and none overlaps another. */
START_TEST(stacks_do_not_overlap)
{
	enum { N = 5000 };
	static char *tops[N];

	for (int i = 0; i < N; i++)
		tops[i] = promise_and_take(CLASS);
	ck_assert_uint_ge(cache.mapped, N);
	qsort(tops, N, sizeof tops[0], by_address);
	for (int i = 1; i < N; i++)
		ck_assert(tops[i - 1] < weft__stack_low(CLASS, tops[i]));
	weft__stack_free_all(&cache);
	ck_assert_uint_eq(cache.mapped, 0);
}
END_TEST

/* Tops start at different places in their pages, or all of them would fight for
 * the same cache sets. */
START_TEST(tops_are_spread_over_their_pages)
{
	bool seen[4096 / 64] = { false };
	int n = 0;

	for (int i = 0; i < 64; i++) {
		size_t line = (uintptr_t)promise_and_take(CLASS) % 4096 / 64;

		n += !seen[line];
		seen[line] = true;
	}
	ck_assert_int_ge(n, 32);
	weft__stack_free_all(&cache);
}
END_TEST

/* A promise costs address space only, and what is not taken is not touched. */
START_TEST(promises_are_kept_by_mappings)
{
	for (size_t i = 1; i <= 3000; i++) {
		ck_assert_int_eq(weft__stack_promise(&cache, CLASS), 0);
		ck_assert_uint_ge(cache.classes[CLASS].mapped, i);
	}
	for (int i = 0; i < 3000; i++)
		weft__stack_forgo(&cache, CLASS);
	ck_assert_uint_eq(cache.classes[CLASS].promised, 0);
	weft__stack_free_all(&cache);
}
END_TEST

/* Without address space a promise fails, is not counted, and the rest stays. */
START_TEST(promise_without_address_space)
{
	enum {
		BYTES = 256 << 20,
		MORE_THAN_FIT = BYTES >> STACK_DEFAULT_SHIFT
	};
	struct rlimit limit = { .rlim_cur = BYTES, .rlim_max = BYTES };
	size_t n = 0;
	int rc = 0;

	if (lacks_memory_to_itself())
		return;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
	while (n <= MORE_THAN_FIT && !rc) {
		rc = weft__stack_promise(&cache, CLASS);
		n += !rc;
	}
	if (!rc)
		return; /* an emulator keeps no such limit */
	ck_assert_int_eq(rc, -ENOMEM);
	ck_assert_uint_ge(n, 100);
	ck_assert_uint_eq(cache.classes[CLASS].promised, n);
	for (size_t i = 0; i < n; i++)
		ck_assert_ptr_nonnull(weft__stack_take(&cache, CLASS));
	weft__stack_free_all(&cache);
}
END_TEST

/* A class has room for what was asked, guard and offsets apart, and not much more. */
START_TEST(class_has_room)
{
	static const size_t sizes[] = { 1,      4096,   10000,   16384,  65536,
					100000, 131072, 1000000, 1 << 30 };

	for (size_t i = 0; i < N_ELEMENTS(sizes); i++) {
		int class = weft__stack_class(sizes[i]);

		ck_assert_int_ge(class, 0);
		ck_assert_uint_gt(weft__stack_size((unsigned)class), sizes[i]);
		ck_assert_uint_le(weft__stack_size((unsigned)class),
				  4 * (sizes[i] > 4096 ? sizes[i] : 4096));
	}
	ck_assert_int_eq(weft__stack_class(((size_t)1 << 30) + 1), -1);
	ck_assert_int_eq(weft__stack_class(SIZE_MAX), -1);
}
END_TEST

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static void *return_it(void *arg)
{
	return arg;
}

/* Where guards take mappings, spawning ends before there are none left: the rest
 * of the process goes on, and so does the library. */
START_TEST(last_mappings_are_left_to_others)
{
	static const struct refusal no_marks = { .call = SYS_madvise,
						 .argument = 2,
						 .value = 102,
						 .error = EINVAL };
	static const struct weft_tasklet_options paused = { .paused = true };
	static void *pages[1000];
	int n = 0;
	int err;

	if (lacks_memory_to_itself())
		return;
	refuse_call(&no_marks);
	while (n < 1000000 && !weft_tasklet_is_null(weft_spawn_with(
				      &paused, do_nothing, NULL)))
		n++;
	err = errno; /* libcheck's assertions make system calls */
	ck_assert_int_lt(n, 1000000);
	ck_assert_int_eq(err, ENOMEM);
	for (size_t i = 0; i < N_ELEMENTS(pages); i++) {
		/* a different protection each, so that they do not merge */
		pages[i] = mmap(NULL, 4096, i % 2 ? PROT_READ : PROT_NONE,
				MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		ck_assert_ptr_ne(pages[i], MAP_FAILED);
	}
	join_thread(start_thread(return_it, NULL));
	ck_assert_int_eq(weft_offload(do_nothing, NULL), 0);
	ck_assert(weft_tasklet_is_null(
		weft_spawn_with(&paused, do_nothing, NULL)));
}
END_TEST

/* What a thread had of them is there for the next one. */
START_TEST(mappings_come_back)
{
	static const struct refusal no_marks = { .call = SYS_madvise,
						 .argument = 2,
						 .value = 102,
						 .error = EINVAL };
	size_t n[2] = { 0 };

	if (lacks_memory_to_itself())
		return;
	refuse_call(&no_marks);
	for (int i = 0; i < 2; i++) {
		while (weft__stack_promise(&cache, CLASS) == 0)
			n[i]++;
		weft__stack_free_all(&cache);
	}
	ck_assert_uint_gt(n[0], 0);
	ck_assert_uint_eq(n[0], n[1]);
}
END_TEST

/* --- what calls take of a stack --- */

enum { PAINTED = 60000 };

static __attribute__((noinline)) void paint(void)
{
	volatile char below[PAINTED];

	for (size_t i = 0; i < sizeof below; i++)
		below[i] = 0x5a;
}

static __attribute__((noinline)) int find_what_was_used(void)
{
	volatile char below[PAINTED];
	int i = 0;

	/* what is there from before is what it is about */
	__asm__ volatile("" : : "r"(below) : "memory");
	while (i < PAINTED && below[i] == 0x5a)
		i++;
	return PAINTED - i;
}

struct painter {
	weft_channel *ch;
	int fds[2];
	int used[3];
};

static int paint_and_wait(void *arg)
{
	struct painter *p = arg;
	char byte;

	for (int round = 0; round < 2; round++) {
		paint();
		weft_sleep(WEFT_MILLISECOND);
		p->used[0] = find_what_was_used();
		paint();
		weft_channel_receive(p->ch, NULL);
		p->used[1] = find_what_was_used();
		paint();
		weft_read(p->fds[0], &byte, 1);
		p->used[2] = find_what_was_used();
	}
	return 0;
}

static int serve_painter(void *arg)
{
	struct painter *p = arg;

	for (int round = 0; round < 2; round++) {
		weft_channel_send(p->ch, NULL);
		weft_sleep(WEFT_MILLISECOND);
		if (write(p->fds[1], "", 1) != 1)
			return 1;
	}
	return 0;
}

/* A thread without anything to do waits on the stack of whoever has blocked last:
 * there has to be room for that, as stack_size says. */
START_TEST(waiting_takes_little_of_a_stack)
{
	struct painter p = { .ch = weft_channel_new(0, 0) };

	if (UNDER_ASAN || UNDER_TSAN || is_under_valgrind())
		return;
	ck_assert_int_eq(pipe(p.fds), 0);
	weft_spawn(paint_and_wait, &p);
	weft_spawn(serve_painter, &p);
	ck_assert_int_eq(weft_run(), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_le(p.used[i], 2048);
}
END_TEST

int __lsan_do_recoverable_leak_check(void) __attribute__((weak));

struct held {
	struct held *next;
	char text[100];
};

/* The only pointers to it are on its stack. */
static int hold_some(void *ch)
{
	struct held *list = NULL;

	for (int i = 0; i < 10; i++) {
		struct held *h = calloc(1, sizeof *h);

		h->next = list;
		list = h;
	}
	weft_channel_receive(ch, NULL);
	while (list) {
		struct held *next = list->next;

		free(list);
		list = next;
	}
	return 0;
}

static int overwrite_the_stack(void *arg)
{
	char some[16 * 1024];

	memset(some, 0, sizeof some);
	__asm__ volatile("" : : "r"(some) : "memory");
	return arg != NULL;
}

/* For LeakSanitizer a tasklet that waits is no leak. */
START_TEST(what_a_waiting_tasklet_holds_is_no_leak)
{
	weft_channel *ch = weft_channel_new(0, 0);

	if (!__lsan_do_recoverable_leak_check)
		return;
	for (int i = 0; i < 100; i++)
		weft_spawn(hold_some, ch);
	weft_pump();
	overwrite_the_stack(NULL);
	ck_assert_int_eq(__lsan_do_recoverable_leak_check(), 0);
	weft_channel_close(ch);
	weft_run();
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("stack");
	TCase *guard = tcase_create("guard");

	weft__ask_for_valgrind();
	add_case(s, "use", all_of_a_stack_can_be_used, stacks_do_not_overlap,
		 tops_are_spread_over_their_pages);
	if (!UNDER_ASAN && !UNDER_TSAN) {
		/* of the first, of one in the first slab, of one behind it */
		tcase_add_loop_test_raise_signal(
			guard, below_a_stack_is_its_guard, SIGSEGV, 0, 40);
		tcase_add_test_raise_signal(
			guard, large_frame_does_not_jump_the_guard, SIGSEGV);
	}
	suite_add_tcase(s, guard);
	add_case(s, "guards of many", each_of_many_has_its_guard);
	add_case(s, "reuse", what_is_given_back_is_taken_first,
		 unused_ones_are_given_back);
	add_case(s, "promises", promises_are_kept_by_mappings,
		 promise_without_address_space);
	add_case(s, "mappings", last_mappings_are_left_to_others,
		 mappings_come_back);
	add_case(s, "depth", waiting_takes_little_of_a_stack);
	add_case(s, "leaks", what_a_waiting_tasklet_holds_is_no_leak);
	add_case(s, "classes", class_has_room);
	return run_suite(s);
}
