/* SPDX-License-Identifier: MIT */
/*
 * A selection that watches two descriptors, a channel and a moment:
 * lib/channel/watch.c.
 *
 * The owner links its case in the channel, arms the timer, submits two polls and
 * blocks. On its thread, while it is blocked, polls complete, the timer fires, a kill
 * calls off, and what others handed in is taken in, in any order. Polls also complete
 * while the owner itself calls the engine. The kernel completes a poll at any time,
 * because its descriptor is ready or because it was asked to cancel. A peer on
 * another thread sends on the channel at any time. When the owner runs again, it
 * cancels the polls that are left, waits for them, and returns.
 *
 * Checked: who has claimed the selection is the only one whose case went through; it
 * is woken once, while it is blocked; nobody touches its memory after it has
 * returned; it always returns.
 *
 * mutant 1, deadlock: the owner blocks though a poll has claimed it before
 * mutant 2, assertion: a poll that completes too late wakes as well
 * mutant 3, assertion: the call returns before the last completion
 * mutant 4, assertion: the timer stays armed when a peer has claimed
 * mutant 5, deadlock: after a calling-off the last completion does not wake
 * mutant 6, either: the claims are a look and a store
 * mutant 7, assertion: a calling-off wakes at once, and the last completion again
 * mutant 8, assertion: the owner does not block if anybody has claimed it before
 * mutant 9, assertion: a poll that claims does not take the case out of the channel
 * mutant 10, deadlock: a poll that claims leaves the wake to the last completion,
 *                      and nobody has asked to cancel the other poll
 */
#ifndef MUTANT
#define MUTANT 0
#endif

/* chosen */
#define NOTHING   0
#define POLL(i)   ((i) + 1)
#define CHANNEL   3
#define MOMENT    4
#define WITHDRAWN 5

/* state */
#define BUSY  0
#define WAITS 1
#define ENDS  2

bool lock;
byte chosen = NOTHING;
bool linked;         /* under the lock */
bool inside;         /* the memory is there */
bool has_element;    /* the peer has written it */
bool sent;

/* of the owner's thread */
bool others_run; /* what is on that thread besides the owner */
bool blocked;
byte state = BUSY;
bool claimed_here, timer_armed, killed, called_off;
byte n_in_flight;
bool in_flight[2];

/* between threads, and with the kernel */
bool handed_in;
bool armed[2], posted[2], cancel_asked[2];
bool done;

inline take_lock()
{
	atomic { !lock -> lock = true }
}

/* The result is in `won`. */
inline choose(what, won)
{
	assert(inside);
#if MUTANT == 6
	won = chosen == NOTHING;
	if
	:: won -> chosen = what
	:: else -> skip
	fi
#else
	d_step {
		won = chosen == NOTHING;
		chosen = (won -> what : chosen)
	}
#endif
}

inline withdraw()
{
	take_lock();
	assert(inside);
	linked = false;
	lock = false
}

inline wake()
{
	assert(inside && blocked);
	blocked = false
}

/* The owner calls the engine, which may take completions; or, if it is blocked, it
 * comes back when it has been woken. */
inline let_others_run()
{
	others_run = true;
	!others_run
}

inline submit(i)
{
	if
	:: chosen == NOTHING ->
		in_flight[i] = true;
		n_in_flight++;
		armed[i] = true;
		let_others_run()
	:: else -> skip
	fi
}

proctype Owner()
{
	d_step {
		inside = true;
		linked = true
	};
	timer_armed = true;
	submit(0);
	submit(1);
	if
#if MUTANT == 1
	:: true ->
#elif MUTANT == 8
	:: chosen == NOTHING ->
#else
	:: !claimed_here ->
#endif
		state = WAITS;
		blocked = true;
		let_others_run();
		state = BUSY
#if MUTANT != 1
	:: else -> skip
#endif
	fi;
#if MUTANT != 4
	timer_armed = false;
#endif
	if
	:: n_in_flight > 0 ->
		cancel_asked[0] = in_flight[0];
		let_others_run();
		cancel_asked[1] = in_flight[1];
		let_others_run();
#if MUTANT != 3
		if
		:: n_in_flight > 0 ->
			state = ENDS;
			blocked = true;
			let_others_run()
		:: else -> skip
		fi
#endif
	:: else -> skip
	fi;
	skip;
	d_step {
		assert(chosen != NOTHING);
		assert(!linked && !timer_armed && !handed_in);
		assert(n_in_flight == 0);
		assert(!armed[0] && !armed[1] && !posted[0] && !posted[1]);
		assert(has_element == (chosen == CHANNEL));
		assert(chosen != WITHDRAWN || killed);
		inside = false;
		done = true
	}
}

/* Completions, timers, the inbox, a kill. */
proctype Others()
{
	byte what, i;
	bool won;

	do
	:: others_run ->
		what = NOTHING;
		if
		:: posted[0] -> what = POLL(0)
		:: posted[1] -> what = POLL(1)
		:: blocked && timer_armed -> what = MOMENT
		:: blocked && handed_in ->
			handed_in = false;
			wake()
		:: blocked && !killed -> what = WITHDRAWN
		:: !blocked -> others_run = false
		fi;
		if
		:: what == POLL(0) || what == POLL(1) ->
			i = what - POLL(0);
			assert(inside && in_flight[i]);
			posted[i] = false;
			in_flight[i] = false;
			n_in_flight--;
			if
			:: state == ENDS ->
				what = NOTHING;
				if
#if MUTANT == 5
				:: n_in_flight == 0 && !called_off ->
#else
				:: n_in_flight == 0 ->
#endif
					state = BUSY;
					wake()
				:: else -> skip
				fi
			:: else -> skip
			fi
		:: what == MOMENT -> timer_armed = false
		:: what == WITHDRAWN -> killed = true
		:: else -> skip
		fi;
		won = false;
		if
		:: what != NOTHING -> choose(what, won)
		:: else -> skip
		fi;
		if
		:: won ->
			timer_armed = false;
#if MUTANT == 9
			if
			:: what < CHANNEL -> skip
			:: else -> withdraw()
			fi;
#else
			withdraw();
#endif
			if
			:: what == WITHDRAWN ->
				called_off = true
			:: else -> skip
			fi;
			if
			:: state == BUSY -> claimed_here = true
#if MUTANT == 10
			:: state != BUSY && n_in_flight > 0 ->
				state = ENDS;
				cancel_asked[0] = called_off;
				cancel_asked[1] = called_off
#else
			:: state != BUSY && called_off && n_in_flight > 0 ->
				state = ENDS;
				cancel_asked[0] = true;
				cancel_asked[1] = true;
#if MUTANT == 7
				wake()
#endif
#endif
			:: else ->
				state = BUSY;
				wake()
			fi
#if MUTANT == 2
		:: !won && what != NOTHING && state == WAITS ->
			state = BUSY;
			wake()
#endif
		:: else -> skip
		fi
	:: done -> break
	od
}

proctype Peer()
{
	bool won;

	take_lock();
	if
	:: linked -> choose(CHANNEL, won)
	:: else -> skip
	fi;
	if
	:: won -> linked = false
	:: else -> skip
	fi;
	lock = false;
	if
	:: won ->
		assert(inside && !has_element);
		has_element = true;
		sent = true;
		d_step {
			assert(inside && !handed_in);
			handed_in = true
		}
	:: else -> skip
	fi
}

/* The first descriptor becomes ready some time, the second one perhaps never. */
proctype Kernel()
{
	bool stays_unready;

	if
	:: true -> stays_unready = true
	:: true -> skip
	fi;
	do
	:: armed[0] ->
		armed[0] = false;
		posted[0] = true
	:: armed[1] && (!stays_unready || cancel_asked[1]) ->
		armed[1] = false;
		posted[1] = true
	:: done -> break
	od
}

init
{
	atomic {
		run Owner();
		run Others();
		run Peer();
		run Kernel()
	};
	_nr_pr == 1;
	assert(sent == has_element)
}
