/* SPDX-License-Identifier: MIT */
/*
 * Kill and deadline against a foreign send: lib/core/control.c, lib/channel/wait.c
 * [channel.1], and the tasklet's word [task.1].
 *
 * A tasklet is blocked as the receiver of a channel. A sender on another thread
 * claims its waiter under the channel's lock, copies the element after the unlock,
 * and hands the waiter in. A killer on a third thread makes a request in the
 * tasklet's word, in one step that compares the id, and hands the descriptor in if
 * nobody has done so. A deadline of the owner's own may run out. The owner takes in
 * what was handed in, in order; it calls off under the channel's lock. When the
 * tasklet runs, it receives at most once more and ends. Then the descriptor gets
 * another tenant, which must not be killed.
 *
 * Checked: the element that was sent is received once; a waiter is not touched
 * after its tasklet has run on; the tasklet is made runnable once at a time; the
 * kill arrives with one of its calls; nothing waits for ever.
 *
 * mutant 1, either: calling off does not look whether the waiter is linked
 * mutant 2, assertion: calling off does not take the lock
 * mutant 3, assertion: an error replaces the element that was handed over
 * mutant 4, assertion: the killer does not compare the id
 * mutant 5, assertion: the killer hands the descriptor in though it is there
 * mutant 6, assertion: the descriptor is freed while it is in the inbox
 * mutant 7, assertion: the kill is forgotten when the waiter has been claimed
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define NOTHING 0
#define WAITER  1
#define TASKLET 2

chan inbox = [4] of { byte };

/* the tasklet's word */
byte id = 1;
bool queued = false;
bool kill_asked = false;
bool gone = false;
bool in_free_list = false;

/* the channel */
bool lock = false;
bool linked = false;

/* the waiter, on the tasklet's stack */
bool on_stack = false;
bool called_off = false;
bool has_element = false;

bool blocked = false;
bool runnable = false;
bool killed = false;    /* attention */
bool timed_out = false; /* attention, one-shot here */

bool sent = false;
byte n_received = 0;
bool may_time_out = true;

proctype Sender()
{
	bool claimed = false;
	byte tries = 0;

	do
	:: tries < 2 ->
		atomic { !lock -> lock = true };
		claimed = linked;
		linked = false;
		lock = false;
		if
		:: claimed -> break
		:: else -> tries++
		fi
	:: else -> break
	od;
	if
	:: claimed ->
		assert(on_stack);
		has_element = true;
		sent = true;
		assert(on_stack);
		inbox!WAITER
	:: else -> skip
	fi
}

proctype Killer()
{
	bool hands_in = false;
	bool accepted = false;

	d_step {
#if MUTANT == 4
		if
		:: true ->
#else
		if
		:: id == 1 ->
#endif
			kill_asked = true;
			hands_in = !queued;
			queued = true;
			accepted = (id == 1)
		:: else -> skip
		fi
	};
#if MUTANT == 5
	hands_in = accepted;
#endif
	if
	:: hands_in -> inbox!TASKLET
	:: else -> skip
	fi
}

/* Another thread that makes a request, so that the word may be queued already. */
proctype Asker()
{
	bool hands_in = false;

	d_step {
		if
		:: id == 1 -> hands_in = !queued; queued = true
		:: else -> skip
		fi
	};
	if
	:: hands_in -> inbox!TASKLET
	:: else -> skip
	fi
}

inline wake()
{
	assert(blocked && !runnable);
	blocked = false;
	runnable = true
}

inline call_off()
{
	if
	:: blocked ->
#if MUTANT != 2
		atomic { !lock -> lock = true };
#endif
		was_linked = linked;
#if MUTANT == 1
		was_linked = true;
#endif
		if
		:: was_linked ->
			linked = false;
			called_off = true
		:: else -> skip
		fi;
#if MUTANT != 2
		lock = false;
#endif
		if
		:: was_linked -> wake()
		:: else -> skip
		fi
	:: else -> skip
	fi
}

proctype Owner()
{
	byte item;
	bool was_linked, asked;
	bool taken = false;
	byte calls = 0;

call:
	/* weft__enter() */
	if
	:: killed -> goto end
	:: !killed && timed_out -> timed_out = false
	:: else -> skip
	fi;
	if
	:: calls == 2 -> goto end
	:: else -> calls++
	fi;
	on_stack = true;
	called_off = false;
	has_element = false;
	blocked = true;
	atomic { !lock -> lock = true };
	linked = true;
	lock = false;

idle:
	if
	:: runnable -> goto resumed
	:: else -> skip
	fi;
	if
	:: inbox?item ->
		if
		:: item == WAITER -> wake()
		:: else ->
			d_step {
				assert(queued);
				asked = kill_asked;
				kill_asked = false;
				queued = false
			};
			taken = taken || asked;
			if
			:: asked ->
#if MUTANT == 7
				if
				:: linked -> killed = true
				:: else -> skip
				fi;
#else
				killed = true;
#endif
				call_off()
			:: else -> skip
			fi
		fi
	:: may_time_out ->
		may_time_out = false;
		timed_out = true;
		call_off()
	:: len(inbox) == 0 && !may_time_out && linked ->
		/* nobody else comes: the end of its thread kills it */
		killed = true;
		call_off()
	fi;
	goto idle;

resumed:
	runnable = false;
	on_stack = false;
#if MUTANT == 3
	if
	:: killed || timed_out -> timed_out = false
	:: else -> n_received = n_received + has_element
	fi;
#else
	if
	:: called_off ->
		if
		:: killed -> skip
		:: else -> assert(timed_out); timed_out = false
		fi
	:: else ->
		assert(has_element);
		n_received++
	fi;
#endif
	goto call;

end:
	assert(!taken || killed);
	/* retire(), let_go() */
	id = 0;
	d_step {
#if MUTANT == 6
		in_free_list = true;
#else
		if
		:: queued -> gone = true
		:: else -> in_free_list = true
		fi
#endif
	};
	do
	:: in_free_list ->
		/* another tenant */
		assert(len(inbox) == 0);
		id = 2;
		break
	:: gone ->
		/* it is in the inbox, or will be soon */
		inbox?item;
		assert(item == TASKLET);
		d_step {
			kill_asked = false;
			queued = false;
			gone = false;
			in_free_list = true
		}
	od;
	/* Requests that come now are not from those who meant the first tenant. */
	timeout;
	assert(len(inbox) == 0);
	assert(!kill_asked);
	assert(n_received == sent)
}

init
{
	atomic {
		run Owner();
		run Sender();
		run Killer();
		run Asker()
	}
}
