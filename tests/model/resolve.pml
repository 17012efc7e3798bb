/* SPDX-License-Identifier: MIT */
/*
 * A caller that may leave before its answer comes, of lib/io/resolve.c [resolve.1].
 *
 * The request has a word: PENDING, LEFT or DONE. The caller leaves by an exchange of
 * LEFT, and the helper ends by an exchange of DONE. The caller can be interrupted at any
 * time, and twice. Its waiter lies on its stack.
 *
 * Checked: the request is freed once, and touched by nobody after that; the waiter is
 * not touched after its tasklet has run on; a caller that has not left is woken.
 *
 * mutant 1, assertion: the caller reads the word and then writes it
 * mutant 2, either: the helper wakes the caller without a look at the word
 * mutant 3, assertion: a caller that came too late to leave frees the request
 * mutant 4, assertion: the helper does not free what nobody waits for
 */
#ifndef MUTANT
#define MUTANT 0
#endif

mtype = { PENDING, LEFT, DONE };

mtype word = PENDING;
byte n_freed = 0;
bool on_stack = true; /* the waiter exists */
bool is_woken = false;
byte n_ended = 0;

inline free_request()
{
	assert(n_freed == 0);
	n_freed++
}

proctype Helper()
{
	mtype before;

	atomic {
		before = word;
		word = DONE
	};
	assert(n_freed == 0);
#if MUTANT == 2
	before = PENDING;
#endif
	if
	:: before == LEFT ->
#if MUTANT != 4
		free_request()
#else
		skip
#endif
	:: else ->
		assert(on_stack);
		is_woken = true
	fi;
	n_ended++
}

proctype Caller()
{
	mtype before;
	byte n_tries = 0;
	bool has_left = false;

	do
	:: is_woken -> break
	:: n_tries < 2 && !has_left ->
		n_tries++;
#if MUTANT == 1
		before = word;
		word = LEFT;
#else
		atomic {
			before = word;
			word = LEFT
		};
#endif
		if
		:: before == PENDING -> has_left = true
#if MUTANT == 3
		:: before == DONE -> has_left = true; free_request()
		:: before == LEFT -> skip
#else
		:: else -> skip
#endif
		fi
	:: has_left -> break
	od;
	on_stack = false;
	if
	:: has_left -> skip
	:: else -> free_request()
	fi;
	n_ended++
}

init {
	run Helper();
	run Caller();
	n_ended == 2;
	assert(n_freed == 1)
}
