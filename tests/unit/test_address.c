/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text, listening and dialling, and names.
 */
#include <arpa/inet.h>
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>
#include <weft.h>

#include "support.h"

/* A name server that takes its time: the test says how the lookups of names end.
 * Numbers are left to the C library. */
static int gate[2];
static _Atomic(int) n_lookups, n_given, n_freed;
static int answer;

int __real_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res);
int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res);
void __real_freeaddrinfo(struct addrinfo *res);
void __wrap_freeaddrinfo(struct addrinfo *res);

int __wrap_getaddrinfo(const char *node, const char *service,
		       const struct addrinfo *hints, struct addrinfo **res)
{
	bool is_name = node && strncmp(node, "slow", 4) == 0;
	char byte;
	int rc;

	if (is_name && hints->ai_flags & AI_NUMERICHOST)
		return EAI_NONAME;
	if (is_name) {
		n_lookups++;
		if (read(gate[0], &byte, 1) != 1)
			return EAI_FAIL;
		if (answer)
			return answer;
		node = node[4] ? node + 4 : "127.0.0.1";
	}
	rc = __real_getaddrinfo(node, service, hints, res);
	n_given += !rc;
	return rc;
}

void __wrap_freeaddrinfo(struct addrinfo *res)
{
	n_freed++;
	__real_freeaddrinfo(res);
}

static void make_gate(void)
{
	ck_assert_int_eq(pipe(gate), 0);
}

static void let_through(int n)
{
	while (n--)
		ck_assert_int_eq(write(gate[1], "x", 1), 1);
}

/* --- what is wrong with a text --- */

static const struct {
	const char *text,
		*part; /* a part of what is said; NULL: nothing is wrong */
} texts[] = {
	{ "localhost:80", NULL },
	{ "127.0.0.1:0", NULL },
	{ ":80", NULL },
	{ "*:65535", NULL },
	{ "example.org:http", NULL },
	{ "[::1]:80", NULL },
	{ "[::]:http-alt", NULL },
	{ "[fe80::1%eth0]:80", NULL },
	{ "[fe80::1%3]:80", NULL },
	{ "unix:/tmp/x", NULL },
	{ "unix:x", NULL },
	{ "unix:@x", NULL },
	{ "unix:/a:b", NULL },
	{ "a:00080", NULL },
	{ NULL, "no address" },
	{ "", "port is missing" },
	{ "localhost", "port is missing" },
	{ "localhost:", "port is missing" },
	{ ":", "port is missing" },
	{ "[::1]", "port is missing" },
	{ "[::1]:", "port is missing" },
	{ "a:65536", "above 65535" },
	{ "a:99999999999999999999", "above 65535" },
	{ "a:4294967376", "above 65535" },
	{ "a:-1", "neither a number nor a name" },
	{ "a:+80", "neither a number nor a name" },
	{ "a: 80", "neither a number nor a name" },
	{ "a:80 ", "neither a number nor a name" },
	{ "a:ht tp", "neither a number nor a name" },
	{ "::1:80", "in brackets" },
	{ "fe80::1:80", "in brackets" },
	{ "a:b:80", "in brackets" },
	{ "[::1:80", "closing bracket" },
	{ "[::1]80", "no colon" },
	{ "[]:80", "no IPv6" },
	{ "[127.0.0.1]:80", "no IPv6" },
	{ "[::g]:80", "no IPv6" },
	{ "[fe80::1%]:80", "zone" },
	{ "[fe80::1%a b]:80", "zone" },
	{ "a b:80", "character" },
	{ "http://a:80", "in brackets" },
	{ "//a:80", "character" },
	{ "a/b:80", "character" },
	{ "**:80", "character" },
	{ "unix:", "no path" },
	{ "unix:@", "no name" },
};

START_TEST(what_is_wrong)
{
	const char *said = weft_address_error(texts[_i].text);

	if (!texts[_i].part) {
		ck_assert_ptr_null(said);
		return;
	}
	ck_assert_ptr_nonnull(said);
	ck_assert_msg(strstr(said, texts[_i].part) != NULL, "it says %s", said);
	ck_assert_int_eq(weft_listen(texts[_i].text, 5), -EINVAL);
	ck_assert_int_eq(weft_dial(texts[_i].text), -EINVAL);
}
END_TEST

/* Parts that are too long, by one byte. */
START_TEST(lengths)
{
	char text[400];

	memset(text, 'a', sizeof text);
	memcpy(text, "unix:", 5);
	text[5 + 107] = '\0';
	ck_assert_ptr_null(weft_address_error(text));
	text[5 + 107] = 'a';
	text[5 + 108] = '\0';
	ck_assert_ptr_nonnull(strstr(weft_address_error(text), "107"));
	ck_assert_int_eq(weft_listen(text, 5), -EINVAL);
	memcpy(text, "aaaaa", 5);
	text[5 + 108] = 'a';
	memcpy(text + 253, ":80", 4);
	ck_assert_ptr_null(weft_address_error(text));
	text[253] = 'a';
	memcpy(text + 254, ":80", 4);
	ck_assert_ptr_nonnull(strstr(weft_address_error(text), "253"));
	memset(text, 'a', 300);
	text[0] = '[';
	memcpy(text + 290, "]:80", 5);
	ck_assert_ptr_nonnull(weft_address_error(text));
	memset(text, 'a', 300);
	text[1] = ':';
	text[200] = '\0';
	ck_assert_ptr_nonnull(strstr(weft_address_error(text), "too long"));
}
END_TEST

/* --- listening and dialling --- */

static int port_of(int fd)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof name;

	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	return ntohs(name.ss_family == AF_INET6
			     ? ((struct sockaddr_in6 *)&name)->sin6_port
			     : ((struct sockaddr_in *)&name)->sin_port);
}

static int accepted; /* 0: not yet */

static int accept_one(void *fd)
{
	accepted = weft_accept(*(int *)fd, NULL, NULL);
	if (accepted >= 0)
		weft_close(accepted);
	return 0;
}

static void await_accepted(weft_tasklet t)
{
	if (weft_tasklet_alive(t))
		weft_tasklet_join(t);
	ck_assert_int_gt(accepted, 0);
}

/* Whether a socket that listens on one text can be reached by another. */
static void check_pair(const char *listens, const char *dials)
{
	int fd = weft_listen(listens, 5);
	weft_tasklet t;
	char text[200];
	int client;

	if (fd == -EADDRNOTAVAIL || fd == -EAFNOSUPPORT)
		return; /* there is no IPv6 here */
	ck_assert_msg(fd >= 0, "%s: %s", listens, strerror(-fd));
	ck_assert_int_eq(fcntl(fd, F_GETFD), FD_CLOEXEC);
	if (*dials == 'u')
		snprintf(text, sizeof text, "%s", dials);
	else
		snprintf(text, sizeof text, "%s:%d", dials, port_of(fd));
	t = weft_spawn(accept_one, &fd);
	client = weft_dial(text);
	if (client == -EADDRNOTAVAIL || client == -ENETUNREACH) {
		weft_tasklet_kill(t, 0);
		weft_close(fd);
		return;
	}
	ck_assert_msg(client >= 0, "%s: %s", text, strerror(-client));
	ck_assert_int_eq(fcntl(client, F_GETFD), FD_CLOEXEC);
	await_accepted(t);
	weft_close(client);
	weft_close(fd);
}

static char folder[] = "/tmp/weft-test-XXXXXX";

/* A bare system may have no /etc/hosts. */
static bool lacks_localhost(void)
{
	struct addrinfo *res;

	if (!getaddrinfo("localhost", NULL, NULL, &res)) {
		freeaddrinfo(res);
		return false;
	}
	skip("localhost has no address here");
	return true;
}

START_TEST(listens_and_dials)
{
	char text[64];

	check_pair(":0", "");
	check_pair(":0", "127.0.0.1");
	check_pair("*:0", "127.0.0.1");
	check_pair("*:0", "[::1]");
	check_pair("0.0.0.0:0", "");
	check_pair("[::1]:0", "[::1]");
	check_pair("[::]:0", "[::1]");
	check_pair("unix:@weft-test-address", "unix:@weft-test-address");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(text, sizeof text, "unix:%s/s", folder);
	check_pair(text, text);
	/* The file is still there, and nobody listens: it is replaced. */
	check_pair(text, text);
	unlink(text + 5);
	rmdir(folder);
	if (lacks_localhost())
		return;
	check_pair("localhost:0", "localhost");
	check_pair("127.0.0.1:0", "localhost");
}
END_TEST

/* Without a host, only this machine can connect; with "*" all can. */
START_TEST(who_gets_in)
{
	struct sockaddr_storage name;
	socklen_t size = sizeof name;
	int fd = weft_listen(":0", 5);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	ck_assert_int_eq(name.ss_family, AF_INET);
	ck_assert_uint_eq(((struct sockaddr_in *)&name)->sin_addr.s_addr,
			  htonl(INADDR_LOOPBACK));
	close(fd);
	fd = weft_listen("0.0.0.0:0", 5);
	size = sizeof name;
	ck_assert_int_eq(getsockname(fd, (struct sockaddr *)&name, &size), 0);
	ck_assert_uint_eq(((struct sockaddr_in *)&name)->sin_addr.s_addr,
			  htonl(INADDR_ANY));
	close(fd);
}
END_TEST

START_TEST(errors)
{
	char text[64];
	int fd, other;

	ck_assert_int_eq(weft_dial("*:80"), -EINVAL);
	ck_assert_int_eq(weft_dial("127.0.0.1:0"), -EINVAL);
	ck_assert_int_eq(weft_dial("[::1]:000"), -EINVAL);
	ck_assert_int_eq(weft_dial("unix:/nowhere/at/all"), -ENOENT);
	ck_assert_int_eq(weft_listen("unix:/nowhere/at/all", 1), -ENOENT);
	ck_assert_int_eq(weft_listen("unix:/dev/null", 1), -EADDRINUSE);
	ck_assert_int_eq(weft_dial("127.0.0.1:no-such-service"), -ENOENT);
	fd = weft_listen(":0", 5);
	snprintf(text, sizeof text, ":%d", port_of(fd));
	ck_assert_int_eq(weft_listen(text, 5), -EADDRINUSE);
	close(fd);
	ck_assert_int_eq(weft_dial(text), -ECONNREFUSED);
	/* A socket that somebody listens on is not replaced. */
	fd = weft_listen("unix:@weft-test-errors", 5);
	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(weft_listen("unix:@weft-test-errors", 5), -EADDRINUSE);
	close(fd);
	snprintf(text, sizeof text, "unix:/tmp/weft-test-%d", (int)getpid());
	fd = weft_listen(text, 5);
	ck_assert_int_ge(fd, 0);
	other = weft_listen(text, 5);
	ck_assert_int_eq(other, -EADDRINUSE);
	close(fd);
	unlink(text + 5);
}
END_TEST

START_TEST(no_descriptor)
{
	struct rlimit before, none;
	int rc[3];

	ck_assert_int_eq(weft_dial("unix:@weft-test-nobody"), -ECONNREFUSED);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
	none = before;
	none.rlim_cur = 3;
	setrlimit(RLIMIT_NOFILE, &none);
	rc[0] = weft_dial("127.0.0.1:80");
	rc[1] = weft_listen("127.0.0.1:0", 5);
	rc[2] = weft_dial("unix:@x");
	setrlimit(RLIMIT_NOFILE, &before);
	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(rc[i], -EMFILE);
}
END_TEST

/* A name with several addresses: they are tried until one accepts. Here the first is
 * refused. */
START_TEST(tries_all_addresses)
{
	int fd;
	weft_tasklet t;
	char text[64];
	int client;

	if (lacks_io_uring() || lacks_localhost())
		return;
	fd = weft_listen("127.0.0.1:0", 5);
	snprintf(text, sizeof text, "slowlocalhost:%d", port_of(fd));
	t = weft_spawn(accept_one, &fd);
	let_through(1);
	client = weft_dial(text);
	ck_assert_int_ge(client, 0);
	await_accepted(t);
	close(client);
	close(fd);
	ck_assert_int_eq(n_freed, n_given);
}
END_TEST

/* Where nobody listens and the port is the only one for connections, the kernel
 * connects a socket to itself. That is nobody to talk to. */
START_TEST(is_nobody_itself)
{
	if (!enter_network(40000)) {
		skip("a network of its own is refused");
		return;
	}
	if (lacks_io_uring())
		return;
	ck_assert_int_eq(weft_dial("127.0.0.1:40000"), -ECONNREFUSED);
}
END_TEST

/* --- names --- */

static int look_up(void *name)
{
	struct addrinfo *res = NULL;
	int rc = weft_getaddrinfo(name, "80", NULL, &res);
	int error = errno;

	if (!rc)
		freeaddrinfo(res);
	return rc == EAI_SYSTEM ? -error : rc;
}

/* Other tasklets run while a name is looked up. */
START_TEST(looks_up)
{
	weft_tasklet t = weft_spawn(look_up, "slow");

	weft_schedule();
	ck_assert_int_eq(weft_tasklet_state(t), WEFT_BLOCKED);
	let_through(1);
	ck_assert_int_eq(weft_tasklet_join(t), 0);
	ck_assert_int_eq(n_lookups, 1);
	ck_assert_int_eq(look_up("192.0.2.1"), 0);
	ck_assert_int_eq(look_up("::1"), 0);
	answer = EAI_AGAIN;
	let_through(2);
	ck_assert_int_eq(look_up("slow"), EAI_AGAIN);
	ck_assert_int_eq(weft_dial("slow:80"), -EHOSTUNREACH);
	answer = EAI_NONAME;
	let_through(2);
	ck_assert_int_eq(look_up("slow"), EAI_NONAME);
	ck_assert_int_eq(weft_listen("slow:80", 1), -ENOENT);
	ck_assert_int_eq(n_freed, n_given);
}
END_TEST

/* With a trap numbers are converted, and names are not looked up. */
START_TEST(trapped)
{
	weft_set_block_trap(true);
	ck_assert_int_eq(look_up("slow"), -EAGAIN);
	ck_assert_int_eq(look_up("127.0.0.1"), 0);
	weft_set_block_trap(false);
	weft_switch_trap(1);
	ck_assert_int_eq(look_up("slow"), -EPERM);
	ck_assert_int_eq(n_lookups, 0);
}
END_TEST

/* What is to be a number, and is none, is not looked up as a name either. */
START_TEST(no_number)
{
	static const struct addrinfo host = { .ai_flags = AI_NUMERICHOST },
				     both = { .ai_flags = AI_NUMERICHOST |
							  AI_NUMERICSERV },
				     port = { .ai_flags = AI_NUMERICSERV };
	struct addrinfo *res;

	weft_set_block_trap(true);
	ck_assert_int_eq(weft_getaddrinfo("slow", NULL, &host, &res),
			 EAI_NONAME);
	ck_assert_int_eq(weft_getaddrinfo("slow", "80", &host, &res),
			 EAI_NONAME);
	ck_assert_int_eq(weft_getaddrinfo("slow", "http", &both, &res),
			 EAI_NONAME);
	ck_assert_int_eq(weft_getaddrinfo(NULL, "http", &port, &res),
			 EAI_NONAME);
	ck_assert_int_eq(weft_getaddrinfo(NULL, NULL, NULL, &res), EAI_NONAME);
	/* These are names. */
	ck_assert_int_eq(weft_getaddrinfo("::1", "http", &host, &res),
			 EAI_SYSTEM);
	ck_assert_int_eq(weft_getaddrinfo("slow", "80", &port, &res),
			 EAI_SYSTEM);
}
END_TEST

/* A call that is interrupted does not wait for the name server, and what that says
 * later is freed; in line or not. */
START_TEST(interrupted)
{
	enum { N = 40 };
	weft_tasklet t[N];

	for (int i = 0; i < N; i++)
		t[i] = weft_spawn(look_up, "slow");
	weft_schedule();
	for (int i = 0; i < N; i++) {
		if (i % 2)
			ck_assert_int_eq(weft_tasklet_kill(t[i], WEFT_PENDING),
					 0);
		else
			ck_assert_int_eq(
				weft_tasklet_raise(t[i], EXDEV, WEFT_PENDING),
				0);
		ck_assert_int_eq(weft_tasklet_join(t[i]),
				 i % 2 ? -ECANCELED : -EXDEV);
	}
	let_through(N);
	while (n_given < n_lookups || n_freed < n_given)
		usleep(100);
	ck_assert_int_eq(look_up("slow"), 0);
}
END_TEST

/* If the raise is taken back before the call goes on, the answer is somebody else's
 * all the same. */
START_TEST(interrupted_and_taken_back)
{
	enum { N = 40 };
	weft_tasklet t[N];

	for (int i = 0; i < N; i++)
		t[i] = weft_spawn(look_up, "slow");
	weft_schedule();
	for (int i = 0; i < N; i++) {
		ck_assert_int_eq(weft_tasklet_raise(t[i], EXDEV, WEFT_PENDING),
				 0);
		ck_assert_int_eq(weft_tasklet_take_pending(t[i]), -EXDEV);
		ck_assert_int_eq(weft_tasklet_join(t[i]), -ECANCELED);
	}
	let_through(N);
	while (n_given < n_lookups || n_freed < n_given)
		usleep(100);
}
END_TEST

START_TEST(deadline)
{
	struct weft_deadline d;

	weft_deadline_begin(&d, weft_now() + WEFT_MILLISECOND);
	ck_assert_int_eq(look_up("slow"), -ETIMEDOUT);
	ck_assert_int_eq(weft_dial("slow:80"), -ETIMEDOUT);
	weft_deadline_end(&d);
	let_through(1);
	/* The deadline may have passed before there was a lookup. */
	while (n_given < n_lookups || n_freed < n_given)
		usleep(100);
}
END_TEST

/* Answers and interruptions at any moment: all that is found is freed, once. */
START_TEST(any_order)
{
	enum { ROUNDS = 3000, N = 6 };
	unsigned seed = (unsigned)weft_now() + (unsigned)_i;
	weft_tasklet t[N] = { { 0 } };
	int n_let = 0;

	fprintf(stderr, "# seed %u\n", seed);
	for (int i = 0; i < ROUNDS; i++) {
		int k = rand_r(&seed) % N;

		switch (rand_r(&seed) % 4) {
		case 0:
			if (!weft_tasklet_alive(t[k])) {
				t[k] = weft_spawn(look_up, "slow");
				weft_schedule();
			}
			break;
		case 1:
			weft_tasklet_kill(t[k],
					  rand_r(&seed) % 2 ? WEFT_PENDING : 0);
			break;
		case 2:
			if (n_let < n_lookups) {
				let_through(1);
				n_let++;
			}
			break;
		default:
			weft_schedule();
		}
	}
	while (n_let++ < n_lookups)
		let_through(1);
	let_through(20);
	weft_run();
	while (n_given < n_lookups || n_freed < n_given)
		usleep(100);
	ck_assert_int_eq(n_freed, n_given);
}
END_TEST

static void add_rule(Suite *s, const char *rule, const TTest *test, int n)
{
	TCase *c = tcase_create(rule);

	tcase_set_timeout(c, TEST_TIMEOUT);
	tcase_add_checked_fixture(c, make_gate, NULL);
	tcase_add_loop_test(c, test, 0, n);
	suite_add_tcase(s, c);
}

int main(void)
{
	Suite *s = suite_create("address");

	add_loop(s, "what is wrong", what_is_wrong, N_ELEMENTS(texts));
	add_case(s, "lengths", lengths);
	add_case(s, "listen and dial", listens_and_dials, who_gets_in);
	add_case(s, "errors", errors);
	add_case(s, "no descriptor", no_descriptor);
	add_rule(s, "all addresses", tries_all_addresses, 1);
	add_rule(s, "itself", is_nobody_itself, 1);
	add_rule(s, "names", looks_up, 1);
	add_rule(s, "trapped", trapped, 1);
	add_rule(s, "no number", no_number, 1);
	add_rule(s, "interrupted", interrupted, 1);
	add_rule(s, "taken back", interrupted_and_taken_back, 1);
	add_rule(s, "deadline", deadline, 1);
	add_rule(s, "any order", any_order, 3);
	return run_suite(s);
}
