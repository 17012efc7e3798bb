/* SPDX-License-Identifier: MIT */
#include "engine/flight.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

enum {
	/* Heads of lists: at first, a page of them; at most, as many as a
	 * process can have descriptors, unless fs.nr_open was raised. */
	FIRST_HEADS = 512,
	MOST_HEADS = 1 << 20
};

/* Moves operations whose descriptors have a place of their own now. */
static void move_from_elsewhere(struct flight *f)
{
	struct operation *next;

	for (struct operation *o = f->elsewhere; o; o = next) {
		struct operation **list = weft__flight_list(f, o->fd);

		next = o->next;
		if (list == &f->elsewhere)
			continue;
		if (next)
			next->prev = o->prev;
		if (o->prev)
			o->prev->next = next;
		else
			f->elsewhere = next;
		weft__flight_push(list, o);
	}
}

void weft__flight_free(struct flight *f)
{
	if (f->n_heads)
		munmap(f->heads, f->n_heads * sizeof f->heads[0]);
	f->heads = NULL;
	f->n_heads = 0;
}

/* The memory is mapped, so that only the used part of it takes any. */
NOINLINE void weft__flight_make_place(struct flight *f, int fd)
{
	size_t n = f->n_heads ? f->n_heads : FIRST_HEADS;
	void *heads;

	if (fd < -1 || fd >= MOST_HEADS)
		return;
	while (n <= (size_t)fd + 1)
		n *= 2;
	/* Not by mremap(): ThreadSanitizer does not see it. */
	heads = mmap(NULL, n * sizeof f->heads[0], PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (heads == MAP_FAILED)
		return;
	if (f->n_heads)
		memcpy(heads, f->heads, f->n_heads * sizeof f->heads[0]);
	weft__flight_free(f);
	f->heads = heads;
	f->n_heads = (unsigned)n;
	move_from_elsewhere(f);
}

struct operation *weft__flight_find(const struct flight *f, int fd)
{
	struct operation *o;

	if (likely(weft__flight_has_place(f, fd)))
		return f->heads[fd + 1];
	for (o = f->elsewhere; o && o->fd != fd; o = o->next)
		;
	return o;
}

struct operation *weft__flight_any(const struct flight *f, unsigned *from)
{
	for (; *from < f->n_heads; ++*from)
		if (f->heads[*from])
			return f->heads[*from];
	return f->elsewhere;
}

bool weft__flight_has(const struct flight *f, int fd, int n)
{
	const struct operation *o = weft__flight_find(f, fd);
	int n_found = 0;

	for (; o && n_found < n; o = o->next)
		n_found += o->fd == fd;
	return n_found == n;
}

static void end_list(struct operation *o)
{
	struct operation *next;

	for (; o; o = next) {
		next = o->next;
		o->is_called_back = true;
		o->complete(o, -ECANCELED, 0);
	}
}

void weft__flight_end_all(struct flight *f)
{
	for (unsigned i = 0; i < f->n_heads; i++)
		end_list(f->heads[i]);
	end_list(f->elsewhere);
	end_list(f->called_back);
	weft__flight_free(f);
	*f = (struct flight){ 0 };
}
