/* SPDX-License-Identifier: MIT */
/*
 * Channels shared by 2 to 8 threads, with a buffer or without: every element
 * arrives once and whole, and those of one sender come to each receiver in the
 * order in which they were sent, whatever the channel's preference is at the
 * moment, one by one or several at once, and with errors in between.
 */
#include "stress.h"

enum {
	MOST_THREADS = 8,
	MOST_CHANNELS = 4,
	MOST_SIDES = 24, /* senders, or receivers, of a round */
	MOST_EACH = 60,  /* elements of one sender */
	LARGEST = 3000,  /* bytes of an element */
	MOST_AT_ONCE = 9,
	SENT_ERROR = EXDEV
};

/* What an element starts with; the rest follows from it. */
struct stamp {
	uint32_t sender;
	uint32_t number; /* from 0 up */
};

static const size_t sizes[] = { 0, sizeof(struct stamp), 16, 72, 500, LARGEST };
static const size_t capacities[] = {
	0, 0, 0, 1, 2, 3, 8, 40, 300, WEFT_UNBOUNDED, WEFT_UNBOUNDED
};

struct sender {
	int id;
	int channel;
	unsigned n;
};

struct receiver {
	int channel;
	unsigned quota; /* those of a channel add up to what is sent on it */
	uint32_t next[MOST_SIDES]; /* by sender: the least it can get now */
};

struct round {
	int n_threads;
	int n_channels;
	int n_senders;
	int n_receivers;
	weft_channel *channels[MOST_CHANNELS];
	size_t size[MOST_CHANNELS];
	struct sender senders[MOST_SIDES];
	struct receiver receivers[MOST_SIDES];
	/* How often each element came, by sender and number. */
	_Atomic(unsigned) came[MOST_SIDES][MOST_EACH];
	_Atomic(unsigned) sent, received; /* elements without a stamp too */
	_Atomic(unsigned) errors_sent, errors_received;
	uint64_t seed;
	pthread_barrier_t start;
};

static struct round now;

static unsigned char filling(const struct stamp *stamp, size_t offset)
{
	return (unsigned char)(stamp->sender * 31 + stamp->number * 7 + offset);
}

static void fill(unsigned char *element, size_t size, struct stamp stamp)
{
	if (!size)
		return;
	memcpy(element, &stamp, sizeof stamp);
	for (size_t i = sizeof stamp; i < size; i++)
		element[i] = filling(&stamp, i);
}

static void check(struct receiver *me, const unsigned char *element,
		  size_t size)
{
	struct stamp stamp;

	if (!size)
		return;
	memcpy(&stamp, element, sizeof stamp);
	if (stamp.sender >= MOST_SIDES || stamp.number >= MOST_EACH) {
		stress_fail("an element that nobody sent: %u, %u", stamp.sender,
			    stamp.number);
		return;
	}
	for (size_t i = sizeof stamp; i < size; i++) {
		if (element[i] != filling(&stamp, i)) {
			stress_fail("element %u of %u is torn at byte %zu",
				    stamp.number, stamp.sender, i);
			return;
		}
	}
	if (stamp.number < me->next[stamp.sender])
		stress_fail("element %u of %u came after %u", stamp.number,
			    stamp.sender, me->next[stamp.sender] - 1);
	me->next[stamp.sender] = stamp.number + 1;
	atomic_fetch_add(&now.came[stamp.sender][stamp.number], 1);
}

/* Now and then something else than the next hand-over. */
static void digress(struct random_state *r, weft_channel *ch)
{
	switch (random_below(r, 24)) {
	case 0:
		weft_schedule();
		break;
	case 1:
		weft_sleep(random_below(r, 50) * WEFT_MICROSECOND);
		break;
	case 2:
		weft_channel_set_preference(ch, (int)random_below(r, 3) - 1);
		break;
	case 3:
		weft_channel_set_schedule_all(ch, random_one_in(r, 2));
		break;
	case 4:
		stress_burn(random_below(r, 20) * WEFT_MICROSECOND);
		break;
	default:
		break;
	}
}

/* One, or up to MOST_AT_ONCE with one call. How many were sent. */
static unsigned send_next(struct random_state *r, struct sender *me,
			  unsigned from, unsigned char *elements)
{
	weft_channel *ch = now.channels[me->channel];
	size_t size = now.size[me->channel];
	unsigned n =
		random_one_in(r, 3) ? random_between(r, 1, MOST_AT_ONCE) : 1;
	ssize_t rc = -EAGAIN;

	if (n > me->n - from)
		n = me->n - from;
	for (unsigned i = 0; i < n; i++)
		fill(elements + i * size, size,
		     (struct stamp){ (uint32_t)me->id, from + i });
	if (n > 1)
		return weft_channel_send_many(ch, elements, n) == n ? n : 0;
	if (random_one_in(r, 4))
		rc = weft_channel_try_send(ch, elements);
	if (rc == -EAGAIN)
		rc = weft_channel_send(ch, elements);
	return rc == 0;
}

static int send_elements(void *arg)
{
	struct sender *me = arg;
	weft_channel *ch = now.channels[me->channel];
	struct random_state r = random_stream(now.seed, (unsigned)me->id);
	unsigned char elements[MOST_AT_ONCE * LARGEST + 1];

	for (unsigned i = 0; i < me->n;) {
		unsigned n;

		digress(&r, ch);
		if (random_one_in(&r, 20)) {
			if (weft_channel_send_error(ch, SENT_ERROR))
				stress_fail("an error could not be sent");
			now.errors_sent++;
		}
		n = send_next(&r, me, i, elements);
		/* The elements belong to the caller again. */
		memset(elements, 0xee, n * now.size[me->channel]);
		if (n == 0)
			stress_fail("a send failed");
		now.sent += n;
		i += n;
	}
	return 0;
}

/* At most @most. How many were received; 0: an error was. */
static unsigned receive_next(struct random_state *r, weft_channel *ch,
			     unsigned char *elements, unsigned most)
{
	unsigned n =
		random_one_in(r, 3) ? random_between(r, 1, MOST_AT_ONCE) : 1;
	ssize_t rc = -EAGAIN;

	if (n > most)
		n = most;
	if (n > 1) {
		rc = weft_channel_receive_many(ch, elements, n);
	} else {
		if (random_one_in(r, 4))
			rc = weft_channel_try_receive(ch, elements);
		if (rc == -EAGAIN)
			rc = weft_channel_receive(ch, elements);
		if (rc == 0)
			rc = 1;
	}
	if (rc == -SENT_ERROR)
		now.errors_received++;
	else if (rc <= 0 || rc > n)
		stress_fail("a receive of %u returned %zd", n, rc);
	return rc > 0 ? (unsigned)rc : 0;
}

static int receive_elements(void *arg)
{
	struct receiver *me = arg;
	weft_channel *ch = now.channels[me->channel];
	size_t size = now.size[me->channel];
	struct random_state r =
		random_stream(now.seed, (uint64_t)(me - now.receivers) + 1000);
	unsigned char elements[MOST_AT_ONCE * LARGEST + 1];

	for (unsigned i = 0; i < me->quota;) {
		unsigned n;

		digress(&r, ch);
		memset(elements, 0xdd, MOST_AT_ONCE * size + 1);
		n = receive_next(&r, ch, elements, me->quota - i);
		now.received += n;
		for (unsigned k = 0; k < n; k++)
			check(me, elements + k * size, size);
		if (size && elements[n * size] != 0xdd)
			stress_fail("a receive wrote too much");
		i += n;
	}
	return 0;
}

/* Thread i runs the i-th of every n_threads senders and receivers. */
static void *run_thread(void *arg)
{
	int me = (int)(intptr_t)arg;
	int rc;

	pthread_barrier_wait(&now.start);
	for (int i = me; i < now.n_senders; i += now.n_threads)
		weft_spawn(send_elements, &now.senders[i]);
	for (int i = me; i < now.n_receivers; i += now.n_threads)
		weft_spawn(receive_elements, &now.receivers[i]);
	rc = weft_run();
	if (rc)
		stress_fail("a run returned %d", rc);
	return NULL;
}

/* Cuts what is sent on a channel into quotas for its receivers. */
static void share_out(struct random_state *r, int channel, unsigned total)
{
	struct receiver *last = NULL;

	for (int i = channel; i < now.n_receivers; i += now.n_channels) {
		last = &now.receivers[i];
		last->channel = channel;
		last->quota = random_between(r, 0, total / 2);
		total -= last->quota;
	}
	if (last)
		last->quota += total;
}

static void draw_round(struct random_state *r)
{
	unsigned totals[MOST_CHANNELS] = { 0 };

	memset(&now, 0, sizeof now);
	now.seed = random_next(r);
	now.n_threads = (int)random_between(r, 2, MOST_THREADS);
	now.n_channels = (int)random_between(r, 1, MOST_CHANNELS);
	/* Every channel has one of each at the least. */
	now.n_senders = (int)random_between(r, MOST_CHANNELS, MOST_SIDES);
	now.n_receivers = (int)random_between(r, MOST_CHANNELS, MOST_SIDES);
	for (int i = 0; i < now.n_channels; i++) {
		now.size[i] =
			sizes[random_below(r, sizeof sizes / sizeof sizes[0])];
		now.channels[i] = weft_channel_new(
			now.size[i],
			capacities[random_below(
				r, sizeof capacities / sizeof capacities[0])]);
		ck_assert_ptr_nonnull(now.channels[i]);
	}
	for (int i = 0; i < now.n_senders; i++) {
		now.senders[i].id = i;
		now.senders[i].channel = i % now.n_channels;
		now.senders[i].n = random_below(r, MOST_EACH + 1);
		totals[i % now.n_channels] += now.senders[i].n;
	}
	for (int i = 0; i < now.n_channels; i++)
		share_out(r, i, totals[i]);
}

static void check_round(void)
{
	unsigned total = 0;

	for (int i = 0; i < now.n_senders; i++) {
		const struct sender *s = &now.senders[i];

		total += s->n;
		for (unsigned j = 0; now.size[s->channel] && j < s->n; j++)
			ck_assert_msg(now.came[i][j] == 1,
				      "element %u of %d came %u times "
				      "(seed %" PRIu64 ")",
				      j, i, now.came[i][j], stress_seed);
	}
	ck_assert_uint_eq(now.sent, total);
	ck_assert_uint_eq(now.received, total);
	ck_assert_uint_eq(now.errors_received, now.errors_sent);
	for (int i = 0; i < now.n_channels; i++)
		ck_assert_int_eq(weft_channel_balance(now.channels[i]), 0);
}

static void run_round(void)
{
	pthread_t threads[MOST_THREADS];

	pthread_barrier_init(&now.start, NULL, (unsigned)now.n_threads);
	for (int i = 0; i < now.n_threads; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_thread,
						(void *)(intptr_t)i),
				 0);
	for (int i = 0; i < now.n_threads; i++)
		pthread_join(threads[i], NULL);
	pthread_barrier_destroy(&now.start);
}

START_TEST(elements_arrive_once_and_in_order)
{
	struct random_state r = random_stream(stress_seed, 0);
	int64_t end = stress_end_of_budget();

	do {
		draw_round(&r);
		run_round();
		check_round();
		for (int i = 0; i < now.n_channels; i++)
			weft_channel_unref(now.channels[i]);
	} while (weft_now() < end);
}
END_TEST

static const struct stress_case cases[] = {
	{ "exactly once", &elements_arrive_once_and_in_order, 1 },
};

STRESS_MAIN("stress_channel", cases)
