/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <errno.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "limits.h"

TCase *add_case_of(Suite *suite, const char *rule, const TTest *const *tests)
{
	TCase *tc = tcase_create(rule);

	tcase_set_timeout(tc, TEST_TIMEOUT);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	suite_add_tcase(suite, tc);
	return tc;
}

void add_loop(Suite *suite, const char *rule, const TTest *test, size_t n)
{
	TCase *tc = add_case(suite, rule, NULL);

	tcase_add_loop_test(tc, test, 0, (int)n);
}

int run_suite(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int n_failed;

	take_limits();
	srunner_run_all(runner, CK_ENV);
	n_failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return n_failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

void skip(const char *format, ...)
{
	char line[256] = "# SKIP ";
	va_list arguments;
	size_t n;

	va_start(arguments, format);
	vsnprintf(line + 7, sizeof line - 8, format, arguments);
	va_end(arguments);
	n = strlen(line);
	line[n++] = '\n';
	/* Past stdio, whose buffer a child shares with its parent. */
	if (write(STDOUT_FILENO, line, n) != (ssize_t)n)
		perror("standard output");
}

/* 0, or why there is none. */
static int try_io_uring(void)
{
	struct io_uring_params params = { 0 };
	long fd = syscall(SYS_io_uring_setup, 4, &params);

	if (fd < 0)
		return errno;
	close((int)fd);
	return 0;
}

bool have_io_uring(void)
{
	return try_io_uring() == 0;
}

bool lacks_io_uring(void)
{
	int error = try_io_uring();

	if (error)
		skip("no io_uring here: %s", strerror(error));
	return error != 0;
}

bool is_under_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	return preloaded && strstr(preloaded, "vgpreload");
}

bool has_memory_to_itself(void)
{
	return !UNDER_ASAN && !UNDER_TSAN && !is_under_valgrind();
}

int many_tasklets(int wanted)
{
	/* Valgrind looks for a stack among all there are, one by one, and
	 * ThreadSanitizer has room for 8,000 threads and tasklets together. */
	int most = is_under_valgrind() ? 500 : UNDER_TSAN ? 6000 : wanted;

	return wanted < most ? wanted : most;
}

int in_child(int (*body)(void), char *errors, size_t size)
{
	size_t used = 0;
	ssize_t n;
	int status;
	int fds[2];
	pid_t pid;

	ck_assert_int_eq(pipe(fds), 0);
	pid = fork();
	if (pid < 0 && errno == EAGAIN && lacks_threads())
		_exit(0);
	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		dup2(fds[1], STDERR_FILENO);
		close(fds[0]);
		close(fds[1]);
		_exit(body());
	}
	close(fds[1]);
	while ((n = read(fds[0], errors + used, size - 1 - used)) > 0)
		used += (size_t)n;
	errors[used] = '\0';
	close(fds[0]);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -WTERMSIG(status);
}

pthread_t start_thread(void *(*body)(void *arg), void *arg)
{
	pthread_t thread;
	int error = pthread_create(&thread, NULL, body, arg);

	if (error == EAGAIN && lacks_threads())
		_exit(0);
	ck_assert_int_eq(error, 0);
	return thread;
}

void join_thread(pthread_t thread)
{
	ck_assert_int_eq(pthread_join(thread, NULL), 0);
}

void until_parked(uint64_t id)
{
	struct weft_thread_info info = { .parked = false };

	while (weft_thread_info(id, &info) == 0 && !info.parked)
		sched_yield();
}

void refuse_call(const struct refusal *r)
{
	unsigned which = r->argument < 0 ? 0 : (unsigned)r->argument;
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (unsigned)r->call, 0, 3),
		/* the low half of the argument */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 (unsigned)offsetof(struct seccomp_data, args) +
				 8 * which),
		BPF_JUMP(BPF_JMP | (r->argument < 0 ? BPF_JGE : BPF_JEQ) |
				 BPF_K,
			 r->argument < 0 ? 0 : r->value, 0, 1),
		BPF_STMT(BPF_RET | BPF_K,
			 SECCOMP_RET_ERRNO | (unsigned)r->error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { .len = N_ELEMENTS(code), .filter = code };

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program)) {
		skip("no seccomp filter here: %s", strerror(errno));
		_exit(0);
	}
}
