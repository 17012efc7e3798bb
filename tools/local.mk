# SPDX-License-Identifier: MIT
bin_PROGRAMS += tools/weft-bench tools/weft-echo tools/weft-info

# The raw switch and the doorbells are hidden names of the static library.
tools_weft_bench_SOURCES = \
	tools/bench/bare.c \
	tools/bench/bare_nop.c \
	tools/bench/bench.h \
	tools/bench/chart.c \
	tools/bench/child.c \
	tools/bench/doorbell.c \
	tools/bench/machine.c \
	tools/bench/main.c \
	tools/bench/markdown.c \
	tools/bench/measure.c \
	tools/bench/memory.c \
	tools/bench/pair.c \
	tools/bench/peers.c \
	tools/bench/report.c \
	tools/bench/spawn.c \
	tools/bench/sweep.c \
	tools/bench/variants.c \
	tools/bench/work.h \
	tools/bench/work_channel.c \
	tools/bench/work_mutex.c \
	tools/bench/work_select.c \
	tools/bench/work_offload.c \
	tools/bench/work_tasklet.c \
	tools/bench/work_tree.c \
	tools/bench/work_uring.c \
	tools/bench/work_wake.c
tools_weft_bench_CPPFLAGS = $(PRIVATE_CPPFLAGS) $(JANSSON_CFLAGS) \
	-I$(top_builddir) \
	-DBENCH_PEER_DIR='"$(pkglibexecdir)"' \
	-DWEFT_CFLAGS='"$(CFLAGS)$(SANITIZER_CFLAGS)"'
tools_weft_bench_LDFLAGS = -static
tools_weft_bench_LDADD = lib/libweft.la $(JANSSON_LIBS) $(LIBURING_LIBS)

tools_weft_echo_SOURCES = \
	tools/address.c tools/address.h \
	tools/weft-echo.c
tools_weft_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(LIBURING_CFLAGS)
tools_weft_echo_LDADD = lib/libweft.la

# The doorbell in use is a hidden name too.
tools_weft_info_SOURCES = \
	tools/bench/bench.h \
	tools/bench/doorbell.c \
	tools/info/facts.c \
	tools/info/info.h \
	tools/info/machine.c \
	tools/info/uring.c \
	tools/info/uses.c \
	tools/weft-info.c
tools_weft_info_CPPFLAGS = $(PRIVATE_CPPFLAGS) $(JANSSON_CFLAGS)
tools_weft_info_LDFLAGS = -static
tools_weft_info_LDADD = lib/libweft.la $(JANSSON_LIBS) $(LIBURING_LIBS)

# What weft-bench compares with runs in programs of their own.
pkglibexec_PROGRAMS += tools/peers/weft-peer-pthread
tools_peers_weft_peer_pthread_SOURCES = tools/peers/pthread.c
tools_peers_weft_peer_pthread_CPPFLAGS = -D_GNU_SOURCE=
tools_peers_weft_peer_pthread_CFLAGS = -std=gnu11 $(WARNING_CFLAGS)
tools_peers_weft_peer_pthread_LDADD =

if HAVE_BOOST_CONTEXT
pkglibexec_PROGRAMS += tools/peers/weft-peer-boost-context
endif
tools_peers_weft_peer_boost_context_SOURCES = tools/peers/boost-context.cpp
tools_peers_weft_peer_boost_context_CPPFLAGS =
tools_peers_weft_peer_boost_context_CXXFLAGS = \
	-std=c++17 -Wall -Wextra -Wshadow $(SANITIZER_CFLAGS)
tools_peers_weft_peer_boost_context_LDADD = -lboost_context

if HAVE_BOOST_FIBER
pkglibexec_PROGRAMS += tools/peers/weft-peer-boost-fiber
endif
tools_peers_weft_peer_boost_fiber_SOURCES = tools/peers/boost-fiber.cpp
tools_peers_weft_peer_boost_fiber_CPPFLAGS = -DNDEBUG
tools_peers_weft_peer_boost_fiber_CXXFLAGS = -std=c++17 -Wall -Wextra -Wshadow
tools_peers_weft_peer_boost_fiber_LDADD = -lboost_fiber -lboost_context

# A program, but automake has rules only for those of its languages. $(GO_ENVIRONMENT)
# keeps go to its own tool chain, without modules, and its cache here.
if HAVE_GO
pkglibexec_SCRIPTS += tools/peers/weft-peer-go
endif
EXTRA_DIST += tools/peers/go.go
go_cache = $(abs_top_builddir)/tools/peers/.go
tools/peers/weft-peer-go: $(top_srcdir)/tools/peers/go.go
	$(AM_V_GEN)$(MKDIR_P) tools/peers && \
	env $(GO_ENVIRONMENT) GOCACHE='$(go_cache)/cache' GOPATH='$(go_cache)' \
		$(GO) build -o $@ $(top_srcdir)/tools/peers/go.go
CLEANFILES += tools/peers/weft-peer-go
clean-local:
	rm -rf tools/peers/.go
