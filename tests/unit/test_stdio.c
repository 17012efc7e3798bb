/* SPDX-License-Identifier: MIT */
/*
 * weft_fdopen(): standard streams that block the tasklet.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

static int ends[2];

static void make_sockets(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static FILE *open_end(const char *mode)
{
	FILE *f = weft_fdopen(ends[0], mode);

	ck_assert_ptr_nonnull(f);
	return f;
}

static void put(const char *text)
{
	ck_assert_int_eq(write(ends[1], text, strlen(text)),
			 (ssize_t)strlen(text));
}

/* What the other end has, as text. */
static const char *got(void)
{
	static char text[100];
	ssize_t n = recv(ends[1], text, sizeof text - 1, MSG_DONTWAIT);

	text[n < 0 ? 0 : n] = '\0';
	return text;
}

static char *line;
static size_t size;
static ssize_t length;

static int read_line(void *f)
{
	length = getline(&line, &size, f);
	return length < 0 ? -errno : 0;
}

/* Lines and numbers are read as they come; other tasklets run meanwhile. */
START_TEST(reads)
{
	FILE *f = open_end("r");
	weft_tasklet t;
	int a, b;

	t = weft_spawn(read_line, f);
	weft_pump();
	put("one\ntw");
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_str_eq(line, "one\n");
	t = weft_spawn(read_line, f);
	weft_pump();
	put("o\n12 34 end");
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_str_eq(line, "two\n");
	ck_assert_int_eq(fscanf(f, "%d %d", &a, &b), 2);
	ck_assert_int_eq(a + b, 46);
	shutdown(ends[1], SHUT_WR);
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_str_eq(line, " end");
	ck_assert_int_eq(getc(f), EOF);
	ck_assert(feof(f) && !ferror(f));
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}
END_TEST

START_TEST(writes)
{
	FILE *f = open_end("w");

	ck_assert_int_eq(fprintf(f, "%s %d\n", "line", 5), 7);
	ck_assert_str_eq(got(), "");
	ck_assert_int_eq(fflush(f), 0);
	ck_assert_str_eq(got(), "line 5\n");
	fputs("rest", f);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_str_eq(got(), "rest");
	ck_assert_int_eq(read(ends[1], &(char){ 0 }, 1), 0);
}
END_TEST

/* One FILE reads and writes a socket in turns, and skips nothing that came early. */
START_TEST(in_turns)
{
	FILE *f = open_end("r+");

	put("one\ntwo\nthree\n");
	for (int i = 0; i < 3; i++) {
		static const char *const lines[] = { "one\n", "two\n",
						     "three\n" };

		ck_assert_int_eq(read_line(f), 0);
		ck_assert_str_eq(line, lines[i]);
		ck_assert_int_gt(fprintf(f, "got %s", line), 0);
		ck_assert_int_eq(fflush(f), 0);
		ck_assert_ptr_nonnull(strstr(got(), lines[i]));
	}
	put("four\n");
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_str_eq(line, "four\n");
	ck_assert_int_eq(ftell(f), -1);
	ck_assert_int_eq(fclose(f), 0);
}
END_TEST

static const struct {
	int mode;
	bool is_own; /* the buffer is the program's */
	size_t size;
} bufferings[] = {
	{ _IONBF, false, 0 },
	{ _IOLBF, true, 512 },
	{ _IOFBF, true, 100000 },
};

/* So it does with a buffer of the program's, or without one; what was read ahead can
 * be as much as a large buffer holds. */
START_TEST(in_turns_by_another_buffer)
{
	static char own[100000], early[6000];
	FILE *f = open_end("r+");
	int n;

	ck_assert_int_eq(setvbuf(f, bufferings[_i].is_own ? own : NULL,
				 bufferings[_i].mode, bufferings[_i].size),
			 0);
	memset(early, 'x', sizeof early - 1);
	put("42 is it\n");
	put(early);
	put("\n");
	ck_assert_int_eq(fscanf(f, "%d", &n), 1);
	ck_assert_int_eq(n, 42);
	ck_assert_int_eq(fprintf(f, "got %d\n", n), 7);
	ck_assert_int_eq(fflush(f), 0);
	ck_assert_str_eq(got(), "got 42\n");
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_str_eq(line, " is it\n");
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_int_eq(length, sizeof early);
	ck_assert_int_eq(fclose(f), 0);
}
END_TEST

/* Files have their positions. */
START_TEST(files)
{
	char name[] = "/tmp/weft-test-XXXXXX";
	int fd = mkstemp(name);
	FILE *f = weft_fdopen(fd, "w+");

	unlink(name);
	for (int i = 0; i < 3000; i++)
		fprintf(f, "line %d\n", i);
	rewind(f);
	for (int i = 0; i < 3000; i++) {
		int n;

		ck_assert_int_eq(fscanf(f, "line %d\n", &n), 1);
		ck_assert_int_eq(n, i);
	}
	ck_assert_int_eq(fseek(f, 5, SEEK_SET), 0);
	ck_assert_int_eq(getc(f), '0');
	ck_assert_int_eq(ftell(f), 6);
	ck_assert_int_eq(fclose(f), 0);
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	f = weft_fdopen(fd, "a");
	ck_assert(fcntl(fd, F_GETFL) & O_APPEND);
	ck_assert_int_eq(fclose(f), 0);
}
END_TEST

static int echo_lines(void *f)
{
	char *own = NULL;
	size_t room = 0;
	ssize_t n;

	while ((n = getline(&own, &room, f)) > 0)
		if (fwrite(own, 1, (size_t)n, f) != (size_t)n || fflush(f))
			break;
	free(own);
	return fclose(f) ? -errno : 0;
}

/* Long lines, larger than any buffer, come through whole. */
START_TEST(long_lines)
{
	enum { LONG = 100000 };
	static char text[LONG + 1];
	FILE *f = weft_fdopen(ends[0], "r+");
	FILE *g = weft_fdopen(ends[1], "r+");
	weft_tasklet t;

	t = weft_spawn(echo_lines, f);
	for (int n = 1; n < LONG; n = n * 3 + 1) {
		memset(text, 'a' + n % 26, (size_t)n);
		text[n] = '\n';
		ck_assert_uint_eq(fwrite(text, 1, (size_t)n + 1, g),
				  (size_t)n + 1);
		ck_assert_int_eq(fflush(g), 0);
		ck_assert_int_eq(read_line(g), 0);
		ck_assert_int_eq(length, n + 1);
		ck_assert_mem_eq(line, text, (size_t)n + 1);
	}
	ck_assert_int_eq(fclose(g), 0);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
}
END_TEST

/* --- interruptions --- */

/* An interrupted read gives what it has, and the next reads on. */
START_TEST(interrupted_read)
{
	FILE *f = open_end("r");
	struct weft_deadline d;
	weft_tasklet t;

	put("par");
	t = weft_spawn(read_line, f);
	weft_pump();
	weft_tasklet_raise(t, EXDEV, WEFT_PENDING);
	weft_tasklet_join(t);
	ck_assert_int_eq(length, 3);
	ck_assert_str_eq(line, "par");
	ck_assert(ferror(f) && !feof(f));
	clearerr(f);
	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(read_line(f), -ETIMEDOUT);
	weft_deadline_end(&d);
	ck_assert(ferror(f));
	clearerr(f);
	put("tial\n");
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_str_eq(line, "tial\n");
	ck_assert_int_eq(fclose(f), 0);
}
END_TEST

enum { TOTAL = 60000 };

static char byte_at(size_t i)
{
	return (char)('a' + i % 23);
}

/* Writes are interrupted by deadlines again and again while the other side reads
 * slowly. All that was accepted arrives, once and in order: written through the buffer
 * in small pieces, and by large writes past it. */
START_TEST(interrupted_write)
{
	static char text[TOTAL + 1], all[TOTAL + 1];
	unsigned seed = (unsigned)weft_now() + (unsigned)_i;
	size_t n_put = 0, n_got = 0;
	FILE *f = open_end("w");
	int n_errors = 0;

	fprintf(stderr, "# seed %u\n", seed);
	setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &(int){ 1 }, sizeof(int));
	for (size_t i = 0; i < TOTAL; i++)
		text[i] = byte_at(i);
	while (n_put < TOTAL) {
		struct weft_deadline d;
		size_t want = 1 + (size_t)rand_r(&seed) % (_i ? 9000 : 900);
		ssize_t n;

		if (want > TOTAL - n_put)
			want = TOTAL - n_put;
		weft_deadline_begin(&d, weft_now() + rand_r(&seed) % 100000);
		n_put += fwrite(text + n_put, 1, want, f);
		if (rand_r(&seed) % 3 == 0)
			fflush(f);
		weft_deadline_end(&d);
		n_errors += ferror(f) != 0;
		clearerr(f);
		n = recv(ends[1], all + n_got, 1 + (size_t)rand_r(&seed) % 2000,
			 MSG_DONTWAIT);
		if (n > 0)
			n_got += (size_t)n;
	}
	while (n_got < TOTAL) {
		struct weft_deadline d;
		ssize_t n = recv(ends[1], all + n_got, TOTAL + 1 - n_got,
				 MSG_DONTWAIT);

		if (n > 0)
			n_got += (size_t)n;
		if (!f)
			ck_assert_int_gt(n, 0);
		else if (n < 0) {
			/* what is kept goes with the close, and blocks nobody */
			weft_deadline_begin(&d, WEFT_FOREVER);
			ck_assert_int_eq(
				setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF,
					   &(int){ 4 * TOTAL }, sizeof(int)),
				0);
			ck_assert_int_eq(fclose(f), 0);
			f = NULL;
			weft_deadline_end(&d);
		}
	}
	ck_assert_uint_eq(n_got, TOTAL);
	ck_assert_mem_eq(all, text, TOTAL);
	if (f)
		fclose(f);
	ck_assert_int_gt(n_errors, 0);
}
END_TEST

static int write_much(void *f)
{
	static char text[1000000];

	if (fwrite(text, 1, sizeof text, f) == sizeof text)
		return -EIO;
	length = errno;
	return fclose(f) ? -errno : 0;
}

/* A killed tasklet closes, and its fclose() says that data was lost. */
START_TEST(killed)
{
	FILE *f = open_end("w");
	weft_tasklet t;

	t = weft_spawn(write_much, f);
	weft_pump();
	ck_assert_int_eq(weft_tasklet_kill(t, WEFT_PENDING), 0);
	weft_tasklet_join(t);
	ck_assert_int_eq(length, ECANCELED);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}
END_TEST

/* The peer is gone: an error, and no SIGPIPE from a socket. */
START_TEST(broken)
{
	FILE *f = open_end("w");

	close(ends[1]);
	fputs("x", f);
	ck_assert_int_eq(fflush(f), EOF);
	ck_assert_int_eq(errno, EPIPE);
	ck_assert(ferror(f));
	fclose(f);
	ck_assert_int_eq(fcntl(ends[0], F_GETFD), -1);
}
END_TEST

/* With a trap what is there can be read. */
START_TEST(trapped)
{
	FILE *f = open_end("r");

	put("a\n");
	weft_set_block_trap(true);
	ck_assert_int_eq(read_line(f), 0);
	ck_assert_int_eq(read_line(f), -EAGAIN);
	weft_set_block_trap(false);
	clearerr(f);
	put("b\n");
	ck_assert_int_eq(read_line(f), 0);
	fclose(f);
}
END_TEST

/* Two tasklets on one FILE: the second one is told. */
START_TEST(two_at_once)
{
	FILE *f = open_end("r");
	weft_tasklet t;

	t = weft_spawn(read_line, f);
	weft_pump();
	ck_assert_int_eq(getc(f), EOF);
	ck_assert_int_eq(errno, EBUSY);
	ck_assert(ferror(f));
	clearerr(f);
	put("a\n");
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_str_eq(line, "a\n");
	fclose(f);
}
END_TEST

START_TEST(wrong_arguments)
{
	static const char *const modes[] = { "", "x", "+", "br", NULL };
	int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

	for (size_t i = 0; i < N_ELEMENTS(modes); i++) {
		errno = 0;
		ck_assert_ptr_null(weft_fdopen(ends[0], modes[i]));
		ck_assert_int_eq(errno, EINVAL);
	}
	ck_assert_ptr_null(weft_fdopen(-1, "r"));
	ck_assert_int_eq(errno, EBADF);
	ck_assert_ptr_null(weft_fdopen(fd, "w"));
	ck_assert_int_eq(errno, EINVAL);
	ck_assert_ptr_null(weft_fdopen(fd, "r+"));
	ck_assert_ptr_null(weft_fdopen(fd, "a"));
	close(fd);
	fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
	ck_assert_ptr_null(weft_fdopen(fd, "r"));
	close(fd);
	fclose(open_end("rbe"));
}
END_TEST

static void add_rule(Suite *s, const char *rule, const TTest *test, int n)
{
	TCase *c = tcase_create(rule);

	tcase_set_timeout(c, TEST_TIMEOUT);
	tcase_add_checked_fixture(c, make_sockets, NULL);
	tcase_add_loop_test(c, test, 0, n);
	suite_add_tcase(s, c);
}

int main(void)
{
	Suite *s = suite_create("stdio");

	add_rule(s, "reads", reads, 1);
	add_rule(s, "writes", writes, 1);
	add_rule(s, "in turns", in_turns, 1);
	add_rule(s, "another buffer", in_turns_by_another_buffer,
		 N_ELEMENTS(bufferings));
	add_rule(s, "files", files, 1);
	add_rule(s, "long lines", long_lines, 1);
	add_rule(s, "interrupted read", interrupted_read, 1);
	add_rule(s, "interrupted write", interrupted_write, 4);
	add_rule(s, "killed", killed, 1);
	add_rule(s, "broken", broken, 1);
	add_rule(s, "trapped", trapped, 1);
	add_rule(s, "two at once", two_at_once, 1);
	add_rule(s, "wrong arguments", wrong_arguments, 1);
	return run_suite(s);
}
