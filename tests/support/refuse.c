/* SPDX-License-Identifier: MIT */
/*
 * refuse HOW COMMAND...: runs a command in a place where io_uring is refused with
 * EPERM, as by most containers, or with ENOSYS, as by a kernel that has none; or
 * where a system call of io_uring's kills the process, as in some sandboxes (KILL); or
 * where none of the calls is there that have come since Linux 5.0, as on an old kernel,
 * nor statx (OLD).
 *
 * Exit status: the command's; 77 where the kernel takes no filter.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#if defined(__x86_64__)
#define ARCHITECTURE AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define ARCHITECTURE AUDIT_ARCH_AARCH64
#endif

enum { CANNOT = 77 };

/* For calls from @first to @last, and for @other. */
static int refuse(unsigned action, unsigned first, unsigned last,
		  unsigned other)
{
	struct sock_filter code[] = {
		/* The numbers of another architecture's calls are others. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 5),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, other, 2, 0),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, last, 1, 0),
		BPF_STMT(BPF_RET | BPF_K, action),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof code / sizeof code[0],
		.filter = code,
	};

	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

static const struct {
	const char *how;
	unsigned action, first, last, other;
} places[] = {
	{ "EPERM", SECCOMP_RET_ERRNO | EPERM, SYS_io_uring_setup,
	  SYS_io_uring_register, SYS_io_uring_setup },
	{ "ENOSYS", SECCOMP_RET_ERRNO | ENOSYS, SYS_io_uring_setup,
	  SYS_io_uring_register, SYS_io_uring_setup },
	{ "KILL", SECCOMP_RET_KILL_PROCESS, SYS_io_uring_setup,
	  SYS_io_uring_register, SYS_io_uring_setup },
	{ "OLD", SECCOMP_RET_ERRNO | ENOSYS, SYS_pidfd_send_signal, ~0u,
	  SYS_statx },
};

int main(int argc, char **argv)
{
	size_t i = 0;

	while (i < sizeof places / sizeof places[0] &&
	       (argc < 3 || strcmp(argv[1], places[i].how) != 0))
		i++;
	if (i == sizeof places / sizeof places[0]) {
		fputs("usage: refuse EPERM|ENOSYS|KILL|OLD COMMAND...\n",
		      stderr);
		return 1;
	}
	if (refuse(places[i].action, places[i].first, places[i].last,
		   places[i].other)) {
		perror("refuse: seccomp");
		return CANNOT;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
