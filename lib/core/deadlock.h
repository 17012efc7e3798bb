/* SPDX-License-Identifier: MIT */
/*
 * Which threads could still wake another, and what is said when none can.
 */
#ifndef WEFT__DEADLOCK_H
#define WEFT__DEADLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct scheduler;

/* Counts a thread that has been attached, or whose doorbell will be rung next, or
 * that woke by itself. With -1, takes that back. */
void weft__count_awake(int by);

/* The caller has marked itself as parked. Returns true if it is the last, and
 * neither it nor any other has anything of its own that will wake it. */
bool weft__count_parked(bool is_hopeful);

/* -1: the caller was counted as hopeful, and has woken. */
void weft__count_hopeful(int by);

/* Takes back a count of weft__count_awake(); for callers that will not park.
 * Returns true if all threads are parked without a hope, and nobody looks whether
 * that is a deadlock. */
bool weft__count_out(void);

/* Whether more than one thread is awake. */
bool weft__several_are_awake(void);

/* To be called after weft__count_parked() was true. Returns whether it is a
 * deadlock: then the caller counts as awake again, and the report, if it is wanted,
 * has been written. @n_attached is weft__thread_n_ever() from before the count. */
bool weft__deadlock_confirm(struct scheduler *s, uint64_t n_attached);

/* Notes a thread that has detached and will soon be gone. Under the registry's
 * mutex. */
void weft__deadlock_note_leaving(pid_t tid);

/* Whether WEFT_DEADLOCK_LAST is set. */
bool weft__deadlock_tells_last(void);

/* In a child of fork(), which has one attached thread, the caller, or none. */
void weft__deadlock_renew(bool is_attached);

/* Reads WEFT_DEADLOCK; once per process. */
void weft__deadlock_read_environment(void);

#endif /* WEFT__DEADLOCK_H */
