/* SPDX-License-Identifier: MIT */
/*
 * The gate of a file: quick transfers against slow ones, of lib/io/position.c
 * [position.1].
 *
 * One word counts both kinds. Two threads try quickly, twice each, and become slow
 * if they find a slow transfer; there are two slow ones besides. A slow transfer at
 * work holds the lock of the position for as long as it likes.
 *
 * Checked: no quick transfer ever finds the lock held by a slow one, because it
 * would have to wait; all come to their end.
 *
 * mutant 1, assertion: a quick one looks first and counts itself in after that
 * mutant 2, assertion: a slow one does not let the quick ones end
 * mutant 3, assertion: a slow one counts itself in when it has the lock
 * mutant 4, deadlock: a quick one that finds slow ones does not count itself out
 */
#ifndef MUTANT
#define MUTANT 0
#endif

/* the word */
byte quick = 0;
byte slow = 0;

bool held_slowly = false; /* the lock of the position */

inline move_slowly()
{
#if MUTANT != 3
	slow++; /* in the step of its submitter */
#endif
#if MUTANT != 2
	quick == 0;
#endif
	atomic { !held_slowly -> held_slowly = true };
#if MUTANT == 3
	slow++;
#endif
	held_slowly = false;
	slow--;
}

proctype Quick()
{
	byte rounds = 0;
	bool may_try;

	do
	:: rounds == 2 -> break
	:: rounds < 2 ->
		rounds++;
#if MUTANT == 1
		may_try = (slow == 0);
		quick++;
#else
		d_step { may_try = (slow == 0); quick++ };
#endif
		if
		:: may_try ->
			assert(!held_slowly);
			quick--
		:: else ->
#if MUTANT != 4
			quick--;
#endif
			move_slowly()
		fi
	od
}

proctype Slow()
{
	move_slowly()
}

init {
	atomic {
		run Quick();
		run Quick();
		run Slow();
		run Slow()
	}
}
