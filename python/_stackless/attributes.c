/* SPDX-License-Identifier: MIT */
/*
 * The attributes of tasklets. Most are computed from what weft says.
 */
#include "stackless.h"

#include <stdlib.h>

static struct tasklet *of(PyObject *self)
{
	return (struct tasklet *)self;
}

/* Whether what it has in its thread's state is still there. */
static bool has_state(const struct tasklet *t)
{
	return has_thread(t) && t == t->thread->current;
}

/* What a tasklet that does not run has saved on its stack, which is gone with its
 * thread; or NULL. */
static struct saved_state *saved_of(const struct tasklet *t)
{
	return t->life == STARTED && has_thread(t) ? t->saved : NULL;
}

static enum weft_state state_of(const struct tasklet *t)
{
	return t->life == UNBORN ? WEFT_DEAD : weft_tasklet_state(t->handle);
}

/* One that waited in a channel when its thread ended, and would not end, waits there for
 * ever. */
bool is_blocked(const struct tasklet *t)
{
	return state_of(t) == WEFT_BLOCKED ||
	       (t->channel && t->life == STARTED && !has_thread(t));
}

/* Another thread takes in later what it is asked to run: what was asked counts. */
bool is_scheduled(const struct tasklet *t)
{
	enum weft_state state = state_of(t);

	if (t->life == FRESH)
		return true;
	return state != WEFT_DEAD && state != WEFT_PAUSED;
}

/* The last one that had a thread that sleeps is not the current one any more. */
bool is_current(const struct tasklet *t)
{
	return has_state(t) && state_of(t) == WEFT_RUNNING;
}

/* --- neighbours --- */

/* Which of @n tasklets is @t; @n if it is none of them. */
static size_t find(const weft_tasklet *list, size_t n, const struct tasklet *t)
{
	size_t i = 0;

	while (i < n && !weft_tasklet_equal(list[i], t->handle))
		i++;
	return i;
}

weft_tasklet *list_tasklets(weft_channel *ch, size_t *n)
{
	size_t capacity = 16;
	weft_tasklet *list = NULL;

	for (;;) {
		weft_tasklet *more =
			PyMem_RawRealloc(list, capacity * sizeof *list);

		if (!more)
			break;
		list = more;
		*n = ch ? weft_channel_waiters(ch, list, capacity)
			: weft_ring(list, capacity);
		if (*n <= capacity)
			return list;
		capacity = *n;
	}
	PyMem_RawFree(list);
	PyErr_NoMemory();
	return NULL;
}

/* The neighbour of a tasklet in the queue that it is in: the run queue, which is a
 * circle, or a channel's. None: it is in no queue, or the first or last of a channel's,
 * or of another thread. */
static PyObject *neighbour(struct tasklet *t, bool next)
{
	weft_channel *ch =
		is_blocked(t) && t->channel ? t->channel->channel : NULL;
	struct tasklet *found = NULL;
	weft_tasklet *list;
	size_t n, i;

	if (!is_scheduled(t) || !is_of_this_thread(t) || (is_blocked(t) && !ch))
		Py_RETURN_NONE;
	list = list_tasklets(ch, &n);
	if (!list)
		return NULL;
	i = find(list, n, t);
	if (i < n && ch && (next ? i + 1 < n : i > 0))
		found = tasklet_of(list[next ? i + 1 : i - 1]);
	for (size_t k = i; i < n && !ch && !found;) { /* past what is none */
		k = (k + (next ? 1 : n - 1)) % n;
		found = tasklet_of(list[k]);
	}
	PyMem_RawFree(list);
	return Py_NewRef(found ? (PyObject *)found : Py_None);
}

static PyObject *get_next(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return neighbour(of(self), true);
}

static PyObject *get_prev(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return neighbour(of(self), false);
}

static PyObject *get_channel(PyObject *self, void *unused)
{
	struct tasklet *t = of(self);

	(void)unused;
	return Py_NewRef(is_blocked(t) && t->channel ? (PyObject *)t->channel
						     : Py_None);
}

/* --- what it is doing --- */

static PyObject *get_alive(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(is_alive(of(self)));
}

static PyObject *get_blocked(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return PyBool_FromLong(is_blocked(of(self)));
}

static PyObject *get_scheduled(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return PyBool_FromLong(is_scheduled(of(self)));
}

static PyObject *get_paused(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return PyBool_FromLong(is_alive(of(self)) && !is_scheduled(of(self)));
}

static PyObject *get_is_main(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(of(self)->is_main);
}

static PyObject *get_is_current(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(is_current(of(self)));
}

static PyObject *get_thread_id(PyObject *self, void *unused)
{
	struct tasklet *t = of(self);

	(void)unused;
	return has_thread(t) ? PyLong_FromUnsignedLong(t->thread->id)
			     : PyLong_FromLong(-1);
}

/* How many calls of the interpreter are nested in its first one. A tasklet that has run
 * has a C stack anyhow, so that is one at least. */
static int count_nesting(const struct tasklet *t)
{
	const struct saved_state *saved = has_state(t) ? NULL : t->saved;
	int least = t->is_main ? 0 : 1, n;

	if (t->life != STARTED)
		return 0;
	if (!has_thread(t) || (!saved && !has_state(t)))
		return least;
	n = count_interpreters(t->thread->tstate, saved, INT_MAX);
	if (t->is_main)
		n--;
	return n > least ? n : least;
}

static PyObject *get_nesting_level(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(count_nesting(of(self)));
}

static PyObject *get_restorable(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(count_nesting(of(self)) == 0);
}

static PyObject *get_recursion_depth(PyObject *self, void *unused)
{
	struct tasklet *t = of(self);
	int depth = 0;

	(void)unused;
	if (has_state(t))
		depth = t->thread->tstate->TSTATE_LIMIT -
			t->thread->tstate->TSTATE_REMAINING;
	else if (saved_of(t))
		depth = saved_of(t)->depth;
	return PyLong_FromLong(depth);
}

static PyObject *get_frame_attribute(PyObject *self, void *unused)
{
	PyFrameObject *frame = get_frame(of(self));

	(void)unused;
	if (!frame && PyErr_Occurred())
		return NULL;
	return frame ? (PyObject *)frame : Py_NewRef(Py_None);
}

static PyObject *get_tempval(PyObject *self, void *unused)
{
	(void)unused;
	return Py_NewRef(of(self)->tempval ? of(self)->tempval : self);
}

static int set_tempval(PyObject *self, PyObject *value, void *unused)
{
	(void)unused;
	Py_XSETREF(of(self)->tempval, Py_NewRef(value ? value : Py_None));
	return 0;
}

/* --- flags --- */

static PyObject *get_atomic(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(of(self)->atomic);
}

static PyObject *get_ignore_nesting(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(of(self)->ignore_nesting);
}

static PyObject *get_block_trap(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(of(self)->block_trap);
}

static int set_block_trap(PyObject *self, PyObject *value, void *unused)
{
	(void)unused;
	if (!value || !PyLong_Check(value)) {
		PyErr_SetString(PyExc_TypeError,
				"block_trap must be set to a bool or integer");
		return -1;
	}
	of(self)->block_trap = PyObject_IsTrue(value);
	return 0;
}

/* --- trace and profile functions --- */

static PyObject *get_function(PyObject *self, bool profile)
{
	struct tasklet *t = of(self);
	const struct saved_state *saved = saved_of(t);
	PyObject *found = NULL;

	if (has_state(t))
		found = profile ? t->thread->tstate->c_profileobj
				: t->thread->tstate->c_traceobj;
	else if (saved && saved->is_traced)
		found = profile ? saved->tracing.profile_arg
				: saved->tracing.trace_arg;
	else if (t->life != STARTED)
		found = profile ? t->profile : t->trace;
	return Py_NewRef(found ? found : Py_None);
}

int call_sys(const char *name, PyObject *function)
{
	PyObject *f = Py_XNewRef(PySys_GetObject(name));
	PyObject *result = f ? PyObject_CallOneArg(f, function) : NULL;

	if (!f)
		PyErr_Format(PyExc_RuntimeError, "lost sys.%s", name);
	Py_XDECREF(f);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

/* Sets the function of a tasklet that waits, in its own state of the thread. The one
 * before is let go of afterwards: its destructor may switch. */
static int set_in_saved_state(struct tasklet *t, const char *name,
			      PyObject *function)
{
	PyThreadState *ts = t->thread->tstate;
	struct saved_state own = { .is_traced = false }, *theirs = t->saved;
	PyObject *trace, *profile;
	int rc;

	tstate_save(ts, &own);
	tstate_restore(ts, theirs);
	if (theirs->is_traced)
		tstate_restore_tracing(ts, &theirs->tracing);
	trace = Py_XNewRef(ts->c_traceobj);
	profile = Py_XNewRef(ts->c_profileobj);
	rc = call_sys(name, function);
	tstate_save(ts, theirs);
	tstate_restore(ts, &own);
	if (own.is_traced)
		tstate_restore_tracing(ts, &own.tracing);
	Py_XDECREF(trace);
	Py_XDECREF(profile);
	return rc;
}

static int set_function(PyObject *self, PyObject *value, bool profile)
{
	struct tasklet *t = of(self);
	const char *name = profile ? "setprofile" : "settrace";
	PyObject **own = profile ? &t->profile : &t->trace;

	if (!value)
		value = Py_None;
	if (has_state(t) && is_of_this_thread(t))
		return call_sys(name, value);
	if (has_state(t)) {
		PyErr_Format(PyExc_RuntimeError,
			     "You cannot set the %s function of the current "
			     "tasklet of another thread",
			     profile ? "profile" : "trace");
		return -1;
	}
	if (saved_of(t) && is_of_this_thread(t))
		return set_in_saved_state(t, name, value);
	if (value == Py_None) {
		Py_CLEAR(*own);
		return 0;
	}
	if (t->life == STARTED || !t->is_set_up) {
		PyErr_SetString(
			PyExc_RuntimeError,
			t->is_set_up ? "tasklet belongs to a different thread"
				     : "tasklet is not alive");
		return -1;
	}
	Py_XSETREF(*own, Py_NewRef(value));
	return 0;
}

static PyObject *get_trace(PyObject *self, void *unused)
{
	(void)unused;
	return get_function(self, false);
}

static PyObject *get_profile(PyObject *self, void *unused)
{
	(void)unused;
	return get_function(self, true);
}

static int set_trace(PyObject *self, PyObject *value, void *unused)
{
	(void)unused;
	return set_function(self, value, false);
}

static int set_profile(PyObject *self, PyObject *value, void *unused)
{
	(void)unused;
	return set_function(self, value, true);
}

/* --- contexts --- */

/* Where the context of a tasklet is; NULL: it is the current one of another thread. */
static PyObject **place_of_context(struct tasklet *t)
{
	if (has_state(t))
		return is_of_this_thread(t) ? &t->thread->tstate->context
					    : NULL;
	return saved_of(t) ? &saved_of(t)->context : &t->context;
}

/* The context of a tasklet, which gets one if it has none. Borrowed. */
static PyObject *get_context(struct tasklet *t)
{
	PyObject **place = place_of_context(t);

	if (!place) {
		PyErr_SetString(PyExc_RuntimeError,
				"the tasklet runs on another thread");
		return NULL;
	}
	if (!*place)
		*place = PyContext_New();
	return *place;
}

static PyObject *get_context_id(PyObject *self, void *unused)
{
	PyObject *context;

	(void)unused;
	if (!get_thread())
		return NULL;
	context = get_context(of(self));
	return context ? PyLong_FromVoidPtr(context) : NULL;
}

/* Whether Context.run() is in it. That cannot be asked, but then another run() fails. */
static bool is_entered(PyObject *context)
{
	if (!context)
		return false;
	if (PyContext_Enter(context) < 0) {
		PyErr_Clear();
		return true;
	}
	if (PyContext_Exit(context) < 0)
		PyErr_Clear();
	return false;
}

PyObject *tasklet_set_context(PyObject *self, PyObject *context)
{
	struct tasklet *t = of(self);
	PyObject **place;

	if (!get_thread())
		return NULL;
	if (!PyContext_CheckExact(context)) {
		PyErr_Format(PyExc_TypeError,
			     "set_context() argument must be "
			     "contextvars.Context, not %s",
			     Py_TYPE(context)->tp_name);
		return NULL;
	}
	place = place_of_context(t);
	if (!place ||
	    (!is_of_this_thread(t) && is_scheduled(t) && !is_blocked(t))) {
		PyErr_SetString(PyExc_RuntimeError,
				"tasklet belongs to a different thread");
		return NULL;
	}
	if (is_entered(*place)) {
		PyErr_SetString(PyExc_RuntimeError,
				"the current context of the tasklet has been "
				"entered.");
		return NULL;
	}
	Py_XSETREF(*place, Py_NewRef(context));
	if (has_state(t))
		t->thread->tstate->context_ver++;
	return Py_NewRef(self);
}

PyObject *tasklet_context_run(PyObject *self, PyObject *const *args,
			      Py_ssize_t n, PyObject *names)
{
	struct thread *th = get_thread();
	PyThreadState *ts;
	PyObject *context, *before, *result;

	if (!th)
		return NULL;
	if (n < 1) {
		PyErr_SetString(PyExc_TypeError,
				"context_run() missing 1 required positional "
				"argument");
		return NULL;
	}
	context = get_context(of(self));
	if (!context)
		return NULL;
	ts = th->tstate;
	before = ts->context;
	ts->context = Py_NewRef(context);
	ts->context_ver++;
	result = PyObject_Vectorcall(args[0], args + 1, (size_t)n - 1, names);
	Py_XSETREF(ts->context, before);
	ts->context_ver++;
	return result;
}

/* --- */

PyGetSetDef tasklet_attributes[] = {
	{ "next", get_next, NULL,
	  PyDoc_STR(
		  "the next tasklet in the run queue, which is a circle, or in "
		  "the queue of a channel"),
	  NULL },
	{ "prev", get_prev, NULL, PyDoc_STR("the tasklet before"), NULL },
	{ "_channel", get_channel, NULL,
	  PyDoc_STR("the channel that the tasklet is blocked on, or None"),
	  NULL },
	{ "alive", get_alive, NULL,
	  PyDoc_STR("it has a function and arguments, and has not ended"),
	  NULL },
	{ "blocked", get_blocked, NULL,
	  PyDoc_STR("it waits in a channel, or in another blocking call"),
	  NULL },
	{ "scheduled", get_scheduled, NULL,
	  PyDoc_STR("it is in the run queue, or blocked"), NULL },
	{ "paused", get_paused, NULL,
	  PyDoc_STR("it is alive, and neither in the run queue nor blocked"),
	  NULL },
	{ "is_main", get_is_main, NULL,
	  PyDoc_STR("it is the main tasklet of its thread"), NULL },
	{ "is_current", get_is_current, NULL,
	  PyDoc_STR("it is the tasklet of its thread that runs"), NULL },
	{ "thread_id", get_thread_id, NULL,
	  PyDoc_STR("the id of its thread; -1 when that has ended"), NULL },
	{ "nesting_level", get_nesting_level, NULL,
	  PyDoc_STR(
		  "how many calls of Python from C are nested in it, at least "
		  "1 if it has a C stack; 0 if it has not run yet"),
	  NULL },
	{ "restorable", get_restorable, NULL,
	  PyDoc_STR("its nesting_level is 0"), NULL },
	{ "recursion_depth", get_recursion_depth, NULL,
	  PyDoc_STR("how deep its calls are nested"), NULL },
	{ "frame", get_frame_attribute, NULL,
	  PyDoc_STR("its innermost frame, or None"), NULL },
	{ "atomic", get_atomic, NULL, PyDoc_STR("see set_atomic()"), NULL },
	{ "ignore_nesting", get_ignore_nesting, NULL,
	  PyDoc_STR("see set_ignore_nesting()"), NULL },
	{ "block_trap", get_block_trap, set_block_trap,
	  PyDoc_STR("if set, a send or receive that would block raises "
		    "RuntimeError"),
	  NULL },
	{ "trace_function", get_trace, set_trace,
	  PyDoc_STR("the function of sys.settrace() in this tasklet"), NULL },
	{ "profile_function", get_profile, set_profile,
	  PyDoc_STR("the function of sys.setprofile() in this tasklet"), NULL },
	{ "tempval", get_tempval, set_tempval,
	  PyDoc_STR("what schedule() returns next in this tasklet; a bomb is "
		    "raised"),
	  NULL },
	{ "context_id", get_context_id, NULL,
	  PyDoc_STR("the id of its contextvars.Context"), NULL },
	{ 0 }
};
