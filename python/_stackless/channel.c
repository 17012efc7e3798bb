/* SPDX-License-Identifier: MIT */
/*
 * The type channel. A value is passed as a pointer, with its reference: from the sender
 * that has it to the receiver that gets it.
 *
 * close() differs from weft_channel_close(): those who wait go on waiting, and can be
 * served by others who come. So it is a flag here.
 */
#include "stackless.h"

static struct channel *of(PyObject *self)
{
	return (struct channel *)self;
}

static PyObject *channel_new(PyTypeObject *type, PyObject *args,
			     PyObject *kwargs)
{
	struct channel *ch;

	(void)args;
	(void)kwargs;
	if (!get_thread())
		return NULL;
	ch = (struct channel *)type->tp_alloc(type, 0);
	if (!ch)
		return NULL;
	ch->preference = -1;
	ch->channel = weft_channel_new(sizeof(PyObject *), 0);
	if (!ch->channel) {
		Py_DECREF(ch);
		return PyErr_NoMemory();
	}
	weft_channel_set_data(ch->channel, ch);
	return (PyObject *)ch;
}

/* Nobody waits in it: a tasklet that does has a reference to it. */
static void channel_dealloc(PyObject *self)
{
	struct channel *ch = of(self);

	PyObject_GC_UnTrack(self);
	if (ch->weakrefs)
		PyObject_ClearWeakRefs(self);
	weft_channel_unref(ch->channel);
	Py_TYPE(self)->tp_free(self);
}

/* --- send and receive --- */

/* What stands in the way of a call that would have to wait. */
static int check_wait(struct channel *ch, struct tasklet *t, int direction)
{
	if (weft_channel_balance(ch->channel) * direction < 0)
		return 0;
	if (t->block_trap)
		PyErr_SetString(PyExc_RuntimeError,
				"this tasklet does not like to be blocked.");
	else if (ch->closing)
		PyErr_SetString(PyExc_ValueError,
				"Send/receive operation on a closed channel");
	else
		return 0;
	return -1;
}

static inline bool begin_channel_call(struct call *c, struct channel *ch,
				      signed char direction)
{
	struct thread *th = get_thread();

	if (unlikely(!th))
		return false;
	if (unlikely(ch->closing || th->current->block_trap) &&
	    check_wait(ch, th->current, direction) < 0)
		return false;
	begin_call_of(c, th);
	if (unlikely(c->saved.chunk != c->self->root) && !stays_begun(c))
		return false;
	c->self->channel = ch;
	c->self->direction = direction;
	return true;
}

/* Takes the reference to @value. */
static int send_value(struct channel *ch, PyObject *value,
		      PyObject *const *stack_top)
{
	bool is_shown = unlikely(is_channel_watched) && get_thread();
	struct call c;
	int rc;
	long result;

	if (unlikely(is_shown)) /* the callback may ask for it */
		replace_tempval(this_thread->current, Py_NewRef(value));
	if (unlikely(!begin_channel_call(&c, ch, 1))) {
		if (is_shown)
			replace_tempval(this_thread->current,
					Py_NewRef(Py_None));
		Py_DECREF(value);
		return -1;
	}
	c.self->stack_top = stack_top;
	c.self->sending = value;
	rc = weft_channel_send(ch->channel, &value);
	result = end_switch(&c, rc);
	c.self->channel = NULL;
	if (unlikely(is_shown))
		replace_tempval(c.self, Py_NewRef(Py_None));
	if (unlikely(rc < 0)) /* it was not taken */
		Py_DECREF(value);
	return (int)result;
}

static PyObject *receive_value(struct channel *ch, PyObject *const *stack_top)
{
	PyObject *value;
	struct call c;
	int rc;

	if (unlikely(!begin_channel_call(&c, ch, -1)))
		return NULL;
	c.self->stack_top = stack_top;
	rc = weft_channel_receive(ch->channel, &value);
	if (unlikely(end_switch(&c, rc) < 0)) {
		c.self->channel = NULL;
		if (rc == 0)
			Py_DECREF(value);
		return NULL;
	}
	c.self->channel = NULL;
	return unlikely(is_bomb(value)) ? explode(value) : value;
}

static int check_number(const char *name, Py_ssize_t n, Py_ssize_t expected)
{
	if (likely(n == expected))
		return 0;
	PyErr_Format(
		PyExc_TypeError,
		expected ? "channel.%s() takes exactly one argument (%zd given)"
			 : "channel.%s() takes no arguments (%zd given)",
		name, n);
	return -1;
}

static PyObject *channel_send(PyObject *self, PyObject *const *args,
			      Py_ssize_t n)
{
	if (check_number("send", n, 1) < 0 ||
	    send_value(of(self), Py_NewRef(args[0]), args + 1) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *channel_receive(PyObject *self, PyObject *const *args,
				 Py_ssize_t n)
{
	if (check_number("receive", n, 0) < 0)
		return NULL;
	return receive_value(of(self), args);
}

static PyObject *channel_send_exception(PyObject *self, PyObject *const *args,
					Py_ssize_t n)
{
	PyObject *rest, *none, *bomb;

	if (n < 1) {
		PyErr_SetString(PyExc_TypeError,
				"send_exception() takes at least 1 argument");
		return NULL;
	}
	if (!pack_arguments(args + 1, (size_t)n - 1, NULL, &rest, &none))
		return NULL;
	bomb = bomb_from_class(args[0], rest, "channel.send_exception");
	Py_DECREF(rest);
	if (!bomb || send_value(of(self), bomb, args + n) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *channel_send_throw(PyObject *self, PyObject *const *args,
				    Py_ssize_t n, PyObject *keywords)
{
	static char *names[] = { "exc", "val", "tb", NULL };
	PyObject *exc, *val = Py_None, *tb = Py_None;
	PyObject *tuple, *dict, *bomb;
	bool is_right;

	if (!pack_arguments(args, (size_t)n, keywords, &tuple, &dict))
		return NULL;
	/* The caller of this keeps them. */
	is_right = PyArg_ParseTupleAndKeywords(tuple, dict, "O|OO:send_throw",
					       names, &exc, &val, &tb);
	Py_DECREF(tuple);
	Py_XDECREF(dict);
	if (!is_right)
		return NULL;
	if (keywords)
		n += PyTuple_GET_SIZE(keywords);
	bomb = bomb_from_raise(exc, val, tb);
	if (!bomb || send_value(of(self), bomb, args + n) < 0)
		return NULL;
	Py_RETURN_NONE;
}

static PyObject *channel_send_sequence(PyObject *self, PyObject *const *args,
				       Py_ssize_t n)
{
	Py_ssize_t n_sent = 0;
	PyObject *iterator, *item;

	if (check_number("send_sequence", n, 1) < 0)
		return NULL;
	iterator = PyObject_GetIter(args[0]);
	if (!iterator)
		return NULL;
	while ((item = PyIter_Next(iterator))) {
		if (send_value(of(self), item, args + n) < 0)
			break;
		n_sent++;
	}
	Py_DECREF(iterator);
	return PyErr_Occurred() ? NULL : PyLong_FromSsize_t(n_sent);
}

/* --- iteration: until the channel is closed and nobody sends any more --- */

static PyObject *channel_iternext(PyObject *self)
{
	struct channel *ch = of(self);

	if (ch->closing && weft_channel_balance(ch->channel) <= 0)
		return NULL;
	return receive_value(ch, is_for(__builtin_return_address(0)) ? in_for
								     : NULL);
}

/* --- attributes --- */

static PyObject *channel_close(PyObject *self, PyObject *unused)
{
	(void)unused;
	of(self)->closing = true;
	Py_RETURN_NONE;
}

static PyObject *channel_open(PyObject *self, PyObject *unused)
{
	(void)unused;
	of(self)->closing = false;
	Py_RETURN_NONE;
}

static PyObject *get_closing(PyObject *self, void *unused)
{
	(void)unused;
	return PyBool_FromLong(of(self)->closing);
}

static PyObject *get_closed(PyObject *self, void *unused)
{
	struct channel *ch = of(self);

	(void)unused;
	take_in();
	return PyBool_FromLong(ch->closing &&
			       weft_channel_balance(ch->channel) == 0);
}

static PyObject *get_balance(PyObject *self, void *unused)
{
	(void)unused;
	take_in();
	return PyLong_FromLong(weft_channel_balance(of(self)->channel));
}

/* The tasklet of another thread can be named only if it has a record here. */
static PyObject *get_queue(PyObject *self, void *unused)
{
	weft_tasklet first;
	struct tasklet *t = NULL;

	(void)unused;
	take_in();
	if (weft_channel_waiters(of(self)->channel, &first, 1))
		t = tasklet_of(first);
	return Py_NewRef(t ? (PyObject *)t : Py_None);
}

static int to_number(PyObject *value, const char *what, long *number)
{
	if (!value || !PyLong_Check(value)) {
		PyErr_Format(PyExc_TypeError, "%s must be set to %s", what,
			     what[0] == 'p' ? "an integer"
					    : "a bool or integer");
		return -1;
	}
	*number = PyLong_AsLong(value);
	return *number == -1 && PyErr_Occurred() ? -1 : 0;
}

static PyObject *get_preference(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(of(self)->preference);
}

static int set_preference(PyObject *self, PyObject *value, void *unused)
{
	struct channel *ch = of(self);
	long n;

	(void)unused;
	if (to_number(value, "preference", &n) < 0)
		return -1;
	ch->preference = n > 0 ? 1 : n < 0 ? -1 : 0;
	weft_channel_set_preference(ch->channel, ch->preference);
	return 0;
}

static PyObject *get_schedule_all(PyObject *self, void *unused)
{
	(void)unused;
	return PyLong_FromLong(of(self)->schedule_all);
}

static int set_schedule_all(PyObject *self, PyObject *value, void *unused)
{
	struct channel *ch = of(self);
	long n;

	(void)unused;
	if (to_number(value, "schedule_all", &n) < 0)
		return -1;
	ch->schedule_all = n != 0;
	weft_channel_set_schedule_all(ch->channel, ch->schedule_all);
	return 0;
}

/* --- pickling: of a channel in which nobody waits. The state has the fields of
 * Stackless's: balance, flags, the tasklets that wait. --- */

enum { FLAG_CLOSING = 1 << 0, FLAG_SCHEDULE_ALL = 1 << 3 };

/* Of the flags: a number of two bits, with a sign. */
enum { PREFERENCE_SHIFT = 1, PREFERENCE_MASK = 3 };

static PyObject *refuse_waiters(void)
{
	PyErr_SetString(PyExc_NotImplementedError,
			"a channel in which tasklets wait cannot be pickled: "
			"their frames are on C stacks, which CPython cannot "
			"save");
	return NULL;
}

static PyObject *channel_reduce(PyObject *self, PyObject *unused)
{
	struct channel *ch = of(self);
	int flags = (ch->closing ? FLAG_CLOSING : 0) |
		    (ch->preference & PREFERENCE_MASK) << PREFERENCE_SHIFT |
		    (ch->schedule_all ? FLAG_SCHEDULE_ALL : 0);
	PyObject *state;

	(void)unused;
	if (weft_channel_balance(ch->channel))
		return refuse_waiters();
	state = with_additions(self, Py_BuildValue("(ii[])", 0, flags));
	return state ? Py_BuildValue("(O()N)", Py_TYPE(self), state) : NULL;
}

static PyObject *channel_setstate(PyObject *self, PyObject *state)
{
	struct channel *ch = of(self);
	int balance, flags, preference;
	PyObject *waiters, *added = NULL;

	if (!PyTuple_Check(state)) {
		PyErr_Format(PyExc_TypeError,
			     "the state of a channel is a tuple, not %s",
			     Py_TYPE(state)->tp_name);
		return NULL;
	}
	if (!PyArg_ParseTuple(state, "iiO!|O:channel", &balance, &flags,
			      &PyList_Type, &waiters, &added))
		return NULL;
	if (PyList_GET_SIZE(waiters) > 0)
		return refuse_waiters();
	if (added && set_additions(self, added) < 0)
		return NULL;
	preference = flags >> PREFERENCE_SHIFT & PREFERENCE_MASK;
	ch->preference = (signed char)(preference > 1 ? -1 : preference);
	ch->closing = flags & FLAG_CLOSING;
	ch->schedule_all = flags & FLAG_SCHEDULE_ALL;
	weft_channel_set_preference(ch->channel, ch->preference);
	weft_channel_set_schedule_all(ch->channel, ch->schedule_all);
	return Py_NewRef(self);
}

/* --- for the garbage collector --- */

enum { WAITERS_AT_ONCE = 32 };

static int visit_waiter(const struct channel *ch, weft_tasklet t,
			visitproc visit, void *arg)
{
	struct tasklet *found = tasklet_of(t);

	if (!found || !found->is_counted)
		return 0;
	if (found->is_selecting || found->channel == ch)
		Py_VISIT(found);
	if (found->channel == ch && found->direction > 0)
		Py_VISIT(found->sending);
	return 0;
}

/* The channel has the references to the tasklets that wait in it, and to what they send:
 * whoever takes that takes the tasklet out of the queue in the same call. What cannot be
 * listed, those of other threads among it, counts as reached from elsewhere. */
static int channel_traverse(PyObject *self, visitproc visit, void *arg)
{
	weft_tasklet few[WAITERS_AT_ONCE], *list = few;
	struct channel *ch = of(self);
	size_t n;
	int rc = 0;

	if (!ch->channel || !weft_channel_balance(ch->channel) || !this_thread)
		return 0;
	n = weft_channel_waiters(ch->channel, few, WAITERS_AT_ONCE);
	if (n > WAITERS_AT_ONCE) {
		list = PyMem_RawMalloc(n * sizeof *list);
		if (!list)
			return 0;
		n = weft_channel_waiters(ch->channel, list, n);
	}
	for (size_t i = 0; i < n && rc == 0; i++)
		rc = visit_waiter(ch, list[i], visit, arg);
	if (list != few)
		PyMem_RawFree(list);
	return rc;
}

#define FAST(fn) ((PyCFunction)(void (*)(void))(fn))

static PyMethodDef methods[] = {
	{ "send", FAST(channel_send), METH_FASTCALL,
	  PyDoc_STR("send(value)\n\n"
		    "Pass a value to a receiver; blocks until there is one.") },
	{ "receive", FAST(channel_receive), METH_FASTCALL,
	  PyDoc_STR("Take a value from a sender; blocks until there is one.") },
	{ "send_exception", FAST(channel_send_exception), METH_FASTCALL,
	  PyDoc_STR("send_exception(exc, *args)\n\n"
		    "Let the receiver raise exc(*args).") },
	{ "send_throw", FAST(channel_send_throw), METH_FASTCALL | METH_KEYWORDS,
	  PyDoc_STR("send_throw(exc, val=None, tb=None)\n\n"
		    "Let the receiver raise an exception.") },
	{ "send_sequence", FAST(channel_send_sequence), METH_FASTCALL,
	  PyDoc_STR("send_sequence(iterable)\n\n"
		    "Send one item after the other; returns how many.") },
	{ "close", channel_close, METH_NOARGS,
	  PyDoc_STR("Let nobody wait in the channel any more.") },
	{ "open", channel_open, METH_NOARGS, PyDoc_STR("Undo close().") },
	{ "__reduce__", channel_reduce, METH_NOARGS, NULL },
	{ "__setstate__", channel_setstate, METH_O, NULL },
	{ 0 }
};

static PyGetSetDef attributes[] = {
	{ "queue", get_queue, NULL,
	  PyDoc_STR("the first of the tasklets that wait, or None"), NULL },
	{ "balance", get_balance, NULL,
	  PyDoc_STR("how many tasklets wait to send (> 0) or to receive (< 0)"),
	  NULL },
	{ "closing", get_closing, NULL, PyDoc_STR("close() was called"), NULL },
	{ "closed", get_closed, NULL,
	  PyDoc_STR("close() was called, and nobody waits"), NULL },
	{ "preference", get_preference, set_preference,
	  PyDoc_STR("-1: the receiver runs first (default), 1: the sender, 0: "
		    "neither"),
	  NULL },
	{ "schedule_all", get_schedule_all, set_schedule_all,
	  PyDoc_STR("give way at every send and receive, whatever the "
		    "preference"),
	  NULL },
	{ 0 }
};

PyDoc_STRVAR(channel_doc,
	     "channel()\n\n"
	     "Passes values between tasklets, of one thread or of several.");

PyTypeObject channel_type = {
	PyVarObject_HEAD_INIT(NULL, 0).tp_name = "_stackless.channel",
	.tp_basicsize = sizeof(struct channel),
	.tp_flags =
		Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_BASETYPE,
	.tp_doc = channel_doc,
	.tp_new = channel_new,
	.tp_dealloc = channel_dealloc,
	.tp_traverse = channel_traverse,
	.tp_iter = PyObject_SelfIter,
	.tp_iternext = channel_iternext,
	.tp_weaklistoffset = offsetof(struct channel, weakrefs),
	.tp_methods = methods,
	.tp_getset = attributes,
};

int init_channels(PyObject *module)
{
	if (PyType_Ready(&channel_type) < 0)
		return -1;
	return PyModule_AddObjectRef(module, "channel",
				     (PyObject *)&channel_type);
}
