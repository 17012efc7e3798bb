# SPDX-License-Identifier: MIT
#
# Every test prints TAP, so that automake counts single cases. Tests of units
# see private headers and link with the static library, whose hidden names are
# visible; all others are users of the library.
UNIT_TESTS = \
	tests/unit/test_buffer \
	tests/unit/test_callback \
	tests/unit/test_channel \
	tests/unit/test_close \
	tests/unit/test_context \
	tests/unit/test_control \
	tests/unit/test_deadline \
	tests/unit/test_deadlock \
	tests/unit/test_debug \
	tests/unit/test_detach \
	tests/unit/test_embed \
	tests/unit/test_end \
	tests/unit/test_engine \
	tests/unit/test_fork \
	tests/unit/test_group \
	tests/unit/test_inbox \
	tests/unit/test_io \
	tests/unit/test_io_kill \
	tests/unit/test_lock \
	tests/unit/test_offload \
	tests/unit/test_open \
	tests/unit/test_position \
	tests/unit/test_raised_errors \
	tests/unit/test_registers \
	tests/unit/test_ringer \
	tests/unit/test_scheduler \
	tests/unit/test_select \
	tests/unit/test_signals \
	tests/unit/test_stack \
	tests/unit/test_start \
	tests/unit/test_sync \
	tests/unit/test_task_pool \
	tests/unit/test_tasklet \
	tests/unit/test_terminal \
	tests/unit/test_thread \
	tests/unit/test_time \
	tests/unit/test_timer \
	tests/unit/test_trim \
	tests/unit/test_unbounded
if HAVE_CXX
UNIT_TESTS += tests/unit/test_cxx
tests_unit_test_cxx_SOURCES = tests/unit/test_cxx.cc
tests_unit_test_cxx_CPPFLAGS = -I$(top_srcdir)/include $(TEST_CPPFLAGS)
endif
TRACE_TESTS = \
	tests/trace/trace_buffer \
	tests/trace/trace_channel \
	tests/trace/trace_deadline \
	tests/trace/trace_group \
	tests/trace/trace_join \
	tests/trace/trace_kill \
	tests/trace/trace_ring \
	tests/trace/trace_run \
	tests/trace/trace_select \
	tests/trace/trace_sync \
	tests/trace/trace_threads \
	tests/trace/trace_traps
STRESS_TESTS = \
	tests/stress/stress_all \
	tests/stress/stress_attach \
	tests/stress/stress_channel \
	tests/stress/stress_deadlock \
	tests/stress/stress_group \
	tests/stress/stress_handles \
	tests/stress/stress_io \
	tests/stress/stress_kill \
	tests/stress/stress_offload \
	tests/stress/stress_reuse \
	tests/stress/stress_position \
	tests/stress/stress_sched \
	tests/stress/stress_select \
	tests/stress/stress_sync \
	tests/stress/stress_wake
TOOL_TESTS =
if WITH_TOOLS
TOOL_TESTS += tests/bench tests/echo tests/info
endif

# Those that run where there is no io_uring.
RINGLESS_TESTS = $(TRACE_TESTS) \
	tests/unit/test_context tests/unit/test_stack tests/unit/test_timer

TEST_CPPFLAGS = -iquote $(top_srcdir)/tests/support $(CHECK_CFLAGS)
UNIT_CPPFLAGS = $(PRIVATE_CPPFLAGS) $(TEST_CPPFLAGS)
WRAP_ALLOCATION = -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc \
	-Wl,--wrap=free,--wrap=aligned_alloc
WRAP_RING = -Wl,--wrap=io_uring_queue_mmap
LDADD = tests/support/libsupport.la lib/libweft.la $(CHECK_LIBS)

tests_unit_test_close_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_context_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_context_LDFLAGS = -static
tests_unit_test_deadline_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_deadline_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_engine_LDFLAGS = -static $(WRAP_RING)
tests_unit_test_group_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_inbox_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_inbox_LDFLAGS = -static
tests_unit_test_lock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_lock_LDFLAGS = -static
tests_unit_test_position_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_position_LDFLAGS = -static -Wl,--wrap=read,--wrap=pthread_create
tests_unit_test_ringer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ringer_LDFLAGS = -static -Wl,--wrap=readdir \
	-Wl,--wrap=weft__count_awake,--wrap=weft__count_out \
	-Wl,--wrap=weft__count_parked,--wrap=syscall
tests_unit_test_stack_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_stack_LDFLAGS = -static
tests_unit_test_sync_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_sync_LDFLAGS = -static
tests_unit_test_task_pool_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_task_pool_LDFLAGS = -static
tests_unit_test_timer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_timer_LDFLAGS = -static
tests_unit_test_trim_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_trim_LDFLAGS = -static -Wl,--wrap=weft__stack_trim
tests_unit_test_unbounded_LDFLAGS = -static $(WRAP_ALLOCATION)

check_LTLIBRARIES += tests/support/libsupport.la
tests_support_libsupport_la_SOURCES = \
	tests/support/allocation.c tests/support/allocation.h \
	tests/support/clock.c tests/support/clock.h \
	tests/support/limits.c tests/support/limits.h \
	tests/support/play.c tests/support/play.h \
	tests/support/support.c tests/support/support.h

ALL_TESTS = $(UNIT_TESTS) $(TRACE_TESTS) $(STRESS_TESTS) $(TOOL_TESTS)
# Programs that others run under.
COMPANIONS = tests/support/refuse
tests_support_refuse_LDADD =

check_PROGRAMS += $(ALL_TESTS) $(COMPANIONS)
EXTRA_DIST += tests/stress/stress.h
tests_stress_stress_all_SOURCES = \
	tests/stress/stress_all.c tests/stress/all.h \
	tests/stress/all_books.c tests/stress/all_channels.c \
	tests/stress/all_io.c tests/stress/all_process.c \
	tests/stress/all_tasklets.c
tests_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_bench_LDADD = $(LDADD) $(JANSSON_LIBS)
tests_info_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_info_LDADD = $(LDADD) $(JANSSON_LIBS)

dist_check_SCRIPTS += \
	tests/examples \
	tests/headers \
	tests/model/check-models \
	tests/symbols
TESTS += $(ALL_TESTS) $(dist_check_SCRIPTS)
EXTRA_DIST += \
	tests/check-long \
	tests/count \
	tests/install/program.c \
	tests/instructions \
	tests/instructions.txt \
	tests/model/buffer.pml \
	tests/model/channel.pml \
	tests/model/deadlock.pml \
	tests/model/group.pml \
	tests/model/handle.pml \
	tests/model/interrupt.pml \
	tests/model/join.pml \
	tests/model/park.pml \
	tests/model/position.pml \
	tests/model/rwlock.pml \
	tests/model/select.pml \
	tests/model/sync.pml \
	tests/run

LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) \
	$(top_srcdir)/build-aux/tap-driver.sh
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run
AM_TESTS_ENVIRONMENT = \
	CC='$(CC)'; LIBURING_CFLAGS='$(LIBURING_CFLAGS)'; \
	CK_TAP_LOG_FILE_NAME=-; CK_VERBOSITY=silent; \
	WEFT_BENCH=tools/weft-bench; WEFT_ECHO=tools/weft-echo; \
	WEFT_INFO=tools/weft-info; \
	export CC LIBURING_CFLAGS CK_TAP_LOG_FILE_NAME CK_VERBOSITY; \
	export WEFT_BENCH WEFT_ECHO WEFT_INFO;

check-programs: all
	$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS)

# LEGS names some of them; see the script.
check-long: all
	$(SHELL) $(top_srcdir)/tests/check-long $(LEGS)

.PHONY: check-programs check-long
