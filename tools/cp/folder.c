/* SPDX-License-Identifier: MIT */
/*
 * Folders, and the descriptors of them.
 *
 * Paths are never put together: everything is opened relative to the descriptor of
 * its folder, so a tree can be deeper than a path may be long, and nobody can lead the
 * copy astray by a symbolic link. Descriptors are few. A folder that nobody is in
 * stays open until its descriptors are needed for another one. It is opened again from
 * the nearest folder above that is open, or by ".." from one below. It must then be the
 * same one: device and inode are compared.
 *
 * A job is in two folders at most and opens a third, and there are three times as many
 * pairs of descriptors as jobs. So a pair that nobody uses can always be found.
 *
 * A folder gets its attributes when nothing is pending in it: the walk, its batches and
 * the folders below. Until then its owner can write to it.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cp.h"

enum { ENTRIES = 32 * 1024, BATCH = 16, OWNER = S_IRWXU };

#define OPEN_FOLDER (O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)

/* Above the folders' states, counts and the list of those that are open and not in
 * use. No tasklet gives way while it has this lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static size_t n_open; /* or about to be */
static struct folder unused = { .older = &unused, .newer = &unused };

/* --- the list: the newest is unused.older --- */

static void unlink_unused(struct folder *f)
{
	f->older->newer = f->newer;
	f->newer->older = f->older;
}

static void link_unused(struct folder *f)
{
	f->older = unused.older;
	f->newer = &unused;
	f->older->newer = f;
	unused.older = f;
}

static void close_both(struct folder *f)
{
	close(f->source);
	close(f->target);
	f->state = CLOSED;
	n_open--;
}

static void take_slot(void)
{
	if (n_open >= settings.n_folders && unused.newer != &unused) {
		struct folder *f = unused.newer;

		unlink_unused(f);
		close_both(f);
	}
	n_open++;
}

static void pin(struct folder *f)
{
	if (f->n_pins++ == 0 && f->state == OPEN)
		unlink_unused(f);
}

static void unpin(struct folder *f)
{
	if (--f->n_pins == 0 && f->state == OPEN)
		link_unused(f);
}

/* --- references --- */

struct folder *folder_new(struct folder *parent, const char *name,
			  const char *new_name)
{
	size_t n = strlen(name) + 1, n_new = strlen(new_name) + 1;
	struct folder *f = calloc(1, sizeof *f + n + n_new);

	if (!f)
		return NULL;
	f->name = memcpy(f + 1, name, n);
	f->new_name = memcpy(f->name + n, new_name, n_new);
	f->parent = parent;
	f->follows = settings.follow == FOLLOW_ALL;
	f->n_refs = 1;
	f->n_pending = 1;
	f->opened = (weft_semaphore)WEFT_SEMAPHORE_INIT(0);
	if (parent)
		folder_hold(parent);
	return f;
}

static void count(struct folder *f, unsigned refs, unsigned pending)
{
	pthread_mutex_lock(&lock);
	f->n_refs += refs;
	f->n_pending += pending;
	pthread_mutex_unlock(&lock);
}

void folder_ref(struct folder *f)
{
	count(f, 1, 0);
}

void folder_hold(struct folder *f)
{
	count(f, 1, 1);
}

void folder_unref(struct folder *f)
{
	while (f) {
		struct folder *parent = f->parent;
		bool is_last;

		pthread_mutex_lock(&lock);
		is_last = --f->n_refs == 0;
		if (is_last && f->state == OPEN) {
			unlink_unused(f);
			close_both(f);
		}
		pthread_mutex_unlock(&lock);
		if (!is_last)
			return;
		free(f);
		f = parent;
	}
}

bool folder_is_target(const struct folder *f, const struct stat *st)
{
	for (; f; f = f->parent)
		if (f->parent && f->is_made &&
		    f->target_stat.st_dev == st->st_dev &&
		    f->target_stat.st_ino == st->st_ino)
			return true;
	return false;
}

/* --- opening for the first time --- */

/* At once if it is in memory. Otherwise others run meanwhile. */
static int open_source(struct folder *f, int dir, int flags)
{
	struct open_how how = { .flags = (unsigned)flags,
				.resolve = RESOLVE_CACHED };
	long fd = syscall(SYS_openat2, dir, f->name, &how, sizeof how);

	if (fd >= 0)
		return (int)fd;
	f->is_on_disk = errno == EAGAIN;
	return weft_openat(dir, f->name, flags);
}

static bool fails(const struct folder *f, enum side side, const char *verb,
		  int error)
{
	complain(f, side, NULL, verb, error);
	return false;
}

static int make_target(struct folder *f, int dir, int *fd)
{
	mode_t mode = f->source_stat.st_mode &
		      (S_ISVTX | S_IRWXU | S_IRWXG | S_IRWXO);

	/* Others are let in when the owner and the group are right. */
	if (settings.is_archive)
		mode = OWNER;
	f->is_new = mkdirat(dir, f->new_name, mode | OWNER) == 0;
	if (!f->is_new && errno != EEXIST)
		return -errno;
	*fd = openat(dir, f->new_name,
		     f->parent->alias ? OPEN_FOLDER & ~O_NOFOLLOW
				      : OPEN_FOLDER);
	if (*fd < 0)
		return -errno;
	if (f->is_new && settings.is_archive && f->parent->has_acl)
		remove_acls(*fd);
	return fstat(*fd, &f->target_stat) ? -errno : 0;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The folders of an operand and of where it goes, which are there already. */
static bool open_root(struct folder *f, int fds[2])
{
	fds[0] = open(f->name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fds[0] < 0 || fstat(fds[0], &f->source_stat))
		return fails(f, SOURCE, "open", -errno);
	fds[1] = open(f->new_name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	/* to write to it, nobody needs to read it */
	if (fds[1] < 0 && errno == EACCES)
		fds[1] = open(f->new_name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fds[1] < 0 || fstat(fds[1], &f->target_stat))
		return fails(f, TARGET, "open", -errno);
	return true;
}

/* Symbolic links that are followed can lead back up. */
static bool is_in_itself(const struct folder *f)
{
	if (settings.follow != FOLLOW_ALL)
		return false;
	for (const struct folder *up = f->parent; up->parent; up = up->parent)
		if (is_same(&f->source_stat, &up->source_stat))
			return true;
	return false;
}

static bool open_first(struct folder *f, int fds[2])
{
	struct folder *up = f->parent;
	int rc;

	if (!up)
		return open_root(f, fds);
	fds[0] = open_source(f, up->source,
			     up->follows ? OPEN_FOLDER & ~O_NOFOLLOW
					 : OPEN_FOLDER);
	if (fds[0] < 0)
		return fails(f, SOURCE, "open", fds[0]);
	if (fstat(fds[0], &f->source_stat))
		return fails(f, SOURCE, "look at", -errno);
	if (folder_is_target(up, &f->source_stat))
		return fails(f, SOURCE, "copy into itself:", 0);
	if (is_in_itself(f))
		return fails(f, SOURCE, "copy, it lies in itself:", 0);
	f->is_foreign = settings.is_of_one_system && up->parent &&
			f->source_stat.st_dev != up->source_stat.st_dev;
	rc = make_target(f, up->target, &fds[1]);
	if (rc)
		return fails(f, TARGET, "make", rc);
	if (is_same(&f->source_stat, &f->target_stat))
		return fails(f, SOURCE, "copy onto itself:", 0);
	return true;
}

static void look_at_both(struct folder *f, int source, int target)
{
	struct statfs fs;

	f->is_in_memory =
		fstatfs(source, &fs) == 0 &&
		(fs.f_type == TMPFS_MAGIC || fs.f_type == RAMFS_MAGIC);
	f->has_acl = settings.is_archive &&
		     fgetxattr(target, "system.posix_acl_default", NULL, 0) > 0;
}

/* --- opening again --- */

static int check_id(int fd, const struct stat *was)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	return is_same(&st, was) ? 0 : -ESTALE;
}

/* Opens one step further: @fd is replaced. It is the same folder as before, so it does
 * not matter whether there is a symbolic link to it. */
static int step(int *fd, const char *name, bool is_last, const struct stat *was)
{
	int next = openat(*fd, name,
			  is_last ? OPEN_FOLDER & ~O_NOFOLLOW
				  : O_PATH | O_DIRECTORY | O_CLOEXEC);
	int rc = check_id(next, was);

	if (next >= 0) {
		close(*fd);
		*fd = next;
	}
	return rc;
}

/* Down from @from, which is open, or from the file system's names. */
static int open_down(struct folder *from, struct folder *f, enum side side,
		     int *fd)
{
	size_t depth = 0, i = 0;
	struct folder **path, *g;
	int rc = 0;

	for (g = f; g && g != from; g = g->parent)
		depth++;
	path = calloc(depth + 1, sizeof *path);
	if (!path)
		return -ENOMEM;
	for (g = f; g && g != from; g = g->parent)
		path[depth - ++i] = g;
	i = 0;
	if (from) {
		*fd = dup(side == SOURCE ? from->source : from->target);
		rc = *fd < 0 ? -errno : 0;
	} else {
		*fd = open(side == SOURCE ? path[0]->name : path[0]->new_name,
			   O_PATH | O_DIRECTORY | O_CLOEXEC);
		rc = check_id(*fd, side == SOURCE ? &path[0]->source_stat
						  : &path[0]->target_stat);
		i = 1;
	}
	for (; !rc && i < depth; i++)
		rc = step(fd,
			  side == SOURCE ? path[i]->name : path[i]->new_name,
			  i + 1 == depth,
			  side == SOURCE ? &path[i]->source_stat
					 : &path[i]->target_stat);
	free(path);
	return rc;
}

static bool open_again(struct folder *from, struct folder *f, int fds[2])
{
	int rc = open_down(from, f, SOURCE, &fds[0]);

	if (rc)
		return fails(f, SOURCE, "open again", rc);
	rc = open_down(from, f, TARGET, &fds[1]);
	return rc ? fails(f, TARGET, "open again", rc) : true;
}

/* --- in and out --- */

/* Enters the nearest folder above that is open, or when @f is new, its parent. */
static bool enter_above(struct folder *f, struct folder **above)
{
	struct folder *g = f->parent;

	*above = NULL;
	if (!g)
		return true;
	if (!f->is_made) {
		*above = g;
		return folder_enter(g);
	}
	pthread_mutex_lock(&lock);
	while (g && g->state != OPEN)
		g = g->parent;
	if (g)
		pin(g);
	pthread_mutex_unlock(&lock);
	*above = g;
	return true;
}

static bool open_both(struct folder *f, int fds[2])
{
	struct folder *above;
	bool is_open;

	if (!enter_above(f, &above))
		return false;
	is_open = f->is_made ? open_again(above, f, fds) : open_first(f, fds);
	if (above)
		folder_leave(above);
	return is_open;
}

/* Under the lock. */
static unsigned take_waiting(struct folder *f)
{
	unsigned n = f->n_waiting;

	f->n_waiting = 0;
	return n;
}

static void let_go(struct folder *f, unsigned n)
{
	while (n--)
		weft_semaphore_post(&f->opened);
}

/* The caller has made the state OPENING, and a slot is his. */
static bool end_opening(struct folder *f, bool is_open, const int fds[2])
{
	unsigned n_waiting;

	if (is_open && !f->is_made) {
		look_at_both(f, fds[0], fds[1]);
	}
	if (!is_open) {
		if (fds[0] >= 0)
			close(fds[0]);
		if (fds[1] >= 0)
			close(fds[1]);
	}
	pthread_mutex_lock(&lock);
	f->source = fds[0];
	f->target = fds[1];
	f->state = is_open ? OPEN : CLOSED;
	f->is_made = f->is_made || is_open;
	if (!is_open) {
		f->is_broken = true;
		f->n_pins--;
		n_open--;
	}
	n_waiting = take_waiting(f);
	pthread_mutex_unlock(&lock);
	let_go(f, n_waiting);
	return is_open;
}

bool folder_enter(struct folder *f)
{
	int fds[2] = { -1, -1 };
	bool is_ready;

	pthread_mutex_lock(&lock);
	while (f->state == OPENING) {
		f->n_waiting++;
		pthread_mutex_unlock(&lock);
		weft_semaphore_wait(&f->opened);
		pthread_mutex_lock(&lock);
	}
	is_ready = f->state == OPEN;
	if (f->is_broken) {
		pthread_mutex_unlock(&lock);
		return false; /* as was said */
	}
	pin(f);
	if (!is_ready) {
		f->state = OPENING;
		take_slot();
	}
	pthread_mutex_unlock(&lock);
	return is_ready || end_opening(f, open_both(f, fds), fds);
}

void folder_leave(struct folder *f)
{
	pthread_mutex_lock(&lock);
	unpin(f);
	pthread_mutex_unlock(&lock);
}

/* Opens the parent from @f, which is open, since the parent will be next. */
static void open_parent(struct folder *f)
{
	struct folder *up = f->parent;
	int fds[2];
	unsigned n_waiting;
	bool is_needed;

	pthread_mutex_lock(&lock);
	is_needed = up->parent && up->state == CLOSED && !up->is_broken;
	if (is_needed) {
		up->state = OPENING;
		up->n_pins++;
		take_slot();
	}
	pthread_mutex_unlock(&lock);
	if (!is_needed)
		return;
	fds[0] = openat(f->source, "..", OPEN_FOLDER);
	fds[1] = openat(f->target, "..", OPEN_FOLDER);
	if (check_id(fds[0], &up->source_stat) == 0 &&
	    check_id(fds[1], &up->target_stat) == 0) {
		end_opening(up, true, fds);
		folder_leave(up);
		return;
	}
	/* It was moved: whoever needs it will see. */
	if (fds[0] >= 0)
		close(fds[0]);
	if (fds[1] >= 0)
		close(fds[1]);
	pthread_mutex_lock(&lock);
	up->state = CLOSED;
	up->n_pins--;
	n_open--;
	n_waiting = take_waiting(up);
	pthread_mutex_unlock(&lock);
	let_go(up, n_waiting);
}

/* --- the end of a folder --- */

static void sync_root(struct folder *f)
{
	int rc;

	if (!folder_enter(f))
		return;
	/* It was opened with O_PATH if it cannot be read. */
	rc = weft_fsync(f->target);
	if (rc && rc != -EBADF)
		complain(f, TARGET, NULL, "sync", rc);
	folder_leave(f);
}

/* Those bits that the owner got only for the time of the copy. */
static int take_back_mode(const struct folder *f)
{
	mode_t extra = OWNER & ~f->source_stat.st_mode;
	struct stat st;

	if (!f->is_new || !extra)
		return 0;
	if (fstat(f->target, &st) ||
	    fchmod(f->target, st.st_mode & 07777 & ~extra))
		return -errno;
	return 0;
}

static void finish(struct folder *f)
{
	struct object o;
	int rc;

	if (!folder_enter(f))
		return;
	open_parent(f);
	o = (struct object){ .from = f->source,
			     .to = f->target,
			     .from_stat = &f->source_stat };
	rc = settings.is_archive ? set_attributes(&o) : take_back_mode(f);
	if (!rc && settings.is_synced)
		rc = weft_fsync(f->target);
	if (rc)
		complain(f, TARGET, NULL, "set the attributes of", rc);
	folder_leave(f);
}

/* Nothing is pending in it any more. */
static void end_folder(struct folder *f)
{
	if (!f->is_made || f->is_broken || is_stopped)
		return;
	if (f->parent)
		finish(f);
	else if (settings.is_synced)
		sync_root(f);
}

/* The reference stays until the folders above have been told, since each holds the
 * one above it. */
void folder_drop(struct folder *f)
{
	for (struct folder *g = f; g; g = g->parent) {
		bool is_last;

		pthread_mutex_lock(&lock);
		is_last = --g->n_pending == 0;
		pthread_mutex_unlock(&lock);
		if (!is_last)
			break;
		end_folder(g);
	}
	folder_unref(f);
}

/* --- the walk --- */

struct linux_entry {
	uint64_t inode;
	int64_t offset;
	unsigned short length;
	unsigned char type;
	char name[];
};

struct reading {
	int fd;
	char *entries;
};

static int read_entries(void *arg)
{
	struct reading *r = arg;
	long n = syscall(SYS_getdents64, r->fd, r->entries, (long)ENTRIES);

	return n < 0 ? -errno : (int)n;
}

struct walk {
	struct job *job;
	struct folder *folder;
	struct batch *batch;
};

static void pass_batch(struct walk *w)
{
	struct batch *b = w->batch;

	w->batch = NULL;
	if (b && !pool_add_batch(w->job, b))
		copy_batch(w->job, b);
}

static bool lacks_memory(struct walk *w, const char *name)
{
	complain(w->folder, SOURCE, name, "copy", -ENOMEM);
	return false;
}

static bool add_name(struct walk *w, const char *name, unsigned char type)
{
	size_t n = strlen(name) + 2;
	struct batch *b = w->batch;

	if (b && (b->n == BATCH || b->n_bytes + n > sizeof b->names)) {
		pass_batch(w);
		b = NULL;
	}
	if (!b) {
		b = w->batch = malloc(sizeof *b);
		if (!b)
			return lacks_memory(w, name);
		b->n = b->n_bytes = 0;
		b->folder = w->folder;
		folder_hold(w->folder);
	}
	b->names[b->n_bytes] = (char)type;
	memcpy(b->names + b->n_bytes + 1, name, n - 1);
	b->n_bytes += n;
	b->n++;
	return true;
}

static void add_entry(struct walk *w, const char *name, unsigned char type)
{
	struct folder *f;
	struct stat st;

	if (strcmp(name, ".") == 0 || strcmp(name, "..") == 0)
		return;
	if (type == DT_UNKNOWN &&
	    fstatat(w->folder->source, name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		type = (unsigned char)IFTODT(st.st_mode);
	if (type != DT_DIR) {
		add_name(w, name, type);
		return;
	}
	f = folder_new(w->folder, name, name);
	if (f)
		pool_add_folder(w->job, f);
	else
		lacks_memory(w, name);
}

static void read_all(struct walk *w, char *entries)
{
	struct reading r = { w->folder->source, entries };

	while (!is_stopped) {
		/* A read from the disk must not hold up the thread. */
		int n = w->folder->is_on_disk ? weft_offload(read_entries, &r)
					      : -EAGAIN;

		if (n == -EAGAIN) /* in memory; or there are no helpers */
			n = read_entries(&r);

		if (n < 0)
			complain(w->folder, SOURCE, NULL, "read", n);
		if (n <= 0)
			return;
		for (int at = 0; at < n;) {
			const struct linux_entry *e =
				(const struct linux_entry
					 *)(const void *)(entries + at);

			add_entry(w, e->name, e->type);
			at += e->length;
		}
	}
}

void folder_walk(struct job *j, struct folder *f)
{
	struct walk w = { .job = j, .folder = f };
	char *entries;

	if (!is_stopped && folder_enter(f)) {
		entries = f->is_foreign ? NULL : malloc(ENTRIES);
		if (entries)
			read_all(&w, entries);
		else if (!f->is_foreign)
			lacks_memory(&w, NULL);
		free(entries);
		pass_batch(&w);
		folder_leave(f);
	}
	folder_drop(f);
}
