/* SPDX-License-Identifier: MIT */
/*
 * What subclasses of tasklet and channel add to their objects, attributes and slots, is
 * the last field of an object's state, if there is any.
 */
#include "stackless.h"

PyObject *with_additions(PyObject *self, PyObject *state)
{
	PyObject *added, *longer;

	if (!state)
		return NULL;
	added = PyObject_CallMethod((PyObject *)&PyBaseObject_Type,
				    "__getstate__", "O", self);
	if (!added || added == Py_None) {
		Py_XDECREF(added);
		if (!added)
			Py_CLEAR(state);
		return state;
	}
	longer = Py_BuildValue("(N)", added);
	if (longer)
		Py_SETREF(longer, PySequence_Concat(state, longer));
	Py_DECREF(state);
	return longer;
}

static int set_attributes(PyObject *self, PyObject *attributes)
{
	PyObject *dict = PyObject_GetAttrString(self, "__dict__");
	int rc = dict ? PyDict_Update(dict, attributes) : -1;

	Py_XDECREF(dict);
	return rc;
}

/* Setting an attribute may run code of the program's, which may change the slots. */
static int set_slots(PyObject *self, PyObject *slots)
{
	PyObject *own = PyDict_Copy(slots), *name, *value;
	Py_ssize_t i = 0;
	int rc = own ? 0 : -1;

	while (rc == 0 && PyDict_Next(own, &i, &name, &value))
		rc = PyObject_SetAttr(self, name, value);
	Py_XDECREF(own);
	return rc;
}

int set_additions(PyObject *self, PyObject *added)
{
	PyObject *attributes = added, *slots = Py_None;

	if (PyTuple_Check(added) && PyTuple_GET_SIZE(added) == 2) {
		attributes = PyTuple_GET_ITEM(added, 0);
		slots = PyTuple_GET_ITEM(added, 1);
	}
	if ((attributes != Py_None && !PyDict_Check(attributes)) ||
	    (slots != Py_None && !PyDict_Check(slots))) {
		PyErr_Format(PyExc_TypeError,
			     "what a subclass adds to the state of a %s is a "
			     "dict, or two of them, not %R",
			     Py_TYPE(self)->tp_name, added);
		return -1;
	}
	if (attributes != Py_None && set_attributes(self, attributes) < 0)
		return -1;
	return slots == Py_None ? 0 : set_slots(self, slots);
}
