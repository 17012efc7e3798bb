/* SPDX-License-Identifier: MIT */
/*
 * I/O by many tasklets on 2 to 8 threads: streams over socket pairs and pipes
 * between tasklets of the same and of different threads, in pieces of random
 * size, some cut short by a close at either end or under the reader's feet.
 * What arrives is a beginning of what was sent, all of it where nobody cut it
 * short, and no descriptor is left over.
 */
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "stress.h"
#include "support.h"

enum {
	MOST_THREADS = 8,
	MOST_STREAMS = 60,
	LONGEST = 40000, /* bytes of a stream */
	LARGEST_PIECE = 5000
};

enum cut {
	UNCUT,
	WRITER_STOPS,  /* closes early */
	READER_STOPS,  /* closes early; the writer gets an error */
	READER_ROBBED, /* another tasklet closes while the reader reads */
	CUTS
};

struct stream {
	int number;
	int ends[2]; /* read from the first, write to the second */
	bool is_pipe;
	enum cut cut;
	size_t length;
	size_t stop_at;
	int reader_thread, writer_thread;
	size_t n_sent, n_received;
	int reader_rc, writer_rc;
	bool is_closed; /* the reader's thread only: its end has been */
};

struct round {
	int n_threads;
	int n_streams;
	uint64_t seed;
	struct stream streams[MOST_STREAMS];
};

static struct round now;

static unsigned char byte_at(const struct stream *s, size_t offset)
{
	return (unsigned char)((offset * 2654435761u >> 16) ^
			       (size_t)s->number * 37);
}

static size_t draw_piece(struct random_state *r, size_t most)
{
	size_t size = random_one_in(r, 2) ? random_between(r, 1, 16)
					  : random_between(r, 1, LARGEST_PIECE);

	return size < most ? size : most;
}

static void digress(struct random_state *r)
{
	if (random_one_in(r, 8))
		weft_sleep(random_below(r, 200) * WEFT_MICROSECOND);
	else if (random_one_in(r, 4))
		weft_schedule();
}

/* Then a write, which is not a send, could raise SIGPIPE. */
static bool reader_may_go(const struct stream *s)
{
	return s->cut == READER_STOPS || s->cut == READER_ROBBED;
}

static int write_stream(void *arg)
{
	struct stream *s = arg;
	struct random_state r =
		random_stream(now.seed, (unsigned)s->number * 3);
	size_t end = s->cut == WRITER_STOPS ? s->stop_at : s->length;
	unsigned char piece[LARGEST_PIECE];
	ssize_t n = 0;

	while (s->n_sent < end && n >= 0) {
		size_t size = draw_piece(&r, end - s->n_sent);

		for (size_t i = 0; i < size; i++)
			piece[i] = byte_at(s, s->n_sent + i);
		if (s->is_pipe || (!reader_may_go(s) && random_one_in(&r, 2)))
			n = weft_write(s->ends[1], piece, size);
		else
			n = weft_send(s->ends[1], piece, size, 0);
		if (n > 0)
			s->n_sent += (size_t)n;
		digress(&r);
	}
	s->writer_rc = n < 0 ? (int)n : 0;
	if (weft_close(s->ends[1]))
		stress_fail("the writer's close failed");
	return 0;
}

static void compare(const struct stream *s, const unsigned char *piece,
		    size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (piece[i] != byte_at(s, s->n_received + i)) {
			stress_fail("stream %d is wrong at byte %zu", s->number,
				    s->n_received + i);
			return;
		}
	}
}

static int read_stream(void *arg)
{
	struct stream *s = arg;
	struct random_state r =
		random_stream(now.seed, (unsigned)s->number * 3 + 1);
	unsigned char piece[LARGEST_PIECE];
	ssize_t n = 1;

	while (n > 0 && !s->is_closed) {
		size_t size = draw_piece(&r, LARGEST_PIECE);

		if (s->cut == READER_STOPS && s->n_received >= s->stop_at)
			break;
		/* From here to the call nobody else of this thread runs, so the
		 * descriptor is still the stream's. */
		if (s->is_pipe || random_one_in(&r, 2))
			n = weft_read(s->ends[0], piece, size);
		else
			n = weft_recv(s->ends[0], piece, size, 0);
		if (n > 0) {
			compare(s, piece, (size_t)n);
			s->n_received += (size_t)n;
		}
		digress(&r);
	}
	s->reader_rc = n < 0 ? (int)n : 0;
	if (s->is_closed)
		return 0;
	s->is_closed = true;
	if (weft_close(s->ends[0]))
		stress_fail("the reader's close failed");
	return 0;
}

/* Closes the reader's end, on the reader's thread, at some time. */
static int rob_reader(void *arg)
{
	struct stream *s = arg;
	struct random_state r =
		random_stream(now.seed, (unsigned)s->number * 3 + 2);

	weft_sleep(random_below(&r, 2000) * WEFT_MICROSECOND);
	if (s->is_closed)
		return 0;
	s->is_closed = true;
	if (weft_close(s->ends[0]))
		stress_fail("the robber's close failed");
	return 0;
}

static void *run_thread(void *arg)
{
	int me = (int)(intptr_t)arg;

	for (int i = 0; i < now.n_streams; i++) {
		struct stream *s = &now.streams[i];

		if (s->writer_thread == me)
			weft_spawn(write_stream, s);
		if (s->reader_thread == me)
			weft_spawn(read_stream, s);
		if (s->reader_thread == me && s->cut == READER_ROBBED)
			weft_spawn(rob_reader, s);
	}
	if (weft_run())
		stress_fail("a run failed");
	return NULL;
}

static void draw_stream(struct random_state *r, struct stream *s)
{
	s->is_pipe = random_one_in(r, 3);
	s->cut = random_one_in(r, 2) ? UNCUT : (enum cut)random_below(r, CUTS);
	if (s->is_pipe && reader_may_go(s))
		s->cut = UNCUT;
	s->length = random_between(r, 0, LONGEST);
	s->stop_at = random_below(r, (unsigned)s->length + 1);
	s->reader_thread = (int)random_below(r, (unsigned)now.n_threads);
	s->writer_thread = (int)random_below(r, (unsigned)now.n_threads);
	if (s->is_pipe)
		ck_assert_int_eq(pipe2(s->ends, O_CLOEXEC), 0);
	else
		ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC,
					    0, s->ends),
				 0);
}

static void draw_round(struct random_state *r)
{
	memset(&now, 0, sizeof now);
	now.seed = random_next(r);
	now.n_threads = (int)random_between(r, 2, MOST_THREADS);
	now.n_streams = (int)random_between(r, 1, MOST_STREAMS);
	for (int i = 0; i < now.n_streams; i++) {
		now.streams[i].number = i;
		draw_stream(r, &now.streams[i]);
	}
}

static void run_round(void)
{
	pthread_t threads[MOST_THREADS];

	for (int i = 0; i < now.n_threads; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, run_thread,
						(void *)(intptr_t)i),
				 0);
	for (int i = 0; i < now.n_threads; i++)
		pthread_join(threads[i], NULL);
}

static bool is_as_expected(const struct stream *s)
{
	size_t end = s->cut == WRITER_STOPS ? s->stop_at : s->length;

	if (s->n_received > s->n_sent)
		return false;
	if (!reader_may_go(s))
		return !s->reader_rc && !s->writer_rc && s->n_received == end;
	if (s->reader_rc &&
	    (s->reader_rc != -ECANCELED || s->cut != READER_ROBBED))
		return false;
	return !s->writer_rc || s->writer_rc == -EPIPE ||
	       s->writer_rc == -ECONNRESET;
}

static void check_stream(const struct stream *s)
{
	ck_assert_msg(is_as_expected(s),
		      "stream %d of %zu bytes, cut %d at %zu: sent %zu and got "
		      "%d, received %zu and got %d (seed %" PRIu64 ")",
		      s->number, s->length, (int)s->cut, s->stop_at, s->n_sent,
		      s->writer_rc, s->n_received, s->reader_rc, stress_seed);
}

START_TEST(streams_arrive_and_descriptors_go)
{
	struct random_state r = random_stream(stress_seed, 0);
	int64_t end = stress_end_of_budget();
	int n_before = n_descriptors();

	if (lacks_descriptors(4 * MOST_STREAMS + 50))
		return;
	do {
		draw_round(&r);
		run_round();
		for (int i = 0; i < now.n_streams; i++)
			check_stream(&now.streams[i]);
		/* The threads' rings and eventfds included. */
		ck_assert_int_eq(n_descriptors(), n_before);
	} while (weft_now() < end);
}
END_TEST

static const struct stress_case cases[] = {
	{ "streams", &streams_arrive_and_descriptors_go, 1 },
};

STRESS_MAIN("stress_io", cases)
