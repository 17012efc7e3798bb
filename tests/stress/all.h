/* SPDX-License-Identifier: MIT */
/*
 * What the files of stress_all share. See stress_all.c for what it is.
 *
 *	all_books.c     the books of a round, what calls may return, the log
 *	all_tasklets.c  tasklets, what they do to each other, groups, callbacks
 *	all_flies.c     very many short tasklets, and quick talk of them
 *	all_wakes.c     pings, and who sleeps though something is due
 *	all_channels.c  channels and tokens, locks
 *	all_io.c        descriptors and bytes
 *	all_process.c   threads that come and go, fork and exec, offloading
 */
#ifndef WEFT_TESTS_ALL_H
#define WEFT_TESTS_ALL_H

#include "stress.h"
#include "support.h"

enum {
	MOST_WORKERS = 5, /* threads that are there from the beginning */
	MOST_THREADS = 32,
	MOST_LIVES = 4000,
	MOST_TOKENS = 1 << 15,
	MOST_UNITS = 1 << 15,
	MOST_CONDUITS = 128,
	MOST_FLIES = 1 << 17,
	MOST_KNOWN_FLIES = 1 << 12,
	SLOTS = 6,    /* channels at a time */
	HANDLES = 48, /* in the table that all can see */
	STREAMS = 64,
	GROUPS = 3,
	LOCKS = 3,
	LOG_ENTRIES = 48,
	LOGS = MOST_THREADS + 1
};

/* Errors that tasklets raise on each other, and nothing else returns. */
enum { RAISED_FIRST = ENOANO, RAISED_LAST = EBADSLT };
/* Errors that go through channels. */
enum { SENT_FIRST = ENOTUNIQ, SENT_LAST = ELIBACC };
/* A failing tasklet's result: the negated number of its life above this. */
enum { RESULT_BASE = 5000 };
enum { STOPPED = 77 }; /* what weft_stop() is given */

/* --- the log, which survives the process that writes it --- */

struct entry {
	const char *call;
	unsigned who; /* the number of a life; NOBODY: a main tasklet */
	uint64_t number;
	int64_t argument;
	int64_t result;
	bool has_returned;
	uint8_t n_scopes, n_shields, trap_level, in_callback, n_deferring;
};

enum { NOBODY = UINT32_MAX };

struct log {
	_Atomic(uint64_t) n;
	struct entry entries[LOG_ENTRIES];
	struct entry of_main;      /* its last call outside of callbacks */
	struct entry of_callbacks; /* the last call from any */
};

/* Seen by the process that watches, too. */
struct watched {
	_Atomic(uint64_t) n_rounds, seed;
	_Atomic(uint64_t) n_rescues, n_flies, n_pings, n_exits, n_drops;
	_Atomic(const char *) stage;
	_Atomic(bool) has_failed;
	struct log logs[LOGS];
	/* The last call of each life that has not ended. */
	struct entry of_lives[MOST_LIVES];
};

extern struct watched *watched;

/* --- the books of a round --- */

struct thread {
	unsigned index;
	_Atomic(uint64_t) id; /* 0: not attached yet */
	pthread_t pthread;
	_Atomic(bool) is_leaving; /* ends with all that is left on it */
	bool will_leave;          /* sooner or later */
	_Atomic(bool) is_started;
	_Atomic(bool) is_weft_thread;
	_Atomic(int) n_alive;       /* lives spawned there and not ended */
	unsigned n_inside;          /* runs that its main is in; its own */
	struct random_state random; /* of its callbacks */
	int trap_level;
	int in_callback;
	int listener;
	_Atomic(uint64_t) address; /* of the listener */
	struct log *log;
	_Atomic(bool) may_exit; /* main only waits for a pthread_exit() */

	/* all_wakes.c */
	_Atomic(bool) takes_pings;
	_Atomic(unsigned) n_pings;    /* whose calls have returned */
	_Atomic(unsigned) n_answered; /* by the thread itself */
	_Atomic(unsigned) n_notices;
	weft_semaphore semaphore;
	weft_tasklet answerers[2];
	_Atomic(int64_t) due; /* when main has to go on; 0: not known */
};

enum kind {
	VICTIM,  /* in the table, and expects anything */
	INNOCENT /* nobody knows it; no call of it may fail */
};

/* What is known of one tasklet. */
struct life {
	unsigned number;
	_Atomic(enum kind) kind;
	struct thread *thread;
	weft_group *group; /* that it is a member of */
	weft_tasklet handle;
	_Atomic(bool) is_spawned; /* the handle is there */
	_Atomic(unsigned) n_started, n_ended, n_dropped, n_reported;
	_Atomic(unsigned) n_deferred, n_undone;
	_Atomic(bool) was_hit;
	_Atomic(int64_t) due; /* when it has to go on; 0: not known */
	bool own_fpu;
	bool fails;
	bool has_drop;
};

/* One of very many. */
struct fly {
	_Atomic(uint8_t) n_ran, n_dropped;
	_Atomic(uint8_t) is_spawned;
	uint8_t thread;
	bool is_known;    /* anybody may kill it */
	bool is_expected; /* counted among the pings */
};

/* Who acts: a tasklet, or a callback. */
struct actor {
	struct life *life; /* NULL: a main tasklet, or a callback */
	struct thread *thread;
	struct random_state random;
	int n_scopes, n_shields;
	bool has_block_trap;
	bool is_main; /* outside of callbacks */
	int depth;
};

/* A channel's books; the channel itself may be gone. */
struct conduit {
	weft_channel *channel;
	size_t size; /* of an element */
	bool is_unbounded;
	_Atomic(bool) may_lose; /* it was seen without a drop function */
	_Atomic(unsigned) n_sent, n_received, n_dropped; /* without tokens */
};

enum { TOKEN_SENT = 1, TOKEN_REFUSED = 2 };

struct unit {
	_Atomic(uint8_t) state; /* TOKEN_SENT, TOKEN_REFUSED */
	_Atomic(uint8_t) n_read;
	uint16_t stream;
	uint32_t writer;
};

struct stream {
	_Atomic(int) ends[2]; /* read from the first; -1: closed */
	_Atomic(struct thread *) owners[2];
	bool is_pipe;
	_Atomic(bool) was_cut;
};

struct round {
	uint64_t seed;
	unsigned weights[64]; /* of the acts */
	unsigned n_workers, n_steps, most_lives;
	unsigned innocence; /* out of 8 spawns */
	bool mains_are_known, has_handler, has_exits, has_signals;
	/* A tasklet has called pthread_exit(): what main had been given is lost. */
	_Atomic(bool) was_left;
	_Atomic(unsigned) n_threads;
	struct thread threads[MOST_THREADS];
	struct life lives[MOST_LIVES];
	_Atomic(unsigned) n_lives;
	_Atomic(unsigned) n_spawning;
	_Atomic(bool) is_closing; /* nothing is spawned any more */
	_Atomic(bool) is_sealed;  /* and nobody is just doing so */
	_Atomic(bool) is_over;    /* only the audit is left */
	_Atomic(unsigned) n_finished;

	_Atomic(uint8_t) token_states[MOST_TOKENS];
	_Atomic(uint8_t) token_arrivals[MOST_TOKENS];
	uint8_t token_conduits[MOST_TOKENS];
	_Atomic(unsigned) n_tokens;
	struct conduit conduits[MOST_CONDUITS];
	_Atomic(unsigned) n_conduits;

	struct fly flies[MOST_FLIES];
	_Atomic(unsigned) n_flies, n_known_flies;
	struct {
		_Atomic(bool) is_there;
		unsigned thread;
		weft_tasklet handle;
	} known_flies[MOST_KNOWN_FLIES];

	struct unit units[MOST_UNITS];
	_Atomic(unsigned) n_units;
	struct stream streams[STREAMS];
	_Atomic(unsigned) n_streams;
};

extern struct round now;
extern __thread struct thread *self;
extern bool is_child; /* of a fork in a round: the books are the parent's */

_Noreturn void __attribute__((format(printf, 1, 2)))
wrong(const char *format, ...);
void print_log(void);
void print_lives(void);
/* Shows what a process is at, if anybody wants to know. */
void debug(pid_t pid);

uint64_t log_call(const struct actor *a, const char *call, int64_t argument);

void log_return(const struct actor *a, uint64_t number, int64_t result);

/* Of something that is not one call. */
static inline void note_call(const struct actor *a, const char *what,
			     int64_t argument)
{
	log_return(a, log_call(a, what, argument), 0);
}

/* Ends the round unless @rc is above or equal 0, or among @allowed, which a 0 ends,
 * or, if @blocks, what any blocking call may return to @a. */
void judge(const struct actor *a, const char *call, int64_t rc, bool blocks,
	   const int *allowed);

/* Of a blocking call: in a callback it fails, whatever else there is to say. */
void judge_callback(const struct actor *a, const char *call, int64_t rc);

#define LOGGED(a, argument, call)                                           \
	({                                                                  \
		uint64_t number_ = log_call(a, #call, (int64_t)(argument)); \
		int64_t rc_ = (call);                                       \
		log_return(a, number_, rc_);                                \
		rc_;                                                        \
	})
/* A blocking call, and what else it may return: 0 for nothing. */
#define BLOCKING(a, argument, call, ...)                     \
	({                                                   \
		int64_t result_ = LOGGED(a, argument, call); \
		judge_callback(a, #call, result_);           \
		judge(a, #call, result_, true,               \
		      (const int[]){ __VA_ARGS__, 0 });      \
		result_;                                     \
	})
/* One that is not, and all that it may. */
#define PLAIN(a, argument, call, ...)                        \
	({                                                   \
		int64_t result_ = LOGGED(a, argument, call); \
		judge(a, #call, result_, false,              \
		      (const int[]){ __VA_ARGS__, 0 });      \
		result_;                                     \
	})

/* Opens and closes the books. */
void open_books(uint64_t seed);
void audit(void);
/* Of memory, after a round; @may_leak: somebody was given up. */
void check_memory(bool may_leak);

/* Whether @a may do what would switch and waits for whatever happens. */
static inline bool is_free(const struct actor *a)
{
	return !a->has_block_trap && !a->thread->trap_level &&
	       !a->thread->in_callback;
}

/* No spawn begins after the round is closing; false: do not. */
bool begin_spawn(void);
void end_spawn(void);

struct thread *new_thread(void);
/* One that is attached, or was. */
struct thread *some_thread(struct random_state *r);

/* --- acts --- */

/* What an actor does: 0, or the error of its last blocking call. */
typedef int (*act_fn)(struct actor *a);

/* Does something at random, alone or inside of a scope, a shield or a trap. */
int act(struct actor *a);
/* The same, one that ends by itself soon. */
int act_within(struct actor *a, int64_t ns);
void do_a_callback(void);

/* all_tasklets.c */
weft_tasklet spawn(struct actor *a, enum kind kind, struct thread *there,
		   weft_group *g);
struct life *new_life(struct actor *a, enum kind kind, struct thread *there,
		      weft_group *g);
int act_spawn(struct actor *a);
int act_control(struct actor *a);
int act_interrupt(struct actor *a);
int act_look(struct actor *a);
int act_join(struct actor *a);
int act_defer(struct actor *a);
int act_give_way(struct actor *a);
int act_sleep(struct actor *a);
int act_nest(struct actor *a);
int act_group(struct actor *a);
int act_shared_group(struct actor *a);
int act_callbacks(struct actor *a);
weft_group *some_group(struct random_state *r);
/* A handle that somebody made known, its life's number if it has one. @newest: the
 * last one of some thread. */
weft_tasklet look_up(struct random_state *r, struct life **life);
weft_tasklet look_up_newest(unsigned thread, struct life **life);
void note_hit(struct life *l);
/* What a signal's handler does. */
void notify_somebody(void);
void publish(struct random_state *r, weft_tasklet t, unsigned number);
void forget_handles(void);
void open_groups(void);
void close_groups(void);
void set_error_handler(void);
int end_life(struct life *me);
void begin_life(struct life *me);
/* Kills, pending, those of a thread that have not ended, or of all with NULL, but
 * for innocent ones; whether there are any. */
bool kill_all(struct actor *a, const struct thread *t);
bool has_innocents(const struct thread *t);
void control_from_callback(struct actor *a);

/* all_flies.c */
int act_flies(struct actor *a);
int act_pester(struct actor *a);
bool kill_flies(struct actor *a, const struct thread *of);
void audit_flies(void);

/* all_wakes.c */
int act_ping(struct actor *a);
void take_pings(struct thread *t);
void end_pings(struct actor *a);
void note_ping(struct thread *t);
void note_answer(struct thread *t);
/* Ends the round if a thread sleeps though something was handed in to it. */
void look_for_lost_wakes(void);
/* Whether a main tasklet or an innocent one sleeps though its time has come. */
bool is_somebody_due(void);
/* Says when @a has to go on, and returns what was said before. */
int64_t set_due(const struct actor *a, int64_t when);

/* all_channels.c */
int act_send(struct actor *a);
int act_receive(struct actor *a);
int act_try(struct actor *a);
int act_many(struct actor *a);
int act_send_error(struct actor *a);
int act_tune(struct actor *a);
int act_renew(struct actor *a);
int act_select(struct actor *a);
int act_mutex(struct actor *a);
int act_condition(struct actor *a);
int act_semaphore(struct actor *a);
int act_rwlock(struct actor *a);
void open_channels(struct actor *a);
void close_channels(struct actor *a);

/* all_io.c */
int act_read(struct actor *a);
int act_write(struct actor *a);
int act_stream(struct actor *a);
int act_private_pair(struct actor *a);
int act_accept(struct actor *a);
int act_connect(struct actor *a);
int act_open(struct actor *a);
void io_from_callback(struct actor *a);
void open_streams(struct actor *a);
void listen_here(struct thread *t);
/* Reads what is left, closes what is open. */
void close_streams(void);
/* Descriptors that the round opened. */
int track(int fd);
void untrack(int fd);
void note_descriptors(void);
void check_descriptors(bool may_leak);
unsigned n_inherited(void);

/* all_process.c */
int act_guest(struct actor *a);
int act_join_thread(struct actor *a);
int act_offload(struct actor *a);
int act_fork(struct actor *a);
int act_exec(struct actor *a);
void join_guests(struct actor *a);
int be_executed(const char *n_descriptors);

#endif /* WEFT_TESTS_ALL_H */
