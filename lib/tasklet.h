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

#include <stdatomic.h>
#include <weft/tasklet.h>

#include "context.h"
#include "inbox.h"

/* task->attention: what a blocking call must look at before anything else.
 * Owner only. */
enum {
	ATTENTION_KILLED = 1,
	ATTENTION_OWN_FPU = 2,
};

/* task->flags, owner only. */
enum {
	TASK_INSIDE_RUN = 1,
	TASK_WAS_REFUSED = 2, /* a call returned at once since it was killed */
};

/*
 * task->word: the id above, and in the low byte what other threads ask for. An
 * id of 0 says that the tenant has ended. [task.1]
 */
enum {
	REQUEST_QUEUED =
		1,       /* in the owner's inbox: not to be handed out again */
	REQUEST_NEW = 2, /* created by another thread, not yet taken in */
	REQUEST_INSERT = 4,
	REQUEST_RUN = 8,
	REQUEST_GONE = 16, /* ended, its stack and descriptor out of use */
	REQUEST_BITS = 8
};

#define REQUEST_MASK (((uint64_t)1 << REQUEST_BITS) - 1)

struct weft_task {
	/* owner only */
	struct context context;
	_Atomic(uint8_t) state; /* enum weft_state; read by any thread */
	uint8_t attention;
	uint8_t flags;
	uint8_t stack_class;
	uint32_t position; /* RUNNABLE: in the queue */
	_Atomic(struct scheduler *)
		owner; /* set before the id is; any thread */
	union {
		struct waiter *waiter;       /* BLOCKED: on this */
		struct weft_task *next_free; /* no tenant */
	};
	char *stack; /* its top; NULL: never started, or main */

	/* the second line */
	struct inbox_node node; /* any thread, by whoever set REQUEST_QUEUED */
	_Atomic(uint64_t) word; /* any thread */
	weft_fn fn;
	void *arg;
	uint64_t order; /* of arrival at its thread */
	struct arch_fpu fpu;
	int result;
	bool born_paused;      /* for REQUEST_NEW */
	_Atomic(bool) is_main; /* read by any thread */
	_Atomic(bool) has_name;
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
	return peek(((struct weft_task *)t)->word) >> REQUEST_BITS;
}

static inline weft_tasklet weft__handle(struct weft_task *t)
{
	return (weft_tasklet){ .task = t, .id = weft__task_id(t) };
}

/* Gives a scheduler its main tasklet: 0 or -ENOMEM. */
int weft__task_create_main(struct scheduler *s);

/* Ends the main tasklet, and gives its descriptor and the spare ones back for
 * other threads. */
void weft__task_release_all(struct scheduler *s);

#ifdef WEFT__SANITIZED
/* Finds a stack for a tasklet that is about to run first. */
void weft__task_prepare(struct weft_task *t);
#endif

/* Takes in what other threads asked of a tasklet, from the inbox. */
void weft__task_requested(struct scheduler *s, struct weft_task *t);

/* The same, when the thread takes nothing in any more. */
void weft__task_request_refused(struct scheduler *s, struct weft_task *t);

static inline struct weft_task *weft__task_of_node(struct inbox_node *node)
{
	return (struct weft_task *)((char *)node -
				    offsetof(struct weft_task, node));
}

/* Kills all tasklets of the thread but main, in the order in which they came:
 * they are runnable or have ended, or their wake is on the way. 0 or -ENOMEM. */
int weft__task_kill_all(struct scheduler *s);

/* Ends those that are left as they are. Their descriptors are never used
 * again: somebody's stack is in them. */
void weft__task_abandon_all(struct scheduler *s);

#endif /* WEFT__TASKLET_H */
