/* SPDX-License-Identifier: MIT */
/*
 * Each call that moves bytes, messages or descriptors, killed, raised on and out of
 * time at random moments, on 1 to 4 threads. What the calls of one end say they have
 * sent is what those of the other end receive: each byte once and in order, each
 * message whole, each descriptor. A tasklet that was killed is replaced, and its
 * successor goes on where it stopped.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "ends.h"
#include "stress.h"
#include "support.h"

enum {
	MOST_THREADS = 4,
	MOST_FLOWS = 12,
	LONGEST = 200000, /* bytes of a stream */
	MOST_MESSAGES = 300,
	MOST_CONNECTIONS = 60,
	LARGEST_PIECE = 9000,
	STAGE = 4096 /* bytes in the pipe beside a splice */
};

enum kind {
	BYTES,       /* through a pipe, TCP or a Unix socket */
	MESSAGES,    /* through a Unix socket */
	DESCRIPTORS, /* likewise */
	CONNECTIONS,
	N_KINDS
};

struct flow;

/* What one tasklet after the other does. Its thread's. */
struct role {
	struct flow *flow;
	struct random_state random;
	int thread;
	int fd;
	int stage[2];
	size_t n_staged;
	size_t done; /* bytes, messages, ... of which calls have told */
	bool is_over;
	bool is_running;
	weft_tasklet self;
};

struct flow {
	unsigned number;
	enum kind kind;
	enum ends_kind ends_kind;
	size_t length;
	unsigned short port;
	struct role sender, receiver;
};

struct round {
	int n_threads, n_flows;
	struct flow flows[MOST_FLOWS];
};

static struct round now;
static int file; /* holds what each flow sends, from its number on */
static _Atomic(unsigned) n_interrupted;

static unsigned char byte_at(size_t offset)
{
	return (unsigned char)(offset * 2654435761u >> 15);
}

static void fill(char *piece, size_t size, size_t offset)
{
	for (size_t i = 0; i < size; i++)
		piece[i] = (char)byte_at(offset + i);
}

static void check(const struct role *r, const char *piece, size_t size)
{
	for (size_t i = 0; i < size; i++)
		if ((unsigned char)piece[i] !=
		    byte_at(r->flow->number + r->done + i))
			stress_fail("flow %u is wrong at byte %zu",
				    r->flow->number, r->done + i);
}

/* --- bytes --- */

static ssize_t send_message(const struct role *r, char *piece, size_t size,
			    bool is_zc)
{
	struct iovec iov[2] = { { piece, size / 3 },
				{ piece + size / 3, size - size / 3 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	return is_zc ? weft_sendmsg_zc(r->fd, &msg, 0)
		     : weft_sendmsg(r->fd, &msg, 0);
}

static ssize_t write_vectors(const struct role *r, char *piece, size_t size)
{
	struct iovec iov[2] = { { piece, size / 3 },
				{ piece + size / 3, size - size / 3 } };

	return weft_writev(r->fd, iov, 2);
}

static void take_from_stage(struct role *r, char *piece, size_t size)
{
	if (read(r->stage[0], piece, size) != (ssize_t)size)
		stress_fail("the stage of flow %u has lost bytes",
			    r->flow->number);
}

/* Through a pipe beside it. What an interrupted call leaves there goes first. */
static ssize_t send_staged(struct role *r, char *piece, size_t size)
{
	bool by_tee =
		r->flow->ends_kind == ENDS_PIPE && random_one_in(&r->random, 3);
	ssize_t n;

	if (!r->n_staged) {
		r->n_staged = size < STAGE ? size : STAGE;
		if (write(r->stage[1], piece, r->n_staged) !=
		    (ssize_t)r->n_staged)
			stress_fail("a stage could not be filled");
	}
	n = by_tee ? weft_tee(r->stage[0], r->fd, r->n_staged, 0)
		   : weft_splice(r->stage[0], NULL, r->fd, NULL, r->n_staged,
				 0);
	if (n > 0 && by_tee)
		take_from_stage(r, piece, (size_t)n);
	if (n > 0)
		r->n_staged -= (size_t)n;
	return n;
}

static ssize_t send_from_file(struct role *r, size_t size)
{
	off_t offset = (off_t)(r->flow->number + r->done);
	off_t before = offset;
	ssize_t n = weft_sendfile(r->fd, file, &offset, size);

	if (offset - before != (n > 0 ? n : 0))
		stress_fail("weft_sendfile() returned %zd and moved by %ld", n,
			    (long)(offset - before));
	return n;
}

static ssize_t send_bytes(struct role *r)
{
	static __thread char pieces[MOST_FLOWS][LARGEST_PIECE];
	char *piece = pieces[r->flow->number];
	size_t size = r->flow->length - r->done;
	size_t most = random_between(&r->random, 1, LARGEST_PIECE);
	unsigned first = r->flow->ends_kind == ENDS_PIPE ? 6 : 0;

	if (size > most)
		size = most;
	fill(piece, size, r->flow->number + r->done);
	if (r->n_staged)
		return send_staged(r, piece, size);
	switch (random_between(&r->random, first, 10)) {
	case 0:
		return weft_send(r->fd, piece, size, 0);
	case 1:
		return weft_sendto(r->fd, piece, size, 0, NULL, 0);
	case 2:
		return send_message(r, piece, size, false);
	case 3:
		return weft_send_zc(r->fd, piece, size, 0);
	case 4:
		return send_message(r, piece, size, true);
	case 5:
		return weft_send_full(r->fd, piece, size, 0);
	case 6:
		return write_vectors(r, piece, size);
	case 7:
		return weft_write_full(r->fd, piece, size);
	case 8:
		return send_from_file(r, size);
	default:
		return send_staged(r, piece, size);
	}
}

static ssize_t receive_message(const struct role *r, char *piece, size_t size)
{
	struct iovec iov[2] = { { piece, size / 3 },
				{ piece + size / 3, size - size / 3 } };
	struct msghdr msg = { .msg_iov = iov, .msg_iovlen = 2 };

	return weft_recvmsg(r->fd, &msg, 0);
}

static ssize_t read_vectors(const struct role *r, char *piece, size_t size)
{
	struct iovec iov[2] = { { piece, size / 3 },
				{ piece + size / 3, size - size / 3 } };

	return weft_readv(r->fd, iov, 2);
}

static ssize_t receive_staged(struct role *r, char *piece, size_t size)
{
	ssize_t n = weft_splice(r->fd, NULL, r->stage[1], NULL,
				size < STAGE ? size : STAGE, 0);

	if (n > 0)
		take_from_stage(r, piece, (size_t)n);
	return n;
}

static ssize_t receive_bytes(struct role *r)
{
	static __thread char pieces[MOST_FLOWS][LARGEST_PIECE];
	char *piece = pieces[r->flow->number];
	size_t size = random_between(&r->random, 1, LARGEST_PIECE);
	unsigned first = r->flow->ends_kind == ENDS_PIPE ? 4 : 0;
	ssize_t n;

	switch (random_between(&r->random, first, 7)) {
	case 0:
		n = weft_recv(r->fd, piece, size, 0);
		break;
	case 1:
		n = weft_recvfrom(r->fd, piece, size, 0, NULL, NULL);
		break;
	case 2:
		n = receive_message(r, piece, size);
		break;
	case 3:
		n = weft_recv_full(r->fd, piece, size, 0);
		break;
	case 4:
		n = read_vectors(r, piece, size);
		break;
	case 5:
		n = weft_read_full(r->fd, piece, size);
		break;
	default:
		n = receive_staged(r, piece, size);
		break;
	}
	if (n > 0)
		check(r, piece, (size_t)n);
	return n;
}

/* --- messages --- */

/* 1 if one has gone, 0 at the end, or a negative errno. */
static ssize_t send_number(struct role *r)
{
	unsigned numbers[20];
	size_t n = random_between(&r->random, 1, 20);
	ssize_t rc;

	for (size_t i = 0; i < n; i++)
		numbers[i] = (unsigned)r->done;
	switch (random_below(&r->random, 3)) {
	case 0:
		rc = weft_send(r->fd, numbers, n * sizeof numbers[0], 0);
		break;
	case 1:
		rc = send_message(r, (char *)numbers, n * sizeof numbers[0],
				  false);
		break;
	default:
		rc = weft_send_zc(r->fd, numbers, n * sizeof numbers[0], 0);
		break;
	}
	if (rc >= 0 && rc != (ssize_t)(n * sizeof numbers[0]))
		stress_fail("a message was cut");
	return rc < 0 ? rc : 1;
}

static ssize_t receive_number(struct role *r)
{
	unsigned numbers[20];
	ssize_t n;

	switch (random_below(&r->random, 3)) {
	case 0:
		n = weft_recv(r->fd, numbers, sizeof numbers, 0);
		break;
	case 1:
		n = receive_message(r, (char *)numbers, sizeof numbers);
		break;
	default:
		n = weft_recvfrom(r->fd, numbers, sizeof numbers, 0, NULL,
				  NULL);
		break;
	}
	if (n <= 0)
		return n;
	for (size_t i = 0; i < (size_t)n / sizeof numbers[0]; i++)
		if (numbers[i] != r->done)
			stress_fail("message %u came as number %zu", numbers[i],
				    r->done);
	return 1;
}

/* --- descriptors --- */

union control {
	struct cmsghdr header;
	char room[CMSG_SPACE(sizeof(int))];
};

static ssize_t send_descriptor(struct role *r)
{
	union control control = { .header = { .cmsg_len = CMSG_LEN(sizeof(int)),
					      .cmsg_level = SOL_SOCKET,
					      .cmsg_type = SCM_RIGHTS } };
	struct iovec iov = { (char[]){ 'd' }, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };

	memcpy(CMSG_DATA(&control.header), &file, sizeof file);
	return weft_sendmsg(r->fd, &msg, 0);
}

static ssize_t receive_descriptor(struct role *r)
{
	union control control;
	char byte;
	struct iovec iov = { &byte, 1 };
	struct msghdr msg = { .msg_iov = &iov,
			      .msg_iovlen = 1,
			      .msg_control = &control,
			      .msg_controllen = sizeof control };
	ssize_t n = weft_recvmsg(r->fd, &msg, 0);
	int fd;

	if (n <= 0)
		return n;
	if (!CMSG_FIRSTHDR(&msg) || msg.msg_flags)
		stress_fail("a message came without its descriptor");
	memcpy(&fd, CMSG_DATA(&control.header), sizeof fd);
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || close(fd))
		stress_fail("a descriptor that came is no good");
	return 1;
}

/* --- connections --- */

/* Not interrupted, nor out of time: nobody can say then whether there is a
 * connection. */
static ssize_t connect_once(struct role *r)
{
	struct sockaddr_in addr = { .sin_family = AF_INET,
				    .sin_port = htons(r->flow->port),
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd;

	weft_shield_begin();
	fd = weft_socket(AF_INET, SOCK_STREAM, 0);
	if (fd < 0 || weft_connect(fd, (struct sockaddr *)&addr, sizeof addr) ||
	    weft_close(fd))
		stress_fail("a connection was not made");
	weft_shield_end();
	return 1;
}

static ssize_t accept_once(struct role *r)
{
	int fd;

	if (r->done == r->flow->length)
		return 0;
	fd = weft_accept4(r->fd, NULL, NULL, SOCK_NONBLOCK);
	if (fd < 0)
		return fd;
	if (fcntl(fd, F_GETFD) != FD_CLOEXEC || weft_close(fd))
		stress_fail("an accepted descriptor is no good");
	return 1;
}

/* --- roles --- */

static ssize_t step(struct role *r)
{
	static ssize_t (*const sends[N_KINDS])(struct role *) = {
		send_bytes, send_number, send_descriptor, connect_once
	};
	static ssize_t (*const receives[N_KINDS])(struct role *) = {
		receive_bytes, receive_number, receive_descriptor, accept_once
	};
	bool is_sender = r == &r->flow->sender;

	if (is_sender && r->done == r->flow->length)
		return 0;
	return is_sender ? sends[r->flow->kind](r) : receives[r->flow->kind](r);
}

static void end_role(struct role *r)
{
	r->is_over = true;
	if (r->fd >= 0 && weft_close(r->fd))
		stress_fail("a close failed");
	close(r->stage[0]);
	close(r->stage[1]);
}

/* A raise is EXDEV, which comes from nowhere else. */
static int play_role(void *arg)
{
	struct role *r = arg;
	struct weft_deadline d;
	bool is_scoped = r->fd >= 0 && random_one_in(&r->random, 3);
	ssize_t n;

	if (is_scoped)
		weft_deadline_begin(&d, weft_now() +
						random_below(&r->random, 1000) *
							WEFT_MICROSECOND);
	while ((n = step(r)) > 0) {
		r->done += (size_t)n;
		if (random_one_in(&r->random, 30))
			(void)weft_schedule();
	}
	if (is_scoped)
		weft_deadline_end(&d);
	r->is_running = false;
	if (n == 0)
		end_role(r);
	else if (n == -EXDEV || n == -ECANCELED ||
		 (n == -ETIMEDOUT && is_scoped))
		n_interrupted++;
	else
		stress_fail("a call of flow %u, kind %d, ends %d, returned %zd",
			    r->flow->number, (int)r->flow->kind,
			    (int)r->flow->ends_kind, n);
	return 0;
}

static void disturb_role(struct random_state *random, struct role *r)
{
	if (!r->is_running) {
		r->is_running = true;
		r->self = weft_spawn(play_role, r);
	} else if (random_one_in(random, 4)) {
		(void)weft_tasklet_kill(r->self, WEFT_PENDING);
	} else {
		(void)weft_tasklet_raise(r->self, EXDEV, WEFT_PENDING);
	}
}

/* Sees to the roles of one thread until all are over. */
static void *run_thread(void *arg)
{
	int me = (int)(intptr_t)arg;
	struct random_state random =
		random_stream(stress_seed, (uint64_t)me + 1000);
	int n_left;

	do {
		n_left = 0;
		for (int i = 0; i < 2 * now.n_flows; i++) {
			struct flow *f = &now.flows[i / 2];
			struct role *r = i % 2 ? &f->sender : &f->receiver;

			if (r->thread != me || r->is_over)
				continue;
			n_left++;
			if (!r->is_running || random_one_in(&random, 4))
				disturb_role(&random, r);
		}
		weft_sleep(random_below(&random, 300) * WEFT_MICROSECOND);
	} while (n_left);
	if (weft_run())
		stress_fail("a run failed");
	return NULL;
}

/* --- rounds --- */

static void draw_role(struct random_state *random, struct role *r,
		      struct flow *f, int fd)
{
	*r = (struct role){
		.flow = f,
		.random = random_stream(random_next(random), 0),
		.thread = (int)random_below(random, (unsigned)now.n_threads),
		.fd = fd,
	};
	ck_assert_int_eq(pipe2(r->stage, O_CLOEXEC), 0);
}

static void draw_ends(struct random_state *random, struct flow *f, int ends[2])
{
	static const enum ends_kind of_bytes[] = { ENDS_PIPE, ENDS_TCP,
						   ENDS_UNIX };

	f->length = random_below(random, LONGEST + 1);
	f->ends_kind = of_bytes[random_below(random, 3)];
	if (f->kind == MESSAGES || f->kind == DESCRIPTORS) {
		f->length = random_below(random, MOST_MESSAGES + 1);
		f->ends_kind = ENDS_SEQPACKET;
	}
	if (f->kind == CONNECTIONS) {
		f->length = random_below(random, MOST_CONNECTIONS + 1);
		ends[0] = listen_on_loopback(MOST_CONNECTIONS, &f->port);
		ends[1] = -1;
		ck_assert_int_ge(ends[0], 0);
		return;
	}
	ck_assert(make_ends(f->ends_kind, random_one_in(random, 2), ends));
}

static void draw_round(struct random_state *random)
{
	memset(&now, 0, sizeof now);
	now.n_threads = (int)random_between(random, 1, MOST_THREADS);
	now.n_flows = (int)random_between(random, 1, MOST_FLOWS);
	for (int i = 0; i < now.n_flows; i++) {
		struct flow *f = &now.flows[i];
		int ends[2];

		f->number = (unsigned)i;
		f->kind = random_one_in(random, 2)
				  ? BYTES
				  : (enum kind)random_below(random, N_KINDS);
		draw_ends(random, f, ends);
		draw_role(random, &f->receiver, f, ends[0]);
		draw_role(random, &f->sender, f, ends[1]);
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
	for (int i = 0; i < now.n_flows; i++) {
		const struct flow *f = &now.flows[i];

		ck_assert_msg(f->sender.done == f->length &&
				      f->receiver.done == f->length,
			      "flow %d, kind %d, ends %d: %zu were to go, %zu "
			      "have gone, %zu have come (seed %" PRIu64 ")",
			      i, (int)f->kind, (int)f->ends_kind, f->length,
			      f->sender.done, f->receiver.done, stress_seed);
	}
}

static void make_the_file(void)
{
	static char bytes[LONGEST + MOST_FLOWS];
	char name[] = "/tmp/weft-test-XXXXXX";

	file = mkostemp(name, O_CLOEXEC);
	ck_assert_int_ge(file, 0);
	unlink(name);
	fill(bytes, sizeof bytes, 0);
	ck_assert_int_eq(write(file, bytes, sizeof bytes), sizeof bytes);
}

START_TEST(nothing_is_lost)
{
	struct random_state random = random_stream(stress_seed, 0);
	int64_t end = stress_end_of_budget();
	int n_before;

	if (lacks_io_uring() || lacks_descriptors(500))
		return;
	signal(SIGPIPE, SIG_IGN);
	make_the_file();
	n_before = n_descriptors();
	do {
		draw_round(&random);
		run_round();
		/* The threads' own included. */
		ck_assert_int_eq(n_descriptors(), n_before);
	} while (weft_now() < end);
	printf("# %u interruptions\n", n_interrupted);
}
END_TEST

static const struct stress_case cases[] = {
	{ "verbs", &nothing_is_lost, 1 },
};

STRESS_MAIN("stress_verbs", cases)
