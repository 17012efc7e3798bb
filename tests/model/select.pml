/* SPDX-License-Identifier: MIT */
/*
 * Selections against each other, a plain sender, and a close: lib/channel/select.c
 * [select.1].
 *
 * Three selections use the same two channels, which they name in different orders.
 * One receives from both, one sends on both, and one does either, or receives from
 * one and sends on the other. Each locks both channels in the order of their
 * addresses. Then it carries out one of the ready cases, or leaves a waiter in both
 * channels and blocks. One compare-exchange on `chosen`, under a channel's lock, is
 * the claim. The winner takes the other case out, one lock at a time, and then
 * wakes. Each selection may be called off at any time while it waits. A fourth
 * thread sends once on the second channel, or closes it.
 *
 * Checked: an element is received once if its send said so, and never if it did
 * not; only the chosen case is written to; a waiter and its selection are touched
 * only while the owner is inside the call; a selection that was claimed is woken; a
 * sender and a receiver that could serve each other never both stay, nor does a
 * receiver of a closed channel; all come to their end.
 *
 * mutant 1, deadlock: the locks are taken in the order of the cases
 * mutant 2, either: the claim is a look and a store, no compare-exchange
 * mutant 3, assertion: the winner wakes first and withdraws after it
 * mutant 4, assertion: the element is written before the claim has been won
 * mutant 5, assertion: a selection that is called off returns and leaves its waiters
 * mutant 6, assertion: after a lost claim a selection queues without another look
 * mutant 7, either: close takes a case out without a claim
 * mutant 8, assertion: the winner withdraws without the lock
 * mutant 9, assertion: a selection that is too late to call off does not await the wake
 * mutant 10, assertion: the claim is made when the lock has been released
 * mutant 11, assertion: looking and queueing are two sections of the locks
 * mutant 12, assertion: close passes over the cases of selections
 * mutant 13, assertion: calling off looks at `chosen` and then stores
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define SELECTIONS 3
#define PLAIN      3 /* the thread that only sends, or closes */
#define NOBODY     4
#define NO_CASE    2

/* chosen: 0, or one of these */
#define CASE(c)    ((c) + 1)
#define CALLED_OFF 3

#define EPIPE 9 /* in place of an element, which is the number of its sender + 1 */

#define NODE(t, c) ((t) * 2 + (c))

bool locked[2];
bool closed; /* the second channel */

bool sends[6];  /* what the case does: never changes */
bool queued[6]; /* under the channel's lock */
byte slot[6];   /* where a receiving case has its element */
byte chosen[SELECTIONS];
bool inside[SELECTIONS]; /* the waiters are there */
bool woken[SELECTIONS];

bool sent[4];
byte received[4];

#define LIVE(t, c, sending)                             \
	(queued[NODE(t, c)] && chosen[t] == 0 &&        \
	 sends[NODE(t, c)] != (sending))
#define PEER(c, sending) \
	(LIVE(0, c, sending) || LIVE(1, c, sending) || LIVE(2, c, sending))
#define IS_CLOSED(c) ((c) == 1 && closed)
#define READY(c, sending) (PEER(c, sending) || IS_CLOSED(c))

inline lock(at)
{
	atomic { !locked[at] -> locked[at] = true }
}

inline unlock(at)
{
	d_step {
		assert(!(PEER(at, true) && PEER(at, false)));
		assert(!(IS_CLOSED(at) && PEER(at, true)));
		locked[at] = false
	}
}

/* A look at a queue touches what is in it. */
inline touch(at)
{
	assert(!queued[NODE(0, at)] || inside[0]);
	assert(!queued[NODE(1, at)] || inside[1]);
	assert(!queued[NODE(2, at)] || inside[2])
}

inline pick(at, gives)
{
	atomic {
		touch(at);
		if
		:: IS_CLOSED(at) && gives -> peer = NOBODY
		:: else ->
			if
			:: LIVE(0, at, gives) -> peer = 0
			:: LIVE(1, at, gives) -> peer = 1
			:: LIVE(2, at, gives) -> peer = 2
			:: else -> peer = NOBODY
			fi
		fi
	}
}

inline claim(at)
{
#if MUTANT == 2
	won = chosen[peer] == 0;
	if
	:: won -> chosen[peer] = CASE(at)
	:: else -> skip
	fi
#else
	d_step {
		assert(inside[peer]);
		won = chosen[peer] == 0;
		chosen[peer] = (won -> CASE(at) : chosen[peer])
	}
#endif
}

inline write_to_peer(at, gives)
{
	d_step {
		assert(inside[peer]);
		if
		:: gives -> slot[NODE(peer, at)] = me + 1
		:: else -> received[peer]++
		fi
	}
}

inline withdraw(who, at)
{
#if MUTANT != 8
	lock(at);
#endif
	d_step {
		assert(inside[who]);
		touch(at);
		queued[NODE(who, at)] = false
	};
#if MUTANT != 8
	unlock(at)
#endif
}

/* The claimed case is not in its queue any more. */
inline settle_and_wake(from)
{
#if MUTANT != 3
	withdraw(peer, 1 - from);
#endif
	d_step {
		assert(inside[peer] && !woken[peer]);
		woken[peer] = true
	};
#if MUTANT == 3
	withdraw(peer, 1 - from);
#endif
}

/* Called with the lock held; releases it. If not `went`, nothing was ready. */
inline pass(at, gives)
{
	went = false;
	won = false;
	do
	:: pick(at, gives);
		if
		:: peer == NOBODY ->
			break
		:: else ->
#if MUTANT == 4
			write_to_peer(at, gives);
#endif
#if MUTANT == 10
			unlock(at);
#endif
			claim(at);
#if MUTANT == 10
			lock(at);
#endif
			if
			:: won -> break
			:: else -> skip
			fi
		fi
	od;
	if
	:: won ->
		queued[NODE(peer, at)] = false;
		unlock(at);
#if MUTANT != 4
		write_to_peer(at, gives);
#endif
		settle_and_wake(at);
		went = true
	:: !won ->
		pipe = IS_CLOSED(at);
		unlock(at)
	fi
}

inline link_both()
{
	d_step {
		inside[me] = true;
		queued[NODE(me, 0)] = true;
		queued[NODE(me, 1)] = true
	}
}

proctype Selection(byte me, first)
{
	byte c, peer;
	bool went, won, pipe;

	do
	:: true ->
#if MUTANT == 1
		lock(first);
		lock(1 - first);
#else
		lock(0);
		lock(1);
#endif
		atomic {
			touch(0);
			touch(1);
			if
			:: READY(0, sends[NODE(me, 0)]) -> c = 0
			:: READY(1, sends[NODE(me, 1)]) -> c = 1
			:: else -> c = NO_CASE
			fi
		};
		if
		:: c == NO_CASE -> break
		:: else -> skip
		fi;
		unlock(1 - c);
		pass(c, sends[NODE(me, c)]);
		if
		:: went ->
			if
			:: sends[NODE(me, c)] -> sent[me] = true
			:: else -> skip
			fi;
			goto done
		:: !went && pipe ->
			goto done
		:: else ->
#if MUTANT == 6
			lock(0);
			lock(1);
			break
#endif
			skip /* it was ready, and is not any more */
		fi
	od;
#if MUTANT == 11
	unlock(1);
	unlock(0);
	lock(0);
	lock(1);
#endif
	link_both();
	unlock(first);
	unlock(1 - first);

	/* blocked */
	if
	:: woken[me] -> skip
	:: true ->
#if MUTANT == 13
		won = chosen[me] == 0;
		if
		:: won -> chosen[me] = CALLED_OFF
		:: else -> skip
		fi;
#else
		d_step {
			won = chosen[me] == 0;
			chosen[me] = (won -> CALLED_OFF : chosen[me])
		};
#endif
		if
		:: won ->
#if MUTANT != 5
			withdraw(me, 0);
			withdraw(me, 1);
#endif
			goto done
		:: else ->
#if MUTANT != 9
			woken[me]
#endif
			skip
		fi
	fi;
	d_step {
		c = chosen[me] - 1;
		assert(c < 2);
		assert(slot[NODE(me, 1 - c)] == 0);
		if
		:: sends[NODE(me, c)] ->
			sent[me] = true
		:: !sends[NODE(me, c)] && slot[NODE(me, c)] == EPIPE ->
			skip
		:: else ->
			assert(slot[NODE(me, c)] != 0);
			received[slot[NODE(me, c)] - 1]++
		fi
	};
done:
	skip;
	d_step {
		assert(MUTANT == 5 || !(queued[NODE(me, 0)] && inside[me]));
		inside[me] = false
	}
}

proctype Send()
{
	byte me = PLAIN, peer;
	bool went, won, pipe;

	lock(1);
	pass(1, true);
	if
	:: went -> sent[me] = true
	:: else -> skip
	fi
}

/* It claims under the lock, and wakes one after the other without the lock. */
proctype Close()
{
	byte me = PLAIN, peer;
	bool won, claimed[SELECTIONS];

	lock(1);
	closed = true;
	do
	:: atomic {
			touch(1);
			if
			:: LIVE(0, 1, true) -> peer = 0
			:: LIVE(1, 1, true) -> peer = 1
			:: LIVE(2, 1, true) -> peer = 2
			:: else -> peer = NOBODY
			fi
		};
		if
		:: peer == NOBODY -> break
		:: else -> skip
		fi;
#if MUTANT == 12
		break;
#endif
#if MUTANT == 7
		won = true;
#else
		claim(1);
#endif
		if
		:: won ->
			d_step {
				queued[NODE(peer, 1)] = false;
				slot[NODE(peer, 1)] = EPIPE;
				claimed[peer] = true
			}
		:: else -> skip
		fi
	od;
	unlock(1);
	peer = 0;
	do
	:: peer < SELECTIONS ->
		if
		:: claimed[peer] -> settle_and_wake(1)
		:: else -> skip
		fi;
		peer++
	:: else -> break
	od
}

init
{
	atomic {
		sends[NODE(1, 0)] = true;
		sends[NODE(1, 1)] = true;
		if
		:: true -> skip
		:: sends[NODE(2, 0)] = true
		:: sends[NODE(2, 0)] = true; sends[NODE(2, 1)] = true
		fi;
		run Selection(0, 0);
		run Selection(1, 1);
		run Selection(2, 1);
		if
		:: run Send()
		:: run Close()
		fi
	};
	_nr_pr == 1;
	d_step {
		assert(sent[0] == received[0]);
		assert(sent[1] == received[1]);
		assert(sent[2] == received[2]);
		assert(sent[3] == received[3])
	}
}
