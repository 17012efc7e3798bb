/* SPDX-License-Identifier: MIT */
/*
 * Reads and writes at the position of a file: what read(2) and write(2) promise
 * of it, whoever else has the file open.
 */
#include <check.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "core/scheduler.h"
#include "io/offload.h"
#include "support.h"

enum { BLOCK = 4096, BLOCKS = 400, LINE = 64, LINES = 100, WRITERS = 4 };

/* A file without a name, and its path for as long as the process lives. */
static char path[64];

static int make_file(int flags)
{
	char name[] = "/tmp/weft-test-XXXXXX";
	int fd = mkostemp(name, O_CLOEXEC);
	int other;

	ck_assert_int_ge(fd, 0);
	snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
	other = open(path, O_RDWR | O_CLOEXEC | flags);
	unlink(name);
	return other;
}

/* A file with blocks that say their number, at its beginning. */
static int make_blocks(int flags)
{
	int fd = make_file(0);
	long block[BLOCK / sizeof(long)] = { 0 };

	ck_assert_int_ge(fd, 0);
	for (long i = 0; i < BLOCKS; i++) {
		block[0] = i;
		ck_assert_int_eq(write(fd, block, BLOCK), BLOCK);
	}
	ck_assert_int_eq(fsync(fd), 0);
	close(fd);
	return open(path, O_RDONLY | O_CLOEXEC | flags);
}

/* --- several writers --- */

struct writer {
	int fd;
	int number;
	int error;
};

static int write_lines(void *arg)
{
	struct writer *w = arg;
	char line[2 * LINE];

	for (int i = 0; i < LINES; i++) {
		ssize_t n;

		snprintf(line, sizeof line, "%8d %8d %0*d\n", w->number, i,
			 LINE - 19, i);
		n = weft_write(w->fd, line, LINE);
		if (n != LINE)
			w->error = n < 0 ? (int)n : -EIO;
	}
	return 0;
}

static void *write_lines_of_a_thread(void *arg)
{
	struct writer *w = arg;

	for (int i = 0; i < WRITERS; i++)
		weft_spawn(write_lines, &w[i]);
	weft_run();
	return NULL;
}

/* Each line is there once, whole, and those of one writer are in order. */
static void check_lines(int fd, int n_writers)
{
	int next[2 * WRITERS] = { 0 };
	char line[LINE + 1] = "";

	ck_assert_int_eq(lseek(fd, 0, SEEK_END), n_writers * LINES * LINE);
	for (int i = 0; i < n_writers * LINES; i++) {
		int number = -1, k = -1, again = -1;

		ck_assert_int_eq(pread(fd, line, LINE, (off_t)i * LINE), LINE);
		ck_assert_int_eq(
			sscanf(line, "%d %d %d\n", &number, &k, &again), 3);
		ck_assert_int_ge(number, 0);
		ck_assert_int_lt(number, n_writers);
		ck_assert_int_eq(k, next[number]++);
		ck_assert_int_eq(k, again);
	}
}

/* By two threads with four tasklets each, through one descriptor or two of the
 * same description, with O_APPEND and without. */
START_TEST(writers_lose_nothing)
{
	int append = _i % 2 ? O_APPEND : 0, dup_it = _i / 2;
	int fd = make_file(append);
	int other = dup_it ? dup(fd) : fd;
	struct writer w[2 * WRITERS];
	pthread_t thread;

	for (int i = 0; i < 2 * WRITERS; i++)
		w[i] = (struct writer){ i < WRITERS ? fd : other, i, 0 };
	thread = start_thread(write_lines_of_a_thread, w + WRITERS);
	write_lines_of_a_thread(w);
	join_thread(thread);
	for (int i = 0; i < 2 * WRITERS; i++)
		ck_assert_int_eq(w[i].error, 0);
	check_lines(fd, 2 * WRITERS);
}
END_TEST

struct piece {
	int fd;
	char byte;
};

static int write_piece(void *arg)
{
	struct piece *p = arg;

	return weft_write(p->fd, &p->byte, 1) == 1 ? 0 : -EIO;
}

/* What the tasklets of a thread write comes in the order of their calls. */
START_TEST(writes_keep_their_order)
{
	struct piece pieces[100];
	char bytes[100];
	int fd = make_file(0);

	for (int i = 0; i < 100; i++) {
		pieces[i] = (struct piece){ fd, (char)i };
		weft_spawn(write_piece, &pieces[i]);
	}
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(pread(fd, bytes, sizeof bytes, 0), 100);
	for (int i = 0; i < 100; i++)
		ck_assert_int_eq(bytes[i], i);
}
END_TEST

/* --- several readers --- */

static _Atomic(unsigned char) seen[BLOCKS];
static _Atomic(int) n_errors;

typedef ssize_t (*read_fn)(int fd, void *buf, size_t count);

static void read_blocks(int fd, read_fn by)
{
	void *buf = aligned_alloc(BLOCK, BLOCK);
	ssize_t n;
	long number;

	while ((n = by(fd, buf, BLOCK)) == BLOCK) {
		memcpy(&number, buf, sizeof number);
		seen[number]++;
	}
	n_errors += n != 0;
	free(buf);
}

static int read_in_tasklet(void *fd)
{
	read_blocks((int)(intptr_t)fd, weft_read);
	return 0;
}

static void *read_in_thread(void *fd)
{
	for (int i = 0; i < 4; i++)
		weft_spawn(read_in_tasklet, fd);
	weft_run();
	return NULL;
}

static void *read_in_plain_thread(void *fd)
{
	read_blocks((int)(intptr_t)fd, read);
	return NULL;
}

enum { IN_MEMORY, ON_DISK, DIRECT };

/* Each block is read once, by tasklets of two threads and by a third thread that
 * knows no weft; from memory, from the disk, and past the cache. */
START_TEST(readers_share_a_position)
{
	int fd = make_blocks(_i == DIRECT ? O_DIRECT : 0);
	pthread_t thread, plain;
	int other;

	if (fd < 0)
		return; /* a file system without O_DIRECT */
	if (_i == ON_DISK)
		posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	other = dup(fd);
	plain = start_thread(read_in_plain_thread, (void *)(intptr_t)other);
	thread = start_thread(read_in_thread, (void *)(intptr_t)other);
	read_in_thread((void *)(intptr_t)fd);
	join_thread(thread);
	join_thread(plain);
	ck_assert_int_eq(n_errors, 0);
	for (int i = 0; i < BLOCKS; i++)
		ck_assert_int_eq(seen[i], 1);
}
END_TEST

/* Another process reads on at the same position. */
START_TEST(position_is_shared_with_a_child)
{
	int fd = make_blocks(0);
	long block[BLOCK / sizeof(long)];
	pid_t pid;
	int status;

	if (lacks_fork_with_threads())
		return;
	for (long i = 0; i < 10; i += 2) {
		ck_assert_int_eq(weft_read(fd, block, BLOCK), BLOCK);
		ck_assert_int_eq(block[0], i);
		pid = fork();
		if (pid == 0) {
			EXPECT((i % 4 ? read : weft_read)(fd, block, BLOCK) ==
			       BLOCK);
			EXPECT(block[0] == i + 1);
			_exit(0);
		}
		ck_assert_int_eq(waitpid(pid, &status, 0), pid);
		ck_assert_int_eq(status, 0);
	}
}
END_TEST

/* Blocks one after the other with O_DIRECT, by one tasklet. */
START_TEST(direct_io_moves_the_position)
{
	int fd = make_file(O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);

	if (fd < 0)
		goto out; /* a file system without it */
	for (int i = 0; i < 20; i++) {
		memset(block, i, BLOCK);
		ck_assert_int_eq(weft_write(fd, block, BLOCK), BLOCK);
		ck_assert_int_eq(lseek(fd, 0, SEEK_CUR), (i + 1) * BLOCK);
	}
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	for (int i = 0; i < 20; i++) {
		ck_assert_int_eq(weft_read(fd, block, BLOCK), BLOCK);
		ck_assert_int_eq(block[0], i);
	}
	ck_assert_int_eq(weft_read(fd, block, BLOCK), 0);
out:
	free(block);
}
END_TEST

/* --- how much is read --- */

/* A read returns all that is asked for but at the end of the file, be it in memory
 * or in part or not. */
START_TEST(short_reads_are_at_the_end_only)
{
	ssize_t all = (ssize_t)BLOCKS * BLOCK;
	char *buf =
		calloc(2 * BLOCKS, BLOCK); /* more is asked for than is there */
	int fd = make_blocks(0);
	long number;

	posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	ck_assert_int_eq(pread(fd, buf, 5 * BLOCK, 0), 5 * BLOCK);
	ck_assert_int_eq(weft_read(fd, buf, 100), 100);
	ck_assert_int_eq(weft_read(fd, buf + 100, (size_t)(all / 2)), all / 2);
	ck_assert_int_eq(weft_read(fd, buf + 100 + all / 2, (size_t)all),
			 all - 100 - all / 2);
	ck_assert_int_eq(weft_read(fd, buf, (size_t)all), 0);
	for (long i = 0; i < BLOCKS; i++) {
		memcpy(&number, buf + i * BLOCK, sizeof number);
		ck_assert_int_eq(number, i);
	}
	free(buf);
}
END_TEST

/* --- errors --- */

START_TEST(errors_are_those_of_read_and_write)
{
	/* Valgrind tells of those that are meant. */
	bool faults = !is_under_valgrind();
	int fd = make_file(0);
	int reader = open(path, O_RDONLY | O_CLOEXEC);
	int writer = open(path, O_WRONLY | O_CLOEXEC);
	int folder = open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	char byte = 'x';

	for (int i = 0; i < 2; i++) { /* noted or not */
		ck_assert_int_eq(weft_write(fd, &byte, 1), 1);
		ck_assert_int_eq(weft_read(reader, &byte, 1), 1);
		ck_assert_int_eq(weft_read(reader, &byte, 1), 0);
		ck_assert_int_eq(weft_write(reader, &byte, 1), -EBADF);
		ck_assert_int_eq(weft_write(writer, &byte, 1), 1);
		ck_assert_int_eq(weft_read(writer, &byte, 1), -EBADF);
		ck_assert_int_eq(weft_read(folder, &byte, 1), -EISDIR);
		ck_assert_int_eq(weft_write(folder, &byte, 1), -EBADF);
		if (faults)
			ck_assert_int_eq(weft_write(fd, (void *)1, 1), -EFAULT);
		lseek(reader, 0, SEEK_SET);
		if (faults)
			ck_assert_int_eq(weft_read(reader, (void *)1, 1),
					 -EFAULT);
		ck_assert_int_eq(lseek(reader, 0, SEEK_CUR), 0);
		ck_assert_int_eq(weft_read(reader, &byte, 1), 1);
	}
	close(reader);
	ck_assert_int_eq(weft_read(reader, &byte, 1), -EBADF);
	ck_assert_int_eq(weft_write(reader, &byte, 1), -EBADF);
}
END_TEST

static _Atomic(int) n_signals;
static pthread_t signalled;

static void count_signal(int number)
{
	(void)number;
	n_signals++;
	signalled = pthread_self();
}

static int set_limit(rlim_t bytes)
{
	struct rlimit limit = { .rlim_cur = bytes, .rlim_max = RLIM_INFINITY };

	return setrlimit(RLIMIT_FSIZE, &limit);
}

/* A file that would grow too large: -EFBIG, and the signal, in the thread that
 * called. (libcheck writes to a file, too.) */
START_TEST(file_too_large)
{
	int fd = make_file(0), n_before;
	ssize_t rc[5];

	signal(SIGXFSZ, count_signal);
	(void)set_limit(10);
	rc[0] = weft_write(fd, "0123456", 7);
	rc[1] = weft_write(fd, "789abc", 6);
	n_before = n_signals;
	for (int i = 2; i < 5; i++)
		rc[i] = weft_write(fd, "x", 1);
	ck_assert_int_eq(set_limit(RLIM_INFINITY), 0);
	ck_assert_int_eq(rc[0], 7);
	ck_assert_int_eq(rc[1], 3);
	ck_assert_int_eq(n_before, 0);
	for (int i = 2; i < 5; i++)
		ck_assert_int_eq(rc[i], -EFBIG);
	ck_assert_int_eq(n_signals, 3);
	ck_assert(pthread_equal(signalled, pthread_self()));
	ck_assert_int_eq(lseek(fd, 0, SEEK_END), 10);
}
END_TEST

/* --- a descriptor's number is another file's --- */

static char byte_from(int fd)
{
	char byte = '-';

	return weft_read(fd, &byte, 1) == 1 ? byte : '!';
}

static int write_to(void *fd)
{
	return weft_write((int)(intptr_t)fd, "p", 1) == 1 ? 0 : -EIO;
}

START_TEST(number_is_used_again)
{
	int file = make_blocks(0), ends[2], number;

	ck_assert_int_eq(pipe(ends), 0);
	number = dup(file);
	for (int i = 0; i < 300; i++) {
		ck_assert_int_eq(byte_from(number), byte_from(file) ? '!' : 0);
		if (i % 3)
			continue;
		ck_assert_int_eq(dup2(ends[0], number), number);
		weft_spawn(write_to, (void *)(intptr_t)ends[1]);
		ck_assert_int_eq(byte_from(number), 'p');
		ck_assert_int_eq(dup2(file, number), number);
		lseek(file, 8, SEEK_SET);
	}
	close(ends[0]);
	close(ends[1]);
}
END_TEST

/* --- interruptions --- */

static sem_t gate;
static _Atomic(int) n_busy;

static int stay(void *arg)
{
	(void)arg;
	n_busy++;
	while (sem_wait(&gate))
		;
	return 0;
}

static int occupy(void *arg)
{
	struct errand e = {
		.job = { .crew = CREW_FILES, .fn = stay, .arg = arg }
	};

	return weft__run_errand(weft__self, &e);
}

enum { HELPERS = 16 };

/* All helpers for files have something else to do. */
static void occupy_helpers(void)
{
	for (int i = 0; i < HELPERS; i++)
		weft_spawn(occupy, NULL);
	while (n_busy < HELPERS)
		weft_pump();
}

static void let_helpers_go(void)
{
	for (int i = 0; i < HELPERS; i++)
		sem_post(&gate);
	ck_assert_int_eq(weft_run(), 0);
}

struct direct {
	int fd;
	char *block;
	ssize_t rc, next_rc;
};

static int write_directly(void *arg)
{
	struct direct *d = arg;

	d->rc = weft_write(d->fd, d->block, BLOCK);
	d->next_rc = weft_sleep(0);
	return 0;
}

/* A call that is in line for a helper is taken out: nothing is written. One that a
 * helper has returns its result, and the error is for the next call. */
START_TEST(interrupted_in_line_or_not_at_all)
{
	struct direct d = { .fd = make_file(O_DIRECT), .rc = 1 };
	weft_tasklet t;

	if (d.fd < 0)
		return; /* there, writes may be quick */
	d.block = aligned_alloc(BLOCK, BLOCK);
	memset(d.block, 'x', BLOCK);
	occupy_helpers();
	t = weft_spawn(write_directly, &d);
	weft_schedule();
	if (_i)
		ck_assert_int_eq(weft_tasklet_raise(t, EINTR, 0), 0);
	else
		ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(d.rc, (_i ? -EINTR : -ECANCELED));
	let_helpers_go();
	ck_assert_int_eq(d.next_rc, (_i ? 0 : -ECANCELED));
	ck_assert_int_eq(lseek(d.fd, 0, SEEK_END), 0);

	t = weft_spawn(write_directly, &d);
	weft_schedule();
	while (lseek(d.fd, 0, SEEK_END) == 0)
		; /* no look at what has completed */
	ck_assert_int_eq(weft_tasklet_kill(t, 0), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(d.rc, BLOCK);
	ck_assert_int_eq(d.next_rc, -ECANCELED);
	free(d.block);
}
END_TEST

/* A close takes those out that are in line, so that they do not write to the file that
 * gets the number next, and lets one end that a helper has. */
START_TEST(close_ends_transfers)
{
	struct direct d[3];
	int fd = make_file(O_DIRECT), other, plain;
	char *block = aligned_alloc(BLOCK, BLOCK);

	if (fd < 0)
		goto out;
	memset(block, 'x', BLOCK);
	other = dup(fd);
	occupy_helpers();
	for (int i = 0; i < 3; i++) {
		d[i] = (struct direct){ i ? fd : other, block, 1, 1 };
		weft_spawn(write_directly, &d[i]);
	}
	weft_schedule();
	ck_assert_int_eq(weft_close(fd), 0);
	plain = make_file(0);
	ck_assert_int_eq(dup2(plain, fd), fd);
	let_helpers_go();
	ck_assert_int_eq(d[0].rc, BLOCK);
	ck_assert_int_eq(d[1].rc, -ECANCELED);
	ck_assert_int_eq(d[2].rc, -ECANCELED);
	ck_assert_int_eq(d[2].next_rc, 0);
	ck_assert_int_eq(lseek(plain, 0, SEEK_END), 0);
	ck_assert_int_eq(lseek(other, 0, SEEK_END), BLOCK);

	weft_spawn(write_directly, &d[0]);
	weft_schedule();
	while (lseek(other, 0, SEEK_END) == BLOCK)
		;
	d[0].rc = 1;
	ck_assert_int_eq(weft_close(other), 0);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_eq(d[0].rc, BLOCK);
out:
	free(block);
}
END_TEST

/* With a trap, what is in memory is read, and what would need a helper is not
 * begun. */
START_TEST(transfers_under_a_trap)
{
	int fd = make_blocks(0), direct = make_file(O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);
	struct iovec v = { .iov_base = block, .iov_len = 10 };
	int error = _i ? -EPERM : -EAGAIN, n_read;

	ck_assert_int_eq(pread(fd, block, BLOCK, 0), BLOCK);
	/* Some file systems (tmpfs) cannot tell what is in memory. */
	n_read = preadv2(fd, &v, 1, 0, RWF_NOWAIT) == 10 ? 10 : error;
	if (_i)
		weft_switch_trap(1);
	else
		weft_set_block_trap(true);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(weft_read(fd, block, 10), n_read);
		ck_assert_int_eq(lseek(fd, 0, SEEK_CUR),
				 n_read > 0 ? (i + 1) * 10 : 0);
		if (direct >= 0)
			ck_assert_int_eq(weft_write(direct, block, BLOCK),
					 error);
	}
	if (direct >= 0)
		ck_assert_int_eq(lseek(direct, 0, SEEK_END), 0);
	free(block);
}
END_TEST

static int count_turns(void *arg)
{
	int *n = arg;

	while (n_busy == HELPERS) {
		++*n;
		weft_schedule();
	}
	return 0;
}

static int free_helpers(void *arg)
{
	for (int i = 0; i < 100; i++)
		weft_schedule();
	for (int i = 0; i < HELPERS; i++)
		sem_post(&gate);
	n_busy = 0;
	return arg ? -EIO : 0;
}

/* While a call waits for its file the tasklets beside it run, quick reads of the
 * same file included: they line up behind it and do not hold up the thread. */
START_TEST(others_run_meanwhile)
{
	struct direct d = { .fd = make_file(O_DIRECT), .rc = 1 };
	int turns = 0;

	if (d.fd < 0)
		return;
	d.block = aligned_alloc(BLOCK, BLOCK);
	memset(d.block, 'x', BLOCK);
	occupy_helpers();
	weft_spawn(write_directly, &d);
	weft_spawn(count_turns, &turns);
	weft_spawn(free_helpers, NULL);
	ck_assert_int_eq(weft_run(), 0);
	ck_assert_int_ge(turns, 100);
	ck_assert_int_eq(d.rc, BLOCK);
	free(d.block);
}
END_TEST

static int offload_stay(void *arg)
{
	return weft_offload(stay, arg);
}

/* Files are not in line behind users' functions, whatever those do. */
START_TEST(functions_do_not_keep_files_waiting)
{
	struct direct d = { .fd = make_file(O_DIRECT), .rc = 1 };

	if (d.fd < 0)
		return;
	d.block = aligned_alloc(BLOCK, BLOCK);
	memset(d.block, 'x', BLOCK);
	for (int i = 0; i < 2 * HELPERS; i++)
		weft_spawn(offload_stay, NULL);
	while (n_busy < HELPERS)
		weft_pump();
	ck_assert_int_eq(weft_write(d.fd, d.block, BLOCK), BLOCK);
	for (int i = 0; i < 2 * HELPERS; i++)
		sem_post(&gate);
	ck_assert_int_eq(weft_run(), 0);
	free(d.block);
}
END_TEST

static _Atomic(int) n_created;

int __real_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*body)(void *), void *arg);
int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*body)(void *), void *arg);

int __wrap_pthread_create(pthread_t *thread, const pthread_attr_t *attributes,
			  void *(*body)(void *), void *arg)
{
	n_created++;
	return __real_pthread_create(thread, attributes, body, arg);
}

static void *give_back(void *arg)
{
	return arg;
}

static int n_threads(void)
{
	DIR *tasks = opendir("/proc/self/task");
	int n = -2; /* . and .. */

	while (readdir(tasks))
		n++;
	closedir(tasks);
	return n;
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

static int occupy_in_line(void *fn)
{
	struct errand e = {
		.job = { .crew = CREW_FILES, .key = { 1, 2 }, .fn = stay }
	};

	if (fn) {
		e.job.key[0] = 3;
		e.job.fn = end_at_once;
	}
	return weft__run_errand(weft__self, &e);
}

/* One file keeps one helper, however many are in line for it: those that have
 * nothing to do go away, and no others come. */
START_TEST(line_keeps_one_helper)
{
	static const struct timespec nap = { .tv_nsec = 10 * 1000 * 1000 };
	int before, n_first;

	join_thread(start_thread(give_back, NULL));
	before = n_threads(); /* with what a sanitizer starts */
	for (int i = 0; i < 12; i++)
		weft_spawn(occupy_in_line, NULL);
	weft_spawn(occupy_in_line, &before);
	while (!n_busy)
		weft_pump();
	n_first = n_created;
	while (n_threads() > before + 1 && n_created == n_first)
		nanosleep(&nap, NULL);
	ck_assert_int_eq(n_created, n_first);
	let_helpers_go();
	ck_assert_int_eq(n_busy, 12);
}
END_TEST

/* Without threads to be had, files can be written and read all the same. */
START_TEST(no_helper_to_be_had)
{
	static const struct refusal no_thread[] = {
		{ SYS_clone3, -1, 0, EAGAIN },
		{ SYS_clone, -1, 0, EAGAIN },
	};
	int fd = make_file(O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);

	if (fd < 0 || UNDER_ASAN)
		goto out;
	memset(block, 'x', BLOCK);
	for (size_t i = 0; i < N_ELEMENTS(no_thread); i++)
		refuse_call(&no_thread[i]);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_write(fd, block, BLOCK), BLOCK);
	ck_assert_int_eq(lseek(fd, 0, SEEK_SET), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(weft_read(fd, block, BLOCK), BLOCK);
	ck_assert_int_eq(weft_read(fd, block, BLOCK), 0);
out:
	free(block);
}
END_TEST

/* --- threads that leave their tasklets behind --- */

/* The library's read(2), which is held up for one descriptor. */
ssize_t __real_read(int fd, void *buf, size_t count);
ssize_t __wrap_read(int fd, void *buf, size_t count);

static _Atomic(int) held_fd = -1, n_held;
static sem_t held;

ssize_t __wrap_read(int fd, void *buf, size_t count)
{
	if (fd == held_fd) {
		n_held++;
		while (sem_wait(&held))
			;
	}
	return __real_read(fd, buf, count);
}

static int read_held(void *block)
{
	return (int)weft_read(held_fd, block, BLOCK);
}

static int close_held(void *arg)
{
	(void)arg;
	return weft_close(held_fd);
}

static int leave_thread(void *arg)
{
	(void)arg;
	sem_post(&held);
	pthread_exit(NULL);
}

/* One tasklet is in a read that a helper makes, one waits for the end of that, to
 * close the file, and one calls pthread_exit(). */
static void *leave_tasklets_behind(void *block)
{
	weft_spawn(read_held, block);
	while (!n_held)
		weft_pump();
	weft_spawn(close_held, NULL);
	weft_pump();
	weft_spawn(leave_thread, NULL);
	weft_run();
	return NULL;
}

/* The thread ends, and the file is as good for others as before. */
START_TEST(thread_ends_with_a_close_under_way)
{
	int plain = make_blocks(0);
	int direct = open(path, O_RDONLY | O_CLOEXEC | O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);
	struct iovec v = { .iov_base = block, .iov_len = 10 };

	if (UNDER_TSAN) /* It lets no fiber call pthread_exit(). */
		return;
	if (direct < 0 || pread(plain, block, BLOCK, 0) != BLOCK ||
	    preadv2(plain, &v, 1, 0, RWF_NOWAIT) != 10) {
		skip("the file system of /tmp has no O_DIRECT or RWF_NOWAIT");
		free(block);
		return;
	}
	sem_init(&held, 0, 0);
	held_fd = direct;
	join_thread(start_thread(leave_tasklets_behind, block));
	weft_set_block_trap(true);
	ck_assert_int_eq(weft_read(plain, block, 10), 10);
	free(block);
}
END_TEST

static weft_tasklet closer;
static int sockets[2];

static int close_when_told(void *arg)
{
	(void)arg;
	(void)weft_schedule_remove();
	return weft_close(sockets[0]);
}

static void *leave_one_in_line(void *arg)
{
	closer = weft_spawn(close_when_told, NULL);
	weft_pump();
	occupy_helpers();
	weft_tasklet_insert(closer);
	weft_pump();
	weft_spawn(leave_thread, NULL);
	weft_run();
	return arg;
}

/* A tasklet is given up that waits in line for a helper to close what lingers: it is
 * closed all the same. */
START_TEST(given_up_in_line_to_close)
{
	struct linger l = { .l_onoff = 1, .l_linger = 1 };
	struct pollfd p = { .events = POLLIN };
	pthread_t thread;

	if (UNDER_TSAN || UNDER_ASAN) /* as in test_leave.c */
		return;
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, sockets), 0);
	ck_assert_int_eq(
		setsockopt(sockets[0], SOL_SOCKET, SO_LINGER, &l, sizeof l), 0);
	sem_init(&held, 0, 0);
	weft_thread_id();
	thread = start_thread(leave_one_in_line, NULL);
	sem_wait(&held);
	while (weft_tasklet_alive(closer))
		usleep(1000);
	for (int i = 0; i < HELPERS; i++)
		sem_post(&gate);
	join_thread(thread);
	p.fd = sockets[1];
	ck_assert_int_eq(poll(&p, 1, 0), 1);
	ck_assert(p.revents & POLLHUP);
}
END_TEST

enum { DEPTH = 64 * 1024, FRAMES = 32 * 1024 };

static char *dead_frames;

/* A destructor of a key that is older than the library's. */
static void write_there(void *arg)
{
	(void)arg;
	memset(dead_frames, 0x5a, FRAMES);
}

static int to_close = -1;

static void close_as_dropped(void *arg)
{
	(void)arg;
	(void)weft_close(to_close);
}

/* Main's read has been made, and main has yet to hear of it. */
static int leave_with_drop(void *arg)
{
	struct weft_tasklet_options o = { .paused = true,
					  .drop = close_as_dropped };

	sem_post(&held);
	while (weft_tasklet_state(weft_main()) != WEFT_RUNNABLE)
		weft_tasklet_insert(weft_current());
	weft_spawn_with(&o, leave_thread, arg);
	pthread_exit(NULL);
}

static __attribute__((noinline)) void read_far_below(void *block)
{
	char *below = __builtin_alloca(DEPTH);

	*(volatile char *)below = 1;
	dead_frames = below - FRAMES;
	weft_spawn(leave_with_drop, NULL);
	(void)weft_read(held_fd, block, BLOCK);
	*(volatile char *)below = 1;
}

static pthread_key_t older;

static void *leave_with_transfer_of_main(void *block)
{
	pthread_setspecific(older, block);
	read_far_below(block);
	return NULL;
}

/* What is dropped as a thread is left closes a file: nobody looks for a transfer in
 * frames of main's that are gone. */
START_TEST(close_in_drop_after_pthread_exit)
{
	int fd = make_file(O_DIRECT);
	char *block = aligned_alloc(BLOCK, BLOCK);

	/* Tools do not like it either. */
	if (fd >= 0 && !UNDER_TSAN && !UNDER_ASAN && !is_under_valgrind()) {
		pthread_key_create(&older, write_there);
		sem_init(&held, 0, 0);
		held_fd = fd;
		to_close = make_file(0);
		join_thread(start_thread(leave_with_transfer_of_main, block));
		ck_assert_int_eq(fcntl(to_close, F_GETFD), -1);
	}
	free(block);
}
END_TEST

/* In a child of fork() a call in line goes on, and the file can be used. */
START_TEST(fork_with_a_call_in_line)
{
	struct direct d = { .fd = make_file(O_DIRECT), .rc = 1 };
	int status;
	pid_t pid;

	if (lacks_fork_with_threads())
		return;
	if (d.fd < 0)
		return;
	d.block = aligned_alloc(BLOCK, BLOCK);
	memset(d.block, 'x', BLOCK);
	occupy_helpers();
	weft_spawn(write_directly, &d);
	weft_schedule();
	pid = fork();
	if (pid == 0) {
		EXPECT(weft_run() == 0 && d.rc == BLOCK);
		EXPECT(weft_write(d.fd, d.block, BLOCK) == BLOCK);
		EXPECT(lseek(d.fd, 0, SEEK_CUR) == 2 * BLOCK);
		_exit(0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	let_helpers_go();
	ck_assert_int_eq(d.rc, BLOCK);
	ck_assert_int_eq(lseek(d.fd, 0, SEEK_CUR), 3 * BLOCK);
	free(d.block);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("position");

	sem_init(&gate, 0, 0);
	add_loop(s, "writers", writers_lose_nothing, 4);
	add_case(s, "order", writes_keep_their_order);
	add_loop(s, "readers", readers_share_a_position, 3);
	add_case(s, "other process", position_is_shared_with_a_child);
	add_case(s, "O_DIRECT", direct_io_moves_the_position);
	add_case(s, "amounts", short_reads_are_at_the_end_only);
	add_case(s, "errors", errors_are_those_of_read_and_write,
		 file_too_large);
	add_case(s, "numbers", number_is_used_again);
	add_loop(s, "interrupted", interrupted_in_line_or_not_at_all, 2);
	add_case(s, "close", close_ends_transfers);
	add_loop(s, "trap", transfers_under_a_trap, 2);
	add_case(s, "waiting", others_run_meanwhile,
		 functions_do_not_keep_files_waiting, line_keeps_one_helper,
		 no_helper_to_be_had);
	add_case(s, "pthread_exit", thread_ends_with_a_close_under_way,
		 given_up_in_line_to_close, close_in_drop_after_pthread_exit);
	/* its child is one thread of many, of which the tool knows too much */
	if (!UNDER_TSAN && !is_under_valgrind())
		add_case(s, "fork", fork_with_a_call_in_line);
	return run_suite(s);
}
