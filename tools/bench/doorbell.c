/* SPDX-License-Identifier: MIT */
/*
 * Which doorbell a parked thread waits for, read from where the library keeps
 * it: what was asked for and what the kernel has can differ.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>

#include "core/scheduler.h"
#include "work.h"

struct scheduler *doorbell_self(void)
{
	struct scheduler *s = weft__scheduler();

	if (!s)
		run_fail(-errno, "attaching a thread");
	return s;
}

const char *doorbell_of_parked(struct scheduler *s)
{
	for (;;) {
		/* relaxed: only the kind is wanted, nothing is read by it */
		switch (peek(s->inbox.word)) {
		case INBOX_PARKED_FUTEX:
			return "futex";
		case INBOX_PARKED_MESSAGE:
			return "msg_ring";
		case INBOX_PARKED_SQE:
			return "msg_ring_sqe";
		case INBOX_PARKED_EVENTFD:
			return "eventfd";
		}
		sched_yield();
	}
}

struct visitor {
	weft_channel *ch;
	struct scheduler *_Atomic self; /* release and acquire: [bench.1] */
};

static void *park_once(void *arg)
{
	struct visitor *v = arg;

	atomic_store_explicit(&v->self, doorbell_self(),
			      memory_order_release); /* [bench.1] */
	(void)work_receive(v->ch);
	return NULL;
}

const char *doorbell_in_use(void)
{
	struct visitor v = { .ch = work_channel() };
	struct scheduler *s;
	const char *name;
	pthread_t thread;

	must(-pthread_create(&thread, NULL, park_once, &v), "pthread_create");
	do {
		sched_yield();
		s = atomic_load_explicit(&v.self,
					 memory_order_acquire); /* [bench.1] */
	} while (!s);
	name = doorbell_of_parked(s);
	work_send(v.ch, 0);
	pthread_join(thread, NULL);
	weft_channel_unref(v.ch);
	return name;
}
