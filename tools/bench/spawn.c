/* SPDX-License-Identifier: MIT */
/*
 * Running one variant once, in a process of its own.
 */
#include "bench.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <sysexits.h>
#include <time.h>
#include <unistd.h>

/* How long a process may take before it counts as hanging: far above what is
 * asked of it on the slowest machine. */
enum { PATIENCE_MS = 60 * 1000, PATIENCE_FACTOR = 100 };

static volatile sig_atomic_t is_stopped;

static void stop(int signal)
{
	(void)signal;
	is_stopped = 1;
}

void run_stops_at_signals(void)
{
	/* A second signal ends the program at once. */
	struct sigaction action = { .sa_handler = stop,
				    .sa_flags = (int)SA_RESETHAND };
	struct sigaction before;
	const int signals[] = { SIGINT, SIGTERM };

	for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++)
		if (sigaction(signals[i], NULL, &before) == 0 &&
		    before.sa_handler != SIG_IGN)
			sigaction(signals[i], &action, NULL);
}

bool run_is_stopped(void)
{
	return is_stopped;
}

/* A peer's threads are where --pin puts both; which is where, it says itself. */
static void confine(const struct options *o)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	for (int i = 0; i < 2; i++)
		CPU_SET((size_t)o->cpus[i], &set);
	sched_setaffinity(0, sizeof set, &set);
}

_Noreturn static void become_peer(const struct options *o,
				  const struct variant *v, const char *path,
				  uint64_t operations)
{
	char n[32], ops[32], cpus[32] = "none";
	const char *task = v->task ? v->task : v->workload;
	char *args[] = { (char *)path, (char *)task, n, ops, cpus, NULL };
	uint64_t size = o->size && v->size ? o->size : v->size;

	snprintf(n, sizeof n, "%ju", (uintmax_t)(v->size ? size : v->count));
	snprintf(ops, sizeof ops, "%ju", (uintmax_t)operations);
	if (v->flags & VARIANT_TWO_THREADS && o->cpus[0] >= 0) {
		confine(o);
		snprintf(cpus, sizeof cpus, "%d,%d", o->cpus[0], o->cpus[1]);
	}
	execv(path, args);
	dprintf(STDOUT_FILENO, "failed cannot run %s: %s\n", path,
		strerror(errno));
	_exit(EX_OSERR);
}

_Noreturn static void become_child(const struct options *o,
				   const struct variant *v, uint64_t operations)
{
	char run[128], ops[32], size[32], threads[32], pin[48];
	char *args[] = { "weft-bench", run, ops, threads, pin, size, NULL };

	if (v->doorbell) {
		setenv("WEFT_WAKE", v->doorbell, 1);
		setenv("WEFT_SPIN", "0", 1);
	}
	snprintf(run, sizeof run, "--run=%s/%s", v->workload, v->name);
	snprintf(ops, sizeof ops, "--ops=%ju", (uintmax_t)operations);
	snprintf(size, sizeof size, "--size=%ju", (uintmax_t)o->size);
	snprintf(threads, sizeof threads, "--threads=%u", o->threads);
	snprintf(pin, sizeof pin, o->cpus[0] < 0 ? "--pin=none" : "--pin=%d,%d",
		 o->cpus[0], o->cpus[1]);
	if (!o->size)
		args[5] = NULL; /* the workload's own */
	execv("/proc/self/exe", args);
	dprintf(STDOUT_FILENO,
		"failed cannot run /proc/self/exe, which is weft-bench: %s\n",
		strerror(errno));
	_exit(EX_OSERR);
}

static int64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}

/* All that comes until the other end is closed. False when that takes longer
 * than @patience_ms, or a signal has stopped it. */
static bool read_all(int fd, char *text, size_t size, int64_t patience_ms)
{
	int64_t end = now_ms() + patience_ms;
	size_t length = 0;

	for (;;) {
		struct pollfd p = { .fd = fd, .events = POLLIN };
		int64_t left = end - now_ms();
		ssize_t n;

		if (left <= 0 || is_stopped)
			return false;
		/* A signal that comes right here is seen within a second. */
		if (poll(&p, 1, left < 1000 ? (int)left : 1000) <= 0)
			continue;
		n = read(fd, text + length, size - 1 - length);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0 || length + (size_t)n == size - 1)
			break;
		length += (size_t)n;
	}
	text[length] = '\0';
	return true;
}

static bool parse(const char *text, struct sample *s)
{
	uintmax_t operations;
	intmax_t wall, cpu;
	int used = 0;

	*s = (struct sample){ 0 };
	if (sscanf(text, "ok %ju %jd %jd%n", &operations, &wall, &cpu, &used) <
		    3 ||
	    !operations)
		return false;
	s->operations = operations;
	s->wall_ns = wall > 0 ? wall : 1;
	s->cpu_ns = cpu;
	for (text += used; s->n_details < MAX_DETAILS; text += used) {
		struct detail *d = &s->details[s->n_details];

		if (sscanf(text, " %23[^= \n]=%lf%n", d->name, &d->value,
			   &used) < 2)
			break;
		s->n_details++;
	}
	return true;
}

/* What became of a process that printed @text. */
static enum outcome judge(char *text, int status, struct sample *sample,
			  char problem[PROBLEM_SIZE])
{
	text[strcspn(text, "\n")] = '\0';
	if (WIFSIGNALED(status)) {
		snprintf(problem, PROBLEM_SIZE, "ended by signal %d (%s)",
			 WTERMSIG(status), strsignal(WTERMSIG(status)));
		return OUTCOME_FAILED;
	}
	if (status == 0 && parse(text, sample))
		return OUTCOME_DONE;
	if (strncmp(text, "unavailable ", 12) == 0) {
		snprintf(problem, PROBLEM_SIZE, "%.150s", text + 12);
		return OUTCOME_UNAVAILABLE;
	}
	if (strncmp(text, "failed ", 7) == 0)
		snprintf(problem, PROBLEM_SIZE, "%.150s", text + 7);
	else
		snprintf(problem, PROBLEM_SIZE,
			 "ended with status %d and no result",
			 WEXITSTATUS(status));
	return OUTCOME_FAILED;
}

enum outcome run_variant(const struct options *o, const struct variant *v,
			 uint64_t operations, struct sample *sample,
			 char problem[PROBLEM_SIZE])
{
	int64_t patience_ms =
		PATIENCE_MS + o->duration_ns / 1000000 * PATIENCE_FACTOR;
	char path[1200], text[1024];
	int ends[2], status;
	bool in_time;
	pid_t parent = getpid(), pid;

	if (is_stopped)
		return OUTCOME_STOPPED;
	if (peers[v->peer].program && !peer_find(v->peer, path, sizeof path)) {
		snprintf(problem, PROBLEM_SIZE,
			 "%s was not found when weft was built (Debian: %s)",
			 peers[v->peer].name, peers[v->peer].package);
		return OUTCOME_UNAVAILABLE;
	}
	fflush(NULL);
	if (pipe(ends) < 0 || (pid = fork()) < 0) {
		snprintf(problem, PROBLEM_SIZE, "cannot start a process: %s",
			 strerror(errno));
		return OUTCOME_FAILED;
	}
	if (pid == 0) {
		/* whatever ends its parent, also if it has by now */
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		if (getppid() != parent)
			_exit(EX_OSERR);
		dup2(ends[1], STDOUT_FILENO);
		close(ends[0]);
		close(ends[1]);
		if (!v->run)
			become_peer(o, v, path, operations);
		become_child(o, v, operations);
	}
	close(ends[1]);
	in_time = read_all(ends[0], text, sizeof text, patience_ms);
	if (!in_time)
		kill(pid, SIGKILL);
	close(ends[0]);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	/* A terminal has sent the signal to that process, too. */
	if (is_stopped)
		return OUTCOME_STOPPED;
	if (!in_time) {
		snprintf(problem, PROBLEM_SIZE, "no result after %jd s",
			 (intmax_t)patience_ms / 1000);
		return OUTCOME_FAILED;
	}
	return judge(text, status, sample, problem);
}
