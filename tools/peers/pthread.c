/* SPDX-License-Identifier: MIT */
/*
 * weft-peer-pthread TASK SIZE OPERATIONS CPUS: what weft-bench measures between
 * two threads, done by two POSIX threads.
 *
 *	wake		they pass a turn, each waits on a condition variable
 *	stream-pair	a lock-free ring of SIZE places, a power of two
 *
 * The arguments and the line that it prints are those of all peers, see
 * boost-context.cpp.
 */
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { WARM_UP_PART = 20, UNTIMED = 16, LINE = 128, MAX_SIZE = 1 << 24 };

struct run {
	uint64_t size, operations;
	int cpus[2];
	int64_t wall_ns, cpu_ns;
};

struct side {
	struct run run;
	void (*fn)(struct run *r, int which, void *shared);
	int which;
	void *shared;
};

_Noreturn static void fail(const char *what)
{
	printf("failed %s\n", what);
	exit(EXIT_FAILURE);
}

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

static void begin(struct run *r)
{
	r->cpu_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
	r->wall_ns = -clock_ns(CLOCK_MONOTONIC);
}

static void end(struct run *r)
{
	r->wall_ns += clock_ns(CLOCK_MONOTONIC);
	r->cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

static void *run_side(void *arg)
{
	struct side *s = arg;

	s->fn(&s->run, s->which, s->shared);
	return NULL;
}

/* Side 0's wall time counts, and the CPU time of both. */
static void play(struct run *r, void *shared,
		 void (*fn)(struct run *r, int which, void *shared))
{
	struct side sides[2];
	pthread_t threads[2];

	for (int i = 0; i < 2; i++) {
		pthread_attr_t attributes;
		cpu_set_t set;

		pthread_attr_init(&attributes);
		CPU_ZERO(&set);
		if (r->cpus[i] >= 0) {
			CPU_SET((size_t)r->cpus[i], &set);
			pthread_attr_setaffinity_np(&attributes, sizeof set,
						    &set);
		}
		sides[i] = (struct side){
			.run = *r, .fn = fn, .which = i, .shared = shared
		};
		if (pthread_create(&threads[i], &attributes, run_side,
				   &sides[i]))
			fail("pthread_create");
		pthread_attr_destroy(&attributes);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	*r = sides[0].run;
	r->cpu_ns += sides[1].run.cpu_ns;
}

/* --- wake --- */

struct bed {
	pthread_mutex_t mutex;
	pthread_cond_t condition;
	bool called;
} __attribute__((aligned(LINE)));

static void call(struct bed *b)
{
	pthread_mutex_lock(&b->mutex);
	b->called = true;
	pthread_mutex_unlock(&b->mutex);
	pthread_cond_signal(&b->condition);
}

static void await(struct bed *b)
{
	pthread_mutex_lock(&b->mutex);
	while (!b->called)
		pthread_cond_wait(&b->condition, &b->mutex);
	b->called = false;
	pthread_mutex_unlock(&b->mutex);
}

static void wake_side(struct run *r, int which, void *shared)
{
	struct bed *beds = shared;
	uint64_t n = r->operations + UNTIMED;

	for (uint64_t i = 0; i < n; i++) {
		if (i == UNTIMED)
			begin(r);
		if (which == 1)
			await(&beds[1]);
		call(&beds[!which]);
		if (which == 0)
			await(&beds[0]);
	}
	end(r);
}

static void wake(struct run *r)
{
	struct bed beds[2] = {
		{ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false },
		{ PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, false },
	};

	play(r, beds, wake_side);
}

/* --- stream-pair --- */

/* Each side has its index on a line of its own, beside what it last saw of the
 * other's: it looks there only when the ring seems full or empty. */
struct ring {
	_Atomic(uint64_t) written; /* release and acquire: [ring.1] */
	uint64_t read_seen;
	char pad_1[LINE - 2 * sizeof(uint64_t)];
	_Atomic(uint64_t) read; /* release and acquire: [ring.2] */
	uint64_t written_seen;
	char pad_2[LINE - 2 * sizeof(uint64_t)];
	uint64_t mask;
	uint64_t *places;
} __attribute__((aligned(LINE)));

static void wait_a_little(unsigned *tries)
{
#ifdef __x86_64__
	__builtin_ia32_pause();
#endif
	if (++*tries % 1024 == 0)
		sched_yield(); /* the other may need this CPU */
}

static void put(struct ring *q, uint64_t value)
{
	/* relaxed: this side alone writes it */
	uint64_t at = atomic_load_explicit(&q->written, memory_order_relaxed);
	unsigned tries = 0;

	while (at - q->read_seen > q->mask) {
		q->read_seen = atomic_load_explicit(
			&q->read, memory_order_acquire); /* [ring.2] */
		if (at - q->read_seen > q->mask)
			wait_a_little(&tries);
	}
	q->places[at & q->mask] = value;
	atomic_store_explicit(&q->written, at + 1,
			      memory_order_release); /* [ring.1] */
}

static uint64_t take(struct ring *q)
{
	/* relaxed: this side alone writes it */
	uint64_t at = atomic_load_explicit(&q->read, memory_order_relaxed);
	unsigned tries = 0;
	uint64_t value;

	while (at == q->written_seen) {
		q->written_seen = atomic_load_explicit(
			&q->written, memory_order_acquire); /* [ring.1] */
		if (at == q->written_seen)
			wait_a_little(&tries);
	}
	value = q->places[at & q->mask];
	atomic_store_explicit(&q->read, at + 1,
			      memory_order_release); /* [ring.2] */
	return value;
}

static void stream_side(struct run *r, int which, void *shared)
{
	struct ring *q = shared;
	uint64_t n = r->operations + UNTIMED;

	for (uint64_t i = 0; i < n; i++) {
		if (i == UNTIMED)
			begin(r);
		if (which == 0)
			put(q, i);
		else if (take(q) != i)
			fail("the order of messages");
	}
	end(r);
}

static void stream_pair(struct run *r)
{
	struct ring q = { .mask = r->size - 1 };

	q.places = calloc(r->size, sizeof *q.places);
	if (!q.places)
		fail("no memory for the ring");
	play(r, &q, stream_side);
	free(q.places);
}

/* --- the command line --- */

static const struct task {
	const char *name;
	void (*run)(struct run *r);
} tasks[] = {
	{ "stream-pair", stream_pair },
	{ "wake", wake },
};

static const struct task *task_named(const char *name)
{
	for (size_t i = 0; i < sizeof tasks / sizeof tasks[0]; i++)
		if (strcmp(tasks[i].name, name) == 0)
			return &tasks[i];
	return NULL;
}

static bool number(const char *text, uint64_t *n)
{
	char more;

	return sscanf(text, "%" SCNu64 "%c", n, &more) == 1;
}

static bool read_cpus(const char *text, int cpus[2])
{
	char more;

	cpus[0] = cpus[1] = -1;
	return strcmp(text, "none") == 0 ||
	       (sscanf(text, "%d,%d%c", &cpus[0], &cpus[1], &more) == 2 &&
		cpus[0] >= 0 && cpus[0] < CPU_SETSIZE && cpus[1] >= 0 &&
		cpus[1] < CPU_SETSIZE);
}

static bool is_power_of_two(uint64_t n)
{
	return n && n <= MAX_SIZE && (n & (n - 1)) == 0;
}

int main(int argc, char **argv)
{
	const struct task *t = argc == 5 ? task_named(argv[1]) : NULL;
	struct run r = { 0 };
	uint64_t operations;

	if (!t || !number(argv[2], &r.size) || !number(argv[3], &operations) ||
	    !read_cpus(argv[4], r.cpus) ||
	    (t->run == stream_pair && !is_power_of_two(r.size))) {
		fputs("usage: weft-peer-pthread wake|stream-pair SIZE "
		      "OPERATIONS CPUS, with CPUS none or A,B\n",
		      stderr);
		return EX_USAGE;
	}
	r.operations = operations / WARM_UP_PART + 1;
	t->run(&r);
	r.operations = operations;
	t->run(&r);
	printf("ok %" PRIu64 " %" PRId64 " %" PRId64 "\n", r.operations,
	       r.wall_ns, r.cpu_ns);
	return EXIT_SUCCESS;
}
