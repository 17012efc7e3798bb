/* SPDX-License-Identifier: MIT */
/*
 * Helpers of the poll engine, and the thread that they work for: the handshake at
 * the top of lib/engine/poll.c.
 *
 * Two helpers have one attempt each. A helper that is done pushes its attempt onto a
 * stack, and rings if the stack was empty. The owner sleeps in epoll until the
 * doorbell has rung, or wakes for another reason. It takes the event of the
 * doorbell, then the stack. It may also take the stack while it is awake, without a
 * look at the doorbell. When it has both attempts, it closes the doorbell.
 *
 * Checked: the owner gets each attempt once and does not sleep for ever; nobody
 * rings a doorbell that is gone.
 *
 * Every statement between two semicolons is one atomic step. The source argues
 * memory orders beside each operation.
 *
 * mutant 1, deadlock: the owner takes the stack first, and then the event
 * mutant 2, deadlock: a helper rings before it pushes
 * mutant 3, assertion: the owner closes the doorbell without waiting for ringers
 * mutant 4, assertion: a helper counts itself as ringer only after its push
 * mutant 5, deadlock: a helper looks whether the stack is empty and then pushes
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define HELPERS 2

byte n_done = 0;  /* attempts on the stack */
byte n_taken = 0; /* attempts that the owner has */
byte ringers = 0;
bool has_rung = false; /* the event that epoll has to report */
bool is_open = true;

inline ring()
{
	assert(is_open);
	has_rung = true
}

active [HELPERS] proctype helper()
{
	bool was_empty;

#if MUTANT == 2
	ringers++;
	was_empty = (n_done == 0);
	if
	:: was_empty -> ring()
	:: else
	fi;
	n_done++;
	ringers--
#elif MUTANT == 4
	d_step { was_empty = (n_done == 0); n_done++ };
	ringers++;
	if
	:: was_empty -> ring()
	:: else
	fi;
	ringers--
#else
	ringers++; /* H1 */
#if MUTANT == 5
	was_empty = (n_done == 0);
	n_done++;
#else
	d_step { was_empty = (n_done == 0); n_done++ }; /* H2 */
#endif
	if
	:: was_empty -> ring() /* H3 */
	:: else
	fi;
	ringers-- /* H4 */
#endif
}

inline take()
{
	d_step { n_taken = n_taken + n_done; n_done = 0 } /* O2 */
}

active proctype owner()
{
	byte n_looks = 2;

	do
	:: n_taken == HELPERS -> break
	:: n_taken < HELPERS && n_looks > 0 -> /* awake */
		n_looks--;
		take()
	:: n_taken < HELPERS -> /* the sleep */
#if MUTANT == 1
		has_rung;
		take();
		has_rung = false
#else
		d_step { has_rung; has_rung = false }; /* O1 */
		take()
#endif
	od;
	assert(n_done == 0);
#if MUTANT != 3
	ringers == 0;
#endif
	is_open = false
}
