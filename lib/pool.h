/* SPDX-License-Identifier: MIT */
/*
 * Helper threads, and the jobs that wait in line for them.
 *
 * There are two crews, so that neither can keep the other from its work: users'
 * functions may run for any time and wait for anything, files' calls too. A job
 * is its owner's memory, and knows no tasklet: offload.c has tasklets wait for one.
 */
#ifndef WEFT__POOL_H
#define WEFT__POOL_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum crew {
	CREW_FUNCTIONS, /* of weft_offload(); WEFT_OFFLOAD of them at most */
	CREW_FILES, /* what the ring cannot do as it should, see position.c */
	N_CREWS
};

struct job {
	/* set by the owner before it submits the job */
	enum crew crew;
	int (*fn)(void *arg);
	void *arg;
	uint64_t key[2]; /* not 0: jobs with the same key are done one after the
			    other, in the order in which they came */
	void (*done)(struct job *j); /* the last that is done with the job; on a
					helper or another thread */

	/* under the pool's mutex while it is in line */
	struct job *next, *prev;
	bool is_taken; /* by a helper: it can be withdrawn no more */

	int result; /* of @fn; -ECANCELED if it ended its thread; else why there
		       is no helper for it any more */
};

/* Puts a job into the line, and sees to it that somebody comes for it: 0, or
 * -EAGAIN or -ENOMEM when there is no helper and none can be started. */
int weft__pool_submit(struct job *j);

/* True: the job was still in line, and is not any more; it will not be done. */
bool weft__pool_withdraw(struct job *j);

/* To be called by the owner's thread once for each job that was submitted, when
 * it has been done or withdrawn. */
void weft__pool_note_end(const struct job *j);

/* Whether this is a helper's thread. Under the registry's mutex. */
bool weft__pool_is_helper(pid_t tid);

/* Reads WEFT_OFFLOAD; once per process. */
void weft__pool_read_environment(void);

/* --- in a child of fork() --- */

/* Forgets helpers, and the jobs in line that are not for @is_ours. True if some
 * are left, for which weft__pool_start_late() is to be called. */
bool weft__pool_forget_others(bool (*is_ours)(const struct job *j, void *arg),
			      void *arg);

/* Starts helpers for jobs that are in line. */
void weft__pool_start_late(void);

#endif /* WEFT__POOL_H */
