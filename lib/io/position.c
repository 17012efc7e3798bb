/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes at the position of a file.
 *
 * A ring that is told "at the position" reads the position when an operation
 * begins and writes it back when the operation completes, without the lock that
 * read(2) and write(2) hold meanwhile. So two writers get the same place, and
 * with O_DIRECT the position never moves. Therefore files that have a position,
 * regular files and block devices, do not go through the ring:
 *
 *	quick   preadv2 or pwritev2 with RWF_NOWAIT, at once, on this thread: they
 *	        take the lock, and fail with EAGAIN if there is more to wait for
 *	slow    read or write on a helper (engine/pool.c), which may wait
 *
 * A quick transfer would wait for the lock if a slow one held it. So each
 * transfer counts itself in at the gate of its file: one word for all files
 * with the same hash. A quick transfer that finds slow ones there, waiting or
 * at work, becomes slow. A slow transfer at work first lets the quick ones end
 * that are there, which takes them a system call. Both are steps on one word,
 * so they have one order. [position.1] What remains is that others hold the
 * lock: plain read(2) and write(2) of other threads, and of other processes
 * with the same open file description.
 *
 * Slow writes to one file are done in the order in which they came, and so are
 * slow reads by one descriptor. So a file keeps one helper busy, not all.
 *
 * RWF_NOWAIT reads what is in memory and stops at the first part that is not.
 * read(2) goes on there, and a caller that asks for a record must not get half
 * of it. So a helper reads the rest, if the position is still where the first
 * part ended.
 *
 * If no helper can be started, for lack of memory or of threads, the thread
 * makes a slow transfer itself.
 *
 * O_DIRECT waits for the device whatever the flag says: such files are always
 * slow.
 *
 * Finding out what kind of file a descriptor is costs as much as half a read.
 * So the kind is noted for the descriptor's number, and a quick transfer is
 * tried because of that note. If the number has become another file's, the
 * transfer is right all the same, on whatever kind of file. If it fails, and
 * now and then if it does not, the descriptor is looked at again. If there is
 * no note, lseek(2) is the cheapest way to find out that there is no position.
 * But it takes the lock, and so is not used while any slow transfer is under
 * way.
 */
#include "io/position.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include "base/part.h"
#include "core/block.h"
#include "io/offload.h"

#ifndef RWF_NOWAIT
#define RWF_NOWAIT 8
#endif

enum {
	N_NOTES = 1024,
	N_GATES = 256,
	LOOK_AGAIN = 64, /* quick transfers because of a note */
	NAP_NS = 20 * 1000
};

/* Descriptor number + 1, and the gate of its file; 0: no note. Any thread.
 * Relaxed: whatever a note says, the transfer is right. */
static _Atomic(uint64_t) notes[N_NOTES];

/* How many quick transfers are at a gate, and above them how many slow ones.
 * Any thread, seq_cst. [position.1] */
static const uint64_t QUICK = 1, SLOW = 1ULL << 32;

static _Atomic(uint64_t) gates[N_GATES];
static _Atomic(unsigned) n_slow; /* at all gates; a hint */

/* What kind of file a descriptor is. */
struct file {
	struct stat st;
	/* not set for pipes and sockets */
	unsigned gate;
	int flags; /* as open(2) takes them */
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

/* 0 or a negative errno. Never waits: neither call needs the position's
 * lock. */
static int look_at(int fd, struct file *f)
{
	/* not libc's fstat(), which asks by an empty path: slower where
	 * the kernel looks that up */
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

bool weft__has_note(int fd)
{
	unsigned gate;

	return recall(fd, &gate);
}

/* No bytes. (An emulator may answer a call without buffers itself.) */
static const struct iovec nothing = { 0 };

int weft__move_nothing(int fd, bool is_write)
{
	long rc = syscall(is_write ? SYS_writev : SYS_readv, fd, &nothing, 1L);

	return rc < 0 ? -errno : 0;
}

/* Of a device, or of what has no place in a file system. A call with no bytes
 * tells, and reaches no driver: -ESPIPE, or -EINVAL if the file has no reads or
 * writes at all, which the ring notices only when the file is ready. */
static int ask_for_offsets(int fd, bool is_write)
{
	long rc = syscall(is_write ? SYS_pwritev : SYS_preadv, fd, &nothing, 1L,
			  0L, 0L);

	return rc < 0 ? -errno : 0;
}

int weft__look_for_offsets(int fd, bool is_write, bool *may_try)
{
	struct file f;
	int rc = look_at(fd, &f);

	if (rc)
		return rc;
	*may_try = has_position(&f) && !(f.flags & O_DIRECT);
	if (has_position(&f) || S_ISDIR(f.st.st_mode))
		return 0;
	if (S_ISFIFO(f.st.st_mode) || S_ISSOCK(f.st.st_mode))
		return -ESPIPE;
	return ask_for_offsets(fd, is_write);
}

/* --- quick --- */

static ssize_t move_now(const struct transfer *t)
{
	/* not libc's calls, which are cancellation points */
	long n = syscall(t->is_write ? SYS_pwritev2 : SYS_preadv2, t->fd,
			 t->iov, (long)t->n, -1L, -1L, RWF_NOWAIT);

	return n < 0 ? -errno : n;
}

/* If the result says that the try has failed, nothing has been moved. */
static ssize_t try_quickly(const struct transfer *t, unsigned gate)
{
	ssize_t n = -EAGAIN;

	if (atomic_fetch_add(&gates[gate], QUICK) < SLOW) /* [position.1] */
		n = move_now(t);
	atomic_fetch_sub(&gates[gate], QUICK); /* [position.1] */
	return n;
}

/* -ENOSYS comes from a sandbox that is older than the call. */
static bool has_failed_to_try(ssize_t n)
{
	return n == -EAGAIN || n == -EOPNOTSUPP || n == -ENOSYS;
}

/* --- slow --- */

struct slow {
	struct errand errand;
	struct transfer *transfer;
	size_t n_done; /* bytes that have been moved before */
	unsigned gate;
	off_t position;    /* where the file's must be after that */
	bool is_signalled; /* SIGXFSZ is to be raised in the caller's thread */
};

/* A tasklet that waits for the end of an errand, to close its descriptor.
 * In a list of the thread, newest first. */
struct closer {
	struct waiter waiter; /* first */
	const struct errand *errand;
};

/* The calling thread's. */
static __thread struct {
	struct errand *errands; /* on descriptors, by their numbers */
	struct waiter *closers;
	uint32_t *n_slow_at; /* at each gate; NULL: there was none yet */
} mine __attribute__((tls_model("initial-exec")));

static void let_quick_ones_end(unsigned gate)
{
	static const struct timespec nap = { .tv_nsec = NAP_NS };

	while (atomic_load(&gates[gate]) % SLOW) /* [position.1] */
		nanosleep(&nap, NULL);
}

static ssize_t move_buffers(const struct transfer *t, int first)
{
	const struct iovec *iov = t->iov + first;
	int n = t->n - first;

	if (n == 1)
		return t->is_write ? write(t->fd, iov->iov_base, iov->iov_len)
				   : read(t->fd, iov->iov_base, iov->iov_len);
	return t->is_write ? writev(t->fd, iov, n) : readv(t->fd, iov, n);
}

static bool is_at(int fd, off_t position)
{
	return lseek(fd, 0, SEEK_CUR) == position;
}

/* Reads on where a quick read has stopped. The buffers are the caller's and must
 * stay as they are, so the one that is filled in part is read by itself. */
static ssize_t read_on(const struct slow *slow)
{
	const struct transfer *t = slow->transfer;
	size_t skip = slow->n_done;
	size_t left;
	int i = 0;
	ssize_t n, more;

	if (!is_at(t->fd, slow->position))
		return 0;
	while (i < t->n && skip >= t->iov[i].iov_len)
		skip -= t->iov[i++].iov_len;
	if (i == t->n || !skip)
		return i == t->n ? 0 : move_buffers(t, i);
	left = t->iov[i].iov_len - skip;
	n = read(t->fd, (char *)t->iov[i].iov_base + skip, left);
	if (n < 0 || (size_t)n < left || i + 1 == t->n ||
	    !is_at(t->fd, slow->position + n))
		return n;
	more = move_buffers(t, i + 1);
	return more < 0 ? n : n + more;
}

/* Runs on a helper. */
static int move(void *arg)
{
	struct slow *slow = arg;
	const struct transfer *t = slow->transfer;
	ssize_t n;
	int err;

	let_quick_ones_end(slow->gate);
	n = slow->n_done ? read_on(slow) : move_buffers(t, 0);
	if (n >= 0)
		return (int)n;
	err = errno;
	if (t->is_write && err == EFBIG)
		slow->is_signalled = weft__pool_take_signal(SIGXFSZ);
	return -err;
}

/* Not below 0: in a child of fork() the counts have been set to 0. */
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

static void enlist(struct errand *e)
{
	e->prev = NULL;
	e->next = mine.errands;
	if (e->next)
		e->next->prev = e;
	mine.errands = e;
}

static void unlist(struct errand *e)
{
	if (e->prev)
		e->prev->next = e->next;
	else
		mine.errands = e->next;
	if (e->next)
		e->next->prev = e->prev;
}

static void tell_closers(struct scheduler *s, const struct errand *e)
{
	struct waiter **place = &mine.closers;
	struct waiter *w;

	while ((w = *place)) {
		if (((struct closer *)w)->errand != e) {
			place = &w->next;
			continue;
		}
		*place = w->next;
		weft__wake_local(s, w->task);
	}
}

int weft__run_on_number(struct scheduler *s, struct errand *e, int fd)
{
	int rc;

	e->fd = fd;
	e->is_on_number = true;
	enlist(e);
	rc = weft__run_errand(s, e);
	unlist(e);
	tell_closers(s, e);
	return rc;
}

/* False if there is no memory to note the transfer for the end of the
 * thread. */
static bool count_in(unsigned gate)
{
	if (!mine.n_slow_at)
		mine.n_slow_at = calloc(N_GATES, sizeof mine.n_slow_at[0]);
	if (mine.n_slow_at)
		mine.n_slow_at[gate]++;
	atomic_fetch_add(&gates[gate], SLOW); /* [position.1] */
	n_slow++;
	return mine.n_slow_at;
}

static void count_out(unsigned gate)
{
	if (mine.n_slow_at)
		mine.n_slow_at[gate]--;
	count_out_slow(gate);
}

/* The stacks of all tasklets but main are there till the end, and the errands on
 * them. */
static void find_errand_of(struct weft_task *t, void *arg)
{
	struct errand *e = NULL;

	(void)arg;
	if (peek(t->state) == WEFT_BLOCKED)
		e = weft__errand_of(t->waiter);
	if (e && e->is_on_number)
		enlist(e);
}

static void leave_main(struct scheduler *s)
{
	mine.errands = NULL;
	weft__task_each(s, find_errand_of, NULL);
}

/* Counts out, at the gates, the transfers of abandoned tasklets. It uses the
 * numbers and not the list: main's frames may be gone, and the list with
 * them. */
static void give_up(struct scheduler *s)
{
	(void)s;
	for (unsigned gate = 0; mine.n_slow_at && gate < N_GATES; gate++)
		while (mine.n_slow_at[gate])
			count_out(gate);
	free(mine.n_slow_at);
	mine.n_slow_at = NULL;
	mine.errands = NULL;
	mine.closers = NULL;
}

/* For when no helper can be had: this thread itself waits. */
static void move_here(struct slow *slow)
{
	int n;

	do
		n = move(slow);
	while (n == -EINTR);
	slow->errand.waiter.result = n;
}

/* True if the transfer was done or a close has called it off; its result is in
 * the errand's waiter then. False if it was interrupted. */
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
	if (!count_in(f->gate) || weft__run_on_number(s, &slow->errand, t->fd))
		move_here(slow);
	count_out(f->gate);
	if (slow->is_signalled)
		raise(SIGXFSZ);
	return !slow->errand.waiter.called_off;
}

static ssize_t wait_for_helper(struct scheduler *s, const struct file *f,
			       struct transfer *t)
{
	struct slow slow = { .transfer = t, .gate = f->gate };
	struct waiter *w = &slow.errand.waiter;
	int rc = weft__may_wait(s);

	if (rc)
		return rc;
	(void)move_slowly(s, f, &slow);
	return weft__outcome(w);
}

/* The first @n bytes have been read quickly. If the wait for the rest is
 * interrupted, the error is left to the next call. */
static ssize_t read_the_rest(struct scheduler *s, const struct file *f,
			     struct transfer *t, ssize_t n)
{
	struct slow slow = { .transfer = t,
			     .n_done = (size_t)n,
			     .gate = f->gate };

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

/* Not if it is just being refused, at the end of the thread. */
static bool is_waiting(const struct errand *e)
{
	const struct waiter *w = &e->waiter;

	return w->task && peek(w->task->state) == WEFT_BLOCKED &&
	       w->task->waiter == w;
}

static struct errand *find_errand(int fd)
{
	struct errand *e = mine.errands;

	while (e && (e->fd != fd || !is_waiting(e)))
		e = e->next;
	return e;
}

/* Only the end of the thread calls a close off. The tasklet of the errand may
 * never run again then, and so cannot tell the closer. */
static bool take_closer_out(struct scheduler *s, struct waiter *w)
{
	struct waiter **place = &mine.closers;

	(void)s;
	while (*place != w)
		place = &(*place)->next;
	*place = w->next;
	return true;
}

static void describe_closer(const struct waiter *w, char *text, size_t size)
{
	(void)w;
	snprintf(text, size, "waits for a helper to end, to close its file");
}

static const struct wait_kind closes = { .cancel = take_closer_out,
					 .describe = describe_closer };

static void wait_for_end(struct scheduler *s, const struct errand *e)
{
	struct closer c = {
		.waiter = { .task = peek(s->current),
			    .owner = s,
			    .kind = &closes,
			    .next = mine.closers },
		.errand = e,
	};

	mine.closers = &c.waiter;
	weft__block(s, &c.waiter, true);
}

void weft__end_transfers(struct scheduler *s, int fd)
{
	struct errand *e;

	forget(fd);
	while ((e = find_errand(fd))) {
		struct waiter *w = &e->waiter;

		if (weft__pool_withdraw(&e->job)) {
			w->result = -ECANCELED;
			weft__wake_served(s, w);
		} else if (weft__may_wait(s)) {
			return;
		} else {
			wait_for_end(s, e);
		}
	}
}

/* --- by kind --- */

/* The ring waits until a file is ready before it notices that the file has no reads,
 * or no writes, as an epoll descriptor has none. So the kernel is asked by a call
 * without bytes. */
static enum transfer_way go_by_ring(struct transfer *t)
{
	t->result = weft__move_nothing(t->fd, t->is_write);
	return t->result ? WAY_MADE : WAY_RING;
}

/* Some devices cannot promise not to wait. The ring would make a write to one
 * on the submitting thread as soon as there is room for the first byte, and
 * keep that thread waiting for the rest: so a worker makes the write. */
static enum transfer_way write_to_device(struct transfer *t,
					 const struct file *f)
{
	if (f->flags & O_NONBLOCK)
		return go_by_ring(t);
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
		return t->is_write ? write_to_device(t, f) : go_by_ring(t);
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
		return WAY_RING; /* the ring says so if it is no descriptor */
	}
	if (look_at(t->fd, &f))
		return WAY_RING;
	return go_by_kind(s, t, &f, was_tried);
}

/* --- fork --- */

/* Forgets all transfers at the gates. */
static void renew(struct scheduler *self)
{
	(void)self;
	for (size_t i = 0; i < N_GATES; i++)
		atomic_store(&gates[i], 0); /* there is only one thread */
	n_slow = 0;
}

static const struct part positions = {
	.rank = PART_POSITION,
	.renew = renew,
	.leave_main = leave_main,
	.give_up = give_up,
};

PART(positions);
