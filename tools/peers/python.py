# SPDX-License-Identifier: MIT
#
# weft-peer-stackless, -greenlet, -asyncio and -threading TASK SIZE OPERATIONS CPUS: the
# same done in Python by tasklets of weft, by greenlets, by asyncio and by threads, for the
# workload `python` of weft-bench. By whom, and where the modules are, make has written
# above. The arguments and the line that it prints are those of all peers, see
# boost-context.cpp.
#
# All are written as short as they can be: greenlets have no scheduler of their own, so that
# `pair` and `yield` between two are their bare switch, and `yield` among more is the
# shortest one in Python.
import collections
import gc
import os
import sys
import threading
import time

WARM_UP_PART = 20

# Not the folder of this script, whose names are not modules.
is_built = os.path.realpath(__file__).startswith(BUILT + "/tools/")
sys.path[:1] = MODULES if is_built else INSTALLED


class Unavailable(Exception):
    pass


class Run:
    def __init__(self, size, operations, cpus):
        self.size, self.operations, self.cpus = size, operations, cpus
        self.details = []

    def begin(self):
        self.cpu_ns = -time.process_time_ns()
        self.wall_ns = -time.monotonic_ns()

    def end(self):
        self.wall_ns += time.monotonic_ns()
        self.cpu_ns += time.process_time_ns()

    def batches(self):
        n = self.operations // self.size + 1
        self.operations = n * self.size
        return range(n)

    def pin(self, which):
        if self.cpus:
            os.sched_setaffinity(0, {self.cpus[which]})

    def memory(self, begin):
        gc.collect()
        with open("/proc/self/status") as file:
            lines = dict(line.split(":") for line in file)
        for name, key in (("resident_bytes", "VmRSS"), ("page_table_bytes", "VmPTE")):
            value = int(lines[key].split()[0]) * 1024
            if begin:
                self.details.append([name, value])
            else:
                for detail in self.details:
                    if detail[0] == name:
                        detail[1] = (value - detail[1]) / self.size


class Stackless:
    """Tasklets and channels of the module stackless."""

    def __init__(self):
        import stackless

        self.s = stackless

    def pair(self, r):
        there, back = self.s.channel(), self.s.channel()
        n = r.operations

        def echo():
            receive, send = there.receive, back.send
            for _ in range(n):
                send(receive())

        def ask():
            send, receive = there.send, back.receive
            r.begin()
            for _ in range(n):
                send(None)
                receive()
            r.end()

        self.s.tasklet(echo)()
        self.s.tasklet(ask)()
        self.s.run()

    def around(self, r):
        rounds = r.operations // r.size + 1
        r.operations = rounds * r.size

        def turn():
            schedule = self.s.schedule
            for _ in range(rounds):
                schedule()

        for _ in range(r.size):
            self.s.tasklet(turn)()
        r.begin()
        self.s.run()
        r.end()

    def spawn(self, r):
        tasklet, run = self.s.tasklet, self.s.run

        def nothing():
            pass

        r.begin()
        for _ in r.batches():
            for _ in range(r.size):
                tasklet(nothing)()
            run()
        r.end()

    def blocked(self, r):
        never = self.s.channel()
        tasklets = []
        r.memory(True)
        r.begin()
        for _ in range(r.size):
            tasklets.append(self.s.tasklet(never.receive)())
        self.s.schedule()
        r.end()
        r.memory(False)
        r.operations = r.size
        for _ in range(r.size):
            never.send(None)

    def threads(self, r):
        there, back = self.s.channel(), self.s.channel()
        n = r.operations

        def echo():
            r.pin(1)
            for _ in range(n):
                back.send(there.receive())

        thread = threading.Thread(target=echo)
        thread.start()
        r.pin(0)
        r.begin()
        for _ in range(n):
            there.send(None)
            back.receive()
        r.end()
        thread.join()


class Greenlet:
    def __init__(self):
        try:
            from greenlet import greenlet
        except ImportError:
            raise Unavailable("%s has no greenlet (Debian: python3-greenlet)" % sys.executable)
        self.greenlet = greenlet

    def pair(self, r):
        def echo():
            switch = main.switch
            while True:
                switch()

        main = self.greenlet.getcurrent()
        other = self.greenlet(echo)
        switch = other.switch
        switch()
        r.begin()
        for _ in range(r.operations):
            switch()
        r.end()

    def around(self, r):
        rounds = r.operations // r.size + 1
        r.operations = rounds * r.size
        ready = collections.deque()
        append, popleft = ready.append, ready.popleft
        main = self.greenlet.getcurrent()

        def turn():
            main.switch()
            mine = self.greenlet.getcurrent().switch
            for _ in range(rounds):
                append(mine)
                popleft()()
            # Whoever is next goes on; the last one of all goes back.
            (popleft() if ready else main.switch)()

        def turn_of_two(which):
            main.switch()
            switch = all[1 - which].switch
            for _ in range(rounds):
                switch()
            main.switch()

        all = [self.greenlet(turn_of_two if r.size == 2 else turn) for _ in range(r.size)]
        for i, one in enumerate(all):
            one.switch(*[i] * (r.size == 2))
        if r.size != 2:
            ready.extend(one.switch for one in all[1:])
        r.begin()
        all[0].switch()
        r.end()

    def spawn(self, r):
        greenlet = self.greenlet

        def nothing():
            pass

        r.begin()
        for _ in r.batches():
            for one in [greenlet(nothing) for _ in range(r.size)]:
                one.switch()
        r.end()

    def blocked(self, r):
        main = self.greenlet.getcurrent()
        greenlets = []
        r.memory(True)
        r.begin()
        for _ in range(r.size):
            one = self.greenlet(main.switch)
            greenlets.append(one)
            one.switch()
        r.end()
        r.memory(False)
        r.operations = r.size


class Asyncio:
    def __init__(self):
        import asyncio

        self.a = asyncio

    def pair(self, r):
        n = r.operations

        async def echo(there, back):
            for _ in range(n):
                await back.put(await there.get())

        async def main():
            there, back = self.a.Queue(1), self.a.Queue(1)
            task = self.a.create_task(echo(there, back))
            r.begin()
            for _ in range(n):
                await there.put(None)
                await back.get()
            r.end()
            await task

        self.a.run(main())

    def around(self, r):
        rounds = r.operations // r.size + 1
        r.operations = rounds * r.size

        async def turn():
            for _ in range(rounds):
                await self.a.sleep(0)

        async def main():
            tasks = [self.a.create_task(turn()) for _ in range(r.size)]
            r.begin()
            for task in tasks:
                await task
            r.end()

        self.a.run(main())

    def spawn(self, r):
        async def nothing():
            pass

        async def main():
            r.begin()
            for _ in r.batches():
                for task in [self.a.create_task(nothing()) for _ in range(r.size)]:
                    await task
            r.end()

        self.a.run(main())

    def blocked(self, r):
        async def main():
            never = self.a.Queue()
            r.memory(True)
            r.begin()
            tasks = [self.a.create_task(never.get()) for _ in range(r.size)]
            await self.a.sleep(0)
            r.end()
            r.memory(False)
            for _ in range(r.size):
                never.put_nowait(None)
            for task in tasks:
                await task

        r.operations = r.size
        self.a.run(main())


class Threading:
    def threads(self, r):
        import queue

        there, back = queue.SimpleQueue(), queue.SimpleQueue()
        n = r.operations

        def echo():
            r.pin(1)
            for _ in range(n):
                back.put(there.get())

        thread = threading.Thread(target=echo)
        thread.start()
        r.pin(0)
        r.begin()
        for _ in range(n):
            there.put(None)
            back.get()
        r.end()
        thread.join()


def number(text):
    return int(text) if text.isdecimal() else 0


def main(arguments):
    peer = {"stackless": Stackless, "greenlet": Greenlet,
            "asyncio": Asyncio, "threading": Threading}[WHO]
    tasks = [name for name in ("pair", "around", "spawn", "blocked", "threads")
             if hasattr(peer, name)]
    task, size, operations, cpus = (arguments + [""] * 4)[:4]
    if len(arguments) != 4 or task not in ["python-" + name for name in tasks] or \
            not number(operations):
        sys.stderr.write("usage: weft-peer-%s TASK SIZE OPERATIONS CPUS, with a task of %s\n" %
                         (WHO, ", ".join("python-" + name for name in tasks)))
        return 64
    task = task.partition("-")[2]
    cpus = [] if cpus == "none" else [int(cpu) for cpu in cpus.split(",")]
    try:
        run = getattr(peer(), task)
        if task != "blocked":
            run(Run(number(size), number(operations) // WARM_UP_PART + 1, cpus))
        r = Run(number(size), number(operations), cpus)
        run(r)
    except Unavailable as why:
        print("unavailable", why)
        return 1
    print("ok", r.operations, r.wall_ns, r.cpu_ns,
          *("%s=%.6g" % (name, value) for name, value in r.details))
    return 0


sys.exit(main(sys.argv[1:]))
