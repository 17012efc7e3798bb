# SPDX-License-Identifier: MIT
lib_LTLIBRARIES += lib/libweft.la
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = lib/weft.pc

lib_libweft_la_SOURCES = \
	lib/arch/aarch64/frame.h \
	lib/arch/x86_64/frame.h \
	lib/await.c \
	lib/channel.c lib/channel.h \
	lib/channel_buffer.c lib/channel_buffer.h \
	lib/channel_pass.c lib/channel_pass.h \
	lib/channel_pool.c \
	lib/channel_wait.c lib/channel_wait.h \
	lib/close.c \
	lib/condition.c \
	lib/context.c lib/context.h \
	lib/control.c \
	lib/deadline.c \
	lib/deadlock.c lib/deadlock.h \
	lib/debug.c lib/debug.h \
	lib/embed.c \
	lib/engine/engine.h \
	lib/engine/uring.c \
	lib/environment.c lib/environment.h \
	lib/exception.c lib/exception.h \
	lib/fork.c lib/fork.h \
	lib/group.c \
	lib/inbox.c lib/inbox.h \
	lib/io.c lib/io.h \
	lib/join.c \
	lib/lock.c lib/lock.h \
	lib/mutex.c \
	lib/net.c \
	lib/offload.c lib/offload.h \
	lib/open.c \
	lib/park.c lib/park.h \
	lib/pool.c lib/pool.h \
	lib/position.c lib/position.h \
	lib/rwlock.c \
	lib/scheduler.c lib/scheduler.h \
	lib/select.c \
	lib/semaphore.c \
	lib/stack.c lib/stack.h \
	lib/start.c \
	lib/sync.c lib/sync.h \
	lib/task_pool.c lib/task_pool.h \
	lib/tasklet.c lib/tasklet.h \
	lib/thread.c lib/thread.h \
	lib/time.c \
	lib/timer.c lib/timer.h \
	lib/valgrind.h \
	lib/waiter.h

# Each architecture's file is built on that architecture only.
EXTRA_DIST += lib/arch/aarch64/context.S lib/arch/x86_64/context.S
if ARCH_X86_64
nodist_lib_libweft_la_SOURCES = lib/arch/x86_64/context.S
endif
if ARCH_AARCH64
nodist_lib_libweft_la_SOURCES = lib/arch/aarch64/context.S
endif

lib_libweft_la_CPPFLAGS = $(PRIVATE_CPPFLAGS)
lib_libweft_la_CFLAGS = $(AM_CFLAGS) -fvisibility=hidden
lib_libweft_la_LIBADD = $(LIBURING_LIBS)
# A thread that is attached runs our destructor at its end: the library has to be
# there then, dlclose or not.
# Binding a call when it is first made takes 3 KB of the stack that it is made on.
lib_libweft_la_LDFLAGS = \
	-Wl,-z,nodelete \
	-Wl,-z,now \
	-version-info $(WEFT_VERSION_INFO) \
	-Wl,--version-script=$(top_srcdir)/lib/libweft.map
EXTRA_lib_libweft_la_DEPENDENCIES = lib/libweft.map
EXTRA_DIST += lib/libweft.map
