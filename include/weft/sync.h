/* SPDX-License-Identifier: MIT */
/**
 * sync - mutexes, conditions, semaphores, read-write locks
 *
 * These objects protect what tasklets of any threads share. A call that has to wait
 * blocks the tasklet, never its thread. All are fair: first come, first served. A
 * tasklet that releases an object hands it straight to the tasklet that has waited
 * longest. That one goes to the end of its run queue, and the caller goes on. If no
 * tasklet waits, a call is one instruction on one word and does not involve the
 * scheduler.
 *
 * To be fair has a price. If many want a mutex often, each unlock hands it to a tasklet
 * that has yet to be run, on another thread perhaps yet to be woken, and nobody can take
 * it meanwhile: a convoy, which goes at the pace of these hand-overs until no tasklet
 * waits. So hold a mutex for a short time only, and not across calls that may switch.
 *
 * The objects are the caller's variables, anywhere in the memory of its process.
 * They hold nothing that would have to be freed. An object may be freed when no
 * tasklet waits for it and no call on it will come. A tasklet that has just taken
 * the object, or was woken by it, may free it even if the call on another thread
 * that released it or woke the tasklet has not returned yet. So may the tasklet that
 * has just broadcast. Zero bytes are a valid object (a semaphore of 0). Do not copy
 * or move an object while it is in use.
 *
 * A tasklet that ends releases nothing: what it held stays held, and no tasklet can
 * release it any more. Calls that wait for it go on waiting until they are killed,
 * run out of time or get -EDEADLK; trylock calls return -EBUSY and unlock
 * returns -EPERM, also to tasklets that are created later. Use weft_defer() to
 * unlock what must not stay locked. An object that stayed locked in this way can be
 * initialised anew when no tasklet waits for it. In a child of fork(), what tasklets
 * of other threads held stays held as well, but these tasklets wait for nothing any
 * more.
 */
#ifndef WEFT_SYNC_H
#define WEFT_SYNC_H

#include <weft/base.h>

WEFT_BEGIN_DECLS

/* Each of the objects below consists of this. Its fields are private. */
struct weft__sync {
	uintptr_t word;
	void *oldest, *newest;
};

/* --- mutex --- */

/** A lock that one tasklet holds. Its fields are private. */
typedef struct weft_mutex {
	struct weft__sync weft__sync;
} weft_mutex;

/* clang-format off */
#define WEFT_MUTEX_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_mutex_lock - take a mutex, or wait until it is handed over
 *
 * Return: 0 if the caller holds the mutex. Otherwise it does not hold it:
 *   -EDEADLK    the calling tasklet itself, not one that has ended, holds the mutex
 *               already, and is in no deadline scope that would end the wait; or
 *               the call waited, and all threads of the process have come to a
 *               deadlock (weft/scheduler.h)
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what earlier holders did before they unlocked the mutex is visible.
 */
WEFT_API int weft_mutex_lock(weft_mutex *m);

/**
 * weft_mutex_trylock - take a mutex if it is free
 *
 * Return: 0, or -EBUSY if any tasklet holds it, also if the caller does.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_mutex_trylock(weft_mutex *m);

/**
 * weft_mutex_unlock - release a mutex, or hand it over
 *
 * If tasklets wait, the one that has waited longest holds the mutex from then on.
 *
 * Return: 0, or -EPERM if the caller does not hold it.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_mutex_unlock(weft_mutex *m);

/* --- condition --- */

/** Tasklets that wait for something to change. Its fields are private. */
typedef struct weft_condition {
	struct weft__sync weft__sync;
} weft_condition;

/* clang-format off */
#define WEFT_CONDITION_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_condition_wait - release a mutex, wait to be woken, take the mutex again
 * @c: the condition that is waited for
 * @m: the caller holds it
 *
 * A signal or broadcast that comes after @m was released is not missed. There are
 * no wakes without a signal or broadcast, but other tasklets may have held @m before
 * the call returns: check again what you wait for.
 *
 * Whatever the call returns, the caller holds @m again. The call waits for @m as
 * long as that takes; kill, raise and deadlines do not end this second wait. A
 * tasklet that was signalled and interrupted at the same time gets 0, and the error
 * with its next call. There is one exception: if there is a deadlock while the call
 * waits for @m, it returns -EDEADLK and the caller does not hold @m, as
 * weft_mutex_unlock() will say.
 *
 * Return: 0 if the caller was woken; otherwise
 *   -EPERM      the caller does not hold @m
 *   -EAGAIN     a block trap is set; @m was not released
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, switches.
 */
WEFT_API int weft_condition_wait(weft_condition *c, weft_mutex *m);

/**
 * weft_condition_signal - wake the tasklet that has waited longest, if any
 *
 * The tasklet goes to the end of its run queue. The caller may hold the mutex or not;
 * but what it has changed, it must have changed while it held the mutex.
 *
 * Return: 0, or -ENOMEM if the thread could not be attached: then no tasklet was
 * woken.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_condition_signal(weft_condition *c);

/**
 * weft_condition_broadcast - wake all that wait, in the order in which they came
 *
 * Return, context: as weft_condition_signal().
 */
WEFT_API int weft_condition_broadcast(weft_condition *c);

/* --- semaphore --- */

/** A number of units to take and to give. Its fields are private. */
typedef struct weft_semaphore {
	struct weft__sync weft__sync;
} weft_semaphore;

/** The most units that a semaphore can have. */
#define WEFT_SEMAPHORE_MAX INT32_MAX

/* clang-format off */
/** @n units to begin with, 0 up to WEFT_SEMAPHORE_MAX. */
#define WEFT_SEMAPHORE_INIT(n) { { (uintptr_t)(n) << 1, NULL, NULL } }
/* clang-format on */

/**
 * weft_semaphore_wait - take a unit, or wait until one is posted
 *
 * Return: 0 if the caller has a unit. Otherwise it has none, and the call returns
 * what any blocking call may return.
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what was done before the unit was posted is visible.
 */
WEFT_API int weft_semaphore_wait(weft_semaphore *sem);

/**
 * weft_semaphore_trywait - take a unit if there is one
 *
 * Return: 0, or -EAGAIN if there is none.
 * Context: any thread; never switches.
 */
WEFT_API int weft_semaphore_trywait(weft_semaphore *sem);

/**
 * weft_semaphore_post - give a unit, to the tasklet that has waited longest if any
 *
 * Return: 0; -EOVERFLOW if there are WEFT_SEMAPHORE_MAX units already; -ENOMEM if
 * a tasklet waits and the thread could not be attached.
 * Context: any thread; never switches.
 */
WEFT_API int weft_semaphore_post(weft_semaphore *sem);

/* --- read-write lock --- */

/** A lock that one writer or any number of readers hold. Its fields are
 * private. */
typedef struct weft_rwlock {
	struct weft__sync weft__sync;
} weft_rwlock;

/* clang-format off */
#define WEFT_RWLOCK_INIT { { 0, NULL, NULL } }
/* clang-format on */

/**
 * weft_rwlock_rdlock - hold a lock together with other readers
 *
 * A reader that comes while another tasklet waits, waits behind it, so writers are
 * not starved. So a tasklet that holds the lock as a reader and locks it again can
 * wait for itself. The library does not detect that.
 *
 * Return: 0 if the caller holds the lock. Otherwise it does not hold it:
 *   -EDEADLK    the caller holds it as the writer, and is in no deadline scope
 *   or what any blocking call may return
 * Context: any tasklet of any thread; a blocking call, may switch.
 * Ordering: what its writers did before they unlocked it is visible.
 */
WEFT_API int weft_rwlock_rdlock(weft_rwlock *l);

/**
 * weft_rwlock_wrlock - hold a lock alone
 *
 * Return, context: as weft_rwlock_rdlock().
 * Ordering: what all its holders did before they unlocked it is visible.
 */
WEFT_API int weft_rwlock_wrlock(weft_rwlock *l);

/**
 * weft_rwlock_tryrdlock - hold a lock with other readers if no writer holds it and
 * no tasklet waits for it
 *
 * Return: 0 or -EBUSY.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_rwlock_tryrdlock(weft_rwlock *l);

/**
 * weft_rwlock_trywrlock - hold a lock alone if no tasklet holds it
 *
 * Return, context: as weft_rwlock_tryrdlock().
 */
WEFT_API int weft_rwlock_trywrlock(weft_rwlock *l);

/**
 * weft_rwlock_unlock - release a lock, as a reader or as the writer
 *
 * When no tasklet holds the lock any more, it goes to the one that has waited
 * longest. If that is a reader, all readers that wait behind it up to the next
 * writer get the lock as well.
 *
 * Return: 0; -EPERM if no tasklet holds the lock, or another tasklet holds it as the
 * writer. The library does not detect that the caller is not one of the readers.
 * Context: any tasklet of any thread; never switches.
 */
WEFT_API int weft_rwlock_unlock(weft_rwlock *l);

WEFT_END_DECLS

#endif /* WEFT_SYNC_H */
