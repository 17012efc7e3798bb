# SPDX-License-Identifier: MIT
#
# Channels are thread-safe.
#
# The slave is a tasklet on the main thread. It does what the master, a tasklet on a second
# thread, tells it through a channel.
#
# This is the second example of "Threads and Stackless" in the manual of Stackless Python,
# as it stands there but for the way to print of today: stackless.run() returns when no
# tasklet of the thread can go on, so that each thread calls it until its tasklet has ended.
# run(threadblock=True) would sleep meanwhile.
import threading

import stackless

commands = stackless.channel()


def master_func():
    commands.send("ECHO 1")
    commands.send("ECHO 2")
    commands.send("ECHO 3")
    commands.send("QUIT")


def slave_func():
    print("SLAVE STARTING")
    while True:
        command = commands.receive()
        print("SLAVE:", command)
        if command == "QUIT":
            break
    print("SLAVE ENDING")


def scheduler_run(tasklet_func):
    t = stackless.tasklet(tasklet_func)()
    while t.alive:
        stackless.run()


thread = threading.Thread(target=scheduler_run, args=(master_func,))
thread.start()

scheduler_run(slave_func)
