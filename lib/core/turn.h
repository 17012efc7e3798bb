/* SPDX-License-Identifier: MIT */
/*
 * Insert, remove, run and switch for tasklets of this thread: which of them are in
 * the run queue, and whose turn is next, by rules R1 to R3. The calls themselves, and
 * tasklets of other threads, are in control.c.
 */
#ifndef WEFT__TURN_H
#define WEFT__TURN_H

struct scheduler;
struct weft_task;

/* All of these are for tasklets that have not ended. They return 0, or -EBUSY if the
 * tasklet is blocked. */

/* Makes a paused tasklet runnable, at the end of the queue. */
int weft__insert(struct scheduler *s, struct weft_task *t);

/* Pauses a runnable tasklet; -EBUSY also if it is the current one. */
int weft__remove(struct scheduler *s, struct weft_task *t);

/* Carries out the request of another thread to remove @t. The current tasklet is
 * paused when it next gives way. */
void weft__remove_as_requested(struct scheduler *s, struct weft_task *t);

/* For the current tasklet @t, which is to be paused when it gives way, and has just
 * looked around: makes it look around again when it gives way. If it is about to
 * wait, the request is dropped. */
void weft__keep_removal(struct scheduler *s, struct weft_task *t);

/* Puts @t at the front of the queue: its turn is next. */
int weft__run_first(struct scheduler *s, struct weft_task *t);

/* Switch to @t by rule R3. In the first the caller stays in the queue; in the second
 * it is paused, and the call is a blocking call. Both return -EPERM under a switch
 * trap. */
int weft__run_now(struct scheduler *s, struct weft_task *t);
int weft__switch_now(struct scheduler *s, struct weft_task *t);

/* Makes an interrupted paused tasklet runnable. */
void weft__interrupt_pause(struct scheduler *s, struct weft_task *t);

#endif /* WEFT__TURN_H */
