# SPDX-License-Identifier: MIT
#
# What pyproject.toml cannot say: which flags pkg-config knows.
import glob
import os
import shlex
import subprocess
import sys

from setuptools import Extension, setup


def flags(*options):
    command = os.environ.get("PKG_CONFIG", "pkg-config")
    try:
        answer = subprocess.run([command, *options, "weft"], capture_output=True, text=True)
    except OSError as error:
        sys.exit("setup.py: %s, which finds the installed weft: %s" % (command, error.strerror))
    if answer.returncode != 0:
        sys.exit("setup.py: weft is not installed where pkg-config looks: " + answer.stderr.strip())
    return shlex.split(answer.stdout)


# The loader finds the library there, whatever folders the system has for libraries.
folder = flags("--variable=libdir")[0]
setup(
    version=flags("--modversion")[0],
    packages=["weft"],
    py_modules=["stackless"],
    ext_modules=[
        Extension(
            "_stackless",
            sorted(glob.glob("_stackless/*.c")),
            depends=sorted(glob.glob("_stackless/*.h")),
            define_macros=[("_GNU_SOURCE", "")],
            extra_compile_args=["-std=gnu11", "-fvisibility=hidden"] + flags("--cflags"),
            extra_link_args=flags("--libs") + ["-Wl,-rpath," + folder],
        )
    ],
)
