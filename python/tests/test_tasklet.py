# SPDX-License-Identifier: MIT
#
# The type tasklet: each of its members.
import _thread
import contextvars
import pickle
import sys
import threading
import traceback
import types
import unittest
import weakref

import stackless

from support import TestCase, ways_to_copy


def picklable(x):
    picklable.seen = x


class WithAttributes(stackless.tasklet):
    pass


class WithSlots(stackless.tasklet):
    __slots__ = ["y"]


class WithBoth(WithSlots):
    pass


class OfItsOwn(stackless.tasklet):
    """Has its own way to be pickled, round that of tasklets."""

    def __reduce__(self):
        make, args, state = super().__reduce__()
        return make, args, (state, "own")

    def __setstate__(self, state):
        self.own = state[1]
        return super().__setstate__(state[0])


class Creation(TestCase):
    def test_not_bound(self):
        t = stackless.tasklet()
        self.assertFalse(t.alive)
        self.assertFalse(t.scheduled)
        self.assertFalse(t.paused)
        self.assertIsNone(t.frame)
        self.assertIsNone(t.next)
        self.assertIsNone(t.prev)
        self.assertEqual(t.recursion_depth, 0)
        self.assertEqual(t.nesting_level, 0)
        for call in t.insert, t.run, t.switch:
            self.assertRaisesRegex(RuntimeError, "dead", call)
        self.assertRaisesRegex(RuntimeError, "not bound", t)

    def test_call_is_setup(self):
        for give in (lambda t: t(1, b=2)), (lambda t: t.setup(1, b=2)):
            t = stackless.tasklet(lambda *a, **k: self.log.append((a, k)))
            self.assertIs(give(t), t)
            self.assertTrue(t.alive)
            self.assertTrue(t.scheduled)
            self.assertRaisesRegex(RuntimeError, "alive", t)
            stackless.run()
            self.assertFalse(t.alive)
        self.assertEqual(self.log, [((1,), {"b": 2})] * 2)

    def test_arguments_at_once(self):
        t = stackless.tasklet(self.log.append, (3,))
        self.assertTrue(t.paused)
        stackless.run()
        self.assertEqual(self.log, [])
        t.insert()
        stackless.run()
        self.assertEqual(self.log, [3])

    def test_bind(self):
        t = stackless.tasklet()
        self.assertIs(t.bind(self.log.append), t)
        self.assertFalse(t.alive)
        t.bind(args=(1,))
        self.assertTrue(t.alive and t.paused)
        t.run()
        t.bind(self.log.append, kwargs={})
        with self.assertRaises(TypeError):
            t.run()
        t.bind(lambda a, b: self.log.append(a + b), (1,), {"b": 2}).run()
        self.assertEqual(self.log, [1, 3])

    def test_bind_errors(self):
        t = stackless.tasklet()
        self.assertRaisesRegex(TypeError, "callable", t.bind, 1)
        self.assertRaisesRegex(TypeError, "tuple", t.bind, len, [])
        self.assertRaisesRegex(TypeError, "dict", t.bind, len, (), ())
        self.assertRaisesRegex(RuntimeError, "current", stackless.current.bind, None)
        self.spawn(stackless.schedule_remove).remove()
        t = self.spawn(stackless.schedule)
        self.assertRaisesRegex(RuntimeError, "scheduled", t.bind, None)
        stackless.run()
        t = self.spawn(stackless.schedule_remove)
        stackless.run()
        self.assertRaisesRegex(RuntimeError, "C state", t.bind, None)
        t.kill()

    def test_unbind(self):
        t = self.spawn(self.log.append, 1)
        t.remove()
        t.bind(None)
        self.assertFalse(t.alive)
        stackless.run()
        self.assertEqual(self.log, [])

    def test_it_can_be_used_again(self):
        t = stackless.tasklet(self.log.append)
        for i in range(3):
            t.bind(self.log.append)(i)
            stackless.run()
        self.assertEqual(self.log, [0, 1, 2])

    def test_subclass(self):
        class Named(stackless.tasklet):
            def __new__(cls, function, name):
                return super().__new__(cls)

            def __init__(self, function, name):
                super().__init__(function)
                self.name = name

        t = Named(lambda: self.log.append(stackless.current.name), "x")()
        self.assertIsInstance(t, Named)
        stackless.run()
        self.assertEqual(self.log, ["x"])

    def test_subclass_that_is_called_otherwise(self):
        class Twice(stackless.tasklet):
            def __call__(self, *args, **kwargs):
                self.given = args, kwargs
                return super().__call__(*args * 2, **kwargs)

        class Plain(stackless.tasklet):
            pass

        def note(*args, **kwargs):
            self.log.append((args, kwargs))

        t = Twice(note)(1, k=2)
        self.assertEqual(t.given, ((1,), {"k": 2}))
        Plain(note)(3, k=4)
        stackless.run()
        self.assertEqual(self.log, [((1, 1), {"k": 2}), ((3,), {"k": 4})])

    def test_arguments_of_the_type(self):
        for t in (
            stackless.tasklet(func=self.log.append),
            stackless.tasklet(*[self.log.append], **{}),
            stackless.tasklet(args=None, func=self.log.append),
            stackless.tasklet.__call__.__get__(stackless.tasklet(self.log.append)),
        ):
            t(1)
        stackless.tasklet(self.log.append, kwargs={}, args=(1,)).run()
        stackless.run()
        self.assertEqual(self.log, [1] * 5)
        self.assertFalse(stackless.tasklet(None).alive)
        self.assertRaisesRegex(TypeError, "callable", stackless.tasklet, 1)
        self.assertRaises(TypeError, stackless.tasklet, unknown=len)
        self.assertRaises(TypeError, stackless.tasklet, len, (), {}, 1)

    def test_weak_references(self):
        t = self.spawn(len, "")
        w = weakref.ref(t)
        del t
        self.assertIsNotNone(w())
        stackless.run()
        self.assertIsNone(w())


class Queue(TestCase):
    def test_insert_and_remove(self):
        t = self.spawn(self.log.append, 1)
        self.assertIs(t.remove(), t)
        self.assertTrue(t.paused)
        self.assertIs(t.remove(), t)
        self.assertEqual(stackless.getruncount(), 1)
        self.assertIs(t.insert(), t)
        self.assertIs(t.insert(), t)
        self.assertEqual(stackless.getruncount(), 2)
        stackless.run()
        self.assertEqual(self.log, [1])
        self.assertRaisesRegex(RuntimeError, "current", stackless.current.remove)

    def test_remove_of_one_that_has_run(self):
        t = self.spawn(lambda: (stackless.schedule(), self.log.append(1)))
        stackless.schedule()
        t.remove()
        stackless.run()
        self.assertEqual(self.log, [])
        t.insert()
        stackless.run()
        self.assertEqual(self.log, [1])

    def test_blocked(self):
        c = stackless.channel()
        t = self.spawn(c.receive)
        stackless.run()
        self.assertTrue(t.blocked and t.scheduled and not t.paused)
        self.assertIs(t._channel, c)
        self.assertRaisesRegex(RuntimeError, "blocked", t.insert)
        self.assertRaisesRegex(RuntimeError, "blocked", t.remove)
        self.assertRaisesRegex(RuntimeError, "blocked", t.run)
        self.assertRaisesRegex(RuntimeError, "blocked", t.switch)
        c.send(None)
        self.assertIsNone(t._channel)

    def test_neighbours(self):
        main = stackless.current
        self.assertIs(main.next, main)
        a, b = self.spawn(len, ""), self.spawn(len, "")
        self.assertIs(main.next, a)
        self.assertIs(a.next, b)
        self.assertIs(b.next, main)
        self.assertIs(main.prev, b)
        self.assertIs(a.prev, main)
        a.remove()
        self.assertIsNone(a.next)
        stackless.run()
        self.assertIs(main.prev, main)

    def test_neighbours_in_a_channel(self):
        c = stackless.channel()
        ts = [self.spawn(c.receive) for _ in range(3)]
        stackless.run()
        self.assertIs(c.queue, ts[0])
        self.assertIs(ts[0].next, ts[1])
        self.assertIs(ts[2].prev, ts[1])
        self.assertIsNone(ts[2].next)
        self.assertIsNone(ts[0].prev)
        for t in ts:
            t.kill()
        self.assertIsNone(c.queue)

    def test_run_and_switch(self):
        t = self.spawn(lambda: self.log.append(stackless.main.paused))
        t.run()
        t = self.spawn(lambda: (self.log.append(stackless.main.paused), stackless.main.insert()))
        t.switch()
        self.assertEqual(self.log, [False, True])
        stackless.current.run()
        stackless.current.switch()

    def test_switch_under_a_trap(self):
        t = stackless.tasklet(self.log.append, (1,))
        stackless.switch_trap(1)
        try:
            self.assertRaisesRegex(RuntimeError, "switch_trap", t.run)
            self.assertRaisesRegex(RuntimeError, "switch_trap", t.switch)
            self.assertTrue(t.paused)
            self.assertRaisesRegex(RuntimeError, "switch_trap", self.spawn(len, "").run)
            self.assertRaisesRegex(RuntimeError, "switch_trap", stackless.schedule)
            self.assertRaisesRegex(RuntimeError, "switch_trap", stackless.schedule_remove)
            self.assertRaisesRegex(RuntimeError, "switch_trap", stackless.run)
            stackless.current.run()
        finally:
            self.assertEqual(stackless.switch_trap(-1), 1)
        self.assertEqual(stackless.switch_trap(), 0)
        t.run()
        self.assertEqual(self.log, [1])

    def test_tempval(self):
        t = self.spawn(lambda: self.log.append(stackless.schedule_remove(5)))
        t.run()
        self.assertEqual(t.tempval, 5)
        t.tempval = 6
        t.run()
        t = self.spawn(lambda: self.log.append(stackless.schedule() is stackless.current))
        t.run()
        self.assertIs(t.tempval, t)
        t.run()
        self.assertEqual(self.log, [6, True])
        self.assertIsNone(t.tempval)
        t = self.spawn(stackless.schedule)
        t.run()
        t.tempval = stackless.bomb(ValueError, "boom")
        self.assertRaisesRegex(ValueError, "boom", stackless.run)


class Exceptions(TestCase):
    def waiting(self, catch=()):
        def wait():
            try:
                stackless.channel().receive()
            except catch as e:
                self.log.append(e)

        t = self.spawn(wait)
        t.run()
        return t

    def test_kill(self):
        t = self.waiting()
        self.assertIsNone(t.kill())
        self.assertFalse(t.alive)
        self.assertIsNone(t.kill())

    def test_kill_can_be_caught(self):
        t = self.waiting(TaskletExit)
        t.kill()
        self.assertEqual([type(e) for e in self.log], [TaskletExit])
        self.assertIs(stackless.TaskletExit, TaskletExit)
        self.assertTrue(issubclass(TaskletExit, SystemExit))

    def test_kill_pending(self):
        t = self.waiting(TaskletExit)
        t.kill(pending=True)
        self.assertEqual(self.log, [])
        self.assertTrue(t.alive and t.scheduled and not t.blocked)
        stackless.run()
        self.assertFalse(t.alive)

    def test_kill_before_it_runs(self):
        for pending in False, True:
            t = self.spawn(self.log.append, 1)
            t.kill(pending)
            self.assertEqual(t.alive, pending)
            stackless.run()
            self.assertFalse(t.alive)
            t = stackless.tasklet(self.log.append, (1,))
            t.kill(pending)
            self.assertEqual((t.alive, t.scheduled), (pending, pending))
            stackless.run()
            self.assertFalse(t.alive)
        self.assertEqual(self.log, [])

    def test_kill_current(self):
        def suicide():
            stackless.current.kill()
            self.log.append(1)

        self.spawn(suicide)
        stackless.run()
        self.assertEqual(self.log, [])

    def test_throw(self):
        for args in (
            (IndexError, (1, 2)),
            (IndexError(1, 2),),
            (IndexError, IndexError(1, 2)),
        ):
            self.waiting(IndexError).throw(*args)
        self.assertEqual([e.args for e in self.log], [(1, 2)] * 3)

    def test_an_instance_keeps_its_traceback(self):
        try:
            {}["far away"]
        except KeyError as e:
            error = e
        self.waiting(KeyError).throw(error)
        self.waiting(KeyError).throw(error, pending=True)
        stackless.run()
        c = stackless.channel()
        self.spawn(c.send_throw, error)
        try:  # assertRaises() would take the traceback away
            c.receive()
        except KeyError as e:
            self.log.append(e)
        self.assertEqual(self.log, [error] * 3)
        # As by `raise`, each place where it is raised again is added.
        names = [f.name for f in traceback.extract_tb(error.__traceback__)]
        self.assertEqual(names[-1], "test_an_instance_keeps_its_traceback")
        self.assertEqual(names.count("wait"), 2)

    def test_throw_with_traceback(self):
        def fail():
            raise ValueError("far away")

        try:
            fail()
        except ValueError:
            self.waiting(ValueError).throw(*sys.exc_info())
        names = [f.name for f in traceback.extract_tb(self.log[0].__traceback__)]
        self.assertEqual(names[0], "wait")
        self.assertIn("fail", names)

    def test_throw_pending(self):
        t = self.waiting(KeyError)
        t.throw(KeyError, "a", pending=True)
        self.assertEqual(self.log, [])
        t.throw(KeyError, "b", pending=True)
        t.run()
        self.assertEqual([e.args for e in self.log], [("b",)])

    def test_throw_before_it_runs(self):
        t = self.spawn(self.log.append, 1)
        self.assertRaises(KeyError, t.throw, KeyError)
        self.assertFalse(t.alive)
        t = self.spawn(self.log.append, 1)
        t.throw(KeyError, pending=True)
        self.assertRaises(KeyError, stackless.run)
        t = stackless.tasklet(self.log.append, (1,))
        self.assertRaises(KeyError, t.throw, KeyError)
        self.assertEqual(self.log, [])

    def test_throw_at_dead(self):
        t = stackless.tasklet()
        self.assertRaisesRegex(RuntimeError, "dead", t.throw, KeyError)
        self.assertIsNone(t.throw(TaskletExit))

    def test_throw_errors(self):
        t = self.waiting()
        self.assertRaises(TypeError, t.throw)
        self.assertRaisesRegex(TypeError, "must be classes", t.throw, 1)
        self.assertRaisesRegex(TypeError, "separate value", t.throw, KeyError(1), 2)
        self.assertRaisesRegex(TypeError, "traceback", t.throw, KeyError, 1, 2)
        self.assertRaises(KeyError, stackless.current.throw, KeyError)
        self.assertTrue(t.blocked)
        t.kill()

    def test_raise_exception(self):
        t = self.waiting(IndexError)
        t.raise_exception(IndexError, 1, 2)
        self.assertEqual(self.log[0].args, (1, 2))
        self.assertRaises(TypeError, t.raise_exception)
        self.assertRaisesRegex(TypeError, "subclass", t.raise_exception, 1)

    def test_an_exception_at_one_that_was_served(self):
        c = stackless.channel()
        c.preference = 1

        def wait():
            try:
                self.log.append(c.receive())
            except KeyError:
                self.log.append("raised")

        t = self.spawn(wait)
        t.run()
        c.send(1)
        t.throw(KeyError, pending=True)
        stackless.run()
        self.assertEqual(self.log, ["raised"])

    def test_uncaught_goes_to_main(self):
        def fail():
            raise ValueError("from a tasklet")

        self.spawn(fail)
        self.spawn(self.log.append, 1)
        try:
            stackless.run()
        except ValueError as e:
            self.assertEqual(e.args, ("from a tasklet",))
            names = [f.name for f in traceback.extract_tb(e.__traceback__)]
        self.assertEqual(names[-1], "fail")
        self.assertEqual(self.log, [])
        stackless.run()
        self.spawn(fail)
        self.assertRaises(ValueError, stackless.schedule)
        self.spawn(fail)
        self.assertRaises(ValueError, stackless.channel().receive)

    def test_exit_ends_the_program_by_main(self):
        self.spawn(sys.exit, 4)
        with self.assertRaises(SystemExit) as caught:
            stackless.run()
        self.assertEqual(caught.exception.code, 4)


class Handler(TestCase):
    def handle(self, kind, value, tb):
        self.log.append((kind, value.args, stackless.current))

    def test_error_handler(self):
        self.assertIsNone(stackless.set_error_handler(self.handle))
        self.assertEqual(stackless.set_error_handler(self.handle), self.handle)
        t = self.spawn(int, "x")
        stackless.run()
        self.assertIs(self.log[0][0], ValueError)
        self.assertIs(self.log[0][2], t)
        t = self.spawn(len)
        t.throw(KeyError, "k")
        self.assertEqual(self.log[1], (KeyError, ("k",), t))
        t = self.spawn(stackless.schedule)
        t.run()
        t.kill()
        self.assertEqual(len(self.log), 2)

    def test_a_handler_that_fails(self):
        def broken(*args):
            raise IndexError("broken")

        stackless.set_error_handler(broken)
        self.spawn(int, "x")
        self.assertRaisesRegex(IndexError, "broken", stackless.run)
        self.assertRaises(TypeError, stackless.set_error_handler, 1)


class Attributes(TestCase):
    def test_main_and_current(self):
        main = stackless.getmain()
        self.assertIs(main, stackless.getcurrent())
        self.assertTrue(main.is_main and main.is_current and main.alive)
        t = self.spawn(
            lambda: self.log.append(
                (stackless.current.is_current, stackless.current.is_main, main.is_current)
            )
        )
        self.assertFalse(t.is_current or t.is_main)
        stackless.run()
        self.assertEqual(self.log, [(True, False, False)])

    def test_flags(self):
        t = stackless.current
        for set_flag, name in (
            (t.set_atomic, "atomic"),
            (t.set_ignore_nesting, "ignore_nesting"),
        ):
            self.assertIs(set_flag(True), False)
            self.assertIs(getattr(t, name), True)
            self.assertIs(set_flag(0), True)
            self.assertRaises(TypeError, set_flag, "x")
        with stackless.atomic():
            self.assertTrue(t.atomic)
            with stackless.atomic():
                pass
            self.assertTrue(t.atomic)
        self.assertFalse(t.atomic)
        with self.assertRaises(TypeError):
            t.block_trap = "x"

    def test_block_trap(self):
        c = stackless.channel()
        stackless.current.block_trap = True
        try:
            self.assertRaisesRegex(RuntimeError, "blocked", c.receive)
            self.assertRaisesRegex(RuntimeError, "blocked", c.send, 1)
            self.spawn(c.send, 1)
            stackless.schedule()
            self.assertEqual(c.receive(), 1)
        finally:
            stackless.current.block_trap = False
        t = self.spawn(c.receive)
        t.block_trap = True
        self.assertRaisesRegex(RuntimeError, "blocked", stackless.run)

    def test_nesting_and_restorable(self):
        t = self.spawn(stackless.schedule_remove)
        self.assertTrue(t.restorable)
        self.assertEqual(t.nesting_level, 0)
        t.run()
        self.assertFalse(t.restorable)
        self.assertEqual(t.nesting_level, 1)
        t.kill()
        self.assertEqual(t.nesting_level, 0)

    def test_nesting_is_counted(self):
        """Python calls Python without C; max() calls its key from C."""

        def nest(n, function):
            return max([n], key=lambda n: nest(n - 1, function)) if n else function()

        def note():
            self.log.append(stackless.current.nesting_level)

        def task(n):
            nest(n, note)
            nest(n, stackless.schedule)

        for n in 0, 1, 5:
            nest(n, note)
        main, self.log = self.log, []
        self.assertLess(main[0], main[1])
        self.assertLessEqual(main[1] + 4, main[2])
        tasks = [self.spawn(task, n) for n in (0, 1, 5)]
        stackless.schedule()
        self.assertEqual(self.log[0], 1)
        self.assertGreaterEqual(self.log[1], 2)
        self.assertLessEqual(self.log[1] + 4, self.log[2])
        levels = [t.nesting_level for t in tasks]
        self.assertEqual(levels, self.log)
        nest(5, lambda: self.assertEqual([t.nesting_level for t in tasks], levels))
        stackless.run()
        self.assertEqual([t.nesting_level for t in tasks], [0, 0, 0])

    def test_nesting_counts_calls_of_python_alone(self):
        """Not what nests in C on the way to them, and each one once."""

        class Noting:
            def __repr__(self):
                self.level = stackless.current.nesting_level
                stackless.schedule()
                return ""

        def generate():
            yield stackless.current.nesting_level
            stackless.schedule()

        def nest(depth):
            noting = Noting()
            for _ in range(depth):
                noting = [noting]
            repr(noting)
            while isinstance(noting, list):
                noting = noting[0]
            self.log.append(noting.level)
            self.log.append(max(generate()))

        before = stackless.current.nesting_level
        nest(0)
        nest(20)
        self.assertEqual(self.log, [before + 1] * 4)
        self.log.clear()
        for depth in 0, 20:
            t = self.spawn(nest, depth)
            t.run()
            self.assertEqual(t.nesting_level, 2)
            t.run()
            self.assertEqual(t.nesting_level, 2)
            t.run()
        self.assertEqual(self.log, [2] * 4)

    def test_nesting_of_main_tasklets(self):
        def thread():
            self.log.append((stackless.main.nesting_level, stackless.main.restorable))
            done.set()

        done = threading.Event()
        _thread.start_new_thread(thread, ())
        done.wait()
        self.assertEqual(self.log, [(0, True)])
        level = stackless.main.nesting_level
        self.spawn(lambda: self.assertEqual(stackless.main.nesting_level, level))
        stackless.run()

    def test_frame_and_depth(self):
        def deep(n):
            return deep(n - 1) if n else stackless.schedule_remove()

        t = self.spawn(deep, 10)
        self.assertIsNone(t.frame)
        t.run()
        self.assertIsInstance(t.frame, types.FrameType)
        self.assertGreater(t.recursion_depth, 10)
        n, f = 0, t.frame
        while f:
            n, f = n + 1, f.f_back
        self.assertEqual(n, 11)
        self.assertEqual(t.frame.f_locals, {"n": 0, "deep": deep})
        t.kill()
        self.assertIsNone(t.frame)
        self.assertEqual(t.recursion_depth, 0)
        self.assertIs(stackless.current.frame, sys._getframe())

    def test_contexts(self):
        var = contextvars.ContextVar("var", default=0)
        var.set(1)

        def task():
            var.set(var.get() + 1)
            stackless.schedule()
            self.log.append(var.get())

        inner = contextvars.copy_context()
        a, b = self.spawn(task), self.spawn(task)
        self.assertIs(b.set_context(inner), b)
        self.assertNotEqual(a.context_id, b.context_id)
        self.assertEqual(a.context_id, stackless.current.context_id)
        stackless.run()
        self.assertEqual(self.log, [2, 2])
        self.assertEqual(inner[var], 2)
        t = stackless.tasklet(len)
        t.set_context(contextvars.Context())
        self.assertEqual(t.context_run(var.get), 0)
        self.assertEqual(t.context_run(lambda *a, **k: (a, k), 1, b=2), ((1,), {"b": 2}))
        self.assertRaises(TypeError, t.context_run)
        self.assertRaises(TypeError, t.set_context, 1)
        self.assertRaisesRegex(
            RuntimeError, "entered", contextvars.Context().run, self.set_own_context
        )

    def set_own_context(self):
        stackless.current.set_context(contextvars.Context())


class Pickling(TestCase):
    def test_slots_that_change_meanwhile(self):
        class Meddler(stackless.tasklet):
            __slots__ = ("a", "b", "c")

            def __setattr__(self, name, value):
                slots.clear()
                super().__setattr__(name, value)

        slots = {"a": 1, "b": 2, "c": 3}
        state = stackless.tasklet().__reduce__()[2]
        t = Meddler()
        t.__setstate__(state[:8] + ((None, slots),))
        self.assertEqual((t.a, t.b, t.c), (1, 2, 3))

    def test_one_that_has_not_run(self):
        t = self.spawn(picklable, 3)
        copy = pickle.loads(pickle.dumps(t))
        t.remove()
        self.assertTrue(copy.paused)
        copy.run()
        self.assertEqual(picklable.seen, 3)
        self.assertFalse(pickle.loads(pickle.dumps(stackless.tasklet())).alive)

    def test_one_that_has(self):
        t = self.spawn(stackless.schedule_remove)
        t.run()
        self.assertRaisesRegex(NotImplementedError, "C stack", pickle.dumps, t)
        t.kill()

    def test_what_is_kept(self):
        for method in "set_atomic", "set_ignore_nesting", None:
            t = stackless.tasklet(picklable).bind(args=(), kwargs={"x": 4})
            t.tempval = "value"
            if method:
                getattr(t, method)(True)
            else:
                t.block_trap = True
            copy = pickle.loads(pickle.dumps(t))
            for name in "tempval", "atomic", "ignore_nesting", "block_trap", "alive":
                self.assertEqual(getattr(copy, name), getattr(t, name))
            copy.run()
            self.assertEqual(picklable.seen, 4)

    def test_subclasses(self):
        """What a subclass adds is kept too, by pickles of each kind and by copies."""
        for cls, names in ((WithAttributes, ["x"]), (WithSlots, ["y"]), (WithBoth, ["x", "y"])):
            for pick in ways_to_copy():
                for has_ended in False, True:
                    t = cls(picklable, (6,))
                    if has_ended:
                        t.kill()
                    for name in names:
                        setattr(t, name, name * 2)
                    copy = pick(t)
                    self.assertIs(type(copy), cls)
                    self.assertEqual(copy.alive, t.alive)
                    for name in names:
                        self.assertEqual(getattr(copy, name), name * 2)
                    self.assertEqual(len(t.__reduce__()[2]), 9)
            self.assertEqual(len(cls().__reduce__()[2]), 8)
        state = WithSlots().__reduce__()[2]
        for wrong in 1, (1,), ({}, 2), ({"x": 1}, None):
            with self.subTest(wrong=wrong):
                with self.assertRaises((TypeError, AttributeError)):
                    WithSlots().__setstate__(state + (wrong,))

    def test_a_subclass_with_its_own_way(self):
        for pick in ways_to_copy():
            copy = pick(OfItsOwn(picklable, (7,)))
            self.assertEqual((type(copy), copy.own), (OfItsOwn, "own"))
            copy.run()
            self.assertEqual(picklable.seen, 7)

    def test_the_state(self):
        """Its fields are in Stackless's places: programs look there for the flags."""
        t = self.spawn(picklable, 5)
        make, args, state = t.__reduce__()
        self.assertEqual((make, args), (stackless.tasklet, ()))
        self.assertEqual(state[0], 0)
        self.assertEqual(state[2], 0)
        self.assertEqual(state[4:], (None, None, None, None))
        t.remove()
        t.set_atomic(True)
        self.assertEqual(t.__reduce__()[2][0], 4)
        self.assertEqual(stackless.tasklet().__reduce__()[2][3], [])
        for frames in [1], [(1, 2)], state[3] * 2:
            with self.assertRaisesRegex(NotImplementedError, "has run"):
                stackless.tasklet().__setstate__((0, None, 0, frames, None, None, None, None))
        with self.assertRaisesRegex(RuntimeError, "alive"):
            t.__setstate__(state)


if __name__ == "__main__":
    unittest.main()
