/* SPDX-License-Identifier: MIT */
/*
 * Descriptors and bytes: streams whose ends belong to one thread each, so that
 * no number means another descriptor when it is used; each eight bytes have a
 * number, are read once if their write says that they were written and nobody
 * closed the reading end, and never if it says that they were not.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "all.h"

enum {
	MOST_DESCRIPTORS = 4096,
	PIECE = 512,
	BACKLOG = 4000,
	CALLBACK_WRITER = 0xffff
};

struct packed {
	uint32_t unit;
	uint16_t stream;
	uint16_t writer;
};

static _Atomic(uint8_t) tracked[MOST_DESCRIPTORS];
static uint8_t inherited[MOST_DESCRIPTORS];

int track(int fd)
{
	if (fd >= 0 && fd < MOST_DESCRIPTORS)
		atomic_store(&tracked[fd], 1);
	return fd;
}

void untrack(int fd)
{
	atomic_store(&tracked[fd], 0);
}

static void close_tracked(struct actor *a, int fd)
{
	int64_t due;

	if (is_child)
		return;
	untrack(fd);
	due = set_due(a, 0); /* it closes, whatever happens */
	PLAIN(a, fd, weft_close(fd), 0);
	set_due(a, due);
}

/* --- streams --- */

static struct stream *pick(struct actor *a, int end)
{
	unsigned n = atomic_load(&now.n_streams);

	if (n > STREAMS)
		n = STREAMS;
	for (unsigned tries = 0; n && tries < 8; tries++) {
		struct stream *s = &now.streams[random_below(&a->random, n)];

		if (s->owners[end] == self && atomic_load(&s->ends[end]) >= 0)
			return s;
	}
	return NULL;
}

static unsigned index_of(const struct stream *s)
{
	return (unsigned)(s - now.streams);
}

static uint16_t writer_of(const struct actor *a)
{
	if (!a->life && !a->is_main)
		return CALLBACK_WRITER;
	return (uint16_t)(a->life ? a->life->number
				  : MOST_LIVES + a->thread->index);
}

/* Numbers @n units from the result on; false: there are no more. */
static bool number_units(struct actor *a, const struct stream *s,
			 struct packed *piece, unsigned n, unsigned *first)
{
	*first = atomic_fetch_add_explicit(&now.n_units, n,
					   memory_order_relaxed);
	if (*first + n > MOST_UNITS)
		return false;
	for (unsigned i = 0; i < n; i++) {
		now.units[*first + i].stream = (uint16_t)index_of(s);
		piece[i] = (struct packed){
			.unit = *first + i,
			.stream = (uint16_t)index_of(s),
			.writer = writer_of(a),
		};
	}
	return true;
}

static void settle_units(unsigned first, unsigned n, int64_t rc)
{
	if (is_child)
		return;
	if (rc > 0 && rc % (int64_t)sizeof(struct packed))
		wrong("a write has taken %" PRId64 " bytes", rc);
	for (unsigned i = 0; i < n; i++)
		now.units[first + i].state =
			(int64_t)(i * sizeof(struct packed)) < rc
				? TOKEN_SENT
				: TOKEN_REFUSED;
}

static unsigned draw_length(struct random_state *r)
{
	return random_one_in(r, 6) ? random_between(r, 1, PIECE)
				   : random_between(r, 1, 16);
}

int act_write(struct actor *a)
{
	struct stream *s = pick(a, 1);
	unsigned n = draw_length(&a->random), first;
	size_t bytes = n * sizeof(struct packed);
	struct packed piece[PIECE];
	int64_t rc;
	int fd;

	if (!s || !number_units(a, s, piece, n, &first))
		return 0;
	fd = atomic_load(&s->ends[1]);
	if (s->is_pipe || random_one_in(&a->random, 2))
		rc = BLOCKING(a, fd, weft_write(fd, piece, bytes), -EPIPE,
			      -ECONNRESET, -ECANCELED);
	else
		rc = BLOCKING(a, fd, weft_send(fd, piece, bytes, 0), -EPIPE,
			      -ECONNRESET, -ECANCELED);
	settle_units(first, n, rc);
	return rc < 0 ? (int)rc : 0;
}

/* What was read is new, of this stream, and in its writers' order. */
static void take_units(const struct stream *s, const struct packed *piece,
		       int64_t bytes)
{
	size_t n = (size_t)bytes / sizeof *piece;

	if (is_child)
		return;
	if (bytes % (int64_t)sizeof *piece)
		wrong("a read has given %" PRId64 " bytes", bytes);
	for (size_t i = 0; i < n; i++) {
		if (piece[i].unit >= MOST_UNITS ||
		    piece[i].stream != index_of(s))
			wrong("stream %u has bytes that nobody wrote",
			      index_of(s));
		if (atomic_fetch_add(&now.units[piece[i].unit].n_read, 1))
			wrong("bytes %u of stream %u were read twice",
			      piece[i].unit, index_of(s));
		if (i && piece[i].writer == piece[i - 1].writer &&
		    piece[i].writer != CALLBACK_WRITER &&
		    piece[i].unit <= piece[i - 1].unit)
			wrong("bytes %u of stream %u come after %u",
			      piece[i].unit, index_of(s), piece[i - 1].unit);
	}
}

int act_read(struct actor *a)
{
	struct stream *s = pick(a, 0);
	unsigned n = draw_length(&a->random);
	size_t bytes = n * sizeof(struct packed);
	struct packed piece[PIECE];
	int64_t rc;
	int fd;

	if (!s)
		return 0;
	fd = atomic_load(&s->ends[0]);
	if (s->is_pipe || random_one_in(&a->random, 2))
		rc = BLOCKING(a, fd, weft_read(fd, piece, bytes), -ECANCELED,
			      -ECONNRESET);
	else
		rc = BLOCKING(a, fd, weft_recv(fd, piece, bytes, 0), -ECANCELED,
			      -ECONNRESET);
	if (rc > 0)
		take_units(s, piece, rc);
	return rc < 0 ? (int)rc : 0;
}

static struct thread *draw_owner(struct random_state *r)
{
	return random_one_in(r, 2) || !self
		       ? &now.threads[random_below(r, now.n_workers)]
		       : self;
}

static void open_stream(struct actor *a)
{
	unsigned n = atomic_fetch_add(&now.n_streams, 1);
	struct stream *s;
	int ends[2];

	if (n >= STREAMS) {
		atomic_fetch_sub(&now.n_streams, 1);
		return;
	}
	s = &now.streams[n];
	s->is_pipe = random_one_in(&a->random, 2);
	if (s->is_pipe
		    ? pipe2(ends, O_CLOEXEC)
		    : socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		wrong("no descriptors: %s", strerror(errno));
	for (int i = 0; i < 2; i++) {
		atomic_store(&s->ends[i], track(ends[i]));
		/* From here on it is known. */
		atomic_store(&s->owners[i], draw_owner(&a->random));
	}
}

/* Those before it are whole when another thread sees one. */
static _Atomic(bool) is_opening;

int act_stream(struct actor *a)
{
	int end = (int)random_below(&a->random, 2);
	struct stream *s = pick(a, end);
	int fd;

	if (a->thread->in_callback)
		return 0;
	if (s && random_one_in(&a->random, 2)) {
		if (end == 0)
			s->was_cut = true;
		fd = atomic_exchange(&s->ends[end], -1);
		close_tracked(a, fd);
	} else if (!atomic_exchange(&is_opening, true)) {
		open_stream(a);
		atomic_store(&is_opening, false);
	}
	return 0;
}

void open_streams(struct actor *a)
{
	for (unsigned i = random_between(&a->random, 1, 8); i > 0; i--)
		open_stream(a);
}

static void drain(struct stream *s)
{
	struct packed piece[PIECE];
	int fd = atomic_load(&s->ends[0]);
	ssize_t n;

	if (fd < 0)
		return;
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while ((n = read(fd, piece, sizeof piece)) > 0)
		take_units(s, piece, n);
}

void close_streams(void)
{
	for (unsigned i = 0; i < now.n_streams && i < STREAMS; i++)
		drain(&now.streams[i]);
	for (int fd = 0; fd < MOST_DESCRIPTORS; fd++) {
		if (tracked[fd])
			close(fd);
		tracked[fd] = 0;
	}
}

/* --- short ones --- */

/* What is written at one end is there at the other: nobody has to wait. */
int act_private_pair(struct actor *a)
{
	unsigned char out[64], in[64];
	size_t n = random_between(&a->random, 1, sizeof out);
	int pair[2];
	int64_t rc;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		wrong("socketpair: %s", strerror(errno));
	track(pair[0]);
	track(pair[1]);
	for (size_t i = 0; i < n; i++)
		out[i] = (unsigned char)(n + i);
	rc = BLOCKING(a, n, weft_send(pair[1], out, n, 0), 0);
	/* In a child of fork() what is sent is the parent's to receive. */
	if (rc > 0 && !is_child) {
		if (rc != (int64_t)n)
			wrong("%" PRId64 " bytes of %zu were sent", rc, n);
		rc = BLOCKING(a, n, weft_recv(pair[0], in, sizeof in, 0), 0);
		if (rc > 0 && !is_child &&
		    (rc != (int64_t)n || memcmp(in, out, n)))
			wrong("%" PRId64 " bytes of %zu came, or others", rc,
			      n);
	}
	close_tracked(a, pair[0]);
	close_tracked(a, pair[1]);
	return rc < 0 ? (int)rc : 0;
}

static socklen_t address_of(uint64_t number, struct sockaddr_un *address)
{
	*address = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(address->sun_path + 1, sizeof address->sun_path - 1,
		 "weft-all-%d-%" PRIu64, (int)getpid(), number);
	return sizeof *address;
}

void listen_here(struct thread *t)
{
	static _Atomic(uint64_t) n;
	struct sockaddr_un address;
	socklen_t size;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	t->address = atomic_fetch_add(&n, 1) + 1;
	size = address_of(t->address, &address);
	if (fd < 0 || bind(fd, (struct sockaddr *)&address, size) ||
	    listen(fd, BACKLOG))
		wrong("no listener: %s", strerror(errno));
	t->listener = track(fd);
}

int act_accept(struct actor *a)
{
	char data[8];
	int64_t fd;

	if (self->listener < 0)
		return 0;
	fd = BLOCKING(a, self->listener,
		      weft_accept(self->listener, NULL, NULL), 0);
	if (fd < 0 || is_child)
		return (int)fd;
	track((int)fd);
	BLOCKING(a, fd, weft_recv((int)fd, data, sizeof data, 0), -ECONNRESET);
	close_tracked(a, (int)fd);
	return 0;
}

int act_connect(struct actor *a)
{
	struct thread *t =
		&now.threads[random_below(&a->random, now.n_workers)];
	struct sockaddr_un address;
	socklen_t size = address_of(t->address, &address);
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int64_t rc;

	if (fd < 0)
		wrong("socket: %s", strerror(errno));
	track(fd);
	rc = BLOCKING(a, fd,
		      weft_connect(fd, (struct sockaddr *)&address, size),
		      -ECONNREFUSED, -EAGAIN);
	if (!rc && !is_child && random_one_in(&a->random, 2))
		rc = BLOCKING(a, fd, weft_send(fd, "12345678", 8, 0), -EPIPE,
			      -ECONNRESET);
	close_tracked(a, fd);
	return rc < 0 ? (int)rc : 0;
}

int act_open(struct actor *a)
{
	char data[16];
	int64_t rc, fd;

	switch (random_below(&a->random, 4)) {
	case 0:
		fd = BLOCKING(a, 0,
			      weft_openat(AT_FDCWD, "/no/such/file", O_RDONLY),
			      -ENOENT);
		if (fd >= 0 && !is_child)
			wrong("a file is there that is not");
		return (int)fd;
	case 1:
		fd = BLOCKING(
			a, 1,
			weft_openat(AT_FDCWD, "/proc/self/stat", O_RDONLY), 0);
		break;
	default:
		fd = BLOCKING(a, 2, weft_openat(AT_FDCWD, "/dev/zero", O_RDWR),
			      0);
	}
	if (fd < 0 || is_child)
		return (int)fd;
	track((int)fd);
	rc = BLOCKING(a, fd, weft_read((int)fd, data, sizeof data), 0);
	if (rc >= 0 && rc != (int64_t)sizeof data && !is_child)
		wrong("a file gave %" PRId64 " bytes", rc);
	close_tracked(a, (int)fd);
	return rc < 0 ? (int)rc : 0;
}

void io_from_callback(struct actor *a)
{
	if (random_one_in(&a->random, 2))
		act_write(a);
	else
		act_read(a);
}

/* --- the books of descriptors --- */

static void each_descriptor(void (*look)(int fd, void *arg), void *arg)
{
	DIR *dir = opendir("/proc/self/fd");
	struct dirent *entry;

	if (!dir)
		wrong("/proc/self/fd: %s", strerror(errno));
	while ((entry = readdir(dir))) {
		int fd = atoi(entry->d_name);

		if (entry->d_name[0] != '.' && fd != dirfd(dir) &&
		    fd < MOST_DESCRIPTORS)
			look(fd, arg);
	}
	closedir(dir);
}

static void note(int fd, void *arg)
{
	(void)arg;
	inherited[fd] = 1;
}

void note_descriptors(void)
{
	memset(inherited, 0, sizeof inherited);
	each_descriptor(note, NULL);
}

static void count_inherited(int fd, void *n)
{
	if (!(fcntl(fd, F_GETFD) & FD_CLOEXEC))
		++*(unsigned *)n;
}

unsigned n_inherited(void)
{
	unsigned n = 0;

	each_descriptor(count_inherited, &n);
	return n;
}

static void check(int fd, void *may_leak)
{
	char path[32], target[64] = "";

	if (inherited[fd])
		return;
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	if (readlink(path, target, sizeof target - 1) < 0)
		target[0] = '\0';
	if (!*(bool *)may_leak)
		wrong("descriptor %d (%s) was left over", fd, target);
	close(fd);
}

void check_descriptors(bool may_leak)
{
	each_descriptor(check, &may_leak);
	for (int fd = 0; fd < MOST_DESCRIPTORS; fd++)
		if (inherited[fd] && fcntl(fd, F_GETFD) < 0)
			wrong("descriptor %d was closed by somebody", fd);
}
