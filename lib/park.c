/* SPDX-License-Identifier: MIT */
/*
 * Going to sleep and being woken.
 *
 * Everything another thread wants of a scheduler, it pushes onto the inbox: one
 * atomic word that holds the newest node, EMPTY, or a sentinel saying that the
 * owner sleeps and which doorbell to ring (inbox.h).
 *
 *	owner, weft__park()                 any other thread, weft__hand_in()
 *	P1  word: EMPTY -> PARKED (CAS)     H1  read word
 *	    failed: something came, up          parked: announce, ringers + 1
 *	P2  sleep: in the futex while the   H2  word: what was read -> node (CAS)
 *	    word is PARKED, or in the ring      failed: again from H1
 *	P3  word -> EMPTY (exchange),       H3  replaced PARKED: ring the doorbell
 *	    take what it held                   ringers - 1, if announced
 *
 * Who wakes the owner for nothing (take_back()) has EMPTY in place of the node.
 *
 * [park.1] P1, H2 and P3 are read-modify-writes of one word, so they have one
 * order, and no fence is needed. If H2 comes before P1, the word was not EMPTY
 * at P1, and the owner stays up. If it comes after P1 and before P3, then H2
 * replaced PARKED itself or came after one that did, and the first one rings. If
 * it comes after P3, the owner is up and looks at the inbox before it parks
 * again: P1 can succeed on an EMPTY word only.
 *
 * A doorbell that is rung between P1 and P2 is not lost. The futex compares the
 * word, which is PARKED no more, and does not sleep. A message or the eventfd
 * is a completion in the ring, and it waits for one to be there. A doorbell that
 * is rung after the owner woke for another reason is a completion that means
 * nothing, or a futex wake that finds nobody.
 *
 * Getting ready to sleep can hand operations in, and some complete at once: so
 * the queue is looked at last before P1. Nothing else has to be looked at
 * between P1 and P2. Completions are in the
 * ring, which is what is slept in whenever an operation is in flight; the
 * earliest timer is the deadline of the sleep; timers, stop and everything else
 * belong to the owner's thread, which is here.
 *
 * [inbox.1] H2 is a release and P3 an acquire: what was written before the
 * hand-in is seen by the owner. Each H2 reads the word that the one before
 * wrote, so the exchange is ordered after all of them.
 *
 * [park.2] The end of a thread: it exchanges the word for CLOSED, then waits
 * until ringers is 0, then closes its ring. A waker announces itself in ringers
 * (H1) before its CAS, so either its CAS fails on CLOSED, or it is counted while
 * it rings. Its fetch_add and the owner's exchange are both seq_cst, as are the
 * CAS and the read of ringers: a waker whose CAS replaced PARKED did so before
 * the exchange, and its fetch_add came before that.
 *
 * Spinning: where another thread is awake to hand something in, and another CPU
 * to do it on, the owner first looks at the inbox and the ring for a while. How
 * long is learned: each spin that paid doubles the next, up to WEFT_SPIN, and
 * each that did not halves it, down to nothing. Every few sleeps so short that a
 * spin would have done, it is tried at full length again: a pair of threads that
 * was driven apart comes together, and a thread with a slow peer loses little.
 * The full length must exceed the way of a wake through the kernel, or two
 * threads that wake each other would never be back in time for a spin to pay.
 *
 * Rejected: a state word beside the inbox (two words need seq_cst stores and
 * re-checks on both sides, and a second cache line); FUTEX_WAIT as a ring
 * operation (measured at 60 us against 42, and it must be armed again each time).
 */
#include "park.h"

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <weft/time.h>

#include "deadlock.h"
#include "environment.h"
#include "lock.h"
#include "scheduler.h"
#include "thread.h"
#include "valgrind.h"

enum {
	SPIN_DEFAULT_NS = 50 * 1000, /* what a park and a wake can cost */
	SPIN_LEAST_NS = 1000,
	SPIN_LOOKS = 16,          /* of the inbox, between looks at the clock */
	SPIN_WAKE_NS = 60 * 1000, /* of a sleep: the way back from it */
	VALGRIND_LOOK_NS = 1000 * 1000,
	SPIN_RETRY_SLEEPS = 8 /* short sleeps before another try */
};

static const int64_t RECHECK_LEAST_NS = 100 * WEFT_MILLISECOND;
static const int64_t RECHECK_MOST_NS = 10 * WEFT_SECOND;
static const int64_t TRIM_NS = WEFT_SECOND;

/* --- handing in --- */

/* Its counters are written by many and read by nobody. With an engine that could
 * not be opened it rings an eventfd where others would send a message. */
struct scheduler weft__unattached = {
	.engine = { .error = -ENXIO, .ring_fd = -1, .eventfd = -1 },
};

static uint32_t *futex_word(struct inbox *in)
{
	/* the low half, on the little-endian machines that weft runs on */
	return (uint32_t *)(void *)&in->word;
}

static void ring(struct scheduler *s, struct scheduler *target,
		 uintptr_t parked)
{
	count(s->wakes_sent);
	switch (parked) {
	case INBOX_PARKED_FUTEX:
		/* The owner is the only one who ever waits here. */
		(void)syscall(SYS_futex, futex_word(&target->inbox),
			      FUTEX_WAKE_PRIVATE, 1, NULL, NULL, 0);
		break;
	case INBOX_PARKED_MESSAGE:
		weft__engine_ring_message(&target->engine);
		break;
	case INBOX_PARKED_SQE:
		weft__engine_ring_sqe(s, &target->engine);
		break;
	case INBOX_WATCHED:
		weft__embedding_ring(target);
		break;
	default:
		weft__engine_ring_eventfd(&target->engine);
	}
}

static INLINE void push(struct scheduler *target, uintptr_t link,
			struct bell *bell)
{
	struct inbox *in = &target->inbox;
	struct inbox_node *node = weft__inbox_node(link);
	bool announced = false;
	bool counted = false;
	bool pushed = false;
	/* relaxed: the compare-exchange decides, this is a first guess */
	uintptr_t word = peek(in->word); /* H1 */

	while (word != INBOX_CLOSED && !pushed) {
		if (weft__inbox_wants_ring(word) && !announced) {
			atomic_fetch_add(&in->ringers, 1); /* [park.2] */
			announced = true;
		}
		/* Awake from here on, though it takes a while until it runs.
		 * [deadlock.1] */
		if (weft__inbox_is_parked(word) && !counted) {
			weft__count_awake(1);
			counted = true;
		}
		node->next = word < INBOX_LINKS ? INBOX_EMPTY : word;
		pushed = atomic_compare_exchange_weak(
			&in->word, &word, link); /* H2 [park.1] [inbox.1] */
	}
	*bell = (struct bell){
		.target = target,
		.word = word,
		.is_pushed = pushed,
		.is_announced = announced,
		/* it woke without us */
		.is_in_vain =
			counted && !(pushed && weft__inbox_is_parked(word)),
	};
}

/* Takes back a count for a sleeper that had woken by itself. It may be asleep again,
 * for good, as all others: the count kept it from looking whether that is a
 * deadlock. If the caller does not count for itself, it may leave nobody awake by
 * this, and cannot look; then it wakes the other to do so, for nothing.
 * [deadlock.1] No lock is taken: a handler of a signal may be here. */
static NOINLINE void take_back(struct scheduler *s, struct scheduler *target)
{
	while (weft__count_out()) {
		uintptr_t word;

		weft__count_awake(1);
		word = atomic_load(&target->inbox.word);
		if (weft__inbox_is_parked(word) &&
		    atomic_compare_exchange_strong(
			    &target->inbox.word, &word,
			    INBOX_EMPTY)) { /* as H2 [park.1] */
			ring(s, target, word);
			return;
		}
	}
}

/* What remains to be done after the push. */
static INLINE void ring_bell(struct scheduler *s, const struct bell *bell)
{
	if (bell->is_pushed && weft__inbox_wants_ring(bell->word))
		ring(s, bell->target, bell->word); /* H3 */
	else if (bell->is_pushed)
		count(s->wakes_saved);
	if (unlikely(bell->is_in_vain))
		take_back(s, bell->target);
	if (bell->is_announced)
		atomic_fetch_sub(&bell->target->inbox.ringers,
				 1); /* [park.2] */
}

bool weft__push(struct scheduler *target, uintptr_t link, struct bell *bell)
{
	push(target, link, bell);
	return bell->is_pushed;
}

void weft__ring_bell(struct scheduler *s, const struct bell *bell)
{
	ring_bell(s, bell);
}

bool weft__hand_in(struct scheduler *s, struct scheduler *target,
		   uintptr_t link)
{
	struct bell bell;

	push(target, link, &bell);
	ring_bell(s, &bell);
	return bell.is_pushed;
}

void weft__wake_foreign(struct scheduler *s, struct waiter *w)
{
	bool taken = weft__hand_in(s, w->owner, (uintptr_t)&w->node);

	/* A thread that ends first calls all its waits off or waits for the
	 * wake, so it cannot have closed its inbox. */
	REQUIRE(taken, "a tasklet was to be woken whose thread has ended");
}

static void deliver(struct scheduler *s, uintptr_t link)
{
	while (link) {
		struct inbox_node *node = weft__inbox_node(link);
		uintptr_t next = node->next;

		if (link & INBOX_TASKLET)
			weft__task_requested(s, weft__task_of_node(node));
		else
			weft__wake_local(s, ((struct waiter *)node)->task);
		link = next;
	}
}

/* What an exchange by the owner found in the inbox. With it a mark is gone by which
 * others knew whom to tell (embed.c). */
static void take(struct scheduler *s, uintptr_t word)
{
	deliver(s, weft__inbox_list(word));
	weft__note_runnable(s);
}

void weft__take_handed_in(struct scheduler *s)
{
	take(s, atomic_exchange_explicit(&s->inbox.word, INBOX_EMPTY,
					 memory_order_acquire)); /* [inbox.1] */
}

uintptr_t weft__inbox_close(struct scheduler *s)
{
	uintptr_t word =
		atomic_exchange(&s->inbox.word, INBOX_CLOSED); /* [park.2] */

	for (unsigned i = 0; atomic_load(&s->inbox.ringers); i++) /* [park.2] */
		weft__be_patient(i);
	return weft__inbox_list(word);
}

/* --- parking --- */

static void sleep_in_futex(struct scheduler *s, int64_t deadline)
{
	/* FUTEX_WAIT_BITSET takes a moment of CLOCK_MONOTONIC. */
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

/* What to write into the word, by what others will have to ring. */
static uintptr_t choose_sentinel(struct scheduler *s)
{
	bool may_use_futex = !s->engine.n_in_flight && !s->engine.n_queued;

	if (may_use_futex && weft__wake_policy() == WAKE_FUTEX)
		return INBOX_PARKED_FUTEX;
	switch (weft__engine_prepare_sleep(s)) {
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
		/* No ring, so nothing is in flight there. */
		REQUIRE(may_use_futex, "a ring is in use that is not open");
		return INBOX_PARKED_FUTEX;
	}
}

/* The word that ends the wait of the tasklet whose stack we are on, if there is
 * such a thing. */
static _Atomic(uintptr_t) *begin_watch(struct waiter *w)
{
	return w && w->kind->begin_spin ? w->kind->begin_spin(w) : NULL;
}

static bool has_news(struct scheduler *s)
{
	return peek(s->inbox.word) != INBOX_EMPTY ||
	       weft__engine_has_news(&s->engine);
}

static bool look_until(struct scheduler *s, int64_t end,
		       _Atomic(uintptr_t) *word, uintptr_t unchanged)
{
	do {
		for (int i = 0; i < SPIN_LOOKS; i++) {
			/* relaxed: whoever takes what came orders it */
			if (peek(*word) != unchanged || has_news(s))
				return true;
			arch_pause();
		}
	} while (weft_now() < end);
	return false;
}

void weft__release_word(struct scheduler *s)
{
	if (!s->used_word)
		return;
	/* release: for whoever reads the 0, see channel_wait.c [channel.2] */
	atomic_store_explicit(s->used_word, 0, memory_order_release);
	s->used_word = NULL;
}

/* Looks for news up to the learned time. True when some came. */
static bool spin(struct scheduler *s, int64_t deadline)
{
	struct weft_task *t = peek(s->current);
	bool is_waiting = peek(t->state) == WEFT_BLOCKED;
	_Atomic(uintptr_t) *word;
	int64_t end = weft_now() + s->spin_ns;
	bool paid;

	weft__release_word(s);
	if (s->engine.n_queued) /* nothing is held back while we spin */
		weft__engine_poll(s);
	if (!weft__queue_is_empty(s))
		return true;
	word = begin_watch(is_waiting ? t->waiter : NULL);
	if (end > deadline)
		end = deadline;
	if (!word)
		return look_until(s, end, &s->inbox.word, INBOX_EMPTY);
	paid = look_until(s, end, word, (uintptr_t)t->waiter);
	if (t->waiter->kind->end_spin(t->waiter, word)) {
		s->used_word = word;
		weft__wake_local(s, t);
		paid = true;
	}
	return paid;
}

static void learn_from_spin(struct scheduler *s, bool paid)
{
	s->spin_ns = paid ? s->spin_ns * 2 : s->spin_ns / 2;
	if (s->spin_ns > s->spin_max_ns)
		s->spin_ns = s->spin_max_ns;
	if (s->spin_ns < SPIN_LEAST_NS)
		s->spin_ns = 0;
}

static void learn_from_sleep(struct scheduler *s, int64_t slept_ns)
{
	if (slept_ns > s->spin_max_ns + SPIN_WAKE_NS)
		s->n_short_sleeps = 0;
	else if (++s->n_short_sleeps % SPIN_RETRY_SLEEPS == 0)
		s->spin_ns = s->spin_max_ns;
}

/* Valgrind runs one thread at a time, and none while one is in io_uring_enter
 * (seen with 3.19). So there a thread sleeps in its futex, and looks at its ring
 * every now and then. */
static int64_t submit_and_limit(struct scheduler *s, int64_t deadline)
{
	int64_t next_look = weft_now() + VALGRIND_LOOK_NS;

	weft__engine_poll(s);
	return s->engine.n_in_flight && next_look < deadline ? next_look
							     : deadline;
}

/* The last to park, hopeless like all others. True if it is a deadlock: then it
 * is awake again. Else @deadline is when to look again. */
static bool is_deadlock(struct scheduler *s, uint64_t n_attached,
			int64_t *deadline)
{
	if (weft__deadlock_confirm(s, n_attached)) {
		uintptr_t word = atomic_exchange_explicit(
			&s->inbox.word, INBOX_EMPTY,
			memory_order_acquire); /* [inbox.1] */

		if (!weft__inbox_is_parked(word))
			weft__count_awake(-1); /* somebody has rung, too */
		take(s, word);
		return true;
	}
	s->recheck_ns = s->recheck_ns ? s->recheck_ns * 2 : RECHECK_LEAST_NS;
	if (s->recheck_ns > RECHECK_MOST_NS)
		s->recheck_ns = RECHECK_MOST_NS;
	*deadline = weft_now() + s->recheck_ns;
	return false;
}

/* P3. It counts as awake before its word says so [deadlock.1]: once, either by
 * itself or by who rang. */
static void wake_up(struct scheduler *s, bool is_hopeful)
{
	uintptr_t word;

	weft__count_awake(1);
	word = atomic_exchange_explicit(&s->inbox.word, INBOX_EMPTY,
					memory_order_acquire); /* [inbox.1] */
	if (!weft__inbox_is_parked(word))
		weft__count_awake(-1);
	if (is_hopeful)
		weft__count_hopeful(-1);
	take(s, word);
}

/* Gives back the memory of stacks that have not been used for a while, if it is
 * time to, as long as there is nothing else to do and no timer is due: a bunch
 * takes some tenths of a millisecond. What is left has its turn at the next
 * parking. Returns when to wake up for stacks again, @deadline at the latest. */
static int64_t trim_stacks(struct scheduler *s, int64_t deadline)
{
	int64_t now;

	if (!weft__stack_has_spare(&s->stacks)) {
		s->trim_ns = 0;
		return deadline;
	}
	now = weft_now();
	if (s->trim_ns && now < s->trim_ns)
		return s->trim_ns < deadline ? s->trim_ns : deadline;
	while (s->trim_ns) {
		if (now >= deadline || has_news(s))
			return deadline;
		if (!weft__stack_trim(&s->stacks))
			break;
		now = weft_now();
	}
	weft__stack_begin_watch(&s->stacks);
	s->trim_ns = weft__stack_has_spare(&s->stacks) ? now + TRIM_NS : 0;
	return s->trim_ns && s->trim_ns < deadline ? s->trim_ns : deadline;
}

static bool has_waker(const struct scheduler *s)
{
	return s->timers.n || s->engine.n_in_flight || s->n_offloaded;
}

int weft__park(struct scheduler *s)
{
	int64_t deadline = weft__timer_next(&s->timers);
	bool is_hopeful;
	uint64_t n_attached;
	uintptr_t expected = INBOX_EMPTY;
	uintptr_t sentinel;
	int64_t since;

	if (s->spin_ns && weft__others_are_awake()) {
		bool paid = spin(s, deadline);

		learn_from_spin(s, paid);
		if (paid)
			return 0;
	}

	weft__release_word(s);
	deadline = trim_stacks(s, deadline);
	if (weft__on_valgrind) {
		deadline = submit_and_limit(s, deadline);
		sentinel = INBOX_PARKED_FUTEX;
	} else {
		sentinel = choose_sentinel(s);
	}
	if (!weft__queue_is_empty(s))
		return 0;
	is_hopeful = has_waker(s);
	n_attached = weft__thread_n_ever(); /* [deadlock.2] */
	if (!atomic_compare_exchange_strong(&s->inbox.word, &expected,
					    sentinel)) /* P1 [park.1] */
		return 0;
	if (weft__count_parked(is_hopeful) &&
	    is_deadlock(s, n_attached, &deadline))
		return weft__queue_is_empty(s) ? -EDEADLK : 0;
	count(s->parks);
	since = s->spin_max_ns ? weft_now() : 0;
	if (sentinel == INBOX_PARKED_FUTEX)
		sleep_in_futex(s, deadline); /* P2 */
	else
		weft__engine_sleep(s, deadline);
	if (s->spin_max_ns)
		learn_from_sleep(s, weft_now() - since);
	wake_up(s, is_hopeful); /* P3 */
	if (!weft__queue_is_empty(s))
		s->recheck_ns = 0;
	return 0;
}

/* --- settings --- */

static const char *const policy_names[N_WAKE_POLICIES] = {
	[WAKE_AUTO] = "auto",
	[WAKE_FUTEX] = "futex",
	[WAKE_MSG_RING] = "msg_ring",
	[WAKE_EVENTFD] = "eventfd",
	[WAKE_MSG_RING_SQE] = "msg_ring_sqe",
};

static enum wake_policy policy;

enum wake_policy weft__wake_policy(void)
{
	return policy;
}

static int64_t spin_max_ns;

int64_t weft__spin_max_ns(void)
{
	return spin_max_ns;
}

void weft__park_read_environment(void)
{
	policy = (enum wake_policy)weft__environment_choice(
		"WEFT_WAKE", policy_names, N_WAKE_POLICIES, WAKE_AUTO);
	spin_max_ns = WEFT_MICROSECOND *
		      weft__environment_number("WEFT_SPIN", 0, 1000000,
					       SPIN_DEFAULT_NS / 1000,
					       "microseconds");
}
