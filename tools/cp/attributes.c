/* SPDX-License-Identifier: MIT */
/*
 * Owner, extended attributes, mode and times, in this order: a change of the owner takes
 * away bits that set an id, an ACL is an attribute that changes the mode, and everything
 * changes the times.
 *
 * What only a privileged user may do is done if it can be, and else left out without a
 * word, as cp -a does it.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "cp.h"

enum { PATH_SIZE = 320, LIST = 1024, VALUE = 4096 };

static const char access_acl[] = "system.posix_acl_access";
static const char default_acl[] = "system.posix_acl_default";

void remove_acls(int fd)
{
	fremovexattr(fd, access_acl);
	fremovexattr(fd, default_acl);
}

/* --- owner --- */

static int change_owner(const struct object *o, uid_t uid, gid_t gid)
{
	int rc = o->name ? fchownat(o->to, o->new_name, uid, gid,
				    AT_SYMLINK_NOFOLLOW)
			 : fchown(o->to, uid, gid);

	return rc ? -errno : 0;
}

/* *@is_owner: whether it is the source's owner and group now. */
static int set_owner(const struct object *o, const struct stat *now,
		     bool *is_owner)
{
	const struct stat *st = o->from_stat;
	int rc;

	*is_owner = true;
	if (now->st_uid == st->st_uid && now->st_gid == st->st_gid)
		return 0;
	rc = change_owner(o, st->st_uid, st->st_gid);
	if (rc != -EPERM && rc != -EINVAL)
		return rc;
	*is_owner = false;
	change_owner(o, (uid_t)-1, st->st_gid);
	return 0;
}

/* --- extended attributes --- */

/* Without a descriptor: by way of that of the folder. The last symbolic link is not
 * followed. */
struct attribute_paths {
	char from[PATH_SIZE], to[PATH_SIZE];
};

static ssize_t list(const struct object *o, const struct attribute_paths *p,
		    char *names, size_t size)
{
	return o->name ? llistxattr(p->from, names, size)
		       : flistxattr(o->from, names, size);
}

static ssize_t get(const struct object *o, const struct attribute_paths *p,
		   const char *name, char *value, size_t size)
{
	return o->name ? lgetxattr(p->from, name, value, size)
		       : fgetxattr(o->from, name, value, size);
}

static int set(const struct object *o, const struct attribute_paths *p,
	       const char *name, const char *value, size_t size)
{
	int rc = o->name ? lsetxattr(p->to, name, value, size, 0)
			 : fsetxattr(o->to, name, value, size, 0);

	/* The user's own attributes can be set only while he may write. The mode
	 * comes last. */
	if (rc && errno == EACCES && !o->name && fchmod(o->to, S_IRWXU) == 0)
		rc = fsetxattr(o->to, name, value, size, 0);
	return rc;
}

static bool is_left_out(const char *name, int error)
{
	/* those of the system's, of security and of trust */
	bool is_privileged = strncmp(name, "user.", 5) != 0;

	return error == EOPNOTSUPP || error == ENODATA ||
	       (is_privileged &&
		(error == EPERM || error == EACCES || error == EINVAL));
}

static int copy_attribute(const struct object *o,
			  const struct attribute_paths *p, const char *name)
{
	char small[VALUE], *value = small, *large = NULL;
	ssize_t n = get(o, p, name, small, sizeof small);
	int rc = 0;

	while (n < 0 && errno == ERANGE) {
		n = get(o, p, name, NULL, 0);
		free(large);
		large = value = malloc((size_t)n + 1);
		if (!large)
			return -ENOMEM;
		n = n < 0 ? n : get(o, p, name, value, (size_t)n + 1);
	}
	if (n < 0 || set(o, p, name, value, (size_t)n))
		rc = is_left_out(name, errno) ? 0 : -errno;
	free(large);
	return rc;
}

static int copy_listed(const struct object *o, const struct attribute_paths *p,
		       const char *names, ssize_t n)
{
	int rc = 0;

	for (ssize_t i = 0; i < n; i += (ssize_t)strlen(names + i) + 1) {
		int error = copy_attribute(o, p, names + i);

		rc = rc ? rc : error;
	}
	return rc;
}

/* *@n_names: bytes of their names. */
static int copy_attributes(const struct object *o, ssize_t *n_names)
{
	struct attribute_paths p;
	char small[LIST], *names = small, *large = NULL;
	ssize_t n;
	int rc;

	if (o->name) {
		snprintf(p.from, sizeof p.from, "/proc/self/fd/%d/%s", o->from,
			 o->name);
		snprintf(p.to, sizeof p.to, "/proc/self/fd/%d/%s", o->to,
			 o->new_name);
	}
	n = list(o, &p, small, sizeof small);
	while (n < 0 && errno == ERANGE) {
		n = list(o, &p, NULL, 0);
		free(large);
		large = names = malloc((size_t)n + 1);
		if (!large)
			return -ENOMEM;
		n = n < 0 ? n : list(o, &p, names, (size_t)n);
	}
	/* Where there are none, or no /proc. */
	if (n < 0)
		rc = errno == EOPNOTSUPP || errno == ENOSYS || o->name ? 0
								       : -errno;
	else
		rc = copy_listed(o, &p, names, n);
	free(large);
	*n_names = n;
	return rc;
}

/* --- mode and times --- */

/* If the name has become a symbolic link meanwhile, what that points to stays as it is.
 * The C library answers EOPNOTSUPP then; and also without /proc, where it cannot see to
 * that, so a look has to do. */
static int change_mode(const struct object *o, mode_t mode)
{
	struct stat st;
	int rc;

	if (!o->name)
		return fchmod(o->to, mode) ? -errno : 0;
	rc = fchmodat(o->to, o->new_name, mode, AT_SYMLINK_NOFOLLOW);
	if (rc && errno == EOPNOTSUPP) {
		if (fstatat(o->to, o->new_name, &st, AT_SYMLINK_NOFOLLOW))
			return -errno;
		if (S_ISLNK(st.st_mode))
			return -ELOOP;
		rc = fchmodat(o->to, o->new_name, mode, 0);
	}
	return rc ? -errno : 0;
}

static int set_mode(const struct object *o, const struct stat *was,
		    bool is_owner)
{
	mode_t mode = o->from_stat->st_mode & 07777;

	if (S_ISLNK(o->from_stat->st_mode))
		return 0;
	/* Nobody else's rights are to be had by it. */
	if (!is_owner)
		mode &= ~(mode_t)(S_ISUID | S_ISGID);
	if (was && (was->st_mode & 07777) == mode)
		return 0;
	return change_mode(o, mode);
}

static int set_times(const struct object *o)
{
	const struct timespec times[2] = { o->from_stat->st_atim,
					   o->from_stat->st_mtim };
	int rc = o->name ? utimensat(o->to, o->new_name, times,
				     AT_SYMLINK_NOFOLLOW)
			 : futimens(o->to, times);

	return rc ? -errno : 0;
}

static int look(const struct object *o, struct stat *st)
{
	int rc = o->name ? fstatat(o->to, o->new_name, st, AT_SYMLINK_NOFOLLOW)
			 : fstat(o->to, st);

	return rc ? -errno : 0;
}

int set_attributes(const struct object *o)
{
	struct stat now;
	bool is_owner = true, has_changed;
	ssize_t n_names = 0;
	int rc = look(o, &now), error;

	if (rc)
		return rc;
	has_changed = now.st_uid != o->from_stat->st_uid ||
		      now.st_gid != o->from_stat->st_gid || o->may_have_acl;
	rc = set_owner(o, &now, &is_owner);
	if (o->may_have_acl && !o->name)
		remove_acls(o->to);
	error = copy_attributes(o, &n_names);
	rc = rc ? rc : error;
	/* An owner and an ACL take bits away. */
	error = has_changed || n_names > 0 ? look(o, &now) : 0;
	if (!error)
		error = set_mode(o, &now, is_owner);
	rc = rc ? rc : error;
	error = set_times(o);
	return rc ? rc : error;
}
