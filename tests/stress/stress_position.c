/* SPDX-License-Identifier: MIT */
/*
 * Files written and read at one position by many tasklets of 1 to 4 threads, through
 * dup'ed descriptors, with O_APPEND and O_DIRECT or neither, while they are raised on
 * and run out of time. The books: what calls say they wrote is in the file, each
 * piece whole and once, and nothing else is; what they say they read is the file,
 * each piece once.
 */
#include <fcntl.h>
#include <unistd.h>

#include "stress.h"

enum {
	MOST_THREADS = 4,
	MOST_TASKLETS = 10,
	MOST_PIECES = 30,
	PIECE = 4096,
	ALL_PIECES = MOST_THREADS * MOST_TASKLETS * MOST_PIECES
};

struct worker {
	weft_tasklet self;
	int number;
	int fd;
	bool is_over;
	struct random_state random;
};

struct crew {
	int number;
	int n_workers;
	int fds[2];
	uint64_t seed;
	struct worker workers[MOST_TASKLETS];
	int n_left;
};

/* What calls said of each piece. */
static _Atomic(unsigned char) n_written[ALL_PIECES], n_read[ALL_PIECES];
static bool is_reading;

static void note_result(ssize_t n)
{
	if (n != PIECE && n != -ETIMEDOUT && n != -EINTR)
		stress_fail("a call returned %zd", n);
}

static void write_some(struct worker *w, long *piece)
{
	int first = w->number * MOST_PIECES;

	for (int i = 0; i < MOST_PIECES; i++) {
		ssize_t n;

		memset(piece, 0, PIECE);
		piece[0] = piece[PIECE / sizeof(long) - 1] = first + i + 1;
		n = weft_write(w->fd, piece, PIECE);
		note_result(n);
		n_written[first + i] += n == PIECE;
	}
}

static void read_some(struct worker *w, long *piece)
{
	ssize_t n;

	while ((n = weft_read(w->fd, piece, PIECE)) != 0) {
		note_result(n);
		if (n < 0)
			continue;
		if (piece[0] != piece[PIECE / sizeof(long) - 1] ||
		    piece[0] < 1 || piece[0] > ALL_PIECES)
			stress_fail("half a piece was read");
		n_read[piece[0] - 1]++;
	}
}

static int work(void *arg)
{
	struct worker *w = arg;
	void *piece = aligned_alloc(PIECE, PIECE);
	struct weft_deadline d;
	bool is_scoped = random_one_in(&w->random, 4);

	if (is_scoped)
		weft_deadline_begin(&d, weft_now() +
						random_below(&w->random, 3000) *
							WEFT_MICROSECOND);
	/* a reader that is out of time would try for ever */
	if (!is_reading)
		write_some(w, piece);
	if (is_scoped)
		weft_deadline_end(&d);
	if (is_reading)
		read_some(w, piece);
	free(piece);
	w->is_over = true;
	return 0;
}

/* Raises on one of its thread's at random now and then. */
static int disturb(void *arg)
{
	struct crew *c = arg;
	struct random_state r = random_stream(c->seed, 1000);
	int n_over = 0;

	while (n_over < c->n_workers) {
		struct worker *w =
			&c->workers[random_below(&r, (unsigned)c->n_workers)];

		weft_sleep(random_below(&r, 100) * WEFT_MICROSECOND);
		(void)weft_tasklet_raise(w->self, EINTR, WEFT_PENDING);
		n_over = 0;
		for (int i = 0; i < c->n_workers; i++)
			n_over += c->workers[i].is_over;
	}
	return 0;
}

static void *run_crew(void *arg)
{
	struct crew *c = arg;

	for (int i = 0; i < c->n_workers; i++) {
		struct worker *w = &c->workers[i];

		w->number = c->number * MOST_TASKLETS + i;
		w->random = random_stream(c->seed, (uint64_t)i);
		w->fd = c->fds[random_below(&w->random, 2)];
		w->is_over = false;
		w->self = weft_spawn(work, w);
	}
	weft_spawn(disturb, c);
	if (weft_run())
		stress_fail("the run of a thread failed");
	return NULL;
}

static void run_crews(const int fds[2], int n_crews, struct random_state *r)
{
	static struct crew crews[MOST_THREADS];
	pthread_t threads[MOST_THREADS];

	for (int i = 0; i < n_crews; i++) {
		crews[i].number = i;
		crews[i].n_workers = (int)random_between(r, 1, MOST_TASKLETS);
		crews[i].fds[0] = fds[0];
		crews[i].fds[1] = fds[1];
		crews[i].seed = random_next(r);
		pthread_create(&threads[i], NULL, run_crew, &crews[i]);
	}
	for (int i = 0; i < n_crews; i++)
		pthread_join(threads[i], NULL);
}

static int open_again(int fd, int flags)
{
	char path[64];

	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	return open(path, O_RDWR | O_CLOEXEC | flags);
}

/* By its own reads, of the whole file. */
static void check_file(int fd)
{
	long piece[PIECE / sizeof(long)];
	long n = 0;

	while (pread(fd, piece, PIECE, n * PIECE) == PIECE) {
		n++;
		if (piece[0] < 1 || piece[0] > ALL_PIECES ||
		    piece[PIECE / sizeof(long) - 1] != piece[0])
			stress_fail("no piece at place %ld of the file", n);
		if (n_written[piece[0] - 1]-- != 1)
			stress_fail(
				"piece %ld is there without a call or twice",
				piece[0]);
	}
	if (lseek(fd, 0, SEEK_END) != n * PIECE)
		stress_fail("the file has half a piece at its end");
	for (int i = 0; i < ALL_PIECES; i++)
		if (n_written[i])
			stress_fail("piece %d was lost", i + 1);
}

static void check_reads(int fd)
{
	long piece[PIECE / sizeof(long)];
	long total = 0;

	for (long n = 0; pread(fd, piece, PIECE, n * PIECE) == PIECE; n++)
		if (n_read[piece[0] - 1]-- != 1)
			stress_fail("piece %ld was read twice or not at all",
				    piece[0]);
	for (int i = 0; i < ALL_PIECES; i++)
		total += n_read[i];
	if (total)
		stress_fail("%ld pieces were read that are not there", total);
}

static void run_round(struct random_state *r)
{
	static const int flags[] = { 0, O_APPEND, O_DIRECT };
	char name[] = "/tmp/weft-stress-XXXXXX";
	int n_crews = (int)random_between(r, 1, MOST_THREADS);
	int file = mkostemp(name, O_CLOEXEC), fds[2];

	if (file < 0)
		stress_fail("no file");
	fds[0] = open_again(file, flags[random_below(r, 3)]);
	if (fds[0] < 0) /* no O_DIRECT there */
		fds[0] = open_again(file, 0);
	fds[1] = dup(fds[0]);
	unlink(name);
	is_reading = false;
	run_crews(fds, n_crews, r);
	check_file(file);
	fsync(file);
	if (random_one_in(r, 2))
		posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
	lseek(fds[0], 0, SEEK_SET);
	is_reading = true;
	run_crews(fds, n_crews, r);
	check_reads(file);
	close(fds[0]);
	close(fds[1]);
	close(file);
}

START_TEST(books_of_files_balance)
{
	struct random_state r = random_stream(stress_seed, (uint64_t)_i);
	int64_t end = stress_end_of_budget();

	do
		run_round(&r);
	while (weft_now() < end);
}
END_TEST

static const struct stress_case cases[] = {
	{ "files", &books_of_files_balance, 1 },
};

STRESS_MAIN("stress_position", cases)
