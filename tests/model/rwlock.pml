/* SPDX-License-Identifier: MIT */
/*
 * A read-write lock: lib/sync/rwlock.c, on top of what sync.pml shows.
 *
 * The word says, in parts that change together, whether a writer holds the lock,
 * how many readers hold it, and whether somebody is queued. A reader leaves by one
 * step on the word, without the guard, as long as another reader is left or nobody
 * waits. If somebody waits, the last holder to leave takes the guard, looks again,
 * and lets in from the front: a writer, or all readers up to the next writer. A
 * waiter that calls off does the same, because readers may have waited only for the
 * writer that was in front of them.
 *
 * Four threads, of which one to three write, lock it once; one of them may call off
 * whenever it waits.
 *
 * Checked: a writer is alone; a waiter is touched only while it is there; while no
 * guard is held, the word says that somebody is queued if and only if that is so,
 * and the first in the queue cannot be let in; all come to their end.
 *
 * mutant 1, assertion: a call-off lets nobody in
 * mutant 2, either: letting a reader in does not notice that another one has left meanwhile
 * mutant 3, assertion: a reader that comes does not look whether somebody is queued
 * mutant 4, assertion: the last holder does not look again under the guard
 * mutant 5, assertion: the last holder to leave lets one reader in and leaves those behind it
 * mutant 6, either: the last holder leaves without the guard, though somebody is queued
 * mutant 7, assertion: a writer is let in while a reader is left
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define THREADS 4
#define NOBODY  4

bool writer = false; /* the word */
byte readers = 0;
bool waited = false;

bool guarded = false;
byte n_queued = 0; /* guarded */
byte queue[THREADS] = NOBODY;
bool linked[THREADS];

bool writes[THREADS];
bool inside[THREADS]; /* the waiter is on this thread's stack */
bool woken[THREADS];
bool may_call_off = true; /* one of all threads, once */

byte n_reading = 0, n_writing = 0; /* how many believe to hold it */

#if MUTANT == 7
#define CAN_BE_LET_IN(t) (!writer)
#else
#define CAN_BE_LET_IN(t) (!writer && (!writes[t] || readers == 0))
#endif
#define IS_GRANTABLE(t) (!writer && (!writes[t] || readers == 0))

inline guard()
{
	atomic { !guarded -> guarded = true }
}

inline unguard()
{
	d_step {
		assert(waited == (n_queued > 0));
		assert(n_queued == 0 || !IS_GRANTABLE(queue[0]));
		guarded = false
	}
}

inline unlink(t)
{
	d_step {
		assert(linked[t] && inside[t]);
		if
		:: queue[0] == t ->
			queue[0] = queue[1];
			queue[1] = queue[2];
			queue[2] = queue[3]
		:: queue[1] == t ->
			queue[1] = queue[2];
			queue[2] = queue[3]
		:: queue[2] == t ->
			queue[2] = queue[3]
		:: queue[3] == t ->
			skip
		fi;
		queue[3] = NOBODY;
		n_queued--;
		linked[t] = false
	}
}

/* One compare-exchange. */
inline take()
{
	d_step {
		if
		:: writes[me] && !writer && readers == 0 && !waited ->
			writer = true;
			got = true
#if MUTANT == 3
		:: !writes[me] && !writer ->
#else
		:: !writes[me] && !writer && !waited ->
#endif
			readers++;
			got = true
		:: else ->
			skip
		fi
	}
}

/* In one step: takes it, or sets the bit of a word that cannot be taken. */
inline take_or_say_waited()
{
	atomic {
		take();
		if
		:: !got -> waited = true
		:: else -> skip
		fi
	}
}

/* Lets in from the front, as far as possible. Guarded. */
inline let_in()
{
	do
	:: d_step {
			seen_readers = readers;
			seen_writer = writer;
			peer = queue[0];
			can_be = n_queued > 0 && CAN_BE_LET_IN(peer)
		};
		if
		:: can_be ->
			d_step {
				if
#if MUTANT == 2
				:: true ->
#else
				:: readers == seen_readers &&
				   writer == seen_writer ->
#endif
					if
					:: writes[peer] -> writer = true
					:: else -> readers = seen_readers + 1
					fi;
					waited = n_queued > 1;
					changed = true
				:: else ->
					changed = false
				fi
			};
			if
			:: changed ->
				unlink(peer);
				let[peer] = true
			:: else ->
				skip
			fi
#if MUTANT == 5
			;
			break
#endif
		:: else ->
			break
		fi
	od;
	peer = NOBODY;
	seen_readers = 0
}

inline wake_one(t)
{
	d_step {
		if
		:: let[t] ->
			assert(inside[t] && !woken[t] && !linked[t]);
			woken[t] = true;
			let[t] = false
		:: else ->
			skip
		fi
	}
}

inline wake_those()
{
	wake_one(0);
	wake_one(1);
	wake_one(2);
	wake_one(3)
}

inline call_off()
{
	guard();
	if
	:: linked[me] ->
		unlink(me);
		if
		:: n_queued == 0 ->
			waited = false
		:: else ->
#if MUTANT != 1
			let_in()
#else
			skip
#endif
		fi;
		unguard();
		wake_those()
	:: else ->
		unguard();
		woken[me];
		got = true
	fi
}

inline wait_for_it()
{
	if
	:: woken[me] ->
		got = true
	:: atomic { may_call_off -> may_call_off = false };
		call_off()
	fi;
	d_step {
		inside[me] = false;
		woken[me] = false
	}
}

inline lock()
{
	take();
	if
	:: !got ->
		guard();
		take_or_say_waited();
		if
		:: !got ->
			d_step {
				queue[n_queued] = me;
				n_queued++;
				linked[me] = true;
				inside[me] = true
			};
			unguard();
			wait_for_it()
		:: else ->
			unguard()
		fi
	:: else ->
		skip
	fi
}

/* One compare-exchange. Does nothing for the last holder while somebody is
 * queued. */
inline go()
{
	d_step {
		assert(writes[me] -> writer : readers > 0);
		if
#if MUTANT == 6
		:: false ->
#else
		:: waited && (writer || readers == 1) ->
#endif
			skip
		:: else ->
			if
			:: writes[me] -> writer = false
			:: else -> readers--
			fi;
			gone = true
		fi
	}
}

inline hand_over()
{
	guard();
#if MUTANT == 4
	is_last = true;
#else
	is_last = waited && (writer || readers == 1);
#endif
	if
	:: is_last ->
		d_step {
			writer = false;
			readers = 0
		};
		let_in();
		gone = true
	:: else ->
		skip
	fi;
	unguard();
	wake_those()
}

inline unlock()
{
	do
	:: !gone ->
		go();
		if
		:: !gone -> hand_over()
		:: else -> skip
		fi
	:: else ->
		break
	od
}

proctype user(byte me)
{
	bool got, gone, is_last, can_be, changed, seen_writer;
	bool let[THREADS];
	byte peer = NOBODY, seen_readers;

	lock();
	if
	:: got ->
		atomic {
			n_reading = n_reading + (writes[me] -> 0 : 1);
			n_writing = n_writing + (writes[me] -> 1 : 0);
			assert(n_writing == 0 ||
			       n_writing == 1 && n_reading == 0)
		};
		atomic {
			n_reading = n_reading - (writes[me] -> 0 : 1);
			n_writing = n_writing - (writes[me] -> 1 : 0)
		};
		unlock()
	:: else ->
		skip
	fi
}

init
{
	atomic {
		writes[0] = true;
		if
		:: skip
		:: writes[1] = true
		:: writes[1] = true; writes[2] = true
		fi;
		run user(0);
		run user(1);
		run user(2);
		run user(3)
	};
	_nr_pr == 1;
	assert(!writer && readers == 0 && !waited && n_queued == 0)
}
