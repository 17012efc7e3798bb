/* SPDX-License-Identifier: MIT */
/*
 * Mutexes, conditions, semaphores, read-write locks: who gets it, and who runs
 * when. Who is woken goes to the end of its ring (R1, R8), who woke goes on.
 */
#include <check.h>

#include "play.h"
#include "support.h"

/* --- mutex --- */

START_TEST(mutex_in_order_of_coming)
{
	play("m: lock:1 spawn:abc schedule m1 unlock:1 m2 run m3",
	     "a: lock:1 a1 unlock:1 a2", "b: lock:1 b1 unlock:1 b2",
	     "c: lock:1 c1 unlock:1 c2");
	ck_assert_str_eq(trace(), "m1 m2 a1 a2 b1 b2 c1 c2 m:run=0 m3");
}
END_TEST

/* It is b's before b has run, so nobody takes it in between. */
START_TEST(mutex_is_handed_over)
{
	play("m: spawn:ab run", "a: lock:1 schedule unlock:1 a1 trylock:1 a2",
	     "b: lock:1 b1 unlock:1 b2");
	ck_assert_str_eq(trace(), "a1 -EBUSY a2 b1 b2 m:run=0");
}
END_TEST

START_TEST(mutex_of_another)
{
	play("m: spawn:a schedule trylock:1 unlock:1 m1 schedule trylock:1 m2",
	     "a: lock:1 a1 schedule unlock:1 a2");
	ck_assert_str_eq(trace(), "a1 -EBUSY -EPERM m1 a2 m2");
}
END_TEST

START_TEST(mutex_of_ones_own)
{
	play("m: lock:1 lock:1 m1 trylock:1 m2 unlock:1 m3 unlock:1 m4");
	ck_assert_str_eq(trace(), "-EDEADLK m1 -EBUSY m2 m3 -EPERM m4");
}
END_TEST

START_TEST(kill_of_one_queued_for_a_mutex)
{
	play("m: lock:1 spawn:abc schedule kill:b m1 unlock:1 run",
	     "a: lock:1 a1 unlock:1", "b: lock:1 b1 unlock:1",
	     "c: lock:1 c1 unlock:1");
	ck_assert_str_eq(trace(), "-ECANCELED b1 -EPERM m1 a1 c1 m:run=0");
}
END_TEST

/* The word forgets that somebody waited. */
START_TEST(kill_of_all_queued_for_a_mutex)
{
	play("m: lock:1 spawn:ab schedule kill:ab m1 unlock:1 trylock:1 m2",
	     "a: lock:1 a1", "b: lock:1 b1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 -ECANCELED b1 m1 m2");
}
END_TEST

/* It was given the mutex, so it has it, and the error comes later. */
START_TEST(kill_of_one_that_was_given_a_mutex)
{
	play("m: lock:1 spawn:a schedule unlock:1 kill:a m1 trylock:1 m2",
	     "a: lock:1 a1 schedule a2 unlock:1");
	ck_assert_str_eq(trace(), "a1 m1 -EBUSY m2");
}
END_TEST

/* The second refusal in a row gives way first. */
START_TEST(killed_one_takes_no_mutex)
{
	play("m: spawn:a schedule kill:a m1 trylock:1 m2 unlock:1 run",
	     "a: schedule lock:1 a1");
	ck_assert_str_eq(trace(), "-ECANCELED m1 m2 -ECANCELED a1 m:run=0");
}
END_TEST

START_TEST(mutex_and_traps)
{
	play("m: spawn:a schedule block_trap:1 lock:1 block_trap:0 m1 "
	     "switch_trap:1 lock:1 lock:2 unlock:2 switch_trap:-1 lock:1 m2",
	     "a: lock:1 schedule a1 unlock:1 a2");
	ck_assert_str_eq(trace(), "-EAGAIN m1 -EPERM a1 a2 m2");
}
END_TEST

START_TEST(foreign_mutex)
{
	play("m: lock:1 thaw:1 until_parked m1 unlock:1 m2",
	     "M: freeze:1 lock:1 M1 unlock:1 M2");
	ck_assert_str_eq(trace(), "m1 m2");
	ck_assert_str_eq(other_trace(), "M1 M2");
}
END_TEST

/* One queue for the tasklets of all threads. */
START_TEST(foreign_mutex_in_order_of_coming)
{
	play("m: lock:1 spawn:a schedule thaw:1 until_parked spawn:b schedule "
	     "unlock:1 lock:1 m1 unlock:1",
	     "a: lock:1 a1 unlock:1", "b: lock:1 b1 unlock:1",
	     "M: freeze:1 lock:1 M1 unlock:1");
	ck_assert_str_eq(trace(), "a1 b1 m1");
	ck_assert_str_eq(other_trace(), "M1");
}
END_TEST

/* --- condition --- */

START_TEST(condition_in_order_of_coming)
{
	play("m: spawn:abc schedule lock:1 signal:1 m1 unlock:1 schedule m2 "
	     "broadcast:1 run",
	     "a: lock:1 wait:1 a1 unlock:1", "b: lock:1 wait:1 b1 unlock:1",
	     "c: lock:1 wait:1 c1 unlock:1");
	ck_assert_str_eq(trace(), "m1 a1 m2 b1 c1 m:run=0");
}
END_TEST

/* Those woken queue up for the mutex behind who was there. */
START_TEST(condition_takes_its_mutex_again)
{
	play("m: spawn:ab schedule lock:1 spawn:c schedule broadcast:1 schedule "
	     "m1 unlock:1 m2 run",
	     "a: lock:1 wait:1 a1 unlock:1", "b: lock:1 wait:1 b1 unlock:1",
	     "c: lock:1 c1 unlock:1");
	ck_assert_str_eq(trace(), "m1 m2 c1 a1 b1 m:run=0");
}
END_TEST

START_TEST(condition_without_its_mutex)
{
	play("m: wait:1 m1 spawn:a schedule wait:1 m2", "a: lock:1 a1");
	ck_assert_str_eq(trace(), "-EPERM m1 a1 -EPERM m2");
}
END_TEST

START_TEST(condition_and_traps)
{
	play("m: lock:1 block_trap:1 wait:1 block_trap:0 switch_trap:1 wait:1 "
	     "switch_trap:-1 trylock:1 signal:1 unlock:1 m1");
	ck_assert_str_eq(trace(), "-EAGAIN -EPERM -EBUSY m1");
}
END_TEST

START_TEST(signal_of_nobody_is_lost)
{
	play("m: signal:1 broadcast:1 spawn:a schedule m1 kill:a m2",
	     "a: lock:1 wait:1 a1");
	ck_assert_str_eq(trace(), "m1 -ECANCELED a1 m2");
}
END_TEST

/* The error comes with the next call. */
START_TEST(signalled_and_killed)
{
	play("m: spawn:a schedule signal:1 kill:a m1",
	     "a: lock:1 wait:1 a1 wait:1 a2 unlock:1 a3");
	ck_assert_str_eq(trace(), "a1 -ECANCELED a2 a3 m1");
}
END_TEST

/* The signal is for the next one. */
START_TEST(killed_and_signalled)
{
	play("m: spawn:ab schedule kill_pending:a signal:1 m1 run",
	     "a: lock:1 wait:1 a1 unlock:1", "b: lock:1 wait:1 b1 unlock:1");
	ck_assert_str_eq(trace(), "m1 -ECANCELED a1 b1 m:run=0");
}
END_TEST

/* Interrupted it takes the mutex all the same, however often. */
START_TEST(killed_takes_its_mutex_again)
{
	play("m: spawn:a schedule lock:1 kill:a m1 kill:a raise:a4 m2 unlock:1 "
	     "m3 run",
	     "a: lock:1 wait:1 a1 unlock:1 a2");
	ck_assert_str_eq(trace(), "m1 m2 m3 -ECANCELED a1 a2 m:run=0");
}
END_TEST

START_TEST(raised_on_while_waiting)
{
	play("m: spawn:a schedule raise:a4 m1 signal:1 m2 run",
	     "a: lock:1 wait:1 a1 wait:1 a2 unlock:1");
	ck_assert_str_eq(trace(), "-EINTR a1 m1 m2 a2 m:run=0");
}
END_TEST

START_TEST(foreign_signal)
{
	play("m: lock:1 thaw:1 wait:1 m1 unlock:1",
	     "M: freeze:1 lock:1 signal:1 M1 unlock:1 M2");
	ck_assert_str_eq(trace(), "m1");
	ck_assert_str_eq(other_trace(), "M1 M2");
}
END_TEST

/* --- semaphore --- */

START_TEST(units_in_order_of_coming)
{
	play("m: spawn:abc schedule post:1 post:1 m1 try_take:1 schedule m2 "
	     "post:1 post:1 try_take:1 try_take:1 run",
	     "a: take:1 a1", "b: take:1 b1", "c: take:1 c1");
	ck_assert_str_eq(trace(), "m1 -EAGAIN a1 b1 m2 -EAGAIN c1 m:run=0");
}
END_TEST

START_TEST(units_that_are_there)
{
	play("m: post:1 post:1 take:1 m1 spawn:a schedule m2 try_take:1",
	     "a: take:1 a1");
	ck_assert_str_eq(trace(), "m1 a1 m2 -EAGAIN");
}
END_TEST

START_TEST(kill_of_one_queued_for_a_unit)
{
	play("m: spawn:ab schedule kill:a post:1 m1 schedule post:1 take:1 m2",
	     "a: take:1 a1", "b: take:1 b1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1 b1 m2");
}
END_TEST

START_TEST(kill_of_all_queued_for_a_unit)
{
	play("m: spawn:ab schedule kill:ab post:1 try_take:1 m1 try_take:1",
	     "a: take:1", "b: take:1");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED m1 -EAGAIN");
}
END_TEST

/* --- read-write lock --- */

/* d and e come while c waits, so they wait too; then both go in at once. */
START_TEST(rwlock_in_order_of_coming)
{
	play("m: spawn:abcdef run", "a: read:1 a1 schedule release:1 a2",
	     "b: read:1 b1 schedule release:1 b2", "c: write:1 c1 release:1 c2",
	     "d: read:1 d1 schedule d2 release:1",
	     "e: read:1 e1 schedule e2 release:1", "f: write:1 f1 release:1");
	ck_assert_str_eq(trace(), "a1 b1 a2 b2 c1 c2 d1 e1 d2 e2 f1 m:run=0");
}
END_TEST

START_TEST(rwlock_tries)
{
	play("m: try_read:1 try_read:1 try_write:1 m1 spawn:a schedule "
	     "try_read:1 m2 release:1 release:1 try_read:1 schedule m3 "
	     "try_write:1 try_write:1 try_read:1 m4 read:1 write:1 m5 release:1 "
	     "release:1 m6",
	     "a: write:1 a1 release:1");
	ck_assert_str_eq(trace(), "-EBUSY m1 -EBUSY m2 -EBUSY a1 m3 -EBUSY "
				  "-EBUSY m4 -EDEADLK -EDEADLK m5 -EPERM m6");
}
END_TEST

START_TEST(rwlock_of_another)
{
	play("m: spawn:a schedule release:1 m1", "a: write:1 a1");
	ck_assert_str_eq(trace(), "a1 -EPERM m1");
}
END_TEST

/* The readers behind it go in, up to the next writer. */
START_TEST(kill_of_the_writer_in_front)
{
	play("m: read:1 spawn:abcde schedule kill:a m1 schedule m2 release:1 "
	     "run",
	     "a: write:1 a1", "b: read:1 b1 schedule b2 release:1",
	     "c: read:1 c1 release:1", "d: write:1 d1 release:1",
	     "e: read:1 e1 release:1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 m1 b1 c1 m2 b2 d1 e1 m:run=0");
}
END_TEST

/* Nobody can go in behind it. */
START_TEST(kill_of_others_in_the_queue)
{
	play("m: write:1 spawn:abcd schedule kill:ac m1 release:1 run",
	     "a: write:1 a1", "b: write:1 b1 schedule release:1 b2",
	     "c: write:1 c1", "d: read:1 d1");
	ck_assert_str_eq(trace(), "-ECANCELED a1 -ECANCELED c1 m1 b1 b2 d1 "
				  "m:run=0");
}
END_TEST

/* A writer behind it: no more than before. */
START_TEST(kill_of_one_of_two_writers)
{
	play("m: read:1 spawn:abc schedule kill:a m1 kill:b m2 run",
	     "a: write:1 a1", "b: write:1 b1", "c: read:1 c1");
	ck_assert_str_eq(trace(),
			 "-ECANCELED a1 m1 -ECANCELED b1 m2 c1 m:run=0");
}
END_TEST

START_TEST(kill_of_all_queued_for_an_rwlock)
{
	play("m: write:1 spawn:ab schedule kill:ab m1 release:1 try_write:1 m2",
	     "a: write:1", "b: read:1");
	ck_assert_str_eq(trace(), "-ECANCELED -ECANCELED m1 m2");
}
END_TEST

/* Readers of both threads at once. */
START_TEST(foreign_rwlock)
{
	play("m: write:1 thaw:1 until_parked spawn:a schedule m1 release:1 "
	     "schedule m2 freeze:2 thaw:3",
	     "a: read:1 a1", "M: freeze:1 read:1 M1 thaw:2 freeze:3 release:1");
	ck_assert_str_eq(trace(), "m1 a1 m2");
	ck_assert_str_eq(other_trace(), "M1");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("sync");

	add_case(s, "mutex", mutex_in_order_of_coming, mutex_is_handed_over,
		 mutex_of_another, mutex_of_ones_own,
		 kill_of_one_queued_for_a_mutex, kill_of_all_queued_for_a_mutex,
		 kill_of_one_that_was_given_a_mutex, killed_one_takes_no_mutex,
		 mutex_and_traps, foreign_mutex,
		 foreign_mutex_in_order_of_coming);
	add_case(s, "condition", condition_in_order_of_coming,
		 condition_takes_its_mutex_again, condition_without_its_mutex,
		 condition_and_traps, signal_of_nobody_is_lost,
		 signalled_and_killed, killed_and_signalled,
		 killed_takes_its_mutex_again, raised_on_while_waiting,
		 foreign_signal);
	add_case(s, "semaphore", units_in_order_of_coming, units_that_are_there,
		 kill_of_one_queued_for_a_unit, kill_of_all_queued_for_a_unit);
	add_case(s, "read-write lock", rwlock_in_order_of_coming, rwlock_tries,
		 rwlock_of_another, kill_of_the_writer_in_front,
		 kill_of_others_in_the_queue, kill_of_one_of_two_writers,
		 kill_of_all_queued_for_an_rwlock, foreign_rwlock);
	return run_suite(s);
}
