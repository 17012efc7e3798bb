/* SPDX-License-Identifier: MIT */
/*
 * Helper threads, and the jobs that wait in line for them.
 *
 * There are several crews, so that none can keep another from its work: users'
 * functions may run for any time and wait for anything, and calls on files may
 * take a while, and a call that waits for somebody else may never return. A job lies in its owner's memory and knows no tasklet: io/offload.c
 * makes tasklets wait for one.
 */
#ifndef WEFT__POOL_H
#define WEFT__POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum crew {
	CREW_FUNCTIONS, /* for weft_offload(); at most WEFT_OFFLOAD helpers */
	CREW_FILES,     /* for what the ring does wrong, see io/position.c */
	CREW_CHILDREN,  /* for waits for child processes, see io/child.c */
	CREW_CALLS,     /* for the poll engine: calls that take a while */
	CREW_WAITS,     /* and calls that may wait without end */
	N_CREWS
};

struct job {
	/* set by the owner before it submits the job */
	enum crew crew;
	int (*fn)(void *arg);
	void *arg;
	uint64_t key[2]; /* not 0: jobs with the same key are done one
			  * after the other, in the order in which they came */
	void (*done)(struct job *j); /* the last to touch the job; runs on a
				      * helper or another thread */

	/* under the pool's mutex while it is in line */
	struct job *next, *prev;
	bool is_taken; /* a helper has it: too late to withdraw it */

	int result; /* of @fn; -ECANCELED if it ended its thread;
		     * else why no helper is left for it */
};

/* Puts a job into the line, and makes sure that a helper comes for it: 0, or
 * -EAGAIN or -ENOMEM if there is no helper and none can be started. */
int weft__pool_submit(struct job *j);

/* True: the job was still in line; it is taken out and will not be done. */
bool weft__pool_withdraw(struct job *j);

/* Whether a helper has the job, or will take it next without waiting for anybody. */
bool weft__pool_is_due(const struct job *j);

/* Interrupts the system call that a helper of CREW_WAITS makes for a job that was
 * taken: the call fails with EINTR. If it has not begun yet, nothing happens. A
 * call of another job may be interrupted, too. */
void weft__pool_interrupt(const struct job *j);

/* On a helper, where it is blocked: whether the signal is pending, which ends
 * that. It was meant for the thread of the job's owner. */
bool weft__pool_take_signal(int number);

/* The owner's thread calls this once for each submitted job, when the job has
 * been done or withdrawn. */
void weft__pool_note_end(const struct job *j);

/* A helper, for a watcher that must tell it from other threads. */
struct helper_id {
	struct helper_id *next, *prev; /* the watcher's */
	pid_t tid;                     /* 0: not known yet */
};

/* The watcher is told of helpers. */
struct pool_watcher {
	/* A thread is about to be created; its creation has failed. */
	void (*creating)(struct helper_id *h);
	void (*failed)(struct helper_id *h);

	/* On the helper's thread: it has begun; it is about to be gone; it has
	 * done a job, whose owner does not know that yet. */
	void (*arrived)(struct helper_id *h);
	void (*leaving)(struct helper_id *h);
	void (*done)(void);
};

/* Sets the watcher: once per process, before the first job. */
void weft__pool_watch(const struct pool_watcher *w);

/* Reads WEFT_OFFLOAD; once per process. */
void weft__pool_read_environment(void);

/* --- fork --- */

/* Around a fork(): the pool's mutex. */
void weft__pool_lock(void);
void weft__pool_unlock(void);

/* In a child: forgets helpers, and the jobs in line for which @is_ours is
 * false. True if jobs are left: then call weft__pool_start_late(). */
bool weft__pool_forget_others(bool (*is_ours)(const struct job *j, void *arg),
			      void *arg);

/* Starts helpers for jobs in line. */
void weft__pool_start_late(void);

#endif /* WEFT__POOL_H */
