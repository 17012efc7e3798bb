/* SPDX-License-Identifier: MIT */
/*
 * The calls of weft.io: I/O, sleep, deadlines and select for tasklets in Python.
 *
 * A call holds the buffer that it is given, by the buffer protocol, until it returns:
 * nobody can resize the object meanwhile, and it lives on if nobody else wants it. weft
 * returns only when the kernel no longer uses the memory, so that this is long enough.
 *
 * What has completed when a tasklet is killed or an exception is thrown at it is
 * returned, and the exception comes out of its next blocking call: no byte is lost.
 */
#include "stackless.h"

#include <arpa/inet.h>
#include <math.h>
#include <netdb.h>
#include <sys/un.h>

/* With the block trap, weft's own is set for the call, which then fails instead of
 * waiting. */
struct io_call {
	struct call call;
	bool is_trapped; /* then; others may change it meanwhile */
};

static bool begin_io(struct io_call *c)
{
	if (!begin_call(&c->call))
		return false;
	c->is_trapped = c->call.self->block_trap;
	if (unlikely(c->is_trapped))
		weft_set_block_trap(true);
	return true;
}

static long end_io(struct io_call *c, long rc)
{
	if (unlikely(c->is_trapped)) {
		weft_set_block_trap(false);
		if (rc == -EAGAIN) {
			return_to_python(&c->call);
			PyErr_SetString(
				PyExc_RuntimeError,
				"this tasklet does not like to be blocked.");
			return -1;
		}
	}
	return end_call(&c->call, rc);
}

/* The result of a call of weft's that may switch, or -1 with an exception. */
#define CALL(expression)                               \
	({                                             \
		struct io_call c_;                     \
		long rc_ = -1;                         \
                                                       \
		if (begin_io(&c_))                     \
			rc_ = end_io(&c_, expression); \
		rc_;                                   \
	})

/* The descriptor of an object. A socket that is closed has -1, which is an error of the
 * system's; what an object says by itself, as a file that is closed does, comes through. */
static int descriptor_of(PyObject *object)
{
	int fd = PyObject_AsFileDescriptor(object);
	PyObject *type, *value, *traceback, *number;

	if (fd >= 0 || !PyErr_ExceptionMatches(PyExc_ValueError))
		return fd;
	PyErr_Fetch(&type, &value, &traceback);
	number = PyLong_Check(object)
			 ? Py_NewRef(object)
			 : PyObject_CallMethod(object, "fileno", NULL);
	if (!number) {
		PyErr_Restore(type, value, traceback);
		return -1;
	}
	Py_XDECREF(type);
	Py_XDECREF(value);
	Py_XDECREF(traceback);
	Py_DECREF(number);
	return set_error(-EBADF);
}

static PyObject *none_or_null(long rc)
{
	return rc < 0 ? NULL : Py_NewRef(Py_None);
}

static PyObject *number_or_null(long rc)
{
	return rc < 0 ? NULL : PyLong_FromLong(rc);
}

/* --- bytes --- */

/* What all of them have in common; read and write have no flags. */
typedef ssize_t (*transfer_fn)(int fd, void *buf, size_t count, int flags);

static ssize_t do_read(int fd, void *buf, size_t count, int flags)
{
	(void)flags;
	return weft_read(fd, buf, count);
}

static ssize_t do_read_full(int fd, void *buf, size_t count, int flags)
{
	(void)flags;
	return weft_read_full(fd, buf, count);
}

static ssize_t do_write(int fd, void *buf, size_t count, int flags)
{
	(void)flags;
	return weft_write(fd, buf, count);
}

static ssize_t do_write_full(int fd, void *buf, size_t count, int flags)
{
	(void)flags;
	return weft_write_full(fd, buf, count);
}

/* Where none is wanted, recv(2) waits all the same. Python's does not. */
static ssize_t do_recv(int fd, void *buf, size_t count, int flags)
{
	return count ? weft_recv(fd, buf, count, flags) : 0;
}

static ssize_t do_send(int fd, void *buf, size_t count, int flags)
{
	return weft_send(fd, buf, count, flags);
}

static ssize_t do_send_full(int fd, void *buf, size_t count, int flags)
{
	return weft_send_full(fd, buf, count, flags);
}

/* Reads @args: a descriptor, something, and flags if there can be any. */
static bool parse(const char *name, PyObject *const *args, Py_ssize_t n,
		  int most, int *fd, int *flags)
{
	*flags = 0;
	if (n < 2 || n > most) {
		PyErr_Format(PyExc_TypeError,
			     most == 2 ? "%s() takes 2 arguments, not %zd"
				       : "%s() takes 2 or 3 arguments, not %zd",
			     name, n);
		return false;
	}
	*fd = descriptor_of(args[0]);
	if (*fd < 0)
		return false;
	if (n == 3) {
		long value = PyLong_AsLong(args[2]);

		if (value == -1 && PyErr_Occurred())
			return false;
		if (value != (int)value) {
			PyErr_Format(PyExc_OverflowError,
				     "%s(): no flags are as large as %ld", name,
				     value);
			return false;
		}
		*flags = (int)value;
	}
	return true;
}

static PyObject *take(const char *name, transfer_fn fn, int most,
		      PyObject *const *args, Py_ssize_t n)
{
	int fd, flags;
	Py_ssize_t size;
	PyObject *bytes;
	long taken;

	if (!parse(name, args, n, most, &fd, &flags))
		return NULL;
	size = PyNumber_AsSsize_t(args[1], PyExc_OverflowError);
	if (size == -1 && PyErr_Occurred())
		return NULL;
	if (size < 0)
		return PyErr_Format(PyExc_ValueError,
				    "%s(): the size is negative", name);
	bytes = PyBytes_FromStringAndSize(NULL, size);
	if (!bytes)
		return NULL;
	taken = CALL(fn(fd, PyBytes_AS_STRING(bytes), (size_t)size, flags));
	if (taken < 0)
		Py_CLEAR(bytes);
	else if (taken != size)
		_PyBytes_Resize(&bytes, taken);
	return bytes;
}

/* Into the caller's buffer, or out of it. */
static PyObject *with_buffer(const char *name, transfer_fn fn, int most,
			     int access, PyObject *const *args, Py_ssize_t n)
{
	int fd, flags;
	Py_buffer view;
	long moved;

	if (!parse(name, args, n, most, &fd, &flags) ||
	    PyObject_GetBuffer(args[1], &view, access) < 0)
		return NULL;
	moved = CALL(fn(fd, view.buf, (size_t)view.len, flags));
	PyBuffer_Release(&view);
	return number_or_null(moved);
}

#define TAKES(name, fn, most)                                             \
	static PyObject *io_##name(PyObject *self, PyObject *const *args, \
				   Py_ssize_t n)                          \
	{                                                                 \
		(void)self;                                               \
		return take(#name, fn, most, args, n);                    \
	}
#define MOVES(name, fn, most, access)                                     \
	static PyObject *io_##name(PyObject *self, PyObject *const *args, \
				   Py_ssize_t n)                          \
	{                                                                 \
		(void)self;                                               \
		return with_buffer(#name, fn, most, access, args, n);     \
	}

TAKES(read, do_read, 2)
TAKES(read_full, do_read_full, 2)
TAKES(recv, do_recv, 3)
TAKES(recv_full, weft_recv_full, 3)
MOVES(readinto, do_read, 2, PyBUF_WRITABLE)
MOVES(recv_into, do_recv, 3, PyBUF_WRITABLE)
MOVES(write, do_write, 2, PyBUF_SIMPLE)
MOVES(write_full, do_write_full, 2, PyBUF_SIMPLE)
MOVES(send, do_send, 3, PyBUF_SIMPLE)
MOVES(send_full, do_send_full, 3, PyBUF_SIMPLE)

/* --- connections --- */

/* As the module socket shows an address. */
static PyObject *address_of(const struct sockaddr_storage *ss, socklen_t len)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;
	const struct sockaddr_un *un = (const void *)ss;
	const size_t before_path = offsetof(struct sockaddr_un, sun_path);
	char host[INET6_ADDRSTRLEN];

	switch (ss->ss_family) {
	case AF_INET:
		inet_ntop(AF_INET, &in->sin_addr, host, sizeof host);
		return Py_BuildValue("(sH)", host, ntohs(in->sin_port));
	case AF_INET6:
		inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof host);
		return Py_BuildValue("(sHII)", host, ntohs(in6->sin6_port),
				     ntohl(in6->sin6_flowinfo),
				     in6->sin6_scope_id);
	case AF_UNIX:
		if (len <= before_path)
			return PyUnicode_FromString("");
		if (!un->sun_path[0]) /* abstract */
			return PyBytes_FromStringAndSize(
				un->sun_path, (Py_ssize_t)(len - before_path));
		return PyUnicode_DecodeFSDefaultAndSize(
			un->sun_path,
			(Py_ssize_t)strnlen(un->sun_path, len - before_path));
	default:
		return Py_BuildValue("(iy#)", ss->ss_family,
				     (const char *)ss + sizeof(sa_family_t),
				     (Py_ssize_t)(len - sizeof(sa_family_t)));
	}
}

/* accept(fd): the descriptor of the connection, and the peer's address */
static PyObject *io_accept(PyObject *self, PyObject *arg)
{
	struct sockaddr_storage ss = { .ss_family = AF_UNSPEC };
	socklen_t len = sizeof ss;
	int fd = descriptor_of(arg), connection;
	PyObject *address, *result;

	(void)self;
	if (fd < 0)
		return NULL;
	connection = (int)CALL(weft_accept(fd, (struct sockaddr *)&ss, &len));
	if (connection < 0)
		return NULL;
	address = address_of(&ss, len < sizeof ss ? len : sizeof ss);
	result = address ? Py_BuildValue("(iN)", connection, address) : NULL;
	if (!result)
		close(connection);
	return result;
}

/* weft_getaddrinfo(), whose errors are of another kind: *@wrong is set to those. */
static int look_up(const char *host, const char *service,
		   const struct addrinfo *hints, struct addrinfo **found,
		   int *wrong)
{
	*wrong = weft_getaddrinfo(host, service, hints, found);
	return *wrong == EAI_SYSTEM ? -errno : 0;
}

/* Raises the error that the module socket has for names which are not found. */
static void raise_gaierror(const char *host, int wrong)
{
	PyObject *module = PyImport_ImportModule("socket");
	PyObject *type =
		module ? PyObject_GetAttrString(module, "gaierror") : NULL;
	PyObject *text = type ? PyUnicode_FromFormat("%s: '%s'",
						     gai_strerror(wrong), host)
			      : NULL;
	PyObject *args = text ? Py_BuildValue("(iO)", wrong, text) : NULL;

	if (args)
		PyErr_SetObject(type, args);
	Py_XDECREF(args);
	Py_XDECREF(text);
	Py_XDECREF(type);
	Py_XDECREF(module);
}

/* The first address of a name, as connect() of the module socket takes it. */
static bool resolve(const char *host, const char *service, int family, int type,
		    struct sockaddr_storage *ss, socklen_t *len)
{
	struct addrinfo hints = { .ai_family = family,
				  .ai_socktype = type,
				  .ai_flags = AI_NUMERICSERV };
	struct addrinfo *found;
	int wrong = 0;

	if (CALL(look_up(host, service, &hints, &found, &wrong)) < 0)
		return false;
	if (wrong) {
		raise_gaierror(host, wrong);
		return false;
	}
	memcpy(ss, found->ai_addr, found->ai_addrlen);
	*len = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

static bool parse_path(PyObject *address, struct sockaddr_storage *ss,
		       socklen_t *len)
{
	struct sockaddr_un *un = (void *)ss;
	PyObject *path = NULL;
	size_t size;

	if (PyUnicode_Check(address)) /* an abstract name begins with a zero */
		path = PyUnicode_EncodeFSDefault(address);
	else if (PyBytes_Check(address))
		path = Py_NewRef(address);
	else if (!PyUnicode_FSConverter(address, &path))
		return false;
	if (!path)
		return false;
	size = (size_t)PyBytes_GET_SIZE(path);
	/* A path ends with a zero, an abstract name does not. */
	if (size >= sizeof un->sun_path) {
		PyErr_Format(PyExc_OSError,
			     "the path of a Unix socket has at most %zu bytes",
			     sizeof un->sun_path - 1);
		Py_DECREF(path);
		return false;
	}
	*un = (struct sockaddr_un){ .sun_family = AF_UNIX };
	memcpy(un->sun_path, PyBytes_AS_STRING(path), size);
	*len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + size +
			   (size && un->sun_path[0] ? 1 : 0));
	Py_DECREF(path);
	return true;
}

/* Other sequences may let go of the name while it is in use. */
static bool is_tuple(PyObject *address)
{
	if (PyTuple_Check(address))
		return true;
	PyErr_Format(PyExc_TypeError, "an address is a tuple, not %s",
		     Py_TYPE(address)->tp_name);
	return false;
}

static bool parse_address(PyObject *address, int family, int type,
			  struct sockaddr_storage *ss, socklen_t *len)
{
	unsigned flow = 0, scope = 0;
	int port;
	char service[16];
	const char *host;

	switch (family) {
	case AF_UNIX:
		return parse_path(address, ss, len);
	case AF_INET:
		if (!is_tuple(address) ||
		    !PyArg_ParseTuple(address, "si:connect", &host, &port))
			return false;
		break;
	case AF_INET6:
		if (!is_tuple(address) ||
		    !PyArg_ParseTuple(address, "si|II:connect", &host, &port,
				      &flow, &scope))
			return false;
		break;
	default:
		PyErr_Format(
			PyExc_ValueError,
			"connect() knows addresses of AF_INET, AF_INET6 and AF_UNIX, not of family %d",
			family);
		return false;
	}
	if (port < 0 || port > 65535) {
		PyErr_SetString(PyExc_OverflowError,
				"a port is a number from 0 to 65535");
		return false;
	}
	snprintf(service, sizeof service, "%d", port);
	if (!resolve(host, service, family, type, ss, len))
		return false;
	if (family == AF_INET6) {
		struct sockaddr_in6 *in6 = (void *)ss;

		in6->sin6_flowinfo = htonl(flow);
		if (scope)
			in6->sin6_scope_id = scope;
	}
	return true;
}

/* connect(fd, family, type, address) */
static PyObject *io_connect(PyObject *self, PyObject *args)
{
	struct sockaddr_storage ss;
	int fd, family, type;
	PyObject *address;
	socklen_t len;

	(void)self;
	if (!PyArg_ParseTuple(args, "iiiO", &fd, &family, &type, &address) ||
	    !parse_address(address, family, type, &ss, &len))
		return NULL;
	return none_or_null(
		CALL(weft_connect(fd, (struct sockaddr *)&ss, len)));
}

static bool is_address(const char *text)
{
	const char *wrong = weft_address_error(text);

	if (wrong)
		PyErr_Format(PyExc_ValueError, "the address '%s': %s", text,
			     wrong);
	return !wrong;
}

/* listen(address, backlog) and dial(address): a descriptor */
static PyObject *io_listen(PyObject *self, PyObject *args)
{
	const char *address;
	int backlog;

	(void)self;
	if (!PyArg_ParseTuple(args, "si", &address, &backlog) ||
	    !is_address(address))
		return NULL;
	return number_or_null(CALL(weft_listen(address, backlog)));
}

static PyObject *io_dial(PyObject *self, PyObject *arg)
{
	const char *address;

	(void)self;
	if (!PyArg_Parse(arg, "s:dial", &address) || !is_address(address))
		return NULL;
	return number_or_null(CALL(weft_dial(address)));
}

/* close(fd): it is closed whatever comes of it */
static PyObject *io_close(PyObject *self, PyObject *arg)
{
	int fd = descriptor_of(arg);

	(void)self;
	return fd < 0 ? NULL : none_or_null(CALL(weft_close(fd)));
}

/* --- time --- */

/* Seconds, to nanoseconds: what does not fit is for ever. */
static bool seconds(PyObject *number, int64_t *ns)
{
	double value = PyFloat_AsDouble(number);

	if (value == -1 && PyErr_Occurred())
		return false;
	if (isnan(value)) {
		PyErr_SetString(PyExc_ValueError, "the time is not a number");
		return false;
	}
	value *= 1e9;
	*ns = value >= 9.2e18    ? WEFT_FOREVER
	      : value <= -9.2e18 ? INT64_MIN
				 : (int64_t)value;
	return true;
}

/* The moment @ns from now on. */
static int64_t from_now(int64_t ns)
{
	int64_t now = weft_now();

	if (ns <= 0)
		return now;
	return ns < WEFT_FOREVER - now ? now + ns : WEFT_FOREVER;
}

static PyObject *io_sleep(PyObject *self, PyObject *arg)
{
	int64_t ns;

	(void)self;
	return seconds(arg, &ns) ? none_or_null(CALL(weft_sleep(ns))) : NULL;
}

/* A deadline, a context manager: one scope of weft's in one tasklet. */
struct deadline {
	PyObject_HEAD int64_t ns;
	weft_tasklet owner; /* null: it has not begun */
	struct weft_deadline scope;
	int64_t when;
	struct deadline *outer; /* the one around it */
	bool has_ended, expired;
};

/* Takes the innermost one off the tasklet's list, which has a reference. */
static void pop_deadline(struct tasklet *t)
{
	struct deadline *d = t->deadlines;

	t->deadlines = d->outer;
	d->outer = NULL;
	d->has_ended = true;
	Py_DECREF(d);
}

void forget_deadlines(struct tasklet *t)
{
	while (unlikely(t->deadlines))
		pop_deadline(t);
}

/* Ends one. Those inside it that are still open, of generators that are in the middle of
 * their `with`, are ended by the library as well, and so are begun again. */
static void end_deadline(struct tasklet *t, struct deadline *d)
{
	struct deadline *inner = NULL, *next;

	for (; t->deadlines != d; inner = next) {
		next = t->deadlines;
		weft_deadline_end(&next->scope);
		t->deadlines = next->outer;
		next->outer = inner;
	}
	d->expired = weft_deadline_end(&d->scope);
	pop_deadline(t);
	for (; inner; inner = next) {
		next = inner->outer;
		weft_deadline_begin(&inner->scope, inner->when);
		inner->outer = t->deadlines;
		t->deadlines = inner;
	}
}

static PyObject *deadline_new(PyTypeObject *type, PyObject *args,
			      PyObject *kwargs)
{
	static char *names[] = { "seconds", NULL };
	struct deadline *d;
	PyObject *number;
	int64_t ns;

	if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O:deadline", names,
					 &number) ||
	    !seconds(number, &ns))
		return NULL;
	d = (struct deadline *)type->tp_alloc(type, 0);
	if (d)
		d->ns = ns;
	return (PyObject *)d;
}

/* A callback runs in the middle of a call of the tasklet's. If the call is woken because
 * a deadline has passed, that deadline must still be there. */
static bool is_between_calls(const struct thread *th)
{
	if (th->is_in_callback)
		PyErr_SetString(PyExc_RuntimeError,
				"a callback cannot begin or end a deadline");
	return !th->is_in_callback;
}

static PyObject *deadline_enter(PyObject *self, PyObject *none)
{
	struct deadline *d = (struct deadline *)self;
	struct thread *th = get_thread();

	(void)none;
	if (!th || !is_between_calls(th))
		return NULL;
	if (!weft_tasklet_equal(th->current->handle, weft_current())) {
		PyErr_SetString(PyExc_RuntimeError,
				"no tasklet runs here that could have a "
				"deadline");
		return NULL;
	}
	if (!weft_tasklet_is_null(d->owner)) {
		PyErr_SetString(PyExc_RuntimeError,
				"a deadline is for one `with` alone");
		return NULL;
	}
	d->owner = weft_current();
	d->when = from_now(d->ns);
	weft_deadline_begin(&d->scope, d->when);
	d->outer = th->current->deadlines;
	th->current->deadlines = (struct deadline *)Py_NewRef(d);
	return Py_NewRef(self);
}

/* Where the tasklet has ended, its scopes have ended with it: a generator that it has left
 * behind ends its `with` wherever it is collected. */
static PyObject *deadline_exit(PyObject *self, PyObject *exception)
{
	struct deadline *d = (struct deadline *)self;

	(void)exception;
	if (weft_tasklet_is_null(d->owner)) {
		PyErr_SetString(PyExc_RuntimeError,
				"the deadline has not begun");
		return NULL;
	}
	if (!d->has_ended && weft_tasklet_alive(d->owner)) {
		if (!weft_tasklet_equal(d->owner, weft_current())) {
			PyErr_SetString(PyExc_RuntimeError,
					"the deadline is another tasklet's");
			return NULL;
		}
		if (!is_between_calls(this_thread))
			return NULL;
		end_deadline(this_thread->current, d);
	}
	d->has_ended = true;
	return Py_NewRef(Py_False);
}

static PyMethodDef deadline_methods[] = {
	{ "__enter__", deadline_enter, METH_NOARGS, NULL },
	{ "__exit__", deadline_exit, METH_VARARGS, NULL },
	{ 0 },
};

static PyMemberDef deadline_members[] = {
	{ "expired", T_BOOL, offsetof(struct deadline, expired), READONLY,
	  "Whether it had passed when the `with` ended." },
	{ 0 },
};

PyTypeObject deadline_type = {
	PyVarObject_HEAD_INIT(NULL, 0) /* */
		.tp_name = "weft.io.deadline",
	.tp_basicsize = sizeof(struct deadline),
	.tp_flags = Py_TPFLAGS_DEFAULT,
	.tp_doc = PyDoc_STR(
		"deadline(seconds)\n--\n\n"
		"A time limit for all blocking calls of the tasklet inside a `with`: TimeoutError."),
	.tp_new = deadline_new,
	.tp_methods = deadline_methods,
	.tp_members = deadline_members,
};

/* --- select --- */

/* A closed channel only serves those who wait in it. */
static bool is_open(struct channel *ch, enum weft_op op)
{
	int balance = weft_channel_balance(ch->channel);

	if (!ch->closing || (op == WEFT_SEND ? balance < 0 : balance > 0))
		return true;
	PyErr_SetString(PyExc_ValueError,
			"Send/receive operation on a closed channel");
	return false;
}

/* A case is (operation, object, value). A send has a reference to its value, which is the
 * receiver's if it goes through. */
static bool make_case(PyObject *description, struct weft_case *c,
		      PyObject **element)
{
	PyObject *object, *value;
	int64_t ns;
	int op;

	if (!PyArg_ParseTuple(description, "iOO", &op, &object, &value))
		return false;
	c->op = (enum weft_op)op;
	c->element = element;
	switch (c->op) {
	case WEFT_SEND:
	case WEFT_RECEIVE:
		if (!PyObject_TypeCheck(object, &channel_type)) {
			PyErr_Format(
				PyExc_TypeError,
				"%R is no channel, which a Send or a Receive has",
				object);
			return false;
		}
		if (!is_open((struct channel *)object, c->op))
			return false;
		c->channel = ((struct channel *)object)->channel;
		if (c->op == WEFT_SEND)
			*element = Py_NewRef(value);
		return true;
	case WEFT_READABLE:
	case WEFT_WRITABLE:
		c->fd = descriptor_of(object);
		return c->fd >= 0;
	case WEFT_AT:
		if (!seconds(object, &ns))
			return false;
		c->when = from_now(ns);
		return true;
	}
	PyErr_Format(PyExc_ValueError, "%d is no operation", op);
	return false;
}

/* What select() returns for the case @i, which went through. */
static PyObject *outcome(struct weft_case *c, PyObject **element, long i)
{
	PyObject *value = Py_None;

	if (c->result < 0) {
		set_error(c->result);
		return NULL;
	}
	if (c->op == WEFT_RECEIVE) {
		value = *element;
		*element = NULL;
		if (is_bomb(value))
			return explode(value);
		return Py_BuildValue("(lN)", i, value);
	}
	if (c->op == WEFT_SEND)
		*element = NULL;
	return Py_BuildValue("(lO)", i, value);
}

/* If it waits for channels alone, a tasklet that nobody can reach waits for ever. Each
 * case then has a reference to it, for the collector, which visits it once for each. One
 * of them is that which weft has. Returns how many there are more. */
static size_t lend_references(struct tasklet *t, const struct weft_case *cases,
			      size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (cases[i].op != WEFT_SEND && cases[i].op != WEFT_RECEIVE)
			return 0;
	for (size_t i = 1; i < n; i++)
		Py_INCREF(t);
	t->is_selecting = true;
	return n ? n - 1 : 0;
}

/* The index of a case, @n if none is possible now, or -1 with an exception. */
static long choose(struct weft_case *cases, size_t n, bool block,
		   PyObject *const *stack_top)
{
	struct tasklet *self;
	struct io_call c;
	size_t n_more;
	bool before;
	long rc;

	if (!begin_io(&c))
		return -1;
	self = c.call.self;
	self->stack_top = stack_top;
	before = self->is_selecting;
	n_more = lend_references(self, cases, n);
	rc = weft_select(cases, n, block ? 0 : WEFT_NONBLOCK);
	if (rc == -EAGAIN && !block)
		rc = (long)n;
	rc = end_io(&c, rc);
	self->is_selecting = before;
	while (n_more-- > 0)
		Py_DECREF(self);
	return rc;
}

/* select(cases, block) */
static PyObject *io_select(PyObject *self, PyObject *const *args,
			   Py_ssize_t n_args)
{
	PyObject *described, *result = NULL;
	struct weft_case *cases;
	PyObject **elements;
	Py_ssize_t n;
	int block;
	long i = 0;

	(void)self;
	if (n_args != 2 || !PyTuple_Check(args[0])) {
		PyErr_SetString(PyExc_TypeError,
				"select() takes a tuple and a bool");
		return NULL;
	}
	described = args[0];
	block = PyObject_IsTrue(args[1]);
	if (block < 0)
		return NULL;
	n = PyTuple_GET_SIZE(described);
	cases = PyMem_Calloc((size_t)n + 1, sizeof *cases + sizeof *elements);
	if (!cases)
		return PyErr_NoMemory();
	elements = (PyObject **)(cases + n + 1);
	while (i < n && make_case(PyTuple_GET_ITEM(described, i), &cases[i],
				  &elements[i]))
		i++;
	if (i == n) {
		i = choose(cases, (size_t)n, block, args + n_args);
		if (i == n)
			result = Py_BuildValue("(OO)", Py_None, Py_None);
		else if (i >= 0)
			result = outcome(&cases[i], &elements[i], i);
	}
	for (i = 0; i < n; i++)
		Py_XDECREF(elements[i]);
	PyMem_Free(cases);
	return result;
}

/* --- the module --- */

static PyMethodDef methods[] = {
	{ "accept", io_accept, METH_O, NULL },
	{ "close", io_close, METH_O, NULL },
	{ "connect", io_connect, METH_VARARGS, NULL },
	{ "dial", io_dial, METH_O, NULL },
	{ "listen", io_listen, METH_VARARGS, NULL },
	{ "select", _PyCFunction_CAST(io_select), METH_FASTCALL, NULL },
	{ "read", _PyCFunction_CAST(io_read), METH_FASTCALL,
	  PyDoc_STR(
		  "read(fd, size, /)\n--\n\nAt most so many bytes; empty at the end.") },
	{ "read_full", _PyCFunction_CAST(io_read_full), METH_FASTCALL,
	  PyDoc_STR(
		  "read_full(fd, size, /)\n--\n\nSo many bytes; fewer at the end.") },
	{ "readinto", _PyCFunction_CAST(io_readinto), METH_FASTCALL,
	  PyDoc_STR(
		  "readinto(fd, buffer, /)\n--\n\nReads into it, and returns how many bytes.") },
	{ "recv", _PyCFunction_CAST(io_recv), METH_FASTCALL,
	  PyDoc_STR(
		  "recv(fd, size, flags=0, /)\n--\n\nAt most so many bytes; empty at the end.") },
	{ "recv_full", _PyCFunction_CAST(io_recv_full), METH_FASTCALL,
	  PyDoc_STR(
		  "recv_full(fd, size, flags=0, /)\n--\n\nSo many bytes; fewer at the end.") },
	{ "recv_into", _PyCFunction_CAST(io_recv_into), METH_FASTCALL,
	  PyDoc_STR(
		  "recv_into(fd, buffer, flags=0, /)\n--\n\nReceives into it, and returns how many bytes.") },
	{ "send", _PyCFunction_CAST(io_send), METH_FASTCALL,
	  PyDoc_STR(
		  "send(fd, data, flags=0, /)\n--\n\nReturns how many bytes were taken.") },
	{ "send_full", _PyCFunction_CAST(io_send_full), METH_FASTCALL,
	  PyDoc_STR(
		  "send_full(fd, data, flags=0, /)\n--\n\nSends all, and returns how many bytes.") },
	{ "sleep", io_sleep, METH_O,
	  PyDoc_STR(
		  "sleep(seconds, /)\n--\n\nBlocks the tasklet for so long; 0 or less gives way once.") },
	{ "write", _PyCFunction_CAST(io_write), METH_FASTCALL,
	  PyDoc_STR(
		  "write(fd, data, /)\n--\n\nReturns how many bytes were taken.") },
	{ "write_full", _PyCFunction_CAST(io_write_full), METH_FASTCALL,
	  PyDoc_STR(
		  "write_full(fd, data, /)\n--\n\nWrites all, and returns how many bytes.") },
	{ 0 },
};

static PyModuleDef definition = {
	PyModuleDef_HEAD_INIT,
	.m_name = "_stackless._io",
	.m_size = -1,
	.m_methods = methods,
};

int init_io(PyObject *module)
{
	PyObject *io;

	if (PyType_Ready(&deadline_type) < 0)
		return -1;
	io = PyModule_Create(&definition);
	if (!io)
		return -1;
	if (PyModule_AddObjectRef(io, "deadline", (PyObject *)&deadline_type) <
		    0 ||
	    PyModule_AddObjectRef(module, "_io", io) < 0) {
		Py_DECREF(io);
		return -1;
	}
	Py_DECREF(io);
	return 0;
}
