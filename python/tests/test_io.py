# SPDX-License-Identifier: MIT
#
# weft.io: each call waits with its tasklet and never with its thread, and nothing that was
# moved is lost.
import errno
import gc
import math
import os
import pathlib
import signal
import socket
import sys
import threading
import time
import unittest

import stackless
from stackless import TaskletExit
from support import run_script
from weft import io


def run():
    """Until all tasklets have ended."""
    stackless.run(threadblock=True)


class Note:
    """What tasklets have said, in their order; and a tasklet whose end is noted."""

    def __init__(self):
        self.all = []

    def __call__(self, what):
        self.all.append(what)

    def result_of(self, function, *arguments):
        def call():
            try:
                self(function(*arguments))
            except BaseException as error:
                self(error)

        return stackless.tasklet(call)()


class Case(unittest.TestCase):
    def pipe(self):
        ends = os.pipe()
        self.addCleanup(self.close, *ends)
        return ends

    def socketpair(self):
        pair = socket.socketpair()
        for end in pair:
            self.addCleanup(end.close)
        return pair

    def close(self, *fds):
        for fd in fds:
            try:
                os.close(fd)
            except OSError:
                pass

    def listener(self, address="127.0.0.1:0"):
        server = io.listen(address)
        self.addCleanup(server.close)
        return server


class Bytes(Case):
    def test_a_reader_lets_others_run(self):
        r, w = self.pipe()
        note = Note()
        note.result_of(io.read, r, 100)
        stackless.tasklet(note)("others")
        stackless.run()
        self.assertEqual(note.all, ["others"])
        self.assertEqual(io.write(w, b"hello"), 5)
        run()
        self.assertEqual(note.all, ["others", b"hello"])

    def test_the_end_is_empty(self):
        r, w = self.pipe()
        os.close(w)
        self.assertEqual(io.read(r, 10), b"")

    def test_nothing_can_be_asked_for(self):
        a, b = self.socketpair()
        self.assertEqual(io.read(a, 0), b"")
        self.assertEqual(io.write(a, b""), 0)

    def test_sockets_and_flags(self):
        a, b = self.socketpair()
        self.assertEqual(io.send(a, b"hello"), 5)
        self.assertEqual(io.recv(b, 100, socket.MSG_PEEK), b"hello")
        self.assertEqual(io.recv(b, 2), b"he")
        self.assertEqual(io.recv(b, 100), b"llo")
        with self.assertRaises(BlockingIOError):
            io.recv(b, 1, socket.MSG_DONTWAIT)

    def test_into_buffers(self):
        a, b = self.socketpair()
        buffer = bytearray(b"........")
        io.send(a, memoryview(b"abcdef")[1:4])
        self.assertEqual(io.recv_into(b, memoryview(buffer)[2:]), 3)
        self.assertEqual(buffer, b"..bcd...")
        io.write(a, bytearray(b"xy"))
        self.assertEqual(io.readinto(b, buffer), 2)
        self.assertEqual(buffer, b"xybcd...")

    def test_files(self):
        with open(__file__, "rb") as file:
            self.assertEqual(io.read_full(file, 1 << 20), pathlib.Path(__file__).read_bytes())
            self.assertEqual(file.read(), b"")

    def test_full_goes_on_until_the_end(self):
        a, b = self.socketpair()
        note = Note()
        note.result_of(lambda: [io.recv_full(b, 6) for _ in range(3)])
        for piece in (b"ab", b"cdef", b"gh"):
            stackless.run()
            io.send(a, piece)
        a.shutdown(socket.SHUT_WR)
        run()
        self.assertEqual(note.all, [[b"abcdef", b"gh", b""]])

    def test_more_than_there_is_room_for(self):
        for write, read, ends in ((io.write_full, io.read_full, self.pipe()[::-1]),
                                  (io.send_full, io.recv_full, self.socketpair())):
            data = os.urandom(1 << 20)
            note = Note()
            note.result_of(write, ends[0], data)
            self.assertTrue(read(ends[1], len(data)) == data)
            run()
            self.assertEqual(note.all, [len(data)])

    def test_a_buffer_in_use_cannot_be_resized(self):
        a, b = self.socketpair()
        buffer = bytearray(8)
        note = Note()
        note.result_of(io.recv_into, b, buffer)
        stackless.run()
        with self.assertRaises(BufferError):
            buffer.extend(b"more")
        io.send(a, b"abc")
        run()
        buffer.extend(b"more")
        self.assertEqual(note.all, [3])
        self.assertEqual(buffer, b"abc\0\0\0\0\0more")

    def test_a_buffer_lives_as_long_as_its_call(self):
        class Block(bytearray):
            pass

        r, w = self.pipe()
        size = 1 << 20
        note = Note()
        note.result_of(lambda: io.write_full(w, Block(b"x" * size)))
        stackless.run()
        gc.collect()
        self.assertEqual(io.read_full(r, size), b"x" * size)
        run()
        self.assertEqual(note.all, [size])

    def test_wrong_arguments(self):
        r, w = self.pipe()
        for error, call, arguments in (
                (ValueError, io.read, (r, -1)),
                (OverflowError, io.read, (r, 1 << 80)),
                (MemoryError, io.read, (r, sys.maxsize // 2)),
                (TypeError, io.read, (r, "1")),
                (TypeError, io.read, (r,)),
                (TypeError, io.read, (r, 1, 1)),
                (TypeError, io.recv, (r, 1, 1, 1)),
                (TypeError, io.read, ("r", 1)),
                (BufferError, io.readinto, (r, b"constant")),
                (TypeError, io.readinto, (r, 1)),
                (TypeError, io.write, (w, "text"))):
            with self.subTest(call=call, arguments=arguments):
                with self.assertRaises(error):
                    call(*arguments)

    def test_errors_are_those_of_the_system(self):
        r, w = self.pipe()
        closed = socket.socket()
        closed.close()
        for number, call in ((errno.EBADF, lambda: io.read(w, 1)),
                             (errno.EBADF, lambda: io.read(-1, 1)),
                             (errno.EBADF, lambda: io.recv(closed, 1)),
                             (errno.EBADF, lambda: io.recv_full(closed, 1)),
                             (errno.EBADF, lambda: io.send(closed, b"x")),
                             (errno.EBADF, lambda: io.accept(closed)),
                             (errno.EBADF, lambda: io.connect(closed, ("127.0.0.1", 1))),
                             (errno.EBADF, lambda: io.select(io.Readable(closed))),
                             (errno.ENOTSOCK, lambda: io.recv(r, 1))):
            with self.assertRaises(OSError) as caught:
                call()
            self.assertEqual(caught.exception.errno, number)
        a, b = self.socketpair()
        b.close()
        with self.assertRaises(BrokenPipeError):
            io.send(a, b"x")

    def test_a_file_that_is_closed_says_so(self):
        with open(os.devnull, "rb") as f:
            pass
        with self.assertRaisesRegex(ValueError, "closed file"):
            io.read(f, 1)

    def test_for_no_bytes_nobody_waits(self):
        a, b = self.socketpair()
        for call in io.read, io.read_full, io.recv, io.recv_full:
            self.assertEqual(call(a, 0), b"")
        for call in io.readinto, io.recv_into:
            self.assertEqual(call(a, bytearray()), 0)
        for call in io.write, io.write_full, io.send, io.send_full:
            self.assertEqual(call(a, b""), 0)


class Connections(Case):
    def check(self, server, client, address):
        note = Note()
        note.result_of(io.connect, client, address)
        stackless.run()
        self.assertIn(note.all, [[], [None]])
        connection, peer = io.accept(server)
        self.addCleanup(connection.close)
        run()
        self.assertEqual(note.all, [None])
        self.assertEqual(peer, client.getsockname())
        self.assertEqual(connection.family, server.family)
        self.assertEqual(connection.type, server.type)
        self.assertFalse(os.get_inheritable(connection.fileno()))
        io.send(client, b"hello")
        self.assertEqual(connection.recv(10), b"hello")

    def client(self, family):
        client = socket.socket(family)
        self.addCleanup(client.close)
        return client

    def test_inet(self):
        server = self.listener()
        self.check(server, self.client(socket.AF_INET), server.getsockname())

    def test_inet6(self):
        try:
            server = self.listener("[::1]:0")
        except OSError as error:
            self.skipTest("no IPv6: %s" % error)
        self.check(server, self.client(socket.AF_INET6), server.getsockname())

    def test_unix(self):
        name = "weft-test-%d" % os.getpid()
        server = self.listener("unix:@" + name)
        self.check(server, self.client(socket.AF_UNIX), "\0" + name)
        client = self.client(socket.AF_UNIX)
        client.bind(b"\0" + name.encode() + b"-client")
        self.check(server, client, b"\0" + name.encode())

    def test_a_name_is_looked_up(self):
        server = self.listener()
        self.check(server, self.client(socket.AF_INET), ("localhost", server.getsockname()[1]))

    def test_dial(self):
        server = self.listener()
        note = Note()
        note.result_of(io.dial, "%s:%d" % server.getsockname())
        connection, peer = io.accept(server)
        run()
        self.assertEqual(note.all[0].getsockname(), peer)
        note.all[0].close()
        connection.close()

    def test_nobody_listens(self):
        server = self.listener()
        address = server.getsockname()
        server.close()
        with self.assertRaises(ConnectionRefusedError):
            io.connect(self.client(socket.AF_INET), address)
        with self.assertRaises(ConnectionRefusedError):
            io.dial("%s:%d" % address)

    def test_wrong_addresses(self):
        for address in ("nowhere", "host:port:1", "unix:", ""):
            with self.subTest(address), self.assertRaisesRegex(ValueError, "the address '%s'" % address):
                io.dial(address)
        client = self.client(socket.AF_INET)
        for error, address in ((TypeError, "127.0.0.1"), (OverflowError, ("127.0.0.1", 65536)),
                               (TypeError, ("127.0.0.1",)), (OSError, ("no host", 1))):
            with self.subTest(address), self.assertRaises(error):
                io.connect(client, address)
        with self.assertRaises(OSError):
            io.connect(self.client(socket.AF_UNIX), "x" * 200)

    # None of these asks a server of names.
    def test_what_is_not_known_is_named(self):
        client = self.client(socket.AF_INET)
        for call, what in ((io.dial, "127.0.0.1:no-such-service"),
                           (io.listen, "127.0.0.1:no-such-service"),
                           (lambda host: io.connect(client, (host, 1)), "no host")):
            with self.subTest(what):
                with self.assertRaisesRegex(socket.gaierror, what) as caught:
                    call(what)
                self.assertEqual(caught.exception.errno, socket.EAI_NONAME)
        for call, error, what in ((io.dial, FileNotFoundError, "unix:/no/socket"),
                                  (io.listen, FileNotFoundError, "unix:/no/folder/socket"),
                                  (io.listen, OSError, "192.0.2.1:0")):
            with self.subTest(what), self.assertRaisesRegex(error, what):
                call(what)

    def test_an_acceptor_lets_others_run(self):
        server = self.listener()
        note = Note()
        note.result_of(io.accept, server)
        stackless.tasklet(note)("others")
        stackless.run()
        self.assertEqual(note.all, ["others"])
        client = self.client(socket.AF_INET)
        client.connect(server.getsockname())
        run()
        note.all[1][0].close()

    def test_a_descriptor_will_do(self):
        server = self.listener()
        client = self.client(socket.AF_INET)
        client.connect(server.getsockname())
        connection, peer = io.accept(server.fileno())
        self.assertEqual(peer, client.getsockname())
        connection.close()

    def test_a_tasklet_per_connection(self):
        server = self.listener()
        n = 100

        def serve(connection):
            with connection:
                while data := io.recv(connection, 100):
                    io.send_full(connection, data)

        def accept():
            for _ in range(n):
                stackless.tasklet(serve)(io.accept(server)[0])

        def ask(number):
            with io.dial("%s:%d" % server.getsockname()) as connection:
                for turn in range(5):
                    text = b"%d %d" % (number, turn)
                    io.send_full(connection, text)
                    note(io.recv_full(connection, len(text)) == text)

        note = Note()
        stackless.tasklet(accept)()
        for number in range(n):
            stackless.tasklet(ask)(number)
        run()
        self.assertEqual(note.all, [True] * 5 * n)

    def test_close_ends_what_waits(self):
        a, b = self.socketpair()
        note = Note()
        note.result_of(io.recv, a, 10)
        stackless.run()
        io.close(a)
        run()
        self.assertEqual(note.all[0].errno, errno.ECANCELED)
        self.assertEqual(a.fileno(), -1)
        io.close(a)
        self.assertEqual(io.recv(b, 1), b"")
        with self.assertRaises(OSError):
            io.close(1 << 20)


class Time(Case):
    def test_sleepers_wake_in_order(self):
        note = Note()

        def sleep(seconds):
            io.sleep(seconds)
            note(seconds)

        for seconds in (0.03, 0.01, 0.02, 0):
            stackless.tasklet(sleep)(seconds)
        run()
        self.assertEqual(note.all, [0, 0.01, 0.02, 0.03])

    def test_a_sleep_is_no_shorter(self):
        began = time.monotonic()
        io.sleep(0.02)
        self.assertGreaterEqual(time.monotonic() - began, 0.02)

    def test_wrong_times(self):
        for error, value in ((ValueError, math.nan), (TypeError, "1"), (TypeError, None)):
            with self.assertRaises(error):
                io.sleep(value)
            with self.assertRaises(error):
                io.deadline(value)
        for value in (-1, -math.inf, -1e300):
            io.sleep(value)

    def test_for_ever_can_be_killed(self):
        note = Note()
        tasklets = [note.result_of(io.sleep, forever) for forever in (math.inf, 1e300, 1e10)]
        stackless.run()
        for t in tasklets:
            t.kill()
        run()
        self.assertEqual([type(error) for error in note.all], [TaskletExit] * 3)


class Deadlines(Case):
    def test_io_is_limited(self):
        r, w = self.pipe()
        with io.deadline(0.01) as d:
            with self.assertRaises(TimeoutError) as caught:
                io.read(r, 1)
        self.assertEqual(caught.exception.errno, errno.ETIMEDOUT)
        self.assertTrue(d.expired)
        os.write(w, b"x")
        self.assertEqual(io.read(r, 1), b"x")

    def test_other_calls_are_limited(self):
        for call in (stackless.channel().receive, lambda: io.sleep(math.inf),
                     lambda: io.select(io.Receive(stackless.channel()))):
            with io.deadline(0.001), self.assertRaises(TimeoutError):
                call()

    def test_one_that_has_passed(self):
        r, w = self.pipe()
        os.write(w, b"x")
        with io.deadline(0), self.assertRaises(TimeoutError):
            io.read(r, 1)
        self.assertEqual(io.read(r, 1), b"x")

    def test_one_that_does_not_pass(self):
        for seconds in (3600, math.inf):
            with io.deadline(seconds) as d:
                io.sleep(0)
            self.assertFalse(d.expired)

    def test_the_earliest_counts(self):
        with io.deadline(3600) as outer:
            with io.deadline(0.001) as inner, self.assertRaises(TimeoutError):
                io.sleep(3600)
            self.assertTrue(inner.expired)
            io.sleep(0)
        self.assertFalse(outer.expired)
        with io.deadline(0.001) as outer, self.assertRaises(TimeoutError):
            with io.deadline(3600) as inner:
                io.sleep(3600)
        self.assertFalse(inner.expired)
        self.assertTrue(outer.expired)

    def test_each_tasklet_has_its_own(self):
        note = Note()

        def limited():
            with io.deadline(0.001):
                io.sleep(3600)

        note.result_of(limited)
        note.result_of(io.sleep, 0.005)
        run()
        self.assertEqual([type(what) for what in note.all], [TimeoutError, type(None)])

    def test_it_is_for_one_with(self):
        d = io.deadline(1)
        with d:
            with self.assertRaises(RuntimeError):
                d.__enter__()
        with self.assertRaises(RuntimeError):
            d.__enter__()
        d.__exit__(None, None, None)

    def test_another_tasklet_cannot_end_it(self):
        held = stackless.channel()

        def limited():
            with io.deadline(3600) as d:
                held.send(d)
                held.receive()

        stackless.tasklet(limited)()
        d = held.receive()
        with self.assertRaises(RuntimeError):
            d.__exit__(None, None, None)
        held.send(None)
        run()

    def test_a_generator_left_behind(self):
        left = []

        def limited():
            with io.deadline(3600):
                yield

        def leave():
            left.append(limited())
            next(left[0])

        stackless.tasklet(leave)()
        run()
        left[0].close()
        io.sleep(0)


class Interruption(Case):
    def test_a_kill_takes_nothing(self):
        r, w = self.pipe()
        note = Note()
        t = note.result_of(io.read, r, 100)
        stackless.run()
        t.kill()
        self.assertIsInstance(note.all[0], TaskletExit)
        os.write(w, b"still there")
        self.assertEqual(os.read(r, 100), b"still there")

    def test_an_exception_comes_out_of_the_call(self):
        a, b = self.socketpair()
        note = Note()
        for arguments in ((io.recv, a, 1), (io.sleep, 3600), (io.accept, self.listener()),
                          (io.select, io.Readable(a))):
            t = note.result_of(*arguments)
            stackless.run()
            t.throw(KeyError, "thrown")
            self.assertIsInstance(note.all[-1], KeyError)
            self.assertEqual(note.all[-1].args, ("thrown",))
        self.assertEqual(len(note.all), 4)

    def test_no_byte_is_lost(self):
        r, w = self.pipe()
        got, sent = [], 0

        def read():
            try:
                while True:
                    got.append(io.read(r, 100))
            except TaskletExit:
                pass

        for turn in range(300):
            t = stackless.tasklet(read)()
            stackless.run()
            sent += os.write(w, b"x" * (turn % 7 + 1))
            if turn % 2:
                t.kill()
            else:
                t.kill(pending=True)
            run()
            self.assertFalse(t.alive)
        os.set_blocking(r, False)
        try:
            got.append(os.read(r, 1 << 20))
        except BlockingIOError:
            pass
        self.assertEqual(sum(map(len, got)), sent)

    def test_no_connection_is_lost(self):
        server = self.listener()
        got = []

        def accept():
            while True:
                got.append(io.accept(server)[0])

        clients = []
        for _ in range(50):
            t = stackless.tasklet(accept)()
            stackless.run()
            clients.append(socket.create_connection(server.getsockname()))
            t.kill()
            run()
        server.setblocking(False)
        try:
            while True:
                got.append(server.accept()[0])
        except BlockingIOError:
            pass
        self.assertEqual(sorted(connection.getpeername() for connection in got),
                         sorted(client.getsockname() for client in clients))
        for end in got + clients:
            end.close()

    def test_what_was_done_is_returned(self):
        r, w = self.pipe()
        note = Note()

        def write():
            try:
                note(io.write_full(w, b"x" * (1 << 20)))
                io.sleep(0)
            except KeyError as error:
                note(error)

        t = stackless.tasklet(write)()
        stackless.run()
        t.throw(KeyError)
        run()
        moved, error = note.all
        self.assertIsInstance(error, KeyError)
        os.close(w)
        self.assertEqual(len(io.read_full(r, 2 << 20)), moved)

    def test_ctrl_c(self):
        r, w = self.pipe()
        kill = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGINT))
        before = signal.signal(signal.SIGINT, signal.default_int_handler)
        try:
            with self.assertRaises(KeyboardInterrupt):
                kill.start()
                io.read(r, 1)
        finally:
            signal.signal(signal.SIGINT, before)
            kill.join()

    def test_a_signal_that_is_handled_ends_no_call(self):
        r, w = self.pipe()
        calls = []

        def handle(number, frame):
            calls.append(number)
            os.write(w, b"x")

        kill = threading.Timer(0.05, os.kill, (os.getpid(), signal.SIGUSR1))
        before = signal.signal(signal.SIGUSR1, handle)
        try:
            kill.start()
            self.assertEqual(io.read(r, 1), b"x")
        finally:
            signal.signal(signal.SIGUSR1, before)
            kill.join()
        self.assertEqual(calls, [signal.SIGUSR1])

    def test_references(self):
        a, b = self.socketpair()
        buffer, data = bytearray(10), b"data that nobody else has"

        def wait():
            io.recv_into(b, buffer)

        def count():
            gc.collect()
            return [sys.getrefcount(thing) for thing in
                    (a, b, buffer, data, wait, None, io.recv_into)]

        def turn():
            t = stackless.tasklet(wait)()
            stackless.run()
            t.kill()
            io.send(a, data)
            io.recv(b, 100)

        turn()
        before = count()
        for _ in range(500):
            turn()
        after = count()
        for old, new in zip(before, after):
            self.assertLess(abs(new - old), 50)


class Traps(Case):
    def test_a_tasklet_that_must_not_wait(self):
        r, w = self.pipe()
        t = stackless.getcurrent()
        t.block_trap = True
        try:
            for call in (lambda: io.read(r, 1), lambda: io.sleep(1),
                         lambda: io.select(io.Readable(r))):
                with self.assertRaisesRegex(RuntimeError, "does not like to be blocked"):
                    call()
            os.write(w, b"x")
            self.assertEqual(io.read(r, 1), b"x")
        finally:
            t.block_trap = False
        stackless.tasklet(os.write)(w, b"y")
        self.assertEqual(io.read(r, 1), b"y")

    def test_a_switch_trap(self):
        r, w = self.pipe()
        stackless.switch_trap(1)
        try:
            with self.assertRaisesRegex(RuntimeError, "switch_trap"):
                io.read(r, 1)
        finally:
            stackless.switch_trap(-1)


class Threads(Case):
    def test_a_thread_that_waits_has_no_lock(self):
        """Others can run Python meanwhile; they are what it waits for."""
        r, w = self.pipe()
        thread = threading.Timer(0.01, os.write, (w, b"x"))
        thread.start()
        self.assertEqual(io.read(r, 1), b"x")
        thread.join()

    def test_each_thread_has_its_own(self):
        note = Note()

        def work():
            a, b = socket.socketpair()
            with a, b:
                stackless.tasklet(io.send)(a, b"hello")
                note(io.recv(b, 100))

        threads = [threading.Thread(target=work) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(note.all, [b"hello"] * 4)


class Ends(Case):
    def test_the_interpreter_ends(self):
        self.assertEqual(run_script("""
import os, socket, stackless
from weft import io
r, w = os.pipe()
a, b = (end.detach() for end in socket.socketpair())
def wait(call, *arguments):
    try:
        call(*arguments)
    finally:
        os.write(2, b"ended\\n")
server = io.listen("127.0.0.1:0").detach()
for arguments in ((io.read, r, 100), (io.recv_into, a, bytearray(100)), (io.accept, server),
                  (io.sleep, 3600), (io.select, io.Readable(r))):
    stackless.tasklet(wait)(*arguments)
stackless.run()
print("end", flush=True)
"""), "end\n" + 5 * "ended\n")

    def test_a_thread_ends(self):
        r, w = self.pipe()
        note = Note()

        def work():
            for arguments in ((io.read, r, 100), (io.sleep, 3600), (io.select, io.Readable(r))):
                note.result_of(*arguments)
            stackless.run()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        self.assertEqual([type(error) for error in note.all], [TaskletExit] * 3)
        os.write(w, b"x")
        self.assertEqual(io.read(r, 100), b"x")

    def test_a_daemon_is_left_behind(self):
        run_script("""
import threading
from weft import io
threading.Thread(target=io.sleep, args=(3600,), daemon=True).start()
io.sleep(0.01)
""")

    def test_a_child_of_fork(self):
        self.assertEqual(run_script("""
import os, stackless
from weft import io
r, w = os.pipe()
def wait():
    try:
        print(io.read(r, 100), flush=True)
    except OSError as error:
        print(type(error).__name__, error.errno, flush=True)
stackless.tasklet(wait)()
stackless.run()
child = os.fork()
if child == 0:
    stackless.run(threadblock=True)
    a, b = os.pipe()
    os.write(b, b"a byte")
    print(io.read(a, 100), flush=True)
    os._exit(0)
os.waitpid(child, 0)
os.write(w, b"of the parent's")
stackless.run(threadblock=True)
"""), "OSError %d\nb'a byte'\nb\"of the parent's\"\n" % errno.ECANCELED)


class Select(Case):
    def test_a_value_that_is_sent(self):
        first, second = stackless.channel(), stackless.channel()
        note = Note()
        note.result_of(io.select, io.Receive(first), io.Receive(second))
        stackless.run()
        second.send("value")
        run()
        self.assertEqual(note.all, [(1, "value")])
        self.assertEqual((first.balance, second.balance), (0, 0))

    def test_a_value_that_is_received(self):
        first, second = stackless.channel(), stackless.channel()
        note = Note()
        note.result_of(io.select, io.Send(first, "a"), io.Send(second, "b"))
        stackless.run()
        self.assertEqual(second.receive(), "b")
        run()
        self.assertEqual(note.all, [(1, None)])
        self.assertEqual((first.balance, second.balance), (0, 0))

    def test_one_that_waits_already(self):
        channel = stackless.channel()
        note = Note()
        stackless.tasklet(channel.send)("value")
        stackless.run()
        self.assertEqual(io.select(io.Receive(channel)), (0, "value"))
        note.result_of(channel.receive)
        stackless.run()
        self.assertEqual(io.select(io.Send(channel, "other")), (0, None))
        run()
        self.assertEqual(note.all, ["other"])

    def test_an_exception_is_received(self):
        channel = stackless.channel()
        stackless.tasklet(channel.send_exception)(KeyError, "sent")
        with self.assertRaises(KeyError):
            io.select(io.Receive(channel), io.After(3600))
        run()

    def test_descriptors(self):
        r, w = self.pipe()
        self.assertEqual(io.select(io.Readable(r), io.Writable(w)), (1, None))
        note = Note()
        note.result_of(io.select, io.After(3600), io.Readable(r))
        stackless.run()
        os.write(w, b"x")
        run()
        self.assertEqual(note.all, [(1, None)])
        a, b = self.socketpair()
        self.assertEqual(io.select(io.Writable(a)), (0, None))

    def test_time(self):
        channel = stackless.channel()
        r, w = self.pipe()
        self.assertEqual(io.select(io.Receive(channel), io.After(0.01), io.Readable(r)), (1, None))
        self.assertEqual(io.select(io.After(-1)), (0, None))

    def test_without_waiting(self):
        channel = stackless.channel()
        r, w = self.pipe()
        cases = io.Receive(channel), io.Readable(r), io.Send(channel, 1), io.After(3600)
        self.assertEqual(io.select(*cases, block=False), (None, None))
        self.assertEqual(io.select(block=False), (None, None))
        os.write(w, b"x")
        self.assertEqual(io.select(*cases, block=False), (1, None))

    def test_wrong_cases(self):
        for case in (1, (1, 2, 3), io.Receive(1), io.Send("channel", 1), io.Readable("fd"),
                     io.After("soon")):
            with self.subTest(case), self.assertRaises(TypeError):
                io.select(case)
        for fd in (-1, 1 << 20):
            with self.subTest(fd), self.assertRaises(OSError):
                io.select(io.Writable(fd))

    def test_a_closed_channel(self):
        channel = stackless.channel()
        channel.close()
        for case in (io.Receive(channel), io.Send(channel, 1)):
            with self.assertRaises(ValueError):
                io.select(case)
        channel.open()
        stackless.tasklet(channel.send)("value")
        stackless.run()
        channel.close()
        self.assertEqual(io.select(io.Receive(channel)), (0, "value"))

    def test_collection_beside_one_that_waits(self):
        """It waits in two channels, and is one tasklet."""
        channels = stackless.channel(), stackless.channel()
        note = Note()
        note.result_of(io.select, *map(io.Receive, channels))
        stackless.run()
        for _ in range(3):
            gc.collect()
        channels[1].send("value")
        run()
        self.assertEqual(note.all, [(1, "value")])

    def test_a_kill_passes_nothing(self):
        channel = stackless.channel()
        note = Note()
        t = note.result_of(io.select, io.Receive(channel), io.Send(channel, "value"))
        stackless.run()
        t.kill()
        self.assertIsInstance(note.all[0], TaskletExit)
        self.assertEqual(channel.balance, 0)

    def test_references(self):
        channel, other = stackless.channel(), stackless.channel()
        value = object()

        def turn(cases):
            t = stackless.tasklet(io.select)(*cases)
            stackless.run()
            return t

        before = sys.getrefcount(value)
        for _ in range(200):
            turn([io.Send(channel, value), io.Receive(other)]).kill()
            turn([io.Send(channel, value), io.Send(other, value)])
            self.assertIs(channel.receive(), value)
            turn([io.Receive(channel), io.Send(other, value)])
            channel.send(value)
            run()
        gc.collect()
        self.assertLess(abs(sys.getrefcount(value) - before), 10)

    def test_between_threads(self):
        channel = stackless.channel()
        thread = threading.Thread(target=lambda: [channel.send(i) for i in range(200)])
        thread.start()
        got = [io.select(io.Receive(channel), io.After(3600)) for _ in range(200)]
        thread.join()
        self.assertEqual(got, [(0, i) for i in range(200)])


class Neighbours(Case):
    def test_asyncio_is_left_alone(self):
        import asyncio

        async def main():
            a, b = socket.socketpair()
            with a, b:
                a.setblocking(False)
                b.setblocking(False)
                loop = asyncio.get_running_loop()
                await loop.sock_sendall(a, b"hello")
                return await loop.sock_recv(b, 100)

        stackless.tasklet(io.sleep)(0.001)
        self.assertEqual(asyncio.run(main()), b"hello")
        run()


if __name__ == "__main__":
    unittest.main()
