/* SPDX-License-Identifier: MIT */
/**
 * weft - stackful tasklets, a scheduler on every thread, channels between them
 *
 * A *tasklet* is a function with a stack of its own. The tasklets of an OS
 * thread take turns on it. Their order is fixed by rules (see weft/scheduler.h),
 * never by a clock. Every thread that calls weft has a *scheduler* of its own, and
 * a tasklet never leaves the thread that it was created for. *Channels* join
 * tasklets of any threads. A thread that has nothing to run *parks*: it sleeps in
 * its io_uring or in a futex, and uses no CPU.
 *
 * Conventions of every header:
 *
 *  - Functions return 0 or a count on success and a negative errno on failure.
 *    Constructors return NULL, or a null handle, and set errno.
 *  - Time is int64_t nanoseconds on CLOCK_MONOTONIC.
 *  - A *blocking call* suspends the calling tasklet, never its thread. The
 *    comment of each function says whether the function may switch to another
 *    tasklet.
 *  - The first call on a thread attaches the thread: its own stack becomes the
 *    main tasklet of its scheduler. When the thread ends, it is detached.
 *
 * The headers: tasklet.h creates and controls tasklets, scheduler.h runs them,
 * channel.h has channels and select, group.h groups, sync.h locks, time.h sleeping
 * and deadline scopes, io.h, file.h and net.h files and sockets, stream.h what
 * arrives by itself, process.h child processes and signals, offload.h runs functions
 * that block their thread, stdio.h makes standard streams, debug.h has statistics.
 *
 * This header includes all the others but <weft/uring.h>, which needs liburing.
 */
#ifndef WEFT_H
#define WEFT_H

#include <weft/base.h>
#include <weft/channel.h>
#include <weft/debug.h>
#include <weft/embed.h>
#include <weft/file.h>
#include <weft/group.h>
#include <weft/io.h>
#include <weft/net.h>
#include <weft/offload.h>
#include <weft/process.h>
#include <weft/scheduler.h>
#include <weft/stdio.h>
#include <weft/stream.h>
#include <weft/sync.h>
#include <weft/tasklet.h>
#include <weft/time.h>

#endif /* WEFT_H */
