/* SPDX-License-Identifier: MIT */
#include "address.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static const char unix_prefix[] = "unix:";
static const char udp_prefix[] = "udp:";

/* --- reading --- */

static bool parse_unix(struct address *a, char *problem)
{
	struct sockaddr_un *name = (struct sockaddr_un *)&a->name;
	const char *path = a->text + strlen(unix_prefix);

	/* '@' begins a name without a file elsewhere. */
	if (!*path || *path == '@' || strlen(path) >= sizeof name->sun_path) {
		snprintf(
			problem, ADDRESS_PROBLEM,
			"bad address '%.100s': a path of 1 to %zu bytes is accepted, that begins with another sign than '@'",
			a->text, sizeof name->sun_path - 1);
		return false;
	}
	name->sun_family = AF_UNIX;
	strcpy(name->sun_path, path);
	a->length = sizeof *name;
	return true;
}

/* Finds HOST and PORT in the text. False when there are no two. */
static bool split(const char *text, char host[NI_MAXHOST], const char **port)
{
	const char *begin = text;
	const char *end = strrchr(text, ':');

	if (!end || end == begin)
		return false;
	*port = end + 1;
	if (*begin == '[' && end[-1] == ']')
		begin++, end--;
	else if (memchr(begin, ':', (size_t)(end - begin)))
		return false; /* an IPv6 address without its brackets */
	if (end <= begin || end - begin >= NI_MAXHOST)
		return false;
	memcpy(host, begin, (size_t)(end - begin));
	host[end - begin] = '\0';
	return true;
}

static bool is_port(const char *text)
{
	char *end;

	return *text >= '0' && *text <= '9' &&
	       strtoul(text, &end, 10) <= UINT16_MAX && !*end;
}

/* All addresses of the machine. The C library would take "*" for the loopback. */
static void set_any(struct address *a, const char *port)
{
	struct sockaddr_in6 *name = (struct sockaddr_in6 *)&a->name;

	name->sin6_family = AF_INET6;
	name->sin6_addr = (struct in6_addr)IN6ADDR_ANY_INIT;
	name->sin6_port = htons((uint16_t)strtoul(port, NULL, 10));
	a->length = sizeof *name;
	a->is_any = true;
}

/* Where there is no IPv6. The port stays. */
static void set_any_without_ipv6(struct address *a)
{
	in_port_t port = ((const struct sockaddr_in6 *)&a->name)->sin6_port;
	struct sockaddr_in *name = (struct sockaddr_in *)&a->name;

	*name = (struct sockaddr_in){ .sin_family = AF_INET,
				      .sin_port = port,
				      .sin_addr.s_addr = htonl(INADDR_ANY) };
	a->length = sizeof *name;
}

static bool parse_inet(struct address *a, char *problem)
{
	const struct addrinfo hints = {
		.ai_socktype = a->is_datagram ? SOCK_DGRAM : SOCK_STREAM,
		.ai_flags = AI_NUMERICSERV,
	};
	const char *text = a->text + (a->is_datagram ? strlen(udp_prefix) : 0);
	struct addrinfo *found;
	char host[NI_MAXHOST];
	const char *port;
	int rc;

	if (!split(text, host, &port)) {
		snprintf(
			problem, ADDRESS_PROBLEM,
			"bad address '%.100s': HOST:PORT, [IPV6]:PORT, *:PORT, udp:HOST:PORT and unix:/PATH are accepted",
			a->text);
		return false;
	}
	if (!is_port(port)) {
		snprintf(
			problem, ADDRESS_PROBLEM,
			"bad port in '%.100s': a number from 0 to 65535 is accepted",
			a->text);
		return false;
	}
	if (strcmp(host, "*") == 0) {
		set_any(a, port);
		return true;
	}
	rc = getaddrinfo(host, port, &hints, &found);
	if (rc) {
		snprintf(problem, ADDRESS_PROBLEM, "bad host in '%.100s': %s",
			 a->text, gai_strerror(rc));
		return false;
	}
	memcpy(&a->name, found->ai_addr, found->ai_addrlen);
	a->length = found->ai_addrlen;
	freeaddrinfo(found);
	return true;
}

bool address_parse(struct address *a, const char *text,
		   char problem[ADDRESS_PROBLEM])
{
	*a = (struct address){ .text = text };
	a->is_datagram = strncmp(text, udp_prefix, strlen(udp_prefix)) == 0;
	if (strncmp(text, unix_prefix, strlen(unix_prefix)) == 0)
		return parse_unix(a, problem);
	return parse_inet(a, problem);
}

bool address_is_unix(const struct address *a)
{
	return a->name.ss_family == AF_UNIX;
}

/* --- connecting --- */

static int new_socket(const struct address *a)
{
	int fd = socket(
		a->name.ss_family,
		(a->is_datagram ? SOCK_DGRAM : SOCK_STREAM) | SOCK_CLOEXEC, 0);

	return fd < 0 ? -errno : fd;
}

static bool is_tcp(const struct address *a)
{
	return !address_is_unix(a) && !a->is_datagram;
}

int address_socket(const struct address *a)
{
	int one = 1;
	int fd = new_socket(a);

	/* Small messages are sent at once. Without that they are slow, no more. */
	if (fd >= 0 && is_tcp(a))
		(void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
				 sizeof one);
	return fd;
}

/* --- listening --- */

static const char *path_of(const struct address *a)
{
	return ((const struct sockaddr_un *)&a->name)->sun_path;
}

/* Whether the file was left by a server that is no more. */
static bool is_stale(const struct address *a)
{
	const struct sockaddr *name = (const struct sockaddr *)&a->name;
	struct stat st;
	bool is_refused;
	int fd;

	if (lstat(path_of(a), &st) || !S_ISSOCK(st.st_mode))
		return false;
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return false;
	is_refused = connect(fd, name, a->length) && errno == ECONNREFUSED;
	close(fd);
	return is_refused;
}

static int bind_unix(int fd, struct address *a)
{
	const struct sockaddr *name = (const struct sockaddr *)&a->name;

	if (bind(fd, name, a->length)) {
		int error = errno;

		if (error != EADDRINUSE || !is_stale(a))
			return -error;
		if (unlink(path_of(a)) || bind(fd, name, a->length))
			return -errno;
	}
	a->owns_file = true;
	return 0;
}

static void set_option(int fd, int level, int option)
{
	/* Without it, connections are slower or less evenly spread. */
	(void)setsockopt(fd, level, option, &(int){ 1 }, sizeof(int));
}

/* The first socket is bound without SO_REUSEPORT, so that an address which
 * another program has is found to be in use, and shares from then on. */
static int bind_inet(int fd, struct address *a, bool is_first)
{
	struct sockaddr *name = (struct sockaddr *)&a->name;

	/* Of IPv4, too, whatever the system's default is. */
	if (a->is_any && name->sa_family == AF_INET6 &&
	    setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &(int){ 0 }, sizeof(int)))
		return -errno;
	/* With datagrams, it would let two servers have the address. */
	if (!a->is_datagram) {
		set_option(fd, SOL_SOCKET, SO_REUSEADDR);
		/* accepted ones inherit it */
		set_option(fd, IPPROTO_TCP, TCP_NODELAY);
	}
	if (!is_first)
		set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	if (bind(fd, name, a->length))
		return -errno;
	set_option(fd, SOL_SOCKET, SO_REUSEPORT);
	return getsockname(fd, name, &a->length) ? -errno : 0;
}

int address_listen(struct address *a, bool is_first)
{
	int fd = new_socket(a);
	int rc;

	if (fd == -EAFNOSUPPORT && a->is_any) {
		set_any_without_ipv6(a);
		fd = new_socket(a);
	}
	if (fd < 0)
		return fd;
	rc = address_is_unix(a) ? bind_unix(fd, a) : bind_inet(fd, a, is_first);
	if (rc == 0 && !a->is_datagram && listen(fd, SOMAXCONN))
		rc = -errno;
	if (rc) {
		close(fd);
		return rc;
	}
	return fd;
}

void address_print(const struct address *a)
{
	char host[NI_MAXHOST], port[NI_MAXSERV];

	if (address_is_unix(a) ||
	    getnameinfo((const struct sockaddr *)&a->name, a->length, host,
			sizeof host, port, sizeof port,
			NI_NUMERICHOST | NI_NUMERICSERV))
		fputs(a->text, stdout);
	else
		printf(a->name.ss_family == AF_INET6 ? "%s[%s]:%s" : "%s%s:%s",
		       a->is_datagram ? udp_prefix : "", host, port);
}

void address_remove_file(struct address *a)
{
	if (a->owns_file)
		unlink(path_of(a));
	a->owns_file = false;
}
