/* SPDX-License-Identifier: MIT */
/*
 * Plays: tasklets that follow scripts, and the order in which they spoke.
 *
 * A script is a line of words, with its player's name in front:
 *
 *	play("m: spawn:ab m1 schedule m2",
 *	     "a: a1 schedule a2",
 *	     "b: b1");
 *	ck_assert_str_eq(trace(), "m1 a1 b1 m2");
 *
 * m is the main tasklet of the test's thread, a to l are others of it. M is the
 * main tasklet of a second thread, which is there if M has a script, and A to L
 * are others of that one. x, y and z are channels of integers. There is one group.
 * A tasklet ends with its script.
 *
 * Words that do something; N is a number, p is a player, pq several in turn:
 *
 *	spawn:pq      create the player's tasklet, on the thread of its own
 *	paused:pq     the same, without inserting it
 *	insert:pq remove:pq run:p switch:p       weft_tasklet_...
 *	schedule schedule_remove run pump stop:N weft_...
 *	kill:pq raise:pN kill_pending:pq raise_pending:pN
 *	join:p exit:N defer:WORD shield unshield
 *	result:N      what the player returns
 *	block_trap:N switch_trap:N               N is the value, and the delta
 *	tell_switches:N tell_channels:N          callbacks of the thread on and off
 *	send:xN receive:x try_send:xN try_receive:x     weft_channel_...
 *	send_error:xN close:x open:x             weft_channel_...
 *	send_many:xN receive_many:xN             each digit is an element; at most N
 *	select:CASES try_select:CASES            weft_select(), with WEFT_NONBLOCK;
 *	              CASES as x!5,y?,-? : send 5 on x, receive from y, a NULL channel
 *	buffer:xN     from here on, x is a new channel that holds N
 *	unbounded:x   the same without a limit
 *	prefer:xN schedule_all:xN                settings of channel x
 *	lock:N trylock:N unlock:N        mutex N, from 0 to 3
 *	wait:N signal:N broadcast:N      condition N, with mutex N
 *	take:N try_take:N post:N         semaphore N, of no units
 *	read:N try_read:N write:N try_write:N release:N     rwlock N
 *	member:pq     the same as spawn, in the group
 *	wait_group kill_group                    weft_group_...
 *	sleep:N       weft_sleep() of N seconds
 *	limit:N end_limit                        a deadline scope of N seconds
 *	pass:N        lets N seconds pass
 *	freeze:N thaw:N  wait for and post semaphore N, keeping the OS thread
 *	until_parked     keep the OS thread until the other one is parked
 *
 * Words that look, and what they add to the trace:
 *
 *	count         n=2         the length of the ring
 *	state:p       p:paused    (dead, runnable, running, blocked)
 *	balance:x     x+2  x-1  x+0
 *	waiters:x     x[abc]      oldest first
 *	closed:x      x:closed    (open; closing: something is left to receive)
 *
 *	join:p        p=N, p=-EXXX
 *	wait_group    group=N, group=-EXXX
 *	end_limit     late, when the scope has run out
 *	a switch, when told       a>b
 *	a channel call, when told a!x (send) a?x (receive), a?x~ when it will block
 *
 * Also added: what was received, as x=5; of several, x=123; how many were sent,
 * x<3; the case that was selected, as 0! or 1=5 or 1=-EXXX; the result of run and pump, as m:run=0;
 * the error of a call that failed, as -EBUSY. Any other word speaks for itself.
 */
#ifndef WEFT_TESTS_PLAY_H
#define WEFT_TESTS_PLAY_H

/* Performs the main tasklet's script, and returns when that of the second
 * thread, if there is one, has ended too. */
#define play(...) play_scripts((const char *const[]){ __VA_ARGS__, NULL })
void play_scripts(const char *const *scripts);

/* What was said on the test's thread, and on the other one. */
const char *trace(void);
const char *other_trace(void);

#endif /* WEFT_TESTS_PLAY_H */
