/* SPDX-License-Identifier: MIT */
/*
 * The life of a tasklet: descriptor, stack, first entry, end.
 *
 * A fresh tasklet has a context like any other, so that nobody who switches has
 * to ask: it starts start() on a small stack of the scheduler's, which finds a
 * stack for the tasklet and goes there. An ending tasklet whose successor is
 * fresh and wants the same size keeps the stack warm: it becomes the successor,
 * without a switch.
 *
 * An ending tasklet gives its stack and descriptor back while it still runs on
 * them. Nobody else can take them before it has left: they go to lists of this
 * thread, and it does nothing after but jump away. (start() may take the very
 * stack, and enter it at the top: it is left by then.)
 *
 * A tasklet whose end has more to it, something deferred, a failure to tell of,
 * a switch to announce, takes a slower way there, which weft_exit() shares.
 *
 * What other threads ask of a tasklet is in control.c, joining in join.c, where
 * descriptors come from in task_pool.c.
 */
#include "tasklet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <time.h>

#include "fork.h"
#include "park.h"
#include "scheduler.h"
#include "task_pool.h"
#include "thread.h"

/* --- ids and names --- */

enum { IDS_AT_ONCE = 4096, ABANDON_ROUNDS = 10 };

static _Atomic(uint64_t) next_ids = IDS_AT_ONCE;

static INLINE uint64_t new_id(struct scheduler *s)
{
	if (unlikely(s->next_id % IDS_AT_ONCE == 0))
		s->next_id = atomic_fetch_add(&next_ids, IDS_AT_ONCE);
	return s->next_id++;
}

static void set_name(struct weft_task *t, const char *name)
{
	union {
		char text[NAME_SIZE];
		uint64_t words[NAME_SIZE / sizeof(uint64_t)];
	} copy = { .text = "" };

	memcpy(copy.text, name, strnlen(name, NAME_SIZE - 1));
	for (size_t i = 0; i < NAME_SIZE / sizeof(uint64_t); i++)
		poke(weft__task_name(t)->words[i], copy.words[i]);
}

/* --- the error handler --- */

static struct {
	pthread_mutex_t mutex;
	weft_error_fn fn;
	void *ctx;
} handler = { .mutex = PTHREAD_MUTEX_INITIALIZER };

WEFT_API weft_error_fn weft_set_error_handler(weft_error_fn fn, void *ctx)
{
	weft_error_fn before;

	pthread_mutex_lock(&handler.mutex);
	before = handler.fn;
	handler.fn = fn;
	handler.ctx = ctx;
	pthread_mutex_unlock(&handler.mutex);
	return before;
}

WEFT_API weft_error_fn weft_error_handler(void **ctx)
{
	weft_error_fn fn;

	pthread_mutex_lock(&handler.mutex);
	fn = handler.fn;
	if (ctx)
		*ctx = handler.ctx;
	pthread_mutex_unlock(&handler.mutex);
	return fn;
}

static void tell_failure(struct weft_task *t, int result)
{
	void *ctx;
	weft_error_fn fn;

	if (result >= 0 || result == -ECANCELED)
		return;
	fn = weft_error_handler(&ctx);
	if (fn)
		fn(weft__handle(t), result, ctx);
}

/* --- the end --- */

/* Something to be done at the end of a tasklet. */
struct deferred {
	struct deferred *before;
	void (*fn)(void *arg);
	void *arg;
};

WEFT_API int weft_defer(void (*fn)(void *arg), void *arg)
{
	struct scheduler *s = weft__scheduler();
	struct deferred *d;
	struct weft_task *t;

	if (!s)
		return -errno;
	if (!fn)
		return -EINVAL;
	d = malloc(sizeof *d);
	if (!d)
		return -ENOMEM;
	t = peek(s->current);
	if (!weft__task_id(t)) { /* in the schedule callback of its end */
		free(d);
		return -ESRCH;
	}
	*d = (struct deferred){ .before = t->deferred, .fn = fn, .arg = arg };
	t->deferred = d;
	return 0;
}

/* Each may defer more, and may even call weft_exit(). */
void weft__task_run_deferred(struct scheduler *s, struct weft_task *t)
{
	(void)s;
	while (t->deferred) {
		struct deferred d = *t->deferred;

		free(t->deferred);
		t->deferred = d.before;
		d.fn(d.arg);
	}
}

/* Of a tasklet that does not get to what it deferred. */
static void free_deferred(struct weft_task *t)
{
	while (t->deferred) {
		struct deferred *d = t->deferred;

		t->deferred = d->before;
		free(d);
	}
}

/* From here on the handle is stale. The descriptor stays the tenant's. */
static INLINE void retire(struct scheduler *s, struct weft_task *t, int result)
{
	uint64_t word = peek(t->word);

	poke(t->state, WEFT_DEAD);
	poke(s->alive, peek(s->alive) - 1);
	count(s->ended);
	if (result < 0)
		count(s->failed);
	weft__stack_forgo(&s->stacks, t->stack_class);
	do {
		if (unlikely(word & (WORD_LOCKED | WORD_JOINED))) {
			weft__join_end(s, t, result);
			return;
		}
		/* nobody else is there, but for a handler of a signal, which
		 * neither locks nor joins */
		if (__libc_single_threaded) {
			arch_and_alone(&t->word, REQUEST_QUEUED);
			return;
		}
		/* release: who finds the id gone finds the end before it
		 * [task.1]; acquire: what a joiner that called off has written,
		 * before a later tenant writes there [task.2] */
	} while (unlikely(!atomic_compare_exchange_weak_explicit(
		&t->word, &word, word & REQUEST_QUEUED, memory_order_acq_rel,
		memory_order_relaxed)));
}

void weft__task_release(struct scheduler *s, struct weft_task *t)
{
	t->next_free = s->free_tasks;
	s->free_tasks = t;
}

/* Lets the descriptor go, or leaves that to whoever takes it out of an inbox: the
 * owner, or a requester whom the inbox refused. Each of the two clears or sets
 * its bit in one step, and the second one sees the other's. [task.1] */
static INLINE void let_go(struct scheduler *s, struct weft_task *t)
{
	uint64_t word = peek(t->word);

	/* Once the id is gone nobody sets bits: what is clear stays clear. */
	if (unlikely(word & REQUEST_QUEUED)) {
		word = atomic_fetch_or(&t->word, REQUEST_GONE);
		if (word & REQUEST_QUEUED)
			return;
		poke(t->word, 0);
	}
	weft__task_release(s, t);
}

/* What its creator has to take back of one that will not run. */
static void (*take_drop(struct weft_task *t))(void *arg)
{
	void (*drop)(void *arg) =
		t->attention & ATTENTION_HAS_DROP ? t->drop : NULL;

	t->attention &= (uint8_t)~ATTENTION_HAS_DROP;
	t->deferred = NULL;
	return drop;
}

static bool cancel_no_end(struct scheduler *s, struct waiter *w)
{
	(void)s;
	(void)w;
	return false;
}

static void describe_end(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "ends without having run");
}

static const struct wait_kind ending = { .cancel = cancel_no_end,
					 .describe = describe_end };
static struct waiter the_end = { .kind = &ending }; /* never written */

/* For one that ends without a turn of its own: until it has, nothing that is asked
 * of it makes it runnable. */
static void wait_for_end(struct weft_task *t)
{
	t->waiter = &the_end;
	poke(t->state, WEFT_BLOCKED);
}

/* Ends one that never ran, is in no queue, and has no stack to run anything on:
 * what is the user's runs on the caller's, and must not switch. */
static void end_without_stack(struct scheduler *s, struct weft_task *t,
			      int result)
{
	void (*drop)(void *arg) = take_drop(t);
	void *arg = t->arg;
	bool was_inside = weft__begin_callback(s);

	/* It may be the current one. */
	t->scopes = NULL;
	t->data = NULL;
	if (drop)
		drop(arg);
	weft__task_run_deferred(s, t);
	tell_failure(t, result);
	weft__end_callback(s, was_inside);
	weft__drop_scopes(s, t);
	retire(s, t, result);
}

/* It may be called from anywhere that requests are taken in, and what it calls may
 * have more of them taken in: so those wait in a list for the first call, or the
 * stack would grow with their number. */
void weft__task_refuse(struct scheduler *s, struct weft_task *t, int result)
{
	struct weft_task **last = &s->refused;

	/* What the end counts out. */
	poke(s->alive, peek(s->alive) + 1);
	s->stacks.classes[t->stack_class].promised++;
	t->position = (uint32_t)-result; /* it is in no queue */
	t->next_refused = NULL;
	wait_for_end(t);
	while (*last)
		last = &(*last)->next_refused;
	*last = t;
	if (s->is_refusing)
		return;
	s->is_refusing = true;
	while ((t = s->refused)) {
		s->refused = t->next_refused;
		end_without_stack(s, t, -(int)t->position);
		let_go(s, t);
	}
	s->is_refusing = false;
}

/* Goes from a tasklet that has ended to the next one, for good. */
static _Noreturn void leave_to(struct scheduler *s, struct weft_task *t,
			       struct weft_task *next)
{
	poke(s->current, next);
#ifdef WEFT__SANITIZED
	weft__task_prepare(next);
#endif
	if (t->stack)
		weft__stack_give(&s->stacks, t->stack_class, t->stack);
	let_go(s, t);
	weft__context_end(&t->context, &next->context);
}

/* The current tasklet has ended. Returns its fresh successor, which is to run on
 * the same stack, or does not return. */
static INLINE struct weft_task *end_current(struct scheduler *s,
					    struct weft_task *t)
{
	struct weft_task *next = weft__next(s);

#ifndef WEFT__SANITIZED
	if (likely(weft__task_is_fresh(next)) &&
	    next->stack_class == t->stack_class) {
		poke(s->current, next);
		next->stack = t->stack;
		let_go(s, t);
		return next;
	}
#endif
	leave_to(s, t, next);
}

/* The end of a tasklet for which there is more to do. */
static NOINLINE _Noreturn void end_slowly(struct scheduler *s,
					  struct weft_task *t, int result)
{
	weft_tasklet from = weft__handle(t);
	struct weft_task *next;

	t->n_shields = 1; /* whatever it had */
	weft__drop_scopes(s, t);
	weft__task_run_deferred(s, t);
	weft__drop_scopes(s, t);
	tell_failure(t, result);
	if (t->attention & ATTENTION_OWN_FPU)
		arch_fpu_load(&s->fpu);
	if (s->exceptions)
		weft__exceptions_forget(s->exceptions);
	retire(s, t, result);
	next = weft__next(s);
	if (s->on_schedule) {
		next = weft__tell_switch(s, from, next);
		weft__drop_scopes(s, t); /* begun in the callback */
	}
	leave_to(s, t, next);
}

WEFT_NORETURN WEFT_API void weft_exit(int result)
{
	struct scheduler *s = weft__scheduler();

	REQUIRE(s && peek(s->current) != s->main,
		"weft_exit() of a main tasklet: a thread ends by returning or "
		"with pthread_exit()");
	REQUIRE(!s->in_callback, "weft_exit() inside a callback");
	end_slowly(s, peek(s->current), result);
}

/* For one about which there is something to look at before it runs: it may have
 * been killed or raised on, and then ends here, on its own turn and stack. */
static NOINLINE void begin_slowly(struct scheduler *s, struct weft_task *t)
{
	void (*drop)(void *arg) = take_drop(t);
	void *arg = t->arg;
	int result = weft__interruption(t);

	if (t->attention & ATTENTION_OWN_FPU) {
		arch_fpu_save(&s->fpu);
		arch_fpu_load(&t->fpu);
	}
	if (!result)
		return;
	t->scopes = NULL;
	t->data = NULL;
	t->n_shields++;
	if (drop)
		drop(arg);
	end_slowly(s, t, result);
}

/* The first function on a tasklet's stack. */
static _Noreturn void run_tasklets(void *first)
{
	struct weft_task *t = first;

	weft__context_arrived(&t->context);
	for (;;) {
		struct scheduler *s = weft__self;
		weft_fn fn = t->fn;
		void *arg = t->arg;
		int result;

		if (unlikely(t->attention))
			begin_slowly(s, t);
		t->scopes = NULL;
		t->data = NULL;
		result = fn(arg);
		if (unlikely(t->deferred || t->attention || result < 0 ||
			     s->on_schedule))
			end_slowly(s, t, result);
		retire(s, t, result);
		t = end_current(s, t);
	}
}

#ifdef WEFT__SANITIZED
static bool attach_stack(struct weft_task *t)
{
	struct scheduler *s = peek(t->owner);
	char *top = weft__stack_take(&s->stacks, t->stack_class);
	char *low;

	if (!top)
		return false;
	low = weft__stack_low(t->stack_class, top);
	t->stack = top;
	weft__context_make(&t->context, top, run_tasklets, t);
	weft__context_adopt_stack(&t->context, low, (size_t)(top - low));
	return true;
}

void weft__task_prepare(struct weft_task *t)
{
	struct scheduler *s = peek(t->owner);

	if (!weft__task_is_fresh(t))
		return;
	/* One that ends just now has given up its promise, not its stack. */
	REQUIRE(!weft__stack_promise(&s->stacks, t->stack_class) &&
			attach_stack(t),
		"no memory for a stack or its guard");
	weft__stack_forgo(&s->stacks, t->stack_class);
}
#endif

/* Where a fresh context starts, on the scheduler's starter stack. Without a
 * stack the tasklet ends here: its idle loop may run on this stack, which
 * nobody comes back to. */
static _Noreturn void start(void *task)
{
	struct weft_task *t = task;
	struct scheduler *s = peek(t->owner);
	char *top = weft__stack_take(&s->stacks, t->stack_class);
	int result;

	if (likely(top)) {
		t->stack = top;
		weft__context_begin(top, run_tasklets, t);
	}
	result = weft__interruption(t);
	end_without_stack(s, t, result ? result : -ENOMEM);
	leave_to(s, t, weft__next(s));
}

/* --- birth --- */

/* Makes a descriptor a tenant's that is in no queue. The owner is set by the time
 * the id is. */
static INLINE void move_in(struct weft_task *t, struct scheduler *owner,
			   enum weft_state state, unsigned class, weft_fn fn,
			   void *arg, uint64_t word)
{
	t->attention = 0;
	t->flags = 0;
	t->n_shields = 0;
	poke(t->about, 0);
	t->deferred = NULL;
	t->stack_class = (uint8_t) class;
	t->stack = NULL;
	t->fn = fn;
	t->arg = arg;
	/* release: who finds this owner finds the id of the tenant before gone
	 * [task.3] */
	atomic_store_explicit(&t->owner, owner, memory_order_release);
	poke(t->state, (uint8_t)state);
	weft__context_make(&t->context, owner->starter_top, start, t);
	/* release: who finds the id finds the owner [task.1] */
	atomic_store_explicit(&t->word, word, memory_order_release);
}

static struct weft_task *take_descriptor(struct scheduler *s,
					 struct scheduler *owner)
{
	struct weft_task *t = s->free_tasks;

	if (s != owner)
		return weft__task_pool_take_for(owner);
	if (unlikely(!t) && !(t = weft__task_pool_refill(s)))
		return NULL;
	s->free_tasks = t->next_free;
	return t;
}

/* A descriptor with a tenant. The joiner is set by the time the id is, if there
 * is one. */
static struct weft_task *create(struct scheduler *s, struct scheduler *owner,
				unsigned class, weft_fn fn, void *arg,
				unsigned requests, struct joiner *j)
{
	struct weft_task *t = take_descriptor(s, owner);
	uint64_t id;

	if (!t)
		return NULL;
	id = new_id(s);
	t->joiners = j;
	if (j) {
		j->target = t;
		j->id = id;
		requests |= WORD_JOINED;
	}
	move_in(t, owner, WEFT_PAUSED, class, fn, arg,
		id << WORD_BITS | requests);
	return t;
}

static void tell_of_birth(struct joiner *j)
{
	if (j)
		j->waiter.kind->born(&j->waiter);
}

static INLINE void count_in(struct scheduler *s, struct weft_task *t)
{
	poke(s->alive, peek(s->alive) + 1);
	t->order = peek(s->n_arrived);
	poke(s->n_arrived, t->order + 1);
}

/* Counts a tasklet in that is new on its own thread. */
static int admit(struct scheduler *s, struct weft_task *t)
{
	size_t alive = peek(s->alive) + 1;

	if (weft__queue_reserve(s, alive + 1) ||
	    weft__stack_promise(&s->stacks, t->stack_class))
		return -ENOMEM;
	count_in(s, t);
	return 0;
}

static void discard(struct scheduler *s, struct weft_task *t)
{
	/* nobody has seen the id yet: relaxed, no pair */
	poke(t->word, 0);
	weft__task_release(s, t);
}

bool weft__task_admit(struct scheduler *s, struct weft_task *t)
{
	if (admit(s, t))
		return false;
	if (!(t->flags & TASK_BORN_PAUSED)) {
		poke(t->state, WEFT_RUNNABLE);
		weft__enqueue(s, t);
	}
	return true;
}

static void fill_in(struct weft_task *t, const struct weft_tasklet_options *o)
{
	if (o->name) {
		set_name(t, o->name);
		poke(t->about, TASK_HAS_NAME);
	}
	if (o->paused)
		t->flags |= TASK_BORN_PAUSED;
	if (o->own_fpu) {
		t->attention |= ATTENTION_OWN_FPU;
		arch_fpu_save(&t->fpu);
	}
	if (o->drop) {
		t->attention |= ATTENTION_HAS_DROP;
		t->drop = o->drop;
	}
}

/* A tasklet for another thread, which stays attached meanwhile. */
struct delivery {
	const struct weft_tasklet_options *options;
	struct scheduler *from;
	weft_fn fn;
	void *arg;
	struct joiner *joiner; /* or NULL */
	int class;             /* -1: the target's default */
	weft_tasklet handle;
	int err;
	struct bell bell; /* to be rung when the registry has been let go */
};

static void deliver(struct scheduler *target, void *arg)
{
	struct delivery *d = arg;
	unsigned class =
		d->class < 0 ? target->default_class : (unsigned)d->class;
	struct weft_task *t = create(d->from, target, class, d->fn, d->arg,
				     REQUEST_QUEUED | REQUEST_NEW, d->joiner);

	if (!t) {
		d->err = ENOMEM;
		return;
	}
	fill_in(t, d->options);
	d->handle = weft__handle(t);
	tell_of_birth(d->joiner);
	if (!weft__push(target, weft__task_link(t), &d->bell)) {
		/* release: for the next thread that has the slab [task.1] */
		atomic_store_explicit(&t->word, 0, memory_order_release);
		d->err = ESRCH;
	}
}

weft_tasklet weft__spawn(const struct weft_tasklet_options *options, weft_fn fn,
			 void *arg, struct joiner *j)
{
	static const struct weft_tasklet_options none;
	struct scheduler *s = weft__scheduler();
	struct delivery d = {
		.from = s, .fn = fn, .arg = arg, .joiner = j, .class = -1
	};
	struct weft_task *t;

	if (!s)
		return weft__null_handle(errno);
	d.options = options ? options : &none;
	if (!fn)
		return weft__null_handle(EINVAL);
	if (d.options->stack_size) {
		d.class = weft__stack_class(d.options->stack_size);
		if (d.class < 0)
			return weft__null_handle(EINVAL);
	}
	if (d.options->thread && d.options->thread != peek(s->thread_id)) {
		if (weft__thread_visit(d.options->thread, deliver, &d))
			return weft__null_handle(ESRCH);
		if (d.bell.target)
			weft__ring_bell(s, &d.bell);
		return d.err ? weft__null_handle(d.err) : d.handle;
	}

	t = create(s, s, d.class < 0 ? s->default_class : (unsigned)d.class, fn,
		   arg, 0, j);
	if (!t)
		return weft__null_handle(ENOMEM);
	fill_in(t, d.options);
	if (!weft__task_admit(s, t)) {
		discard(s, t);
		return weft__null_handle(ENOMEM);
	}
	tell_of_birth(j);
	weft__note_runnable(s);
	return weft__handle(t);
}

WEFT_API weft_tasklet weft_spawn_with(
	const struct weft_tasklet_options *options, weft_fn fn, void *arg)
{
	return weft__spawn(options, fn, arg, NULL);
}

static NOINLINE weft_tasklet spawn_slowly(weft_fn fn, void *arg)
{
	return weft__spawn(NULL, fn, arg, NULL);
}

/* Where nothing has to be grown, or fetched from what threads share, it makes no
 * call. */
WEFT_API weft_tasklet weft_spawn(weft_fn fn, void *arg)
{
	struct scheduler *s = weft__fast;
	struct stack_class *stacks;
	struct weft_task *t;
	unsigned class;
	uint64_t id;

	if (unlikely(!s))
		return spawn_slowly(fn, arg);
	t = s->free_tasks;
	id = s->next_id;
	class = s->default_class;
	stacks = &s->stacks.classes[class];
	if (unlikely(!fn) || unlikely(!t) || unlikely(id % IDS_AT_ONCE == 0) ||
	    unlikely(2 * (peek(s->alive) + 2) > s->mask) ||
	    unlikely(stacks->promised == stacks->mapped))
		return spawn_slowly(fn, arg);
	s->free_tasks = t->next_free;
	s->next_id = id + 1;
	stacks->promised++;
	t->joiners = NULL;
	move_in(t, s, WEFT_RUNNABLE, class, fn, arg, id << WORD_BITS);
	count_in(s, t);
	weft__enqueue(s, t);
	return (weft_tasklet){ .task = t, .id = id };
}

int weft__task_create_main(struct scheduler *s)
{
	struct weft_task *t = create(s, s, 0, NULL, NULL, 0, NULL);

	if (!t)
		return -ENOMEM;
	poke(t->about, TASK_IS_MAIN);
	poke(t->state, WEFT_RUNNABLE);
	weft__context_adopt_thread(&t->context);
	s->main = t;
	poke(s->current, t);
	return 0;
}

void weft__task_release_all(struct scheduler *s)
{
	struct weft_task *t = s->main;

	poke(t->state, WEFT_DEAD);
	free_deferred(t);
	weft__join_end(s, t, 0);
	let_go(s, t);
	weft__task_pool_give_back(s);
}

/* --- handles --- */

WEFT_API weft_tasklet weft_current(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(peek(s->current)) : weft__null_handle(errno);
}

WEFT_API weft_tasklet weft_main(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(s->main) : weft__null_handle(errno);
}

WEFT_API bool weft_tasklet_is_null(weft_tasklet t)
{
	return !t.id;
}

WEFT_API bool weft_tasklet_equal(weft_tasklet a, weft_tasklet b)
{
	return a.id == b.id;
}

WEFT_API bool weft_tasklet_alive(weft_tasklet t)
{
	return weft__is_alive(t);
}

WEFT_API enum weft_state weft_tasklet_state(weft_tasklet t)
{
	enum weft_state state;
	struct scheduler *owner;

	if (!weft__is_alive(t))
		return WEFT_DEAD;
	owner = peek(t.task->owner);
	state = (enum weft_state)peek(t.task->state);
	if (state == WEFT_RUNNABLE && peek(owner->current) == t.task)
		state = WEFT_RUNNING;
	return weft__was_alive(t) ? state : WEFT_DEAD;
}

WEFT_API bool weft_tasklet_is_main(weft_tasklet t)
{
	bool is_main;

	if (!weft__is_alive(t))
		return false;
	is_main = weft__task_is_main(t.task);
	return is_main && weft__was_alive(t);
}

WEFT_API uint64_t weft_tasklet_thread(weft_tasklet t)
{
	uint64_t id;

	if (!weft__is_alive(t))
		return 0;
	id = peek(peek(t.task->owner)->thread_id);
	return weft__was_alive(t) ? id : 0;
}

WEFT_API int weft_tasklet_name(weft_tasklet t, char *buf, size_t size)
{
	union {
		char text[NAME_SIZE];
		uint64_t words[NAME_SIZE / sizeof(uint64_t)];
	} copy = { .text = "" };
	size_t length;

	if (!buf || !size)
		return -EINVAL;
	if (!weft__is_alive(t))
		return -ESRCH;
	if (peek(t.task->about) & TASK_HAS_NAME)
		for (size_t i = 0; i < NAME_SIZE / sizeof(uint64_t); i++)
			copy.words[i] = peek(weft__task_name(t.task)->words[i]);
	if (!weft__was_alive(t))
		return -ESRCH;
	length = strnlen(copy.text, NAME_SIZE - 1);
	if (length >= size)
		length = size - 1;
	memcpy(buf, copy.text, length);
	buf[length] = '\0';
	return 0;
}

/* --- settings of the running tasklet --- */

WEFT_API void *weft_tasklet_data(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? peek(s->current)->data : NULL;
}

WEFT_API void weft_set_tasklet_data(void *data)
{
	struct scheduler *s = weft__scheduler();

	if (s)
		peek(s->current)->data = data;
}

WEFT_API bool weft_set_block_trap(bool on)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *t;
	bool before;

	if (!s)
		return false;
	t = peek(s->current);
	before = t->attention & ATTENTION_BLOCK_TRAP;
	if (on)
		t->attention |= ATTENTION_BLOCK_TRAP;
	else
		t->attention &= (uint8_t)~ATTENTION_BLOCK_TRAP;
	return before;
}

WEFT_API void weft_shield_begin(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	REQUIRE(peek(s->current)->n_shields < UINT16_MAX,
		"weft_shield_begin() nests more than 65535 deep");
	peek(s->current)->n_shields++;
}

WEFT_API void weft_shield_end(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	REQUIRE(peek(s->current)->n_shields,
		"weft_shield_end() without weft_shield_begin()");
	peek(s->current)->n_shields--;
}

/* --- the end of a thread --- */

void weft__task_lock_pool(void)
{
	pthread_mutex_lock(&handler.mutex);
	weft__task_pool_lock();
}

void weft__task_unlock_pool(void)
{
	weft__task_pool_unlock();
	pthread_mutex_unlock(&handler.mutex);
}

/* --- fork --- */

static void unlock_word(struct weft_task *t, void *arg)
{
	(void)arg;
	poke(t->word, peek(t->word) & ~(uint64_t)WORD_LOCKED);
}

void weft__task_unlock_words(void)
{
	weft__task_pool_each_tenant(unlock_word, NULL);
}

static void forget_others(struct weft_task *t, void *self)
{
	struct scheduler *s = self;

	weft__join_forget_others(s, t);
	if (peek(t->owner) != s || peek(t->word) & REQUEST_NEW) {
		/* Not counted here; the memory stays as it is. */
		poke(t->state, WEFT_DEAD);
		weft__join_end(s, t, -ECANCELED);
		return;
	}
	/* Requested by one who had not yet handed it in. */
	if (peek(t->word) & REQUEST_QUEUED)
		weft__task_requested(s, t);
}

/* Whoever had claimed it is not here to wake it. */
static void wake_forgotten(struct weft_task *t, void *self)
{
	struct waiter *w = t->waiter;

	if (peek(t->state) != WEFT_BLOCKED || !w->kind->is_claimed ||
	    !w->kind->is_claimed(w))
		return;
	if (!w->kind->is_given_with_claim)
		w->result = -ECANCELED;
	weft__wake_local(self, t);
}

void weft__task_forget_others(struct scheduler *self)
{
	weft__task_pool_each_tenant(forget_others, self);
	if (self)
		weft__task_pool_each_tenant(wake_forgotten, self);
}

/* --- all tasklets of a thread --- */

/* The tasklets of a thread, main excluded, in the order of their coming. */
struct all_tasks {
	struct weft_task **tasks;
	size_t n;
};

static void collect(struct weft_task *t, void *arg)
{
	struct all_tasks *all = arg;

	if (!weft__task_is_main(t))
		all->tasks[all->n++] = t;
}

static int by_order(const void *left, const void *right)
{
	const struct weft_task *a = *(struct weft_task *const *)left;
	const struct weft_task *b = *(struct weft_task *const *)right;

	return a->order < b->order ? -1 : a->order > b->order;
}

static bool find_all(struct scheduler *s, struct all_tasks *all)
{
	*all = (struct all_tasks){ .tasks = malloc((peek(s->alive) + 1) *
						   sizeof *all->tasks) };
	if (!all->tasks)
		return false;
	weft__task_each(s, collect, all);
	qsort(all->tasks, all->n, sizeof *all->tasks, by_order);
	return true;
}

/* None of them ends meanwhile, whatever callbacks do that this sets off: to kill is
 * to mark. */
int weft__task_kill_all(struct scheduler *s)
{
	struct all_tasks all;

	if (!find_all(s, &all))
		return -ENOMEM;
	for (size_t i = 0; i < all.n; i++)
		weft__task_interrupt(s, all.tasks[i], 0);
	free(all.tasks);
	return 0;
}

/* Gives one up that would not end. Who has claimed its waiter already will hand
 * it in; the inbox must be open for that. */
static void abandon(struct scheduler *s, struct weft_task *t)
{
	/* an offloaded function takes its time */
	static const struct timespec pause = { .tv_nsec = 100 * 1000 };

	/* Nobody's stack is in this one: it ends as it would have by itself. */
	if (weft__task_is_fresh(t)) {
		if (peek(t->state) == WEFT_RUNNABLE)
			weft__queue_remove(s, t);
		wait_for_end(t);
		end_without_stack(s, t, -ECANCELED);
		let_go(s, t);
		return;
	}
	while (peek(t->state) == WEFT_BLOCKED) {
		struct waiter *w = t->waiter;

		if (w->kind->cancel(s, w)) {
			if (w->kind->give_up)
				w->kind->give_up(w);
			break;
		}
		weft__look_around(s);
		weft__engine_poll(s);
		nanosleep(&pause, NULL);
	}
	free_deferred(t);
	weft__drop_scopes(s, t);
	retire(s, t, -ECANCELED);
	count(s->abandoned);
}

/* What they drop may create more of them, and end at last. */
void weft__task_abandon_all(struct scheduler *s)
{
	struct all_tasks all;

	for (int round = 0; peek(s->alive); round++) {
		REQUIRE(find_all(s, &all),
			"no memory to give up the tasklets of a thread");
		for (size_t i = 0; i < all.n; i++) {
			if (round == ABANDON_ROUNDS)
				all.tasks[i]->attention &=
					(uint8_t)~ATTENTION_HAS_DROP;
			abandon(s, all.tasks[i]);
		}
		free(all.tasks);
	}
}
