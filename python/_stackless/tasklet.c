/* SPDX-License-Identifier: MIT */
/*
 * The type tasklet: making one, binding it to a function, and letting go of it.
 */
#include "stackless.h"

PyObject *TaskletExit;

/* --- creation --- */

static void tasklet_finalize(PyObject *self);
static PyObject *tasklet_call(PyObject *self, PyObject *const *args,
			      size_t n_args, PyObject *names);

struct tasklet *new_tasklet(PyTypeObject *type, struct thread *th)
{
	struct tasklet *t = (struct tasklet *)type->tp_alloc(type, 0);

	if (!t)
		return NULL;
	t->call = tasklet_call;
	t->tempval = Py_NewRef(Py_None);
	t->thread = ref_thread(th);
	t->myself = t;
	return t;
}

/* The slot of a class with a __del__ in Python: always the same function. */
static destructor call_del;

/* A tasklet of such a class is ended first, as any other one. If that takes time, it is
 * finalized again. */
static void finalize_subclass(PyObject *self)
{
	tasklet_finalize(self);
	if (!((struct tasklet *)self)->was_spared)
		call_del(self);
}

static PyObject *tasklet_new(PyTypeObject *type, PyObject *args,
			     PyObject *kwargs)
{
	struct thread *th = get_thread();

	(void)args;
	(void)kwargs;
	if (type->tp_finalize != tasklet_finalize &&
	    type->tp_finalize != finalize_subclass &&
	    (!call_del || call_del == type->tp_finalize)) {
		call_del = type->tp_finalize;
		type->tp_finalize = finalize_subclass;
	}
	return th ? (PyObject *)new_tasklet(type, th) : NULL;
}

/* --- binding --- */

/* The context that the calling tasklet is in; a new reference. */
static PyObject *current_context(struct thread *th)
{
	PyObject *copy;

	if (!th->tstate->context) {
		copy = PyContext_CopyCurrent(); /* makes one, too */
		if (!copy)
			return NULL;
		Py_DECREF(copy);
	}
	return Py_NewRef(th->tstate->context);
}

static int check_bindable(struct tasklet *t, bool is_unbinding)
{
	const char *why = NULL;

	if (is_current(t))
		why = "can't (re)bind the current tasklet";
	else if (is_scheduled(t))
		why = "tasklet is scheduled";
	else if (t->is_main && is_unbinding)
		why = "can't unbind the main tasklet";
	else if (t->life == STARTED)
		why = "tasklet has C state on its stack";
	if (!why)
		return 0;
	PyErr_SetString(PyExc_RuntimeError, why);
	return -1;
}

/* Whether nobody has bound the tasklet meanwhile: the collector and destructors run any
 * code. */
static int check_untouched(const struct tasklet *t)
{
	if (t->life == UNBORN && !t->is_set_up)
		return 0;
	PyErr_SetString(PyExc_RuntimeError,
			"the tasklet was bound by someone else meanwhile");
	return -1;
}

/* The arguments for the function in tempval: the tasklet is alive from here on. */
static int set_up(struct tasklet *t, PyObject *args, PyObject *kwargs)
{
	if (!t->tempval || t->tempval == Py_None) {
		PyErr_SetString(PyExc_RuntimeError,
				"the tasklet was not bound to a function");
		return -1;
	}
	if (!t->thread || !t->thread->tstate) {
		PyErr_SetString(PyExc_RuntimeError, "tasklet has no thread");
		return -1;
	}
	if (!t->context) {
		struct thread *th = get_thread();

		t->context = th ? current_context(th) : NULL;
		if (!t->context)
			return -1;
	}
	if (kwargs && PyDict_GET_SIZE(kwargs)) {
		kwargs = PyDict_Copy(kwargs);
		if (!kwargs)
			return -1;
	} else {
		kwargs = NULL;
	}
	if (check_untouched(t) < 0) {
		Py_XDECREF(kwargs);
		return -1;
	}
	t->function = t->tempval;
	t->tempval = Py_NewRef(Py_None);
	t->args = args ? Py_NewRef(args) : PyTuple_New(0);
	t->kwargs = kwargs;
	t->is_set_up = true;
	return 0;
}

/* None counts as absent. */
static PyObject *present(PyObject *o)
{
	return o == Py_None ? NULL : o;
}

static int bind_to(struct tasklet *t, PyObject *function, PyObject *args,
		   PyObject *kwargs)
{
	struct thread *th = get_thread();

	if (!th)
		return -1;
	if (function && !PyCallable_Check(function)) {
		PyErr_SetString(PyExc_TypeError,
				"tasklet function must be a callable or None");
		return -1;
	}
	if (args && !PyTuple_Check(args)) {
		PyErr_SetString(PyExc_TypeError,
				"tasklet args must be a tuple or None");
		return -1;
	}
	if (kwargs && !PyDict_Check(kwargs)) {
		PyErr_SetString(PyExc_TypeError,
				"tasklet kwargs must be a dictionary or None");
		return -1;
	}
	if (check_bindable(t, !args && !kwargs) < 0)
		return -1;
	if (function) {
		PyObject *context = current_context(th);

		if (!context)
			return -1;
		Py_XSETREF(t->context, context);
	}
	forget_function(t);
	if (check_untouched(t) < 0)
		return -1;
	if (!args && !kwargs) {
		Py_XSETREF(t->tempval,
			   Py_NewRef(function ? function : Py_None));
		return 0;
	}
	if (function) {
		PyObject *before = t->tempval;

		t->tempval = Py_NewRef(function);
		if (set_up(t, args, kwargs) == 0) {
			Py_XDECREF(before);
			return 0;
		}
		Py_XSETREF(t->tempval, before);
		return -1;
	}
	return set_up(t, args, kwargs);
}

static int bind_arguments(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "func", "args", "kwargs", NULL };
	PyObject *f = Py_None, *a = Py_None, *k = Py_None;

	if (likely(PyTuple_GET_SIZE(args) == 1 && !kwargs))
		f = PyTuple_GET_ITEM(args, 0);
	else if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:bind", names,
					      &f, &a, &k))
		return -1;
	return bind_to((struct tasklet *)self, present(f), present(a),
		       present(k));
}

static int tasklet_init(PyObject *self, PyObject *args, PyObject *kwargs)
{
	return bind_arguments(self, args, kwargs);
}

PyObject *tasklet_bind(PyObject *self, PyObject *args, PyObject *kwargs)
{
	return bind_arguments(self, args, kwargs) < 0 ? NULL : Py_NewRef(self);
}

/* tasklet(function), where no subclass is called. */
static PyObject *tasklet_make(PyObject *type, PyObject *const *args,
			      size_t n_args, PyObject *names)
{
	size_t n = (size_t)PyVectorcall_NARGS(n_args);
	PyObject *tuple, *dict, *made;

	if (likely(n == 1 && !names)) {
		made = tasklet_new(&tasklet_type, NULL, NULL);
		if (made && bind_to((struct tasklet *)made, present(args[0]),
				    NULL, NULL) < 0)
			Py_CLEAR(made);
		return made;
	}
	if (!pack_arguments(args, n, names, &tuple, &dict))
		return NULL;
	made = PyType_Type.tp_call(type, tuple, dict);
	Py_DECREF(tuple);
	Py_XDECREF(dict);
	return made;
}

static PyObject *set_up_and_spawn(struct tasklet *t, PyObject *args,
				  PyObject *kwargs)
{
	if (is_alive(t)) {
		PyErr_SetString(PyExc_RuntimeError, "tasklet is alive");
		return NULL;
	}
	if (set_up(t, args, kwargs) < 0)
		return NULL;
	if (spawn(t) < 0) {
		t->tempval = t->function;
		t->function = NULL;
		forget_function(t);
		return NULL;
	}
	return Py_NewRef(t);
}

PyObject *tasklet_setup(PyObject *self, PyObject *args, PyObject *kwargs)
{
	return set_up_and_spawn((struct tasklet *)self, args, kwargs);
}

static PyObject *tasklet_call(PyObject *self, PyObject *const *args,
			      size_t n_args, PyObject *names)
{
	size_t n = (size_t)PyVectorcall_NARGS(n_args);
	PyObject *tuple = NULL, *dict = NULL, *result;

	if ((n || names) && !pack_arguments(args, n, names, &tuple, &dict))
		return NULL;
	result = set_up_and_spawn((struct tasklet *)self, tuple, dict);
	Py_XDECREF(tuple);
	Py_XDECREF(dict);
	return result;
}

/* --- letting go --- */

static int tasklet_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct tasklet *t = (struct tasklet *)self;

	Py_VISIT(t->tempval);
	Py_VISIT(t->function);
	Py_VISIT(t->args);
	Py_VISIT(t->kwargs);
	Py_VISIT(t->context);
	Py_VISIT(t->thrown);
	Py_VISIT(t->trace);
	Py_VISIT(t->profile);
	return traverse_stack(t, visit, arg);
}

/* What the collector has found to be garbage has been finalized, and so has ended. If it
 * has not, it still needs what it has. */
static int tasklet_clear(PyObject *self)
{
	struct tasklet *t = (struct tasklet *)self;

	if (t->life != UNBORN)
		return 0;
	forget_function(t);
	Py_CLEAR(t->context);
	Py_CLEAR(t->tempval);
	return 0;
}

enum { KILLS = 10 };

/* A tasklet that nobody can reach any more is killed, and runs to its end. While it tidies
 * up it may wait: if that is for something unreachable again, the collector finds it, see
 * traverse_stack(). One that catches TaskletExit and pauses again, that often, is kept for
 * ever, and so is one that cannot be switched to. */
static void end_unreachable(struct tasklet *t)
{
	if (t->life == UNBORN) {
		forget_function(t);
		return;
	}
	for (int i = 0; i < KILLS && t->life == STARTED; i++) {
		kill_unreachable(t);
		t->was_spared = is_scheduled(t);
		if (!is_of_this_thread(t) || t->was_spared)
			break;
	}
	if (t->life != UNBORN && !t->is_counted)
		Py_INCREF(t);
}

static void tasklet_finalize(PyObject *self)
{
	struct tasklet *t = (struct tasklet *)self;
	PyObject *type, *value, *traceback;

	t->was_spared = false;
	if (!t->is_set_up || t->is_main)
		return;
	if (!t->thread || !t->thread->tstate)
		return;
	PyErr_Fetch(&type, &value, &traceback);
	end_unreachable(t);
	PyErr_Restore(type, value, traceback);
}

/* A subclass has got its __del__ after this tasklet had been made, and that has not
 * resurrected it. The tasklet still has its stack. The caller gives up the reference to
 * the subclass. */
static void keep_for_ever(PyObject *self)
{
	Py_SET_REFCNT(self, 1);
	Py_INCREF(Py_TYPE(self));
}

static void tasklet_dealloc(PyObject *self)
{
	struct tasklet *t = (struct tasklet *)self;

	if (t->is_set_up && Py_IS_TYPE(self, &tasklet_type) &&
	    PyObject_CallFinalizerFromDealloc(self) < 0)
		return;
	if (t->life != UNBORN) {
		keep_for_ever(self);
		return;
	}
	PyObject_GC_UnTrack(self);
	Py_TRASHCAN_BEGIN(self, tasklet_dealloc) /* tasklets of tasklets */
		if (t->weakrefs) PyObject_ClearWeakRefs(self);
	tasklet_clear(self);
	if (t->thread)
		unref_thread(t->thread);
	Py_TYPE(self)->tp_free(self);
	Py_TRASHCAN_END
}

PyDoc_STRVAR(
	tasklet_doc,
	"tasklet(func=None, args=None, kwargs=None)\n\n"
	"A function with a stack of its own, which takes turns with others on\n"
	"its OS thread. Calling the tasklet gives it arguments and puts it at\n"
	"the end of the run queue.");

PyTypeObject tasklet_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_stackless.tasklet",
	.tp_basicsize = sizeof(struct tasklet),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC |
		    Py_TPFLAGS_BASETYPE | Py_TPFLAGS_HAVE_VECTORCALL,
	.tp_doc = tasklet_doc,
	.tp_new = tasklet_new,
	.tp_init = tasklet_init,
	.tp_call = PyVectorcall_Call,
	.tp_vectorcall = tasklet_make,
	.tp_vectorcall_offset = offsetof(struct tasklet, call),
	.tp_dealloc = tasklet_dealloc,
	.tp_traverse = tasklet_traverse,
	.tp_clear = tasklet_clear,
	.tp_finalize = tasklet_finalize,
	.tp_weaklistoffset = offsetof(struct tasklet, weakrefs),
	.tp_methods = tasklet_methods,
	.tp_getset = tasklet_attributes,
};

int init_tasklets(PyObject *module)
{
	if (PyType_Ready(&tasklet_type) < 0)
		return -1;
	if (!TaskletExit) { /* a builtin name, as it is in Stackless */
		TaskletExit = PyErr_NewExceptionWithDoc(
			"builtins.TaskletExit",
			"The exception that ends a tasklet, without a message.",
			PyExc_SystemExit, NULL);
		if (!TaskletExit ||
		    PyDict_SetItemString(PyEval_GetBuiltins(), "TaskletExit",
					 TaskletExit) < 0)
			return -1;
	}
	if (PyModule_AddObjectRef(module, "TaskletExit", TaskletExit) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "tasklet",
				     (PyObject *)&tasklet_type);
}
