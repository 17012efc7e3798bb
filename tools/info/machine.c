/* SPDX-License-Identifier: MIT */
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "info.h"

/* Newer than the headers of Debian 12. */
#ifndef MADV_GUARD_INSTALL
#define MADV_GUARD_INSTALL 102
#endif

bool read_line(const char *path, char *line, size_t size)
{
	FILE *file = fopen(path, "re");
	bool has_read = file && fgets(line, (int)size, file);

	if (file)
		fclose(file);
	if (has_read)
		line[strcspn(line, "\n")] = '\0';
	return has_read;
}

bool is_filtered(void)
{
	FILE *file = fopen("/proc/self/status", "re");
	char line[256];
	int mode = 0;

	if (!file)
		return false;
	while (fgets(line, sizeof line, file))
		if (sscanf(line, "Seccomp: %d", &mode) == 1)
			break;
	fclose(file);
	return mode == 2;
}

static rlim_t limit_of(__rlimit_resource_t resource)
{
	struct rlimit limit = { .rlim_cur = RLIM_INFINITY };

	getrlimit(resource, &limit);
	return limit.rlim_cur;
}

const char *locked_memory_limit(void)
{
	static char text[64];
	rlim_t limit = limit_of(RLIMIT_MEMLOCK);

	if (limit == RLIM_INFINITY)
		return "unlimited";
	snprintf(text, sizeof text, "%llu KiB",
		 (unsigned long long)limit / 1024);
	return text;
}

static void find_kernel(void)
{
	struct utsname u;

	if (uname(&u) == 0) {
		add_fact(GROUP_MACHINE, "kernel", json_string(u.release), NULL);
		add_fact(GROUP_MACHINE, "architecture", json_string(u.machine),
			 NULL);
	}
	add_fact(GROUP_MACHINE, "seccomp_filter", json_boolean(is_filtered()),
		 NULL);
}

static void find_cpus(void)
{
	cpu_set_t cpus;
	int n;

	CPU_ZERO(&cpus);
	if (sched_getaffinity(0, sizeof cpus, &cpus)) {
		add_fact(
			GROUP_MACHINE, "cpus", json_null(),
			"sched_getaffinity: %s; weft takes it that there are many",
			strerror(errno));
		return;
	}
	n = CPU_COUNT(&cpus);
	add_fact(
		GROUP_MACHINE, "cpus", json_integer(n),
		n < 2 ? "on one CPU a thread never spins before it parks: nobody could run meanwhile"
		      : NULL);
}

static void find_huge_pages(void)
{
	char line[128] = "";
	char chosen[32] = "";

	read_line("/sys/kernel/mm/transparent_hugepage/enabled", line,
		  sizeof line);
	if (strchr(line, '['))
		sscanf(strchr(line, '['), "[%31[^]]", chosen);
	if (chosen[0])
		add_fact(
			GROUP_MACHINE, "huge_pages", json_string(chosen),
			strcmp(chosen, "always") == 0
				? "stacks are kept out of them (MADV_NOHUGEPAGE)"
				: NULL);
	else
		add_fact(GROUP_MACHINE, "huge_pages", json_string("none"),
			 NULL);
}

static void find_limits(void)
{
	rlim_t files = limit_of(RLIMIT_NOFILE);

	add_fact(
		GROUP_MACHINE, "locked_memory",
		json_string(locked_memory_limit()),
		limit_of(RLIMIT_MEMLOCK) == RLIM_INFINITY
			? NULL
			: "RLIMIT_MEMLOCK: some kernels charge the rings of a user's threads to it, except root's");
	add_fact(GROUP_MACHINE, "open_files",
		 files == RLIM_INFINITY ? json_string("unlimited")
					: json_integer((json_int_t)files),
		 "RLIMIT_NOFILE: a ring takes one, each connection one");
}

static int install_guard(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *scratch = mmap(NULL, page, PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int error = 0;

	if (scratch == MAP_FAILED)
		return errno;
	if (madvise(scratch, page, MADV_GUARD_INSTALL))
		error = errno;
	munmap(scratch, page);
	return error;
}

static void find_guards(void)
{
	char line[64] = "65530"; /* what kernels have without being told */
	int error = install_guard();
	long maps;

	read_line("/proc/sys/vm/max_map_count", line, sizeof line);
	maps = atol(line);
	if (error)
		add_fact(
			GROUP_MACHINE, "MADV_GUARD_INSTALL", json_false(),
			"%s; Linux 6.13 and newer have it. Without, mprotect makes the guard pages and each stack takes two mappings: near %ld stacks all but an eighth of the sysctl vm.max_map_count is used up and spawning fails with ENOMEM",
			strerror(error), maps / 16 * 7);
	else
		add_fact(
			GROUP_MACHINE, "MADV_GUARD_INSTALL", json_true(),
			"guard pages take no mappings: the number of stacks does not depend on vm.max_map_count");
	add_fact(GROUP_MACHINE, "max_map_count", json_integer(maps), NULL);
}

void find_machine(void)
{
	find_kernel();
	find_cpus();
	find_huge_pages();
	find_limits();
	find_guards();
}
