# SPDX-License-Identifier: MIT
#
# What the tests of the module stackless share.
import copy
import gc
import os
import pickle
import subprocess
import sys
import unittest

import stackless

UNDER_VALGRIND = "vgpreload_" in os.environ.get("LD_PRELOAD", "")


class TestCase(unittest.TestCase):
    """Each test begins and ends with the main tasklet alone."""

    def setUp(self):
        self.log = []
        self.assertEqual(stackless.getruncount(), 1)

    def tearDown(self):
        stackless.set_schedule_callback(None)
        stackless.set_channel_callback(None)
        stackless.set_error_handler(None)
        while stackless.getruncount() > 1:
            stackless.main.next.kill()
        gc.collect()

    def spawn(self, function, *args):
        return stackless.tasklet(function)(*args)


def ways_to_copy():
    """Functions that copy an object by its state."""
    for n in range(pickle.HIGHEST_PROTOCOL + 1):
        yield lambda x, n=n: pickle.loads(pickle.dumps(x, n))
        yield lambda x, n=n: pickle._loads(pickle._dumps(x, n))
    yield copy.copy
    yield copy.deepcopy


def run_script(text, *args, status=0, **environment):
    """Runs a program of Python's; returns what it has written, both streams in one."""
    result = subprocess.run(
        [sys.executable, "-c", text, *args],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(os.environ, **environment),
        text=True,
    )
    if result.returncode != status:
        raise AssertionError(
            "exit status %d instead of %d:\n%s" % (result.returncode, status, result.stdout)
        )
    return result.stdout
