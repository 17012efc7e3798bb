/* SPDX-License-Identifier: MIT */
/*
 * Questions about a tasklet, by its handle, and settings of the running tasklet.
 *
 * Any thread may ask about any tasklet, at any time. So a question looks whether the
 * tasklet of the handle is alive, reads what it wants, and looks again: what it has
 * read may be a later tenant's. [task.3]
 */
#include <errno.h>
#include <string.h>

#include "core/scheduler.h"
#include "core/task_pool.h"

/* --- handles --- */

WEFT_API weft_tasklet weft_current(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(peek(s->current)) : weft__null_handle(errno);
}

WEFT_API weft_tasklet weft_main(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? weft__handle(s->main) : weft__null_handle(errno);
}

WEFT_API bool weft_tasklet_is_null(weft_tasklet t)
{
	return !t.id;
}

WEFT_API bool weft_tasklet_equal(weft_tasklet a, weft_tasklet b)
{
	return a.id == b.id;
}

WEFT_API bool weft_tasklet_alive(weft_tasklet t)
{
	return weft__is_alive(t);
}

WEFT_API enum weft_state weft_tasklet_state(weft_tasklet t)
{
	enum weft_state state;
	struct scheduler *owner;

	if (!weft__is_alive(t))
		return WEFT_DEAD;
	owner = peek(t.task->owner);
	state = (enum weft_state)peek(t.task->state);
	if (state == WEFT_RUNNABLE && peek(owner->current) == t.task)
		state = WEFT_RUNNING;
	return weft__was_alive(t) ? state : WEFT_DEAD;
}

WEFT_API bool weft_tasklet_is_main(weft_tasklet t)
{
	bool is_main;

	if (!weft__is_alive(t))
		return false;
	is_main = weft__task_is_main(t.task);
	return is_main && weft__was_alive(t);
}

WEFT_API uint64_t weft_tasklet_thread(weft_tasklet t)
{
	uint64_t id;

	if (!weft__is_alive(t))
		return 0;
	id = peek(peek(t.task->owner)->thread_id);
	return weft__was_alive(t) ? id : 0;
}

WEFT_API int weft_tasklet_name(weft_tasklet t, char *buf, size_t size)
{
	union {
		char text[NAME_SIZE];
		uint64_t words[NAME_SIZE / sizeof(uint64_t)];
	} copy = { .text = "" };
	size_t length;

	if (!buf || !size)
		return -EINVAL;
	if (!weft__is_alive(t))
		return -ESRCH;
	if (peek(t.task->about) & TASK_HAS_NAME)
		for (size_t i = 0; i < NAME_SIZE / sizeof(uint64_t); i++)
			copy.words[i] = peek(weft__task_name(t.task)->words[i]);
	if (!weft__was_alive(t))
		return -ESRCH;
	length = strnlen(copy.text, NAME_SIZE - 1);
	if (length >= size)
		length = size - 1;
	memcpy(buf, copy.text, length);
	buf[length] = '\0';
	return 0;
}

/* --- settings of the running tasklet --- */

WEFT_API void *weft_tasklet_data(void)
{
	struct scheduler *s = weft__scheduler();

	return s ? peek(s->current)->data : NULL;
}

WEFT_API void weft_set_tasklet_data(void *data)
{
	struct scheduler *s = weft__scheduler();

	if (s)
		peek(s->current)->data = data;
}

WEFT_API bool weft_set_block_trap(bool on)
{
	struct scheduler *s = weft__scheduler();
	struct weft_task *t;
	bool before;

	if (!s)
		return false;
	t = peek(s->current);
	before = t->attention & ATTENTION_BLOCK_TRAP;
	if (on)
		t->attention |= ATTENTION_BLOCK_TRAP;
	else
		t->attention &= (uint8_t)~ATTENTION_BLOCK_TRAP;
	return before;
}

WEFT_API void weft_shield_begin(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	REQUIRE(peek(s->current)->n_shields < UINT16_MAX,
		"weft_shield_begin() nests more than 65535 deep");
	peek(s->current)->n_shields++;
}

WEFT_API void weft_shield_end(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		return;
	REQUIRE(peek(s->current)->n_shields,
		"weft_shield_end() without weft_shield_begin()");
	peek(s->current)->n_shields--;
}
