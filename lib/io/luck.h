/* SPDX-License-Identifier: MIT */
/*
 * What pays for some descriptors and costs extra for others is tried, and after a
 * try in vain left out for a while, twice as long each time.
 *
 * Any thread; relaxed: these are hints. Descriptors share a place if there are many,
 * or if a number becomes another file's. Then what pays is found out anew.
 */
#ifndef WEFT__LUCK_H
#define WEFT__LUCK_H

#include <stdbool.h>
#include <stdint.h>

#include "base/debug.h"

enum { N_LUCKS = 1024, MOST_LEFT_OUT = 63 };

/* For each descriptor number: how many of the next times are left out, and how many
 * were after the last try in vain. */
struct luck {
	struct {
		_Atomic(uint8_t) left, last;
	} of[N_LUCKS];
};

static inline bool weft__is_to_try(struct luck *luck, int fd)
{
	uint8_t left = peek(luck->of[(unsigned)fd % N_LUCKS].left);

	if (left)
		poke(luck->of[(unsigned)fd % N_LUCKS].left,
		     (uint8_t)(left - 1));
	return !left;
}

static inline void weft__note_try(struct luck *luck, int fd, bool hit)
{
	uint8_t last = peek(luck->of[(unsigned)fd % N_LUCKS].last);
	unsigned next = hit ? 0 : 2U * last + 1;

	if (hit && !last)
		return;
	if (next > MOST_LEFT_OUT)
		next = MOST_LEFT_OUT;
	poke(luck->of[(unsigned)fd % N_LUCKS].last, (uint8_t)next);
	poke(luck->of[(unsigned)fd % N_LUCKS].left, (uint8_t)next);
}

#endif /* WEFT__LUCK_H */
