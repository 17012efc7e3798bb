/* SPDX-License-Identifier: MIT */
/*
 * Addresses, as weft_listen() and weft_dial() take them.
 */
#include <weft/net.h>

#include "fuzz.h"
#include "io/address.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = fuzz_string(data, n);
	const char *problem = weft_address_error(text);
	struct address a;

	EXPECT(!weft__address_parse(&a, text) == !problem);
	if (problem) {
		EXPECT(*problem);
	} else if (a.local_length) {
		EXPECT(a.local_length <= sizeof a.local);
	} else {
		EXPECT(strnlen(a.host, sizeof a.host) < sizeof a.host);
		EXPECT(*a.port &&
		       strnlen(a.port, sizeof a.port) < sizeof a.port);
	}
	free(text);
	return 0;
}
