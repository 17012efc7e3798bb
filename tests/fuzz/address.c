/* SPDX-License-Identifier: MIT */
/*
 * Addresses, as the tools take them from the command line.
 */
#include <netdb.h>

#include "fuzz.h"

/* No name is looked up. */
static int look_up(const char *host, const char *port,
		   const struct addrinfo *hints, struct addrinfo **found)
{
	struct addrinfo numeric = *hints;

	numeric.ai_flags |= AI_NUMERICHOST;
	return getaddrinfo(host, port, &numeric, found);
}

#define getaddrinfo look_up
#include "../../tools/address.c"
#undef getaddrinfo

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = fuzz_string(data, n);
	char problem[ADDRESS_PROBLEM] = "";
	struct address a;

	if (!address_parse(&a, text, problem)) {
		EXPECT(*problem && strlen(problem) < sizeof problem);
	} else {
		EXPECT(a.text == text && a.length && a.length <= sizeof a.name);
		EXPECT(address_is_unix(&a) == (a.name.ss_family == AF_UNIX));
		EXPECT(a.name.ss_family == AF_UNIX ||
		       a.name.ss_family == AF_INET ||
		       a.name.ss_family == AF_INET6);
	}
	free(text);
	return 0;
}
