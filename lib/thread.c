/* SPDX-License-Identifier: MIT */
/*
 * OS threads: attaching, the registry, the end.
 *
 * A thread is attached by its first call; its own stack becomes the main
 * tasklet. Schedulers are type-stable like descriptors: the one of a thread that
 * has ended waits for the next thread, so that a late look at it reads a
 * scheduler, if another one. The registry's mutex keeps a thread from being
 * detached while somebody found it by its id.
 *
 * At its end, by a destructor of pthread's, a thread
 *
 *	drops its callbacks and traps, which may point to what is gone;
 *	kills its tasklets in the order in which they came and lets them run, in
 *	rounds; then takes back the operations of the ring that are left, shielded
 *	ones, and begins none any more; they are waited for in any case, since the
 *	kernel has their buffers, and so are offloaded calls, whose functions may
 *	use their callers' stacks;
 *	does what its main tasklet has deferred, and all that again for what
 *	comes of it;
 *	counts those left after the last round as abandoned;
 *	leaves the registry, closes its inbox [park.2], wakes those who join its
 *	main tasklet, counts itself out [deadlock.1], gives back ring, stacks,
 *	queue and descriptors.
 */
#include "thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <weft/time.h>

#include "deadlock.h"
#include "environment.h"
#include "fork.h"
#include "park.h"
#include "pool.h"
#include "position.h"
#include "scheduler.h"
#include "valgrind.h"

enum {
	DETACH_ROUNDS = 10,
	DETACH_ROUND_NS = 10 * 1000 * 1000,
	STARTER_BYTES = 32 * 1024,
	STARTER_REST = 64,
	STACK_MIN_BYTES = 4096,
#ifdef WEFT__TSAN
	/* In the last one ThreadSanitizer forgets the thread, and code that it
	 * watches must not run after that. */
	DESTRUCTOR_ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS - 1
#else
	DESTRUCTOR_ROUNDS = PTHREAD_DESTRUCTOR_ITERATIONS
#endif
};

static struct {
	pthread_mutex_t mutex;
	pthread_once_t once;
	pthread_key_t key;
	bool has_key;
	_Atomic(uint64_t) last_id;         /* changed under the mutex */
	struct scheduler *oldest, *newest; /* attached */
	struct scheduler *spare;
	size_t n;
	uint8_t default_class;
} registry = { .mutex = PTHREAD_MUTEX_INITIALIZER, .once = PTHREAD_ONCE_INIT };

/* Whether spinning can pay: somebody must be awake to hand something in, and on
 * another CPU. All are hints: relaxed, no pair. */
static struct {
	_Atomic(bool) several_cpus;
	_Atomic(int) only_cpu; /* plus one, while there is one only; 0: none */
} others __attribute__((aligned(128)));

bool weft__others_are_awake(void)
{
	return weft__several_are_awake() && peek(others.several_cpus);
}

/* Notes where the calling thread may run. A thread that is bound to one CPU can
 * still be handed things from another. */
static void note_cpus(void)
{
	cpu_set_t cpus;
	int none = 0;
	unsigned cpu = 0;

	if (peek(others.several_cpus))
		return;
	/* A set too small for the machine's CPUs is an error, and says that
	 * there are many. */
	if (sched_getaffinity(0, sizeof cpus, &cpus) == 0 &&
	    CPU_COUNT(&cpus) == 1) {
		while (!CPU_ISSET(cpu, &cpus))
			cpu++;
		if (atomic_compare_exchange_strong(&others.only_cpu, &none,
						   (int)cpu + 1) ||
		    none == (int)cpu + 1)
			return;
	}
	poke(others.several_cpus, true);
}

/* --- the end --- */

static void find_blocked(struct weft_task *t, void *found)
{
	if (peek(t->state) == WEFT_BLOCKED)
		*(bool *)found = true;
}

/* Whether something is still out that a killed tasklet has to wait for: it is
 * shielded, or the kernel or another thread is just serving it. */
static bool is_waiting(struct scheduler *s)
{
	bool found = false;

	weft__task_each(s, find_blocked, &found);
	return found;
}

/* One round of the end: false when all have ended. */
static bool detach_round(struct scheduler *s)
{
	if (weft__task_kill_all(s))
		weft__warn("no memory to end the tasklets of a thread");
	weft__run_runnable(s, weft_now() + DETACH_ROUND_NS);
	if (peek(s->alive) && weft__queue_is_empty(s) && is_waiting(s))
		(void)weft_run_until(weft_now() + DETACH_ROUND_NS);
	return peek(s->alive) > 0;
}

static bool is_served(const struct scheduler *s)
{
	return s->engine.n_in_flight || s->n_offloaded;
}

/* After the last round: takes back what the kernel still has, and lets those who
 * waited for it go on for a last while, in which neither it nor a helper takes on
 * anything more. */
static void end_waits(struct scheduler *s)
{
	struct engine *e = &s->engine;

	weft__engine_refuse(e, true);
	weft__engine_cancel_all(e);
	while (is_served(s))
		(void)weft_run_until(weft_now() + DETACH_ROUND_NS);
	weft__run_runnable(s, weft_now() + DETACH_ROUND_NS);
	weft__engine_refuse(e, false);
}

/* Runs the tasklets to their end. */
static void end_tasklets(struct scheduler *s)
{
	for (int round = 0; round < DETACH_ROUNDS && detach_round(s); round++)
		;
	if (is_served(s))
		end_waits(s);
}

/* Runs everything to its end, on the main tasklet. */
static void end_all(struct scheduler *s)
{
	bool has_deferred;

	s->main->n_shields++;
	weft__drop_scopes(s, s->main);
	s->main->attention &= (uint8_t)~ATTENTION_BLOCK_TRAP;
	if (peek(s->alive))
		end_tasklets(s);
	has_deferred = s->main->deferred;
	weft__task_run_deferred(s, s->main);
	if (has_deferred && peek(s->alive))
		end_tasklets(s);
}

static void drop_callbacks(struct scheduler *s)
{
	s->trap_level = 0;
	s->in_callback = false;
	peek(s->current)->flags &= (uint8_t)~TASK_IN_CALLBACK;
	s->on_schedule = NULL;
	s->on_channel = NULL;
	weft__choose_ways(s);
}

static void unregister(struct scheduler *s)
{
	pthread_mutex_lock(&registry.mutex);
	if (s->older)
		s->older->newer = s->newer;
	else
		registry.oldest = s->newer;
	if (s->newer)
		s->newer->older = s->older;
	else
		registry.newest = s->older;
	registry.n--;
	if (!weft__pool_is_helper(s->tid)) /* which stays */
		weft__deadlock_note_leaving(s->tid);
	pthread_mutex_unlock(&registry.mutex);
}

static void make_spare(struct scheduler *s)
{
	pthread_mutex_lock(&registry.mutex);
	s->newer = registry.spare;
	registry.spare = s;
	pthread_mutex_unlock(&registry.mutex);
}

/* Names the starter to Valgrind, and the stack of the thread itself: it knows one
 * stack as the current one, of whatever thread, and takes a switch from one that it
 * does not know into that one for a call or a return. It knows that of the process's
 * first thread. */
static void name_stacks(struct scheduler *s)
{
	pthread_attr_t attributes;
	void *low = NULL;
	size_t size = 0;

	s->starter_id =
		(unsigned)VALGRIND_STACK_REGISTER(s->starter, s->starter_top);
	s->own_stack_id = 0;
	if (gettid() == getpid() ||
	    pthread_getattr_np(pthread_self(), &attributes))
		return;
	if (!pthread_attr_getstack(&attributes, &low, &size))
		s->own_stack_id = (unsigned)VALGRIND_STACK_REGISTER(
			low, (char *)low + size);
	pthread_attr_destroy(&attributes);
}

static void unname_stacks(const struct scheduler *s)
{
	VALGRIND_STACK_DEREGISTER(s->starter_id);
	if (s->own_stack_id)
		VALGRIND_STACK_DEREGISTER(s->own_stack_id);
}

static void unmap_starter(struct scheduler *s)
{
	if (weft__on_valgrind)
		unname_stacks(s);
	munmap(s->starter, STARTER_BYTES);
}

static void free_parts(struct scheduler *s, bool stacks_too)
{
	weft__engine_close(s);
	if (stacks_too)
		weft__stack_free_all(&s->stacks);
	weft__free_scopes(s);
	weft__timer_free(&s->timers);
	free(s->queue);
	s->queue = NULL;
	unmap_starter(s);
}

static void refuse(struct scheduler *s, uintptr_t link)
{
	while (link) {
		struct inbox_node *node = weft__inbox_node(link);

		link = node->next;
		weft__task_request_refused(s, weft__task_of_node(node));
	}
}

/* Rings the oldest thread for nothing. If there is none, the caller counts itself
 * out instead, before one can attach and park: false. */
static bool ring_one(struct scheduler *s)
{
	struct scheduler *target;
	struct bell bell = { .target = NULL };
	uint64_t word;

	pthread_mutex_lock(&registry.mutex);
	target = registry.oldest;
	if (target) {
		word = atomic_fetch_or(&target->main->word,
				       REQUEST_QUEUED); /* [task.1] */
		/* It stays in the registry, so its inbox is open. */
		if (!(word & REQUEST_QUEUED))
			(void)weft__push(target, weft__task_link(target->main),
					 &bell);
	} else {
		weft__count_awake(-1);
	}
	pthread_mutex_unlock(&registry.mutex);
	/* It may end meanwhile, but waits for this before it closes what is
	 * rung. [park.2] */
	if (bell.target)
		weft__ring_bell(s, &bell);
	return target;
}

void weft__thread_count_out(struct scheduler *s)
{
	while (weft__count_out()) {
		weft__count_awake(1);
		if (!ring_one(s))
			return;
	}
}

/* A tasklet has called pthread_exit(): the frames of main, who had been left in
 * some call, are gone. What others would find there, and write to, would be
 * anything: that is the end. Its call of run or pump has nothing there. */
static void leave_main_behind(struct scheduler *s)
{
	REQUIRE(peek(s->main->state) != WEFT_BLOCKED,
		"pthread_exit() in a tasklet while the main tasklet of its "
		"thread is blocked");
	weft__context_back_on_thread(&s->main->context);
	weft__drop_main_frame(s);
	weft__drop_scopes(s, s->main);
}

static void detach(struct scheduler *s)
{
	bool on_main = peek(s->current) == s->main;
	/* With glibc a thread that exits is back on its own stack by now. */
	bool stacks_too =
		on_main ||
		!weft__stack_is_one_of(&s->stacks, __builtin_frame_address(0));

	drop_callbacks(s);
	if (on_main)
		end_all(s);
	else
		leave_main_behind(s);
	s->cut_short = NULL; /* main's may be gone */
	weft__task_abandon_all(s);
	weft__position_give_up(s);
	weft__release_word(s);
	unregister(s);
	refuse(s, weft__inbox_close(s));
	poke(s->thread_id, 0);
	weft__task_release_all(s);
	weft__thread_count_out(s);
	weft__embedding_free(s);
	free_parts(s, stacks_too);
	weft__self = NULL;
	weft__fast = NULL;
	make_spare(s);
}

/*
 * The keys of a thread that ends are destroyed in rounds, as long as destructors
 * set some again, up to a limit. One of the user's that calls weft after our own
 * attaches the thread anew, and the next round detaches it. After the last round
 * nobody would: the thread would stay in the registry for ever, and count as
 * awake. So our key stays set, whether or not there is something to detach, which
 * counts the rounds, and in the last ones the thread cannot be attached.
 *
 * A thread that was first attached by a destructor counts late, by one if that was
 * in the first round: hence the last two.
 */
static __thread int n_rounds;

static char nothing_to_detach;

static void end_round(void *value)
{
	if (value != &nothing_to_detach)
		detach(value);
	if (++n_rounds < DESTRUCTOR_ROUNDS)
		pthread_setspecific(registry.key, &nothing_to_detach);
}

static bool is_too_late(void)
{
	return n_rounds >= DESTRUCTOR_ROUNDS - 2;
}

void weft__thread_detach(void)
{
	struct scheduler *s = weft__self;

	if (!s)
		return;
	pthread_setspecific(registry.key, NULL);
	detach(s);
}

/* --- attaching --- */

static void initialise(void)
{
	int64_t bytes = weft__environment_number("WEFT_STACK", STACK_MIN_BYTES,
						 INT64_C(1) << 29, 0, "bytes");

	registry.has_key = pthread_key_create(&registry.key, end_round) == 0;
	registry.default_class =
		bytes ? (uint8_t)weft__stack_class((size_t)bytes)
		      : STACK_DEFAULT_SHIFT - STACK_MIN_SHIFT;
	weft__ask_for_valgrind();
	weft__park_read_environment();
	weft__deadlock_read_environment();
	weft__pool_read_environment();
	weft__fork_prepare();
}

static struct scheduler *find_spare(void)
{
	struct scheduler *s;

	pthread_mutex_lock(&registry.mutex);
	s = registry.spare;
	if (s)
		registry.spare = s->newer;
	pthread_mutex_unlock(&registry.mutex);
	if (s)
		return s;
	/* Only fresh memory is cleared as a whole: a late waker of an earlier
	 * thread may still count itself out of `ringers`. */
	s = aligned_alloc(_Alignof(struct scheduler), sizeof *s);
	return s ? memset(s, 0, sizeof *s) : NULL;
}

static bool create_parts(struct scheduler *s)
{
	s->starter = mmap(
		NULL, STARTER_BYTES, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_STACK, -1, 0);
	if (s->starter == MAP_FAILED)
		return false;
	/* Not at the end, where Valgrind takes it for a neighbour's beginning. */
	s->starter_top = (char *)s->starter + STARTER_BYTES - STARTER_REST;
	if (weft__on_valgrind)
		name_stacks(s);
	if (weft__queue_reserve(s, 0))
		goto unmap_starter;
	if (weft__task_create_main(s))
		goto free_queue;
	return true;

free_queue:
	free(s->queue);
	s->queue = NULL;
unmap_starter:
	unmap_starter(s);
	return false;
}

struct scheduler *weft__attach(void)
{
	struct scheduler *s;

	if (is_too_late()) {
		errno = ESRCH;
		return NULL;
	}
	pthread_once(&registry.once, initialise);
	s = find_spare();
	if (!s)
		goto no_memory;
	/* What others may look at without the registry's mutex is not touched
	 * but by atomic stores. */
	memset((char *)s + offsetof(struct scheduler, queue), 0,
	       offsetof(struct scheduler, thread_id) -
		       offsetof(struct scheduler, queue));
	s->default_class = registry.default_class;
	s->random = 2463534242;
	s->exceptions = weft__exceptions_find();
	s->budget = s->counted = SWITCHES_BETWEEN_LOOKS;
	poke(s->engine.ring_fd, -1);
	poke(s->engine.eventfd, -1);
	poke(s->inbox.word, INBOX_EMPTY);
	if (!create_parts(s))
		goto spare;
	if (!registry.has_key || pthread_setspecific(registry.key, s))
		goto release;
	s->spin_max_ns = weft__spin_max_ns();
	s->spin_ns = s->spin_max_ns;
	note_cpus();

	s->tid = gettid();
	weft__count_awake(1); /* [deadlock.1] */
	pthread_mutex_lock(&registry.mutex);
	poke(s->thread_id, atomic_fetch_add(&registry.last_id, 1) + 1);
	s->older = registry.newest;
	if (s->older)
		s->older->newer = s;
	else
		registry.oldest = s;
	registry.newest = s;
	registry.n++;
	pthread_mutex_unlock(&registry.mutex);
	weft__self = s;
	weft__choose_ways(s);
	return s;

release:
	weft__task_release_all(s);
	free_parts(s, true);
spare:
	make_spare(s);
no_memory:
	errno = ENOMEM;
	return NULL;
}

/* --- the registry --- */

void weft__thread_lock_registry(void)
{
	pthread_mutex_lock(&registry.mutex);
}

void weft__thread_unlock_registry(void)
{
	pthread_mutex_unlock(&registry.mutex);
}

void weft__thread_each(void (*look)(struct scheduler *s, void *arg), void *arg)
{
	for (struct scheduler *s = registry.oldest; s; s = s->newer)
		look(s, arg);
}

uint64_t weft__thread_n_ever(void)
{
	return atomic_load(&registry.last_id); /* [deadlock.2] */
}

void weft__thread_forget_others(struct scheduler *self)
{
	registry.oldest = registry.newest = self;
	registry.n = self ? 1 : 0;
	if (self) {
		self->older = self->newer = NULL;
		self->tid = gettid();
	}
}

int weft__thread_visit(uint64_t id,
		       void (*look)(struct scheduler *s, void *arg), void *arg)
{
	struct scheduler *s;

	pthread_mutex_lock(&registry.mutex);
	for (s = registry.oldest; s; s = s->newer)
		if (peek(s->thread_id) == id)
			break;
	if (s)
		look(s, arg);
	pthread_mutex_unlock(&registry.mutex);
	return s ? 0 : -ESRCH;
}

WEFT_API uint64_t weft_thread_id(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? peek(s->thread_id) : 0;
}

WEFT_API size_t weft_threads(uint64_t *ids, size_t capacity)
{
	size_t n = 0;

	(void)weft__scheduler();
	pthread_mutex_lock(&registry.mutex);
	for (struct scheduler *s = registry.oldest; s; s = s->newer) {
		if (n < capacity)
			ids[n] = peek(s->thread_id);
		n++;
	}
	pthread_mutex_unlock(&registry.mutex);
	return n;
}

static void describe(struct scheduler *s, void *info)
{
	struct weft_thread_info *out = info;

	*out = (struct weft_thread_info){
		.id = peek(s->thread_id),
		.main = weft__handle(s->main),
		.current = weft__handle(peek(s->current)),
		.runcount = peek(s->tail) - peek(s->head) -
			    peek(s->n_tombstones) + 1,
		.alive = peek(s->alive) + 1,
		.parked = weft__inbox_is_parked(peek(s->inbox.word)),
	};
}

WEFT_API int weft_thread_info(uint64_t id, struct weft_thread_info *info)
{
	if (!info)
		return -EINVAL;
	if (!weft__scheduler())
		return -errno;
	return weft__thread_visit(id, describe, info);
}
