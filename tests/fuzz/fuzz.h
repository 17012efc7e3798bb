/* SPDX-License-Identifier: MIT */
/*
 * For targets of libFuzzer, see tests/check-long. A folder beside each target has the
 * inputs to begin with.
 */
#ifndef WEFT_TESTS_FUZZ_H
#define WEFT_TESTS_FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);

#define EXPECT(condition)                                                  \
	do {                                                               \
		if (!(condition)) {                                        \
			fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, \
				#condition);                               \
			abort();                                           \
		}                                                          \
	} while (0)

/* The input as a string, up to a zero byte; free() frees it. */
static inline char *fuzz_string(const uint8_t *data, size_t n)
{
	char *text = strndup((const char *)data, n);

	EXPECT(text);
	return text;
}

#endif /* WEFT_TESTS_FUZZ_H */
