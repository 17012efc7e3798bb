/* SPDX-License-Identifier: MIT */
/*
 * Groups: the last members' ends against a wait, its calling off and the free, of
 * lib/sync/group.c [group.1].
 *
 * Two members end on threads of their own. A waiter of another thread looks, waits,
 * may be called off once, and then waits again, deaf. It frees the group as soon as
 * its wait is over. What was in the group's memory must not be touched from then
 * on. (Each access to the lock is a step of its own; what the lock keeps together
 * is one step.)
 *
 * Checked: nobody touches the group after the free; the waiter is woken once for
 * each time that it blocks; its wait is over when no member is left and not before;
 * all come to their end.
 *
 * mutant 1, assertion: the end of a member wakes the waiter before the unlock
 * mutant 2, assertion: the wait looks at the number without the lock
 * mutant 3, deadlock: the waiter links itself without looking at the number again
 * mutant 4, assertion: calling off does not ask whether the waiter is linked
 * mutant 5, assertion: the end of a member takes the list of waiters after the unlock
 * mutant 6, assertion: calling off does not take the waiter out
 * mutant 7, assertion: the waiter is content with being claimed, before its wake
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define MEMBERS 2

/* the group */
bool freed = false;
bool locked = false;
byte n_left = MEMBERS;
bool linked = false;

/* the waiter, on its own stack */
bool is_blocked = false;
byte n_wakes = 0;
bool is_gone = false;

inline lock()
{
	atomic {
		assert(!freed);
		!locked -> locked = true
	}
}

inline unlock()
{
	atomic {
		assert(!freed);
		locked = false
	}
}

/* Hands the waiter to its thread's inbox. */
inline wake()
{
	d_step {
		assert(!is_gone && n_wakes == 0);
		n_wakes++
	}
}

proctype Member()
{
	bool claims = false;

	lock();
	d_step {
		n_left--;
		claims = n_left == 0 && linked;
#if MUTANT != 5
		if
		:: claims -> linked = false
		:: else -> skip
		fi
#endif
	};
#if MUTANT == 1
	if
	:: claims -> wake()
	:: else -> skip
	fi;
#endif
	unlock();
#if MUTANT == 5
	d_step {
		assert(!freed);
		claims = n_left == 0 && linked;
		if
		:: claims -> linked = false
		:: else -> skip
		fi
	};
#endif
#if MUTANT != 1
	if
	:: claims -> wake()
	:: else -> skip
	fi
#endif
}

/* `over`: no member was left. Otherwise the waiter is linked. */
inline look_or_link()
{
#if MUTANT == 2
	assert(!freed);
	over = n_left == 0;
	if
	:: over -> skip
	:: else ->
		lock();
		d_step {
			over = n_left == 0;
			linked = !over
		};
		unlock()
	fi
#elif MUTANT == 3
	lock();
	over = n_left == 0;
	unlock();
	if
	:: over -> skip
	:: else ->
		lock();
		linked = true;
		unlock()
	fi
#else
	lock();
	d_step {
		over = n_left == 0;
		linked = !over
	};
	unlock();
#if MUTANT == 7
	over = over || !linked
#endif
#endif
}

active proctype Waiter()
{
	bool over = false;
	bool is_deaf = false;
	bool was_linked;

	atomic {
		run Member();
		run Member()
	};
again:
	look_or_link();
	if
	:: over -> goto out
	:: else -> is_blocked = true
	fi;
	if
	:: n_wakes > 0 -> skip
	:: !is_deaf ->
		/* The wait is called off: the first look is without the lock. */
		is_deaf = true;
#if MUTANT == 4
		was_linked = true;
		linked = false;
#else
		was_linked = linked;
		if
		:: was_linked ->
			lock();
			d_step {
				was_linked = linked;
#if MUTANT != 6
				linked = false
#endif
			};
			unlock()
		:: else -> skip
		fi;
#endif
		if
		:: was_linked -> /* it goes on without a wake, and waits again */
			is_blocked = false;
			goto again
		:: else -> n_wakes > 0 /* it has been claimed */
		fi
	fi;
	assert(n_wakes == 1);
	n_wakes = 0;
	is_blocked = false;
out:
	assert(n_left == 0);
	is_gone = true;
	/* From here on the memory may belong to anybody. */
	freed = true;
	assert(n_wakes == 0)
}
