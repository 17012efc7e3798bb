/* SPDX-License-Identifier: MIT */
/**
 * group - tasklets that are waited for together
 *
 * The members of a group are tasklets of any threads that were created in it.
 * weft_group_wait() waits until all of them have ended:
 *
 *	weft_group *g = weft_group_new();
 *
 *	for (int i = 0; i < n; i++)
 *		weft_group_spawn(g, serve, &jobs[i]);
 *	rc = weft_group_wait(g);
 *	weft_group_free(g);
 *
 * What the members use may lie on the stack of the tasklet that waits: when
 * weft_group_wait() returns because of a kill or a deadline, no member is left.
 *
 * All threads may use a group. It can be waited for, and filled, again. In a child
 * of fork() the members of other threads have ended with -ECANCELED, like all
 * tasklets of those threads.
 */
#ifndef WEFT_GROUP_H
#define WEFT_GROUP_H

#include <weft/base.h>
#include <weft/tasklet.h>

WEFT_BEGIN_DECLS

typedef struct weft_group weft_group;

/**
 * weft_group_new - create an empty group
 *
 * Return: the group, to be freed with weft_group_free(); NULL with errno ENOMEM.
 * Context: any thread; never switches.
 */
WEFT_API weft_group *weft_group_new(void);

/**
 * weft_group_spawn - weft_spawn() of a member
 * @g:   any group, also the caller's own
 * @fn:  the function that the member runs
 * @arg: given to @fn
 *
 * A caller must make sure that the group has not been freed. For a member that is
 * so until it ends.
 *
 * Return: its handle, or the null handle with errno set as by weft_spawn(), or
 *   ECANCELED  the members are being ended, because a tasklet that waited for them
 *              was killed or ran out of time, or because the group is being freed.
 *              This lasts until the last member has ended
 *   EINVAL     @g or @fn is NULL
 * Context: any thread; never switches.
 */
WEFT_API weft_tasklet weft_group_spawn(weft_group *g, weft_fn fn, void *arg);

/**
 * weft_group_spawn_with - weft_spawn_with() of a member
 * @options: as for weft_spawn_with(), also another thread's id; NULL: all defaults
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
 * A member that fails does not affect the others. The result of the group is the
 * first negative result, in time, since the last wait. If a member was killed
 * through the group, its -ECANCELED does not count; if it was killed by
 * weft_tasklet_kill(), it does.
 *
 * If the caller is killed or runs out of time, before or while it waits, the members
 * are killed as by weft_group_kill(), and the call still waits for them. So when the
 * call returns -ECANCELED or -ETIMEDOUT, for whatever reason, no member is left. A
 * member that delays its end delays that of the caller.
 *
 * Any number of tasklets may wait. They go to the ends of their run queues, first
 * come, first served, and get the same result.
 *
 * Return: the result of the group, which is then reset; the call returns at once if
 * no member is left. Or
 *   -EDEADLK  the caller is a member
 *   -EINVAL   @g is NULL
 * or what any blocking call may return. After -EAGAIN, -EPERM, -EDEADLK and an error
 * that was raised, other than ECANCELED and ETIMEDOUT, the members go on, and can
 * be waited for again. While members are left, -EPERM for a switch trap comes before
 * the error of a kill, a raise or a deadline, and a caller that was killed waits even
 * if a block trap is set.
 * Context: any tasklet of any thread; may switch.
 * Ordering: everything that the members did is visible after the wait.
 */
WEFT_API int weft_group_wait(weft_group *g);

/**
 * weft_group_kill - weft_tasklet_kill() with WEFT_PENDING of all members
 *
 * The members are killed in the order of their creation. Members that are created
 * after the call are not affected. If the caller is a member, it is killed like the
 * others, and its next blocking call returns -ECANCELED. A member stays killed, so
 * there is no need to kill it twice.
 *
 * Return: 0; -EINVAL if @g is NULL.
 * Context: any thread; never switches.
 */
WEFT_API int weft_group_kill(weft_group *g);

/**
 * weft_group_free - free a group
 * @g: NULL does nothing; only members may be using it
 *
 * If members are left, they are killed and waited for, whatever happens to the
 * caller meanwhile. Their results are lost. The call stops the process with a
 * message if members are left and the caller is one of them, or must not switch, or
 * cannot be attached because there is no memory, or if nothing can ever end the
 * members (a deadlock).
 *
 * Context: any tasklet of any thread; switches if members are left.
 */
WEFT_API void weft_group_free(weft_group *g);

WEFT_END_DECLS

#endif /* WEFT_GROUP_H */
