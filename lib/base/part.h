/* SPDX-License-Identifier: MIT */
/*
 * What a part of the library has to do at certain moments of a floor below it: at a
 * fork(), or at the end of a thread.
 *
 * A part declares this in one struct that it marks with PART(). The linker gathers
 * the structs of all parts that a program has, and the lower floor calls one after
 * the other. So no floor names what is above it, and a program that is linked
 * statically gets no more than it uses.
 *
 * The locks of parts nest in the order of their ranks, the outermost first, and all
 * of them inside of the locks of the core (core/fork.c).
 */
#ifndef WEFT__PART_H
#define WEFT__PART_H

#include "base/debug.h"

struct scheduler;

enum part_rank {
	PART_CHANNELS,
	PART_SYNC,
	PART_GROUPS,
	PART_AWAIT,
	PART_POLLS,
	PART_STREAMS,
	PART_BUFFERS, /* after the streams that use them */
	PART_OFFLOAD,
	PART_POSITION,
	PART_CHILDREN,
	N_PARTS
};

/* A function is NULL if there is nothing to do. */
struct part {
	enum part_rank rank;

	/* Around a fork(): the child finds whole what a lock protects. */
	void (*lock)(void);
	void (*unlock)(void);

	/* In a child of fork(). @self is the scheduler of its only thread; NULL if
	 * it has none. The first is called before that thread takes in what was
	 * handed to it, the second after that, the third when the tasklets of other
	 * threads have ended. */
	void (*forget_others)(struct scheduler *self);
	void (*renew)(struct scheduler *self);
	void (*settle)(struct scheduler *self);

	/* At the end of a thread that one of its tasklets has left by
	 * pthread_exit(). The frames of the main tasklet are gone, and nobody may
	 * look at what lies in them any more. */
	void (*leave_main)(struct scheduler *s);

	/* At the end of a thread, after its tasklets have been given up. */
	void (*give_up)(struct scheduler *s);
};

#if defined(__has_attribute) && __has_attribute(retain)
#define PART_SECTION __attribute__((section("weft_parts"), used, retain))
#else
#define PART_SECTION __attribute__((section("weft_parts"), used))
#endif

/* Adds @which, a static struct part, to the parts of the program. */
#define PART(which)                                                       \
	static const struct part *const which##_of_program PART_SECTION = \
		&(which)

/* Returns NULL if the program does not have the part. */
const struct part *weft__part(enum part_rank rank);

/* Calls this function of all parts, in the order of their ranks. */
#define EACH_PART(function, ...)                                   \
	do {                                                       \
		for (int rank_ = 0; rank_ < N_PARTS; rank_++) {    \
			const struct part *p_ =                    \
				weft__part((enum part_rank)rank_); \
			if (p_ && p_->function)                    \
				p_->function(__VA_ARGS__);         \
		}                                                  \
	} while (0)

#endif /* WEFT__PART_H */
