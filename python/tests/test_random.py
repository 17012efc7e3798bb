# SPDX-License-Identifier: MIT
#
# Programs of tasklets that do anything at random, also to each other, in destructors, in
# callbacks of C functions, and on several threads. They are to end, and nothing else is
# asked of them. SEED in the environment repeats one.
import contextvars
import gc
import os
import random
import sys
import threading
import unittest

import stackless

SEED = int(os.environ.get("SEED") or random.randrange(10**6))
ROUNDS = 150


class Odd(Exception):
    pass


class Destructor:
    """Gives way when it dies."""

    world = None  # __init__() may be interrupted

    def __init__(self, world):
        self.world = world

    def __del__(self):
        try:
            if self.world and self.world.chance(0.3):
                stackless.schedule()
        except (RuntimeError, TaskletExit, Odd):
            pass


class World:
    """The tasklets of one thread, and a few channels that it shares with others."""

    variable = contextvars.ContextVar("variable", default=0)

    def __init__(self, seed, channels, known):
        self.random = random.Random(seed)
        self.channels = channels
        self.known = known  # tasklets, of any thread
        self.is_over = False

    def chance(self, p):
        return self.random.random() < p

    def work(self):
        for _ in range(self.random.randrange(12)):
            if self.is_over:
                return
            self.act()

    def act(self):
        try:
            self.random.choice(self.ACTS)(self)
        except (RuntimeError, ValueError):
            pass

    def give_way(self):
        if self.chance(0.5):
            stackless.schedule(self.random.choice([None, 1]))
        else:
            stackless.schedule()

    def pause(self):
        if stackless.runcount > 1:
            stackless.schedule_remove()

    def communicate(self):
        c = self.random.choice(self.channels)
        if c.balance < 0 or self.chance(0.3):
            c.send(Destructor(self) if self.chance(0.2) else 1)
        elif c.balance > 0 or self.chance(0.3):
            c.receive()

    def spawn(self):
        t = stackless.tasklet(self.work)()
        if self.chance(0.5):
            self.known.append(t)
        if self.chance(0.1):
            t.run()
        if self.chance(0.1):
            t.remove()
        if self.chance(0.05):
            t.kill(pending=self.chance(0.5))

    def control(self):
        if not self.known:
            return
        t = self.random.choice(self.known)
        self.random.choice(
            [
                lambda: t.kill(pending=self.chance(0.5)),
                lambda: t.throw(Odd, pending=self.chance(0.5)),
                t.insert,
                t.remove,
                t.run,
                lambda: stackless.runcount > 1 and t.switch(),
                t.bind_thread,
                lambda: (t.frame, t.next, t.prev, t.recursion_depth, t.context_id),
                lambda: setattr(t, "trace_function", self.choose_trace()),
            ]
        )()

    def forget(self):
        if len(self.known) > 50:
            del self.known[:25]

    def generate(self):
        def numbers():
            for i in range(3):
                if self.chance(0.3):
                    stackless.schedule()
                yield i

        list(numbers())

    def call_deeply(self, n=None):
        n = self.random.randrange(60) if n is None else n
        return self.call_deeply(n - 1) if n else self.act()

    def call_through_c(self):
        sorted([3, 1, 2], key=lambda x: (self.act(), x)[1])

    def handle(self):
        try:
            raise Odd
        except Odd:
            stackless.schedule()
            if sys.exc_info()[0] is not Odd:
                os.abort()

    def fail(self):
        raise Odd

    def collect(self):
        gc.collect(self.random.randrange(3))

    def lose(self):
        stackless.tasklet(stackless.channel().receive)()

    def run(self):
        stackless.run(self.random.choice([0, 0, 50, 300]), soft=self.chance(0.5))

    def choose_trace(self):
        return self.trace if self.chance(0.3) else None

    def trace(self, frame, event, arg):
        return self.trace if self.chance(0.5) else None

    def set_trace(self):
        if stackless.current is not stackless.main:
            sys.settrace(self.choose_trace())

    def set_variable(self):
        self.variable.set(self.variable.get() + 1)

    def set_callbacks(self):
        stackless.set_schedule_callback((lambda prev, next: None) if self.chance(0.3) else None)
        stackless.set_channel_callback((lambda *args: None) if self.chance(0.3) else None)

    ACTS = (
        [give_way] * 25
        + [communicate, spawn, control] * 10
        + [generate, call_deeply] * 5
        + [pause, call_through_c, set_variable, forget] * 3
        + [handle, fail, lose] * 2
        + [collect, run, set_callbacks, set_trace]
    )

    def live(self):
        for _ in range(ROUNDS):
            try:
                for _ in range(self.random.randrange(20)):
                    stackless.tasklet(self.work)()
                stackless.run()
                self.act()
            except (Odd, RuntimeError, TaskletExit):
                pass
        self.is_over = True


class Random(unittest.TestCase):
    def setUp(self):
        stackless.set_error_handler(lambda *args: None)

    def tearDown(self):
        stackless.set_error_handler(None)
        stackless.set_schedule_callback(None)
        stackless.set_channel_callback(None)

    def release(self, channels):
        for c in channels:
            try:
                while c.balance < 0:
                    c.send(None)
                while c.balance > 0:
                    c.receive()
            except (Odd, RuntimeError, TaskletExit):
                pass

    def live(self, n_threads):
        channels = [stackless.channel() for _ in range(3)]
        known = []
        worlds = [World(SEED + i, channels, known) for i in range(n_threads)]
        threads = [threading.Thread(target=w.live, daemon=True) for w in worlds[1:]]
        with self.subTest(seed=SEED):
            for t in threads:
                t.start()
            worlds[0].live()
            # Others may wait for something that only this thread can bring.
            while any(t.is_alive() for t in threads):
                self.release(channels)
                for t in threads:
                    t.join(0.01)
            self.release(channels)
            known.clear()
            stackless.run()
            while stackless.runcount > 1:
                stackless.main.next.kill()

    def test_one_thread(self):
        self.live(1)

    def test_three_threads(self):
        self.live(3)


if __name__ == "__main__":
    unittest.main()
