/* SPDX-License-Identifier: MIT */
/**
 * channel - tasklets of any threads pass elements to each other
 *
 * An element is copied once, straight from the sender's memory to the
 * receiver's. Waiters are served first come, first served. Any thread may use
 * any channel at any time. Two rules say who runs next:
 *
 *  R9   If a peer waits, the oldest one, P, leaves the channel and the element is
 *       copied. If P is of the caller's thread:
 *       - with schedule_all, P goes to the end of the run queue, and the caller
 *         gives way to its successor;
 *       - else, if the preference favours P, P is put right behind the caller and
 *         runs now, so that the caller is last in the run queue;
 *       - else P goes to the end of the run queue, and the caller goes on.
 *       If P is of another thread, P goes to the end of its own run queue,
 *       whatever the preference is, and the caller goes on.
 *  R10  If no peer waits, the caller leaves the run queue and joins the queue of
 *       the channel. The balance changes by one.
 *
 * A new rendezvous channel favours receivers and has schedule_all off. So on one
 * thread, if a send finds a receiver waiting, that receiver has already run with
 * the element when the send returns.
 *
 * A channel with a capacity has a buffer. If the buffer has room and no receiver
 * waits, a send puts its element there and goes on. A receive takes the oldest
 * element. If the buffer is full, a send waits. The receive that then makes room
 * moves the element of the oldest waiting sender into the buffer, and that sender
 * is its peer. A new buffered channel favours neither side: the caller goes on, and
 * the peer that it wakes runs in its turn. So a buffer is filled and drained many
 * elements at a time, without a switch for each.
 *
 * A channel of WEFT_UNBOUNDED capacity has a buffer that grows: a send never
 * waits, and fails with -ENOMEM if there is no memory for one more element. The
 * buffer takes memory in chunks of about a kilobyte and gives them back as they are
 * drained; an empty buffer keeps one chunk. Such a channel is for senders that must
 * never wait for a slow receiver, such as the many that write to the outbox of one
 * client. Nothing slows these senders down: the program itself has to bound the
 * backlog, or to end a client that does not read. weft_channel_balance() tells how
 * long the backlog is.
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
 * weft_channel_new - create a channel, with one reference held by the caller
 * @element_size: bytes of an element, less than 2 GiB; 0: a pure signal
 * @capacity:     elements that the buffer holds, less than 2^31; 0: rendezvous, a
 *                send waits for its receiver; or WEFT_UNBOUNDED
 *
 * Elements of 8 bytes are passed fastest. The buffer is allocated at once; for an
 * unbounded channel, only the first chunk.
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
 * that are still in the buffer when the last reference is given back are dropped,
 * see weft_channel_set_drop().
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_unref(weft_channel *ch);

/**
 * weft_channel_send - pass one element to a receiver, or to the buffer
 * @ch:      the caller keeps its reference during the call
 * @element: element_size bytes; copied before the call returns; may be NULL if
 *           element_size is 0
 *
 * Blocks the calling tasklet, never its OS thread, until a receiver or the buffer
 * takes the element. Rules R9 and R10 say who runs next.
 *
 * Return: 0 if the element was taken; else nothing was sent, and
 *   -EPIPE  the channel is closed
 *   -ENOMEM the channel is unbounded, no receiver waits, and there is no memory
 *   or what any blocking call may return (weft/tasklet.h).
 * Context: any tasklet of any thread; may switch.
 * Ordering: everything before the send is visible after the matching receive.
 * Source: channel.send() of Stackless Python.
 */
WEFT_API int weft_channel_send(weft_channel *ch, const void *element);

/**
 * weft_channel_receive - take one element from a sender, or from the buffer
 * @ch:      the caller keeps its reference during the call
 * @element: receives element_size bytes; untouched on failure; may be NULL if
 *           element_size is 0
 *
 * Blocks the calling tasklet, never its OS thread, until there is an element.
 *
 * Return: 0 if an element was received; else
 *   -EPIPE  the channel is closed, or was closed while the call waited, and
 *           nothing is left to receive
 *   -err    the error that weft_channel_send_error() sent
 *   or what any blocking call may return.
 * Context: any tasklet of any thread; may switch.
 * Source: channel.receive() of Stackless Python.
 */
WEFT_API int weft_channel_receive(weft_channel *ch, void *element);

/**
 * weft_channel_try_send - send one element if the call need not wait for that
 *
 * The call never waits. Rule R9 holds as for weft_channel_send(), so the receiver
 * may have run when the call returns.
 *
 * Return: 0 if the element was taken; -EAGAIN if no receiver waits and the buffer,
 * if any, is full; -EPIPE if the channel is closed; -ENOMEM if the channel is
 * unbounded and there is no memory; -EPERM if the call would switch and a switch
 * trap is set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_send(weft_channel *ch, const void *element);

/**
 * weft_channel_try_receive - receive one element if the call need not wait for that
 *
 * Return: 0 if an element was received; -EAGAIN if there is none; -EPIPE if there
 * is none and the channel is closed; -err if an error was sent; -EPERM if the call
 * would switch and a switch trap is set.
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API int weft_channel_try_receive(weft_channel *ch, void *element);

/**
 * weft_channel_send_error - make a receive fail
 * @err: above 0; the receive returns -@err and leaves its element untouched
 *
 * The error takes the place of an element, also in the buffer. Errors and elements
 * are received in the order in which they were sent.
 *
 * Return: 0 if the error was taken; -EINVAL if @err is not above 0; -ENOMEM if
 * there is no memory to keep errors in the buffer, even if this one would not need
 * a place there; or as weft_channel_send().
 * Context: any tasklet of any thread; may switch.
 * Source: channel.send_exception() of Stackless Python.
 */
WEFT_API int weft_channel_send_error(weft_channel *ch, int err);

/**
 * weft_channel_send_many - send several elements, in their order
 * @elements: @n elements, one behind the other
 *
 * Does the same as @n sends, but all elements that find room in the buffer are put
 * there at once.
 *
 * Return: @n, or how many elements were taken before an error; if the first one met
 * an error, that error, as weft_channel_send().
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API ssize_t weft_channel_send_many(weft_channel *ch, const void *elements,
					size_t n);

/**
 * weft_channel_receive_many - wait for one element, then take all that are there
 * @elements: receives up to @max elements, one behind the other
 *
 * If an error was sent and comes first, the call returns it. An error that comes
 * later ends the call and stays in the channel for the next receive.
 *
 * Return: how many elements were received, 1 to @max; 0 if @max is 0; or an error
 * as weft_channel_receive().
 * Context: any tasklet of any thread; may switch.
 */
WEFT_API ssize_t weft_channel_receive_many(weft_channel *ch, void *elements,
					   size_t max);

/**
 * weft_channel_close - let nothing more be sent
 *
 * From now on, every send returns -EPIPE, and so does every receive that would have
 * to wait. Receives that wait already return -EPIPE too. Elements that are in the
 * buffer, and those of senders that wait, can still be received.
 *
 * Context: any thread; never switches: woken receivers go to the end of their run
 * queues.
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

/** weft_channel_closing - whether the channel was closed; never switches */
WEFT_API bool weft_channel_closing(weft_channel *ch);

/**
 * weft_channel_closed - whether the channel was closed and nothing is left to
 * receive
 *
 * Context: any thread; never switches.
 * Source: channel.closed.
 */
WEFT_API bool weft_channel_closed(weft_channel *ch);

/**
 * What a case of a selection waits for: to send on a channel or to receive from it,
 * a descriptor that can be read or written, a moment.
 */
enum weft_op { WEFT_SEND, WEFT_RECEIVE, WEFT_READABLE, WEFT_WRITABLE, WEFT_AT };

/** One of the cases that weft_select() chooses among. */
struct weft_case {
	union {
		weft_channel *channel; /* WEFT_SEND, WEFT_RECEIVE; NULL: never
					* ready */
		int fd;       /* WEFT_READABLE, WEFT_WRITABLE; below 0: never
			       * ready */
		int64_t when; /* WEFT_AT: on the clock of weft_now();
			       * WEFT_FOREVER: never */
	};
	enum weft_op op;
	void *element; /* as for a send or a receive; else not used */
	int result;    /* of the chosen case, see weft_select() */
};

/* For weft_select(): do not wait. */
#define WEFT_NONBLOCK 1u

/**
 * weft_select - carry out one of several operations, whichever is possible
 * @cases: @n cases: sends and receives on channels of any threads, descriptors and
 *         moments, mixed. A channel or a descriptor may be there more than once
 * @n:     if it is 0, or no case can ever be ready, the call waits for ever
 * @flags: WEFT_NONBLOCK: do not wait; else 0
 *
 * Exactly one case goes through. If several can, one of them is chosen at random,
 * each with the same chance; but under a switch trap, a case that would not switch
 * is chosen if there is any. Rules R9 and R10 hold as for weft_channel_send() and
 * weft_channel_receive().
 *
 * The result of the chosen case is what the send or the receive would have
 * returned: if that would be -EPIPE because the channel is closed, the case is
 * ready. The result of a moment is 0. That of a descriptor is
 *   0           a read or write does not have to wait; it can fail, or find the end
 *               of the file: an error and a hang-up count as ready, as in poll(2)
 *   -EBADF      it is not open, or cannot be polled (O_PATH)
 *   -ECANCELED  it was closed with weft_close() during the wait; or this is a child
 *               of fork(), and the call was made before the fork
 *   -ENOMEM     there is no memory to wait for it
 * Regular files are always ready. Nothing is read or written: another tasklet or
 * process may be faster, and leave nothing for the next read. If a moment has
 * passed, its case is ready.
 *
 * A wait for descriptors polls them in the kernel. These polls have ended when the
 * call returns. A close(2) during the wait, rather than a weft_close(), does not
 * end the wait. WEFT_NONBLOCK with descriptors makes a system call, poll(2), and
 * never waits. A kill, a raise and a deadline end the wait, and no case has gone
 * through.
 *
 * Return: the index of the case that went through, whose result is set; else
 * nothing was passed, no result is set, and
 *   -EAGAIN  with WEFT_NONBLOCK: no case is ready at this moment
 *   -EINVAL  an unknown flag or operation, or @cases is NULL though @n is not 0
 *   -ENOMEM  no memory for more than 16 cases, for descriptors or for moments
 *   or, if the call may wait, what any blocking call may return, and if it has to
 *   wait for descriptors, what any I/O call may return (weft/io.h).
 * Context: any tasklet of any thread; may switch.
 * Source: the select statement of Go; poll(2).
 */
WEFT_API int weft_select(struct weft_case *cases, size_t n, unsigned flags);

/**
 * weft_channel_balance - how many senders and elements, or receivers, there are
 *
 * Return: above 0 the number of senders that wait and of elements in the buffer;
 * below 0 the negated number of receivers that wait. It is a snapshot if other
 * threads use the channel.
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

/** weft_channel_schedule_all - whether schedule_all is on; never switches */
WEFT_API bool weft_channel_schedule_all(weft_channel *ch);

/**
 * weft_channel_set_name - name a channel, for what is shown of the process
 * @name: copied, 31 bytes kept; NULL: none
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_set_name(weft_channel *ch, const char *name);

/**
 * weft_channel_set_drop - what to do with elements that nobody receives
 * @drop: called with @ctx and each element that is in the buffer when the last
 *        reference is given back, the oldest first; NULL: nothing is called. @drop
 *        must not block: calls that would switch return -EPERM in it, also on a
 *        thread that @drop itself attaches.
 * @ctx:  given to @drop
 *
 * The tasklet that gives the last reference back calls @drop. The last reference
 * can be that of a call that waited on the channel and was called off, or of a
 * selection that waited on it: then the tasklet that made the call calls @drop,
 * before the call returns.
 *
 * On one thread, @drop is never called inside itself. If a @drop gives back the
 * last reference of another channel, the elements of that channel are dropped after
 * this @drop has returned, but before the call that freed the first channel
 * returns. So channels can be in channels to any depth. If @drop leaves by
 * pthread_exit(), the elements that remain are dropped at the end of the thread.
 *
 * Context: any thread; never switches.
 */
WEFT_API void weft_channel_set_drop(weft_channel *ch,
				    void (*drop)(void *element, void *ctx),
				    void *ctx);

/**
 * weft_channel_waiters - which tasklets are blocked on the channel, oldest first
 * @out:      receives the first @capacity handles; may be NULL if @capacity is 0
 * @capacity: elements of @out
 *
 * Return: how many tasklets wait, which can be more than @capacity. It is a
 * snapshot if other threads use the channel.
 * Context: any thread; never switches.
 * Source: channel.queue.
 */
WEFT_API size_t weft_channel_waiters(weft_channel *ch, weft_tasklet *out,
				     size_t capacity);

/**
 * weft_channel_fn - a callback for each send and receive
 * @ch:         the channel
 * @t:          the running tasklet, which made the call
 * @sending:    true for a send, false for a receive
 * @will_block: neither a peer nor the buffer can serve the call now
 * @ctx:        from weft_set_channel_callback()
 *
 * The callback is called before the operation is tried, for try_ calls and for
 * operations that then fail as well. But if the peer is of another thread, the
 * callback is called after the hand-over. For a selection it is called for the case
 * that is about to go through, or, if no case can, for all cases. In the callback,
 * calls that would switch return -EPERM, and sends and receives do not call it
 * again.
 */
typedef void (*weft_channel_fn)(weft_channel *ch, weft_tasklet t, bool sending,
				bool will_block, void *ctx);

/**
 * weft_set_channel_callback - set a callback for the sends and receives of this
 * thread
 * @fn:  NULL: no callback any more
 * @ctx: given to @fn
 *
 * Context: any thread, for itself; never switches.
 * Source: stackless.set_channel_callback().
 */
WEFT_API void weft_set_channel_callback(weft_channel_fn fn, void *ctx);

WEFT_END_DECLS

#endif /* WEFT_CHANNEL_H */
