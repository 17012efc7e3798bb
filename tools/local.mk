# SPDX-License-Identifier: MIT
bin_PROGRAMS += tools/weft-bench tools/weft-cp tools/weft-echo tools/weft-info tools/weft-load

# What they have in common; each takes what it needs.
noinst_LIBRARIES += tools/libtools.a
tools_libtools_a_SOURCES = \
	tools/address.c tools/address.h \
	tools/gnuplot.c tools/gnuplot.h \
	tools/json.c tools/json.h \
	tools/number.c tools/number.h \
	tools/option.c tools/option.h \
	tools/output.c tools/output.h \
	tools/process.c tools/process.h \
	tools/server.c tools/server.h \
	tools/sibling.c tools/sibling.h
tools_libtools_a_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(LIBURING_CFLAGS) $(JANSSON_CFLAGS) \
	-DSIBLING_DIR='"$(pkglibexecdir)"'

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
	tools/bench/work_growth.c \
	tools/bench/work_mutex.c \
	tools/bench/work_select.c \
	tools/bench/work_offload.c \
	tools/bench/work_tasklet.c \
	tools/bench/work_tree.c \
	tools/bench/work_file.c \
	tools/bench/work_net.c \
	tools/bench/work_uring.c \
	tools/bench/work_wake.c
tools_weft_bench_CPPFLAGS = $(PRIVATE_CPPFLAGS) $(JANSSON_CFLAGS) \
	-I$(top_builddir) \
	-DWEFT_CFLAGS='"$(CFLAGS)$(SANITIZER_CFLAGS)"'
tools_weft_bench_LDFLAGS = -static
tools_weft_bench_LDADD = tools/libtools.a $(WHOLE_LIBWEFT) $(JANSSON_LIBS) $(LIBURING_LIBS)

tools_weft_cp_SOURCES = \
	tools/cp/attributes.c \
	tools/cp/cp.h \
	tools/cp/data.c \
	tools/cp/entry.c \
	tools/cp/folder.c \
	tools/cp/links.c \
	tools/cp/main.c \
	tools/cp/pool.c \
	tools/cp/progress.c
tools_weft_cp_CPPFLAGS = $(PUBLIC_CPPFLAGS)
tools_weft_cp_LDADD = tools/libtools.a lib/libweft.la

tools_weft_echo_SOURCES = \
	tools/echo/serve.c tools/echo/serve.h \
	tools/weft-echo.c
tools_weft_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(LIBURING_CFLAGS)
tools_weft_echo_LDADD = tools/libtools.a lib/libweft.la

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
tools_weft_info_LDADD = tools/libtools.a $(WHOLE_LIBWEFT) $(JANSSON_LIBS) $(LIBURING_LIBS)

tools_weft_load_SOURCES = \
	tools/load/assertion.c \
	tools/load/histogram.c \
	tools/load/load.h \
	tools/load/main.c \
	tools/load/report.c \
	tools/load/text.c \
	tools/load/worker.c
tools_weft_load_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(LIBURING_CFLAGS) $(JANSSON_CFLAGS) \
	-iquote $(top_builddir)
tools_weft_load_LDADD = tools/libtools.a lib/libweft.la $(JANSSON_LIBS) -lm
if HAVE_HTTP_PARSER
tools_weft_load_SOURCES += tools/load/http.c
tools_weft_load_LDADD += -lhttp_parser
endif

if HAVE_HTTP_PARSER
bin_PROGRAMS += tools/weft-httpd
endif
tools_weft_httpd_SOURCES = \
	tools/httpd/client.c \
	tools/httpd/fields.c tools/httpd/fields.h \
	tools/httpd/files.c \
	tools/httpd/httpd.h \
	tools/httpd/log.c \
	tools/httpd/main.c \
	tools/httpd/request.c tools/httpd/request.h
tools_weft_httpd_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(LIBURING_CFLAGS)
tools_weft_httpd_LDADD = tools/libtools.a lib/libweft.la -lhttp_parser

# What weft-echo is compared with, without weft.
pkglibexec_PROGRAMS += tools/echo/weft-echo-baseline
tools_echo_weft_echo_baseline_SOURCES = \
	tools/address.c tools/address.h \
	tools/process.c tools/process.h \
	tools/echo/baseline.c tools/echo/baseline.h \
	tools/echo/baseline_epoll.c \
	tools/echo/baseline_uring.c
tools_echo_weft_echo_baseline_CPPFLAGS = -D_GNU_SOURCE= $(LIBURING_CFLAGS)
tools_echo_weft_echo_baseline_CFLAGS = -std=gnu11 $(WARNING_CFLAGS)
tools_echo_weft_echo_baseline_LDADD = $(LIBURING_LIBS)

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

if HAVE_BOOST_ASIO
pkglibexec_PROGRAMS += tools/peers/weft-peer-boost-asio
endif
tools_peers_weft_peer_boost_asio_SOURCES = tools/peers/boost-asio.cpp
tools_peers_weft_peer_boost_asio_CPPFLAGS =
tools_peers_weft_peer_boost_asio_CXXFLAGS = -std=c++17 -Wall -Wextra -Wshadow
tools_peers_weft_peer_boost_asio_LDADD =

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

# One script, for all that are written in Python.
python_peers = \
	tools/peers/weft-peer-asyncio \
	tools/peers/weft-peer-greenlet \
	tools/peers/weft-peer-stackless \
	tools/peers/weft-peer-threading
if WITH_PYTHON
pkglibexec_SCRIPTS += $(python_peers)
endif
EXTRA_DIST += tools/peers/python.py
$(python_peers): $(top_srcdir)/tools/peers/python.py Makefile
	$(AM_V_GEN)$(MKDIR_P) tools/peers && name=$@ && { \
		echo '#!$(PYTHON)' && \
		echo "WHO = '$${name##*-}'" && \
		echo "BUILT = '$(abs_top_builddir)'" && \
		echo "MODULES = ['$(abs_top_builddir)/python', '$(abs_top_srcdir)/python']" && \
		echo "INSTALLED = ['$(pythonexecdir)']" && \
		cat $(top_srcdir)/tools/peers/python.py; } >$@ && chmod +x $@
CLEANFILES += $(python_peers)
