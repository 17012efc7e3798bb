/* SPDX-License-Identifier: MIT */
/**
 * net - sockets; see weft/io.h for what all I/O calls have in common
 *
 * SO_RCVTIMEO and SO_SNDTIMEO have no effect: a call waits for as long as it takes.
 * To limit the time, put the call into a scope of weft_deadline_begin()
 * (weft/time.h): it returns -ETIMEDOUT when the deadline has passed.
 *
 * O_NONBLOCK has no effect either. A call with MSG_DONTWAIT does not wait, and returns
 * -EAGAIN if it would have to; so does a receive with MSG_ERRQUEUE. No call raises SIGPIPE. At most 2 GiB less a page are
 * moved by one call.
 */
#ifndef WEFT_NET_H
#define WEFT_NET_H

#include <sys/socket.h>
#include <weft/base.h>

WEFT_BEGIN_DECLS

struct addrinfo;

/**
 * weft_socket - socket(2); the new descriptor is close-on-exec
 * @type: may have SOCK_NONBLOCK
 *
 * Return: the descriptor or a negative errno.
 * Context: any tasklet; never switches, unless it is interrupted: from the second
 *   error in a row of a kill or a deadline on, the call gives way first.
 */
WEFT_API int weft_socket(int domain, int type, int protocol);

/**
 * weft_accept - accept(2); the new descriptor is close-on-exec
 * @addr: receives the peer's address; may be NULL, together with @len
 *
 * SO_RCVTIMEO has no effect.
 *
 * Return: the descriptor or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_accept(int fd, struct sockaddr *addr, socklen_t *len);

/**
 * weft_accept4 - accept4(2); the new descriptor is close-on-exec in any case
 * @flags: 0, or SOCK_NONBLOCK, SOCK_CLOEXEC
 *
 * A connection for which there is no descriptor (-EMFILE, -ENFILE) stays in line.
 *
 * Return: as weft_accept().
 *   -EINVAL  also: other @flags
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_accept4(int fd, struct sockaddr *addr, socklen_t *len,
			  int flags);

/**
 * weft_connect - connect(2); returns when the connection is made or refused
 *
 * SO_SNDTIMEO has no effect. A call that finds a connection being made, because one
 * before it was interrupted, waits for that. If the backlog of a Unix socket is full,
 * the call waits until there is room, O_NONBLOCK or not. With O_NONBLOCK or
 * SO_SNDTIMEO it tries again every 20 ms at the latest, so that the order of several
 * such calls is not the order in which they came.
 *
 * Return: 0 or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API int weft_connect(int fd, const struct sockaddr *addr, socklen_t len);

/**
 * weft_recv - recv(2)
 *
 * SO_RCVTIMEO has no effect.
 *
 * Return: bytes received, 0 when the peer has shut down, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_recv(int fd, void *buf, size_t count, int flags);

/**
 * weft_send - send(2); never raises SIGPIPE
 *
 * SO_SNDTIMEO has no effect.
 *
 * Return: bytes sent, which can be fewer than @count, or a negative errno.
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_send(int fd, const void *buf, size_t count, int flags);

/**
 * weft_recvfrom - recvfrom(2): a message and its sender's address
 * @addr: receives the address; may be NULL
 * @len:  the size of @addr; receives that of the address, which is larger than
 *        before if the address was cut; untouched on failure
 *
 * Return: bytes received, 0 when the peer has shut down, or a negative errno.
 *   -EFAULT  @len is NULL and @addr is not
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_recvfrom(int fd, void *buf, size_t count, int flags,
			       struct sockaddr *addr, socklen_t *len);

/**
 * weft_sendto - sendto(2): a message to an address; never raises SIGPIPE
 * @addr: may be NULL, and the call is weft_send()
 *
 * With MSG_FASTOPEN it connects first, and waits for that, O_NONBLOCK or not.
 *
 * Return: bytes sent, or a negative errno.
 *   -EINVAL  @len is above the size of a sockaddr_storage
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_sendto(int fd, const void *buf, size_t count, int flags,
			     const struct sockaddr *addr, socklen_t len);

/**
 * weft_recvmsg - recvmsg(2)
 * @msg: receives msg_namelen, msg_controllen and msg_flags
 *
 * Descriptors that come with the message (SCM_RIGHTS) are close-on-exec. An
 * interrupted call has received none. If the process can have no more descriptors,
 * the kernel drops those for which there is no room, and sets MSG_CTRUNC.
 *
 * Return: bytes received, 0 when the peer has shut down, or a negative errno.
 *   -EMSGSIZE  msg_iovlen is above IOV_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_recvmsg(int fd, struct msghdr *msg, int flags);

/**
 * weft_sendmsg - sendmsg(2); never raises SIGPIPE
 *
 * Return: bytes sent, which on a stream can be fewer than there are, or a negative
 * errno.
 *   -EMSGSIZE  msg_iovlen is above IOV_MAX, or the message is too large
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_sendmsg(int fd, const struct msghdr *msg, int flags);

/**
 * weft_send_zc - weft_send() without a copy of the bytes
 *
 * The kernel sends from @buf itself. The call returns when the kernel no longer uses
 * it: for TCP, when the peer has acknowledged all bytes. That pays from some 4 KiB on
 * through a network card, if many such calls are under way together; it never pays for
 * one that is in a hurry.
 *
 * If the kernel reports that it has copied all the same (it does on the loopback
 * interface), the next calls with this descriptor are plain sends, and it tries again
 * from time to time. The call is a plain send, too, if the kernel (before Linux 6.2)
 * or the socket cannot do otherwise, if no more memory may be locked (RLIMIT_MEMLOCK),
 * or with a trap.
 *
 * A kill, a raise or a deadline takes back what the socket has not taken yet. After
 * that the call waits all the same, until the peer has acknowledged or the connection
 * has ended, and returns what was sent.
 *
 * Return: as weft_send().
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_send_zc(int fd, const void *buf, size_t count, int flags);

/**
 * weft_sendmsg_zc - weft_sendmsg() without a copy; see weft_send_zc()
 *
 * Return: as weft_sendmsg().
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_sendmsg_zc(int fd, const struct msghdr *msg, int flags);

/**
 * weft_recv_full - receive until @count bytes are there; see weft_read_full()
 *
 * This is for streams. With a @count of 0 it does not wait.
 *
 * Return: bytes received, 0 at the end, or a negative errno if not one byte was
 * received.
 *   -EINVAL  @flags has MSG_PEEK, MSG_TRUNC or MSG_ERRQUEUE, or @count is above
 *            SSIZE_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_recv_full(int fd, void *buf, size_t count, int flags);

/**
 * weft_send_full - send until all @count bytes are sent; see weft_write_full()
 *
 * Return: bytes sent, or a negative errno if not one byte was sent.
 *   -EINVAL  @count is above SSIZE_MAX
 * Context: any tasklet; may switch.
 */
WEFT_API ssize_t weft_send_full(int fd, const void *buf, size_t count,
				int flags);

/**
 * weft_shutdown - shutdown(2)
 * @how: SHUT_RD, SHUT_WR or SHUT_RDWR
 *
 * Sends that tasklets of this thread have begun are handed to the kernel first.
 *
 * Return: 0 or a negative errno.
 * Context: as weft_socket().
 */
WEFT_API int weft_shutdown(int fd, int how);

/**
 * weft_listen - a listening socket for an address that is given as text
 * @address: one of
 *             "host:port"      a name or an IPv4 address, and a number or the name of
 *                              a service ("http")
 *             "[ipv6]:port"    "[::1]:80", "[fe80::1%eth0]:80"
 *             ":port"          the loopback, 127.0.0.1: nobody else gets in unless the
 *                              program says so
 *             "*:port"         all addresses of the machine, IPv6 and IPv4
 *             "0.0.0.0:port"   all IPv4 addresses; "[::]:port" all IPv6 addresses
 *             "unix:path"      a Unix socket of at most 107 bytes
 *             "unix:@name"     the same in the abstract namespace
 * @backlog: as for listen(2); SOMAXCONN is a good choice
 *
 * With port 0 the system chooses a port; getsockname(2) tells which. A TCP socket has
 * SO_REUSEADDR, so that a server can be restarted at once; but if it was killed, the
 * kernel takes down its io_uring after its end, and the port stays in use (-EADDRINUSE)
 * for some 10 ms more, on a busy machine for longer. If a name has several
 * addresses, the first that can be bound is taken. A name or a service that is no
 * number is looked up as by weft_getaddrinfo(). The file of a Unix socket that
 * refuses connections, because its server has ended, is replaced. The program removes
 * the file when it ends.
 *
 * Return: the descriptor, which is close-on-exec, or a negative errno:
 *   -EINVAL        @address is none of the above; weft_address_error() says why
 *   -ENOENT        the host or the service is not known; for "unix:" the folder
 *   -EHOSTUNREACH  the name servers do not answer, or fail
 *   -EADDRINUSE, -EADDRNOTAVAIL, -EACCES, ...  as bind(2) and listen(2)
 *   or what weft_getaddrinfo() says by EAI_SYSTEM.
 * Context: any tasklet; switches only to look up a name.
 */
WEFT_API int weft_listen(const char *address, int backlog);

/**
 * weft_dial - a connection to an address that is given as text
 * @address: as for weft_listen(), but neither "*" nor port 0
 *
 * A name is looked up as by weft_getaddrinfo(). Its addresses are tried one after the
 * other until one accepts. A call that is interrupted tries no more of them. To limit
 * the time, put the call into a scope of weft_deadline_begin(): without it an address
 * that does not answer takes the system's time, about two minutes.
 *
 * Return: the descriptor, which is close-on-exec, or a negative errno:
 *   -EINVAL        as weft_listen(); also the host is "*", or the port is 0
 *   -ENOENT        the host or the service is not known; for "unix:" there is no such
 *                  file
 *   -EHOSTUNREACH  also if the name servers do not answer, or fail
 *   -ECONNREFUSED, -ETIMEDOUT, -ENETUNREACH, ...  as connect(2), of the last address;
 *                  -ECONNREFUSED also if nobody listens there and the kernel has
 *                  connected the socket to itself, as it can with a port that it gives
 *                  to connections
 *   or what weft_getaddrinfo() says by EAI_SYSTEM.
 * Context: any tasklet; switches.
 */
WEFT_API int weft_dial(const char *address);

/**
 * weft_address_error - what is wrong with the text of an address
 *
 * Nothing is looked up: a name that nobody knows is no error here.
 *
 * Return: NULL if weft_listen() accepts the text; otherwise which part of it is wrong,
 * for a message: "the port is missing".
 * Context: anywhere; never switches.
 */
WEFT_API const char *weft_address_error(const char *address);

/**
 * weft_getaddrinfo - getaddrinfo(3)
 * @node:    may be NULL, like @service and @hints
 * @res:     receives the list, which is the caller's, for freeaddrinfo(3); untouched
 *           if the call fails
 *
 * Addresses and ports that are numbers are converted at once. Names are looked up on
 * a helper thread, one of those that weft_offload() uses. If the call is interrupted,
 * it does not wait for the helper: the helper goes on, and what it finds is freed.
 * @node, @service and @hints are copied.
 *
 * Return: 0, or an EAI_ value as getaddrinfo(3): this is the one call whose errors are
 * no negative errno. EAI_SYSTEM also for what any call of weft may return (a kill, a
 * raise, a deadline, a trap, no helper to be had): then errno says which, as a
 * positive number. Read errno before the next call.
 * Context: any tasklet; switches only to look up a name.
 */
WEFT_API int weft_getaddrinfo(const char *node, const char *service,
			      const struct addrinfo *hints,
			      struct addrinfo **res);

WEFT_END_DECLS

#endif /* WEFT_NET_H */
