# SPDX-License-Identifier: MIT
#
# The examples print what they should, on both engines, and the pages show programs that run.
import os
import re
import subprocess
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
EXAMPLES = os.path.join(os.path.dirname(HERE), "examples")


def run(*command, engine=None, **options):
    environment = dict(os.environ, **({"WEFT_ENGINE": engine} if engine else {}))
    return subprocess.run([sys.executable, *command], env=environment, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, **options)


class Examples(unittest.TestCase):
    maxDiff = None

    def outputs(self, name):
        for engine in ["poll"] if os.environ.get("WEFT_ENGINE") == "poll" else ["auto", "poll"]:
            with self.subTest(engine=engine):
                done = run(os.path.join(EXAMPLES, name), engine=engine)
                self.assertEqual(done.returncode, 0, done.stdout)
                yield done.stdout

    def test_all_are_here(self):
        self.assertEqual(sorted(os.listdir(EXAMPLES)),
                         sorted(name[5:] + ".py" for name in dir(self)
                                if name.startswith("test_") and name != "test_all_are_here"))

    def test_threads(self):
        """The first two lines come in either order."""
        has = "THREAD(2): Has 1 tasklets in its scheduler\n"
        waiting = "THREAD(1): Waiting for death of THREAD(2)\n"
        for output in self.outputs("threads.py"):
            self.assertIn(output, [first + "THREAD(1): Death of THREAD(2) detected\n"
                                   for first in (has + waiting, waiting + has)])

    def test_command_channel(self):
        for output in self.outputs("command_channel.py"):
            self.assertEqual(output, "SLAVE STARTING\nSLAVE: ECHO 1\nSLAVE: ECHO 2\n"
                                     "SLAVE: ECHO 3\nSLAVE: QUIT\nSLAVE ENDING\n")

    def test_game(self):
        for output in self.outputs("game.py"):
            self.assertEqual(output, """\
turn 2: Ann takes step 1
turn 2: Bob takes step 1
turn 3: a fuse hisses
turn 4: Ann takes step 2
turn 4: Bob takes step 2
turn 5: Ann is hit by a bomb
turn 6: Bob takes step 3
turn 6: Bob is hit by an arrow
""")

    def test_echo(self):
        for output in self.outputs("echo.py"):
            self.assertEqual(output, "".join("%s from client %d\n" % (text, number)
                                             for number in range(3)
                                             for text in ("hello", "and goodbye")))


class Pages(unittest.TestCase):
    def test_the_first_program_prints_what_the_page_shows(self):
        for page in "README.md", "STACKLESS.md":
            with self.subTest(page):
                with open(os.path.join(os.path.dirname(HERE), page)) as file:
                    blocks = re.findall(r"^```(\w*)\n(.*?)^```", file.read(), re.M | re.S)
                program = next(text for kind, text in blocks if kind == "python")
                shown = next(text for kind, text in blocks if kind == "")
                self.assertEqual(run("-c", program).stdout, shown)


if __name__ == "__main__":
    unittest.main()
