/* SPDX-License-Identifier: MIT */
/*
 * Child processes: three filters run at the same time. Each has a tasklet that writes
 * what the filter reads, and one that reads what it writes and then waits for its end.
 */
#define _GNU_SOURCE /* pipe2() */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

extern char **environ;

struct filter {
	const char *command, *input;
	int in, out; /* our ends of its pipes */
	pid_t pid;
	char output[200];
	siginfo_t end;
};

static void check(int rc, const char *what)
{
	if (rc < 0) {
		fprintf(stderr, "%s: %s\n", what, strerror(-rc));
		exit(EXIT_FAILURE);
	}
}

/* Runs the command with a pipe at each side. All ends are close-on-exec, so that no
 * filter keeps another one's pipe open. */
static void start(struct filter *f)
{
	char *argv[] = { "sh", "-c", (char *)f->command, NULL };
	posix_spawn_file_actions_t actions;
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC)) {
		perror("pipe2");
		exit(EXIT_FAILURE);
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in[0], 0);
	posix_spawn_file_actions_adddup2(&actions, out[1], 1);
	check(-posix_spawnp(&f->pid, "sh", &actions, NULL, argv, environ),
	      "posix_spawnp");
	posix_spawn_file_actions_destroy(&actions);
	weft_close(in[0]);
	weft_close(out[1]);
	f->in = in[1];
	f->out = out[0];
}

static int feed(void *arg)
{
	struct filter *f = arg;
	ssize_t n = weft_write_full(f->in, f->input, strlen(f->input));

	weft_close(f->in); /* the end of its input */
	return n < 0 ? (int)n : 0;
}

static int collect(void *arg)
{
	struct filter *f = arg;
	ssize_t n = weft_read_full(f->out, f->output, sizeof f->output - 1);

	weft_close(f->out);
	if (n < 0)
		return (int)n;
	return weft_waitid(P_PID, (id_t)f->pid, &f->end, WEXITED);
}

int main(void)
{
	struct filter filters[] = {
		{ .command = "tr a-z A-Z", .input = "tasklets\n" },
		{ .command = "sort", .input = "c\na\nb\n" },
		{ .command = "wc -c | tr -d ' '; exit 3", .input = "12345" },
	};
	weft_group *group = weft_group_new();

	for (int i = 0; i < 3; i++) {
		start(&filters[i]);
		if (weft_tasklet_is_null(
			    weft_group_spawn(group, feed, &filters[i])) ||
		    weft_tasklet_is_null(
			    weft_group_spawn(group, collect, &filters[i])))
			check(-errno, "weft_group_spawn");
	}
	check(weft_group_wait(group), "a filter");
	weft_group_free(group);
	for (int i = 0; i < 3; i++)
		printf("%s:\n%sit ended with status %d\n", filters[i].command,
		       filters[i].output, filters[i].end.si_status);
}
