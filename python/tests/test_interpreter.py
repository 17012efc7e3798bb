# SPDX-License-Identifier: MIT
#
# What a tasklet has of its own in the interpreter: exceptions, tracing, recursion,
# generators; the garbage collector; subinterpreters; references.
import asyncio
import contextvars
import copy
import gc
import json
import os
import pickle
import re
import sys
import threading
import traceback
import unittest
import weakref

import stackless
from weft import io

from support import TestCase, run_script


class State(TestCase):
    def test_exceptions_that_are_handled(self):
        def task(name):
            try:
                raise ValueError(name)
            except ValueError:
                stackless.schedule()
                self.log.append(sys.exc_info()[1].args[0])
                try:
                    raise KeyError(name)
                except KeyError as e:
                    stackless.schedule()
                    self.log.append(e.__context__.args[0])
            self.log.append(sys.exc_info()[0])

        try:
            raise OSError
        except OSError:
            for name in "ab":
                self.spawn(task, name)
            stackless.run()
            self.assertIs(sys.exc_info()[0], OSError)
        self.assertEqual(self.log, ["a", "b", "a", None, "b", None])

    def test_a_new_one_handles_nothing(self):
        try:
            raise OSError
        except OSError:
            self.spawn(lambda: self.log.append(sys.exc_info()[0]))
            stackless.run()
        self.assertEqual(self.log, [None])

    def test_tracebacks_end_at_the_function(self):
        def inner():
            1 / 0

        def outer():
            stackless.schedule()
            inner()

        self.spawn(outer)
        try:
            stackless.run()
        except ZeroDivisionError as e:
            names = [f.name for f in traceback.extract_tb(e.__traceback__)]
        self.assertEqual(names[-2:], ["outer", "inner"])

    def test_the_stack_of_a_tasklet_is_its_own(self):
        def task():
            self.log.append([f.name for f in traceback.extract_stack()])

        self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [["task"]])

    def test_recursion(self):
        def deep(n):
            return 0 if n == 0 else deep(n - 1) + 1

        def task():
            self.log.append(deep(sys.getrecursionlimit() - 60))
            self.assertRaises(RecursionError, deep, 10**6)
            stackless.schedule()
            self.log.append(deep(sys.getrecursionlimit() - 60))

        for _ in range(2):
            self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [sys.getrecursionlimit() - 60] * 4)

    def test_recursion_through_c(self):
        class Key:
            def __init__(self, n):
                self.n = n

            def __repr__(self):
                return repr(Key(self.n + 1))

        def task():
            self.assertRaises(RecursionError, repr, Key(0))
            self.assertRaises(RecursionError, sorted, [1], key=self.sort)
            nested = []
            for _ in range(10**5):
                nested = [nested]
            self.assertRaises(RecursionError, repr, nested)
            self.log.append(1)

        self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [1])

    def sort(self, x):
        return sorted([x, x], key=self.sort)

    def test_deep_calls_of_c(self):
        # What the interpreter's limits allow has room on the stack of a tasklet.
        def substitute(match):
            return re.sub("a", substitute, "aa")

        class Less:
            def __lt__(self, other):
                return sorted([Less(), Less()])[0] is other

        def convert(x):
            return json.dumps(x, default=convert)

        def task():
            nested = []
            for _ in range(10**4):
                nested = {"x": [nested]}
            for call in (
                lambda: json.dumps(nested),
                lambda: json.loads("[" * 10**4 + "]" * 10**4),
                lambda: json.dumps(Less(), default=convert),
                lambda: pickle.dumps(nested),
                lambda: nested == copy.deepcopy(nested),
                lambda: re.sub("a", substitute, "a"),
                lambda: sorted([Less(), Less()]),
            ):
                self.assertRaises(RecursionError, call)
                self.log.append(call)
            for text in "-" * 2900 + "1", "lambda:" * 90 + "1", "[" * 190 + "]" * 190:
                try:
                    compile(text, "", "eval")
                except (RecursionError, MemoryError):
                    pass
                self.log.append(text)

        self.spawn(task)
        stackless.run()
        self.assertEqual(len(self.log), 10)

    def test_deep_deallocation(self):
        def task():
            nested = ()
            for _ in range(10**5):
                nested = (nested, None)
            stackless.schedule()
            del nested
            self.log.append(1)

        for _ in range(2):
            self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [1, 1])

    def test_deallocation_that_switches(self):
        class Switches:
            def __del__(this):
                stackless.schedule()
                self.log.append(1)

        def task():
            nested = [Switches()]
            for _ in range(200):
                nested = [nested, Switches()]

        for _ in range(3):
            self.spawn(task)
        stackless.run()
        self.assertEqual(len(self.log), 3 * 201)

    def test_generators(self):
        def numbers():
            for i in range(3):
                stackless.schedule()
                yield i

        def task():
            self.log.append(list(numbers()))

        for _ in range(3):
            self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [[0, 1, 2]] * 3)

    def test_a_generator_of_several_tasklets(self):
        def numbers():
            try:
                for i in range(6):
                    yield i
            finally:
                self.log.append("closed")

        g = numbers()

        def task():
            for i in g:
                self.log.append(i)
                stackless.schedule()

        for _ in range(2):
            self.spawn(task)
        stackless.run()
        self.assertEqual(self.log, [0, 1, 2, 3, 4, 5, "closed"])

    def test_coroutines(self):
        c = stackless.channel()

        async def receive():
            await asyncio.sleep(0)
            self.log.append(c.receive())

        self.spawn(lambda: asyncio.run(receive()))
        stackless.run()
        c.send(5)
        self.assertEqual(self.log, [5])

    def test_context_variables(self):
        var = contextvars.ContextVar("var", default=0)

        def task(n):
            for _ in range(3):
                stackless.schedule()
                self.log.append(var.get() == n)

        for n in range(3):
            context = contextvars.copy_context()
            context.run(var.set, n)
            self.spawn(task, n).set_context(context)
        stackless.run()
        self.assertEqual(self.log, [True] * 9)
        self.assertEqual(var.get(), 0)


class Tracing(TestCase):
    def setUp(self):
        super().setUp()
        if sys.gettrace() or sys.getprofile():
            self.skipTest("there is a trace function")

    def tearDown(self):
        sys.settrace(None)
        sys.setprofile(None)
        super().tearDown()

    def trace(self, frame, event, arg):
        self.log.append((event, frame.f_code.co_name))
        return None

    def test_each_tasklet_has_its_own(self):
        def traced():
            sys.settrace(self.trace)
            stackless.schedule()
            self.called()
            sys.settrace(None)

        def plain():
            for _ in range(3):
                self.assertIsNone(sys.gettrace())
                self.called()
                stackless.schedule()

        self.spawn(traced)
        self.spawn(plain)
        stackless.run()
        self.assertEqual(self.log, [("call", "called")])

    def called(self):
        pass

    # As the README has it, so that a debugger sees all tasklets.
    def test_it_can_be_given_to_all(self):
        def follow(prev, next):
            if next is not None and next.trace_function is None:
                next.trace_function = trace

        def waits():
            stackless.schedule()
            self.called()

        self.spawn(waits)
        stackless.schedule()
        sys.settrace(self.trace)
        trace = sys.gettrace()
        stackless.set_schedule_callback(follow)
        self.spawn(self.called)
        self.spawn(waits)
        stackless.run()
        sys.settrace(None)
        stackless.set_schedule_callback(None)
        self.assertEqual(self.log.count(("call", "called")), 3)
        self.assertEqual(self.log.count(("call", "waits")), 1)

    def test_profile(self):
        def task():
            sys.setprofile(self.trace)
            stackless.schedule()
            self.called()
            sys.setprofile(None)

        self.spawn(task)
        stackless.schedule()
        self.assertIsNone(sys.getprofile())
        self.log.clear()
        stackless.run()
        self.assertIn(("call", "called"), self.log)

    def test_attributes(self):
        def task(expected):
            self.assertIs(sys.gettrace(), expected)
            stackless.schedule()
            self.called()
            self.assertEqual(sys.gettrace(), after)

        trace = self.trace
        t = self.spawn(task, trace)
        self.assertIsNone(t.trace_function)
        t.trace_function = trace
        self.assertIs(t.trace_function, trace)
        after = trace
        t.run()
        self.assertIs(t.trace_function, trace)
        self.assertIsNone(stackless.current.trace_function)
        stackless.run()
        self.assertIn(("call", "called"), self.log)

        t = self.spawn(task, None)
        t.run()
        t.trace_function = trace
        stackless.run()
        t = self.spawn(task, trace)
        t.trace_function = trace
        t.run()
        after = t.trace_function = None
        self.assertIsNone(t.trace_function)
        stackless.run()
        self.assertIsNone(sys.gettrace())
        self.assertRaisesRegex(
            RuntimeError, "not alive", setattr, stackless.tasklet(), "trace_function", trace
        )

    def test_of_current(self):
        profile = self.trace
        stackless.current.profile_function = profile
        self.assertIs(sys.getprofile(), profile)
        stackless.current.profile_function = None
        self.assertIsNone(sys.getprofile())

    def test_a_trace_function_that_switches(self):
        def trace(frame, event, arg):
            if frame.f_code.co_name == "called":
                self.log.append(1)
                stackless.schedule()
            return None

        def task():
            self.called()
            self.called()

        for _ in range(2):
            self.spawn(task).trace_function = trace
        stackless.run()
        self.assertEqual(self.log, [1] * 4)
        self.assertIsNone(sys.gettrace())


class Garbage(TestCase):
    def wait(self, c):
        try:
            c.receive()
        except TaskletExit:
            self.log.append("exit")
            raise

    def test_paused(self):
        def pause():
            try:
                stackless.schedule_remove()
            finally:
                self.log.append("end")

        t = self.spawn(pause)
        t.run()
        del t
        self.assertEqual(self.log, ["end"])

    def test_blocked_and_unreachable(self):
        def lose():
            c = stackless.channel()
            t = self.spawn(self.wait, c)
            t.run()
            return weakref.ref(t), weakref.ref(c)

        t, c = lose()
        gc.collect()
        self.assertEqual(self.log, ["exit"])
        self.assertIsNone(t())
        self.assertIsNone(c())

    def test_a_pair_that_waits_for_each_other(self):
        def wait(mine, others):
            try:
                mine.receive()
            finally:
                self.log.append(others.balance)

        def lose():
            a, b = stackless.channel(), stackless.channel()
            for args in (a, b), (b, a):
                self.spawn(wait, *args).run()

        lose()
        gc.collect()
        self.assertEqual(len(self.log), 2)

    def test_blocked_and_reachable(self):
        c = stackless.channel()
        self.spawn(self.wait, c)
        stackless.run()
        gc.collect()
        self.assertEqual(self.log, [])
        self.assertEqual(c.balance, -1)
        c.send(1)
        for use in (
            lambda c: self.wait(c),
            lambda c: [self.wait(x) for x in [c]],
            lambda c: max([c], key=self.wait),
            lambda c: next(self.wait(x) for x in [c]),
        ):
            self.spawn(use, c).run()
            gc.collect()
            self.assertEqual(c.balance, -1)
            c.send(1)
        self.assertEqual(self.log, [])

    def test_ways_to_wait(self):
        def lose(wait):
            a, b = stackless.channel(), stackless.channel()
            a.preference = 0

            def task():
                try:
                    wait(a, b)
                finally:
                    self.log.append(stackless.current)

            t = self.spawn(task)
            t.run()
            self.assertTrue(t.blocked)
            return [weakref.ref(x) for x in (t, a, b)]

        def iterate(a, b):
            for x in a:
                pass

        def iterate_deeply(a, b):
            (lambda *all: all)(1, a, b, a)
            for x in 1, 2:
                for y in a:
                    pass

        def send_all(a, b):
            a.send_sequence([b])

        for wait in (
            iterate,
            iterate_deeply,
            send_all,
            lambda a, b: a.send((a, stackless.current)),
            lambda a, b: a.send_exception(ValueError, 1),
            lambda a, b: a.send_throw(ValueError, ValueError(1)),
            lambda a, b: io.select(io.Receive(a)),
            lambda a, b: io.select(io.Receive(a), io.Send(b, 1), io.Receive(a)),
        ):
            with self.subTest(wait=wait):
                refs = lose(wait)
                gc.collect()
                self.assertEqual(len(self.log), 1)
                self.log.clear()
                gc.collect()
                self.assertEqual([r() for r in refs], [None] * 3)

    def test_ways_to_wait_for_what_comes(self):
        def iterate(a, b):
            for x in a:
                return x

        def iterate_indirectly(a, b):
            for x in map(lambda x: x, a):
                return x

        def iterate_after_others(a, b):
            (lambda *all: all)(a, a, a, a)
            for x in (iter(map(lambda x: x, a))):
                return x

        def generate(a, b):
            def generator():
                for x in a:
                    yield x

            return next(generator())

        ways = (
            iterate,
            iterate_indirectly,
            iterate_after_others,
            generate,
            lambda a, b: next(a),
            lambda a, b: [x for _, x in zip("a", a)][0],
            lambda a, b: io.select(io.Receive(a))[1],
            lambda a, b: io.select(io.Receive(a), io.Receive(b))[1],
            lambda a, b: io.select(io.Receive(b), io.Receive(a), io.After(60))[1],
            lambda a, b: io.select(io.Receive(a), io.Receive(a), io.Send(a, 1))[1],
        )
        for wait in ways:
            for kept in "a", "t":
                with self.subTest(wait=wait, kept=kept):
                    a, b = stackless.channel(), stackless.channel()
                    a.preference = 0
                    t = self.spawn(lambda wait, *cs: self.log.append(wait(*cs)), wait, a, b)
                    t.run()
                    if kept == "a":
                        del t
                        b = None
                    else:
                        w = weakref.ref(a)
                        a = b = None
                    for _ in range(3):
                        gc.collect()
                    if kept == "t":
                        a = w()
                    self.assertLessEqual(a.balance, 0)
                    io.select(io.Send(a, 5))
                    stackless.run()
                    self.assertEqual(self.log, [5])
                    self.log.clear()

    def test_one_that_sends_itself(self):
        # What waits in the channel is the channel's; what was taken is not any more.
        c = stackless.channel()
        self.spawn(lambda: c.send([stackless.current])).run()
        gc.collect()
        (t,) = c.receive()
        gc.collect()
        self.assertTrue(t.alive and not t.blocked)
        stackless.run()
        self.assertFalse(t.alive)

    def test_waiting_for_time_and_descriptors(self):
        r, w = os.pipe()

        def wait(act, *args):
            self.log.append(act(*args))

        self.spawn(wait, io.read, r, 1)
        self.spawn(wait, io.sleep, 0.01)
        self.spawn(wait, io.select, io.Receive(stackless.channel()), io.After(0.01))
        stackless.run()
        gc.collect()
        os.write(w, b"x")
        stackless.run(threadblock=True)
        self.assertEqual(sorted(map(repr, self.log)), sorted(["b'x'", "None", "(1, None)"]))
        os.close(r)
        os.close(w)

    def test_runnable_is_reachable(self):
        self.spawn(lambda: self.log.append(1))
        gc.collect()
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_collection_inside_a_tasklet(self):
        def lose():
            self.spawn(self.wait, stackless.channel()).run()
            gc.collect()
            self.log.append("collected")

        self.spawn(lose)
        stackless.run()
        gc.collect()
        self.assertEqual(sorted(self.log), ["collected", "exit"])

    def test_one_that_does_not_want_to_end(self):
        def stubborn():
            for _ in range(3):
                try:
                    stackless.schedule_remove()
                except TaskletExit:
                    self.log.append(1)

        t = self.spawn(stubborn)
        t.run()
        del t
        self.assertEqual(self.log, [1] * 3)


    def test_an_exception_at_the_one_that_drops_it(self):
        def pause():
            try:
                stackless.schedule_remove()
            finally:
                droppers[0].throw(KeyError, pending=True)

        def drop():
            t = self.spawn(pause)
            t.run()
            del t
            self.log.append("dropped")
            try:
                stackless.schedule()
            except KeyError:
                self.log.append("thrown")

        droppers = [self.spawn(drop)]
        stackless.run()
        self.assertEqual(self.log, ["dropped", "thrown"])


class Interpreters(TestCase):
    def test_subinterpreters_are_refused(self):
        out = run_script(
            """if True:
            import stackless
            try:
                import _interpreters as interpreters
            except ImportError:
                import _xxsubinterpreters as interpreters
            i = interpreters.create()
            code = '''if True:
                try:
                    import _stackless
                except ImportError as e:
                    print("refused:", e, flush=True)
                '''
            interpreters.run_string(i, code)
            """
        )
        self.assertIn("refused:", out)
        self.assertIn("interpreter", out)


class References(TestCase):
    """Nothing is left of what was there in large numbers."""

    N = int(100000 / float(os.environ.get("CK_TIMEOUT_MULTIPLIER") or 1))
    AT_ONCE = 500

    def settle(self, act, rounds=None):
        """Runs act() often enough for N of something, AT_ONCE in each call."""

        def repeat():
            for _ in range(rounds or self.N // self.AT_ONCE):
                act()
            gc.collect()
            return sys.getallocatedblocks()

        act()
        blocks = repeat()
        self.assertLess(abs(repeat() - blocks), 200)

    def test_spawns(self):
        def act():
            for _ in range(self.AT_ONCE):
                self.spawn(len, "")
            stackless.run()

        self.settle(act)

    def test_kills(self):
        def act():
            c = stackless.channel()
            ts = [self.spawn(c.receive) for _ in range(self.AT_ONCE)]
            stackless.run()
            for t in ts:
                t.kill()

        self.settle(act)

    def test_kills_before_they_run(self):
        def act():
            for _ in range(self.AT_ONCE):
                self.spawn(len, "").kill()
                self.spawn(len, "").remove()
                stackless.tasklet(len, ("",)).run()

        self.settle(act)

    def test_sends(self):
        value = object()

        def act():
            c = stackless.channel()
            self.spawn(c.send_sequence, (value for _ in range(self.AT_ONCE)))
            for _ in range(self.AT_ONCE):
                c.receive()
            stackless.run()

        before = sys.getrefcount(value)
        self.settle(act)
        self.assertEqual(sys.getrefcount(value), before)

    def test_exceptions(self):
        def act():
            c = stackless.channel()
            for _ in range(10):
                self.spawn(c.send_exception, KeyError, 1)
                self.assertRaises(KeyError, c.receive)
                self.spawn(int, "x")
                self.assertRaises(ValueError, stackless.run)

        self.settle(act, 100)

    def test_between_threads(self):
        value = object()
        c = stackless.channel()

        def act():
            def send():
                for _ in range(500):
                    c.send(value)

            threads = [threading.Thread(target=send) for _ in range(2)]
            for t in threads:
                t.start()
            for _ in range(1000):
                c.receive()
            for t in threads:
                t.join()

        before = sys.getrefcount(value)
        act()
        self.assertEqual(sys.getrefcount(value), before)


if __name__ == "__main__":
    unittest.main()
