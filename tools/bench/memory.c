/* SPDX-License-Identifier: MIT */
/*
 * How much memory a process takes, as the kernel counts it.
 */
#include "bench.h"

#include <string.h>

/* What the line of @file that begins with @key says, in bytes. 0: it is not to be
 * read, because /proc is not mounted. */
static double line_of(const char *file, const char *key)
{
	FILE *f = fopen(file, "r");
	double kib = 0;
	char line[256];

	if (!f)
		return 0;
	while (fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), ": %lf kB", &kib);
	fclose(f);
	return kib * 1024;
}

static struct memory memory_by(const char *file)
{
	struct memory m = { line_of(file, "VmRSS"), line_of(file, "VmPTE") };

	if (m.resident == 0)
		run_unavailable("/proc is not mounted");
	return m;
}

struct memory memory_in_use(void)
{
	return memory_by("/proc/self/status");
}

struct memory memory_of(pid_t pid)
{
	char file[64];

	snprintf(file, sizeof file, "/proc/%d/status", (int)pid);
	return memory_by(file);
}

double peak_memory(void)
{
	return line_of("/proc/self/status", "VmHWM") +
	       line_of("/proc/self/status", "VmPTE");
}

void need_memory(double bytes)
{
	double free = line_of("/proc/meminfo", "MemAvailable");
	char why[100];

	if (free == 0 || free >= bytes)
		return;
	snprintf(why, sizeof why, "it takes %.1f GB of memory, %.1f are free",
		 bytes / 1e9, free / 1e9);
	run_unavailable(why);
}
