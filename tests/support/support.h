/* SPDX-License-Identifier: MIT */
/*
 * What the test programs share: how a suite is built and run, child processes
 * whose standard error is read, and waiting for another thread to park.
 *
 * Every test runs in a process of its own. A failed assertion may longjmp, and
 * that must not cross stacks: tasklets record, the test body asserts.
 */
#ifndef WEFT_TESTS_SUPPORT_H
#define WEFT_TESTS_SUPPORT_H

#include <check.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

/* Seconds after which a test counts as hanging. The slowest takes a few, and
 * Valgrind or a busy machine many times that. */
#define TEST_TIMEOUT 60

#define N_ELEMENTS(array) (sizeof(array) / sizeof(array)[0])

/* A case of @suite, with the timeout, for the rule or behaviour that the tests
 * behind it check. */
#define add_case(suite, rule, ...) \
	add_case_of(suite, rule, (const TTest *const[]){ __VA_ARGS__, NULL })
TCase *add_case_of(Suite *suite, const char *rule, const TTest *const *tests);

/* The same for one test that is run with _i from 0 up to @n. */
TCase *add_loop(Suite *suite, const char *rule, const TTest *test, size_t n);

/* Runs the suite, frees it and gives the exit status for main(). */
int run_suite(Suite *suite);

/* Exit status of a test program that cannot run here, as automake has it. */
#define SKIPPED 77

/* To be called by a test that cannot run here and returns then, or by a program's
 * main() that returns SKIPPED: says why. tests/run makes a skipped result of that
 * line and the one with which libcheck calls the test passed. */
void skip(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Whether threads have an io_uring: the kernel gives us one, and WEFT_ENGINE is not
 * poll. */
bool have_io_uring(void);
/* Whether they do not; then this has called skip(). For tests of the ring itself. */
bool lacks_io_uring(void);

/* Whether the kernel does not know that system call; then it has called skip(). */
bool lacks_call(long number, const char *name);

/* Whether threads are told of a deadlock here. They are not if the process has a thread
 * that is not the program's, as an emulator's: it may wake others, for all we know. */
bool has_verdicts(void);
/* Whether they are not; then it has called skip(). */
bool lacks_verdicts(void);
/* Skips the tests of a case where that is so. */
TCase *needs_verdicts(TCase *tc);

/* Whether no read can be told not to wait (preadv2), so that the poll engine has to ask
 * a helper; then it has called skip(). */
bool lacks_reads_at_once(void);

/* Whether the kernel itself is asked. An emulator looks at pointers before descriptors,
 * and at all that they point to. */
bool has_calls_of_the_kernel(void);
/* Whether it is not; then it has called skip(). */
bool lacks_calls_of_the_kernel(void);

/* Whether a process with threads can fork. Under an emulator the child may stand still. */
bool can_fork_with_threads(void);
/* Whether it cannot; then it has called skip(). */
bool lacks_fork_with_threads(void);

/* Whether the program was built with a sanitizer. */
#ifndef __has_feature
#define __has_feature(name) 0
#endif
#if defined(__SANITIZE_THREAD__) || __has_feature(thread_sanitizer)
enum { UNDER_TSAN = 1, UNDER_ASAN = 0 };
#elif defined(__SANITIZE_ADDRESS__) || __has_feature(address_sanitizer)
enum { UNDER_TSAN = 0, UNDER_ASAN = 1 };
#else
enum { UNDER_TSAN = 0, UNDER_ASAN = 0 };
#endif

/* Whether it runs under Valgrind. */
bool is_under_valgrind(void);

/* Whether nothing has put a shadow memory beside ours, so that what we use of
 * memory and address space can be measured and limited. */
bool has_memory_to_itself(void);
/* Whether something has; then it has called skip(). */
bool lacks_memory_to_itself(void);

/* How many tasklets a test that wants very many should make: @wanted, or what
 * the tool it runs under is fit for. */
int many_tasklets(int wanted);

/* For code in a child process: ends that with status 1, and says where it went
 * wrong. */
#define EXPECT(condition)                                                  \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#condition);                               \
			_exit(1);                                          \
		}                                                          \
	} while (0)

/* Runs @body in a process of its own, which may not have used weft before the
 * call, and reads what it writes to standard error.
 *
 * Return: its exit status, or the negated signal that ended it. */
int in_child(int (*body)(void), char *errors, size_t size);

/* Runs a program, up to NULL its arguments, whose standard output is a disk that is
 * full, and reads what it writes to standard error. Returns as in_child() does. */
int on_full_disk(const char *const *argv, char *errors, size_t size);

/* How many descriptors the process has open, plus some that are always the same. */
int n_descriptors(void);

/* A thread that runs @body, which must not assert. Fails the test if there is
 * none to be had. */
pthread_t start_thread(void *(*body)(void *arg), void *arg);
void join_thread(pthread_t thread);

/* Returns when the attached thread @id sleeps in the kernel. Keeps the caller's
 * OS thread meanwhile. */
void until_parked(uint64_t id);

/* A system call to refuse, if its argument number @argument is @value. */
struct refusal {
	long call;
	int argument; /* -1: whatever they are */
	unsigned value;
	int error;
};

/* From here on the process gets @r->error for that call, by a seccomp filter. Where
 * there is none to be had, it calls skip() and ends, as a test that passed. */
void refuse_call(const struct refusal *r);

/* Gives the calling process, which has one thread, a network of its own with a loopback
 * interface, where connections can have @port alone. False: that is refused. */
bool enter_network(unsigned port);

#endif /* WEFT_TESTS_SUPPORT_H */
