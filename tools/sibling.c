/* SPDX-License-Identifier: MIT */
#include "sibling.h"

#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#ifndef SIBLING_DIR
#define SIBLING_DIR "/usr/local/libexec/weft"
#endif

bool sibling_find(const char *folder, const char *program, char *path,
		  size_t size)
{
	char self[1024];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	char *here;

	self[n > 0 ? n : 0] = '\0';
	here = dirname(self);
	/* There libtool puts a program that uses a shared library. */
	if (strcmp(strrchr(here, '/') ? strrchr(here, '/') : "", "/.libs") == 0)
		here = dirname(here);
	snprintf(path, size, "%s/%s/%s", here, folder, program);
	if (access(path, X_OK) == 0)
		return true;
	snprintf(path, size, "%s/%s", SIBLING_DIR, program);
	return access(path, X_OK) == 0;
}
