/* SPDX-License-Identifier: MIT */
/*
 * Calls of run and pump: rule R7 (weft/scheduler.h).
 */
#ifndef WEFT__RUN_H
#define WEFT__RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "core/timer.h"

struct scheduler;
struct weft_task;

/* A call of run or pump that is under way. It is on its caller's stack. The main
 * tasklet's is in the scheduler, because it must outlive a stack that
 * pthread_exit() takes away (thread.c). */
struct run_frame {
	struct timer timer; /* first; of run_until */
	struct run_frame *outer;
	struct weft_task *task;
	int result;
	bool is_pump;
	bool interrupted; /* by a kill or a raise, which say what is returned */
};

/* Takes off the frame of @task, and the frames that are nested deeper: their calls
 * return 0, and their tasklets go to the end. @task is then runnable, but in no
 * queue. Its call returns @result, or what has interrupted it. */
void weft__leave_frame(struct scheduler *s, const struct weft_task *task,
		       int result, bool interrupted);

/* The call of run or pump that the main tasklet is in, if any, and those nested
 * deeper return at once. Their tasklets are runnable; the main tasklet is in no
 * queue. */
void weft__drop_main_frame(struct scheduler *s);

/* For the main tasklet at the end of its thread: as weft_pump() or weft_run_until(), up
 * to @deadline. Nothing stops it that the program has left behind, such as a trap or a
 * deadline. */
void weft__run_at_end(struct scheduler *s, bool is_pump, int64_t deadline);

#endif /* WEFT__RUN_H */
