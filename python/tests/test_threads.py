# SPDX-License-Identifier: MIT
#
# A scheduler for each thread, channels between threads (rule R8), threads that end,
# fork, signals.
import _thread
import gc
import os
import signal
import sys
import threading
import time
import traceback
import unittest
import weakref

import stackless

from support import UNDER_VALGRIND, TestCase, run_script


class Remote:
    """A thread that runs what it is sent, until it is sent None."""

    def __init__(self):
        self.orders = stackless.channel()
        self.results = stackless.channel()
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def work(self):
        for order in iter(self.orders.receive, None):
            try:
                result = order()
            except BaseException:
                self.results.send_throw(*sys.exc_info())
            else:
                self.results.send(result)

    def do(self, order):
        self.orders.send(order)
        return self.results.receive()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.orders.send(None)
        self.thread.join()


class Schedulers(TestCase):
    def test_each_thread_has_one(self):
        self.spawn(len, "")
        with Remote() as r:
            self.assertEqual(r.do(stackless.getruncount), 1)
            self.assertIsNot(r.do(stackless.getmain), stackless.main)
            self.assertEqual(r.do(lambda: stackless.current.thread_id), r.thread.ident)
            self.assertEqual(stackless.main.thread_id, _thread.get_ident())
        stackless.run()

    def test_lists(self):
        with Remote() as r:
            main = r.do(stackless.getmain)
            self.assertEqual(stackless.threads, [_thread.get_ident(), r.thread.ident])
            self.assertEqual(stackless.get_thread_info(r.thread.ident)[0], main)
            self.assertEqual(
                stackless.get_thread_info(), (stackless.main, stackless.current, 1)
            )
        self.assertRaisesRegex(RuntimeError, "not found", stackless.get_thread_info, 12345)

    def test_one_that_never_used_the_module(self):
        go = threading.Event()
        t = threading.Thread(target=go.wait)
        t.start()
        self.assertEqual(stackless.get_thread_info(t.ident), (None, None, 0))
        self.assertEqual(stackless.get_thread_info(t.ident, 1 << 31), (None, None, 0, None))
        go.set()
        t.join()


class Channels(TestCase):
    def test_r8_waking_does_not_switch(self):
        c = stackless.channel()
        with Remote() as r:
            t = r.do(lambda: stackless.tasklet(lambda: self.log.append(c.receive()))())
            r.do(stackless.run)
            self.assertTrue(t.blocked)
            c.send(1)
            self.log.append("sent")
            r.do(stackless.run)
        self.assertEqual(self.log, ["sent", 1])

    def test_many(self):
        n, c = 2000, stackless.channel()

        def send():
            for i in range(n):
                c.send(i)

        threads = [threading.Thread(target=send) for _ in range(3)]
        for t in threads:
            t.start()
        total = sum(c.receive() for _ in range(3 * n))
        for t in threads:
            t.join()
        self.assertEqual(total, 3 * sum(range(n)))

    def test_no_deadlock_while_a_thread_can_still_come(self):
        c = stackless.channel()

        def late():
            time.sleep(0.02)
            c.send(1)

        t = threading.Thread(target=late)
        t.start()
        self.assertEqual(c.receive(), 1)
        t.join()

    def test_deadlock_of_two(self):
        c = stackless.channel()

        def receive():
            try:
                c.receive()
            except RuntimeError:
                self.log.append("thread")

        t = threading.Thread(target=receive)
        t.start()
        try:
            c.receive()
        except RuntimeError:
            self.log.append("main")
            while t.is_alive():
                try:
                    c.send(None)
                    break
                except RuntimeError:
                    pass
        else:
            self.fail("something was received")
        t.join()
        self.assertIn("main", self.log)

    def test_the_lock_is_released_while_a_thread_sleeps(self):
        c = stackless.channel()
        t = threading.Thread(target=c.receive)
        t.start()
        while c.balance == 0:
            time.sleep(0.001)
        self.log.append(1)
        c.send(None)
        t.join()


class Control(TestCase):
    def remote(self, r, function, *args):
        def make():
            t = stackless.tasklet(function)(*args)
            return t.remove()

        return r.do(make)

    def test_insert_and_run(self):
        with Remote() as r:
            ts = [self.remote(r, self.log.append, i) for i in range(3)]
            self.assertTrue(ts[0].paused)
            ts[1].insert()
            ts[2].insert()
            ts[0].run()
            self.assertTrue(ts[0].scheduled)
            self.assertRaisesRegex(RuntimeError, "different thread", ts[0].switch)
            r.do(stackless.run)
        self.assertEqual(sorted(self.log), [0, 1, 2])
        self.assertEqual(stackless.getruncount(), 1)

    def test_remove(self):
        made, go = threading.Event(), threading.Event()
        ts = []

        def work():
            ts.append(stackless.tasklet(self.log.append)(1))
            made.set()
            go.wait()
            stackless.run()

        thread = threading.Thread(target=work)
        thread.start()
        made.wait()
        self.assertTrue(ts[0].scheduled)
        ts[0].remove()
        self.assertTrue(ts[0].paused and not ts[0].scheduled)
        go.set()
        thread.join()
        self.assertEqual(self.log, [])

    def test_throw(self):
        def wait():
            try:
                stackless.channel().receive()
            except KeyError:
                self.log.append("KeyError")

        with Remote() as r:
            t = r.do(lambda: stackless.tasklet(wait)())
            r.do(stackless.run)
            t.throw(KeyError)
            r.do(stackless.run)
            self.assertEqual(self.log, ["KeyError"])
            self.assertFalse(t.alive)

    def test_bind_thread(self):
        with Remote() as r:
            t = self.remote(r, lambda: self.log.append(_thread.get_ident()))
            self.assertIsNone(t.bind_thread())
            self.assertEqual(t.thread_id, _thread.get_ident())
            t.run()
            t = stackless.tasklet(lambda: self.log.append(_thread.get_ident()), ())
            t.bind_thread(r.thread.ident)
            t.insert()
            r.do(stackless.run)
            self.assertEqual(self.log, [_thread.get_ident(), r.thread.ident])
            self.assertRaises(ValueError, t.bind_thread, 12345)
            t = self.spawn(len, "")
            self.assertRaisesRegex(RuntimeError, "runnable", t.bind_thread, r.thread.ident)
            stackless.run()
            t = r.do(lambda: stackless.tasklet(stackless.schedule_remove)())
            r.do(stackless.run)
            self.assertRaisesRegex(RuntimeError, "C state", t.bind_thread)

    def test_trace_function_of_a_foreign_current(self):
        with Remote() as r:
            main = stackless.main

            def set_it():
                main.trace_function = len

            self.assertRaises(RuntimeError, r.do, set_it)


class Asking(TestCase):
    """What other threads have done is seen by a thread that asks, and never switches."""

    def elsewhere(self, function, *args):
        t = threading.Thread(target=function, args=args)
        t.start()
        t.join()

    def see(self, t, runcount, scheduled):
        self.assertEqual(stackless.getruncount(), runcount)
        self.assertEqual(stackless.get_thread_info()[2], runcount)
        self.assertEqual((t.scheduled, t.paused), (scheduled, not scheduled))
        self.assertIs(stackless.current.next, t if scheduled else stackless.current)
        self.assertIs(stackless.current.prev, t if scheduled else stackless.current)

    def test_send(self):
        c = stackless.channel()
        t = self.spawn(lambda: self.log.append(c.receive()))
        t.run()
        self.assertTrue(t.blocked)
        self.elsewhere(c.send, 1)
        self.assertFalse(t.blocked)
        self.see(t, 2, True)
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_the_first_question_is_answered_rightly(self):
        for ask in (
            lambda t: stackless.getruncount() == 2,
            lambda t: stackless.get_thread_info()[2] == 2,
            lambda t: stackless.get_thread_info(_thread.get_ident())[2] == 2,
            lambda t: not t.blocked,
            lambda t: t.scheduled,
            lambda t: t.next is stackless.current,
            lambda t: stackless.current.prev is t,
        ):
            c = stackless.channel()
            t = self.spawn(c.receive)
            t.run()
            self.elsewhere(c.send, None)
            self.assertTrue(ask(t))
            stackless.run()
        t = self.spawn(stackless.schedule_remove)
        t.run()
        self.elsewhere(t.insert)
        self.assertFalse(t.paused)
        stackless.run()

    def test_channels(self):
        for ask in (
            lambda c: c.balance == 0,
            lambda c: c.queue is None,
            lambda c: c.closed,
        ):
            c = stackless.channel()
            t = self.spawn(c.receive)
            t.run()
            c.close()
            self.assertEqual((c.balance, c.queue, c.closed), (-1, t, False))
            self.elsewhere(t.kill)
            self.assertTrue(ask(c))
            stackless.run()

    def test_insert_and_remove(self):
        for function in stackless.schedule, stackless.schedule_remove:
            for is_begun in False, True:
                t = self.spawn(function)
                if is_begun:
                    t.run()
                t.remove()
                self.see(t, 1, False)
                self.elsewhere(t.insert)
                self.see(t, 2, True)
                self.elsewhere(t.remove)
                self.see(t, 1, False)
                self.elsewhere(t.remove)
                self.elsewhere(t.insert)
                self.elsewhere(t.remove)
                self.elsewhere(t.insert)
                self.see(t, 2, True)
                while t.alive:
                    t.run()
                self.assertEqual(stackless.getruncount(), 1)

    def test_of_a_removed_one_that_has_not_begun_nothing_stays(self):
        for _ in range(3):
            self.elsewhere(self.spawn(self.log.append, 1).remove)
        self.assertEqual(stackless.getruncount(), 1)
        self.spawn(self.log.append, 2)
        self.assertEqual(stackless.getruncount(), 2)
        stackless.run()
        self.assertEqual((self.log, stackless.getruncount()), ([2], 1))

        with Remote() as r:
            t = r.do(lambda: stackless.tasklet(len)(""))
            t.remove()
            self.assertEqual(r.do(stackless.getruncount), 1)
            self.assertEqual(stackless.get_thread_info(r.thread.ident)[2], 1)

    def test_from_a_callback(self):
        c = stackless.channel()
        t = self.spawn(c.receive)
        t.run()
        self.elsewhere(c.send, None)
        self.addCleanup(stackless.set_schedule_callback, None)
        stackless.set_schedule_callback(
            lambda *_: self.log.append((t.scheduled, stackless.getruncount()))
        )
        stackless.schedule()
        stackless.set_schedule_callback(None)
        self.assertTrue(self.log)
        self.assertFalse(t.alive)


class Ending(TestCase):
    def test_tasklets_end_with_their_thread(self):
        def wait():
            try:
                stackless.channel().receive()
            except TaskletExit:
                self.log.append((stackless.main, stackless.current.is_main))
                raise

        def work():
            mains.append(stackless.main)
            ts.append(stackless.tasklet(wait)())
            ts[0].run()
            ts.append(stackless.tasklet(self.log.append)("never"))
            ts.append(stackless.tasklet(stackless.schedule_remove)())
            ts[2].run()

        mains, ts = [], []
        t = threading.Thread(target=work)
        t.start()
        t.join()
        # (The end of a thread goes on for a moment.)
        while any(t.thread_id != -1 for t in ts):
            time.sleep(0.001)
        self.assertEqual(len(self.log), 1)
        self.assertIsNot(self.log[0][0], mains[0])
        self.assertFalse(self.log[0][1])
        for t in ts + mains:
            self.assertEqual((t.alive, t.scheduled, t.thread_id), (False, False, -1))
            self.assertIsNone(t.frame)

    def end_with(self, *functions):
        """Each in a tasklet of a thread that ends as soon as they give way."""
        ts = []

        def work():
            for function in functions:
                ts.append(stackless.tasklet(function)())
                ts[-1].run()

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        while any(t.thread_id != -1 for t in ts):
            time.sleep(0.001)
        return ts

    def until_exit(self, name, call):
        def function():
            try:
                while True:
                    call()
            except TaskletExit:
                self.log.append(name)
                raise

        return function

    def test_all_that_tasklets_can_be_in(self):
        calls = {
            "run": lambda: stackless.main.run(),
            "switch": lambda: stackless.main.switch(),
            "schedule": lambda: stackless.schedule(),
            "remove": lambda: stackless.schedule_remove(),
            "receive": lambda: stackless.channel().receive(),
            "itself": lambda: (stackless.schedule(), stackless.current.run()),
        }
        ts = self.end_with(*(self.until_exit(name, call) for name, call in calls.items()))
        self.assertEqual(sorted(self.log), sorted(calls))
        self.assertFalse(any(t.alive for t in ts))

    def test_methods_afterwards(self):
        ts = []
        t = threading.Thread(target=lambda: ts.append(stackless.tasklet(len)("")))
        t.start()
        t.join()
        t = ts[0]
        while t.thread_id != -1:
            time.sleep(0.001)
        t.bind(None)
        self.assertIs(t.remove(), t)
        t.bind(len)
        self.assertRaisesRegex(RuntimeError, "no thread", t, "")
        self.assertRaises(RuntimeError, t.bind, len, ("",))
        self.assertRaises(RuntimeError, t.insert)
        self.assertRaises(RuntimeError, t.throw, KeyError)
        self.assertRaises(KeyError, t.raise_exception, KeyError)
        self.assertIsNone(t.kill())
        t.bind_thread()
        self.assertEqual(t.thread_id, _thread.get_ident())
        t.bind(self.log.append)(1)
        stackless.run()
        self.assertEqual(self.log, [1])

    def outlive(self, wait):
        """A tasklet that does not end with its thread."""
        is_over = False

        def refuse():
            while not is_over:
                try:
                    wait()
                except TaskletExit:
                    pass

        def work():
            ts.append(stackless.tasklet(refuse)())
            ts[0].trace_function = lambda *args: None
            ts[0].run()

        ts = []
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        while ts[0].thread_id != -1:
            time.sleep(0.001)
        is_over = True
        return ts[0]

    @unittest.skipIf(UNDER_VALGRIND, "its frames stay for ever")
    def test_one_that_refuses_to_end(self):
        c = stackless.channel()
        for wait in (c.receive, stackless.schedule_remove):
            t = self.outlive(wait)
            self.assertFalse(t.alive or t.paused)
            self.assertEqual(t.blocked, wait == c.receive)
            self.assertFalse(t.restorable)
            self.assertGreater(t.nesting_level, 0)
            self.assertEqual(t.recursion_depth, 0)
            for name in ("frame", "next", "prev", "trace_function", "profile_function"):
                self.assertIsNone(getattr(t, name))
            self.assertIsNone(t.context_run(stackless.run))
            self.assertRaisesRegex(RuntimeError, "C state", t.bind, None)
            self.assertRaisesRegex(RuntimeError, "C state", t.bind_thread)
            self.assertRaisesRegex(RuntimeError, "no thread", t.throw, KeyError)
            self.assertRaisesRegex(RuntimeError, "no thread", t.throw, TaskletExit)
            self.assertRaises(RuntimeError, t.run)
            gc.collect()
            self.assertIsNone(t.kill(pending=True))
            self.assertFalse(t.blocked or t.scheduled)
            self.assertIs(t.remove(), t)
            self.assertIsNone(t.throw(TaskletExit))
            self.assertIsNone(t.kill())

    @unittest.skipIf(UNDER_VALGRIND, "its frames stay for ever")
    def test_what_one_that_refuses_leaves(self):
        frames, exits, ts = [], [], []

        def wait(generator):
            for _ in generator:
                pass

        def generate():
            number = 1
            frames.append(sys._getframe())
            while True:
                try:
                    call()
                except TaskletExit as e:
                    exits.append(e)
                yield number

        def work():
            ts.append(stackless.tasklet(wait)(generate()))
            ts[0].run()

        for call in (stackless.schedule_remove, stackless.schedule, stackless.channel().receive):
            thread = threading.Thread(target=work)
            thread.start()
            thread.join()
            while ts[0].thread_id != -1:
                time.sleep(0.001)
            # Its stack is used anew.
            thread = threading.Thread(target=lambda: self.spawn(list, range(100)).run())
            thread.start()
            thread.join()
            gc.collect()
            inner, outer = frames[0], frames[0].f_back
            self.assertEqual(inner.f_locals["number"], 1)
            self.assertEqual(list(outer.f_locals), ["generator", "_"])
            self.assertIsNone(outer.f_back)
            self.assertTrue(1 < len(exits) < 50)
            for e in exits:
                text = "".join(traceback.format_exception(e))
                self.assertIn("in generate", text)
            del frames[:], exits[:], ts[:], inner, outer, e
            gc.collect()

    def test_set_up_on_a_thread_that_has_ended(self):
        t = stackless.tasklet(self.log.append)

        def work():
            t.bind_thread()
            t.bind(args=(1,))

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
        while t.thread_id != -1:
            time.sleep(0.001)
        self.assertFalse(t.alive)
        self.assertRaisesRegex(RuntimeError, "no thread", t.throw, TaskletExit)
        t.bind_thread()
        self.assertTrue(t.alive and t.paused)
        t.run()
        self.assertEqual(self.log, [1])

    def test_one_whose_dictionary_is_kept(self):
        """As gc.get_objects() may do it. The tasklets do not go on, and nothing breaks."""
        run_script(
            """
import ctypes, gc, os, socket, threading, time
import stackless
from weft import io

get_dict = ctypes.pythonapi.PyThreadState_GetDict
get_dict.restype = ctypes.c_void_p

def keep_dict():
    found = ctypes.cast(get_dict(), ctypes.py_object)
    kept.append(found.value)

def wait(function, *args):
    try:
        function(*args)
    finally:
        if is_ending:
            went_on.append(function)

def thread():
    for function, *args in (
        (io.recv, a, 5), (channel.receive,), (stackless.schedule_remove,), (io.sleep, 60),
    ):
        tasklets.append(stackless.tasklet(wait)(function, *args))
    stackless.run()
    tasklets.append(stackless.tasklet(wait)(stackless.schedule))
    tasklets[-1].run()
    tasklets.append(stackless.tasklet(wait)(len, ""))
    frames.extend(t.frame for t in tasklets)
    keep_dict()
    is_ending.append(True)
    b.send(b"hello")

a, b = socket.socketpair()
channel = stackless.channel()
for i in range(6):
    is_ending, went_on, tasklets, frames, kept = [], [], [], [], []
    n_tasks = len(os.listdir("/proc/self/task"))
    t = threading.Thread(target=thread)
    t.start()
    t.join()
    if i % 2:
        kept.clear()
    while len(os.listdir("/proc/self/task")) > n_tasks:
        time.sleep(0.001)
    gc.collect()
    assert kept or i % 2
    assert not went_on, went_on
    assert [f and f.f_code.co_name for f in frames] == ["wait"] * 5 + [None], frames
    assert [t.thread_id for t in tasklets] == [-1] * 6
    assert channel.balance == 0
    a.close(), b.close()
    a, b = socket.socketpair()
""",
            PYTHONMALLOC="debug",
        )

    def test_a_thread_leaves_nothing(self):
        refs = []

        def work():
            t = stackless.tasklet(stackless.schedule)()
            refs.append(weakref.ref(t))
            refs.append(weakref.ref(stackless.main))
            t.run()

        for _ in range(3):
            t = threading.Thread(target=work)
            t.start()
            t.join()
        del t
        while any(r() for r in refs):
            time.sleep(0.001)


class Process(TestCase):
    def interrupt_soon(self):
        def interrupt():
            time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGINT)

        t = threading.Thread(target=interrupt)
        t.start()
        self.addCleanup(t.join)

    def test_ctrl_c_reaches_main(self):
        c = stackless.channel()
        self.interrupt_soon()
        self.assertRaises(KeyboardInterrupt, c.receive)
        self.assertEqual(c.balance, 0)

    def test_ctrl_c_reaches_run(self):
        t = self.spawn(stackless.channel().receive)
        self.interrupt_soon()
        self.assertRaises(KeyboardInterrupt, stackless.run, threadblock=True)
        self.assertTrue(t.blocked)
        t.kill()

    def test_a_handler_that_returns(self):
        c = stackless.channel()
        before = signal.signal(signal.SIGINT, lambda *args: self.log.append(1))
        self.addCleanup(signal.signal, signal.SIGINT, before)

        def send():
            while not self.log:
                os.kill(os.getpid(), signal.SIGINT)
                time.sleep(0.005)
            c.send(2)

        t = threading.Thread(target=send)
        t.start()
        self.assertEqual(c.receive(), 2)
        t.join()

    @unittest.skipUnless(hasattr(os, "fork"), "no fork")
    def test_fork(self):
        out = run_script(
            """if True:
            import os, stackless, threading
            c = stackless.channel()
            other = threading.Thread(target=c.receive)
            other.start()
            while c.balance == 0:
                pass
            t = stackless.tasklet(print)("tasklet", flush=True)
            pid = os.fork()
            if pid == 0:
                print(len(stackless.threads), stackless.runcount, flush=True)
                stackless.run()
                os._exit(3)
            print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)
            stackless.run()
            c.send(None)
            other.join()
            """,
            PYTHONWARNINGS="ignore",
        )
        self.assertEqual(out.split("\n"), ["1 2", "tasklet", "3", "tasklet", ""])

    def test_the_end(self):
        out = run_script(
            """if True:
            import stackless, sys, threading
            def wait(name):
                try:
                    stackless.channel().receive()
                finally:
                    print(name, flush=True)
            def work():
                stackless.tasklet(wait)("theirs").run()
                ready.set()
                wait("daemon")
            ready = threading.Event()
            threading.Thread(target=work, daemon=True).start()
            ready.wait()
            mine = stackless.tasklet(wait)("mine")
            mine.run()
            unrun = stackless.tasklet(print)("unrun")
            paused = stackless.tasklet(stackless.schedule_remove)()
            paused.run()
            """
        )
        self.assertEqual(sorted(out.split()), ["daemon", "mine", "theirs"])

    def test_a_thread_that_is_stopped_at_the_end(self):
        """The interpreter has forgotten a daemon when that wants its lock again, and is
        stopped: nothing of its tasklets' may run any more. An object's destructor sleeps
        meanwhile, without the lock."""
        for kind in (
            "stackless.getcurrent()",
            "stackless.tasklet(stackless.main.switch)().run()",
            "stackless.tasklet(c.receive)().run()",
            "stackless.tasklet(c.receive)().run(); c.send(1)",
            "stackless.tasklet(c.send)(1).run(); c.receive()",
            "stackless.tasklet(stackless.schedule)().run()",
            "stackless.tasklet(print)()",
            "t = stackless.tasklet(stackless.main.switch)(); t.run()",
            "t = stackless.tasklet(stackless.main.switch)(); t.run(); t.insert()",
        ):
            with self.subTest(kind):
                run_script(
                    """if True:
                    import _thread, builtins, stackless, time
                    ready, lock = _thread.allocate_lock(), _thread.allocate_lock()
                    ready.acquire()
                    lock.acquire()
                    def thread():
                        c = stackless.channel()
                        c.preference = 1
                        {0}
                        ready.release()
                        lock.acquire()
                    class Last:
                        def __del__(self, release=lock.release, sleep=time.sleep):
                            release()
                            sleep(0.05)
                    _thread.start_new_thread(thread, ())
                    ready.acquire()
                    builtins._ = Last()
                    """.format(kind)
                )

    def test_the_end_while_a_thread_runs(self):
        for call in ("stackless.current.next.run", "stackless.schedule"):
            for n in (0, 1):
                with self.subTest(call, n=n):
                    out = run_script(
                        """if True:
                        import stackless, sys, _thread
                        def loop(name):
                            try:
                                while True:
                                    {0}()
                            finally:
                                print(name, flush=True)
                        def work():
                            for _ in range({1}):
                                stackless.tasklet(loop)("theirs").run()
                            ready.release()
                            loop("main")
                        ready = _thread.allocate_lock()
                        ready.acquire()
                        _thread.start_new_thread(work, ())
                        ready.acquire()
                        """.format(call, n)
                    )
                    self.assertEqual(out.split(), ["main", "theirs"][: n + 1])

    def test_exit_in_a_tasklet(self):
        run_script(
            "import stackless, sys; stackless.tasklet(sys.exit)(7); stackless.run()", status=7
        )

    def test_exit_in_a_tasklet_reaches_main(self):
        out = run_script(
            """if True:
            import stackless, sys
            def leave():
                try:
                    sys.exit(7)
                finally:
                    print("left")
            def other():
                try:
                    stackless.schedule_remove()
                finally:
                    print("other")
            waits = stackless.tasklet(other)()
            stackless.tasklet(leave)()
            try:
                stackless.run()
            except TaskletExit as e:
                print("main", e.code)
                sys.exit(8)
            """,
            status=8,
        )
        self.assertEqual(out.split(), ["left", "main", "7", "other"])

    def test_exit_is_taken_up_again(self):
        run_script(
            """if True:
            import stackless, sys
            t = stackless.tasklet(sys.exit)(7)
            try:
                stackless.run()
            except TaskletExit:
                assert t.alive and t.paused
                t.run()
            sys.exit(8)
            """,
            status=7,
        )

    def test_exit_is_refused(self):
        out = run_script(
            """if True:
            import gc, stackless, sys, weakref
            for keep in (True, False):
                t = stackless.tasklet(sys.exit)(7)
                there = weakref.ref(t)
                if not keep:
                    del t
                try:
                    stackless.run()
                except TaskletExit as e:
                    print(e.code)
                    e = None
                if keep:
                    t.kill()
                    assert not t.alive
                    del t
                gc.collect()
                assert there() is None
            print("end")
            """
        )
        self.assertEqual(out.split(), ["7", "7", "end"])

    def test_the_end_begun_in_a_tasklet(self):
        out = run_script(
            """if True:
            import ctypes, stackless
            def wait(call):
                try:
                    call()
                except stackless.TaskletExit:
                    print("killed", flush=True)
                    raise
            def leave():
                print("leaving", flush=True)
                ctypes.pythonapi.Py_Exit(7)
            calls = stackless.channel().receive, stackless.schedule_remove, stackless.schedule
            ts = [stackless.tasklet(wait)(call) for call in calls]
            stackless.tasklet(wait)(stackless.channel().receive)
            stackless.tasklet(leave)()
            stackless.run()
            print("not reached")
            """,
            status=7,
        )
        self.assertEqual(out.split(), ["leaving"])

    def test_an_uncaught_exception_ends_the_program(self):
        out = run_script(
            "import stackless; stackless.tasklet(int)('x'); stackless.run()", status=1
        )
        self.assertIn("ValueError", out)


if __name__ == "__main__":
    unittest.main()
