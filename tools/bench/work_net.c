/* SPDX-License-Identifier: MIT */
/*
 * net: weft-echo, and servers without weft that do the same: by epoll, by io_uring, by
 * Go's net and by boost.asio; and weft-httpd beside nginx. The CPU time is the server's
 * alone, as the kernel counts it for that process. The time is that of the load, which is
 * weft-load over the loopback interface, or for connections this process.
 */
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "../process.h"
#include "../sibling.h"
#include "bench.h"

enum { EACH = 200, MAX_ARGUMENTS = 16, PATH_SIZE = 1100, LINE = 256 };

struct program {
	pid_t pid;
	FILE *output;
};

/* Where --pin puts it: the server is the first, the load the second. */
static void stay_on(const struct options *o, int which)
{
	cpu_set_t set;

	if (o->cpus[0] < 0)
		return;
	CPU_ZERO(&set);
	CPU_SET((unsigned)o->cpus[which], &set);
	sched_setaffinity(0, sizeof set, &set);
}

/* Runs the program at @path. */
static struct program start(const struct run *r, int which, const char *path,
			    const char **argv, const char *engine)
{
	struct program p;
	int fds[2];

	must(pipe2(fds, O_CLOEXEC) ? -errno : 0, "pipe2");
	p.pid = fork();
	must(p.pid < 0 ? -errno : 0, "fork");
	if (p.pid == 0) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		stay_on(r->options, which);
		if (engine)
			setenv("WEFT_ENGINE", engine, 1);
		dup2(fds[1], STDOUT_FILENO);
		execv(path, (char *const *)(uintptr_t)argv);
		_exit(127);
	}
	close(fds[1]);
	p.output = fdopen(fds[0], "r");
	if (!p.output)
		run_fail(-ENOMEM, "fdopen");
	return p;
}

/* The same with the tool that @argv begins with. */
static struct program start_tool(const struct run *r, int which,
				 const char **argv, const char *engine)
{
	char path[PATH_SIZE];

	if (!sibling_find(".", argv[0], path, sizeof path) &&
	    !sibling_find("../../bin", argv[0], path, sizeof path))
		run_unavailable(
			"weft's own servers and weft-load are not there");
	return start(r, which, path, argv, engine);
}

static int64_t cpu_of(pid_t pid)
{
	struct timespec t;
	clockid_t id;

	must(-clock_getcpuclockid(pid, &id), "clock_getcpuclockid");
	must(clock_gettime(id, &t) ? -errno : 0, "clock_gettime");
	return t.tv_sec * 1000000000LL + t.tv_nsec;
}

static void finish(struct program *p, int signal)
{
	if (signal)
		kill(p->pid, signal);
	waitpid(p->pid, NULL, 0);
	fclose(p->output);
}

static const struct {
	const char *name, *argument, *engine;
} kinds[] = {
	{ "one-shot", "--mode=one-shot", NULL },
	{ "stream", "--mode=stream", NULL },
	{ "poll", "--mode=one-shot", "poll" },
	{ "epoll", "--baseline=epoll", NULL },
	{ "uring", "--baseline=uring", NULL },
};

/* A folder with the file that is asked for, and what nginx needs. */
static char folder[] = "/tmp/weft-bench-XXXXXX";

static struct program start_kind(const struct run *r)
{
	const char *argv[] = { "weft-echo", "127.0.0.1:0", NULL, NULL };
	const char *peer[] = { peers[r->variant->peer].program, "echo", NULL };
	const char *httpd[] = { "weft-httpd", "127.0.0.1:0", "-r", folder,
				NULL };
	char path[PATH_SIZE];
	size_t i = 0;

	if (strcmp(r->variant->task, "httpd") == 0)
		return start_tool(r, 0, httpd, NULL);
	if (peer[0] && peer_find(r->variant->peer, path, sizeof path))
		return start(r, 0, path, peer, NULL);
	while (strcmp(kinds[i].name, r->variant->task) != 0)
		i++;
	argv[2] = kinds[i].argument;
	return start_tool(r, 0, argv, kinds[i].engine);
}

/* Starts a server, and reads where it listens. */
static struct program start_server(const struct run *r, char address[LINE])
{
	static const char listening[] = "listening on ";
	struct program server = start_kind(r);
	char line[LINE];

	if (!fgets(line, sizeof line, server.output) ||
	    strncmp(line, listening, strlen(listening)) != 0) {
		finish(&server, SIGKILL);
		run_unavailable("this server cannot run here");
	}
	line[strcspn(line, "\n")] = '\0';
	strcpy(address, line + strlen(listening));
	return server;
}

static double number(json_t *in, const char *name)
{
	json_t *n = json_object_get(in, name);

	if (!json_is_number(n))
		run_fail(-EBADMSG, "what weft-load prints");
	return json_number_value(n);
}

static void read_load(struct run *r, FILE *output)
{
	json_error_t error;
	json_t *all = json_loadf(output, 0, &error);

	if (!all)
		run_fail(-EBADMSG, "what weft-load prints");
	if (number(all, "errors_total") > 0)
		run_fail(-EBADMSG, "the answers");
	r->operations = (uint64_t)number(all, "requests");
	r->sample.wall_ns = (int64_t)(number(all, "seconds") * 1e9);
	run_detail(r, "p99_us",
		   number(json_object_get(all, "latency_ns"), "p99") / 1e3);
	run_detail(r, "load_cpu_ns",
		   number(all, "cpu_ns") / (double)r->operations);
	json_decref(all);
}

/* How many connections there can be of @n: an end of each is in this process, or in one
 * that it starts. */
static uint64_t possible(uint64_t n)
{
	enum { OTHERS = 100 };
	struct rlimit limit;
	uint64_t most;

	process_allow_many_files();
	getrlimit(RLIMIT_NOFILE, &limit);
	most = limit.rlim_cur > OTHERS ? limit.rlim_cur - OTHERS : 0;
	return n < most ? n : most;
}

static void need_connections(uint64_t n)
{
	if (possible(n) < n)
		run_unavailable("there may not be so many open files");
}

/* --- requests --- */

/* @path: NULL: whatever is sent comes back. */
static void put_under_load(struct run *r, const struct program *server,
			   const char *address, const char *path)
{
	const struct variant *v = r->variant;
	char connections[32], requests[32], size[32], in_flight[32];
	const char *argv[MAX_ARGUMENTS] = { "weft-load", address, connections,
					    requests,    size,    in_flight,
					    "-w0s",      "-d60s", "--json",
					    path };
	struct program load;
	int64_t before;

	/* so many that making the connections hardly counts */
	if (r->operations < (uint64_t)EACH * v->count)
		r->operations = (uint64_t)EACH * v->count;
	snprintf(connections, sizeof connections, "-c%u", v->count);
	snprintf(requests, sizeof requests, "-n%ju", (uintmax_t)r->operations);
	snprintf(size, sizeof size, "-s%zu", v->piece);
	snprintf(in_flight, sizeof in_flight, "-p%u", v->depth);
	run_begin(r);
	before = cpu_of(server->pid);
	load = start_tool(r, 1, argv, NULL);
	read_load(r, load.output);
	run_end(r);
	r->cpu_ns = cpu_of(server->pid) - before;
	finish(&load, 0);
}

void run_net(struct run *r)
{
	char address[LINE];
	struct program server;

	need_connections(r->variant->count);
	server = start_server(r, address);
	put_under_load(r, &server, address, NULL);
	finish(&server, SIGTERM);
}

/* --- files by HTTP --- */

static const char *const in_folder[] = { "file", "conf", "errors", "pid" };

static void remove_folder(void)
{
	char path[LINE];

	for (size_t i = 0; i < sizeof in_folder / sizeof in_folder[0]; i++) {
		snprintf(path, sizeof path, "%s/%s", folder, in_folder[i]);
		unlink(path);
	}
	rmdir(folder);
}

static FILE *create(const char *name)
{
	char path[LINE];
	FILE *f;

	snprintf(path, sizeof path, "%s/%s", folder, name);
	f = fopen(path, "w");
	must(f ? 0 : -errno, path);
	return f;
}

static void make_folder(size_t size)
{
	static bool is_there;
	FILE *f;

	if (is_there)
		return;
	must(mkdtemp(folder) ? 0 : -errno, folder);
	is_there = true;
	atexit(remove_folder);
	at_quick_exit(remove_folder);
	f = create("file");
	for (size_t i = 0; i < size; i++)
		fputc('x', f);
	must(fclose(f) ? -errno : 0, folder);
}

/* One that nobody has at the moment. */
static unsigned free_port(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t length = sizeof a;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd < 0 ? -errno : 0, "socket");
	must(bind(fd, (struct sockaddr *)&a, length) ? -errno : 0, "bind");
	must(getsockname(fd, (struct sockaddr *)&a, &length) ? -errno : 0,
	     "getsockname");
	close(fd);
	return ntohs(a.sin_port);
}

static bool is_listening(unsigned port)
{
	struct sockaddr_in a = { .sin_family = AF_INET,
				 .sin_port = htons((uint16_t)port),
				 .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	int rc = connect(fd, (struct sockaddr *)&a, sizeof a);

	close(fd);
	return rc == 0;
}

static const char *find_nginx(void)
{
	static const char *const places[] = { "/usr/sbin/nginx",
					      "/usr/local/sbin/nginx",
					      "/usr/local/nginx/sbin/nginx",
					      "/usr/bin/nginx" };

	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (access(places[i], X_OK) == 0)
			return places[i];
	run_unavailable("nginx was not found (Debian: nginx)");
}

/* One process, which writes no log. */
static struct program start_nginx(const struct run *r, char address[LINE])
{
	const char *path = find_nginx();
	char conf[LINE], errors[LINE];
	const char *argv[] = { "nginx", "-c", conf, "-e", errors, NULL };
	unsigned port = free_port();
	struct program server;
	FILE *f = create("conf");

	fprintf(f,
		"daemon off;\nmaster_process off;\npid %s/pid;\n"
		"events { worker_connections 4096; }\n"
		"http {\n"
		"access_log off; sendfile on; tcp_nopush on;\n"
		"keepalive_requests 1000000000;\n"
		"open_file_cache max=100; open_file_cache_valid 1s;\n"
		"server { listen 127.0.0.1:%u; root %s; }\n"
		"}\n",
		folder, port, folder);
	must(fclose(f) ? -errno : 0, folder);
	snprintf(conf, sizeof conf, "%s/conf", folder);
	snprintf(errors, sizeof errors, "%s/errors", folder);
	snprintf(address, LINE, "127.0.0.1:%u", port);
	server = start(r, 0, path, argv, NULL);
	while (!is_listening(port)) {
		if (waitpid(server.pid, NULL, WNOHANG) != 0)
			run_unavailable("nginx cannot run here");
		usleep(1000);
	}
	return server;
}

void run_net_http(struct run *r)
{
	char address[LINE];
	struct program server;

	make_folder(r->variant->piece);
	server = r->variant->peer == PEER_NGINX ? start_nginx(r, address)
						: start_server(r, address);
	put_under_load(r, &server, address, "--http=/file");
	finish(&server, SIGTERM);
}

/* --- connections --- */

/* Source addresses take turns, since each of them has a minute's supply of ports. */
static struct sockaddr_in next_source(void)
{
	enum { IN_A_ROW = 1000, SOURCES = 200 };
	static unsigned n;
	unsigned host = 1 + n++ / IN_A_ROW % SOURCES;

	return (struct sockaddr_in){
		.sin_family = AF_INET,
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK + host),
	};
}

static int dial(const char *address)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in from = next_source();
	static const int yes = 1;
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	must(fd < 0 ? -errno : 0, "socket");
	to.sin_port = htons((uint16_t)atoi(strrchr(address, ':') + 1));
	setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &yes, sizeof yes);
	must(bind(fd, (struct sockaddr *)&from, sizeof from) ? -errno : 0,
	     "bind");
	must(connect(fd, (struct sockaddr *)&to, sizeof to) ? -errno : 0,
	     "connect");
	return fd;
}

static void ask(int fd, size_t size)
{
	char request[size];

	memset(request, 'q', size);
	if (send(fd, request, size, MSG_NOSIGNAL) != (ssize_t)size)
		run_fail(-errno, "send");
}

static void hear(int fd, size_t size)
{
	char answer[size];

	if (recv(fd, answer, size, MSG_WAITALL) != (ssize_t)size)
		run_fail(-EBADMSG, "the answers");
}

/* Each is made, answered once and closed, @count at a time. */
void run_net_accept(struct run *r)
{
	const struct variant *v = r->variant;
	char address[LINE];
	struct program server;
	uint64_t rounds = (r->operations + v->count - 1) / v->count;
	int64_t before;
	int fds[v->count];

	need_connections(v->count);
	server = start_server(r, address);
	r->operations = rounds * v->count;
	stay_on(r->options, 1);
	run_begin(r);
	before = cpu_of(server.pid);
	while (rounds--) {
		for (unsigned i = 0; i < v->count; i++) {
			fds[i] = dial(address);
			ask(fds[i], v->piece);
		}
		for (unsigned i = 0; i < v->count; i++) {
			hear(fds[i], v->piece);
			close(fds[i]);
		}
	}
	run_end(r);
	r->cpu_ns = cpu_of(server.pid) - before;
	finish(&server, SIGTERM);
}

/* Those that have been answered once, and are there. */
void run_net_idle(struct run *r)
{
	uint64_t n = possible(r->size);
	char address[LINE];
	struct program server;
	struct memory before, after;
	int *fds = calloc(n, sizeof *fds);
	int64_t cpu;

	need_connections(1);
	server = start_server(r, address);
	before = memory_of(server.pid);
	if (!fds)
		run_fail(-ENOMEM, "connections");
	run_begin(r);
	cpu = cpu_of(server.pid);
	for (uint64_t i = 0; i < n; i++) {
		fds[i] = dial(address);
		ask(fds[i], r->variant->piece);
	}
	for (uint64_t i = 0; i < n; i++)
		hear(fds[i], r->variant->piece);
	run_end(r);
	r->cpu_ns = cpu_of(server.pid) - cpu;
	after = memory_of(server.pid);
	r->operations = n;
	run_detail(r, "connections", (double)n);
	run_detail(r, "resident_bytes",
		   (after.resident - before.resident) / (double)n);
	run_detail(r, "page_table_bytes",
		   (after.page_tables - before.page_tables) / (double)n);
	finish(&server, SIGKILL);
	for (uint64_t i = 0; i < n; i++)
		close(fds[i]);
	free(fds);
}
