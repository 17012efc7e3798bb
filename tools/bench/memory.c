/* SPDX-License-Identifier: MIT */
/*
 * How much memory this process takes, as the kernel counts it.
 */
#include "bench.h"

#include <string.h>

/* What the line of @file that begins with @key says, in bytes; or 0. */
static double line_of(const char *file, const char *key)
{
	FILE *f = fopen(file, "r");
	double kib = 0;
	char line[256];

	if (!f)
		run_unavailable("/proc is not mounted");
	while (fgets(line, sizeof line, f))
		if (strncmp(line, key, strlen(key)) == 0)
			sscanf(line + strlen(key), ": %lf kB", &kib);
	fclose(f);
	return kib * 1024;
}

struct memory memory_in_use(void)
{
	return (struct memory){ line_of("/proc/self/status", "VmRSS"),
				line_of("/proc/self/status", "VmPTE") };
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

	if (free >= bytes)
		return;
	snprintf(why, sizeof why, "it takes %.1f GB of memory, %.1f are free",
		 bytes / 1e9, free / 1e9);
	run_unavailable(why);
}
