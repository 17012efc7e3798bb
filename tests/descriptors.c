/* SPDX-License-Identifier: MIT */
/*
 * Examples that serve, with fewer descriptors than clients: they go on with those who
 * leave. The clients are plain sockets of this process.
 */
#include <check.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "limits.h"
#include "program.h"
#include "support.h"

enum { FILES = 24, CLIENTS = 2 * FILES };

static char folder[] = "/tmp/weft-files-XXXXXX";
static char front[64], back[64]; /* addresses */

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(front, sizeof front, "unix:%s/front", folder);
	snprintf(back, sizeof back, "unix:%s/back", folder);
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof command, "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static int dial(const char *address)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strcpy(name.sun_path, strchr(address, ':') + 1);
	/* It may have only just started. */
	while (connect(fd, (struct sockaddr *)&name, sizeof name))
		usleep(1000);
	return fd;
}

/* What the server takes for the beginning of something. */
static void begin(int fd)
{
	ck_assert_int_eq(send(fd, "\026", 1, MSG_NOSIGNAL), 1);
}

static void crowd(const struct program *p)
{
	int fds[CLIENTS];

	for (int i = 0; i < CLIENTS; i++) {
		fds[i] = dial(front);
		begin(fds[i]);
	}
	/* A connection of the proxy takes two. */
	while (program_files(p) < FILES - 1)
		usleep(1000);
	usleep(50000); /* it tries to have more */
	for (int i = 0; i < CLIENTS; i++)
		close(fds[i]);
}

/* Until one is served, since the others may have to go first. False: it has ended. */
static bool echoes(const struct program *p)
{
	char byte = 0;

	while (byte != '\026' && waitpid(p->pid, NULL, WNOHANG) == 0) {
		int fd = dial(front);

		if (send(fd, "\026", 1, MSG_NOSIGNAL) == 1)
			recv(fd, &byte, 1, 0);
		close(fd);
	}
	return byte == '\026';
}

static const struct {
	const char *path;
	const char *const arguments[3];
	bool echoes;
} servers[] = {
	{ "examples/echo", { front }, true },
	{ "examples/proxy", { front, back }, true },
	{ "examples/tls_echo", { front }, false },
};

START_TEST(servers_go_on)
{
	const char *path = servers[_i].path;
	const char *const behind[] = { back, NULL };
	struct program p, upstream;

	if (lacks_reads_at_once())
		return; /* fewer come while the first are served */
	if (access(path, X_OK)) {
		skip("%s was not built", path);
		return;
	}
	upstream = program_start("", "examples/echo", behind, 0);
	close(dial(back));
	p = program_start("", path, servers[_i].arguments, FILES);
	crowd(&p);
	if (servers[_i].echoes)
		ck_assert(echoes(&p));
	ck_assert_int_eq(waitpid(p.pid, NULL, WNOHANG), 0);
	kill(p.pid, SIGKILL);
	kill(upstream.pid, SIGKILL);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("descriptors");
	TCase *tc = add_case(s, "examples", NULL);

	tcase_add_checked_fixture(tc, make_folder, remove_folder);
	tcase_add_loop_test(tc, servers_go_on, 0, (int)N_ELEMENTS(servers));
	return run_suite(s);
}
