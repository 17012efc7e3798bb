/* SPDX-License-Identifier: MIT */
/*
 * weft-httpd, the program that WEFT_HTTPD names, against clients that behave well and
 * badly. These are plain sockets of this process, which does not use weft, and curl and
 * wrk where they are. No time is judged.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "program.h"
#include "support.h"

enum {
	LARGE = 3 * 1000 * 1000, /* more than sendfile begins with */
	MIDDLE = 100 * 1000,     /* more than a buffer */
	MAX_OPTIONS = 8,
	TEXT = 64 * 1024,
	N_MANY = 50,
	N_LARGE = 6 /* that are more than what two sockets hold */
};

#define ANY_PORT "127.0.0.1:0"
#define HOST     "Host: x\r\n"
#define END      HOST "\r\n"
#define MODIFIED "Sun, 06 Nov 1994 08:49:37 GMT"

/* --- what is served --- */

static char folder[] = "/tmp/weft-httpd-XXXXXX";
static char root[sizeof folder + 8];
static char *content; /* LARGE bytes */

/* Of a path below the folder; good until the next call but one. */
static const char *below(const char *name)
{
	static char paths[2][128];
	static unsigned turn;
	char *path = paths[turn++ % 2];

	snprintf(path, sizeof paths[0], "%s/%s", folder, name);
	return path;
}

static void make_file(const char *name, const char *data, size_t n)
{
	const struct timespec times[2] = { { 784111777, 0 },
					   { 784111777, 999999999 } };
	int fd = open(below(name), O_CREAT | O_WRONLY | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, data, n), (ssize_t)n);
	ck_assert_int_eq(futimens(fd, times), 0);
	close(fd);
}

static void make_root(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(root, sizeof root, "%s/root", folder);
	content = malloc(LARGE);
	for (unsigned i = 0; i < LARGE; i++)
		content[i] = (char)(i * 2654435761u >> 13);
	mkdir(root, 0755);
	mkdir(below("root/dir"), 0755);
	mkdir(below("root/dir/inner"), 0755);
	make_file("secret", "secret", 6);
	make_file("root/hello.txt", "hello world\n", 12);
	make_file("root/a b.html", "blank", 5);
	make_file("root/empty", "", 0);
	make_file("root/dir/index.html", "index", 5);
	make_file("root/1k", content, 1024);
	make_file("root/middle", content, MIDDLE);
	make_file("root/large", content, LARGE);
	ck_assert_int_eq(symlink("hello.txt", below("root/inside")), 0);
	ck_assert_int_eq(symlink("../secret", below("root/outside")), 0);
	ck_assert_int_eq(symlink("/etc/passwd", below("root/absolute")), 0);
	ck_assert_int_eq(symlink("loop", below("root/loop")), 0);
	ck_assert_int_eq(mkfifo(below("root/fifo"), 0644), 0);
}

static void remove_root(void)
{
	char command[128];

	free(content);
	snprintf(command, sizeof command, "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

/* --- the server --- */

struct server {
	struct program program;
	char address[PROGRAM_ADDRESS]; /* the first that it listens on */
};

static struct program launch(const char *const *options, rlim_t n_files)
{
	const char *arguments[MAX_OPTIONS + 3] = { "--root", root };

	for (size_t i = 0; options[i]; i++) {
		ck_assert_uint_lt(i, MAX_OPTIONS);
		arguments[i + 2] = options[i];
	}
	return program_start("WEFT_HTTPD", "tools/weft-httpd", arguments,
			     n_files);
}

static struct server start_with(const char *const *options, rlim_t n_files)
{
	struct server s = { .program = launch(options, n_files) };

	program_listens(&s.program, s.address);
	return s;
}

#define START(...) start_with((const char *const[]){ __VA_ARGS__, NULL }, 0)

/* What it says from SIGTERM on, or since it listens. */
static const char *end_server(struct server *s)
{
	static char text[TEXT];

	ck_assert_int_eq(kill(s->program.pid, SIGTERM), 0);
	ck_assert_msg(program_end(&s->program, text, sizeof text) == 0, "%s",
		      text);
	ck_assert_msg(strstr(text, "total: "), "no summary: %s", text);
	return text;
}

static void says(const char *text, const char *what)
{
	ck_assert_msg(strstr(text, what), "'%s' is not in: %.3000s", what,
		      text);
}

/* --- clients --- */

static int dial(const struct server *s)
{
	struct sockaddr_un local = { .sun_family = AF_UNIX };
	struct sockaddr_in in = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	unsigned short port;
	int fd, rc;

	if (sscanf(s->address, "127.0.0.1:%hu", &port) == 1) {
		in.sin_port = htons(port);
		fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
		rc = connect(fd, (struct sockaddr *)&in, sizeof in);
	} else {
		ck_assert_int_eq(
			sscanf(s->address, "unix:%107s", local.sun_path), 1);
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		rc = connect(fd, (struct sockaddr *)&local, sizeof local);
	}
	ck_assert_msg(rc == 0, "%s: %s", s->address, strerror(errno));
	return fd;
}

static void send_bytes(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, data, n, MSG_NOSIGNAL);

		ck_assert_msg(sent > 0, "send: %s", strerror(errno));
		data += sent;
		n -= (size_t)sent;
	}
}

static void send_text(int fd, const char *text)
{
	send_bytes(fd, text, strlen(text));
}

struct answer {
	int status;
	char head[4096]; /* with the blank line */
	char body[1024]; /* the beginning */
	size_t n;        /* bytes of the body */
	size_t n_wrong;  /* that are not `content` from `first` on */
};

static const char *field_of(const struct answer *a, const char *name)
{
	static char value[512];
	const char *at = strstr(a->head, name);

	if (!at || sscanf(at + strlen(name), ": %511[^\r]", value) != 1)
		return NULL;
	return value;
}

/* Takes one answer, byte by byte up to its body. False at the end of the connection
 * before it. */
static bool receive(int fd, bool has_body, size_t first, struct answer *a)
{
	static char data[64 * 1024];
	const char *length;
	size_t n = 0, left;

	memset(a, 0, sizeof *a);
	while (n < 4 || memcmp(a->head + n - 4, "\r\n\r\n", 4) != 0) {
		ssize_t got = recv(fd, a->head + n, 1, 0);

		if (got <= 0 && n == 0)
			return false;
		ck_assert_msg(got == 1, "cut off: %s", a->head);
		ck_assert_uint_lt(++n, sizeof a->head - 1);
	}
	ck_assert_msg(sscanf(a->head, "HTTP/1.1 %d ", &a->status) == 1, "%s",
		      a->head);
	length = field_of(a, "\nContent-Length");
	left = length && has_body ? strtoul(length, NULL, 10) : 0;
	while (left) {
		size_t most = left < sizeof data ? left : sizeof data;
		ssize_t got = recv(fd, data, most, 0);

		ck_assert_msg(got > 0, "%zu bytes are missing", left);
		for (ssize_t i = 0; i < got; i++, a->n++) {
			if (a->n < sizeof a->body - 1)
				a->body[a->n] = data[i];
			a->n_wrong += first + a->n >= LARGE ||
				      data[i] != content[first + a->n];
		}
		left -= (size_t)got;
	}
	return true;
}

static bool is_closed(int fd)
{
	char byte;

	return recv(fd, &byte, 1, 0) <= 0;
}

static int ask(const struct server *s, const char *request, struct answer *a)
{
	int fd = dial(s);

	send_text(fd, request);
	ck_assert_msg(receive(fd, strncmp(request, "HEAD", 4) != 0, 0, a),
		      "no answer to %s", request);
	return fd;
}

/* --- tests: what is answered --- */

static const struct {
	const char *request;
	int status;
	const char *head[3]; /* has these; what begins with ! it has not */
	const char *body;
	bool closes;
} exchanges[] = {
	/* files */
	{ "GET /hello.txt HTTP/1.1\r\n" END,
	  200,
	  { "Content-Length: 12\r\n", "Last-Modified: " MODIFIED "\r\n",
	    "Content-Type: text/plain\r\n" },
	  "hello world\n",
	  false },
	{ "HEAD /hello.txt HTTP/1.1\r\n" END,
	  200,
	  { "Content-Length: 12\r\n", "Accept-Ranges: bytes", "\nDate: " },
	  "",
	  false },
	{ "GET /empty HTTP/1.1\r\n" END,
	  200,
	  { "Content-Length: 0\r\n", "octet-stream" },
	  "",
	  false },
	{ "GET /hello.txt?a=b%zz HTTP/1.1\r\n" END, 200, { 0 }, NULL, false },
	{ "GET /%68ello%2Etxt HTTP/1.1\r\n" END, 200, { 0 }, NULL, false },
	{ "GET /a%20b.html HTTP/1.1\r\n" END,
	  200,
	  { "text/html" },
	  "blank",
	  false },
	{ "GET //hello.txt HTTP/1.1\r\n" END, 200, { 0 }, NULL, false },
	{ "GET http://x/hello.txt HTTP/1.1\r\n" END, 200, { 0 }, NULL, false },
	{ "GET /inside HTTP/1.1\r\n" END, 200, { 0 }, "hello world\n", false },
	{ "\r\n\r\nGET /empty HTTP/1.1\r\n" END, 200, { 0 }, "", false },
	{ "GET /dir/../hello.txt HTTP/1.1\r\n" END, 200, { 0 }, NULL, false },
	{ "GET /nothing HTTP/1.1\r\n" END, 404, { 0 }, NULL, false },
	{ "GET /hello.txt/ HTTP/1.1\r\n" END, 404, { 0 }, NULL, false },
	{ "GET /hello.txt/x HTTP/1.1\r\n" END, 404, { 0 }, NULL, false },
	{ "HEAD /nothing HTTP/1.1\r\n" END,
	  404,
	  { "Content-Length: 14" },
	  "",
	  false },
	{ "GET / HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET http://x HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /dir/ HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /dir HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /fifo HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	/* out of the root */
	{ "GET /../secret HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /dir/../../secret HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /%2e%2e/secret HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /%2e%2e%2fsecret HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET //etc/passwd HTTP/1.1\r\n" END, 404, { 0 }, NULL, false },
	{ "GET /%2fetc/passwd HTTP/1.1\r\n" END, 404, { 0 }, NULL, false },
	{ "GET /outside HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /absolute HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /loop HTTP/1.1\r\n" END, 403, { 0 }, NULL, false },
	{ "GET /hello.txt%00.html HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /%zz HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /%4 HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /% HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	/* ranges */
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-0\r\n" END,
	  206,
	  { "Content-Range: bytes 0-0/12\r\n", "Content-Length: 1\r\n" },
	  "h",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nrange: Bytes=6-\r\n" END,
	  206,
	  { "Content-Range: bytes 6-11/12\r\n" },
	  "world\n",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=-6\r\n" END,
	  206,
	  { "Content-Range: bytes 6-11/12\r\n" },
	  "world\n",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=-999\r\n" END,
	  206,
	  { "Content-Range: bytes 0-11/12\r\n" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\n"
	  "Range: bytes=1-99999999999999999999999\r\n" END,
	  206,
	  { "Content-Range: bytes 1-11/12\r\n" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=12-\r\n" END,
	  416,
	  { "Content-Range: bytes */12\r\n" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=-0\r\n" END,
	  416,
	  { 0 },
	  NULL,
	  false },
	{ "GET /empty HTTP/1.1\r\nRange: bytes=0-\r\n" END,
	  416,
	  { "bytes */0" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=5-2\r\n" END,
	  200,
	  { "!Content-Range" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-1,3-4\r\n" END,
	  200,
	  { "!Content-Range" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=-\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: lines=0-1\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	{ "HEAD /hello.txt HTTP/1.1\r\nRange: bytes=0-1\r\n" END,
	  200,
	  { "Content-Length: 12\r\n" },
	  "",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-1\r\n"
	  "If-Range: " MODIFIED "\r\n" END,
	  206,
	  { 0 },
	  "he",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-1\r\n"
	  "If-Range: Sun, 06 Nov 1994 08:49:38 GMT\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-1\r\n"
	  "If-Range: \"tag\"\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	/* dates, in their three forms */
	{ "GET /hello.txt HTTP/1.1\r\n"
	  "If-Modified-Since: " MODIFIED "\r\n" END,
	  304,
	  { "Last-Modified: " MODIFIED, "!Content-Length" },
	  "",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\n"
	  "If-Modified-Since: Sunday, 06-Nov-94 08:49:37 GMT\r\n" END,
	  304,
	  { 0 },
	  "",
	  false },
	{ "HEAD /hello.txt HTTP/1.1\r\n"
	  "If-Modified-Since: Sun Nov  6 08:49:37 1994\r\n" END,
	  304,
	  { 0 },
	  "",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\n"
	  "If-Modified-Since: Sun, 06 Nov 1994 08:49:36 GMT\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nIf-Modified-Since: yesterday\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nIf-None-Match: *\r\n" END,
	  304,
	  { 0 },
	  "",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nIf-Match: \"a\"\r\n"
	  "If-Match: \"b\"\r\nRange: bytes=0-1\r\n" END,
	  412,
	  { "!Content-Range" },
	  NULL,
	  false },
	{ "HEAD /hello.txt HTTP/1.1\r\nIf-Match: *\r\n" END,
	  200,
	  { "Content-Length: 12\r\n" },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nIf-Unmodified-Since: "
	  "Sun, 06 Nov 1994 08:49:36 GMT\r\n" END,
	  412,
	  { 0 },
	  NULL,
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nRange: bytes=0-4\r\n"
	  "If-Unmodified-Since: " MODIFIED "\r\n" END,
	  206,
	  { 0 },
	  "hello",
	  false },
	{ "GET /empty HTTP/1.1\r\nRange: bytes=-5\r\n" END,
	  200,
	  { "Content-Length: 0\r\n" },
	  "",
	  false },
	{ "GET /empty HTTP/1.1\r\nHost: a b/c\r\n\r\n",
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nHost:\r\n\r\n", 200, { 0 }, "", false },
	{ "GET /empty HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
	  200,
	  { 0 },
	  "",
	  false },
	{ "GET /hello.txt HTTP/1.1\r\nIf-None-Match: \"a\"\r\n"
	  "If-None-Match: \"b\"\r\nIf-Modified-Since: " MODIFIED "\r\n" END,
	  200,
	  { 0 },
	  NULL,
	  false },
	/* connections */
	{ "GET /empty HTTP/1.1\r\nConnection: close\r\n" END,
	  200,
	  { "Connection: close\r\n" },
	  "",
	  true },
	{ "GET /empty HTTP/1.0\r\n\r\n",
	  200,
	  { "Connection: close\r\n" },
	  "",
	  true },
	{ "GET /empty HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
	  200,
	  { "Connection: keep-alive\r\n" },
	  "",
	  false },
	{ "GET /empty HTTP/1.1\r\nConnection: Upgrade, HTTP2-Settings\r\n"
	  "Upgrade: h2c\r\nHTTP2-Settings: x\r\n" END,
	  200,
	  { "!Upgrade" },
	  "",
	  false },
	{ "GET /empty HTTP/1.1\r\nContent-Length: 0\r\n" END,
	  200,
	  { 0 },
	  "",
	  false },
	/* what is no request */
	{ "GET /empty HTTP/1.1\r\n\r\n", 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\n" HOST END, 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nHost : x\r\n\r\n", 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nno colon\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nX: a\x01"
	  "b\r\n" END,
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /em\x01pty HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nX:\x01\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nX: \x7fy\r\n" END, 400, { 0 }, NULL, true },
	{ "GET * HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET empty HTTP/1.1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET\r\n\r\n", 400, { 0 }, NULL, true },
	{ "\x16\x03\x01\x02", 400, { "Connection: close" }, NULL, true },
	{ "GET /empty HTTP/1,1\r\n" END, 400, { 0 }, NULL, true },
	{ "GET /empty\r\n\r\n", 505, { 0 }, NULL, true },
	{ "GET /empty HTTP/2.0\r\n" END, 505, { 0 }, NULL, true },
	{ "BREW /empty HTTP/1.1\r\n" END, 501, { 0 }, NULL, true },
	{ "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 501, { 0 }, NULL, true },
	{ "POST /empty HTTP/1.1\r\nContent-Length: 3\r\n" END "abc",
	  405,
	  { "Allow: GET, HEAD\r\n" },
	  NULL,
	  true },
	{ "DELETE /empty HTTP/1.1\r\n" END, 405, { 0 }, NULL, true },
	{ "CONNECT x:80 HTTP/1.1\r\n" END, 405, { 0 }, NULL, true },
	{ "OPTIONS * HTTP/1.1\r\n" END, 405, { 0 }, NULL, true },
	{ "GET /empty HTTP/1.1\r\nContent-Length: 3\r\n" END "abc",
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nContent-Length: -3\r\n" END,
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nContent-Length: 0\r\n"
	  "Content-Length: 44\r\n" END,
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nTransfer-Encoding: chunked\r\n" END
	  "0\r\n\r\n",
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nTransfer-Encoding: identity\r\n" END,
	  400,
	  { 0 },
	  NULL,
	  true },
	{ "GET /empty HTTP/1.1\r\nTransfer-Encoding: chunked\r\n"
	  "Content-Length: 5\r\n" END "0\r\n\r\n",
	  400,
	  { 0 },
	  NULL,
	  true },
};

static void check_answer(size_t i, const struct answer *a)
{
	ck_assert_msg(a->status == exchanges[i].status, "%s: %s",
		      exchanges[i].request, a->head);
	for (int k = 0; k < 3 && exchanges[i].head[k]; k++) {
		const char *text = exchanges[i].head[k];
		bool is_unwanted = *text == '!';

		ck_assert_msg(
			!strstr(a->head, text + is_unwanted) == is_unwanted,
			"%s: %s: %s", exchanges[i].request, text, a->head);
	}
	if (exchanges[i].body)
		ck_assert_str_eq(a->body, exchanges[i].body);
	ck_assert_msg(!strstr(a->body, "secret"), "%s", exchanges[i].request);
}

/* Each gets its status, in one piece or byte by byte. What is malformed ends the
 * connection; what is not leaves it usable. */
START_TEST(each_request_gets_its_status)
{
	struct server s = START(ANY_PORT);

	for (size_t i = 0; i < N_ELEMENTS(exchanges); i++) {
		const char *request = exchanges[i].request;
		struct answer a;
		int fd = dial(&s);

		for (size_t n = strlen(request); _i && n > 1; n--)
			send_bytes(fd, request++, 1);
		send_text(fd, request);
		ck_assert_msg(
			receive(fd,
				strncmp(exchanges[i].request, "HEAD", 4) != 0,
				0, &a),
			"%s", exchanges[i].request);
		check_answer(i, &a);
		if (!exchanges[i].closes) {
			send_text(fd, "GET /empty HTTP/1.1\r\n"
				      "Connection: close\r\n" END);
			ck_assert(receive(fd, true, 0, &a));
			ck_assert_int_eq(a.status, 200);
		}
		ck_assert_msg(is_closed(fd), "%s", exchanges[i].request);
		close(fd);
	}
	end_server(&s);
}
END_TEST

/* Answers to requests that are sent together come in their order. */
START_TEST(pipelined_requests_are_answered_in_order)
{
	static const struct {
		const char *request;
		size_t n;
	} kinds[] = {
		{ "GET /1k HTTP/1.1\r\n" END, 1024 },
		{ "GET /middle HTTP/1.1\r\n" END, MIDDLE },
		{ "GET /nothing HTTP/1.1\r\n" END, 14 },
		{ "GET /empty HTTP/1.1\r\n" END, 0 },
		{ "GET /large HTTP/1.1\r\n" END, LARGE },
	};
	struct server s = START("--threads=2", ANY_PORT);
	int fd = dial(&s);
	struct answer a;

	for (unsigned i = 0; i < 200; i++)
		send_text(fd, kinds[(i * 7 + i / 5) % 4 + i / 40 % 2].request);
	for (unsigned i = 0; i < 200; i++) {
		size_t n = kinds[(i * 7 + i / 5) % 4 + i / 40 % 2].n;

		ck_assert(receive(fd, true, 0, &a));
		ck_assert_uint_eq(a.n, n);
		ck_assert(n == 14 || !a.n_wrong);
	}
	close(fd);
	says(end_server(&s), "total: 1 connections, 200 requests");
}
END_TEST

/* Also from the middle, over TCP and a Unix socket. */
START_TEST(files_of_all_sizes)
{
	static const struct {
		const char *name;
		size_t n;
	} files[] = { { "1k", 1024 },
		      { "middle", MIDDLE },
		      { "large", LARGE } };
	char address[160], request[256];
	struct server s;
	struct answer a;
	int fd;

	snprintf(address, sizeof address, "unix:%s/socket", folder);
	s = START(_i ? address : ANY_PORT);
	fd = dial(&s);
	for (size_t i = 0; i < N_ELEMENTS(files); i++)
		for (size_t first = 0; first < files[i].n;
		     first += files[i].n / 3) {
			snprintf(
				request, sizeof request,
				"GET /%s HTTP/1.1\r\nRange: bytes=%zu-\r\n" END,
				files[i].name, first);
			send_text(fd, request);
			ck_assert(receive(fd, true, first, &a));
			ck_assert_int_eq(a.status, 206);
			ck_assert_uint_eq(a.n, files[i].n - first);
			ck_assert_uint_eq(a.n_wrong, 0);
		}
	close(fd);
	end_server(&s);
}
END_TEST

static void expect(int fd, const char *request, const char *body)
{
	struct answer a;

	send_text(fd, request);
	ck_assert(receive(fd, true, 0, &a));
	ck_assert_str_eq(a.body, body);
}

/* An answer is the file as it is now, though files stay open for a while. */
START_TEST(files_that_change)
{
	static const char get[] = "GET /dir/new HTTP/1.1\r\n" END;
	struct server s = START(_i ? "--keep=0s" : "--keep=1000s", ANY_PORT);
	int fd = dial(&s);
	FILE *f;

	expect(fd, get, "404 Not Found\n");
	make_file("root/dir/new", "one", 3);
	expect(fd, get, "one");
	f = fopen(below("root/dir/new"), "a");
	ck_assert_ptr_nonnull(f);
	fputs(" and two", f);
	fclose(f);
	expect(fd, get, "one and two");
	ck_assert_int_eq(truncate(below("root/dir/new"), 1), 0);
	expect(fd, get, "o");
	make_file("other", "three", 5);
	ck_assert_int_eq(rename(below("other"), below("root/dir/new")), 0);
	expect(fd, get, "three");
	ck_assert_int_eq(unlink(below("root/dir/new")), 0);
	expect(fd, get, "404 Not Found\n");
	close(fd);
	end_server(&s);
}
END_TEST

static bool has_open(const struct server *s, const char *path)
{
	char name[64], target[256];
	bool has = false;

	for (int i = 0; i < 64; i++) {
		ssize_t n;

		snprintf(name, sizeof name, "/proc/%d/fd/%d",
			 (int)s->program.pid, i);
		n = readlink(name, target, sizeof target - 1);
		target[n > 0 ? n : 0] = '\0';
		has |= strcmp(target, path) == 0;
	}
	return has;
}

/* They do not stay open for ever. */
START_TEST(files_are_closed)
{
	struct server s = START("--keep=20ms", ANY_PORT);
	int fd = dial(&s);

	expect(fd, "GET /hello.txt HTTP/1.1\r\n" END, "hello world\n");
	expect(fd, "GET /a%20b.html HTTP/1.1\r\n" END, "blank");
	while (has_open(&s, below("root/hello.txt")) ||
	       has_open(&s, below("root/a b.html")))
		usleep(1000);
	close(fd);
	end_server(&s);
}
END_TEST

START_TEST(an_index_stands_for_a_folder)
{
	struct server s = START("--index=index.html", ANY_PORT);
	char query[6000], request[6100];
	struct answer a;

	close(ask(&s, "GET /dir/ HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 200);
	ck_assert_str_eq(a.body, "index");
	says(a.head, "Content-Type: text/html\r\n");
	close(ask(&s, "GET /dir HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 301);
	says(a.head, "Location: /dir/\r\n");
	/* it names no other host, and no other line */
	close(ask(&s, "GET //dir%2f/%2finner HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 301);
	says(a.head, "Location: /dir///inner/\r\n");
	/* the query stays with it */
	close(ask(&s, "GET /dir?a=/%0d%0A\t&b?\xe9#c HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 301);
	says(a.head, "Location: /dir/?a=/%0d%0A%09&b?%E9\r\n");
	memset(query, 'q', sizeof query - 1);
	query[sizeof query - 1] = '\0';
	snprintf(request, sizeof request, "GET /dir?%s HTTP/1.1\r\n" END,
		 query);
	close(ask(&s, request, &a));
	ck_assert_int_eq(a.status, 414);
	close(ask(&s, "GET /dir/ HTTP/1.1\r\nRange: bytes=0-2\r\n" END, &a));
	ck_assert_int_eq(a.status, 206);
	close(ask(&s, "GET / HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 404);
	close(ask(&s, "GET /dir/inner/ HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(a.status, 404);
	end_server(&s);
}
END_TEST

/* --- tests: limits --- */

START_TEST(long_requests_are_refused)
{
	struct server s =
		START("--target-size=100", "--header-size=400", ANY_PORT);
	char request[2048];
	struct answer a;
	int fd;

	for (int n = 99; n < 103; n++) {
		snprintf(request, sizeof request, "GET /%0*d HTTP/1.1\r\n" END,
			 n, 0);
		fd = ask(&s, request, &a);
		ck_assert_int_eq(a.status, n < 100 ? 404 : 414);
		ck_assert(n < 100 || is_closed(fd));
		close(fd);
	}
	for (int n = 1; n < 1000; n *= 10) {
		snprintf(request, sizeof request,
			 "GET /empty HTTP/1.1\r\nX: %0*d\r\n" END, n, 0);
		fd = ask(&s, request, &a);
		ck_assert_int_eq(a.status, n < 400 ? 200 : 431);
		close(fd);
	}
	/* also one that never ends */
	fd = dial(&s);
	send_text(fd, "GET /empty HTTP/1.1\r\n");
	for (int i = 0; i < 100; i++)
		send_text(fd, "X: y\r\n");
	ck_assert(receive(fd, true, 0, &a));
	ck_assert_int_eq(a.status, 431);
	close(fd);
	end_server(&s);
}
END_TEST

/* A request has to be there in time, from its first byte on. */
START_TEST(slow_requests_are_refused)
{
	struct server s = START("--request-time=50ms", ANY_PORT);
	struct answer a;
	int fd = ask(&s, "GET /empty HTTP/1.1\r\n" END "GET /emp", &a);

	ck_assert_int_eq(a.status, 200);
	ck_assert(receive(fd, true, 0, &a));
	ck_assert_int_eq(a.status, 408);
	ck_assert(is_closed(fd));
	close(fd);
	says(end_server(&s), "1 requests that came too slowly");
}
END_TEST

/* Asks for more than the connection holds, and waits until it comes. All is asked for
 * in one segment: so all has arrived by then. */
static void fill(int fd)
{
	static const char one[] = "GET /large HTTP/1.1\r\n" END;
	char all[N_LARGE * sizeof one] = "";
	char byte;

	for (int i = 0; i < N_LARGE; i++)
		strcat(all, one);
	send_text(fd, all);
	ck_assert_int_eq(recv(fd, &byte, 1, MSG_PEEK), 1);
}

/* Neither those who say nothing nor those who take nothing stay. */
START_TEST(idle_connections_are_closed)
{
	struct server s = START("--idle=1s", ANY_PORT);
	struct answer a;
	int silent = dial(&s), stuck = dial(&s);
	int kept = ask(&s, "GET /empty HTTP/1.1\r\n" END, &a);
	const char *text;

	fill(stuck);
	ck_assert(is_closed(silent));
	ck_assert(is_closed(kept));
	/* Only then is the one that is stuck known to be cut off. */
	close(ask(&s, "GET /empty HTTP/1.1\r\n" END, &a));
	usleep(500000);
	text = end_server(&s);
	ck_assert_msg(strstr(text, " 3 closed for being idle") ||
			      strstr(text, " 4 closed for being idle"),
		      "%s", text);
	close(silent);
	close(stuck);
	close(kept);
}
END_TEST

/* Two are served. The third is when one of them has left. */
START_TEST(connections_are_limited)
{
	struct server s = START("--connections=2", ANY_PORT);
	struct answer a;
	int one = ask(&s, "GET /empty HTTP/1.1\r\n" END, &a);
	int two = ask(&s, "GET /empty HTTP/1.1\r\n" END, &a);
	int third = dial(&s);
	char byte;

	send_text(third, "GET /empty HTTP/1.1\r\n" END);
	for (int i = 0; i < 30; i++) {
		send_text(two, "GET /empty HTTP/1.1\r\n" END);
		ck_assert(receive(two, true, 0, &a));
	}
	ck_assert_int_eq(recv(third, &byte, 1, MSG_DONTWAIT), -1);
	close(one);
	ck_assert(receive(third, true, 0, &a));
	close(two);
	close(third);
	says(end_server(&s), "total: 3 connections");
}
END_TEST

/* Where descriptors run out, those who are connected are served on, if need be with a
 * 503, and others when there is room again. It says so once. */
START_TEST(descriptors_run_out)
{
	const char *const options[] = { ANY_PORT, NULL };
	struct server s = start_with(options, 24);
	struct answer a;
	int fds[40], late;
	char line[256] = "";

	for (int i = 0; i < 40; i++)
		fds[i] = dial(&s);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, s.program.output));
	says(line, strerror(EMFILE));
	send_text(fds[0], "GET /1k HTTP/1.1\r\n" END);
	ck_assert(receive(fds[0], true, 0, &a));
	ck_assert(a.status == 503 || a.status == 200);
	late = dial(&s);
	send_text(late, "GET /large HTTP/1.1\r\n" END);
	for (int i = 0; i < 40; i++)
		close(fds[i]);
	ck_assert(receive(late, true, 0, &a));
	ck_assert(a.status == 503 || a.n == LARGE);
	close(late);
	ck_assert_ptr_null(strstr(end_server(&s), strerror(EMFILE)));
}
END_TEST

/* --- tests: clients and the end --- */

/* Those who go away take nothing from the others. */
START_TEST(clients_go_away)
{
	const struct linger hard = { .l_onoff = 1 };
	struct server s = START("--threads=2", ANY_PORT);
	struct answer a;
	int good = ask(&s, "GET /1k HTTP/1.1\r\n" END, &a);

	for (int i = 0; i < N_MANY; i++) {
		int fd = dial(&s);

		if (i % 2)
			fill(fd);
		else
			send_text(fd, "GET /la");
		if (i % 3)
			setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard,
				   sizeof hard);
		close(fd);
		send_text(good, "GET /1k HTTP/1.1\r\n" END);
		ck_assert(receive(good, true, 0, &a));
		ck_assert_uint_eq(a.n, 1024);
	}
	close(good);
	end_server(&s);
}
END_TEST

/* What was asked for before the signal is sent, and those who wait are let go. */
START_TEST(the_end_finishes_answers)
{
	struct server s = START("--threads=2", "--drain=1000s", ANY_PORT);
	struct answer a;
	int idle = ask(&s, "GET /1k HTTP/1.1\r\n" END, &a);
	int busy = dial(&s);

	fill(busy);
	program_answers(busy);
	ck_assert_int_eq(kill(s.program.pid, SIGTERM), 0);
	ck_assert(is_closed(idle));
	for (int i = 0; i < N_LARGE; i++) {
		ck_assert(receive(busy, true, 0, &a));
		ck_assert_uint_eq(a.n, LARGE);
		ck_assert_uint_eq(a.n_wrong, 0);
	}
	ck_assert(is_closed(busy));
	close(idle);
	close(busy);
	says(end_server(&s), "total: 2 connections, 7 requests");
}
END_TEST

/* But not for ever. */
START_TEST(the_end_does_not_wait_for_ever)
{
	struct server s = START("--drain=50ms", "--connections=1", ANY_PORT);
	int stuck = dial(&s), waits;

	fill(stuck);
	program_answers(stuck);
	waits = dial(&s);
	usleep(20000); /* most often it is accepted, and waits for room */
	says(end_server(&s), "total: 1 connections");
	close(stuck);
	close(waits);
}
END_TEST

static bool is_refused(const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc;

	strcpy(name.sun_path, path);
	rc = connect(fd, (struct sockaddr *)&name, sizeof name);
	close(fd);
	return rc != 0;
}

/* One that ends takes nothing from the one that is started in its place meanwhile. */
START_TEST(the_next_one_may_begin)
{
	char address[128];
	struct server old, new;
	struct answer a;
	int stuck;

	snprintf(address, sizeof address, "unix:%s", below("socket"));
	old = START("--drain=1000s", address);
	stuck = dial(&old);
	fill(stuck);
	ck_assert_int_eq(kill(old.program.pid, SIGTERM), 0);
	while (!is_refused(below("socket")))
		usleep(1000);
	new = START(address);
	close(stuck);
	end_server(&old);
	close(ask(&new, "GET /1k HTTP/1.1\r\n" END, &a));
	ck_assert_uint_eq(a.n, 1024);
	end_server(&new);
	ck_assert(is_refused(below("socket")));
}
END_TEST

/* An address that a server has is refused to the next one and stays usable. */
START_TEST(an_address_in_use_is_named)
{
	struct server s = START("--threads=2", ANY_PORT);
	const char *const options[] = { "--threads=2", s.address, NULL };
	struct program second = launch(options, 0);
	char text[TEXT];
	struct answer a;

	ck_assert_int_eq(program_end(&second, text, sizeof text), 1);
	says(text, s.address);
	says(text, strerror(EADDRINUSE));
	close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	end_server(&s);
}
END_TEST

/* --- tests: the log --- */

static const char *read_log(void)
{
	static char text[TEXT];
	FILE *f = fopen(below("log"), "r");

	ck_assert_ptr_nonnull(f);
	text[fread(text, 1, sizeof text - 1, f)] = '\0';
	fclose(f);
	return text;
}

START_TEST(requests_are_logged)
{
	struct server s = START("--log", below("log"), ANY_PORT);
	const char *text;
	struct answer a;
	int day, year, hour, status, n;
	char month[4], rest[64];

	close(ask(&s, "GET /1k?x HTTP/1.1\r\n" END, &a));
	close(ask(&s, "HEAD /1k HTTP/1.0\r\n\r\n", &a));
	close(ask(&s, "GET /\"q\\ HTTP/1.1\r\n" END, &a));
	close(ask(&s, "\x16\x03", &a));
	for (int i = 0; i < N_MANY; i++)
		close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	end_server(&s);
	text = read_log();
	ck_assert_msg(sscanf(text,
			     "127.0.0.1 - - [%d/%3s/%d:%d:%*d:%*d %*d] "
			     "\"GET /1k?x HTTP/1.1\" %d %d%63[^\"]",
			     &day, month, &year, &hour, &status, &n, rest) == 7,
		      "%s", text);
	ck_assert(status == 200 && n == 1024);
	says(rest, "\n127.0.0.1 - - [");
	says(text, "] \"HEAD /1k HTTP/1.0\" 200 0\n");
	says(text, "] \"GET /\\x22q\\x5c HTTP/1.1\" 404 14\n");
	says(text, "] \"-\" 400 16\n");
	n = 0;
	for (; (text = strstr(text, "GET /1k HTTP/1.1\" 200 1024\n")); text++)
		n++;
	ck_assert_int_eq(n, N_MANY);
}
END_TEST

/* A disk that is full takes nothing from the clients, and is told of once. */
START_TEST(a_log_can_be_lost)
{
	struct server s = START("--log=/dev/full", ANY_PORT);
	const char *text, *told;
	struct answer a;

	for (int i = 0; i < N_MANY; i++)
		close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	text = end_server(&s);
	told = strstr(text, strerror(ENOSPC));
	ck_assert_msg(told && !strstr(told + 1, strerror(ENOSPC)), "%s", text);
}
END_TEST

/* So does a log that may become no larger. */
START_TEST(a_log_can_be_too_large)
{
	static const struct rlimit small = { 1024, 1024 };
	struct server s = START("--log", below("log"), ANY_PORT);
	struct answer a;

	ck_assert_int_eq(prlimit(s.program.pid, RLIMIT_FSIZE, &small, NULL), 0);
	for (int i = 0; i < N_MANY; i++)
		close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	says(end_server(&s), strerror(EFBIG));
}
END_TEST

/* Nor does the end of whoever reads it. */
START_TEST(a_log_can_lose_its_reader)
{
	const char *text, *told;
	struct server s;
	struct answer a;
	int fifo;

	ck_assert_int_eq(mkfifo(below("log"), 0600), 0);
	fifo = open(below("log"), O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ck_assert_int_ge(fifo, 0);
	s = START("--log", below("log"), ANY_PORT);
	close(fifo);
	for (int i = 0; i < N_MANY; i++)
		close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	text = end_server(&s);
	told = strstr(text, strerror(EPIPE));
	ck_assert_msg(told && !strstr(told + 1, strerror(EPIPE)), "%s", text);
}
END_TEST

/* A line is written as a whole, whatever other threads write, and however little a
 * pipe takes at a time. */
START_TEST(lines_are_not_mixed)
{
	enum { PIPE = 4096, CLIENTS = 16, EACH = 100 };
	static const char request[] = "GET /empty HTTP/1.1\r\n" END;
	static const char end[] = "] \"GET /empty HTTP/1.1\" 200 0\n";
	int fds[CLIENTS], n_lines = 0;
	struct server s;
	struct answer a;
	char line[256];
	FILE *log;

	ck_assert_int_eq(mkfifo(below("log"), 0600), 0);
	log = fopen(below("log"), "r+e");
	ck_assert_ptr_nonnull(log);
	ck_assert_int_ge(fcntl(fileno(log), F_SETPIPE_SZ, PIPE), 0);
	s = START("--threads=2", "--log", below("log"), ANY_PORT);
	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = dial(&s);
		for (int k = 0; k < EACH; k++)
			send_text(fds[i], request);
	}
	for (int i = 0; i < CLIENTS; i++) {
		for (int k = 0; k < EACH; k++)
			ck_assert(receive(fds[i], true, 0, &a));
		close(fds[i]);
	}
	while (n_lines < CLIENTS * EACH && fgets(line, sizeof line, log)) {
		const char *tail = strstr(line, end);

		ck_assert_msg(strncmp(line, "127.0.0.1 - - [", 15) == 0 &&
				      tail && !tail[strlen(end)],
			      "line %d: %s", n_lines, line);
		n_lines++;
	}
	end_server(&s);
	fclose(log);
}
END_TEST

/* What was not sent is in no line. */
START_TEST(cut_off_answers_are_logged_so)
{
	const struct linger hard = { .l_onoff = 1 };
	struct server s = START("--log", below("log"), ANY_PORT);
	const char *text, *last = NULL;
	struct answer a;
	int n = 0;
	int fd = dial(&s);

	fill(fd);
	ck_assert(receive(fd, true, 0, &a));
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
	close(fd);
	end_server(&s);
	for (text = read_log(); (text = strstr(text, "\" 200 ")); text++)
		last = text;
	ck_assert_msg(last && sscanf(last, "\" 200 %d", &n) == 1, "%s",
		      read_log());
	ck_assert_int_lt(n, LARGE);
}
END_TEST

/* A standard descriptor that is closed is given to nothing else. */
START_TEST(nothing_is_printed_elsewhere)
{
	const char *name = getenv("WEFT_HTTPD");
	struct server s;
	struct answer a;
	int status;
	pid_t pid;

	snprintf(s.address, sizeof s.address, "unix:%s", below("socket"));
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		for (int fd = 0; fd <= STDERR_FILENO; fd++)
			close(fd);
		execl(name ? name : "tools/weft-httpd", "weft-httpd", "--root",
		      root, "--log", below("log"), s.address, NULL);
		_exit(127);
	}
	while (is_refused(below("socket")))
		usleep(1000);
	close(ask(&s, "GET /1k HTTP/1.1\r\n" END, &a));
	ck_assert_int_eq(kill(pid, SIGTERM), 0);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	ck_assert_msg(strncmp(read_log(), "- - - [", 7) == 0, "%s", read_log());
	ck_assert_ptr_null(strstr(read_log(), "listening"));
	ck_assert_ptr_null(strstr(read_log(), "total"));
}
END_TEST

/* Nobody reads the log. In the end the requests wait for it, the thread does not, and
 * it can be ended. */
START_TEST(a_log_that_nobody_takes)
{
	enum { PIPE = 4096, LINES = 20000, PATIENCE = 100 };
	static const char request[] = "GET /empty HTTP/1.1\r\n" END;
	static char requests[LINES * (sizeof request - 1)];
	size_t n_sent = 0, n_received = 0;
	struct server s;
	struct answer a;
	int fifo, fd;

	for (size_t i = 0; i < LINES; i++)
		memcpy(requests + i * (sizeof request - 1), request,
		       sizeof request - 1);
	ck_assert_int_eq(mkfifo(below("log"), 0600), 0);
	fifo = open(below("log"), O_RDWR | O_CLOEXEC);
	ck_assert_int_ge(fcntl(fifo, F_SETPIPE_SZ, PIPE), 0);
	s = START("--log", below("log"), "--drain=50ms", ANY_PORT);
	fd = ask(&s, request, &a);
	for (int n_idle = 0; n_idle < PATIENCE;) {
		ssize_t n = send(fd, requests + n_sent,
				 sizeof requests - n_sent, MSG_DONTWAIT);
		ssize_t got = recv(fd, a.body, sizeof a.body, MSG_DONTWAIT);

		n_sent += n > 0 ? (size_t)n : 0;
		n_received += got > 0 ? (size_t)got : 0;
		n_idle = n > 0 || got > 0 ? 0 : n_idle + 1;
		if (n_idle)
			usleep(1000);
	}
	ck_assert_uint_lt(n_received / strlen(a.head),
			  n_sent / strlen(request));
	close(dial(&s));
	end_server(&s);
	close(fd);
	close(fifo);
}
END_TEST

/* --- tests: curl and wrk --- */

static bool lacks(const char *program)
{
	char command[64];

	snprintf(command, sizeof command, "command -v %s >/dev/null", program);
	if (system(command) == 0)
		return false;
	skip("%s is missing", program);
	return true;
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));
static char output[TEXT]; /* of the last command */

static int run(const char *format, ...)
{
	char command[512];
	va_list arguments;
	FILE *f;

	va_start(arguments, format);
	vsnprintf(command, sizeof command, format, arguments);
	va_end(arguments);
	f = popen(command, "re");
	ck_assert_ptr_nonnull(f);
	output[fread(output, 1, sizeof output - 1, f)] = '\0';
	return pclose(f);
}

START_TEST(curl_is_content)
{
	struct server s;
	char url[160];

	if (lacks("curl"))
		return;
	s = START("--index=index.html", ANY_PORT);
	snprintf(url, sizeof url, "http://%s", s.address);
	ck_assert_int_eq(
		run("curl -sSf %s/large | cmp - %s/large 2>&1", url, root), 0);
	/* It goes on where it was cut off. */
	ck_assert_int_eq(run("cd %s && head -c 5000 %s/large >part && "
			     "curl -sSf -C - -o part %s/large 2>&1 && "
			     "cmp part %s/large",
			     folder, root, url, root),
			 0);
	ck_assert_int_eq(run("cd %s && curl -sSf -R -o new %s/middle && "
			     "curl -sSf -z new -w '%%{http_code}' %s/middle",
			     folder, url, url),
			 0);
	ck_assert_str_eq(output, "304");
	ck_assert_int_eq(run("curl -sSfL %s/dir", url), 0);
	ck_assert_str_eq(output, "index");
	ck_assert_int_eq(run("curl -sS --path-as-is -o /dev/null "
			     "-w '%%{http_code} ' %s/../secret "
			     "-o /dev/null %s/dir/../../secret",
			     url, url),
			 0);
	ck_assert_str_eq(output, "403 403 ");
	end_server(&s);
}
END_TEST

START_TEST(wrk_is_content)
{
	struct server s;

	if (lacks("wrk"))
		return;
	s = START("--threads=2", ANY_PORT);
	ck_assert_int_eq(run("wrk -t1 -c20 -d1s http://%s/1k 2>&1", s.address),
			 0);
	says(output, "Requests/sec");
	ck_assert_msg(!strstr(output, "Non-2xx") &&
			      !strstr(output, "Socket errors"),
		      "%s", output);
	end_server(&s);
}
END_TEST

/* --- tests: the command line --- */

static const struct mistake mistakes[] = {
	{ { "nowhere" }, 64, { "'nowhere'", "HOST:PORT" } },
	{ { "udp:127.0.0.1:0" }, 64, { "udp:", "a stream" } },
	{ { "unix:/no/such/folder/socket" },
	  1,
	  { "/no/such/folder", "No such" } },
	{ { "--root=/no/such/folder" }, 1, { "/no/such/folder", "No such" } },
	{ { "--root=/etc/passwd" }, 1, { "/etc/passwd", "Not a directory" } },
	{ { "--log=/no/such/folder/log" },
	  1,
	  { "/no/such/folder", "No such" } },
	{ { "--index=a/b" }, 64, { "'a/b'", "index.html" } },
	{ { "--index=" }, 64, { "''", "index.html" } },
	{ { "--threads=0" }, 64, { "'0'", "1 to 1024" } },
	{ { "--connections=0" }, 64, { "'0'", "1 to 10000000" } },
	{ { "--idle=5" }, 64, { "'5'", "a time with its unit" } },
	{ { "--request-time=0s" }, 64, { "'0s'", "a time with its unit" } },
	{ { "--keep=2" }, 64, { "'2'", "0s: not at all" } },
	{ { "--drain=soon" }, 64, { "'soon'", "a time with its unit" } },
	{ { "--header-size=1" }, 64, { "'1'", "64 to 1048576" } },
	{ { "--target-size=65537" }, 64, { "'65537'", "16 to 65536" } },
	{ { "--port=80" }, 64, { "--port", "--help" } },
};

/* What cannot be used is named, with what is accepted. */
START_TEST(mistakes_are_named)
{
	program_refuses("WEFT_HTTPD", "tools/weft-httpd", &mistakes[_i]);
}
END_TEST

START_TEST(lost_output_is_told)
{
	program_tells_of_lost_output("WEFT_HTTPD", "tools/weft-httpd");
}
END_TEST

static void add(Suite *suite, const char *rule, const TTest *test, size_t n)
{
	TCase *tc = add_case(suite, rule, NULL);

	tcase_add_checked_fixture(tc, make_root, remove_root);
	tcase_add_loop_test(tc, test, 0, (int)n);
}

/* Where it cannot keep to its folder, it says why, and serves nothing. */
START_TEST(no_server_without_openat2)
{
	const struct refusal r = { SYS_openat2, -1, 0, ENOSYS };
	const char *const options[] = { ANY_PORT, NULL };
	struct program p;
	char text[TEXT];

	refuse_call(&r);
	p = launch(options, 0);
	ck_assert_int_eq(program_end(&p, text, sizeof text), 1);
	says(text, "without openat2(2), which Linux has from 5.6 on");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("weft-httpd");

	add(s, "an old kernel", no_server_without_openat2, 1);
	if (syscall(SYS_openat2, -1, NULL, NULL, 0) < 0 && errno == ENOSYS)
		return run_suite(s);
	add(s, "mistakes", mistakes_are_named, N_ELEMENTS(mistakes));
	add(s, "a full disk", lost_output_is_told, 1);
	add(s, "requests", each_request_gets_its_status, 2);
	add(s, "pipelining", pipelined_requests_are_answered_in_order, 1);
	add(s, "sizes", files_of_all_sizes, 2);
	add(s, "files that change", files_that_change, 2);
	add(s, "kept files", files_are_closed, 1);
	add(s, "an index", an_index_stands_for_a_folder, 1);
	add(s, "limits: size", long_requests_are_refused, 1);
	add(s, "limits: time", slow_requests_are_refused, 1);
	add(s, "limits: idle", idle_connections_are_closed, 1);
	add(s, "limits: connections", connections_are_limited, 1);
	add(s, "limits: descriptors", descriptors_run_out, 1);
	add(s, "going away", clients_go_away, 1);
	add(s, "the end: answers", the_end_finishes_answers, 1);
	add(s, "the end: a limit", the_end_does_not_wait_for_ever, 1);
	add(s, "the end: the next one", the_next_one_may_begin, 1);
	add(s, "in use", an_address_in_use_is_named, 1);
	add(s, "the log", requests_are_logged, 1);
	add(s, "the log: a full disk", a_log_can_be_lost, 1);
	add(s, "the log: a limit", a_log_can_be_too_large, 1);
	add(s, "the log: no reader", a_log_can_lose_its_reader, 1);
	add(s, "the log: threads", lines_are_not_mixed, 1);
	add(s, "the log: cut off", cut_off_answers_are_logged_so, 1);
	add(s, "closed descriptors", nothing_is_printed_elsewhere, 1);
	add(s, "the log: nobody", a_log_that_nobody_takes, 1);
	add(s, "curl", curl_is_content, 1);
	add(s, "wrk", wrk_is_content, 1);
	return run_suite(s);
}
