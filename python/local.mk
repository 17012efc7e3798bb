# SPDX-License-Identifier: MIT
#
# The Python modules. libtool makes a shared object only where the library is one, so that
# the extension is linked here, from objects that automake knows, with the library as it was
# built.
include python/_stackless/local.mk
EXTRA_DIST += \
	python/configure.py \
	python/pyproject.toml \
	python/setup.py \
	python/tests/tap.py
PYTHON_TESTS =
PYTHON_ENGINE_TESTS =

if WITH_PYTHON
noinst_LIBRARIES += python/libstackless.a
python_libstackless_a_SOURCES = $(stackless_sources)
python_libstackless_a_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(PYTHON_CPPFLAGS)
python_libstackless_a_CFLAGS = $(AM_CFLAGS) -fPIC -fvisibility=hidden -fexceptions

python_extension = _stackless$(PYTHON_EXT_SUFFIX)
pythonexec_DATA = python/$(python_extension)
dist_pythonexec_DATA = $(stackless_modules)
pythonweftdir = $(pythonexecdir)/weft
dist_pythonweft_DATA = \
	python/weft/__init__.py \
	python/weft/io.py
pythondocdir = $(docdir)/python
dist_pythondoc_DATA = python/README.md python/STACKLESS.md
pythonexampledir = $(docdir)/python/examples
dist_pythonexample_DATA = \
	python/examples/command_channel.py \
	python/examples/echo.py \
	python/examples/game.py \
	python/examples/threads.py

link_python = $(CC) $(AM_CFLAGS) $(CFLAGS) -shared -Wl,-z,now $(LDFLAGS) \
	-Wl,--whole-archive python/libstackless.a -Wl,--no-whole-archive
if WITH_SHARED
link_python += -Llib/.libs -lweft
else
link_python += lib/.libs/libweft.a $(LIBURING_LIBS) $(LIBS) \
	-Wl,--exclude-libs,libweft.a
endif
python/$(python_extension): python/libstackless.a lib/libweft.la
	$(AM_V_CCLD)$(link_python) -o $@ -Wl,-rpath,$(abs_top_builddir)/lib/.libs
CLEANFILES += python/$(python_extension)

# Linked anew, since the library lies elsewhere then.
install-exec-hook:
	$(link_python) -o $(DESTDIR)$(pythonexecdir)/$(python_extension) \
		-Wl,-rpath,$(libdir)

# Python has kept there what it has compiled.
uninstall-local:
	-rm -f "$(DESTDIR)$(pythonexecdir)"/__pycache__/stackless.*.pyc \
		"$(DESTDIR)$(pythonweftdir)"/__pycache__/*.pyc
OWN_FOLDERS += $(pythonexampledir) $(pythondocdir) $(pythonweftdir)/__pycache__ $(pythonweftdir)

print-pythonexecdir:
	@echo '$(pythonexecdir)'
.PHONY: print-pythonexecdir

PYTHON_TESTS += $(stackless_tests) \
	python/tests/test_configure.py \
	python/tests/test_examples.py \
	python/tests/test_io.py
PYTHON_ENGINE_TESTS += \
	python/tests/test_io.py
endif
EXTRA_DIST += $(stackless_tests) \
	python/tests/support.py \
	python/tests/test_configure.py \
	python/tests/test_examples.py \
	python/tests/test_io.py
