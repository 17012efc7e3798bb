/* SPDX-License-Identifier: MIT */
/*
 * Going to sleep and being woken.
 *
 * Everything that another thread wants of a scheduler is pushed onto the
 * scheduler's inbox. The inbox is one atomic word. It holds the newest node,
 * EMPTY, or a sentinel which says that the owner sleeps and which doorbell
 * wakes it (inbox.h). The owner sleeps in a futex on the word itself, or in its
 * io_uring, the ring.
 *
 *	owner, weft__park()                 any other thread, weft__hand_in()
 *	P1  word: EMPTY -> PARKED (CAS)     H1  read word
 *	    failed: something came, up          parked: announce, ringers + 1
 *	P2  sleep: in the futex while the   H2  word: what was read -> node (CAS)
 *	    word is PARKED, or in the ring      failed: again from H1
 *	P3  word -> EMPTY (exchange),       H3  replaced PARKED: ring the doorbell
 *	    take what it held                   ringers - 1, if announced
 *
 * PARKED stands for any of the sentinels by which the owner sleeps. H1 and H3
 * treat WATCHED alike: then another loop sleeps for the owner (embed.c). A
 * thread that wakes the owner without a node (take_back()) writes EMPTY in H2
 * instead.
 *
 * [park.1] P1, H2 and P3 are read-modify-writes of one word. So they have one
 * order, and no fence is needed. If H2 comes before P1, the word is not EMPTY
 * at P1, and the owner stays up. If H2 comes after P1 and before P3, it
 * replaces PARKED itself or comes after another H2 that did, and the first one
 * rings. If H2 comes after P3, the owner is up, and it looks at the inbox
 * before it parks again: P1 can succeed only on an EMPTY word.
 *
 * A doorbell that is rung between P1 and P2 is not lost. The futex compares the
 * word, which is no longer PARKED, and does not sleep. A message or the eventfd
 * is a completion in the ring, and a sleep in the ring ends when a completion
 * is there. A doorbell that is rung after the owner woke for another reason is
 * a completion without a meaning, or a futex wake that finds nobody.
 *
 * Getting ready to sleep can hand operations in to the kernel, and some
 * complete at once. So the run queue is checked after that and before P1.
 * Nothing else has to be checked between P1 and P2. If an operation is in
 * flight, the sleep is in the ring, where its completion arrives. The earliest
 * timer is the deadline of the sleep. Timers, stop and everything else are
 * changed only by the owner's thread, and that is the thread that goes to
 * sleep.
 *
 * [inbox.1] H2 is a release and P3 an acquire, so the owner sees what was
 * written before the hand-in. Each H2 reads the word that the H2 before it
 * wrote, so the exchange is ordered after all of them.
 *
 * [park.2] The end of a thread: the thread exchanges the word for CLOSED, then
 * waits until ringers is 0, then closes its ring. A waker announces itself in
 * ringers (H1) before its CAS. So either its CAS fails on CLOSED, or the waker
 * is counted while it rings. Its fetch_add and the owner's exchange are both
 * seq_cst, and so are the CAS and the read of ringers: a waker whose CAS
 * replaced PARKED did so before the exchange, and its fetch_add came before
 * that.
 *
 * Rejected: a state word beside the inbox (two words need seq_cst stores and
 * re-checks on both sides, and a second cache line); FUTEX_WAIT as a ring
 * operation (measured at 60 us against 42, and it must be armed again each
 * time).
 */
#include "core/park.h"

#include <errno.h>
#include <weft/time.h>

#include "base/lock.h"
#include "base/world.h"
#include "core/block.h"
#include "core/deadlock.h"
#include "core/thread.h"
#include "core/world.h"

static const int64_t RECHECK_LEAST_NS = 100 * WEFT_MILLISECOND;
static const int64_t RECHECK_MOST_NS = 10 * WEFT_SECOND;

/* --- handing in --- */

/* Stands for a thread without a scheduler. Many threads write its counters and
 * nobody reads them. Its engine counts as one that could not be opened, so it
 * rings an eventfd where other threads send a message. */
struct scheduler weft__unattached = {
	.engine = ENGINE_NEVER,
};

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
		/* The target counts as awake from here on, though it takes a
		 * while until it runs. [deadlock.1] */
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
		/* the target woke without us */
		.is_in_vain =
			counted && !(pushed && weft__inbox_is_parked(word)),
	};
}

/* Takes back the count for a sleeper that woke by itself. The sleeper may be
 * asleep again for good, like all others: our count kept it from checking
 * whether that is a deadlock. A caller that does not count for itself may leave
 * nobody awake by taking the count back, and cannot check itself. Then it wakes
 * the sleeper, with nothing handed in, to check. [deadlock.1] This takes no
 * lock, since a signal handler may run it. */
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
			weft__world_ring(s, target, word);
			return;
		}
	}
}

/* The steps that remain after the push. */
static INLINE void ring_bell(struct scheduler *s, const struct bell *bell)
{
	if (bell->is_pushed && weft__inbox_wants_ring(bell->word))
		weft__world_ring(s, bell->target, bell->word); /* H3 */
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

	/* A thread that ends first calls off all its waits or waits for their
	 * wakes, so it cannot have closed its inbox. */
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
			weft__wake_served(s, (struct waiter *)node);
		link = next;
	}
}

void weft__take_arrived(struct scheduler *s)
{
	uintptr_t link = s->arrived;

	s->arrived = 0;
	deliver(s, link);
}

/* Takes in @word, which the owner's exchange found in the inbox. That exchange
 * also removed the mark INBOX_WATCHED, by which others know whom to tell
 * (embed.c). */
static void take(struct scheduler *s, uintptr_t word)
{
	if (unlikely(s->arrived))
		weft__take_arrived(s);
	deliver(s, weft__inbox_list(word));
	weft__note_runnable(s);
}

void weft__take_handed_in(struct scheduler *s)
{
	/* The owner has closed it, at its end, and it stays closed. */
	if (peek(s->inbox.word) == INBOX_CLOSED)
		return;
	take(s, weft__world_take(s));
}

uintptr_t weft__inbox_close(struct scheduler *s)
{
	uintptr_t word =
		atomic_exchange(&s->inbox.word, INBOX_CLOSED); /* [park.2] */

	for (unsigned i = 0; atomic_load(&s->inbox.ringers); i++) /* [park.2] */
		weft__be_patient(i);
	return weft__inbox_list(word);
}

/* --- the park callback --- */

static void call_back(struct scheduler *s, struct park_callback c, bool parking)
{
	bool was_inside = weft__begin_callback(s);

	c.fn(parking, c.ctx);
	weft__end_callback(s, was_inside);
}

static void tell_parking(struct scheduler *s)
{
	s->told_of_park = s->on_park;
	if (s->on_park.fn)
		call_back(s, s->on_park, true);
}

static void tell_back(struct scheduler *s)
{
	struct park_callback c = s->told_of_park;

	s->told_of_park = (struct park_callback){ .fn = NULL };
	if (c.fn)
		call_back(s, c, false);
}

/* As take(), for a thread that sleeps or was about to. What it was handed is noted
 * before the callback, which may look at the inbox, or leave by pthread_exit(). */
static void take_back_at_work(struct scheduler *s, uintptr_t word)
{
	s->arrived = weft__inbox_list(word);
	tell_back(s);
	take(s, INBOX_EMPTY);
}

/* --- parking --- */

/* The word that ends the wait of the current tasklet, on whose stack we run;
 * NULL if its wait has no such word. */
static _Atomic(uintptr_t) *begin_watch(struct waiter *w)
{
	return w && w->kind->begin_spin ? w->kind->begin_spin(w) : NULL;
}

void weft__release_word(struct scheduler *s)
{
	if (!s->used_word)
		return;
	/* release: for the thread that reads the 0, see channel/wait.c
	 * [channel.2] */
	atomic_store_explicit(s->used_word, 0, memory_order_release);
	s->used_word = NULL;
}

/* Looks for news for up to @ns. True if some came. */
static bool spin(struct scheduler *s, int64_t ns, int64_t deadline)
{
	struct weft_task *t = peek(s->current);
	bool is_waiting = peek(t->state) == WEFT_BLOCKED;
	_Atomic(uintptr_t) *word;
	int64_t end = weft__now() + ns;
	bool paid;

	weft__release_word(s);
	if (weft__engine_has_queued(
		    &s->engine)) /* hold nothing back while we spin */
		weft__engine_poll(&s->engine);
	if (!weft__queue_is_empty(&s->queue))
		return true;
	word = begin_watch(is_waiting ? t->waiter : NULL);
	if (end > deadline)
		end = deadline;
	if (!word)
		return weft__world_look(s, end, &s->inbox.word, INBOX_EMPTY);
	paid = weft__world_look(s, end, word, (uintptr_t)t->waiter);
	if (!t->waiter->kind->end_spin(t->waiter, word))
		return paid;
	/* As in take_back_at_work(). What the callback calls may look around and
	 * call waits off, so this one has to be over. */
	s->used_word = word;
	t->waiter->node.next = 0;
	s->arrived = (uintptr_t)&t->waiter->node;
	tell_back(s);
	take(s, INBOX_EMPTY);
	return true;
}

/* Called by the last thread to park, when no parked thread can wake by itself.
 * True if this is a deadlock; the thread is awake again then. Otherwise
 * @deadline is the time of the next check. */
static bool is_deadlock(struct scheduler *s, uint64_t n_attached,
			int64_t *deadline)
{
	if (weft__deadlock_confirm(s, n_attached)) {
		uintptr_t word = weft__world_take(s);

		if (!weft__inbox_is_parked(word))
			weft__count_awake(-1); /* somebody has rung as well */
		take_back_at_work(s, word);
		return true;
	}
	s->recheck_ns = s->recheck_ns ? s->recheck_ns * 2 : RECHECK_LEAST_NS;
	if (s->recheck_ns > RECHECK_MOST_NS)
		s->recheck_ns = RECHECK_MOST_NS;
	*deadline = weft__now() + s->recheck_ns;
	return false;
}

/* P3. The thread counts as awake before its word says so [deadlock.1]. It is
 * counted once, by itself or by the thread that rang. */
static void wake_up(struct scheduler *s, bool is_hopeful)
{
	uintptr_t word;

	weft__count_awake(1);
	word = weft__world_take(s);
	if (!weft__inbox_is_parked(word))
		weft__count_awake(-1);
	if (is_hopeful)
		weft__count_hopeful(-1);
	take_back_at_work(s, word);
}

/* If it is time to, gives back the memory of stacks that have not been used for
 * a while, as long as there is no news and no timer is due: one batch takes
 * some tenths of a millisecond. The rest follows at the next parking. Returns
 * when to wake up for stacks again, at the latest @deadline. */
static int64_t trim_stacks(struct scheduler *s, int64_t deadline)
{
	int64_t now;

	if (!weft__stack_has_spare(&s->stacks)) {
		s->trim_ns = 0;
		return deadline;
	}
	now = weft__now();
	if (s->trim_ns && now < s->trim_ns)
		return s->trim_ns < deadline ? s->trim_ns : deadline;
	while (s->trim_ns) {
		if (now >= deadline || weft__world_has_news(s))
			return deadline;
		if (!weft__stack_trim(&s->stacks))
			break;
		now = weft__now();
	}
	weft__stack_begin_watch(&s->stacks);
	s->trim_ns = weft__stack_has_spare(&s->stacks)
			     ? now + weft__world_trim_pause()
			     : 0;
	return s->trim_ns && s->trim_ns < deadline ? s->trim_ns : deadline;
}

/* Whether something of the thread's own will wake one of its tasklets: then it is
 * hopeful, see deadlock.c. */
static bool has_waker(const struct scheduler *s)
{
	size_t n = s->engine.flight.n;

	return s->timers.n || n > s->n_unheard || (n && s->n_hungry) ||
	       s->n_offloaded;
}

static int park(struct scheduler *s)
{
	int64_t deadline = weft__timer_next(&s->timers);
	int64_t spin_ns = weft__world_spin_ns(s);
	bool is_hopeful;
	uint64_t n_attached;
	uintptr_t expected = INBOX_EMPTY;
	uintptr_t sentinel;

	if (spin_ns) {
		bool paid = spin(s, spin_ns, deadline);

		weft__world_note_spin(s, paid);
		if (paid)
			return 0;
	}

	weft__release_word(s);
	deadline = trim_stacks(s, deadline);
	sentinel = weft__world_prepare_sleep(s, &deadline);
	if (!weft__queue_is_empty(&s->queue))
		return 0;
	is_hopeful = has_waker(s);
	n_attached = weft__thread_n_ever(); /* [deadlock.2] */
	if (!atomic_compare_exchange_strong(&s->inbox.word, &expected,
					    sentinel)) /* P1 [park.1] */
		return 0;
	if (weft__count_parked(is_hopeful) &&
	    is_deadlock(s, n_attached, &deadline))
		return weft__queue_is_empty(&s->queue) && !s->refused ? -EDEADLK
								      : 0;
	count(s->parks);
	weft__world_sleep(s, sentinel, deadline); /* P2 */
	wake_up(s, is_hopeful);                   /* P3 */
	if (!weft__queue_is_empty(&s->queue))
		s->recheck_ns = 0;
	return 0;
}

int weft__park(struct scheduler *s)
{
	int rc;

	tell_parking(s);
	rc = park(s);
	tell_back(s);
	return rc;
}
