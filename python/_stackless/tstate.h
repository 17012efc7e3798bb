/* SPDX-License-Identifier: MIT */
/*
 * What a tasklet has of its own in the state of its OS thread, PyThreadState, by
 * version of CPython. A version that is not known is refused: its interpreter may keep
 * something there that these functions would leave with the wrong tasklet.
 *
 * Each tasklet has a C stack of its own, and the interpreter's frames are on that or on
 * a data stack that belongs to it. So the saved state is pointers and counts, and it is
 * saved on the C stack of the call that switches.
 *
 *	what                    3.11                    3.12                3.13
 *	frames                  cframe                  cframe              current_frame
 *	depth                   recursion_remaining     py_recursion_remaining,
 *	                                                c_recursion_remaining
 *	depth while an error    recursion_headroom
 *	is made
 *	exceptions handled      exc_info
 *	context                 context, context_ver
 *	data stack              datastack_chunk, _top, _limit
 *	deep deallocation       trash_delete_nesting,   trash.              delete_later
 *	                        _later
 *	tracing                 tracing, tracing_what,  tracing, c_tracefunc, c_traceobj,
 *	                        c_..., and in cframe    c_profilefunc, c_profileobj
 *	locks of free threading                                             critical_section
 *
 * The exception that is just being raised (curexc_..., current_exception) is never set
 * where a call switches. Generators are linked by exc_info and by their frames.
 */
#ifndef WEFT_PYTHON_TSTATE_H
#define WEFT_PYTHON_TSTATE_H

#include <Python.h>

#include <stddef.h>
#include <string.h>

#if PY_VERSION_HEX < 0x030b0000
#error "Python is older than 3.11: the state of its threads is not known here"
#elif PY_VERSION_HEX >= 0x030e0000
#error "Python is newer than 3.13: the state of its threads is not known here"
#endif
#ifdef Py_GIL_DISABLED
#error "a Python without global interpreter lock is not supported"
#endif

struct tracing {
	int depth; /* of calls of trace functions */
#if PY_VERSION_HEX < 0x030c0000
	int what;
#endif
	Py_tracefunc trace, profile;
	PyObject *trace_arg, *profile_arg; /* owned */
};

struct saved_state {
#if PY_VERSION_HEX < 0x030d0000
	_PyCFrame *cframe;
#else
	struct _PyInterpreterFrame *frame;
	uintptr_t critical_section;
#endif
	int depth; /* below the limit, which can be changed meanwhile */
	int headroom;
#if PY_VERSION_HEX >= 0x030c0000
	int c_remaining;
#endif
	_PyErr_StackItem *exc_info;
	PyObject *context; /* owned */
	_PyStackChunk *chunk;
	PyObject **top, **limit;
#if PY_VERSION_HEX < 0x030d0000
	int delete_nesting;
#endif
	PyObject *delete_later;
	bool is_traced; /* `tracing` is set */
	struct tracing tracing;
};

#if PY_VERSION_HEX < 0x030c0000
#define TSTATE_REMAINING     recursion_remaining
#define TSTATE_LIMIT         recursion_limit
#define TSTATE_TRASH_NESTING trash_delete_nesting
#define TSTATE_TRASH_LATER   trash_delete_later
#else
#define TSTATE_REMAINING     py_recursion_remaining
#define TSTATE_LIMIT         py_recursion_limit
#define TSTATE_TRASH_NESTING trash.delete_nesting
#define TSTATE_TRASH_LATER   trash.delete_later
#endif

/* From 3.12 on, calls that nest in C are counted apart, and their limit is for the stack
 * of a thread. A tasklet may have one for so many bytes: list.sort() with a key that sorts
 * takes as much. */
enum { TSTATE_C_CALL_BYTES = 2000 };

static inline bool tstate_is_traced(const PyThreadState *ts)
{
	return ts->c_tracefunc || ts->c_profilefunc || ts->tracing;
}

/* Takes the tracing out of the thread: the next tasklet begins without. */
static inline void tstate_save_tracing(PyThreadState *ts, struct tracing *t)
{
	t->depth = ts->tracing;
	t->trace = ts->c_tracefunc;
	t->profile = ts->c_profilefunc;
	t->trace_arg = ts->c_traceobj;
	t->profile_arg = ts->c_profileobj;
	ts->tracing = 0;
	ts->c_tracefunc = ts->c_profilefunc = NULL;
	ts->c_traceobj = ts->c_profileobj = NULL;
#if PY_VERSION_HEX < 0x030c0000
	t->what = ts->tracing_what;
	ts->tracing_what = 0;
#endif
}

static inline void tstate_restore_tracing(PyThreadState *ts,
					  const struct tracing *t)
{
	ts->tracing = t->depth;
	ts->c_tracefunc = t->trace;
	ts->c_profilefunc = t->profile;
	ts->c_traceobj = t->trace_arg;
	ts->c_profileobj = t->profile_arg;
#if PY_VERSION_HEX < 0x030c0000
	ts->tracing_what = t->what;
#endif
}

/* What tstate_save() takes away it leaves with the thread as well, except tracing: the
 * tasklet that runs next sets its own, or this one goes on and finds it there. */
static inline void tstate_save(PyThreadState *ts, struct saved_state *s)
{
#if PY_VERSION_HEX < 0x030d0000
	s->cframe = ts->cframe;
	s->delete_nesting = ts->TSTATE_TRASH_NESTING;
	s->delete_later = ts->TSTATE_TRASH_LATER;
#else
	s->frame = ts->current_frame;
	s->critical_section = ts->critical_section;
	s->delete_later = ts->delete_later;
#endif
#if PY_VERSION_HEX >= 0x030c0000
	s->c_remaining = ts->c_recursion_remaining;
#endif
	s->depth = ts->TSTATE_LIMIT - ts->TSTATE_REMAINING;
	s->headroom = ts->recursion_headroom;
	s->exc_info = ts->exc_info;
	s->context = ts->context;
	s->chunk = ts->datastack_chunk;
	s->top = ts->datastack_top;
	s->limit = ts->datastack_limit;
	s->is_traced = tstate_is_traced(ts);
	if (__builtin_expect(s->is_traced, 0))
		tstate_save_tracing(ts, &s->tracing);
}

static inline void tstate_restore(PyThreadState *ts,
				  const struct saved_state *s)
{
#if PY_VERSION_HEX < 0x030d0000
	ts->cframe = s->cframe;
	ts->TSTATE_TRASH_NESTING = s->delete_nesting;
	ts->TSTATE_TRASH_LATER = s->delete_later;
#else
	ts->current_frame = s->frame;
	ts->critical_section = s->critical_section;
	ts->delete_later = s->delete_later;
#endif
#if PY_VERSION_HEX >= 0x030c0000
	ts->c_recursion_remaining = s->c_remaining;
#endif
	ts->TSTATE_REMAINING = ts->TSTATE_LIMIT - s->depth;
	ts->recursion_headroom = s->headroom;
	ts->exc_info = s->exc_info;
	ts->context = s->context;
	ts->context_ver++; /* what variables have cached is another context's */
	ts->datastack_chunk = s->chunk;
	ts->datastack_top = s->top;
	ts->datastack_limit = s->limit;
}

/* --- the beginning and the end of a tasklet --- */

/* The first part of a tasklet's data stack. The interpreter allocates more as it needs
 * it and gives that back, but never gives the first part back. Its first place stays
 * empty: a frame there would be taken for the first of a part. */
struct root_chunk {
	_PyStackChunk chunk;
	PyObject *places[240];
};

static inline void tstate_init_chunk(struct root_chunk *r)
{
	r->chunk.previous = NULL;
	r->chunk.size = sizeof *r;
	r->chunk.top = 0;
}

/* The bottom of a tasklet: no frames, no exception, no tracing. */
struct fresh_state {
#if PY_VERSION_HEX < 0x030d0000
	_PyCFrame cframe;
#endif
	_PyErr_StackItem exc;
	struct root_chunk root;
};

/* What a thread has while no tasklet runs. Both are left as they were by whoever uses them
 * there: a callback of the program's. */
struct idle_state {
	_PyErr_StackItem exc; /* none: the thread's own is the main tasklet's */
	struct root_chunk root;
};

/* The first part of the data stack in use, or NULL. */
static inline const _PyStackChunk *tstate_root(const PyThreadState *ts)
{
	const _PyStackChunk *chunk = ts->datastack_chunk;

	while (chunk && chunk->previous)
		chunk = chunk->previous;
	return chunk;
}

static inline void tstate_use_chunk(PyThreadState *ts, struct root_chunk *r)
{
	ts->datastack_chunk = &r->chunk;
	ts->datastack_top = &r->chunk.data[1];
	ts->datastack_limit = (PyObject **)((char *)r + r->chunk.size);
}

#if PY_VERSION_HEX >= 0x030c0000
#if PY_VERSION_HEX < 0x030d0000
#define Py_C_RECURSION_LIMIT C_RECURSION_LIMIT
#endif

/* How many calls may nest in C on a stack of so many bytes. */
static inline int tstate_c_limit(size_t stack_bytes)
{
	size_t n = stack_bytes / TSTATE_C_CALL_BYTES;

	return n < Py_C_RECURSION_LIMIT ? (int)n : Py_C_RECURSION_LIMIT;
}
#endif

/* @f lasts as long as the tasklet. @context is given away. The caller has no tracing. */
static inline void tstate_begin(PyThreadState *ts, struct fresh_state *f,
				PyObject *context, size_t stack_bytes)
{
	memset(&f->exc, 0, sizeof f->exc);
	tstate_init_chunk(&f->root);
#if PY_VERSION_HEX < 0x030d0000
	memset(&f->cframe, 0, sizeof f->cframe);
	f->cframe.previous = &ts->root_cframe;
	ts->cframe = &f->cframe;
	ts->TSTATE_TRASH_NESTING = 0;
	ts->TSTATE_TRASH_LATER = NULL;
#else
	ts->current_frame = NULL;
	ts->critical_section = 0;
	ts->delete_later = NULL;
#endif
#if PY_VERSION_HEX >= 0x030c0000
	ts->c_recursion_remaining = tstate_c_limit(stack_bytes);
#else
	(void)stack_bytes;
#endif
	ts->TSTATE_REMAINING = ts->TSTATE_LIMIT - 1; /* its own call */
	ts->recursion_headroom = 0;
	ts->exc_info = &f->exc;
	ts->context = context;
	ts->context_ver++;
	tstate_use_chunk(ts, &f->root);
}

/* Between two tasklets: the one before has ended, and the next one has not come yet,
 * perhaps because the thread sleeps. */
static inline void tstate_end(PyThreadState *ts, struct idle_state *idle)
{
#if PY_VERSION_HEX < 0x030d0000
	ts->cframe = &ts->root_cframe;
#else
	ts->current_frame = NULL;
#endif
	ts->exc_info = &idle->exc;
	ts->context = NULL;
	ts->context_ver++;
	tstate_init_chunk(&idle->root);
	tstate_use_chunk(ts, &idle->root);
}

#endif /* WEFT_PYTHON_TSTATE_H */
