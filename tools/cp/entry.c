/* SPDX-License-Identifier: MIT */
/*
 * One name of a folder. A file's contents are written under a temporary name, which is
 * then renamed: whenever the copy ends, what has the final name is whole, the old one or
 * the new one. Everything else comes into being as a whole.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/openat2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "cp.h"

struct entry {
	struct job *job;
	struct folder *folder;
	const char *name, *new_name;
	struct stat st;
};

#define COMPLAIN(e, side, verb, error) \
	complain((e)->folder, side,    \
		 (side) == SOURCE ? (e)->name : (e)->new_name, verb, error)

/* --- names --- */

int make_temporary(int (*make)(void *arg, const char *name), void *arg,
		   char name[NAME_SIZE])
{
	static atomic_uint next;
	int rc;

	do {
		snprintf(name, NAME_SIZE, ".weft-cp-%d-%u", settings.process,
			 atomic_fetch_add(&next, 1));
		rc = make(arg, name);
	} while (rc == -EEXIST);
	return rc;
}

/* Gives what is complete its name. If that is there already and has to stay, -EEXIST. */
static int give_name(int dir, const char *temporary, const char *name)
{
	if (!settings.keeps_targets)
		return renameat(dir, temporary, dir, name) ? -errno : 0;
	if (renameat2(dir, temporary, dir, name, RENAME_NOREPLACE) == 0)
		return 0;
	/* Not all file systems can do that. */
	if (errno != EINVAL || linkat(dir, temporary, dir, name, 0))
		return -errno;
	unlinkat(dir, temporary, 0);
	return 0;
}

/* Whether that says no more than that the target was there, and stays. */
static bool is_kept(int rc)
{
	return rc == -EEXIST && settings.keeps_targets;
}

/* Makes what needs no contents, by its name, or if there is something, in its place. */
static int place(int (*make)(void *arg, const char *name), struct entry *e)
{
	char name[NAME_SIZE];
	int dir = e->folder->target, rc;

	rc = make(e, e->new_name);
	if (rc != -EEXIST || settings.keeps_targets)
		return rc;
	rc = make_temporary(make, e, name);
	if (!rc && renameat(dir, name, dir, e->new_name))
		rc = -errno;
	/* A rename of one link to the other leaves both. */
	unlinkat(dir, name, 0);
	return rc;
}

/* Whether there is something that stays. */
static bool has_target(const struct entry *e)
{
	struct stat st;

	if (!settings.keeps_targets || e->folder->is_new ||
	    fstatat(e->folder->target, e->new_name, &st, AT_SYMLINK_NOFOLLOW))
		return false;
	if (fstatat(e->folder->source, e->name, &st,
		    e->folder->follows ? 0 : AT_SYMLINK_NOFOLLOW) == 0 &&
	    S_ISREG(st.st_mode))
		atomic_fetch_sub(&progress.n_bytes_known, st.st_size);
	return true;
}

/* --- other names of what has been copied --- */

struct linking {
	struct entry *entry;
	const struct link *link;
};

static int make_link(void *arg, const char *name)
{
	struct linking *l = arg;

	return linkat(links_folder(l->link)->target, links_name(l->link),
		      l->entry->folder->target, name, 0)
		       ? -errno
		       : 0;
}

/* Where there are no links, or not that many, or not from there to here. */
static bool cannot_be_linked(int error)
{
	return error == EXDEV || error == EMLINK || error == EPERM ||
	       error == EOPNOTSUPP;
}

/* False: it has to be a file of its own. */
static bool link_to(struct entry *e, const struct link *l)
{
	struct linking linking = { e, l };
	char name[NAME_SIZE];
	int dir = e->folder->target, rc;

	if (!folder_enter(links_folder(l))) {
		COMPLAIN(e, TARGET, "link", 0);
		return true;
	}
	rc = make_link(&linking, e->new_name);
	if (rc == -EEXIST && !settings.keeps_targets) {
		rc = make_temporary(make_link, &linking, name);
		if (!rc && renameat(dir, name, dir, e->new_name))
			rc = -errno;
		unlinkat(dir, name, 0);
	}
	folder_leave(links_folder(l));
	if (cannot_be_linked(-rc))
		return false;
	if (is_kept(rc))
		return true;
	if (rc)
		COMPLAIN(e, TARGET, "link", rc);
	else
		atomic_fetch_add(&progress.n_files, 1);
	return true;
}

/* Whether the entry is done by a link. Otherwise the caller copies it, and then *@l,
 * unless it is NULL, has to know. */
static bool is_linked(struct entry *e, struct link **l)
{
	bool is_first;

	*l = NULL;
	if (!settings.is_archive || e->st.st_nlink < 2)
		return false;
	for (;;) {
		*l = links_claim(&e->st, e->folder, e->new_name, &is_first);
		if (!*l) {
			COMPLAIN(e, TARGET, "link", -ENOMEM);
			return true;
		}
		if (is_first)
			return false;
		if (link_to(e, *l))
			return true;
		/* Those to come are linked to the next copy. */
		links_copied(*l, false);
	}
}

/* --- symbolic links, FIFOs, sockets, devices --- */

static int make_symlink(void *arg, const char *name)
{
	const struct entry *e = arg;
	size_t size = (size_t)e->st.st_size + 1;
	char *to;
	ssize_t n;
	int rc;

	/* Some file systems do not tell the length. */
	if (size < 256)
		size = 256;
	for (;; size *= 2) {
		to = malloc(size);
		if (!to)
			return -ENOMEM;
		n = readlinkat(e->folder->source, e->name, to, size);
		if (n < 0 || (size_t)n < size)
			break;
		free(to);
	}
	rc = n < 0 ? -errno : 0;
	if (!rc) {
		to[n] = '\0';
		if (symlinkat(to, e->folder->target, name))
			rc = -errno;
	}
	free(to);
	return rc;
}

static int make_node(void *arg, const char *name)
{
	const struct entry *e = arg;
	mode_t mode = e->st.st_mode;

	if (settings.is_archive) /* the rest follows */
		mode &= S_IFMT | S_IRWXU;
	return mknodat(e->folder->target, name, mode, e->st.st_rdev) ? -errno
								     : 0;
}

static int set_special(struct entry *e)
{
	const struct object o = { .from = e->folder->source,
				  .to = e->folder->target,
				  .name = e->name,
				  .new_name = e->new_name,
				  .from_stat = &e->st,
				  .may_have_acl = e->folder->has_acl };

	return settings.is_archive ? set_attributes(&o) : 0;
}

/* Whether the name that the copy would get is one of the source. */
static bool is_itself(const struct entry *e, const struct stat *st)
{
	if (st->st_dev != e->st.st_dev || st->st_ino != e->st.st_ino)
		return false;
	COMPLAIN(e, SOURCE, "copy onto itself:", 0);
	return true;
}

static void copy_special(struct entry *e)
{
	struct stat st;
	struct link *l;
	int rc;

	if (has_target(e))
		return;
	if (!e->folder->is_new &&
	    !fstatat(e->folder->target, e->new_name, &st,
		     AT_SYMLINK_NOFOLLOW) &&
	    is_itself(e, &st))
		return;
	if (is_linked(e, &l))
		return;
	rc = place(S_ISLNK(e->st.st_mode) ? make_symlink : make_node, e);
	if (!rc)
		atomic_fetch_add(&progress.n_files, 1);
	else if (!is_kept(rc))
		COMPLAIN(e, TARGET, "make", rc);
	if (l)
		links_copied(l, !rc);
	rc = rc ? 0 : set_special(e);
	if (rc)
		COMPLAIN(e, TARGET, "set the attributes of", rc);
}

/* --- files --- */

/* At once if it is in memory. Otherwise others run meanwhile. O_NONBLOCK: if it has
 * become a FIFO, nobody waits. */
static int open_source(const struct entry *e, bool waits)
{
	int flags = O_RDONLY | O_CLOEXEC | O_NOCTTY | (waits ? 0 : O_NONBLOCK) |
		    (e->folder->follows ? 0 : O_NOFOLLOW);
	struct open_how how = { .flags = (unsigned)flags,
				.resolve = RESOLVE_CACHED };
	long fd = -1;

	if (!waits)
		fd = syscall(SYS_openat2, e->folder->source, e->name, &how,
			     sizeof how);
	return fd >= 0 ? (int)fd
		       : weft_openat(e->folder->source, e->name, flags);
}

struct creation {
	const struct entry *entry;
	int fd;
};

/* Whether a new file has the source's owner and group from the beginning. A folder may
 * pass its group on. */
static bool is_ours(const struct entry *e)
{
	return e->st.st_uid == settings.user &&
	       e->st.st_gid == settings.group &&
	       e->st.st_gid == e->folder->target_stat.st_gid;
}

/* Nobody can read what the source keeps from him. Bits that set an id come last. */
static int create(void *arg, const char *name)
{
	struct creation *c = arg;
	const struct entry *e = c->entry;
	mode_t mode = e->st.st_mode & (S_IRWXU | S_IRWXG | S_IRWXO);

	if (settings.is_archive && (!is_ours(e) || e->folder->has_acl))
		mode &= S_IRWXU;
	c->fd = openat(e->folder->target, name,
		       O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC |
			       (settings.is_verified ? O_RDWR : O_WRONLY),
		       mode);
	return c->fd < 0 ? -errno : 0;
}

/* Whether the name is a link such as /dev/stdout, which must stay, to an open file: it
 * leads to a link of /proc. */
static bool is_of_proc(const struct entry *e)
{
	const char *name = e->new_name;
	char text[256];
	bool is_found = false;

	/* After the first one, only absolute links are followed. */
	for (int i = 0; !is_found && (i < 2 || (i < 8 && *name == '/')); i++) {
		int fd = openat(e->folder->target, name,
				O_PATH | O_NOFOLLOW | O_CLOEXEC);
		struct statfs fs;
		ssize_t n = -1;

		if (fd >= 0 && fstatfs(fd, &fs) == 0)
			n = readlinkat(fd, "", text, sizeof text - 1);
		if (fd >= 0)
			close(fd);
		if (n < 0)
			return false;
		text[n] = '\0';
		name = text;
		is_found = fs.f_type == PROC_SUPER_MAGIC;
	}
	return is_found;
}

/* What is not there, or can be replaced: 0. 1: the contents go into it. */
static int look_at_target(const struct entry *e)
{
	struct stat st;

	if (e->folder->is_new)
		return 0;
	if (fstatat(e->folder->target, e->new_name, &st, 0) &&
	    fstatat(e->folder->target, e->new_name, &st, AT_SYMLINK_NOFOLLOW))
		return 0;
	if (is_itself(e, &st))
		return -1;
	if (S_ISDIR(st.st_mode)) {
		COMPLAIN(e, TARGET, "replace", -EISDIR);
		return -1;
	}
	/* a device, when a single file is copied to it */
	if (settings.is_recursive && !e->folder->alias)
		return 0;
	if (S_ISREG(st.st_mode))
		return is_of_proc(e) ? O_WRONLY | O_APPEND : 0;
	return S_ISLNK(st.st_mode) ? 0 : O_WRONLY;
}

/* Sets all that the new file is to have, and sees whether it is right. Attributes that
 * it cannot have, on another file system, are no reason to be without the contents. */
static bool complete(const struct entry *e, const struct contents *c)
{
	const struct object o = { .from = c->in,
				  .to = c->out,
				  .from_stat = &e->st,
				  .may_have_acl = e->folder->has_acl };
	int rc = settings.is_archive ? set_attributes(&o) : 0;

	if (rc)
		COMPLAIN(e, TARGET, "set the attributes of", rc);
	rc = settings.is_synced ? weft_fsync(c->out) : 0;
	if (rc) {
		COMPLAIN(e, TARGET, "sync", rc);
		return false;
	}
	rc = settings.is_verified && !c->is_stream ? compare_contents(c) : 0;
	if (rc > 0)
		COMPLAIN(e, TARGET, "verify, it differs from its source:", 0);
	else if (rc)
		COMPLAIN(e, TARGET, "verify", rc);
	return !rc;
}

static bool fill(struct entry *e, const struct contents *c)
{
	bool is_reading = false;
	int rc = copy_contents(e->job, c, &is_reading);

	if (!rc)
		return true;
	if (rc != -ECANCELED) /* by a signal */
		COMPLAIN(e, is_reading ? SOURCE : TARGET,
			 is_reading ? "read" : "write", rc);
	return false;
}

/* To a device, a FIFO or a terminal, as it is; to the end of an open file. */
static void write_to(struct entry *e, struct contents *c, int flags)
{
	struct stoppable s;

	stoppable_begin(&s);
	c->out = weft_openat(e->folder->target, e->new_name,
			     flags | O_NOCTTY | O_CLOEXEC);
	c->is_stream = true;
	if (c->out >= 0 && fill(e, c))
		atomic_fetch_add(&progress.n_files, 1);
	stoppable_end(&s);
	if (c->out < 0 && !is_stopped)
		COMPLAIN(e, TARGET, "open", c->out);
	if (c->out >= 0)
		close(c->out);
}

static bool write_new(struct entry *e, struct contents *c)
{
	struct creation creation = { .entry = e };
	char name[NAME_SIZE];
	int dir = e->folder->target;
	int rc = make_temporary(create, &creation, name);
	bool is_copied;

	if (rc) {
		COMPLAIN(e, TARGET, "create", rc);
		return false;
	}
	c->out = creation.fd;
	is_copied = fill(e, c) && complete(e, c);
	/* Network file systems may tell only now that there is no room. */
	if (close(c->out) && is_copied) {
		COMPLAIN(e, TARGET, "write", -errno);
		is_copied = false;
	}
	rc = is_copied ? give_name(dir, name, e->new_name) : 0;
	if (rc) {
		if (!is_kept(rc))
			COMPLAIN(e, TARGET, "replace", rc);
		is_copied = false;
	}
	if (is_copied)
		atomic_fetch_add(&progress.n_files, 1);
	else
		unlinkat(dir, name, 0);
	return is_copied;
}

static void copy_opened(struct entry *e, struct contents *c)
{
	struct link *l;
	bool is_copied = false;
	int flags;

	/* before it is replaced by a link to a copy of itself */
	flags = look_at_target(e);
	if (flags < 0 || is_linked(e, &l))
		return;
	if (flags == 0)
		is_copied = write_new(e, c);
	else
		write_to(e, c, flags);
	if (l)
		links_copied(l, is_copied);
}

/* @waits: a single FIFO or device may be read, too. */
static void copy_file(struct entry *e, bool waits)
{
	struct contents c = { 0 };
	struct stoppable s;

	if (has_target(e))
		return;
	if (waits)
		stoppable_begin(&s);
	c.in = open_source(e, waits);
	if (waits)
		stoppable_end(&s);
	if (c.in < 0) {
		if (c.in != -ECANCELED)
			COMPLAIN(e, SOURCE, "open", c.in);
		return;
	}
	if (fstat(c.in, &e->st))
		COMPLAIN(e, SOURCE, "look at", -errno);
	else if (S_ISDIR(e->st.st_mode))
		COMPLAIN(e, SOURCE, "copy", -EISDIR);
	else if (!S_ISREG(e->st.st_mode) && settings.is_recursive)
		COMPLAIN(e, SOURCE, "copy, it has changed:", 0);
	else {
		c.in_stat = e->st;
		c.out_device = e->folder->target_stat.st_dev;
		c.is_in_memory = e->folder->is_in_memory;
		c.is_stream = !S_ISREG(e->st.st_mode);
		copy_opened(e, &c);
	}
	close(c.in);
}

/* --- a batch --- */

static void copy_unknown(struct entry *e)
{
	struct folder *f;

	if (fstatat(e->folder->source, e->name, &e->st,
		    e->folder->follows ? 0 : AT_SYMLINK_NOFOLLOW)) {
		COMPLAIN(e, SOURCE, "look at", -errno);
		return;
	}
	if (S_ISREG(e->st.st_mode)) {
		copy_file(e, false);
	} else if (!S_ISDIR(e->st.st_mode)) {
		if (settings.is_recursive || S_ISLNK(e->st.st_mode))
			copy_special(e);
		else
			copy_file(e, true);
	} else if (!settings.is_recursive) {
		COMPLAIN(e, SOURCE, "copy, --recursive is needed:", 0);
	} else {
		f = folder_new(e->folder, e->name, e->new_name);
		if (f)
			pool_add_folder(e->job, f);
		else
			COMPLAIN(e, SOURCE, "copy", -ENOMEM);
	}
}

static void copy_entry(struct job *j, struct folder *f, unsigned char type,
		       const char *name)
{
	struct entry e = { .job = j,
			   .folder = f,
			   .name = name,
			   .new_name = f->alias ? f->alias : name };

	if (type == DT_REG)
		copy_file(&e, false);
	else
		copy_unknown(&e);
}

void copy_batch(struct job *j, struct batch *b)
{
	struct folder *f = b->folder;
	const char *at = b->names;

	if (!is_stopped && folder_enter(f)) {
		for (size_t i = 0; i < b->n && !is_stopped; i++) {
			copy_entry(j, f, (unsigned char)*at, at + 1);
			at += strlen(at + 1) + 2;
		}
		folder_leave(f);
	}
	free(b);
	folder_drop(f);
}
