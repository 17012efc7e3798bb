/* SPDX-License-Identifier: MIT */
/*
 * What the program wants to be told of: switches, sends and receives, exceptions that
 * no tasklet handles. The functions are for all threads, where weft has them for one: a
 * thread takes them on when it is attached, and when it has slept.
 *
 * A callback runs on the tasklet that gives way. It cannot switch.
 */
#include "stackless.h"

bool is_channel_watched;

static PyObject *on_schedule, *on_channel, *on_error;

static void report(const char *what)
{
	PyObject *text = PyUnicode_FromString(what);

	PyErr_WriteUnraisable(text);
	Py_XDECREF(text);
}

void begin_callback(struct thread *th, struct saved_state *s,
		    struct interlude *i)
{
	begin_interlude(i, th);
	if (s && s->is_traced)
		tstate_restore_tracing(th->tstate, &s->tracing);
}

void end_callback(struct thread *th, struct saved_state *s, struct interlude *i)
{
	if (s)
		s->is_traced = tstate_is_traced(th->tstate);
	if (s && s->is_traced) {
		tstate_save_tracing(th->tstate, &s->tracing);
	} else if (tstate_is_traced(th->tstate)) { /* it has ended */
		PyEval_SetTrace(NULL, NULL);
		PyEval_SetProfile(NULL, NULL);
	}
	end_interlude(i, th);
}

static void told_of_schedule(weft_tasklet from, weft_tasklet to, void *arg)
{
	struct thread *th = arg;
	struct tasklet *prev = th->current, *next = tasklet_of(to);
	struct saved_state *saved = prev->saved;
	PyObject *type, *value, *traceback, *callback, *result;
	struct interlude i;

	(void)from;
	if (!on_schedule || !next || th->is_in_callback || th->is_ending)
		return;
	PyErr_Fetch(&type, &value, &traceback);
	callback = Py_NewRef(on_schedule);
	Py_INCREF(prev);
	Py_INCREF(next);
	begin_callback(th, saved, &i);
	result = PyObject_CallFunctionObjArgs(callback, prev, next, NULL);
	if (!result)
		report("Error in scheduling callback");
	Py_XDECREF(result);
	Py_DECREF(callback);
	end_callback(th, saved, &i);
	Py_DECREF(next);
	Py_DECREF(prev);
	PyErr_Restore(type, value, traceback);
}

static void told_of_channel(weft_channel *ch, weft_tasklet t, bool sending,
			    bool will_block, void *arg)
{
	struct thread *th = arg;
	PyObject *channel = weft_channel_data(ch);
	struct tasklet *self = th->current;
	struct saved_state *saved = self->saved;
	PyObject *type, *value, *traceback, *callback, *result;
	struct interlude i;

	(void)t;
	if (!on_channel || !channel || th->is_in_callback)
		return;
	PyErr_Fetch(&type, &value, &traceback);
	callback = Py_NewRef(on_channel);
	begin_callback(th, saved, &i);
	result = PyObject_CallFunction(callback, "OOii", channel, self,
				       (int)sending, (int)will_block);
	if (!result)
		report("Error in channel callback");
	Py_XDECREF(result);
	Py_DECREF(callback);
	end_callback(th, saved, &i);
	PyErr_Restore(type, value, traceback);
}

void forget_callbacks(void)
{
	on_schedule = on_channel = on_error = NULL;
	is_channel_watched = false;
}

void apply_callbacks(struct thread *th)
{
	is_channel_watched = on_channel;
	weft_set_schedule_callback(on_schedule ? told_of_schedule : NULL, th);
	weft_set_channel_callback(on_channel ? told_of_channel : NULL, th);
}

bool call_error_handler(void)
{
	PyObject *type, *value, *traceback, *handler, *result;

	if (!on_error)
		return false;
	handler = Py_NewRef(on_error);
	PyErr_Fetch(&type, &value, &traceback);
	PyErr_NormalizeException(&type, &value, &traceback);
	if (value && traceback)
		PyException_SetTraceback(value, traceback);
	result = PyObject_CallFunctionObjArgs(
		handler, type, value ? value : Py_None,
		traceback ? traceback : Py_None, NULL);
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	Py_XDECREF(result);
	Py_DECREF(handler);
	return result;
}

/* --- setting them --- */

/* Returns what was set before, or None. */
static PyObject *exchange(PyObject **place, PyObject *callable,
			  const char *what)
{
	struct thread *th = get_thread();
	PyObject *before = *place;

	if (!th)
		return NULL;
	if (callable != Py_None && !PyCallable_Check(callable)) {
		PyErr_Format(PyExc_TypeError, "%s must be callable", what);
		return NULL;
	}
	*place = callable == Py_None ? NULL : Py_NewRef(callable);
	apply_callbacks(th);
	return before ? before : Py_NewRef(Py_None);
}

static PyObject *set_schedule_callback(PyObject *self, PyObject *callable)
{
	(void)self;
	return exchange(&on_schedule, callable, "schedule callback");
}

static PyObject *get_schedule_callback(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return Py_NewRef(on_schedule ? on_schedule : Py_None);
}

static PyObject *set_channel_callback(PyObject *self, PyObject *callable)
{
	(void)self;
	return exchange(&on_channel, callable, "channel callback");
}

static PyObject *get_channel_callback(PyObject *self, PyObject *unused)
{
	(void)self;
	(void)unused;
	return Py_NewRef(on_channel ? on_channel : Py_None);
}

static PyObject *set_error_handler(PyObject *self, PyObject *args)
{
	PyObject *handler = Py_None;

	(void)self;
	if (!PyArg_ParseTuple(args, "|O:set_error_handler", &handler))
		return NULL;
	return exchange(&on_error, handler, "error handler");
}

PyMethodDef callback_methods[] = {
	{ "set_schedule_callback", set_schedule_callback, METH_O,
	  PyDoc_STR(
		  "set_schedule_callback(callable)\n\n"
		  "Have callable(prev, next) called before each switch; None: "
		  "nothing is called. Returns the one before.") },
	{ "get_schedule_callback", get_schedule_callback, METH_NOARGS,
	  PyDoc_STR("The function that set_schedule_callback() has set, or "
		    "None.") },
	{ "set_channel_callback", set_channel_callback, METH_O,
	  PyDoc_STR(
		  "set_channel_callback(callable)\n\n"
		  "Have callable(channel, tasklet, sending, willblock) called "
		  "for each send and receive; None: nothing is called. Returns "
		  "the one before.") },
	{ "get_channel_callback", get_channel_callback, METH_NOARGS,
	  PyDoc_STR("The function that set_channel_callback() has set, or "
		    "None.") },
	{ "set_error_handler", set_error_handler, METH_VARARGS,
	  PyDoc_STR(
		  "set_error_handler(handler=None)\n\n"
		  "Have handler(type, value, traceback) called for exceptions "
		  "that a tasklet does not handle, instead of raising them in "
		  "the main tasklet. Returns the one before.") },
	{ 0 }
};
