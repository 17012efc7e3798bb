/* SPDX-License-Identifier: MIT */
/*
 * The scheduler of one OS thread: the ring of runnable tasklets and its cursor.
 *
 * The ring is an array that wraps around. The running tasklet is outside of it:
 * what the rules call "the end", just before the running one, is its back, and
 * the successor is its front. An array can be read ahead, which a list cannot:
 * the descriptor and the stack of those to run soon are fetched while others
 * run. A tasklet that is removed leaves a tombstone, `weft__nobody`.
 *
 * The array is at least twice as long as there are tasklets, so the back never
 * reaches the front (see weft__queue_reserve and weft__queue_remove).
 */
#ifndef WEFT__SCHEDULER_H
#define WEFT__SCHEDULER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <weft/channel.h>
#include <weft/debug.h>
#include <weft/scheduler.h>

#include "debug.h"
#include "engine/engine.h"
#include "exception.h"
#include "inbox.h"
#include "stack.h"
#include "tasklet.h"
#include "timer.h"
#include "waiter.h"

/* How many switches may pass until the engine is entered: what has been queued for
 * the kernel is handed in, and what the kernel holds back is fetched. */
enum { SWITCHES_BETWEEN_LOOKS = 64 };

/* How far ahead of the cursor descriptors and stacks are fetched. */
enum { FETCH_TASK_AHEAD = 16, FETCH_STACK_AHEAD = 8 };

enum { N_POSITION_GATES = 256 };

/* A call of run or pump that is under way: on its caller's stack, or main's, which
 * must outlive a stack that pthread_exit() takes away (thread.c), in the
 * scheduler. */
struct run_frame {
	struct timer timer; /* first: of run_until */
	struct run_frame *outer;
	struct weft_task *task;
	int result;
	bool is_pump;
	bool interrupted; /* by kill or raise: they say what is returned */
};

/* What weft_fd() opened; see embed.c. Owner only, but for writes to event_fd. */
struct embedding {
	int event_fd;
	bool is_quiet; /* nothing is to be read from event_fd, but from others */
};

struct scheduler {
	/* owner only; `current`, `head` and `tail` are read by any thread */
	_Atomic(struct weft_task *) current;
	struct weft_task **queue;
	uint32_t mask;
	_Atomic(uint32_t) head;
	_Atomic(uint32_t) tail;
	_Atomic(uint32_t) n_tombstones;
	int32_t budget; /* switches until the engine is entered, at the latest */
	int32_t counted; /* what it was when `switches` was last written */
	const void *left_from; /* where the call that switched returns to */
	struct exceptions *exceptions; /* of the thread; NULL: no C++ */
	weft_schedule_fn on_schedule;
	struct weft_task *free_tasks;
	uint64_t next_id;
	_Atomic(uint64_t) n_arrived; /* tasklets ever; the order of the next */
	_Atomic(size_t)
		alive; /* not ended, main excluded; read by any thread */
	uint8_t default_class;

	struct weft_task *main;
	struct run_frame *runs; /* the innermost */
	struct run_frame main_frame;
	size_t n_inside; /* tasklets inside run or pump, main excluded */
	void *starter_top;
	void *starter;       /* the mapping */
	unsigned starter_id; /* Valgrind's, and of the thread's own stack */
	unsigned own_stack_id;
	struct arch_fpu fpu; /* the thread's, while a tasklet has its own */

	struct weft_task *refused; /* waiting for an end, see tasklet.c */
	bool is_refusing;

	/* what makes calls take the careful way, see weft__fast */
	int trap_level;
	bool in_callback;
	void *on_schedule_ctx;
	weft_channel_fn on_channel;
	void *on_channel_ctx;
	struct embedding *embedding; /* see embed.c */
	struct timer_queue timers;
	struct scope *free_scopes; /* see deadline.c */
	struct stack_cache stacks;
	struct engine engine;

	/* park.c */
	int64_t spin_ns;     /* how long to spin before the next park */
	int64_t spin_max_ns; /* WEFT_SPIN */
	unsigned n_short_sleeps;
	_Atomic(uintptr_t) *used_word; /* to be set to 0; see waiter.h */
	int64_t recheck_ns;            /* pause before the next verdict */
	int64_t trim_ns; /* when to look for unused stacks; 0: not now */
	uint32_t random; /* of select.c; never 0 */

	unsigned n_foreign; /* tasklets taken in that other threads created */

	size_t n_offloaded; /* calls that helpers have or will have, offload.c */
	/* of them, those of files, see position.c: all, how many are at each gate,
	 * and who waits for the end of one */
	struct slow *transfers;
	uint32_t n_slow_at[N_POSITION_GATES];
	struct waiter *closers;

	/* Operations that the kernel has cut short, until their tasklets run and
	 * begin them again, see await.c. */
	struct ring_wait *cut_short;

	/* written by the owner, read by any thread that holds the registry */
	_Atomic(uint64_t) switches; /* up to the last look, see weft_stats() */
	_Atomic(uint64_t) ended, failed, abandoned, parks, timers_fired;
	_Atomic(uint64_t) wakes_sent, wakes_saved;
	_Atomic(int64_t) worst_lateness_ns;

	/* under the mutex of task_pool.c */
	struct task_slab *slabs, *first_slab; /* the last and first taken */
	struct weft_task *stock;              /* spare, for others to fill */

	/* under the registry's mutex */
	struct scheduler *newer, *older; /* attached; or the next spare one */

	/* any thread, at any time, as is `current`: not cleared for a new thread
	 * but by atomic stores (thread.c) */
	_Atomic(uint64_t) thread_id; /* 0: not attached */
	pid_t tid;                   /* the kernel's; under the registry */
	struct inbox inbox __attribute__((aligned(128)));
} __attribute__((aligned(128)));

extern __thread struct scheduler *weft__self HIDDEN
	__attribute__((tls_model("initial-exec")));

/* The same while the fast ways are enough, else NULL: with a trap or callbacks
 * set, or driven by another loop. So who has to look for a scheduler anyway finds
 * out for nothing. */
extern __thread struct scheduler *weft__fast HIDDEN
	__attribute__((tls_model("initial-exec")));

void weft__choose_ways(struct scheduler *s);
extern struct weft_task weft__nobody HIDDEN;

/* Attaches the calling thread. NULL with errno set when it cannot be. */
struct scheduler *weft__attach(void);

/* The calling thread's scheduler; NULL with errno set. */
static INLINE struct scheduler *weft__scheduler(void)
{
	struct scheduler *s = weft__self;

	return likely(s) ? s : weft__attach();
}

/* Counters that the owner alone writes. */
#define count(counter) poke(counter, peek(counter) + 1)

/* --- the queue --- */

/* Makes room for @n tasklets. 0 or -ENOMEM. */
int weft__queue_reserve(struct scheduler *s, size_t n);

static INLINE bool weft__queue_is_empty(struct scheduler *s)
{
	return peek(s->tail) - peek(s->head) == peek(s->n_tombstones);
}

/* At the end (rule R1). */
static INLINE void weft__enqueue(struct scheduler *s, struct weft_task *t)
{
	uint32_t tail = peek(s->tail);

	s->queue[tail & s->mask] = t;
	t->position = tail;
	poke(s->tail, tail + 1);
}

/* To be the next to run. */
static INLINE void weft__enqueue_first(struct scheduler *s, struct weft_task *t)
{
	uint32_t head = peek(s->head) - 1;

	s->queue[head & s->mask] = t;
	t->position = head;
	poke(s->head, head);
}

/* Few tasklets are in the cache anyway. */
static INLINE void weft__fetch_ahead(struct weft_task **queue, uint32_t head,
				     uint32_t tail, uint32_t mask)
{
	if (tail - head <= FETCH_TASK_AHEAD)
		return;
	__builtin_prefetch(queue[(head + FETCH_TASK_AHEAD) & mask]);
	__builtin_prefetch(
		queue[(head + FETCH_STACK_AHEAD) & mask]->context.sp);
}

/* The successor, of a queue that is not empty. */
static INLINE struct weft_task *weft__dequeue(struct scheduler *s)
{
	struct weft_task **queue = s->queue;
	uint32_t mask = s->mask;
	uint32_t head = peek(s->head);
	struct weft_task *t = queue[head & mask];

	while (unlikely(t == &weft__nobody)) {
		poke(s->n_tombstones, peek(s->n_tombstones) - 1);
		t = queue[++head & mask];
	}
	poke(s->head, head + 1);
	weft__fetch_ahead(queue, head, peek(s->tail), mask);
	return t;
}

/* Rule R4 in one: puts @t at the end and returns the successor. */
static INLINE struct weft_task *weft__rotate(struct scheduler *s,
					     struct weft_task *t)
{
	struct weft_task **queue = s->queue;
	uint32_t mask = s->mask;
	uint32_t head = peek(s->head);
	uint32_t tail = peek(s->tail);
	struct weft_task *next;

	queue[tail & mask] = t;
	t->position = tail;
	poke(s->tail, tail + 1);
	next = queue[head & mask];
	if (unlikely(next == &weft__nobody))
		return weft__dequeue(s);
	poke(s->head, head + 1);
	weft__fetch_ahead(queue, head, tail, mask);
	return next;
}

/* Takes a queued tasklet out (rule R2). */
void weft__queue_remove(struct scheduler *s, struct weft_task *t);

/* --- switching --- */

/* Returns @from. */
#ifdef WEFT__SANITIZED
struct weft_task *weft__switch_tasks(struct weft_task *from,
				     struct weft_task *to);
#else
_Static_assert(offsetof(struct weft_task, context) == 0,
	       "the context is first");

static INLINE struct weft_task *weft__switch_tasks(struct weft_task *from,
						   struct weft_task *to)
{
	return (struct weft_task *)weft__context_switch(&from->context,
							&to->context);
}
#endif

/* Looks at what other threads handed in, at timers and at completions; enters the
 * engine when that is due, however often it is called. Never waits, never switches;
 * may make tasklets runnable, and tells who drives the thread from outside. */
void weft__look_around(struct scheduler *s);

/* Whether there is something to look at. Counts a switch. */
static INLINE bool weft__must_look(struct scheduler *s)
{
	/* relaxed: taking the content is what orders it [inbox.1] */
	return unlikely(--s->budget <= 0) ||
	       unlikely(peek(s->inbox.word) != INBOX_EMPTY);
}

/* Who runs when the caller has left the ring and it is empty. It parks as
 * needed, on the caller's stack, and may return the caller itself. */
struct weft_task *weft__idle(struct scheduler *s);

/* The next tasklet for one who has left the ring. */
static INLINE struct weft_task *weft__next(struct scheduler *s)
{
	if (weft__must_look(s))
		weft__look_around(s);
	if (unlikely(weft__queue_is_empty(s)))
		return weft__idle(s);
	return weft__dequeue(s);
}

/* The same for one who is handling exceptions of C++, see exception.c. */
struct weft_task *weft__switch_with_exceptions(struct scheduler *s,
					       struct weft_task *from,
					       struct weft_task *to);

/* Lets @to, which is in no queue, have the thread. Returns the caller, when it
 * has the thread again. Three instructions are for C++, seven where there is one. */
static INLINE struct weft_task *weft__switch_to(struct scheduler *s,
						struct weft_task *to)
{
	struct weft_task *from = peek(s->current);

	poke(s->current, to);
	if (unlikely(s->exceptions) &&
	    weft__exceptions_are_there(s->exceptions))
		return weft__switch_with_exceptions(s, from, to);
	return weft__switch_tasks(from, to);
}

/* For functions that switch and are the last step of a public call: before that,
 * and to return after it; see weft__come_back(). */
#ifdef ARCH_RETURNS_BY_JUMP
#define LEAVE(s)             ((s)->left_from = __builtin_return_address(0))
#define COME_BACK(s, result) weft__come_back(result, (s)->left_from)
/* The same where most tasklets come from the same place. */
#define COME_BACK_TO_SAME(s, result)                           \
	(likely((s)->left_from == __builtin_return_address(0)) \
		 ? (result)                                    \
		 : weft__come_back(result, (s)->left_from))
#else
#define LEAVE(s)                     ((void)(s))
#define COME_BACK(s, result)         (result)
#define COME_BACK_TO_SAME(s, result) (result)
#endif

/* Makes a blocked tasklet of this thread runnable, at the end. */
static INLINE void weft__wake_local(struct scheduler *s, struct weft_task *t)
{
	poke(t->state, WEFT_RUNNABLE);
	weft__enqueue(s, t);
}

/* Gives way to @to as weft__switch_to() does, at leisure: for callers for whom
 * something is to be looked at. */
void weft__switch_to_careful(struct scheduler *s, struct weft_task *to);

/* Calls the schedule callback before a switch to @to, which is in no queue.
 * Returns who is to run after it. */
struct weft_task *weft__tell_switch(struct scheduler *s, weft_tasklet from,
				    struct weft_task *to);

/* Around what is the user's to write and must not switch. */
bool weft__begin_callback(struct scheduler *s);
void weft__end_callback(struct scheduler *s, bool was_inside);

/* Whether calls that would switch are to fail. */
static INLINE bool weft__is_trapped(const struct scheduler *s)
{
	return s->trap_level || s->in_callback;
}

/* Something may have been made runnable, by the thread itself: what drives it
 * from outside must learn of it. */
void weft__embedding_changed(struct scheduler *s);

/* A run or pump returns: from here on the thread may be elsewhere. */
void weft__embedding_settle(struct scheduler *s);

/* Another thread has handed something in. */
void weft__embedding_ring(const struct scheduler *s);

/* Closes what weft_fd() opened. */
void weft__embedding_free(struct scheduler *s);

/* In a child of fork(): the same descriptors, on their own. */
void weft__embedding_renew(struct scheduler *s);

static INLINE void weft__note_runnable(struct scheduler *s)
{
	if (unlikely(s->embedding))
		weft__embedding_changed(s);
}

/* Lets go of the thread until somebody wakes @w, which the caller has put where
 * it will be found. */
static INLINE void weft__block(struct scheduler *s, struct waiter *w,
			       bool careful)
{
	struct weft_task *t = peek(s->current);
	struct weft_task *next;

	t->waiter = w;
	poke(t->state, WEFT_BLOCKED);
	next = weft__next(s);
	if (careful && (unlikely(!weft__fast) || unlikely(t->attention)))
		weft__switch_to_careful(s, next);
	else if (next != t)
		weft__switch_to(s, next);
	/* It may be there only since the call began. */
	weft__note_runnable(s);
}

/* What a blocking call must return for a kill, a raise, which it consumes, or a
 * deadline; 0 if there is none, or a shield is up. */
int weft__interruption(struct weft_task *t);

/* Has a tasklet of this thread leave what it waits in, or lets it go on if it is
 * paused: for whoever has marked it for weft__interruption(). */
void weft__call_off(struct scheduler *s, struct weft_task *t);

/* For what a call has to see through, and so must wait whatever happens. Returns
 * what is to be handed to weft__undeafen() after it. */
static inline bool weft__deafen(struct weft_task *t)
{
	bool was_deaf = t->flags & TASK_IS_DEAF;

	t->flags |= TASK_IS_DEAF;
	return was_deaf;
}

static inline void weft__undeafen(struct weft_task *t, bool was_deaf)
{
	if (!was_deaf)
		t->flags &= (uint8_t)~TASK_IS_DEAF;
}

/* --- deadline.c --- */

/* Marks those scopes whose moment has come. */
void weft__look_at_scopes(struct weft_task *t);

/* Ends all scopes of a tasklet. */
void weft__drop_scopes(struct scheduler *s, struct weft_task *t);

void weft__free_scopes(struct scheduler *s);

/* What a blocking call returns whose wait has been called off. */
static inline int weft__called_off(const struct waiter *w)
{
	return w->called_off == TOLD_OF_DEADLOCK ? -EDEADLK
						 : weft__interruption(w->task);
}

/* What a blocking call returns that has waited. */
static INLINE int weft__outcome(const struct waiter *w)
{
	return unlikely(w->called_off) ? weft__called_off(w) : w->result;
}

int weft__enter_slowly(struct scheduler *s);

/* To be asked by a blocking call before it does anything, if there is
 * attention to pay: 0, or what it must return at once. From the second refusal
 * in a row on it gives way first, so that a tasklet which ignores errors cannot
 * freeze its thread. In a callback it is -EPERM, and nothing is consumed. */
static INLINE int weft__enter(struct scheduler *s)
{
	struct weft_task *t = peek(s->current);

	if (likely(!t->attention) &&
	    likely(!(t->flags & (TASK_WAS_REFUSED | TASK_IN_CALLBACK))))
		return 0;
	return weft__enter_slowly(s);
}

/* To be asked by a blocking call that has to wait: 0, -EAGAIN or -EPERM. */
static INLINE int weft__may_wait(struct scheduler *s)
{
	if (unlikely(peek(s->current)->attention & ATTENTION_BLOCK_TRAP))
		return -EAGAIN;
	return unlikely(weft__is_trapped(s)) ? -EPERM : 0;
}

/* Switches since the last look, which the statistics do not have yet. */
uint64_t weft__switches_since_look(const struct scheduler *s);

/* Control of tasklets of this thread that have not ended. 0 or -EBUSY. */
int weft__insert(struct scheduler *s, struct weft_task *t);
int weft__remove(struct scheduler *s, struct weft_task *t);

/* The same for another thread: the current one is paused when it next gives way. */
void weft__remove_as_requested(struct scheduler *s, struct weft_task *t);

int weft__run_first(struct scheduler *s, struct weft_task *t); /* the next */
int weft__run_now(struct scheduler *s, struct weft_task *t);   /* rule R3 */
int weft__switch_now(struct scheduler *s, struct weft_task *t);

/* Makes a paused tasklet runnable that was interrupted. */
void weft__interrupt_pause(struct scheduler *s, struct weft_task *t);

/* The call of run or pump that main is in, if any, and those nested deeper return
 * at once: their tasklets are runnable, main is nowhere. */
void weft__drop_main_frame(struct scheduler *s);

/* Runs the others until the ring is empty or @deadline has come; never parks. */
void weft__run_runnable(struct scheduler *s, int64_t deadline);

#endif /* WEFT__SCHEDULER_H */
