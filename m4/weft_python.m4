dnl SPDX-License-Identifier: MIT
dnl
dnl WEFT_PYTHON: the interpreter that $with_python names, if it is not "no". Sets it to
dnl its version, and substitutes
dnl   PYTHON             the interpreter itself, not a script that looks for one
dnl   PYTHON_CPPFLAGS    where its headers are
dnl   PYTHON_EXT_SUFFIX  what the names of its extensions end with
dnl   PYTHON_PRELOAD     what it has to load before an extension
dnl   pythonexecdir      where it looks for extensions below the prefix
AC_DEFUN([WEFT_PYTHON], [
AS_IF([test "$with_python" = yes], [with_python=python3])
AS_IF([test "$with_python" != no], [
	AS_IF([test "$cross_compiling" = yes],
		[AC_MSG_ERROR([--with-python asks an interpreter that runs here, and this build is for another machine])])
	AS_CASE([$with_python],
		[*/*], [weft_python=$with_python],
		[AC_PATH_PROG([weft_python], [$with_python])])
	AS_IF([! test -x "$weft_python"],
		[AC_MSG_ERROR([--with-python: there is no '$with_python' (Debian: apt-get install python3-dev)])])
	weft_prefix=$prefix
	AS_IF([test "$weft_prefix" = NONE], [weft_prefix=$ac_default_prefix])

	AC_MSG_CHECKING([which Python $weft_python is])
	weft_answer=`"$weft_python" -I "$srcdir/python/configure.py" "$weft_prefix" 2>&AS_MESSAGE_LOG_FD` || weft_answer=
	AS_CASE([$weft_answer], [weft_python_*], [],
		[AC_MSG_RESULT([unknown])
		AC_MSG_ERROR([--with-python: '$weft_python' did not run as Python 3 does; config.log has what it said])])
	eval "$weft_answer"
	AC_MSG_RESULT([$weft_python_version])
	AS_IF([test -n "$weft_python_wrong"],
		[AC_MSG_ERROR([--with-python: '$weft_python' cannot be used: $weft_python_wrong])])

	AC_MSG_CHECKING([whether the headers of Python $weft_python_version are there])
	weft_saved_cppflags=$CPPFLAGS
	CPPFLAGS="$CPPFLAGS $weft_python_cppflags"
	AC_COMPILE_IFELSE([AC_LANG_PROGRAM([[
#include <Python.h>
#if PY_MAJOR_VERSION * 1000 + PY_MINOR_VERSION != ${weft_python_version%.*} * 1000 + ${weft_python_version#*.}
#error "they are of another version"
#endif
]])], [AC_MSG_RESULT([yes])],
		[AC_MSG_RESULT([no])
		AC_MSG_ERROR([--with-python: the headers of '$weft_python' are not in $weft_python_include (Debian: apt-get install python3-dev)])])
	CPPFLAGS=$weft_saved_cppflags

	with_python=$weft_python_version
	PYTHON=$weft_python_executable
	PYTHON_CPPFLAGS=$weft_python_cppflags
	PYTHON_EXT_SUFFIX=$weft_python_suffix
	pythonexecdir="\${exec_prefix}$weft_python_folder"
	# The interpreter is not linked with it, and it has to be there first.
	PYTHON_PRELOAD=
	AS_CASE([$enable_sanitizer], [address*],
		[for weft_file in libclang_rt.asan-$host_cpu.so libasan.so; do
			test -n "$PYTHON_PRELOAD" ||
				PYTHON_PRELOAD=`$CC -print-file-name=$weft_file | grep /`
		done
		# Modules in C++ throw exceptions, and the first must find theirs.
		weft_file=`$CC -print-file-name=libstdc++.so.6 | grep /` &&
			PYTHON_PRELOAD=$PYTHON_PRELOAD:$weft_file])
])
AC_SUBST([PYTHON])
AC_SUBST([PYTHON_PRELOAD])
AC_SUBST([PYTHON_CPPFLAGS])
AC_SUBST([PYTHON_EXT_SUFFIX])
AC_SUBST([pythonexecdir])
AM_CONDITIONAL([WITH_PYTHON], [test "$with_python" != no])
])
