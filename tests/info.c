/* SPDX-License-Identifier: MIT */
/*
 * weft-info where things are missing.
 *
 * Each test runs the program that WEFT_INFO names behind a seccomp filter that
 * refuses one system call, as containers do and older kernels, and reads its
 * JSON.
 */
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "support.h"

/* What it prints with --json, behind a filter or NULL. */
static json_t *info(const struct refusal *refusal, int *status)
{
	const char *program = getenv("WEFT_INFO");
	json_error_t error;
	json_t *root;
	FILE *output;
	int fds[2];
	pid_t pid;

	program = program ? program : "tools/weft-info";
	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		if (refusal)
			refuse_call(refusal);
		execl(program, program, "--json", NULL);
		perror(program);
		_exit(127);
	}
	close(fds[1]);
	output = fdopen(fds[0], "r");
	ck_assert_ptr_nonnull(output);
	root = json_loadf(output, 0, &error);
	fclose(output);
	ck_assert_int_eq(waitpid(pid, status, 0), pid);
	ck_assert_msg(WIFEXITED(*status), "signal %d", WTERMSIG(*status));
	*status = WEXITSTATUS(*status);
	ck_assert_msg(root, "exit status %d: %s", *status, error.text);
	return root;
}

static json_t *fact(json_t *root, const char *group, const char *name)
{
	json_t *f = json_object_get(json_object_get(root, group), name);

	ck_assert_msg(f, "there is no %s in %s", name, group);
	return f;
}

static const char *why(json_t *root, const char *group, const char *name)
{
	const char *text = json_string_value(
		json_object_get(fact(root, group, name), "why"));

	return text ? text : "";
}

static bool is_false(json_t *root, const char *group, const char *name)
{
	return json_is_false(json_object_get(fact(root, group, name), "value"));
}

static const struct {
	struct refusal refusal;
	const char *group, *name; /* what is missing then */
	const char *why;          /* is part of what it says */
	int status;
} cases[] = {
	{ { SYS_io_uring_setup, -1, 0, EPERM },
	  "io_uring",
	  "io_uring_setup",
	  "EPERM",
	  1 },
	{ { SYS_io_uring_setup, -1, 0, ENOSYS },
	  "io_uring",
	  "io_uring_setup",
	  "ENOSYS",
	  1 },
	{ { SYS_io_uring_setup, -1, 0, ENOMEM },
	  "io_uring",
	  "io_uring_setup",
	  "RLIMIT_MEMLOCK",
	  1 },
	{ { SYS_io_uring_setup, -1, 0, EMFILE },
	  "io_uring",
	  "io_uring_setup",
	  "ulimit -n",
	  1 },
	{ { SYS_io_uring_enter, -1, 0, EPERM },
	  "io_uring",
	  "io_uring_enter",
	  "EPERM",
	  1 },
	/* IORING_REGISTER_SEND_MSG_RING, _RING_FDS */
	{ { SYS_io_uring_register, 1, 31, EINVAL },
	  "set_up",
	  "SEND_MSG_RING",
	  "6.13",
	  0 },
	{ { SYS_io_uring_register, 1, 20, EINVAL },
	  "set_up",
	  "registered_ring",
	  "5.18",
	  0 },
	/* MADV_GUARD_INSTALL */
	{ { SYS_madvise, 2, 102, EINVAL },
	  "machine",
	  "MADV_GUARD_INSTALL",
	  "vm.max_map_count",
	  0 },
};

/* What is refused is missing, and what it says of it names the cause. */
START_TEST(what_is_missing_is_explained)
{
	const char *text;
	int status;
	json_t *root;

	if (lacks_io_uring())
		return;
	root = info(&cases[_i].refusal, &status);
	text = why(root, cases[_i].group, cases[_i].name);
	ck_assert_int_eq(status, cases[_i].status);
	ck_assert(is_false(root, cases[_i].group, cases[_i].name));
	ck_assert_msg(strstr(text, cases[_i].why), "it says: %s", text);
	ck_assert_int_eq(json_is_null(json_object_get(
				 fact(root, "weft", "engine"), "value")),
			 status);
	json_decref(root);
}
END_TEST

/* Without a filter it tells the same as the system calls. */
START_TEST(what_is_there_is_told)
{
	int status;
	json_t *root = info(NULL, &status);

	ck_assert_int_eq(status, have_io_uring() ? 0 : 1);
	ck_assert_int_eq(!is_false(root, "io_uring", "io_uring_setup"),
			 have_io_uring());
	json_decref(root);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("weft-info");

	add_case(suite, "what is there", what_is_there_is_told);
	add_loop(suite, "what is missing", what_is_missing_is_explained,
		 N_ELEMENTS(cases));
	return run_suite(suite);
}
