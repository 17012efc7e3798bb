# SPDX-License-Identifier: MIT
#
# schedule(), run(), its limits, and rules R1 to R7.
import itertools
import sys
import threading
import time
import unittest

import stackless

from support import TestCase, ways_to_copy


class Rules(TestCase):
    def note(self, name, n=1):
        for i in range(n):
            self.log.append(name)
            if i < n - 1:
                stackless.schedule()

    def test_r1_insert_is_at_the_end(self):
        for name in "abc":
            self.spawn(self.note, name)
        stackless.run()
        self.assertEqual(self.log, list("abc"))

    def test_r1_of_one_that_runs(self):
        def first():
            self.spawn(self.note, "new")
            self.note("first", 2)

        self.spawn(first)
        self.spawn(self.note, "second", 2)
        stackless.run()
        self.assertEqual(self.log, ["first", "second", "new", "first", "second"])

    def test_r2_remove(self):
        ts = [self.spawn(self.note, name) for name in "abc"]
        ts[1].remove()
        stackless.run()
        self.assertEqual(self.log, list("ac"))

    def test_r3_run_skips(self):
        ts = [self.spawn(self.note, name) for name in "abcd"]
        ts[1].run()
        self.assertEqual(self.log, list("bcd"))
        stackless.run()
        self.assertEqual(self.log, list("bcda"))

    def test_r3_run_of_a_paused_one(self):
        t = stackless.tasklet(self.note, ("p",))
        self.spawn(self.note, "a")
        t.run()
        self.assertEqual(self.log, ["p"])
        stackless.run()

    def test_r4_schedule(self):
        for name in "ab":
            self.spawn(self.note, name, 2)
        stackless.schedule()
        self.assertEqual(self.log, list("ab"))
        stackless.schedule()
        self.assertEqual(self.log, list("abab"))
        self.assertEqual(stackless.schedule(), stackless.current)
        self.assertEqual(stackless.schedule(7), 7)
        self.assertEqual(stackless.schedule(retval=8), 8)
        self.assertRaises(TypeError, stackless.schedule, 1, 2)
        self.assertRaises(TypeError, stackless.schedule, value=1)

    def test_r5_schedule_remove(self):
        main = stackless.current
        self.spawn(lambda: self.log.append(main.paused) or main.insert())
        self.spawn(self.note, "b")
        self.assertEqual(stackless.schedule_remove(3), 3)
        self.assertEqual(self.log, [True, "b"])

    def test_r6_end(self):
        self.spawn(self.note, "a")
        t = self.spawn(self.note, "b")
        stackless.schedule()
        self.assertFalse(t.alive)
        self.assertEqual(stackless.runcount, 1)

    def test_r7_main_comes_back(self):
        t = self.spawn(stackless.schedule_remove)
        self.assertIs(stackless.schedule_remove(), stackless.current)
        self.assertTrue(t.paused)
        t.kill()


class Run(TestCase):
    def test_nested(self):
        def inner():
            self.spawn(self.log.append, 1)
            stackless.run()
            self.log.append(stackless.main.paused)

        self.spawn(inner)
        stackless.run()
        self.assertEqual(self.log, [1, True])

    def test_an_exception_goes_to_the_innermost(self):
        def inner():
            self.spawn(int, "x")
            self.assertRaises(ValueError, stackless.run)
            self.log.append(1)

        self.spawn(inner)
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_from_a_tasklet_while_main_waits(self):
        c = stackless.channel()

        def runner():
            self.spawn(self.log.append, 1)
            stackless.run()
            c.send(2)

        self.spawn(runner)
        self.assertEqual(c.receive(), 2)
        self.assertEqual(self.log, [1])

    def test_waking_the_outer_one(self):
        def wake():
            stackless.main.run()
            self.log.append("woken")

        def inner():
            self.spawn(wake)
            stackless.run()
            self.log.append("inner")

        self.spawn(inner)
        stackless.run()
        self.assertEqual(self.log, [])
        stackless.run()
        self.assertEqual(sorted(self.log), ["inner", "woken"])

    def test_who_is_inside(self):
        WITH_RUNNERS = 1 << 31

        def inside():
            return stackless.get_thread_info(-1, WITH_RUNNERS)[3]

        def innermost():
            self.log.append(list(inside()))
            stackless.main.run()

        def middle():
            self.spawn(innermost)
            stackless.run()
            self.log.append(list(inside()))

        for _ in range(2):  # before and after the list has been asked for
            t = self.spawn(middle)
            stackless.run()
            self.assertEqual(inside(), [None])
            self.assertEqual(self.log, [[None, stackless.main, t]])
            stackless.run()
            self.assertEqual(self.log.pop(), [None, stackless.main])
            self.log.clear()
            self.assertIs(inside(), inside())

    def test_runcount(self):
        self.spawn(lambda: self.log.append(stackless.getruncount()))
        self.assertEqual(stackless.runcount, 2)
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_arguments(self):
        self.assertRaises(TypeError, stackless.run, "x")
        self.assertRaises(TypeError, stackless.run, unknown=1)


def spin(n=1000):
    x = 0
    for i in range(n):
        x += i


class Limit(TestCase):
    def test_interrupts(self):
        t = self.spawn(spin)
        self.assertIs(stackless.run(100), t)
        self.assertTrue(t.alive and t.paused)
        self.assertIsNone(sys.gettrace())
        n = 0
        t.insert()
        while stackless.runcount > 1:
            r = stackless.run(100)
            n += 1
            if r:
                r.insert()
        self.assertGreater(n, 2)
        self.assertFalse(t.alive)
        self.assertIsNone(stackless.run(100))

    def test_each_tasklet_has_its_time(self):
        def task():
            for i in range(20):
                stackless.schedule()

        for i in range(3):
            self.spawn(task)
        self.assertIsNone(stackless.run(1000))
        self.assertEqual(stackless.runcount, 1)

    def test_total(self):
        def task():
            while True:
                stackless.schedule()

        ts = [self.spawn(task) for i in range(3)]
        for i in range(2):
            t = stackless.run(500, totaltimeout=True)
            self.assertIn(t, ts)
            t.insert()
        for t in ts:
            t.kill()

    def test_soft(self):
        def task():
            while True:
                spin(100)
                stackless.schedule()

        ts = [self.spawn(task) for i in range(3)]
        self.assertIsNone(stackless.run(1000, soft=True, totaltimeout=True))
        self.assertEqual(stackless.runcount, 4)
        for t in ts:
            t.kill()

    def test_atomic(self):
        def task():
            with stackless.atomic():
                spin()
                self.log.append("atomic")
            spin()
            self.log.append("end")

        t = self.spawn(task)
        self.assertIs(stackless.run(100), t)
        self.assertEqual(self.log, ["atomic"])
        t.kill()

    def test_one_context_entered_again(self):
        current = stackless.current
        context = stackless.atomic()

        def other():
            with context:
                self.log.append(stackless.current.atomic)
                stackless.schedule()
                with context, context:
                    pass
                self.log.append(stackless.current.atomic)
            self.log.append(stackless.current.atomic)

        with context:
            with context, context:
                self.assertTrue(current.atomic)
            self.assertTrue(current.atomic)
            self.spawn(other)
            stackless.schedule()
        self.assertFalse(current.atomic)
        stackless.run()
        self.assertEqual(self.log, [True, True, False])
        self.assertRaisesRegex(RuntimeError, "not entered", context.__exit__)

    def test_an_interrupted_one_can_be_killed(self):
        def task():
            try:
                spin()
            finally:
                self.log.append(1)

        self.spawn(task)
        stackless.run(100).kill()
        self.assertEqual(self.log, [1])

    def test_nested(self):
        # The outermost limit counts alone, as in Stackless. When it is reached, the inner
        # call returns too, and later ones have their limits again.
        def inner():
            self.log.append(stackless.run(10, ignore_nesting=True))
            self.log.append(list(stackless.get_thread_info(-1, 1 << 31)[3]))

        def outer():
            self.spawn(inner)
            t = self.spawn(spin)
            self.assertIs(stackless.run(500, ignore_nesting=True, totaltimeout=True), t)
            self.log.append(t.alive)
            t.kill()

        self.spawn(outer)
        stackless.run()
        self.assertEqual(self.log, [True, None, [None, stackless.main]])
        t = self.spawn(spin)
        self.assertIs(stackless.run(10), t)
        t.kill()

    def test_exceptions(self):
        self.spawn(int, "x")
        self.assertRaises(ValueError, stackless.run, 1000)
        self.assertIsNone(stackless.run(1000))

    def test_an_exception_for_the_one_inside_run(self):
        def task():
            stackless.main.throw(KeyError, pending=True)
            spin()
            self.log.append(1)

        self.spawn(task)
        self.assertRaises(KeyError, stackless.run, 100)
        self.assertEqual(stackless.runcount, 2)
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_loops_of_one_line(self):
        for loop in (
            "while True: pass",
            "for i in it.repeat(0): pass",
            "[0 for i in it.repeat(0)]",
            "for i in (i for i in it.repeat(0)): pass",
        ):
            t = self.spawn(exec, loop, {"it": itertools})
            self.assertIs(stackless.run(100), t)
            t.kill()

    def test_order_afterwards(self):
        t, *others = [self.spawn(spin), self.spawn(len, ""), self.spawn(len, "")]
        self.assertIs(stackless.run(100), t)
        self.assertEqual([stackless.main.next, stackless.main.prev], others)
        t.insert()
        self.assertIs(t.prev, others[1])
        stackless.run()

        t, *others = [self.spawn(self.spin_and_schedule) for i in range(3)]
        self.assertIsNone(stackless.run(100, soft=True))
        self.assertEqual([stackless.main.next, stackless.main.prev], [others[0], t])
        stackless.run()

    def spin_and_schedule(self):
        spin(100)
        stackless.schedule()

    def test_soft_and_a_switch_in_a_channel(self):
        c = stackless.channel()

        def receive():
            while True:
                self.log.append(c.receive())

        def send():
            spin(100)
            c.send(1)
            self.log.append(2)
            stackless.schedule()
            self.log.append(3)

        ts = [self.spawn(receive), self.spawn(send)]
        self.assertIsNone(stackless.run(100, soft=True, totaltimeout=True))
        self.assertIn(self.log, ([1], [1, 2]))
        for t in ts:
            t.kill()

    def test_runs_inside(self):
        def inner():
            stackless.run()
            self.log.append("inner")

        def limited():
            self.log.append(stackless.run(10))

        for function in (inner, limited):
            self.log = []
            t, hog = self.spawn(function), self.spawn(spin)
            self.assertIs(stackless.run(1000), hog)
            # Those that were inside go on.
            self.assertEqual((t.scheduled, self.log), (True, []))
            stackless.run()
            self.assertEqual(len(self.log), 1)
            self.assertIsNot(self.log[0], hog)
            hog.kill()

    def nest(self, function):
        """Calls it by way of C."""
        return list(map(lambda _: function(), [0]))

    def test_nesting(self):
        def task():
            self.nest(spin)
            spin()

        def ignores():
            stackless.current.set_ignore_nesting(True)
            task()

        for function, ignore, depth in (
            (task, False, 1),
            (task, True, 3),
            (ignores, False, 4),
        ):
            t = self.spawn(function)
            self.assertIs(stackless.run(100, ignore_nesting=ignore), t)
            frame, n = t.frame, 0
            while frame:
                frame, n = frame.f_back, n + 1
            self.assertGreaterEqual(n, depth)
            if depth == 1:
                self.assertIs(t.frame.f_code, task.__code__)
            t.kill()

    def test_nesting_and_soft(self):
        def task(name):
            self.nest(self.spin_and_schedule)
            self.log.append(name)

        for ignore in (True, False):
            self.log = []
            self.spawn(task, 1)
            self.spawn(self.spin_and_schedule)
            self.spawn(self.log.append, 2)
            self.assertIsNone(stackless.run(100, soft=True, ignore_nesting=ignore))
            self.assertEqual(stackless.current.prev.nesting_level > 1, ignore)
            stackless.run()
            self.assertEqual(sorted(self.log), [1, 2])

    def test_own_trace_functions(self):
        def trace(frame, event, arg):
            if frame.f_code is spin.__code__:
                self.log.append(event)
            return trace

        def task():
            self.assertIs(sys.gettrace(), trace)
            spin(100)
            self.assertIs(sys.gettrace(), trace)

        def sets_it():
            sys.settrace(trace)
            stackless.schedule()
            task()

        for function in (task, sets_it):
            self.log = []
            t = self.spawn(function)
            if function is task:
                t.trace_function = trace
            self.assertIs(stackless.run(100), t)
            self.assertIs(t.trace_function, trace)
            n = len(self.log)
            self.assertEqual(set(self.log), {"call", "line"})
            t.insert()
            while stackless.runcount > 1:
                t = stackless.run(100)
                if t:
                    t.insert()
            self.assertGreater(len(self.log), n)
            self.assertEqual(set(self.log), {"call", "line", "return"})
        self.assertIsNone(sys.gettrace())

    def test_a_trace_function_from_the_middle(self):
        def trace(frame, event, arg):
            self.log.append(event)
            return trace

        def task():
            sys.settrace(trace)
            sys._getframe().f_trace = trace
            x = 0
            x = 1
            sys.settrace(None)

        self.spawn(task)
        self.assertIsNone(stackless.run(1000))
        self.assertEqual(set(self.log), {"line"})

    def test_a_trace_function_of_its_own_that_ends(self):
        """The limit is gone when the tasklet goes on."""

        def trace(frame, event, arg):
            return None

        def task():
            sys.settrace(trace)
            stackless.schedule()
            spin(100)
            stackless.schedule()
            self.log.append(sys.gettrace())
            sys.settrace(None)
            self.log.append(sys.gettrace())

        t = self.spawn(task)
        self.assertIs(stackless.run(100), t)
        t.insert()
        stackless.run()
        self.assertEqual(self.log, [trace, None])

    def test_nothing_is_traced_afterwards(self):
        """Since 3.12 the interpreter's instructions change for all tasklets and threads."""

        def opcodes():
            function = eval("lambda: None")
            function()
            return function.__code__._co_code_adaptive[::2]

        def refuses():
            sys.settrace(None)
            stackless.schedule_remove()

        before = opcodes()
        waits = self.spawn(stackless.schedule_remove)
        others = [waits, self.spawn(lambda: stackless.schedule_remove()), self.spawn(refuses)]
        t = self.spawn(spin)
        self.assertIs(stackless.run(100), t)
        self.assertEqual(opcodes(), before)
        for t in others:
            t.insert()
        self.assertIsNone(stackless.run(100))
        self.assertEqual(opcodes(), before)

    def test_a_trace_function_stays(self):
        def trace(frame, event, arg):
            self.log.append(event)

        def traced():
            sys.settrace(trace)
            stackless.schedule_remove()
            self.nest(len(()).bit_length)
            sys.settrace(None)

        t = self.spawn(traced)
        self.assertIsNone(stackless.run(1000))
        self.log = []
        t.run()
        self.assertIn("call", self.log)

    def test_threadblock(self):
        c = stackless.channel()

        def send():
            time.sleep(0.02)
            c.send(1)

        t = self.spawn(lambda: self.log.append(c.receive()))
        self.assertIsNone(stackless.run(1000))
        self.assertTrue(t.blocked)
        thread = threading.Thread(target=send)
        thread.start()
        self.assertIsNone(stackless.run(1000, threadblock=True))
        self.assertEqual(self.log, [1])
        thread.join()


class Callback(TestCase):
    def test_what_it_is_told(self):
        def callback(prev, next):
            self.log.append((prev, next, stackless.current))

        self.assertIsNone(stackless.set_schedule_callback(callback))
        self.assertIs(stackless.get_schedule_callback(), callback)
        main = stackless.current
        t = self.spawn(stackless.schedule)
        stackless.schedule()
        stackless.run()
        stackless.set_schedule_callback(None)
        self.assertEqual(
            self.log, [(main, t, main), (t, main, t), (main, t, main), (t, main, t)]
        )
        self.assertRaises(TypeError, stackless.set_schedule_callback, 1)

    def test_it_cannot_switch(self):
        def callback(prev, next):
            try:
                stackless.schedule()
            except RuntimeError as e:
                self.log.append(str(e))

        self.spawn(len, "")
        stackless.set_schedule_callback(callback)
        stackless.run()
        stackless.set_schedule_callback(None)
        self.assertEqual(len(self.log), 2)
        self.assertIn("callback", self.log[0])

    def test_which_exception_it_sees(self):
        """That which the tasklet handles that gives way; none when it has ended."""

        def callback(prev, next):
            self.log.append(sys.exc_info()[0])

        def task():
            try:
                raise KeyError
            except KeyError:
                stackless.schedule()

        self.spawn(task)
        stackless.set_schedule_callback(callback)
        try:
            raise ValueError
        except ValueError:
            stackless.schedule()
            stackless.run()
        stackless.set_schedule_callback(None)
        self.assertEqual(self.log, [ValueError, KeyError, ValueError, None])

    def test_removing_one_that_has_not_run(self):
        def task():
            for _ in range(3):
                self.spawn(self.log.append, "never").remove()
                stackless.schedule()

        stackless.set_schedule_callback(lambda prev, next: self.log.append((prev, next)))
        t = self.spawn(task)
        stackless.run()
        stackless.set_schedule_callback(None)
        self.assertEqual(self.log, [(stackless.main, t), (t, stackless.main)])


class Module(TestCase):
    def test_attributes(self):
        self.assertIs(stackless.current, stackless.getcurrent())
        self.assertIs(stackless.main, stackless.getmain())
        self.assertEqual(stackless.runcount, stackless.getruncount())
        self.assertEqual(stackless.threads, stackless.getthreads())
        self.assertIs(stackless.stackless, stackless)
        self.assertFalse(stackless.debug)
        self.assertEqual(stackless.uncollectables, [])

    def test_names(self):
        for name in stackless.__all__:
            self.assertTrue(hasattr(stackless, name), name)

    def test_soft_switching(self):
        self.assertIs(stackless.enable_softswitch(None), False)
        self.assertIs(stackless.enable_softswitch(False), False)
        self.assertRaisesRegex(NotImplementedError, "C stack", stackless.enable_softswitch, True)

    def test_pickles(self):
        self.assertIs(stackless.pickle_with_tracing_state, False)
        stackless.pickle_with_tracing_state = False
        with self.assertRaisesRegex(NotImplementedError, "C stack"):
            stackless.pickle_with_tracing_state = True
        for flags in stackless.pickle_flags, stackless.pickle_flags_default:
            for args in (), (-1,), (0,), (0, 1), (-1, 1), (6, 1), (7, 0):
                self.assertEqual(flags(*args), 0)
            self.assertEqual(flags(new_flags=4, mask=3), 0)
            for args in (1,), (-2,), (7, 1):
                self.assertRaisesRegex(ValueError, "no flags", flags, *args)

    def test_the_module(self):
        for pick in ways_to_copy():
            self.assertIs(pick(stackless), stackless)
        self.assertEqual(stackless.__reduce__(), "stackless")

    def test_ids(self):
        self.assertEqual(stackless.getcurrentid(), stackless.threads[0])
        self.spawn(lambda: self.log.append(stackless.getcurrentid()))
        stackless.run()
        self.assertNotEqual(self.log[0], stackless.threads[0])

    def test_bombs(self):
        b = stackless.bomb(KeyError, KeyError("k"))
        self.assertEqual((b.type, b.value.args, b.traceback), (KeyError, ("k",), None))
        try:
            1 / 0
        except ZeroDivisionError:
            self.assertIs(stackless.bomb(sys.exc_info()).type, ZeroDivisionError)


if __name__ == "__main__":
    unittest.main()
