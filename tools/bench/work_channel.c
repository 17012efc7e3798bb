/* SPDX-License-Identifier: MIT */
/*
 * pingpong, stream, ring: tasklets that pass messages.
 */
#include <stdlib.h>
#include <string.h>

#include "work.h"

/* Passed before the clock starts between two threads: both have their ring and
 * have met. */
enum { UNTIMED = 16, SENDERS = 4, PAGE = 4096 };

weft_channel *work_buffered(size_t capacity)
{
	weft_channel *ch = weft_channel_new(sizeof(uint64_t), capacity);

	if (!ch)
		run_fail(-errno, "weft_channel_new");
	return ch;
}

struct table {
	struct run *run;
	weft_channel *there, *back;
	uint64_t sum; /* what was received above what was sent */
};

static struct table table_for(struct run *r)
{
	return (struct table){ .run = r,
			       .there = work_channel(),
			       .back = work_channel() };
}

static void clear(struct table *t)
{
	weft_channel_unref(t->there);
	weft_channel_unref(t->back);
}

/* --- pingpong --- */

static void serve(struct table *t, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++) {
		work_send(t->there, i);
		if (work_receive(t->back) != i)
			run_fail(-EBADMSG, "what came back");
	}
}

static void give_back(struct table *t, uint64_t n)
{
	while (n--)
		work_send(t->back, work_receive(t->there));
}

static int server(void *arg)
{
	struct table *t = arg;

	run_begin(t->run);
	serve(t, t->run->operations);
	run_end(t->run);
	return 0;
}

static int receiver_back(void *arg)
{
	struct table *t = arg;

	give_back(t, t->run->operations);
	return 0;
}

void run_pingpong(struct run *r)
{
	struct table t = table_for(r);

	work_spawn(receiver_back, &t);
	work_spawn(server, &t);
	must(weft_run(), "weft_run");
	clear(&t);
}

/* One thread of two plays its part, first a little untimed. */
static void play_timed(struct run *r, struct table *t,
		       void (*play)(struct table *t, uint64_t n))
{
	struct weft_stats before;

	play(t, UNTIMED);
	before = work_begin(r);
	play(t, r->operations);
	work_end(r, &before);
}

static void pingpong_side(struct run *r, int which, void *shared)
{
	play_timed(r, shared, which == 0 ? serve : give_back);
}

void run_pingpong_pair(struct run *r)
{
	struct table t = table_for(r);

	pair_run(r, &t, pingpong_side);
	clear(&t);
}

/* --- stream --- */

static void pour(struct table *t, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		work_send(t->there, i);
}

static void drink(struct table *t, uint64_t n)
{
	for (uint64_t i = 0; i < n; i++)
		if (work_receive(t->there) != i)
			run_fail(-EBADMSG, "the order of messages");
}

static struct table stream_for(struct run *r)
{
	return (struct table){ .run = r,
			       .there = work_buffered(r->variant->count) };
}

static int source(void *arg)
{
	struct table *t = arg;

	run_begin(t->run);
	pour(t, t->run->operations);
	run_end(t->run);
	return 0;
}

static int sink(void *arg)
{
	struct table *t = arg;

	drink(t, t->run->operations);
	return 0;
}

void run_stream(struct run *r)
{
	struct table t = stream_for(r);

	work_spawn(sink, &t);
	work_spawn(source, &t);
	must(weft_run(), "weft_run");
	weft_channel_unref(t.there);
}

static void stream_side(struct run *r, int which, void *shared)
{
	play_timed(r, shared, which == 0 ? pour : drink);
}

void run_stream_pair(struct run *r)
{
	struct table t = stream_for(r);

	pair_run(r, &t, stream_side);
	weft_channel_unref(t.there);
}

/* Several send, so that only the sum is known. */
static void drink_all(struct table *t, uint64_t n)
{
	uint64_t each = n / SENDERS;
	uint64_t sum = 0;

	while (n--)
		sum += work_receive(t->there);
	t->sum += sum - SENDERS * (each * (each - 1) / 2);
}

static void pour_share(struct table *t, uint64_t n)
{
	pour(t, n / SENDERS);
}

static void four_side(struct run *r, int which, void *shared)
{
	play_timed(r, shared, which == 0 ? drink_all : pour_share);
}

void run_stream_four(struct run *r)
{
	struct table t = stream_for(r);

	r->operations = (r->operations / SENDERS + 1) * SENDERS;
	crowd_run(r, &t, four_side, 1 + SENDERS);
	if (t.sum)
		run_fail(-EBADMSG, "the sum of the messages");
	weft_channel_unref(t.there);
}

/* --- many channels, large elements --- */

struct pipes {
	struct run *run;
	weft_channel **ch;
	size_t n;           /* of channels, which take turns */
	char *sent, *taken; /* an element each */
};

static int fill_pipes(void *arg)
{
	struct pipes *p = arg;

	run_begin(p->run);
	for (uint64_t i = 0; i < p->run->operations; i++)
		must(weft_channel_send(p->ch[i % p->n], p->sent),
		     "weft_channel_send");
	run_end(p->run);
	return 0;
}

static int drain_pipes(void *arg)
{
	struct pipes *p = arg;

	for (uint64_t i = 0; i < p->run->operations; i++)
		must(weft_channel_receive(p->ch[i % p->n], p->taken),
		     "weft_channel_receive");
	return 0;
}

/* What is taken is placed half a page off what is sent: processors are slow to
 * copy to just above the source, modulo a page. */
static void run_pipes(struct run *r, size_t n, size_t element_size)
{
	size_t apart = (element_size / PAGE + 1) * PAGE + PAGE / 2;
	struct pipes p = { .run = r, .n = n, .ch = calloc(n, sizeof *p.ch) };

	if (!p.ch || posix_memalign((void **)&p.sent, PAGE, 2 * apart) != 0)
		run_fail(-ENOMEM, "channels");
	memset(p.sent, 1, 2 * apart);
	p.taken = p.sent + apart;
	for (size_t i = 0; i < n; i++) {
		p.ch[i] = weft_channel_new(element_size, 0);
		if (!p.ch[i])
			run_fail(-errno, "weft_channel_new");
	}
	work_spawn(drain_pipes, &p);
	work_spawn(fill_pipes, &p);
	must(weft_run(), "weft_run");
	for (size_t i = 0; i < n; i++)
		weft_channel_unref(p.ch[i]);
	free(p.ch);
	free(p.sent);
}

void run_stream_channels(struct run *r)
{
	run_pipes(r, r->size, sizeof(uint64_t));
}

void run_stream_elements(struct run *r)
{
	run_pipes(r, 1, r->size);
}

/* --- ring --- */

struct link {
	struct run *run;
	weft_channel *from, *to;
	int64_t after_end; /* hand-overs that end those that still wait */
};

/* The token counts down to 0, then on until all have seen that. */
static int pass_on(void *arg)
{
	struct link *l = arg;
	int64_t token;

	do {
		token = (int64_t)work_receive(l->from);
		if (token == 0)
			run_end(l->run);
		if (token > -l->after_end)
			work_send(l->to, (uint64_t)(token - 1));
	} while (token > 0);
	return 0;
}

void run_ring(struct run *r)
{
	size_t n = r->size;
	struct link *links = calloc(n, sizeof *links);

	if (!links)
		run_fail(-ENOMEM, "the ring");
	for (size_t i = 0; i < n; i++) {
		links[i].run = r;
		links[i].from = work_channel();
		links[i].after_end = (int64_t)n - 1;
	}
	for (size_t i = 0; i < n; i++) {
		links[i].to = links[(i + 1) % n].from;
		work_spawn(pass_on, &links[i]);
	}
	weft_schedule(); /* all wait for the token */
	run_begin(r);
	work_send(links[0].from, r->operations);
	must(weft_run(), "weft_run");
	for (size_t i = 0; i < n; i++)
		weft_channel_unref(links[i].from);
	free(links);
}
