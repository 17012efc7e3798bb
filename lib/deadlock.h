/* SPDX-License-Identifier: MIT */
/*
 * Who could still wake somebody, and what is said when nobody can.
 */
#ifndef WEFT__DEADLOCK_H
#define WEFT__DEADLOCK_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct scheduler;

/* Counts a thread that was attached, or whose doorbell is about to be rung, or
 * that woke by itself; with -1, takes that back. */
void weft__count_awake(int by);

/* The caller has marked itself as parked. True: it is the last, and neither it
 * nor any other has something of its own that will wake it. */
bool weft__count_parked(bool is_hopeful);

/* The caller has woken that was counted as hopeful; -1. */
void weft__count_hopeful(int by);

/* Takes back a count of weft__count_awake(), by one who is not about to park. True:
 * all are parked, without a hope, and nobody looks whether it is a deadlock. */
bool weft__count_out(void);

/* Whether more than one thread is awake. */
bool weft__several_are_awake(void);

/* After weft__count_parked() was true: whether it is a deadlock. Then the caller
 * counts as awake again, and the report, if it is wanted, has been written.
 * @n_attached is weft__thread_n_ever() from before the count. */
bool weft__deadlock_confirm(struct scheduler *s, uint64_t n_attached);

/* A thread has detached and will soon be gone. Under the registry's mutex. */
void weft__deadlock_note_leaving(pid_t tid);

/* In a child of fork(), which has this one attached thread, or none. */
void weft__deadlock_renew(bool is_attached);

/* Reads WEFT_DEADLOCK; once per process. */
void weft__deadlock_read_environment(void);

#endif /* WEFT__DEADLOCK_H */
