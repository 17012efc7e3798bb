/* SPDX-License-Identifier: MIT */
/*
 * Programs that the tools run, and that are none of the user's.
 */
#ifndef TOOLS_SIBLING_H
#define TOOLS_SIBLING_H

#include <stdbool.h>
#include <stddef.h>

/* Where @program is: installed, or else in @folder beside the program that runs,
 * where both were built. False if it is nowhere; @path is then where it would be. */
bool sibling_find(const char *folder, const char *program, char *path,
		  size_t size);

#endif /* TOOLS_SIBLING_H */
