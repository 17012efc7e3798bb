/* SPDX-License-Identifier: MIT */
/*
 * The life of a tasklet: descriptor, stack, first entry, end.
 *
 * A fresh tasklet has a context like any other, so a switch need not ask whether
 * its target is fresh. The context begins with start() on a small stack of the
 * scheduler's; start() finds a stack for the tasklet and goes there. An ending
 * tasklet whose successor is fresh and wants the same size of stack keeps the stack
 * warm: it becomes the successor, without a switch.
 *
 * An ending tasklet gives its stack and descriptor back while it still runs on
 * them. Nobody else can take them before it has left: they go to lists of this
 * thread, and after that it only jumps away. (start() may take this very stack, and
 * enter it at the top: the ended tasklet has left it by then.)
 *
 * If there is more to do at a tasklet's end, it takes a slower path, which
 * weft_exit() shares: to run what was deferred, to report a failure, to announce
 * the switch.
 *
 * What other threads ask of a tasklet is in control.c, joining is in join.c,
 * questions and settings are in handle.c, and task_pool.c has the descriptors.
 */
#include "core/tasklet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/single_threaded.h>
#include <time.h>

#include "base/cpu.h"
#include "core/block.h"
#include "core/deadline.h"
#include "core/fork.h"
#include "core/park.h"
#include "core/task_pool.h"
#include "core/thread.h"

/* --- ids and names --- */

enum { IDS_AT_ONCE = 4096 };

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

/* A function that is to be called at the end of a tasklet. */
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

/* Each function may defer more, and may even call weft_exit(). */
void weft__task_run_deferred(struct weft_task *t)
{
	while (t->deferred) {
		struct deferred d = *t->deferred;

		free(t->deferred);
		t->deferred = d.before;
		d.fn(d.arg);
	}
}

/* For a tasklet that will not run what it deferred. */
static void free_deferred(struct weft_task *t)
{
	while (t->deferred) {
		struct deferred *d = t->deferred;

		t->deferred = d->before;
		free(d);
	}
}

/* From here on the handle is stale. The descriptor is still the tenant's. */
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
		/* nobody else is there but a signal handler, which neither locks
		 * nor joins */
		if (__libc_single_threaded) {
			arch_and_alone(&t->word, REQUEST_QUEUED);
			return;
		}
		/* release: whoever finds the id gone finds the end before it
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

/* Frees the descriptor, or leaves that to whoever takes it out of an inbox: the
 * owner, or a requester that the inbox refused. Each of the two clears or sets its
 * bit in one step, and the second one sees what the first one did. [task.1] */
static INLINE void let_go(struct scheduler *s, struct weft_task *t)
{
	uint64_t word = peek(t->word);

	/* Nobody sets bits once the id is gone: a bit that is clear stays clear. */
	if (unlikely(word & REQUEST_QUEUED)) {
		word = atomic_fetch_or(&t->word, REQUEST_GONE);
		if (word & REQUEST_QUEUED)
			return;
		poke(t->word, 0);
	}
	weft__task_release(s, t);
}

/* Returns what the creator wants called for a tasklet that will not run. */
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

/* For a tasklet that ends without a turn of its own. No request makes it runnable
 * before it has ended. */
static void wait_for_end(struct weft_task *t)
{
	t->waiter = &the_end;
	poke(t->state, WEFT_BLOCKED);
}

/* Ends a tasklet that never ran, is in no queue, and has no stack to run anything
 * on. The user's functions run on the caller's stack, and must not switch. */
static void end_without_stack(struct scheduler *s, struct weft_task *t,
			      int result)
{
	void (*drop)(void *arg) = take_drop(t);
	void *arg = t->arg;
	bool was_inside = weft__begin_callback(s);

	/* @t may be the current tasklet. */
	t->scopes = NULL;
	t->data = NULL;
	if (drop)
		drop(arg);
	weft__task_run_deferred(t);
	tell_failure(t, result);
	weft__end_callback(s, was_inside);
	weft__drop_scopes(s, t);
	retire(s, t, result);
}

/* Each tasklet is in the list until it has ended. A function that its end calls may
 * leave by pthread_exit(); then the end of the thread comes here again. A function
 * that comes here itself, by looking around, has nothing to do. */
void weft__task_end_refused(struct scheduler *s)
{
	struct weft_task *t;

	if (s->is_refusing)
		return;
	s->is_refusing = true;
	while ((t = s->refused)) {
		int result = -(int)t->position;

		/* If the end begins again, the error handler is not told again. */
		t->position = ECANCELED;
		end_without_stack(s, t, result);
		s->refused = t->next_refused;
		let_go(s, t);
	}
	s->is_refusing = false;
	/* The current tasklet may have ended: a scope that was begun in its place
	 * would stay. */
	if (!weft__task_id(peek(s->current)))
		weft__drop_scopes(s, peek(s->current));
}

/* Requests are taken in wherever a thread looks around. The program's functions are
 * called when that is over, from a list (weft__task_end_refused()). So nothing is
 * half done when they run, and the stack does not grow with their number. */
void weft__task_refuse(struct scheduler *s, struct weft_task *t, int result)
{
	/* Counted here, because the end counts it out. */
	poke(s->alive, peek(s->alive) + 1);
	s->stacks.classes[t->stack_class].promised++;
	t->position = (uint32_t)-result; /* it is in no queue */
	t->next_refused = NULL;
	wait_for_end(t);
	if (s->refused)
		s->last_refused->next_refused = t;
	else
		s->refused = t;
	s->last_refused = t;
	s->has_found_work = true;
}

/* Goes from an ended tasklet to the next one, for good. */
static INLINE _Noreturn void leave_to(struct scheduler *s, struct weft_task *t,
				      struct weft_task *next)
{
	weft__give_thread(s, next);
#ifdef WEFT__SANITIZED
	weft__task_prepare(next);
#endif
	if (t->stack)
		weft__stack_give(&s->stacks, t->stack_class, t->stack);
	let_go(s, t);
	weft__context_end(&t->context, &next->context);
}

/* The current tasklet has ended (rule R6). If its successor is fresh, returns the
 * successor, which is to run on the same stack; otherwise does not return. */
static INLINE struct weft_task *end_current(struct scheduler *s,
					    struct weft_task *t)
{
	struct weft_task *next = weft__next(s);

#ifndef WEFT__SANITIZED
	if (likely(weft__task_is_fresh(next)) &&
	    next->stack_class == t->stack_class) {
		weft__give_thread(s, next);
		next->stack = t->stack;
		let_go(s, t);
		return next;
	}
#endif
	leave_to(s, t, next);
}

/* The end of a tasklet at which there is more to do. */
static NOINLINE _Noreturn void end_slowly(struct scheduler *s,
					  struct weft_task *t, int result)
{
	weft_tasklet from = weft__handle(t);
	struct weft_task *next;

	t->n_shields = 1; /* whatever it had */
	weft__drop_scopes(s, t);
	weft__task_run_deferred(t);
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
	REQUIRE(!weft__in_callback(s), "weft_exit() inside a callback");
	end_slowly(s, peek(s->current), result);
}

/* Called if there is something to look at before a tasklet runs. If it has been
 * killed or raised on, it ends here, on its own turn and stack. */
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
		weft_fn fn;
		void *arg;
		int result;

		if (unlikely(t->attention))
			begin_slowly(s, t);
		fn = t->fn;
		arg = t->arg;
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
	/* A tasklet that is just ending has given up its promise, but not its
	 * stack. */
	REQUIRE(!weft__stack_promise(&s->stacks, t->stack_class) &&
			attach_stack(t),
		"no memory for a stack or its guard");
	weft__stack_forgo(&s->stacks, t->stack_class);
}
#endif

/* A fresh context starts here, on the scheduler's starter stack. A tasklet for which
 * there is no stack ends here. It may even wait here for its successor, in the idle
 * loop: no other tasklet starts meanwhile, and it never comes back to this stack. */
static _Noreturn void start(void *task)
{
	struct weft_task *t = task;
	struct scheduler *s = peek(t->owner);
	char *top = weft__stack_take(&s->stacks, t->stack_class);
	int result;

	if (likely(top)) {
		t->stack = top;
		ARCH_BEGIN(top, run_tasklets, t);
	}
	result = weft__interruption(t);
	end_without_stack(s, t, result ? result : -ENOMEM);
	leave_to(s, t, weft__next(s));
}

/* --- birth --- */

/* Makes a tasklet, in no queue, the tenant of a descriptor. The owner is set before
 * the id. */
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
	/* release: whoever finds this owner finds the previous tenant's id gone
	 * [task.3] */
	atomic_store_explicit(&t->owner, owner, memory_order_release);
	poke(t->state, (uint8_t)state);
	weft__context_make(&t->context, owner->starter_top, start, t);
	/* release: whoever finds the id finds the owner [task.1] */
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

/* Returns a descriptor with a tenant. The joiner, if any, is set before the id. */
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

/* Counts in a tasklet that is new on its own thread. */
static int admit(struct scheduler *s, struct weft_task *t)
{
	size_t alive = peek(s->alive) + 1;

	if (weft__queue_reserve(&s->queue, alive + 1) ||
	    weft__stack_promise(&s->stacks, t->stack_class))
		return -ENOMEM;
	count_in(s, t);
	return 0;
}

static void discard(struct scheduler *s, struct weft_task *t)
{
	/* relaxed, no pair: nobody has seen the id yet */
	poke(t->word, 0);
	weft__task_release(s, t);
}

bool weft__task_admit(struct scheduler *s, struct weft_task *t)
{
	if (admit(s, t))
		return false;
	if (!(t->flags & TASK_BORN_PAUSED))
		weft__wake_local(s, t);
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

/* A tasklet for another thread, which stays attached during the delivery. */
struct delivery {
	const struct weft_tasklet_options *options;
	struct scheduler *from;
	weft_fn fn;
	void *arg;
	struct joiner *joiner; /* or NULL */
	int class;             /* -1: the target's default */
	weft_tasklet handle;
	int err;
	struct bell bell; /* to ring after the registry's unlock */
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

/* Makes no call, unless something has to grow or must be fetched from what threads
 * share. */
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
	    unlikely(!weft__queue_has_room(&s->queue, peek(s->alive) + 1)) ||
	    unlikely(stacks->promised == stacks->mapped))
		return spawn_slowly(fn, arg);
	s->free_tasks = t->next_free;
	s->next_id = id + 1;
	stacks->promised++;
	t->joiners = NULL;
	move_in(t, s, WEFT_RUNNABLE, class, fn, arg, id << WORD_BITS);
	count_in(s, t);
	weft__enqueue(&s->queue, t);
	return (weft_tasklet){ .task = t, .id = id };
}

int weft__task_create_main(struct scheduler *s)
{
	struct weft_task *t = create(s, s, 0, NULL, NULL, 0, NULL);

	if (!t)
		return -ENOMEM;
	poke(t->about, TASK_IS_MAIN);
	weft__make_runnable(t);
	weft__context_adopt_thread(&t->context);
	s->main = t;
	weft__give_thread(s, t);
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

/* --- fork --- */

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
		/* Not counted on this thread; the memory stays as it is. */
		poke(t->state, WEFT_DEAD);
		weft__join_end(s, t, -ECANCELED);
		return;
	}
	/* Another thread had set requests, and had not yet handed the descriptor
	 * in. */
	if (peek(t->word) & REQUEST_QUEUED)
		weft__task_requested(s, t);
}

/* If a thread that is not in the child had claimed the tasklet's waiter, that thread
 * does not wake it any more: this does. */
static void wake_forgotten(struct weft_task *t, void *self)
{
	struct waiter *w = t->waiter;

	if (peek(t->state) != WEFT_BLOCKED || !w->kind->is_claimed ||
	    !w->kind->is_claimed(w))
		return;
	if (!w->kind->is_given_with_claim)
		w->result = -ECANCELED;
	weft__wake_served(self, w);
}

void weft__task_forget_others(struct scheduler *self)
{
	weft__task_pool_each_tenant(forget_others, self);
	if (self)
		weft__task_pool_each_tenant(wake_forgotten, self);
}

/* --- all tasklets of a thread, at its end --- */

enum { ABANDON_ROUNDS = 10 };

struct listed {
	struct weft_task *task;
	struct waiter *waiter; /* of one that is blocked; else NULL */
};

/* The tasklets of a thread, without main, in the order in which they came. */
struct all_tasks {
	struct listed *listed;
	size_t n;
};

static void collect(struct weft_task *t, void *arg)
{
	struct all_tasks *all = arg;

	if (!weft__task_is_main(t))
		all->listed[all->n++] = (struct listed){
			.task = t,
			.waiter = peek(t->state) == WEFT_BLOCKED ? t->waiter
								 : NULL,
		};
}

static int by_order(const void *left, const void *right)
{
	const struct weft_task *a = ((const struct listed *)left)->task;
	const struct weft_task *b = ((const struct listed *)right)->task;

	return a->order < b->order ? -1 : a->order > b->order;
}

/* A walk along them. Those that come meanwhile are left out. Without memory for the
 * list, each step looks for the next one. The list is the scheduler's, since what the
 * walk calls may leave with pthread_exit(); the next walk frees it then. */
struct walk {
	struct all_tasks all; /* listed: NULL without memory */
	size_t i;
	uint64_t from, end; /* of `order` */
	struct listed next;
};

static struct walk begin_walk(struct scheduler *s)
{
	struct walk w = { .end = peek(s->n_arrived) };

	free(s->walked);
	s->walked = malloc((peek(s->alive) + 1) * sizeof(struct listed));
	w.all.listed = s->walked;
	if (!w.all.listed)
		return w;
	weft__task_each(s, collect, &w.all);
	qsort(w.all.listed, w.all.n, sizeof *w.all.listed, by_order);
	return w;
}

static void choose_next(struct weft_task *t, void *walk)
{
	struct walk *w = walk;

	if (!weft__task_is_main(t) && t->order >= w->from &&
	    t->order < w->end &&
	    (!w->next.task || t->order < w->next.task->order))
		w->next.task = t;
}

static const struct listed *step(struct scheduler *s, struct walk *w)
{
	if (w->all.listed)
		return w->i < w->all.n ? &w->all.listed[w->i++] : NULL;
	w->next.task = NULL;
	weft__task_each(s, choose_next, w);
	if (!w->next.task)
		return NULL;
	w->from = w->next.task->order + 1;
	return &w->next;
}

static void end_walk(struct scheduler *s)
{
	free(s->walked);
	s->walked = NULL;
}

/* None of the tasklets ends meanwhile, whatever callbacks this calls: a kill only
 * marks them. */
void weft__task_kill_all(struct scheduler *s)
{
	struct walk w = begin_walk(s);
	const struct listed *l;

	while ((l = step(s, &w)))
		weft__task_interrupt(s, l->task, 0);
	end_walk(s);
}

/* Gives up a tasklet that would not end. If another thread has claimed its waiter,
 * that thread will hand it in; the inbox must be open for that. Then, or if it was
 * handed in since the list was made, the waiter was served. */
static void abandon(struct scheduler *s, const struct listed *l)
{
	/* an offloaded function takes its time */
	static const struct timespec pause = { .tv_nsec = 100 * 1000 };
	struct weft_task *t = l->task;
	struct waiter *w = NULL;

	/* A tasklet that has never run has nothing on a stack: it ends as if it had
	 * been killed. */
	if (weft__task_is_fresh(t)) {
		if (peek(t->state) == WEFT_RUNNABLE)
			weft__queue_remove(&s->queue, t);
		wait_for_end(t);
		end_without_stack(s, t, -ECANCELED);
		let_go(s, t);
		return;
	}
	if (t->flags & TASK_CALLED_OFF)
		t->waiter->kind->give_up(t->waiter);
	else if (peek(t->state) == WEFT_RUNNABLE && l->waiter &&
		 !l->waiter->called_off)
		w = l->waiter;
	while (peek(t->state) == WEFT_BLOCKED) {
		w = t->waiter;
		/* Its wait was called off already if the functions called by that
		 * have left, see thread.c. */
		if (w->called_off || w->kind->cancel(s, w)) {
			w->called_off = CALLED_OFF;
			if (w->kind->give_up)
				w->kind->give_up(w);
			w = NULL;
			break;
		}
		weft__look_around(s);
		weft__engine_poll(&s->engine);
		nanosleep(&pause, NULL);
	}
	if (w && w->kind->give_back)
		w->kind->give_back(w);
	free_deferred(t);
	weft__drop_scopes(s, t);
	retire(s, t, -ECANCELED);
	count(s->abandoned);
}

/* What abandoned tasklets drop may create more tasklets. After ABANDON_ROUNDS
 * rounds nothing is dropped any more. */
void weft__task_abandon_all(struct scheduler *s)
{
	for (int round = 0; peek(s->alive); round++) {
		struct walk w = begin_walk(s);
		const struct listed *l;

		while ((l = step(s, &w))) {
			if (round >= ABANDON_ROUNDS)
				l->task->attention &=
					(uint8_t)~ATTENTION_HAS_DROP;
			abandon(s, l);
		}
		end_walk(s);
	}
}
