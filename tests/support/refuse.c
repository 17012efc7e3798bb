/* SPDX-License-Identifier: MIT */
/*
 * refuse ERROR COMMAND...: runs a command in a place where io_uring is refused with
 * EPERM, as by most containers, or with ENOSYS, as by a kernel that has none.
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

static int refuse(unsigned error)
{
	struct sock_filter code[] = {
		/* The numbers of another architecture's calls are others. */
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, arch)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ARCHITECTURE, 0, 4),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, SYS_io_uring_setup, 0, 2),
		BPF_JUMP(BPF_JMP | BPF_JGT | BPF_K, SYS_io_uring_register, 1,
			 0),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof code / sizeof code[0],
		.filter = code,
	};

	_Static_assert(SYS_io_uring_register == SYS_io_uring_setup + 2,
		       "setup, enter and register are neighbours");
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	       prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

int main(int argc, char **argv)
{
	unsigned error;

	if (argc > 2 && strcmp(argv[1], "EPERM") == 0) {
		error = EPERM;
	} else if (argc > 2 && strcmp(argv[1], "ENOSYS") == 0) {
		error = ENOSYS;
	} else {
		fputs("usage: refuse EPERM|ENOSYS COMMAND...\n", stderr);
		return 1;
	}
	if (refuse(error)) {
		perror("refuse: seccomp");
		return CANNOT;
	}
	execvp(argv[2], argv + 2);
	perror(argv[2]);
	return 127;
}
