# SPDX-License-Identifier: MIT
#
# The type channel: each of its members, and rules R9 and R10.
import pickle
import sys
import unittest
import weakref

import stackless

from support import TestCase, ways_to_copy


class Named(stackless.channel):
    pass


class Renamed(stackless.channel):
    def __reduce__(self):
        return Named, ()


class Passing(TestCase):
    def receiver(self, c, name="r"):
        self.log.append((name, c.receive()))

    def sender(self, c, value):
        c.send(value)
        self.log.append(("sent", value))

    def test_r9_receiver_first(self):
        c = stackless.channel()
        self.assertEqual(c.preference, -1)
        self.spawn(self.receiver, c)
        stackless.run()
        self.assertIsNone(c.send(1))
        self.assertEqual(self.log, [("r", 1)])

    def test_r9_the_caller_is_last_after_it(self):
        c = stackless.channel()
        self.spawn(self.receiver, c)
        stackless.run()
        self.spawn(self.log.append, "other")
        c.send(1)
        self.assertEqual(self.log, [("r", 1), "other"])

    def test_r9_sender_goes_on(self):
        for preference in 0, 1:
            c = stackless.channel()
            c.preference = preference
            self.spawn(self.receiver, c)
            stackless.run()
            c.send(1)
            self.log.append("sent")
            stackless.run()
        self.assertEqual(self.log, ["sent", ("r", 1)] * 2)

    def test_r9_sender_first(self):
        c = stackless.channel()
        c.preference = 1
        self.spawn(self.sender, c, 1)
        stackless.run()
        self.assertEqual(c.receive(), 1)
        self.assertEqual(self.log, [("sent", 1)])
        c.preference = -1
        self.spawn(self.sender, c, 2)
        stackless.run()
        self.assertEqual(c.receive(), 2)
        self.assertEqual(self.log, [("sent", 1)])
        stackless.run()

    def test_r9_schedule_all(self):
        c = stackless.channel()
        c.schedule_all = True
        self.spawn(self.receiver, c)
        stackless.run()
        self.spawn(self.log.append, "first")
        c.send(1)
        self.assertEqual(self.log, ["first", ("r", 1)])

    def test_r10_first_come_first_served(self):
        c = stackless.channel()
        for i in range(3):
            self.spawn(self.receiver, c, i)
        stackless.run()
        self.assertEqual(c.balance, -3)
        for i in "abc":
            c.send(i)
        self.assertEqual(self.log, [(0, "a"), (1, "b"), (2, "c")])
        for i in range(3):
            self.spawn(c.send, i)
        stackless.run()
        self.assertEqual(c.balance, 3)
        self.assertEqual([c.receive() for _ in range(3)], [0, 1, 2])
        self.assertEqual(c.balance, 0)

    def test_values_are_passed_themselves(self):
        c = stackless.channel()

        class Value:
            pass

        v = Value()
        w = weakref.ref(v)
        self.spawn(c.send, v)
        stackless.run()
        del v
        self.assertIs(c.receive(), w())
        stackless.run()
        self.assertIsNone(w())

    def test_a_value_that_nobody_receives(self):
        class Value:
            pass

        c = stackless.channel()
        t = self.spawn(lambda: c.send(Value()))
        t.run()
        t.kill()
        self.assertEqual(c.balance, 0)

    def test_arguments(self):
        c = stackless.channel()
        self.assertRaises(TypeError, c.send)
        self.assertRaises(TypeError, c.send, 1, 2)
        self.assertRaises(TypeError, c.receive, 1)

    def test_subclass(self):
        class Named(stackless.channel):
            def __init__(self, name):
                self.name = name

        self.assertEqual(Named("x").name, "x")


class Exceptions(TestCase):
    def receive(self, c):
        try:
            c.receive()
        except Exception as e:
            self.log.append(e)

    def test_send_exception(self):
        c = stackless.channel()
        self.spawn(self.receive, c)
        stackless.run()
        c.send_exception(ValueError, 1, 2)
        self.assertEqual(self.log[0].args, (1, 2))
        self.assertRaises(TypeError, c.send_exception)
        self.assertRaises(TypeError, c.send_exception, 1)

    def test_send_throw(self):
        c = stackless.channel()
        for args in (ValueError,), (ValueError, "v"), (ValueError("v"),):
            self.spawn(self.receive, c)
            stackless.run()
            c.send_throw(*args)
        self.spawn(self.receive, c)
        stackless.run()
        c.send_throw(exc=ValueError, tb=None, val="v")
        try:
            1 / 0
        except ZeroDivisionError:
            self.spawn(c.send_throw, *sys.exc_info())
        try:
            c.receive()
        except ZeroDivisionError as e:
            self.assertIsNotNone(e.__traceback__.tb_next)
        else:
            self.fail("nothing was raised")
        self.assertEqual([e.args for e in self.log], [(), ("v",), ("v",), ("v",)])
        self.assertRaises(TypeError, c.send_throw)
        self.assertRaises(TypeError, c.send_throw, ValueError, value=1)
        self.assertRaises(TypeError, c.send_throw, ValueError, None, None, None)
        self.assertRaises(TypeError, c.send_throw, 1)
        stackless.run()

    def test_wrong_numbers_of_arguments(self):
        c = stackless.channel()
        self.assertRaisesRegex(TypeError, "send_throw.*exc", c.send_throw)
        self.assertRaisesRegex(TypeError, "send_throw.*at most 3 arguments", c.send_throw, *"abcd")
        self.assertRaisesRegex(TypeError, "at least 1 argument", c.send_exception)
        for function in c.send, c.send_sequence:
            self.assertRaisesRegex(TypeError, "exactly one argument", function)
            self.assertRaisesRegex(TypeError, "exactly one argument", function, 1, 2)


class Sequences(TestCase):
    def test_send_sequence(self):
        c = stackless.channel()
        self.spawn(lambda: self.log.append(c.send_sequence(x * x for x in range(4))))
        self.assertEqual([c.receive() for _ in range(4)], [0, 1, 4, 9])
        stackless.run()
        self.assertEqual(self.log, [4])
        self.assertRaises(TypeError, c.send_sequence, 1)

    def test_send_sequence_that_fails(self):
        c = stackless.channel()

        def items():
            yield 1
            raise KeyError("items")

        self.spawn(c.send_sequence, items())
        self.assertEqual(c.receive(), 1)
        self.assertRaises(KeyError, stackless.run)

    def test_iteration(self):
        c = stackless.channel()

        def produce():
            c.send_sequence(range(5))
            c.close()

        c.preference = 1
        self.spawn(produce)
        self.assertEqual(list(c), [0, 1, 2, 3, 4])
        self.assertIs(iter(c), c)


class Closing(TestCase):
    def test_close(self):
        c = stackless.channel()
        self.spawn(c.send, 1)
        stackless.run()
        self.assertIsNone(c.close())
        self.assertTrue(c.closing and not c.closed)
        self.assertEqual(c.receive(), 1)
        self.assertTrue(c.closed)
        self.assertRaisesRegex(ValueError, "closed", c.receive)
        self.assertRaisesRegex(ValueError, "closed", c.send, 1)
        self.assertIsNone(c.open())
        self.assertFalse(c.closing or c.closed)

    def test_receivers_that_wait_are_served(self):
        c = stackless.channel()
        self.spawn(lambda: self.log.append(c.receive()))
        stackless.run()
        c.close()
        c.send(2)
        self.assertEqual(self.log, [2])


class Attributes(TestCase):
    def test_preference(self):
        c = stackless.channel()
        for value, expected in (5, 1), (-5, -1), (0, 0):
            c.preference = value
            self.assertEqual(c.preference, expected)
        for name in "preference", "schedule_all":
            self.assertRaises(TypeError, setattr, c, name, "x")
        self.assertRaises(AttributeError, setattr, c, "balance", 1)

    def test_queue(self):
        c = stackless.channel()
        self.assertIsNone(c.queue)
        t = self.spawn(c.receive)
        stackless.run()
        self.assertIs(c.queue, t)
        t.kill()

    def test_pickling(self):
        c = stackless.channel()
        for preference in 1, 0, -1:
            for schedule_all in False, True:
                for close in c.close, c.open:
                    c.preference, c.schedule_all = preference, schedule_all
                    close()
                    copy = pickle.loads(pickle.dumps(c))
                    for name in "preference", "schedule_all", "closing", "balance":
                        self.assertEqual(getattr(copy, name), getattr(c, name))
        t = self.spawn(c.receive)
        stackless.run()
        self.assertRaises(NotImplementedError, pickle.dumps, c)
        t.kill()
        for pick in ways_to_copy():
            c = Named()
            c.preference, c.schedule_all, c.name = 0, True, "x"
            copy = pick(c)
            self.assertIs(type(copy), Named)
            self.assertEqual((copy.preference, copy.schedule_all, copy.name), (0, True, "x"))
            self.assertEqual(copy.balance, 0)
            self.assertIs(type(pick(Renamed())), Named)
        self.assertRaises(TypeError, c.__setstate__, (0, 0, [], 1))
        self.assertRaises(AttributeError, stackless.channel().__setstate__, (0, 0, [], {}))

    def test_the_state(self):
        """Its fields are in Stackless's places."""
        c = stackless.channel()
        self.assertEqual(c.__reduce__(), (stackless.channel, (), (0, 6, [])))
        c.__setstate__((0, 1 | 1 << 1 | 1 << 3, []))
        self.assertEqual((c.closing, c.preference, c.schedule_all), (True, 1, 1))
        with self.assertRaisesRegex(NotImplementedError, "tasklets wait"):
            c.__setstate__((1, 0, [self.spawn(len, "")]))


class Callback(TestCase):
    def test_what_it_is_told(self):
        c = stackless.channel()

        def callback(*args):
            self.log.append(args)

        self.assertIsNone(stackless.set_channel_callback(callback))
        self.assertIs(stackless.get_channel_callback(), callback)
        t = self.spawn(c.send, 1)
        stackless.run()
        c.receive()
        stackless.run()
        self.assertEqual(self.log, [(c, t, 1, 1), (c, stackless.main, 0, 0)])
        self.assertIs(stackless.set_channel_callback(None), callback)
        self.assertIsNone(stackless.get_channel_callback())
        self.assertRaises(TypeError, stackless.set_channel_callback, 1)

    def test_it_cannot_switch(self):
        c, other = stackless.channel(), stackless.channel()

        def callback(*args):
            try:
                other.receive()
            except RuntimeError as e:
                self.log.append(str(e))

        self.spawn(c.send, 1)
        stackless.run()
        stackless.set_channel_callback(callback)
        c.receive()
        self.assertEqual(len(self.log), 1)
        self.assertIn("callback", self.log[0])


class Deadlock(TestCase):
    def test_main(self):
        c = stackless.channel()
        self.assertRaisesRegex(RuntimeError, "Deadlock", c.receive)
        self.assertRaisesRegex(RuntimeError, "Deadlock", c.send, 1)
        self.assertEqual(c.balance, 0)

    def test_main_when_the_last_one_ends(self):
        self.spawn(len, "")
        self.assertRaisesRegex(RuntimeError, "receiving without a sender", stackless.channel().receive)
        self.spawn(len, "")
        self.assertRaisesRegex(RuntimeError, "sending without a receiver", stackless.channel().send, 1)

    def test_the_last_one_is_told(self):
        c = stackless.channel()

        def task():
            self.assertRaisesRegex(RuntimeError, "Deadlock", stackless.channel().receive)
            c.send(1)

        self.spawn(task)
        self.assertEqual(c.receive(), 1)

    def test_run_just_returns(self):
        t = self.spawn(stackless.channel().receive)
        self.assertIsNone(stackless.run())
        self.assertIsNone(stackless.run(threadblock=True))
        self.assertTrue(t.blocked)
        t.kill()


if __name__ == "__main__":
    unittest.main()
