# SPDX-License-Identifier: MIT
#
# The sources of the extension _stackless. They are compiled with -fexceptions, so that
# pthread_exit() comes past the frames that must not be left (thread.c).
stackless_sources = \
	python/_stackless/attributes.c \
	python/_stackless/bomb.c \
	python/_stackless/callbacks.c \
	python/_stackless/channel.c \
	python/_stackless/collect.c \
	python/_stackless/control.c \
	python/_stackless/hang.h \
	python/_stackless/io.c \
	python/_stackless/life.c \
	python/_stackless/module.c \
	python/_stackless/pickle.c \
	python/_stackless/schedule.c \
	python/_stackless/stackless.h \
	python/_stackless/tasklet.c \
	python/_stackless/thread.c \
	python/_stackless/tstate.h \
	python/_stackless/watchdog.c
stackless_modules = \
	python/stackless.py
stackless_tests = \
	python/tests/test_channel.py \
	python/tests/test_interpreter.py \
	python/tests/test_mischief.py \
	python/tests/test_random.py \
	python/tests/test_schedule.py \
	python/tests/test_tasklet.py \
	python/tests/test_threads.py
