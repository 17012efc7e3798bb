/* SPDX-License-Identifier: MIT */
/*
 * Joining: the end of a tasklet against those that join it, of lib/core/join.c
 * [task.2].
 *
 * The word of a descriptor has the id of its tenant and the bits LOCKED and JOINED.
 * Two joiners of other threads link a waiter under the lock, and each may call it
 * off at any time, once. The tasklet ends, and the memory gets a second tenant.
 *
 * Checked: a joiner of the first tenant that is not called off gets its result,
 * once; a waiter is not touched after its tasklet has run on; the second tenant's
 * list is empty; all come to their end.
 *
 * mutant 1, assertion: the end clears the id first and takes the list after it
 * mutant 2, either: a joiner links without the lock
 * mutant 3, assertion: calling off looks at the bit, and not at the id
 * mutant 4, assertion: a joiner does not compare the id
 * mutant 5, deadlock: the end does not look for joiners
 * mutant 6, either: the unlock of a call-off forgets another joiner
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define JOINERS 2

/* the word */
byte id = 1;
bool locked = false;
bool joined = false;

/* the list, under the lock: the waiters in it */
bool linked[JOINERS];

bool on_stack[JOINERS]; /* the waiter exists: its tasklet has not run on */
bool woken[JOINERS];
byte n_results[JOINERS];
bool over = false;      /* the first tenant has ended, the second is there */

/* Whether a call may take the lock, judged by the id. */
#if MUTANT == 3
#define FITS (id == 1 || is_call_off)
#elif MUTANT == 4
#define FITS (id == 1 || !is_call_off)
#else
#define FITS (id == 1)
#endif

inline take_lock()
{
	got = false;
	do
	:: atomic { FITS && !locked -> locked = true; got = true }; break
	:: !FITS -> break
	od
}

proctype Joiner(byte me)
{
	bool got, is_call_off, others;

	on_stack[me] = true;
	is_call_off = false;
#if MUTANT == 2
	if
	:: id == 1 -> got = true
	:: else -> got = false
	fi;
#else
	take_lock();
#endif
	if
	:: !got -> goto done /* ESRCH */
	:: else -> skip
	fi;
	assert(id == 1);
	linked[me] = true;
	d_step {
		joined = true;
		locked = false
	};

	/* blocked */
	if
	:: woken[me] -> skip
	:: true ->
		is_call_off = true;
		take_lock();
		if
		:: got ->
			assert(linked[me]);
			linked[me] = false;
			others = linked[1 - me];
			d_step {
				locked = false;
#if MUTANT == 6
				joined = false
#else
				joined = others
#endif
			};
			goto done
		:: else -> woken[me] /* it has been claimed */
		fi
	fi;
	assert(n_results[me] == 1);
done:
	on_stack[me] = false
}

inline wake_all()
{
	i = 0;
	do
	:: i < JOINERS ->
		if
		:: claimed[i] ->
			assert(on_stack[i]);
			n_results[i]++;
			woken[i] = true
		:: else -> skip
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

inline take_list()
{
	d_step {
		i = 0;
		do
		:: i < JOINERS ->
			claimed[i] = linked[i];
			linked[i] = false;
			i++
		:: else -> break
		od;
		i = 0
	}
}

active proctype Target()
{
	bool claimed[JOINERS];
	bool fast, got, is_call_off;
	byte i = 0;

	d_step {
#if MUTANT == 5
		fast = true;
#else
		fast = !locked && !joined;
#endif
		if
		:: fast -> id = 0; joined = false
		:: else -> skip
		fi
	};
	if
	:: fast -> skip
	:: else ->
		is_call_off = false;
#if MUTANT == 1
		d_step { id = 0; locked = false; joined = false };
		take_list();
#else
		take_lock();
		assert(got);
		take_list();
		d_step { id = 0; locked = false; joined = false };
#endif
		wake_all()
	fi;
	i = 0;
	/* the next tenant of the memory */
	d_step {
		i = 0;
		do
		:: i < JOINERS -> assert(!linked[i] || MUTANT == 5); i++
		:: else -> break
		od;
		i = 0
	};
	id = 2;
	over = true
}

init
{
	atomic {
		run Joiner(0);
		run Joiner(1)
	}
}
