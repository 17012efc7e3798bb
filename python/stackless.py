# SPDX-License-Identifier: MIT
"""Stackless Python's module, for CPython, on weft.

Tasklets are functions that take turns on their OS thread. Channels pass values between
tasklets, of one thread or of several.
"""
import atexit
import operator
import sys
import types

import _stackless
from _stackless import *
from _stackless import bomb

__all__ = [
    "TaskletExit",
    "atomic",
    "channel",
    "enable_softswitch",
    "get_channel_callback",
    "get_schedule_callback",
    "get_thread_info",
    "getcurrent",
    "getcurrentid",
    "getdebug",
    "getmain",
    "getruncount",
    "getthreads",
    "getuncollectables",
    "pickle_flags",
    "pickle_flags_default",
    "run",
    "schedule",
    "schedule_remove",
    "set_channel_callback",
    "set_error_handler",
    "set_schedule_callback",
    "stackless",
    "switch_trap",
    "tasklet",
]


def getdebug():
    """Whether this is a debug build: no."""
    return False


def getuncollectables():
    """The tasklets that the garbage collector cannot know: none."""
    return []


_NO_PICKLES = "tasklets that have run cannot be pickled: their frames are on C stacks"


def pickle_flags(new_flags=-1, mask=-1):
    """The flags for pickling of this thread, and set them: there are none, so always 0."""
    if new_flags != -1 and new_flags & mask:
        raise ValueError("there are no flags for pickling, but %#x is given" % (new_flags & mask))
    return 0


def pickle_flags_default(new_flags=-1, mask=-1):
    """The flags that a new thread has: as pickle_flags()."""
    return pickle_flags(new_flags, mask)


# For Stackless's own tests.


def test_cframe(switches, words=0):
    """Give way so many times."""
    for _ in range(switches):
        schedule()


test_cframe_nr = test_cframe


def test_cstate(function):
    """Call a function."""
    return function()


def test_outside():
    """Run the other tasklets until none is runnable."""
    run()


# A call from C. As an attribute of a class it is no method.
_test_nostacklesscall = operator.call


@atexit.register
def _expect_exits():
    """At the end, tasklets on other threads get a TaskletExit: that is no error of theirs."""
    threading = sys.modules.get("threading")
    if threading is None:
        return
    report = threading.excepthook

    def excepthook(args):
        if not issubclass(args.exc_type, TaskletExit):
            report(args)

    threading.excepthook = excepthook


class _Module(types.ModuleType):
    def __reduce__(self):
        """A pickle has the name, and a copy is the module itself."""
        return self.__name__

    # Stackless has attributes that are computed when they are asked for.
    current = property(lambda self: getcurrent(), doc=getcurrent.__doc__)
    main = property(lambda self: getmain(), doc=getmain.__doc__)
    runcount = property(lambda self: getruncount(), doc=getruncount.__doc__)
    threads = property(lambda self: getthreads(), doc=getthreads.__doc__)
    debug = property(lambda self: getdebug(), doc=getdebug.__doc__)
    uncollectables = property(
        lambda self: getuncollectables(), doc=getuncollectables.__doc__
    )

    @property
    def pickle_with_tracing_state(self):
        """Whether pickles of tasklets have their trace functions: no."""
        return False

    @pickle_with_tracing_state.setter
    def pickle_with_tracing_state(self, value):
        if value:
            raise NotImplementedError(_NO_PICKLES)


sys.modules[__name__].__class__ = _Module
stackless = sys.modules[__name__]
