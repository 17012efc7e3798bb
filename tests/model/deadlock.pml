/* SPDX-License-Identifier: MIT */
/*
 * The last thread to park: the count of lib/core/deadlock.c, [deadlock.1] there.
 *
 * `actors` is the word. A thread that is awake counts 1. A thread that is parked,
 * with something of its own that will wake it, counts HOPEFUL. Each step is one
 * read-modify-write, beside the steps of the handshake, which park.pml checks on
 * its own (P1 to P3 and H1 to H3, see lib/core/park.c):
 *
 *	attach   counts 1, then enters the registry
 *	park     P1; gives back its 1, or changes it for HOPEFUL. If that leaves
 *	         0: reads how many have ever attached; 0 -> 1 (compare-exchange);
 *	         then looks for threads that are not attached, and whether one has
 *	         attached since; then takes PARKED out, and is told
 *	ring     H1 finds PARKED: counts 1, for the other; H2; H3 if H2 replaced
 *	         PARKED, else it takes that 1 back
 *	help     rings likewise, but counts nothing for itself. If taking the other's
 *	         1 back leaves 0, it counts 1 again and takes PARKED out of the
 *	         other's word, for nothing, and rings; or if that is not PARKED any
 *	         more, takes its 1 back again, with the same question
 *	wake     PARKED is still there: counts 1; P3; takes that back if P3 found
 *	         that somebody has rung all the same; gives HOPEFUL back
 *	detach   leaves the registry; closes the inbox; gives back its 1. If that
 *	         leaves 0: counts 1 again; if the registry has a thread, rings that
 *	         one for nothing, after releasing the registry, and gives its 1 back
 *	         again, with the same question
 *
 * A thread that is rung has been counted before it can find out. A thread that
 * wakes by itself has been counted before anybody can find that it is up. So each
 * has a 1 of its own to give back when it parks again, and never uses up the
 * ringer's 1.
 *
 * There are three kinds of runs. Three threads hand up to two things to each other,
 * and one of them may have a timer. Or there are one thread and another that
 * attaches later, or ends instead, and may have started a third by then. Or there
 * are one thread or two, and a helper that has a call of the first one's, which
 * counts as hopeful until it has been woken with the result. A sleep may end
 * without a reason. A thread that has something to do may leave at any time, unless
 * its call is out; so may a thread that was told.
 *
 * Checked: a thread is told only if none has anything to do or to come: none runs,
 * or has been handed something, or has a timer, or could attach. And a thread is
 * told if that is so: threads leave only when awake, so a state in which all sleep
 * for good is an end state that is not valid.
 *
 * mutant 1, either: the ringer counts between H2 and H3
 * mutant 2, either: the ringer counts after H3
 * mutant 3, either: a thread that was rung counts itself, when it runs
 * mutant 4, deadlock: the ringer counted in vain and does not take it back
 * mutant 5, assertion: a thread that wakes by itself counts after P3
 * mutant 6, deadlock: a thread that counted itself and had been rung does not take it back
 * mutant 7, assertion: a thread that wakes gives HOPEFUL back before it counts as awake
 * mutant 8, assertion: a thread that parks with a timer does not count as hopeful
 * mutant 9, assertion: a thread that parks gives its 1 back before P1
 * mutant 10, assertion: a thread that is told counts without comparing
 * mutant 11, either: a thread that is told does not count
 * mutant 12, deadlock: a thread that is told and had been rung does not take it back
 * mutant 13, assertion: threads that are not attached are looked for before the compare-exchange
 * mutant 14, assertion: it does not matter whether a thread has attached since
 * mutant 15, assertion: a thread that attaches enters the registry before it counts
 * mutant 16, deadlock: a thread that detaches does not look what it leaves
 * mutant 17, either: a thread that detaches does not count while it rings
 * mutant 18, deadlock: a thread that detaches does not look again after it has rung
 * mutant 19, deadlock: a helper that counted in vain takes it back and does not look
 * mutant 20, assertion: a call that is out does not count as hope
 * mutant 21, either: the helper does not count while it rings for nothing
 * mutant 22, either: the helper takes its 1 back though it has rung for nothing
 * mutant 23, deadlock: the helper does not look again when the other has woken
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define THREADS 3

#define EMPTY  0
#define PARKED 1
#define NODES  2
#define CLOSED 3

#define HOPEFUL 16

short actors = 0;

byte word[THREADS] = CLOSED; /* of each inbox */
bool on_futex[THREADS];      /* the kernel's: the thread sleeps */

bool registry = false; /* the mutex; a single step that needs it only waits for it */
bool attached[THREADS];
bool asked[THREADS]; /* REQUEST_QUEUED in the word of its main tasklet */
byte n_ever = 0;

/* The reasons for which a thread can act. */
bool busy[THREADS];  /* it has something to do */
bool work[THREADS];  /* a node in its inbox brings something to do */
bool timer[THREADS]; /* it has an armed timer */
bool alien[THREADS]; /* it exists, and is not attached */
bool out[THREADS];   /* a helper has its call, or is handing in the call's end */
bool ended[THREADS]; /* that end is a node in its inbox */

#define CAN_ACT(t) (busy[t] || work[t] || timer[t] || alien[t] || out[t])
#define ALIENS     (alien[0] || alien[1] || alien[2])

byte wakes;            /* how many are still to be given */
byte starts = 0;       /* whether the third may still be started */
byte disturbances = 0; /* how often a sleep may still end without a reason */

inline choose_another()
{
	if
	:: me != 0 -> t = 0
	:: me != 1 -> t = 1
	:: me != 2 -> t = 2
	fi
}

/* H2 succeeds only on what H1 read: so the two are one step, but for the count
 * between them. park.pml deals with ringers. */
inline push(is_work, is_end)
{
	do
	:: d_step {
		old = word[t];
#if MUTANT >= 1 && MUTANT <= 3
		is_pushed = true;
#else
		is_pushed = (old != PARKED || has_counted);
#endif
		if
		:: is_pushed && old != CLOSED ->
			word[t] = NODES;
			work[t] = work[t] || is_work;
			ended[t] = ended[t] || is_end
		:: else
		fi
	   };
		if
		:: is_pushed ->
			break
		:: else ->
			actors++;
			has_counted = true
		fi
	od
}

inline ring()
{
	if
	:: old == PARKED ->
#if MUTANT == 1
		actors++;
#endif
		on_futex[t] = false; /* H3 */
#if MUTANT == 2
		actors++
#endif
	:: else
	fi
}

#define COUNTED_IN_VAIN (has_counted && old != PARKED)

/* A ringer that counts for itself takes the other's 1 back, if it was in vain. */
inline take_back()
{
	d_step {
#if MUTANT != 4
		actors = actors - (COUNTED_IN_VAIN -> 1 : 0);
		assert(!COUNTED_IN_VAIN || actors > 0);
#endif
		t = 0;
		old = EMPTY;
		is_pushed = false;
		has_counted = false
	}
}

/* An exchange of the word. What it found has to be done from now on. */
inline take()
{
	d_step {
		old = word[me];
		word[me] = EMPTY;
		busy[me] = busy[me] || work[me];
		work[me] = false;
		out[me] = out[me] && !ended[me];
		ended[me] = false
	}
}

inline deliver()
{
	d_step {
		asked[me] = false;
		old = EMPTY
	}
}

inline start()
{
	starts--;
	alien[2] = true;
	run thread(2, false)
}

inline attach()
{
	word[me] = EMPTY;
#if MUTANT != 15
	actors++;
#endif
	atomic {
		!registry ->
		attached[me] = true;
		alien[me] = false;
		busy[me] = true;
		n_ever++
	};
#if MUTANT == 15
	actors++
#endif
}

inline arrive()
{
	if
	:: atomic { starts > 0 -> start() }
	:: true -> skip
	fi;
	if
	:: attach()
	:: alien[me] = false -> goto gone
	fi;
	is_attached = true
}

inline count_parked()
{
	d_step {
		actors = actors - 1 + (is_hopeful -> HOPEFUL : 0);
		is_last = (actors == 0)
	}
}

inline confirm()
{
	atomic {
		!registry ->
#if MUTANT == 13
		is_last = !ALIENS;
		rechecks = ALIENS;
#endif
		seen = n_ever
	};
	d_step {
#if MUTANT != 10
		is_last = is_last && actors == 0;
#endif
		actors = (is_last -> actors + 1 : actors)
	};
	if
	:: is_last ->
		atomic {
			!registry ->
#if MUTANT == 13
			is_last = (seen == n_ever);
#elif MUTANT == 14
			is_last = !ALIENS;
#else
			is_last = !ALIENS && seen == n_ever;
#endif
		};
		if
		:: !is_last ->
			actors--;
			rechecks = true
		:: else
		fi
	:: else
	fi;
	seen = 0
}

inline is_deadlock()
{
	confirm();
	if
	:: is_last ->
		take();
#if MUTANT != 12
		if
		:: old != PARKED -> actors--
		:: else
		fi;
#endif
		deliver();
#if MUTANT == 11
		actors--;
#endif
		if
		:: !busy[me] ->
			d_step {
				assert(!CAN_ACT(0));
				assert(!CAN_ACT(1));
				assert(!CAN_ACT(2));
				busy[me] = true;
				is_told = true
			}
		:: else
		fi
	:: else
	fi
}

inline sleep()
{
	/* futex_wait: for the wakers, compare and queue are one step. */
	on_futex[me] = (word[me] == PARKED);
	atomic {
		if
		:: !on_futex[me] -> skip
		:: timer[me] -> is_due = true
		:: disturbances > 0 -> disturbances--
		:: rechecks -> skip
		fi;
		on_futex[me] = false
	}
}

inline wake()
{
#if MUTANT == 7
	actors = actors - (is_hopeful -> HOPEFUL : 0);
#endif
#if MUTANT == 3
	actors++;
	take();
#elif MUTANT == 5
	take();
	actors = actors + (old == PARKED -> 1 : 0);
#else
	if
	:: word[me] == PARKED ->
		d_step {
			has_counted = true;
			actors++
		}
	:: else
	fi;
	take(); /* P3 */
#if MUTANT != 6
	if
	:: has_counted && old != PARKED -> actors--
	:: else
	fi;
#endif
#endif
	deliver();
#if MUTANT != 7
	if
	:: is_hopeful -> actors = actors - HOPEFUL
	:: else
	fi;
#endif
	/* Up again, the thread looks at its timers. */
	d_step {
		busy[me] = busy[me] || is_due;
		timer[me] = timer[me] && !is_due
	}
}

inline park()
{
#if MUTANT == 9
	is_hopeful = timer[me] || out[me];
	count_parked();
#endif
	d_step {
		busy[me] = false; /* it has done everything */
#if MUTANT == 8
		is_hopeful = out[me];
#elif MUTANT == 20
		is_hopeful = timer[me];
#else
		is_hopeful = timer[me] || out[me];
#endif
		is_up = (word[me] != EMPTY);
		word[me] = (is_up -> word[me] : PARKED) /* P1 */
	};
	if
	:: is_up ->
#if MUTANT == 9
		actors = actors + 1 - (is_hopeful -> HOPEFUL : 0);
#endif
		take();
		deliver()
	:: else ->
#if MUTANT != 9
		count_parked();
#endif
		if
		:: is_last -> is_deadlock()
		:: else
		fi;
		if
		:: !is_last ->
			sleep();
			wake()
		:: else
		fi
	fi;
	d_step {
		is_up = false;
		is_last = false;
		is_due = false;
		is_hopeful = false;
		has_counted = false;
		rechecks = false
	}
}

/* Rings any of the threads that are left. If there are none, the caller is out
 * before one comes. */
inline ring_one()
{
	atomic { !registry -> registry = true };
	d_step {
		is_up = attached[0] || attached[1] || attached[2];
		t = (attached[0] -> 0 : (attached[1] -> 1 : 2));
		is_due = is_up && !asked[t];
		asked[t] = asked[t] || is_up
	};
	if
	:: is_due -> push(false, false)
	:: else
	fi;
	if
	:: is_up -> skip
	:: else ->
#if MUTANT != 17
		actors--
#endif
	fi;
	registry = false;
	if
	:: is_due ->
		ring();
		take_back()
	:: else -> t = 0
	fi;
	is_due = false
}

inline count_out()
{
	do
	:: d_step {
		actors--;
		is_last = (actors == 0)
	   };
#if MUTANT == 16
		break;
#endif
		if
		:: !is_last -> break
		:: else
		fi;
#if MUTANT != 17
		actors++;
#endif
		ring_one();
#if MUTANT == 17
		break;
#elif MUTANT == 18
		actors = actors - (is_up -> 1 : 0);
		break;
#endif
		if
		:: !is_up -> break
		:: else
		fi
	od
}

inline detach()
{
	atomic { !registry -> attached[me] = false };
	d_step {
		word[me] = CLOSED;
		work[me] = false;
		timer[me] = false;
		busy[me] = false
	};
	count_out()
}

proctype thread(byte me; bool is_attached)
{
	byte old, t, seen;
	bool is_up, is_last, is_hopeful, is_due, is_pushed, is_told;
	bool has_counted; /* 1 for itself, or for the thread that it rings */
	bool rechecks;    /* sleeps only for a while */

	if
	:: is_attached -> skip
	:: !is_attached -> arrive()
	fi;
	do
	:: atomic {
		busy[me] && wakes > 0 ->
		wakes--;
		choose_another()
	   };
		push(true, false);
		ring();
		take_back()
	:: atomic { busy[me] && starts > 0 -> start() }
	:: !is_told ->
		park()
	:: busy[me] && !out[me] ->
		break
	od;
	detach();
gone:	skip
}

/* Of all that a thread has here, a helper has only the call. */
proctype helper(byte caller)
{
	byte old, t;
	bool is_last, is_pushed;
	bool has_counted;

	t = caller;
	push(true, true);
	ring();
	has_counted = COUNTED_IN_VAIN;
	do
	:: has_counted ->
		d_step {
			actors--;
			is_last = (actors == 0);
			has_counted = false
		};
#if MUTANT == 19
		is_last = false;
#endif
		if
		:: is_last ->
#if MUTANT != 21
			actors++;
#endif
			d_step {
				old = word[t];
				has_counted = (old != PARKED);
				word[t] = (old == PARKED -> EMPTY : old)
			};
			ring();
#if MUTANT == 21
			has_counted = false
#elif MUTANT == 22
			actors = actors - (has_counted -> 0 : 1)
#elif MUTANT == 23
			actors = actors - (has_counted -> 1 : 0);
			has_counted = false
#endif
		:: else
		fi
	:: else ->
		break
	od
}

inline begin(t)
{
	attached[t] = true;
	word[t] = EMPTY;
	busy[t] = true;
	actors++;
	n_ever++;
	run thread(t, true)
}

init
{
	atomic {
		if
		:: true ->
			wakes = 1;
			disturbances = 1;
			begin(0);
			out[0] = true;
			run helper(0);
			if
			:: true -> timer[0] = true
			:: true -> begin(1)
			:: true -> skip
			fi
		:: true ->
			wakes = 1;
			starts = 1;
			begin(0);
			alien[1] = true;
			run thread(1, false)
		:: true ->
			wakes = 2;
			disturbances = 1;
			begin(0);
			begin(1);
			begin(2);
			if
			:: true -> timer[0] = true
			:: true -> skip
			fi
		fi
	};
	_nr_pr == 1
}
