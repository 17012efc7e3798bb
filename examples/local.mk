# SPDX-License-Identifier: MIT
noinst_PROGRAMS += \
	examples/chat \
	examples/auction \
	examples/command_channel \
	examples/echo \
	examples/event_loop \
	examples/hello \
	examples/pipeline \
	examples/processes \
	examples/proxy \
	examples/pump \
	examples/rate_limiter \
	examples/resolve \
	examples/supervisor \
	examples/threads \
	examples/udp_echo

examples_auction_LDADD = lib/libweft.la
examples_chat_LDADD = lib/libweft.la
examples_command_channel_LDADD = lib/libweft.la
examples_echo_LDADD = lib/libweft.la
examples_event_loop_LDADD = lib/libweft.la
examples_hello_LDADD = lib/libweft.la
examples_pipeline_LDADD = lib/libweft.la
examples_processes_LDADD = lib/libweft.la
examples_proxy_LDADD = lib/libweft.la
examples_pump_LDADD = lib/libweft.la
examples_rate_limiter_LDADD = lib/libweft.la
examples_resolve_LDADD = lib/libweft.la
examples_supervisor_LDADD = lib/libweft.la
examples_threads_LDADD = lib/libweft.la
examples_udp_echo_LDADD = lib/libweft.la

if HAVE_OPENSSL
noinst_PROGRAMS += examples/tls_echo
endif
examples_tls_echo_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(OPENSSL_CFLAGS)
examples_tls_echo_LDADD = lib/libweft.la $(OPENSSL_LIBS)

if HAVE_HIREDIS
noinst_PROGRAMS += examples/redis_channel
endif
examples_redis_channel_CPPFLAGS = $(PUBLIC_CPPFLAGS) $(HIREDIS_CFLAGS)
examples_redis_channel_LDADD = lib/libweft.la $(HIREDIS_LIBS)

# To copy from, whatever was built here.
exampledir = $(docdir)/examples
dist_example_DATA = \
	examples/auction.c \
	examples/chat.c \
	examples/command_channel.c \
	examples/echo.c \
	examples/event_loop.c \
	examples/hello.c \
	examples/pipeline.c \
	examples/processes.c \
	examples/proxy.c \
	examples/pump.c \
	examples/rate_limiter.c \
	examples/redis_channel.c \
	examples/resolve.c \
	examples/supervisor.c \
	examples/threads.c \
	examples/tls_echo.c \
	examples/udp_echo.c
