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

static const char *program(void)
{
	const char *name = getenv("WEFT_INFO");

	return name ? name : "tools/weft-info";
}

/* What it prints with --json, behind a filter or NULL. */
static json_t *info(const struct refusal *refusal, int *status)
{
	json_error_t error;
	json_t *root;
	FILE *output;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe2(fds, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDOUT_FILENO);
		if (refusal)
			refuse_call(refusal);
		execl(program(), program(), "--json", NULL);
		perror(program());
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

static const char group_of_ring[] = "io_uring";

static const struct {
	struct refusal refusal;
	const char *group, *name; /* what is missing then */
	const char *why;          /* is part of what it says */
	const char *engine;
} cases[] = {
	{ { SYS_io_uring_setup, -1, 0, EPERM },
	  group_of_ring,
	  "io_uring_setup",
	  "EPERM",
	  "poll" },
	{ { SYS_io_uring_setup, -1, 0, ENOSYS },
	  group_of_ring,
	  "io_uring_setup",
	  "ENOSYS",
	  "poll" },
	{ { SYS_io_uring_setup, -1, 0, ENOMEM },
	  group_of_ring,
	  "io_uring_setup",
	  "RLIMIT_MEMLOCK",
	  "poll" },
	{ { SYS_io_uring_setup, -1, 0, EMFILE },
	  group_of_ring,
	  "io_uring_setup",
	  "ulimit -n",
	  "poll" },
	{ { SYS_io_uring_enter, -1, 0, EPERM },
	  group_of_ring,
	  "io_uring_enter",
	  "EPERM",
	  "poll" },
	/* IORING_REGISTER_SEND_MSG_RING, _RING_FDS */
	{ { SYS_io_uring_register, 1, 31, EINVAL },
	  "set_up",
	  "SEND_MSG_RING",
	  "6.13",
	  "uring" },
	{ { SYS_io_uring_register, 1, 20, EINVAL },
	  "set_up",
	  "registered_ring",
	  "5.18",
	  "uring" },
	/* IORING_REGISTER_PBUF_RING */
	{ { SYS_io_uring_register, 1, 22, EINVAL },
	  "set_up",
	  "multishot_receive",
	  "streams of bytes make one call after the other",
	  "uring" },
	/* MADV_GUARD_INSTALL */
	{ { SYS_madvise, 2, 102, EINVAL },
	  "machine",
	  "MADV_GUARD_INSTALL",
	  "vm.max_map_count",
	  "uring" },
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
	ck_assert_int_eq(status, 0);
	ck_assert(is_false(root, cases[_i].group, cases[_i].name));
	ck_assert_msg(strstr(text, cases[_i].why), "it says: %s", text);
	text = json_string_value(
		json_object_get(fact(root, "weft", "engine"), "value"));
	ck_assert_str_eq(text, cases[_i].engine);
	if (cases[_i].group == group_of_ring)
		ck_assert_ptr_nonnull(
			strstr(why(root, "weft", "engine"),
			       strerror(cases[_i].refusal.error)));
	json_decref(root);
}
END_TEST

/* If nothing but io_uring will do, there is no engine where it is refused. */
START_TEST(without_an_engine)
{
	const struct refusal r = { SYS_io_uring_setup, -1, 0, EPERM };
	int status;
	json_t *root;

	if (lacks_io_uring())
		return;
	setenv("WEFT_ENGINE", "uring", 1);
	root = info(&r, &status);
	ck_assert_int_eq(status, 1);
	ck_assert(json_is_null(
		json_object_get(fact(root, "weft", "engine"), "value")));
	ck_assert_ptr_nonnull(
		strstr(why(root, "weft", "engine"), strerror(EPERM)));
	json_decref(root);
}
END_TEST

/* An engine that was asked for is used, and nothing is asked of io_uring. */
START_TEST(without_a_ring)
{
	int status;
	json_t *root;

	setenv("WEFT_ENGINE", "poll", 1);
	root = info(NULL, &status);
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(json_string_value(json_object_get(
				 fact(root, "weft", "engine"), "value")),
			 "poll");
	ck_assert(json_is_null(json_object_get(
		fact(root, "io_uring", "io_uring_setup"), "value")));
	json_decref(root);
}
END_TEST

/* Without a filter it tells the same as the system calls. */
START_TEST(what_is_there_is_told)
{
	int status;
	json_t *root = info(NULL, &status);

	ck_assert_int_eq(status, 0);
	ck_assert_int_eq(
		json_is_true(json_object_get(
			fact(root, "io_uring", "io_uring_setup"), "value")),
		have_io_uring());
	json_decref(root);
}
END_TEST

/* Also what is no text. */
START_TEST(any_value_is_told)
{
	json_t *root;
	int status;

	setenv("WEFT_OFFLOAD", "\xfft\x1b", 1);
	root = info(NULL, &status);
	ck_assert_int_eq(status, 0);
	ck_assert_str_eq(
		json_string_value(json_object_get(
			fact(root, "environment", "WEFT_OFFLOAD"), "value")),
		"\\xfft\x1b");
	json_decref(root);
}
END_TEST

static const char *const options[] = { NULL, "--json", "--help", "--version" };

/* What cannot be written is no success, and it says why. */
START_TEST(lost_output_is_told)
{
	const char *const argv[] = { program(), options[_i], NULL };
	char errors[512];

	ck_assert_int_eq(on_full_disk(argv, errors, sizeof errors), 1);
	ck_assert_msg(strstr(errors, strerror(ENOSPC)), "it says: %s", errors);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("weft-info");

	add_case(suite, "what is there", what_is_there_is_told,
		 any_value_is_told);
	add_loop(suite, "what is missing", what_is_missing_is_explained,
		 N_ELEMENTS(cases));
	add_case(suite, "engines", without_an_engine, without_a_ring);
	add_loop(suite, "a full disk", lost_output_is_told,
		 N_ELEMENTS(options));
	return run_suite(suite);
}
