/* SPDX-License-Identifier: MIT */
/*
 * Channels with a buffer: what they carry, and what becomes of it. Who runs when
 * is in tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <weft.h>

#include "support.h"

static const size_t sizes[] = { 0, 1, 3, 4, 8, 12, 16, 100, 4096, 65536 };
static const size_t capacities[] = { 1, 2, 3, 7, 128, 1000 };

/* A pattern that tells number, length and place. */
static void fill(unsigned char *bytes, size_t size, unsigned number)
{
	for (size_t i = 0; i < size; i++)
		bytes[i] =
			(unsigned char)(number * 31 + i * 7 + i / 256 + size);
}

static bool is_filled(const unsigned char *bytes, size_t size, unsigned number)
{
	for (size_t i = 0; i < size; i++)
		if (bytes[i] !=
		    (unsigned char)(number * 31 + i * 7 + i / 256 + size))
			return false;
	return true;
}

/* --- what goes in comes out --- */

struct flow {
	weft_channel *ch;
	size_t size, capacity;
	unsigned n_in, n_out; /* the next to be sent, and to be received */
	unsigned char *bytes; /* room for @capacity + 1 elements */
};

static void begin_flow(struct flow *f, size_t size, size_t capacity)
{
	*f = (struct flow){ .ch = weft_channel_new(size, capacity),
			    .size = size,
			    .capacity = capacity,
			    .bytes = malloc((capacity + 1) * size + 1) };
	ck_assert_ptr_nonnull(f->ch);
	ck_assert_ptr_nonnull(f->bytes);
}

static void end_flow(struct flow *f)
{
	ck_assert_int_eq(weft_channel_balance(f->ch),
			 (int)(f->n_in - f->n_out));
	weft_channel_unref(f->ch);
	free(f->bytes);
}

/* @n elements, one by one or all at once. */
static void put(struct flow *f, size_t n, bool one_by_one)
{
	for (size_t i = 0; i < n; i++)
		fill(f->bytes + i * f->size, f->size, f->n_in + (unsigned)i);
	if (!one_by_one)
		ck_assert_int_eq(weft_channel_send_many(f->ch, f->bytes, n),
				 (ssize_t)n);
	for (size_t i = 0; i < n && one_by_one; i++)
		ck_assert_int_eq(
			weft_channel_send(f->ch, f->bytes + i * f->size), 0);
	/* they were copied */
	memset(f->bytes, 0, n * f->size);
	f->n_in += (unsigned)n;
}

static void get(struct flow *f, size_t n, bool one_by_one)
{
	f->bytes[n * f->size] = 0xa5;
	if (!one_by_one)
		ck_assert_int_eq(weft_channel_receive_many(f->ch, f->bytes, n),
				 (ssize_t)n);
	for (size_t i = 0; i < n && one_by_one; i++)
		ck_assert_int_eq(
			weft_channel_receive(f->ch, f->bytes + i * f->size), 0);
	for (size_t i = 0; i < n; i++)
		ck_assert(is_filled(f->bytes + i * f->size, f->size,
				    f->n_out + (unsigned)i));
	ck_assert_uint_eq(f->bytes[n * f->size], 0xa5);
	f->n_out += (unsigned)n;
}

/* Elements of any size, through buffers of any capacity, from every slot on, one
 * by one and in runs: whole and in order. */
START_TEST(elements_go_through)
{
	size_t size = sizes[(size_t)_i % N_ELEMENTS(sizes)];
	size_t capacity = capacities[(size_t)_i / N_ELEMENTS(sizes)];
	struct flow f;

	if (size * capacity > (is_under_valgrind() ? 1 << 20 : 16 << 20))
		return;
	begin_flow(&f, size, capacity);
	for (unsigned round = 0;
	     round<16; round += size * capacity>(1 << 18) ? 5 : 1) {
		/* more goes in than comes out, then the rest */
		size_t n = 1 + round * capacity / 16;
		size_t m = n / 2;

		put(&f, n, round & 1);
		ck_assert_int_eq(weft_channel_balance(f.ch), (int)n);
		get(&f, m, round & 2);
		put(&f, capacity - (n - m), round & 4);
		/* full */
		ck_assert_int_eq(weft_channel_balance(f.ch), (int)capacity);
		ck_assert_int_eq(weft_channel_try_send(f.ch, f.bytes), -EAGAIN);
		get(&f, capacity, round & 8);
		ck_assert_int_eq(weft_channel_try_receive(f.ch, f.bytes),
				 -EAGAIN);
		/* the next round begins at another slot */
		put(&f, 1, true);
		get(&f, 1, true);
	}
	end_flow(&f);
}
END_TEST

/* --- several tasklets --- */

static int send_all(void *arg)
{
	struct flow *f = arg;
	unsigned char *bytes = malloc(f->size + 1);

	for (; f->n_in < 3 * f->capacity + 5; f->n_in++) {
		fill(bytes, f->size, f->n_in);
		if (weft_channel_send(f->ch, bytes))
			break;
	}
	free(bytes);
	return 0;
}

static int receive_all(void *arg)
{
	struct flow *f = arg;
	unsigned char *bytes = malloc(f->size + 1);

	while (weft_channel_receive(f->ch, bytes) == 0 &&
	       is_filled(bytes, f->size, f->n_out))
		f->n_out++;
	free(bytes);
	return 0;
}

/* More than there is room for: senders wait behind a full buffer, receivers before
 * an empty one. Closed at the end, it still gives what is left. */
START_TEST(more_than_there_is_room_for)
{
	for (size_t i = 0; i < N_ELEMENTS(capacities); i++) {
		for (int preference = -1; preference <= 1; preference++) {
			struct flow f;

			begin_flow(&f, (size_t)_i, capacities[i]);
			weft_channel_set_preference(f.ch, preference);
			weft_spawn(send_all, &f);
			weft_schedule();
			/* one waits with an element of its own */
			ck_assert_int_eq(weft_channel_balance(f.ch),
					 (int)f.capacity + 1);
			ck_assert_uint_eq(weft_channel_waiters(f.ch, NULL, 0),
					  1);
			weft_spawn(receive_all, &f);
			weft_pump();
			ck_assert_uint_eq(f.n_in, 3 * f.capacity + 5);
			ck_assert_uint_eq(f.n_out, f.n_in);
			ck_assert_int_eq(weft_channel_balance(f.ch), -1);
			weft_channel_close(f.ch);
			ck_assert_int_eq(weft_run(), 0);
			end_flow(&f);
		}
	}
}
END_TEST

static int send_one(void *ch)
{
	int value = 0;

	return weft_channel_send(ch, &value);
}

/* The balance is what is buffered and who waits; the list has who waits, the
 * oldest first. */
START_TEST(balance_and_waiters)
{
	weft_channel *ch = weft_channel_new(sizeof(int), 3);
	weft_tasklet tasklets[5], out[8];
	int value;

	for (int i = 0; i < 5; i++) {
		tasklets[i] = weft_spawn(send_one, ch);
		weft_schedule();
		ck_assert_int_eq(weft_channel_balance(ch), i + 1);
	}
	ck_assert_uint_eq(weft_channel_waiters(ch, out, 8), 2);
	ck_assert(weft_tasklet_equal(out[0], tasklets[3]));
	ck_assert(weft_tasklet_equal(out[1], tasklets[4]));
	ck_assert_uint_eq(weft_channel_waiters(ch, out, 1), 2);
	/* the first to wait leaves, the second is now the first */
	weft_tasklet_kill(tasklets[3], 0);
	ck_assert_uint_eq(weft_channel_waiters(ch, out, 8), 1);
	ck_assert(weft_tasklet_equal(out[0], tasklets[4]));
	for (int i = 4; i > 0; i--) {
		ck_assert_int_eq(weft_channel_balance(ch), i);
		ck_assert_int_eq(weft_channel_receive(ch, &value), 0);
	}
	ck_assert_int_eq(weft_channel_balance(ch), 0);
	weft_channel_unref(ch);
}
END_TEST

/* --- limits --- */

START_TEST(limits)
{
	ck_assert_ptr_null(weft_channel_new(8, (size_t)1 << 31));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_channel_new((size_t)1 << 31, 1));
	ck_assert_int_eq(errno, EINVAL);
	if (lacks_memory_to_itself())
		return; /* the sanitizers end who asks for too much */
	ck_assert_ptr_null(weft_channel_new(INT32_MAX, INT32_MAX));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

/* Signals take no memory, so there may be very many; several go at once. */
START_TEST(very_many_signals)
{
	weft_channel *ch = weft_channel_new(0, INT32_MAX);

	ck_assert_ptr_nonnull(ch);
	ck_assert_int_eq(weft_channel_send_many(ch, NULL, 2000000000),
			 2000000000);
	ck_assert_int_eq(weft_channel_balance(ch), 2000000000);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), 0);
	ck_assert_int_eq(weft_channel_receive_many(ch, NULL, INT32_MAX),
			 1999999999);
	ck_assert_int_eq(weft_channel_send_many(ch, NULL, INT32_MAX),
			 INT32_MAX);
	ck_assert_int_eq(weft_channel_try_send(ch, NULL), -EAGAIN);
	weft_channel_unref(ch);
}
END_TEST

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

/* No memory to keep errors: nothing was sent, and elements go on. */
START_TEST(no_memory_for_errors)
{
	weft_channel *ch;

	if (lacks_memory_to_itself())
		return;
	ch = weft_channel_new(0, 1 << 26);
	ck_assert_ptr_nonnull(ch);
	limit_address_space(64 << 20);
	ck_assert_int_eq(weft_channel_send_error(ch, EIO), -ENOMEM);
	ck_assert_int_eq(weft_channel_balance(ch), 0);
	ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
	ck_assert_int_eq(weft_channel_receive(ch, NULL), 0);
	ck_assert_ptr_null(weft_channel_new(1 << 20, 1 << 10));
	ck_assert_int_eq(errno, ENOMEM);
	weft_channel_unref(ch);
}
END_TEST

/* --- errors --- */

/* Errors and elements in any order, around the buffer many times. */
START_TEST(errors_between_elements)
{
	weft_channel *ch = weft_channel_new(sizeof(int), (size_t)_i + 1);
	int n_in = 0, n_out = 0;

	for (int round = 0; round < 200; round++) {
		int n = 1 + round % (_i + 1);

		for (int i = 0; i < n; i++, n_in++)
			ck_assert_int_eq(
				n_in % 3 == 1
					? weft_channel_send_error(ch, 1 + n_in)
					: weft_channel_send(ch, &n_in),
				0);
		for (int i = 0; i < n; i++, n_out++) {
			int value = -7;
			int rc = weft_channel_receive(ch, &value);

			ck_assert_int_eq(rc, n_out % 3 == 1 ? -1 - n_out : 0);
			ck_assert_int_eq(value, n_out % 3 == 1 ? -7 : n_out);
		}
	}
	ck_assert_int_eq(weft_channel_balance(ch), 0);
	weft_channel_unref(ch);
}
END_TEST

/* --- what nobody receives --- */

static struct {
	int values[16];
	int n;
	void *ctx;
	int rc;          /* of a call that would switch */
	uint64_t thread; /* that called */
	weft_tasklet by;
} dropped;

static void note_dropped(void *element, void *ctx)
{
	dropped.values[dropped.n++] = *(int *)element;
	dropped.ctx = ctx;
	dropped.rc = weft_sleep(1);
	dropped.thread = weft_thread_id();
	dropped.by = weft_current();
}

static weft_channel *with_drop(size_t capacity)
{
	weft_channel *ch = weft_channel_new(sizeof(int), capacity);

	weft_channel_set_drop(ch, note_dropped, &dropped);
	return ch;
}

/* The oldest first, around the end of the buffer, and no errors. */
START_TEST(drop_in_order)
{
	weft_channel *ch = with_drop(4);
	int value;

	for (int i = 1; i <= 3; i++)
		weft_channel_send(ch, &i);
	weft_channel_receive(ch, &value);
	weft_channel_receive(ch, &value);
	weft_channel_send_error(ch, EIO);
	for (int i = 4; i <= 5; i++)
		weft_channel_send(ch, &i);
	weft_channel_ref(ch);
	weft_channel_unref(ch);
	ck_assert_int_eq(dropped.n, 0);
	weft_channel_unref(ch);
	ck_assert_int_eq(dropped.n, 3);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(dropped.values[i], 3 + i);
	ck_assert_ptr_eq(dropped.ctx, &dropped);
	/* it must not block, and the caller may again */
	ck_assert_int_eq(dropped.rc, -EPERM);
	ck_assert_int_eq(weft_sleep(1), 0);
}
END_TEST

/* What was received is not dropped; nor is anything that replaced the function. */
START_TEST(drop_only_what_is_left)
{
	weft_channel *ch = with_drop(2);
	int value = 1;

	weft_channel_send(ch, &value);
	weft_channel_receive(ch, &value);
	weft_channel_unref(ch);
	ck_assert_int_eq(dropped.n, 0);

	/* a new one does not inherit it */
	ch = weft_channel_new(sizeof(int), 2);
	weft_channel_send(ch, &value);
	weft_channel_unref(ch);
	ck_assert_int_eq(dropped.n, 0);

	ch = with_drop(2);
	weft_channel_send(ch, &value);
	weft_channel_set_drop(ch, NULL, NULL);
	weft_channel_unref(ch);
	ck_assert_int_eq(dropped.n, 0);
}
END_TEST

static struct {
	weft_channel *ch;
	int rc;
} waits;

static int send_nine(void *arg)
{
	int value = 9;

	(void)arg;
	waits.rc = weft_channel_send(waits.ch, &value);
	return 0;
}

static int select_nine(void *arg)
{
	int value = 9;

	(void)arg;
	waits.rc = weft_select(
		&(struct weft_case){ { waits.ch }, WEFT_SEND, &value, 0 }, 1,
		0);
	return 0;
}

/* One that waits has the last reference: the elements go when it is killed. */
START_TEST(drop_when_the_last_waiter_is_killed)
{
	int value = 3;
	weft_tasklet t;

	waits.ch = with_drop(1);
	weft_channel_send(waits.ch, &value);
	t = weft_spawn(_i ? select_nine : send_nine, NULL);
	weft_schedule();
	weft_channel_unref(waits.ch);
	ck_assert_int_eq(dropped.n, 0);
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(waits.rc, -ECANCELED);
	ck_assert_int_eq(dropped.n, 1);
	ck_assert_int_eq(dropped.values[0], 3);
}
END_TEST

/* A sender was waiting; the one that received gives the last reference back. What
 * the sender had moved into the buffer is dropped, once. */
START_TEST(drop_after_the_last_waiter_was_served)
{
	int value = 3;

	waits.ch = with_drop(1);
	weft_channel_send(waits.ch, &value);
	weft_spawn(_i ? select_nine : send_nine, NULL);
	weft_schedule();
	ck_assert_int_eq(weft_channel_receive(waits.ch, &value), 0);
	ck_assert_int_eq(value, 3);
	weft_channel_unref(waits.ch);
	ck_assert_int_eq(dropped.n, 1);
	ck_assert_int_eq(dropped.values[0], 9);
	weft_run();
	ck_assert_int_eq(waits.rc, 0);
	ck_assert_int_eq(dropped.n, 1);
}
END_TEST

static int select_two(void *arg)
{
	int value = 9, other;
	struct weft_case cases[] = { { { waits.ch }, WEFT_SEND, &value, 0 },
				     { { arg }, WEFT_RECEIVE, &other, 0 } };

	waits.rc = weft_select(cases, 2, 0);
	return 0;
}

/* A selection had the last reference, and is served elsewhere. */
START_TEST(drop_when_a_selection_is_served_elsewhere)
{
	weft_channel *other = weft_channel_new(sizeof(int), 0);
	int value = 3;

	waits.ch = with_drop(1);
	weft_channel_send(waits.ch, &value);
	weft_spawn(select_two, other);
	weft_schedule();
	weft_channel_unref(waits.ch);
	ck_assert_int_eq(weft_channel_send(other, &value), 0);
	ck_assert_int_eq(waits.rc, 1);
	ck_assert_int_eq(dropped.n, 1);
	weft_channel_unref(other);
}
END_TEST

static int leave_a_sender(void *arg)
{
	weft_spawn(send_nine, NULL);
	weft_schedule();
	weft_channel_unref(waits.ch);
	weft_stop(0);
	return arg != NULL;
}

/* ... or its thread ends: the elements are dropped there. */
START_TEST(drop_at_the_end_of_a_thread)
{
	int value = 3;
	uint64_t id;

	waits.ch = with_drop(1);
	weft_channel_send(waits.ch, &value);
	ck_assert_int_eq(weft_thread_start(&id, leave_a_sender, NULL), 0);
	ck_assert_int_eq(weft_thread_join(id), 0);
	ck_assert_int_eq(waits.rc, -ECANCELED);
	ck_assert_int_eq(dropped.n, 1);
	ck_assert_uint_eq(dropped.thread, id);
}
END_TEST

/* It is the one who waited that drops them, when it goes on, and not who kills it or
 * a look at a clock. */
START_TEST(drop_by_the_one_who_waited)
{
	int value = 3;
	weft_tasklet t;

	waits.ch = with_drop(1);
	weft_channel_send(waits.ch, &value);
	t = weft_spawn(_i ? select_nine : send_nine, NULL);
	weft_schedule();
	weft_channel_unref(waits.ch);
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	ck_assert_int_eq(dropped.n, 0);
	weft_schedule();
	ck_assert_int_eq(waits.rc, -ECANCELED);
	ck_assert_int_eq(dropped.n, 1);
	ck_assert(weft_tasklet_equal(dropped.by, t));
}
END_TEST

/* --- channels that carry channels: each lets those go that are left in it --- */

static struct {
	int n;
	int depth, deepest;
} nested;

static void unref_dropped(void *element, void *ctx)
{
	(void)ctx;
	nested.n++;
	if (++nested.depth > nested.deepest)
		nested.deepest = nested.depth;
	weft_channel_unref(*(weft_channel **)element);
	nested.depth--;
}

static weft_channel *chain_of(int n)
{
	weft_channel *outer = NULL;

	for (int i = 0; i < n; i++) {
		weft_channel *ch = weft_channel_new(sizeof(ch), 1);

		weft_channel_set_drop(ch, unref_dropped, NULL);
		if (outer)
			weft_channel_send(ch, &outer);
		outer = ch;
	}
	return outer;
}

static int let_chain_go(void *arg)
{
	weft_channel_unref(chain_of(*(int *)arg));
	return 0;
}

static void *let_chain_go_elsewhere(void *arg)
{
	weft_channel_unref(arg);
	return NULL;
}

/* However long the chain, on a stack as small as a tasklet's. */
START_TEST(drop_of_channels_in_channels)
{
	int n = 100000;

	weft_spawn(let_chain_go, &n);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(nested.n, n - 1);
	ck_assert_int_eq(nested.deepest, 1);
}
END_TEST

START_TEST(drop_on_a_thread_that_is_not_attached)
{
	join_thread(start_thread(let_chain_go_elsewhere, chain_of(1000)));
	ck_assert_int_eq(nested.n, 999);
	ck_assert_int_eq(nested.deepest, 1);
}
END_TEST

/* Buffers and places for errors are given back, full or not; Valgrind and the
 * sanitizer look, too. */
START_TEST(memory_is_given_back)
{
	static unsigned char element[65536];
	struct rusage before, after;

	for (int i = 0; i < 2000; i++) {
		weft_channel *ch = weft_channel_new(sizeof element, 16);

		ck_assert_ptr_nonnull(ch);
		for (int k = 0; k < i % 16; k++)
			weft_channel_send(ch, element);
		weft_channel_send_error(ch, EIO);
		weft_channel_unref(ch);
		if (i == 100)
			getrusage(RUSAGE_SELF, &before);
	}
	getrusage(RUSAGE_SELF, &after);
	if (has_memory_to_itself())
		ck_assert_int_lt(after.ru_maxrss - before.ru_maxrss, 16384);
}
END_TEST

/* --- across threads --- */

enum { ACROSS = 6000 };

struct across {
	weft_channel *ch;
	size_t size;
	unsigned n, n_right;
};

static void *send_across(void *arg)
{
	struct across *a = arg;
	unsigned char *bytes = malloc(8 * a->size + 1);

	for (unsigned i = 0; i < a->n;) {
		unsigned n = 1 + i % 8;

		if (n > a->n - i)
			n = a->n - i;
		for (unsigned k = 0; k < n; k++)
			fill(bytes + k * a->size, a->size, i + k);
		if (n == 1 ? weft_channel_send(a->ch, bytes) != 0
			   : weft_channel_send_many(a->ch, bytes, n) !=
				     (ssize_t)n)
			break;
		i += n;
	}
	weft_channel_close(a->ch);
	free(bytes);
	return NULL;
}

static void *receive_across(void *arg)
{
	struct across *a = arg;
	unsigned char *bytes = malloc(5 * a->size + 1);
	ssize_t n;

	while ((n = a->n_right % 3
			    ? weft_channel_receive_many(a->ch, bytes, 5)
			    : (ssize_t)weft_channel_receive(a->ch, bytes) + 1) >
	       0)
		for (ssize_t k = 0; k < n; k++)
			a->n_right += is_filled(bytes + (size_t)k * a->size,
						a->size, a->n_right);
	free(bytes);
	return NULL;
}

/* Between two threads, singly and in runs: whole and in order. The receiver ends
 * when the channel is closed and nothing is left. */
START_TEST(between_threads)
{
	static const size_t across_sizes[] = { 0, 4, 8, 40, 3000 };
	size_t n_sizes = N_ELEMENTS(across_sizes);
	struct across a = { .size = across_sizes[(size_t)_i % n_sizes],
			    .n = is_under_valgrind() ? ACROSS / 6 : ACROSS };
	pthread_t sender, receiver;

	a.ch = weft_channel_new(a.size, capacities[(size_t)_i / n_sizes]);
	sender = start_thread(send_across, &a);
	receiver = start_thread(receive_across, &a);
	join_thread(sender);
	join_thread(receiver);
	ck_assert_uint_eq(a.n_right, a.n);
	ck_assert(weft_channel_closed(a.ch));
	ck_assert_int_eq(weft_channel_balance(a.ch), 0);
	weft_channel_unref(a.ch);
}
END_TEST

static weft_channel *filled;
static ssize_t n_sent;
static int rc_after;

static int send_three(void *arg)
{
	static const char elements[3];

	(void)arg;
	n_sent = weft_channel_send_many(filled, elements, 3);
	rc_after = weft_schedule();
	return 0;
}

/* A call that has sent some returns their number, and the error that was raised on it
 * is the next call's. */
START_TEST(raise_after_some_were_sent)
{
	weft_tasklet t;
	char element;

	filled = weft_channel_new(1, (size_t)_i);
	t = weft_spawn(send_three, NULL);
	weft_pump();
	if (!_i) /* a rendezvous takes one */
		ck_assert_int_eq(weft_channel_receive(filled, &element), 0);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	weft_pump();
	ck_assert_int_eq(n_sent, _i ? _i : 1);
	ck_assert_int_eq(rc_after, -EXDEV);
	weft_channel_unref(filled);
}
END_TEST

/* If it has sent none, it returns the error. */
START_TEST(raise_before_any_was_sent)
{
	weft_tasklet t;

	filled = weft_channel_new(1, 0);
	t = weft_spawn(send_three, NULL);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_raise(t, EXDEV, WEFT_PENDING), 0);
	weft_pump();
	ck_assert_int_eq(n_sent, -EXDEV);
	ck_assert_int_eq(rc_after, 0);
	weft_channel_unref(filled);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("test_buffer");

	add_loop(suite, "elements", elements_go_through,
		 N_ELEMENTS(sizes) * N_ELEMENTS(capacities));
	add_loop(suite, "several tasklets", more_than_there_is_room_for, 20);
	add_case(suite, "looking", balance_and_waiters);
	add_case(suite, "limits", limits, very_many_signals,
		 no_memory_for_errors);
	add_loop(suite, "errors", errors_between_elements, 8);
	add_loop(suite, "raised", raise_after_some_were_sent, 3);
	add_case(suite, "raised before", raise_before_any_was_sent);
	add_case(suite, "drop", drop_in_order, drop_only_what_is_left,
		 drop_when_a_selection_is_served_elsewhere,
		 drop_at_the_end_of_a_thread, drop_of_channels_in_channels,
		 drop_on_a_thread_that_is_not_attached, memory_is_given_back);
	add_loop(suite, "drop, killed", drop_when_the_last_waiter_is_killed, 2);
	add_loop(suite, "drop, who does it", drop_by_the_one_who_waited, 2);
	add_loop(suite, "drop, served", drop_after_the_last_waiter_was_served,
		 2);
	add_loop(suite, "between threads", between_threads,
		 5 * N_ELEMENTS(capacities));
	return run_suite(suite);
}
