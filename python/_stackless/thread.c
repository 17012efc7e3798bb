/* SPDX-License-Identifier: MIT */
/*
 * OS threads of Python: attaching, sleeping without the interpreter's lock, the end.
 *
 * A thread is attached by its first use of the module. Its record hangs in the
 * dictionary of its PyThreadState, as a capsule. When the interpreter clears that, at
 * the end of the thread, the thread's tasklets are ended: each gets a TaskletExit, and
 * weft_thread_end() runs them until they have gone. The PyThreadState is deleted soon
 * after that, before pthread's destructors run.
 *
 * While the thread sleeps in weft, it does not hold the interpreter's lock: on_park().
 * If a signal has ended the sleep, its handler is called there, and what that raises
 * (KeyboardInterrupt) is thrown at the main tasklet.
 *
 * At the end of the interpreter, threads that are still there (daemons) are stopped as
 * soon as they want the lock: CPython calls pthread_exit(), up to 3.13. On the stack of
 * a tasklet that would begin the end of the thread in the middle of things, and anywhere
 * else weft would let the tasklets run to their end. So it hangs there instead, as CPython
 * 3.14 does it, until the process is gone: see hang_here() and end_stopped().
 */
#include "stackless.h"

#include <pthread.h>
#include <time.h>
#include <unistd.h>

#include "hang.h"

#if PY_VERSION_HEX < 0x030d0000
#define Py_IsFinalizing _Py_IsFinalizing
#endif

__thread struct thread *this_thread __attribute__((tls_model("initial-exec")));

struct thread *all_threads;

struct thread *ref_thread(struct thread *th)
{
	th->references++;
	return th;
}

void unref_thread(struct thread *th)
{
	if (--th->references == 0)
		PyMem_RawFree(th);
}

struct thread *find_thread(unsigned long id)
{
	struct thread *th = all_threads;

	while (th && th->id != id)
		th = th->next;
	return th;
}

/* Any call that looks at the inbox first would do. The current tasklet is in its place
 * already, so this one does nothing else. */
void take_in(void)
{
	if (this_thread && !this_thread->is_in_callback)
		(void)weft_tasklet_insert(weft_current());
}

/* --- sleeping --- */

void hang_here(void *arg)
{
	(void)arg;
	for (;;)
		pause();
}

/* Signals are for the main tasklet of the interpreter's first thread. Python's handlers
 * run on the thread that PyErr_CheckSignals() knows, on others it does nothing. */
static void take_signals(struct thread *th)
{
	struct saved_state *saved = th->current->saved;
	struct interlude i;
	PyObject *bomb;
	int rc;

	begin_callback(th, saved, &i);
	rc = PyErr_CheckSignals();
	end_callback(th, saved, &i);
	if (rc == 0)
		return;
	bomb = bomb_from_error();
	Py_XSETREF(th->main->thrown, bomb);
	weft_tasklet_raise(th->main->handle, ERR_THROWN, WEFT_PENDING);
}

/* A thread of Python's that has not used the module yet may still do it, and wake others.
 * A thread that Python does not know will not. So as long as there is one of the first
 * kind, threads that are not attached stand against a deadlock, and the library looks
 * again after a while. Whoever starts a thread later is awake, and comes here before it
 * sleeps. */
static void choose_deadlock_policy(const struct thread *th)
{
	PyThreadState *ts = PyInterpreterState_ThreadHead(th->tstate->interp);
	const struct thread *attached;
	unsigned policy = WEFT_DEADLOCK_LAST;
	size_t n = 0;

	for (; ts; ts = PyThreadState_Next(ts))
		n++;
	for (attached = all_threads; attached; attached = attached->next)
		n--;
	if (n == 0)
		policy |= WEFT_DEADLOCK_ATTACHED;
	weft_set_deadlock_policy(policy);
}

static void on_park(bool parking, void *arg)
{
	struct thread *th = arg;

	if (parking) {
		choose_deadlock_policy(th);
		th->released = PyEval_SaveThread();
		return;
	}
	pthread_cleanup_push(hang_here, NULL);
	PyEval_RestoreThread(th->released);
	pthread_cleanup_pop(0);
	apply_callbacks(th);
	take_signals(th);
}

/* The interpreter may have forgotten the thread, and nobody may have the lock. */
bool has_interpreter(const struct thread *th)
{
	return th->tstate && th->tstate == _PyThreadState_UncheckedGet();
}

/* --- errors --- */

int set_error(long rc)
{
	if (rc == -EDEADLK)
		PyErr_SetString(PyExc_RuntimeError,
				"Deadlock: the last runnable tasklet cannot be "
				"blocked.");
	else if (rc == -EPERM && weft_switch_trap(0))
		PyErr_SetString(PyExc_RuntimeError, "switch_trap");
	else if (rc == -EPERM && this_thread && this_thread->is_in_callback)
		PyErr_SetString(PyExc_RuntimeError,
				"a callback cannot switch to another tasklet");
	else if (rc == -ENOMEM)
		PyErr_NoMemory();
	else {
		errno = (int)-rc;
		PyErr_SetFromErrno(PyExc_OSError);
	}
	return -1;
}

long raise_thrown(struct call *c, long rc)
{
	PyObject *bomb = c->self->thrown;

	if (c->thread->is_in_callback)
		return rc;
	c->self->thrown = NULL;
	(void)weft_tasklet_take_pending(c->self->handle);
	explode(bomb);
	return -1;
}

/* The main tasklet waited in a channel when the last of the others ended. */
static bool explain_main_blocked(const struct call *c)
{
	if (!c->self->is_main || !c->self->channel)
		return false;
	PyErr_Format(PyExc_RuntimeError,
		     "the main tasklet is %s without a %s available.",
		     c->self->direction > 0 ? "sending" : "receiving",
		     c->self->direction > 0 ? "receiver" : "sender");
	return true;
}

/* A tasklet that catches so many TaskletExits as its thread ends does not go on any more.
 * Nor does it come back from here: weft abandons it. */
enum { EXITS = 10 };

static void give_up(struct call *c)
{
	int rc;

	if (c->self->is_main ||
	    !weft_tasklet_equal(c->self->handle, weft_current()))
		return;
	keep_frames(c->thread->tstate);
	weft_switch_trap(-weft_switch_trap(0));
	do {
		begin_call_of(c, c->thread);
		rc = weft_schedule_remove();
		return_to_python(c);
	} while (rc == 0 || rc == -ECANCELED);
}

/* Without the collector, which would run code of the program's in the name of the tasklet. */
static void keep_frames_of(const struct saved_state *s)
{
	PyThreadState *ts = PyThreadState_Get();
	struct saved_state own = { .is_traced = false };
	int was_enabled = PyGC_Disable();

	tstate_save(ts, &own);
	tstate_restore(ts, s);
	keep_frames(ts);
	tstate_restore(ts, &own);
	if (was_enabled)
		PyGC_Enable();
}

/* The collector of an interpreter at its end still sees the frames. */
void abandon(struct call *c)
{
	PyGILState_STATE state;

	if (!c->thread->tstate && Py_IsFinalizing())
		hang_here(NULL);
	if (!c->thread->tstate && Py_IsInitialized()) {
		pthread_cleanup_push(hang_here, NULL);
		state = PyGILState_Ensure();
		keep_frames_of(&c->saved);
		PyGILState_Release(state);
		pthread_cleanup_pop(0);
	}
	weft_exit(0);
}

int fail_call(struct call *c, long rc)
{
	PyObject *bomb = NULL;
	bool have_others_run;

	if (rc == -ECANCELED && !has_interpreter(c->thread))
		abandon(c);
	have_others_run = c->thread->current != c->self;
	/* Taken first: destructors that run now make calls of their own. */
	if (rc == -ERR_THROWN) {
		bomb = c->self->thrown;
		c->self->thrown = NULL;
	}
	return_to_python(c);
	if (rc == -ECANCELED && c->thread->is_ending) {
		if (c->self->n_exits++ == EXITS)
			give_up(c);
		count(c->self); /* if it had been removed from the queue */
		PyErr_SetNone(TaskletExit);
		return -1;
	}
	if (bomb) {
		explode(bomb);
		return -1;
	}
	if (rc == -EDEADLK && have_others_run && explain_main_blocked(c))
		return -1;
	return set_error(rc);
}

bool are_frames_its_own(const struct thread *th)
{
	const _PyStackChunk *root = tstate_root(th->tstate);

	if (!th->current->root) /* there was no frame when it was attached */
		th->current->root = root;
	/* At the end of a tasklet the library refuses. */
	if (root == th->current->root || root == &th->idle.root.chunk)
		return true;
	PyErr_SetString(PyExc_RuntimeError,
			"a tasklet cannot give way inside of a greenlet");
	return false;
}

bool stays_begun(struct call *c)
{
	if (are_frames_its_own(c->thread))
		return true;
	if (c->saved.is_traced)
		tstate_restore_tracing(c->thread->tstate, &c->saved.tracing);
	return false;
}

void arrive_slowly(struct call *c)
{
	PyObject *left = NULL;

	/* In a callback it may be the caller that has left. */
	if (!c->thread->is_in_callback) {
		left = c->thread->left;
		c->thread->left = NULL;
	}
	if (c->saved.is_traced) {
		c->saved.is_traced = false;
		tstate_restore_tracing(c->thread->tstate, &c->saved.tracing);
	}
	/* The tasklet that a callback runs on may have ended. */
	if (!c->thread->is_in_callback)
		watch_tasklet(c->thread);
	/* This may run anything, the other tasklets included. No exception is set. */
	Py_XDECREF(left);
}

void begin_interlude(struct interlude *i, struct thread *th)
{
	struct tasklet *self = th->current;

	*i = (struct interlude){
		.self = self,
		.saved = self->saved,
		.stack_top = self->stack_top,
		.channel = self->channel,
		.sending = self->sending,
		.left = th->left,
		.direction = self->direction,
		.is_counted = self->is_counted,
	};
	th->left = NULL;
	th->is_in_callback = true;
	Py_INCREF(self);
}

/* The context may be another one now, or the first one. */
void end_interlude(struct interlude *i, struct thread *th)
{
	struct tasklet *self = i->self;

	th->is_in_callback = false;
	th->left = i->left;
	self->saved = i->saved;
	self->stack_top = i->stack_top;
	self->channel = i->channel;
	self->sending = i->sending;
	self->direction = i->direction;
	if (!i->is_counted)
		uncount(self);
	if (self->saved)
		self->saved->context = th->tstate->context;
	else
		Py_CLEAR(th->tstate->context);
	Py_DECREF(self);
}

/* --- the end of a thread --- */

static void unlink_thread(struct thread *th)
{
	struct thread **link = &all_threads;

	while (*link && *link != th)
		link = &(*link)->next;
	if (*link)
		*link = th->next;
}

/* The tasklet gets a TaskletExit when it has the thread again. */
static void set_exit(struct tasklet *t)
{
	PyObject *bomb = bomb_from_raise(TaskletExit, NULL, NULL);

	if (!bomb)
		bomb = bomb_from_error();
	Py_XSETREF(t->thrown, bomb);
}

static void retire_main(struct tasklet *t)
{
	t->handle = (weft_tasklet){ .task = NULL };
	t->life = UNBORN;
	t->is_main = false;
	t->saved = NULL;
	forget_deadlines(t);
	uncount(t);
	Py_DECREF(t);
}

/* What there was of the thread is gone, or out of reach. */
static void forget_thread(struct thread *th)
{
	struct tasklet *main_tasklet = th->main;

	unlink_thread(th);
	th->tstate = NULL;
	th->main = NULL;
	th->current = NULL;
	if (main_tasklet)
		retire_main(main_tasklet);
	Py_CLEAR(th->runners);
	unref_thread(th);
}

/* While its tasklets are ended, the thread has another main tasklet: the one that the
 * program knows has ended with the program's part of the thread. */
static void change_main(struct thread *th)
{
	struct tasklet *before = th->main;
	struct tasklet *t = new_tasklet(&tasklet_type, th);

	if (!t) {
		PyErr_Clear();
		return;
	}
	t->handle = before->handle;
	t->root = before->root;
	t->life = STARTED;
	t->is_main = true;
	count(t);
	th->main = th->current = t;
	weft_set_tasklet_data(&t->myself);
	if (before->watched_link)
		forget_watched(th->tstate, before);
	retire_main(before);
}

/* weft ends tasklets by an error of the call that they wait in. Those in the run queue
 * come back from a call that has nothing to wait for. */
static void exit_queue(struct thread *th)
{
	size_t n;
	weft_tasklet *list = list_tasklets(NULL, &n);

	for (size_t i = 0; list && i < n; i++) {
		struct tasklet *t = tasklet_of(list[i]);

		if (t && t->life == STARTED && t != th->current) {
			Py_INCREF(t);
			set_exit(t);
			Py_DECREF(t);
		}
	}
	if (!list)
		PyErr_Clear();
	PyMem_RawFree(list);
}

/* To be called on the main tasklet of the thread. */
static void end_thread(struct thread *th)
{
	PyObject *type, *value, *traceback;
	PyObject *left;
	struct call c;

	PyErr_Fetch(&type, &value, &traceback);
	th->is_ending = true;
	change_main(th);
	exit_queue(th);
	begin_call_of(&c, th);
	weft_thread_end();
	this_thread = NULL;
	left = th->left;
	th->left = NULL;
	th->current = c.self;
	tstate_restore(th->tstate, &c.saved);
	if (c.saved.is_traced)
		tstate_restore_tracing(th->tstate, &c.saved.tracing);
	forget_thread(th);
	Py_XDECREF(left);
	PyErr_Restore(type, value, traceback);
}

static const char record_name[] = "_stackless.thread";

/* Of the PyThreadState that is being cleared by this thread: what it has in its
 * dictionary behind the record, and elsewhere, may have destructors that call here. */
static __thread struct {
	uint64_t id;
	unsigned interpreter;
} ended;

static unsigned n_interpreters; /* that the process has had */

static void note_end(void)
{
	ended.id = PyThreadState_GetID(PyThreadState_Get());
	ended.interpreter = n_interpreters;
}

/* No tasklet of the thread may have a turn any more. */
static void leave_thread(struct thread *th)
{
	note_end();
	weft_set_park_callback(NULL, NULL);
	weft_set_schedule_callback(NULL, NULL);
	weft_set_channel_callback(NULL, NULL);
	this_thread = NULL;
	if (th->tstate)
		forget_thread(th);
	else
		unref_thread(th);
}

/* The dictionary of a PyThreadState is cleared: by its own thread at its end, or by
 * another one, in a child of fork() and at the end of the interpreter. */
static void end_record(PyObject *capsule)
{
	struct thread *th = PyCapsule_GetPointer(capsule, record_name);

	if (th->tstate && th == this_thread && !th->tstate->dict)
		note_end();
	if (th->tstate && th == this_thread && th->current == th->main) {
		end_thread(th);
	} else if (th->tstate) {
		th->was_deleted = !Py_IsFinalizing();
		forget_thread(ref_thread(th)); /* it may still look there */
	}
	unref_thread(th);
}

static int hang_record(struct thread *th)
{
	PyObject *dict = PyThreadState_GetDict();
	PyObject *capsule;
	int rc;

	if (!dict) {
		PyErr_SetString(PyExc_RuntimeError,
				"the thread has no state of Python's");
		return -1;
	}
	capsule = PyCapsule_New(th, record_name, NULL);
	if (!capsule)
		return -1;
	rc = PyDict_SetItemString(dict, record_name, capsule);
	if (rc == 0) {
		ref_thread(th);
		PyCapsule_SetDestructor(capsule, end_record);
	}
	Py_DECREF(capsule);
	return rc;
}

/* --- attaching --- */

static pthread_key_t stopped_key;

/* The thread ends, and its PyThreadState was deleted, but not the dictionary in it: the
 * program has found that, as by gc.get_objects(). Frames of the tasklets are in calls that
 * know the PyThreadState. So the tasklets do not go on: return_to_python(). */
static void end_forgotten(struct thread *th)
{
	PyGILState_STATE state;

	pthread_cleanup_push(hang_here, NULL);
	state = PyGILState_Ensure();
	leave_thread(th);
	PyGILState_Release(state);
	pthread_cleanup_pop(0);
}

/* The thread ends, and still uses the module. If the interpreter, at its end, has stopped
 * it, tasklets that have got what they waited for would go on in Python. */
static void end_stopped(void *arg)
{
	struct thread *th = this_thread;

	if (!th)
		return;
	if (Py_IsFinalizing() || (!th->tstate && !th->was_deleted))
		hang_here(arg);
	if (!has_interpreter(th))
		end_forgotten(th);
}

/* Keys are destroyed in the order in which they were made. This one is made before weft
 * makes its own, with which the tasklets end. */
static int make_stopped_key(void)
{
	static bool is_made;
	int rc;

	if (is_made)
		return 0;
	rc = pthread_key_create(&stopped_key, end_stopped);
	if (rc)
		return set_error(-rc);
	is_made = true;
	return 0;
}

/* Whether the thread is in a tasklet that is not Python's. */
static bool is_in_foreign_tasklet(void)
{
	return !weft_tasklet_equal(weft_current(), weft_main());
}

static struct thread *attach(void)
{
	struct thread **link = &all_threads;
	struct thread *th;

	if (PyThreadState_GetID(PyThreadState_Get()) == ended.id &&
	    ended.interpreter == n_interpreters) {
		PyErr_SetString(PyExc_RuntimeError,
				"the thread has ended, and its tasklets with "
				"it");
		return NULL;
	}
	th = PyMem_RawCalloc(1, sizeof *th);
	if (!th) {
		PyErr_NoMemory();
		return NULL;
	}
	th->references = 1;
	th->tstate = PyThreadState_Get();
	th->id = th->tstate->thread_id;
	th->weft_id = weft_thread_id();
	if (!th->weft_id) {
		PyErr_NoMemory();
		goto fail;
	}
	if (is_in_foreign_tasklet()) {
		PyErr_SetString(PyExc_RuntimeError,
				"a tasklet that is not Python's cannot use "
				"stackless");
		goto fail;
	}
	th->main = new_tasklet(&tasklet_type, th);
	if (!th->main)
		goto fail;
	th->main->handle = weft_main();
	th->main->life = STARTED;
	th->main->is_main = true;
	th->main->root = tstate_root(th->tstate);
	count(th->main);
	th->current = th->main;
	weft_set_tasklet_data(&th->main->myself);
	if (hang_record(th) < 0)
		goto fail_with_main;
	weft_set_park_callback(on_park, th);
	pthread_setspecific(stopped_key, th);
	this_thread = th;
	while (*link)
		link = &(*link)->next;
	*link = th;
	apply_callbacks(th);
	return th;

fail_with_main:
	weft_set_tasklet_data(NULL);
	retire_main(th->main);
fail:
	unref_thread(th);
	return NULL;
}

/* Without the collector: what it finalizes would attach the thread, too. */
struct thread *attach_thread(void)
{
	int was_enabled = PyGC_Disable();
	struct thread *th = attach();

	if (was_enabled)
		PyGC_Enable();
	return th;
}

/* --- fork, and the end of the interpreter --- */

static PyObject *after_fork_in_child(PyObject *self, PyObject *unused)
{
	struct thread *th = all_threads;

	(void)self;
	(void)unused;
	while (th) {
		struct thread *next = th->next;

		if (th != this_thread)
			forget_thread(th);
		th = next;
	}
	if (this_thread) {
		this_thread->weft_id = weft_thread_id();
		this_thread->id = this_thread->tstate->thread_id;
	}
	Py_RETURN_NONE;
}

/* At the end of the interpreter: a tasklet on another thread can no longer do anything
 * that matters, but may want to tidy up. The main tasklets get a TaskletExit, by which
 * their threads end, and so do the others then. Those that do not give way in time are
 * left. */
enum { END_TRIES = 50 };

static void throw_exit(struct thread *th)
{
	set_exit(th->main);
	weft_tasklet_raise(th->main->handle, ERR_THROWN, WEFT_PENDING);
}

static bool are_others_there(void)
{
	return all_threads && (all_threads != this_thread || all_threads->next);
}

static void end_other_threads(void)
{
	static const struct timespec pause = { .tv_nsec = 1000 * 1000 };
	/* A collection could end threads that are in the list. */
	bool is_enabled = PyGC_Disable();
	struct thread *th;

	for (th = all_threads; th; th = th->next)
		if (th != this_thread)
			throw_exit(th);
	if (is_enabled)
		PyGC_Enable();
	for (int i = 0; i < END_TRIES && are_others_there(); i++) {
		Py_BEGIN_ALLOW_THREADS nanosleep(&pause, NULL);
		Py_END_ALLOW_THREADS
	}
}

static PyObject *at_exit(PyObject *self, PyObject *unused)
{
	struct thread *th = this_thread;

	(void)self;
	(void)unused;
	end_other_threads();
	if (th && th->current == th->main)
		end_thread(th);
	else if (th) /* by Py_Exit() in a tasklet, which will not come back */
		leave_thread(th);
	Py_RETURN_NONE;
}

static PyMethodDef fork_method = { "_after_fork", after_fork_in_child,
				   METH_NOARGS, NULL };
static PyMethodDef exit_method = { "_at_exit", at_exit, METH_NOARGS, NULL };

/* Calls module.function(**{keyword: method}), or with it alone. */
static int enlist(const char *module, const char *function, const char *keyword,
		  PyMethodDef *method)
{
	PyObject *m = PyImport_ImportModule(module);
	PyObject *f = m ? PyObject_GetAttrString(m, function) : NULL;
	PyObject *callable = PyCFunction_New(method, NULL);
	PyObject *args = NULL, *kwargs = NULL, *result = NULL;

	if (f && callable) {
		args = keyword ? PyTuple_New(0) : PyTuple_Pack(1, callable);
		kwargs = keyword ? Py_BuildValue("{sO}", keyword, callable)
				 : NULL;
		if (args && (kwargs || !keyword))
			result = PyObject_Call(f, args, kwargs);
	}
	Py_XDECREF(args);
	Py_XDECREF(kwargs);
	Py_XDECREF(callable);
	Py_XDECREF(f);
	Py_XDECREF(m);
	Py_XDECREF(result);
	return result ? 0 : -1;
}

static bool is_enlisted;

void forget_threads(void)
{
	all_threads = NULL;
	is_enlisted = false;
	n_interpreters++;
}

int init_threads(PyObject *module)
{
	(void)module;
	if (is_enlisted)
		return 0;
	if (make_stopped_key() < 0)
		return -1;
	if (enlist("os", "register_at_fork", "after_in_child", &fork_method) <
		    0 ||
	    enlist("atexit", "register", NULL, &exit_method) < 0)
		return -1;
	is_enlisted = true;
	return 0;
}
