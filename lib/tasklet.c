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
 * Other threads ask by bits in the tasklet's word, beside its id, in one
 * compare-exchange: it fails when the id is not the handle's any more, so a
 * request never reaches a later tenant of the memory. Whoever sets
 * REQUEST_QUEUED hands the descriptor in; until the owner has taken it out of
 * its inbox, the memory has no later tenant. [task.1] The exchange of the word
 * by the owner, in weft__task_requested(), is the partner of those
 * compare-exchanges, acquire to their release.
 *
 * Descriptors come in slabs that are never unmapped. Each scheduler keeps spare
 * ones; what a thread leaves behind goes to the pool for the others.
 */
#include "tasklet.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "park.h"
#include "scheduler.h"
#include "thread.h"

/* --- descriptors --- */

enum {
	SLAB_BYTES = 64 * 1024, /* and aligned so */
	SLABS_AT_ONCE = 16,
	TASKS_PER_SLAB =
		(SLAB_BYTES - 128) / (sizeof(struct weft_task) + NAME_SIZE),
	IDS_AT_ONCE = 4096
};

/* A name is written by the creator and may be read by anybody at any time:
 * whole words, so that a torn one is only a wrong one, which the id then
 * gives away. */
struct name {
	_Atomic(uint64_t) words[NAME_SIZE / sizeof(uint64_t)];
};

struct task_slab {
	struct task_slab *next;
	struct weft_task tasks[TASKS_PER_SLAB];
	struct name names[TASKS_PER_SLAB];
};

_Static_assert(sizeof(struct task_slab) <= SLAB_BYTES, "a slab has its size");

static struct {
	pthread_mutex_t mutex;
	struct task_slab *slabs;  /* all there are */
	struct weft_task *free;   /* left behind by threads that ended */
	struct task_slab *unused; /* mapped, not yet handed out */
	unsigned n_unused;
} pool = { .mutex = PTHREAD_MUTEX_INITIALIZER };

static _Atomic(uint64_t) next_ids = IDS_AT_ONCE;

static uintptr_t link_of(struct weft_task *t)
{
	return (uintptr_t)&t->node | INBOX_TASKLET;
}

static struct name *name_of(struct weft_task *t)
{
	struct task_slab *slab =
		(struct task_slab *)((uintptr_t)t &
				     ~(uintptr_t)(SLAB_BYTES - 1));

	return &slab->names[t - slab->tasks];
}

/* Maps some slabs, aligned to their size. Under the pool's mutex. */
static bool map_slabs(void)
{
	size_t bytes = (size_t)SLABS_AT_ONCE * SLAB_BYTES;
	char *start = mmap(NULL, bytes + SLAB_BYTES, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t skip;

	if (start == MAP_FAILED)
		return false;
	skip = -(uintptr_t)start & (SLAB_BYTES - 1);
	if (skip)
		munmap(start, skip);
	if (skip != SLAB_BYTES)
		munmap(start + skip + bytes, SLAB_BYTES - skip);
	pool.unused = (struct task_slab *)(start + skip);
	pool.n_unused = SLABS_AT_ONCE;
	return true;
}

static struct weft_task *open_slab(void)
{
	struct task_slab *slab;
	struct weft_task *list = NULL;

	if (!pool.n_unused && !map_slabs())
		return NULL;
	slab = pool.unused;
	pool.unused = (struct task_slab *)((char *)slab + SLAB_BYTES);
	pool.n_unused--;
	slab->next = pool.slabs;
	pool.slabs = slab;
	for (size_t i = TASKS_PER_SLAB; i-- > 0;) {
		slab->tasks[i].next_free = list;
		list = &slab->tasks[i];
	}
	return list;
}

/* Spare descriptors for a scheduler that has run out. */
static NOINLINE struct weft_task *refill(struct scheduler *s)
{
	pthread_mutex_lock(&pool.mutex);
	if (pool.free) {
		s->free_tasks = pool.free;
		pool.free = NULL;
	} else {
		s->free_tasks = open_slab();
	}
	pthread_mutex_unlock(&pool.mutex);
	return s->free_tasks;
}

static void release_descriptor(struct scheduler *s, struct weft_task *t)
{
	t->next_free = s->free_tasks;
	s->free_tasks = t;
}

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
		poke(name_of(t)->words[i], copy.words[i]);
}

/* --- the end --- */

static bool is_fresh(struct weft_task *t)
{
	return !t->stack && !peek(t->is_main);
}

/* From here on the handle is stale. The descriptor stays the tenant's. */
static INLINE void retire(struct scheduler *s, struct weft_task *t, int result)
{
	t->result = result;
	poke(t->state, WEFT_DEAD);
	/* release: who finds the id gone finds the end before it [task.1] */
	atomic_fetch_and_explicit(&t->word, REQUEST_QUEUED,
				  memory_order_release);
	poke(s->alive, peek(s->alive) - 1);
	count(s->ended);
	if (result < 0)
		count(s->failed);
	weft__stack_forgo(&s->stacks, t->stack_class);
}

/* Lets the descriptor go, or leaves that to whoever takes it out of an inbox: the
 * owner, or a requester whom the inbox refused. Each of the two clears or sets
 * its bit in one step, and the second one sees the other's. [task.1] */
static INLINE void let_go(struct scheduler *s, struct weft_task *t)
{
	uint64_t word = peek(t->word);

	/* Once the id is gone nobody sets bits: what is clear stays clear. */
	if (unlikely(word & REQUEST_QUEUED))
		word = atomic_fetch_or(&t->word, REQUEST_GONE);
	if (!(word & REQUEST_QUEUED))
		release_descriptor(s, t);
}

/* Ends a tasklet that never ran, which is in no queue. */
static void end_unstarted(struct scheduler *s, struct weft_task *t, int result)
{
	retire(s, t, result);
	let_go(s, t);
}

/* The current tasklet has ended. Returns its fresh successor, which is to run on
 * the same stack, or does not return. */
static struct weft_task *end_current(struct scheduler *s, struct weft_task *t)
{
	struct weft_task *next = weft__next(s);

	poke(s->current, next);
#ifndef WEFT__SANITIZED
	if (likely(is_fresh(next)) && t->stack &&
	    next->stack_class == t->stack_class) {
		next->stack = t->stack;
		let_go(s, t);
		return next;
	}
#else
	weft__task_prepare(next);
#endif
	if (t->stack)
		weft__stack_give(&s->stacks, t->stack_class, t->stack);
	let_go(s, t);
	weft__context_end(&t->context, &next->context);
}

/* The first function on a tasklet's stack. */
static _Noreturn void run_tasklets(void *first)
{
	struct weft_task *t = first;

	weft__context_arrived(&t->context);
	for (;;) {
		struct scheduler *s = weft__self;
		int result;

		if (unlikely(t->attention & ATTENTION_OWN_FPU))
			weft__fpu_return(s, t);
		result = t->fn(t->arg);
		if (unlikely(t->attention & ATTENTION_OWN_FPU))
			arch_fpu_load(&s->fpu);
		retire(s, t, result);
		t = end_current(s, t);
	}
}

static bool attach_stack(struct weft_task *t)
{
	struct scheduler *s = peek(t->owner);
	char *top = weft__stack_take(&s->stacks, t->stack_class);

	if (!top)
		return false;
	t->stack = top;
	weft__context_make(&t->context, top, run_tasklets, t);
	weft__context_adopt_stack(
		&t->context, weft__stack_low(t->stack_class, top),
		(size_t)(top - weft__stack_low(t->stack_class, top)));
	return true;
}

#ifdef WEFT__SANITIZED
void weft__task_prepare(struct weft_task *t)
{
	if (is_fresh(t))
		REQUIRE(attach_stack(t), "no memory for the guard of a stack");
}
#endif

/* Where a fresh context starts, on the scheduler's starter stack. Without a
 * stack the tasklet ends here: its idle loop may run on this stack, which
 * nobody comes back to. */
static _Noreturn void start(void *task)
{
	struct weft_task *t = task;
	struct scheduler *s = peek(t->owner);

	if (likely(attach_stack(t)))
		weft__context_leave(&t->context);
	retire(s, t, -ENOMEM);
	end_current(s, t);
	__builtin_unreachable();
}

/* --- birth --- */

/* A descriptor with a tenant that is in no queue. The owner is set by the time
 * the id is. */
static INLINE struct weft_task *create(struct scheduler *s,
				       struct scheduler *owner, unsigned class,
				       weft_fn fn, void *arg, unsigned requests)
{
	struct weft_task *t = s->free_tasks;

	if (unlikely(!t) && !(t = refill(s)))
		return NULL;
	s->free_tasks = t->next_free;
	t->attention = 0;
	t->flags = 0;
	poke(t->is_main, false);
	poke(t->has_name, false);
	t->stack_class = (uint8_t) class;
	t->stack = NULL;
	t->fn = fn;
	t->arg = arg;
	poke(t->owner, owner);
	poke(t->state, WEFT_PAUSED);
	weft__context_make(&t->context, owner->starter_top, start, t);
	/* release: who finds the id finds the owner [task.1] */
	atomic_store_explicit(&t->word, new_id(s) << REQUEST_BITS | requests,
			      memory_order_release);
	return t;
}

/* Counts a tasklet in that is new on its own thread. */
static INLINE int admit(struct scheduler *s, struct weft_task *t)
{
	size_t alive = peek(s->alive) + 1;

	if (unlikely(2 * (alive + 1) > s->mask) &&
	    weft__queue_reserve(s, alive + 1))
		return -ENOMEM;
	if (unlikely(weft__stack_promise(&s->stacks, t->stack_class)))
		return -ENOMEM;
	poke(s->alive, alive);
	t->order = peek(s->n_arrived);
	poke(s->n_arrived, t->order + 1);
	return 0;
}

static weft_tasklet null_handle(int err)
{
	errno = err;
	return (weft_tasklet){ .task = NULL, .id = 0 };
}

static void discard(struct scheduler *s, struct weft_task *t)
{
	/* nobody has seen the id yet: relaxed, no pair */
	poke(t->word, 0);
	release_descriptor(s, t);
}

WEFT_API weft_tasklet weft_spawn(weft_fn fn, void *arg)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *t;

	if (unlikely(!s))
		return null_handle(errno);
	if (unlikely(!fn))
		return null_handle(EINVAL);
	t = create(s, s, s->default_class, fn, arg, 0);
	if (unlikely(!t))
		return null_handle(ENOMEM);
	if (unlikely(admit(s, t))) {
		discard(s, t);
		return null_handle(ENOMEM);
	}
	poke(t->state, WEFT_RUNNABLE);
	weft__enqueue(s, t);
	return weft__handle(t);
}

static int admit_and_insert(struct scheduler *s, struct weft_task *t)
{
	int rc = admit(s, t);

	if (!rc && !t->born_paused) {
		poke(t->state, WEFT_RUNNABLE);
		weft__enqueue(s, t);
	}
	return rc;
}

static void fill_in(struct weft_task *t, const struct weft_tasklet_options *o)
{
	if (o->name) {
		set_name(t, o->name);
		poke(t->has_name, true);
	}
	t->born_paused = o->paused;
	if (o->own_fpu) {
		t->attention |= ATTENTION_OWN_FPU;
		arch_fpu_save(&t->fpu);
	}
}

/* A tasklet for another thread, which stays attached meanwhile. */
struct delivery {
	const struct weft_tasklet_options *options;
	struct scheduler *from;
	weft_fn fn;
	void *arg;
	int class; /* -1: the target's default */
	weft_tasklet handle;
	int err;
};

static void deliver(struct scheduler *target, void *arg)
{
	struct delivery *d = arg;
	unsigned class =
		d->class < 0 ? target->default_class : (unsigned)d->class;
	struct weft_task *t = create(d->from, target, class, d->fn, d->arg,
				     REQUEST_QUEUED | REQUEST_NEW);

	if (!t) {
		d->err = ENOMEM;
		return;
	}
	fill_in(t, d->options);
	d->handle = weft__handle(t);
	if (!weft__hand_in(d->from, target, link_of(t))) {
		discard(d->from, t);
		d->err = ESRCH;
	}
}

WEFT_API weft_tasklet weft_spawn_with(
	const struct weft_tasklet_options *options, weft_fn fn, void *arg)
{
	static const struct weft_tasklet_options none;
	struct scheduler *s = weft__scheduler();
	struct delivery d = { .from = s, .fn = fn, .arg = arg, .class = -1 };
	struct weft_task *t;

	if (!s)
		return null_handle(errno);
	d.options = options ? options : &none;
	if (!fn)
		return null_handle(EINVAL);
	if (d.options->stack_size) {
		d.class = weft__stack_class(d.options->stack_size);
		if (d.class < 0)
			return null_handle(EINVAL);
	}
	if (d.options->thread && d.options->thread != peek(s->thread_id)) {
		if (weft__thread_visit(d.options->thread, deliver, &d))
			return null_handle(ESRCH);
		return d.err ? null_handle(d.err) : d.handle;
	}

	t = create(s, s, d.class < 0 ? s->default_class : (unsigned)d.class, fn,
		   arg, 0);
	if (!t)
		return null_handle(ENOMEM);
	fill_in(t, d.options);
	if (admit_and_insert(s, t)) {
		discard(s, t);
		return null_handle(ENOMEM);
	}
	return weft__handle(t);
}

int weft__task_create_main(struct scheduler *s)
{
	struct weft_task *t = create(s, s, 0, NULL, NULL, 0);

	if (!t)
		return -ENOMEM;
	poke(t->is_main, true);
	poke(t->state, WEFT_RUNNABLE);
	weft__context_adopt_thread(&t->context);
	s->main = t;
	poke(s->current, t);
	return 0;
}

void weft__task_release_all(struct scheduler *s)
{
	struct weft_task **last = &s->free_tasks;
	struct weft_task *t = s->main;

	poke(t->state, WEFT_DEAD);
	/* as in retire() [task.1] */
	atomic_fetch_and_explicit(&t->word, REQUEST_QUEUED,
				  memory_order_release);
	let_go(s, t);
	while (*last)
		last = &(*last)->next_free;
	pthread_mutex_lock(&pool.mutex);
	*last = pool.free;
	pool.free = s->free_tasks;
	pthread_mutex_unlock(&pool.mutex);
	s->free_tasks = NULL;
}

/* --- handles --- */

static bool is_alive(weft_tasklet t)
{
	/* acquire: pairs with the release of the id in create() [task.1] */
	return t.task && t.id &&
	       atomic_load_explicit(&t.task->word, memory_order_acquire) >>
			       REQUEST_BITS ==
		       t.id;
}

WEFT_API weft_tasklet weft_current(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(peek(s->current)) : null_handle(errno);
}

WEFT_API weft_tasklet weft_main(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(s->main) : null_handle(errno);
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
	return is_alive(t);
}

WEFT_API enum weft_state weft_tasklet_state(weft_tasklet t)
{
	enum weft_state state;
	struct scheduler *owner;

	if (!is_alive(t))
		return WEFT_DEAD;
	owner = peek(t.task->owner);
	state = (enum weft_state)peek(t.task->state);
	if (state == WEFT_RUNNABLE && peek(owner->current) == t.task)
		state = WEFT_RUNNING;
	/* It may have ended while we looked. */
	return is_alive(t) ? state : WEFT_DEAD;
}

WEFT_API bool weft_tasklet_is_main(weft_tasklet t)
{
	bool is_main;

	if (!is_alive(t))
		return false;
	is_main = peek(t.task->is_main);
	return is_main && is_alive(t);
}

WEFT_API uint64_t weft_tasklet_thread(weft_tasklet t)
{
	uint64_t id;

	if (!is_alive(t))
		return 0;
	id = peek(peek(t.task->owner)->thread_id);
	return is_alive(t) ? id : 0;
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
	if (!is_alive(t))
		return -ESRCH;
	if (peek(t.task->has_name))
		for (size_t i = 0; i < NAME_SIZE / sizeof(uint64_t); i++)
			copy.words[i] = peek(name_of(t.task)->words[i]);
	/* acquire: the words were read before the id is read again */
	atomic_thread_fence(memory_order_acquire);
	if (!is_alive(t))
		return -ESRCH;
	length = strnlen(copy.text, NAME_SIZE - 1);
	if (length >= size)
		length = size - 1;
	memcpy(buf, copy.text, length);
	buf[length] = '\0';
	return 0;
}

/* --- control --- */

/* Asks the owner, another thread, to do something with its tasklet. */
static int request(struct scheduler *s, weft_tasklet t, unsigned request)
{
	/* acquire: pairs with the release of the id in create() [task.1] */
	uint64_t word =
		atomic_load_explicit(&t.task->word, memory_order_acquire);

	do {
		if (word >> REQUEST_BITS != t.id)
			return -ESRCH;
	} while (!atomic_compare_exchange_weak_explicit(
		&t.task->word, &word, word | request | REQUEST_QUEUED,
		memory_order_acq_rel, memory_order_acquire)); /* [task.1] */
	if (word & REQUEST_QUEUED)
		return 0;
	/* From here on the descriptor keeps its tenant's owner. */
	if (weft__hand_in(s, peek(t.task->owner), link_of(t.task)))
		return 0;
	weft__task_request_refused(s, t.task);
	return -ESRCH;
}

static void requested(struct scheduler *s, struct weft_task *t, bool is_refused)
{
	/* acquire: what the requesters wrote; release: for the next [task.1] */
	uint64_t word = atomic_fetch_and_explicit(&t->word, ~REQUEST_MASK,
						  memory_order_acq_rel);

	if (!(word >> REQUEST_BITS)) {
		if (word & REQUEST_GONE)
			release_descriptor(s, t);
		return;
	}
	if (word & REQUEST_NEW && (is_refused || admit_and_insert(s, t))) {
		/* It was never counted in; end_unstarted() counts it out. */
		poke(s->alive, peek(s->alive) + 1);
		s->stacks.classes[t->stack_class].promised++;
		end_unstarted(s, t, is_refused ? -ECANCELED : -ENOMEM);
		return;
	}
	if (is_refused)
		return;
	/* Of a tasklet that has blocked meanwhile they ask nothing. */
	if (word & REQUEST_RUN)
		(void)weft__run_first(s, t);
	else if (word & REQUEST_INSERT)
		(void)weft__insert(s, t);
}

void weft__task_requested(struct scheduler *s, struct weft_task *t)
{
	requested(s, t, false);
}

void weft__task_request_refused(struct scheduler *s, struct weft_task *t)
{
	requested(s, t, true);
}

/* What the four control calls have in common. */
struct control {
	int (*here)(struct scheduler *s, struct weft_task *t);
	unsigned request; /* 0: not for tasklets of other threads */
};

static int control(weft_tasklet t, const struct control *c)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return -errno;
	/* What others handed in comes first: it may be @t itself. And two who
	 * only go to each other must not starve the rest. */
	if (weft__must_look(s))
		weft__look_around(s);
	if (!is_alive(t))
		return -ESRCH;
	if (peek(t.task->owner) == s)
		return c->here(s, t.task);
	if (!c->request)
		return -EXDEV;
	if (peek(t.task->state) == WEFT_BLOCKED)
		return is_alive(t) ? -EBUSY : -ESRCH;
	return request(s, t, c->request);
}

WEFT_API int weft_tasklet_insert(weft_tasklet t)
{
	static const struct control insert = { weft__insert, REQUEST_INSERT };

	return control(t, &insert);
}

WEFT_API int weft_tasklet_remove(weft_tasklet t)
{
	static const struct control remove = { weft__remove, 0 };

	return control(t, &remove);
}

WEFT_API int weft_tasklet_run(weft_tasklet t)
{
	static const struct control run = { weft__run_now, REQUEST_RUN };

	return control(t, &run);
}

WEFT_API int weft_tasklet_switch(weft_tasklet t)
{
	static const struct control change = { weft__switch_now, 0 };

	return control(t, &change);
}

/* --- the end of a thread --- */

/* The tasklets of a thread that are alive, main excluded, in the order of their
 * coming, in a fresh array; NULL when there is no memory. */
static struct weft_task **all_tasks(struct scheduler *s, size_t *n)
{
	struct weft_task **all = malloc((peek(s->alive) + 1) * sizeof *all);

	*n = 0;
	if (!all)
		return NULL;
	pthread_mutex_lock(&pool.mutex);
	for (struct task_slab *slab = pool.slabs; slab; slab = slab->next) {
		for (size_t i = 0; i < TASKS_PER_SLAB; i++) {
			struct weft_task *t = &slab->tasks[i];

			/* Another thread's descriptor may change owner, but
			 * never to or from this one, which is here. */
			if (peek(t->owner) == s && weft__task_id(t) &&
			    !(peek(t->word) & REQUEST_NEW) && t != s->main)
				all[(*n)++] = t;
		}
	}
	pthread_mutex_unlock(&pool.mutex);
	return all;
}

static int by_order(const void *left, const void *right)
{
	const struct weft_task *a = *(struct weft_task *const *)left;
	const struct weft_task *b = *(struct weft_task *const *)right;

	return a->order < b->order ? -1 : a->order > b->order;
}

/* Ends the wait of a blocked tasklet, unless its wake is on the way. */
static void call_off(struct scheduler *s, struct weft_task *t)
{
	struct waiter *w = t->waiter;

	if (w->kind->cancel(s, w)) {
		w->result = -ECANCELED;
		weft__wake_local(s, t);
	}
}

static void kill_one(struct scheduler *s, struct weft_task *t)
{
	uint8_t state = peek(t->state);

	if (is_fresh(t)) {
		if (state == WEFT_RUNNABLE)
			weft__queue_remove(s, t);
		end_unstarted(s, t, -ECANCELED);
		return;
	}
	t->attention |= ATTENTION_KILLED;
	if (state == WEFT_PAUSED)
		(void)weft__insert(s, t);
	else if (state == WEFT_BLOCKED)
		call_off(s, t);
}

int weft__task_kill_all(struct scheduler *s)
{
	size_t n;
	struct weft_task **all = all_tasks(s, &n);

	if (!all)
		return -ENOMEM;
	qsort(all, n, sizeof *all, by_order);
	for (size_t i = 0; i < n; i++)
		kill_one(s, all[i]);
	free(all);
	return 0;
}

void weft__task_abandon_all(struct scheduler *s)
{
	size_t n;
	struct weft_task **all;

	if (!peek(s->alive))
		return;
	all = all_tasks(s, &n);
	REQUIRE(all, "no memory to give up the tasklets of a thread");
	for (size_t i = 0; i < n; i++) {
		struct weft_task *t = all[i];

		/* Who has claimed its waiter already will hand it in; the inbox
		 * must be open for that. */
		if (peek(t->state) == WEFT_BLOCKED)
			while (!t->waiter->kind->cancel(s, t->waiter) &&
			       peek(t->state) == WEFT_BLOCKED)
				weft__look_around(s);
		retire(s, t, -ECANCELED);
		count(s->abandoned);
	}
	free(all);
}
