/* SPDX-License-Identifier: MIT */
/*
 * Tasklets of up to 8 threads select on channels that they share, in different
 * orders, sends and receives mixed, against plain senders and receivers; and all
 * of that against kills, raises, deadlines, channels that close and open, and
 * threads that end.
 *
 * Each attempt to send has an element of its own. It is received once if the call
 * said that it was sent, and never if it did not. In the end nobody waits.
 */
#include "stress.h"

enum {
	MOST_THREADS = 8,
	MOST_CHANNELS = 6,
	MOST_EACH = 10,  /* tasklets of a thread */
	MOST_CASES = 20, /* more than a selection keeps on its stack */
	ROUND_MS = 40,
	MOST_ELEMENTS = 1 << 20, /* of a round; then it ends */
	SENT_ERROR = EXDEV,
	UNTOUCHED = 0x5a
};

/* Of 8 bytes, which can go by mail, or longer. */
struct element {
	uint64_t id; /* from 1 up */
	uint64_t more[4];
};

static const size_t capacities[] = { 0, 0, 0, 1, 2, 7 };

struct slot {
	int role;
	uint64_t number;
	weft_tasklet tasklet;
};

static struct {
	int n_threads, n_channels, n_each;
	bool sends_errors; /* what is left is received; else it is dropped */
	weft_channel *channels[MOST_CHANNELS];
	size_t size[MOST_CHANNELS];
	pthread_mutex_t mutex; /* of must_end and the slots' tasklets */
	struct slot slots[MOST_THREADS * MOST_EACH];
	_Atomic(uint64_t) n_elements;
	bool sent[MOST_ELEMENTS]; /* by the sender, read when all have ended */
	_Atomic(uint8_t) received[MOST_ELEMENTS];
	_Atomic(uint64_t) n_errors_sent, n_errors_received;
	_Atomic(bool) must_end;
	uint64_t seed;
} now;

/* Of all rounds. */
static _Atomic(uint64_t) n_passed, n_selected, n_interrupted;

/* --- elements --- */

/* A new element; false when there are no more. */
static bool make_element(struct element *e)
{
	e->id = ++now.n_elements;
	if (e->id >= MOST_ELEMENTS)
		return false;
	for (uint64_t i = 0; i < 4; i++)
		e->more[i] = e->id * (i + 3);
	return true;
}

static void note_sent(const struct element *e)
{
	now.sent[e->id] = true;
	n_passed++;
}

static void note_received(const struct element *e, size_t size)
{
	if (e->id == 0 || e->id >= MOST_ELEMENTS || e->id > now.n_elements)
		stress_fail("element %" PRIu64 " came, which nobody sent",
			    e->id);
	for (uint64_t i = 0; size > sizeof e->id && i < 4; i++)
		if (e->more[i] != e->id * (i + 3))
			stress_fail("element %" PRIu64 " is torn", e->id);
	if (now.received[e->id]++)
		stress_fail("element %" PRIu64 " came twice", e->id);
}

static void note_dropped(void *element, void *ctx)
{
	struct element e = { 0 };

	memcpy(&e, element, *(size_t *)ctx);
	note_received(&e, *(size_t *)ctx);
}

static void expect_untouched(const struct element *e)
{
	const unsigned char *bytes = (const unsigned char *)e;

	for (size_t i = 0; i < sizeof *e; i++)
		if (bytes[i] != UNTOUCHED)
			stress_fail("a receive that did not go through wrote");
}

/* --- what a call may return --- */

static void check_error(int rc)
{
	switch (rc) {
	case -EINTR:
	case -ECANCELED:
	case -ETIMEDOUT:
		n_interrupted++;
		break;
	case -EPIPE:
	case -EAGAIN:
		break;
	default:
		stress_fail("a call returned %d", rc);
	}
}

static void note_send(int rc, const struct element *e)
{
	if (rc == 0)
		note_sent(e);
	else
		check_error(rc);
}

static void note_receive(int rc, const struct element *e, size_t size)
{
	if (rc == 0) {
		note_received(e, size);
		return;
	}
	expect_untouched(e);
	if (rc == -SENT_ERROR)
		now.n_errors_received++;
	else
		check_error(rc);
}

/* --- what the tasklets do --- */

static int send_plainly(struct random_state *r)
{
	weft_channel *ch =
		now.channels[random_below(r, (unsigned)now.n_channels)];
	struct element e;
	int rc;

	if (now.sends_errors && random_one_in(r, 8)) {
		rc = weft_channel_send_error(ch, SENT_ERROR);
		if (rc)
			check_error(rc);
		else
			now.n_errors_sent++;
		return rc;
	}
	if (!make_element(&e))
		return -ECANCELED;
	rc = random_one_in(r, 4) ? weft_channel_try_send(ch, &e)
				 : weft_channel_send(ch, &e);
	note_send(rc, &e);
	return rc;
}

static int receive_plainly(struct random_state *r)
{
	int i = (int)random_below(r, (unsigned)now.n_channels);
	struct element e;
	int rc;

	memset(&e, UNTOUCHED, sizeof e);
	rc = random_one_in(r, 4) ? weft_channel_try_receive(now.channels[i], &e)
				 : weft_channel_receive(now.channels[i], &e);
	note_receive(rc, &e, now.size[i]);
	return rc;
}

static size_t size_of(weft_channel *ch)
{
	for (int i = 0; i < now.n_channels; i++)
		if (now.channels[i] == ch)
			return now.size[i];
	return 0;
}

static bool draw_cases(struct random_state *r, struct weft_case *cases,
		       struct element *elements, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned c = random_below(r, (unsigned)now.n_channels);

		cases[i] = (struct weft_case){ .channel = now.channels[c],
					       .op = random_one_in(r, 2)
							     ? WEFT_SEND
							     : WEFT_RECEIVE,
					       .element = &elements[i],
					       .result = 12345 };
		if (random_one_in(r, 16))
			cases[i].channel = NULL;
		memset(&elements[i], UNTOUCHED, sizeof elements[i]);
		if (cases[i].op == WEFT_SEND && !make_element(&elements[i]))
			return false;
	}
	return true;
}

static int select_some(struct random_state *r)
{
	struct weft_case cases[MOST_CASES];
	struct element elements[MOST_CASES];
	size_t n = random_one_in(r, 16) ? random_between(r, 10, MOST_CASES)
					: random_between(r, 1, 5);
	int rc;

	if (!draw_cases(r, cases, elements, n))
		return -ECANCELED;
	rc = weft_select(cases, n, random_one_in(r, 4) ? WEFT_NONBLOCK : 0);
	if (rc < 0)
		check_error(rc);
	else
		n_selected++;
	for (int i = 0; i < (int)n; i++) {
		const struct weft_case *c = &cases[i];

		if (i == rc && c->op == WEFT_SEND)
			note_send(c->result, c->element);
		else if (i == rc)
			note_receive(c->result, c->element,
				     size_of(c->channel));
		else if (c->result != 12345)
			stress_fail("a case has a result that was not chosen");
		else if (c->op == WEFT_RECEIVE)
			expect_untouched(c->element);
	}
	return rc < 0 ? rc : 0;
}

static int (*const roles[])(struct random_state *r) = {
	select_some, select_some, select_some, send_plainly, receive_plainly
};

enum { N_ROLES = sizeof roles / sizeof roles[0] };

static int do_one(struct random_state *r, const struct slot *me)
{
	struct weft_deadline d;
	int rc;

	/* Without, they would soon all wait on the same side of each channel. */
	if (random_one_in(r, 3))
		return roles[me->role](r);
	weft_deadline_begin(&d, weft_now() +
					random_below(r, 30) * WEFT_MICROSECOND);
	rc = roles[me->role](r);
	weft_deadline_end(&d);
	return rc;
}

static int play_role(void *arg);

/* Not after the end has begun: then the slots say who is left. */
static void spawn_into(struct slot *slot)
{
	pthread_mutex_lock(&now.mutex);
	if (!now.must_end)
		slot->tasklet = weft_spawn(play_role, slot);
	pthread_mutex_unlock(&now.mutex);
}

/* Until it is killed; then another takes its place. */
static int play_role(void *arg)
{
	struct slot *me = arg;
	struct random_state r = random_stream(now.seed, ++me->number);
	int rc;

	do {
		rc = do_one(&r, me);
		if (random_one_in(&r, 10) && rc != -ECANCELED)
			rc = weft_schedule();
	} while (rc != -ECANCELED);
	spawn_into(me);
	return 0;
}

static int start_tasklets(void *arg)
{
	int first = (int)(intptr_t)arg * MOST_EACH;

	for (int i = first; i < first + now.n_each; i++)
		spawn_into(&now.slots[i]);
	/* half of the threads wait for the end of all, half do not */
	while ((intptr_t)arg % 2 && !now.must_end)
		weft_sleep(WEFT_MILLISECOND);
	if ((intptr_t)arg % 2)
		weft_stop(0);
	return 0;
}

/* --- what is done to them --- */

static weft_tasklet tasklet_in(int i)
{
	weft_tasklet t;

	pthread_mutex_lock(&now.mutex);
	t = now.slots[i].tasklet;
	pthread_mutex_unlock(&now.mutex);
	return t;
}

static weft_tasklet any_tasklet(struct random_state *r)
{
	unsigned thread = random_below(r, (unsigned)now.n_threads);
	unsigned i = random_below(r, (unsigned)now.n_each);

	return tasklet_in((int)(thread * MOST_EACH + i));
}

static void disturb(struct random_state *r)
{
	weft_channel *ch =
		now.channels[random_below(r, (unsigned)now.n_channels)];

	switch (random_below(r, 16)) {
	case 0:
		weft_tasklet_kill(any_tasklet(r), 0);
		break;
	case 1:
	case 2:
	case 3:
		weft_tasklet_raise(any_tasklet(r), EINTR, WEFT_PENDING);
		break;
	case 4:
		weft_channel_close(ch);
		break;
	case 5:
	case 6:
	case 7:
		weft_channel_open(ch);
		break;
	case 8:
		weft_channel_set_preference(ch, (int)random_below(r, 3) - 1);
		break;
	case 9:
		weft_channel_set_schedule_all(ch, random_one_in(r, 2));
		break;
	case 10:
		weft_channel_waiters(ch, NULL, 0);
		weft_channel_closed(ch);
		break;
	default:
		usleep(random_below(r, 60));
	}
}

/* Whether any was left. */
static bool kill_all(void)
{
	bool any = false;

	for (int i = 0; i < MOST_THREADS * MOST_EACH; i++)
		any |= weft_tasklet_kill(tasklet_in(i), 0) == 0;
	return any;
}

static void end_all(const uint64_t *ids)
{
	pthread_mutex_lock(&now.mutex);
	now.must_end = true;
	pthread_mutex_unlock(&now.mutex);
	while (kill_all())
		usleep(200);
	for (int i = 0; i < now.n_threads; i++)
		ck_assert_int_eq(weft_thread_join(ids[i]), 0);
}

/* --- rounds --- */

static void draw_round(struct random_state *r)
{
	memset(&now, 0, sizeof now);
	now.seed = random_next(r);
	now.n_threads = (int)random_between(r, 2, MOST_THREADS);
	now.n_channels = (int)random_between(r, 1, MOST_CHANNELS);
	now.n_each = (int)random_between(r, 2, MOST_EACH);
	now.sends_errors = random_one_in(r, 2);
	pthread_mutex_init(&now.mutex, NULL);
	for (int i = 0; i < now.n_channels; i++) {
		size_t capacity = capacities[random_below(
			r, sizeof capacities / sizeof capacities[0])];

		now.size[i] = random_one_in(r, 2) ? sizeof(uint64_t)
						  : sizeof(struct element);
		now.channels[i] = weft_channel_new(now.size[i], capacity);
		weft_channel_set_drop(now.channels[i], note_dropped,
				      &now.size[i]);
	}
	for (int i = 0; i < MOST_THREADS * MOST_EACH; i++) {
		now.slots[i].role = (int)random_below(r, N_ROLES);
		now.slots[i].number = (uint64_t)i << 32;
	}
}

static void receive_what_is_left(int i)
{
	struct element e;
	int rc;

	do {
		memset(&e, UNTOUCHED, sizeof e);
		rc = weft_channel_try_receive(now.channels[i], &e);
		note_receive(rc, &e, now.size[i]);
	} while (rc == 0 || rc == -SENT_ERROR);
}

static void check_round(void)
{
	uint64_t n = now.n_elements;

	for (int i = 0; i < now.n_channels; i++) {
		weft_channel *ch = now.channels[i];

		ck_assert_uint_eq(weft_channel_waiters(ch, NULL, 0), 0);
		ck_assert_int_ge(weft_channel_balance(ch), 0);
		if (now.sends_errors) {
			receive_what_is_left(i);
			ck_assert_int_eq(weft_channel_balance(ch), 0);
		}
		weft_channel_unref(ch);
	}
	for (uint64_t i = 1; i <= n && i < MOST_ELEMENTS; i++)
		ck_assert_msg(now.received[i] == now.sent[i],
			      "element %" PRIu64 " was %ssent and came %d "
			      "times (seed %" PRIu64 ")",
			      i, now.sent[i] ? "" : "not ", now.received[i],
			      stress_seed);
	ck_assert_uint_eq(now.n_errors_sent, now.n_errors_received);
}

START_TEST(exactly_one_case_goes_through)
{
	struct random_state r = random_stream(stress_seed, 0);
	int64_t end = stress_end_of_budget();
	uint64_t ids[MOST_THREADS];

	do {
		int64_t end_of_round;

		draw_round(&r);
		for (int i = 0; i < now.n_threads; i++)
			ck_assert_int_eq(weft_thread_start(&ids[i],
							   start_tasklets,
							   (void *)(intptr_t)i),
					 0);
		end_of_round = weft_now() + ROUND_MS * WEFT_MILLISECOND;
		while (weft_now() < end_of_round &&
		       now.n_elements < MOST_ELEMENTS - 1)
			disturb(&r);
		end_all(ids);
		check_round();
	} while (weft_now() < end);
	printf("# %" PRIu64 " sent, %" PRIu64 " selected, %" PRIu64
	       " interrupted\n",
	       n_passed, n_selected, n_interrupted);
}
END_TEST

static const struct stress_case cases[] = {
	{ "exactly once", &exactly_one_case_goes_through, 1 },
};

STRESS_MAIN("stress_select", cases)
