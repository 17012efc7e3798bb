/* SPDX-License-Identifier: MIT */
/*
 * What weft uses is not worked out here a second time: the library is made to
 * open a ring and to park, and then looked at.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weft.h>

#include "../bench/bench.h" /* the doorbell */
#include "../json.h"
#include "core/scheduler.h"
#include "info.h"

static void add_ring(const struct engine *e)
{
	static const struct {
		unsigned flag;
		const char *name;
	} names[] = {
		{ IORING_SETUP_SINGLE_ISSUER, "SINGLE_ISSUER " },
		{ IORING_SETUP_DEFER_TASKRUN, "DEFER_TASKRUN " },
		{ IORING_SETUP_COOP_TASKRUN, "COOP_TASKRUN " },
		{ IORING_SETUP_TASKRUN_FLAG, "TASKRUN_FLAG " },
		{ IORING_SETUP_SUBMIT_ALL, "SUBMIT_ALL " },
	};
	char flags[128] = "";

	for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
		if (e->uring.ring.flags & names[i].flag)
			strcat(flags, names[i].name);
	if (flags[0])
		flags[strlen(flags) - 1] = '\0';
	add_fact(GROUP_WEFT, "ring_flags", json_string(flags), NULL);
	add_fact(GROUP_WEFT, "ring_entries",
		 json_integer(e->uring.ring.sq.ring_entries), NULL);
}

/* --- the doorbell --- */

/* A thread that is made to park. */
struct sleeper {
	weft_channel *ch; /* a signal: enough slept */
	int fd;           /* to read from meanwhile; -1: nothing */
	struct scheduler *_Atomic self; /* release and acquire: [info.1] */
};

/* For the doorbell's file, which we share with weft-bench. */
_Noreturn void run_fail(int64_t rc, const char *what)
{
	fprintf(stderr, "weft-info: %s: %s\n", what, strerror((int)-rc));
	exit(EXIT_FAILURE);
}

static int read_nothing(void *arg)
{
	struct sleeper *sleeper = arg;
	char byte;

	return (int)weft_read(sleeper->fd, &byte, 1);
}

static void *sleep_once(void *arg)
{
	struct sleeper *sleeper = arg;

	if (sleeper->fd >= 0)
		weft_spawn(read_nothing, sleeper);
	atomic_store_explicit(&sleeper->self, doorbell_self(),
			      memory_order_release); /* [info.1] */
	weft_channel_receive(sleeper->ch, NULL);
	return NULL;
}

/* What wakes a thread that has an operation on @fd in flight, or none. */
static const char *doorbell_with(int fd)
{
	struct sleeper sleeper = { .ch = weft_channel_new(0, 0), .fd = fd };
	struct scheduler *s = NULL;
	const char *name;
	pthread_t thread;

	if (!sleeper.ch)
		run_fail(-ENOMEM, "weft_channel_new");
	must(-pthread_create(&thread, NULL, sleep_once, &sleeper),
	     "pthread_create");
	while (!s) {
		sched_yield();
		s = atomic_load_explicit(&sleeper.self,
					 memory_order_acquire); /* [info.1] */
	}
	name = doorbell_of_parked(s);
	weft_channel_send(sleeper.ch, NULL);
	pthread_join(thread, NULL);
	weft_channel_unref(sleeper.ch);
	return name;
}

static void add_doorbells(bool has_engine)
{
	int fds[2];

	if (!has_engine) {
		add_fact(GROUP_WEFT, "doorbell", json_string("futex"),
			 "a thread without an engine can sleep nowhere else");
		return;
	}
	add_fact(GROUP_WEFT, "doorbell", json_string(doorbell_with(-1)),
		 "of a parked thread with no I/O in flight");
	if (pipe(fds))
		run_fail(-errno, "pipe");
	add_fact(GROUP_WEFT, "doorbell_with_io",
		 json_string(doorbell_with(fds[0])), NULL);
	close(fds[0]);
	close(fds[1]);
}

/* --- everything else --- */

static void add_engine(struct engine *e)
{
	if (weft__engine_open(e))
		add_fact(GROUP_WEFT, "engine", json_null(),
			 "I/O fails here: %s; what needs none, runs",
			 strerror(-e->error));
	else if (!e->is_poll)
		add_fact(GROUP_WEFT, "engine", json_string("uring"), NULL);
	else if (weft__engine_policy() == ENGINE_POLL)
		add_fact(GROUP_WEFT, "engine", json_string("poll"),
			 "WEFT_ENGINE says so");
	else
		add_fact(GROUP_WEFT, "engine", json_string("poll"),
			 "there is no io_uring for it: %s, see below",
			 strerror(-e->refusal));
}

bool find_uses(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		run_fail(-errno, "attaching a thread");
	add_fact(GROUP_WEFT, "version", json_string(weft_version()), NULL);
	add_engine(&s->engine);
	if (s->engine.is_open && !s->engine.is_poll)
		add_ring(&s->engine);
	add_doorbells(s->engine.is_open);
	add_fact(GROUP_WEFT, "spin_us",
		 json_integer(s->spin_max_ns / WEFT_MICROSECOND),
		 "at most, before a thread parks");
	add_fact(
		GROUP_WEFT, "stack_bytes",
		json_integer((json_int_t)weft__stack_size(s->default_class)),
		"of address space, guard page included; memory as far as it is used");
	add_fact(GROUP_WEFT, "guards",
		 json_string(weft__stack_guards_are_marks()
				     ? "MADV_GUARD_INSTALL"
				     : "mprotect"),
		 NULL);
	return s->engine.is_open;
}

void find_environment(void)
{
	static const struct {
		const char *name, *takes;
	} variables[] = {
		{ "WEFT_ENGINE", "auto, uring, poll" },
		{ "WEFT_DEADLOCK", "quiet, report" },
		{ "WEFT_OFFLOAD", "how many threads weft_offload() may have" },
		{ "WEFT_SPIN", "microseconds to spin before a thread parks" },
		{ "WEFT_STACK", "bytes that a tasklet's stack has at least" },
		{ "WEFT_WAKE", "auto, futex, msg_ring, eventfd, msg_ring_sqe" },
	};

	for (size_t i = 0; i < sizeof variables / sizeof variables[0]; i++) {
		const char *value = getenv(variables[i].name);

		add_fact(GROUP_ENVIRONMENT, variables[i].name,
			 value ? json_text(value) : json_null(), "%s",
			 variables[i].takes);
	}
}
