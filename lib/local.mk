# SPDX-License-Identifier: MIT
lib_LTLIBRARIES += lib/libweft.la
pkgconfigdir = $(libdir)/pkgconfig
pkgconfig_DATA = lib/weft.pc

lib_libweft_la_SOURCES = \
	lib/base/cpu.h \
	lib/base/debug.c lib/base/debug.h \
	lib/base/descriptor.c lib/base/descriptor.h \
	lib/base/environment.c lib/base/environment.h \
	lib/base/lock.c lib/base/lock.h \
	lib/base/part.c lib/base/part.h \
	lib/base/valgrind.h \
	lib/base/world.c lib/base/world.h \
	lib/channel/buffer.c lib/channel/buffer.h \
	lib/channel/channel.c lib/channel/channel.h \
	lib/channel/pass.c lib/channel/pass.h \
	lib/channel/pool.c \
	lib/channel/select.c lib/channel/select.h \
	lib/channel/wait.c lib/channel/wait.h \
	lib/channel/watch.c \
	lib/core/block.h \
	lib/core/control.c \
	lib/core/deadline.c lib/core/deadline.h \
	lib/core/deadlock.c lib/core/deadlock.h \
	lib/core/embed.c lib/core/embed.h \
	lib/core/fork.c lib/core/fork.h \
	lib/core/handle.c \
	lib/core/helper.c lib/core/helper.h \
	lib/core/holding.h \
	lib/core/inbox.c lib/core/inbox.h \
	lib/core/join.c \
	lib/core/park.c lib/core/park.h \
	lib/core/queue.c lib/core/queue.h \
	lib/core/run.c lib/core/run.h \
	lib/core/runtime.c \
	lib/core/scheduler.c lib/core/scheduler.h \
	lib/core/start.c \
	lib/core/switch.h \
	lib/core/task_pool.c lib/core/task_pool.h \
	lib/core/tasklet.c lib/core/tasklet.h \
	lib/core/thread.c lib/core/thread.h \
	lib/core/time.c \
	lib/core/timer.c lib/core/timer.h \
	lib/core/turn.c lib/core/turn.h \
	lib/core/waiter.h \
	lib/core/world.c lib/core/world.h \
	lib/engine/carry.c lib/engine/carry.h \
	lib/engine/engine.c lib/engine/engine.h \
	lib/engine/flight.c lib/engine/flight.h \
	lib/engine/poll.c lib/engine/poll.h \
	lib/engine/pool.c lib/engine/pool.h \
	lib/engine/uring.c lib/engine/uring.h \
	lib/io/address.c lib/io/address.h \
	lib/io/arrivals.c \
	lib/io/await.c \
	lib/io/buffers.c lib/io/buffers.h \
	lib/io/child.c \
	lib/io/close.c \
	lib/io/dial.c \
	lib/io/file.c \
	lib/io/full.c \
	lib/io/held.c lib/io/held.h \
	lib/io/identity.h \
	lib/io/io.c lib/io/io.h \
	lib/io/luck.h \
	lib/io/net.c \
	lib/io/offload.c lib/io/offload.h \
	lib/io/open.c \
	lib/io/poll.c \
	lib/io/position.c lib/io/position.h \
	lib/io/receive.c \
	lib/io/resolve.c \
	lib/io/signal.c \
	lib/io/splice.c \
	lib/io/stdio.c \
	lib/io/stream.c lib/io/stream.h \
	lib/io/zero_copy.c \
	lib/see/stats.c \
	lib/stack/aarch64/frame.h \
	lib/stack/context.c lib/stack/context.h \
	lib/stack/exception.c lib/stack/exception.h \
	lib/stack/stack.c lib/stack/stack.h \
	lib/stack/x86_64/frame.h \
	lib/sync/condition.c \
	lib/sync/group.c \
	lib/sync/mutex.c \
	lib/sync/rwlock.c \
	lib/sync/semaphore.c \
	lib/sync/sync.c lib/sync/sync.h

# Each architecture's file is built on that architecture only.
EXTRA_DIST += lib/stack/aarch64/context.S lib/stack/x86_64/context.S
if ARCH_X86_64
nodist_lib_libweft_la_SOURCES = lib/stack/x86_64/context.S
endif
if ARCH_AARCH64
nodist_lib_libweft_la_SOURCES = lib/stack/aarch64/context.S
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

# Tests of units, and tools that look inside, use hidden names. They link with the
# static library, or where there is none with one that is not installed.
if WITH_STATIC
WHOLE_LIBWEFT = lib/libweft.la
else
WHOLE_LIBWEFT = lib/libwhole.la
EXTRA_LTLIBRARIES += lib/libwhole.la
lib_libwhole_la_SOURCES = $(lib_libweft_la_SOURCES)
nodist_lib_libwhole_la_SOURCES = $(nodist_lib_libweft_la_SOURCES)
lib_libwhole_la_CPPFLAGS = $(lib_libweft_la_CPPFLAGS)
lib_libwhole_la_CFLAGS = $(lib_libweft_la_CFLAGS)
lib_libwhole_la_LIBADD = $(LIBURING_LIBS)
CLEANFILES += lib/libwhole.la
endif
