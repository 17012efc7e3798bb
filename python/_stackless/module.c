/* SPDX-License-Identifier: MIT */
/*
 * The module _stackless. Its interface is that of the module stackless, which adds the
 * attributes of a module.
 */
#include "stackless.h"

/* Tasklets belong to the threads of one interpreter. */
static int check_interpreter(void)
{
	if (PyInterpreterState_Get() == PyInterpreterState_Main())
		return 0;
	PyErr_SetString(
		PyExc_ImportError,
		"stackless can be used in the main interpreter only, not "
		"in a subinterpreter");
	return -1;
}

/* --- a program can end its interpreter, and begin another one --- */

static struct {
	PyTypeObject *type, before;
} types[] = {
	{ .type = &tasklet_type },  { .type = &channel_type },
	{ .type = &bomb_type },     { .type = &atomic_type },
	{ .type = &deadline_type }, { .type = &probe_type },
};

/* What PyType_Ready() has put into the types is the last interpreter's, and so they are
 * again what they were before. */
static void renew_types(void)
{
	for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
		if (types[i].before.tp_name)
			*types[i].type = types[i].before;
		else
			types[i].before = *types[i].type;
	}
}

/* Objects of the last interpreter's cannot be used, nor given back. */
static int begin_interpreter(void)
{
	PyObject *dict = PyInterpreterState_GetDict(PyInterpreterState_Get());
	PyObject *mark = PyUnicode_FromString("_stackless");
	int has_begun = -1;

	if (dict && mark)
		has_begun = PyDict_Contains(dict, mark);
	if (has_begun == 0 && PyDict_SetItem(dict, mark, Py_True) < 0)
		has_begun = -1;
	Py_XDECREF(mark);
	if (has_begun == 0) {
		renew_types();
		forget_bombs();
		forget_seeds();
		forget_callbacks();
		forget_threads();
		TaskletExit = NULL;
	}
	if (has_begun < 0 && !PyErr_Occurred())
		PyErr_NoMemory();
	return has_begun < 0 ? -1 : 0;
}

static int fill_module(PyObject *module)
{
	if (check_interpreter() < 0 || begin_interpreter() < 0 ||
	    init_collection() < 0 || init_bombs() < 0 ||
	    init_tasklets(module) < 0 || init_channels(module) < 0 ||
	    init_io(module) < 0 || PyType_Ready(&atomic_type) < 0 ||
	    PyModule_AddObjectRef(module, "atomic", (PyObject *)&atomic_type) <
		    0 ||
	    PyModule_AddObjectRef(module, "bomb", (PyObject *)&bomb_type) < 0 ||
	    PyModule_AddFunctions(module, schedule_methods) < 0 ||
	    PyModule_AddFunctions(module, callback_methods) < 0)
		return -1;
	return init_threads(module);
}

static PyModuleDef_Slot slots[] = {
	{ Py_mod_exec, fill_module },
#if PY_VERSION_HEX >= 0x030c0000
	{ Py_mod_multiple_interpreters,
	  Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED },
#endif
	{ 0 }
};

static struct PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_stackless",
	.m_doc = PyDoc_STR("Tasklets and channels, on weft."),
	.m_slots = slots,
};

PyMODINIT_FUNC PyInit__stackless(void);

PyMODINIT_FUNC PyInit__stackless(void)
{
	return PyModuleDef_Init(&definition);
}
