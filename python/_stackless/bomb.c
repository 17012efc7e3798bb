/* SPDX-License-Identifier: MIT */
/*
 * The type bomb: an exception that is passed as a value. Whoever gets it raises it.
 */
#include "stackless.h"

static struct bomb *memory_bomb;

static struct bomb *new_bomb(PyTypeObject *type)
{
	return (struct bomb *)type->tp_alloc(type, 0);
}

static int bomb_traverse(PyObject *self, visitproc visit, void *arg)
{
	struct bomb *b = (struct bomb *)self;

	Py_VISIT(b->type);
	Py_VISIT(b->value);
	Py_VISIT(b->traceback);
	return 0;
}

static int bomb_clear(PyObject *self)
{
	struct bomb *b = (struct bomb *)self;

	Py_CLEAR(b->type);
	Py_CLEAR(b->value);
	Py_CLEAR(b->traceback);
	return 0;
}

static void bomb_dealloc(PyObject *self)
{
	PyObject_GC_UnTrack(self);
	Py_TRASHCAN_BEGIN(self, bomb_dealloc) /* bombs of bombs */
		bomb_clear(self);
	Py_TYPE(self)->tp_free(self);
	Py_TRASHCAN_END
}

/* bomb(type, value, traceback), or the three in a tuple. */
static PyObject *bomb_new(PyTypeObject *type, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "type", "value", "traceback", NULL };
	PyObject *t = NULL, *v = NULL, *tb = NULL;
	struct bomb *b;

	if (PyTuple_GET_SIZE(args) == 1 &&
	    PyTuple_Check(PyTuple_GET_ITEM(args, 0)))
		args = PyTuple_GET_ITEM(args, 0);
	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|OOO:bomb", names, &t,
					 &v, &tb))
		return NULL;
	t = t == Py_None ? NULL : t;
	v = v == Py_None ? NULL : v;
	tb = tb == Py_None ? NULL : tb;
	if (t && !PyExceptionClass_Check(t))
		return PyErr_Format(PyExc_TypeError,
				    "the type of a bomb is a subclass of "
				    "BaseException, not %R",
				    t);
	if (tb && !PyTraceBack_Check(tb))
		return PyErr_Format(PyExc_TypeError,
				    "the traceback of a bomb is not %R", tb);
	b = new_bomb(type);
	if (!b)
		return NULL;
	b->type = Py_XNewRef(t);
	b->value = Py_XNewRef(v);
	b->traceback = Py_XNewRef(tb);
	return (PyObject *)b;
}

PyObject *bomb_from_error(void)
{
	struct bomb *b;
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	b = new_bomb(&bomb_type);
	if (!b) {
		PyErr_Clear();
		Py_XDECREF(type);
		Py_XDECREF(value);
		Py_XDECREF(traceback);
		return Py_NewRef(memory_bomb);
	}
	b->type = type;
	b->value = value;
	b->traceback = traceback;
	return (PyObject *)b;
}

PyObject *bomb_from_raise(PyObject *type, PyObject *value, PyObject *traceback)
{
	struct bomb *b;

	if (traceback == Py_None)
		traceback = NULL;
	if (value == Py_None)
		value = NULL;
	if (traceback && !PyTraceBack_Check(traceback)) {
		PyErr_SetString(PyExc_TypeError,
				"third argument must be a traceback object");
		return NULL;
	}
	if (PyExceptionInstance_Check(type)) {
		if (value) {
			PyErr_SetString(PyExc_TypeError,
					"instance exception may not have a "
					"separate value");
			return NULL;
		}
		value = type;
		type = PyExceptionInstance_Class(type);
	} else if (!PyExceptionClass_Check(type)) {
		PyErr_Format(PyExc_TypeError,
			     "exceptions must be classes, or instances, not %s",
			     Py_TYPE(type)->tp_name);
		return NULL;
	}
	b = new_bomb(&bomb_type);
	if (!b)
		return NULL;
	b->type = Py_NewRef(type);
	b->value = Py_XNewRef(value);
	if (!traceback && value && PyExceptionInstance_Check(value))
		b->traceback = PyException_GetTraceback(value);
	else
		b->traceback = Py_XNewRef(traceback);
	return (PyObject *)b;
}

PyObject *bomb_from_class(PyObject *class, PyObject *args, const char *caller)
{
	struct bomb *b;

	if (!PyExceptionClass_Check(class)) {
		PyErr_Format(
			PyExc_TypeError,
			"%s needs a subclass of BaseException as its first "
			"parameter, not %R",
			caller, class);
		return NULL;
	}
	b = new_bomb(&bomb_type);
	if (!b)
		return NULL;
	b->type = Py_NewRef(class);
	b->value = Py_NewRef(args);
	return (PyObject *)b;
}

PyObject *explode(PyObject *bomb)
{
	struct bomb *b = (struct bomb *)bomb;
	PyObject *type = Py_XNewRef(b->type);

	if (!type) {
		type = Py_NewRef(PyExc_SystemError);
		PyErr_Restore(type, PyUnicode_FromString("an empty bomb"),
			      NULL);
	} else {
		PyErr_Restore(type, Py_XNewRef(b->value),
			      Py_XNewRef(b->traceback));
	}
	Py_DECREF(bomb);
	return NULL;
}

/* Exceptions are pickled with their modules; tracebacks are not. */
static PyObject *bomb_reduce(PyObject *self, PyObject *unused)
{
	struct bomb *b = (struct bomb *)self;

	(void)unused;
	return Py_BuildValue("(O(OOO))", Py_TYPE(self),
			     b->type ? b->type : Py_None,
			     b->value ? b->value : Py_None,
			     b->traceback ? b->traceback : Py_None);
}

static PyMemberDef members[] = {
	{ "type", T_OBJECT, offsetof(struct bomb, type), READONLY, NULL },
	{ "value", T_OBJECT, offsetof(struct bomb, value), READONLY, NULL },
	{ "traceback", T_OBJECT, offsetof(struct bomb, traceback), READONLY,
	  NULL },
	{ 0 }
};

static PyMethodDef methods[] = {
	{ "__reduce__", bomb_reduce, METH_NOARGS, NULL }, { 0 }
};

PyDoc_STRVAR(
	bomb_doc,
	"bomb(type=None, value=None, traceback=None)\n\n"
	"An exception as a value. A tasklet whose tempval is a bomb raises\n"
	"the exception when it runs next.");

PyTypeObject bomb_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_stackless.bomb",
	.tp_basicsize = sizeof(struct bomb),
	.tp_flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC,
	.tp_doc = bomb_doc,
	.tp_new = bomb_new,
	.tp_dealloc = bomb_dealloc,
	.tp_traverse = bomb_traverse,
	.tp_clear = bomb_clear,
	.tp_methods = methods,
	.tp_members = members,
};

void forget_bombs(void)
{
	memory_bomb = NULL;
}

int init_bombs(void)
{
	if (PyType_Ready(&bomb_type) < 0)
		return -1;
	if (!memory_bomb) {
		memory_bomb = new_bomb(&bomb_type);
		if (!memory_bomb)
			return -1;
		memory_bomb->type = Py_NewRef(PyExc_MemoryError);
	}
	return 0;
}
