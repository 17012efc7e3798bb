# SPDX-License-Identifier: MIT
noinst_PROGRAMS += \
	examples/command_channel \
	examples/echo \
	examples/event_loop \
	examples/hello \
	examples/pipeline \
	examples/pump \
	examples/rate_limiter \
	examples/resolve \
	examples/supervisor \
	examples/threads

examples_command_channel_LDADD = lib/libweft.la
examples_echo_LDADD = lib/libweft.la
examples_event_loop_LDADD = lib/libweft.la
examples_hello_LDADD = lib/libweft.la
examples_pipeline_LDADD = lib/libweft.la
examples_pump_LDADD = lib/libweft.la
examples_rate_limiter_LDADD = lib/libweft.la
examples_resolve_LDADD = lib/libweft.la
examples_supervisor_LDADD = lib/libweft.la
examples_threads_LDADD = lib/libweft.la
