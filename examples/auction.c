/* SPDX-License-Identifier: MIT */
/*
 * An auction: a select among a channel, a socket and a moment.
 *
 * Ann is in the room and bids through a channel. Bob is far away and bids through a
 * socket. The auctioneer listens to both, and tells each of them the other one's bid.
 * When somebody has passed, the hammer falls at a moment, unless there is a bid
 * before.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <weft.h>

enum { STEP = 10, PASS = 0 };

static const int64_t PAUSE = 10 * WEFT_MILLISECOND;

static weft_channel *prices, *bids; /* of int: to Ann and from her */
static int line[2];                 /* the auctioneer's end, and Bob's */

/* The next bid of one who has so much. */
static int answer(int price, int limit)
{
	return price + STEP <= limit ? price + STEP : PASS;
}

static int ann(void *arg)
{
	int price, bid;

	(void)arg;
	while (weft_channel_receive(prices, &price) == 0) {
		bid = answer(price, 60);
		if (weft_channel_send(bids, &bid))
			break;
	}
	return 0;
}

static int bob(void *arg)
{
	int price, bid;

	(void)arg;
	while (weft_recv(line[1], &price, sizeof price, MSG_WAITALL) ==
	       sizeof price) {
		bid = answer(price, 40);
		if (weft_send(line[1], &bid, sizeof bid, 0) != sizeof bid)
			break;
	}
	return 0;
}

static void hold_auction(void)
{
	static const char *const calls[] = { "going once", "going twice" };
	const char *leader = "nobody";
	int64_t when = WEFT_FOREVER;
	unsigned n_calls = 0;
	int price = 0;
	int bid;

	/* Ann begins. */
	weft_channel_send(prices, &price);
	for (;;) {
		struct weft_case cases[] = {
			{ .channel = bids,
			  .op = WEFT_RECEIVE,
			  .element = &bid },
			{ .fd = line[0], .op = WEFT_READABLE },
			{ .when = when, .op = WEFT_AT },
		};
		int chosen = weft_select(cases, 3, 0);

		if (chosen < 0) {
			fprintf(stderr, "weft_select: %s\n", strerror(-chosen));
			exit(1);
		}
		if (chosen == 2) {
			if (n_calls == 2)
				break;
			puts(calls[n_calls++]);
			when += PAUSE;
			continue;
		}
		if (chosen == 1 && weft_recv(line[0], &bid, sizeof bid,
					     MSG_WAITALL) != sizeof bid)
			break;
		if (bid == PASS) {
			printf("%s passes\n", chosen ? "Bob" : "Ann");
			when = weft_now() + PAUSE;
			continue;
		}
		leader = chosen ? "Bob" : "Ann";
		price = bid;
		printf("%s bids %d\n", leader, bid);
		when = WEFT_FOREVER;
		n_calls = 0;
		if (chosen)
			weft_channel_send(prices, &price);
		else
			weft_send(line[0], &price, sizeof price, 0);
	}
	printf("sold to %s for %d\n", leader, price);
}

int main(void)
{
	prices = weft_channel_new(sizeof(int), 0);
	bids = weft_channel_new(sizeof(int), 0);
	if (!prices || !bids || socketpair(AF_UNIX, SOCK_STREAM, 0, line)) {
		perror("auction");
		return 1;
	}
	weft_spawn(ann, NULL);
	weft_spawn(bob, NULL);
	hold_auction();
	weft_channel_close(prices);
	weft_close(line[0]);
	weft_run();
	weft_close(line[1]);
	weft_channel_unref(prices);
	weft_channel_unref(bids);
	return 0;
}
