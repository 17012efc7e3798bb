/* SPDX-License-Identifier: MIT */
/**
 * stream - I/O that comes by itself: connections, bytes, messages, readiness
 *
 * A stream is asked for once, and then brings one thing after the other: the kernel
 * keeps one operation armed (multishot) and completes it each time something
 * arrives, without a new request. Where the kernel cannot do that for a descriptor,
 * a stream makes one request after the other, and its user sees no difference.
 *
 *	weft_stream *s = weft_accept_stream(listener);
 *	ssize_t fd;
 *
 *	while ((fd = weft_stream_next(s, NULL)) >= 0)
 *		serve((int)fd);
 *	weft_stream_close(s);
 *
 * Nothing is asked of the kernel before the first weft_stream_next(). What arrives
 * between two calls waits in the stream, in its order. An error ends nothing but the
 * call that returns it: the next call asks the kernel anew, so it returns the error
 * again if that is there to stay.
 *
 * A stream belongs to the thread that opened it. Its tasklets can take turns with
 * the calls; one of them at a time can wait. Operations of a stream are operations
 * of its thread in flight on its descriptor: weft_close() of the descriptor, and of
 * no other, cancels them. Then weft_stream_next() gives what had arrived, and after
 * that -ECANCELED for good. In a child of fork() that is so for all streams. The end
 * of the thread cancels all its streams; their memory is there until they are closed,
 * which any thread may do then.
 *
 * Streams that receive share a pool of buffers. A buffer is needed only for what has
 * arrived and was not released yet, so a pool of a few hundred serves many thousands
 * of connections that are idle most of the time. Streams pay for small messages and
 * for many connections. For bulk data (16 KiB at a time and more) weft_recv() is as
 * fast or faster.
 */
#ifndef WEFT_STREAM_H
#define WEFT_STREAM_H

#include <sys/socket.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

typedef struct weft_stream weft_stream;

/**
 * weft_accept_stream - accept connections of a listening socket
 *
 * weft_stream_next() returns the descriptors of new connections, close-on-exec. There
 * is no end: 0 is a descriptor like any other. Up to 64 connections or so are accepted
 * ahead; the others wait in the backlog of the socket. weft_stream_close() closes
 * those that nobody has taken. If there is no memory to note a connection, it is
 * closed and the call returns -ENOMEM.
 *
 * Return: the stream; NULL with errno set:
 *   ENOMEM  there is no memory
 *   EPERM   in a callback
 * Context: any tasklet; never switches.
 */
WEFT_API weft_stream *weft_accept_stream(int fd);

/**
 * weft_poll_stream - wait for a descriptor again and again
 * @events: POLLIN, POLLOUT and so on, as in poll(2)
 *
 * weft_stream_next() returns as soon as one of the events holds, or POLLERR or
 * POLLHUP does, with all those that hold: the bits of poll(2)'s revents. So, as with
 * poll(2), it returns at once for as long as the descriptor is ready; a call that finds
 * it ready makes one system call. It returns -EBADF if the descriptor is not open.
 *
 * Return: the stream; NULL with errno set:
 *   EINVAL  @events has bits that poll(2) does not know
 *   ENOMEM  there is no memory
 *   EPERM   in a callback
 * Context: any tasklet; never switches.
 */
WEFT_API weft_stream *weft_poll_stream(int fd, unsigned events);

typedef struct weft_buffers weft_buffers;

/**
 * weft_buffers_new - a pool of buffers that streams receive into
 * @count: 1 to 32768
 * @size:  bytes of each; at least 1, for messages more than WEFT_MESSAGE_ROOM
 *
 * The pool belongs to the calling thread and its streams. The kernel takes a buffer
 * when there is something to put in. When all are in use, nothing fails: a stream that
 * needs one waits until another one is given back by weft_stream_release() or
 * weft_stream_close(). No stream has more than about a quarter of a pool unread that it
 * shares with others; the rest waits in its socket. The pool has one buffer more
 * than @count, which is for tasklets that wait when all others are in use: so it goes
 * on with those who read, whatever others leave unread, and with one that holds all the
 * others.
 *
 * The memory is there from the beginning: @count times @size bytes, rounded up to 64.
 * Before Linux 5.19, or where the kernel refuses to take buffers by itself, a stream
 * costs more system calls.
 *
 * Return: the pool; NULL with errno set:
 *   EINVAL  @count or @size is out of its range
 *   ENOMEM  there is no memory
 *   EPERM   in a callback
 * Context: any tasklet; never switches.
 */
WEFT_API weft_buffers *weft_buffers_new(unsigned count, size_t size);

/**
 * weft_buffers_free - release a pool
 * @pool: NULL: nothing happens
 *
 * A pool that still has streams goes with the last of them, and takes no new ones.
 * The process is stopped if the pool is freed twice, or by another thread than its own
 * before that has ended.
 *
 * Context: any tasklet of the pool's thread, callbacks too; never switches.
 */
WEFT_API void weft_buffers_free(weft_buffers *pool);

/**
 * weft_recv_stream - receive from a connected socket
 * @fd: a socket
 * @pool: of the calling thread
 *
 * weft_stream_next() returns how many bytes have come, and where they are in *@data: in
 * a buffer of the pool, which is the caller's until weft_stream_release() or
 * weft_stream_close(). It returns 0 at the end of the connection, then and always. The
 * bytes are those that recv(2) would give, in their order; how many come at once
 * is up to the kernel. While a stream is open, its socket should be read by nobody
 * else: who gets which bytes is not defined.
 *
 * From a datagram socket each call gives one datagram, cut off after the size of a
 * buffer. 0 is a datagram without data, *@data is NULL, and there may be more. That
 * such a socket was shut down may go unnoticed: close it, or the stream.
 *
 * Return: the stream; NULL with errno set:
 *   EBADF, ENOTSOCK  @fd is not a socket
 *   EINVAL  @pool is NULL or was freed
 *   ENOMEM  there is no memory
 *   EPERM   in a callback, or the pool is another thread's
 * Context: any tasklet; never switches.
 */
WEFT_API weft_stream *weft_recv_stream(int fd, weft_buffers *pool);

/** Bytes of a buffer that a message takes beside its data. */
#define WEFT_MESSAGE_ROOM 400

/**
 * struct weft_message - what weft_stream_next_message() gives
 * @data: to be released by weft_stream_release(); NULL if @size is 0, perhaps
 * @header: as recvmsg(2) fills it in: msg_name, msg_control and their lengths, and
 *          msg_flags. Name and control data lie beside the data. An address or
 *          control data that are not there are NULL. msg_iov is NULL.
 */
struct weft_message {
	void *data;
	size_t size;
	struct msghdr header;
};

/**
 * weft_recvmsg_stream - receive messages with their addresses
 * @fd: a socket, mostly a UDP one
 * @pool: of the calling thread; its buffers are larger than WEFT_MESSAGE_ROOM
 *
 * This is weft_recv_stream() for weft_stream_next_message(). A message has room for as
 * many bytes as a buffer has beyond WEFT_MESSAGE_ROOM, and for 256 bytes of control
 * data. What is longer is cut off, and header.msg_flags has MSG_TRUNC or MSG_CTRUNC.
 * Descriptors that are passed over a Unix socket are close-on-exec. Those in
 * messages that nobody takes are closed by weft_stream_close().
 *
 * Return: the stream; NULL with errno set, as weft_recv_stream() and
 *   EINVAL  the buffers are too small
 * Context: any tasklet; never switches.
 */
WEFT_API weft_stream *weft_recvmsg_stream(int fd, weft_buffers *pool);

/**
 * weft_stream_next_message - take the next message, or wait for it
 * @stream: of weft_recvmsg_stream()
 * @message: filled in if 1 is returned, else untouched
 *
 * A message without data has a @size of 0, and @data may be NULL: then there is
 * nothing to release, and its address stays where it is until the next call. A kill, a
 * raise, a deadline or a trap acts as on weft_stream_next().
 *
 * Return: 1: a message; 0: the end of the connection; or a negative errno, as
 * weft_stream_next() has them, and
 *   -EINVAL  a pointer is NULL, or the stream is of another kind
 * Context: any tasklet of the stream's thread; may switch.
 */
WEFT_API int weft_stream_next_message(weft_stream *stream,
				      struct weft_message *message);

/**
 * weft_stream_next - take the next thing that has arrived, or wait for it
 * @data: receives the place of what was received; of other streams not used, and
 *        may be NULL
 *
 * A kill, a raise or a deadline ends the wait, and the stream stays as it is: what
 * arrives later, or has just arrived, comes with the next call. With a block trap or
 * a switch trap the call succeeds if there is something already.
 *
 * Return: what the stream's own description says, or a negative errno:
 *   -ECANCELED  also if the descriptor was closed by weft_close(), if the stream is
 *               closed meanwhile, or in a child of fork()
 *   -EBUSY      another tasklet waits in a call for this stream
 *   -EPERM      the stream is another thread's; or in a callback
 *   -EINVAL     @stream is NULL, or one of weft_await_stream() (weft/uring.h)
 *   what io_uring_setup returned, if the thread's io_uring could not be created
 * Context: any tasklet of the stream's thread; may switch.
 */
WEFT_API ssize_t weft_stream_next(weft_stream *stream, void **data);

/**
 * weft_stream_release - give back the buffer of what was received
 * @stream: the one that has given it
 * @data: from weft_stream_next() or weft_stream_next_message(); NULL: nothing
 *        happens
 *
 * Buffers can be given back in any order. The process is stopped if the stream has
 * not given @data, or if it was released before.
 *
 * Context: any tasklet of the stream's thread, callbacks too; never switches.
 */
WEFT_API void weft_stream_release(weft_stream *stream, void *data);

/**
 * weft_stream_close - end a stream and release its memory
 * @stream: NULL: nothing happens
 *
 * What has arrived and was not taken is lost: descriptors are closed, and buffers given
 * back, also those that were not released. The call cancels
 * the operation and waits until the kernel has let go of it, so that nothing arrives
 * after the return. This takes one system call; if it takes longer, the tasklet waits,
 * or the thread under a trap or in a callback. A kill, a raise or a deadline does not
 * keep it from its work. The stream's descriptor stays open. A tasklet that waits in
 * weft_stream_next() gets -ECANCELED. The process is stopped if the stream belongs to
 * another thread that has not ended.
 *
 * Context: any tasklet of the stream's thread, callbacks too; may switch.
 */
WEFT_API void weft_stream_close(weft_stream *stream);

WEFT_END_DECLS

#endif /* WEFT_STREAM_H */
