/* SPDX-License-Identifier: MIT */
/*
 * The buffer of a channel with a lock for each of its sides: lib/channel/buffer.c
 * [channel.3].
 *
 * A sender holds `lock`, counts `sent` up and goes by send_limit, which it sets
 * again from `received` when it has reached it. A receiver holds receive_lock,
 * counts `received` up and goes by receive_limit and receives_plainly. If that is
 * not enough, either takes both locks, `lock` first, and looks again: it queues a
 * waiter, or takes an element and moves that of a waiting sender into the buffer.
 * Closing and withdrawing take both locks, too. A sender that finds a receiver
 * waiting claims it under `lock` alone, and hands over with no lock. When both
 * locks are released, the limits and receives_plainly are set anew; a limit is set
 * as reached where there is more to look at than the buffer.
 *
 * Two senders and two receivers, each on a thread of its own, use a buffer of one
 * or two places; one of the senders may close the channel instead. All can withdraw
 * whenever they wait. A sender that finds the buffer full may release the lock for
 * a moment and try once more. The counts do not wrap around here, and memory is
 * read in the order in which it was written: mutants 9 and 10 break what the
 * acquires and releases are for.
 *
 * Checked: no slot is read before it is written, or written before it is read; an
 * element is received once if its send said so, and never if it did not; the
 * elements of a sender leave it in order; no receiver waits while there is
 * something in the buffer or the channel is closed, and no sender while there is
 * room; a waiter is claimed once and touched only while its owner is inside the
 * call; nothing is sent after the close; all come to their end.
 *
 * mutant 1, assertion: a receiver queues with receive_lock alone
 * mutant 2, assertion: a sender queues with `lock` alone
 * mutant 3, assertion: receives_plainly is not set anew
 * mutant 4, assertion: a receiver that has got the second lock does not look again
 * mutant 5, assertion: a sender that has got the second lock does not look again
 * mutant 6, assertion: send_limit is not set anew when both locks are released
 * mutant 7, assertion: receive_limit is not set anew when both locks are released
 * mutant 8, assertion: send_limit is set from a count past that of the receivers
 * mutant 9, assertion: an element is counted before it is written
 * mutant 10, assertion: a slot is counted as free before it is read
 * mutant 11, deadlock: a receiver takes receive_lock first, and then the other
 * mutant 12, assertion: a sender claims a receiver when it has released the lock
 * mutant 13, assertion: a receiver withdraws with receive_lock alone
 * mutant 14, assertion: a close takes receive_lock alone
 * mutant 15, assertion: a sender looks for room before it looks for receivers
 * mutant 16, assertion: a receiver does not move a waiting sender's element in
 * mutant 17, assertion: a waiting sender's element moves in before one is taken
 * mutant 18, assertion: a sender that tries once more looks for room only
 * mutant 19, assertion: the locks are released before the limits are set anew
 * mutant 20, assertion: send_limit is what there is room for though receivers wait
 * mutant 21, assertion: receive_limit is what has been sent though senders wait
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define SENDERS   0 /* the two sides */
#define RECEIVERS 1

#define THREADS  4 /* 0 and 1 send, 2 and 3 receive */
#define NOBODY   4
#define ELEMENTS 4 /* the i-th of sender t is 2 * t + i */
#define EPIPE    9 /* in place of an element */

bool locked = false, receive_locked = false;

byte capacity;
byte slots[2]; /* 0: free */
byte sent = 0, send_limit;                    /* under the lock */
byte received = 0, receive_limit = 0;         /* under receive_lock */
bool receives_plainly = true, closed = false; /* under both */

/* The waiters of each side: under both locks, but a receiver is claimed under the
 * lock alone. */
byte oldest[2] = NOBODY, second[2] = NOBODY;

bool inside[THREADS]; /* the waiter on this thread's stack exists */
bool queued[THREADS];
bool woken[THREADS];
byte slot[THREADS]; /* the element on this thread's stack; 0: none */

byte last[2];                    /* the latest element that left the sender */
bool was_sent[ELEMENTS + 1];     /* its send returned 0 */
bool was_received[ELEMENTS + 1]; /* a receive returned it */

/* --- the locks --- */

inline lock()
{
	atomic { !locked -> locked = true }
}

inline lock_to_receive()
{
	atomic { !receive_locked -> receive_locked = true }
}

/* True whenever nobody has both locks. */
inline check_waiting()
{
	assert(sent - received <= capacity);
	assert(oldest[RECEIVERS] == NOBODY || sent == received);
	assert(oldest[RECEIVERS] == NOBODY || !closed);
	assert(oldest[SENDERS] == NOBODY || sent - received == capacity)
}

inline unlock()
{
	d_step {
		check_waiting();
		locked = false
	}
}

inline unlock_to_receive()
{
	d_step {
		check_waiting();
		receive_locked = false
	}
}

inline renew()
{
#if MUTANT == 20
	send_limit = received + capacity;
#elif MUTANT != 6
	send_limit = (oldest[RECEIVERS] == NOBODY -> received + capacity : sent);
#endif
#if MUTANT == 21
	receive_limit = sent;
#elif MUTANT != 7
	receive_limit =
		(!closed && oldest[SENDERS] == NOBODY -> sent : received);
#endif
#if MUTANT != 3
	receives_plainly = !closed && oldest[SENDERS] == NOBODY
#endif
}

inline unlock_all()
{
#if MUTANT == 19
	unlock_to_receive();
	d_step {
		renew()
	};
#else
	d_step {
		renew();
		check_waiting();
		receive_locked = false
	};
#endif
	unlock()
}

/* --- waiters --- */

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
		assert(t != NOBODY && inside[t] && queued[t]);
		if
		:: oldest[its] == t -> oldest[its] = second[its]
		:: else -> skip
		fi;
		second[its] = NOBODY;
		queued[t] = false
	}
}

inline wake(t)
{
	assert(inside[t] && !queued[t] && !woken[t]);
	woken[t] = true
}

inline withdraw()
{
#if MUTANT == 13
	if
	:: side == SENDERS -> lock()
	:: else -> skip
	fi;
#else
	lock();
#endif
	lock_to_receive();
	if
	:: queued[me] ->
		unlink(me, side);
		done = false
	:: else ->
		done = true
	fi;
#if MUTANT == 13
	if
	:: side == SENDERS -> unlock_all()
	:: else -> unlock_to_receive()
	fi;
#else
	unlock_all();
#endif
	if
	:: done -> woken[me]
	:: else -> skip
	fi
}

inline wait_in_queue()
{
	if
	:: woken[me] -> done = true
	:: withdraw()
	fi;
	d_step {
		inside[me] = false;
		woken[me] = false;
		if
		:: slot[me] == EPIPE ->
			done = false;
			slot[me] = 0
		:: else ->
			skip
		fi
	}
}

/* --- elements --- */

/* An element is on its way from here, under a lock. */
inline note(e)
{
	assert(e > last[(e - 1) / 2]);
	last[(e - 1) / 2] = e
}

inline write_slot(e)
{
	d_step {
		assert(e != 0 && slots[sent % capacity] == 0);
		slots[sent % capacity] = e
	}
}

inline read_slot()
{
	d_step {
		assert(slots[received % capacity] != 0);
		slot[me] = slots[received % capacity];
		slots[received % capacity] = 0;
		note(slot[me])
	}
}

inline put(e)
{
#if MUTANT == 9
	sent++;
	d_step {
		sent--;
		write_slot(e);
		sent++
	}
#else
	write_slot(e);
	sent++
#endif
}

inline take()
{
#if MUTANT == 10
	received++;
	d_step {
		received--;
		read_slot();
		received++
	}
#else
	read_slot();
	received++
#endif
}

/* --- sending --- */

inline find_room()
{
	if
	:: sent == send_limit ->
#if MUTANT == 8
		send_limit = received + capacity + 1
#else
		send_limit = received + capacity
#endif
	:: else ->
		skip
	fi
}

inline put_and_unlock()
{
	put(slot[me]);
	unlock();
	done = true
}

/* Hands over to the receiver that has been claimed. */
inline hand_over()
{
	d_step {
		assert(slot[peer] == 0);
		slot[peer] = slot[me];
		wake(peer);
		peer = NOBODY;
		done = true
	}
}

inline claim_receiver()
{
	peer = oldest[RECEIVERS];
#if MUTANT != 12
	unlink(peer, RECEIVERS);
	note(slot[me])
#endif
}

inline serve_receiver()
{
	claim_receiver();
	unlock();
#if MUTANT == 12
	unlink(peer, RECEIVERS);
	note(slot[me]);
#endif
	hand_over()
}

inline send_generally()
{
#if MUTANT != 2
	lock_to_receive();
#endif
	if
#if MUTANT != 5
	:: closed ->
		unlock_all()
	:: !closed && oldest[RECEIVERS] != NOBODY ->
		peer = oldest[RECEIVERS];
		unlink(peer, RECEIVERS);
		note(slot[me]);
		unlock_all();
		hand_over()
	:: !closed && oldest[RECEIVERS] == NOBODY &&
	   sent - received < capacity ->
		put(slot[me]);
		unlock_all();
		done = true
#endif
	:: else ->
		enqueue();
#if MUTANT == 2
		unlock();
#else
		unlock_all();
#endif
		wait_in_queue()
	fi
}

/* Another thread may make room meanwhile. */
inline try_once_more()
{
	unlock();
	lock();
	if
#if MUTANT != 18
	:: closed || oldest[RECEIVERS] != NOBODY ->
		skip
#endif
	:: else ->
		find_room();
		if
		:: sent != send_limit -> put_and_unlock()
		:: else -> skip
		fi
	fi
}

inline send()
{
	lock();
	if
	:: closed ->
		skip
	:: !closed && sent != send_limit ->
		put_and_unlock()
#if MUTANT != 15
	:: !closed && sent == send_limit && oldest[RECEIVERS] != NOBODY ->
		serve_receiver()
#endif
	:: else ->
		find_room();
		if
		:: sent != send_limit -> put_and_unlock()
		:: sent == send_limit -> try_once_more()
		:: sent == send_limit -> skip
		fi
	fi;
	if
	:: !done -> send_generally()
	:: else -> skip
	fi
}

/* --- receiving --- */

inline refill()
{
	peer = oldest[SENDERS];
	unlink(peer, SENDERS);
#if MUTANT == 17
	put(slot[peer]);
	take()
#else
	take();
	put(slot[peer])
#endif
}

inline receive_generally()
{
	if
#if MUTANT != 4
#if MUTANT == 16
	:: sent != received ->
#else
	:: sent != received && oldest[SENDERS] != NOBODY ->
		refill();
		unlock_all();
		d_step {
			wake(peer);
			peer = NOBODY;
			done = true
		}
	:: sent != received && oldest[SENDERS] == NOBODY ->
#endif
		take();
		unlock_all();
		done = true
#endif
	:: sent == received && closed ->
		unlock_all()
	:: else ->
		enqueue();
#if MUTANT == 1
		unlock_to_receive();
#else
		unlock_all();
#endif
		wait_in_queue()
	fi
}

inline receive()
{
	lock_to_receive();
	if
	:: received == receive_limit && receives_plainly ->
		receive_limit = sent
	:: else ->
		skip
	fi;
	if
	:: received != receive_limit ->
		take();
		unlock_to_receive();
		done = true
	:: else ->
#if MUTANT == 11
		lock();
#elif MUTANT != 1
		unlock_to_receive();
		lock();
		lock_to_receive();
#endif
		receive_generally()
	fi
}

/* --- closing --- */

inline close()
{
#if MUTANT != 14
	lock();
#endif
	lock_to_receive();
	d_step {
		closed = true;
		peer = oldest[RECEIVERS];
		other = second[RECEIVERS];
		if
		:: peer != NOBODY -> unlink(peer, RECEIVERS)
		:: else -> skip
		fi;
		if
		:: other != NOBODY -> unlink(other, RECEIVERS)
		:: else -> skip
		fi
	};
#if MUTANT == 14
	d_step {
		receives_plainly = false
	};
	unlock_to_receive();
#else
	unlock_all();
#endif
	d_step {
		if
		:: peer != NOBODY ->
			slot[peer] = EPIPE;
			wake(peer)
		:: else ->
			skip
		fi;
		if
		:: other != NOBODY ->
			slot[other] = EPIPE;
			wake(other)
		:: else ->
			skip
		fi;
		peer = NOBODY;
		other = NOBODY
	}
}

/* --- the threads --- */

/* Compares what the call returned with what lies on the stack after it. */
inline settle()
{
	d_step {
		if
		:: side == SENDERS && done ->
			assert(!was_closed);
			was_sent[slot[me]] = true
		:: side == RECEIVERS && done ->
			assert(slot[me] != 0 && !was_received[slot[me]]);
			was_received[slot[me]] = true
		:: side == RECEIVERS && !done ->
			assert(slot[me] == 0)
		:: else ->
			skip
		fi;
		slot[me] = 0;
		done = false
	}
}

proctype party(byte me; byte side; byte rounds; bool closes)
{
	byte i = 0, peer = NOBODY, other = NOBODY;
	bool done, was_closed;

	do
	:: i < rounds && side == SENDERS ->
		i++;
		d_step {
			slot[me] = 2 * me + i;
			was_closed = closed
		};
		send();
		settle()
	:: i < rounds && side == RECEIVERS ->
		i++;
		receive();
		settle()
	:: i == rounds && closes ->
		closes = false;
		close()
	:: i == rounds && !closes ->
		break
	od
}

inline run_parties(n, a, b, closes, c, d)
{
	capacity = n;
	send_limit = n;
	run party(0, SENDERS, a, false);
	run party(1, SENDERS, b, closes);
	run party(2, RECEIVERS, c, false);
	run party(3, RECEIVERS, d, false)
}

init
{
	byte i;

	atomic {
		if
		:: run_parties(1, 2, 1, false, 2, 1)
		:: run_parties(1, 2, 1, true, 2, 1)
		:: run_parties(2, 2, 1, false, 2, 1)
		:: run_parties(2, 2, 1, true, 1, 1)
		fi
	};
	_nr_pr == 1;
	d_step {
		do
		:: received != sent ->
			i = slots[received % capacity];
			assert(i != 0 && !was_received[i]);
			was_received[i] = true; /* would be */
			received++
		:: else ->
			break
		od;
		i = 1;
		do
		:: i <= ELEMENTS ->
			assert(was_sent[i] == was_received[i]);
			i++
		:: else ->
			break
		od;
		assert(oldest[0] == NOBODY && oldest[1] == NOBODY)
	}
}
