/* SPDX-License-Identifier: MIT */
/**
 * group - tasklets that are waited for together
 *
 * A group has members, tasklets of any threads that were created in it, and is
 * there until all of them have ended and it has been waited for:
 *
 *	weft_group *g = weft_group_new();
 *
 *	for (int i = 0; i < n; i++)
 *		weft_group_spawn(g, serve, &jobs[i]);
 *	rc = weft_group_wait(g);
 *	weft_group_free(g);
 *
 * What the members use may lie on the stack of who waits: no way out of
 * weft_group_wait() by a kill or a deadline leaves a member behind.
 *
 * A group may be used by all threads. It can be waited for, and filled, again. In
 * a child of fork() the members of other threads have ended with -ECANCELED, like
 * all tasklets of these.
 */
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

typedef struct weft_group weft_group;

/**
 * weft_group_new - an empty group
 *
 * Return: the group, for weft_group_free(); NULL with errno ENOMEM.
 * Context: any thread; never switches.
 */
WEFT_API weft_group *weft_group_new(void);

/**
 * weft_group_spawn - weft_spawn() of a member
 * @g:   any group, also the caller's own
 * @fn:  what the member runs
 * @arg: handed to @fn
 *
 * Who uses the group must see to it that it is there: a member does until it
 * ends, for all others it is theirs to know.
 *
 * Return: its handle, or the null handle with errno set as by weft_spawn(), or
 *   ECANCELED  the members are being ended, because somebody who waited for
 *              them was killed or ran out of time, or frees the group; so it is
 *              until the last has ended
 *   EINVAL     @g or @fn is NULL
 * Context: any thread; never switches.
 */
WEFT_API weft_tasklet weft_group_spawn(weft_group *g, weft_fn fn, void *arg);

/**
 * weft_group_spawn_with - weft_spawn_with() of a member
 * @options: as there, another thread's id included; NULL: all defaults
 *
 * Return: as weft_group_spawn(), or with errno as set by weft_spawn_with().
 * Context: any thread; never switches.
 */
WEFT_API weft_tasklet
weft_group_spawn_with(weft_group *g, const struct weft_tasklet_options *options,
		      weft_fn fn, void *arg);

/**
 * weft_group_wait - wait until all members have ended
 *
 * A member that fails leaves the others alone. Of the results since the last
 * wait the first negative one, in time, is the group's. The -ECANCELED of a
 * member that was killed through the group is not counted; that of one killed by
 * weft_tasklet_kill() is.
 *
 * If the caller is killed or runs out of time, before or while it waits, the
 * members are killed as by weft_group_kill(), and waited for all the same. So
 * when the call returns -ECANCELED or -ETIMEDOUT, whatever for, no member is
 * left. A member that puts off its end puts off that of the caller.
 *
 * Any number may wait; they go to the ends of their rings, first come, first
 * served, and get the same result.
 *
 * Return: the group's result, which starts anew with that; at once when no member
 * is left. Or
 *   -EDEADLK  the caller is a member
 *   -EINVAL   @g is NULL
 * or what any blocking call may. After -EAGAIN, -EPERM, -EDEADLK and an error
 * that was raised, other than ECANCELED and ETIMEDOUT, the members go on, and can
 * be waited for again. While members are left, -EPERM for a switch trap comes
 * before what a kill, a raise or a deadline says, and a block trap does not spare a
 * caller that was killed the wait.
 * Context: any tasklet of any thread; may switch.
 * Ordering: everything that the members did is visible after the wait.
 */
WEFT_API int weft_group_wait(weft_group *g);

/**
 * weft_group_kill - weft_tasklet_kill() with WEFT_PENDING of all members
 *
 * In the order of their creation; those created after the call are none of its
 * business. If the caller is a member it is killed like the others, and its next
 * blocking call says so. A member need not be killed twice: it stays so.
 *
 * Return: 0; -EINVAL when @g is NULL.
 * Context: any thread; never switches.
 */
WEFT_API int weft_group_kill(weft_group *g);

/**
 * weft_group_free - free a group
 * @g: NULL does nothing; nobody may be using it but members
 *
 * If members are left, they are killed and waited for, whatever happens to the
 * caller meanwhile. Their results are lost. This stops the process with a message
 * when the caller is one of them, when it must not switch, and when nothing can
 * ever end the members (a deadlock).
 *
 * Context: any tasklet of any thread; switches if members are left.
 */
WEFT_API void weft_group_free(weft_group *g);

WEFT_END_DECLS

#endif /* WEFT_GROUP_H */
