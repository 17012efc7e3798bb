/* SPDX-License-Identifier: MIT */
/*
 * Which file a descriptor's number means.
 *
 * Between a completion and the moment when the tasklet runs, the descriptor can be
 * closed, and the number be another file's. A call that then does something else with
 * the number has to look first. From the look to the end of the system call or of the
 * submission, no other tasklet of the thread runs.
 */
#ifndef WEFT__IDENTITY_H
#define WEFT__IDENTITY_H

#include <errno.h>
#include <stdbool.h>
#include <sys/stat.h>

/* 0 or a negative errno. */
static inline int weft__identify(int fd, struct stat *st)
{
	return fstat(fd, st) ? -errno : 0;
}

static inline bool weft__is_still(int fd, const struct stat *before)
{
	struct stat now;

	return !fstat(fd, &now) && now.st_ino == before->st_ino &&
	       now.st_dev == before->st_dev;
}

#endif /* WEFT__IDENTITY_H */
