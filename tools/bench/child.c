/* SPDX-License-Identifier: MIT */
/*
 * The process of one run, and the line that it prints for its parent:
 *
 *	ok OPERATIONS WALL_NS CPU_NS [NAME=VALUE]...
 *	unavailable REASON
 *	failed REASON
 *
 * Peers in tools/peers print the same. What has a duration is first run at a
 * twentieth of it, so that memory is mapped and caches are warm; what has a
 * fixed size is measured from cold, because growing is part of it.
 */
#include "bench.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sysexits.h>
#include <time.h>

enum { WARM_UP_PART = 20 };

static int64_t clock_ns(clockid_t clock)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	return ts.tv_sec * INT64_C(1000000000) + ts.tv_nsec;
}

/* The clock of the thread: that of the process is behind by what its other
 * threads have run since their last tick, which can be all of a short run. */
void run_begin(struct run *r)
{
	if (r->together)
		pthread_barrier_wait(r->together);
	r->cpu_ns = -clock_ns(CLOCK_THREAD_CPUTIME_ID);
	r->began_ns = clock_ns(CLOCK_MONOTONIC);
}

void run_end(struct run *r)
{
	r->ended_ns = clock_ns(CLOCK_MONOTONIC);
	r->cpu_ns += clock_ns(CLOCK_THREAD_CPUTIME_ID);
}

void run_detail(struct run *r, const char *name, double value)
{
	struct detail *d = &r->sample.details[r->sample.n_details++];

	snprintf(d->name, sizeof d->name, "%s", name);
	d->value = value;
}

_Noreturn static void give_up(const char *verdict, const char *why,
			      const char *more)
{
	printf("%s %s%s%s\n", verdict, why, more ? ": " : "", more ? more : "");
	fflush(stdout);
	quick_exit(EXIT_FAILURE);
}

_Noreturn void run_fail(int64_t rc, const char *what)
{
	give_up("failed", what, strerror((int)-rc));
}

_Noreturn void run_unavailable(const char *why)
{
	give_up("unavailable", why, NULL);
}

static const char no_ring[] = "no io_uring here; weft-info says why";

void may_use_ring(void)
{
	const char *engine = getenv("WEFT_ENGINE");

	if (engine && strcmp(engine, "poll") == 0)
		run_unavailable(no_ring);
}

void need_ring(int rc, const char *what)
{
	switch (rc) {
	case -EPERM:
	case -ENOSYS:
	case -ENOMEM:
	case -EMFILE:
	case -ENFILE:
		run_unavailable(no_ring);
	default:
		must(rc, what);
	}
}

static void *run_copy(void *arg)
{
	struct run *r = arg;
	uint64_t operations = r->operations;

	if (!(r->variant->flags & VARIANT_FIXED)) {
		r->operations = operations / WARM_UP_PART + 1;
		r->variant->run(r);
		r->sample.n_details = 0;
	}
	r->operations = operations;
	r->variant->run(r);
	return NULL;
}

/* The same on every thread at once, timed from the first that began to the last
 * that ended. */
static void run_copies(struct run *all, unsigned n)
{
	pthread_t threads[MAX_THREADS];
	pthread_barrier_t barrier;

	pthread_barrier_init(&barrier, NULL, n);
	for (unsigned i = 0; i < n; i++) {
		if (i)
			all[i] = all[0];
		all[i].together = &barrier;
	}
	for (unsigned i = 0; i < n; i++)
		must(-pthread_create(&threads[i], NULL, run_copy, &all[i]),
		     "pthread_create");
	for (unsigned i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	for (unsigned i = 1; i < n; i++) {
		struct run *r = &all[i];

		all->operations += r->operations;
		all->cpu_ns += r->cpu_ns;
		if (r->began_ns < all->began_ns)
			all->began_ns = r->began_ns;
		if (r->ended_ns > all->ended_ns)
			all->ended_ns = r->ended_ns;
	}
	pthread_barrier_destroy(&barrier);
}

int child_main(const struct options *o)
{
	static struct run all[MAX_THREADS];
	const struct variant *v = variant_named(o->run);
	struct run *r = &all[0];
	bool copies;

	if (!v || !v->run) {
		fprintf(stderr, "weft-bench: --run=%s: no such variant\n",
			o->run);
		return EX_USAGE;
	}
	copies = o->threads > 1 &&
		 !(v->flags &
		   (VARIANT_FIXED | VARIANT_TWO_THREADS | VARIANT_CROWD));
	*r = (struct run){ .variant = v,
			   .options = o,
			   .operations = o->operations,
			   .size = o->size && v->size ? o->size : v->size };
	if (copies)
		run_copies(all, o->threads);
	else
		run_copy(r);

	if (!r->sample.wall_ns)
		r->sample.wall_ns = r->ended_ns - r->began_ns;
	printf("ok %ju %jd %jd", (uintmax_t)r->operations,
	       (intmax_t)r->sample.wall_ns, (intmax_t)r->cpu_ns);
	for (size_t i = 0; i < r->sample.n_details; i++)
		printf(" %s=%.6g", r->sample.details[i].name,
		       r->sample.details[i].value);
	putchar('\n');
	return EXIT_SUCCESS;
}
