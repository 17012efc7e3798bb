/* SPDX-License-Identifier: MIT */
/*
 * Unbounded channels: what they carry, across the ends of their chunks; the memory
 * they take and give back; and what happens when there is none. Who runs when is in
 * tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "allocation.h"
#include "support.h"

static const size_t sizes[] = { 0, 1, 3, 4, 8, 12, 100, 1000, 1025, 65536 };

static weft_channel *unbounded(size_t element_size)
{
	weft_channel *ch = weft_channel_new(element_size, WEFT_UNBOUNDED);

	ck_assert_ptr_nonnull(ch);
	return ch;
}

/* --- what goes in comes out --- */

enum { MOST = 600 };

/* Elements with a number in all of their bytes, those of no size without. */
struct flow {
	weft_channel *ch;
	size_t size;
	unsigned n_in, n_out;
	unsigned char *bytes; /* room for MOST */
};

static void put(struct flow *f, unsigned n, bool at_once)
{
	for (unsigned i = 0; i < n; i++)
		memset(f->bytes + i * f->size, (int)(f->n_in + i), f->size);
	if (at_once)
		ck_assert_int_eq(weft_channel_send_many(f->ch, f->bytes, n), n);
	for (unsigned i = 0; i < n && !at_once; i++)
		ck_assert_int_eq(
			weft_channel_send(f->ch, f->bytes + i * f->size), 0);
	f->n_in += n;
}

static void get(struct flow *f, unsigned n, bool at_once)
{
	size_t n_wrong = 0;

	memset(f->bytes, 0xee, n * f->size);
	if (at_once)
		ck_assert_int_eq(weft_channel_receive_many(f->ch, f->bytes, n),
				 n);
	for (unsigned i = 0; i < n && !at_once; i++)
		ck_assert_int_eq(
			weft_channel_receive(f->ch, f->bytes + i * f->size), 0);
	for (size_t i = 0; i < n * f->size; i++)
		n_wrong += f->bytes[i] != ((f->n_out + i / f->size) & 0xff);
	ck_assert_uint_eq(n_wrong, 0);
	f->n_out += n;
}

/* Of any size, one by one and several at once, with any backlog: whole and in
 * order. */
START_TEST(elements_go_through)
{
	struct flow f = { .size = sizes[_i], .ch = unbounded(sizes[_i]) };
	unsigned most = f.size > 4096 ? 20 : MOST;

	f.bytes = malloc(most * f.size + 1);
	for (unsigned round = 0; round < 40; round++) {
		unsigned n = 1 + round * 37 % most;

		put(&f, n, round & 1);
		ck_assert_int_eq(weft_channel_balance(f.ch),
				 (int)(f.n_in - f.n_out));
		get(&f, 1 + n / 2, round & 2);
	}
	while (f.n_out < f.n_in)
		get(&f, 1, false);
	ck_assert_int_eq(weft_channel_try_receive(f.ch, f.bytes), -EAGAIN);
	weft_channel_unref(f.ch);
	free(f.bytes);
}
END_TEST

/* Errors and elements in any order, over many chunks. */
START_TEST(errors_between_elements)
{
	weft_channel *ch = unbounded(sizeof(int));
	int n_in = 0, n_out = 0;

	for (int round = 0; round < 20; round++) {
		for (int i = 0; i < 1 + round * 50; i++, n_in++)
			ck_assert_int_eq(
				n_in % 3 == 1
					? weft_channel_send_error(ch, 1 + n_in)
					: weft_channel_send(ch, &n_in),
				0);
		while (n_out < n_in - round % 2) {
			int value = -7;
			int rc = weft_channel_receive(ch, &value);

			ck_assert_int_eq(rc, n_out % 3 == 1 ? -1 - n_out : 0);
			ck_assert_int_eq(value, n_out % 3 == 1 ? -7 : n_out);
			n_out++;
		}
	}
	weft_channel_unref(ch);
}
END_TEST

/* Several at once stop before an error, which comes next. */
START_TEST(errors_end_several_at_once)
{
	weft_channel *ch = unbounded(sizeof(int));
	int values[1000];

	for (int i = 0; i < 700; i++)
		weft_channel_send(ch, &i);
	weft_channel_send_error(ch, EIO);
	weft_channel_send(ch, &(int){ 1000 });
	ck_assert_int_eq(weft_channel_receive_many(ch, values, 1000), 700);
	ck_assert_int_eq(values[699], 699);
	ck_assert_int_eq(weft_channel_receive_many(ch, values, 1000), -EIO);
	ck_assert_int_eq(weft_channel_receive_many(ch, values, 1000), 1);
	ck_assert_int_eq(values[0], 1000);
	weft_channel_unref(ch);
}
END_TEST

static int receive_into(void *arg)
{
	void **pair = arg;

	return weft_channel_receive(pair[0], pair[1]);
}

/* Those who wait are served past the buffer; the balance has one or the other. */
START_TEST(receivers_that_wait)
{
	weft_channel *ch = unbounded(sizeof(int));
	int got[3] = { 0 };
	void *pairs[3][2];

	for (int i = 0; i < 3; i++) {
		pairs[i][0] = ch;
		pairs[i][1] = &got[i];
		weft_spawn(receive_into, pairs[i]);
	}
	weft_schedule();
	ck_assert_int_eq(weft_channel_balance(ch), -3);
	ck_assert_uint_eq(weft_channel_waiters(ch, NULL, 0), 3);
	for (int i = 1; i <= 5; i++)
		ck_assert_int_eq(weft_channel_send(ch, &i), 0);
	ck_assert_int_eq(weft_channel_balance(ch), 2);
	ck_assert_uint_eq(weft_channel_waiters(ch, NULL, 0), 0);
	weft_run();
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(got[i], i + 1);
	weft_channel_unref(ch);
}
END_TEST

/* Closed, it gives what is left, over chunks; opened, it goes on. */
START_TEST(close_and_open)
{
	weft_channel *ch = unbounded(sizeof(int));
	int value;

	for (int i = 0; i < 500; i++)
		weft_channel_send(ch, &i);
	weft_channel_close(ch);
	ck_assert_int_eq(weft_channel_send(ch, &value), -EPIPE);
	ck_assert_int_eq(weft_channel_send_error(ch, EIO), -EPIPE);
	for (int i = 0; i < 400; i++) {
		ck_assert(!weft_channel_closed(ch));
		ck_assert_int_eq(weft_channel_receive(ch, &value), 0);
		ck_assert_int_eq(value, i);
	}
	weft_channel_open(ch);
	ck_assert_int_eq(weft_channel_send(ch, &(int){ 500 }), 0);
	weft_channel_close(ch);
	for (int i = 400; i <= 500; i++) {
		ck_assert_int_eq(weft_channel_receive(ch, &value), 0);
		ck_assert_int_eq(value, i);
	}
	ck_assert(weft_channel_closed(ch));
	ck_assert_int_eq(weft_channel_receive(ch, &value), -EPIPE);
	weft_channel_unref(ch);
}
END_TEST

/* A case that sends is always ready. */
START_TEST(select_sends)
{
	weft_channel *ch = unbounded(sizeof(int));
	weft_channel *other = weft_channel_new(sizeof(int), 0);
	int value = 5, in;
	struct weft_case cases[] = { { { other }, WEFT_RECEIVE, &in, 9 },
				     { { ch }, WEFT_SEND, &value, 9 } };

	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(
			weft_select(cases, 2, i % 2 ? WEFT_NONBLOCK : 0), 1);
		ck_assert_int_eq(cases[1].result, 0);
	}
	ck_assert_int_eq(weft_channel_balance(ch), 1000);
	cases[1] = (struct weft_case){ { ch }, WEFT_RECEIVE, &in, 9 };
	for (int i = 0; i < 1000; i++)
		ck_assert_int_eq(weft_select(cases, 2, 0), 1);
	ck_assert_int_eq(weft_select(cases, 2, WEFT_NONBLOCK), -EAGAIN);
	weft_channel_close(ch);
	cases[1] = (struct weft_case){ { ch }, WEFT_SEND, &value, 9 };
	ck_assert_int_eq(weft_select(cases, 2, 0), 1);
	ck_assert_int_eq(cases[1].result, -EPIPE);
	weft_channel_unref(ch);
	weft_channel_unref(other);
}
END_TEST

/* --- memory --- */

/* What a backlog takes goes back as it is drained, and what is left in the channel
 * with that. Assertions allocate, so they come last. */
START_TEST(memory_goes_back)
{
	enum { BACKLOG = 100000 };
	long before, empty, full, half, drained, most, after;
	weft_channel *ch;
	uint64_t value;

	weft_schedule();                  /* what the thread needs is there, */
	weft_channel_unref(unbounded(8)); /* and the pool of channels */
	before = n_allocations_alive();
	ch = weft_channel_new(8, WEFT_UNBOUNDED);
	empty = n_allocations_alive();
	for (value = 0; value < BACKLOG; value++)
		weft_channel_send(ch, &value);
	full = n_allocations_alive();
	for (int i = 0; i < BACKLOG / 2; i++)
		weft_channel_receive(ch, &value);
	half = n_allocations_alive();
	for (int i = 0; i < BACKLOG / 2; i++)
		weft_channel_receive(ch, &value);
	most = drained = n_allocations_alive();

	/* A short backlog takes as little, however much goes through. */
	for (int i = 0; i < BACKLOG; i++) {
		long n;

		weft_channel_send(ch, &value);
		weft_channel_send(ch, &value);
		weft_channel_receive(ch, &value);
		weft_channel_receive(ch, &value);
		n = n_allocations_alive();
		most = n > most ? n : most;
	}
	for (int i = 0; i < 500; i++) {
		weft_channel_send(ch, &value);
		weft_channel_send_error(ch, EIO);
	}
	weft_channel_unref(ch);
	after = n_allocations_alive();

	ck_assert_int_eq(empty, before + 1);
	ck_assert_int_gt(full, empty + 500);
	ck_assert_int_le(half, empty + (full - empty) / 2 + 1);
	ck_assert_int_eq(drained, empty);
	ck_assert_int_le(most, empty + 1);
	ck_assert_int_eq(after, before);
}
END_TEST

/* Fills what memory there is, and none can be had. */
static int fill_up(weft_channel *ch)
{
	int n = 0;

	while (weft_channel_send(ch, &n) == 0)
		n++;
	return n;
}

/* Without memory nothing is sent, whichever call it is; what is there stays. Those
 * who wait need none. */
START_TEST(no_memory)
{
	weft_channel *ch = unbounded(sizeof(int));
	weft_channel *none;
	int values[1000] = { 0 };
	struct weft_case c = { { ch }, WEFT_SEND, values, 9 };
	int n, rc[5], served, got = 0, balance;
	ssize_t many;
	void *pair[2] = { ch, &got };

	weft_schedule();
	fail_allocations_after(0);
	none = weft_channel_new(sizeof(int), WEFT_UNBOUNDED);
	rc[4] = weft_channel_send_error(ch, EIO); /* its place is not there */
	n = fill_up(ch);
	rc[0] = weft_channel_send(ch, values);
	rc[1] = weft_channel_try_send(ch, values);
	rc[2] = weft_channel_send_error(ch, EIO);
	rc[3] = weft_select(&c, 1, 0);
	balance = weft_channel_balance(ch);
	for (int i = 0; i < n; i++)
		weft_channel_receive(ch, &values[i]);
	fail_allocations_after(-1);

	ck_assert_ptr_null(none);
	ck_assert_int_gt(n, 0);
	ck_assert_int_eq(balance, n);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(rc[i], -ENOMEM);
	ck_assert_int_eq(rc[4], -ENOMEM);
	ck_assert_int_eq(rc[3], 0);
	ck_assert_int_eq(c.result, -ENOMEM);
	for (int i = 0; i < n; i++)
		ck_assert_int_eq(values[i], i);

	weft_spawn(receive_into, pair);
	weft_schedule();
	fail_allocations_after(0);
	served = weft_channel_send(ch, &(int){ 77 });
	fail_allocations_after(-1);
	ck_assert_int_eq(served, 0);
	weft_run();
	ck_assert_int_eq(got, 77);

	/* of several, those go that there is a place for */
	fail_allocations_after(2);
	many = weft_channel_send_many(ch, values, 1000);
	rc[0] = (int)weft_channel_send_many(ch, values, 1000);
	fail_allocations_after(-1);
	ck_assert_int_ge(many, 2 * n);
	ck_assert_int_eq(many % n, 0);
	ck_assert_int_eq(rc[0], -ENOMEM);
	ck_assert_int_eq(weft_channel_balance(ch), (int)many);
	ck_assert_int_eq(weft_channel_send(ch, values), 0);
	ck_assert_int_eq(weft_channel_receive_many(ch, values, 1000), many + 1);
	weft_channel_unref(ch);
}
END_TEST

/* There can be WEFT_UNBOUNDED_MAX, and the numbers may go round any number of
 * times. */
START_TEST(most_elements)
{
	weft_channel *ch;

	if (lacks_memory_to_itself())
		return;
	ch = unbounded(0);
	for (int round = 0; round < 3; round++) {
		ck_assert_int_eq(
			weft_channel_send_many(ch, NULL, WEFT_UNBOUNDED_MAX),
			WEFT_UNBOUNDED_MAX);
		ck_assert_int_eq(weft_channel_balance(ch), WEFT_UNBOUNDED_MAX);
		ck_assert_int_eq(weft_channel_send(ch, NULL), -ENOMEM);
		ck_assert_int_eq(weft_channel_try_send(ch, NULL), -ENOMEM);
		ck_assert_int_eq(weft_channel_receive(ch, NULL), 0);
		ck_assert_int_eq(weft_channel_send(ch, NULL), 0);
		ck_assert_int_eq(
			weft_channel_receive_many(ch, NULL, WEFT_UNBOUNDED_MAX),
			WEFT_UNBOUNDED_MAX);
		ck_assert_int_eq(weft_channel_balance(ch), 0);
	}
	weft_channel_unref(ch);
}
END_TEST

static int n_dropped;

static void expect_next(void *element, void *ctx)
{
	ck_assert_ptr_eq(ctx, &n_dropped);
	ck_assert_int_eq(*(int *)element, 300 + n_dropped);
	n_dropped++;
}

/* What nobody receives is dropped in order, errors are not. */
START_TEST(drop_in_order)
{
	weft_channel *ch = unbounded(sizeof(int));
	int value;

	weft_channel_set_drop(ch, expect_next, &n_dropped);
	for (int i = 0; i < 1500; i++) {
		weft_channel_send(ch, &i);
		if (i % 50 == 0)
			weft_channel_send_error(ch, EIO);
	}
	for (int i = 0; i < 300 + 6; i++)
		weft_channel_receive(ch, &value);
	weft_channel_unref(ch);
	ck_assert_int_eq(n_dropped, 1200);
}
END_TEST

/* --- others --- */

static struct {
	int n, blocked;
} told;

static void note(weft_channel *ch, weft_tasklet t, bool sending,
		 bool will_block, void *ctx)
{
	(void)ch, (void)t, (void)ctx;
	told.n += sending;
	told.blocked += sending && will_block;
}

START_TEST(callbacks_are_told_that_it_will_not_block)
{
	weft_channel *ch = unbounded(sizeof(int));

	weft_set_channel_callback(note, NULL);
	for (int i = 0; i < 1000; i++)
		weft_channel_send(ch, &i);
	weft_set_channel_callback(NULL, NULL);
	ck_assert_int_eq(told.n, 1000);
	ck_assert_int_eq(told.blocked, 0);
	weft_channel_unref(ch);
}
END_TEST

enum { THROUGH = 200000 };

static void *send_through(void *ch)
{
	static int values[100];

	for (int i = 0; i < THROUGH;) {
		if (i % 1000 < 900) {
			if (weft_channel_send(ch, &i))
				return ch;
			i++;
			continue;
		}
		for (int k = 0; k < 100; k++)
			values[k] = i + k;
		if (weft_channel_send_many(ch, values, 100) != 100)
			return ch;
		i += 100;
	}
	return NULL;
}

/* The sender runs ahead of a receiver on another thread as it likes. */
START_TEST(between_threads)
{
	weft_channel *ch = unbounded(sizeof(int));
	pthread_t thread = start_thread(send_through, ch);

	for (int i = 0; i < THROUGH; i++) {
		int value = -1;

		ck_assert_int_eq(weft_channel_receive(ch, &value), 0);
		ck_assert_int_eq(value, i);
	}
	join_thread(thread);
	weft_channel_unref(ch);
}
END_TEST

static _Atomic(bool) is_enough;

static void *send_on(void *ch)
{
	for (int i = 0; !is_enough;) {
		if (weft_channel_balance(ch) > 2000)
			usleep(10);
		else if (weft_channel_send(ch, &i))
			return ch;
		else
			i++;
	}
	return NULL;
}

/* A child finds what was sent, whole and in order, whatever another thread is at. */
START_TEST(fork_finds_it_whole)
{
	weft_channel *ch = unbounded(sizeof(int));
	pthread_t thread = start_thread(send_on, ch);
	/* Valgrind takes what a child has of the parent for leaks. */
	bool forks =
		can_fork_with_threads() && !UNDER_TSAN && !is_under_valgrind();

	if (!forks)
		is_enough = true;
	for (int i = 0; i < 20 && forks; i++) {
		int n, value, first, status;
		pid_t pid = fork();

		if (pid) {
			ck_assert_int_eq(waitpid(pid, &status, 0), pid);
			ck_assert_int_eq(status, 0);
			for (int k = 0; k < 700; k++)
				weft_channel_receive(ch, &value);
			continue;
		}
		n = weft_channel_balance(ch);
		EXPECT(n >= 0);
		if (n > 0)
			EXPECT(weft_channel_receive(ch, &first) == 0);
		for (int k = 1; k < n; k++) {
			EXPECT(weft_channel_receive(ch, &value) == 0);
			EXPECT(value == first + k);
		}
		EXPECT(weft_channel_try_receive(ch, &value) == -EAGAIN);
		for (int k = 0; k < 1000; k++)
			EXPECT(weft_channel_send(ch, &k) == 0);
		for (int k = 0; k < 1000; k++) {
			EXPECT(weft_channel_receive(ch, &value) == 0);
			EXPECT(value == k);
		}
		_exit(0);
	}
	is_enough = true;
	join_thread(thread);
	weft_channel_unref(ch);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unbounded");

	add_loop(s, "elements", elements_go_through, N_ELEMENTS(sizes));
	add_case(s, "errors", errors_between_elements,
		 errors_end_several_at_once);
	add_case(s, "waiting, closing, choosing", receivers_that_wait,
		 close_and_open, select_sends);
	add_case(s, "memory", memory_goes_back, no_memory, most_elements,
		 drop_in_order);
	add_case(s, "callbacks", callbacks_are_told_that_it_will_not_block);
	add_case(s, "between threads", between_threads);
	add_case(s, "fork", fork_finds_it_whole);
	return run_suite(s);
}
