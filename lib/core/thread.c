/* SPDX-License-Identifier: MIT */
/*
 * OS threads: attaching, the registry, the end.
 *
 * A thread's first call attaches it; its own stack becomes the main tasklet.
 * Schedulers are type-stable like descriptors: the scheduler of a thread that
 * has ended waits for the next thread. So a late look at it still reads a
 * scheduler, though perhaps another thread's. The registry's mutex keeps a
 * thread from being detached while somebody uses what a search by its id found.
 *
 * At its end, in a destructor of a pthread key, a thread
 *
 *	drops its callbacks and traps, which may point to what is gone;
 *	kills its tasklets in the order in which they came and lets them run, in
 *	rounds; then cancels the operations of the ring that are left, those of
 *	shielded tasklets, and begins no new ones; it waits for them in any case,
 *	since the kernel has their buffers, and for offloaded calls too, whose
 *	functions may use their callers' stacks;
 *	runs what its main tasklet has deferred, and does all that again for what
 *	comes of it;
 *	counts the tasklets left after the last round as abandoned;
 *	leaves the registry, closes its inbox [park.2], wakes those who join its
 *	main tasklet, counts itself out [deadlock.1], gives back ring, stacks,
 *	queue and descriptors.
 */
#include "core/thread.h"

#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <weft/time.h>

#include "base/environment.h"
#include "base/part.h"
#include "base/valgrind.h"
#include "base/world.h"
#include "core/block.h"
#include "core/deadline.h"
#include "core/deadlock.h"
#include "core/fork.h"
#include "core/helper.h"
#include "core/holding.h"
#include "core/park.h"
#include "core/world.h"
#include "engine/pool.h"

enum {
	DETACH_ROUNDS = 10,
	DETACH_ROUND_NS = 10 * 1000 * 1000,
	STARTER_BYTES = 32 * 1024, /* of the stack where fresh tasklets start */
	STARTER_REST = 64,         /* of it, not used, see create_parts() */
	STACK_MIN_BYTES = 4096,    /* what WEFT_STACK takes */
#ifdef WEFT__TSAN
	/* In the last round ThreadSanitizer forgets the thread, and code that
	 * it watches must not run after that. */
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
	_Atomic(int) only_cpu; /* number + 1, while there is one only; or 0 */
} others __attribute__((aligned(128)));

bool weft__others_are_awake(void)
{
	return weft__several_are_awake() && peek(others.several_cpus);
}

/* Notes where the calling thread may run. Even if a thread is bound to one CPU,
 * another CPU can hand things to it. */
static void note_cpus(void)
{
	cpu_set_t cpus;
	int none = 0;
	unsigned cpu = 0;

	if (peek(others.several_cpus))
		return;
	/* If the set is too small for the machine's CPUs, the call fails: then
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

/* Whether a killed tasklet still has to wait for something: it is shielded, or
 * the kernel or another thread is just serving it. */
static bool is_waiting(struct scheduler *s)
{
	bool found = false;

	weft__task_each(s, find_blocked, &found);
	return found;
}

/* One round of the end. False when all tasklets have ended. */
static bool detach_round(struct scheduler *s)
{
	weft__task_kill_all(s);
	weft__run_at_end(s, true, weft__now() + DETACH_ROUND_NS);
	if (peek(s->alive) && weft__queue_is_empty(&s->queue) && is_waiting(s))
		weft__run_at_end(s, false, weft__now() + DETACH_ROUND_NS);
	return peek(s->alive) > 0;
}

static bool is_served(const struct scheduler *s)
{
	return weft__engine_is_serving(&s->engine) || s->n_offloaded;
}

/* After the last round: cancels what the kernel still has, and lets the
 * tasklets that waited for it run for a last while. In that time neither the
 * kernel nor a helper takes on anything new. */
static void end_waits(struct scheduler *s)
{
	struct engine *e = &s->engine;

	weft__engine_refuse(e, true);
	weft__engine_cancel_all(e);
	while (is_served(s))
		weft__run_at_end(s, false, weft__now() + DETACH_ROUND_NS);
	weft__run_at_end(s, true, weft__now() + DETACH_ROUND_NS);
	weft__engine_refuse(e, false);
}

/* Runs the tasklets to their end. */
static void end_tasklets(struct scheduler *s)
{
	for (int round = 0; round < DETACH_ROUNDS && detach_round(s); round++)
		;
	/* What came with the end of the last round, such as a lock. */
	if (peek(s->alive))
		weft__run_at_end(s, true, weft__now() + DETACH_ROUND_NS);
	if (is_served(s))
		end_waits(s);
}

/* Runs everything to its end. Called on the main tasklet. */
static void end_all(struct scheduler *s)
{
	bool has_deferred;

	s->main->n_shields++;
	weft__drop_scopes(s, s->main);
	s->main->attention &= (uint8_t)~ATTENTION_BLOCK_TRAP;
	if (peek(s->alive))
		end_tasklets(s);
	has_deferred = s->main->deferred;
	weft__task_run_deferred(s->main);
	if (has_deferred && peek(s->alive))
		end_tasklets(s);
}

static void drop_callbacks(struct scheduler *s)
{
	s->trap_level = 0;
	weft__callback_was_left();
	peek(s->current)->flags &= (uint8_t)~TASK_IN_CALLBACK;
	s->on_schedule = NULL;
	if (!s->is_thread_going_on)
		weft_set_park_callback(NULL, NULL);
	s->told_of_park = (struct park_callback){ .fn = NULL };
	weft__set_careful(s,
			  CAREFUL_OF_TRAP | CAREFUL_IN_CALLBACK |
				  CAREFUL_OF_SCHEDULE | CAREFUL_OF_CHANNEL,
			  false);
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
	s->is_unregistered = true;
	/* a helper's thread stays */
	if (!weft__is_helper(s->tid) && !s->is_thread_going_on)
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

/* Names the starter stack to Valgrind, and the stack of the thread itself.
 * Valgrind takes one stack as the current one, whatever the thread, and takes a
 * switch between that and a stack that it does not know for a call or a return.
 * It knows the stack of the process's first thread. */
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
	/* The next frame counts as a switch, not as a call, if Valgrind has to
	 * look for its stack: so it is one that nobody writes to. */
	volatile size_t unused = 1024;

	VALGRIND_STACK_DEREGISTER(s->starter_id);
	if (s->own_stack_id)
		VALGRIND_STACK_DEREGISTER(s->own_stack_id);
	__asm__ volatile("" ::"r"(__builtin_alloca(unused)));
}

static void unmap_starter(struct scheduler *s)
{
	if (weft__on_valgrind)
		unname_stacks(s);
	munmap(s->starter, STARTER_BYTES);
}

static void free_parts(struct scheduler *s, bool stacks_too)
{
	weft__engine_close(&s->engine);
	if (stacks_too)
		weft__stack_free_all(&s->stacks);
	weft__free_scopes(s);
	weft__timer_free(&s->timers);
	weft__queue_free(&s->queue);
	free(s->walked);
	s->walked = NULL;
	unmap_starter(s);
}

static void refuse(struct scheduler *s, uintptr_t link)
{
	while (link) {
		struct inbox_node *node = weft__inbox_node(link);

		link = node->next;
		weft__task_request_refused(s, weft__task_of_node(node));
	}
	weft__task_end_refused(s);
}

/* Rings the oldest thread, with nothing to do for it. If there is no thread,
 * the caller counts itself out instead, before a thread can attach and park:
 * false. */
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
		/* The target stays in the registry, so its inbox is open. */
		if (!(word & REQUEST_QUEUED))
			(void)weft__push(target, weft__task_link(target->main),
					 &bell);
	} else {
		weft__count_awake(-1);
	}
	pthread_mutex_unlock(&registry.mutex);
	/* The target may end meanwhile, but waits for this before it closes its
	 * doorbell. [park.2] */
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

/* The frames of main are gone. Suppose main was blocked, for example because a
 * callback has called pthread_exit() as main gave way. Then others would find
 * its waiter there, and write to memory that can be anything by now: so the
 * process is aborted. Its call of run or pump has no waiter there, and main can
 * leave its place in the run queue. */
static void forget_frames_of_main(struct scheduler *s)
{
	REQUIRE(peek(s->main->state) != WEFT_BLOCKED,
		"pthread_exit() in a tasklet or a callback while the main "
		"tasklet of its thread is blocked");
	weft__drop_main_frame(s);
	weft__queue_drop(&s->queue, s->main);
}

/* A tasklet has called pthread_exit(), while main was in some call. */
static void leave_main_behind(struct scheduler *s)
{
	weft__context_back_on_thread(&s->main->context);
	weft__drop_scopes(s, s->main);
	EACH_PART(leave_main, s);
}

/* What tasklets had that have been given up. */
static void release_holdings(struct scheduler *s)
{
	while (s->holdings)
		s->holdings->release(s, s->holdings);
}

static void detach(struct scheduler *s)
{
	bool on_main = peek(s->current) == s->main;
	/* With glibc a thread that exits is back on its own stack here. */
	bool stacks_too =
		on_main ||
		!weft__stack_is_one_of(&s->stacks, __builtin_frame_address(0));

	drop_callbacks(s);
	s->is_refusing = false; /* the loop that sets it may have been left */
	weft__take_arrived(s);
	forget_frames_of_main(s);
	if (!on_main)
		leave_main_behind(s);
	else if (!s->is_unregistered) /* nobody could wake what runs now */
		end_all(s);
	weft__task_end_refused(s);
	weft__task_abandon_all(s);
	release_holdings(s);
	EACH_PART(give_up, s);
	weft__release_word(s);
	if (!s->is_unregistered) {
		unregister(s);
		refuse(s, weft__inbox_close(s));
	}
	/* The drops of what was refused may have created more tasklets. None
	 * can come from other threads any more. */
	weft__task_abandon_all(s);
	poke(s->thread_id, 0);
	weft__task_release_all(s);
	weft__thread_count_out(s);
	weft__embedding_free(s);
	free_parts(s, stacks_too);
	weft__self = NULL;
	weft__fast = weft__plain = NULL;
	make_spare(s);
}

/*
 * When a thread ends, its pthread keys are destroyed in rounds, as long as
 * destructors set some again, up to a limit. If a destructor of the user's
 * calls weft after our own, it attaches the thread anew, and the next round
 * detaches it. After the last round nobody would: the thread would stay in the
 * registry for ever, and count as awake. So our key stays set, whether or not
 * there is something to detach. It counts the rounds, and in the last ones the
 * thread cannot be attached.
 *
 * If a destructor is the first to attach the thread, the count begins late, by
 * one if that was in the first round: hence the last two.
 *
 * Functions of the program that run at the end, killed tasklets among them, may
 * call pthread_exit(). Then libc begins with the keys anew, and finds ours set,
 * since it is set until all is done. So each step of detach() can be repeated.
 */
static __thread int n_rounds;

static char nothing_to_detach;

static void end_round(void *value)
{
	if (value != &nothing_to_detach) {
		pthread_setspecific(registry.key, value);
		detach(value);
	}
	pthread_setspecific(registry.key, ++n_rounds < DESTRUCTOR_ROUNDS
						  ? &nothing_to_detach
						  : NULL);
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
	detach(s);
	pthread_setspecific(registry.key, NULL);
}

WEFT_API void weft_thread_end(void)
{
	struct scheduler *s = weft__self;

	if (!s)
		return;
	REQUIRE(peek(s->current) == s->main && !weft__in_callback(s),
		"weft_thread_end() in a tasklet or a callback");
	s->is_thread_going_on = true;
	weft__thread_detach();
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
	weft__engine_read_environment();
	weft__world_read_environment();
	weft__deadlock_read_environment();
	weft__pool_read_environment();
	weft__helper_watch();
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
	/* Only fresh memory is cleared as a whole: a late waker of the thread
	 * before may still count itself out of `ringers`. */
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
	/* Not at the end of the mapping: Valgrind takes that for the beginning
	 * of its neighbour. */
	s->starter_top = (char *)s->starter + STARTER_BYTES - STARTER_REST;
	if (weft__on_valgrind)
		name_stacks(s);
	if (weft__queue_reserve(&s->queue, 0))
		goto unmap_starter;
	if (weft__timer_reserve(&s->timers))
		goto free_queue;
	if (weft__task_create_main(s))
		goto free_timers;
	return true;

free_timers:
	weft__timer_free(&s->timers);
free_queue:
	weft__queue_free(&s->queue);
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
	/* Fields that others may read without the registry's mutex are changed
	 * only by atomic stores. */
	memset((char *)s + offsetof(struct scheduler, queue), 0,
	       offsetof(struct scheduler, thread_id) -
		       offsetof(struct scheduler, queue));
	s->default_class = registry.default_class;
	s->budget = s->counted = SWITCHES_BETWEEN_POLLS;
	weft__engine_init(&s->engine);
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
	weft__look_for_exceptions(s);
	weft__callback_goes_on(s);
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
		.runcount = weft__queue_length(&s->queue) + 1,
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
