# SPDX-License-Identifier: MIT
#
# What nobody should do, and somebody will: switching where it is not allowed, destructors
# that switch, things that end in the middle. It may fail, but it breaks nothing.
import contextvars
import gc
import importlib.util
import os
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import tempfile
import threading
import time
import traceback
import unittest

import stackless
from weft import io

from support import UNDER_VALGRIND, TestCase, run_script


def deeper(n, function):
    """Calls the function that deep in C: what calls have left on the stack is overwritten."""
    return next(map(lambda _: deeper(n - 1, function), "x")) if n else function()


class Switcher:
    """Does something with tasklets when it dies."""

    def __init__(self, function):
        self.function = function

    def __del__(self):
        self.function()


class Case(TestCase):
    def check(self, tasklets, name):
        """The tasklets wait, and all that is known of them is in order."""
        deeper(20, gc.collect)
        for t in tasklets:
            self.assertEqual(t.frame.f_code.co_name, name)


class Callbacks(Case):
    def run_one(self):
        t = self.spawn(print)
        try:
            t.run()
        finally:
            t.remove()

    def attempt(self, *ignored):
        """Tries all that would switch."""
        for function in (
            stackless.schedule,
            stackless.schedule_remove,
            stackless.run,
            stackless.channel().receive,
            lambda: stackless.channel().send(1),
            self.run_one,
            lambda: io.sleep(0),
        ):
            with self.assertRaisesRegex(RuntimeError, "callback cannot switch"):
                function()
        self.log.append(stackless.current)

    def waiting(self, n):
        def wait_here():
            channel.receive()

        channel = stackless.channel()
        tasklets = [self.spawn(wait_here) for _ in range(n)]
        stackless.run()
        return channel, tasklets

    def test_a_schedule_callback_that_tries_to_switch(self):
        stackless.set_schedule_callback(self.attempt)
        channel, tasklets = self.waiting(5)
        stackless.set_schedule_callback(None)
        self.assertTrue(self.log)
        self.check(tasklets, "wait_here")
        for t in tasklets:
            self.assertIs(t._channel, channel)
            channel.send(None)
            self.assertFalse(t.alive)

    def test_one_that_tries_to_switch_where_a_tasklet_has_ended(self):
        run_script("""
import stackless

def callback(prev, next):
    try:
        stackless.schedule()
    except RuntimeError:
        refused.append(prev.alive)

refused = []
stackless.set_schedule_callback(callback)
for _ in range(5):
    stackless.tasklet(refused.copy)()
assert stackless.run(1000) is None
stackless.set_schedule_callback(None)
assert refused.count(False) == 5, refused
""", PYTHONMALLOC="debug")

    def test_a_channel_callback_that_tries_to_switch(self):
        stackless.set_channel_callback(self.attempt)
        channel, tasklets = self.waiting(5)
        stackless.set_channel_callback(None)
        self.assertTrue(self.log)
        self.check(tasklets, "wait_here")
        for t in tasklets:
            self.assertIs(t._channel, channel)
            channel.send(None)
            self.assertFalse(t.alive)

    def test_a_signal_handler_that_tries_to_switch(self):
        before = signal.signal(signal.SIGALRM, self.attempt)
        self.addCleanup(signal.signal, signal.SIGALRM, before)

        def wait_here():
            channel.receive()

        def wake():
            while not self.log:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
                io.sleep(0.05)
            self.check([t], "wait_here")
            self.assertIs(t._channel, channel)
            channel.send(1)

        channel = stackless.channel()
        self.spawn(wake)
        stackless.schedule()
        t = self.spawn(wait_here)
        stackless.run()
        while t.alive:
            io.sleep(0.01)

    def test_a_signal_handler_that_sets_a_trace_function(self):
        if sys.gettrace():
            self.skipTest("there is a trace function")

        def trace(*args):
            return None

        def other():
            while not handled:
                io.sleep(0.01)
            self.log.append(sys.gettrace())
            channel.send(1)

        def handler(*args):
            sys.settrace(trace)
            handled.append(stackless.current)

        handled = []
        before = signal.signal(signal.SIGALRM, handler)
        self.addCleanup(signal.signal, signal.SIGALRM, before)
        channel = stackless.channel()
        self.spawn(other)
        stackless.schedule()
        signal.setitimer(signal.ITIMER_REAL, 0.005)
        channel.receive()
        # It may have come while the other one ran.
        mine, others = (trace, None) if handled[0].is_main else (None, trace)
        self.assertIs(sys.gettrace(), mine)
        sys.settrace(None)
        self.assertEqual(self.log, [others])

    def test_an_error_handler_that_ends_the_one_in_run(self):
        def runner():
            self.spawn(int, "x")
            stackless.run()

        def handler(type, value, traceback):
            deeper(20, gc.collect)
            runners.pop().kill()
            deeper(20, gc.collect)
            kept.extend(stackless.tasklet() for _ in range(100))
            raise value

        kept = []
        runners = [self.spawn(runner)]
        stackless.set_error_handler(handler)
        self.assertRaises(ValueError, stackless.run)

    def test_a_callback_that_changes_the_context(self):
        variable = contextvars.ContextVar("variable")

        def callback(prev, next):
            if prev is t:
                context = contextvars.Context()
                context.run(variable.set, 5)
                prev.set_context(context)

        def task():
            stackless.schedule()
            self.log.append(variable.get(None))

        t = self.spawn(task)
        self.spawn(len, ())
        stackless.set_schedule_callback(callback)
        stackless.run()
        self.assertEqual(self.log, [5])

    def test_a_callback_that_takes_itself_away(self):
        class Callback:
            def __init__(self, set_callback, log):
                self.set_callback, self.log = set_callback, log

            def __call__(self, *args):
                self.set_callback(None)
                gc.collect()
                self.log.append(len(args))

        stackless.set_schedule_callback(Callback(stackless.set_schedule_callback, self.log))
        stackless.schedule()
        self.spawn(len, ())
        stackless.run()
        stackless.set_channel_callback(Callback(stackless.set_channel_callback, self.log))
        channel = stackless.channel()
        self.spawn(channel.receive)
        channel.send(1)
        stackless.set_error_handler(Callback(stackless.set_error_handler, self.log))
        self.spawn(len, 1)
        stackless.run()
        self.assertEqual(sorted(self.log), [2, 3, 4])

    def test_a_removed_tasklet_is_no_switch(self):
        def remove():
            stackless.set_schedule_callback(lambda *args: self.log.append(args))
            self.spawn(len, ()).remove()
            stackless.set_schedule_callback(None)

        def traced():
            sys.settrace(lambda *args: None)
            stackless.schedule()
            sys.settrace(None)

        for depth in range(20):
            deeper(depth, traced)
            deeper(19 - depth, remove)
            self.assertIsNone(sys.gettrace())
        self.assertEqual(self.log, [])

    def test_one_that_runs_while_an_exception_comes(self):
        """It is thrown at a tasklet that waits, together with what lets another one run."""
        def throw():
            others.append(stackless.tasklet(len)(()))
            while not t.blocked:
                time.sleep(0)
            wake.send(None)
            t.throw(ValueError, pending=True)
            over.wait()
            stackless.run()

        def callback(prev, next):
            if prev is t and next is awake:
                others[0].run()
                self.log.append(others[0])

        def wait_here():
            with self.assertRaises(ValueError):
                channel.receive()
            self.log.append("raised")

        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(1)
        over = threading.Event()
        others = []
        channel, wake = stackless.channel(), stackless.channel()
        awake = self.spawn(wake.receive)
        stackless.schedule()
        t = self.spawn(wait_here)
        stackless.set_schedule_callback(callback)
        thread = threading.Thread(target=throw)
        thread.start()
        while t.alive:
            stackless.run(threadblock=True)
        stackless.set_schedule_callback(None)
        over.set()
        thread.join()
        self.assertEqual(self.log, [others[0], "raised"])

    def test_one_that_ends_a_deadline(self):
        """It passes while the tasklet waits, together with what lets another one run."""
        def limited():
            with io.deadline(0.05):
                yield

        def hold():
            while t.alive and not t.blocked:
                time.sleep(0)
            while time.monotonic() < end:
                pass
            wake.send(None)

        def callback(prev, next):
            if prev is t and next is awake:
                for function in generator.close, io.deadline(1).__enter__:
                    try:
                        function()
                    except RuntimeError as e:
                        self.log.append(str(e))

        def wait_here():
            next(generator)
            with self.assertRaises(TimeoutError):
                stackless.channel().receive()
            self.log.append("raised")

        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        sys.setswitchinterval(100)
        generator = limited()
        wake = stackless.channel()
        awake = self.spawn(wake.receive)
        stackless.schedule()
        t = self.spawn(wait_here)
        end = time.monotonic() + 0.1
        stackless.set_schedule_callback(callback)
        thread = threading.Thread(target=hold)
        thread.start()
        while t.alive or awake.alive:
            stackless.run(threadblock=True)
        stackless.set_schedule_callback(None)
        thread.join()
        if self.log != ["raised"]:  # it came late
            self.assertEqual(
                self.log,
                ["a callback cannot begin or end a deadline"] * 2 + ["raised"],
            )

    def test_threads_that_sleep_take_them_on(self):
        def task():
            go.receive()
            self.spawn(len, ())
            stackless.run()
            done.send(None)

        go, done = stackless.channel(), stackless.channel()
        thread = threading.Thread(target=task)
        thread.start()
        while go.balance == 0:
            io.sleep(0.001)
        stackless.set_schedule_callback(lambda *args: self.log.append(threading.get_ident()))
        go.send(None)
        done.receive()
        stackless.set_schedule_callback(None)
        thread.join()
        self.assertIn(thread.ident, self.log)


@unittest.skipUnless(importlib.util.find_spec("greenlet"), "greenlet is not installed")
@unittest.skipIf(UNDER_VALGRIND, "greenlet leaks a record of each thread")
class Greenlets(Case):
    def setUp(self):
        super().setUp()
        from greenlet import greenlet

        self.greenlet = greenlet

    def calls(self, channel, other):
        yield stackless.schedule
        yield stackless.schedule_remove
        yield stackless.run
        yield lambda: stackless.run(10)
        yield channel.receive
        yield lambda: channel.send(1)
        yield lambda: next(channel)
        yield lambda: io.sleep(0.001)
        yield lambda: io.select(io.Receive(channel))
        yield other.run
        yield other.switch
        yield lambda: other.throw(ValueError)
        yield other.kill

    def try_to_switch(self):
        other = self.spawn(stackless.schedule)
        for call in self.calls(stackless.channel(), other):
            self.assertRaisesRegex(RuntimeError, "greenlet", call)
        new = stackless.tasklet(len, ("",))
        for call in new.run, new.switch, lambda: new.throw(ValueError):
            self.assertRaisesRegex(RuntimeError, "greenlet", call)
        self.assertTrue(new.paused)
        other.kill(pending=True)
        return "refused"

    def test_no_switch_in_the_main_tasklet(self):
        self.assertEqual(self.greenlet(self.try_to_switch).switch(), "refused")
        stackless.run()

    def test_no_switch_in_others(self):
        def use(n):
            me = self.greenlet.getcurrent()

            def work():
                with self.assertRaisesRegex(RuntimeError, "greenlet"):
                    (lambda: [stackless.schedule() for _ in "x"])()
                me.switch()

            for i in range(3):
                self.greenlet(work).switch()
                stackless.schedule()
                self.log.append((n, i))
            self.log.append(self.greenlet(self.try_to_switch).switch())

        for n in range(3):
            self.spawn(use, n)
        stackless.run()
        self.assertEqual(len(self.log), 12)
        self.assertEqual(self.log.count("refused"), 3)

    def test_deep_frames_are_no_greenlets(self):
        def deep(n, call):
            return deep(n - 1, call) if n else call()

        def use():
            deep(300, stackless.schedule)
            self.log.append(deep(300, self.greenlet(self.try_to_switch).switch))
            deep(300, stackless.schedule)

        use()
        self.spawn(use)
        stackless.run()
        self.assertEqual(self.log, ["refused"] * 2)

    def test_garbage_in_a_greenlet(self):
        def wait():
            try:
                stackless.schedule_remove()
            finally:
                self.log.append("end")

        def drop():
            self.assertEqual(len(tasklets), 1)
            tasklets.clear()
            return list(self.log)

        tasklets = [self.spawn(wait)]
        stackless.run()
        self.assertEqual(self.greenlet(drop).switch(), [])
        stackless.run()
        self.assertEqual(self.log, ["end"])


class Destructors(Case):
    def test_of_arguments(self):
        ended = []

        def pause():
            self.log.append(stackless.current)
            stackless.schedule_remove()
            ended.append(None)

        self.spawn(lambda *args: None, Switcher(pause))
        stackless.run()
        t = self.log.pop()
        self.assertTrue(t.paused)
        t.run()
        self.assertEqual((t.alive, len(ended)), (False, 1))

    def test_of_arguments_of_one_that_nobody_has(self):
        ended = []

        def pause():
            try:
                stackless.schedule_remove()
            finally:
                ended.append(None)

        self.spawn(lambda *args: None, Switcher(pause))
        # (The TaskletExit of the destructor is told of.)
        with self.unraisable():
            stackless.run()
        self.assertEqual(len(ended), 1)

    def unraisable(self):
        class Context:
            def __enter__(self):
                self.before, sys.unraisablehook = sys.unraisablehook, lambda args: None

            def __exit__(self, *args):
                sys.unraisablehook = self.before

        return Context()

    def test_of_what_schedule_replaces(self):
        def wait_here():
            stackless.current.tempval = Switcher(stackless.schedule)
            stackless.schedule_remove()

        t = self.spawn(wait_here)
        stackless.run()
        self.check([t], "wait_here")

    def test_of_what_schedule_replaces_that_leaves_something_itself(self):
        def task():
            stackless.current.tempval = Switcher(lambda: stackless.schedule("inner"))
            self.log.append(stackless.schedule("outer"))

        self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, ["outer"])

    def test_of_trace_functions_of_others(self):
        class Trace(Switcher):
            def __call__(self, *args):
                return None

        def step(i):
            self.log.append(i)

        def task():
            for i in range(5):
                stackless.schedule()
                step(i)

        for attribute in "trace_function", "profile_function":
            t = self.spawn(task)
            t.run()
            for _ in range(3):
                setattr(t, attribute, Trace(stackless.schedule))
            setattr(t, attribute, None)
            stackless.run()
            self.assertIsNone(sys.gettrace())
        self.assertEqual(self.log, list(range(5)) * 2)

    def test_of_what_a_watched_send_replaces(self):
        def wait_here():
            stackless.current.tempval = Switcher(stackless.schedule)
            channel.send(1)

        channel = stackless.channel()
        stackless.set_channel_callback(lambda *args: None)
        t = self.spawn(wait_here)
        stackless.run()
        self.check([t], "wait_here")
        self.assertEqual(channel.receive(), 1)

    def test_that_switches_when_an_exception_comes(self):
        class Tasklet(stackless.tasklet):
            pass

        def task():
            try:
                stackless.channel().receive()
            except ValueError:
                self.log.append("thrown")

        t = self.spawn(task)
        stackless.run()
        # It ends, and dies when the other one has got its exception.
        last = Tasklet(lambda: t.throw(ValueError, pending=True))
        last.end = Switcher(stackless.schedule)
        last()
        del last
        stackless.run()
        self.assertEqual(self.log, ["thrown"])

    def test_of_subclasses(self):
        class Tasklet(stackless.tasklet):
            def __del__(self):
                log.append(self.alive)

        def pause():
            try:
                stackless.schedule_remove()
            finally:
                log.append("ended")

        def wait():
            try:
                stackless.channel().receive()
            finally:
                log.append("ended")

        log = self.log
        for function in pause, wait:
            t = Tasklet(function)()
            stackless.run()
            del t
            gc.collect()
            self.assertEqual(log, ["ended", False])
            del log[:]

    def test_that_a_subclass_gets_later(self):
        class Tasklet(stackless.tasklet):
            __slots__ = ()

        t = Tasklet(stackless.schedule_remove)()
        stackless.run()
        Tasklet.__del__ = lambda self: self.kill()
        del t
        self.assertEqual(stackless.getruncount(), 1)
        # That one is killed by nobody but the end of its thread.
        run_script("""
import stackless
class Tasklet(stackless.tasklet): pass
def task():
    try:
        stackless.schedule_remove()
    finally:
        print("ended")
t = Tasklet(task)()
stackless.run()
Tasklet.__del__ = lambda self: None
del t
""")

    def test_deep_ones(self):
        for make in (self.tasklet_with, lambda o: stackless.bomb(ValueError, o)):
            top = None
            for _ in range(200000):
                top = make(top)
            del top

    def tasklet_with(self, value):
        t = stackless.tasklet()
        t.tempval = value
        return t

    def test_of_exceptions_while_they_are_made(self):
        class Slow(Exception):
            def __init__(self):
                stackless.schedule()

        def pause():
            try:
                stackless.schedule_remove()
            except Slow:
                self.log.append("slow")

        def recurse():
            recurse()

        def deep():
            try:
                recurse()
            except RecursionError:
                self.log.append("deep")

        t = self.spawn(pause)
        stackless.run()
        t.throw(Slow, pending=True)
        self.spawn(deep)
        stackless.run()
        self.assertEqual(self.log, ["deep", "slow"])


class Throwing(Case):
    def test_one_that_fails_takes_none_away(self):
        def task():
            try:
                stackless.channel().receive()
            except ValueError:
                self.log.append("thrown")

        t = self.spawn(task)
        stackless.run()
        t.throw(ValueError, pending=True)
        stackless.switch_trap(1)
        try:
            with self.assertRaisesRegex(RuntimeError, "switch_trap"):
                t.throw(KeyError)
        finally:
            stackless.switch_trap(-1)
        stackless.run()
        self.assertEqual(self.log, ["thrown"])


    def test_a_traceback_stays(self):
        def fail():
            raise ValueError

        def wait(function):
            try:
                function()
            except ValueError as e:
                self.log.append([f.name for f in traceback.extract_tb(e.__traceback__)])

        channel = stackless.channel()
        try:
            fail()
        except ValueError as e:
            error = e
        for function, throw in (
            (stackless.schedule_remove, lambda: t.throw(error)),
            (channel.receive, lambda: channel.send_throw(error)),
        ):
            t = self.spawn(wait, function)
            stackless.run()
            throw()
        for names in self.log:
            self.assertIn("fail", names)
            self.assertIn("wait", names)
        self.assertEqual(len(self.log), 2)


class Beginnings(Case):
    def test_a_collection_when_a_thread_is_attached(self):
        def begin():
            gc.disable()
            for _ in range(50):
                garbage = Switcher(lambda: (self.spawn(len, ()), stackless.run()))
                garbage.itself = garbage
            del garbage
            thresholds = gc.get_threshold()
            gc.set_threshold(1, 1, 1)
            gc.enable()
            try:
                current = stackless.getcurrent()
            finally:
                gc.set_threshold(*thresholds)
            gc.collect()
            self.log.append((current is stackless.getmain(), current.is_current))
            # It can be thrown at.
            helper = threading.Thread(target=current.throw, args=(ValueError,))
            helper.start()
            try:
                stackless.channel().receive()
            except ValueError:
                self.log.append("thrown")
            helper.join()

        for _ in range(2):
            thread = threading.Thread(target=begin)
            thread.start()
            thread.join()
        self.assertEqual(self.log, [(True, True), "thrown"] * 2)

    def test_a_second_interpreter(self):
        library = sysconfig.get_config_var("LIBDIR")
        version = sysconfig.get_config_var("LDVERSION")
        compiler = shutil.which("cc")
        with tempfile.TemporaryDirectory() as folder:
            source, program = folder + "/program.c", folder + "/program"
            with open(source, "w") as f:
                f.write(SEVERAL_INTERPRETERS)
            options = ["-I" + sysconfig.get_path("include"), "-L" + library,
                       "-Wl,-rpath," + library, "-rdynamic", "-lpython" + version]
            if not compiler or subprocess.run(
                [compiler, source, "-o", program, *options],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            ).returncode:
                self.skipTest("no program can be linked with libpython" + version)
            script = """if True:
                import builtins, stackless, threading
                def task():
                    try:
                        while True:
                            log.append(channel.receive())
                    finally:
                        print("ended")
                def thread():
                    stackless.tasklet(log.append)(3)
                    stackless.run()
                log = []
                channel = stackless.channel()
                t = stackless.tasklet(task)()
                stackless.run()
                channel.send(1)
                thread = threading.Thread(target=thread)
                thread.start()
                thread.join()
                print(log, stackless.current.is_main, builtins.TaskletExit is TaskletExit,
                      stackless.set_error_handler(len))
                """
            out = subprocess.run(
                [program, script], env=dict(os.environ, PYTHONHOME=sys.base_prefix),
                stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True,
            ).stdout
        self.assertEqual(out.splitlines(), ["[1, 3] True True None", "ended"] * 3)


SEVERAL_INTERPRETERS = """
#include <Python.h>
int main(int argc, char **argv)
{
	for (int i = 0; i < 3; i++) {
		Py_Initialize();
		if (PyRun_SimpleString(argv[argc - 1]) || Py_FinalizeEx())
			return 1;
	}
	return 0;
}
"""


class Ends(Case):
    def test_what_a_thread_has_besides(self):
        class Late:
            def __del__(self):
                try:
                    log.append(stackless.getcurrent())
                except RuntimeError as e:
                    log.append(str(e))

        def task():
            stackless.getcurrent()
            local.late = Late()
            variable.set(Late())

        log, local = self.log, threading.local()
        variable = contextvars.ContextVar("variable")
        thread = threading.Thread(target=task)
        thread.start()
        thread.join()
        gc.collect()
        self.assertEqual(len(log), 2)
        for what in log:  # CPython 3.13 clears some of them before the tasklets end
            if not isinstance(what, stackless.tasklet):
                self.assertIn("the thread has ended", what)
        self.assertEqual(stackless.get_thread_info(0)[1], stackless.main)

    def test_a_removed_tasklet_that_forgets_itself(self):
        reports = []

        def task():
            try:
                stackless.schedule()
            except TaskletExit:
                kept.clear()
                self.log.append("ended")

        def thread():
            t = self.spawn(task)
            t.run()
            t.remove()
            kept.append(t)

        kept = []
        before, sys.unraisablehook = sys.unraisablehook, reports.append
        try:
            thread = threading.Thread(target=thread)
            thread.start()
            thread.join()
        finally:
            sys.unraisablehook = before
        self.assertEqual((self.log, reports), (["ended"], []))


class Garbage(Case):
    def test_one_that_tidies_up_slowly(self):
        def task(channel):
            try:
                channel.receive()
            finally:
                stackless.schedule()
                io.sleep(0.001)
                self.log.append(done.receive())

        done = stackless.channel()
        for _ in range(5):
            self.spawn(task, stackless.channel())
        stackless.run()
        gc.collect()
        while done.balance > -5:
            io.sleep(0.001)
        for i in range(5):
            done.send(i)
        self.assertEqual(self.log, list(range(5)))

    def test_one_that_gets_stuck_again_and_again(self):
        class Tasklet(stackless.tasklet):
            pass

        class Finalized(stackless.tasklet):
            def __del__(self):
                deleted.append(self.log)

        def task(log, pauses):
            for i in range(5):
                try:
                    if i == 0 and pauses:
                        stackless.schedule_remove()
                    stackless.channel().receive()
                except TaskletExit:
                    log.append(i)

        for kind in stackless.tasklet, Tasklet, Finalized:
            for pauses in False, True:  # found by the collector first, or let go
                with self.subTest(kind=kind, pauses=pauses):
                    log, deleted = [], []
                    t = kind(task)(log, pauses)
                    if kind is Finalized:
                        t.log = log
                    del t
                    stackless.run()
                    for i in range(pauses, 5):
                        self.assertEqual(log, list(range(i)))
                        gc.collect()
                    self.assertEqual(log, list(range(5)))
                    self.assertEqual(deleted, [log] * (kind is Finalized))

    def test_one_that_ends_by_itself_after_all(self):
        class Finalized(stackless.tasklet):
            def __del__(self):
                self.log.append("del")

        def task():
            try:
                stackless.schedule_remove()
            except TaskletExit:
                self.log.append(done.receive())

        done = stackless.channel()
        t = Finalized(task)()
        t.log = self.log
        del t
        stackless.run()
        self.assertEqual(self.log, [])
        done.send(1)
        self.assertEqual(self.log, [1, "del"])


class Arguments(Case):
    def test_states(self):
        for what in stackless.channel(), stackless.tasklet():
            for state in None, 1, ():
                with self.assertRaises(TypeError):
                    what.__setstate__(state)

    def test_bombs(self):
        for args in (5,), ("x", 1), (int, 2), (ValueError, 3, 4), (None, None, 7):
            with self.assertRaises(TypeError):
                stackless.bomb(*args)
        stackless.current.tempval = stackless.bomb(None, None, None)
        with self.assertRaises(SystemError):
            stackless.current.run()

    def test_what_is_no_socket(self):
        with open(os.devnull) as f:
            with self.assertRaisesRegex(TypeError, "a socket or a descriptor, not "):
                io.close(f)
            f.read()

    def test_trace_functions_where_sys_has_lost_its_own(self):
        t = self.spawn(stackless.schedule)
        t.run()
        settrace = sys.settrace
        del sys.settrace
        try:
            with self.assertRaisesRegex(RuntimeError, "lost sys.settrace"):
                t.trace_function = print
        finally:
            sys.settrace = settrace
        stackless.run()

    def test_flags_that_are_too_large(self):
        a, b = socket.socketpair()
        with a, b:
            with self.assertRaisesRegex(OverflowError, r"recv\(\): no flags are .* 4294967296"):
                io.recv(a, 1, 2**32)
            with self.assertRaisesRegex(OverflowError, r"send\(\): no flags"):
                io.send(a, b"x", -2**40)

    def test_a_send_that_must_not_wait_leaves_nothing(self):
        stackless.set_channel_callback(lambda *args: None)
        stackless.current.block_trap = True
        try:
            self.assertRaises(RuntimeError, stackless.channel().send, 1)
        finally:
            stackless.current.block_trap = False
        self.assertIsNone(stackless.current.tempval)

    def test_one_that_is_bound_by_the_destructor_of_what_it_had(self):
        def again():
            t.bind(self.log.append, (1,))
            t.insert()

        t = stackless.tasklet().bind(lambda *args: None, (Switcher(again),))
        with self.assertRaisesRegex(RuntimeError, "bound by someone else"):
            t.bind(self.log.append, (2,))
        stackless.run()
        self.assertEqual((self.log, t.alive), ([1], False))

    def test_addresses(self):
        with socket.socket() as s:
            with self.assertRaisesRegex(TypeError, "an address is a tuple, not list"):
                io.connect(s, ["127.0.0.1", 1])
            for port in -1, 65536, 2**32 + 1:
                with self.assertRaises(OverflowError):
                    io.connect(s, ("127.0.0.1", port))
        with self.assertRaises(ValueError):
            io.dial("127.0.0.1:1\0x")

    def test_deadlines_in_the_wrong_order(self):
        outer, inner = io.deadline(0), io.deadline(60)
        with self.assertRaisesRegex(RuntimeError, "has not begun"):
            outer.__exit__(None, None, None)
        outer.__enter__()
        inner.__enter__()
        outer.__exit__(None, None, None)
        inner.__exit__(None, None, None)
        self.assertEqual((outer.expired, inner.expired), (True, False))
        io.sleep(0)

    def test_deadlines_of_generators(self):
        def limited(seconds):
            with io.deadline(seconds):
                yield
                with self.assertRaises(TimeoutError):
                    io.sleep(60)
                yield

        one, another = limited(60), limited(0)
        next(one)
        next(another)
        one.close()
        next(another)
        another.close()
        io.sleep(0)

    def test_deadlines_that_are_forgotten(self):
        def task():
            io.deadline(60).__enter__()
            inner.__enter__()
            gc.collect()
            io.sleep(0)

        inner = io.deadline(60)
        count = sys.getrefcount(inner)
        self.spawn(task)
        stackless.run()
        while stackless.getruncount() > 1:
            io.sleep(0.001)
        self.assertEqual(sys.getrefcount(inner), count)
        inner.__exit__(None, None, None)

    def test_a_block_trap_that_is_taken_away_meanwhile(self):
        def task():
            stackless.current.block_trap = True
            io.sleep(0)
            self.log.append(channel.receive())

        channel = stackless.channel()
        t = self.spawn(task)
        stackless.schedule()
        t.block_trap = False
        stackless.run()
        channel.send(1)
        self.assertEqual(self.log, [1])


if __name__ == "__main__":
    unittest.main()
