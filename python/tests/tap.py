# SPDX-License-Identifier: MIT
#
# tap.py FILE [NAME...]: runs the tests in a file of unittest's, all or those named
# (`Class` or `Class.test`), and prints TAP. A test that hangs ends the run, with the
# stacks of all threads, after 60 seconds times CK_TIMEOUT_MULTIPLIER.
import faulthandler
import importlib.util
import os
import sys
import traceback
import unittest

LIMIT = 60 * float(os.environ.get("CK_TIMEOUT_MULTIPLIER") or 1)


def say(*words):
    # To the descriptor, whatever a test has done to sys.stdout.
    os.write(1, (" ".join(words) + "\n").encode())


class Result(unittest.TestResult):
    """Prints a line for each test; the details of one that fails are comments."""

    def __init__(self):
        super().__init__()
        self.number = 0
        self.details = []
        self.reason = None

    def startTest(self, test):
        super().startTest(test)
        self.details, self.reason = [], None
        # (Also for a test that faulthandler ends.)
        self.name = ".".join(test.id().split(".")[-2:])
        faulthandler.dump_traceback_later(LIMIT, exit=True)

    def stopTest(self, test):
        faulthandler.cancel_dump_traceback_later()
        super().stopTest(test)
        self.verdict()

    def verdict(self):
        self.number += 1
        line = "%sok %d - %s" % ("not " if self.details else "", self.number, self.name)
        if self.reason is not None and not self.details:
            line += " # SKIP " + " ".join(self.reason.split())
        say(line)
        for detail in self.details:
            for text in detail.splitlines():
                say("#", text)

    def failed(self, test, error):
        self.details.append("".join(traceback.format_exception(*error)))
        # What has failed before a test began: setUpClass().
        if not isinstance(test, unittest.TestCase):
            self.name = str(test)
            self.verdict()
            self.details = []

    def addError(self, test, err):
        super().addError(test, err)
        self.failed(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.failed(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.details.append(str(subtest))
            self.failed(test, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        if isinstance(test, unittest.TestCase):
            self.reason = reason
        else:
            self.name, self.reason = str(test), reason
            self.verdict()

    def addUnexpectedSuccess(self, test):
        super().addUnexpectedSuccess(test)
        self.details.append("it was expected to fail")


def main(path, names):
    spec = importlib.util.spec_from_file_location(
        os.path.splitext(os.path.basename(path))[0], path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, os.path.dirname(os.path.abspath(path)))
    spec.loader.exec_module(module)
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names, module) if names else \
        loader.loadTestsFromModule(module)
    result = Result()
    suite.run(result)
    say("1..%d" % result.number)
    return 0 if result.wasSuccessful() else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2:]))
