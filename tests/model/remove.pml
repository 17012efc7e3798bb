/* SPDX-License-Identifier: MIT */
/*
 * The removal of a tasklet of another thread: lib/core/control.c [task.1],
 * lib/core/turn.c, lib/core/scheduler.c.
 *
 * A tasklet T shares its thread with another one, U. It gives way (a yield, or a
 * send to a receiver that waits), looks around without giving way, or blocks in a
 * send, which a receiver on a third thread then takes. If nobody can run, the thread
 * idles on the stack of the one that ran last. Meanwhile a remover on another thread
 * asks for T's removal; it may insert T before that, and after it. A killer asks for
 * T's end. Each request is a bit in T's word, and whoever finds the descriptor not
 * queued hands it in. The owner takes in what was handed in when it looks around:
 * which it does as it gives way, if there is something in the inbox or its budget is
 * spent. If T is running then, it is marked to be paused.
 *
 * Checked: a T that is queued when its removal is taken in is paused at once, and one
 * that is running, when it next gives way; one that blocks before that is left alone,
 * unless it is served before its thread has looked around;
 * a later insert or a later kill undoes a removal, and nobody stays paused who was not
 * removed last; no removal gets lost; a wake finds T blocked.
 *
 * mutant 1, assertion: the mark does not make T look around when it gives way
 * mutant 2, assertion: a second look forgets that T has to look around
 * mutant 3, assertion: a kill leaves the mark
 * mutant 4, assertion: an insert leaves the mark
 * mutant 5, assertion: the mark survives a block
 * mutant 6, assertion: of a removal and a kill, the kill is carried out first
 * mutant 7, assertion: a removal does not replace an insert
 * mutant 8, assertion: an insert does not replace a removal, which comes after it
 * mutant 9, assertion: a T that is blocked is paused
 * mutant 10, assertion: a T that is running is paused without giving way
 * mutant 11, assertion: a T on whose stack the thread idles counts as running
 *                       though it has been woken and queued
 */
#ifndef MUTANT
#define MUTANT 0
#endif

mtype = { RUNNABLE, PAUSED, BLOCKED, DEAD };
mtype = { T_RUNS, U_RUNS, IDLES };

/* what a tasklet does with its turn */
#define LOOK     0
#define GIVE_WAY 1
#define END      2

/* in the inbox */
#define WAITER  1
#define TASKLET 2

chan inbox = [3] of { byte };

/* T's word */
bool queued, ask_remove, ask_insert, ask_kill;

/* the owner's thread */
mtype runs = T_RUNS;
mtype state = RUNNABLE;
bool is_current = true; /* T, else U: whose stack it is */
bool in_queue;
bool to_pause, killed;
bool budget_spent, has_found_work;

/* the channel */
bool lock, linked;

byte n_requesters = 2;
bool done;

/* What has to happen, for the assertions alone. */
bool removed_last; /* of all requests */
bool must_pause;   /* as T next gives way */
bool may_pause;    /* it has blocked meanwhile, and was served at once */

/* --- other threads --- */

inline ask(remove, insert, kill)
{
	atomic {
		if
		:: state == DEAD -> skip
		:: else ->
#if MUTANT == 7
			ask_remove = (remove || (ask_remove && !insert));
			ask_insert = insert || ask_insert;
#elif MUTANT == 8
			ask_remove = remove || ask_remove;
			ask_insert = (insert || (ask_insert && !remove));
#else
			ask_remove = (remove || (ask_remove && !insert));
			ask_insert = (insert || (ask_insert && !remove));
#endif
			ask_kill = kill || ask_kill;
			removed_last = (remove || (removed_last && !insert && !kill));
			hands_in = !queued;
			queued = true
		fi
	};
	if
	:: hands_in -> inbox ! TASKLET
	:: else -> skip
	fi;
	hands_in = false
}

proctype Remover()
{
	bool hands_in;

	if
	:: true -> ask(false, true, false)
	:: true -> skip
	fi;
	/* Else it gets an error, by a look at the state that may be old. */
	if
	:: state != BLOCKED -> ask(true, false, false)
	:: state == BLOCKED -> skip
	fi;
	if
	:: true -> ask(false, true, false)
	:: true -> skip
	fi;
	n_requesters--
}

proctype Killer()
{
	bool hands_in;

	if
	:: true -> ask(false, false, true)
	:: true -> skip
	fi;
	n_requesters--
}

proctype Receiver()
{
	bool claimed;

	do
	:: done -> break
	:: linked ->
		atomic { !lock -> lock = true };
		claimed = linked;
		linked = false;
		lock = false;
		if
		:: claimed ->
			inbox ! WAITER;
			break
		:: else -> skip
		fi
	od
}

/* --- the owner's thread --- */

inline look_again()
{
#if MUTANT != 1
	budget_spent = true;
#endif
#if MUTANT != 2
	has_found_work = true
#else
	skip
#endif
}

inline keep_removal()
{
	if
	:: state != RUNNABLE ->
		may_pause = false;
#if MUTANT != 5
		to_pause = false
#else
		skip
#endif
	:: else -> look_again()
	fi
}

inline enqueue()
{
	assert(!in_queue);
	in_queue = true
}

inline carry_out_insert()
{
#if MUTANT != 4
	to_pause = false;
#endif
	must_pause = false;
	if
	:: state == PAUSED ->
		state = RUNNABLE;
		enqueue()
	:: else -> skip
	fi
}

inline carry_out_remove()
{
	if
#if MUTANT == 11
	:: state == RUNNABLE && !is_current ->
#else
	:: state == RUNNABLE && in_queue ->
#endif
		in_queue = false;
		state = PAUSED
#if MUTANT == 10
	:: state == RUNNABLE && !in_queue -> state = PAUSED
#elif MUTANT == 11
	:: state == RUNNABLE && is_current ->
#else
	:: state == RUNNABLE && !in_queue ->
#endif
#if MUTANT != 10
		to_pause = true;
		must_pause = true;
		look_again()
#endif
#if MUTANT == 9
	:: state == BLOCKED -> state = PAUSED
	:: state == PAUSED -> skip
#else
	:: else -> skip
#endif
	fi
}

inline carry_out_kill()
{
	killed = true;
	must_pause = false;
	if
	:: state == RUNNABLE ->
#if MUTANT != 3
		to_pause = false
#else
		skip
#endif
	:: state == PAUSED ->
		state = RUNNABLE;
		enqueue()
	:: state == BLOCKED ->
		atomic { !lock -> lock = true };
		if
		:: linked ->
			linked = false;
			state = RUNNABLE;
			enqueue()
		:: else -> skip
		fi;
		lock = false
	fi
}

inline take_requests()
{
	atomic {
		queued = false;
		insert = ask_insert;
		remove = ask_remove;
		kill = ask_kill;
		last = removed_last;
		ask_insert = false;
		ask_remove = false;
		ask_kill = false
	};
#if MUTANT == 6
	if
	:: kill -> carry_out_kill()
	:: else -> skip
	fi;
#endif
#if MUTANT == 8
	if
	:: insert -> carry_out_insert()
	:: else -> skip
	fi;
	if
	:: remove -> carry_out_remove()
	:: else -> skip
	fi;
#else
	if
	:: insert -> carry_out_insert()
	:: !insert && remove -> carry_out_remove()
	:: else -> skip
	fi;
#endif
	assert(!last || killed || state != RUNNABLE || to_pause);
#if MUTANT != 6
	if
	:: kill -> carry_out_kill()
	:: else -> skip
	fi
#endif
}

inline look_around()
{
	budget_spent = false;
	do
	:: inbox ? WAITER ->
		assert(state == BLOCKED);
		state = RUNNABLE;
		enqueue()
	:: inbox ? TASKLET -> take_requests()
	:: empty(inbox) -> break
	od;
	if
	:: has_found_work ->
		has_found_work = false;
		if
		:: is_current && to_pause -> keep_removal()
		:: else -> skip
		fi
	:: else -> skip
	fi
}

/* Whether one that gives way looks around: it has to, or its time has come. */
inline draw_look()
{
	if
	:: true -> looks = true
	:: !budget_spent && empty(inbox) -> looks = false
	fi
}

inline take_turn()
{
	what = LOOK;
	if
	:: runs == T_RUNS && (n_steps == 3 || killed) -> what = END
	:: runs == T_RUNS && n_steps < 3 && !killed ->
		n_steps++;
		if
		:: true -> what = LOOK
		:: true -> what = GIVE_WAY
		:: !has_blocked ->
			has_blocked = true;
			what = GIVE_WAY;
			may_pause = must_pause || may_pause;
			must_pause = false;
			atomic { !lock -> lock = true };
			state = BLOCKED;
			linked = true;
			lock = false
		fi
	:: runs == U_RUNS -> what = GIVE_WAY
	:: runs == IDLES -> what = GIVE_WAY
	fi
}

proctype Owner()
{
	byte what, n_steps;
	bool looks, insert, remove, kill, last;
	bool has_blocked;

	do
	:: runs == IDLES && !in_queue && n_requesters == 0 && empty(inbox) &&
	   state == PAUSED -> break
	:: runs != IDLES || in_queue || nempty(inbox) ->
		take_turn();
		if
		:: what == END -> break
		:: what == LOOK -> looks = true
		:: else -> draw_look()
		fi;
		assert(state != PAUSED || runs != T_RUNS);
		if
		:: looks -> look_around()
		:: else -> skip
		fi;
		if
		:: what == LOOK ->
			assert(state == RUNNABLE)
		:: what == GIVE_WAY && runs == T_RUNS && state == RUNNABLE &&
		   !in_queue ->
			if
			:: looks && to_pause ->
				to_pause = false;
				state = PAUSED
			:: else -> enqueue()
			fi;
			assert(!must_pause || state == PAUSED);
			assert(must_pause || may_pause || state == RUNNABLE);
			must_pause = false
		:: else -> skip
		fi;
		/* Who is next? U can be before T, or not there. */
		if
		:: what == LOOK -> skip
		:: what != LOOK && in_queue ->
			in_queue = false;
			is_current = true;
			runs = T_RUNS
		:: what != LOOK ->
			is_current = false;
			runs = U_RUNS
		:: what != LOOK && !in_queue ->
			runs = IDLES
		fi
	od;
	skip;
	d_step {
		assert(state != PAUSED || removed_last);
		state = (what == END -> DEAD : state);
		linked = false;
		done = true
	}
}

init
{
	atomic {
		run Owner();
		run Remover();
		run Killer();
		run Receiver()
	}
}
