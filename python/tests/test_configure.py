# SPDX-License-Identifier: MIT
#
# What the configure script is told of an interpreter: python/configure.py.
import os
import shlex
import subprocess
import sys
import sysconfig
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "configure.py")


def ask(prefix, disguise=""):
    """Its assignments, of this interpreter after a disguise."""
    done = subprocess.run(
        [sys.executable, "-I", "-c",
         "import sys, sysconfig\n%s\nsys.argv = ['', %r]\nexec(open(%r).read())" %
         (disguise, prefix, SCRIPT)],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    return dict(word.split("=", 1) for word in shlex.split(done.stdout))


class Configure(unittest.TestCase):
    def test_this_one_will_do(self):
        known = ask("/usr/local")
        self.assertEqual(known["weft_python_wrong"], "")
        self.assertEqual(known["weft_python_version"], "%d.%d" % sys.version_info[:2])
        self.assertEqual(known["weft_python_suffix"], sysconfig.get_config_var("EXT_SUFFIX"))
        self.assertTrue(os.path.exists(os.path.join(known["weft_python_include"], "Python.h")))

    def test_others_are_refused_by_name(self):
        version = "sys.version_info = type('', (tuple,), {'releaselevel': %r})(%r)"
        for disguise, words in (
                (version % ("final", (3, 10, 1)), ["Python 3.10", "3.11, 3.12, 3.13"]),
                (version % ("final", (3, 14, 0)), ["Python 3.14"]),
                (version % ("candidate", (3, 13, 0)), ["before the first release"]),
                ("sys.implementation.name = 'pypy'", ["pypy", "CPython"]),
                ("old = sysconfig.get_config_var; sysconfig.get_config_var = "
                 "lambda name: name == 'Py_GIL_DISABLED' or old(name)", ["interpreter lock"])):
            wrong = ask("/usr/local", disguise)["weft_python_wrong"]
            for word in words:
                self.assertIn(word, wrong)

    def test_it_looks_where_the_modules_go(self):
        for folder in sys.path:
            head, lib, tail = folder.rpartition("/lib")
            if not lib or not tail.endswith("-packages") or head == "" or "local" in folder:
                continue
            known = ask(head)
            self.assertEqual(known["weft_python_looks"], "yes")
            self.assertIn(head + known["weft_python_folder"], sys.path)

    def test_below_another_prefix_there_is_a_place_too(self):
        known = ask("/nowhere/at all/")
        self.assertEqual(known["weft_python_looks"], "no")
        self.assertRegex(known["weft_python_folder"], r"^/lib\w*/python[\d.]+/site-packages$")


if __name__ == "__main__":
    unittest.main()
