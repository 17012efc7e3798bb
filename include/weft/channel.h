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
 * A new rendezvous channel favours receivers and has schedule_all off: on one
 * thread, when a send finds a receiver waiting, the receiver has already run with
 * the element by the time the send returns.
 *
 * A channel with a capacity has a buffer. A send puts its element there while
 * there is room and nobody waits, and goes on; a receive takes the oldest. A send
 * waits while the buffer is full; the receive that makes room moves the oldest
 * waiting sender's element in, and that sender is its peer. A new buffered channel
 * favours neither side: the caller goes on and a peer that is let go runs in its
 * turn, so that a buffer is filled and drained in runs, not with a switch for each
 * element.
 *
 * A channel of WEFT_UNBOUNDED capacity has a buffer that grows: a send to it never
 * waits, and fails with -ENOMEM when there is no memory for one more element. Memory
 * comes in chunks of about a kilobyte and goes back as they are drained; an empty one
 * keeps one chunk. It is for those who must never wait for a slow receiver, such as
 * the many who write to the outbox of one client. Nothing slows them down then: what
 * bounds the backlog, or ends a client that does not read, is for the program to do
 * (weft_channel_balance() tells how long it is).
 */
#ifndef WEFT_CHANNEL_H
#define WEFT_CHANNEL_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

typedef struct weft_channel weft_channel;

/** For weft_channel_new(): the buffer grows, and a send never waits. */
#define WEFT_UNBOUNDED SIZE_MAX

/** The most elements that such a buffer can have; the next send gives -ENOMEM. */
#define WEFT_UNBOUNDED_MAX INT32_MAX

/**
 * weft_channel_new - a channel, with one reference held by the caller
 * @element_size: bytes of an element; 0: a pure signal; less than 2 GiB
 * @capacity:     elements that the buffer holds; 0: rendezvous, a send waits for
 *                its receiver; less than 2^31; or WEFT_UNBOUNDED
 *
 * Elements of 8 bytes are passed fastest. The buffer is allocated at once; of an
 * unbounded one, what holds the first elements.
 *
 * Return: the channel, or NULL with errno set:
 *   EINVAL  @element_size or @capacity is too large
 *   ENOMEM  no memory
 * Context: any thread; never switches.
 * Source: stackless.channel(); the buffer is that of Go.
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
 * A call that is blocked on the channel holds a reference of its own. Elements
 * that are still in the buffer when the last reference goes are dropped, see
 * weft_channel_set_drop().
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_unref(weft_channel *ch);

/**
 * weft_channel_send - pass one element to a receiver, or to the buffer
 * @ch:      the caller keeps its reference during the call
 * @element: element_size bytes; copied before return; may be NULL when
 *           element_size is 0
 *
 * Blocks the calling tasklet, never its OS thread, until a receiver or the buffer
 * takes the element. Rules R9 and R10 say who runs next.
 *
 * Return: 0 when the element was taken; else nothing was sent, and
 *   -EPIPE  the channel is closed
 *   -ENOMEM it is unbounded and nobody waits, and there is no memory
 *   or what any blocking call may return (weft/tasklet.h).
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
 * Return: 0 when an element was received; else
 *   -EPIPE  the channel is closed, or was while the call waited, and nothing is
 *           left to receive
 *   -err    what weft_channel_send_error() was given
 *   or what any blocking call may.
 * Context: any tasklet of any thread; may switch.
 * Source: channel.receive() of Stackless Python.
 */
WEFT_API int weft_channel_receive(weft_channel *ch, void *element);

/**
 * weft_channel_try_send - weft_channel_send() if it need not wait
 *
 * It never waits. Rule R9 holds as for weft_channel_send(), so the receiver may
 * have run when it returns.
 *
 * Return: 0 when the element was taken; -EAGAIN when no receiver is waiting and
 * the buffer, if any, is full; -EPIPE when the channel is closed; -ENOMEM when it is
 * unbounded and there is no memory; -EPERM when it would switch and a switch trap is
 * set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_send(weft_channel *ch, const void *element);

/**
 * weft_channel_try_receive - weft_channel_receive() if it need not wait
 *
 * Return: 0 when an element was received; -EAGAIN when there is none; -EPIPE when
 * there is none and the channel is closed; -err when an error was sent; -EPERM
 * when it would switch and a switch trap is set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element);

/**
 * weft_channel_send_error - have a receive fail
 * @err: above 0; that receive returns -@err, and its element stays untouched
 *
 * The error takes the place of an element, in a buffer too, and is sent in the
 * order of all others.
 *
 * Return: 0 when it was taken; -EINVAL when @err is not above 0; -ENOMEM when there
 * is no memory to keep errors in a buffer, also if one may not be needed; or as weft_channel_send().
 * Context: any tasklet of any thread; may switch.
 * Source: channel.send_exception() of Stackless Python.
 */
WEFT_API int weft_channel_send_error(weft_channel *ch, int err);

/**
 * weft_channel_send_many - send several elements, in their order
 * @elements: @n elements, one behind the other
 *
 * As so many sends, but what finds room in the buffer goes there at once.
 *
 * Return: @n, or how many were taken before an error; the error, as
 * weft_channel_send(), when it came with the first.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API ssize_t weft_channel_send_many(weft_channel *ch, const void *elements,
					size_t n);

/**
 * weft_channel_receive_many - wait for one element and take what else is there
 * @elements: receives up to @max elements, one behind the other
 *
 * An error that was sent ends it: it is left for the next receive unless it comes
 * first.
 *
 * Return: how many were received, 1 to @max; 0 if @max is 0; or an error as
 * weft_channel_receive().
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API ssize_t weft_channel_receive_many(weft_channel *ch, void *elements,
					   size_t max);

/**
 * weft_channel_close - let nothing more be sent
 *
 * From here on every send and every receive that would have to wait returns
 * -EPIPE, and so does every receive that is waiting. Elements in the buffer, and
 * those of senders that wait, can still be received.
 *
 * Context: any thread; never switches: those who waited go to the end of their
 * rings.
 * Source: channel.close() of Stackless Python.
 */
WEFT_API void weft_channel_close(weft_channel *ch);

/**
 * weft_channel_open - undo weft_channel_close()
 *
 * Context: any thread; never switches.
 * Source: channel.open().
 */
WEFT_API void weft_channel_open(weft_channel *ch);

/** weft_channel_closing - whether it was closed; never switches */
WEFT_API bool weft_channel_closing(weft_channel *ch);

/**
 * weft_channel_closed - whether it was closed and nothing is left to receive
 *
 * Context: any thread; never switches.
 * Source: channel.closed.
 */
WEFT_API bool weft_channel_closed(weft_channel *ch);

/** What a case of a selection does. */
enum weft_op { WEFT_SEND, WEFT_RECEIVE };

/** One of the operations that weft_select() chooses among. */
struct weft_case {
	weft_channel *channel; /* NULL: never ready */
	enum weft_op op;
	void *element; /* as for a send or a receive */
	int result;    /* of the chosen case: what that would have returned */
};

/* For weft_select(): do not wait. */
#define WEFT_NONBLOCK 1u

/**
 * weft_select - carry out one of several operations, whichever can be
 * @cases: @n operations on channels of any threads, sends and receives mixed; a
 *         channel may be there more than once
 * @n:     0, or channels that are all NULL: nothing is ever ready
 * @flags: WEFT_NONBLOCK: do not wait; else 0
 *
 * Exactly one goes through. If several can, one of them is chosen at random, each
 * with the same chance; under a switch trap one that would not switch, if there is
 * any. Rules R9 and R10 hold as for weft_channel_send() and
 * weft_channel_receive(). A case on a closed channel is ready, with the result
 * -EPIPE, where that call would return it.
 *
 * Return: the index of the case that went through, whose result is set; else
 * nothing was passed, no result is set, and
 *   -EAGAIN  with WEFT_NONBLOCK: none can at this moment
 *   -EINVAL  an unknown flag or operation, or @cases is NULL though @n is not 0
 *   -ENOMEM  no memory for more than 16 cases
 *   or what any blocking call may, if it may wait.
 * Context: any tasklet of any thread; may switch.
 * Source: the select statement of Go.
 */
WEFT_API int weft_select(struct weft_case *cases, size_t n, unsigned flags);

/**
 * weft_channel_balance - how many wait
 *
 * Return: above 0 the number of senders that wait and elements in the buffer,
 * below 0 the negated number of receivers that wait; a snapshot when other threads
 * use the channel.
 * Context: any thread; never switches.
 * Source: channel.balance.
 */
WEFT_API int weft_channel_balance(weft_channel *ch);

/**
 * weft_channel_set_preference - whom rule R9 favours
 * @preference: below 0 the receiver, above 0 the sender, 0 neither: the peer goes
 *              to the end and the caller goes on. Only the sign is kept. The
 *              default is -1, and 0 for a buffered channel.
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
 * weft_channel_set_drop - what to do with elements that nobody receives
 * @drop: called with each element that is in the buffer when the last reference
 *        goes, the oldest first, and with @ctx; NULL: nothing. It must not block:
 *        calls that would switch return -EPERM in it.
 * @ctx:  handed to @drop
 *
 * @drop is called by whoever lets the channel go; if that is a call that waited on
 * it and is called off, or a selection that waited on it, by the tasklet that made the
 * call, before it returns. It is never called within itself, on one thread: when a
 * @drop lets another channel go, that one's elements are dropped after it has
 * returned, before the call that let the first one go returns. So channels can be in
 * channels to any depth.
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_set_drop(weft_channel *ch,
				    void (*drop)(void *element, void *ctx),
				    void *ctx);

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
 * included; but after the hand-over when the peer is of another thread. Of a
 * selection it is told of the case that is about to go through, or, if none can, of
 * all. Calls that would switch return -EPERM in it, and what it does with channels
 * is not told.
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
