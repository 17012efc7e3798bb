/* SPDX-License-Identifier: MIT */
/*
 * Two threads that do something with each other, each on the CPU that --pin
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
	void (*fn)(struct run *r, int which, void *shared);
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
	     "pthread_create for a thread of two");
	pthread_attr_destroy(&attributes);
}

void pair_run(struct run *r, void *shared,
	      void (*side)(struct run *r, int which, void *shared))
{
	pthread_t threads[2];
	struct side sides[2];

	for (int i = 0; i < 2; i++) {
		sides[i] = (struct side){
			.run = *r, .fn = side, .which = i, .shared = shared
		};
		start(&sides[i], &threads[i], r->options->cpus[i]);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	*r = sides[0].run;
	r->cpu_ns += sides[1].run.cpu_ns;
	for (size_t i = 0; i < r->sample.n_details; i++)
		r->sample.details[i].value +=
			sides[1].run.sample.details[i].value;
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
