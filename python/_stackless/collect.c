/* SPDX-License-Identifier: MIT */
/*
 * What the garbage collector is told of a tasklet that does not run, and its frames.
 *
 * A tasklet that waits is garbage if nobody else can reach it, nor the channel that it
 * waits in. Then the collector finalizes it (tasklet.c), and it gets a TaskletExit. To
 * find that out, the collector has to be told of each reference that the tasklet has,
 * once. The references of its frames are on its data stack:
 *
 *	the variables of each frame;
 *	the values that a frame has stacked up. How many there are is noted in a frame
 *	that has called a function in Python. It is not in the one that has called the
 *	function in C that switched: there it is known by the place of the arguments
 *	(tasklet.stack_top), which are the last values. In a `for` over a channel no
 *	function is called, and the last value is the channel. Whether it is a `for`
 *	that asks, and not, say, list(channel), is known by where the call comes from.
 *
 * A tasklet that waits for time or for a descriptor, in weft.io, is reached by the kernel:
 * it is no garbage, whoever else has forgotten it.
 *
 * What is not found that way (values of frames that have called C functions which have
 * called Python again, frames of generators, and what C functions have) counts as
 * reached from elsewhere. So a tasklet may live too long, but no tasklet in use is ever
 * collected.
 */
#define Py_BUILD_CORE_MODULE 1
#include "stackless.h"

#include <internal/pycore_frame.h>
#include <internal/pycore_gc.h>

static PyCodeObject *code_of(struct _PyInterpreterFrame *f)
{
#if PY_VERSION_HEX < 0x030d0000
	return f->f_code;
#else
	return (PyCodeObject *)f->f_executable;
#endif
}

/* Of the tasklet that runs if @s is NULL. */
static struct _PyInterpreterFrame *innermost(const PyThreadState *ts,
					     const struct saved_state *s)
{
#if PY_VERSION_HEX < 0x030d0000
	return (s ? s->cframe : ts->cframe)->current_frame;
#else
	return s ? s->frame : ts->current_frame;
#endif
}

/* --- nested interpreters --- */

/* Whether a call of the interpreter has begun with that frame: its first one in 3.11, and
 * one of its own from 3.12 on. */
static bool is_entry(const struct _PyInterpreterFrame *f)
{
#if PY_VERSION_HEX < 0x030c0000
	return f->is_entry;
#else
	return f->owner == FRAME_OWNED_BY_CSTACK;
#endif
}

int count_interpreters(const PyThreadState *ts, const struct saved_state *s,
		       int limit)
{
	const struct _PyInterpreterFrame *f;
	int n = 0;

	for (f = innermost(ts, s); f && n < limit; f = f->previous)
		n += is_entry(f);
	return n;
}

/* --- iteration --- */

PyObject *const in_for[1];

/* Where calls of iterators return to that the interpreter makes for a `for`. */
static const void *for_address;

bool is_for(const void *address)
{
	return address == for_address;
}

static PyObject *note_address(PyObject *self)
{
	(void)self;
	for_address = __builtin_return_address(0);
	return NULL;
}

PyTypeObject probe_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_stackless.probe",
	.tp_basicsize = sizeof(PyObject),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_new = PyType_GenericNew,
	.tp_iter = PyObject_SelfIter,
	.tp_iternext = note_address,
};

/* Lets the interpreter go through a `for`. */
int init_collection(void)
{
	PyObject *names, *result;

	if (PyType_Ready(&probe_type) < 0)
		return -1;
	names = Py_BuildValue("{sO}", "probe", &probe_type);
	result = names ? PyRun_String("for _ in probe(): pass", Py_file_input,
				      names, names)
		       : NULL;
	Py_XDECREF(names);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* The iterator of a `for` is the last value that the frame has stacked up. What lies
 * beyond may be what earlier calls have left there, the same channel too: so the first
 * place that has it is as good as the right one, but may be before it. */
static PyObject *const *find_iterator(struct _PyInterpreterFrame *f,
				      const struct channel *channel)
{
	int i = code_of(f)->co_nlocalsplus;
	int end = i + code_of(f)->co_stacksize;

	while (i < end && f->localsplus[i] != (PyObject *)channel)
		i++;
	return i < end ? &f->localsplus[i + 1] : NULL;
}

/* --- frames --- */

/* How many of the frame's places are in use; those of an inner call are not known. */
static Py_ssize_t count_places(struct _PyInterpreterFrame *f,
			       PyObject *const *stack_top,
			       const struct channel *channel)
{
	Py_ssize_t n_variables = code_of(f)->co_nlocalsplus;
	Py_ssize_t n;

	if (f->stacktop >= 0)
		return f->stacktop;
	if (stack_top == in_for)
		stack_top = find_iterator(f, channel);
	n = stack_top ? stack_top - f->localsplus : 0;
	return n > n_variables && n <= n_variables + code_of(f)->co_stacksize
		       ? n
		       : n_variables;
}

static int visit_frame(struct _PyInterpreterFrame *f, const struct tasklet *t,
		       PyObject *const *stack_top, visitproc visit, void *arg)
{
	Py_ssize_t n = count_places(f, stack_top, t->channel);

	Py_VISIT(f->frame_obj);
	Py_VISIT(f->f_locals);
#if PY_VERSION_HEX < 0x030c0000
	Py_VISIT(f->f_func);
#else
	Py_VISIT(f->f_funcobj);
#endif
	Py_VISIT(code_of(f));
	for (Py_ssize_t i = 0; i < n; i++)
		Py_VISIT(f->localsplus[i]);
	return 0;
}

/* CPython notes in the head of an object that it was finalized, and does not do that
 * again: before the call, or if the last reference was given up, after it. Then nothing
 * but the collector comes by before the tasklet may have to be finalized again. So it is
 * done where the collector asks for references. It counts in other bits of that word, by
 * sums that leave this bit alone, and looks at the bit only when it has asked everybody
 * (deduce_unreachable() and finalize_garbage() of 3.11 to 3.13). */
void allow_finalizer(struct tasklet *t)
{
	_Static_assert(_PyGC_PREV_MASK_FINALIZED == 1 && _PyGC_PREV_SHIFT >= 1,
		       "the bit is another one");
	_Py_AS_GC(&t->ob_base)->_gc_prev &=
		~(uintptr_t)_PyGC_PREV_MASK_FINALIZED;
	t->was_spared = false;
}

int traverse_stack(struct tasklet *t, visitproc visit, void *arg)
{
	PyObject *const *stack_top = t->stack_top;
	struct _PyInterpreterFrame *f;

	if (unlikely(t->was_spared))
		allow_finalizer(t);
	if (t->life != STARTED || !t->saved || !t->thread->tstate ||
	    t == t->thread->current || t->is_main)
		return 0;
	Py_VISIT(t->saved->context);
	for (f = innermost(t->thread->tstate, t->saved); f; f = f->previous) {
		int rc = f->owner == FRAME_OWNED_BY_THREAD
				 ? visit_frame(f, t, stack_top, visit, arg)
				 : 0;

		if (rc)
			return rc;
		stack_top = NULL;
	}
	return 0;
}

/* The frame object takes over the variables, with their references. It is never freed,
 * since the frame on the stack has a reference to it. */
static void keep_frame(PyFrameObject *object, PyFrameObject *back)
{
	struct _PyInterpreterFrame *f = object->f_frame;
	struct _PyInterpreterFrame *copy =
		(struct _PyInterpreterFrame *)object->_f_frame_data;
	int n = code_of(f)->co_nlocalsplus;

	Py_XSETREF(object->f_back, (PyFrameObject *)Py_XNewRef(back));
	f->previous = NULL; /* f_back is asked first */
	if (f->owner != FRAME_OWNED_BY_THREAD)
		return; /* a generator has it */
	memcpy(copy, f,
	       offsetof(struct _PyInterpreterFrame, localsplus) +
		       (size_t)n * sizeof f->localsplus[0]);
	copy->owner = FRAME_OWNED_BY_FRAME_OBJECT;
	copy->stacktop = n;
	object->f_frame = copy;
}

void keep_frames(PyThreadState *ts)
{
	PyFrameObject *f = PyThreadState_GetFrame(ts);

	while (f) {
		PyFrameObject *back = PyFrame_GetBack(f);

		keep_frame(f, back);
		Py_DECREF(f);
		f = back;
	}
	PyErr_Clear(); /* no memory for one of them */
}

/* PyThreadState_GetFrame() makes a frame object if need be. It is asked in the name of
 * the tasklet, and without the collector, which would run code of the program's. */
PyFrameObject *get_frame(struct tasklet *t)
{
	PyThreadState *ts;
	struct saved_state own = { .is_traced = false };
	PyFrameObject *frame;
	int was_enabled;

	if (!t->thread || !t->thread->tstate || t->life != STARTED)
		return NULL;
	ts = t->thread->tstate;
	if (t == t->thread->current)
		return PyThreadState_GetFrame(ts);
	if (!t->saved)
		return NULL;
	was_enabled = PyGC_Disable();
	tstate_save(ts, &own);
	tstate_restore(ts, t->saved);
	frame = PyThreadState_GetFrame(ts);
	tstate_restore(ts, &own);
	if (own.is_traced)
		tstate_restore_tracing(ts, &own.tracing);
	if (was_enabled)
		PyGC_Enable();
	return frame;
}
