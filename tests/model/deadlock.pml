/* SPDX-License-Identifier: MIT */
/*
 * Deadlock: the count of those who can still act, of lib/deadlock.c, with the
 * steps of lib/park.c that change it [deadlock.1].
 *
 * `awake` and `hopeful` are the two halves of one atomic word. Three threads run,
 * wake each other a few times, have a timer at times, are disturbed, and park. The
 * last of them is not attached at first: until it is, it stands against every
 * verdict, for it may attach and act, or end without a word. A thread that is told
 * of a deadlock, and any other at will, detaches, and those left must be told in
 * their turn: in the end all have detached.
 *
 * Checked: nobody is told while somebody could act (a node in an inbox, a timer,
 * a thread awake, or one that is not attached); nobody sleeps for ever.
 *
 * How a sleeper is woken is park.pml's matter: here it wakes when its word is not
 * PARKED any more.
 *
 * check-models reads the lines below: number, what the checker has to report,
 * and what was broken. MUTANT 0, none of them, has to pass.
 *
 * mutant 1, either: who is woken counts itself, not whoever wakes it
 * mutant 2, either: the sleeper counts itself out before its word says PARKED
 * mutant 3, assertion: hopeful is given up before awake is counted
 * mutant 4, deadlock: a thread that detaches rings nobody
 * mutant 5, assertion: the verdict does not look at the count again
 * mutant 6, assertion: threads that are not attached are not looked for
 * mutant 7, assertion: a thread that attaches counts after it is in the registry
 * mutant 8, deadlock: no second look while only a stranger stands against it
 * mutant 9, deadlock: a thread that detaches rings when it is not counted any more
 * mutant 10, assertion: who wakes a sleeper counts it only after the push
 * mutant 11, assertion: who wakes by itself counts itself after it has emptied its word
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define THREADS 3

#define EMPTY  0
#define PARKED 1
#define NODE   2
#define CLOSED 3
#define RUNG   4 /* a request for nothing, by one who detaches */

byte word[THREADS];
byte awake = 2;
byte hopeful = 0;
byte n_ever = 2;          /* attached so far */
bool attached[THREADS];
bool ended[THREADS];
bool timer[THREADS];      /* one is armed */
bool blank[THREADS];      /* up for no reason, on its way to park again */
bool registry = false;    /* its mutex */

byte wakes = 1;           /* left to all together */
byte timers = 1;
byte disturbances = 0;

/* Nobody can act but the one who asks. One that is up for no reason has nothing to
 * run, and will park again. */
inline assert_hopeless(me)
{
	d_step {
		i = 0;
		do
		:: i < THREADS ->
			assert(i == me || ended[i] ||
			       (attached[i] && !timer[i] &&
				(word[i] == PARKED || word[i] == RUNG ||
				 (word[i] == EMPTY && blank[i]))));
			i++
		:: else -> break
		od;
		i = 0
	}
}

/* The count comes before H2, and is taken back where the word has changed: the
 * sleeper may be up, and park again, before who woke it does anything else.
 * Refused where the inbox is closed. */
inline hand_in(to, what)
{
	counted = false;
	do
	:: true ->
		old = word[to];
#if MUTANT != 1 && MUTANT != 10
		if
		:: old == PARKED && !counted ->
			awake++;
			counted = true
		:: else -> skip
		fi;
#endif
		d_step { /* H2 */
			pushed = (word[to] == old && old != CLOSED);
			if
			:: pushed && old != NODE -> word[to] = what
			:: else -> skip
			fi
		};
		if
		:: pushed || old == CLOSED -> break
		:: else -> skip
		fi
	od;
#if MUTANT == 10
	if
	:: pushed && old == PARKED -> awake++
	:: else -> skip
	fi
#else
	if
	:: counted && !(pushed && old == PARKED) -> awake--
	:: else -> skip
	fi
#endif
}

/* P3, and what comes after it. */
inline wake_up(me)
{
#if MUTANT == 3
	if
	:: is_hopeful -> hopeful--; is_hopeful = false
	:: else -> skip
	fi;
#endif
#if MUTANT != 11
	awake++;
#endif
	d_step {
		old = word[me];
		word[me] = EMPTY;
		blank[me] = (old != NODE && !fired)
	};
#if MUTANT == 11
	if
	:: old == PARKED -> awake++
	:: else -> skip
	fi;
#elif MUTANT != 1
	if
	:: old != PARKED -> awake-- /* whoever rang has counted it, too */
	:: else -> skip
	fi;
#endif
#if MUTANT != 3
	if
	:: is_hopeful -> hopeful--; is_hopeful = false
	:: else -> skip
	fi
#endif
}

/* Is told, as weft__deadlock_confirm() decides. */
inline confirm(me)
{
	told = false;
	atomic { !registry -> registry = true };
	/* /proc/self/task against the registry: threads that are there and not
	 * attached; those on their way out are not counted. */
	d_step {
		i = 0;
		strangers = false;
		do
		:: i < THREADS ->
			strangers = strangers || (!attached[i] && !ended[i]);
			i++
		:: else -> break
		od;
		i = 0
	};
	registry = false;
#if MUTANT == 6
	strangers = false;
#endif
	if
	:: strangers -> skip
	:: else ->
		d_step {
			told = (awake == 0 && hopeful == 0);
#if MUTANT == 5
			told = true;
#endif
			if
			:: told -> awake++
			:: else -> skip
			fi
		};
		if
		:: told && seen != n_ever ->
			told = false;
			awake--
		:: else -> skip
		fi
	fi
}

proctype Thread(byte me)
{
	byte old, other, seen;
	byte i = 0;
	bool is_hopeful = false;
	bool last, told, strangers;
	bool looks_again, fired;
	bool counted, pushed;

	if
	:: attached[me] -> skip
	:: else ->
		if
		:: true ->
			/* a stranger that ends without a word */
			ended[me] = true;
			goto gone
		:: true ->
#if MUTANT != 7
			awake++;
#endif
			atomic { !registry -> registry = true };
			attached[me] = true;
			n_ever++;
			registry = false
#if MUTANT == 7
			;
			awake++
#endif
		fi
	fi;

running:
	if
	:: d_step { wakes > 0 -> wakes-- };
		if
		:: other = 0
		:: other = 1
		:: other = 2
		fi;
		if
		:: other != me && attached[other] -> hand_in(other, NODE)
		:: else -> skip
		fi;
		goto running
	:: d_step { timers > 0 && !timer[me] -> timers--; timer[me] = true };
		goto running
	:: true ->
		goto park
	:: true ->
		goto detach
	fi;

park:
	looks_again = false;
	seen = n_ever;
#if MUTANT == 2
	awake--;
#endif
	d_step { /* P1 */
		old = word[me];
		if
		:: old == EMPTY -> word[me] = PARKED
		:: else -> word[me] = EMPTY
		fi;
		blank[me] = (old == RUNG)
	};
	if
	:: old == RUNG -> goto park
	:: old == NODE -> goto running
	:: else -> skip
	fi;
	d_step {
#if MUTANT != 2
		awake--;
#endif
		is_hopeful = timer[me];
		if
		:: is_hopeful -> hopeful++
		:: else -> skip
		fi;
		last = (awake == 0 && hopeful == 0)
	};
	if
	:: last ->
		confirm(me);
		if
		:: told ->
			d_step {
				old = word[me];
				word[me] = EMPTY
			};
			if
			:: old == PARKED ->
				assert_hopeless(me);
				goto detach
			:: else ->
				awake--; /* somebody has rung, too */
				goto running
			fi
		:: else ->
#if MUTANT != 8
			looks_again = true
#else
			skip
#endif
		fi
	:: else -> skip
	fi;

	fired = false;
	if
	:: word[me] != PARKED -> skip
	:: d_step { timer[me] -> timer[me] = false; fired = true }
	:: looks_again -> skip
	:: d_step { disturbances > 0 -> disturbances-- }
	fi;
	wake_up(me);
	if
	:: old == NODE || fired -> goto running
	:: else -> goto park
	fi;

detach:
	timer[me] = false;
	atomic { !registry -> registry = true };
	attached[me] = false;
	ended[me] = true; /* on its way out: not counted as a stranger */
	registry = false;
	word[me] = CLOSED;
	do
	:: true ->
		d_step {
			awake--;
			last = (awake == 0 && hopeful == 0)
		};
#if MUTANT == 4
		break;
#endif
		if
		:: !last -> break
		:: else -> skip
		fi;
#if MUTANT != 9
		awake++;
#endif
		/* the registry's mutex keeps the one that is found attached */
		atomic { !registry -> registry = true };
		told = true;
		if
		:: attached[0] -> hand_in(0, RUNG)
		:: !attached[0] && attached[1] -> hand_in(1, RUNG)
		:: !attached[0] && !attached[1] && attached[2] -> hand_in(2, RUNG)
		:: else ->
			told = false;
#if MUTANT != 9
			awake--
#endif
		fi;
		registry = false;
#if MUTANT == 9
		break;
#endif
		if
		:: !told -> break
		:: else -> skip
		fi
	od;
gone:
	skip
}

init
{
	atomic {
		attached[0] = true;
		attached[1] = true;
		run Thread(0);
		run Thread(1);
		run Thread(2)
	}
}
