/* SPDX-License-Identifier: MIT */
#include "io/held.h"

#include <netdb.h>
#include <stdlib.h>
#include <unistd.h>

void weft__held_end(struct held *h)
{
	weft__let_go(&h->holding);
	for (int i = 0; i < 2; i++)
		if (h->fds[i] >= 0)
			close(h->fds[i]);
	if (h->found)
		freeaddrinfo(h->found);
	free(h);
}

static void release(struct scheduler *s, struct holding *h)
{
	(void)s;
	weft__held_end((struct held *)h);
}

struct held *weft__held_new(struct scheduler *s)
{
	struct held *h = malloc(sizeof *h);

	if (!h)
		return NULL;
	*h = (struct held){ .holding.release = release, .fds = { -1, -1 } };
	weft__hold(s, &h->holding);
	return h;
}
