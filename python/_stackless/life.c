/* SPDX-License-Identifier: MIT */
/*
 * How a tasklet begins and ends.
 *
 *	UNBORN    an object alone; alive and paused if it is set up
 *	FRESH     in a run queue of weft's, and it has not run
 *	STARTED   it has run, and not ended
 *
 * A tasklet is UNBORN again when it has ended, and can be bound anew.
 *
 * weft has a reference to each tasklet that is runnable or waits (is_counted). It has
 * none to a paused tasklet: if nobody else has one, nobody can let it run again, and it
 * is killed. So the reference of a tasklet that ends, or pauses itself, is given up by
 * whoever runs next (thread.left): the tasklet still stands on its own stack until
 * then.
 *
 * An exception that a tasklet does not handle goes to the error handler of the program,
 * or else to the tasklet inside the innermost run(), or else to the main tasklet: that
 * one runs next, and raises it.
 */
#include "stackless.h"

#include <pthread.h>

#include "hang.h"

struct tasklet *tasklet_of(weft_tasklet t)
{
	struct tasklet **place = weft_tasklet_data_of(t);

	return place ? *place : NULL;
}

void uncount(struct tasklet *t)
{
	if (t->is_counted) {
		t->is_counted = false;
		Py_DECREF(t);
	}
}

void clear_function(struct tasklet *t)
{
	t->is_set_up = false;
	Py_CLEAR(t->function);
	Py_CLEAR(t->args);
	Py_CLEAR(t->kwargs);
	Py_CLEAR(t->thrown);
	Py_CLEAR(t->trace);
	Py_CLEAR(t->profile);
}

/* --- the end --- */

/* Lets @target run next, and raise the exception. */
static bool pass_to(struct tasklet *target, PyObject *bomb)
{
	bool is_passed;

	Py_INCREF(target);
	Py_XSETREF(target->thrown, bomb);
	is_passed = weft_tasklet_raise(target->handle, ERR_THROWN,
				       WEFT_PENDING) == 0;
	if (is_passed) {
		count(target);
		weft_tasklet_run_next(target->handle);
	}
	Py_DECREF(target);
	return is_passed;
}

static bool is_first_thread(const struct thread *th)
{
	PyThreadState *ts = PyInterpreterState_ThreadHead(th->tstate->interp);

	while (PyThreadState_Next(ts))
		ts = PyThreadState_Next(ts);
	return ts == th->tstate;
}

static bool is_exit_of_program(const struct thread *th)
{
	return PyErr_ExceptionMatches(PyExc_SystemExit) &&
	       !PyErr_ExceptionMatches(TaskletExit) && is_first_thread(th);
}

/* A TaskletExit with the code of a SystemExit. */
static PyObject *exit_for_main(PyObject *bomb)
{
	struct bomb *b = (struct bomb *)bomb;
	PyObject *code = NULL, *e = NULL, *made;

	PyErr_NormalizeException(&b->type, &b->value, &b->traceback);
	code = PyObject_GetAttrString(b->value, "code");
	if (code)
		e = code == Py_None ? PyObject_CallNoArgs(TaskletExit)
				    : PyObject_CallOneArg(TaskletExit, code);
	made = e ? bomb_from_raise(e, NULL, NULL) : NULL;
	if (!made)
		PyErr_Clear();
	Py_XDECREF(code);
	Py_XDECREF(e);
	return made ? made : Py_NewRef(bomb);
}

/* sys.exit() in a tasklet of the first thread: the main tasklet gets a TaskletExit, and
 * if it lets that pass, the program ends with that code. The tasklet pauses meanwhile.
 * When it runs again, it goes on with what it wanted. */
static void leave_program(struct thread *th)
{
	PyObject *bomb, *result;

	if (!is_exit_of_program(th) || th->is_ending || th->is_in_callback ||
	    weft_switch_trap(0))
		return;
	bomb = bomb_from_error();
	result = pass_to(th->main, exit_for_main(bomb))
			 ? schedule(Py_None, true, NULL)
			 : Py_NewRef(Py_None);
	if (result) {
		Py_DECREF(result);
		explode(bomb);
	} else { /* something was thrown at it */
		Py_DECREF(bomb);
	}
}

/* An exception is set. */
static void end_with_error(struct thread *th)
{
	/* On other threads sys.exit() ends nothing but the tasklet. */
	if (is_exit_of_program(th)) {
		pass_to(th->main, bomb_from_error());
	} else if (PyErr_ExceptionMatches(PyExc_SystemExit)) {
		PyErr_Clear();
	} else if (!call_error_handler()) {
		PyObject *bomb = bomb_from_error();
		/* Who that is may have changed meanwhile. */
		struct tasklet *runner = tasklet_of(weft_runner());

		pass_to(runner ? runner : th->main, bomb);
	}
}

/* Lets go of what the tasklet has while it still is alive: destructors may do everything
 * that a tasklet may, even pause it. */
static void release_possessions(PyThreadState *ts, struct tasklet *t)
{
	Py_CLEAR(t->function);
	Py_CLEAR(t->args);
	Py_CLEAR(t->kwargs);
	Py_CLEAR(t->trace);
	Py_CLEAR(t->profile);
	Py_XSETREF(t->tempval, Py_NewRef(Py_None));
	if (tstate_is_traced(ts)) {
		PyEval_SetTrace(NULL, NULL);
		PyEval_SetProfile(NULL, NULL);
	}
	while (ts->context || ts->exc_info->exc_value || t->thrown) {
		Py_CLEAR(ts->context);
		Py_CLEAR(ts->exc_info->exc_value);
		Py_CLEAR(t->thrown);
	}
	if (unlikely(t->watched_link))
		forget_watched(ts, t);
}

/* The tasklet, whose function has returned or will not run, ends. At the end of this
 * nothing of Python's runs on its stack any more. */
static void end_tasklet(struct thread *th, struct tasklet *t, PyObject *result)
{
	PyThreadState *ts = th->tstate;

	if (!result)
		end_with_error(th);
	Py_XDECREF(result);
	release_possessions(ts, t);
	forget_deadlines(t);
	t->is_set_up = false;
	t->handle = (weft_tasklet){ .task = NULL };
	t->life = UNBORN;
	t->saved = NULL;
	t->channel = NULL;
	if (unlikely(t->was_spared))
		allow_finalizer(t);
	tstate_end(ts, &th->idle);
	if (t->is_counted) {
		t->is_counted = false;
		th->left = (PyObject *)t;
	}
}

/* --- the beginning --- */

static void begin(struct thread *th, struct tasklet *t, struct fresh_state *f)
{
	PyObject *left = th->left;
	PyObject *context = t->context;

	t->life = STARTED;
	t->context = NULL;
	th->left = NULL;
	th->current = t;
	t->root = &f->root.chunk;
	tstate_begin(th->tstate, f, context, TASKLET_STACK_BYTES);
	Py_XDECREF(left);
}

static PyObject *call_function(struct thread *th, struct tasklet *t)
{
	PyObject *result = NULL;

	if (unlikely(t->thrown)) {
		PyObject *bomb = t->thrown;

		t->thrown = NULL;
		(void)weft_tasklet_take_pending(t->handle);
		explode(bomb);
	} else if (likely(!t->trace && !t->profile) ||
		   ((!t->trace || call_sys("settrace", t->trace) == 0) &&
		    (!t->profile || call_sys("setprofile", t->profile) == 0))) {
		if (unlikely(th->watchdog))
			watch_tasklet(th);
		result = PyObject_Call(t->function, t->args, t->kwargs);
	}
	return result;
}

/* --- what weft is given: a place that names the tasklet. It stays weft's until the
 * tasklet runs or ends. A tasklet that is taken out of the queue leaves an empty one, a
 * husk, until its thread gets there. */

struct seed {
	struct tasklet *tasklet; /* or NULL; the first: see tasklet_of() */
	struct thread *counted;  /* a husk, of that thread; a reference */
};

enum { SPARE_SEEDS = 256 };

static struct seed *spare_seeds[SPARE_SEEDS]; /* of all threads */
static unsigned n_spare_seeds;

static struct seed *new_seed(struct tasklet *t)
{
	struct seed *seed = n_spare_seeds ? spare_seeds[--n_spare_seeds]
					  : PyMem_Malloc(sizeof *seed);

	if (seed)
		*seed = (struct seed){ .tasklet = t };
	return seed;
}

static void free_seed(struct seed *seed)
{
	if (n_spare_seeds < SPARE_SEEDS)
		spare_seeds[n_spare_seeds++] = seed;
	else
		PyMem_Free(seed);
}

void forget_seeds(void)
{
	n_spare_seeds = 0;
}

static struct tasklet *take_seed(struct seed *seed)
{
	struct tasklet *t = seed->tasklet;

	if (seed->counted) {
		seed->counted->n_husks--;
		unref_thread(seed->counted);
	}
	free_seed(seed);
	if (t)
		t->seed = NULL;
	return t;
}

/* Some husks may still be on their way to the thread. */
unsigned without_husks(const struct thread *th, unsigned runcount)
{
	return runcount > th->n_husks ? runcount - th->n_husks : 1;
}

static int entry(void *arg)
{
	struct thread *th = this_thread;
	struct tasklet *t = th ? take_seed(arg) : NULL;
	struct fresh_state f;
	PyObject *result;

	weft_set_tasklet_data(t ? &t->myself : NULL);
	if (!t)
		return 0;
	pthread_cleanup_push(hang_here, NULL);
	begin(th, t, &f);
	result = call_function(th, t);
	if (unlikely(!result))
		leave_program(th);
	end_tasklet(th, t, result);
	pthread_cleanup_pop(0);
	return 0;
}

/* A tasklet that never ran ends, because something was thrown at it, or with its
 * thread. */
static void end_unrun(struct thread *th, struct tasklet *t)
{
	PyObject *bomb = t->thrown;
	struct fresh_state f;

	t->thrown = NULL;
	begin(th, t, &f);
	if (bomb)
		explode(bomb);
	end_tasklet(th, t, bomb ? NULL : Py_NewRef(Py_None));
}

/* If there was no memory for a stack, the caller is any other tasklet. */
static void end_on_other_stack(struct thread *th, struct tasklet *t)
{
	struct tasklet *self = th->current;
	PyObject *left = th->left;
	struct saved_state saved = { .is_traced = false };

	th->left = NULL;
	tstate_save(th->tstate, &saved);
	if (!t->thrown) {
		PyErr_NoMemory();
		t->thrown = bomb_from_error();
	}
	end_unrun(th, t);
	tstate_restore(th->tstate, &saved);
	if (saved.is_traced)
		tstate_restore_tracing(th->tstate, &saved.tracing);
	th->current = self;
	Py_XDECREF(th->left);
	th->left = left;
}

static void drop_unrun(void *arg)
{
	struct thread *th = this_thread;
	struct tasklet *t;

	if (!th || !has_interpreter(th))
		return;
	t = take_seed(arg);
	if (t && weft_tasklet_equal(weft_current(), t->handle))
		end_unrun(th, t);
	else if (t)
		end_on_other_stack(th, t);
}

int spawn(struct tasklet *t)
{
	struct weft_tasklet_options o = {
		.stack_size = TASKLET_STACK_BYTES,
		.thread = is_of_this_thread(t) ? 0 : t->thread->weft_id,
		.drop = drop_unrun,
	};
	int err = ENOMEM;

	t->seed = new_seed(t);
	if (t->seed) {
		t->handle = weft_spawn_with(&o, entry, t->seed);
		err = errno;
	}
	if (t->seed && !weft_tasklet_is_null(t->handle)) {
		t->life = FRESH;
		count(t);
		return 0;
	}
	if (t->seed)
		free_seed(t->seed);
	t->seed = NULL;
	if (err == ESRCH)
		PyErr_SetString(PyExc_RuntimeError, "tasklet has no thread");
	else
		PyErr_NoMemory();
	return -1;
}

/* Switches to a tasklet that has nothing to run. It ends, and its successor is the
 * caller. The program is not told of that. */
static void end_husk(struct thread *th, weft_tasklet husk)
{
	bool was_in_callback = th->is_in_callback;
	struct call c;

	if (weft_tasklet_remove(husk) < 0)
		return;
	begin_call_of(&c, th);
	th->is_in_callback = true;
	if (weft_tasklet_kill(husk, 0) < 0)
		weft_tasklet_kill(husk, WEFT_PENDING);
	th->is_in_callback = was_in_callback;
	return_to_python(&c);
}

/* What is left in the queue has nothing to run. On this thread it is ended at once. */
void unspawn(struct tasklet *t)
{
	weft_tasklet husk = t->handle;

	t->seed->tasklet = NULL;
	t->seed->counted = ref_thread(t->thread);
	t->thread->n_husks++;
	t->seed = NULL;
	t->handle = (weft_tasklet){ .task = NULL };
	t->life = UNBORN;
	if (is_of_this_thread(t))
		end_husk(t->thread, husk);
	uncount(t);
}
