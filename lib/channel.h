/* SPDX-License-Identifier: MIT */
#ifndef WEFT__CHANNEL_H
#define WEFT__CHANNEL_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <weft/channel.h>

#include "lock.h"
#include "waiter.h"

enum { CHANNEL_NAME_SIZE = 32 };

struct weft_channel {
	/* under lock; balance, preference and schedule_all are read by any
	 * thread */
	struct lock lock;
	_Atomic(int) balance;
	struct waiter *first; /* the oldest; all send or all receive */
	struct waiter *last;
	_Atomic(uintptr_t) spinner; /* see [channel.2] */
	uint64_t mail;
	size_t element_size; /* never changes */
	uint32_t references;
	_Atomic(int8_t) preference;
	_Atomic(bool) schedule_all;

	char name[CHANNEL_NAME_SIZE]; /* under lock */
	struct weft_channel *next_free;
} __attribute__((aligned(64)));

_Static_assert(offsetof(struct weft_channel, name) <= 64,
	       "what passing an element needs is one cache line");

#endif /* WEFT__CHANNEL_H */
