# SPDX-License-Identifier: MIT
noinst_PROGRAMS += \
	examples/command_channel \
	examples/echo \
	examples/event_loop \
	examples/hello \
	examples/supervisor \
	examples/threads

examples_command_channel_LDADD = lib/libweft.la
examples_echo_LDADD = lib/libweft.la
examples_event_loop_LDADD = lib/libweft.la
examples_hello_LDADD = lib/libweft.la
examples_supervisor_LDADD = lib/libweft.la
examples_threads_LDADD = lib/libweft.la
