/* SPDX-License-Identifier: MIT */
#include "support.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/filter.h>
#include <linux/io_uring.h>
#include <linux/seccomp.h>
#include <net/if.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <unistd.h>
#include <weft.h>

#include "limits.h"

/* MADV_GUARD_INSTALL, which older headers lack */
enum { GUARD_INSTALL = 102 };

TCase *add_case_of(Suite *suite, const char *rule, const TTest *const *tests)
{
	TCase *tc = tcase_create(rule);

	tcase_set_timeout(tc, TEST_TIMEOUT);
	for (; *tests; tests++)
		tcase_add_test(tc, *tests);
	suite_add_tcase(suite, tc);
	return tc;
}

TCase *add_loop(Suite *suite, const char *rule, const TTest *test, size_t n)
{
	TCase *tc = add_case(suite, rule, NULL);

	tcase_add_loop_test(tc, test, 0, (int)n);
	return tc;
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

static bool is_engine_poll(void)
{
	const char *engine = getenv("WEFT_ENGINE");

	return engine && strcmp(engine, "poll") == 0;
}

/* 0, or why there is none. With WEFT_ENGINE=poll nobody may ask. */
static int try_io_uring(void)
{
	struct io_uring_params params = { 0 };
	long fd;

	if (is_engine_poll())
		return ENOSYS;
	fd = syscall(SYS_io_uring_setup, 4, &params);

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

	if (is_engine_poll())
		skip("it is about io_uring, and the engine is poll");
	else if (error)
		skip("no io_uring here: %s", strerror(error));
	return error != 0;
}

bool lacks_call(long number, const char *name)
{
	bool is_missing =
		syscall(number, -1, 0, 0, 0, 0) < 0 && errno == ENOSYS;

	if (is_missing)
		skip("this kernel has no %s", name);
	return is_missing;
}

bool is_under_valgrind(void)
{
	const char *preloaded = getenv("LD_PRELOAD");

	return preloaded && strstr(preloaded, "vgpreload");
}

/* An emulator takes the limit, and keeps to none. */
static bool is_address_space_limited(void)
{
	struct rlimit before, none;
	void *p;

	if (getrlimit(RLIMIT_AS, &before))
		return false;
	none = before;
	none.rlim_cur = 0;
	setrlimit(RLIMIT_AS, &none);
	p = mmap(NULL, 1, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	setrlimit(RLIMIT_AS, &before);
	if (p != MAP_FAILED)
		munmap(p, 1);
	return p == MAP_FAILED;
}

bool has_memory_to_itself(void)
{
	return !UNDER_ASAN && !UNDER_TSAN && !is_under_valgrind() &&
	       is_address_space_limited();
}

bool lacks_memory_to_itself(void)
{
	if (has_memory_to_itself())
		return false;
	skip(UNDER_ASAN || UNDER_TSAN || is_under_valgrind()
		     ? "a tool has put a shadow memory beside the program's"
		     : "RLIMIT_AS limits nothing here");
	return true;
}

/* How many mappings stacks may take, two each, where their guards are mappings. */
static int most_mappings(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	void *p = mmap(NULL, page, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int most = INT_MAX;
	FILE *file;

	if (p == MAP_FAILED)
		return most;
	/* An emulator takes any advice. */
	if (madvise(p, page, GUARD_INSTALL) || uname(p) == 0) {
		file = fopen("/proc/sys/vm/max_map_count", "re");
		if (file && fscanf(file, "%d", &most) != 1)
			most = INT_MAX;
		if (file)
			fclose(file);
	}
	munmap(p, page);
	return most;
}

int many_tasklets(int wanted)
{
	/* Valgrind looks for a stack among all there are, one by one.
	 * ThreadSanitizer has room for 8,000 threads and tasklets together.
	 * LeakSanitizer reads the list of mappings once for each stack. Where each
	 * stack takes mappings, the process may have so many of these. */
	int most = is_under_valgrind() ? 500
		   : UNDER_TSAN        ? 6000
		   : UNDER_ASAN        ? 20000
		   : wanted > 10000    ? most_mappings() / 4
				       : wanted;

	return wanted < most ? wanted : most;
}

/* --- threads --- */

static int n_threads_at_first;

/* In main(), which is the only thread that the program has. */
static void __attribute__((constructor)) count_threads(void)
{
	DIR *dir = opendir("/proc/self/task");
	struct dirent *entry;

	while (dir && (entry = readdir(dir)))
		n_threads_at_first += entry->d_name[0] != '.';
	if (dir)
		closedir(dir);
}

bool has_verdicts(void)
{
	/* ThreadSanitizer's is known to the library. */
	return UNDER_TSAN || n_threads_at_first <= 1;
}

bool lacks_verdicts(void)
{
	if (has_verdicts())
		return false;
	skip("a thread that is not the program's hides deadlocks");
	return true;
}

static void leave_without_verdicts(void)
{
	if (lacks_verdicts())
		_exit(0);
}

TCase *needs_verdicts(TCase *tc)
{
	tcase_add_checked_fixture(tc, leave_without_verdicts, NULL);
	return tc;
}

bool lacks_reads_at_once(void)
{
	char byte;
	struct iovec one = { &byte, 1 };
	int fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
	/* libc's call does without it if it can */
	bool has = syscall(SYS_preadv2, fd, &one, 1L, -1L, -1L, 0L) >= 0 ||
		   errno != ENOSYS;

	close(fd);
	if (!has)
		skip("no preadv2 here: %s", strerror(ENOSYS));
	return !has;
}

bool has_calls_of_the_kernel(void)
{
	return syscall(SYS_read, -1, (void *)1, 1L) >= 0 || errno == EBADF;
}

bool lacks_calls_of_the_kernel(void)
{
	if (has_calls_of_the_kernel())
		return false;
	skip("system calls look at pointers before descriptors here");
	return true;
}

/* Only an emulator has a thread at the beginning. A fork copies its locks as the
 * threads have them, and the child may stand still for ever. */
bool can_fork_with_threads(void)
{
	return has_verdicts();
}

bool lacks_fork_with_threads(void)
{
	if (can_fork_with_threads())
		return false;
	skip("a fork beside threads that are not the program's may hang");
	return true;
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

int n_descriptors(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	ck_assert_ptr_nonnull(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

static const char *const *argv_on_full_disk;

static int run_on_full_disk(void)
{
	const char *const *argv = argv_on_full_disk;
	int fd = open("/dev/full", O_WRONLY | O_CLOEXEC);

	EXPECT(fd >= 0 && dup2(fd, STDOUT_FILENO) == STDOUT_FILENO);
	execv(argv[0], (char *const *)argv);
	perror(argv[0]);
	return 127;
}

int on_full_disk(const char *const *argv, char *errors, size_t size)
{
	argv_on_full_disk = argv;
	return in_child(run_on_full_disk, errors, size);
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

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool is_good = fd >= 0 && write(fd, text, strlen(text)) > 0;

	if (fd >= 0)
		close(fd);
	return is_good;
}

bool enter_network(unsigned port)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	char range[32];
	bool is_up;
	int fd;

	snprintf(range, sizeof range, "%u %u", port, port);
	if (unshare(CLONE_NEWUSER | CLONE_NEWNET) ||
	    !write_text("/proc/sys/net/ipv4/ip_local_port_range", range))
		return false;
	fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	is_up = fd >= 0 && ioctl(fd, SIOCSIFFLAGS, &lo) == 0;
	if (fd >= 0)
		close(fd);
	return is_up;
}
