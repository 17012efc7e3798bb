/* SPDX-License-Identifier: MIT */
/*
 * A rate limiter: a select among requests and the ticks of a clock.
 *
 * The limiter has a number of tokens. Each request takes one token, and each tick
 * brings one back, up to a limit. While there is no token, NULL takes the place of
 * the channel of requests in the selection, and requests wait in that channel, first
 * come, first served.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <weft.h>

enum { BURST = 3, REQUESTS = 8 };

static const int64_t PERIOD = 5 * WEFT_MILLISECOND;

static weft_channel *requests; /* of int: who asks */
static weft_channel *ticks;    /* signals */

/* Ticks at fixed times, however long the limiter takes for a tick. */
static int tick(void *arg)
{
	int64_t next = *(int64_t *)arg;

	do
		next += PERIOD;
	while (weft_sleep_until(next) == 0 &&
	       weft_channel_send(ticks, NULL) == 0);
	return 0;
}

static int limit(void *arg)
{
	int tokens = BURST;
	int request;

	(void)arg;
	for (;;) {
		struct weft_case cases[] = {
			{ .channel = ticks, .op = WEFT_RECEIVE },
			{ .channel = tokens ? requests : NULL,
			  .op = WEFT_RECEIVE,
			  .element = &request },
		};
		int chosen = weft_select(cases, 2, 0);

		if (chosen < 0 || cases[chosen].result)
			return 0; /* killed, or no more requests */
		if (chosen == 0) {
			tokens += tokens < BURST;
			continue;
		}
		tokens--;
		printf("request %d goes ahead\n", request);
	}
}

int main(void)
{
	int64_t began = weft_now();
	int64_t least = (REQUESTS - BURST) * PERIOD;
	weft_tasklet ticker, limiter;

	requests = weft_channel_new(sizeof(int), 0);
	ticks = weft_channel_new(0, 0);
	ticker = weft_spawn(tick, &began);
	limiter = weft_spawn(limit, NULL);
	if (!requests || !ticks || weft_tasklet_is_null(ticker) ||
	    weft_tasklet_is_null(limiter)) {
		perror("rate_limiter");
		return EXIT_FAILURE;
	}
	for (int i = 1; i <= REQUESTS; i++)
		weft_channel_send(requests, &i);
	puts(weft_now() - began >= least ? "in no less than their time"
					 : "too fast");
	weft_tasklet_kill(ticker, WEFT_PENDING);
	weft_tasklet_kill(limiter, WEFT_PENDING);
	weft_run();
	weft_channel_unref(requests);
	weft_channel_unref(ticks);
	return EXIT_SUCCESS;
}
