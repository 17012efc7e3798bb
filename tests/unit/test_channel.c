/* SPDX-License-Identifier: MIT */
/*
 * What channels carry, between tasklets and between threads. Who runs when is
 * the business of tests/trace.
 */
#include <check.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#include "support.h"

static const size_t sizes[] = { 0, 1, 2, 3, 4, 7, 8, 16, 24, 100, 4096, 65536 };

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

/* One end of a channel: as many elements as are asked for, and the first error
 * or wrong element ends it. */
struct end {
	weft_channel *ch;
	size_t size;
	unsigned n;
	int rc;
	unsigned n_done;
};

/* Bytes behind the element, which nobody may touch. */
enum { MARGIN = 16, MARK = 0xa5 };

static int send_some(void *arg)
{
	struct end *e = arg;
	unsigned char *bytes = malloc(e->size + 1);

	e->rc = 0;
	for (unsigned i = 0; i < e->n && e->rc == 0; i++) {
		fill(bytes, e->size, i);
		e->rc = weft_channel_send(e->ch, e->size ? bytes : NULL);
		e->n_done += e->rc == 0;
		/* It was copied, so what becomes of it matters to nobody. */
		memset(bytes, 0, e->size);
	}
	free(bytes);
	return 0;
}

static int receive_some(void *arg)
{
	struct end *e = arg;
	unsigned char *bytes = malloc(e->size + MARGIN);

	e->rc = 0;
	for (unsigned i = 0; i < e->n && e->rc == 0; i++) {
		memset(bytes, MARK, e->size + MARGIN);
		e->rc = weft_channel_receive(e->ch, e->size ? bytes : NULL);
		if (e->rc == 0 && !is_filled(bytes, e->size, i))
			e->rc = -EBADMSG;
		for (size_t k = e->size; k < e->size + MARGIN && e->size; k++)
			if (bytes[k] != MARK)
				e->rc = -EOVERFLOW;
		e->n_done += e->rc == 0;
	}
	free(bytes);
	return 0;
}

static void expect_done(const struct end *e)
{
	ck_assert_int_eq(e->rc, 0);
	ck_assert_uint_eq(e->n_done, e->n);
}

/* --- on one thread --- */

/* Elements of any size arrive whole, with every setting of the channel, whoever
 * comes first. */
START_TEST(elements_arrive_whole)
{
	size_t size = sizes[(size_t)_i % N_ELEMENTS(sizes)];
	bool receiver_first = (size_t)_i >= N_ELEMENTS(sizes);

	for (int preference = -1; preference <= 1; preference++) {
		for (int all = 0; all <= 1; all++) {
			weft_channel *ch = weft_channel_new(size, 0);
			struct end in = { ch, size, 20, 1, 0 }, out = in;

			weft_channel_set_preference(ch, preference);
			weft_channel_set_schedule_all(ch, all);
			if (receiver_first)
				weft_spawn(receive_some, &out);
			weft_spawn(send_some, &in);
			if (!receiver_first)
				weft_spawn(receive_some, &out);
			ck_assert_int_eq(weft_run(), 0);
			expect_done(&in);
			expect_done(&out);
			ck_assert_int_eq(weft_channel_balance(ch), 0);
			weft_channel_unref(ch);
		}
	}
}
END_TEST

/* What could not be received leaves the buffer as it was. */
START_TEST(failed_receive_touches_nothing)
{
	weft_channel *ch = weft_channel_new(8, 0);
	char buf[8];

	memset(buf, MARK, sizeof buf);
	ck_assert_int_eq(weft_channel_try_receive(ch, buf), -EAGAIN);
	ck_assert_int_eq(weft_channel_try_send(ch, buf), -EAGAIN);
	for (size_t i = 0; i < sizeof buf; i++)
		ck_assert_int_eq((unsigned char)buf[i], MARK);
	weft_channel_unref(ch);
}
END_TEST

/* The settings are what they were set to; of the preference the sign counts. */
START_TEST(settings)
{
	weft_channel *ch = weft_channel_new(1, 0);

	ck_assert_int_eq(weft_channel_preference(ch), -1);
	ck_assert(!weft_channel_schedule_all(ch));
	weft_channel_set_preference(ch, 100);
	ck_assert_int_eq(weft_channel_preference(ch), 1);
	weft_channel_set_preference(ch, INT32_MIN);
	ck_assert_int_eq(weft_channel_preference(ch), -1);
	weft_channel_set_preference(ch, 0);
	ck_assert_int_eq(weft_channel_preference(ch), 0);
	weft_channel_set_schedule_all(ch, true);
	ck_assert(weft_channel_schedule_all(ch));
	ck_assert_int_eq(weft_channel_preference(ch), 0);
	weft_channel_set_schedule_all(ch, false);
	ck_assert(!weft_channel_schedule_all(ch));
	weft_channel_set_name(ch,
			      "a name that is longer than what is kept of it");
	weft_channel_set_name(ch, "");
	weft_channel_set_name(ch, NULL);
	weft_channel_unref(ch);
}
END_TEST

/* What cannot be counted or held is refused. */
START_TEST(channels_that_are_too_large_are_refused)
{
	static const size_t wrong[][2] = { { 0, SIZE_MAX - 1 },
					   { SIZE_MAX, 0 },
					   { (size_t)INT32_MAX + 1, 1 },
					   { 1, (size_t)INT32_MAX + 1 } };

	for (size_t i = 0; i < N_ELEMENTS(wrong); i++) {
		errno = 0;
		ck_assert_ptr_null(weft_channel_new(wrong[i][0], wrong[i][1]));
		ck_assert_int_eq(errno, EINVAL);
	}
	if (lacks_memory_to_itself())
		return;
	errno = 0;
	ck_assert_ptr_null(weft_channel_new(INT32_MAX, INT32_MAX));
	ck_assert_int_eq(errno, ENOMEM);
}
END_TEST

static int receive_signal(void *ch)
{
	return weft_channel_receive(ch, NULL);
}

static int send_signal(void *ch)
{
	return weft_channel_send(ch, NULL);
}

/* Waiters are listed oldest first, as many as fit, and counted all. */
START_TEST(waiters_are_listed)
{
	enum { N = 10 };
	weft_channel *ch = weft_channel_new(0, 0);
	weft_tasklet made[N], seen[N + 1];

	ck_assert_uint_eq(weft_channel_waiters(ch, seen, N), 0);
	for (int i = 0; i < N; i++)
		made[i] = weft_spawn(_i ? send_signal : receive_signal, ch);
	weft_schedule();
	ck_assert_int_eq(weft_channel_balance(ch), _i ? N : -N);
	memset(seen, 0, sizeof seen);
	ck_assert_uint_eq(weft_channel_waiters(ch, seen, 4), N);
	for (int i = 0; i < 4; i++)
		ck_assert(weft_tasklet_equal(seen[i], made[i]));
	ck_assert(weft_tasklet_is_null(seen[4]));
	ck_assert_uint_eq(weft_channel_waiters(ch, seen, N + 1), N);
	for (int i = 0; i < N; i++)
		ck_assert(weft_tasklet_equal(seen[i], made[i]));
	ck_assert(weft_tasklet_is_null(seen[N]));
	ck_assert_uint_eq(weft_channel_waiters(ch, NULL, 0), N);

	for (int i = 0; i < N; i++)
		ck_assert_int_eq(_i ? weft_channel_receive(ch, NULL)
				    : weft_channel_send(ch, NULL),
				 0);
	ck_assert_uint_eq(weft_channel_waiters(ch, seen, N), 0);
	ck_assert_int_eq(weft_run(), 0);
	weft_channel_unref(ch);
}
END_TEST

/* A blocked call keeps the channel: the reference can be given back by others
 * while it waits, and its peer has one of its own. */
START_TEST(blocked_call_keeps_the_channel)
{
	weft_channel *ch = weft_channel_new(8, 0);
	struct end in = { ch, 8, 1, 1, 0 }, out = in;

	weft_spawn(receive_some, &out);
	weft_schedule();
	ck_assert_ptr_eq(weft_channel_ref(ch), ch);
	weft_channel_unref(ch);
	ck_assert_int_eq(weft_channel_balance(ch), -1);
	weft_spawn(send_some, &in);
	weft_schedule();
	weft_channel_unref(ch);
	ck_assert_int_eq(weft_run(), 0);
	expect_done(&in);
	expect_done(&out);
	weft_channel_unref(NULL);
}
END_TEST

/* The last reference but those of the blocked ones goes: the send is under way
 * and the receiver, made runnable, is not there yet. */
static int unref_and_end(void *ch)
{
	weft_channel_unref(ch);
	return 0;
}

START_TEST(unref_while_the_peer_is_on_its_way)
{
	weft_channel *ch = weft_channel_new(65536, 0);
	struct end in = { ch, 65536, 1, 1, 0 }, out = in;

	weft_channel_set_preference(ch, 0);
	weft_spawn(_i ? send_some : receive_some, _i ? &in : &out);
	weft_spawn(_i ? receive_some : send_some, _i ? &out : &in);
	weft_spawn(unref_and_end, ch);
	ck_assert_int_eq(weft_run(), 0);
	expect_done(&in);
	expect_done(&out);
}
END_TEST

/* --- between threads --- */

static void *send_on_a_thread(void *end)
{
	send_some(end);
	return NULL;
}

static void *receive_on_a_thread(void *end)
{
	receive_some(end);
	return NULL;
}

/* Two plain threads meet in a channel; elements arrive whole and in order. */
START_TEST(elements_arrive_whole_across_threads)
{
	size_t size = sizes[_i];
	weft_channel *ch = weft_channel_new(size, 0);
	struct end in = { ch, size, 2000, 1, 0 }, out = in;
	pthread_t a = start_thread(send_on_a_thread, &in);
	pthread_t b = start_thread(receive_on_a_thread, &out);

	join_thread(a);
	join_thread(b);
	expect_done(&in);
	expect_done(&out);
	ck_assert_int_eq(weft_channel_balance(ch), 0);
	weft_channel_unref(ch);
}
END_TEST

/* Elements say who sent them and which they are. */
struct tagged {
	unsigned sender, number;
	uint64_t check;
};

enum { SIDES = 3, TASKLETS = 5, EACH = 400 };

struct crowd {
	weft_channel *ch;
	atomic_uint next_sender;
	atomic_uint n_received;
	atomic_uint n_wrong;
};

static int send_tagged(void *arg)
{
	struct crowd *c = arg;
	unsigned me = atomic_fetch_add(&c->next_sender, 1);

	for (unsigned i = 0; i < EACH; i++) {
		struct tagged t = { me, i, (uint64_t)me << 32 ^ i ^ 0x5a5a };

		if (weft_channel_send(c->ch, &t) != 0)
			c->n_wrong++;
		if (i % 16 == 0)
			weft_schedule();
	}
	return 0;
}

/* One receiver sees each sender's elements in rising order. */
static int receive_tagged(void *arg)
{
	struct crowd *c = arg;
	int64_t last[SIDES * TASKLETS];

	memset(last, -1, sizeof last);
	for (unsigned i = 0; i < EACH; i++) {
		struct tagged t;

		if (weft_channel_receive(c->ch, &t) != 0 ||
		    t.sender >= SIDES * TASKLETS || t.number >= EACH ||
		    t.check != ((uint64_t)t.sender << 32 ^ t.number ^ 0x5a5a) ||
		    (int64_t)t.number <= last[t.sender]) {
			c->n_wrong++;
			continue;
		}
		last[t.sender] = t.number;
		c->n_received++;
	}
	return 0;
}

static void *run_senders(void *arg)
{
	for (int i = 0; i < TASKLETS; i++)
		weft_spawn(send_tagged, arg);
	weft_run();
	return NULL;
}

static void *run_receivers(void *arg)
{
	for (int i = 0; i < TASKLETS; i++)
		weft_spawn(receive_tagged, arg);
	weft_run();
	return NULL;
}

static void *run_both(void *arg)
{
	for (int i = 0; i < TASKLETS; i++) {
		weft_spawn(send_tagged, arg);
		weft_spawn(receive_tagged, arg);
	}
	weft_run();
	return NULL;
}

/* Many tasklets of several threads on one channel: every element arrives, once,
 * and those of one sender never overtake each other. */
START_TEST(a_crowd_on_one_channel)
{
	struct crowd c = { .ch = weft_channel_new(sizeof(struct tagged), 0) };
	pthread_t threads[2 * SIDES];
	int n = 0;

	weft_channel_set_preference(c.ch, _i % 3 - 1);
	weft_channel_set_schedule_all(c.ch, _i / 3 % 2);
	for (int i = 0; i < SIDES; i++) {
		if (_i < 6) {
			threads[n++] = start_thread(run_senders, &c);
			threads[n++] = start_thread(run_receivers, &c);
		} else {
			threads[n++] = start_thread(run_both, &c);
		}
	}
	while (n > 0)
		join_thread(threads[--n]);
	ck_assert_uint_eq(c.n_wrong, 0);
	ck_assert_uint_eq(c.n_received, SIDES * TASKLETS * EACH);
	ck_assert_int_eq(weft_channel_balance(c.ch), 0);
	weft_channel_unref(c.ch);
}
END_TEST

/* What was written before the send is seen after the receive, without atomics:
 * ThreadSanitizer agrees. */
struct handed_over {
	weft_channel *there, *back;
	int plain[64];
};

static void *write_and_send(void *arg)
{
	struct handed_over *h = arg;

	for (int i = 0; i < 500; i++) {
		for (int k = 0; k < 64; k++)
			h->plain[k] += i;
		weft_channel_send(h->there, NULL);
		weft_channel_receive(h->back, NULL);
	}
	return NULL;
}

START_TEST(send_orders_memory)
{
	struct handed_over h = { .there = weft_channel_new(0, 0),
				 .back = weft_channel_new(0, 0) };
	pthread_t thread = start_thread(write_and_send, &h);
	int sum = 0;

	for (int i = 0; i < 500; i++) {
		weft_channel_receive(h.there, NULL);
		sum += i;
		for (int k = 0; k < 64; k++)
			ck_assert_int_eq(h.plain[k]++, sum + i);
		weft_channel_send(h.back, NULL);
	}
	join_thread(thread);
	weft_channel_unref(h.there);
	weft_channel_unref(h.back);
}
END_TEST

/* One that is blocked keeps the channel across threads too: the other side's
 * reference is the last, and given back right after the send. */
static void *receive_own_reference(void *arg)
{
	struct end *e = arg;

	receive_some(e);
	weft_channel_unref(e->ch);
	return NULL;
}

START_TEST(last_reference_goes_on_either_side)
{
	for (int round = 0; round < 300; round++) {
		weft_channel *ch = weft_channel_new(24, 0);
		struct end in = { ch, 24, 1, 1, 0 }, out = in;
		pthread_t thread;

		weft_channel_ref(ch);
		thread = start_thread(receive_own_reference, &out);
		send_some(&in);
		weft_channel_unref(ch);
		join_thread(thread);
		expect_done(&in);
		expect_done(&out);
	}
}
END_TEST

/* try_send and try_receive of two threads that never wait: what one sends the
 * other gets, and nothing else. */
static void *try_to_send(void *arg)
{
	struct end *e = arg;

	for (uint64_t i = 0; e->n_done < e->n; i++) {
		uint64_t number = e->n_done;

		if (weft_channel_try_send(e->ch, &number) == 0)
			e->n_done++;
		else if (i % 64 == 0)
			weft_sleep(WEFT_MICROSECOND);
	}
	return NULL;
}

START_TEST(try_send_against_receive)
{
	weft_channel *ch = weft_channel_new(8, 0);
	struct end in = { ch, 8, 1000, 1, 0 };
	pthread_t thread = start_thread(try_to_send, &in);

	for (uint64_t i = 0; i < 1000; i++) {
		uint64_t number = UINT64_MAX;

		ck_assert_int_eq(weft_channel_receive(ch, &number), 0);
		ck_assert_uint_eq(number, i);
	}
	join_thread(thread);
	weft_channel_unref(ch);
}
END_TEST

/* --- in a channel callback --- */

static struct {
	weft_channel *favours, *neutral, *full;
	int favours_rc, neutral_rc, full_rc, select_rc, select_busy_rc;
	int lock_rc, unlock_rc, trywait_rc;
	int n;
} tries;

static int receive_one(void *ch)
{
	int value;

	return weft_channel_receive(ch, &value);
}

static void try_them(weft_channel *ch, weft_tasklet t, bool sending,
		     bool will_block, void *ctx)
{
	static weft_mutex mutex = WEFT_MUTEX_INIT;
	static weft_semaphore semaphore = WEFT_SEMAPHORE_INIT(1);
	int value = 1;
	struct weft_case c = { .op = WEFT_SEND, .element = &value };

	(void)ch, (void)t, (void)sending, (void)will_block, (void)ctx;
	if (tries.n++)
		return;
	tries.favours_rc = weft_channel_try_send(tries.favours, &value);
	tries.neutral_rc = weft_channel_try_send(tries.neutral, &value);
	tries.full_rc = weft_channel_try_send(tries.full, &value);
	c.channel = tries.full;
	tries.select_busy_rc = weft_select(&c, 1, WEFT_NONBLOCK);
	c.op = WEFT_RECEIVE;
	tries.select_rc = weft_select(&c, 1, WEFT_NONBLOCK);
	tries.lock_rc = weft_mutex_trylock(&mutex);
	tries.unlock_rc = weft_mutex_unlock(&mutex);
	tries.trywait_rc = weft_semaphore_trywait(&semaphore);
}

/* Calls that never wait do in it what they do elsewhere, unless they would have to
 * switch. */
START_TEST(callbacks_may_try)
{
	int value = 0;
	weft_channel *told = weft_channel_new(sizeof(int), 1);

	tries.favours = weft_channel_new(sizeof(int), 0);
	tries.neutral = weft_channel_new(sizeof(int), 0);
	tries.full = weft_channel_new(sizeof(int), 1);
	weft_channel_set_preference(tries.neutral, 0);
	weft_channel_send(tries.full, &value);
	weft_spawn(receive_one, tries.favours);
	weft_spawn(receive_one, tries.neutral);
	weft_schedule();
	weft_set_channel_callback(try_them, NULL);
	ck_assert_int_eq(weft_channel_send(told, &value), 0);
	weft_set_channel_callback(NULL, NULL);
	ck_assert_int_eq(tries.n, 1);
	ck_assert_int_eq(tries.favours_rc, -EPERM);
	ck_assert_int_eq(tries.neutral_rc, 0);
	ck_assert_int_eq(tries.full_rc, -EAGAIN);
	ck_assert_int_eq(tries.select_busy_rc, -EAGAIN);
	ck_assert_int_eq(tries.select_rc, 0);
	ck_assert_int_eq(tries.lock_rc, 0);
	ck_assert_int_eq(tries.unlock_rc, 0);
	ck_assert_int_eq(tries.trywait_rc, 0);
	ck_assert_int_eq(weft_channel_balance(tries.favours), -1);
	ck_assert_int_eq(weft_channel_balance(tries.neutral), 0);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("channel");

	add_loop(s, "elements", elements_arrive_whole, 2 * N_ELEMENTS(sizes));
	add_case(s, "failures", failed_receive_touches_nothing,
		 channels_that_are_too_large_are_refused);
	add_case(s, "settings", settings);
	add_loop(s, "waiters", waiters_are_listed, 2);
	add_case(s, "references", blocked_call_keeps_the_channel,
		 last_reference_goes_on_either_side);
	add_loop(s, "unref", unref_while_the_peer_is_on_its_way, 2);
	add_loop(s, "elements across threads",
		 elements_arrive_whole_across_threads, N_ELEMENTS(sizes));
	add_loop(s, "crowd", a_crowd_on_one_channel, 12);
	add_case(s, "memory order", send_orders_memory);
	add_case(s, "try", try_send_against_receive);
	add_case(s, "callbacks", callbacks_may_try);
	return run_suite(s);
}
