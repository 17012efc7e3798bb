/* SPDX-License-Identifier: MIT */
/*
 * The buffer of a channel; see buffer.c.
 */
#ifndef WEFT__CHANNEL_BUFFER_H
#define WEFT__CHANNEL_BUFFER_H

#include "channel/wait.h"

/* Puts an element into a buffer that has a place. */
static INLINE void put_in_buffer(struct weft_channel *ch, const void *element,
				 size_t size)
{
	uint32_t sent = peek(ch->sent);

	copy_element(ch->slots + (size_t)(sent & ch->mask) * size, element,
		     size);
	/* release: the element, for its receiver [channel.3] */
	atomic_store_explicit(&ch->sent, sent + 1, memory_order_release);
}

/* Takes the oldest element out of a buffer that has one. */
static INLINE void take_from_buffer(struct weft_channel *ch, void *element,
				    size_t size)
{
	uint32_t received = peek(ch->received);
	uint32_t mask = ch->receive_mask;

	/* written by another thread; two lines ahead if elements are small */
	__builtin_prefetch(ch->receive_slots +
			   (size_t)((received + 16) & mask) * size);
	copy_element(element,
		     ch->receive_slots + (size_t)(received & mask) * size,
		     size);
	/* release: the slot, for the next sender into it [channel.3] */
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release);
}

/* --- of an unbounded channel --- */

/* Allocates the first chunk. Returns 0 or -ENOMEM. */
int weft__begin_unbounded(struct weft_channel *ch, size_t element_size);

/* Takes all elements out and calls @look for each, the oldest first. If @look does
 * not return, the elements after it are still there. */
void weft__drop_unbounded(struct weft_channel *ch,
			  void (*look)(void *element, void *ctx), void *ctx);

void weft__free_unbounded(struct weft_channel *ch);

/* Makes a place for one more element, or error. Returns false if there is no
 * memory. Called with all locks held. */
bool weft__make_room(struct weft_channel *ch, bool for_error);

/* The error in the oldest slot; as error_in_buffer() below. */
int weft__error_in_unbounded(struct weft_channel *ch);

/* --- errors in a buffer, with all locks held --- */

void weft__put_error_in_buffer(struct weft_channel *ch, int error);
int weft__take_error_from_buffer(struct weft_channel *ch);

/* The error in the oldest slot of the buffer; 0 if an element is there. Must be
 * asked before either is taken. */
static inline int error_in_buffer(struct weft_channel *ch)
{
	if (weft__is_unbounded(ch))
		return weft__error_in_unbounded(ch);
	return ch->errors ? ch->errors[peek(ch->received) & ch->mask] : 0;
}

/* Pass an element to or from a buffered channel about which nothing else is
 * special. The first is called with the lock held, the second with none. */
int weft__send_buffered(struct scheduler *s, struct weft_channel *ch,
			void *element, bool locked);
int weft__receive_buffered(struct scheduler *s, struct weft_channel *ch,
			   void *element);

#endif /* WEFT__CHANNEL_BUFFER_H */
