/* SPDX-License-Identifier: MIT */
/*
 * A handle used while its descriptor gets another tenant: the check of
 * lib/core/control.c [task.3], with the requests of [task.1].
 *
 * A descriptor has an owner and a word: the id of its tenant, and bits. The first
 * tenant belongs to thread U, and may be on its way there. U ends it at any time.
 * Then the descriptor changes hands (lib/core/task_pool.c, here one step), and is
 * used for a tasklet of thread T, which another thread spawns, or T itself. The new
 * handle is listed as soon as the id is there, perhaps before T has the tasklet
 * (lib/sync/group.c). T makes control calls with both handles, and so does V, to
 * which neither tenant belongs.
 *
 *	here      owner is the caller; then the word has the handle's id, and NEW
 *	          is not set. With NEW: the inbox is taken, and both looked at again
 *	request   one step, which fails when the word has another id: sets the bit
 *	          and QUEUED; if that was not set, hands the descriptor in to its
 *	          owner
 *	taken     one step clears all bits; no id, but GONE: frees the descriptor.
 *	          NEW: admits the tenant, or refuses it for want of memory. A
 *	          request is for the tenant that is there
 *	end       clears the id; QUEUED: sets GONE, and leaves freeing to the
 *	          thread that takes it; else frees it
 *	birth     owner; then id, NEW and QUEUED in one step; hands in to the owner
 *
 * The owner is stored with release, after the previous id has been cleared; the id
 * is stored with release after the owner; both are loaded with acquire. So a thread
 * that sees one of them sees the steps before it. Steps in one order can say no
 * more than that. Mutants 3 and 4 are what a weaker order would allow.
 *
 * Checked: a thread that acts on a descriptor as its own owns the handle's tasklet,
 * and has admitted it; the tasklet is there as long as the act takes; a request
 * that is taken is for the tenant that is there; a descriptor is handed in to the
 * owner of the handle's tasklet, and is in at most one inbox.
 *
 * mutant 1, assertion: the id is looked at before the owner, and not after it
 * mutant 2, assertion: NEW does not matter
 * mutant 3, assertion: the owner is stored after the id
 * mutant 4, assertion: the owner is stored before the id has been cleared
 * mutant 5, assertion: a request does not compare the id
 * mutant 6, assertion: the end of a tasklet frees the descriptor though it is in an inbox
 * mutant 7, assertion: after the inbox has been taken the id is not looked at again
 * mutant 8, assertion: taking a request does not tell one for an ended tasklet
 */
#ifndef MUTANT
#define MUTANT 0
#endif

#define THREADS 3
#define T       0
#define U       1
#define V       2

/* the descriptor */
byte owner = U;
byte id = 1;
bool is_new = false;
bool queued = false;
bool gone = false;
byte asked = 0; /* the id for which a request is there; 0: none */

bool inbox[THREADS]; /* the descriptor is in it */
bool pooled = false; /* anybody may take the descriptor */
bool listed = false; /* the second handle is known to all */

/* For each tenant: whether its thread has admitted it. */
bool admitted[3];

#define OWNER_OF(h) ((h) == 1 -> U : T)
#define IS_OURS(h)  (id == (h) && admitted[h] && OWNER_OF(h) == me)

inline hand_in(to)
{
	d_step {
		assert(!inbox[to]);
		inbox[to] = true
	}
}

inline end_tenant()
{
#if MUTANT == 4
	owner = T;
#endif
	d_step {
		admitted[id] = false;
		id = 0
	};
	d_step {
		was_queued = queued;
		gone = gone || queued
	};
#if MUTANT == 6
	was_queued = false;
#endif
	has_it = has_it || !was_queued
}

/* Takes what is in the inbox of this thread. */
inline take()
{
	inbox[me] = false;
	d_step {
		tenant = id;
		was_new = is_new;
		what = asked;
		has_it = has_it || (id == 0 && gone);
		queued = false;
		is_new = false;
		gone = false;
		asked = 0
	};
	if
	:: tenant && was_new ->
		if
		:: admitted[tenant] = true
		:: end_tenant() /* no memory */
		fi
	:: else
	fi;
#if MUTANT != 8
	what = (tenant && (admitted[tenant] || !was_new) -> what : 0);
#endif
	if
	:: what -> assert(what == tenant && IS_OURS(what))
	:: else
	fi;
	d_step {
		tenant = 0;
		was_new = false;
		what = 0
	}
}

inline request(h)
{
	d_step {
#if MUTANT == 5
		is_there = (id != 0);
#else
		is_there = (id == h);
#endif
		was_queued = queued;
		if
		:: is_there ->
			asked = h;
			queued = true
		:: else
		fi
	};
	if
	:: is_there && !was_queued ->
		to = owner;
		assert(to == OWNER_OF(h));
		hand_in(to)
	:: else
	fi
}

inline look(h)
{
#if MUTANT == 1
	is_there = (id == h);
	is_fresh = is_new;
	is_there = is_there && owner == me;
#else
	is_there = (owner == me);
	d_step {
		is_there = is_there && id == h;
		is_fresh = is_new
	};
#endif
#if MUTANT == 2
	is_fresh = false
#endif
}

inline control(h)
{
	look(h);
	if
	:: is_there && is_fresh ->
		if
		:: inbox[me] -> take()
		:: else
		fi;
#if MUTANT == 7
		is_fresh = false
#else
		look(h)
#endif
	:: else
	fi;
	if
	:: is_there && !is_fresh ->
		assert(IS_OURS(h));
		assert(IS_OURS(h)) /* it takes some steps */
	:: else ->
		request(h)
	fi;
	d_step {
		is_there = false;
		is_fresh = false;
		was_queued = false;
		to = 0
	}
}

inline birth(on_way)
{
#if MUTANT != 3 && MUTANT != 4
	owner = T;
#endif
	d_step {
		id = 2;
		is_new = on_way;
		queued = on_way;
		admitted[2] = !on_way;
		listed = true
	};
#if MUTANT == 3
	owner = T
#endif
}

proctype caller(byte me)
{
	byte h, tenant, what, to;
	byte n_calls = 3;
	bool is_there, is_fresh, was_queued, was_new, has_it;

	do
	:: n_calls > 0 ->
		n_calls--;
		h = (listed -> 2 : 1);
		if
		:: h = 1
		:: skip
		fi;
		control(h);
		h = 0
	:: inbox[me] ->
		take()
	:: id && IS_OURS(id) ->
		end_tenant()
	:: me == T && pooled ->
		pooled = false;
		birth(false)
	:: timeout ->
		break
	od
}

proctype spawner(byte me)
{
	byte tenant, what;
	bool was_queued, was_new, has_it;

	do
	:: inbox[me] ->
		take()
	:: id && IS_OURS(id) ->
		end_tenant()
	:: has_it && !listed ->
		has_it = false;
		if
		:: birth(true);
			hand_in(T)
		:: pooled = true
		fi
	:: timeout ->
		break
	od
}

init
{
	atomic {
		if
		:: admitted[1] = true
		:: is_new = true;
			queued = true;
			inbox[U] = true
		fi;
		run caller(T);
		run caller(V);
		run spawner(U)
	}
}
