/* SPDX-License-Identifier: MIT */
/*
 * select: receiving from whichever of four channels has something.
 */
#include "work.h"

enum { CASES = 4 };

struct choice {
	struct run *run;
	weft_channel *channels[CASES];
};

static struct choice choice_for(struct run *r, size_t capacity)
{
	struct choice c = { .run = r };

	for (int i = 0; i < CASES; i++)
		c.channels[i] =
			capacity ? work_buffered(capacity) : work_channel();
	return c;
}

static void clear(struct choice *c)
{
	for (int i = 0; i < CASES; i++)
		weft_channel_unref(c->channels[i]);
}

static uint64_t receive_any(struct choice *c)
{
	uint64_t value = 0;
	struct weft_case cases[CASES];

	for (int i = 0; i < CASES; i++)
		cases[i] = (struct weft_case){ .channel = c->channels[i],
					       .op = WEFT_RECEIVE,
					       .element = &value };
	must(weft_select(cases, CASES, 0), "weft_select");
	return value;
}

static void receive_all(struct choice *c, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (receive_any(c) != i)
			run_fail(-EBADMSG, "what was selected");
}

/* One tasklet puts something into a buffer, and finds it among the four. */
void run_select_ready(struct run *r)
{
	struct choice c = choice_for(r, 1);

	run_begin(r);
	for (uint64_t i = 0; i < r->operations; i++) {
		work_send(c.channels[i % CASES], i);
		if (receive_any(&c) != i)
			run_fail(-EBADMSG, "what was selected");
	}
	run_end(r);
	clear(&c);
}

static int select_all(void *arg)
{
	struct choice *c = arg;

	receive_all(c, c->run->operations);
	return 0;
}

static int send_around(void *arg)
{
	struct choice *c = arg;

	run_begin(c->run);
	for (uint64_t i = 0; i < c->run->operations; i++)
		work_send(c->channels[i % CASES], i);
	run_end(c->run);
	return 0;
}

/* One waits in all four for the other, who sends to one after another. */
void run_select_waiting(struct run *r)
{
	struct choice c = choice_for(r, 0);

	work_spawn(select_all, &c);
	work_spawn(send_around, &c);
	must(weft_run(), "weft_run");
	clear(&c);
}
