/* SPDX-License-Identifier: MIT */
/*
 * Channels that come and go, and tokens that go through them: each one arrives
 * once, or is dropped once, or its send has said that it failed. And locks, whose
 * holders look whether they are alone.
 */
#include "all.h"

enum { LARGEST = 200, MOST_MANY = 8, MOST_CASES = 5, NO_TOKEN = MOST_TOKENS };

static struct {
	atomic_flag lock;
	struct conduit *conduit;
} slots[SLOTS];

static _Atomic(int) n_errors_sent;

/* --- tokens --- */

static unsigned index_of(const struct conduit *c)
{
	return (unsigned)(c - now.conduits);
}

static unsigned char pattern(unsigned token, size_t i)
{
	return (unsigned char)(token * 31 + i);
}

/* A token in @element, or none if that is too small. False: there are no more. */
static bool make_token(struct conduit *c, unsigned char *element,
		       unsigned *token)
{
	*token = NO_TOKEN;
	if (c->size < sizeof *token) {
		atomic_fetch_add_explicit(&c->n_sent, 1, memory_order_relaxed);
		memset(element, 0x5a, c->size);
		return true;
	}
	*token = atomic_fetch_add_explicit(&now.n_tokens, 1,
					   memory_order_relaxed);
	if (*token >= MOST_TOKENS)
		return false;
	now.token_conduits[*token] = (uint8_t)index_of(c);
	memcpy(element, token, sizeof *token);
	for (size_t i = sizeof *token; i < c->size; i++)
		element[i] = pattern(*token, i);
	return true;
}

static void settle(struct conduit *c, unsigned token, bool sent)
{
	if (is_child)
		return;
	if (token < MOST_TOKENS)
		atomic_store_explicit(&now.token_states[token],
				      sent ? TOKEN_SENT : TOKEN_REFUSED,
				      memory_order_relaxed);
	else if (!sent)
		atomic_fetch_sub_explicit(&c->n_sent, 1, memory_order_relaxed);
}

/* Has arrived, or is dropped. */
static void take(struct conduit *c, const unsigned char *element, bool dropped)
{
	unsigned token;

	if (is_child)
		return;
	if (c->size < sizeof token) {
		atomic_fetch_add_explicit(dropped ? &c->n_dropped
						  : &c->n_received,
					  1, memory_order_relaxed);
		for (size_t i = 0; i < c->size; i++)
			if (element[i] != 0x5a)
				wrong("a small element is damaged");
		return;
	}
	memcpy(&token, element, sizeof token);
	if (token >= MOST_TOKENS || now.token_conduits[token] != index_of(c))
		wrong("channel %u %s token %u, which is not its own",
		      index_of(c), dropped ? "dropped" : "gave", token);
	for (size_t i = sizeof token; i < c->size; i++)
		if (element[i] != pattern(token, i))
			wrong("token %u is damaged at byte %zu", token, i);
	if (atomic_fetch_add_explicit(&now.token_arrivals[token], 1,
				      memory_order_relaxed))
		wrong("token %u has come twice", token);
}

static void on_drop(void *element, void *ctx)
{
	take(ctx, element, true);
	if (!is_child && self && random_one_in(&self->random, 3))
		do_a_callback();
}

/* --- channels --- */

static struct conduit *new_conduit(struct random_state *r)
{
	static const size_t sizes[] = { 0, 1, 4, 8, 8, 8, 24, LARGEST };
	unsigned n = atomic_fetch_add(&now.n_conduits, 1);
	struct conduit *c;
	size_t capacity;

	if (n >= MOST_CONDUITS) {
		atomic_fetch_sub(&now.n_conduits, 1);
		return NULL;
	}
	c = &now.conduits[n];
	c->size = sizes[random_below(r, N_ELEMENTS(sizes))];
	c->is_unbounded = random_one_in(r, 5);
	capacity = random_one_in(r, 2) ? 0 : random_between(r, 1, 9);
	c->channel = weft_channel_new(c->size, c->is_unbounded ? WEFT_UNBOUNDED
							       : capacity);
	if (!c->channel)
		wrong("weft_channel_new: %s", strerror(errno));
	weft_channel_set_drop(c->channel, on_drop, c);
	weft_channel_set_preference(c->channel,
				    (int)random_between(r, 0, 2) - 1);
	return c;
}

/* Nothing that can switch or call back happens inside. */
static void lock_slot(unsigned i)
{
	while (atomic_flag_test_and_set(&slots[i].lock))
		sched_yield();
}

static void unlock_slot(unsigned i)
{
	atomic_flag_clear(&slots[i].lock);
}

/* With a reference. */
static struct conduit *borrow(struct random_state *r)
{
	unsigned i = random_below(r, SLOTS);
	struct conduit *c;

	lock_slot(i);
	c = slots[i].conduit;
	weft_channel_ref(c->channel);
	unlock_slot(i);
	return c;
}

static void give_back(struct conduit *c)
{
	weft_channel_unref(c->channel);
}

int act_renew(struct actor *a)
{
	struct conduit *c = new_conduit(&a->random);
	unsigned i = random_below(&a->random, SLOTS);
	struct conduit *old;

	if (!c)
		return 0;
	lock_slot(i);
	old = slots[i].conduit;
	slots[i].conduit = c;
	unlock_slot(i);
	LOGGED(a, index_of(old), (give_back(old), 0));
	return 0;
}

static bool is_sent_error(int64_t rc)
{
	return rc <= -SENT_FIRST && rc >= -SENT_LAST;
}

/* Of a receive that may wait, or that may not. */
static void judge_receive(const struct actor *a, const char *call, int64_t rc,
			  bool blocks)
{
	if (!is_sent_error(rc))
		judge(a, call, rc, blocks,
		      (const int[]){ -EPIPE, blocks ? -EPIPE : -EAGAIN,
				     is_free(a) ? -EPIPE : -EPERM, 0 });
	else if (!atomic_load_explicit(&n_errors_sent, memory_order_relaxed))
		wrong("%s gave an error that nobody has sent", call);
}

int act_send(struct actor *a)
{
	struct conduit *c = borrow(&a->random);
	unsigned char element[LARGEST];
	unsigned token;
	int64_t rc = 0;

	if (make_token(c, element, &token)) {
		rc = BLOCKING(a, index_of(c),
			      weft_channel_send(c->channel, element), -EPIPE);
		settle(c, token, rc == 0);
		if (rc == -EAGAIN && c->is_unbounded)
			wrong("a send to an unbounded channel would wait");
	}
	give_back(c);
	return (int)rc;
}

int act_receive(struct actor *a)
{
	struct conduit *c = borrow(&a->random);
	unsigned char element[LARGEST];
	int64_t rc;

	rc = LOGGED(a, index_of(c), weft_channel_receive(c->channel, element));
	judge_callback(a, "weft_channel_receive", rc);
	judge_receive(a, "weft_channel_receive", rc, true);
	if (!rc)
		take(c, element, false);
	give_back(c);
	return (int)rc;
}

int act_try(struct actor *a)
{
	struct conduit *c = borrow(&a->random);
	unsigned char element[LARGEST];
	unsigned token;
	int64_t rc;

	if (random_one_in(&a->random, 2)) {
		rc = LOGGED(a, index_of(c),
			    weft_channel_try_receive(c->channel, element));
		judge_receive(a, "weft_channel_try_receive", rc, false);
		if (!rc)
			take(c, element, false);
	} else if (make_token(c, element, &token)) {
		rc = PLAIN(a, index_of(c),
			   weft_channel_try_send(c->channel, element), -EPIPE,
			   c->is_unbounded ? -EPIPE : -EAGAIN,
			   is_free(a) ? -EPIPE : -EPERM);
		settle(c, token, rc == 0);
	}
	give_back(c);
	return 0;
}

static int64_t send_many(struct actor *a, struct conduit *c)
{
	unsigned char elements[MOST_MANY * LARGEST];
	unsigned tokens[MOST_MANY];
	unsigned wanted = random_between(&a->random, 1, MOST_MANY), n = 0;
	int64_t rc;

	while (n < wanted && make_token(c, elements + n * c->size, &tokens[n]))
		n++;
	rc = BLOCKING(a, index_of(c),
		      weft_channel_send_many(c->channel, elements, n), -EPIPE);
	for (unsigned i = 0; i < n; i++)
		settle(c, tokens[i], rc > (int64_t)i);
	return rc < 0 ? rc : 0;
}

static int64_t receive_many(struct actor *a, struct conduit *c)
{
	unsigned char elements[MOST_MANY * LARGEST];
	int64_t rc;

	rc = LOGGED(a, index_of(c),
		    weft_channel_receive_many(c->channel, elements, MOST_MANY));
	judge_callback(a, "weft_channel_receive_many", rc);
	judge_receive(a, "weft_channel_receive_many", rc, true);
	for (int64_t i = 0; i < rc; i++)
		take(c, elements + (size_t)i * c->size, false);
	return rc < 0 ? rc : 0;
}

int act_many(struct actor *a)
{
	struct conduit *c = borrow(&a->random);
	int64_t rc = random_one_in(&a->random, 2) ? send_many(a, c)
						  : receive_many(a, c);

	give_back(c);
	return (int)rc;
}

int act_send_error(struct actor *a)
{
	struct conduit *c = borrow(&a->random);
	int err = (int)random_between(&a->random, SENT_FIRST, SENT_LAST);
	int64_t rc;

	atomic_store_explicit(&n_errors_sent, 1, memory_order_relaxed);
	rc = BLOCKING(a, index_of(c), weft_channel_send_error(c->channel, err),
		      -EPIPE);
	give_back(c);
	return (int)rc;
}

int act_tune(struct actor *a)
{
	struct random_state *r = &a->random;
	struct conduit *c = borrow(r);
	weft_channel *ch = c->channel;
	weft_tasklet waiters[4];

	switch (random_below(r, 8)) {
	case 0:
	case 1:
		LOGGED(a, index_of(c), (weft_channel_close(ch), 0));
		break;
	case 2:
	case 3:
	case 4:
		LOGGED(a, index_of(c), (weft_channel_open(ch), 0));
		break;
	case 5:
		weft_channel_set_preference(ch,
					    (int)random_between(r, 0, 2) - 1);
		weft_channel_set_schedule_all(ch, random_one_in(r, 2));
		break;
	case 6:
		weft_channel_set_name(ch, random_one_in(r, 2) ? "c" : NULL);
		(void)weft_channel_closed(ch);
		(void)weft_channel_waiters(ch, waiters, 4);
		break;
	default:
		if (random_one_in(r, 8)) {
			c->may_lose = true;
			weft_channel_set_drop(ch, NULL, NULL);
		} else {
			weft_channel_set_drop(ch, on_drop, c);
		}
		(void)weft_channel_balance(ch);
	}
	give_back(c);
	return 0;
}

/* --- select --- */

struct choice {
	struct conduit *conduit;
	unsigned token;
	unsigned char element[LARGEST];
};

static void draw_case(struct actor *a, struct weft_case *one, struct choice *c)
{
	*one = (struct weft_case){ .op = WEFT_RECEIVE };
	c->token = NO_TOKEN;
	c->conduit = NULL;
	if (random_one_in(&a->random, 8))
		return;
	c->conduit = borrow(&a->random);
	one->channel = c->conduit->channel;
	one->element = c->element;
	one->result = 1;
	if (random_one_in(&a->random, 2) &&
	    make_token(c->conduit, c->element, &c->token))
		one->op = WEFT_SEND;
}

static void settle_case(struct actor *a, struct weft_case *one,
			struct choice *c, bool is_chosen)
{
	if (!c->conduit)
		return;
	if (one->op == WEFT_SEND)
		settle(c->conduit, c->token, is_chosen && !one->result);
	if (is_chosen && one->op == WEFT_SEND)
		judge(a, "a selected send", one->result, false,
		      (const int[]){ -EPIPE, 0 });
	if (is_chosen && one->op == WEFT_RECEIVE) {
		judge_receive(a, "a selected receive", one->result, false);
		if (!one->result)
			take(c->conduit, c->element, false);
	}
	give_back(c->conduit);
}

int act_select(struct actor *a)
{
	struct weft_case cases[MOST_CASES];
	struct choice choices[MOST_CASES];
	unsigned n = random_between(&a->random, 1, MOST_CASES);
	unsigned flags = random_one_in(&a->random, 2) ? WEFT_NONBLOCK : 0;
	int64_t rc;

	for (unsigned i = 0; i < n; i++)
		draw_case(a, &cases[i], &choices[i]);
	if (flags)
		rc = PLAIN(a, n, weft_select(cases, n, flags), -EAGAIN,
			   is_free(a) ? -EAGAIN : -EPERM);
	else
		rc = BLOCKING(a, n, weft_select(cases, n, flags), 0);
	if (rc >= (int64_t)n)
		wrong("of %u cases number %" PRId64 " was chosen", n, rc);
	for (unsigned i = 0; i < n; i++)
		settle_case(a, &cases[i], &choices[i], rc == (int64_t)i);
	return rc < 0 && !flags ? (int)rc : 0;
}

/* --- locks --- */

static struct {
	weft_mutex mutex;
	weft_condition condition;
	weft_rwlock rwlock;
	weft_semaphore semaphore;
	int initial;
	_Atomic(int) n_units;               /* given less taken */
	uint64_t under_mutex, under_rwlock; /* plain: the locks order them */
	_Atomic(int) n_readers;
	bool is_written;
} locks[LOCKS];

/* Holds something for a while; not where the holder can be given up meanwhile, with
 * its thread, since others would wait for ever. */
static void dwell(struct actor *a)
{
	if (a->thread->will_leave)
		return;
	if (random_one_in(&a->random, 4))
		BLOCKING(a, 0, weft_sleep(30 * WEFT_MICROSECOND), 0);
	else if (random_one_in(&a->random, 2))
		BLOCKING(a, 0, weft_schedule(), 0);
}

static void be_alone(struct actor *a, uint64_t *value)
{
	uint64_t before = *value;

	dwell(a);
	if (*value != before && !is_child)
		wrong("a lock had two holders");
	*value = before + 1;
}

int act_mutex(struct actor *a)
{
	unsigned i = random_below(&a->random, LOCKS);
	weft_mutex *m = &locks[i].mutex;
	int64_t rc;

	if (random_one_in(&a->random, 3)) {
		rc = PLAIN(a, i, weft_mutex_trylock(m), -EBUSY);
		if (rc)
			return 0;
	} else {
		rc = BLOCKING(a, i, weft_mutex_lock(m), 0);
	}
	if (rc)
		return (int)rc;
	be_alone(a, &locks[i].under_mutex);
	PLAIN(a, i, weft_mutex_unlock(m), 0);
	return 0;
}

int act_condition(struct actor *a)
{
	unsigned i = random_below(&a->random, LOCKS);
	int64_t rc, due;

	if (random_one_in(&a->random, 3)) {
		PLAIN(a, i, weft_condition_signal(&locks[i].condition), 0);
		return 0;
	}
	if (random_one_in(&a->random, 3)) {
		PLAIN(a, i, weft_condition_broadcast(&locks[i].condition), 0);
		return 0;
	}
	if (a->n_shields && !a->n_scopes)
		return 0;
	rc = BLOCKING(a, i, weft_mutex_lock(&locks[i].mutex), 0);
	if (rc)
		return (int)rc;
	be_alone(a, &locks[i].under_mutex);
	due = set_due(a, 0); /* it has to have the mutex again */
	rc = BLOCKING(a, i,
		      weft_condition_wait(&locks[i].condition, &locks[i].mutex),
		      0);
	set_due(a, due);
	be_alone(a, &locks[i].under_mutex);
	PLAIN(a, i, weft_mutex_unlock(&locks[i].mutex), 0);
	return (int)rc;
}

int act_semaphore(struct actor *a)
{
	unsigned i = random_below(&a->random, LOCKS);
	weft_semaphore *s = &locks[i].semaphore;
	int64_t rc;

	switch (random_below(&a->random, 3)) {
	case 0:
		atomic_fetch_add(&locks[i].n_units, 1);
		PLAIN(a, i, weft_semaphore_post(s), 0);
		return 0;
	case 1:
		rc = PLAIN(a, i, weft_semaphore_trywait(s), -EAGAIN);
		break;
	default:
		rc = BLOCKING(a, i, weft_semaphore_wait(s), 0);
	}
	if (!rc && atomic_fetch_sub(&locks[i].n_units, 1) <= 0)
		wrong("semaphore %u gave a unit that was not there", i);
	return rc == -EAGAIN ? 0 : (int)rc;
}

static int read_locked(struct actor *a, unsigned i)
{
	weft_rwlock *l = &locks[i].rwlock;
	int64_t rc = random_one_in(&a->random, 3)
			     ? PLAIN(a, i, weft_rwlock_tryrdlock(l), -EBUSY)
			     : BLOCKING(a, i, weft_rwlock_rdlock(l), 0);
	uint64_t before;

	if (rc)
		return rc == -EBUSY ? 0 : (int)rc;
	before = locks[i].under_rwlock;
	dwell(a);
	if (locks[i].under_rwlock != before && !is_child)
		wrong("somebody wrote while another read");
	PLAIN(a, i, weft_rwlock_unlock(l), 0);
	return 0;
}

static int write_locked(struct actor *a, unsigned i)
{
	weft_rwlock *l = &locks[i].rwlock;
	int64_t rc = random_one_in(&a->random, 3)
			     ? PLAIN(a, i, weft_rwlock_trywrlock(l), -EBUSY)
			     : BLOCKING(a, i, weft_rwlock_wrlock(l), 0);

	if (rc)
		return rc == -EBUSY ? 0 : (int)rc;
	be_alone(a, &locks[i].under_rwlock);
	PLAIN(a, i, weft_rwlock_unlock(l), 0);
	return 0;
}

int act_rwlock(struct actor *a)
{
	unsigned i = random_below(&a->random, LOCKS);

	return random_one_in(&a->random, 3) ? write_locked(a, i)
					    : read_locked(a, i);
}

/* --- a round --- */

void open_channels(struct actor *a)
{
	for (int i = 0; i < SLOTS; i++) {
		atomic_flag_clear(&slots[i].lock);
		slots[i].conduit = new_conduit(&a->random);
	}
	n_errors_sent = 0;
	memset(locks, 0, sizeof locks);
	for (int i = 0; i < LOCKS; i++) {
		int n = (int)random_below(&a->random, 4);

		locks[i].initial = n;
		locks[i].n_units = n;
		locks[i].semaphore = (weft_semaphore)WEFT_SEMAPHORE_INIT(n);
	}
}

static bool was_given_up(void)
{
	for (unsigned i = 0; i < now.n_lives && i < MOST_LIVES; i++)
		if (now.lives[i].n_started && !now.lives[i].n_ended)
			return true;
	return false;
}

static void close_locks(void)
{
	for (int i = 0; i < LOCKS; i++) {
		int n = 0;

		while (!weft_semaphore_trywait(&locks[i].semaphore))
			n++;
		if (n != locks[i].n_units)
			wrong("semaphore %d has %d units and not %d", i, n,
			      locks[i].n_units);
		if (weft_mutex_trylock(&locks[i].mutex))
			wrong("mutex %d has a holder who has ended", i);
		if (weft_rwlock_trywrlock(&locks[i].rwlock))
			wrong("read-write lock %d has a holder who has ended",
			      i);
	}
}

void close_channels(struct actor *a)
{
	unsigned char element[LARGEST];

	for (int i = 0; i < SLOTS; i++) {
		struct conduit *c = slots[i].conduit;
		int rc = -EAGAIN;

		while (random_one_in(&a->random, 2) &&
		       !(rc = weft_channel_try_receive(c->channel, element)))
			take(c, element, false);
		if (weft_channel_waiters(c->channel, NULL, 0) &&
		    !was_given_up())
			wrong("channel %u has waiters of threads that are gone",
			      index_of(c));
		give_back(c);
	}
	if (!was_given_up())
		close_locks();
}
