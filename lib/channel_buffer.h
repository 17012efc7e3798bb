/* SPDX-License-Identifier: MIT */
/*
 * The buffer of a channel; see channel_buffer.c.
 */
#ifndef WEFT__CHANNEL_BUFFER_H
#define WEFT__CHANNEL_BUFFER_H

#include "channel_wait.h"

/* Puts an element into a buffer that has a place. */
static INLINE void put_in_buffer(struct weft_channel *ch, const void *element,
				 size_t size)
{
	uint32_t sent = peek(ch->sent);

	copy_element(ch->slots + (size_t)(sent & ch->mask) * size, element,
		     size);
	/* release: the element, for who receives it [channel.3] */
	atomic_store_explicit(&ch->sent, sent + 1, memory_order_release);
}

/* Takes the oldest element out of a buffer that has one. */
static INLINE void take_from_buffer(struct weft_channel *ch, void *element,
				    size_t size)
{
	uint32_t received = peek(ch->received);
	uint32_t mask = ch->receive_mask;

	/* what another thread has written, two lines on if elements are small */
	__builtin_prefetch(ch->receive_slots +
			   (size_t)((received + 16) & mask) * size);
	copy_element(element,
		     ch->receive_slots + (size_t)(received & mask) * size,
		     size);
	/* release: the slot, for who sends into it [channel.3] */
	atomic_store_explicit(&ch->received, received + 1,
			      memory_order_release);
}

/* --- of an unbounded channel --- */

/* Its first chunk: 0 or -ENOMEM. */
int weft__begin_unbounded(struct weft_channel *ch, size_t element_size);

/* Has each element that is left looked at, the oldest first. */
void weft__each_unbounded(struct weft_channel *ch,
			  void (*look)(void *element, void *ctx), void *ctx);

void weft__free_unbounded(struct weft_channel *ch);

/* Sees to it that there is a place for one more element, or error: false if there
 * is no memory. With all locks held. */
bool weft__make_room(struct weft_channel *ch, bool for_error);

/* The error that is oldest in it, see below. */
int weft__error_in_unbounded(struct weft_channel *ch);

/* --- errors in a buffer, with all locks held --- */

void weft__put_error_in_buffer(struct weft_channel *ch, int error);
int weft__take_error_from_buffer(struct weft_channel *ch);

/* The error that is oldest in the buffer; 0: an element is. To be asked before
 * either is taken. */
static inline int error_in_buffer(struct weft_channel *ch)
{
	if (weft__is_unbounded(ch))
		return weft__error_in_unbounded(ch);
	return ch->errors ? ch->errors[peek(ch->received) & ch->mask] : 0;
}

/* To and from a buffered channel about which nothing else is special. The first is
 * called with the lock held, the second with none. */
int weft__send_buffered(struct scheduler *s, struct weft_channel *ch,
			void *element, bool locked);
int weft__receive_buffered(struct scheduler *s, struct weft_channel *ch,
			   void *element);

#endif /* WEFT__CHANNEL_BUFFER_H */
