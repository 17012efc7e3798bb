# SPDX-License-Identifier: MIT
#
# Every test prints TAP, so that automake counts single cases. Tests of units
# see private headers and link with the static library, whose hidden names are
# visible; all others are users of the library.
UNIT_TESTS = \
	tests/unit/test_address \
	tests/unit/test_await \
	tests/unit/test_bad_input \
	tests/unit/test_buffer \
	tests/unit/test_buffers \
	tests/unit/test_callback \
	tests/unit/test_channel \
	tests/unit/test_close \
	tests/unit/test_context \
	tests/unit/test_control \
	tests/unit/test_crowd \
	tests/unit/test_deadline \
	tests/unit/test_deadlock \
	tests/unit/test_debug \
	tests/unit/test_detach \
	tests/unit/test_embed \
	tests/unit/test_end \
	tests/unit/test_engine \
	tests/unit/test_fault_cancel \
	tests/unit/test_faults \
	tests/unit/test_file \
	tests/unit/test_fork \
	tests/unit/test_given_up \
	tests/unit/test_group \
	tests/unit/test_inbox \
	tests/unit/test_io \
	tests/unit/test_io_kill \
	tests/unit/test_leave \
	tests/unit/test_lock \
	tests/unit/test_offload \
	tests/unit/test_open \
	tests/unit/test_poll \
	tests/unit/test_poll_engine \
	tests/unit/test_position \
	tests/unit/test_process \
	tests/unit/test_raised_errors \
	tests/unit/test_readiness \
	tests/unit/test_registers \
	tests/unit/test_ringer \
	tests/unit/test_runtime \
	tests/unit/test_sandbox \
	tests/unit/test_scheduler \
	tests/unit/test_select \
	tests/unit/test_select_fd \
	tests/unit/test_signal_wait \
	tests/unit/test_shortage \
	tests/unit/test_signals \
	tests/unit/test_socket \
	tests/unit/test_splice \
	tests/unit/test_stack \
	tests/unit/test_start \
	tests/unit/test_stdio \
	tests/unit/test_stream \
	tests/unit/test_sync \
	tests/unit/test_task_pool \
	tests/unit/test_tasklet \
	tests/unit/test_terminal \
	tests/unit/test_thread \
	tests/unit/test_time \
	tests/unit/test_timer \
	tests/unit/test_trim \
	tests/unit/test_unbounded \
	tests/unit/test_unwind \
	tests/unit/test_vector \
	tests/unit/test_world \
	tests/unit/test_zc
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
	tests/stress/stress_cancel \
	tests/stress/stress_channel \
	tests/stress/stress_deadlock \
	tests/stress/stress_faults \
	tests/stress/stress_group \
	tests/stress/stress_handles \
	tests/stress/stress_io \
	tests/stress/stress_kill \
	tests/stress/stress_offload \
	tests/stress/stress_reuse \
	tests/stress/stress_position \
	tests/stress/stress_sched \
	tests/stress/stress_select \
	tests/stress/stress_stream \
	tests/stress/stress_sync \
	tests/stress/stress_verbs \
	tests/stress/stress_wake
EXAMPLE_TESTS = tests/descriptors
TOOL_TESTS =
if WITH_TOOLS
TOOL_TESTS += tests/bench tests/cp tests/echo tests/info tests/load
if HAVE_HTTP_PARSER
TOOL_TESTS += tests/httpd
endif
endif

# Those that are run on both engines: with WEFT_ENGINE=poll as PROGRAM-on-poll.
ENGINE_TESTS = \
	tests/unit/test_await \
	tests/unit/test_buffers \
	tests/unit/test_close \
	tests/unit/test_crowd \
	tests/unit/test_file \
	tests/unit/test_fork \
	tests/unit/test_given_up \
	tests/unit/test_io \
	tests/unit/test_io_kill \
	tests/unit/test_open \
	tests/unit/test_poll \
	tests/unit/test_position \
	tests/unit/test_readiness \
	tests/unit/test_select_fd \
	tests/unit/test_shortage \
	tests/unit/test_vector \
	tests/stress/stress_io \
	$(EXAMPLE_TESTS)
if WITH_TOOLS
ENGINE_TESTS += tests/cp tests/echo
if HAVE_HTTP_PARSER
ENGINE_TESTS += tests/httpd
endif
endif
ENGINE_TESTS += $(PYTHON_ENGINE_TESTS)
ON_POLL = $(ENGINE_TESTS:=-on-poll)

TEST_CPPFLAGS = -iquote $(top_srcdir)/tests/support $(CHECK_CFLAGS)
UNIT_CPPFLAGS = $(PRIVATE_CPPFLAGS) $(TEST_CPPFLAGS)
# (-u: where the compiler sees that a test does nothing, allocation.c is wanted, too.)
WRAP_ALLOCATION = -Wl,-u,__wrap_malloc,--wrap=malloc,--wrap=calloc,--wrap=realloc \
	-Wl,--wrap=free,--wrap=aligned_alloc
WRAP_RING = -Wl,--wrap=io_uring_queue_mmap
# What faults.c stands in front of.
WRAP_FAULTS = -Wl,--wrap=io_uring_enter2,--wrap=io_uring_queue_mmap \
	-Wl,--wrap=io_uring_queue_exit,--wrap=io_uring_register_ring_fd \
	-Wl,--wrap=io_uring_register_iowq_max_workers \
	-Wl,--wrap=io_uring_ring_dontfork,--wrap=io_uring_register_eventfd \
	-Wl,--wrap=io_uring_get_probe_ring,--wrap=eventfd,--wrap=syscall
LDADD = tests/support/libsupport.la $(WHOLE_LIBWEFT) $(CHECK_LIBS)

tests_unit_test_buffers_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_buffers_LDFLAGS = -static $(WRAP_ALLOCATION) \
	-Wl,--wrap=weft__engine_submit,--wrap=weft__engine_add_buffers
tests_unit_test_address_LDFLAGS = -static -Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_close_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_context_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_context_LDFLAGS = -static
tests_unit_test_deadline_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_deadline_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_detach_LDFLAGS = -static -Wl,--wrap=realloc,--wrap=malloc
tests_unit_test_engine_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_engine_LDFLAGS = -static $(WRAP_RING)
tests_unit_test_fault_cancel_LDFLAGS = -static $(WRAP_FAULTS)
tests_unit_test_faults_LDFLAGS = -static $(WRAP_FAULTS)
tests_unit_test_fork_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_fork_LDFLAGS = -static
tests_unit_test_file_LDFLAGS = -static -Wl,--wrap=io_uring_get_probe_ring
tests_unit_test_given_up_LDFLAGS = -static $(WRAP_ALLOCATION) \
	-Wl,--wrap=getaddrinfo,--wrap=freeaddrinfo
tests_unit_test_group_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_inbox_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_inbox_LDFLAGS = -static
tests_unit_test_lock_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_lock_LDFLAGS = -static
tests_unit_test_poll_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_poll_engine_LDFLAGS = -static \
	-Wl,--wrap=pthread_create,--wrap=syscall,--wrap=sendmsg
tests_unit_test_position_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_position_LDFLAGS = -static -Wl,--wrap=read,--wrap=pthread_create
tests_unit_test_process_LDFLAGS = -static -Wl,--wrap=io_uring_get_probe_ring
tests_unit_test_ringer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_ringer_LDFLAGS = -static -Wl,--wrap=readdir \
	-Wl,--wrap=weft__count_awake,--wrap=weft__count_out \
	-Wl,--wrap=weft__count_parked,--wrap=syscall
tests_unit_test_select_fd_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_stack_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_stack_LDFLAGS = -static
tests_unit_test_stream_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_stream_LDFLAGS = -static $(WRAP_ALLOCATION) \
	-Wl,--wrap=weft__engine_submit
tests_unit_test_sync_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_sync_LDFLAGS = -static
tests_unit_test_task_pool_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_task_pool_LDFLAGS = -static
tests_unit_test_timer_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_timer_LDFLAGS = -static
tests_unit_test_trim_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_trim_LDFLAGS = -static -Wl,--wrap=weft__stack_trim
tests_unit_test_unbounded_LDFLAGS = -static $(WRAP_ALLOCATION)
tests_unit_test_world_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_world_LDFLAGS = -static
tests_unit_test_zc_CPPFLAGS = $(UNIT_CPPFLAGS)
tests_unit_test_zc_LDFLAGS = -static -Wl,--wrap=io_uring_get_probe_ring \
	-Wl,--wrap=weft__await_operation

check_LTLIBRARIES += tests/support/libsupport.la
tests_support_libsupport_la_SOURCES = \
	tests/support/allocation.c tests/support/allocation.h \
	tests/support/clock.c tests/support/clock.h \
	tests/support/ends.c tests/support/ends.h \
	tests/support/faults.c tests/support/faults.h \
	tests/support/limits.c tests/support/limits.h \
	tests/support/play.c tests/support/play.h \
	tests/support/program.c tests/support/program.h \
	tests/support/support.c tests/support/support.h

ALL_TESTS = $(UNIT_TESTS) $(TRACE_TESTS) $(STRESS_TESTS) $(EXAMPLE_TESTS) \
	$(TOOL_TESTS)
# Programs that others run under.
COMPANIONS = tests/support/refuse
tests_support_refuse_LDADD =

check_PROGRAMS += $(ALL_TESTS) $(COMPANIONS)
EXTRA_DIST += tests/stress/stress.h
tests_stress_stress_all_SOURCES = \
	tests/stress/stress_all.c tests/stress/all.h \
	tests/stress/all_books.c tests/stress/all_channels.c \
	tests/stress/all_flies.c tests/stress/all_io.c \
	tests/stress/all_process.c tests/stress/all_tasklets.c \
	tests/stress/all_wakes.c
tests_stress_stress_faults_LDFLAGS = -static $(WRAP_FAULTS)
tests_bench_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_bench_LDADD = $(LDADD) $(JANSSON_LIBS)
tests_info_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS)
tests_info_LDADD = $(LDADD) $(JANSSON_LIBS)
tests_load_CPPFLAGS = $(AM_CPPFLAGS) $(JANSSON_CFLAGS) -iquote $(top_builddir)
tests_load_LDADD = $(LDADD) $(JANSSON_LIBS)

dist_check_SCRIPTS += \
	tests/configure \
	tests/examples \
	tests/floors \
	tests/headers \
	tests/model/check-models \
	tests/symbols
TESTS += $(ALL_TESTS) $(PYTHON_TESTS) $(ON_POLL) $(dist_check_SCRIPTS)
EXTRA_DIST += \
	tests/check-long \
	tests/count \
	tests/fuzz \
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
	tests/model/poll.pml \
	tests/model/position.pml \
	tests/model/remove.pml \
	tests/model/resolve.pml \
	tests/model/rwlock.pml \
	tests/model/select.pml \
	tests/model/sync.pml \
	tests/model/watch.pml \
	tests/run

LOG_DRIVER = env AM_TAP_AWK='$(AWK)' $(SHELL) \
	$(top_srcdir)/build-aux/tap-driver.sh
LOG_COMPILER = $(SHELL) $(top_srcdir)/tests/run
AM_TESTS_ENVIRONMENT = \
	CC='$(CC)'; LIBURING_CFLAGS='$(LIBURING_CFLAGS)'; \
	EXAMPLES_CFLAGS='$(OPENSSL_CFLAGS) $(HIREDIS_CFLAGS)'; \
	CK_TAP_LOG_FILE_NAME=-; CK_VERBOSITY=silent; \
	WEFT_BENCH=tools/weft-bench; WEFT_CP=tools/weft-cp; WEFT_ECHO=tools/weft-echo; \
	WEFT_HTTPD=tools/weft-httpd; \
	WEFT_INFO=tools/weft-info; WEFT_LOAD=tools/weft-load; \
	PYTHON='$(PYTHON)'; PYTHON_PRELOAD='$(PYTHON_PRELOAD)'; \
	export PYTHON PYTHON_PRELOAD; \
	export CC LIBURING_CFLAGS EXAMPLES_CFLAGS; \
	export CK_TAP_LOG_FILE_NAME CK_VERBOSITY; \
	export WEFT_BENCH WEFT_CP WEFT_ECHO WEFT_HTTPD WEFT_INFO WEFT_LOAD;

# For make alone; tests/run knows what such a name means.
$(ON_POLL): $(ENGINE_TESTS)
	@$(MKDIR_P) $(@D) && touch $@
CLEANFILES += $(ON_POLL)

check-programs: all
	$(MAKE) $(AM_MAKEFLAGS) $(check_PROGRAMS)

# LEGS names some of them; see the script.
check-long: all
	PYTHON='$(PYTHON)' $(SHELL) $(top_srcdir)/tests/check-long $(LEGS)

.PHONY: check-programs check-long
