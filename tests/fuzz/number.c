/* SPDX-License-Identifier: MIT */
/*
 * Numbers and times, as the tools' options take them.
 */
#include "../../tools/number.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	char *text = fuzz_string(data, n);
	const char *rest = NULL;
	uint64_t number;
	double value;
	int64_t ns;

	if (number_parse(text, &number)) {
		char again[32];
		const char *digits = text + strspn(text, "0");

		snprintf(again, sizeof again, "%ju", (uintmax_t)number);
		EXPECT(strcmp(again, *digits ? digits : "0") == 0);
	}
	if (decimal_parse(text, &value, &rest)) {
		EXPECT(value >= 0);
		EXPECT(rest > text && rest <= text + strlen(text));
	}
	if (time_parse(text, &ns))
		EXPECT(ns >= 0 && rest && *rest);
	free(text);
	return 0;
}
