/* SPDX-License-Identifier: MIT */
/*
 * What tasklets do to each other: insert, remove, run, switch, throw, kill.
 */
#include "stackless.h"

static PyObject *runtime_error(const char *why)
{
	PyErr_SetString(PyExc_RuntimeError, why);
	return NULL;
}

/* The value that a tasklet finds when it has the thread again. */
static PyObject *take_tempval(struct tasklet *t)
{
	PyObject *value = t->tempval;

	t->tempval = Py_NewRef(Py_None);
	if (!value)
		return Py_NewRef(t);
	return unlikely(is_bomb(value)) ? explode(value) : value;
}

/* --- insert and remove --- */

/* Makes sure that a tasklet can be put into a run queue. */
static int check_runnable(struct tasklet *t)
{
	const char *why = NULL;

	if (is_blocked(t))
		why = "You cannot run a blocked tasklet";
	else if (is_scheduled(t))
		return 0;
	else if (!has_thread(t))
		why = "Target thread isn't initialized";
	else if (!is_alive(t))
		why = "You cannot run an unbound(dead) tasklet";
	if (!why)
		return 0;
	runtime_error(why);
	return -1;
}

static PyObject *tasklet_insert(PyObject *self, PyObject *unused)
{
	struct tasklet *t = (struct tasklet *)self;
	int rc;

	(void)unused;
	if (!get_thread() || check_runnable(t) < 0)
		return NULL;
	if (t->life == UNBORN)
		return spawn(t) < 0 ? NULL : Py_NewRef(self);
	rc = weft_tasklet_insert(t->handle);
	if (rc < 0) {
		set_error(rc);
		return NULL;
	}
	count(t);
	return Py_NewRef(self);
}

static PyObject *tasklet_remove(PyObject *self, PyObject *unused)
{
	struct tasklet *t = (struct tasklet *)self;
	int rc;

	(void)unused;
	if (!has_thread(t))
		return Py_NewRef(self);
	if (is_blocked(t))
		return runtime_error("You cannot remove a blocked tasklet.");
	if (is_current(t))
		return runtime_error("The current tasklet cannot be removed.");
	if (!is_scheduled(t))
		return Py_NewRef(self);
	if (t->life == FRESH) {
		unspawn(t);
		return Py_NewRef(self);
	}
	rc = weft_tasklet_remove(t->handle);
	if (rc < 0) {
		set_error(rc);
		return NULL;
	}
	/* Another thread carries it out later, and may first run the tasklet. */
	if (is_of_this_thread(t))
		uncount(t);
	return Py_NewRef(self);
}

/* --- run and switch --- */

/* Whether a switch to a tasklet is allowed at all, before it is handed to weft. */
static int check_switch(const struct tasklet *t)
{
	bool is_trapped = weft_switch_trap(0) || this_thread->is_in_callback;

	return is_trapped && is_of_this_thread(t) ? set_error(-EPERM) : 0;
}

/* The tasklet is paused and in no queue: weft has no reference to it. But it needs one
 * until another one has the thread. */
static void leave(struct thread *th, struct tasklet *self)
{
	if (self->is_counted) {
		self->is_counted = false;
		th->left = (PyObject *)self;
	}
}

/* It is runnable, or did not leave at all. */
static void come_back(struct call *c)
{
	if (c->self->is_counted)
		return;
	if (c->thread->left == (PyObject *)c->self) {
		c->thread->left = NULL;
		c->self->is_counted = true;
	} else {
		count(c->self);
	}
}

/* The end of a switch to the caller itself. */
static PyObject *stay(struct thread *th)
{
	struct call c = { .thread = th, .self = th->current };

	if (unlikely(c.self->thrown) && raise_thrown(&c, 0) < 0)
		return NULL;
	return take_tempval(c.self);
}

PyObject *switch_to(struct tasklet *t, bool pauses)
{
	struct thread *th = get_thread();
	struct tasklet *self;
	bool was_unborn = t->life == UNBORN, was_counted = t->is_counted;
	struct call c;
	long rc;

	if (!th || check_runnable(t) < 0)
		return NULL;
	if (!is_of_this_thread(t) && pauses)
		return runtime_error("can't switch to a different thread.");
	self = th->current;
	if (t == self)
		return stay(th);
	if (!may_switch(th) || (was_unborn && check_switch(t) < 0))
		return NULL;
	if (was_unborn && spawn(t) < 0)
		return NULL;
	count(t);
	begin_call_of(&c, th);
	if (pauses)
		leave(th, self);
	rc = pauses ? weft_tasklet_switch(t->handle)
		    : weft_tasklet_run(t->handle);
	come_back(&c);
	if (rc == -EPERM && was_unborn)
		unspawn(t);
	else if (rc == -EPERM && !was_counted)
		uncount(t);
	return end_switch(&c, rc) < 0 ? NULL : take_tempval(self);
}

static PyObject *tasklet_run(PyObject *self, PyObject *unused)
{
	(void)unused;
	return switch_to((struct tasklet *)self, false);
}

static PyObject *tasklet_switch(PyObject *self, PyObject *unused)
{
	(void)unused;
	return switch_to((struct tasklet *)self, true);
}

/* schedule() and schedule_remove(): rules R4 and R5. */
PyObject *schedule(PyObject *value, bool remove, PyObject *const *stack_top)
{
	struct thread *th = get_thread();
	struct call c;
	long rc;

	if (!th || !may_switch(th))
		return NULL;
	replace_tempval(th->current, value != (PyObject *)th->current
					     ? Py_XNewRef(value)
					     : NULL);
	begin_call_of(&c, th);
	c.self->stack_top = stack_top;
	if (remove) {
		leave(th, c.self);
		rc = weft_schedule_remove();
		come_back(&c);
	} else {
		rc = weft_schedule();
	}
	if (end_switch(&c, rc) == 0)
		return take_tempval(c.self);
	Py_XSETREF(c.self->tempval, Py_NewRef(Py_None));
	return NULL;
}

/* --- throw and kill --- */

/* TaskletExit has nothing left to do in a tasklet that has ended. One that was left
 * behind by its thread has not. */
static PyObject *throw_at_dead(struct tasklet *t, PyObject *bomb)
{
	PyObject *type = ((struct bomb *)bomb)->type;
	bool is_exit = type && PyExceptionClass_Check(type) &&
		       PyObject_IsSubclass(type, TaskletExit) == 1;

	PyErr_Clear();
	Py_DECREF(bomb);
	if (is_exit && !t->is_set_up)
		Py_RETURN_NONE;
	return runtime_error(has_thread(t)
				     ? "You cannot throw to a dead tasklet"
				     : "tasklet has no thread");
}

PyObject *throw_bomb(struct tasklet *t, PyObject *bomb, bool pending)
{
	struct thread *th = get_thread();
	bool was_counted = t->is_counted, has_failed;
	PyObject *before;
	struct call c;
	long rc;

	if (!th) {
		Py_DECREF(bomb);
		return NULL;
	}
	if (t == th->current)
		return explode(bomb);
	if (!is_alive(t) || !has_thread(t))
		return throw_at_dead(t, bomb);
	if ((!pending && !may_switch(th)) ||
	    (t->life == UNBORN &&
	     ((!pending && check_switch(t) < 0) || spawn(t) < 0))) {
		Py_DECREF(bomb);
		return NULL;
	}
	Py_INCREF(t);
	count(t);
	before = t->thrown;
	t->thrown = Py_NewRef(bomb);
	if (!pending)
		begin_call_of(&c, th);
	rc = weft_tasklet_raise(t->handle, ERR_THROWN,
				pending ? WEFT_PENDING : 0);
	/* Else it is the caller that has been killed meanwhile. */
	has_failed = rc < 0 && t->thrown == bomb;
	if (has_failed) {
		t->thrown = before;
		before = bomb;
	}
	if (!pending)
		rc = end_switch(&c, rc);
	else if (rc < 0)
		set_error(rc);
	if (has_failed && !was_counted)
		uncount(t);
	Py_XDECREF(before);
	Py_DECREF(bomb);
	Py_DECREF(t);
	return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *tasklet_throw(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "exc", "val", "tb", "pending", NULL };
	PyObject *type, *value = Py_None, *traceback = Py_None, *bomb;
	int pending = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|OOp:throw", names,
					 &type, &value, &traceback, &pending))
		return NULL;
	bomb = bomb_from_raise(type, value, traceback);
	return bomb ? throw_bomb((struct tasklet *)self, bomb, pending) : NULL;
}

static PyObject *tasklet_raise_exception(PyObject *self, PyObject *args)
{
	PyObject *rest, *bomb;

	if (PyTuple_GET_SIZE(args) < 1) {
		PyErr_SetString(PyExc_TypeError,
				"raise_exception() takes at least 1 argument");
		return NULL;
	}
	rest = PyTuple_GetSlice(args, 1, PyTuple_GET_SIZE(args));
	if (!rest)
		return NULL;
	bomb = bomb_from_class(PyTuple_GET_ITEM(args, 0), rest,
			       "tasklet.raise_exception");
	Py_DECREF(rest);
	if (!bomb)
		return NULL;
	/* Unlike throw(). */
	if (!is_alive((struct tasklet *)self))
		return explode(bomb);
	return throw_bomb((struct tasklet *)self, bomb, false);
}

/* A tasklet that has not been handed to weft needs not run for that, if it is to end at
 * once, and one whose thread is gone cannot. */
PyObject *kill_tasklet(struct tasklet *t, bool pending)
{
	PyObject *bomb;

	if (!get_thread())
		return NULL;
	if (t->is_set_up &&
	    ((t->life == UNBORN && !pending) || !has_thread(t))) {
		forget_function(t);
		t->channel = NULL;
		Py_RETURN_NONE;
	}
	bomb = bomb_from_raise(TaskletExit, NULL, NULL);
	return bomb ? throw_bomb(t, bomb, pending) : NULL;
}

void kill_unreachable(struct tasklet *t)
{
	struct thread *th = get_thread();
	PyObject *bomb = bomb_from_raise(TaskletExit, NULL, NULL);
	bool can_switch;
	struct call c;

	if (!bomb || !th) {
		Py_XDECREF(bomb);
		PyErr_WriteUnraisable((PyObject *)t);
		return;
	}
	count(t);
	Py_XSETREF(t->thrown, bomb);
	can_switch = may_switch(th);
	PyErr_Clear();
	begin_call_of(&c, th);
	if (!can_switch ||
	    weft_tasklet_raise(t->handle, ERR_THROWN, 0) == -EPERM)
		weft_tasklet_raise(t->handle, ERR_THROWN, WEFT_PENDING);
	return_to_python(&c);
}

static PyObject *tasklet_kill(PyObject *self, PyObject *args, PyObject *kwargs)
{
	static char *names[] = { "pending", NULL };
	int pending = 0;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|p:kill", names,
					 &pending))
		return NULL;
	return kill_tasklet((struct tasklet *)self, pending);
}

/* --- the rest --- */

/* Only a tasklet that has not run, and is in no queue, can go to another thread. */
static PyObject *tasklet_bind_thread(PyObject *self, PyObject *args)
{
	struct tasklet *t = (struct tasklet *)self;
	struct thread *th = get_thread();
	PyObject *number = NULL;

	if (!th ||
	    !PyArg_ParseTuple(args, "|O!:bind_thread", &PyLong_Type, &number))
		return NULL;
	if (number) {
		unsigned long id = PyLong_AsUnsignedLongMask(number);

		if (PyErr_Occurred())
			return NULL;
		if (id != (unsigned long)-1)
			th = find_thread(id);
		if (!th) {
			PyErr_SetString(PyExc_ValueError, "bad thread");
			return NULL;
		}
	}
	if (t->thread == th)
		Py_RETURN_NONE;
	if (has_thread(t) && is_scheduled(t) && !is_blocked(t))
		return runtime_error("can't (re)bind a runnable tasklet");
	if (t->life == STARTED)
		return runtime_error("tasklet has C state on its stack");
	if (t->life != UNBORN) { /* it has ended with its thread */
		t->life = UNBORN;
		t->handle = (weft_tasklet){ .task = NULL };
		t->watched_link = NULL;
		forget_function(t);
	}
	t->n_exits = 0;
	ref_thread(th);
	if (t->thread)
		unref_thread(t->thread);
	t->thread = th;
	Py_RETURN_NONE;
}

static PyObject *set_flag(bool *flag, PyObject *value, const char *caller)
{
	bool before = *flag;
	int on;

	if (!PyLong_Check(value)) {
		PyErr_Format(PyExc_TypeError,
			     "%s needs exactly one bool or integer", caller);
		return NULL;
	}
	on = PyObject_IsTrue(value);
	if (on < 0)
		return NULL;
	*flag = on;
	return PyBool_FromLong(before);
}

static PyObject *tasklet_set_atomic(PyObject *self, PyObject *value)
{
	return set_flag(&((struct tasklet *)self)->atomic, value, "set_atomic");
}

static PyObject *tasklet_set_ignore_nesting(PyObject *self, PyObject *value)
{
	return set_flag(&((struct tasklet *)self)->ignore_nesting, value,
			"set_ignore_nesting");
}

/* --- pickling: of a tasklet that does not run, and so is its function alone. The state
 * has the fields of Stackless's: flags, tempval, nesting level, frames, and four for an
 * exception that is handled. Where the frames are there, here is the call to be made. A
 * ninth has what a subclass adds. */

enum {
	FLAG_ATOMIC = 1 << 2,
	FLAG_IGNORE_NESTING = 1 << 3,
	FLAG_BLOCK_TRAP = 1 << 5
};

static int get_flags(const struct tasklet *t)
{
	return (t->atomic ? FLAG_ATOMIC : 0) |
	       (t->ignore_nesting ? FLAG_IGNORE_NESTING : 0) |
	       (t->block_trap ? FLAG_BLOCK_TRAP : 0);
}

static PyObject *tasklet_reduce(PyObject *self, PyObject *unused)
{
	struct tasklet *t = (struct tasklet *)self;
	PyObject *none = Py_None, *call, *state;

	(void)unused;
	if (t->life == STARTED) {
		PyErr_Format(
			PyExc_NotImplementedError,
			"a tasklet that has run cannot be pickled: its "
			"frames are on a C stack, which CPython cannot save "
			"(%R)",
			self);
		return NULL;
	}
	if (t->function)
		call = Py_BuildValue("[(OOO)]", t->function,
				     t->args ? t->args : none,
				     t->kwargs ? t->kwargs : none);
	else
		call = PyList_New(0);
	if (!call)
		return NULL;
	state = Py_BuildValue("(iOiNOOOO)", get_flags(t),
			      t->tempval ? t->tempval : none, 0, call, none,
			      none, none, none);
	state = with_additions(self, state);
	return state ? Py_BuildValue("(O()N)", Py_TYPE(self), state) : NULL;
}

static PyObject *tasklet_setstate(PyObject *self, PyObject *state)
{
	struct tasklet *t = (struct tasklet *)self;
	int flags, nesting;
	PyObject *tempval, *call, *exc[4], *added = NULL, *result;

	if (!PyTuple_Check(state)) {
		PyErr_Format(PyExc_TypeError,
			     "the state of a tasklet is a tuple, not %s",
			     Py_TYPE(state)->tp_name);
		return NULL;
	}
	if (!PyArg_ParseTuple(state, "iOiO!OOOO|O:tasklet", &flags, &tempval,
			      &nesting, &PyList_Type, &call, &exc[0], &exc[1],
			      &exc[2], &exc[3], &added))
		return NULL;
	if (is_alive(t))
		return runtime_error("tasklet is alive");
	if (PyList_GET_SIZE(call) > 0) {
		PyObject *args = PyList_GET_ITEM(call, 0);

		if (PyList_GET_SIZE(call) > 1 || !PyTuple_Check(args) ||
		    PyTuple_GET_SIZE(args) != 3) {
			PyErr_SetString(PyExc_NotImplementedError,
					"the state of a tasklet that has run: "
					"CPython cannot make its frames");
			return NULL;
		}
		result = PyObject_CallMethod(self, "bind", "O", args);
		if (!result)
			return NULL;
		Py_DECREF(result);
	}
	if (added && set_additions(self, added) < 0)
		return NULL;
	Py_XSETREF(t->tempval, Py_NewRef(tempval));
	t->atomic = flags & FLAG_ATOMIC;
	t->ignore_nesting = flags & FLAG_IGNORE_NESTING;
	t->block_trap = flags & FLAG_BLOCK_TRAP;
	return Py_NewRef(self);
}

PyObject *tasklet_bind(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_setup(PyObject *self, PyObject *args, PyObject *kwargs);
PyObject *tasklet_context_run(PyObject *self, PyObject *const *args,
			      Py_ssize_t n, PyObject *names);
PyObject *tasklet_set_context(PyObject *self, PyObject *context);

#define WITH_KEYWORDS(fn) ((PyCFunction)(void (*)(void))(fn))

PyMethodDef tasklet_methods[] = {
	{ "bind", WITH_KEYWORDS(tasklet_bind), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR(
		  "bind(func=None, args=None, kwargs=None)\n\n"
		  "Bind the tasklet to a function; with arguments, it is alive, "
		  "and paused.") },
	{ "setup", WITH_KEYWORDS(tasklet_setup), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR(
		  "setup(*args, **kwargs)\n\n"
		  "Give the function its arguments, and put the tasklet at the "
		  "end of the run queue.") },
	{ "insert", tasklet_insert, METH_NOARGS,
	  PyDoc_STR("Put the tasklet at the end of its thread's run queue.") },
	{ "remove", tasklet_remove, METH_NOARGS,
	  PyDoc_STR("Take the tasklet out of the run queue.") },
	{ "run", tasklet_run, METH_NOARGS,
	  PyDoc_STR("Switch to the tasklet now; the caller stays in the run "
		    "queue.") },
	{ "switch", tasklet_switch, METH_NOARGS,
	  PyDoc_STR("Switch to the tasklet now; the caller leaves the run "
		    "queue.") },
	{ "throw", WITH_KEYWORDS(tasklet_throw), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR(
		  "throw(exc, val=None, tb=None, pending=False)\n\n"
		  "Raise an exception in the tasklet; at once, or if pending, "
		  "when it runs next.") },
	{ "raise_exception", tasklet_raise_exception, METH_VARARGS,
	  PyDoc_STR("raise_exception(exc, *args)\n\n"
		    "Raise exc(*args) in the tasklet, at once; in the caller "
		    "if the tasklet has ended.") },
	{ "kill", WITH_KEYWORDS(tasklet_kill), METH_VARARGS | METH_KEYWORDS,
	  PyDoc_STR("kill(pending=False)\n\n"
		    "Raise TaskletExit in the tasklet.") },
	{ "bind_thread", tasklet_bind_thread, METH_VARARGS,
	  PyDoc_STR("bind_thread(thread_id=-1)\n\n"
		    "Let the tasklet, which has not run yet, belong to another "
		    "thread.") },
	{ "set_atomic", tasklet_set_atomic, METH_O,
	  PyDoc_STR(
		  "set_atomic(flag)\n\n"
		  "Whether the watchdog must not interrupt the tasklet; returns "
		  "the value before.") },
	{ "set_ignore_nesting", tasklet_set_ignore_nesting, METH_O,
	  PyDoc_STR(
		  "set_ignore_nesting(flag)\n\n"
		  "Whether the watchdog may interrupt the tasklet inside of C "
		  "functions; returns the value before.") },
	{ "set_context", tasklet_set_context, METH_O,
	  PyDoc_STR("set_context(context)\n\n"
		    "Let the tasklet run in another contextvars.Context.") },
	{ "context_run", WITH_KEYWORDS(tasklet_context_run),
	  METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("context_run(callable, *args, **kwargs)\n\n"
		    "Call the callable in the tasklet's context.") },
	{ "__reduce__", tasklet_reduce, METH_NOARGS, NULL },
	{ "__setstate__", tasklet_setstate, METH_O, NULL },
	{ 0 }
};
