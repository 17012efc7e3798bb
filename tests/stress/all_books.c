/* SPDX-License-Identifier: MIT */
/*
 * The books of a round: who has lived and ended, where each token and each byte
 * has got to; what a call may return; and the log of the last calls.
 *
 * Nothing here may order what threads do more than the library does, or races in
 * it would be hidden: counters are relaxed, and each thread has a log of its own.
 */
#include <malloc.h>

#include "all.h"

struct watched *watched;
struct round now;
__thread struct thread *self;
bool is_child;

/* --- the log --- */

static struct log *my_log(void)
{
	return self && self->log ? self->log : &watched->logs[LOGS - 1];
}

static bool is_of_main(const struct actor *a)
{
	return a && a->is_main && !a->thread->in_callback;
}

/* A child of fork() keeps no log. */
uint64_t log_call(const struct actor *a, const char *call, int64_t argument)
{
	struct log *log = my_log();
	uint64_t n;
	struct entry *e;

	if (is_child)
		return 0;
	n = atomic_fetch_add_explicit(&log->n, 1, memory_order_relaxed) + 1;
	e = &log->entries[n % LOG_ENTRIES];
	*e = (struct entry){
		.call = call,
		.who = a && a->life ? a->life->number : NOBODY,
		.number = n,
		.argument = argument,
		.n_scopes = a ? (uint8_t)a->n_scopes : 0,
		.n_shields = a ? (uint8_t)a->n_shields : 0,
		.trap_level = a ? (uint8_t)a->thread->trap_level : 0,
		.in_callback = a ? (uint8_t)a->thread->in_callback : 0,
	};
	if (is_of_main(a))
		log->of_main = *e;
	else if (a && !a->life)
		log->of_callbacks = *e;
	if (a && a->life)
		watched->of_lives[a->life->number] = *e;
	return n;
}

static void note_return(struct entry *e, uint64_t number, int64_t result)
{
	if (e->number != number)
		return;
	e->result = result;
	e->has_returned = true;
}

void log_return(const struct actor *a, uint64_t number, int64_t result)
{
	struct log *log = my_log();

	if (is_child || !number)
		return;
	note_return(&log->entries[number % LOG_ENTRIES], number, result);
	if (is_of_main(a))
		note_return(&log->of_main, number, result);
	else if (a && !a->life)
		note_return(&log->of_callbacks, number, result);
	if (a && a->life)
		note_return(&watched->of_lives[a->life->number], number,
			    result);
}

static void print_entry(const struct entry *e)
{
	fprintf(stderr, "\t%d\t", e->who == NOBODY ? -1 : (int)e->who);
	if (e->n_scopes | e->n_shields | e->trap_level | e->in_callback)
		fprintf(stderr,
			"(%d scopes, %d shields, %d traps, %d callbacks) ",
			e->n_scopes, e->n_shields, e->trap_level,
			e->in_callback);
	fprintf(stderr, "%s [%" PRId64 "]", e->call, e->argument);
	if (e->has_returned)
		fprintf(stderr, " = %" PRId64 "\n", e->result);
	else
		fprintf(stderr, " ...\n");
}

/* In the process that watches, where constant strings have the same addresses. */
void print_log(void)
{
	for (int i = 0; i < LOGS; i++) {
		const struct log *log = &watched->logs[i];
		uint64_t n = log->n;

		if (!n)
			continue;
		fprintf(stderr, "thread %d, %" PRIu64 " calls:\n", i, n);
		if (log->of_main.call)
			print_entry(&log->of_main);
		if (log->of_callbacks.call)
			print_entry(&log->of_callbacks);
		for (uint64_t k = n > LOG_ENTRIES ? n - LOG_ENTRIES + 1 : 1;
		     k <= n; k++) {
			const struct entry *e = &log->entries[k % LOG_ENTRIES];

			if (e->number == k)
				print_entry(e);
		}
	}
}

void print_lives(void)
{
	fprintf(stderr, "the last calls of those who have not ended:\n");
	for (int i = 0; i < MOST_LIVES; i++)
		if (watched->of_lives[i].call)
			print_entry(&watched->of_lives[i]);
}

void debug(pid_t pid)
{
	const char *debugger = getenv("WEFT_STRESS_DEBUGGER");
	char command[256];

	if (!debugger)
		return;
	snprintf(command, sizeof command, "%s %d >&2", debugger, (int)pid);
	if (system(command))
		fprintf(stderr, "%s failed\n", command);
}

void wrong(const char *format, ...)
{
	va_list args;

	fflush(stdout);
	va_start(args, format);
	fprintf(stderr, "WEFT_STRESS_SEED=%" PRIu64 "%s: ", now.seed,
		is_child ? " (in a child)" : "");
	vfprintf(stderr, format, args);
	fprintf(stderr, "\n");
	va_end(args);
	if (!is_child)
		atomic_store(&watched->has_failed, true);
	debug(getpid());
	_exit(EXIT_FAILURE);
}

/* --- what calls may return --- */

static bool is_raised(int64_t rc)
{
	return rc <= -RAISED_FIRST && rc >= -RAISED_LAST;
}

static bool is_leaving(const struct thread *t)
{
	return atomic_load_explicit(&t->is_leaving, memory_order_relaxed);
}

/* Whether somebody may kill or raise on @a, or end its thread. */
static bool is_fair_game(const struct actor *a)
{
	if (!a->life)
		return now.mains_are_known;
	return a->life->kind == VICTIM || is_leaving(a->thread);
}

static bool any_blocking_call_may(const struct actor *a, int64_t rc)
{
	const struct thread *t = a->thread;

	if (t->in_callback)
		return rc == -EPERM;
	/* At the end of a thread what is shielded is cancelled at last. */
	if (rc == -ECANCELED && a->n_shields && is_leaving(a->thread))
		return true;
	if (rc == -ECANCELED || is_raised(rc))
		return !a->n_shields && is_fair_game(a);
	switch (-rc) {
	case ETIMEDOUT:
		return a->n_scopes > 0;
	case EAGAIN:
		return a->has_block_trap;
	case EPERM:
		return t->trap_level;
	default:
		return false;
	}
}

void judge_callback(const struct actor *a, const char *call, int64_t rc)
{
	if (a->thread->in_callback && rc != -EPERM && !is_child)
		wrong("%s returned %" PRId64 " in a callback of thread %u",
		      call, rc, a->thread->index);
}

void judge(const struct actor *a, const char *call, int64_t rc, bool blocks,
	   const int *allowed)
{
	if (rc >= 0 || is_child)
		return;
	for (; *allowed; allowed++)
		if (rc == *allowed)
			return;
	if (blocks && any_blocking_call_may(a, rc))
		return;
	wrong("%s returned %" PRId64 " to life %d of thread %u (%d scopes, %d "
	      "shields, block trap %d, switch trap %d, in callback %d)",
	      call, rc, a->life ? (int)a->life->number : -1, a->thread->index,
	      a->n_scopes, a->n_shields, a->has_block_trap,
	      a->thread->trap_level, a->thread->in_callback);
}

static unsigned least(unsigned a, unsigned b)
{
	return a < b ? a : b;
}

/* --- spawning and closing --- */

bool begin_spawn(void)
{
	if (is_child)
		return false;
	/* With the controller's store and load: it sees this one, or this one
	 * sees that the round is closing. */
	atomic_fetch_add(&now.n_spawning, 1);
	if (!atomic_load(&now.is_closing))
		return true;
	atomic_fetch_sub(&now.n_spawning, 1);
	return false;
}

void end_spawn(void)
{
	atomic_fetch_sub(&now.n_spawning, 1);
}

struct thread *new_thread(void)
{
	unsigned index = atomic_fetch_add(&now.n_threads, 1);
	struct thread *t;

	if (index >= MOST_THREADS) {
		atomic_fetch_sub(&now.n_threads, 1);
		return NULL;
	}
	t = &now.threads[index];
	t->index = index;
	t->log = &watched->logs[index];
	t->random = random_stream(now.seed, 1000 + index);
	t->listener = -1;
	return t;
}

struct thread *some_thread(struct random_state *r)
{
	unsigned n = atomic_load_explicit(&now.n_threads, memory_order_relaxed);

	return &now.threads[random_below(r,
					 n < MOST_THREADS ? n : MOST_THREADS)];
}

void open_books(uint64_t seed)
{
	unsigned n_tokens = now.n_tokens, n_units = now.n_units;

	if (n_tokens > MOST_TOKENS)
		n_tokens = MOST_TOKENS;
	if (n_units > MOST_UNITS)
		n_units = MOST_UNITS;
	memset(now.token_states, 0, n_tokens);
	memset(now.token_arrivals, 0, n_tokens);
	memset(now.units, 0, n_units * sizeof now.units[0]);
	memset(now.threads, 0, sizeof now.threads);
	memset(now.lives, 0, sizeof now.lives);
	memset(now.conduits, 0, sizeof now.conduits);
	memset(now.streams, 0, sizeof now.streams);
	memset(now.flies, 0,
	       least(now.n_flies, MOST_FLIES) * sizeof *now.flies);
	memset(now.known_flies, 0, sizeof now.known_flies);
	now.n_flies = now.n_known_flies = 0;
	now.n_threads = now.n_lives = now.n_tokens = now.n_units = 0;
	now.n_conduits = now.n_streams = now.n_finished = now.n_spawning = 0;
	now.is_closing = now.is_sealed = now.is_over = false;
	now.seed = seed;
	atomic_store(&watched->seed, seed);
	memset(watched->logs, 0, sizeof watched->logs);
	memset(watched->of_lives, 0, sizeof watched->of_lives);
}

/* --- memory --- */

/* What a process has settles in its first rounds: caches have grown to what the
 * busiest of them needs. From then on it may grow by no more than these, however
 * many rounds there are; but for what is left on the stacks of those who are given
 * up. */
enum {
	SETTLING_ROUNDS = 40,
	MORE_HEAP = 512 * 1024,
	MORE_RESIDENT = 8 * 1024 * 1024
};

struct growth {
	const char *what;
	long last, settled, most;
};

static void check_growth(struct growth *g, long bytes, unsigned n_rounds,
			 bool may_leak)
{
	if (n_rounds <= SETTLING_ROUNDS) {
		if (bytes > g->settled)
			g->settled = bytes;
	} else if (may_leak && bytes > g->last) {
		g->settled += bytes - g->last;
	} else if (bytes > g->settled + g->most) {
		wrong("%s: %ld bytes after %u rounds, %ld after %d", g->what,
		      bytes, n_rounds, g->settled, SETTLING_ROUNDS);
	}
	g->last = bytes;
}

static long resident_bytes(void)
{
	FILE *f = fopen("/proc/self/statm", "r");
	long total, resident;

	if (!f || fscanf(f, "%ld %ld", &total, &resident) != 2)
		wrong("/proc/self/statm: %s", strerror(errno));
	fclose(f);
	return resident * sysconf(_SC_PAGESIZE);
}

void check_memory(bool may_leak)
{
	static struct growth heap = { .what = "the heap", .most = MORE_HEAP };
	static struct growth resident = { .what = "resident memory",
					  .most = MORE_RESIDENT };
	static unsigned n_rounds;

	if (!has_memory_to_itself())
		return;
	n_rounds++;
	check_growth(&heap, (long)mallinfo2().uordblks, n_rounds, may_leak);
	check_growth(&resident, resident_bytes(), n_rounds, may_leak);
}

/* --- the audit, when all threads have ended --- */

/* Whether it was given up in the middle of something. */
static bool is_given_up(const struct life *l)
{
	return l->n_started && !l->n_ended;
}

static void audit_life(const struct life *l)
{
	const char *kind = l->kind == INNOCENT ? "innocent" : "victim";
	bool leaves = l->thread->is_leaving;

	if (!l->is_spawned) {
		if (l->n_started)
			wrong("life %u ran though its spawn failed", l->number);
		return;
	}
	if (weft_tasklet_alive(l->handle))
		wrong("%s %u outlives its thread %u", kind, l->number,
		      l->thread->index);
	if (l->n_started > 1 || l->n_ended > 1)
		wrong("%s %u started %u times and ended %u times", kind,
		      l->number, l->n_started, l->n_ended);
	if (!leaves && is_given_up(l))
		wrong("%s %u of thread %u never came to its end", kind,
		      l->number, l->thread->index);
	if (l->has_drop && l->n_started + l->n_dropped != 1)
		wrong("%s %u of thread %u ran %u times and was dropped %u times",
		      kind, l->number, l->thread->index, l->n_started,
		      l->n_dropped);
	if (!leaves && !l->n_started && !l->was_hit && !l->group)
		wrong("%s %u of thread %u never ran, and nobody killed it",
		      kind, l->number, l->thread->index);
	/* It may have been given up on its way out. */
	if (!leaves && l->n_ended && l->n_undone != l->n_deferred)
		wrong("%s %u deferred %u and undid %u", kind, l->number,
		      l->n_deferred, l->n_undone);
	if (l->n_reported > 1 || (!leaves && now.has_handler && l->n_ended &&
				  l->fails && !l->n_reported))
		wrong("the end of %s %u was reported %u times", kind, l->number,
		      l->n_reported);
}

static void audit_token(unsigned i, bool may_lose)
{
	unsigned n = now.token_arrivals[i], state = now.token_states[i];

	if (n > 1)
		wrong("token %u arrived %u times", i, n);
	if (n && state == TOKEN_REFUSED)
		wrong("token %u arrived, though its send failed", i);
	if (!n && state == TOKEN_SENT && !may_lose &&
	    !now.conduits[now.token_conduits[i]].may_lose)
		wrong("token %u was sent and is lost", i);
}

static void audit_conduit(const struct conduit *c)
{
	if (c->n_received + c->n_dropped > c->n_sent)
		wrong("of %u signals %u arrived and %u were dropped", c->n_sent,
		      c->n_received, c->n_dropped);
}

static void audit_unit(unsigned i, bool may_lose)
{
	const struct unit *u = &now.units[i];
	const struct stream *s = &now.streams[u->stream];

	if (u->n_read > 1)
		wrong("bytes %u of stream %u were read %u times", i, u->stream,
		      u->n_read);
	if (u->n_read && u->state == TOKEN_REFUSED)
		wrong("bytes %u of stream %u arrived, though the write failed",
		      i, u->stream);
	if (!u->n_read && u->state == TOKEN_SENT && !may_lose && !s->was_cut)
		wrong("bytes %u of stream %u are lost", i, u->stream);
}

void audit(void)
{
	unsigned n_given_up = now.was_left;

	for (unsigned i = 0; i < least(now.n_lives, MOST_LIVES); i++) {
		audit_life(&now.lives[i]);
		n_given_up += is_given_up(&now.lives[i]);
	}
	audit_flies();
	for (unsigned i = 0; i < least(now.n_tokens, MOST_TOKENS); i++)
		audit_token(i, n_given_up);
	for (unsigned i = 0; i < least(now.n_conduits, MOST_CONDUITS); i++)
		audit_conduit(&now.conduits[i]);
	for (unsigned i = 0; i < least(now.n_units, MOST_UNITS); i++)
		audit_unit(i, n_given_up);
	check_descriptors(n_given_up);
	check_memory(n_given_up);
}
