/* SPDX-License-Identifier: MIT */
/*
 * A program may be started with its standard descriptors closed, or close them
 * itself. Then the next files that are opened get their numbers. But a daemon puts
 * /dev/null in the place of these three, whatever is there, and everybody writes
 * messages to number 2. So no descriptor of the library stays there.
 */
#include "base/descriptor.h"

#include <fcntl.h>
#include <unistd.h>

int weft__above_standard(int fd)
{
	int higher;

	if (fd < 0 || fd > STDERR_FILENO)
		return fd;
	higher = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
	if (higher < 0)
		return fd;
	close(fd);
	return higher;
}
