/* SPDX-License-Identifier: MIT */
/*
 * Everything at once. Threads call whatever the public interface has, at random,
 * on tasklets, channels, locks, groups and descriptors that they share, from
 * tasklets, main tasklets, callbacks and a handler of signals; and books are kept of
 * who must be alive, of tokens, bytes, units and descriptors, of wakes and memory, and
 * of what each call may return.
 *
 * A round is short and has a seed of its own, derived from the first one. It
 * draws how often each act is to be done, and many not at all, so that rare
 * company comes about. When it is over, all threads but one have ended, and the
 * books are looked at.
 *
 * Rounds are played in a process that another one watches: if it crashes, or a
 * round does not end, that one prints the round's seed and the last calls of each
 * thread. WEFT_STRESS_SEED=x plays nothing but that round, again and again.
 * WEFT_STRESS_ALL_SECONDS goes before WEFT_STRESS_SECONDS, for this program alone.
 * WEFT_STRESS_DEBUGGER=command runs that, with the process's number behind it,
 * on one that hangs, crashes, or has found something wrong.
 *
 * See all.h for what is where.
 */
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>

#include "all.h"

enum {
	ROUNDS_OF_A_PROCESS = 600,
	HANG_SECONDS = 40, /* for one round */
	SILENT_SECONDS = 10
};

/* --- acts --- */

static const struct {
	act_fn act;
	unsigned weight; /* the more, the more often */
	bool is_gentle;  /* ends by itself, and does no harm to who does it */
	const char *name;
} acts[] = {
	{ act_spawn, 8, true, "spawn" },
	{ act_control, 8, false, "control" },
	{ act_interrupt, 6, false, "interrupt" },
	{ act_look, 2, true, "look" },
	{ act_join, 4, false, "join" },
	{ act_defer, 2, true, "defer" },
	{ act_give_way, 6, true, "give way" },
	{ act_sleep, 4, true, "sleep" },
	{ act_nest, 4, false, "nest" },
	{ act_group, 3, false, "group" },
	{ act_shared_group, 4, false, "shared group" },
	{ act_callbacks, 1, true, "callbacks" },
	{ act_send, 8, false, "send" },
	{ act_receive, 8, false, "receive" },
	{ act_try, 6, false, "try" },
	{ act_many, 4, false, "many" },
	{ act_send_error, 1, false, "send error" },
	{ act_tune, 3, false, "tune" },
	{ act_renew, 1, true, "renew" },
	{ act_select, 6, false, "select" },
	{ act_mutex, 4, true, "mutex" },
	{ act_condition, 3, false, "condition" },
	{ act_semaphore, 4, false, "semaphore" },
	{ act_rwlock, 3, true, "rwlock" },
	{ act_read, 6, false, "read" },
	{ act_write, 6, false, "write" },
	{ act_stream, 1, true, "stream" },
	{ act_private_pair, 3, true, "private pair" },
	{ act_accept, 2, false, "accept" },
	{ act_connect, 2, false, "connect" },
	{ act_open, 1, true, "open" },
	{ act_guest, 1, false, "guest" },
	{ act_join_thread, 1, false, "join thread" },
	{ act_offload, 2, true, "offload" },
	{ act_fork, 1, false, "fork" },
	{ act_exec, 1, false, "exec" },
	{ act_flies, 8, true, "flies" },
	{ act_pester, 8, true, "pester" },
	{ act_ping, 4, true, "ping" },
};

static unsigned sum_of_weights;

/* What a thread takes with it that ends amid its tasklets is locked for ever. */
static bool keeps_locks(act_fn fn)
{
	return fn == act_mutex || fn == act_condition || fn == act_rwlock;
}

static void draw_weights(struct random_state *r)
{
	unsigned odds = random_between(r, 2, 5);

	sum_of_weights = 0;
	for (size_t i = 0; i < N_ELEMENTS(acts); i++) {
		bool is_rare = acts[i].act == act_fork ||
			       acts[i].act == act_exec ||
			       acts[i].act == act_guest;

		now.weights[i] = 0;
		if (now.has_exits && acts[i].act == act_guest)
			is_rare = false;
		if (is_rare ? !random_one_in(r, 6) : random_one_in(r, odds))
			continue;
		if (now.has_exits && keeps_locks(acts[i].act))
			continue;
		now.weights[i] = acts[i].weight *
				 (is_rare ? 1 : random_between(r, 1, 12));
		if (now.has_exits && acts[i].act == act_guest)
			now.weights[i] *= 8;
		sum_of_weights += now.weights[i];
	}
	if (!sum_of_weights)
		sum_of_weights = now.weights[0] = 1;
}

static size_t draw_act(struct random_state *r)
{
	unsigned n = random_below(r, sum_of_weights);
	size_t i = 0;

	while (n >= now.weights[i])
		n -= now.weights[i++];
	return i;
}

static int act_simply(struct actor *a)
{
	bool is_innocent = a->life && a->life->kind == INNOCENT;

	for (int tries = 0; tries < 10; tries++) {
		size_t i = draw_act(&a->random);

		if (!is_innocent || acts[i].is_gentle)
			return acts[i].act(a);
	}
	return 0;
}

/* The earliest of all scopes is when the actor has to go on. */
static int64_t begin_scope(struct actor *a, struct weft_deadline *d,
			   int64_t when)
{
	int64_t due = set_due(a, 0);

	weft_deadline_begin(d, when);
	a->n_scopes++;
	set_due(a, due && due < when ? due : when > 0 ? when : 1);
	return due;
}

static void end_scope(struct actor *a, struct weft_deadline *d, int64_t due)
{
	a->n_scopes--;
	set_due(a, due);
	LOGGED(a, a->n_scopes, weft_deadline_end(d));
}

static int act_in_scope(struct actor *a, int64_t when)
{
	struct weft_deadline d;
	int rc;
	int64_t due = begin_scope(a, &d, when);

	rc = act(a);
	end_scope(a, &d, due);
	return rc;
}

int act_within(struct actor *a, int64_t ns)
{
	return act_in_scope(a, weft_now() + ns);
}

/* A shield does not keep a deadline away. */
static int act_shielded(struct actor *a)
{
	struct weft_deadline d;
	int64_t due = begin_scope(a, &d, weft_now() + 300 * WEFT_MICROSECOND);
	int rc;

	weft_shield_begin();
	a->n_shields++;
	rc = act(a);
	a->n_shields--;
	weft_shield_end();
	end_scope(a, &d, due);
	return rc;
}

static int act_block_trapped(struct actor *a)
{
	bool before = weft_set_block_trap(true);
	bool knew = a->has_block_trap;
	int rc;

	if (before != knew)
		wrong("a block trap was %d and should be %d", before, knew);
	a->has_block_trap = true;
	rc = act(a);
	a->has_block_trap = knew;
	weft_set_block_trap(before);
	return rc;
}

static int act_switch_trapped(struct actor *a)
{
	struct thread *t = a->thread;
	int level = weft_switch_trap(1);
	int rc;

	if (level != t->trap_level)
		wrong("the switch trap was at %d and should be at %d", level,
		      t->trap_level);
	t->trap_level++;
	rc = act(a);
	if (self->trap_level != level + 1)
		wrong("somebody else ran under a switch trap");
	t->trap_level--;
	weft_switch_trap(-1);
	return rc;
}

static int act_wrapped(struct actor *a)
{
	int64_t when =
		weft_now() + random_below(&a->random, 400) * WEFT_MICROSECOND;

	switch (random_below(&a->random, 8)) {
	case 0:
		return act_shielded(a);
	case 1:
		return act_block_trapped(a);
	case 2:
		return act_switch_trapped(a);
	case 3:
		return act_in_scope(
			a, random_one_in(&a->random, 2) ? 0 : WEFT_FOREVER);
	default:
		return act_in_scope(a, when);
	}
}

int act(struct actor *a)
{
	bool is_innocent = a->life && a->life->kind == INNOCENT;
	int rc;

	if (is_child)
		return -ECANCELED;
	if (is_innocent || a->depth > 2 || a->thread->in_callback ||
	    !random_one_in(&a->random, 5))
		return act_simply(a);
	a->depth++;
	rc = act_wrapped(a);
	a->depth--;
	return rc;
}

/* Blocking calls too: they cannot be made there, and say so. */
static void act_in_callback(struct actor *a)
{
	switch (random_below(&a->random, 12)) {
	case 0:
		act_sleep(a);
		break;
	case 1:
		act_give_way(a);
		break;
	case 2:
		act_receive(a);
		break;
	case 3:
		act_send(a);
		break;
	case 4:
		act_select(a);
		break;
	case 5:
		act_tune(a);
		break;
	case 6:
	case 7:
		act_try(a);
		break;
	case 8:
		io_from_callback(a);
		break;
	case 9:
		act_renew(a);
		break;
	default:
		control_from_callback(a);
	}
}

/* In the place of whoever runs, of whom nothing is known here. */
void do_a_callback(void)
{
	struct actor a = { .thread = self };

	if (self->in_callback > 2 || now.is_over)
		return;
	a.random = random_stream(random_next(&self->random), 0);
	self->in_callback++;
	act_in_callback(&a);
	self->in_callback--;
}

/* --- workers --- */

static int bell = -1; /* tells those who poll that the round is closing */

/* One pass of a loop that somebody else wrote, and that weft_fd() drives. */
static void poll_once(struct actor *a, bool may_wait)
{
	struct pollfd polled[] = {
		{ .fd = weft_fd(), .events = POLLIN },
		{ .fd = bell, .events = POLLIN },
	};
	int64_t left = weft_next_deadline() - weft_now();
	struct thread *t = a->thread;
	unsigned n_pings, n_answered;
	int ms = 1;
	int rc;

	if (!may_wait || left <= 0)
		ms = 0;
	/* What has been handed in by now makes it readable, soon, and none of that
	 * is answered until the pump. */
	n_pings = atomic_load_explicit(&t->n_pings, memory_order_acquire);
	n_answered = t->n_answered;
	rc = poll(polled, 2, ms);
	if (rc < 0 && errno != EINTR)
		wrong("poll: %s", strerror(errno));
	/* Whoever has handed in the first of them may have yet to write to it. */
	if (rc >= 0 && !polled[0].revents && (int)(n_pings - n_answered) > 0)
		rc = poll(polled, 1, SILENT_SECONDS * 1000);
	if (rc == 0 && (int)(n_pings - n_answered) > 0)
		wrong("the descriptor of thread %u says nothing of %u pings",
		      t->index, n_pings - n_answered);
	BLOCKING(a, 0, weft_pump(), 0);
}

static void step(struct actor *a, bool is_embedded)
{
	struct random_state *r = &a->random;

	if (random_one_in(r, 3)) {
		act_within(a, random_below(r, 500) * WEFT_MICROSECOND);
	} else if (is_embedded) {
		poll_once(a, random_one_in(r, 4));
	} else if (random_one_in(r, 2)) {
		a->n_scopes++; /* weft_run_until() times out */
		BLOCKING(a, 0,
			 weft_run_until(weft_now() + random_below(r, 400) *
							     WEFT_MICROSECOND),
			 0);
		a->n_scopes--;
	} else {
		BLOCKING(a, 0, weft_schedule(), 0);
	}
}

/* Until all others have come so far. */
static void serve(struct actor *a, bool is_embedded)
{
	while (!is_child && !atomic_load(&now.is_sealed)) {
		if (is_embedded) {
			poll_once(a, true);
			continue;
		}
		a->n_scopes++;
		BLOCKING(a, 0, weft_run_until(weft_now() + WEFT_MILLISECOND),
			 0);
		a->n_scopes--;
	}
}

static void check_emptiness(struct actor *a)
{
	struct weft_thread_info info;

	PLAIN(a, 0, weft_thread_info(self->id, &info), 0);
	if (info.alive != 1)
		wrong("thread %u has %zd tasklets and should have one",
		      self->index, (ssize_t)info.alive);
	if (info.runcount != 1)
		wrong("thread %u has a ring of %u and should have one of 1",
		      self->index, info.runcount);
}

/* Ends all tasklets of the thread. They may wait for others' tasklets. */
static void close_thread(struct actor *a)
{
	while (!is_child && (kill_all(a, self) || has_innocents(self))) {
		kill_all(a, NULL);
		a->n_scopes++;
		BLOCKING(a, 0,
			 weft_run_until(weft_now() + 100 * WEFT_MICROSECOND),
			 0);
		a->n_scopes--;
	}
	if (self->takes_pings)
		end_pings(a);
	/* Ended, and still on their way out; others may raise on main meanwhile. */
	while (BLOCKING(a, 0, weft_pump(), 0))
		;
	check_emptiness(a);
}

/* In a child that another tasklet has forked, for its own ends. */
static void stay_away(void)
{
	while (is_child)
		(void)weft_sleep_until(WEFT_FOREVER);
}

static void *work(void *arg)
{
	struct actor a = { .thread = arg, .is_main = true };
	bool is_embedded, leaves;

	self = arg;
	a.random = random_stream(now.seed, 100 + self->index);
	is_embedded = random_one_in(&a.random, 4);
	leaves = random_one_in(&a.random, 4);
	self->will_leave = leaves;
	listen_here(self);
	self->id = weft_thread_id();
	if (random_one_in(&a.random, 2))
		take_pings(self);
	if (now.mains_are_known)
		publish(&a.random, weft_main(), NOBODY);
	for (unsigned i = 0; i < now.n_steps && !is_child; i++)
		step(&a, is_embedded);
	stay_away();
	self->due = 0;
	if (leaves) {
		self->takes_pings = false;
		self->is_leaving = true;
	}
	atomic_fetch_add(&now.n_finished, 1);
	if (leaves)
		return NULL;
	serve(&a, is_embedded);
	stay_away();
	close_thread(&a);
	return NULL;
}

/* --- a round --- */

static struct thread controller = { .index = LOGS - 1 };

static void draw_round(struct random_state *r)
{
	/* ThreadSanitizer lets no fiber end its thread, and to AddressSanitizer the
	 * frames that main leaves behind stay where they were. */
	now.has_exits = !UNDER_TSAN && !UNDER_ASAN && random_one_in(r, 6);
	draw_weights(r);
	now.n_workers = random_between(r, 1, MOST_WORKERS);
	now.n_steps = random_between(r, 5, 150);
	now.most_lives =
		random_between(r, 10, random_one_in(r, 4) ? MOST_LIVES : 400);
	now.innocence = random_below(r, 8);
	now.mains_are_known = random_one_in(r, 3);
	now.has_handler = random_one_in(r, 2);
	now.has_signals = random_one_in(r, 4);
}

static void start_workers(void)
{
	struct thread *workers[MOST_WORKERS];

	for (unsigned i = 0; i < now.n_workers; i++)
		workers[i] = new_thread();
	for (unsigned i = 0; i < now.n_workers; i++)
		if (pthread_create(&workers[i]->pthread, NULL, work,
				   workers[i]))
			wrong("no thread: %s", strerror(errno));
}

static void stage(const char *name)
{
	atomic_store(&watched->stage, name);
}

static void end_threads(struct actor *a)
{
	stage("waiting for all threads to have done their steps");
	/* A main tasklet may wait, deaf, for one that was killed and then
	 * removed by somebody. */
	for (int i = 1; atomic_load(&now.n_finished) < now.n_workers; i++) {
		usleep(200);
		if (i % 8 == 0)
			look_for_lost_wakes();
		if (i % 500 == 0 && !is_somebody_due()) {
			atomic_fetch_add(&watched->n_rescues, 1);
			kill_all(a, NULL);
		}
	}
	stage("waiting for the last spawn");
	atomic_store(&now.is_closing, true);
	while (atomic_load(&now.n_spawning))
		sched_yield();
	atomic_store(&now.is_sealed, true);
	eventfd_write(bell, 1);
	stage("waiting for threads to end");
	while (weft_threads(NULL, 0) > 1) {
		look_for_lost_wakes();
		kill_all(a, NULL);
		usleep(300);
	}
	stage("joining");
	for (unsigned i = 0; i < now.n_workers; i++)
		pthread_join(now.threads[i].pthread, NULL);
	join_guests(a);
}

static void on_signal(int number)
{
	(void)number;
	if (!is_child)
		notify_somebody();
}

/* At any time, on any thread, somebody is notified from a handler. */
static void have_signals(bool on)
{
	struct sigaction action = { .sa_handler = on_signal,
				    .sa_flags = SA_RESTART };
	struct itimerval timer = { .it_interval.tv_usec = 300,
				   .it_value.tv_usec = 300 };

	if (!on)
		timer = (struct itimerval){ .it_value.tv_usec = 0 };
	sigaction(SIGALRM, &action, NULL);
	setitimer(ITIMER_REAL, &timer, NULL);
}

static void play_round(uint64_t seed)
{
	struct actor a = { .thread = &controller, .is_main = true };
	eventfd_t rung;

	open_books(seed);
	a.random = random_stream(seed, 0);
	draw_round(&a.random);
	stage("opening");
	forget_handles();
	open_groups();
	open_channels(&a);
	set_error_handler();
	have_signals(now.has_signals);
	start_workers();
	end_threads(&a);
	have_signals(false);
	stage("auditing");
	now.is_over = true;
	weft_set_error_handler(NULL, NULL);
	close_groups();
	close_channels(&a);
	close_streams();
	audit();
	(void)eventfd_read(bell, &rung);
}

/* Something of everything that keeps descriptors once it has been used. */
static void warm_up(void)
{
	struct actor a = { .thread = &controller };

	self = &controller;
	controller.log = &watched->logs[LOGS - 1];
	controller.random = random_stream(stress_seed, 1);
	bell = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	controller.id = weft_thread_id();
	weft_sleep(1000);
	act_private_pair(&a);
	note_descriptors();
	/* All pages of the books are there from the beginning. */
	memset(&now, 0xff, sizeof now);
	memset(&now, 0, sizeof now);
}

static bool is_replay(void)
{
	const char *seed = getenv("WEFT_STRESS_SEED");

	return seed && *seed;
}

static uint64_t seed_of_round(uint64_t n)
{
	struct random_state r = random_stream(stress_seed, n);

	return is_replay() ? stress_seed : random_next(&r);
}

static void on_crash(int number)
{
	signal(number, SIG_DFL);
	debug(getpid());
	raise(number);
}

static void look_at_crashes(void)
{
	static char stack[65536];
	stack_t other = { .ss_sp = stack, .ss_size = sizeof stack };
	struct sigaction action = { .sa_handler = on_crash,
				    .sa_flags = SA_ONSTACK | SA_NODEFER };

	sigaltstack(&other, NULL);
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	sigaction(SIGABRT, &action, NULL);
	sigaction(SIGILL, &action, NULL);
	sigaction(SIGFPE, &action, NULL);
}

static _Noreturn void play(int64_t end)
{
	signal(SIGPIPE, SIG_IGN);
	signal(SIGALRM, SIG_DFL); /* libcheck has one that kills all */
	if (getenv("WEFT_STRESS_DEBUGGER"))
		look_at_crashes();
	warm_up();
	for (int i = 0; i < ROUNDS_OF_A_PROCESS && weft_now() < end; i++) {
		play_round(seed_of_round(watched->n_rounds));
		atomic_fetch_add(&watched->n_rounds, 1);
	}
	/* Helpers are joined: to tools they are leaks. */
	exit(EXIT_SUCCESS);
}

/* --- who watches --- */

static int64_t patience(void)
{
	const char *text = getenv("CK_TIMEOUT_MULTIPLIER");
	double multiplier = text ? atof(text) : 1;
	if (getenv("HANG"))
		return atoi(getenv("HANG")) * WEFT_SECOND;

	return (int64_t)((multiplier > 1 ? multiplier : 1) * HANG_SECONDS *
			 (double)WEFT_SECOND);
}

static _Noreturn void report(const char *what, int number)
{
	fflush(stdout);
	fprintf(stderr,
		"WEFT_STRESS_SEED=%" PRIu64 " of round %" PRIu64 " %s %d, %s\n",
		atomic_load(&watched->seed), atomic_load(&watched->n_rounds),
		what, number, atomic_load(&watched->stage));
	print_log();
	print_lives();
	exit(EXIT_FAILURE);
}

static void watch(pid_t pid)
{
	uint64_t n_rounds = atomic_load(&watched->n_rounds);
	int64_t since = weft_now();
	int status;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		usleep(20000);
		if (atomic_load(&watched->n_rounds) != n_rounds) {
			n_rounds = atomic_load(&watched->n_rounds);
			since = weft_now();
		} else if (weft_now() - since > patience()) {
			debug(pid);
			kill(pid, SIGABRT);
			waitpid(pid, &status, 0);
			report("hangs in process", (int)pid);
		}
	}
	if (WIFSIGNALED(status))
		report("was ended by signal", WTERMSIG(status));
	if (WEXITSTATUS(status))
		report("failed with status", WEXITSTATUS(status));
}

START_TEST(books_are_right)
{
	int64_t end = stress_end_of_budget();

	watched = mmap(NULL, sizeof *watched, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ck_assert(watched != MAP_FAILED);
	do {
		pid_t pid;

		fflush(stdout);
		pid = fork();
		ck_assert_int_ge(pid, 0);
		if (!pid)
			play(end);
		watch(pid);
	} while (weft_now() < end);
	printf("# %" PRIu64 " rounds, %" PRIu64 " helped to their end; %" PRIu64
	       " flies, %" PRIu64 " drops, %" PRIu64 " pings, %" PRIu64
	       " exits\n",
	       atomic_load(&watched->n_rounds),
	       atomic_load(&watched->n_rescues), atomic_load(&watched->n_flies),
	       atomic_load(&watched->n_drops), atomic_load(&watched->n_pings),
	       atomic_load(&watched->n_exits));
}
END_TEST

#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
/* It knows of no descriptors that the kernel opens and closes on a ring: to it, a
 * number that comes back on another thread is still the one that was. Nor does it
 * see liburing map and unmap a ring, so a new one is in the place of an old one. */
const char *__tsan_default_suppressions(void);

const char *__tsan_default_suppressions(void)
{
	return "race:__interceptor_close$\n"
	       "race_top:lib/engine/uring.c\n";
}
#endif

static const struct stress_case cases[] = {
	{ "everything at random", &books_are_right, 1 },
};

int main(int argc, char **argv)
{
	const char *seconds = getenv("WEFT_STRESS_ALL_SECONDS");

	if (argc == 3 && !strcmp(argv[1], "--executed"))
		return be_executed(argv[2]);
	if (seconds)
		setenv("WEFT_STRESS_SECONDS", seconds, 1);
	return stress_main("stress_all", cases, N_ELEMENTS(cases));
}
