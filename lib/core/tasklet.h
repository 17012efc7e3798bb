/* SPDX-License-Identifier: MIT */
/*
 * The tasklet's descriptor, struct weft_task: two cache lines, and 32 bytes of name
 * elsewhere.
 *
 * A switch reads the first line; the second is for what happens more rarely.
 * Descriptors are type-stable: the memory of one is only ever used for another. One
 * tasklet after the other is the *tenant* of a descriptor. So a stale handle can be
 * looked at, and the id in the descriptor tells that the handle is stale.
 *
 *	state, each change by the owner's thread:
 *
 *	          spawn                        spawn, paused
 *	            |                               |
 *	            v   remove, switch, weft_run    v
 *	   +---> RUNNABLE ----------------------> PAUSED
 *	   |        |  ^                            |
 *	   | wake   |  +----------------------------+
 *	   |        |    insert, run, switch, kill, raise,
 *	   |        |    the end of the call of weft_run
 *	   |        v
 *	   +---- BLOCKED      a call that waits, of the current tasklet
 *
 *	RUNNABLE -> DEAD      the current tasklet ends; also at its first turn, if it
 *	                      was killed before or there is no stack for it
 *	BLOCKED -> DEAD       it could not be taken in (weft__task_refuse())
 *	any -> DEAD           abandoned at the end of its thread
 *
 * WEFT_RUNNING is not stored: a running tasklet is RUNNABLE and its scheduler's
 * current.
 */
#ifndef WEFT__TASKLET_H
#define WEFT__TASKLET_H

#include <errno.h>
#include <stdatomic.h>
#include <weft/tasklet.h>

#include "core/inbox.h"
#include "core/waiter.h"
#include "stack/context.h"

/* task->attention: what a blocking call must look at before anything else.
 * Owner only. */
enum {
	ATTENTION_KILLED = 1,
	ATTENTION_RAISED = 2, /* task->err */
	ATTENTION_OWN_FPU = 4,
	ATTENTION_BLOCK_TRAP = 8,
	ATTENTION_SCOPED = 16,    /* task->scopes; look at the clock */
	ATTENTION_TIMED_OUT = 32, /* one of its scopes has run out */
	ATTENTION_SCOPELESS = 64, /* there was no memory for a scope */
	ATTENTION_HAS_DROP = 128  /* never started: task->drop */
};

/* task->flags, owner only. */
enum {
	TASK_INSIDE_RUN = 1,
	TASK_WAS_REFUSED = 2,  /* the last call returned that it was killed, or
				 that a deadline has passed */
	TASK_BORN_PAUSED = 4,  /* for REQUEST_NEW */
	TASK_IS_DEAF = 8,      /* nothing ends its waits: weft__deafen() */
	TASK_IN_CALLBACK = 16, /* current, while its thread is in a callback */
	TASK_TO_PAUSE =
		32, /* another thread has it removed when it gives way */
	/* Its wait, of a kind with give_up, was called off, and it has not run
	 * since: `waiter` is still there. */
	TASK_CALLED_OFF = 64,
	TASK_KEEPS_RAISED = 128 /* weft__keep_raised() */
};

/* task->about: set at birth, read by any thread. */
enum { TASK_IS_MAIN = 1, TASK_HAS_NAME = 2 };

/*
 * task->word: the id in the upper bits; in the low bits what other threads ask for
 * (REQUEST_), where the descriptor is, and a lock for what they may look at (WORD_).
 * An id of 0 says that the tenant has ended. [task.1] (control.c), [task.2] (join.c)
 */
enum {
	REQUEST_QUEUED =
		1,       /* in the owner's inbox: not to be handed out again */
	REQUEST_NEW = 2, /* created by another thread, not yet taken in */
	REQUEST_INSERT = 4,
	REQUEST_RUN = 8,
	REQUEST_GONE = 16, /* ended, its stack and descriptor out of use */
	REQUEST_KILL = 32,
	REQUEST_RAISE = 64, /* task->err; taken back under the lock */
	WORD_LOCKED = 128,  /* a thread uses `joiners` or `err` */
	WORD_JOINED = 256,  /* `joiners` is not empty */
	REQUEST_REMOVE = 512,
	WORD_BITS = 10
};

/* What the owner takes out of the word of a descriptor in its inbox. With
 * REQUEST_GONE the descriptor stays out of use (task_pool.c). */
enum {
	REQUESTS_TAKEN = REQUEST_QUEUED | REQUEST_NEW | REQUEST_INSERT |
			 REQUEST_RUN | REQUEST_REMOVE | REQUEST_KILL
};

struct weft_task {
	/* owner only */
	struct context context;
	_Atomic(uint8_t) state; /* enum weft_state; read by any thread */
	uint8_t attention;
	uint8_t flags;
	uint8_t stack_class;
	uint32_t position; /* RUNNABLE: its place in the queue; refused: its
			    * result, negated */
	_Atomic(struct scheduler *)
		owner; /* set after the previous id is gone, and before the
			* next one is there; any thread [task.3] */
	union {
		struct waiter *waiter;       /* BLOCKED: waits by this */
		struct weft_task *next_free; /* no tenant */
		struct arch_fpu fpu;         /* its own, to start with */
	};
	char *stack; /* its top; NULL: never started, or main */

	/* the second line */
	struct inbox_node node; /* any thread, by whoever set REQUEST_QUEUED */
	_Atomic(uint64_t) word; /* any thread */
	union {
		weft_fn fn;           /* never started */
		struct scope *scopes; /* the innermost, see deadline.c */
	};
	union {
		void *arg;  /* never started */
		void *data; /* the user's */
	};
	union {
		uint64_t order;                 /* of arrival at its thread */
		struct weft_task *next_refused; /* it never arrives */
	};
	struct joiner *joiners; /* the latest first; under WORD_LOCKED */
	union {
		struct deferred *deferred; /* owner only; the latest first */
		void (*drop)(void *arg);   /* ATTENTION_HAS_DROP */
	};
	int err;                /* raised; under WORD_LOCKED */
	uint16_t n_shields;     /* owner only */
	_Atomic(uint8_t) about; /* read by any thread */
#ifdef WEFT__SANITIZED
} __attribute__((aligned(64)));
#else
} __attribute__((aligned(128)));
_Static_assert(sizeof(struct weft_task) == 128, "two cache lines");
#endif

#define NAME_SIZE 32

struct scheduler;

static inline uint64_t weft__task_id(const struct weft_task *t)
{
	/* relaxed, no pair: only the id; a caller that needs more orders it */
	return peek(((struct weft_task *)t)->word) >> WORD_BITS;
}

static inline bool weft__task_is_main(const struct weft_task *t)
{
	return peek(((struct weft_task *)t)->about) & TASK_IS_MAIN;
}

/* Whether the tasklet has never run and never been on a stack. */
static inline bool weft__task_is_fresh(const struct weft_task *t)
{
	return !t->stack && !weft__task_is_main(t);
}

static inline weft_tasklet weft__handle(struct weft_task *t)
{
	return (weft_tasklet){ .task = t, .id = weft__task_id(t) };
}

static inline weft_tasklet weft__null_handle(int err)
{
	errno = err;
	return (weft_tasklet){ .task = NULL, .id = 0 };
}

/* Whether the handle's tasklet has not ended. */
static inline bool weft__is_alive(weft_tasklet t)
{
	/* acquire: pairs with the release of the id at birth [task.1] */
	return t.task && t.id &&
	       atomic_load_explicit(&t.task->word, memory_order_acquire) >>
			       WORD_BITS ==
		       t.id;
}

/* Whether what was read of a tasklet after weft__is_alive() belonged to this
 * tenant. */
static inline bool weft__was_alive(weft_tasklet t)
{
	/* acquire: all of that was read before the id is read again [task.3] */
	atomic_thread_fence(memory_order_acquire);
	return weft__is_alive(t);
}

static inline uintptr_t weft__task_link(struct weft_task *t)
{
	return (uintptr_t)&t->node | INBOX_TASKLET;
}

static inline struct weft_task *weft__task_of_node(struct inbox_node *node)
{
	return (struct weft_task *)((char *)node -
				    offsetof(struct weft_task, node));
}

/* --- tasklet.c --- */

/* Gives a scheduler its main tasklet. Returns 0 or -ENOMEM. */
int weft__task_create_main(struct scheduler *s);

/* Runs what @t has deferred, at its end. */
void weft__task_run_deferred(struct weft_task *t);

/* Ends the main tasklet, and gives its descriptor and all other descriptors of the
 * scheduler back for other threads. */
void weft__task_release_all(struct scheduler *s);

#ifdef WEFT__SANITIZED
/* Finds a stack for a tasklet that will run for the first time. */
void weft__task_prepare(struct weft_task *t);
#endif

/* As weft_spawn_with(). @j, if not NULL, joins the tasklet from the beginning. Its
 * waiter has no task, and its kind says what to do when the tasklet is born and
 * when it has ended. After a failure @j is not in use any more, whether it was born
 * or not. */
weft_tasklet weft__spawn(const struct weft_tasklet_options *options, weft_fn fn,
			 void *arg, struct joiner *j);

/* Takes in a tasklet that another thread created. Returns false if there is no
 * memory. */
bool weft__task_admit(struct scheduler *s, struct weft_task *t);

/* Puts a tasklet that was never counted in on the list of those that are to end. */
void weft__task_refuse(struct scheduler *s, struct weft_task *t, int result);

/* Ends the tasklets on that list. The program's functions for their ends are called
 * here. */
void weft__task_end_refused(struct scheduler *s);

/* Frees a descriptor whose tenant has ended. */
void weft__task_release(struct scheduler *s, struct weft_task *t);

/* Calls @look for every tasklet of a thread, main included, in no order. @look must
 * not create or end any tasklet. (task_pool.c) */
void weft__task_each(const struct scheduler *owner,
		     void (*look)(struct weft_task *t, void *arg), void *arg);

/* Kills all tasklets of the thread but main, in the order in which they came. After
 * that they are runnable or have ended, or their wake is on the way. */
void weft__task_kill_all(struct scheduler *s);

/* Ends the tasklets that are left just as they are: nobody returns to their
 * stacks. */
void weft__task_abandon_all(struct scheduler *s);

/* --- control.c --- */

/* Takes in, from the inbox, what other threads asked of a tasklet. */
void weft__task_requested(struct scheduler *s, struct weft_task *t);

/* The same, if the thread takes nothing in any more. */
void weft__task_request_refused(struct scheduler *s, struct weft_task *t);

/* Marks a tasklet of this thread, which is not the current one, as killed; or
 * raises @err if that is not 0. Makes it runnable, unless a shield or a claim is in
 * the way. A tasklet that has never run ends when its turn comes. */
void weft__task_interrupt(struct scheduler *s, struct weft_task *t, int err);

/* The mark alone: its next blocking call, or the one that it is in, returns that. */
void weft__task_mark(struct weft_task *t, int err);

/* Whether the caller's thread owns the tasklet and has admitted it. Then only this
 * thread can end it, and the caller may act on the descriptor itself. */
bool weft__task_is_here(struct scheduler *s, weft_tasklet t);

/* --- join.c --- */

/* A tasklet that waits for the end of another one. Without a task in its waiter it
 * only wants the result, and the waiter's kind is told of the end. */
struct joiner {
	struct waiter waiter;
	struct weft_task *target;
	uint64_t id;
};

/* Takes the lock in the word of the tasklet with that id. Returns false if the
 * tasklet has ended. The lock is held for a few instructions. */
bool weft__task_lock(struct weft_task *t, uint64_t id);

/* Sets some bits, clears others, and releases the lock. Returns the word from
 * before. */
uint64_t weft__task_unlock(struct weft_task *t, uint64_t set, uint64_t clear);

/* Returns false if the target has ended. */
bool weft__join_link(struct joiner *j, weft_tasklet target);

/* For a tasklet that ends with a lock or joiners beside its id: takes the id away
 * and wakes the joiners. */
void weft__join_end(struct scheduler *s, struct weft_task *t, int result);

/* In a child of fork(): takes out the joiners of threads other than @self's. */
void weft__join_forget_others(const struct scheduler *self,
			      struct weft_task *t);

/* Waits for the end of a tasklet as weft_tasklet_join(), with all its checks.
 * @has_ended says whether the tasklet has ended. The result does not say it: each
 * number can be the tasklet's result, or an error that was raised. */
int weft__join(struct scheduler *s, weft_tasklet target, bool *has_ended);

#endif /* WEFT__TASKLET_H */
