/* SPDX-License-Identifier: MIT */
/*
 * Sleeping, being woken, and looking for news before a sleep.
 *
 * Spinning: if another thread is awake to hand something in, and has another
 * CPU to do it on, the owner first looks at the inbox and the ring for a while.
 * It learns how long: each spin that paid doubles the next, up to WEFT_SPIN,
 * and each that did not halves it, down to nothing. After every few sleeps that
 * were so short that a spin would have done, the full length is tried again. So
 * two threads that were driven apart come together again, and a thread with a
 * slow peer loses little. The full length must exceed the time of a wake
 * through the kernel, or two threads that wake each other would never be back
 * in time for a spin to pay.
 *
 * How long a wake takes, and what a spin costs the thread on the other CPU,
 * differs from machine to machine: the numbers below are of one. WEFT_SPIN sets
 * the one that matters most.
 */
#include "core/world.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

#include "base/cpu.h"
#include "base/environment.h"
#include "base/valgrind.h"
#include "base/world.h"
#include "core/embed.h"
#include "core/thread.h"

enum {
	SPIN_DEFAULT_NS = 50 * 1000, /* a park and a wake can cost that */
	SPIN_LEAST_NS = 1000,
	SPIN_LOOKS = 16,          /* at the inbox, between looks at the clock */
	SPIN_WAKE_NS = 60 * 1000, /* of a sleep: the way back from it */
	SPIN_RETRY_SLEEPS = 8,    /* short sleeps before another full try */
	VALGRIND_LOOK_NS = 1000 * 1000
};

static const int64_t TRIM_NS = WEFT_SECOND;

/* --- the doorbell --- */

static uint32_t *futex_word(struct inbox *in)
{
	/* the low half, on the little-endian machines that weft runs on */
	return (uint32_t *)(void *)&in->word;
}

void weft__world_ring(struct scheduler *s, struct scheduler *target,
		      uintptr_t parked)
{
	count(s->wakes_sent);
	switch (parked) {
	case INBOX_PARKED_FUTEX:
		/* Only the owner ever waits here. */
		(void)syscall(SYS_futex, futex_word(&target->inbox),
			      FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		break;
	case INBOX_PARKED_MESSAGE:
		weft__engine_ring_message(&s->engine, &target->engine);
		break;
	case INBOX_PARKED_SQE:
		weft__engine_ring_sqe(&s->engine, &target->engine);
		break;
	case INBOX_WATCHED:
		weft__embedding_ring(target);
		break;
	default:
		weft__engine_ring_eventfd(&target->engine);
	}
}

/* --- sleep --- */

static void sleep_in_futex(struct scheduler *s, int64_t deadline)
{
	/* FUTEX_WAIT_BITSET takes an absolute time of CLOCK_MONOTONIC. */
	struct timespec ts = { .tv_sec = deadline / WEFT_SECOND,
			       .tv_nsec = deadline % WEFT_SECOND };
	long rc = syscall(SYS_futex, futex_word(&s->inbox),
			  FUTEX_WAIT_BITSET_PRIVATE, INBOX_PARKED_FUTEX,
			  deadline == WEFT_FOREVER ? NULL : &ts, NULL,
			  FUTEX_BITSET_MATCH_ANY);

	REQUIRE(rc == 0 || errno == EAGAIN || errno == EINTR ||
			errno == ETIMEDOUT,
		"FUTEX_WAIT failed in a way it should not");
}

/* Chooses the sentinel for the inbox's word, by the doorbell that others will
 * have to ring. */
static uintptr_t choose_sentinel(struct scheduler *s)
{
	bool may_use_futex = !weft__engine_is_serving(&s->engine) &&
			     !weft__engine_has_queued(&s->engine);

	if (may_use_futex && weft__wake_policy() == WAKE_FUTEX)
		return INBOX_PARKED_FUTEX;
	switch (weft__engine_prepare_sleep(&s->engine)) {
	case DOORBELL_MESSAGE:
		return INBOX_PARKED_MESSAGE;
	case DOORBELL_SQE:
		return INBOX_PARKED_SQE;
	case DOORBELL_EVENTFD:
		/* measured no better than the futex, which needs no ring */
		return may_use_futex && weft__wake_policy() == WAKE_AUTO
			       ? INBOX_PARKED_FUTEX
			       : INBOX_PARKED_EVENTFD;
	default:
		/* There is no ring, so nothing is in flight in it. */
		REQUIRE(may_use_futex, "a ring is in use that is not open");
		return INBOX_PARKED_FUTEX;
	}
}

/* Valgrind runs one thread at a time, and no thread while one is in
 * io_uring_enter (seen with 3.19). So on Valgrind a thread sleeps in its futex,
 * and looks at its ring every now and then. */
static int64_t submit_and_limit(struct scheduler *s, int64_t deadline)
{
	int64_t next_look = weft__now() + VALGRIND_LOOK_NS;

	weft__engine_poll(&s->engine);
	return weft__engine_is_serving(&s->engine) && next_look < deadline
		       ? next_look
		       : deadline;
}

uintptr_t weft__world_prepare_sleep(struct scheduler *s, int64_t *deadline)
{
	if (!weft__on_valgrind)
		return choose_sentinel(s);
	*deadline = submit_and_limit(s, *deadline);
	return INBOX_PARKED_FUTEX;
}

static void learn_from_sleep(struct scheduler *s, int64_t slept_ns)
{
	if (slept_ns > s->spin_max_ns + SPIN_WAKE_NS)
		s->n_short_sleeps = 0;
	else if (++s->n_short_sleeps % SPIN_RETRY_SLEEPS == 0)
		s->spin_ns = s->spin_max_ns;
}

void weft__world_sleep(struct scheduler *s, uintptr_t sentinel,
		       int64_t deadline)
{
	int64_t since = s->spin_max_ns ? weft__now() : 0;

	if (sentinel == INBOX_PARKED_FUTEX)
		sleep_in_futex(s, deadline);
	else
		weft__engine_sleep(&s->engine, deadline);
	if (s->spin_max_ns)
		learn_from_sleep(s, weft__now() - since);
}

uintptr_t weft__world_take(struct scheduler *s)
{
	return atomic_exchange_explicit(&s->inbox.word, INBOX_EMPTY,
					memory_order_acquire); /* [inbox.1] */
}

int64_t weft__world_trim_pause(void)
{
	return TRIM_NS;
}

/* --- spinning --- */

int64_t weft__world_spin_ns(const struct scheduler *s)
{
	return s->spin_ns && weft__others_are_awake() ? s->spin_ns : 0;
}

void weft__world_note_spin(struct scheduler *s, bool paid)
{
	s->spin_ns = paid ? s->spin_ns * 2 : s->spin_ns / 2;
	if (s->spin_ns > s->spin_max_ns)
		s->spin_ns = s->spin_max_ns;
	if (s->spin_ns < SPIN_LEAST_NS)
		s->spin_ns = 0;
}

bool weft__world_has_news(struct scheduler *s)
{
	return peek(s->inbox.word) != INBOX_EMPTY ||
	       weft__engine_has_news(&s->engine);
}

bool weft__world_look(struct scheduler *s, int64_t end,
		      _Atomic(uintptr_t) *word, uintptr_t unchanged)
{
	do {
		for (int i = 0; i < SPIN_LOOKS; i++) {
			/* relaxed: the thread that takes the news orders it */
			if (peek(*word) != unchanged || weft__world_has_news(s))
				return true;
			arch_pause();
		}
	} while (weft__now() < end);
	return false;
}

/* --- settings --- */

static int64_t spin_max_ns;

int64_t weft__spin_max_ns(void)
{
	return spin_max_ns;
}

void weft__world_read_environment(void)
{
	spin_max_ns = WEFT_MICROSECOND *
		      weft__environment_number("WEFT_SPIN", 0, 1000000,
					       SPIN_DEFAULT_NS / 1000,
					       "microseconds");
}
