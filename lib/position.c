/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes at the position of a file.
 *
 * A ring that is told "at the position" reads it when an operation begins and
 * writes it back when it completes, without the lock that read(2) and write(2) hold
 * meanwhile: two writers get the same place, and with O_DIRECT it never moves. So
 * what has a position, regular files and block devices, does not go through the
 * ring:
 *
 *	quick   preadv2 or pwritev2 with RWF_NOWAIT, at once, on this thread: they
 *	        take the lock, and fail with EAGAIN if there is more to wait for
 *	slow    read or write on a helper (pool.c), which may wait
 *
 * A quick one would wait for the lock if a slow one held it. So each counts itself
 * in at the gate of its file, one word for all files with the same hash: a quick
 * one that finds slow ones there, waiting or at work, becomes slow; a slow one at
 * work lets the quick ones that are there end first, which takes them a system call.
 * Both are steps on one word, so they have one order. [position.1] What remains
 * is the lock in other hands: plain read(2) and write(2) of other threads and other
 * processes with the same description.
 *
 * Slow writes to one file are done in the order in which they came, slow reads by
 * one descriptor too; so a file keeps one helper busy, not all.
 *
 * RWF_NOWAIT reads what is in memory and stops where something is not. read(2)
 * goes on there, and who asks for a record must not get half of it: a helper reads
 * the rest, if the position is still where the first part ended.
 *
 * Where no helper can be started, for want of memory or of threads, the thread makes
 * a slow transfer itself.
 *
 * O_DIRECT waits for the device whatever the flag says: such files are always slow.
 *
 * To find out what a descriptor is costs as much as half a read. So it is noted
 * for its number, and a quick read or write is tried on the strength of that: if
 * the number has come to be another file, it is right all the same, on whatever kind
 * of file. If it fails, and now and then if it does not, the descriptor is looked at
 * again. Where there is no note, lseek(2) is the cheapest way to find out that
 * there is no position; but it takes the lock, and is not used while any slow one is
 * under way.
 */
#include "position.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "fork.h"
#include "offload.h"
#include "scheduler.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

enum {
	N_NOTES = 1024,
	N_GATES = N_POSITION_GATES,
	LOOK_AGAIN = 64, /* quick ones on the strength of a note */
	NAP_NS = 20 * 1000
};

/* Descriptor number + 1, and the gate of its file; 0: none. Any thread. Relaxed:
 * whatever it says is right. */
static _Atomic(uint64_t) notes[N_NOTES];

/* How many quick ones are at a gate, and above them how many slow ones. Any thread,
 * seq_cst. [position.1] */
static const uint64_t QUICK = 1, SLOW = 1ULL << 32;

static _Atomic(uint64_t) gates[N_GATES];
static _Atomic(unsigned) n_slow; /* at all gates; a hint */

/* What a descriptor is. */
struct file {
	struct stat st;
	/* not known of pipes and sockets */
	unsigned gate;
	int flags; /* of open(2) */
};

/* --- notes --- */

static _Atomic(uint64_t) *note_of(int fd)
{
	return &notes[(unsigned)fd % N_NOTES];
}

static bool recall(int fd, unsigned *gate)
{
	static __thread unsigned n_recalls
		__attribute__((tls_model("initial-exec")));
	uint64_t note = peek(*note_of(fd));

	if (fd < 0 || note / N_GATES != (uint64_t)fd + 1)
		return false;
	*gate = (unsigned)(note % N_GATES);
	return ++n_recalls % LOOK_AGAIN != 0;
}

static void note(int fd, unsigned gate)
{
	poke(*note_of(fd), ((uint64_t)fd + 1) * N_GATES + gate);
}

static void forget(int fd)
{
	if (peek(*note_of(fd)) / N_GATES == (uint64_t)fd + 1)
		poke(*note_of(fd), 0);
}

static bool has_position(const struct file *f)
{
	return S_ISREG(f->st.st_mode) || S_ISBLK(f->st.st_mode);
}

static unsigned gate_of(const struct stat *st)
{
	uint64_t id = (uint64_t)st->st_dev * 31 + st->st_ino;

	return (unsigned)(id * 0x9e3779b97f4a7c15U >> 32) % N_GATES;
}

/* 0 or a negative errno. Never waits: neither needs the position's lock. */
static int look_at(int fd, struct file *f)
{
	/* not libc's, which looks for a path first: half as slow */
	if (syscall(SYS_fstat, fd, &f->st))
		return -errno;
	if (S_ISFIFO(f->st.st_mode) || S_ISSOCK(f->st.st_mode)) {
		forget(fd);
		return 0;
	}
	f->flags = fcntl(fd, F_GETFL);
	if (f->flags < 0)
		return -errno;
	f->gate = gate_of(&f->st);
	if (has_position(f) && !(f->flags & O_DIRECT))
		note(fd, f->gate);
	else
		forget(fd);
	return 0;
}

/* --- quick --- */

static ssize_t move_now(const struct transfer *t)
{
	struct iovec v = { .iov_base = t->data, .iov_len = t->count };
	/* not libc's, which are cancellation points */
	long n = syscall(t->is_write ? SYS_pwritev2 : SYS_preadv2, t->fd, &v,
			 1L, -1L, -1L, RWF_NOWAIT);

	return n < 0 ? -errno : n;
}

/* If it has failed to try, nothing has been moved. */
static ssize_t try_quickly(const struct transfer *t, unsigned gate)
{
	ssize_t n = -EAGAIN;

	if (atomic_fetch_add(&gates[gate], QUICK) < SLOW) /* [position.1] */
		n = move_now(t);
	atomic_fetch_sub(&gates[gate], QUICK); /* [position.1] */
	return n;
}

/* -ENOSYS: of a sandbox that is older than the call. */
static bool has_failed_to_try(ssize_t n)
{
	return n == -EAGAIN || n == -EOPNOTSUPP || n == -ENOSYS;
}

/* --- slow --- */

struct slow {
	struct errand errand;
	struct slow *next, *prev; /* in the scheduler's list */
	struct transfer *transfer;
	unsigned gate;
	off_t position;    /* where it has to be; -1: anywhere */
	bool is_signalled; /* write(2) would have raised SIGXFSZ */
};

/* Who waits for the end of one, to close its descriptor. In a list of the
 * scheduler's, newest first. */
struct closer {
	struct waiter waiter; /* first */
	const struct slow *slow;
};

static void let_quick_ones_end(unsigned gate)
{
	static const struct timespec nap = { .tv_nsec = NAP_NS };

	while (atomic_load(&gates[gate]) % SLOW) /* [position.1] */
		nanosleep(&nap, NULL);
}

/* It is blocked here, and belongs to the thread that called. */
static bool take_signal(int number)
{
	static const struct timespec at_once = { 0 };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, number);
	return sigtimedwait(&set, NULL, &at_once) == number;
}

/* On a helper. */
static int move(void *arg)
{
	struct slow *slow = arg;
	const struct transfer *t = slow->transfer;
	ssize_t n;
	int err;

	let_quick_ones_end(slow->gate);
	if (slow->position >= 0 && lseek(t->fd, 0, SEEK_CUR) != slow->position)
		return 0;
	n = t->is_write ? write(t->fd, t->data, t->count)
			: read(t->fd, t->data, t->count);
	if (n >= 0)
		return (int)n;
	err = errno;
	if (t->is_write && err == EFBIG)
		slow->is_signalled = take_signal(SIGXFSZ);
	return -err;
}

/* Not below 0: in a child of fork() they have been set to that. */
static void count_out_slow(unsigned gate)
{
	uint64_t word = atomic_load(&gates[gate]);

	while (word >= SLOW &&
	       !atomic_compare_exchange_weak(&gates[gate], &word,
					     word - SLOW)) /* [position.1] */
		;
	if (peek(n_slow))
		n_slow--;
}

static void enlist(struct scheduler *s, struct slow *slow)
{
	slow->prev = NULL;
	slow->next = s->transfers;
	if (slow->next)
		slow->next->prev = slow;
	s->transfers = slow;
}

static void unlist(struct scheduler *s, struct slow *slow)
{
	if (slow->prev)
		slow->prev->next = slow->next;
	else
		s->transfers = slow->next;
	if (slow->next)
		slow->next->prev = slow->prev;
}

static void tell_closers(struct scheduler *s, const struct slow *slow)
{
	struct waiter **place = &s->closers;
	struct waiter *w;

	while ((w = *place)) {
		if (((struct closer *)w)->slow != slow) {
			place = &w->next;
			continue;
		}
		*place = w->next;
		weft__wake_local(s, w->task);
	}
}

static void count_in(struct scheduler *s, unsigned gate)
{
	atomic_fetch_add(&gates[gate], SLOW); /* [position.1] */
	n_slow++;
	s->n_slow_at[gate]++;
}

static void count_out(struct scheduler *s, unsigned gate)
{
	s->n_slow_at[gate]--;
	count_out_slow(gate);
}

/* The numbers are here, for main's frames may be gone, and the list with them. */
void weft__position_give_up(struct scheduler *s)
{
	for (unsigned gate = 0; gate < N_GATES; gate++)
		while (s->n_slow_at[gate])
			count_out(s, gate);
	s->transfers = NULL;
}

/* Where there is no helper to be had, this thread has to wait itself. */
static void move_here(struct slow *slow)
{
	int n;

	do
		n = move(slow);
	while (n == -EINTR);
	slow->errand.waiter.result = n;
}

/* True: it was done, or called off by a close, and its result is in the errand's
 * waiter. Else it was interrupted. */
static bool move_slowly(struct scheduler *s, const struct file *f,
			struct slow *slow)
{
	struct transfer *t = slow->transfer;
	struct job *j = &slow->errand.job;

	j->crew = CREW_FILES;
	j->fn = move;
	j->arg = slow;
	j->key[0] =
		f->st.st_dev ^ (t->is_write ? 0 : ((uint64_t)t->fd + 1) << 40);
	j->key[1] = S_ISBLK(f->st.st_mode) ? f->st.st_rdev : f->st.st_ino;
	count_in(s, f->gate);
	enlist(s, slow);
	if (weft__run_errand(s, &slow->errand))
		move_here(slow);
	unlist(s, slow);
	tell_closers(s, slow);
	count_out(s, f->gate);
	if (slow->is_signalled)
		raise(SIGXFSZ);
	return !slow->errand.waiter.called_off;
}

static ssize_t wait_for_helper(struct scheduler *s, const struct file *f,
			       struct transfer *t)
{
	struct slow slow = { .transfer = t, .gate = f->gate, .position = -1 };
	struct waiter *w = &slow.errand.waiter;
	int rc = weft__may_wait(s);

	if (rc)
		return rc;
	(void)move_slowly(s, f, &slow);
	return weft__outcome(w);
}

/* The first @n bytes have been read quickly. What interrupts the wait for others is
 * for the next call. */
static ssize_t read_the_rest(struct scheduler *s, const struct file *f,
			     const struct transfer *t, ssize_t n)
{
	struct transfer rest = { .fd = t->fd,
				 .data = (char *)t->data + n,
				 .count = t->count - (size_t)n };
	struct slow slow = { .transfer = &rest, .gate = f->gate };

	slow.position = lseek(t->fd, 0, SEEK_CUR);
	if (slow.position < 0 || weft__may_wait(s))
		return n;
	if (S_ISREG(f->st.st_mode) && slow.position >= f->st.st_size)
		return n;
	if (move_slowly(s, f, &slow) && slow.errand.waiter.result > 0)
		n += slow.errand.waiter.result;
	return n;
}

/* --- a close --- */

static bool is_waiting(const struct slow *slow)
{
	const struct waiter *w = &slow->errand.waiter;

	return peek(w->task->state) == WEFT_BLOCKED && w->task->waiter == w;
}

static struct slow *find_transfer(struct scheduler *s, int fd)
{
	struct slow *slow = s->transfers;

	while (slow && (slow->transfer->fd != fd || !is_waiting(slow)))
		slow = slow->next;
	return slow;
}

/* At the end of the thread, which alone calls a close off: who makes the transfer
 * may never get the thread again, to tell it. */
static bool take_closer_out(struct scheduler *s, struct waiter *w)
{
	struct waiter **place = &s->closers;

	while (*place != w)
		place = &(*place)->next;
	*place = w->next;
	return true;
}

static void describe_closer(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for a transfer to end, to close its file");
}

static const struct wait_kind closes = { .cancel = take_closer_out,
					 .describe = describe_closer };

static void wait_for_end(struct scheduler *s, struct slow *slow)
{
	struct closer c = {
		.waiter = { .task = peek(s->current),
			    .owner = s,
			    .kind = &closes,
			    .next = s->closers },
		.slow = slow,
	};

	s->closers = &c.waiter;
	weft__block(s, &c.waiter, true);
}

void weft__end_transfers(struct scheduler *s, int fd)
{
	struct slow *slow;

	forget(fd);
	while ((slow = find_transfer(s, fd))) {
		struct waiter *w = &slow->errand.waiter;

		if (weft__pool_withdraw(&slow->errand.job)) {
			w->result = -ECANCELED;
			weft__wake_local(s, w->task);
		} else if (weft__may_wait(s)) {
			return;
		} else {
			wait_for_end(s, slow);
		}
	}
}

/* --- by kind --- */

/* A device that cannot promise not to wait has the ring's thread wait for it, if
 * there is room for the first byte. */
static enum transfer_way write_to_device(struct transfer *t,
					 const struct file *f)
{
	if (f->flags & O_NONBLOCK)
		return WAY_RING;
	t->result = move_now(t);
	if (t->result == -EAGAIN)
		return WAY_RING;
	return has_failed_to_try(t->result) ? WAY_WORKER : WAY_MADE;
}

static enum transfer_way go_by_kind(struct scheduler *s, struct transfer *t,
				    const struct file *f, bool was_tried)
{
	ssize_t n = -EAGAIN;

	if (S_ISFIFO(f->st.st_mode) || S_ISSOCK(f->st.st_mode))
		return WAY_RING;
	if (!has_position(f))
		return t->is_write ? write_to_device(t, f) : WAY_RING;
	if (!was_tried && !(f->flags & O_DIRECT))
		n = try_quickly(t, f->gate);
	if (has_failed_to_try(n))
		n = wait_for_helper(s, f, t);
	else if (n > 0 && (size_t)n < t->count && !t->is_write)
		n = read_the_rest(s, f, t, n);
	t->result = n;
	return WAY_MADE;
}

static bool is_whole(const struct transfer *t, ssize_t n)
{
	return n <= 0 || t->is_write || (size_t)n == t->count;
}

enum transfer_way weft__transfer(struct scheduler *s, struct transfer *t)
{
	struct file f;
	bool was_tried = false;
	unsigned gate;
	ssize_t n;

	if (recall(t->fd, &gate)) {
		n = try_quickly(t, gate);
		if (likely(!has_failed_to_try(n) && is_whole(t, n))) {
			t->result = n;
			return WAY_MADE;
		}
		if (n > 0) {
			/* short: the end, or a stream, or not in memory */
			t->result = n;
			if (!look_at(t->fd, &f) && has_position(&f))
				t->result = read_the_rest(s, &f, t, n);
			return WAY_MADE;
		}
		was_tried = true;
	} else if (!t->is_write && !peek(n_slow) &&
		   lseek(t->fd, 0, SEEK_CUR) < 0) {
		return WAY_RING; /* which says so if it is no descriptor */
	}
	if (look_at(t->fd, &f))
		return WAY_RING;
	return go_by_kind(s, t, &f, was_tried);
}

/* --- fork --- */

void weft__position_renew(void)
{
	for (size_t i = 0; i < N_GATES; i++)
		atomic_store(&gates[i], 0); /* one thread */
	n_slow = 0;
}
