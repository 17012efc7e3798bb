/* SPDX-License-Identifier: MIT */
/*
 * Rule R7, what happens when nothing is runnable, and the calls that it speaks
 * of: run, pump and stop, alone and nested.
 *
 * The comments write the ring from the cursor on: [a b m] is a running, then b,
 * then m. A tasklet inside run or pump is not in the ring.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- run --- */

/* R7: all others have ended: run returns 0. */
START_TEST(run_returns_when_all_have_ended)
{
	play("m: spawn:ab run m1", "a: a1 schedule a2", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a2 b2 m:run=0 m1");
}
END_TEST

/* R7: there is nobody to run. */
START_TEST(run_of_nobody)
{
	play("m: run m1 run m2 count");
	ck_assert_str_eq(trace(), "m:run=0 m1 m:run=0 m2 n=1");
}
END_TEST

/* R7: those that are spawned meanwhile are run too: [a b], [b c], [c]. */
START_TEST(run_includes_those_spawned_meanwhile)
{
	play("m: spawn:ab run m1", "a: a1 spawn:c", "b: b1", "c: c1 spawn:d",
	     "d: d1");
	ck_assert_str_eq(trace(), "a1 b1 c1 d1 m:run=0 m1");
}
END_TEST

/* R7: the caller is paused and not in the ring: [a b]. */
START_TEST(run_takes_the_caller_out_of_the_ring)
{
	play("m: spawn:ab count run count", "a: count state:m schedule count",
	     "b: count");
	ck_assert_str_eq(trace(), "n=3 n=2 m:paused n=2 n=1 m:run=0 n=1");
}
END_TEST

/* R7: run, again and again. */
START_TEST(run_after_run)
{
	play("m: spawn:a run m1 spawn:ab run m2 run m3", "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=0 m1 a1 b1 m:run=0 m2 m:run=0 m3");
}
END_TEST

/* R7: those who pause and insert each other keep run going: [a b] to [b] to
 * [b a]. */
START_TEST(run_waits_for_those_who_come_back)
{
	play("m: spawn:ab run m1", "a: a1 schedule_remove a2",
	     "b: b1 insert:a schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a2 b2 m:run=0 m1");
}
END_TEST

/* R7: channels inside of run: all meet and end. */
START_TEST(run_with_channels)
{
	play("m: spawn:ab run m1", "a: a1 receive:x a2", "b: b1 send:x5 b2");
	/* b's send runs a at once (R9) */
	ck_assert_str_eq(trace(), "a1 b1 x=5 a2 b2 m:run=0 m1");
}
END_TEST

/* --- pump --- */

/* R7: the ring is empty: pump returns how many others are alive. */
START_TEST(pump_of_nobody)
{
	play("m: pump m1 count");
	ck_assert_str_eq(trace(), "m:pump=0 m1 n=1");
}
END_TEST

/* R7: pump goes on until the ring is empty, not for one round only. */
START_TEST(pump_runs_until_the_ring_is_empty)
{
	play("m: spawn:ab pump m1", "a: a1 schedule a2 schedule a3",
	     "b: b1 spawn:c", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 a2 c1 a3 m:pump=0 m1");
}
END_TEST

/* R7: a paused tasklet is alive. */
START_TEST(pump_counts_paused_ones)
{
	play("m: paused:ab spawn:c pump insert:a pump remove:a pump insert:b "
	     "pump",
	     "a: a1", "b: b1", "c: c1");
	/* the second a has ended, so remove fails */
	ck_assert_str_eq(trace(), "c1 m:pump=2 a1 m:pump=1 -ESRCH m:pump=1 b1 "
				  "m:pump=0");
}
END_TEST

/* R7: so is a blocked one, and one that paused itself. */
START_TEST(pump_counts_blocked_ones)
{
	play("m: spawn:abc pump send:x1 pump insert:b pump",
	     "a: a1 receive:x a2", "b: b1 schedule_remove b2", "c: c1");
	ck_assert_str_eq(trace(),
			 "a1 b1 c1 m:pump=2 x=1 a2 m:pump=1 b2 m:pump=0");
}
END_TEST

/* R7, R2: one taken out before its turn is alive and was not run. */
START_TEST(pump_counts_removed_ones)
{
	play("m: spawn:ab remove:a pump count", "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "b1 m:pump=1 n=1");
}
END_TEST

/* R7: pump takes its caller out of the ring as run does. */
START_TEST(pump_takes_the_caller_out_of_the_ring)
{
	play("m: spawn:ab pump count", "a: count state:m schedule count",
	     "b: count");
	ck_assert_str_eq(trace(), "n=2 m:paused n=2 n=1 m:pump=0 n=1");
}
END_TEST

/* --- stop --- */

/* stop in [a b c]: main is next, [a m b c]. */
START_TEST(stop_makes_the_caller_of_run_next)
{
	play("m: spawn:abc run m1 schedule m2", "a: a1 stop:7 a2 schedule a3",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 a2 m:run=7 m1 b1 c1 a3 m2");
}
END_TEST

/* The stopper gives way by its end: [m b]. */
START_TEST(stop_and_end)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 stop:-5", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=-5 m1 b1 m2");
}
END_TEST

/* The stopper gives way by pausing: [m b]. */
START_TEST(stop_and_pause)
{
	play("m: spawn:ab run m1 insert:a schedule m2",
	     "a: a1 stop:2 schedule_remove a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=2 m1 b1 a2 m2");
}
END_TEST

/* The stopper gives way by blocking: [m b]; then main sends to it (R9). */
START_TEST(stop_and_block)
{
	play("m: spawn:ab run m1 send:x1 m2 schedule m3",
	     "a: a1 stop:2 receive:x a2 schedule a3", "b: b1");
	/* [m a b] with a running; b; main; a */
	ck_assert_str_eq(trace(), "a1 m:run=2 m1 x=1 a2 b1 m2 a3 m3");
}
END_TEST

/* Those spawned after stop are at the end as ever: [a m b c]. */
START_TEST(stop_and_spawn)
{
	play("m: spawn:ab run m1 schedule m2", "a: stop:3 spawn:c a1", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "a1 m:run=3 m1 b1 c1 m2");
}
END_TEST

/* A stopped caller is runnable, in the ring, until its turn comes. */
START_TEST(stop_puts_the_caller_in_the_ring)
{
	play("m: spawn:ab run m1",
	     "a: count state:m stop:0 count state:m schedule a1", "b: b1");
	ck_assert_str_eq(trace(), "n=2 m:paused n=3 m:runnable m:run=0 m1");
}
END_TEST

/* A stopped pump returns what stop was given, not a count. */
START_TEST(stop_of_pump)
{
	play("m: spawn:ab pump m1 schedule m2", "a: a1 stop:9 a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 m:pump=9 m1 b1 m2");
}
END_TEST

/* Outside of run and pump stop does nothing, and nothing remembers it. */
START_TEST(stop_outside_of_run)
{
	play("m: stop:5 spawn:a schedule m1 spawn:b run m2",
	     "a: a1 stop:6 a2 schedule", "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 m1 b1 m:run=0 m2");
}
END_TEST

/* The second stop finds no run any more: the first result stays. */
START_TEST(stop_twice)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 stop:3 stop:4 a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 m:run=3 m1 b1 m2");
}
END_TEST

/* Stopped by one, run is entered again: [a b] to [a m b], main out, [b a]. */
START_TEST(stop_and_run_again)
{
	play("m: spawn:ab run m1 run m2", "a: a1 stop:1 schedule a2",
	     "b: b1 stop:2 schedule b2");
	/* [b a]; b stops: [b m a]; main runs first, a and b are left */
	ck_assert_str_eq(trace(), "a1 m:run=1 m1 b1 m:run=2 m2");
}
END_TEST

/* --- nesting --- */

/* R7: a, b and main are inside run: when c has ended, the innermost returns,
 * then the next one. */
START_TEST(runs_return_from_the_inside_out)
{
	play("m: spawn:abc run m1", "a: a1 run a2", "b: b1 run b2",
	     "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 c2 b:run=0 b2 a:run=0 a2 m:run=0 "
				  "m1");
}
END_TEST

/* R7: run inside of pump: run decides first, and it returns since all others
 * that are alive are inside run or pump. */
START_TEST(run_inside_of_pump)
{
	play("m: spawn:ab pump m1", "a: a1 run a2", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 b2 a:run=0 a2 m:pump=0 m1");
}
END_TEST

/* R7: pump inside of run returns while c is paused, run waits for it. The main
 * tasklet counts as an other one. */
START_TEST(pump_inside_of_run)
{
	play("m: spawn:ab paused:c run m1", "a: a1 pump a2 insert:c a3",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=2 a2 a3 c1 m:run=0 m1");
}
END_TEST

/* R7: pump inside of pump, with c paused all the time. */
START_TEST(pump_inside_of_pump)
{
	play("m: spawn:ab paused:c pump m1", "a: a1 pump a2",
	     "b: b1 schedule b2", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 b2 a:pump=2 a2 m:pump=1 m1");
}
END_TEST

/* R7: main inside of a tasklet's run: main's is the innermost and returns at
 * once, since a is inside; then main pauses itself and a's returns. */
START_TEST(run_of_main_inside_of_anothers)
{
	play("m: spawn:a schedule m1 run m2 schedule_remove m3",
	     "a: a1 run a2");
	ck_assert_str_eq(trace(), "a1 m1 m:run=0 m2 a:run=0 a2 m3");
}
END_TEST

/* stop in [b]: a is the innermost, [b a]; main's run goes on. */
START_TEST(stop_reaches_the_innermost)
{
	play("m: spawn:ab run m1", "a: a1 run a2 schedule a3",
	     "b: b1 stop:5 b2 schedule b3");
	ck_assert_str_eq(trace(), "a1 b1 b2 a:run=5 a2 b3 a3 m:run=0 m1");
}
END_TEST

/* Two stops in [b]: a is next; then main is, before it: [b m a]. */
START_TEST(stop_twice_reaches_two)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 run a2",
	     "b: b1 stop:3 stop:4 b2 schedule b3");
	ck_assert_str_eq(trace(), "a1 b1 b2 m:run=4 m1 a:run=3 a2 b3 m2");
}
END_TEST

/* The inner one is stopped from inside and stops the outer one itself: [b a],
 * [a b], then [a m b]. */
START_TEST(stop_by_the_stopped)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 run stop:6 a2",
	     "b: b1 stop:5 b2 schedule b3");
	ck_assert_str_eq(trace(), "a1 b1 b2 a:run=5 a2 m:run=6 m1 b3 m2");
}
END_TEST

/* R7: a pump that is stopped inside of a run. */
START_TEST(stop_of_a_pump_inside_of_run)
{
	play("m: spawn:ab run m1", "a: a1 pump a2", "b: b1 stop:8 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=8 a2 b2 m:run=0 m1");
}
END_TEST

/* --- insert, run and switch on one that is inside --- */

/* insert of main in [a b]: [a b m]; its run returns 0 early. */
START_TEST(insert_ends_a_run)
{
	play("m: spawn:ab run m1 schedule m2",
	     "a: a1 insert:m state:m count schedule a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:runnable n=3 b1 m:run=0 m1 a2 m2");
}
END_TEST

/* R3: run of main in [a b]: at the end and switched to: [m a b]. */
START_TEST(run_of_its_caller_ends_a_run)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 run:m a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=0 m1 a2 b1 m2");
}
END_TEST

/* R3: switch to main in [a b]: a leaves, [m b]. */
START_TEST(switch_to_its_caller_ends_a_run)
{
	play("m: spawn:ab run m1 schedule m2 insert:a schedule m3",
	     "a: a1 switch:m a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m:run=0 m1 b1 m2 a2 m3");
}
END_TEST

/* The same for pump, which returns 0 though b and c are alive. */
START_TEST(insert_ends_a_pump)
{
	play("m: spawn:ab paused:c pump m1 schedule m2",
	     "a: a1 insert:m schedule a2", "b: b1 schedule b2", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m:pump=0 m1 a2 b2 m2");
}
END_TEST

/* remove does nothing to one inside run: it is paused already. */
START_TEST(remove_leaves_a_run_alone)
{
	play("m: spawn:ab run m1", "a: a1 remove:m state:m schedule a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 m:paused b1 a2 m:run=0 m1");
}
END_TEST

/* Insert reaches the inner of two: main's run goes on. [b], [b a]. */
START_TEST(insert_ends_the_inner_run)
{
	play("m: spawn:ab run m1", "a: a1 run a2",
	     "b: b1 insert:a b2 schedule b3");
	ck_assert_str_eq(trace(), "a1 b1 b2 a:run=0 a2 b3 m:run=0 m1");
}
END_TEST

/* Insert of the outer one ends the inner one too: both are in the ring. a is
 * taken out again, so that the order of the two does not matter. */
START_TEST(insert_of_the_outer_ends_the_inner_too)
{
	play("m: spawn:ab run m1 insert:a schedule m2", "a: a1 run a2",
	     "b: b1 insert:m state:a state:m count remove:a schedule b2");
	/* [b m]; main inserts a: [m b a] */
	ck_assert_str_eq(trace(), "a1 b1 a:runnable m:runnable n=3 m:run=0 m1 "
				  "b2 a:run=0 a2 m2");
}
END_TEST

/* Switch to the outer one: b leaves, main runs, a is the other one in the ring.
 */
START_TEST(switch_to_the_outer_ends_the_inner_too)
{
	play("m: spawn:ab run m1 schedule m2 insert:b schedule m3",
	     "a: a1 run a2", "b: b1 switch:m b2");
	ck_assert_str_eq(trace(), "a1 b1 m:run=0 m1 a:run=0 a2 m2 b2 m3");
}
END_TEST

/* Of three, the middle one is inserted: the one inside of it returns too, the
 * one outside of it does not. b is taken out again, as above. */
START_TEST(insert_of_the_middle_ends_the_inner_only)
{
	play("m: spawn:abc run m1", "a: a1 run a2", "b: b1 run b2",
	     "c: c1 insert:a state:b remove:b state:m schedule c2 insert:b");
	ck_assert_str_eq(trace(), "a1 b1 c1 b:runnable m:paused a:run=0 a2 c2 "
				  "b:run=0 b2 m:run=0 m1");
}
END_TEST

/* After an early return the others are still there, for the next run. */
START_TEST(run_again_after_an_early_return)
{
	play("m: spawn:ab run m1 run m2", "a: a1 insert:m schedule a2",
	     "b: b1 schedule b2");
	/* [a b m], main leaves [m a b] again */
	ck_assert_str_eq(trace(), "a1 b1 m:run=0 m1 a2 b2 m:run=0 m2");
}
END_TEST

/* A run that was ended early is no longer there to be stopped. */
START_TEST(stop_after_an_early_return)
{
	play("m: spawn:ab run m1 schedule m2", "a: a1 insert:m stop:4 a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 a2 b1 m:run=0 m1 m2");
}
END_TEST

/* --- a main tasklet outside of run --- */

/* R7: a main that paused itself comes back when nothing is runnable. */
START_TEST(paused_main_is_resumed)
{
	play("m: spawn:ab schedule_remove m1 count", "a: a1 schedule a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a2 m1 n=1");
}
END_TEST

/* R7: at once when it is alone. */
START_TEST(paused_main_alone_is_resumed)
{
	play("m: schedule_remove m1 schedule_remove m2 state:m");
	ck_assert_str_eq(trace(), "m1 m2 m:running");
}
END_TEST

/* R7: also when it paused itself by switching away. */
START_TEST(main_that_switched_away_is_resumed)
{
	play("m: paused:a spawn:b switch:a m1", "a: a1 schedule a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a2 m1");
}
END_TEST

/* R7: also when others are alive but paused or blocked. */
START_TEST(paused_main_is_resumed_before_paused_others)
{
	play("m: spawn:ab schedule_remove m1 state:a state:b send:x1 insert:a "
	     "schedule m2",
	     "a: a1 schedule_remove a2", "b: b1 receive:x b2");
	ck_assert_str_eq(trace(), "a1 b1 m1 a:paused b:blocked x=1 b2 a2 m2");
}
END_TEST

/* R7: a is inside run, so its run decides and not the paused main: it returns,
 * since all others but main have ended. Main is resumed after a's end. */
START_TEST(paused_main_and_the_run_of_another)
{
	play("m: spawn:ab schedule_remove m1", "a: a1 run a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a:run=0 a2 m1");
}
END_TEST

/* R7: a's pump decides, with main paused and alive. */
START_TEST(paused_main_and_the_pump_of_another)
{
	play("m: spawn:ab schedule_remove m1", "a: a1 pump a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=1 a2 m1");
}
END_TEST

/* R7: a main that is runnable keeps the run of another inside. */
START_TEST(runnable_main_and_the_run_of_another)
{
	play("m: spawn:ab schedule m1 schedule m2 schedule_remove m3",
	     "a: a1 run a2", "b: b1 schedule b2");
	ck_assert_str_eq(trace(), "a1 b1 m1 b2 m2 a:run=0 a2 m3");
}
END_TEST

/* R7: main is blocked; that does not keep a's run inside: a has to go on. */
START_TEST(blocked_main_and_the_run_of_another)
{
	play("m: spawn:ab receive:x m1", "a: a1 run a2 send:x1 a3", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a:run=0 a2 x=1 m1");
}
END_TEST

/* R7: the same for a's pump, which counts the blocked main. */
START_TEST(blocked_main_and_the_pump_of_another)
{
	play("m: spawn:ab receive:x m1", "a: a1 pump a2 send:x1 a3", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 a:pump=1 a2 x=1 m1");
}
END_TEST

/* Any blocking call of main's lets the others run. */
START_TEST(blocked_main_lets_others_run)
{
	play("m: spawn:ab receive:x m1 schedule m2",
	     "a: a1 schedule a2 send:x1 a3", "b: b1");
	/* [a b], [a]; R9: [a m] with main running */
	ck_assert_str_eq(trace(), "a1 b1 a2 x=1 m1 a3 m2");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace_run");

	add_case(s, "R7 run", run_returns_when_all_have_ended, run_of_nobody,
		 run_includes_those_spawned_meanwhile,
		 run_takes_the_caller_out_of_the_ring, run_after_run,
		 run_waits_for_those_who_come_back, run_with_channels);
	add_case(s, "R7 pump", pump_of_nobody,
		 pump_runs_until_the_ring_is_empty, pump_counts_paused_ones,
		 pump_counts_blocked_ones, pump_counts_removed_ones,
		 pump_takes_the_caller_out_of_the_ring);
	add_case(s, "stop", stop_makes_the_caller_of_run_next, stop_and_end,
		 stop_and_pause, stop_and_block, stop_and_spawn,
		 stop_puts_the_caller_in_the_ring, stop_of_pump,
		 stop_outside_of_run, stop_twice, stop_and_run_again);
	add_case(s, "R7 nested", runs_return_from_the_inside_out,
		 run_inside_of_pump, pump_inside_of_run, pump_inside_of_pump,
		 run_of_main_inside_of_anothers, stop_reaches_the_innermost,
		 stop_twice_reaches_two, stop_by_the_stopped,
		 stop_of_a_pump_inside_of_run);
	add_case(s, "early return", insert_ends_a_run,
		 run_of_its_caller_ends_a_run, switch_to_its_caller_ends_a_run,
		 insert_ends_a_pump, remove_leaves_a_run_alone,
		 insert_ends_the_inner_run,
		 insert_of_the_outer_ends_the_inner_too,
		 switch_to_the_outer_ends_the_inner_too,
		 insert_of_the_middle_ends_the_inner_only,
		 run_again_after_an_early_return, stop_after_an_early_return);
	add_case(s, "R7 main outside of run", paused_main_is_resumed,
		 paused_main_alone_is_resumed,
		 main_that_switched_away_is_resumed,
		 paused_main_is_resumed_before_paused_others,
		 paused_main_and_the_run_of_another,
		 paused_main_and_the_pump_of_another,
		 runnable_main_and_the_run_of_another,
		 blocked_main_and_the_run_of_another,
		 blocked_main_and_the_pump_of_another,
		 blocked_main_lets_others_run);
	return run_suite(s);
}
