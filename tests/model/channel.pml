/* SPDX-License-Identifier: MIT */
/*
 * A rendezvous across threads: the hand-over of lib/channel (channel.c, pass.h,
 * wait.c).
 *
 * A caller that finds no peer queues a waiter, which lives on its own stack, under
 * the channel's lock. A caller that finds a peer claims it by unlinking it under
 * the lock, releases the lock, copies the element between the two stacks, and only
 * then pushes the waiter on its owner's inbox (park.pml shows that the push
 * arrives). From the push on the owner may run and return, so nobody else may touch
 * the waiter any more. The owner may withdraw a waiter that is still queued, under
 * the lock, as a kill or a deadline would. If the waiter has been claimed, the
 * owner has to wait for the push.
 *
 * One waiting tasklet at a time may be the channel's spinner: it watches one word
 * of the channel. While it is the only one that waits, its peer claims it, passes
 * the element by way of the channel, and marks that word instead of touching the
 * waiter; the owner sets the word back when it likes. Only a waiter that does not
 * spin is pushed, or withdraws.
 *
 * Up to two senders and two receivers, each on a thread of its own, pass up to
 * three elements, and all can withdraw whenever they wait.
 *
 * Checked: an element is received once if its send said so, and never if its send
 * was withdrawn; the elements of a sender reach one receiver in order; a waiter is
 * touched only while its owner is inside the call; a waiter that was claimed is
 * woken; a sender and a receiver never both stay queued.
 *
 * mutant 1, assertion: the claimer writes to the waiter after the push
 * mutant 2, assertion: the owner withdraws without looking whether it is still queued
 * mutant 3, assertion: the claimer unlinks after it released the lock
 * mutant 4, assertion: the push comes before the copy
 * mutant 5, deadlock: the owner that comes too late to withdraw does not let the claimer's push count
 * mutant 6, assertion: looking for a peer and queueing are two sections of the lock
 * mutant 7, either: a tasklet becomes the spinner before the last spinner has released the word
 * mutant 8, assertion: the spinner releases the word before it takes the mail
 * mutant 9, deadlock: a spinner that stops does not look again for mail
 * mutant 10, assertion: the word is marked before the mail is written
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define SENDERS   0 /* the two sides */
#define RECEIVERS 1

#define THREADS  4 /* 0 and 1 send, 2 and 3 receive */
#define NOBODY   4
#define ELEMENTS 3 /* the i-th of sender t is 2 * t + i */

bool locked = false;
bool queued[THREADS]; /* under the lock; the longest waiter first */
byte oldest[2] = NOBODY, second[2] = NOBODY; /* of the senders, of the receivers */

bool inside[THREADS]; /* the waiter on this thread's stack exists */
bool woken[THREADS];  /* it was pushed on its owner's inbox */
byte slot[THREADS];   /* the element on this thread's stack; 0: none */

#define WATCHES(t)   ((t) + 1) /* the word that the spinner t watches, */
#define IS_MAILED(t) ((t) + 11) /* and the word when t has mail */

byte spinner = 0;
byte mail = 0;

byte sent[ELEMENTS + 1];     /* how often its send returned 0 */
byte received[ELEMENTS + 1]; /* how often a receive returned it */

inline lock()
{
	atomic { !locked -> locked = true }
}

inline unlock()
{
	d_step {
		assert(oldest[0] == NOBODY || oldest[1] == NOBODY);
		locked = false
	}
}

inline enqueue()
{
	d_step {
		if
		:: oldest[side] == NOBODY -> oldest[side] = me
		:: else -> second[side] = me
		fi;
		queued[me] = true;
		inside[me] = true
	}
}

inline unlink(t, its)
{
	d_step {
		if
		:: oldest[its] == t ->
			oldest[its] = second[its];
			second[its] = NOBODY
		:: second[its] == t ->
			second[its] = NOBODY
		:: else ->
			skip
		fi;
		queued[t] = false
	}
}

/* Reading one side and writing the other are two steps, as in memcpy. */
inline copy()
{
	if
	:: side == SENDERS ->
		element = slot[me];
		d_step {
			assert(inside[peer] && !queued[peer]);
			assert(slot[peer] == 0);
			slot[peer] = element
		}
	:: else ->
		d_step {
			assert(inside[peer] && !queued[peer]);
			element = slot[peer]
		};
		slot[me] = element
	fi
}

inline wake()
{
	d_step {
		assert(inside[peer]);
		assert(!woken[peer]);
		woken[peer] = true
	}
}

/* Releases the word that is still marked from an earlier wait. */
inline let_go()
{
	d_step {
		if
		:: used ->
			assert(spinner == IS_MAILED(me));
			spinner = 0;
			used = false
		:: else ->
			skip
		fi
	}
}

/* Called under the lock, and queued. */
inline announce()
{
	let_go();
	if
#if MUTANT == 7
	:: true ->
#else
	:: spinner == 0 ->
#endif
		d_step {
			mail = (side == SENDERS -> slot[me] : mail);
			spinner = WATCHES(me);
			spins = true
		}
	:: else ->
		skip
	fi
}

inline take_mail()
{
#if MUTANT == 8
	spinner = 0;
#endif
	slot[me] = (side == RECEIVERS -> mail : slot[me]);
#if MUTANT != 8
	used = true;
#endif
	done = true
}

inline spin()
{
	if
	:: spinner == IS_MAILED(me) ->
		take_mail()
	:: true ->
		lock();
		if
		:: spinner == WATCHES(me) -> spinner = 0
		:: else -> skip
		fi;
		unlock();
		if
#if MUTANT == 9
		:: false ->
#else
		:: spinner == IS_MAILED(me) ->
#endif
			take_mail()
		:: else ->
			skip
		fi
	fi;
	spins = false
}

/* Called under the lock: the only waiter is the spinner. */
inline pass_by_mail()
{
#if MUTANT == 10
	spinner = IS_MAILED(peer);
#endif
	if
	:: side == SENDERS -> mail = slot[me]
	:: else -> slot[me] = mail
	fi;
	unlink(peer, 1 - side);
#if MUTANT != 10
	spinner = IS_MAILED(peer);
#endif
	unlock();
	done = true
}

/* Called under the lock. */
inline pass_directly()
{
#if MUTANT != 3
	unlink(peer, 1 - side);
#endif
	unlock();
#if MUTANT == 3
	unlink(peer, 1 - side);
#endif
#if MUTANT == 4
	wake();
	copy();
#else
	copy();
	wake();
#endif
#if MUTANT == 1
	assert(inside[peer]);
#endif
	done = true
}

inline withdraw()
{
	lock();
#if MUTANT == 2
	unlink(me, side);
	unlock()
#else
	if
	:: queued[me] ->
		unlink(me, side);
		unlock()
	:: else ->
		unlock();
#if MUTANT == 5
		woken[me] = false;
#endif
		woken[me];
		done = true
	fi
#endif
}

inline wait_for_peer()
{
#if MUTANT == 6
	unlock();
	lock();
#endif
	enqueue();
	if
	:: announce()
	:: skip
	fi;
	unlock();
	if
	:: spins -> spin()
	:: else -> skip
	fi;
	if
	:: done ->
		skip
	:: !done && woken[me] ->
		done = true
	:: !done ->
		withdraw()
	fi;
	d_step {
		inside[me] = false;
		woken[me] = false
	}
}

/* One send or receive; `done` tells whether the element went across. */
inline rendezvous()
{
	done = false;
	lock();
	peer = oldest[1 - side];
	if
	:: peer == NOBODY ->
		wait_for_peer()
	:: peer != NOBODY && spinner == WATCHES(peer) &&
	   second[1 - side] == NOBODY ->
		pass_by_mail()
	:: peer != NOBODY && spinner == WATCHES(peer) &&
	   second[1 - side] != NOBODY ->
		spinner = 0;
		pass_directly()
	:: peer != NOBODY && spinner != WATCHES(peer) ->
		pass_directly()
	fi;
	peer = NOBODY;
	element = 0
}

/* Compares what the call returned with what lies on the stack after it. */
inline settle()
{
	d_step {
		if
		:: side == SENDERS && done ->
			sent[slot[me]]++
		:: side == RECEIVERS && done ->
			assert(slot[me] != 0);
			assert(last[(slot[me] - 1) / 2] < slot[me]);
			last[(slot[me] - 1) / 2] = slot[me];
			received[slot[me]]++
		:: side == RECEIVERS && !done ->
			assert(slot[me] == 0)
		:: else ->
			skip
		fi
	}
}

proctype party(byte me; byte side; byte rounds)
{
	byte i = 0, peer = NOBODY, element;
	byte last[2];
	bool done, spins;
	bool used; /* the word is still marked for this thread */

	do
	:: i < rounds ->
		i++;
		if
		:: side == SENDERS -> slot[me] = 2 * me + i
		:: else -> skip
		fi;
		rendezvous();
		settle();
		slot[me] = 0
	:: used ->
		let_go()
	:: i == rounds && !used ->
		break
	od
}

inline run_parties(a, b, c, d)
{
	run party(0, SENDERS, a);
	run party(1, SENDERS, b);
	run party(2, RECEIVERS, c);
	run party(3, RECEIVERS, d)
}

init
{
	byte i;

	atomic {
		if
		:: run_parties(2, 1, 2, 0) /* two senders queue up */
		:: run_parties(2, 0, 2, 1) /* two receivers queue up */
		:: run_parties(1, 1, 1, 1)
		fi
	};
	_nr_pr == 1;
	d_step {
		i = 1;
		do
		:: i <= ELEMENTS ->
			assert(received[i] <= 1);
			assert(sent[i] == received[i]);
			i++
		:: else ->
			break
		od;
		assert(oldest[0] == NOBODY && oldest[1] == NOBODY)
	}
}
