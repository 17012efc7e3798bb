# SPDX-License-Identifier: MIT
#
# configure.py PREFIX: what the configure script has to know of the interpreter that runs
# this, as assignments in the shell's language. A fault that keeps the modules from being
# built for it is in `wrong`.
import os
import re
import shlex
import sys
import sysconfig

# What a switch saves of a thread's state differs from version to version, and changes
# until the first release.
KNOWN = ("3.11", "3.12", "3.13")

version = "%d.%d" % sys.version_info[:2]


def what_is_wrong():
    if sys.implementation.name != "cpython":
        return "it is %s, and the modules are for CPython" % sys.implementation.name
    if version not in KNOWN:
        return "it is Python %s, and the modules know %s" % (version, ", ".join(KNOWN))
    if sysconfig.get_config_var("Py_GIL_DISABLED"):
        return "it has no global interpreter lock, on which the modules rely"
    if sys.version_info.releaselevel != "final":
        return "it was built before the first release of Python %s" % version
    return ""


def folder_below(prefix):
    """Where it looks for extensions below the prefix, and whether it does that by itself.

    Debian's interpreter looks into several folders, below several prefixes.
    """
    below = re.compile(re.escape(prefix.rstrip("/")) + r"(/lib\d*/python[\d.]+/[a-z]+-packages)")
    for folder in [sysconfig.get_path("platlib")] + sys.path:
        found = below.fullmatch(folder)
        if found:
            return found.group(1), "yes"
    nowhere = dict.fromkeys(("base", "platbase", "installed_base", "installed_platbase"), "")
    return sysconfig.get_path("platlib", "posix_prefix", nowhere), "no"


includes = dict.fromkeys(sysconfig.get_path(name) for name in ("include", "platinclude"))
folder, looks = folder_below(os.path.normpath(sys.argv[1]))
for name, value in {
    "wrong": what_is_wrong(),
    "version": version,
    "executable": sys.executable,
    "include": sysconfig.get_path("include"),
    "cppflags": " ".join("-isystem " + include for include in includes),
    "suffix": sysconfig.get_config_var("EXT_SUFFIX") or ".so",
    "folder": folder,
    "looks": looks,
}.items():
    print("weft_python_%s=%s" % (name, shlex.quote(value)))
