/* SPDX-License-Identifier: MIT */
#include "inbox.h"

uintptr_t weft__inbox_reversed(uintptr_t link)
{
	uintptr_t done = INBOX_EMPTY;

	while (link) {
		struct inbox_node *node = weft__inbox_node(link);
		uintptr_t next = node->next;

		node->next = done;
		done = link;
		link = next;
	}
	return done;
}

uintptr_t weft__inbox_take(struct inbox *in, uintptr_t instead)
{
	/* acquire: what the pushers wrote before their release [inbox.1] */
	uintptr_t word = atomic_exchange_explicit(&in->word, instead,
						  memory_order_acquire);

	return word < INBOX_LINKS ? INBOX_EMPTY : weft__inbox_reversed(word);
}
