/* SPDX-License-Identifier: MIT */
/**
 * time - the clock and sleeping
 */
#ifndef WEFT_TIME_H
#define WEFT_TIME_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/**
 * weft_now - nanoseconds of CLOCK_MONOTONIC
 *
 * Context: any thread; never switches.
 */
WEFT_API int64_t weft_now(void);

/**
 * weft_sleep - block the calling tasklet for a while
 * @ns: nanoseconds; 0 or less gives way once, as weft_schedule()
 *
 * Those whose time has come wake in the order of their deadlines, equal ones in
 * the order in which they went to sleep.
 *
 * Return: 0 when the time has passed; -ENOMEM when there is no memory for the
 * timer; or what any blocking call may.
 * Context: any tasklet; switches.
 */
WEFT_API int weft_sleep(int64_t ns);

/**
 * weft_sleep_until - block the calling tasklet until a moment
 * @deadline: nanoseconds of weft_now(); one that has passed gives way once;
 *            WEFT_FOREVER sleeps without end
 *
 * Return: as weft_sleep().
 * Context: any tasklet; switches.
 */
WEFT_API int weft_sleep_until(int64_t deadline);

WEFT_END_DECLS

#endif /* WEFT_TIME_H */
