# SPDX-License-Identifier: MIT
#
# A scheduler for each thread.
#
# The second thread counts the tasklets in its scheduler and finds one, its main tasklet,
# though the first thread has made another: two schedulers, side by side.
#
# This is the first example of "Threads and Stackless" in the manual of Stackless Python, as
# it stands there but for the way to print of today, and that a line is printed in one piece:
# those of two threads would mix. The first two lines come in either order.
import threading

import stackless


def secondary_thread_func():
    print(f"THREAD(2): Has {stackless.runcount} tasklets in its scheduler\n", end="")


def main_thread_func():
    print("THREAD(1): Waiting for death of THREAD(2)\n", end="")
    while thread.is_alive():
        stackless.schedule()
    print("THREAD(1): Death of THREAD(2) detected\n", end="")


stackless.tasklet(main_thread_func)()

thread = threading.Thread(target=secondary_thread_func)
thread.start()

stackless.run()
