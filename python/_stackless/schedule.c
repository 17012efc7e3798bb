/* SPDX-License-Identifier: MIT */
/*
 * The functions of the module that are about the running tasklet, the scheduler and
 * threads.
 */
#include "stackless.h"

static PyObject *call_schedule(const char *name, PyObject *const *args,
			       Py_ssize_t n, PyObject *names, bool remove)
{
	Py_ssize_t n_named = names ? PyTuple_GET_SIZE(names) : 0;

	if (n + n_named > 1) {
		PyErr_Format(PyExc_TypeError,
			     "%s() takes at most 1 argument (%zd given)", name,
			     n + n_named);
		return NULL;
	}
	if (n_named && PyUnicode_CompareWithASCIIString(
			       PyTuple_GET_ITEM(names, 0), "retval")) {
		PyErr_Format(PyExc_TypeError,
			     "%s() has no argument %R, but retval", name,
			     PyTuple_GET_ITEM(names, 0));
		return NULL;
	}
	return schedule(n + n_named ? args[0] : NULL, remove,
			args + n + n_named);
}

static PyObject *module_schedule(PyObject *self, PyObject *const *args,
				 Py_ssize_t n, PyObject *names)
{
	(void)self;
	return call_schedule("schedule", args, n, names, false);
}

static PyObject *module_schedule_remove(PyObject *self, PyObject *const *args,
					Py_ssize_t n, PyObject *names)
{
	(void)self;
	return call_schedule("schedule_remove", args, n, names, true);
}

/* A run that blocks its thread returns when nobody can wake a tasklet any more. */
PyObject *run_without_limit(bool threadblock)
{
	struct thread *th = get_thread();
	struct runner r;
	struct call c;
	long rc;

	if (!th || !may_switch(th) || enter_run(th, &r) < 0)
		return NULL;
	begin_call_of(&c, th);
	rc = threadblock ? weft_run() : weft_pump();
	if (rc == -EDEADLK)
		rc = 0;
	rc = end_switch(&c, rc);
	leave_run(th, &r);
	if (rc < 0)
		return NULL;
	Py_RETURN_NONE;
}

bool pack_arguments(PyObject *const *args, size_t n, PyObject *names,
		    PyObject **tuple, PyObject **dict)
{
	Py_ssize_t n_named = names ? PyTuple_GET_SIZE(names) : 0;

	*dict = NULL;
	*tuple = PyTuple_New((Py_ssize_t)n);
	if (!*tuple)
		return false;
	for (size_t i = 0; i < n; i++)
		PyTuple_SET_ITEM(*tuple, (Py_ssize_t)i, Py_NewRef(args[i]));
	if (!n_named)
		return true;
	*dict = PyDict_New();
	for (Py_ssize_t i = 0; *dict && i < n_named; i++)
		if (PyDict_SetItem(*dict, PyTuple_GET_ITEM(names, i),
				   args[n + (size_t)i]) < 0)
			Py_CLEAR(*dict);
	if (!*dict)
		Py_CLEAR(*tuple);
	return *dict;
}

static PyObject *run(PyObject *self, PyObject *const *arguments, Py_ssize_t n,
		     PyObject *keywords)
{
	static char *names[] = { "timeout",        "threadblock",  "soft",
				 "ignore_nesting", "totaltimeout", NULL };
	long timeout = 0;
	int threadblock = 0, soft = 0, ignore_nesting = 0, total = 0;
	PyObject *args, *kwargs;
	bool is_right;

	(void)self;
	if (likely(n == 0 && !keywords))
		return run_without_limit(false);
	if (!pack_arguments(arguments, (size_t)n, keywords, &args, &kwargs))
		return NULL;
	is_right = PyArg_ParseTupleAndKeywords(args, kwargs, "|lpppp:run",
					       names, &timeout, &threadblock,
					       &soft, &ignore_nesting, &total);
	Py_DECREF(args);
	Py_XDECREF(kwargs);
	if (!is_right)
		return NULL;
	if (timeout <= 0)
		return run_without_limit(threadblock);
	return run_with_limit(timeout, threadblock, soft, ignore_nesting,
			      total);
}

/* --- questions --- */

static PyObject *getcurrent(PyObject *self, PyObject *unused)
{
	struct thread *th = get_thread();

	(void)self;
	(void)unused;
	return th ? Py_NewRef(th->current) : NULL;
}

static PyObject *getmain(PyObject *self, PyObject *unused)
{
	struct thread *th = get_thread();

	(void)self;
	(void)unused;
	return th ? Py_NewRef(th->main) : NULL;
}

static PyObject *getruncount(PyObject *self, PyObject *unused)
{
	struct thread *th = get_thread();

	(void)self;
	(void)unused;
	if (!th)
		return NULL;
	take_in();
	return PyLong_FromUnsignedLong(without_husks(th, weft_runcount()));
}

/* A main tasklet has the id of its thread. */
static PyObject *getcurrentid(PyObject *self, PyObject *unused)
{
	struct thread *th = get_thread();

	(void)self;
	(void)unused;
	if (!th)
		return NULL;
	if (th->current == th->main)
		return PyLong_FromUnsignedLong(th->id);
	return PyLong_FromVoidPtr(th->current);
}

static PyObject *getthreads(PyObject *self, PyObject *unused)
{
	PyObject *list =
		PyList_New(0); /* first: the collector may end threads */
	PyThreadState *ts =
		PyInterpreterState_ThreadHead(PyInterpreterState_Get());

	(void)self;
	(void)unused;
	for (; list && ts; ts = PyThreadState_Next(ts)) {
		PyObject *id = PyLong_FromUnsignedLong(ts->thread_id);

		if (!id || PyList_Append(list, id) < 0)
			Py_CLEAR(list);
		Py_XDECREF(id);
	}
	if (list && PyList_Reverse(list) < 0)
		Py_CLEAR(list);
	return list;
}

/* Whether Python has a thread with that id. */
static bool is_thread(unsigned long id)
{
	PyThreadState *ts =
		PyInterpreterState_ThreadHead(PyInterpreterState_Get());

	while (ts && ts->thread_id != id)
		ts = PyThreadState_Next(ts);
	return ts;
}

/* A bit of the second argument of get_thread_info(), which Stackless's own tests use. */
#define WITH_RUNNERS (1UL << 31)

/* @th is NULL for a thread of Python's that is not attached. */
static PyObject *describe(struct thread *th, unsigned long flags)
{
	struct weft_thread_info info = { .runcount = 0 };

	if (!th)
		return flags & WITH_RUNNERS
			       ? Py_BuildValue("(OOiO)", Py_None, Py_None, 0,
					       Py_None)
			       : Py_BuildValue("(OOi)", Py_None, Py_None, 0);
	if (th == this_thread)
		take_in();
	if (weft_thread_info(th->weft_id, &info) < 0)
		info.runcount = 0;
	else
		info.runcount = without_husks(th, info.runcount);
	if (flags & WITH_RUNNERS)
		return Py_BuildValue("(OOIO)", th->main, th->current,
				     info.runcount, get_runners(th));
	return Py_BuildValue("(OOI)", th->main, th->current, info.runcount);
}

static PyObject *get_thread_info(PyObject *self, PyObject *args)
{
	struct thread *th = get_thread();
	PyObject *number = NULL;
	unsigned long id;
	unsigned long flags = 0;

	(void)self;
	if (!th ||
	    !PyArg_ParseTuple(args, "|Ok:get_thread_info", &number, &flags))
		return NULL;
	if (number) {
		id = PyLong_AsUnsignedLongMask(number);
		if (PyErr_Occurred())
			return NULL;
		if (id != 0 && id != (unsigned long)-1)
			th = find_thread(id);
		if (!th && !is_thread(id)) {
			PyErr_SetString(PyExc_RuntimeError,
					"Thread id not found");
			return NULL;
		}
	}
	return describe(th, flags);
}

static PyObject *switch_trap(PyObject *self, PyObject *args)
{
	int change = 0;

	(void)self;
	if (!PyArg_ParseTuple(args, "|i:switch_trap", &change) || !get_thread())
		return NULL;
	return PyLong_FromLong(weft_switch_trap(change));
}

static PyObject *enable_softswitch(PyObject *self, PyObject *flag)
{
	int on = flag == Py_None ? 0 : PyObject_IsTrue(flag);

	(void)self;
	if (on < 0)
		return NULL;
	if (on) {
		PyErr_SetString(
			PyExc_NotImplementedError,
			"there is no soft switching: CPython's calls are "
			"on C stacks, so each tasklet has one");
		return NULL;
	}
	Py_RETURN_FALSE;
}

/* --- atomic --- */

/* A tasklet inside the context, and its flag before; NULL: none. */
struct inside {
	const struct tasklet *tasklet;
	bool before;
};

/* It may be entered again before it is left, and by several tasklets: the first, if it was
 * entered first, and more in their order. */
struct atomic {
	PyObject_HEAD struct inside first;
	struct inside *more;
	size_t n_more;
};

static PyObject *atomic_enter(PyObject *self, PyObject *unused)
{
	struct atomic *a = (struct atomic *)self;
	struct thread *th = get_thread();
	struct inside *place = &a->first;

	(void)unused;
	if (!th)
		return NULL;
	if (a->first.tasklet || a->n_more) {
		struct inside *more =
			PyMem_Realloc(a->more, (a->n_more + 1) * sizeof *more);

		if (!more)
			return PyErr_NoMemory();
		a->more = more;
		place = &more[a->n_more++];
	}
	*place = (struct inside){ th->current, th->current->atomic };
	th->current->atomic = true;
	Py_RETURN_NONE;
}

/* The last one that @t has entered; or of all, if a generator that another tasklet has
 * begun is in the middle of its `with`. */
static struct inside *find_inside(struct atomic *a, const struct tasklet *t)
{
	for (size_t i = a->n_more; i > 0; i--)
		if (a->more[i - 1].tasklet == t)
			return &a->more[i - 1];
	if (a->first.tasklet == t || !a->n_more)
		return a->first.tasklet ? &a->first : NULL;
	return &a->more[a->n_more - 1];
}

static PyObject *atomic_exit(PyObject *self, PyObject *args)
{
	struct atomic *a = (struct atomic *)self;
	struct thread *th = get_thread();
	struct inside *left;

	(void)args;
	if (!th)
		return NULL;
	left = find_inside(a, th->current);
	if (!left) {
		PyErr_SetString(PyExc_RuntimeError,
				"the atomic context is not entered");
		return NULL;
	}
	th->current->atomic = left->before;
	if (left == &a->first) {
		left->tasklet = NULL;
	} else {
		memmove(left, left + 1,
			(size_t)(a->more + a->n_more - left - 1) *
				sizeof *left);
		a->n_more--;
	}
	Py_RETURN_NONE;
}

static void atomic_dealloc(PyObject *self)
{
	PyMem_Free(((struct atomic *)self)->more);
	Py_TYPE(self)->tp_free(self);
}

static PyMethodDef atomic_methods[] = {
	{ "__enter__", atomic_enter, METH_NOARGS, NULL },
	{ "__exit__", atomic_exit, METH_VARARGS, NULL },
	{ 0 }
};

PyTypeObject atomic_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_stackless.atomic",
	.tp_basicsize = sizeof(struct atomic),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc =
		PyDoc_STR("A context in which the watchdog does not interrupt "
			  "the tasklet."),
	.tp_new = PyType_GenericNew,
	.tp_dealloc = atomic_dealloc,
	.tp_methods = atomic_methods,
};

#define WITH_KEYWORDS(fn) ((PyCFunction)(void (*)(void))(fn))

PyMethodDef schedule_methods[] = {
	{ "schedule", WITH_KEYWORDS(module_schedule),
	  METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("schedule(retval=stackless.current)\n\n"
		    "Give way to the next tasklet in the run queue; returns "
		    "retval.") },
	{ "schedule_remove", WITH_KEYWORDS(module_schedule_remove),
	  METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("schedule_remove(retval=stackless.current)\n\n"
		    "The same, and leave the run queue.") },
	{ "run", WITH_KEYWORDS(run), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR(
		  "run(timeout=0, threadblock=False, soft=False,\n"
		  "    ignore_nesting=False, totaltimeout=False)\n\n"
		  "Run the other tasklets until none is runnable. With threadblock,\n"
		  "also wait for those that I/O, time or other threads will wake.\n\n"
		  "With a timeout, a tasklet that runs for longer (see the page\n"
		  "README.md for what is counted) is taken out of the run queue and\n"
		  "returned; insert() lets it go on. totaltimeout: all of them\n"
		  "together. ignore_nesting: also inside of calls from C. soft: at the\n"
		  "next switch, so that None is returned.") },
	{ "getcurrent", getcurrent, METH_NOARGS,
	  PyDoc_STR("The tasklet that runs.") },
	{ "getcurrentid", getcurrentid, METH_NOARGS,
	  PyDoc_STR("A number for the tasklet that runs.") },
	{ "getmain", getmain, METH_NOARGS,
	  PyDoc_STR("The main tasklet of this thread.") },
	{ "getruncount", getruncount, METH_NOARGS,
	  PyDoc_STR("How many tasklets are runnable, the running one "
		    "included.") },
	{ "getthreads", getthreads, METH_NOARGS,
	  PyDoc_STR("The ids of all threads, the main thread's first.") },
	{ "get_thread_info", get_thread_info, METH_VARARGS,
	  PyDoc_STR(
		  "get_thread_info(thread_id)\n\n"
		  "The main tasklet of a thread, its current one, and its run "
		  "count.") },
	{ "switch_trap", switch_trap, METH_VARARGS,
	  PyDoc_STR(
		  "switch_trap(change=0)\n\n"
		  "Add to the level of this thread's trap; while that is not 0, "
		  "switching raises RuntimeError. Returns the level before.") },
	{ "enable_softswitch", enable_softswitch, METH_O,
	  PyDoc_STR("enable_softswitch(flag)\n\n"
		    "False: there is no soft switching here.") },
	{ 0 }
};
