/* SPDX-License-Identifier: MIT */
/*
 * I/O on rings that misbehave at random (faults.h): streams over socket pairs and
 * pipes between tasklets of several threads, connections, files, readers that are
 * killed or run out of time. What arrives is what was sent, byte for byte; who is
 * interrupted has lost nothing; and no descriptor is left over.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "faults.h"
#include "stress.h"
#include "support.h"

enum {
	MOST_THREADS = 4,
	MOST_STREAMS = 24,
	MOST_PEERS = 16,
	LONGEST = 8000, /* bytes of a stream */
	LARGEST_PIECE = 1500
};

struct stream {
	int number;
	int ends[2]; /* read from the first, write to the second */
	bool is_pipe;
	bool is_impatient; /* its reader is under deadlines */
	size_t length;
	size_t n_sent, n_received;
	int writer_thread, reader_thread;
};

static struct round {
	int n_threads, n_streams, n_peers;
	uint64_t seed;
	struct stream streams[MOST_STREAMS];
	int listener;
	struct sockaddr_in address;
	_Atomic(int) n_accepted, n_connected;
	_Atomic(int) n_taken; /* by readers that were to be killed */
	int to_kill[2];
} now;

static unsigned char byte_at(const struct stream *s, size_t offset)
{
	return (unsigned char)((offset * 2654435761u >> 16) ^
			       (size_t)s->number * 37);
}

static void close_or_fail(int fd)
{
	int rc = weft_close(fd);

	/* of a file, when the close was interrupted */
	if (rc && rc != -EIO)
		stress_fail("a close failed: %s", strerror(-rc));
}

/* --- streams --- */

static int write_stream(void *arg)
{
	struct stream *s = arg;
	struct random_state r =
		random_stream(now.seed, (unsigned)s->number * 2);
	unsigned char piece[LARGEST_PIECE];

	while (s->n_sent < s->length) {
		size_t size = random_between(&r, 1, LARGEST_PIECE);
		ssize_t n;

		if (size > s->length - s->n_sent)
			size = s->length - s->n_sent;
		for (size_t i = 0; i < size; i++)
			piece[i] = byte_at(s, s->n_sent + i);
		n = s->is_pipe ? weft_write(s->ends[1], piece, size)
			       : weft_send(s->ends[1], piece, size, 0);
		if (n <= 0)
			stress_fail("stream %d: writing gave %zd", s->number,
				    n);
		s->n_sent += (size_t)n;
	}
	close_or_fail(s->ends[1]);
	return 0;
}

static ssize_t read_piece(struct stream *s, struct random_state *r, void *piece)
{
	size_t size = random_between(r, 1, LARGEST_PIECE);
	struct weft_deadline d;
	ssize_t n;

	if (s->is_impatient)
		weft_deadline_begin(&d, weft_now() + random_below(r, 300) *
							     WEFT_MICROSECOND);
	n = s->is_pipe ? weft_read(s->ends[0], piece, size)
		       : weft_recv(s->ends[0], piece, size, 0);
	if (s->is_impatient)
		weft_deadline_end(&d);
	return n;
}

static int read_stream(void *arg)
{
	struct stream *s = arg;
	struct random_state r =
		random_stream(now.seed, (unsigned)s->number * 2 + 1);
	unsigned char piece[LARGEST_PIECE];
	ssize_t n;

	while ((n = read_piece(s, &r, piece))) {
		if (n == -ETIMEDOUT && s->is_impatient) {
			weft_schedule();
			continue;
		}
		if (n < 0)
			stress_fail("stream %d: reading gave %zd", s->number,
				    n);
		for (ssize_t i = 0; i < n; i++)
			if (piece[i] != byte_at(s, s->n_received + (size_t)i))
				stress_fail("stream %d is wrong at byte %zu",
					    s->number,
					    s->n_received + (size_t)i);
		s->n_received += (size_t)n;
	}
	close_or_fail(s->ends[0]);
	return 0;
}

/* --- connections --- */

static int accept_peers(void *arg)
{
	(void)arg;
	for (int i = 0; i < now.n_peers; i++) {
		int fd = weft_accept(now.listener, NULL, NULL);
		char byte;

		if (fd < 0)
			stress_fail("accept: %s", strerror(-fd));
		if (weft_recv(fd, &byte, 1, 0) != 1 || byte != 'p')
			stress_fail("a peer said nothing");
		close_or_fail(fd);
		now.n_accepted++;
	}
	return 0;
}

static int be_a_peer(void *arg)
{
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = weft_connect(fd, (struct sockaddr *)&now.address,
			      sizeof now.address);

	(void)arg;
	if (rc)
		stress_fail("connect: %s", strerror(-rc));
	if (weft_send(fd, "p", 1, 0) != 1)
		stress_fail("a peer could not say anything");
	close_or_fail(fd);
	now.n_connected++;
	return 0;
}

/* --- files --- */

static int use_file(void *arg)
{
	const char *path = arg;
	char bytes[16];
	int fd = weft_openat(AT_FDCWD, path, O_CREAT | O_EXCL | O_RDWR, 0600);

	if (fd < 0)
		stress_fail("%s: %s", path, strerror(-fd));
	for (size_t n = 0; n < sizeof bytes;) {
		ssize_t rc = weft_pwrite(fd, &"0123456789abcdef"[n],
					 sizeof bytes - n, (off_t)n);

		if (rc <= 0)
			stress_fail("pwrite: %zd", rc);
		n += (size_t)rc;
	}
	if (weft_fsync(fd))
		stress_fail("fsync");
	for (size_t n = 0; n < sizeof bytes;) {
		ssize_t rc =
			weft_pread(fd, bytes + n, sizeof bytes - n, (off_t)n);

		if (rc <= 0)
			stress_fail("pread: %zd", rc);
		n += (size_t)rc;
	}
	if (memcmp(bytes, "0123456789abcdef", sizeof bytes))
		stress_fail("%s has other bytes", path);
	close_or_fail(fd);
	if (weft_unlinkat(AT_FDCWD, path, 0))
		stress_fail("unlink");
	return 0;
}

/* --- those that are killed --- */

static int read_one(void *arg)
{
	char byte;
	ssize_t n = weft_read(now.to_kill[0], &byte, 1);

	(void)arg;
	if (n == 1)
		now.n_taken++;
	else if (n != -ECANCELED)
		stress_fail("who is killed got %zd", n);
	return 0;
}

enum { VICTIMS = 40 };

static int kill_readers(void *arg)
{
	struct random_state r = random_stream(now.seed, 1000);
	weft_tasklet victims[VICTIMS];

	(void)arg;
	for (int i = 0; i < VICTIMS; i++)
		victims[i] = weft_spawn(read_one, NULL);
	for (int i = 0; i < VICTIMS; i++) {
		if (random_one_in(&r, 3))
			weft_schedule();
		if (random_one_in(&r, 2) && write(now.to_kill[1], "k", 1) != 1)
			stress_fail("no byte for the readers");
		(void)weft_tasklet_kill(victims[i], WEFT_PENDING);
	}
	for (int i = 0; i < VICTIMS; i++)
		weft_tasklet_join(victims[i]);
	return 0;
}

/* --- a round --- */

static char folder[] = "/tmp/weft-stress-XXXXXX";
static char paths[MOST_THREADS][sizeof folder + 16];

static void *run_thread(void *arg)
{
	int me = (int)(intptr_t)arg;

	for (int i = 0; i < now.n_streams; i++) {
		struct stream *s = &now.streams[i];

		if (s->writer_thread == me)
			weft_spawn(write_stream, s);
		if (s->reader_thread == me)
			weft_spawn(read_stream, s);
	}
	if (me == 0) {
		weft_spawn(accept_peers, NULL);
		weft_spawn(kill_readers, NULL);
	}
	for (int i = me; i < now.n_peers; i += now.n_threads)
		weft_spawn(be_a_peer, NULL);
	weft_spawn(use_file, paths[me]);
	if (weft_run())
		stress_fail("a run failed");
	return NULL;
}

static void draw_round(struct random_state *r)
{
	memset(&now, 0, sizeof now);
	now.seed = random_next(r);
	now.n_threads = (int)random_between(r, 1, MOST_THREADS);
	now.n_streams = (int)random_between(r, 1, MOST_STREAMS);
	now.n_peers = (int)random_between(r, 1, MOST_PEERS);
	for (int i = 0; i < now.n_streams; i++) {
		struct stream *s = &now.streams[i];
		unsigned n = (unsigned)now.n_threads;

		s->number = i;
		s->is_pipe = random_one_in(r, 2);
		s->is_impatient = random_one_in(r, 3);
		s->length = random_between(r, 0, LONGEST);
		s->writer_thread = (int)random_below(r, n);
		s->reader_thread = (int)random_below(r, n);
		ck_assert_int_eq(
			s->is_pipe ? pipe2(s->ends, O_CLOEXEC)
				   : socketpair(AF_UNIX,
						SOCK_STREAM | SOCK_CLOEXEC, 0,
						s->ends),
			0);
	}
}

static void listen_for_peers(void)
{
	struct sockaddr *address = (struct sockaddr *)&now.address;
	socklen_t size = sizeof now.address;

	now.address.sin_family = AF_INET;
	now.address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	now.listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(now.listener, address, size), 0);
	ck_assert_int_eq(getsockname(now.listener, address, &size), 0);
	ck_assert_int_eq(listen(now.listener, MOST_PEERS), 0);
	ck_assert_int_eq(pipe2(now.to_kill, O_CLOEXEC), 0);
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

static void check_round(int n_written)
{
	int n_left = -1;

	for (int i = 0; i < now.n_streams; i++) {
		const struct stream *s = &now.streams[i];

		ck_assert_msg(s->n_received == s->length,
			      "stream %d: %zu of %zu bytes (seed %" PRIu64 ")",
			      i, s->n_received, s->length, stress_seed);
	}
	ck_assert_int_eq(now.n_accepted, now.n_peers);
	ck_assert_int_eq(now.n_connected, now.n_peers);
	ck_assert_int_eq(ioctl(now.to_kill[0], FIONREAD, &n_left), 0);
	ck_assert_msg(n_left + now.n_taken == n_written,
		      "%d taken and %d left of %d bytes (seed %" PRIu64 ")",
		      now.n_taken, n_left, n_written, stress_seed);
	close(now.listener);
	close(now.to_kill[0]);
	close(now.to_kill[1]);
}

/* As many as kill_readers() writes. */
static int count_written(void)
{
	struct random_state r = random_stream(now.seed, 1000);
	int n = 0;

	for (int i = 0; i < VICTIMS; i++) {
		(void)random_one_in(&r, 3);
		n += random_one_in(&r, 2);
	}
	return n;
}

static const unsigned all_sites = 1U << AT_MESSAGE | 1U << AT_ENTER |
				  1U << AT_SUBMISSION | 1U << AT_LATENESS |
				  1U << AT_OVERFLOW | 1U << AT_ORDER |
				  1U << AT_OPERATION | 1U << AT_LENGTH |
				  1U << AT_MULTISHOT | 1U << AT_CANCEL;

static const char *const wakes[] = { "auto", "msg_ring", "eventfd",
				     "msg_ring_sqe" };

START_TEST(nothing_is_lost)
{
	struct random_state r = random_stream(stress_seed, (unsigned)_i);
	int64_t end = stress_end_of_budget();
	unsigned n_faults = 0;
	int n_before;

	if (lacks_io_uring() || lacks_descriptors(4 * MOST_STREAMS + 100))
		return;
	setenv("WEFT_WAKE", wakes[_i], 1);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	for (int i = 0; i < MOST_THREADS; i++)
		snprintf(paths[i], sizeof paths[i], "%s/%d", folder, i);
	n_before = n_descriptors();
	do {
		draw_round(&r);
		listen_for_peers();
		inject_at_random(random_next(&r),
				 random_one_in(&r, 2)
					 ? all_sites
					 : all_sites &
						   (unsigned)random_next(&r),
				 random_between(&r, 2, 30));
		run_round();
		for (int i = 0; i < N_FAULT_SITES; i++)
			n_faults += n_injected((enum fault_site)i);
		inject(NULL, 0);
		check_round(count_written());
		ck_assert_int_eq(n_descriptors(), n_before);
	} while (weft_now() < end);
	rmdir(folder);
	ck_assert_uint_gt(n_faults, 0);
}
END_TEST

static const struct stress_case cases[] = {
	{ "misbehaving rings", &nothing_is_lost, N_ELEMENTS(wakes) },
};

STRESS_MAIN("stress_faults", cases)
