/* SPDX-License-Identifier: MIT */
#include "output.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* False sets errno, to 0 if the cause is not known any more. */
static bool is_written(void)
{
	errno = 0;
	if (fflush(stdout))
		return false;
	errno = 0;
	if (ferror(stdout))
		return false;
	/* Some file systems tell only now. If there was no standard output, and
	 * nothing was to be written, nothing is lost. */
	return fclose(stdout) == 0 || errno == EBADF;
}

static void check(void)
{
	if (is_written())
		return;
	fprintf(stderr, "%s: standard output could not be written%s%s\n",
		program_invocation_short_name, errno ? ": " : "",
		errno ? strerror(errno) : "");
	/* exit() must not be called from here. */
	_exit(EXIT_FAILURE);
}

/* Without this, what the program opens next would get the number of a standard
 * descriptor that is closed, and what is printed would go there: to a socket, or to
 * a file that is being copied. The use of one still fails with EBADF. */
static void hold_standard_descriptors(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)open("/", O_PATH);
}

void output_is_checked(void)
{
	/* A file that may not become so large is an error of that file. */
	signal(SIGXFSZ, SIG_IGN);
	hold_standard_descriptors();
	if (atexit(check)) {
		fprintf(stderr, "%s: out of memory\n",
			program_invocation_short_name);
		exit(EXIT_FAILURE);
	}
}
