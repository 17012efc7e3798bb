/* SPDX-License-Identifier: MIT */
/*
 * run() with a limit: the tasklet that has run for so many steps is interrupted, and
 * run() returns it.
 *
 * CPython has nothing that counts instructions. So a trace function, in C, does it for
 * the tasklets that run meanwhile. It is told of lines, and of each turn of a loop, and
 * takes each for as many instructions as a line has on average. It could be told of the
 * instructions, but then so would a debugger be that is started in such a tasklet. The
 * trace function that a tasklet has of its own is called by that one.
 *
 * The interrupted tasklet switches away in its trace function, to the one inside run().
 * With `soft` it is left alone, and that one is made the next to run. A tasklet that must
 * not be interrupted now is so with the first line where it may.
 */
#include "stackless.h"

#include <opcode.h>

/* --- the limit --- */

enum { INSTRUCTIONS_OF_LINE = 5 };

struct watchdog {
	struct tasklet *runner;
	struct tasklet *interrupted; /* a reference */
	long interval, left;         /* instructions */
	bool soft, ignore_nesting, total;
	bool is_over;            /* soft: run() will return */
	struct tasklet *watched; /* the first of a list */
};

/* --- who is inside run() --- */

/* The list is made when it is asked for, and then kept in step with the calls. */
PyObject *get_runners(struct thread *th)
{
	PyObject *list = th->runners;

	if (list)
		return list;
	list = Py_BuildValue("[O]", th->watchdog
					    ? (PyObject *)th->watchdog->runner
					    : Py_None);
	for (struct runner *r = th->running; list && r; r = r->outer)
		if (PyList_Insert(list, 1, (PyObject *)r->tasklet) < 0)
			Py_CLEAR(list);
	th->runners = list;
	return list;
}

static void set_limited(struct thread *th, PyObject *t)
{
	if (th->runners && PyList_SetItem(th->runners, 0, Py_NewRef(t)) < 0)
		PyErr_Clear();
}

int enter_run(struct thread *th, struct runner *r)
{
	if (unlikely(th->runners) &&
	    PyList_Append(th->runners, (PyObject *)th->current) < 0)
		return -1;
	r->tasklet = th->current;
	r->outer = th->running;
	th->running = r;
	return 0;
}

static void shorten_list(PyObject *list, struct tasklet *t)
{
	PyObject *type, *value, *traceback;

	PyErr_Fetch(&type, &value, &traceback);
	for (Py_ssize_t i = PyList_GET_SIZE(list) - 1; i > 0; i--)
		if (PyList_GET_ITEM(list, i) == (PyObject *)t) {
			PyList_SetSlice(list, i, PyList_GET_SIZE(list), NULL);
			break;
		}
	PyErr_Restore(type, value, traceback);
}

/* Those inside that call are not inside any more either. One that was inside another
 * call, which has ended, is not there. */
void leave_run(struct thread *th, struct runner *r)
{
	struct runner *found = th->running;

	while (found && found != r)
		found = found->outer;
	if (!found)
		return;
	th->running = r->outer;
	if (unlikely(th->runners))
		shorten_list(th->runners, r->tasklet);
}

/* --- interrupting --- */

/* Whether Python's function was called by one in C that a tasklet called. */
static bool is_nested(const struct tasklet *t)
{
	return count_interpreters(t->thread->tstate, NULL, 2) > 1;
}

static int interrupt(struct thread *th, struct watchdog *w)
{
	struct tasklet *t = th->current;
	PyObject *result;

	if (!w->ignore_nesting && !t->ignore_nesting && is_nested(t))
		return 0;
	if (w->soft) {
		w->is_over = true;
		weft_tasklet_run_next(w->runner->handle);
		return 0;
	}
	if (t->atomic || th->is_in_callback || weft_switch_trap(0))
		return 0;
	w->is_over = true;
	w->interrupted = (struct tasklet *)Py_NewRef(t);
	result = switch_to(w->runner, true);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

static bool is_watched(const struct thread *th)
{
	const struct watchdog *w = th->watchdog;

	return w && !w->is_over && th->current != w->runner;
}

/* CPython 3.11 tells nothing of the turns of an empty loop, `while True: pass`, which is
 * one instruction, a jump to itself. Nobody starts a debugger there: so it may tell of
 * the instructions of that frame. */
static bool is_empty_loop(PyFrameObject *frame)
{
#if PY_VERSION_HEX < 0x030c0000
	PyCodeObject *code = PyFrame_GetCode(frame);
	int i = PyFrame_GetLasti(frame) / (int)sizeof(_Py_CODEUNIT);
	_Py_CODEUNIT unit = i >= 0 ? _PyCode_CODE(code)[i] : 0;

	Py_DECREF(code);
	return (_Py_OPCODE(unit) == JUMP_BACKWARD ||
		_Py_OPCODE(unit) == JUMP_BACKWARD_QUICK) &&
	       _Py_OPARG(unit) == 1;
#else
	(void)frame;
	return false;
#endif
}

/* @arg is that of the tasklet's own trace function, which may do anything. */
static int count_line(PyObject *arg, PyFrameObject *frame, int what,
		      PyObject *result)
{
	struct thread *th = this_thread;
	Py_tracefunc own = th ? th->current->own_trace : NULL;
	bool is_turn = what == PyTrace_OPCODE && is_empty_loop(frame);

	if (own && !is_turn && own(arg, frame, what, result) < 0)
		return -1;
	if ((what != PyTrace_LINE && !is_turn) || !th || !is_watched(th))
		return 0;
	if (!is_turn && is_empty_loop(frame) &&
	    PyObject_SetAttrString((PyObject *)frame, "f_trace_opcodes",
				   Py_True) < 0)
		return -1;
	th->watchdog->left -= INSTRUCTIONS_OF_LINE;
	return th->watchdog->left > 0 ? 0 : interrupt(th, th->watchdog);
}

/* --- the tasklets that have that trace function --- */

static void enlist_watched(struct watchdog *w, struct tasklet *t)
{
	if (t->watched_link)
		return;
	t->watched_next = w->watched;
	t->watched_link = &w->watched;
	if (t->watched_next)
		t->watched_next->watched_link = &t->watched_next;
	w->watched = t;
}

static void strike_out(struct tasklet *t)
{
	*t->watched_link = t->watched_next;
	if (t->watched_next)
		t->watched_next->watched_link = t->watched_link;
	t->watched_link = NULL;
}

/* The argument of an own trace function stays in its place: it is what Python knows. */
static void watch(PyThreadState *ts, struct watchdog *w, struct tasklet *t)
{
	if (ts->c_tracefunc == count_line)
		return;
	t->own_trace = ts->c_tracefunc;
	if (t->own_trace)
		ts->c_tracefunc = count_line;
	else
		PyEval_SetTrace(count_line, NULL);
	enlist_watched(w, t);
}

static void unwatch(PyThreadState *ts, struct tasklet *t)
{
	if (ts->c_tracefunc != count_line)
		return;
	if (t->own_trace)
		ts->c_tracefunc = t->own_trace;
	else
		PyEval_SetTrace(NULL, NULL);
}

void forget_watched(PyThreadState *ts, struct tasklet *t)
{
	unwatch(ts, t);
	strike_out(t);
}

/* From CPython 3.12 on, all that runs is slow while anybody has a trace function, those
 * that wait included. So it is taken from these when run() ends. Before, it is left to
 * them: it costs nobody else anything, and a frame notes that it is traced. */
static void unwatch_all(PyThreadState *ts, struct watchdog *w)
{
	while (w->watched) {
		struct tasklet *t = w->watched;

		strike_out(t);
#if PY_VERSION_HEX >= 0x030c0000
		if (t->saved && t->saved->is_traced &&
		    t->saved->tracing.trace == count_line) {
			struct tracing now;

			tstate_save_tracing(ts, &now);
			ts->c_tracefunc = count_line;
			unwatch(ts, t);
			t->saved->tracing.trace = ts->c_tracefunc;
			tstate_restore_tracing(ts, &now);
		}
#else
		(void)ts;
#endif
	}
}

void watch_tasklet(struct thread *th)
{
	struct watchdog *w = th->watchdog;

	if (!is_watched(th)) {
		unwatch(th->tstate, th->current);
		return;
	}
	/* A soft limit that has been reached is one for the next tasklet, too. */
	if (!w->total && !(w->soft && w->left <= 0))
		w->left = w->interval;
	watch(th->tstate, w, th->current);
}

static PyObject *take_interrupted(struct watchdog *w)
{
	return w->interrupted ? (PyObject *)w->interrupted : Py_NewRef(Py_None);
}

/* run() raises an exception, and cannot return the tasklet. */
static void put_back(struct tasklet *t)
{
	if (t && weft_tasklet_insert(t->handle) == 0)
		count(t);
	Py_XDECREF(t);
}

PyObject *run_with_limit(long timeout, bool threadblock, bool soft,
			 bool ignore_nesting, bool total)
{
	struct thread *th = get_thread();
	struct watchdog w = {
		.interval = timeout,
		.left = timeout,
		.soft = soft,
		.ignore_nesting = ignore_nesting,
		.total = total,
	};
	PyObject *result;

	if (!th)
		return NULL;
	if (th->watchdog) /* an outer run() has a limit: it counts alone */
		return run_without_limit(threadblock);
	w.runner = th->current;
	set_limited(th, (PyObject *)w.runner);
	th->watchdog = &w;
	result = run_without_limit(threadblock);
	th->watchdog = NULL;
	unwatch_all(th->tstate, &w);
	set_limited(th, Py_None);
	if (!result) {
		put_back(w.interrupted);
		return NULL;
	}
	Py_DECREF(result);
	return take_interrupted(&w);
}
