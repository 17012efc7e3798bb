/* SPDX-License-Identifier: MIT */
/*
 * Conditions, as weft-load --assert takes them; and whether they hold.
 */
#include "../../tools/load/load.h"
#include "fuzz.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
	static struct histogram latencies;
	struct outcome o = { .latencies = &latencies, .rate = 1000 };
	char problem[ASSERTION_PROBLEM] = "";
	char *text = fuzz_string(data, n);
	struct assertion a;
	double found;

	if (!latencies.n)
		for (int64_t ns = 1; ns < INT64_MAX / 3; ns *= 3)
			histogram_add(&latencies, ns);
	if (!assertion_parse(&a, text, problem)) {
		EXPECT(*problem && strlen(problem) < sizeof problem);
	} else {
		bool holds = assertion_holds(&a, &o, &found);

		EXPECT(a.value >= 0 && a.text == text);
		EXPECT(a.what != ASSERT_QUANTILE ||
		       (a.share >= 0 && a.share <= 1));
		/* The opposite does not hold. */
		a.comparison ^= 1;
		if (a.comparison == EQUAL || a.comparison == UNEQUAL)
			EXPECT(assertion_holds(&a, &o, &found) != holds);
	}
	free(text);
	return 0;
}
