/* SPDX-License-Identifier: MIT */
/*
 * switch, yield, spawn, alive: what a tasklet costs.
 */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "stack/context.h"
#include "work.h"

/* --- switch --- */

/* Stacks begin at varied offsets, as those of tasklets do, so that they do not
 * compete for the same cache sets. The peer's are laid out alike. */
enum { STACK_SIZE = 64 * 1024, OFFSET_STEP = 128, OFFSETS = 32 };

static char *map_stacks(size_t n)
{
	void *low = mmap(
		NULL, n * STACK_SIZE, PROT_READ | PROT_WRITE,
		MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK | MAP_NORESERVE, -1, 0);

	if (low == MAP_FAILED)
		run_fail(-errno, "mapping stacks");
	return low;
}

static void make(struct context *c, char *stacks, size_t i,
		 void (*entry)(void *arg), void *arg)
{
	char *low = stacks + i * STACK_SIZE;
	char *top = low + STACK_SIZE - i % OFFSETS * OFFSET_STEP;

	weft__context_make(c, top, entry, arg);
	weft__context_adopt_stack(c, low, (size_t)(top - low));
}

/* The thread's own stack and one other. Each names where it goes to by a fixed
 * address, so that what is timed is the switch and no chain of loads. */
static __thread struct context home, away;

static void echo(void *arg)
{
	(void)arg;
	weft__context_arrived(&away);
	for (;;)
		weft__context_switch(&away, &home);
}

static void switch_to_and_fro(struct run *r)
{
	uint64_t n = r->operations / 2 + 1;
	char *stack = map_stacks(1);

	make(&away, stack, 0, echo, NULL);
	run_begin(r);
	for (uint64_t i = n; i; i--)
		weft__context_switch(&home, &away);
	run_end(r);
	munmap(stack, STACK_SIZE);
	r->operations = 2 * n;
}

/* A circle, in which each knows the next. */
struct node {
	struct context context;
	struct node *next;
	uint64_t rounds;
} __attribute__((aligned(64)));

/* When the first has its turn after its last round, so have all had theirs. */
static void go_round(void *arg)
{
	struct node *n = arg;

	weft__context_arrived(&n->context);
	for (uint64_t i = n->rounds; i; i--)
		weft__context_switch(&n->context, &n->next->context);
	weft__context_end(&n->context, &home);
}

static void switch_around(struct run *r, size_t n)
{
	struct node *nodes = aligned_alloc(64, n * sizeof *nodes);
	char *stacks = map_stacks(n);

	if (!nodes)
		run_fail(-ENOMEM, "contexts");
	memset(nodes, 0, n * sizeof *nodes);
	for (size_t i = 0; i < n; i++) {
		nodes[i].next = &nodes[(i + 1) % n];
		nodes[i].rounds = r->operations / n + 1;
		make(&nodes[i].context, stacks, i, go_round, &nodes[i]);
	}
	r->operations = nodes[0].rounds * n;
	run_begin(r);
	weft__context_switch(&home, &nodes[0].context);
	run_end(r);
	munmap(stacks, n * STACK_SIZE);
	free(nodes);
}

void run_switch(struct run *r)
{
	weft__context_adopt_thread(&home);
	if (r->variant->count == 2)
		switch_to_and_fro(r);
	else
		switch_around(r, r->variant->count);
}

/* --- yield --- */

struct yielders {
	struct run *run;
	uint64_t rounds;
	bool begun;
	uint64_t at_work;
};

static void yield_begin(struct yielders *y)
{
	weft_schedule(); /* all have started */
	if (!y->begun)
		run_begin(y->run);
	y->begun = true;
}

static void yield_end(struct yielders *y)
{
	if (--y->at_work == 0)
		run_end(y->run);
}

static int yield(void *arg)
{
	struct yielders *y = arg;

	yield_begin(y);
	for (uint64_t i = y->rounds; i; i--)
		weft_schedule();
	yield_end(y);
	return 0;
}

/* The same from a place of its own, so that the processor's guess of where a
 * call returns to is the other tasklet's. */
static int yield_elsewhere(void *arg)
{
	struct yielders *y = arg;

	yield_begin(y);
	for (uint64_t i = 0; i < y->rounds; i++)
		weft_schedule();
	yield_end(y);
	return 1;
}

/* Of those that there are many: as many as --size says, where it says. */
static uint64_t how_many(const struct run *r)
{
	return r->size ? r->size : r->variant->count;
}

/* So many that the ends of the tasklets weigh little. Peers do the same. */
enum { LEAST_ROUNDS = 20, MANY = 10000 };

static uint64_t rounds_among(const struct run *r, uint64_t n)
{
	return r->operations / n + (n < MANY ? 1 : LEAST_ROUNDS);
}

static void yield_among(struct run *r, weft_fn first, weft_fn others)
{
	uint64_t n = how_many(r);
	struct yielders y = { .run = r,
			      .rounds = rounds_among(r, n),
			      .at_work = n };

	need_memory((double)n * BYTES_EACH);
	for (uint64_t i = 0; i < n; i++)
		work_spawn(i ? others : first, &y);
	must(weft_run(), "weft_run");
	r->operations = y.rounds * n;
}

void run_yield(struct run *r)
{
	yield_among(r, yield, yield);
}

void run_yield_places(struct run *r)
{
	yield_among(r, yield, yield_elsewhere);
}

/* --- mixed order --- */

static weft_tasklet *room_for_handles(size_t n)
{
	weft_tasklet *tasklets = malloc(n * sizeof *tasklets);

	if (!tasklets)
		run_fail(-ENOMEM, "handles");
	memset(tasklets, 0xff, n * sizeof *tasklets); /* makes it resident */
	return tasklets;
}

/* Fisher and Yates, with the same numbers in each run. */
static void shuffle(weft_tasklet *tasklets, size_t n)
{
	uint64_t random = 88172645463325252;

	for (size_t i = n; i > 1; i--) {
		size_t other = work_draw(&random) % i;
		weft_tasklet last = tasklets[i - 1];

		tasklets[i - 1] = tasklets[other];
		tasklets[other] = last;
	}
}

/* Neighbours in the run queue are no neighbours in memory. */
void run_yield_mixed(struct run *r)
{
	struct weft_tasklet_options paused = { .paused = true };
	unsigned n = r->variant->count;
	weft_tasklet *tasklets = room_for_handles(n);
	struct yielders y = { .run = r,
			      .rounds = rounds_among(r, n),
			      .at_work = n };

	for (unsigned i = 0; i < n; i++) {
		tasklets[i] = weft_spawn_with(&paused, yield, &y);
		if (weft_tasklet_is_null(tasklets[i]))
			run_fail(-errno, "weft_spawn_with");
	}
	shuffle(tasklets, n);
	for (unsigned i = 0; i < n; i++)
		must(weft_tasklet_insert(tasklets[i]), "weft_tasklet_insert");
	must(weft_run(), "weft_run");
	free(tasklets);
	r->operations = y.rounds * n;
}

/* --- spawn --- */

static int nothing(void *arg)
{
	(void)arg;
	return 0;
}

void run_spawn(struct run *r)
{
	uint64_t n = how_many(r);
	uint64_t rounds = r->operations / n + 1;

	need_memory((double)n * BYTES_EACH);
	run_begin(r);
	for (uint64_t i = rounds; i; i--) {
		for (uint64_t k = 0; k < n; k++)
			work_spawn(nothing, NULL);
		weft_schedule(); /* they run and end, then it is our turn */
	}
	run_end(r);
	r->operations = rounds * n;
}

/* --- alive --- */

static int pause_once(void *arg)
{
	(void)arg;
	return weft_schedule_remove();
}

static void tell_memory(struct run *r, const struct memory *before)
{
	struct memory after = memory_in_use();
	double n = (double)r->size;

	run_detail(r, "resident_bytes",
		   (after.resident - before->resident) / n);
	run_detail(r, "page_table_bytes",
		   (after.page_tables - before->page_tables) / n);
}

void run_alive(struct run *r)
{
	size_t n = r->size;
	weft_tasklet *tasklets = room_for_handles(n);
	struct memory before;

	(void)weft_thread_id();
	before = memory_in_use();
	run_begin(r);
	for (size_t i = 0; i < n; i++)
		tasklets[i] = work_spawn(pause_once, NULL);
	weft_schedule(); /* each starts and pauses */
	run_end(r);
	tell_memory(r, &before);
	for (size_t i = 0; i < n; i++)
		must(weft_tasklet_insert(tasklets[i]), "weft_tasklet_insert");
	must(weft_run(), "weft_run");
	free(tasklets);
	r->operations = n;
}

static int wait_once(void *arg)
{
	(void)work_receive(arg);
	return 0;
}

void run_alive_blocked(struct run *r)
{
	weft_channel *ch = work_channel();
	struct memory before;

	need_memory((double)r->size * BYTES_EACH);
	(void)weft_thread_id();
	before = memory_in_use();
	run_begin(r);
	for (uint64_t i = r->size; i; i--)
		work_spawn(wait_once, ch);
	weft_schedule(); /* each starts and waits */
	run_end(r);
	tell_memory(r, &before);
	for (uint64_t i = r->size; i; i--)
		work_send(ch, i);
	must(weft_run(), "weft_run");
	weft_channel_unref(ch);
	r->operations = r->size;
}
