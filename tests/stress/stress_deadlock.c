/* SPDX-License-Identifier: MIT */
/*
 * Deadlock verdicts against wakes. Tokens go round between tasklets of several
 * threads, each for a number of hops; while one is under way nobody may be told
 * of a deadlock, though every thread parks all the time. When the last has
 * stopped, all wait, and somebody must be told: exactly one thread.
 *
 * Those who ring count for the other, and take that back if it has woken by itself:
 * threads that have tasklets, and helpers, which have none. So on their way tokens
 * are offloaded, for about as long as somebody of the same thread sleeps, and
 * others spawned on the next thread.
 *
 * Each system is a process of its own, whose threads are all attached.
 */
#include <sys/wait.h>

#include "stress.h"
#include "support.h"

enum { MOST_THREADS = 4, MOST_PLAYERS = 12 };

struct token {
	unsigned n_hops; /* left */
	uint64_t random;
};

static struct {
	int n_threads, n_players;
	weft_channel *channels[MOST_PLAYERS];
	_Atomic(uint64_t) threads[MOST_THREADS]; /* 0: not started yet */
	_Atomic(int) n_tokens;                   /* still moving */
	_Atomic(int) n_told;
} ring;

/* Nobody joins the helpers that have ended by then. */
const char *__tsan_default_options(void);
const char *__tsan_default_options(void)
{
	return "report_thread_leaks=0";
}

/* The first who is told ends the process. */
static _Noreturn void be_told(int rc)
{
	if (rc != -EDEADLK)
		_exit(2);
	if (atomic_fetch_add(&ring.n_told, 1))
		_exit(3);
	_exit(ring.n_tokens == 0 ? 0 : 4);
}

/* Who sends to itself would wait for ever, so each hop is a tasklet of its own. */
struct delivery {
	weft_channel *to;
	struct token token;
};

static int deliver(void *arg)
{
	struct delivery d = *(struct delivery *)arg;

	free(arg);
	return weft_channel_send(d.to, &d.token);
}

static int take_time(void *ns)
{
	int64_t end = weft_now() + (int64_t)(uintptr_t)ns;

	while (weft_now() < end)
		;
	return 0;
}

/* Its thread wakes by itself at about the time at which the helper rings. */
static int sleep_beside(void *ns)
{
	return weft_sleep((int64_t)(uintptr_t)ns);
}

static void offload_a_bit(struct random_state *r)
{
	uintptr_t ns = random_below(r, 100) * (unsigned)WEFT_MICROSECOND;
	uintptr_t late = random_below(r, 20) * (unsigned)WEFT_MICROSECOND;

	weft_spawn(sleep_beside, (void *)(ns + late));
	if (weft_offload(take_time, (void *)ns))
		_exit(7);
}

static void go_to(struct random_state *r, struct delivery *d)
{
	struct weft_tasklet_options options = {
		.thread =
			ring.threads[random_below(r, (unsigned)ring.n_threads)]
	};

	if (!random_one_in(r, 8) || !options.thread ||
	    weft_tasklet_is_null(weft_spawn_with(&options, deliver, d)))
		weft_spawn(deliver, d);
}

static int pass_on(void *arg)
{
	weft_channel *mine = ring.channels[(uintptr_t)arg];
	struct token token;
	int rc;

	while (!(rc = weft_channel_receive(mine, &token))) {
		struct random_state r = { token.random };
		struct delivery *d;

		if (token.n_hops-- == 0) {
			ring.n_tokens--;
			continue;
		}
		if (random_one_in(&r, 16))
			weft_sleep(random_below(&r, 50) * WEFT_MICROSECOND);
		if (random_one_in(&r, 16))
			offload_a_bit(&r);
		token.random = random_next(&r);
		d = malloc(sizeof *d);
		d->to = ring.channels[random_below(&r,
						   (unsigned)ring.n_players)];
		d->token = token;
		go_to(&r, d);
	}
	return rc;
}

static int play_here(void *thread)
{
	for (int i = (int)(uintptr_t)thread; i < ring.n_players;
	     i += ring.n_threads)
		weft_spawn(pass_on, (void *)(uintptr_t)i);
	be_told(weft_run());
}

static _Noreturn void play(struct random_state *r)
{
	int n_tokens = (int)random_between(r, 1, 4);

	ring.n_threads = (int)random_between(r, 1, MOST_THREADS);
	ring.n_players =
		(int)random_between(r, (unsigned)ring.n_threads, MOST_PLAYERS);
	for (int i = 0; i < ring.n_players; i++)
		ring.channels[i] = weft_channel_new(sizeof(struct token), 0);
	ring.n_tokens = n_tokens;
	for (int i = 0; i < n_tokens; i++) {
		struct delivery *d = malloc(sizeof *d);

		d->token.n_hops = random_below(r, 300);
		d->token.random = random_next(r);
		d->to = ring.channels[random_below(r,
						   (unsigned)ring.n_players)];
		weft_spawn(deliver, d);
	}
	for (int i = 1; i < ring.n_threads; i++) {
		uint64_t id;

		if (weft_thread_start(&id, play_here, (void *)(uintptr_t)i))
			_exit(5);
		ring.threads[i] = id;
	}
	play_here(0);
	_exit(6);
}

START_TEST(verdict_at_the_end)
{
	int64_t end = stress_end_of_budget();
	struct random_state r = random_stream(stress_seed, 21);
	int n = 0;

	if (lacks_verdicts())
		return;
	for (; n == 0 || weft_now() < end; n++) {
		struct random_state own = { random_next(&r) };
		pid_t pid = fork();
		int status;

		if (pid == 0)
			play(&own);
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_msg(WIFEXITED(status) && WEXITSTATUS(status) == 0,
			      "system %d ended with %#x", n, (unsigned)status);
	}
	printf("# %d systems\n", n);
}
END_TEST

static const struct stress_case cases[] = {
	{ "a verdict at the end and not before", &verdict_at_the_end, 1 },
};

STRESS_MAIN("stress_deadlock", cases)
