/* SPDX-License-Identifier: MIT */
#include "gnuplot.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static struct {
	const char *option, *file;
	int output, drawing; /* the drawing is gnuplot's standard output */
	pid_t pid;
} plot = { .output = -1, .drawing = -1 };

static bool is_on_path(const char *program)
{
	const char *path = getenv("PATH");
	bool found = false;

	for (path = path ? path : "/usr/bin:/bin"; *path && !found;) {
		size_t length = strcspn(path, ":");
		char file[1024];

		snprintf(file, sizeof file, "%.*s/%s", (int)length, path,
			 program);
		found = access(file, X_OK) == 0;
		path += length + (path[length] == ':');
	}
	return found;
}

static void complain(const char *problem)
{
	fprintf(stderr, "%s: %s=%s: %s\n", program_invocation_short_name,
		plot.option, plot.file, problem);
}

void gnuplot_begin(const char *option, const char *file)
{
	plot.option = option;
	plot.file = file;
	if (!is_on_path("gnuplot")) {
		fprintf(stderr,
			"%s: %s needs gnuplot, which was not found "
			"(Debian: apt-get install gnuplot-nox)\n",
			program_invocation_short_name, option);
		exit(EXIT_FAILURE);
	}
	plot.output =
		open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
	if (plot.output < 0) {
		complain(strerror(errno));
		exit(EXIT_FAILURE);
	}
}

FILE *gnuplot_start(void)
{
	int ends[2];

	signal(SIGPIPE, SIG_IGN);
	fflush(NULL);
	plot.drawing = memfd_create("drawing", MFD_CLOEXEC);
	if (plot.drawing < 0 || pipe2(ends, O_CLOEXEC) < 0 ||
	    (plot.pid = fork()) < 0)
		return NULL;
	if (plot.pid == 0) {
		dup2(ends[0], STDIN_FILENO);
		dup2(plot.drawing, STDOUT_FILENO);
		execlp("gnuplot", "gnuplot", "-", NULL);
		_exit(127);
	}
	close(ends[0]);
	return fdopen(ends[1], "w");
}

static bool is_copied(int from, int to)
{
	char bytes[16384];
	ssize_t n;

	lseek(from, 0, SEEK_SET);
	while ((n = read(from, bytes, sizeof bytes)) > 0)
		for (ssize_t at = 0, more; at < n; at += more) {
			more = write(to, bytes + at, (size_t)(n - at));
			if (more < 0)
				return false;
		}
	return n == 0 && close(to) == 0;
}

bool gnuplot_finish(FILE *f)
{
	const char *problem = NULL;
	int status = -1;

	if (f) {
		fclose(f);
		while (waitpid(plot.pid, &status, 0) < 0 && errno == EINTR)
			;
	}
	if (status)
		problem = "gnuplot failed";
	else if (!is_copied(plot.drawing, plot.output))
		problem = strerror(errno);
	if (problem)
		complain(problem);
	return !problem;
}
