/* SPDX-License-Identifier: MIT */
#include "debug.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <weft/debug.h>

#include "scheduler.h"
#include "thread.h"
#include "valgrind.h"

#ifdef HAVE_VALGRIND_VALGRIND_H
bool weft__on_valgrind;

void weft__ask_for_valgrind(void)
{
	weft__on_valgrind = RUNNING_ON_VALGRIND;
}
#endif

static void print_line(const char *format, va_list arguments)
{
	char line[512];
	int n = snprintf(line, sizeof line, "weft: ");
	int m = vsnprintf(line + n, sizeof line - (size_t)n - 1, format,
			  arguments);

	n += m < (int)sizeof line - n - 1 ? m : (int)sizeof line - n - 2;
	line[n++] = '\n';
	/* Where standard error cannot be written to, there is nobody to tell. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

void weft__warn(const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	print_line(format, arguments);
	va_end(arguments);
}

_Noreturn void weft__fail(const char *what, const char *where)
{
	weft__warn("%s (%s)", what, where);
	abort();
}

const char *weft_version(void)
{
	return WEFT__STRING(WEFT_VERSION_MAJOR) "." WEFT__STRING(
		WEFT_VERSION_MINOR) "." WEFT__STRING(WEFT_VERSION_PATCH);
}

const char *weft_engine(void)
{
	return "uring";
}

static void read_counts(struct scheduler *s, void *stats)
{
	struct weft_stats *out = stats;
	struct engine *e = &s->engine;

	*out = (struct weft_stats){
		.switches = peek(s->switches),
		.spawned = peek(s->n_arrived),
		.ended = peek(s->ended),
		.failed = peek(s->failed),
		.abandoned = peek(s->abandoned),
		.parks = peek(s->parks),
		.wakes_sent = peek(s->wakes_sent),
		.wakes_saved = peek(s->wakes_saved),
		.operations = peek(e->n_done_operations),
		.submits = peek(e->n_submits),
		.cancels = peek(e->n_cancels),
		.stray_completions = peek(e->n_strays),
		.cq_overflows = peek(e->n_overflows),
		.timers_fired = peek(s->timers_fired),
		.worst_lateness_ns = peek(s->worst_lateness_ns),
		.alive = peek(s->alive) + 1,
		.stacks = peek(s->stacks.mapped),
		.stack_bytes = peek(s->stacks.mapped_bytes),
	};
	/* The owner adds its switches up when it looks around; for its own
	 * question, it does so now. */
	if (s == weft__self)
		out->switches += weft__switches_since_look(s);
}

int weft_stats(uint64_t thread, struct weft_stats *out)
{
	struct scheduler *s = weft__scheduler();

	if (!out)
		return -EINVAL;
	if (!s)
		return -errno;
	return weft__thread_visit(thread ? thread : peek(s->thread_id),
				  read_counts, out);
}
