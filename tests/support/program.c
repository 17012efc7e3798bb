/* SPDX-License-Identifier: MIT */
#include "program.h"

#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

enum { MAX_ARGUMENTS = 16 };

static const char *named(const char *name, const char *path)
{
	return getenv(name) ? getenv(name) : path;
}

struct program program_start(const char *name, const char *path,
			     const char *const *arguments, rlim_t n_files)
{
	const char *argv[MAX_ARGUMENTS + 2] = { named(name, path) };
	struct program p;
	int fds[2];

	for (size_t i = 0; arguments[i]; i++) {
		ck_assert_uint_lt(i, MAX_ARGUMENTS);
		argv[i + 1] = arguments[i];
	}
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	p.pid = fork();
	ck_assert_int_ge(p.pid, 0);
	if (p.pid == 0) {
		const struct rlimit limit = { n_files, n_files };

		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (n_files)
			setrlimit(RLIMIT_NOFILE, &limit);
		dup2(fds[1], STDOUT_FILENO);
		dup2(fds[1], STDERR_FILENO);
		execv(argv[0], (char *const *)argv);
		perror(argv[0]);
		_exit(127);
	}
	close(fds[1]);
	p.output = fdopen(fds[0], "r");
	ck_assert_ptr_nonnull(p.output);
	return p;
}

int program_end(struct program *p, char *text, size_t size)
{
	size_t n = fread(text, 1, size - 1, p->output);
	int status;

	text[n] = '\0';
	fclose(p->output);
	ck_assert_int_eq(waitpid(p->pid, &status, 0), p->pid);
	ck_assert_msg(WIFEXITED(status), "ended by signal %d: %.3000s",
		      WTERMSIG(status), text);
	return WEXITSTATUS(status);
}

unsigned program_files(const struct program *p)
{
	char path[64];
	unsigned n = 0;
	DIR *dir;

	snprintf(path, sizeof path, "/proc/%d/fd", (int)p->pid);
	dir = opendir(path);
	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n - 2; /* . and .. */
}

void program_listens(const struct program *p, char address[PROGRAM_ADDRESS])
{
	char line[256] = "nothing";

	if (!fgets(line, sizeof line, p->output) ||
	    sscanf(line, "listening on %127s", address) != 1)
		ck_abort_msg("the server says: %s", line);
}

void program_answers(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	ck_assert_int_eq(poll(&p, 1, -1), 1);
}

void program_refuses(const char *name, const char *path,
		     const struct mistake *m)
{
	const char *arguments[N_ELEMENTS(m->arguments) + 1] = { NULL };
	struct program p;
	char text[4096];

	memcpy(arguments, m->arguments, sizeof m->arguments);
	p = program_start(name, path, arguments, 0);
	ck_assert_int_eq(program_end(&p, text, sizeof text), m->status);
	for (size_t i = 0; i < N_ELEMENTS(m->says) && m->says[i]; i++)
		ck_assert_msg(strstr(text, m->says[i]), "'%s' is not in: %s",
			      m->says[i], text);
}

void program_tells_of_lost_output(const char *name, const char *path)
{
	const char *const argv[] = { named(name, path), "--version", NULL };
	char errors[512];

	ck_assert_int_eq(on_full_disk(argv, errors, sizeof errors), 1);
	ck_assert_msg(strstr(errors, strerror(ENOSPC)), "it says: %s", errors);
}
