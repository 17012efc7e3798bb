/* SPDX-License-Identifier: MIT */
/*
 * skynet, sieve: programs of many tasklets and channels.
 */
#include <stdlib.h>

#include "work.h"

/* --- skynet --- */

enum { BRANCHES = 10 };

/* How a branch treats the ones that it spawns. */
struct growth {
	bool at_once; /* each runs as soon as it is spawned: a leaf to its end */
	size_t room;  /* of a channel */
};

struct branch {
	weft_channel *up;
	uint64_t first, leaves;
	const struct growth *growth;
};

/* A leaf sends its number up; what is above sends the sum of its branches. The
 * argument lies on the stack of the one above, which waits for it. */
static int grow(void *arg)
{
	const struct branch *self = arg;
	struct branch branches[BRANCHES];
	uint64_t n = self->leaves < BRANCHES ? self->leaves : BRANCHES;
	uint64_t first = self->first;
	weft_tasklet child;
	uint64_t sum = 0;
	weft_channel *ch;

	if (self->leaves == 1) {
		work_send(self->up, self->first);
		return 0;
	}
	ch = work_buffered(self->growth->room);
	for (uint64_t i = 0; i < n; i++) {
		branches[i].up = ch;
		branches[i].first = first;
		branches[i].leaves = (self->leaves + i) / n;
		branches[i].growth = self->growth;
		first += branches[i].leaves;
		child = work_spawn(grow, &branches[i]);
		if (self->growth->at_once)
			must(weft_tasklet_run(child), "weft_tasklet_run");
	}
	for (uint64_t i = 0; i < n; i++)
		sum += work_receive(ch);
	weft_channel_unref(ch);
	work_send(self->up, sum);
	return 0;
}

static void grow_all(struct run *r, struct growth growth)
{
	uint64_t n = r->size;
	struct branch root = { .up = work_channel(),
			       .leaves = n,
			       .growth = &growth };
	uint64_t sum;

	run_begin(r);
	work_spawn(grow, &root);
	sum = work_receive(root.up);
	run_end(r);
	run_detail(r, "peak_mb", peak_memory() / 1e6);
	if (sum != n * (n - 1) / 2)
		run_fail(-EBADMSG, "the sum of the leaves");
	must(weft_run(), "weft_run");
	weft_channel_unref(root.up);
	r->operations = n;
}

void run_skynet(struct run *r)
{
	grow_all(r, (struct growth){ .room = BRANCHES });
}

void run_skynet_at_once(struct run *r)
{
	grow_all(r, (struct growth){ .at_once = true, .room = BRANCHES });
}

/* Who has sent is behind all that are still to run, with its stack. */
void run_skynet_rendezvous(struct run *r)
{
	need_memory((double)r->size * BYTES_EACH * 1.2);
	grow_all(r, (struct growth){ .room = 0 });
}

/* --- sieve --- */

/* Passed down the chain after the last number wanted. */
enum { END = 0 };

struct filter {
	weft_channel *from, *to;
	uint64_t prime;
	uint64_t taken;
};

static int count_up(void *arg)
{
	struct filter *first = arg;

	/* `prime` says when to stop: main clears it */
	for (uint64_t number = 2; first->prime; number++)
		work_send(first->to, number);
	work_send(first->to, END);
	return 0;
}

static int filter(void *arg)
{
	struct filter *f = arg;
	uint64_t number;

	do {
		number = work_receive(f->from);
		f->taken++;
		if (number == END || number % f->prime)
			work_send(f->to, number);
	} while (number != END);
	return 0;
}

/* By trial division, to check the last one. */
static bool is_nth_prime(uint64_t candidate, uint64_t n)
{
	bool is_prime = false;

	for (uint64_t number = 2; number <= candidate; number++) {
		is_prime = true;
		for (uint64_t d = 2; is_prime && d * d <= number; d++)
			is_prime = number % d != 0;
		n -= is_prime;
	}
	return is_prime && n == 0;
}

void run_sieve(struct run *r)
{
	size_t n = r->size;
	struct filter *chain = calloc(n + 1, sizeof *chain);
	uint64_t prime = 0;

	if (!chain)
		run_fail(-ENOMEM, "filters");
	r->operations = 0;
	run_begin(r);
	chain[0].to = work_channel();
	chain[0].prime = 1;
	work_spawn(count_up, &chain[0]);
	for (size_t i = 1; i <= n; i++) {
		prime = work_receive(chain[i - 1].to);
		r->operations++;
		chain[i].from = chain[i - 1].to;
		chain[i].to = work_channel();
		chain[i].prime = prime;
		work_spawn(filter, &chain[i]);
	}
	run_end(r);
	for (size_t i = 1; i <= n; i++)
		r->operations += chain[i].taken;

	chain[0].prime = 0;
	while (work_receive(chain[n].to) != END)
		;
	must(weft_run(), "weft_run");
	for (size_t i = 0; i <= n; i++)
		weft_channel_unref(chain[i].to);
	free(chain);
	if (!is_nth_prime(prime, n))
		run_fail(-EBADMSG, "the last prime");
}
