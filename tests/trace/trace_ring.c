/* SPDX-License-Identifier: MIT */
/*
 * Rules R1 to R6: the ring of one thread and its cursor.
 *
 * The comments write the ring from the cursor on: [m a b] is m running, then a,
 * then b, then m again. "At the end" is the last place in the brackets. What is
 * expected was worked out from the rules.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- R1: insert at the end, just before the running tasklet --- */

/* R1: [m], [m a], [m a b], [m a b c]: they run in the order of their spawning. */
START_TEST(spawned_run_in_order)
{
	play("m: spawn:a spawn:b spawn:c m1 schedule m2", "a: a1", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "m1 a1 b1 c1 m2");
}
END_TEST

/* R1: a spawns c in [a b m]: [a b m c]. So c runs after main. */
START_TEST(spawned_by_another_runs_after_all_queued)
{
	play("m: spawn:ab schedule m1 schedule m2", "a: a1 spawn:c schedule a2",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m1 c1 a2 m2");
}
END_TEST

/* R1: each spawns the next at the end: [a m], [b m] after main, [c m]. */
START_TEST(spawned_by_one_that_ends_runs_a_round_later)
{
	play("m: spawn:a schedule m1 schedule m2 schedule m3", "a: a1 spawn:b",
	     "b: b1 spawn:c", "c: c1");
	ck_assert_str_eq(trace(), "a1 m1 b1 m2 c1 m3");
}
END_TEST

/* R1: the paused a is in no ring until it is inserted: [m b], [m b a]. */
START_TEST(inserted_goes_to_the_end)
{
	play("m: paused:a spawn:b insert:a m1 schedule m2", "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "m1 b1 a1 m2");
}
END_TEST

/* R1: a inserts c in [a b m]: [a b m c]. */
START_TEST(inserted_by_another_goes_behind_main)
{
	play("m: paused:c spawn:ab schedule m1 schedule m2",
	     "a: a1 insert:c schedule a2", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m1 c1 a2 m2");
}
END_TEST

/* R1: three paused ones are inserted in another order than they were made. */
START_TEST(inserted_run_in_the_order_of_insertion)
{
	play("m: paused:abc insert:cab m1 schedule m2", "a: a1", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "m1 c1 a1 b1 m2");
}
END_TEST

/* R1: spawned and inserted ones share one end: [m a c b]. */
START_TEST(spawned_and_inserted_share_the_end)
{
	play("m: paused:bc spawn:a insert:c spawn:d insert:b schedule m1",
	     "a: a1", "b: b1", "c: c1", "d: d1");
	ck_assert_str_eq(trace(), "a1 c1 d1 b1 m1");
}
END_TEST

/* R1: insert does nothing to a runnable tasklet: [m a b] stays. */
START_TEST(insert_leaves_a_runnable_one_where_it_is)
{
	play("m: spawn:ab insert:a count schedule m1", "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "n=3 a1 b1 m1");
}
END_TEST

/* R1: the running tasklet is in the ring too, so insert does nothing to it. */
START_TEST(insert_leaves_the_running_one_where_it_is)
{
	play("m: spawn:a insert:m count schedule m1", "a: a1");
	ck_assert_str_eq(trace(), "n=2 a1 m1");
}
END_TEST

/* R1: a tasklet created paused is in no ring. */
START_TEST(paused_one_does_not_run)
{
	play("m: paused:a count schedule m1 state:a", "a: a1");
	ck_assert_str_eq(trace(), "n=1 m1 a:paused");
}
END_TEST

/* --- R2: remove unlinks --- */

/* R2: [m a b c] without a; reinserted it comes back at the end (R1). */
START_TEST(remove_the_first_and_reinsert)
{
	play("m: spawn:abc remove:a schedule m1 insert:a schedule m2", "a: a1",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 m1 a1 m2");
}
END_TEST

/* R2: [m a b c] without b. */
START_TEST(remove_the_middle_and_reinsert)
{
	play("m: spawn:abc remove:b schedule m1 insert:b schedule m2", "a: a1",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 c1 m1 b1 m2");
}
END_TEST

/* R2: [m a b c] without c. */
START_TEST(remove_the_last_and_reinsert)
{
	play("m: spawn:abc remove:c schedule m1 insert:c schedule m2", "a: a1",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m1 c1 m2");
}
END_TEST

/* R2, R1: taken out and put back before anything ran: a moves to the end. */
START_TEST(remove_and_insert_moves_to_the_end)
{
	play("m: spawn:abc remove:a insert:a schedule m1", "a: a1", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 m1");
}
END_TEST

/* R2: with all others out the ring is [m], and schedule comes back at once. */
START_TEST(remove_all_and_reinsert)
{
	play("m: spawn:abc remove:bac count schedule m1 count insert:cab "
	     "count schedule m2",
	     "a: a1", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "n=1 m1 n=1 n=4 c1 a1 b1 m2");
}
END_TEST

/* R2: a takes c out of [a b c m]: b's successor is main. */
START_TEST(remove_by_another)
{
	play("m: spawn:abc schedule m1 insert:c schedule m2",
	     "a: a1 remove:c schedule a2", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m1 a2 c1 m2");
}
END_TEST

/* R2: a takes its own successor out: [a b c m] to [a c m]. */
START_TEST(remove_the_successor)
{
	play("m: spawn:abc schedule m1 insert:b schedule m2", "a: a1 remove:b",
	     "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 c1 m1 b1 m2");
}
END_TEST

/* R2: main can be taken out as well; b inserts it in [b a]: [b a m]. */
START_TEST(remove_main_and_reinsert)
{
	play("m: spawn:ab schedule m1", "a: a1 remove:m state:m schedule a2",
	     "b: b1 insert:m");
	ck_assert_str_eq(trace(), "a1 m:paused b1 a2 m1");
}
END_TEST

/* R2: remove does nothing to a paused tasklet, once or twice. */
START_TEST(remove_leaves_a_paused_one_alone)
{
	play("m: paused:a remove:a remove:a spawn:b remove:b remove:b "
	     "insert:ab schedule m1",
	     "a: a1", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 m1");
}
END_TEST

/* R2: the running one cannot be removed by itself; see R5. */
START_TEST(remove_of_the_running_one_fails)
{
	play("m: spawn:a remove:m count schedule m1", "a: a1 remove:a a2");
	ck_assert_str_eq(trace(), "-EBUSY n=2 a1 -EBUSY a2 m1");
}
END_TEST

/* R2: every second one leaves; what is left keeps its order. */
START_TEST(remove_every_second)
{
	play("m: spawn:abcdefgh remove:bdfh count schedule m1 insert:hbfd "
	     "count schedule m2",
	     "a: a1", "b: b1", "c: c1", "d: d1", "e: e1", "f: f1", "g: g1",
	     "h: h1");
	ck_assert_str_eq(trace(), "n=5 a1 c1 e1 g1 m1 n=5 h1 b1 f1 d1 m2");
}
END_TEST

/* R2: the same from inside of the ring: a takes c, e, g and main out of
 * [a b c d e f g h m], and the last one puts main back. */
START_TEST(remove_every_second_by_another)
{
	play("m: spawn:abcdefgh schedule m1 insert:ceg schedule m2",
	     "a: a1 remove:gmec count schedule a2", "b: b1 schedule b2",
	     "c: c1", "d: d1", "e: e1", "f: f1", "g: g1",
	     "h: h1 insert:m count");
	/* [a b d f h]; h inserts main in [h a b]: [h a b m] */
	ck_assert_str_eq(trace(),
			 "a1 n=5 b1 d1 f1 h1 n=4 a2 b2 m1 c1 e1 g1 m2");
}
END_TEST

/* --- R3: weft_tasklet_run --- */

/* R3: the paused a is inserted at the end of [m b], and runs: [a m b]. */
START_TEST(run_of_a_paused_one)
{
	play("m: spawn:b paused:a run:a m1 schedule m2", "a: a1 schedule a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 m1 b1 a2 m2");
}
END_TEST

/* R3: the same for one that had paused itself. */
START_TEST(run_of_one_that_had_paused_itself)
{
	play("m: spawn:ab schedule m1 run:a m2 schedule m3",
	     "a: a1 schedule_remove a2 schedule a3", "b: b1 schedule b2");
	/* [m b], then [a m b] */
	ck_assert_str_eq(trace(), "a1 b1 m1 a2 m2 b2 a3 m3");
}
END_TEST

/* R3: [m a b c] with the cursor on a: b and c run before main's turn. */
START_TEST(run_of_the_first)
{
	play("m: spawn:abc run:a m1 schedule m2", "a: a1 schedule a2", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a2 m2");
}
END_TEST

/* R3: [m a b c] with the cursor on b: a is skipped until main has run. */
START_TEST(run_of_the_middle)
{
	play("m: spawn:abc run:b m1 schedule m2", "a: a1", "b: b1 schedule b2",
	     "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 m1 a1 b2 m2");
}
END_TEST

/* R3: [m a b c] with the cursor on c: main is its successor. */
START_TEST(run_of_the_last)
{
	play("m: spawn:abc run:c m1 schedule m2", "a: a1", "b: b1",
	     "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "c1 m1 a1 b1 c2 m2");
}
END_TEST

/* R3, R6: b ends in [b c m a], so its successor is c and not the caller. */
START_TEST(run_of_the_middle_which_ends)
{
	play("m: spawn:abc run:b m1 schedule m2", "a: a1", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 m1 a1 m2");
}
END_TEST

/* R3: in [a b c m], a runs main: [m a b c]. */
START_TEST(run_of_main_by_another)
{
	play("m: spawn:abc schedule m1 schedule m2", "a: a1 run:m a2", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "a1 m1 a2 b1 c1 m2");
}
END_TEST

/* R3: running oneself changes nothing. */
START_TEST(run_of_oneself)
{
	play("m: spawn:a run:m m1 schedule m2", "a: a1 run:a a2");
	ck_assert_str_eq(trace(), "m1 a1 a2 m2");
}
END_TEST

/* R3 within R3: [m a b c d], cursor on b, then on d: main is d's successor. */
START_TEST(run_inside_of_run)
{
	play("m: spawn:abcd run:b m1 schedule m2", "a: a1", "b: b1 run:d b2",
	     "c: c1", "d: d1");
	ck_assert_str_eq(trace(), "b1 d1 m1 a1 b2 c1 m2");
}
END_TEST

/* R3: back and forth in [m a b]: only the cursor moves. */
START_TEST(run_of_each_other)
{
	play("m: spawn:ab run:b m1 run:a m2 schedule m3",
	     "a: a1 run:m a2 schedule a3", "b: b1 run:m b2");
	/* b; m; a; m; its successor a, then b, m again */
	ck_assert_str_eq(trace(), "b1 m1 a1 m2 a2 b2 m3");
}
END_TEST

/* R3: the nearer way round does not matter: far ahead of seven others. */
START_TEST(run_of_one_far_ahead)
{
	play("m: spawn:abcdefgh run:g m1 schedule m2", "a: a1", "b: b1",
	     "c: c1", "d: d1", "e: e1", "f: f1", "g: g1 schedule g2", "h: h1");
	ck_assert_str_eq(trace(), "g1 h1 m1 a1 b1 c1 d1 e1 f1 g2 m2");
}
END_TEST

/* R2, R3: places that were removed from do not count as steps. */
START_TEST(run_past_places_that_were_removed)
{
	play("m: spawn:abcdefgh remove:bceg run:f m1 insert:bceg schedule m2",
	     "a: a1", "b: b1", "c: c1", "d: d1", "e: e1", "f: f1 schedule f2",
	     "g: g1", "h: h1");
	/* [m a d f h], cursor on f; main inserts four behind f2 */
	ck_assert_str_eq(trace(), "f1 h1 m1 a1 d1 f2 b1 c1 e1 g1 m2");
}
END_TEST

/* R3: a paused one that is run by a queued one: [a b m] to [c a b m]. */
START_TEST(run_of_a_paused_one_by_another)
{
	play("m: paused:c spawn:ab schedule m1 schedule m2", "a: a1 run:c a2",
	     "b: b1", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 c1 a2 b1 m1 c2 m2");
}
END_TEST

/* --- R3: weft_tasklet_switch, which takes the caller out first --- */

/* R3: main leaves [m b c], a goes to the end of [b c] and runs: [a b c]. */
START_TEST(switch_to_a_paused_one)
{
	play("m: spawn:bc paused:a switch:a m1",
	     "a: a1 state:m schedule a2 insert:m a3", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 m:paused b1 c1 a2 a3 m1");
}
END_TEST

/* R3: [m a b c] to [a b c]; a inserts main: [a b c m]. */
START_TEST(switch_to_the_first)
{
	play("m: spawn:abc switch:a m1 schedule m2",
	     "a: a1 insert:m schedule a2", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a2 m2");
}
END_TEST

/* R3: [m a b c] to [b c a]; b inserts main: [b c a m]. */
START_TEST(switch_to_the_middle)
{
	play("m: spawn:abc switch:b m1 schedule m2", "a: a1",
	     "b: b1 insert:m schedule b2", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 m1 b2 m2");
}
END_TEST

/* R3: [m a b c] to [c a b]; c inserts main: [c a b m]. */
START_TEST(switch_to_the_last)
{
	play("m: spawn:abc switch:c m1 schedule m2", "a: a1", "b: b1",
	     "c: c1 insert:m schedule c2");
	ck_assert_str_eq(trace(), "c1 a1 b1 m1 c2 m2");
}
END_TEST

/* R3, R6: b is switched to and ends in [b c a]: c is its successor. */
START_TEST(switch_to_one_that_ends)
{
	play("m: spawn:abc switch:b m1", "a: a1 insert:m", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "b1 c1 a1 m1");
}
END_TEST

/* R3: a leaves [a b m] for main: [m b]; inserted again: [m b a]. */
START_TEST(switch_to_main_by_another)
{
	play("m: spawn:ab schedule m1 state:a insert:a schedule m2",
	     "a: a1 switch:m a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m1 a:paused b1 a2 m2");
}
END_TEST

/* R3: switching to oneself changes nothing. */
START_TEST(switch_to_oneself)
{
	play("m: spawn:a switch:m count m1 schedule m2", "a: a1 switch:a a2");
	ck_assert_str_eq(trace(), "n=2 m1 a1 a2 m2");
}
END_TEST

/* R3: two that hand each other the thread: one is always paused. [a c m] */
START_TEST(switch_to_each_other)
{
	play("m: spawn:a paused:b spawn:c schedule m1 schedule m2",
	     "a: a1 switch:b a2 state:b switch:b a3",
	     "b: b1 state:a switch:a b2 insert:a b3", "c: c1");
	/* b takes a's place: [b c m]; a: [a c m]; b again, inserts a: [b c m a]
	 * and ends */
	ck_assert_str_eq(trace(),
			 "a1 b1 a:paused a2 b:paused b2 b3 c1 m1 a3 m2");
}
END_TEST

/* R3: run and switch of a tasklet that has ended, or is blocked, fail and
 * nothing moves; so do insert and remove. */
START_TEST(control_of_dead_and_blocked_ones_fails)
{
	play("m: spawn:abc schedule m1 "
	     "run:a switch:a insert:a remove:a m2 "
	     "run:b switch:b insert:b remove:b m3 state:b send:x1 m4 "
	     "schedule m5",
	     "a: a1", "b: b1 receive:x", "c: c1 schedule c2");
	ck_assert_str_eq(trace(),
			 "a1 b1 c1 m1 -ESRCH -ESRCH -ESRCH -ESRCH m2 "
			 "-EBUSY -EBUSY -EBUSY -EBUSY m3 b:blocked x=1 c2 m4 "
			 "m5");
}
END_TEST

/* --- R4: weft_schedule --- */

/* R4: alone in [m], the caller is its own successor. */
START_TEST(schedule_of_one)
{
	play("m: schedule m1 schedule m2 count");
	ck_assert_str_eq(trace(), "m1 m2 n=1");
}
END_TEST

/* R4: [m a] take turns. */
START_TEST(schedule_of_two)
{
	play("m: spawn:a m1 schedule m2 schedule m3 schedule m4",
	     "a: a1 schedule a2 schedule a3");
	ck_assert_str_eq(trace(), "m1 a1 m2 a2 m3 a3 m4");
}
END_TEST

/* R4: [m a b c], round after round. */
START_TEST(schedule_of_four)
{
	play("m: spawn:abc m1 schedule m2 schedule m3 schedule m4",
	     "a: a1 schedule a2 schedule a3", "b: b1 schedule b2 schedule b3",
	     "c: c1 schedule c2 schedule c3");
	ck_assert_str_eq(trace(), "m1 a1 b1 c1 m2 a2 b2 c2 m3 a3 b3 c3 m4");
}
END_TEST

/* R4, R6: the ring shrinks with those that end. */
START_TEST(schedule_while_others_end)
{
	play("m: spawn:abc schedule m1 schedule m2 schedule m3", "a: a1",
	     "b: b1 schedule b2", "c: c1 schedule c2 schedule c3");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 b2 c2 m2 c3 m3");
}
END_TEST

/* R4: the ring does not change, its length neither, until one ends. */
START_TEST(schedule_keeps_the_ring)
{
	play("m: spawn:ab count schedule count schedule count",
	     "a: count schedule count", "b: count");
	ck_assert_str_eq(trace(), "n=3 n=3 n=3 n=2 n=2 n=1");
}
END_TEST

/* --- R5: weft_schedule_remove --- */

/* R5: a leaves [a b c m]; inserted again it is at the end of [m]. */
START_TEST(schedule_remove_runs_the_successor)
{
	play("m: spawn:abc schedule m1 state:a insert:a schedule m2",
	     "a: a1 schedule_remove a2", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a:paused a2 m2");
}
END_TEST

/* R5: three pause themselves and come back in the order of insertion. */
START_TEST(schedule_remove_of_several)
{
	play("m: spawn:abc schedule m1 count insert:cab count schedule m2",
	     "a: a1 schedule_remove a2", "b: b1 schedule_remove b2",
	     "c: c1 schedule_remove c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 n=1 n=4 c2 a2 b2 m2");
}
END_TEST

/* R5: main leaves [m a b]; a inserts it: [a b m]. */
START_TEST(schedule_remove_of_main_inserted_by_another)
{
	play("m: spawn:ab schedule_remove m1 schedule m2",
	     "a: a1 insert:m schedule a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 m1 a2 m2");
}
END_TEST

/* R5, R3: main leaves [m a b]; a runs it: [m a b]. */
START_TEST(schedule_remove_of_main_run_by_another)
{
	play("m: spawn:ab schedule_remove m1 schedule m2", "a: a1 run:m a2",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 m1 a2 b1 m2");
}
END_TEST

/* R5, R3: main leaves [m a b]; a switches to it: [m b]. */
START_TEST(schedule_remove_of_main_switched_to_by_another)
{
	play("m: spawn:ab schedule_remove m1 schedule m2 state:a",
	     "a: a1 switch:m a2", "b: b1");
	ck_assert_str_eq(trace(), "a1 m1 b1 m2 a:paused");
}
END_TEST

/* R5: the ring is one shorter for those that stay. */
START_TEST(schedule_remove_shortens_the_ring)
{
	play("m: spawn:ab count schedule count", "a: count schedule_remove",
	     "b: count");
	ck_assert_str_eq(trace(), "n=3 n=3 n=2 n=1");
}
END_TEST

/* --- R6: the end of a tasklet --- */

/* R6: b ends in the middle of [a b c m]; the next round is [a c m]. */
START_TEST(end_in_the_middle)
{
	play("m: spawn:abc schedule m1 schedule m2", "a: a1 schedule a2",
	     "b: b1", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a2 c2 m2");
}
END_TEST

/* R6: a, at the front of [a b c m], ends. */
START_TEST(end_of_the_first)
{
	play("m: spawn:abc schedule m1 schedule m2", "a: a1",
	     "b: b1 schedule b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 b2 c2 m2");
}
END_TEST

/* R6: c, the last before main, ends. */
START_TEST(end_of_the_last)
{
	play("m: spawn:abc schedule m1 schedule m2", "a: a1 schedule a2",
	     "b: b1 schedule b2", "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 a2 b2 m2");
}
END_TEST

/* R6: one that has ended is out of the ring and dead. */
START_TEST(end_makes_dead)
{
	play("m: spawn:ab count schedule count state:a state:b", "a: a1",
	     "b: b1 state:a");
	ck_assert_str_eq(trace(), "n=3 a1 b1 a:dead n=1 a:dead b:dead");
}
END_TEST

/* R6: what an ending one spawned is at the end, not in its place. */
START_TEST(end_after_spawning)
{
	play("m: spawn:ab schedule m1 schedule m2", "a: spawn:c a1", "b: b1",
	     "c: c1");
	ck_assert_str_eq(trace(), "a1 b1 m1 c1 m2");
}
END_TEST

/* R6, R1: functions that have ended are spawned again, as new tasklets. */
START_TEST(end_and_spawn_again)
{
	play("m: spawn:ab schedule m1 spawn:ab schedule m2 state:a", "a: a1",
	     "b: b1");
	ck_assert_str_eq(trace(), "a1 b1 m1 a1 b1 m2 a:dead");
}
END_TEST

/* The states along the way, of oneself and of others. */
START_TEST(states_of_a_life)
{
	play("m: paused:a state:a state:m insert:a state:a schedule state:a "
	     "insert:a schedule state:a",
	     "a: state:a state:m schedule_remove");
	ck_assert_str_eq(trace(), "a:paused m:running a:runnable a:running "
				  "m:runnable a:paused a:dead");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trace_ring");

	add_case(s, "R1", spawned_run_in_order,
		 spawned_by_another_runs_after_all_queued,
		 spawned_by_one_that_ends_runs_a_round_later,
		 inserted_goes_to_the_end, inserted_by_another_goes_behind_main,
		 inserted_run_in_the_order_of_insertion,
		 spawned_and_inserted_share_the_end,
		 insert_leaves_a_runnable_one_where_it_is,
		 insert_leaves_the_running_one_where_it_is,
		 paused_one_does_not_run);
	add_case(s, "R2", remove_the_first_and_reinsert,
		 remove_the_middle_and_reinsert, remove_the_last_and_reinsert,
		 remove_and_insert_moves_to_the_end, remove_all_and_reinsert,
		 remove_by_another, remove_the_successor,
		 remove_main_and_reinsert, remove_leaves_a_paused_one_alone,
		 remove_of_the_running_one_fails, remove_every_second,
		 remove_every_second_by_another);
	add_case(s, "R3 run", run_of_a_paused_one,
		 run_of_one_that_had_paused_itself, run_of_the_first,
		 run_of_the_middle, run_of_the_last,
		 run_of_the_middle_which_ends, run_of_main_by_another,
		 run_of_oneself, run_inside_of_run, run_of_each_other,
		 run_of_one_far_ahead, run_past_places_that_were_removed,
		 run_of_a_paused_one_by_another);
	add_case(s, "R3 switch", switch_to_a_paused_one, switch_to_the_first,
		 switch_to_the_middle, switch_to_the_last,
		 switch_to_one_that_ends, switch_to_main_by_another,
		 switch_to_oneself, switch_to_each_other,
		 control_of_dead_and_blocked_ones_fails);
	add_case(s, "R4", schedule_of_one, schedule_of_two, schedule_of_four,
		 schedule_while_others_end, schedule_keeps_the_ring);
	add_case(s, "R5", schedule_remove_runs_the_successor,
		 schedule_remove_of_several,
		 schedule_remove_of_main_inserted_by_another,
		 schedule_remove_of_main_run_by_another,
		 schedule_remove_of_main_switched_to_by_another,
		 schedule_remove_shortens_the_ring);
	add_case(s, "R6", end_in_the_middle, end_of_the_first, end_of_the_last,
		 end_makes_dead, end_after_spawning, end_and_spawn_again,
		 states_of_a_life);
	return run_suite(s);
}
