/* SPDX-License-Identifier: MIT */
/*
 * Numbers of the descriptors that the library keeps open, or has for a while.
 */
#ifndef WEFT__DESCRIPTOR_H
#define WEFT__DESCRIPTOR_H

/* To be called at once with each descriptor that the library opens and keeps, or has
 * while the program goes on.
 * If its number is that of standard input, output or error, this closes it and
 * returns a duplicate with a higher number. If there is none to be had, or @fd is
 * negative, it returns @fd. */
int weft__above_standard(int fd);

#endif /* WEFT__DESCRIPTOR_H */
