/* SPDX-License-Identifier: MIT */
/*
 * Going to sleep and being woken: the handshake of lib/core/park.c and its inbox.
 *
 * There is one atomic word per scheduler, `head`. It is empty, or the newest node
 * of a stack on which many push, or one of three marks: its owner sleeps on its
 * futex, its owner sleeps in its ring, the inbox is closed. Here two producers push
 * two nodes each to one owner. The owner takes, and parks at will on either
 * doorbell. It may be disturbed by something that is no message (a timeout, a
 * signal), and it has an operation of its own in flight. It spins, and so reaps the
 * ring on the way to its sleep. It leaves when it has everything, or earlier, as it
 * likes. The next thread uses the same scheduler again, while producers still act
 * on what they saw of the first. Or there is one producer, and a thread that wakes
 * the owner for nothing (lib/core/deadlock.c): it puts EMPTY in place of the
 * owner's mark, and rings.
 *
 * Checked: every node is delivered once or its push was refused, never both; the
 * nodes of one producer come in order; nobody sleeps for ever while a node or an
 * operation that completed waits; nobody rings a doorbell that is gone.
 *
 * Every statement between two semicolons is one atomic step, and the steps of all
 * processes interleave in one order. The source argues memory orders beside each
 * operation; they are not modelled here.
 *
 * check-models reads the lines below: number, what the checker has to report, and
 * what was broken. MUTANT 0, none of them, has to pass.
 *
 * mutant 1, either: the park looks first and then stores its mark without compare
 * mutant 2, deadlock: whether to ring is decided by a load of its own before the push
 * mutant 3, deadlock: the futex sleep does not compare the word
 * mutant 4, assertion: the detach closes the ring without waiting for ringers
 * mutant 5, assertion: a producer counts itself as ringer only after its push
 * mutant 6, deadlock: the park reaps the ring after its mark is up and sleeps all the same
 * mutant 7, either: take loads and then stores instead of exchanging
 * mutant 8, assertion: take hands out the newest first
 * mutant 9, assertion: the detach does not take what was pushed last
 * mutant 10, deadlock: the park does not look at what it reaped on its way
 * mutant 11, either: the next thread sets the count of ringers to 0
 * mutant 12, deadlock: a thread that wakes the owner for nothing does not ring
 * mutant 13, either: a thread that wakes the owner for nothing does not count as ringer
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define PRODUCERS 2
#define EACH      2
#define NODES     4 /* the i-th of producer p is p * EACH + i + 1 */

#define EMPTY        0
#define PARKED_FUTEX 5
#define PARKED_RING  6
#define CLOSED       7

#define IS_PARKED(word) ((word) == PARKED_FUTEX || (word) == PARKED_RING)
#define IS_NODE(word)   ((word) != EMPTY && (word) <= NODES)

byte head = EMPTY;
byte next[NODES + 1];
byte ringers = 0; /* producers between seeing a mark and having rung */

bool on_futex = false;     /* the kernel's: the owner is queued on the word */
bool entry = false;        /* the kernel's: something unreaped in the ring */
bool ring_closed = false;
byte disturbances = 1;     /* how often a sleep may end without a reason */

bool in_flight = true;     /* the owner's own operation */
bool completed = false;    /* it has completed: seen by the reaper */
bool runnable = false;     /* the tasklet that waited for it is runnable */

bool delivered[NODES + 1];
bool refused[NODES + 1];
byte last[PRODUCERS];
byte n_settled = 0; /* nodes of both kinds */

inline ring_doorbell(mark)
{
	if
	:: mark == PARKED_FUTEX ->
		on_futex = false
	:: mark == PARKED_RING ->
		d_step {
			assert(!ring_closed);
			entry = true
		}
	fi
}

inline push(node)
{
	announced = false;
	do
	:: true ->
#if MUTANT == 2
		saw_parked = IS_PARKED(head);
#endif
		d_step {
			old = head;
			if
			:: old == CLOSED ->
				refused[node] = true;
				n_settled++
			:: else -> skip
			fi
		};
		if
		:: old == CLOSED ->
			break
		:: IS_PARKED(old) ->
#if MUTANT != 5
			if
			:: !announced ->
				ringers++;
				announced = true
			:: else -> skip
			fi;
#endif
			next[node] = EMPTY
		:: else ->
			next[node] = old
		fi;
		d_step {
			pushed = (head == old);
			if
			:: pushed -> head = node
			:: else -> skip
			fi
		};
		if
		:: pushed && IS_PARKED(old) ->
#if MUTANT == 5
			ringers++;
			announced = true;
#endif
#if MUTANT == 2
			if
			:: saw_parked -> ring_doorbell(old)
			:: else -> skip
			fi;
#else
			ring_doorbell(old);
#endif
			break
		:: pushed && !IS_PARKED(old) ->
			break
		:: else ->
			skip
		fi
	od;
	if
	:: announced -> ringers--
	:: else -> skip
	fi
}

proctype producer(byte me)
{
	byte node, old;
	byte i = 0;
	bool pushed, announced;
#if MUTANT == 2
	bool saw_parked;
#endif

	do
	:: i < EACH ->
		node = me * EACH + i + 1;
		push(node);
		i++
	:: else ->
		break
	od
}

/* Two steps, because the mark may have gone and come again. */
proctype waker()
{
	byte mark;

	if
	:: d_step { IS_PARKED(head) -> mark = head };
#if MUTANT != 13
		ringers++;
#endif
		if
		:: d_step { head == mark -> head = EMPTY };
#if MUTANT != 12
			ring_doorbell(mark)
#endif
		:: else
		fi;
#if MUTANT != 13
		ringers--
#endif
	:: skip
	fi
}

/* The nodes taken belong to the owner alone: for the others this is one step. */
inline deliver()
{
	d_step {
		reversed = EMPTY;
#if MUTANT == 8
		reversed = (IS_NODE(list) -> list : EMPTY);
#else
		do
		:: IS_NODE(list) ->
			rest = next[list];
			next[list] = reversed;
			reversed = list;
			list = rest
		:: else ->
			break
		od;
#endif
		do
		:: reversed != EMPTY ->
			assert(!delivered[reversed]);
			assert(!refused[reversed]);
			assert(last[(reversed - 1) / EACH] < reversed);
			last[(reversed - 1) / EACH] = reversed;
			delivered[reversed] = true;
			n_settled++;
			reversed = next[reversed]
		:: else ->
			break
		od;
		list = EMPTY;
		rest = EMPTY;
		reversed = EMPTY
	}
}

inline take(mark)
{
#if MUTANT == 7
	list = head;
	head = mark;
#else
	d_step {
		list = head;
		head = mark
	};
#endif
	deliver()
}

inline announce(mark)
{
#if MUTANT == 1
	up = (head == EMPTY);
	if
	:: up -> head = mark
	:: else -> skip
	fi
#else
	d_step {
		up = (head == EMPTY);
		if
		:: up -> head = mark
		:: else -> skip
		fi
	}
#endif
}

/* Takes what is in the ring. Only the ring's own thread looks there. */
inline reap()
{
	d_step {
		entry = false;
		if
		:: in_flight && completed ->
			in_flight = false;
			runnable = true
		:: else -> skip
		fi
	}
}

inline sleep_on_futex()
{
	/* futex_wait: for the wakers, compare and queue are one step. */
	d_step {
#if MUTANT == 3
		on_futex = true
#else
		on_futex = (head == PARKED_FUTEX)
#endif
	};
	if
	:: !on_futex ->
		skip
	:: atomic { disturbances > 0 -> disturbances-- } ->
		on_futex = false
	fi
}

inline sleep_in_ring()
{
#if MUTANT == 6
	reap();
#endif
	if
	:: entry ->
		skip
	:: atomic { disturbances > 0 -> disturbances-- }
	fi;
	reap()
}

inline park()
{
	if
	:: reap() /* it spun, or submitted what was queued */
	:: skip
	fi;
#if MUTANT == 10
	up = true;
#else
	up = !runnable;
#endif
	if
	:: up && !in_flight ->
		announce(PARKED_FUTEX);
		if
		:: up -> sleep_on_futex()
		:: else -> skip
		fi
	:: up ->
		announce(PARKED_RING);
		if
		:: up -> sleep_in_ring()
		:: else -> skip
		fi
	:: else ->
		skip
	fi
}

inline thread()
{
	do
	:: take(EMPTY);
		runnable = false; /* it runs */
		if
		:: !in_flight -> /* operations are waited for */
			break
		:: n_settled < NODES || in_flight ->
			park()
		fi
	od;

#if MUTANT == 9
	head = CLOSED;
#else
	take(CLOSED);
#endif
#if MUTANT != 4
	ringers == 0;
#endif
	ring_closed = true
}

proctype owner()
{
	byte list, rest, reversed;
	bool up;

	thread();
	/* The next thread attaches, and has the same scheduler. */
	d_step {
		ring_closed = false;
		entry = false
	};
#if MUTANT == 11
	ringers = 0;
#endif
	head = EMPTY;
	thread()
}

proctype kernel()
{
	d_step {
		completed = true;
		entry = true
	}
}

init
{
	byte i;

	atomic {
		run owner();
		run kernel();
		run producer(0);
		if
		:: run waker();
			/* as if they had come early */
			refused[3] = true;
			refused[4] = true;
			n_settled = 2
		:: run producer(1)
		fi
	};
	_nr_pr == 1;
	d_step {
		i = 1;
		do
		:: i <= NODES ->
			assert(delivered[i] != refused[i]);
			i++
		:: else ->
			break
		od;
		assert(head == CLOSED && ringers == 0)
	}
}
