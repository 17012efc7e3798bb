/* SPDX-License-Identifier: MIT */
/*
 * What the files of the extension share.
 *
 *	module.c     the module
 *	tasklet.c    the type tasklet; life.c: how one begins and ends; control.c: run,
 *	             switch, kill and their kin; attributes.c: its attributes
 *	channel.c    the type channel
 *	schedule.c   schedule(), run() and what is said of threads
 *	watchdog.c   run() with a limit
 *	callbacks.c  what the program wants to be told of
 *	bomb.c       exceptions that are passed as values
 *	pickle.c     what subclasses add to what is pickled
 *	thread.c     OS threads, their end, fork, the end of the interpreter
 *	io.c         what the module weft.io calls
 *	collect.c    frames: what the garbage collector is told of tasklets that wait
 *	tstate.h     the state of an interpreter's thread, by version
 *
 * A tasklet of Python is one of weft, with a C stack of its own, and all tasklets of an
 * OS thread share its PyThreadState. So a call that may switch saves what belongs to its
 * tasklet there, and puts it back when it has the thread again:
 *
 *	struct call c;
 *	long rc;
 *
 *	if (!begin_call(&c))
 *		return NULL;
 *	rc = weft_recv(fd, buf, n, 0);
 *	if (end_call(&c, rc) < 0)
 *		return NULL;
 *
 * begin_call() attaches the thread if need be, and refuses inside of a greenlet.
 * end_call() gives back what weft's call has returned if that is not negative, else -1
 * with an exception: the one that was thrown at the tasklet (kill, throw, Ctrl-C), or the
 * one that stands for the error (set_error()). What the call took is therefore never lost:
 * an exception that came too late for it is raised by the next one.
 *
 * Nobody releases the global interpreter lock round such a call. It is held while
 * tasklets switch, and released by the callback of thread.c while the thread sleeps, and
 * only then. A function that blocks its OS thread by itself, without weft, goes between
 * Py_BEGIN_ALLOW_THREADS and Py_END_ALLOW_THREADS as everywhere.
 */
#ifndef WEFT_PYTHON_STACKLESS_H
#define WEFT_PYTHON_STACKLESS_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <errno.h>
#include <stdbool.h>
#include <structmember.h>
#include <weft.h>

#include "tstate.h"

#define HIDDEN      __attribute__((visibility("hidden")))
#define likely(x)   __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)

/* What weft returns for an exception that is in tasklet->thrown. No call of the system
 * has this number. */
enum { ERR_THROWN = 4000 };

/* The C stack of a tasklet: for the interpreter's limit on recursion, where each level
 * goes through C. A key function that sorts takes up to 3 KB a level. 3.11 counts nothing
 * but levels, 1,000 of them; later ones have a limit of their own for C, which is set to
 * what the stack has room for (tstate.h). Only what is touched takes memory, and page
 * tables: 4 KiB for up to 2 MiB of addresses, 8 KiB beyond that, because the guard is far
 * from the top. With half of it json, pickle and the like could nest 486 levels only. */
#if PY_VERSION_HEX < 0x030c0000
enum { TASKLET_STACK_BYTES = 4000 * 1024 };
#else
enum { TASKLET_STACK_BYTES = 1900 * 1024 };
#endif

struct thread;
struct channel;
struct watchdog;

/* See life.c. */
enum life { UNBORN, FRESH, STARTED };

struct tasklet {
	PyObject_HEAD vectorcallfunc call; /* of the tasklet: setup() */
	weft_tasklet handle;               /* null: UNBORN */
	struct tasklet *myself; /* STARTED: weft's data point to this place */
	struct seed *seed;      /* FRESH: they point to that one */
	struct thread *thread;  /* a reference; NULL: its thread has ended */
	/* What each call that switches looks at, side by side. */
	struct saved_state *saved; /* on its stack, while it is not current */
	const _PyStackChunk *root; /* of its data stack; NULL: not known yet */
	PyObject *const
		*stack_top; /* of its innermost frame, or NULL: collect.c */
	PyObject *tempval; /* passed by schedule(), NULL: the tasklet itself; or
			       * the function if it is not set up */
	PyObject *thrown; /* a bomb, for its next return from a call; or NULL */
	struct channel *channel; /* of the send or receive that it is in */
	PyObject *sending;       /* what it waits to send; the channel's */
	enum life life;
	signed char direction; /* of that call: 1 a send, -1 a receive */
	bool is_main;
	bool is_set_up;  /* it is alive: it has a function and has not ended */
	bool is_counted; /* weft has a reference: it is in a queue, or runs */
	bool atomic, ignore_nesting, block_trap;
	bool is_selecting;     /* among channels: each has a reference */
	unsigned char n_exits; /* that it has got while its thread ends */
	bool was_spared; /* it was unreachable, was killed, and waits again */
	PyObject *function; /* these three from setup() to the beginning */
	PyObject *args, *kwargs;
	PyObject *context;         /* until it begins */
	PyObject *trace, *profile; /* functions to begin with; or NULL */
	Py_tracefunc own_trace;    /* what the watchdog's one calls, or NULL */
	struct tasklet *watched_next, **watched_link; /* its list; or NULL */
	struct deadline *deadlines; /* that it is in, the innermost first */
	PyObject *weakrefs;
};

struct channel {
	PyObject_HEAD weft_channel *channel;
	PyObject *weakrefs;
	signed char preference;
	bool schedule_all;
	bool closing;
};

/* An OS thread of Python's that uses the module. */
struct thread {
	PyThreadState *tstate; /* NULL: it has ended */
	struct tasklet
		*current; /* the one that runs; owned by its being counted */
	struct tasklet *main; /* a reference */
	PyObject *left;       /* to be released by whoever runs next; or NULL */
	struct thread *next;  /* in the list of all */
	size_t references;
	unsigned long id; /* of Python */
	uint64_t weft_id;
	unsigned n_husks; /* in its queue: life.c */
	bool is_ending;   /* its tasklets are being ended */
	bool was_deleted; /* `tstate`, by Python, and it does not end itself */
	bool is_in_callback; /* the program's callback must not be called again */
	struct runner *running; /* the innermost call of run() */
	PyObject *
		runners; /* a list of them: watchdog.c; NULL: never asked for */
	struct watchdog
		*watchdog; /* the limit of the outermost run() that has one */
	PyThreadState *released; /* while the thread sleeps */
	struct idle_state idle;
};

extern PyTypeObject tasklet_type HIDDEN;
extern PyTypeObject channel_type HIDDEN;
extern PyTypeObject bomb_type HIDDEN;
extern PyTypeObject atomic_type HIDDEN;
extern PyTypeObject deadline_type HIDDEN;
extern PyTypeObject probe_type HIDDEN;
extern PyObject *TaskletExit HIDDEN;

/* --- thread.c --- */

extern __thread struct thread *this_thread HIDDEN
	__attribute__((tls_model("initial-exec")));

/* Attaches the calling thread. NULL with an exception. */
struct thread *attach_thread(void) HIDDEN;

static inline struct thread *get_thread(void)
{
	struct thread *th = this_thread;

	return likely(th) ? th : attach_thread();
}

/* Whether the calling thread still has the interpreter's lock. It has not if it ends
 * without having told Python: then nothing of Python's can be touched. */
bool has_interpreter(const struct thread *th) HIDDEN;

struct thread *ref_thread(struct thread *th) HIDDEN;
void unref_thread(struct thread *th) HIDDEN;

/* Takes in what other threads have done to tasklets of this one. weft does that when
 * tasklets switch. But a thread that only asks how they are must learn of it too. */
void take_in(void) HIDDEN;

/* All threads that are attached. */
extern struct thread *all_threads HIDDEN;
struct thread *find_thread(unsigned long id) HIDDEN;

int init_threads(PyObject *module) HIDDEN;

/* Another interpreter begins; see module.c. */
void forget_threads(void) HIDDEN;

/* --- calls that may switch --- */

struct call;
struct call {
	struct thread *thread;
	struct tasklet *self;
	struct saved_state saved;
};

/* Whether the frames of the interpreter are those of the current tasklet; if not, with an
 * exception. A greenlet has a data stack of its own. What it saves and restores of the C
 * stack is of the tasklet that has begun it, and it does not know that there are others. */
bool are_frames_its_own(const struct thread *th) HIDDEN __attribute__((cold));

static inline bool may_switch(const struct thread *th)
{
	return likely(th->tstate->datastack_chunk == th->current->root) ||
	       are_frames_its_own(th);
}

/* The same at the end of begin_call_of(), which it undoes then. */
bool stays_begun(struct call *c) HIDDEN __attribute__((cold));

static inline void begin_call_of(struct call *c, struct thread *th)
{
	c->thread = th;
	c->self = th->current;
	c->self->saved = &c->saved;
	c->self->stack_top = NULL;
	tstate_save(th->tstate, &c->saved);
}

static inline bool begin_call(struct call *c)
{
	struct thread *th = get_thread();

	if (unlikely(!th || !may_switch(th)))
		return false;
	begin_call_of(c, th);
	return true;
}

/* The rare part of return_to_python(). */
void arrive_slowly(struct call *c) HIDDEN;

/* Ends the calling tasklet, whose thread has no interpreter any more: see end_forgotten(). */
_Noreturn void abandon(struct call *c) HIDDEN __attribute__((cold));

/* The tasklet has the thread again. What another one has left is done here. */
static inline void return_to_python(struct call *c)
{
	struct thread *th = c->thread;

	if (likely(th->current != c->self)) {
		if (unlikely(!th->tstate))
			abandon(c);
		th->current = c->self;
		tstate_restore(th->tstate, &c->saved);
	}
	if (unlikely(th->left || th->watchdog || c->saved.is_traced))
		arrive_slowly(c);
}

/* Sets the exception for an error that weft has returned: -EDEADLK and, under a switch
 * trap, -EPERM are RuntimeErrors, all others OSErrors. Returns -1. */
int set_error(long rc) HIDDEN;

/* The end of a call that has returned a negative number: raises what was thrown at the
 * tasklet, or what set_error() does. Returns -1. */
int fail_call(struct call *c, long rc) HIDDEN;

/* Raises what was thrown at the tasklet though its call has succeeded, with @rc. Returns
 * -1. In a callback the tasklet is in another call already, which the exception wakes: it
 * is left to that one, and @rc is returned. */
long raise_thrown(struct call *c, long rc) HIDDEN;

static inline long end_call(struct call *c, long rc)
{
	if (unlikely(rc < 0))
		return fail_call(c, rc);
	return_to_python(c);
	return rc;
}

/* The same, but what was thrown comes at once, whatever the call has returned: as
 * Stackless has it. For calls that take nothing, or whose value may be dropped. */
static inline long end_switch(struct call *c, long rc)
{
	if (unlikely(rc < 0))
		return fail_call(c, rc);
	return_to_python(c);
	return likely(!c->self->thrown) ? rc : raise_thrown(c, rc);
}

/* Code of the program's that runs in the middle of a call: of the tasklet that gives way,
 * or has ended. It cannot switch. But it may try, and then what its call notes of the
 * tasklet must not stay there. */
struct interlude {
	struct tasklet *self;
	struct saved_state *saved;
	PyObject *const *stack_top;
	struct channel *channel;
	PyObject *sending;
	PyObject *left;
	signed char direction;
	bool is_counted;
};

void begin_interlude(struct interlude *i, struct thread *th) HIDDEN;
void end_interlude(struct interlude *i, struct thread *th) HIDDEN;

/* The same for a callback. The calling tasklet is on its way out, so its trace functions
 * are saved already, in @s, which is NULL if it has ended. The callback sees and sets them
 * as if they were not. */
void begin_callback(struct thread *th, struct saved_state *s,
		    struct interlude *i) HIDDEN;
void end_callback(struct thread *th, struct saved_state *s,
		  struct interlude *i) HIDDEN;

/* --- bomb.c --- */

struct bomb {
	PyObject_HEAD PyObject *type, *value, *traceback;
};

static inline bool is_bomb(PyObject *o)
{
	return Py_IS_TYPE(o, &bomb_type);
}

/* A bomb of the exception that is set, which is cleared. Never NULL: a bomb for want of
 * memory is kept. */
PyObject *bomb_from_error(void) HIDDEN;

/* Of the arguments of a `raise`, as throw() has them: if no traceback is given, an
 * instance keeps its own. NULL with an exception. */
PyObject *bomb_from_raise(PyObject *type, PyObject *value,
			  PyObject *traceback) HIDDEN;

/* Of a class and arguments for it, as raise_exception() has them. */
PyObject *bomb_from_class(PyObject *class, PyObject *args,
			  const char *caller) HIDDEN;

/* Sets the exception and releases the bomb. Returns NULL. */
PyObject *explode(PyObject *bomb) HIDDEN;

int init_bombs(void) HIDDEN;
void forget_bombs(void) HIDDEN;

/* --- tasklet.c, life.c --- */

int init_tasklets(PyObject *module) HIDDEN;

struct tasklet *new_tasklet(PyTypeObject *type, struct thread *th) HIDDEN;

/* The tasklet of Python that a handle stands for; NULL: of this thread it is none.
 * Borrowed. */
struct tasklet *tasklet_of(weft_tasklet t) HIDDEN;

/* Puts a tasklet that is set up at the end of its thread's queue. */
int spawn(struct tasklet *t) HIDDEN;

/* Another interpreter begins; see module.c. */
void forget_seeds(void) HIDDEN;

/* Takes a fresh tasklet out of its thread's queue: it is unborn again, and set up. */
void unspawn(struct tasklet *t) HIDDEN;

/* What weft counts as runnable on a thread, less what unspawn() has left there. */
unsigned without_husks(const struct thread *th, unsigned runcount) HIDDEN;

/* The tasklet has ended, or will never run: forgets what it was to run. */
void clear_function(struct tasklet *t) HIDDEN;

static inline void forget_function(struct tasklet *t)
{
	if (t->is_set_up || t->thrown)
		clear_function(t);
}

/* weft's reference. A tasklet that has it is in a queue, or waits in a channel. */
static inline void count(struct tasklet *t)
{
	if (!t->is_counted) {
		t->is_counted = true;
		Py_INCREF(t);
	}
}

void uncount(struct tasklet *t) HIDDEN;

static inline bool is_of_this_thread(const struct tasklet *t)
{
	return t->thread && t->thread == this_thread;
}

/* Whether its thread still is there. */
static inline bool has_thread(const struct tasklet *t)
{
	return t->thread && t->thread->tstate;
}

static inline bool is_alive(const struct tasklet *t)
{
	return (t->is_set_up && has_thread(t)) || t->is_main;
}

/* Takes the reference to @value. What it replaces may have a destructor that switches, and
 * leaves something there itself. */
static inline void replace_tempval(struct tasklet *t, PyObject *value)
{
	if (unlikely(t->tempval != Py_None))
		Py_XSETREF(t->tempval, Py_NewRef(Py_None));
	Py_XSETREF(t->tempval, value);
}

/* --- control.c --- */

/* Throws a bomb, which is given away, at a tasklet. None, or NULL with an exception. */
PyObject *throw_bomb(struct tasklet *t, PyObject *bomb, bool pending) HIDDEN;

PyObject *kill_tasklet(struct tasklet *t, bool pending) HIDDEN;

/* Kills a tasklet that is being finalized, and lets it run if that can be. What is thrown
 * at the caller meanwhile is left to its next call. */
void kill_unreachable(struct tasklet *t) HIDDEN;

extern PyMethodDef tasklet_methods[] HIDDEN;

/* --- attributes.c --- */

extern PyGetSetDef tasklet_attributes[] HIDDEN;

/* Calls sys.settrace() or sys.setprofile(). */
int call_sys(const char *name, PyObject *function) HIDDEN;

bool is_scheduled(const struct tasklet *t) HIDDEN;
bool is_blocked(const struct tasklet *t) HIDDEN;
bool is_current(const struct tasklet *t) HIDDEN;

/* All tasklets of this thread's run queue, or of a channel; for PyMem_RawFree(). NULL
 * with an exception. */
weft_tasklet *list_tasklets(weft_channel *ch, size_t *n) HIDDEN;

/* --- channel.c --- */

int init_channels(PyObject *module) HIDDEN;

/* --- pickle.c --- */

/* The state of an object with what its subclass adds. Takes the state, and NULL as well. */
PyObject *with_additions(PyObject *self, PyObject *state) HIDDEN;

/* Puts that back. */
int set_additions(PyObject *self, PyObject *added) HIDDEN;

/* --- io.c --- */

int init_io(PyObject *module) HIDDEN;

/* The tasklet has ended, and its scopes with it. */
void forget_deadlines(struct tasklet *t) HIDDEN;

/* --- schedule.c, watchdog.c, callbacks.c --- */

/* A tasklet runs, or runs again, while a run() with a limit is under way, or has its
 * trace function from then. */
void watch_tasklet(struct thread *th) HIDDEN;

/* A tasklet with a watched_link, which runs, ends. */
void forget_watched(PyThreadState *ts, struct tasklet *t) HIDDEN;

extern PyMethodDef schedule_methods[] HIDDEN;
extern PyMethodDef callback_methods[] HIDDEN;

/* schedule() and schedule_remove(). */
PyObject *schedule(PyObject *value, bool remove,
		   PyObject *const *stack_top) HIDDEN;

/* t.run(), or if the caller pauses, t.switch(). */
PyObject *switch_to(struct tasklet *t, bool pauses) HIDDEN;

/* The arguments of a vectorcall, as a tuple, and as a dictionary or NULL. */
bool pack_arguments(PyObject *const *args, size_t n, PyObject *names,
		    PyObject **tuple, PyObject **dict) HIDDEN;

/* run(), and with a limit of so many steps. */
PyObject *run_without_limit(bool threadblock) HIDDEN;

/* A call of run(), on its caller's stack. */
struct runner {
	struct tasklet *tasklet;
	struct runner *outer;
};

int enter_run(struct thread *th, struct runner *r) HIDDEN;
void leave_run(struct thread *th, struct runner *r) HIDDEN;

/* The tasklets inside run(), behind the one whose run() has a limit, or None: a list that
 * is always the same. For get_thread_info(), as Stackless's own tests have it. Borrowed. */
PyObject *get_runners(struct thread *th) HIDDEN;

PyObject *run_with_limit(long timeout, bool threadblock, bool soft,
			 bool ignore_nesting, bool total) HIDDEN;

extern bool is_channel_watched HIDDEN; /* there is a channel callback */

void forget_callbacks(void) HIDDEN;

/* Puts the callbacks that the program has set on a thread. */
void apply_callbacks(struct thread *th) HIDDEN;

/* Calls the error handler for the exception that is set. Returns whether that has
 * handled it. */
bool call_error_handler(void) HIDDEN;

/* --- collect.c --- */

/* A tasklet that was spared may be finalized again. */
void allow_finalizer(struct tasklet *t) HIDDEN;

int traverse_stack(struct tasklet *t, visitproc visit, void *arg) HIDDEN;

/* A value of tasklet.stack_top: its innermost frame is in a `for` over tasklet.channel. */
extern PyObject *const in_for[] HIDDEN;

/* Whether the interpreter makes a call that returns to @address for a `for`. */
bool is_for(const void *address) HIDDEN;

int init_collection(void) HIDDEN;

/* How many calls of the interpreter are on the C stack of a tasklet, the current one if
 * @s is NULL: the first one, and one more wherever C code has called Python. No more than
 * @limit are looked for. */
int count_interpreters(const PyThreadState *ts, const struct saved_state *s,
		       int limit) HIDDEN;

/* The innermost frame of a tasklet that does not run; NULL: none. A new reference. */
PyFrameObject *get_frame(struct tasklet *t) HIDDEN;

/* The calling tasklet, whose state that is, will never go on, and its stack goes: whoever
 * has one of its frames has a copy from here on. */
void keep_frames(PyThreadState *ts) HIDDEN;

#endif /* WEFT_PYTHON_STACKLESS_H */
