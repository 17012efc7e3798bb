/* SPDX-License-Identifier: MIT */
/*
 * What weft says about itself: its version, its engine, and the counters of a
 * thread.
 */
#include <errno.h>
#include <weft/debug.h>

#include "core/scheduler.h"
#include "core/thread.h"

WEFT_API const char *weft_version(void)
{
	return WEFT__STRING(WEFT_VERSION_MAJOR) "." WEFT__STRING(
		WEFT_VERSION_MINOR) "." WEFT__STRING(WEFT_VERSION_PATCH);
}

WEFT_API const char *weft_engine(void)
{
	struct scheduler *s = weft__scheduler();

	return s && weft__engine_is_poll(&s->engine) ? "poll" : "uring";
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
		.submit_retries = peek(e->n_submit_retries),
		.operation_retries = peek(e->n_operation_retries),
		.cancel_misses = peek(e->n_cancel_misses),
	};
	/* The owner adds its switches up when it looks around. If the owner asks,
	 * those since then are added here. */
	if (s == weft__self)
		out->switches += weft__switches_since_look(s);
}

WEFT_API int weft_stats(uint64_t thread, struct weft_stats *out)
{
	struct scheduler *s = weft__scheduler();

	if (!out)
		return -EINVAL;
	if (!s)
		return -errno;
	return weft__thread_visit(thread ? thread : peek(s->thread_id),
				  read_counts, out);
}
