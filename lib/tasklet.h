/* SPDX-License-Identifier: MIT */
/*
 * The tasklet's descriptor: two cache lines and 32 bytes of name elsewhere.
 *
 * The first line is what a switch reads, the second what happens more rarely.
 * Descriptors are type-stable: the memory of one is only ever used for another,
 * so a stale handle can be looked at, and its id tells.
 *
 *	state, each change by the owner's thread:
 *
 *	          spawn            paused option
 *	            |                   |
 *	            v      remove       v      kill, end of thread
 *	   +---> RUNNABLE ---------> PAUSED ----------------> DEAD
 *	   |        | ^  <---------    ^                       ^
 *	   | wake   | |     insert     | weft_run              |
 *	   |        | +----------------+                       |
 *	   |        v         a call that waits                |
 *	   +----- BLOCKED <---- RUNNABLE and current ----------+
 *	                                          fn returns
 *
 * WEFT_RUNNING is not stored: it is RUNNABLE and its scheduler's current.
 */
#ifndef WEFT__TASKLET_H
#define WEFT__TASKLET_H

#include <errno.h>
#include <stdatomic.h>
#include <weft/tasklet.h>

#include "context.h"
#include "inbox.h"
#include "waiter.h"

/* task->attention: what a blocking call must look at before anything else.
 * Owner only. */
enum {
	ATTENTION_KILLED = 1,
	ATTENTION_RAISED = 2, /* task->err */
	ATTENTION_OWN_FPU = 4,
	ATTENTION_BLOCK_TRAP = 8,
	ATTENTION_SCOPED = 16,    /* task->scopes; the clock counts */
	ATTENTION_TIMED_OUT = 32, /* one of them has run out */
	ATTENTION_SCOPELESS = 64, /* there was no memory for one */
	ATTENTION_HAS_DROP = 128  /* never started: task->drop */
};

/* task->flags, owner only. */
enum {
	TASK_INSIDE_RUN = 1,
	TASK_WAS_REFUSED = 2,  /* the last call returned that it was killed, or
				 that a deadline has passed */
	TASK_BORN_PAUSED = 4,  /* for REQUEST_NEW */
	TASK_IS_DEAF = 8,      /* nothing interrupts it, see weft__deafen() */
	TASK_IN_CALLBACK = 16, /* the current one, while its thread is in one */
	TASK_TO_PAUSE = 32 /* another thread has it removed when it gives way */
};

/* task->about: set at birth, read by any thread. */
enum { TASK_IS_MAIN = 1, TASK_HAS_NAME = 2 };

/*
 * task->word: the id above, and in the low bits what other threads ask for, and
 * a lock for what they may look at. An id of 0 says that the tenant has ended.
 * [task.1] [task.2]
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
	WORD_LOCKED = 128,  /* somebody is at `joiners` or `err` */
	WORD_JOINED = 256,  /* `joiners` is not empty */
	REQUEST_REMOVE = 512,
	WORD_BITS = 10
};

/* What the owner takes out of the word when it finds it in its inbox. With
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
	uint32_t position; /* RUNNABLE: in the queue */
	_Atomic(struct scheduler *)
		owner; /* set after the id before is gone, and before the next
			* one is there; any thread [task.3] */
	union {
		struct waiter *waiter;       /* BLOCKED: on this */
		struct weft_task *next_free; /* no tenant */
		struct arch_fpu fpu;         /* to start with, of its own */
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
	struct joiner *joiners; /* the last to come; under WORD_LOCKED */
	union {
		struct deferred *deferred; /* owner only; the last first */
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
	/* relaxed: the id alone; a caller that needs more orders it itself */
	return peek(((struct weft_task *)t)->word) >> WORD_BITS;
}

static inline bool weft__task_is_main(const struct weft_task *t)
{
	return peek(((struct weft_task *)t)->about) & TASK_IS_MAIN;
}

/* Has not run yet, and never was on a stack. */
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

/* Whether what was read of a tasklet, after weft__is_alive(), was this tenant's. */
static inline bool weft__was_alive(weft_tasklet t)
{
	/* acquire: it was read before the id is read again [task.3] */
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

/* Gives a scheduler its main tasklet: 0 or -ENOMEM. */
int weft__task_create_main(struct scheduler *s);

/* Runs what the main tasklet has deferred, at the end of its thread. */
void weft__task_run_deferred(struct scheduler *s, struct weft_task *t);

/* Ends the main tasklet, and gives its descriptor and all others back for other
 * threads. */
void weft__task_release_all(struct scheduler *s);

#ifdef WEFT__SANITIZED
/* Finds a stack for a tasklet that is about to run first. */
void weft__task_prepare(struct weft_task *t);
#endif

/* weft_spawn_with(). @j, if it is not NULL, has no task in its waiter and a kind
 * that says what to do when the tasklet is born and when it has ended; it joins
 * the tasklet from the beginning. On failure it may be in use no more, born or
 * not. */
weft_tasklet weft__spawn(const struct weft_tasklet_options *options, weft_fn fn,
			 void *arg, struct joiner *j);

/* Takes one in that another thread created: false if there is no memory. */
bool weft__task_admit(struct scheduler *s, struct weft_task *t);

/* Ends one that was never counted in. */
void weft__task_refuse(struct scheduler *s, struct weft_task *t, int result);

/* Lets go of a descriptor whose tenant has ended. */
void weft__task_release(struct scheduler *s, struct weft_task *t);

/* Has every tasklet of a thread looked at, main included, in no order. @look must
 * not create or end any. (task_pool.c) */
void weft__task_each(const struct scheduler *owner,
		     void (*look)(struct weft_task *t, void *arg), void *arg);

/* Kills all tasklets of the thread but main, in the order in which they came:
 * they are runnable or have ended, or their wake is on the way. 0 or -ENOMEM. */
int weft__task_kill_all(struct scheduler *s);

/* Ends those that are left as they are: nobody goes to their stacks any more. */
void weft__task_abandon_all(struct scheduler *s);

/* --- control.c --- */

/* Takes in what other threads asked of a tasklet, from the inbox. */
void weft__task_requested(struct scheduler *s, struct weft_task *t);

/* The same, when the thread takes nothing in any more. */
void weft__task_request_refused(struct scheduler *s, struct weft_task *t);

/* Marks a tasklet of this thread, which is not the current one, as killed, or
 * raises @err if that is not 0, and makes it runnable unless a shield or a claim
 * is in the way. One that has never run ends when its turn comes. */
void weft__task_interrupt(struct scheduler *s, struct weft_task *t, int err);

/* --- join.c --- */

/* One who waits for the end of a tasklet, or, without a task in its waiter, only
 * wants the result, and with a kind in it is told of the end. */
struct joiner {
	struct waiter waiter;
	struct weft_task *target;
	uint64_t id;
};

/* Takes the lock in the word of a tasklet with that id; false if it has ended.
 * Held for a few instructions. */
bool weft__task_lock(struct weft_task *t, uint64_t id);

/* Sets some bits, clears others and lets the lock go; returns the word from
 * before. */
uint64_t weft__task_unlock(struct weft_task *t, uint64_t set, uint64_t clear);

/* False: the target has ended. */
bool weft__join_link(struct joiner *j, weft_tasklet target);

/* The id of a tasklet that ends has a lock or joiners beside it: takes it away,
 * and wakes them. */
void weft__join_end(struct scheduler *s, struct weft_task *t, int result);

/* In a child of fork(): takes out those who wait on other threads than @self's. */
void weft__join_forget_others(const struct scheduler *self,
			      struct weft_task *t);

/* Waits for the end of a tasklet as weft_tasklet_join(), with all its checks.
 * @has_ended says whether the tasklet has: no number that is returned does, for
 * each can be its result or an error that was raised. */
int weft__join(struct scheduler *s, weft_tasklet target, bool *has_ended);

#endif /* WEFT__TASKLET_H */
