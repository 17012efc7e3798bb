/* SPDX-License-Identifier: MIT */
/*
 * A signal handler that lists the callers of what it has interrupted, as profilers do,
 * may interrupt any instruction: of a switch too, where the stack is already the other
 * tasklet's. It never reads what is no caller.
 *
 * Here the processor stops after each instruction of a small program. Only x86_64 lets
 * a process do that to itself.
 */
#include <signal.h>
#include <ucontext.h>
#include <unwind.h>
#include <weft.h>

#include "support.h"

#ifndef __x86_64__

int main(void)
{
	skip("this processor does not let a process stop itself after each "
	     "instruction");
	return SKIPPED;
}

#else

/* The first frames are the handler's, and what was interrupted. */
enum { TRAP_FLAG = 0x100, DEEPEST = 100, NOT_CALLERS = 3 };

static weft_channel *channels[2]; /* a rendezvous, and one with a buffer */

static int yield(void *arg)
{
	(void)arg;
	for (int i = 0; i < 3; i++)
		weft_schedule();
	return 0;
}

static int leave(void *arg)
{
	(void)arg;
	weft_exit(0);
}

static int send_some(void *channel)
{
	for (long i = 0; i < 4; i++)
		weft_channel_send(channel, &i);
	return 0;
}

static int receive_some(void *channel)
{
	long element;

	for (int i = 0; i < 4; i++)
		weft_channel_receive(channel, &element);
	return 0;
}

static int end_at_once(void *arg)
{
	(void)arg;
	return 0;
}

/* Tasklets that begin, switch and end in all ways: after others of their kind, after
 * others with stacks of another size, by weft_exit(). */
static void run_some(void)
{
	static const struct weft_tasklet_options large = { .stack_size =
								   300000 };

	for (int i = 0; i < 4; i++)
		weft_spawn(i % 2 ? end_at_once : yield, NULL);
	weft_spawn_with(&large, yield, NULL);
	weft_spawn(leave, NULL);
	for (int i = 0; i < 2; i++) {
		weft_spawn(receive_some, channels[i]);
		weft_spawn(send_some, channels[i]);
	}
	weft_run();
	weft_spawn(yield, NULL);
	weft_pump();
}

static volatile bool is_stepping;
static unsigned n_steps;
static unsigned n_wrong;
static uintptr_t wrong_at;

struct walk {
	int depth;
	bool is_wrong;
};

static _Unwind_Reason_Code look_at_frame(struct _Unwind_Context *frame,
					 void *arg)
{
	struct walk *w = arg;
	void *at = (void *)_Unwind_GetIP(frame);

	if (++w->depth > DEEPEST || (w->depth > NOT_CALLERS && at &&
				     !_Unwind_FindEnclosingFunction(at)))
		w->is_wrong = true;
	return w->is_wrong ? _URC_END_OF_STACK : _URC_NO_REASON;
}

static void list_callers(int number, siginfo_t *info, void *context)
{
	greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
	struct walk w = { 0 };

	(void)number;
	(void)info;
	if (!is_stepping) {
		registers[REG_EFL] &= ~TRAP_FLAG;
		return;
	}
	n_steps++;
	_Unwind_Backtrace(look_at_frame, &w);
	if (w.is_wrong && n_wrong++ == 0)
		wrong_at = (uintptr_t)registers[REG_RIP];
}

/* From here on list_callers() runs after each instruction. */
static void begin_to_step(void)
{
	struct sigaction action = { .sa_sigaction = list_callers,
				    .sa_flags = SA_SIGINFO };

	sigaction(SIGTRAP, &action, NULL);
	is_stepping = true;
	__asm__ volatile("subq $128, %%rsp\n\t" /* the red zone */
			 "pushfq\n\t"
			 "orq %0, (%%rsp)\n\t"
			 "popfq\n\t"
			 "addq $128, %%rsp"
			 :
			 : "i"(TRAP_FLAG)
			 : "memory", "cc");
}

START_TEST(callers_are_found_from_each_instruction)
{
	struct walk w = { 0 };

	if (UNDER_ASAN || UNDER_TSAN) {
		skip("sanitizers have code of their own around a switch");
		return;
	}
	channels[0] = weft_channel_new(sizeof(long), 0);
	channels[1] = weft_channel_new(sizeof(long), 2);
	/* Libraries are bound, and unwinders loaded, before. */
	_Unwind_Backtrace(look_at_frame, &w);
	run_some();

	begin_to_step();
	run_some();
	is_stepping = false;
	if (!n_steps) {
		skip("this processor does not stop after each instruction");
		return;
	}
	ck_assert_uint_gt(n_steps, 1000);
	ck_assert_msg(n_wrong == 0,
		      "callers that are none from %u instructions, such as %p",
		      n_wrong, (void *)wrong_at);
	weft_channel_unref(channels[0]);
	weft_channel_unref(channels[1]);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("unwind");

	add_case(s, "callers", callers_are_found_from_each_instruction);
	return run_suite(s);
}

#endif /* __x86_64__ */
