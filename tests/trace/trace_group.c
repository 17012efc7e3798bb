/* SPDX-License-Identifier: MIT */
/*
 * Groups: who runs when a wait ends, and in which order members are killed.
 *
 * The comments write the ring from the cursor on: [a b m] is a running, then b, then
 * m.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- Members --- */

/* R1, like any other. */
START_TEST(members_run_in_their_order)
{
	play("m: member:a spawn:b member:c wait_group m1", "a: a1 schedule a2",
	     "b: b1 schedule b2", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 a2 b2 c2 group=0 m1");
}
END_TEST

/* --- The end of a wait --- */

/* At the end of the ring when the last one ends: [b c m] to [c m l]. */
START_TEST(waiter_goes_to_the_end)
{
	play("m: spawn:l member:ab spawn:c schedule m1 schedule m2",
	     "l: wait_group l1", "a: a1", "b: b1", "c: c1 schedule c2");
	ck_assert_str_eq(trace(), "a1 b1 c1 m1 group=0 l1 c2 m2");
}
END_TEST

/* First come, first served; with the same result. */
START_TEST(waiters_in_their_order)
{
	play("m: spawn:jkl member:a schedule send:x1 m1 schedule m2",
	     "j: wait_group j1", "k: wait_group k1", "l: wait_group l1",
	     "a: receive:x a1 result:-5");
	ck_assert_str_eq(trace(), "x=1 a1 m1 group=-EIO j1 group=-EIO k1 "
				  "group=-EIO l1 m2");
}
END_TEST

/* A member was in the group before anybody could join it. */
START_TEST(group_before_joiners)
{
	play("m: member:a spawn:bl schedule send:x1 m1 schedule m2",
	     "a: receive:x a1 result:3", "b: join:a b1", "l: wait_group l1");
	ck_assert_str_eq(trace(), "x=1 a1 m1 group=0 l1 a=3 b1 m2");
}
END_TEST

/* After what it deferred. */
START_TEST(deferred_before_the_waiter)
{
	play("m: spawn:l member:a schedule send:x1 m1 schedule m2",
	     "l: wait_group l1", "a: defer:d1 receive:x a1");
	ck_assert_str_eq(trace(), "x=1 a1 d1 m1 group=0 l1 m2");
}
END_TEST

/* It does not switch. */
START_TEST(wait_for_none)
{
	play("m: spawn:a wait_group m1 schedule m2", "a: a1");
	ck_assert_str_eq(trace(), "group=0 m1 a1 m2");
}
END_TEST

/* Those that are spawned meanwhile are waited for. */
START_TEST(members_of_members)
{
	play("m: member:a wait_group m1", "a: a1 member:b", "b: b1 member:c",
	     "c: c1 result:-4");
	ck_assert_str_eq(trace(), "a1 b1 c1 group=-EINTR m1");
}
END_TEST

/* --- Kill --- */

/* Each at the end, in the order of creation, not of blocking; the caller goes on:
 * [m] to [m a b c]. */
START_TEST(killed_in_the_order_of_creation)
{
	play("m: member:abc schedule schedule waiters:x kill_group m1 wait_group m2",
	     "a: schedule receive:x a1", "b: receive:x b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "x[bca] m1 -ECANCELED a1 -ECANCELED b1 "
				  "-ECANCELED c1 group=0 m2");
}
END_TEST

/* a is runnable, and stays in its place: [m a] to [m a b c]. */
START_TEST(runnable_ones_stay_in_their_places)
{
	play("m: member:abc schedule m1 kill_group m2 schedule m3",
	     "a: receive:x a1", "b: schedule b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "m1 m2 -ECANCELED b1 -ECANCELED a1 "
				  "-ECANCELED c1 m3");
}
END_TEST

/* Fresh ones end on their turns, without running, and with the last of them the
 * wait: [m a b c] to [b c m] to [c m l]. */
START_TEST(fresh_ones_end_on_their_turns)
{
	play("m: member:ab spawn:l run:l m1 kill_group spawn:c m2 schedule m3 "
	     "schedule m4",
	     "l: wait_group l1", "a: a1", "b: b1", "c: c1");
	ck_assert_str_eq(trace(), "m1 m2 c1 m3 group=0 l1 m4");
}
END_TEST

/* It is killed like the others, where it is. */
START_TEST(member_kills_its_group)
{
	play("m: member:abc wait_group m1", "a: receive:x a1",
	     "b: kill_group b1 schedule b2", "c: receive:x c1");
	ck_assert_str_eq(trace(), "b1 -ECANCELED a1 -ECANCELED b2 group=0 m1");
}
END_TEST

/* b was killed, c is none of its business. */
START_TEST(later_members_are_spared)
{
	play("m: member:ab schedule kill_group member:c schedule send:x1 wait_group m1",
	     "a: receive:x a1", "b: receive:y b1", "c: receive:x c1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 -ECANCELED b1 x=1 c1 group=0 "
				  "m1");
}
END_TEST

/* --- A waiter that is killed --- */

/* It is switched to (R3), kills a and b, and waits for them, [m a b]; they end,
 * [m l]. */
START_TEST(killed_waiter)
{
	play("m: member:ab spawn:l schedule kill:l m1 schedule m2 schedule m3",
	     "a: receive:x a1", "b: receive:x b1", "l: wait_group l1");
	ck_assert_str_eq(trace(), "m1 -ECANCELED a1 -ECANCELED b1 m2 "
				  "group=-ECANCELED l1 m3");
}
END_TEST

/* Only the one who was killed; the other one gets the result. */
START_TEST(one_of_two_waiters_is_killed)
{
	play("m: member:a spawn:kl schedule kill_pending:k run m1",
	     "a: receive:x a1 result:-4", "k: wait_group k1",
	     "l: wait_group l1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 group=-EINTR l1 "
				  "group=-ECANCELED k1 m:run=0 m1");
}
END_TEST

START_TEST(raised_on_waiter)
{
	play("m: member:a spawn:l schedule raise:l5 m1 send:x1 wait_group m2",
	     "a: receive:x a1", "l: wait_group l1");
	ck_assert_str_eq(trace(), "group=-EIO l1 m1 x=1 a1 group=0 m2");
}
END_TEST

/* It kills the member when it runs. */
START_TEST(waiter_out_of_time)
{
	play("m: member:a spawn:l schedule pass:20 m1 run m2",
	     "a: receive:x a1",
	     "l: limit:10 wait_group l1 end_limit schedule l2");
	ck_assert_str_eq(trace(), "m1 -ECANCELED a1 group=-ETIMEDOUT l1 late "
				  "l2 m:run=0 m2");
}
END_TEST

/* --- Threads --- */

/* R8. */
START_TEST(foreign_members)
{
	play("m: member:AbC wait_group m1 send:y1", "b: b1", "M: receive:y M1",
	     "A: A1", "C: C1 result:-4");
	ck_assert_str_eq(trace(), "b1 group=-EINTR m1");
	ck_assert_str_eq(other_trace(), "A1 C1 y=1 M1");
}
END_TEST

/* They are killed before they are taken in. */
START_TEST(foreign_fresh_members)
{
	play("m: member:AB kill_group thaw:1 wait_group m1",
	     "M: freeze:1 wait_group M1", "A: A1", "B: B1");
	ck_assert_str_eq(trace(), "group=0 m1");
	ck_assert_str_eq(other_trace(), "group=0 M1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("group");

	add_case(s, "members", members_run_in_their_order);
	add_case(s, "the end of a wait", waiter_goes_to_the_end,
		 waiters_in_their_order, group_before_joiners,
		 deferred_before_the_waiter, wait_for_none, members_of_members);
	add_case(s, "kill", killed_in_the_order_of_creation,
		 runnable_ones_stay_in_their_places,
		 fresh_ones_end_on_their_turns, member_kills_its_group,
		 later_members_are_spared);
	add_case(s, "a waiter that is killed", killed_waiter,
		 one_of_two_waiters_is_killed, raised_on_waiter,
		 waiter_out_of_time);
	add_case(s, "threads", foreign_members, foreign_fresh_members);
	return run_suite(s);
}
