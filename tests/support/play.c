/* SPDX-License-Identifier: MIT */
#include "play.h"

#include <ctype.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <weft.h>

#include "clock.h"
#include "support.h"

enum {
	N_THREADS = 2,
	N_CHANNELS = 3,
	N_SEMAPHORES = 10,
	N_SHARED = 4,
	N_LIMITS = 4,
	LONGEST_WORD = 32
};

struct player {
	char name;
	const char *script;
	weft_tasklet handle; /* under handles_lock */
	int result;
	struct weft_deadline limits[N_LIMITS];
	int n_limits;
};

/* One per thread. */
struct side {
	char trace[2048];
	uint64_t id;
};

static struct player players[128];
static struct side sides[N_THREADS];
static weft_channel *channels[N_CHANNELS];
static weft_group *group;
static sem_t semaphores[N_SEMAPHORES];
static sem_t other_is_there;

/* Of <weft/sync.h>, one of each kind to a number. */
static struct shared {
	weft_mutex mutex;
	weft_condition condition;
	weft_semaphore semaphore;
	weft_rwlock rwlock;
} shared[N_SHARED];

static pthread_mutex_t handles_lock = PTHREAD_MUTEX_INITIALIZER;

static _Noreturn void stop_with(const char *what, const char *word)
{
	fprintf(stderr, "play: %s: %s\n", what, word);
	abort();
}

/* --- whom and what a word is about --- */

static struct side *side_of(char name)
{
	return &sides[isupper((unsigned char)name) ? 1 : 0];
}

static struct player *player_named(char name)
{
	struct player *p = &players[(unsigned char)name & 127];

	if (!p->script)
		stop_with("no script for the player", (char[]){ name, '\0' });
	return p;
}

/* Other threads may ask, so the lock puts an order between them. */
static weft_tasklet handle_of(char name)
{
	struct player *p = player_named(name);
	weft_tasklet handle;

	pthread_mutex_lock(&handles_lock);
	handle = p->handle;
	pthread_mutex_unlock(&handles_lock);
	return handle;
}

static void set_handle(struct player *p, weft_tasklet handle)
{
	pthread_mutex_lock(&handles_lock);
	p->handle = handle;
	pthread_mutex_unlock(&handles_lock);
}

static char name_of(weft_tasklet t)
{
	for (size_t k = 0; k < N_ELEMENTS(players); k++)
		if (players[k].script &&
		    weft_tasklet_equal(handle_of((char)k), t))
			return (char)k;
	return '?';
}

static weft_channel *channel_named(char name)
{
	if (name < 'x' || name >= 'x' + N_CHANNELS)
		stop_with("no such channel", (char[]){ name, '\0' });
	return channels[name - 'x'];
}

static sem_t *semaphore_numbered(const char *operand)
{
	return &semaphores[atoi(operand) % N_SEMAPHORES];
}

static struct shared *shared_numbered(const char *operand)
{
	return &shared[atoi(operand) % N_SHARED];
}

/* --- the trace --- */

__attribute__((format(printf, 2, 3))) static void say(const struct player *p,
						      const char *format, ...)
{
	struct side *side = side_of(p->name);
	size_t used = strlen(side->trace);
	va_list arguments;

	if (used + LONGEST_WORD > sizeof side->trace)
		stop_with("the trace is full", side->trace);
	if (used)
		side->trace[used++] = ' ';
	va_start(arguments, format);
	vsnprintf(side->trace + used, LONGEST_WORD, format, arguments);
	va_end(arguments);
}

static void say_failure(const struct player *p, int rc)
{
	if (rc < 0)
		say(p, "-%s", strerrorname_np(-rc));
}

const char *trace(void)
{
	return sides[0].trace;
}

const char *other_trace(void)
{
	return sides[1].trace;
}

/* --- the words --- */

static int perform(void *arg);

enum manner { SPAWNED, PAUSED, MEMBER };

/* On the thread of the player's own, which may be another one. */
static weft_tasklet spawn(const struct player *by, struct player *p,
			  enum manner manner)
{
	struct weft_tasklet_options options = { .paused = manner == PAUSED };
	bool is_foreign = side_of(p->name) != side_of(by->name);

	if (is_foreign)
		options.thread = side_of(p->name)->id;
	if (manner == MEMBER)
		return weft_group_spawn_with(group, &options, perform, p);
	if (manner == SPAWNED && !is_foreign)
		return weft_spawn(perform, p);
	return weft_spawn_with(&options, perform, p);
}

static void create(const struct player *by, const char *names,
		   enum manner manner)
{
	for (; *names; names++) {
		struct player *p = player_named(*names);
		weft_tasklet handle = spawn(by, p, manner);

		if (weft_tasklet_is_null(handle))
			stop_with("cannot spawn", names);
		set_handle(p, handle);
	}
}

static void do_spawn(struct player *p, const char *operand)
{
	create(p, operand, SPAWNED);
}

static void do_paused(struct player *p, const char *operand)
{
	create(p, operand, PAUSED);
}

static void do_member(struct player *p, const char *operand)
{
	create(p, operand, MEMBER);
}

static void do_insert(struct player *p, const char *operand)
{
	for (; *operand; operand++)
		say_failure(p, weft_tasklet_insert(handle_of(*operand)));
}

static void do_remove(struct player *p, const char *operand)
{
	for (; *operand; operand++)
		say_failure(p, weft_tasklet_remove(handle_of(*operand)));
}

static void do_run(struct player *p, const char *operand)
{
	if (*operand)
		say_failure(p, weft_tasklet_run(handle_of(*operand)));
	else
		say(p, "%c:run=%d", p->name, weft_run());
}

static void do_switch(struct player *p, const char *operand)
{
	say_failure(p, weft_tasklet_switch(handle_of(*operand)));
}

static void do_schedule(struct player *p, const char *operand)
{
	(void)operand;
	say_failure(p, weft_schedule());
}

static void do_schedule_remove(struct player *p, const char *operand)
{
	(void)operand;
	say_failure(p, weft_schedule_remove());
}

static void do_pump(struct player *p, const char *operand)
{
	(void)operand;
	say(p, "%c:pump=%d", p->name, weft_pump());
}

static void do_stop(struct player *p, const char *operand)
{
	(void)p;
	weft_stop(atoi(operand));
}

static void do_count(struct player *p, const char *operand)
{
	(void)operand;
	say(p, "n=%u", weft_runcount());
}

static void do_state(struct player *p, const char *operand)
{
	static const char *const names[] = {
		[WEFT_DEAD] = "dead",         [WEFT_PAUSED] = "paused",
		[WEFT_RUNNABLE] = "runnable", [WEFT_RUNNING] = "running",
		[WEFT_BLOCKED] = "blocked",
	};

	say(p, "%c:%s", *operand,
	    names[weft_tasklet_state(handle_of(*operand))]);
}

static void do_send(struct player *p, const char *operand)
{
	int element = atoi(operand + 1);

	say_failure(p, weft_channel_send(channel_named(*operand), &element));
}

static void do_try_send(struct player *p, const char *operand)
{
	int element = atoi(operand + 1);

	say_failure(p,
		    weft_channel_try_send(channel_named(*operand), &element));
}

static void say_received(struct player *p, char name, int rc, int element)
{
	if (rc == 0)
		say(p, "%c=%d", name, element);
	say_failure(p, rc);
}

static void do_receive(struct player *p, const char *operand)
{
	int element = -1;
	int rc = weft_channel_receive(channel_named(*operand), &element);

	say_received(p, *operand, rc, element);
}

static void do_try_receive(struct player *p, const char *operand)
{
	int element = -1;
	int rc = weft_channel_try_receive(channel_named(*operand), &element);

	say_received(p, *operand, rc, element);
}

static void do_send_error(struct player *p, const char *operand)
{
	say_failure(p, weft_channel_send_error(channel_named(*operand),
					       atoi(operand + 1)));
}

static void do_send_many(struct player *p, const char *operand)
{
	int elements[LONGEST_WORD];
	int n = 0;

	for (const char *digit = operand + 1; *digit; digit++)
		elements[n++] = *digit - '0';
	say(p, "%c<%zd", *operand,
	    weft_channel_send_many(channel_named(*operand), elements,
				   (size_t)n));
}

static void do_receive_many(struct player *p, const char *operand)
{
	int elements[10];
	char digits[N_ELEMENTS(elements) + 1] = "";
	ssize_t n = weft_channel_receive_many(channel_named(*operand), elements,
					      (size_t)atoi(operand + 1));

	for (ssize_t i = 0; i < n; i++)
		digits[i] = (char)('0' + elements[i]);
	if (n > 0)
		say(p, "%c=%s", *operand, digits);
	say_failure(p, (int)n);
}

static void do_buffer(struct player *p, const char *operand)
{
	weft_channel **ch = &channels[*operand - 'x'];

	(void)p;
	weft_channel_unref(*ch);
	*ch = weft_channel_new(sizeof(int), (size_t)atoi(operand + 1));
}

static void do_unbounded(struct player *p, const char *operand)
{
	weft_channel **ch = &channels[*operand - 'x'];

	(void)p;
	weft_channel_unref(*ch);
	*ch = weft_channel_new(sizeof(int), WEFT_UNBOUNDED);
}

static void do_close(struct player *p, const char *operand)
{
	(void)p;
	weft_channel_close(channel_named(*operand));
}

static void do_open(struct player *p, const char *operand)
{
	(void)p;
	weft_channel_open(channel_named(*operand));
}

static void do_closed(struct player *p, const char *operand)
{
	weft_channel *ch = channel_named(*operand);

	say(p, "%c:%s", *operand,
	    weft_channel_closed(ch)    ? "closed"
	    : weft_channel_closing(ch) ? "closing"
				       : "open");
}

static void select_one(struct player *p, const char *operand, unsigned flags)
{
	struct weft_case cases[LONGEST_WORD];
	int elements[LONGEST_WORD];
	int n = 0, rc;

	for (; *operand; n++) {
		char *end;

		elements[n] = -1;
		cases[n] = (struct weft_case){
			.channel = *operand == '-' ? NULL
						   : channel_named(*operand),
			.op = operand[1] == '!' ? WEFT_SEND : WEFT_RECEIVE,
			.element = &elements[n],
		};
		if (cases[n].op == WEFT_SEND)
			elements[n] = (int)strtol(operand + 2, &end, 10);
		else
			end = (char *)(uintptr_t)operand + 2;
		operand = *end == ',' ? end + 1 : end;
	}
	rc = weft_select(cases, (size_t)n, flags);
	if (rc < 0)
		say_failure(p, rc);
	else if (cases[rc].result)
		say(p, "%d=-%s", rc, strerrorname_np(-cases[rc].result));
	else if (cases[rc].op == WEFT_SEND)
		say(p, "%d!", rc);
	else
		say(p, "%d=%d", rc, elements[rc]);
}

static void do_select(struct player *p, const char *operand)
{
	select_one(p, operand, 0);
}

static void do_try_select(struct player *p, const char *operand)
{
	select_one(p, operand, WEFT_NONBLOCK);
}

static void do_balance(struct player *p, const char *operand)
{
	say(p, "%c%+d", *operand,
	    weft_channel_balance(channel_named(*operand)));
}

static void do_waiters(struct player *p, const char *operand)
{
	weft_tasklet waiters[16];
	char names[N_ELEMENTS(waiters) + 1] = "";
	size_t n = weft_channel_waiters(channel_named(*operand), waiters,
					N_ELEMENTS(waiters));

	for (size_t i = 0; i < n && i < N_ELEMENTS(waiters); i++)
		names[i] = name_of(waiters[i]);
	say(p, "%c[%s]", *operand, names);
}

static void do_prefer(struct player *p, const char *operand)
{
	(void)p;
	weft_channel_set_preference(channel_named(*operand), atoi(operand + 1));
}

static void do_schedule_all(struct player *p, const char *operand)
{
	(void)p;
	weft_channel_set_schedule_all(channel_named(*operand),
				      atoi(operand + 1) != 0);
}

static void do_kill(struct player *p, const char *operand)
{
	for (; *operand; operand++)
		say_failure(p, weft_tasklet_kill(handle_of(*operand), 0));
}

static void do_kill_pending(struct player *p, const char *operand)
{
	for (; *operand; operand++)
		say_failure(p, weft_tasklet_kill(handle_of(*operand),
						 WEFT_PENDING));
}

static void do_raise(struct player *p, const char *operand)
{
	say_failure(p, weft_tasklet_raise(handle_of(*operand),
					  atoi(operand + 1), 0));
}

static void do_raise_pending(struct player *p, const char *operand)
{
	say_failure(p, weft_tasklet_raise(handle_of(*operand),
					  atoi(operand + 1), WEFT_PENDING));
}

static void do_join(struct player *p, const char *operand)
{
	int rc = weft_tasklet_join(handle_of(*operand));

	if (rc < 0)
		say(p, "%c=-%s", *operand, strerrorname_np(-rc));
	else
		say(p, "%c=%d", *operand, rc);
}

static void do_wait_group(struct player *p, const char *operand)
{
	int rc = weft_group_wait(group);

	(void)operand;
	if (rc < 0)
		say(p, "group=-%s", strerrorname_np(-rc));
	else
		say(p, "group=%d", rc);
}

static void do_kill_group(struct player *p, const char *operand)
{
	(void)operand;
	say_failure(p, weft_group_kill(group));
}

static void do_sleep(struct player *p, const char *operand)
{
	say_failure(p, weft_sleep(atoi(operand) * WEFT_SECOND));
}

static void do_limit(struct player *p, const char *operand)
{
	if (p->n_limits == N_LIMITS)
		stop_with("too many limits", operand);
	weft_deadline_begin(&p->limits[p->n_limits++],
			    weft_now() + atoi(operand) * WEFT_SECOND);
}

static void do_end_limit(struct player *p, const char *operand)
{
	(void)operand;
	if (weft_deadline_end(&p->limits[--p->n_limits]))
		say(p, "late");
}

static void do_pass(struct player *p, const char *operand)
{
	(void)p;
	pass_time(atoi(operand) * WEFT_SECOND);
}

static _Noreturn void do_exit(struct player *p, const char *operand)
{
	(void)p;
	weft_exit(atoi(operand));
}

static char *deferred_words[16];
static struct player *deferred_players[N_ELEMENTS(deferred_words)];
static int n_deferred;

static void say_deferred(void *arg)
{
	char **word = arg;

	say(deferred_players[word - deferred_words], "%s", *word);
	free(*word);
}

static void do_defer(struct player *p, const char *operand)
{
	deferred_players[n_deferred] = p;
	deferred_words[n_deferred] = strdup(operand);
	say_failure(p, weft_defer(say_deferred, &deferred_words[n_deferred]));
	n_deferred++;
}

static void do_shield(struct player *p, const char *operand)
{
	(void)p, (void)operand;
	weft_shield_begin();
}

static void do_unshield(struct player *p, const char *operand)
{
	(void)p, (void)operand;
	weft_shield_end();
}

static void do_result(struct player *p, const char *operand)
{
	p->result = atoi(operand);
}

static void do_block_trap(struct player *p, const char *operand)
{
	(void)p;
	weft_set_block_trap(atoi(operand) != 0);
}

static void do_switch_trap(struct player *p, const char *operand)
{
	(void)p;
	weft_switch_trap(atoi(operand));
}

static void on_switch(weft_tasklet from, weft_tasklet to, void *p)
{
	say(p, "%c>%c", name_of(from), name_of(to));
}

static void do_tell_switches(struct player *p, const char *operand)
{
	weft_set_schedule_callback(atoi(operand) ? on_switch : NULL, p);
}

static void on_channel(weft_channel *ch, weft_tasklet t, bool sending,
		       bool will_block, void *p)
{
	char name = '?';

	for (int i = 0; i < N_CHANNELS; i++)
		if (channels[i] == ch)
			name = (char)('x' + i);
	say(p, "%c%c%c%s", name_of(t), sending ? '!' : '?', name,
	    will_block ? "~" : "");
}

static void do_tell_channels(struct player *p, const char *operand)
{
	weft_set_channel_callback(atoi(operand) ? on_channel : NULL, p);
}

static void do_lock(struct player *p, const char *operand)
{
	say_failure(p, weft_mutex_lock(&shared_numbered(operand)->mutex));
}

static void do_trylock(struct player *p, const char *operand)
{
	say_failure(p, weft_mutex_trylock(&shared_numbered(operand)->mutex));
}

static void do_unlock(struct player *p, const char *operand)
{
	say_failure(p, weft_mutex_unlock(&shared_numbered(operand)->mutex));
}

static void do_wait(struct player *p, const char *operand)
{
	struct shared *s = shared_numbered(operand);

	say_failure(p, weft_condition_wait(&s->condition, &s->mutex));
}

static void do_signal(struct player *p, const char *operand)
{
	say_failure(
		p, weft_condition_signal(&shared_numbered(operand)->condition));
}

static void do_broadcast(struct player *p, const char *operand)
{
	say_failure(p, weft_condition_broadcast(
			       &shared_numbered(operand)->condition));
}

static void do_take(struct player *p, const char *operand)
{
	say_failure(p,
		    weft_semaphore_wait(&shared_numbered(operand)->semaphore));
}

static void do_try_take(struct player *p, const char *operand)
{
	say_failure(p, weft_semaphore_trywait(
			       &shared_numbered(operand)->semaphore));
}

static void do_post(struct player *p, const char *operand)
{
	say_failure(p,
		    weft_semaphore_post(&shared_numbered(operand)->semaphore));
}

static void do_read(struct player *p, const char *operand)
{
	say_failure(p, weft_rwlock_rdlock(&shared_numbered(operand)->rwlock));
}

static void do_try_read(struct player *p, const char *operand)
{
	say_failure(p,
		    weft_rwlock_tryrdlock(&shared_numbered(operand)->rwlock));
}

static void do_write(struct player *p, const char *operand)
{
	say_failure(p, weft_rwlock_wrlock(&shared_numbered(operand)->rwlock));
}

static void do_try_write(struct player *p, const char *operand)
{
	say_failure(p,
		    weft_rwlock_trywrlock(&shared_numbered(operand)->rwlock));
}

static void do_release(struct player *p, const char *operand)
{
	say_failure(p, weft_rwlock_unlock(&shared_numbered(operand)->rwlock));
}

static void do_freeze(struct player *p, const char *operand)
{
	(void)p;
	while (sem_wait(semaphore_numbered(operand)) != 0)
		;
}

static void do_thaw(struct player *p, const char *operand)
{
	(void)p;
	sem_post(semaphore_numbered(operand));
}

static void do_until_parked(struct player *p, const char *operand)
{
	(void)operand;
	until_parked(sides[side_of(p->name) == &sides[0] ? 1 : 0].id);
}

static const struct verb {
	const char *name;
	void (*act)(struct player *p, const char *operand);
} verbs[] = {
	{ "spawn", do_spawn },
	{ "paused", do_paused },
	{ "member", do_member },
	{ "insert", do_insert },
	{ "remove", do_remove },
	{ "run", do_run },
	{ "switch", do_switch },
	{ "schedule", do_schedule },
	{ "schedule_remove", do_schedule_remove },
	{ "pump", do_pump },
	{ "stop", do_stop },
	{ "count", do_count },
	{ "state", do_state },
	{ "send", do_send },
	{ "receive", do_receive },
	{ "try_send", do_try_send },
	{ "try_receive", do_try_receive },
	{ "send_error", do_send_error },
	{ "send_many", do_send_many },
	{ "receive_many", do_receive_many },
	{ "buffer", do_buffer },
	{ "unbounded", do_unbounded },
	{ "close", do_close },
	{ "open", do_open },
	{ "closed", do_closed },
	{ "select", do_select },
	{ "try_select", do_try_select },
	{ "balance", do_balance },
	{ "waiters", do_waiters },
	{ "prefer", do_prefer },
	{ "schedule_all", do_schedule_all },
	{ "kill", do_kill },
	{ "kill_pending", do_kill_pending },
	{ "raise", do_raise },
	{ "raise_pending", do_raise_pending },
	{ "join", do_join },
	{ "wait_group", do_wait_group },
	{ "kill_group", do_kill_group },
	{ "sleep", do_sleep },
	{ "limit", do_limit },
	{ "end_limit", do_end_limit },
	{ "pass", do_pass },
	{ "exit", do_exit },
	{ "defer", do_defer },
	{ "shield", do_shield },
	{ "unshield", do_unshield },
	{ "result", do_result },
	{ "block_trap", do_block_trap },
	{ "switch_trap", do_switch_trap },
	{ "tell_switches", do_tell_switches },
	{ "tell_channels", do_tell_channels },
	{ "lock", do_lock },
	{ "trylock", do_trylock },
	{ "unlock", do_unlock },
	{ "wait", do_wait },
	{ "signal", do_signal },
	{ "broadcast", do_broadcast },
	{ "take", do_take },
	{ "try_take", do_try_take },
	{ "post", do_post },
	{ "read", do_read },
	{ "try_read", do_try_read },
	{ "write", do_write },
	{ "try_write", do_try_write },
	{ "release", do_release },
	{ "freeze", do_freeze },
	{ "thaw", do_thaw },
	{ "until_parked", do_until_parked },
};

/* --- performing --- */

static void perform_word(struct player *p, char *word)
{
	char *colon = strchr(word, ':');
	const char *operand = colon ? colon + 1 : "";

	if (colon)
		*colon = '\0';
	for (size_t i = 0; i < N_ELEMENTS(verbs); i++) {
		if (strcmp(word, verbs[i].name) == 0) {
			verbs[i].act(p, operand);
			return;
		}
	}
	if (colon)
		stop_with("no such verb", word);
	say(p, "%s", word);
}

static int perform(void *arg)
{
	struct player *p = arg;
	const char *at = p->script;

	for (;;) {
		char word[LONGEST_WORD];
		size_t length;

		at += strspn(at, " ");
		length = strcspn(at, " ");
		if (length == 0)
			return p->result;
		if (length >= sizeof word)
			stop_with("the word is too long", at);
		memcpy(word, at, length);
		word[length] = '\0';
		at += length;
		perform_word(p, word);
	}
}

/* The calling thread's main tasklet is @p. */
static void appear(struct player *p)
{
	set_handle(p, weft_main());
	side_of(p->name)->id = weft_thread_id();
}

static void *other_thread(void *arg)
{
	appear(arg);
	sem_post(&other_is_there);
	perform(arg);
	return NULL;
}

static void hand_out(const char *const *scripts)
{
	for (; *scripts; scripts++) {
		const char *line = *scripts;
		struct player *p = &players[(unsigned char)line[0] & 127];

		if (!isalpha((unsigned char)line[0]) || line[1] != ':')
			stop_with("no player's name in front", line);
		p->name = line[0];
		p->script = line + 2;
	}
}

void play_scripts(const char *const *scripts)
{
	bool is_for_two;
	pthread_t other = 0;

	hand_out(scripts);
	appear(player_named('m'));
	for (int i = 0; i < N_CHANNELS; i++)
		channels[i] = weft_channel_new(sizeof(int), 0);
	group = weft_group_new();
	for (int i = 0; i < N_SEMAPHORES; i++)
		sem_init(&semaphores[i], 0, 0);
	is_for_two = players['M'].script != NULL;
	if (is_for_two) {
		sem_init(&other_is_there, 0, 0);
		other = start_thread(other_thread, player_named('M'));
		while (sem_wait(&other_is_there) != 0)
			;
	}
	perform(player_named('m'));
	if (is_for_two)
		join_thread(other);
	for (int i = 0; i < N_CHANNELS; i++)
		weft_channel_unref(channels[i]);
	weft_group_free(group);
}
