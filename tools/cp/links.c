/* SPDX-License-Identifier: MIT */
/*
 * Files with several names: which has been copied first, and to where. Whoever finds
 * another name while the first one is still being copied waits for that.
 */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "cp.h"

enum { N_LISTS = 4096 };

struct link {
	struct link *next;
	dev_t device;
	ino_t inode;
	struct folder *folder;
	enum { COPYING, COPIED, FAILED } state;
	unsigned n_waiting;
	weft_semaphore copied;
	char name[];
};

/* No tasklet gives way while it has this lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct link *lists[N_LISTS];

static struct link **list_of(const struct stat *st)
{
	uint64_t key = (st->st_ino ^ st->st_dev << 17) * 0x9e3779b97f4a7c15u;

	return &lists[key >> 52];
}

static struct link *find(const struct stat *st)
{
	struct link *l = *list_of(st);

	while (l && !(l->inode == st->st_ino && l->device == st->st_dev &&
		      l->state != FAILED))
		l = l->next;
	return l;
}

static struct link *add(const struct stat *st, struct folder *f,
			const char *name)
{
	struct link **list = list_of(st);
	size_t n = strlen(name) + 1;
	struct link *l = malloc(sizeof *l + n);

	if (!l)
		return NULL;
	*l = (struct link){ .next = *list,
			    .device = st->st_dev,
			    .inode = st->st_ino,
			    .folder = f,
			    .copied = WEFT_SEMAPHORE_INIT(0) };
	memcpy(l->name, name, n);
	folder_ref(f);
	*list = l;
	return l;
}

struct link *links_claim(const struct stat *st, struct folder *f,
			 const char *new_name, bool *is_first)
{
	struct link *l;

	pthread_mutex_lock(&lock);
	while ((l = find(st)) && l->state == COPYING) {
		l->n_waiting++;
		pthread_mutex_unlock(&lock);
		weft_semaphore_wait(&l->copied);
		pthread_mutex_lock(&lock);
	}
	*is_first = !l;
	if (!l)
		l = add(st, f, new_name);
	pthread_mutex_unlock(&lock);
	return l;
}

void links_copied(struct link *l, bool is_copied)
{
	unsigned n;

	pthread_mutex_lock(&lock);
	l->state = is_copied ? COPIED : FAILED;
	n = l->n_waiting;
	l->n_waiting = 0;
	pthread_mutex_unlock(&lock);
	while (n--)
		weft_semaphore_post(&l->copied);
}

struct folder *links_folder(const struct link *l)
{
	return l->folder;
}

const char *links_name(const struct link *l)
{
	return l->name;
}

void links_free(void)
{
	for (size_t i = 0; i < N_LISTS; i++)
		while (lists[i]) {
			struct link *l = lists[i];

			lists[i] = l->next;
			folder_unref(l->folder);
			free(l);
		}
}
