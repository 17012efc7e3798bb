/* SPDX-License-Identifier: MIT */
/**
 * weft - stackful tasklets, a scheduler on every thread, channels between them
 *
 * A *tasklet* is a function with a stack of its own. The tasklets of an OS
 * thread take turns on it, in an order that is fixed by rules (see
 * weft/scheduler.h) and never by a clock. Every thread that calls into weft has
 * a *scheduler* of its own, and a tasklet never leaves the thread it was made
 * for. *Channels* join tasklets of any threads. A thread with nothing to run
 * parks on an io_uring and uses no CPU.
 *
 * Conventions of every header:
 *
 *  - Functions return 0 or a count on success and a negative errno on failure.
 *    Constructors return NULL, or a null handle, and set errno.
 *  - Time is int64_t nanoseconds on CLOCK_MONOTONIC.
 *  - A *blocking call* suspends the calling tasklet, never its thread. The
 *    others "never switch", and each comment says which it is.
 *  - The first call on a thread attaches it: the thread's own stack becomes its
 *    scheduler's main tasklet. When the thread ends, it is detached.
 *
 * Where to find what: tasklets and their control in tasklet.h, running them in
 * scheduler.h, channels and select in channel.h, groups in group.h, locks in sync.h,
 * sleeping and deadline scopes in time.h, files and sockets in io.h and net.h,
 * functions that block in offload.h, statistics in debug.h.
 *
 * This header includes all the others but <weft/uring.h>, which needs liburing.
 */
#ifndef WEFT_H
#define WEFT_H

#include <weft/base.h>
#include <weft/channel.h>
#include <weft/debug.h>
#include <weft/group.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/offload.h>
#include <weft/scheduler.h>
#include <weft/sync.h>
#include <weft/tasklet.h>
#include <weft/time.h>

#endif /* WEFT_H */
