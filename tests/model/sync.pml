/* SPDX-License-Identifier: MIT */
/*
 * A mutex whose last user frees it, and a condition that is freed after a
 * broadcast: lib/sync/sync.c, lib/sync/mutex.c, lib/sync/condition.c.
 *
 * The mutex is a word and a queue. The word is here in two parts that change
 * together: who holds the mutex, and whether it is waited for. The queue changes
 * under a guard that is not part of the mutex. An unlock gives the mutex back by
 * one step on the word. If it is waited for, the unlock takes the guard, unlinks
 * the oldest waiter, writes into the word that this one holds it, releases the
 * guard, and wakes the waiter. A waiter may call off under the guard, if it is
 * still linked.
 *
 * Three threads lock the mutex; each may call off once and tries again. With the
 * mutex held, each counts the references down. The thread that comes to 0 unlocks
 * the mutex and frees it.
 *
 * Checked: two threads never hold it; nobody touches it after it has been freed,
 * nor a waiter after its owner has gone; while no guard is held, the word says that
 * it is waited for if and only if somebody is queued; all come to their end.
 *
 * In the other part a thread waits on a condition, and may call off, while another
 * broadcasts and then frees the condition.
 *
 * mutant 1, assertion: unlock looks at the mutex after the step that gave it back
 * mutant 2, assertion: unlock looks at the mutex after the wake
 * mutant 3, assertion: a call-off does not look whether its waiter is still linked
 * mutant 4, deadlock: a thread that must wait does not look under the guard whether it is free by now
 * mutant 5, assertion: the last to call off leaves the word as it is
 * mutant 6, assertion: it is handed over without a word of those who still wait
 * mutant 7, assertion: the word says that it is waited for, and the guard is released before the link
 * mutant 8, either: a thread that is too late to call off does not wait for its wake
 * mutant 9, assertion: unlock touches the waiter after the wake
 * mutant 10, either: unlock frees a mutex that is waited for, instead of handing it over
 * mutant 11, assertion: a call-off looks at the condition before it knows that it is linked
 * mutant 12, assertion: a broadcast releases the guard, wakes, and then writes to the condition
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define THREADS 3
#define NOBODY  3

byte holder = NOBODY; /* the word, */
bool waited = false;  /* and its bit */
byte n_queued = 0;    /* guarded */
byte queue[THREADS] = NOBODY;
bool freed = false;

bool guarded = false;

bool linked[THREADS]; /* guarded */
bool inside[THREADS]; /* the waiter is on this thread's stack */
bool woken[THREADS];

byte references = THREADS; /* what the mutex protects */
byte n_holding = 0;

inline guard()
{
	atomic { !guarded -> guarded = true }
}

inline unguard()
{
	d_step {
		assert(freed || waited == (n_queued > 0));
		guarded = false
	}
}

inline link()
{
	d_step {
		assert(!freed);
		queue[n_queued] = me;
		n_queued++;
		linked[me] = true;
		inside[me] = true
	}
}

inline unlink(t)
{
	d_step {
		assert(!freed);
		assert(linked[t]);
		if
		:: queue[0] == t -> queue[0] = queue[1]; queue[1] = queue[2]
		:: queue[1] == t -> queue[1] = queue[2]
		:: queue[2] == t -> skip
		fi;
		queue[2] = NOBODY;
		n_queued--;
		linked[t] = false
	}
}

/* One compare-exchange: free -> me. */
inline take()
{
	d_step {
		assert(!freed);
		if
		:: holder == NOBODY && !waited ->
			holder = me;
			got = true
		:: else ->
			skip
		fi
	}
}

/* One compare-exchange, of a word that is not free. */
inline say_waited()
{
	d_step {
		assert(!freed);
		if
#if MUTANT == 4
		:: true ->
#else
		:: holder != NOBODY ->
#endif
			waited = true;
			must_wait = true
		:: else ->
			skip
		fi
	}
}

/* Under the guard; tries until one of the two succeeds. */
inline take_or_say_waited()
{
	must_wait = false;
	do
	:: !got && !must_wait ->
#if MUTANT != 4
		take();
#endif
		if
		:: !got -> say_waited()
		:: else -> skip
		fi
	:: else ->
		break
	od
}

inline call_off()
{
	guard();
	if
#if MUTANT == 3
	:: true ->
#else
	:: linked[me] ->
#endif
		unlink(me);
#if MUTANT != 5
		if
		:: n_queued == 0 -> waited = false
		:: else -> skip
		fi;
#endif
		unguard()
#if MUTANT != 3
	:: else ->
		unguard();
#if MUTANT != 8
		woken[me];
		got = true
#endif
#endif
	fi
}

inline wait_for_it()
{
	if
	:: woken[me] ->
		got = true
	:: may_call_off ->
		may_call_off = false;
		call_off()
	fi;
	d_step {
		inside[me] = false;
		woken[me] = false
	}
}

inline lock()
{
	got = false;
	do
	:: !got ->
		take();
		if
		:: !got ->
			guard();
			take_or_say_waited();
#if MUTANT == 7
			unguard();
			guard();
#endif
			if
			:: must_wait ->
				link();
				unguard();
				wait_for_it()
			:: else ->
				unguard()
			fi
		:: else ->
			skip
		fi
	:: else ->
		break
	od
}

inline wake(t)
{
	d_step {
		assert(inside[t] && !woken[t] && !linked[t]);
		woken[t] = true
	}
}

/* One compare-exchange: me -> free. */
inline give_back()
{
	d_step {
		assert(!freed);
		assert(holder == me);
		if
#if MUTANT == 10
		:: true ->
#else
		:: !waited ->
#endif
			holder = NOBODY;
			given = true
		:: else ->
			skip
		fi
	}
}

inline hand_over()
{
	guard();
	peer = queue[0];
	if
	:: n_queued > 0 ->
		unlink(peer);
		d_step {
			assert(!freed);
			holder = peer;
#if MUTANT == 6
			waited = false
#else
			waited = n_queued > 0
#endif
		};
		unguard();
		wake(peer);
#if MUTANT == 2
		assert(!freed);
#endif
#if MUTANT == 9
		assert(inside[peer]);
#endif
		given = true
	:: else ->
		unguard()
	fi;
	peer = NOBODY
}

inline unlock()
{
	given = false;
	do
	:: !given ->
		give_back();
		if
		:: !given ->
			hand_over()
		:: else ->
#if MUTANT == 1
			assert(!freed);
#endif
			skip
		fi
	:: else ->
		break
	od
}

proctype user(byte me)
{
	bool got, must_wait, given, is_last;
	bool may_call_off = true;
	byte peer = NOBODY;

	lock();
	atomic {
		assert(holder == me);
		assert(n_holding == 0);
		n_holding++
	};
	d_step {
		references--;
		is_last = references == 0;
		n_holding--
	};
	unlock();
	if
	:: is_last -> freed = true
	:: else -> skip
	fi
}

/* --- the condition --- */

bool c_linked = false, c_freed = false, c_woken = false;
bool c_was_linked = false; /* as the other thread knows by the mutex */

proctype waiter()
{
	guard();
	d_step {
		assert(!c_freed);
		c_linked = true;
		c_was_linked = true
	};
	guarded = false;
	if
	:: c_woken ->
		skip
	:: true ->
		guard();
#if MUTANT == 11
		assert(!c_freed);
#endif
		if
		:: c_linked ->
			d_step {
				assert(!c_freed);
				c_linked = false
			};
			guarded = false
		:: else ->
			guarded = false;
			c_woken
		fi
	fi
}

proctype broadcaster()
{
	bool claimed;

	c_was_linked;
	guard();
	d_step {
		assert(!c_freed);
		claimed = c_linked;
		c_linked = false
	};
	guarded = false;
	if
	:: claimed ->
		c_woken = true
	:: else ->
		skip
	fi;
#if MUTANT == 12
	run freer();
	assert(!c_freed)
#else
	run freer()
#endif
}

/* The thread that may free the condition once nobody is linked. */
proctype freer()
{
	c_freed = true
}

init
{
	byte k;

	atomic {
		if
		:: run user(0);
			run user(1);
			run user(2)
		:: run waiter();
			run broadcaster();
			references = 0;
			freed = true
		fi
	};
	_nr_pr == 1;
	d_step {
		assert(freed && references == 0 && n_queued == 0);
		k = 0;
		do
		:: k < THREADS -> assert(!inside[k] && !woken[k]); k++
		:: else -> break
		od
	}
}
