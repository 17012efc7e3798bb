/* SPDX-License-Identifier: MIT */
/*
 * What a language runtime needs: <weft/embed.h>. The park callback is called in park.c,
 * the deadlock policy is obeyed in deadlock.c and run.c, weft_thread_end() is in
 * thread.c, and the data of channels is in channel/pool.c.
 */
#include <errno.h>
#include <pthread.h>
#include <weft/embed.h>

#include "core/block.h"
#include "core/turn.h"

/* 0 for a tasklet on whose descriptor the caller may act, else what to return. */
static int look_up(struct scheduler **s, weft_tasklet t)
{
	*s = weft__scheduler();
	if (!*s)
		return -errno;
	if (!weft__is_alive(t))
		return -ESRCH;
	if (weft__task_is_here(*s, t))
		return 0;
	return weft__is_alive(t) ? -EXDEV : -ESRCH;
}

WEFT_API void weft_set_park_callback(weft_park_fn fn, void *ctx)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	s->on_park = (struct park_callback){ .fn = fn, .ctx = ctx };
}

WEFT_API size_t weft_ring(weft_tasklet *out, size_t capacity)
{
	struct scheduler *s = weft__scheduler();
	struct run_queue *q;
	size_t n = 0;

	if (!s)
		return 1;
	q = &s->queue;
	if (capacity)
		out[n++] = weft__handle(peek(s->current));
	for (uint32_t i = peek(q->head); i != peek(q->tail) && n < capacity;
	     i++) {
		struct weft_task *t = q->places[i & q->mask];

		if (t != &weft__nobody)
			out[n++] = weft__handle(t);
	}
	return weft__queue_length(q) + 1;
}

WEFT_API int weft_tasklet_run_next(weft_tasklet t)
{
	struct scheduler *s;
	int rc = look_up(&s, t);

	if (rc)
		return rc;
	rc = weft__run_first(s, t.task);
	weft__note_runnable(s);
	return rc;
}

WEFT_API weft_tasklet weft_runner(void)
{
	struct scheduler *s = weft__scheduler();

	return s && s->runs ? weft__handle(s->runs->task)
			    : weft__null_handle(0);
}

static int pending(struct weft_task *t)
{
	int err;

	if (t->attention & ATTENTION_KILLED)
		return -ECANCELED;
	if (!(t->attention & ATTENTION_RAISED))
		return 0;
	(void)weft__task_lock(t, weft__task_id(t));
	err = t->err;
	weft__task_unlock(t, 0, 0);
	return -err;
}

WEFT_API int weft_tasklet_pending(weft_tasklet t)
{
	struct scheduler *s;
	int rc = look_up(&s, t);

	return rc ? rc : pending(t.task);
}

WEFT_API int weft_tasklet_take_pending(weft_tasklet t)
{
	struct scheduler *s;
	int rc = look_up(&s, t);
	bool is_raised;
	uint64_t word;
	int err;

	if (rc)
		return rc;
	if (t.task->attention & ATTENTION_KILLED)
		return -ECANCELED;
	is_raised = t.task->attention & ATTENTION_RAISED;
	t.task->attention &= (uint8_t)~ATTENTION_RAISED;
	(void)weft__task_lock(t.task, t.id);
	err = t.task->err;
	word = weft__task_unlock(t.task, 0, REQUEST_RAISE);
	return is_raised || word & REQUEST_RAISE ? -err : 0;
}

/* `arg` and `data` are in one place. */
WEFT_API void *weft_tasklet_data_of(weft_tasklet t)
{
	struct scheduler *s;

	return look_up(&s, t) ? NULL : t.task->data;
}

WEFT_API int weft_tasklet_set_data_of(weft_tasklet t, void *data)
{
	struct scheduler *s;
	int rc = look_up(&s, t);

	if (rc)
		return rc;
	if (weft__task_is_fresh(t.task))
		return -EBUSY;
	t.task->data = data;
	return 0;
}

static int find_own_stack(void **low, size_t *size)
{
	pthread_attr_t attributes;
	int rc = pthread_getattr_np(pthread_self(), &attributes);

	if (rc)
		return -rc;
	rc = pthread_attr_getstack(&attributes, low, size);
	pthread_attr_destroy(&attributes);
	return -rc;
}

WEFT_API int weft_tasklet_stack(weft_tasklet t, void **low, size_t *size)
{
	struct scheduler *s;
	int rc = look_up(&s, t);

	if (rc)
		return rc;
	if (!low || !size)
		return -EINVAL;
	if (weft__task_is_main(t.task))
		return find_own_stack(low, size);
	if (!t.task->stack)
		return -EAGAIN;
	*low = weft__stack_low(t.task->stack_class, t.task->stack);
	*size = (size_t)(t.task->stack - (char *)*low);
	return 0;
}
