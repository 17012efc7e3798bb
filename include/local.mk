# SPDX-License-Identifier: MIT
include_HEADERS += include/weft.h

weftincludedir = $(includedir)/weft
weftinclude_HEADERS = \
	include/weft/base.h \
	include/weft/channel.h \
	include/weft/debug.h \
	include/weft/embed.h \
	include/weft/file.h \
	include/weft/group.h \
	include/weft/io.h \
	include/weft/net.h \
	include/weft/offload.h \
	include/weft/process.h \
	include/weft/scheduler.h \
	include/weft/stdio.h \
	include/weft/stream.h \
	include/weft/sync.h \
	include/weft/tasklet.h \
	include/weft/time.h \
	include/weft/uring.h
