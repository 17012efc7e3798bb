/* SPDX-License-Identifier: MIT */
/*
 * One thread against the rules: tasklets do random things to each other, and a
 * plain model of the ring, R1 to R7, R9 and R10 written down once more as
 * operations on arrays, says after every call who has to be running, what the
 * call has to return and how long the ring is.
 *
 * Whoever runs picks an operation, applies it to the model and then calls the
 * library; when its call returns, the model has to say that it is its turn. An
 * operation after which nothing could ever run again is not picked.
 */
#include "stress.h"

enum {
	MOST_TASKLETS =
		80, /* more than the library's first queue has room for */
	CHANNELS = 3,
	MAIN = 0,
	EPISODE_STEPS = 3000
};

struct frame {
	int task;
	bool is_pump;
};

struct queue {
	int tasks[MOST_TASKLETS];
	int n;
};

struct model_channel {
	struct queue waiting;
	bool is_sending; /* those who wait */
	int preference;
	bool schedule_all;
};

struct model {
	struct queue ring;                    /* the first is the running one */
	enum weft_state state[MOST_TASKLETS]; /* RUNNABLE for RUNNING too */
	bool is_inside[MOST_TASKLETS];        /* run or pump */
	struct frame frames[MOST_TASKLETS];
	int n_frames;
	int n_alive;               /* main too */
	int result[MOST_TASKLETS]; /* what the call under way has to return */
	uint64_t element[MOST_TASKLETS]; /* and hand over */
	struct model_channel channels[CHANNELS];
};

static struct model model;
static weft_tasklet handles[MOST_TASKLETS];
static weft_channel *channels[CHANNELS];
static struct random_state random_numbers;
static int n_slots;
static int steps_left;
static uint64_t last_element;
static const char *last_operation = "nothing";

/* --- the model --- */

static void append(struct queue *q, int task)
{
	q->tasks[q->n++] = task;
}

static void put_at(struct queue *q, int place, int task)
{
	memmove(&q->tasks[place + 1], &q->tasks[place],
		(size_t)(q->n - place) * sizeof q->tasks[0]);
	q->tasks[place] = task;
	q->n++;
}

static int take_at(struct queue *q, int place)
{
	int task = q->tasks[place];

	q->n--;
	memmove(&q->tasks[place], &q->tasks[place + 1],
		(size_t)(q->n - place) * sizeof q->tasks[0]);
	return task;
}

static int place_of(const struct queue *q, int task)
{
	int place = 0;

	while (q->tasks[place] != task)
		place++;
	return place;
}

/* Turns the ring until @task is the running one. */
static void turn_to(struct model *m, int task)
{
	while (m->ring.tasks[0] != task)
		append(&m->ring, take_at(&m->ring, 0));
}

static int leave(struct model *m, enum weft_state state)
{
	int task = take_at(&m->ring, 0);

	m->state[task] = state;
	return task;
}

/* R1. */
static void join(struct model *m, int task)
{
	m->state[task] = WEFT_RUNNABLE;
	append(&m->ring, task);
}

static int pop_frame(struct model *m, int result)
{
	int task = m->frames[--m->n_frames].task;

	m->is_inside[task] = false;
	m->result[task] = result;
	return task;
}

/* A paused one joins, and if it was inside run or pump, so do those in calls
 * nested deeper, before it. */
static void unpause(struct model *m, int task)
{
	if (m->is_inside[task]) {
		while (m->frames[m->n_frames - 1].task != task)
			join(m, pop_frame(m, 0));
		pop_frame(m, 0);
	}
	join(m, task);
}

/* R7. False when nothing can run any more. */
static bool settle(struct model *m)
{
	int n_inside = 0;

	if (m->ring.n)
		return true;
	if (!m->n_frames) {
		if (m->state[MAIN] != WEFT_PAUSED)
			return false;
		join(m, MAIN);
		return true;
	}
	for (int i = 1; i < MOST_TASKLETS; i++)
		n_inside += m->is_inside[i];
	if (m->frames[m->n_frames - 1].is_pump)
		join(m, pop_frame(m, m->n_alive - 1));
	else if (m->n_alive - 1 == n_inside)
		join(m, pop_frame(m, 0));
	else
		return false;
	return true;
}

/* --- operations: first on the model, then on the library --- */

enum kind {
	SCHEDULE,
	SLEEP_NOTHING,
	SCHEDULE_REMOVE,
	INSERT,
	REMOVE,
	RUN_IT,
	SWITCH_TO,
	SPAWN,
	SPAWN_PAUSED,
	SEND,
	RECEIVE,
	TRY_SEND,
	TRY_RECEIVE,
	SET_PREFERENCE,
	SET_SCHEDULE_ALL,
	RUN,
	PUMP,
	STOP,
	END,
	KINDS
};

static const char *const names[KINDS] = {
	[SCHEDULE] = "schedule",
	[SLEEP_NOTHING] = "sleep of nothing",
	[SCHEDULE_REMOVE] = "schedule_remove",
	[INSERT] = "insert",
	[REMOVE] = "remove",
	[RUN_IT] = "run of a tasklet",
	[SWITCH_TO] = "switch",
	[SPAWN] = "spawn",
	[SPAWN_PAUSED] = "spawn paused",
	[SEND] = "send",
	[RECEIVE] = "receive",
	[TRY_SEND] = "try_send",
	[TRY_RECEIVE] = "try_receive",
	[SET_PREFERENCE] = "set_preference",
	[SET_SCHEDULE_ALL] = "set_schedule_all",
	[RUN] = "run",
	[PUMP] = "pump",
	[STOP] = "stop",
	[END] = "end",
};

struct operation {
	enum kind kind;
	int target;  /* a tasklet */
	int channel; /* an index */
	int value;   /* what is set */
};

/* R9: @caller meets the oldest that waits. */
static void meet(struct model *m, int caller, struct model_channel *c)
{
	int peer = take_at(&c->waiting, 0);
	bool favoured = c->is_sending ? c->preference > 0 : c->preference < 0;

	m->result[peer] = 0;
	if (c->is_sending)
		m->element[caller] = m->element[peer];
	else
		m->element[peer] = m->element[caller];
	if (c->schedule_all) {
		join(m, peer);
		append(&m->ring, take_at(&m->ring, 0));
	} else if (favoured) {
		m->state[peer] = WEFT_RUNNABLE;
		put_at(&m->ring, 1, peer);
		turn_to(m, peer);
	} else {
		join(m, peer);
	}
}

static void transfer(struct model *m, int caller, struct model_channel *c,
		     bool is_sending, bool may_wait)
{
	if (c->waiting.n && c->is_sending != is_sending) {
		meet(m, caller, c);
	} else if (may_wait) { /* R10 */
		leave(m, WEFT_BLOCKED);
		append(&c->waiting, caller);
		c->is_sending = is_sending;
	} else {
		m->result[caller] = -EAGAIN;
	}
}

/* What control calls say before they do anything; 1: go on. */
static int objection(const struct model *m, int target)
{
	if (m->state[target] == WEFT_DEAD)
		return -ESRCH;
	return m->state[target] == WEFT_BLOCKED ? -EBUSY : 1;
}

static void control(struct model *m, int caller, const struct operation *o)
{
	int rc = objection(m, o->target);
	bool is_paused = m->state[o->target] == WEFT_PAUSED;

	if (o->kind == REMOVE && o->target == caller)
		rc = -EBUSY;
	if (rc < 0) {
		m->result[caller] = rc;
		return;
	}
	switch (o->kind) {
	case INSERT:
		if (is_paused)
			unpause(m, o->target);
		break;
	case REMOVE:
		if (is_paused)
			break;
		take_at(&m->ring, place_of(&m->ring, o->target));
		m->state[o->target] = WEFT_PAUSED;
		break;
	case SWITCH_TO:
		if (o->target == caller)
			break;
		leave(m, WEFT_PAUSED);
		/* fall through */
	default: /* R3 */
		if (is_paused)
			unpause(m, o->target);
		turn_to(m, o->target);
	}
}

/* False when the thread would be stuck. */
static bool apply(struct model *m, const struct operation *o)
{
	int caller = m->ring.tasks[0];
	struct model_channel *c = &m->channels[o->channel];

	m->result[caller] = 0;
	switch (o->kind) {
	case SCHEDULE:
	case SLEEP_NOTHING:
		append(&m->ring, take_at(&m->ring, 0));
		break;
	case SCHEDULE_REMOVE:
		leave(m, WEFT_PAUSED);
		break;
	case INSERT:
	case REMOVE:
	case RUN_IT:
	case SWITCH_TO:
		control(m, caller, o);
		break;
	case SPAWN:
		join(m, o->target);
		m->n_alive++;
		break;
	case SPAWN_PAUSED:
		m->state[o->target] = WEFT_PAUSED;
		m->n_alive++;
		break;
	case SEND:
	case TRY_SEND:
		m->element[caller] = last_element + 1;
		transfer(m, caller, c, true, o->kind == SEND);
		break;
	case RECEIVE:
	case TRY_RECEIVE:
		transfer(m, caller, c, false, o->kind == RECEIVE);
		break;
	case SET_PREFERENCE:
		c->preference = o->value;
		break;
	case SET_SCHEDULE_ALL:
		c->schedule_all = o->value;
		break;
	case RUN:
	case PUMP:
		leave(m, WEFT_PAUSED);
		m->is_inside[caller] = true;
		m->frames[m->n_frames++] = (struct frame){
			.task = caller,
			.is_pump = o->kind == PUMP,
		};
		break;
	case STOP:
		if (m->n_frames) {
			int task = pop_frame(m, o->value);

			m->state[task] = WEFT_RUNNABLE;
			put_at(&m->ring, 1, task);
		}
		break;
	default: /* END */
		leave(m, WEFT_DEAD);
		m->n_alive--;
	}
	return settle(m);
}

static int participant(void *slot);

static int spawn_slot(int slot, bool paused)
{
	struct weft_tasklet_options options = { .paused = paused };
	void *arg = (void *)(intptr_t)slot;

	handles[slot] = paused ? weft_spawn_with(&options, participant, arg)
			       : weft_spawn(participant, arg);
	return weft_tasklet_is_null(handles[slot]) ? -ENOMEM : 0;
}

/* Returns what the library said. */
static int carry_out(const struct operation *o, int caller)
{
	weft_channel *ch = channels[o->channel];
	uint64_t element = last_element;
	int rc;

	switch (o->kind) {
	case SCHEDULE:
		return weft_schedule();
	case SLEEP_NOTHING:
		return weft_sleep(0);
	case SCHEDULE_REMOVE:
		return weft_schedule_remove();
	case INSERT:
		return weft_tasklet_insert(handles[o->target]);
	case REMOVE:
		return weft_tasklet_remove(handles[o->target]);
	case RUN_IT:
		return weft_tasklet_run(handles[o->target]);
	case SWITCH_TO:
		return weft_tasklet_switch(handles[o->target]);
	case SPAWN:
	case SPAWN_PAUSED:
		return spawn_slot(o->target, o->kind == SPAWN_PAUSED);
	case SEND:
		return weft_channel_send(ch, &element);
	case TRY_SEND:
		return weft_channel_try_send(ch, &element);
	case RECEIVE:
	case TRY_RECEIVE:
		rc = o->kind == RECEIVE
			     ? weft_channel_receive(ch, &element)
			     : weft_channel_try_receive(ch, &element);
		if (!rc && element != model.element[caller])
			stress_fail("%s by %d: got element %" PRIu64
				    ", not %" PRIu64,
				    names[o->kind], caller, element,
				    model.element[caller]);
		return rc;
	case SET_PREFERENCE:
		weft_channel_set_preference(ch, o->value);
		return 0;
	case SET_SCHEDULE_ALL:
		weft_channel_set_schedule_all(ch, o->value);
		return 0;
	case RUN:
		return weft_run();
	case PUMP:
		return weft_pump();
	case STOP:
		weft_stop(o->value);
		return 0;
	default:
		return 0;
	}
}

/* --- what a tasklet sees when it runs --- */

static enum weft_state expected_state(int slot)
{
	return model.ring.tasks[0] == slot ? WEFT_RUNNING : model.state[slot];
}

static void look_at_channel(int index)
{
	const struct model_channel *c = &model.channels[index];
	int balance = c->is_sending ? c->waiting.n : -c->waiting.n;
	weft_tasklet oldest = { 0 };

	if (weft_channel_balance(channels[index]) != balance)
		stress_fail("balance is %d, not %d, after %s",
			    weft_channel_balance(channels[index]), balance,
			    last_operation);
	weft_channel_waiters(channels[index], &oldest, 1);
	if (balance &&
	    !weft_tasklet_equal(oldest, handles[c->waiting.tasks[0]]))
		stress_fail("another than %d waits longest after %s",
			    c->waiting.tasks[0], last_operation);
}

static void look_around(int me)
{
	int slot = (int)random_below(&random_numbers, (unsigned)n_slots);
	enum weft_state state = weft_tasklet_state(handles[slot]);

	if (model.ring.tasks[0] != me)
		stress_fail("%d runs, and it is the turn of %d, after %s", me,
			    model.ring.tasks[0], last_operation);
	else if (!weft_tasklet_equal(weft_current(), handles[me]))
		stress_fail("current is not %d, after %s", me, last_operation);
	else if (weft_runcount() != (unsigned)model.ring.n)
		stress_fail("runcount is %u, not %d, after %s", weft_runcount(),
			    model.ring.n, last_operation);
	else if (state != expected_state(slot))
		stress_fail("%d is in state %d, not %d, after %s", slot,
			    (int)state, (int)expected_state(slot),
			    last_operation);
	else
		look_at_channel((int)random_below(&random_numbers, CHANNELS));
}

/* Applies @o, unless the thread would be stuck after it. */
static bool try_step(const struct operation *o, int me)
{
	static struct model after;
	int rc;

	after = model;
	if (!apply(&after, o))
		return false;
	model = after;
	last_operation = names[o->kind];
	if (o->kind == SEND || o->kind == TRY_SEND)
		last_element++;
	if (o->kind == END)
		return true;
	rc = carry_out(o, me);
	if (rc != model.result[me])
		stress_fail("%s by %d on %d: returned %d, not %d",
			    names[o->kind], me, o->target, rc,
			    model.result[me]);
	look_around(me);
	return true;
}

/* --- choosing --- */

static int slot_in(enum weft_state state, bool inside_too)
{
	for (int i = 0; i < n_slots; i++)
		if (model.state[i] == state &&
		    (inside_too || !model.is_inside[i]))
			return i;
	return -1;
}

static struct operation random_operation(void)
{
	struct random_state *r = &random_numbers;
	struct operation o = {
		.kind = (enum kind)random_below(r, KINDS),
		.target = (int)random_below(r, (unsigned)n_slots),
		.channel = (int)random_below(r, CHANNELS),
		.value = (int)random_below(r, 3) - 1,
	};

	/* The rarer ones would otherwise keep the ring short. */
	if ((o.kind == END || o.kind == RUN || o.kind == PUMP) &&
	    !random_one_in(r, 3))
		o.kind = SPAWN;
	if (o.kind == SET_SCHEDULE_ALL)
		o.value = random_one_in(r, 4);
	if (o.kind == SPAWN || o.kind == SPAWN_PAUSED)
		o.target = slot_in(WEFT_DEAD, true);
	if (o.target < 0 || (o.kind == END && model.ring.tasks[0] == MAIN))
		o = (struct operation){ .kind = SCHEDULE };
	return o;
}

/* Brings one that waits or is paused back, so that all come to an end. */
static struct operation closing_operation(void)
{
	struct operation o = { .kind = INSERT };

	for (; o.channel < CHANNELS; o.channel++) {
		if (model.channels[o.channel].waiting.n) {
			o.kind = model.channels[o.channel].is_sending ? RECEIVE
								      : SEND;
			return o;
		}
	}
	o.channel = 0;
	o.target = slot_in(WEFT_PAUSED, false);
	if (o.target >= 0)
		return o;
	if (model.ring.tasks[0] != MAIN) {
		o.kind = END;
		return o;
	}
	/* Only those are left who are runnable or inside run or pump. */
	o.target = slot_in(WEFT_PAUSED, true);
	if (o.target < 0)
		o.kind = RUN;
	return o;
}

/* False when it was its end. */
static bool step(int me)
{
	struct operation o;

	if (steps_left > 0) {
		steps_left--;
		o = random_operation();
	} else {
		o = closing_operation();
	}
	if (!try_step(&o, me)) {
		o = (struct operation){ .kind = SCHEDULE };
		try_step(&o, me);
	}
	return o.kind != END;
}

static int participant(void *slot)
{
	int me = (int)(intptr_t)slot;

	look_around(me);
	while (step(me))
		;
	return 0;
}

static void episode(void)
{
	memset(&model, 0, sizeof model);
	model.n_alive = 1;
	join(&model, MAIN);
	handles[MAIN] = weft_main();
	for (int i = 1; i < MOST_TASKLETS; i++)
		handles[i] = (weft_tasklet){ 0 };
	for (int i = 0; i < CHANNELS; i++) {
		channels[i] = weft_channel_new(sizeof(uint64_t), 0);
		ck_assert_ptr_nonnull(channels[i]);
		model.channels[i].preference = -1;
	}
	n_slots = (int)random_between(&random_numbers, 2, MOST_TASKLETS);
	steps_left = EPISODE_STEPS;

	while ((steps_left > 0 || model.n_alive > 1))
		step(MAIN);
	for (int i = 0; i < CHANNELS; i++)
		weft_channel_unref(channels[i]);
}

/* R1 to R7, R9, R10: whatever tasklets do, the ring goes as the rules say. */
START_TEST(the_ring_follows_the_rules)
{
	int64_t end = stress_end_of_budget();

	random_numbers = random_stream(stress_seed, 0);
	do
		episode();
	while (weft_now() < end);
}
END_TEST

static const struct stress_case cases[] = {
	{ "rules", &the_ring_follows_the_rules, 1 },
};

STRESS_MAIN("stress_sched", cases)
