/* SPDX-License-Identifier: MIT */
#include "core/inbox.h"

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
