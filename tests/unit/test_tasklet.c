/* SPDX-License-Identifier: MIT */
/*
 * Handles, options, what control calls say of tasklets in every state, and what
 * happens when there is no memory for more.
 */
#include <check.h>
#include <errno.h>
#include <fenv.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <weft.h>

#include "support.h"

static int do_nothing(void *arg)
{
	(void)arg;
	return 0;
}

static int count_up(void *arg)
{
	++*(int *)arg;
	return 0;
}

static int pause_once(void *arg)
{
	(void)arg;
	return weft_schedule_remove();
}

static weft_tasklet spawn_paused(weft_fn fn, void *arg)
{
	return weft_spawn_with(&(struct weft_tasklet_options){ .paused = true },
			       fn, arg);
}

/* --- handles --- */

/* The null handle is nobody's: not alive, of no thread, and equal to itself. */
START_TEST(null_handle_names_nobody)
{
	weft_tasklet null = { .task = NULL, .id = 0 };
	char name[8];

	ck_assert(weft_tasklet_is_null(null));
	ck_assert(!weft_tasklet_alive(null));
	ck_assert(!weft_tasklet_is_main(null));
	ck_assert_int_eq(weft_tasklet_state(null), WEFT_DEAD);
	ck_assert_uint_eq(weft_tasklet_thread(null), 0);
	ck_assert_int_eq(weft_tasklet_name(null, name, sizeof name), -ESRCH);
	ck_assert_int_eq(weft_tasklet_insert(null), -ESRCH);
	ck_assert_int_eq(weft_tasklet_remove(null), -ESRCH);
	ck_assert_int_eq(weft_tasklet_run(null), -ESRCH);
	ck_assert_int_eq(weft_tasklet_switch(null), -ESRCH);
	ck_assert(weft_tasklet_equal(null, null));
	ck_assert(!weft_tasklet_equal(null, weft_main()));
}
END_TEST

/* Handles are equal when they name the same tasklet. */
START_TEST(handles_compare_by_tasklet)
{
	weft_tasklet a = weft_spawn(do_nothing, NULL);
	weft_tasklet b = weft_spawn(do_nothing, NULL);
	weft_tasklet copy = a;

	ck_assert(!weft_tasklet_is_null(a));
	ck_assert(weft_tasklet_equal(a, copy));
	ck_assert(!weft_tasklet_equal(a, b));
	ck_assert(weft_tasklet_equal(weft_main(), weft_current()));
	weft_run();
	ck_assert(weft_tasklet_equal(a, copy));
	ck_assert(!weft_tasklet_equal(a, b));
}
END_TEST

struct self_portrait {
	weft_tasklet current, main;
	bool is_main, alive;
	uint64_t thread, own_thread;
};

static int look_at_myself(void *arg)
{
	struct self_portrait *p = arg;

	p->current = weft_current();
	p->main = weft_main();
	p->is_main = weft_tasklet_is_main(p->current);
	p->alive = weft_tasklet_alive(p->current);
	p->thread = weft_tasklet_thread(p->current);
	p->own_thread = weft_thread_id();
	return 0;
}

/* A tasklet is its own current one; main stays main. */
START_TEST(current_and_main)
{
	struct self_portrait p = { .is_main = true };
	weft_tasklet t = weft_spawn(look_at_myself, &p);

	ck_assert(weft_tasklet_is_main(weft_current()));
	weft_run();
	ck_assert(weft_tasklet_equal(p.current, t));
	ck_assert(weft_tasklet_equal(p.main, weft_main()));
	ck_assert(!p.is_main);
	ck_assert(p.alive);
	ck_assert_uint_eq(p.thread, p.own_thread);
	ck_assert_uint_eq(p.thread, weft_thread_id());
	ck_assert(!weft_tasklet_alive(t));
	ck_assert_uint_eq(weft_tasklet_thread(t), 0);
}
END_TEST

/* A handle outlives its tasklet: the memory goes to others, who are not meant. */
START_TEST(stale_handle_is_safe)
{
	enum { REUSES = 2000 };
	weft_tasklet stale = weft_spawn(do_nothing, NULL);
	int n_run = 0, n_same_memory = 0;
	char name[8];

	weft_run();
	for (int i = 0; i < REUSES; i++) {
		weft_tasklet t = weft_spawn(count_up, &n_run);

		n_same_memory += t.task == stale.task;
		ck_assert(!weft_tasklet_equal(t, stale));
		ck_assert(!weft_tasklet_alive(stale));
		ck_assert_int_eq(weft_tasklet_state(stale), WEFT_DEAD);
		ck_assert_uint_eq(weft_tasklet_thread(stale), 0);
		ck_assert_int_eq(weft_tasklet_insert(stale), -ESRCH);
		ck_assert_int_eq(weft_tasklet_remove(stale), -ESRCH);
		ck_assert_int_eq(weft_tasklet_run(stale), -ESRCH);
		ck_assert_int_eq(weft_tasklet_switch(stale), -ESRCH);
		ck_assert_int_eq(weft_tasklet_name(stale, name, sizeof name),
				 -ESRCH);
		ck_assert_int_eq(n_run, i);
		weft_run();
	}
	ck_assert_int_eq(n_run, REUSES);
	/* or else nothing of this was put to the test */
	ck_assert_int_gt(n_same_memory, 0);
}
END_TEST

static int compare_ids(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

enum { IDS_PER_THREAD = 2000, ID_THREADS = 4 };

static void *collect_ids(void *arg)
{
	uint64_t *ids = arg;

	for (int i = 0; i < IDS_PER_THREAD; i++) {
		ids[i] = weft_spawn(do_nothing, NULL).id;
		if (i % 10 == 0)
			weft_run();
	}
	weft_run();
	return NULL;
}

/* An id is never used twice in a process, whatever the thread. */
START_TEST(ids_are_unique)
{
	enum { N = IDS_PER_THREAD * ID_THREADS };
	uint64_t *ids = calloc(N, sizeof *ids);
	pthread_t threads[ID_THREADS];

	for (int i = 0; i < ID_THREADS; i++)
		threads[i] =
			start_thread(collect_ids, ids + i * IDS_PER_THREAD);
	for (int i = 0; i < ID_THREADS; i++)
		join_thread(threads[i]);
	qsort(ids, N, sizeof *ids, compare_ids);
	ck_assert_uint_gt(ids[0], 0);
	for (int i = 1; i < N; i++)
		ck_assert_uint_lt(ids[i - 1], ids[i]);
	free(ids);
}
END_TEST

/* --- options --- */

static weft_tasklet spawn_named(const char *name)
{
	return weft_spawn_with(&(struct weft_tasklet_options){ .name = name },
			       do_nothing, NULL);
}

#define ck_assert_name(t, expected)                                         \
	do {                                                                \
		char name_[64];                                             \
		ck_assert_int_eq(weft_tasklet_name(t, name_, sizeof name_), \
				 0);                                        \
		ck_assert_str_eq(name_, expected);                          \
	} while (0)

/* Of a name 31 bytes are kept, and a copy of it. */
START_TEST(name_is_copied_and_cut)
{
	char given[] = "given";
	weft_tasklet t = spawn_named(given);

	memset(given, 'x', sizeof given - 1);
	ck_assert_name(t, "given");
	ck_assert_name(spawn_named(""), "");
	ck_assert_name(spawn_named("0123456789012345678901234567890"),
		       "0123456789012345678901234567890");
	ck_assert_name(spawn_named("01234567890123456789012345678901"),
		       "0123456789012345678901234567890");
	ck_assert_name(spawn_named("0123456789012345678901234567890123456789"),
		       "0123456789012345678901234567890");
}
END_TEST

/* Without a name there is an empty one, also where a named one has been. */
START_TEST(no_name_is_empty)
{
	ck_assert_name(weft_spawn(do_nothing, NULL), "");
	for (int i = 0; i < 100; i++)
		ck_assert_name(spawn_named("named"), "named");
	weft_run();
	for (int i = 0; i < 100; i++)
		ck_assert_name(weft_spawn(do_nothing, NULL), "");
	ck_assert_int_eq(weft_tasklet_name(weft_main(), (char[8]){ "" }, 8), 0);
}
END_TEST

/* What is copied out is cut to the buffer, and always ends with a NUL. */
START_TEST(name_is_cut_to_the_buffer)
{
	weft_tasklet t = spawn_named("abcdef");
	char buf[8];

	memset(buf, 'x', sizeof buf);
	ck_assert_int_eq(weft_tasklet_name(t, buf, 1), 0);
	ck_assert_mem_eq(buf, "\0xxxxxxx", 8);
	ck_assert_int_eq(weft_tasklet_name(t, buf, 4), 0);
	ck_assert_mem_eq(buf, "abc\0xxxx", 8);
	ck_assert_int_eq(weft_tasklet_name(t, buf, 7), 0);
	ck_assert_mem_eq(buf, "abcdef\0x", 8);
	ck_assert_int_eq(weft_tasklet_name(t, buf, 0), -EINVAL);
	ck_assert_int_eq(weft_tasklet_name(t, NULL, 8), -EINVAL);
	ck_assert_mem_eq(buf, "abcdef\0x", 8);
}
END_TEST

/* A spawn that cannot be gives the null handle, and errno says why. */
START_TEST(spawn_with_bad_arguments)
{
	static const struct {
		struct weft_tasklet_options options;
		weft_fn fn;
		int err;
	} cases[] = {
		{ { .name = NULL }, NULL, EINVAL },
		{ { .stack_size = ((size_t)1 << 30) + 1 }, do_nothing, EINVAL },
		{ { .stack_size = SIZE_MAX }, do_nothing, EINVAL },
		{ { .thread = 12345 }, do_nothing, ESRCH },
		{ { .thread = UINT64_MAX }, do_nothing, ESRCH },
		{ { .thread = 1, .paused = true }, NULL, EINVAL },
	};

	weft_main();
	for (size_t i = 0; i < N_ELEMENTS(cases); i++) {
		weft_tasklet t;

		errno = 0;
		t = weft_spawn_with(&cases[i].options, cases[i].fn, NULL);
		ck_assert_msg(weft_tasklet_is_null(t), "case %zu", i);
		ck_assert_msg(errno == cases[i].err, "case %zu: %s", i,
			      strerror(errno));
	}
	errno = 0;
	ck_assert(weft_tasklet_is_null(weft_spawn(NULL, NULL)));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_int_eq(weft_pump(), 0);
}
END_TEST

/* The limit itself is not above it. The kernel may have no room for that. */
START_TEST(stack_size_of_a_gibibyte)
{
	struct weft_tasklet_options options = { .stack_size = (size_t)1 << 30,
						.paused = true };

	if (lacks_memory_to_itself())
		return;
	errno = 0;
	if (weft_tasklet_is_null(weft_spawn_with(&options, do_nothing, NULL)))
		ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

/* No options are all defaults; one's own thread may be named. */
START_TEST(spawn_with_defaults)
{
	struct weft_tasklet_options own = { .thread = weft_thread_id() };
	int n = 0;

	ck_assert(!weft_tasklet_is_null(weft_spawn_with(NULL, count_up, &n)));
	ck_assert(!weft_tasklet_is_null(weft_spawn_with(&own, count_up, &n)));
	ck_assert_uint_eq(weft_runcount(), 3);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n, 2);
}
END_TEST

/* Writes and reads all but a little of a stack of this size. */
static int use_stack(void *arg)
{
	enum { FOR_CALLS = 2048 };
	size_t size = *(size_t *)arg - FOR_CALLS;
	volatile unsigned char *bytes = __builtin_alloca(size);

	for (size_t i = size; i-- > 0; i -= i < 64 ? i : 64)
		bytes[i] = (unsigned char)(i % 251);
	weft_schedule();
	for (size_t i = size; i-- > 0; i -= i < 64 ? i : 64)
		if (bytes[i] != (unsigned char)(i % 251))
			return -EIO;
	*(size_t *)arg = 0;
	return 0;
}

/* A tasklet can use all the stack that it asked for, beside others that do. */
START_TEST(stack_size_can_be_used)
{
	static const size_t sizes[] = { 8192,    16384,   16385,
					65536,   100000,  131072,
					1 << 20, 3000000, 64 << 20 };
	struct weft_tasklet_options options = { .stack_size = sizes[_i] };
	size_t left[3] = { sizes[_i], sizes[_i], sizes[_i] };

	for (int i = 0; i < 3; i++)
		ck_assert(!weft_tasklet_is_null(
			weft_spawn_with(&options, use_stack, &left[i])));
	weft_run();
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(left[i], 0);
}
END_TEST

/* A request for very little gives a stack that is enough to run on. */
START_TEST(stack_size_of_one_byte)
{
	struct weft_tasklet_options options = { .stack_size = 1 };
	int n = 0;

	ck_assert(
		!weft_tasklet_is_null(weft_spawn_with(&options, count_up, &n)));
	weft_run();
	ck_assert_int_eq(n, 1);
}
END_TEST

/* --- floating-point control words --- */

/* How a tasklet lets others run. */
struct way {
	const char *name;
	void (*go)(weft_channel *ch);
};

static void by_schedule(weft_channel *ch)
{
	(void)ch;
	weft_schedule();
}

static void by_schedule_remove(weft_channel *ch)
{
	(void)ch;
	weft_schedule_remove();
}

static void by_receive(weft_channel *ch)
{
	weft_channel_receive(ch, NULL);
}

static void by_send(weft_channel *ch)
{
	weft_channel_send(ch, NULL);
}

static void by_sleep(weft_channel *ch)
{
	(void)ch;
	weft_sleep(1);
}

static void by_run_of_main(weft_channel *ch)
{
	(void)ch;
	weft_tasklet_run(weft_main());
}

static void by_switch_to_main(weft_channel *ch)
{
	(void)ch;
	weft_tasklet_switch(weft_main());
}

static void by_pump(weft_channel *ch)
{
	(void)ch;
	weft_pump();
}

static const struct way ways[] = {
	{ "schedule", by_schedule },
	{ "schedule_remove", by_schedule_remove },
	{ "receive", by_receive },
	{ "send", by_send },
	{ "sleep", by_sleep },
	{ "run", by_run_of_main },
	{ "switch", by_switch_to_main },
	{ "pump", by_pump },
};

struct rounder {
	const struct way *way;
	weft_channel *ch;
	int mode;
	int mode_at_start, mode_after;
	double third_after;
};

/* In registers that the C library's fegetround() does not look at. */
static double third(void)
{
	volatile double one = 1, three = 3;
	volatile double result =
		one / three; /* here, and not when it is used */

	return result;
}

static int round_its_own_way(void *arg)
{
	struct rounder *r = arg;

	r->mode_at_start = fegetround();
	fesetround(r->mode);
	r->way->go(r->ch);
	r->mode_after = fegetround();
	r->third_after = third();
	return 0;
}

/* Gets everybody on who gave way in whichever way. */
static void bring_back(weft_tasklet t, weft_channel *ch)
{
	weft_tasklet_insert(t);
	weft_channel_try_send(ch, NULL);
	weft_channel_try_receive(ch, NULL);
}

/* A tasklet with own_fpu keeps its rounding mode across all ways of giving way,
 * and nobody else sees it. */
START_TEST(own_fpu_is_kept_and_not_seen)
{
	weft_channel *ch = weft_channel_new(0, 0);
	struct weft_tasklet_options options = { .own_fpu = true };
	struct rounder up = { &ways[_i], ch, FE_UPWARD, -1, -1, 0 };
	struct rounder down = { &ways[_i], ch, FE_DOWNWARD, -1, -1, 0 };
	double nearest_third = third(), up_third;
	weft_tasklet a = weft_spawn_with(&options, round_its_own_way, &up);
	weft_tasklet b = weft_spawn_with(&options, round_its_own_way, &down);

	fesetround(FE_UPWARD);
	up_third = third();
	fesetround(FE_TONEAREST);
	/* Valgrind rounds its own way. */
	ck_assert(nearest_third < up_third || is_under_valgrind());
	for (int i = 0; i < 4; i++) {
		weft_schedule();
		ck_assert_int_eq(fegetround(), FE_TONEAREST);
		ck_assert(third() == nearest_third);
		bring_back(a, ch);
		bring_back(b, ch);
		ck_assert_int_eq(fegetround(), FE_TONEAREST);
	}
	weft_run();
	ck_assert_int_eq(fegetround(), FE_TONEAREST);
	ck_assert_msg(up.mode_at_start == FE_TONEAREST, "%s", ways[_i].name);
	ck_assert_int_eq(down.mode_at_start, FE_TONEAREST);
	ck_assert_msg(up.mode_after == FE_UPWARD, "%s", ways[_i].name);
	ck_assert(up.third_after == up_third);
	ck_assert_msg(down.mode_after == FE_DOWNWARD, "%s", ways[_i].name);
	ck_assert(down.third_after == nearest_third);
	weft_channel_unref(ch);
}
END_TEST

/* Two with own_fpu hand an element over, so that each runs right after the
 * other; a third one without it comes between. */
START_TEST(own_fpu_of_peers)
{
	weft_channel *ch = weft_channel_new(0, 0);
	struct weft_tasklet_options options = { .own_fpu = true };
	struct rounder up = { &ways[2], ch, FE_UPWARD, -1, -1, 0 };
	struct rounder zero = { &ways[3], ch, FE_TOWARDZERO, -1, -1, 0 };

	weft_channel_set_preference(ch, _i);
	weft_spawn_with(&options, round_its_own_way, &up);
	weft_spawn_with(&options, round_its_own_way, &zero);
	weft_run();
	ck_assert_int_eq(up.mode_after, FE_UPWARD);
	ck_assert_int_eq(zero.mode_after, FE_TOWARDZERO);
	ck_assert_int_eq(fegetround(), FE_TONEAREST);
	weft_channel_unref(ch);
}
END_TEST

/* Without own_fpu the control words are the thread's: a change is seen by the
 * next. */
START_TEST(fpu_is_the_threads_by_default)
{
	struct rounder up = { &ways[0], NULL, FE_UPWARD, -1, -1, 0 };

	weft_spawn(round_its_own_way, &up);
	weft_schedule();
	ck_assert_int_eq(fegetround(), FE_UPWARD);
	fesetround(FE_DOWNWARD);
	weft_run();
	ck_assert_int_eq(up.mode_after, FE_DOWNWARD);
	fesetround(FE_TONEAREST);
}
END_TEST

/* --- what control calls say --- */

static void *end_at_once(void *handle)
{
	*(weft_tasklet *)handle = weft_main();
	return NULL;
}

enum target {
	ENDED,
	NEVER_STARTED,
	PAUSED_ITSELF,
	QUEUED,
	MYSELF,
	RECEIVING,
	SLEEPING,
	INSIDE_RUN,
	N_TARGETS
};

enum call { INSERT, REMOVE, RUN, SWITCH, N_CALLS };

static int receive_signal(void *ch)
{
	return weft_channel_receive(ch, NULL);
}

static int sleep_for_ever(void *arg)
{
	(void)arg;
	return weft_sleep_until(WEFT_FOREVER);
}

static int go_inside_run(void *arg)
{
	(void)arg;
	return weft_run();
}

/* A tasklet of the calling thread in the state that is asked for. */
static weft_tasklet make_target(enum target target, weft_channel *ch)
{
	weft_tasklet t;

	switch (target) {
	case NEVER_STARTED:
		return spawn_paused(do_nothing, NULL);
	case QUEUED:
		return weft_spawn(do_nothing, NULL);
	case MYSELF:
		return weft_current();
	default:
		break;
	}
	t = target == PAUSED_ITSELF ? weft_spawn(pause_once, NULL)
	    : target == RECEIVING   ? weft_spawn(receive_signal, ch)
	    : target == SLEEPING    ? weft_spawn(sleep_for_ever, NULL)
	    : target == INSIDE_RUN  ? weft_spawn(go_inside_run, NULL)
				    : weft_spawn(do_nothing, NULL);
	weft_schedule();
	return t;
}

static int control(enum call call, weft_tasklet t)
{
	switch (call) {
	case INSERT:
		return weft_tasklet_insert(t);
	case REMOVE:
		return weft_tasklet_remove(t);
	case RUN:
		return weft_tasklet_run(t);
	default:
		return weft_tasklet_switch(t);
	}
}

static const struct {
	enum weft_state before;
	int result[N_CALLS];
} expected_here[N_TARGETS] = {
	[ENDED] = { WEFT_DEAD, { -ESRCH, -ESRCH, -ESRCH, -ESRCH } },
	[NEVER_STARTED] = { WEFT_PAUSED, { 0, 0, 0, 0 } },
	[PAUSED_ITSELF] = { WEFT_PAUSED, { 0, 0, 0, 0 } },
	[QUEUED] = { WEFT_RUNNABLE, { 0, 0, 0, 0 } },
	[MYSELF] = { WEFT_RUNNING, { 0, -EBUSY, 0, 0 } },
	[RECEIVING] = { WEFT_BLOCKED, { -EBUSY, -EBUSY, -EBUSY, -EBUSY } },
	[SLEEPING] = { WEFT_BLOCKED, { -EBUSY, -EBUSY, -EBUSY, -EBUSY } },
	[INSIDE_RUN] = { WEFT_PAUSED, { 0, 0, 0, 0 } },
};

/* Each control call on a tasklet of this thread, in each state. */
START_TEST(control_of_own_tasklets)
{
	enum target target = (enum target)(_i / N_CALLS);
	enum call call = (enum call)(_i % N_CALLS);
	weft_channel *ch = weft_channel_new(0, 0);
	weft_tasklet t = make_target(target, ch);
	enum weft_state after;

	ck_assert_int_eq(weft_tasklet_state(t), expected_here[target].before);
	ck_assert_int_eq(control(call, t), expected_here[target].result[call]);

	after = weft_tasklet_state(t);
	if (expected_here[target].result[call] != 0 || target == MYSELF)
		ck_assert_int_eq(after, expected_here[target].before);
	else if (call == INSERT)
		ck_assert_int_eq(after, WEFT_RUNNABLE);
	else if (call == REMOVE)
		ck_assert_int_eq(after, WEFT_PAUSED);
	else
		ck_assert_int_eq(after, WEFT_DEAD); /* it ran, and ended */
	weft_channel_unref(ch);
}
END_TEST

/* The other thread makes a target and stays there until told to go on. */
struct foreign {
	enum target target;
	weft_channel *ch, *ready, *go_on;
	weft_tasklet t;
};

static void *keep_target(void *arg)
{
	struct foreign *f = arg;

	/* One that is blocked keeps run from returning. */
	if (f->target == INSIDE_RUN)
		make_target(RECEIVING, f->ch);
	f->t = make_target(f->target, f->ch);
	weft_channel_send(f->ready, NULL);
	weft_channel_receive(f->go_on, NULL);
	return NULL;
}

/* From another thread's point of view MYSELF is its main, blocked by now. */
static const struct {
	int result[N_CALLS];
} expected_there[N_TARGETS] = {
	[ENDED] = { { -ESRCH, -ESRCH, -ESRCH, -ESRCH } },
	[NEVER_STARTED] = { { 0, 0, 0, -EXDEV } },
	[PAUSED_ITSELF] = { { 0, 0, 0, -EXDEV } },
	[MYSELF] = { { -EBUSY, -EBUSY, -EBUSY, -EXDEV } },
	[RECEIVING] = { { -EBUSY, -EBUSY, -EBUSY, -EXDEV } },
	[SLEEPING] = { { -EBUSY, -EBUSY, -EBUSY, -EXDEV } },
	[INSIDE_RUN] = { { 0, 0, 0, -EXDEV } },
};

/* Each control call on a tasklet of another thread, in each state but runnable,
 * in which nobody stays while its thread is parked. */
START_TEST(control_of_foreign_tasklets)
{
	enum target target = (enum target)(_i / N_CALLS);
	enum call call = (enum call)(_i % N_CALLS);
	struct foreign f = { .target = target,
			     .ch = weft_channel_new(0, 0),
			     .ready = weft_channel_new(0, 0),
			     .go_on = weft_channel_new(0, 0) };
	pthread_t thread;

	if (target == QUEUED)
		return;
	thread = start_thread(keep_target, &f);
	weft_channel_receive(f.ready, NULL);
	if (target != ENDED)
		until_parked(weft_tasklet_thread(f.t));
	ck_assert_int_eq(control(call, f.t),
			 expected_there[target].result[call]);
	weft_channel_send(f.go_on, NULL);
	join_thread(thread);
	ck_assert(!weft_tasklet_alive(f.t));
	weft_channel_unref(f.ch);
	weft_channel_unref(f.ready);
	weft_channel_unref(f.go_on);
}
END_TEST

/* A main tasklet ends with its thread. */
START_TEST(main_of_an_ended_thread_is_dead)
{
	weft_tasklet t;

	weft_main();
	join_thread(start_thread(end_at_once, &t));
	ck_assert(!weft_tasklet_is_null(t));
	ck_assert(!weft_tasklet_alive(t));
	ck_assert(!weft_tasklet_is_main(t));
	ck_assert_int_eq(weft_tasklet_insert(t), -ESRCH);
	ck_assert_int_eq(weft_tasklet_run(t), -ESRCH);
}
END_TEST

/* --- after a burst --- */

static long resident_pages(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long pages = 0;

	if (f) {
		if (fscanf(f, "%*d %ld", &pages) != 1)
			pages = 0;
		fclose(f);
	}
	return pages;
}

/* A thread that sleeps gives back the memory of stacks that a burst has left over,
 * some time later. That it never does is a hang. */
START_TEST(stacks_of_a_burst_are_given_back)
{
	enum { N = 5000 };
	weft_channel *ch;
	long n_pages;

	if (lacks_memory_to_itself())
		return;
	ch = weft_channel_new(0, 0);
	for (int i = 0; i < N; i++)
		weft_spawn(receive_signal, ch);
	weft_schedule();
	n_pages = resident_pages();
	weft_channel_close(ch);
	ck_assert_int_eq(weft_run(), 0);
	while (resident_pages() > n_pages - N * 3 / 4)
		ck_assert_int_eq(weft_sleep(50 * WEFT_MILLISECOND), 0);
	weft_channel_unref(ch);
}
END_TEST

/* --- out of memory --- */

static void limit_address_space(size_t more)
{
	size_t pages = 0;
	FILE *f = fopen("/proc/self/statm", "r");
	struct rlimit limit;

	ck_assert_ptr_nonnull(f);
	ck_assert_int_eq(fscanf(f, "%zu", &pages), 1);
	fclose(f);
	ck_assert_int_eq(getrlimit(RLIMIT_AS, &limit), 0);
	limit.rlim_cur = pages * 4096 + more;
	ck_assert_int_eq(setrlimit(RLIMIT_AS, &limit), 0);
}

/* When there is no address space for more, spawn gives the null handle with
 * ENOMEM; those who are there run on and end, and then there is room again. */
START_TEST(out_of_address_space)
{
	enum { MOST = 100000 };
	struct weft_tasklet_options options = { .stack_size = 1 << 20 };
	int n_run = 0, n_spawned = 0;
	weft_channel *ch;

	if (lacks_memory_to_itself())
		return;
	ch = weft_channel_new(0, 0);
	weft_spawn(receive_signal, ch);
	weft_schedule();
	limit_address_space(64 << 20);
	for (;;) {
		weft_tasklet t;

		errno = 0;
		t = weft_spawn_with(&options, count_up, &n_run);
		if (weft_tasklet_is_null(t))
			break;
		ck_assert_int_lt(++n_spawned, MOST);
	}
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert_int_gt(n_spawned, 8);
	ck_assert_int_eq(weft_channel_balance(ch), -1);
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_run, n_spawned);

	for (int i = 0; i < n_spawned; i++)
		ck_assert(!weft_tasklet_is_null(
			weft_spawn_with(&options, count_up, &n_run)));
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(n_run, 2 * n_spawned);
	weft_channel_unref(ch);
}
END_TEST

/* A single stack that does not fit, and then one that does. */
START_TEST(out_of_address_space_for_one)
{
	struct weft_tasklet_options large = { .stack_size = (size_t)1 << 29 };
	int n = 0;

	if (lacks_memory_to_itself())
		return;
	weft_main();
	limit_address_space(256 << 20);
	errno = 0;
	ck_assert(weft_tasklet_is_null(weft_spawn_with(&large, count_up, &n)));
	ck_assert_int_eq(errno, ENOMEM);
	ck_assert(!weft_tasklet_is_null(weft_spawn(count_up, &n)));
	ck_assert_int_eq(weft_pump(), 0);
	ck_assert_int_eq(n, 1);
}
END_TEST

/* --- WEFT_STACK --- */

/* Spawns more than once, and on two threads, to see that a complaint comes
 * once. */
static int run_some(void)
{
	weft_tasklet other;
	size_t left = 100 * 1024;
	int n = 0;

	for (int i = 0; i < 3; i++)
		weft_spawn(count_up, &n);
	weft_spawn(use_stack, &left);
	join_thread(start_thread(end_at_once, &other));
	weft_run();
	return n == 3 && left == 0 ? 0 : 1;
}

static const char *const bad_stacks[] = {
	"nonsense",     "-1", "0", "12x", "64k", "1e6", "99999999999999999999",
	"100000000000", " ",  "1",
};

static int count_lines(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* A value that cannot be used is reported, once, by the variable's name and
 * what it takes; the default is used. */
START_TEST(bad_stack_variable_is_reported_once)
{
	char errors[4096];

	setenv("WEFT_STACK", bad_stacks[_i], 1);
	ck_assert_int_eq(in_child(run_some, errors, sizeof errors), 0);
	ck_assert_ptr_nonnull(strstr(errors, "WEFT_STACK"));
	ck_assert_ptr_nonnull(strstr(errors, bad_stacks[_i]));
	ck_assert_ptr_nonnull(strstr(errors, "bytes"));
	ck_assert_ptr_nonnull(strstr(errors, "; using the default\n"));
	ck_assert_msg(count_lines(errors) == 1, "%s", errors);
}
END_TEST

/* So is a value of another variable; a good or an empty one is not. */
START_TEST(variables_are_reported_by_name)
{
	static const struct {
		const char *variable, *value, *accepted;
	} cases[] = {
		{ "WEFT_OFFLOAD", "0", "threads from 1 to 1024" },
		{ "WEFT_OFFLOAD", "1025", "threads from 1 to 1024" },
		{ "WEFT_OFFLOAD", "1024", NULL },
		{ "WEFT_SPIN", "often", "microseconds" },
		{ "WEFT_SPIN", "-5", "microseconds" },
		{ "WEFT_SPIN", "+5", "microseconds" },
		{ "WEFT_SPIN", " 5", "microseconds" },
		{ "WEFT_SPIN", "5 ", "microseconds" },
		{ "WEFT_WAKE", "bell", "futex" },
		{ "WEFT_SPIN", "", NULL },
		{ "WEFT_SPIN", "0", NULL },
		{ "WEFT_WAKE", "futex", NULL },
		{ "WEFT_WAKE", "auto", NULL },
		{ "WEFT_STACK", "", NULL },
		{ "WEFT_STACK", "1000000", NULL },
	};
	char errors[4096];

	setenv(cases[_i].variable, cases[_i].value, 1);
	ck_assert_int_eq(in_child(run_some, errors, sizeof errors), 0);
	if (!cases[_i].accepted) {
		ck_assert_str_eq(errors, "");
		return;
	}
	ck_assert_ptr_nonnull(strstr(errors, cases[_i].variable));
	ck_assert_ptr_nonnull(strstr(errors, cases[_i].value));
	ck_assert_ptr_nonnull(strstr(errors, cases[_i].accepted));
	ck_assert_msg(count_lines(errors) == 1, "%s", errors);
}
END_TEST

static int use_a_megabyte(void)
{
	size_t left = 1 << 20;

	weft_spawn(use_stack, &left);
	weft_run();
	return left == 0 ? 0 : 1;
}

/* WEFT_STACK is the size of the default stack. */
START_TEST(stack_variable_sets_the_default)
{
	char errors[256];

	setenv("WEFT_STACK", "1048576", 1);
	ck_assert_int_eq(in_child(use_a_megabyte, errors, sizeof errors), 0);
	ck_assert_str_eq(errors, "");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("tasklet");

	add_case(s, "handles", null_handle_names_nobody,
		 handles_compare_by_tasklet, current_and_main,
		 stale_handle_is_safe, ids_are_unique);
	add_case(s, "names", name_is_copied_and_cut, no_name_is_empty,
		 name_is_cut_to_the_buffer);
	add_case(s, "spawn", spawn_with_bad_arguments, spawn_with_defaults,
		 stack_size_of_a_gibibyte, stack_size_of_one_byte);
	add_loop(s, "stack_size", stack_size_can_be_used, 9);
	add_loop(s, "own_fpu", own_fpu_is_kept_and_not_seen, N_ELEMENTS(ways));
	add_loop(s, "own_fpu of peers", own_fpu_of_peers, 2);
	add_case(s, "fpu of the thread", fpu_is_the_threads_by_default);
	add_loop(s, "control", control_of_own_tasklets, N_TARGETS * N_CALLS);
	add_loop(s, "control across threads", control_of_foreign_tasklets,
		 N_TARGETS * N_CALLS);
	add_case(s, "main's end", main_of_an_ended_thread_is_dead);
	add_case(s, "after a burst", stacks_of_a_burst_are_given_back);
	add_case(s, "out of memory", out_of_address_space,
		 out_of_address_space_for_one);
	add_loop(s, "WEFT_STACK", bad_stack_variable_is_reported_once,
		 N_ELEMENTS(bad_stacks));
	add_loop(s, "variables", variables_are_reported_by_name, 15);
	add_case(s, "WEFT_STACK's use", stack_variable_sets_the_default);
	return run_suite(s);
}
