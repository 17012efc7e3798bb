/* SPDX-License-Identifier: MIT */
/*
 * The scheduler of one OS thread: what it has.
 *
 *	queue.h   the tasklets that are runnable
 *	switch.h  giving the thread to another tasklet
 *	block.h   the steps of a blocking call
 *	run.h     calls of run and pump, within which other tasklets run
 */
#ifndef WEFT__SCHEDULER_H
#define WEFT__SCHEDULER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <sys/types.h>
#include <weft/embed.h>
#include <weft/scheduler.h>

#include "base/debug.h"
#include "core/inbox.h"
#include "core/queue.h"
#include "core/run.h"
#include "core/tasklet.h"
#include "core/timer.h"
#include "engine/engine.h"
#include "stack/exception.h"
#include "stack/stack.h"

/* How many switches may pass at most before the engine is polled: then it hands
 * queued operations to the kernel, and fetches completions that the kernel holds
 * back. */
enum { SWITCHES_BETWEEN_POLLS = 64 };

/* Calls have a fast path, and a careful path that has the hooks. These are the
 * reasons why the calls of a thread take the careful one. */
enum careful {
	CAREFUL_OF_TRAP = 1,      /* weft_switch_trap() is set */
	CAREFUL_IN_CALLBACK = 2,  /* a callback runs: it must not switch */
	CAREFUL_OF_SCHEDULE = 4,  /* the schedule callback is set */
	CAREFUL_OF_CHANNEL = 8,   /* the channel callback is set */
	CAREFUL_OF_EMBEDDING = 16 /* another loop drives the thread (embed.c) */
};

struct park_callback {
	weft_park_fn fn; /* NULL: none */
	void *ctx;
};

struct scheduler {
	/* owner only; any thread reads `current` and the length of the queue */
	_Atomic(struct weft_task *) current;
	struct run_queue queue;
	int32_t budget;        /* switches left until the engine is polled */
	int32_t counted;       /* the budget when `switches` was last written */
	const void *left_from; /* where the call that switched returns to */
	struct exceptions *exceptions; /* the thread's; NULL: no C++ */
	weft_schedule_fn on_schedule;
	struct weft_task *free_tasks; /* descriptors, see task_pool.c */
	uint64_t next_id;             /* of the next tasklet, see new_id() */
	_Atomic(uint64_t) n_arrived;  /* tasklets ever; the next one's order */
	_Atomic(size_t)
		alive; /* not ended, main excluded; any thread reads it */
	uint8_t default_class; /* of stacks, for a spawn that names no size */

	struct weft_task *main;
	struct run_frame *runs; /* frames of run and pump, the innermost one */
	struct run_frame main_frame;
	size_t n_inside;     /* tasklets inside run or pump, main excluded */
	void *starter_top;   /* of the stack on which fresh tasklets start */
	void *starter;       /* its mapping */
	unsigned starter_id; /* Valgrind's id; and of the thread's own stack */
	unsigned own_stack_id;
	struct arch_fpu fpu; /* the thread's, while a tasklet uses its own */

	/* tasklets that could not be taken in, until they end: tasklet.c */
	struct weft_task *refused, *last_refused;
	void *walked;         /* the list of a walk, see tasklet.c */
	bool is_refusing;     /* the first of `refused` is just ending */
	bool has_found_work;  /* for the end of a look around */
	bool is_unregistered; /* at its end: its id does not find it any more */

	unsigned careful; /* enum careful: why calls take their careful paths */
	int trap_level;
	bool is_thread_going_on; /* it detaches, but does not end */
	void *on_schedule_ctx;
	struct park_callback on_park;
	struct park_callback told_of_park; /* and is to be told of its end */
	struct embedding *embedding;       /* see embed.c */
	struct timer_queue timers;
	struct scope *free_scopes; /* see deadline.c */
	struct stack_cache stacks;
	struct engine engine;

	/* park.c */
	int64_t spin_ns;     /* how long to spin before the next park */
	int64_t spin_max_ns; /* WEFT_SPIN */
	unsigned n_short_sleeps;
	uintptr_t arrived; /* taken out of the inbox, and not yet in */
	_Atomic(uintptr_t) *used_word; /* still to be set to 0: waiter.h */
	int64_t recheck_ns; /* pause before the next check for deadlock */
	int64_t trim_ns;    /* when to look for unused stacks; 0: not set */

	unsigned n_foreign; /* tasklets that other threads created for it */
	size_t n_offloaded; /* calls that helpers do or will do, io/offload.c */
	size_t n_unheard; /* operations in flight that wake no tasklet when they
			   * complete, and */
	size_t n_hungry; /* tasklets that they may wake all the same: stream.c */
	struct holding *holdings; /* see holding.h */

	/* the owner writes, any thread that holds the registry reads */
	_Atomic(uint64_t) switches; /* up to the last look, see weft_stats() */
	_Atomic(uint64_t) ended, failed, abandoned, parks, timers_fired;
	_Atomic(uint64_t) wakes_sent, wakes_saved;
	_Atomic(int64_t) worst_lateness_ns;

	/* under the mutex of task_pool.c */
	struct task_slab *slabs, *first_slab; /* the last and first taken */
	struct weft_task *stock; /* spare, for other threads to fill */

	/* under the registry's mutex (thread.c) */
	struct scheduler *newer, *older; /* attached; or the next spare one */

	/* any thread, at any time, like `current`: only atomic stores clear
	 * these for a new thread (thread.c) */
	_Atomic(uint64_t) thread_id; /* 0: not attached */
	pid_t tid; /* the kernel's id; under the registry's mutex */
	struct inbox inbox __attribute__((aligned(128)));
} __attribute__((aligned(128)));

extern __thread struct scheduler *weft__self HIDDEN
	__attribute__((tls_model("initial-exec")));

/* The same pointer while the fast paths are enough. NULL if a trap or callbacks
 * are set, or another loop drives the thread. A call has to look for its
 * scheduler anyway, so this test costs it nothing. */
extern __thread struct scheduler *weft__fast HIDDEN
	__attribute__((tls_model("initial-exec")));

/* The same pointer, and NULL also if the thread has a C++ runtime: for paths
 * that switch without a look at exceptions, see stack/exception.c. */
extern __thread struct scheduler *weft__plain HIDDEN
	__attribute__((tls_model("initial-exec")));

/* Sets or clears one reason to take the careful paths. */
void weft__set_careful(struct scheduler *s, enum careful why, bool on);

/* Looks for a C++ runtime, which may have been loaded since the last look. */
void weft__look_for_exceptions(struct scheduler *s);

/* Attaches the calling thread. NULL with errno set if that fails. */
struct scheduler *weft__attach(void);

/* The calling thread's scheduler; NULL with errno set. */
static INLINE struct scheduler *weft__scheduler(void)
{
	struct scheduler *s = weft__self;

	return likely(s) ? s : weft__attach();
}

static INLINE bool weft__in_callback(const struct scheduler *s)
{
	return s->careful & CAREFUL_IN_CALLBACK;
}

/* Whether calls that would switch must fail. */
static INLINE bool weft__is_trapped(const struct scheduler *s)
{
	return s->careful & (CAREFUL_OF_TRAP | CAREFUL_IN_CALLBACK);
}

/* Switches since the last look around, which the statistics do not have yet. */
static inline uint64_t weft__switches_since_look(const struct scheduler *s)
{
	return (uint64_t)(s->counted - s->budget);
}

#endif /* WEFT__SCHEDULER_H */
