/* SPDX-License-Identifier: MIT */
/*
 * Addresses as text. Nothing is looked up here, so that what an address means never
 * depends on the machine.
 */
#include "io/address.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <string.h>
#include <weft/net.h>

static const char loopback[] = "127.0.0.1";

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_letter(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static bool is_of_name(char c)
{
	return is_digit(c) || is_letter(c) || c == '-' || c == '.' || c == '_';
}

static bool is_name(const char *text, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!is_of_name(text[i]))
			return false;
	return true;
}

/* --- unix: --- */

static const char *parse_local(struct address *a, const char *path)
{
	size_t n = strlen(path);
	bool is_abstract = *path == '@';

	if (!n)
		return "there is no path after \"unix:\"";
	if (is_abstract && n == 1)
		return "there is no name after \"unix:@\"";
	if (n >= sizeof a->local.sun_path)
		return is_abstract
			       ? "the name after \"unix:@\" has more than 106 bytes"
			       : "the path after \"unix:\" has more than 107 bytes";
	a->local.sun_family = AF_UNIX;
	memcpy(a->local.sun_path, path, n);
	if (is_abstract)
		a->local.sun_path[0] = '\0';
	/* The end of a path is a byte more, that of an abstract name is not. */
	a->local_length = (socklen_t)(offsetof(struct sockaddr_un, sun_path) +
				      n + !is_abstract);
	return NULL;
}

/* --- host:port --- */

static const char *parse_port(struct address *a, const char *port)
{
	size_t n = strlen(port);
	size_t n_digits = 0, n_letters = 0;
	unsigned value = 0;

	if (!n)
		return "the port is missing";
	if (n >= sizeof a->port)
		return "the port is too long";
	for (size_t i = 0; i < n; i++) {
		n_digits += is_digit(port[i]);
		n_letters += is_letter(port[i]);
		if (n_digits == i + 1 && value <= 65535)
			value = value * 10 + (unsigned)(port[i] - '0');
	}
	if (n_digits == n && value > 65535)
		return "the port is above 65535";
	if (n_digits < n && (!n_letters || !is_name(port, n)))
		return "the port is neither a number nor a name";
	memcpy(a->port, port, n + 1);
	return NULL;
}

/* An IPv6 address, with or without a zone: fe80::1%eth0 */
static const char *parse_ipv6(struct address *a, const char *host, size_t n)
{
	struct in6_addr unused;
	char *zone;
	int rc;

	if (n >= sizeof a->host)
		return "what is in brackets is no IPv6 address";
	memcpy(a->host, host, n);
	a->host[n] = '\0';
	zone = strchr(a->host, '%');
	if (zone && (!zone[1] || !is_name(zone + 1, strlen(zone + 1))))
		return "the zone of the IPv6 address is no name";
	if (zone)
		*zone = '\0';
	rc = inet_pton(AF_INET6, a->host, &unused);
	if (zone)
		*zone = '%';
	return rc == 1 ? NULL : "what is in brackets is no IPv6 address";
}

static const char *parse_host(struct address *a, const char *host, size_t n)
{
	enum { MOST = 253 }; /* of a name in the DNS */

	if (memchr(host, ':', n))
		return "an IPv6 address has to be in brackets";
	if (n > MOST)
		return "the host has more than 253 bytes";
	if (n == 1 && *host == '*') {
		a->is_any = true;
		return NULL;
	}
	if (!is_name(host, n))
		return "the host has a character that no name has";
	memcpy(a->host, n ? host : loopback, n ? n : sizeof loopback);
	return NULL;
}

static const char *parse_inet(struct address *a, const char *text)
{
	const char *colon = strrchr(text, ':');
	const char *bracket = *text == '[' ? strchr(text, ']') : NULL;
	const char *problem;

	if (*text == '[' && !bracket)
		return "there is no closing bracket";
	if (bracket && bracket[1] != ':')
		return bracket[1] ? "there is no colon after the bracket"
				  : "the port is missing";
	if (bracket)
		problem = parse_ipv6(a, text + 1, (size_t)(bracket - text - 1));
	else if (!colon)
		problem = "the port is missing";
	else
		problem = parse_host(a, text, (size_t)(colon - text));
	if (problem)
		return problem;
	return parse_port(a, bracket ? bracket + 2 : colon + 1);
}

const char *weft__address_parse(struct address *a, const char *text)
{
	static const char prefix[] = "unix:";

	*a = (struct address){ .is_any = false };
	if (!text)
		return "there is no address";
	if (strncmp(text, prefix, sizeof prefix - 1) == 0)
		return parse_local(a, text + sizeof prefix - 1);
	return parse_inet(a, text);
}

WEFT_API const char *weft_address_error(const char *address)
{
	struct address unused;

	return weft__address_parse(&unused, address);
}
