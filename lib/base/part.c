/* SPDX-License-Identifier: MIT */
#include "base/part.h"

#include <stddef.h>

/* The linker names these after the section. */
extern const struct part *const __start_weft_parts[] HIDDEN;
extern const struct part *const __stop_weft_parts[] HIDDEN;

/* With this the section exists even if the program has no part. */
static const struct part *const nothing PART_SECTION = NULL;

const struct part *weft__part(enum part_rank rank)
{
	for (const struct part *const *p = __start_weft_parts;
	     p < __stop_weft_parts; p++)
		if (*p && (*p)->rank == rank)
			return *p;
	return NULL;
}
