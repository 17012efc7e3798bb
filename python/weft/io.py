# SPDX-License-Identifier: MIT
"""I/O for tasklets of the module stackless.

A call here blocks the calling tasklet and never its thread: the other tasklets of the
thread run meanwhile, and when there are none, the thread sleeps in its io_uring (or on
epoll where there is none) and releases the global interpreter lock. The names and their
results are those of the modules os and socket. Nothing else is changed: sockets and files
stay what they are, and asyncio is left alone.

`fd` is a descriptor or any object with a fileno(), blocking or not.

    read(fd, size)              recv(fd, size[, flags])
    readinto(fd, buffer)        recv_into(fd, buffer[, flags])
    write(fd, data)             send(fd, data[, flags])
    read_full(fd, size)         recv_full(fd, size[, flags])
    write_full(fd, data)        send_full(fd, data[, flags])

Those of the lower half go on until all is done, or the end has come, or something goes
wrong: from the first byte on they return what was moved, and the next call raises the
error. `size` bytes are allocated at once.

All calls raise OSError: TimeoutError where a deadline() has passed, socket.gaierror for a
host that is not known. A tasklet that is killed, or at which an exception is thrown, gets
that out of its call; but what a call had got by then is returned, and the exception comes
out of the next one. So no byte is lost, and no connection.
"""
import errno
import os
import socket
from collections import namedtuple

from _stackless import _io

__all__ = [
    "After", "Readable", "Receive", "Send", "Writable", "accept", "close", "connect",
    "deadline", "dial", "listen", "read", "read_full", "readinto", "recv", "recv_full",
    "recv_into", "select", "send", "send_full", "sleep", "write", "write_full",
]

read = _io.read
read_full = _io.read_full
readinto = _io.readinto
recv = _io.recv
recv_full = _io.recv_full
recv_into = _io.recv_into
send = _io.send
send_full = _io.send_full
sleep = _io.sleep
write = _io.write
write_full = _io.write_full
deadline = _io.deadline


def _socket(fd, *kind):
    """The socket of a new descriptor, which is closed if there is none."""
    try:
        return socket.socket(*kind, fileno=fd)
    except BaseException:
        os.close(fd)
        raise


def accept(sock):
    """Waits for a connection. Returns its socket and the address of the peer."""
    fd, address = _io.accept(sock)
    kind = (sock.family, sock.type, sock.proto) if isinstance(sock, socket.socket) else ()
    return _socket(fd, *kind), address


def connect(sock, address):
    """Connects a socket of AF_INET, AF_INET6 or AF_UNIX. A name is looked up first, on a
    helper thread, and its first address is taken."""
    _io.connect(sock.fileno(), sock.family, sock.type, address)


def _socket_at(address, call, *arguments):
    """The socket that a call makes for an address, which is named if it cannot."""
    try:
        return _socket(call(address, *arguments))
    except OSError as error:
        if error.errno == errno.ENOENT and not address.startswith("unix:"):
            raise socket.gaierror(socket.EAI_NONAME,
                                  "the host or the service is not known: %r" % address) from None
        error.filename = address
        raise


def listen(address, backlog=socket.SOMAXCONN):
    """A socket that listens: "host:port", "[::1]:80", ":80" (this machine alone), "*:80"
    (anybody), "unix:/path" or "unix:@name". With port 0 the system chooses one."""
    return _socket_at(address, _io.listen, backlog)


def dial(address):
    """A socket that is connected to an address, given as for listen(). The addresses of a
    name are tried one after the other."""
    return _socket_at(address, _io.dial)


def close(sock):
    """Closes a socket or a descriptor. What other tasklets of this thread wait for there
    ends: they get OSError (ECANCELED), or their result if they had one."""
    if isinstance(sock, int):
        _io.close(sock)
    elif not isinstance(sock, socket.socket):
        raise TypeError("close() takes a socket or a descriptor, not %r, which closes itself" %
                        (sock,))
    elif sock.fileno() >= 0:
        _io.close(sock.detach())


# What select() chooses among, with the numbers that weft has for them.
Send = namedtuple("Send", "channel value")
Send.__doc__ = "A case of select(): a value is sent."
Receive = namedtuple("Receive", "channel")
Receive.__doc__ = "A case of select(): a value is received, or an exception."
Readable = namedtuple("Readable", "fd")
Readable.__doc__ = "A case of select(): a read would not wait, if only to fail."
Writable = namedtuple("Writable", "fd")
Writable.__doc__ = "A case of select(): a write would not wait, if only to fail."
After = namedtuple("After", "seconds")
After.__doc__ = "A case of select(): so much time has passed since the call."

_OPERATIONS = {kind: number for number, kind in enumerate(
    (Send, Receive, Readable, Writable, After))}


def select(*cases, block=True):
    """Waits until one of the cases is possible, and carries out one that is, chosen by lot.

    Returns its index, and for a Receive what was received, else None. With block=False it
    returns (None, None) if no case is possible now."""
    described = []
    for case in cases:
        operation = _OPERATIONS.get(type(case))
        if operation is None:
            raise TypeError("a case is a Send, Receive, Readable, Writable or After, not %r" %
                            (case,))
        described.append((operation, case[0], case[-1]))
    return _io.select(tuple(described), block)
