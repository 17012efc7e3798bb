/* SPDX-License-Identifier: MIT */
/**
 * channel - where tasklets of any threads meet to pass elements
 *
 * Elements are copied once, straight from the sender's memory to the
 * receiver's. Waiters are served first come, first served. Any thread may use
 * any channel at any time. Who runs next follows two rules:
 *
 *  R9   a peer is waiting: the oldest one, P, leaves the channel and the element
 *       is copied. If P is of the same thread: with schedule_all, P goes to the
 *       end of the ring and the caller gives way to its successor; else, if the
 *       preference favours P, P goes right behind the caller and runs now, so
 *       that the caller is last in the ring; else P goes to the end and the
 *       caller goes on. If P is of another thread, it goes to the end of its own
 *       ring, whatever the preference, and the caller goes on.
 *  R10  nobody is waiting: the caller leaves the ring and joins the channel's
 *       queue; the balance moves by one.
 *
 * A new channel favours receivers and has schedule_all off: on one thread, when
 * a send finds a receiver waiting, the receiver has already run with the element
 * by the time the send returns.
 */
#ifndef WEFT_CHANNEL_H
#define WEFT_CHANNEL_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

typedef struct weft_channel weft_channel;

/**
 * weft_channel_new - a channel, with one reference held by the caller
 * @element_size: bytes of an element; 0: a pure signal
 * @capacity:     0: rendezvous, a send waits for its receiver
 *
 * Return: the channel, or NULL with errno set:
 *   ENOMEM      no memory
 *   EOPNOTSUPP  @capacity above 0: channels with a buffer are not there yet
 * Context: any thread; never switches.
 * Source: stackless.channel().
 */
WEFT_API weft_channel *weft_channel_new(size_t element_size, size_t capacity);

/**
 * weft_channel_ref - take one more reference
 *
 * Return: @ch.
 * Context: any thread; never switches.
 */
WEFT_API weft_channel *weft_channel_ref(weft_channel *ch);

/**
 * weft_channel_unref - give a reference back; the last one frees the channel
 * @ch: NULL does nothing
 *
 * A call that is blocked on the channel holds a reference of its own.
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_unref(weft_channel *ch);

/**
 * weft_channel_send - pass one element to a receiver
 * @ch:      the caller keeps its reference during the call
 * @element: element_size bytes; copied before return; may be NULL when
 *           element_size is 0
 *
 * Blocks the calling tasklet, never its OS thread, until a receiver takes the
 * element. Rules R9 and R10 say who runs next.
 *
 * Return: 0 when the element was taken; else nothing was sent, and what any
 * blocking call may return (weft/tasklet.h).
 * Context: any tasklet of any thread; may switch.
 * Ordering: everything before the send is visible after the matching receive.
 * Source: channel.send() of Stackless Python.
 */
WEFT_API int weft_channel_send(weft_channel *ch, const void *element);

/**
 * weft_channel_receive - take one element from a sender
 * @ch:      the caller keeps its reference during the call
 * @element: receives element_size bytes; untouched on failure; may be NULL when
 *           element_size is 0
 *
 * Blocks the calling tasklet, never its OS thread, until a sender gives one.
 *
 * Return: 0 when an element was received, or what any blocking call may.
 * Context: any tasklet of any thread; may switch.
 * Source: channel.receive() of Stackless Python.
 */
WEFT_API int weft_channel_receive(weft_channel *ch, void *element);

/**
 * weft_channel_try_send - weft_channel_send() if a receiver is waiting
 *
 * It never waits. Rule R9 holds as for weft_channel_send(), so the receiver may
 * have run when it returns.
 *
 * Return: 0 when the element was taken; -EAGAIN when no receiver is waiting;
 * -EPERM when it would switch and a switch trap is set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_send(weft_channel *ch, const void *element);

/**
 * weft_channel_try_receive - weft_channel_receive() if a sender is waiting
 *
 * Return: 0 when an element was received; -EAGAIN when no sender is waiting;
 * -EPERM when it would switch and a switch trap is set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element);

/**
 * weft_channel_balance - how many wait
 *
 * Return: above 0 the number of senders, below 0 the negated number of
 * receivers; a snapshot when other threads use the channel.
 * Context: any thread; never switches.
 * Source: channel.balance.
 */
WEFT_API int weft_channel_balance(weft_channel *ch);

/**
 * weft_channel_set_preference - whom rule R9 favours
 * @preference: below 0 the receiver (the default), above 0 the sender, 0
 *              neither: the peer goes to the end and the caller goes on. Only
 *              the sign is kept.
 *
 * Context: any thread; never switches.
 * Source: channel.preference.
 */
WEFT_API void weft_channel_set_preference(weft_channel *ch, int preference);

/** weft_channel_preference - -1, 0 or 1; never switches */
WEFT_API int weft_channel_preference(weft_channel *ch);

/**
 * weft_channel_set_schedule_all - give way at every hand-over (rule R9)
 *
 * Context: any thread; never switches.
 * Source: channel.schedule_all.
 */
WEFT_API void weft_channel_set_schedule_all(weft_channel *ch, bool on);

/** weft_channel_schedule_all - what was set; never switches */
WEFT_API bool weft_channel_schedule_all(weft_channel *ch);

/**
 * weft_channel_set_name - name a channel for those who look at the process
 * @name: copied, 31 bytes kept; NULL: none
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_set_name(weft_channel *ch, const char *name);

/**
 * weft_channel_waiters - who is blocked on the channel, oldest first
 * @out:      receives the first @capacity handles; may be NULL with @capacity 0
 * @capacity: elements of @out
 *
 * Return: how many wait, which can be more than @capacity; a snapshot when
 * other threads use the channel.
 * Context: any thread; never switches.
 * Source: channel.queue.
 */
WEFT_API size_t weft_channel_waiters(weft_channel *ch, weft_tasklet *out,
				     size_t capacity);

/**
 * weft_channel_fn - told of each send and receive
 * @ch:         the channel
 * @t:          who called: the running tasklet
 * @sending:    a send, else a receive
 * @will_block: nobody is waiting for it
 * @ctx:        from weft_set_channel_callback()
 *
 * Called before the operation is tried, also for one that then fails, try_ calls
 * included; but after the hand-over when the peer is of another thread. Calls
 * that would switch return -EPERM in it, and what it does with channels is not
 * told.
 */
typedef void (*weft_channel_fn)(weft_channel *ch, weft_tasklet t, bool sending,
				bool will_block, void *ctx);

/**
 * weft_set_channel_callback - have the sends and receives of this thread told
 * @fn:  NULL: no more
 * @ctx: handed to @fn
 *
 * Context: any thread, for itself; never switches.
 * Source: stackless.set_channel_callback().
 */
WEFT_API void weft_set_channel_callback(weft_channel_fn fn, void *ctx);

WEFT_END_DECLS

#endif /* WEFT_CHANNEL_H */
