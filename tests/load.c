/* SPDX-License-Identifier: MIT */
/*
 * weft-load, the program that WEFT_LOAD names, against servers that behave well and
 * badly. These are processes of this program, with a thread for each connection, and
 * do not use weft. No time is judged but one: a stall that the server has made itself.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "config.h"
#include "program.h"
#include "support.h"

enum { TEXT_SIZE = 64 * 1024 };

static char output[TEXT_SIZE]; /* of the last run, standard error included */
static char address[64];       /* of the server */

static const char *program(void)
{
	const char *name = getenv("WEFT_LOAD");

	return name ? name : "tools/weft-load";
}

/* --- the program --- */

static struct program launch(const char *const *arguments)
{
	return program_start("WEFT_LOAD", "tools/weft-load", arguments, 0);
}

/* Reads what it prints, until its end. Returns its exit status. */
static int finish(struct program *p)
{
	return program_end(p, output, sizeof output);
}

static int load_with(const char *const *arguments)
{
	struct program p = launch(arguments);

	return finish(&p);
}

#define LOAD(...) load_with((const char *const[]){ __VA_ARGS__, NULL })

static void says(const char *text)
{
	ck_assert_msg(strstr(output, text), "'%s' is not in: %.3000s", text,
		      output);
}

/* --- servers --- */

typedef void (*serve_fn)(int fd);

static serve_fn body;

static void *serve(void *arg)
{
	int fd = (int)(intptr_t)arg;

	body(fd);
	close(fd);
	return NULL;
}

static _Noreturn void accept_all(int listener)
{
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGPIPE, SIG_IGN);
	for (;;) {
		int fd = accept(listener, NULL, NULL);
		pthread_t thread;

		if (fd >= 0 &&
		    !pthread_create(&thread, NULL, serve, (void *)(intptr_t)fd))
			pthread_detach(thread);
	}
}

/* Starts one, whose address is then in `address`; it ends with the test. */
static void start_server(serve_fn serve_one)
{
	struct sockaddr_in name = { .sin_family = AF_INET,
				    .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t size = sizeof name;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&name, size), 0);
	ck_assert_int_eq(listen(fd, 1024), 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	snprintf(address, sizeof address, "127.0.0.1:%d", ntohs(name.sin_port));
	body = serve_one;
	if (fork() == 0)
		accept_all(fd);
	close(fd);
}

static bool send_all(int fd, const char *data, size_t n)
{
	while (n) {
		ssize_t sent = send(fd, data, n, 0);

		if (sent <= 0)
			return false;
		data += sent;
		n -= (size_t)sent;
	}
	return true;
}

static void echo(int fd)
{
	char data[16384];
	ssize_t n;

	while ((n = recv(fd, data, sizeof data, 0)) > 0 &&
	       send_all(fd, data, (size_t)n))
		;
}

static void echo_wrongly(int fd)
{
	char data[1024];
	ssize_t n;

	for (int i = 0; (n = recv(fd, data, sizeof data, 0)) > 0; i++) {
		data[n - 1] ^= (char)(i == 20);
		if (!send_all(fd, data, (size_t)n))
			return;
	}
}

/* Answers each line, in pieces. The second half of a line that ends with "x" is wrong. */
static void pong(int fd)
{
	char data[1024], last = '\0';
	ssize_t n;

	while ((n = recv(fd, data, sizeof data, 0)) > 0)
		for (ssize_t i = 0; i < n; i++) {
			if (data[i] == '\n' &&
			    !(send_all(fd, "+P\x01", 3) &&
			      send_all(fd, last == 'x' ? "!\\\n" : "\xff\\\n",
				       3)))
				return;
			last = data[i];
		}
}

static void close_soon(int fd)
{
	char data[1024];

	(void)recv(fd, data, sizeof data, 0);
}

static void reset_soon(int fd)
{
	struct linger now = { .l_onoff = 1 };

	close_soon(fd);
	setsockopt(fd, SOL_SOCKET, SO_LINGER, &now, sizeof now);
}

static void say_nothing(int fd)
{
	char data[1024];

	while (recv(fd, data, sizeof data, 0) > 0)
		;
}

static void say_too_much(int fd)
{
	char data[128] = { 0 };

	close_soon(fd);
	send_all(fd, data, sizeof data);
	say_nothing(fd);
}

static int64_t milliseconds(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

/* Answers nobody in the first 200 ms of each second. */
static void stall(int fd)
{
	char data[1024];
	ssize_t n;

	while ((n = recv(fd, data, sizeof data, 0)) > 0) {
		int64_t late = 200 - milliseconds() % 1000;

		if (late > 0)
			usleep((useconds_t)late * 1000);
		if (!send_all(fd, data, (size_t)n))
			return;
	}
}

/* 100 requests per second at most. */
static void be_slow(int fd)
{
	char data[64];

	while (recv(fd, data, sizeof data, MSG_WAITALL) == sizeof data) {
		usleep(10000);
		if (!send_all(fd, data, sizeof data))
			return;
	}
}

static void rest(void)
{
	usleep(300000);
}

/* Everybody waits for what the first one has asked. */
static void begin_slowly(int fd)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	char data[1];

	(void)recv(fd, data, sizeof data, MSG_PEEK);
	pthread_once(&once, rest);
	echo(fd);
}

#ifdef HAVE_HTTP_PARSER
/* Waits for the end of the next request. */
static bool take_request(int fd)
{
	static const char end[] = "\r\n\r\n";
	size_t n = 0;
	char c;

	while (n < strlen(end)) {
		if (recv(fd, &c, 1, 0) != 1)
			return false;
		n = c == end[n] ? n + 1 : c == *end;
	}
	return true;
}

static bool send_text(int fd, const char *text)
{
	return send_all(fd, text, strlen(text));
}

static void answer_all(int fd, const char *answer)
{
	while (take_request(fd) && send_text(fd, answer))
		;
}

#define OK     "HTTP/1.1 200 OK\r\n"
#define FIVE   OK "Content-Length: 5\r\n"
#define CLOSES "Connection: close\r\n"

static void answer_well(int fd)
{
	answer_all(fd, FIVE "\r\nhello");
}

static void answer_in_chunks(int fd)
{
	answer_all(fd, OK "Transfer-Encoding: chunked\r\n\r\n"
			  "2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n");
}

static void answer_late(int fd)
{
	answer_all(fd, "HTTP/1.1 100 Continue\r\n\r\n" FIVE "\r\nhello");
}

static void answer_and_close(int fd)
{
	if (take_request(fd))
		send_text(fd, FIVE CLOSES "\r\nhello");
}

static void answer_until_the_end(int fd)
{
	if (take_request(fd))
		send_text(fd, "HTTP/1.0 200 OK\r\n\r\nhello");
}

static void answer_not_found(int fd)
{
	answer_all(fd, "HTTP/1.1 404 Not Found\r\n"
		       "Content-Length: 5\r\n\r\nhello");
}

/* The first ones are as long as the others should be. */
static void answer_too_much(int fd)
{
	if (take_request(fd))
		send_text(fd, FIVE "\r\nhello");
	answer_all(fd, OK "Content-Length: 6\r\n\r\nhello!");
}

static void answer_nonsense(int fd)
{
	answer_all(fd, "hello\r\n\r\n");
}

static void answer_twice(int fd)
{
	answer_all(fd, FIVE "\r\nhello" FIVE "\r\nhello");
}

static void answer_half(int fd)
{
	if (take_request(fd))
		send_text(fd, FIVE "\r\nhel");
}
#endif

/* --- figures --- */

static json_t *result;

static void read_result(void)
{
	json_error_t error;

	json_decref(result);
	result = json_loads(output, JSON_DISABLE_EOF_CHECK, &error);
	ck_assert_msg(result != NULL, "%s: %.3000s", error.text, output);
}

static json_int_t number_of(const char *name)
{
	json_t *n = json_object_get(result, name);

	ck_assert_msg(json_is_integer(n), "%s: %.3000s", name, output);
	return json_integer_value(n);
}

static json_int_t errors_of(const char *kind)
{
	return json_integer_value(
		json_object_get(json_object_get(result, "errors"), kind));
}

static double latency_of(const char *name)
{
	return json_real_value(
		json_object_get(json_object_get(result, "latency_ns"), name));
}

/* --- tests --- */

START_TEST(closed_loop)
{
	static const char *const sizes[] = { "1", "64", "5000", "1000000" };
	static const char *const pipelines[] = { "1", "16" };

	start_server(echo);
	for (size_t i = 0; i < N_ELEMENTS(sizes); i++)
		for (size_t k = 0; k < N_ELEMENTS(pipelines); k++) {
			int rc = LOAD(address, "-c3", "-n100", "-d60s", "-w0s",
				      "--json", "-s", sizes[i], "-p",
				      pipelines[k], "--assert=errors=0",
				      "--assert=requests=100");

			ck_assert_msg(rc == 0, "%.3000s", output);
			read_result();
			ck_assert_int_eq(number_of("bytes"),
					 number_of("requests") *
						 atoi(sizes[i]));
		}
}
END_TEST

/* Those that are measured: the warm-up does not use them up. */
START_TEST(requests_are_counted_after_the_warm_up)
{
	start_server(echo);
	ck_assert_int_eq(LOAD(address, "-c3", "-n100", "-d60s", "-w100ms",
			      _i ? "-r2000" : "-p2", "--json"),
			 0);
	read_result();
	ck_assert_int_eq(number_of("requests"), 100);
}
END_TEST

/* Servers whose answers are always the same. */
START_TEST(text_is_expected)
{
	start_server(pong);
	ck_assert_int_eq(LOAD(address, "-c3", "-p7", "-n500", "-w0s", "--json",
			      "--send=PING\\t\\n",
			      "--expect=+P\\x01\\xFf\\\\\\n"),
			 0);
	read_result();
	ck_assert_int_eq(number_of("requests"), 500);
	ck_assert_int_eq(number_of("errors_total"), 0);
	ck_assert_int_eq(number_of("size"), 6);
	ck_assert_int_eq(number_of("bytes"), 3000);
	ck_assert_str_eq(json_string_value(json_object_get(result, "send")),
			 "PING\\t\\n");
	LOAD(address, "-c3", "-d100ms", "-w0s", "--json", "--send=x\\n",
	     "--expect=+P\\x01\\xff\\\\\\n");
	read_result();
	ck_assert_int_gt(errors_of("content"), 0);
	ck_assert_int_eq(number_of("requests"), 0);
	/* more than one answer to a request */
	LOAD(address, "-c3", "-d100ms", "-w0s", "--json", "--send=a\\na\\n",
	     "--expect=+P\\x01\\xff\\\\\\n");
	read_result();
	ck_assert_int_gt(errors_of("content"), 0);
}
END_TEST

/* weft-echo, and what it is compared with. */
START_TEST(echo_servers)
{
	static const char *const kinds[] = { NULL, "epoll", "uring" };
	static char listening[] = "listening on ";
	const char *name = getenv("WEFT_ECHO");
	char line[128], option[32];
	int fds[2], status;
	pid_t pid;
	FILE *f;

	if (!name)
		name = "tools/weft-echo";
	snprintf(option, sizeof option, "--baseline=%s",
		 kinds[_i] ? kinds[_i] : "");
	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(fds[1], STDOUT_FILENO);
		execl(name, name, "127.0.0.1:0", kinds[_i] ? option : NULL,
		      NULL);
		_exit(127);
	}
	close(fds[1]);
	f = fdopen(fds[0], "r");
	ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
	ck_assert_ptr_eq(strstr(line, listening), line);
	line[strcspn(line, "\n")] = '\0';
	for (int pipeline = 1; pipeline <= 64; pipeline *= 8)
		for (int size = 1; size <= 1000000; size *= 100) {
			char s[32], p[32];
			int rc;

			snprintf(s, sizeof s, "%d", size);
			snprintf(p, sizeof p, "%d", pipeline);
			rc = LOAD(line + strlen(listening), "-c5", "-n50",
				  "-d60s", "-w0s", "-s", s, "-p", p,
				  "-aerrors=0", "-arequests=50");
			ck_assert_msg(rc == 0, "%.3000s", output);
		}
	kill(pid, SIGTERM);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	fclose(f);
}
END_TEST

START_TEST(several_threads)
{
	start_server(echo);
	ck_assert_int_eq(LOAD(address, "-c7", "-t3", "-d50ms", "-w10ms"), 0);
	says("3 threads");
	says("errors       0");
	says("p99.99");
}
END_TEST

/* Half a second at 200 per second: a request each 5 ms, whoever is late. */
START_TEST(constant_rate)
{
	json_int_t n;

	start_server(echo);
	ck_assert_int_eq(LOAD(address, "-c4", "-d500ms", "-w0s", "-r200",
			      "-p100", "--json"),
			 0);
	read_result();
	n = number_of("requests") + number_of("unanswered");
	ck_assert_int_eq(n, 100);
}
END_TEST

/* A server that stalls 200 ms in each second: with a rate, about a tenth of all
 * requests were to be sent more than 100 ms before their answer. */
START_TEST(stall_is_seen)
{
	start_server(stall);
	ck_assert_int_eq(
		LOAD(address, "-c2", "-d1s", "-w0s", "-r400", "--json"), 0);
	read_result();
	ck_assert_double_ge(latency_of("p99"), 100e6);
	ck_assert_double_ge(latency_of("max"), 150e6);
}
END_TEST

static double rate(void)
{
	return json_real_value(json_object_get(result, "rate"));
}

/* What comes after the end was measured, but not in that time. */
START_TEST(late_answers_make_no_rate)
{
	start_server(be_slow);
	ck_assert_int_eq(
		LOAD(address, "-c1", "-d500ms", "-w0s", "-r200", "--json"), 0);
	read_result();
	ck_assert_int_eq(number_of("requests") + number_of("unanswered"), 100);
	ck_assert_double_le(rate(), 104);
}
END_TEST

/* Nobody waits for requests that are to be sent after the end. */
START_TEST(low_rate)
{
	start_server(echo);
	ck_assert_int_eq(LOAD(address, "-c50", "-d50ms", "-w0s", "-r0.5",
			      "--timeout=1800s", "-arequests=1"),
			 0);
}
END_TEST

/* Each request was answered, or is an error, or is still to be answered or sent. */
START_TEST(no_request_is_forgotten)
{
	start_server(_i ? say_nothing : be_slow);
	LOAD(address, "-c2", "-d300ms", "-w0s", "-r1000",
	     _i ? "--timeout=2s" : "--timeout=100ms", "--json");
	read_result();
	ck_assert_msg(number_of("requests") + number_of("unanswered") +
				      number_of("errors_total") ==
			      300,
		      "%.3000s", output);
}
END_TEST

/* One that nobody waits for any more takes nothing from those behind it. */
START_TEST(a_server_recovers)
{
	start_server(begin_slowly);
	ck_assert_int_eq(LOAD(address, "-c1", "-d600ms", "-w0s", "-r2000",
			      "-p10", "--timeout=100ms", "--json"),
			 0);
	read_result();
	ck_assert_int_ge(errors_of("timeout"), 200);
	ck_assert_int_eq(errors_of("timeout") + number_of("requests"), 1200);
}
END_TEST

/* The same share of the same requests. */
START_TEST(assertions_see_what_is_printed)
{
	char printed[16], asserted[16];
	const char *at;

	start_server(echo);
	ck_assert_int_eq(
		LOAD(address, "-c1", "-n1000", "-d60s", "-w0s", "-ap99.9<1ns"),
		1);
	at = strstr(output, "\n  p99.9 ");
	ck_assert_msg(at && sscanf(at, " p99.9 %15[^\n]", printed) == 1, "%s",
		      output);
	at = strstr(output, "does not hold: ");
	ck_assert_msg(at && sscanf(at, "does not hold: %15[^\n]", asserted) ==
				      1,
		      "%s", output);
	ck_assert_str_eq(printed, asserted);
}
END_TEST

static const struct {
	serve_fn serve;
	const char *kind;
} bad_servers[] = {
	{ echo_wrongly, "content" }, { say_too_much, "content" },
	{ close_soon, "closed" },    { reset_soon, "reset" },
	{ say_nothing, "timeout" },
};

START_TEST(errors_by_kind)
{
	start_server(bad_servers[_i].serve);
	LOAD(address, "-c3", "-d300ms", "-w0s",
	     bad_servers[_i].serve == say_nothing ? "--timeout=50ms"
						  : "--timeout=20s",
	     "--json");
	read_result();
	ck_assert_int_gt(errors_of(bad_servers[_i].kind), 0);
	ck_assert_msg(errors_of(bad_servers[_i].kind) ==
			      number_of("errors_total"),
		      "%.3000s", output);
}
END_TEST

#ifdef HAVE_HTTP_PARSER
static const struct {
	serve_fn serve;
	const char *kind; /* of error; NULL: there is none */
} web_servers[] = {
	{ answer_well, NULL },          { answer_in_chunks, NULL },
	{ answer_late, NULL },          { answer_and_close, NULL },
	{ answer_until_the_end, NULL }, { answer_not_found, "status" },
	{ answer_too_much, "length" },  { answer_nonsense, "malformed" },
	{ answer_twice, "malformed" },  { answer_half, "closed" },
	{ close_soon, "closed" },       { reset_soon, "reset" },
};

/* What an answer is, and which errors there are. A connection may end behind an
 * answer. */
START_TEST(web_answers)
{
	const char *kind = web_servers[_i].kind;

	start_server(web_servers[_i].serve);
	LOAD(address, "--http=/", "-c3", "-n60", "-d60s", "-w0s", "--json");
	read_result();
	ck_assert_msg(number_of("errors_total") == (kind ? errors_of(kind) : 0),
		      "%.3000s", output);
	ck_assert_msg(!kind || errors_of(kind), "%.3000s", output);
	if (kind)
		return;
	ck_assert_int_eq(number_of("requests"), 60);
	ck_assert_int_eq(number_of("bytes"), 5 * 60);
	ck_assert_int_eq(number_of("size"), 5);
}
END_TEST

/* The length that is asked for is the right one. */
START_TEST(web_length)
{
	start_server(answer_well);
	ck_assert_int_eq(LOAD(address, "--http=/", "-n9", "-s5", "-w0s",
			      "-aerrors=0", "-arequests=9"),
			 0);
	says("GET /, 5 bytes");
	ck_assert_int_eq(LOAD(address, "--http=/", "-n9", "-s4", "-w0s"), 1);
	says("length 9");
}
END_TEST

/* weft-httpd, with many requests in flight. */
START_TEST(web_server)
{
	char folder[] = "/tmp/weft-load-XXXXXX", file[64], line[128];
	const char *const arguments[] = { "-r", mkdtemp(folder), "127.0.0.1:0",
					  NULL };
	const char *const pipelines[] = { "-p1", "-p8", "-p64" };
	struct program p;
	FILE *f;

	snprintf(file, sizeof file, "%s/file", folder);
	f = fopen(file, "w");
	ck_assert_ptr_nonnull(f);
	for (int i = 0; i < 10000; i++)
		fputc(i, f);
	fclose(f);
	p = program_start("WEFT_HTTPD", "tools/weft-httpd", arguments, 0);
	ck_assert_ptr_nonnull(fgets(line, sizeof line, p.output));
	ck_assert_int_eq(sscanf(line, "listening on %63s", address), 1);
	for (size_t i = 0; i < N_ELEMENTS(pipelines); i++)
		ck_assert_msg(LOAD(address, "--http=/file", "-c5", "-n500",
				   "-d60s", "-w0s", pipelines[i], "-s10000",
				   "-aerrors=0", "-arequests=500") == 0,
			      "%.3000s", output);
	kill(p.pid, SIGTERM);
	ck_assert_int_eq(program_end(&p, output, sizeof output), 0);
	says("1500 requests, 15000000 bytes");
	unlink(file);
	rmdir(folder);
}
END_TEST
#endif

/* Nobody listens there. */
START_TEST(no_server)
{
	ck_assert_int_eq(LOAD("127.0.0.1:1", "-c2", "-d50ms", "-w0s"), 1);
	says("connect ");
	says("no answer was measured");
}
END_TEST

/* Nor there, where there is no other port for the connections themselves: the kernel
 * connects them to themselves, and gives them back what they send. */
START_TEST(nobody_is_a_server_for_itself)
{
	if (!enter_network(40000)) {
		skip("a network of its own is refused");
		return;
	}
	ck_assert_int_eq(LOAD("127.0.0.1:40000", "-c2", "-d50ms", "-w0s"), 1);
	says("no answer was measured");
}
END_TEST

START_TEST(assertion_that_fails)
{
	start_server(echo);
	ck_assert_int_eq(LOAD(address, "-c2", "-d30ms", "-w0s",
			      "--assert=errors = 0", "--assert=p50 < 1ns",
			      "--assert=rate>=0"),
			 1);
	says("--assert 'p50 < 1ns' does not hold: ");
	ck_assert_ptr_null(strstr(output, "'errors"));
	ck_assert_ptr_null(strstr(output, "'rate"));
}
END_TEST

/* What there is, and that it is not all. */
START_TEST(signal_ends_it)
{
	const char *const arguments[] = { address, "-c2",    "-d20s",
					  "-w0s",  "--json", NULL };
	struct program p;

	start_server(echo);
	p = launch(arguments);
	usleep(300000);
	kill(p.pid, _i ? SIGTERM : SIGINT);
	finish(&p);
	read_result();
	ck_assert(json_is_true(json_object_get(result, "cut_off")));
}
END_TEST

START_TEST(files)
{
	char hdr[] = "/tmp/weft-load-XXXXXX";
	char line[256];
	int fd = mkstemp(hdr), n = 0;
	FILE *f;

	ck_assert_int_ge(fd, 0);
	start_server(echo);
	ck_assert_int_eq(
		LOAD(address, "-c2", "-d30ms", "-w0s", "--csv", "--hdr", hdr),
		0);
	says("address,path,connections,");
	f = fdopen(fd, "r");
	ck_assert_ptr_nonnull(fgets(line, sizeof line, f));
	ck_assert_ptr_nonnull(strstr(line, "TotalCount"));
	while (fgets(line, sizeof line, f))
		n += strchr(line, '#') != NULL;
	ck_assert_int_eq(n, 3);
	fclose(f);
	unlink(hdr);
	ck_assert_int_eq(LOAD(address, "-d30ms", "-w0s", "--hdr=/dev/full"), 1);
	says("--hdr=/dev/full: No space left on device");
}
END_TEST

static bool have_gnuplot(void)
{
	return system("gnuplot --version >/dev/null 2>&1") == 0;
}

/* Without a word of gnuplot's, however little there is to draw. */
START_TEST(a_plot)
{
	static const char *const how_much[] = { "-d20ms", "-n1", "-n2" };
	char file[] = "/tmp/weft-load-XXXXXX";
	char text[32 * 1024] = "";
	int fd = mkstemp(file);
	int status;

	ck_assert_int_ge(fd, 0);
	if (_i < 3) {
		start_server(echo);
		status = LOAD(address, how_much[_i], "-c1", "-w0s", "--csv",
			      "--plot", file);
		ck_assert_int_eq(status, 0);
	} else {
		status = LOAD("unix:/nothing", "-d10ms", "-c1", "-w0s", "--csv",
			      "--plot", file);
		ck_assert_int_eq(status, 1);
	}
	ck_assert_int_ge(read(fd, text, sizeof text - 1), 0);
	close(fd);
	unlink(file);
	ck_assert_msg(strstr(text, "<svg"), "it begins with: %.300s", text);
	ck_assert(_i || strstr(text, "50 %<"));
	ck_assert_ptr_null(strstr(output, "arning"));
	ck_assert_ptr_null(strstr(output, "gnuplot"));
}
END_TEST

/* The address has what separates values, and what encloses them. */
START_TEST(csv_quotes)
{
	ck_assert_int_eq(LOAD("unix:/nothing,\"x", "-d10ms", "-w0s", "--csv"),
			 1);
	says("\n\"unix:/nothing,\"\"x\",\"\",50,1,64,1,");
}
END_TEST

/* Nor is everything that names a file text. */
START_TEST(json_takes_any_address)
{
	LOAD("unix:/nothing\xff", "-d10ms", "-w0s", "--json");
	read_result();
	ck_assert_str_eq(json_string_value(json_object_get(result, "address")),
			 "unix:/nothing\\xff");
}
END_TEST

/* It is told before anything is measured. */
START_TEST(file_that_cannot_be)
{
	ck_assert_int_eq(LOAD("127.0.0.1:1", "--hdr=/nothing/x"), 1);
	says("--hdr=/nothing/x: No such file");
	ck_assert_ptr_null(strstr(output, "connections"));
}
END_TEST

START_TEST(full_disk)
{
	const char *argv[] = { program(), address, "-d30ms", "-w0s", NULL };
	char errors[1024];

	start_server(echo);
	ck_assert_int_eq(on_full_disk(argv, errors, sizeof errors), 1);
	ck_assert_ptr_nonnull(strstr(errors, "standard output could not"));
}
END_TEST

/* What cannot be used is refused, and the message tells what can. */
static const struct mistake mistakes[] = {
	{ { NULL }, 64, { "which server?" } },
	{ { "localhost" },
	  64,
	  { "udp:HOST:PORT and unix:/PATH are accepted" } },
	{ { "::1:80" }, 64, { "udp:HOST:PORT and unix:/PATH are accepted" } },
	{ { "127.0.0.1:70000" },
	  64,
	  { "a number from 0 to 65535 is accepted" } },
	{ { "*:80" }, 64, { "a client connects to one" } },
	{ { "udp:127.0.0.1:80" }, 64, { "datagrams can be lost" } },
	{ { "127.0.0.1:80", "127.0.0.1:81" }, 64, { "one address only" } },
	{ { "127.0.0.1:80", "-c0" }, 64, { "a number from 1 to 1000000" } },
	{ { "127.0.0.1:80", "-c", "2x" }, 64, { "a number from 1 to" } },
	{ { "127.0.0.1:80", "-p-1" }, 64, { "a number from 1 to 4096" } },
	{ { "127.0.0.1:80", "-s99999999" }, 64, { "from 0 to 16777216" } },
	{ { "127.0.0.1:80", "-d1" },
	  64,
	  { "from 1ms to 1800s with its unit" } },
	{ { "127.0.0.1:80", "-d0x10ms" },
	  64,
	  { "from 1ms to 1800s with its unit" } },
	{ { "127.0.0.1:80", "-w-1s" }, 64, { "from 0s to 1800s" } },
	{ { "127.0.0.1:80", "-r0" }, 64, { "it takes a number from 0.001" } },
	{ { "127.0.0.1:80", "-rnan" }, 64, { "it takes a number from 0.001" } },
	{ { "127.0.0.1:80", "-c2", "-t3" },
	  64,
	  { "there are 2 connections only" } },
	{ { "127.0.0.1:80", "--json", "--csv" }, 64, { "exclude each other" } },
	{ { "127.0.0.1:80", "-s0" }, 64, { "only --http takes that" } },
	{ { "127.0.0.1:80", "--send=", "--expect=a" },
	  64,
	  { "--send: it takes 1 to 8192 bytes" } },
	{ { "127.0.0.1:80", "--send=a\\x0g", "--expect=a" },
	  64,
	  { "--send: it takes" } },
	{ { "127.0.0.1:80", "--send=a", "--expect=\\" },
	  64,
	  { "--expect: it takes" } },
	{ { "127.0.0.1:80", "--send=a", "-s1" }, 64, { "go together" } },
#ifdef HAVE_HTTP_PARSER
	{ { "127.0.0.1:80", "--http=index.html" }, 64, { "it takes a path" } },
	{ { "127.0.0.1:80", "--http=/a b" }, 64, { "written as %20" } },
	{ { "127.0.0.1:80", "--http=/a\r\nHost: b" },
	  64,
	  { "it takes a path" } },
	{ { "127.0.0.1:80", "--http=/\xff" }, 64, { "it takes a path" } },
#else
	{ { "127.0.0.1:80", "--http=/" }, 64, { "built without http_parser" } },
#endif
	{ { "127.0.0.1:80", "--assert=p101<1ms" },
	  64,
	  { "it begins with p50" } },
	{ { "127.0.0.1:80", "--assert=speed<1" },
	  64,
	  { "it begins with p50" } },
	{ { "127.0.0.1:80", "--assert=p99~1ms" }, 64, { "comes <, <=, >" } },
	{ { "127.0.0.1:80", "--assert=p99<5" },
	  64,
	  { "a time with its unit" } },
	{ { "127.0.0.1:80", "--assert=errors=0ms" }, 64, { "is a number" } },
	{ { "127.0.0.1:80", "--assert=" }, 64, { "it begins with p50" } },
};

START_TEST(mistakes_are_named)
{
	program_refuses("WEFT_LOAD", "tools/weft-load", &mistakes[_i]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("load");

	add_loop(s, "command line", mistakes_are_named, N_ELEMENTS(mistakes));
	if (have_io_uring()) {
		add_case(s, "load", closed_loop, text_is_expected,
			 several_threads, constant_rate, stall_is_seen,
			 late_answers_make_no_rate, low_rate,
			 a_server_recovers);
		add_loop(s, "load", no_request_is_forgotten, 2);
		add_loop(s, "requests", requests_are_counted_after_the_warm_up,
			 2);
		add_loop(s, "load of weft-echo", echo_servers, 3);
		add_loop(s, "errors", errors_by_kind, N_ELEMENTS(bad_servers));
		add_case(s, "errors", no_server, nobody_is_a_server_for_itself);
#ifdef HAVE_HTTP_PARSER
		add_loop(s, "HTTP", web_answers, N_ELEMENTS(web_servers));
		add_case(s, "HTTP", web_length, web_server);
#endif
		add_case(s, "assertions", assertion_that_fails,
			 assertions_see_what_is_printed);
		add_loop(s, "signals", signal_ends_it, 2);
		add_case(s, "output", files, csv_quotes, json_takes_any_address,
			 file_that_cannot_be, full_disk);
		if (have_gnuplot())
			add_loop(s, "--plot", a_plot, 4);
	}
	return run_suite(s);
}
