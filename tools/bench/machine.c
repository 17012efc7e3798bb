/* SPDX-License-Identifier: MIT */
/*
 * What was measured on, for whoever reads the figures later.
 */
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>
#include <weft/uring.h>

#include "work.h"

#ifdef HAVE_CONFIG_H
#include <config.h>
#endif

/* The flags that the library was compiled with, from the makefile. */
#ifndef WEFT_CFLAGS
#define WEFT_CFLAGS "(flags unknown)"
#endif

#ifdef __clang__
#define COMPILER __VERSION__
#else
#define COMPILER "gcc " __VERSION__
#endif

static void append(struct fact *f, const char *text)
{
	size_t length = strlen(f->value);

	snprintf(f->value + length, sizeof f->value - length, "%s", text);
}

/* The value of @key in /proc/cpuinfo, cut to fit. False when it has none. */
static bool cpuinfo(const char *key, char *value, size_t size)
{
	FILE *f = fopen("/proc/cpuinfo", "r");
	bool found = false;
	char line[4096];

	if (!f)
		return false;
	while (!found && fgets(line, sizeof line, f)) {
		char *colon = strchr(line, ':');

		found = colon && strncmp(line, key, strlen(key)) == 0;
		if (!found)
			continue;
		colon[strcspn(colon, "\n")] = '\0';
		snprintf(value, size, "%s", colon + 1 + strspn(colon + 1, " "));
	}
	fclose(f);
	return found;
}

static void describe_cpu(struct fact *f)
{
	char flags[4096];
	struct utsname u;

	if (!cpuinfo("model name", f->value, sizeof f->value) && uname(&u) == 0)
		append(f, u.machine);
	if (cpuinfo("flags", flags, sizeof flags) &&
	    strstr(flags, " hypervisor"))
		append(f, ", in a virtual machine");
}

static void describe_cpus(struct fact *f)
{
	cpu_set_t set;
	int usable = -1;
	double load;

	if (sched_getaffinity(0, sizeof set, &set) == 0)
		usable = CPU_COUNT(&set);
	if (getloadavg(&load, 1) != 1)
		load = 0;
	snprintf(f->value, sizeof f->value,
		 "%ld online, %d usable, load %.2f before",
		 sysconf(_SC_NPROCESSORS_ONLN), usable, load);
}

static void describe_placement(struct fact *f, const struct options *o)
{
	if (o->cpus[0] < 0)
		append(f, "not pinned");
	else
		snprintf(f->value, sizeof f->value, "CPU %d and CPU %d",
			 o->cpus[0], o->cpus[1]);
}

static void describe_settings(struct fact *f)
{
	static const char *const names[] = { "WEFT_DEADLOCK", "WEFT_ENGINE",
					     "WEFT_OFFLOAD",  "WEFT_SPIN",
					     "WEFT_STACK",    "WEFT_WAKE" };

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
		const char *value = getenv(names[i]);

		if (!value)
			continue;
		if (f->value[0])
			append(f, " ");
		append(f, names[i]);
		append(f, "=");
		append(f, value);
	}
	if (!f->value[0])
		append(f, "none");
}

/* Opens the ring: a thread has none before it first needs one. */
static void describe_engine(struct fact *f)
{
	struct io_uring_sqe sqe = { 0 };
	int rc;

	io_uring_prep_nop(&sqe);
	rc = weft_await(&sqe);
	if (rc < 0)
		snprintf(f->value, sizeof f->value,
			 "none: I/O fails here with \"%s\", doorbell %s",
			 strerror(-rc), doorbell_in_use());
	else
		snprintf(f->value, sizeof f->value, "%s, doorbell %s",
			 weft_engine(), doorbell_in_use());
}

void machine_facts(const struct options *o, struct fact facts[N_FACTS])
{
	struct fact *f = facts;
	struct utsname u;

	memset(facts, 0, N_FACTS * sizeof *facts);
	f->name = "weft";
	append(f++, weft_version());
	f->name = "compiler";
	append(f++, COMPILER ", " WEFT_CFLAGS);
	f->name = "kernel";
	if (uname(&u) == 0)
		snprintf(f->value, sizeof f->value, "%s %s %s", u.sysname,
			 u.release, u.machine);
	f++;
	f->name = "cpu";
	describe_cpu(f++);
	f->name = "cpus";
	describe_cpus(f++);
	f->name = "two threads";
	describe_placement(f++, o);
	f->name = "engine";
	describe_engine(f++);
	f->name = "environment";
	describe_settings(f++);
	f->name = "command";
	for (int i = 0; i < o->argc; i++) {
		if (i)
			append(f, " ");
		append(f, o->argv[i]);
	}
}
