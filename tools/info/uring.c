/* SPDX-License-Identifier: MIT */
/*
 * Nothing is guessed from the kernel's release: features are asked for, flags
 * and calls are tried. Releases are told to people as a hint only.
 */
#include <errno.h>
#include <liburing.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include "engine/engine.h"
#include "info.h"

/* Newer than the headers of Debian 12. */
enum { REGISTER_SEND_MSG_RING = 31 };

enum { ENTRIES = 8 };

struct capability {
	const char *name;
	const char *since; /* release of Linux */
	const char
		*without; /* what weft does then; NULL: it has no use for it */
};

/* By bit. */
static const struct capability features[] = {
	{ "SINGLE_MMAP", "5.4", NULL },
	{ "NODROP", "5.5", "completions can be lost when their queue is full" },
	{ "SUBMIT_STABLE", "5.5", "no operation can be submitted safely" },
	{ "RW_CUR_POS", "5.6", "weft_read() and weft_write() fail" },
	{ "CUR_PERSONALITY", "5.6", NULL },
	{ "FAST_POLL", "5.7",
	  "each wait for a socket occupies a kernel thread" },
	{ "POLL_32BITS", "5.9", NULL },
	{ "SQPOLL_NONFIXED", "5.11", NULL },
	{ "EXT_ARG", "5.11", "a wait has no deadline, and weft does no I/O" },
	{ "NATIVE_WORKERS", "5.12", NULL },
	{ "RSRC_TAGS", "5.13", NULL },
	{ "CQE_SKIP", "5.17", NULL },
	{ "LINKED_FILE", "5.17", NULL },
	{ "REG_REG_RING", "6.3", NULL },
	{ "RECVSEND_BUNDLE", "6.10", NULL },
	{ "MIN_TIMEOUT", "6.12", NULL },
	{ "RW_ATTR", "6.14", NULL },
	{ "NO_IOWAIT", "6.15", "an idle thread is shown as waiting for I/O" },
};

/* By opcode. */
static const struct capability operations[] = {
	{ "NOP", "5.1", NULL },
	{ "READV", "5.1", NULL },
	{ "WRITEV", "5.1", NULL },
	{ "FSYNC", "5.1", "weft_fsync() fails" },
	{ "READ_FIXED", "5.1", NULL },
	{ "WRITE_FIXED", "5.1", NULL },
	{ "POLL_ADD", "5.1", "there is no eventfd doorbell" },
	{ "POLL_REMOVE", "5.1", NULL },
	{ "SYNC_FILE_RANGE", "5.2", NULL },
	{ "SENDMSG", "5.3", NULL },
	{ "RECVMSG", "5.3", NULL },
	{ "TIMEOUT", "5.4", NULL },
	{ "TIMEOUT_REMOVE", "5.5", NULL },
	{ "ACCEPT", "5.5", "weft_accept() fails" },
	{ "ASYNC_CANCEL", "5.5", "nothing that waits can be cancelled" },
	{ "LINK_TIMEOUT", "5.5", NULL },
	{ "CONNECT", "5.5", "weft_connect() fails" },
	{ "FALLOCATE", "5.6", NULL },
	{ "OPENAT", "5.6", "weft_openat() fails" },
	{ "CLOSE", "5.6", "weft_close() fails" },
	{ "FILES_UPDATE", "5.6", NULL },
	{ "STATX", "5.6", NULL },
	{ "READ", "5.6", "weft_read() fails" },
	{ "WRITE", "5.6", "weft_write() fails" },
	{ "FADVISE", "5.6", NULL },
	{ "MADVISE", "5.6", NULL },
	{ "SEND", "5.6", "weft_send() fails" },
	{ "RECV", "5.6", "weft_recv() fails" },
	{ "OPENAT2", "5.6", NULL },
	{ "EPOLL_CTL", "5.6", NULL },
	{ "SPLICE", "5.7", NULL },
	{ "PROVIDE_BUFFERS", "5.7", NULL },
	{ "REMOVE_BUFFERS", "5.7", NULL },
	{ "TEE", "5.8", NULL },
	{ "SHUTDOWN", "5.11", NULL },
	{ "RENAMEAT", "5.11", NULL },
	{ "UNLINKAT", "5.11", NULL },
	{ "MKDIRAT", "5.15", NULL },
	{ "SYMLINKAT", "5.15", NULL },
	{ "LINKAT", "5.15", NULL },
	{ "MSG_RING", "5.18", "there is no msg_ring_sqe doorbell" },
	{ "FSETXATTR", "5.19", NULL },
	{ "SETXATTR", "5.19", NULL },
	{ "FGETXATTR", "5.19", NULL },
	{ "GETXATTR", "5.19", NULL },
	{ "SOCKET", "5.19", NULL },
	{ "URING_CMD", "5.19", NULL },
	{ "SEND_ZC", "6.0", NULL },
	{ "SENDMSG_ZC", "6.1", NULL },
	{ "READ_MULTISHOT", "6.7", NULL },
	{ "WAITID", "6.7", NULL },
	{ "FUTEX_WAIT", "6.7", NULL },
	{ "FUTEX_WAKE", "6.7", NULL },
	{ "FUTEX_WAITV", "6.7", NULL },
	{ "FIXED_FD_INSTALL", "6.8", NULL },
	{ "FTRUNCATE", "6.9", NULL },
	{ "BIND", "6.11", NULL },
	{ "LISTEN", "6.11", NULL },
	{ "RECV_ZC", "6.15", NULL },
	{ "EPOLL_WAIT", "6.15", NULL },
	{ "READV_FIXED", "6.15", NULL },
	{ "WRITEV_FIXED", "6.15", NULL },
	{ "PIPE", "6.16", NULL },
};

static void add_capability(enum group group, const struct capability *c,
			   bool is_there)
{
	if (is_there)
		add_fact(group, c->name, json_true(), NULL);
	else if (c->without)
		add_fact(group, c->name, json_false(),
			 "Linux %s and newer have it; without, %s", c->since,
			 c->without);
	else
		add_fact(group, c->name, json_false(),
			 "Linux %s and newer have it; weft has no use for it",
			 c->since);
}

/* --- whether there is one --- */

/* Says why a system call of io_uring's was refused. */
static void explain(int error, char *why, size_t size)
{
	char disabled[16] = "", group[16] = "";
	bool is_built_in = read_line("/proc/sys/kernel/io_uring_disabled",
				     disabled, sizeof disabled);

	read_line("/proc/sys/kernel/io_uring_group", group, sizeof group);
	if (error == EPERM && strcmp(disabled, "2") == 0)
		snprintf(
			why, size,
			"the sysctl kernel.io_uring_disabled is 2: nobody may use io_uring; 0 allows it");
	else if (error == EPERM && strcmp(disabled, "1") == 0)
		snprintf(
			why, size,
			"the sysctl kernel.io_uring_disabled is 1: only those with CAP_SYS_ADMIN and the group of kernel.io_uring_group, %s, may use io_uring; 0 allows it to all",
			group);
	else if ((error == EPERM || error == ENOSYS) && is_filtered())
		snprintf(
			why, size,
			"a seccomp filter, as container runtimes install one, refuses it with %s; a profile that lets io_uring_setup, io_uring_enter and io_uring_register through allows it",
			error == EPERM ? "EPERM" : "ENOSYS");
	else if (error == EPERM)
		snprintf(
			why, size,
			"EPERM, though neither the sysctl kernel.io_uring_disabled nor a seccomp filter forbids it: perhaps a security module does, see the kernel's log");
	else if (error == ENOSYS)
		snprintf(
			why, size,
			"ENOSYS: this kernel has no io_uring; it is older than 5.1 or built without CONFIG_IO_URING%s",
			is_built_in ? ", though it has the sysctl" : "");
	else if (error == ENOMEM)
		snprintf(
			why, size,
			"ENOMEM: the ring's memory is charged to RLIMIT_MEMLOCK, which is %s for all rings of this user together; `ulimit -l` raises it",
			locked_memory_limit());
	else if (error == EMFILE || error == ENFILE)
		snprintf(
			why, size,
			"%s: a ring takes a descriptor; `ulimit -n` raises the limit",
			strerror(error));
	else
		snprintf(why, size, "%s", strerror(error));
}

static bool add_call(const char *name, int error)
{
	char why[320];

	if (!error) {
		add_fact(GROUP_URING, name, json_true(), NULL);
		return true;
	}
	explain(error, why, sizeof why);
	add_fact(GROUP_URING, name, json_false(), "%s", why);
	return false;
}

/* A filter can let the one call through and not the other. */
static int try_enter(struct io_uring *ring)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	int rc;

	io_uring_prep_nop(sqe);
	rc = io_uring_submit_and_wait(ring, 1);
	return rc < 0 ? -rc : 0;
}

static void add_sysctl(void)
{
	char line[16];

	if (read_line("/proc/sys/kernel/io_uring_disabled", line, sizeof line))
		add_fact(GROUP_URING, "io_uring_disabled",
			 json_integer(atoi(line)), NULL);
	else
		add_fact(
			GROUP_URING, "io_uring_disabled", json_null(),
			"this kernel has no such sysctl; Linux 6.6 and newer have it");
}

/* --- what it can do --- */

static void find_features(const struct io_uring *ring)
{
	for (size_t i = 0; i < sizeof features / sizeof features[0]; i++)
		add_capability(GROUP_FEATURES, &features[i],
			       ring->features >> i & 1);
}

static void find_operations(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);

	for (size_t i = 0; i < sizeof operations / sizeof operations[0]; i++)
		add_capability(
			GROUP_OPERATIONS, &operations[i],
			probe && io_uring_opcode_supported(probe, (int)i));
	io_uring_free_probe(probe);
}

static const struct set_up_flag {
	struct capability capability;
	unsigned flags; /* with those that it needs beside it */
} set_up_flags[] = {
	{ { "SUBMIT_ALL", "5.18",
	    "one bad operation holds up those behind it" },
	  IORING_SETUP_SUBMIT_ALL },
	{ { "COOP_TASKRUN", "5.19", "each completion interrupts its thread" },
	  IORING_SETUP_COOP_TASKRUN },
	{ { "TASKRUN_FLAG", "5.19", "completions are found later" },
	  IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG },
	{ { "SINGLE_ISSUER", "6.0", "DEFER_TASKRUN cannot be used" },
	  IORING_SETUP_SINGLE_ISSUER },
	{ { "DEFER_TASKRUN", "6.1", "wakes and completions cost more" },
	  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN },
};

static bool can_set_up(unsigned flags)
{
	struct io_uring_params p = { .flags = flags };
	long fd = syscall(__NR_io_uring_setup, ENTRIES, &p);

	if (fd >= 0)
		close((int)fd);
	return fd >= 0;
}

static bool can_send_message(const struct io_uring *ring)
{
	struct io_uring_sqe sqe = { .opcode = IORING_OP_MSG_RING,
				    .fd = ring->ring_fd };

	return syscall(__NR_io_uring_register, -1, REGISTER_SEND_MSG_RING, &sqe,
		       1) == 0;
}

/* --- operations that go on --- */

/* Whether a multishot operation that has been prepared goes on after the first
 * completion. */
static bool goes_on(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;
	bool does;

	if (io_uring_submit_and_wait(ring, 1) < 1 ||
	    io_uring_peek_cqe(ring, &cqe))
		return false;
	does = cqe->res >= 0 && cqe->flags & IORING_CQE_F_MORE;
	io_uring_cqe_seen(ring, cqe);
	return does;
}

static bool can_accept_many(struct io_uring *ring)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t length = sizeof name;
	bool can = false;

	/* The system chooses the name. What is accepted goes with the process. */
	if (bind(listener, (struct sockaddr *)&name, sizeof name.sun_family) ==
		    0 &&
	    listen(listener, 1) == 0 &&
	    getsockname(listener, (struct sockaddr *)&name, &length) == 0 &&
	    connect(client, (struct sockaddr *)&name, length) == 0) {
		io_uring_prep_multishot_accept(io_uring_get_sqe(ring), listener,
					       NULL, NULL, SOCK_CLOEXEC);
		can = goes_on(ring);
	}
	close(client);
	close(listener);
	return can;
}

/* A buffer that the kernel takes when something has come. */
static struct io_uring_buf_ring *add_buffer(struct io_uring *ring)
{
	static _Alignas(4096) char memory[4096];
	static char buffer[64];
	struct io_uring_buf_ring *buffers = (void *)memory;
	struct io_uring_buf_reg registration = { .ring_addr = (uintptr_t)memory,
						 .ring_entries = 1 };

	if (io_uring_register_buf_ring(ring, &registration, 0))
		return NULL;
	io_uring_buf_ring_init(buffers);
	io_uring_buf_ring_add(buffers, buffer, sizeof buffer, 0,
			      io_uring_buf_ring_mask(1), 0);
	io_uring_buf_ring_advance(buffers, 1);
	return buffers;
}

static bool can_receive_many(struct io_uring *ring)
{
	struct io_uring_sqe *sqe;
	bool can = false;
	int ends[2];

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends))
		return false;
	if (send(ends[1], "x", 1, MSG_NOSIGNAL) == 1) {
		sqe = io_uring_get_sqe(ring);
		io_uring_prep_recv_multishot(sqe, ends[0], NULL, 0, 0);
		sqe->flags |= IOSQE_BUFFER_SELECT;
		can = goes_on(ring);
	}
	close(ends[0]);
	close(ends[1]);
	return can;
}

static void find_streams(void)
{
	static const struct capability buffers = {
		"buffer_ring", "5.19",
		"streams of bytes make one call after the other"
	};
	static const struct capability accept = {
		"multishot_accept", "5.19",
		"streams of connections make one call after the other"
	};
	static const struct capability receive = {
		"multishot_receive", "6.0",
		"streams of bytes make one call after the other"
	};
	struct io_uring ring;
	bool has_buffers;

	/* One of its own, which takes with it what still goes on. */
	if (io_uring_queue_init(ENTRIES, &ring, 0))
		return;
	has_buffers = add_buffer(&ring);
	add_capability(GROUP_SET_UP, &buffers, has_buffers);
	add_capability(GROUP_SET_UP, &accept, can_accept_many(&ring));
	add_capability(GROUP_SET_UP, &receive,
		       has_buffers && can_receive_many(&ring));
	io_uring_queue_exit(&ring);
}

static void find_set_up(struct io_uring *ring)
{
	static const struct capability registered = {
		"registered_ring", "5.18", "each system call for I/O costs more"
	};
	static const struct capability message = {
		"SEND_MSG_RING", "6.13",
		"a thread asleep in its ring is woken by an eventfd"
	};

	for (size_t i = 0; i < sizeof set_up_flags / sizeof set_up_flags[0];
	     i++)
		add_capability(GROUP_SET_UP, &set_up_flags[i].capability,
			       can_set_up(set_up_flags[i].flags));
	add_capability(GROUP_SET_UP, &message, can_send_message(ring));
	add_capability(GROUP_SET_UP, &registered,
		       io_uring_register_ring_fd(ring) == 1);
}

void find_uring(void)
{
	struct io_uring ring;
	int rc;

	add_sysctl();
	if (weft__engine_policy() == ENGINE_POLL) {
		add_fact(GROUP_URING, "io_uring_setup", json_null(),
			 "not tried, since WEFT_ENGINE is poll");
		return;
	}
	rc = io_uring_queue_init(ENTRIES, &ring, 0);
	if (!add_call("io_uring_setup", -rc))
		return;
	if (add_call("io_uring_enter", try_enter(&ring))) {
		find_features(&ring);
		find_set_up(&ring);
		find_streams();
		find_operations(&ring);
	}
	io_uring_queue_exit(&ring);
}
