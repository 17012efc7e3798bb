/* SPDX-License-Identifier: MIT */
/*
 * Programs that a test starts, and what they say.
 */
#ifndef WEFT_TESTS_PROGRAM_H
#define WEFT_TESTS_PROGRAM_H

#include <stddef.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/types.h>

struct program {
	pid_t pid;
	FILE *output; /* standard output and standard error */
};

/* Runs the program of which the environment variable @name has the path, or else
 * @path, with the arguments up to NULL. It has @n_files descriptors at most, unless
 * that is 0. It ends with the test. */
struct program program_start(const char *name, const char *path,
			     const char *const *arguments, rlim_t n_files);

/* The exit status, and what it had still to say. Fails the test if a signal has ended
 * it. */
int program_end(struct program *p, char *text, size_t size);

/* How many descriptors it has. */
unsigned program_files(const struct program *p);

enum { PROGRAM_ADDRESS = 128 };

/* Reads the first line of a server's: the address that it listens on. */
void program_listens(const struct program *p, char address[PROGRAM_ADDRESS]);

/* Returns when something is there to be read: a server has accepted the connection,
 * and read what was sent. */
void program_answers(int fd);

/* A command line that cannot be used. */
struct mistake {
	const char *arguments[3]; /* up to NULL, if there are fewer */
	int status;
	const char *says[2]; /* what is wrong, what is accepted */
};

/* The program named as above ends with that status, and says both. */
void program_refuses(const char *name, const char *path,
		     const struct mistake *m);

/* Writing its version to a full disk, it fails and says why. */
void program_tells_of_lost_output(const char *name, const char *path);

#endif /* WEFT_TESTS_PROGRAM_H */
