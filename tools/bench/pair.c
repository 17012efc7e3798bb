/* SPDX-License-Identifier: MIT */
/*
 * Threads that do something with each other. Two are each on the CPU that --pin
 * gives it. "apart" takes the first and the last CPU that the process may use:
 * where there are more than two, these are never the two halves of one core.
 */
#include "bench.h"

#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

struct side {
	struct run run;
	side_fn fn;
	int which;
	void *shared;
};

static void *run_side(void *arg)
{
	struct side *s = arg;

	s->fn(&s->run, s->which, s->shared);
	return NULL;
}

static void start(struct side *s, pthread_t *thread, int cpu)
{
	pthread_attr_t attributes;

	pthread_attr_init(&attributes);
	if (cpu >= 0) {
		cpu_set_t set;

		CPU_ZERO(&set);
		CPU_SET((size_t)cpu, &set);
		must(-pthread_attr_setaffinity_np(&attributes, sizeof set,
						  &set),
		     "--pin");
	}
	must(-pthread_create(thread, &attributes, run_side, s),
	     "pthread_create for a thread of several");
	pthread_attr_destroy(&attributes);
}

static void run_sides(struct run *r, void *shared, side_fn side, int n,
		      const int *cpus)
{
	pthread_t threads[MAX_SIDES];
	struct side sides[MAX_SIDES] = { 0 };

	for (int i = 0; i < n; i++) {
		sides[i] = (struct side){
			.run = *r, .fn = side, .which = i, .shared = shared
		};
		start(&sides[i], &threads[i], cpus ? cpus[i] : -1);
	}
	for (int i = 0; i < n; i++)
		pthread_join(threads[i], NULL);
	*r = sides[0].run;
	for (int i = 1; i < n; i++) {
		r->cpu_ns += sides[i].run.cpu_ns;
		for (size_t k = 0; k < r->sample.n_details; k++)
			r->sample.details[k].value +=
				sides[i].run.sample.details[k].value;
	}
}

void pair_run(struct run *r, void *shared, side_fn side)
{
	run_sides(r, shared, side, 2, r->options->cpus);
}

void crowd_run(struct run *r, void *shared, side_fn side, int n)
{
	run_sides(r, shared, side, n, NULL);
}

static bool read_cpu(const char **text, char end, int *cpu)
{
	char *after;
	long number = strtol(*text, &after, 10);

	if (after == *text || *after != end || number < 0 ||
	    number >= CPU_SETSIZE)
		return false;
	*cpu = (int)number;
	*text = after + 1;
	return true;
}

const char *pin_resolve(struct options *o)
{
	const char *text = o->pin;
	int first = -1, last = -1;
	cpu_set_t allowed;

	CPU_ZERO(&allowed);
	if (sched_getaffinity(0, sizeof allowed, &allowed) == 0)
		for (int i = 0; i < CPU_SETSIZE; i++)
			if (CPU_ISSET((size_t)i, &allowed)) {
				first = first < 0 ? i : first;
				last = i;
			}
	o->cpus[0] = o->cpus[1] = -1;
	if (strcmp(o->pin, "none") == 0)
		return NULL;
	if (strcmp(o->pin, "apart") == 0) {
		o->cpus[0] = first;
		o->cpus[1] = last;
		return NULL;
	}
	if (strcmp(o->pin, "together") == 0) {
		o->cpus[0] = o->cpus[1] = first;
		return NULL;
	}
	if (!read_cpu(&text, ',', &o->cpus[0]) ||
	    !read_cpu(&text, '\0', &o->cpus[1]))
		return "it takes apart, together, none, or the numbers of two CPUs as A,B";
	for (int i = 0; i < 2; i++)
		if (!CPU_ISSET((size_t)o->cpus[i], &allowed))
			return "this process may not run on both of these CPUs";
	return NULL;
}
